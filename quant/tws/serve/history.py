"""Requests for bars: history with its updates, schedules, head time stamps, real-time bars.

Assumed, for want of a real TWS: bars that are kept up to date are told every five seconds while the market is open,
the last time with their final values; a history request that is answered cannot be cancelled any more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from ibapi.protobuf.CancelHeadTimestamp_pb2 import CancelHeadTimestamp
from ibapi.protobuf.CancelHistoricalData_pb2 import CancelHistoricalData
from ibapi.protobuf.CancelRealTimeBars_pb2 import CancelRealTimeBars
from ibapi.protobuf.HeadTimestamp_pb2 import HeadTimestamp
from ibapi.protobuf.HeadTimestampRequest_pb2 import HeadTimestampRequest
from ibapi.protobuf.HistoricalData_pb2 import HistoricalData
from ibapi.protobuf.HistoricalDataEnd_pb2 import HistoricalDataEnd
from ibapi.protobuf.HistoricalDataRequest_pb2 import HistoricalDataRequest
from ibapi.protobuf.HistoricalDataUpdate_pb2 import HistoricalDataUpdate
from ibapi.protobuf.HistoricalSchedule_pb2 import HistoricalSchedule
from ibapi.protobuf.RealTimeBarsRequest_pb2 import RealTimeBarsRequest
from ibapi.protobuf.RealTimeBarTick_pb2 import RealTimeBarTick

from quant.core.barsize import SECOND
from quant.tws.client import Client
from quant.tws.exchange.history import not_served, number
from quant.tws.exchange.hours import utc
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.quotes import is_open
from quant.tws.exchange.refusal import HMDS, Refusal, invalid
from quant.tws.exchange.request import BarRequest, parse
from quant.tws.limits import Asked
from quant.tws.program import Tws

FIVE: Final = 5 * SECOND
LIVE, HISTORY, REAL_TIME = "live history", "history", "real-time bars"  # kinds of timers


def historical_data(tws: Tws, client: Client, request: HistoricalDataRequest, now: int) -> None:
    """Answer reqHistoricalData, at once or when the data farm is through with it."""
    number_, listing = request.reqId, tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(number_, listing, now)
        return
    wanted = parse(request, now, tws.zone)
    if isinstance(wanted, Refusal):
        client.error(number_, wanted, now)
        return
    refused = tws.open_history.open(client.own_id, number_)
    if refused is None:
        refused = tws.pacing.ask(_asked(request, listing, wanted), now)
        if refused is not None:
            tws.open_history.close(client.own_id, number_)
    if refused is not None:
        client.error(number_, refused, now)
        return
    if wanted.warning is not None:
        client.error(number_, wanted.warning, now)

    def answer(at: int) -> None:
        client.timers.pop((HISTORY, number_), None)
        _answer(tws, client, request, listing, wanted, at)

    if tws.history_ns == 0:
        answer(now)
    else:
        tws.repeat(client, HISTORY, number_, now + tws.history_ns, answer)


def _asked(request: HistoricalDataRequest, listing: Listing, wanted: BarRequest) -> Asked:
    rest = f"{request.endDateTime} {request.duration} {wanted.rth} {wanted.format_date} {wanted.live}"
    return Asked(listing.con_id, request.contract.exchange, wanted.what, wanted.size, rest)


def _answer(
    tws: Tws, client: Client, request: HistoricalDataRequest, listing: Listing, wanted: BarRequest, now: int
) -> None:
    number_, exchange = request.reqId, request.contract.exchange
    if wanted.what == "SCHEDULE":
        sessions = tws.history.schedule(listing, wanted, now)
        tws.open_history.close(client.own_id, number_)
        if isinstance(sessions, Refusal):
            client.error(number_, sessions, now)
            return
        client.say(
            HistoricalSchedule(
                reqId=number_, startDateTime=sessions.start, endDateTime=sessions.end, timeZone=sessions.zone,
                historicalSessions=sessions.sessions,
            )
        )  # fmt: skip
        return
    found = tws.history.bars(listing, wanted, exchange, now)
    if isinstance(found, Refusal):
        tws.open_history.close(client.own_id, number_)
        client.error(number_, found, now)
        return
    client.say(
        HistoricalData(reqId=number_, historicalDataBars=found.bars),
        HistoricalDataEnd(reqId=number_, startDateStr=found.start, endDateStr=found.end),
    )
    if wanted.live:
        _keep_up(tws, client, number_, listing, wanted, found.bars[-1], now)
    else:
        tws.open_history.close(client.own_id, number_)


def _keep_up(
    tws: Tws, client: Client, number_: int, listing: Listing, wanted: BarRequest, told: Any, now: int
) -> None:
    """Tell the newest bar at each fifth second from now on; told: the one that the client has."""
    held = [told]
    plain = replace(wanted, live=False)

    def update(at: int) -> None:
        # A moment before: the bar that ends now, with all that was in it; now: the one that has just begun.
        for moment in (at - 1, at):
            bar = tws.history.latest(listing, plain, moment)
            if bar is not None and bar != held[0]:
                held[0] = bar
                client.say(HistoricalDataUpdate(reqId=number_, historicalDataBar=bar))
        tws.repeat(client, LIVE, number_, next_five(tws, listing, at), update)

    tws.repeat(client, LIVE, number_, next_five(tws, listing, now), update)


def next_five(tws: Tws, listing: Listing, now: int) -> int | None:
    """Return the end of the next five whole seconds of trading after `now`; None if it never trades again."""
    end = (now // FIVE + 1) * FIVE
    if is_open(listing, end - FIVE):
        return end
    opens = tws.sessions.next_look(listing, end - FIVE)
    return None if opens is None else (opens // FIVE + 1) * FIVE


def cancel_historical_data(tws: Tws, client: Client, request: CancelHistoricalData, now: int) -> None:
    """Answer cancelHistoricalData."""
    number_ = request.reqId
    for kind in (HISTORY, LIVE):
        tws.stop(client, kind, number_)
    if tws.open_history.close(client.own_id, number_):
        refusal = Refusal(162, f"{HMDS}API historical data query cancelled: {number_}")
    else:
        refusal = Refusal(366, f"No historical data query found for ticker id:{number_}")
    client.error(number_, refusal, now)


def head_timestamp(tws: Tws, client: Client, request: HeadTimestampRequest, now: int) -> None:
    """Answer reqHeadTimeStamp: UTC, or seconds since 1970 with formatDate 2."""
    listing = tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(request.reqId, listing, now)
        return
    what = request.whatToShow.upper()
    if what not in ("TRADES", "MIDPOINT", "BID", "ASK", "BID_ASK", "ADJUSTED_LAST"):
        client.error(request.reqId, invalid(f"What to show value of {request.whatToShow} rejected."), now)
        return
    found = tws.history.head(listing, what, request.useRTH, request.contract.exchange)
    if isinstance(found, Refusal):
        client.error(request.reqId, found, now)
        return
    text = str(found // SECOND) if request.formatDate == 2 else f"{utc(found):%Y%m%d-%H:%M:%S}"
    client.say(HeadTimestamp(reqId=request.reqId, headTimestamp=text))


def cancel_head_timestamp(tws: Tws, client: Client, request: CancelHeadTimestamp, now: int) -> None:
    """Take cancelHeadTimeStamp, which clients send after the answer too; there is nothing left to cancel."""


# ---------------------------------------------------------------- real-time bars
def real_time_bars(tws: Tws, client: Client, request: RealTimeBarsRequest, now: int) -> None:
    """Answer reqRealTimeBars: a bar for each five seconds in which there were ticks."""
    number_, listing = request.reqId, tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(number_, listing, now)
        return
    refused = _not_live(tws, client, request, listing, now)
    if refused is not None:
        client.error(number_, refused, now)
        return
    what = request.whatToShow.upper()

    def tell(at: int) -> None:
        bar = tws.history.live_bar(listing, what, at)
        if bar is not None:
            client.say(
                RealTimeBarTick(
                    reqId=number_, time=bar.start // SECOND, open=bar.open, high=bar.high, low=bar.low,
                    close=bar.close, volume=number(bar.volume), WAP=number(bar.wap), count=bar.trades,
                )
            )  # fmt: skip
        tws.repeat(client, REAL_TIME, number_, next_five(tws, listing, at), tell)

    tws.repeat(client, REAL_TIME, number_, next_five(tws, listing, now), tell)


def _not_live(
    tws: Tws, client: Client, request: RealTimeBarsRequest, listing: Listing, now: int
) -> Refusal | None:
    what = request.whatToShow.upper()
    if request.barSize not in (0, 5):
        return invalid("Real time bars: only bars of 5 secs are supported")
    if what not in ("TRADES", "MIDPOINT", "BID", "ASK"):
        return invalid(f"What to show value of {request.whatToShow} rejected.")
    refused = not_served(listing, what, "5", request.contract.exchange)
    if refused is not None:
        return Refusal(420, f"Invalid Real-time Query:{refused.text.removeprefix(HMDS)}")
    refused = tws.tickers.open(client.own_id, request.reqId)
    if refused is None:
        rest = f"{request.useRTH}"
        refused = tws.pacing.ask(Asked(listing.con_id, request.contract.exchange, what, None, rest), now)
        if refused is not None:
            tws.tickers.close(client.own_id, request.reqId)
    return refused


def cancel_real_time_bars(tws: Tws, client: Client, request: CancelRealTimeBars, now: int) -> None:
    """Take cancelRealTimeBars; unknown ones are an error."""
    if (REAL_TIME, request.reqId) not in client.timers:
        client.error(request.reqId, Refusal(300, f"Can't find EId with tickerId:{request.reqId}"), now)
        return
    tws.stop(client, REAL_TIME, request.reqId)
    tws.tickers.close(client.own_id, request.reqId)
