"""Bars that the tests of the strategies share."""

from __future__ import annotations

from pathlib import Path

import pytest

import quant as q

SAMPLE = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def spy() -> q.Bars:
    return q.bars("SPY", "1d", source="sample", data=SAMPLE)


@pytest.fixture(scope="session")
def spy_minutes() -> q.Bars:
    """Four sessions of one-minute bars, each with a bar at 16:00, outside the session."""
    return q.bars("SPY", "1m", source="sample", data=SAMPLE)


@pytest.fixture(scope="session")
def quarters() -> q.Bars:
    """15-minute bars with the half days of Thanksgiving and Christmas 2020."""
    return q.synthetic("X", "15m", "2020-11-16", "2021-01-15", seed=7)
