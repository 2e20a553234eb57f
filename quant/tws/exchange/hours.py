"""Opening hours as TWS writes them, and times in TWS's texts, from the calendars of quant.core."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from quant.core.barsize import SECOND
from quant.core.calendar import NO_BREAK, Calendar, calendar

DAYS = 6  # of hours that contract details give, today's first
# Made-up bars lie in these years. A calendar takes up to a second to make, whatever its years, so the same are asked
# for throughout.
FIRST_YEAR, LAST_YEAR = 2015, 2035


def sessions_of(name: str, first_year: int, last_year: int) -> Calendar:
    """Return the sessions of the exchange calendar `name` in at least these years."""
    return calendar(name, min(first_year, FIRST_YEAR), max(last_year, LAST_YEAR))


def sessions_around(name: str, moment: int) -> Calendar:
    """Return the sessions of the exchange calendar `name` from years before `moment` (UTC ns) to years after it."""
    year = utc(moment).year
    return sessions_of(name, year, year)


def utc(moment: int) -> datetime:
    """Return UTC ns as a datetime, cut to microseconds."""
    return datetime.fromtimestamp(moment // SECOND, UTC) + timedelta(microseconds=moment % SECOND // 1000)


def spans(sessions: Calendar, row: int) -> list[tuple[int, int]]:
    """Return when session `row` trades, [begin, end) in UTC ns: one span, or two around a break."""
    begin, end = int(sessions.open[row]), int(sessions.close[row])
    pause, resume = int(sessions.break_start[row]), int(sessions.break_end[row])
    return [(begin, end)] if pause == NO_BREAK else [(begin, pause), (resume, end)]


def hours(
    sessions: Calendar,
    zone: str,
    now: int,
    extended: tuple[timedelta, timedelta] = (timedelta(0), timedelta(0)),
) -> str:
    """Return TWS's text of the hours of the next six days: "20230103:0930-20230103:1600;20230107:CLOSED".

    zone: as TWS names it. extended: how long before the open and after the close trading goes on.
    """
    clock = ZoneInfo(zone)
    first = utc(now).astimezone(clock).date()
    parts = []
    for day in (first + timedelta(days=n) for n in range(DAYS)):
        row = int(sessions.index_of(np.array([day], dtype="datetime64[D]"))[0])
        if row < 0:
            parts.append(f"{day:%Y%m%d}:CLOSED")
            continue
        told = spans(sessions, row)
        for number, (begin, end) in enumerate(told):
            opens = utc(begin) - (extended[0] if number == 0 else timedelta(0))
            closes = utc(end) + (extended[1] if number == len(told) - 1 else timedelta(0))
            parts.append(f"{opens.astimezone(clock):%Y%m%d:%H%M}-{closes.astimezone(clock):%Y%m%d:%H%M}")
    return ";".join(parts)


def in_zone(moment: int, zone: str) -> str:
    """Return "20230103 09:30:00 US/Eastern"."""
    return f"{utc(moment).astimezone(ZoneInfo(zone)):%Y%m%d %H:%M:%S} {zone}"


def date_text(day: np.datetime64) -> str:
    """Return "20230103"."""
    return str(day.astype("datetime64[D]")).replace("-", "")
