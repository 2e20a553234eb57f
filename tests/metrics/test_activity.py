"""Figures of closed trades, exposure and turnover: by hand, and SQN against backtrader's analyzer."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import backtrader as bt
import numpy as np
import pytest
from backtrader.analyzers.sqn import SQN

from quant.metrics import activity as m

BY_HAND = np.array([100.0, -50.0, 200.0, -100.0, 0.0])


def backtrader_sqn(pnl: np.ndarray) -> float:
    """Run backtrader's own SQN analyzer over trades with these profits, without a cerebro."""
    analyzer = SQN.__new__(SQN)
    analyzer.pnl, analyzer.count, analyzer.rets = [], 0, SimpleNamespace()
    for value in pnl:
        analyzer.notify_trade(
            SimpleNamespace(status=bt.Trade.Closed, Closed=bt.Trade.Closed, pnlcomm=float(value))
        )
    analyzer.stop()
    return float(analyzer.rets.sqn)


@pytest.mark.parametrize("seed", range(5))
def test_sqn_equals_backtraders_analyzer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pnl = rng.normal(20.0, 300.0, int(rng.integers(2, 200)))
    assert m.sqn(pnl) == pytest.approx(backtrader_sqn(pnl), rel=1e-11)


def test_trade_figures_by_hand() -> None:
    assert m.win_rate(BY_HAND) == 0.4  # a trade at 0 is no win
    assert m.profit_factor(BY_HAND) == 2.0  # 300 / 150
    assert m.average(BY_HAND) == 30.0
    assert (m.best(BY_HAND), m.worst(BY_HAND)) == (200.0, -100.0)


@pytest.mark.parametrize("figure", [m.win_rate, m.profit_factor, m.average, m.best, m.worst, m.sqn])
def test_without_trades_every_figure_is_undefined(figure: Callable[..., float]) -> None:
    assert math.isnan(figure(np.array([])))


def test_without_losses_the_profit_factor_is_undefined_and_without_wins_it_is_zero() -> None:
    assert math.isnan(m.profit_factor(np.array([1.0, 2.0])))
    assert m.profit_factor(np.array([-1.0, -2.0])) == 0.0


@pytest.mark.parametrize("pnl", [[5.0], [5.0, 5.0], [0.1, 0.1, 0.1]])
def test_sqn_needs_two_trades_that_differ(pnl: list[float]) -> None:
    assert math.isnan(m.sqn(np.array(pnl)))


def test_exposure_is_the_share_of_bars_held() -> None:
    assert m.exposure(np.array([True, False, False, True])) == 0.5
    assert math.isnan(m.exposure(np.array([], dtype=bool)))


def test_turnover_is_traded_value_a_year_over_mean_value() -> None:
    # 400 traded in two years on 100 on average: twice a year.
    assert m.turnover(400.0, np.array([90.0, 110.0]), 2.0) == 2.0
    assert m.turnover(0.0, np.array([90.0, 110.0]), 2.0) == 0.0
    assert math.isnan(m.turnover(1.0, np.array([-90.0, 10.0]), 2.0))
