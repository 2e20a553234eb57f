"""Sessions of an exchange as plain arrays, from exchange_calendars.

A session is a date with an open, a close and perhaps a break, as UTC nanoseconds. Nothing here reads the
clock: the years that are needed come from the bars.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from quant.errors import ParameterError

Ints = npt.NDArray[np.int64]
Dates = npt.NDArray[np.datetime64]

NO_BREAK = np.iinfo(np.int64).min  # pandas' NaT as an integer


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """Sessions of some years. dates: (k,) datetime64[D]; the others (k,) int64 UTC ns, sorted.

    break_start, break_end: NO_BREAK where the session has none.
    """

    name: str
    timezone: str
    dates: Dates
    open: Ints
    close: Ints
    break_start: Ints
    break_end: Ints

    @property
    def around_the_clock(self) -> bool:
        """True where every day is a session of 24 hours."""
        return self.name == "24/7"

    def index_of(self, dates: Dates) -> Ints:
        """Return the row of each session date, -1 where the date is no session."""
        if not len(self.dates):
            return np.full(len(dates), -1, dtype=np.int64)
        at = np.searchsorted(self.dates, dates)
        found = (at < len(self.dates)) & (self.dates[np.minimum(at, len(self.dates) - 1)] == dates)
        return np.where(found, at, -1).astype(np.int64)

    def index_at(self, moments: Ints) -> Ints:
        """Return the row of the session that is open at each moment (breaks count as open), else -1."""
        if not len(self.dates):
            return np.full(len(moments), -1, dtype=np.int64)
        at = np.searchsorted(self.close, moments, side="right")
        inside = (at < len(self.close)) & (self.open[np.minimum(at, len(self.close) - 1)] <= moments)
        return np.where(inside, at, -1).astype(np.int64)

    def per_year(self, first: np.datetime64, last: np.datetime64) -> float:
        """Return the mean number of sessions a year over the calendar years that `first` to `last` touch.

        252 where the calendar knows none of them.
        """
        if self.around_the_clock:
            return 365.0
        a, b = (d.astype("datetime64[Y]") for d in (first, last))
        years = int((b - a).astype(int)) + 1
        end = (b + np.timedelta64(1, "Y")).astype("datetime64[D]")
        inside = (self.dates >= a.astype("datetime64[D]")) & (self.dates < end)
        return float(inside.sum()) / years if inside.any() else 252.0


def calendar(name: str, first_year: int, last_year: int) -> Calendar:
    """Return the sessions of `name` from a year before `first_year` to a year after `last_year`.

    name: exchange_calendars' ("XNYS", "CMES", "24/7") or one of its aliases ("NYSE"). Years outside the
    calendar's own bounds have no sessions. Raises ParameterError for an unknown name.
    """
    # Decades, so that few different ranges are ever computed.
    return _load(check_name(name), (first_year - 1) // 10 * 10, (last_year + 1) // 10 * 10 + 9)


@lru_cache(maxsize=64)  # it makes a set of all names each time, and is asked several times a bar
def check_name(name: str) -> str:
    """Return exchange_calendars' own name for `name`. Raises ParameterError if it knows none."""
    import exchange_calendars as xc

    try:
        resolved: str = xc.resolve_alias(name)
    except xc.errors.InvalidCalendarName:
        known = ", ".join(n for n in xc.get_calendar_names(include_aliases=False) if n.startswith("X"))
        reason = f"no such exchange calendar; one of CMES, 24/7, {known}"
        raise ParameterError("calendar", name, reason) from None
    return resolved


def check_zone(name: str) -> ZoneInfo:
    """Return the time zone. Raises ParameterError if it is unknown."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        reason = 'no such time zone; write it like "America/New_York"'
        raise ParameterError("tz", name, reason) from None


@lru_cache(maxsize=64)
def timezone_of(name: str) -> str:
    """Return the time zone of the calendar `name`. Raises ParameterError if it is unknown."""
    return _known(check_name(name))[0]


@lru_cache(maxsize=64)
def _known(name: str) -> tuple[str, Any, Any]:
    """Return time zone and bounds: a calendar takes 0.2 s to make, and the library keeps one a name only."""
    known = _exchange(name)
    return str(known.tz), known.bound_min(), known.bound_max()


@lru_cache(maxsize=64)
def _load(name: str, first_year: int, last_year: int) -> Calendar:
    import pandas as pd

    zone, low, high = _known(name)
    start, end = pd.Timestamp(first_year, 1, 1), pd.Timestamp(last_year, 12, 31)
    start = start if low is None else max(start, low)
    end = end if high is None else min(end, high)
    if start > end:
        none = np.empty(0, dtype=np.int64)
        return Calendar(name, zone, none.astype("datetime64[D]"), none, none, none, none)
    schedule = _exchange(name, start=start, end=end).schedule
    column = {c: schedule[c].to_numpy(dtype="datetime64[ns]").astype(np.int64) for c in schedule.columns}
    return Calendar(
        name=name,
        timezone=zone,
        dates=schedule.index.to_numpy(dtype="datetime64[D]"),
        open=column["open"],
        close=column["close"],
        break_start=column["break_start"],
        break_end=column["break_end"],
    )


def _exchange(name: str, **bounds: Any) -> Any:
    import exchange_calendars as xc

    with warnings.catch_warnings():
        # exchange_calendars 4.13.2 calls what pandas 3.1 deprecates; without this test_calendar.py is red.
        warnings.simplefilter("ignore", DeprecationWarning)
        return xc.get_calendar(name, **bounds)
