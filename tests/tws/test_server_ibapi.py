"""Certified by a client that we did not write: ibapi 10.50, unmodified, over loopback, in text and in protobuf."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal

import pytest
from ibapi.execution import ExecutionFilter
from ibapi.order_cancel import OrderCancel
from served import NOON, App, connected, order, served, stock

from quant.core.barsize import SECOND
from quant.errors import CannotConnect
from quant.tws.program import simulated
from quant.tws.server import Server, running

# Text only; text with history's own end; the groups that turn to protobuf, mixed; all of it.
VERSIONS = [178, 200, 201, 204, 207, 208, 212, 226]


@pytest.fixture(params=VERSIONS)
def session(request: pytest.FixtureRequest) -> Iterator[tuple[Server, App]]:
    with served(request.param) as (server, port), connected(port) as app:
        assert app.serverVersion() == request.param
        yield server, app
        refused = {code for _, _, code, *_ in app.all("error")} - {2104, 2106, 2158, 202, 162}
        assert not refused
        assert server.refused == []


def test_start_time_and_contracts(session: tuple[Server, App]) -> None:
    _, app = session
    assert app.wait("managedAccounts") == ("DU1234567",)
    assert app.wait("nextValidId") == (1,)
    app.wait("error", lambda _n, _t, code, *_: code == 2158)
    app.reqCurrentTime()
    assert app.wait("currentTime") == (NOON // SECOND,)
    app.reqContractDetails(4, stock())
    app.wait("contractDetailsEnd", lambda n: n == 4)
    ((_, found),) = app.all("contractDetails")
    assert (found.contract.conId, found.contract.primaryExchange, found.minTick) == (756733, "ARCA", 0.01)
    assert "SYNTHETIC" in found.longName
    app.reqMatchingSymbols(5, "SPY")
    assert app.wait("symbolSamples")[1][0].contract.conId == 756733
    app.reqMarketRule(26)
    assert app.wait("marketRule")[1][0].increment == 0.01
    app.reqHeadTimeStamp(6, stock(), "TRADES", 1, 1)
    assert app.wait("headTimestamp")[1] == "20150102-14:30:00"  # the first session of the made-up years


def test_history_and_its_updates(session: tuple[Server, App]) -> None:
    server, app = session
    app.reqHistoricalData(7, stock(), "", "5 D", "1 day", "TRADES", 1, 1, False, [])
    _, start, end = app.wait("historicalDataEnd", lambda n, *_: n == 7)
    assert (start, end) == ("20240510 12:00:00 US/Eastern", "20240515 12:00:00 US/Eastern")
    bars = [bar for n, bar in app.all("historicalData") if n == 7]
    assert [b.date for b in bars] == ["20240509", "20240510", "20240513", "20240514", "20240515"]
    for b in bars:
        assert b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high
        assert b.volume > 0
        assert b.barCount > 0
    app.reqHistoricalData(8, stock(), "", "1800 S", "1 min", "MIDPOINT", 1, 2, True, [])
    app.wait("historicalDataEnd", lambda n, *_: n == 8)
    assert [bar for n, bar in app.all("historicalData") if n == 8][-1].date == str(NOON // SECOND)
    server.step(NOON + 60 * SECOND)
    app.wait("historicalDataUpdate", lambda n, bar: n == 8 and bar.date == str(NOON // SECOND + 60))
    app.cancelHistoricalData(8)
    app.wait("error", lambda n, _t, code, *_: (n, code) == (8, 162))


def test_schedule_and_live_data(session: tuple[Server, App]) -> None:
    server, app = session
    app.reqHistoricalData(9, stock(), "", "2 D", "1 day", "SCHEDULE", 1, 1, False, [])
    _, _, _, zone, sessions = app.wait("historicalSchedule")
    assert (zone, [s.refDate for s in sessions]) == ("US/Eastern", ["20240514", "20240515"])
    app.reqRealTimeBars(10, stock(), 5, "TRADES", True, [])
    app.reqMktData(11, stock(), "", False, False, [])
    app.reqTickByTickData(12, stock(), "BidAsk", 0, True)
    app.wait(
        "tickPrice", lambda n, kind, *_: (n, kind) == (11, 9)
    )  # the close before: the last price of the start
    server.step(NOON + 5 * SECOND)
    bar = app.wait("realtimeBar")
    assert bar[:2] == (10, NOON // SECOND)
    assert bar[3] >= max(bar[2], bar[5])
    _, _, bid, ask, size, _, _ = app.wait("tickByTickBidAsk", lambda _n, time, *_: time == NOON // SECOND + 5)
    assert bid < ask
    assert size == Decimal(100)
    app.cancelRealTimeBars(10)
    app.cancelMktData(11)
    app.cancelTickByTickData(12)
    app.reqCurrentTime()
    app.wait("currentTime")


def test_orders_positions_and_account(session: tuple[Server, App]) -> None:
    _, app = session
    app.reqPositions()
    app.wait("positionEnd")
    app.reqAccountUpdates(True, "")
    app.wait("accountDownloadEnd")
    app.placeOrder(1, stock(), order(10))
    filled = app.wait("orderStatus", lambda n, status, *_: (n, status) == (1, "Filled"))
    report = app.wait("commissionAndFeesReport")[0]
    _, contract, done = app.wait("execDetails")
    assert (done.shares, done.side, done.price, done.execId) == (Decimal(10), "BOT", filled[4], report.execId)
    assert (contract.conId, report.commissionAndFees, report.currency) == (756733, 1.0, "USD")
    # IB's mark of "no figure": opening a position realises nothing.
    assert report.realizedPNL == 1.7976931348623157e308
    held = app.wait("position")
    assert (held[0], held[1].symbol, held[2]) == ("DU1234567", "SPY", Decimal(10))
    assert app.wait("updatePortfolio")[1] == Decimal(10)
    statuses = [a[1] for a in app.all("orderStatus")]
    assert statuses == ["PreSubmitted", "Submitted", "Filled"]

    app.placeOrder(2, stock(), order(10, 1.0))
    app.wait("orderStatus", lambda n, status, *_: (n, status) == (2, "Submitted"))
    app.reqAllOpenOrders()
    app.wait("openOrderEnd")
    (_, _, asked, state) = next(a for a in reversed(app.all("openOrder")) if a[0] == 2)
    assert (asked.lmtPrice, asked.totalQuantity, state.status) == (1.0, Decimal(10), "Submitted")
    app.cancelOrder(2, OrderCancel())
    app.wait("orderStatus", lambda n, status, *_: (n, status) == (2, "Cancelled"))
    app.wait("error", lambda n, _t, code, *_: (n, code) == (2, 202))

    app.reqCompletedOrders(False)
    app.wait("completedOrdersEnd")
    assert [(o.permId, s.status) for _, o, s in app.all("completedOrder")] == [
        (filled[5], "Filled"), (filled[5] + 1, "Cancelled")
    ]  # fmt: skip
    app.reqExecutions(3, ExecutionFilter())
    app.wait("execDetailsEnd")
    app.reqAccountSummary(4, "All", "NetLiquidation")
    app.wait("accountSummaryEnd")
    assert [row[2] for row in app.all("accountSummary")] == ["NetLiquidation"]
    app.reqIds(1)
    assert app.wait("nextValidId", lambda n: n == 3) == (3,)


# ---------------------------------------------------------------- several clients, and peers that are none
def test_errors_reach_the_request_that_they_answer() -> None:
    with served() as (_, port), connected(port) as app:
        app.reqContractDetails(5, stock("NOPE"))
        assert app.wait("error", lambda n, *_: n == 5)[2] == 200
        app.reqHistoricalData(6, stock(), "", "1 D", "7 mins", "TRADES", 1, 1, False, [])
        assert app.wait("error", lambda n, *_: n == 6)[2] == 321
        app.reqHistogramData(7, stock(), True, "3 days")
        assert app.wait("error", lambda n, *_: n == 7)[2] == 321
        app.placeOrder(8, stock(), order(10, 1.001))
        assert app.wait("error", lambda n, *_: n == 8)[2] == 110


def test_a_client_id_in_use_gets_326_and_is_cut_off() -> None:
    with served() as (_, port), connected(port, 4):
        second = App()
        second.connect("127.0.0.1", port, 4)
        second.run()  # ends when the server cuts it off
        assert [a[2] for a in second.all("error")] == [326]
        assert second.all("connectionClosed") == [()]
        second.disconnect()
        with connected(port, 5) as third:
            third.reqCurrentTime()
            third.wait("currentTime")


def test_one_clients_fill_is_seen_by_another() -> None:
    with served() as (_, port), connected(port, 1) as one, connected(port, 2) as two:
        two.reqPositions()
        two.wait("positionEnd")
        one.placeOrder(1, stock(), order(-30))
        assert two.wait("position")[2] == Decimal(-30)
        assert two.all("orderStatus") == []


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"API\0\0\0\0\4nope", b"API\0\0\0\0\7v90..99"])
def test_who_is_no_client_is_dropped(said: bytes) -> None:
    with served() as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.settimeout(20.0)
            peer.sendall(said)
            with suppress(ConnectionResetError):
                assert peer.recv(1) == b""
        assert len(server.refused) == 1
        with connected(port) as app:
            app.reqCurrentTime()
            app.wait("currentTime")


def test_a_client_that_vanishes_frees_its_id() -> None:
    with served() as (server, port):
        with connected(port, 9) as app:
            app.conn.socket.shutdown(socket.SHUT_RDWR)  # no good-bye
            app.wait("connectionClosed")
        with connected(port, 9) as again:
            again.reqCurrentTime()
            again.wait("currentTime")
        assert server.refused == []


def test_a_port_in_use_is_named() -> None:
    with served() as (server, port):
        other = Server(server.tws, server.clock)
        with pytest.raises(CannotConnect, match=f"127.0.0.1:{port}"), running(other, port):
            raise AssertionError("it listens twice")


def test_messages_over_the_rate_end_the_connection() -> None:
    with served(tws=simulated()) as (_, port), connected(port) as app:
        for _ in range(60):
            app.reqCurrentTime()
        app.wait("error", lambda _n, _t, code, *_: code == 100)
