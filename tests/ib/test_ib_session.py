"""The session in virtual time: login, heartbeat, breaks, 1100 and its ends, requests that never end in nothing."""

from __future__ import annotations

import itertools
import pickle
import random
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from scripted_tws import Peer, VirtualLink, VirtualTws, message, tws

from quant.errors import (
    AmbiguousContract,
    CannotConnect,
    ClientIdInUse,
    CompetingSession,
    DamagedAnswer,
    LinkLost,
    NoData,
    NoPermission,
    NotConnected,
    PacingViolation,
    RequestCancelled,
    RequestFailed,
    RequestTimeout,
    UnknownContract,
)
from quant.ib import requests
from quant.ib.asking import Request
from quant.ib.codec import Event
from quant.ib.codes import Kind
from quant.ib.contracts import ContractSpec
from quant.ib.link import Patience
from quant.ib.session import Session
from quant.ib.states import TABLE, State, Turn
from quant.ib.wire import Batch

SPY = ContractSpec("SPY", currency="USD")
ROWS = [("1767364200", 1.0, 2.0, 0.5, 1.5, 100.0, 1.2, 7)]


def make(server: VirtualTws, **kwargs: Any) -> Session:
    return Session(open_link=server.open, timer=server.timer, **kwargs)


@pytest.fixture
def server() -> VirtualTws:
    return VirtualTws()


@pytest.fixture
def session(server: VirtualTws) -> Session:
    session = make(server)
    session.connect()
    return session


def run(session: Session, seconds: float) -> None:
    until = session.timer.now() + seconds
    while session.timer.now() < until:
        session.poll(until - session.timer.now())


def history(
    symbol: str = "SPY", bar: str = "1m", duration: str = "1 D", **kwargs: Any
) -> Request[requests.HistoricalBars]:
    return requests.historical_bars(ContractSpec(symbol, currency="USD"), bar, duration, **kwargs)


def answer_bars(link: VirtualLink, request: Any) -> None:
    link.say("bars", request.reqId, ROWS, after=0.2)
    link.say("historicalDataEnd", request.reqId, "a", "b", after=0.2)


# ---------------------------------------------------------------- login
def test_login_gives_accounts_and_the_next_order_id(session: Session) -> None:
    assert session.state is State.READY
    assert session.accounts == ("DU1234567",)
    assert session.next_order_id == 1
    assert session.server_version == 226


def test_a_client_id_in_use_is_told_and_the_session_may_try_again(server: VirtualTws) -> None:
    def refuse(link: VirtualLink, _: Any) -> None:
        link.fail(-1, 326, "Unable to connect as the client id is already in use.")
        link.end(after=0.1)

    server.answers["StartApiRequest"] = refuse
    session = make(server, client_id=7)
    with pytest.raises(ClientIdInUse, match="client id 7 is in use") as caught:
        session.connect()
    assert "--client-id" in caught.value.mend
    assert caught.value.exit_code == 5
    server.answers["StartApiRequest"] = server.login
    session.connect()
    assert session.state is State.READY


def test_a_tws_that_waits_for_its_own_login_is_told(server: VirtualTws) -> None:
    server.answers["StartApiRequest"] = lambda link, _: link.say("managedAccounts", "")
    session = make(server)
    with pytest.raises(CannotConnect, match="told no account and no order id"):
        session.connect()
    assert session.state is State.IDLE
    assert server.timer.now() - 1000 == pytest.approx(15, abs=1)


def test_a_connection_that_ends_in_the_login_is_told(server: VirtualTws) -> None:
    server.answers["StartApiRequest"] = lambda link, _: link.end(after=0.5)
    with pytest.raises(CannotConnect, match="the login ended early"):
        make(server).connect()


def test_an_order_id_never_goes_back(session: Session, server: VirtualTws) -> None:
    server.links[0].say("nextValidId", 500)
    run(session, 1)
    server.links[0].say("nextValidId", 20)  # what a gateway did after its restart (LEAN 242)
    run(session, 1)
    assert session.next_order_id == 500


