"""Exits that are modified where they lie: one order at the broker, with the price wanted last, whatever breaks when.

That an open order is changed by sending it again under its id, and that a change may be refused while the order goes on
as it was: IB's documentation of the TWS API, "Modifying Orders" and "Message Codes" (110, 201).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from order_broker import SECOND, Booked, Faults
from order_world import SPY, Killed, World

from quant.core.orders import Kind, Report, Ticket, TimeInForce, Told
from quant.errors import JournalError, LinkLost, NotConnected, ParameterError, RequestFailed
from quant.oms import failpoints
from quant.oms.desk.setup import Answer, Link, Why
from quant.oms.desk.standings import Standings
from quant.oms.gate import Gate, Purpose
from quant.oms.ledger import MOVED, Fact, Ledger, Mark, What, noted
from quant.oms.reconcile.outcome import trail
from quant.oms.state import Oddity, OrderState, order_standing
from tests.oms.facts import (
    INTENT,
    REF,
    TICKET,
    commission,
    completed,
    echo,
    execution,
    stands,
    status,
    told,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A desk whose gate is open."""
    return World(tmp_path).start().opened()


def held(world: World, quantity: int = 10) -> str:
    """Buy, or sell, with a stop, and return its ref."""
    entry, stop = world.bracket(quantity)
    world.submit(entry, stop)
    world.run(5)
    assert world.state(stop.ref) == "working"
    return stop.ref


def pair(world: World) -> tuple[str, str]:
    """Buy, and put a stop and a limit of one group over what is held; return their refs."""
    world.send(10)
    world.run(5)
    stop = world.ticket(-10, kind=Kind.STOP, stop=98.0, tif=TimeInForce.GTC)
    limit = world.ticket(-10, kind=Kind.LIMIT, limit=104.0, tif=TimeInForce.GTC, oca=stop.ref)
    world.submit(replace(stop, oca=stop.ref), limit)
    world.run(3)
    assert {world.state(stop.ref), world.state(limit.ref)} == {"working"}
    return stop.ref, limit.ref


def rests(world: World, limit: float = 104.0) -> str:
    """Buy, and let a limit wait to sell it; return its ref."""
    world.send(10)
    world.run(5)
    ref = world.send(-10, kind=Kind.LIMIT, limit=limit, tif=TimeInForce.GTC)
    world.run(3)
    assert world.desk.purpose(ref) is Purpose.REDUCTION
    return ref


def wanted(world: World, ref: str, **prices: float) -> Ticket:
    return replace(world.desk.intent(ref).ticket, **prices)  # type: ignore[arg-type]  # limit and stop alone


def modify(world: World, *tickets: Ticket, bar: int = 0) -> Answer:
    answer = world.desk.modify(tickets, Why(bar, text="follows"), world.now)
    world.read()
    return answer


def move(world: World, ref: str, stop: float, bar: int = 0) -> None:
    answer = modify(world, wanted(world, ref, stop=stop), bar=bar)
    assert answer.taken, answer


def there(world: World, ref: str) -> Booked:
    """The one order that the broker has under a reference."""
    (order,) = [o for o in world.broker.orders.values() if o.ticket.ref == ref]
    return order


def sent(world: World, ref: str) -> list[tuple[int, float | None]]:
    return [(order_id, t.stop) for order_id, t in world.broker.placed if t.ref == ref]


def marks(world: World, ref: str) -> list[Mark]:
    return [mark for mark in world.journal.load().marks if mark.ref == ref]


def agree(world: World, ref: str, stop: float) -> None:
    """Journal, process, a restart's reading and the broker have the same one order."""
    assert there(world, ref).is_open
    assert there(world, ref).ticket.stop == world.desk.intent(ref).ticket.stop == stop
    assert world.desk.gate is Gate.OPEN
    world.check_doubles()
    world.check_told()
    world.check_restart()


def stops(world: World) -> list[str]:
    return [alarm.text for alarm in world.alarms if alarm.stops]


# ---------------------------------------------------------------- what a modification is
def test_modified_stop_is_the_same_order_with_the_new_price(world: World) -> None:
    ref = held(world)
    before = world.desk.intent(ref)
    world.changes.clear()
    move(world, ref, 98.5)
    world.run(3)
    after = world.desk.intent(ref)
    assert sent(world, ref) == [(before.order_id, 98.0), (before.order_id, 98.5)]
    assert replace(after, ticket=before.ticket, why=before.why) == before
    assert len(world.desk.orders) == 2
    assert world.changes == []  # it stands as it did
    agree(world, ref, 98.5)
    world.quiet()
    world.check()


