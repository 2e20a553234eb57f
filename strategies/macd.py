"""MACD crossover."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import quant as q
from quant.indicators import macd


class MacdCross(q.Strategy):
    """Long while the MACD line is above its signal line, else flat; short instead of flat with `short`.

    The MACD line is the difference of two exponential averages of the close, its signal line an exponential
    average of that. Source: G. Appel, Technical Analysis: Power Tools for Active Investors (2005).
    """

    params = dict(fast=12, slow=26, signal=9, short=False)

    @staticmethod
    def valid(p: Any) -> bool:
        """The fast average is the shorter one."""
        return bool(p.fast < p.slow)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> ArrayLike:
        """Return +1 above the signal line, 0 or -1 elsewhere; NaN while there is no MACD yet."""
        found = macd(bars.close, p.fast, p.slow, p.signal)
        above = (found.line > found.signal).astype(float)
        target = 2.0 * above - 1.0 if p.short else above
        target[np.isnan(found.signal)] = np.nan
        return target

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return both lines, for the report."""
        line, signal, _ = macd(bars.close, p.fast, p.slow, p.signal)
        return {"MACD": {"line": line, "signal": signal}}
