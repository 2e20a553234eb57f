"""Strategies: the base class, what its signals mean, and how a name becomes a class."""

from quant.strategy.base import Decisions, Strategy
from quant.strategy.compute import defaults, look_ahead, parameters, plans
from quant.strategy.lookup import strategy
from quant.strategy.panel import Panel
from quant.strategy.signals import Plan, Signals

__all__ = [
    "Decisions",
    "Panel",
    "Plan",
    "Signals",
    "Strategy",
    "defaults",
    "look_ahead",
    "parameters",
    "plans",
    "strategy",
]