def test_it_is_sent_without_its_entry_which_is_over(world: World) -> None:
    """TWS knows that id no more (135); and nothing comes behind it that would transmit it."""
    ref = held(world)
    parents: list[int | None] = []
    place = world.broker.place
    world.broker.place = lambda i, t, parent=None: parents.append(parent) or place(i, t, parent)  # type: ignore[func-returns-value, method-assign]  # notes, and goes on
    move(world, ref, 98.5)
    assert parents == [None]
    assert world.broker.placed[-1][1].transmit


def test_another_process_reads_the_new_price_and_reason(world: World) -> None:
    ref = held(world)
    first = world.desk.intent(ref)
    at = world.now
    move(world, ref, 98.5, bar=7)
    world.run(2)
    move(world, ref, 99.0, bar=8)
    world.kill()
    world.start()
    assert [i.ticket.stop for i in world.desk.versions(ref)] == [98.0, 98.5, 99.0]
    assert [i.at for i in world.desk.versions(ref)] == [first.at, at, at + 2 * SECOND]
    assert world.desk.versions(ref)[0] == first
    assert world.desk.intent(ref).ticket.stop == 99.0
    assert world.desk.intent(ref).at == first.at
    reason = world.desk.reason(ref)
    assert (reason.purpose, reason.bar, reason.text) == (Purpose.PROTECTION, 8, "follows")
    world.opened()
    agree(world, ref, 99.0)


def test_price_goes_on_the_instruments_steps(world: World) -> None:
    ref = held(world)
    move(world, ref, 98.5049)  # a stop that sells is touched later: 98.50
    assert there(world, ref).ticket.stop == world.desk.intent(ref).ticket.stop == 98.5


def test_unchanged_price_is_noted_and_not_sent(world: World) -> None:
    ref = held(world)
    move(world, ref, 98.5, bar=1)
    world.run(2)
    before = len(world.broker.placed)
    move(world, ref, 98.5, bar=2)
    assert len(world.broker.placed) == before
    assert world.desk.reason(ref).bar == 2
    assert [m.what for m in marks(world, ref)][-3:] == [What.MODIFIED, What.SENT, What.MODIFIED]
    assert len(world.desk.versions(ref)) == 3
    world.run(60)
    agree(world, ref, 98.5)


def test_short_position_is_protected_the_same_way(world: World) -> None:
    ref = held(world, -10)
    move(world, ref, 101.0)
    world.run(3)
    agree(world, ref, 101.0)


# ---------------------------------------------------------------- what is refused
def gate_shut(world: World, ref: str) -> Ticket:
    world.desk.on_link(Link.CUT, world.now)
    return wanted(world, ref, stop=99.0)


def gate_reconciling(world: World, ref: str) -> Ticket:
    world.desk.on_link(Link.BACK, world.now)
    return wanted(world, ref, stop=99.0)


def gate_halted(world: World, ref: str) -> Ticket:
    world.desk.halt("a person", world.now)
    return wanted(world, ref, stop=99.0)


def part_filled(world: World, ref: str) -> Ticket:
    world.broker.fill(there(world, ref), Decimal(-4))
    world.desk.take(world.broker.reports(), world.now)
    return wanted(world, ref, stop=99.0)


def made_smaller(world: World, ref: str) -> Ticket:
    world.broker.instant = False
    closing = world.send(-4)
    world.broker.fill(there(world, closing), Decimal(-4))
    world.broker.instant = True
    world.run(3)
    assert there(world, ref).ticket.quantity == -6
    world.send(4)
    world.run(5)  # as much is held again
    return wanted(world, ref, stop=99.0)


def cancel_asked(world: World, ref: str) -> Ticket:
    world.broker.cancel = lambda order_id: None  # type: ignore[method-assign]  # its answer takes a while
    world.desk.cancel(ref, world.now)
    return wanted(world, ref, stop=99.0)


def over(world: World, ref: str) -> Ticket:
    world.broker.end(there(world, ref), "Cancelled")
    world.desk.take(world.broker.reports(), world.now)
    return wanted(world, ref, stop=99.0)


