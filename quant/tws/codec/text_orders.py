"""Text tables of orders: place order, open order, completed order.

Sources: ibapi 10.50.2, client.py (placeOrder) for what clients send, orderdecoder.py for what they read. Positions are
the meaning; a row out of place shifts all that follow, which tests/tws/codec proves against ibapi's own code.
"""

from __future__ import annotations

import math

from quant.tws.codec.text import (
    BOOL,
    DECIMAL,
    FLAG,
    FLOAT,
    FLOAT_OR_MAX,
    FLOAT_OR_NONE,
    INT,
    INT_OR_NONE,
    LINK,
    UNSET_DOUBLE,
    UNSET_INT,
    WORD,
    Choice,
    Constant,
    Field,
    Layout,
    Many,
    Message,
    Pairs,
    Part,
    Tags,
    When,
)
from quant.tws.codec.text_contracts import (
    CONTRACT_ASKED,
    CONTRACT_TOLD,
    EXEMPT,
    HEDGE_CONTRACT,
    LEGS,
    fields,
    is_combo,
)


# ---------------------------------------------------------------- what decides on fields
def _scaled(m: Message) -> bool:
    increment = m.order.scalePriceIncrement
    return bool(increment > 0 and increment != UNSET_DOUBLE)


def _pegged_to_benchmark(m: Message) -> bool:
    return m.order.orderType in ("PEG BENCH", "PEGBENCH")


def _pegged_to_best(m: Message) -> bool:
    return m.order.orderType in ("PEG BEST", "PEGBEST")


def _offset_from_mid(m: Message) -> bool:
    if _pegged_to_best(m):
        return math.isinf(m.order.competeAgainstBestOffset)
    return m.order.orderType in ("PEG MID", "PEGMID")


# ---------------------------------------------------------------- blocks that all three share
_SCALE_LEVELS: Layout = (
    *fields(INT_OR_NONE, "scaleInitLevelSize scaleSubsLevelSize"),
    Field("scalePriceIncrement", FLOAT_OR_NONE),
    When(
        _scaled,
        (
            Field("scalePriceAdjustValue", FLOAT_OR_NONE),
            Field("scalePriceAdjustInterval", INT_OR_NONE),
            Field("scaleProfitOffset", FLOAT_OR_NONE),
            Field("scaleAutoReset", BOOL),
            *fields(INT_OR_NONE, "scaleInitPosition scaleInitFillQty"),
            Field("scaleRandomPercent", BOOL),
        ),
    ),
)
_HEDGE: Layout = (
    Field("hedgeType", WORD),
    When(lambda m: bool(m.order.hedgeType), (Field("hedgeParam", WORD),)),
)
_ALGO: Layout = (
    Field("algoStrategy", WORD),
    When(lambda m: bool(m.order.algoStrategy), (Pairs("algoParams"),)),
)
_CLEARING = fields(WORD, "clearingAccount clearingIntent")
_BENCHMARK = When(
    _pegged_to_benchmark,
    (
        Field("referenceContractId", INT),
        Field("isPeggedChangeAmountDecrease", BOOL),
        *fields(FLOAT, "peggedChangeAmount referenceChangeAmount"),
        Field("referenceExchangeId", WORD),
    ),
)
_MORE = (Field("isConjunctionConnection", LINK), Field("isMore", FLAG))
_WHERE = (Field("conId", INT), Field("exchange", WORD))
CONDITIONS = {  # ibapi, order_condition.py
    1: (*_MORE, Field("price", FLOAT), *_WHERE, Field("triggerMethod", INT)),
    3: (*_MORE, Field("time", WORD)),
    4: (*_MORE, Field("percent", INT)),
    5: (Field("isConjunctionConnection", LINK), *fields(WORD, "secType exchange symbol")),
    6: (*_MORE, Field("volume", INT), *_WHERE),
    7: (*_MORE, Field("changePercent", FLOAT), *_WHERE),
}
_CONDITIONS: Layout = (
    Many("conditions", (Field("type", INT), Choice("type", CONDITIONS))),
    When(lambda m: len(m.order.conditions) > 0, fields(BOOL, "conditionsIgnoreRth conditionsCancelOrder")),
)
_MID_OFFSETS = fields(FLOAT_OR_NONE, "midOffsetAtWhole midOffsetAtHalf")
_PEG_BEST: Layout = (
    *fields(INT_OR_NONE, "minTradeQty minCompeteSize"),
    Field("competeAgainstBestOffset", FLOAT_OR_NONE),
    *_MID_OFFSETS,
)

