"""The project that runs of a deployment stand in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from quant.oms.outcome import Policy


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a project; no strategy module of one test is left for another."""
    path, before = (
        list(sys.path),
        {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "strategies"},
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("quant.oms.locks.lock_folder", lambda: tmp_path / "locks")
    monkeypatch.setattr("quant.live.keeper.EACH_S", 0.1)
    monkeypatch.setattr("quant.live.job.Policy", partial(Policy, gap_s=0.2))
    (tmp_path / "quant.toml").write_text("")
    yield tmp_path / "data"
    sys.path[:] = path
    for name in [n for n in sys.modules if n.partition(".")[0] == "strategies"]:
        del sys.modules[name]
    sys.modules.update(before)
