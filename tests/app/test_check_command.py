"""quant check: what q.check says, its exit codes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import Quant, document

import quant as q
from quant.research.check import check

CHEAT = """
import quant as q

class Cheat(q.Strategy):
    params = dict(days=1)

    @staticmethod
    def signals(bars, p):
        return bars.frame()["close"].shift(-p.days) > bars.close
"""
PLAIN = """
import backtrader as bt

class Plain(bt.Strategy):
    def next(self):
        if not self.position:
            self.buy()
"""
RANGE = ("--from", "2016-01-01", "--to", "2017-06-01")


@pytest.fixture
def cheat(project: Path) -> Path:
    (project / "strategies" / "cheat.py").write_text(CHEAT, encoding="utf-8")
    return project


def test_command_says_what_the_python_api_says(project: Path, quant: Quant) -> None:
    words = ("check", "macd", "SPY", "-p", "fast=10", *RANGE)
    result = quant(*words, "--json", "--seed", 3)
    assert result.exit_code == 0, result.stderr
    said = document(result)
    found = check("macd", q.bars("SPY", "1d", "2016-01-01", "2017-06-01"), {"fast": 10}, seed=3)
    assert said["params"] == {"fast": 10, "slow": 26, "signal": 9, "short": False}
    assert {**said, "schema": None} == {"schema": None, **found.to_dict()}
    assert quant(*words, "--seed", 3).stdout == f"{found}\n"


def test_cheat_ends_with_1_and_names_the_bar(cheat: Path, quant: Quant) -> None:
    result = quant("check", "cheat", "SPY", *RANGE)
    assert result.exit_code == 1
    assert "Cheat looks ahead: its target for bar " in result.stdout
    assert "NOT OK: 1 warning" in result.stdout
    said = document(quant("check", "cheat", "SPY", *RANGE, "--json"))
    assert said["ok"] is False
    assert said["findings"][0]["code"] == "look-ahead"


def test_parameters_of_quant_toml_are_checked(cheat: Path, quant: Quant) -> None:
    with (cheat / "quant.toml").open("a", encoding="utf-8") as toml:
        toml.write("\n[params.cheat]\ndays = -1\n")
    result = quant("check", "cheat", "SPY", *RANGE)
    assert result.exit_code == 0, result.stdout
    assert "check of Cheat days=-1" in result.stdout
    assert "with days=1 signals look ahead" in result.stdout


def test_what_a_plain_strategy_cannot_be_checked_for_is_said(project: Path, quant: Quant) -> None:
    (project / "strategies" / "plain.py").write_text(PLAIN, encoding="utf-8")
    result = quant("check", "plain", "SPY", "MSFT", *RANGE)
    assert result.exit_code == 0
    assert "look-ahead   not applicable: it gives orders and no signals" in result.stdout
    assert "verdict      ok, look-ahead, warm-up, edges not checked" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("macd",), 2, "Missing argument 'SYMBOL...'"),
        (("macd", "SPY", "--seed", "-1"), 2, "--seed"),
        (("macd", "SPY", "-p", "fast"), 2, "write NAME=VALUE"),
        (("macd", "SPY", "-p", "fats=3"), 3, "fats"),
        (("macd", "SPY", "-p", "fast=30"), 3, "MacdCross.valid refuses this combination"),
        (("mcad", "SPY"), 3, "did you mean macd?"),
        (("macd", "NONE"), 4, "NONE"),
    ],
)
def test_refusals(words: tuple[str, ...], code: int, told: str, project: Path, quant: Quant) -> None:
    result = quant("check", *words)
    assert result.exit_code == code
    assert told in result.stderr
