"""Calls of ibapi's EClient, each with values in all that it can carry."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from ibapi.contract import ComboLeg, Contract, DeltaNeutralContract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order, OrderComboLeg
from ibapi.order_cancel import OrderCancel
from ibapi.order_condition import (
    ExecutionCondition,
    MarginCondition,
    PercentChangeCondition,
    PriceCondition,
    TimeCondition,
    VolumeCondition,
)
from ibapi.softdollartier import SoftDollarTier
from ibapi.tag_value import TagValue
from wire_peers import names

Call = tuple[str, tuple[Any, ...]]

SECURITY = dict(secIdType="ISIN", secId="US0378331005")


def contract(**more: Any) -> Contract:
    c = Contract()
    c.conId, c.symbol, c.secType, c.exchange, c.currency = 265598, "AAPL", "STK", "SMART", "USD"
    for name, value in more.items():
        setattr(c, name, value)
    return c


def full_contract(**more: Any) -> Contract:
    words = dict(
        primaryExchange="NASDAQ", localSymbol="AAPL  26", tradingClass="NMS", right="C", multiplier="100"
    )
    return contract(lastTradeDateOrContractMonth="20260619", strike=187.5, **{**words, **more})


def bag() -> Contract:
    legs = []
    for i in (1, 2):
        leg = ComboLeg()
        leg.conId, leg.ratio, leg.action, leg.exchange = 100 + i, i, "BUY", f"X{i}"
        leg.openClose, leg.shortSaleSlot, leg.designatedLocation, leg.exemptCode = i, i + 1, f"loc{i}", i + 2
        legs.append(leg)
    return full_contract(secType="BAG", comboLegs=legs)


def legs_asked() -> Contract:
    """A combination of which clients send no more than four fields a leg outside orders."""
    c = full_contract(secType="BAG", comboLegs=[])
    for i in (1, 2):
        leg = ComboLeg()
        leg.conId, leg.ratio, leg.action, leg.exchange = 100 + i, i, "SELL", f"X{i}"
        c.comboLegs.append(leg)
    return c


def hedged() -> Contract:
    against = DeltaNeutralContract()
    against.conId, against.delta, against.price = 12, 0.5, 101.25
    return full_contract(deltaNeutralContract=against)


def order(kind: str = "LMT", **more: Any) -> Order:
    o = Order()
    o.action, o.totalQuantity, o.orderType = "BUY", Decimal("100.5"), kind
    for name, value in more.items():
        setattr(o, name, value)
    return o


WORDS = names(
    """tif account settlingFirm clearingAccount clearingIntent goodAfterTime goodTillDate ocaGroup orderRef rule80A
    activeStartTime activeStopTime faGroup faMethod faPercentage scaleTable algoId openClose designatedLocation
    modelCode extOperator mifid2DecisionMaker mifid2DecisionAlgo mifid2ExecutionTrader mifid2ExecutionAlgo
    advancedErrorOverride manualOrderTime adjustedOrderType"""
)
WHOLE = names(
    """parentId displaySize minQty ocaType triggerMethod volatilityType referencePriceType scaleInitLevelSize
    scaleSubsLevelSize scalePriceAdjustInterval scaleInitPosition scaleInitFillQty origin shortSaleSlot
    exemptCode adjustableTrailingUnit duration postToAts"""
)
NUMBERS = names(
    """lmtPrice auxPrice percentOffset trailingPercent trailStopPrice volatility deltaNeutralAuxPrice
    scalePriceIncrement scalePriceAdjustValue scaleProfitOffset discretionaryAmt startingPrice stockRefPrice
    delta stockRangeLower stockRangeUpper triggerPrice adjustedStopPrice adjustedStopLimitPrice
    adjustedTrailingAmount lmtPriceOffset cashQty"""
)
FLAGS = names(
    """allOrNone blockOrder hidden outsideRth sweepToFill continuousUpdate scaleAutoReset scaleRandomPercent whatIf
    overridePercentageConstraints optOutSmartRouting notHeld solicited randomizeSize randomizePrice
    dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice usePriceMgmtAlgo autoCancelParent"""
)


def full_order(version: int) -> Order:
    """An order with another value in every attribute that ibapi sends at a version, but for special types."""
    words = {name: f"{name} {i}" for i, name in enumerate(WORDS)}
    whole = {name: 10 + i for i, name in enumerate(WHOLE)}
    numbers = {name: 1000.25 + i for i, name in enumerate(NUMBERS)}
    o = order("LMT", **words, **whole, **numbers, **dict.fromkeys(FLAGS, True), transmit=False)
    o.hedgeType, o.hedgeParam = "P", "ratio=3"
    o.algoStrategy, o.algoParams = "Vwap", [TagValue("maxPctVol", "0.1"), TagValue("noTakeLiq", "1")]
    o.orderMiscOptions = [TagValue("a", "b"), TagValue("c", "d")]
    o.softDollarTier = SoftDollarTier("tier", "value", "")
    since = {
        183: {"customerAccount": "cust"},
        184: {"professionalCustomer": True},
        189: {"includeOvernight": True},
    }
    since |= {192: {"manualOrderIndicator": 5}, 199: {"imbalanceOnly": True}}
    for first, values in since.items():
        if version >= first:
            vars(o).update(values)
    return o


def delta_neutral_order() -> Order:
    words = names("""OrderType SettlingFirm ClearingAccount ClearingIntent OpenClose DesignatedLocation""")
    more = {f"deltaNeutral{w}": w for w in words}
    numbers = {"deltaNeutralConId": 3, "deltaNeutralShortSaleSlot": 2, "deltaNeutralShortSale": True}
    return order("VOL", volatility=0.25, volatilityType=2, deltaNeutralAuxPrice=3.5, **more, **numbers)


def conditional_order() -> Order:
    conditions = [
        PriceCondition(2, 11, "SMART", True, 101.5),
        TimeCondition(False, "20260706 09:30:00 US/Eastern"),
        MarginCondition(True, 30),
        ExecutionCondition("STK", "SMART", "SPY"),
        VolumeCondition(12, "ARCA", False, 5000),
        PercentChangeCondition(13, "BATS", True, 2.5).Or(),
    ]
    return order("LMT", conditions=conditions, conditionsIgnoreRth=True, conditionsCancelOrder=False)


def combo_order() -> Order:
    prices = [OrderComboLeg(), OrderComboLeg()]
    prices[0].price, prices[1].price = 1.5, 2.5
    return order(orderComboLegs=prices, smartComboRoutingParams=[TagValue("NonGuaranteed", "1")])


def benchmark_order() -> Order:
    words = dict(referenceContractId=9, isPeggedChangeAmountDecrease=True, referenceExchangeId="BATS")
    return order("PEG BENCH", peggedChangeAmount=0.5, referenceChangeAmount=0.75, startingPrice=33.0, **words)


def best_order(offset: float) -> Order:
    offsets = dict(midOffsetAtWhole=0.01, midOffsetAtHalf=0.02) if math.isinf(offset) else {}
    return order("PEG BEST", minTradeQty=3, minCompeteSize=4, competeAgainstBestOffset=offset, **offsets)


def orders(version: int) -> list[Call]:
    ats = contract(exchange="IBKRATS")
    cases = [
        (contract(), order("MKT")),
        (full_contract(**SECURITY), order("MOC")),
        (contract(), order("MKT", totalQuantity=Decimal("1E+2"))),
        (contract(), order(lmtPrice=0.0, auxPrice=0.30000000000000004, orderRef="quant:macd:7")),
        (full_contract(), full_order(version)),
        (hedged(), delta_neutral_order()),
        (contract(), conditional_order()),
        (bag(), combo_order()),
        (bag(), order()),
        (contract(), benchmark_order()),
        (ats, best_order(0.05)),
        (ats, best_order(math.inf)),
        (ats, order("PEG MID", minTradeQty=3, midOffsetAtWhole=0.01, midOffsetAtHalf=0.02)),
    ]
    cases += [
        (contract(), order(scalePriceIncrement=0.5, **{flag: True})) for flag in FLAGS
    ]  # two in each other's place look the same above
    return [("placeOrder", (40 + i, c, o)) for i, (c, o) in enumerate(cases)]


def cancels(version: int) -> list[Call]:
    plain, full = OrderCancel(), OrderCancel()
    full.manualOrderCancelTime = "20260706-09:30:00"
    if version >= 192:
        full.extOperator, full.manualOrderIndicator = "me", 1
    every = OrderCancel()
    if version >= 192:
        every.extOperator, every.manualOrderIndicator = "me", 1
    return [("cancelOrder", (7, plain)), ("cancelOrder", (7, full)), ("reqGlobalCancel", (every,))]


def executions(version: int) -> list[Call]:
    some = ExecutionFilter()
    words = names("acctCode time symbol secType exchange side")
    vars(some).update({w: w for w in words}, clientId=5)
    if version >= 200:
        some.lastNDays, some.specificDates = 3, [20260701, 20260702]
    return [("reqExecutions", (8, ExecutionFilter())), ("reqExecutions", (9, some))]


OPTIONS = [TagValue("a", "1"), TagValue("b", "2")]
HISTORY = ("20260701-16:00:00", "2 D", "1 min", "TRADES", 1, 2, False)
SIMPLE: list[Call] = [
    ("startApi", ()),
    ("reqIds", (3,)),
    ("reqCurrentTime", ()),
    ("reqManagedAccts", ()),
    ("setServerLogLevel", (5,)),
    ("reqContractDetails", (1, contract())),
    (
        "reqContractDetails",
        (2, full_contract(includeExpired=True, secIdType="ISIN", secId="US0378331005", issuerId="e1")),
    ),
    ("reqMatchingSymbols", (3, "AAP")),
    ("reqMarketRule", (26,)),
    ("reqHeadTimeStamp", (4, full_contract(), "TRADES", 1, 2)),
    ("reqHeadTimeStamp", (4, contract(includeExpired=True), "BID", 0, 1)),
    ("cancelHeadTimeStamp", (4,)),
    ("reqHistoricalData", (5, full_contract(), *HISTORY, [])),
    (
        "reqHistoricalData",
        (5, contract(includeExpired=True), "", "1 Y", "1 day", "MIDPOINT", 0, 1, True, OPTIONS),
    ),
    ("reqHistoricalData", (5, legs_asked(), *HISTORY, [])),
    ("cancelHistoricalData", (5,)),
    ("reqHistoricalTicks", (6, full_contract(), "20260701-16:00:00", "", 100, "BID_ASK", 1, False, OPTIONS)),
    ("reqRealTimeBars", (7, full_contract(), 5, "TRADES", True, OPTIONS)),
    ("cancelRealTimeBars", (7,)),
    ("reqMktData", (8, full_contract(), "233,236", False, False, [])),
    ("reqMktData", (8, legs_asked(), "", True, False, [])),
    ("reqMktData", (8, hedged(), "", False, False, [])),
    ("cancelMktData", (8,)),
    ("reqMarketDataType", (3,)),
    ("reqTickByTickData", (9, full_contract(), "AllLast", 10, True)),
    ("cancelTickByTickData", (9,)),
    ("reqOpenOrders", ()),
    ("reqAllOpenOrders", ()),
    ("reqAutoOpenOrders", (True,)),
    ("reqAutoOpenOrders", (False,)),
    ("reqCompletedOrders", (True,)),
    ("reqPositions", ()),
    ("cancelPositions", ()),
    ("reqPositionsMulti", (10, "DU1", "model")),
    ("cancelPositionsMulti", (10,)),
    ("reqAccountUpdates", (True, "DU1")),
    ("reqAccountUpdates", (False, "")),
    ("reqAccountUpdatesMulti", (11, "DU1", "model", True)),
    ("cancelAccountUpdatesMulti", (11,)),
    ("reqAccountSummary", (12, "All", "NetLiquidation,BuyingPower")),
    ("cancelAccountSummary", (12,)),
    ("reqPnL", (13, "DU1", "model")),
    ("cancelPnL", (13,)),
    ("reqPnLSingle", (14, "DU1", "model", 756733)),
    ("cancelPnLSingle", (14,)),
]


def calls(version: int) -> list[Call]:
    """Return every request that the codec knows and that ibapi can send at a version."""
    newer: list[Call] = [("reqCurrentTimeInMillis", ())] if version >= 197 else []
    if version >= 215:
        newer += [("cancelContractData", (13,)), ("cancelHistoricalTicks", (14,))]
    return [*SIMPLE, *newer, *orders(version), *cancels(version), *executions(version)]