def test_a_tws_that_is_cut_off_at_the_login_is_cut(server: VirtualTws) -> None:
    def answer(link: VirtualLink, request: Any) -> None:
        link.fail(
            -1, 2110, "Connectivity between TWS and server is broken. It will be restored automatically."
        )
        server.login(link, request)

    server.answers["StartApiRequest"] = answer
    session = make(server)
    session.connect()
    assert session.state is State.CUT
    server.links[0].fail(-1, 1102, "restored")
    run(session, 1)
    assert session.state is State.READY


@pytest.mark.parametrize("code", [1100, 1101, 1102, 2110, 326])
def test_what_a_dropped_connection_still_says_is_not_believed(server: VirtualTws, code: int) -> None:
    def answer(link: VirtualLink, _: Any) -> None:
        told = [Event("error", (-1, 0, c, "x", "")) for c in (326, code)]
        link.inbox.put(Batch(0.0, [*told, Event("nextValidId", (9,))]))

    server.answers["StartApiRequest"] = answer
    session = make(server)
    with pytest.raises(ClientIdInUse):
        session.connect()
    assert (session.state, session.next_order_id) == (State.IDLE, None)


def test_a_callback_may_close_the_session(session: Session, server: VirtualTws) -> None:
    session.listen(lambda _: session.close(), "position")
    told = [Event("position", ("DU1",)), Event("error", (-1, 0, 1100, "x", "")), Event("position", ("DU1",))]
    server.links[0].inbox.put(Batch(0.0, told))
    assert session.poll(1.0)
    assert session.state is State.CLOSED
    assert not session.callback_errors
    with pytest.raises(NotConnected, match="closed"):
        session.poll(1.0)


# ---------------------------------------------------------------- heartbeat
def test_a_half_open_link_is_found_within_45_seconds() -> None:  # defect 8
    for seed in range(30):
        rng = random.Random(seed)
        server = VirtualTws()
        session = make(server, reconnect=False)
        session.connect()
        for _ in range(rng.randint(0, 5)):  # some traffic first
            server.links[0].say("tickPrice", 5, 1, 1.0, None, after=rng.uniform(0, 60))
        run(session, rng.uniform(0, 70))
        link = server.links[0]
        link.mute = True
        pending = session.begin(history())
        cut = server.timer.now()
        while session.state is State.READY:
            session.poll(1.0)
        assert server.timer.now() - cut <= 45
        assert isinstance(pending.error, LinkLost)
        assert link.closed


def test_a_quiet_link_that_answers_is_kept_for_days(session: Session, server: VirtualTws) -> None:
    run(session, 2 * 86_400)
    assert len(server.links) == 1
    assert 8_000 < len(server.links[0].asked("CurrentTimeRequest")) < 12_000


def test_a_link_with_traffic_is_not_probed(session: Session, server: VirtualTws) -> None:
    for n in range(100):
        server.links[0].say("tickPrice", 5, 1, 1.0, None, after=10.0 * n)
    run(session, 990)
    assert server.links[0].asked("CurrentTimeRequest") == []


# ---------------------------------------------------------------- broken links
def test_a_break_fails_what_is_under_way_and_connects_again_with_the_same_id(
    session: Session, server: VirtualTws
) -> None:
    pending = session.begin(history())
    run(session, 0.5)
    server.links[0].end()
    run(session, 5)
    assert isinstance(pending.error, LinkLost)
    assert "1m TRADES of SPY" in str(pending.error)
    assert session.state is State.READY
    assert [link.asked("StartApiRequest")[0].clientId for link in server.links] == [1, 1]


def test_attempts_come_later_and_later_and_end_with_success(session: Session, server: VirtualTws) -> None:
    attempts: list[float] = []

    def refused() -> None:
        attempts.append(server.timer.now())
        if len(attempts) < 10:
            raise CannotConnect("127.0.0.1", 7497, "nothing listens there", "Start TWS")

    server.opening = refused
    server.links[0].end()
    run(session, 400)
    gaps = [b - a for a, b in itertools.pairwise(attempts)]
    assert gaps == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60, 60], abs=0.5)
    assert session.state is State.READY
    assert session.trouble is None


