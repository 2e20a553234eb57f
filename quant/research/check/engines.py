"""Engines equal: every engine gives the orders, fills, cash and value of stock backtrader, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import engine as engines
from quant.backtest.job import Job, make_job
from quant.backtest.records import difference
from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.research.check.result import Part
from quant.research.check.subject import cut

REFERENCE: Final = "plain"
BARS: Final = 20_000  # the last ones of longer histories: stock takes some 80 us a bar
# Costs and sizes are not what is checked: where the defaults do not fit the instrument, others that always do.
_SETTINGS: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"costs": "none"},
    {"costs": bt.CommissionInfo()},
    {"costs": bt.CommissionInfo(), "sizing": "shares:1"},
)


def job_of(strategy: type[bt.Strategy], bars: Bars | Iterable[Bars], params: Mapping[str, Any] | None) -> Job:
    """Return a job with the first settings that suit its instruments. Raises what q.backtest raises."""
    given = bars if isinstance(bars, Bars | str | Mapping) or not isinstance(bars, Iterable) else list(bars)
    for settings in _SETTINGS[:-1]:
        with suppress(ParameterError):  # where it is not the settings' fault, the last ones tell
            return make_job(strategy, given, params=params, **settings)[0]
    return make_job(strategy, given, params=params, **_SETTINGS[-1])[0]


def recent(job: Job) -> Job:
    """Return the job on its last BARS bars."""
    longest = max(job.bars, key=len)
    if len(longest) <= BARS:
        return job
    first = [int(np.searchsorted(b.end, longest.end[-BARS])) for b in job.bars]
    bars = tuple(b[n:] for b, n in zip(job.bars, first, strict=True))
    if not all(len(b) for b in bars):
        return job
    wishes = (
        None
        if job.plans is None
        else tuple(cut(p, slice(n, None)) for p, n in zip(job.plans, first, strict=True))
    )
    return replace(job, bars=bars, plans=wishes)


def equal_engines(job: Job) -> tuple[Part, list[Finding]]:
    """Run `job` in each engine and compare it with stock backtrader."""
    job = recent(job)
    reference = engines.run(job, REFERENCE)
    same, refused, found = [], [], []
    for name in (e for e in engines.ENGINES if e != REFERENCE):
        try:
            other = engines.run(job, name)
        except ParameterError as e:
            if e.name != "engine":
                raise
            refused.append(f"{name} does not cover it: {e.reason}")
            continue
        told = difference(job, reference, other)
        if told is None:
            same.append(name if other.fell_back is None else f"{name} (by stock's loop)")
        else:
            message = (
                f"engine {name} differs from {REFERENCE}: {told}. This is a fault of quant; please report it"
            )
            found.append(Finding("engines-differ", message))
    if found:
        return Part("engines", "failed", "differ, see below"), found
    orders, fills, steps = len(reference.orders), len(reference.fills), len(reference.value)
    counts = f"{orders:,} orders, {fills:,} fills, cash and value of {steps:,} bars"
    told = " = ".join([*same, REFERENCE]) + f": {counts}, to the last bit"
    return Part("engines", "ok", "; ".join([told, *refused])), []
