"""From paper to real money: the record beside the tape, halts, limits, accounts; nothing gets there by accident."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promoted import RULE, locks, paper, sentence

from quant.backtest.folder import prunable
from quant.backtest.source import hashes
from quant.errors import ConfigError, DamagedData, JournalMismatch, ParameterError
from quant.live.run import control, tape
from quant.live.run.deployment import Deployment, check_live, check_sealed, live_folder, lock_path
from quant.live.run.lock_file import read, write
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Stop
from quant.promotion.gates import Promotion, Thresholds, to_live
from quant.promotion.gates.sessions import RECORD, sessions
from quant.strategy import strategy

LINE = {"decisions": 4, "unexplained": 0.0, "not_running_s": 0.0, "orders": 4, "missed": 0}
SAID = {"max_notional": 2e4, "max_gross": 2e4, "daily_loss": 0.01}


@pytest.fixture
def on_paper(data: Path, good: None) -> Deployment:
    """A deployment that has run on paper."""
    found = paper(data, account="DU1234567").deployment
    with opened(data, found, create=True):
        pass
    return found


def test_a_run_that_a_lock_names_is_not_pruned(data: Path, on_paper: Deployment) -> None:
    assert on_paper.run not in [folder.name for folder in prunable(data, 0)]


def opened(data: Path, deployment: Deployment, *, create: bool = False) -> Journal:
    path = live_folder(data, deployment.name) / control.JOURNAL
    path.parent.mkdir(parents=True, exist_ok=True)
    return Journal.open(
        path, deployment=deployment.name, account=deployment.account, strategy_hash=deployment.digest, create=create,
    )  # fmt: skip


def compared(data: Path, *days: tuple[str, bool]) -> None:
    """Write a record of sessions that were compared the evening after, and a tape of each."""
    rows = [LINE | {"day": day, "decisions_diverged": int(not ok), "ok": ok} | ends(day) for day, ok in days]
    folder = live_folder(data, "cross-spy-1d")
    (folder / RECORD).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    for day, _ in days:
        taped(folder, day)


def ends(day: str) -> dict[str, str]:
    return {"session_end": f"{day}T20:00:00", "compared_at": f"{day}T20:00:00"}


def taped(folder: Path, day: str, *, live: bool = True, came: str = "20:00:01") -> None:
    """Write the tape of a day with one bar."""
    start, end, at = (
        int(np.datetime64(f"{day}T{t}", "ns").astype(np.int64)) for t in ("00:00", "20:00", came)
    )
    bar = tape.BarLine("SPY", start, end, 1.0, 1.0, 1.0, 1.0, 1.0, at, live)
    path = folder / tape.FOLDER / f"{day}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"kind": "bar", **asdict(bar)}) + "\n")


def live(data: Path, **changes: Any) -> Promotion:
    given: dict[str, Any] = {"limits": SAID, "thresholds": Thresholds(sessions=2), **changes}
    return to_live("cross-spy-1d", data, given.pop("account", "U7654321"), **given)


def test_real_money_after_enough_sessions(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True))
    assert live(data).held == ("parity",)
    assert locks(data) == ["cross-spy-1d.lock.toml"]
    compared(data, ("2024-05-13", False), ("2024-05-14", True), ("2024-05-15", True))
    found = live(data, capital=20_000.0)
    assert found.lock == lock_path(data, "cross-spy-1d-live")
    lock = read(found.lock)
    assert (lock.account, lock.promoted, lock.capital) == ("U7654321", "live", 20_000.0)
    assert lock.limits == SAID
    assert [g.name for g in lock.gates if g.stage == "live"] == ["evidence", "parity", "halt", "limits"]
    assert len(lock.gates) == 4 + len(on_paper.gates)
    check_live(lock, found.lock)
    with pytest.raises(ConfigError, match="was not promoted"):
        check_live(replace(read(lock_path(data, "cross-spy-1d")), limits=SAID), found.lock)
    # Nothing of paper is a journal of real money.
    assert live_folder(data, lock.name) != live_folder(data, on_paper.name)
    with pytest.raises(JournalMismatch):
        opened(data, replace(lock, name=on_paper.name))
    with pytest.raises(ConfigError, match="is no paper account"):
        to_live(lock.name, data, "U7654321", limits=SAID)
    with pytest.raises(ConfigError, match="there is such a deployment already"):
        live(data)


def test_a_session_that_was_not_over_does_not_count_until_it_is_compared_again(
    data: Path, on_paper: Deployment
) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    path = live_folder(data, on_paper.name) / RECORD
    text = path.read_text()
    path.write_text(
        text.replace('"compared_at": "2024-05-15T20:00:00"', '"compared_at": "2024-05-15T19:59:59"')
    )
    assert "2024-05-15 was traded and not compared since it ended" in sentence(live(data), "parity")
    with opened(data, on_paper):  # while the session lasts it is no fault that it was not compared
        picture = {"halted": "", "reducing": "", "feeds": [], "time": "2024-05-15 19:59:59 UTC"}
        control.put(live_folder(data, on_paper.name) / control.STATUS, picture)
        found = live(data)
        assert sentence(found, "parity") == (
            "1 session with parity one after the other, 2 are asked for; not counted: 2024-05-15 (it was not over when "
            "it was compared)"
        )
        assert live(data, thresholds=Thresholds(sessions=1)).ok
    path.write_text(text)
    assert live(data, name="later").ok


def test_a_line_of_an_earlier_release_does_not_count(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    path = live_folder(data, on_paper.name) / RECORD
    path.write_text(
        "".join(line.partition(', "session_end"')[0] + "}\n" for line in path.read_text().splitlines())
    )
    assert "its record does not say that it was over" in sentence(live(data), "parity")
    assert locks(data) == ["cross-spy-1d.lock.toml"]


def test_a_day_that_was_traded_and_never_compared_holds(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    folder = live_folder(data, on_paper.name)
    taped(folder, "2024-05-13")  # before the record began
    taped(folder, "2024-05-16", live=False)  # bars that a later start wrote down: nothing ran
    assert live(data, name="early").ok
    taped(folder, "2024-05-16", live=False, came="19:59:59")  # delayed bars
    assert "quant parity cross-spy-1d --day 2024-05-16" in sentence(live(data), "parity")
    taped(folder, "2024-05-16")
    assert live(data).held == ("parity",)
    assert locks(data) == ["cross-spy-1d.lock.toml", "early.lock.toml"]


def test_a_line_of_a_day_that_no_tape_has_does_not_count(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    (live_folder(data, on_paper.name) / tape.FOLDER / "2024-05-15.jsonl").unlink()
    assert "2024-05-15 (no tape shows that it was traded)" in sentence(live(data), "parity")
    taped(live_folder(data, on_paper.name), "2024-05-15", live=False)
    assert live(data).held == ("parity",)


def test_a_disaster_stop_goes_along_and_may_be_changed(data: Path, good: None) -> None:
    with pytest.raises(ParameterError, match="percentage"):
        paper(data, disaster_stop=120.0)
    found = paper(data, disaster_stop=20.0)
    path = lock_path(data, found.deployment.name)
    assert (found.ok, read(path).disaster_stop) == (True, 20.0)
    path.write_text(path.read_text().replace("disaster_stop = 20.0", "disaster_stop = 15.0"))
    check_sealed(read(path), path)
    assert live(data).deployment.disaster_stop == 15.0
    assert live(data, disaster_stop=10.0).deployment.disaster_stop == 10.0


def test_an_open_halt_and_unsaid_limits_hold(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    with opened(data, on_paper) as journal:
        journal.halt("a loss", 1, Stop.REDUCE)
    found = live(data, limits={"max_gross": 1.0})
    assert found.held == ("halt", "limits")
    assert "a loss" in sentence(found, "halt")
    with opened(data, on_paper) as journal:
        journal.clear_halt("me", "seen", 2, Stop.REDUCE)
    assert live(data).ok


def test_a_runner_that_runs_is_asked_by_its_picture(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    folder = live_folder(data, on_paper.name)
    with opened(data, on_paper):
        control.put(folder / control.STATUS, {"halted": "by hand", "reducing": ""})
        assert "by hand" in sentence(live(data), "halt")
        control.put(folder / control.STATUS, {"halted": "", "reducing": ""})
        assert live(data).ok


def test_a_halt_of_one_instrument_holds_also_while_it_runs(data: Path, on_paper: Deployment) -> None:
    compared(data, ("2024-05-14", True), ("2024-05-15", True))
    told = "SPY: the broker holds 0, ours are 305"
    with opened(data, on_paper) as journal:
        journal.halt(told, 1, Stop.INSTRUMENT, con_id=756733)
        assert "the broker holds 0" in sentence(live(data), "halt"), "of the journal, without a picture"
    found = live(data)
    assert (found.held, locks(data)) == (("halt",), ["cross-spy-1d.lock.toml"])
    assert told in sentence(found, "halt")
    with opened(data, on_paper) as journal:
        journal.clear_halt("me", "seen", 2, Stop.INSTRUMENT)
        # The picture may know of one that the journal could not take.
        picture = {"halted": "", "reducing": "", "feeds": [{"symbol": "SPY", "halted": told}]}
        control.put(live_folder(data, on_paper.name) / control.STATUS, picture)
        assert told in sentence(live(data), "halt")
    assert live(data).ok, "nobody runs it: the picture is old"


def test_what_never_ran_or_was_never_promoted_does_not_reach_real_money(data: Path, good: None) -> None:
    found = paper(data)
    assert live(data).held == ("parity", "halt")
    assert found.lock is not None
    write(
        replace(found.deployment, promoted="", run="", history=(), gates=()), found.lock
    )  # as `quant paper` does
    assert live(data).held == ("evidence", "parity", "halt")


def test_gates_of_a_lock_that_hides_its_promotion_prove_nothing(data: Path, on_paper: Deployment) -> None:
    path = lock_path(data, on_paper.name)
    text = path.read_text()
    path.write_text(text.replace('promoted = "paper"\n', "").replace('"held"', '"pass"'))
    with pytest.raises(ConfigError, match="a line was edited, added or taken out"):
        live(data)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("capital = 100000.0", "capital = 200000.0", "was edited"),
        ("schema = 2", "schema = 1", "this version of quant reads 2"),
        ('strategy = "cross"', 'strategy = "gone"', "was edited"),
        ('numpy = "', 'numpy = "0', "was edited"),
    ],
)
def test_a_deployment_that_changed_is_not_promoted(
    data: Path, on_paper: Deployment, old: str, new: str, told: str
) -> None:
    path = lock_path(data, on_paper.name)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=told):
        live(data)
    assert locks(data) == [path.name]


def test_a_strategy_that_changed_on_paper_is_not_promoted(data: Path, on_paper: Deployment) -> None:
    (data.parent / "strategies" / "rule.py").write_text(RULE + "# better\n")
    assert hashes(strategy("cross")) != on_paper.sources
    with pytest.raises(ConfigError, match=r"sources.strategies.rule: the file has changed"):
        live(data)


@pytest.mark.parametrize("account", ["DU1234567", "DF1", "u1234567", "", "U12-4", "U"])
def test_an_account_that_is_none_of_real_money(account: str, data: Path, on_paper: Deployment) -> None:
    with pytest.raises(ParameterError, match="account"):
        live(data, account=account)


# ---------------------------------------------------------------- the record of sessions
def test_of_a_day_the_last_line_counts_and_each_word_must_say_so(tmp_path: Path) -> None:
    assert sessions(tmp_path) == ()
    good: dict[str, Any] = {"day": "2024-05-14", "decisions_diverged": 0, "unexplained": -0.004, "ok": True}
    rows = [
        good | {"ok": False}, good, good | {"day": "2024-05-13", "decisions_diverged": 1},
        good | {"day": "2024-05-10", "unexplained": 0.01}, good | {"day": "2024-05-09", "ok": 1},
    ]  # fmt: skip
    (tmp_path / RECORD).write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    assert [(s.day, s.ok) for s in sessions(tmp_path)] == [
        ("2024-05-09", False), ("2024-05-10", False), ("2024-05-13", False), ("2024-05-14", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "{}", '{"day": "2024-05-14", "ok": true}', '{"unexplained": "x"}',
        '{"day": "14 May", "decisions_diverged": 0, "unexplained": 0.0, "ok": true}',
        '{"day": "2024-05-14", "decisions_diverged": 0, "unexplained": 0, "ok": 1, "session_end": 1, "compared_at": 2}',
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_no_parity(line: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(line + "\n")
    with pytest.raises(DamagedData, match="line 1"):
        sessions(tmp_path)