def more_than_is_held(world: World, ref: str) -> Ticket:
    world.broker.instant = False
    world.send(-4)
    selling = world.broker.placed[-1][0]
    world.broker.fill(world.broker.orders[7, selling], Decimal(-4))
    world.desk.take(world.broker.reports(), world.now)
    return wanted(world, ref, stop=99.0)


def more_than_the_broker_has(world: World, ref: str) -> Ticket:
    world.broker.trade_by_hand(SPY, -4)
    world.broker.inbox.clear()
    world.until(lambda: SPY in world.desk.halted_instruments, 90).opened()
    return wanted(world, ref, stop=99.0)


def other_quantity(world: World, ref: str) -> Ticket:
    return replace(wanted(world, ref, stop=99.0), quantity=Decimal(-9))


def other_kind(world: World, ref: str) -> Ticket:
    return replace(wanted(world, ref, stop=99.0), kind=Kind.STOP_LIMIT, limit=98.0)


def other_tif(world: World, ref: str) -> Ticket:
    return replace(wanted(world, ref, stop=99.0), tif=TimeInForce.DAY)


def other_group(world: World, ref: str) -> Ticket:
    return replace(wanted(world, ref, stop=99.0), oca="another")


def other_instrument(world: World, ref: str) -> Ticket:
    return replace(wanted(world, ref, stop=99.0), con_id=1)


def not_ours(world: World, ref: str) -> Ticket:
    return replace(wanted(world, ref, stop=99.0), ref="q1:t:999")


def trailing(world: World, ref: str) -> Ticket:
    trails = world.ticket(-10, kind=Kind.TRAIL, trail=2.0, stop=98.0, tif=TimeInForce.GTC)
    world.submit(trails)
    world.run(3)
    assert world.state(trails.ref) == "working"
    return replace(trails, stop=97.0)


def an_entry(world: World, ref: str) -> Ticket:
    rest = world.send(5, kind=Kind.LIMIT, limit=98.0, tif=TimeInForce.GTC)
    world.run(3)
    assert world.state(rest) == "working"
    return wanted(world, rest, limit=98.5)


def first_on_trial(world: World, ref: str) -> Ticket:
    """The first order of another process is out, and the broker has told nothing of it."""
    world.kill()
    world.start().opened()
    world.broker.faults = Faults(lost=1.0)
    world.broker.instant = False
    world.send(1)
    return wanted(world, ref, stop=99.0)


def another_clients(world: World, ref: str) -> Ticket:
    world.kill()
    world.setup = replace(world.setup, client_id=8)
    world.start().opened()
    return wanted(world, ref, stop=99.0)


WHY_NOT: dict[Callable[[World, str], Ticket], str] = {
    gate_shut: "the gate is closed", gate_reconciling: "the gate is reconciling", gate_halted: "the gate is halted",
    part_filled: "it is partly filled", made_smaller: "it was made smaller", cancel_asked: "it is cancelling",
    over: "it is cancelled", more_than_is_held: "6 SPY are held, less than it closes",
    more_than_the_broker_has: "6 SPY are held, less than it closes", other_quantity: "only prices",
    other_kind: "only prices", other_tif: "only prices", other_group: "only prices", other_instrument: "only prices",
    not_ours: "no order of this deployment", trailing: "it trails", an_entry: "no exit",
    first_on_trial: "not proven yet", another_clients: "another client",
}  # fmt: skip


@pytest.mark.parametrize("case", WHY_NOT, ids=lambda case: case.__name__)
def test_where_it_is_not_certain_nothing_is_sent_and_nothing_journalled(
    case: Callable[[World, str], Ticket], world: World
) -> None:
    ref = held(world)
    refused_and_nothing_done(world, WHY_NOT[case], case(world, ref))


def refused_and_nothing_done(world: World, words: str, *tickets: Ticket) -> None:
    refs = {t.ref for t in tickets if t.ref in {o.ref for o in world.desk.orders}}
    before = {ref: world.desk.intent(ref) for ref in refs}
    placed, journalled = len(world.broker.placed), world.journal.load()
    answer = modify(world, *tickets)
    assert [r.code for r in answer.refusals] == ["not-modified"]
    assert words in answer.refusals[0].text
    assert len(world.broker.placed) == placed
    assert world.journal.load() == journalled
    assert {ref: world.desk.intent(ref) for ref in refs} == before


