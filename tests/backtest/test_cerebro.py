"""q.Cerebro: when stock's loop runs instead, and what is put off is there whenever somebody looks."""

from __future__ import annotations

import datetime as dt
import logging
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.backtest.cerebro import first_difference
from quant.backtest.lazy import LazyBroker


class Cross(bt.Strategy):
    """In above the mean of five closes, out below."""

    params = (("period", 5),)

    def __init__(self) -> None:
        self.cross = bt.ind.CrossOver(self.data.close, bt.ind.SMA(period=self.p.period))

    def next(self) -> None:
        if self.cross[0]:
            self.order_target_size(target=10 if self.cross[0] > 0 else 0)


class OwnClear(Cross):
    def clear(self) -> None:
        super().clear()


class OwnBroker(bt.brokers.BackBroker):
    pass


class FirstIsTwice(bt.feeds.PandasData):
    """The same stamp on its first two bars."""

    def preload(self) -> None:
        super().preload()
        self.lines.datetime.array[1] = self.lines.datetime.array[0]


def ready(
    bars: q.Bars, make: type[bt.Cerebro] = q.Cerebro, strategy: type = Cross, **options: Any
) -> bt.Cerebro:
    cerebro = make(**options)
    cerebro.adddata(q.feed(bars))
    cerebro.addstrategy(strategy)
    return cerebro


def twice(cerebro: bt.Cerebro) -> None:
    frame = q.synthetic("TWO", "1d", "2020-01-01", "2020-12-31", seed=2).frame()
    cerebro.adddata(FirstIsTwice(dataname=frame.set_axis(frame.index.tz_localize(None))))


FALLS_BACK: dict[str, tuple[dict[str, Any], Callable[[Any], Any], str]] = {
    "runonce": ({"runonce": False}, lambda c: None, "runonce or preload is off"),
    "preload": ({"preload": False}, lambda c: None, "runonce or preload is off"),
    "exactbars": ({"exactbars": 1}, lambda c: None, "exactbars is set"),
    "live": ({"live": True}, lambda c: None, "a feed is live"),
    "oldsync": ({"oldsync": True}, lambda c: None, "oldsync is set"),
    "quicknotify": ({"quicknotify": True}, lambda c: None, "quicknotify is set"),
    "cheat_on_open": ({"cheat_on_open": True}, lambda c: None, "cheat_on_open is set"),
    "timer": ({}, lambda c: c.add_timer(when=dt.time(10)), "a timer is in use"),
    "history": ({}, lambda c: c.add_order_history([["2020-03-02", 5, 100.0]]), "an order history is given"),
    "resampled": (
        {},
        lambda c: c.resampledata(c.datas[0], timeframe=bt.TimeFrame.Weeks),
        "resampled or replayed",
    ),
    "internals": ({}, lambda c: c.addstrategy(OwnClear), "OwnClear has its own clear"),
    "stamps": ({}, twice, "do not increase"),
}


@pytest.mark.parametrize("name", FALLS_BACK)
def test_stock_runs_what_the_fast_loop_does_not_cover_and_it_is_said(
    name: str, daily: q.Bars, caplog: Any
) -> None:
    options, change, reason = FALLS_BACK[name]

    def build(make: type[bt.Cerebro]) -> bt.Cerebro:
        cerebro = ready(daily, make, **options)
        change(cerebro)
        made.append(cerebro)
        return cerebro

    made: list[Any] = []
    with caplog.at_level(logging.INFO, "quant.backtest.cerebro"):
        assert first_difference(build) is None
    assert reason in made[1].fell_back
    assert [made[1].fell_back in r.getMessage() for r in caplog.records] == [True]


def test_the_fast_loop_says_nothing_and_its_runs_can_follow_each_other(daily: q.Bars) -> None:
    cerebro = ready(daily, runonce=False)
    first = repr(cerebro.run()[0].stats.broker.value.array.tolist())
    assert cerebro.fell_back is not None
    values = [
        repr(cerebro.run(runonce=True)[0].stats.broker.value.array[: len(daily)].tolist()) for _ in range(2)
    ]
    assert cerebro.fell_back is None
    assert values == [first, first]


