"""The path inside a bar: it gives the bar back bit by bit, on legal prices, the same each time."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import HOUR, MINUTE, SECOND, SIZES
from quant.core.synthetic import synthetic
from quant.tws.exchange.builtin import BUILT_IN, CENT
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.path import Shape, moments, path, paths, quote
from quant.tws.exchange.quotes import day
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.tape import Tape

SPY = 756733


@st.composite
def shapes(draw: Any) -> Shape:
    """Bars with prices on the tick or off it (adjusted ones are), and any volume."""
    unit = draw(st.sampled_from([0.01, 0.0037, 1.0]))
    four = sorted(draw(st.lists(st.integers(100, 140), min_size=4, max_size=4)))
    inner = draw(st.permutations(four[1:3]))
    if draw(st.booleans()):
        inner = [four[0], four[3]] if draw(st.booleans()) else [four[3], four[0]]
    volume = draw(st.one_of(st.integers(-1, 10**10), st.floats(0.0, 1e9)))
    return Shape(inner[0] * unit, four[3] * unit, four[0] * unit, inner[1] * unit, float(volume))


@given(shapes(), st.sampled_from([4, 10, 60, 300]), st.integers(0, 3))
def test_a_path_reproduces_its_bar_exactly(shape, length, seed):
    time = moments([(0, length * SECOND)])
    ticks = path(time, shape, CENT, "X", 0, seed)
    assert (ticks.price[0], ticks.price[-1]) == (shape.open, shape.close)
    assert (np.max(ticks.price), np.min(ticks.price)) == (shape.high, shape.low)
    assert np.sum(ticks.size) == max(shape.volume, 0.0)
    whole = np.append(ticks.size[:-1], np.floor(ticks.size[-1]))
    assert np.array_equal(whole, np.floor(whole))
    assert np.min(ticks.size) >= 0.0
    own = {shape.open, shape.high, shape.low, shape.close}
    assert all(CENT.legal(p) for p in ticks.price.tolist() if p not in own)


@given(shapes(), st.lists(st.integers(1, 299), max_size=5, unique=True))
def test_any_parts_of_a_path_add_up_to_the_bar(shape, cuts):
    ticks = path(moments([(0, 300 * SECOND)]), shape, CENT, "X", 0, 1)
    edges = [0, *sorted(cuts), 300]
    parts = [ticks.between(a * SECOND, b * SECOND) for a, b in pairwise(edges)]
    assert sum(float(np.sum(p.size)) for p in parts) == max(shape.volume, 0.0)
    assert max(float(np.max(p.price)) for p in parts) == shape.high
    assert min(float(np.min(p.price)) for p in parts) == shape.low


def test_symbol_start_and_seed_decide_and_nothing_else():
    shape, time = Shape(100.0, 102.0, 99.0, 101.0, 12345.0), moments([(0, MINUTE)])
    first = path(time, shape, CENT, "X", 0, 1)
    for symbol, start, seed in [("Y", 0, 1), ("X", 1, 1), ("X", 0, 2)]:
        assert not np.array_equal(path(time, shape, CENT, symbol, start, seed).price, first.price)
    again = path(time, shape, CENT, "X", 0, 1)
    assert np.array_equal(again.price, first.price)
    assert np.array_equal(again.size, first.size)


@given(st.lists(shapes(), min_size=1, max_size=6), st.sampled_from([4, 10, 60]))
def test_paths_made_together_are_those_that_each_bar_has_alone(bars, length):
    starts = [n * MINUTE for n in range(len(bars))]
    times = [moments([(start, start + length * SECOND)]) for start in starts]
    for found, bar, time, start in zip(
        paths(times, bars, CENT, "X", starts, 3), bars, times, starts, strict=True
    ):
        alone = path(time, bar, CENT, "X", start, 3)
        assert (found.time.tolist(), found.price.tolist()) == (time.tolist(), alone.price.tolist())
        assert found.size.tolist() == alone.size.tolist()


def test_the_path_of_a_seed_does_not_change():
    # A regression pin: printed by this code on Linux x86-64, numpy 2.4.
    ticks = path(moments([(0, 10 * SECOND)]), Shape(100.0, 100.05, 99.95, 100.02, 1000.0), CENT, "X", 0, 0)
    assert ticks.price.tolist() == PINNED_PRICES
    assert ticks.size.tolist() == PINNED_SIZES


PINNED_PRICES = [100.0, 99.95, 100.01, 100.0, 100.03, 100.05, 100.04, 100.04, 100.03, 100.02]
PINNED_SIZES = [127.0, 189.0, 129.0, 81.0, 130.0, 54.0, 32.0, 50.0, 130.0, 78.0]


def test_short_bars_have_ten_ticks_and_breaks_have_none():
    assert len(moments([(0, SECOND)])) == 10
    both = moments([(0, HOUR), (2 * HOUR, 3 * HOUR)])
    assert len(both) == 7200
    assert not np.any((both >= HOUR) & (both < 2 * HOUR))


@given(st.sampled_from(sorted({x.rule for x in BUILT_IN}, key=lambda r: r.rule_id)), st.floats(0.1, 20_000.0))
def test_a_quote_lies_around_the_price(rule, price):
    found = quote(price, rule)
    assert found.bid < price < found.ask
    assert rule.legal(found.ask)
    assert found.bid <= found.mid <= found.ask


# ---------------------------------------------------------------- whole series
def listing() -> Listing:
    found = Catalogue().get(SPY)
    assert found is not None
    return found


def same(a: Bars, b: Bars) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("start", *COLUMNS))


FOR_EVER = 2**62


@pytest.mark.parametrize(
    ("held", "fine"),
    [("1d", "1m"), ("1d", "5s"), ("1d", "1h"), ("5m", "1s"), ("1h", "15m"), ("30m", "2m"), ("1m", "1s")],
)
def test_finer_bars_add_up_to_the_stored_ones_bit_by_bit(held, fine):
    # 27 November 2020 is a half day.
    stored = replace(synthetic("SPY", held, "2020-11-25", "2020-11-30"), instrument=listing().instrument)
    tape = Tape({SPY: held_bars([stored])}, seed=3)
    first, last = np.datetime64("2020-11-25"), np.datetime64("2020-11-30")
    found = tape.bars(listing(), SIZES[fine], "TRADES", True, first, last, FOR_EVER)
    assert len(found) > len(stored)
    assert same(found.resample(held), stored)
    again = Tape({SPY: held_bars([stored])}, seed=3).bars(
        listing(), SIZES[fine], "TRADES", True, first, last, FOR_EVER
    )
    assert same(found, again)


def test_a_lunch_break_has_no_bars():
    tokyo = Catalogue().get(990_000_005)
    assert tokyo is not None
    days = replace(
        synthetic("7203", "1d", "2021-03-01", "2021-03-03", calendar="XTKS"), instrument=tokyo.instrument
    )
    tape = Tape({tokyo.con_id: held_bars([days])})
    found = tape.bars(
        tokyo, SIZES["1m"], "TRADES", True, np.datetime64("2021-03-01"), np.datetime64("2021-03-03"), FOR_EVER
    )
    assert len(found) == 3 * 300  # 09:00-11:30 and 12:30-15:00
    assert same(found.resample("1d"), days)


def test_coarser_bars_are_the_stored_ones_resampled_and_stored_ones_win():
    minutes = replace(synthetic("SPY", "1m", "2020-12-14", "2020-12-15"), instrument=listing().instrument)
    days = replace(
        synthetic("SPY", "1d", "2020-12-10", "2020-12-14", seed=9), instrument=listing().instrument
    )
    tape = Tape({SPY: held_bars([minutes, days])})
    first, last = np.datetime64("2020-12-01"), np.datetime64("2020-12-31")
    found = tape.bars(listing(), SIZES["1d"], "TRADES", True, first, last, FOR_EVER)
    assert same(found[:3], days)
    assert same(found[3:], minutes.resample("1d")[1:])
    fine = tape.bars(listing(), SIZES["1m"], "TRADES", True, first, last, FOR_EVER)
    assert same(fine[2 * 390 :], minutes)
    assert same(fine[: 2 * 390].resample("1d"), days[:2])


@given(st.integers(0, 400 * 60))
def test_nothing_later_than_the_present_shows(seconds):
    stored = replace(synthetic("SPY", "30m", "2020-12-14", "2020-12-14"), instrument=listing().instrument)
    tape = Tape({SPY: held_bars([stored])})
    now = int(stored.start[0]) + seconds * SECOND
    day = np.datetime64("2020-12-14")
    seen = tape.bars(listing(), SIZES["30m"], "TRADES", True, day, day, now)
    over = int(np.sum(stored.end <= now))
    assert same(seen[:over], stored[:over])
    ticks = tape.ticks(listing(), int(stored.start[0]), now + 1)
    assert np.sum(seen.volume) == np.sum(ticks.size)
    if seconds < 390 * 60:
        assert seen.close[-1] == ticks.price[-1]
        assert len(seen) == over + 1
    assert tape.last(listing(), now) == (int(ticks.time[-1]), float(ticks.price[-1]))


def test_ticks_come_from_the_finest_series_and_do_not_mix_in_a_session():
    minutes = replace(synthetic("SPY", "1m", "2020-12-14", "2020-12-14"), instrument=listing().instrument)[
        :100
    ]
    days = replace(
        synthetic("SPY", "1d", "2020-12-14", "2020-12-15", seed=9), instrument=listing().instrument
    )
    tape = Tape({SPY: held_bars([days, minutes])})
    whole = tape.ticks(listing(), int(minutes.start[0]), int(minutes.start[0]) + 31 * HOUR)
    assert len(whole) == 100 * 60 + 390 * 60
    assert whole.price[0] == minutes.open[0]
    assert np.all(np.diff(whole.time) > 0)


# ---------------------------------------------------------------- the future
LAID_UP = {
    "days": [("1d", "2020-12-01", "2020-12-31")],
    "half hours": [("30m", "2020-12-10", "2020-12-18")],
    "minutes and days": [("1m", "2020-12-14", "2020-12-14"), ("1d", "2020-12-01", "2020-12-31")],
}


@cache
def laid_up(kind: str) -> list[Bars]:
    return [
        replace(synthetic("SPY", size, first, last, seed=n), instrument=listing().instrument)
        for n, (size, first, last) in enumerate(LAID_UP[kind])
    ]


def other_future(bars: Bars, now: int, seed: int) -> Bars:
    """Return bars with other prices and volumes, and fewer of them, after the one that `now` lies in."""
    later = int(np.searchsorted(bars.times.begin, now, side="right"))
    rng = np.random.default_rng(seed)
    keep = np.append(np.full(later, True), rng.random(len(bars) - later) < 0.8)
    factor = np.append(np.ones(later), rng.uniform(0.2, 5.0, len(bars) - later))
    columns = {name: (getattr(bars, name) * factor)[keep] for name in COLUMNS}
    return replace(bars, start=bars.start[keep], **columns)


def told(tape: Tape, now: int, size: str) -> list[Any]:
    """Return whatever of the market can be asked for at a moment."""
    first, last = np.datetime64("2020-11-30"), np.datetime64("2020-12-31")  # a Monday
    bars = tape.bars(listing(), SIZES[size], "TRADES", True, first, last, now)
    ticks = tape.ticks(listing(), now - 2 * HOUR, now + 1)
    arrays = [getattr(bars, name) for name in ("start", *COLUMNS)] + [ticks.time, ticks.price, ticks.size]
    return [
        bars.bar.name,
        *(a.tolist() for a in arrays),
        tape.last(listing(), now),
        day(tape, listing(), now),
    ]


@settings(max_examples=50)
@given(
    st.sampled_from(sorted(LAID_UP)),
    st.sampled_from(["30s", "1m", "5m", "30m", "1h", "1d", "1w"]),
    st.integers(-HOUR // SECOND, 7 * HOUR // SECOND),
    st.integers(0, 9),
)
def test_what_is_told_does_not_depend_on_the_future(kind, size, seconds, seed):
    opens = int(np.datetime64("2020-12-14T14:30", "ns").astype(np.int64))  # 09:30 in New York
    now = opens + seconds * SECOND
    held = laid_up(kind)
    tapes = [Tape({SPY: held_bars(h)}) for h in (held, [other_future(b, now, seed) for b in held])]
    assert told(tapes[0], now, size) == told(tapes[1], now, size)


@settings(max_examples=25)
@given(st.sampled_from(["days", "half hours"]), st.integers(0, 7 * HOUR // SECOND))
def test_unfinished_bars_of_every_size_hold_the_ticks_so_far(kind, seconds):
    now = int(np.datetime64("2020-12-14T14:30", "ns").astype(np.int64)) + seconds * SECOND
    tape = Tape({SPY: held_bars(laid_up(kind))})
    today = np.datetime64("2020-12-14")
    ticks = tape.ticks(listing(), now - 8 * HOUR, now + 1)
    for size in ("1m", "30m", "1d"):
        seen = tape.bars(listing(), SIZES[size], "TRADES", True, today, today, now)
        assert float(np.sum(seen.volume)) == pytest.approx(float(np.sum(ticks.size)), rel=1e-12)
        ends = (seen.open[0], seen.close[-1], np.max(seen.high), np.min(seen.low))
        assert ends == (ticks.price[0], ticks.price[-1], np.max(ticks.price), np.min(ticks.price))
        assert int(seen.times.begin[-1]) <= now


def test_a_bar_that_begins_before_its_session_shows_nothing_before_it():
    # IB's hours lie on the clock: with all hours the one of 09:00 holds New York's open.
    hours = replace(
        synthetic("SPY", "1h", "2020-12-14", "2020-12-14"), instrument=listing().instrument, rth=False
    )
    nine = int(np.datetime64("2020-12-14T14:00", "ns").astype(np.int64))
    early = replace(hours, start=np.append(nine, hours.start[1:]))
    tape = Tape({SPY: held_bars([early])})
    today = np.datetime64("2020-12-14")
    for size in ("1h", "30m", "1m"):
        assert len(tape.bars(listing(), SIZES[size], "TRADES", False, today, today, nine + 60 * SECOND)) == 0
        assert (
            len(tape.bars(listing(), SIZES[size], "TRADES", False, today, today, nine + 1800 * SECOND)) == 1
        )
    assert tape.last(listing(), nine + 60 * SECOND) is None
    friday = replace(synthetic("SPY", "1h", "2020-12-11", "2020-12-11"), instrument=listing().instrument)
    both = replace(
        early,
        start=np.append(friday.start, early.start),
        **{name: np.append(getattr(friday, name), getattr(early, name)) for name in COLUMNS},
    )
    closed = int(friday.end[-1]) - SECOND
    last = Tape({SPY: held_bars([both])}).last(listing(), nine + 60 * SECOND)
    assert last == (closed, friday.close[-1])