# ---------------------------------------------------------------- PLACE_ORDER
_ORDER_ASKED: Layout = (
    Field("action", WORD),
    Field("totalQuantity", DECIMAL),
    Field("orderType", WORD),
    *fields(FLOAT_OR_NONE, "lmtPrice auxPrice"),
    *fields(WORD, "tif ocaGroup account openClose"),
    Field("origin", INT),
    Field("orderRef", WORD),
    Field("transmit", BOOL),
    Field("parentId", INT),
    *fields(BOOL, "blockOrder sweepToFill"),
    *fields(INT, "displaySize triggerMethod"),
    *fields(BOOL, "outsideRth hidden"),
)
_ORDER_ASKED_2: Layout = (
    Constant(""),  # shares allocation
    Field("discretionaryAmt", FLOAT),
    *fields(WORD, "goodAfterTime goodTillDate faGroup faMethod faPercentage"),
    Constant("", before=177),  # faProfile
    Field("modelCode", WORD),
    Field("shortSaleSlot", INT),
    Field("designatedLocation", WORD),
    Field("exemptCode", EXEMPT),
    Field("ocaType", INT),
    *fields(WORD, "rule80A settlingFirm"),
    Field("allOrNone", BOOL),
    Field("minQty", INT_OR_NONE),
    Field("percentOffset", FLOAT_OR_NONE),
    Constant("0"),  # eTradeOnly
    Constant("0"),  # firmQuoteOnly
    Constant(""),  # nbboPriceCap
    Constant("0"),  # auctionStrategy, which IB's protobuf Order has not
    *fields(FLOAT_OR_NONE, "startingPrice stockRefPrice delta stockRangeLower stockRangeUpper"),
    Field("overridePercentageConstraints", BOOL),
    Field("volatility", FLOAT_OR_NONE),
    Field("volatilityType", INT_OR_NONE),
    Field("deltaNeutralOrderType", WORD),
    Field("deltaNeutralAuxPrice", FLOAT_OR_NONE),
    When(
        lambda m: bool(m.order.deltaNeutralOrderType),
        (
            Field("deltaNeutralConId", INT),
            *fields(WORD, "deltaNeutralSettlingFirm deltaNeutralClearingAccount deltaNeutralClearingIntent"),
            Field("deltaNeutralOpenClose", WORD),
            Field("deltaNeutralShortSale", BOOL),
            Field("deltaNeutralShortSaleSlot", INT),
            Field("deltaNeutralDesignatedLocation", WORD),
        ),
    ),
    Field("continuousUpdate", BOOL),
    Field("referencePriceType", INT_OR_NONE),
    *fields(FLOAT_OR_NONE, "trailStopPrice trailingPercent"),
    *_SCALE_LEVELS,
    *fields(WORD, "scaleTable activeStartTime activeStopTime"),
    *_HEDGE,
    Field("optOutSmartRouting", BOOL),
    *_CLEARING,
    Field("notHeld", BOOL),
)
_ORDER_ASKED_3: Layout = (
    *_ALGO,
    Field("algoId", WORD),
    Field("whatIf", BOOL),
    Tags("orderMiscOptions"),
    *fields(BOOL, "solicited randomizeSize randomizePrice"),
    _BENCHMARK,
    *_CONDITIONS,
    Field("adjustedOrderType", WORD),
    *fields(FLOAT_OR_MAX, "triggerPrice lmtPriceOffset adjustedStopPrice adjustedStopLimitPrice"),
    Field("adjustedTrailingAmount", FLOAT_OR_MAX),
    Field("adjustableTrailingUnit", INT),
    Field("extOperator", WORD),
    Part("softDollarTier", fields(WORD, "name value")),
    Field("cashQty", FLOAT_OR_MAX),
    *fields(WORD, "mifid2DecisionMaker mifid2DecisionAlgo mifid2ExecutionTrader mifid2ExecutionAlgo"),
    *fields(BOOL, "dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice"),
    *fields(INT_OR_NONE, "usePriceMgmtAlgo duration postToAts"),
    Field("autoCancelParent", BOOL),
    *fields(WORD, "advancedErrorOverride manualOrderTime"),
    When(lambda m: bool(m.contract.exchange == "IBKRATS"), (Field("minTradeQty", INT_OR_NONE),)),
    When(
        _pegged_to_best,
        (Field("minCompeteSize", INT_OR_NONE), Field("competeAgainstBestOffset", FLOAT_OR_NONE)),
    ),
    When(_offset_from_mid, _MID_OFFSETS),
    Field("customerAccount", WORD, since=183),
    Field("professionalCustomer", BOOL, since=184),
    Constant("", since=187, before=190),  # a request for quotes, given up
    Constant(str(UNSET_INT), since=187, before=190),
    Field("includeOvernight", BOOL, since=189),
    Field("manualOrderIndicator", INT, since=192),
    Field("imbalanceOnly", BOOL, since=199),
)
PLACE_ORDER: Layout = (
    Field("orderId", INT),
    Part("contract", (*CONTRACT_ASKED, *fields(WORD, "secIdType secId"))),
    Part("order", _ORDER_ASKED),
    When(is_combo, (Part("contract", LEGS), Part("order", (Pairs("smartComboRoutingParams"),)))),
    Part("order", _ORDER_ASKED_2),
    Part("contract", (HEDGE_CONTRACT,)),
    Part("order", _ORDER_ASKED_3),
)
_CANCEL: Layout = (
    Field("manualOrderCancelTime", WORD),
    Constant("", since=187, before=190),
    Constant("", since=187, before=190),
    Constant(str(UNSET_INT), since=187, before=190),
)
_WHO: Layout = (Field("extOperator", WORD, since=192), Field("manualOrderIndicator", INT, since=192))
CANCEL_ORDER: Layout = (
    Constant("1", before=192),
    Field("orderId", INT),
    Part("orderCancel", (*_CANCEL, *_WHO)),
)
GLOBAL_CANCEL: Layout = (Constant("1", before=192), Part("orderCancel", _WHO))

