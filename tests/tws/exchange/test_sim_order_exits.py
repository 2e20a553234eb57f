"""The bar model is the backtest, exits included: brackets and pairs fill as q.backtest's, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.core.bars import Bars
from quant.core.barsize import MINUTE, SECOND, bar_size
from quant.core.instrument import Instrument
from quant.tws.exchange.account import Account
from quant.tws.exchange.bar_model import BarModel
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.orders import OrderRequest, Status, Told

SPY = Catalogue().get(756733)
assert SPY is not None
FIRST = int(np.datetime64("2020-01-01", "ns").astype(np.int64))
DAY = 24 * 60 * MINUTE


def random_bars(seed: int, size: str, n: int = 160) -> Bars:
    """Gaps, flat stretches, and prices on a coarse grid so that exits often lie exactly on an open, high or low."""
    rng = np.random.default_rng(seed)
    grid = float(rng.choice([0.01, 0.05, 0.25]))
    wild = float(rng.choice([0.002, 0.01, 0.03]))
    rows, price = [], float(rng.choice([17.0, 100.0]))
    for _ in range(n):
        o = price * (1.0 + rng.normal(0.0, wild)) if rng.random() < 0.3 else price
        c = o * (1.0 + rng.normal(0.0, wild))
        h, l = max(o, c) * (1 + abs(rng.normal(0, wild / 2))), min(o, c) * (1 - abs(rng.normal(0, wild / 2)))  # noqa: E741
        o, h, l, c = (max(round(round(x / grid) * grid, 2), grid) for x in (o, h, l, c))  # noqa: E741
        rows.append((o, max(o, h, l, c), min(o, h, l, c), c))
        price = c
    o, h, l, c = (np.array(x) for x in zip(*rows, strict=True))  # noqa: E741
    step = DAY if size == "1d" else 30 * MINUTE
    return Bars(Instrument("SPY"), bar_size(size), FIRST + step * np.arange(n), o, h, l, c, np.zeros(n))


class Exits(q.Strategy):
    """Long, flat and short at random, with a stop, a limit or both, now and then on the wrong side."""

    params = dict(seed=0, follow=False, legs="both")

    @staticmethod
    def signals(bars: Any, p: Any) -> Any:
        rng = np.random.default_rng(p.seed)
        n = len(bars)
        target = rng.choice([0.0, 1.0, -1.0], size=n)[np.cumsum(rng.random(n) < 0.15)]
        side = np.where(target < 0.0, -1.0, 1.0)
        away = rng.choice([0.003, 0.01, 0.04]) * rng.random((2, n)) - 0.0005
        stop = np.maximum(np.round(bars.close * (1.0 - side * away[0]), 2), 0.01)
        limit = np.maximum(np.round(bars.close * (1.0 + side * away[1]), 2), 0.01)
        return q.Signals(
            target,
            stop if p.legs != "limit" else None,
            limit if p.legs != "stop" else None,
            follow_stop=p.follow,
        )


KINDS = {"market": "MKT", "stop": "STP", "limit": "LMT"}


def replayed(bars: Bars, orders: Any, cash: float, late: int) -> Exchange:
    """Give the exchange the backtest's decisions: at each, the old exits go, and the new orders come."""
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account(cash=cash))
    for time, decided in orders.groupby("time", sort=False):
        now = time.value + late
        exchange.advance(now)
        for view in exchange.open_orders:
            exchange.cancel(view.request.key, now)
        entry = next((int(o.order) for o in decided.itertuples() if o.reason == "entry"), 0)
        last = int(decided.order.iloc[-1])
        for o in decided.itertuples():
            exit_ = o.reason in ("stop", "limit")
            wanted = OrderRequest(
                (1, int(o.order)), SPY, 1 if o.quantity > 0 else -1, Decimal(int(abs(o.quantity))), KINDS[o.kind],
                limit=o.price if o.kind == "limit" else None, stop=o.price if o.kind == "stop" else None, tif="GTC",
                parent=entry if exit_ else 0, oca=f"pair {o.order}" if exit_ and not entry else "", oca_type=1,
                transmit=not entry or int(o.order) < entry or int(o.order) == last,
            )  # fmt: skip
            if exit_ and not entry:  # the two of a pair share the group of the first
                first = next(int(x.order) for x in decided.itertuples() if x.reason in ("stop", "limit"))
                wanted = replace(wanted, oca=f"pair {first}")
            exchange.place(wanted, now)
    exchange.advance(int(bars.end[-1]))
    return exchange


