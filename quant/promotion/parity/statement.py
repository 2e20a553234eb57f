"""The money of a day as it is printed: to the cent, and adding up as printed. Pure.

What is printed is rounded once, here, for the terminal, the page and the record; the exact amounts stay in the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

_CENT: Final = Decimal("0.01")
_NOISE: Final = 6  # decimals; what is behind them comes of floats


@dataclass(frozen=True, slots=True)
class Statement:
    """model + all of parts + unexplained = live, and live - model = difference, as printed.

    parts: those that are a line, in their order; an amount that would be printed as 0.00 is none.
    """

    model: Decimal
    live: Decimal
    parts: Mapping[str, Decimal]
    unexplained: Decimal

    @property
    def difference(self) -> Decimal:
        """How much better live did."""
        return self.live - self.model

    def to_dict(self) -> dict[str, Any]:
        """Return the amounts as floats of at most two decimals."""
        whole = {name: float(getattr(self, name)) for name in ("model", "live", "difference", "unexplained")}
        return {**whole, "parts": {name: float(amount) for name, amount in self.parts.items()}}


def statement(model: float, live: float, parts: Mapping[str, float], unexplained: float) -> Statement:
    """Return what is printed of a day's profits. parts: exact amounts by name; with unexplained they are live - model.

    Profits and unexplained are rounded each by itself; the cents that the rounded parts then lack, or have too many,
    go to those parts that are nearest to the next cent (largest remainder), to lines first.
    """
    first, last, rest = (cents(v) for v in (model, live, unexplained))
    exact = {name: _exact(amount) for name, amount in parts.items() if _exact(amount)}
    shown = {name: cents(parts[name]) for name in exact}
    over = last - first - rest - sum(shown.values(), Decimal(0))
    step = _CENT.copy_sign(over)

    def turn(name: str) -> tuple[bool, Decimal]:
        return not shown[name], (shown[name] - exact[name]) * step

    order = sorted(exact, key=turn)
    if not order and abs(over) == _CENT:  # nothing but the rounding of the profits: no line is made of that
        first += over
    for name in order[: int(abs(over) / _CENT)]:  # at most a cent each: what does not add up exactly shows
        shown[name] += step
    return Statement(first, last, {name: amount for name, amount in shown.items() if amount}, rest)


def cents(amount: float) -> Decimal:
    """Return an amount to the cent, half a cent away from 0."""
    return _exact(amount).quantize(_CENT, ROUND_HALF_UP) + 0  # no -0.00


def _exact(amount: float) -> Decimal:
    return Decimal(repr(round(float(amount), _NOISE)))
