"""A TWS on loopback that does what a test's script says, and one in virtual time without sockets.

It answers with IB's own protobuf classes, so that what our client decodes is what IB's library would write.
"""

from __future__ import annotations

import heapq
import importlib
import itertools
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ibapi.message import IN, OUT

from quant.errors import BrokerError, LinkLost
from quant.ib.codec import Event
from quant.ib.frames import FrameBuffer, frame
from quant.ib.wire import Batch, Closed, Inbox, Item

NEWEST = 226
TIME = "20260102 09:30:00 EST"
ANSWERS = {
    "NextValidId": IN.NEXT_VALID_ID,
    "ManagedAccounts": IN.MANAGED_ACCTS,
    "ErrorMessage": IN.ERR_MSG,
    "CurrentTime": IN.CURRENT_TIME,
    "ContractData": IN.CONTRACT_DATA,
    "ContractDataEnd": IN.CONTRACT_DATA_END,
    "HistoricalData": IN.HISTORICAL_DATA,
    "HistoricalDataEnd": IN.HISTORICAL_DATA_END,
    "HistoricalDataUpdate": IN.HISTORICAL_DATA_UPDATE,
    "HistoricalSchedule": IN.HISTORICAL_SCHEDULE,
    "HeadTimestamp": IN.HEAD_TIMESTAMP,
    "MarketRule": IN.MARKET_RULE,
    "SymbolSamples": IN.SYMBOL_SAMPLES,
    "AccountSummary": IN.ACCOUNT_SUMMARY,
    "AccountSummaryEnd": IN.ACCOUNT_SUMMARY_END,
    "TickPrice": IN.TICK_PRICE,
    "TickSnapshotEnd": IN.TICK_SNAPSHOT_END,
    "MarketDataType": IN.MARKET_DATA_TYPE,
}
REQUESTS = {
    OUT.START_API: "StartApiRequest",
    OUT.REQ_CURRENT_TIME: "CurrentTimeRequest",
    OUT.REQ_CONTRACT_DATA: "ContractDataRequest",
    OUT.REQ_HISTORICAL_DATA: "HistoricalDataRequest",
    OUT.CANCEL_HISTORICAL_DATA: "CancelHistoricalData",
    OUT.REQ_HEAD_TIMESTAMP: "HeadTimestampRequest",
    OUT.CANCEL_HEAD_TIMESTAMP: "CancelHeadTimestamp",
    OUT.REQ_MATCHING_SYMBOLS: "MatchingSymbolsRequest",
    OUT.REQ_MARKET_RULE: "MarketRuleRequest",
    OUT.REQ_ACCOUNT_SUMMARY: "AccountSummaryRequest",
    OUT.CANCEL_ACCOUNT_SUMMARY: "CancelAccountSummary",
    OUT.REQ_MKT_DATA: "MarketDataRequest",
    OUT.CANCEL_MKT_DATA: "CancelMarketData",
    OUT.REQ_MARKET_DATA_TYPE: "MarketDataTypeRequest",
    OUT.REQ_MANAGED_ACCTS: "ManagedAccountsRequest",
    OUT.REQ_REAL_TIME_BARS: "RealTimeBarsRequest",
    OUT.CANCEL_REAL_TIME_BARS: "CancelRealTimeBars",
}


def proto(name: str) -> Any:
    return getattr(importlib.import_module(f"ibapi.protobuf.{name}_pb2"), name)


def message(name: str, **fields: Any) -> bytes:
    """One frame with an answer of TWS, as protobuf."""
    return frame((ANSWERS[name] + 200).to_bytes(4, "big") + proto(name)(**fields).SerializeToString())


def text(*fields: Any) -> bytes:
    """One frame in the text form of version 178; the message id first."""
    return frame("".join(f"{f}\0" for f in fields).encode())


def parse(payload: bytes) -> Any:
    """A request of the client, as IB's protobuf class."""
    number = int.from_bytes(payload[:4], "big") - 200
    parsed = proto(REQUESTS[number])()
    parsed.ParseFromString(payload[4:])
    return parsed


def login(version: int = NEWEST, accounts: str = "DU1234567", order_id: int = 1) -> bytes:
    if version < 201:
        return text(15, 1, accounts) + text(9, 1, order_id)
    return message("ManagedAccounts", accountsList=accounts) + message("NextValidId", orderId=order_id)


def error(id_: int, code: int, told: str) -> bytes:
    return message("ErrorMessage", id=id_, errorTime=0, errorCode=code, errorMsg=told)


