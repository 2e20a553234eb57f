"""An exit that gets another price: one order at the broker, two of backtrader's, and the same account as in stock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from bar_exchange import CAPITAL, Market
from test_live_broker import Log, at, doing, keep, known, live, stock

import quant as q
from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import LinkLost
from quant.oms.desk.setup import Link
from quant.oms.gate import Gate

Plan = dict[int, Callable[[Any], Any]]
STOP, LIMIT = bt.Order.Stop, bt.Order.Limit
BUY: Plan = {3: keep("buy", size=10)}


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    """A made-up session of five-minute bars that rises and falls by more than a percent."""
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-02", seed=4, volatility=0.6))


def stop(share: float, **other: Any) -> Callable[[Any], None]:
    """Cancel all exits, and send a stop."""

    def act(s: Any) -> None:
        for order in s.made[1:]:
            s.cancel(order)
        s.made.append(s.sell(**{"size": 10, "exectype": STOP, "price": at(s, share)} | other))

    return act


def pair(low: float, high: float, *, first: int = STOP) -> Callable[[Any], None]:
    """Cancel all exits, and send a stop and a limit that end with one another."""

    def act(s: Any) -> None:
        for order in s.made[1:]:
            s.cancel(order)
        legs = [(STOP, at(s, low)), (LIMIT, at(s, high))]
        made: list[bt.Order] = []
        for kind, price in sorted(legs, key=lambda leg: leg[0] != first):
            made.append(s.sell(size=10, exectype=kind, price=price, oco=made[0] if made else None))
        s.made += made

    return act


def sent(market: Market) -> list[tuple[int, float | None]]:
    """Return what went out for exits: order id, price."""
    return [
        (n, t.limit if t.stop is None else t.stop)
        for n, t in market.exchange.placed
        if t.kind in (Kind.STOP, Kind.LIMIT)
    ]


def working(market: Market) -> list[Ticket]:
    return [order.ticket for order in market.exchange.orders.values() if order.is_open]


def alike(minutes: q.Bars, plan: Plan, tmp_path: Path) -> Market:
    """Run stock and live; what they tell, trade and hold must be the same."""
    market = Market(minutes)
    there, here = stock(minutes, doing(plan)), live(minutes, doing(plan), tmp_path, market)
    assert here.orders == there.orders
    assert here.trades == there.trades
    assert here.money == there.money
    return market


# ---------------------------------------------------------------- a plain program, as backtrader's own broker has it
def test_a_stop_that_moves_is_one_order_and_fills_as_in_stock(minutes: q.Bars, tmp_path: Path) -> None:
    market = alike(minutes, BUY | {6: stop(0.99), 8: stop(0.992), 9: stop(0.995)}, tmp_path)
    first, *moves = sent(market)
    assert [n for n, _ in moves] == [first[0]] * 2
    assert len({price for _, price in sent(market)}) == 3
    assert market.exchange.held[11] == 0
    assert working(market) == []


def test_two_stops_for_one_and_a_limit_are_sent_anew(minutes: q.Bars, tmp_path: Path) -> None:
    """Both stops are like the new one; it can take the place of one of them at most."""

    def two(s: Any) -> None:
        s.made += [s.sell(size=5, exectype=STOP, price=at(s, share)) for share in (0.97, 0.96)]

    def others(s: Any) -> None:
        for order in s.made[1:]:
            s.cancel(order)
        s.made.append(s.sell(size=5, exectype=STOP, price=at(s, 0.98)))
        s.made.append(s.sell(size=5, exectype=LIMIT, price=at(s, 1.1)))

    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    live(minutes, doing(BUY | {6: two, 8: others}), tmp_path, market)
    assert sorted(ticket.kind for ticket in working(market)) == [Kind.LIMIT, Kind.STOP]
    assert len({n for n, _ in sent(market)}) == 4


def test_a_limit_beside_the_stop_sends_both_anew(minutes: q.Bars, tmp_path: Path) -> None:
    def more(s: Any) -> None:
        s.cancel(s.made[1])
        s.made.append(s.sell(size=10, exectype=STOP, price=at(s, 0.98)))
        s.made.append(s.sell(size=10, exectype=LIMIT, price=at(s, 1.1)))

    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    live(minutes, doing(BUY | {6: stop(0.97), 8: more}), tmp_path, market)
    assert len({n for n, _ in sent(market)}) == 3


def test_a_limit_that_moves_is_one_order_too(minutes: q.Bars, tmp_path: Path) -> None:
    plan = BUY | {
        6: stop(1.05, exectype=LIMIT),
        8: stop(1.04, exectype=LIMIT),
        20: stop(1.001, exectype=LIMIT),
    }
    market = alike(minutes, plan, tmp_path)
    assert len({n for n, _ in sent(market)}) == 1
    assert market.exchange.held[11] == 0


def test_a_commission_is_that_of_the_order_that_fills(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.fee = 1.5
    here = live(minutes, doing(BUY | {6: stop(0.99), 8: stop(0.995)}), tmp_path, market)
    entry, old, new = here.made
    assert [o.executed.comm for o in (entry, old, new)] == [1.5, 0.0, 1.5]
    _, _, _, profit, net, closed = here.trades[-1]
    assert closed
    assert net == pytest.approx(profit - 3.0)
    assert market.broker.getcash() == pytest.approx(CAPITAL + net)


def test_a_pair_moves_whole_and_stays_tied(minutes: q.Bars, tmp_path: Path) -> None:
    plan = BUY | {6: pair(0.97, 1.05), 8: pair(0.98, 1.04), 9: pair(0.995, 1.03, first=LIMIT)}
    market = alike(minutes, plan, tmp_path)
    assert len({n for n, _ in sent(market)}) == 2
    assert market.exchange.held[11] == 0
    assert working(market) == []


def test_of_a_pair_only_what_changed_is_sent(minutes: q.Bars, tmp_path: Path) -> None:
    def raised(s: Any) -> None:
        limit = s.made[2].created.price
        for order in s.made[1:]:
            s.cancel(order)
        first = s.sell(size=10, exectype=STOP, price=at(s, 0.985))
        s.made += [first, s.sell(size=10, exectype=LIMIT, price=limit, oco=first)]

    market = Market(minutes).start(tmp_path)
    market.stop_after = 9
    here = live(minutes, doing(BUY | {6: pair(0.97, 1.05), 8: raised}), tmp_path, market)
    (low, _), (high, _), (again, _) = sent(market)
    assert low == again != high
    assert [o.alive() for o in here.made[1:3]] == [False, False]
    assert [o.alive() for o in here.made[-2:]] == [True, True]
    assert len(working(market)) == 2


def test_one_of_a_pair_is_cancelled_and_both_are_sent_anew(minutes: q.Bars, tmp_path: Path) -> None:
    """In stock the other one ends with it; so it has a successor as well."""

    def one(s: Any) -> None:
        s.cancel(s.made[1])
        first = s.sell(size=10, exectype=STOP, price=at(s, 0.995))
        s.made += [first, s.sell(size=10, exectype=LIMIT, price=at(s, 1.04), oco=first)]

    market = alike(minutes, BUY | {6: pair(0.97, 1.05), 8: one}, tmp_path)
    assert len({n for n, _ in sent(market)}) == 2
    assert market.exchange.held[11] == 0


def test_children_of_a_bracket_move(minutes: q.Bars, tmp_path: Path) -> None:
    def enter(s: Any) -> None:
        close = s.data.close[0]
        s.made += s.buy_bracket(
            size=10,
            exectype=bt.Order.Market,
            stopprice=round(close * 0.97, 2),
            limitprice=round(close * 1.05, 2),
        )

    market = alike(minutes, {3: enter, 8: pair(0.98, 1.04), 9: pair(0.995, 1.03)}, tmp_path)
    assert len({n for n, _ in sent(market)}) == 2
    assert len(sent(market)) == 6
    assert market.exchange.held[11] == 0
    assert working(market) == []


def test_moving_twice_in_a_bar_sends_the_last_price(minutes: q.Bars, tmp_path: Path) -> None:
    def twice(s: Any) -> None:
        stop(0.98)(s)
        stop(0.985)(s)

    market = Market(minutes).start(tmp_path)
    market.stop_after = 9
    here = live(minutes, doing(BUY | {6: stop(0.97), 8: twice}), tmp_path, market)
    prices = [o.created.price for o in here.made[1:]]
    assert [price for _, price in sent(market)] == [prices[0], prices[2]]
    assert [o.getstatusname() for o in here.made[1:]] == ["Canceled", "Canceled", "Accepted"]


def test_the_program_sees_the_new_one_and_can_cancel_it(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    seen: list[Any] = []

    def look(s: Any) -> None:
        new = s.made[2]
        seen.append([order.ref == new.ref for order in s.broker.get_orders_open()])
        seen.append([s.broker.orderstatus(order) for order in s.made[1:]])
        seen.append(s.broker.cancel(s.made[1]))
        seen.append(s.broker.cancel(new))

    here = live(minutes, doing(BUY | {6: stop(0.97), 8: stop(0.98), 9: look}), tmp_path, market)
    old, new = here.made[1:]
    assert old.ref != new.ref
    assert seen == [[True], [bt.Order.Canceled, bt.Order.Accepted], False, True]
    assert here.broker.orderstatus(new) == bt.Order.Canceled
    assert working(market) == []
    assert market.exchange.held[11] == 10


@pytest.mark.parametrize(
    "other",
    [
        {"size": 6},
        {"exectype": LIMIT, "price": 500.0},
        {"exectype": bt.Order.StopLimit, "plimit": 1.0},
        {"tradeid": 5},
        {"valid": timedelta(days=3)},
        {"tif": TimeInForce.DAY},
    ],
    ids=lambda other: "-".join(other),
)
def test_what_differs_in_more_than_its_price_waits_for_the_end_of_the_one_before(
    minutes: q.Bars, tmp_path: Path, other: dict[str, Any]
) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 10
    live(minutes, doing(BUY | {6: stop(0.97), 8: stop(0.98, **other)}), tmp_path, market)
    (old, _), (new, _) = [(n, t) for n, t in market.exchange.placed if t.quantity < 0]
    assert old != new
    assert len(working(market)) == 1


@pytest.mark.parametrize("kind", [bt.Order.StopLimit, bt.Order.StopTrail])
def test_what_may_have_been_elected_or_has_trailed_is_made_anew(
    minutes: q.Bars, tmp_path: Path, kind: int
) -> None:
    """A stop limit that is elected stays so at IB: with a lower price it would fill at once."""
    more = {"plimit": 1.0} if kind == bt.Order.StopLimit else {"trailamount": 5.0, "price": None}
    market = Market(minutes).start(tmp_path)
    market.stop_after = 10
    live(minutes, doing(BUY | {6: stop(0.97, exectype=kind, **more), 8: stop(0.98, exectype=kind, **more)}),
         tmp_path, market)  # fmt: skip
    assert len({n for n, t in market.exchange.placed if t.quantity < 0}) == 2
    assert len(working(market)) == 1


def test_a_child_of_an_entry_that_waits_takes_nobodys_place(minutes: q.Bars, tmp_path: Path) -> None:
    """It is to sleep until its entry fills; the one in whose place it were works."""

    def more(s: Any) -> None:
        s.cancel(s.made[1])
        s.sell(size=10, exectype=STOP, price=at(s, 0.99), parent=s.made[-1])

    def entry(s: Any) -> None:
        s.made.append(s.buy(size=10, exectype=LIMIT, price=at(s, 0.5)))

    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    live(minutes, doing(BUY | {6: stop(0.97), 8: entry, 9: more}), tmp_path, market)
    assert [t for n, t in market.exchange.placed if n == sent(market)[0][0]][1:] == []


def test_a_price_that_nobody_can_work_ends_the_one_and_refuses_the_other(
    minutes: q.Bars, tmp_path: Path
) -> None:
    """As in a program that never had one: it asked for the end of its stop, and for an order that cannot be."""
    market = Market(minutes).start(tmp_path)
    here = live(minutes, doing(BUY | {6: stop(0.97), 8: stop(0.98, price=-1.0)}), tmp_path, market)
    assert [o.getstatusname() for o in here.made[1:]] == ["Canceled", "Rejected"]


def test_from_different_calls_it_is_the_old_way_and_never_two_at_once(
    minutes: q.Bars, tmp_path: Path
) -> None:
    class Later(Log):
        """Sends the new stop once it is told that the old one is cancelled."""

        plan = BUY | {6: stop(0.97), 8: lambda s: s.cancel(s.made[1])}

        def notify_order(self, order: bt.Order) -> None:
            super().notify_order(order)
            if order.status == order.Canceled and len(self.made) == 2:
                self.made.append(self.sell(size=10, exectype=STOP, price=at(self, 0.98)))

    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    seen: list[int] = []
    market.before_bar.append(lambda step: seen.append(len(working(market))))
    here = live(minutes, Later, tmp_path, market)
    assert [o.getstatusname() for o in here.made[1:]] == ["Canceled", "Accepted"]
    assert len({n for n, _ in sent(market)}) == 2
    assert max(seen) == 1
    assert len(working(market)) == 1


# ---------------------------------------------------------------- several strategies, several feeds
def run_both(market: Market, *strategies: type[bt.Strategy]) -> list[Any]:
    cerebro = bt.Cerebro(stdstats=False, quicknotify=False)
    cerebro.setbroker(market.broker)

    class Store:
        def start(self) -> None: ...

        def stop(self) -> None: ...

        def get_notifications(self) -> list[Any]:
            market.broker.flush()
            return []

    cerebro.addstore(Store())
    for data in market.feeds:
        cerebro.adddata(data, name=data.all_bars.symbol)
    for strategy in strategies:
        cerebro.addstrategy(strategy)
    found: list[Any] = cerebro.run()
    return found


def test_no_strategy_takes_over_the_order_of_another(minutes: q.Bars, tmp_path: Path) -> None:
    """One cancels its stop in the bar in which the other one sends one just like it."""
    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    one = doing(BUY | {6: stop(0.97), 8: lambda s: s.cancel(s.made[1])})
    other = doing({8: lambda s: s.made.append(s.sell(size=10, exectype=STOP, price=at(s, 0.98)))})
    first, second = run_both(market, one, other)
    assert len({n for n, _ in sent(market)}) == 2
    assert first.broker.orderstatus(first.made[1]) == bt.Order.Canceled
    assert second.broker.orderstatus(second.made[0]) == bt.Order.Accepted


def test_two_strategies_move_their_stops_in_the_same_bar(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    plan = BUY | {6: stop(0.97), 8: stop(0.98)}
    first, second = run_both(market, doing(plan), doing(plan | {6: stop(0.96), 8: stop(0.965)}))
    prices = [[o.created.price for o in s.made[1:]] for s in (first, second)]
    by_id: dict[int, list[float | None]] = {}
    for n, price in sent(market):
        by_id.setdefault(n, []).append(price)
    assert sorted(by_id.values()) == sorted(prices)


def test_feeds_move_their_own(minutes: q.Bars, tmp_path: Path) -> None:
    others = known(q.synthetic("OOO", "5m", "2020-01-02", "2020-01-02", seed=5, volatility=0.6), 12)
    market = Market(minutes, others).start(tmp_path)
    market.stop_after = 12

    def on(n: int, share: float) -> Callable[[Any], None]:
        return lambda s: s.made.append(
            s.sell(data=s.datas[n], size=10, exectype=STOP, price=round(s.datas[n].close[0] * share, 2))
        )

    def both(s: Any) -> None:
        for order in s.made:
            s.cancel(order)
        on(1, 0.98)(s)
        on(0, 0.98)(s)

    def begin(s: Any) -> None:
        s.buy(data=s.datas[0], size=10)
        s.buy(data=s.datas[1], size=10)

    def guard(s: Any) -> None:
        on(0, 0.97)(s)
        on(1, 0.97)(s)

    market.run(doing({3: begin, 6: guard, 8: both}))
    ids: dict[int, set[int]] = {}
    for n, t in market.exchange.placed:
        if t.kind is Kind.STOP:
            ids.setdefault(n, set()).add(t.con_id)
    assert sorted(map(sorted, ids.values())) == [[11], [12]]
    assert len(sent(market)) == 4


# ---------------------------------------------------------------- a gate that is shut
def shut(market: Market, steps: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the desk doubt its books in the bars of these steps, and agree again after them."""
    plain = market.open_gate

    def gate() -> None:
        if market.step in steps:
            market.desk._floor.doubt(market.now)
            assert market.desk.gate is Gate.RECONCILING
        else:
            plain()

    monkeypatch.setattr(market, "open_gate", gate)
    monkeypatch.setattr(market.exchange, "snapshot", lambda: None if market.step in steps else answer())
    answer = type(market.exchange).snapshot.__get__(market.exchange)


