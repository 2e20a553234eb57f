"""When bars end (DESIGN §5.1). Expected: exchanges' hours, UTC written out by hand; IB's first hourly bar."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from quant.core.bars import Bars
from quant.core.barsize import SECOND, BarSize, bar_size
from quant.core.calendar import Ints, calendar, timezone_of
from quant.core.instrument import Instrument

NEW_YORK = "America/New_York"


def ns(text: str, zone: str = "UTC") -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp()) * SECOND + moment.microsecond * 1000


def bars(
    bar: str, *starts: str, exchange: str | None = None, zone: str = "UTC", at: str | None = None
) -> Bars:
    """Return flat bars that start at `starts`, written in the zone `at` (the exchange's by default)."""
    zone = zone if exchange is None else timezone_of(exchange)
    size = bar_size(bar)
    written = (at if at is not None else zone) if size.intraday else "UTC"
    start = np.array([ns(text, written) for text in starts], dtype=np.int64)
    return flat(Instrument("X", calendar=exchange, timezone=zone), size, start)


def flat(instrument: Instrument, size: BarSize, start: Ints) -> Bars:
    one = np.ones(len(start))
    return Bars(instrument, size, start, one, one, one, one, one)


def ends(found: Bars, zone: str) -> list[str]:
    """Return the ENDs as wall times of `zone`."""
    moments = [datetime.fromtimestamp(end // SECOND, ZoneInfo(zone)) for end in found.end]
    return [moment.strftime("%m-%d %H:%M") for moment in moments]


# ------------------------------------------------------------ New York
def test_first_hourly_bar_ends_on_the_hour() -> None:
    found = bars("1h", "2024-06-11T09:30", "2024-06-11T10:00", "2024-06-11T15:00", exchange="XNYS")
    assert ends(found, NEW_YORK) == ["06-11 10:00", "06-11 11:00", "06-11 16:00"]
    assert found.minutes_to_close.tolist() == [360, 300, 0]


@pytest.mark.parametrize("date", ["2018-07-03", "2020-11-27"])
def test_half_day_ends_at_one(date: str) -> None:
    hours = ("09:30", "12:30", "12:59")
    found = bars("1m", *(f"{date}T{hour}" for hour in hours), exchange="XNYS")
    assert found.minutes_to_close.tolist() == [209, 29, 0]
    four = bars("4h", f"{date}T12:00", exchange="XNYS")
    assert ends(four, NEW_YORK) == [f"{date[5:]} 13:00"]
    day = bars("1d", date, exchange="XNYS")
    assert day.end[0] == ns(f"{date}T13:00", NEW_YORK)


@pytest.mark.parametrize(("friday", "monday"), [("2024-03-08", "2024-03-11"), ("2024-11-01", "2024-11-04")])
def test_both_clock_changes_move_the_close_in_utc(friday: str, monday: str) -> None:
    found = bars("1d", friday, monday, exchange="XNYS")
    assert found.end.tolist() == [ns(f"{friday}T16:00", NEW_YORK), ns(f"{monday}T16:00", NEW_YORK)]
    hours = 71 if friday == "2024-03-08" else 73
    assert found.end[1] - found.end[0] == hours * 3600 * SECOND


def test_bar_at_the_close_keeps_its_size() -> None:
    found = bars("1m", "2020-12-15T15:59", "2020-12-15T16:00", exchange="XNYS")
    assert ends(found, NEW_YORK) == ["12-15 16:00", "12-15 16:01"]
    assert found.minutes_to_close.tolist() == [0, -1]
    assert found.session.astype(str).tolist() == ["2020-12-15"] * 2
    assert found.times.in_session.tolist() == [True, False]


def test_bars_before_the_open_belong_to_the_day() -> None:
    found = bars("30m", "2024-06-11T04:00", "2024-06-11T09:00", "2024-06-11T09:30", exchange="XNYS")
    assert ends(found, NEW_YORK) == ["06-11 04:30", "06-11 09:30", "06-11 10:00"]
    assert found.times.in_session.tolist() == [False, False, True]
    assert found.session.astype(str).tolist() == ["2024-06-11"] * 3
    assert found.minutes_to_close.tolist() == [690, 390, 360]


def test_extended_hourly_bar_reaches_over_the_open() -> None:
    found = bars("1h", "2024-06-11T09:00", exchange="XNYS")
    assert ends(found, NEW_YORK) == ["06-11 10:00"]


def test_bar_on_a_date_without_session_belongs_to_the_next() -> None:
    found = bars("1h", "2024-07-04T10:00", "2024-07-06T10:00", exchange="XNYS")
    assert found.session.astype(str).tolist() == ["2024-07-05", "2024-07-08"]


# ------------------------------------------------------------ Tokyo, Hong Kong, Sydney
def test_tokyo_closes_half_an_hour_later_since_2024_11_05() -> None:
    found = bars("1h", "2024-11-01T14:00", "2024-11-05T14:00", "2024-11-05T15:00", exchange="XTKS")
    assert ends(found, "Asia/Tokyo") == ["11-01 15:00", "11-05 15:00", "11-05 15:30"]
    assert found.minutes_to_close.tolist() == [0, 30, 0]


@pytest.mark.parametrize(
    ("exchange", "last", "first"), [("XTKS", "11:00", "12:30"), ("XHKG", "11:30", "13:00")]
)
def test_lunch_is_within_the_session(exchange: str, last: str, first: str) -> None:
    found = bars("30m", f"2024-06-11T{last}", f"2024-06-11T{first}", exchange=exchange)
    assert found.times.in_session.all()
    assert found.session.astype(str).tolist() == ["2024-06-11"] * 2
    assert (found.end - found.start == 1800 * SECOND).all()


def test_sydney_session_date_is_not_the_utc_date() -> None:
    found = bars("1h", "2024-01-14T23:00", "2024-01-15T04:00", exchange="XASX", at="UTC")
    assert found.session.astype(str).tolist() == ["2024-01-15"] * 2
    assert ends(found, "Australia/Sydney") == ["01-15 11:00", "01-15 16:00"]


# Sydney: summer time ended on 2024-04-07 and began on 2024-10-06.
def test_sydney_daily_bars_over_both_clock_changes() -> None:
    found = bars("1d", "2024-04-05", "2024-04-08", "2024-10-04", "2024-10-07", exchange="XASX")
    utc = ["2024-04-05T05:00", "2024-04-08T06:00", "2024-10-04T06:00", "2024-10-07T05:00"]
    assert found.end.tolist() == [ns(text) for text in utc]
    opens = ["2024-04-04T23:00", "2024-04-08T00:00", "2024-10-04T00:00", "2024-10-06T23:00"]
    assert found.times.begin.tolist() == [ns(text) for text in opens]


# ------------------------------------------------------------ CME
def test_evening_bar_belongs_to_the_next_session() -> None:
    starts = ["2024-06-07T16:00", "2024-06-09T17:00", "2024-06-10T16:00", "2024-06-10T17:00"]
    found = bars("1h", *starts, exchange="CMES")
    assert found.session.astype(str).tolist() == ["2024-06-07", "2024-06-10", "2024-06-10", "2024-06-11"]
    assert found.minutes_to_close.tolist() == [0, 23 * 60, 0, 23 * 60]
    assert ends(found, "America/Chicago") == ["06-07 17:00", "06-09 18:00", "06-10 17:00", "06-10 18:00"]


def test_friday_evening_is_outside_every_session() -> None:
    found = bars("1h", "2024-06-07T17:00", "2024-06-09T16:00", exchange="CMES")
    assert found.times.in_session.tolist() == [False, False]
    assert found.session.astype(str).tolist() == ["2024-06-07", "2024-06-10"]


def test_four_hour_bar_of_cme_is_cut_at_the_close() -> None:
    found = bars("4h", "2024-06-10T16:00", "2024-06-10T17:00", exchange="CMES")
    assert ends(found, "America/Chicago") == ["06-10 17:00", "06-10 20:00"]


# The Sunday of the clock change: the session opens at 17:00, after it, on both.
@pytest.mark.parametrize("sunday", ["2024-03-10", "2024-11-03"])
def test_cme_session_on_the_day_of_the_clock_change(sunday: str) -> None:
    found = bars("1d", str(np.datetime64(sunday) + np.timedelta64(1, "D")), exchange="CMES")
    assert found.times.begin[0] == ns(f"{sunday}T17:00", "America/Chicago")
    assert found.end[0] - found.times.begin[0] == 24 * 3600 * SECOND


# ------------------------------------------------------------ around the clock, and without a calendar
def test_around_the_clock_days_end_at_midnight_utc() -> None:
    found = bars("1d", "2024-03-10", "2024-11-03", exchange="24/7")
    assert found.end.tolist() == [ns("2024-03-11T00:00"), ns("2024-11-04T00:00")]
    hours = bars("8h", "2024-03-10T00:00", "2024-03-10T16:00", exchange="24/7")
    assert hours.minutes_to_close.tolist() == [960, 0]


@pytest.mark.parametrize("exchange", [None, "XNYS"])
def test_times_carry_the_session_date(exchange: str | None) -> None:
    found = bars("1d", "2024-06-10", "2024-06-11", exchange=exchange)
    assert found.session.astype(str).tolist() == ["2024-06-10", "2024-06-11"]


def test_day_without_calendar_ends_as_backtraders() -> None:
    # backtrader 1.9.78.123, feed.py: sessionend = datetime.time(23, 59, 59, 999990)
    found = bars("1d", "2024-03-31", "2024-10-27", zone="Europe/Berlin")
    assert found.end.tolist() == [ns("2024-03-31T21:59:59.999990"), ns("2024-10-27T22:59:59.999990")]
    assert found.times.begin.tolist() == [ns("2024-03-30T23:00"), ns("2024-10-26T22:00")]
    assert np.isnan(found.minutes_to_close).all()


def test_day_whose_last_hour_comes_twice_ends_with_the_second() -> None:
    # Beirut went back from 24:00 to 23:00, at 21:00 UTC.
    found = bars("1d", "2024-10-26", zone="Asia/Beirut")
    assert found.end[0] == ns("2024-10-26T21:59:59.999990")


@pytest.mark.parametrize(
    ("bar", "label", "end"),
    [
        ("1w", "2024-03-25", "2024-03-28T16:00"),  # Good Friday was on the 29th
        ("1w", "2024-07-01", "2024-07-05T16:00"),
        ("1w", "2024-07-05", "2024-07-05T16:00"),  # labelled by its Friday
        ("1mo", "2024-03-01", "2024-03-28T16:00"),
        ("1mo", "2024-03-31", "2024-03-28T16:00"),  # labelled by its last day
        ("1mo", "2018-11-01", "2018-11-30T16:00"),
    ],
)
def test_week_and_month_end_with_their_last_session(bar: str, label: str, end: str) -> None:
    found = bars(bar, label, exchange="XNYS")
    assert found.end[0] == ns(end, NEW_YORK)
    assert found.minutes_to_close[0] == 0


def test_week_and_month_begin_with_their_first_session() -> None:
    assert bars("1w", "2024-09-02", exchange="XNYS").times.begin[0] == ns(
        "2024-09-03T09:30", NEW_YORK
    )  # Labor Day
    assert bars("1mo", "2024-01-01", exchange="XNYS").times.begin[0] == ns("2024-01-02T09:30", NEW_YORK)


def test_week_and_month_without_calendar_end_with_their_last_date() -> None:
    assert bars("1w", "2024-06-10").end[0] == ns("2024-06-16T23:59:59.999990")
    assert bars("1mo", "2024-02-01").end[0] == ns("2024-02-29T23:59:59.999990")


def test_weekend_label_ends_with_its_own_date() -> None:
    found = bars("1d", "2024-06-07", "2024-06-09", "2024-06-10", exchange="XNYS")
    assert found.end[1] == ns("2024-06-09T23:59:59.999990", NEW_YORK)
    assert found.times.in_session.tolist() == [True, False, True]
    assert np.isnan(found.minutes_to_close[1])


# exchange_calendars knows Tokyo from 1997 on.
def test_beyond_the_calendar_nothing_is_known() -> None:
    found = bars("1h", "1996-12-30T14:00", "1997-06-10T14:00", exchange="XTKS")
    assert found.session.astype(str).tolist() == ["1996-12-30", "1997-06-10"]
    assert np.isnan(found.minutes_to_close).tolist() == [True, False]
    early = bars("1h", "1975-06-10T14:00", exchange="XTKS")
    assert early.session.astype(str).tolist() == ["1975-06-10"]
    assert ends(early, "Asia/Tokyo") == ["06-10 15:00"]


@pytest.mark.parametrize(
    ("name", "bar"), [("XNYS", "1h"), ("XTKS", "15m"), ("XHKG", "1m"), ("XASX", "2h"), ("CMES", "4h")]
)
def test_every_session_of_a_year_ends_with_its_close(name: str, bar: str) -> None:
    sessions = calendar(name, 2024, 2024)
    year = sessions.dates.astype("datetime64[Y]") == np.datetime64("2024")
    size = bar_size(bar)
    first, close = sessions.open[year], sessions.close[year]
    start = np.concatenate([np.arange(a, b, 60 * SECOND) for a, b in zip(first, close, strict=True)])
    minutes = flat(Instrument("X", calendar=name, timezone=sessions.timezone), bar_size("1m"), start)
    coarse = minutes.resample(size) if bar != "1m" else minutes
    last = np.flatnonzero(np.append(np.diff(coarse.session.astype(np.int64)) != 0, True))
    assert coarse.session[last].tolist() == sessions.dates[year].tolist()
    assert coarse.end[last].tolist() == close.tolist()
    assert (coarse.minutes_to_close >= 0).all()
    assert coarse.times.in_session.all()
    assert coarse.volume.sum() == len(start)
