"""Clocks and grids. Expected: Python's zoneinfo, one moment at a time, and dates of clock changes by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.barsize import SECOND, SIZES, BarSize, bar_size
from quant.core.zones import from_local, grid_end, grid_start, to_local

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Chicago", "Australia/Sydney", "Asia/Kolkata",
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Havana",  # repeats the hour before midnight
    "Africa/Casablanca",  # four changes in some years
    "Pacific/Apia",  # left out 2011-12-30
    "America/St_Johns",  # changed at one minute past midnight, off the grid
)  # fmt: skip
CHANGES = (  # UTC seconds of some clock changes of the zones above
    1268537460, 1289097060, 1325239200, 1696089600, 1699163999, 1710054000, 1711846800, 1712415600, 1712419200,
    1729990800, 1730613600,
)  # fmt: skip
INTRADAY = [size for size in SIZES.values() if size.intraday]
moments_s = st.one_of(
    st.integers(0, 2_000_000_000),
    st.builds(lambda change, step: change + step, st.sampled_from(CHANGES), st.integers(-40_000, 40_000)),
)


def ns(text: str, zone: str = "UTC", fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp()) * SECOND


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


@given(st.sampled_from(ZONES), moments_s)
def test_wall_time_is_zoneinfos(zone: str, second: int) -> None:
    wall = datetime.fromtimestamp(second, ZoneInfo(zone)).replace(tzinfo=UTC).timestamp()
    assert to_local(array(second * SECOND), zone)[0] == int(wall) * SECOND


@given(st.sampled_from(ZONES), moments_s)
def test_a_wall_time_leads_back_to_its_moment_or_its_twin(zone: str, second: int) -> None:
    moment = second * SECOND
    wall = to_local(array(moment), zone)
    first, last = from_local(wall, zone)[0], from_local(wall, zone, last=True)[0]
    assert first <= moment <= last
    assert moment in (first, last)


@given(st.sampled_from(ZONES), st.sampled_from(INTRADAY), moments_s)
def test_bars_of_the_grid_tile_time(zone: str, size: BarSize, second: int) -> None:
    moment = array(second * SECOND)
    start = grid_start(moment, size, zone)
    end = grid_end(start, size, zone)
    assert start[0] <= moment[0] < end[0] <= start[0] + size.ns
    assert grid_start(start, size, zone)[0] == start[0]
    assert grid_start(end - 1, size, zone)[0] == start[0]
    assert grid_start(end, size, zone)[0] == end[0]


def test_a_skipped_wall_time_is_the_moment_of_the_change() -> None:
    assert from_local(array(ns("2024-03-31T02:30")), "Europe/Berlin")[0] == ns("2024-03-31T01:00")


def test_a_repeated_wall_time_is_the_first_or_on_demand_the_second() -> None:
    wall = array(ns("2024-10-27T02:30"))
    assert from_local(wall, "Europe/Berlin")[0] == ns("2024-10-27T00:30")
    assert from_local(wall, "Europe/Berlin", last=True)[0] == ns("2024-10-27T01:30")


# Berlin: 2024-03-31 02:00 CET becomes 03:00 CEST (01:00 UTC); 2024-10-27 03:00 CEST becomes 02:00 CET (01:00 UTC).
@pytest.mark.parametrize(
    ("bar", "start", "end"),
    [
        ("1m", "2024-03-31T00:59", "2024-03-31T01:00"),
        ("1h", "2024-03-31T00:00", "2024-03-31T01:00"),
        ("1h", "2024-03-31T01:00", "2024-03-31T02:00"),
        ("4h", "2024-03-30T23:00", "2024-03-31T02:00"),  # 00:00-04:00 on the wall: three hours
        ("8h", "2024-03-30T23:00", "2024-03-31T06:00"),  # 00:00-08:00: seven
        ("8h", "2024-03-31T06:00", "2024-03-31T14:00"),
        ("1h", "2024-10-27T00:00", "2024-10-27T01:00"),  # 02:00 CEST
        ("1h", "2024-10-27T01:00", "2024-10-27T02:00"),  # 02:00 CET
        ("4h", "2024-10-26T22:00", "2024-10-27T02:00"),  # start + size comes before 04:00 CET
        ("4h", "2024-10-27T02:00", "2024-10-27T03:00"),  # so one of an hour follows
        ("8h", "2024-10-26T22:00", "2024-10-27T06:00"),
        ("8h", "2024-10-27T06:00", "2024-10-27T07:00"),
    ],
)
def test_ends_on_berlins_clock_change_nights(bar: str, start: str, end: str) -> None:
    assert grid_end(array(ns(start)), bar_size(bar), "Europe/Berlin")[0] == ns(end)


def test_a_boundary_that_the_clock_skips_is_the_moment_of_the_change() -> None:
    # St. John's, 2010-03-14: 00:01 became 01:01, at 03:31 UTC, so there was no 01:00.
    found = grid_end(
        array(ns("2010-03-14T03:30"), ns("2010-03-14T03:31")), bar_size("1h"), "America/St_Johns"
    )
    assert found.tolist() == [ns("2010-03-14T03:31"), ns("2010-03-14T04:30")]


def test_nothing_in_gives_nothing_out() -> None:
    none = array()
    for found in (
        to_local(none, "Europe/Berlin"), from_local(none, "UTC"), grid_end(none, bar_size("1h"), "UTC"),
        grid_start(none, bar_size("1h"), "UTC"),
    ):  # fmt: skip
        assert len(found) == 0
