"""The desk against a broker in memory: no order lost, none doubled, whatever breaks when. Rows of live-faults §4a."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from order_broker import SECOND, Faults
from order_world import LIMITS, QQQ, SPY, Killed, World

from quant.core.orders import Execution, Kind, Snapshot, Status, Ticket, TimeInForce
from quant.errors import ParameterError
from quant.oms import failpoints
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.outbox import Outbox, Sent
from quant.oms.desk.recovery import Recovery
from quant.oms.desk.setup import Link, Surroundings
from quant.oms.gate import Gate
from quant.oms.reconcile.outcome import Policy, Start


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A desk whose gate is open."""
    return World(tmp_path).start().opened()


def codes(world: World, *tickets: Ticket, **why: int) -> set[str]:
    return {refusal.code for answer in world.submit(*tickets, **why) for refusal in answer.refusals}


def stops(world: World) -> list[str]:
    return [alarm.text for alarm in world.alarms if alarm.stops]


# ---------------------------------------------------------------- the ordinary life of orders
def test_gate_opens_after_two_snapshots_five_seconds_apart(tmp_path: Path) -> None:
    world = World(tmp_path).start()
    assert world.desk.gate is Gate.RECONCILING
    began = world.now
    world.opened()
    assert world.now - began >= 5 * SECOND
    assert len(world.journal.load().snapshots) >= 1


def test_order_is_filled_and_told(world: World) -> None:
    ref = world.send(10)
    world.run(10)
    assert world.state(ref) == "filled"
    assert world.desk.positions == {SPY: 10}
    assert [c.after.state for c in world.changes][:2] == ["decided", "sent"]
    world.check()


def test_order_waits_while_the_gate_is_closed(tmp_path: Path) -> None:
    world = World(tmp_path).start()
    ref = world.send(10)
    assert world.broker.placed == []
    world.opened().run(5)
    assert world.state(ref) == "filled"


def test_entry_that_waited_a_bar_is_late(tmp_path: Path) -> None:
    world = World(tmp_path).start()
    ticket = world.ticket(10)
    world.submit(ticket, life_s=3)
    world.opened().run(5)
    assert world.state(ticket.ref) == "not sent"
    assert world.broker.placed == []


def test_reduction_waits_as_long_as_it_takes(world: World) -> None:
    world.send(10)
    world.run(5)
    world.desk.on_link(Link.CUT, world.now)
    ticket = world.ticket(-10)
    world.submit(ticket, life_s=1)
    world.run(300)
    assert world.state(ticket.ref) == "decided"
    world.desk.on_link(Link.BACK, world.now)
    world.opened().run(5)
    assert world.desk.positions == {}


def test_reduction_that_waited_is_dropped_where_nothing_is_held_any_more(world: World) -> None:
    world.submit(*world.bracket(10))
    world.run(5)
    world.desk.on_link(Link.CUT, world.now)
    ticket = world.ticket(-10)
    world.submit(ticket)
    stop = next(o for o in world.broker.orders.values() if o.ticket.kind is Kind.STOP)
    world.broker.fill(stop, stop.left)  # touched while TWS was cut off from us
    world.desk.on_link(Link.BACK, world.now)
    world.opened().run(5)
    assert world.state(ticket.ref) == "not sent"
    assert world.broker.held[SPY] == 0
    world.check()


def test_first_order_travels_alone(world: World) -> None:
    world.broker.faults = Faults(lost=1.0)
    world.send(10)
    second = world.send(10, QQQ)
    assert len(world.broker.placed) == 1
    world.broker.faults = Faults()
    world.opened().run(30)
    assert world.state(second) == "filled"


def test_cancelled_before_it_was_sent_never_goes_out(tmp_path: Path) -> None:
    world = World(tmp_path).start()
    ref = world.send(10)
    world.desk.cancel(ref, world.now)
    world.opened().run(5)
    assert world.state(ref) == "not sent"
    assert world.broker.placed == []