class Peer:
    """TWS's end of one connection."""

    def __init__(self, sock: socket.socket, stop: threading.Event) -> None:
        self.sock = sock
        self.stop = stop
        self._buffer = FrameBuffer()
        self._frames: list[bytes] = []

    def exact(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def hello(self) -> tuple[int, int]:
        """Read the client's hello; return the versions that it offers."""
        assert self.exact(4) == b"API\0"
        offered = self.frame().decode().split(" ")[0]
        low, high = offered.removeprefix("v").split("..")
        return int(low), int(high)

    def agree(self, version: int = NEWEST, *, after: bytes = b"") -> None:
        self.hello()
        self.send(self.reply(version) + after)

    def reply(self, version: int = NEWEST) -> bytes:
        return frame(f"{version}\0{TIME}\0".encode())

    def open(self, version: int = NEWEST) -> None:
        """Handshake and login, as TWS does them."""
        self.agree(version)
        self.frame()  # START_API
        self.send(login(version))

    def frame(self) -> bytes:
        return self.exact(struct.unpack(">I", self.exact(4))[0])

    def request(self) -> Any:
        return parse(self.frame())

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hold(self) -> None:
        """Keep the connection open, say nothing, until the test ends."""
        self.stop.wait(20)

    def drain(self) -> None:
        """Read until the client closes."""
        while self.sock.recv(65_536):
            pass


Script = Callable[[Peer], None]


@contextmanager
def tws(*scripts: Script) -> Iterator[int]:
    """Serve each connection by the next script, the last one again and again; gives the port."""
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    peers: list[socket.socket] = []
    failed: list[BaseException] = []
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket, script: Script) -> None:
        with sock:
            try:
                script(Peer(sock, stop))
            except OSError:
                pass  # the client has gone
            except BaseException as e:  # noqa: BLE001  # told to the test when it ends
                failed.append(e)

    def accept() -> None:
        for script in itertools.chain(scripts, itertools.repeat(scripts[-1])):
            try:
                sock, _ = server.accept()
            except OSError:
                return
            peers.append(sock)
            thread = threading.Thread(target=serve, args=(sock, script), daemon=True)
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server.getsockname()[1]
    finally:
        stop.set()
        for end in (server, *peers):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        server.close()
        for thread in (accepting, *threads):
            thread.join(5)
    if failed:
        raise failed[0]


# ---------------------------------------------------------------- virtual time
class VirtualTimer:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.t = 1000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def now(self) -> float:
        return self.t

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.t + delay_s, next(self._count), do))

    def get(self, inbox: Inbox, timeout_s: float) -> Item:
        assert timeout_s < float("inf"), "would wait for ever"
        until = self.t + max(timeout_s, 0.0)
        while True:
            try:
                return inbox.get_nowait()
            except queue.Empty:
                pass
            if not self._due or self._due[0][0] > until:
                self.t = until
                return None
            at, _, do = heapq.heappop(self._due)
            self.t = max(self.t, at)
            do()


class VirtualLink:
    """A connection in virtual time. `requests` are IB's protobuf messages that the client sent, with the time."""

    server_version = NEWEST
    server_time = TIME

    def __init__(self, timer: VirtualTimer, inbox: Inbox, on: Callable[[VirtualLink, Any], None]) -> None:
        self.timer = timer
        self.inbox = inbox
        self.on = on
        self.last_rx = timer.now()
        self.requests: list[tuple[float, Any]] = []
        self.closed = False
        self.broken = False
        self.mute = False  # packets vanish, as on a link that is half open

    def send(self, data: bytes) -> None:
        if self.broken or self.closed:
            raise LinkLost("reset by peer")
        for payload in FrameBuffer().receive(data):
            request = parse(payload)
            self.requests.append((self.timer.now(), request))
            self.on(self, request)

    def say(self, name: str, *args: Any, after: float = 0.0) -> None:
        def arrive() -> None:
            if not self.closed and not self.mute:
                self.last_rx = self.timer.now()
                self.inbox.put(Batch(self.timer.now(), [Event(name, args)]))

        self.timer.after(after, arrive)

    def fail(self, id_: int, code: int, told: str, after: float = 0.0) -> None:
        self.say("error", id_, 0, code, told, "", after=after)

    def end(self, after: float = 0.0) -> None:
        def stop() -> None:
            self.broken = True
            self.inbox.put(Closed(LinkLost("TWS closed it")))

        self.timer.after(after, stop)

    def close(self, cause: BrokerError | None = None) -> None:
        self.closed = True

    def join(self, timeout_s: float) -> bool:
        return True

    def asked(self, kind: str) -> list[Any]:
        return [r for _, r in self.requests if type(r).__name__ == kind]


class VirtualTws:
    """Makes links; answers logins and heartbeats; `answers` maps a request's name to what is done about it."""

    def __init__(self) -> None:
        self.timer = VirtualTimer()
        self.links: list[VirtualLink] = []
        self.answers: dict[str, Callable[[VirtualLink, Any], None]] = {
            "StartApiRequest": self.login,
            "CurrentTimeRequest": lambda link, _: link.say("currentTime", 1_767_225_600),
        }
        self.opening: Callable[[], None] = lambda: None

    def open(self, inbox: Inbox) -> VirtualLink:
        self.opening()
        link = VirtualLink(self.timer, inbox, self.answer)
        self.links.append(link)
        return link

    def answer(self, link: VirtualLink, request: Any) -> None:
        do = self.answers.get(type(request).__name__)
        if do is not None:
            do(link, request)

    @staticmethod
    def login(link: VirtualLink, _: Any) -> None:
        link.say("managedAccounts", "DU1234567", after=0.1)
        link.say("nextValidId", 1, after=0.1)
