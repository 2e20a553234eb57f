"""Where nothing happens there is no difference: every session of a month, for every bundled strategy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parity_days import SAMPLE, Past, lived_through

import quant as q
from quant.core.orders import Commission, Execution
from quant.core.synthetic import synthetic
from quant.promotion.parity import Parity

BUNDLED = ("macd", "rsi", "renko", "renko_macd", "macd_stochastic", "opening_range")


def assert_nothing(found: Parity) -> None:
    assert found.ok, f"{found.day}: {[str(d) for d in found.differences]}"
    assert found.differences == ()
    assert found.unexplained == 0.0
    assert found.bars.rows == ()
    assert [round(part.amount, 2) for part in found.split] == [0.0] * len(found.split)
    assert found.pnl[0] == pytest.approx(found.pnl[1], abs=0.005)


@pytest.mark.parametrize("strategy", BUNDLED)
def test_month_of_minutes_without_a_cause_has_no_difference(strategy: str) -> None:
    """Twenty sessions, positions held over nights and weekends.

    Sizes follow from the equity, so a cent of difference would not stay one.
    """
    bars = synthetic("SPY", "1m", "2024-03-01", "2024-03-28", price=400.0)
    past = lived_through(strategy, bars, sizing=None, start_rule="next-change")
    days = [str(day) for day in np.unique(bars.session)]
    assert list(past.days) == days
    earned = []
    for day in days:
        found = past.parity(day)
        assert_nothing(found)
        earned.append(found.pnl[1])
    assert len(past.ledger.intents) >= 2
    # Days follow one another without a gap: together they are the account's whole gain.
    assert past.traded.capital + sum(earned) == pytest.approx(_value(past.traded.capital, past), abs=0.01)


@pytest.mark.parametrize("strategy", BUNDLED)
def test_year_of_minutes_without_a_cause_has_no_difference(strategy: str, full: bool) -> None:
    """--full: each session of 2024, a month at a time, so that one that is red need not be sought in a year."""
    if not full:
        pytest.skip("--full")
    for month in range(1, 13):
        last = np.datetime64(f"2024-{month:02}", "M") + 1
        days = f"2024-{month:02}-01", str(last.astype("datetime64[D]") - 1)
        bars = synthetic("SPY", "1m", *days, price=400.0, seed=month)
        past = lived_through(strategy, bars, sizing=None, start_rule="next-change")
        assert len(past.days) >= 19
        for day in past.days:
            assert_nothing(past.parity(day))


def _value(capital: float, past: Past) -> float:
    """The account at the end by the executions alone."""
    total, mark = capital, float(past.bars[0].close[-1])
    for fact in past.ledger.facts:
        if isinstance(fact.report, Execution):
            total += float(fact.report.quantity) * (mark - fact.report.price)
        elif isinstance(fact.report, Commission):
            total -= fact.report.amount
    return total


def test_days_of_a_daily_strategy_have_no_difference() -> None:
    """What is decided at a close is filled at the next open, and belongs to that day."""
    bars = q.bars("SPY", "1d", data=Path(SAMPLE))[:40]
    past = lived_through("macd", bars, params={"fast": 2, "slow": 4, "signal": 2}, sizing=None)
    fills = 0
    for day in past.days:
        found = past.parity(day)
        assert_nothing(found)
        fills += len(found.fills)
    assert fills >= 10


def test_several_feeds_on_one_capital_have_no_difference() -> None:
    days = "2020-12-15", "2020-12-16"
    feeds = [
        synthetic("SPY", "5m", *days, price=370.0, seed=1),
        synthetic("AAPL", "5m", *days, price=120.0, seed=2),
        synthetic("XYZ", "5m", *days, seed=3),
    ]
    past = lived_through("macd", feeds, sizing=None)
    for day in past.days:
        assert_nothing(past.parity(day))
    assert {i.ticket.symbol for i in past.ledger.intents} == {"SPY", "AAPL", "XYZ"}


def test_short_that_is_held_over_a_night_has_no_difference() -> None:
    bars = synthetic("SPY", "5m", "2024-03-01", "2024-03-04", price=400.0)
    past = lived_through("macd", bars, params={"short": True}, sizing=None)
    night = past.parity(past.days[0])
    assert sum(f.live_quantity or 0.0 for f in night.fills) < 0.0
    for day in past.days:
        assert_nothing(past.parity(day))
