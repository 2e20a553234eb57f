"""Small runs that the tests of quant/report share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quant as q


class Turns(q.Strategy):
    """Long and flat by turns of ten bars; draws an average over the bars and one below."""

    params = dict(days=5, word="plain")

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return (np.arange(len(bars)) // 10) % 2

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, Any]]:
        average = q.indicators.sma(bars.close, p.days)
        return {"price": {"average": average}, "Distance": {"close less average": bars.close - average}}


@pytest.fixture(scope="session")
def turns() -> type[q.Strategy]:
    """The strategy of the runs."""
    return Turns


@pytest.fixture(scope="session")
def daily() -> q.Bars:
    """A year of made-up daily bars of New York."""
    return q.synthetic("AAA", "1d", "2020-01-01", "2020-12-31", seed=1)


@pytest.fixture(scope="session")
def run(daily: q.Bars) -> q.Run:
    """A year of the strategy."""
    return q.backtest(Turns, daily, save=False)
