"""The session without sockets: every request has its answer, several clients share one market, time is handed in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from quant.core.barsize import SECOND
from quant.core.synthetic import synthetic
from quant.tws.codec import REQUESTS, Codec, Malformed, Unknown, message_class
from quant.tws.exchange.account import Account
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.models import PathModel
from quant.tws.exchange.request import INVALID_END
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.tape import Tape
from quant.tws.program import Tws, simulated
from quant.tws.session import HANDLERS, Session, number_of

SPY = dict(symbol="SPY", secType="STK", exchange="SMART", currency="USD")
EURUSD = dict(symbol="EUR", secType="CASH", exchange="IDEALPRO", currency="USD")
MINUTE = 60 * SECOND


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


NOON = at("2024-05-15T16:00:00")  # in New York; a Wednesday
NIGHT = at("2024-05-16T01:00:00")


class Talk:
    """A client of a TWS that says messages by name and reads what comes back."""

    def __init__(self, tws: Tws, client: int | None = 1, now: int = NOON) -> None:
        self.session = Session(tws)
        self.tws = tws
        if client is not None:
            self.say("StartApiRequest", now, clientId=client)

    def say(self, name: str, now: int = NOON, **values: Any) -> list[Any]:
        self.session.receive(message_class(name)(**values), now)
        return self.session.take()

    def wait(self, now: int) -> list[Any]:
        self.tws.advance(now)
        return self.session.take()


@pytest.fixture
def tws() -> Tws:
    return simulated(rate_limited=False)


def kinds(messages: list[Any]) -> list[str]:
    return [type(m).__name__ for m in messages]


def codes(messages: list[Any]) -> list[int]:
    return [m.errorCode for m in messages if type(m).__name__ == "ErrorMessage"]


def history(number: int = 1, **more: Any) -> dict[str, Any]:
    given = dict(endDateTime="", barSizeSetting="1 min", duration="1800 S", useRTH=True, whatToShow="TRADES")
    return {"reqId": number, "contract": SPY, "formatDate": 1, **given, **more}


def order(number: int, quantity: int = 10, limit: float | None = None, **more: Any) -> dict[str, Any]:
    asked = dict(action="BUY" if quantity > 0 else "SELL", totalQuantity=str(abs(quantity)), transmit=True)
    asked |= dict(orderType="MKT") if limit is None else dict(orderType="LMT", lmtPrice=limit)
    return dict(orderId=number, contract=SPY, order={**asked, **more})


# ---------------------------------------------------------------- the start
def test_the_start_gives_account_next_id_and_farm_notices(tws: Tws) -> None:
    said = Talk(tws, None).say("StartApiRequest", clientId=7)
    assert kinds(said) == ["ManagedAccounts", "NextValidId", *["ErrorMessage"] * 3]
    assert (said[0].accountsList, said[1].orderId) == ("DU1234567", 1)
    assert [(m.id, m.errorCode) for m in said[2:]] == [(-1, 2104), (-1, 2106), (-1, 2158)]


def test_a_client_id_in_use_is_refused_until_it_is_free(tws: Tws) -> None:
    first, second = Talk(tws), Talk(tws, None)
    assert codes(second.say("StartApiRequest", clientId=1)) == [326]
    assert second.session.closing
    first.session.leave()
    second.session.leave()  # of one that never joined: nobody is pushed out
    assert Talk(tws).session.client_id == 1


def test_before_the_start_nothing_is_served_and_a_second_start_is_an_error(tws: Tws) -> None:
    talk = Talk(tws, None)
    assert codes(talk.say("CurrentTimeRequest")) == [504]
    talk.say("StartApiRequest", clientId=1)
    assert codes(talk.say("StartApiRequest", clientId=2)) == [321]
    assert talk.session.client_id == 1


def test_time_is_the_virtual_clocks(tws: Tws) -> None:
    talk = Talk(tws)
    assert talk.say("CurrentTimeRequest")[0].currentTime == NOON // SECOND
    assert talk.say("CurrentTimeInMillisRequest")[0].currentTimeInMillis == NOON // 1_000_000
    assert talk.say("ManagedAccountsRequest")[0].accountsList == "DU1234567"


# What TWS takes without a word, as far as its clients wait for none.
SILENT = {"SetServerLogLevelRequest", "MarketDataTypeRequest", "CancelHeadTimestamp", "CancelPositions"}
SILENT |= {"CancelPositionsMulti", "CancelAccountUpdatesMulti", "CancelAccountSummary"}
SILENT |= {"GlobalCancelRequest", "AccountDataRequest"}  # nothing open; subscribe is not set


@pytest.mark.parametrize("name", sorted(entry.name for entry in REQUESTS.values()))
def test_no_request_is_met_with_silence(tws: Tws, name: str) -> None:
    given = {"marketDataType": 3} if name == "MarketDataTypeRequest" else {}
    said = Talk(tws, 5).say(name, **given)
    if name == "AutoOpenOrdersRequest":
        assert codes(said) == [321]  # 0 is the only client that may
    assert bool(said) is (name not in SILENT)
    for message in said:
        for version in (178, 226):
            Codec(version).encode(message)


def test_requests_that_are_not_simulated_name_themselves(tws: Tws) -> None:
    assert set(HANDLERS) | {"StartApiRequest"} >= {e.name for e in REQUESTS.values() if "Ticks" not in e.name}
    talk = Talk(tws)
    (said,) = talk.say("HistoricalTicksRequest", reqId=4, contract=SPY)
    assert (said.id, said.errorCode) == (4, 321)
    for asked in (Unknown(88, False, b"5\0DU1\0\0"), Unknown(88, True, b"\x08\x05\x12\x03DU1")):
        talk.session.receive(asked, NOON)
        (said,) = talk.session.take()
        assert (said.id, said.errorCode, "REQ_HISTOGRAM_DATA is not simulated" in said.errorMsg) == (
            5,
            321,
            True,
        )
    talk.session.receive(Malformed(20, "HistoricalDataRequest", "ends early"), NOON)
    assert codes(talk.session.take()) == [320]


def test_numbers_of_unknown_requests() -> None:
    # 300 as protobuf's varint is ac 02: protobuf.dev, Encoding.
    assert number_of(Unknown(88, True, b"\x08\xac\x02")) == 300
    assert number_of(Unknown(88, False, b"1000000000\0DU1\0\0")) == 1_000_000_000
    assert number_of(Unknown(88, False, b"9999999999\0")) == -1
    for odd in (b"", b"\x08", b"\x08\xff\xff\xff\xff\xff\x01", b"\x12\x01a"):
        assert number_of(Unknown(88, True, odd)) == -1
    assert number_of(Unknown(12, False, b"1\0")) == number_of(Unknown(88, False, b"x\0")) == -1


# ---------------------------------------------------------------- contracts
def test_contracts_one_several_none(tws: Tws) -> None:
    talk = Talk(tws)
    said = talk.say("ContractDataRequest", reqId=3, contract=SPY)
    assert kinds(said) == ["ContractData", "ContractDataEnd"]
    assert (said[0].contract.conId, said[0].contractDetails.timeZoneId) == (756733, "US/Eastern")
    several = talk.say("ContractDataRequest", reqId=3, contract=dict(symbol="IBM", secType="STK"))
    assert len(several) > 2
    assert codes(talk.say("ContractDataRequest", reqId=3, contract=dict(SPY, symbol="NOPE"))) == [200]
    ambiguous = dict(symbol="IBM", secType="STK", exchange="SMART")
    assert codes(talk.say("HistoricalDataRequest", **history(contract=ambiguous))) == [200]
    assert codes(talk.say("MarketRuleRequest", marketRuleId=424242)) == [321]
    assert talk.say("MarketRuleRequest", marketRuleId=26)[0].priceIncrements[0].increment == 0.01
    (found,) = talk.say("MatchingSymbolsRequest", reqId=1, pattern="SP")
    assert {d.contract.symbol for d in found.contractDescriptions} >= {"SPY", "SPX"}


# ---------------------------------------------------------------- history
def test_history_answers_with_bars_and_their_end(tws: Tws) -> None:
    said = Talk(tws).say("HistoricalDataRequest", **history())
    assert kinds(said) == ["HistoricalData", "HistoricalDataEnd"]
    bars = said[0].historicalDataBars
    assert len(bars) == 31  # the minute that has just begun is there
    assert (bars[0].date, bars[-1].date) == ("20240515 11:30:00 US/Eastern", "20240515 12:00:00 US/Eastern")


def test_history_refusals(tws: Tws) -> None:
    talk = Talk(tws)
    assert codes(talk.say("HistoricalDataRequest", **history(barSizeSetting="7 mins"))) == [321]
    end = talk.say("HistoricalDataRequest", **history(endDateTime="20240515 12:00:00 GMT"))
    assert codes(end) == [INVALID_END.code]
    trades = talk.say("HistoricalDataRequest", **history(contract=EURUSD))
    assert codes(trades) == [162]
    local = talk.say("HistoricalDataRequest", **history(endDateTime="20240515 12:00:00"))
    assert (codes(local), kinds(local)[-1]) == ([2174], "HistoricalDataEnd")


def test_pacing_over_all_clients_and_what_it_counts(tws: Tws) -> None:
    one, two = Talk(tws, 1), Talk(tws, 2)
    small = history(barSizeSetting="1 secs", duration="60 S")
    assert codes(one.say("HistoricalDataRequest", **small)) == []
    (refused,) = two.say("HistoricalDataRequest", NOON + 14 * SECOND, **small)
    assert (refused.errorCode, "pacing violation" in refused.errorMsg) == (162, True)
    assert tws.pacing.violations == Counter({"identical within 15 s": 1})
    assert codes(two.say("HistoricalDataRequest", NOON + 15 * SECOND, **small)) == []


def test_fifty_open_history_requests_and_their_cancel() -> None:
    tws = simulated(rate_limited=False, history_s=2.0)
    talk = Talk(tws)
    for number in range(50):
        assert talk.say("HistoricalDataRequest", **history(number)) == []
    assert codes(talk.say("HistoricalDataRequest", **history(50))) == [322]
    assert codes(talk.say("HistoricalDataRequest", **history(7))) == [322]
    assert codes(talk.say("CancelHistoricalData", reqId=7)) == [162]
    assert codes(talk.say("CancelHistoricalData", reqId=7)) == [366]
    assert tws.next_at(NOON) == NOON + 2 * SECOND
    assert talk.wait(NOON + 2 * SECOND - 1) == []
    answered = talk.wait(NOON + 2 * SECOND)
    assert [m.reqId for m in answered[::2]] == [n for n in range(50) if n != 7]
    assert talk.say("HistoricalDataRequest", NOON + 2 * SECOND, **history(7)) == []


def with_minutes() -> Tws:
    spy = Catalogue().get(756733)
    assert spy is not None
    minutes = synthetic("SPY", "1m", "2024-05-13", "2024-05-16", seed=5)
    tape = Tape({spy.con_id: held_bars([replace(minutes, instrument=spy.instrument)])})
    return Tws(Catalogue(), tape, Exchange(PathModel(tape), Account()), rate_limited=False)


def check_updates(tws: Tws) -> None:
    talk = Talk(tws)
    said = talk.say("HistoricalDataRequest", **history(keepUpToDate=True))
    live = {b.date: b for b in said[0].historicalDataBars}
    updates = talk.wait(NOON + 3 * MINUTE)
    assert set(kinds(updates)) == {"HistoricalDataUpdate"}
    assert len(updates) > 30
    live |= {m.historicalDataBar.date: m.historicalDataBar for m in updates}
    later = talk.say("HistoricalDataRequest", NOON + 3 * MINUTE, **history(2))[0].historicalDataBars
    assert len(live) == 34
    assert [live[b.date] for b in later] == list(later)
    assert codes(talk.say("CancelHistoricalData", NOON + 3 * MINUTE, reqId=1)) == [162]
    assert talk.wait(NOON + 4 * MINUTE) == []


def test_bars_kept_up_to_date_end_as_history_has_them() -> None:
    check_updates(with_minutes())


def test_bars_kept_up_to_date_inside_a_day(tws: Tws) -> None:
    check_updates(tws)


def test_schedule_and_head_time_stamp(tws: Tws) -> None:
    talk = Talk(tws)
    asked = history(barSizeSetting="1 day", duration="3 D", whatToShow="SCHEDULE")
    (found,) = talk.say("HistoricalDataRequest", **asked)
    assert [s.refDate for s in found.historicalSessions] == ["20240513", "20240514", "20240515"]
    head = dict(reqId=2, contract=SPY, whatToShow="TRADES", useRTH=True)
    (text,) = talk.say("HeadTimestampRequest", formatDate=1, **head)
    (number,) = talk.say("HeadTimestampRequest", formatDate=2, **head)
    told = datetime.strptime(text.headTimestamp, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
    assert int(number.headTimestamp) == told.timestamp()
    assert codes(talk.say("HeadTimestampRequest", formatDate=1, **{**head, "whatToShow": "X"})) == [321]
    assert tws.open_history.open(1, 1) is None  # the schedule's request is not open any more


# ---------------------------------------------------------------- live data
def test_five_second_bars_add_up_to_the_minute(tws: Tws) -> None:
    talk = Talk(tws)
    assert (
        talk.say("RealTimeBarsRequest", reqId=1, contract=SPY, barSize=5, whatToShow="TRADES", useRTH=True)
        == []
    )
    bars = talk.wait(NOON + MINUTE)
    assert [b.time for b in bars] == list(range(NOON // SECOND, NOON // SECOND + 60, 5))
    whole = talk.say("HistoricalDataRequest", NOON + MINUTE, **history(2))[0].historicalDataBars[-2]
    assert (bars[0].open, bars[-1].close) == (whole.open, whole.close)
    assert (max(b.high for b in bars), min(b.low for b in bars)) == (whole.high, whole.low)
    assert float(sum(Decimal(b.volume) for b in bars)) == pytest.approx(float(whole.volume))
    assert codes(talk.say("CancelRealTimeBars", NOON + MINUTE, reqId=1)) == []
    assert codes(talk.say("CancelRealTimeBars", NOON + MINUTE, reqId=1)) == [300]
    assert tws.next_at(NOON + MINUTE) is None


def test_real_time_bars_sleep_while_the_market_is_closed(tws: Tws) -> None:
    talk = Talk(tws, now=NIGHT)
    asked = dict(reqId=1, contract=SPY, barSize=5, whatToShow="MIDPOINT", useRTH=True)
    talk.say("RealTimeBarsRequest", NIGHT, **asked)
    opens = at("2024-05-16T13:30:00")
    assert tws.next_at(NIGHT) == opens + 5 * SECOND
    (bar,) = talk.wait(opens + 5 * SECOND)
    assert (bar.time, bar.volume, bar.count) == (opens // SECOND, "-1", -1)


def test_a_market_data_line_tells_the_day_then_what_changes(tws: Tws) -> None:
    talk = Talk(tws)
    said = talk.say("MarketDataRequest", reqId=1, contract=SPY)
    assert kinds(said)[:2] == ["MarketDataType", "TickReqParams"]
    ticks = {m.tickType: m for m in said[2:]}
    assert set(ticks) == {
        1,
        2,
        4,
        6,
        7,
        8,
        9,
        14,
        45,
    }  # ibapi.ticktype: bid ask last high low volume close open time
    assert ticks[7].price <= ticks[1].price < ticks[2].price
    later = talk.wait(NOON + SECOND)
    assert {m.tickType for m in later} <= set(ticks)
    assert 0 < len(later) < len(ticks)
    assert codes(talk.say("MarketDataRequest", NOON + SECOND, reqId=1, contract=SPY)) == [102]
    assert talk.say("CancelMarketData", NOON + SECOND, reqId=1) == []
    assert codes(talk.say("CancelMarketData", NOON + SECOND, reqId=1)) == [300]


def test_a_snapshot_ends_and_at_night_there_is_no_quote(tws: Tws) -> None:
    said = Talk(tws, now=NIGHT).say("MarketDataRequest", NIGHT, reqId=1, contract=SPY, snapshot=True)
    assert kinds(said)[-1] == "TickSnapshotEnd"
    prices = {m.tickType: m.price for m in said if hasattr(m, "price")}
    assert (prices[1], prices[2]) == (-1.0, -1.0)
    assert prices[4] > 0.0
    assert tws.next_at(NIGHT) is None


def test_tick_by_tick_agrees_with_the_bars(tws: Tws) -> None:
    talk = Talk(tws)
    for number, kind in enumerate(("Last", "AllLast", "BidAsk", "MidPoint", "Last")):
        assert talk.say("TickByTickRequest", reqId=number, contract=SPY, tickType=kind) == []
    assert codes(talk.say("TickByTickRequest", reqId=9, contract=SPY, tickType="Last")) == [10190]
    assert codes(talk.say("TickByTickRequest", reqId=9, contract=EURUSD, tickType="Last")) == [10189]
    ticks = talk.wait(NOON + MINUTE)
    quotes = [m.historicalTickBidAsk for m in ticks if m.reqId == 2]
    assert len(quotes) == 60
    assert all(q.priceBid < q.priceAsk for q in quotes)
    last = [m.historicalTickLast for m in ticks if m.reqId == 0]
    bar = talk.say("HistoricalDataRequest", NOON + MINUTE, **history(20))[0].historicalDataBars
    assert {t.price for t in last} <= {
        p / 100 for p in range(round(bar[-2].low * 100) - 50, round(bar[-2].high * 100) + 51)
    }
    assert last[-1].price == bar[-1].open  # the tick of this very second begins the new minute


# ---------------------------------------------------------------- orders and the account
def test_an_order_is_told_to_its_owner_and_its_fill_to_who_listens(tws: Tws) -> None:
    owner, other = Talk(tws, 1), Talk(tws, 2)
    assert kinds(other.say("PositionsRequest")) == ["PositionEnd"]
    updates = other.say("AccountDataRequest", subscribe=True)
    assert kinds(updates)[-2:] == ["AccountUpdateTime", "AccountDataEnd"]
    assert kinds(owner.say("PlaceOrderRequest", **order(5))) == [
        "OpenOrder", "OrderStatus", "OpenOrder", "OrderStatus",
        "ExecutionDetails", "OpenOrder", "OrderStatus", "CommissionAndFeesReport",
    ]  # fmt: skip
    heard = other.session.take()
    assert kinds(heard)[:2] == ["Position", "PortfolioValue"]
    assert (heard[0].position, heard[0].contract.conId) == ("10", 756733)
    cash = next(m.value for m in heard if getattr(m, "key", "") == "TotalCashValue")
    price = tws.exchange.executions[0][0].price
    assert float(cash) == pytest.approx(1e6 - 10 * price - 1.0)  # a dollar is IB's least commission
    assert owner.say("IdsRequest")[0].orderId == 6
    assert other.say("IdsRequest")[0].orderId == 1
    (details, charged, end) = other.say("ExecutionRequest", reqId=9)
    assert (details.reqId, details.execution.side, end.reqId) == (9, "BOT", 9)
    assert charged.execId == details.execution.execId
    for chosen in (dict(symbol="MSFT"), dict(side="SELL"), dict(clientId=2), dict(time="20240515-16:00:01")):
        found = other.say("ExecutionRequest", reqId=9, executionFilter=chosen)
        assert kinds(found) == ["ExecutionDetailsEnd"], chosen
    assert kinds(other.say("ExecutionRequest", NOON + 24 * 60 * MINUTE, reqId=9))[-1:] == [
        "ExecutionDetailsEnd"
    ]
    assert kinds(other.say("CompletedOrdersRequest", NOON + 24 * 60 * MINUTE)) == ["CompletedOrdersEnd"]


def test_completed_orders_are_those_of_the_day(tws: Tws) -> None:
    """Rust-ibapi issue 299, of IBKR Campus: "only for the given day", which New York's midnight ends."""
    owner, other = Talk(tws, 1), Talk(tws, 2)
    owner.say("PlaceOrderRequest", **order(5))
    last = NOON + 12 * 60 * MINUTE - MINUTE
    done = other.say("CompletedOrdersRequest", last)
    assert [(m.order.permId, m.order.filledQuantity) for m in done[:-1]] == [(NOON // 10**9, "10")]
    assert kinds(other.say("CompletedOrdersRequest", last + MINUTE)) == ["CompletedOrdersEnd"]


def test_summary_multi_and_every_three_minutes(tws: Tws) -> None:
    talk = Talk(tws)
    said = talk.say("AccountSummaryRequest", reqId=1, group="All", tags="NetLiquidation,$LEDGER")
    rows = {(m.tag, m.currency): m.value for m in said[:-1]}
    assert rows[("NetLiquidation", "USD")] == rows[("CashBalance", "USD")] == "1000000.00"
    assert kinds(said)[-1] == "AccountSummaryEnd"
    assert codes(talk.say("AccountSummaryRequest", reqId=2, group="Nobody", tags="x")) == [321]
    multi = talk.say("AccountUpdatesMultiRequest", reqId=3, account="DU1234567")
    assert kinds(multi)[-1] == "AccountUpdateMultiEnd"
    assert codes(talk.say("AccountUpdatesMultiRequest", reqId=3, account="DU7")) == [321]
    again = talk.wait(NOON + 3 * MINUTE)
    assert set(kinds(again)) == {"AccountSummary", "AccountUpdateMulti"}
    talk.say("CancelAccountSummary", NOON + 3 * MINUTE, reqId=1)
    talk.say("CancelAccountUpdatesMulti", NOON + 3 * MINUTE, reqId=3)
    assert talk.wait(NOON + 30 * MINUTE) == []
    assert tws.next_at(NOON + 30 * MINUTE) is None


def test_open_orders_of_one_and_of_all_and_a_global_cancel(tws: Tws) -> None:
    one, two = Talk(tws, 1), Talk(tws, 2)
    one.say("PlaceOrderRequest", **order(1, 10, 1.0))
    two.say("PlaceOrderRequest", **order(1, 10, 2.0, orderRef="mine", tif="GTC"))
    own = two.say("OpenOrdersRequest")
    assert kinds(own) == ["OpenOrder", "OrderStatus", "OpenOrdersEnd"]
    told = own[0].order
    assert (told.lmtPrice, told.orderRef, told.tif, told.clientId, told.account) == (
        2.0,
        "mine",
        "GTC",
        2,
        "DU1234567",
    )
    assert len(one.say("AllOpenOrdersRequest")) == 5
    assert codes(two.say("CancelOrderRequest", orderId=9)) == [10147]
    assert codes(one.say("GlobalCancelRequest")) == [202]
    assert codes(two.session.take()) == [202]


def test_a_refused_change_leaves_the_order_as_it_was(tws: Tws) -> None:
    talk = Talk(tws)
    talk.say("PlaceOrderRequest", **order(1, 10, 1.0, settlingFirm="first"))
    assert codes(talk.say("PlaceOrderRequest", **order(1, 10, 1.001, settlingFirm="second"))) == [110]
    assert talk.say("OpenOrdersRequest")[0].order.settlingFirm == "first"
    changed = talk.say("PlaceOrderRequest", **order(1, 20, 1.5, settlingFirm="third"))
    assert (changed[0].order.totalQuantity, changed[0].order.lmtPrice) == ("20", 1.5)
    assert codes(talk.say("PlaceOrderRequest", **order(2, 10, 1.001))) == [110]
    assert set(tws.asked) == {(1, 1)}


@pytest.mark.parametrize(
    "more",
    [
        dict(algoStrategy="Twap"), dict(conditions=[dict(type=1)]), dict(action="SSHORT"), dict(totalQuantity="NaN"),
        dict(totalQuantity="1e40"), dict(displaySize=5), dict(ocaType=4), dict(tif="GTD", goodTillDate="soon"),
        dict(goodTillDate="20240515 15:00:00 US/Eastern"),
    ],
)  # fmt: skip
def test_orders_that_are_not_simulated_are_refused(tws: Tws, more: dict[str, Any]) -> None:
    said = Talk(tws).say("PlaceOrderRequest", **order(1, **more))
    assert [(m.id, m.errorCode) for m in said] == [(1, 321)]
    assert tws.exchange.orders == ()


# ---------------------------------------------------------------- limits, leaving, time
def test_too_many_messages_are_refused_and_then_end_the_connection() -> None:
    talk = Talk(simulated())
    for second in range(3):
        now = NOON + (second + 1) * 10 * SECOND
        for _ in range(50):
            assert kinds(talk.say("CurrentTimeRequest", now)) == ["CurrentTime"]
        assert codes(talk.say("CurrentTimeRequest", now)) == [100]
        assert talk.session.closing is (second == 2)
    assert talk.session.rate_violations == 3


def test_who_leaves_hears_nothing_more_and_the_orders_stay(tws: Tws) -> None:
    talk = Talk(tws)
    talk.say("MarketDataRequest", reqId=1, contract=SPY)
    talk.say("HistoricalDataRequest", **history(2, keepUpToDate=True))
    talk.say("PlaceOrderRequest", **order(1, 10, 1.0))
    talk.session.leave()
    assert talk.wait(NOON + MINUTE) == []
    assert len(tws.timers) == len(tws.open_history) == len(tws.tickers) == 0
    again = Talk(tws, now=NOON + MINUTE)
    assert kinds(again.say("OpenOrdersRequest", NOON + MINUTE)) == [
        "OpenOrder",
        "OrderStatus",
        "OpenOrdersEnd",
    ]


def test_one_long_step_tells_the_same_as_many_short_ones() -> None:
    told = []
    for step in (MINUTE, 7 * SECOND, SECOND // 2):
        talk = Talk(simulated(rate_limited=False))
        talk.say("MarketDataRequest", reqId=1, contract=SPY)
        talk.say("TickByTickRequest", reqId=2, contract=SPY, tickType="BidAsk")
        talk.say("RealTimeBarsRequest", reqId=3, contract=SPY, barSize=5, whatToShow="TRADES", useRTH=True)
        talk.say("HistoricalDataRequest", **history(4, keepUpToDate=True))
        heard: list[Any] = []
        for now in range(NOON, NOON + MINUTE, step):
            heard += talk.wait(now)
        told.append(heard + talk.wait(NOON + MINUTE))
    assert told[0] == told[1] == told[2]
    assert len(told[0]) > 100
