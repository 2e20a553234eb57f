"""Strategies that look ahead, each in its own way, and honest ones that resemble them. Of a module: a second process
must find them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import talib
from numpy.lib.stride_tricks import sliding_window_view

import quant as q
from quant.indicators import atr_size, renko

Rule = Callable[[q.Bars], Any]


def ruled(rule: Rule) -> type[q.Strategy]:
    """Return a strategy whose signals are those of a rule."""

    class Ruled(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return rule(bars)

    return Ruled


def close(b: q.Bars) -> pd.Series[float]:
    return b.frame()["close"]


def sign(values: Any) -> Any:
    return np.sign(np.asarray(values, dtype=float))


# ---------------------------------------------------------------- cheats: the usual ones
def tomorrow(b: q.Bars) -> Any:
    return sign(close(b).shift(-1) - close(b))


def centred_window(b: q.Bars) -> Any:
    return sign(close(b) - close(b).rolling(21, center=True).mean())


def whole_sample_score(b: q.Bars) -> Any:
    return sign((close(b) - close(b).mean()) / close(b).std())


def whole_sample_atr(b: q.Bars) -> Any:
    """Renko bricks of the last ATR: the course's mistake."""
    size = talib.ATR(b.high, b.low, b.close, 14)[-1] * 5 if len(b) > 15 else np.nan
    return sign(np.floor(b.close / size) - np.floor(b.close[0] / size))


def normalised_by_the_final_high(b: q.Bars) -> Any:
    return b.close / np.max(b.close) > 0.97


def target_scaled_by_the_whole_sample(b: q.Bars) -> Any:
    returns = close(b).pct_change().fillna(0.0)
    return returns.rolling(5).mean() / returns.std()


def resampled_label(b: q.Bars) -> Any:
    """pandas labels an hour by its start, so that the whole hour is known at its first quarter."""
    hours = close(b).resample("1h", label="left").last()
    return sign(hours.reindex(b.frame().index, method="ffill") - close(b))


def merged_on_the_session(b: q.Bars) -> Any:
    """The day's own close, joined by date to each of its bars."""
    days = b.resample("1d")
    by_date = pd.Series(days.close, index=days.session)
    return sign(by_date.reindex(b.session).to_numpy() - b.close)


def unfinished_hour(b: q.Bars) -> Any:
    """The hour that a bar lies in, joined by start instead of by `asof`."""
    hours = b.resample("1h")
    row = np.searchsorted(hours.start, b.start, side="right") - 1
    return sign(hours.close[row] - b.close)


def unfinished_week(b: q.Bars) -> Any:
    weeks = b.resample("1d").resample("1w")
    row = np.searchsorted(weeks.start, b.start, side="right") - 1
    return sign(weeks.close[row] - b.close)


def last_bar_of_the_session(b: q.Bars) -> Any:
    """Whether the session's last bar is this one shows only in the next bar's session."""
    return np.append(b.session[1:] != b.session[:-1], True)


def back_filled(b: q.Bars) -> Any:
    return sign(close(b) - close(b).rolling(50).mean().bfill())


def back_filled_for_long(b: q.Bars) -> Any:
    return sign(close(b) - close(b).rolling(400).mean().bfill())


def fitted_line(b: q.Bars) -> Any:
    rows = np.arange(len(b))
    return sign(b.close - np.polyval(np.polyfit(rows, b.close, 3), rows)) if len(b) > 4 else np.zeros(len(b))


def regression_on_the_whole_sample(b: q.Bars) -> Any:
    r = np.diff(np.log(b.close), prepend=np.log(b.close[0]))
    beta = np.dot(r[1:], r[:-1]) / max(np.dot(r, r), 1e-12)
    return sign(beta * r)


def whole_sample_quantile(b: q.Bars) -> Any:
    return b.volume > np.quantile(b.volume, 0.9)


def whole_sample_rank(b: q.Bars) -> Any:
    return close(b).rank(pct=True) < 0.3


def there_and_back(b: q.Bars) -> Any:
    """An average that runs forwards, then backwards, so that it has no lag: filtfilt."""
    forth = close(b).ewm(span=10, adjust=False).mean()
    return sign(close(b) - forth[::-1].ewm(span=10, adjust=False).mean()[::-1])


def interpolated(b: q.Bars) -> Any:
    """Every tenth close, and straight lines between them."""
    return sign(close(b).where(np.arange(len(b)) % 10 == 0).interpolate() - close(b))


def rolled(b: q.Bars) -> Any:
    return sign(np.roll(b.close, -3) - b.close)