# ---------------------------------------------------------------- OPEN_ORDER and COMPLETED_ORDER
_ORDER_HEAD: Layout = (
    Field("action", WORD),
    Field("totalQuantity", DECIMAL),
    Field("orderType", WORD),
    *fields(FLOAT_OR_NONE, "lmtPrice auxPrice"),
    *fields(WORD, "tif ocaGroup account openClose"),
    Field("origin", INT),
    Field("orderRef", WORD),
)
_RULES: Layout = (
    *fields(BOOL, "outsideRth hidden"),
    Field("discretionaryAmt", FLOAT),
    Field("goodAfterTime", WORD),
)
_ADVISOR: Layout = (
    *fields(WORD, "faGroup faMethod faPercentage"),
    Constant("", before=177),  # faProfile
    *fields(WORD, "modelCode goodTillDate rule80A"),
    Field("percentOffset", FLOAT_OR_NONE),
    Field("settlingFirm", WORD),
    Field("shortSaleSlot", INT),
    Field("designatedLocation", WORD),
    Field("exemptCode", EXEMPT),
)
_BOX: Layout = (
    *fields(FLOAT_OR_NONE, "startingPrice stockRefPrice delta stockRangeLower stockRangeUpper"),
    Field("displaySize", INT_OR_NONE),
)
_VOLATILITY: Layout = (
    Field("volatility", FLOAT_OR_NONE),
    Field("volatilityType", INT),
    Field("deltaNeutralOrderType", WORD),
    Field("deltaNeutralAuxPrice", FLOAT_OR_NONE),
)
_REFERENCE: Layout = (
    Field("continuousUpdate", BOOL),
    Field("referencePriceType", INT),
    *fields(FLOAT_OR_NONE, "trailStopPrice trailingPercent"),
)
_LEGS_TOLD = Part("contract", (Field("comboLegsDescrip", WORD), *LEGS))
_MARGINS = fields(
    FLOAT_OR_MAX,
    "initMarginBefore maintMarginBefore equityWithLoanBefore initMarginChange maintMarginChange equityWithLoanChange"
    " initMarginAfter maintMarginAfter equityWithLoanAfter",
)
_PREVIEW = (  # from 195 on
    Field("marginCurrency", WORD),
    *fields(
        FLOAT_OR_NONE,
        "initMarginBeforeOutsideRTH maintMarginBeforeOutsideRTH equityWithLoanBeforeOutsideRTH"
        " initMarginChangeOutsideRTH maintMarginChangeOutsideRTH equityWithLoanChangeOutsideRTH"
        " initMarginAfterOutsideRTH maintMarginAfterOutsideRTH equityWithLoanAfterOutsideRTH",
    ),
    Field("suggestedSize", DECIMAL),
    Field("rejectReason", WORD),
    Many(
        "orderAllocations",
        (
            Field("account", WORD),
            *fields(DECIMAL, "position positionDesired positionAfter desiredAllocQty allowedAllocQty"),
            Field("isMonetary", BOOL),
        ),
    ),
)
_STATE: Layout = (
    Field("status", WORD),
    *_MARGINS,
    *fields(FLOAT_OR_NONE, "commissionAndFees minCommissionAndFees maxCommissionAndFees"),
    Field("commissionAndFeesCurrency", WORD),
    When(lambda m: True, _PREVIEW, since=195),
    Field("warningText", WORD),
)
_CUSTOMER: Layout = (
    Field("customerAccount", WORD, since=183),
    Field("professionalCustomer", BOOL, since=184),
)

