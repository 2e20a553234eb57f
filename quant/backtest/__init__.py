"""Backtests through backtrader: feeds, broker, recorder, runner and run folders. Knows no IB and no live trading."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

from quant.backtest.compare import Comparison, compare
from quant.backtest.feed import feed
from quant.backtest.folder import load_run, prune, runs
from quant.backtest.result import Run
from quant.backtest.runner import backtest

__all__ = ["Comparison", "Run", "backtest", "compare", "feed", "load_run", "prune", "runs"]


class _Callable(ModuleType):
    """This folder and the function q.backtest share a name, and importing anything from here makes q.backtest the folder.

    So the folder can be called too: `q.feed(bars)` before `q.backtest(...)` must not break it.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Run:
        return backtest(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
sys.modules[__name__].__dict__["__signature__"] = inspect.signature(backtest)
