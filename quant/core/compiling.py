"""Compile a function with numba for one signature, without the GIL, and keep it on disk in a folder of the user's.

No fastmath and no fused multiply-add: compiled code gives the bits that Python gives.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numba

njit: Any = numba.njit  # its types lack two of its options
types: Any = numba.types
settings: Any = numba.config  # numba makes its names when it is loaded
F = TypeVar("F", bound=Callable[..., Any])

_SETTING: Final = threading.Lock()  # of numba's one setting for the whole process


def sources(files: Iterable[Path]) -> str:
    """Return the sha256 of source files and of this one, whose options decide what numba makes of them."""
    text = b"\0".join(p.name.encode() + b"\0" + p.read_bytes() for p in [Path(__file__), *sorted(files)])
    return hashlib.sha256(text).hexdigest()


@cache
def can_keep(folder: Path) -> bool:
    """Return whether compiled code can be kept; numba would else put it beside our sources, and look there for it."""
    if settings.CACHE_DIR:
        return True
    probe = folder / f"probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def compiled(signature: Any, folder: Path) -> Callable[[F], F]:
    """Return a decorator that compiles a function for one signature, or loads it from `folder`.

    Only for this function: other code of the process keeps its own cache. A folder that the user chose for numba
    (NUMBA_CACHE_DIR) stays.
    """

    def decorate(function: F) -> F:
        options = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
        with _SETTING:
            before, kept = settings.CACHE_DIR, can_keep(folder)
            settings.CACHE_DIR = before or str(folder)
            try:
                made: F = njit(signature, cache=kept, **options)(function)
            except (RuntimeError, OSError):  # numba: the user's own place cannot be written; or a full disk
                made = njit(signature, **options)(function)
            finally:
                settings.CACHE_DIR = before
        return made

    return decorate
