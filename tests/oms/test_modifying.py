"""Exits that are modified where they lie: when they are and when not, one and two at a time.

That an open order is changed by sending it again under its id, and that a change may be refused while the order goes on
as it was: IB's documentation of the TWS API, "Modifying Orders" and "Message Codes" (110, 201).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from moved import agree, held, kill_at, marks, modify, move, pair, sent, there, wanted
from order_broker import SECOND, Faults
from order_world import SPY, World

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import ParameterError
from quant.oms.desk.setup import Link
from quant.oms.gate import Purpose
from quant.oms.ledger import What


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A desk whose gate is open."""
    return World(tmp_path).start().opened()


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


def stop_limit(world: World, ref: str) -> Ticket:
    waits = world.ticket(-10, kind=Kind.STOP_LIMIT, stop=98.0, limit=97.0, tif=TimeInForce.GTC)
    world.submit(waits)
    world.run(3)
    assert world.state(waits.ref) == "working"
    return replace(waits, stop=97.5)


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
    not_ours: "no order of this deployment", trailing: "a TRAIL may have", stop_limit: "a STP LMT may have",
    an_entry: "no exit",
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


def test_order_of_which_the_day_is_over_is_not_modified(world: World) -> None:
    """The calendar knows before IB has told; a change of it would be lost with it."""
    world.send(10)
    world.run(5)
    ref = world.send(-10, kind=Kind.STOP, stop=97.0, tif=TimeInForce.DAY)
    world.run(30)
    world.markets = {
        con_id: replace(market, last_close=world.now) for con_id, market in world.markets.items()
    }
    world.observe()
    refused_and_nothing_done(world, "its time is over", wanted(world, ref, stop=99.0))


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
