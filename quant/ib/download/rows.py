"""An answer of IB as bars, and what it proves: which bars there are, and which there are not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from quant.core.bars import COLUMNS, PRICES, Bars
from quant.core.barsize import MINUTE, SECOND, BarSize
from quant.core.calendar import Ints
from quant.core.grid import session_starts
from quant.core.sessions import Floats, first_day
from quant.ib.codec import Row
from quant.ib.download.cells import Cells
from quant.ib.download.plan import Request
from quant.store.coverage import Interval
from quant.store.history import within

DELAY_NS: Final = 30 * MINUTE  # without a live subscription IB's newest bars come 10 to 20 minutes late
SPLIT: Final = 0.005  # the least change of all prices that counts as a split; a revision moves single prices


@dataclass(slots=True, eq=False)
class Proof:
    """What an answer settles. bars: of `window` only. empty: parts of the window without bars, confirmed by IB.

    rest: the part of what was asked for that the answer does not reach back to.
    """

    bars: Bars
    window: Interval | None
    empty: list[Interval] = field(default_factory=list)
    rest: Interval | None = None


def read_rows(asked: Request, rows: Sequence[Row]) -> Bars:
    """Return the rows of an answer as bars, in order.

    A volume that IB left out, or -1, which is its "none", is 0. Raises BarsError for rows that cannot be bars,
    ValueError for two different rows of one time.
    """
    if not rows:
        return _bars(asked, np.empty(0, dtype=np.int64), {n: np.empty(0) for n in COLUMNS})
    text, *columns = zip(*((r[0], *r[1:6]) for r in rows), strict=True)
    start = _starts(text, asked.bar)
    values = {name: np.array(c, dtype=np.float64) for name, c in zip(COLUMNS, columns, strict=True)}
    volume = values["volume"]
    values["volume"] = np.where(volume >= 0.0, volume, 0.0)  # NaN is not, either
    order = np.argsort(start, kind="stable")
    start, values = start[order], {n: v[order] for n, v in values.items()}
    twice = np.flatnonzero(np.diff(start) == 0)
    if len(twice):
        if any(np.any(v[twice] != v[twice + 1]) for v in values.values()):
            raise ValueError(f"two different bars begin at {rows[int(order[twice[0]])][0]}")
        keep = np.append(True, np.diff(start) != 0)
        start, values = start[keep], {n: v[keep] for n, v in values.items()}
    return _bars(asked, start, values)


def _starts(text: Sequence[str], size: BarSize) -> Ints:
    if size.intraday:
        return np.array(text).astype(np.int64) * SECOND
    if any(len(t) != 8 for t in text):
        raise ValueError(f"the date of a daily bar is {next(t for t in text if len(t) != 8)!r}")
    days = np.array([f"{t[:4]}-{t[4:6]}-{t[6:]}" for t in text], dtype="datetime64[D]")
    # Weeks and months carry the date of one of their sessions; here they are labelled by their first day.
    return first_day(days, size.unit).astype("datetime64[ns]").view(np.int64)


def _bars(asked: Request, start: Ints, values: dict[str, Floats]) -> Bars:
    return Bars(
        asked.instrument, asked.bar, start, **values, what=asked.what, rth=asked.rth, source=asked.source,
        adjusted=asked.adjusted,
    )  # fmt: skip


def prove(found: Bars, cells: Cells, window: Interval) -> Proof:
    """Return what `found`, all that IB sent for `window`, settles.

    No bars at all: IB said that there are none. Where the first bar lies in a later session than the window's first
    one, what lies before is open: IB may count a duration in another way. At the present, where IB may be late, the
    window ends with its last bar. Raises ValueError for bars that were not asked for.
    """
    inside = found.between(*window)
    first, stop = cells.touched(*window)
    newest = window[1] >= cells.known
    if not len(inside):
        return _nothing(found, cells, window, newest and stop > first)
    start, end = window
    rest: Interval | None = None
    row = cells.row_at(int(found.start[0]))
    slack = 0 if cells.certain else 4  # without a calendar a weekend looks like sessions
    if row > first + slack:
        start = int(cells.begin[row])
        rest = (window[0], start)
    if newest:
        late = cells.row_at(int(inside.start[-1])) < stop - 1 or (
            cells.size.intraday and end > cells.present - DELAY_NS
        )
        if late:
            end = min(end, int(_over(inside, cells)))
    return Proof(inside, (min(start, int(inside.start[0])), end), [], rest)


def _over(bars: Bars, cells: Cells) -> int:
    if cells.size.intraday:
        return int(bars[len(bars) - 1 :].end[0])
    return int(cells.over[cells.row_at(int(bars.start[-1]))])


def _nothing(found: Bars, cells: Cells, window: Interval, newest: bool) -> Proof:
    """Return what an answer without a bar in the window proves: IB has none there."""
    if len(found) and found.start[0] >= window[1]:
        raise ValueError("IB sent only bars that are later than what it was asked for")
    end = window[1]
    if newest:  # the newest session may only be late
        end = int(cells.begin[cells.touched(*window)[1] - 1])
    return Proof(found[:0], None, [(window[0], end)] if end > window[0] else [])


def lacking(
    held: Ints, cells: Cells, window: Interval, bars: Bars, empty: Sequence[Interval] = ()
) -> list[Interval]:
    """Return the stretches of `window` in which the sessions should have bars, and neither `held` nor `empty` is.

    held: starts of bars. bars: any of the series. empty: where IB said that there are none.
    """
    expected = expected_starts(bars, cells, window)
    none = ~np.isin(expected, held, assume_unique=True) & ~within(expected, empty)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], none.astype(np.int8), [0]))))
    return [
        (int(expected[i]), int(expected[j]) if j < len(expected) else int(expected[j - 1]) + 1)
        for i, j in zip(edges[::2], edges[1::2], strict=True)
    ]


def expected_starts(bars: Bars, cells: Cells, window: Interval) -> Ints:
    """Return the starts that a complete series has in `window`, by the calendar; none without one."""
    first, stop = cells.touched(*window)
    if not cells.certain or first >= stop:
        return np.empty(0, dtype=np.int64)
    if not cells.size.intraday:
        found = cells.begin[first:stop]
    else:
        from quant.core.calendar import calendar

        years = [int(d.astype("datetime64[Y]").astype(int)) + 1970 for d in cells.day[[first, stop - 1]]]
        sessions = calendar(bars.instrument.calendar or "", years[0], years[1])
        found = session_starts(sessions, cells.size, cells.day[first], cells.day[stop - 1])
    return found[(found >= window[0]) & (found < window[1])]


def ratio(held: Bars, new: Bars, tick: float | None) -> float | None:
    """Return the one factor between all prices of the bars that both have, None if there is none but 1.

    The prices may be off it by the rounding of both: 1.5 price steps, or 1e-4 of the price.
    """
    common, at, there = np.intersect1d(held.start, new.start, assume_unique=True, return_indices=True)
    if not len(common):
        return None
    old = np.concatenate([getattr(held, n)[at] for n in PRICES])
    now = np.concatenate([getattr(new, n)[there] for n in PRICES])
    if np.any(old <= 0.0) or np.any(now <= 0.0):
        return None
    factor = float(np.median(now / old))
    if abs(factor - 1.0) < SPLIT:
        return None
    step = 0.0 if tick is None else 1.5 * tick * max(1.0, factor)
    fits = np.abs(now - old * factor) <= np.maximum(step, 1e-4 * np.maximum(now, old * factor))
    return factor if bool(np.all(fits)) and not np.any(now == old) else None
