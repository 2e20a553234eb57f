"""Drawdowns against empyrical-reloaded 0.7.1 and by hand."""

from __future__ import annotations

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.metrics.drawdowns import DAY_NS, drawdown, max_drawdown, max_drawdown_days


def daily(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.int64) * DAY_NS


@pytest.mark.parametrize("seed", range(8))
def test_max_drawdown_equals_empyrical(seed: int) -> None:
    r = np.random.default_rng(seed).normal(0.0, 0.01, 500)
    assert max_drawdown(50_000.0 * np.cumprod(1.0 + r), 50_000.0) == pytest.approx(
        empyrical.max_drawdown(r), rel=1e-11
    )


def test_a_loss_on_the_first_bar_counts() -> None:
    assert max_drawdown(np.array([90.0, 95.0, 110.0]), 100.0) == -0.1


def test_a_rising_account_has_no_drawdown() -> None:
    equity = np.array([100.0, 101.0, 101.0, 105.0])
    assert str(max_drawdown(equity, 100.0)) == "0.0"  # not -0.0
    assert max_drawdown_days(equity, daily(4), 100.0) == 0.0


def test_drawdown_of_each_bar_by_hand() -> None:
    assert drawdown(np.array([80.0, 125.0, 100.0, 150.0]), 100.0).tolist() == [-0.2, 0.0, -0.2, 0.0]


@pytest.mark.parametrize(
    ("equity", "days"),
    [
        ([100, 120, 110, 115, 120, 130], 3),  # high on day 1, recovered on day 4
        ([100, 120, 110, 115, 119, 118], 4),  # never recovered: to the end
        ([90, 95, 101, 102], 2),  # below the starting cash from the first bar
        ([90, 80, 95, 99], 3),  # never above it
        ([110, 60, 111, 110, 109, 112], 3),  # the longest is not the deepest
        ([120, 120, 120, 119, 120], 2),  # counted from the last bar at the high
        ([101, 102, 101], 1),  # the last bar alone
        ([90], 0),  # one bar has no length
        ([], 0),
    ],
)
def test_longest_time_below_a_high_by_hand(equity: list[float], days: float) -> None:
    assert max_drawdown_days(np.array(equity, dtype=float), daily(len(equity)), 100.0) == days


def test_days_are_calendar_days_of_the_ends() -> None:
    end = np.array([0, 3, 3.25, 7]) * DAY_NS  # over a week-end, then intraday
    assert max_drawdown_days(np.array([101.0, 90.0, 101.5, 101.0]), end.astype(np.int64), 100.0) == 3.75


def slow_days(equity: list[float], end: list[int], start: float) -> float:
    """The rule in words, bar by bar."""
    peak, since, longest, below = start, end[0], 0, False
    for value, now in zip(equity, end, strict=True):
        if value >= peak:
            longest = max(longest, now - since) if below else longest
            peak, since, below = value, now, False
        else:
            below = True
    return max(longest, end[-1] - since if below else 0) / DAY_NS


@given(equity=st.lists(st.integers(95, 110).map(float), min_size=1, max_size=40), gaps=st.data())
def test_longest_time_equals_the_slow_rule(equity: list[float], gaps: st.DataObject) -> None:
    steps = gaps.draw(st.lists(st.integers(1, 10), min_size=len(equity), max_size=len(equity)))
    end = np.cumsum(steps) * (DAY_NS // 4)
    assert max_drawdown_days(np.array(equity), end, 100.0) == slow_days(equity, end.tolist(), 100.0)
