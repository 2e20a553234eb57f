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

Size. A number, or a row of sizes known before each bar, e.g. `atr_size`. Of a row the first size > 0 is taken
and kept: bricks of two sizes have no common grid, and a size that follows the sample's end repaints the past.

Anchor. Unless given: the close of the first bar that has a size, rounded half up to a multiple of the size;
that bar makes no brick. Another start of history gives another anchor, so keep `Renko.anchor` and `.size`
where two runs must agree. Bars without a price (NaN, infinite) make no brick and forget nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from quant.errors import ParameterError
from quant.indicators.inputs import Floats, PriceBars, floats, high_low_close, period_of
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


@dataclass(frozen=True, slots=True, eq=False)
class Renko:
    """What is known of the bricks at each bar's close; arrays (n,), row i from bars[: i + 1] only.

    count: int64, +k after k rising bricks in a row, -k after k falling ones, 0 before the first.
    close: float64, price at which the last brick closed, NaN before the first.
    made: int64, bricks that this bar completed, negative if falling.
    anchor, size: the grid in price units, NaN if no bar has settled them.
    """

    count: Ints
    close: Floats
    made: Ints
    anchor: float
    size: float


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """The bars that made bricks: rows, signed bricks made, grid level and signed run length after each."""

    anchor: float
    size: float
    bar: Ints
    made: Ints
    level: Ints
    count: Ints


def renko(
    bars: PriceBars,
    size: float | ArrayLike,
    *,
    anchor: float | None = None,
    reversal: int = CLASSIC_REVERSAL,
    source: Source = "close",
) -> Renko:
    """Return run length, last brick's close and bricks made at each bar's close.

    size: price units, > 0, or (n,) sizes known before each bar, of which the first > 0 holds for good.
    anchor: price units, default the first close rounded to the grid. reversal: bricks, >= 1.
    Empty bars give empty arrays. 1e6 bars take 0.2 to 0.5 s.
    Raises ParameterError on a size <= 0, below a billionth of the prices, or of another length than bars.
    Source: the definition at the top of this file.
    """
    steps = _steps(bars, size, anchor, reversal, source)
    n = len(bars.close)
    made = np.zeros(n, dtype=np.int64)
    made[steps.bar] = steps.made
    held = np.diff(np.concatenate([[0], steps.bar, [n]]))  # bars for which each state holds
    count = np.repeat(np.concatenate([[0], steps.count]), held)
    close = np.repeat(np.concatenate([[np.nan], steps.anchor + steps.level * steps.size]), held)
    return Renko(count, close, made, steps.anchor, steps.size)


def bricks(
    bars: PriceBars,
    size: float | ArrayLike,
    *,
    anchor: float | None = None,
    reversal: int = CLASSIC_REVERSAL,
    source: Source = "close",
) -> pd.DataFrame:
    """Return a row per brick: open, close (float64, levels of the grid) and bar (int64).

    bar is the row of the time bar at whose close the brick became known; several bricks may share one. Nobody
    traded at a brick's prices: look at them, trade on the time bars. Arguments and errors as in `renko`.
    """
    steps = _steps(bars, size, anchor, reversal, source)
    many = np.abs(steps.made)
    side = np.repeat(np.sign(steps.made), many)
    first = np.repeat(np.cumsum(many) - many, many)
    nth = np.arange(len(side)) - first  # place of the brick among those of its bar
    close = np.repeat(steps.level - steps.made, many) + side * (nth + 1)
    return pd.DataFrame(
        {
            "open": steps.anchor + (close - side) * steps.size,
            "close": steps.anchor + close * steps.size,
            "bar": np.repeat(steps.bar, many),
        }
    )


def atr_size(bars: PriceBars, period: int = 120, factor: float = 1.0) -> Floats:
    """Return factor x ATR(period) as known before each bar: row i holds the ATR of bars up to i - 1.

    (n,) float64 in price units, NaN up to row `period`. For `renko`, which takes the first size > 0 and keeps
    it.
    """
    if not 0.0 < factor < np.inf:
        raise ParameterError("factor", factor, "wants a positive number")
    sizes = atr(bars, period) * factor
    return np.concatenate([np.full(min(1, len(sizes)), np.nan), sizes[:-1]])