def test_a_client_id_in_use_after_a_break_is_waited_for_with_the_same_id(
    session: Session, server: VirtualTws
) -> None:
    def refuse(link: VirtualLink, _: Any) -> None:
        link.fail(-1, 326, "Unable to connect as the client id is already in use.")

    server.answers["StartApiRequest"] = refuse
    server.links[0].end()
    run(session, 3)
    assert session.state is State.WAITING
    assert isinstance(session.trouble, ClientIdInUse)
    server.answers["StartApiRequest"] = server.login
    run(session, 30)
    assert session.state is State.READY
    assert {link.asked("StartApiRequest")[0].clientId for link in server.links} == {1}


def test_without_reconnection_the_session_is_idle_after_a_break(server: VirtualTws) -> None:
    session = make(server, reconnect=False)
    session.connect()
    server.links[0].end()
    with pytest.raises(LinkLost):
        session.ask(history())
    assert session.state is State.IDLE
    with pytest.raises(NotConnected, match="start TWS"):
        session.ask(history())
    session.connect()
    assert session.state is State.READY


def test_a_request_during_a_break_waits_for_the_connection(session: Session, server: VirtualTws) -> None:
    server.answers["HistoricalDataRequest"] = answer_bars
    server.links[0].end()
    run(session, 0.5)
    assert session.state is State.WAITING
    assert session.ask(history()).rows == ROWS


def test_a_request_during_a_long_break_ends_with_why(session: Session, server: VirtualTws) -> None:
    def refused() -> None:
        raise CannotConnect("127.0.0.1", 7497, "nothing listens there", "Start TWS")

    server.opening = refused
    server.links[0].end()
    run(session, 0.5)
    with pytest.raises(NotConnected, match="nothing listens there"):
        session.ask(history())
    assert server.timer.now() < 1000 + 130


# ---------------------------------------------------------------- subscriptions
def test_subscriptions_are_asked_for_again_after_a_break(session: Session, server: VirtualTws) -> None:
    heard: list[Event] = []
    session.subscribe(requests.live_bars(SPY, "1m", "1 D"), heard.append)
    session.subscribe(requests.real_time_bars(SPY), heard.append)
    session.subscribe(requests.quotes(SPY), heard.append)
    run(session, 1)
    server.links[0].end()
    run(session, 20)  # real-time bars: an identical request within 15 s would break IB's pacing
    kinds = {"HistoricalDataRequest", "RealTimeBarsRequest", "MarketDataRequest"}
    for link in server.links:
        assert {type(r).__name__ for _, r in link.requests} > kinds
    ids = [r.reqId for link in server.links for _, r in link.requests if type(r).__name__ in kinds]
    assert len(set(ids)) == 6  # never the same id again: a late answer could be for the old one
    assert [e.name for e in heard] == ["restarted"] * 3
    id_ = server.links[1].asked("RealTimeBarsRequest")[0].reqId
    server.links[1].say("realtimeBar", id_, 1_767_364_200, 1.0, 2.0, 0.5, 1.5, 9, 1.2, 3)
    run(session, 1)
    assert heard[-1].name == "realtimeBar"


def test_1100_stops_requests_and_1102_lets_them_go_on_with_subscriptions_kept(
    session: Session, server: VirtualTws
) -> None:
    server.answers["HistoricalDataRequest"] = answer_bars
    session.subscribe(requests.quotes(SPY), lambda _: None)
    run(session, 1)
    link = server.links[0]
    link.fail(-1, 1100, "Connectivity between IB and TWS has been lost.")
    run(session, 1)
    pending = session.begin(history())
    run(session, 10)
    assert session.state is State.CUT
    assert link.asked("HistoricalDataRequest") == []
    link.fail(-1, 1102, "Connectivity between IB and TWS has been restored - data maintained.")
    run(session, 1)
    assert pending.result().rows == ROWS
    assert len(link.asked("MarketDataRequest")) == 1


