"""What a worker of a sweep needs, and what it gives back: one row a combination of parameters.

A row depends on the task and its own combination only, never on its neighbours, the chunk or the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import engine
from quant.backtest.job import Job, decide, wishes
from quant.backtest.result import measured
from quant.core.sessions import Floats
from quant.errors import QuantError
from quant.indicators.shared import sharing
from quant.metrics import NAMES

if TYPE_CHECKING:
    from quant.kernel.run import Feed, Scratch

SHARED_BYTES: Final = 16_000_000  # of indicators that combinations share, in each thread


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one combination gave.

    figures: (23,) float64 in the order of quant.metrics.NAMES, None where it failed. returns: (sessions,) float64
    simple return of each session, None where it failed. error: what went wrong, None where nothing did.
    """

    figures: Floats | None
    returns: Floats | None
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """All of a sweep but its combinations. job: prepared, without parameters. engine: of engine.ENGINES."""

    job: Job
    engine: str

    @property
    def strategy(self) -> type[bt.Strategy]:
        """The strategy class."""
        return self.job.strategy


def evaluate(task: Task, combos: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the row of each combination; one that the strategy or its signals fail on carries the error.

    combos: all parameters of each, typed, as research.grid gives them.
    """
    if task.engine != "compiled":
        return [_by_backtrader(task, params) for params in combos]
    # Here, for it takes a second: workers for plain strategies do without the compiler.
    from quant.backtest import compiled
    from quant.kernel.run import Scratch

    feed = compiled.kernel_feed(task.job)
    scratch = Scratch(feed)
    (bars,) = task.job.bars
    roots = (bars, bars.open, bars.high, bars.low, bars.close, bars.volume)
    with sharing(*roots, limit=SHARED_BYTES):
        return [_by_kernel(task, params, feed, scratch) for params in combos]


def _by_kernel(task: Task, params: Mapping[str, Any], feed: Feed, scratch: Scratch) -> Row:
    try:
        (plan,) = wishes(task.job, params, copied=False)
    except QuantError:
        # Perhaps it writes into an indicator's array, which here belongs to others too: once more with its own.
        try:
            with sharing(limit=0):
                (plan,) = wishes(task.job, params, copied=False)
        except QuantError as e:
            return Row(None, None, str(e))
    from quant.kernel.run import row

    figures, returns = row(feed, plan.target, plan.stop, plan.limit, plan.follow_stop, scratch)
    return Row(figures, returns)


def _by_backtrader(task: Task, params: Mapping[str, Any]) -> Row:
    try:
        job = decide(task.job, params)
        figures, returns = measured(job, engine.run(job, task.engine))
    except QuantError as e:
        return Row(None, None, str(e))
    return Row(np.array([figures[name] for name in NAMES], dtype=np.float64), returns)
