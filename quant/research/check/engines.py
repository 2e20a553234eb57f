"""Engines equal: every engine gives the orders, fills, cash and value of stock backtrader, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import astuple, replace
from numbers import Real
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import engine as engines
from quant.backtest.engine import names_of
from quant.backtest.job import Job, make_job
from quant.backtest.recorder import FillRow, OrderRow, Record
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


def difference(job: Job, wanted: Record, got: Record) -> str | None:
    """Return the first thing in which two records differ, orders before fills before the account; None if equal."""
    tables = (("order", wanted.orders, got.orders), ("fill", wanted.fills, got.fills))
    for kind, a, b in tables:
        for n in range(max(len(a), len(b))):
            x, y = (rows[n] if n < len(rows) else None for rows in (a, b))
            if x is None or y is None or bits(x) != bits(y):
                return f"{kind} {n + 1} is {_row(job, x)} in {REFERENCE} and {_row(job, y)} there"
    for name in ("cash", "value"):
        left, right = getattr(wanted, name), getattr(got, name)
        if len(left) != len(right):
            return f"{name} has {len(left)} steps in {REFERENCE} and {len(right)} there"
        rows = [
            n for n, (u, v) in enumerate(zip(left, right, strict=True)) if float(u).hex() != float(v).hex()
        ]
        if rows:
            at = _moment(int(wanted.end[rows[0]]))
            return f"{name} at {at} is {left[rows[0]]!r} in {REFERENCE} and {right[rows[0]]!r} there"
    if wanted.borrowed != got.borrowed:
        return "what was charged for shorts"
    return None


def bits(row: OrderRow | FillRow) -> tuple[Any, ...]:
    """Return a row such that two are equal where every number has the same bits."""
    return tuple(float(v).hex() if isinstance(v, Real) else v for v in astuple(row))


def _row(job: Job, row: OrderRow | FillRow | None) -> str:
    if row is None:
        return "missing"
    symbol = names_of(job.bars)[row.feed]
    if isinstance(row, OrderRow):
        prices = [f"{v!r}" for v in (row.price, row.limit_price) if not np.isnan(v)]
        told = f"{row.kind} {row.quantity!r} {symbol}{' at ' * bool(prices)}{', '.join(prices)}"
        return f"{told} of {_moment(row.time)} ({row.reason or 'own'}, {row.status})"
    at = _moment(int(job.bars[row.feed].end[row.bar]))
    return f"{row.quantity!r} {symbol} at {row.price!r} in the bar until {at}, commission {row.commission!r}"


def _moment(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns').astype('datetime64[s]')} UTC"
