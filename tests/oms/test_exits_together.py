"""Several exits of one position: together they never close more than is held, whoever has made it smaller."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from moved import move
from order_broker import Booked, Faults
from order_world import SPY, World

from quant.core.orders import Kind, TimeInForce
from quant.oms.gate import Gate, Purpose
from quant.oms.limits import Limits


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path).start().opened()
    world.send(10)
    return world.run(15)


def stop(world: World, quantity: int, price: float = 98.0, **more: object) -> str:
    return world.send(-quantity, kind=Kind.STOP, stop=price, tif=TimeInForce.GTC, **more)


def limit(world: World, quantity: int, **more: object) -> str:
    return world.send(-quantity, kind=Kind.LIMIT, limit=102.0, tif=TimeInForce.GTC, **more)


def pair(world: World, quantity: int, price: float) -> tuple[str, str]:
    """A stop and a limit of which one fills."""
    group = f"g{price}"
    return stop(world, quantity, price, oca=group), limit(world, quantity, oca=group)


def by_hand(world: World, quantity: int) -> World:
    """Trade in TWS, until it is seen and acted upon."""
    world.broker.trade_by_hand(SPY, quantity)
    world.broker.inbox.clear()
    return world.until(lambda: SPY in world.desk.halted_instruments, 90).run(30)


def booked(world: World, ref: str) -> Booked:
    return next(o for o in world.broker.orders.values() if o.ticket.ref == ref)


def working(world: World, *refs: str) -> list[int]:
    """Return what each may still sell at the broker."""
    found = [booked(world, ref) for ref in refs]
    return [-int(one.left) if one.is_open else 0 for one in found]


def all_touched(world: World) -> Decimal:
    """Let the price run through every stop at once; return what is left then."""
    for order in list(world.broker.orders.values()):
        if order.is_open and order.ticket.kind is Kind.STOP:
            world.broker.fill(order, order.left)
    world.run(10)
    return world.broker.held[SPY]


# ---------------------------------------------------------------- by hand
@pytest.mark.parametrize(("left", "wanted"), [(7, [2, 5]), (5, [0, 5]), (4, [0, 4]), (1, [0, 1])])
def test_two_stops_of_half_each_sell_no_more_than_was_left_by_hand(
    world: World, left: int, wanted: list[int]
) -> None:
    refs = stop(world, 5), stop(world, 5, 97.0)
    world.run(5)
    by_hand(world, left - 10)
    assert working(world, *refs) == wanted
    assert world.desk.gate is Gate.OPEN
    sent = len(world.broker.placed)
    world.run(130)
    assert (working(world, *refs), len(world.broker.placed)) == (wanted, sent)  # it is as wanted
    assert all_touched(world) == 0


def test_of_two_pairs_each_side_sells_no_more_than_was_left_by_hand(world: World) -> None:
    first, second = pair(world, 5, 98.0), pair(world, 5, 97.0)
    world.run(5)
    by_hand(world, -3)
    assert working(world, *first, *second) == [2, 2, 5, 5]
    assert all_touched(world) == 0


def test_one_group_counts_once(world: World) -> None:
    """Of a stop and a limit that end one another only one fills, and so of two stops."""
    refs = stop(world, 10, oca="g"), stop(world, 10, 97.0, oca="g")
    world.run(5)
    by_hand(world, -4)
    assert working(world, *refs) == [6, 6]


def test_what_was_made_smaller_grows_again_with_what_is_put_right(world: World) -> None:
    refs = stop(world, 5), stop(world, 5, 97.0)
    world.run(5)
    by_hand(world, -3)
    assert working(world, *refs) == [2, 5]
    world.broker.trade_by_hand(SPY, 3)
    world.run(100)
    assert working(world, *refs) == [5, 5]


# ---------------------------------------------------------------- by an order of ours
@pytest.mark.parametrize(("sold", "wanted"), [(3, [2, 5]), (6, [0, 4])])
def test_two_stops_of_half_each_sell_no_more_than_another_order_has_left(
    world: World, sold: int, wanted: list[int]
) -> None:
    refs = stop(world, 5), stop(world, 5, 97.0)
    world.run(5)
    world.send(-sold)
    world.run(5)
    assert working(world, *refs) == wanted
    assert world.desk.gate is Gate.OPEN
    world.run(130)
    assert working(world, *refs) == wanted
    assert all_touched(world) == 0
    world.check()


@pytest.mark.parametrize("by_whom", ["an order", "hand", "an order, then killed"])
def test_of_two_stops_the_one_moved_last_keeps_its_share(world: World, by_whom: str) -> None:
    """As where it was cancelled and sent anew: it is the one that was wanted last."""
    moved, other = stop(world, 5, 97.0), stop(world, 5, 95.0)
    world.run(5)
    move(world, moved, 99.0)
    world.run(5)
    if by_whom == "hand":
        by_hand(world, -5)
    else:
        world.send(-5)
        if by_whom != "an order":
            world.kill()
            world.start().opened()
        world.run(10)
    assert working(world, moved, other) == [5, 0]
    world.run(130)
    assert working(world, moved, other) == [5, 0]


def test_a_stop_for_all_of_it_sells_no_more_than_another_order_has_left(world: World) -> None:
    ref = stop(world, 10)
    world.run(5)
    world.send(-4)
    world.run(5)
    assert working(world, ref) == [6]
    assert any("smaller" in alarm.text for alarm in world.alarms)
    world.send(4)  # an entry: what is held grows again, and the stop with it
    world.run(130)
    assert working(world, ref) == [10]


@pytest.mark.parametrize("fault", ["break_before", "break_after"])
def test_exits_are_made_smaller_though_the_connection_breaks_in_between(world: World, fault: str) -> None:
    ref = stop(world, 10)
    world.run(5)
    world.broker.instant = False
    sold = world.send(-4)
    world.broker.faults = Faults(**{fault: 1.0})
    world.broker.fill(booked(world, sold), Decimal(-4))
    world.until(lambda: not world.broker.connected, 5)
    world.broker.faults = Faults()
    world.run(60)
    assert world.desk.gate is Gate.OPEN
    assert working(world, ref) == [6]


def test_exits_are_as_small_as_what_is_held_after_a_kill_in_between(world: World) -> None:
    refs = stop(world, 5), stop(world, 5, 97.0)
    world.run(5)
    other = world.send(-3)
    world.kill()
    world.broker.fill(booked(world, other), Decimal(-3))  # while nobody listens
    world.start().opened().run(10)
    assert working(world, *refs) == [2, 5]


def test_a_new_stop_beside_the_one_it_replaces_is_what_stays_after_a_kill(world: World) -> None:
    refs = stop(world, 10, 97.0), stop(world, 10)
    world.run(5)
    world.kill()
    world.start().opened().run(10)
    assert working(world, *refs) == [0, 10]


def test_a_limit_that_closes_what_a_stop_has_closed_ends(world: World) -> None:
    """They are not tied: the limit would sell short what the deployment's limits forbid, unasked."""
    guard, target = stop(world, 10), limit(world, 10)
    world.run(5)
    assert world.desk.purpose(target) is Purpose.REDUCTION
    world.broker.fill(booked(world, guard), Decimal(-4))
    world.run(5)
    assert working(world, guard, target) == [6, 6]
    world.broker.fill(booked(world, guard), Decimal(-6))
    world.run(5)
    assert working(world, guard, target) == [0, 0]
    assert world.broker.held[SPY] == 0


