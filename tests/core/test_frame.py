"""Frames become bars. Shapes of frames as yfinance 0.2 and pandas give them; moments written out by hand."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant.core.bars import Bars
from quant.core.instrument import Instrument
from quant.errors import BarsError, ParameterError

NEW_YORK = "America/New_York"


def frame(index: Any, **columns: Any) -> pd.DataFrame:
    n = len(index)
    data = {name: np.linspace(10, 11, n) for name in ("open", "high", "low", "close")} | {
        "volume": np.arange(n)
    }
    return pd.DataFrame(data | columns, index=index)


def starts(bars: Bars) -> list[str]:
    return [str(moment)[:16] for moment in bars.start.view("datetime64[ns]")]


# ------------------------------------------------------------ daily
def test_daily_frame_of_yfinance() -> None:
    # Ticker.history: title case, midnights in the exchange's zone, more columns than we take.
    index = pd.DatetimeIndex(["2024-03-08", "2024-03-11"], tz=NEW_YORK, name="Date")
    df = frame(index, Dividends=0.0).rename(columns=str.title)
    bars = Bars.from_frame(df, "SPY")
    assert starts(bars) == ["2024-03-08T00:00", "2024-03-11T00:00"]
    assert (bars.bar.name, bars.instrument.timezone) == ("1d", NEW_YORK)
    assert bars.close.tolist() == [10, 11]


def test_columns_of_several_levels_are_refused_with_the_way_out() -> None:
    # yfinance's download gives the levels Price and Ticker.
    df = frame(pd.DatetimeIndex(["2024-03-08", "2024-03-11"]))
    df.columns = pd.MultiIndex.from_product([df.columns.str.title(), ["SPY"]], names=["Price", "Ticker"])
    with pytest.raises(
        BarsError, match=r'several levels \(Price and Ticker\).*df\.xs\("SPY", axis=1, level=-1\)'
    ):
        Bars.from_frame(df, "SPY")
    assert len(Bars.from_frame(df.xs("SPY", axis=1, level=-1), "SPY")) == 2


@pytest.mark.parametrize(
    "index",
    [
        pd.DatetimeIndex(["2024-03-08", "2024-03-11"]),
        pd.Index(["2024-03-08", "2024-03-11"]),
        pd.Index([dt.date(2024, 3, 8), dt.date(2024, 3, 11)]),
        pd.Index([np.datetime64("2024-03-08"), np.datetime64("2024-03-11")], dtype=object),
        pd.DatetimeIndex(["2024-03-08 16:00", "2024-03-11 16:00"], tz=NEW_YORK),
        pd.DatetimeIndex(["2024-03-08 21:00", "2024-03-11 20:00"], tz="UTC"),
        pd.DatetimeIndex(["2024-03-08", "2024-03-11"], tz="UTC"),
    ],
)
def test_daily_dates_in_any_form(index: pd.Index) -> None:
    bars = Bars.from_frame(frame(index), "SPY", calendar="XNYS")
    assert starts(bars) == ["2024-03-08T00:00", "2024-03-11T00:00"]
    assert bars.instrument.timezone == NEW_YORK


@pytest.mark.parametrize("name", ["date", "Date", "datetime", "Timestamp", " TIME "])
def test_times_may_be_a_column(name: str) -> None:
    df = frame(pd.RangeIndex(2), **{name: ["2024-03-08", "2024-03-11"]})
    assert starts(Bars.from_frame(df, "SPY")) == ["2024-03-08T00:00", "2024-03-11T00:00"]


def test_a_zone_that_is_asked_for_decides_the_date() -> None:
    index = pd.DatetimeIndex(["2024-01-14 13:00", "2024-01-15 13:00"], tz="UTC")  # midnights of Sydney
    asked = Bars.from_frame(frame(index), "BHP", tz="Australia/Sydney")
    assert starts(asked) == ["2024-01-15T00:00", "2024-01-16T00:00"]
    assert asked.instrument.timezone == "Australia/Sydney"


def test_the_exchange_decides_the_date_of_moments_that_are_no_midnight() -> None:
    # Else the bar would count as known a day too early.
    index = pd.DatetimeIndex(["2024-01-14 13:00", "2024-07-14 14:00"], tz="UTC")
    bars = Bars.from_frame(frame(index), "BHP", calendar="XASX")
    assert starts(bars) == ["2024-01-15T00:00", "2024-07-15T00:00"]


@pytest.mark.parametrize(
    ("bar", "labels"), [("1w", ["2024-03-08", "2024-03-15"]), ("1mo", ["2024-02-29", "2024-03-31"])]
)
def test_labels_at_the_end_of_week_and_month(bar: str, labels: list[str]) -> None:
    bars = Bars.from_frame(frame(pd.DatetimeIndex(labels)), "SPY", bar, calendar="XNYS")
    assert bars.session.astype(str).tolist() == labels
    last = {"1w": "2024-03-15", "1mo": "2024-03-28"}[bar]
    assert bars.frame("end").index[-1] == pd.Timestamp(f"{last} 16:00", tz=NEW_YORK)


@pytest.mark.parametrize("date", ["1600-01-03", "9999-12-31"])
def test_dates_that_nanoseconds_cannot_hold_are_refused(date: str) -> None:
    index = pd.DatetimeIndex(np.array([date], "datetime64[s]"))
    with pytest.raises(BarsError, match="not between 1700 and 2250") as caught:
        Bars.from_frame(frame(index), "SPY")
    assert caught.value.rows == (0,)


# ------------------------------------------------------------ intraday
def test_naive_intraday_times_are_refused_unless_a_zone_is_given() -> None:
    df = frame(pd.DatetimeIndex(["2024-03-08 09:30", "2024-03-11 09:30"]))
    with pytest.raises(BarsError, match=r'no time zone.*tz="America/New_York"'):
        Bars.from_frame(df, "SPY", "1m", calendar="XNYS")
    bars = Bars.from_frame(df, "SPY", "1m", tz=NEW_YORK)
    assert starts(bars) == ["2024-03-08T14:30", "2024-03-11T13:30"]
    assert bars.instrument.timezone == NEW_YORK


def test_aware_times_keep_their_moment_and_the_calendar_gives_the_zone() -> None:
    index = pd.DatetimeIndex(["2024-03-08 14:30", "2024-03-11 13:30"], tz="UTC")
    bars = Bars.from_frame(frame(index), "SPY", "1m", calendar="NYSE")
    assert starts(bars) == ["2024-03-08T14:30", "2024-03-11T13:30"]
    assert (bars.instrument.calendar, bars.instrument.timezone) == ("XNYS", NEW_YORK)
    assert bars.session.astype(str).tolist() == ["2024-03-08", "2024-03-11"]


def test_times_of_another_zone_than_the_calendars() -> None:
    df = frame(pd.DatetimeIndex(["2024-03-08 15:30", "2024-03-11 14:30"]))
    bars = Bars.from_frame(df, "SPY", "1m", tz="Europe/Berlin", calendar="XNYS")
    assert starts(bars) == ["2024-03-08T14:30", "2024-03-11T13:30"]
    assert bars.instrument.timezone == NEW_YORK


def test_instrument_is_kept() -> None:
    index = pd.DatetimeIndex(["2024-03-08 14:30"], tz="UTC")
    es = Instrument("ES", "FUT", "CME", tick=0.25, multiplier=50.0, calendar="CMES")
    bars = Bars.from_frame(frame(index), "ES", "1m", instrument=es)
    assert (bars.instrument.tick, bars.instrument.multiplier) == (0.25, 50.0)
    assert bars.instrument.timezone == "America/Chicago"
    own = Bars.from_frame(frame(index), "X", "1m", instrument=Instrument("X", timezone="Asia/Tokyo"))
    assert own.instrument.timezone == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("bar", "ends", "begins"),
    [
        ("1h", ["10:00", "11:00", "16:00"], ["09:30", "10:00", "15:00"]),
        ("4h", ["12:00", "16:00"], ["09:30", "12:00"]),
        ("1m", ["09:31", "16:00", "16:01"], ["09:30", "15:59", "16:00"]),
        ("30m", ["09:30", "10:00"], ["09:00", "09:30"]),  # before the open too
    ],
)
def test_end_stamps_become_starts_that_end_there(bar: str, ends: list[str], begins: list[str]) -> None:
    index = pd.DatetimeIndex([f"2024-06-11 {end}" for end in ends])
    bars = Bars.from_frame(frame(index), "SPY", bar, tz=NEW_YORK, calendar="XNYS", stamp="end")
    assert bars.frame().index.strftime("%H:%M").tolist() == begins
    assert bars.frame("end").index.strftime("%H:%M").tolist() == ends


def test_end_stamp_of_a_close_off_the_grid() -> None:
    index = pd.DatetimeIndex(["2024-11-05 10:00", "2024-11-05 15:00", "2024-11-05 15:30"], tz="Asia/Tokyo")
    bars = Bars.from_frame(frame(index), "7203", "1h", calendar="XTKS", stamp="end")
    assert bars.frame().index.strftime("%H:%M").tolist() == ["09:00", "14:00", "15:00"]
    assert bars.frame("end").index.strftime("%H:%M").tolist() == ["10:00", "15:00", "15:30"]


def test_end_stamps_without_calendar_and_daily() -> None:
    index = pd.DatetimeIndex(["2024-06-11 10:00", "2024-06-11 11:00"], tz="UTC")
    assert starts(Bars.from_frame(frame(index), "X", "1h", stamp="end")) == [
        "2024-06-11T09:00",
        "2024-06-11T10:00",
    ]
    days = pd.DatetimeIndex(["2024-06-11", "2024-06-12"])
    assert starts(Bars.from_frame(frame(days), "X", stamp="end")) == ["2024-06-11T00:00", "2024-06-12T00:00"]


# ------------------------------------------------------------ nights of the clock change
def test_times_that_the_clock_skips_are_refused() -> None:
    df = frame(pd.DatetimeIndex(["2024-03-31 01:30", "2024-03-31 02:30", "2024-03-31 03:30"]))
    with pytest.raises(BarsError, match="Europe/Berlin skips") as caught:
        Bars.from_frame(df, "X", "1m", tz="Europe/Berlin")
    assert caught.value.rows == (1,)


def test_times_that_come_twice_are_told_apart_by_their_order() -> None:
    hours = ["01:00", "02:00", "02:30", "02:00", "02:30", "03:00"]
    df = frame(pd.DatetimeIndex([f"2024-10-27 {hour}" for hour in hours]))
    bars = Bars.from_frame(df, "X", "30m", tz="Europe/Berlin")
    assert [text[11:] for text in starts(bars)] == ["23:00", "00:00", "00:30", "01:00", "01:30", "02:00"]


def test_times_that_may_be_either_are_refused() -> None:
    df = frame(pd.DatetimeIndex(["2024-10-27 01:30", "2024-10-27 02:30", "2024-10-27 03:30"]))
    with pytest.raises(BarsError, match="twice when the clocks of Europe/Berlin go back") as caught:
        Bars.from_frame(df, "X", "1h", tz="Europe/Berlin")
    assert caught.value.rows == (1,)
    assert "UTC" in caught.value.mend


# ------------------------------------------------------------ what is refused
DAYS = pd.DatetimeIndex(["2024-06-10", "2024-06-11", "2024-06-12"])


@pytest.mark.parametrize(
    ("df", "reason", "rows"),
    [
        (frame(DAYS[[1, 0, 2]]), "times are not in order", (1,)),
        (frame(DAYS[[0, 1, 1]]), "times occur twice", (2,)),
        (frame(DAYS, close=[1.0, np.nan, 1.0]), "close is not a number", (1,)),
        (frame(DAYS, close=[1.0, None, 1.0]), "close is not a number", (1,)),
        (frame(DAYS, close=pd.array([10.0, None, 10.0], "Float64")), "close is not a number", (1,)),
        (frame(DAYS, open=["1", "n/a", "1,000"]), "open is not a number", (1, 2)),
        (frame(DAYS, volume=["1", "", "3"]), "volume is not a number", (1,)),
        (frame(DAYS, high=[1.0, 1.0, 1.0]), "high is below low", (0, 1, 2)),
        (frame(DAYS, low=[10, 10.6, 10]), "high is below low", (1,)),
        (frame(DAYS).drop(columns="volume"), "missing column volume", ()),
        (frame(DAYS).drop(columns=["open", "high"]), "missing columns open, high", ()),
        (frame(DAYS, Close=1.0), "several columns are called close", ()),
        (frame(pd.DatetimeIndex(["2024-06-10", None, "2024-06-12"])), "a time is missing", (1,)),
        (frame(pd.RangeIndex(3)), "the frame has no times", ()),
        (
            frame(pd.Index(["01/06/2024", "02/06/2024", "03/06/2024"])),
            "do not begin with the year",
            (0, 1, 2),
        ),
        (frame(pd.RangeIndex(3), time=["09:30", "09:31", "09:32"]), "do not begin with the year", (0, 1, 2)),
        (frame(pd.RangeIndex(3), date=[20240610, 20240611, 20240612]), "numbers, not times", ()),
        (frame(pd.Index(["2024-06-10", "yesterday", "2024-06-12"])), "times cannot be read", ()),
        (frame(pd.Index(["2024-06-10T00:00Z", "2024-06-11", "2024-06-12"])), "times cannot be read", ()),
        (
            frame(
                pd.Index(
                    [DAYS[0].tz_localize(NEW_YORK), DAYS[1].tz_localize("UTC"), DAYS[2].tz_localize("UTC")]
                )
            ),
            "zone in some rows only",
            (),
        ),
        (pd.DataFrame(), "missing columns open, high, low, close, volume", ()),
    ],
)
def test_a_frame_that_would_make_wrong_bars_is_refused(
    df: pd.DataFrame, reason: str, rows: tuple[int, ...]
) -> None:
    with pytest.raises(BarsError, match=reason) as caught:
        Bars.from_frame(df, "SPY")
    assert caught.value.rows == rows
    assert str(caught.value).startswith("SPY: ")


@pytest.mark.parametrize(
    "arguments",
    [{"tz": "Mars/Olympus"}, {"calendar": "NOWHERE"}, {"stamp": "middle"}, {"bar": "7m"}, {"symbol": ""}],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Bars.from_frame(frame(DAYS), **({"symbol": "SPY"} | arguments))


def test_no_rows_make_no_bars() -> None:
    assert len(Bars.from_frame(frame(DAYS)[:0], "SPY", calendar="XNYS")) == 0
    assert len(Bars.from_frame(frame(pd.RangeIndex(0)), "SPY")) == 0
    intraday = frame(DAYS.tz_localize("UTC"))[:0]
    assert len(Bars.from_frame(intraday, "SPY", "1m", calendar="XNYS", stamp="end")) == 0


def test_numbers_written_as_text_are_numbers() -> None:
    text = frame(DAYS).astype(str)
    assert Bars.from_frame(text, "SPY").fingerprint == Bars.from_frame(frame(DAYS), "SPY").fingerprint


def test_the_frame_is_left_alone_and_may_change_later() -> None:
    df = frame(DAYS)
    before = df.copy()
    bars = Bars.from_frame(df, "SPY")
    pd.testing.assert_frame_equal(df, before)
    df.loc[:, "close"] = 0.0
    assert bars.close.tolist() == before["close"].tolist()
