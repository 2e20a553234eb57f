"""Rehearsal: one-minute bars through the whole live path at a simulated TWS, beside the backtest of the same bars."""

from __future__ import annotations

import time
from typing import Any

import quant as q
from quant.promotion import Rehearsal, rehearse

STRATEGIES = ("macd", "rsi", "renko", "renko_macd", "macd_stochastic", "opening_range")
WEEK, MONTH, YEAR = ("2024-03-01", "2024-03-07"), ("2024-03-01", "2024-03-28"), ("2024-01-02", "2024-12-31")
BARS_PER_S = 300.0  # of issue 7; a real session brings one a minute


def run(full: bool) -> list[dict[str, Any]]:
    """Bars a second of the live path, each strategy. full: a month and a year of bars instead of a week."""
    q.synthetic("SPY", "1m", "2024-03-01", "2024-03-01")  # calendars are made once
    return [figure(name, days) for days in ((MONTH, YEAR) if full else (WEEK,)) for name in STRATEGIES]


def figure(name: str, days: tuple[str, str]) -> dict[str, Any]:
    """Rehearse, and assert that the orders, the fills, and cash and value at each bar are the backtest's."""
    bars = q.synthetic("SPY", "1m", *days, price=400.0)
    began = time.process_time()
    found: Rehearsal = rehearse(name, bars, start_rule="first-target")
    assert found.ok, str(found)
    assert found.equal, str(found)
    alone = time.perf_counter()
    q.backtest(name, bars, save=False)
    alone = time.perf_counter() - alone
    return {
        "what": f"{name}, {days[0]} to {days[1]}, {found.bars:,} bars, {found.orders[1]:,} orders, equal to the cent",
        "measured": found.bars_per_s,
        "unit": " bars/s",
        "at_least": BARS_PER_S,
        "aim": 2 * BARS_PER_S,
        "baseline": f"backtest alone {len(bars) / alone:,.0f} bars/s; processor {time.process_time() - began:.0f} s",
    }
