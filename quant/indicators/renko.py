"""Renko as an indicator on time bars: bricks known at each bar's close, never a feed of prices.

Definition. Levels lie at anchor + k x size, k whole. The first brick is drawn when the price is a size away
from the anchor. After a rising brick that closed at level k, a rising brick needs k + 1. A falling one needs
k - 2 in the classic reversal of two bricks; it opens where the last brick opened, k - 1, and closes at k - 2.
With reversal = 1, the course's, it needs k - 1 and opens where the last brick closed. With reversal = r > 2
it needs k - r, and r - 1 bricks appear at once. Falling bricks mirror all that. A move of exactly a brick
counts.

Price, `source`: "close" is the bar's close. "high-low" follows the rule of point and figure charts: in a
rising run look at the high first; if it makes a brick, ignore the low; else look at the low for a reversal;
mirrored in a falling run. If a bar could make the first brick on both sides, its close's side of the anchor
decides. The order of prices inside a bar cannot be known, so "high-low" is a convention, and fills belong to
time bars.
Source: the program stocktrends 0.1.6, class Renko, whose bricks reversal = 2 on closes repeats once it starts
on the same grid; for "high-low" Dorsey, Wright & Associates, Point & Figure University, lesson 1, part 2.

Size. A number, or a row of sizes known before each bar, e.g. `atr_size`: bar i is read in bricks of sizes[i].
Where that differs from the size in force, the grid is laid anew with it: level 0 is the last brick's close,
before the first brick the anchor. Direction and run length go on, and what a turn takes is counted in bricks
of the new size: after a rising brick that closed at C, the classic falling one opens at C - size and closes at
C - 2 x size. A NaN or 0 keeps the size in force, as does a size that rounding would drown (SMALLEST; an average
range that ran out in a flat market). A row of one size gives, bit for bit, what the number gives.

Anchor. Unless given: the close of the first bar that has a size, rounded half up to a multiple of the size;
that bar makes no brick. Another start of history gives another anchor: two runs lay the same bricks if they
start at the same bar; with a number for the size and an anchor they share the grid wherever they start. Bars
without a price (NaN, infinite) make no brick and forget nothing.
"""

from __future__ import annotations

import math
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from platformdirs import user_cache_path

from quant.errors import ParameterError
from quant.indicators.inputs import Floats, PriceBars, first_number, floats, high_low_close, period_of
from quant.indicators.shared import shared
from quant.indicators.standard import atr

Ints = NDArray[np.int64]
Source = Literal["close", "high-low"]

CLASSIC_REVERSAL = 2  # bricks; the usual rule
COURSE_REVERSAL = 1  # bricks; the course's live code turns after one

# Share of a price by which it may miss a level and still count as there. 0.1 has no exact binary form: with
# bricks of 0.1 from 100 the price 100.1 lies 0.9999999999999432 bricks up. Rounding errs by some 1e-16 of the
# price, a tick is above 1e-8 of it: nothing real lies between.
TOLERANCE = 1e-12
SMALLEST = 1e-9  # share of the price below which a brick drowns in TOLERANCE
QUIET = 0.99  # bricks; nearer to the last close none is made, as tolerance is below 0.01 brick, see SMALLEST

# Python walks so many bars in a process before numba is loaded for the rest: 0.3 us each, and that takes 0.5 to 0.9 s.
BARS_BY_PYTHON = 2_000_000
_walked = 0  # bars
_making: Final = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """The bars that made bricks, (steps,) each: row, signed bricks made, and how it stood after them.

    count: signed run length. level: where the last brick closed, on a grid of `size` with level 0 at price `base`.
    """

    row: Ints
    made: Ints
    count: Ints
    level: Ints
    base: Floats
    size: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Renko:
    """What is known of the bricks at each bar's close; arrays (n,), row i from bars[: i + 1] only.

    count: int64, +k after k rising bricks in a row, -k after k falling ones, 0 before the first.
    close: float64, price at which the last brick closed, NaN before the first.
    made: int64, bricks that this bar completed, negative if falling.
    anchor, size: the grid in force after the last bar, in price units; NaN if no bar has settled it. As numbers
    they set later bars on that grid, where the run length begins at 0.
    """

    count: Ints
    close: Floats
    made: Ints
    anchor: float
    size: float


