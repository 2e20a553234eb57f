"""`quant paper`, `live`, `status` and what steers a runner; runners are processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from calling import Quant, document
from simulation import free_port

from quant.core.barsize import SECOND
from quant.core.clock import monotonic
from quant.live.run import control
from quant.live.run.lock_file import read, write
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

PATIENCE_S = 60.0  # only a failing test waits that long
MORNING = int(datetime(2024, 5, 15, 15, 0, tzinfo=UTC).timestamp()) * SECOND  # 11:00 in New York
NAME = "flip-spy-30s"
FLIP = '''"""Long at every other close, with a stop far below."""
import threading

import numpy as np
import quant as q


class Flip(q.Strategy):
    """Wants 1 and 0 in turn; with `hold` 1 for sixteen bars, then 0 for four. hangs: at each second minute."""
    params = dict(hold=False, hangs=False)

    @staticmethod
    def signals(bars, p):
        if p.hangs and bars.start[-1] % (120 * 10**9) == 0:
            open("hangs", "w").close()
            threading.Event().wait()
        wants = (bars.start // bars.bar.ns % 2).astype(float)
        if p.hold:
            wants = (bars.start // bars.bar.ns % 20 < 16).astype(float)
        return q.Signals(wants, stop=bars.close * 0.98)
'''
PROGRAM = "from quant.app.cli import main; main()"


@contextmanager
def tws(account: str = "DU1234567") -> Iterator[int]:
    """Give the port of a simulated TWS whose clock is sixty times as fast."""
    clock = Clock(outside_ns, speed=60.0, start=MORNING)
    with running(Server(simulated(None, account=account, rate_limited=False), clock)) as port:
        yield port


@pytest.fixture
def ideas(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project with one strategy."""
    (empty / "quant.toml").write_text("[backtest]\nsizing = 'shares:10'\n")
    (empty / "strategies").mkdir()
    (empty / "strategies" / "flip.py").write_text(FLIP)
    monkeypatch.setenv("XDG_STATE_HOME", str(empty / "state"))
    return empty


WORDS = ["paper", "flip", "SPY", "--bar", "30s", "--from", "2024-05-15", "--limit", "orders_per_minute=1000"]


