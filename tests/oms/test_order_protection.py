"""Exits that end with an entry of which a part was filled: the part is protected again, or trading halts."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from order_broker import Booked
from order_world import SPY, World
from test_order_stops import again, killed_at

from quant.core.orders import Kind, TimeInForce, Told
from quant.oms.gate import Gate


@pytest.fixture
def world(tmp_path: Path) -> World:
    return opened(tmp_path)


def opened(folder: Path) -> World:
    world = World(folder).start().opened()
    world.broker.exits_end, world.broker.instant = True, False
    return world


def enter(world: World, *, limit: float | None = None) -> Booked:
    """Send an entry for 10 with a stop, and a limit if there is one; return the entry at the broker."""
    entry, stop = world.bracket(10)
    legs = [stop]
    if limit is not None:
        legs.append(world.ticket(-10, kind=Kind.LIMIT, limit=limit, parent=entry.ref, tif=TimeInForce.GTC))
    world.submit(entry, *legs)
    world.run(2)
    return at_broker(world, entry.ref)


def at_broker(world: World, ref: str) -> Booked:
    return next(o for o in world.broker.orders.values() if o.ticket.ref == ref)


def exits(world: World) -> list[Booked]:
    """What works at the broker."""
    return [o for o in world.broker.orders.values() if o.is_open]


def cut(world: World, filled: int = 4) -> None:
    """The entry is filled in part and then ended by the broker."""
    entry = enter(world)
    world.broker.fill(entry, Decimal(filled))
    world.broker.end(entry, "Cancelled")


def terms(order: Booked) -> tuple[Kind, Decimal, float | None, TimeInForce]:
    ticket = order.ticket
    return ticket.kind, ticket.quantity, ticket.stop or ticket.limit, ticket.tif


def test_filled_part_of_a_cancelled_entry_gets_a_new_stop(world: World) -> None:
    cut(world)
    world.run(20)
    assert [terms(o) for o in exits(world)] == [(Kind.STOP, -4, 98.0, TimeInForce.GTC)]
    assert any("placed anew" in alarm.text for alarm in world.alarms)
    assert world.desk.gate is Gate.OPEN
    again(world).opened().run(90)  # the next process leaves it at that
    assert len(exits(world)) == 1
    world.broker.fill(exits(world)[0], Decimal(-4))
    world.run(10).check()
    assert world.desk.positions == {}


def test_two_exits_are_placed_anew_tied_to_one_another(world: World) -> None:
    entry = enter(world, limit=102.0)
    world.broker.fill(entry, Decimal(4))
    world.broker.end(entry, "Cancelled")
    world.run(20)
    assert {terms(o)[:3] for o in exits(world)} == {(Kind.STOP, -4, 98.0), (Kind.LIMIT, -4, 102.0)}
    assert len({o.ticket.oca for o in exits(world)} - {""}) == 1


def test_exits_that_a_broker_lets_live_are_made_as_large_as_what_is_held(world: World) -> None:
    world.broker.exits_end = False
    cut(world)
    world.run(40)
    assert [terms(o)[:2] for o in exits(world)] == [(Kind.STOP, -4)]
    world.check_positions()


def test_exit_of_an_entry_that_was_filled_whole_stays_as_large_as_it_was_asked(world: World) -> None:
    """One order turns 10 into -5, and its stop, for 15, turns it back: so the strategy wants it."""
    first = world.send(10)
    world.run(1)
    world.broker.fill(at_broker(world, first), Decimal(10))
    world.run(1)
    entry, stop = world.bracket(-15)
    assert all(answer.taken for answer in world.submit(entry, stop))
    world.run(1)
    world.broker.fill(at_broker(world, entry.ref), Decimal(-15))
    world.run(20)
    assert [terms(o)[:2] for o in exits(world)] == [(Kind.STOP, 15)]


def test_exit_that_the_strategy_cancelled_is_not_placed_anew(world: World) -> None:
    entry = enter(world)
    stop = next(o for o in exits(world) if o.ticket.parent)
    world.broker.fill(entry, Decimal(4))
    world.run(1)
    world.desk.cancel(stop.ticket.ref, world.now)
    world.run(3)
    world.broker.end(entry, "Cancelled")
    world.run(20)
    assert exits(world) == []


def test_exit_of_a_whole_position_that_somebody_cancelled_in_tws_stays_away(world: World) -> None:
    entry = enter(world)
    stop = next(o for o in exits(world) if o.ticket.parent)
    world.broker.fill(entry, Decimal(10))
    world.run(3)
    world.broker.end(stop, "Cancelled")
    world.run(20)
    assert exits(world) == []


def test_new_stop_that_ends_too_halts(world: World) -> None:
    cut(world)
    world.run(20)
    world.broker.end(exits(world)[0], "Cancelled")
    world.run(20)
    assert world.desk.gate is Gate.HALTED
    assert "nothing protects them" in world.desk.halted
    assert exits(world) == []


def test_strategy_that_closes_the_part_itself_ends_the_new_stop_first(world: World) -> None:
    cut(world)
    world.run(20)
    stop = exits(world)[0]
    ref = world.send(-4)
    assert not stop.is_open
    world.run(1)
    world.broker.fill(at_broker(world, ref), Decimal(-4))
    world.run(20).check()
    assert world.desk.positions == {}
    assert exits(world) == []


def test_new_stop_goes_when_the_position_is_flattened(world: World) -> None:
    cut(world)
    world.run(20)
    world.broker.instant = True
    world.desk.flatten("Ada", world.now)
    world.run(20).check()
    assert exits(world) == []
    assert world.broker.held[SPY] == 0


def test_stop_that_ib_refuses_for_its_parent_is_placed_without_one(world: World) -> None:
    """Row O6: TWS has the entry as Inactive, so it refuses its child with 201, and fills the entry all the same."""
    place = world.broker.place

    def refuses(order_id, ticket, parent_id=None):  # type: ignore[no-untyped-def]
        if parent_id is None:
            place(order_id, ticket, parent_id)
        else:
            world.broker.say(Told(order_id, 201, "Parent order is being cancelled", world.now))

    world.broker.place = refuses  # type: ignore[method-assign]
    world.broker.fill(enter(world), Decimal(10))
    world.run(60)
    assert [terms(o)[:3] for o in exits(world)] == [(Kind.STOP, -10, 98.0)]
    assert world.desk.gate is Gate.OPEN
    world.check_positions()


def test_part_is_protected_by_one_order_wherever_the_process_is_killed(tmp_path: Path) -> None:
    for number in count(1):
        world = opened(tmp_path / str(number))
        entry = enter(world)
        world.broker.fill(entry, Decimal(4))
        world.broker.end(entry, "Cancelled")
        if not killed_at(number, partial(world.run, 15)):
            break
        again(world).opened().run(90)
        assert [terms(o)[:2] for o in exits(world)] == [(Kind.STOP, -4)], number
        world.check_doubles()
        world.check_positions()
    assert number > 8, "there were places to die at"