def _steps(
    bars: PriceBars, size: float | ArrayLike, anchor: float | None, reversal: int, source: str
) -> _Steps:
    high, low, close = high_low_close(bars)
    reversal = period_of("reversal", reversal, 1)
    if source not in ("close", "high-low"):
        raise ParameterError("source", source, "wants 'close' or 'high-low'")
    start, brick, base = _grid(close, size, anchor)
    if start == len(close):
        nothing = np.zeros(0, dtype=np.int64)
        return _Steps(base, brick, nothing, nothing, nothing, nothing)
    top, bottom = (close, close) if source == "close" else (high, low)
    prices = np.abs(np.concatenate([[base], top[start:], bottom[start:]]))
    if brick < SMALLEST * np.max(prices[np.isfinite(prices)]):
        raise ParameterError("size", brick, "is below a billionth of the prices")
    # The anchor's own bar knows the anchor only at its close, too late for its high and low.
    start = start + 1 if anchor is None else start
    up = _levels(top[start:], base, brick, np.floor, 1.0)
    down = _levels(bottom[start:], base, brick, np.ceil, -1.0)
    rows, made, level, count = _walk(up, down, close[start:] < base, reversal)
    return _Steps(base, brick, rows + start, made, level, count)


def _grid(close: Floats, size: float | ArrayLike, anchor: float | None) -> tuple[int, float, float]:
    """Return the first row that has a grid (len(close) if none has), the brick size and the anchor."""
    usable = np.isfinite(close)
    sizes = floats("size", np.atleast_1d(size))
    if np.ndim(size) == 0:
        if not 0.0 < sizes[0] < np.inf:
            raise ParameterError("size", size, "wants a positive price difference")
        sizes = np.broadcast_to(sizes, close.shape)
    else:
        if sizes.shape != close.shape:
            raise ParameterError(
                "size", sizes.shape, f"is the shape; wants a size for each of {len(close)} bars"
            )
        if np.any(sizes < 0.0):
            raise ParameterError("size", float(np.nanmin(sizes)), "wants positive price differences")
        usable &= np.isfinite(sizes) & (sizes > 0.0)
    if anchor is not None and not np.isfinite(anchor):
        raise ParameterError("anchor", anchor, "wants a price")
    if not usable.any():
        return len(close), np.nan, np.nan
    start = int(np.argmax(usable))
    brick = float(sizes[start])
    if anchor is None:
        return start, brick, float(np.floor(close[start] / brick + 0.5) * brick)
    return start, brick, float(anchor)


def _levels(prices: Floats, anchor: float, size: float, rounding: np.ufunc, side: float) -> Ints:
    """Return the furthest level that each price has reached on its side; for no price, one out of reach."""
    known = np.isfinite(prices)
    prices = np.where(known, prices, anchor)
    slack = TOLERANCE * np.maximum(np.abs(prices), abs(anchor))
    levels = rounding(((prices - anchor) + side * slack) / size).astype(np.int64)
    return np.where(known, levels, np.int64(-side * 2**62))


def _walk(up: Ints, down: Ints, below: NDArray[np.bool_], reversal: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Return rows that made bricks, signed bricks made, level and signed run length after each.

    up, down: (n,) levels reached from below and from above; below: the close is below the anchor.
    """
    gap = 1 if reversal > 1 else 0  # levels between the last close and the open of a reversed brick
    rows, bricks_made, levels, counts = [], [], [], []
    level = count = 0
    first = _first_brick(up, down)
    for row, (high, low) in enumerate(zip(up[first:].tolist(), down[first:].tolist(), strict=True), first):
        if count > 0:
            if high > level:
                made = high - level
                level, count = high, count + made
            elif low <= level - reversal:
                made = count = low - (level - gap)
                level = low
            else:
                continue
        elif count < 0:
            if low < level:
                made = low - level
                level, count = low, count + made
            elif high >= level + reversal:
                made = count = high - (level + gap)
                level = high
            else:
                continue
        else:
            falls = low <= -1 and (below[row] or high < 1)
            made = level = count = low if falls else high
        rows.append(row)
        bricks_made.append(made)
        levels.append(level)
        counts.append(count)
    table = np.array([rows, bricks_made, levels, counts], dtype=np.int64).reshape(4, -1)
    return table[0], table[1], table[2], table[3]


def _first_brick(up: Ints, down: Ints) -> int:
    """Return the first row that is a level away from the anchor; the number of rows if none is."""
    away = (up >= 1) | (down <= -1)
    return int(np.argmax(away)) if away.any() else len(up)
