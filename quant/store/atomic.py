"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".tmp"


def put(path: Path, data: bytes | bytearray) -> None:
    """Write `data` to `path` so that at any moment the old or the new content is there, and make it last.

    Raises OSError; then the old content is there and the temporary file is not.
    """
    # A name of its own: two processes may write the same file.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _replace(temporary: Path, path: Path) -> None:
    # Windows refuses while a reader or a virus scanner has the old file open, which is for milliseconds.
    for _ in range(100 if os.name == "nt" else 0):
        try:
            os.replace(temporary, path)
        except PermissionError:
            time.sleep(0.01)
        else:
            return
    os.replace(temporary, path)


def _sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system can."""
    if os.name == "nt":  # folders cannot be opened there
        return
    with contextlib.suppress(OSError):  # some network file systems refuse
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