@pytest.mark.parametrize("legs", ["both", "stop", "limit"])
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize(("size", "late"), [("1d", 0), ("30m", 0), ("30m", 2 * SECOND)])
def test_exits_fill_as_the_backtests_to_the_last_bit(size, late, follow, legs):
    seen = {"stop": 0, "limit": 0}
    ambiguous = rejected = 0
    for seed in range(4):
        bars = random_bars(seed, size)
        run = q.backtest(
            Exits, bars, params=dict(seed=seed, follow=follow, legs=legs), cash=20_000.0, costs="ib-fixed",
            sizing=["shares:100", "percent:99"][seed % 2], engine="plain", save=False,
        )  # fmt: skip
        exchange = replayed(bars, run.orders, 20_000.0, late)
        got = [
            (float(f.quantity) * f.view.request.side, f.price, c.commission) for f, c in exchange.executions
        ]
        fills = run.fills
        assert got == list(zip(fills.quantity, fills.price, fills.commission, strict=True)), seed
        if size == "1d":  # a day's bar is known by any moment in it
            rows = [int(np.searchsorted(bars.end, f.time)) for f, _ in exchange.executions]
            assert rows == [int(np.searchsorted(bars.start, t.value)) for t in fills.time], seed
        assert exchange.account.cash("USD") == run.final_cash
        assert float(exchange.account.holding(SPY).quantity) == run.position
        for reason in seen:
            seen[reason] += int((fills.reason == reason).sum())
        ambiguous += int(fills.ambiguous.sum())
        rejected += int((run.orders.status == "rejected").sum())
    wanted = {"both": ("stop", "limit"), "stop": ("stop",), "limit": ("limit",)}[legs]
    assert all(seen[reason] > 5 for reason in wanted)
    assert ambiguous > 0 or legs != "both"


def bars_of(*rows: tuple[float, float, float, float]) -> Bars:
    o, h, l, c = (np.array(x) for x in zip(*rows, strict=True))  # noqa: E741
    return Bars(
        Instrument("SPY"), bar_size("1d"), FIRST + DAY * np.arange(len(o)), o, h, l, c, np.zeros(len(o))
    )


def bracket(exchange: Exchange, now: int, stop: float, limit: float) -> None:
    common = dict(listing=SPY, quantity=Decimal(10), tif="GTC")
    exchange.place(OrderRequest((1, 1), side=1, kind="MKT", transmit=False, **common), now)
    exchange.place(
        OrderRequest((1, 2), side=-1, kind="LMT", limit=limit, parent=1, transmit=False, **common), now
    )
    exchange.place(OrderRequest((1, 3), side=-1, kind="STP", stop=stop, parent=1, **common), now)


FLAT = (10.0, 10.0, 10.0, 10.0)


