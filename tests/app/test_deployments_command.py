"""quant deployments: mode, gates, last parity and state of each lock file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import Quant, document
from filelock import FileLock

from quant.live.run import control
from quant.live.run.deployment import Deployment, GateResult, Traded, live_folder, lock_path
from quant.live.run.lock_file import write

Make = Callable[..., Path]
GATES = (
    GateResult("paper", "look-ahead", "pass", "No look-ahead was found."),
    GateResult(
        "paper", "trades", "held", "12 trades are less than 30.", 30.0, 12.0, "a slow strategy [weekly]"
    ),
)


@pytest.fixture
def make(project: Path) -> Make:
    """Return a function that writes a lock file and returns the deployment's folder."""
    data = project / "data"

    def made(name: str, **values: Any) -> Path:
        facts: dict[str, Any] = dict(
            name=name, strategy="macd", class_name="MacdCross", params={}, sources={}, bar="1m",
            contracts=(Traded("SPY", 756733, "STK", "SMART", "USD"),), account="DU1234567", capital=100_000.0,
            history_start="2024-01-02",
        )  # fmt: skip
        write(Deployment(**{**facts, **values}), lock_path(data, name))
        folder = live_folder(data, name)
        folder.mkdir(parents=True)
        return folder

    return made


def parity(day: str, **values: Any) -> str:
    line = {
        "day": day,
        "decisions_diverged": 0,
        "unexplained": 0.0,
        "ok": True,
        "pnl_live": 1.0,
        "pnl_model": 2.0,
    }
    return json.dumps({**line, **values}) + "\n"


def listed(quant: Quant, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document(quant("deployments", *words, "--json"))["deployments"]
    return found


def test_mode_gates_and_parity_are_listed(make: Make, quant: Quant) -> None:
    paper = make("one", promoted="paper", run="20240101-000000-macd_cross-00000000", gates=GATES)
    make(
        "two",
        account="U7654321",
        promoted="live",
        gates=(*GATES, GateResult("live", "sessions", "pass", "Enough.")),
    )
    make("zero")
    # Of a day that was compared twice the later line counts, and lines may come in any order.
    days = [
        ("2024-05-15", {"ok": True}),
        ("2024-05-14", {}),
        ("2024-05-15", {"ok": False, "decisions_diverged": 2}),
    ]
    (paper / "parity.jsonl").write_text("".join(parity(day, **values) for day, values in days))
    one, two, zero = listed(quant)
    assert (one["mode"], two["mode"]) == ("paper", "live")
    assert (one["account"], one["promoted"], one["state"]) == ("DU1234567", "paper", "not running")
    assert [(g["name"], g["outcome"], g["override"]) for g in one["gates"]] == [
        ("look-ahead", "pass", ""), ("trades", "held", "a slow strategy [weekly]"),
    ]  # fmt: skip
    assert (one["parity"]["day"], one["parity"]["decisions_diverged"]) == ("2024-05-15", 2)
    assert (zero["gates"], zero["parity"], zero["parity_error"], zero["promoted"]) == ([], None, None, None)
    text = quant("deployments").stdout
    assert "1 of 2, 1 overridden" in text
    assert "1 of 1 " in text  # of the step to live, those of the step to paper left out
    assert "2024-05-15 not ok" in text


def test_one_by_name_shows_each_gate_and_why_it_was_overridden(make: Make, quant: Quant) -> None:
    make("one", promoted="paper", gates=GATES)
    make("two")
    text = quant("deployments", "one").stdout
    assert (
        "  paper  held     trades: 12 trades are less than 30. (overridden: a slow strategy [weekly])" in text
    )
    assert "two" not in text
    assert [d["name"] for d in listed(quant, "one")] == ["one"]
    assert "begun without gates" in quant("deployments", "two").stdout
    gone = quant("deployments", "three")
    assert (gone.exit_code, "no such deployment; there are one, two" in gone.stderr) == (3, True)


@pytest.mark.parametrize("text", ["{", "[]\n", '{"ok": true}\n', "3\n", "\xff"])
def test_a_damaged_record_is_said_and_stops_nothing(text: str, make: Make, quant: Quant) -> None:
    (make("one") / "parity.jsonl").write_text(parity("2024-05-15") + text, encoding="latin-1")
    found = listed(quant)[0]
    assert found["parity"] is None
    assert "parity.jsonl cannot be read" in found["parity_error"]
    assert quant("deployments").exit_code == 0


def test_a_lock_that_cannot_be_read_stands_in_the_list(make: Make, quant: Quant, project: Path) -> None:
    make("one")
    make("two")
    lock_path(project / "data", "one").write_text("schema = 99\n")
    one, two = listed(quant)
    assert "schema" in one["error"]
    assert (one["mode"], two["error"]) == (None, None)


def test_no_deployment_says_how_to_begin_one(project: Path, quant: Quant) -> None:
    assert "quant paper macd SPY --bar 1m" in quant("deployments").stdout


def test_how_one_ended_is_told_of_one_and_leaves_the_table_narrow(make: Make, quant: Quant) -> None:
    words = "a strategy that raised, which takes many words to tell"
    control.put(make("one") / control.STATUS, {"ended": words})
    assert words not in quant("deployments").stdout
    assert f"  not running; ended: {words}" in quant("deployments", "one").stdout.splitlines()
    assert listed(quant)[0]["state"] == f"not running; ended: {words}"


def test_stop_of_one_that_waits_for_tws_and_gives_up_does_not_claim_to_have_ended_it(
    make: Make, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = FileLock(make("one") / f"{control.JOURNAL}.lock", is_singleton=False)
    held.acquire()
    monkeypatch.setattr("quant.app.live_control._told", lambda *_: held.release())
    found = quant("stop", "one")
    assert (found.exit_code, found.stdout) == (0, "one: it has ended by itself\n")
