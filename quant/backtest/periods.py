"""Bars that backtrader makes of finer ones end where the exchange's sessions do: `resampledata` and `replaydata`.

Stock ends a day at midnight, which it learns from the next session's first bar, a night late. Backtest and live feeds
share this. All moments are backtrader's date numbers on the clock of the feed.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Final

import backtrader as bt
from backtrader import resamplerfilter

from quant.core.calendar import calendar
from quant.core.instrument import Instrument
from quant.core.zones import to_local

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # of a wall clock
_LAST: Final = time(23, 59, 59, 999990)  # backtrader's end of a day
_BIT: Final = 1e-8  # of a day, about a millisecond: what a date number may be off


@dataclass(frozen=True, slots=True)
class _Table:
    """Sessions: days are ordinals, the rest date numbers; moments: the closes as datetimes."""

    days: list[int]
    opens: list[float]
    closes: list[float]
    moments: list[datetime]


class Sessions(bt.TradingCalendarBase):  # type: ignore[misc]  # backtrader has no types
    """The sessions of an exchange as backtrader asks for them. zone: the clock of the feed."""

    def __init__(self, name: str, zone: str) -> None:
        super().__init__()
        self._name, self._zone = name, zone

    def schedule(self, day: datetime, tz: Any = None) -> tuple[datetime, datetime]:
        """Return a moment and where the session ends that it belongs to; after the close of its day, midnight."""
        table, at = self._table(day.year), bt.date2num(day)
        row = _row(table, at)
        return day, datetime.combine(day, _LAST) if row is None else table.moments[row]

    def is_close(self, at: float) -> bool:
        """Return whether a session ends at that moment."""
        table = self._table(bt.num2date(at).year)
        row = bisect_left(table.closes, at - _BIT)
        return row < len(table.closes) and table.closes[row] < at + _BIT

    def is_after(self, at: float) -> bool:
        """Return whether a bar of that END is of no session, as its day's is over."""
        table = self._table(bt.num2date(at).year)
        before = bisect_left(table.closes, at - _BIT) - 1
        return before >= 0 and table.days[before] == int(at) and _row(table, at) is None

    def _nextday(self, day: date) -> tuple[date, Any]:
        table = self._table(day.year)
        row = bisect_left(table.days, day.toordinal() + 1)
        found = date.fromordinal(table.days[row]) if row < len(table.days) else day + timedelta(days=1)
        return found, found.isocalendar()

    def _table(self, year: int) -> _Table:
        return _sessions(self._name, self._zone, year)


def _row(table: _Table, at: float) -> int | None:
    """Return the session that a bar of that END belongs to: the one that is on, or begins later on that day."""
    row = bisect_left(table.closes, at - _BIT)
    if row == len(table.closes) or (table.opens[row] >= at and table.days[row] != int(at)):
        return None
    return row


@lru_cache(maxsize=64)
def _sessions(name: str, zone: str, year: int) -> _Table:
    found = calendar(name, year, year)
    walls = [to_local(column, zone) // 1000 for column in (found.open, found.close)]
    opens, closes = ([_EPOCH + timedelta(microseconds=int(at)) for at in wall] for wall in walls)
    return _Table(
        [day.toordinal() for day in found.dates.tolist()],
        [bt.date2num(at) for at in opens],
        [bt.date2num(at) for at in closes],
        closes,
    )


def set_sessions(feed: Any, instrument: Instrument, zone: str) -> None:
    """Give a feed that begins the sessions of its exchange, unless the user gave it or cerebro a calendar."""
    if feed._calendar is None and instrument.calendar is not None:
        feed._calendar = Sessions(instrument.calendar, zone)


# ---------------------------------------------------------------- what makes the bars
def _left_out(self: Any, data: Any) -> bool:
    """Return whether a bar belongs to no day, as in Bars.resample: it ends after the close of its own."""
    made_of = isinstance(data._calendar, Sessions) and not self.subdays and not self.componly
    return bool(made_of and data._calendar.is_after(data.datetime[0]))


def _on_edge(self: Any, data: Any) -> bool:
    """Return whether a bar may be the last of a week or longer: stock takes every bar of the last day for it."""
    own = not self.subweeks and isinstance(data._calendar, Sessions)
    return not own or bool(data._calendar.is_close(data.datetime[0]))


def _next_week(self: Any, data: Any) -> bool:
    """Return whether a bar is of a later week than those before; with a calendar stock does not look at that."""
    old, new = data.num2date(self.bar.datetime).date(), data.datetime.date()
    return bool(new.isocalendar()[:2] > old.isocalendar()[:2])


class Resampler(resamplerfilter.Resampler):  # type: ignore[misc]  # backtrader has no types
    """Stock's, with its ends at the exchange's closes."""

    def __call__(self, data: Any, fromcheck: bool = False, forcedata: Any = None) -> bool:
        """Take a bar; True where it goes no further."""
        if not fromcheck and _left_out(self, data):
            data.backwards()
            return True
        return bool(super().__call__(data, fromcheck=fromcheck, forcedata=forcedata))

    def check(self, data: Any, _forcedata: Any = None) -> Any:
        """Let a time end a bar; stock ends none of a day or more by it, but forgets where the session ends."""
        return super().check(data, _forcedata=_forcedata) if self.subdays else None

    def _dataonedge(self, data: Any) -> Any:
        return super()._dataonedge(data) if _on_edge(self, data) else (False, True)

    def _barover_weeks(self, data: Any) -> bool:
        return _next_week(self, data)


class Replayer(resamplerfilter.Replayer):  # type: ignore[misc]  # backtrader has no types
    """Stock's, with its ends at the exchange's closes."""

    def __call__(self, data: Any, fromcheck: bool = False, forcedata: Any = None) -> bool:
        """Take a bar; True where it goes no further."""
        if not fromcheck and _left_out(self, data):
            data.backwards(force=True)
            return True
        return bool(super().__call__(data, fromcheck=fromcheck, forcedata=forcedata))

    def check(self, data: Any, _forcedata: Any = None) -> Any:
        """Let a time end a bar; stock ends none of a day or more by it, but forgets where the session ends."""
        return super().check(data, _forcedata=_forcedata) if self.subdays else None

    def _dataonedge(self, data: Any) -> Any:
        return super()._dataonedge(data) if _on_edge(self, data) else (False, True)

    def _barover_weeks(self, data: Any) -> bool:
        return _next_week(self, data)


class Clone(bt.feed.DataClone):  # type: ignore[misc]  # backtrader has no types
    """A feed's bars once more: cerebro asks for it to resample or replay a feed that it has already."""

    def clone(self, **kwargs: Any) -> Any:
        """Return a feed of the same bars."""
        return type(self)(dataname=self, **kwargs)

    def copyas(self, _dataname: str, **kwargs: Any) -> Any:
        """Return a feed of the same bars under another name."""
        return named(self.clone(**kwargs), _dataname)

    def resample(self, **kwargs: Any) -> None:
        """Make other bars of these."""
        self.addfilter(Resampler, **kwargs)

    def replay(self, **kwargs: Any) -> None:
        """Build other bars up of these."""
        self.addfilter(Replayer, **kwargs)


def named(feed: Any, name: str) -> Any:
    """Return the feed, under that name."""
    feed._dataname = feed._name = name
    return feed
