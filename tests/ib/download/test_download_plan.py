"""The planner, without a TWS: what is asked for is what is missing, in requests that IB's step table allows.

The table itself is that of the simulator (quant/tws), written down there from IB's page a second time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.core.barsize import DAY, MINUTE, SECOND, SIZES
from quant.core.instrument import Instrument
from quant.ib.contracts import ContractSpec
from quant.ib.download.cells import Cells, cells
from quant.ib.download.chunks import Chunk, cut_up, missing
from quant.ib.download.plan import (
    Held,
    Request,
    in_turn,
    in_words,
    plan_series,
    planned,
    schedule,
    with_check,
)
from quant.ib.download.steps import LONGEST
from quant.store.coverage import Interval, cover, cut
from quant.tws.exchange.request import Duration, parse_duration, step_refusal

NOW = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND  # noon in New York, a Wednesday
PLACES = {
    "XNYS": Instrument("SPY", exchange="ARCA", calendar="XNYS", timezone="America/New_York"),
    "XHKG": Instrument("700", exchange="SEHK", calendar="XHKG", timezone="Asia/Hong_Kong"),
    "CMES": Instrument("ESM4", "FUT", "CME", calendar="CMES", timezone="America/Chicago"),
    "24/5": Instrument("EUR.USD", "CASH", "IDEALPRO", calendar="24/5", timezone="America/New_York"),
    "none": Instrument("X", exchange="PINKC", timezone="Europe/London"),
}
MADE: dict[tuple[str, str, bool], Cells] = {}


def made(place: str, size: str, rth: bool = True) -> Cells:
    key = (place, size, rth)
    if key not in MADE:
        MADE[key] = cells(PLACES[place], SIZES[size], rth, date(2020, 1, 1), NOW)
    return MADE[key]


def asked(size: str, what: str = "TRADES", number: int = 1) -> Request:
    spec = ContractSpec("SPY", currency="USD", con_id=number)
    return Request(f"S{number}", spec, PLACES["XNYS"], "ib", SIZES[size], what, True, "splits")


def duration(chunk: Chunk) -> Duration:
    found = parse_duration(chunk.duration)
    assert isinstance(found, Duration), found
    return found


def reached(rows: Cells, chunk: Chunk) -> int:
    """Where an answer begins that counts days as sessions and seconds as trading time; months have 30 days."""
    length, end = duration(chunk), chunk.window[1]
    assert chunk.end is not None
    ends = int(chunk.end.timestamp()) * SECOND
    if rows.size.intraday:
        last = int(np.searchsorted(rows.begin, ends)) - 1
    else:
        last = int(np.searchsorted(rows.closed, ends, side="right")) - 1
    if length.unit == "S":
        return min(ends, int(rows.over[last])) - length.count * SECOND
    if length.unit == "D":
        return int(rows.begin[max(last - length.count + 1, 0)])
    day = rows.day[last] - np.timedelta64(length.seconds // 86_400, "D")
    return min(end, int(rows.begin[np.searchsorted(rows.day, day, side="right")]))


RANGES = st.tuples(st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(SIZES)), st.booleans())


@settings(max_examples=150)
@given(RANGES, st.data())
def test_requests_cover_just_what_is_missing_and_each_is_legal(
    of: tuple[str, str, bool], data: st.DataObject
) -> None:
    rows = made(*of)
    size = rows.size
    days = 4 if LONGEST[size].seconds is not None else 900 if size.intraday else 1500
    step = MINUTE if size.intraday else DAY

    def interval() -> Interval:
        begin = rows.known - data.draw(st.integers(0, days * DAY // step)) * step
        return begin, min(begin + data.draw(st.integers(1, days * DAY // step)) * step, rows.known)

    wanted = interval()
    held: list[Interval] = []
    for _ in range(data.draw(st.integers(0, 3))):
        held = cover(held, interval())
    gaps = missing(wanted, held)
    chunks = cut_up(rows, gaps)
    left = gaps
    for chunk in chunks:
        inside = [g for g in left if g[0] <= chunk.window[0] and chunk.window[1] <= g[1]]
        assert len(inside) == 1  # no overlap with another one, nor with what is held
        left = cut(left, chunk.window)
        length = duration(chunk)
        assert step_refusal(size, length, strict=True) is None
        assert reached(rows, chunk) <= max(chunk.window[0], int(rows.begin[rows.touched(*chunk.window)[0]]))
        assert chunk.end is not None
        assert chunk.end.timestamp() * SECOND <= NOW + SECOND
    for gap in left:  # whatever is not asked for has no session
        first, stop = rows.touched(*gap)
        assert first >= stop
    assert [c.window for c in chunks] == sorted((c.window for c in chunks), reverse=True)  # newest first


@pytest.mark.parametrize(
    ("size", "start", "count", "newest", "oldest"),
    [
        # Sessions of New York since Monday, 1 April 2024 up to noon on 15 May: 32 whole ones, half of one.
        ("1d", date(2024, 4, 1), 1, "32 D", "32 D"),
        ("1d", date(2020, 1, 2), 5, "1 Y", "96 D"),  # 4 x 364 days, then 96 sessions until 19 May 2020
        ("1h", date(2024, 4, 1), 2, "1 M", "13 D"),  # 28 days reach back to 18 April, 13 sessions before
        ("5m", date(2024, 4, 1), 7, "1 W", "3 D"),
        ("2m", date(2024, 4, 1), 17, "2 D", "1 D"),
        ("1m", date(2024, 4, 1), 33, "1 D", "1 D"),
        ("30s", date(2024, 5, 13), 3, "9000 S", "23400 S"),  # 2.5 hours of today, whole sessions else
        ("10s", date(2024, 5, 14), 3, "9000 S", "9000 S"),  # of 6.5 hours 4, and the 2.5 before them
        ("5s", date(2024, 5, 15), 3, "3600 S", "1800 S"),
        ("1s", date(2024, 5, 14), 18, "1800 S", "1800 S"),
    ],
)  # fmt: skip
def test_the_longest_legal_requests_are_taken(
    size: str, start: date, count: int, newest: str, oldest: str
) -> None:
    rows = made("XNYS", size)
    chunks = cut_up(rows, [(rows.from_day(start), rows.known)])
    assert (len(chunks), chunks[0].duration, chunks[-1].duration) == (count, newest, oldest)


def test_a_request_ends_with_the_session_and_not_in_the_night() -> None:
    rows = made("XNYS", "1m")
    chunk = cut_up(rows, [(rows.from_day(date(2024, 5, 10)), rows.upto_day(date(2024, 5, 10)))])[0]
    assert chunk.end == datetime(2024, 5, 10, 20, 0, tzinfo=UTC)  # 16:00 in New York
    assert chunk.window == (int(rows.begin[rows.row_at(chunk.window[0])]), rows.upto_day(date(2024, 5, 12)))


def test_what_is_known_ends_with_the_last_whole_bar() -> None:
    def known(size: str, moment: str, rth: bool = True, place: str = "XNYS") -> str:
        now = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * SECOND
        found = cells(PLACES[place], SIZES[size], rth, date(2024, 5, 1), now).known
        return str(np.datetime64(found, "ns").astype("datetime64[s]"))

    assert known("1m", "2024-05-15 16:00:59") == "2024-05-15T16:00:00"
    assert known("1h", "2024-05-15 13:45") == "2024-05-15T13:30:00"  # 9:30 to 10:00 in New York is not over
    assert known("1h", "2024-05-15 14:00") == "2024-05-15T14:00:00"
    assert known("1m", "2024-05-15 20:00:30") == "2024-05-15T20:00:00"
    assert known("1m", "2024-05-18 12:00") == "2024-05-17T20:00:00"  # on Saturday: Friday's close
    assert known("1m", "2024-05-15 22:00:30", rth=False) == "2024-05-15T22:00:00"
    assert known("1d", "2024-05-15 19:59") == "2024-05-15T00:00:00"
    assert known("1d", "2024-05-15 20:00") == "2024-05-16T00:00:00"
    assert known("1w", "2024-05-17 19:59") == "2024-05-13T00:00:00"
    assert known("1w", "2024-05-17 20:00") == "2024-05-20T00:00:00"  # the week's last session is over
    assert known("1mo", "2024-05-31 20:00") == "2024-06-01T00:00:00"
    assert known("30m", "2024-05-16 04:30", place="XHKG") == "2024-05-16T04:30:00"  # in the lunch break


@pytest.mark.parametrize("size", ["1d", "1h", "5m", "1m", "30s", "5s", "1s"])
def test_an_update_asks_for_the_last_held_bars_again_and_first(size: str) -> None:
    rows = made("XNYS", size)
    begin, end = rows.from_day(date(2024, 5, 1)), rows.upto_day(date(2024, 5, 9))
    last = end - rows.size.ns
    held = Held(((begin, end),), (), 100, begin, last)
    found = plan_series(asked(size), rows, (begin, rows.known), held, "")
    first = found.chunks[0]
    assert first.checks
    assert first.window[0] <= last < first.window[1]
    assert begin <= first.window[0]
    new = [c for c in found.chunks if not c.checks]
    assert all(c.window[0] >= end for c in new)
    plain = cut_up(rows, [(end, rows.known)])
    assert len(found.chunks) <= len(plain) + 1
    assert missing((begin, rows.known), [held.coverage[0], *(c.window for c in found.chunks)]) == []


def test_older_bars_are_checked_against_the_newest_held_ones_too() -> None:
    rows = made("XNYS", "1m")
    begin, end = rows.from_day(date(2024, 5, 13)), rows.upto_day(date(2024, 5, 14))
    held = Held(((begin, end),), (), 780, begin, end - MINUTE)
    found = with_check(rows, [(rows.from_day(date(2024, 5, 9)), begin)], held)
    assert [c.checks for c in found] == [True, False, False]
    assert found[0].window == (rows.from_day(date(2024, 5, 14)), end)


def test_nothing_is_asked_for_where_nothing_is_missing() -> None:
    rows = made("XNYS", "1m")
    begin, end = rows.from_day(date(2024, 5, 13)), rows.known
    held = Held(((begin, end),), (), 900, begin, end - MINUTE)
    assert plan_series(asked("1m"), rows, (begin, end), held, "").chunks == ()


def test_held_bars_are_looked_at_again_on_demand_where_nothing_is_missing() -> None:
    rows = made("XNYS", "1d")
    begin, end = rows.from_day(date(2024, 5, 1)), rows.known
    held = Held(((begin, end),), (), 11, begin, int(rows.begin[rows.row_at(end - 1)]))
    (chunk,) = plan_series(asked("1d"), rows, (begin, end), held, "", look=True).chunks
    assert (chunk.checks, chunk.duration) == (True, "5 D")


def test_adjusted_prices_are_one_request_from_now_back() -> None:
    rows = made("XNYS", "1d")
    found = plan_series(
        asked("1d", "ADJUSTED_LAST"), rows, (rows.from_day(date(2021, 1, 4)), rows.known), Held(), ""
    )
    (chunk,) = found.chunks
    assert (chunk.end, chunk.duration) == (None, "4 Y")


def test_adjusted_prices_of_years_ago_reach_back_from_now_too() -> None:
    rows = made("XNYS", "1d")
    wanted = rows.from_day(date(2021, 1, 4)), rows.upto_day(date(2021, 6, 1))
    (chunk,) = plan_series(asked("1d", "ADJUSTED_LAST"), rows, wanted, Held(), "").chunks
    assert (chunk.end, chunk.duration, chunk.window) == (None, "4 Y", wanted)


# ---------------------------------------------------------------- time
def test_ten_thousand_requests_of_twenty_symbols_go_as_fast_as_the_rules_allow() -> None:
    rows = cells(PLACES["XNYS"], SIZES["30s"], True, date(2022, 1, 1), NOW)
    wanted = (int(rows.begin[rows.row_at(rows.known) - 499]), rows.known)
    plans = [plan_series(asked("30s", number=n), rows, wanted, Held(), "") for n in range(20)]
    costs = in_turn(plans)
    assert len(costs) == 10_000
    sent = schedule(costs)
    least_s = (10_000 - 60) / (60 / 600)  # after the first sixty, sixty in ten minutes
    assert least_s / sent[-1] >= 0.99
    for n in range(60, 10_000):  # the rule itself, once more
        assert sent[n] - sent[n - 60] >= 600
    assert planned(plans).seconds == pytest.approx(sent[-1], abs=1.0)


def test_bars_of_a_minute_are_held_back_by_messages_only() -> None:
    rows = made("XNYS", "1m")
    wanted = (int(rows.begin[rows.row_at(rows.known) - 499]), rows.known)
    plan = planned(plan_series(asked("1m", number=n), rows, wanted, Held(), "") for n in range(4))
    assert plan.requests == 2000
    assert 2000 / 50 <= plan.seconds <= 2000 / 40


def test_lengths_of_time_in_words() -> None:
    assert [in_words(s) for s in (0.2, 59, 600, 3600, 12_000)] == [
        "1 s",
        "59 s",
        "10 min",
        "1 h",
        "3 h 20 min",
    ]
