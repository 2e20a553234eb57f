"""The simulated TWS on loopback: sockets, the outside world's seconds, and nothing else.

Bytes go through quant.tws.codec to the sessions and back; the virtual clock says when the next timer is due.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from ibapi.protobuf.NextValidId_pb2 import NextValidId
from ibapi.protobuf.TickGeneric_pb2 import TickGeneric
from ibapi.ticktype import TickTypeEnum

from quant.core.barsize import SECOND
from quant.core.clock import now as outside_now
from quant.errors import CannotConnect, ProtocolError
from quant.tws.client import NO_REQUEST
from quant.tws.codec import (
    HIGHEST_VERSION,
    LOWEST_VERSION,
    RAW_ID_VERSION,
    ClientStream,
    Codec,
    Greeting,
    greeting_reply,
    negotiate,
)
from quant.tws.exchange.clock import Clock
from quant.tws.exchange.hours import in_zone
from quant.tws.exchange.refusal import Refusal
from quant.tws.faults import CONNECT, ENDS, GREETING, OF_BARS, Do, Fault, Faults
from quant.tws.line import Line
from quant.tws.program import Tws
from quant.tws.session import Session
from quant.tws.spoil import Spoiler

HOST: Final = "127.0.0.1"  # never another: there is no log-in
_WAITING: Final = 256 * 1024 * 1024  # bytes that may wait for a client that does not read; then it is cut off
_STOP_S: Final = 10.0
_UNREAD: Final = (Do.REFUSE, Do.IGNORE, Do.RESTART)  # at a request: nobody works on it
DELAYED: Final = Refusal(10167, "Requested market data is not subscribed. Displaying delayed market data.")


def outside_ns() -> int:
    """Return the outside world's time, UTC ns."""
    return int(outside_now().timestamp() * 1_000_000) * 1000


