"""How the engine is compiled: its types, where it is kept, and what is said the first time; by quant/core/compiling.

No fastmath and no fused multiply-add: the order of the float operations is the contract with backtrader.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numba import types
from platformdirs import user_cache_path

from quant.core import compiling as core
from quant.core.compiling import F, njit, settings
from quant.kernel import layout

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
    return core.sources(Path(__file__).parent.glob("*.py"))


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


def can_keep() -> bool:
    """Return whether compiled code can be kept there."""
    return core.can_keep(cache_folder())


def compiled(signature: Any) -> Callable[[F], F]:
    """Return a decorator that compiles a function for one signature, or loads it from the cache."""
    _announce()
    return core.compiled(signature, cache_folder())


def inline(function: F) -> F:
    """Compile a function that only compiled code calls, so it needs no doors to Python and C."""
    made: F = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return made
