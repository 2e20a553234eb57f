"""quant rehearse: what a rehearsal says, its exit codes, and what is refused."""

from __future__ import annotations

from pathlib import Path

from calling import Quant, document

DAY = ("--bar", "1m", "--from", "2020-12-15T09:30", "--to", "2020-12-15T11:00")
FEW = ("--sizing", "shares:10", "--start-rule", "first-target")
LOST = """
[[order_fault]]
do = "drop"
skip = 3
"""


def test_rehearsal_that_is_equal_ends_with_0(project: Path, quant: Quant) -> None:
    result = quant("rehearse", "macd", "SPY", *DAY, *FEW, "--json")
    assert result.exit_code == 0, result.stderr
    said = document(result)
    assert said["ok"]
    assert said["equal"]
    assert said["orders"]["backtest"] == said["orders"]["live"] > 0
    text = quant("rehearse", "macd", "SPY", *DAY, *FEW)
    assert "  verdict  equal to the cent\n" in text.stdout


def test_rehearsal_that_differs_ends_with_1_and_says_why(project: Path, quant: Quant) -> None:
    result = quant("rehearse", "macd", "SPY", *DAY, "--sizing", "shares:300", "--start-rule", "first-target")
    assert result.exit_code == 1
    assert "too little cash" in result.stdout


def test_faults_with_known_causes_end_with_0(project: Path, quant: Quant) -> None:
    (project / "faults.toml").write_text(LOST, encoding="utf-8")
    result = quant("rehearse", "macd", "SPY", *DAY, *FEW, "--faults", "faults.toml", "--json")
    said = document(result)
    assert result.exit_code == 0, said
    assert said["faults"]
    assert not said["equal"]
    assert any("sent again" in d["cause"] for d in said["differences"])


def test_faults_of_promotion_are_played_by_name(project: Path, quant: Quant) -> None:
    result = quant("rehearse", "macd", "SPY", *DAY, *FEW, "--faults", "builtin", "--json")
    said = document(result)
    assert result.exit_code == 0, said
    assert said["faults"]
    assert said["fills"]["live"] > said["fills"]["backtest"]  # they come in parts
    assert any("sent again" in d["cause"] for d in said["differences"])  # and an order is lost


def test_what_cannot_be_rehearsed_is_refused(project: Path, quant: Quant) -> None:
    (project / "faults.toml").write_text("[[order_fault]]\ndo = 'dance'\n", encoding="utf-8")
    result = quant("rehearse", "macd", "SPY", *DAY, "--faults", "faults.toml")
    assert result.exit_code == 3
    assert "dance" in result.stderr
    assert quant("rehearse", "macd", "SPY", *DAY, "--faults", "none.toml").exit_code == 4
