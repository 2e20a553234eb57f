"""Which messages there are: id, class of IB's protobuf, text table, and the version that turned them to protobuf.

Requests: ibapi 10.50.2, message.OUT and common.getServerVersionForMessage. Answers: message.IN; that a client takes
either encoding from version 201 on (it tells them by the id) makes the version of an answer a choice, and ours is the
group in which decoder.msgId2handleInfoProtoBuf lists it, as its requests are grouped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ibapi.common import PROTOBUF_MSG_ID, getServerVersionForMessage
from ibapi.message import IN, OUT

from quant.tws.codec import text_answers as answer
from quant.tws.codec import text_orders as orders
from quant.tws.codec import text_requests as request
from quant.tws.codec.text import Layout

LOWEST_VERSION = 176  # below it the tables say nothing; no client that is still in use stops there
HIGHEST_VERSION = 226  # what ibapi 10.50.2 speaks
RAW_ID_VERSION = 201  # from here on a message id is four bytes, and 200 more where protobuf follows
PROTOBUF_OFFSET = int(PROTOBUF_MSG_ID)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message: what it is called and carries. `layout` is None where it has no text."""

    id: int
    name: str
    type: Any
    protobuf_since: float
    layout: Layout | None


def message_class(name: str) -> Any:
    """Return a class of ibapi.protobuf by its name, e.g. "OpenOrder"."""
    return getattr(import_module(f"ibapi.protobuf.{name}_pb2"), name)


_REQUESTS: dict[int, tuple[str, Layout | None]] = {
    OUT.START_API: ("StartApiRequest", request.START_API),
    OUT.REQ_IDS: ("IdsRequest", request.IDS),
    OUT.REQ_CURRENT_TIME: ("CurrentTimeRequest", request.VERSION_1),
    OUT.REQ_CURRENT_TIME_IN_MILLIS: ("CurrentTimeInMillisRequest", request.NOTHING),
    OUT.REQ_MANAGED_ACCTS: ("ManagedAccountsRequest", request.VERSION_1),
    OUT.SET_SERVER_LOGLEVEL: ("SetServerLogLevelRequest", request.LOG_LEVEL),
    OUT.REQ_CONTRACT_DATA: ("ContractDataRequest", request.CONTRACT_DATA),
    OUT.CANCEL_CONTRACT_DATA: ("CancelContractData", None),
    OUT.REQ_MATCHING_SYMBOLS: ("MatchingSymbolsRequest", request.MATCHING_SYMBOLS),
    OUT.REQ_MARKET_RULE: ("MarketRuleRequest", request.MARKET_RULE),
    OUT.REQ_HEAD_TIMESTAMP: ("HeadTimestampRequest", request.HEAD_TIMESTAMP),
    OUT.CANCEL_HEAD_TIMESTAMP: ("CancelHeadTimestamp", request.REQ_ID),
    OUT.REQ_HISTORICAL_DATA: ("HistoricalDataRequest", request.HISTORICAL_DATA),
    OUT.CANCEL_HISTORICAL_DATA: ("CancelHistoricalData", request.REQ_ID_1),
    OUT.REQ_HISTORICAL_TICKS: ("HistoricalTicksRequest", request.HISTORICAL_TICKS),
    OUT.CANCEL_HISTORICAL_TICKS: ("CancelHistoricalTicks", None),
    OUT.REQ_REAL_TIME_BARS: ("RealTimeBarsRequest", request.REAL_TIME_BARS),
    OUT.CANCEL_REAL_TIME_BARS: ("CancelRealTimeBars", request.REQ_ID_1),
    OUT.REQ_MKT_DATA: ("MarketDataRequest", request.MARKET_DATA),
    OUT.CANCEL_MKT_DATA: ("CancelMarketData", request.REQ_ID_2),
    OUT.REQ_MARKET_DATA_TYPE: ("MarketDataTypeRequest", request.MARKET_DATA_TYPE),
    OUT.REQ_TICK_BY_TICK_DATA: ("TickByTickRequest", request.TICK_BY_TICK),
    OUT.CANCEL_TICK_BY_TICK_DATA: ("CancelTickByTick", request.REQ_ID),
    OUT.PLACE_ORDER: ("PlaceOrderRequest", orders.PLACE_ORDER),
    OUT.CANCEL_ORDER: ("CancelOrderRequest", orders.CANCEL_ORDER),
    OUT.REQ_GLOBAL_CANCEL: ("GlobalCancelRequest", orders.GLOBAL_CANCEL),
    OUT.REQ_OPEN_ORDERS: ("OpenOrdersRequest", request.VERSION_1),
    OUT.REQ_ALL_OPEN_ORDERS: ("AllOpenOrdersRequest", request.VERSION_1),
    OUT.REQ_AUTO_OPEN_ORDERS: ("AutoOpenOrdersRequest", request.AUTO_OPEN_ORDERS),
    OUT.REQ_COMPLETED_ORDERS: ("CompletedOrdersRequest", request.COMPLETED_ORDERS),
    OUT.REQ_EXECUTIONS: ("ExecutionRequest", request.EXECUTIONS),
    OUT.REQ_POSITIONS: ("PositionsRequest", request.VERSION_1),
    OUT.CANCEL_POSITIONS: ("CancelPositions", request.VERSION_1),
    OUT.REQ_POSITIONS_MULTI: ("PositionsMultiRequest", request.MULTI),
    OUT.CANCEL_POSITIONS_MULTI: ("CancelPositionsMulti", request.REQ_ID_1),
    OUT.REQ_ACCT_DATA: ("AccountDataRequest", request.ACCOUNT_DATA),
    OUT.REQ_ACCOUNT_UPDATES_MULTI: ("AccountUpdatesMultiRequest", request.ACCOUNT_MULTI),
    OUT.CANCEL_ACCOUNT_UPDATES_MULTI: ("CancelAccountUpdatesMulti", request.REQ_ID_1),
    OUT.REQ_ACCOUNT_SUMMARY: ("AccountSummaryRequest", request.ACCOUNT_SUMMARY),
    OUT.CANCEL_ACCOUNT_SUMMARY: ("CancelAccountSummary", request.REQ_ID_1),
    OUT.REQ_PNL: ("PnLRequest", request.PNL),
    OUT.CANCEL_PNL: ("CancelPnL", request.REQ_ID),
    OUT.REQ_PNL_SINGLE: ("PnLSingleRequest", request.PNL_SINGLE),
    OUT.CANCEL_PNL_SINGLE: ("CancelPnLSingle", request.REQ_ID),
}
# ibapi's function does not know these two: it sends them as protobuf whatever the version.
_ALWAYS_PROTOBUF = {OUT.CANCEL_CONTRACT_DATA: 215.0, OUT.CANCEL_HISTORICAL_TICKS: 215.0}

