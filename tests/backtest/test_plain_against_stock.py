"""q.backtest with a plain bt.Strategy and stock Cerebro run by hand: the same fills, cash and values to the bit."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import backtrader as bt
import pytest

import quant as q

START = 20_000.0


class Plain(bt.Strategy):  # type: ignore[misc]
    """Base: what `act` does at each bar, with a list of all fills and of the account."""

    def __init__(self) -> None:
        self.fills: list[tuple[float, float, float]] = []
        self.account: list[tuple[float, float]] = []
        self.started: Any = None
        type(self).last = self
        self.setup()

    def setup(self) -> None:
        pass

    def notify_cashvalue(self, cash: float, value: float) -> None:
        self.account.append((cash, value))

    def notify_order(self, order: bt.Order) -> None:
        if order.status in (order.Partial, order.Completed):
            bit = order.executed.exbits[-1]
            self.fills.append((bit.size, bit.price, bit.comm))

    def next(self) -> None:
        self.act(len(self))

    def act(self, n: int) -> None:
        raise NotImplementedError


class Markets(Plain):
    def act(self, n: int) -> None:
        if n % 20 == 3:
            self.buy(size=30)
        if n % 20 == 12:
            self.close()


class Reversals(Plain):
    def act(self, n: int) -> None:
        if n == 3:
            self.buy(size=10)
        elif n % 15 == 0:
            self.order_target_size(target=-self.position.size)


class Brackets(Plain):
    def act(self, n: int) -> None:
        c = self.data.close[0]
        if n % 12 == 1 and not self.position:
            self.buy_bracket(size=20, exectype=bt.Order.Market, stopprice=c * 0.97, limitprice=c * 1.02)


class TightBrackets(Plain):
    """Exits so near that entry bars touch them; stock looks at them one bar later."""

    def act(self, n: int) -> None:
        c = self.data.close[0]
        if n % 12 == 1 and not self.position:
            self.buy_bracket(size=20, exectype=bt.Order.Market, stopprice=c * 0.999, limitprice=c * 1.001)


class Trails(Plain):
    def act(self, n: int) -> None:
        if not self.position and n % 9 == 0:
            self.buy(size=15)
            self.sell(size=15, exectype=bt.Order.StopTrail, trailpercent=0.02)
        if n % 25 == 0 and self.position:
            self.sell(size=1, exectype=bt.Order.StopTrailLimit, trailamount=1.0, price=self.data.close[0] - 1,
                      plimit=self.data.close[0] - 1.2)  # fmt: skip


class OneCancelsOther(Plain):
    def act(self, n: int) -> None:
        c = self.data.close[0]
        if n % 10 == 1 and not self.position:
            first = self.buy(size=10, exectype=bt.Order.Limit, price=c * 0.99, valid=timedelta(days=6))
            self.buy(size=10, exectype=bt.Order.Stop, price=c * 1.01, valid=timedelta(days=6), oco=first)
        if n % 10 == 9:
            self.close()


class Cancels(Plain):
    def setup(self) -> None:
        self.waiting: Any = None

    def act(self, n: int) -> None:
        if n % 6 == 1:
            self.waiting = self.buy(size=10, exectype=bt.Order.Limit, price=self.data.close[0] * 0.99)
        elif n % 6 == 4 and self.waiting is not None:
            self.cancel(self.waiting)
        if n % 30 == 0:
            self.close()


class CloseOrders(Plain):
    def act(self, n: int) -> None:
        if n % 10 == 1:
            self.buy(size=5, exectype=bt.Order.Close)
        if n % 10 == 6:
            self.sell(size=5, exectype=bt.Order.Close)


class StopLimits(Plain):
    def act(self, n: int) -> None:
        c = self.data.close[0]
        if n % 8 == 1 and not self.position:
            self.buy(
                size=12, exectype=bt.Order.StopLimit, price=c * 1.01, plimit=c * 1.012, valid=timedelta(4)
            )
        if n % 8 == 7:
            self.close()


class Partial(Plain):
    def setup(self) -> None:
        self.broker.set_filler(bt.broker.fillers.FixedSize(size=7))

    def act(self, n: int) -> None:
        if n % 20 == 1:
            self.buy(size=30)
        if n % 20 == 11:
            self.close()


class PartialCancel(Partial):
    """Cancels what the filler has left over."""

    def act(self, n: int) -> None:
        if n % 20 == 1:
            self.waiting = self.buy(size=30)
        if n % 20 == 4:
            self.cancel(self.waiting)
        if n % 20 == 11:
            self.close()


class TooMuch(Plain):
    """Orders beyond the cash: checksubmit refuses them, and what follows in the batch."""

    def act(self, n: int) -> None:
        if n % 10 == 1:
            self.buy(size=1_000_000)
            self.buy(size=10)
        if n % 10 == 2:
            self.buy(size=10)
        if n % 10 == 8:
            self.close()


class Indicators(Plain):
    params = (("period", 30),)

    def setup(self) -> None:
        self.cross = bt.indicators.CrossOver(self.data.close, bt.indicators.SMA(period=self.p.period))

    def act(self, n: int) -> None:
        if self.cross[0] > 0:
            self.order_target_percent(target=0.9)
        elif self.cross[0] < 0:
            self.order_target_percent(target=-0.4)


class OwnSizer(Plain):
    class Half(bt.Sizer):  # type: ignore[misc]
        def _getsizing(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> int:
            return int(cash / 2 // data.close[0])

    def setup(self) -> None:
        self.setsizer(self.Half())

    def act(self, n: int) -> None:
        if n % 14 == 1:
            self.buy()
        if n % 14 == 8:
            self.close()


class CheatOnClose(Plain):
    def setup(self) -> None:
        self.broker.set_coc(True)

    def act(self, n: int) -> None:
        if n % 14 == 1:
            self.buy(size=10)
        if n % 14 == 8:
            self.close()


ALL = [
    Markets, Reversals, Brackets, TightBrackets, Trails, OneCancelsOther, Cancels, CloseOrders, StopLimits, Partial,
    PartialCancel,
    TooMuch, Indicators, OwnSizer, CheatOnClose,
]  # fmt: skip


class InteractiveBrokers(bt.CommInfoBase):  # type: ignore[misc]
    """IB's fixed US plan, typed from its page apart from ours: 0.005 a share, at least 1, at most 1 % of the value."""

    params = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_FIXED))

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        shares = abs(size)
        return min(max(1.0, shares * 0.005), shares * price * 0.01)


