"""Trailing orders of plain strategies: live over the wire against backtrader's own broker, on the same bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import CAPITAL
from tws_market import TwsMarket, tws_market

import quant as q
from quant.backtest.feed import feed
from quant.core.orders import Kind, Ticket

TRAIL, LIMIT = bt.Order.StopTrail, bt.Order.StopTrailLimit


@pytest.fixture(scope="session")
def bars() -> q.Bars:
    """A made-up session of five-minute bars under SPY's contract, on halves of a dollar.

    One or two per cent of those are whole cents: a stop of backtrader's can stand at IB.
    """
    made = q.synthetic("SPY", "5m", "2024-05-15", "2024-05-15", seed=7, volatility=1.6)
    columns = {name: np.round(getattr(made, name) * 2) / 2 for name in ("open", "high", "low", "close")}
    return replace(made, instrument=replace(made.instrument, con_id=756733, tick=0.01), **columns)


class Trails(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Flat: in, long and short by turns; then out by an order that trails. `ways` are taken one after the other."""

    params = dict(ways=())

    def __init__(self) -> None:
        self.fills: list[tuple[int, float, float]] = []
        self.out: Any = None
        self.turn = 0

    def notify_order(self, order: bt.Order) -> None:
        if order.status == order.Completed:
            self.fills.append((len(self), order.executed.size, round(order.executed.price, 9)))

    def next(self) -> None:
        if not self.position:
            self.out = None
            self.turn += 1
            (self.buy if self.turn % 2 else self.sell)(size=10)
        elif self.out is None:
            away = self.p.ways[self.turn % len(self.p.ways)]
            side = -1 if self.position.size > 0 else 1
            close = self.data.close[0]
            prices = {name: close + side * by for name, by in away.items() if name in ("price", "plimit")}
            given = {**away, **prices, "exectype": LIMIT if "plimit" in away else TRAIL}
            self.out = (self.buy if side > 0 else self.sell)(size=10, **given)


def stock(bars: q.Bars, ways: Any) -> Trails:
    """What backtrader alone makes of it."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker.setcash(CAPITAL)
    cerebro.adddata(feed(bars))
    cerebro.addstrategy(Trails, ways=ways)
    found: Trails = cerebro.run()[0]
    return found


def told(market: TwsMarket) -> list[tuple[float, float]]:
    fills = [fill for standing in market.desk.orders for fill in standing.fills]
    return [(float(f.quantity), round(f.price, 9)) for f in sorted(fills, key=lambda f: (f.time, f.stem))]


def paid(market: TwsMarket) -> float:
    return sum(f.commission or 0.0 for standing in market.desk.orders for f in standing.fills)


def tickets(market: TwsMarket, kind: Kind) -> list[Ticket]:
    found = [market.desk.intent(standing.ref).ticket for standing in market.desk.orders]
    return [ticket for ticket in found if ticket.kind is kind]


# price, plimit: how far from the close, on the side of the order.
PERCENT = (dict(trailpercent=0.01), dict(trailpercent=0.005), dict(trailpercent=0.02, price=1.0))
LIMITED = (
    dict(trailpercent=0.01, price=0.0, plimit=0.25), dict(trailamount=2.5, price=1.0, plimit=1.0),
    dict(trailamount=1.25, price=0.0, plimit=3.0), dict(trailpercent=0.02, price=3.0, plimit=3.5),
)  # fmt: skip


# What goes out: the amount, the percentage, the limit's offset.
PERCENT_OUT = {(None, 1.0, None), (None, 0.5, None), (None, 2.0, None)}
LIMITED_OUT = {(None, 1.0, 0.25), (2.5, None, 0.0), (1.25, None, 3.0), (None, 2.0, 0.5)}


@pytest.mark.parametrize(
    ("ways", "kind", "out"),
    [(PERCENT, Kind.TRAIL, PERCENT_OUT), (LIMITED, Kind.TRAIL_LIMIT, LIMITED_OUT)],
)
def test_trailing_orders_fill_live_as_in_backtrader(
    bars: q.Bars, tmp_path: Path, ways: Any, kind: Kind, out: Any
) -> None:
    there = stock(bars, ways)
    with tws_market(bars) as market:
        here = market.start(tmp_path).run(Trails, ways=ways)
        assert here.fills == there.fills
        assert told(market) == [fill[1:] for fill in there.fills]
        assert market.broker.getcash() + paid(market) == pytest.approx(there.broker.getcash(), abs=0.005)
        asked = tickets(market, kind)
        assert len(asked) > 4
        assert {(one.trail, one.percent, one.offset) for one in asked} == out
        assert market.desk.halted == ""


def test_trailing_order_goes_on_after_a_restart(bars: q.Bars, tmp_path: Path) -> None:
    class Once(Trails):
        """Takes the order that it finds open."""

        def notify_order(self, order: bt.Order) -> None:
            super().notify_order(order)
            if order.info.get("restored"):
                self.out, self.turn = order, 1
                self.found = (order.getordername(), order.trailpercent, order.created.price)

    wide = (dict(trailpercent=0.03),)
    there = stock(bars, wide)
    (bought, *_), (sold, *_) = there.fills[:2]
    assert sold > bought + 4
    with tws_market(bars[:sold]) as market:
        market.stop_after = bought + 2
        market.start(tmp_path).run(Once, ways=wide)
        ((ticket,), before) = tickets(market, Kind.TRAIL), told(market)
        assert (ticket.percent, ticket.stop, len(before)) == (3.0, None, 1)
        again = market.again(tmp_path).run(Once, ways=wide)
        assert again.found == ("StopTrail", 0.03, pytest.approx(float(bars.close[bought - 1]) * 0.97))
        assert told(market)[:2] == [fill[1:] for fill in there.fills[:2]]
        assert len(tickets(market, Kind.TRAIL)) == 1
        assert market.desk.halted == ""
