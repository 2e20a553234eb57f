"""Exits that are modified where they lie: one order at the broker, with the price wanted last, whatever breaks when.

That an open order is changed by sending it again under its id, and that a change may be refused while the order goes on
as it was: IB's documentation of the TWS API, "Modifying Orders" and "Message Codes" (110, 201).
"""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from moved import agree, held, kill_at, marks, modify, move, pair, rests, sent, stops, there, wanted
from order_broker import SECOND, Faults
from order_world import World

from quant.core.orders import Ticket, Told
from quant.errors import JournalError, LinkLost, NotConnected, ParameterError
from quant.oms.gate import Gate
from quant.oms.ledger import What


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A desk whose gate is open."""
    return World(tmp_path).start().opened()


# ---------------------------------------------------------------- the broker does not do it
def test_change_that_the_broker_swallows_is_looked_up_and_put_right(world: World) -> None:
    ref = held(world)
    world.broker.faults = Faults(drop=1.0)
    move(world, ref, 99.0)
    world.broker.faults = Faults()
    began = world.now
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 30)
    assert there(world, ref).ticket.stop == 98.0
    assert began + world.setup.ack_s * SECOND <= world.now < began + (world.setup.ack_s + 10) * SECOND
    world.opened()
    assert [m.why for m in marks(world, ref) if m.what is What.SENT and m.why][-1].startswith("repair: ")
    assert sent(world, ref)[-1][1] == 99.0
    agree(world, ref, 99.0)
    assert not world.desk.halted


def test_change_that_is_swallowed_is_looked_up_however_often_others_follow(world: World) -> None:
    """Every change is swallowed, and each bar brings the next before the one before is overdue."""
    ref = held(world)
    world.broker.faults = Faults(drop=1.0)
    for n in range(6):
        if world.desk.gate is not Gate.OPEN:
            break
        move(world, ref, 98.01 + n / 100)
        world.run(7)  # less than ack_s; the books are read in four
    world.broker.faults = Faults()
    assert world.desk.gate is Gate.RECONCILING
    price = world.desk.intent(ref).ticket.stop
    assert price is not None
    world.opened()
    agree(world, ref, price)


@pytest.mark.parametrize("before", [False, True], ids=["new to us", "told before"])
def test_confirmation_of_an_earlier_change_does_not_count_for_the_last(before: bool, world: World) -> None:
    """98, 99, 98, and the last is swallowed: behind it come the echoes of the first two, word for word as before."""
    ref = held(world)
    if before:
        for price in (99.0, 98.0):
            move(world, ref, price)
            world.run(3)
    old = world.broker.echo(there(world, ref))
    move(world, ref, 99.0)
    late = [old, *world.broker.reports()]  # under way
    world.broker.faults = Faults(drop=1.0)
    move(world, ref, 98.0)
    world.broker.faults = Faults()
    began = world.now
    world.desk.take(late, world.now)
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 30)
    assert world.now < began + (world.setup.ack_s + 10) * SECOND
    world.opened()
    agree(world, ref, 98.0)


def test_confirmed_change_asks_for_no_look(world: World) -> None:
    ref = held(world)
    world.run(10)
    asked: list[int] = []
    begin = world.broker.begin_snapshot
    world.broker.begin_snapshot = lambda: asked.append(world.now) or begin()  # type: ignore[func-returns-value, method-assign]  # notes, and goes on
    for n in range(20):
        move(world, ref, 98.01 + n / 100)
        world.run(1)
    assert len(asked) <= 1  # the regular one
    assert world.desk.gate is Gate.OPEN


def refusing(world: World, ref: str, code: int) -> None:
    """Let the broker turn down each change of an order, which goes on as it was."""
    place = world.broker.place

    def refuse(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if ticket.ref != ref:
            place(order_id, ticket, parent_id)
            return
        world.broker.on_place(order_id, ticket)
        world.broker.placed.append((order_id, ticket))
        world.broker.say(Told(order_id, code, "no", world.now))
        world.broker.tell(there(world, ref))

    world.broker.place = refuse  # type: ignore[method-assign]  # this broker's answer


@pytest.mark.parametrize("code", [110, 201])
def test_refused_change_is_tried_again_then_halts_and_the_old_stop_stays(code: int, world: World) -> None:
    ref = held(world)
    refusing(world, ref, code)
    before = len(sent(world, ref))
    move(world, ref, 99.0)
    began = world.now
    for _ in range(90):
        world.second()
        assert there(world, ref).is_open
        assert there(world, ref).ticket.stop == 98.0
        assert world.state(ref) == "working"
    assert len(sent(world, ref)) - before == 1 + world.setup.policy.max_repairs
    assert "stop is 98.0, not 99.0" in world.desk.halted
    assert next(a.at for a in world.alarms if a.stops) < began + 60 * SECOND
    world.check_doubles()
    world.desk.clear("tester", "looked", world.now)
    world.opened()  # it was seen; it does not halt for the same once more
    assert there(world, ref).ticket.stop == 98.0
    assert len(sent(world, ref)) - before == 1 + 2 * world.setup.policy.max_repairs
    del world.broker.place  # it takes what is wanted next
    move(world, ref, 98.5)
    world.run(3)
    agree(world, ref, 98.5)


@pytest.mark.parametrize("killed", ["never", "before", "after"])
def test_change_that_was_given_up_is_put_right_once_a_person_clears(killed: str, world: World) -> None:
    """Else the desk would go on with a price that is not at the broker, and nothing would tell of it again."""
    ref = held(world)
    refusing(world, ref, 201)
    move(world, ref, 99.0)
    world.until(lambda: "stop is 98.0, not 99.0" in world.desk.halted, 90)
    del world.broker.place  # it takes it from now on
    if killed == "before":
        world.kill()
        world.start().run(20)
    assert there(world, ref).ticket.stop == 98.0
    world.desk.clear("tester", "looked", world.now)
    if killed == "after":
        world.kill()
        world.start()
    world.opened()
    agree(world, ref, 99.0)
    assert not world.desk.halted


def test_gate_stays_open_for_changes_after_one_that_was_answered_inactive(world: World) -> None:
    """That one was put right; that its word stands among the facts shuts the gate no more."""
    ref = held(world)
    place = world.broker.place

    def refuse(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        world.broker.place = place  # type: ignore[method-assign]  # once
        world.broker.placed.append((order_id, ticket))
        world.broker.say(Told(order_id, 201, "no", world.now))
        world.broker.say(replace(world.broker.status(there(world, ref)), status="Inactive"))

    world.broker.place = refuse  # type: ignore[method-assign]  # this broker's answer
    move(world, ref, 98.5)
    world.until(lambda: world.state(ref) == "unknown", 5).opened()
    agree(world, ref, 98.5)
    for price in (98.6, 98.7, 98.8):
        move(world, ref, price)
        for _ in range(12):
            assert (world.desk.gate, world.state(ref)) == (Gate.OPEN, "working")
            world.second()
        agree(world, ref, price)
    world.broker.faults = Faults(drop=1.0)
    move(world, ref, 99.0)  # and one that is swallowed is found all the same
    world.broker.faults = Faults()
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 30).opened()
    agree(world, ref, 99.0)
    assert not world.desk.halted


def test_refused_change_is_looked_up_at_once(world: World) -> None:
    ref = held(world)
    world.run(10)
    refusing(world, ref, 110)
    move(world, ref, 99.0)
    began = world.now
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 30)
    assert world.now - began < world.setup.ack_s * SECOND


def test_change_that_is_turned_down_on_this_side_halts_and_all_is_as_before(world: World) -> None:
    """As where TWS is logged in to another account by now: it would not let a new stop out either."""
    stop, limit = pair(world)
    before = world.desk.intent(stop), world.desk.intent(limit), world.desk.reason(limit)
    place = world.broker.place

    def refuse(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        raise ParameterError("account", "DU1", "TWS is logged in to DU2")

    world.broker.place = refuse  # type: ignore[method-assign]  # as the wire's own
    answer = modify(world, wanted(world, stop, stop=99.0), wanted(world, limit, limit=103.0), bar=3)
    world.broker.place = place  # type: ignore[method-assign]  # he is back
    assert [r.code for r in answer.refusals] == ["not-modified"]
    for words in (f"{stop}, {limit}: as before", "TWS is logged in to DU2"):
        assert words in world.desk.halted
    assert (world.desk.intent(stop), world.desk.intent(limit), world.desk.reason(limit)) == before
    assert not world.desk.cancel(stop, world.now).taken  # nor does its asker cancel it then
    world.run(90)
    assert (there(world, stop).ticket.stop, there(world, limit).ticket.limit) == (98.0, 104.0)
    world.desk.clear("tester", "looked", world.now)
    world.opened()
    agree(world, stop, 98.0)
    move(world, stop, 99.0)
    agree(world, stop, 99.0)


def test_change_that_would_open_a_position_by_now_halts_for_that(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for what another order was turned down for before."""
    ref = held(world)
    floor = world.desk._floor
    floor.outbox.refusal = "another order's"
    answers = iter(["", "too late"])  # as it is asked about, as it is sent
    with monkeypatch.context() as patch:
        patch.setattr(floor.counter, "opens", lambda *_: next(answers))
        modify(world, wanted(world, ref, stop=99.0))
    assert world.desk.halted.endswith("other prices were not sent: too late")
    agreed = there(world, ref).ticket.stop, world.desk.intent(ref).ticket.stop
    assert agreed == (98.0, 98.0)