@shared
def renko(
    bars: PriceBars,
    size: float | ArrayLike,
    *,
    anchor: float | None = None,
    reversal: int = CLASSIC_REVERSAL,
    source: Source = "close",
) -> Renko:
    """Return run length, last brick's close and bricks made at each bar's close.

    size: price units, > 0, or (n,) sizes known before each bar, each for its bar (NaN, 0: as before); to keep
    one of them, pass the number, float(atr_size(bars)[k]). anchor: price units, default the first close rounded
    to the grid. reversal: bricks, >= 1. Empty bars give empty arrays. 1e6 bars take 5 ms compiled, if each
    makes bricks 25 ms; by Python, as a process's first two million, 0.3 s and 0.9 s.
    Raises ParameterError on a number <= 0, a row with one < 0 or of another length than bars, and where the size
    in force is below a billionth of the prices.
    Source: the definition at the top of this file.
    """
    steps, last_anchor, last_size = _steps(bars, size, anchor, reversal, source)
    n = len(bars.close)
    made = np.zeros(n, dtype=np.int64)
    made[steps.row] = steps.made
    held = np.diff(np.concatenate([[0], steps.row, [n]]))  # bars for which each state holds
    count = np.repeat(np.concatenate([[0], steps.count]), held)
    close = np.repeat(np.concatenate([[np.nan], steps.base + steps.level * steps.size]), held)
    return Renko(count, close, made, last_anchor, last_size)


def bricks(
    bars: PriceBars,
    size: float | ArrayLike,
    *,
    anchor: float | None = None,
    reversal: int = CLASSIC_REVERSAL,
    source: Source = "close",
) -> pd.DataFrame:
    """Return a row per brick: open, close (float64, levels of its bar's grid) and bar (int64).

    bar is the row of the time bar at whose close the brick became known; several bricks may share one. A brick
    is as high as the size in force on its bar. It opens where the last one closed; the first of a turn opens a
    brick of its own size back from there, with reversal = 1 right there. Nobody traded at a brick's prices: look
    at them, trade on the time bars. Arguments and errors as in `renko`.
    """
    steps, _, _ = _steps(bars, size, anchor, reversal, source)
    made = steps.made
    many = np.abs(made)
    nth = np.arange(1, many.sum() + 1) - np.repeat(np.cumsum(many) - many, many)  # of the bricks of its bar
    side = np.repeat(np.sign(made), many)
    close = np.repeat(steps.level - made, many) + side * nth
    base, brick = np.repeat(steps.base, many), np.repeat(steps.size, many)
    return pd.DataFrame(
        {
            "open": base + (close - side) * brick,
            "close": base + close * brick,
            "bar": np.repeat(steps.row, many),
        }
    )


@shared
def atr_size(bars: PriceBars, period: int = 120, factor: float = 1.0) -> Floats:
    """Return factor x ATR(period) as known before each bar: row i holds the ATR of bars up to i - 1.

    (n,) float64 in price units, NaN up to row `period`. For `renko`, whose bricks then follow it bar by bar.
    """
    if not 0.0 < factor < np.inf:
        raise ParameterError("factor", factor, "wants a positive number")
    ranges = atr(bars, period)
    sizes = np.empty(len(ranges))
    sizes[:1] = np.nan
    np.multiply(ranges[:-1], factor, out=sizes[1:])
    return sizes


