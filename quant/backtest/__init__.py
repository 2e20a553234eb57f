"""Backtests through backtrader: feeds, broker, recorder, runner and run folders. Knows no IB and no live trading."""

from quant.backtest.cerebro import Cerebro, first_difference
from quant.backtest.compare import Comparison, compare
from quant.backtest.feed import feed
from quant.backtest.folder import load_run, prune, runs
from quant.backtest.reporting import compare_report
from quant.backtest.result import Run
from quant.backtest.runner import backtest

__all__ = [
    "Cerebro",
    "Comparison",
    "Run",
    "backtest",
    "compare",
    "compare_report",
    "feed",
    "first_difference",
    "load_run",
    "prune",
    "runs",
]
