"""Days, weeks and months that backtrader makes of feeds of ours; expected values: pandas, known sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import pandas as pd
import pytest

import quant as q

COLUMNS = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
FREQUENCY = {"Days": "D", "Weeks": "W-SUN", "Months": "ME"}
Row = tuple[pd.Timestamp, pd.Timestamp, list[float]]


class Sees(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Keeps when each bar of its last feed came, its own time, and its values; of a replayed one the last state."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}

    def next(self) -> None:
        made = self.datas[-1]
        first = self.rows.get(len(made))
        if first is None or made.replaying:
            now = pd.Timestamp(self.data.datetime.datetime(0)).round("s")
            values = [float(getattr(made, name)[0]) for name in COLUMNS]
            self.rows[len(made)] = now, pd.Timestamp(made.datetime.datetime(0)).round("s"), values


def seen(bars: q.Bars, timeframe: str, how: str = "resampledata", calendar: Any = None) -> list[Row]:
    cerebro = bt.Cerebro(stdstats=False)
    data = q.feed(bars, calendar=calendar)
    cerebro.adddata(data)
    getattr(cerebro, how)(data, timeframe=getattr(bt.TimeFrame, timeframe))
    cerebro.addstrategy(Sees)
    (found,) = cerebro.run()
    return list(found.rows.values())


def expected(bars: q.Bars, timeframe: str) -> list[tuple[pd.Timestamp, list[float]]]:
    """END of the last bar of each period, and its values, by pandas."""
    frame = bars.frame("end").tz_localize(None)
    frame["end"] = frame.index
    made = frame.resample(FREQUENCY[timeframe]).agg(COLUMNS | {"end": "last"}).dropna()
    return [(row["end"], row[list(COLUMNS)].tolist()) for _, row in made.iterrows()]


@pytest.fixture(scope="module")
def quarters() -> q.Bars:
    """Three months of New York with a half day on 3 July, a holiday on the 4th, and one on 19 June."""
    return q.synthetic("SPY", "15m", "2024-05-28", "2024-08-02", seed=3)


@pytest.mark.parametrize("how", ["resampledata", "replaydata"])
@pytest.mark.parametrize("timeframe", FREQUENCY)
def test_a_period_ends_with_the_close_of_its_last_session(quarters: q.Bars, timeframe: str, how: str) -> None:
    whole = [(now, values) for now, _, values in seen(quarters, timeframe, how)]
    truth = expected(quarters, timeframe)
    # The last month is not over; resampledata gives it at the end of the data, replaydata as far as it has come.
    assert whole[: len(truth) - 1] == truth[:-1]
    assert len(whole) == len(truth)


def test_a_day_bears_the_time_of_its_close_also_of_a_half_day(quarters: q.Bars) -> None:
    rows = seen(quarters, "Days")
    assert all(now == own for now, own, _ in rows)
    closes = {own.date().isoformat(): own.time().isoformat() for _, own, _ in rows}
    assert closes["2024-07-02"] == "16:00:00"
    assert closes["2024-07-03"] == "13:00:00"
    assert "2024-07-04" not in closes


@pytest.mark.parametrize("timeframe", ["Weeks", "Months"])
def test_days_make_weeks_and_months_that_end_with_their_last_session(timeframe: str) -> None:
    days = q.synthetic("SPY", "1d", "2024-01-02", "2024-06-14", seed=3)
    assert [(now, values) for now, _, values in seen(days, timeframe)][:-1] == expected(days, timeframe)[:-1]


@pytest.mark.parametrize("timeframe", FREQUENCY)
def test_without_its_last_bar_a_period_ends_with_the_next_one(quarters: q.Bars, timeframe: str) -> None:
    stamps = quarters.frame("end").index
    keep = ~((stamps.strftime("%H:%M") == "16:00") | (stamps.strftime("%H:%M") == "13:00").astype(bool))
    columns = {name: getattr(quarters, name)[keep] for name in ("start", *COLUMNS)}
    holes = replace(quarters, **columns)
    truth = expected(holes, timeframe)[:-1]
    rows = seen(holes, timeframe)[: len(truth)]
    assert [values for _, _, values in rows] == [values for _, values in truth]
    later = holes.frame("end").tz_localize(None).index
    assert [now for now, _, _ in rows] == [later[later > end][0] for end, _ in truth]


@pytest.fixture(scope="module")
def late() -> q.Bars:
    """Some sessions of SPY, each with a bar of 16:00, after the close."""
    folder = Path(__file__).parents[2] / "data"
    bars = q.bars("SPY", "1m", "2020-12-15", "2020-12-19", source="sample", data=folder)
    assert (bars.frame().index.strftime("%H:%M") == "16:00").sum() > 2
    return bars


def test_a_bar_after_the_close_belongs_to_no_day(late: q.Bars) -> None:
    frame = late.frame("end").between_time("09:30", "16:00").tz_localize(None)
    days = frame.resample("D").agg(COLUMNS)
    assert [values for _, _, values in seen(late, "Days")] == days.to_numpy().tolist()


def test_a_bar_after_the_close_stays_a_bar_of_minutes(late: q.Bars) -> None:
    """As stock has it without a calendar."""
    found = []
    for calendar in (None, bt.TradingCalendar()):  # of midnights
        cerebro = bt.Cerebro(stdstats=False)
        data = cerebro.resampledata(
            q.feed(late, calendar=calendar), timeframe=bt.TimeFrame.Minutes, compression=15
        )
        cerebro.addstrategy(bt.Strategy)
        cerebro.run()
        found.append([getattr(data, name).array.tolist() for name in COLUMNS])
    assert found[0] == found[1]


def test_minutes_end_at_the_close_between_two_marks(quarters: q.Bars) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    data = q.feed(quarters)
    cerebro.adddata(data)
    cerebro.resampledata(data, timeframe=bt.TimeFrame.Minutes, compression=45)
    cerebro.addstrategy(Sees)
    (found,) = cerebro.run()
    rows = list(found.rows.values())
    assert all(now == own for now, own, _ in rows)
    assert {own.time().isoformat() for now, own, _ in rows if now.hour == 16} == {"16:00:00"}


def test_the_users_own_calendar_counts(quarters: q.Bars) -> None:
    late = bt.TradingCalendar(close=pd.Timestamp("2024-01-01 20:00").time())
    assert {own.time().isoformat() for _, own, _ in seen(quarters, "Days", calendar=late)} == {"20:00:00"}
