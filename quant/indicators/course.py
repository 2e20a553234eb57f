"""The indicators as the course taught them, by name, so that its results can be repeated.

Written with pandas' exponentially weighted mean, which averages from the first number on (adjust=True) where
TA-Lib waits for a simple mean. Each says whether and when it meets its namesake in `standard.py`; the
statements are tests. Same shapes, NaN, gap and prefix rules as there; the values are not TA-Lib's, so name
one in a strategy and keep to it. Source of the rules: the project's notes on the course.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from quant.core.growing import of_growing
from quant.indicators.inputs import Floats, PriceBars, before_gap, floats, high_low_close, period_of
from quant.indicators.shared import shared
from quant.indicators.standard import Macd, Stochastic


@shared
def macd_course(close: ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Return MACD with ewm(span=n, adjust=True, min_periods=n) for each of its three averages.

    The line starts at row slow - 1, signal and histogram at row slow + signal - 2. Meets `macd` (default
    periods) to a twentieth of a bar's typical move by bar 100, to a millionth by bar 250; crossings before
    may differ. fast may exceed slow here: the sign turns.
    """
    fast, slow = period_of("fast", fast, 1), period_of("slow", slow, 1)
    signal = period_of("signal", signal, 1)

    def over(rows: Floats) -> tuple[Floats, ...]:
        line = _ewm(rows, (fast - 1) / 2, fast) - _ewm(rows, (slow - 1) / 2, slow)  # span n is com (n - 1)/2
        average = _ewm(line, (signal - 1) / 2, signal)
        return line, average

    return Macd(*before_gap(over, floats("close", close)))


@shared
def rsi_course(close: ArrayLike, period: int = 14) -> Floats:
    """Return RSI with ewm(alpha=1/n, min_periods=n) of gains and losses, from row period - 1 on.

    The first bar's change counts as 0, hence a row earlier than `rsi`. Meets `rsi` (14) to a tenth of a point
    by bar 100, to a hundred-thousandth by bar 250. NaN while nothing has changed, where TA-Lib says 0.
    """
    period = period_of("period", period, 1)

    def over(rows: Floats) -> tuple[Floats, ...]:
        start = int(np.argmin(np.isnan(rows))) if len(rows) else 0
        change = np.diff(rows, prepend=rows[:1])
        change[start : start + 1] = 0.0
        com = (1.0 - 1.0 / period) / (1.0 / period)  # as pandas turns alpha = 1/n into com
        gain = _ewm(np.maximum(change, 0.0), com, period)
        loss = _ewm(np.maximum(-change, 0.0), com, period)
        with np.errstate(divide="ignore", invalid="ignore"):  # no loss: 100; neither: NaN
            return (100.0 - 100.0 / (1.0 + gain / loss),)

    return before_gap(over, floats("close", close))[0]


@shared
def atr_course(bars: PriceBars, period: int = 14) -> Floats:
    """Return ATR with ewm(com=n, min_periods=n) of the true range, in price units, from row `period` on.

    com=n means alpha = 1/(n + 1), not Wilder's 1/n: never meets `atr(bars, n)`, however long the
    history; meets `atr(bars, n + 1)`, at n = 14 by about bar 150.
    """
    period = period_of("period", period, 1)

    def over(high: Floats, low: Floats, close: Floats) -> tuple[Floats, ...]:
        previous = np.concatenate([np.full(min(1, len(close)), np.nan), close[:-1]])
        true_range = np.maximum(high, previous) - np.minimum(low, previous)  # NaN for the first bar
        return (_ewm(true_range, float(period), period),)

    return before_gap(over, *high_low_close(bars))[0]


@shared
def stochastic_course(bars: PriceBars, k: int = 20, d: int = 3) -> Stochastic:
    """Return the course's stochastic: raw %K = 100 (C - LL)/(HH - LL) over `k` bars, %D = SMA(d).

    The course trades on the smoothed line, `.d` here. Equals `stochastic(bars, k, d, smooth=1)` to rounding,
    but %K starts at row k - 1, and a window without range gives NaN (and for d - 1 rows more in %D), not 0.
    """
    k, d = period_of("k", k, 1), period_of("d", d, 1)

    def over(high: Floats, low: Floats, close: Floats) -> tuple[Floats, ...]:
        highest = pd.Series(high).rolling(k).max()
        lowest = pd.Series(low).rolling(k).min()
        raw = (pd.Series(close) - lowest) / (highest - lowest) * 100.0
        return raw.to_numpy(copy=True), raw.rolling(d).mean().to_numpy(copy=True)

    return Stochastic(*before_gap(over, *high_low_close(bars)))


@shared
def slope(values: ArrayLike, period: int = 5) -> Floats:
    """Return the angle in degrees of a least-squares line through the last `period` values.

    Both axes are scaled to [0, 1] in each window, so the result, in (-90, 90), tells the shape and not the
    size of a move: a straight rise is 45 whatever its steepness. A flat window is 0. From row period - 1 on;
    period >= 2. A gap makes NaN of the windows that hold it, and only of them.
    """
    period = period_of("period", period, 2)
    return of_growing(("slope", period), floats("values", values), period, partial(_slope, period))


def _slope(period: int, rows: Floats) -> Floats:
    angle = np.full(len(rows), np.nan)
    if len(rows) < period:
        return angle
    # A pass over the whole array for each place in the window: every row sees the same operations in the same
    # order, so a prefix gives the same bits (a matrix product would not promise that).
    places = [rows[i : len(rows) - period + 1 + i] for i in range(period)]
    lowest, highest = np.minimum(places[0], places[1]), np.maximum(places[0], places[1])
    for place in places[2:]:
        np.minimum(lowest, place, out=lowest)
        np.maximum(highest, place, out=highest)
    x = np.linspace(0.0, 1.0, period) - 0.5  # from its mean
    covariance = angle[period - 1 :]
    covariance[:] = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        height = np.subtract(highest, lowest, out=highest)
        height[height == 0.0] = 1.0  # a flat window: 0/1
        part = np.empty(len(height))
        for weight, place in zip(x, places, strict=True):
            np.subtract(place, lowest, out=part)
            part /= height
            part *= weight
            covariance += part
    covariance /= np.sum(x * x)
    np.arctan(covariance, out=covariance)
    covariance *= 180.0 / np.pi  # the bits of np.degrees, whose loop takes as long as arctan's
    return angle


def _ewm(values: Floats, com: float, least: int) -> Floats:
    """Return pandas' ewm mean (adjust=True), alpha = 1/(1 + com), NaN before `least` numbers."""
    return pd.Series(values).ewm(com=com, min_periods=least, adjust=True).mean().to_numpy(copy=True)
