"""A project in a temporary folder, and `quant` called in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calling import Quant
from click.testing import CliRunner, Result

from quant.app.cli import cli


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings of the machine, and no strategy modules of one test in another."""
    for name in os.environ:
        if name.upper().startswith("QUANT_"):
            monkeypatch.delenv(name)
    path = list(sys.path)
    before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "strategies"}
    yield
    sys.path[:] = path
    for name in [n for n in sys.modules if n.partition(".")[0] == "strategies"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def quant() -> Quant:
    """Return a function that calls `quant` with words."""

    def call(*words: object, **options: Any) -> Result:
        return CliRunner().invoke(cli, [str(w) for w in words], **options)

    return call


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder."""
    folder = tmp_path / "an empty folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def project(empty: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project that `quant init` laid out."""
    made = quant("init", "my project")
    assert made.exit_code == 0, made.stderr
    monkeypatch.chdir(empty / "my project")
    return empty / "my project"
