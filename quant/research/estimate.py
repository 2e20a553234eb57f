"""What a sweep will take, before it runs: a handful of its combinations is timed. Good to a factor of two or so."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from quant.core import clock
from quant.errors import QuantError
from quant.research import chunks as files
from quant.research.sweep import Plan, count_sessions
from quant.research.task import Task, evaluate

BUDGET_S: Final = 0.5  # for timing
MOST: Final = 64  # combinations that are timed
START_S: Final = 2.0  # until a worker process has loaded Python, the libraries and the bars
DISK: Final = 200e6  # bytes a second of session returns into chunk files
# Chunks in memory beside those that workers are at: one that waits, and one in the copies that its file takes.
# Measured, as the next two, with the sweeps of docs/sweeps.md: 6 MB more for each MB that a chunk has more.
CHUNKS: Final = 5
ROW_BYTES: Final = 2_000  # a combination: its parameters, figures, row of the table
JUDGED_BYTES: Final = 80_000_000  # what CSCV takes for some splits of many columns at a time ...
SPLITS_BYTES: Final = 500_000  # ... and for all splits of one
BARS_BYTES: Final = 200  # a bar: what a thread keeps beside them, indicators that are shared included


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will take.

    combinations: of the plan; held: those that a saved part has already. bars: that each runs over. seconds: of wall
    time for the rest, without what is run again in backtrader. bytes: of memory at most, above loaded libraries.
    """

    combinations: int
    bars: int
    seconds: float
    bytes: int
    held: int

    def __str__(self) -> str:
        done = f", {self.held:,} of them held already" if self.held else ""
        return (
            f"{self.combinations:,} combinations over {self.bars:,} bars{done}: about {duration(self.seconds)} and "
            f"{_megabytes(self.bytes)}"
        )


def estimate(
    plan: Plan, workers: int | None = None, *, data: Path | None = None, rate: float | None = None
) -> Estimate:
    """Return what `plan` will take with so many workers, None = one a core.

    data: the folder whose saved sweeps may hold some of it, None = what the plan's own has. rate: of `rate_of`,
    where it is known already from another symbol.
    """
    total, task = len(plan.combos.rows), plan.task
    bars = sum(len(b) for b in task.job.bars)
    cores = os.cpu_count() or 1
    count = max(min(cores if workers is None else workers, cores, len(plan.parts)), 1)
    held = _held(plan, data)
    returns = 8 * count_sessions(task.job.bars)  # bytes of a combination
    seconds = 0.0
    if held < total:
        each = rate_of(plan) if rate is None else rate
        seconds = each * bars * (total - held) / count + (START_S if task.engine != "compiled" else 0.0)
        seconds += returns * (total - held) / DISK
    chunk = returns * max((len(part) for part in plan.parts), default=0)
    filed = plan.many and (plan.folder is not None or data is not None)
    memory = (0 if filed else returns * total) + (count + CHUNKS) * chunk + count * BARS_BYTES * bars
    memory += ROW_BYTES * total + min(SPLITS_BYTES * total, JUDGED_BYTES)
    return Estimate(total, bars, seconds, memory, held)


def together(estimates: Sequence[Estimate]) -> Estimate:
    """Return what several sweeps take one after the other; of memory they take no more than the sum."""
    return Estimate(
        sum(e.combinations for e in estimates), max(e.bars for e in estimates), sum(e.seconds for e in estimates),
        sum(e.bytes for e in estimates), sum(e.held for e in estimates),
    )  # fmt: skip


def _held(plan: Plan, data: Path | None) -> int:
    """Return how many combinations have a chunk file; whether it is whole is seen when it is read."""
    folders = [plan.folder] if plan.folder is not None else [] if data is None else files.sweep_folders(data)
    if not folders:
        return 0
    named = [(len(c), files.chunk_name(plan.key, c)) for c in map(plan.combos_of, plan.parts)]
    return max(sum(n for n, name in named if files.chunk_path(f, name).is_file()) for f in folders)


def rate_of(plan: Plan) -> float:
    """Return seconds of one core for a bar and combination: of a few from the middle, on fewer bars where many."""
    task, combos = plan.task, plan.combos.rows
    bars = sum(len(b) for b in task.job.bars)
    share = min(1.0, BUDGET_S / 4 / (files.COST[task.engine] * max(bars, 1)))
    if share < 1.0:
        shorter = tuple(b[: max(math.ceil(share * len(b)), 1)] for b in task.job.bars)
        task = Task(replace(task.job, bars=shorter), task.engine)
    bars = sum(len(b) for b in task.job.bars)
    middle = len(combos) // 2
    most = min(MOST, len(combos) - middle)
    # The first call loads what later ones have: it counts only where it takes half of the budget.
    best, count = _timed(task, combos[middle : middle + 1]), 1
    spent = best
    while spent < BUDGET_S / 2 and count < most:
        count = min(count * 4, most)
        taken = _timed(task, combos[middle : middle + count])
        best, spent = taken / count, spent + taken
    return best / max(bars, 1)


def _timed(task: Task, combos: Sequence[Mapping[str, Any]]) -> float:
    started = clock.monotonic()
    try:
        evaluate(task, combos)
    except QuantError:  # the run itself will say it, with the right words
        return 0.0
    return clock.monotonic() - started


def duration(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):,.0f} MB"
