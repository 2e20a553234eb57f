"""What is wrong with a name or a lock file is said before anything connects, with what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calling import Quant, document
from click.testing import Result

from quant.app import live_control
from quant.errors import SafetyStop
from quant.live.run import control
from quant.live.run.deployment import Deployment, Traded, code_of, live_folder, lock_path
from quant.live.run.job import Job
from quant.live.run.lock_file import read, write
from quant.oms.journal.journal import Journal
from quant.oms.journal.reading import read_ledger
from quant.strategy import parameters, strategy

NAME = "macd-spy-1m"


@pytest.fixture
def lock(project: Path) -> Path:
    """The lock file of a deployment that was begun without gates."""
    cls = strategy("macd")
    made = Deployment(
        name=NAME, strategy="macd", class_name="MacdCross", params=parameters(cls, {}), sources=code_of(cls),
        bar="1m", contracts=(Traded("SPY", 756733, "STK", "SMART", "USD"),), account="DU1234567", capital=1e5,
        history_start="2024-01-02",
    )  # fmt: skip
    write(made, lock_path(project / "data", NAME))
    return lock_path(project / "data", NAME)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def alone(quant: Quant) -> Callable[..., Result]:
    """Call `quant` where no TWS is: what connects ends with 5."""
    return lambda *words: quant(*words, "--port", "1")


Alone = Callable[..., Result]


def refused(done: Result, *told: str) -> None:
    assert done.exit_code == 3, done.stderr
    assert all(words in done.stderr for words in told), done.stderr


def test_a_deployment_that_is_not_there(lock: Path, alone: Alone, quant: Quant) -> None:
    real = alone("live", "nosuch", "--account", "U1")
    refused(real, "there are macd-spy-1m", "quant promote DEPLOYMENT --to live")
    assert "quant paper" not in real.stderr
    refused(alone("live", "macd-spy-1", "--account", "U1"), "did you mean macd-spy-1m?")
    refused(alone("paper", "macd"), "macd is a strategy", "quant paper macd SYMBOL --bar 1m")
    refused(alone("paper", "nosuch"), "quant paper STRATEGY SYMBOL --bar 1m")
    refused(alone("paper", "gone.lock.toml"), "no such deployment")
    refused(alone("parity", "nosuch"), "no such deployment")
    refused(quant("halt", "macd-spy-1"), "did you mean macd-spy-1m?")
    refused(quant("deployments", f"{NAME}.shadow"), f"it has no shadow yet: quant paper {NAME} --shadow")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('costs = "ib-fixed"', 'costs = "nix"', "costs: 'nix': unknown; known are none, percent:0.05"),
        ("rth = true", "rht = true", "rht: a lock file has no such key. Did you mean rth?"),
        ("capital = 100000.0", "capital = 1.0", "seal: a line was edited"),
    ],
)
def test_a_lock_is_looked_at_whole_before_it_connects(
    lock: Path, alone: Alone, quant: Quant, old: str, new: str, told: str
) -> None:
    edit(lock, old, new)
    for words in (["paper", NAME], ["live", NAME, "--shadow", "--account", "U1"]):
        refused(alone(*words), str(lock), told)
    (listed,) = document(quant("deployments", "--json"))["deployments"]
    assert told in listed["error"]
    assert told in " ".join(quant("deployments").stdout.split())
    assert not live_folder(lock.parents[1], NAME).exists()


def test_a_strategy_that_is_gone_is_named_with_its_lock(lock: Path, alone: Alone, project: Path) -> None:
    (project / "strategies" / "macd.py").unlink()
    refused(alone("paper", NAME), str(lock), "strategy: macd: not in", f"--name {NAME}-2")


PLAIN = "import backtrader as bt\n\n\nclass Own(bt.Strategy):\n    pass\n"


def test_parity_refuses_a_plain_strategy_before_it_connects(lock: Path, alone: Alone, project: Path) -> None:
    (project / "strategies" / "own.py").write_text(PLAIN)
    cls = strategy("own")
    known = replace(read(lock), name="own", strategy="own", class_name="Own", params={}, sources=code_of(cls))
    write(known, lock.with_name("own.lock.toml"))
    refused(alone("parity", "own"), "strategy = 'Own': is a plain bt.Strategy", "docs/parity.md")


@pytest.mark.parametrize(
    ("positions", "said", "words", "told"),
    [
        ("baseline", "SPY=431.2", (), "the lock file says positions = baseline"),
        ("adopt", "SPY=431.2", ("--shadow",), "a shadow adopts nothing"),
        ("adopt", "QQQ=431.2", (), "adopt-price QQQ = '431.2': is not traded here; SPY is"),
        ("adopt", "SPY=dear", (), "must be a price"),
        ("flatten", "SPY=nan", (), "must be a price"),
        ("adopt", "SPY=-431.2", (), "must be a price"),
        ("adopt", "SPY", (), "must be a price, a number as in --adopt-price SPY=431.20"),
    ],
)
def test_a_price_of_what_is_adopted_that_cannot_be(
    lock: Path, alone: Alone, positions: str, said: str, words: tuple[str, ...], told: str
) -> None:
    edit(lock, 'positions = "baseline"', f'positions = "{positions}"')
    refused(alone("paper", NAME, "--adopt-price", said, *words), told)


@pytest.mark.parametrize("words", [["paper", NAME], ["paper", "macd", "SPY"]])
def test_a_price_of_what_is_adopted_reaches_the_run(
    lock: Path, alone: Alone, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(lock, 'positions = "baseline"', 'positions = "adopt"')
    jobs: list[Job] = []

    def run(job: Job, *args: object, **kwargs: object) -> None:
        jobs.append(job)
        raise SafetyStop("so far")

    monkeypatch.setattr("quant.live.run.runner.run", run)
    assert alone(*words, "--adopt-price", "SPY=431.2").exit_code == 6
    assert jobs[0].adopt_prices == ((756733, 431.2),)


def test_a_date_that_is_none_is_said_before_it_connects(project: Path, alone: Alone) -> None:
    refused(alone("paper", "macd", "SPY", "--from", "soon"), "--from = 'soon': write a date")


def test_a_runner_is_stopped_whatever_became_of_its_lock(
    lock: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = live_folder(lock.parents[1], NAME)
    folder.mkdir(parents=True)
    monkeypatch.setattr(live_control, "ANSWER_S", 0.0)

    def answered(folder: Path, key: str) -> str:
        return "it stops"

    monkeypatch.setattr(control, "answered", answered)
    with Journal.open(
        folder / control.JOURNAL, deployment=NAME, account="DU1234567", strategy_hash="x", create=True
    ):
        for spoil in (lambda: lock.write_text("schema = 99\n"), lock.unlink):
            spoil()
            for word in ("stop", "halt", "flatten"):
                done = quant(word, NAME, *(["--yes"] if word == "flatten" else []))
                assert (done.exit_code, done.stdout) == (0, f"{NAME}: it stops\n"), done.stderr


def test_a_halt_is_journalled_whatever_the_lock_says_of_the_strategy(lock: Path, quant: Quant) -> None:
    folder = live_folder(lock.parents[1], NAME)
    digest = read(lock).digest
    folder.mkdir(parents=True)
    with Journal.open(
        folder / control.JOURNAL, deployment=NAME, account="DU1234567", strategy_hash=digest, create=True
    ):
        control.announce(folder, control.Running(0, "127.0.0.1", 1, 1, "DU1234567"))
    edit(lock, "fast = 12", "fast = 13")
    done = quant("halt", NAME)
    assert (done.exit_code, "halt is in the journal" in done.stderr) == (5, True), done.stderr
    halted = read_ledger(folder / control.JOURNAL, NAME).halted
    assert halted is not None
    assert "asked for halt" in halted.reason


def test_a_shadow_that_ran_is_listed(lock: Path, quant: Quant) -> None:
    data = lock.parents[1]
    folder = live_folder(data, f"{NAME}.shadow")
    control.put(
        folder / control.RUNNER, {"pid": 0, "host": "h", "port": 1, "client_id": 1, "account": "U7654321"}
    )
    (folder / "parity.jsonl").write_text('{"day": "2024-05-15", "ok": true}\n')
    found: list[dict[str, Any]] = document(quant("deployments", "--json"))["deployments"]
    assert [(d["name"], d["mode"], d["account"]) for d in found] == [
        (NAME, "paper", "DU1234567"), (f"{NAME}.shadow", "shadow", "U7654321"),
    ]  # fmt: skip
    assert (found[0]["parity"], found[1]["parity"]["day"]) == (None, "2024-05-15")
    one = document(quant("deployments", f"{NAME}.shadow", "--json"))["deployments"]
    assert one == found[1:]


def test_what_is_no_run_says_what_it_is_and_what_is_near(lock: Path, quant: Quant) -> None:
    def promoted(name: str) -> str:
        done = quant("promote", name, "--to", "paper")
        assert done.exit_code == 4, done.stderr
        return " ".join(done.stderr.split())

    assert "macd is a strategy; backtest it, and promote that run: quant backtest macd" in promoted("macd")
    assert f"{NAME} is a deployment; to real money: quant promote {NAME} --to live" in promoted(NAME)
    run = Path(str(document(quant("backtest", "rsi", "SPY", "--json"))["run"])).name
    told = promoted("rsi_revrsion")
    assert "no run or sweep rsi_revrsion" in told
    assert f"did you mean {run}?" in told
    assert f"did you mean {run}?" in quant("runs", "show", "rsi_revrsion").stderr
