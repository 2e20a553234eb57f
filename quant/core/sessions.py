"""When a bar ends, and to which session it belongs (DESIGN §5.1), as functions of arrays.

Bars are stored by their start. Intraday the start is a moment; daily and longer it is the label 00:00 UTC
of a session date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from quant.core.barsize import DAY, MINUTE, BarSize
from quant.core.calendar import NO_BREAK, Calendar, Dates
from quant.core.zones import Ints, from_local, grid_end, grid_start, to_local

Floats = npt.NDArray[np.float64]

# A day without a calendar ends here, as backtrader's default sessionend (23:59:59.99999).
LAST_OF_DAY: Final = DAY - 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """Per bar: begin and end (n,) int64 UTC ns, session (n,) datetime64[D], minutes_to_close (n,) float64
    (NaN without a calendar), in_session (n,) bool (True without a calendar).

    begin is when the bar's first trade could be: its start intraday, its session's open else.
    """

    begin: Ints
    end: Ints
    session: Dates
    minutes_to_close: Floats
    in_session: npt.NDArray[np.bool_]


def times(start: Ints, size: BarSize, timezone: str, calendar: Calendar | None) -> Times:
    """Return what DESIGN §5.1 says of each bar. start: (n,) int64 UTC ns, increasing."""
    if size.intraday:
        return _intraday(start, size, timezone, calendar)
    return _daily(start, size, timezone, calendar)


def _dates(ns: Ints) -> Dates:
    return ns.view("datetime64[ns]").astype("datetime64[D]")


def _intraday(start: Ints, size: BarSize, timezone: str, calendar: Calendar | None) -> Times:
    end = grid_end(start, size, timezone)
    n = len(start)
    if calendar is None or not len(calendar.dates):
        local = _dates(to_local(start, timezone))
        return Times(start, end, local, np.full(n, np.nan), np.ones(n, dtype=bool))
    row = calendar.index_at(start)
    inside = row >= 0
    outside = np.flatnonzero(~inside)
    local = _dates(to_local(start[outside], timezone))
    # Outside: the session of the bar's own date; of a date without one, the next session.
    row[outside] = np.minimum(np.searchsorted(calendar.dates, local), len(calendar.dates) - 1)
    close = calendar.close[row]
    end = np.where(start >= close, start + size.ns, np.minimum(end, close))
    session, left = calendar.dates[row], (close - end) / MINUTE
    # Before the calendar's first session and after its last one nothing is known.
    unknown = (local < calendar.dates[0]) | (local > calendar.dates[-1])
    if unknown.any():
        beyond = outside[unknown]
        session[beyond], left[beyond] = local[unknown], np.nan
        end[beyond] = grid_end(start[beyond], size, timezone)
    return Times(start, end, session, left, inside)


def group_starts(
    start: Ints, session: Dates, size: BarSize, timezone: str, calendar: Calendar | None
) -> Ints:
    """Return, per bar, the start of the bar of the coarser `size` that it belongs to.

    start: (n,) UTC ns, strictly increasing. session: (n,), theirs. Row i depends on rows up to i only.
    """
    if not size.intraday:
        return first_day(session, size.unit).astype("datetime64[ns]").view(np.int64)
    cell = grid_start(start, size, timezone)
    if calendar is None or not len(calendar.dates) or not len(start):
        return cell
    row = calendar.index_of(session)
    opened, closed = calendar.open[row], calendar.close[row]
    first = np.maximum.accumulate(np.where(np.append(True, np.diff(cell) > 0), np.arange(len(cell)), 0))
    inside = (start >= opened) & (start < closed)
    # The grid does not reach over the open, but where bars outside the session share the cell: then it is
    # the extended hours' bar, as IB's. Nor over the close: a closing auction's bar is its own group.
    own_open = (row >= 0) & (start >= opened) & inside[first]
    own_close = (row >= 0) & (start >= closed)
    cell = np.where(own_open, np.maximum(cell, opened), cell)
    # Nor over a break's end, but where bars of the break share the cell. One that began before it goes on.
    pause, resume = calendar.break_start[row], calendar.break_end[row]
    resumed = (row >= 0) & (pause != NO_BREAK) & (cell >= pause) & (start[first] >= resume)
    cell = np.where(resumed, np.maximum(cell, resume), cell)
    return np.where(own_close, np.maximum(cell, closed), cell)


def first_day(dates: Dates, unit: str) -> Dates:
    """Return the first date of the week (Monday) or month that each date lies in; of a day, itself."""
    if unit == "w":
        since_monday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        monday: Dates = dates - since_monday.astype("timedelta64[D]")
        return monday
    if unit == "mo":
        return dates.astype("datetime64[M]").astype("datetime64[D]")
    return dates


def _last_day(dates: Dates, unit: str) -> Dates:
    """Return the last date of the week (Sunday) or month that each date lies in; of a day, itself."""
    if unit == "w":
        return first_day(dates, unit) + np.timedelta64(6, "D")
    if unit == "mo":
        month: Dates = dates.astype("datetime64[M]")
        following: Dates = (month + np.timedelta64(1, "M")).astype("datetime64[D]")
        return following - np.timedelta64(1, "D")
    return dates


def _daily(start: Ints, size: BarSize, timezone: str, calendar: Calendar | None) -> Times:
    label = _dates(start)
    last = _last_day(label, size.unit)
    n = len(start)
    end = from_local(last.astype("datetime64[ns]").view(np.int64) + LAST_OF_DAY, timezone, last=True)
    begin = from_local(start, timezone)
    if calendar is None or not len(calendar.dates):
        return Times(begin, end, label, np.full(n, np.nan), np.ones(n, dtype=bool))
    if size.unit == "d":
        row = calendar.index_of(label)
        inside, first = row >= 0, row
    else:
        # The last session up to the period's end, the first one of the period.
        row = np.searchsorted(calendar.dates, last, side="right") - 1
        first = np.searchsorted(calendar.dates, first_day(label, size.unit))
        inside = (row >= first) & (first < len(calendar.dates))
    end = np.where(inside, calendar.close[row], end)
    begin = np.where(inside, calendar.open[np.where(inside, first, 0)], begin)
    left = np.where(inside, 0.0, np.nan)
    return Times(begin, end, label, left, inside)
