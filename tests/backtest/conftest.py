"""Bars that the tests of quant/backtest share."""

from __future__ import annotations

from pathlib import Path

import pytest

import quant as q

SAMPLE = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def daily() -> q.Bars:
    """A year of made-up daily bars of New York."""
    return q.synthetic("AAA", "1d", "2020-01-01", "2020-12-31", seed=1)


@pytest.fixture(scope="session")
def other() -> q.Bars:
    """The same sessions, another symbol."""
    return q.synthetic("BBB", "1d", "2020-01-01", "2020-12-31", seed=2)


@pytest.fixture(scope="session")
def hourly() -> q.Bars:
    """Two months of made-up hourly bars of New York."""
    return q.synthetic("HHH", "1h", "2020-01-01", "2020-02-28", seed=3)


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    """Three sessions of made-up one-minute bars of New York."""
    return q.synthetic("MMM", "1m", "2020-01-02", "2020-01-06", seed=4)