def test_an_exit_whose_end_was_asked_for_takes_nothing_from_others(world: World) -> None:
    """Its cancel is not answered; once it is, the other one alone guards."""
    first, second = stop(world, 10, 97.0), stop(world, 10)
    world.run(5)
    cancel, world.broker.cancel = world.broker.cancel, lambda order_id: None  # type: ignore[method-assign]  # a lost one
    world.desk.cancel(second, world.now)
    world.send(-4)
    world.run(5)
    assert working(world, first, second) == [6, 10]
    cancel(booked(world, second).order_id)
    world.run(5)
    assert working(world, first, second) == [6, 0]


def test_a_stop_that_waits_for_the_gate_takes_nothing_from_the_one_that_guards(world: World) -> None:
    """A new process decides before IB's books have been read: whoever wants the new one there ends the old one."""
    first = stop(world, 10, 97.0)
    world.run(5)
    world.kill()
    world.start()
    second = stop(world, 10)
    world.run(20)
    assert working(world, first, second) == [10, 10]


def test_exits_of_an_entry_that_still_works_are_its_own(world: World) -> None:
    guard = stop(world, 10)
    entry = world.ticket(5, kind=Kind.LIMIT, limit=99.0, tif=TimeInForce.GTC, transmit=False)
    child = world.ticket(-5, kind=Kind.STOP, stop=97.0, parent=entry.ref, tif=TimeInForce.GTC)
    world.submit(entry, child)
    world.run(5)
    world.send(-4)
    world.run(5)
    assert working(world, guard, child.ref) == [6, 5]


