"""Orders that TWS calls Inactive though nobody refused them: row O6. They may work again: nothing goes out before.

That such an order lives on at IB and can still fill, and that its cancellation can stay without an answer: ib_insync
issue 363.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from order_broker import Booked
from order_world import SPY, World

from quant.core.orders import Kind
from quant.oms.gate import Gate
from quant.oms.ledger import What

LISTS = pytest.mark.parametrize("listed_open", [True, False], ids=["among the open", "among the completed"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A desk whose gate is open."""
    return World(tmp_path).start().opened()


def booked(world: World, ref: str) -> Booked:
    return next(order for order in world.broker.orders.values() if order.ticket.ref == ref)


def guarded(world: World) -> Booked:
    """Return the stop of ten that are held."""
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.until(lambda: world.desk.positions == {SPY: 10}).run(3)
    return booked(world, stop.ref)


def cancels(world: World, ref: str) -> list[str]:
    return [m.why for m in world.journal.load().marks if m.ref == ref and m.what is What.CANCEL_ASKED]


@LISTS
def test_stop_that_works_again_within_a_reading_is_what_it_was(world: World, listed_open: bool) -> None:
    stop = guarded(world)
    ref = stop.ticket.ref
    world.broker.hold_back(stop, listed_open)
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 5)
    for _ in range(4):
        assert world.state(ref) in ("unknown", "working")
        world.second()
    world.broker.let_go(stop)
    world.opened()
    assert world.state(ref) == "working"
    assert stop.is_open
    assert cancels(world, ref) == []
    world.run(90)
    assert world.desk.halted == ""
    world.desk.cancel(ref, world.now)
    world.send(-10)
    world.run(90).check()


@LISTS
def test_stop_that_stays_inactive_is_cancelled_and_over_before_anything_goes_out(
    world: World, listed_open: bool
) -> None:
    stop = guarded(world)
    ref = stop.ticket.ref
    world.broker.hold_back(stop, listed_open)
    world.run(1)
    close = world.send(-10)
    for _ in range(60):
        if cancels(world, ref):
            break
        assert world.state(close) == "decided"
        assert world.state(ref) in ("unknown", "working")
        world.second()
    world.opened()
    assert world.state(ref) == "cancelled"
    assert len(cancels(world, ref)) == 1
    assert [a.text for a in world.alarms if a.ref == ref] == [
        f"order {ref}: the broker holds it back as Inactive, without having refused it"
    ]
    world.run(10)
    assert world.state(close) == "filled"
    assert world.desk.positions == {}
    assert world.desk.halted == ""
    world.run(90).check()


@LISTS
@pytest.mark.parametrize("kind", [Kind.MARKET, Kind.LIMIT])
def test_entry_that_stays_inactive_is_cancelled(world: World, listed_open: bool, kind: Kind) -> None:
    world.broker.instant = False
    ref = world.send(10, kind=kind, limit=99.0 if kind is Kind.LIMIT else None)
    world.run(1)
    world.broker.hold_back(booked(world, ref), listed_open)
    world.until(lambda: world.state(ref) == "cancelled", 60).opened()
    assert len(cancels(world, ref)) == 1
    world.run(90).check()


@LISTS
def test_close_that_stays_inactive_is_cancelled_so_that_another_can_be_sent(
    world: World, listed_open: bool
) -> None:
    guarded(world)
    world.broker.instant = False
    close = world.send(-10)
    world.run(1)
    world.broker.hold_back(booked(world, close), listed_open)
    world.until(lambda: world.state(close) == "cancelled", 60).opened()
    world.broker.instant = True
    other = world.send(-10)
    world.run(10)
    assert world.state(other) == "filled"
    assert world.desk.positions == {}
    world.run(90).check()


@LISTS
def test_in_a_halt_what_protects_stays_though_it_is_inactive(world: World, listed_open: bool) -> None:
    """Nothing could take its place; a person is told, and once the halt is cleared it is cancelled as ever."""
    stop = guarded(world)
    ref = stop.ticket.ref
    world.desk.halt("Ada looks", world.now)
    world.broker.hold_back(stop, listed_open)
    world.run(180)
    assert stop.status == "Inactive"
    assert cancels(world, ref) == []
    assert any("holds it back as Inactive" in a.text for a in world.alarms)
    world.desk.clear("Ada", "looked", world.now)
    world.until(lambda: world.state(ref) == "cancelled", 60)
    world.opened().run(90).check()
