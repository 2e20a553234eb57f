"""Programs as backtrader's own samples write them: at the simulated TWS they do what backtrader's broker does.

After the quick start's and samples/{bracket,oco,stoptrail,order_target,sizertest} of backtrader 1.9.78.123, rewritten.
Each order is told the same in the same bars, at the same prices; trades, cash and position are the same at every bar.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from bar_exchange import CAPITAL, WIDE, Market, _Store
from tws_market import tws_market

import quant as q
from quant.backtest.feed import feed
from quant.oms.limits import Limits

NARROW = Limits(max_notional=1e6, max_gross=1e6)  # as by default, but for the money
PAIRS = replace(NARROW, max_working=3)
SHORTS = replace(NARROW, shorts=True)


@pytest.fixture(scope="session")
def bars() -> q.Bars:
    """A made-up session of five-minute bars, under SPY's contract."""
    made = q.synthetic("SPY", "5m", "2024-05-15", "2024-05-15", seed=7, volatility=0.4)
    return replace(made, instrument=replace(made.instrument, con_id=756733, tick=0.01))


class Sample(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        self.trades: list[tuple[Any, ...]] = []
        self.money: list[tuple[Any, ...]] = []
        self.first = 0
        fast, slow = (bt.ind.SMA(self.data.close, period=n) for n in (3, 8))
        self.cross = bt.ind.CrossOver(fast, slow)
        self.order: Any = None
        self.orders: list[int] = []

    def notify_order(self, order: bt.Order) -> None:
        self.first = self.first or order.ref
        e = order.executed
        over = order.status in (
            order.Canceled,
            order.Expired,
        )  # live as soon as it is so, not with the next bar
        told = (
            0 if over else len(self),
            order.getordername(),
            order.getstatusname(),
            e.size,
            round(e.price, 6),
        )
        self.told[order.ref - self.first].append((*told, round(e.comm, 6)))
        if not order.alive() and order.ref in self.orders:
            self.orders.remove(order.ref)
        self.heard(order)

    def notify_trade(self, trade: bt.Trade) -> None:
        money = round(trade.pnl, 6), round(trade.pnlcomm, 6)
        self.trades.append((len(self), trade.size, round(trade.price, 6), *money, trade.isclosed))

    def next(self) -> None:
        money = round(self.broker.getcash(), 6), round(self.broker.getvalue(), 6)
        self.money.append((*money, self.position.size, round(self.position.price, 6)))
        self.act()

    def heard(self, order: bt.Order) -> None: ...

    def act(self) -> None:
        raise NotImplementedError  # each program has its own

    def near(self, share: float) -> float:
        return round(self.data.close[0] * share, 2)


class QuickStart(Sample):
    """One order at a time; self.order is None again once it is over."""

    def heard(self, order: bt.Order) -> None:
        if order.status not in (order.Submitted, order.Accepted):
            self.order = None

    def act(self) -> None:
        if self.order:
            return
        if not self.position and self.cross > 0:
            self.order = self.buy()
        elif self.position and self.cross < 0:
            self.order = self.sell()


class Bracket(Sample):
    """An entry below the price for a while, with a stop and a target that live longer."""

    def act(self) -> None:
        if self.orders or self.position or not self.cross > 0:
            return
        week = {"valid": timedelta(days=7)}
        made = self.buy_bracket(
            size=10, price=self.near(0.999), valid=timedelta(minutes=30), stopprice=self.near(0.995), stopargs=week,
            limitprice=self.near(1.004), limitargs=week,
        )  # fmt: skip
        self.orders = [order.ref for order in made]


class BracketByHand(Sample):
    """The same with transmit and parent, and exits that the entry's own bar does not reach."""

    def act(self) -> None:
        if self.orders or self.position or not self.cross > 0:
            return
        entry = self.buy(size=10, exectype=bt.Order.Market, transmit=False)
        stop = self.sell(size=10, exectype=bt.Order.Stop, price=self.near(0.99), parent=entry, transmit=False)
        target = self.sell(size=10, exectype=bt.Order.Limit, price=self.near(1.01), parent=entry)
        self.orders = [entry.ref, stop.ref, target.ref]


class Oco(Sample):
    """Three limits of which one fills; out after some bars."""

    def heard(self, order: bt.Order) -> None:
        if order.status == order.Completed and order.isbuy():
            self.since = len(self)

    def act(self) -> None:
        if self.orders:
            return
        if self.position:
            if len(self) - self.since >= 5:
                self.close()
        elif self.cross > 0:
            soon, late = timedelta(minutes=20), timedelta(days=5)
            one = self.buy(size=10, exectype=bt.Order.Limit, price=self.near(0.9985), valid=soon)
            two = self.buy(size=10, exectype=bt.Order.Limit, price=self.near(0.997), valid=late, oco=one)
            three = self.buy(size=10, exectype=bt.Order.Limit, price=self.near(0.99), valid=late, oco=one)
            self.orders = [one.ref, two.ref, three.ref]


class Trail(Sample):
    """Market in, a stop that trails out."""

    def act(self) -> None:
        if not self.position:
            self.order = None
            if self.cross > 0:
                self.buy(size=10)
        elif self.order is None:
            self.order = self.sell(size=10, exectype=bt.Order.StopTrail, trailamount=1.0)


class Target(Sample):
    """Shares of the equity, up and down, short too."""

    def act(self) -> None:
        target = {2: 0.3, 5: 0.6, 9: 0.2, 13: 0.0, 15: -0.4}.get(len(self) % 20)
        if target is not None:
            self.order_target_percent(target=target)


class TargetThenOut(Sample):
    """A limit far away is the target; where the averages cross it is cancelled, and the position closed."""

    def heard(self, order: bt.Order) -> None:
        if order.status == order.Completed and order.isbuy():
            self.order = self.sell(size=10, exectype=bt.Order.Limit, price=self.near(1.2))

    def act(self) -> None:
        if not self.position and self.cross > 0:
            self.buy(size=10)
        elif self.position and self.cross < 0:
            self.cancel(self.order)
            self.close()


class MovedStop(Sample):
    """A stop that is moved by cancelling it and sending another one."""

    def act(self) -> None:
        if not self.position:
            self.order = None
            if self.cross > 0:
                self.buy(size=10)
        elif self.order is None or self.near(0.997) > self.order.created.price:
            if self.order is not None:
                self.cancel(self.order)
            self.order = self.sell(size=10, exectype=bt.Order.Stop, price=self.near(0.997))


class Untied(Sample):
    """A stop and a target that are not tied to one another; the program cancels one when the other fills."""

    def heard(self, order: bt.Order) -> None:
        if order.status != order.Completed:
            return
        if order.isbuy():
            self.stop_order = self.sell(size=10, exectype=bt.Order.Stop, price=self.near(0.997))
            self.order = self.sell(size=10, exectype=bt.Order.Limit, price=self.near(1.004))
        else:
            self.cancel(self.stop_order if order.ref == self.order.ref else self.order)

    def act(self) -> None:
        if not self.position and self.cross > 0:
            self.buy(size=10)


class Fees(bt.CommInfoBase):  # type: ignore[misc]  # backtrader has no types
    """What the simulated TWS charges."""

    params = dict(stocklike=True, commtype=bt.CommInfoBase.COMM_FIXED)

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        return max(1.0, 0.005 * abs(size))


def program(cls: type[Sample], broker: Any, *feeds: Any, store: Any = None) -> Sample:
    """What stays the same where store, feed and broker are swapped."""
    cerebro = bt.Cerebro(stdstats=False, quicknotify=False)
    for one in feeds:
        cerebro.adddata(one)
    cerebro.broker = broker
    cerebro.broker.addcommissioninfo(Fees())
    if store is not None:
        cerebro.addstore(store)
    cerebro.addsizer(bt.sizers.FixedSize, stake=10)
    cerebro.addstrategy(cls)
    found: Sample = cerebro.run()[0]
    return found


def stock(cls: type[Sample], *bars: q.Bars) -> Sample:
    broker = bt.brokers.BackBroker()
    broker.setcash(CAPITAL)
    return program(cls, broker, *map(feed, bars))


def same(there: Sample, here: Sample, orders: int = 4) -> None:
    assert len(there.told) >= orders
    assert here.told == there.told
    assert here.trades == there.trades
    assert here.money == there.money


@pytest.mark.parametrize(
    ("cls", "limits"),
    [
        (QuickStart, NARROW), (Bracket, NARROW), (BracketByHand, NARROW), (Oco, PAIRS), (Trail, NARROW),
        (Target, SHORTS), (TargetThenOut, NARROW), (MovedStop, NARROW), (Untied, NARROW),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_sample_trades_at_tws_as_in_its_backtest(
    bars: q.Bars, tmp_path: Path, cls: type[Sample], limits: Limits
) -> None:
    there = stock(cls, bars)
    with tws_market(bars) as market:
        market.start(tmp_path, limits=limits)
        here = program(cls, market.broker, *market.feeds, store=_Store(market))
        assert market.broker.withheld == []
    same(there, here)


class Several(Sample):
    """Two instruments, each with a bracket of its own, as in backtrader's page on several datas."""

    def act(self) -> None:
        for n, data in enumerate(self.datas):
            if len(self) % 12 == 3 * n + 2 and not self.getposition(data).size:
                price = round(data.close[0], 2)
                kinds = {"exectype": bt.Order.Market, "stopprice": price - 0.5, "limitprice": price + 0.5}
                self.buy_bracket(data=data, size=5 + n, **kinds)
            elif len(self) % 12 == 3 * n + 10 and self.getposition(data).size:
                self.order_target_size(data, target=0)


def test_several_instruments_trade_as_in_their_backtest(tmp_path: Path) -> None:
    """Over an exchange in memory: stock wakes the exits of an entry one bar later, and so does that one."""
    many = [
        replace(made, instrument=replace(made.instrument, con_id=con_id, tick=0.01))
        for con_id, made in (
            (11 + n, q.synthetic(name, "5m", "2020-01-02", "2020-01-02", seed=4 + n, volatility=0.6))
            for n, name in enumerate(("MMM", "AXP"))
        )
    ]
    there = stock(Several, *many)
    market = Market(*many)
    market.exchange.fee = 1.0
    market.start(tmp_path, limits=WIDE)
    same(there, program(Several, market.broker, *market.feeds, store=_Store(market)), 8)