@pytest.mark.parametrize(
    ("entry_bar", "wanted", "at_begin"),
    [
        ((10, 12, 8, 10), (3, 9.0), False),  # both touched, the open settles nothing: the stop
        ((10, 12, 9.5, 10), (2, 11.0), False),
        ((12, 12, 8, 10), (2, 12.0), True),  # the open has reached the limit, later the stop is touched
        ((8, 12, 8, 10), (3, 8.0), True),  # the open is beyond the stop: wrong side, at the entry's open
    ],
)  # fmt: skip
def test_on_the_entrys_bar_the_open_decides_and_then_the_stop(entry_bar, wanted, at_begin):
    # DESIGN 5.4, by hand: long at the open of the second bar, stop 9, limit 11.
    bars = bars_of(FLAT, entry_bar, FLAT)
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    bracket(exchange, int(bars.end[0]), 9.0, 11.0)
    exchange.advance(int(bars.end[1]))
    fills = [(f.view.request.key[1], f.price) for f, _ in exchange.executions]
    assert fills == [(1, float(entry_bar[0])), wanted]
    moment = exchange.executions[1][0].time
    assert moment == int(bars.times.begin[1] if at_begin else bars.end[1])
    other = 5 - wanted[0]
    assert [v.status for v in exchange.orders if v.request.key[1] == other] == [Status.CANCELLED]


def test_a_resting_exit_can_be_cancelled_by_a_late_decision_of_the_close_before():
    bars = bars_of(FLAT, FLAT, (8.0, 8.0, 8.0, 8.0), FLAT)
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    bracket(exchange, int(bars.end[0]), 9.0, 11.0)
    late = int(bars.times.begin[2]) + 2 * SECOND
    exchange.cancel((1, 3), late)
    exchange.cancel((1, 2), late)
    exchange.advance(int(bars.end[3]))
    assert len(exchange.executions) == 1
    again = Exchange(BarModel({SPY.con_id: bars}), Account())
    bracket(again, int(bars.end[0]), 9.0, 11.0)
    again.advance(int(bars.end[3]))
    assert [(f.price, f.time) for f, _ in again.executions][1:] == [(8.0, int(bars.end[2]))]


# ---------------------------------------------------------------- other kinds, as backtrader's broker has them
class Plan(bt.Strategy):
    """Sends the orders of a plan: row -> (side, arguments)."""

    params = dict(plan=None)

    def next(self) -> None:
        for side, given in self.params.plan.get(len(self) - 1, ()):
            (self.buy if side > 0 else self.sell)(size=10, **given)