OPEN_ORDER: Layout = (
    Field("orderId", INT),
    Part("contract", CONTRACT_TOLD),
    Part(
        "order",
        (
            *_ORDER_HEAD,
            *fields(INT, "clientId permId"),
            *_RULES,
            Constant(""),  # shares allocation
            *_ADVISOR,
            Constant("0"),  # auctionStrategy
            *_BOX,
            *fields(BOOL, "blockOrder sweepToFill allOrNone"),
            Field("minQty", INT_OR_NONE),
            Field("ocaType", INT),
            Constant("0"),  # eTradeOnly
            Constant("0"),  # firmQuoteOnly
            Constant(""),  # nbboPriceCap
            *fields(INT, "parentId triggerMethod"),
            *_VOLATILITY,
            When(
                lambda m: bool(m.order.deltaNeutralOrderType),
                (
                    Field("deltaNeutralConId", INT),
                    *fields(
                        WORD,
                        "deltaNeutralSettlingFirm deltaNeutralClearingAccount deltaNeutralClearingIntent",
                    ),
                    Field("deltaNeutralOpenClose", WORD),
                    Field("deltaNeutralShortSale", BOOL),
                    Field("deltaNeutralShortSaleSlot", INT),
                    Field("deltaNeutralDesignatedLocation", WORD),
                ),
            ),
            *_REFERENCE,
            Constant(""),  # basisPoints
            Constant(""),  # basisPointsType
        ),
    ),
    _LEGS_TOLD,
    Part(
        "order",
        (
            Pairs("smartComboRoutingParams"),
            *_SCALE_LEVELS,
            *_HEDGE,
            Field("optOutSmartRouting", BOOL),
            *_CLEARING,
            Field("notHeld", BOOL),
        ),
    ),
    Part("contract", (HEDGE_CONTRACT,)),
    Part("order", (*_ALGO, *fields(BOOL, "solicited whatIf"))),
    Part("orderState", _STATE),
    Part(
        "order",
        (
            *fields(BOOL, "randomizeSize randomizePrice"),
            _BENCHMARK,
            *_CONDITIONS,
            Field("adjustedOrderType", WORD),
            # trailStopPrice is there for the second time: ibapi keeps this one
            *fields(FLOAT_OR_MAX, "triggerPrice trailStopPrice lmtPriceOffset adjustedStopPrice"),
            *fields(FLOAT_OR_MAX, "adjustedStopLimitPrice adjustedTrailingAmount"),
            Field("adjustableTrailingUnit", INT),
            Part("softDollarTier", fields(WORD, "name value displayName")),
            Field("cashQty", FLOAT),
            *fields(BOOL, "dontUseAutoPriceForHedge isOmsContainer discretionaryUpToLimitPrice"),
            Field("usePriceMgmtAlgo", INT),
            *fields(INT_OR_NONE, "duration postToAts"),
            Field("autoCancelParent", BOOL),
            *_PEG_BEST,
            *_CUSTOMER,
            Field("bondAccruedInterest", WORD, since=185),
            Field("includeOvernight", BOOL, since=189),
            Field("extOperator", WORD, since=193),
            Field("manualOrderIndicator", INT_OR_NONE, since=193),
            Field("submitter", WORD, since=198),
            Field("imbalanceOnly", BOOL, since=199),
        ),
    ),
)

