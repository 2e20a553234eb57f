"""Small cases worked out on paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.strategy import Plan, parameters, plans, strategy


def planned(name: str, bars: q.Bars, **params: Any) -> Plan:
    cls = strategy(name)
    return plans(cls, [bars], parameters(cls, params))[0]


def daily(*closes: float) -> q.Bars:
    days = pd.bdate_range("2020-01-02", periods=len(closes))
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    return q.Bars.from_frame(pd.DataFrame({**prices, "volume": 0.0}, index=days), "X")


# ---------------------------------------------------------------- RenkoTrend
# Bricks of 10 from 100, closes only. Rising ones close at 110 (third bar), 120 (sixth), 130 (seventh), 140 and
# 150 (eighth). 139 is one brick down from there by the reversal of one, none by the usual one; 129 is two and
# one, 119 three and two.
CLOSES = (100, 105, 110, 111, 119, 121, 135, 150, 150, 141, 139, 129, 119)


@pytest.mark.parametrize(
    ("params", "changes"),
    [
        ({"bricks": 1}, {0: 0.0, 2: 1.0, 11: 0.0}),
        ({"bricks": 2}, {0: 0.0, 5: 1.0, 12: 0.0}),
        ({"bricks": 2, "short": True}, {0: 0.0, 5: 1.0, 12: -1.0}),
        ({"bricks": 4}, {0: 0.0, 7: 1.0}),
        ({"bricks": 6}, {0: 0.0}),
        ({"bricks": 1, "reversal": 1}, {0: 0.0, 2: 1.0, 10: 0.0}),
        ({"bricks": 2, "reversal": 1, "short": True}, {0: 0.0, 5: 1.0, 11: -1.0}),
        ({"bricks": 1, "reversal": 3}, {0: 0.0, 2: 1.0, 12: 0.0}),
    ],
)
def test_renko_trend_turns_where_the_bricks_do(params: dict[str, Any], changes: dict[int, float]) -> None:
    target = planned("renko", daily(*CLOSES), size=10.0, **params).target
    wanted = pd.Series(changes).reindex(range(len(CLOSES))).ffill()
    np.testing.assert_array_equal(target, wanted)


def test_renko_brick_is_the_average_range_before_each_bar() -> None:
    """Ranges 2, 2, 2, 2, a wild bar of 17, 2: each bar is read in bricks of the average before it.

    ATR(2) is first known at the third bar, so the fourth sets the grid: bricks of 2 from 100. At the wild bar
    the brick is still 2, and 115 is the 7th, closed at 114. The sixth bar is read in bricks of (2 + 17) / 2 =
    9.5, the last in bricks of (9.5 + 2) / 2 = 5.75: 119.75 is the 8th. In bricks of 2 it would be the 9th.
    """
    high = np.array([101.0, 101, 101, 101, 116, 116, 119.75])
    low = np.array([99.0, 99, 99, 99, 99, 114, 114])
    close = np.array([100.0, 100, 100, 100, 115, 115, 119.75])
    frame = pd.DataFrame({"open": close, "high": high, "low": low, "close": close, "volume": 0.0})
    frame.index = pd.bdate_range("2020-01-02", periods=7)
    bars = q.Bars.from_frame(frame, "X")
    assert planned("renko", bars, atr_period=2, bricks=7).target.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert planned("renko", bars, atr_period=2, bricks=8).target.tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert planned("renko", bars, atr_period=2, bricks=9).target.tolist() == [0, 0, 0, 0, 0, 0, 0]
    # Twice the average: 115 is the 3rd brick of 4, and 119.75 less than one of 11.5 from there.
    twice = planned("renko", bars, atr_period=2, atr_factor=2.0, bricks=3).target
    assert twice.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert set(planned("renko", bars, atr_period=2, atr_factor=2.0, bricks=4).target) == {0.0}


# ---------------------------------------------------------------- MacdStochastic
def test_a_low_at_the_stop_ends_the_trade() -> None:
    """Closes rise by 1, 2, ... 8 in bars half a point wide each way, so the last true range is 8.5.

    The stop is 136 - 8.5 = 127.5, where the next low lies: the account is out, and the target with it.
    """
    close = np.append(100.0 + np.cumsum(np.arange(9.0)), 130.0)
    low = np.append(close[:-1] - 0.5, 127.5)
    frame = pd.DataFrame({"open": close, "high": close + 0.5, "low": low, "close": close, "volume": 0.0})
    frame.index = pd.bdate_range("2020-01-02", periods=10)
    bars = q.Bars.from_frame(frame, "X")
    params = {"fast": 2, "slow": 3, "signal": 2, "stochastic": 2, "smooth": 1, "atr_period": 1}
    plan = planned("macd_stochastic", bars, **params)
    assert plan.target[-3:].tolist() == [1.0, 1.0, 0.0]
    assert plan.stop is not None
    assert plan.stop[-2] == 127.5
    run = q.backtest("macd_stochastic", bars, params=params, costs="none", sizing="shares:1", save=False)
    assert list(run.fills[["quantity", "price", "reason"]].iloc[-1]) == [-1.0, 127.5, "stop"]


# ---------------------------------------------------------------- OpeningRange
def quarter_hours(rows: dict[str, tuple[float, float, float, float, float]]) -> q.Bars:
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["open", "high", "low", "close", "volume"])
    frame.index = pd.DatetimeIndex(frame.index).tz_localize("America/New_York")
    return q.Bars.from_frame(frame, "X", "15m", calendar="XNYS")


def quiet(day: str, first: str, last: str) -> dict[str, tuple[float, float, float, float, float]]:
    """Bars at 100 with 100 shares each."""
    times = pd.date_range(f"{day} {first}", f"{day} {last}", freq="15min")
    return {str(t): (100.0, 100.0, 100.0, 100.0, 100.0) for t in times}


WHOLE = "2020-11-25"  # the session before Thanksgiving
HALF = "2020-11-27"  # the session after it, 09:30 to 13:00


def half_day(**changes: tuple[float, float, float, float, float]) -> q.Bars:
    """A whole session at 100 and a half day with a range of 99 to 101; changes by time, e.g. at_0945=..."""
    rows = {**quiet(WHOLE, "09:30", "15:45"), **quiet(HALF, "09:30", "12:45")}
    rows[f"{HALF} 09:30:00"] = (100.0, 101.0, 99.0, 100.0, 100.0)
    for name, row in changes.items():
        rows[f"{HALF} {name[3:5]}:{name[5:]}:00"] = row
    return quarter_hours(rows)


BUSY = (100.0, 100.5, 100.0, 100.5, 201.0)  # more than twice 100 shares
BREAK = (100.5, 101.5, 100.5, 101.2, 50.0)


def fills(bars: q.Bars, **params: Any) -> list[tuple[str, float, float, str]]:
    params = {"minutes": 15, **params}
    run = q.backtest("opening_range", bars, params=params, costs="none", sizing="shares:1", save=False)
    clock = run.fills["time"].dt.tz_convert("America/New_York").dt.strftime("%d %H:%M")
    return list(zip(clock, run.fills["quantity"], run.fills["price"], run.fills["reason"], strict=True))


def test_a_breakout_is_bought_at_the_next_open_and_sold_before_an_early_close() -> None:
    """13:00 less 5 minutes: the bar that begins at 12:45 is the last whose open is early enough."""
    bars = half_day(at_0945=BUSY, at_1000=BREAK)
    plan = planned("opening_range", bars, minutes=15)
    at = list(bars.frame().index.strftime("%d %H:%M")).index("27 10:00")
    assert plan.target[: at + 1].tolist() == [0.0] * at + [1.0]
    assert plan.stop is not None
    assert plan.limit is not None
    assert (plan.stop[at], plan.limit[at]) == (99.0, pytest.approx(106.05, rel=1e-12))
    assert fills(bars) == [("27 10:15", 1.0, 100.0, "entry"), ("27 12:45", -1.0, 100.0, "close")]


def test_a_break_without_volume_before_it_is_left_alone() -> None:
    exactly_twice = (100.0, 100.5, 100.0, 100.5, 200.0)
    assert fills(half_day(at_0945=exactly_twice, at_1000=BREAK)) == []
    assert len(fills(half_day(at_0945=exactly_twice, at_1000=BREAK), volume=1.9)) == 2


def test_a_close_on_the_edge_of_the_range_has_not_left_it() -> None:
    edge = (100.5, 101.5, 100.5, 101.0, 50.0)
    assert fills(half_day(at_0945=BUSY, at_1000=edge)) == []


def test_a_short_has_its_stop_above_and_its_target_below() -> None:
    """Sold at 10:15 for 100; the bar at 10:30 falls through 99 less 5 percent = 94.05."""
    down = (100.0, 100.0, 98.0, 98.5, 50.0)
    fall = (100.0, 100.0, 94.0, 100.0, 50.0)
    bars = half_day(at_0945=BUSY, at_1000=down, at_1030=fall)
    assert fills(bars) == [("27 10:15", -1.0, 100.0, "entry"), ("27 10:30", 1.0, 99.0 * 0.95, "limit")]
    assert fills(bars, short=False) == []


def test_a_stopped_trade_is_the_sessions_only_one() -> None:
    low = (100.0, 100.0, 98.0, 100.0, 300.0)
    bars = half_day(at_0945=BUSY, at_1000=BREAK, at_1030=low, at_1045=BREAK)
    assert fills(bars) == [("27 10:15", 1.0, 100.0, "entry"), ("27 10:30", -1.0, 99.0, "stop")]


def test_nothing_is_entered_in_the_last_half_hour() -> None:
    """At 12:30 half an hour is left, so the break of 12:15 comes too late; that of 12:00 does not."""
    assert fills(half_day(at_1200=BUSY, at_1215=BREAK)) == []
    assert fills(half_day(at_1145=BUSY, at_1200=BREAK))[0] == ("27 12:15", 1.0, 100.0, "entry")


def test_a_session_without_its_first_bars_has_no_range() -> None:
    bars = half_day(at_0945=BUSY, at_1000=BREAK)
    first = pd.Timestamp(f"{HALF} 09:30", tz="America/New_York")
    assert len(fills(bars)) == 2
    assert fills(q.Bars.from_frame(bars.frame().drop(first), "X", "15m", calendar="XNYS")) == []


def test_bars_outside_the_session_make_no_range_no_average_and_no_trade() -> None:
    rows = half_day(at_0945=BUSY, at_1000=BREAK).frame()
    outside = {f"{WHOLE} 16:00": 1e9, f"{HALF} 09:15": 1e9, f"{HALF} 13:00": 500.0, f"{HALF} 13:15": 1.0}
    for moment, volume in outside.items():
        rows.loc[pd.Timestamp(moment, tz="America/New_York")] = [120.0, 120.0, 80.0, 120.0, volume]
    bars = q.Bars.from_frame(rows.sort_index(), "X", "15m", calendar="XNYS")
    assert fills(bars) == [("27 10:15", 1.0, 100.0, "entry"), ("27 12:45", -1.0, 100.0, "close")]
