"""The clock of a time zone, and the grid of a bar size on it, as functions of arrays.

A wall time is ns since 1970-01-01 00:00 as that clock shows it. The offsets of a zone stand in a short
table, so that ten million moments take no longer than a few additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from quant.core.barsize import SECOND, BarSize

Ints = npt.NDArray[np.int64]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_YEAR, _LAST_YEAR = 1680, 2260  # whole decades that int64 ns can hold
_DAY_S: Final = 86_400  # no zone changes its clocks twice within a day


@dataclass(frozen=True, slots=True, eq=False)
class _Offsets:
    """since, until: (k,) UTC ns, the moments [since, until) at which the clock is `offset` ns before UTC."""

    since: Ints
    until: Ints
    offset: Ints

    def row_at(self, moments: Ints) -> Ints:
        return np.searchsorted(self.until[:-1], moments, side="right").astype(np.int64, copy=False)


@lru_cache(maxsize=256)
def _load(timezone: str, first_year: int, last_year: int) -> _Offsets:
    zone = ZoneInfo(timezone)

    def offset_s(moment_s: int) -> int:
        offset = (_EPOCH + timedelta(seconds=moment_s)).astimezone(zone).utcoffset()
        return round(offset.total_seconds()) if offset is not None else 0

    low = (datetime(first_year, 1, 1, tzinfo=UTC) - _EPOCH).days * _DAY_S
    high = (datetime(last_year, 12, 31, tzinfo=UTC) - _EPOCH).days * _DAY_S
    since, offset = [], [offset_s(low)]
    for day in range(low + _DAY_S, high + 1, _DAY_S):
        after = offset_s(day)
        if after == offset[-1]:
            continue
        before, changed = day - _DAY_S, day
        while changed - before > 1:
            middle = (before + changed) // 2
            before, changed = (middle, changed) if offset_s(middle) == offset[-1] else (before, middle)
        since.append(changed)
        offset.append(after)
    changes = np.array(since, dtype=np.int64) * SECOND
    bounds = np.iinfo(np.int64)
    return _Offsets(
        since=np.append(np.int64(bounds.min), changes),
        until=np.append(changes, np.int64(bounds.max)),
        offset=np.array(offset, dtype=np.int64) * SECOND,
    )


def _offsets(timezone: str, moments: Ints) -> _Offsets:
    """Return the offsets of `timezone` around `moments`, by decades, so that few tables are ever made."""
    ends = np.array([np.min(moments), np.max(moments)]).view("datetime64[ns]").astype("datetime64[Y]")
    first, last = (int(year) + 1970 for year in ends.astype(np.int64))
    # The decades of a year before and after: a wall time may lie in another year than its moment.
    first, last = (first - 1) // 10 * 10, (last + 1) // 10 * 10 + 9
    return _load(timezone, max(first, _FIRST_YEAR), min(last, _LAST_YEAR))


def to_local(moments: Ints, timezone: str) -> Ints:
    """Return the wall time of `timezone` at UTC `moments`."""
    if not len(moments):
        return moments
    zone = _offsets(timezone, moments)
    return moments + zone.offset[zone.row_at(moments)]


def from_local(wall: Ints, timezone: str, *, last: bool = False) -> Ints:
    """Return the UTC moments at which the clock of `timezone` shows `wall`.

    Of a time that comes twice the first, or with `last` the second; of one that the clock skips, the
    moment of the change.
    """
    if not len(wall):
        return wall
    zone = _offsets(timezone, wall)
    if last:
        row = np.searchsorted((zone.since + zone.offset)[1:], wall, side="right")
        second: Ints = np.minimum(wall - zone.offset[row], zone.until[row])
        return second
    row = np.searchsorted((zone.until + zone.offset)[:-1], wall, side="right")
    first: Ints = np.maximum(wall - zone.offset[row], zone.since[row])
    return first


def grid_end(start: Ints, size: BarSize, timezone: str) -> Ints:
    """Return min(start + size, the next boundary of the clock grid of that size in local time).

    A boundary that the clock skips is the moment of the change.
    """
    if not len(start):
        return start
    zone = _offsets(timezone, start)
    row = zone.row_at(start)
    end = start + size.ns
    end -= (start + zone.offset[row]) % size.ns
    beyond = np.flatnonzero(end > zone.until[row])
    if len(beyond):
        row = row[beyond]
        moved = end[beyond] + zone.offset[row] - zone.offset[row + 1]
        end[beyond] = np.minimum(np.maximum(moved, zone.until[row]), start[beyond] + size.ns)
    return end


def grid_start(moments: Ints, size: BarSize, timezone: str) -> Ints:
    """Return the start of the bar of `size` that holds each moment, where bars lie on the clock grid.

    Where clocks go back and a stretch of the grid is longer than the size, a second bar begins in it: as
    `grid_end` has it, no bar is longer than its size.
    """
    if not len(moments):
        return moments
    zone = _offsets(timezone, moments)
    row = zone.row_at(moments)
    start = moments - (moments + zone.offset[row]) % size.ns
    beyond = np.flatnonzero(start < zone.since[row])
    if len(beyond):
        row = row[beyond]
        change, old = zone.since[row], zone.offset[row - 1]
        skipped = start[beyond] + zone.offset[row] - old >= change
        before = change - 1 - (change - 1 + old) % size.ns  # the last boundary before the change
        start[beyond] = np.where(
            skipped & (zone.offset[row] > old),
            change,
            before + (moments[beyond] - before) // size.ns * size.ns,
        )
    return start
