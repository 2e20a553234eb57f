"""Closed bars out of raw streams that come late, twice, out of order, changed, or not at all.

What a bar is comes from Bars.resample, which tests/core checks against other programs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY, MINUTE, SECOND, bar_size
from quant.core.calendar import calendar
from quant.core.grid import session_starts
from quant.core.instrument import Instrument
from quant.live.bars.arriving import GRACE, Arriving
from quant.live.bars.pieces import Gap, Row, Seen

FIVE = 5 * SECOND
SPY = Instrument("SPY", calendar="XNYS", timezone="America/New_York")
DARK = Instrument("SPY", timezone="America/New_York")  # nobody knows its sessions
# A plain day, the half day after Thanksgiving, a day after each change of New York's clocks.
DAYS = ("2024-05-15", "2024-11-29", "2024-03-11", "2024-11-04")
HOUR_S = 3600


def ns(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc, arg-type]


@lru_cache
def pieces(day: str) -> Bars:
    """The 5-second bars of a session."""
    date = np.datetime64(day)
    start = session_starts(calendar("XNYS", 2024, 2024), bar_size("5s"), date, date)
    rng = np.random.default_rng(7)
    close = 400.0 + np.cumsum(rng.integers(-5, 6, len(start))) / 100
    volume = rng.integers(1, 1000, len(start)).astype(np.float64)
    opened = close + rng.integers(-3, 4, len(start)) / 100
    return Bars(
        SPY, bar_size("5s"), start, opened, np.maximum(opened, close) + 0.01, np.minimum(opened, close) - 0.01,
        close, volume,
    )  # fmt: skip


def rows_of(bars: Bars) -> list[Row]:
    return [
        Row(*values) for values in zip(*(getattr(bars, n).tolist() for n in ("start", *COLUMNS)), strict=True)
    ]


def stream(bar: str, day: str, *, instrument: Instrument = SPY, updates: bool = False) -> Arriving:
    whole = pieces(day)
    known = None if instrument.calendar is None else calendar(instrument.calendar, 2024, 2024)
    first = int(whole.start[0])
    return Arriving(instrument, bar_size(bar), known, True, first - 1, now=first, updates=updates)


def ask(arriving: Arriving, history: list[Row], now: int) -> None:
    """Answer from history, as a TWS at `now` would; also with the bar that is not over yet."""
    gap = arriving.missing(now)
    if gap is not None:
        arriving.answer([row for row in history if row.start < now], gap, now)


@pytest.mark.parametrize("bar", ["5s", "1m", "3m", "5m", "30m", "1h", "2h"])
@pytest.mark.parametrize("day", DAYS)
def test_whole_stream_gives_the_bars_of_the_store_each_at_its_end(bar: str, day: str) -> None:
    raw = pieces(day)
    wanted = raw if bar == "5s" else raw.resample(bar)
    arriving, found = stream(bar, day), []
    for row in rows_of(raw):
        now = row.start + FIVE
        assert arriving.take(row, now) is Seen.NEW
        closed = arriving.closed(now)
        assert arriving.missing(now) is None
        found += [(now, c) for c in closed]
    assert [c for _, c in found] == rows_of(wanted)
    assert [at for at, _ in found] == wanted.end.tolist()


def test_a_bar_is_closed_once_and_duplicates_are_told() -> None:
    arriving, rows = stream("1m", DAYS[0]), rows_of(pieces(DAYS[0]))[:24]
    seen = [arriving.take(row, row.start + FIVE) for row in rows[:12] for _ in range(2)]
    assert seen == [Seen.NEW, Seen.SAME] * 12
    assert len(arriving.closed(rows[11].start + FIVE)) == 1
    assert arriving.take(rows[3], rows[12].start) is Seen.SAME
    assert arriving.closed(rows[12].start) == []


def test_a_piece_with_two_values_is_for_history_to_say() -> None:
    arriving, raw = stream("1m", DAYS[0]), pieces(DAYS[0])
    rows = rows_of(raw)
    early = rows[11]._replace(close=rows[11].open, high=rows[11].open, low=rows[11].open, volume=1.0)
    for row in (*rows[:11], early):
        arriving.take(row, row.start + FIVE)
    assert arriving.take(rows[11], rows[12].start) is Seen.REVISED
    now = rows[12].start
    assert arriving.closed(now) == []
    history = rows_of(raw.resample("1m"))
    assert arriving.missing(now) == Gap(rows[0].start, now)
    arriving.answer(history[:2], Gap(rows[0].start, now), now)
    assert arriving.closed(now) == history[:1]


def test_an_answer_with_less_volume_than_the_stream_is_not_final() -> None:
    arriving, raw = stream("1m", DAYS[0]), pieces(DAYS[0])
    rows, history = rows_of(raw), rows_of(raw.resample("1m"))
    for row in (*rows[:5], *rows[6:12]):
        arriving.take(row, row.start + FIVE)
    now = rows[11].start + FIVE + GRACE
    arriving.answer([history[0]._replace(volume=10.0)], Gap(rows[0].start, now), now)
    assert arriving.closed(now) == []
    arriving.answer([history[0]], Gap(rows[0].start, now), now + SECOND)
    assert arriving.closed(now) == history[:1]


@pytest.mark.parametrize(
    "change",
    [dict(open=0.0, high=0.0, low=0.0, close=0.0), dict(volume=0.0), dict(high=float("nan")), dict(low=-1.0)],
)
def test_zero_prices_and_volumes_are_a_missing_piece(change: dict[str, float]) -> None:
    arriving, rows = stream("1m", DAYS[0]), rows_of(pieces(DAYS[0]))
    for n, row in enumerate(rows[:12]):
        seen = arriving.take(row._replace(**change) if n == 4 else row, row.start + FIVE)
        assert seen is (Seen.UNUSABLE if n == 4 else Seen.NEW)
    now = rows[11].start + FIVE + GRACE
    assert arriving.closed(now) == []
    assert arriving.missing(now) == Gap(rows[0].start, now)


def test_pieces_without_trades_repeat_a_price_that_is_not_the_bars() -> None:
    """IB's history of a minute knows its trades only."""
    arriving, rows = stream("1m", DAYS[0]), rows_of(pieces(DAYS[0]))
    quiet = [r._replace(open=500.0, high=500.0, low=500.0, close=500.0, volume=0.0) for r in rows[:12]]
    told = [*quiet[:3], *rows[3:9], *quiet[9:12]]
    for row in told:
        arriving.take(row, row.start + FIVE)
    (bar,) = arriving.closed(rows[12].start)
    assert (bar.open, bar.close) == (rows[3].open, rows[8].close)
    assert bar.high < 500.0
    for row in rows[12:24]:
        arriving.take(row._replace(open=9.0, high=9.0, low=9.0, close=9.0, volume=0.0), row.start + FIVE)
    now = rows[24].start
    assert arriving.closed(now) == []
    assert arriving.missing(now) is not None  # history says whether there is such a bar


