"""What the codec writes, ibapi 10.50.2 reads: the same callbacks from text as from protobuf, and no field left over."""

from __future__ import annotations

from typing import Any

import pytest
from ibapi.const import UNSET_DECIMAL, UNSET_DOUBLE
from wire_peers import TEXT_VERSIONS, as_text_carries, differences, filled, names, payloads, read_by_ibapi

from quant.tws.codec import ANSWERS, Codec, TextError, message_class

FOLDED = {"HistoricalData", "HistoricalDataEnd"}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "TickByTickData": [{"tickType": t} for t in (1, 2, 3, 4)],
    "ContractData": [{}, {"contract.secType": "FUND"}],
    "OpenOrder": [
        {},
        {"order.orderType": "LMT"},
        {"order.deltaNeutralOrderType": "", "order.hedgeType": ""},
        {"order.scalePriceIncrement": 0.0, "order.algoStrategy": ""},
    ],
    "CompletedOrder": [
        {},
        {"order.orderType": "LMT"},
        {"order.deltaNeutralOrderType": "", "order.hedgeType": ""},
    ],
}
CASES = [
    pytest.param(entry, fixed, id=entry.name + "".join(f" {v}" for v in fixed.values()))
    for entry in ANSWERS.values()
    for fixed in VARIANTS.get(entry.name, [{}])
]


@pytest.mark.parametrize(("entry", "fixed"), [c for c in CASES if c.values[0].name not in FOLDED])
def test_ibapi_takes_every_field_and_calls_back_as_for_protobuf(entry: Any, fixed: dict[str, Any]) -> None:
    for version in TEXT_VERSIONS:
        message = filled(entry.type, bit=version % 6, **fixed)
        (text,) = payloads(Codec(version).encode(message))
        carried = as_text_carries(entry.layout, version, message)
        (protobuf,) = payloads(Codec(226).encode(carried))
        assert differences(read_by_ibapi(text, version), read_by_ibapi(protobuf, 226)) == [], version


@pytest.mark.parametrize("version", TEXT_VERSIONS)
def test_bars_and_their_end_arrive_as_one_message_before_196_and_as_two_from_then_on(version: int) -> None:
    codec = Codec(version)
    bars = filled(message_class("HistoricalData"), reqId=5)
    end = filled(message_class("HistoricalDataEnd"), reqId=5)
    frames = payloads([*codec.encode(bars), *codec.encode(end)])
    assert len(frames) == (1 if version < 196 else 2)
    calls = [call for frame in frames for call in read_by_ibapi(frame, version)]
    newest = Codec(226)
    expected = [
        call
        for frame in payloads([*newest.encode(bars), *newest.encode(end)])
        for call in read_by_ibapi(frame, 226)
    ]
    assert [name for name, _ in calls] == ["historicalData", "historicalData", "historicalDataEnd"]
    assert differences(calls, expected) == []


def test_an_answer_without_bars_still_has_its_end() -> None:
    end = message_class("HistoricalDataEnd")(reqId=3, startDateStr="a", endDateStr="b")
    (payload,) = payloads(Codec(178).encode(end))
    assert read_by_ibapi(payload, 178) == [("historicalDataEnd", (3, "a", "b"))]


def test_bars_of_two_requests_do_not_mix() -> None:
    codec = Codec(178)
    data, end = message_class("HistoricalData"), message_class("HistoricalDataEnd")
    for request in (1, 2):
        assert codec.encode(data(reqId=request, historicalDataBars=[dict(date=f"day {request}")])) == ()
    for request in (2, 1):
        (payload,) = payloads(codec.encode(end(reqId=request)))
        (name, (got, bar)), _ = read_by_ibapi(payload, 178)
        assert (name, got, bar["date"]) == ("historicalData", request, f"day {request}")


def test_bars_of_an_answer_that_was_broken_off_do_not_come_with_the_next() -> None:
    codec = Codec(178)
    data, end = message_class("HistoricalData"), message_class("HistoricalDataEnd")
    codec.encode(data(reqId=1, historicalDataBars=[dict(date="old"), dict(date="older")]))
    codec.encode(data(reqId=1, historicalDataBars=[dict(date="new")]))
    (payload,) = payloads(codec.encode(end(reqId=1)))
    assert [args[1]["date"] for name, args in read_by_ibapi(payload, 178) if name == "historicalData"] == [
        "new"
    ]


def paths(message: Any, where: str = "") -> set[str]:
    """Return the names of all fields that are set, lists as one."""
    found = set()
    for field, value in message.ListFields():
        name = f"{where}{field.name}"
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            found.add(name)
        else:
            for part in value if field.is_repeated else [value]:
                found |= paths(part, f"{name}.")
    return found


