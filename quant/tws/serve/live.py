"""Requests for live data: market data lines and tick-by-tick. Both look at the synthetic path once a second.

Served: bid, ask and last with their sizes, the day's open, high, low, volume, the close before. Generic ticks of a
request's list are never sent, as TWS sends none that it does not have.
"""

from __future__ import annotations

from typing import Any, Final

from ibapi.protobuf.CancelMarketData_pb2 import CancelMarketData
from ibapi.protobuf.CancelTickByTick_pb2 import CancelTickByTick
from ibapi.protobuf.HistoricalTick_pb2 import HistoricalTick
from ibapi.protobuf.HistoricalTickBidAsk_pb2 import HistoricalTickBidAsk
from ibapi.protobuf.HistoricalTickLast_pb2 import HistoricalTickLast
from ibapi.protobuf.MarketDataRequest_pb2 import MarketDataRequest
from ibapi.protobuf.MarketDataType_pb2 import MarketDataType
from ibapi.protobuf.MarketDataTypeRequest_pb2 import MarketDataTypeRequest
from ibapi.protobuf.TickAttribBidAsk_pb2 import TickAttribBidAsk
from ibapi.protobuf.TickAttribLast_pb2 import TickAttribLast
from ibapi.protobuf.TickByTickData_pb2 import TickByTickData
from ibapi.protobuf.TickByTickRequest_pb2 import TickByTickRequest
from ibapi.protobuf.TickPrice_pb2 import TickPrice
from ibapi.protobuf.TickReqParams_pb2 import TickReqParams
from ibapi.protobuf.TickSize_pb2 import TickSize
from ibapi.protobuf.TickSnapshotEnd_pb2 import TickSnapshotEnd
from ibapi.protobuf.TickString_pb2 import TickString
from ibapi.ticktype import TickTypeEnum

from quant.core.barsize import SECOND
from quant.tws.client import NO_REQUEST, Client
from quant.tws.exchange.history import number
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.quotes import Day, Mark, day, marks
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.program import Tws

LINE, TICKS = "market data", "tick by tick"  # kinds of timers
REAL_TIME: Final = 1  # the kind of data that is told, whatever reqMarketDataType allows beside it
_BY_TICK: Final = {"Last": 1, "AllLast": 2, "BidAsk": 3, "MidPoint": 4}
_NO_SIZE: Final = "0"


def market_data(tws: Tws, client: Client, request: MarketDataRequest, now: int) -> None:
    """Answer reqMktData."""
    number_, listing = request.reqId, tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(number_, listing, now)
        return
    if request.regulatorySnapshot:
        client.error(number_, invalid("regulatory snapshots are not simulated"), now)
        return
    refused = tws.tickers.open(client.own_id, number_)
    if refused is not None:
        client.error(number_, refused, now)
        return
    client.say(
        MarketDataType(reqId=number_, marketDataType=REAL_TIME),
        TickReqParams(reqId=number_, minTick=listing.rule.least, bboExchange="", snapshotPermissions=3),
    )
    told: dict[tuple[str, int], Any] = {}

    def tell(at: int) -> None:
        found = day(tws.tape, listing, at)
        for message in _ticks(number_, listing, found):
            key = (type(message).__name__, message.tickType)
            if told.get(key) != message:  # TWS tells what changed
                told[key] = message
                client.say(message)
        if not request.snapshot:
            tws.repeat(client, LINE, number_, tws.sessions.next_look(listing, at), tell)

    tell(now)
    if request.snapshot:
        tws.tickers.close(client.own_id, number_)
        client.say(TickSnapshotEnd(reqId=number_))


