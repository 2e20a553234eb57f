"""Faults: a script and a seed say when, IB's client and raw sockets see what."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ibapi.client import EClient
from served import NOON, PATIENCE_S, App, connected, served, stock

from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.tws.codec import FrameReader, pack
from quant.tws.faults import Do, Fault, Faults, read
from quant.tws.line import Line

GREETING = b"API\0\0\0\0\tv100..226"
START = b"\0\0\0\x06\0\0\1\x0f\x08\1"  # startApi as protobuf: 71 + 200, clientId 1


def frames(data: bytes) -> list[bytes]:
    found = FrameReader().feed(data)
    assert all(isinstance(f, bytes) for f in found)
    return found  # type: ignore[return-value]


def talked(fault: Fault, start: bytes = START) -> bytes:
    """Return all bytes that a client gets who greets and starts, until the server ends the connection."""
    with served(faults=[fault]) as (_, port), socket.create_connection(("127.0.0.1", port)) as peer:
        peer.settimeout(PATIENCE_S)
        peer.sendall(GREETING)
        heard = peer.recv(4096)
        peer.sendall(start)
        while more := peer.recv(4096):
            heard += more
        return heard


# ---------------------------------------------------------------- when
def test_skip_count_and_order() -> None:
    rows = [Fault(Do.SPLIT, "IdsRequest", skip=1, count=2), Fault(Do.LOSE, "IdsRequest", count=0)]
    faults = Faults(rows)
    assert [[f.do for f in faults.at("IdsRequest")] for _ in range(4)] == [
        [Do.LOSE], [Do.SPLIT, Do.LOSE], [Do.SPLIT, Do.LOSE], [Do.LOSE]
    ]  # fmt: skip
    assert faults.at("connect") == []


def test_the_same_seed_gives_the_same_faults() -> None:
    row = Fault(Do.LOSE, "IdsRequest", chance=0.3, count=0)

    def drawn(seed: int) -> list[bool]:
        faults = Faults([row], seed)
        return [bool(faults.at("IdsRequest")) for _ in range(300)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 50 < sum(drawn(1)) < 130  # 90 are expected, 8 is their deviation


def test_timed_faults_come_once_in_order() -> None:
    faults = Faults([Fault(Do.CLOSE, after_s=2.0), Fault(Do.SAY, after_s=1.0, code=1100)])
    assert faults.next_ns() == SECOND
    assert [f.do for f in faults.due(2 * SECOND)] == [Do.SAY, Do.CLOSE]
    assert (faults.next_ns(), faults.due(9 * SECOND)) == (None, [])


# ---------------------------------------------------------------- what
def test_what_a_line_makes_of_an_answer() -> None:
    answer = [b"\0\0\0\2ab", b"\0\0\0\1c"]
    whole = b"".join(answer)

    def sent(do: Do, seed: int = 0, size: int = 0) -> list[bytes]:
        line = Line(Faults((), seed).rng)
        line.spoil(Fault(do, "connect", size=size))
        found = line.send(answer)
        assert line.send(answer) == ([] if line.silent or line.waiting else [whole])
        return found

    assert sent(Do.LOSE) == sent(Do.SILENCE) == []
    assert sent(Do.REPEAT) == [answer[0] * 2 + answer[1] * 2]
    assert sent(Do.HALF) == [answer[0][:3]]
    split = sent(Do.SPLIT)
    assert {len(piece) for piece in split} == {1}
    assert b"".join(split) == whole
    assert sent(Do.OVERSIZE) == [(2**31 - 1).to_bytes(4, "big") + whole]
    for seed in range(50):
        (flipped,) = sent(Do.FLIP, seed)
        assert [f[:0] for f in frames(flipped)] == [b"", b""]  # the frames stand
        assert len(flipped) == len(whole)
    assert len({sent(Do.FLIP, seed)[0] for seed in range(20)}) > 5

    assert sent(Do.OVERSIZE, size=17_000_000)[0][:4] == (17_000_000).to_bytes(4, "big")
    assert sent(Do.EMPTY) == [b"\0\0\0\0" + whole]
    assert frames(sent(Do.UNKNOWN)[0]) == [b"9999\x007\0", b"ab", b"c"]
    assert frames(sent(Do.FEW)[0]) == [b"ab", b"c"]
    assert frames(sent(Do.MANY)[0]) == [b"ab", b"c7\x007\x007\0"]
    assert frames(sent(Do.FLOOD, size=3)[0]) == [b"ab"] * 3 + [b"c"]
    assert sent(Do.SLOW) == []
    for size in range(1, 12):  # also more than there are
        for do in (Do.CLOSE, Do.RESET, Do.SILENCE):
            assert sent(do, size=size) == [whole[:size]]


def test_letters_that_are_no_text_leave_the_id_alone() -> None:
    for seed in range(20):
        line = Line(Faults((), seed).rng)
        line.spoil(Fault(Do.NOT_UTF8, "connect"))
        (told,) = line.send([pack(b"9abc\0DU12\0"), pack(b"9abc\x0012\0")])
        one, two = frames(told)
        assert one in (b"9abc\0\xffU12\0", b"9abc\0D\xff12\0")
        assert two == b"9abc\x0012\0"


def test_connections_that_say_nothing_or_end() -> None:
    silence = Fault(Do.SILENCE, "connect")
    with served(faults=[silence]) as (_, port), socket.create_connection(("127.0.0.1", port)) as dumb:
        dumb.sendall(GREETING)
        with connected(port) as app:  # the next one is served
            app.reqCurrentTime()
            app.wait("currentTime")
        dumb.setblocking(False)
        with pytest.raises(BlockingIOError):
            dumb.recv(1)
    assert len(frames(talked(Fault(Do.CLOSE, "greeting"), start=b""))) == 1
    with pytest.raises(ConnectionResetError):
        talked(Fault(Do.RESET, "StartApiRequest"))
    assert (
        b"secdefil" in frames(talked(Fault(Do.CLOSE, "StartApiRequest")))[-1]
    )  # what was said before arrives


def test_a_start_that_is_never_answered() -> None:
    with served(faults=[Fault(Do.IGNORE, "StartApiRequest")]) as (_, port):
        app = App()
        EClient.connect(app, "127.0.0.1", port, 1)
        app.reqCurrentTime()
        text = app.msg_queue.get(timeout=PATIENCE_S)  # 504: no session has begun
        assert b"Not connected" in (text[1] if isinstance(text, tuple) else text)
        app.disconnect()


def test_requests_are_refused_as_the_script_says() -> None:
    rows = [
        Fault(
            Do.REFUSE, "HistoricalDataRequest", code=162, text="Trading TWS session is connected elsewhere"
        ),
        Fault(Do.IGNORE, "HistoricalDataRequest", skip=1),
    ]
    with served(faults=rows) as (_, port), connected(port) as app:
        for number in (1, 2, 3):
            app.reqHistoricalData(number, stock(), "", "2 D", "1 day", "TRADES", 1, 1, False, [])
        app.wait("historicalDataEnd", lambda n, *_: n == 3)
        assert [(a[0], a[2]) for a in app.all("error") if a[0] > 0] == [(1, 162)]
        assert [a[0] for a in app.all("historicalDataEnd")] == [3]


def test_1100_and_1101_by_the_clock_end_subscriptions_and_1102_does_not() -> None:
    rows = [
        Fault(Do.SAY, after_s=s, code=c, text="Connectivity") for s, c in ((2, 1100), (3, 1102), (7, 1101))
    ]
    with served(faults=rows) as (server, port), connected(port) as app:
        app.reqRealTimeBars(1, stock(), 5, "MIDPOINT", True, [])
        app.reqCurrentTime()
        app.wait("currentTime")
        for second in (2, 3, 5, 7, 20):
            server.step(NOON + second * SECOND)
        app.wait("error", lambda _n, _t, code, *_: code == 1101)
        app.reqRealTimeBars(1, stock(), 5, "BID", True, [])  # the id is free again
        server.step(NOON + 25 * SECOND)
        app.wait("realtimeBar", lambda _n, time, *_: time == NOON // SECOND + 20)
        assert [a[1] - NOON // SECOND for a in app.all("realtimeBar")] == [0, 20]
        assert [a[2] for a in app.all("error") if 1000 < a[2] < 2000] == [1100, 1102, 1101]


def test_answers_that_come_byte_by_byte_or_twice_reach_ibs_client() -> None:
    rows = [Fault(Do.SPLIT, "IdsRequest"), Fault(Do.REPEAT, "CurrentTimeRequest")]
    with served(faults=rows) as (_, port), connected(port) as app:
        since = len(app.calls)
        app.reqIds(1)
        app.wait("nextValidId", since=since)
        app.reqCurrentTime()
        app.reqMarketRule(26)
        app.wait("marketRule")
        assert len(app.all("currentTime")) == 2


# ---------------------------------------------------------------- scripts
def test_a_script_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(
        '[[fault]]\ndo = "say"\nafter_s = 30\ncode = 1100\n\n[[fault]]\ndo = "lose"\non = "IdsRequest"\n'
    )
    assert read(path) == [Fault(Do.SAY, after_s=30, code=1100), Fault(Do.LOSE, "IdsRequest")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[fault", "no TOML"), ("x = 1", "[[fault]]"), ("fault = 3", "[[fault]]"),
        ('[[fault]]\ndo = "explode"\non = "connect"', "explode"), ('[[fault]]\ndo = "close"', "after_s"),
        ('[[fault]]\ndo = "close"\non = "tea"', "tea"), ('[[fault]]\ndo = "close"\non = "connect"\nwhen = 3', "when"),
        ('[[fault]]\ndo = "say"\non = "connect"', "code"), ('[[fault]]\ndo = "close"\nafter_s = "soon"', "soon"),
        ('[[fault]]\ndo = "refuse"\nafter_s = 3\ncode = 162', "request"),
        ('[[fault]]\ndo = "close"\non = "connect"\nchance = 1.5', "1.5"),
        ('[[fault]]\ndo = "close"\non = "connect"\ncount = -1', "negative"),
        ('[[fault]]\ndo = "close"\non = "connect"\nskip = true', "skip"),
        ('[[fault]]\ndo = "late"\non = "RealTimeBarTick"', "late_s"),
        ('[[fault]]\ndo = "lose"\non = "connect"\nlate_s = 3', "late_s"),
        ('[[fault]]\ndo = "account"\non = "NextValidId"\ntext = "U1"', "ManagedAccounts"),
        ('[[fault]]\ndo = "gap"\non = "RealTimeBarTick"', "HistoricalData"),
        ('[[fault]]\ndo = "zero"\non = "HistoricalData"\ntext = "all"', "text"),
        ('[[fault]]\ndo = "flood"\non = "IdsRequest"\nsize = -1', "size"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_played_says_why(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(ParameterError) as caught:
        read(path)
    assert told in str(caught.value)
