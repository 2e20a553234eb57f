"""Ways in which people write backtrader scripts, in the styles of many authors; written for these tests.

Each pattern takes a Cerebro class, and prints what such a script prints. `fast` says whether the fast loop makes it.
"""

# ruff: noqa: T201  # scripts print

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

import quant as q

PATTERNS: dict[str, tuple[Callable[[type[bt.Cerebro]], Any], bool]] = {}


def pattern(fast: bool = True) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        PATTERNS[function.__name__] = function, fast
        return function

    return register


def table(seed: int = 1, count: int = 160, freq: str = "B") -> pd.DataFrame:
    numbers = np.random.default_rng(seed)
    close = 50 + np.cumsum(numbers.normal(0.02, 0.8, count))
    opened = np.concatenate(([close[0]], close[:-1])) + numbers.normal(0, 0.2, count)
    high, low = np.maximum(opened, close) + 0.3, np.minimum(opened, close) - 0.3
    columns = {
        "Open": opened,
        "High": high,
        "Low": low,
        "Close": close,
        "Volume": numbers.integers(100, 900, count),
    }
    return pd.DataFrame(columns, index=pd.date_range("2020-01-01", periods=count, freq=freq))


def pandas_feed(seed: int = 1, count: int = 160, **options: Any) -> bt.feeds.PandasData:
    return bt.feeds.PandasData(dataname=table(seed, count), **options)


def our_feed(seed: int = 1, **options: Any) -> Any:
    return q.feed(q.synthetic(f"S{seed}", "1d", "2020-01-01", "2020-08-31", seed=seed), **options)


class Logged(bt.Strategy):
    """The log method of backtrader's own quick start."""

    def log(self, text: str, when: dt.date | None = None) -> None:
        print(f"{(when or self.datas[0].datetime.date(0)).isoformat()}, {text}")

    def notify_order(self, order: bt.Order) -> None:
        if order.status in [order.Submitted, order.Accepted]:
            return
        if order.status in [order.Completed]:
            side, e = "BUY" if order.isbuy() else "SELL", order.executed
            self.log(f"{side} EXECUTED, Price: {e.price!r}, Cost: {e.value!r}, Comm {e.comm!r}")
            self.bar_executed = len(self)
        elif order.status in [order.Canceled, order.Margin, order.Rejected]:
            self.log("Order Canceled/Margin/Rejected")
        self.order = None

    def notify_trade(self, trade: bt.Trade) -> None:
        if trade.isclosed:
            self.log(f"OPERATION PROFIT, GROSS {trade.pnl!r}, NET {trade.pnlcomm!r}")


class SmaCross(bt.SignalStrategy):
    def __init__(self) -> None:
        fast, slow = bt.ind.SMA(period=5), bt.ind.SMA(period=12)
        self.signal_add(bt.SIGNAL_LONGSHORT, bt.ind.CrossOver(fast, slow))

    def notify_trade(self, trade: bt.Trade) -> None:
        print(trade.ref > 0, trade.pnl, trade.barlen)


@pattern()
def quick_start(make: type[bt.Cerebro]) -> Any:
    class Strategy(Logged):
        params = (("maperiod", 15), ("printlog", True))

        def __init__(self) -> None:
            self.dataclose = self.datas[0].close
            self.order = None
            self.sma = bt.indicators.SimpleMovingAverage(self.datas[0], period=self.params.maperiod)
            bt.indicators.ExponentialMovingAverage(self.datas[0], period=25)
            bt.indicators.WeightedMovingAverage(self.datas[0], period=25).subplot = True
            bt.indicators.MACDHisto(self.datas[0])
            rsi = bt.indicators.RSI(self.datas[0])
            bt.indicators.SmoothedMovingAverage(rsi, period=10)
            bt.indicators.ATR(self.datas[0]).plot = False

        def next(self) -> None:
            self.log(f"Close, {self.dataclose[0]!r}")
            if self.order:
                return
            if not self.position:
                if self.dataclose[0] > self.sma[0]:
                    self.order = self.buy()
            elif self.dataclose[0] < self.sma[0] or len(self) >= (self.bar_executed + 5):
                self.order = self.sell()

        def stop(self) -> None:
            print(f"(MA Period {self.params.maperiod}) Ending Value {self.broker.getvalue()!r}")

    cerebro = make()
    cerebro.addstrategy(Strategy)
    cerebro.adddata(pandas_feed())
    cerebro.broker.setcash(1000.0)
    cerebro.addsizer(bt.sizers.FixedSize, stake=10)
    cerebro.broker.setcommission(commission=0.001)
    print("Starting Portfolio Value:", cerebro.broker.getvalue())
    cerebro.run()
    print("Final Portfolio Value:", cerebro.broker.getvalue())
    return cerebro