def test_while_the_gate_is_shut_the_old_stop_stays_and_then_the_newest_price_comes(
    minutes: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 14
    seen: list[tuple[int, list[float | None]]] = []
    market.before_bar.append(lambda step: seen.append((step, [t.stop for t in working(market)])))
    shut(market, range(7, 11), monkeypatch)
    told: list[list[int]] = []

    def look(s: Any) -> None:
        told.append([s.broker.orderstatus(order) for order in s.made[1:]])

    plan = BUY | {6: stop(0.97), 9: stop(0.98), 10: stop(0.985), 11: look, 14: look}
    here = live(minutes, doing(plan), tmp_path, market)
    first, _, last = (o.created.price for o in here.made[1:])
    stops = {step: prices for step, prices in seen if step > 6}
    assert all(stops[step] == [first] for step in range(7, 11))
    assert stops[12] == [last]
    assert sent(market) == [(2, first), (2, last)]
    order = bt.Order
    assert told == [
        [order.Accepted, order.Canceled, order.Submitted], [order.Canceled, order.Canceled, order.Accepted]
    ]  # fmt: skip


@pytest.mark.parametrize("again", [False, True])
def test_a_halt_keeps_the_old_stop_and_its_end_sends_the_new_price(
    minutes: q.Bars, tmp_path: Path, again: bool
) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 14
    seen: list[list[float | None]] = []

    def person(step: int) -> None:
        seen.append([t.stop for t in working(market)])
        if step == 7:
            market.desk.halt("a test", market.now)
        if step == 11:
            market.desk.clear("a person", "a test", market.now)
            market.open_gate()

    market.before_bar.append(person)
    plan = BUY | {6: stop(0.97), 9: stop(0.98)} | ({10: stop(0.985)} if again else {})
    here = live(minutes, doing(plan), tmp_path, market)
    first, last = here.made[1].created.price, here.made[-1].created.price
    assert seen[7:12] == [[first]] * 5
    assert seen[-1] == [last]
    assert sent(market) == [(2, first), (2, last)]
    assert here.broker.orderstatus(here.made[-1]) == bt.Order.Accepted
    assert here.broker.orderstatus(here.made[1]) == bt.Order.Canceled


@pytest.mark.parametrize("arrived", [False, True])
def test_the_line_breaks_with_the_change(minutes: q.Bars, tmp_path: Path, arrived: bool) -> None:
    """Nobody knows whether TWS got it: the books tell, and what lacks is sent once they agree."""
    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    plain, gate = market.exchange.place, market.open_gate

    def place(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if (7, order_id) not in market.exchange.orders or broken:
            plain(order_id, ticket, parent_id)
            return
        broken.append(order_id)
        if arrived:
            plain(order_id, ticket, parent_id)
        market.exchange.disconnect()
        raise LinkLost("reset", f"order {order_id}")

    def open_gate() -> None:
        if not market.exchange.connected:
            market.exchange.connect()
            market.broker.on_link(Link.UP)
        gate()

    broken: list[int] = []
    market.exchange.place = place  # type: ignore[method-assign]  # the fault
    market.open_gate = open_gate  # type: ignore[method-assign]  # the store would do it
    seen: list[int] = []
    market.before_bar.append(lambda step: seen.append(len(working(market))))
    here = live(minutes, doing(BUY | {6: stop(0.97), 8: stop(0.98)}), tmp_path, market)
    assert broken == [2]
    new = here.made[-1]
    assert [t.stop for t in working(market)] == [new.created.price]
    assert {n for n, _ in sent(market)} == {2}
    assert seen[7:] == [1] * len(seen[7:])
    assert [o.getstatusname() for o in here.made[1:]] == ["Canceled", "Accepted"]
    assert market.desk.halted == ""


# ---------------------------------------------------------------- a fill that crosses it
@pytest.mark.parametrize("parts", [1, 2])
def test_the_old_one_fills_while_its_change_is_on_the_way(
    minutes: q.Bars, tmp_path: Path, parts: int
) -> None:
    """The report comes behind the change that is sent: the fill is the new order's, once, and nothing turns round."""
    market = Market(minutes).start(tmp_path)
    market.stop_after = 12
    plain = market.exchange.book

    def book(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        known = market.exchange.orders.get((7, order_id))
        if known is not None and known.is_open:
            market.exchange.price = 99.0
            for _ in range(parts):
                market.exchange.fill(known, Decimal(-10) / parts)
        plain(order_id, ticket, parent_id)

    market.exchange.book = book  # type: ignore[method-assign]  # the fault
    here = live(minutes, doing(BUY | {6: stop(0.97), 8: stop(0.98)}), tmp_path, market)
    old, new = here.made[1:]
    assert (old.getstatusname(), old.executed.size) == ("Canceled", 0)
    assert (new.getstatusname(), new.executed.size, new.executed.price) == ("Completed", -10, 99.0)
    words = [e[2] for e in here.orders if e[1] == 2]
    assert words == ["Submitted", "Accepted", *["Partial"] * (parts - 1), "Completed"]
    assert here.position.size == market.exchange.held[11] == 0
    assert market.desk.positions.get(11, 0) == 0
    assert [t[-1] for t in here.trades].count(True) == 1
    assert market.desk.halted == ""
    assert working(market) == []