def test_missing_bars_are_taken_not_to_be_after_two_answers() -> None:
    arriving, raw = stream("1m", DAYS[0]), pieces(DAYS[0])
    rows, history = rows_of(raw), rows_of(raw.resample("1m"))
    for row in (*rows[:12], *rows[36:48]):
        arriving.take(row, row.start + FIVE)
    now = rows[47].start + FIVE
    assert arriving.closed(now) == history[:1]
    gap = arriving.missing(now)
    assert gap == Gap(history[1].start, now)
    arriving.answer([history[0], history[3]], gap, now)
    assert arriving.closed(now) == []
    arriving.answer([history[0], history[3]], gap, now + SECOND)
    assert arriving.closed(now) == [history[3]]


def test_giving_up_tells_the_gap_and_goes_on() -> None:
    arriving, raw = stream("1m", DAYS[0]), pieces(DAYS[0])
    rows, history = rows_of(raw), rows_of(raw.resample("1m"))
    for row in (*rows[:12], *rows[37:60]):  # two bars not at all, one without a piece, one whole
        arriving.take(row, row.start + FIVE)
    now = rows[59].start + FIVE
    assert arriving.closed(now) == history[:1]
    assert arriving.give_up(now, now) == [Gap(history[1].start, history[4].start, 3)]
    partial, whole = arriving.closed(now)
    assert partial.start == history[3].start
    assert partial.open == rows[37].open
    assert whole == history[4]
    assert arriving.take(rows[36], now) is Seen.LATE
    assert arriving.missing(now) is None


def test_only_what_was_over_when_history_was_asked_is_given_up() -> None:
    arriving, raw = stream("1m", DAYS[0]), pieces(DAYS[0])
    rows, history = rows_of(raw), rows_of(raw.resample("1m"))
    for row in (*rows[:12], *rows[60:62]):
        arriving.take(row, row.start + FIVE)
    now = rows[61].start + FIVE
    assert arriving.closed(now) == history[:1]
    assert arriving.give_up(now, history[2].start - 1) == []
    assert arriving.give_up(now, history[3].start + 1) == [Gap(history[1].start, history[3].start, 2)]
    assert arriving.missing(now) == Gap(history[3].start, now)


