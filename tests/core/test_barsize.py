"""Spellings: IB's from its page "Historical Bar Sizes", pandas' from its table of offset aliases."""

from __future__ import annotations

import pytest

from quant.core.barsize import SIZES, bar_size
from quant.errors import ParameterError

IB = {
    "1 secs": "1s", "5 secs": "5s", "10 secs": "10s", "15 secs": "15s", "30 secs": "30s", "1 min": "1m",
    "2 mins": "2m", "3 mins": "3m", "5 mins": "5m", "10 mins": "10m", "15 mins": "15m", "20 mins": "20m",
    "30 mins": "30m", "1 hour": "1h", "2 hours": "2h", "3 hours": "3h", "4 hours": "4h", "8 hours": "8h",
    "1 day": "1d", "1 week": "1w", "1 month": "1mo", "1W": "1w", "1M": "1mo",
}  # fmt: skip
PANDAS = {
    "s": "1s", "30s": "30s", "min": "1m", "5min": "5m", "15T": "15m", "h": "1h", "1h": "1h", "4H": "4h",
    "D": "1d", "1D": "1d", "W": "1w", "W-SUN": "1w", "W-FRI": "1w", "ME": "1mo", "MS": "1mo", "1MS": "1mo",
}  # fmt: skip


def test_there_are_the_21_sizes_of_the_design_shortest_first() -> None:
    wanted = "1s 5s 10s 15s 30s 1m 2m 3m 5m 10m 15m 20m 30m 1h 2h 3h 4h 8h 1d 1w 1mo"
    assert " ".join(SIZES) == wanted
    assert [s.ns for s in SIZES.values()] == sorted({s.ns for s in SIZES.values()})


@pytest.mark.parametrize("name", SIZES)
def test_own_name_and_value_mean_themselves(name: str) -> None:
    assert bar_size(name) is SIZES[name]
    assert bar_size(SIZES[name]) is SIZES[name]
    assert str(SIZES[name]) == name


@pytest.mark.parametrize(("spelling", "name"), [*IB.items(), *PANDAS.items()])
def test_spellings_of_ib_and_pandas(spelling: str, name: str) -> None:
    assert bar_size(spelling).name == name


def test_case_decides_between_minute_and_month() -> None:
    assert bar_size("1m").minutes == 1
    assert bar_size("1M").name == "1mo"


@pytest.mark.parametrize(
    ("spelling", "name"), [("60m", "1h"), ("60 mins", "1h"), ("120s", "2m"), (" 5m ", "5m")]
)
def test_equal_lengths_within_the_day_are_one_size(spelling: str, name: str) -> None:
    assert bar_size(spelling).name == name


@pytest.mark.parametrize(
    "spelling",
    ["", "5", "0m", "-5m", "7m", "45m", "90m", "6h", "2d", "2w", "3mo", "1y", "1B", "1.5h", "five", "5m5s"],
)
def test_sizes_that_ib_does_not_serve_are_refused(spelling: str) -> None:
    with pytest.raises(ParameterError, match="not a bar size; one of 1s 5s"):
        bar_size(spelling)


@pytest.mark.parametrize(
    "spelling",
    [
        "24h",  # a day is a session, not 24 hours
        "1440m",
        "7d",  # a week begins on Monday
        "31d",
        "W-MON",  # pandas' weeks that end on Monday
        "1ms",  # pandas' millisecond
    ],
)
def test_lookalikes_are_refused(spelling: str) -> None:
    with pytest.raises(ParameterError):
        bar_size(spelling)


def test_intraday_ends_below_one_day() -> None:
    assert [name for name, size in SIZES.items() if not size.intraday] == ["1d", "1w", "1mo"]
