"""The simulated TWS and quant.ib's session joined in memory, in virtual time: the real bytes, no sockets, no threads.

Everything between is the product's own: quant.ib's wire with its frames and decoder on one side, the server's
connection with its codec, sessions and faults on the other. Same seed, same run.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import queue
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from quant.core.barsize import SECOND
from quant.errors import BrokerError, CannotConnect, LinkLost, ProtocolError
from quant.ib.codec import Decoder
from quant.ib.wire import Batch, Closed, Inbox, Item, Wire
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Fault, Faults
from quant.tws.order_faults import OrderFault
from quant.tws.program import Tws, simulated
from quant.tws.server import Server, _Connection

NOON = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND  # in New York; a Wednesday
LATENCY = 2_000_000  # ns one way
EPOCH_S = 1000.0  # the session's monotonic time at the start
PORT = 7497


class MemorySocket:
    """The client's end: what quant.ib.wire.Wire needs of a socket.

    Bytes arrive `LATENCY` after they were sent, in order. sever: after so many more bytes to TWS the line breaks, by
    "reset" or "close"; "silence" lets them vanish, both ways.
    """

    def __init__(self, world: MemoryTws) -> None:
        self.world = world
        self.received = bytearray()
        self.ended = ""  # how TWS ended it: "close", "reset"
        self.silent = False
        self.closed = False
        self.sever: tuple[int, str] | None = None
        self.wire: MemoryWire | None = None
        self.sent_bytes = 0
        self._timeout: float | None = None
        self.server = _Connection(world.server)
        self._gone = False  # TWS knows that the client has gone
        self.server.connection_made(_Transport(self))  # type: ignore[arg-type]

    # ------------------------------------------------------------ what Wire calls
    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def setsockopt(self, *_: Any) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        if self.closed or self.ended == "reset":
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        self.sent_bytes += len(data)
        if self.sever is not None:
            left, how = self.sever
            if len(data) >= left:
                self._to_server(data[:left])
                self._break(how)
                return
            self.sever = left - len(data), how
        self._to_server(data)

    def recv(self, size: int) -> bytes:
        """Wait in virtual time; in the handshake alone."""
        until = self.world.ns() + round((self._timeout or 0.0) * SECOND)
        self.world.advance(until, lambda: bool(self.received) or bool(self.ended))
        if self.received:
            data = bytes(self.received[:size])
            del self.received[:size]
            return data
        if self.ended == "reset":
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        if self.ended:
            return b""
        raise TimeoutError

    def shutdown(self, _how: int) -> None:
        self.close()
        if self.wire is not None:
            self.wire.over(None)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.world.after(LATENCY, self._leave)

    # ------------------------------------------------------------ the line
    def _to_server(self, data: bytes) -> None:
        if not self.silent and data:
            self.world.after(LATENCY, lambda: self._gone or self.server.data_received(data))

    def _break(self, how: str) -> None:
        if how == "silence":
            self.fall_silent()
        else:
            self.world.after(2 * LATENCY, lambda: self.end(how))
            self.world.after(2 * LATENCY, self._leave)

    def fall_silent(self) -> None:
        """Let every packet vanish from now on, as on a line that is half open."""
        if not self.silent:
            self.silent = True
            self.world.went_silent(self)

    def arrive(self, data: bytes) -> None:
        """Take bytes of TWS."""
        if self.silent or self.closed or self.ended:
            return
        if self.wire is None:
            self.received += data
        else:
            self.wire.feed(data)

    def end(self, how: str) -> None:
        """Take TWS's end of the connection."""
        if self.silent or self.closed or self.ended:
            return
        self.ended = how
        if self.wire is not None:
            self.wire.over(LinkLost("TWS closed it" if how == "close" else "Connection reset by peer"))

    def die(self, deliver: bool) -> None:
        """The client's process is killed. deliver: what it sent still arrives, else a reset overtakes it."""
        self.closed = True
        if deliver:
            self.world.after(2 * LATENCY, self._leave)
        else:
            self._leave()

    def _leave(self) -> None:
        if not self._gone:
            self._gone = True
            self.server.connection_lost(None)


class _Transport:
    """The server's end: what it needs of asyncio's transport."""

    def __init__(self, peer: MemorySocket) -> None:
        self._peer = peer
        self._closing = False

    def write(self, data: bytes) -> None:
        if not self._closing:
            self._peer.world.after(LATENCY, lambda: self._peer.arrive(data))

    def close(self) -> None:
        self._end("close")

    def abort(self) -> None:
        self._end("reset")

    def _end(self, how: str) -> None:
        if not self._closing:
            self._closing = True
            self._peer.world.after(LATENCY, lambda: self._peer.end(how))
            self._peer.world.after(0, self._peer._leave)

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, _name: str) -> Any:
        return self._peer

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class MemoryWire(Wire):
    """quant.ib's wire, whose reader is called when bytes come instead of waiting for them in a thread."""

    def _read(self, inbox: Inbox) -> None:
        self._to = inbox
        self._decoder = Decoder(self.server_version)
        self._begun = self._clock()
        self._told_end = False
        events = [e for payload in self._early for e in self._decoder.decode(payload)]
        if events:
            inbox.put(Batch(self.last_rx, events))

    def feed(self, data: bytes) -> None:
        now = self.last_rx = self._clock()
        try:
            if self._queue(data, self._decoder, now, self._to) or not self._buffer.partial:
                self._begun = now
        except BrokerError as e:
            self.over(e)

    def watch(self) -> None:
        """Do what the reader does when nothing comes: give up a message that stays half."""
        if self._buffer.partial and self._clock() - self._begun > self._limits.frame_s:
            self.over(ProtocolError("stopped in the middle of a message"))

    def over(self, cause: BrokerError | None) -> None:
        if not self._told_end:
            self._told_end = True
            self.close(cause)
            self._to.put(Closed(self._cause))
            self._sock.close()


