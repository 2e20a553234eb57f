"""How far a trade went for and against its holder before it ended. Knows no engine and no orders."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quant.metrics.returns import Floats


def excursions(
    entry: NDArray[np.int64],
    exit_: NDArray[np.int64],
    side: Floats,
    entry_price: Floats,
    exit_price: Floats,
    high: Floats,
    low: Floats,
) -> tuple[Floats, Floats]:
    """Return the maximum favourable and the maximum adverse excursion of each trade.

    entry, exit_: (k,) the bars of its first entry and its last exit, of an open trade the number of bars.
    side: (k,) above 0 long, below 0 short. entry_price, exit_price: (k,) above 0. high, low: (n,) of all bars.
    Result: two (k,) arrays, fractions of the entry price: favourable >= 0, adverse <= 0; NaN where the entry
    price is not above 0. The bars from the entry's up to the one before the exit's count whole, of the exit's bar
    only the exit price: what else it saw came before or after the exit, and it does not tell.
    Source: J. Sweeney, Maximum Adverse Excursion (1997), ch. 1, with highs and lows in place of closes.
    """
    best, worst = np.full(len(entry), math.nan), np.full(len(entry), math.nan)
    for k, (first, last) in enumerate(zip(entry, exit_, strict=True)):
        price = float(entry_price[k])
        if not price > 0.0:
            continue
        top = max(float(np.max(high[first:last], initial=-math.inf)), float(exit_price[k]), price)
        bottom = min(float(np.min(low[first:last], initial=math.inf)), float(exit_price[k]), price)
        up, down = top / price - 1.0, bottom / price - 1.0
        best[k], worst[k] = (up, down) if side[k] > 0 else (-down, -up)
    return best, worst
