"""The standard indicators: TA-Lib over the whole history, behind one face.

Each function takes whole arrays and returns fresh (n,) float64 arrays, NaN until the indicator is defined.
Row i depends on rows up to i only, and a prefix of the input gives the same bits as a prefix of the result,
so that backtest, sweep and live agree as long as they hold the same history. Values start where TA-Lib starts
them, so another start of history gives other values (slowly forgotten by EMA, RSI, ATR, ADX and MACD).

Leading NaN are allowed and shift the start (`ema(rsi(close), 9)`). After a NaN or an infinity later on every
row is NaN. Input shorter than the look-back, or empty, gives all NaN. Wrong periods raise ParameterError.

TA-Lib 0.8.2 computes without the GIL and keeps no state between calls, so threads may share it. Its one
process-wide setting that moves values is the unstable period (of EMA, which MACD uses, RSI, ATR and ADX): a
call refuses to run with it changed. set_compatibility does nothing any more in this release. Source of all
formulas: TA-Lib's C code, ta-lib.org; the books are named below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import talib
from numpy.typing import ArrayLike
from talib import get_unstable_period  # type: ignore[attr-defined]  # missing in the stubs of TA-Lib 0.8.2

from quant.errors import ParameterError
from quant.indicators.inputs import (
    Floats,
    PriceBars,
    before_gap,
    first_number,
    floats,
    high_low_close,
    period_of,
)
from quant.indicators.shared import memo_here, shared

UNSTABLE = ("EMA", "RSI", "ATR", "ADX")  # functions used here that heed TA-Lib's unstable periods

SIMPLE: Any = 0  # TA-Lib's MA_Type.SMA; as a plain number, which its stubs do not take


@dataclass(frozen=True, eq=False)
class Macd:
    """MACD line, its signal line, and line - signal; (n,) float64 each, in price units. Unpacks as these three."""

    line: Floats
    signal: Floats

    @cached_property
    def histogram(self) -> Floats:
        """Line - signal; made when it is asked for, since crossings need only the two."""
        return self.line - self.signal

    def __iter__(self) -> Iterator[Floats]:
        return iter((self.line, self.signal, self.histogram))

    def __getitem__(self, index: int) -> Floats:
        return (self.line, self.signal, self.histogram)[index]

    def __len__(self) -> int:
        return 3


class Stochastic(NamedTuple):
    """%K and its average %D; (n,) float64 each, 0 to 100."""

    k: Floats
    d: Floats


class Bands(NamedTuple):
    """Bollinger bands; (n,) float64 each, in price units."""

    upper: Floats
    middle: Floats
    lower: Floats


def macd(close: ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Return moving average convergence/divergence: EMA(fast) - EMA(slow), its EMA(signal), the difference.

    All three start together at row slow + signal - 2. TA-Lib's seeding: the slow EMA starts as the mean of
    the first `slow` closes, the fast one as the mean of the last `fast` of these, the signal as the mean of
    the first `signal` line values. backtrader's bt.ind.MACD seeds the fast EMA with the *first* `fast`
    closes: other values for the first 100 bars or so, and other trades. The course's is `macd_course`.
    2 <= fast < slow (TA-Lib would silently exchange them), signal >= 1; in bars.
    Source: G. Appel, Technical Analysis (2005); TA_MACD.
    """
    fast, slow = period_of("fast", fast, 2), period_of("slow", slow, 2)
    signal = period_of("signal", signal, 1)
    if fast >= slow:
        raise ParameterError("fast", fast, f"wants fewer bars than slow = {slow}")
    if memo_here() is None:  # nobody to share the parts with: TA_MACD makes them in one go
        line, average, _ = _talib(talib.MACD, (fast, slow, signal), floats("close", close))
        with np.errstate(all="ignore"):
            known = np.add.reduce(average[first_number(average) :])
        # Else there is a gap; over one of the line, which prices near 1e308 make, TA_MACD would go on.
        if np.isfinite(known):
            return Macd(line, average)
    line = _macd_line(close, fast, slow)
    average = ema(line, signal)
    line = line.copy()
    line[: first_number(average)] = np.nan
    return Macd(line, average)


@partial(shared, at_once=True)
def _macd_line(close: ArrayLike, fast: int, slow: int) -> Floats:
    """Return TA-Lib's EMA(fast) - EMA(slow) from row slow - 1 on: with any signal period it is the same.

    In three parts, so that a sweep makes each of them once; the bits are those of TA_MACD.
    """
    prices = floats("close", close)

    def over(rows: Floats, slower: Floats) -> tuple[Floats, ...]:
        late = first_number(rows) + slow - fast
        line = slower.copy()
        np.subtract(talib.EMA(rows[late:], fast), slower[late:], out=line[late:])
        return (line,)

    return before_gap(over, prices, _slow_average(close, slow))[0]


@partial(shared, at_once=True)
def _slow_average(close: ArrayLike, slow: int) -> Floats:
    """Return the slow average of MACD: with any fast period it is the same."""
    return _talib(talib.EMA, (slow,), floats("close", close))[0]


@shared
def rsi(close: ArrayLike, period: int = 14) -> Floats:
    """Return Wilder's relative strength index, 0 to 100, from row `period` on; period >= 2.

    Average gain and loss start as the means of the first `period` changes, then alpha = 1/period. 0 where all
    those changes are 0 (TA-Lib's choice: neither gain nor loss reads as 0, not as 50).
    Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978); TA_RSI.
    """
    period = period_of("period", period, 2)
    return _talib(talib.RSI, (period,), floats("close", close))[0]


