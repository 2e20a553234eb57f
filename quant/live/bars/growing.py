"""Bars that grow at their end, without copying what is there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.calendar import Calendar
from quant.core.sessions import Times, times
from quant.live.bars.pieces import Row

_TIMES: Final = ("begin", "end", "session", "minutes_to_close", "in_session")
_ROOM: Final = 1024
_AHEAD: Final = 64  # bars whose times are worked out at once: of one they take nearly as long


class GrowingBars:
    """Bars of one series. `upto(n)` gives the first n as Bars, which stay as they are when more come.

    calendar: as Bars.calendar gives it for the years to come; None = unknown.
    """

    def __init__(self, bars: Bars, calendar: Calendar | None) -> None:
        self._like, self._calendar = bars, calendar
        self._n = len(bars)
        self._columns = {name: _roomy(getattr(bars, name)) for name in ("start", *COLUMNS)}
        found = bars.times if len(bars) else self._times(bars.start)
        self._times_of = {name: _roomy(getattr(found, name)) for name in _TIMES}
        self._ahead = self._times(bars.start[:0])
        self._whole = self._as_bars()

    def __len__(self) -> int:
        return self._n

    def append(self, row: Row) -> int:
        """Add a bar and return its END. Bars come in order."""
        found, at = self._times_at(row.start)
        if self._n == len(self._columns["start"]):
            self._columns = {name: _roomy(values) for name, values in self._columns.items()}
            self._times_of = {name: _roomy(values) for name, values in self._times_of.items()}
            self._whole = self._as_bars()
        for values, value in zip(self._columns.values(), row, strict=True):
            values[self._n] = value
        for name, values in self._times_of.items():
            values[self._n] = getattr(found, name)[at]
        self._n += 1
        return int(found.end[at])

    def end(self, row: int) -> int:
        """Return the END of a bar."""
        return int(self._times_of["end"][row])

    def row(self, row: int) -> Row:
        """Return a bar."""
        return Row(*[values.item(row) for values in self._columns.values()])

    def upto(self, n: int) -> Bars:
        """Return the first `n` bars."""
        return self._whole[:n]

    def _as_bars(self) -> Bars:
        """Return a read-only view of all that there is room for."""
        like = self._like
        bars = Bars.trusted(
            instrument=like.instrument, bar=like.bar, what=like.what, rth=like.rth, source=like.source,
            adjusted=like.adjusted, **self._columns,
        )  # fmt: skip
        bars.__dict__["times"] = Times(**self._times_of)
        return bars

    def _times_at(self, start: int) -> tuple[Times, int]:
        """Return the times of a bar among others', and its row there."""
        size, ahead = self._like.bar, self._ahead
        if not size.intraday:
            return self._times(np.array([start], dtype=np.int64)), 0
        at = int(ahead.begin.searchsorted(start))
        if at == len(ahead.begin) or ahead.begin[at] != start:
            ahead = self._ahead = self._times(start + size.ns * np.arange(_AHEAD, dtype=np.int64))
            at = 0
        return ahead, at

    def _times(self, start: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Times:
        return times(start, self._like.bar, self._like.instrument.timezone, self._calendar)


def _roomy(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a copy with room behind it."""
    room = np.empty(max(_ROOM, len(values) // 2), dtype=values.dtype)
    return np.concatenate([values, room])