def _steps(
    bars: PriceBars, size: float | ArrayLike, anchor: float | None, reversal: int, source: str
) -> tuple[Steps, float, float]:
    """Return the bars that made bricks, and anchor and size of the grid in force after the last bar."""
    high, low, close = high_low_close(bars)
    reversal = period_of("reversal", reversal, 1)
    if source not in ("close", "high-low"):
        raise ParameterError("source", source, "wants 'close' or 'high-low'")
    if anchor is not None and not np.isfinite(anchor):
        raise ParameterError("anchor", anchor, "wants a price")
    known = _prices(close)
    looked_at = [known] if source == "close" else [_prices(high), _prices(low)]
    sizes = _in_force(size, looked_at, anchor)
    sized = first_number(sizes)
    start = sized + first_number(known[sized:])
    if start == len(close):
        return _laid(looked_at, close, sizes, np.nan, start, reversal)[0], np.nan, np.nan
    if anchor is None:
        base = float(np.floor(close[start] / sizes[start] + 0.5) * sizes[start])
        first = start + 1  # the bar knows the anchor only at its close, too late for its high and low
    else:
        base, first = float(anchor), start
    steps, base = _laid(looked_at, close, sizes, base, first, reversal)
    return steps, base, float(sizes[-1])


def _prices(values: Floats) -> Floats:
    """Return the prices, NaN for what is none."""
    known = np.isfinite(values)
    return values if known.all() else np.where(known, values, np.nan)


def _largest(looked_at: list[Floats], anchor: float | None) -> Floats:
    """Return the largest price so far, without its sign; 0 before the first."""
    prices = np.abs([*looked_at, np.full(len(looked_at[0]), 0.0 if anchor is None else anchor)])
    return np.maximum.accumulate(np.fmax.reduce(prices, axis=0, initial=0.0))


def _in_force(size: float | ArrayLike, looked_at: list[Floats], anchor: float | None) -> Floats:
    """Return the brick size with which each bar is read, NaN before the first.

    Of a row the first size > 0 is taken as it is, so that one which drowns is refused like a number; later ones
    that drown are passed over.
    """
    sizes, shape = floats("size", np.atleast_1d(size)), looked_at[0].shape
    if np.ndim(size) == 0:
        if not 0.0 < sizes[0] < np.inf:
            raise ParameterError("size", size, "wants a positive price difference")
        sizes = np.full(shape, sizes[0])
    elif sizes.shape != shape:
        raise ParameterError("size", sizes.shape, f"is the shape; wants a size for each of {shape[0]} bars")
    ends = [end(prices, initial=0.0) for prices in looked_at for end in (np.min, np.max)]
    drowns = SMALLEST * np.max(np.abs([*ends, 0.0 if anchor is None else anchor]))
    later = sizes[first_number(sizes) :]
    if 0.0 < np.min(later, initial=np.inf) >= drowns and np.max(later, initial=0.0) < np.inf:
        return sizes  # as a rule: none is missing after the first, and none drowns
    return _passed_over(sizes, _largest(looked_at, anchor))


def _passed_over(sizes: Floats, largest: Floats) -> Floats:
    """Return the newest size that is one for each bar; largest: (n,) largest price so far."""
    if np.any(sizes < 0.0):
        raise ParameterError("size", float(np.nanmin(sizes)), "wants positive price differences")
    known = np.isfinite(sizes) & (sizes > 0.0)
    if not known.any():
        return np.full(largest.shape, np.nan)
    first = int(np.argmax(known))
    known[first + 1 :] &= sizes[first + 1 :] >= SMALLEST * largest[first + 1 :]
    rows = np.arange(len(sizes))
    in_force = sizes[np.maximum.accumulate(np.where(known, rows, first))]
    in_force[:first] = np.nan
    drowned = in_force < SMALLEST * largest
    if drowned.any():
        raise ParameterError(
            "size", float(in_force[np.argmax(drowned)]), "is below a billionth of the prices"
        )
    return in_force


