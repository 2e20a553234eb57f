"""Contracts: descriptions, units, the choice between candidates, and the cache."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ibapi.contract import ContractDetails
from scripted_tws import VirtualLink, VirtualTws

from quant.core.calendar import check_name, check_zone
from quant.errors import AmbiguousContract, ContractUnclear, ParameterError, UnknownContract, WriteFailed
from quant.ib.contracts import ContractFacts, ContractSpec, TickRules, instrument
from quant.ib.exchanges import FUTURES, INDICES, STOCKS, ZONES, calendar_of, zone_of
from quant.ib.lookup import ContractCache, choose, find_contract
from quant.ib.session import Session

NOW = datetime(2026, 1, 2, 14, 30, tzinfo=UTC)
SPY = ContractSpec("SPY", currency="USD")


def facts(symbol: str = "SPY", **changes: Any) -> ContractFacts:
    spec = dict(symbol=symbol, currency="USD", primary_exchange="ARCA", con_id=756733, local_symbol=symbol)
    of_spec = {f.name for f in dataclasses.fields(ContractSpec)}
    spec |= {k: changes.pop(k) for k in list(changes) if k in of_spec}
    known = dict(
        long_name="SPDR S&P 500",
        min_tick=0.01,
        price_magnifier=1,
        time_zone="US/Eastern",
        trading_hours="",
        liquid_hours="",
        exchanges=("SMART", "ARCA"),
        market_rules=(26, 27),
    )
    return ContractFacts(ContractSpec(**spec), **{**known, **changes})


# ---------------------------------------------------------------- units
NEW_YORK, CHICAGO, BERLIN = "America/New_York", "America/Chicago", "Europe/Berlin"
FUTURE = dict(sec_type="FUT", primary_exchange="", time_zone="US/Central")
PENCE = dict(primary_exchange="LSE", currency="GBP", price_magnifier=100, time_zone="GB-Eire")
UNITS = [
    (facts(), "XNYS", NEW_YORK, 1.0, 1),
    # London quotes in pence: a price of 75 with a magnifier of 100 is GBP 0.75 (IB: priceMagnifier)
    (facts("VOD", **PENCE), "XLON", "Europe/London", 1.0, 100),
    (facts("SAP", primary_exchange="IBIS", currency="EUR", time_zone="MET"), "XETR", BERLIN, 1.0, 1),
    (facts("SAP", primary_exchange="FWB", currency="EUR", time_zone="MET"), "XFRA", BERLIN, 1.0, 1),
    (facts("7203", primary_exchange="TSEJ", currency="JPY", time_zone="Japan"), "XTKS", "Asia/Tokyo", 1.0, 1),
    (
        facts("700", primary_exchange="SEHK", currency="HKD", time_zone="HKT"),
        "XHKG",
        "Asia/Hong_Kong",
        1.0,
        1,
    ),
    # E-mini: USD 50 a point (CME contract specification)
    (facts("ES", exchange="CME", multiplier="50", **FUTURE), "CMES", CHICAGO, 50.0, 1),
    # corn: 5,000 bushels, quoted in cents (CBOT contract specification)
    (
        facts("ZC", exchange="CBOT", multiplier="5000", price_magnifier=100, **FUTURE),
        "CMES",
        CHICAGO,
        5000.0,
        100,
    ),
    (facts("EUR", sec_type="CASH", primary_exchange="", exchange="IDEALPRO"), "24/5", NEW_YORK, 1.0, 1),
    (facts("SPX", sec_type="IND", primary_exchange="", exchange="CBOE"), "XNYS", NEW_YORK, 1.0, 1),
    (facts("X", primary_exchange="NOWHERE", time_zone="EST (Eastern Standard Time)"), None, NEW_YORK, 1.0, 1),
]


@pytest.mark.parametrize(("known", "calendar", "zone", "multiplier", "magnifier"), UNITS)
def test_units_become_the_instruments(
    known: ContractFacts, calendar: str | None, zone: str, multiplier: float, magnifier: int
) -> None:
    made = instrument(known)
    assert (made.calendar, made.multiplier, made.price_magnifier) == (calendar, multiplier, magnifier)
    assert check_zone(made.timezone).utcoffset(NOW.replace(tzinfo=None)) == check_zone(zone).utcoffset(
        NOW.replace(tzinfo=None)
    )
    assert (made.symbol, made.con_id, made.exchange, made.tick) == (
        known.spec.symbol,
        756733,
        known.listing,
        0.01,
    )


@pytest.mark.parametrize(
    ("known", "field"),
    [
        (facts(currency=""), "currency"),
        (facts(min_tick=0.0), "minTick"),
        (facts(price_magnifier=-1), "priceMagnifier"),
        (facts("ES", sec_type="FUT", exchange="CME"), "multiplier"),
        (facts("ES", sec_type="FUT", exchange="CME", multiplier="fifty"), "multiplier"),
        (facts("X", primary_exchange="NOWHERE", time_zone=""), "timeZoneId"),
        (facts("X", primary_exchange="NOWHERE", time_zone="Mars/Olympus"), "timeZoneId"),
    ],
)
def test_a_missing_unit_is_an_error_and_never_a_default(known: ContractFacts, field: str) -> None:
    with pytest.raises(ContractUnclear) as caught:
        instrument(known)
    assert caught.value.field == field


def test_every_calendar_and_zone_of_the_tables_exists() -> None:
    for name in {*STOCKS.values(), *FUTURES.values(), *INDICES.values(), "24/5", "24/7"}:
        assert check_name(name)
    for name in ZONES.values():
        assert check_zone(name)
    assert calendar_of("CRYPTO", "PAXOS") == "24/7"
    assert calendar_of("STK", "CME") is None
    assert zone_of("Asia/Kolkata") == "Asia/Kolkata"


def test_the_step_depends_on_the_price() -> None:
    # SEC rule 612: a cent from a dollar on, a hundredth of one below
    rules = TickRules((0.0, 1.0), (0.0001, 0.01))
    assert [rules.tick(p, 9.0) for p in (0.5, 1.0, 250.0, -250.0)] == [0.0001, 0.01, 0.01, 0.01]
    assert TickRules().tick(5.0, 0.05) == 0.05
    for low, steps in (((1.0, 0.0), (0.1, 0.2)), ((0.0,), (0.0,)), ((0.0,), ())):
        with pytest.raises(ValueError, match="tick rules"):
            TickRules(low, steps)


def test_the_rule_is_that_of_the_exchange_that_was_asked() -> None:
    assert facts().market_rule == 26
    assert facts(exchange="ARCA").market_rule == 27
    assert facts(market_rules=(26,)).market_rule is None


def test_a_description_is_ascii_and_names_something() -> None:
    for bad in (dict(symbol="Ü"), dict(symbol="A\0B"), dict()):
        with pytest.raises(ParameterError):
            ContractSpec(**bad)
    assert str(ContractSpec("ES", "FUT", "CME", "USD", expiry="202603")) == "ES FUT 202603 CME USD"


def test_a_description_survives_ibapis_object() -> None:
    spec = ContractSpec("ES", "FOP", "CME", "USD", "", "20260320", "50", 5000.0, "C", 12345, "E1A", "E1")
    assert ContractSpec.from_ib(spec.to_ib()) == spec
    details = ContractDetails()
    with pytest.raises((ValueError, ParameterError)):
        ContractFacts.from_ib(details)


# ---------------------------------------------------------------- choice
def test_the_same_contract_on_several_venues_is_one() -> None:
    found = choose(SPY, (facts(exchange="ARCA"), facts(exchange="SMART"), facts(exchange="BATS")))
    assert found.spec.exchange == "SMART"


def test_several_contracts_are_listed_with_what_tells_them_apart() -> None:
    march = facts(
        "ES",
        sec_type="FUT",
        exchange="CME",
        primary_exchange="",
        expiry="20260320",
        con_id=1,
        local_symbol="ESH6",
    )
    june = facts(
        "ES",
        sec_type="FUT",
        exchange="CME",
        primary_exchange="",
        expiry="20260619",
        con_id=2,
        local_symbol="ESM6",
    )
    with pytest.raises(AmbiguousContract) as caught:
        choose(ContractSpec("ES", "FUT", "CME"), (june, march))
    assert [c.split()[0] for c in caught.value.candidates] == ["ESH6", "ESM6"]
    assert caught.value.mend == "Say which: add --expiry"
    assert "20260619" in str(caught.value)


def test_listings_in_several_currencies_are_told_apart() -> None:
    both = (facts(con_id=1), facts(con_id=2, currency="MXN", primary_exchange="MEXI"))
    with pytest.raises(AmbiguousContract, match="--exchange or --currency"):
        choose(ContractSpec("SPY"), both)


# ---------------------------------------------------------------- look-up and cache
def details(symbol: str = "SPY") -> ContractDetails:
    d = ContractDetails()
    d.contract = dataclasses.replace(facts(symbol).spec).to_ib()
    d.minTick, d.priceMagnifier, d.timeZoneId, d.longName = 0.01, 1, "US/Eastern", "SPDR S&P 500"
    d.validExchanges, d.marketRuleIds = "SMART,ARCA", "26,26"
    return d


class Step:
    lowEdge, increment = 0.0, 0.01  # noqa: N815  # ibapi's name


@pytest.fixture
def server() -> VirtualTws:
    def found(link: VirtualLink, r: Any) -> None:
        if r.contract.symbol in ("NOPE", "0700", "7000"):
            link.fail(r.reqId, 200, "No security definition has been found for the request")
            return
        link.say("contractDetails", r.reqId, details(r.contract.symbol))
        link.say("contractDetailsEnd", r.reqId)

    server = VirtualTws()
    server.answers["ContractDataRequest"] = found
    server.answers["MarketRuleRequest"] = lambda link, r: link.say("marketRule", r.marketRuleId, [Step()])
    server.answers["MatchingSymbolsRequest"] = lambda link, r: link.say(
        "symbolSamples", r.reqId, [details("NOPED")]
    )
    return server


@pytest.fixture
def session(server: VirtualTws) -> Session:
    session = Session(open_link=server.open, timer=server.timer)
    session.connect()
    return session


def test_a_contract_is_asked_for_once(session: Session, server: VirtualTws, tmp_path: Path) -> None:
    cache = ContractCache(tmp_path)
    first = find_contract(session, SPY, NOW, cache)
    again = find_contract(session, SPY, NOW + timedelta(days=6), ContractCache(tmp_path))
    assert again == first
    assert (first.instrument.con_id, first.tick(100.0)) == (756733, 0.01)
    assert len(server.links[0].asked("ContractDataRequest")) == 1
    assert find_contract(session, SPY, NOW + timedelta(days=8), cache).asked_at == NOW + timedelta(days=8)
    assert len(server.links[0].asked("ContractDataRequest")) == 2


def test_another_description_is_another_file(session: Session, server: VirtualTws, tmp_path: Path) -> None:
    cache = ContractCache(tmp_path)
    find_contract(session, SPY, NOW, cache)
    find_contract(session, ContractSpec("SPY", currency="USD", primary_exchange="ARCA"), NOW, cache)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert len(server.links[0].asked("ContractDataRequest")) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 1}', '{"schema": 99}', "null", "\\"])
def test_a_damaged_file_is_asked_for_again(
    session: Session, server: VirtualTws, tmp_path: Path, damage: str
) -> None:
    cache = ContractCache(tmp_path)
    find_contract(session, SPY, NOW, cache)
    cache.path(SPY).write_text(damage)
    assert find_contract(session, SPY, NOW, cache).facts.spec.con_id == 756733
    assert len(server.links[0].asked("ContractDataRequest")) == 2
    assert json.loads(cache.path(SPY).read_text())["facts"]["min_tick"] == 0.01


def test_a_file_that_answers_another_description_is_not_believed(session: Session, tmp_path: Path) -> None:
    cache, other = ContractCache(tmp_path), ContractSpec("SPY", currency="MXN")
    find_contract(session, SPY, NOW, cache)
    cache.path(SPY).rename(cache.path(other))
    assert cache.get(other, NOW) is None


def test_a_file_from_the_future_is_not_believed(session: Session, tmp_path: Path) -> None:
    cache = ContractCache(tmp_path)
    find_contract(session, SPY, NOW, cache)
    assert cache.get(SPY, NOW - timedelta(days=1)) is None


def test_a_cache_that_cannot_be_written_is_told(session: Session, tmp_path: Path) -> None:
    (tmp_path / "contracts").write_text("a file where the folder should be")
    with pytest.raises(WriteFailed):
        find_contract(session, SPY, NOW, ContractCache(tmp_path))


def test_an_unknown_contract_names_what_is_near(session: Session) -> None:
    with pytest.raises(UnknownContract, match=r"Near: NOPED \(STK ARCA USD\)"):
        find_contract(session, ContractSpec("NOPE", currency="USD"), NOW)


def test_a_number_as_hong_kong_writes_it_draws_a_hint(session: Session) -> None:
    with pytest.raises(UnknownContract, match="without leading zeros: 700 --exchange SEHK"):
        find_contract(session, ContractSpec("0700", currency="HKD"), NOW)
    with pytest.raises(UnknownContract) as e:
        find_contract(session, ContractSpec("7000", currency="HKD"), NOW)
    assert "zeros" not in str(e.value)