class Server:
    """Serves one Tws. highest: version that it speaks at most. Everything runs in the thread of its event loop.

    faults: what goes wrong, None = nothing; timed ones count from `start`.
    refused: what was wrong with connections that were dropped, oldest first.
    """

    def __init__(
        self, tws: Tws, clock: Clock, highest: int = HIGHEST_VERSION, faults: Faults | None = None
    ) -> None:
        self.tws = tws
        self.clock = clock
        self.highest = highest
        self.faults = Faults(()) if faults is None else faults
        self.refused: list[str] = []
        self.rolled_back: int | None = None  # the next valid id that clients are told after a restart
        self._began = clock.now()
        self._connections: set[_Connection] = set()
        self._wake: asyncio.TimerHandle | None = None
        self.busy_since: int | None = None  # when what kept the loop from reading began
        self._listening: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, port: int = 0) -> int:
        """Listen on loopback; return the port. Raises CannotConnect where it is taken."""
        self._loop = asyncio.get_running_loop()
        try:
            self._listening = await self._loop.create_server(lambda: _Connection(self), HOST, port)
        except OSError as e:
            mend = "Close what listens there (a TWS?) or choose another: --port N"
            raise CannotConnect(HOST, port, e.strerror or str(e), mend) from None
        self._began = self.clock.now()
        self.tws.play(self.faults.orders, self._began)
        self._sleep()
        found: int = self._listening.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Drop every client and stop listening."""
        if self._wake is not None:
            self._wake.cancel()
        self._loop = None  # no further timer
        connections = list(self._connections)
        for connection in connections:
            connection.drop()
        await asyncio.gather(*(connection.ended.wait() for connection in connections))
        if self._listening is not None:
            self._listening.close()
            await self._listening.wait_closed()

    def step_to(self, moment: int) -> None:
        """Move a step clock to `moment` (UTC ns) and do what is due. Raises ParameterError for a clock that runs."""
        self.clock.step_to(moment)
        self._tick()

    def step(self, moment: int) -> None:
        """`step_to` from another thread; returns when all is done that was due."""
        if self._loop is None:
            raise RuntimeError("the server is not started")

        async def go() -> None:
            self.step_to(moment)

        asyncio.run_coroutine_threadsafe(go(), self._loop).result(_STOP_S)

    # ------------------------------------------------------------ time
    def _tick(self) -> None:
        now = self.clock.now()
        try:
            self.tws.advance(now)
            for fault in self.faults.due(now - self._began):
                for connection in list(self._connections):
                    connection.suffer(fault, now)
        finally:  # a fault of ours in one job must not stop the others
            self.flush()
            self.was_busy(now)

    def was_busy(self, since: int) -> None:
        """Note that nothing was read since then: what the next pass of the loop reads may have come meanwhile."""
        if not self.tws.rate_limited:
            return  # only who counts messages by the second asks
        self.busy_since = since

        def read_again() -> None:
            if self.busy_since == since:
                self.busy_since = None

        if self._loop is not None:
            self._loop.call_soon(self._loop.call_soon, read_again)

    def flush(self) -> None:
        """Send what lies in the outboxes and wait for the next timer."""
        for connection in list(self._connections):
            connection.send()
        self._sleep()

    def _sleep(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        fault = self.faults.next_ns()
        # A step clock is moved by hand: it is woken for what is due now, and orders never leave anything due.
        stands = self.clock.speed == 0.0
        at = self.tws.timers.next_at() if stands else self.tws.next_at(self.clock.now())
        moments = (at, None if fault is None else self._began + fault)
        due = min((at for at in moments if at is not None), default=None)
        seconds = None if due is None else self.clock.outside_s(due)
        if seconds is not None and self._loop is not None:
            self._wake = self._loop.call_later(seconds, self._tick)

    # ------------------------------------------------------------ connections
    def restart(self, next_id: int) -> None:
        """Cut every client off; what they are told of order ids begins again with `next_id`."""
        self.rolled_back = next_id
        for connection in list(self._connections):
            connection.reset()

    def joined(self, connection: _Connection) -> None:
        """Keep a new connection."""
        self._connections.add(connection)

    def left(self, connection: _Connection) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(connection)


class _Connection(asyncio.Protocol):
    """One client's socket."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session = Session(server.tws)
        self._stream = ClientStream()
        self._line = Line(server.faults.rng)
        self._spoiler = Spoiler(server.faults.rng)
        self._dripping = False
        self.ended = asyncio.Event()
        self._codec: Codec | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.joined(self)
        if self._server.clock.now() < self._server.tws.down_until:
            self.drop()
        for fault in self._server.faults.at(CONNECT):
            self.suffer(fault, self._server.clock.now())

    def data_received(self, data: bytes) -> None:
        """Work on what came."""
        if self._line.silent:
            return
        now, since = self._server.clock.now(), self._server.busy_since
        for part in self._stream.feed(data):
            try:
                self._take(part, now, since)
            except ProtocolError as e:
                self._server.refused.append(e.what)
                self.drop()
                break
            if self._session.closing or self._line.silent or self._gone():
                break
        self._server.flush()
        self._server.was_busy(now)

    def _take(self, part: Greeting | bytes | ProtocolError, now: int, since: int | None) -> None:
        if isinstance(part, ProtocolError):
            raise part
        if isinstance(part, Greeting):
            version = negotiate(part, LOWEST_VERSION, self._server.highest)
            self._codec = Codec(version)
            # In one piece, and nothing behind it before the client speaks again: ibapi 10.50 needs both.
            self._write([greeting_reply(version, in_zone(now, self._server.tws.zone))])
            for fault in self._server.faults.at(GREETING):
                self.suffer(fault, now)
            self._line.raw_ids = version >= RAW_ID_VERSION
        elif self._codec is not None:
            self._work_on(self._codec.decode(part), now, since)

    def _work_on(self, request: Any, now: int, since: int | None) -> None:
        found = self._server.faults.at(type(request).__name__)
        number = getattr(request, "reqId", getattr(request, "orderId", NO_REQUEST))
        if found:
            self.send()  # what was answered before is not theirs
        if any(fault.do is Do.DELAYED for fault in found):
            self._spoiler.delayed.add(number)
            self._session.tell(number, DELAYED, now)
        if not any(fault.do in _UNREAD for fault in found):
            self._session.receive(request, now, since)
        for fault in found:
            self.suffer(fault, now, number)
        if found:
            self.send()

    def suffer(self, fault: Fault, now: int, number: int = NO_REQUEST) -> None:
        """Let a fault happen. number: of the request that it happens at."""
        if fault.do in (Do.SAY, Do.REFUSE):
            asked = number if fault.do == Do.REFUSE else NO_REQUEST
            self._session.tell(asked, Refusal(fault.code, fault.text), now)
        elif fault.do in ENDS and fault.size == 0:
            self._end(fault.do)
        elif fault.do == Do.RESTART:
            self._server.restart(max(fault.size, 1))
        elif fault.do == Do.LATE:
            self._later([self._spoiler.passes(m) for m in self._session.take()], fault, now)
        elif fault.do is Do.HALTED:
            self.send()
            self._tell([TickGeneric(reqId=number, tickType=TickTypeEnum.HALTED, value=fault.size)])
        elif fault.do not in (Do.IGNORE, Do.DELAYED):
            self._line.spoil(fault)

    def _end(self, how: Do) -> None:
        if how == Do.CLOSE:
            self.send()
            if self._transport is not None:
                self._transport.close()
        elif how == Do.RESET:
            self.reset()
        else:
            self._line.silent = True

    def _later(self, messages: list[Any], fault: Fault, now: int) -> None:
        at = now + round(fault.late_s * SECOND)
        self._server.tws.timers.set(at, lambda _: self._tell(messages))

    def send(self) -> None:
        """Send the session's outbox; end the connection if the session wants that."""
        messages = self._session.take()
        if messages and not self._server.faults.scripted:
            self._tell(messages)
        elif self._codec is not None and messages:
            calm: list[Any] = []
            over: set[tuple[str, int]] = set()  # subscriptions that end here, with more of them in the outbox
            for message in messages:
                name = type(message).__name__
                if over and (name, getattr(message, "reqId", NO_REQUEST)) in over:
                    continue
                found = self._server.faults.at(name)
                if not found:
                    calm.append(self._spoiler.passes(message))
                    continue
                if any(fault.do is Do.REFUSE for fault in found):
                    over.add((name, message.reqId))
                self._tell(calm)
                calm = []
                self._tell(self._spoiled(message, found))
            self._tell(calm)
        if self._session.closing and self._transport is not None:
            self._transport.close()

    def _spoiled(self, message: Any, found: list[Fault]) -> list[Any]:
        """Return what is told instead of a message; what happens to the line has happened then."""
        now, told = self._server.clock.now(), [self._spoiler.passes(message)]
        for fault in found:
            if fault.do in (Do.ACCOUNT, *OF_BARS):
                told = [*self._spoiler.spoil(fault, told[0]), *told[1:]]
            elif fault.do == Do.LATE:
                self._later(told, fault, now)
                told = []
            elif fault.do == Do.REFUSE:  # of a subscription, which ends with it
                self._session.refuse(message.reqId, Refusal(fault.code, fault.text), now)
                told = self._session.take()
            else:
                self.suffer(fault, now)
                told = [*self._session.take(), *told]
            if not told:
                break
        return told

    def _tell(self, messages: list[Any]) -> None:
        """Send messages, whatever the script says of them."""
        if self._codec is None or self._gone():
            return
        frames: list[bytes] = []
        for message in messages:
            if self._server.rolled_back is not None and type(message).__name__ == "NextValidId":
                message = NextValidId(orderId=self._server.rolled_back)
            frames += self._codec.encode(message)
        self._write(frames)

    def _gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def reset(self) -> None:
        """End the connection so that the client sees a reset, not an end."""
        if self._transport is not None and not self._transport.is_closing():
            linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            found = self._transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()

    def _write(self, frames: list[bytes]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        for piece in self._line.send(frames):
            self._transport.write(piece)
        if self._line.waiting and not self._dripping:
            self._dripping = True
            self._drip(self._server.clock.now())
        if self._line.end is not None:
            how, self._line.end = self._line.end, None
            self._end(how)
        if self._transport.get_write_buffer_size() > _WAITING:
            self._server.refused.append("did not read what was sent to it")
            self.drop()

    def _drip(self, now: int) -> None:
        """Send one byte of what waits, and the next one a second later."""
        waiting = self._line.waiting
        self._dripping = bool(waiting) and not self._gone()
        if self._dripping and self._transport is not None:
            self._transport.write(bytes(waiting[:1]))
            del waiting[:1]
            self._server.tws.timers.set(now + SECOND, self._drip)

    def pause_writing(self) -> None:
        """Take no more requests from a client that does not read the answers."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with a client that has caught up."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._session.leave()
        self._server.left(self)
        self.ended.set()

    def drop(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()


@contextmanager
def running(server: Server, port: int = 0) -> Iterator[int]:
    """Serve from a thread of its own; gives the port. Raises CannotConnect where it is taken.

    The Tws belongs to that thread meanwhile: whoever moves its clock does so with `Server.step`.
    """
    server.tws.warm(server.clock.now())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated TWS", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(port), loop).result(_STOP_S)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(_STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        loop.close()
