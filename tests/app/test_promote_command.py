"""`quant promote`: words, exit codes, what is printed, and that nothing reaches real money by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from calling import Quant, document
from click.testing import Result
from simulation import NOON, simulated_tws

from quant.live.run import tape
from quant.live.run.deployment import live_folder, lock_path
from quant.live.run.lock_file import read
from quant.oms.journal.journal import Journal
from quant.promotion.gates import promote
from quant.promotion.gates.values import (
    Charged,
    Checked,
    Completeness,
    Evidence,
    Origin,
    OutOfSample,
    Rehearsed,
    Thresholds,
)
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

REHEARSED = Rehearsed(bars=60, fills=4, ok=True)
GOOD = Evidence(
    checks={n: Checked("ok", "seen") for n in ("look-ahead", "warm-up", "determinism", "engines")},
    warmup=10, ahead=500, whole=True, bars=(Completeness("SPY", 500, 0),),
    outside=OutOfSample("walk-forward", "w", 1.0, 60, "2018-01-02", "2018-12-31"), how_outside="", trades=50,
    orders=100, rejected=0, deflated=0.99, trials=1, costs="ib-fixed",
    charged=Charged(100.0, "ib-tiered", 80.0), slippage="ticks:1", rehearsal=REHEARSED,
    faults=REHEARSED, capital=1e5, limits={"max_notional": 1e5, "max_gross": 1e5, "daily_loss": 0.02},
    origins=(Origin("SPY", "sample", 756733),),
)  # fmt: skip
NAME = "macd-spy-1d"
CONTRACT = ("--contract", "SPY=756733")
LIMITS = ("--limit", "max_notional=20000", "--limit", "max_gross=20000", "--limit", "daily_loss=0.01")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Thresholds]:
    """What the gates are asked with; the evidence is good, and costs nothing."""
    seen: list[Thresholds] = []

    def collect(*args: Any, **kwargs: Any) -> Evidence:
        seen.append(args[3])
        return GOOD

    monkeypatch.setattr(promote, "collect", collect)
    return seen


def backtest(quant: Quant) -> str:
    done = quant("backtest", "macd", "SPY", "--slippage", "ticks:1", "--json")
    return str(document(done)["run"])


def locks(project: Path) -> list[str]:
    return sorted(path.name for path in project.glob("data/deployments/*"))


@contextmanager
def fast_tws() -> Iterator[int]:
    """Give the port of a simulated TWS whose clock is sixty times as fast."""
    clock = Clock(outside_ns, speed=60.0, start=NOON)
    with running(Server(simulated(None, rate_limited=False), clock)) as port:
        yield port


def held(done: Result) -> set[str]:
    """Gates whose line says held."""
    words = (line.split() for line in done.stdout.splitlines())
    return {word[1] for word in words if word[:1] == ["held"]}


# ---------------------------------------------------------------- to paper
def test_a_gate_that_holds_ends_with_1_and_writes_nothing(project: Path, quant: Quant) -> None:
    run = backtest(quant)
    done = quant("promote", run, "--to", "paper", env={"QUANT__PROMOTE__REHEARSAL_BARS": "40"})
    assert done.exit_code == 1, done.stderr
    assert held(done) >= {"trades", "deflated-sharpe", "contract"}
    assert "say it: --contract SPY=CON_ID" in done.stdout
    assert "rehearsal under faults" in done.stderr
    assert "next:" not in done.stdout
    assert locks(project) == []


def test_a_promotion_from_a_sweep_to_a_session_on_paper(
    project: Path, quant: Quant, asked: list[Thresholds], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(project / "state"))
    with fast_tws() as port:
        pulled = quant("data", "pull", "SPY", "--bar", "1d", "--from", "2023-01-03", "--port", port)
        assert pulled.exit_code == 0, pulled.stderr
    grid = ("--source", "simulated", "--slippage", "ticks:1", "-g", "fast=5,10", "-g", "slow=20")
    swept = document(quant("sweep", "macd", "SPY", *grid, "--json"))
    sweep = swept["sweeps"][0]["sweep"]
    done = quant("promote", sweep, "--row", "best", "--to", "paper")
    assert done.exit_code == 0, done.stderr
    assert f"promoted: {Path('data', 'deployments', 'macd-spy-1d.lock.toml')}" in done.stdout
    assert "next: quant paper macd-spy-1d" in done.stdout
    lock = read(lock_path(project / "data", NAME))
    assert [(c.symbol, c.con_id) for c in lock.contracts] == [("SPY", 756733)]
    assert lock.params["fast"] in (5, 10)
    real = quant("live", NAME, "--account", "U7654321", "--port", "1")
    assert (real.exit_code, "was not promoted to real money" in real.stderr) == (3, True)
    file = project / "data" / "deployments" / f"{NAME}.lock.toml"
    before = file.read_text()
    file.write_text(before.replace("capital = 100000.0", "capital = 900000.0"))
    edited = quant("paper", NAME, "--port", "1")
    assert (edited.exit_code, "a line was edited" in edited.stderr) == (3, True)
    file.write_text(before)
    with fast_tws() as port:
        traded = quant("paper", NAME, "--once", "--port", port, "--json")
    assert traded.exit_code == 0, traded.stderr
    after = read(file)
    assert after.account == "DU1234567", "that of the first session"
    assert after == replace(lock, account=after.account, params=after.params)
    assert "DU1234567" in quant("deployments").stdout


def test_thresholds_come_from_quant_toml_and_are_told(
    project: Path, quant: Quant, asked: list[Thresholds]
) -> None:
    settings = (project / "quant.toml").read_text(encoding="utf-8")
    for name, value in (("trades", 51), ("sessions", 5)):
        settings = re.sub(rf"(?m)^# {name} = .*$", f"{name} = {value}", settings)
    (project / "quant.toml").write_text(settings, encoding="utf-8")
    done = quant("promote", backtest(quant), "--to", "paper", *CONTRACT, "--json")
    found = document(done)
    assert done.exit_code == 1
    assert (asked[0].trades, asked[0].sessions, asked[0].rejected) == (51, 5, 0.05)
    gate = next(g for g in found["gates"] if g["name"] == "trades")
    assert (gate["outcome"], gate["threshold"], gate["value"]) == ("held", 51.0, 50.0)
    assert (found["ok"], found["held"], found["lock"]) == (False, ["trades"], None)
    shown = document(quant("config", "show", "--json"))["settings"]
    assert shown["promote.trades"]["value"] == 51
    reason = quant(
        "promote",
        backtest(quant),
        "--to",
        "paper",
        *CONTRACT,
        "--override",
        'trades=few, but "long"',
        "--json",
    )
    assert reason.exit_code == 0, reason.stderr
    assert document(reason)["gates"][6]["override"] == 'few, but "long"'
    assert read(lock_path(project / "data", NAME)).gates[6].override == 'few, but "long"'


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nothing", "--to", "paper"], 4, "no run or sweep nothing"),
        (["nothing", "--row", "1", "--to", "paper"], 4, "no sweep nothing"),
        (["nothing"], 2, "--to"),
        (["nothing", "--to", "space"], 2, "space"),
        (["RUN", "--to", "paper", "--row", "first"], 2, "number"),
        (["RUN", "--to", "paper", "--by", "fame"], 3, "fame"),
        (["RUN", "--to", "paper", "--override", "trades"], 2, "--override"),
        (["RUN", "--to", "paper", "--override", "trade=x"], 3, "no such gate"),
        (["RUN", "--to", "paper", "--override", "contract=x"], 3, "cannot be overridden"),
        (["RUN", "--to", "paper", "--contract", "SPY"], 2, "SPY=756733"),
        (["RUN", "--to", "paper", "--limit", "max_gros=1"], 3, "no such limit"),
        (["RUN", "--to", "paper", "--capital", "0"], 3, "positive"),
        (["RUN", "--to", "paper", "--account", "U1"], 3, "is no paper account"),
        (["nothing", "--to", "live", "--account", "U1"], 3, "no such deployment; there are none yet"),
        (["nothing", "--to", "live", "--row", "1", "--account", "U1"], 2, "--row: the deployment on paper says that"),
        (["nothing", "--to", "live"], 2, "Nobody can be asked here: add --account"),
    ],
)  # fmt: skip
def test_words_that_cannot_be(project: Path, quant: Quant, words: list[str], code: int, told: str) -> None:
    run = backtest(quant) if "RUN" in words else ""
    done = quant("promote", *[run if word == "RUN" else word for word in words])
    assert (done.exit_code, told in done.stderr) == (code, True), done.stderr
    assert locks(project) == []


@pytest.mark.parametrize("name", ["rehearsal_bars", "sessions"])
@pytest.mark.parametrize("stage", ["paper", "live"])
def test_a_threshold_that_cannot_be_is_named_with_its_line(
    name: str, stage: str, project: Path, quant: Quant
) -> None:
    (project / "quant.local.toml").write_text(f"[promote]\n{name} = 0\n")
    done = quant("promote", "x", "--to", stage, "--account", "DU1" if stage == "paper" else "U1")
    assert done.exit_code == 3
    assert f"quant.local.toml:2: promote.{name} = 0: must be a number, 1 or more" in done.stderr


# ---------------------------------------------------------------- to live
@pytest.fixture
def on_paper(project: Path, quant: Quant, asked: list[Thresholds]) -> Path:
    """A project whose deployment has run on paper, two sessions with parity; three are asked for."""
    done = quant("promote", backtest(quant), "--to", "paper", *CONTRACT, "--account", "DU1234567")
    assert done.exit_code == 0, done.stderr
    data = project / "data"
    found = read(lock_path(data, NAME))
    folder = live_folder(data, NAME)
    folder.mkdir(parents=True)
    Journal.open(
        folder / "journal.sqlite", deployment=NAME, account=found.account, strategy_hash=found.digest, create=True,
    ).close()  # fmt: skip
    for day in (13, 14):
        another_session(project, day)
    (project / "quant.local.toml").write_text("[promote]\nsessions = 3\n")
    return project


def another_session(project: Path, number: int = 15) -> None:
    day, folder = f"2024-05-{number}", live_folder(project / "data", NAME)
    line = {
        "day": day, "decisions": 2, "decisions_diverged": 0, "unexplained": 0.0, "ok": True, "orders": 2, "missed": 0,
        "session_end": f"{day}T20:00:00", "compared_at": f"{day}T20:00:10",
    }  # fmt: skip
    with (folder / "parity.jsonl").open("a") as record:
        record.write(f"{json.dumps(line)}\n")
    close = int(datetime.fromisoformat(f"{day}T20:00:00Z").timestamp()) * 10**9
    bar = tape.BarLine("SPY", close - 60 * 10**9, close, 1.0, 1.0, 1.0, 1.0, 1.0, close, live=True)
    (folder / "tape").mkdir(exist_ok=True)
    (folder / "tape" / f"{day}.jsonl").write_text(json.dumps({"kind": "bar", **asdict(bar)}) + "\n")


def test_to_live_wants_sessions_limits_and_the_account(on_paper: Path, quant: Quant) -> None:
    early = quant("promote", NAME, "--to", "live", "--account", "U7654321")
    assert (early.exit_code, held(early)) == (1, {"parity", "limits"})
    assert locks(on_paper) == [f"{NAME}.lock.toml"]
    another_session(on_paper)
    done = quant("promote", NAME, "--to", "live", "--account", "U7654321", *LIMITS)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert f"next: quant live {NAME}-live --account U7654321" in done.stdout
    found = read(lock_path(on_paper / "data", f"{NAME}-live"))
    assert (found.account, found.limits["daily_loss"]) == ("U7654321", 0.01)
    for account, code, told in (("U7654321", 5, "no connection"), ("U1", 5, "no connection")):
        real = quant("live", found.name, "--account", account, "--port", "1")
        assert (real.exit_code, told in real.stderr) == (code, True), real.stderr
    paper = quant("paper", found.name, "--port", "1")
    assert paper.exit_code == 5
    with simulated_tws(start=NOON, account="U7654321") as port:
        for words, told in (
            (["live", found.name, "--account", "U1"], "is not that of"), (["paper", found.name], "is no paper account"),
            (["paper", NAME], "not to DU1234567"),
        ):  # fmt: skip
            done = quant(*words, "--port", port)
            assert (done.exit_code, told in done.stderr) == (6, True), done.stderr


def test_what_was_promoted_and_then_edited_trades_nothing(on_paper: Path, quant: Quant) -> None:
    another_session(on_paper)
    assert quant("promote", NAME, "--to", "live", "--account", "U7654321", *LIMITS).exit_code == 0
    file = lock_path(on_paper / "data", f"{NAME}-live")
    text = file.read_text()
    for old, new, told in (
        ('"U7654321"', '"U7654322"', "was edited"), ("daily_loss = 0.01", "", "say daily_loss"),
        ("daily_loss = 0.01", 'daily_loss = "none"', "say daily_loss"), ('promoted = "live"', "", "was edited"),
        ('name = "parity"', 'name = "party"', "was edited"),
    ):  # fmt: skip
        assert old in text
        file.write_text(text.replace(old, new))
        real = quant("live", f"{NAME}-live", "--account", "U7654321", "--port", "1")
        assert (real.exit_code, told in real.stderr) == (3, True), (old, real.stderr)


def test_the_account_is_typed_twice_where_somebody_sits(
    on_paper: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_session(on_paper)
    monkeypatch.setattr("quant.app.promote.can_ask", lambda: True)
    typed = "U7654321\nU7654312\nU7654321\nU7654321\n"
    done = quant("promote", NAME, "--to", "live", *LIMITS, input=typed)
    assert done.exit_code == 0, done.stderr
    assert "REAL MONEY" in done.stderr
    assert "do not match" in done.stderr
    assert read(lock_path(on_paper / "data", f"{NAME}-live")).account == "U7654321"
