"""The project that runs of a deployment stand in, and bars with a night between them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import quant as q
from quant.oms.reconcile.outcome import Policy


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of a project; no strategy module of one test is left for another."""
    path, before = (
        list(sys.path),
        {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "strategies"},
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("quant.oms.journal.locks.lock_folder", lambda: tmp_path / "locks")
    monkeypatch.setattr("quant.live.run.keeper.EACH_S", 0.1)
    monkeypatch.setattr("quant.live.run.job.Policy", partial(Policy, gap_s=0.2))
    (tmp_path / "quant.toml").write_text("")
    yield tmp_path / "data"
    sys.path[:] = path
    for name in [n for n in sys.modules if n.partition(".")[0] == "strategies"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="session")
def bars() -> q.Bars:
    """Two made-up sessions of fifteen-minute bars, under SPY's contract; a file that needs others has its own."""
    made = q.synthetic("SPY", "15m", "2024-05-15", "2024-05-16", seed=4, volatility=0.6)
    return replace(made, instrument=replace(made.instrument, con_id=756733, tick=0.01))