def by_hand(
    cls: Any, bars: q.Bars, comminfo: Any = None, percent: float | None = None, sizer: int = 0
) -> Any:
    cerebro = bt.Cerebro()
    cerebro.adddata(q.feed(bars))
    cerebro.broker.setcash(START)
    if comminfo is not None:
        cerebro.broker.addcommissioninfo(comminfo)
    if percent is not None:
        cerebro.broker.setcommission(commission=percent)
    if sizer:
        cerebro.addsizer(bt.sizers.FixedSize, stake=sizer)
    cerebro.addstrategy(cls)
    return cerebro.run()[0]


def same(run: q.Run, stock: Any) -> None:
    # Notifications of the last bar's orders never arrive; fills of all others do.
    ours = list(zip(run.fills["quantity"], run.fills["price"], run.fills["commission"], strict=True))
    assert ours == stock.fills
    assert list(zip(run.cash, run.equity, strict=True))[-len(stock.account) :] == stock.account
    assert len(ours) > 3


@pytest.mark.parametrize("cls", ALL)
def test_without_costs(cls: Any, daily: q.Bars) -> None:
    run = q.backtest(cls, daily, cash=START, costs="none", save=False)
    same(run, by_hand(cls, daily))
    assert (
        run.metrics["slippage"] == 0.0
    )  # a stop that a gap has passed fills at the open, which is no slippage


@pytest.mark.parametrize("cls", ALL)
def test_percent_costs_are_backtraders(cls: Any, daily: q.Bars) -> None:
    run = q.backtest(cls, daily, cash=START, costs="percent:0.05", save=False)
    same(run, by_hand(cls, daily, percent=0.05 / 100))


@pytest.mark.parametrize("cls", ALL)
def test_the_fixed_plan_is_that_of_the_page(cls: Any, daily: q.Bars) -> None:
    run = q.backtest(cls, daily, cash=START, costs="ib-fixed", save=False)
    same(run, by_hand(cls, daily, comminfo=InteractiveBrokers()))


def test_own_commission_scheme_is_taken_as_it_is(daily: q.Bars) -> None:
    run = q.backtest(Markets, daily, cash=START, costs=InteractiveBrokers(), save=False)
    same(run, by_hand(Markets, daily, comminfo=InteractiveBrokers()))
    run = q.backtest(Markets, daily, cash=START, costs=lambda size, price: 2.0 + abs(size) * 0.01, save=False)
    assert run.fills["commission"].unique().tolist() == [2.0 + 30 * 0.01]