def pivots(b: q.Bars) -> Any:
    """A low that two later bars confirm, bought at the low."""
    return (b.low < np.append(b.low[1:], np.inf)) & (b.low < np.append(b.low[2:], [np.inf, np.inf]))


def gradient(b: q.Bars) -> Any:
    """numpy's gradient is a central difference."""
    return sign(np.gradient(b.close)) if len(b) > 1 else np.zeros(len(b))


def stop_of_tomorrow(b: q.Bars) -> Any:
    return q.Signals(np.ones(len(b)), stop=np.append(b.low[1:], np.nan))


def limit_of_tomorrow(b: q.Bars) -> Any:
    return q.Signals(np.ones(len(b)), limit=np.append(b.high[1:], np.nan))


def of_the_length(b: q.Bars) -> Any:
    return np.where(np.arange(len(b)) < len(b) / 2, 1.0, -1.0)


# ---------------------------------------------------------------- cheats that hide
def only_before_the_last_bar(b: q.Bars) -> Any:
    """Honest, but for the last row but one of whatever it is given."""
    target = sign(close(b) - close(b).rolling(20).mean())
    if len(b) > 1:
        target[-2] = np.sign(b.close[-1] - b.close[-2])
    return target


def _at_multiples(b: q.Bars, of: int) -> Any:
    """Decide at every `of`-th bar only, knowing the next; in between no opinion."""
    return np.where(np.arange(len(b)) % of == 0, tomorrow(b), np.nan)


def at_multiples_of_100(b: q.Bars) -> Any:
    return _at_multiples(b, 100)


def at_multiples_of_700(b: q.Bars) -> Any:
    return np.where(np.arange(len(b)) % 700 == 699, tomorrow(b), np.nan)


def back_filled_by_one(b: q.Bars) -> Any:
    return sign(close(b).diff().bfill())


def only_on_long_histories(b: q.Bars) -> Any:
    """Up to 1,000 bars an expanding mean, beyond that the whole one."""
    honest = close(b).expanding().mean()
    return sign(close(b) - (honest if len(b) <= 1000 else close(b).mean()))


def only_in_quiet_hours(b: q.Bars) -> Any:
    """Peeks on one session only."""
    honest = sign(close(b) - close(b).rolling(20).mean())
    return np.where(b.session == b.session[0] + np.timedelta64(21, "D"), tomorrow(b), honest)


@lru_cache(maxsize=64)
def _mean_of(symbol: str, first: int) -> list[float]:
    return []


def remembers(b: q.Bars) -> Any:
    """Keeps the first mean that it computes for a symbol: whole-sample in a backtest, whatever comes later."""
    kept = _mean_of(b.symbol, int(b.start[0]))
    if not kept:
        kept.append(float(np.mean(b.close)))
    return sign(b.close - kept[0])


CHEATS: list[Rule] = [
    tomorrow, centred_window, whole_sample_score, whole_sample_atr, normalised_by_the_final_high,
    target_scaled_by_the_whole_sample, resampled_label, merged_on_the_session, unfinished_hour, unfinished_week,
    last_bar_of_the_session, back_filled, back_filled_for_long, fitted_line, regression_on_the_whole_sample,
    whole_sample_quantile, whole_sample_rank, there_and_back, interpolated, rolled, pivots, gradient,
    stop_of_tomorrow, limit_of_tomorrow, of_the_length, only_before_the_last_bar, at_multiples_of_100,
    at_multiples_of_700, back_filled_by_one, only_on_long_histories, only_in_quiet_hours,
]  # fmt: skip


# ---------------------------------------------------------------- honest
def recursive(b: q.Bars) -> Any:
    return sign(close(b).ewm(span=10).mean() - close(b).ewm(span=40, adjust=False).mean())


def library_average(b: q.Bars) -> Any:
    return sign(talib.EMA(b.close, 5) - talib.EMA(b.close, 30))


def continuous_target(b: q.Bars) -> Any:
    line, slow = talib.EMA(b.close, 5), talib.EMA(b.close, 30)
    return np.clip((line / slow - 1.0) * 20.0, -1.0, 1.0)


def rolling_windows(b: q.Bars) -> Any:
    c = close(b)
    return ((c - c.rolling(20).mean()) / c.rolling(20).std()).clip(-2.0, 2.0)


def expanding_score(b: q.Bars) -> Any:
    return sign((close(b) - close(b).expanding().mean()) / close(b).expanding().std())


def hourly_asof(b: q.Bars) -> Any:
    hours = b.resample("1h")
    line = talib.SMA(hours.close, 3) if len(hours) >= 3 else np.full(len(hours), np.nan)
    return sign(b.asof(hours, line) - b.close)


