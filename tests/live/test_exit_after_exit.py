"""An exit in the place of another one: it goes out once the end of that one is confirmed, for what is held then."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import Market
from order_broker import Booked
from test_live_broker import at, doing, keep, known

import quant as q
from quant.core.orders import Kind
from quant.promotion import rehearsal as module
from quant.promotion import rehearse
from quant.tws.order_faults import OrderDo, OrderFault

SAMPLE = Path(__file__).parents[2] / "data"
# Bars: the entry's, that of the new stop, and the one before which the cancel is answered.
HELD, MOVED, ANSWERED = 3, 7, 10


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-02", seed=4, volatility=0.3)[:20])


def rest(share: float, kind: int = bt.Order.Stop) -> Any:
    """Cancel all exits and send one. Each differs from the one before in more than its price, so none is modified."""

    def act(s: Any) -> None:
        for order in s.made[1:]:
            s.cancel(order)
        early = len(s.made) % 2 == 0
        s.made.append(s.sell(size=10, exectype=kind, price=at(s, share), outside_rth=early))

    return act


class Slow(Market):
    """Its exchange answers no cancel but before the bar `ANSWERED`; until then an order may fill. crossed: how much."""

    crossed = 0

    def __init__(self, *bars: q.Bars) -> None:
        super().__init__(*bars)
        self.seen: list[list[str]] = []  # refs of what works before each bar
        self.late: list[int] = []
        self.answer, self.exchange.cancel = self.exchange.cancel, self.late.append  # type: ignore[method-assign]  # the fault
        self.before_bar.append(self.look)

    def look(self, step: int) -> None:
        if step == ANSWERED:
            for order_id in self.late:
                order: Booked = self.exchange.orders[self.exchange.client_id, order_id]
                if self.crossed:
                    self.exchange.fill(order, Decimal(-self.crossed))
                self.answer(order_id)
            self.exchange.cancel = self.answer  # type: ignore[method-assign]  # the fault
        for _ in range(3):
            self.broker.poll()
        self.seen.append([o.ticket.ref for o in self.exchange.orders.values() if o.is_open])


def moved(minutes: q.Bars, folder: Path, crossed: int = 0, kind: int = bt.Order.Stop) -> tuple[Slow, Any]:
    market = Slow(minutes)
    market.crossed = crossed
    market.start(folder)
    share = 0.5 if kind == bt.Order.Stop else 2.0
    plan = {HELD: keep("buy", size=10), HELD + 2: rest(share, kind), MOVED: rest(1.02 * share, kind)}
    return market, market.run(doing(plan))


@pytest.mark.parametrize("kind", [bt.Order.Stop, bt.Order.Limit])
def test_the_new_one_waits_for_the_answer(minutes: q.Bars, tmp_path: Path, kind: int) -> None:
    market, told = moved(minutes, tmp_path, kind=kind)
    assert all(len(works) <= 1 for works in market.seen)
    assert market.seen[MOVED + 1] == ["q1:t:2"]
    assert market.seen[ANSWERED] == market.seen[-1] == ["q1:t:3"]
    assert [e[2] for e in told.orders if e[1] == 2] == ["Submitted", "Accepted"]


def test_what_fills_in_spite_of_its_cancel_leaves_nothing_to_guard(minutes: q.Bars, tmp_path: Path) -> None:
    market, told = moved(minutes, tmp_path, crossed=10)
    assert market.exchange.held[11] == 0
    assert market.seen[ANSWERED:] == [[]] * len(market.seen[ANSWERED:])
    assert [e[2] for e in told.orders if e[1] == 2] == ["Submitted", "Canceled"]
    assert len(market.exchange.orders) == 2


def test_of_what_fills_in_part_the_rest_is_guarded(minutes: q.Bars, tmp_path: Path) -> None:
    market, _ = moved(minutes, tmp_path, crossed=4)
    (stop,) = (o for o in market.exchange.orders.values() if o.is_open)
    assert (stop.ticket.kind, stop.ticket.quantity, market.exchange.held[11]) == (Kind.STOP, -6, 6)


def test_one_that_is_wanted_no_more_never_goes_out(minutes: q.Bars, tmp_path: Path) -> None:
    market = Slow(minutes).start(tmp_path)
    plan = {HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51), MOVED + 1: rest(0.52)}
    told = market.run(doing(plan))
    assert [e[2] for e in told.orders if e[1] == 2] == ["Submitted", "Canceled"]
    assert market.seen[-1] == ["q1:t:3"]
    stops = [o.ticket.stop for o in market.exchange.orders.values() if o.ticket.kind is Kind.STOP]
    closes = minutes.close[[HELD + 1, MOVED]]
    assert stops == [round(closes[0] * 0.5, 2), round(closes[1] * 0.52, 2)]


def test_what_closes_at_the_market_does_not_wait(minutes: q.Bars, tmp_path: Path) -> None:
    market = Slow(minutes)
    market.start(tmp_path)

    def out(s: Any) -> None:
        s.cancel(s.made[1])
        s.close()

    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: out}))
    assert market.exchange.executions[-1].time < market.bars[0].end[MOVED]
    assert market.exchange.held[11] == 0


def test_what_is_to_turn_the_position_round_goes_out_as_it_is(minutes: q.Bars, tmp_path: Path) -> None:
    market = Slow(minutes)
    market.start(tmp_path)

    def turn(s: Any) -> None:
        s.cancel(s.made[1])
        s.sell(size=20, exectype=bt.Order.Stop, price=at(s, 0.51))

    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: turn}))
    assert market.seen[MOVED + 1] == ["q1:t:2", "q1:t:3"]
    assert market.desk.intent("q1:t:3").ticket.quantity == -20


def test_a_part_that_fills_early_changes_nothing_in_the_wait(minutes: q.Bars, tmp_path: Path) -> None:
    market = Slow(minutes)
    market.start(tmp_path)

    def part(step: int) -> None:
        if step == ANSWERED - 1:
            market.exchange.fill(market.exchange.orders[7, 2], Decimal(-4))

    market.before_bar.insert(0, part)
    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51)}))
    assert market.seen[ANSWERED - 1] == ["q1:t:2"]
    assert market.seen[ANSWERED] == ["q1:t:3"]
    assert market.exchange.orders[7, 3].ticket.quantity == -6


def test_a_program_that_ends_leaves_a_stop_there(minutes: q.Bars, tmp_path: Path) -> None:
    market = Slow(minutes)
    market.start(tmp_path)
    market.stop_after = MOVED
    market.run(doing({HELD: keep("buy", size=10), HELD + 2: rest(0.5), MOVED: rest(0.51)}))
    assert [o.ticket.ref for o in market.exchange.orders.values() if o.is_open] == ["q1:t:2", "q1:t:3"]


# ---------------------------------------------------------------- q.Strategy, at TWS
PLUNGE = 13  # bar


class Follows(q.Strategy):
    """Long with a stop close behind each close; beside it a limit appears, so that one time it is not modified."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        row = np.arange(len(bars))
        limit = np.where(row < PLUNGE - 1, np.nan, 2.0 * bars.close[0])
        return q.Signals(row >= 10, np.round(bars.close * 0.9992, 2), np.round(limit, 2), follow_stop=True)


