"""One connection to TWS: a socket, the handshake, and a thread that only reads, decodes and queues values.

It knows no request and no reconnection. Every fault of the stream drops the socket, and the last item that is
queued says why. Work-around for the reader of ibapi 10.50, which goes deaf or dies in silence on each of the
faults in tests/ib/test_wire_faults.py; it can go when those pass with ibapi's own EClient.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from ibapi.server_versions import MAX_CLIENT_VER, MIN_CLIENT_VER

from quant.errors import BrokerError, CannotConnect, LinkLost, ProtocolError
from quant.ib.codec import OLDEST_SERVER, Decoder, Event
from quant.ib.frames import LENGTH, MAX_FRAME, FrameBuffer, frame

HELLO: Final = b"API\0"
CHUNK: Final = 65_536  # bytes asked of the socket at once
START: Final = (
    "Start TWS or IB Gateway and log in; there, in Global Configuration > API > Settings, tick 'Enable ActiveX and "
    "Socket Clients' and compare the socket port (TWS 7497 paper, 7496 live; IB Gateway 4002 paper, 4001 live). "
    "Without an account: quant tws"
)
SILENT: Final = (
    "Something else may listen there, or TWS hangs or shows a dialog (incoming connection, login): look at its "
    "window, and restart it if need be"
)
REFUSED: Final = (
    "TWS refuses this machine: in Global Configuration > API > Settings tick 'Enable ActiveX and Socket Clients' and "
    "add this machine's address to 'Trusted IPs', or untick 'Allow connections from localhost only'"
)


class Batch(NamedTuple):
    """Events that arrived together, and when (s, monotonic)."""

    at: float
    events: list[Event]


class Closed(NamedTuple):
    """The end of a connection; `cause` is None if we closed it ourselves."""

    cause: BrokerError | None


Item = Batch | Closed | None  # None only wakes up who waits
Inbox = queue.SimpleQueue[Item]
Connect = Callable[[tuple[str, int], float], socket.socket]


@dataclass(frozen=True, slots=True)
class Limits:
    """Patience in seconds. A frame that has begun must be whole within `frame_s` (+ `send_s`, at worst)."""

    connect_s: float = 10.0
    handshake_s: float = 10.0
    send_s: float = 10.0
    frame_s: float = 20.0


class Wire:
    """An open connection. `server_version`, `server_time`: what TWS said in the handshake."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float], limits: Limits) -> None:
        self.server_version = 0
        self.server_time = ""
        self.last_rx = clock()  # when bytes last arrived; written by the reader alone
        self._sock = sock
        self._clock = clock
        self._limits = limits
        self._buffer = FrameBuffer()
        self._early: list[bytes] = []  # frames that came in the same packet as the handshake's reply
        self._early_fault: ProtocolError | None = None
        self._sending = threading.Lock()
        self._ending = threading.Lock()
        self._ended = False
        self._cause: BrokerError | None = None
        self._reader: threading.Thread | None = None
        self._decoder: Decoder | None = None
        self._begun = 0.0  # when the frame began that is not whole

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        inbox: Inbox,
        *,
        clock: Callable[[], float],
        limits: Limits | None = None,
        connect: Connect = socket.create_connection,
        newest: int = MAX_CLIENT_VER,
        threaded: bool = True,
    ) -> Self:
        """Connect, agree on a version, and start to queue what arrives in `inbox`.

        clock: monotonic seconds. newest: the highest protocol version to offer. threaded: False = nothing is read but
        by calls of `read`, for a peer in the same thread.
        Raises CannotConnect with the mend: nothing listening, a port of something else, silence, closed.
        """
        limits = Limits() if limits is None else limits
        wire = cls(_connect(host, port, connect, limits), clock, limits)
        try:
            wire._shake_hands(newest)
        except TimeoutError:
            wire._release()
            told = f"it accepted the connection and said nothing for {limits.handshake_s:g} s"
            raise CannotConnect(host, port, told, SILENT) from None
        except ProtocolError as e:
            wire._release()
            told = f"something else than TWS answers there: it {e.what}"
            raise CannotConnect(host, port, told, "Give the socket port of TWS: --port N. " + START) from None
        except (OSError, LinkLost):
            wire._release()
            raise CannotConnect(host, port, "it closed the connection at once", REFUSED) from None
        except _TooOld as e:
            wire._release()
            mend = "Update TWS or IB Gateway (10.30 or later)"
            raise CannotConnect(host, port, f"TWS is too old (protocol version {e})", mend) from None
        if threaded:
            wire._reader = threading.Thread(
                target=wire._read, args=(inbox,), name=f"tws-reader-{port}", daemon=True
            )
            wire._reader.start()
        return wire

    def send(self, data: bytes) -> None:
        """Write whole frames. Raises LinkLost; then the connection is dropped, as part may have been written."""
        with self._sending:
            if self._ended:
                cause = self._cause
                raise LinkLost("it was closed" if cause is None else getattr(cause, "cause", str(cause)))
            try:
                self._sock.sendall(data)
            except TimeoutError:
                lost = LinkLost(f"TWS took nothing for {self._limits.send_s:g} s")
            except OSError as e:
                lost = LinkLost(_reason(e))
            else:
                return
        self.close(lost)
        raise lost

    def close(self, cause: BrokerError | None = None) -> None:
        """End the connection, from any thread, once or again; the first cause stands."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            self._cause = cause
        # Wakes up the reader, which closes the socket: closing it here could hand its number to another file.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> bool:
        """Wait until the reader has ended; return whether it has."""
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(timeout_s)
        return self._reader is None or not self._reader.is_alive()

    # ------------------------------------------------------------ handshake
    def _shake_hands(self, newest: int) -> None:
        deadline = self._clock() + self._limits.handshake_s
        self._sock.settimeout(self._limits.handshake_s)
        self._sock.sendall(HELLO + frame(f"v{MIN_CLIENT_VER}..{newest}".encode()))
        while True:
            left = deadline - self._clock()
            if left <= 0:
                raise TimeoutError
            self._sock.settimeout(left)
            data = self._sock.recv(CHUNK)
            if not data:
                raise LinkLost("closed in the handshake")
            self._check_start(data)
            try:
                for payload in self._buffer.receive(data):
                    if self.server_version:
                        self._early.append(payload)
                    else:
                        self._agree(payload, newest)
            except ProtocolError as e:
                if not self.server_version:
                    raise
                self._early_fault = e
            if self.server_version:
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sock.settimeout(self._limits.send_s)
                self.last_rx = self._clock()
                return

    def _check_start(self, data: bytes) -> None:
        start = (self._buffer.held + data)[:40]
        if len(start) >= LENGTH.size and LENGTH.unpack_from(start)[0] > MAX_FRAME:
            raise ProtocolError(f"says {start.decode('ascii', 'backslashreplace')!r}")

    def _agree(self, payload: bytes, newest: int) -> None:
        fields = payload.split(b"\0")
        if len(fields) != 3 or not fields[0].isdigit():
            return  # TWS may send other things first (ibapi: "sometimes I get news before the server version")
        version = int(fields[0])
        if version < OLDEST_SERVER:
            raise _TooOld(version)
        if version > newest:
            raise ProtocolError(f"chose version {version}, which was not offered")
        self.server_version, self.server_time = version, fields[1].decode("ascii", "replace")

    # ------------------------------------------------------------ the reader's thread
    def _read(self, inbox: Inbox) -> None:
        while self.read(inbox):
            pass

    def read(self, inbox: Inbox) -> bool:
        """Wait for what comes next and queue it; return False once the connection is over, after its `Closed`.

        The first call queues what came with the handshake, and waits for nothing.
        """
        try:
            if self._decoder is None:
                self._decoder = Decoder(self.server_version)
                self._queue_early(self._decoder, inbox)
            else:
                self._receive(self._decoder, inbox)
        except BrokerError as e:
            self.close(e)
        except OSError as e:
            self.close(LinkLost(_reason(e)))
        except Exception as e:  # noqa: BLE001  # the thread's outermost loop: an unforeseen end must not be silent
            self.close(LinkLost(f"the reader failed: {e!r}"))
        else:
            return True
        self._release()
        inbox.put(Closed(self._cause))
        return False

    def _queue_early(self, decoder: Decoder, inbox: Inbox) -> None:
        early = [e for payload in self._early for e in decoder.decode(payload)]
        if early:
            inbox.put(Batch(self.last_rx, early))
        if self._early_fault is not None:
            raise self._early_fault
        self._begun = self._clock()

    def _receive(self, decoder: Decoder, inbox: Inbox) -> None:
        try:
            data = self._sock.recv(CHUNK)
        except TimeoutError:
            data = None
        now = self._clock()
        if data is not None:
            if not data:
                raise LinkLost("TWS closed it")
            self.last_rx = now
            if self._queue(data, decoder, now, inbox):
                self._begun = now
        if not self._buffer.partial:
            self._begun = now
        elif now - self._begun > self._limits.frame_s:
            raise ProtocolError(f"stopped in the middle of a message for {now - self._begun:.0f} s")

    def _queue(self, data: bytes, decoder: Decoder, now: float, inbox: Inbox) -> bool:
        """Queue the events of the frames that are whole now; return whether there was one."""
        events: list[Event] = []
        fresh = not self._buffer.partial
        whole = False
        try:
            for payload in self._buffer.receive(data):
                whole = True
                events += decoder.decode(payload)
        finally:  # what came before a fault counts
            if events:
                inbox.put(Batch(now, events))
        return whole or fresh

    def _release(self) -> None:
        with self._ending:
            self._ended = True
        self._sock.close()


class _TooOld(Exception):  # noqa: N818  # never leaves this file
    pass


def _connect(host: str, port: int, connect: Connect, limits: Limits) -> socket.socket:
    try:
        return connect((host, port), limits.connect_s)
    except ConnectionRefusedError:
        raise CannotConnect(host, port, "nothing listens there", START, refused=True) from None
    except TimeoutError:
        told = f"no answer within {limits.connect_s:g} s"
        raise CannotConnect(
            host, port, told, "Check the address and the firewall between. " + START
        ) from None
    except socket.gaierror:
        raise CannotConnect(
            host, port, "there is no such host", "Write its name or address: --host NAME"
        ) from None
    except (OSError, OverflowError) as e:
        raise CannotConnect(host, port, _reason(e), START) from None


def _reason(e: BaseException) -> str:
    return (e.strerror if isinstance(e, OSError) else None) or str(e) or type(e).__name__
