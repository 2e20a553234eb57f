"""What is checked: a q.Strategy with its bars, parameters and plans; how histories are cut and plans compared."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quant.core.bars import Bars
from quant.core.calendar import Ints
from quant.core.sessions import Floats
from quant.strategy import Plan, Strategy, plans

COLUMNS: Final = ("target", "stop", "limit")
# Sums over arrays of another length may differ in their last bits; a decision does not. The second figure is for
# values that are 0 but for rounding, as a share of the column's largest.
CLOSE: Final = 1e-9
ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A strategy and the bars on which it is checked. plans: its signals on all of them, one a feed."""

    strategy: type[Strategy]
    params: Mapping[str, Any]
    bars: tuple[Bars, ...]
    plans: tuple[Plan, ...]

    @property
    def longest(self) -> Bars:
        """The feed with the most bars; histories are cut at the ENDs of its bars."""
        return max(self.bars, key=len)

    def compute(self, bars: Sequence[Bars]) -> tuple[Plan, ...]:
        """Return the plans on other bars. Raises what `plans` raises; warnings of odd input are not shown."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return tuple(plans(self.strategy, bars, self.params))

    def over(self, cut: int) -> list[int]:
        """Return for each feed how many of its bars are over when the longest has `cut` bars, cut >= 1."""
        moment = self.longest.end[cut - 1]
        return [int(np.searchsorted(b.end, moment, side="right")) for b in self.bars]

    def acting(self) -> Ints:
        """Return the rows of the longest feed at which a target, or a price of an exit, changes; first row apart."""
        plan = self.plans[self.bars.index(self.longest)]
        changes = np.zeros(max(len(plan.target) - 1, 0), dtype=bool)
        for column in (plan.target, plan.stop, plan.limit):
            if column is not None:
                changes |= _differ(column[1:], column[:-1], exact=True)
        return np.flatnonzero(changes) + 1


@dataclass(frozen=True, slots=True)
class Change:
    """The first row at which two plans of a feed differ: which column, its two values, how many rows in all."""

    feed: int
    row: int
    column: str
    old: float
    new: float
    rows: int


def cut(plan: Plan, rows: slice) -> Plan:
    """Return some consecutive rows of a plan."""
    stop, limit = (None if c is None else c[rows] for c in (plan.stop, plan.limit))
    return Plan(plan.target[rows], stop, limit, plan.follow_stop)


def differing(old: Plan, new: Plan, exact: bool = False) -> Ints:
    """Return the rows at which plans of one length differ: by more than rounding, or, if exact, by any bit."""
    found = np.zeros(len(old.target), dtype=bool)
    for _, a, b in _columns(old, new):
        found |= _differ(a, b, exact)
    return np.flatnonzero(found)


def first_change(old: Sequence[Plan], new: Sequence[Plan]) -> Change | None:
    """Return the earliest difference of plans, of the first feed that has one; None where they agree.

    Both hold one plan a feed, of equal lengths.
    """
    for feed, (a, b) in enumerate(zip(old, new, strict=True)):
        rows = differing(a, b)
        if not len(rows):
            continue
        row = int(rows[0])
        for name, x, y in _columns(a, b):
            if _differ(x, y, exact=False)[row]:
                return Change(feed, row, name, float(x[row]), float(y[row]), len(rows))
    return None


def _columns(old: Plan, new: Plan) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield the columns that either plan has; one that is None is all NaN."""
    for name in COLUMNS:
        a, b = getattr(old, name), getattr(new, name)
        if a is not None or b is not None:
            none = np.full(len(old.target), np.nan)
            yield name, none if a is None else a, none if b is None else b


def _differ(a: Floats, b: Floats, exact: bool) -> npt.NDArray[np.bool_]:
    missing = np.isnan(a) & np.isnan(b)
    if exact:
        return np.not_equal(a, b) & ~missing
    finite = np.abs(a[np.isfinite(a)])
    least = ROUNDING * float(np.max(finite)) if len(finite) else 0.0
    same: npt.NDArray[np.bool_] = np.isclose(a, b, rtol=CLOSE, atol=least)
    return ~same & ~missing


def place(bars: Bars, row: int) -> str:
    """Return "bar 812 of SPY (2017-03-24 16:00)": the END in exchange time."""
    moment = bars[row : row + 1].frame("end").index[0]
    return f"bar {row} of {bars.symbol} ({moment:%Y-%m-%d %H:%M})"


def shown(value: float) -> str:
    """Return a signal's value as text."""
    return "nothing" if np.isnan(value) else f"{value:g}"
