"""What a person is told when the compiled engine is made on this machine for the first time."""

from __future__ import annotations

import sys

from quant.kernel.compiling import is_compiled, settings

NOTICE = "quant: compiling the engine for this machine, once; it takes some seconds ..."


def announce_compiling() -> None:
    """Say on stderr that code is about to be compiled, where none of it was before. Call it before it is imported.

    Silent with a cache of the user's own (NUMBA_CACHE_DIR), of which we cannot tell what it holds.
    """
    if not settings.CACHE_DIR and not is_compiled() and sys.stderr is not None:
        print(NOTICE, file=sys.stderr, flush=True)  # noqa: T201  # there is no log that a notebook would show
