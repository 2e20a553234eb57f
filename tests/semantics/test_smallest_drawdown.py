"""A drawdown of one bit is one: the compiled engine and a sweep find the deepest as backtrader's account has it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quant as q

FIRST, SECOND = 1.5, 2.0000001  # of the second one the last bit is the larger share
CLOSE = [1.0, 1.0, FIRST, math.nextafter(FIRST, 0.0), SECOND, math.nextafter(SECOND, 0.0), 2.5]
DEEPEST = (CLOSE[5] - SECOND) / SECOND
SETTINGS: dict[str, Any] = dict(cash=1.0, sizing="shares:1", costs="none", save=False)


class Holds(q.Strategy):
    """Long from the first bar on."""

    params = dict(n=1)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.ones(len(bars))


@pytest.fixture
def bars() -> q.Bars:
    days = pd.date_range("2020-01-02", periods=len(CLOSE), freq="B")
    columns = dict(open=CLOSE, high=CLOSE, low=CLOSE, close=CLOSE, volume=1.0)
    return q.Bars.from_frame(pd.DataFrame(columns, index=days), "BIT")


@pytest.mark.parametrize("engine", ["compiled", "fast", "plain"])
def test_the_deepest_of_two_drawdowns_of_one_bit(engine: str, bars: q.Bars) -> None:
    run = q.backtest(Holds, bars, engine=engine, **SETTINGS)
    assert run.equity.tolist() == CLOSE
    assert run.metrics["max_drawdown"] == DEEPEST


def test_a_sweep_finds_it_too(bars: q.Bars) -> None:
    made = q.sweep(Holds, bars, dict(n=[1]), engine="compiled", verify=1, **SETTINGS)
    assert made.table["max_drawdown"].tolist() == [DEEPEST]
