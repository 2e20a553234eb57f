"""q.stats against the numbers of the papers, tables of order statistics and closed forms."""

from __future__ import annotations

import math

import empyrical
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import ParameterError
from quant.research.proof import stats

# Bailey and Lopez de Prado (2012), the hedge fund of the example: monthly mean 3.6 %, deviation 7.9 %, 24 months.
FUND = 0.458
SHAPE = {"skew": -2.448, "kurtosis": 10.164}


# ---------------------------------------------------------------- the papers
def test_probabilistic_sharpe_gives_the_numbers_of_2012() -> None:
    assert stats.probabilistic_sharpe(FUND, 0.0, 24) == pytest.approx(0.9817, abs=5e-5)
    assert stats.probabilistic_sharpe(FUND, 0.0, 24, **SHAPE) == pytest.approx(0.9134, abs=5e-5)


@pytest.mark.parametrize(("benchmark", "wanted"), [(0.0, 0.987), (0.1, 0.939)])
def test_probabilistic_sharpe_gives_the_numbers_of_2025(benchmark: float, wanted: float) -> None:
    # Tests of the authors' own code beside How to Use the Sharpe Ratio, github.com/zoonek/2025-sharpe-ratio
    found = stats.probabilistic_sharpe(
        0.036 / 0.079, benchmark, 24, **SHAPE, convention="lopez-de-prado-2025"
    )
    assert found == pytest.approx(wanted, abs=5e-4)


def test_min_track_record_gives_the_number_of_2025() -> None:
    found = stats.min_track_record(0.036 / 0.079, 0.0, 0.95, **SHAPE, convention="lopez-de-prado-2025")
    assert found == pytest.approx(13.029, abs=5e-4)  # the authors' own test, as above


def test_deflated_sharpe_gives_the_number_of_2014() -> None:
    # The Deflated Sharpe Ratio, "A numerical example": 2.5 a year of 250 days over five years, 46 independent trials
    found = stats.deflated_sharpe(
        2.5 / math.sqrt(250), 1250, variance=0.5 / 250, trials=46, skew=-3.0, kurtosis=10.0
    )
    assert found == pytest.approx(0.9505, abs=5e-5)


# ---------------------------------------------------------------- what must hold
@pytest.mark.parametrize(("trials", "exact"), [(10, 1.53875), (100, 2.50759), (1000, 3.24144)])
def test_expected_max_is_near_the_tables_of_order_statistics(trials: int, exact: float) -> None:
    # Mean of the largest of n standard normals: David and Nagaraja, Order Statistics (2003); the formula is asymptotic
    assert stats.expected_max_sharpe(1.0, trials) == pytest.approx(exact, rel=0.025)
    assert stats.expected_max_sharpe(0.04, trials) == pytest.approx(0.2 * exact, rel=0.025)


def test_one_trial_is_no_search() -> None:
    assert stats.expected_max_sharpe(0.01, 1) == 0.0
    one = stats.deflated_sharpe(0.1, 500, variance=0.01, trials=1)
    assert one == stats.probabilistic_sharpe(0.1, 0.0, 500)


@given(st.floats(1.0, 1e18), st.floats(1.0, 1e18))
def test_more_trials_never_expect_less(a: float, b: float) -> None:
    few, many = sorted((a, b))
    assert 0.0 <= stats.expected_max_sharpe(1.0, few) <= stats.expected_max_sharpe(1.0, many) < 10.0


@pytest.mark.parametrize("convention", ["bailey-2012", "lopez-de-prado-2025"])
@given(
    sr=st.floats(0.02, 0.5),
    benchmark=st.floats(-0.2, 0.01),
    confidence=st.floats(0.6, 0.999),
    skew=st.floats(-2.0, 2.0),
    more=st.floats(0.0, 10.0),
)
def test_at_the_minimum_track_record_the_probability_is_the_confidence(
    convention: stats.Convention, sr: float, benchmark: float, confidence: float, skew: float, more: float
) -> None:
    shape = {"skew": skew, "kurtosis": 1.1 + skew**2 + more}
    n = stats.min_track_record(sr, benchmark, confidence, **shape, convention=convention)
    if n >= 2.0:  # a length between two whole ones will do for the formula
        found = stats.probabilistic_sharpe(sr, benchmark, n, **shape, convention=convention)  # type: ignore[arg-type]
        assert found == pytest.approx(confidence, abs=1e-9)