_ANSWERS: dict[int, dict[int, tuple[str, Layout]]] = {
    201: {
        IN.EXECUTION_DATA: ("ExecutionDetails", answer.EXECUTION),
        IN.EXECUTION_DATA_END: ("ExecutionDetailsEnd", answer.REQ_ID_1),
    },
    203: {
        IN.ORDER_STATUS: ("OrderStatus", answer.ORDER_STATUS),
        IN.ERR_MSG: ("ErrorMessage", answer.ERROR),
        IN.OPEN_ORDER: ("OpenOrder", orders.OPEN_ORDER),
        IN.OPEN_ORDER_END: ("OpenOrdersEnd", answer.VERSION_1),
    },
    204: {
        IN.COMPLETED_ORDER: ("CompletedOrder", orders.COMPLETED_ORDER),
        IN.COMPLETED_ORDERS_END: ("CompletedOrdersEnd", answer.NOTHING),
        IN.ORDER_BOUND: ("OrderBound", answer.ORDER_BOUND),
    },
    205: {
        IN.CONTRACT_DATA: ("ContractData", answer.CONTRACT_DATA),
        IN.CONTRACT_DATA_END: ("ContractDataEnd", answer.REQ_ID_1),
    },
    206: {
        IN.TICK_PRICE: ("TickPrice", answer.TICK_PRICE),
        IN.TICK_SIZE: ("TickSize", answer.TICK_SIZE),
        IN.TICK_STRING: ("TickString", answer.TICK_STRING),
        IN.TICK_GENERIC: ("TickGeneric", answer.TICK_GENERIC),
        IN.TICK_REQ_PARAMS: ("TickReqParams", answer.TICK_REQ_PARAMS),
        IN.TICK_SNAPSHOT_END: ("TickSnapshotEnd", answer.REQ_ID_1),
        IN.MARKET_DATA_TYPE: ("MarketDataType", answer.MARKET_DATA_TYPE),
    },
    207: {
        IN.MANAGED_ACCTS: ("ManagedAccounts", answer.MANAGED_ACCOUNTS),
        IN.ACCT_VALUE: ("AccountValue", answer.ACCOUNT_VALUE),
        IN.PORTFOLIO_VALUE: ("PortfolioValue", answer.PORTFOLIO_VALUE),
        IN.ACCT_UPDATE_TIME: ("AccountUpdateTime", answer.ACCOUNT_TIME),
        IN.ACCT_DOWNLOAD_END: ("AccountDataEnd", answer.ACCOUNT_END),
        IN.POSITION_DATA: ("Position", answer.POSITION),
        IN.POSITION_END: ("PositionEnd", answer.VERSION_1),
        IN.POSITION_MULTI: ("PositionMulti", answer.POSITION_MULTI),
        IN.POSITION_MULTI_END: ("PositionMultiEnd", answer.REQ_ID_1),
        IN.ACCOUNT_UPDATE_MULTI: ("AccountUpdateMulti", answer.ACCOUNT_MULTI),
        IN.ACCOUNT_UPDATE_MULTI_END: ("AccountUpdateMultiEnd", answer.REQ_ID_1),
        IN.ACCOUNT_SUMMARY: ("AccountSummary", answer.ACCOUNT_SUMMARY),
        IN.ACCOUNT_SUMMARY_END: ("AccountSummaryEnd", answer.REQ_ID_1),
    },
    208: {
        IN.HEAD_TIMESTAMP: ("HeadTimestamp", answer.HEAD_TIMESTAMP),
        IN.HISTORICAL_DATA: ("HistoricalData", answer.HISTORICAL_DATA),
        IN.HISTORICAL_DATA_END: ("HistoricalDataEnd", answer.HISTORICAL_DATA_END),
        IN.HISTORICAL_DATA_UPDATE: ("HistoricalDataUpdate", answer.HISTORICAL_DATA_UPDATE),
        IN.HISTORICAL_TICKS: ("HistoricalTicks", answer.HISTORICAL_TICKS),
        IN.HISTORICAL_TICKS_BID_ASK: ("HistoricalTicksBidAsk", answer.HISTORICAL_TICKS_BID_ASK),
        IN.HISTORICAL_TICKS_LAST: ("HistoricalTicksLast", answer.HISTORICAL_TICKS_LAST),
        IN.REAL_TIME_BARS: ("RealTimeBarTick", answer.REAL_TIME_BAR),
        IN.TICK_BY_TICK: ("TickByTickData", answer.TICK_BY_TICK),
    },
    210: {
        IN.PNL: ("PnL", answer.PNL),
        IN.PNL_SINGLE: ("PnLSingle", answer.PNL_SINGLE),
    },
    211: {
        IN.COMMISSION_AND_FEES_REPORT: ("CommissionAndFeesReport", answer.COMMISSION),
        IN.HISTORICAL_SCHEDULE: ("HistoricalSchedule", answer.HISTORICAL_SCHEDULE),
    },
    212: {
        IN.SYMBOL_SAMPLES: ("SymbolSamples", answer.SYMBOL_SAMPLES),
        IN.MARKET_RULE: ("MarketRule", answer.MARKET_RULE),
    },
    213: {
        IN.NEXT_VALID_ID: ("NextValidId", answer.NEXT_VALID_ID),
        IN.CURRENT_TIME: ("CurrentTime", answer.CURRENT_TIME),
        IN.CURRENT_TIME_IN_MILLIS: ("CurrentTimeInMillis", answer.CURRENT_TIME_IN_MILLIS),
    },
}


def _requests() -> Iterator[Entry]:
    for number, (name, layout) in _REQUESTS.items():
        since = _ALWAYS_PROTOBUF.get(OUT(number)) or getServerVersionForMessage(number)
        yield Entry(int(number), name, message_class(name), since, layout)


def _answers() -> Iterator[Entry]:
    for since, group in _ANSWERS.items():
        for number, (name, layout) in group.items():
            yield Entry(int(number), name, message_class(name), since, layout)


REQUESTS: dict[int, Entry] = {entry.id: entry for entry in _requests()}
ANSWERS: dict[int, Entry] = {entry.id: entry for entry in _answers()}
