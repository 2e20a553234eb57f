"""q.Cerebro equals stock where users' own parts look into a run at odd moments, or a feature is rarely used."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import backtrader as bt
import pytest

import quant as q
from quant.backtest.cerebro import first_difference


class Trades(bt.Strategy):
    """Market, limit and trailing orders and targets at random."""

    params = (("seed", 1),)

    def __init__(self) -> None:
        self.rng, self.sma = random.Random(self.p.seed), bt.ind.SMA(period=5)

    def next(self) -> None:
        rng = self.rng
        if rng.random() > 0.2:
            return
        data, send, kind = rng.choice(self.datas), rng.choice([self.buy, self.sell]), rng.randrange(4)
        if kind == 0:
            send(data=data, size=rng.choice([1, 7]))
        elif kind == 1:
            send(data=data, exectype=bt.Order.Limit, price=data.close[0] * rng.uniform(0.98, 1.02), size=4)
        elif kind == 2:
            send(data=data, exectype=bt.Order.StopTrail, trailpercent=0.02, size=2)
        else:
            self.order_target_percent(data, target=rng.uniform(-0.3, 0.5))


class HeikinAshi(Trades):
    def __init__(self) -> None:
        super().__init__()
        self.smooth = bt.ind.HeikinAshi(self.data)  # switches runonce off


def filler_that_asks_for_the_value(cerebro: bt.Cerebro) -> None:
    def fill(order: bt.Order, price: float, ago: int) -> float:
        return min(abs(order.executed.remsize), 1 + int(cerebro.broker.getvalue()) % 3)

    cerebro.broker.set_filler(fill)


def commission_of_the_value(cerebro: bt.Cerebro) -> None:
    class OfValue(bt.CommInfoBase):
        params = (("stocklike", True),)

        def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
            return cerebro.broker.getvalue() * 1e-4

    cerebro.broker.addcommissioninfo(OfValue())


def sizer_of_the_value(cerebro: bt.Cerebro) -> None:
    class Tenth(bt.Sizer):
        def _getsizing(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> float:
            return int(self.broker.getvalue() * 0.1 / data.close[0])

    cerebro.addsizer(Tenth)


def compensated(cerebro: bt.Cerebro) -> None:
    cerebro.datas[1].compensate(cerebro.datas[0])


def leverage(cerebro: bt.Cerebro) -> None:
    percent = bt.CommInfoBase.COMM_PERC
    cerebro.broker.setcommission(commission=0.001, leverage=3.0, mult=2.0, stocklike=True, commtype=percent)


def automatic_margin(cerebro: bt.Cerebro) -> None:
    cerebro.broker.setcommission(commission=1.0, automargin=0.1, mult=2.0, margin=5.0)


def more_strategies(cerebro: bt.Cerebro) -> None:
    cerebro.addstrategy(Trades, seed=5)
    cerebro.addstrategy(bt.strategies.MA_CrossOver)
    cerebro.addobserver(bt.observers.Value)


def benchmark(cerebro: bt.Cerebro) -> None:
    cerebro.addobserver(bt.observers.Benchmark, data=cerebro.datas[1])
    cerebro.addobserver(bt.observers.LogReturns)


def filtered(cerebro: bt.Cerebro) -> None:
    cerebro.datas[0].addfilter(bt.filters.HeikinAshi)


ODD: dict[Callable[[Any], Any], bool] = {
    filler_that_asks_for_the_value: True,
    commission_of_the_value: True,
    sizer_of_the_value: True,
    compensated: True,
    leverage: True,
    automatic_margin: True,
    more_strategies: True,
    benchmark: True,
    filtered: True,
    lambda c: setattr(c.p, "objcache", True): True,
    lambda c: setattr(c.p, "tz", 0): True,
    lambda c: setattr(c.p, "tradehistory", True): True,
    lambda c: c.adddata(c.datas[0].clone()): False,
    lambda c: c.addstrategy(HeikinAshi): False,
}


@pytest.mark.parametrize("setup", ODD)
def test_odd_ways_are_the_same_bits(setup: Callable[[Any], Any], daily: q.Bars, other: q.Bars) -> None:
    def build(make: type[bt.Cerebro]) -> bt.Cerebro:
        cerebro = make()
        cerebro.adddata(q.feed(daily))
        cerebro.adddata(q.feed(other))
        cerebro.addstrategy(Trades)
        cerebro.broker.setcash(20_000.0)
        setup(cerebro)
        made.append(cerebro)
        return cerebro

    made: list[Any] = []
    assert first_difference(build) is None
    assert len(made[1].broker.orders) > 25
    assert (made[1].fell_back is None) == ODD[setup]
