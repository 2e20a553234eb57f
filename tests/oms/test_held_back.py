"""Orders that TWS calls Inactive though nobody refused them: row O6. They may work again: nothing goes out before.

That such an order lives on at IB and can still fill, and that its cancellation can stay without an answer: ib_insync
issue 363.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from order_broker import SECOND, Booked
from order_world import LIMITS, SPY, World

from quant.core.orders import Kind, Told
from quant.oms.desk.setup import Why
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
        f"order {ref} is held back as Inactive by the broker, which has not refused it; it is cancelled"
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
    assert any("in a halt nothing could take its place, so it stays" in a.text for a in world.alarms)
    world.desk.clear("Ada", "looked", world.now)
    world.until(lambda: world.state(ref) == "cancelled", 60)
    world.opened().run(90).check()


# ---------------------------------------------------------------- what makes it less certain
def deaf(world: World, stop: Booked) -> None:
    """The broker does nothing about this order's cancel, and says nothing (ib_insync issue 363)."""
    cancel = world.broker.cancel
    world.broker.cancel = lambda order_id: None if order_id == stop.order_id else cancel(order_id)  # type: ignore[method-assign]  # this broker's answer


def test_refusal_of_an_earlier_change_is_none_of_the_order(world: World) -> None:
    stop = guarded(world)
    ref = stop.ticket.ref
    assert world.desk.modify([replace(stop.ticket, stop=98.5)], Why(world.now, text="f"), world.now).taken
    world.broker.say(Told(stop.order_id, 110, "price off tick", world.now))
    world.run(30)
    world.broker.hold_back(stop, listed_open=False)
    world.run(1)
    close = world.send(-10)
    world.run(1)
    assert (world.state(ref), world.state(close)) == ("unknown", "decided")
    world.broker.let_go(stop)
    world.broker.fill(stop, stop.left)
    world.run(90)
    assert world.desk.positions == {}
    assert world.state(close) == "not sent"


def test_gate_stays_shut_while_an_open_order_s_cancel_has_no_answer_and_halts(world: World) -> None:
    stop = guarded(world)
    ref = stop.ticket.ref
    deaf(world, stop)
    world.broker.hold_back(stop, listed_open=True)
    world.run(1)
    close = world.send(-10)
    for _ in range(90):
        assert world.desk.gate is not Gate.OPEN
        world.second()
    assert world.state(close) == "decided"
    assert f"order {ref} was held back as Inactive; its cancellation was asked for" in world.desk.halted
    world.broker.let_go(stop)
    world.broker.fill(stop, stop.left)
    world.run(30)
    assert world.desk.positions == {}
    assert world.state(close) == "not sent"


def test_readings_before_the_cancel_prove_nothing(world: World) -> None:
    """The strategy cancels between the two readings, and the broker takes no notice."""
    stop = guarded(world)
    ref = stop.ticket.ref
    deaf(world, stop)
    world.broker.hold_back(stop, listed_open=False)
    firsts: set[int] = set()
    watch = world.desk._floor.watch
    while watch.before is None:
        world.second()
    world.desk.cancel(ref, world.now)
    asked = world.now
    while world.state(ref) != "cancelled":
        world.second()
        if watch.before is not None:
            firsts.add(watch.before.asked_at)
        assert world.now < asked + 60 * SECOND
    since = min(first for first in firsts if first > asked)
    assert world.now - since >= 5 * SECOND  # the second one
    why = next(m.why for m in reversed(world.journal.load().marks) if m.what is What.EXPIRED)
    assert (
        why
        == "held back as Inactive; its cancellation was asked for, and two snapshots since do not have it open"
    )


def test_order_that_is_in_no_list_is_cancelled_too(world: World) -> None:
    stop = guarded(world)
    ref = stop.ticket.ref
    world.broker.hold_back(stop, listed_open=False)
    key = next(key for key, order in world.broker.orders.items() if order is stop)
    del world.broker.orders[key]
    world.until(lambda: world.state(ref) == "cancelled", 60)
    assert len(cancels(world, ref)) == 1


def test_what_was_proven_over_and_fills_halts(world: World) -> None:
    """No proof is one against a broker that takes no notice of a cancel."""
    stop = guarded(world)
    deaf(world, stop)
    world.broker.hold_back(stop, listed_open=False)
    world.until(lambda: world.state(stop.ticket.ref) == "cancelled", 60).opened()
    world.send(-10)
    world.run(10)
    world.broker.let_go(stop)
    world.broker.fill(stop, stop.left)
    world.run(5)
    assert "working after it was refused, proven not sent or proven over" in world.desk.halted
    assert world.desk.positions == {SPY: -10}


@LISTS
def test_order_of_another_client_is_left_to_a_person(world: World, listed_open: bool) -> None:
    stop = guarded(world)
    world.kill()
    world.broker.hold_back(stop, listed_open)
    world.setup = replace(world.setup, client_id=8)
    world.broker.client_id = 8
    world.start().run(120)
    assert "client 7 sent it, and only that one can cancel it" in world.desk.halted
    assert cancels(world, stop.ticket.ref) == []
    assert world.state(stop.ticket.ref) in ("unknown", "working")


@LISTS
def test_entry_goes_with_the_exit_that_is_held_back_before_it_fills(world: World, listed_open: bool) -> None:
    world.broker.instant = False
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.run(2)
    world.broker.hold_back(booked(world, stop.ref), listed_open)
    world.until(lambda: world.state(entry.ref) == "cancelled", 60)
    world.run(60)
    assert world.state(stop.ref) == "cancelled"
    assert world.desk.positions == {}
    world.opened().check()


@LISTS
def test_entries_that_are_held_back_count_as_turned_down(tmp_path: Path, listed_open: bool) -> None:
    limits = replace(LIMITS, max_rejects=3)
    world = World(tmp_path, limits=limits).start().opened()
    world.broker.instant = False
    for _ in range(4):
        assert world.desk.halted == ""
        ref = world.send(10)
        world.run(1)
        world.broker.hold_back(booked(world, ref), listed_open)
        world.run(40)
    assert world.desk.halted == "IB rejected 4 entries in 600 s"


def test_in_a_halt_what_does_not_protect_is_cancelled(world: World) -> None:
    guarded(world)
    world.broker.instant = False
    close = world.send(-10)
    world.run(1)
    world.desk.halt("Ada looks", world.now)
    world.broker.hold_back(booked(world, close), listed_open=True)
    world.until(lambda: world.state(close) == "cancelled", 150)