def test_the_sessions_end_closes_the_last_bar_and_the_night_asks_for_nothing() -> None:
    arriving, rows = stream("1h", DAYS[1]), rows_of(pieces(DAYS[1]))  # 13:00 in New York
    found = []
    for row in rows:
        arriving.take(row, row.start + FIVE)
        found += arriving.closed(row.start + FIVE)
    assert len(found) == 4
    close = rows[-1].start + FIVE
    assert arriving.missing(close + DAY) is None
    assert arriving.settled(close) == ns(2024, 12, 2, 15) - 1  # Monday's first, 09:30 to 10:00


def test_a_whole_silent_bar_is_missing_once_its_end_has_passed() -> None:
    arriving = stream("1m", DAYS[0])
    first = int(pieces(DAYS[0]).start[0])
    assert arriving.missing(first + MINUTE) is None
    assert arriving.missing(first + MINUTE + GRACE) == Gap(first, first + MINUTE + GRACE)
    assert arriving.settled(first + MINUTE + GRACE) == first + MINUTE - 1


def test_days_come_from_history_after_the_close() -> None:
    label = ns(2024, 5, 15)
    arriving = Arriving(
        SPY, bar_size("1d"), calendar("XNYS", 2024, 2024), True, label - DAY, now=ns(2024, 5, 15, 15)
    )
    close = ns(2024, 5, 15, 20)
    assert arriving.missing(close - SECOND) is None
    gap = arriving.missing(close + GRACE)
    assert gap is not None
    assert gap.start == label
    day = Row(label, 1.0, 2.0, 1.0, 2.0, 5.0)
    arriving.answer([day], gap, close - SECOND)  # asked before: it was not over
    assert arriving.closed(close + GRACE) == []
    for _ in range(3):  # a day that history does not have yet will come
        arriving.answer([day._replace(start=label - DAY)], gap, close + GRACE)
    assert arriving.closed(close + GRACE) == []
    arriving.answer([day], gap, close + GRACE)
    assert arriving.closed(close + GRACE) == [day]


def test_rows_outside_the_regular_hours_are_left_out() -> None:
    arriving, row = stream("1m", DAYS[0]), rows_of(pieces(DAYS[0]))[0]
    early = row._replace(start=row.start - FIVE)
    assert arriving.take(early, row.start) is Seen.OUTSIDE


def test_a_damaged_time_is_not_believed() -> None:
    arriving, row = stream("1m", DAYS[0]), rows_of(pieces(DAYS[0]))[0]
    assert arriving.take(row._replace(start=row.start + 300 * DAY), row.start) is Seen.UNUSABLE
    assert arriving.take(row._replace(start=row.start + 1), row.start) is Seen.UNUSABLE


def test_without_known_sessions_the_beginning_and_each_hole_is_asked_for() -> None:
    raw = pieces(DAYS[0])
    rows, history = rows_of(raw), rows_of(raw.resample("1m"))
    now = rows[24].start
    arriving = Arriving(DARK, bar_size("1m"), None, True, rows[0].start - 1, now=now)
    gap = arriving.missing(now)
    assert gap == Gap(rows[0].start, now)
    for _ in range(2):
        arriving.answer(history[:3], gap, now)
    assert arriving.closed(now) == history[:2]
    assert arriving.missing(now + 60 * MINUTE) is None  # perhaps nothing trades
    for row in rows[36:48]:
        arriving.take(row, row.start + FIVE)
    now = rows[47].start + FIVE
    assert arriving.closed(now) == []
    gap = arriving.missing(now)
    for _ in range(2):
        assert gap is not None
        arriving.answer(history[:4], gap, now)
    assert arriving.closed(now) == history[2:4]


def test_kept_up_bars_close_when_a_later_one_begins_or_their_end_has_passed() -> None:
    history = rows_of(pieces(DAYS[0]).resample("1m"))[:3]
    arriving = stream("1m", DAYS[0], updates=True)
    forming = [history[0]._replace(close=history[0].low, volume=v) for v in (10.0, 20.0)]
    for row in (*forming, history[0], forming[0]):  # the last one is older: its volume is less
        arriving.take(row, row.start + 30 * SECOND)
    assert arriving.closed(history[1].start) == []
    arriving.take(history[1]._replace(volume=1.0), history[1].start)
    assert arriving.closed(history[1].start) == history[:1]
    arriving.take(history[1], history[2].start)
    assert arriving.closed(history[2].start) == []
    assert arriving.closed(history[2].start + GRACE) == [history[1]]