class MemoryTws:
    """One simulated TWS, its time, and the lines to it; also the timer of the sessions that use them."""

    def __init__(
        self, faults: Iterable[Fault | OrderFault] = (), seed: int = 0, start: int = NOON, tws: Tws | None = None,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.start = start
        self.clock = Clock(lambda: 0, speed=0.0, start=start)
        tws = simulated(rate_limited=False, seed=seed) if tws is None else tws
        self.faults = Faults(faults, seed)
        self.server = Server(tws, self.clock, faults=self.faults)
        self.tws = tws
        tws.play(self.server.faults.orders, start)
        self.sockets: list[MemorySocket] = []
        self.silences: list[tuple[int, MemorySocket]] = []
        self.on_connect: Callable[[MemorySocket], None] = lambda socket: None
        self.listening = True
        self._due: list[tuple[int, int, Callable[[], object]]] = []
        self._count = itertools.count()

    # ------------------------------------------------------------ time
    def ns(self) -> int:
        return self.clock.now()

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.ns() // SECOND, UTC).replace(
            microsecond=self.ns() // 1000 % 1_000_000
        )

    def after(self, delay: int, do: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.ns() + delay, next(self._count), do))

    def advance(self, until: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Let happen what is due up to `until` (UTC ns), or until `stop`."""
        while not stop():
            own, theirs = self._due[0][0] if self._due else until, self._next_of_server()
            at = max(min(own, until if theirs is None else theirs, until), self.ns())
            self.clock.step_to(at)
            while self._due and self._due[0][0] <= at:
                heapq.heappop(self._due)[2]()
            if theirs is not None and theirs <= at:
                self.server._tick()
            if at >= until and not (self._due and self._due[0][0] <= until):
                return

    def _next_of_server(self) -> int | None:
        fault = self.server.faults.next_ns()
        moments = (self.tws.next_at(self.ns()), None if fault is None else self.server._began + fault)
        return min((m for m in moments if m is not None), default=None)

    # ------------------------------------------------------------ quant.ib's Timer
    def now_s(self) -> float:
        return EPOCH_S + (self.ns() - self.start) / SECOND

    # ------------------------------------------------------------ lines
    def open(self, inbox: Inbox) -> MemoryWire:
        """Open a line, as a session's `open_link`."""
        if not self.listening:
            raise CannotConnect("127.0.0.1", PORT, "nothing listens there", "start TWS")
        wire = MemoryWire.open("127.0.0.1", PORT, inbox, clock=self.now_s, connect=self._connect)
        wire.join(10.0)  # its thread only prepares it
        self.sockets[-1].wire = wire
        if self.sockets[-1].ended:  # meanwhile
            wire.over(LinkLost("TWS closed it"))
        return wire

    def _connect(self, _address: tuple[str, int], _timeout: float) -> Any:
        socket = MemorySocket(self)
        self.sockets.append(socket)
        self.on_connect(socket)
        return socket

    def went_silent(self, socket: MemorySocket) -> None:
        self.silences.append((self.ns(), socket))

    @property
    def line(self) -> MemorySocket | None:
        """The newest line while it is whole."""
        last = self.sockets[-1] if self.sockets else None
        return None if last is None or last.closed or last.ended else last

    def quiet(self) -> None:
        """No more faults from now on."""
        self.server.faults = Faults(())
        self.tws.order_faults.timed.clear()
        self.tws.order_faults._rows.clear()
        self.tws.order_faults.voices.clear()
        self.tws.order_faults.deaf_until = 0
        self.on_connect = lambda socket: None
        self.listening = True


class MemoryTimer:
    """The session's time is the simulated TWS's; whoever waits lets it pass."""

    def __init__(self, world: MemoryTws) -> None:
        self._world = world

    def now(self) -> float:
        return self._world.now_s()

    def get(self, inbox: Inbox, timeout_s: float) -> Item:
        if timeout_s > 0 and inbox.empty():
            until = self._world.ns() + round(timeout_s * SECOND) + 1_000  # what a float loses
            self._world.advance(until, lambda: not inbox.empty())
        try:
            return inbox.get_nowait()
        except queue.Empty:
            return None
