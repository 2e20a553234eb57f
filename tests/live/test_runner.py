"""A deployment from the connection to the last answer, against the simulated TWS."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from live_run import ACCOUNT, PATIENCE_S, again, books, draft, filled, ledger, play, position, standings, tws

from quant.errors import ConfigError, JournalBusy, SafetyStop
from quant.live import control
from quant.live.deployment import live_folder

KILLED = """
import os, sys
from quant.oms import failpoints
sends = 0
def hook(name):
    global sends
    sends += name == "{place}"
    if sends == {count}:
        os._exit(9)
failpoints.hook = hook
from quant.app.cli import main
main()
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("quant.oms.locks.lock_folder", lambda: tmp_path / "locks")
    (tmp_path / "quant.toml").write_text("")
    return tmp_path / "data"


def test_it_trades_and_its_books_are_those_of_tws(data: Path) -> None:
    job = draft(data)
    with tws() as port:
        ended, told = play(job, port, data, filled(4))
        there = books(port)
    assert (ended.code, ended.why) == (0, "stopped"), told
    held = ledger(data, job)
    done = standings(held)
    assert len([s for s in done if s.filled]) >= 4
    assert all(s.is_final for s in done)
    assert sum((p.quantity for p in there.positions), Decimal(0)) == position(held)
    assert {e.ref for e in there.executions} == {s.ref for s in done if s.filled}


@pytest.mark.parametrize("place", ["before_send", "after_send", "after_commit"])
def test_killed_in_the_middle_of_an_order_it_ends_with_equal_books(data: Path, place: str) -> None:
    job = draft(data)
    with tws() as port:
        words = ["paper", "flip", "SPY", "--bar", "30s", "--port", str(port), "--name", "flip-spy"]
        words += ["--sizing", "shares:10", "--from", "2024-05-15", "--capital", "10000"]
        env = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
        env["XDG_STATE_HOME"] = str(data.parent / "locks")
        code = KILLED.format(place=place, count=3 if place != "after_commit" else 9)
        process = subprocess.run(
            [sys.executable, "-c", code, *words], env=env, timeout=PATIENCE_S, capture_output=True, text=True
        )
        assert process.returncode == 9, process.stdout + process.stderr
        job = again(data, job)
        before = len(ledger(data, job).intents)
        ended, told = play(job, port, data, lambda p: p["gate"] == "open" and p["settled"])
        there = books(port)
    assert before >= 1
    assert ended.code == 0, told
    held = ledger(data, job)
    assert all(s.is_final for s in standings(held)), told
    assert sum((p.quantity for p in there.positions), Decimal(0)) == position(held)
    assert sorted(e.ref for e in there.executions) == sorted({s.ref for s in standings(held) if s.filled})