# Fields of IB's protobuf that have no place in text of any version; the order in which IB added them.
NOT_IN_TEXT = {
    "OpenOrder": """contract.primaryExch contract.secIdType contract.secId contract.description contract.issuerId
        contract.includeExpired contract.lastTradeDate order.orderId order.activeStartTime order.activeStopTime
        order.scaleTable order.hedgeMaxSize order.algoId order.transmit order.overridePercentageConstraints
        order.orderMiscOptions order.mifid2DecisionMaker order.mifid2DecisionAlgo order.mifid2ExecutionTrader
        order.mifid2ExecutionAlgo order.autoCancelDate order.filledQuantity order.refFuturesConId order.shareholder
        order.routeMarketableToBbo order.parentPermId order.advancedErrorOverride order.manualOrderTime
        order.deactivate order.postOnly order.allowPreOpen order.ignoreOpenAuction order.seekPriceImprovement
        order.whatIfType order.conditionsIncludeOvernight orderState.completedTime orderState.completedStatus""",
    "ContractData": """contract.secIdType contract.secId contract.description contract.issuerId
        contract.includeExpired contract.comboLegsDescrip contract.comboLegs.conId contract.comboLegs.ratio
        contract.comboLegs.action contract.comboLegs.exchange contract.comboLegs.openClose
        contract.comboLegs.shortSalesSlot contract.comboLegs.designatedLocation contract.comboLegs.exemptCode
        contract.comboLegs.perLegPrice contract.deltaNeutralContract.conId contract.deltaNeutralContract.delta
        contract.deltaNeutralContract.price contractDetails.cusip contractDetails.issueDate contractDetails.ratings
        contractDetails.bondType contractDetails.coupon contractDetails.couponType contractDetails.convertible
        contractDetails.callable contractDetails.puttable contractDetails.descAppend contractDetails.nextOptionDate
        contractDetails.nextOptionType contractDetails.nextOptionPartial contractDetails.bondNotes
        contractDetails.eventContract1 contractDetails.eventContractDescription1
        contractDetails.eventContractDescription2 contractDetails.minAlgoSize contractDetails.lastPricePrecision
        contractDetails.lastSizePrecision contractDetails.settlementMethod""",
    "ExecutionDetails": """contract.primaryExch contract.secIdType contract.secId contract.description
        contract.issuerId contract.includeExpired contract.lastTradeDate contract.comboLegsDescrip
        contract.comboLegs.conId contract.comboLegs.ratio contract.comboLegs.action contract.comboLegs.exchange
        contract.comboLegs.openClose contract.comboLegs.shortSalesSlot contract.comboLegs.designatedLocation
        contract.comboLegs.exemptCode contract.comboLegs.perLegPrice contract.deltaNeutralContract.conId
        contract.deltaNeutralContract.delta contract.deltaNeutralContract.price execution.optExerciseOrLapseType""",
    "TickReqParams": "lastPricePrecision lastSizePrecision",
}
WITHOUT_LOSS = set(
    names(
        """OrderStatus ErrorMessage AccountValue AccountUpdateMulti AccountSummary HistoricalData HistoricalDataEnd
    HistoricalDataUpdate HistoricalSchedule HistoricalTicks HistoricalTicksBidAsk HistoricalTicksLast
    RealTimeBarTick HeadTimestamp CommissionAndFeesReport TickPrice TickSize TickString TickGeneric
    MarketDataType MarketRule NextValidId ManagedAccounts CurrentTime OrderBound"""
    )
)


def all_true(message: Any) -> Any:
    """Set every flag: a false one is not set after reading."""
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if field.is_repeated else [value]:
                all_true(part)
        elif value is False:
            setattr(message, field.name, True)
    return message


# Not here: positions and portfolios, which carry contracts as executions do; ends, which carry nothing but an id.
LOOKED_AT = [e for e in ANSWERS.values() if e.name in WITHOUT_LOSS or e.name in NOT_IN_TEXT]


@pytest.mark.parametrize("entry", [pytest.param(e, id=e.name) for e in LOOKED_AT])
def test_text_of_version_200_loses_only_what_ib_gives_no_place(entry: Any) -> None:
    message = all_true(filled(entry.type))
    if entry.name == "ContractData":
        message.contract.secType = "FUND"
    lost = paths(message) - paths(as_text_carries(entry.layout, 200, message))
    assert lost == set(NOT_IN_TEXT.get(entry.name, "").split())


