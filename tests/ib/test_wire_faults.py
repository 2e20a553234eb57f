"""What ends or deafens the reader of ibapi 10.50 (seen by running it against a loopback server), and ours survives."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibapi.message import IN
from scripted_tws import NEWEST, Peer, error, login, message, text, tws

from quant.core import clock
from quant.errors import CannotConnect, LinkLost, ProtocolError, RequestFailed
from quant.ib.codec import Encoder, Event
from quant.ib.frames import FrameBuffer, frame
from quant.ib.wire import Batch, Closed, Inbox, Limits, Wire

QUICK = Limits(connect_s=5, handshake_s=0.3, send_s=0.05, frame_s=5)


def dial(
    port: int,
    inbox: Inbox,
    limits: Limits = QUICK,
    tick: Callable[[], float] = clock.monotonic,
    newest: int = NEWEST,
) -> Wire:
    return Wire.open("127.0.0.1", port, inbox, clock=tick, limits=limits, newest=newest)


def until_closed(inbox: Inbox) -> tuple[list[Event], Closed]:
    events: list[Event] = []
    while True:
        item = inbox.get(timeout=10)
        if isinstance(item, Closed):
            return events, item
        assert isinstance(item, Batch)
        events += item.events


def receive(inbox: Inbox, count: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < count:
        item = inbox.get(timeout=10)
        assert isinstance(item, Batch), item
        events += item.events
    return events


class Counted:
    """A clock that tells when it was read `count` times, here: when the reader waited that often."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.reached = threading.Event()

    def __call__(self) -> float:
        self.left -= 1
        if self.left <= 0:
            self.reached.set()
        return clock.monotonic()


def test_a_burst_that_ends_on_4096_bytes_before_a_silence_arrives_whole() -> None:  # defect 1
    burst = next(b for n in range(4096) if len(b := error(-1, 2104, "x" * n) + login()) == 4096)

    def script(peer: Peer) -> None:
        peer.agree()
        peer.send(burst)
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    waited = Counted(12)
    with tws(script) as port:
        wire = dial(port, inbox, tick=waited)
        names = [e.name for e in receive(inbox, 3)]
        assert waited.reached.wait(10)  # several silent turns of the reader
        wire.close()
        events, closed = until_closed(inbox)
    assert names == ["error", "managedAccounts", "nextValidId"]
    assert events == []
    assert closed.cause is None


def test_a_stall_in_the_middle_of_a_message_loses_nothing() -> None:  # defect 2
    waited = Counted(14)
    bars = [
        dict(date="20260102", open=1.0, high=2.0, low=0.5, close=1.5, volume=str(i), WAP="1.2", barCount=3)
        for i in range(200)
    ]
    whole = message("HistoricalData", reqId=7, historicalDataBars=bars) + message(
        "CurrentTime", currentTime=5
    )

    def script(peer: Peer) -> None:
        peer.agree()
        peer.send(whole[:3000])
        waited.reached.wait(10)
        peer.send(whole[3000:])
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox, tick=waited)
        first, second = receive(inbox, 2)
        wire.close()
    assert first.name == "bars"
    assert [row[5] for row in first.args[1]] == list(range(200))
    assert second == Event("currentTime", (5,))


@pytest.mark.parametrize("step", [1, 7, 20])
def test_the_handshake_reply_may_come_in_pieces_and_bytes_after_it_count(
    step: int,
) -> None:  # defect 3, 1 of notes 3
    def script(peer: Peer) -> None:
        peer.hello()
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = peer.reply() + login()
        for at in range(0, len(data), step):
            peer.send(data[at : at + step])
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox)
        names = [e.name for e in receive(inbox, 2)]
        wire.close()
    assert wire.server_version == NEWEST
    assert wire.server_time.startswith("20260102")
    assert names == ["managedAccounts", "nextValidId"]


def test_what_comes_in_the_same_packet_as_the_handshake_reply_is_not_lost() -> None:
    def script(peer: Peer) -> None:
        peer.agree(after=login() + error(-1, 2104, "OK")[:9])
        peer.send(error(-1, 2104, "OK")[9:])
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox)
        assert [e.name for e in receive(inbox, 3)] == ["managedAccounts", "nextValidId", "error"]
        wire.close()


def test_other_frames_may_come_before_the_version() -> None:
    def script(peer: Peer) -> None:
        peer.hello()
        peer.send(frame(b"news\0") + frame(b"more\0of\0it\0") + peer.reply())
        peer.hold()

    with tws(script) as port:
        wire = dial(port, queue.SimpleQueue())
        assert wire.server_version == NEWEST
        wire.close()