def test_entry_never_goes_without_its_stop(tmp_path: Path) -> None:
    world = World(tmp_path).start()
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.desk.cancel(stop.ref, world.now)
    world.opened().run(5)
    assert [world.state(t.ref) for t in (entry, stop)] == ["not sent", "not sent"]
    assert world.broker.placed == []
    world.check()


def test_children_of_a_refused_entry_are_refused(world: World) -> None:
    world.markets[SPY] = replace(world.markets[SPY], is_open=False)
    world.observe()
    answers = world.submit(*world.bracket(10))
    assert [r.code for a in answers for r in a.refusals] == ["closed", "closed"]
    assert all(o.state == "not sent" and "closed" in o.reason for o in world.desk.orders)
    assert world.broker.placed == []


def test_child_that_would_open_a_position_is_refused(world: World) -> None:
    entry, stop = world.bracket(10)
    assert codes(world, entry, replace(stop, quantity=Decimal(-11))) == {"child"}


def test_same_decision_twice_is_refused_also_after_a_restart(world: World) -> None:
    world.submit(world.ticket(10), bar=5)
    world.run(5)
    assert "duplicate" in codes(world, world.ticket(10), bar=5)
    world.kill()
    world.start().opened()
    assert "duplicate" in codes(world, world.ticket(10), bar=5)
    assert "duplicate" not in codes(world, world.ticket(10), bar=6)


# ---------------------------------------------------------------- faults of the way to the broker
def test_dropped_entry_is_never_sent_again(world: World) -> None:
    world.broker.faults = Faults(drop=1.0)
    ref = world.send(10)
    world.broker.faults = Faults()
    world.run(11)
    assert world.state(ref) == "unknown"
    assert world.desk.gate is Gate.RECONCILING
    world.opened()
    assert world.state(ref) == "not sent"
    assert [t.ref for _, t in world.broker.placed] == [ref]
    world.check()


def test_dropped_reduction_is_sent_again_under_its_own_id(world: World) -> None:
    world.send(10)
    world.run(5)
    world.broker.faults = Faults(drop=1.0)
    ref = world.send(-10)
    world.broker.faults = Faults()
    world.run(60)
    sent = [(i, t.ref) for i, t in world.broker.placed if t.ref == ref]
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert world.desk.positions == {}
    world.check()


def test_late_booked_reduction_is_not_doubled(world: World) -> None:
    """Row O8: the order reaches the books after it was sent again; 103 does the work."""
    world.send(10)
    world.run(5)
    world.broker.faults = Faults(late=1.0, late_s=0.0)
    ref = world.send(-10)
    world.broker._late[-1] = (world.now + 40 * SECOND, *world.broker._late[-1][1:])
    world.broker.faults = Faults()
    world.run(120)
    assert sum(t.ref == ref for _, t in world.broker.placed) == 2
    assert world.broker.held[SPY] == 0
    world.check()


def test_entry_that_comes_to_life_after_it_was_given_up_halts(world: World) -> None:
    """Row O1: booked five minutes late, after all proofs said that it never came."""
    world.send(10, QQQ)
    world.run(5)
    world.broker.instant = False
    world.broker.faults = Faults(late=1.0)
    ref = world.send(10)
    world.broker._late[-1] = (world.now + 300 * SECOND, *world.broker._late[-1][1:])
    world.broker.faults = Faults()
    world.until(lambda: world.state(ref) == "not sent")
    world.run(320)
    assert world.desk.gate is Gate.HALTED
    assert "proven not sent" in world.desk.halted
    assert world.state(ref) == "cancelled"
    world.check()


