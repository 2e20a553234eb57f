"""A small project that is promoted: a strategy in two files, evidence that passes, and what is asked of the result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import quant as q
from quant.promotion.gates import Promotion, Thresholds, promote, to_paper
from quant.promotion.gates.rules import FIRM
from quant.promotion.gates.values import (
    Charged,
    Checked,
    Completeness,
    Evidence,
    Origin,
    OutOfSample,
    Rehearsed,
)

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
CROSS = '''"""Above an average."""
import quant as q
from quant.indicators import sma
from strategies.rule import above


class Cross(q.Strategy):
    """Long above an average of the closes."""
    params = dict(days=10)

    @staticmethod
    def signals(bars, p):
        return above(bars.close, sma(bars.close, p.days))
'''
RULE = "def above(close, line):\n    return (close > line).astype(float)\n"
SLIPPAGE = "percent:0.01"
QUICK = Thresholds(rehearsal_bars=60)
EVERY = {
    name: "small data" for name in promote._NAMES["paper"] if name not in FIRM
}  # a reason for each gate that may have one
REHEARSED = Rehearsed(bars=60, fills=4, ok=True)
GOOD = Evidence(
    checks={n: Checked("ok", "seen") for n in ("look-ahead", "warm-up", "determinism", "engines")},
    warmup=10, ahead=500, whole=True, bars=(Completeness("SPY", 500, 0),),
    outside=OutOfSample("walk-forward", "w", 1.0, 60, "2018-01-02", "2018-12-31"), how_outside="",
    trades=50, orders=100,
    rejected=0, deflated=0.99, trials=1, costs="ib-fixed",
    charged=Charged(100.0, "ib-tiered", 80.0), slippage=SLIPPAGE, rehearsal=REHEARSED, faults=REHEARSED,
    capital=1e5, limits={"max_notional": 1e5, "max_gross": 1e5, "daily_loss": 0.02},
    origins=(Origin("SPY", "sample", 756733),),
)  # fmt: skip


def forget() -> None:
    """As a new process, which has imported no strategy."""
    for name in [m for m in sys.modules if m.partition(".")[0] == "strategies"]:
        del sys.modules[name]


def backtest(data: Path, *days: str, bar: str = "1d", **changes: Any) -> q.Run:
    given = {"costs": "ib-fixed", "slippage": SLIPPAGE, **changes}
    return q.backtest("cross", q.bars("SPY", bar, *days, data=data), data=data, **given)


def name_of(run: q.Run) -> str:
    assert run.folder is not None
    return run.folder.name


def paper(data: Path, **changes: Any) -> Promotion:
    given: dict[str, Any] = {"contracts": {"SPY": "756733"}, **changes}
    return to_paper(name_of(backtest(data)), data, **given)


def locks(data: Path) -> list[str]:
    return sorted(path.name for path in data.glob("deployments/*"))


def outcomes(found: Promotion) -> dict[str, str]:
    return {gate.name: gate.outcome for gate in found.gates}


def sentence(found: Promotion, name: str) -> str:
    return next(gate.sentence for gate in found.gates if gate.name == name)