def test_a_future_with_its_own_scheme(daily: q.Bars) -> None:
    """Cash moves by multiplier x price change each bar; trades add up to the account."""

    def scheme() -> Any:
        return bt.CommissionInfo(commission=2.0, margin=1000.0, mult=5.0)

    class Contracts(Plain):
        def act(self, n: int) -> None:
            if n % 20 == 3:
                self.buy(size=3)
            if n % 20 == 12 and n < 240:
                self.close()

    run = q.backtest(Contracts, daily, cash=START, costs=scheme(), save=False)
    same(run, by_hand(Contracts, daily, comminfo=scheme()))
    assert math.isclose(run.trades["pnl"].sum(), run.final_value - START, abs_tol=0.005)
    assert run.trades["open"].sum() == 1


class Unsized(Plain):
    def act(self, n: int) -> None:
        if n % 14 == 1:
            self.buy()
        if n % 14 == 8:
            self.close()


def test_a_fixed_stake_is_backtraders_sizer(daily: q.Bars) -> None:
    run = q.backtest(Unsized, daily, cash=START, costs="none", sizing="shares:17", save=False)
    same(run, by_hand(Unsized, daily, sizer=17))
    assert set(run.fills["quantity"]) == {17.0, -17.0}


def test_a_stake_that_is_asked_for_replaces_the_strategys_own_sizer(daily: q.Bars) -> None:
    """As Cerebro.addsizer does."""
    run = q.backtest(OwnSizer, daily, cash=START, costs="none", sizing="shares:17", save=False)
    same(run, by_hand(OwnSizer, daily, sizer=17))


def test_parameters_reach_a_plain_strategy(daily: q.Bars) -> None:
    class Short(Indicators):
        params = (("period", 5),)

    run = q.backtest(Indicators, daily, params={"period": 5}, cash=START, costs="none", save=False)
    same(run, by_hand(Short, daily))


@pytest.mark.parametrize("slippage", ["percent:0.1", "ticks:3"])
def test_slippage_is_backtraders(slippage: str, daily: q.Bars) -> None:
    run = q.backtest(Brackets, daily, cash=START, costs="none", slippage=slippage, save=False)
    cerebro = bt.Cerebro()
    cerebro.adddata(q.feed(daily))
    cerebro.broker.setcash(START)
    if slippage.startswith("percent"):
        cerebro.broker.set_slippage_perc(0.1 / 100)
    else:
        cerebro.broker.set_slippage_fixed(3 * 0.01)
    cerebro.addstrategy(Brackets)
    same(run, cerebro.run()[0])
    assert run.metrics["slippage"] > 0


def test_borrow_is_backtraders_interest_on_shorts(daily: q.Bars) -> None:
    run = q.backtest(Reversals, daily, cash=START, costs="none", borrow=0.1, save=False)
    cerebro = bt.Cerebro()
    cerebro.adddata(q.feed(daily))
    cerebro.broker.setcash(START)
    cerebro.broker.set_int2pnl(False)  # else the charge stands in a fill's commission too
    cerebro.broker.setcommission(commission=0.0, interest=0.1)
    cerebro.addstrategy(Reversals)
    same(run, cerebro.run()[0])
    assert run.trades["borrow"].sum() > 0


class TwoFeeds(Plain):
    def act(self, n: int) -> None:
        one, two = self.datas
        if n % 9 == 1:
            self.buy(data=one, size=20)
            self.sell(data=two, size=10, exectype=bt.Order.Limit, price=two.close[0] * 1.01)
        if n % 9 == 6:
            self.close(data=one)
            self.close(data=two)


def test_two_feeds_of_one_pace(daily: q.Bars, other: q.Bars) -> None:
    run = q.backtest(TwoFeeds, [daily, other], cash=START, costs="none", save=False)
    cerebro = bt.Cerebro()
    cerebro.adddata(q.feed(daily))
    cerebro.adddata(q.feed(other))
    cerebro.broker.setcash(START)
    cerebro.addstrategy(TwoFeeds)
    same(run, cerebro.run()[0])
    assert set(run.fills["symbol"]) == {"AAA", "BBB"}


def test_several_symbols_prices_are_not_mixed_up(daily: q.Bars, other: q.Bars) -> None:
    run = q.backtest(TwoFeeds, [daily, other], cash=START, costs="none", save=False)
    for name, bars in (("AAA", daily), ("BBB", other)):
        opens = dict(zip(bars.start.tolist(), zip(bars.low, bars.high, strict=True), strict=True))
        for fill in run.fills[run.fills["symbol"] == name].itertuples():
            low, high = opens[fill.time.value]
            assert low <= fill.price <= high