def test_stop_of_an_entry_that_is_not_filled_is_not_modified(world: World) -> None:
    world.broker.instant = False
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.run(3)
    world.broker.fill(there(world, entry.ref), Decimal(10) - 3)
    world.desk.take(world.broker.reports(), world.now)
    refused_and_nothing_done(
        world, f"its entry {entry.ref} is not filled", wanted(world, stop.ref, stop=99.0)
    )


def test_order_that_waits_or_has_no_answer_is_not_modified(world: World) -> None:
    world.send(10)
    world.run(5)
    world.broker.faults = Faults(lost=1.0)
    silent = world.ticket(-10, kind=Kind.STOP, stop=98.0, tif=TimeInForce.GTC)
    world.submit(silent)
    refused_and_nothing_done(world, "it is sent", replace(silent, stop=99.0))
    world.desk.on_link(Link.CUT, world.now)
    queued = world.ticket(-10, kind=Kind.STOP, stop=97.0, tif=TimeInForce.GTC)
    world.submit(queued)
    refused_and_nothing_done(world, "it is decided", replace(queued, stop=99.0))


def test_what_was_placed_for_a_lost_stop_is_not_modified(world: World) -> None:
    """The strategy does not know it: it sends an exit of its own, which takes its place."""
    world.broker.instant, world.broker.exits_end = False, True
    entry, stop = world.bracket(10)
    world.submit(entry, stop)
    world.run(3)
    world.broker.fill(there(world, entry.ref), Decimal(4))
    world.broker.end(there(world, entry.ref), "Cancelled")
    world.run(30)
    placed = next(o.ref for o in world.desk.open_orders)
    assert "in place of" in world.desk.reason(placed).text
    refused_and_nothing_done(world, "no exit of the strategy's", wanted(world, placed, stop=99.0))


def test_price_that_no_broker_could_work_raises_and_nothing_is_done(world: World) -> None:
    ref = held(world)
    placed, journalled = len(world.broker.placed), world.journal.load()
    with pytest.raises(ParameterError, match="positive"):
        modify(world, wanted(world, ref, stop=-1.0))
    assert (len(world.broker.placed), world.journal.load()) == (placed, journalled)


def test_limit_of_which_a_sale_on_its_way_leaves_less_at_the_broker_is_not_modified(world: World) -> None:
    """Of our ten the broker holds eight since somebody traded by hand, and three of those are being sold."""
    world.send(10)
    world.run(5)
    ref = world.send(-6, kind=Kind.LIMIT, limit=104.0, tif=TimeInForce.GTC)
    world.broker.instant = False
    world.send(-3)
    world.broker.trade_by_hand(SPY, -2)
    world.broker.inbox.clear()
    world.until(lambda: SPY in world.desk.halted_instruments, 90).opened()
    refused_and_nothing_done(world, "would open a position there", wanted(world, ref, limit=105.0))


# ---------------------------------------------------------------- two exits
def test_two_exits_are_modified_together(world: World) -> None:
    stop, limit = pair(world)
    assert modify(world, wanted(world, stop, stop=99.0), wanted(world, limit, limit=103.0)).taken
    world.run(3)
    assert (there(world, stop).ticket.stop, there(world, limit).ticket.limit) == (99.0, 103.0)
    agree(world, stop, 99.0)
    world.broker.fill(there(world, stop), Decimal(-10))
    world.run(5)
    assert (world.state(stop), world.state(limit)) == ("filled", "cancelled")  # still of one group
    world.check()


def test_where_one_of_two_is_refused_neither_is_modified(world: World) -> None:
    stop, limit = pair(world)
    world.desk.cancel(limit, world.now)
    refused_and_nothing_done(
        world, f"{limit}: ", wanted(world, stop, stop=99.0), wanted(world, limit, limit=103.0)
    )
    refused_and_nothing_done(
        world, f"{limit}: ", wanted(world, limit, limit=103.0), wanted(world, stop, stop=99.0)
    )


def test_of_two_only_what_has_another_price_is_sent(world: World) -> None:
    stop, limit = pair(world)
    before = len(world.broker.placed)
    assert modify(world, wanted(world, stop, stop=99.0), wanted(world, limit), bar=4).taken
    assert [t.ref for _, t in world.broker.placed[before:]] == [stop]
    assert {world.desk.reason(ref).bar for ref in (stop, limit)} == {4}


