"""How the C library keeps memory while a sweep makes and drops large arrays by the thousand.

By default glibc gives each large array back to the system and takes it anew, page by page: measured here that is most
of the time of numpy's simple operations, and two threads wait for one another in the kernel. Nothing is done elsewhere.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# mallopt's parameters, from glibc's malloc.h, and its defaults.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
DEFAULT_THRESHOLD: Final = 128 * 1024  # bytes
KEPT: Final = 1 << 30  # bytes; larger than any array of a sweep


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory in the process until the block ends, then give it back. No effect without glibc."""
    mallopt = _glibc()
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_THRESHOLD, KEPT)
    mallopt(M_TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, DEFAULT_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, DEFAULT_THRESHOLD)
        ctypes.CDLL(None).malloc_trim(0)


def _glibc() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    # musl has neither; both together are glibc's.
    return library.mallopt if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