def test_bracket_that_broke_in_the_middle_is_called_back(world: World) -> None:
    entry, stop = world.bracket(10)
    world.broker.faults = Faults()
    original = world.broker.place

    def breaks_at_the_child(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if ticket.parent:
            world.broker.faults = Faults(break_before=1.0)
        original(order_id, ticket, parent_id)
        world.broker.faults = Faults()

    world.broker.place = breaks_at_the_child  # type: ignore[method-assign]
    world.submit(entry, stop)
    world.broker.place = original  # type: ignore[method-assign]
    world.broker.faults = Faults()
    world.run(90)
    assert world.state(entry.ref) == "cancelled"
    assert world.state(stop.ref) == "not sent"
    world.check()


def test_lost_stop_of_a_filled_entry_is_sent_again(world: World) -> None:
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.run(5)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == stop.ref)
    del world.broker.orders[booked.client_id, booked.order_id]  # TWS forgot it at its nightly restart
    world.run(200)
    # Acknowledged once and gone without a word: nobody can tell, so a person must look.
    assert world.state(stop.ref) == "unknown"
    assert world.desk.gate is Gate.HALTED


def test_nightly_restart_with_rolled_back_ids_uses_no_id_twice(world: World) -> None:
    """Row C6, LEAN.IB issue 242."""
    for _ in range(4):
        world.broker.faults = Faults(rolled_back=True)
        world.send(10)
        world.run(3)
        world.broker.disconnect()
        world.lose()
        world.run(40)
        world.desk.cancel(world.send(-10), world.now)
        world.run(20)
    ids = [order_id for order_id, _ in world.broker.placed]
    assert len(ids) == len(set(ids))
    world.check_doubles()


def test_fills_that_come_during_1100_count(world: World) -> None:
    """Row C4, LEAN.IB issue 249: execDetails after 1100 were dropped and never read again."""
    world.broker.instant = False
    world.send(10)
    world.run(2)
    world.desk.on_link(Link.CUT, world.now)
    order = next(iter(world.broker.orders.values()))
    world.broker.fill(order, Decimal(4))
    world.run(2)
    assert world.desk.positions == {SPY: 4}
    world.broker.fill(order, Decimal(6))
    world.broker.inbox.clear()  # and these never come at all
    world.desk.on_link(Link.BACK, world.now)
    world.opened()
    assert world.desk.positions == {SPY: 10}
    world.check()


def test_order_of_another_client_id_is_left_to_a_person(world: World) -> None:
    world.broker.faults = Faults(drop=1.0)
    world.send(10)
    world.kill()
    world.broker.faults = Faults()
    world.setup = replace(world.setup, client_id=8)
    world.start().run(120)
    assert world.desk.gate is Gate.HALTED
    assert "client 7 sent it" in world.desk.halted


def test_order_that_ended_and_works_again_is_cancelled_and_halts(world: World) -> None:
    """Row O6: completed as Inactive by TWS's books, and later it works."""
    world.broker.instant = False
    ref = world.send(10, kind=Kind.LIMIT, limit=99.0)
    booked = world.run(2).broker.orders[7, 1]
    world.broker.end(booked, "Inactive")
    world.until(lambda: world.state(ref) == "cancelled")
    booked.status = "Submitted"
    world.until(lambda: not booked.is_open, 200)
    assert booked.status == "Cancelled"
    assert world.desk.gate is Gate.HALTED
    assert "works again" in world.journal.load().marks[-1].why
    world.desk.clear("Ada", "looked", world.now)
    world.opened().check()


def test_only_stop_that_works_again_stays_until_nothing_is_held(world: World) -> None:
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.until(lambda: world.desk.positions == {SPY: 10})
    world.run(3)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == stop.ref)
    world.broker.end(booked, "Inactive")
    world.until(lambda: world.state(stop.ref) == "cancelled")
    booked.status = "Submitted"
    world.until(lambda: world.desk.gate is Gate.HALTED, 100)
    assert booked.is_open
    world.desk.clear("Ada", "it guards", world.now)
    world.opened().send(-10)
    assert not booked.is_open
    world.run(10).check()


