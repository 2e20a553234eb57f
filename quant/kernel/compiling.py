"""How the compiled code is made: numba, without the GIL, cached on disk in a folder of the user's.

No fastmath and no fused multiply-add: the order of the float operations is the contract with backtrader.
"""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numba
import numpy as np
from numba import types
from platformdirs import user_cache_path

from quant.kernel import layout

njit: Any = numba.njit  # its types lack two of its options
settings: Any = numba.config  # numba makes its names when it is loaded
F = TypeVar("F", bound=Callable[..., Any])

NOTICE: Final = "quant: compiling the engine for this machine, once; it takes some seconds ..."

FLOATS: Final = types.Array(types.float64, 1, "C")
GIVEN: Final = types.Array(types.float64, 1, "C", readonly=True)  # what a caller owns is never written to
GIVEN_INTS: Final = types.Array(types.int64, 1, "C", readonly=True)
INTS: Final = types.Array(types.int64, 1, "C")
FLAGS: Final = types.Array(types.boolean, 1, "C")
SETTINGS: Final = types.Array(numba.from_dtype(layout.SETTINGS), 1, "C", readonly=True)
ORDERS: Final = types.Array(numba.from_dtype(layout.ORDER), 1, "C")
FILLS: Final = types.Array(numba.from_dtype(layout.FILL), 1, "C")
STATES: Final = types.Array(numba.from_dtype(layout.STATE), 1, "C")
CHARGES: Final = types.Array(numba.from_dtype(layout.CHARGE), 1, "C")


# numba compiles a function that is called with a literal number apart for each number; with these it does not.
ZERO: Any = np.int64(0)
ONE: Any = np.int64(1)


@cache
def sources() -> str:
    """Return the sha256 of the kernel's source files: what a result was computed with."""
    folder = Path(__file__).parent
    text = b"\0".join(p.name.encode() + b"\0" + p.read_bytes() for p in sorted(folder.glob("*.py")))
    return hashlib.sha256(text).hexdigest()


@cache
def cache_folder() -> Path:
    """Return where compiled code is kept: its name holds the sources, for numba looks at one file at a time."""
    return user_cache_path("quant") / f"kernel-{sources()[:16]}"


def is_compiled() -> bool:
    """True where some of the code was compiled before, so that loading takes no compiler."""
    return any(cache_folder().rglob("*.nbi"))


@cache
def _announce() -> None:
    """Say on stderr, once, that code is about to be compiled, where none of it was before.

    Silent with a cache of the user's own (NUMBA_CACHE_DIR), of which we cannot tell what it holds.
    """
    if not settings.CACHE_DIR and not is_compiled() and sys.stderr is not None:
        print(NOTICE, file=sys.stderr, flush=True)  # noqa: T201  # there is no log that a notebook would show


@cache
def can_keep() -> bool:
    """Return whether compiled code can be kept; numba would else put it beside our sources, and look there for it."""
    if settings.CACHE_DIR:
        return True
    probe = cache_folder() / f"probe-{uuid.uuid4().hex}"
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def compiled(signature: Any) -> Callable[[F], F]:
    """Return a decorator that compiles a function for one signature, or loads it from the cache."""

    def decorate(function: F) -> F:
        _announce()
        before, kept = settings.CACHE_DIR, can_keep()
        options = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
        # Only for this function: other code of the process keeps its own cache. A folder that the user chose for
        # numba (NUMBA_CACHE_DIR) stays.
        settings.CACHE_DIR = before or str(cache_folder())
        try:
            made: F = njit(signature, cache=kept, **options)(function)
        except RuntimeError:  # numba: no place to keep it, where the user's own cannot be written
            made = njit(signature, **options)(function)
        finally:
            settings.CACHE_DIR = before
        return made

    return decorate


def inline(function: F) -> F:
    """Compile a function that only compiled code calls, so it needs no doors to Python and C."""
    made: F = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return made
