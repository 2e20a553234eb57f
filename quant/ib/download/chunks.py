"""Which requests bring the bars of some stretches of time: as few as IB's step table allows, newest first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from quant.core.barsize import SECOND, BarSize
from quant.ib.download.cells import Cells
from quant.ib.download.steps import LONGEST, PERIODS, in_cells, in_seconds
from quant.ib.requests import EPOCH
from quant.store.coverage import Interval, cut


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request. end: of what is asked for, None = now. duration: IB's.

    window: what its answer is to complete, on the axis of the starts. checks: part of that is held already, so that
    the answer tells whether the held prices are still IB's; it is asked for before anything else is written.
    """

    end: datetime | None
    duration: str
    window: Interval
    checks: bool = False


def missing(wanted: Interval, held: Sequence[Interval]) -> list[Interval]:
    """Return the parts of `wanted` that no interval of `held` has, in order."""
    found = [wanted] if wanted[0] < wanted[1] else []
    for interval in held:
        found = cut(found, interval)
    return found


def moment(ns: int) -> datetime:
    """Return UTC ns as a datetime; parts of a second count as a whole one, for IB takes none."""
    return EPOCH + timedelta(seconds=-(-ns // SECOND))


def cut_up(cells: Cells, stretches: Sequence[Interval]) -> list[Chunk]:
    """Return the requests for `stretches` (sorted, disjoint), newest first.

    Their windows have no overlap and cover each stretch but for what lies outside all cells at its ends. No duration
    is longer than IB's table has it for the size, nor than the sessions that it is for.
    """
    by_seconds = LONGEST[cells.size].seconds is not None
    return [
        chunk
        for stretch in reversed(stretches)
        for chunk in (_by_seconds if by_seconds else _by_cells)(cells, stretch)
    ]


def check_stretch(cells: Cells, last: int, around: Interval) -> Interval:
    """Return the held stretch that is asked for again: of sessions the last one, of days and longer the last five.

    last: start of the last held bar. around: the coverage that it lies in. One request brings it.
    """
    row = max(cells.row_at(last), 0)
    begin = int(cells.begin[max(row - 4, 0)] if not cells.size.intraday else cells.begin[row])
    longest = LONGEST[cells.size].seconds
    upto = max(min(around[1], int(cells.over[row])), last + 1)
    if longest is not None:
        begin = max(begin, upto - longest * SECOND)
    return max(begin, around[0]), upto


def _by_cells(cells: Cells, stretch: Interval) -> Iterator[Chunk]:
    """Whole sessions, or days, weeks or months where bars are such."""
    start, end = stretch
    first, stop = cells.touched(start, end)
    upto, row = end, stop - 1
    while row >= first:
        low = max(first, _reach(cells, row))
        window = (start if low == first else int(cells.begin[low]), upto)
        until = min(int(cells.ask[row]), end) if cells.size.intraday else int(cells.ask[row])
        full = low > 0 and low == _reach(cells, row) and _limited(cells.size)
        yield Chunk(moment(until), in_cells(cells.size, row - low + 1, full), window)
        upto, row = window[0], low - 1


def _limited(size: BarSize) -> bool:
    return LONGEST[size].sessions is None


def _reach(cells: Cells, row: int) -> int:
    """Return the first row that one request reaches whose last is `row`."""
    size, step = cells.size, LONGEST[cells.size]
    count = PERIODS.get(size.unit, step.sessions)
    if count is not None:
        return max(row - count + 1, 0)
    earliest = cells.day[row] - np.timedelta64(step.days - 1, "D")
    return int(np.searchsorted(cells.day, earliest))


def _by_seconds(cells: Cells, stretch: Interval) -> Iterator[Chunk]:
    """Within one session each, from its end back."""
    start, end = stretch
    longest = (LONGEST[cells.size].seconds or 0) * SECOND
    first, stop = cells.touched(start, end)
    upto = end
    for row in range(stop - 1, first - 1, -1):
        begin = max(int(cells.begin[row]), start)
        until = min(int(cells.over[row]), end)
        while until > begin:
            low = max(until - longest, begin)
            # Between two sessions there are no bars; the window says so all the same.
            edge = start if low == begin and row == first else low
            yield Chunk(moment(until), in_seconds(until - low), (edge, upto))
            upto = until = low