def _laid(
    looked_at: list[Floats], close: Floats, sizes: Floats, base: float, first: int, reversal: int
) -> tuple[Steps, float]:
    """Return what `_walk` lays, by Python or compiled, with the same bits."""
    n, given = len(close), (looked_at[0], looked_at[-1], close, sizes)
    made: list[Any] = [*np.empty((4, n), dtype=np.int64), np.empty(n)]
    walk: Any = _walk
    if _compiling_pays(n):
        with _making:
            walk = _compiled()
        steps, base = walk(base, first, reversal, *map(_typed, given), *made)
    else:
        views: list[Any] = [memoryview(values) for values in made]
        steps, base = walk(base, first, reversal, *(values.tolist() for values in given), *views)
    made.append(sizes[made[0][:steps]])
    return Steps(*(values[:steps] for values in made)), base


def _compiling_pays(bars: int) -> bool:
    """Return whether to walk these bars compiled, where so many were walked before."""
    global _walked
    _walked += bars
    return "numba" in sys.modules or _walked > BARS_BY_PYTHON


@cache
def _compiled() -> Any:
    """Return `_walk` compiled, and called once: numba's look at the types of a first call is not made for threads."""
    from quant.core.compiling import compiled, sources, types  # numba takes longer to load than most runs

    whole, number = types.int64, types.float64
    given = [types.Array(number, 1, "C", readonly=True)] * 4
    made = [*[types.Array(whole, 1, "C")] * 4, types.Array(number, 1, "C")]
    wanted = types.Tuple((whole, number))(number, whole, whole, *given, *made)
    walk: Any = compiled(wanted, user_cache_path("quant") / f"renko-{sources([Path(__file__)])[:16]}")(_walk)
    nothing = np.empty(0)
    walk(0.0, 0, 1, *[_typed(nothing)] * 4, *[np.empty(0, dtype=np.int64)] * 4, nothing)
    return walk


def _typed(values: Floats) -> Floats:
    """Return a view of the values of the one type that the compiled walk takes, which does not write to it."""
    view = np.require(values, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view


def _walk(
    base: float, first: int, reversal: int, tops: Any, bottoms: Any, closes: Any, sizes: Any,
    rows: Any, mades: Any, counts: Any, levels: Any, bases: Any,
) -> tuple[int, float]:  # fmt: skip
    """Lay the bricks of the bars from row `first` on, level 0 at `base`, into the last five, which are those of Steps.

    Return how many bars made bricks, and the price of level 0 at the end. Python runs it on lists and memoryviews,
    compiled it runs on arrays.
    """
    gap = 1 if reversal > 1 else 0  # levels between the last close and the open of a reversed brick
    anchor, last = base, base  # last: price of the last brick's close
    steps, size, level, count = 0, math.nan, 0, 0
    for row in range(first, len(closes)):
        high, low, brick = tops[row], bottoms[row], sizes[row]
        if brick != size:
            base, level = last, 0
        size = brick
        if last - QUIET * size < low and high < last + QUIET * size:
            continue
        # Levels that the prices reach, with fractions; NaN, which is no price, passes no comparison.
        rise = (high - base + TOLERANCE * max(abs(high), abs(base))) / size
        fall = (low - base - TOLERANCE * max(abs(low), abs(base))) / size
        if count > 0:
            if rise >= level + 1:
                made = math.floor(rise) - level
                count += made
            elif fall <= level - reversal:
                made = count = math.ceil(fall) - (level - gap)
                level -= gap
            else:
                continue
        elif count < 0:
            if fall <= level - 1:
                made = math.ceil(fall) - level
                count += made
            elif rise >= level + reversal:
                made = count = math.floor(rise) - (level + gap)
                level += gap
            else:
                continue
        elif fall <= -1 and (closes[row] < anchor or not rise >= 1):
            made = count = math.ceil(fall)
        elif rise >= 1:
            made = count = math.floor(rise)
        else:
            continue
        level += made
        last = base + level * size
        rows[steps], mades[steps], counts[steps], levels[steps], bases[steps] = row, made, count, level, base
        steps += 1
    return steps, base