@contextmanager
def started(port: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a runner; it is ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *WORDS, "--port", str(port), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def wait_for(done: Callable[[], bool], shown: Callable[[], Any]) -> None:
    """Return as soon as it is done. shown: what a test that waits too long fails with."""
    began, pause = monotonic(), threading.Event()
    while not done():
        assert monotonic() - began < PATIENCE_S, shown()
        pause.wait(0.05)


def status(folder: Path, until: Callable[[dict[str, Any]], bool], name: str = NAME) -> dict[str, Any]:
    """Wait for a status that is as wanted."""
    seen: dict[str, Any] = {}

    def there() -> bool:
        nonlocal seen
        seen = control.get(folder / "data" / "live" / name / control.STATUS)
        return bool(seen) and until(seen)

    wait_for(there, lambda: seen)
    return seen


def holds(seen: dict[str, Any]) -> bool:
    return seen["settled"] and seen["feeds"][0]["position"] != 0


def _stops(seen: dict[str, Any]) -> list[dict[str, Any]]:
    return [o for o in seen["orders"] if (o["purpose"], o["state"]) == ("protection", "working")]


# ---------------------------------------------------------------- a runner in another process
def test_a_runner_is_seen_and_steered_from_elsewhere(ideas: Path, quant: Quant) -> None:
    with tws() as port, started(port) as process:
        status(ideas, holds)
        found = document(quant("deployments", "--json"))["deployments"]
        assert [(d["name"], d["account"], d["symbols"]) for d in found] == [(NAME, "DU1234567", ["SPY"])]
        assert "running" in found[0]["state"]
        shown = quant("status", NAME)
        assert shown.exit_code == 0
        # An answer that is a sixth of a second late shuts the gate for a moment: ten seconds at this clock.
        wait_for(
            lambda: "gate      open" in quant("status", NAME).stdout, lambda: quant("status", NAME).stdout
        )
        assert "SPY       30s live" in shown.stdout
        again = quant(*WORDS, "--port", port)
        assert (again.exit_code, "another process trades this deployment" in again.stderr) == (6, True)
        assert quant("reduce-only", NAME, "--reason", "lunch").exit_code == 0
        assert status(ideas, lambda seen: seen["gate"] == "reducing")["reducing"] == "lunch"
        assert "cleared" in quant("halt", NAME, "--clear", "--reason", "back").stdout
        status(ideas, lambda seen: seen["gate"] == "open" and holds(seen))
        done = quant("flatten", NAME, "--yes")
        assert (done.exit_code, "halted" in done.stdout) == (0, True)
        status(ideas, lambda seen: not seen["feeds"][0]["position"] and seen["gate"] == "halted")
        # The stop's cancel may come a moment after the close's fill.
        ended = ("filled", "cancelled", "not sent")
        status(ideas, lambda seen: all(order["state"] in ended for order in seen["orders"]))
        assert quant("stop", NAME).exit_code == 0
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "ended: stopped" in out
    assert "not running; ended: stopped" in quant("status").stdout
    assert "is not running" in quant("stop", NAME).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_protective_orders_and_flatten_ends_them_without_a_runner(
    ideas: Path, quant: Quant
) -> None:
    with tws() as port:
        with started(port, "-p", "hold=true") as process:
            status(ideas, lambda seen: holds(seen) and bool(_stops(seen)))
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
        assert process.returncode == 130
        seen = status(ideas, lambda seen: seen["ended"] == "interrupted")
        assert seen["feeds"][0]["position"] == 10
        assert len(_stops(seen)) == 1
        done = quant("flatten", NAME, "--yes", "--reason", "enough")
        assert done.exit_code == 0, done.stdout + done.stderr
        assert "nothing is held, and no order works" in done.stdout
        seen = status(ideas, lambda seen: seen["gate"] == "halted")
        assert (seen["halted"], seen["feeds"][0]["position"]) == ("enough", 0)
        assert {order["state"] for order in seen["orders"]} <= {"filled", "cancelled", "not sent"}
        shown = quant("status", NAME).stdout
        assert "not running; ended: interrupted; " in shown
        assert ": flatten, without it" in shown
        assert f"halted: enough. Once you have looked: quant halt {NAME} --clear --reason TEXT" in shown
        assert "cleared" in quant("halt", NAME, "--clear", "--reason", "seen").stdout
        assert status(ideas, lambda seen: seen["gate"] == "closed")["why"] == ["nobody runs it"]


def test_a_runner_that_hangs_is_ended_and_its_orders_cancelled(
    ideas: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant.app.live_control.ANSWER_S", 1.5)
    monkeypatch.setattr("quant.live.run.view.SILENT_S", 1.0)
    with tws() as port, started(port, "-p", "hangs=true") as process:
        seen = status(ideas, lambda seen: "feeds" in seen)
        wait_for((ideas / "hangs").exists, lambda: seen)  # on a busy machine a status is late before
        wait_for(lambda: "HANGS" in quant("status").stdout, lambda: quant("status").stdout)
        done = quant("halt", NAME)
        assert done.exit_code == 0, done.stdout + done.stderr
        assert f"ending process {seen['pid']}" in done.stderr
        assert "halted: no entry works any more" in done.stdout
        assert "asked for halt" in status(ideas, lambda seen: seen["gate"] == "halted")["halted"]
        reduced = quant("reduce-only", NAME)
        assert "only reductions are sent: no entry works any more" in reduced.stdout
        process.wait(PATIENCE_S)
        everything = quant("halt", NAME, "--everything")
        assert everything.exit_code == 0, everything.stderr
        assert "every order of this login" in everything.stderr


def test_a_shadow_beside_its_deployment_is_seen_and_stopped(ideas: Path, quant: Quant) -> None:
    shadow = f"{NAME}.shadow"
    with tws() as port, started(port) as process:
        status(ideas, lambda seen: seen["settled"])
        with started(port, "--shadow") as other:
            seen = status(ideas, lambda seen: seen["settled"], shadow)
            assert seen["mode"] == "shadow"
            names = [d["name"] for d in document(quant("status", "--json"))["deployments"]]
            assert names == [NAME, shadow]
            assert "shadow · DU1234567" in quant("status", shadow).stdout
            assert quant("stop", shadow).exit_code == 0
            other.wait(PATIENCE_S)
        assert process.poll() is None
        assert quant("stop", NAME).exit_code == 0
        process.wait(PATIENCE_S)
    assert quant("halt", shadow).exit_code == 3


def test_watch_shows_it_anew_until_it_is_interrupted(ideas: Path, quant: Quant) -> None:
    words = ["status", "--watch"]
    with tws() as port, started(port) as process:
        status(ideas, lambda seen: seen["settled"])
        watching = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            times: set[str] = set()
            assert watching.stdout is not None
            for line in watching.stdout:
                times |= {line} if line.startswith("  time") else set()
                if len(times) >= 3:
                    break
            assert watching.poll() is None
            if sys.platform != "win32":
                watching.send_signal(signal.SIGINT)
                _, told = watching.communicate(timeout=PATIENCE_S)
                assert (watching.returncode, told) == (0, "")
        finally:
            watching.kill()
            watching.communicate(timeout=PATIENCE_S)
        quant("stop", NAME)
        process.wait(PATIENCE_S)


def test_once_gives_one_document(ideas: Path, quant: Quant) -> None:
    with tws() as port:
        done = quant(*WORDS, "--port", port, "--once", "--json")
        found = document(done)
        assert (found["deployment"], found["code"]) == (NAME, 0)
        assert found["status"]["account"] == "DU1234567"
        assert "gate open" in done.stderr
        assert (
            document(quant("status", NAME, "--json"))["deployments"][0]["status"]["ended"] == found["ended"]
        )
        halted = document(quant("halt", NAME, "--json"))
        assert (halted["command"], halted["code"]) == ("halt", 0)
        again = quant("paper", NAME, "--port", port, "--once")
    assert (again.exit_code, "ended: halted" in again.stdout) == (6, True)
    alone = quant("reduce-only", NAME)
    assert (alone.exit_code, "reduce-only is in the journal" in alone.stderr) == (5, True)
    assert "asked for reduce-only" in status(ideas, lambda seen: seen["reducing"] != "")["reducing"]


# ---------------------------------------------------------------- what is refused
def test_without_tws(ideas: Path, quant: Quant) -> None:
    done = quant(*WORDS, "--port", free_port())
    assert (done.exit_code, "no connection to TWS" in done.stderr) == (5, True)


def test_a_live_account(ideas: Path, quant: Quant) -> None:
    with tws("U7654321") as port:
        done = quant(*WORDS, "--port", port)
    assert done.exit_code == 6
    assert "U7654321 is no paper account" in done.stderr


def test_an_unknown_contract(ideas: Path, quant: Quant) -> None:
    with tws() as port:
        done = quant("paper", "flip", "NOSUCH", "--port", port)
    assert done.exit_code == 5
    assert "NOSUCH" in done.stderr
    assert not (ideas / "data" / "deployments").exists()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["paper", "nothing"], 3, "no such deployment; there are none yet"),
        (["paper", "nothing", "SPY"], 3, "there are flip"),
        (["paper", "flip", "SPY", "-p", "fsat=1"], 3, "no such parameter"),
        (["paper", "flip", "SPY", "--bar", "7m"], 3, "7m"),
        (["paper", "flip", "SPY", "--capital", "-5"], 3, "positive"),
        (["paper", "flip", "SPY", "--limit", "max_notioal=5"], 3, "no such limit"),
        (["paper", "flip", "SPY", "--limit", "max_gross=much"], 3, "must be a number"),
        (["paper", "flip", "SPY", "--name", "My Own"], 3, "orderRef"),
        (["paper", "flip", "--bar", "1m"], 2, "the lock file says that"),
        (["live", "nothing"], 2, "--account"),
        (["live", "nothing", "--account", "U1"], 3, "no such deployment"),
        (["status", "nothing"], 3, "no such deployment"),
        (["halt", "nothing"], 3, "no such deployment"),
        (["halt", "nothing", "--clear"], 2, "--reason"),
        (["flatten", "nothing"], 2, "--yes"),
    ],
)
def test_words_that_cannot_be(ideas: Path, quant: Quant, words: list[str], code: int, told: str) -> None:
    done = quant(*words, *(["--port", "1"] if words[0] in ("paper", "live") else []))
    assert (done.exit_code, told in done.stderr) == (code, True), done.stderr


