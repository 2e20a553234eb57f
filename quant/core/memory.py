"""How the C library keeps memory while large arrays are made and dropped by the thousand: in sweeps, and live.

By default glibc gives each large array back to the system and takes it anew, page by page: measured here that is most
of the time of numpy's simple operations, and two threads wait for one another in the kernel. Nothing is done elsewhere.

Between sweeps a little stays, for the next one would ask for its pages again (a sixth of 100 combinations x 1e5 bars).
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# mallopt's parameters, from glibc's malloc.h, and what they are set to outside the block: its default, and the most
# that it sets itself, as large arrays come and go.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
MAPPED: Final = 128 << 10  # bytes
TRIMMED: Final = 64 << 20  # bytes
KEPT: Final = 1 << 30  # bytes; larger than any array of theirs
LEFT: Final = 64 << 20  # bytes that may be held more after the block than before it


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in the process until the block ends, then give back what is much. No effect without glibc."""
    library = _glibc()
    if library is None:
        yield
        return
    before = _resident()
    library.mallopt(M_MMAP_THRESHOLD, KEPT)
    library.mallopt(M_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_THRESHOLD, MAPPED)
        library.mallopt(M_TRIM_THRESHOLD, TRIMMED)
        if _resident() - before > LEFT:
            library.malloc_trim(0)


def _resident() -> int:
    """Return the bytes of this process in memory, by Linux's proc(5)."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    # musl has neither; both together are glibc's.
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