def daily_asof(b: q.Bars) -> Any:
    days = b.resample("1d")
    return sign(b.close - b.asof(days, days.close))


def weekly_asof(b: q.Bars) -> Any:
    weeks = b.resample("1d").resample("1w")
    return sign(b.close - b.asof(weeks, weeks.close))


def running_sum(b: q.Bars) -> Any:
    return sign(np.cumsum(np.diff(b.close, prepend=b.close[0]) * b.volume))


def yesterdays_range(b: q.Bars) -> Any:
    """Merged on the session too, but of the day before."""
    high = pd.Series(b.high).groupby(b.session).max().shift(1)
    return b.close > high.reindex(b.session).to_numpy()


def before_the_close(b: q.Bars) -> Any:
    """The calendar, and with it a half day's close, is known in advance."""
    return np.where(b.minutes_to_close <= 30.0, 0.0, 1.0)


def with_exits(b: q.Bars) -> Any:
    held = close(b) > close(b).rolling(10).mean()
    return q.Signals(held, stop=b.low * 0.99, limit=b.high * 1.01, follow_stop=True)


def trailing_stop(b: q.Bars) -> Any:
    return q.Signals(np.ones(len(b)), stop=close(b).cummax() * 0.9, follow_stop=True)


def renko_trend(b: q.Bars) -> Any:
    return sign(renko(b, atr_size(b, 14), reversal=2).count)


def renko_grid(b: q.Bars) -> Any:
    return sign(renko(b, 0.5, anchor=100.0).count)


def convolved(b: q.Bars) -> Any:
    """A weighted mean of the last five closes, as a convolution."""
    return sign(b.close - np.convolve(b.close, [0.4, 0.3, 0.15, 0.1, 0.05])[: len(b)])


def product_of_windows(b: q.Bars) -> Any:
    """No opinion on a history shorter than the window; on a longer one 0 in the rows before it is full."""
    if len(b) < 10:
        return np.full(len(b), np.nan)
    mean = np.append(np.full(9, np.nan), sliding_window_view(b.close, 10) @ np.full(10, 0.1))
    return b.close > mean


def needs_a_hundred_bars(b: q.Bars) -> Any:
    if len(b) < 100:
        raise ValueError("too few bars")
    return sign(close(b) - close(b).rolling(100).mean())


def nothing(b: q.Bars) -> Any:
    return np.full(len(b), np.nan)


def always(b: q.Bars) -> Any:
    return np.ones(len(b))


HONEST: list[Rule] = [
    recursive, library_average, continuous_target, rolling_windows, expanding_score, hourly_asof, daily_asof,
    weekly_asof, running_sum, yesterdays_range, before_the_close, with_exits, trailing_stop, renko_trend, renko_grid,
    convolved, product_of_windows, needs_a_hundred_bars, nothing, always,
]  # fmt: skip


# ---------------------------------------------------------------- in other ways no sound strategy
class Remembers(q.Strategy):
    """Looks honest in one process: what it saw first is kept."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return remembers(bars)


_SCORES: dict[Any, Any] = {}


def _kept(what: str, b: q.Bars, compute: Any) -> Any:
    """Return what was computed of the longest of these histories so far."""
    key = (what, b.symbol, int(b.start[0]))
    if key not in _SCORES or len(_SCORES[key]) < len(b):
        _SCORES[key] = compute(b)
    return _SCORES[key][: len(b)]


class KeepsScore(q.Strategy):
    """Keeps the score of the whole sample until a longer history comes: each history is answered from it."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return _kept("score", bars, lambda b: (b.close - b.close.mean()) / b.close.std()) < -0.1


class KeepsTomorrow(q.Strategy):
    """Keeps whether the next close is higher, in the same way."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return _kept("tomorrow", bars, lambda b: np.append(b.close[1:], b.close[-1]) > b.close)


class KeepsAverage(q.Strategy):
    """Honest: what it keeps in the same way knows no later bars."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return bars.close > _kept("average", bars, lambda b: close(b).rolling(20).mean().to_numpy())


class SetOrder(q.Strategy):
    """Adds up numbers in the order of a set of texts, which differs from process to process."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        words = {f"word {n}" for n in range(50)}
        return np.full(len(bars), float(int.from_bytes("".join(words).encode(), "big") % 1_000_003))


class Honest(q.Strategy):
    """Above its average of `period` bars."""

    params = dict(period=20)

    @staticmethod
    def valid(p: Any) -> bool:
        return bool(p.period >= 1)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return close(bars) > close(bars).rolling(p.period).mean()
