"""A transcript as a server: it answers a client as the TWS of the transcript did, and tells where the client differs.

After each message of the client comes what TWS said up to the client's next one. Times are not kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from quant.errors import ProtocolError
from quant.tws.codec import ClientStream, Codec, Greeting, greeting_reply, pack
from quant.tws.transcript import CLIENT, Entry, Sanitiser, Transcript, entry_of, payload_of

HOST: Final = "127.0.0.1"
_STOP_S: Final = 10.0
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

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

    async def start() -> asyncio.Server:
        return await loop.create_server(lambda: _Connection(replay), HOST, 0)

    async def stop(server: asyncio.Server) -> None:
        server.close()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(_STOP_S)
    try:
        yield server.sockets[0].getsockname()[1], replay
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(_STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        loop.close()
