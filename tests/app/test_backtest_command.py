"""quant backtest: the same run as q.backtest, settings by precedence, parameters, and what is refused."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from calling import Quant, document

import quant as q
from quant.app.backtest import parse
from quant.errors import ParameterError

CHEAT = """
import quant as q

class Cheat(q.Strategy):
    @staticmethod
    def signals(bars, p):
        return bars.close < bars.close.mean()
"""


def test_name_of_the_function_outlives_the_import_of_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(q, "backtest", importlib.import_module("quant.backtest"))  # as Python itself does
    assert callable(q.backtest)


def test_command_equals_the_python_api(project: Path, quant: Quant) -> None:
    words = (
        "backtest",
        "macd",
        "SPY",
        "-p",
        "fast=10",
        "--from",
        "2017-06-01",
        "--to",
        "2018-06-01",
        "--no-save",
    )
    said = document(quant(*words, "--json"))
    run = q.backtest("macd", q.bars("SPY", "1d", "2017-06-01", "2018-06-01"), params={"fast": 10}, save=False)
    assert said["metrics"] == run.metrics
    assert said["params"] == run.settings["params"]
    assert (said["run"], said["folder"]) == (None, None)
    assert not (project / "data" / "runs").exists()
    assert quant(*words).stdout == f"{run}\n"


def test_run_is_saved_and_the_next_command_named(project: Path, quant: Quant) -> None:
    result = quant("backtest", "macd", "SPY", "--trades", "--orders")
    assert result.exit_code == 0
    (folder,) = (project / "data" / "runs").iterdir()
    assert f"next: quant runs show {folder.name} --trades" in result.stdout
    assert "trades (last 10 of 19; times in UTC)" in result.stdout
    assert "orders (last 10 of 38; times in UTC)" in result.stdout


def test_two_symbols_share_one_account(project: Path, quant: Quant) -> None:
    said = document(quant("backtest", "macd", "SPY", "MSFT", "--from", "2017-01-01", "--no-save", "--json"))
    assert [b["name"] for b in said["bars"]] == ["SPY", "MSFT"]
    assert said["sizing"] == "percent:47.5"


def test_rows_of_tables_are_in_the_document(project: Path, quant: Quant) -> None:
    said = document(quant("backtest", "macd", "SPY", "--no-save", "--trades", "--json"))
    assert len(said["trades"]) == said["metrics"]["trades"] == 19
    assert said["trades"][0]["entry_time"].endswith("+00:00")
    assert "orders" not in said


def test_precedence(project: Path, quant: Quant) -> None:
    def said(*words: str, **env: str) -> tuple[float, int, str]:
        found = document(quant("backtest", "macd", "SPY", "--no-save", "--json", *words, env=env))
        return found["cash"], found["params"]["fast"], found["costs"]

    assert said() == (100_000.0, 12, "ib-fixed")
    toml = "[backtest]\ncash = 1000\ncosts = 'none'\n[params.macd]\nfast = 5\n"
    (project / "quant.toml").write_text(toml, encoding="utf-8")
    assert said() == (1000.0, 5, "none")
    (project / "quant.local.toml").write_text(
        "[backtest]\ncash = 2000\n[params.macd]\nfast = 6\n", encoding="utf-8"
    )
    assert said() == (2000.0, 6, "none")
    env = {"QUANT__BACKTEST__CASH": "3000", "QUANT__PARAMS__MACD__FAST": "7"}
    assert said(**env) == (3000.0, 7, "none")
    assert said("--cash", "4000", "-p", "fast=8", "--costs", "percent:0.1", **env) == (
        4000.0,
        8,
        "percent:0.1",
    )


def test_every_setting_arrives(project: Path, quant: Quant) -> None:
    words = (
        "--sizing", "shares:10", "--slippage", "percent:0.1", "--borrow", "0.02", "--engine", "plain",
        "--start-rule", "next-change", "-p", "short=true",
    )  # fmt: skip
    said = document(quant("backtest", "macd", "SPY", "--no-save", "--json", *words))
    wanted = {
        "sizing": "shares:10.0", "slippage": "percent:0.1", "borrow": 0.02, "engine": "plain",
        "start_rule": "next-change",
    }  # fmt: skip
    assert {k: said[k] for k in wanted} == wanted
    assert said["params"]["short"] is True


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("mcd SPY", 3, "did you mean macd?"),
        ("macd SPX", 4, "Near names: SPY"),
        ("macd SPY --bar 1h", 4, "Of SPY there is: SPY 1m TRADES rth"),
        ("macd SPY --bar 7x", 3, "not a bar size"),
        ("macd SPY -p fats=3", 3, "MacdCross has no such parameter; did you mean fast?"),
        ("macd SPY -p fast=x", 3, "fast = 'x': must be a whole number, as its default 12"),
        ("macd SPY -p fast=1.5", 3, "must be a whole number"),
        ("macd SPY -p fast=inf", 3, "must be a whole number"),
        ("macd SPY -p short=yes", 3, "must be true or false"),
        ("macd SPY -p fast", 2, "NAME=VALUE"),
        ("macd SPY -p fast=30", 3, "valid refuses"),
        ("macd SPY --from 2030-01-01", 4, "the store holds 2017-01-03 … 2018-12-31"),
        ("macd SPY --from soon", 3, "write a date"),
        ("macd SPY --costs free", 3, "known are none"),
        ("macd SPY --cash much", 3, "command line: backtest.cash: must be a number"),
        ("macd SPY --cash 0", 3, "must be a number above 0"),
        ("macd SPY --sizing all", 3, 'write "percent:95"'),
        ("macd SPY --slippage 1tick", 3, "percent:0.02, ticks:1"),
        ("macd SPY --engine warp", 3, "there is fast, plain"),
        ("strategies.macd:Nope SPY", 3, "it has MacdCross"),
        ("nowhere.x:Nope SPY", 3, "there is no module nowhere"),
        ("opening_range SPY", 3, "flat_before_close needs intraday bars"),
    ],
)
def test_bad_input(words: str, code: int, told: str, project: Path, quant: Quant) -> None:
    result = quant("backtest", *words.split())
    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (project / "data" / "runs").exists()


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        (
            "[params.macd]\nfats = 3\n",
            ":2: params.macd.fats: MacdCross has no such parameter; did you mean fast?",
        ),
        ("[params.macd]\nfast = 'x'\n", ":2: params.macd.fast = 'x': must be int"),
        ("[backtest]\ncosts = 'free'\n", ":2: backtest.costs = 'free': unknown"),
    ],
)
def test_wrong_value_of_a_file_is_named_with_its_line(
    toml: str, told: str, project: Path, quant: Quant
) -> None:
    (project / "quant.toml").write_text(toml, encoding="utf-8")
    result = quant("backtest", "macd", "SPY")
    assert result.exit_code == 3
    assert f"error: {project / 'quant.toml'}{told}" in result.stderr


def test_strategy_that_sees_the_future_ends_with_1(project: Path, quant: Quant) -> None:
    Path("strategies/cheat.py").write_text(CHEAT, encoding="utf-8")
    result = quant("backtest", "cheat", "SPY", "--no-save")
    assert result.exit_code == 1
    assert "look-ahead  FOUND" in result.stdout


def test_fault_in_a_strategy_is_named(project: Path, quant: Quant) -> None:
    Path("strategies/bad.py").write_text("1 / 0\n", encoding="utf-8")
    result = quant("backtest", "bad", "SPY")
    assert result.exit_code == 3
    assert "cannot be imported: ZeroDivisionError" in result.stderr


# ---------------------------------------------------------------- -p
@pytest.mark.parametrize(
    ("text", "default", "wanted"),
    [
        ("true", False, True), ("0", True, False), ("FALSE", True, False), ("3", 1, 3), ("3.0", 1, 3.0),
        ("-3", 1, -3), ("1e3", 1.0, 1000.0), ("2", 1.0, 2), ("abc", "x", "abc"), ("5", "x", "5"),
        ("5", None, 5), ("0.5", None, 0.5), ("close", None, "close"), ("none", None, None),
    ],
)  # fmt: skip
def test_text_becomes_the_type_of_the_default(text: str, default: object, wanted: object) -> None:
    assert parse("x", text, default) == wanted
    assert type(parse("x", text, default)) is type(wanted)


@pytest.mark.parametrize(
    ("text", "default"), [("nan", 1.0), ("inf", 1.0), ("", 1), ("1,2", (1, 2)), ("2", True)]
)
def test_text_of_another_type_is_refused(text: str, default: object) -> None:
    with pytest.raises(ParameterError, match=r"as its default|no text stands for"):
        parse("x", text, default)
