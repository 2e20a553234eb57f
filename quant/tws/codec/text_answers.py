"""Text tables of what TWS answers, orders apart. Source: ibapi 10.50.2, decoder.py.

ESCAPED stands where ibapi undoes escapes: in errors, long names, and wherever it reads a message by the signature of a
callback (NextValidId, AccountValue, TickString, ...). Elsewhere it reads UTF-8 as it stands.
"""

from __future__ import annotations

from quant.tws.codec.text import (
    BOOL,
    DECIMAL,
    ESCAPED,
    FLOAT,
    INT,
    TRIMMED,
    WORD,
    Choice,
    Constant,
    Field,
    Kind,
    Layout,
    Many,
    Mask,
    Pairs,
    Part,
    Values,
    When,
)
from quant.tws.codec.text_contracts import CONTRACT_HELD, CONTRACT_TOLD, fields

_REQ_ID = Field("reqId", INT)
_NO_ID = Kind("a whole number", "-1", INT.write, INT.read)  # what belongs to no request
_CONTRACT = Part("contract", CONTRACT_TOLD)

NOTHING: Layout = ()
VERSION_1: Layout = (Constant("1"),)
REQ_ID: Layout = (_REQ_ID,)
REQ_ID_1: Layout = (Constant("1"), _REQ_ID)

NEXT_VALID_ID: Layout = (Constant("1"), Field("orderId", INT))
MANAGED_ACCOUNTS: Layout = (Constant("1"), Field("accountsList", ESCAPED))
CURRENT_TIME: Layout = (Constant("1"), Field("currentTime", INT))
CURRENT_TIME_IN_MILLIS: Layout = (Field("currentTimeInMillis", INT),)
ERROR: Layout = (
    Constant("2", before=194),
    Field("id", _NO_ID),
    Field("errorCode", INT),
    *fields(ESCAPED, "errorMsg advancedOrderRejectJson"),
    Field("errorTime", INT, since=194),
)

# ---------------------------------------------------------------- contracts
_FUND = When(
    lambda m: bool(m.contract.secType == "FUND"),
    (
        *fields(WORD, "fundName fundFamily fundType fundFrontLoad fundBackLoad fundBackLoadTimeInterval"),
        Field("fundManagementFee", WORD),
        *fields(BOOL, "fundClosed fundClosedForNewInvestors fundClosedForNewMoney"),
        *fields(WORD, "fundNotifyAmount fundMinimumInitialPurchase fundMinimumSubsequentPurchase"),
        *fields(
            WORD, "fundBlueSkyStates fundBlueSkyTerritories fundDistributionPolicyIndicator fundAssetType"
        ),
    ),
    since=179,
)
CONTRACT_DATA: Layout = (
    _REQ_ID,
    Part(
        "contract",
        (
            *fields(WORD, "symbol secType lastTradeDateOrContractMonth"),
            Field("lastTradeDate", WORD, since=182),
            Field("strike", FLOAT),
            *fields(WORD, "right exchange currency localSymbol"),
        ),
    ),
    Part("contractDetails", (Field("marketName", WORD),)),
    Part("contract", (Field("tradingClass", WORD), Field("conId", INT))),
    Part("contractDetails", (Field("minTick", WORD),)),
    Part("contract", (Field("multiplier", TRIMMED),)),
    Part(
        "contractDetails",
        (
            *fields(WORD, "orderTypes validExchanges"),
            *fields(INT, "priceMagnifier underConId"),
            Field("longName", ESCAPED),
        ),
    ),
    Part("contract", (Field("primaryExch", WORD),)),
    Part(
        "contractDetails",
        (
            *fields(
                WORD, "contractMonth industry category subcategory timeZoneId tradingHours liquidHours evRule"
            ),
            Field("evMultiplier", TRIMMED),
            Pairs("secIdList"),
            Field("aggGroup", INT),
            *fields(WORD, "underSymbol underSecType marketRuleIds realExpirationDate stockType"),
            *fields(DECIMAL, "minSize sizeIncrement suggestedSizeIncrement"),
            _FUND,
            Many("ineligibilityReasonList", fields(WORD, "id description"), since=186),
        ),
    ),
)
SYMBOL_SAMPLES: Layout = (
    _REQ_ID,
    Many(
        "contractDescriptions",
        (
            Part("contract", (Field("conId", INT), *fields(WORD, "symbol secType primaryExch currency"))),
            Values("derivativeSecTypes", WORD),
            Part("contract", fields(WORD, "description issuerId")),
        ),
    ),
)
MARKET_RULE: Layout = (
    Field("marketRuleId", INT),
    Many("priceIncrements", fields(FLOAT, "lowEdge increment")),
)

