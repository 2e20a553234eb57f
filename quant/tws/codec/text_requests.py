"""Text tables of what clients ask, orders apart. Source: ibapi 10.50.2, client.py, called at each version."""

from __future__ import annotations

from quant.tws.codec.text import (
    BOOL,
    INT,
    UNSET_INT,
    WORD,
    Constant,
    Field,
    Kind,
    Layout,
    Part,
    Tags,
    Values,
    When,
)
from quant.tws.codec.text_contracts import CONTRACT_ASKED, HEDGE_CONTRACT, LEGS_ASKED, fields, is_combo

_REQ_ID = Field("reqId", INT)
_LEGS = When(is_combo, (Part("contract", (LEGS_ASKED,)),))
_CONTRACT = Part("contract", CONTRACT_ASKED)
_CONTRACT_EXPIRED = Part("contract", (*CONTRACT_ASKED, Field("includeExpired", BOOL)))

NOTHING: Layout = ()
VERSION_1: Layout = (Constant("1"),)
REQ_ID: Layout = (_REQ_ID,)
REQ_ID_1: Layout = (Constant("1"), _REQ_ID)
REQ_ID_2: Layout = (Constant("2"), _REQ_ID)

START_API: Layout = (Constant("2"), Field("clientId", INT), Field("optionalCapabilities", WORD))
IDS: Layout = (Constant("1"), Field("numIds", INT))
LOG_LEVEL: Layout = (Constant("1"), Field("logLevel", INT))

CONTRACT_DATA: Layout = (
    Constant("8"),
    _REQ_ID,
    Part(
        "contract",
        (*CONTRACT_ASKED, Field("includeExpired", BOOL), *fields(WORD, "secIdType secId issuerId")),
    ),
)
MATCHING_SYMBOLS: Layout = (_REQ_ID, Field("pattern", WORD))
MARKET_RULE: Layout = (Field("marketRuleId", INT),)

HISTORICAL_DATA: Layout = (
    _REQ_ID,
    _CONTRACT_EXPIRED,
    *fields(WORD, "endDateTime barSizeSetting duration"),
    Field("useRTH", BOOL),
    Field("whatToShow", WORD),
    Field("formatDate", INT),
    _LEGS,
    Field("keepUpToDate", BOOL),
    Tags("chartOptions"),
)
HEAD_TIMESTAMP: Layout = (
    _REQ_ID,
    _CONTRACT_EXPIRED,
    Field("useRTH", BOOL),
    Field("whatToShow", WORD),
    Field("formatDate", INT),
)
HISTORICAL_TICKS: Layout = (
    _REQ_ID,
    _CONTRACT_EXPIRED,
    *fields(WORD, "startDateTime endDateTime"),
    Field("numberOfTicks", INT),
    Field("whatToShow", WORD),
    *fields(BOOL, "useRTH ignoreSize"),
    Tags("miscOptions"),
)
REAL_TIME_BARS: Layout = (
    Constant("3"),
    _REQ_ID,
    _CONTRACT,
    Field("barSize", INT),
    Field("whatToShow", WORD),
    Field("useRTH", BOOL),
    Tags("realTimeBarsOptions"),
)
MARKET_DATA: Layout = (
    Constant("11"),
    _REQ_ID,
    _CONTRACT,
    _LEGS,
    Part("contract", (HEDGE_CONTRACT,)),
    Field("genericTickList", WORD),
    *fields(BOOL, "snapshot regulatorySnapshot"),
    Tags("marketDataOptions"),
)
MARKET_DATA_TYPE: Layout = (Constant("1"), Field("marketDataType", INT))
TICK_BY_TICK: Layout = (
    _REQ_ID,
    _CONTRACT,
    Field("tickType", WORD),
    Field("numberOfTicks", INT),
    Field("ignoreSize", BOOL),
)

AUTO_OPEN_ORDERS: Layout = (Constant("1"), Field("autoBind", BOOL))
COMPLETED_ORDERS: Layout = (Field("apiOnly", BOOL),)
EXECUTIONS: Layout = (
    Constant("3"),
    _REQ_ID,
    Part(
        "executionFilter",
        (
            Field("clientId", INT),
            *fields(WORD, "acctCode time symbol secType exchange side"),
            Field("lastNDays", Kind("a whole number", str(UNSET_INT), INT.write, INT.read), since=200),
            Values("specificDates", INT, since=200),
        ),
    ),
)
ACCOUNT_DATA: Layout = (Constant("2"), Field("subscribe", BOOL), Field("acctCode", WORD))
ACCOUNT_SUMMARY: Layout = (Constant("1"), _REQ_ID, *fields(WORD, "group tags"))
MULTI: Layout = (Constant("1"), _REQ_ID, *fields(WORD, "account modelCode"))
PNL: Layout = (_REQ_ID, *fields(WORD, "account modelCode"))
PNL_SINGLE: Layout = (*PNL, Field("conId", INT))
ACCOUNT_MULTI: Layout = (*MULTI, Field("ledgerAndNLV", BOOL))
