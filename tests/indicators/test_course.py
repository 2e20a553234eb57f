"""The course's variants: its rules written out, and what their docstrings say of TA-Lib's namesakes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant.indicators as qi


def market(seed: int, n: int = 600) -> tuple[SimpleNamespace, float]:
    """Random bars of 1 % a bar, and the typical move of a bar in price units."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    bars = SimpleNamespace(
        high=close * (1 + rng.random(n) * 0.01), low=close * (1 - rng.random(n) * 0.01), close=close
    )
    return bars, float(np.std(np.diff(close)))


SEEDS = range(12)


def weighted(values: np.ndarray, alpha: float, i: int) -> float:
    """Exponentially weighted mean of values[: i + 1], from the definition: weights (1 - alpha)^age."""
    weights = (1 - alpha) ** np.arange(i, -1, -1)
    return float(np.sum(weights * values[: i + 1]) / np.sum(weights))


def test_macd_course_from_its_definition() -> None:
    close = market(1)[0].close
    ours = qi.macd_course(close)
    line = np.array([weighted(close, 2 / 13, i) - weighted(close, 2 / 27, i) for i in range(60)])
    np.testing.assert_allclose(ours.line[25:60], line[25:], atol=1e-10)
    np.testing.assert_allclose(ours.signal[33], weighted(line[25:], 2 / 10, 8), atol=1e-10)
    assert np.isnan(ours.line[:25]).all()
    assert np.isnan(ours.signal[:33]).all()
    np.testing.assert_array_equal(ours.histogram, ours.line - ours.signal)


def test_rsi_course_from_its_definition() -> None:
    close = market(2)[0].close
    change = np.concatenate([[0.0], np.diff(close)])
    gain, loss = np.where(change > 0, change, 0), np.where(change < 0, -change, 0)
    want = [100 - 100 / (1 + weighted(gain, 1 / 14, i) / weighted(loss, 1 / 14, i)) for i in range(13, 60)]
    ours = qi.rsi_course(close)
    assert np.isnan(ours[:13]).all()
    np.testing.assert_allclose(ours[13:60], want, atol=1e-9)


def test_rsi_course_of_one_sided_prices() -> None:
    assert qi.rsi_course(np.arange(1.0, 40.0))[-1] == 100.0
    assert qi.rsi_course(np.arange(40.0, 1.0, -1))[-1] == 0.0
    assert np.isnan(qi.rsi_course(np.full(40, 3.0))).all()


def test_atr_course_from_its_definition() -> None:
    bars, _ = market(3)
    h, low, before = bars.high[1:], bars.low[1:], bars.close[:-1]
    true_range = np.maximum(h - low, np.maximum(abs(h - before), abs(low - before)))
    ours = qi.atr_course(bars, 14)
    assert np.isnan(ours[:14]).all()
    np.testing.assert_allclose(
        ours[14:60], [weighted(true_range, 1 / 15, i) for i in range(13, 59)], atol=1e-10
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_macd_course_meets_talib(seed: int) -> None:
    bars, move = market(seed)
    for ours, talibs in zip(qi.macd_course(bars.close), qi.macd(bars.close), strict=True):
        apart = np.abs(ours - talibs) / move
        assert apart[33] > 0.01
        assert apart[100:].max() < 0.05
        assert apart[250:].max() < 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_rsi_course_meets_talib(seed: int) -> None:
    close = market(seed)[0].close
    apart = np.abs(qi.rsi_course(close) - qi.rsi(close))
    assert np.nanmax(apart[:40]) > 0.1
    assert apart[100:].max() < 0.1
    assert apart[250:].max() < 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_atr_course_never_meets_talib_but_that_of_a_period_more(seed: int) -> None:
    bars, _ = market(seed, 3_000)
    course, wilder = qi.atr_course(bars, 14), qi.atr(bars, 14)
    last = slice(-200, None)
    assert np.max(np.abs(course - wilder)[last] / wilder[last]) > 0.005
    np.testing.assert_allclose(course[150:], qi.atr(bars, 15)[150:], rtol=1e-4)
    np.testing.assert_allclose(course[500:], qi.atr(bars, 15)[500:], rtol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_stochastic_course_is_talibs_fast_one(seed: int) -> None:
    bars, _ = market(seed)
    ours, fast = qi.stochastic_course(bars), qi.stochastic(bars, 20, 3, smooth=1)
    assert np.isnan(ours.k[:19]).all()
    assert np.isfinite(ours.k[19])
    np.testing.assert_allclose(ours.k[21:], fast.k[21:], atol=1e-9)
    np.testing.assert_allclose(ours.d, fast.d, atol=1e-9)


def test_stochastic_course_of_flat_prices_is_unknown() -> None:
    flat = np.full(40, 5.0)
    k, d = qi.stochastic_course(SimpleNamespace(high=flat, low=flat, close=flat))
    assert np.isnan(k).all()
    assert np.isnan(d).all()


# ------------------------------------------------------------------------------------------- slope
def angle(window: np.ndarray) -> float:
    """The course's slope of one window, by numpy's polynomial fit."""
    y = (window - window.min()) / (window.max() - window.min())
    return float(np.degrees(np.arctan(np.polyfit(np.linspace(0, 1, len(y)), y, 1)[0])))


@pytest.mark.parametrize("period", [2, 3, 5, 20])
def test_slope_is_the_angle_of_the_fitted_line(period: int) -> None:
    close = market(4)[0].close
    want = pd.Series(close).rolling(period).apply(angle, raw=True)
    np.testing.assert_allclose(qi.slope(close, period), want, atol=1e-9)


@given(step=st.floats(1e-6, 1e6), start=st.floats(-1e6, 1e6))
def test_slope_of_a_straight_line_is_45_degrees(step: float, start: float) -> None:
    line = start + step * np.arange(-4.0, 5.0)
    np.testing.assert_allclose(qi.slope(line, 5)[4:], 45.0, atol=0.1)
    np.testing.assert_allclose(qi.slope(-line, 5)[4:], -45.0, atol=0.1)


def test_slope_of_a_flat_window_is_0() -> None:
    assert qi.slope([5.0] * 6, 5)[4:].tolist() == [0.0, 0.0]
    assert qi.slope([0.1] * 6, 3)[2:].tolist() == [0.0] * 4


def test_slope_forgets_a_gap_when_it_has_left_the_window() -> None:
    values = np.arange(12.0)
    values[[0, 6]] = [np.nan, np.inf]
    out = qi.slope(values, 3)
    assert np.flatnonzero(np.isfinite(out)).tolist() == [3, 4, 5, 9, 10, 11]
