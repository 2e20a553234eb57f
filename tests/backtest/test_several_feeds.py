"""Several feeds on one account: q.Strategy by signals and signals_all, feeds of different pace, look-ahead orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.core.barsize import bar_size
from quant.errors import LookAheadOrder, ParameterError, SignalsError

START = 100_000.0


class Momentum(q.Strategy):
    params = dict(n=5)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        before = np.append(np.full(p.n, np.nan), bars.close[: -p.n])[: len(bars)]
        return np.where(np.isnan(before), np.nan, np.sign(bars.close - before))


class Rank(q.Strategy):
    """Long the symbol with the higher close, once both have one."""

    @staticmethod
    def signals_all(panel: q.Panel, p: Any) -> Any:
        best = np.argmax(np.where(np.isnan(panel.close), -np.inf, panel.close), axis=1)
        return (np.arange(len(panel.symbols)) == best[:, None]).astype(float)


def fills_of(run: q.Run, name: str) -> list[tuple[Any, ...]]:
    rows = run.fills[run.fills["symbol"] == name]
    return list(zip(rows["time"], rows["quantity"], rows["price"], rows["commission"], strict=True))


def pace(name: str) -> tuple[q.Bars, q.Bars]:
    """An hourly and a daily feed; of one symbol, or of New York and Tokyo."""
    hourly = q.synthetic("HHH", "1h", "2020-01-01", "2020-02-28", seed=3)
    if name == "same symbol":
        return hourly, hourly.resample("1d")
    if name == "late start":
        return hourly, q.synthetic("DDD", "1d", "2020-02-03", "2020-03-31", seed=5)
    if name == "Tokyo":
        return hourly, q.synthetic("TTT", "1d", "2020-01-01", "2020-02-28", seed=5, calendar="XTKS")
    return hourly, q.synthetic("DDD", "1d", "2019-12-02", "2020-01-31", seed=5)


PACES = ["same symbol", "late start", "Tokyo", "early end"]


@pytest.mark.parametrize("name", PACES)
def test_feeds_trade_as_alone_on_an_account_that_is_large_enough(name: str) -> None:
    feeds = pace(name)
    kwargs: dict[str, Any] = {"sizing": "shares:10", "costs": "ib-fixed", "cash": 1e9, "save": False}
    together = q.backtest(Momentum, feeds, **kwargs)
    names = together.fills["symbol"].unique()
    assert len(names) == 2
    for bars in feeds:
        alone = q.backtest(Momentum, bars, **kwargs)
        mine = next(n for n in names if n in (bars.symbol, f"{bars.symbol} {bars.bar}"))
        assert fills_of(together, mine) == fills_of(alone, bars.symbol)
        assert len(fills_of(alone, bars.symbol)) > 5


@pytest.mark.parametrize("name", PACES)
def test_steps_are_the_union_of_the_ends(name: str) -> None:
    feeds = pace(name)
    run = q.backtest(Momentum, feeds, sizing="shares:10", costs="none", save=False)
    ends = sorted({*feeds[0].end.tolist(), *feeds[1].end.tolist()})
    assert run.equity.index.as_unit("ns").astype(np.int64).tolist() == ends
    assert str(run.equity.index.tz) == "UTC"
    assert isinstance(run.position, dict)


def test_the_default_shares_the_equity_among_the_feeds(daily: q.Bars, other: q.Bars) -> None:
    run = q.backtest(Always, [daily, other], costs="none", save=False)
    bought = {n: 95.0 / 2 / 100.0 * START // b.close[0] for n, b in (("AAA", daily), ("BBB", other))}
    assert run.position == bought


class Always(q.Strategy):
    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.ones(len(bars))


# ---------------------------------------------------------------- signals_all
def test_signals_all_sees_the_union_and_nan_before_a_first_bar() -> None:
    seen: dict[str, Any] = {}

    class Look(q.Strategy):
        @staticmethod
        def signals_all(panel: q.Panel, p: Any) -> Any:
            seen.setdefault("panel", panel)
            return np.full((len(panel), 2), np.nan)

    hourly, late = pace("late start")
    q.backtest(Look, [hourly, late], save=False)
    panel = seen["panel"]
    assert panel.symbols == ("HHH", "DDD")
    assert panel["DDD"] is late
    before = panel.end < late.end[0]
    assert before.any()
    assert np.isnan(panel.close[before, 1]).all()
    # The value of a row is the newest bar that is over by its END.
    for i in range(0, len(panel), 7):
        for k, bars in enumerate((hourly, late)):
            over = np.flatnonzero(bars.end <= panel.end[i])
            if len(over):
                assert panel.close[i, k] == bars.close[over[-1]]
                assert panel.volume[i, k] == bars.volume[over[-1]]


def test_signals_all_equals_signals_where_columns_do_not_mix(daily: q.Bars, other: q.Bars) -> None:
    class Columns(q.Strategy):
        params = dict(n=5)

        @staticmethod
        def signals_all(panel: q.Panel, p: Any) -> Any:
            return np.column_stack([Momentum.signals(panel[s], p) for s in panel.symbols])

    one = q.backtest(Momentum, [daily, other], save=False)
    all_ = q.backtest(Columns, [daily, other], save=False)
    assert all_.fills.equals(one.fills)
    assert all_.equity.equals(one.equity)


def test_signals_all_trades_the_higher_close(daily: q.Bars, other: q.Bars) -> None:
    run = q.backtest(Rank, [daily, other], sizing="shares:1", costs="none", save=False)
    higher = (other.close > daily.close).astype(float)
    held = run.fills[run.fills["symbol"] == "BBB"].set_index("time")["quantity"].cumsum()
    starts = daily.frame().index.tz_localize("UTC")
    want = np.append(0.0, higher[:-1])  # filled one bar after the decision
    assert held.reindex(starts).ffill().fillna(0.0).tolist() == want.tolist()


def test_signals_all_refuses_another_shape_and_one_symbol_twice(hourly: q.Bars, daily: q.Bars) -> None:
    class Transposed(q.Strategy):
        @staticmethod
        def signals_all(panel: q.Panel, p: Any) -> Any:
            return panel.close.T

    with pytest.raises(SignalsError, match=r"shape \(2, \d+\), not \(\d+, 2\)"):
        q.backtest(Transposed, [daily, hourly], save=False)
    with pytest.raises(ParameterError, match=r"HHH.*twice"):
        q.backtest(Rank, [hourly, hourly.resample("1d")], save=False)


# ---------------------------------------------------------------- orders that would fill in the past
def acting(act: Callable[[Any], None]) -> type[bt.Strategy]:
    class Acts(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.orders: list[Any] = []

        def next(self) -> None:
            if not self.orders:
                act(self)

    return Acts


def is_daily_close(strategy: Any) -> bool:
    """True at the step at which the daily feed's own bar ended."""
    return bool(strategy.datas[1].datetime[0] == strategy.datas[0].datetime[0])