def test_1101_asks_for_every_subscription_again(session: Session, server: VirtualTws) -> None:
    heard: list[Event] = []
    session.subscribe(requests.quotes(SPY), heard.append)
    session.subscribe(requests.live_bars(SPY, "1m", "1 D"), heard.append)
    run(session, 1)
    link = server.links[0]
    link.fail(-1, 1100, "lost")
    link.fail(-1, 1101, "Connectivity between IB and TWS has been restored - data lost.", after=1)
    run(session, 3)
    assert session.state is State.READY
    assert len(link.asked("MarketDataRequest")) == len(link.asked("HistoricalDataRequest")) == 2
    assert [e.name for e in heard] == ["restarted", "restarted"]


def test_a_stream_that_dies_is_asked_for_again_later_and_later(session: Session, server: VirtualTws) -> None:
    def die(link: VirtualLink, request: Any) -> None:
        link.fail(request.reqId, 10182, "Failed to request live updates (disconnected).", after=0.1)

    server.answers["HistoricalDataRequest"] = die
    session.subscribe(requests.live_bars(SPY, "1m", "1 D"), lambda _: None)
    run(session, 100)
    times = [t for t, r in server.links[0].requests if type(r).__name__ == "HistoricalDataRequest"]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == pytest.approx([5, 10, 20, 40], abs=0.5)


def test_a_refused_stream_is_told_and_not_asked_for_again(session: Session, server: VirtualTws) -> None:
    heard: list[Event] = []
    server.answers["MarketDataRequest"] = lambda link, r: link.fail(
        r.reqId, 354, "Requested market data is not subscribed."
    )
    subscription = session.subscribe(requests.quotes(SPY), heard.append)
    run(session, 100)
    assert len(server.links[0].asked("MarketDataRequest")) == 1
    assert isinstance(heard[0].args[0], NoPermission)
    assert subscription.error is heard[0].args[0]


def test_unsubscribing_cancels_and_ends_it(session: Session, server: VirtualTws) -> None:
    heard: list[Event] = []
    subscription = session.subscribe(requests.quotes(SPY), heard.append)
    run(session, 1)
    session.unsubscribe(subscription)
    id_ = server.links[0].asked("MarketDataRequest")[0].reqId
    assert server.links[0].asked("CancelMarketData")[0].reqId == id_
    server.links[0].say("tickPrice", id_, 1, 5.0, None)
    server.links[0].end(after=1)
    run(session, 10)
    assert heard == []
    assert server.links[1].asked("MarketDataRequest") == []


# ---------------------------------------------------------------- callbacks
def test_an_exception_in_a_callback_ends_nothing(session: Session, server: VirtualTws) -> None:  # defect 5
    def bad(_: Event) -> None:
        raise ZeroDivisionError("a user's fault")

    heard: list[Event] = []
    session.listen(bad, "position", "state", "notice")
    session.listen(heard.append, "position")
    server.links[0].say("position", "DU1", None, 1, 2.0)
    server.links[0].say("position", "DU1", None, 2, 2.0)
    run(session, 1)
    assert len(heard) == 2
    assert [type(e) for e in session.callback_errors] == [ZeroDivisionError] * 2
    assert session.state is State.READY


# ---------------------------------------------------------------- requests
@pytest.mark.parametrize(
    ("code", "told", "error"),
    [
        (
            162,
            "Historical Market Data Service error message:Historical data request pacing violation",
            PacingViolation,
        ),
        (
            162,
            "Historical Market Data Service error message:No market data permissions for NYSE STK",
            NoPermission,
        ),
        (
            162,
            "Mensaje de error de los servicios de datos de mercado históricos:invalid step: 1",
            RequestFailed,
        ),
        (200, "No security definition has been found for the request", UnknownContract),
        (200, "The contract description specified for SPY is ambiguous.", AmbiguousContract),
        (321, "Error validating request.-'bW' : cause - Invalid bar size", RequestFailed),
        (420, "Invalid Real-time Query:Historical data request pacing violation", PacingViolation),
        (10197, "No market data during competing live session", CompetingSession),
        (10314, "End Date/Time: The date, time, or time-zone entered is invalid.", RequestFailed),
        (19999, "A code that nobody knew when this was written", RequestFailed),
    ],
)
def test_an_error_is_an_error_of_its_kind(
    session: Session, server: VirtualTws, code: int, told: str, error: type[Exception]
) -> None:
    server.answers["HistoricalDataRequest"] = lambda link, r: link.fail(r.reqId, code, told, after=0.2)
    with pytest.raises(error, match="SPY"):
        session.ask(history())
    assert session.pacing.open == 0


