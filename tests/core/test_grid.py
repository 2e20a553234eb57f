import warnings

import exchange_calendars as xc
import numpy as np
import pytest

from quant.core.barsize import bar_size
from quant.core.calendar import calendar
from quant.core.grid import session_starts
from quant.core.synthetic import synthetic


def starts(name, size, first, last):
    sessions = calendar(name, int(first[:4]), int(last[:4]))
    return session_starts(sessions, bar_size(size), np.datetime64(first), np.datetime64(last))


@pytest.mark.parametrize("size", ["1m", "5m", "15m", "30m"])
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("XNYS", "2020-11-20", "2020-12-31"),  # half days on 27 November and 24 December
        ("XNYS", "2021-03-10", "2021-03-17"),  # clocks go forward
        ("XNYS", "2021-11-03", "2021-11-10"),  # and back
        ("XHKG", "2020-12-21", "2021-01-05"),  # lunch break, half days without one
        ("XTKS", "2021-01-04", "2021-01-12"),  # lunch break
        ("XASX", "2021-03-31", "2021-04-08"),  # Sydney's clocks go back on 4 April
        ("CMES", "2021-03-10", "2021-03-17"),  # sessions that begin the evening before
    ],
)
def test_starts_are_those_of_exchange_calendars(name, size, first, last):
    # Its trading_index counts from the open, ours by the clock; for these sizes and opens it is the same.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = xc.get_calendar(name).trading_index(
            first, last, f"{bar_size(size).minutes:.0f}min", intervals=False, closed="left"
        )
    expected = index.tz_convert("UTC").tz_localize(None).as_unit("ns").to_numpy().view(np.int64)
    assert np.array_equal(starts(name, size, first, last), expected)


def clock(found, zone):
    import pandas as pd

    return [f"{t:%H:%M}" for t in pd.DatetimeIndex(found.view("datetime64[ns]"), tz="UTC").tz_convert(zone)]


def test_hours_of_new_york_follow_the_clock():
    # IB's first hourly bar is 09:30-10:00 (DESIGN 5.1).
    found = clock(starts("XNYS", "1h", "2020-12-15", "2020-12-15"), "America/New_York")
    assert found == ["09:30", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]


def test_two_and_four_hours_of_new_york():
    assert clock(starts("XNYS", "2h", "2020-12-15", "2020-12-15"), "America/New_York") == [
        "09:30", "10:00", "12:00", "14:00",
    ]  # fmt: skip
    assert clock(starts("XNYS", "4h", "2020-12-15", "2020-12-15"), "America/New_York") == ["09:30", "12:00"]


def test_after_a_lunch_break_a_bar_begins_with_the_session():
    # Tokyo in 2021: 09:00-11:30 and 12:30-15:00.
    found = clock(starts("XTKS", "1h", "2021-01-05", "2021-01-05"), "Asia/Tokyo")
    assert found == ["09:00", "10:00", "11:00", "12:30", "13:00", "14:00"]


def test_no_session_no_starts():
    assert len(starts("XNYS", "1m", "2020-12-26", "2020-12-27")) == 0


@pytest.mark.parametrize("size", ["2m", "15m", "30m", "1h", "2h", "3h", "4h", "8h"])
@pytest.mark.parametrize("name", ["XTKS", "XHKG", "XSHG"])
def test_coarser_bars_around_a_lunch_break_begin_where_bars_of_that_size_do(name, size):
    minutes = synthetic("ABC", "1m", "2021-01-05", "2021-01-06", calendar=name)
    found = minutes.resample(size)
    assert found.start.tolist() == starts(name, size, "2021-01-05", "2021-01-06").tolist()
    assert (np.diff(found.end) > 0).all()
