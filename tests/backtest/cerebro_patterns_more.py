"""More ways in which people write backtrader scripts: parts of their own, orders, ends of runs."""

# ruff: noqa: T201  # scripts print

from __future__ import annotations

import collections
import datetime as dt
import io
from typing import Any

import backtrader as bt
from cerebro_patterns import Logged, SmaCross, our_feed, pandas_feed, pattern, table


@pattern()
def own_indicator(make: type[bt.Cerebro]) -> Any:
    class Range(bt.Indicator):
        lines = ("top", "bottom")
        params = (("period", 6),)
        plotinfo = dict(subplot=False)

        def __init__(self) -> None:
            self.addminperiod(self.p.period + 1)

        def next(self) -> None:
            self.lines.top[0] = max(self.data.high.get(ago=-1, size=self.p.period))
            self.lines.bottom[0] = min(self.data.low.get(ago=-1, size=self.p.period))

    class Smooth(bt.Indicator):
        lines = ("smooth",)
        params = (("weight", 0.3),)

        def once(self, start: int, end: int) -> None:
            source, line, weight = self.data.array, self.lines.smooth.array, self.p.weight
            line[start - 1] = source[start - 1]
            for i in range(start, end):
                line[i] = line[i - 1] * (1 - weight) + source[i] * weight

        def next(self) -> None:
            self.lines.smooth[0] = self.lines.smooth[-1] * (1 - self.p.weight) + self.data[0] * self.p.weight

    class Strategy(bt.Strategy):
        def __init__(self) -> None:
            self.range, self.smooth = Range(self.data), Smooth(self.data)

        def next(self) -> None:
            if self.data.close[0] > self.range.top[0] and not self.position:
                self.buy()
            elif self.data.close[0] < self.range.bottom[0] and self.position:
                self.sell()
            print(
                self.range.top[0], self.range.l.bottom[0], self.smooth[0], self.smooth[-1], self.position.size
            )

    cerebro = make()
    cerebro.adddata(pandas_feed(10))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def own_analyzer_observer_sizer_commission(make: type[bt.Cerebro]) -> Any:
    class Counts(bt.Analyzer):
        def create_analysis(self) -> None:
            self.rets = collections.OrderedDict(orders=0, bars=0, cash=[])

        def notify_order(self, order: bt.Order) -> None:
            self.rets["orders"] += 1

        def notify_cashvalue(self, cash: float, value: float) -> None:
            self.rets["cash"].append((cash, value))

        def next(self) -> None:
            self.rets["bars"] += 1

    class Size(bt.Observer):
        lines = ("size",)

        def next(self) -> None:
            self.lines.size[0] = self._owner.getposition(self.data).size

    class Half(bt.Sizer):
        params = (("share", 0.5),)

        def _getsizing(self, comminfo: Any, cash: float, data: Any, isbuy: bool) -> float:
            if isbuy:
                return int(cash * self.p.share / data.close[0])
            return self.broker.getposition(data).size

    class PerShare(bt.CommInfoBase):
        params = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_FIXED), ("least", 1.0))

        def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
            return max(self.p.least, abs(size) * 0.005)

    cerebro = make()
    cerebro.adddata(our_feed(11))
    cerebro.addstrategy(SmaCross)
    cerebro.addsizer(Half, share=0.4)
    cerebro.addanalyzer(Counts)
    cerebro.addobserver(Size)
    cerebro.broker.addcommissioninfo(PerShare())
    strategy = cerebro.run()[0]
    print(strategy.analyzers[0].get_analysis(), list(strategy.observers.size.lines[0].array))
    return cerebro


@pattern()
def every_notification(make: type[bt.Cerebro]) -> Any:  # noqa: C901
    class Strategy(bt.Strategy):
        def notify_order(self, order: bt.Order) -> None:
            print("order", order.getstatusname(), order.executed.dt, order.executed.size, order.created.dt)

        def notify_trade(self, trade: bt.Trade) -> None:
            print("trade", trade.status, trade.size, trade.value, trade.dtopen, trade.dtclose)

        def notify_cashvalue(self, cash: float, value: float) -> None:
            print("cash", cash, value)

        def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
            print("fund", fundvalue, shares)

        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            print("data", status)

        def start(self) -> None:
            print("start", len(self))

        def prenext(self) -> None:
            print("prenext", len(self))

        def nextstart(self) -> None:
            print("nextstart", len(self))
            super().nextstart()

        def __init__(self) -> None:
            self.high = bt.ind.Highest(self.data.high, period=5)

        def next(self) -> None:
            if len(self) % 7 == 0:
                self.buy(size=3)
            if len(self) % 11 == 0:
                self.sell(size=5, exectype=bt.Order.Limit, price=self.high[0])
            if len(self) == 30:
                self.broker.add_cash(1000)

        def stop(self) -> None:
            print("stop", self.broker.getvalue(), self.broker.fundvalue)

    cerebro = make()
    cerebro.adddata(our_feed(12))
    cerebro.addstrategy(Strategy)
    cerebro.broker.set_fundmode(True)
    cerebro.run()
    return cerebro


