"""A stop of a plain strategy that others end is missed; one that it ends itself, or never sent, is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from bar_exchange import Market
from test_live_broker import at, doing, keep, known

import quant as q
from quant.core.orders import Kind, Ticket

WORDS = "ended unasked"


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-02", seed=4, volatility=0.3))


def rest(strategy: Any, **more: Any) -> None:
    """Rest a stop far below."""
    size = more.pop("size", 10)
    strategy.made.append(strategy.sell(size=size, exectype=bt.Order.Stop, price=at(strategy, 0.5), **more))


def told(
    market: Market,
    plan: dict[int, Callable[[Any], Any]],
    cancels: int = 0,
    kind: Kind = Kind.STOP,
    word: str = "Cancelled",
) -> list[str]:
    """Return the alarms; a person cancels in TWS before the bar of that number, or TWS calls it otherwise."""

    def cancel(step: int) -> None:
        for order in list(market.exchange.orders.values()):
            if step == cancels and order.ticket.kind is kind and order.is_open:
                market.exchange.end(order, word)
                market.broker.poll()

    market.before_bar.append(cancel)
    market.before_bar.append(lambda step: market.seconds(10))
    market.run(doing(plan))
    return [alarm.text for alarm in market.broker.alarms() if alarm.bare]


def test_a_stop_that_was_cancelled_in_tws_is_missed_once(minutes: q.Bars, tmp_path: Path) -> None:
    found = told(Market(minutes).start(tmp_path), {3: keep("buy", size=10), 5: rest}, 8)
    assert len(found) == 1
    assert found[0].startswith("MMM: +10 are held, and their stop q1:t:2 ended unasked as Canceled")


def test_a_stop_that_is_held_back_as_inactive_is_missed_once_it_was_cancelled(
    minutes: q.Bars, tmp_path: Path
) -> None:
    """By us, for the strategy did not ask for it and still counts on it."""
    market = Market(minutes).start(tmp_path)
    found = told(market, {3: keep("buy", size=10), 5: rest}, 8, word="Inactive")
    assert len(found) == 1
    assert found[0].startswith(
        "MMM: +10 are held, and their stop q1:t:2 ended unasked as Canceled (held back as Inactive"
    )


def test_a_stop_of_a_bracket_is_missed_too(minutes: q.Bars, tmp_path: Path) -> None:
    def enter(s: Any) -> None:
        s.buy_bracket(size=10, exectype=bt.Order.Market, stopprice=at(s, 0.5), limitprice=at(s, 2.0))

    assert len(told(Market(minutes).start(tmp_path), {3: enter}, 8)) == 1


def test_a_stop_that_is_turned_down_is_missed(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)

    def no(ticket: Ticket) -> tuple[int, str] | None:
        return (201, "Order rejected - reason: no") if ticket.kind is Kind.STOP else None

    market.exchange.reject = no  # type: ignore[method-assign]  # the fault
    found = told(market, {3: keep("buy", size=10), 5: rest})
    assert len(found) == 1
    assert "Rejected" in found[0]


@pytest.mark.parametrize(
    ("plan", "cancels"),
    [
        ({3: keep("buy", size=10)}, 0),
        ({3: keep("buy", size=10), 5: rest, 8: lambda s: s.cancel(s.made[1])}, 0),
        ({3: keep("buy", size=10), 5: rest, 8: keep("close")}, 0),
        ({3: keep("buy", size=10), 5: lambda s: rest(s, valid=timedelta(minutes=20))}, 0),
        ({3: keep("buy", size=10), 5: rest, 7: lambda s: (s.cancel(s.made[1]), rest(s))}, 0),
        ({3: keep("buy", size=10), 5: rest, 6: keep("sell", size=4), 7: keep("sell", size=6)}, 0),
    ],
    ids=["none", "cancelled", "closed", "its-time", "moved", "made-smaller"],
)
def test_what_the_strategy_itself_wants_is_not_missed(
    minutes: q.Bars, tmp_path: Path, plan: dict[int, Callable[[Any], Any]], cancels: int
) -> None:
    assert told(Market(minutes).start(tmp_path), plan, cancels) == []


def test_a_stop_that_ends_with_its_limit_is_not_missed(minutes: q.Bars, tmp_path: Path) -> None:
    """Half of what is held was for that pair; the other half the strategy keeps. The fill is told last."""

    def pair(s: Any) -> None:
        first = s.sell(size=5, exectype=bt.Order.Stop, price=at(s, 0.5))
        s.sell(size=5, exectype=bt.Order.Limit, price=at(s, 2.0), oco=first)

    market = Market(minutes).start(tmp_path)

    def fill(step: int) -> None:
        if step == 8:
            stop, limit = (o for o in market.exchange.orders.values() if o.ticket.oca)
            market.exchange.end(stop, "Cancelled")
            market.broker.poll()
            limit.status = "Submitted"  # the answer to our cancel of it crosses its fill
            market.exchange.fill(limit, limit.left)

    market.before_bar.append(fill)
    assert told(market, {3: keep("buy", size=10), 5: pair}) == []
    assert market.exchange.held[11] == 5


def test_a_strategy_that_sends_another_one_has_seen_to_it(minutes: q.Bars, tmp_path: Path) -> None:
    strategy = doing({3: keep("buy", size=10), 5: rest})

    def again(self: Any, order: bt.Order) -> None:
        if order.status == order.Canceled and order.exectype == bt.Order.Stop:
            rest(self)

    market = Market(minutes).start(tmp_path)

    def cancel(step: int) -> None:
        for order in list(market.exchange.orders.values()):
            if step == 8 and order.ticket.kind is Kind.STOP:
                market.exchange.end(order, "Cancelled")

    market.before_bar += [cancel, lambda step: market.seconds(1)]
    market.run(type("Again", (strategy,), {"notify_order": again}))
    assert [alarm.text for alarm in market.broker.alarms() if alarm.bare] == []
    assert [o.ticket.kind for o in market.exchange.orders.values() if o.is_open] == [Kind.STOP]