def test_a_broker_of_ones_own_is_asked_at_every_bar(daily: q.Bars) -> None:
    def build(make: type[bt.Cerebro]) -> bt.Cerebro:
        cerebro = ready(daily, make)
        cerebro.broker = OwnBroker(slip_perc=0.01)
        return cerebro

    assert first_difference(build) is None
    assert type(build(q.Cerebro).broker) is OwnBroker


def test_a_broker_set_by_hand_is_still_backtraders(daily: q.Bars) -> None:
    broker = bt.brokers.BackBroker(cash=5_000.0, slip_perc=0.01)
    cerebro = ready(daily)
    cerebro.broker = broker
    assert cerebro.broker is broker
    assert isinstance(broker, bt.brokers.BackBroker)
    assert (broker.getcash(), broker.p.slip_perc) == (5_000.0, 0.01)


def test_the_first_difference_is_found(daily: q.Bars) -> None:
    def build(make: type[bt.Cerebro]) -> bt.Cerebro:
        cerebro = ready(daily, make)
        cerebro.broker.setcommission(commission=0.001 if make is bt.Cerebro else 0.0010000001)
        return cerebro

    found = first_difference(build)
    assert found is not None
    assert "'order'" in found


def test_a_build_that_ignores_the_class_proves_nothing(daily: q.Bars) -> None:
    with pytest.raises(ValueError, match="from the class that it is given"):
        first_difference(lambda _: ready(daily, q.Cerebro))


def test_values_are_there_at_the_end_without_anybody_having_asked(daily: q.Bars) -> None:
    runs = [ready(daily, make, stdstats=False) for make in (bt.Cerebro, q.Cerebro)]
    for cerebro in runs:
        cerebro.run()
    stock, ours = (
        [getattr(c.broker, n) for n in ("_value", "_unrealized", "_leverage", "_fundval")] for c in runs
    )
    assert repr(ours) == repr(stock)
    assert not vars(runs[1].broker)["_stale"]


def test_an_unknown_attribute_of_the_broker_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        LazyBroker().no_such_thing  # noqa: B018


def test_a_cerebro_goes_to_another_process(daily: q.Bars) -> None:
    cerebro = ready(daily)
    cerebro.run()
    again = pickle.loads(pickle.dumps(cerebro))  # noqa: S301
    assert again.broker.getvalue() == cerebro.broker.getvalue()
    again.broker._pchildren[7].append("child")
    assert 7 in pickle.loads(pickle.dumps(again.broker))._pchildren  # noqa: S301


def test_two_processes_optimise_as_backtrader_does(daily: q.Bars) -> None:
    found = []
    for make in (bt.Cerebro, q.Cerebro):
        cerebro = make(maxcpus=2)
        cerebro.adddata(q.feed(daily))
        cerebro.optstrategy(Cross, period=(3, 4, 5))
        cerebro.addanalyzer(bt.analyzers.DrawDown, _name="dd")
        found.append(repr([(r[0].p.period, r[0].analyzers.dd.get_analysis()) for r in cerebro.run()]))
    assert found[0] == found[1]


def test_a_late_child_of_a_filled_parent_waits_for_ever_as_in_stock(daily: q.Bars) -> None:
    class Late(bt.Strategy):
        def next(self) -> None:
            if len(self) == 3:
                self.parent = self.buy(size=1)
            if len(self) == 20:
                self.child = self.sell(size=1, parent=self.parent)
            if len(self) == 60:
                self.other = self.sell(size=1, oco=self.parent, exectype=bt.Order.Limit, price=1e6)

    ended = []
    for make in (bt.Cerebro, q.Cerebro):
        strategy = ready(daily, make, Late).run()[0]
        ended.append(
            [strategy.child.status, strategy.child._active, strategy.other.status, strategy.position.size]
        )
    assert ended[0] == ended[1] == [bt.Order.Accepted, False, bt.Order.Accepted, 1]


def test_an_order_without_a_bar_or_with_a_wrong_valid_fails_as_in_stock(daily: q.Bars) -> None:
    class Wrong(bt.Strategy):
        def next(self) -> None:
            self.buy(valid="tomorrow")

    for make in (bt.Cerebro, q.Cerebro):
        with pytest.raises(TypeError, match="str"):
            ready(daily, make, Wrong).run()


