"""Sweeps over parameters, what they prove, and checks of a strategy before any of it. Never sees ib, tws or live."""

from quant.research.result import Sweep
from quant.research.sweep import sweep

__all__ = ["Sweep", "sweep"]