@pattern()
def next_only(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def next(self) -> None:
            closes = self.data.close.get(size=5)
            if len(closes) < 5:
                return
            mean = sum(closes) / 5
            if self.data.close[0] > mean and not self.position.size:
                self.buy(size=int(self.broker.get_cash() / self.data.close[0] * 0.9))
            elif self.data.close[0] < mean and self.position.size:
                self.close()
            print(len(self), self.position.size, self.position.price, self.broker.get_value())

    cerebro = make(stdstats=False)
    cerebro.adddata(our_feed())
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def signal_strategy(make: type[bt.Cerebro]) -> Any:
    cerebro = make()
    cerebro.adddata(pandas_feed(2))
    cerebro.addstrategy(SmaCross)
    strategies = cerebro.run()
    print(strategies[0].stats.broker.value.array[-5:], cerebro.broker.getvalue())
    return cerebro


@pattern()
def signals_of_cerebro(make: type[bt.Cerebro]) -> Any:
    class Above(bt.Indicator):
        lines = ("signal",)
        params = (("period", 8),)

        def __init__(self) -> None:
            self.lines.signal = self.data - bt.indicators.SMA(period=self.p.period)

    cerebro = make()
    cerebro.adddata(our_feed(3))
    cerebro.add_signal(bt.SIGNAL_LONG, Above)
    cerebro.add_signal(bt.SIGNAL_LONGEXIT, Above, period=4)
    cerebro.signal_accumulate(True)
    cerebro.addanalyzer(bt.analyzers.Transactions, _name="tx")
    result = cerebro.run()
    print(result[0].analyzers.tx.get_analysis(), cerebro.broker.getvalue())
    return cerebro


@pattern()
def many_feeds_by_name(make: type[bt.Cerebro]) -> Any:
    class Strategy(Logged):
        def __init__(self) -> None:
            self.inds = {d: {"sma": bt.ind.SMA(d.close, period=7)} for d in self.datas}
            self.by_name = {d._name: bt.ind.CrossOver(d, self.inds[d]["sma"]) for d in self.datas}

        def next(self) -> None:
            for i, d in enumerate(self.datas):
                when, name = self.datetime.date(), d._name
                pos = self.getposition(d).size
                if self.by_name[name][0] == 1 and not pos:
                    self.buy(data=d, size=100 + i)
                elif self.by_name[name][0] == -1 and pos:
                    self.close(data=d)
                print(when, name, pos, self.getpositionbyname(name).price)

    cerebro = make()
    for seed, name in enumerate(["AAA", "BBB", "CCC"], 1):
        cerebro.adddata(pandas_feed(seed, 160 - 20 * seed), name=name)
    cerebro.addstrategy(Strategy)
    cerebro.run()
    print(cerebro.broker.getvalue())
    return cerebro


@pattern()
def bracket_orders(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        params = dict(limit=0.005, limdays=3, limdays2=1000, hold=10)

        def notify_order(self, order: bt.Order) -> None:
            print(
                self.data.datetime.date(0),
                order.getordername(),
                order.getstatusname(),
                order.size,
                order.price,
            )
            if not order.alive() and order.ref in self.orefs:
                self.orefs.remove(order.ref)

        def __init__(self) -> None:
            self.cross = bt.ind.CrossOver(bt.ind.SMA(period=3), bt.ind.SMA(period=9))
            self.orefs: list[int] = []

        def next(self) -> None:
            if self.orefs:
                return
            if not self.position:
                if self.cross > 0.0:
                    p1 = self.data.close[0] * (1.0 - self.p.limit)
                    days = dt.timedelta(self.p.limdays)
                    later = dt.timedelta(self.p.limdays2)
                    orders = self.buy_bracket(
                        price=p1, valid=days, stopprice=p1 - 0.02 * p1, stopargs=dict(valid=later),
                        limitprice=p1 + 0.02 * p1, limitargs=dict(valid=later),
                    )  # fmt: skip
                    self.orefs = [o.ref for o in orders]
            elif (len(self) - 1) % self.p.hold == 0:
                self.close()

    cerebro = make()
    cerebro.adddata(pandas_feed(4))
    cerebro.addstrategy(Strategy)
    cerebro.run()
    print(cerebro.broker.getvalue(), len(cerebro.broker.orders))
    return cerebro


@pattern(fast=False)
def rebalance_with_a_timer(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def __init__(self) -> None:
            self.add_timer(bt.timer.SESSION_START, monthdays=[1], monthcarry=True)

        def notify_timer(self, timer: Any, when: Any, *args: Any, **kwargs: Any) -> None:
            print("timer", when)
            for d in self.datas:
                self.order_target_percent(d, target=0.45)

        def notify_order(self, order: bt.Order) -> None:
            print(order.data._name, order.status, order.executed.size)

    cerebro = make()
    cerebro.adddata(pandas_feed(1), name="A")
    cerebro.adddata(pandas_feed(2), name="B")
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern()
def rebalance_by_ranking(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        params = dict(every=21, selnum=2, reserve=0.05)

        def __init__(self) -> None:
            self.momentum = {d: bt.ind.ROC(d, period=20) for d in self.datas}
            self.month = -1

        def prenext(self) -> None:
            self.next()

        def next(self) -> None:
            if self.data.datetime.date(0).month == self.month or len(self) < 22:
                return
            self.month = self.data.datetime.date(0).month
            ranks = sorted(self.datas, key=lambda d: self.momentum[d][0], reverse=True)
            held = [d for d in self.datas if self.getposition(d).size]
            for d in (d for d in held if d not in ranks[: self.p.selnum]):
                self.order_target_percent(d, target=0.0)
            for d in ranks[: self.p.selnum]:
                self.order_target_percent(d, target=(1.0 - self.p.reserve) / self.p.selnum)

        def notify_cashvalue(self, cash: float, value: float) -> None:
            print(cash, value)

    cerebro = make()
    for seed in range(1, 6):
        cerebro.adddata(our_feed(seed))
    cerebro.addstrategy(Strategy)
    cerebro.broker.set_coc(True)
    cerebro.run()
    return cerebro


@pattern()
def analyzers_and_observers_by_name(make: type[bt.Cerebro]) -> Any:
    cerebro = make()
    cerebro.adddata(our_feed(5))
    cerebro.addstrategy(SmaCross)
    cerebro.addobserver(bt.observers.DrawDown)
    cerebro.addobserver(bt.observers.TimeReturn, timeframe=bt.TimeFrame.Months)
    cerebro.addobservermulti(bt.observers.BuySell, barplot=True)
    for kind, name in (
        (bt.analyzers.SharpeRatio, "mysharpe"), (bt.analyzers.DrawDown, "dd"), (bt.analyzers.TradeAnalyzer, "ta"),
        (bt.analyzers.Returns, "ret"), (bt.analyzers.AnnualReturn, "year"), (bt.analyzers.SQN, "sqn"),
        (bt.analyzers.PyFolio, "pf"), (bt.analyzers.Calmar, "calmar"), (bt.analyzers.GrossLeverage, "lev"),
    ):  # fmt: skip
        cerebro.addanalyzer(kind, _name=name)
    strategy = cerebro.run()[0]
    for name in ("mysharpe", "dd", "ta", "ret", "year", "sqn", "calmar", "lev"):
        print(name, strategy.analyzers.getbyname(name).get_analysis())
    for part in strategy.analyzers.pf.get_pf_items():
        print(part.to_csv())
    print(list(strategy.observers.drawdown.lines.drawdown.array))
    return cerebro


@pattern(fast=False)
def writers(make: type[bt.Cerebro]) -> Any:
    cerebro = make()
    cerebro.adddata(pandas_feed(6, 60))
    cerebro.addstrategy(SmaCross)
    out = io.StringIO()
    out.close = lambda: None  # type: ignore[method-assign]
    cerebro.addwriter(bt.WriterFile, csv=True, rounding=6, out=out)
    cerebro.run()
    print(out.getvalue())
    return cerebro


@pattern()
def optimise(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        params = dict(fast=3, slow=10)

        def __init__(self) -> None:
            if self.p.fast == 5:
                raise bt.StrategySkipError
            self.cross = bt.ind.CrossOver(bt.ind.EMA(period=self.p.fast), bt.ind.EMA(period=self.p.slow))

        def next(self) -> None:
            self.order_target_percent(target=0.9 if self.cross[0] > 0 else 0.0) if self.cross[0] else None

    cerebro = make(maxcpus=1)
    cerebro.optstrategy(Strategy, fast=range(3, 7), slow=(10, 15))
    cerebro.adddata(our_feed(7))
    cerebro.addanalyzer(bt.analyzers.DrawDown, _name="dd")
    cerebro.optcallback(lambda result: print("done", len(result)))
    for runs in cerebro.run():
        for run in runs:
            print(run.p.fast, run.p.slow, run.analyzers.dd.get_analysis())
    return cerebro


@pattern(fast=False)
def resample(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def __init__(self) -> None:
            self.weekly = bt.ind.SMA(self.data1, period=4)

        def next(self) -> None:
            print(len(self), len(self.data1), self.weekly[0], self.data1.close[0])
            self.order_target_size(target=int(self.data.close[0] > self.weekly[0]))

    cerebro = make()
    data = pandas_feed(8)
    cerebro.adddata(data)
    cerebro.resampledata(data, timeframe=bt.TimeFrame.Weeks, compression=1)
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro


@pattern(fast=False)
def replay(make: type[bt.Cerebro]) -> Any:
    class Strategy(bt.Strategy):
        def __init__(self) -> None:
            self.sma = bt.ind.SMA(self.data, period=3)

        def next(self) -> None:
            print(len(self), len(self.data), self.sma[0], self.data.close[0], self.data.tick_close)
            if self.data.close[0] > self.sma[0]:
                self.order_target_size(target=3)
            else:
                self.order_target_size(target=0)

    cerebro = make()
    cerebro.replaydata(pandas_feed(9, 60), timeframe=bt.TimeFrame.Weeks)
    cerebro.addstrategy(Strategy)
    cerebro.run()
    return cerebro
