"""The catalogue: what TWS would find, refuse and describe."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from ibapi.protobuf.Contract_pb2 import Contract

from quant.core.instrument import Instrument
from quant.tws.exchange.builtin import third_friday
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing, contract, details, market_rule
from quant.tws.exchange.refusal import Refusal

NOW = int(np.datetime64("2024-07-03T15:00:00", "ns").astype(np.int64))
CATALOGUE = Catalogue()


def one(**fields: object) -> Listing:
    found = CATALOGUE.one(Contract(**fields), NOW)
    assert isinstance(found, Listing), found
    return found


def test_what_most_programs_send_is_found():
    for symbol in ("SPY", "MSFT", "AAPL", "IBM"):
        found = one(symbol=symbol, secType="STK", exchange="SMART", currency="USD")
        assert (found.symbol, found.currency) == (symbol, "USD")
    assert one(conId=265598).symbol == "AAPL"
    assert one(symbol="EUR", secType="CASH", exchange="IDEALPRO", currency="USD").local == "EUR.USD"
    assert one(localSymbol="EUR.USD", secType="CASH").con_id == 12087792
    assert one(symbol="SPX", secType="IND", exchange="CBOE").trades is False


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": "NOPE", "secType": "STK"},
        {"symbol": "SPY", "secType": "FUT"},
        {"symbol": "SPY", "secType": "STK", "exchange": "LSE"},
        {"symbol": "EUR", "secType": "CASH", "exchange": "SMART"},
        {"conId": 1},
        {"conId": 265598, "exchange": "LSE"},
        {"symbol": "spy", "secType": "STK"},
        {"symbol": "ES", "secType": "FUT", "lastTradeDateOrContractMonth": "202403"},  # expired
        {"symbol": "ES", "secType": "FUT", "multiplier": 5.0},
    ],
)
def test_what_is_not_there_is_error_200(fields):
    text = "No security definition has been found for the request"  # ib_async's and IB's documents
    assert CATALOGUE.find(Contract(**fields), NOW) == Refusal(200, text)
    assert CATALOGUE.one(Contract(**fields), NOW) == Refusal(200, text)


def test_a_request_that_names_nothing_is_error_321():
    for fields in ({"symbol": "SPY"}, {"secType": "STK"}, {}):
        found = CATALOGUE.find(Contract(**fields), NOW)
        assert isinstance(found, Refusal)
        assert found.code == 321


def test_several_matches_are_listed_but_refused_for_data():
    wanted = Contract(symbol="IBM", secType="STK")
    found = CATALOGUE.find(wanted, NOW)
    assert isinstance(found, list)
    assert [x.exchange for x in found] == ["NYSE", "IBIS", "FWB"]
    refused = CATALOGUE.one(wanted, NOW)
    assert isinstance(refused, Refusal)
    assert refused.code == 200
    assert "ambiguous; you must specify the currency" in refused.text


def test_the_primary_exchange_decides_between_two_of_one_currency():
    wanted = Contract(symbol="IBM", secType="STK", exchange="SMART", currency="EUR")
    refused = CATALOGUE.one(wanted, NOW)
    assert isinstance(refused, Refusal)
    assert "ambiguous" in refused.text
    assert (
        one(symbol="IBM", secType="STK", exchange="SMART", currency="EUR", primaryExch="IBIS").exchange
        == "IBIS"
    )
    assert one(symbol="IBM", secType="STK", exchange="FWB", currency="EUR").exchange == "FWB"


def test_futures_of_the_next_quarters_and_expired_ones_on_request():
    found = CATALOGUE.find(Contract(symbol="ES", secType="FUT", exchange="CME"), NOW)
    assert isinstance(found, list)
    assert [x.local for x in found] == ["ESU4", "ESZ4", "ESH5", "ESM5", "ESU5"]
    expired = CATALOGUE.find(Contract(symbol="ES", secType="FUT", includeExpired=True), NOW)
    assert isinstance(expired, list)
    assert expired[-5:] == found
    assert len(expired) > 5
    assert one(symbol="ES", secType="FUT", lastTradeDateOrContractMonth="202409").local == "ESU4"
    assert one(symbol="ES", secType="FUT", lastTradeDateOrContractMonth="20240920").multiplier == 50.0


def test_a_future_is_found_on_its_last_day_and_not_on_the_next():
    wanted = Contract(symbol="ES", secType="FUT", lastTradeDateOrContractMonth="202409")
    last, after = (
        int(np.datetime64(day, "ns").astype(np.int64)) for day in ("2024-09-20T12:00", "2024-09-21T12:00")
    )
    assert isinstance(CATALOGUE.one(wanted, last), Listing)
    assert CATALOGUE.one(wanted, after) == Refusal(
        200, "No security definition has been found for the request"
    )


def test_expiries_are_the_exchanges():
    # CME's page of the E-mini S&P 500: third Friday of the contract month.
    assert [third_friday(2024, m) for m in (3, 6, 9, 12)] == [
        date(2024, 3, 15), date(2024, 6, 21), date(2024, 9, 20), date(2024, 12, 20),
    ]  # fmt: skip


def test_pence_yen_and_lots():
    london = one(symbol="VOD", secType="STK", exchange="LSE")
    assert (london.currency, london.magnifier) == ("GBP", 100)
    assert (details(london, NOW).priceMagnifier, details(london, NOW).timeZoneId) == (100, "GB-Eire")
    assert one(symbol="7203", secType="STK").lot == 100
    assert details(one(symbol="700", secType="STK"), NOW).minSize == "100"


def test_hours_are_told_as_tws_tells_them():
    # 3 July 2024: New York closed at 13:00, and on the 4th all day (NYSE's calendar of holidays).
    liquid = details(one(conId=756733), NOW).liquidHours.split(";")
    assert liquid[:2] == ["20240703:0930-20240703:1300", "20240704:CLOSED"]
    assert len(liquid) == 6
    assert details(one(conId=756733), NOW).tradingHours.split(";")[2] == "20240705:0400-20240705:2000"
    tokyo = details(one(symbol="7203", secType="STK"), NOW)
    assert tokyo.timeZoneId == "Japan"
    assert tokyo.liquidHours.startswith("20240704:0900-20240704:1130;20240704:1230-20240704:1500;")
    future = details(one(symbol="ES", secType="FUT", lastTradeDateOrContractMonth="202409"), NOW)
    assert "20240704:1700-20240705:1700" in future.liquidHours


def test_contracts_and_market_rules_as_messages():
    found = contract(one(conId=265598))
    assert (found.exchange, found.primaryExch, found.currency) == ("SMART", "NASDAQ", "USD")
    assert not found.HasField("multiplier")
    assert contract(one(conId=265598), "NASDAQ").exchange == "NASDAQ"
    rule = CATALOGUE.rule(903)
    assert rule is not None
    steps = [(step.lowEdge, step.increment) for step in market_rule(rule).priceIncrements]
    assert steps == [(0.0, 0.5), (3000.0, 1.0), (10000.0, 5.0)]
    assert CATALOGUE.rule(1) is None
    known = details(one(symbol="7203", secType="STK"), NOW)
    assert known.marketRuleIds == "903,903"
    assert known.minTick == "0.5"


def test_made_up_bars_are_marked_in_the_long_name():
    assert "SYNTHETIC" in details(one(conId=265598), NOW).longName


def test_the_stores_instruments_join_and_keep_the_known_identity():
    held = [
        Instrument("SPY", exchange="ARCA", tick=0.01, calendar="XNYS", timezone="America/New_York"),
        Instrument("OWN", exchange="NYSE", tick=0.05, calendar="XNYS", timezone="America/New_York"),
        Instrument("WITHOUT"),
    ]
    catalogue = Catalogue(held)
    spy, own = catalogue.get(756733), catalogue.one(Contract(symbol="OWN", secType="STK"), NOW)
    assert spy is not None
    assert isinstance(own, Listing)
    assert (spy.stored, own.stored, own.rule.least, own.exchange) == (True, True, "0.05", "NYSE")
    assert len(catalogue) == len(CATALOGUE) + 2
    assert catalogue.of(held[1]) == own
    assert Catalogue(held).one(Contract(symbol="OWN", secType="STK"), NOW) == own  # the same con id each time
    assert len(Catalogue(held, only=["OWN"])) == 1


def test_search_by_name():
    assert [x.symbol for x in CATALOGUE.search("msf")] == ["MSFT"]
    assert [x.symbol for x in CATALOGUE.search("toyota")] == ["7203"]
    assert CATALOGUE.search("zzz") == CATALOGUE.search(" ") == []
