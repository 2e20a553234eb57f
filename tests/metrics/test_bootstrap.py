"""The stationary bootstrap against theory: Lo (2002) on the Sharpe ratio's error, Politis and Romano on blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quant.errors import ParameterError
from quant.metrics.bootstrap import FEWEST, _rows, stationary_bootstrap
from quant.metrics.drawdowns import max_drawdown
from quant.metrics.returns import sharpe


def independent(n: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0006, 0.01, n)


def test_of_independent_returns_the_band_is_as_wide_as_theory_says() -> None:
    # Lo, The Statistics of Sharpe Ratios (2002): the error of SR a period is sqrt((1 + SR^2 / 2) / n).
    r = independent(2_000)
    found = stationary_bootstrap(r, 252.0, seed=1)
    assert found is not None
    low, high = found.band("sharpe")
    sr = sharpe(r, 1.0)
    wanted = 2 * 1.96 * math.sqrt((1 + sr**2 / 2) / len(r)) * math.sqrt(252)
    assert high - low == pytest.approx(wanted, rel=0.1)
    assert low < sharpe(r, 252.0) < high


def test_of_returns_that_run_on_the_band_is_wider_than_theory_of_independent_ones() -> None:
    # AR(1) with 0.5: the variance of the mean is (1 + 0.5) / (1 - 0.5) = 3 times that of independent returns.
    noise, r = independent(4_000), np.zeros(4_000)
    for i in range(1, len(r)):
        r[i] = 0.5 * r[i - 1] + noise[i]
    found = stationary_bootstrap(r, 252.0, seed=1)
    assert found is not None
    low, high = found.band("sharpe")
    independent_width = 2 * 1.96 / math.sqrt(len(r)) * math.sqrt(252)
    assert 1.4 < (high - low) / independent_width < 1.9  # sqrt(3) = 1.73, less what blocks of 16 cut


def test_blocks_run_on_and_have_the_mean_length_asked_for() -> None:
    rows = _rows(np.random.default_rng(1), 200, 1_000, 10.0)
    assert rows.min() >= 0
    assert rows.max() < 1_000
    runs_on = (np.diff(rows, axis=1) % 1_000 == 1).mean()
    assert runs_on == pytest.approx(0.9, abs=0.01)  # 1 - 1 / block
    assert np.bincount(rows.ravel(), minlength=1_000).min() > 100  # each row about 200 times


def test_a_series_of_one_return_has_its_drawdown() -> None:
    r = np.full(40, -0.01)
    found = stationary_bootstrap(r, 252.0, seed=1, samples=50)
    assert found is not None
    assert found.drawdown == pytest.approx(max_drawdown(np.cumprod(1 + r), 1.0))
    assert np.isnan(found.band("sharpe")).all()  # without spread there is no ratio


def test_the_same_seed_gives_the_same_bands_and_another_one_others() -> None:
    r = independent(300)
    bands = [stationary_bootstrap(r, 252.0, seed=s, samples=1_000).band("sharpe") for s in (5, 5, 6)]  # type: ignore[union-attr]
    assert bands[0] == bands[1] != bands[2]


@pytest.mark.parametrize("r", [independent(FEWEST - 1), np.zeros(0), np.append(independent(50), np.nan)])
def test_too_few_or_undefined_returns_give_none(r: np.ndarray) -> None:
    assert stationary_bootstrap(r, 252.0, seed=1) is None


def test_no_samples_are_refused() -> None:
    with pytest.raises(ParameterError, match="samples"):
        stationary_bootstrap(independent(50), 252.0, seed=1, samples=0)
