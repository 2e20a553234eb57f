"""Figures of returns against empyrical-reloaded 0.7.1, and their invariants."""

from __future__ import annotations

import math
from collections.abc import Callable

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import ParameterError
from quant.metrics import returns as m
from quant.metrics.drawdowns import max_drawdown

SEEDS = range(8)
TIGHT = 1e-11  # relative; two orders of summation of a few hundred doubles


def random_returns(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0.0004, 0.012, int(rng.integers(2, 800)))


def days(n: int) -> np.ndarray:
    return np.datetime64("2020-01-01", "D") + np.arange(n)


def account(returns: np.ndarray, cash: float = 100_000.0) -> np.ndarray:
    return cash * np.cumprod(1.0 + returns)


# ---------------------------------------------------------------- against empyrical
@pytest.mark.parametrize("periods", [252, 365, 52, 12])
@pytest.mark.parametrize("seed", SEEDS)
def test_ratios_equal_empyrical(seed: int, periods: int) -> None:
    r = random_returns(seed)
    growth = float(np.prod(1.0 + r))
    assert m.cagr(growth, len(r), periods) == pytest.approx(
        empyrical.cagr(r, annualization=periods), rel=TIGHT
    )
    assert m.volatility(r, periods) == pytest.approx(
        empyrical.annual_volatility(r, annualization=periods), rel=TIGHT
    )
    assert m.sharpe(r, periods) == pytest.approx(empyrical.sharpe_ratio(r, annualization=periods), rel=TIGHT)
    assert m.sortino(r, periods) == pytest.approx(
        empyrical.sortino_ratio(r, annualization=periods), rel=TIGHT
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_calmar_equals_empyrical(seed: int) -> None:
    r = random_returns(seed)
    ours = m.calmar(m.cagr(float(np.prod(1.0 + r)), len(r), 252), max_drawdown(account(r), 100_000.0))
    assert ours == pytest.approx(empyrical.calmar_ratio(r), rel=1e-9)


# ---------------------------------------------------------------- by hand
def test_course_sharpe_by_hand() -> None:
    # Two days of +10 % and -5 %: growth 1.045, 126 times a year; deviation with n - 1 is 0.15 / sqrt(2).
    expected = (1.045**126 - 1 - 0.025) / (0.15 / math.sqrt(2) * math.sqrt(252))
    assert m.course_sharpe(np.array([0.10, -0.05])) == pytest.approx(expected, rel=1e-9)


def test_course_sharpe_scales_intraday_bars_by_bars_a_day() -> None:
    r = np.array([0.001, -0.0005, 0.0002])
    growth, year = float(np.prod(1 + r)), 252 * 78
    expected = (growth ** (year / 3) - 1 - 0.025) / (np.std(r, ddof=1) * math.sqrt(year))
    assert m.course_sharpe(r, bars_a_day=78) == pytest.approx(expected, rel=1e-9)


def test_all_lost_is_minus_one_a_year_and_more_than_all_is_undefined() -> None:
    assert m.cagr(0.0, 100, 252) == -1.0
    assert math.isnan(m.cagr(-0.2, 100, 252))


@pytest.mark.parametrize("figure", [m.volatility, m.sharpe, m.sortino])
@pytest.mark.parametrize("returns", [[], [0.01]])
def test_a_spread_needs_two_returns(figure: Callable[..., float], returns: list[float]) -> None:
    assert math.isnan(figure(np.array(returns), 252))


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 1 / 3])
def test_without_spread_sharpe_is_undefined_though_rounding_leaves_a_little(rate: float) -> None:
    equity = 100_000.0 * (1 + rate) ** np.arange(1, 40)
    r, _ = m.session_returns(equity, days(39), 100_000.0)
    assert math.isnan(m.sharpe(r, 252))
    assert math.isnan(m.course_sharpe(r))


def test_without_a_loss_sortino_and_calmar_are_undefined() -> None:
    assert math.isnan(m.sortino(np.array([0.01, 0.02, 0.0]), 252))
    assert math.isnan(m.calmar(0.1, 0.0))


def test_growth_too_large_for_a_double_is_undefined() -> None:
    assert math.isnan(m.cagr(1e6, 1, 98_280))


# ---------------------------------------------------------------- returns per session
def test_a_session_return_takes_the_last_bar_of_each_session() -> None:
    session = np.array(["2020-01-02"] * 3 + ["2020-01-03"] * 2, dtype="datetime64[D]")
    r, labels = m.session_returns(np.array([90.0, 95.0, 110.0, 120.0, 99.0]), session, 100.0)
    assert r.tolist() == pytest.approx([0.10, -0.10])
    assert labels.tolist() == np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[D]").tolist()


def test_the_first_return_is_against_the_starting_cash() -> None:
    # The fault of a published tear sheet: without the first day this account seems to rise.
    r, _ = m.session_returns(np.array([99_000.0, 99_100.0]), days(2), 100_000.0)
    assert r[0] == -0.01


def test_no_return_can_be_had_on_an_account_below_zero() -> None:
    r, _ = m.session_returns(np.array([50.0, -10.0, 20.0, 0.0, 5.0]), days(5), 100.0)
    assert r[:2].tolist() == pytest.approx([-0.5, -1.2])
    assert np.isnan(r[[2, 4]]).all()
    assert math.isnan(m.sharpe(r, 252))
    assert math.isnan(m.sortino(r, 252))


def test_no_bars_give_no_returns() -> None:
    r, labels = m.session_returns(np.array([]), days(0), 100.0)
    assert (len(r), len(labels)) == (0, 0)


@pytest.mark.parametrize(
    ("session", "cash", "named"),
    [([0], 100.0, "session"), ([1, 0], 100.0, "session"), ([0, 1], 0.0, "start_cash")],
)
def test_sessions_and_cash_that_make_no_sense_are_refused(
    session: list[int], cash: float, named: str
) -> None:
    labels = np.datetime64("2020-01-01", "D") + np.array(session)
    with pytest.raises(ParameterError, match=named):
        m.session_returns(np.array([1.0, 2.0]), labels, cash)


equities = st.lists(st.floats(1.0, 1e7), min_size=1, max_size=60).map(np.array)


@given(equity=equities, cash=st.floats(1.0, 1e7), data=st.data())
def test_returns_multiply_up_to_the_total_return(
    equity: np.ndarray, cash: float, data: st.DataObject
) -> None:
    steps = data.draw(st.lists(st.integers(0, 1), min_size=len(equity), max_size=len(equity)))
    session = np.datetime64("2020-01-01", "D") + np.cumsum(steps)
    r, _ = m.session_returns(equity, session, cash)
    assert float(np.prod(1.0 + r)) == pytest.approx(equity[-1] / cash, rel=1e-9)
    assert m.total_return(float(equity[-1]), cash) == pytest.approx(equity[-1] / cash - 1.0, abs=1e-12)


@given(returns=st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60).map(np.array))
def test_sharpe_and_sortino_have_the_sign_of_the_mean(returns: np.ndarray) -> None:
    mean = float(np.mean(returns))
    for ratio in (m.sharpe(returns, 252), m.sortino(returns, 252)):
        assert math.isnan(ratio) or np.sign(ratio) == np.sign(mean)
