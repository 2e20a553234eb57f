"""RSI reversion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import quant as q
from quant.indicators import rsi


class RsiReversion(q.Strategy):
    """Buy when the RSI is below `low`, leave when it is above `exit`, and stay as you are in between.

    With `short` also the mirror image: sell short above 100 - low, buy back below 100 - exit.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978), whose levels are 30 and
    70; leaving at the middle is the usual form of the rule for reversion to the mean.
    """

    params = dict(period=14, low=30.0, exit=50.0, short=False)

    @staticmethod
    def valid(p: Any) -> bool:
        """A long is left above where it was entered, and before a short could begin."""
        return bool(0.0 < p.low < p.exit < 100.0 and (not p.short or p.exit <= 100.0 - p.low))

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> ArrayLike:
        """Return +1 while long, -1 while short, else 0."""
        strength = rsi(bars.close, p.period)
        target = held(enter=strength < p.low, leave=strength > p.exit)
        if p.short:
            target -= held(enter=strength > 100.0 - p.low, leave=strength < 100.0 - p.exit)
        return target

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return the RSI and the levels of entry and exit, for the report."""
        level = np.ones(len(bars))
        return {
            "RSI": {
                "RSI": rsi(bars.close, p.period),
                "buy below": p.low * level,
                "leave above": p.exit * level,
            }
        }


def held(enter: NDArray[np.bool_], leave: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 from a bar of `enter` on until a bar of `leave`, else 0."""
    said = enter | leave
    return np.append(0.0, enter[np.flatnonzero(said)])[np.cumsum(said)]  # what was said last