def test_what_changed_since_is_refused_by_name(ideas: Path, quant: Quant) -> None:
    with tws() as port:
        with started(port):
            status(ideas, lambda seen: seen["settled"])
            quant("stop", NAME)
        for words, told in (
            (["-p", "hold=true"], "params.hold"), (["--capital", "5"], "capital"), (["--sizing", "shares:5"], "sizing"),
        ):  # fmt: skip
            done = quant(*WORDS, "--port", port, *words)
            assert (done.exit_code, told in done.stderr, "--name" in done.stderr) == (3, True, True), (
                done.stderr
            )
        lock = ideas / "data" / "deployments" / f"{NAME}.lock.toml"
        real = quant("live", NAME, "--account", "DU1234567", "--port", port)
        assert (real.exit_code, "daily_loss" in real.stderr) == (3, True)
        lock.write_text(lock.read_text().replace("[limits]", "[limits]\ndaily_loss = 0.01"))
        real = quant("live", NAME, "--account", "DU1234567", "--port", port)
        assert (real.exit_code, "was not promoted to real money" in real.stderr) == (3, True)
        (ideas / "strategies" / "flip.py").write_text(FLIP + "\n")
        done = quant("paper", NAME, "--port", port)
        assert (done.exit_code, "sources.strategies.flip" in done.stderr) == (3, True), done.stderr
        (ideas / "strategies" / "flip.py").write_text(FLIP)
        found = read(lock)
        lock.write_text(lock.read_text().replace("capital = 100000.0", "capital = 200000.0"))
        done = quant("paper", NAME, "--port", port)
        assert (done.exit_code, "a line was edited" in done.stderr) == (3, True), done.stderr
        write(replace(found, capital=200_000.0), lock)  # with a seal of its own
        done = quant("paper", NAME, "--port", port)
        assert (done.exit_code, "journal" in done.stderr) == (6, True), done.stderr