# ---------------------------------------------------------------- what was there, and what others do
@pytest.mark.parametrize(("start", "ours"), [(Start.BASELINE, 0), (Start.ADOPT, 50), (Start.FLATTEN, 0)])
def test_position_found_at_start(tmp_path: Path, start: Start, ours: int) -> None:
    world = World(tmp_path, policy=Policy(start=start))
    world.broker.held[SPY] = Decimal(50)
    world.start().opened().run(10)
    assert world.desk.positions.get(SPY, 0) == ours
    assert world.broker.held[SPY] == (0 if start is Start.FLATTEN else 50)
    world.check()
    world.kill()
    world.setup = replace(world.setup, policy=Policy())
    world.start().opened()  # the second start knows it
    assert world.desk.positions.get(SPY, 0) == ours


def test_position_found_at_start_may_be_refused(tmp_path: Path) -> None:
    world = World(tmp_path, policy=Policy(start=Start.REFUSE))
    world.broker.held[SPY] = Decimal(50)
    world.start().run(20)
    assert world.desk.gate is Gate.HALTED
    assert "baseline, adopt or flatten" in world.desk.halted


def test_positions_that_are_not_loaded_yet_are_not_believed(tmp_path: Path) -> None:
    """Row O11."""
    world = World(tmp_path)
    world.broker.held[SPY] = Decimal(50)
    world.broker.hide_positions = 1
    world.start().opened()
    world.check_positions()


def test_foreign_order_halts_its_instrument_only(world: World) -> None:
    foreign = Ticket("", "DU1", SPY, "SPY", Decimal(5), Kind.LIMIT, limit=90.0)
    world.broker.client_id = 0
    world.broker.book(900, foreign)
    world.broker.client_id = 7
    world.run(70)
    assert list(world.desk.halted_instruments) == [SPY]
    assert codes(world, world.ticket(10)) == {"instrument-halted"}
    world.send(10, QQQ)
    world.run(5)
    assert world.desk.positions == {QQQ: 10}
    world.broker.end(world.broker.orders[0, 900], "Cancelled")
    world.run(70)
    assert codes(world, world.ticket(10)) == {"instrument-halted"}  # until a person clears it
    world.desk.clear("Ada", "it was mine", world.now)
    world.opened()
    assert codes(world, world.ticket(10)) == set()


def test_trade_by_hand_halts_its_instrument_and_lets_positions_be_closed(world: World) -> None:
    world.send(10)
    world.run(5)
    world.broker.trade_by_hand(SPY, 3)
    world.run(15)  # at once, and not at the next regular look
    assert list(world.desk.halted_instruments) == [SPY]
    assert world.desk.gate is Gate.OPEN
    world.send(-10)
    world.run(5)
    assert world.broker.held[SPY] == 3


def test_position_that_nothing_explains_halts(world: World) -> None:
    world.send(10)
    world.run(5)
    world.broker.held[SPY] = Decimal(40)  # a split
    world.run(60)
    world.until(lambda: world.desk.gate is Gate.RECONCILING)
    world.until(lambda: world.desk.gate is Gate.HALTED)
    assert "the broker holds 40, ours are 10" in world.desk.halted


def test_order_under_our_name_that_the_journal_does_not_have_halts(world: World) -> None:
    world.broker.book(900, Ticket("q1:t:77", "DU1", SPY, "SPY", Decimal(5), Kind.LIMIT, limit=90.0))
    world.run(90)
    assert world.desk.gate is Gate.HALTED
    assert "q1:t:77" in world.desk.halted


def test_our_order_in_another_account_halts(world: World) -> None:
    world.broker.instant = False
    ref = world.send(10)
    world.run(2)
    order = next(iter(world.broker.orders.values()))
    world.desk.take([replace(world.broker.echo(order), account="U999")], world.now)
    assert world.desk.gate is Gate.HALTED
    assert ref in world.desk.halted


def test_two_orders_under_one_reference_halt(world: World) -> None:
    """Row O9, nautilus 4564."""
    world.broker.instant = False
    world.send(10)
    world.run(2)
    echo = world.broker.echo(next(iter(world.broker.orders.values())))
    world.desk.take([replace(echo, perm_id=9999)], world.now)
    assert world.desk.gate is Gate.HALTED
    assert "several permIds" in world.desk.halted