def test_a_server_that_accepts_and_says_nothing_is_told() -> None:  # defect 3
    with (
        tws(lambda peer: peer.hold()) as port,
        pytest.raises(CannotConnect, match=r"said nothing for 0\.3 s") as caught,
    ):
        dial(port, queue.SimpleQueue())
    assert caught.value.exit_code == 5
    assert caught.value.port == port
    assert "dialog" in caught.value.mend


def test_a_server_that_drips_the_handshake_is_told_in_time() -> None:  # slow loris
    def script(peer: Peer) -> None:
        peer.hello()
        for byte in frame(b"x" * 1_000_000):
            peer.send(bytes([byte]))
            if peer.stop.wait(0.02):
                return

    with tws(script) as port, pytest.raises(CannotConnect, match="said nothing"):
        dial(port, queue.SimpleQueue())


def test_a_server_that_closes_in_the_handshake_is_told() -> None:  # defect 4
    with (
        tws(lambda peer: peer.hello() and None) as port,
        pytest.raises(CannotConnect, match="closed the connection") as caught,
    ):
        dial(port, queue.SimpleQueue())
    assert "Trusted IPs" in caught.value.mend


def test_nothing_listening_is_told() -> None:  # defect 10
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CannotConnect, match="nothing listens there") as caught:
        dial(port, queue.SimpleQueue())
    assert "7497" in caught.value.mend


def test_no_such_host_is_told() -> None:
    def nowhere(address: tuple[str, int], timeout: float) -> socket.socket:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(CannotConnect, match="there is no such host"):
        Wire.open("tws.invalid", 7497, queue.SimpleQueue(), clock=clock.monotonic, connect=nowhere)


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_a_port_of_something_else_is_told(said: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.send(said)
        peer.hold()

    with tws(script) as port, pytest.raises(CannotConnect, match="something else than TWS") as caught:
        dial(port, queue.SimpleQueue())
    assert said[:8].decode() in str(caught.value)


def test_a_tws_that_is_too_old_is_told() -> None:
    def script(peer: Peer) -> None:
        peer.agree(157)
        peer.hold()

    with tws(script) as port, pytest.raises(CannotConnect, match="too old") as caught:
        dial(port, queue.SimpleQueue())
    assert "Update TWS" in caught.value.mend


def test_a_message_with_too_few_fields_costs_that_message_only() -> None:  # defect 6
    def script(peer: Peer) -> None:
        peer.agree(178)
        peer.send(text(int(IN.TICK_PRICE), 6) + text(9, 1) + text(49, 1, 42))
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox, newest=178)
        names = [e.name for e in receive(inbox, 3)]
        wire.close()
    assert names == ["damaged", "damaged", "currentTime"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0",
        (999).to_bytes(4, "big"),
        (int(IN.ERR_MSG) + 200).to_bytes(4, "big") + b"\xff\xff\xff",  # protobuf that is none
        (int(IN.TICK_PRICE)).to_bytes(4, "big") + b"1\0",
        b"\xff\xff\xff\xff",
    ],
)
def test_a_message_that_cannot_be_decoded_costs_that_message_only(payload: bytes) -> None:  # defects 6, 9
    def script(peer: Peer) -> None:
        peer.agree()
        peer.send(frame(payload) + message("CurrentTime", currentTime=42))
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox)
        damaged, after = receive(inbox, 2)
        wire.close()
    assert damaged.name == "damaged"
    assert after == Event("currentTime", (42,))


def test_messages_before_the_end_of_the_connection_all_arrive() -> None:  # defect 7
    def script(peer: Peer) -> None:
        peer.agree()
        peer.send(b"".join(message("CurrentTime", currentTime=i) for i in range(300)))

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        dial(port, inbox)
        events, closed = until_closed(inbox)
    assert [e.args[0] for e in events] == list(range(300))
    assert isinstance(closed.cause, LinkLost)


def test_a_reset_is_told() -> None:
    def script(peer: Peer) -> None:
        peer.agree()
        peer.sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        )

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox)
        _, closed = until_closed(inbox)
    assert isinstance(closed.cause, LinkLost)
    with pytest.raises(LinkLost) as later:  # sent after that: the same cause, in the same words
        wire.send(b"")
    assert str(later.value) == str(closed.cause)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, 0x1000000])
def test_a_frame_that_is_too_long_drops_the_connection_at_once(length: int) -> None:
    def script(peer: Peer) -> None:
        peer.agree()
        peer.send(message("CurrentTime", currentTime=1) + length.to_bytes(4, "big") + b"xx")
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox)
        events, closed = until_closed(inbox)
        assert wire.join(5)
    assert events == [Event("currentTime", (1,))]  # what came before counts
    assert isinstance(closed.cause, ProtocolError)
    assert str(length) in str(closed.cause)


