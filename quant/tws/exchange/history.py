"""Answers to requests for history: bars, schedules, head timestamps, live bars. Values in IB's messages, no wire.

Assumed, for want of a real TWS: a duration in days is that many sessions, the last one being the latest that opened
before the end; weeks, months and years reach back on the calendar from that session's date, its like excluded; seconds
count trading time only. A bar belongs to the answer if it begins before the end and, with seconds, is not over when
the stretch begins. Only regular sessions are counted, whatever useRTH says. Weekly and monthly bars carry the date of
their last session. Volume, average price and count are -1 for anything but trades; the average price and count of
trades are rules of thumb, for bars at rest have none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from ibapi.protobuf.HistoricalDataBar_pb2 import HistoricalDataBar
from ibapi.protobuf.HistoricalSession_pb2 import HistoricalSession

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.calendar import Calendar, Dates
from quant.core.sessions import Floats, first_day
from quant.tws.exchange.hours import date_text, in_zone, sessions_of, spans, utc
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.path import quote
from quant.tws.exchange.refusal import HMDS, Refusal
from quant.tws.exchange.request import BarRequest, Duration
from quant.tws.exchange.shelf import base_of
from quant.tws.exchange.tape import Tape

_SERIES: Final = {
    "TRADES": "Last", "ADJUSTED_LAST": "Last", "MIDPOINT": "MidPoint", "BID": "Bid", "ASK": "Ask", "BID_ASK": "Bid",
}  # fmt: skip
_NAMES: Final = {
    "TRADES": "Trades", "ADJUSTED_LAST": "Trades", "MIDPOINT": "Midpoint", "BID": "Bid", "ASK": "Ask",
    "BID_ASK": "Bid_Ask",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a request covers: sessions first .. last; bars over by `begin` or not begun before `end` do not count."""

    first: np.datetime64
    last: np.datetime64
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class BarAnswer:
    """start, end: the covered time as TWS tells it."""

    bars: tuple[HistoricalDataBar, ...]
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class ScheduleAnswer:
    """Sessions of a SCHEDULE request; times in the exchange's zone."""

    sessions: tuple[HistoricalSession, ...]
    start: str
    end: str
    zone: str


