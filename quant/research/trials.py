"""The trials of a plan in the ledger: what it tried is written there, and what was ever tried is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from quant.backtest.folder import runs
from quant.backtest.job import Job
from quant.core.finding import Finding
from quant.errors import DataError
from quant.research import chunks as files
from quant.research import ledger
from quant.research.result import UNCOUNTED
from quant.research.task import Row
from quant.research.verify import SHARPE

if TYPE_CHECKING:
    from quant.research.sweep import Plan


def record_trials(plan: Plan, rows: Sequence[Row], created: datetime) -> list[Finding]:
    """Write every combination into the ledger of trials; a ledger that cannot be written is a finding."""
    return _record(plan, plan.combos.rows, rows, created)


def _record(
    plan: Plan, combos: Sequence[Mapping[str, Any]], rows: Sequence[Row], created: datetime
) -> list[Finding]:
    if plan.data is None:
        return []
    job = plan.task.job
    first = job.bars[0]
    year = math.sqrt(min(job.bars, key=lambda b: b.bar.ns).periods_per_year)
    name = "" if plan.folder is None else plan.folder.name
    tried = [
        ledger.Trial(
            strategy=_strategy_name(job), params=params, instrument=_instruments(job),
            symbol=", ".join(b.symbol for b in job.bars), bar=first.bar.name, what=first.what, rth=first.rth,
            sharpe=math.nan if row.figures is None else float(row.figures[SHARPE]) / year,
            periods=0 if row.returns is None else len(row.returns), first=str(first.session[0]),
            last=str(first.session[-1]), created=created, sweep=name,
        )
        for params, row in zip(combos, rows, strict=True)
    ]  # fmt: skip
    try:
        ledger.record(plan.data / "sweeps" / ledger.NAME, tried)
    except DataError as e:
        return [Finding("trials-not-counted", f"the ledger of trials was not written: {e}")]
    return []


def record_held(plan: Plan, created: datetime) -> None:
    """Write the combinations of all chunks that are kept into the ledger of trials."""
    if plan.folder is None:
        return
    for part in plan.parts:
        combos = plan.combos_of(part)
        name = files.chunk_name(plan.key, combos)
        held = files.read_chunk(files.chunk_path(plan.folder, name), name, combos)
        if isinstance(held, list):
            _record(plan, combos, held, created)


def trials_of(plan: Plan) -> tuple[int, Finding | None]:
    """Return how many combinations were ever tried of this strategy on this instrument and bar.

    Where the ledger cannot be read: those of this plan, the least there are, and a finding that says why.
    """
    least = len(plan.combos.rows)
    if plan.data is None:
        return least, None
    job = plan.task.job
    path = plan.data / "sweeps" / ledger.NAME
    try:
        known = ledger.counts(
            path, _strategy_name(job), _instruments(job), job.bars[0].bar.name, runs=runs(plan.data)
        )
    except DataError as e:
        told = f"how many combinations were ever tried cannot be told, so not what luck gives to so many either: {e}"
        return least, Finding(UNCOUNTED, f"{told}. Then make the same call again: no row is lost")
    return max(known.count, least), None


def _strategy_name(job: Job) -> str:
    return f"{job.strategy.__module__}:{job.strategy.__name__}"


def _instruments(job: Job) -> str:
    return ledger.instrument_key([b.instrument for b in job.bars])
