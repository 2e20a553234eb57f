"""Where the bars of a session begin (DESIGN §5.1): what a complete series would hold."""

from __future__ import annotations

import numpy as np

from quant.core.barsize import HOUR, BarSize
from quant.core.calendar import NO_BREAK, Calendar, Ints
from quant.core.zones import grid_start, to_local


def session_starts(calendar: Calendar, size: BarSize, first: np.datetime64, last: np.datetime64) -> Ints:
    """Return the starts of all intraday bars of the sessions from `first` to `last`, UTC ns, in order.

    A bar begins at the session's open and at each boundary of the clock grid of its size in exchange time before
    the close. None begins within a break: the one that would, begins at the break's end.
    """
    rows = np.flatnonzero((calendar.dates >= first) & (calendar.dates <= last))
    if not len(rows):
        return np.empty(0, dtype=np.int64)
    begin, close = calendar.open[rows], calendar.close[rows]
    step = min(size.ns, HOUR)  # clocks change by whole hours; larger sizes are sieved below
    base = begin - to_local(begin, calendar.timezone) % step
    count = np.maximum(-(-(close - base) // step), 1)
    row = np.repeat(np.arange(len(rows)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    grid = base[row] + within * step
    if size.ns > step:
        on_grid = (to_local(grid, calendar.timezone) % size.ns == 0) | (within == 0)
        grid, row, within = grid[on_grid], row[on_grid], within[on_grid]
    grid = np.where(within == 0, begin[row], grid)
    pause, resume = calendar.break_start[rows], calendar.break_end[rows]
    has = pause != NO_BREAK
    in_break = has[row] & (grid >= pause[row]) & (grid < resume[row])
    found: Ints = grid[~in_break]
    if not has.any():
        return found
    begun = grid_start(resume[has], size, calendar.timezone)
    return np.union1d(found, resume[has][begun >= pause[has]])
