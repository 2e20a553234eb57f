"""What a worker of a sweep needs, and what it gives back: one row a combination of parameters.

A row depends on the task and its own combination only, never on its neighbours, the chunk or the worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import engine
from quant.backtest.job import Job, decide, wishes
from quant.backtest.result import measured
from quant.core.bars import Bars
from quant.core.sessions import Floats
from quant.errors import QuantError
from quant.indicators.shared import Memo, sharing
from quant.metrics import NAMES

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
    return Bench(task.job).rows(combos)


def evaluator() -> Callable[[Task, Sequence[Mapping[str, Any]]], list[Row]]:
    """Return an `evaluate` for the threads of one sweep: what its chunks have in common is made once a thread."""
    here = threading.local()

    def rows(task: Task, combos: Sequence[Mapping[str, Any]]) -> list[Row]:
        if getattr(here, "task", None) is not task:
            here.task, here.bench = task, Bench(task.job)
        found: list[Row] = here.bench.rows(combos)
        return found

    return rows


class Bench:
    """What the combinations of a job use in turn, in one thread, by the compiled engine."""

    def __init__(self, job: Job) -> None:
        # Here, for it takes a second: workers for plain strategies do without the compiler.
        from quant.backtest import compiled
        from quant.kernel.run import Scratch

        self.job = job
        self.feed = compiled.kernel_feed(job)
        self.scratch = Scratch(self.feed)
        self.memo = memo_of(job.bars[0])

    def rows(self, combos: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Return the row of each combination."""
        with sharing(self.memo):
            return [self._row(params) for params in combos]

    def _row(self, params: Mapping[str, Any]) -> Row:
        from quant.kernel.run import row

        try:
            (plan,) = wishes(self.job, params, copied=False)
        except QuantError:
            # Perhaps it writes into an indicator's array, which here belongs to others too: once more with its own.
            try:
                with sharing(None):
                    (plan,) = wishes(self.job, params, copied=False)
            except QuantError as e:
                return Row(None, None, str(e))
        figures, returns = row(self.feed, plan.target, plan.stop, plan.limit, plan.follow_stop, self.scratch)
        return Row(figures, returns)


def memo_of(bars: Bars) -> Memo:
    """Return what indicators of these bars are shared by."""
    arrays = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return Memo(bars, *arrays, limit=SHARED_BYTES)


def _by_backtrader(task: Task, params: Mapping[str, Any]) -> Row:
    try:
        job = decide(task.job, params)
        figures, returns = measured(job, engine.run(job, task.engine))
    except QuantError as e:
        return Row(None, None, str(e))
    return Row(np.array([figures[name] for name in NAMES], dtype=np.float64), returns)