COMPLETED_ORDER: Layout = (
    Part("contract", CONTRACT_TOLD),
    Part(
        "order",
        (
            *_ORDER_HEAD,
            Field("permId", INT),
            *_RULES,
            *_ADVISOR,
            *_BOX,
            *fields(BOOL, "sweepToFill allOrNone"),
            Field("minQty", INT_OR_NONE),
            *fields(INT, "ocaType triggerMethod"),
            *_VOLATILITY,
            When(
                lambda m: bool(m.order.deltaNeutralOrderType),
                (
                    Field("deltaNeutralConId", INT),
                    Field("deltaNeutralShortSale", BOOL),
                    Field("deltaNeutralShortSaleSlot", INT),
                    Field("deltaNeutralDesignatedLocation", WORD),
                ),
            ),
            *_REFERENCE,
        ),
    ),
    _LEGS_TOLD,
    Part(
        "order",
        (Pairs("smartComboRoutingParams"), *_SCALE_LEVELS, *_HEDGE, *_CLEARING, Field("notHeld", BOOL)),
    ),
    Part("contract", (HEDGE_CONTRACT,)),
    Part("order", (*_ALGO, Field("solicited", BOOL))),
    Part("orderState", (Field("status", WORD),)),
    Part(
        "order",
        (
            *fields(BOOL, "randomizeSize randomizePrice"),
            _BENCHMARK,
            *_CONDITIONS,
            *fields(FLOAT_OR_MAX, "trailStopPrice lmtPriceOffset"),
            Field("cashQty", FLOAT),
            *fields(BOOL, "dontUseAutoPriceForHedge isOmsContainer"),
            Field("autoCancelDate", WORD),
            Field("filledQuantity", DECIMAL),
            Field("refFuturesConId", INT),
            Field("autoCancelParent", BOOL),
            Field("shareholder", WORD),
            Field("imbalanceOnly", BOOL),
            *fields(INT, "routeMarketableToBbo parentPermId"),
        ),
    ),
    Part("orderState", fields(WORD, "completedTime completedStatus")),
    Part("order", (*_PEG_BEST, *_CUSTOMER, Field("submitter", WORD, since=198))),
)
