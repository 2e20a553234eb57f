"""Renko trend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import quant as q
from quant.indicators import atr_size, renko


class RenkoTrend(q.Strategy):
    """Long after `bricks` rising bricks in a row until as many fall in a row; then flat, or short with `short`.

    size: of a brick, in price units, one for all bars. None: atr_factor x ATR(atr_period) as known before each
    bar, so bricks grow and shrink with the market's range. reversal: bricks that a turn takes, 2 as usual, 1 as
    in the course.
    Source: S. Nison, Beyond Candlesticks (1994), on renko charts; what a brick is: quant/indicators/renko.py.
    """

    params = dict(size=None, atr_period=120, atr_factor=1.0, bricks=2, reversal=2, short=False)

    @staticmethod
    def valid(p: Any) -> bool:
        """A trend is at least one brick."""
        return bool(p.bricks >= 1)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> ArrayLike:
        """Return +1 in a rising trend, 0 or -1 in a falling one; 0 before the first."""
        size = atr_size(bars, p.atr_period, p.atr_factor) if p.size is None else p.size
        run = renko(bars, size, reversal=p.reversal).count
        falling = -1.0 if p.short else 0.0
        turns: NDArray[np.bool_] = np.abs(run) >= p.bricks
        side = np.where(run[np.flatnonzero(turns)] > 0, 1.0, falling)
        return np.append(0.0, side)[np.cumsum(turns)]  # that of the newest turn

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return where the last brick closed, and how many there are in a row, for the report."""
        size = atr_size(bars, p.atr_period, p.atr_factor) if p.size is None else p.size
        found = renko(bars, size, reversal=p.reversal)
        return {"price": {"last brick": found.close}, "Bricks": {"in a row": found.count}}
