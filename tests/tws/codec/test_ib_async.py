"""ib_async 2.1, which shares no code with ibapi: its own decoder and encoder at version 178, its highest."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from ibapi_requests import bag, contract, hedged, legs_asked, orders
from wire_peers import as_text_carries, filled, names, payloads, sent_by_ibapi

from quant.tws.codec import ANSWERS, Codec, Malformed, Unknown, message_class

ib_async = pytest.importorskip("ib_async", reason="ib_async is not installed (pip install -e .[dev])")
VERSION = 178


class Wrapper:
    """Keeps each callback."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.ib = SimpleNamespace(TimezoneTWS="UTC")
        self.defaultTimezone = UTC

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, args))


def told(name: str, /, **values: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Return what ib_async makes of the codec's answer."""
    return read_by_ib_async(Codec(VERSION).encode(message_class(name)(**values)))


def read_by_ib_async(frames: tuple[bytes, ...]) -> list[tuple[str, tuple[Any, ...]]]:
    wrapper = Wrapper()
    reader = ib_async.decoder.Decoder(wrapper, VERSION)
    for payload in payloads(frames):
        *fields, last = payload.decode().split("\0")
        assert last == ""
        # not interpret(), which logs what it cannot read and goes on
        reader.handlers[int(fields[0])](fields)
    return wrapper.calls


STOCK = dict(conId=265598, symbol="AAPL", secType="STK", exchange="SMART", currency="USD", localSymbol="AAPL")
STOCK_READ = ib_async.Contract(**STOCK)


def test_the_answers_of_the_start() -> None:
    assert told("NextValidId", orderId=7) == [("nextValidId", (7,))]
    assert told("ManagedAccounts", accountsList="DU1,DU2") == [("managedAccounts", ("DU1,DU2",))]
    assert told("CurrentTime", currentTime=1783330200) == [("currentTime", (1783330200,))]
    error = dict(id=-1, errorCode=2104, errorMsg="Market data farm connection is OK:usfarm")
    assert told("ErrorMessage", **error) == [("error", (-1, 2104, error["errorMsg"], ""))]
    assert told("OpenOrdersEnd") == [("openOrderEnd", ())]
    assert told("CompletedOrdersEnd") == [("completedOrdersEnd", ())]
    assert told("PositionEnd") == [("positionEnd", ())]
    assert told("ExecutionDetailsEnd", reqId=4) == [("execDetailsEnd", (4,))]
    assert told("AccountDataEnd", accountName="DU1") == [("accountDownloadEnd", ("DU1",))]
    assert told("AccountUpdateMultiEnd", reqId=4) == [("accountUpdateMultiEnd", (4,))]


def test_account_and_positions() -> None:
    value = dict(key="NetLiquidation", value="1000.00", currency="USD")
    assert told("AccountValue", accountName="DU1", **value) == [
        ("updateAccountValue", ("NetLiquidation", "1000.00", "USD", "DU1"))
    ]
    many = told("AccountUpdateMulti", reqId=3, account="DU1", modelCode="m", **value)
    assert many == [("accountUpdateMulti", (3, "DU1", "m", "NetLiquidation", "1000.00", "USD"))]
    summary = dict(account="DU1", tag="BuyingPower", value="5", currency="USD")
    assert told("AccountSummary", reqId=3, **summary) == [("accountSummary", (3, *summary.values()))]
    position = dict(account="DU1", contract=STOCK, position="-12.5", avgCost=101.25)
    assert told("Position", **position) == [("position", ("DU1", STOCK_READ, -12.5, 101.25))]
    assert told("PositionMulti", reqId=2, modelCode="m", **position) == [
        ("positionMulti", (2, "DU1", "m", STOCK_READ, -12.5, 101.25))
    ]
    figures = dict(marketPrice=1.5, marketValue=2.5, averageCost=3.5, unrealizedPNL=4.5, realizedPNL=5.5)
    held = told("PortfolioValue", contract=STOCK, position="3", accountName="DU1", **figures)
    kept = dataclasses.replace(STOCK_READ, exchange="")
    assert held == [("updatePortfolio", (kept, 3.0, *figures.values(), "DU1"))]
    # amounts that the account has not, yet
    assert told("PortfolioValue", contract=STOCK, position="3")[0][1][2:] == (0.0, 0.0, 0.0, 0.0, 0.0, "")


def test_history() -> None:
    codec = Codec(VERSION)
    bar = dict(
        date="1783330200", open=1.1, high=2.2, low=0.3, close=1.5, volume="1000", WAP="1.25", barCount=7
    )
    codec.encode(message_class("HistoricalData")(reqId=5, historicalDataBars=[bar, bar]))
    end = message_class("HistoricalDataEnd")(reqId=5, startDateStr="a", endDateStr="b")
    first, second, last = read_by_ib_async(codec.encode(end))
    numbers = dict(open=1.1, high=2.2, low=0.3, close=1.5, volume=1000.0, average=1.25, barCount=7)
    expected = ib_async.BarData(date="1783330200", **numbers)
    assert first == second == ("historicalData", (5, expected))
    assert last == ("historicalDataEnd", (5, "a", "b"))
    assert told("HistoricalDataUpdate", reqId=5, historicalDataBar=bar) == [
        ("historicalDataUpdate", (5, expected))
    ]
    assert told("HeadTimestamp", reqId=5, headTimestamp="19801212-14:30:00") == [
        ("headTimestamp", (5, "19801212-14:30:00"))
    ]
    session = dict(startDateTime="20260706-09:30:00", endDateTime="20260706-16:00:00", refDate="20260706")
    schedule = dict(startDateTime="s", endDateTime="e", timeZone="US/Eastern", historicalSessions=[session])
    ((_, got),) = told("HistoricalSchedule", reqId=5, **schedule)
    assert got == (5, "s", "e", "US/Eastern", [ib_async.HistoricalSession(**session)])


def test_ticks() -> None:
    assert told("TickPrice", reqId=1, tickType=1, price=10.5, size="3") == [
        ("priceSizeTick", (1, 1, 10.5, 3.0))
    ]
    assert told("TickSize", reqId=1, tickType=8, size="300") == [("tickSize", (1, 8, 300.0))]
    assert told("TickString", reqId=1, tickType=45, value="1783330200") == [
        ("tickString", (1, 45, "1783330200"))
    ]
    assert told("TickGeneric", reqId=1, tickType=49, value=0.0) == [("tickGeneric", (1, 49, 0.0))]
    assert told("MarketDataType", reqId=1, marketDataType=3) == [("marketDataType", (1, 3))]
    assert told("TickReqParams", reqId=1, minTick="0.01", bboExchange="a6", snapshotPermissions=3) == [
        ("tickReqParams", (1, 0.01, "a6", 3))
    ]
    prices = dict(open=1.0, high=2.0, low=0.5, close=1.5)
    bar = told("RealTimeBarTick", reqId=1, time=1783330200, volume="10", WAP="1.2", count=3, **prices)
    assert bar == [("realtimeBar", (1, 1783330200, *prices.values(), 10.0, 1.2, 3))]
    last = dict(
        time=5, price=1.5, size="2", exchange="Q", specialConditions="T", tickAttribLast=dict(unreported=True)
    )
    flags = ib_async.TickAttribLast(pastLimit=False, unreported=True)
    assert told("TickByTickData", reqId=1, tickType=2, historicalTickLast=last) == [
        ("tickByTickAllLast", (1, 2, 5, 1.5, 2.0, flags, "Q", "T"))
    ]
    quote = dict(
        priceBid=1.5, priceAsk=1.6, sizeBid="2", sizeAsk="3", tickAttribBidAsk=dict(askPastHigh=True)
    )
    past = ib_async.TickAttribBidAsk(askPastHigh=True)
    assert told("TickByTickData", reqId=1, tickType=3, historicalTickBidAsk=dict(time=5, **quote)) == [
        ("tickByTickBidAsk", (1, 5, 1.5, 1.6, 2.0, 3.0, past))
    ]
    time = datetime.fromtimestamp(5, UTC)
    assert told(
        "HistoricalTicksBidAsk", reqId=1, historicalTicksBidAsk=[dict(time=5, **quote)], isDone=True
    ) == [
        ("historicalTicksBidAsk", (1, [ib_async.HistoricalTickBidAsk(time, past, 1.5, 1.6, 2.0, 3.0)], True))
    ]
    assert told("HistoricalTicksLast", reqId=1, historicalTicksLast=[last], isDone=False) == [
        ("historicalTicksLast", (1, [ib_async.HistoricalTickLast(time, flags, 1.5, 2.0, "Q", "T")], False))
    ]


def test_contracts() -> None:
    details = dict(marketName="NMS", minTick="0.01", longName="APPLE INC", minSize="0.0001", priceMagnifier=1)
    hours = dict(timeZoneId="US/Eastern", liquidHours="20260706:0930-20260706:1600", marketRuleIds="26")
    data = dict(
        contract=dict(STOCK, primaryExch="NASDAQ"),
        contractDetails=dict(secIdList=dict(ISIN="US0"), **details, **hours),
    )
    ((name, (request, got)),) = told("ContractData", reqId=6, **data)
    assert (name, request) == ("contractDetails", 6)
    assert got.contract == dataclasses.replace(STOCK_READ, primaryExchange="NASDAQ")
    assert (got.minTick, got.longName, got.minSize, got.marketRuleIds) == (0.01, "APPLE INC", 0.0001, "26")
    assert (got.timeZoneId, got.liquidHours) == tuple(list(hours.values())[:2])
    assert got.secIdList == [ib_async.TagValue("ISIN", "US0")]
    assert told("ContractDataEnd", reqId=6) == [("contractDetailsEnd", (6,))]
    rule = told("MarketRule", marketRuleId=26, priceIncrements=[dict(lowEdge=0.0, increment=0.01)])
    assert rule == [("marketRule", (26, [ib_async.PriceIncrement(0.0, 0.01)]))]
    some = dict(contract=dict(conId=1, symbol="A", secType="STK", primaryExch="N", currency="USD"))
    ((_, (_, (found,))),) = told(
        "SymbolSamples", reqId=2, contractDescriptions=[dict(derivativeSecTypes=["OPT"], **some)]
    )
    assert (found.contract.symbol, found.contract.primaryExchange, found.derivativeSecTypes) == (
        "A",
        "N",
        ["OPT"],
    )


def test_orders_and_fills() -> None:
    status = dict(
        orderId=3, status="Filled", filled="100", remaining="0", avgFillPrice=10.5, permId=9, clientId=1
    )
    ((name, got),) = told("OrderStatus", lastFillPrice=10.5, **status)
    assert (name, got[:6], got[7:9]) == ("orderStatus", (3, "Filled", 100.0, 0.0, 10.5, 9), (10.5, 1))
    fill = dict(
        orderId=3, execId="0001.01", acctNumber="DU1", side="BOT", shares="100", price=10.5, cumQty="100"
    )
    execution = dict(time="20260706 09:30:01 US/Eastern", avgPrice=10.5, isPriceRevisionPending=True, **fill)
    ((name, (request, where, done)),) = told(
        "ExecutionDetails", reqId=-1, contract=STOCK, execution=execution
    )
    assert (name, request, where) == ("execDetails", -1, STOCK_READ)
    assert (done.execId, done.shares, done.price, done.cumQty) == ("0001.01", 100.0, 10.5, 100.0)
    assert done.time == datetime(2026, 7, 6, 13, 30, 1, tzinfo=UTC)
    assert done.pendingPriceRevision is True
    costs = dict(execId="0001.01", commissionAndFees=1.25, currency="USD", realizedPNL=1.7976931348623157e308)
    ((name, (report,)),) = told("CommissionAndFeesReport", **costs)
    assert (name, report.commission, report.realizedPNL) == ("commissionReport", 1.25, costs["realizedPNL"])


# ib_async's name for it, where it is another
RENAMED = {"shortSalesSlot": "shortSaleSlot", "commissionAndFees": "commission"}
RENAMED |= {"minCommissionAndFees": "minCommission", "maxCommissionAndFees": "maxCommission"}
RENAMED |= {"commissionAndFeesCurrency": "commissionCurrency"}
KEPT_ELSEWHERE = {"conditions", "softDollarTier", "algoParams", "smartComboRoutingParams", "comboLegs"}


def check_order(message: Any, where: Any, order: Any, state: Any) -> None:
    for part, got in ((message.contract, where), (message.order, order), (message.orderState, state)):
        for field, value in part.ListFields():
            name = RENAMED.get(field.name, field.name)
            if field.message_type is None and field.name not in KEPT_ELSEWHERE:
                read = getattr(got, name)
                assert type(read)(value) == read, name
    assert [(t.tag, t.value) for t in order.algoParams] == list(message.order.algoParams.items())
    assert order.softDollarTier.val == message.order.softDollarTier.value
    assert [leg.conId for leg in where.comboLegs] == [leg.conId for leg in message.contract.comboLegs]
    assert [leg.price for leg in order.orderComboLegs] == [
        leg.perLegPrice for leg in message.contract.comboLegs
    ]
    assert [type(c).__name__ for c in order.conditions] == names(
        """PriceCondition TimeCondition MarginCondition ExecutionCondition VolumeCondition PercentChangeCondition"""
    )


@pytest.mark.parametrize("name", ["OpenOrder", "CompletedOrder"])
def test_every_field_of_an_order_arrives(name: str) -> None:
    layout = next(e.layout for e in ANSWERS.values() if e.name == name)
    message = as_text_carries(layout, VERSION, filled(message_class(name)))
    ((_, got),) = read_by_ib_async(Codec(VERSION).encode(message))
    check_order(message, *got[-3:])


# ---------------------------------------------------------------- what it sends
class Silent:
    """Stands where ib_async's wrapper stands; nothing is called."""


def sent(method: str, *args: Any) -> Any:
    """Return the request that the codec reads from ib_async's own encoder."""

    class Capturing(ib_async.client.Client):  # type: ignore[misc]
        def sendMsg(self, msg: str) -> None:  # noqa: N802  # ib_async's name
            messages.append(msg.encode())

        def isConnected(self) -> bool:  # noqa: N802
            return True

        def serverVersion(self) -> int:  # noqa: N802
            return VERSION

    messages: list[bytes] = []
    client = Capturing(Silent())
    client.clientId = 7
    getattr(client, method)(*args)
    (payload,) = messages
    message = Codec(VERSION).decode(payload)
    assert not isinstance(message, Malformed | Unknown), message
    return message


def converted(value: Any) -> Any:
    """Return the same thing as an object of ib_async, by the names that both have."""
    known = {f.name for f in dataclasses.fields(ib_async.Order)}
    kept = {}
    for name, old in vars(value).items():
        if name not in known or old is None:
            continue
        new = float(old) if name == "totalQuantity" else old
        if name in ("algoParams", "orderMiscOptions", "smartComboRoutingParams"):
            new = [ib_async.TagValue(t.tag, t.value) for t in old]
        elif name == "orderComboLegs":
            new = [ib_async.OrderComboLeg(leg.price) for leg in old]
        elif name == "softDollarTier":
            new = ib_async.SoftDollarTier(old.name, old.val, old.displayName)
        elif name == "conditions":
            new = [converted_condition(c) for c in old]
        kept[name] = new
    return ib_async.Order(**kept)


def converted_condition(old: Any) -> Any:
    kind = ib_async.OrderCondition.createClass(old.condType)
    values = dict(
        vars(old), conjunction="a" if old.isConjunctionConnection else "o", exch=vars(old).get("exchange")
    )
    return kind(**{f.name: values[f.name] for f in dataclasses.fields(kind)})


def converted_contract(old: Any) -> Any:
    words = {
        f.name: getattr(old, f.name) for f in dataclasses.fields(ib_async.Contract) if hasattr(old, f.name)
    }
    words["strike"] = 0.0 if old.strike > 1e300 else old.strike
    words["comboLegs"] = [ib_async.ComboLeg(**vars(leg)) for leg in old.comboLegs or []]
    against = old.deltaNeutralContract
    words["deltaNeutralContract"] = against and ib_async.DeltaNeutralContract(**vars(against))
    return ib_async.Contract(**words)


# What its Order holds as 0 where nobody set it; ibapi's holds "unset".
ZERO_DEFAULTS = names(
    """triggerPrice adjustedStopPrice adjustedStopLimitPrice adjustedTrailingAmount lmtPriceOffset cashQty
    usePriceMgmtAlgo"""
)


def test_its_orders_mean_what_ibapis_mean() -> None:
    compared = 0
    for _, (number, where, order) in orders(VERSION):
        got = sent("placeOrder", number, converted_contract(where), converted(order))
        expected = Codec(VERSION).decode(sent_by_ibapi(VERSION, "placeOrder", number, where, order))
        if not order.orderType.startswith("VOL"):  # ib_async takes the volatility from all others
            expected.order.ClearField("volatility")
        for message in (got, expected):
            message.order.totalQuantity = str(float(message.order.totalQuantity))
            for part, zeros in ((message.contract, ["strike"]), (message.order, ZERO_DEFAULTS)):
                for name in zeros:
                    if not getattr(part, name):
                        part.ClearField(name)
        assert got == expected
        compared += 1
    assert compared > 30


def test_its_other_requests_are_read() -> None:
    stock, combo = converted_contract(contract()), converted_contract(legs_asked())
    assert sent("startApi").clientId == 7
    assert sent("reqIds", 1).numIds == 1
    assert sent("reqContractDetails", 3, stock).contract.conId == 265598
    history = sent("reqHistoricalData", 5, combo, "", "1 D", "5 mins", "TRADES", True, 2, True, [])
    assert (history.duration, history.useRTH, history.keepUpToDate) == ("1 D", True, True)
    assert [leg.conId for leg in history.contract.comboLegs] == [101, 102]
    options = [ib_async.TagValue("a", "b")]
    bars = sent("reqRealTimeBars", 5, stock, 5, "TRADES", True, options)
    assert (bars.barSize, dict(bars.realTimeBarsOptions)) == (5, {"a": "b"})
    market = sent("reqMktData", 5, converted_contract(hedged()), "233", False, False, [])
    assert (market.genericTickList, market.contract.deltaNeutralContract.conId) == ("233", 12)
    assert sent("reqTickByTickData", 5, stock, "BidAsk", 0, True).ignoreSize is True
    assert sent("reqHistoricalTicks", 5, stock, "a", "", 10, "TRADES", True, False, []).numberOfTicks == 10
    assert sent("reqHeadTimeStamp", 5, stock, "TRADES", True, 1).whatToShow == "TRADES"
    assert sent("reqExecutions", 5, ib_async.ExecutionFilter(symbol="SPY")).executionFilter.symbol == "SPY"
    assert sent("cancelOrder", 5, "").orderId == 5
    assert sent("reqGlobalCancel") is not None
    assert sent("reqAccountUpdatesMulti", 5, "DU1", "", False).account == "DU1"
    assert sent("reqPositionsMulti", 5, "DU1", "m").modelCode == "m"
    assert sent("reqAccountUpdates", True, "").subscribe is True
    assert sent("reqAccountSummary", 5, "All", "a,b").tags == "a,b"
    assert sent("reqMatchingSymbols", 5, "AA").pattern == "AA"
    assert sent("reqMarketRule", 26).marketRuleId == 26
    assert sent("reqMarketDataType", 3).marketDataType == 3
    assert sent("reqCompletedOrders", True).apiOnly is True
    plain = names(
        """reqCurrentTime reqManagedAccts reqOpenOrders reqAllOpenOrders reqPositions cancelPositions"""
    )
    for method in plain:
        assert sent(method) is not None
    numbered = names(
        """cancelHistoricalData cancelHeadTimeStamp cancelRealTimeBars cancelMktData cancelTickByTickData
    cancelPositionsMulti cancelAccountUpdatesMulti cancelAccountSummary"""
    )
    for method in numbered:
        assert sent(method, 5).reqId == 5


def test_its_word_for_infinity_is_read() -> None:
    order = ib_async.Order(orderType="PEG BEST", totalQuantity=1, competeAgainstBestOffset=math.inf)
    assert sent("placeOrder", 1, converted_contract(bag()), order).order.competeAgainstBestOffset == math.inf
