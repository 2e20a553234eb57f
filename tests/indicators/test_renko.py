"""Renko against examples drawn by hand and a reference that lays one brick at a time in whole ticks."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant.indicators as qi
from quant.errors import ParameterError

renko_module: Any = importlib.import_module("quant.indicators.renko")  # the package's name is the function


@pytest.fixture(scope="module", params=[False, True], ids=["python", "compiled"], autouse=True)
def walked_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """All that this file says holds of both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renko_module, "_compiling_pays", lambda bars: request.param)
        yield


@dataclass(frozen=True)
class Prices:
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray

    def __getitem__(self, rows: slice) -> Prices:
        return Prices(self.high[rows], self.low[rows], self.close[rows])


def closes(*prices: float) -> Prices:
    row = np.array(prices, dtype=np.float64)
    return Prices(row, row, row)


def drawn(bars: Prices, size: Any, **options: Any) -> list[tuple[float, float, int]]:
    return list(qi.bricks(bars, size, **options).itertuples(index=False, name=None))


# ---------------------------------------------------------------------------------------- by hand
# The closes on which the project's notes show what backtrader's filter gets wrong; bricks drawn by hand.
NOTES = closes(100, 105, 110, 111, 119, 121, 135, 150, 150, 141, 139, 129)
RISE = [(100, 110, 2), (110, 120, 5), (120, 130, 6), (130, 140, 7), (140, 150, 7)]


def test_classic_bricks_of_the_notes() -> None:
    assert drawn(NOTES, 10) == [*RISE, (140, 130, 11)]
    found = qi.renko(NOTES, 10)
    assert found.count.tolist() == [0, 0, 1, 1, 1, 2, 3, 5, 5, 5, 5, -1]
    assert found.made.tolist() == [0, 0, 1, 0, 0, 1, 1, 2, 0, 0, 0, -1]
    np.testing.assert_array_equal(
        found.close, [np.nan, np.nan, 110, 110, 110, 120, 130, 150, 150, 150, 150, 130]
    )
    assert (found.anchor, found.size) == (100.0, 10.0)


def test_one_brick_reversal_of_the_notes() -> None:
    assert drawn(NOTES, 10, reversal=qi.COURSE_REVERSAL) == [*RISE, (150, 140, 10), (140, 130, 11)]
    assert qi.renko(NOTES, 10, reversal=1).count.tolist() == [0, 0, 1, 1, 1, 2, 3, 5, 5, 5, -1, -2]


def test_three_brick_reversal_lays_two_at_once() -> None:
    assert drawn(closes(100, 110, 120, 91, 90), 10, reversal=3)[2:] == [(110, 100, 4), (100, 90, 4)]


def test_a_falling_start_and_a_reversal_of_several_bricks() -> None:
    assert drawn(closes(100, 79, 99, 100, 135), 10) == [
        (100, 90, 1), (90, 80, 1), (90, 100, 3), (100, 110, 4), (110, 120, 4), (120, 130, 4),
    ]  # fmt: skip


def test_anchor_is_the_first_close_rounded_half_up() -> None:
    anchors = [qi.renko(closes(price), 10).anchor for price in (104, 105, 115, 114.9, -105)]
    assert anchors == [100.0, 110.0, 120.0, 110.0, -100.0]


def test_a_given_anchor_sets_the_grid_and_may_make_bricks_at_once() -> None:
    assert drawn(closes(127, 131), 10, anchor=103) == [(103, 113, 0), (113, 123, 0)]