def test_too_many_messages_end_what_tws_may_have_dropped(session: Session, server: VirtualTws) -> None:
    """Code 100 names no request: one without any answer fails soon, one that has begun to answer goes on."""

    def drop(link: VirtualLink, request: Any) -> None:
        if request.endDateTime:
            link.fail(-1, 100, "Max rate of messages per second has been exceeded", after=0.5)
        else:
            link.say("bars", request.reqId, ROWS)
            link.say("historicalDataEnd", request.reqId, "a", "b", after=1.0)

    server.answers["HistoricalDataRequest"] = drop
    begun = session.begin(history())
    dropped = session.begin(history("MSFT", end=datetime(2026, 1, 2, tzinfo=UTC)))
    before = session.timer.now()
    while not (begun.done and dropped.done):
        session.poll(1.0)
    assert begun.result().rows
    assert isinstance(dropped.error, PacingViolation)
    assert session.timer.now() - before < 5.0


def test_no_data_is_an_empty_answer_that_says_so(session: Session, server: VirtualTws) -> None:
    told = "Historical Market Data Service error message:HMDS query returned no data: SPY@SMART Trades"
    server.answers["HistoricalDataRequest"] = lambda link, r: link.fail(r.reqId, 162, told)
    found = session.ask(history())
    assert found.rows == []
    assert found.empty == told


def test_no_data_after_a_part_of_the_answer_is_an_error(session: Session, server: VirtualTws) -> None:
    def half(link: VirtualLink, request: Any) -> None:
        link.say("bars", request.reqId, ROWS)
        link.fail(request.reqId, 162, "HMDS query returned no data: SPY@SMART Trades", after=0.1)

    server.answers["HistoricalDataRequest"] = half
    with pytest.raises(NoData):
        session.ask(history())


def test_an_end_without_bars_is_an_error(session: Session, server: VirtualTws) -> None:
    server.answers["HistoricalDataRequest"] = lambda link, r: link.say("historicalDataEnd", r.reqId, "a", "b")
    with pytest.raises(DamagedAnswer, match="without saying that there are none"):
        session.ask(history())


def test_a_message_that_was_lost_fails_the_answers_that_it_may_have_been_part_of(
    session: Session, server: VirtualTws
) -> None:
    def damaged(link: VirtualLink, request: Any) -> None:
        link.say("damaged", 17, "DecodeError: truncated")
        answer_bars(link, request)

    server.answers["HistoricalDataRequest"] = damaged
    with pytest.raises(DamagedAnswer, match="truncated"):
        session.ask(history())
    assert session.damaged == 1
    server.answers["HistoricalDataRequest"] = answer_bars
    assert session.ask(history()).rows == ROWS


def test_an_answer_that_stops_is_a_timeout_with_a_cancel_and_late_parts_are_ignored(
    session: Session, server: VirtualTws
) -> None:
    def half(link: VirtualLink, request: Any) -> None:
        link.say("bars", request.reqId, ROWS, after=100)
        link.say("historicalDataEnd", request.reqId, "a", "b", after=300)

    server.answers["HistoricalDataRequest"] = half
    with pytest.raises(RequestTimeout, match="no answer for 120 s"):
        session.ask(history())
    link = server.links[0]
    assert link.asked("CancelHistoricalData")[0].reqId == link.asked("HistoricalDataRequest")[0].reqId
    assert server.timer.now() - 1000 == pytest.approx(220, abs=2)
    run(session, 100)
    assert session.pacing.open == 0


def test_a_request_that_is_given_up_is_cancelled_and_its_late_answer_ignored(
    session: Session, server: VirtualTws
) -> None:
    server.answers["HistoricalDataRequest"] = lambda link, r: link.say("bars", r.reqId, ROWS, after=20)
    pending = session.begin(history())
    run(session, 1)
    session.cancel(pending)
    session.cancel(pending)  # once is enough
    assert isinstance(pending.error, RequestCancelled)
    assert [r.reqId for r in server.links[0].asked("CancelHistoricalData")] == [pending.id]
    assert session.pacing.open == 0
    run(session, 30)
    assert isinstance(pending.error, RequestCancelled)


