"""Each strategy gives what its rule's words give, on the sample and on random bars (slow_rules.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import slow_rules
from hypothesis import given, settings
from hypothesis import strategies as st

import quant as q
from quant.strategy import Plan, parameters, plans, strategy

MACD = {"fast": 12, "slow": 26, "signal": 9}
QUICK = {"fast": 3, "slow": 8, "signal": 4}
RENKO = {"size": None, "atr_period": 120, "atr_factor": 1.0, "bricks": 2, "reversal": 2}

# strategy, parameters of a daily run
CASES: list[tuple[str, dict[str, Any]]] = [
    ("macd", dict(MACD, short=False)),
    ("macd", dict(QUICK, short=True)),
    ("rsi", {"period": 14, "low": 30.0, "exit": 50.0, "short": False}),
    ("rsi", {"period": 5, "low": 35.0, "exit": 50.0, "short": True}),
    ("rsi", {"period": 2, "low": 10.0, "exit": 90.0, "short": True}),  # left where the mirror image begins
    (
        "rsi",
        {"period": 2, "low": 45.0, "exit": 46.0, "short": True},
    ),  # a short ends in the zone of long entries
    ("rsi", {"period": 3, "low": 40.0, "exit": 99.0, "short": False}),
    ("renko", dict(RENKO, short=False)),
    ("renko", dict(RENKO, size=2.5, short=True)),
    ("renko", dict(RENKO, atr_period=20, atr_factor=0.5, bricks=3, reversal=1, short=True)),
    ("renko", dict(RENKO, atr_period=5, bricks=1, reversal=2, short=False)),
    ("renko_macd", dict(RENKO, **MACD, slope=5, short=True)),
    ("renko_macd", dict(RENKO, **MACD, slope=5, short=False)),
    (
        "renko_macd",
        dict(RENKO, atr_period=5, atr_factor=0.3, bricks=1, reversal=1, **QUICK, slope=3, short=True),
    ),
    ("macd_stochastic", dict(MACD, stochastic=20, smooth=3, above=30.0, atr_period=60, atr_factor=1.0)),
    ("macd_stochastic", dict(QUICK, stochastic=5, smooth=1, above=0.0, atr_period=3, atr_factor=0.3)),
    # %K is the last to begin
    ("macd_stochastic", dict(QUICK, stochastic=60, smooth=3, above=30.0, atr_period=3, atr_factor=1.0)),
]
SLOW: dict[str, Any] = {
    "macd": slow_rules.macd_cross,
    "rsi": slow_rules.rsi_reversion,
    "renko": slow_rules.renko_trend,
    "renko_macd": slow_rules.renko_macd,
    "macd_stochastic": slow_rules.macd_stochastic,
    "opening_range": slow_rules.opening_range,
}


def planned(name: str, bars: q.Bars, params: dict[str, Any]) -> Plan:
    cls = strategy(name)
    return plans(cls, [bars], parameters(cls, params))[0]


def assert_same(name: str, bars: q.Bars, params: dict[str, Any]) -> Plan:
    plan, slow = planned(name, bars, params), SLOW[name](bars, **params)
    columns = slow if isinstance(slow, tuple) else (slow,)
    for got, wanted in zip((plan.target, plan.stop, plan.limit), columns, strict=False):
        np.testing.assert_array_equal(got, wanted)
    return plan


@pytest.mark.parametrize(("name", "params"), CASES)
def test_targets_on_the_sample_follow_the_words(name: str, params: dict[str, Any], spy: q.Bars) -> None:
    plan = assert_same(name, spy, params)
    sides = {1.0, -1.0} if params.get("short") else {1.0}
    assert sides <= set(plan.target), "the case must trade every side that it may"


@pytest.mark.parametrize(("name", "params"), CASES)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 250))
def test_targets_on_random_bars_follow_the_words(
    name: str, params: dict[str, Any], seed: int, n: int
) -> None:
    bars = q.synthetic("X", "1d", "2018-01-01", "2018-12-31", seed=seed, volatility=0.6)[:n]
    assert_same(name, bars, params)


@pytest.mark.parametrize("params", [{}, {"volume": 0.0}, {"volume": 1.0, "short": False}, {"minutes": 30}])
def test_opening_range_on_the_sample_follows_the_words(params: dict[str, Any], spy_minutes: q.Bars) -> None:
    full = {"minutes": 5, "volume": 2.0, "days": 20, "target": 5.0, "short": True, **params}
    plan = assert_same("opening_range", spy_minutes, full)
    assert np.any(plan.target != 0.0)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    missing=st.sampled_from([0.0, 0.1, 0.7]),
    late=st.integers(0, 8),
    minutes=st.sampled_from([1, 5, 7, 30, 400]),
    volume=st.sampled_from([0.0, 0.5, 1.0, 1.8]),
    days=st.sampled_from([1, 2, 20]),
    short=st.booleans(),
)
def test_opening_range_on_broken_sessions_follows_the_words(
    seed: int, missing: float, late: int, minutes: int, volume: float, days: int, short: bool
) -> None:
    """Half days, bars missing anywhere and at the open, bars before the open and after the close."""
    bars = extended(seed)
    rng = np.random.default_rng(seed)
    clock = bars.frame().index
    from_open = np.asarray(clock.hour * 60 + clock.minute - 570)
    every_other_day = np.isin(bars.session, np.unique(bars.session)[::2])
    gone = (rng.random(len(bars)) < missing) | (every_other_day & (from_open >= 0) & (from_open < 5 * late))
    left = q.Bars.from_frame(bars.frame()[~gone], "X", "5m", calendar="XNYS")
    assert_same(
        "opening_range",
        left,
        {"minutes": minutes, "volume": volume, "days": days, "target": 1.0, "short": short},
    )


def extended(seed: int) -> q.Bars:
    """Five sessions of 5-minute bars from 08:30 to 17:00, a half day (27 November) among them."""
    walk = q.synthetic("X", "5m", "2020-11-20", "2020-12-01", calendar="24/7", seed=seed, volatility=0.9)
    frame = walk.frame().tz_convert("America/New_York")
    days = ("2020-11-23", "2020-11-24", "2020-11-25", "2020-11-27", "2020-11-30")
    table = pd.concat([frame.loc[f"{day} 08:30" : f"{day} 16:55"] for day in days])
    table["volume"] = np.random.default_rng(seed).integers(0, 1000, len(table)).astype(float)
    return q.Bars.from_frame(table, "X", "5m", calendar="XNYS")


def test_broken_sessions_break_out_both_ways() -> None:
    sides = [planned("opening_range", extended(seed), {"volume": 1.0}).target for seed in range(5)]
    assert set(np.concatenate(sides)) == {-1.0, 0.0, 1.0}
