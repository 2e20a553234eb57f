"""Parity of made-up days: one that is equal, one with every kind of row, and a record of sessions."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np

from quant.promotion.difference import Difference
from quant.promotion.parity.value import (
    PARTS,
    BarCount,
    BarRow,
    DecisionRow,
    FillRow,
    OrderRow,
    Parity,
    Part,
    Slippage,
)

DAY = "2024-05-15"
WORDS = {
    "price": "3 fills at other prices than the backtest's",
    "commission": "minimum of 1.00 per order in place of 0.35",
    "missed": "1 order that never filled",
    "revised data": "1 bar was corrected afterwards",
}


def at(text: str) -> int:
    """UTC ns of a time of the day."""
    return int(np.datetime64(f"{DAY}T{text}", "ns").astype(np.int64))


def split(**amounts: float) -> tuple[Part, ...]:
    found = {name: amounts.get(name.replace(" ", "_"), 0.0) for name in PARTS}
    return tuple(Part(name, amount, WORDS.get(name, "") if amount else "") for name, amount in found.items())


def equal_day() -> Parity:
    end = at("14:31:00")
    return Parity(
        deployment="macd-spy-1m", strategy="macd", symbols=("SPY",), day=DAY, bars=BarCount(390, 0, 0, 0),
        decisions=(DecisionRow(end, "SPY", 1.0, 1.0, True, "filled"),),
        orders=(OrderRow(end, "SPY", "entry", "market +179 (filled)", "market +179 (filled)", True, ref="macd.1"),),
        fills=(FillRow(end, "SPY", "entry", 179.0, 529.15, 1.0, 179.0, 529.15, 1.0, 0.0, time=end + 10**9),),
        pnl=(123.456, 123.456), split=split(), unexplained=0.0, differences=(), slippage=Slippage(0.0, 0.0, 1),
    )  # fmt: skip


def odd_day() -> Parity:
    """A day on which live and backtest part in every way that there is."""
    one, two, three = at("13:31:00"), at("14:02:00"), at("19:59:00")
    return Parity(
        deployment="macd-spy-1m", strategy="macd", symbols=("SPY", "MSFT"), day=DAY,
        bars=BarCount(776, 2, 1, 1, (
            BarRow(at("13:45:00"), "SPY", "revised", "close 529.18 in place of 529.17"),
            BarRow(at("13:46:00"), "SPY", "revised", "volume 1200.0 in place of 1100.0"),
            BarRow(at("15:00:00"), "MSFT", "missing", "it came 71 s late, after its decision"),
            BarRow(at("20:01:00"), "MSFT", "extra", "after the session's close"),
        )),
        decisions=(
            DecisionRow(one, "SPY", 1.0, 1.0, True, "filled"),
            DecisionRow(two, "MSFT", -1.0, None, False, "its bar came 71 s late; an old target is not traded"),
            DecisionRow(three, "SPY", 0.0, 0.0, True, "filled in two parts"),
        ),
        orders=(
            OrderRow(one, "SPY", "entry", "market +179 (filled)", "market +179 (filled)", True, "", "macd.1"),
            OrderRow(two, "MSFT", "entry", "market -112 (filled)", "", False, "the target was too old to be traded"),
            OrderRow(three, "SPY", "close", "market -179 (filled)", "market -179 (filled)", True, "", "macd.2"),
        ),
        fills=(
            FillRow(one, "SPY", "entry", 179.0, 529.15, 1.0, 179.0, 529.17, 1.0, -3.58, "slippage", one + 10**9),
            FillRow(two, "MSFT", "entry", -112.0, 421.98, 1.0, None, None, None, -12.4, "the target was too old"),
            FillRow(three, "SPY", "close", -179.0, 530.02, 1.0, -179.0, 529.98, 2.0, -8.16, "filled in two parts"),
        ),
        pnl=(164.73, 140.59),
        split=split(price=-10.74, commission=-1.0, missed=-12.4, revised_data=0.25, interaction=-0.25),
        unexplained=0.0,
        differences=(
            Difference(two, "MSFT", "order", "entry: market -112 (filled)", "", "its bar came 71 s late"),
            Difference(three, "SPY", "fill", "-179 at 530.02 in bar 389", "-179 at 529.98 in bar 389", "slippage"),
        ),
        slippage=Slippage(0.5, 0.62, 2), notes=((at("14:03:11"), "MSFT: bar of 14:02:00 came 71 s late"),),
        findings=("The bars were pulled again at 21:00; IB may still correct them.",),
    )  # fmt: skip


def record(sessions: int, bad: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """Lines of parity.jsonl, of sessions that end the day before DAY."""
    random = np.random.default_rng(7)
    lines = []
    for n in range(sessions):
        model = round(float(random.normal(20.0, 120.0)), 2)
        day = date.fromisoformat(DAY) - timedelta(days=sessions - n)
        lines.append({
            "day": day.isoformat(), "decisions": 6, "decisions_diverged": int(n in bad), "unexplained": 0.0,
            "ok": n not in bad, "pnl_live": round(model - abs(float(random.normal(0.0, 4.0))), 2), "pnl_model": model,
            "slippage_bps": 0.31,
        })  # fmt: skip
    return lines