@pattern()
def cancel_and_replace(make: type[bt.Cerebro]) -> Any:
    class Strategy(Logged):
        def __init__(self) -> None:
            self.order = None
            self.atr = bt.ind.ATR(period=5)

        def next(self) -> None:
            if self.order is not None:
                self.cancel(self.order)
            price = (
                self.data.close[0] - self.atr[0] if not self.position else self.data.close[0] + self.atr[0]
            )
            send = self.sell if self.position else self.buy
            self.order = send(exectype=bt.Order.Limit, price=price, size=10, tag="mine")
            print(self.order.info["tag"], [o.ref == self.order.ref for o in self.broker.get_orders_open()])

    cerebro = make()
    cerebro.adddata(pandas_feed(13))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def trailing_stop(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        params = dict(p1=5, p2=15, stoptype=bt.Order.StopTrail, trailpercent=0.02)

        def __init__(self) -> None:
            self.crup = bt.ind.CrossUp(bt.ind.SMA(period=self.p.p1), bt.ind.SMA(period=self.p.p2))
            self.order = None

        def next(self) -> None:
            if not self.position:
                if self.crup:
                    self.buy()
                    self.order = None
            elif self.order is None:
                self.order = self.sell(exectype=self.p.stoptype, trailpercent=self.p.trailpercent)
                tcheck = self.data.close * (1.0 - self.p.trailpercent)
                print("first", self.order.created.price, tcheck)
            else:
                print(
                    self.order.created.price,
                    self.data.close[0] * (1.0 - self.p.trailpercent),
                    self.order.status,
                )

    cerebro = make()
    cerebro.adddata(our_feed(14))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern(fast=False)
def cheat_on_open(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def __init__(self) -> None:
            self.signal = bt.ind.CrossOver(bt.ind.SMA(period=3), bt.ind.SMA(period=8))

        def notify_order(self, order: bt.Order) -> None:
            print(len(self), order.getstatusname(), order.executed.price)

        def next_open(self) -> None:
            if self.signal[0] > 0 and not self.position:
                self.buy(size=int(self.broker.getcash() / self.data.open[0]))
            elif self.signal[0] < 0 and self.position:
                self.close()

    cerebro = make(cheat_on_open=True)
    cerebro.adddata(pandas_feed(15))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def delayed_lines_and_logic(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def __init__(self) -> None:
            d = self.datas[0]
            before = d.lines.close(-1)
            self.up = bt.And(d.close > before, before > d.close(-2))
            self.pick = bt.If(d.close > bt.ind.SMA(d, period=10), d.low, d.high)
            self.top = bt.Max(d.close, before, d.open)
            self.low = bt.Min(d.low, d.low(-1))
            self.mid = (d.high + d.low) / 2.0
            self.any = bt.Any(d.close < d.open, d.close < before)
            self.all = bt.All(d.close < d.open, d.close < before)
            self.sum = bt.Sum(d.high, d.low) - self.mid * 2
            self.cmp = bt.Cmp(d.close, d.open)
            self.odd = bt.DivByZero(d.close, d.close - before, zero=-1.0)

        def next(self) -> None:
            lines = (
                self.up,
                self.pick,
                self.top,
                self.low,
                self.mid,
                self.any,
                self.all,
                self.sum,
                self.cmp,
                self.odd,
            )
            print([line[0] for line in lines])
            if self.up[0] and not self.position:
                self.buy(exectype=bt.Order.Stop, price=self.top[0])
            elif self.all[0] and self.position:
                self.close()

    cerebro = make()
    cerebro.adddata(our_feed(16))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def two_strategies_share_the_cash(make: type[bt.Cerebro]) -> Any:
    cerebro = make(stdstats=False)
    cerebro.adddata(our_feed(17))
    cerebro.addstrategy(SmaCross)
    cerebro.addstrategy(SmaCross)
    cerebro.addsizer_byidx(1, bt.sizers.PercentSizer, percents=30)
    cerebro.broker.setcash(20_000)
    strategies = cerebro.run()
    print([(len(s), len(s._orders)) for s in strategies], cerebro.broker.getvalue())
    return cerebro


@pattern()
def stop_the_run(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def next(self) -> None:
            print(len(self))
            self.buy(size=1)
            if self.broker.getvalue() < 9_900 or len(self) == 40:
                self.env.runstop()

        def stop(self) -> None:
            print("stopped", len(self), len(self.data), self.position.size)

    cerebro = make()
    cerebro.adddata(our_feed(18))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def error_in_next(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def next(self) -> None:
            self.buy(size=1)
            if len(self) == 33:
                raise RuntimeError("boom")

    cerebro = make()
    cerebro.adddata(our_feed(19))
    cerebro.addstrategy(Strategy)
    try:
        cerebro.run()
    except RuntimeError as e:
        strategy = cerebro.runningstrats[0]
        print(e, len(strategy), strategy.position.size, cerebro.broker.getvalue(), strategy.data.tick_close)
        print(len(strategy.stats.broker), list(strategy.stats.broker.value.get(size=3)))
    return cerebro


@pattern()
def futures_with_margin(make: type[bt.Cerebro]) -> Any:
    class Strategy(Logged):
        def __init__(self) -> None:
            self.macd = bt.ind.MACDHisto()
            self.order = None

        def next(self) -> None:
            self.order_target_size(target=2 if self.macd.histo[0] > 0 else -2)
            print(self.broker.getcash(), self.broker.getvalue(), self.position.adjbase)

    cerebro = make()
    cerebro.adddata(our_feed(20))
    cerebro.addstrategy(Strategy)
    cerebro.broker.setcommission(commission=2.0, margin=2000.0, mult=10.0)
    cerebro.run()
    return cerebro


@pattern()
def csv_file(make: type[bt.Cerebro]) -> Any:
    lines = io.StringIO(table(21).to_csv(date_format="%Y-%m-%d"))
    cerebro = make()
    data = bt.feeds.GenericCSVData(
        dataname=lines, dtformat="%Y-%m-%d", openinterest=-1, name="csv", fromdate=dt.datetime(2020, 2, 1),  # noqa: DTZ001
        todate=dt.datetime(2020, 6, 1),  # noqa: DTZ001
    )  # fmt: skip
    cerebro.adddata(data)
    cerebro.addstrategy(SmaCross)
    cerebro.broker.set_slippage_perc(0.001)
    strategy = cerebro.run()[0]
    print(len(strategy), cerebro.broker.getvalue(), strategy.datetime.array)
    return cerebro


@pattern()
def monthly_savings(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def start(self) -> None:
            self.begin, self.month = self.broker.get_cash(), 1
            self.roi = None

        def next(self) -> None:
            if self.datetime.date().month != self.month:
                self.month = self.datetime.date().month
                self.broker.add_cash(500)
                self.order_target_value(target=self.broker.get_value() + 400)
            if len(self) % 50 == 0:
                self.broker.cash -= 7.5
            print(self.broker.get_value(), self.broker.get_fundvalue(), self.broker.get_fundshares())

        def stop(self) -> None:
            self.roi = self.broker.get_value() / self.begin - 1.0
            print(self.roi)

    cerebro = make()
    cerebro.adddata(our_feed(22))
    cerebro.addstrategy(Strategy)
    cerebro.broker.set_cash(1000.0)
    cerebro.addobserver(bt.observers.FundValue)
    cerebro.run()
    return cerebro


@pattern()
def states_as_methods(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        lines = ("mark",)

        def next(self) -> None:
            self.lines.mark[0] = 1.0
            self.buy(size=5)
            self.next = self.hold

        def hold(self) -> None:
            self.lines.mark[0] = 2.0
            if self.data.close[0] < self.data.close[-1]:
                self.close()
                del self.next

        def stop(self) -> None:
            print(self.lines.mark.array, self.broker.getvalue())

    cerebro = make()
    cerebro.adddata(our_feed(23))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro
