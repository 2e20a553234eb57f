"""A rehearsal that holds promotion says its first difference, and the command it names shows that difference again."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import quant as q
from quant.app.cli import cli
from quant.promotion import causes
from quant.promotion.causes import UNEXPLAINED
from quant.promotion.gates.evidence import _rehearsed
from quant.promotion.gates.rules import faults
from quant.promotion.gates.values import Rehearsed, Thresholds
from quant.promotion.rehearsal import FAULTS, in_session
from quant.strategy import parameters, strategy

DATA = Path(__file__).parents[2] / "data"
MACD = strategy("macd")


def held(bars: q.Bars, rows: int, start_rule: str, **params: int) -> Rehearsed:
    """What promotion sees of its rehearsal under faults."""
    found: Any = SimpleNamespace(
        strategy=MACD, name="macd", params=dict(parameters(MACD, params)), bars=(bars,),
        settings={"costs": "ib-tiered", "sizing": "percent:90"},
    )  # fmt: skip
    limits = {"max_notional": 1e6, "max_gross": 1e6, "daily_loss": 0.5}
    return _rehearsed(found, rows, FAULTS, capital=60_000.0, limits=limits, start_rule=start_rule)


CASES = {
    "days": (
        lambda: q.bars("MSFT", "1d", data=DATA)[-500:-360], 140, "next-change", {"fast": 24, "slow": 50, "signal": 15},
    ),
    "minutes, from within a session": (
        lambda: in_session(q.bars("SPY", "1m", data=DATA))[:120], 110, "first-target", {"signal": 8},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_holds_is_shown_by_the_command_that_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bars, rows, start_rule, params = CASES[name]
    monkeypatch.setattr(causes, "RULES", {n: r for n, r in causes.RULES.items() if n != "belated"})
    found = held(bars(), rows, start_rule, **params)
    assert not found.ok
    assert found.first.endswith(UNEXPLAINED)
    evidence: Any = SimpleNamespace(faults=found)
    told = faults(evidence, Thresholds()).sentence
    often = "once" if found.differences == 1 else f"{found.differences} times"
    assert told == (
        f"live and backtest differ {often} over {rows} bars, first: {found.first}; see all: {found.see}"
    )
    monkeypatch.chdir(tmp_path)
    words = shlex.split(found.see)
    result = CliRunner().invoke(cli, [*words[1:], "--data", str(DATA)])
    assert result.exit_code == 1, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0].endswith(f": {rows} bars")
    assert found.first in lines
    assert sum(line.endswith(f"; {UNEXPLAINED}") for line in lines) == found.differences


def test_with_its_rule_nothing_holds() -> None:
    bars, rows, start_rule, params = CASES["days"]
    found = held(bars(), rows, start_rule, **params)
    assert (found.ok, found.differences, found.first) == (True, 0, "")
    wrong = replace(found, ok=False, differences=2, first="one", see="do")
    evidence: Any = SimpleNamespace(faults=wrong)
    assert faults(evidence, Thresholds()).sentence.endswith(
        "differ 2 times over 140 bars, first: one; see all: do"
    )