KINDS: dict[str, Any] = {
    "market": {},
    "limit": {"exectype": bt.Order.Limit, "price": 1.0},
    "stop": {"exectype": bt.Order.Stop, "price": 1.0},
    "stoplimit": {"exectype": bt.Order.StopLimit, "price": 1.0, "plimit": 1.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_on_a_slower_feed_within_its_bar_is_refused(kind: str) -> None:
    def act(s: Any) -> None:
        if len(s.datas[0]) >= 20 and not is_daily_close(s):
            s.orders.append(s.buy(data=s.datas[1], size=1, **KINDS[kind]))

    with pytest.raises(
        LookAheadOrder, match=rf"(?i){kind} order for HHH decided .* bar of 1d that began before"
    ):
        q.backtest(acting(act), pace("same symbol"), costs="none", save=False)


@pytest.mark.parametrize("kind", ["limit", "stop", "stoplimit"])
def test_but_for_market_orders_stock_looks_back_from_the_slow_bars_own_close_too(kind: str) -> None:
    """At the next hour stock tries the order on the day that is over."""

    def act(s: Any) -> None:
        if len(s.datas[0]) >= 20 and is_daily_close(s):
            s.orders.append(s.buy(data=s.datas[1], size=1, **KINDS[kind]))

    with pytest.raises(LookAheadOrder, match=r"Trade it on the faster feed$"):
        q.backtest(acting(act), pace("same symbol"), costs="none", save=False)


def test_a_market_order_between_the_slow_bars_fills_at_the_next_open() -> None:
    def act(s: Any) -> None:
        if len(s.datas[0]) >= 20 and is_daily_close(s):
            s.orders.append(s.buy(data=s.datas[1], size=1))

    hourly, days = pace("same symbol")
    run = q.backtest(acting(act), [hourly, days], costs="none", save=False)
    (fill,) = run.fills.itertuples()
    decided = run.orders["time"][0].value
    row = days.start.tolist().index(fill.time.value)
    assert days.end[row - 1] == decided
    assert fill.price == days.open[row]


@pytest.mark.parametrize("kind", KINDS)
def test_orders_on_the_faster_feed_are_free(kind: str) -> None:
    def act(s: Any) -> None:
        s.orders.append(s.buy(data=s.datas[0], size=1, **KINDS[kind]))

    run = q.backtest(acting(act), pace("same symbol"), costs="none", save=False)
    assert len(run.orders) == 1


def test_an_order_for_a_feed_that_has_not_begun_is_refused() -> None:
    """Stock reads the preloaded feed's last bar there and fills a limit order at its prices."""

    class Early(bt.Strategy):  # type: ignore[misc]
        def prenext(self) -> None:
            if len(self.data0) == 5:
                self.buy(data=self.data1, size=1, exectype=bt.Order.Limit, price=1e6)

    with pytest.raises(LookAheadOrder, match="DDD before its first bar"):
        q.backtest(Early, pace("late start"), costs="none", save=False)


def test_a_targets_strategy_decides_for_each_feed_at_its_own_closes_only() -> None:
    run = q.backtest(Momentum, pace("same symbol"), sizing="shares:1", save=False)
    days = run.orders[run.orders["symbol"] == "HHH 1d"]
    assert len(days) > 5
    ends = set(pace("same symbol")[1].end.tolist())
    assert {t.value for t in days["time"]} <= ends


# ---------------------------------------------------------------- clocks
def test_exchanges_of_two_zones_run_on_utc() -> None:
    hourly, tokyo = pace("Tokyo")
    days: list[Any] = []

    class Watch(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            days.append(self.datas[1].datetime.datetime(0))

    q.backtest(Watch, [hourly, tokyo], costs="none", save=False)
    assert {d.hour for d in days} == {6}  # Tokyo closed at 15:00 local time, 06:00 UTC, in 2020


def test_overlapping_sessions_never_go_back() -> None:
    """A CME session of the next date is open while New York's after-hours bars still belong to the day."""
    cme = q.synthetic("ES", "1h", "2020-01-02", "2020-01-15", seed=1, calendar="CMES")
    # Half hours from 19:00 in New York: 00:30 UTC is a step of this feed alone, after Chicago's next session began.
    start = np.array([np.datetime64(f"2020-01-{d:02d}T00:00", "ns") for d in (7, 8, 9)])
    price = np.full(3, 10.0)
    us = q.Instrument("AFT", calendar="XNYS", timezone="America/New_York")
    after = q.Bars(us, bar_size("30m"), start.view(np.int64), price, price, price, price, price, rth=False)
    run = q.backtest(Always, [cme, after], sizing="shares:1", costs="none", save=False)
    assert run.returns.index.is_monotonic_increasing
    assert run.returns.index.is_unique
    assert np.isclose(np.prod(1 + run.returns), run.final_value / START, rtol=1e-12)
