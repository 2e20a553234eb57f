"""What the live broker reads of a feed: its instrument, the END of its newest bar, and whether it is live.

A feed here is a backtrader feed over `bars` (quant.core Bars, with the instrument), or a clone or resampled form of
one. Its datetime line shows END on the exchange's clock, as quant.backtest.feed writes it.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import backtrader as bt
import numpy as np

from quant.core.barsize import DAY, MINUTE, SECOND, BarSize
from quant.core.calendar import NO_BREAK, Calendar, calendar
from quant.core.instrument import Instrument
from quant.core.zones import from_local
from quant.errors import ParameterError
from quant.live.orders.auctions import opening

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # of a wall clock
_UTC_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {
    bt.TimeFrame.Seconds: SECOND,
    bt.TimeFrame.Minutes: MINUTE,
    bt.TimeFrame.Days: DAY,
    bt.TimeFrame.Weeks: 7 * DAY,
    bt.TimeFrame.Months: 31 * DAY,
}


def root(data: Any) -> Any:
    """Return the feed that a clone stands for, else the feed itself."""
    while getattr(data, "_clone", False):
        data = data.data
    return data


def instrument_of(data: Any) -> Instrument:
    """Return what a feed is of. Raises ParameterError for a feed that orders cannot be sent for."""
    bars = getattr(root(data), "bars", None)
    found: Instrument | None = getattr(bars, "instrument", None)
    if found is None or found.con_id is None:
        name = getattr(data, "_name", "") or type(data).__name__
        reason = (
            "its contract at IB is not known, so it cannot be traded; take feeds from the store's `data(...)`"
        )
        raise ParameterError("data", name, reason)
    return found


def con_id_of(data: Any) -> int:
    """Return the contract id of a feed's instrument, 0 for a feed that only informs."""
    instrument = getattr(getattr(root(data), "bars", None), "instrument", None)
    return 0 if instrument is None or instrument.con_id is None else int(instrument.con_id)


def is_live(data: Any) -> bool:
    """Return whether the last bar came as it closed, with none behind it; else nothing may be sent."""
    feed = root(data)
    newest = getattr(feed, "is_newest", None)  # LiveFeed's; its status may have changed since the bar
    if newest is not None:
        return bool(newest)
    return bool(not feed.islive() or feed._laststatus == feed.LIVE)


def is_loading(data: Any) -> bool:
    """Return whether a feed is about to deliver a bar: backtrader has made room for it, and it is not there yet."""
    return math.isnan(data.datetime[0])


def end_of(data: Any) -> int:
    """Return the END of the newest bar, UTC ns."""
    feed, count = root(data), len(data)
    bars = feed.bars
    if data is feed and not feed._filters and 0 < count <= len(bars):
        return int(bars.end[count - 1])
    return moment(data, data.datetime[0])


def length_of(data: Any) -> int:
    """Return the nominal length of a feed's bars in ns."""
    return int(_UNITS.get(data._timeframe, DAY) * data._compression)


def moment(data: Any, number: float) -> int:
    """Return the UTC ns of one of backtrader's date numbers on the feed's clock."""
    wall = (bt.num2date(number) - _EPOCH) // timedelta(microseconds=1) * 1000
    return int(from_local(np.array([wall], dtype=np.int64), instrument_of(data).timezone)[0])


def number(data: Any, at: int) -> float:
    """Return backtrader's date number of a UTC moment on the feed's clock."""
    wall = (_UTC_EPOCH + timedelta(microseconds=at // 1000)).astimezone(
        ZoneInfo(instrument_of(data).timezone)
    )
    return float(bt.date2num(wall.replace(tzinfo=None)))


# ---------------------------------------------------------------- sessions
def calendar_at(instrument: Instrument, now: int) -> Calendar | None:
    """Return the sessions around a moment, None where the calendar is not known."""
    if instrument.calendar is None:
        return None
    return _sessions(instrument.calendar, now // DAY)


@lru_cache(maxsize=64)  # asked several times a bar
def _sessions(name: str, day: int) -> Calendar:
    """Return the sessions of a calendar around a day since 1970."""
    year = int(np.datetime64(day, "D").astype("datetime64[Y]").astype(np.int64)) + 1970
    return calendar(name, year, year)


def is_open(instrument: Instrument, now: int) -> bool:
    """Return whether a session is on; True without a calendar."""
    sessions = calendar_at(instrument, now)
    if sessions is None:
        return True
    at = int(sessions.close.searchsorted(now, side="right"))
    return at < len(sessions.close) and int(sessions.open[at]) <= now


def trades_since(instrument: Instrument, now: int) -> int | None:
    """Return since when there is trading: a session's begin, or its break's end; None while there is none.

    None also without a calendar.
    """
    sessions = calendar_at(instrument, now)
    if sessions is None or not is_open(instrument, now):
        return None
    at = int(sessions.close.searchsorted(now, side="right"))
    pause, resume = int(sessions.break_start[at]), int(sessions.break_end[at])
    if pause == NO_BREAK or now < pause:
        return int(sessions.open[at])
    return resume if now >= resume else None


def last_close(instrument: Instrument, now: int) -> int | None:
    """Return the end of the last session that is over."""
    sessions = calendar_at(instrument, now)
    if sessions is None:
        return None
    at = int(sessions.close.searchsorted(now, side="right"))
    return int(sessions.close[at - 1]) if at else None


def newest_until(instrument: Instrument, size: BarSize, end: int) -> int:
    """Return up to when a bar of that END may be acted upon: its own length, a day's until the next session is over.

    So what was decided on Friday's bar may still go out on Monday before the open.
    """
    sessions = calendar_at(instrument, end) if size.ns == DAY else None
    if sessions is None:
        return end + size.ns
    at = int(np.searchsorted(sessions.close, end, side="right"))
    return int(sessions.close[at]) if at < len(sessions.close) else end + size.ns


def cut_off(instrument: Instrument, now: int) -> int | None:
    """Return until when the next opening auction takes orders; None while a session is on, or where none is known."""
    opens = None if is_open(instrument, now) else next_open(instrument, now)
    return None if opens is None else opens - opening(instrument).entry


def next_open(instrument: Instrument, now: int) -> int | None:
    """Return the beginning of the first session that begins after `now`."""
    sessions = calendar_at(instrument, now)
    if sessions is None:
        return None
    at = int(np.searchsorted(sessions.open, now, side="right"))
    return int(sessions.open[at]) if at < len(sessions.open) else None
