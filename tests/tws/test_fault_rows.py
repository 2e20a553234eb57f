"""The rows of the fault matrix that a TWS and its line can show (notes/live-faults.md, 4a): a client sees each of them.

The client is IB's own where it survives, else a bare socket: what ibapi 10.50 does with bad frames is its section 1.3.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from served import NOON, PATIENCE_S, App, connected, order, served, stock
from test_faults import GREETING, START, frames

from quant.core.barsize import SECOND
from quant.tws.codec import message_class
from quant.tws.faults import Do, Fault
from quant.tws.server import Server

MINUTE = 60 * SECOND


def told(name: str, payload: bytes) -> Any:
    """Read an answer as protobuf of version 226."""
    return message_class(name).FromString(payload[4:])


def asked(name: str, **values: Any) -> bytes:
    """Write a request as protobuf of version 226."""
    number = {"PlaceOrderRequest": 3, "CurrentTimeRequest": 49, "IdsRequest": 8}[name] + 200
    body = number.to_bytes(4, "big") + message_class(name)(**values).SerializeToString()
    return len(body).to_bytes(4, "big") + body


PLACE = asked(
    "PlaceOrderRequest",
    orderId=1,
    contract=dict(symbol="SPY", secType="STK", exchange="SMART", currency="USD"),
    order=dict(action="BUY", totalQuantity="10", orderType="MKT", transmit=True),
)


# ---------------------------------------------------------------- C3: which account
@pytest.mark.parametrize("accounts", ["DU7654321", "U1234567", "F1234567,U1234568,U1234569"])
def test_c3_another_account_a_live_one_an_advisors(accounts: str) -> None:
    row = Fault(Do.ACCOUNT, "ManagedAccounts", count=0, text=accounts)
    with served(faults=[row]) as (_, port), connected(port) as app:
        assert app.wait("managedAccounts") == (accounts,)
        since = len(app.calls)
        app.reqManagedAccts()
        assert app.wait("managedAccounts", since=since) == (accounts,)


# ---------------------------------------------------------------- C5: RST, FIN, half-open
def whole_answer() -> bytes:
    """Return what a market order is answered with."""
    with served() as (_, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        started(peer)
        peer.sendall(PLACE)
        return read(peer, lambda heard: b"Filled" in heard and len(frames(heard)) >= 6)


def read(peer: socket.socket, enough: Callable[[bytes], bool]) -> bytes:
    heard = b""
    while not enough(heard):
        more = peer.recv(65536)
        assert more, heard
        heard += more
    return heard


def started(peer: socket.socket) -> None:
    peer.sendall(GREETING)
    peer.recv(4096)
    peer.sendall(START)
    read(peer, lambda heard: b"secdefil" in heard)


def ended(peer: socket.socket) -> tuple[bytes, str]:
    """Return what still comes, and how it ends."""
    heard = b""
    while True:
        try:
            more = peer.recv(65536)
        except ConnectionResetError:
            return heard, "RST"
        if not more:
            return heard, "FIN"
        heard += more


def placed(fault: Fault) -> tuple[bytes, str, Server]:
    """Place an order; return what comes of it, how the connection ends, and the server."""
    with served(faults=[fault]) as (server, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        started(peer)
        peer.sendall(PLACE)
        return *ended(peer), server


@pytest.mark.parametrize(("do", "how"), [(Do.CLOSE, "FIN"), (Do.RESET, "RST")])
def test_c5_the_line_breaks_at_any_byte_of_the_answer_to_an_order(do: Do, how: str) -> None:
    whole = whole_answer()
    for size in (1, 3, 4, 5, len(whole) // 2, len(whole) - 1):
        heard, end, server = placed(Fault(do, "PlaceOrderRequest", size=size))
        assert (len(heard), end) == (size, how)
        assert len(server.tws.exchange.executions) == 1  # it was filled all the same


def test_c5_the_line_breaks_between_any_two_messages() -> None:
    names = ["OpenOrder", "OrderStatus", "ExecutionDetails", "CommissionAndFeesReport"]
    for name in names:
        heard, end, _ = placed(Fault(Do.CLOSE, name))
        ids = [int.from_bytes(f[:4], "big") - 200 for f in frames(heard)]
        # ibapi.message.IN; what came before the message is whole, and it is not there.
        own = dict(OpenOrder=5, OrderStatus=3, ExecutionDetails=11, CommissionAndFeesReport=59)[name]
        assert own not in ids
        assert (end, bool(ids)) == ("FIN", name != "OpenOrder")


def test_c5_an_order_is_lost_before_anybody_worked_on_it() -> None:
    rows = [Fault(Do.IGNORE, "PlaceOrderRequest"), Fault(Do.RESET, "PlaceOrderRequest")]
    with served(faults=rows) as (server, port):
        with connected(port) as app:
            app.placeOrder(1, stock(), order(10))
            app.wait("connectionClosed")
        assert len(server.tws.exchange.orders) == 0


def test_c5_half_open_in_the_middle_of_a_message() -> None:
    rows = [Fault(Do.SILENCE, "CurrentTimeRequest", size=7)]
    with served(faults=rows) as (_, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        started(peer)
        peer.sendall(asked("CurrentTimeRequest"))
        read(peer, lambda heard: len(heard) == 7)
        peer.sendall(asked("CurrentTimeRequest"))
        with connected(
            port, 2
        ) as other:  # whom the server answers: by now it would have answered the first one too
            other.reqCurrentTime()
            other.wait("currentTime")
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)


# ---------------------------------------------------------------- C6: a restart
def test_c6_a_restart_loses_the_request_and_rolls_ids_back() -> None:
    rows = [Fault(Do.RESTART, "PlaceOrderRequest", skip=1, size=1)]
    with served(faults=rows) as (server, port):
        with connected(port, 1) as app, connected(port, 2) as other:
            app.placeOrder(1, stock(), order(10))
            app.wait("orderStatus", lambda n, status, *_: (n, status) == (1, "Filled"))
            app.placeOrder(2, stock(), order(10))
            app.wait("connectionClosed")
            other.wait("connectionClosed")
        with connected(port, 3) as again:
            assert again.wait("nextValidId") == (1,)
        assert [view.request.key for view in server.tws.exchange.orders] == [(1, 1)]
        with connected(port, 1) as same:
            assert same.wait("nextValidId") == (1,)  # an id that it has used
            same.placeOrder(1, stock(), order(10))
            assert same.wait("error", lambda n, *_: n == 1)[2] in (103, 104)  # used; filled


# ---------------------------------------------------------------- C7: it waits for its own log-in
def test_c7_no_next_valid_id_for_two_hours() -> None:
    for name in ("StartApiRequest", "NextValidId"):
        with served(faults=[Fault(Do.LATE, name, late_s=7200.0)]) as (server, port):
            app = App()
            app.connect("127.0.0.1", port, 1)
            thread = threading.Thread(target=app.run, daemon=True)
            thread.start()
            server.step(NOON + 7199 * SECOND)
            app.reqCurrentTime()
            app.wait("currentTime")
            assert app.all("nextValidId") == []
            assert bool(app.all("managedAccounts")) is (name == "NextValidId")
            server.step(NOON + 7200 * SECOND)
            assert app.wait("nextValidId") == (1,)
            app.disconnect()
            thread.join(PATIENCE_S)


# ---------------------------------------------------------------- C9: frames
def started_with(do: Do, size: int = 0, version: int = 226) -> bytes:
    """Return the frames of a start that a fault spoils, after the greeting's; a FIN follows the answer to reqIds."""
    rows = [Fault(do, "StartApiRequest", size=size), Fault(Do.CLOSE, "IdsRequest")]
    with served(version, faults=rows) as (_, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        peer.sendall(GREETING)
        peer.recv(4096)
        peer.sendall(START if version > 200 else b"\0\0\0\x0871\x002\x001\0\0")
        peer.sendall(asked("IdsRequest") if version > 200 else b"\0\0\0\x068\x001\x001\0")
        return ended(peer)[0]


@pytest.mark.parametrize("version", [178, 226])
def test_c9_frames_that_no_client_should_die_of(version: int) -> None:
    plain = frames(started_with(Do.SPLIT, version=version))
    assert len(plain) == 6  # accounts, id, three notices; id
    assert frames(started_with(Do.EMPTY, version=version)) == [b"", *plain]
    unknown = frames(started_with(Do.UNKNOWN, version=version))
    assert unknown == [b"9999\x007\0" if version == 178 else b"\0\0\x27\x0f7\0", *plain]
    assert frames(started_with(Do.FLOOD, 1000, version=version)) == [plain[0]] * 1000 + plain[1:]
    few = frames(started_with(Do.FEW, version=version))
    assert few[:4] == plain[:4]
    assert plain[4].startswith(few[4])
    assert len(few[4]) < len(plain[4])
    assert frames(started_with(Do.MANY, version=version))[4] == plain[4] + b"7\0" * 3
    garbled = frames(started_with(Do.NOT_UTF8, version=version))
    assert garbled[0].count(b"\xff") == 1 + plain[0].count(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        garbled[0].decode()
    for size, announced in ((0, 2**31 - 1), (17_000_000, 17_000_000)):
        heard = started_with(Do.OVERSIZE, size, version)
        assert heard[:4] == announced.to_bytes(4, "big")
        assert frames(heard[4:]) == plain


def test_c9_a_hundred_thousand_messages_at_once() -> None:
    rows = [Fault(Do.FLOOD, "CurrentTimeRequest"), Fault(Do.CLOSE, "IdsRequest")]
    with served(faults=rows) as (_, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        started(peer)
        peer.sendall(asked("CurrentTimeRequest") + asked("IdsRequest"))
        told_, end = ended(peer)
    *times_, last = frames(told_)
    assert (len(times_), len(set(times_)), end) == (100_000, 1, "FIN")
    assert told("CurrentTime", times_[0]).currentTime == NOON // SECOND
    assert told("NextValidId", last).orderId == 1


def test_c9_a_slow_loris_sends_one_byte_a_second() -> None:
    rows = [Fault(Do.SLOW, "CurrentTimeRequest")]
    with served(faults=rows) as (server, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        started(peer)
        peer.sendall(asked("CurrentTimeRequest"))
        heard = peer.recv(4096)
        assert len(heard) == 1
        for second in range(1, 14):
            server.step(NOON + second * SECOND)
            heard += read(peer, lambda heard: len(heard) == 1)
        assert told("CurrentTime", frames(heard)[0]).currentTime == NOON // SECOND


# ---------------------------------------------------------------- D1 to D7: bars
def five_second_bars(fault: Fault, upto_s: int = 30) -> list[tuple[Any, ...]]:
    """Return (time, open, high, low, close, volume) of the real-time bars that ibapi gets: seconds after noon."""
    with served(faults=[fault]) as (server, port), connected(port) as app:
        app.reqRealTimeBars(1, stock(), 5, "TRADES", True, [])
        app.reqCurrentTime()
        app.wait("currentTime")
        for second in range(5, upto_s + 1, 5):
            server.step(NOON + second * SECOND)
        since = len(app.calls)
        app.reqCurrentTime()
        app.wait("currentTime", since=since)
        return [(a[1] - NOON // SECOND, *a[2:6], float(a[6])) for a in app.all("realtimeBar")]


def times(bars: list[tuple[Any, ...]]) -> list[int]:
    return [bar[0] for bar in bars]


def third(do: Do, **more: Any) -> Fault:
    return Fault(do, "RealTimeBarTick", skip=2, **more)


def test_d_real_time_bars_late_early_twice_old_revised_missing_and_zero() -> None:
    plain = five_second_bars(Fault(Do.SPLIT, "IdsRequest"))
    assert times(plain) == [0, 5, 10, 15, 20, 25]
    late = five_second_bars(third(Do.LATE, late_s=12.0))
    assert times(late) == [0, 5, 15, 20, 10, 25]
    assert sorted(late) == plain
    assert five_second_bars(third(Do.LATE, late_s=9999.0)) == five_second_bars(third(Do.LOSE))
    assert times(five_second_bars(third(Do.LOSE))) == [0, 5, 15, 20, 25]
    assert times(five_second_bars(third(Do.REPEAT))) == [0, 5, 10, 10, 15, 20, 25]
    older = five_second_bars(Fault(Do.OLDER, "RealTimeBarTick", skip=2, count=2))
    assert times(older) == [0, 5, 10, 5, 15, 10, 20, 25]
    assert set(older) == set(plain)

    early = five_second_bars(third(Do.PARTIAL))
    assert times(early) == [0, 5, 10, 10, 15, 20, 25]
    half, whole = early[2:4]
    assert whole == plain[2]
    assert half[1:5] == (whole[1],) * 4
    assert 0 <= half[5] < whole[5]
    revised = five_second_bars(third(Do.REVISE))
    assert times(revised) == [0, 5, 10, 10, 15, 20, 25]
    assert revised[2] == plain[2]
    assert revised[3][4:] != plain[2][4:]
    assert plain[2][3] <= revised[3][4] <= plain[2][2]
    nothing, whole = (0.0,) * 4, plain[2]
    for text, prices, volume in (
        ("price", nothing, whole[5]),
        ("volume", whole[1:5], 0.0),
        ("", nothing, 0.0),
    ):
        zero = five_second_bars(third(Do.ZERO, text=text))
        assert zero[2] == (10, *prices, volume)
        assert zero[:2] + zero[3:] == plain[:2] + plain[3:]


def history(fault: Fault, seed: int = 0, version: int = 226) -> list[tuple[Any, ...]]:
    """Return the bars of half an hour that ibapi gets: (time, open, high, low, close, volume), minutes before noon."""
    with served(version, faults=[fault], seed=seed) as (_, port), connected(port) as app:
        app.reqHistoricalData(1, stock(), "20240515-16:00:00", "1800 S", "1 min", "TRADES", 1, 2, False, [])
        app.wait("historicalDataEnd")
        bars = [bar for _, bar in app.all("historicalData")]
    return [
        ((NOON // SECOND - int(b.date)) // 60, b.open, b.high, b.low, b.close, float(b.volume)) for b in bars
    ]


@pytest.mark.parametrize("version", [178, 226])
def test_d_answers_with_gaps_partial_revised_and_zero_bars(version: int) -> None:
    def bars(do: Do, size: int = 0, seed: int = 0, **more: Any) -> list[tuple[Any, ...]]:
        return history(Fault(do, "HistoricalData", size=size, **more), seed, version)

    plain = history(Fault(Do.SPLIT, "IdsRequest"), version=version)
    assert times(plain) == list(range(30, 0, -1))
    gap = bars(Do.GAP, 3)
    missing = sorted(set(plain) - set(gap))
    assert [m[0] for m in missing] == list(range(missing[0][0], missing[0][0] + 3))
    assert (gap[0], gap[-1]) == (plain[0], plain[-1])
    assert bars(Do.GAP, 3) == gap  # the same seed
    assert any(bars(Do.GAP, 3, seed) != gap for seed in (1, 2))
    assert len(bars(Do.GAP, 100)) == 2
    partial = bars(Do.PARTIAL)
    assert partial[:-1] == plain[:-1]
    assert partial[-1][1:5] == (plain[-1][1],) * 4
    revised = bars(Do.REVISE, 2)
    assert times(revised) == times(plain)
    assert sum(a != b for a, b in zip(revised, plain, strict=True)) == 2
    zero = bars(Do.ZERO, text="price")
    assert [z[1:5] for z in zero].count((0.0,) * 4) == 1


def test_d_updates_of_a_kept_up_bar_come_old_and_end_with_10182() -> None:
    rows = [
        Fault(Do.OLDER, "HistoricalDataUpdate", skip=28),
        Fault(Do.REFUSE, "HistoricalDataUpdate", skip=30, code=10182, text="Failed to request live updates"),
    ]  # fmt: skip
    with served(faults=rows) as (server, port), connected(port) as app:
        app.reqHistoricalData(1, stock(), "", "1800 S", "1 min", "TRADES", 1, 2, True, [])
        app.wait("historicalDataEnd")
        for second in range(5, 200, 5):
            server.step(NOON + second * SECOND)
        app.wait("error", lambda n, _t, code, *_: (n, code) == (1, 10182))
        dates = [(int(b.date) - NOON // SECOND) // 60 for _, b in app.all("historicalDataUpdate")]
        assert len(dates) == 31
        assert dates != sorted(dates), str(dates)  # the older one
        since = len(app.calls)
        app.cancelHistoricalData(1)  # there is nothing left to cancel: 366
        app.wait("error", lambda n, _t, code, *_: (n, code) == (1, 366), since=since)


REFUSALS = [
    (162, "Historical Market Data Service error message:HMDS query returned no data: SPY@SMART Trades"),
    (162, "Historical Market Data Service error message:No market data permissions for ARCA STK"),
    (366, "No historical data query found for ticker id:1"),
]


@pytest.mark.parametrize(("code", "text"), REFUSALS)
def test_d7_history_is_refused(code: int, text: str) -> None:
    row = Fault(Do.REFUSE, "HistoricalDataRequest", code=code, text=text)
    with served(faults=[row]) as (_, port), connected(port) as app:
        app.reqHistoricalData(1, stock(), "", "1 D", "1 min", "TRADES", 1, 2, False, [])
        assert app.wait("error", lambda n, *_: n == 1)[2:4] == (code, text)
        app.reqHistoricalData(1, stock(), "", "1 D", "1 min", "TRADES", 1, 2, False, [])  # its id is free
        app.wait("historicalDataEnd")


def test_a_halt_is_told_with_the_quotes() -> None:
    row = Fault(Do.HALTED, "MarketDataRequest", size=2)
    with served(faults=[row]) as (_, port), connected(port) as app:
        app.reqMktData(1, stock(), "", False, False, [])
        assert app.wait("tickGeneric") == (1, 49, 2.0)


def test_d7_market_data_are_delayed() -> None:
    row = Fault(Do.DELAYED, "MarketDataRequest")
    with served(faults=[row]) as (server, port), connected(port) as app:
        app.reqMktData(1, stock(), "", False, False, [])
        app.wait("error", lambda n, _t, code, *_: (n, code) == (1, 10167))
        app.reqMktData(2, stock(), "", False, False, [])
        server.step(NOON + SECOND)
        app.wait("tickPrice", lambda n, kind, *_: (n, kind) == (2, 9))
        assert dict(app.all("marketDataType")) == {1: 3, 2: 1}
        kinds = {n: {a[1] for a in app.all("tickPrice") if a[0] == n} for n in (1, 2)}
        # ibapi.ticktype: 66 to 76 are the delayed bid, ask, last, high, low, close and open.
        assert kinds == {1: {66, 67, 68, 72, 73, 75, 76}, 2: {1, 2, 4, 6, 7, 9, 14}}
        assert {a[1] for a in app.all("tickString") if a[0] == 1} == {88}