def test_an_order_at_the_market_takes_nothing_from_limits_until_it_fills(world: World) -> None:
    guard, target = stop(world, 10), limit(world, 7)
    world.run(5)
    world.broker.instant = False
    out = world.send(-3)
    world.broker.fill(booked(world, guard), Decimal(-4))
    world.run(5)
    assert working(world, target, out) == [6, 3]
    world.broker.fill(booked(world, out), Decimal(-3))
    world.run(5)
    assert working(world, guard, target) == [3, 3]


# ---------------------------------------------------------------- getting out
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_limit_that_waits_for_its_price_is_no_reason_not_to_close(tmp_path: Path, cancelled: bool) -> None:
    """Shorts are not allowed: the close counted as one beside the limit, also where that was just cancelled."""
    world = World(tmp_path, limits=Limits(max_notional=1e6)).start().opened()
    world.send(10)
    world.run(15)
    target = limit(world, 10)
    world.run(5)
    if cancelled:
        world.desk.cancel(target, world.now)
    assert world.desk.purpose(world.send(-10)) is Purpose.REDUCTION
    world.run(5)
    assert world.broker.held[SPY] == 0
    assert working(world, target) == [0]
    assert world.state(target) == "cancelled"


def test_two_limits_close_no_more_than_is_held(world: World) -> None:
    first, second = limit(world, 6), limit(world, 4)
    assert world.desk.purpose(second) is Purpose.REDUCTION
    third = limit(world, 1)
    assert world.desk.purpose(third) is Purpose.ENTRY
    world.run(5)
    assert working(world, first, second, third) == [6, 4, 1]


# ---------------------------------------------------------------- turning round
@pytest.mark.parametrize(
    "fills",
    [[(0, -6), (1, -4), (1, -6), (0, -4)], [(1, -4), (0, -6), (0, -4), (1, -6)], [(1, -10), (0, -10)]],
    ids=["entry-to-zero", "reduction-to-zero", "entry-first"],
)
def test_a_reversal_in_two_orders_passes_through_nothing_held(
    world: World, fills: list[tuple[int, int]]
) -> None:
    """q.Strategy closes and enters by two orders, which fill in parts and in any order."""
    world.broker.instant = False
    out, entry = world.ticket(-10), world.ticket(-10, transmit=False)
    guard = world.ticket(10, kind=Kind.STOP, stop=102.0, parent=entry.ref, tif=TimeInForce.GTC)
    world.submit(out, entry, guard)
    for which, quantity in fills:
        order = booked(world, (out, entry)[which].ref)
        assert order.is_open
        world.broker.fill(order, Decimal(quantity))
        world.run(2)
    assert [world.state(t.ref) for t in (out, entry, guard)] == ["filled", "filled", "working"]
    world.run(130)
    assert (world.broker.held[SPY], working(world, guard.ref), world.desk.halted) == (-10, [-10], "")
