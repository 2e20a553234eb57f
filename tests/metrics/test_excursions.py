"""Excursions by hand, from the bars of each example."""

from __future__ import annotations

import numpy as np
import pytest

from quant.metrics.excursions import excursions

HIGH = np.array([101.0, 106.0, 110.0, 104.0, 99.0])
LOW = np.array([99.0, 97.0, 103.0, 95.0, 90.0])


def of(first: int, last: int, side: float, entry: float, exit_: float) -> tuple[float, float]:
    best, worst = excursions(
        np.array([first]), np.array([last]), np.array([side]), np.array([entry]), np.array([exit_]), HIGH, LOW
    )
    return float(best[0]), float(worst[0])


def test_a_long_trade_counts_the_bars_before_its_exit() -> None:
    # Bars 0 to 2 are held: 110 at most, 97 at least; the exit's own bar falls to 95, which may have come later.
    assert of(0, 3, 100.0, 100.0, 104.0) == (pytest.approx(0.10), pytest.approx(-0.03))


def test_a_short_trade_is_the_mirror_image() -> None:
    assert of(0, 3, -5.0, 100.0, 104.0) == (pytest.approx(0.03), pytest.approx(-0.10))


def test_the_exit_price_counts() -> None:
    # A stop at 96 fills in bar 3, below all that was held before.
    assert of(0, 3, 1.0, 100.0, 96.0) == (pytest.approx(0.10), pytest.approx(-0.04))


def test_within_one_bar_only_the_exit_tells() -> None:
    assert of(1, 1, 1.0, 100.0, 102.0) == (pytest.approx(0.02), 0.0)
    assert of(1, 1, -1.0, 100.0, 102.0) == (0.0, pytest.approx(-0.02))


def test_an_open_trade_runs_to_the_last_bar() -> None:
    assert of(3, 5, 1.0, 100.0, 98.0) == (pytest.approx(0.04), pytest.approx(-0.10))


def test_without_a_price_above_zero_it_is_undefined() -> None:
    assert np.isnan(of(0, 3, 1.0, 0.0, 1.0)).all()
    assert np.isnan(of(0, 3, 1.0, -2.0, 1.0)).all()


def test_no_trades_give_no_rows() -> None:
    none = np.zeros(0)
    best, worst = excursions(none.astype(int), none.astype(int), none, none, none, HIGH, LOW)
    assert (len(best), len(worst)) == (0, 0)
