"""quant: backtest, sweep and trade one strategy class.

`import quant as q` loads nothing heavy: each name is imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant import indicators, live, metrics
    from quant.backtest import (
        Cerebro,
        Comparison,
        Run,
        backtest,
        compare,
        compare_report,
        feed,
        first_difference,
        load_run,
        runs,
    )
    from quant.core.bars import Bars
    from quant.core.costs import costs
    from quant.core.instrument import Instrument
    from quant.core.synthetic import synthetic
    from quant.core.version import version
    from quant.ib.download import PullReport, pull
    from quant.research.check import Check, check
    from quant.research.proof import stats
    from quant.research.result import Sweep
    from quant.research.saved import load_sweep, sweeps
    from quant.research.sweep import sweep
    from quant.research.walk_forward.report import WalkForward
    from quant.research.walk_forward.walk_forward import walk_forward
    from quant.store import bars
    from quant.strategy import Panel, Signals, Strategy

_WHERE = {
    "Bars": "quant.core.bars",
    "Cerebro": "quant.backtest",
    "Check": "quant.research.check",
    "Comparison": "quant.backtest",
    "Instrument": "quant.core.instrument",
    "Panel": "quant.strategy",
    "PullReport": "quant.ib.download",
    "Run": "quant.backtest",
    "Signals": "quant.strategy",
    "Strategy": "quant.strategy",
    "Sweep": "quant.research.result",
    "WalkForward": "quant.research.walk_forward.report",
    "backtest": "quant.backtest",
    "bars": "quant.store",
    "check": "quant.research.check",
    "compare": "quant.backtest",
    "compare_report": "quant.backtest",
    "costs": "quant.core.costs",
    "feed": "quant.backtest",
    "first_difference": "quant.backtest",
    "load_run": "quant.backtest",
    "load_sweep": "quant.research.saved",
    "pull": "quant.ib.download",
    "runs": "quant.backtest",
    "sweep": "quant.research.sweep",
    "sweeps": "quant.research.saved",
    "synthetic": "quant.core.synthetic",
    "version": "quant.core.version",
    "walk_forward": "quant.research.walk_forward.walk_forward",
}
_MODULES = {
    "indicators": "quant.indicators",
    "live": "quant.live",
    "metrics": "quant.metrics",
    "stats": "quant.research.proof.stats",
}

__all__ = [
    "Bars",
    "Cerebro",
    "Check",
    "Comparison",
    "Instrument",
    "Panel",
    "PullReport",
    "Run",
    "Signals",
    "Strategy",
    "Sweep",
    "WalkForward",
    "backtest",
    "bars",
    "check",
    "compare",
    "compare_report",
    "costs",
    "feed",
    "first_difference",
    "indicators",
    "live",
    "load_run",
    "load_sweep",
    "metrics",
    "pull",
    "runs",
    "stats",
    "sweep",
    "sweeps",
    "synthetic",
    "version",
    "walk_forward",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name not in _WHERE:
        raise AttributeError(f"module 'quant' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Face(ModuleType):
    """This module: Python binds a folder's name here when it is imported, and q.backtest is the function in it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "backtest" and isinstance(value, ModuleType):
            value = value.backtest
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