@pytest.mark.parametrize("place", ["before_commit", "after_commit"])
def test_of_two_both_are_journalled_or_neither(place: str, world: World) -> None:
    stop, limit = pair(world)
    kill_at(
        world, place, lambda: modify(world, wanted(world, stop, stop=99.0), wanted(world, limit, limit=103.0))
    )
    world.start().opened()
    new = place == "after_commit"
    assert world.desk.intent(stop).ticket.stop == (99.0 if new else 98.0)
    assert world.desk.intent(limit).ticket.limit == (103.0 if new else 104.0)
    assert there(world, stop).ticket.stop == world.desk.intent(stop).ticket.stop
    assert there(world, limit).ticket.limit == world.desk.intent(limit).ticket.limit
    world.check_doubles()


def test_line_that_breaks_between_two_exits_leaves_both_at_their_new_prices(world: World) -> None:
    stop, limit = pair(world)
    world.broker.faults = Faults(break_after=1.0)
    assert modify(world, wanted(world, stop, stop=99.0), wanted(world, limit, limit=103.0)).taken
    world.broker.faults = Faults()
    assert there(world, limit).ticket.limit == 104.0
    world.run(3).opened().run(3)
    assert there(world, limit).ticket.limit == 103.0
    agree(world, stop, 99.0)


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
    del world.broker.place  # it takes what is wanted next
    move(world, ref, 98.5)
    world.run(3)
    agree(world, ref, 98.5)


def test_refused_change_is_looked_up_at_once(world: World) -> None:
    ref = held(world)
    world.run(10)
    refusing(world, ref, 110)
    move(world, ref, 99.0)
    began = world.now
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 30)
    assert world.now - began < world.setup.ack_s * SECOND


def test_change_that_is_turned_down_on_this_side_halts_and_the_old_stop_stays(world: World) -> None:
    ref = held(world)

    def refuse(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        raise RequestFailed("order", 0, "too long")

    world.broker.place = refuse  # type: ignore[method-assign]  # as a wire that cannot carry it
    assert modify(world, wanted(world, ref, stop=99.0)).taken
    world.run(150)
    assert world.desk.halted
    assert there(world, ref).is_open
    assert any("was not sent" in a.text for a in world.alarms)
    del world.broker.place
    world.desk.clear("tester", "looked", world.now)
    world.opened()
    agree(world, ref, 99.0)


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


def kill_at(world: World, place: str, act: Callable[[], object], times: int = 1) -> bool:
    """Do something, and end the process where it passes a place for the n-th time; return whether it did."""
    left = times

    def hook(name: str) -> None:
        nonlocal left
        left -= name == place
        if name == place and left == 0:
            raise Killed

    failpoints.hook = hook
    try:
        act()
    except Killed:
        world.kill()
        return True
    finally:
        failpoints.hook = None
    return False


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


@pytest.mark.parametrize("seed", range(8))
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
    world.opened().run(70)
    price = world.desk.intent(ref).ticket.stop
    assert price is not None
    assert len(world.desk.versions(ref)) > 10
    agree(world, ref, price)
    world.quiet()
    world.check()


# ---------------------------------------------------------------- standings
FACTS: tuple[Report, ...] = (
    echo("PreSubmitted"), echo(), *(echo(limit=500.0 + n) for n in range(4)), echo("PreSubmitted", limit=501.0),
    echo(limit=501.0, warning="a warning"), echo("Cancelled", limit=502.0), echo(ref="", limit=503.0),
    echo(account="DU9", limit=501.0), echo(con_id=1, limit=501.0), echo(perm_id=9002, limit=501.0),
    echo(perm_id=0, limit=501.0), echo(order_id=77, limit=501.0), echo(ref="q1:macd-spy:9", limit=501.0),
    status("Submitted"), status("Inactive"), status("Cancelled"), status("Filled", 100), told(110), told(201),
    told(202),
    execution(1, 40, 40), execution(2, 60, 100), commission(execution(1, 40, 40)), completed("Cancelled"),
)  # fmt: skip
MARKS = st.lists(
    st.sampled_from([*What, *3 * [What.MODIFIED], MOVED, "made smaller", "repair: so"]), max_size=12
)


def history(kinds: list[What | str]) -> list[Mark]:
    """The marks of an order in the order of a journal; words are why it was sent again."""
    found = []
    for n, kind in enumerate(kinds, start=2):
        ticket = replace(TICKET, limit=500.0 + n) if kind is What.MODIFIED else None
        what = kind if isinstance(kind, What) else What.SENT
        why = f"reduction {n} 0 text" if ticket else f"why {n}" if isinstance(kind, What) else f"{kind}: {n}"
        found.append(Mark(n, REF, what, n, why, ticket))
    return found


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(FACTS), min_size=3, max_size=20),
    MARKS,
    st.randoms(use_true_random=False),
    st.integers(0, 12),
)
def test_standings_kept_up_are_those_of_all_facts(
    facts: list[Report], kinds: list[What | str], dice: random.Random, begun: int
) -> None:
    """Though echoes that differ in prices alone are left out, and marks that a later change has superseded."""
    journalled = history(kinds)
    newest = next((m for m in reversed(journalled) if m.ticket is not None), None)
    intent = INTENT if newest is None else replace(INTENT, ticket=newest.ticket, why=newest.why)
    wanted = order_standing(intent, journalled, frozenset(facts))
    unique = list(dict.fromkeys(facts))
    cut = min(begun, len(unique))
    ledger = Ledger(
        "macd-spy", "DU1234567", "h", intents=(INTENT,), marks=tuple(journalled[:begun]),
        facts=tuple(Fact(100 + n, n, fact) for n, fact in enumerate(unique[:cut])),
    )  # fmt: skip
    standings = Standings(ledger)
    told_later, done_later = unique[cut:], journalled[begun:]
    while told_later or done_later:
        if done_later and (not told_later or dice.random() < 0.5):
            standings.add_mark(done_later.pop(0))
        else:
            standings.add_reports([told_later.pop(0)])
    assert standings[REF] == wanted
    assert standings.intent(REF) == intent
    assert [i.ticket.limit for i in standings.versions(REF)] == [
        500.0, *(m.ticket.limit for m in journalled if m.ticket is not None),
    ]  # fmt: skip


