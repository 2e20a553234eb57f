"""Legal prices: multiples of an increment that may change with the price, as IB's market rules have it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np

from quant.core.sessions import Floats

# Parts of a tick: a float64 quotient below 1e9 ticks lies nearer than this to the whole number it stands for.
_NEAR: Final = 1e-6


@dataclass(frozen=True, slots=True)
class TickRule:
    """bands: (lowest price, increment), by rising price, the first from 0; increments as text ("0.01")."""

    rule_id: int
    bands: tuple[tuple[float, str], ...]

    @property
    def least(self) -> str:
        """The smallest increment, as TWS writes minTick."""
        return min((text for _, text in self.bands), key=Fraction)

    def increment(self, price: float) -> Fraction:
        """Return the increment in force at `price`."""
        row = max(bisect_right(self.bands, price, key=_edge) - 1, 0) if len(self.bands) > 1 else 0
        return _step(self.bands[row][1])

    def legal(self, price: float) -> bool:
        """Return whether an order may have this price."""
        step = self.increment(price)
        return price > 0.0 and abs(price - _times(round(price / float(step)), step)) <= _NEAR * float(step)

    def nearest(self, price: float) -> float:
        """Return the legal price nearest to `price`, the smallest one at least."""
        step = self.increment(price)
        return _times(max(round(price / float(step)), 1), step)

    def below(self, price: float) -> float:
        """Return the highest legal price below `price`, 0 where there is none."""
        # Just below an edge the lower band counts.
        index = max(bisect_right(self.bands, price, key=_edge) - 1, 0)
        if index and price <= self.bands[index][0]:
            index -= 1
        step = _step(self.bands[index][1])
        count = _whole_up(price / float(step)) - 1
        return max(_times(count, step), 0.0)

    def above(self, price: float) -> float:
        """Return the lowest legal price above `price`."""
        step = self.increment(price)
        return _times(_whole_down(price / float(step)) + 1, step)

    def inside(self, prices: Floats, low: float, high: float) -> Floats:
        """Return, for each price, a legal one near it within [low, high]; NaN where none lies there.

        prices: (n,). The increments of the band of `low` are used throughout, which are legal in a higher
        band only where it is a multiple; a path inside one bar that crosses an edge keeps to the coarser.
        """
        step = self.increment(low)
        if len(self.bands) > 1:
            step = max(step, self.increment(high))
        size = step.numerator / step.denominator
        first, last = _whole_up(low / size), _whole_down(high / size)
        # A bound that was computed may lie a last bit beside the legal price that it stands for.
        first += _times(first, step) < low
        last -= _times(last, step) > high
        if first > last:
            return np.full(len(prices), np.nan)
        count = np.minimum(np.maximum(np.rint(prices / size), first), last)  # np.clip takes twice as long
        # A quotient of whole numbers is the float64 nearest to the decimal price; count * 0.01 would not be.
        found: Floats = count * step.numerator / step.denominator
        return found


@lru_cache(maxsize=1024)  # reading the text would take most of the time of rounding a price
def _step(text: str) -> Fraction:
    return Fraction(text)


def _edge(band: tuple[float, str]) -> float:
    return band[0]


def _times(count: int, step: Fraction) -> float:
    return count * step.numerator / step.denominator


def _whole_up(quotient: float) -> int:
    near = round(quotient)
    return near if abs(quotient - near) <= _NEAR else int(np.ceil(quotient))


def _whole_down(quotient: float) -> int:
    near = round(quotient)
    return near if abs(quotient - near) <= _NEAR else int(np.floor(quotient))
