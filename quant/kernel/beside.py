"""The first compilation with two processes at once: a module of the kernel is compiled in one of its own meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from quant.core.compiling import settings
from quant.kernel.compiling import can_keep, is_compiled

MOST_S: Final = 120  # then it hangs, and we compile that module too


@contextmanager
def compiled_beside(module: str) -> Iterator[None]:
    """Let another process compile `module` into the cache while the block runs, where nothing was compiled yet.

    Without effect on one core, where nothing can be kept, and with a cache of the user's own (NUMBA_CACHE_DIR), of
    which we cannot tell what it holds. Where that process fails, this one finds nothing and compiles the module too.
    """
    alone = (os.cpu_count() or 1) < 2 or not sys.executable
    if settings.CACHE_DIR or is_compiled() or alone or not can_keep():
        yield
        return
    folder = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r}); import {module}"]
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603  # our own module
    except OSError:
        yield
        return
    try:
        yield
    finally:
        try:
            process.wait(MOST_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