def test_a_message_that_never_ends_drops_the_connection() -> None:  # slow loris: bytes come, the end does not
    def script(peer: Peer) -> None:
        peer.agree()
        peer.send((10_000).to_bytes(4, "big"))
        while not peer.stop.wait(0.01):
            peer.send(b"x")

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        dial(port, inbox, Limits(handshake_s=5, send_s=0.05, frame_s=0.2))
        _, closed = until_closed(inbox)
    assert isinstance(closed.cause, ProtocolError)
    assert "middle of a message" in str(closed.cause)


def test_a_stream_without_pause_is_not_taken_for_a_stall() -> None:
    whole = message("CurrentTime", currentTime=1) * 7
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.agree()
        at = 0
        while not done.is_set():  # always cut within a frame
            peer.send((whole * 2)[at : at + 50])
            at = (at + 50) % len(whole)

    inbox: Inbox = queue.SimpleQueue()
    ticks = iter(range(10**9))
    with tws(script) as port:
        wire = dial(port, inbox, Limits(handshake_s=1e9, frame_s=20), tick=lambda: next(ticks) * 1.0)
        events = receive(inbox, 500)
        done.set()
        wire.close()
    assert {e.name for e in events} == {"currentTime"}


def flood(wire: Wire) -> None:
    for _ in range(100):  # more than any system's buffers; Windows takes a single write of any size
        wire.send(b"\0" * 1_000_000)


def test_a_peer_that_does_not_read_is_dropped() -> None:  # defect 11
    def script(peer: Peer) -> None:
        peer.agree()
        peer.hold()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox)
        with pytest.raises(LinkLost, match="took nothing"):
            flood(wire)
        with pytest.raises(LinkLost):
            wire.send(b"more")
        _, closed = until_closed(inbox)
    assert isinstance(closed.cause, LinkLost)


def test_large_requests_are_written_whole() -> None:  # defect 11: send, not sendall
    data = frame(bytes(range(256)) * 20_000)
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.agree()
        got.append(peer.frame())

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox, Limits(send_s=5))
        wire.send(data)
        until_closed(inbox)
    assert got == [data[4:]]


def test_closing_ends_the_reader_and_the_process_need_not_wait_for_it() -> None:  # defect 12
    def script(peer: Peer) -> None:
        peer.agree()
        peer.drain()

    inbox: Inbox = queue.SimpleQueue()
    with tws(script) as port:
        wire = dial(port, inbox, Limits(send_s=60))
        readers = [t for t in threading.enumerate() if t.name == f"tws-reader-{port}"]
        assert [t.daemon for t in readers] == [True]
        closers = [threading.Thread(target=wire.close) for _ in range(4)]
        for thread in closers:
            thread.start()
        for thread in closers:
            thread.join(5)
        assert wire.join(5)
    assert until_closed(inbox) == ([], Closed(None))


def test_delays_of_nagle_are_switched_off() -> None:
    def script(peer: Peer) -> None:
        peer.agree()
        peer.drain()

    with tws(script) as port:
        wire = dial(port, queue.SimpleQueue())
        assert wire._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        wire.close()


@pytest.mark.parametrize("version", [178, NEWEST])
@pytest.mark.parametrize("value", ["Ünïcode", None])
def test_a_value_that_cannot_be_sent_is_an_error_of_the_request(
    version: int, value: str | None
) -> None:  # 13
    encoder = Encoder(version, 1)
    if version == NEWEST and value is not None:
        assert encoder.encode(
            "symbols", lambda c: c.reqMatchingSymbols(1, value)
        )  # protobuf has no trouble with it
        return
    with pytest.raises(RequestFailed, match="symbols"):
        encoder.encode(
            "symbols", lambda c: c.reqMatchingSymbols(1, value) if value else c.reqMarketRule(None)
        )
    assert encoder.encode("the time", lambda c: c.reqCurrentTime())


def test_a_request_that_the_server_is_too_old_for_is_an_error() -> None:
    with pytest.raises(RequestFailed, match="IB code 503"):
        Encoder(178, 1).encode("a cancel", lambda c: c.cancelContractData(1))


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 9))
def test_frames_survive_any_slicing(payloads: list[bytes], step: int) -> None:
    stream = b"".join(map(frame, payloads))
    buffer = FrameBuffer()
    got = [f for at in range(0, len(stream), step) for f in buffer.receive(stream[at : at + step])]
    assert got == payloads
    assert not buffer.partial
