"""The quick look-ahead test that runs with each backtest: usual cheats are seen, honest strategies are not accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib

import quant as q
from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.strategy import look_ahead, parameters, plans

Rule = Callable[[q.Bars], Any]


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.synthetic("AAA", "15m", "2020-01-01", "2020-02-14", seed=3)


def seen(rule: Rule, *feeds: q.Bars) -> Finding | None:
    class Ruled(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return rule(bars)

    params = parameters(Ruled, None)
    return look_ahead(Ruled, feeds, params, plans(Ruled, feeds, params))[1]


def close(bars: q.Bars) -> pd.Series[float]:
    return bars.frame()["close"]


def sign(values: Any) -> Any:
    return np.sign(np.asarray(values, dtype=float))


# ---------------------------------------------------------------- cheats
def tomorrow(b: q.Bars) -> Any:
    return sign(close(b).shift(-1) - close(b))


def centred(b: q.Bars) -> Any:
    return sign(close(b) - close(b).rolling(21, center=True).mean())


def whole_sample_score(b: q.Bars) -> Any:
    return sign((close(b) - close(b).mean()) / close(b).std())


def last_atr(b: q.Bars) -> Any:
    """Renko bricks of the whole sample's last ATR: the course's mistake."""
    size = talib.ATR(b.high, b.low, b.close, 14)[-1] * 5
    return sign(np.floor(b.close / size) - np.floor(b.close[0] / size))


def label_leak(b: q.Bars) -> Any:
    """pandas labels an hour by its start, so the whole hour is known at its first quarter."""
    hours = close(b).resample("1h").last()
    return sign(hours.reindex(b.frame().index, method="ffill") - close(b))


def date_merge(b: q.Bars) -> Any:
    """The day's own close, joined by date to each of its bars."""
    days = pd.Series(b.close).groupby(b.session).transform("last")
    return sign(days - b.close)


def stop_of_tomorrow(b: q.Bars) -> Any:
    return q.Signals(np.ones(len(b)), stop=np.append(b.low[1:], np.nan))


def limit_of_tomorrow(b: q.Bars) -> Any:
    return q.Signals(np.ones(len(b)), limit=np.append(b.high[1:], np.nan))


def whole_sample_quantile(b: q.Bars) -> Any:
    return (b.volume > np.quantile(b.volume, 0.9)).astype(float)


def of_the_length(b: q.Bars) -> Any:
    return np.where(np.arange(len(b)) < len(b) / 2, 1.0, -1.0)


CHEATS = [
    tomorrow, centred, whole_sample_score, last_atr, label_leak, date_merge, stop_of_tomorrow, limit_of_tomorrow,
    whole_sample_quantile, of_the_length,
]  # fmt: skip


@pytest.mark.parametrize("rule", CHEATS)
def test_a_cheat_is_seen(rule: Rule, bars: q.Bars) -> None:
    found = seen(rule, bars)
    assert found is not None
    assert found.code == "look-ahead"
    assert "Ruled looks ahead: its signal for bar" in found.message


def test_a_cheat_on_the_second_feed_is_seen(bars: q.Bars) -> None:
    other = q.synthetic("BBB", "1d", "2020-01-01", "2020-02-14", seed=4)
    assert seen(lambda b: tomorrow(b) if b.symbol == "BBB" else sign(b.close), bars, other) is not None


def test_a_cheat_across_the_panel_is_seen(bars: q.Bars) -> None:
    class Across(q.Strategy):
        @staticmethod
        def signals_all(panel: q.Panel, p: Any) -> Any:
            ahead = np.vstack([panel.close[1:, ::-1], panel.close[-1:, ::-1]])
            return sign(ahead - panel.close[:, ::-1])

    other = q.synthetic("BBB", "1h", "2020-01-01", "2020-02-14", seed=4)
    assert look_ahead(Across, [bars, other], {}, plans(Across, [bars, other], {}))[1] is not None