# ---------------------------------------------------------------- history
BARS = Many(
    "historicalDataBars",
    (
        Field("date", WORD),
        *fields(FLOAT, "open high low close"),
        *fields(DECIMAL, "volume WAP"),
        Field("barCount", INT),
    ),
)
HISTORICAL_DATA: Layout = (_REQ_ID, BARS)
HISTORICAL_DATA_END: Layout = (_REQ_ID, *fields(WORD, "startDateStr endDateStr"))
HISTORICAL_DATA_UPDATE: Layout = (
    _REQ_ID,
    Part(
        "historicalDataBar",
        (
            Field("barCount", INT),
            Field("date", WORD),
            *fields(FLOAT, "open close high low"),  # in this order, unlike in BARS
            *fields(DECIMAL, "WAP volume"),
        ),
    ),
)
HISTORICAL_SCHEDULE: Layout = (
    _REQ_ID,
    *fields(WORD, "startDateTime endDateTime timeZone"),
    Many("historicalSessions", fields(WORD, "startDateTime endDateTime refDate")),
)
HEAD_TIMESTAMP: Layout = (_REQ_ID, Field("headTimestamp", WORD))
_TRADE: Layout = (
    Field("price", FLOAT),
    Field("size", DECIMAL),
)
_DONE = Field("isDone", BOOL)
_LAST_FLAGS = Mask("tickAttribLast", ("pastLimit", "unreported"))
HISTORICAL_TICKS: Layout = (
    _REQ_ID,
    Many("historicalTicks", (Field("time", INT), Constant("0"), *_TRADE)),
    _DONE,
)
HISTORICAL_TICKS_BID_ASK: Layout = (
    _REQ_ID,
    Many(
        "historicalTicksBidAsk",
        (
            Field("time", INT),
            Mask("tickAttribBidAsk", ("askPastHigh", "bidPastLow")),  # the other way round in tick-by-tick
            *fields(FLOAT, "priceBid priceAsk"),
            *fields(DECIMAL, "sizeBid sizeAsk"),
        ),
    ),
    _DONE,
)
HISTORICAL_TICKS_LAST: Layout = (
    _REQ_ID,
    Many(
        "historicalTicksLast",
        (Field("time", INT), _LAST_FLAGS, *_TRADE, *fields(WORD, "exchange specialConditions")),
    ),
    _DONE,
)

# ---------------------------------------------------------------- live data
REAL_TIME_BAR: Layout = (
    Constant("3"),
    _REQ_ID,
    Field("time", INT),
    *fields(FLOAT, "open high low close"),
    *fields(DECIMAL, "volume WAP"),
    Field("count", INT),
)
_TICK = fields(INT, "reqId tickType")
TICK_PRICE: Layout = (
    Constant("6"),
    *_TICK,
    Field("price", FLOAT),
    Field("size", DECIMAL),
    Field("attrMask", INT),
)
TICK_SIZE: Layout = (Constant("6"), *_TICK, Field("size", DECIMAL))
TICK_STRING: Layout = (Constant("6"), *_TICK, Field("value", ESCAPED))
TICK_GENERIC: Layout = (Constant("6"), *_TICK, Field("value", FLOAT))
TICK_REQ_PARAMS: Layout = (_REQ_ID, *fields(WORD, "minTick bboExchange"), Field("snapshotPermissions", INT))
MARKET_DATA_TYPE: Layout = (Constant("1"), _REQ_ID, Field("marketDataType", INT))
_TICK_LAST = Part(
    "historicalTickLast",
    (Field("time", INT), *_TRADE, _LAST_FLAGS, *fields(WORD, "exchange specialConditions")),
)
TICK_BY_TICK: Layout = (
    *_TICK,
    Choice(
        "tickType",
        {
            1: (_TICK_LAST,),
            2: (_TICK_LAST,),
            3: (
                Part(
                    "historicalTickBidAsk",
                    (
                        Field("time", INT),
                        *fields(FLOAT, "priceBid priceAsk"),
                        *fields(DECIMAL, "sizeBid sizeAsk"),
                        Mask("tickAttribBidAsk", ("bidPastLow", "askPastHigh")),
                    ),
                ),
            ),
            4: (Part("historicalTickMidPoint", (Field("time", INT), Field("price", FLOAT))),),
        },
    ),
)

