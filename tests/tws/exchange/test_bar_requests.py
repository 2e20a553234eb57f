"""TWS's texts of a request for bars, and its refusals; texts from users' reports of errors 10314, 162 and 321."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibapi.protobuf.HistoricalDataRequest_pb2 import HistoricalDataRequest

from quant.core.barsize import SECOND, SIZES
from quant.tws.exchange import request as r
from quant.tws.exchange.refusal import Refusal

NOW = int(datetime(2024, 7, 3, 15, 0, tzinfo=UTC).timestamp()) * SECOND
ZONE = "America/New_York"


def asked(**changed: Any) -> HistoricalDataRequest:
    plain = {
        "endDateTime": "", "barSizeSetting": "1 min", "duration": "1 D", "useRTH": True, "whatToShow": "TRADES",
        "formatDate": 1,
    }  # fmt: skip
    return HistoricalDataRequest(**{**plain, **changed})


def refused(strict: bool = False, **changed: Any) -> Refusal:
    found = r.parse(asked(**changed), NOW, ZONE, strict)
    assert isinstance(found, Refusal), found
    return found


def taken(strict: bool = False, **changed: Any) -> r.BarRequest:
    found = r.parse(asked(**changed), NOW, ZONE, strict)
    assert isinstance(found, r.BarRequest), found
    return found


def test_every_size_of_the_design_has_its_spelling():
    assert sorted(r.SPELLINGS.values()) == sorted(SIZES)
    for text, name in r.SPELLINGS.items():
        assert r.parse_size(text) == SIZES[name]


@pytest.mark.parametrize("text", ["1 sec", "1 mins", "7 mins", "1m", "", "1 DAY", "2 days"])
def test_other_sizes_are_refused_with_the_list_of_legal_ones(text):
    told = refused(barSizeSetting=text)
    assert told.code == 321
    legal = (
        "Historical data bar size setting is invalid. Legal ones are: 1 secs, 5 secs, 10 secs, 15 secs, 30 secs, "
        "1 min, 2 mins, 3 mins, 5 mins, 10 mins, 15 mins, 20 mins, 30 mins, 1 hour, 2 hours, 3 hours, 4 hours, "
        "8 hours, 1 day, 1W, 1M"
    )
    assert told.text.endswith(legal)


@pytest.mark.parametrize(
    ("text", "count", "unit"),
    [
        ("1 D", 1, "D"),
        ("30 S", 30, "S"),
        ("1800", 1800, "S"),
        ("2 w", 2, "W"),
        ("12 M", 12, "M"),
        ("20 Y", 20, "Y"),
    ],
)
def test_durations(text, count, unit):
    assert r.parse_duration(text) == r.Duration(count, unit)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "not specified"), ("1D", "integer{SPACE}unit"), ("D", "integer{SPACE}unit"), ("1 X", "integer{SPACE}unit"),
        ("-1 D", "integer{SPACE}unit"), ("1.5 D", "integer{SPACE}unit"), ("0 D", "invalid"), ("29 S", "invalid"),
        ("86401 S", "greater than 86400 seconds"), ("366 D", "longer than 365 days must be made in years"),
        ("53 W", "longer than 52 weeks must be made in years"), ("13 M", "longer than 12 months must be made in years"),
    ],
)  # fmt: skip
def test_durations_that_are_refused(text, cause):
    told = refused(duration=text)
    assert told.code == 321
    assert cause in told.text


def test_ends_in_each_form_mean_the_same_moment():
    moment = int(datetime(2024, 1, 3, 15, 0, tzinfo=UTC).timestamp()) * SECOND
    for text in (
        "20240103-15:00:00",
        "20240103 10:00:00 US/Eastern",
        "20240103 15:00:00 UTC",
        "20240104 00:00:00 Japan",
    ):
        assert r.parse_end(text, NOW, ZONE) == (moment, None)
    assert r.parse_end("20240103 10:00:00", NOW, ZONE) == (moment, r.NO_ZONE)
    assert taken(endDateTime="20240103 10:00:00").warning == r.NO_ZONE
    assert r.parse_end("", NOW, ZONE) == (None, None)


def test_an_end_without_a_date_is_todays():
    # 15:00 UTC is 11:00 in New York, and already the next day in Tokyo.
    moment = int(datetime(2024, 7, 3, 14, 0, tzinfo=UTC).timestamp()) * SECOND
    assert r.parse_end("10:00:00 US/Eastern", NOW, ZONE) == (moment, None)
    tokyo = int(datetime(2024, 7, 3, 15, 30, tzinfo=UTC).timestamp()) * SECOND
    assert r.parse_end("00:30:00 Japan", NOW, ZONE) == (tokyo, None)


@pytest.mark.parametrize(
    "text",
    [
        "20240103", "2024-01-03 10:00:00", "20240103  ", "20240132-10:00:00", "20240103-25:00:00", "20240103-10:00",
        "20240103 10:00:00 GMT", "20240103 10:00:00 Mars/Base", "20240103 10:00:00 US/Eastern now", "soon",
        "20240103-10:00:00 UTC", "00010101-00:00:00", "30000101-00:00:00", "20240230 10:00:00 UTC",
    ],
)  # fmt: skip
def test_malformed_ends_are_error_10314(text):
    assert refused(endDateTime=text) == r.INVALID_END


@given(
    st.text(max_size=30), st.text(max_size=12), st.text(max_size=12), st.text(max_size=12), st.integers(-3, 9)
)
def test_no_text_breaks_the_parser(end, duration, size, what, form):
    wanted = asked(endDateTime=end, duration=duration, barSizeSetting=size, whatToShow=what, formatDate=form)
    found = r.parse(wanted, NOW, ZONE)
    assert isinstance(found, Refusal)
    assert found.code in (321, 10314)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        (
            {"whatToShow": "ADJUSTED_LAST", "endDateTime": "20240103-15:00:00"},
            "End date not supported with adjusted last",
        ),
        (
            {"whatToShow": "ADJUSTED_LAST", "barSizeSetting": "1W"},
            "Multi day bar size not supported with adjusted last",
        ),
        ({"whatToShow": "HISTORICAL_VOLATILITY"}, "What to show value of HISTORICAL_VOLATILITY rejected."),
        ({"formatDate": 0}, "Date formatting selection of 0 rejected."),
        ({"whatToShow": "SCHEDULE"}, "Only daily resolution supported for Schedule requests"),
        (
            {"keepUpToDate": True, "endDateTime": "20240103-15:00:00"},
            "End date not supported with live updates",
        ),
        ({"keepUpToDate": True, "whatToShow": "BID_ASK"}, "Source price not supported with live updates"),
    ],
)
def test_combinations_that_are_refused(changed, cause):
    told = refused(**changed)
    assert told.code == 321
    assert told.text.endswith(cause)


def test_the_end_is_checked_before_the_duration_and_that_before_the_size():
    assert refused(endDateTime="x", duration="x", barSizeSetting="x").code == 10314
    assert "duration" in refused(duration="x", barSizeSetting="x").text


# IB's page historical_limitations.html, "Valid Duration String and Bar Size": the rows as it gives them.
TABLE = {
    "60 S": ("1 secs", "1 min"), "120 S": ("1 secs", "2 mins"), "1800 S": ("1 secs", "30 mins"),
    "3600 S": ("5 secs", "1 hour"), "14400 S": ("10 secs", "3 hours"), "28800 S": ("30 secs", "8 hours"),
    "1 D": ("1 min", "1 day"), "2 D": ("2 mins", "1 day"), "1 W": ("3 mins", "1W"), "1 M": ("30 mins", "1M"),
    "1 Y": ("1 day", "1M"),
}  # fmt: skip


@pytest.mark.parametrize("duration", TABLE)
def test_the_step_table_is_kept_to_when_strict(duration):
    least, most = (SIZES[r.SPELLINGS[text]].ns for text in TABLE[duration])
    for text, name in r.SPELLINGS.items():
        found = r.parse(asked(duration=duration, barSizeSetting=text), NOW, ZONE, strict=True)
        assert isinstance(found, r.BarRequest) == (least <= SIZES[name].ns <= most), text


def test_small_bars_over_long_durations_are_refused_by_the_data_farm():
    # A user's log: "1 secs" over "1 D" gave 162 "...invalid step: 1".
    told = Refusal(162, "Historical Market Data Service error message:invalid step: 1")
    assert refused(duration="1 D", barSizeSetting="1 secs") == told


def test_what_a_real_one_serves_slowly_is_served_when_not_strict():
    # A user's log: 5 days of one-minute bars in 8 seconds.
    assert taken(duration="5 D").duration == r.Duration(5, "D")
    assert refused(strict=True, duration="5 D").code == 321
    assert taken(strict=True, duration="20 Y", barSizeSetting="1 day").size == SIZES["1d"]


DAYS = st.integers(0, 40_000).map(lambda days: datetime(1980, 1, 1, 9, 30, tzinfo=UTC) + timedelta(days=days))


@given(st.integers(1, 200), st.sampled_from("SDWMY"), DAYS)
def test_a_duration_before_a_moment_is_earlier_and_on_the_calendar(count, unit, moment):
    before = r.Duration(count, unit).before(moment)
    assert before < moment
    if unit == "Y":
        assert moment.year - before.year == count
    if unit in "MY":
        assert before.day == moment.day or (before.day >= 28 and before.day < moment.day)