# ---------------------------------------------------------------- honest
def recursive(b: q.Bars) -> Any:
    return sign(close(b).ewm(span=10).mean() - close(b).ewm(span=40, adjust=False).mean())


def library_ema(b: q.Bars) -> Any:
    return sign(talib.EMA(b.close, 5) - talib.EMA(b.close, 30))


def expanding_score(b: q.Bars) -> Any:
    return sign((close(b) - close(b).expanding().mean()) / close(b).expanding().std())


def hourly_asof(b: q.Bars) -> Any:
    hours = b.resample("1h")
    line = talib.SMA(hours.close, 3) if len(hours) >= 3 else np.full(len(hours), np.nan)
    return sign(b.asof(hours, line) - b.close)


def daily_asof(b: q.Bars) -> Any:
    days = b.resample("1d")
    return sign(b.close - b.asof(days, days.close))


def running_sum(b: q.Bars) -> Any:
    return sign(np.cumsum(np.diff(b.close, prepend=b.close[0]) * b.volume))


def with_exits(b: q.Bars) -> Any:
    return q.Signals(np.ones(len(b)), stop=b.low * 0.99, limit=b.high * 1.01, follow_stop=True)


def bricks(b: q.Bars) -> Any:
    """Size from the first hundred bars only, and no opinion before that."""
    size = float(np.mean(b.high[:100] - b.low[:100])) * 5
    run = sign(np.floor(b.close / size) - np.floor(b.close[0] / size))
    return np.where(np.arange(len(b)) < 100, np.nan, run)


def nothing(b: q.Bars) -> Any:
    return np.full(len(b), np.nan)


HONEST = [
    recursive,
    library_ema,
    expanding_score,
    hourly_asof,
    daily_asof,
    running_sum,
    with_exits,
    bricks,
    nothing,
]


@pytest.mark.parametrize("rule", HONEST)
def test_an_honest_strategy_is_not_accused(rule: Rule, bars: q.Bars) -> None:
    assert seen(rule, bars) is None


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8])
def test_short_runs_are_no_cheats(length: int, bars: q.Bars) -> None:
    assert seen(running_sum, bars[:length]) is None


# ---------------------------------------------------------------- signals that refuse short prefixes
@pytest.mark.parametrize("error", [ValueError, IndexError, lambda m: ParameterError("bars", 1, m)])
def test_signals_that_need_a_number_of_bars_are_not_accused(error: Any, bars: q.Bars) -> None:
    def needs(b: q.Bars) -> Any:
        if len(b) < len(bars) // 3:
            raise error("too few bars")
        return sign(b.close - b.close[0])

    assert seen(needs, bars) is None


def test_nor_are_they_trusted_for_it(bars: q.Bars) -> None:
    def needs(b: q.Bars) -> Any:
        if len(b) < len(bars) // 3:
            raise ValueError("too few bars")
        return tomorrow(b)

    assert seen(needs, bars) is not None


@pytest.mark.parametrize("error", [ValueError, lambda m: ParameterError("bars", 1, m)])
def test_signals_that_take_the_whole_run_only_cannot_be_checked(error: Any, bars: q.Bars) -> None:
    def whole(b: q.Bars) -> Any:
        if len(b) != len(bars):
            raise error("made for another length")
        return sign(b.close)

    found = seen(whole, bars)
    assert found is not None
    assert f"signals fail on the first {len(bars) - 1} of {len(bars)} bars alone" in found.message
    assert "made for another length" in found.message


def test_signals_of_a_fixed_length_cannot_be_checked_either(bars: q.Bars) -> None:
    found = seen(lambda b: np.ones(len(bars)), bars)
    assert found is not None
    assert "values for" in found.message


def test_a_longer_prefix_that_fails_where_a_shorter_one_did_not_is_told(bars: q.Bars) -> None:
    def odd(b: q.Bars) -> Any:
        if len(bars) // 2 < len(b) < len(bars):
            raise ValueError("only short or whole")
        return sign(b.close - b.close[0])

    assert seen(odd, bars) is not None
