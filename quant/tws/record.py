"""A proxy between a client and a TWS that writes down, sanitised, what both say. It changes no byte of it.

Bytes are passed on before they are read, and whatever cannot be read is left out of the transcript, not of the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from quant.core.clock import monotonic
from quant.errors import CannotConnect, ProtocolError
from quant.tws.codec import ClientStream, Codec, FrameReader, Greeting
from quant.tws.transcript import CLIENT, TWS, Sanitiser, entry_of

HOST: Final = "127.0.0.1"
_CHUNK: Final = 65_536
_CONNECT_S: Final = 10.0
_STOP_S: Final = 10.0


class Tap:
    """Turns the bytes of one connection into lines. write: takes a line's values. clock: monotonic seconds."""

    def __init__(
        self,
        number: int,
        clean: Sanitiser,
        write: Callable[[dict[str, Any]], None],
        clock: Callable[[], float],
    ) -> None:
        self._number, self._clean, self._write, self._clock = number, clean, write, clock
        self._began = clock()
        self._client, self._tws = ClientStream(), FrameReader()
        self._codec: Codec | None = None

    def hear(self, said_by: str, data: bytes) -> None:
        """Take bytes that were passed on; never raises."""
        for part in self._client.feed(data) if said_by == CLIENT else self._tws.feed(data):
            try:
                entry = self._entry(said_by, part)
            except Exception as e:  # noqa: BLE001  # an unforeseen message must not end the session that is recorded
                entry = {"id": None, "left_out": f"it could not be read: {type(e).__name__}"}
            self.note({"from": said_by, **entry})

    def note(self, entry: dict[str, Any]) -> None:
        """Write a line."""
        self._write({"connection": self._number, "at": round(self._clock() - self._began, 6), **entry})

    def _entry(self, said_by: str, part: Greeting | bytes | ProtocolError) -> dict[str, Any]:
        if isinstance(part, ProtocolError):
            return {"lost": part.what}
        if isinstance(part, Greeting):
            return {"greeting": f"v{part.lowest}..{part.highest}", "options": part.options}
        if self._codec is None:
            if said_by == CLIENT:
                return {"left_out": f"{len(part)} bytes before TWS answered the greeting"}
            version, time, *_ = part.decode("ascii", "replace").split("\0")
            self._codec = Codec(int(version))
            return {"version": int(version), "time": time}
        return entry_of(part, said_by, self._codec, self._clean)


class Recorder:
    """Listens on loopback, connects each client to the TWS at `to`, and writes lines to `out`.

    lines, connections: how many there were. trouble: why clients could not be connected, oldest first.
    """

    def __init__(self, to: tuple[str, int], out: TextIO, clock: Callable[[], float] = monotonic) -> None:
        self.to = to
        self.lines = 0
        self.connections = 0
        self.trouble: list[str] = []
        self._out, self._clock = out, clock
        self._clean = Sanitiser()  # one for all connections: they tell of the same account
        self._server: asyncio.Server | None = None
        self._stopped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen; return the port. Raises CannotConnect where it is taken."""
        try:
            self._server = await asyncio.start_server(self._connected, HOST, port)
        except OSError as e:
            mend = "Close what listens there (a TWS?) or choose another: --port N"
            raise CannotConnect(HOST, port, e.strerror or str(e), mend) from None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        if own is not None:
            self._tasks.add(own)
            own.add_done_callback(self._tasks.discard)
        self.connections += 1
        tap = Tap(self.connections, self._clean, self._write, self._clock)
        try:
            async with asyncio.timeout(_CONNECT_S):
                up_reader, up_writer = await asyncio.open_connection(*self.to)
        except (OSError, TimeoutError) as e:
            self.trouble.append(f"{self.to[0]}:{self.to[1]}: {getattr(e, 'strerror', None) or 'no answer'}")
            tap.note({"lost": "there is no TWS"})
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            return
        passing = [
            asyncio.create_task(_pass_on(reader, up_writer, tap, CLIENT)),
            asyncio.create_task(_pass_on(up_reader, writer, tap, TWS)),
            asyncio.create_task(_until(self._stopped)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            for end in (writer, up_writer):
                end.close()
            await asyncio.gather(writer.wait_closed(), up_writer.wait_closed(), return_exceptions=True)

    def _write(self, entry: dict[str, Any]) -> None:
        self._out.write(json.dumps(entry, ensure_ascii=True) + "\n")
        self._out.flush()  # whoever ends the program hard keeps what there is
        self.lines += 1


async def _until(stopped: asyncio.Event) -> None:
    await stopped.wait()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: Tap, said_by: str
) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            tap.hear(said_by, data)
            await writer.drain()
    except ConnectionError:
        tap.note({"from": said_by, "lost": "reset"})
        return
    tap.note({"from": said_by, "lost": "closed"})


@contextmanager
def recording(to: tuple[str, int], path: Path, port: int = 0) -> Iterator[tuple[int, Recorder]]:
    """Record from a thread of its own; gives the port and the recorder. Raises CannotConnect, OSError.

    path: a new file; FileExistsError where there is one.
    """
    with path.open("x", encoding="utf-8", newline="\n") as out:
        loop = asyncio.new_event_loop()
        recorder = Recorder(to, out)
        thread = threading.Thread(target=loop.run_forever, name="recorder", daemon=True)
        thread.start()
        found = 0
        try:
            found = asyncio.run_coroutine_threadsafe(recorder.start(port), loop).result(_STOP_S)
            yield found, recorder
        finally:
            asyncio.run_coroutine_threadsafe(recorder.stop(), loop).result(_STOP_S)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_S)
            loop.close()
            if not found:  # else the next try would find a file in its way
                out.close()
                path.unlink()
