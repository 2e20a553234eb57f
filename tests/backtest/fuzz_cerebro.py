"""Random runs of plain backtrader, made twice: by stock Cerebro and by ours. All that a run shows is kept as text."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

from quant.backtest.feed import feed
from quant.core.bars import Bars
from quant.core.barsize import bar_size
from quant.core.instrument import Instrument

MINUTE = 60_000_000_000
FIRST = int(np.datetime64("2020-01-01T10:00", "ns").astype(np.int64))
O = bt.Order  # noqa: E741
KINDS = (
    "market", "close_order", "limit", "stop", "stop_limit", "trail", "trail_percent", "trail_limit", "bracket",
    "sell_bracket", "oco", "target_size", "target_value", "target_percent", "close", "cancel", "sized",
)  # fmt: skip


def frame(rng: random.Random, count: int, number: int) -> tuple[Any, ...]:
    """Return random bars; every second or later feed is often slower, and minutes are missing."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    close = np.round(100 + np.cumsum(numbers.normal(0, 0.4, count)), 2)
    if rng.random() < 0.05:
        close -= 101  # prices below zero
    start = np.concatenate(([close[0]], close[:-1])) + np.round(numbers.normal(0, 0.1, count), 2)
    high = np.maximum(start, close) + np.round(np.abs(numbers.normal(0, 0.2, count)), 2)
    low = np.minimum(start, close) - np.round(np.abs(numbers.normal(0, 0.2, count)), 2)
    volume = numbers.integers(0, 500, count).astype(float)
    every = rng.choice([1, 1, 2, 5]) if number else 1
    jumps = every * np.cumsum(1 + (numbers.random(count) < rng.choice([0.0, 0.1])))
    if rng.random() < 0.3:
        jumps *= rng.choice([1, 97, 613])  # over several days: interest, daily analyzers, expiry
    if every > 1:
        keep = slice(0, max(3, count // every))
        start, high, low, close, volume, jumps = (x[keep] for x in (start, high, low, close, volume, jumps))
    if rng.random() < 0.03:
        close = close.copy()
        close[rng.randrange(len(close))] = np.nan
    moments = FIRST + rng.choice([0, 7 if number else 0]) * MINUTE + jumps * MINUTE
    return moments, start, high, low, close, volume, every


def make_feed(rng: random.Random, columns: Any, number: int) -> Any:
    """Return it as q.feed or PandasData, sometimes from or to a date."""
    moments, o, h, l, c, v, every = columns  # noqa: E741
    options: dict[str, Any] = {"timeframe": bt.TimeFrame.Minutes, "compression": every}
    if rng.random() < 0.1:
        options["fromdate"] = pd.Timestamp(moments[len(moments) // 5]).to_pydatetime()
    if rng.random() < 0.1:
        options["todate"] = pd.Timestamp(moments[-len(moments) // 5]).to_pydatetime()
    if rng.random() < 0.2:
        options["sessionend"] = dt.time(rng.randrange(11, 23), 30)
    if np.isnan(c).any() or rng.random() < 0.25:
        data = {"open": o, "high": h, "low": l, "close": c, "volume": v}
        return bt.feeds.PandasData(dataname=pd.DataFrame(data, index=pd.DatetimeIndex(moments)), **options)
    bars = Bars(Instrument(f"S{number}"), bar_size("1m"), moments, o, h, l, c, v)
    return feed(bars, tz="UTC", stamp="start", **options)


def indicators(rng: random.Random, self: Any) -> list[Any]:
    """Return a random set of indicators, of every nesting."""
    d = self.datas[-1] if rng.random() < 0.5 else self.data
    sma = bt.ind.SMA(d, period=rng.randrange(2, 9))
    makers = [
        lambda: bt.ind.CrossOver(d.close, sma),
        lambda: bt.ind.MACD(d, period_me1=3, period_me2=6, period_signal=3),
        lambda: bt.ind.RSI(d, period=4, safediv=True),
        lambda: bt.ind.ATR(d, period=3),
        lambda: bt.ind.BollingerBands(d, period=5),
        lambda: bt.ind.Highest(d.high, period=4)(-1),
        lambda: bt.If(d.close > sma, d.high, d.low),
        lambda: bt.Max(d.close, sma, d.open(-2)),
        lambda: (d.high + d.low) / 2.0 - sma,
        lambda: bt.And(d.close > d.open, d.close > sma),
        lambda: bt.ind.Stochastic(d, period=4, safediv=True),
        lambda: NextOnly(d, period=3),
        lambda: bt.ind.SMA(bt.ind.EMA(d, period=3), period=3),
        lambda: d.close(-1),
        lambda: bt.talib.SMA(d.close, timeperiod=4),
        lambda: d.close(1) if len(self.datas) == 1 else d.close(-2),
    ]
    if len(self.datas) > 1:
        makers.append(lambda: self.data1.close() - self.data.close())
        makers.append(lambda: bt.ind.SMA(self.data1, period=3)() > self.data.close)
    return [sma] + [rng.choice(makers)() for _ in range(rng.randrange(0, 4))]


class NextOnly(bt.Indicator):
    """An indicator without `once`."""

    lines = ("up", "count")
    params = (("period", 3),)

    def __init__(self) -> None:
        self.addminperiod(self.p.period)

    def next(self) -> None:
        self.lines.up[0] = self.data[0] - self.data[1 - self.p.period]
        self.lines.count[0] = len(self)


class Commission(bt.CommInfoBase):
    """A scheme of a user's."""

    params = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_FIXED))

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        return max(1.0, abs(size) * 0.005)


class Watch(bt.Analyzer):
    """An analyzer of a user's: everything it is told."""

    def start(self) -> None:
        self.seen: list[Any] = []

    def notify_order(self, order: bt.Order) -> None:
        self.seen.append((order.status, order.executed.size))

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        self.seen.append((cash, value, fundvalue, shares))

    def next(self) -> None:
        self.seen.append((len(self), self.strategy.broker.getvalue()))

    def get_analysis(self) -> dict[str, Any]:
        return {"seen": self.seen}


class Held(bt.Observer):
    """An observer of a user's."""

    lines = ("held",)

    def next(self) -> None:
        self.lines.held[0] = self._owner.position.size


def bits(order: bt.Order) -> list[Any]:
    return [
        (b.dt, b.size, b.price, b.closed, b.opened, b.closedvalue, b.openedvalue, b.closedcomm, b.openedcomm, b.pnl,
         b.psize, b.pprice) for b in order.executed.exbits
    ]  # fmt: skip


def as_row(order: bt.Order, base: int) -> tuple[Any, ...]:
    e, c = order.executed, order.created
    return (
        order.ref - base, order.status, order.exectype, order.size, order.price, order.pricelimit, order.valid,
        order.tradeid, order.triggered, order.dteos, order.plimit, order._active, order.alive(), dict(order.info),
        c.dt, c.size, c.price, c.pricelimit, c.pclose, c.trailamount, c.trailpercent,
        e.dt, e.size, e.price, e.remsize, e.value, e.comm, e.pnl, e.margin, e.psize, e.pprice, e.p1, e.p2,
        bits(order), getattr(order, "plen", None), order.comminfo is None, order.p.data._name,
    )  # fmt: skip


TRADE = (
    "tradeid", "size", "price", "value", "commission", "pnl", "pnlcomm", "justopened", "isopen", "isclosed", "baropen",
    "dtopen", "barclose", "dtclose", "barlen", "status",
)  # fmt: skip


class Random(bt.Strategy):
    """Does at random whatever strategies do, and logs all it can see."""

    params = (("seed", 0), ("log", None), ("calm", 0.7), ("look", 0.3), ("stop_at", None))

    def __init__(self) -> None:
        self.rng = random.Random(self.p.seed)
        self.inds = indicators(self.rng, self)
        self.mine: list[bt.Order] = []
        self.base, self.trade_base = next(O.refbasis), next(bt.Trade.refbasis)

    def log(self, *what: Any) -> None:
        self.p.log.append(what)

    def notify_order(self, order: bt.Order) -> None:
        self.log("order", len(self), *as_row(order, self.base), self.broker.getcash())
        if self.rng.random() < 0.1:
            self.log(self.broker.getvalue())

    def notify_trade(self, trade: bt.Trade) -> None:
        self.log("trade", len(self), trade.ref - self.trade_base, *(getattr(trade, a) for a in TRADE))

    def prenext(self) -> None:
        self.log("prenext", len(self), self.datetime[0])
        if self.rng.random() < 0.1 and all(len(d) for d in self.datas):
            self.act()

    def nextstart(self) -> None:
        self.log("nextstart", len(self))
        self.next()

    def next(self) -> None:
        self.log(len(self), self.datetime[0], *(float(i[0]) for i in self.inds), [len(d) for d in self.datas])
        rng = self.rng
        if rng.random() < self.p.look:
            self.look()
        if rng.random() > self.p.calm:
            self.act()
            if rng.random() < 0.2:
                self.act()
        if len(self) == self.p.stop_at:
            self.env.runstop()

    def look(self) -> None:  # noqa: C901  # a list of things to look at
        rng, broker, d = self.rng, self.broker, self.rng.choice(self.datas)
        view = rng.randrange(9)
        if view == 0:
            self.log(
                broker.getvalue(), broker.get_fundvalue(), broker.get_value(mkt=True), broker.get_leverage()
            )
        elif view == 1:
            self.log(broker.getvalue([d]), broker.get_value(lever=True), broker._unrealized)
        elif view == 2:
            p = self.getposition(d)
            self.log(str(p), getattr(p, "datetime", "-"), p.adjbase)
        elif view == 3:
            self.log(
                [getattr(d, f"tick_{a}", "-") for a in ("open", "high", "low", "close", "volume", "last")]
            )
        elif view == 4:
            self.log(self.broker.getvalue(self.datas), self.buflen(), d.buflen(), len(self.lines))
        elif view == 5:
            self.log(
                list(d.close.get(size=2)), d.datetime.datetime(), self.datetime.datetime(), len(self.inds[0])
            )
        elif view == 6:
            self.log([o.ref - self.base for o in broker.get_orders_open()], len(broker.orders))
        elif view == 7 and hasattr(self.stats, "broker"):
            b = self.stats.broker
            self.log(
                len(b),
                b.lines.value[0],
                b.lines.cash[0],
                list(b.lines.value.get(size=3)),
                b.lines.value.buflen(),
            )
        elif view == 8:
            what = rng.randrange(12)
            if what == 0:
                broker.add_cash(500.0)
            elif what == 1:
                broker.cash += 10
            elif what == 2:
                broker.setcommission(commission=0.001 * rng.random())
            elif what == 3:
                broker.set_cash(broker.getcash() + 5)
            self.log(broker.getvalue(), broker.getcash(), broker.fundvalue, broker.fundshares)

    def act(self) -> None:  # noqa: C901  # a list of orders
        rng = self.rng
        d, kind = rng.choice(self.datas), rng.choice(KINDS)
        price, up = d.close[0], rng.random() < 0.5
        send = self.buy if up else self.sell
        near = lambda: round(price + rng.uniform(-0.8, 0.8), 2)  # noqa: E731
        valid = rng.choice([None, None, None, dt.timedelta(minutes=rng.randrange(1, 9)), O.DAY, 0.004, 0,
                            self.datetime.datetime() + dt.timedelta(minutes=3), self.datetime.date()])  # fmt: skip
        common: dict[str, Any] = dict(
            data=d, size=rng.choice([1, 1, 5, 40, 0.5]), tradeid=rng.choice([0, 0, 0, 1])
        )
        common |= dict(valid=valid, note=rng.random()) if rng.random() < 0.5 else {}
        orders: Any = None
        if kind == "market":
            orders = send(**common)
        elif kind == "close_order":
            orders = send(exectype=O.Close, **common)
        elif kind == "limit":
            orders = send(exectype=O.Limit, price=near(), **common)
        elif kind == "stop":
            orders = send(exectype=O.Stop, price=near(), **common)
        elif kind == "stop_limit":
            orders = send(exectype=O.StopLimit, price=near(), plimit=near(), **common)
        elif kind == "trail":
            orders = send(exectype=O.StopTrail, trailamount=0.3, **common)
        elif kind == "trail_percent":
            orders = send(exectype=O.StopTrail, trailpercent=0.003, **common)
        elif kind == "trail_limit":
            orders = send(exectype=O.StopTrailLimit, price=price, plimit=near(), trailamount=0.2, **common)
        elif kind == "bracket":
            orders = self.buy_bracket(price=near(), stopprice=price - 0.6, limitprice=price + 0.6, **common)
        elif kind == "sell_bracket":
            entry = dict(exectype=O.Market) if up else dict(price=near())
            orders = self.sell_bracket(stopprice=price + 0.6, limitprice=price - 0.6, **entry, **common)
        elif kind == "oco":
            one = send(exectype=O.Limit, price=near(), **common)
            earlier = rng.choice(self.mine) if self.mine and up else one
            orders = [one, send(exectype=O.Stop, price=near(), oco=earlier, **common)]
        elif kind == "target_size":
            orders = self.order_target_size(data=d, target=rng.choice([-5, 0, 3, 20]))
        elif kind == "target_value":
            orders = self.order_target_value(data=d, target=rng.uniform(-2000, 4000))
        elif kind == "target_percent":
            orders = self.order_target_percent(data=d, target=rng.uniform(-0.5, 1.1))
        elif kind == "close":
            orders = self.close(data=d)
        elif kind == "cancel" and self.mine:
            self.cancel(rng.choice(self.mine[-6:]))
        elif kind == "sized":
            orders = send(data=d)
        found = orders if isinstance(orders, list) else [orders]
        self.mine.extend(o for o in found if o is not None)
        self.log(kind, [None if o is None else (o.ref - self.base, o.status, o.size) for o in found])


class Telling(Random):
    """The same, with ears for cash and fund."""

    lines = ("marks",)

    def notify_cashvalue(self, cash: float, value: float) -> None:
        self.log("cash", cash, value)

    def notify_fund(self, cash: float, value: float, fundvalue: float, shares: float) -> None:
        self.log("fund", fundvalue, shares)


ANALYZERS = (
    bt.analyzers.TradeAnalyzer, bt.analyzers.DrawDown, bt.analyzers.SQN, bt.analyzers.Transactions, Watch,
    bt.analyzers.PyFolio, bt.analyzers.TimeDrawDown, bt.analyzers.VWR, bt.analyzers.PositionsValue,
)  # fmt: skip


def set_costs(rng: random.Random, broker: Any) -> None:  # noqa: C901
    broker.setcash(rng.choice([10_000, 3_000.0, 1_000_000.0]))
    kind = rng.randrange(8)
    if kind < 3:
        broker.setcommission(commission=rng.choice([0.0, 0.0005]), leverage=rng.choice([1.0, 1.0, 2.0]))
    elif kind == 3:
        broker.setcommission(commission=1.0, margin=50.0, mult=10.0)
    elif kind == 4:
        broker.setcommission(commission=0.001, interest=0.08, interest_long=rng.random() < 0.5)
    elif kind == 5:
        broker.addcommissioninfo(Commission())
    elif kind == 6:
        broker.setcommission(commission=2.0, margin=20.0, mult=5.0, name="S0")
        broker.setcommission(commission=0.001)
    if rng.random() < 0.25:
        slip = broker.set_slippage_perc if rng.random() < 0.5 else broker.set_slippage_fixed
        flags = {f: rng.random() < 0.5 for f in ("slip_open", "slip_limit", "slip_match", "slip_out")}
        slip(rng.choice([0.002, 0.05]), **flags)
    if rng.random() < 0.25:
        fillers = bt.fillers
        broker.set_filler(
            rng.choice(
                [fillers.FixedSize(size=3), fillers.FixedBarPerc(perc=2), fillers.BarPointPerc(perc=20.0)]
            )
        )
    if rng.random() < 0.15:
        broker.set_coc(True)
    if rng.random() < 0.15:
        broker.set_checksubmit(False)
    if rng.random() < 0.1:
        broker.set_shortcash(False)
    if rng.random() < 0.1:
        broker.set_fundmode(True)
    if rng.random() < 0.1:
        broker.set_int2pnl(False)


def play(make: type[bt.Cerebro], seed: int) -> tuple[list[str], str | None]:
    """Make the run of `seed`; return its text, and what ours fell back for."""
    rng = random.Random(seed)
    log: list[Any] = []
    own_broker = rng.random() < 0.1
    old = {name: rng.random() < 0.2 for name in ("oldbuysell", "oldtrades")}
    cerebro = make(
        stdstats=rng.random() < 0.5, tradehistory=rng.random() < 0.1, lookahead=rng.choice([0, 0, 0, 2]), **old
    )  # fmt: skip
    if own_broker:
        cerebro.broker = bt.brokers.BackBroker(slip_perc=0.001)
    count = rng.randrange(20, 65)
    set_costs(rng, cerebro.broker)
    for number in range(rng.choice([1, 1, 1, 2, 2, 3])):
        cerebro.adddata(make_feed(rng, frame(rng, count, number), number), name=f"S{number}")
    for number in range(rng.choice([1, 1, 1, 1, 2])):
        cerebro.addstrategy(
            rng.choice([Random, Random, Telling]), seed=seed * 7 + number, log=log, calm=rng.choice([0.6, 0.9, 0.97]),
            look=rng.choice([0.0, 0.3]), stop_at=count // 2 if rng.random() < 0.05 else None,
        )  # fmt: skip
    if rng.random() < 0.2:
        cerebro.addsizer(rng.choice([bt.sizers.PercentSizer, bt.sizers.AllInSizerInt]))
    elif rng.random() < 0.2:
        cerebro.addsizer(bt.sizers.FixedSize, stake=3)
    if rng.random() < 0.5:
        for kind in rng.sample(ANALYZERS, rng.randrange(1, 4)):
            cerebro.addanalyzer(kind)
        if rng.random() < 0.3:
            cerebro.addanalyzer(bt.analyzers.SharpeRatio, timeframe=bt.TimeFrame.Minutes)
            cerebro.addanalyzer(bt.analyzers.TimeReturn, timeframe=bt.TimeFrame.Days)
    if rng.random() < 0.15:
        cerebro.addobserver(
            rng.choice([bt.observers.DrawDown, bt.observers.Value, bt.observers.FundValue, Held])
        )
    try:
        strategies = cerebro.run()
    except (ArithmeticError, LookupError, ValueError, AttributeError, TypeError) as e:
        log.append((type(e).__name__, str(e)))  # stock fails too: the same bits to the same place
        strategies = cerebro.runningstrats
    rows = [repr(row) for row in log]
    for strategy in strategies:
        rows.extend(final(cerebro, strategy))
    return rows, getattr(cerebro, "fell_back", None)


def final(cerebro: bt.Cerebro, strategy: Any) -> list[str]:
    """Return what a run leaves behind."""
    broker = cerebro.broker
    rows = [
        repr(
            [
                getattr(broker, n)
                for n in ("cash", "_value", "_valuemkt", "_valuelever", "_leverage", "_unrealized")
            ]
        )
    ]
    rows.append(
        repr(
            [broker.getvalue(), broker.fundvalue, broker.fundshares, len(broker.pending), len(broker.notifs)]
        )
    )
    rows.extend(repr(as_row(o, strategy.base)) for o in broker.orders)
    rows.extend(repr(as_row(o, strategy.base)) for o in strategy._orders)
    for data in cerebro.datas:
        p = broker.positions.get(data)
        rows.append(repr((len(data), [getattr(data, f"tick_{a}", "-") for a in ("open", "close", "last")])))
        rows.append("-" if p is None else repr((str(p), getattr(p, "datetime", "-"))))
        rows.extend(repr((len(line), line.idx, line.array)) for line in data.lines)
        trades = strategy._trades.get(data, {})
        rows.extend(
            repr(
                [
                    (k, [[getattr(t, a) for a in TRADE] + [len(t.history)] for t in v])
                    for k, v in trades.items()
                ]
            )
        )
    rows.extend(repr((len(line), line.idx, line.array)) for line in strategy.lines)
    for indicator in strategy._lineiterators[bt.LineIterator.IndType]:
        lines = getattr(indicator.lines, "lines", indicator.lines)
        rows.extend(repr((len(line), line.idx, line.array)) for line in lines)
    for observer in strategy._lineiterators[bt.LineIterator.ObsType]:
        rows.extend(repr((len(line), line.idx, line.array, len(line.bindings))) for line in observer.lines)
    for analyzer in itertools.chain(strategy.analyzers, strategy._slave_analyzers):
        rows.append(repr(analyzer.get_analysis()))  # noqa: PERF401
    return rows