def plunging(row: int, price: float = 360.0) -> q.Bars:
    """Minutes of SPY, far below all stops from a row on."""
    bars = module.in_session(q.bars("SPY", "1m", data=SAMPLE))[:30]
    columns = {}
    for name, by in (("open", 0.0), ("high", 0.5), ("low", -0.5), ("close", 0.0)):
        columns[name] = np.where(np.arange(len(bars)) >= row, price + by, getattr(bars, name))
    return replace(bars, **columns)


@pytest.mark.parametrize(
    "fault",
    [
        OrderFault(OrderDo.SLOW_CANCEL, seconds=90.0, count=0),  # the next bar would open beyond both
        OrderFault(OrderDo.CANCEL_FILLS, seconds=61.0),  # the old one fills after the new one would have
        OrderFault(OrderDo.REFUSE_CANCEL, code=10148, text="cannot be cancelled", count=0),
    ],
    ids=lambda fault: str(fault.do),
)
def test_a_followed_stop_never_turns_the_position_round(fault: OrderFault) -> None:
    found = rehearse(
        Follows, plunging(PLUNGE), sizing="shares:10", faults=(fault,), start_rule="first-target"
    )
    assert found.broken == ()
    assert found.fills == (2, 2)


def test_without_faults_it_is_the_backtest() -> None:
    found = rehearse(Follows, plunging(PLUNGE), sizing="shares:10", start_rule="first-target")
    assert found.equal, str(found)