@shared
def atr(bars: PriceBars, period: int = 14) -> Floats:
    """Return Wilder's average true range in price units, from row `period` on; period >= 1.

    True range = max(high, previous close) - min(low, previous close), none for the first bar. Starts as the
    mean of the first `period` true ranges, then alpha = 1/period; `atr_course` uses 1/(period + 1).
    Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978); TA_ATR.
    """
    period = period_of("period", period, 1)
    return _talib(talib.ATR, (period,), *high_low_close(bars))[0]


@shared
def ema(values: ArrayLike, period: int) -> Floats:
    """Return the exponential moving average, alpha = 2/(period + 1), from row period - 1 on; period >= 1.

    Starts as the mean of the first `period` numbers; pandas' ewm starts at the first number. Source: TA_EMA.
    """
    period = period_of("period", period, 1)
    return _talib(talib.EMA, (period,), floats("values", values))[0]


@shared
def sma(values: ArrayLike, period: int) -> Floats:
    """Return the mean of the last `period` values, from row period - 1 on; period >= 1.

    TA-Lib keeps a running sum: last digits differ from a mean taken anew in each window. Source: TA_SMA.
    """
    period = period_of("period", period, 1)
    return _talib(talib.SMA, (period,), floats("values", values))[0]


@shared
def stochastic(bars: PriceBars, k: int = 14, d: int = 3, smooth: int = 3) -> Stochastic:
    """Return the slow stochastic: %K = SMA(smooth) of 100 (C - LL)/(HH - LL), %D = SMA(d) of %K.

    HH and LL: the highest high and lowest low of the last `k` bars.

    TA_STOCH with both averages simple (MA_Type.SMA); smooth=1 gives TA_STOCHF, the fast one. Both lines start
    at row k + smooth + d - 3, %K too. A window without range counts as 0. All periods >= 1.
    Source: G. Lane, Lane's Stochastics (1984); TA_STOCH.
    """
    k, d = period_of("k", k, 1), period_of("d", d, 1)
    smooth = period_of("smooth", smooth, 1)
    return Stochastic(*_talib(_stoch, (k, smooth, d), *high_low_close(bars)))


def _stoch(high: Floats, low: Floats, close: Floats, k: int, smooth: int, d: int) -> tuple[Floats, ...]:
    """Return the bits of TA_STOCH, in half its time: TA_MIN and TA_MAX do not look through each window anew."""
    start = max(map(first_number, (high, low, close)))
    # TA_MIN takes two bars or more, and of 0 and -0 it may choose the other one.
    if k >= 2 and np.min(low[start:], initial=np.inf) > 0.0:
        raw = np.full(len(close), np.nan)
        percent = raw[start + k - 1 :]
        lowest, spread = talib.MIN(low[start:], k)[k - 1 :], talib.MAX(high[start:], k)[k - 1 :]
        with np.errstate(all="ignore"):
            spread -= lowest
            np.subtract(close[start + k - 1 :], lowest, out=percent)
            percent /= spread
            percent *= 100.0  # in this order, as TA_STOCH
        percent[spread == 0.0] = 0.0
        if np.max(percent, initial=0.0) < np.inf and np.min(percent, initial=0.0) > -np.inf:
            smoothed = talib.MA(raw, smooth, SIMPLE)
            average = talib.MA(smoothed, d, SIMPLE)
            smoothed[: start + k + smooth + d - 3] = np.nan
            return smoothed, average
    found: tuple[Floats, ...] = talib.STOCH(high, low, close, k, smooth, SIMPLE, d, SIMPLE)
    return found


@shared
def bbands(values: ArrayLike, period: int = 20, width: float = 2.0) -> Bands:
    """Return Bollinger bands: SMA(period), and `width` population standard deviations (ddof=0) about it.

    From row period - 1 on; period >= 2, width > 0. backtrader's bt.ind.BollingerBands agrees; pandas' std()
    has ddof=1 and does not. Source: J. Bollinger, Bollinger on Bollinger Bands (2001); TA_BBANDS with
    MA_Type.SMA.
    """
    period = period_of("period", period, 2)
    if not 0.0 < width < np.inf:
        raise ParameterError("width", width, "wants a positive number of standard deviations")
    options = (period, float(width), float(width), SIMPLE)
    return Bands(*_talib(talib.BBANDS, options, floats("values", values)))


@shared
def adx(bars: PriceBars, period: int = 14) -> Floats:
    """Return Wilder's average directional index, 0 to 100, from row 2 x period - 1 on; period >= 2.

    TA-Lib starts the sums of movement and true range with period - 1 bars, as Wilder's worksheet does;
    programs that start them with a mean of `period` (backtrader) differ for the first bars.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems (1978); TA_ADX.
    """
    period = period_of("period", period, 2)
    return _talib(talib.ADX, (period,), *high_low_close(bars))[0]


def _talib(function: Any, options: tuple[float, ...], *inputs: Floats) -> tuple[Floats, ...]:
    """Call a TA-Lib function on `inputs` and its options by position; always a tuple of arrays."""
    _check_unstable()

    def over(*rows: Floats) -> tuple[Floats, ...]:
        results = function(*rows, *options)
        return results if isinstance(results, tuple) else (results,)

    return before_gap(over, *inputs)


def _check_unstable() -> None:
    if any(map(get_unstable_period, UNSTABLE)):
        changed = [name for name in UNSTABLE if get_unstable_period(name) != 0]
        reason = (
            "this process set TA-Lib's unstable period of these, which moves where values start; set it to 0"
        )
        raise ParameterError("talib", changed, reason)