def test_no_length_of_record_proves_what_is_not_above_the_benchmark() -> None:
    assert stats.min_track_record(0.1, 0.1) == math.inf
    assert stats.min_track_record(-0.1, 0.1) == math.inf


def test_returns_of_two_values_have_no_error_at_their_own_ratio() -> None:
    # skew 0 and kurtosis 1 is a fair coin: 1 + (1 - 1) / 4 s^2 = 1; with skew 2 and kurtosis 5 the root is at s = 1
    assert stats.probabilistic_sharpe(0.5, 0.0, 101, 0.0, 1.0) == pytest.approx(0.9999997, abs=1e-7)
    assert stats.probabilistic_sharpe(1.0, 0.5, 100, 2.0, 5.0) == 1.0
    assert stats.probabilistic_sharpe(1.0, 1.0, 100, 2.0, 5.0) == 0.5
    assert stats.probabilistic_sharpe(1.0, 1.5, 100, 2.0, 5.0) == 0.0


# ---------------------------------------------------------------- moments
def test_moments_of_a_coin_are_those_of_the_book() -> None:
    # Bernoulli: skew (1 - 2p) / sqrt(pq), kurtosis 3 + (1 - 6pq) / (pq)
    p, q = 0.25, 0.75
    found = stats.moments([0.0, 0.0, 1.0, 0.0] * 50)
    assert found.n == 200
    assert found.skew == pytest.approx((1 - 2 * p) / math.sqrt(p * q))
    assert found.kurtosis == pytest.approx(3 + (1 - 6 * p * q) / (p * q))


def test_sharpe_ratio_is_empyricals_less_the_year() -> None:
    r = np.random.default_rng(7).normal(0.001, 0.01, (300, 3))
    each = [empyrical.sharpe_ratio(column, annualization=1) for column in r.T]
    assert stats.sharpe_ratios(r) == pytest.approx(each)
    assert stats.moments(r[:, 1]).sharpe == pytest.approx(each[1])
    assert stats.sharpe_variance(r) == pytest.approx(np.var(each, ddof=1))


@pytest.mark.parametrize("r", [[0.0] * 40, [0.01] * 40, [0.01, math.nan, 0.02], [0.01], []])
def test_moments_without_spread_or_with_gaps_are_nan(r: list[float]) -> None:
    found = stats.moments(r)
    assert found.n == len(r)
    assert all(math.isnan(v) for v in (found.sharpe, found.skew, found.kurtosis))


def test_columns_that_failed_have_no_ratio_and_no_part_in_the_variance() -> None:
    r = np.random.default_rng(1).normal(0.0, 0.01, (100, 5))
    r[:, 1], r[3, 2], r[3, 3] = 0.0, np.nan, np.inf
    ratios = stats.sharpe_ratios(r)
    assert np.isnan(ratios[[1, 2, 3]]).all()
    assert stats.sharpe_variance(r) == pytest.approx(np.var(ratios[[0, 4]], ddof=1))
    assert math.isnan(stats.sharpe_variance(r[:, :2]))


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: stats.probabilistic_sharpe(math.nan, 0.0, 24), "sr = nan: must be a finite"),
        (lambda: stats.probabilistic_sharpe(0.1, math.inf, 24), "benchmark"),
        (lambda: stats.probabilistic_sharpe(0.1, 0.0, 1), "two returns"),
        (lambda: stats.probabilistic_sharpe(0.1, 0.0, 24, 0.0, 0.0), "not the excess"),
        (lambda: stats.probabilistic_sharpe(0.1, 0.0, 24, -2.448, 6.9), "not the excess"),
        (lambda: stats.probabilistic_sharpe(0.1, 0.0, 24, convention="2012"), "bailey-2012"),  # type: ignore[arg-type]
        (lambda: stats.min_track_record(0.1, 0.0, 95.0), "0.95 for 95 %"),
        (lambda: stats.min_track_record(0.1, 0.0, 0.4), "confidence"),
        (lambda: stats.expected_max_sharpe(-0.1, 10), "variance"),
        (lambda: stats.expected_max_sharpe(math.nan, 10), "variance"),
        (lambda: stats.expected_max_sharpe(0.1, 0), "1 or more"),
        (lambda: stats.moments([[0.1, 0.2]]), "one series"),
        (lambda: stats.sharpe_ratios([0.1, 0.2]), "a column a combination"),
    ],
)
def test_bad_input_is_named(call: object, what: str) -> None:
    with pytest.raises(ParameterError, match=what.replace("(", r"\(")):
        call()  # type: ignore[operator]
