"""Frames of TWS's socket protocol: bytes in, greeting and frames out. No sockets, no clocks, no meaning of a frame.

A client opens with b"API\\0" and one frame "v<lowest>..<highest> <connect options>"; the server answers with one frame
of its version and the time. From then on each side sends frames: four bytes of length, most significant first, and as
many bytes of payload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from quant.errors import ProtocolError

MAX_FRAME = 0xFFFFFF  # bytes of payload; ibapi.const.MAX_MSG_LEN: ibapi refuses longer ones
MAX_GREETING = 4096  # bytes; ours: connect options are a few words ("+PACEAPI")
MAGIC = b"API\0"
_GREETING = re.compile(r"v(\d{1,4})(?:\.\.(\d{1,4}))?(?: (.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a client opens with: the versions that it speaks and its connect options."""

    lowest: int
    highest: int
    options: str


class FrameReader:
    """Cuts a stream into frames; what comes out does not depend on how the stream is sliced."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._held = bytearray()
        self._lost = False

    def feed(self, data: bytes) -> list[bytes | ProtocolError]:
        """Return the payloads that `data` completes, in order; one may be empty.

        A length above the limit ends the stream: the error is the last value, and what follows it is dropped, since
        nobody knows where the next frame begins.
        """
        if self._lost:
            return []
        held = self._held
        held += data
        found: list[bytes | ProtocolError] = []
        start = 0
        while len(held) - start >= 4:
            size = int.from_bytes(held[start : start + 4], "big")
            if size > self._limit:
                found.append(
                    ProtocolError(f"announced a frame of {size:,} bytes; {self._limit:,} are the most")
                )
                self._lost = True
                start = len(held)
                break
            end = start + 4 + size
            if end > len(held):
                break
            found.append(bytes(held[start + 4 : end]))
            start = end
        del held[:start]
        return found


class ClientStream:
    """Cuts what a client sends: its greeting, then frames. Any slicing gives the same values."""

    def __init__(self) -> None:
        self._opening = b""
        self._greeting = FrameReader(MAX_GREETING)
        self._frames = FrameReader()
        self._stage = 0  # 0: the opening bytes, 1: the greeting, 2: frames, 3: lost

    def feed(self, data: bytes) -> list[Greeting | bytes | ProtocolError]:
        """Return what `data` completes: the Greeting once and before all, then payloads.

        A ProtocolError is the last value that a stream gives; a wrong opening gives it at the first wrong byte, so that
        a client of another protocol need not finish its sentence.
        """
        if self._stage == 0:
            missing = len(MAGIC) - len(self._opening)
            self._opening += data[:missing]
            data = data[missing:]
            if not MAGIC.startswith(self._opening):
                what = (
                    f"opened with {_shown(self._opening)}, not with {MAGIC!r}. Connect ibapi 10 or ib_async 2"
                )
                return self._end(ProtocolError(what))
            self._stage = int(len(self._opening) == len(MAGIC))
        found: list[Greeting | bytes | ProtocolError] = []
        if self._stage == 1:
            # One by one: the greeting's reader, whose limit is another, must not see what follows.
            for i in range(len(data)):
                for first in self._greeting.feed(data[i : i + 1]):
                    try:
                        found.append(parse_greeting(_payload(first)))
                    except ProtocolError as error:
                        return self._end(error)
                    self._stage = 2
                if self._stage == 2:
                    data = data[i + 1 :]
                    break
        if self._stage == 2:
            found += self._frames.feed(data)
        return found

    def _end(self, error: ProtocolError) -> list[Greeting | bytes | ProtocolError]:
        self._stage = 3
        return [error]


def _payload(first: bytes | ProtocolError) -> bytes:
    if isinstance(first, ProtocolError):
        raise first
    return first


def parse_greeting(payload: bytes) -> Greeting:
    """Return the versions and options of a client's first frame, e.g. b"v100..226 +PACEAPI".

    Raises ProtocolError where it names no range of versions, or an empty one.
    """
    found = _GREETING.fullmatch(payload.decode("latin-1"))
    if found is None:
        raise ProtocolError(f"greeted with {_shown(payload)}, not with a range of versions like 'v100..226'")
    lowest = int(found[1])
    highest = lowest if found[2] is None else int(found[2])
    if lowest > highest:
        raise ProtocolError(f"greeted with {_shown(payload)}, a range of no versions")
    return Greeting(lowest, highest, (found[3] or "").strip())


def negotiate(greeting: Greeting, lowest: int, highest: int) -> int:
    """Return the version of a session: the highest that both sides speak, as TWS chooses it.

    lowest, highest: versions that the server speaks. Raises ProtocolError where there is no common one.
    """
    version = min(greeting.highest, highest)
    if version < max(greeting.lowest, lowest):
        asked = f"versions {greeting.lowest} to {greeting.highest}"
        mend = "Install ibapi-stable 10.50 or ib_async 2.1"
        raise ProtocolError(f"speaks {asked}; {lowest} to {highest} are served. {mend}")
    return version


def greeting_reply(version: int, time: str) -> bytes:
    """Return the server's answer to a greeting, length included.

    time: as TWS writes it, "20260706 09:30:00 US/Eastern". Send it in one piece and nothing before the client's
    START_API: ibapi 10.50 throws away what comes with it, and never returns from connect() where it comes in two.
    """
    return pack(f"{version}\0{time}\0".encode())


def pack(payload: bytes) -> bytes:
    """Return `payload` as a frame. Raises ValueError above MAX_FRAME bytes: no client would read it."""
    if len(payload) > MAX_FRAME:
        raise ValueError(f"a message of {len(payload):,} bytes; {MAX_FRAME:,} are the most. Answer with less")
    return len(payload).to_bytes(4, "big") + payload


def _shown(seen: bytes) -> str:
    return repr(seen[:64]) + ("..." if len(seen) > 64 else "")