@pytest.mark.parametrize(
    "entry", [pytest.param(e, id=e.name) for e in ANSWERS.values() if e.name not in FOLDED]
)
@pytest.mark.parametrize("version", [178, 200])
def test_ibapi_takes_every_field_of_a_message_in_which_nothing_is_set(entry: Any, version: int) -> None:
    message = entry.type(**({"tickType": 1} if entry.name == "TickByTickData" else {}))
    (payload,) = payloads(Codec(version).encode(message))
    assert len(read_by_ibapi(payload, version)) >= 1


def test_what_is_not_set_in_an_order_is_unset_at_ibapi_and_no_zero() -> None:
    message = message_class("OpenOrder")(orderId=1)
    (payload,) = payloads(Codec(178).encode(message))
    ((_, (_, contract, order, state)),) = read_by_ibapi(payload, 178)
    assert {order[n] for n in ("lmtPrice", "auxPrice", "trailStopPrice", "lmtPriceOffset")} == {UNSET_DOUBLE}
    assert order["totalQuantity"] == UNSET_DECIMAL
    assert (order["exemptCode"], order["cashQty"], order["transmit"], contract["strike"]) == (
        -1,
        0.0,
        True,
        0.0,
    )
    # as TWS writes the margins of an order that is no what-if
    assert (state["initMarginBefore"], state["commissionAndFees"]) == ("1.7976931348623157E308", UNSET_DOUBLE)


@pytest.mark.parametrize("price", [0.1, 1e-9, 0.30000000000000004, 1e22, -0.0, 123456789.123, 5e-324])
def test_prices_arrive_to_the_last_bit(price: float) -> None:
    message = message_class("TickPrice")(reqId=1, tickType=68, price=price, size="1")
    (payload,) = payloads(Codec(178).encode(message))
    (_, (_, _, got, _)), *_ = read_by_ibapi(payload, 178)
    assert (got, str(got)) == (price, str(price))


def test_words_beyond_ascii_and_backslashes_arrive() -> None:
    text = 'Zürich \\ "Nestlé" 東京 \n ok'
    for version in (178, 200):
        codec = Codec(version)
        (error,) = payloads(codec.encode(message_class("ErrorMessage")(id=1, errorCode=321, errorMsg=text)))
        assert read_by_ibapi(error, version)[0][1][3] == text
        (value,) = payloads(
            codec.encode(message_class("AccountValue")(key="k", value=text, accountName="DU1"))
        )
        assert read_by_ibapi(value, version) == [("updateAccountValue", ("k", text, "", "DU1"))]
        (details,) = payloads(
            codec.encode(message_class("ContractData")(contractDetails=dict(longName=text)))
        )
        assert read_by_ibapi(details, version)[0][1][1]["longName"] == text


def test_a_nul_that_a_client_hid_in_its_order_shifts_no_field_of_another_clients_text() -> None:
    order = dict(orderRef="a\0b", orderType="PEG\0BENCH", hedgeType="\0", algoStrategy="")
    message = message_class("OpenOrder")(orderId=1, order=order)
    (payload,) = payloads(Codec(178).encode(message))
    ((_, (_, _, got, _)),) = read_by_ibapi(payload, 178)
    assert (got["orderRef"], got["orderType"], got["hedgeType"]) == ("a?b", "PEG?BENCH", "?")


@pytest.mark.parametrize("version", [178, 226])
def test_tags_come_in_one_order_whatever_the_process(version: int) -> None:
    tags = {f"tag{i}": "x" for i in (3, 1, 2, 9, 5)}
    order = dict(algoStrategy="Vwap", algoParams=tags)
    (payload,) = payloads(Codec(version).encode(message_class("OpenOrder")(orderId=1, order=order)))
    assert sorted(tags, key=lambda tag: payload.index(tag.encode())) == sorted(tags)


def test_what_clients_cannot_be_told_is_refused_at_the_server() -> None:
    with pytest.raises(TypeError, match="PlaceOrderRequest is no answer"):
        Codec(178).encode(message_class("PlaceOrderRequest")())
    with pytest.raises(TextError, match="tickType = 9 is none of 1, 2, 3, 4"):
        Codec(178).encode(message_class("TickByTickData")(tickType=9))
    with pytest.raises(ValueError, match="16,777,215 are the most"):
        Codec(178).encode(message_class("ErrorMessage")(errorMsg="x" * 0xFFFFFF))
    with pytest.raises(ValueError, match="server version 150 is not one of 176 to 226"):
        Codec(150)
