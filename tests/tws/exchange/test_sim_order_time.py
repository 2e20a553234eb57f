"""Every kind of order on the path: however often the clock is looked at, the same happens, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sim_market import NOON, SPY, at, order

from quant.core.barsize import MINUTE, SECOND
from quant.core.synthetic import synthetic
from quant.tws.exchange import mishaps
from quant.tws.exchange.account import Account
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.models import PathModel
from quant.tws.exchange.orders import (
    HAND,
    Changed,
    Charged,
    Event,
    Executed,
    OrderRequest,
    Status,
    Told,
    key_of,
)
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.tape import Tape

# Few long bars: the tape keeps the paths of all of them.
BARS = replace(synthetic("SPY", "30m", "2020-12-14", "2020-12-18", seed=5), instrument=SPY.instrument)
TAPE = Tape({SPY.con_id: held_bars([BARS])})


def on_path(cash: float = 1e6) -> Exchange:
    return Exchange(PathModel(TAPE), Account(cash=cash))


KINDS = [
    "MKT",
    "LMT",
    "STP",
    "STP LMT",
    "TRAIL",
    "TRAIL LIMIT",
    "MOC",
    "LOC",
    "bracket",
    "pair",
    "change",
    "cancel",
    "global",
]
PLAN = st.lists(
    st.tuples(
        st.integers(0, 3600 * 20), st.sampled_from(KINDS), st.sampled_from([-500, -100, 100, 700]),
        st.integers(-12, 12), st.sampled_from(["DAY", "GTC", "IOC", "OPG", "GTD"]),
    ),
    min_size=1, max_size=10,
)  # fmt: skip


def made(number: int, kind: str, quantity: int, ticks: int, tif: str, now: int) -> OrderRequest:
    """An order of a kind around the market."""
    last = TAPE.last(SPY, now)
    near = round((last[1] if last else 100.0) + ticks / 100.0, 2)
    side = 1 if quantity > 0 else -1
    prices = {
        "LMT": dict(limit=near), "LOC": dict(limit=near), "STP": dict(stop=near),
        "STP LMT": dict(stop=near, limit=round(near + side * 0.03, 2)), "TRAIL": dict(trail=0.02 + abs(ticks) / 50),
        "TRAIL LIMIT": dict(stop=near, trail_percent=0.01 + abs(ticks) / 50, offset=0.03),
    }.get(kind, {})  # fmt: skip
    tif = "DAY" if kind in ("MOC", "LOC") else tif if kind in ("MKT", "LMT") or tif != "OPG" else "GTC"
    till = now + 2000 * SECOND if tif == "GTD" else None
    return replace(order(number, quantity), kind=kind, tif=tif, good_till=till, **prices)


def done(exchange: Exchange, number: int, step: tuple[Any, ...], now: int) -> list[Event]:
    """Do one step of a plan; its orders have the numbers from 10 x number on."""
    _, what, quantity, ticks, tif = step
    base = 10 * number + 1
    if what == "cancel":
        return exchange.cancel((1, base - 10), now)
    if what == "global":
        return exchange.cancel_all(now)
    if what == "change":
        events = exchange.advance(now)
        known = exchange.books.find((1, base - 10))
        if known is None or known.view.over:
            return events
        return events + exchange.place(replace(known.view.request, quantity=Decimal(900)), now)
    if what in ("bracket", "pair"):
        entry = made(base, "LMT" if ticks % 2 else "MKT", quantity, ticks, "GTC", now)
        target = made(base + 1, "LMT", -quantity, 8 if quantity > 0 else -8, "GTC", now)
        stop = made(
            base + 2, "TRAIL" if ticks > 5 else "STP", -quantity, -8 if quantity > 0 else 8, "GTC", now
        )
        if what == "pair":
            group = dict(oca=f"g{number}", oca_type=1 + 2 * (ticks % 2))
            return exchange.place(replace(target, **group), now) + exchange.place(replace(stop, **group), now)
        events = exchange.place(replace(entry, transmit=False), now)
        events += exchange.place(replace(target, parent=base, transmit=False), now)
        return events + exchange.place(replace(stop, parent=base), now)
    return exchange.place(made(base, what, quantity, ticks, tif, now), now)


def shown(events: Sequence[Event]) -> list[Any]:
    """Events without where a stop stands: that depends on when somebody looks, as at TWS."""
    return [
        e if isinstance(e, Charged | Told) else replace(e, view=replace(e.view, stop=None)) for e in events
    ]


def run(plan: Sequence[tuple[Any, ...]], stops: Sequence[int]) -> tuple[list[Event], Exchange]:
    exchange, now = on_path(cash=1e9), at("2020-12-14T13:00:00")
    events: list[Event] = []
    waiting = sorted(stops)
    for number, step in enumerate(plan):
        target = now + step[0] * SECOND
        while waiting and waiting[0] < target:
            events += exchange.advance(max(waiting.pop(0), now))
        now = target
        events += done(exchange, number, step, now)
    return events + exchange.advance(at("2020-12-20T00:00:00")), exchange


@settings(max_examples=25, deadline=None)
@given(PLAN, st.lists(st.integers(0, 5 * 86_400), max_size=10))
def test_more_looks_at_the_clock_change_nothing_and_the_books_add_up(plan, looks):
    events, exchange = run(plan, ())
    start = at("2020-12-14T13:00:00")
    again, _ = run(plan, [start + look * SECOND for look in looks])
    assert shown(again) == shown(events)
    fills = [e for e in events if isinstance(e, Executed)]
    shares = sum(f.quantity * f.view.request.side for f in fills)
    cash = 1e9 - sum(float(f.quantity) * f.view.request.side * f.price for f in fills)
    cash -= sum(e.commission for e in events if isinstance(e, Charged))
    assert exchange.account.holding(SPY).quantity == shares
    assert exchange.account.cash("USD") == pytest.approx(cash, abs=1e-3)
    assert [f.time for f in fills] == sorted(f.time for f in fills)
    assert len({f.exec_id for f in fills}) == len(fills)
    for view in exchange.orders:
        own = [f for f in fills if f.view.perm_id == view.perm_id]
        assert sum(f.quantity for f in own) == view.filled <= view.request.quantity
        assert (view.status == Status.FILLED) == (view.remaining == 0)
        parent = exchange.books.orders.get(exchange.books.orders[view.perm_id].parent or 0)
        if own and parent is not None:  # no exit before its entry
            assert parent.view.status == Status.FILLED
            assert own[0].time >= max(f.time for f in fills if f.view.perm_id == parent.view.perm_id)
    for group in {v.request.oca for v in exchange.orders} - {""}:
        members = [v for v in exchange.orders if v.request.oca == group]
        assert sum(v.status == Status.FILLED for v in members) <= 1
        if any(v.status == Status.FILLED for v in members):
            assert all(v.over for v in members)


@settings(max_examples=8, deadline=None)
@given(PLAN)
def test_from_one_next_moment_to_the_other_nothing_is_missed(plan):
    events, _ = run(plan, ())
    exchange, now = on_path(cash=1e9), at("2020-12-14T13:00:00")
    stepped: list[Event] = []
    for number, step in enumerate([*plan, (0, "end", 0, 0, "")]):
        target = now + step[0] * SECOND if step[1] != "end" else at("2020-12-20T00:00:00")
        while (later := exchange.next_at(now)) is not None and later <= target:
            found = exchange.advance(later)
            stepped += found
            # Seconds in which nothing happens are passed over, an hour of them at a time.
            now = later if found else max(later, min(target, later + 3601 * SECOND) - 1)
            stepped += exchange.advance(now)
        now = target
        stepped += exchange.advance(now) if step[1] == "end" else done(exchange, number, step, now)
    assert shown(stepped) == shown(events)


def test_what_tws_tells_of_a_status_can_follow_the_one_before():
    exchange = on_path(cash=1e9)
    exchange.place(order(1, 100, 1.0, tif="GTC"), NOON)
    one = exchange.books.find((1, 1))
    assert one is not None
    told = [e.view.status for e in mishaps.pending_cancel(one) if isinstance(e, Changed)]
    assert told == [Status.PENDING_CANCEL]
    forced = mishaps.forced(exchange.books, one, 1.0, NOON + MINUTE)
    assert {key_of(e) for e in forced} == {(1, 1)}
    assert exchange.orders[0].status == Status.FILLED


def test_orders_made_by_hand_have_keys_of_their_own():
    exchange = on_path()
    books = exchange.books
    assert mishaps.hand_key(books) == (HAND, 1)
    exchange.place(replace(order(1, 10, 1.0, tif="GTC"), key=(HAND, 1)), NOON)
    one = books.find((HAND, 1))
    assert one is not None
    mishaps.bind(books, one)
    assert books.find((0, -1)) is one
    assert mishaps.hand_key(books) == (HAND, 2)
    assert [v.request.key for v in exchange.open_orders] == [(0, -1)]
