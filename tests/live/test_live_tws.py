"""The whole way: strategy, broker, order desk, journal, session, the wire, the simulated TWS; against q.backtest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import CAPITAL
from tws_market import TwsMarket, tws_market

import quant as q
from quant.live.signals import live_decisions
from quant.strategy import parameters, strategy

FIELDS = ["quantity", "price", "commission"]


@pytest.fixture(scope="session")
def bars() -> q.Bars:
    """Three made-up sessions of fifteen-minute bars, under SPY's contract."""
    made = q.synthetic("SPY", "15m", "2024-05-15", "2024-05-17", seed=4, volatility=0.6)
    return replace(made, instrument=replace(made.instrument, con_id=756733, tick=0.01))


class Exits(q.Strategy):
    """In and out by the clock, with a stop that follows and a limit."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        wants = np.where(np.arange(len(bars)) // 7 % 2 == 0, 1.0, -1.0)
        down, up = np.round(bars.close * 0.997, 2), np.round(bars.close * 1.003, 2)
        return q.Signals(
            wants, np.where(wants > 0, down, up), np.where(wants > 0, up, down), follow_stop=True
        )


def trade(market: TwsMarket, cls: type[q.Strategy], **params: Any) -> Any:
    found = parameters(cls, params)
    now: Callable[[], int] = lambda: market.now  # noqa: E731
    decisions = live_decisions(cls, found, market.feeds, began=0, now=now, start_rule="first-target")
    return market.run(cls, decisions=decisions, **found)


def fills(market: TwsMarket) -> list[tuple[float, float, float]]:
    told = [fill for standing in market.desk.orders for fill in standing.fills]
    told.sort(key=lambda fill: (fill.time, fill.stem))
    return [(float(f.quantity), f.price, round(f.commission or 0.0, 9)) for f in told]


def expected(run: q.Run) -> list[tuple[float, float, float]]:
    return [(float(q), p, round(c, 9)) for q, p, c in run.fills[FIELDS].itertuples(index=False)]


@pytest.mark.parametrize("short", [False, True])
def test_macd_equals_the_backtest_to_the_cent(bars: q.Bars, tmp_path: Path, short: bool) -> None:
    run = q.backtest(
        "macd", bars, params=dict(fast=3, slow=7, signal=3, short=short), cash=CAPITAL, save=False
    )
    with tws_market(bars) as market:
        trade(market.start(tmp_path), strategy("macd"), fast=3, slow=7, signal=3, short=short)
        assert len(run.fills) > 8
        assert fills(market) == expected(run)
        assert market.broker.getcash() == pytest.approx(run.final_cash, abs=0.005)
        assert market.broker.getvalue() == pytest.approx(run.final_value, abs=0.005)
        assert market.desk.halted == ""


def test_exits_equal_the_backtest_also_over_a_restart(bars: q.Bars, tmp_path: Path) -> None:
    run = q.backtest(Exits, bars, cash=CAPITAL, save=False)
    with tws_market(bars) as market:
        market.stop_after = 24
        trade(market.start(tmp_path), Exits)
        before = len(fills(market))
        trade(market.again(tmp_path), Exits)
        assert 0 < before < len(fills(market))
        assert fills(market) == expected(run)
        assert market.broker.getcash() == pytest.approx(run.final_cash, abs=0.005)


class Brackets(bt.Strategy):  # type: ignore[misc]
    """A plain strategy: a bracket whenever nothing is held and none waits."""

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.closed = 0
        self.made: list[bt.Order] = []

    def notify_order(self, order: bt.Order) -> None:
        self.told.append((order.ref, order.getstatusname()))

    def notify_trade(self, trade: bt.Trade) -> None:
        self.closed += trade.isclosed

    def next(self) -> None:
        if self.position or any(order.alive() for order in self.made):
            return
        close = self.data.close[0]
        self.made = self.buy_bracket(
            size=100,
            exectype=bt.Order.Market,
            stopprice=round(close * 0.996, 2),
            limitprice=round(close * 1.004, 2),
        )


def test_a_plain_strategy_with_brackets_trades(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars[:26]) as market:
        ran = market.start(tmp_path).run(Brackets)
        assert ran.closed > 1
        ways: dict[int, list[str]] = {}
        for number, word in ran.told:
            ways.setdefault(number, []).append(word)
        assert {tuple(way) for way in ways.values()} <= {
            ("Submitted", "Accepted", "Completed"), ("Submitted", "Accepted", "Canceled"), ("Submitted", "Accepted"),
        }  # fmt: skip
        assert market.desk.positions.get(756733, 0) == ran.position.size
