"""A transcript as a server, and as a client: what it takes to hold programs and the simulator to a real TWS.

As a server it answers a client as the TWS of the transcript did, after each message of the client with what TWS said
up to the client's next one; times are not kept. As a client it asks a server, say the simulator, what was asked then.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

from quant.errors import ProtocolError
from quant.tws.codec import (
    MAGIC,
    RAW_ID_VERSION,
    ClientStream,
    Codec,
    FrameReader,
    Greeting,
    Malformed,
    Unknown,
    greeting_reply,
    pack,
)
from quant.tws.transcript import CLIENT, Entry, Sanitiser, Transcript, entry_of, payload_of

HOST: Final = "127.0.0.1"
_STOP_S: Final = 10.0
_ANSWER_S: Final = 30.0
_TOLD: Final = ("id", "name", "message", "fields", "bytes")  # what two messages are compared by


class Replay:
    """One transcript for one client. differences: where the client said something else, in words."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.differences: list[str] = []
        self._codec = Codec(transcript.version)
        self._clean = Sanitiser()
        self._at = 0

    @property
    def done(self) -> bool:
        """Whether all of the transcript was played."""
        return self._at >= len(self.transcript.entries)

    def answer(self, payload: bytes) -> list[bytes]:
        """Take a payload of the client; return the payloads that TWS says then."""
        said = entry_of(payload, CLIENT, self._codec, self._clean)
        entries = self.transcript.entries
        if self.done:
            self.differences.append(f"{_named(said)} comes after the end of the transcript")
            return []
        expected = entries[self._at]
        if any(said.get(key) != expected.get(key) for key in _TOLD):
            self.differences.append(f"message {self._at}: {_named(said)} instead of {_named(expected)}")
        self._at += 1
        return self.next()

    def next(self) -> list[bytes]:
        """Return what TWS says before the client's next message."""
        entries, found = self.transcript.entries, []
        while not self.done and entries[self._at]["from"] != CLIENT:
            payload = payload_of(entries[self._at], self.transcript.version)
            if payload is not None:
                found.append(payload)
            self._at += 1
        return found


def _named(entry: Entry) -> str:
    told = entry.get("message", entry.get("fields", entry.get("bytes", entry.get("left_out"))))
    return f"{entry.get('name', entry['id'])} {told}"


class _Connection(asyncio.Protocol):
    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._stream = ClientStream()
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        transcript = self._replay.transcript
        for part in self._stream.feed(data):
            if isinstance(part, ProtocolError):
                self._replay.differences.append(f"the client {part.what}")
                self._transport.abort()
                return
            if isinstance(part, Greeting):
                if not part.lowest <= transcript.version <= part.highest:
                    self._replay.differences.append(f"the client does not speak version {transcript.version}")
                    self._transport.abort()
                    return
                told = [greeting_reply(transcript.version, transcript.time)]
            else:
                told = [pack(payload) for payload in self._replay.answer(part)]
            self._transport.write(b"".join(told))


@contextmanager
def replaying(transcript: Transcript) -> Iterator[tuple[int, Replay]]:
    """Serve a transcript to one client from a thread of its own; gives the port and the replay."""
    replay = Replay(transcript)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="replay", daemon=True)
    thread.start()

    connections: list[_Connection] = []

    def connected() -> _Connection:
        connections.append(_Connection(replay))
        return connections[-1]

    async def start() -> asyncio.Server:
        return await loop.create_server(connected, HOST, 0)

    async def stop(server: asyncio.Server) -> None:
        server.close()
        for connection in connections:
            connection.drop()
        await asyncio.gather(*(connection.ended.wait() for connection in connections))

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(_STOP_S)
    try:
        yield server.sockets[0].getsockname()[1], replay
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(_STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        loop.close()


# ---------------------------------------------------------------- the other way round
def compared(transcript: Transcript, port: int, host: str = HOST) -> list[str]:
    """Say to a server what the client of a transcript said; return, in words, where it answers otherwise than TWS did.

    Compared are, request by request, which messages came in which order and which of their fields were set; not their
    values, which depend on the market and the time, nor how often the same kind came in a row. The server must have the
    account that the transcript names (`quant tws --account DU0000001`). Raises OSError,
    ProtocolError where the server ends the connection.
    """
    codec, reader = Codec(transcript.version), FrameReader()
    sent = [payload_of(e, transcript.version) for e in transcript.entries if e["from"] == CLIENT]
    told = [payload_of(e, transcript.version) for e in transcript.entries if e["from"] != CLIENT]
    marks = sum(_is_time(codec.decode_answer(payload)) for payload in told if payload is not None)
    heard: list[bytes] = []
    with socket.create_connection((host, port), _ANSWER_S) as server:
        server.sendall(MAGIC + pack(f"v{transcript.version}..{transcript.version}".encode()))
        heard += _frames(server, reader)  # the answer to the greeting: nothing else comes before startApi
        server.sendall(
            b"".join(pack(payload) for payload in sent if payload is not None) + pack(_time_request(codec))
        )
        answers: list[Any] = []
        while sum(_is_time(m) for m in answers) <= marks:
            answers += [codec.decode_answer(payload) for payload in _frames(server, reader)]
    wanted = _by_request([codec.decode_answer(payload) for payload in told if payload is not None])
    found = _by_request(answers)
    found["-"] = [shape for shape in found.get("-", []) if marks or not shape.startswith("CurrentTime")]
    return [
        f"request {key}: TWS says {' / '.join(wanted.get(key, [])) or 'nothing'}; here {' / '.join(said) or 'nothing'}"
        for key in sorted({*wanted, *found})
        if (said := found.get(key, [])) != wanted.get(key, [])
    ]


def _frames(server: socket.socket, reader: FrameReader) -> list[bytes]:
    data = server.recv(65_536)
    if not data:
        raise ProtocolError("ended the connection")
    found = reader.feed(data)
    for part in found:
        if isinstance(part, ProtocolError):
            raise part
    return [part for part in found if isinstance(part, bytes)]


def _time_request(codec: Codec) -> bytes:
    protobuf = codec.version >= 213  # ibapi.common: the version from which reqCurrentTime is protobuf
    number = 249 if protobuf else 49
    head = number.to_bytes(4, "big") if codec.version >= RAW_ID_VERSION else b"%d\0" % number
    return head if protobuf else head + b"1\0"


def _is_time(message: Any) -> bool:
    return type(message).__name__ == "CurrentTime"


def _by_request(messages: list[Any]) -> dict[str, list[str]]:
    """Return the shapes of messages by the request or order that they belong to, "-" for none."""
    found: dict[str, list[str]] = {}
    for message in messages:
        number = getattr(message, "reqId", getattr(message, "orderId", getattr(message, "id", "-")))
        shapes = found.setdefault(str(number), [])
        shape = _shape(message)
        if not shapes or shapes[-1] != shape:
            shapes.append(shape)
    return found


def _shape(message: Any) -> str:
    name = type(message).__name__
    if isinstance(message, Malformed | Unknown):
        return f"{name} {message.id}"
    if name == "ErrorMessage":
        return f"error {message.errorCode}"
    return f"{name}({', '.join(field.name for field, _ in message.ListFields())})"
