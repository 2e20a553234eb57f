"""Sessions as arrays. Expected: exchanges' published hours by hand, exchange_calendars' own schedule."""

from __future__ import annotations

import numpy as np
import pytest

from quant.core.calendar import NO_BREAK, Calendar, calendar, check_name, check_zone, timezone_of
from quant.errors import ParameterError


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def row(sessions: Calendar, date: str) -> int:
    found = int(sessions.index_of(np.array([date], "datetime64[D]"))[0])
    assert found >= 0
    return found


@pytest.mark.parametrize(
    ("name", "date", "opened", "closed"),
    [
        ("XNYS", "2024-03-08", "2024-03-08T14:30", "2024-03-08T21:00"),
        ("XNYS", "2024-03-11", "2024-03-11T13:30", "2024-03-11T20:00"),  # after the change to summer time
        ("XNYS", "2018-07-03", "2018-07-03T13:30", "2018-07-03T17:00"),  # half days: 13:00
        ("XNYS", "2020-11-27", "2020-11-27T14:30", "2020-11-27T18:00"),
        ("XASX", "2024-01-15", "2024-01-14T23:00", "2024-01-15T05:00"),  # opens on the UTC date before
        ("XASX", "2024-07-15", "2024-07-15T00:00", "2024-07-15T06:00"),
        ("XTKS", "2024-11-01", "2024-11-01T00:00", "2024-11-01T06:00"),
        ("XTKS", "2024-11-05", "2024-11-05T00:00", "2024-11-05T06:30"),  # 15:30 from this day on
        ("CMES", "2024-06-11", "2024-06-10T22:00", "2024-06-11T22:00"),  # 17:00 to 17:00 Chicago
        ("24/7", "2024-06-11", "2024-06-11T00:00", "2024-06-12T00:00"),
    ],
)
def test_hours(name: str, date: str, opened: str, closed: str) -> None:
    sessions = calendar(name, 2018, 2024)
    at = row(sessions, date)
    assert (sessions.open[at], sessions.close[at]) == (ns(opened), ns(closed))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("XTKS", "2024-06-11T02:30", "2024-06-11T03:30"), ("XHKG", "2024-06-11T04:00", "2024-06-11T05:00")],
)
def test_lunch_break(name: str, first: str, second: str) -> None:
    sessions = calendar(name, 2024, 2024)
    at = row(sessions, "2024-06-11")
    assert (sessions.break_start[at], sessions.break_end[at]) == (ns(first), ns(second))
    during = np.array([ns(first)])
    assert sessions.index_at(during)[0] == at


def test_no_break_has_its_mark() -> None:
    assert (calendar("XNYS", 2024, 2024).break_start == NO_BREAK).all()


def test_open_belongs_to_the_session_and_close_does_not() -> None:
    sessions = calendar("XNYS", 2024, 2024)
    at = row(sessions, "2024-06-11")
    opened, closed = sessions.open[at], sessions.close[at]
    found = sessions.index_at(np.array([opened - 1, opened, closed - 1, closed]))
    assert found.tolist() == [-1, at, at, -1]


def test_back_to_back_sessions_change_at_the_close() -> None:
    sessions = calendar("CMES", 2024, 2024)
    at = row(sessions, "2024-06-11")
    assert sessions.index_at(sessions.close[[at]] - [[1], [0]]).ravel().tolist() == [at, at + 1]


def test_dates_that_are_no_session() -> None:
    dates = np.array(["2024-06-08", "2024-07-04", "2024-06-10", "1900-01-01", "2100-01-01"], "datetime64[D]")
    found = calendar("XNYS", 2024, 2024).index_of(dates)
    assert (found >= 0).tolist() == [False, False, True, False, False]


def test_a_year_before_and_after_is_held() -> None:
    sessions = calendar("XNYS", 2020, 2029)
    assert sessions.dates[0] <= np.datetime64("2019-01-02")
    assert sessions.dates[-1] >= np.datetime64("2030-12-30")


# exchange_calendars knows Tokyo from 1997 and Riyadh from 2021 on.
@pytest.mark.parametrize(("name", "year"), [("XTKS", 1975), ("XSAU", 2005)])
def test_years_outside_the_calendars_bounds_have_no_sessions(name: str, year: int) -> None:
    sessions = calendar(name, year, year)
    assert len(sessions.dates) == len(sessions.open) == 0
    day = np.datetime64(f"{year}-06-01")
    assert sessions.index_of(np.array([day])).tolist() == [-1]
    assert sessions.index_at(np.array([0])).tolist() == [-1]
    assert sessions.per_year(day, day) == 252


def test_aliases_resolve() -> None:
    assert calendar("NYSE", 2024, 2024) is calendar("XNYS", 2024, 2024)
    assert check_name("NYSE") == "XNYS"


def test_time_zone_is_known_without_sessions() -> None:
    assert timezone_of("XSAU") == "Asia/Riyadh"
    assert timezone_of("CMES") == "America/Chicago"


@pytest.mark.parametrize("call", [check_name, timezone_of, lambda name: calendar(name, 2024, 2024)])
def test_unknown_calendar_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ParameterError, match=r"no such exchange calendar; one of CMES, 24/7, .*XNYS"):
        call("NOWHERE")


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd"])
def test_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="no such time zone"):
        check_zone(name)


# NYSE: 252 sessions in 2019, 253 in 2020 (a leap year), by its holiday lists.
def test_sessions_a_year() -> None:
    sessions = calendar("XNYS", 2019, 2020)
    assert sessions.per_year(np.datetime64("2019-03-01"), np.datetime64("2019-04-01")) == 252
    assert sessions.per_year(np.datetime64("2019-03-01"), np.datetime64("2020-04-01")) == 252.5
    around = calendar("24/7", 2019, 2020)
    assert around.per_year(np.datetime64("2019-03-01"), np.datetime64("2020-04-01")) == 365