def test_fill_after_cancelled_is_booked_and_halts(world: World) -> None:
    """Row O6."""
    world.broker.instant = False
    ref = world.send(10)
    world.run(2)
    world.desk.cancel(ref, world.now)
    world.run(2)
    assert world.state(ref) == "cancelled"
    world.broker.fill(next(iter(world.broker.orders.values())), Decimal(10))
    world.run(2)
    assert world.desk.positions == {SPY: 10}
    assert world.desk.gate is Gate.HALTED
    world.check()


def test_correction_replaces_and_is_told(world: World) -> None:
    """Row O4."""
    world.send(10)
    world.run(5)
    wrong = world.broker.executions[-1]
    right = replace(wrong, exec_id=wrong.exec_id[:-2] + "02", price=101.0)
    world.broker.executions[-1] = right
    world.desk.take([right], world.now)
    world.read()
    assert any("corrected" in alarm.text for alarm in world.alarms)
    assert not world.desk.halted
    corrected = [f for f in world.desk.orders[0].fills if f.revision == 2]
    assert [(f.price, f.quantity) for f in corrected] == [(101.0, wrong.quantity)]
    world.check_positions()


# ---------------------------------------------------------------- protective orders
def test_changed_stop_is_repaired_and_told(world: World) -> None:
    """A preset turned GTC into DAY (10349): the position would be naked tomorrow."""
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.run(5)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == stop.ref)
    booked.ticket = replace(booked.ticket, tif=TimeInForce.DAY)
    world.broker.tell(booked)
    world.run(40)
    assert booked.ticket.tif is TimeInForce.GTC
    assert any("tif is DAY, not GTC" in alarm.text for alarm in world.alarms)
    assert world.desk.gate is Gate.OPEN
    world.check_doubles()


def test_stop_that_is_changed_again_and_again_halts(world: World) -> None:
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.run(5)
    booked = next(o for o in world.broker.orders.values() if o.ticket.ref == stop.ref)
    for _ in range(200):
        booked.ticket = replace(booked.ticket, tif=TimeInForce.DAY)
        world.second()
    assert sum(t.ref == stop.ref for _, t in world.broker.placed) == 3
    assert world.desk.gate is Gate.HALTED
    assert booked.is_open


def test_stop_that_protects_nothing_is_cancelled(world: World) -> None:
    world.submit(*world.bracket(10))
    world.run(5)
    world.send(-10)  # a strategy that forgot its stop
    world.run(4)
    assert world.desk.unsettled_orders == ()
    world.check()


def test_stop_stays_while_no_other_could_take_its_place(world: World) -> None:
    _, stop = tickets = world.bracket(10)
    world.submit(*tickets)
    world.run(5)
    world.desk.halt("looking", world.now)
    assert [r.code for r in world.desk.cancel(stop.ref, world.now).refusals] == ["protected"]
    world.desk.clear("Ada", "fine", world.now)
    world.opened()
    assert world.desk.cancel(stop.ref, world.now).taken
    world.run(2)
    assert world.state(stop.ref) == "cancelled"


def test_books_that_cannot_be_read_are_told_of(world: World) -> None:
    """I (7): no silent stall."""
    world.broker.begin_snapshot = lambda: None  # type: ignore[method-assign]  # the fault
    world.run(125)
    assert any("cannot be read" in text for text in stops(world))
    assert world.desk.gate is Gate.OPEN
    world.desk.on_link(Link.BACK, world.now)
    world.run(61)
    assert any("do not agree yet" in text for text in stops(world))
    assert world.desk.gate is Gate.RECONCILING


def test_a_clock_that_leaps_is_no_stall(world: World) -> None:
    """A simulated TWS whose clock is fast tells its time once a minute while nothing trades."""
    world.run(90)
    world.now += 3600 * SECOND
    world.run(5)
    assert not any("cannot be read" in text for text in stops(world))
    world.broker.begin_snapshot = lambda: None  # type: ignore[method-assign]  # the fault
    world.run(125)
    assert any("cannot be read" in text for text in stops(world))


