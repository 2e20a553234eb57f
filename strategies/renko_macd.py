"""Renko and MACD."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import quant as q
from quant.indicators import atr_size, macd, renko, slope


class RenkoMacd(q.Strategy):
    """Buy after `bricks` rising bricks in a row, if the MACD line is above its signal line and rises faster.

    Leave when both MACD conditions have turned: line below signal, and falling faster. Shorts are the mirror
    image; a position is reversed where the conditions for the opposite entry hold. Which line rises faster is
    told by the angles of their last `slope` values, as indicators.slope draws them.

    size, atr_period, atr_factor: as in RenkoTrend. Source: the course; its brick was the whole sample's last
    ATR, which nobody knew in time: ours is the one known before each bar. Its live programs use reversal=1.
    """

    params = dict(
        size=None, atr_period=120, atr_factor=1.0, bricks=2, reversal=2,
        fast=12, slow=26, signal=9, slope=5, short=True,
    )  # fmt: skip

    @staticmethod
    def valid(p: Any) -> bool:
        """A trend is at least one brick, and the fast average the shorter one."""
        return bool(p.bricks >= 1 and p.fast < p.slow)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> ArrayLike:
        """Return +1 while long, -1 while short, else 0."""
        size = atr_size(bars, p.atr_period, p.atr_factor) if p.size is None else p.size
        run = renko(bars, size, reversal=p.reversal).count
        found = macd(bars.close, p.fast, p.slow, p.signal)
        line, signal = found.line, found.signal
        line_slope, signal_slope = slope(line, p.slope), slope(signal, p.slope)
        up = (line > signal) & (line_slope > signal_slope)
        down = (line < signal) & (line_slope < signal_slope)

        target = held(enter=up & (run >= p.bricks), leave=down)
        if p.short:
            target -= held(enter=down & (run <= -p.bricks), leave=up)
        return target

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return the last brick's close, the bricks in a row, and both MACD lines, for the report."""
        size = atr_size(bars, p.atr_period, p.atr_factor) if p.size is None else p.size
        line, signal, _ = macd(bars.close, p.fast, p.slow, p.signal)
        bricks = renko(bars, size, reversal=p.reversal)
        return {
            "price": {"last brick": bricks.close}, "Bricks": {"in a row": bricks.count},
            "MACD": {"line": line, "signal": signal},
        }  # fmt: skip


def held(enter: NDArray[np.bool_], leave: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return 1 from a bar of `enter` on until a bar of `leave`, else 0."""
    rows = np.flatnonzero(enter | leave)
    turns = rows[np.diff(enter[rows], prepend=False)]  # where another thing is said than the last time
    return np.repeat(np.arange(len(turns) + 1) % 2.0, np.diff(turns, prepend=0, append=len(enter)))