# ---------------------------------------------------------------- properties
@st.composite
def spoiled(draw: st.DrawFn) -> list[tuple[int, Row]]:
    """The last four minutes of a session as (arrival, row): delayed, doubled, lost, changed, early."""
    day = draw(st.sampled_from(DAYS))
    rows = rows_of(pieces(day)[-48:])
    kinds = draw(
        st.lists(
            st.sampled_from(["", "", "", "late", "twice", "lost", "revised", "early", "zero", "older"]),
            min_size=len(rows), max_size=len(rows),
        )
    )  # fmt: skip
    delay = draw(st.integers(1, 200))
    told: list[tuple[int, Row]] = []
    for n, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        at = row.start + FIVE
        if kind not in ("lost", "late", "zero"):
            told.append((at, row))
        if kind == "late":
            told.append((at + delay * SECOND, row))
        elif kind == "twice":
            told += [(at, row), (at + delay * SECOND, row)]
        elif kind == "revised":  # in the same moment: what is acted upon cannot be revised
            told.append((at, row._replace(close=row.high, volume=row.volume + 100)))
        elif kind == "early":
            told.insert(
                -1, (at, row._replace(high=row.open, low=row.open, close=row.open, volume=row.volume // 2))
            )
        elif kind == "zero":
            told.append((at, row._replace(open=0.0, high=0.0, low=0.0, close=0.0)))
        elif kind == "older" and n:
            told.append((at, rows[n - 1]))
    return sorted(told, key=lambda pair: pair[0])


@given(spoiled(), st.sampled_from(["5s", "30s", "1m", "2m", "5m", "1h"]), st.sampled_from([SPY, DARK]))
def test_any_spoiled_stream_gives_the_bars_of_the_store(
    told: list[tuple[int, Row]], bar: str, instrument: Instrument
) -> None:
    """History answers each second and has what is over; the bars are its, in order, each once."""
    day = str(np.datetime64(told[0][1].start, "ns").astype("datetime64[D]")) if told else DAYS[0]
    raw = pieces(day)[-48:]
    whole = rows_of(pieces(day).resample(bar) if bar != "5s" else pieces(day))
    begin = int(raw.start[0])
    known = None if instrument.calendar is None else calendar(instrument.calendar, 2024, 2024)
    ends = dict(zip((r.start for r in whole), (whole[1:] and [r.start for r in whole[1:]]), strict=False))
    close = int(pieces(day).end[-1])
    arriving = Arriving(instrument, bar_size(bar), known, True, begin - 1, now=begin)
    wanted = [row for row in whole if row.start >= begin]
    queue, now, found = list(told), begin, []
    for now in range(begin, close + 240 * SECOND, SECOND):
        while queue and queue[0][0] <= now:
            arriving.take(queue.pop(0)[1], now)
        found += arriving.closed(now)
        gap = arriving.missing(now)
        if gap is not None:
            arriving.answer([row for row in whole if row.start < now], gap, now)
            found += arriving.closed(now)
        assert all(now >= min(ends.get(row.start, close), close) for row in found[-1:])
    if instrument is DARK:  # what is silent at the end is not known to be missing there
        assert found == wanted[: len(found)]
        assert len(found) >= len(
            [r for r in wanted if told and r.start < told[-1][1].start - HOUR_S * SECOND]
        )
    else:
        assert found == wanted


@given(spoiled(), st.randoms(use_true_random=False), st.sampled_from(["1m", "2m", "5m"]))
def test_without_history_every_wrong_bar_is_among_the_gaps(
    told: list[tuple[int, Row]], random: object, bar: str
) -> None:
    """Any order of arrival: a bar equals the store's, or a gap was told for it; none comes twice or backwards."""
    raw = pieces(DAYS[0])[-48:]
    begin = int(raw.start[0])
    if told and not begin <= told[0][1].start <= int(raw.end[-1]):
        told = [(row.start, row) for row in rows_of(raw)]
    random.shuffle(told)  # type: ignore[attr-defined]
    arriving = Arriving(SPY, bar_size(bar), calendar("XNYS", 2024, 2024), True, begin - 1, now=begin)
    found: list[Row] = []
    gaps: list[Gap] = []
    revised: set[int] = set()
    for n, (_, row) in enumerate(told):
        if arriving.take(row, begin) is Seen.REVISED:
            revised.add(row.start - row.start % bar_size(bar).ns)
        if n % 7 == 0:
            gaps += arriving.give_up(begin, 1 << 62)
        found += arriving.closed(begin)
    close = int(raw.end[-1])
    gaps += arriving.give_up(close + GRACE, close)
    found += arriving.closed(close + GRACE)
    wanted = {row.start: row for row in rows_of(pieces(DAYS[0]).resample(bar)) if row.start >= begin}
    assert [r.start for r in found] == sorted({r.start for r in found})
    in_gap = {s for s in wanted if any(g.start <= s < g.end for g in gaps)}
    assert in_gap | {r.start for r in found} == set(wanted)
    assert all(r == wanted[r.start] for r in found if r.start not in in_gap | revised)