# ---------------------------------------------------------------- halts
def test_halt_keeps_protective_orders_and_survives_a_restart(world: World) -> None:
    world.submit(*world.bracket(10))
    world.run(5)
    entry = world.send(10, QQQ, kind=Kind.LIMIT, limit=99.0)
    world.run(2)
    world.desk.halt("the quant is worried", world.now)
    world.run(10)
    assert world.state(entry) == "cancelled"
    assert [o.ticket.kind for o in world.broker.orders.values() if o.is_open] == [Kind.STOP]
    assert codes(world, world.ticket(-10)) == {"halted"}
    world.kill()
    world.start().run(30)
    assert world.desk.gate is Gate.HALTED
    assert world.desk.halted == "the quant is worried"
    assert codes(world, world.ticket(10)) >= {"halted"}
    world.desk.clear("Ada", "all is well", world.now)
    assert world.desk.gate is Gate.RECONCILING
    world.opened()


def test_flatten_closes_all_while_halted_and_then_removes_protective_orders(world: World) -> None:
    world.submit(*world.bracket(10))
    world.run(5)
    world.desk.halt("enough", world.now)
    assert all(a.taken for a in world.desk.flatten("Ada", world.now))
    world.run(10)
    assert world.desk.positions == {}
    assert world.desk.unsettled_orders == ()
    assert world.desk.gate is Gate.HALTED
    world.check()


def test_flatten_waits_until_the_books_agree(tmp_path: Path) -> None:
    world = World(tmp_path).start()
    assert [r.code for a in world.desk.flatten("Ada", world.now) for r in a.refusals] == ["not-settled"]


def test_daily_loss_lets_positions_be_closed_and_halts_once_flat(world: World) -> None:
    world.send(10)
    world.run(5)
    around = Surroundings(world.markets, clock_offset_s=0.0, equity=979_000.0, day_start=1e6, peak=1e6)
    world.observe = lambda: world.desk.observe(around)  # type: ignore[method-assign]
    world.second()
    assert world.desk.gate is Gate.REDUCING
    assert "daily loss" in world.desk.reducing
    assert "reducing" in codes(world, world.ticket(10))
    world.send(-10)
    world.run(5)
    assert world.desk.positions == {}
    assert world.desk.gate is Gate.HALTED


def test_reduce_only_survives_a_restart(world: World) -> None:
    world.desk.reduce("Ada asked", world.now)
    world.kill()
    world.start().until(lambda: world.desk.gate is Gate.REDUCING)
    assert codes(world, world.ticket(10)) == {"reducing"}
    world.desk.clear("Ada", "again", world.now)
    world.opened()


def test_too_many_entries_halt(tmp_path: Path) -> None:
    limits = replace(LIMITS, orders_per_minute=2)
    world = World(tmp_path, limits=limits).start().opened()
    for quantity in (10, -10, 10, -10):
        world.send(quantity)
        world.run(3)
    assert codes(world, world.ticket(10)) == {"rate-minute"}
    assert world.desk.gate is Gate.HALTED


def test_entries_older_than_a_minute_do_not_count(tmp_path: Path) -> None:
    world = World(tmp_path, limits=replace(LIMITS, orders_per_minute=1)).start().opened()
    for quantity in (10, -10):
        world.send(quantity)
        world.run(30)
    for quantity in (10, -10):
        world.send(quantity)
        world.run(3)
    assert codes(world, world.ticket(10)) == {"rate-minute"}


def test_failing_journal_halts_before_the_send(world: World) -> None:
    """Row K2."""
    world.send(10)
    world.run(5)
    sent = len(world.broker.placed)
    world.journal._failed = "a write failed (database or disk is full)"
    assert codes(world, world.ticket(10)) == {"journal"}
    assert world.desk.gate is Gate.HALTED
    assert "disk is full" in world.desk.halted
    world.desk.on_link(Link.BACK, world.now)
    world.desk.cancel(world.desk.orders[0].ref, world.now)
    world.desk.halt("a person sees it too", world.now)
    world.run(100)  # nothing escapes, and nothing is sent
    assert len(world.broker.placed) == sent
    assert sum("disk is full" in text for text in stops(world)) == 1
    world.kill()
    world.start().opened()  # with room again the books are compared anew
    world.check_positions()