@given(MARKS)
def test_marks_that_are_superseded_say_nothing(kinds: list[What | str]) -> None:
    kept: list[Mark] = []
    for mark in history(kinds):
        noted(kept, mark)
    assert trail(INTENT, kept) == trail(INTENT, history(kinds))
    for words in ("made smaller", "why"):
        assert any(m.why.startswith(words) for m in kept) == any(
            m.why.startswith(words) for m in history(kinds)
        )


def test_order_that_was_modified_ever_so_often_keeps_few_marks_and_echoes(world: World) -> None:
    """Its standing is worked out anew at each mark and report: a change must not cost as much as there were before."""
    ref = held(world)
    for n in range(60):
        move(world, ref, round(80 + n / 10, 2))
        world.desk.take(world.broker.reports(), world.now)
    standings = world.desk._floor.record.standings
    assert len(standings.versions(ref)) == 61
    assert len(standings.marks(ref)) < 6
    assert len(standings._facts(world.desk.intent(ref))) < 12
    agree(world, ref, 85.9)


# ---------------------------------------------------------------- a change that IB refuses says nothing of the order
@pytest.mark.parametrize("word", ["PreSubmitted", "Submitted"])
def test_refused_change_of_an_order_leaves_it_working(word: str) -> None:
    assert (
        stands(echo(word), status(word), told(201), after=(What.SENT, What.MODIFIED)).state
        is OrderState.WORKING
    )


def test_inactive_after_a_refused_change_is_for_the_books_to_tell() -> None:
    """It worked, as PreSubmitted: which stops are for days. Whether it still does nobody knows."""
    facts = echo("PreSubmitted"), status("PreSubmitted"), told(201), status("Inactive")
    after = What.SENT, What.MODIFIED, What.SENT
    assert stands(*facts).state is OrderState.REJECTED
    assert stands(*facts, after=after).state is OrderState.UNKNOWN
    assert stands(*facts, after=(*after, What.UNKNOWN, What.FOUND)).state is OrderState.WORKING
    assert stands(*facts, after=(*after, What.UNKNOWN, What.ABSENT)).state is OrderState.REJECTED


def test_refused_change_is_no_return_to_life() -> None:
    facts = echo(), status("Inactive"), told(201)
    assert Oddity.REVIVED in stands(*facts).oddities
    assert Oddity.REVIVED not in stands(*facts, after=(What.SENT, What.MODIFIED)).oddities