def test_limit_of_which_the_change_was_swallowed_is_put_right_and_not_cancelled(world: World) -> None:
    ref = rests(world)
    world.broker.faults = Faults(drop=1.0)
    assert modify(world, wanted(world, ref, limit=103.0)).taken
    world.broker.faults = Faults()
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 30).opened()
    assert world.state(ref) == "working"
    assert there(world, ref).ticket.limit == 103.0


def test_limit_of_which_the_change_is_always_refused_is_cancelled(world: World) -> None:
    """As any that the broker has otherwise than asked: it protects nothing, and the strategy is told."""
    ref = rests(world)
    refusing(world, ref, 110)
    assert modify(world, wanted(world, ref, limit=103.0)).taken
    world.until(lambda: world.state(ref) == "cancelled", 90).opened()
    assert not world.desk.halted


def test_journal_that_fails_sends_nothing_and_the_old_stop_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = held(world)
    placed = len(world.broker.placed)

    def fail(*_: object) -> None:
        raise JournalError("journal", "full", "make room")

    monkeypatch.setattr(type(world.journal), "add_marks", fail)
    assert modify(world, wanted(world, ref, stop=99.0)).refusals
    assert world.desk.gate is Gate.HALTED
    assert len(world.broker.placed) == placed
    assert there(world, ref).ticket.stop == world.desk.intent(ref).ticket.stop == 98.0


