"""Every request over a real socket, in both encodings, answered by IB's own protobuf classes (text: by field lists)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from ibapi.message import IN
from scripted_tws import Peer, Script, VirtualTws, error, message, text, tws

from quant.errors import NoData, NoPermission, ParameterError, UnknownContract
from quant.ib import probes, requests
from quant.ib.codec import Event
from quant.ib.contracts import ContractSpec, TickRules
from quant.ib.session import Session

SPY = ContractSpec("SPY", currency="USD")
CONTRACT = dict(
    conId=756733,
    symbol="SPY",
    secType="STK",
    exchange="SMART",
    primaryExch="ARCA",
    currency="USD",
    localSymbol="SPY",
    tradingClass="SPY",
    strike=0.0,
)
DETAILS = dict(
    marketName="SPY",
    minTick="0.01",
    validExchanges="SMART,ARCA,LSE",
    priceMagnifier=1,
    longName="SPDR S&P 500",
    timeZoneId="US/Eastern",
    tradingHours="20260102:0400-20260102:2000",
    liquidHours="20260102:0930-20260102:1600",
    marketRuleIds="26,26,557",
    stockType="ETF",
    minSize="0.0001",
    sizeIncrement="0.0001",
)


def serve(*answers: Callable[[Any], bytes]) -> Script:
    """Answer the requests that have an answer, in turn."""

    def script(peer: Peer) -> None:
        peer.open()
        for answer in answers:
            request = peer.request()
            while type(request).__name__.startswith("Cancel"):
                request = peer.request()
            peer.send(answer(request))
        peer.drain()

    return script


def ask(request: Any, *answers: Callable[[Any], bytes]) -> Any:
    with tws(serve(*answers)) as port, Session(port=port) as session:
        session.connect()
        return session.ask(request)


def test_current_time() -> None:
    found = ask(requests.current_time(), lambda _: message("CurrentTime", currentTime=1_767_364_200))
    assert found == datetime(2026, 1, 2, 14, 30, tzinfo=UTC)


def test_accounts() -> None:
    assert ask(requests.accounts(), lambda _: message("ManagedAccounts", accountsList="DU1,DU2,")) == (
        "DU1",
        "DU2",
    )


def test_account_summary() -> None:
    def answer(r: Any) -> bytes:
        assert (r.group, r.tags) == ("All", "NetLiquidation,AccountType")
        rows = [("DU1", "NetLiquidation", "1000000.00", "USD"), ("DU1", "AccountType", "INDIVIDUAL", "")]
        sent = [
            message("AccountSummary", reqId=r.reqId, account=a, tag=t, value=v, currency=c)
            for a, t, v, c in rows
        ]
        return b"".join(sent) + message("AccountSummaryEnd", reqId=r.reqId)

    found = ask(requests.account_summary(["NetLiquidation", "AccountType"]), answer)
    assert found == {"DU1": {"NetLiquidation": ("1000000.00", "USD"), "AccountType": ("INDIVIDUAL", "")}}


def test_contract_details() -> None:
    def answer(r: Any) -> bytes:
        assert (r.contract.symbol, r.contract.secType, r.contract.exchange, r.contract.currency) == (
            "SPY",
            "STK",
            "SMART",
            "USD",
        )
        return message("ContractData", reqId=r.reqId, contract=CONTRACT, contractDetails=DETAILS) + message(
            "ContractDataEnd", reqId=r.reqId
        )

    (found,) = ask(requests.contract_details(SPY), answer)
    assert found.spec.con_id == 756733
    assert found.spec.strike is None
    assert (found.listing, found.market_rule, found.min_tick) == ("ARCA", 26, 0.01)
    assert (found.min_size, found.price_magnifier) == (0.0001, 1)


def test_an_unknown_contract_is_an_error() -> None:
    with pytest.raises(UnknownContract, match="SPY STK SMART USD") as caught:
        ask(
            requests.contract_details(SPY),
            lambda r: error(r.reqId, 200, "No security definition has been found for the request"),
        )
    assert "--exchange" in str(caught.value)


def test_matching_symbols() -> None:
    def answer(r: Any) -> bytes:
        return message(
            "SymbolSamples",
            reqId=r.reqId,
            contractDescriptions=[dict(contract=CONTRACT, derivativeSecTypes=["OPT"])],
        )

    (found,) = ask(requests.matching_symbols("SPY"), answer)
    assert (found.symbol, found.primary_exchange, found.con_id) == ("SPY", "ARCA", 756733)


def test_market_rule() -> None:
    def answer(r: Any) -> bytes:
        steps = [dict(lowEdge=0.0, increment=0.0001), dict(lowEdge=1.0, increment=0.01)]
        other = message("MarketRule", marketRuleId=7, priceIncrements=steps[:1])
        return other + message("MarketRule", marketRuleId=r.marketRuleId, priceIncrements=steps)

    assert ask(requests.market_rule(557), answer) == TickRules((0.0, 1.0), (0.0001, 0.01))


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("1767364200", datetime(2026, 1, 2, 14, 30, tzinfo=UTC)),
        ("345479400", datetime(1980, 12, 12, 14, 30, tzinfo=UTC)),
        ("-86400", datetime(1969, 12, 31, tzinfo=UTC)),
        ("19801212", datetime(1980, 12, 12, tzinfo=UTC)),
        ("19801212-14:30:00", datetime(1980, 12, 12, 14, 30, tzinfo=UTC)),
        ("19801212-14:30:00Z", datetime(1980, 12, 12, 14, 30, tzinfo=UTC)),
        ("19801212 14:30:00 UTC", datetime(1980, 12, 12, 14, 30, tzinfo=UTC)),
        ("19801212 14:30:00 US/Eastern", None),
        ("soon", None),
    ],
)
def test_times_are_read_or_refused(sent: str, meant: datetime | None) -> None:
    if meant is None:
        with pytest.raises(ValueError, match="cannot be read"):
            requests.read_time(sent)
    else:
        assert requests.read_time(sent) == meant


def test_head_timestamp_is_cancelled_when_it_is_answered() -> None:
    seen: list[Any] = []

    def script(peer: Peer) -> None:
        peer.open()
        r = peer.request()
        assert (r.useRTH, r.whatToShow, r.formatDate) == (True, "TRADES", 2)
        peer.send(message("HeadTimestamp", reqId=r.reqId, headTimestamp="345479400"))
        seen.append((r.reqId, peer.request().reqId))
        peer.drain()

    with tws(script) as port, Session(port=port) as session:
        session.connect()
        assert session.ask(requests.head_timestamp(SPY)).year == 1980
    assert seen[0][0] == seen[0][1]


def test_bars_say_exactly_what_was_asked_and_come_as_sent() -> None:
    end = datetime(2026, 1, 2, 16, 0, tzinfo=timezone(-timedelta(hours=5)))

    def answer(r: Any) -> bytes:
        assert (r.endDateTime, r.duration, r.barSizeSetting) == ("20260102-21:00:00", "1 D", "5 mins")
        assert (r.whatToShow, r.useRTH, r.formatDate, r.keepUpToDate) == ("TRADES", False, 2, False)
        bars = [
            dict(
                date="1767364200",
                open=100.1,
                high=100.7,
                low=99.9,
                close=100.5,
                volume="1234.5",
                WAP="100.25",
                barCount=17,
            ),
            dict(date="1767364500", open=0.0, high=0.0, low=-3.0, close=-1.5),
        ]
        return message("HistoricalData", reqId=r.reqId, historicalDataBars=bars) + message(
            "HistoricalDataEnd", reqId=r.reqId, startDateStr="a", endDateStr="b"
        )

    found = ask(requests.historical_bars(SPY, "5m", "1 D", end, rth=False), answer)
    assert found.rows[0] == ("1767364200", 100.1, 100.7, 99.9, 100.5, 1234.5, 100.25, 17)
    assert found.rows[1][:5] == ("1767364500", 0.0, 0.0, -3.0, -1.5)
    assert math.isnan(found.rows[1][5])
    assert (found.start, found.end, found.empty) == ("a", "b", None)


@pytest.mark.parametrize("version", [178, 200])
def test_the_text_form_gives_the_same_bars(version: int) -> None:
    def script(peer: Peer) -> None:
        peer.open(version)
        fields = peer.frame().split(b"\0")
        assert fields[0] == b"20"
        bars = [
            "1767364200",
            100.1,
            100.7,
            99.9,
            100.5,
            "1234.5",
            "100.25",
            17,
            "1767364500",
            1,
            2,
            0.5,
            1.5,
            "",
            "",
            -1,
        ]
        span = ["a", "b"]
        now = span if version < 196 else []
        peer.send(text(int(IN.HISTORICAL_DATA), int(fields[1]), *now, 2, *bars))
        if version >= 196:
            peer.send(text(int(IN.HISTORICAL_DATA_END), int(fields[1]), *span))
        peer.drain()

    with tws(script) as port, Session(port=port) as session:
        session.connect()
        assert session.server_version == version
        found = session.ask(requests.historical_bars(SPY, "5m", "1 D"))
    assert found.rows[0] == ("1767364200", 100.1, 100.7, 99.9, 100.5, 1234.5, 100.25, 17)
    assert math.isnan(found.rows[1][5])
    assert (found.start, found.end) == ("a", "b")


def test_bars_without_a_price_are_not_taken_for_zero() -> None:
    from quant.errors import DamagedAnswer

    def answer(r: Any) -> bytes:
        bars = [dict(date="1767364200", open=1.0, high=2.0, close=1.5)]
        return message("HistoricalData", reqId=r.reqId, historicalDataBars=bars) + message(
            "HistoricalDataEnd", reqId=r.reqId
        )

    with pytest.raises(DamagedAnswer, match="a bar without time or price"):
        ask(requests.historical_bars(SPY, "5m", "1 D"), answer)


@pytest.mark.parametrize(
    ("what", "end", "why"),
    [
        ("TRADES", datetime.fromisoformat("2026-01-02"), "no time zone"),
        ("ADJUSTED_LAST", datetime(2026, 1, 2, tzinfo=UTC), "takes no end"),
    ],
)
def test_ends_that_ib_would_refuse_are_refused_before(what: str, end: datetime, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        requests.historical_bars(SPY, "1d", "1 Y", end, what)


def test_requests_cost_what_ib_counts() -> None:
    end = datetime(2026, 1, 2, tzinfo=UTC)
    one = requests.historical_bars(SPY, "5s", "3600 S", end).cost
    two = requests.historical_bars(SPY, "5s", "3600 S", end, "BID_ASK").cost
    assert one is not None
    assert two is not None
    assert (one.weight, two.weight) == (1, 2)
    assert one.small
    assert one == requests.historical_bars(SPY, "5 secs", "3600 S", end).cost
    assert one.series != two.series
    live, head = requests.real_time_bars(SPY).cost, requests.head_timestamp(SPY).cost
    assert live is not None
    assert head is not None
    assert (live.small, live.opens, head.small, head.opens) == (True, False, False, True)


def test_every_bar_size_has_ibs_name() -> None:
    from quant.core.barsize import SIZES

    assert set(requests.IB_BARS) == set(SIZES)
    assert requests.IB_BARS["30m"] == "30 mins"
    assert requests.IB_BARS["1h"] == "1 hour"


def test_schedule() -> None:
    def answer(r: Any) -> bytes:
        assert (r.whatToShow, r.barSizeSetting) == ("SCHEDULE", "1 day")
        sessions = [
            dict(startDateTime="20260102-09:30:00", endDateTime="20260102-16:00:00", refDate="20260102")
        ]
        return message(
            "HistoricalSchedule",
            reqId=r.reqId,
            startDateTime="s",
            endDateTime="e",
            timeZone="US/Eastern",
            historicalSessions=sessions,
        )

    found = ask(requests.schedule(SPY, "1 M"), answer)
    assert found.time_zone == "US/Eastern"
    assert found.sessions == (("20260102-09:30:00", "20260102-16:00:00", "20260102"),)


def quote(*ticks: tuple[int, float], kind: int = 1) -> Callable[[Any], bytes]:
    def answer(r: Any) -> bytes:
        sent = [
            message("TickPrice", reqId=r.reqId, tickType=t, price=p, size="1", attrMask=0) for t, p in ticks
        ]
        return (
            message("MarketDataType", reqId=r.reqId, marketDataType=kind)
            + b"".join(sent)
            + message("TickSnapshotEnd", reqId=r.reqId)
        )

    return answer


def test_snapshot_keeps_what_ib_has() -> None:
    found = ask(requests.snapshot(SPY), quote((1, 0.0), (2, -1.0), (4, 100.25)))
    assert found == requests.Quote(bid=0.0, ask=None, last=100.25, data_type="live")


def test_delayed_ticks_are_told_as_delayed() -> None:
    found = ask(requests.snapshot(SPY), quote((66, 99.0), (67, 99.1), kind=3))
    assert found == requests.Quote(bid=99.0, ask=99.1, data_type="delayed")


def test_no_permission_is_an_error_with_its_mend() -> None:
    with pytest.raises(NoPermission, match="Client Portal"):
        ask(requests.snapshot(SPY), lambda r: error(r.reqId, 354, "Requested market data is not subscribed."))


def test_the_data_type_is_told() -> None:
    def script(peer: Peer) -> None:
        peer.open()
        assert peer.request().marketDataType == 3
        peer.send(message("CurrentTime", currentTime=9))
        peer.drain()

    with tws(script) as port, Session(port=port) as session:
        heard: list[Event] = []
        session.connect()
        session.listen(heard.append, "currentTime")
        session.tell("delayed quotes", requests.ask_for_data_type("delayed"))
        while not heard:
            session.poll(1.0)
    with pytest.raises(ParameterError, match="delayed-frozen"):
        requests.ask_for_data_type("slow")


# ---------------------------------------------------------------- probes
@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (quote((1, 1.0)), "granted"),
        (quote((66, 1.0), kind=3), "delayed"),
        (lambda r: error(r.reqId, 10167, "Displaying delayed market data.") + quote((66, 1.0))(r), "delayed"),
        (lambda r: error(r.reqId, 354, "Requested market data is not subscribed."), "refused"),
        (
            lambda r: error(
                r.reqId, 10089, "Requested market data requires additional subscription for API."
            ),
            "refused",
        ),
        (lambda r: error(r.reqId, 10197, "No market data during competing live session"), "competing"),
        (lambda r: error(r.reqId, 101, "Max number of tickers has been reached."), "unclear"),
        (quote(), "none"),
    ],
)
def test_a_probe_of_live_data_is_an_answer(answer: Callable[[Any], bytes], found: str) -> None:
    with tws(serve(answer)) as port, Session(port=port) as session:
        session.connect()
        probe = probes.live_data(session, SPY)
    assert probe.answer == found
    assert (probe.mend != "") == (found in ("delayed", "refused", "competing", "none", "unclear"))


@pytest.mark.parametrize(
    ("code", "told", "found"),
    [
        (
            162,
            "Historical Market Data Service error message:No market data permissions for NYSE STK",
            "refused",
        ),
        (
            162,
            "Historical Market Data Service error message:HMDS query returned no data: X@SMART Trades",
            "none",
        ),
        (321, "Error validating request", "unclear"),
    ],
)
def test_a_probe_of_history_is_an_answer(code: int, told: str, found: str) -> None:
    with tws(serve(lambda r: error(r.reqId, code, told))) as port, Session(port=port) as session:
        session.connect()
        assert probes.history(session, SPY).answer == found


def test_no_first_bar_is_an_error() -> None:
    with pytest.raises(NoData):
        ask(requests.head_timestamp(SPY), lambda r: error(r.reqId, 162, "HMDS query returned no data"))


def test_the_clock_of_tws_is_compared_half_way() -> None:
    server = VirtualTws()
    server.answers["CurrentTimeRequest"] = lambda link, _: link.say("currentTime", 1_767_364_203, after=2.0)
    session = Session(open_link=server.open, timer=server.timer)
    session.connect()
    assert probes.clock_skew_s(session, datetime(2026, 1, 2, 14, 30, tzinfo=UTC)) == pytest.approx(2.0)