# ---------------------------------------------------------------- orders and account
ORDER_STATUS: Layout = (
    Field("orderId", INT),
    Field("status", WORD),
    *fields(DECIMAL, "filled remaining"),
    Field("avgFillPrice", FLOAT),
    *fields(INT, "permId parentId"),
    Field("lastFillPrice", FLOAT),
    Field("clientId", INT),
    Field("whyHeld", WORD),
    Field("mktCapPrice", FLOAT),
)
PNL: Layout = (Field("reqId", INT), *fields(FLOAT, "dailyPnL unrealizedPnL realizedPnL"))
PNL_SINGLE: Layout = (
    Field("reqId", INT),
    Field("position", DECIMAL),
    *fields(FLOAT, "dailyPnL unrealizedPnL realizedPnL value"),
)
ORDER_BOUND: Layout = fields(INT, "permId clientId orderId")
EXECUTION: Layout = (
    Field("reqId", _NO_ID),
    Part("execution", (Field("orderId", INT),)),
    _CONTRACT,
    Part(
        "execution",
        (
            *fields(WORD, "execId time acctNumber exchange side"),
            Field("shares", DECIMAL),
            Field("price", FLOAT),
            *fields(INT, "permId clientId"),
            Field("isLiquidation", BOOL),
            Field("cumQty", DECIMAL),
            Field("avgPrice", FLOAT),
            *fields(WORD, "orderRef evRule"),
            Field("evMultiplier", FLOAT),
            Field("modelCode", WORD),
            Field("lastLiquidity", INT),
            Field("isPriceRevisionPending", BOOL, since=178),
            Field("submitter", WORD, since=198),
        ),
    ),
)
COMMISSION: Layout = (
    Constant("1"),
    Field("execId", WORD),
    Field("commissionAndFees", FLOAT),
    Field("currency", WORD),
    *fields(FLOAT, "realizedPNL bondYield"),
    Field("yieldRedemptionDate", WORD),
)
POSITION: Layout = (
    Constant("3"),
    Field("account", WORD),
    _CONTRACT,
    Field("position", DECIMAL),
    Field("avgCost", FLOAT),
)
POSITION_MULTI: Layout = (
    Constant("1"),
    _REQ_ID,
    Field("account", WORD),
    _CONTRACT,
    Field("position", DECIMAL),
    Field("avgCost", FLOAT),
    Field("modelCode", WORD),
)
ACCOUNT_VALUE: Layout = (Constant("2"), *fields(ESCAPED, "key value currency accountName"))
PORTFOLIO_VALUE: Layout = (
    Constant("8"),
    Part("contract", CONTRACT_HELD),
    Field("position", DECIMAL),
    *fields(FLOAT, "marketPrice marketValue averageCost unrealizedPNL realizedPNL"),
    Field("accountName", WORD),
)
ACCOUNT_TIME: Layout = (Constant("1"), Field("timeStamp", ESCAPED))
ACCOUNT_END: Layout = (Constant("1"), Field("accountName", ESCAPED))
ACCOUNT_MULTI: Layout = (Constant("1"), _REQ_ID, *fields(ESCAPED, "account modelCode key value currency"))
ACCOUNT_SUMMARY: Layout = (Constant("1"), _REQ_ID, *fields(ESCAPED, "account tag value currency"))
