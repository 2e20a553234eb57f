"""From when to when: what a person writes, and what is left open, as places on the axis of a series. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np

from quant.core.barsize import HOUR, MINUTE, BarSize
from quant.core.zones import to_local
from quant.errors import ParameterError
from quant.ib.download.cells import Cells
from quant.store.query import Moment, parse

FURTHEST_ZONE: Final = timedelta(hours=14)  # no clock is further ahead of UTC


def check_range(start: Moment, end: Moment, now: datetime | None = None) -> None:
    """Raise ParameterError for a range that no bars can fill: it ends before it begins, or lies in the future."""
    first, last = parse("start", start), parse("end", end)
    if first is not None and last is not None and _latest(last) <= earliest(first):
        raise ParameterError("end", str(end), f"lies before start = {start}")
    if now is None:
        return
    for name, value in (("start", first), ("end", last)):
        if value is not None and earliest(value) > now + FURTHEST_ZONE * (not _exact(value)):
            told = f"lies in the future; TWS says that it is {now:%Y-%m-%d %H:%M} UTC"
            raise ParameterError(
                name, str(value), told + ("" if name == "start" else ". Leave it out for all until now")
            )


def _exact(value: date | datetime) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None


def earliest(value: date | datetime) -> datetime:
    """Return a moment, or the midnight of a date, UTC where no zone is said."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return datetime(value.year, value.month, value.day, tzinfo=UTC)


def _latest(value: date | datetime) -> datetime:
    return earliest(value) if isinstance(value, datetime) else earliest(value) + timedelta(days=1)


def begin(
    bar: BarSize,
    zone: str,
    goal: int | None,
    first: date | datetime | None,
    head: datetime | None,
    now: datetime,
) -> tuple[int | date, str]:
    """Return from where on bars are wanted, on the axis or as a date or moment, and why.

    goal: from where on they were wanted so far, None if nothing is held. first: as the person has it. head: from when
    on IB has data, if that is known. Nothing older than that is wanted.
    """
    if first is None and goal is not None:
        return goal, "what is held goes on"
    oldest = None if head is None else day_of(int(to_local(np.array([ns_of(head)]), zone)[0]))
    told = "" if oldest is None else f"IB has data since {oldest}"
    if first is not None:
        return (
            (oldest, told) if oldest is not None and oldest > plain_day(first) else (first, f"from {first}")
        )
    if bar.ns >= HOUR and oldest is not None:
        return oldest, f"all: {told}"
    length, days = ("the last year", 365) if bar.ns >= MINUTE else ("the last 5 sessions", 21)
    since = (now - timedelta(days=days)).date()
    return (since, length) if oldest is None or oldest <= since else (oldest, told)


def place(rows: Cells, value: date | datetime, *, end: bool) -> int:
    """Return where a range begins, or ends, on the axis: a date is its whole session."""
    if isinstance(value, datetime):
        return rows.at(value)
    return rows.upto_day(value) if end else rows.from_day(value)


def plain_day(value: date | datetime) -> date:
    """Return the date of a date or moment."""
    return value.date() if isinstance(value, datetime) else value


def day_of(ns: int) -> date:
    """Return the date in UTC of UTC ns."""
    found: date = np.datetime64(ns, "ns").astype("datetime64[D]").item()
    return found


def ns_of(moment: datetime) -> int:
    """Return a moment as UTC ns."""
    return int(np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns").astype(np.int64))
