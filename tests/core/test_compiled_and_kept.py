"""Code is compiled also where it cannot be kept: a full disk must not end a strategy that trades."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from numba.core.caching import IndexDataCacheFile

from quant.core.compiling import compiled, settings, types


def test_a_disk_that_is_full_keeps_nothing_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file can still be made there, so the look beforehand finds nothing."""
    asked = []

    def full(*args: Any) -> None:
        asked.append(args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    monkeypatch.setattr(settings, "CACHE_DIR", "")

    @compiled(types.float64(types.float64), tmp_path / "kept")
    def double(x: float) -> float:
        return 2.0 * x

    assert double(3.0) == 6.0
    assert len(asked) == 1
    assert settings.CACHE_DIR == ""
