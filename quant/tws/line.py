"""What faults make of one connection's outgoing bytes. Frames in, pieces out; no sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from quant.tws.codec import pack
from quant.tws.faults import ENDS, Do, Fault

_HUGE: Final = 2**31 - 1
_FLOOD: Final = 100_000
_UNKNOWN: Final = 9999  # an id that IB does not use
_ID: Final = 4  # bytes of a payload that are left alone where letters are spoiled


class Line:
    """silent: nothing passes any more, either way. raw_ids: whether ids are four bytes (version 201 on).

    end: how the connection is to be ended, once what `send` gave is sent. waiting: bytes that go out one by one.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.silent = False
        self.raw_ids = False
        self.end: Do | None = None
        self.waiting = bytearray()
        self._rng = rng
        self._next: Fault | None = None

    def spoil(self, fault: Fault) -> None:
        """Spoil the next answer, or end all of them."""
        if fault.do is Do.SILENCE and fault.size == 0:
            self.silent = True
        else:
            self._next = fault

    def send(self, frames: Sequence[bytes]) -> list[bytes]:
        """Return what goes out instead of an answer's frames, in pieces to be sent one by one."""
        if self.silent or not frames:
            return []
        fault, self._next = self._next, None
        pieces = [b"".join(frames)] if fault is None else self._spoiled(fault, frames)
        if self.waiting:
            self.waiting += b"".join(pieces)
            return []
        return pieces

    def _spoiled(self, fault: Fault, frames: Sequence[bytes]) -> list[bytes]:
        do, whole = fault.do, b"".join(frames)
        if do is Do.LOSE:
            return []
        if do in ENDS:
            self.silent, self.end = True, do
            return [whole[: fault.size]]
        if do is Do.HALF:
            self.silent = True
            return [frames[0][: len(frames[0]) // 2]]
        if do is Do.SPLIT:
            return [whole[at : at + 1] for at in range(len(whole))]
        if do is Do.SLOW:
            self.waiting += whole
            return []
        return [self._damaged(fault, frames)]

    def _damaged(self, fault: Fault, frames: Sequence[bytes]) -> bytes:
        do, whole, last = fault.do, b"".join(frames), frames[-1][4:]
        before = b"".join(frames[:-1])
        if do is Do.REPEAT:
            return b"".join(frame * 2 for frame in frames)
        if do is Do.FLIP:
            return b"".join(pack(self._flipped(frame[4:])) for frame in frames)
        if do is Do.NOT_UTF8:
            return b"".join(pack(self._not_text(frame[4:])) for frame in frames)
        if do is Do.FEW:
            return before + pack(last[: max(len(last) // 2, 1)])
        if do is Do.MANY:
            return before + pack(last + b"7\0" * 3)
        if do is Do.OVERSIZE:
            return (fault.size or _HUGE).to_bytes(4, "big") + whole
        if do is Do.EMPTY:
            return pack(b"") + whole
        if do is Do.UNKNOWN:
            number = _UNKNOWN.to_bytes(4, "big") if self.raw_ids else b"%d\0" % _UNKNOWN
            return pack(number + b"7\0") + whole
        if do is Do.FLOOD:
            return frames[0] * (fault.size or _FLOOD) + b"".join(frames[1:])
        raise AssertionError(f"{do} does nothing to bytes")

    def _flipped(self, payload: bytes) -> bytes:
        """Return a payload with one to three bits turned; an empty one stays."""
        found = bytearray(payload)
        for _ in range(int(self._rng.integers(1, 4)) if found else 0):
            found[int(self._rng.integers(len(found)))] ^= 1 << int(self._rng.integers(8))
        return bytes(found)

    def _not_text(self, payload: bytes) -> bytes:
        """Return a payload one letter of which is no UTF-8; one without letters stays."""
        letters = [
            at for at, byte in enumerate(payload) if at >= _ID and chr(byte).isascii() and chr(byte).isalpha()
        ]
        if not letters:
            return payload
        at = letters[int(self._rng.integers(len(letters)))]
        return payload[:at] + b"\xff" + payload[at + 1 :]
