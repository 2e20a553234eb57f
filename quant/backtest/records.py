"""Two records of one job: whether they are the same to the last bit, and the first thing in which they differ."""

from __future__ import annotations

from dataclasses import astuple
from numbers import Real
from typing import Any

import numpy as np

from quant.backtest.engine import names_of
from quant.backtest.job import Job
from quant.backtest.recorder import FillRow, OrderRow, Record


def difference(job: Job, wanted: Record, got: Record, reference: str = "plain") -> str | None:
    """Return the first thing in which two records differ, orders before fills before the account; None if equal.

    reference: the engine of `wanted`, for the words.
    """
    tables = (("order", wanted.orders, got.orders), ("fill", wanted.fills, got.fills))
    for kind, a, b in tables:
        for n in range(max(len(a), len(b))):
            x, y = (rows[n] if n < len(rows) else None for rows in (a, b))
            if x is None or y is None or bits(x) != bits(y):
                return f"{kind} {n + 1} is {_row(job, x)} in {reference} and {_row(job, y)} there"
    for name in ("cash", "value"):
        left, right = getattr(wanted, name), getattr(got, name)
        if len(left) != len(right):
            return f"{name} has {len(left)} steps in {reference} and {len(right)} there"
        rows = [
            n for n, (u, v) in enumerate(zip(left, right, strict=True)) if float(u).hex() != float(v).hex()
        ]
        if rows:
            at = _moment(int(wanted.end[rows[0]]))
            return f"{name} at {at} is {left[rows[0]]!r} in {reference} and {right[rows[0]]!r} there"
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
