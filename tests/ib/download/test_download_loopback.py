"""The same over a socket: real time, real bytes, and processes that are killed."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from virtual_world import NOON, content

import quant as q
from quant.errors import CannotConnect, ClientIdInUse
from quant.ib.download import connect
from quant.ib.download import pull as pull_function
from quant.ib.session import Session
from quant.store import Store
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, running

CHILD = """
import sys
from quant import pull
print("begun", flush=True)
report = pull(["SPY", "MSFT"], "5m", "2024-03-01", "2024-05-14", port=int(sys.argv[1]), data=sys.argv[2])
sys.exit(0 if report.ok else 1)
"""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    tws = simulated(rate_limited=False, history_s=0.0)
    with running(Server(tws, Clock(lambda: 0, speed=0.0, start=NOON))) as found:
        yield found


def test_a_pull_over_loopback(port: int, tmp_path: Path) -> None:
    report = q.pull(["SPY", "MSFT"], "1h", "2024-04-01", port=port, data=tmp_path)
    assert isinstance(report, q.PullReport)
    assert report.ok, report
    assert len(q.bars("SPY", "1h", data=tmp_path)) == 32 * 7 + 3
    assert q.pull("SPY", "1h", "2024-04-01", port=port, data=tmp_path).requests == 0


def test_a_client_id_in_use_is_told(port: int, tmp_path: Path) -> None:
    with Session(port=port, client_id=11) as other:
        other.connect()
        with pytest.raises(ClientIdInUse, match="--client-id"):
            q.pull("SPY", port=port, data=tmp_path)


def test_nothing_listening_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(CannotConnect, match="quant tws"):
            connect("127.0.0.1", free.getsockname()[1], 11)


def test_without_a_port_the_usual_ones_are_tried(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
        monkeypatch.setitem(connect.__globals__, "PORTS", (nobody, port))
        assert q.pull("SPY", "1d", "2024-05-01", data=tmp_path).ok
        monkeypatch.setitem(connect.__globals__, "PORTS", (nobody,))
        with pytest.raises(CannotConnect, match="tried"):
            q.pull("SPY", "1d", "2024-05-01", data=tmp_path)


def waited(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process; True if it still runs after so long."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def test_killed_processes_lose_nothing(port: int, tmp_path: Path, full: bool) -> None:
    """kill -9 (TerminateProcess on Windows) at a random moment, then the same call again."""
    args = (["SPY", "MSFT"], "5m", "2024-03-01", "2024-05-14")
    assert pull_function(*args, port=port, data=tmp_path / "whole").ok
    rng = random.Random(5)
    killed = 0
    for n in range(50 if full else 2):
        data = tmp_path / f"{n}"
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(port), str(data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdout is not None
        child.stdout.readline()
        until = time.monotonic() + 20
        while not list(data.rglob("manifest.json")) and time.monotonic() < until and waited(child, 0.005):
            pass
        waited(child, rng.uniform(0, 0.05 * n))  # a random moment after the first write
        child.kill()
        child.stdout.close()
        killed += child.wait() != 0
        assert Store(data).scan()[1] == []
        assert pull_function(*args, port=port, data=data).ok
        assert content(data) == content(tmp_path / "whole")
    assert killed