def test_a_request_that_is_given_up_before_it_was_sent_is_never_sent(
    session: Session, server: VirtualTws
) -> None:
    pending = session.begin(history())
    session.cancel(pending)
    run(session, 5)
    assert isinstance(pending.error, RequestCancelled)
    assert server.links[0].asked("HistoricalDataRequest") == []
    assert server.links[0].asked("CancelHistoricalData") == []


def test_a_request_that_has_ended_cannot_be_given_up(session: Session, server: VirtualTws) -> None:
    server.answers["HistoricalDataRequest"] = answer_bars
    pending = session.begin(history())
    run(session, 1)
    session.cancel(pending)
    assert pending.result().rows == ROWS


def test_giving_up_many_requests_keeps_to_the_limit_of_messages(session: Session, server: VirtualTws) -> None:
    def late(link: VirtualLink, request: Any) -> None:
        link.say("bars", request.reqId, ROWS, after=20)
        link.say("historicalDataEnd", request.reqId, "a", "b", after=20)

    server.answers["HistoricalDataRequest"] = late
    link = server.links[0]
    asked = [session.begin(history(f"S{n}")) for n in range(48)]
    run(session, 0.9)
    before = len(link.asked("HistoricalDataRequest"))
    for pending in asked:
        session.cancel(pending)
    told = len(link.asked("CancelHistoricalData"))
    assert before + told <= 50
    assert session.pacing.open == before - told  # who was not told works on it still
    run(session, 30)
    assert session.pacing.open == 0
    assert all(isinstance(p.error, RequestCancelled) for p in asked)


def test_a_warning_is_a_note_and_the_request_goes_on(session: Session, server: VirtualTws) -> None:
    def delayed(link: VirtualLink, request: Any) -> None:
        link.fail(request.reqId, 2174, "Warning: time without zone")
        answer_bars(link, request)

    server.answers["HistoricalDataRequest"] = delayed
    pending = session.begin(history())
    run(session, 1)
    assert pending.result().rows == ROWS
    assert [n.code for n in pending.notes] == [2174]


def test_an_unknown_code_without_a_request_is_a_notice(session: Session, server: VirtualTws) -> None:
    server.answers["HistoricalDataRequest"] = lambda link, r: (
        link.fail(-1, 19999, "who knows"),
        answer_bars(link, r),
    )
    assert session.ask(history()).rows == ROWS
    assert [(n.verdict.code, n.verdict.kind) for n in session.notices] == [(19999, Kind.UNKNOWN)]


def test_farms_are_told_apart(session: Session, server: VirtualTws) -> None:
    server.links[0].fail(-1, 2104, "Market data farm connection is OK:usfarm")
    server.links[0].fail(-1, 2105, "HMDS data farm connection is broken:ushmds")
    server.links[0].fail(
        -1, 2107, "HMDS data farm connection is inactive but should be available upon demand.euhmds"
    )
    server.links[0].fail(-1, 2104, "Market data farm connection is OK:usfarm.nj")
    run(session, 1)
    assert session.farms == {
        "usfarm": Kind.FARM_OK,
        "ushmds": Kind.FARM_LOST,
        "euhmds": Kind.FARM_OK,
        "usfarm.nj": Kind.FARM_OK,
    }
    assert session.state is State.READY


def test_requests_for_small_bars_wait_for_their_turn_and_others_pass(
    session: Session, server: VirtualTws
) -> None:
    server.answers["HistoricalDataRequest"] = answer_bars
    small = [session.begin(history(f"S{n}", "5s", "3600 S")) for n in range(61)]
    run(session, 30)
    assert [p.done for p in small] == [True] * 60 + [False]
    assert session.ask(history(bar="1m")).rows == ROWS
    run(session, 600)
    assert small[-1].done


