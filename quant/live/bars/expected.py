"""Which bars of a size an exchange's sessions should bring, and which bar a shorter one belongs to. Pure.

A bar is (start, end) in UTC ns as DESIGN §5.1 has them; daily and longer ones start with their label.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from quant.core.barsize import SECOND, BarSize
from quant.core.calendar import NO_BREAK, Calendar
from quant.core.grid import session_starts
from quant.core.sessions import first_day, group_starts, times

FIVE: Final = 5 * SECOND  # length of IB's real-time bars
_AHEAD: Final = 10  # days: longer than any holiday but the rarest, and those are only looked beyond once more


@dataclass(frozen=True, slots=True)
class Span:
    """A bar: its start, and its END."""

    start: int
    end: int


class Expected:
    """The bars of one size of one exchange.

    calendar: None = unknown. rth: of regular hours only. Where `known` is False only what arrives tells which bars
    there are: without a calendar, or outside the regular hours, of which it says nothing.
    """

    def __init__(self, size: BarSize, timezone: str, calendar: Calendar | None, rth: bool) -> None:
        self.size = size
        self._zone = timezone
        self._calendar = calendar if calendar is not None and len(calendar.dates) else None
        self._rth = rth
        self.known = self._calendar is not None and (rth or not size.intraday)
        broken = self._calendar is not None and np.any(self._calendar.break_start != NO_BREAK)
        self._unbroken = not broken  # a bar after a break may begin with the clock or with the trading
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._from = self._to = 0  # the list holds all starts in [from, to)

    def end(self, start: int) -> int:
        """Return when the bar that starts at `start` is over."""
        return int(times(np.array([start]), self.size, self._zone, self._calendar).end[0])

    def ends(self, starts: Sequence[int]) -> list[int]:
        """Return when each of the bars is over that start at `starts`, in any order."""
        order = sorted(starts)
        found = times(np.array(order, dtype=np.int64), self.size, self._zone, self._calendar).end.tolist()
        at = dict(zip(order, found, strict=True))
        return [at[start] for start in starts]

    def next(self, start: int) -> Span | None:
        """Return the first expected bar that starts at `start` or later; None where none is known."""
        if not self.known:
            return None
        row = bisect_left(self._starts, start)
        if not self._from <= start or row == len(self._starts):
            for days in (_AHEAD, 40 * _AHEAD):
                self._look(start, days)
                if self._starts:
                    break
            else:
                return None
            row = 0
        return Span(self._starts[row], self._ends[row])

    def of(self, moment: int) -> Span | None:
        """Return the intraday bar that a trade at `moment` belongs to; None outside of what is wanted."""
        row = bisect_right(self._starts, moment) - 1
        if self._unbroken and row >= 0 and moment < self._ends[row]:
            return Span(self._starts[row], self._ends[row])
        at = np.array([moment])
        found = times(at, self.size, self._zone, self._calendar)
        if self._rth and not found.in_session[0]:
            return None
        start = int(group_starts(at, found.session, self.size, self._zone, self._calendar)[0])
        return Span(start, self.end(start))

    def pieces(self, span: Span) -> int:
        """Return how many 5-second bars an intraday bar consists of, a session's break left out."""
        length = span.end - span.start
        if self._calendar is not None and self._rth and not self._unbroken:
            row = int(self._calendar.index_at(np.array([span.start]))[0])
            pause, resume = int(self._calendar.break_start[row]), int(self._calendar.break_end[row])
            if row >= 0 and pause != NO_BREAK:
                length -= max(0, min(span.end, resume) - max(span.start, pause))
        return -(-length // FIVE)

    def _look(self, start: int, days: int) -> None:
        """List the bars of some days from `start` on."""
        assert self._calendar is not None  # noqa: S101  # `known` says so
        day = np.array([start]).view("datetime64[ns]").astype("datetime64[D]")
        if self.size.intraday:
            last = day[0] + np.timedelta64(days, "D")
            found = session_starts(self._calendar, self.size, day[0] - np.timedelta64(1, "D"), last)
        else:
            first = first_day(day, self.size.unit)[0]
            dates = self._calendar.dates
            near = (dates >= first) & (dates <= day[0] + np.timedelta64(days + 31, "D"))
            labels = first_day(dates[near], self.size.unit).astype("datetime64[ns]")
            found = np.unique(labels.view(np.int64))
        found = found[found >= start]
        self._from, self._to = start, int(found[-1]) + 1 if len(found) else start
        self._starts = found.tolist()
        self._ends = times(found, self.size, self._zone, self._calendar).end.tolist() if len(found) else []