# ---------------------------------------------------------------- the link breaks, the process dies
@pytest.mark.parametrize(
    ("error", "arrives"),
    [
        (NotConnected("order", "down"), False),
        (LinkLost("reset", "order"), False),
        (LinkLost("reset", "order"), True),
    ],
    ids=["not connected", "lost before", "lost behind"],
)
def test_link_that_breaks_while_it_is_sent(error: Exception, arrives: bool, world: World) -> None:
    ref = held(world)
    book = world.broker.book

    def breaks(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if arrives:
            book(order_id, ticket, parent_id)
        world.broker.disconnect()
        raise error

    world.broker.place = breaks  # type: ignore[method-assign]  # once
    assert modify(world, wanted(world, ref, stop=99.0)).taken
    del world.broker.place
    assert world.desk.gate is Gate.CLOSED
    assert there(world, ref).ticket.stop == (99.0 if arrives else 98.0)
    world.run(30).opened()
    agree(world, ref, 99.0)
    assert not world.desk.halted


# By times that it is passed: the first commit is the modification's, the second that of its send.
PLACES = [("before_commit", 1), ("after_commit", 1), ("before_send", 1), ("after_send", 1),
          ("before_commit", 2), ("after_commit", 2)]  # fmt: skip


@pytest.mark.parametrize(("place", "times"), PLACES)
def test_process_killed_while_it_modifies(place: str, times: int, world: World) -> None:
    ref = held(world)
    move(world, ref, 98.5)
    world.run(3)
    assert kill_at(world, place, lambda: move(world, ref, 99.0), times)
    world.start()
    price = 98.5 if (place, times) == ("before_commit", 1) else 99.0
    assert world.desk.intent(ref).ticket.stop == price
    world.opened()
    agree(world, ref, price)
    world.run(60)
    agree(world, ref, price)
    assert not world.desk.halted


def test_stop_that_fills_while_the_process_is_gone_is_filled(world: World) -> None:
    ref = held(world)
    assert kill_at(world, "before_send", lambda: move(world, ref, 99.0))
    world.broker.fill(there(world, ref), Decimal(-10))
    world.start().opened()
    assert world.state(ref) == "filled"
    assert world.desk.positions == {}
    world.check()


# ---------------------------------------------------------------- what crosses it, what follows it
def test_where_only_reductions_are_sent_stops_are_modified(world: World) -> None:
    ref = held(world)
    world.desk.reduce("a person", world.now)
    move(world, ref, 99.0)
    world.run(3)
    assert world.desk.gate is Gate.REDUCING
    assert there(world, ref).ticket.stop == 99.0


def test_cancel_by_hand_crosses_the_change(world: World) -> None:
    """TWS has the order no more, and 103 for its id: no second one comes of it."""
    ref = held(world)
    world.broker.end(there(world, ref), "Cancelled")
    move(world, ref, 99.0)
    world.run(30)
    assert world.state(ref) == "cancelled"
    assert not there(world, ref).is_open
    assert len(sent(world, ref)) == 2
    world.quiet()
    world.check()


def test_fill_of_one_of_two_crosses_the_change_of_both(world: World) -> None:
    stop, limit = pair(world)
    world.broker.fill(there(world, limit), Decimal(-10))
    assert modify(world, wanted(world, stop, stop=99.0), wanted(world, limit, limit=103.0)).taken
    world.run(30)
    assert (world.state(stop), world.state(limit)) == ("cancelled", "filled")
    assert world.desk.positions == {}
    assert not stops(world)
    world.check()


def test_fill_at_the_old_price_crosses_the_change(world: World) -> None:
    """TWS: 103 or 104 for what is filled already; neither ends nor revives anything."""
    ref = held(world)
    world.broker.fill(there(world, ref), Decimal(-10))
    move(world, ref, 99.0)
    world.broker.say(Told(world.desk.intent(ref).order_id, 104, "Cannot modify a filled order", world.now))
    world.run(30)
    assert world.state(ref) == "filled"
    assert world.desk.positions == {}
    assert world.desk.gate is Gate.OPEN
    assert not stops(world)
    world.check()


def test_fill_that_is_told_after_the_change_counts_once(world: World) -> None:
    ref = held(world)
    move(world, ref, 99.0)
    world.broker.fill(there(world, ref), Decimal(-4))
    world.broker.fill(there(world, ref), Decimal(-6))
    world.run(5)
    assert world.state(ref) == "filled"
    world.check()


def test_price_goes_there_and_back(world: World) -> None:
    ref = held(world)
    for price in (99.0, 98.0, 99.0, 98.0):
        move(world, ref, price)
        world.run(2)
        agree(world, ref, price)
    assert [i.ticket.stop for i in world.desk.versions(ref)] == [98.0, 99.0, 98.0, 99.0, 98.0]
    move(world, ref, 99.0)
    move(world, ref, 98.0)  # before the broker has told of it
    world.run(60)
    agree(world, ref, 98.0)


def test_modified_then_cancelled(world: World) -> None:
    ref = held(world)
    move(world, ref, 99.0)
    world.desk.cancel(ref, world.now, "enough")
    world.run(5)
    assert world.state(ref) == "cancelled"
    assert not there(world, ref).is_open
    world.quiet()
    world.check()


def test_modified_again_after_a_repair_has_its_own_repairs(world: World) -> None:
    ref = held(world)
    for price in (99.0, 99.1, 99.2):
        world.broker.faults = Faults(drop=1.0)
        move(world, ref, price)
        world.broker.faults = Faults()
        world.until(lambda: world.desk.gate is Gate.RECONCILING, 30).opened()
        agree(world, ref, price)
    assert not world.desk.halted


def test_stop_that_is_made_smaller_after_it_was_modified_keeps_its_new_price(world: World) -> None:
    ref = held(world)
    move(world, ref, 99.0)
    world.broker.instant = False
    closing = world.send(-4)
    world.broker.fill(there(world, closing), Decimal(-4))
    world.broker.instant = True
    world.run(5)
    assert (there(world, ref).ticket.quantity, there(world, ref).ticket.stop) == (-6, 99.0)
    world.kill()
    world.start().opened()
    world.run(60)
    assert (there(world, ref).ticket.quantity, there(world, ref).ticket.stop) == (-6, 99.0)


def test_hand_that_changes_the_price_meets_the_one_wanted_last(world: World) -> None:
    ref = held(world)
    move(world, ref, 99.0)
    world.run(3)
    order = there(world, ref)
    order.ticket = replace(order.ticket, stop=90.0)
    world.broker.tell(order)
    world.until(lambda: there(world, ref).ticket.stop == 99.0, 60).opened()
    agree(world, ref, 99.0)


@pytest.mark.parametrize("seed", [*range(6), 119, 140])  # in the last two it halts for the last change
def test_whatever_breaks_one_order_has_the_price_wanted_last(seed: int, tmp_path: Path) -> None:
    """Changes at each second or not, kills, drops, late bookings and broken lines among them."""
    dice = random.Random(seed)
    world = World(tmp_path, seed).start().opened()
    ref = held(world)
    world.broker.faults = Faults(
        drop=0.1,
        late=0.1,
        late_s=4.0,
        break_before=0.05,
        break_after=0.05,
        lost=0.1,
        doubled=0.2,
        shuffled=0.2,
    )
    for _ in range(80):
        price = round(98 + dice.random(), 2)
        died = kill_at(
            world, dice.choice(("after_commit", "before_send", "after_send", "none")),
            lambda price=price: modify(world, wanted(world, ref, stop=price)), dice.choice((1, 1, 2)),
        )  # fmt: skip
        if died:
            world.start()
        world.run(dice.choice((1, 1, 3, 12)))
        if world.desk.halted:
            world.desk.clear("tester", "looked", world.now)
    world.broker.faults = Faults()
    world.run(40)
    if world.desk.halted:
        world.desk.clear("tester", "looked", world.now)
    world.opened()
    world.run(70)
    price = world.desk.intent(ref).ticket.stop
    assert price is not None
    assert len(world.desk.versions(ref)) > 10
    agree(world, ref, price)
    world.quiet()
    world.check()
