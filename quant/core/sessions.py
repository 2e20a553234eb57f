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
from quant.core.calendar import Calendar, Dates, Ints

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


def to_local(moments: Ints, timezone: str) -> Ints:
    """Return the wall clock of `timezone` at UTC `moments`, as ns since 1970-01-01 00:00 on that clock."""
    import pandas as pd

    if timezone == "UTC" or not len(moments):
        return moments
    utc = pd.DatetimeIndex(moments.view("datetime64[ns]"), tz="UTC")
    wall: Ints = utc.tz_convert(timezone).tz_localize(None).to_numpy().view(np.int64)
    return wall


def from_local(wall: Ints, timezone: str) -> Ints:
    """Return UTC ns of wall clock times; of a repeated hour the first, of a skipped one the hour's end."""
    import pandas as pd

    if timezone == "UTC" or not len(wall):
        return wall
    naive = pd.DatetimeIndex(wall.view("datetime64[ns]"))
    first = np.ones(len(wall), dtype=bool)
    aware = naive.tz_localize(timezone, ambiguous=first, nonexistent="shift_forward")
    utc: Ints = aware.tz_convert("UTC").tz_localize(None).to_numpy().view(np.int64)
    return utc


def grid_end(start: Ints, size: BarSize, timezone: str) -> Ints:
    """Return min(start + size, the next boundary of the clock grid of that size in local time)."""
    wall = to_local(start, timezone)
    end = start + size.ns - wall % size.ns
    # A clock change in between moves the boundary on the wall by the change of the offset.
    end -= (to_local(end, timezone) - end) - (wall - start)
    return np.minimum(np.maximum(end, start + 1), start + size.ns)


def _dates(ns: Ints) -> Dates:
    return ns.view("datetime64[ns]").astype("datetime64[D]")


def _intraday(start: Ints, size: BarSize, timezone: str, calendar: Calendar | None) -> Times:
    end = grid_end(start, size, timezone)
    local_date = _dates(to_local(start, timezone))
    n = len(start)
    if calendar is None or not len(calendar.dates):
        return Times(start, end, local_date, np.full(n, np.nan), np.ones(n, dtype=bool))
    row = calendar.index_at(start)
    inside = row >= 0
    # Outside: the session of the bar's own date; of a date without one, the next session.
    nearest = np.minimum(np.searchsorted(calendar.dates, local_date), len(calendar.dates) - 1)
    row = np.where(inside, row, nearest)
    close = calendar.close[row]
    end = np.where(start >= close, start + size.ns, np.minimum(end, close))
    return Times(start, end, calendar.dates[row], (close - end) / MINUTE, inside)


def _last_day(dates: Dates, unit: str) -> Dates:
    """Return the last date of the week (Sunday) or month that each date lies in; of a day, itself."""
    if unit == "w":
        since_monday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        return dates + (6 - since_monday)
    if unit == "mo":
        return (dates.astype("datetime64[M]") + 1).astype("datetime64[D]") - 1
    return dates


def _daily(start: Ints, size: BarSize, timezone: str, calendar: Calendar | None) -> Times:
    label = _dates(start)
    last = _last_day(label, size.unit)
    n = len(start)
    end = from_local(last.astype("datetime64[ns]").view(np.int64) + LAST_OF_DAY, timezone)
    begin = from_local(start, timezone)
    if calendar is None or not len(calendar.dates):
        return Times(begin, end, label, np.full(n, np.nan), np.ones(n, dtype=bool))
    if size.unit == "d":
        row = calendar.index_of(label)
        inside, first = row >= 0, row
    else:
        # The last session up to the period's end, the first one of the period.
        row = np.searchsorted(calendar.dates, last, side="right") - 1
        period = label - (label.astype(np.int64) + 3) % 7 if size.unit == "w" else label.astype("datetime64[M]")
        first = np.searchsorted(calendar.dates, period.astype("datetime64[D]"))
        inside = (row >= first) & (first < len(calendar.dates))
    end = np.where(inside, calendar.close[row], end)
    begin = np.where(inside, calendar.open[np.where(inside, first, 0)], begin)
    left = np.where(inside, 0.0, np.nan)
    return Times(begin, end, label, left, inside)
