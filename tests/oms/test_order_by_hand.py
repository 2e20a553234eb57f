"""What a person has closed by hand is never closed once more: no order of ours opens a position at the broker."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from order_broker import SECOND
from order_world import QQQ, SPY, World

from quant.core.orders import Kind, TimeInForce
from quant.oms.desk.setup import Answer, Link
from quant.oms.gate import Gate, Purpose
from quant.oms.ledger import Stop
from quant.oms.reconcile.outcome import Start


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).start().opened()


def by_hand(world: World, quantity: int) -> None:
    """Trade in TWS; only the next look at the books shows it, as this broker tells no change of a position."""
    world.broker.trade_by_hand(SPY, quantity)
    world.broker.inbox.clear()


def looked(world: World) -> World:
    return world.until(lambda: SPY in world.desk.halted_instruments, 90)


def sell(world: World, quantity: int) -> Answer:
    return world.submit(world.ticket(-quantity))[0]


def there(world: World) -> Decimal:
    return world.broker.held[SPY]


# ---------------------------------------------------------------- what a strategy wants
def test_what_was_closed_by_hand_is_not_sold_again(world: World) -> None:
    world.send(10)
    world.run(5)
    by_hand(world, -10)
    looked(world)
    answer = sell(world, 10)
    assert [r.code for r in answer.refusals] == ["opens-at-broker"]
    for words in ("of ours the broker holds 0", "by our books it is 10", "positions = adopt"):
        assert words in answer.refusals[0].text
    world.run(30)
    assert there(world) == 0
    assert world.desk.gate is Gate.OPEN
    world.send(10, QQQ)  # others go on
    world.run(5)
    assert world.desk.positions == {SPY: 10, QQQ: 10}


def test_position_turned_by_hand_is_not_made_larger(world: World) -> None:
    world.send(10)
    world.run(5)
    by_hand(world, -15)
    looked(world)
    assert not sell(world, 10).taken
    assert not sell(world, 1).taken


def test_of_what_is_left_no_more_is_sold_than_there_is(world: World) -> None:
    world.send(10)
    world.run(5)
    by_hand(world, -6)
    looked(world)
    world.broker.instant = False
    assert not sell(world, 10).taken
    assert sell(world, 3).taken
    assert not sell(world, 2).taken  # 3 are on their way already
    world.broker.instant = True
    world.run(5)
    assert there(world) == 1
    assert sell(world, 1).taken
    world.run(5)
    assert there(world) == 0
    assert not sell(world, 1).taken


def test_what_was_left_alone_at_start_counts_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broker.held[SPY] = Decimal(50)
    world.start().opened()
    world.send(10)
    world.run(5)
    by_hand(world, -10)
    looked(world)
    assert not sell(world, 10).taken
    assert there(world) == 50


def test_reduction_that_waited_for_the_connection_is_not_sent(world: World) -> None:
    world.send(10)
    world.run(5)
    world.broker.disconnect()
    world.down_until = world.now + 20 * SECOND
    world.desk.on_link(Link.LOST, world.now)
    ref = world.ticket(-10)
    assert world.submit(ref)[0].taken
    world.broker.trade_by_hand(SPY, -10)
    world.run(60)
    assert there(world) == 0
    assert world.state(ref.ref) == "not sent"
    assert any("would open a position there" in alarm.text for alarm in world.alarms)


def test_put_right_by_hand_it_is_ours_to_close_again(world: World) -> None:
    world.send(10)
    world.run(5)
    by_hand(world, -10)
    looked(world)
    by_hand(world, 10)
    world.run(70)
    assert sell(world, 10).taken
    world.run(5)
    assert there(world) == 0


# ---------------------------------------------------------------- flatten
@pytest.mark.parametrize("left", [0, 4, -5])
def test_flatten_after_a_close_by_hand_that_nobody_has_seen_opens_nothing(world: World, left: int) -> None:
    world.send(10)
    world.run(15)
    world.desk.halt("Ada looks", world.now)
    by_hand(world, left - 10)
    world.desk.flatten("Ada", world.now)
    world.run(60)
    assert there(world) == min(left, 0)
    assert world.journal.load().by_instrument(Stop.FLATTEN) == {}
    assert world.desk.closing is not None
    assert any(f"by our books it is 10: {max(left, 0)} are closed" in a.text for a in world.alarms)


def test_flatten_that_the_next_process_carries_out_opens_nothing(world: World) -> None:
    world.send(10)
    world.run(15)
    world.desk.halt("Ada looks", world.now)
    world.desk.flatten("Ada", world.now)
    world.kill()
    world.broker.trade_by_hand(SPY, -10)
    world.start().run(60)
    assert there(world) == 0
    assert world.journal.load().by_instrument(Stop.FLATTEN) == {}


# ---------------------------------------------------------------- what rests at the broker
@pytest.mark.parametrize("halted", [False, True])
def test_stop_of_what_was_closed_by_hand_is_cancelled(world: World, halted: bool) -> None:
    _, stop = tickets = world.bracket(10)
    world.submit(*tickets)
    world.run(15)
    if halted:
        world.desk.halt("Ada looks", world.now)
    by_hand(world, -10)
    looked(world).run(30)
    assert world.state(stop.ref) == "cancelled"
    assert world.desk.gate is (Gate.HALTED if halted else Gate.OPEN)
    assert any("protects nothing" in alarm.text for alarm in world.alarms)
    world.broker.touches = 1.0
    world.run(20)
    assert there(world) == 0


def test_stop_stays_until_positions_that_may_not_be_loaded_have_been_missing_for_long(world: World) -> None:
    """Row O11: no trade of anybody explains it."""
    _, stop = tickets = world.bracket(10)
    world.submit(*tickets)
    world.run(15)
    world.broker.held[SPY] = Decimal(0)
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 90)
    world.run(30)
    assert world.state(stop.ref) == "working"
    world.until(lambda: bool(world.desk.halted), 90)
    world.run(90)
    assert world.state(stop.ref) == "cancelled"


@pytest.mark.parametrize("halted", [False, True])
def test_stop_is_made_as_small_as_what_was_left_by_hand(world: World, halted: bool) -> None:
    _, stop = tickets = world.bracket(10)
    world.submit(*tickets)
    world.run(15)
    if halted:
        world.desk.halt("Ada looks", world.now)
    by_hand(world, -6)
    looked(world).run(30)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == stop.ref)
    assert (booked.is_open, booked.ticket.quantity) == (True, -4)
    assert world.desk.gate is (Gate.HALTED if halted else Gate.OPEN)
    sent = len(world.broker.placed)
    world.run(130)
    assert len(world.broker.placed) == sent  # it is as wanted
    world.broker.executions.pop()  # IB tells the trades of a day: tomorrow nothing explains it
    world.until(lambda: bool(world.desk.halted), 150)
    world.run(130)
    assert (booked.is_open, booked.ticket.quantity) == (True, -4)
    assert all(ticket.quantity == -4 for _, ticket in world.broker.placed[sent:])
    world.broker.touches = 1.0
    world.until(lambda: there(world) == 0)
    world.run(20)
    assert world.state(stop.ref) == "filled"
    assert not any(order.oddities for order in world.desk.orders)


def test_stop_that_was_made_smaller_grows_again_with_what_is_put_right(world: World) -> None:
    _, stop = tickets = world.bracket(10)
    world.submit(*tickets)
    world.run(15)
    by_hand(world, -6)
    looked(world).run(30)
    by_hand(world, 6)
    world.run(90)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == stop.ref)
    assert (booked.is_open, booked.ticket.quantity) == (True, -10)


@pytest.mark.parametrize("left", [0, 4])
def test_exit_that_waits_for_its_price_or_the_open_sells_no_more_than_was_left_by_hand(
    world: World, left: int
) -> None:
    world.send(10)
    world.run(15)
    ref = world.send(-10, kind=Kind.LIMIT, limit=101.0, tif=TimeInForce.GTC)
    assert world.desk.purpose(ref) is Purpose.REDUCTION
    world.run(5)
    by_hand(world, left - 10)
    looked(world).run(30)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == ref)
    assert booked.is_open is (left > 0)
    if left:
        world.broker.fill(booked, booked.left)
    world.run(130)
    assert there(world) == 0
    assert world.state(ref) == ("filled" if left else "cancelled")
    assert world.desk.gate is Gate.OPEN


def test_what_was_closed_by_hand_counts_at_its_price_when_it_is_adopted(world: World) -> None:
    """Else it would count as given away, and a limit of loss would halt."""
    world.send(10)
    world.run(5)
    world.broker.price = 103.0
    by_hand(world, -6)
    world.broker.price = 104.0
    by_hand(world, -4)
    looked(world)
    again(world).opened()
    assert world.desk.positions == {}
    (holding,) = world.journal.load().holdings
    assert (holding.quantity, holding.price) == (-10, pytest.approx(103.4))


# ---------------------------------------------------------------- adopted on a later day
def again(world: World, **policy: Any) -> World:
    """A person clears the halts and starts it again with positions = adopt."""
    world.desk.clear("Ada", "I traded it", world.now)
    world.kill()
    world.setup = replace(world.setup, policy=replace(world.setup.policy, **{"start": Start.ADOPT, **policy}))
    return world.start()


def by_hand_yesterday(world: World, quantity: int) -> None:
    """IB tells the executions of the day only."""
    by_hand(world, quantity)
    world.broker.executions.clear()
    world.until(lambda: bool(world.desk.halted), 150)


@pytest.mark.parametrize("start", [Start.ADOPT, Start.FLATTEN])
@pytest.mark.parametrize("quantity", [-10, -4, -15, 10])
def test_what_was_traded_at_a_price_that_nobody_tells_is_not_adopted(
    world: World, start: Start, quantity: int
) -> None:
    world.send(10)
    world.run(5)
    by_hand_yesterday(world, quantity)
    held = there(world)
    again(world, start=start).until(lambda: bool(world.desk.halted), 90)
    assert f"IB does not tell at what price {quantity:+} were traded" in world.desk.halted
    assert "--adopt-price SPY=PRICE" in world.desk.halted
    assert world.journal.load().holdings == ()
    assert (there(world), world.desk.positions) == (held, {SPY: 10})


def test_a_person_who_wants_out_is_not_asked_for_a_price(world: World) -> None:
    """`quant flatten` without the runner: IB's average cost of all that it holds will do."""
    world.send(10)
    world.run(5)
    by_hand_yesterday(world, 5)
    again(world, urgent=True, worth=((SPY, 1.0),)).opened()
    assert world.desk.positions == {SPY: 15}
    assert world.journal.load().holdings[0].price == 100.0  # this broker's average cost
    world.desk.flatten("Ada", world.now)
    world.run(10)
    assert (there(world), world.desk.positions) == (0, {})