def test_whoever_holds_a_feed_sees_its_ticks(daily: q.Bars) -> None:
    class Ticks(bt.Strategy):
        def next(self) -> None:
            seen.append([getattr(self.data, f"tick_{n}") for n in ("open", "high", "low", "close", "last")])

    lists: list[list[Any]] = []
    for make in (bt.Cerebro, q.Cerebro):
        seen: list[Any] = []
        cerebro = ready(daily, make, Ticks)
        cerebro.run()
        lists.append([seen, cerebro.datas[0].tick_close, type(cerebro.datas[0].lines).__name__])
    assert repr(lists[0]) == repr(lists[1])
    assert lists[1][0][0][3] == daily.close[0]


def test_nan_closes_are_valued_as_stock_does(daily: q.Bars) -> None:
    frame = daily.frame()
    frame.index = frame.index.tz_localize(None)
    frame.iloc[100, frame.columns.get_loc("close")] = np.nan

    def build(make: type[bt.Cerebro]) -> bt.Cerebro:
        cerebro = make()
        cerebro.adddata(bt.feeds.PandasData(dataname=frame))
        cerebro.addstrategy(Cross)
        return cerebro

    assert first_difference(build) is None


@pytest.mark.parametrize("lookahead", [0, 3])
@pytest.mark.parametrize(("first", "last"), [(None, None), (40, 200), (0, 251), (10, 10), (300, 400)])
def test_a_feed_filled_in_one_go_is_the_feed_loaded_bar_by_bar(
    daily: q.Bars, first: int | None, last: int | None, lookahead: int
) -> None:
    def lines(preload: Callable[[Any], None]) -> list[Any]:
        stamps = q.feed(daily).p.stamps
        day = lambda i: None if i is None else bt.num2date(stamps[0] + i)  # noqa: E731
        feed = q.feed(daily, fromdate=day(first), todate=day(last))
        cerebro = bt.Cerebro()
        cerebro.adddata(feed)
        feed.reset()
        feed.extend(size=lookahead)
        feed._start()
        preload(feed)
        return [(x.array.tolist(), x.idx, len(x), x.extension, x.buflen()) for x in feed.lines]

    one_by_one = lines(bt.feed.DataBase.preload)
    assert repr(lines(lambda feed: feed.preload())) == repr(one_by_one)


def test_a_bar_without_orders_leaves_nothing_in_memory() -> None:
    bars = q.synthetic("LONG", "1m", "2020-01-01", "2020-01-16", calendar="24/7")

    class Sees(bt.Strategy):
        def next(self) -> None:
            if len(self) in (5_000, 20_000):
                kept.append(tracemalloc.get_traced_memory()[0])

    kept: list[int] = []
    tracemalloc.start()
    try:
        ready(bars, strategy=Sees).run()
    finally:
        tracemalloc.stop()
    assert kept[1] - kept[0] < 15_000 * 12  # a number a bar: the strategy's own line of times


def of_backtrader() -> list[type[bt.Indicator]]:
    """Return backtrader's own indicators that take one feed."""
    kinds = {k for k in vars(bt.ind).values() if isinstance(k, type) and issubclass(k, bt.Indicator)}
    return sorted((k for k in kinds if k._mindatas == 1), key=lambda k: k.__name__)


def test_every_indicator_of_backtrader_has_the_same_bits(daily: q.Bars) -> None:
    def values(make: type[bt.Cerebro], kind: type[bt.Indicator]) -> str:
        class Holds(bt.Strategy):
            def __init__(self) -> None:
                self.indicator = kind(self.data)
                self.more = (self.indicator - self.data.open) * 2 > -self.indicator, self.indicator(-2) / 3.0

            def stop(self) -> None:
                lines = [*self.indicator.lines, *self.more]
                found.append(repr([(line.array, line.idx, len(line), len(self)) for line in lines]))

        found: list[str] = []
        try:
            ready(daily[:90], make, Holds, stdstats=False).run()
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as e:
            found.append(f"{type(e).__name__}: {e}")  # it needs parameters
        return found[0]

    kinds = of_backtrader()
    assert len(kinds) > 100
    seen = [(k.__name__, values(bt.Cerebro, k)) for k in kinds]
    assert sum("nan" in v for _, v in seen) > 90
    for kind, (name, expected) in zip(kinds, seen, strict=True):
        assert values(q.Cerebro, kind) == expected, name