class History:
    """Answers from a tape. zone: in which intraday times are told; None = that of the exchange."""

    def __init__(self, tape: Tape, zone: str | None = None) -> None:
        self._tape = tape
        self._zone = zone

    def bars(self, listing: Listing, request: BarRequest, exchange: str, now: int) -> BarAnswer | Refusal:
        """Return the bars that `request` asks for, as known at `now` (UTC ns); exchange: as the client named it."""
        refused = not_served(listing, request.what, _step(request), exchange)
        if refused is not None:
            return refused
        found = self._bars(listing, request, now)
        if found is None or not len(found):
            name = f"{listing.local}@{exchange or listing.exchanges[0]} {_NAMES[request.what]}"
            return Refusal(162, f"{HMDS}HMDS query returned no data: {name}")
        start, end = self._told(listing, request, now)
        return BarAnswer(tuple(self._message(listing, found, request)), start, end)

    def latest(self, listing: Listing, request: BarRequest, now: int) -> HistoricalDataBar | None:
        """Return the bar that keepUpToDate tells at `now`: the newest one, finished or not; None before the first."""
        found = self._bars(listing, replace(request, duration=Duration(1, "D"), end=None), now)
        return (
            None
            if found is None or not len(found)
            else self._message(listing, found[len(found) - 1 :], request)[0]
        )

    def schedule(self, listing: Listing, request: BarRequest, now: int) -> ScheduleAnswer | Refusal:
        """Return the sessions that `request` covers."""
        stretch, sessions = _stretch(listing, request, now)
        if stretch is None:
            return Refusal(162, f"{HMDS}HMDS query returned no data: {listing.local} Schedule")
        rows = np.flatnonzero((sessions.dates >= stretch.first) & (sessions.dates <= stretch.last))
        zone = ZoneInfo(listing.zone)

        def text(moment: int) -> str:
            return f"{utc(moment).astimezone(zone):%Y%m%d-%H:%M:%S}"

        found = tuple(
            HistoricalSession(
                startDateTime=text(int(sessions.open[r])), endDateTime=text(int(sessions.close[r])),
                refDate=date_text(sessions.dates[r]),
            )
            for r in rows
        )  # fmt: skip
        return ScheduleAnswer(found, found[0].startDateTime, found[-1].endDateTime, listing.zone)

    def head(self, listing: Listing, what: str, rth: bool, exchange: str) -> int | Refusal:
        """Return when the first bar of a listing begins, UTC ns."""
        refused = not_served(listing, what, "0", exchange)
        if refused is not None:
            return refused
        source = self._tape.what(listing, what)
        series = [held.load()[:1] for held in self._tape.series(listing) if held.what == source]
        begins = [int(bars.times.begin[0]) for bars in series if len(bars)]
        if not begins:
            return Refusal(162, f"{HMDS}No head time stamp")
        return min(begins)

    def live_bar(self, listing: Listing, what: str, end: int) -> LiveBar | None:
        """Return the 5-second bar that is over at `end` (UTC ns), None where nothing traded."""
        ticks = self._tape.ticks(listing, end - 5 * SECOND, end)
        if not len(ticks):
            return None
        prices = {
            "open": float(ticks.price[0]), "high": float(np.max(ticks.price)), "low": float(np.min(ticks.price)),
            "close": float(ticks.price[-1]),
        }  # fmt: skip
        shown = {
            name: _shown(listing, what, base_of(listing), np.array([p])).item() for name, p in prices.items()
        }
        volume = float(np.sum(ticks.size))
        if what != "TRADES" or base_of(listing) != "TRADES":
            return LiveBar(end - 5 * SECOND, **shown, volume=-1.0, wap=-1.0, trades=-1)
        wap = float(np.sum(ticks.price * ticks.size)) / volume if volume > 0.0 else shown["close"]
        return LiveBar(
            end - 5 * SECOND, **shown, volume=volume, wap=wap, trades=int(np.sum(ticks.size > 0.0))
        )

    # ------------------------------------------------------------ parts
    def _bars(self, listing: Listing, request: BarRequest, now: int) -> Bars | None:
        stretch, _ = _stretch(listing, request, now)
        if stretch is None:
            return None
        rth = request.rth or listing.sec_type in (
            "CASH",
            "IND",
        )  # IB asks for regular hours of these in any case
        source = self._tape.what(listing, request.what)
        found = self._tape.bars(listing, request.size, source, rth, stretch.first, stretch.last, now)
        if not len(found):
            return found
        begun = int(np.searchsorted(found.times.begin, stretch.end))
        gone = int(np.searchsorted(found.end, stretch.begin, side="right")) if stretch.begin else 0
        return found[gone : max(begun, gone)]

    def _told(self, listing: Listing, request: BarRequest, now: int) -> tuple[str, str]:
        end = now if request.end is None else request.end
        zone = self._zone or listing.zone
        start = request.duration.before(utc(end).astimezone(ZoneInfo(zone)))
        return f"{start:%Y%m%d %H:%M:%S} {zone}", in_zone(end, zone)

    def _message(self, listing: Listing, bars: Bars, request: BarRequest) -> list[HistoricalDataBar]:
        dates = self._dates(listing, bars, request.format_date)
        source = bars.what
        shown = {
            n: _shown(listing, request.what, source, getattr(bars, n), n)
            for n in ("open", "high", "low", "close")
        }
        if request.what == "BID_ASK":  # IB: open and close are the time averages of bid and ask
            middle = (bars.high + bars.low) / 2.0
            shown["open"] = np.minimum(_shown(listing, "BID", source, middle), shown["high"])
            shown["close"] = np.maximum(_shown(listing, "ASK", source, middle), shown["low"])
        columns = [shown[n].tolist() for n in ("open", "high", "low", "close")]
        if request.what not in ("TRADES", "ADJUSTED_LAST"):
            return [
                HistoricalDataBar(
                    date=date, open=o, high=h, low=low, close=c, volume="-1", WAP="-1", barCount=-1
                )
                for date, o, h, low, c in zip(dates, *columns, strict=True)
            ]  # fmt: skip
        return [
            HistoricalDataBar(
                date=date, open=o, high=h, low=low, close=c, volume=number(v),
                WAP=number(round((h + low + c) / 3.0, 6)), barCount=1 + int(v // 100.0),
            )
            for date, o, h, low, c, v in zip(dates, *columns, bars.volume.tolist(), strict=True)
        ]  # fmt: skip

    def _dates(self, listing: Listing, bars: Bars, format_date: int) -> list[str]:
        if not bars.bar.intraday:
            return [date_text(d) for d in _last_sessions(bars)]
        if format_date == 2:
            return [str(ns // SECOND) for ns in bars.start.tolist()]
        name = self._zone or listing.zone
        zone = ZoneInfo(name)
        return [
            f"{datetime.fromtimestamp(ns // SECOND, zone):%Y%m%d %H:%M:%S} {name}"
            for ns in bars.start.tolist()
        ]


class LiveBar(NamedTuple):
    """A 5-second bar. start: UTC ns. volume, wap, trades (how many): -1 for anything but TRADES."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    wap: float
    trades: int


def not_served(listing: Listing, what: str, step: str, exchange: str) -> Refusal | None:
    """Return IB's refusal of a kind of data that a listing does not have: currencies no trades, indices only these."""
    only_trades = listing.sec_type == "IND" and what not in ("TRADES", "SCHEDULE")
    no_trades = listing.sec_type == "CASH" and what in ("TRADES", "ADJUSTED_LAST")
    if not (only_trades or no_trades):
        return None
    farm = "FXSUBPIP" if listing.sec_type == "CASH" else exchange or listing.exchanges[0]
    told = f"{listing.symbol}/{listing.sec_type}@{farm} {_SERIES[what]} {step}"
    return Refusal(162, f"{HMDS}No historical market data for {told}")


def number(value: float) -> str:
    """Return a quantity as TWS writes it: whole numbers without a point."""
    whole = int(value)
    return str(whole) if value == whole else repr(value)


def _step(request: BarRequest) -> str:
    return str(request.size.ns // SECOND) if request.size.intraday else f"1{request.size.unit[0]}"


def _shown(listing: Listing, what: str, source: str, prices: Floats, column: str = "close") -> Floats:
    """Return prices of `source` (the whatToShow they are of) as `what` shows them."""
    if what in (source, "ADJUSTED_LAST", "TRADES"):
        return prices
    if what == "BID_ASK":
        what = "ASK" if column == "high" else "BID"
    different, which = np.unique(prices, return_inverse=True)  # bars share their prices
    quotes = [quote(price, listing.rule) for price in different.tolist()]
    found = [q.bid if what == "BID" else q.ask if what == "ASK" else q.mid for q in quotes]
    return np.array(found, dtype=np.float64)[which]


def _stretch(listing: Listing, request: BarRequest, now: int) -> tuple[Stretch | None, Calendar]:
    """Return what a request covers, None where no session has opened by its end; and the sessions around."""
    # What begins at this very moment has begun: its first tick is there.
    end = now + 1 if request.end is None else min(request.end, now + 1)
    moment = utc(end)
    first_year = max(request.duration.before(moment).year, 1700)
    sessions = sessions_of(listing.calendar, first_year, moment.year)
    # Seconds may reach far back over holidays, but never a year.
    last = int(np.searchsorted(sessions.open, end)) - 1
    if last < 0:
        return None, sessions
    begin = 0
    count, unit = request.duration.count, request.duration.unit
    if unit == "S":
        row, begin = _seconds_back(sessions, last, end, count * SECOND)
    elif unit == "D":
        row = max(last - count + 1, 0)
    else:
        day = datetime.fromisoformat(str(sessions.dates[last]))
        edge = np.datetime64(request.duration.before(day).date(), "D")
        row = int(np.searchsorted(sessions.dates, edge, side="right"))
    first = first_day(sessions.dates[row : row + 1], request.size.unit)[0]
    return Stretch(first, sessions.dates[last], begin, end), sessions


def _seconds_back(sessions: Calendar, row: int, end: int, left: int) -> tuple[int, int]:
    """Return the session and the moment that lie `left` ns of trading time before `end`."""
    while row >= 0:
        for begin, over in reversed(spans(sessions, row)):
            if begin >= end:
                continue
            held = min(over, end) - begin
            if held >= left:
                return row, min(over, end) - left
            left -= held
        row -= 1
    return 0, int(sessions.open[0])


def _last_sessions(bars: Bars) -> Dates:
    """Return the date that TWS gives each bar of a day or longer: that of its last session."""
    if bars.bar.unit == "d" or bars.calendar is None:
        return bars.session
    row = np.searchsorted(bars.calendar.close, bars.end, side="right") - 1
    found: Dates = np.maximum(bars.calendar.dates[np.maximum(row, 0)], bars.session)
    return found