@pytest.mark.parametrize(("start", "left"), [(Start.ADOPT, 6), (Start.FLATTEN, 0)])
def test_it_is_adopted_at_the_price_that_a_person_says(world: World, start: Start, left: int) -> None:
    world.send(10)
    world.run(5)
    by_hand_yesterday(world, -4)
    again(world, start=start, prices=((SPY, 103.5),)).opened().run(10)
    (holding,) = world.journal.load().holdings
    assert (holding.quantity, holding.price) == (-4, 103.5)
    assert there(world) == left
    again(world).opened()  # it is known now
    assert len(world.journal.load().holdings) == 1


def test_executions_of_the_day_come_before_a_price_that_was_said(world: World) -> None:
    world.send(10)
    world.run(5)
    world.broker.price = 103.0
    by_hand(world, -4)
    looked(world)
    again(world, prices=((SPY, 99.0),)).opened()
    assert world.journal.load().holdings[0].price == 103.0


def test_of_what_was_flat_it_is_ibs_average_cost(world: World) -> None:
    by_hand_yesterday(world, 10)
    again(
        world, worth=((SPY, 50.0),)
    ).opened()  # a future of 50 money a point; this broker's average cost is 100
    assert world.desk.positions == {SPY: 10}
    assert world.journal.load().holdings[0].price == 2.0


def test_at_ibs_average_cost_only_where_nothing_was_left_alone_in_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.broker.held[SPY] = Decimal(50)
    by_hand_yesterday(world.start().opened(), 10)
    again(world).until(lambda: bool(world.desk.halted), 90)
    assert "at what price +10 were traded" in world.desk.halted
    assert world.desk.positions == {}
