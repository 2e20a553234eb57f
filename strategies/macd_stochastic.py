"""MACD and stochastic, with a stop that follows the close."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import quant as q
from quant.indicators import atr, macd, stochastic


class MacdStochastic(q.Strategy):
    """Buy when the MACD line is above its signal line and %K is above `above` and rises; leave by the stop only.

    The stop for a bar lies atr_factor x ATR below the close before it, so it follows each close, up and down.
    A bar that reaches it ends the trade, and no trade begins on its close, whatever MACD and %K say; the next
    bar that meets the conditions buys again. Long only, made for bars of 15 minutes.
    Source: the course; it fills at the stop's level even where the market opened below, we do not.
    """

    params = dict(
        fast=12, slow=26, signal=9, stochastic=20, smooth=3, above=30.0, atr_period=60, atr_factor=1.0
    )

    @staticmethod
    def valid(p: Any) -> bool:
        """The fast average is the shorter one, and the stop lies below the close."""
        return bool(p.fast < p.slow and p.atr_factor > 0.0)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        """Return +1 from a buy to the bar that reaches the stop, else 0; and the stop for the bar to come."""
        line, signal, _ = macd(bars.close, p.fast, p.slow, p.signal)
        k = stochastic(bars, p.stochastic, d=1, smooth=p.smooth).k
        buy = (line > signal) & (k > p.above) & (k > np.append(np.nan, k[:-1]))

        level = bars.close - p.atr_factor * atr(bars, p.atr_period)
        stop = last(level, level > 0.0, np.nan)  # where no price is left, the last one stays
        reached = bars.low <= np.append(np.nan, stop)[:-1]
        # The target must become 0 where the stop filled: a target that stays 1 would not buy again.
        enters = buy & ~np.isnan(stop) & ~reached
        return q.Signals(last(enters, enters | reached, 0.0), stop, follow_stop=True)

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return the stop for the bar to come, MACD and %K, for the report."""
        line, signal, _ = macd(bars.close, p.fast, p.slow, p.signal)
        k = stochastic(bars, p.stochastic, d=1, smooth=p.smooth).k
        stop = np.asarray(MacdStochastic.signals(bars, p).stop)
        return {"price": {"stop": stop}, "MACD": {"line": line, "signal": signal}, "Stochastic": {"%K": k}}


def last(values: NDArray[Any], holds: NDArray[np.bool_], before: float) -> NDArray[np.float64]:
    """Return, for each bar, the value of the last bar up to it in which `holds` is true, `before` the first one."""
    lacking = len(holds) - np.count_nonzero(holds)
    if holds[lacking:].all():  # only the first bars lack it: each has its own value from there on
        return np.append(np.full(lacking, before), values[lacking:])
    return np.append(before, values[np.flatnonzero(holds)]).take(np.cumsum(holds))
