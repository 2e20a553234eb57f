"""An exchange that does not look while nothing can happen tells the same as one that always looks, and looks less."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant.core.bars import Bars
from quant.core.barsize import MINUTE, bar_size
from quant.core.instrument import Instrument
from quant.tws.exchange import mishaps
from quant.tws.exchange.account import Account
from quant.tws.exchange.bar_model import BarModel
from quant.tws.exchange.books import Books
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.orders import OrderRequest
from quant.tws.exchange.steps import Look, Work

SPY = Catalogue().get(756733)
assert SPY is not None
FIRST = int(np.datetime64("2020-01-02T14:30", "ns").astype(np.int64))
STEP = 5 * MINUTE
MARKET = OrderRequest((1, 1), SPY, 1, Decimal(10), "MKT", tif="GTC")


class Restless(Books):
    """Books by which something may happen at any moment."""

    calm_until = property(lambda self: 0, lambda self, moment: None)  # type: ignore[assignment]


class Counting(BarModel):
    """Counts how often it was asked."""

    looks = 0

    def look(self, work: Work, now: int) -> Look:
        self.looks += 1
        return super().look(work, now)


def bars(prices: list[int]) -> Bars:
    o = np.array(prices, dtype=float)
    c = np.append(o[1:], o[-1])
    high, low = np.maximum(o, c) + 0.5, np.minimum(o, c) - 0.5
    begin = FIRST + STEP * np.arange(len(o))
    return Bars(Instrument("SPY"), bar_size("5m"), begin, o, high, low, c, np.zeros(len(o)))


def exchange(held: Bars, *, restless: bool) -> Exchange:
    found = Exchange(Counting({SPY.con_id: held}), Account(cash=1e9))
    if restless:
        found.books.__class__ = Restless
    return found


def step(one: Exchange, what: str, number: int, price: float, now: int) -> list[Any]:
    """Do one thing to an exchange and return what it tells."""
    made = list(one.books.orders.values())
    kind = {"limit": dict(kind="LMT", limit=price), "stop": dict(kind="STP", stop=price), "market": {}}.get(
        what
    )
    if kind is not None:
        return one.place(replace(MARKET, key=(1, number), side=1 if number % 3 else -1, **kind), now)
    if what == "bracket":  # the parent rests in TWS until its child comes
        family = replace(MARKET, key=(1, number), kind="LMT", limit=price - 4.0, transmit=False)
        child = replace(MARKET, key=(1, number + 1), side=-1, kind="STP", stop=price, parent=number)
        return [*one.place(family, now), *one.place(child, now)]
    if not made:
        return one.advance(now)
    last = made[-1]
    if what == "change":
        changed = replace(last.view.request, quantity=Decimal(20))
        moved = (
            dict(limit=price) if changed.kind == "LMT" else dict(stop=price) if changed.kind == "STP" else {}
        )
        return one.place(replace(changed, **moved), now)
    if what == "cancel":
        return one.cancel(last.view.request.key, now)
    if what == "fill":  # of a bracket, the parent
        first = next(o for o in made if o.view.perm_id in (last.parent, last.view.perm_id))
        return mishaps.forced(one.books, first, price, now) if first.view.remaining > 0 else []
    if what == "deactivate" and last.view.done_at is None:
        return mishaps.deactivate(last)
    if what == "revive":
        return [*mishaps.revive(one.books, last, now), *one.advance(now)]
    return one.advance(now)


WHAT = ["limit", "stop", "market", "bracket", "change", "cancel", "fill", "deactivate", "revive", "wait"]
STEPS = st.tuples(st.sampled_from(WHAT), st.integers(95, 105), st.integers(0, STEP // MINUTE * 2))


@given(st.lists(st.integers(96, 104), min_size=12, max_size=12), st.lists(STEPS, max_size=25))
@example([100] * 12, [("wait", 0, 2), ("bracket", 98, 0), ("fill", 98, 0)])
@example(
    [100] * 12, [("wait", 0, 1), ("wait", 0, 1), ("limit", 90, 2), ("deactivate", 0, 0), ("revive", 0, 0)]
)
@settings(max_examples=150)
def test_calm_changes_nothing_that_is_told(prices: list[int], plan: list[tuple[str, int, int]]) -> None:
    held = bars(prices)
    calm, restless = (exchange(held, restless=way) for way in (False, True))
    now = FIRST
    for number, (what, price, minutes) in enumerate(plan):
        now += minutes * MINUTE
        told = [step(one, what, 2 * number + 1, price + 0.25, now) for one in (calm, restless)]
        assert told[0] == told[1]
        for _ in range(3):
            now += MINUTE
            assert calm.advance(now) == restless.advance(now)


@pytest.mark.parametrize("restless", [False, True])
def test_a_resting_order_is_looked_at_once_a_bar(restless: bool) -> None:
    one = exchange(bars([100] * 8), restless=restless)
    one.place(replace(MARKET, kind="LMT", limit=50.0), FIRST)
    calls = 0
    books_open = one.books.open

    def counted() -> Any:
        nonlocal calls
        calls += 1
        return books_open()

    one.books.open = counted  # type: ignore[method-assign]  # counts the looks
    for piece in range(1, 61):
        one.advance(FIRST + STEP + piece * STEP // 60)
    assert calls >= 60 if restless else calls <= 2