def test_person_settles_what_nobody_can_tell(world: World) -> None:
    world.broker.instant = False
    ref = world.send(10)
    world.run(3)
    world.broker.orders.clear()
    world.until(lambda: world.desk.gate is Gate.HALTED, 300)
    assert world.state(ref) == "unknown"
    world.desk.settle(ref, "Ada", "IB's desk says that it is gone", world.now)
    assert world.state(ref) == "cancelled"
    world.desk.clear("Ada", "settled", world.now)
    world.opened()
    world.check()


@pytest.mark.parametrize(
    "fields", [{"quantity": Decimal(0)}, {"quantity": Decimal("NaN")}, {"kind": Kind.LIMIT}, {"ref": "ä"}]
)
def test_ticket_that_no_broker_could_work_is_an_error(world: World, fields: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        world.submit(replace(world.ticket(10), **fields))  # type: ignore[arg-type]
    assert world.broker.placed == []


# ---------------------------------------------------------------- at random
ROWS = {
    "callbacks": Faults(lost=0.2, doubled=0.3, shuffled=0.5),
    "breaks": Faults(break_before=0.1, break_after=0.1, cut=0.02, lost=0.1),
    "late": Faults(late=0.2, late_s=40, cut=0.02, break_after=0.05),
    "drop": Faults(drop=0.2, cut=0.01),
    "rolled back": Faults(rolled_back=True, cut=0.03, break_before=0.1, break_after=0.1),
    "all": Faults(
        drop=0.05, late=0.05, late_s=30, break_before=0.05, break_after=0.05, lost=0.1, doubled=0.2, shuffled=0.5,
        cut=0.02,
    ),
}  # fmt: skip


def play(world: World, minutes: int, kills: bool) -> int:
    """Trade for that long, with kills at failpoints if wanted; return how many."""
    dice = random.Random(str(world.path.parent.name) + str(world.broker.seed))
    killed, back_at = 0, 0
    for second in range(minutes * 60):
        if back_at == 0 and dice.random() < 0.005:  # 1100, and 1101 or 1102 later
            world.desk.on_link(Link.CUT, world.now)
            back_at = world.now + dice.randint(1, 40) * SECOND
        elif 0 < back_at <= world.now:
            back_at = 0
            if world.broker.connected:
                world.desk.on_link(Link.BACK, world.now)
        if kills and failpoints.hook is None and dice.random() < 0.03:
            wanted = dice.choice(failpoints.NAMES)

            def hook(reached: str, wanted: str = wanted) -> None:
                if reached == wanted:
                    raise Killed(wanted)

            failpoints.hook = hook
        try:
            if second % 20 == 0:
                world.bar()
                if world.desk.halted and dice.random() < 0.5:
                    world.desk.clear("tester", "looked", world.now)
            world.second()
        except Killed:
            killed += 1
            world.kill()
            world.down_until = 0
            world.start()
    if world.broker.connected:
        world.desk.on_link(Link.BACK, world.now)
    return killed


@pytest.mark.parametrize("kills", [False, True], ids=["one process", "kill -9"])
@pytest.mark.parametrize("row", ROWS)
def test_invariants_hold_at_random(row: str, kills: bool, tmp_path: Path, full: bool) -> None:
    for seed in range(20 if full else 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        world = World(folder, seed, ROWS[row]).start()
        world.broker.touches = 0.02
        play(world, 8 if full else 4, kills)
        world.quiet()
        world.check()
        world.kill()


# ---------------------------------------------------------------- rules broken on purpose: each must turn red
def test_sending_before_the_commit_is_noticed(tmp_path: Path) -> None:
    class Eager(OrderDesk):
        def _take_in(self, tickets, why, now):  # type: ignore[no-untyped-def]
            self._floor.outbox._broker.place(self._floor.record._journal._last_id + 1, tickets[0])
            return super()._take_in(tickets, why, now)

    world = World(tmp_path, desk_class=Eager).start().opened()
    with pytest.raises(AssertionError, match="the journal has"):
        world.send(10)


def test_killed_between_an_early_send_and_the_commit_an_order_is_lost(tmp_path: Path) -> None:
    class Eager(OrderDesk):
        def _take_in(self, tickets, why, now):  # type: ignore[no-untyped-def]
            self._floor.outbox._broker.place(self._floor.record._journal._last_id + 1, tickets[0])
            raise Killed

    world = World(tmp_path, desk_class=Eager).start().opened()
    world.broker.on_place = lambda order_id, ticket: None
    with pytest.raises(Killed):
        world.send(10)
    world.kill()
    world.desk_class = OrderDesk
    world.start().run(100)
    with pytest.raises(AssertionError, match="position of"):
        world.check()


def test_new_id_on_resend_doubles_an_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Outbox.send

    def under_a_new_id(self: Outbox, ref: str, now: int, why: str = "", **_: object) -> Sent:
        if self._record.trail(ref).sends == 0:
            return send(self, ref, now, why)
        self._broker.place(self._record._journal.next_order_id(), self._record.ticket(ref))
        return Sent.OUT

    monkeypatch.setattr(Outbox, "send", under_a_new_id)
    world.broker.on_place = lambda order_id, ticket: None
    world.send(10)
    world.run(5)
    world.broker.faults = Faults(late=1.0)
    world.send(-10)
    world.broker._late[-1] = (world.now + 40 * SECOND, *world.broker._late[-1][1:])
    world.broker.faults = Faults()
    world.run(120)
    with pytest.raises(AssertionError, match="doubled"):
        world.check_doubles()


def test_fills_taken_from_order_status_break_the_position(tmp_path: Path) -> None:
    class Trusting(OrderDesk):
        def take(self, reports, now):  # type: ignore[no-untyped-def]
            told = [r for r in reports if isinstance(r, Status) and r.filled > 0]
            for status in told:
                echo = next(o for o in world.broker.orders.values() if o.perm_id == status.perm_id)
                quantity = status.filled.copy_sign(echo.ticket.quantity)
                made = Execution(
                    f"status.{status.perm_id}", "DU1", SPY, "SPY", status.order_id, 7, status.perm_id,
                    echo.ticket.ref, now, quantity, status.average, status.filled, status.average,
                )  # fmt: skip
                reports = [*reports, made]
            super().take(reports, now)

    world = World(tmp_path, desk_class=Trusting).start().opened()
    world.send(10)
    world.run(10)
    with pytest.raises(AssertionError, match="position of"):
        world.check_positions()


def test_one_snapshot_instead_of_two_believes_positions_that_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Recovery.seen

    def hastily(self: Recovery, snapshot: Snapshot, now: int) -> None:
        self._floor.watch.before = snapshot
        seen(self, snapshot, now)

    monkeypatch.setattr(Recovery, "seen", hastily)
    world = World(tmp_path, policy=Policy(gap_s=-1.0))
    world.broker.held[SPY] = Decimal(50)
    world.broker.hide_positions = 1
    world.start().opened()
    with pytest.raises(AssertionError, match="position of"):
        world.check_positions()


def test_gate_that_lets_all_pass_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.oms.desk.floor.passes", lambda gate, purpose: True)
    world = World(tmp_path).start()
    with pytest.raises(AssertionError, match="while reconciling"):
        world.send(10)


def test_change_that_is_told_twice_is_noticed(world: World) -> None:
    world.send(10)
    world.run(5)
    world.changes.append(world.changes[-1])
    with pytest.raises(AssertionError, match="out of step"):
        world.check_told()