def test_two_brick_reversal_draws_the_bricks_of_stocktrends() -> None:
    """stocktrends 0.1.6 on random closes; it begins with a rising brick below the first close."""
    row = [
        100.0, 103.6, 106.2, 108.8, 114.4, 110.2, 108.0, 103.4, 103.0, 106.5, 106.4, 108.2, 101.5, 102.0,
        98.8, 105.0, 108.1, 111.5, 111.3, 113.4, 115.7, 114.5, 112.8, 112.4, 110.2, 108.2, 107.2, 104.6,
        107.3, 101.7,
    ]  # fmt: skip
    assert drawn(closes(*row), 4, anchor=96) == [
        (96, 100, 0), (100, 104, 2), (104, 108, 3), (108, 112, 4), (108, 104, 7), (104, 100, 14),
        (104, 108, 16), (108, 112, 19), (108, 104, 29),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------- high and low
def test_a_bar_that_continues_does_not_reverse() -> None:
    """Point and figure's rule: in a rising run the high first, and its brick hides the low."""
    close = np.array([100.0, 110, 115, 95])
    bars = Prices(np.array([100.0, 112, 121, 99]), np.array([100.0, 99, 80, 95]), close)
    assert drawn(bars, 10, source="high-low") == [(100, 110, 1), (110, 120, 2), (110, 100, 3)]


def test_a_falling_run_looks_at_the_low_first() -> None:
    bars = Prices(
        np.array([100.0, 100, 130, 111]), np.array([100.0, 90, 80, 85]), np.array([100.0, 95, 100, 90])
    )
    assert drawn(bars, 10, source="high-low") == [(100, 90, 1), (90, 80, 2), (90, 100, 3), (100, 110, 3)]


@pytest.mark.parametrize(("close", "want"), [(101.0, 1), (100.0, 1), (99.0, -2)])
def test_the_close_decides_a_first_bar_that_reaches_both_ways(close: float, want: int) -> None:
    bars = Prices(np.array([100.0, 110]), np.array([100.0, 80]), np.array([100.0, close]))
    assert qi.renko(bars, 10, source="high-low").count.tolist() == [0, want]


def test_the_bar_that_gives_the_anchor_makes_no_brick() -> None:
    bars = Prices(np.array([150.0, 101]), np.array([50.0, 99]), np.array([100.0, 100]))
    assert qi.renko(bars, 10, source="high-low").count.tolist() == [0, 0]
    assert qi.renko(bars, 10, source="high-low", anchor=100).count.tolist() == [5, -4]


# --------------------------------------------------------------------- sizes that change, by hand
# Bricks of 10, 5, 20, 5, 2 and 4 from 100; the last two bars have no size of their own and keep 4.
CHANGING = closes(100, 110, 115, 127, 144, 145, 135, 133, 138, 130, 129, 121, 111)
SIZES = [10, 10, 5, 5, 20, 20, 5, 2, 2, 4, 4, np.nan, 0]
CLIMB = [(100, 110, 1), (110, 115, 2), (115, 120, 3), (120, 125, 3), (125, 145, 5)]


def test_each_bar_is_read_in_bricks_of_its_own_size_from_the_last_close() -> None:
    assert drawn(CHANGING, SIZES) == [
        *CLIMB,
        (140, 135, 6),  # two bricks of 5 down from 145: exactly there
        (135, 133, 7),
        (135, 137, 8),  # two bricks of 2 up from 133; a third would close at 139
        (133, 129, 10),  # from 137 in bricks of 4: 130 is not yet there
        (129, 125, 11), (125, 121, 11), (121, 117, 12), (117, 113, 12),
    ]  # fmt: skip
    found = qi.renko(CHANGING, SIZES)
    assert found.count.tolist() == [0, 1, 2, 4, 4, 5, -1, -2, 1, 1, -1, -3, -5]
    assert found.made.tolist() == [0, 1, 1, 2, 0, 1, -1, -1, 1, 0, -1, -2, -2]
    np.testing.assert_array_equal(
        found.close, [np.nan, 110, 115, 125, 125, 145, 135, 133, 137, 137, 129, 121, 113]
    )
    assert (found.anchor, found.size) == (137.0, 4.0)  # bricks of 4 began there


def test_a_one_brick_reversal_across_sizes_opens_at_the_last_close() -> None:
    assert drawn(CHANGING, SIZES, reversal=1) == [
        *CLIMB, (145, 140, 6), (140, 135, 6), (135, 133, 7), (133, 135, 8), (135, 137, 8), (137, 133, 9),
        (133, 129, 10), (129, 125, 11), (125, 121, 11), (121, 117, 12), (117, 113, 12),
    ]  # fmt: skip


def test_three_bricks_of_a_smaller_size_are_nearer() -> None:
    """Down from 145: 135 is no 3 bricks of 5, 133 is 6 of 2, the first of which only opens the turn."""
    assert drawn(CHANGING[:8], SIZES[:8], reversal=3) == [
        *CLIMB, (143, 141, 7), (141, 139, 7), (139, 137, 7), (137, 135, 7), (135, 133, 7),
    ]  # fmt: skip


def test_before_the_first_brick_a_new_size_counts_from_the_anchor() -> None:
    """103 is a multiple of 10 rounded to 100; then bricks of 8 and of 3 from there."""
    assert drawn(closes(103, 107, 107), [10, 8, 3]) == [(100, 103, 2), (103, 106, 2)]
    assert drawn(closes(103, 93, 93), [10, 8, 3], anchor=99) == [(99, 96, 2), (96, 93, 2)]


def test_a_bar_without_a_price_passes_its_size_on() -> None:
    assert drawn(closes(100, np.nan, 105), [10, 5, np.nan]) == [(100, 105, 2)]
    assert drawn(closes(np.nan, 100, 105), [5, 0, np.nan]) == [(100, 105, 2)]


def test_high_and_low_are_read_in_bricks_of_the_bars_size() -> None:
    high = np.array([100.0, 112, 116, 118, 130, 130])
    low = np.array([100.0, 99, 80, 96, 95, 94])
    close = np.array([100.0, 110, 85, 100, 100, 120])
    assert drawn(Prices(high, low, close), [10, 10, 5, 9, 2, 10], source="high-low") == [
        (100, 110, 1),
        (110, 115, 2),  # the high makes a brick of 5, and its low is ignored
        (106, 97, 3),  # 118 is no brick of 9 up; 96 is two down
        (97, 95, 4),  # the low makes a brick of 2, and its high is ignored
        (105, 115, 5), (115, 125, 5),  # 94 is no brick of 10 down; 130 is three up
    ]  # fmt: skip


def test_a_size_that_drowns_later_is_passed_over() -> None:
    """An average range runs out in a flat market: half of it is left after each bar of ATR(2)."""
    flat = np.full(80, 100.0)
    flat[:3] = 99, 101, 100
    flat[-1] = 101
    bars = closes(*flat)
    sizes = qi.atr_size(bars, 2)
    assert 0 < sizes[-1] < 1e-9 * 100
    found = qi.renko(bars, sizes)
    assert found.size == sizes[sizes >= 1e-9 * 101][-1]
    assert found.count[-1] > 0


# ------------------------------------------------------------------------- reference, brick by brick
def next_brick(bricks: list[tuple[int, int, int]], price: int, anchor: int, size: int, reversal: int) -> Any:
    """Return open and close of the brick that `price` completes next, None if none; all in ticks."""
    if not bricks:
        if price >= anchor + size:
            return anchor, anchor + size
        return (anchor, anchor - size) if price <= anchor - size else None
    opened, closed, _ = bricks[-1]
    way = 1 if closed > opened else -1
    if way * (price - closed) >= size:
        return closed, closed + way * size
    if way * (closed - price) >= reversal * size:
        start = closed if reversal == 1 else closed - way * size
        return start, start - way * size
    return None


def reference(ticks: list[int], sizes: list[int], anchor: int, reversal: int) -> list[tuple[int, int, int]]:
    bricks: list[tuple[int, int, int]] = []
    for bar, (price, size) in enumerate(zip(ticks, sizes, strict=True)):
        while (brick := next_brick(bricks, price, anchor, size, reversal)) is not None:
            bricks.append((*brick, bar))
    return bricks


moves = st.lists(st.integers(-40, 40), max_size=60)
reversals = st.integers(1, 4)
widths = st.integers(1, 25)


@given(
    moves=moves,
    size=widths | st.lists(widths, min_size=60, max_size=60),
    reversal=reversals,
    shift=st.integers(-30, 30),
    digits=st.integers(0, 4),
)
def test_bricks_of_decimal_prices_equal_the_reference_in_ticks(
    moves: list[int], size: int | list[int], reversal: int, shift: int, digits: int
) -> None:
    """No brick is lost or won by binary rounding of prices such as 100.1."""
    unit, n = 10**digits, len(moves)
    ticks = (10_000 + np.cumsum(np.array(moves, dtype=np.int64))).tolist()
    sizes = size[:n] if isinstance(size, list) else [size] * n
    want = reference(ticks, sizes, 10_000 + shift, reversal)
    bars = closes(*(tick / unit for tick in ticks))
    known = [x / unit for x in sizes] if isinstance(size, list) else size / unit
    found = qi.bricks(bars, known, anchor=(10_000 + shift) / unit, reversal=reversal)
    assert found["bar"].tolist() == [bar for _, _, bar in want]
    assert np.rint(found["open"] * unit).tolist() == [opened for opened, _, _ in want]
    assert np.rint(found["close"] * unit).tolist() == [closed for _, closed, _ in want]


@pytest.mark.parametrize("size", [0.1, 0.01, 0.05, 0.07, 1e-4])
def test_a_price_that_moves_by_one_brick_a_bar_makes_one_a_bar(size: float) -> None:
    steps = np.arange(2_000)
    up = np.round(100 + steps * size, 4)
    for anchor in (None, 100.0):
        found = qi.renko(closes(*up), size, anchor=anchor)
        assert found.count[-1] in ((1999,) if anchor == 100.0 else (1998, 1999))
        assert set(np.diff(found.count[1:]).tolist()) == {1}


def test_a_hair_less_than_a_brick_is_none() -> None:
    assert qi.renko(closes(100, 100.0999999), 0.1, anchor=100).count.tolist() == [0, 0]


# ------------------------------------------------------------------------------------- properties
def market(seed: int, n: int) -> Prices:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    return Prices(close * (1 + rng.random(n) * 0.01), close * (1 - rng.random(n) * 0.01), close)


def changing(seed: int, n: int) -> np.ndarray:
    """Sizes that stay for some bars, grow, shrink, and are missing now and then."""
    rng = np.random.default_rng(seed + 1)
    row = rng.choice([0.1, 0.37, 0.37, 1.0, 1.7, 2.5, 8.0, 0.0, np.nan], n)
    return np.repeat(row, rng.integers(1, 6, n))[:n]


def in_force(row: np.ndarray) -> list[float]:
    known, out = np.nan, []
    for size in row:
        known = size if size > 0 else known
        out.append(known)
    return out


sizes = st.sampled_from([0.1, 0.37, 1.0, 2.5, 40.0])
sources = st.sampled_from(["close", "high-low"])
seeds = st.integers(0, 2**32)


def same(a: Any, b: Any, rows: int) -> bool:
    return all(
        getattr(a, f)[:rows].tobytes() == getattr(b, f)[:rows].tobytes() for f in ("count", "close", "made")
    )


@given(
    seed=seeds, n=st.integers(0, 150), cut=st.integers(0, 150), size=sizes, reversal=reversals, source=sources
)
def test_prefix_gives_the_same_bits(
    seed: int, n: int, cut: int, size: float, reversal: int, source: Any
) -> None:
    bars, cut = market(seed, n), min(cut, n)
    for known in (size, qi.atr_size(bars, 10, size), changing(seed, n)):
        before = known if isinstance(known, float) else known[:cut]
        whole = qi.renko(bars, known, reversal=reversal, source=source)
        prefix = qi.renko(bars[:cut], before, reversal=reversal, source=source)
        assert len(prefix.count) == cut
        assert same(whole, prefix, cut)
        early = qi.bricks(bars[:cut], before, reversal=reversal, source=source)
        late = qi.bricks(bars, known, reversal=reversal, source=source)
        assert early.equals(late[late["bar"] < cut])


@given(seed=seeds, n=st.integers(0, 150), size=sizes, reversal=reversals, source=sources)
def test_a_row_of_one_size_gives_the_bits_of_the_number(
    seed: int, n: int, size: float, reversal: int, source: Any
) -> None:
    bars, options = market(seed, n), {"reversal": reversal, "source": source}
    row = np.full(n, size)
    row[1::3] = np.nan  # keeps it
    number, rows = qi.renko(bars, size, **options), qi.renko(bars, row, **options)
    assert same(number, rows, n)
    np.testing.assert_array_equal((number.anchor, number.size), (rows.anchor, rows.size))
    assert qi.bricks(bars, size, **options).equals(qi.bricks(bars, row, **options))


@given(seed=seeds, n=st.integers(0, 150), size=sizes, reversal=reversals, source=sources)
def test_bricks_of_one_size_lie_on_one_grid(
    seed: int, n: int, size: float, reversal: int, source: Any
) -> None:
    bars = market(seed, n)
    anchor = qi.renko(bars, size, reversal=reversal, source=source).anchor
    for edge in ("open", "close"):
        levels = (qi.bricks(bars, size, reversal=reversal, source=source)[edge] - anchor) / size
        np.testing.assert_allclose(levels, np.rint(levels), rtol=0, atol=1e-6)


@given(
    seed=seeds,
    n=st.integers(0, 150),
    size=sizes | st.sampled_from(["atr", "changing"]),
    reversal=reversals,
    source=sources,
)
def test_bricks_join_have_their_bars_size_and_agree_with_the_rows(
    seed: int, n: int, size: Any, reversal: int, source: Any
) -> None:
    bars = market(seed, n)
    known = {"atr": qi.atr_size(bars, 10), "changing": changing(seed, n)}.get(size, size)
    found = qi.renko(bars, known, reversal=reversal, source=source)
    frame = qi.bricks(bars, known, reversal=reversal, source=source)
    opened, closed, bar = (frame[name].to_numpy() for name in ("open", "close", "bar"))
    way = np.sign(closed - opened)
    high = np.array(in_force(np.broadcast_to(known, n)))[bar]
    np.testing.assert_allclose(np.abs(closed - opened), high, rtol=1e-9)
    assert (np.diff(bar) >= 0).all()
    goes_on = way[1:] == way[:-1]
    np.testing.assert_array_equal(opened[1:][goes_on], closed[:-1][goes_on])
    back = way * high if reversal > 1 else 0 * way  # a brick of the turn's own size
    np.testing.assert_allclose(opened[1:][~goes_on], (closed[:-1] + back[1:])[~goes_on], rtol=1e-12)
    # Row by row: what the bars say is what the bricks up to them say.
    count, close, done = 0, np.nan, 0
    for i in range(n):
        made = 0
        while done < len(bar) and bar[done] == i:
            made += int(way[done])
            count = count + int(way[done]) if count * way[done] >= 0 else int(way[done])
            close, done = closed[done], done + 1
        assert (found.made[i], found.count[i]) == (made, count)
        assert found.close[i] == close or (np.isnan(close) and np.isnan(found.close[i]))
    assert done == len(bar)


@given(seed=seeds, n=st.integers(0, 150), reversal=reversals, source=sources)
def test_prices_and_sizes_twice_as_large_make_the_same_bricks(
    seed: int, n: int, reversal: int, source: Any
) -> None:
    bars = market(seed, n)
    twice = Prices(2 * bars.high, 2 * bars.low, 2 * bars.close)
    for row in (changing(seed, n), qi.atr_size(bars, 10)):
        plain = qi.renko(bars, row, reversal=reversal, source=source)
        double = qi.renko(twice, 2 * row, reversal=reversal, source=source)
        np.testing.assert_array_equal(plain.count, double.count)
        np.testing.assert_array_equal(plain.made, double.made)
        np.testing.assert_array_equal(2 * plain.close, double.close)


@given(seed=seeds, n=st.integers(1, 100), reversal=reversals, source=sources)
def test_mirrored_prices_mirror_the_bricks(seed: int, n: int, reversal: int, source: Any) -> None:
    bars = market(seed, n)
    mirrored = Prices(-bars.low, -bars.high, -bars.close)
    options = {"reversal": reversal, "source": source}
    plain, turned = qi.renko(bars, 1, anchor=100, **options), qi.renko(mirrored, 1, anchor=-100, **options)
    np.testing.assert_array_equal(plain.count, -turned.count)
    np.testing.assert_array_equal(plain.close, -turned.close)


@given(seed=seeds, n=st.integers(0, 100), reversal=reversals)
def test_bars_without_range_make_the_same_bricks_by_both_sources(seed: int, n: int, reversal: int) -> None:
    row = market(seed, n).close
    bars = Prices(row, row, row)
    by_close, by_range = (qi.renko(bars, 0.5, reversal=reversal, source=s) for s in ("close", "high-low"))
    assert same(by_close, by_range, n)


# ------------------------------------------------------------------------------------------- size
def test_size_from_atr_is_that_of_the_bars_before() -> None:
    bars = market(5, 60)
    known, atr = qi.atr_size(bars, 10, 0.5), qi.atr(bars, 10)
    assert np.isnan(known[:11]).all()
    np.testing.assert_array_equal(known[11:], atr[10:-1] * 0.5)
    assert len(qi.atr_size(bars[:0], 10)) == 0


def test_bricks_follow_the_range_through_the_decades() -> None:
    """A price that grows 1000 times makes as many bricks late as early; in bricks of one size it does not."""
    rng = np.random.default_rng(6)
    close = np.exp(np.linspace(0, np.log(1000), 4_000) + np.cumsum(rng.normal(0, 0.01, 4_000)))
    bars = Prices(close * 1.01, close * 0.99, close)
    known = qi.atr_size(bars, 20)
    followed, kept = (qi.bricks(bars, size)["bar"] for size in (known, float(known[21])))
    assert 1 / 3 < np.mean(followed < 2_000) < 2 / 3
    assert np.mean(kept < 2_000) < 0.1


def test_a_later_jump_of_the_market_changes_no_earlier_brick() -> None:
    calm, wild = market(7, 200), market(7, 200)
    for x in (wild.high, wild.low, wild.close):
        x[150:] *= 3.0
    a, b = (qi.bricks(bars, qi.atr_size(bars, 14)) for bars in (calm, wild))
    assert len(a[a["bar"] < 150]) > 10
    assert a[a["bar"] < 150].equals(b[b["bar"] < 150])


def test_a_size_of_0_is_not_known_yet() -> None:
    """ATR of a flat start is 0."""
    bars = closes(100, 100, 100, 107, 117)
    found = qi.renko(bars, np.array([np.nan, 0.0, 5.0, 5.0, 5.0]))
    assert (found.anchor, found.size, found.count.tolist()) == (100.0, 5.0, [0, 0, 0, 1, 3])


# -------------------------------------------------------------------------------------- odd inputs
def test_empty_and_single_bars() -> None:
    nothing = qi.renko(closes(), 10)
    assert [len(x) for x in (nothing.count, nothing.close, nothing.made)] == [0, 0, 0]
    assert [x.dtype for x in (nothing.count, nothing.close, nothing.made)] == [np.int64, np.float64, np.int64]
    frame = qi.bricks(closes(), 10)
    assert frame.dtypes.astype(str).to_dict() == {"open": "float64", "close": "float64", "bar": "int64"}
    assert qi.renko(closes(7), 10).count.tolist() == [0]
    assert len(qi.bricks(closes(7), 10)) == 0


def test_sizes_that_never_come_give_no_bricks() -> None:
    found = qi.renko(NOTES, np.full(12, np.nan))
    assert set(found.count.tolist()) == {0}
    assert np.isnan(found.close).all()
    assert np.isnan([found.anchor, found.size]).all()


def test_bars_without_a_price_are_passed_over() -> None:
    gaps = closes(np.nan, 100, 110, np.nan, np.inf, 121, np.nan)
    for source in ("close", "high-low"):
        found = qi.renko(gaps, 10, source=source)  # type: ignore[arg-type]
        assert found.count.tolist() == [0, 0, 1, 1, 1, 2, 2]
        assert found.anchor == 100.0


def test_inputs_are_left_alone() -> None:
    bars = market(8, 50)
    before = bars.close.tobytes(), bars.high.tobytes()
    for x in (bars.high, bars.low, bars.close):
        x.flags.writeable = False
    found = qi.renko(bars, 1.0, source="high-low")
    found.count[:] = 9
    found.close[:] = 9.0
    assert (bars.close.tobytes(), bars.high.tobytes()) == before


@pytest.mark.parametrize(
    "size",
    [0, -1.0, np.nan, np.inf, 1e-8, "ten", [1.0, 2.0], [1.0, *[-1.0] * 11], [1e-8] * 12, np.ones((12, 1))],
    ids=str,
)
def test_a_wrong_size_is_refused(size: Any) -> None:
    with pytest.raises(ParameterError, match="size"):
        qi.renko(NOTES, size)


@pytest.mark.parametrize(
    "options", [{"reversal": 0}, {"reversal": 1.5}, {"source": "open"}, {"anchor": np.nan}], ids=str
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(options))):
        qi.bricks(NOTES, 10, **options)


def test_a_factor_must_be_positive() -> None:
    with pytest.raises(ParameterError, match="factor"):
        qi.atr_size(NOTES, 3, 0.0)


def test_anything_with_three_rows_is_bars() -> None:
    row = [100.0, 110.0]
    assert qi.renko(SimpleNamespace(high=row, low=row, close=row), 10).count.tolist() == [0, 1]  # type: ignore[arg-type]
