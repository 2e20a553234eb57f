"""Time in a rehearsal: it stands still until both ends of the wire have said all they have to say, then goes on.

A simulated TWS and its client share one process and one thread: its event loop runs only while the client waits.
Between them is a real socket on loopback. What is live's reader thread reads here in that thread too: handed over from
thread to thread, each packet would wait for the machine twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from quant.core.barsize import SECOND
from quant.ib.wire import Closed, Inbox, Item, Wire
from quant.tws.server import HOST, Server

PASSES: Final = 2  # of the event loop: what lies in a socket is read, worked on and answered by then
_TRIES: Final = 10


class Lockstep:
    """The timer of a session, the clock of both ends, and the connection between them.

    moments: (n,) int64 UTC ns, rising, at which something is to happen: time goes from one to the next where the
    client has nothing to do (`calm`), else no further than it asked to wait. The server has a step clock.
    """

    def __init__(self, server: Server, moments: Sequence[int]) -> None:
        self.calm = False
        self._server = server
        self._moments = sorted({int(at) for at in moments})
        self._now = self._origin = server.clock.now()
        self._loop = asyncio.new_event_loop()
        self._port = 0
        self._line: _Line | None = None
        self._inbox: Inbox | None = None

    # ------------------------------------------------------------ both ends
    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Serve meanwhile. Raises RuntimeError in a thread whose own event loop runs."""
        self._server.tws.warm(self._now)
        try:
            self._port = self._loop.run_until_complete(self._server.start())
            yield
        finally:
            with contextlib.suppress(RuntimeError):
                self._loop.run_until_complete(self._server.stop())
            self._loop.close()

    def open_link(self, inbox: Inbox) -> Wire:
        """Connect, for a Session. Raises CannotConnect."""
        self._line, self._inbox = None, None
        wire = Wire.open(HOST, self._port, inbox, clock=self.now, connect=self._connect, threaded=False)
        if self._line is not None:
            self._line.reads(partial(wire.read, inbox))
        self._inbox = inbox
        return wire

    def _connect(self, address: tuple[str, int], timeout_s: float) -> Any:
        self._line = _Line(socket.create_connection(address, timeout_s), self._turn)
        return self._line

    # ------------------------------------------------------------ time
    @property
    def moment(self) -> int:
        """The time, UTC ns."""
        return self._now

    @property
    def last(self) -> int:
        """The last of the moments."""
        return self._moments[-1]

    @property
    def over(self) -> bool:
        """True once the last of the moments has come."""
        return self._now >= self.last

    def now(self) -> float:
        """Return seconds since the beginning."""
        return (self._now - self._origin) / SECOND

    def go_to(self, moment: int) -> None:
        """Let time go on up to a moment (UTC ns) with nobody there."""
        self._turn()  # who hung up is gone before that
        self._now = max(self._now, moment)
        self._turn(self._now)

    def get(self, inbox: Inbox, timeout_s: float) -> Item:
        """Return the next item; where there is none and the client waits, let time go on and look again."""
        item = self._next(inbox)
        if item is None and timeout_s > 0.0:
            self._go_on(timeout_s)
            item = self._next(inbox)
        return item

    def _go_on(self, timeout_s: float) -> None:
        row = bisect_right(self._moments, self._now)
        ahead = self._moments[row] if row < len(self._moments) else None
        until = self._now + max(round(timeout_s * SECOND), 1)
        if ahead is not None:
            until = ahead if self.calm else min(until, ahead)
        if not self.calm:
            due = self._server.tws.next_at(self._now)
            until = until if due is None else max(min(until, due), self._now + 1)
        self._now = until
        self._turn(until)

    def _next(self, inbox: Inbox) -> Item:
        if inbox.empty() and inbox is self._inbox and self._line is not None:
            if self._line.unread:
                self._turn()
            self._line.settle()
        if inbox.empty():  # of one thread, so that it stays so
            return None
        item = inbox.get_nowait()
        if isinstance(item, Closed):
            self._line = None
        return item

    def _turn(self, moment: int | None = None) -> None:
        """Let the server do what is due at `moment`, and read and answer what came."""
        if self._line is not None:
            self._line.unread = False
        if moment is not None:
            self._server.step_to(moment)
        for _ in range(PASSES):
            self._loop.stop()  # after one pass
            self._loop.run_forever()


class _Line:
    """The client's socket. unread: something was sent that the server has not read. over: nothing more comes."""

    def __init__(self, sock: socket.socket, turn: Callable[[], None]) -> None:
        self.unread = True
        self.over = False
        self._sock = sock
        self._turn = turn
        self._read: Callable[[], bool] | None = None
        self._reading = False

    def reads(self, read: Callable[[], bool]) -> None:
        """Take what reads and works on what came, False at the end."""
        self._read = read
        self._step(read)

    def settle(self) -> None:
        """Read and work on all that came."""
        while self._read is not None and not self.over and not self._reading and self._readable():
            self._step(self._read)

    def _step(self, read: Callable[[], bool]) -> None:
        self._reading = True
        try:
            self.over = not read()
        finally:
            self._reading = False

    def _readable(self) -> bool:
        return bool(select.select([self._sock], [], [], 0.0)[0])

    # ------------------------------------------------------------ as a socket
    def recv(self, size: int) -> bytes:
        """Return what came; while it waits, the server works."""
        for _ in range(_TRIES):
            if self._readable():
                return self._sock.recv(size)
            self._turn()
        raise TimeoutError  # the server has said all that it ever will

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        self.unread = True
        self._sock.sendall(data)

    def settimeout(self, timeout_s: float | None) -> None:
        """Set how long an operation may take."""
        self._sock.settimeout(timeout_s)

    def setsockopt(self, *args: Any) -> None:
        """Set an option."""
        self._sock.setsockopt(*args)

    def shutdown(self, how: int) -> None:
        """End it for both sides; what reads is to see that."""
        try:
            self._sock.shutdown(how)
        finally:
            self.settle()

    def close(self) -> None:
        """Give it back."""
        self._sock.close()
        self.over = True
