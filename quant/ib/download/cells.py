"""Sessions as stretches of time in which bars may lie: what a plan is cut by, and what is known at a moment. Pure.

The axis of a series is that of its starts: UTC ns, of daily and longer bars the label 00:00 UTC of their date. A cell
is a session there, or a day, week or month of labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np

from quant.core.barsize import DAY, HOUR, BarSize
from quant.core.calendar import Calendar, Dates, Ints, calendar
from quant.core.instrument import Instrument
from quant.core.sessions import first_day
from quant.core.zones import from_local, grid_start, to_local

MARGIN_NS: Final = 2 * HOUR  # by which a request for days ends after the close: its auction is printed later
_SLACK_DAYS: Final = 45  # around what is asked for: the week or month at either end must be whole


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """day: (k,) datetime64[D], the session or first day. begin, over: (k,) int64 on the axis, begin <= over.

    closed: (k,) UTC ns, when its last bar is known. ask: (k,) UTC ns, where a request for it ends.
    known: up to where on the axis all bars are over at `present` (UTC ns). certain: made from a calendar.
    """

    size: BarSize
    timezone: str
    day: Dates
    begin: Ints
    over: Ints
    closed: Ints
    ask: Ints
    known: int
    present: int
    certain: bool

    def __len__(self) -> int:
        return len(self.day)

    def touched(self, start: int, end: int) -> tuple[int, int]:
        """Return the rows [i, j) of the cells that meet [start, end)."""
        first = int(np.searchsorted(self.over, start, side="right"))
        return first, max(first, int(np.searchsorted(self.begin, end)))

    def row_at(self, place: int) -> int:
        """Return the row of the last cell that begins at or before `place`, -1 before the first."""
        return int(np.searchsorted(self.begin, place, side="right")) - 1

    def from_day(self, day: date) -> int:
        """Return where on the axis the first session on or after `day` begins; `known` if there is none yet."""
        row = int(np.searchsorted(self.day, first_day(_dates(day), self.size.unit)[0]))
        return int(self.begin[row]) if row < len(self) else self.known

    def upto_day(self, day: date) -> int:
        """Return where on the axis the last session up to `day` is over; `known` if none lies before it."""
        row = int(np.searchsorted(self.day, _dates(day)[0], side="right")) - 1
        return int(self.over[row]) if row >= 0 else int(self.begin[0])

    def at(self, moment: datetime) -> int:
        """Return the place of a moment on the axis; a naive one is exchange time."""
        wall = np.datetime64(moment.replace(tzinfo=None), "ns").astype(np.int64)
        if moment.tzinfo is not None:
            offset = moment.utcoffset()
            utc = int(wall) - (0 if offset is None else round(offset.total_seconds()) * 10**9)
        else:
            utc = int(from_local(np.array([wall]), self.timezone)[0])
        if self.size.intraday:
            return utc
        local = int(to_local(np.array([utc]), self.timezone)[0])
        return -(-local // DAY) * DAY


def cells(instrument: Instrument, size: BarSize, rth: bool, first: date, now: int) -> Cells:
    """Return the cells from `first` on to the one that `now` (UTC ns) lies in and some after it.

    With a calendar: its sessions, of all hours the days they lie in; without one: calendar days.
    """
    present = np.array([now]).view("datetime64[ns]").astype("datetime64[D]")[0]
    low, high = (
        np.datetime64(first, "D") - np.timedelta64(_SLACK_DAYS, "D"),
        present + np.timedelta64(_SLACK_DAYS, "D"),
    )
    low = min(low, high)
    sessions = _sessions(instrument, low, high)
    make = _intraday if size.intraday else _labels
    return make(instrument, size, rth, sessions, np.arange(low, high), now)


def _sessions(instrument: Instrument, low: np.datetime64, high: np.datetime64) -> Calendar | None:
    if instrument.calendar is None:
        return None
    years = [int(d.astype("datetime64[Y]").astype(int)) + 1970 for d in (low, high)]
    found = calendar(instrument.calendar, years[0], years[1])
    return found if len(found.dates) else None


def _intraday(
    instrument: Instrument, size: BarSize, rth: bool, sessions: Calendar | None, days: Dates, now: int
) -> Cells:
    zone = instrument.timezone
    if sessions is None:
        dates, begin = days, _midnight(days, zone)
        over = _midnight(days + np.timedelta64(1, "D"), zone)
    else:
        rows = np.flatnonzero((sessions.dates >= days[0]) & (sessions.dates <= days[-1]))
        dates, begin, over = sessions.dates[rows], sessions.open[rows], sessions.close[rows]
        if not rth:
            begin = np.minimum(begin, _midnight(dates, zone))
            over = np.maximum(over, _midnight(dates + np.timedelta64(1, "D"), zone))
        following = np.append(begin[1:], np.iinfo(np.int64).max)
        # Currencies open on Sunday evening, which that calendar does not know: a cell goes on to the next one.
        over = np.append(begin[1:], over[-1:]) if sessions.name == "24/5" else np.minimum(over, following)
    row = int(np.searchsorted(begin, now, side="right")) - 1
    known = 0
    if row >= 0:
        whole = int(grid_start(np.array([now]), size, zone)[0])
        known = int(over[row]) if now >= over[row] else max(int(begin[row]), whole)
    return Cells(size, zone, dates, begin, over, over, over, known, now, sessions is not None)


def _labels(
    instrument: Instrument, size: BarSize, rth: bool, sessions: Calendar | None, days: Dates, now: int
) -> Cells:
    zone = instrument.timezone
    if sessions is None:
        dates, close = days, _midnight(days + np.timedelta64(1, "D"), zone)
        following = close
    else:
        rows = np.flatnonzero((sessions.dates >= days[0]) & (sessions.dates <= days[-1]))
        dates, close = sessions.dates[rows], sessions.close[rows]
        following = np.append(sessions.open[rows][1:], np.iinfo(np.int64).max)
    label = first_day(dates, size.unit)
    first = np.flatnonzero(np.append(True, np.diff(label) != np.timedelta64(0, "D")))
    last = np.append(first[1:], len(label)) - 1
    first_days, begin = label[first], _ns(label[first])
    over = begin + DAY if size.unit == "d" else np.append(begin[1:], begin[-1] + size.ns)
    closed = close[last]
    ask = np.maximum(closed, np.minimum(np.minimum(closed + MARGIN_NS, following[last]), now))
    complete = int(np.searchsorted(closed, now, side="right"))
    known = int(begin[complete]) if complete < len(begin) else int(over[-1])
    return Cells(size, zone, first_days, begin, over, closed, ask, known, now, sessions is not None)


def _midnight(days: Dates, zone: str) -> Ints:
    return from_local(_ns(days), zone)


def _ns(days: Dates) -> Ints:
    return days.astype("datetime64[ns]").view(np.int64)


def _dates(day: date) -> Dates:
    return np.array([day], dtype="datetime64[D]")
