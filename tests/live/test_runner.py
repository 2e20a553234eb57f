"""A deployment from the connection to the last answer, against the simulated TWS."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import pytest
from filelock import FileLock
from live_run import (
    ACCOUNT,
    PATIENCE_S,
    Jumping,
    again,
    books,
    draft,
    filled,
    ledger,
    play,
    position,
    standings,
    tws,
)

from quant.core.barsize import SECOND
from quant.errors import CannotConnect, ConfigError, InstrumentBusy, JournalBusy, SafetyStop
from quant.live.run import control, view
from quant.live.run.deployment import GateResult, live_folder

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


@pytest.mark.parametrize("place", ["before_send", "after_send"])
def test_killed_in_the_middle_of_an_order_it_ends_with_equal_books(data: Path, place: str) -> None:
    job = draft(data)
    with tws() as port:
        words = ["paper", "flip", "SPY", "--bar", "30s", "--port", str(port), "--name", "flip-spy"]
        words += ["--sizing", "shares:10", "--from", "2024-05-15", "--capital", "10000"]
        env = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
        env["XDG_STATE_HOME"] = str(data.parent / "locks")
        code = KILLED.format(place=place, count=3)
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


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def never(picture: dict[str, Any]) -> bool:
    return False


# ---------------------------------------------------------------- --once
def test_a_daily_strategy_decides_after_the_close_and_is_filled_at_the_open(data: Path) -> None:
    job = draft(data, bar="1d", history_start="2024-04-01", start_rule="first-target")
    job = replace(job, once=True)
    outside = Jumping()
    with tws(
        start=at("2024-05-16 19:00"), outside=outside, speed=10.0
    ) as port:  # its target is 1 on the 16th
        first, told = play(job, port, data, never)
        assert (first.code, ledger(data, job).intents) == (0, ()), told  # nothing has closed since it began
        assert first.why == "decided, no new order; IB's books and ours agree"
        outside.more += 75 * 60 * SECOND // 10
        job = again(data, job)
        second, told = play(job, port, data, never)
        assert second.code == 0, told
        assert second.why == "decided, 1 order sent; IB's books and ours agree"
        (intent,) = ledger(data, job).intents
        assert (intent.ticket.tif, intent.ticket.quantity) == ("OPG", 10)
        assert [s.state for s in standings(ledger(data, job))] == ["working"]
        outside.more += 18 * 3600 * SECOND // 10
        third, told = play(job, port, data, never)
        there = books(port)
    assert third.code == 0, told
    assert [s.state for s in standings(ledger(data, job))] == ["filled"], told
    assert [p.quantity for p in there.positions] == [10]


# ---------------------------------------------------------------- what a person asks for
@pytest.mark.parametrize("command", ["halt", "reduce-only", "flatten"])
def test_a_command_by_file_is_obeyed_and_answered(data: Path, command: str) -> None:
    job = draft(data)
    folder = live_folder(data, job.deployment.name)
    seen: list[dict[str, Any]] = []

    def holds(picture: dict[str, Any]) -> bool:
        seen.append(picture)
        return bool(picture["feeds"][0]["position"]) and picture["settled"]

    def over(picture: dict[str, Any]) -> bool:
        done = not picture["feeds"][0]["position"] if command == "flatten" else True
        return done and picture["gate"] == ("reducing" if command == "reduce-only" else "halted")

    with tws() as port:
        ended, told = play(job, port, data, holds, command, then=over)
        there = books(port)
    assert ended.code == 0, told
    (answer,) = [control.get(path) for path in (folder / "control").glob("1.answer.json")]
    assert answer["command"] == command
    held = ledger(data, job)
    assert (held.reducing if command == "reduce-only" else held.halted) is not None
    assert sum((p.quantity for p in there.positions), Decimal(0)) == position(held)
    if command == "flatten":
        assert position(held) == 0


def test_a_halt_of_one_instrument_stands_under_why_with_what_ends_it() -> None:
    symbols = {1: "SPY", 2: "AAPL"}
    (told,) = view.stopped(
        "flip", "", "", {2: "an order for 3 that is not ours works at the broker"}, symbols
    )
    assert told.startswith("AAPL is halted, only what reduces is sent: an order for 3 that is not ours")
    assert told.endswith("quant halt flip --clear --reason TEXT")
    assert len(view.stopped("flip", "", "lunch", {1: "books differ", 2: "books differ"}, symbols)) == 3
    (whole,) = view.stopped("flip", "too many rejects", "", {1: "books differ"}, symbols)
    assert whole.startswith("halted: too many rejects.")


# ---------------------------------------------------------------- what it refuses, and what ends it
def test_a_strategy_that_raises_halts_until_somebody_clears_it(data: Path) -> None:
    job = draft(data, params={"breaks": True})
    with tws() as port:
        ended, told = play(job, port, data, never)
        assert ended.code == 6, told
        assert "so it is" in ended.why
        assert "--clear" in ended.why
        assert "ZeroDivisionError" in str(ledger(data, job).halted)
        job = again(data, job)
        ended, told = play(job, port, data, lambda p: p["gate"] == "halted" and bool(p["halted"]))
    assert any("gate halted" in line for line in told)


def test_a_live_account_is_refused_whatever_the_port(data: Path) -> None:
    job = draft(data)
    with (
        tws(account="U7654321") as port,
        pytest.raises(SafetyStop, match="U7654321 is no paper account") as e,
    ):
        play(job, port, data, never)
    assert e.value.exit_code == 6
    assert not (data / "deployments").exists()


def test_real_money_with_its_account_typed(data: Path) -> None:
    job = replace(draft(data, account="U7654321"), real=True, account="U7654321")
    with tws(account="U7654321") as port:
        with pytest.raises(SafetyStop, match="was not promoted to real money"):
            play(job, port, data, never)
        gate = GateResult("live", "parity", "pass", "20 sessions")
        promoted = replace(job.deployment, promoted="live", gates=(gate,))
        job = replace(job, deployment=replace(promoted, seal=promoted.sealed()))
        ended, told = play(job, port, data, lambda p: p["settled"])
    assert (ended.code, ended.picture["mode"], ended.picture["account"]) == (0, "live", "U7654321"), told


@pytest.mark.parametrize(
    ("typed", "told"), [("", "is a paper account"), ("DU1", "is not that of"), ("U1", "is not that")]
)
def test_real_money_needs_its_own_account_typed(data: Path, typed: str, told: str) -> None:
    job = draft(data)
    job = replace(job, real=True, account=typed, deployment=replace(job.deployment, account=ACCOUNT))
    with tws() as port, pytest.raises(SafetyStop, match=told):
        play(job, port, data, never)


def test_two_runners_of_one_deployment(data: Path) -> None:
    job = draft(data)

    def second(picture: dict[str, Any]) -> bool:
        with pytest.raises(JournalBusy, match="another process trades"):
            play(again(data, job), port, data, never)
        return True

    with tws() as port:
        play(job, port, data, second)


def test_two_deployments_of_one_instrument(data: Path) -> None:
    job = draft(data)

    def second(picture: dict[str, Any]) -> bool:
        with pytest.raises(InstrumentBusy, match="traded by another deployment") as e:
            play(draft(data, name="another"), port, data, never)
        assert e.value.exit_code == 6
        return True

    with tws() as port:
        play(job, port, data, second)
    assert not (data / "deployments" / "another.lock.toml").exists()


def test_a_disk_that_is_nearly_full_halts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = draft(data)
    left = itertools.count(2000, -1)
    monkeypatch.setattr(
        "quant.live.run.keeper.shutil.disk_usage", lambda path: SimpleNamespace(free=next(left))
    )
    with tws() as port:
        ended, told = play(job, port, data, lambda p: bool(p["halted"]) and next(left) < 1980)
    assert "less than 200,000,000 bytes are left" in ended.picture["halted"], told
    assert len([line for line in told if "STOP: " in line]) == 1, told  # told once


def test_a_closed_market_is_told(data: Path) -> None:
    job = draft(data)
    with tws(start=at("2024-05-16 02:00")) as port:
        ended, _ = play(job, port, data, lambda p: p["settled"])
    assert "SPY: the market is closed until 2024-05-16 13:30:00 UTC" in ended.picture["why"]


def test_a_contract_that_has_changed_is_another_deployment(data: Path) -> None:
    job = draft(data)
    with tws() as port:
        play(job, port, data, lambda p: p["settled"])
        job = again(data, job)
        other = replace(job.deployment.contracts[0], multiplier=10.0)
        job = replace(job, deployment=replace(job.deployment, contracts=(other,)))
        with pytest.raises((ConfigError, SafetyStop)):
            play(job, port, data, never)


def test_a_restart_forgets_neither_the_days_loss_nor_the_peak(data: Path) -> None:
    job = draft(data, bar="30s")
    with tws() as port:
        first, _ = play(job, port, data, lambda p: filled(3)(p) and bool(p["feeds"][0]["position"]))
        path = live_folder(data, job.deployment.name) / control.STATUS
        marks = first.picture["marks"]
        seen = {**control.get(path), "marks": {**marks, "day_start": 10_050.0, "peak": 10_070.0}}
        control.put(path, {name: value for name, value in seen.items() if name != "schema"})
        second, told = play(again(data, job), port, data, lambda p: p["feeds"][0]["status"] == "LIVE")
    assert marks["peak"] >= marks["day_start"] > 0
    assert second.picture["marks"] == {
        "session": marks["session"],
        "day_start": 10_050.0,
        "peak": 10_070.0,
    }, told


def test_the_past_prices_of_a_position_are_no_loss(data: Path) -> None:
    job = draft(
        data,
        limits={"orders_per_minute": 1000, "orders_per_day": 10_000, "daily_loss": 1e-3, "drawdown": 1e-3},
    )
    with tws(speed=20.0) as port:  # else a slow restart lasts so long that its prices are one
        play(job, port, data, lambda p: bool(p["feeds"][0]["position"]))
        ended, told = play(again(data, job), port, data, lambda p: p["feeds"][0]["status"] == "LIVE")
    assert not ended.picture["halted"], told
    assert not ended.picture["reducing"], told


def test_no_process_is_ended_but_the_one_that_has_the_journal(data: Path) -> None:
    folder = live_folder(data, "flip-spy")
    address = control.Running(999_999_999, "127.0.0.1", 7497, 7, ACCOUNT)
    control.announce(folder, address)
    assert control.running(folder) is None
    assert control.end(folder, lambda s: None)
    with FileLock(folder / f"{control.JOURNAL}.lock", is_singleton=False):
        for pid in (0, -1, os.getpid()):
            control.announce(folder, replace(address, pid=pid))
            assert not control.end(folder, lambda s: None)


def test_an_address_that_led_nowhere_is_not_kept(data: Path) -> None:
    job = draft(data)
    folder = live_folder(data, job.deployment.name)
    with tws() as port:
        play(job, port, data, lambda p: p["settled"])
    with pytest.raises(CannotConnect) as e:
        play(again(data, job), 1, data, never)
    assert e.value.exit_code == 5
    last = control.last_address(folder)
    assert last is not None
    assert (last.pid, last.port) == (0, port)
    assert not control.is_running(folder)


# ---------------------------------------------------------------- any class
class Plain(bt.Strategy):
    """Buys at one close and sells at the next."""

    def next(self) -> None:
        if self.position:
            self.close()
        else:
            self.buy()


def test_a_plain_strategy_trades_too(data: Path) -> None:
    job = draft(data)
    job = replace(job, strategy=Plain, deployment=replace(job.deployment, params={}))
    with tws() as port:
        ended, told = play(job, port, data, filled(3))
        there = books(port)
    assert ended.code == 0, told
    held = ledger(data, job)
    assert {abs(s.filled) for s in standings(held) if s.filled} == {10}
    assert sum((p.quantity for p in there.positions), Decimal(0)) == position(held)
