"""When a session is over. Pure: what it knows of days is the exchange's calendar."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quant.core.barsize import DAY
from quant.core.calendar import calendar
from quant.core.instrument import Instrument
from quant.core.zones import from_local


def session_end(day: str, instruments: Iterable[Instrument], *, rth: bool) -> int:
    """Return when a session is over for all of these instruments, UTC ns.

    day: its date, ISO. rth: regular hours only; otherwise it lasts to the end of its date on the exchange's clock, or
    to its close where that is later. Of an instrument without calendar it is over when its date is, everywhere.
    """
    return max((_end(np.datetime64(day, "D"), one, rth) for one in instruments), default=_everywhere(day))


def _end(date: np.datetime64, one: Instrument, rth: bool) -> int:
    if one.calendar is None:
        return _everywhere(str(date))
    year = int(date.astype("datetime64[Y]").astype(np.int64)) + 1970
    sessions = calendar(one.calendar, year, year)
    row = int(sessions.index_of(np.array([date]))[0])
    midnight = _midnight_after(date, one.timezone)
    if row < 0:  # no session of this exchange, so the date itself
        return midnight
    close = int(sessions.close[row])
    return close if rth else max(close, midnight)


def _midnight_after(date: np.datetime64, timezone: str) -> int:
    wall = (date + np.timedelta64(1, "D")).astype("datetime64[ns]").astype(np.int64)
    return int(from_local(np.array([wall], dtype=np.int64), timezone)[0])


def _everywhere(day: str) -> int:
    """Return when a date is over on the last clock of the world, twelve hours behind UTC."""
    after = (np.datetime64(day, "D") + np.timedelta64(1, "D")).astype("datetime64[ns]").astype(np.int64)
    return int(after) + DAY // 2
