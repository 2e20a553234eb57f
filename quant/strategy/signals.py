"""What a strategy wants: targets and exit prices per bar, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.core.bars import Bars
from quant.core.sessions import Floats
from quant.errors import SignalsError


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What a strategy wants after the close of each bar.

    target: (n,) exposure in units of the sizing, > 0 long, < 0 short; NaN = no opinion. Bools and ints
    convert. stop, limit: (n,) absolute prices > 0, NaN = no such exit; None = no such exit at all.
    follow_stop: while a position is held, later stop and limit prices replace its own (NaN keeps them).
    For `signals_all` the arrays are (n, k), a column per symbol.
    """

    target: npt.ArrayLike
    stop: npt.ArrayLike | None = None
    limit: npt.ArrayLike | None = None
    follow_stop: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Checked signals of one feed: (n,) float64 arrays; stop and limit None where the strategy has none."""

    target: Floats
    stop: Floats | None
    limit: Floats | None
    follow_stop: bool

    @property
    def exits(self) -> bool:
        """True where positions may have a stop or limit."""
        return self.stop is not None or self.limit is not None


def plan(strategy: str, bars: Bars, signals: Any, *, copied: bool = True) -> Plan:
    """Return the checked plan of what `signals` returned for `bars`.

    copied: with arrays of its own, whatever the strategy does to its own later; a plan that is used at once can do
    without.
    Raises SignalsError: not one value per bar, infinite, an exit price that is not a price, or, with exits,
    a target that changes its size without passing 0 or changing its sign.
    """
    if signals is None:
        raise SignalsError(strategy, "signals returned nothing; return the targets, or Signals")
    given = signals if isinstance(signals, Signals) else Signals(signals)
    target = _column(strategy, bars, "target", given.target, copied)
    infinite = np.isinf(target)
    if infinite.any():
        bar = np.flatnonzero(infinite)[0]
        raise SignalsError(strategy, f"target is infinite at bar {bar}; use NaN for no opinion")
    found = Plan(
        target,
        _prices(strategy, bars, "stop", given.stop, copied),
        _prices(strategy, bars, "limit", given.limit, copied),
        bool(given.follow_stop),
    )
    if found.follow_stop and not found.exits:
        raise SignalsError(strategy, "follow_stop is set, but there is neither stop nor limit")
    if found.exits:
        check_sizes_stay(strategy, target)
    return found


def _prices(strategy: str, bars: Bars, name: str, values: Any, copied: bool) -> Floats | None:
    if values is None:
        return None
    prices = _column(strategy, bars, name, values, copied)
    bad = np.flatnonzero((prices <= 0.0) | (prices == np.inf))  # NaN is neither
    if len(bad):
        got = prices[bad[0]]
        raise SignalsError(strategy, f"{name} is {got} at bar {bad[0]}; it is a price above 0, or NaN")
    return prices


def check_sizes_stay(strategy: str, target: Floats, why: str = "exits are set") -> None:
    """Raise SignalsError for a target that changes its size without passing 0 or changing its sign."""
    missing = np.isnan(target)
    rows = np.flatnonzero(~missing) if missing.any() else None  # None: all of them, as a rule
    known = target if rows is None else target[rows]
    with np.errstate(over="ignore"):
        wrong = (known[1:] != known[:-1]) & (known[1:] * known[:-1] > 0.0)
    if wrong.any():
        first = int(wrong.argmax())
        row = first + 1 if rows is None else rows[first + 1]
        reason = (
            f"the target changes from {known[first]} to {target[row]} at bar {row} while {why}; "
            "with a stop or limit its size may change only through 0 or the other sign"
        )
        raise SignalsError(strategy, reason)


def _column(strategy: str, bars: Bars, name: str, values: Any, copied: bool) -> Floats:
    try:
        column = (
            np.array(values, dtype=np.float64) if copied else np.ascontiguousarray(values, dtype=np.float64)
        )
    except (TypeError, ValueError):
        raise SignalsError(strategy, f"{name} holds {type(values).__name__} that are not numbers") from None
    if column.shape != (len(bars),):
        shape = f"shape {column.shape}" if column.ndim != 1 else f"{len(column)} values"
        raise SignalsError(strategy, f"{name} has {shape} for {len(bars)} bars of {bars.symbol}")
    return column
