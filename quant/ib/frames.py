"""Length-prefixed frames of the TWS socket: bytes in, frames out, no socket.

A frame is a 4-byte big-endian length and that many bytes (source: ibapi 10.50 comm.py, make_msg and read_msg).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from quant.errors import ProtocolError

LENGTH: Final = struct.Struct(">I")
MAX_FRAME: Final = 0xFFFFFF  # bytes; ibapi's MAX_MSG_LEN


class FrameBuffer:
    """Collects received bytes and gives whole frames back, in linear time for many small and for one large."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._need = LENGTH.size  # bytes that must be there before another frame can be whole

    @property
    def partial(self) -> bool:
        """True while a frame has begun and is not whole."""
        return bool(self._data)

    @property
    def held(self) -> bytes:
        """The bytes of the frame that is not whole."""
        return bytes(self._data)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Add `data`; yield every frame that is now whole.

        Raises ProtocolError, after the frames before it, at a frame that announces more than MAX_FRAME bytes.
        """
        self._data += data
        if len(self._data) < self._need:
            return
        batch = bytes(self._data)
        self._data.clear()
        at, have = 0, len(batch)
        self._need = LENGTH.size
        while have - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(batch, at)
            if length > MAX_FRAME:
                raise ProtocolError(f"announced a message of {length} bytes; {MAX_FRAME} is the most")
            end = at + LENGTH.size + length
            if have < end:
                self._need = end - at
                break
            yield batch[at + LENGTH.size : end]
            at = end
        self._data += batch[at:]


def frame(payload: bytes) -> bytes:
    """Return `payload` with its length in front."""
    return LENGTH.pack(len(payload)) + payload
