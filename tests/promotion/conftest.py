"""A project to promote from, and evidence at no cost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from promoted import CROSS, GOOD, RULE, SAMPLE, forget

from quant.promotion.gates import promote


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a project with one strategy in two files, and the sample."""
    (tmp_path / "quant.toml").write_text("")
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "cross.py").write_text(CROSS)
    (tmp_path / "strategies" / "rule.py").write_text(RULE)
    shutil.copytree(SAMPLE, tmp_path / "data" / "sample")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path / "data"
    sys.path[:] = path
    forget()


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence that every gate passes, at no cost."""
    monkeypatch.setattr(promote, "collect", lambda *a, **k: GOOD)