def pair_of(
    kind: str, side: int, close: float, rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An order around the market: its prices as the exchange has them, and as backtrader has them.

    backtrader's price of one that trails is where the distance is counted from at first: its stop comes of it.
    """
    stop = max(round(close * (1.0 + side * 0.01 * (rng.random() - 0.1)), 2), 0.01)
    limit = max(round(stop * (1.0 + side * 0.01 * (rng.random() - 0.4)), 2), 0.01)
    trail, percent = round(close * 0.01 * (0.1 + rng.random()), 2), int(rng.integers(1, 4))
    base, behind = float(round(close)), round(base_offset(rng) * close, 2)
    if kind == "STP":
        return dict(stop=stop), dict(price=stop)
    if kind == "STP LMT":
        return dict(stop=stop, limit=limit), dict(price=stop, plimit=limit)
    if kind == "TRAIL":
        return dict(trail=trail), dict(trailamount=trail)
    asked, theirs = dict(trail_percent=float(percent)), dict(trailpercent=percent / 100)
    if kind == "TRAIL, percent":
        return asked, theirs
    away = base * (percent / 100)
    if kind == "TRAIL LIMIT, amount":
        asked, theirs, away = dict(trail=trail), dict(trailamount=trail), trail
    asked, theirs = dict(asked, stop=base + side * away), dict(theirs, price=base)
    if kind == "TRAIL, percent from a price":
        return asked, theirs
    limit = round(base + side * behind, 2)
    return dict(asked, offset=side * (limit - base)), dict(theirs, plimit=limit)


def base_offset(rng: np.random.Generator) -> float:
    """How far a limit lies behind its stop, as a share of the price; often not at all."""
    return float(rng.choice([0.0, 0.002, 0.01]))


BT = {
    "STP": bt.Order.Stop, "STP LMT": bt.Order.StopLimit, "TRAIL": bt.Order.StopTrail,
    "TRAIL, percent": bt.Order.StopTrail, "TRAIL, percent from a price": bt.Order.StopTrail,
    "TRAIL LIMIT, amount": bt.Order.StopTrailLimit, "TRAIL LIMIT, percent": bt.Order.StopTrailLimit,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(BT))
def test_stops_stop_limits_and_trailing_stops_fill_as_backtraders(kind):
    fills = 0
    for seed in range(6):
        bars = random_bars(seed + 50, "30m", 120)
        rng = np.random.default_rng(seed)
        plan: dict[int, list[Any]] = {}
        exchange = Exchange(BarModel({SPY.con_id: bars}), Account(cash=1e6))
        # So many shares short and long at first that nothing else is refused for want of cash.
        for number, row in enumerate(sorted(rng.integers(0, 100, size=12).tolist()), start=1):
            side = int(rng.choice([-1, 1]))
            asked, theirs = pair_of(kind, side, float(bars.close[row]), rng)
            plan.setdefault(row, []).append((side, dict(theirs, exectype=BT[kind])))
            wanted = OrderRequest(
                (1, number), SPY, side, Decimal(10), kind.partition(",")[0], tif="GTC", **asked
            )
            events = exchange.place(wanted, int(bars.end[row]))
            assert not any(isinstance(event, Told) for event in events)
        exchange.advance(int(bars.end[-1]))
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(q.feed(bars))
        cerebro.addstrategy(Plan, plan=plan)
        cerebro.broker.setcash(1e6)
        filled: list[tuple[int, float]] = []

        class Notes(bt.Analyzer):
            def notify_order(self, one: Any) -> None:
                if one.status == one.Completed:
                    bit = one.executed.exbits[0]
                    filled.append((int(bit.size), bit.price))  # noqa: B023

        cerebro.addanalyzer(Notes)
        cerebro.run()
        got = [(int(f.quantity) * f.view.request.side, f.price) for f, _ in exchange.executions]
        assert sorted(got) == sorted(filled), seed
        fills += len(filled)
    assert fills > 20


def test_at_the_close_and_at_the_next_sessions_open():
    start = [FIRST + h * 60 * MINUTE for h in (10, 11, 34, 35)]  # two days, two hours each
    o = np.array([10.0, 11.0, 12.0, 13.0])
    bars = Bars(
        Instrument("SPY"), bar_size("1h"), np.array(start), o, o + 0.5, o - 0.5, o + 0.25, np.zeros(4)
    )
    common = dict(listing=SPY, side=1, quantity=Decimal(10))
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    decided = int(bars.end[0])
    exchange.place(OrderRequest((1, 1), kind="MOC", **common), decided)
    exchange.place(OrderRequest((1, 2), kind="MKT", tif="OPG", **common), decided)
    exchange.place(OrderRequest((1, 3), kind="LOC", limit=11.0, **common), decided)
    exchange.place(OrderRequest((1, 4), kind="LMT", limit=11.9, tif="OPG", **common), decided)
    exchange.place(OrderRequest((1, 5), kind="LMT", limit=10.9, tif="IOC", **common), decided)
    till = start[2] + SECOND
    exchange.place(OrderRequest((1, 6), kind="LMT", limit=1.0, tif="GTD", good_till=till, **common), decided)
    exchange.advance(int(bars.end[3]))
    fills = [(f.view.request.key[1], f.price, f.time) for f, _ in exchange.executions]
    assert fills == [(1, 11.25, int(bars.end[1])), (2, 12.0, start[2])]
    ended = {v.request.key[1]: (v.status, v.done_at) for v in exchange.orders}
    assert ended[3] == (Status.CANCELLED, int(bars.end[1]))
    assert ended[4] == (Status.CANCELLED, start[2])
    assert ended[5] == (Status.CANCELLED, start[1])
    assert ended[6] == (Status.CANCELLED, start[2] + SECOND)
