"""quant sweep, sweeps and walkforward: the same as the Python API, settings, what is kept, and what is refused."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
from calling import Quant, document
from click.testing import Result
from simulation import free_port

import quant as q
from quant.app import config, doctor
from quant.errors import ParityError
from quant.kernel import compiling

# Folders whose names are functions too, so that a dotted path does not lead into them.
running = importlib.import_module("quant.research.sweep")
parity = importlib.import_module("quant.backtest.parity")

SWEEP = ("sweep", "macd", "SPY", "-g", "fast=5:15:5", "-g", "slow=20,30")
GRID = {"fast": [5, 10, 15], "slow": [20, 30]}
PLAIN = """
import backtrader as bt

class Holder(bt.Strategy):
    params = dict(size=1)

    def next(self):
        if not self.position:
            self.buy(size=self.p.size)
"""


def spy(project: Path) -> q.Bars:
    return q.bars("SPY", "1d", data=project / "data")


def folders(project: Path) -> list[Path]:
    return sorted(f for f in (project / "data" / "sweeps").glob("*") if f.is_dir())


def only(project: Path) -> Path:
    (folder,) = folders(project)
    return folder


# ---------------------------------------------------------------- sweep
def test_command_equals_the_python_api(project: Path, quant: Quant) -> None:
    said = document(quant(*SWEEP, "--no-save", "--verify", "0", "--rows", "99", "--json"))
    made = q.sweep("macd", spy(project), GRID, save=False, verify=0)
    wanted = made.top("sharpe", 99)
    assert [r["row"] for r in said["rows"]] == wanted.index.tolist()
    for name in ("fast", "slow", "sharpe", "total_return", "final_value", "trades"):
        assert [r[name] for r in said["rows"]] == wanted[name].tolist()
    assert (said["combinations"], said["dropped"], said["failed"]) == (6, 0, 0)
    assert said["verdict"]["word"] == made.verdict().word
    assert said["verdict"]["deflated"] == made.verdict().deflated
    assert said["sweeps"][0]["sweep"] is None
    assert folders(project) == []


def test_sweep_is_shown_saved_and_the_next_commands_named(project: Path, quant: Quant) -> None:
    result = quant(*SWEEP)
    assert result.exit_code == 0, result.stderr
    name = only(project).name
    for line in (
        "1 · sample\n", "6 combinations of fast, slow", "run again by backtrader (fast engine), equal in ",
        "verdict: Luck", f"next: quant sweeps report {name}", f"quant sweeps run {name} --row best",
        f"quant promote {name} --row best --to paper",
    ):  # fmt: skip
        assert line in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 170


def test_again_it_is_the_same_sweep_and_not_computed(project: Path, quant: Quant) -> None:
    first = document(quant(*SWEEP, "--json"))
    second = document(quant(*SWEEP, "--json"))
    assert first["rows"] == second["rows"]
    assert first["verdict"]["trials"] == second["verdict"]["trials"] == 6  # the same trials count once
    assert "resumed" in [f["code"] for f in second["findings"]]
    only(project)


def test_report_and_run_of_a_row_come_with_it(project: Path, quant: Quant) -> None:
    said = document(quant(*SWEEP, "--report", "--save-run", "best", "--json"))
    assert Path(said["reports"][0]).read_text(encoding="utf-8").startswith("<!doctype html>")
    run = q.load_run(said["run"], project / "data")
    assert run.metrics["sharpe"] == said["rows"][0]["sharpe"]


def test_symbols_are_a_sweep_each_or_one_account(project: Path, quant: Quant) -> None:
    words = (
        "sweep",
        "macd",
        "SPY",
        "MSFT",
        "--from",
        "2017-06-01",
        "--to",
        "2018-06-01",
        "-g",
        "fast=5,10",
        "--json",
    )
    each = document(quant(*words, "--verify", "0", "--report"))
    assert [s["symbol"] for s in each["sweeps"]] == ["SPY", "MSFT"]
    assert {r["symbol"] for r in each["rows"]} == {"SPY", "MSFT"}
    assert len(each["reports"]) == len(folders(project)) == 2
    joint = document(quant(*words, "--verify", "0", "--joint", "--workers", "1", "--no-save"))
    assert joint["combinations"] == 2
    assert joint["settings"]["sizing"] == "percent:47.5"
    assert [b["name"] for b in joint["settings"]["bars"]] == ["SPY", "MSFT"]


def test_fixed_parameters_samples_and_account_arrive(project: Path, quant: Quant) -> None:
    words = (
        "-p", "short=true", "-p", "signal=7", "--samples", "3", "--seed", "5", "--cash", "5000",
        "--costs", "percent:0.1", "--sizing", "shares:3", "--slippage", "ticks:1", "--borrow", "0.02",
        "--start-rule", "next-change",
    )  # fmt: skip
    said = document(quant(*SWEEP, *words, "--verify", "0", "--no-save", "--rows", "9", "--json"))
    made = q.sweep(
        "macd", spy(project), {**GRID, "short": True, "signal": 7}, samples=3, seed=5, cash=5000.0, costs="percent:0.1",
        sizing="shares:3", slippage="ticks:1", borrow=0.02, start_rule="next-change", save=False, verify=0,
    )  # fmt: skip
    assert [r["final_value"] for r in said["rows"]] == made.top("sharpe", 9)["final_value"].tolist()
    assert said["combinations"] == 3
    assert {(r["short"], r["signal"]) for r in said["rows"]} == {(True, 7)}


def test_settings_of_the_project_hold_and_the_command_line_wins(project: Path, quant: Quant) -> None:
    toml = "[sweep]\nverify = '0'\nmetric = 'calmar'\nworkers = 1\n[backtest]\ncash = 1000\n[params.macd]\nsignal = 5\n"
    (project / "quant.toml").write_text(toml + "fast = 3\n", encoding="utf-8")
    said = document(quant(*SWEEP, "--no-save", "--json"))
    assert (said["metric"], said["verified"]["fast"], said["settings"]["cash"]) == ("calmar", 0, 1000.0)
    assert {r["signal"] for r in said["rows"]} == {5}
    assert {r["fast"] for r in said["rows"]} <= {5, 10, 15}  # what is swept is swept
    again = document(
        quant(*SWEEP, "--no-save", "--json", "--metric", "sqn", "--verify", "1", "--cash", "2000")
    )
    assert (again["metric"], again["verified"]["fast"], again["settings"]["cash"]) == ("sqn", 1, 2000.0)


def test_defaults_are_those_of_the_python_api() -> None:
    known = inspect.signature(q.sweep).parameters
    for key in config.KEYS:
        if key.section == "sweep":
            assert known[key.name].default == key.default, key.full


def test_plain_strategies_sweep_in_processes(project: Path, quant: Quant) -> None:
    (project / "strategies" / "holder.py").write_text(PLAIN, encoding="utf-8")
    said = document(
        quant("sweep", "holder", "SPY", "-g", "size=1:3", "--workers", "1", "--verify", "1", "--json")
    )
    assert said["settings"]["engine"] == "fast"
    assert [r["size"] for r in said["rows"]] == [3, 2, 1]


# ---------------------------------------------------------------- estimate, interruption, a row that differs
def test_estimate_says_what_it_takes_and_runs_nothing(project: Path, quant: Quant) -> None:
    said = document(quant(*SWEEP, "--estimate", "--json"))
    assert (said["combinations"], said["bars"], said["held"]) == (6, 502, 0)
    assert 0.0 < said["seconds"] < 60.0
    assert 6 * 502 * 8 < said["bytes"] < 10_000_000
    assert folders(project) == []
    assert quant(*SWEEP).exit_code == 0
    assert document(quant(*SWEEP, "--estimate", "--json"))["held"] == 6
    assert (
        "6 combinations over 502 bars, 6 of them held already: about 1 s"
        in quant(*SWEEP, "--estimate").stdout
    )


def test_a_long_sweep_is_announced(project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.research.estimate.rate_of", lambda plan: 2.0)
    result = quant(*SWEEP, "--workers", "1", "--verify", "0")
    assert result.stderr == "quant: 6 combinations over 502 bars: about 2 h and 3 MB\n".replace(
        "2 h", "1.7 h"
    )


def test_interrupt_keeps_what_was_done_and_says_how_to_go_on(
    project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "verified", interrupted)
        result = quant(*SWEEP)
    assert result.exit_code == 130
    assert "the same command again goes on from there" in result.stderr
    shown = quant("sweeps", "list").stdout
    assert "not finished" in shown
    assert quant("sweeps", "show", only(project).name).exit_code == 4
    said = document(quant(*SWEEP, "--json"))
    assert "resumed" in [f["code"] for f in said["findings"]]
    assert document(quant("sweeps", "list", "--json"))["sweeps"][0]["done"] is True


def test_a_row_that_backtrader_does_not_give_ends_with_3(
    project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*_: Any, **__: Any) -> None:
        raise ParityError("MacdCross", "fast=5", "order 3: price")

    monkeypatch.setattr(running, "verified", differs)
    result = quant(*SWEEP)
    assert result.exit_code == 3
    assert "Nothing of this sweep can be trusted" in result.stderr


def test_compiling_is_announced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    compiling._announce.cache_clear()
    compiling._announce()
    assert capsys.readouterr().err == ""  # the tests before have compiled it
    monkeypatch.setattr(compiling, "cache_folder", lambda: tmp_path)
    compiling._announce.cache_clear()
    compiling._announce()
    compiling._announce()
    assert capsys.readouterr() == ("", f"{compiling.NOTICE}\n")


# ---------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("mcd SPY -g fast=5", 3, "did you mean macd?"),
        ("macd SPX -g fast=5", 4, "Near names: SPY"),
        ("macd SPY", 2, "Missing option '-g'"),
        ("macd SPY SPY -g fast=5", 2, "SPY is given twice"),
        ("macd SPY -g fast", 2, "NAME=VALUE"),
        ("macd SPY -g fats=5", 3, "MacdCross has no such parameter; did you mean fast?"),
        ("macd SPY -g fast=5:1", 3, "holds nothing"),
        ("macd SPY -g fast=5,x", 3, "must be a number"),
        ("macd SPY -g fast=5 -g fast=6", 2, "fast is given twice"),
        ("macd SPY -g fast=5 -p fast=6", 2, "fast is given twice"),
        ("macd SPY -g fast=5 -p fats=6", 3, "did you mean fast?"),
        ("macd SPY -g fast=40:50", 3, "valid refuses"),
        ("macd SPY -g fast=5 --metric sharp", 3, "no such figure; did you mean sharpe?"),
        ("macd SPY -g fast=5 --verify some", 3, "is auto, or how many"),
        ("macd SPY -g fast=5 --engine warp", 3, "there is auto, compiled, fast, plain"),
        ("macd SPY -g fast=5 --engine warp --estimate", 3, "there is auto, compiled, fast, plain"),
        ("macd SPY -g fast=5 --workers 0", 3, "must be a whole number, 1 or more"),
        ("macd SPY -g fast=5 --workers 1.5", 3, "sweep.workers: must be a whole number"),
        ("macd SPY -g fast=5 --samples 0", 2, "--samples"),
        ("macd SPY -g fast=5 --search optuna", 2, "--search optuna needs --samples N"),
        ("macd SPY -g fast=5 --no-save --report", 2, "leave --no-save out"),
        ("macd SPY -g fast=5 --no-save --save-run best", 2, "leave --no-save out"),
        ("macd SPY -g fast=5 --save-run worst", 2, 'write a row\'s number or "best"'),
        ("macd SPY -g fast=5 --verify 0 --save-run 9", 3, "the table has rows 0 to 0"),
        ("macd SPY -g fast=5 --cluster here", 5, "cluster here: is no address of a scheduler"),
        ("macd SPY MSFT -g fast=5 --joint --engine compiled", 3, "engine = 'compiled'"),
        ("macd SPY -g fast=5 --costs free", 3, "known are none"),
        ("macd SPY -g fast=5 --cash 0", 3, "must be a number above 0"),
        ("opening_range SPY -g minutes=15", 3, "flat_before_close needs intraday bars"),
    ],
)
def test_bad_input(words: str, code: int, told: str, project: Path, quant: Quant) -> None:
    refused(quant("sweep", *words.split()), code, told)


def refused(result: Result, code: int, told: str) -> None:
    assert result.exit_code == code, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[sweep]\nmetric = 'sharp'\n", ":2: sweep.metric = 'sharp': no such figure"),
        ("[sweep]\nengine = 'warp'\n", ":2: sweep.engine = 'warp': there is auto"),
        ("[sweep]\nworkers = 0\n", ":2: sweep.workers = 0: must be a whole number"),
        ("[sweep]\nworkers = 1.5\n", ":2: sweep.workers: must be a whole number"),
        ("[sweep]\nverify = 'no'\n", ":2: sweep.verify = 'no': is auto"),
        ("[sweep]\nverify = 20\n", ":2: sweep.verify: must be text"),
        ("[backtest]\ncosts = 'free'\n", ":2: backtest.costs = 'free': unknown"),
    ],
)
def test_wrong_value_of_a_file_is_named_with_its_line(
    toml: str, told: str, project: Path, quant: Quant
) -> None:
    (project / "quant.toml").write_text(toml, encoding="utf-8")
    result = quant(*SWEEP)
    assert result.exit_code == 3
    assert f"error: {project / 'quant.toml'}{told}" in result.stderr


# ---------------------------------------------------------------- sweeps
def test_saved_sweeps_are_listed_shown_reported_run_and_removed(project: Path, quant: Quant) -> None:
    assert "quant sweep macd SPY -g" in quant("sweeps", "list").stdout  # how to make one
    made = document(quant(*SWEEP, "--json"))
    name = made["sweeps"][0]["sweep"]
    (row,) = document(quant("sweeps", "list", "--json"))["sweeps"]
    assert (row["sweep"], row["combinations"], row["sharpe"]) == (name, 6, made["rows"][0]["sharpe"])
    assert name in quant("sweeps", "list").stdout

    assert document(quant("sweeps", "show", name, "--rows", "2", "--json"))["rows"] == made["rows"][:2]
    by = document(quant("sweeps", "show", "macd", "--by", "commission", "--json"))["rows"]
    assert [r["commission"] for r in by] == sorted(r["commission"] for r in by)
    assert len(document(quant("sweeps", "show", name, "--all", "--json"))["rows"]) == 6
    assert "verdict: Luck" in quant("sweeps", "show", name, "--all").stdout

    assert quant("sweeps", "report", name).stdout == f"written data/sweeps/{name}/report.html\n"
    quant("sweeps", "report", name, "--to", project / "x.html")
    assert (project / "x.html").is_file()

    run = document(quant("sweeps", "run", name, "--row", "3", "--json"))
    assert run["params"] == {"fast": 10, "slow": 30, "signal": 9, "short": False}
    assert "next: quant runs show" in quant("sweeps", "run", name).stdout
    assert len(document(quant("runs", "list", "--json"))["runs"]) == 2

    assert quant("sweeps", "remove", name).exit_code == 2  # nobody can be asked
    assert quant("sweeps", "remove", name, "--yes").stdout == f"removed {name}\n"
    assert folders(project) == []
    assert document(quant(*SWEEP[:-1], "slow=40", "--json"))["verdict"]["trials"] == 9  # counted all the same


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("show nothing", 4, "no sweep nothing in"),
        ("report nothing", 4, "quant sweeps list"),
        ("run nothing", 4, "quant sweeps list"),
        ("remove nothing --yes", 4, "quant sweeps list"),
        ("run macd --row 6", 3, "the table has rows 0 to 5"),
        ("run macd --row last", 2, "write a row's number"),
        ("show macd --by nothing", 3, "no such figure"),
        ("remove macd nothing --yes", 4, "no sweep nothing"),
    ],
)
def test_bad_input_of_sweeps(words: str, code: int, told: str, project: Path, quant: Quant) -> None:
    quant(*SWEEP, "--verify", "0")
    refused(quant("sweeps", *words.split()), code, told)
    only(project)  # nothing was removed


def test_a_strategy_that_changed_is_not_run(project: Path, quant: Quant) -> None:
    quant(*SWEEP, "--verify", "0")
    file = project / "strategies" / "macd.py"
    file.write_text(file.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    result = quant("sweeps", "run", "macd")
    assert result.exit_code == 3
    assert "has changed since the sweep (strategies.macd)" in result.stderr


# ---------------------------------------------------------------- walkforward
WALK = (
    "walkforward",
    "macd",
    "SPY",
    "-g",
    "fast=5,10",
    "-g",
    "slow=20,30",
    "--train",
    "200",
    "--test",
    "100",
)


def test_walk_forward_equals_the_python_api(project: Path, quant: Quant) -> None:
    from quant.research.walk_forward.walk_forward import walk_forward

    said = document(quant(*WALK, "--embargo", "5", "--anchored", "--no-save", "--json"))
    grid = {"fast": [5, 10], "slow": [20, 30]}
    made = walk_forward(
        "macd", [spy(project)], grid, train=200, test=100, embargo=5, anchored=True, save=False
    )
    assert said["metrics"]["final_value"] == made.metrics["final_value"]
    assert [w["fast"] for w in said["windows"]] == made.windows["fast"].tolist()
    assert said["verdict"]["word"] == made.verdict.word
    assert not (project / "data" / "sweeps").exists()


def test_walk_forward_is_shown_and_has_a_page(project: Path, quant: Quant) -> None:
    result = quant(*WALK, "--report")
    assert result.exit_code == 0, result.stderr
    assert "out of sample" in result.stdout
    assert (only(project) / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("--train 0 --test 100", 3, "train = 0"),
        ("--train 2000 --test 100", 3, "the bars are too few"),
        ("--train long --test 100", 3, "train = 'long'"),
        ("--train 200", 2, "Missing option '--test'"),
        ("--train 200 --test 100 --embargo -1", 3, "embargo = -1"),
        ("--train 200 --test 100 --metric sharp", 3, "did you mean sharpe?"),
        ("--train 200 --test 100 --no-save --report", 2, "leave --no-save out"),
    ],
)
def test_bad_input_of_walk_forward(words: str, code: int, told: str, project: Path, quant: Quant) -> None:
    refused(quant("walkforward", "macd", "SPY", "-g", "fast=5,10", *words.split()), code, told)


# ---------------------------------------------------------------- doctor
def test_doctor_tells_of_the_engine(
    project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()  # no TWS that may run on this machine is asked

    def line(name: str) -> dict[str, str]:
        return next(
            c for c in document(quant("doctor", "--port", port, "--json"))["checks"] if c["name"] == name
        )

    assert line("compiled engine")["message"].startswith("equals backtrader here in 20 runs; in ")
    monkeypatch.setattr(parity, "difference_here", lambda: "case 3: order 1")
    found = line("compiled engine")
    assert (found["status"], found["message"][-15:]) == ("warn", "case 3: order 1")
    monkeypatch.setattr(compiling, "is_compiled", lambda: False)
    assert line("compiled engine")["message"].startswith("not compiled yet: the first sweep does it")
    monkeypatch.setattr(doctor, "EXTRAS", {"no-such-package": ("cluster", "sweeps on several machines")})
    assert 'pip install "quant-ib[cluster]" gives sweeps' in line("no-such-package")["message"]
