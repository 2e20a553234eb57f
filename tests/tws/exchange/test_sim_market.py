"""The exchange: statuses in TWS's order, fills as the backtest's or on the path, nothing lost and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quant as q
from quant.core.barsize import SECOND
from quant.core.synthetic import synthetic
from quant.tws.exchange.account import Account
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.mishaps import forced
from quant.tws.exchange.models import BarModel, PathModel
from quant.tws.exchange.orders import (
    NEXT,
    Changed,
    Charged,
    Event,
    Executed,
    Opened,
    OrderRequest,
    Status,
    Told,
)
from quant.tws.exchange.path import quote
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.steps import Look, Work
from quant.tws.exchange.tape import Tape

CATALOGUE = Catalogue()


def known(con_id: int) -> Listing:
    found = CATALOGUE.get(con_id)
    assert found is not None
    return found


SPY, TOYOTA, SPX = known(756733), known(990_000_005), known(416904)
MINUTES = replace(synthetic("SPY", "1m", "2020-12-14", "2020-12-18", seed=5), instrument=SPY.instrument)
TAPE = Tape({SPY.con_id: held_bars([MINUTES])})


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def order(number: int, quantity: int, limit: float | None = None, **more: Any) -> OrderRequest:
    given = {"listing": SPY, "tif": "DAY", "kind": "MKT" if limit is None else "LMT", **more}
    return OrderRequest(
        (1, number), side=1 if quantity > 0 else -1, quantity=Decimal(abs(quantity)), limit=limit, **given
    )


def on_path(cash: float = 1e6) -> Exchange:
    return Exchange(PathModel(TAPE), Account(cash=cash))


def told(events: Sequence[Event]) -> list[str]:
    """The kinds of events, with the status or code."""
    out = []
    for e in events:
        if isinstance(e, Opened | Changed):
            out.append(f"{type(e).__name__} {e.view.status}")
        else:
            out.append(f"Told {e.code}" if isinstance(e, Told) else type(e).__name__)
    return out


NOON = at("2020-12-16T17:00:00")


# ---------------------------------------------------------------- life of an order
def test_a_market_order_fills_at_the_quote_in_the_order_in_which_tws_tells_it():
    exchange = on_path()
    events = exchange.place(order(1, 100), NOON)
    assert told(events) == [
        "Opened PreSubmitted", "Changed PreSubmitted", "Opened Submitted", "Changed Submitted",
        "Executed", "Opened Filled", "Changed Filled", "Charged",
    ]  # fmt: skip
    fill, charged = exchange.executions[0]
    last = TAPE.last(SPY, NOON)
    assert last is not None
    assert (fill.price, fill.time, fill.cumulative) == (quote(last[1], SPY.rule).ask, NOON, 100)
    assert (charged.commission, charged.currency, charged.realized) == (1.0, "USD", None)
    sold = exchange.place(order(2, -100), NOON + SECOND)
    assert [e.realized for e in sold if isinstance(e, Charged)] != [None]
    assert exchange.account.holding(SPY).quantity == 0
    assert [f.exec_id for f, _ in exchange.executions] == [
        f"0000e0d5.{NOON // SECOND:08x}.01.01",
        f"0000e0d5.{NOON // SECOND + 1:08x}.01.01",
    ]


def test_a_tws_started_later_repeats_no_id_and_one_started_for_the_same_time_all_of_them():
    def ids(start: int) -> list[int | str]:
        exchange = on_path()
        for number in range(1, 6):
            exchange.place(order(number, 10), start + number // 4 * SECOND)
        found = [f.exec_id for f, _ in exchange.executions] + [view.perm_id for view in exchange.orders]
        assert len(set(found)) == len(found) == 10
        return found

    assert ids(NOON) == ids(NOON)
    assert not set(ids(NOON)) & set(ids(NOON + 60 * SECOND))


def test_a_limit_order_waits_until_the_path_goes_through_it():
    exchange = on_path()
    last = TAPE.last(SPY, NOON)
    assert last is not None
    limit = round(last[1] - 0.05, 2)
    assert told(exchange.place(order(1, 100, limit, tif="GTC"), NOON))[-1] == "Changed Submitted"
    ticks = TAPE.ticks(SPY, NOON + 1, NOON + 3 * 86_400 * SECOND)
    through = int(ticks.time[np.flatnonzero(ticks.price < limit)[0]])
    assert exchange.advance(through - 1) == []
    events = exchange.advance(through)
    assert told(events)[0] == "Executed"
    fill = exchange.executions[0][0]
    assert (fill.price, fill.time) == (limit, through)


def test_a_limit_that_the_quote_meets_fills_at_the_quote():
    exchange = on_path()
    last = TAPE.last(SPY, NOON)
    assert last is not None
    exchange.place(order(1, 100, round(last[1] + 0.5, 2)), NOON)
    assert exchange.executions[0][0].price == quote(last[1], SPY.rule).ask


def test_a_large_limit_order_fills_in_parts_and_is_billed_as_one():
    exchange = on_path(cash=1e9)
    last = TAPE.last(SPY, NOON)
    assert last is not None
    quantity = 60_000
    exchange.place(order(1, quantity, round(last[1] - 0.02, 2), tif="GTC"), NOON)
    events = exchange.advance(at("2020-12-18T22:00:00"))
    fills = [e for e in events if isinstance(e, Executed)]
    assert len(fills) > 1
    assert sum(f.quantity for f in fills) == quantity
    assert [f.cumulative for f in fills] == np.cumsum([int(f.quantity) for f in fills]).tolist()
    fees = [e.commission for e in events if isinstance(e, Charged)]
    assert sum(fees) == pytest.approx(quantity * 0.005)
    statuses = [e.view.status for e in events if isinstance(e, Changed)]
    assert statuses == [Status.SUBMITTED] * (len(fills) - 1) + [Status.FILLED]


def test_out_of_hours_an_order_is_held_and_fills_at_the_open():
    exchange = on_path()
    night = at("2020-12-16T23:00:00")
    events = exchange.place(order(1, 100), night)
    assert told(events) == ["Opened PreSubmitted", "Changed PreSubmitted", "Told 399"]
    text = next(e.text for e in events if isinstance(e, Told))
    # Users' logs of error 399.
    assert (
        "Warning: Your order will not be placed at the exchange until 2020-12-17 09:30:00 US/Eastern." in text
    )
    opens = at("2020-12-17T14:30:00")
    assert exchange.next_at(night) == opens
    assert exchange.advance(opens - 1) == []
    assert told(exchange.advance(opens))[2:] == ["Executed", "Opened Filled", "Changed Filled", "Charged"]
    first = float(TAPE.ticks(SPY, opens, opens + 1).price[0])
    assert exchange.executions[0][0].price == quote(first, SPY.rule).ask


def test_a_day_order_ends_with_its_session_and_a_gtc_order_does_not():
    exchange = on_path()
    exchange.place(order(1, 100, 1.0), NOON)
    exchange.place(order(2, 100, 1.0, tif="GTC"), NOON)
    events = exchange.advance(at("2020-12-17T15:00:00"))
    assert told(events) == ["Changed Cancelled", "Told 202"]
    assert [v.request.key for v in exchange.open_orders] == [(1, 2)]
    assert exchange.books.ended(0)[0].done_at == at("2020-12-16T21:00:00")


def test_cancel_and_what_cannot_be_cancelled():
    exchange = on_path()
    exchange.place(order(1, 100, 1.0), NOON)
    assert told(exchange.cancel((1, 1), NOON)) == ["Changed Cancelled", "Told 202"]
    assert told(exchange.cancel((1, 1), NOON)) == ["Told 10148"]
    assert told(exchange.cancel((1, 9), NOON)) == ["Told 10147"]
    assert told(exchange.cancel((2, 1), NOON)) == ["Told 10147"]  # another client's number
    exchange.place(order(2, 100, 1.0), NOON)
    exchange.place(replace(order(3, 100, 1.0), key=(2, 3)), NOON)
    assert told(exchange.cancel_all(NOON)) == ["Changed Cancelled", "Told 202"] * 2
    assert exchange.open_orders == ()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (order(1, 100, 99.999), 110), (order(1, 100, -1.0), 110), (order(1, 100, kind="REL"), 387),
        (order(1, 100, tif="FOK"), 10052), (order(1, 0), 434), (order(1, 100, listing=SPX), 387),
        (order(1, 50, listing=TOYOTA), 201), (order(1, 100, account="DU9999999"), 321),
        (replace(order(1, 100), quantity=Decimal("0.5")), 10243), (replace(order(1, 100), kind="LMT"), 110),
    ],
)  # fmt: skip
def test_orders_that_tws_does_not_take(request_, code):
    exchange = on_path()
    assert told(exchange.place(request_, NOON)) == [f"Told {code}"]
    assert exchange.orders == ()


def test_a_number_that_was_used_is_a_change_or_an_error():
    exchange = on_path()
    exchange.place(order(1, 100, 1.0), NOON)
    assert told(exchange.place(order(1, -100, 1.0), NOON)) == ["Told 105"]
    perm_id = exchange.orders[0].perm_id
    events = exchange.place(order(1, 200, 10_000.0), NOON + SECOND)
    assert told(events)[-4:] == ["Executed", "Opened Filled", "Changed Filled", "Charged"]
    assert (exchange.orders[0].perm_id, exchange.orders[0].filled, len(exchange.orders)) == (perm_id, 200, 1)
    assert told(exchange.place(order(1, 300, 1.0), NOON + SECOND)) == ["Told 104"]
    exchange.place(order(2, 100, 1.0), NOON + SECOND)
    exchange.cancel((1, 2), NOON + SECOND)
    assert told(exchange.place(order(2, 100, 1.0), NOON + SECOND)) == ["Told 103"]


def test_every_status_but_the_last_ones_leads_on_and_these_do_not():
    froms = {status for status, _ in NEXT}
    # One that is Inactive may only be held back, and can be cancelled.
    assert froms == set(Status) - {Status.FILLED, Status.CANCELLED}
    assert all(status in Status for status in NEXT.values())


PLAN = st.lists(
    st.tuples(
        st.integers(0, 3600 * 30), st.sampled_from(["market", "limit", "cancel", "advance"]),
        st.sampled_from([-500, -100, 100, 700]), st.integers(-8, 8), st.sampled_from(["DAY", "GTC"]),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


Plan = list[tuple[int, str, int, int, str]]


def run(plan: Plan, stops: Sequence[int], exchange: Exchange | None = None) -> tuple[list[Event], Exchange]:
    """Do what the plan says, and let time pass up to each stop between."""
    exchange, events, now = exchange or on_path(cash=1e8), [], at("2020-12-14T13:00:00")
    waiting = sorted(stops)
    for number, (later, what, quantity, ticks, tif) in enumerate(plan):
        target = now + later * SECOND
        while waiting and waiting[0] < target:
            events += exchange.advance(max(waiting.pop(0), now))
        now = target
        last = TAPE.last(SPY, now)
        limit = round((last[1] if last else 100.0) + ticks / 100.0, 2)
        if what == "cancel":
            events += exchange.cancel((1, number - 1), now)
        elif what == "advance":
            events += exchange.advance(now)
        else:
            prices: dict[str, Any] = {"limit": limit} if what == "limit" else {}
            if what in ("stop", "change"):
                prices = {"kind": "STP", "stop": limit}
            elif what == "trail":
                prices = {"kind": "TRAIL", "trail": 0.05 + abs(ticks) / 50.0}
            elif what == "stop limit":
                prices = {"kind": "STP LMT", "stop": limit, "limit": limit + 0.02}
            wanted = order(number - (what == "change"), quantity, tif=tif, **prices)
            events += exchange.place(wanted, now)
    return events + exchange.advance(at("2020-12-20T00:00:00")), exchange


@settings(max_examples=20)
@given(PLAN, st.lists(st.integers(0, 5 * 86_400), max_size=10))
def test_shares_and_cash_add_up_and_more_looks_at_the_clock_change_nothing(plan, looks):
    events, exchange = run(plan, ())
    start = at("2020-12-14T13:00:00")
    again, _ = run(plan, [start + look * SECOND for look in looks])
    assert again == events
    fills = [e for e in events if isinstance(e, Executed)]
    shares = sum(f.quantity * f.view.request.side for f in fills)
    cash = 1e8 - sum(float(f.quantity) * f.view.request.side * f.price for f in fills)
    cash -= sum(e.commission for e in events if isinstance(e, Charged))
    assert exchange.account.holding(SPY).quantity == shares
    assert exchange.account.cash("USD") == pytest.approx(cash, abs=1e-4)
    for view in exchange.orders:
        own = [f for f in fills if f.view.request.key == view.request.key]
        assert sum(f.quantity for f in own) == view.filled <= view.request.quantity
        assert (view.status == Status.FILLED) == (view.remaining == 0)
        side, limit = view.request.side, view.request.limit
        assert limit is None or all(side * (f.price - limit) <= 0 for f in own)
    assert len({f.exec_id for f in fills}) == len(fills)
    times = [f.time for f in fills]
    assert times == sorted(times)


KINDS = st.sampled_from(["market", "limit", "stop", "change", "trail", "stop limit", "cancel", "advance"])
BAR_PLAN = st.lists(
    st.tuples(
        st.integers(0, 600), KINDS, st.sampled_from([-500, 100]), st.integers(-8, 8), st.sampled_from(["DAY", "GTC"])
    ),
    min_size=1, max_size=12,
)  # fmt: skip


class Restless(BarModel):
    """One that never says until when nothing happens."""

    def look(self, work: Work, now: int) -> Look:
        return replace(super().look(work, now), until=0)


@settings(max_examples=60)
@given(BAR_PLAN, st.lists(st.integers(5400, 5400 + 7200), max_size=30))
def test_what_is_not_looked_at_again_within_a_bar_would_not_have_changed(plan, looks):
    def played(model: type[BarModel]) -> tuple[list[Event], Exchange]:
        exchange = Exchange(model({SPY.con_id: MINUTES}), Account(cash=1e8))
        first = (5400 + 600, "advance", 100, 0, "DAY")  # into the session
        return run([first, *plan], [start + look * SECOND for look in looks], exchange)

    start = at("2020-12-14T13:00:00")
    events, exchange = played(BarModel)
    assert events == played(Restless)[0]
    times = [executed.time for executed, _ in exchange.executions]
    assert times == sorted(times)
    for since in (0, start, start + 7200 * SECOND, at("2020-12-15T15:00:00"), at("2020-12-21T00:00:00")):
        over = [v for v in exchange.orders if v.over]
        assert exchange.books.ended(since) == [
            v for v in over if v.done_at is not None and v.done_at >= since
        ]


def test_one_that_had_ended_the_day_before_and_fills_ends_once_more():
    exchange = on_path()
    for number in (1, 2, 3):
        exchange.place(order(number, 100, 1.0), NOON)
    exchange.cancel_all(NOON)
    later = NOON + 86_400 * SECOND
    exchange.place(order(4, 100), later)
    assert [v.request.key[1] for v in exchange.books.ended(NOON)] == [1, 2, 3, 4]
    assert [v.request.key[1] for v in exchange.books.ended(later)] == [4]
    late = exchange.books.find((1, 2))
    assert late is not None
    forced(exchange.books, late, 1.0, later)
    assert [v.request.key[1] for v in exchange.books.ended(later)] == [2, 4]
    exchange.books.forget(late)
    assert [v.request.key[1] for v in exchange.books.ended(later)] == [4]


# ---------------------------------------------------------------- the bar model is the backtest
def replay(bars: q.Bars, orders: list[tuple[int, OrderRequest]], cash: float, late: int = 0) -> Exchange:
    """Place each order at the close of its bar (row, order), `late` ns after it, and run to the end of the bars."""
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account(cash=cash))
    for row, wanted in orders:
        exchange.place(wanted, int(bars.end[row]) + late)
    exchange.advance(int(bars.end[-1]))
    return exchange


class Switch(q.Strategy):
    """Long, flat and short in turns."""

    params = dict(every=3)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.array([1.0, 0.0, -1.0, 0.5])[np.arange(len(bars)) // p.every % 4]


BARS = {
    "1d": synthetic("SPY", "1d", "2019-01-01", "2019-12-31", seed=2),
    "5m": synthetic("SPY", "5m", "2020-11-23", "2020-11-30", seed=3),
}


@pytest.mark.parametrize("size", list(BARS))
@pytest.mark.parametrize("sizing", ["percent:50", "percent:100", "shares:100"])
@pytest.mark.parametrize("late", [0, 2 * SECOND])
def test_fills_equal_the_backtests_fast_engine_to_the_last_bit(size, sizing, late):
    bars = BARS[size]
    run_ = q.backtest(
        Switch, bars, cash=100_000.0, costs="ib-fixed", sizing=sizing, engine="fast", save=False
    )
    fills, orders = run_.fills, run_.orders
    rows = {int(ns): row for row, ns in enumerate(bars.times.begin)}
    assert len(fills) > 20
    # Every order of the backtest, the rejected ones too, goes out at the close before the bar it was tried on.
    plan = []
    for number, one in enumerate(orders.itertuples()):
        row = int(np.searchsorted(bars.end, one.time.value))
        if row + 1 < len(bars) and one.status != "open":
            plan.append((row, order(number, int(one.quantity), tif="GTC")))
    exchange = replay(bars, plan, 100_000.0, late)
    got = [
        (f.time, float(f.quantity) * f.view.request.side, f.price, c.commission)
        for f, c in exchange.executions
    ]
    wanted = [
        (t.value, s, p, c)
        for t, s, p, c in zip(fills.time, fills.quantity, fills.price, fills.commission, strict=True)
    ]
    assert [g[1:] for g in got] == [w[1:] for w in wanted]
    if size == "5m" and not late:
        assert [g[0] for g in got] == [w[0] for w in wanted]
        assert all(g[0] in rows for g in got)
    assert exchange.account.cash("USD") == run_.final_cash
    assert float(exchange.account.holding(SPY).quantity) == run_.position


class Limits(bt.Strategy):
    """Buys and sells at limits around the close, as given: row -> (signed quantity, limit)."""

    params = dict(plan=None)

    def next(self) -> None:
        for quantity, limit in self.params.plan.get(len(self) - 1, ()):
            make = self.buy if quantity > 0 else self.sell
            make(size=abs(quantity), exectype=bt.Order.Limit, price=limit)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.sampled_from([-30, -10, 10, 30]), st.integers(-150, 150)),
        min_size=1,
        max_size=15,
    )
)
def test_limit_fills_equal_backtraders(plan):
    bars = BARS["1d"][:100]
    by_row: dict[int, list[tuple[int, float]]] = {}
    orders = []
    for number, (row, quantity, ticks) in enumerate(sorted(plan)):
        limit = round(float(bars.close[row]) + ticks / 100.0, 2)
        by_row.setdefault(row, []).append((quantity, limit))
        orders.append((row, order(number, quantity, limit, tif="GTC")))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(q.feed(bars))
    cerebro.addstrategy(Limits, plan=by_row)
    cerebro.broker.setcash(1e6)
    filled: list[tuple[int, float, float]] = []

    class Notes(bt.Analyzer):
        def notify_order(self, one: Any) -> None:
            if one.status == one.Completed:
                bit = one.executed.exbits[0]
                filled.append((one.ref, bit.size, bit.price))

    cerebro.addanalyzer(Notes)
    cerebro.run()
    first = min((ref for ref, _, _ in filled), default=0)
    exchange = replay(bars, orders, 1e6)
    got = sorted(
        (f.view.request.key[1], float(f.quantity) * f.view.request.side, f.price)
        for f, _ in exchange.executions
    )
    assert [g[1:] for g in got] == [f[1:] for f in sorted(filled)]
    assert len({ref - first for ref, _, _ in filled}) == len(filled)


def test_a_touched_limit_is_known_at_the_bars_end_and_an_open_beyond_it_at_once():
    bars = BARS["1d"][:50]
    row = 10
    low = float(bars.low[row + 1])
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    exchange.place(order(1, 10, round(low + 0.01, 2), tif="GTC"), int(bars.end[row]))
    exchange.place(order(2, 10, round(float(bars.open[row + 1]) + 1.0, 2), tif="GTC"), int(bars.end[row]))
    exchange.advance(int(bars.times.begin[row + 1]))
    assert [f.view.request.key[1] for f, _ in exchange.executions] == [2]
    assert exchange.executions[0][0].price == bars.open[row + 1]
    assert exchange.advance(int(bars.end[row + 1]) - 1) == []
    exchange.advance(int(bars.end[row + 1]))
    assert exchange.executions[1][0].time == int(bars.end[row + 1])


def test_a_limit_at_the_open_fills_with_the_open():
    bars = BARS["1d"][:50]
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    exchange.place(order(1, 10, float(bars.open[11]), tif="GTC"), int(bars.end[10]))
    exchange.advance(int(bars.times.begin[11]))
    assert [f.price for f, _ in exchange.executions] == [bars.open[11]]


def test_a_touch_in_the_sessions_last_bar_comes_before_the_end_of_the_day():
    bars = BARS["1d"][:50]
    limit = float(bars.low[11])
    assert limit < bars.open[11]
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    exchange.place(order(1, 10, limit, tif="DAY"), int(bars.end[10]))
    exchange.place(order(2, 10, round(limit - 0.01, 2), tif="DAY"), int(bars.end[10]))
    exchange.advance(int(bars.end[11]))
    assert [v.status for v in exchange.orders] == [Status.FILLED, Status.CANCELLED]


def test_what_cash_does_not_cover_is_rejected_in_the_bar_model_only():
    bars = BARS["1d"]
    exchange = replay(bars, [(5, order(1, 100_000)), (6, order(2, -10, tif="GTC"))], 10_000.0)
    assert [v.status for v in exchange.orders] == [Status.INACTIVE, Status.FILLED]
    other = on_path(cash=100.0)
    other.place(order(1, 100), NOON)
    assert other.orders[0].status == Status.FILLED


def test_after_the_last_bar_nothing_fills():
    bars = BARS["1d"][:20]
    exchange = Exchange(BarModel({SPY.con_id: bars}), Account())
    events = exchange.place(order(1, 10), int(bars.end[-1]))
    assert told(events)[-1] == "Told 399"
    assert exchange.advance(int(bars.end[-1]) * 2) == []
    assert exchange.next_at(int(bars.end[-1])) is None


def test_stepping_from_one_next_moment_to_the_other_misses_nothing():
    bars = BARS["5m"]
    plan = [
        (r, order(r, 10 if r % 3 else -10, round(float(bars.close[r]) + (r % 5 - 2) / 50, 2)))
        for r in range(0, 200, 7)
    ]
    whole = replay(bars, plan, 1e6)
    stepped = Exchange(BarModel({SPY.con_id: bars}), Account(cash=1e6))
    now = int(bars.start[0])
    for row, wanted in [*plan, (len(bars) - 1, None)]:
        while (step := stepped.next_at(now)) is not None and step <= int(bars.end[row]):
            stepped.advance(step)
            now = step
        now = int(bars.end[row])
        if wanted is not None:
            stepped.place(wanted, now)
    assert [f for f, _ in stepped.executions] == [f for f, _ in whole.executions]