def _ticks(number_: int, listing: Listing, found: Day | None) -> list[Any]:
    """Return the day so far as ticks; without a quote (-1) while the market is closed, as TWS tells it."""
    if found is None:
        return []

    def price(kind: int, value: float, size: float = 0.0) -> TickPrice:
        return TickPrice(
            reqId=number_, tickType=kind, price=value, size=number(size) if size else _NO_SIZE, attrMask=0
        )

    out: list[Any] = []
    if listing.trades:
        bid, ask, size = (-1.0, -1.0, 0.0)
        if found.quote is not None:
            bid, ask, size = found.quote.bid, found.quote.ask, found.quote.size
        out += [price(TickTypeEnum.BID, bid, size), price(TickTypeEnum.ASK, ask, size)]
    if listing.sec_type != "CASH":
        at = TickString(reqId=number_, tickType=TickTypeEnum.LAST_TIMESTAMP, value=str(found.time // SECOND))
        out += [price(TickTypeEnum.LAST, found.last), at, price(TickTypeEnum.OPEN, found.open)]
    out += [price(TickTypeEnum.HIGH, found.high), price(TickTypeEnum.LOW, found.low)]
    if found.before is not None:
        out.append(price(TickTypeEnum.CLOSE, found.before))
    if found.volume > 0.0:
        size_told = number(float(int(found.volume)))
        out.append(TickSize(reqId=number_, tickType=TickTypeEnum.VOLUME, size=size_told))
    return out


def cancel_market_data(tws: Tws, client: Client, request: CancelMarketData, now: int) -> None:
    """Take cancelMktData; unknown ones are an error."""
    _cancel(tws, client, LINE, request.reqId, now)


def market_data_type(tws: Tws, client: Client, request: MarketDataTypeRequest, now: int) -> None:
    """Take reqMarketDataType: here all data is live, and each market data line says so."""
    if request.marketDataType not in (1, 2, 3, 4):
        client.error(NO_REQUEST, invalid(f"Invalid market data type {request.marketDataType}"), now)


# ---------------------------------------------------------------- tick by tick
def tick_by_tick(tws: Tws, client: Client, request: TickByTickRequest, now: int) -> None:
    """Answer reqTickByTickData: every tick of the path from now on, told at the next second."""
    number_, listing = request.reqId, tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(number_, listing, now)
        return
    kind = _BY_TICK.get(request.tickType)
    if kind is None:
        client.error(number_, invalid(f"Invalid tick type {request.tickType}"), now)
        return
    if request.numberOfTicks:
        client.error(number_, invalid("tick-by-tick with ticks of the past is not simulated"), now)
        return
    if (kind <= 2 and listing.sec_type == "CASH") or (kind > 2 and not listing.trades):
        text = f"Failed to request tick-by-tick data:No {request.tickType} ticks of {listing.local}"
        client.error(number_, Refusal(10189, text), now)
        return
    refused = tws.tick_by_tick.open(client.own_id, number_)
    if refused is not None:
        client.error(number_, refused, now)
        return
    seen = [now]

    def tell(at: int) -> None:
        found = marks(tws.tape, listing, seen[0], at)
        seen[0] = at
        client.say(*(_tick(number_, kind, mark, listing) for mark in found if kind > 2 or mark.size > 0.0))
        tws.repeat(client, TICKS, number_, tws.sessions.next_look(listing, at), tell)

    tws.repeat(client, TICKS, number_, tws.sessions.next_look(listing, now), tell)


def _tick(number_: int, kind: int, mark: Mark, listing: Listing) -> TickByTickData:
    time, at = mark.time // SECOND, mark.quote
    if kind <= 2:
        last = HistoricalTickLast(
            time=time, tickAttribLast=TickAttribLast(pastLimit=False, unreported=False), price=mark.price,
            size=number(mark.size), exchange=listing.exchange, specialConditions="",
        )  # fmt: skip
        return TickByTickData(reqId=number_, tickType=kind, historicalTickLast=last)
    if kind == 3:
        size, attributes = number(at.size), TickAttribBidAsk(bidPastLow=False, askPastHigh=False)
        both = HistoricalTickBidAsk(
            time=time,
            tickAttribBidAsk=attributes,
            priceBid=at.bid,
            priceAsk=at.ask,
            sizeBid=size,
            sizeAsk=size,
        )
        return TickByTickData(reqId=number_, tickType=kind, historicalTickBidAsk=both)
    mid = HistoricalTick(time=time, price=at.mid, size=_NO_SIZE)
    return TickByTickData(reqId=number_, tickType=kind, historicalTickMidPoint=mid)


def cancel_tick_by_tick(tws: Tws, client: Client, request: CancelTickByTick, now: int) -> None:
    """Take cancelTickByTickData; unknown ones are an error."""
    _cancel(tws, client, TICKS, request.reqId, now)


def _cancel(tws: Tws, client: Client, kind: str, number_: int, now: int) -> None:
    if (kind, number_) not in client.timers:
        client.error(number_, Refusal(300, f"Can't find EId with tickerId:{number_}"), now)
        return
    tws.stop(client, kind, number_)
    (tws.tickers if kind == LINE else tws.tick_by_tick).close(client.own_id, number_)