def test_no_more_than_45_messages_leave_in_a_second(session: Session, server: VirtualTws) -> None:
    server.answers["HistoricalDataRequest"] = answer_bars
    pending = [session.begin(history(f"S{n}")) for n in range(300)]
    run(session, 20)
    assert all(p.done for p in pending)
    times = [t for t, _ in server.links[0].requests]
    assert max(sum(1 for t in times if at - 0.999 < t <= at) for at in times) <= 45


def test_a_pacing_violation_holds_the_next_small_request_back(session: Session, server: VirtualTws) -> None:
    server.answers["HistoricalDataRequest"] = lambda link, r: link.fail(r.reqId, 162, "pacing violation")
    with pytest.raises(PacingViolation):
        session.ask(history(bar="5s", duration="3600 S"))
    server.answers["HistoricalDataRequest"] = answer_bars
    before = server.timer.now()
    session.ask(history("QQQ", bar="5s", duration="3600 S"))
    assert server.timer.now() - before >= 29


def test_errors_travel_between_processes_with_their_facts() -> None:
    for error in (
        RequestTimeout("x", 3.0),
        ClientIdInUse("h", 1, 2),
        AmbiguousContract("x", ["a"], "m"),
        NoData("x", 1, "t"),
    ):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


# ---------------------------------------------------------------- the end
def test_closing_ends_what_is_under_way(session: Session, server: VirtualTws) -> None:
    sent = session.begin(history())
    run(session, 0.1)
    unsent = session.begin(history(bar="5s", duration="60 S"))
    session.close()
    assert isinstance(sent.error, LinkLost)
    assert isinstance(unsent.error, NotConnected)
    assert session.state is State.CLOSED
    assert server.links[0].closed
    with pytest.raises(NotConnected):
        session.ask(history())


def test_every_state_can_be_reached_and_closed() -> None:
    reached = {State.IDLE}
    for _ in State:
        reached |= {new for (old, _), new in TABLE.items() if old in reached}
    assert reached == set(State)
    assert {old for old, turn in TABLE if turn is Turn.CLOSE} == set(State) - {State.CLOSED}


# ---------------------------------------------------------------- with sockets
def test_a_half_open_link_is_found_over_a_socket() -> None:
    def silent(peer: Peer) -> None:
        peer.open()
        peer.drain()

    patience = Patience(idle_s=0.1, probe_s=0.1)
    with tws(silent) as port, Session(port=port, reconnect=False, patience=patience) as session:
        session.connect()
        with pytest.raises(LinkLost, match="did not answer a heartbeat"):
            session.ask(history())


def test_another_thread_may_close_while_a_request_waits() -> None:
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.open()
        peer.request()
        asked.set()
        peer.drain()

    with tws(script) as port:
        session = Session(port=port)
        session.connect()
        closer = threading.Thread(target=lambda: asked.wait(10) and session.close())
        closer.start()
        with pytest.raises(LinkLost):
            session.ask(history())
        closer.join(5)
        assert session.state is State.CLOSED


def test_a_session_over_a_socket_survives_a_server_that_dies_in_the_middle_of_an_answer() -> None:
    def dies(peer: Peer) -> None:
        peer.open()
        request = peer.request()
        bar = dict(
            date="1767364200", open=1.0, high=2.0, low=0.5, close=1.5, volume="100", WAP="1.2", barCount=7
        )
        whole = message("HistoricalData", reqId=request.reqId, historicalDataBars=[bar] * 50)
        peer.send(whole[: len(whole) // 2])

    def lives(peer: Peer) -> None:
        peer.open()
        request = peer.request()
        bar = dict(
            date="1767364200", open=1.0, high=2.0, low=0.5, close=1.5, volume="100", WAP="1.2", barCount=7
        )
        peer.send(message("HistoricalData", reqId=request.reqId, historicalDataBars=[bar]))
        peer.send(message("HistoricalDataEnd", reqId=request.reqId, startDateStr="a", endDateStr="b"))
        peer.drain()

    patience = Patience(first_retry_s=0.01)
    with tws(dies, lives) as port, Session(port=port, patience=patience) as session:
        session.connect()
        with pytest.raises(LinkLost):
            session.ask(history())
        assert session.ask(history()).rows == ROWS
