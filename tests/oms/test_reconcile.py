"""Reconciliation as a pure function: what may be concluded from two snapshots, and what never may."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.orders import (
    Completed,
    Echo,
    Execution,
    Kind,
    Position,
    Report,
    Snapshot,
    Ticket,
    TimeInForce,
    Told,
)
from quant.oms.desk.setup import Setup
from quant.oms.desk.watch import Watch
from quant.oms.gate import Purpose
from quant.oms.ledger import Holding, Intent, Mark, Source, What
from quant.oms.limits import SECOND
from quant.oms.reason import Reason, read_reason
from quant.oms.reconcile.outcome import (
    Action,
    Books,
    Cancel,
    Conclude,
    Flatten,
    HaltAll,
    HaltInstrument,
    Hold,
    Noticed,
    Order,
    Orders,
    Outcome,
    Policy,
    Repair,
    Resend,
    Start,
    trail,
)
from quant.oms.reconcile.reconcile import doubts, reconcile
from quant.oms.state import order_standing

SPY = 1
T0 = 1_700_000_000 * SECOND
POLICY = Policy(worth=((SPY, 1.0),))


def ticket(quantity: int = 10, number: int = 1, **fields: object) -> Ticket:
    return Ticket(f"q1:t:{number}", "DU1", SPY, "SPY", Decimal(quantity), **fields)  # type: ignore[arg-type]


def order(
    asked: Ticket, aim: Purpose = Purpose.ENTRY, facts: Sequence[Report] = (), marks: Sequence[tuple[What, int]] = (),
    client_id: int = 7, sent: bool = True, since: int = 0,
) -> Order:  # fmt: skip
    """Decided and sent at T0 - 100 s; marks: what, seconds after T0."""
    number = int(asked.ref.rpartition(":")[2])
    intent = Intent(1, asked, 100 + number, client_id, T0 - 100 * SECOND, str(Reason(aim)))
    first = [Mark(2, asked.ref, What.SENT, T0 - 100 * SECOND)] if sent else []
    done = [*first, *(Mark(3, asked.ref, what, T0 + at * SECOND) for what, at in marks)]
    return Order(intent, order_standing(intent, done, frozenset(facts)), trail(intent, done), since)


def echo(asked: Ticket, status: str = "Submitted", **fields: object) -> Echo:
    number = int(asked.ref.rpartition(":")[2])
    said = Echo(
        "DU1", SPY, "SPY", 100 + number, 7, 1000 + number, asked.ref, asked.quantity, asked.kind.value, asked.limit,
        asked.stop, asked.tif.value, status, 0, asked.oca,
    )  # fmt: skip
    return replace(said, **fields)  # type: ignore[arg-type]


def execution(asked: Ticket, quantity: int, **fields: object) -> Execution:
    number = int(asked.ref.rpartition(":")[2])
    said = Execution(
        f"e{number}.01", "DU1", SPY, "SPY", 100 + number, 7, 1000 + number, asked.ref, T0 - 50 * SECOND,
        Decimal(quantity), 100.0, Decimal(abs(quantity)), 100.0,
    )  # fmt: skip
    return replace(said, **fields)  # type: ignore[arg-type]


def held(quantity: int, **fields: object) -> Position:
    return replace(Position("DU1", SPY, "SPY", Decimal(quantity), 100.0), **fields)  # type: ignore[arg-type]


def snapshot(
    at_s: float = 0.0, echoes: Sequence[Echo] = (), executions: Sequence[Execution] = (),
    completed: Sequence[Completed] = (), positions: Sequence[Position] = (), epoch: int = 1, next_id: int = 1,
) -> Snapshot:  # fmt: skip
    asked = T0 + round(at_s * SECOND)
    return Snapshot(
        asked,
        asked + SECOND,
        epoch,
        next_id,
        tuple(echoes),
        (),
        tuple(completed),
        tuple(executions),
        (),
        tuple(positions),
    )


def books(*orders: Order, **fields: object) -> Books:
    said = Books("t", "DU1", 7, frozenset({SPY}), Orders(orders), agreed_at=T0 - 1000 * SECOND)
    return replace(said, **fields)  # type: ignore[arg-type]


def compare(ours: Books, policy: Policy = POLICY, **content: object) -> Outcome:
    first = snapshot(0, **content)  # type: ignore[arg-type]
    return reconcile(ours, first, snapshot(5, **content), policy)  # type: ignore[arg-type]


def kinds(outcome: Outcome) -> list[type[Action]]:
    return [type(action) for action in outcome.actions]


# ---------------------------------------------------------------- two snapshots
OVER = Completed("DU1", SPY, "SPY", 5, "", Decimal(1), Decimal(0), "Cancelled")


def test_nothing_against_nothing_agrees() -> None:
    assert compare(books()) == Outcome()
    assert compare(books()).agreed


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (snapshot(4.9), "5 s apart"),
        (snapshot(5, epoch=2), "connection"),
        (snapshot(5, positions=[held(1)]), "positions"),
        (snapshot(5, echoes=[echo(ticket())]), "orders"),
        (snapshot(5, executions=[execution(ticket(), 1)]), "executions"),
        (snapshot(5, completed=[OVER]), "completed"),
        (replace(snapshot(5), asked_at=T0 + SECOND // 2), "apart"),
    ],
)  # fmt: skip
def test_two_snapshots_that_differ_prove_nothing(second: Snapshot, why: str) -> None:
    outcome = reconcile(books(order(ticket())), snapshot(0), second, POLICY)
    assert not outcome.agreed
    assert not outcome.steady
    assert outcome.actions == ()
    assert why in outcome.waiting[0]


def test_status_words_and_other_accounts_may_differ() -> None:
    ours = books(order(ticket(), facts=[echo(ticket())]))
    first = snapshot(0, echoes=[echo(ticket(), "PreSubmitted")], positions=[held(0)])
    second = snapshot(5, echoes=[echo(ticket())], positions=[held(9, account="U2")])
    assert reconcile(ours, first, second, POLICY).agreed


# ---------------------------------------------------------------- orders that nobody has seen
def test_entry_without_a_trace_is_first_cancelled() -> None:
    outcome = compare(books(order(ticket())))
    assert kinds(outcome) == [Cancel]
    assert not outcome.agreed


@pytest.mark.parametrize(
    ("next_id", "facts", "proven"),
    [
        (101, (), True),  # IB gives its id out as the next
        (102, (), False),
        (102, (Told(101, 10147, "not found"),), True),
    ],
)
def test_entry_is_called_not_sent_only_by_proof(next_id: int, facts: tuple[Told, ...], proven: bool) -> None:
    outcome = compare(books(order(ticket(), facts=facts, marks=[(What.CANCEL_ASKED, -1)])), next_id=next_id)
    concluded = [a.what for a in outcome.actions if isinstance(a, Conclude)]
    assert concluded == ([What.NOT_SENT] if proven else [])
    assert outcome.agreed is proven


def test_snapshots_asked_before_the_cancel_prove_nothing() -> None:
    outcome = compare(books(order(ticket(), marks=[(What.CANCEL_ASKED, 0)])), next_id=1)
    assert kinds(outcome) == []
    assert not outcome.agreed


def test_order_sent_after_the_first_question_is_left_alone() -> None:
    assert compare(books(order(ticket(), marks=[(What.SENT, 0)]))) == Outcome()


def test_order_that_still_waits_here_is_left_alone() -> None:
    assert compare(books(order(ticket(), sent=False), queued=frozenset({"q1:t:1"}))) == Outcome()


def bought() -> Order:
    return order(ticket(), facts=[execution(ticket(), 10)])


CONTENT = dict(executions=[execution(ticket(), 10)], positions=[held(10)])


@pytest.mark.parametrize("aim", [Purpose.REDUCTION, Purpose.PROTECTION, Purpose.FLATTEN])
def test_lost_reduction_is_sent_again(aim: Purpose) -> None:
    outcome = compare(books(bought(), order(ticket(-10, 2), aim)), **CONTENT)
    assert kinds(outcome) == [Resend]
    assert not outcome.agreed


@pytest.mark.parametrize("closed", [0, SPY])
def test_lost_reduction_is_not_sent_again_where_all_is_being_closed(closed: int) -> None:
    for aim, does in ((Purpose.REDUCTION, Cancel), (Purpose.PROTECTION, Cancel), (Purpose.FLATTEN, Resend)):
        ours = books(bought(), order(ticket(-10, 2), aim), flattening=frozenset({closed}))
        assert kinds(compare(ours, **CONTENT)) == [does]


def test_lost_reduction_of_what_is_not_held_any_more_is_not_sent_again() -> None:
    outcome = compare(books(order(ticket(-10, 2), Purpose.REDUCTION)))
    assert kinds(outcome) == [Cancel]


@pytest.mark.parametrize(("filled", "does"), [(10, Resend), (0, Cancel)])
def test_lost_exit_is_sent_again_only_where_its_entry_filled(filled: int, does: type[Action]) -> None:
    asked = ticket(10, 3)
    facts, marks = ([execution(asked, 10)], []) if filled else ([], [(What.NOT_SENT, -50)])
    entry, stop = (
        order(asked, facts=facts, marks=marks),
        order(ticket(-10, 4, parent=asked.ref), Purpose.PROTECTION),
    )
    there = [execution(ticket(), 10), *([execution(asked, 10)] if filled else [])]
    outcome = compare(books(bought(), entry, stop), executions=there, positions=[held(10 + filled)])
    assert kinds(outcome) == [does]


def test_reduction_that_is_lost_again_and_again_halts() -> None:
    again = [(What.SENT, -20), (What.SENT, -10)]
    outcome = compare(books(bought(), order(ticket(-10, 2), Purpose.REDUCTION, marks=again)), **CONTENT)
    assert kinds(outcome) == [HaltAll]


def test_taken_id_without_an_order_waits() -> None:
    """103: the broker knows the id. Its books will show why, or a person must look."""
    lost = order(ticket(-10, 2), Purpose.REDUCTION, facts=[Told(102, 103, "Duplicate order id")])
    outcome = compare(books(bought(), lost), **CONTENT)
    assert kinds(outcome) == []
    assert not outcome.agreed


@given(st.sampled_from(list(Purpose)), st.integers(0, 4), st.booleans(), st.booleans(), st.integers(-20, 20))
def test_entries_are_never_sent_again(
    aim: Purpose, sends: int, cancelled: bool, found: bool, position: int
) -> None:
    """Invariants 2 and 3 of the module, over what an order may have gone through."""
    marks = [(What.SENT, -50 + i) for i in range(sends)] + ([(What.CANCEL_ASKED, -1)] if cancelled else [])
    lost = order(ticket(-10, 2), aim, marks=marks)
    content = dict(echoes=[echo(ticket(-10, 2))]) if found else {}
    base = Holding(9, Source.ADOPTED, SPY, "SPY", Decimal(position), None, T0 - 500 * SECOND)
    outcome = compare(books(lost, holdings=(base,)), positions=[held(position)], **content)
    if Resend in kinds(outcome):
        assert aim is not Purpose.ENTRY
        assert not found
        assert not cancelled
        assert position >= 10
    if any(isinstance(a, Conclude) and a.what is What.NOT_SENT for a in outcome.actions):
        assert cancelled
        assert not found


# ---------------------------------------------------------------- orders that were there
def test_unknown_order_that_is_there_is_found() -> None:
    lost = order(ticket(), marks=[(What.UNKNOWN, -5)])
    assert compare(books(lost), echoes=[echo(ticket())]).actions == (
        Conclude("q1:t:1", What.FOUND, "open at the broker as Submitted"),
    )


@pytest.mark.parametrize(
    ("asked", "policy", "what"),
    [
        (ticket(), Policy(closed_at=((SPY, T0 - 10 * SECOND),)), What.EXPIRED),
        (ticket(), Policy(closed_at=((SPY, T0 - 200 * SECOND),)), What.ABSENT),
        (ticket(), Policy(day_s=60.0), What.EXPIRED),
        (ticket(tif=TimeInForce.GTC), Policy(closed_at=((SPY, T0 - 10 * SECOND),)), What.ABSENT),
        (ticket(tif=TimeInForce.GTD, good_till=T0), POLICY, What.EXPIRED),
        (ticket(tif=TimeInForce.GTD, good_till=T0 + 90 * SECOND), POLICY, What.ABSENT),
        (ticket(tif=TimeInForce.IOC), POLICY, What.EXPIRED),
    ],
)
def test_order_that_is_gone(asked: Ticket, policy: Policy, what: What) -> None:
    outcome = compare(books(order(asked, facts=[echo(asked)])), policy)
    assert [a.what for a in outcome.actions if isinstance(a, Conclude)] == [what]
    assert outcome.agreed is (what is What.EXPIRED)


def test_cancelled_order_that_is_gone_is_over() -> None:
    gone = order(ticket(tif=TimeInForce.GTC), facts=[echo(ticket())], marks=[(What.CANCEL_ASKED, -20)])
    assert [a.what for a in compare(books(gone)).actions if isinstance(a, Conclude)] == [What.EXPIRED]


def test_cancel_that_was_lost_is_asked_for_again() -> None:
    asked = order(ticket(), facts=[echo(ticket())], marks=[(What.CANCEL_ASKED, -5)])
    assert kinds(compare(books(asked), echoes=[echo(ticket())])) == [Cancel]
    assert kinds(compare(books(asked), echoes=[echo(ticket(), "PendingCancel")])) == []


def test_end_that_the_books_contradict_halts() -> None:
    over = order(ticket(), facts=[echo(ticket(), "Cancelled")])
    outcome = compare(books(over), echoes=[echo(ticket())])
    assert kinds(outcome) == [Cancel, HaltAll]
    just_now = replace(over, since=T0 + 2 * SECOND)  # it ended while they were read
    assert compare(books(just_now), echoes=[echo(ticket())]).agreed


@pytest.mark.parametrize(("asked_s", "again"), [(-2, False), (-20, True)])
def test_cancel_of_an_order_that_works_again_is_repeated_until_it_is_gone(asked_s: int, again: bool) -> None:
    """Row O6."""
    over = order(ticket(), facts=[echo(ticket(), "Cancelled")], marks=[(What.CANCEL_ASKED, asked_s)])
    outcome = compare(books(over), echoes=[echo(ticket())])
    assert kinds(outcome) == ([Cancel] if again else []) + [HaltAll]


def test_only_protective_order_that_works_again_stays_and_one_beside_another_goes() -> None:
    back = order(STOP, Purpose.PROTECTION, facts=[echo(STOP, "Cancelled")])
    assert kinds(compare(books(bought(), back), **CONTENT, echoes=[echo(STOP)])) == [HaltAll]
    other = ticket(-10, 3, kind=Kind.STOP, stop=95.0, tif=TimeInForce.GTC)
    placed_since = order(other, Purpose.PROTECTION, facts=[echo(other)])
    outcome = compare(books(bought(), back, placed_since), **CONTENT, echoes=[echo(STOP), echo(other)])
    assert kinds(outcome) == [Cancel, HaltAll]


# ---------------------------------------------------------------- the echo
STOP = ticket(-10, 2, kind=Kind.STOP, stop=95.0, tif=TimeInForce.GTC, oca="pair")


@pytest.mark.parametrize(
    "changed",
    [
        {"tif": "DAY"},
        {"quantity": Decimal(-5)},
        {"stop": 94.0},
        {"stop": None},
        {"kind": "STP LMT"},
        {"oca": ""},
    ],
)
def test_changed_protective_order_is_repaired(changed: dict[str, object]) -> None:
    there = echo(STOP, **changed)
    ours = books(bought(), order(STOP, Purpose.PROTECTION, facts=[there]))
    outcome = compare(ours, **CONTENT, echoes=[there])
    assert kinds(outcome) == [Repair]
    assert [n.what for n in outcome.notices] == [Noticed.PROTECTION]


FOLLOWS = replace(STOP, kind=Kind.TRAIL, trail=2.0)
LIMITED = replace(STOP, kind=Kind.TRAIL_LIMIT, percent=1.5, offset=0.05)


@pytest.mark.parametrize("asked", [FOLLOWS, LIMITED, replace(FOLLOWS, trail=None, percent=2.0)])
@pytest.mark.parametrize(("stop", "wrong"), [(95.0, False), (96.5, False), (94.9, True), (None, True)])
def test_stop_that_followed_the_price_is_no_change(asked: Ticket, stop: float | None, wrong: bool) -> None:
    distances = dict(limit=None, trail=asked.trail, percent=asked.percent, offset=asked.offset)
    there = echo(asked, stop=stop, **distances)
    outcome = compare(
        books(bought(), order(asked, Purpose.PROTECTION, facts=[there])), **CONTENT, echoes=[there]
    )
    assert kinds(outcome) == [Repair] * wrong


@pytest.mark.parametrize("changed", [{"percent": 2.5}, {"percent": None, "trail": 1.5}, {"offset": 0.0}])
def test_other_distance_of_a_trailing_stop_is_repaired(changed: dict[str, object]) -> None:
    there = echo(LIMITED, **{"percent": 1.5, "offset": 0.05, **changed})
    outcome = compare(
        books(bought(), order(LIMITED, Purpose.PROTECTION, facts=[there])), **CONTENT, echoes=[there]
    )
    assert kinds(outcome) == [Repair]


def test_unchanged_protective_order_is_left_alone() -> None:
    there = echo(STOP, stop=95.0 * (1 + 1e-12))
    assert (
        compare(books(bought(), order(STOP, Purpose.PROTECTION, facts=[there])), **CONTENT, echoes=[there])
        == Outcome()
    )


@pytest.mark.parametrize(("changed", "done"), [({"tif": "GTC"}, []), ({"quantity": Decimal(5)}, [Cancel])])
def test_changed_entry_is_told_and_cancelled_where_it_matters(
    changed: dict[str, object], done: list[type]
) -> None:
    there = echo(ticket(), **changed)
    outcome = compare(books(order(ticket(), facts=[there])), echoes=[there])
    assert kinds(outcome) == done
    assert [n.what for n in outcome.notices] == [Noticed.ECHO]


def test_stop_without_a_position_is_cancelled() -> None:
    there = echo(STOP)
    assert kinds(compare(books(order(STOP, Purpose.PROTECTION, facts=[there])), echoes=[there])) == [Cancel]


def test_stop_that_waits_for_its_entry_stays() -> None:
    entry, stop = ticket(), replace(STOP, parent="q1:t:1")
    ours = books(order(entry, facts=[echo(entry)]), order(stop, facts=[echo(stop, "PreSubmitted")]))
    assert compare(ours, echoes=[echo(entry), echo(stop, "PreSubmitted")]) == Outcome()


# ---------------------------------------------------------------- positions
@pytest.mark.parametrize(
    ("start", "done"),
    [
        (Start.BASELINE, [Hold]),
        (Start.ADOPT, [Hold]),
        (Start.FLATTEN, [Hold, Flatten]),
        (Start.REFUSE, [HaltAll]),
    ],
)
def test_position_at_the_first_start(start: Start, done: list[type]) -> None:
    outcome = compare(
        books(agreed_at=None, starting=True), replace(POLICY, start=start), positions=[held(50)]
    )
    assert kinds(outcome) == done
    assert outcome.agreed is (start is not Start.REFUSE)
    if isinstance(outcome.actions[0], Hold):
        assert outcome.actions[0].source is (Source.BASELINE if start is Start.BASELINE else Source.ADOPTED)
        assert outcome.actions[0].quantity == 50


@pytest.mark.parametrize(
    ("start", "done"),
    [(Start.BASELINE, []), (Start.ADOPT, [Hold]), (Start.FLATTEN, [Hold, Flatten]), (Start.REFUSE, [])],
)
def test_difference_at_a_later_start_needs_a_person(start: Start, done: list[type]) -> None:
    outcome = compare(books(starting=True), replace(POLICY, start=start), positions=[held(50)])
    assert kinds(outcome) == done
    assert outcome.agreed is bool(done)


@pytest.mark.parametrize("start", list(Start))
def test_position_proves_nothing_while_an_order_is_in_doubt(start: Start) -> None:
    ours = books(order(ticket()), agreed_at=None, starting=True)
    outcome = compare(ours, replace(POLICY, start=start), positions=[held(10)])
    assert kinds(outcome) == [Cancel]
    assert "in doubt" in " ".join(outcome.waiting)


def test_difference_while_running_is_waited_for() -> None:
    outcome = compare(books(), Policy(start=Start.ADOPT), positions=[held(50)])
    assert kinds(outcome) == []
    assert "the broker holds 50, ours are 0" in outcome.waiting[0]


def test_baseline_lies_below_ours() -> None:
    base = Holding(1, Source.BASELINE, SPY, "SPY", Decimal(50), None, T0)
    assert compare(books(bought(), holdings=(base,)), **{**CONTENT, "positions": [held(60)]}).agreed


def test_what_others_traded_halts_the_instrument() -> None:
    hand = replace(execution(ticket(), 3), ref="", exec_id="h.01", perm_id=5, client_id=0, order_id=-1)
    outcome = compare(books(), executions=[hand], positions=[held(3)])
    assert kinds(outcome) == [HaltInstrument]
    assert outcome.agreed  # other instruments go on
    before = replace(hand, time=T0 - 2000 * SECOND)  # before the books first agreed: it explains nothing now
    assert not compare(books(), executions=[before], positions=[held(3)]).agreed


@pytest.mark.parametrize("aim", [Purpose.PROTECTION, Purpose.REDUCTION, Purpose.FLATTEN])
def test_lost_order_that_would_open_a_position_at_the_broker_is_not_sent_again(aim: Purpose) -> None:
    lost = order(STOP if aim is Purpose.PROTECTION else ticket(-10, 2), aim)
    hand = replace(execution(ticket(), -10), ref="", exec_id="h.01", perm_id=5, client_id=0, order_id=-1)
    ours = [bought(), lost]
    facts = [execution(ticket(), 10)]
    assert kinds(compare(books(*ours), executions=facts, positions=[held(10)])) == [Resend]
    closed = compare(books(*ours), executions=[*facts, hand])
    assert kinds(closed) == [Cancel, HaltInstrument]  # it is not needed any more
    unloaded = compare(books(*ours), executions=facts)  # row O11: it may be needed, but not by these books
    assert kinds(unloaded) == []
    assert "the broker holds 0, ours are 10" in unloaded.waiting[0]


def test_foreign_order_halts_its_instrument() -> None:
    hand = replace(echo(ticket()), ref="", client_id=0, order_id=-1, perm_id=5)
    assert kinds(compare(books(), echoes=[hand])) == [HaltInstrument]
    assert kinds(compare(books(), echoes=[replace(hand, con_id=99)])) == []
    assert kinds(compare(books(), echoes=[replace(hand, account="U2")])) == []


def test_stranger_under_our_name_halts_once() -> None:
    stranger = echo(ticket(number=9))
    outcome = compare(books(), echoes=[stranger])
    assert HaltAll in kinds(outcome)
    reasons = frozenset(a.why for a in outcome.actions if isinstance(a, HaltAll))
    assert HaltAll not in kinds(compare(books(halted_for=reasons), echoes=[stranger]))


# ---------------------------------------------------------------- one snapshot
def test_one_snapshot_raises_doubts_and_concludes_nothing() -> None:
    lost = books(order(ticket(), marks=[(What.CANCEL_ASKED, -1)]))
    outcome = doubts(lost, snapshot(0), POLICY)
    assert outcome.actions == () or all(isinstance(a, HaltInstrument) for a in outcome.actions)
    assert not outcome.agreed or outcome.waiting


@given(st.randoms(use_true_random=False))
def test_rows_may_come_in_any_order(dice: random.Random) -> None:
    orders = [order(ticket(10, n), facts=[echo(ticket(10, n))]) for n in (1, 2, 3)]
    hand = replace(echo(ticket()), ref="", client_id=0, order_id=-1, perm_id=5)
    echoes = [echo(ticket(10, 1)), echo(ticket(10, 2), quantity=Decimal(4)), hand]

    def shuffled(at_s: float) -> Snapshot:
        dice.shuffle(echoes)
        return snapshot(at_s, echoes=echoes, positions=[held(0)])

    first = reconcile(books(*orders), snapshot(0, echoes=echoes), snapshot(5, echoes=echoes), POLICY)
    assert reconcile(books(*orders), shuffled(0), shuffled(5), POLICY) == first


# ---------------------------------------------------------------- which snapshots count
class Shelf:
    """A broker that only hands out snapshots."""

    def __init__(self) -> None:
        self.ready: list[Snapshot] = []
        self.asked = 0

    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        raise AssertionError

    def cancel(self, order_id: int) -> None:
        raise AssertionError

    def begin_snapshot(self) -> None:
        self.asked += 1

    def snapshot(self) -> Snapshot | None:
        return self.ready.pop() if self.ready else None


def test_snapshot_asked_for_before_a_doubt_does_not_count() -> None:
    shelf = Shelf()
    watch = Watch(shelf, Setup(7, frozenset({SPY}), 1e6))
    watch.linked(T0)
    assert watch.poll(T0) is None
    assert shelf.asked == 1
    watch.doubt(T0 + 2 * SECOND)
    shelf.ready = [snapshot(0)]
    assert watch.poll(T0 + 3 * SECOND) is None
    shelf.ready = [snapshot(3)]
    assert watch.poll(T0 + 5 * SECOND) is not None


def test_connection_that_breaks_again_and_again_is_no_excuse_for_a_stall() -> None:
    watch = Watch(Shelf(), Setup(7, frozenset({SPY}), 1e6, patience_s=60.0))
    for second in range(0, 300, 20):
        watch.linked(T0 + second * SECOND)
    assert watch.unsettled == T0
    watch.linked(T0 + 3600 * SECOND)  # after a night
    assert watch.unsettled == T0 + 3600 * SECOND


def test_snapshot_that_does_not_come_is_asked_for_again() -> None:
    shelf = Shelf()
    watch = Watch(shelf, Setup(7, frozenset({SPY}), 1e6, retry_s=20.0))
    watch.linked(T0)
    for second in range(60):
        watch.poll(T0 + second * SECOND)
    assert shelf.asked == 3


# ---------------------------------------------------------------- reasons
@given(
    st.sampled_from(list(Purpose)),
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.text("ab c:ä", max_size=9),
)
def test_reason_comes_back_from_the_journal(aim: Purpose, bar: int, expires: int, text: str) -> None:
    reason = Reason(aim, bar, expires, text.strip())
    assert read_reason(str(reason)) == reason


def test_reason_that_cannot_be_read_counts_as_an_entry() -> None:
    assert read_reason("by hand").purpose is Purpose.ENTRY


# ---------------------------------------------------------------- Inactive, and nobody refused it
GUARD = ticket(-10, kind=Kind.STOP, stop=90.0)
PURPOSES = pytest.mark.parametrize("aim", list(Purpose))


@PURPOSES
@pytest.mark.parametrize(
    ("words", "cancelled"),
    [
        (("Inactive", "Inactive"), True),
        (("Submitted", "Inactive"), False),
        (("Inactive", "Submitted"), False),
    ],
)
def test_only_what_both_readings_have_as_inactive_is_cancelled(
    aim: Purpose, words: tuple[str, str], cancelled: bool
) -> None:
    entry = ticket(number=2)
    bought = execution(entry, 10)
    ours = books(
        order(GUARD, aim, [echo(GUARD, words[0])]), order(entry, facts=[bought, echo(entry, "Filled")])
    )
    first, second = (
        snapshot(at, [echo(GUARD, word)], [bought], positions=[held(10)])
        for at, word in zip((0, 5), words, strict=True)
    )
    found = reconcile(ours, first, second, POLICY)
    assert (Cancel in kinds(found)) == cancelled
    assert [n.what for n in found.notices] == [Noticed.HELD_BACK] * cancelled
    halted = reconcile(replace(ours, halted=True), first, second, POLICY)
    assert (Cancel in kinds(halted)) == (cancelled and aim is not Purpose.PROTECTION)


@pytest.mark.parametrize(("cancel_s", "over"), [(-1.0, True), (2.0, False), (5.5, False)])
def test_it_is_over_where_both_readings_were_asked_for_after_its_cancel(cancel_s: float, over: bool) -> None:
    listed = Completed("DU1", SPY, "SPY", 1001, GUARD.ref, GUARD.quantity, Decimal(0), "Inactive")
    marks = [(What.CANCEL_ASKED, round(cancel_s))]
    one = order(GUARD, Purpose.PROTECTION, [echo(GUARD)], marks)
    known = replace(one, trail=replace(one.trail, held_back=True))  # and it may leave all lists then
    for ours, lists in ((one, [listed]), (known, [listed]), (known, [])):
        found = compare(books(ours), completed=lists)
        assert ([a.what for a in found.actions if isinstance(a, Conclude)] == [What.EXPIRED]) == over
        assert bool(found.waiting) != over


def test_of_another_order_the_list_of_completed_ones_says_nothing() -> None:
    other = Completed("DU1", SPY, "SPY", 77, "", Decimal(1), Decimal(0), "Inactive")
    one = order(GUARD, Purpose.PROTECTION, [echo(GUARD)])
    found = compare(books(one), completed=[other])
    assert Cancel not in kinds(found)
    assert [a.what for a in found.actions if isinstance(a, Conclude)] == [What.ABSENT]


# ---------------------------------------------------------------- what is kept up of all our orders
WAYS = (
    (),
    (echo(ticket()),),
    (echo(ticket(), "Inactive"), execution(ticket(), 4)),
    (execution(ticket(), 10),),
    (execution(ticket(), 10), execution(ticket(), 5, exec_id="x.01")),
    (echo(ticket(), "Cancelled", perm_id=7),),
)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(WAYS)), max_size=8),
    st.sampled_from([0, 7, 1001, 1002]),
)
def test_what_is_kept_of_orders_is_what_a_walk_over_all_of_them_finds(
    changes: list[tuple[int, tuple[Echo | Execution, ...]]], perm_id: int
) -> None:
    kept, last, known = Orders(), dict[str, Order](), dict[str, list[Echo | Execution]]()
    for number, facts in changes:
        asked = ticket(number=number)
        own = [
            replace(f, ref=asked.ref, perm_id=f.perm_id if f.perm_id == 7 else 1000 + number) for f in facts
        ]
        one = order(asked, facts=known.setdefault(asked.ref, []) + own)
        known[asked.ref] += own  # facts are never fewer
        last[one.ref] = replace(one, intent=replace(one.intent, number=number))
        kept.put(last[one.ref])
    walked = sorted(last.values(), key=lambda o: o.ref)
    refs = {"q1:t:2", "q1:t:9", ""}
    perms = {p for o in walked for p in o.standing.perm_ids}
    assert kept.open == [o for o in walked if not o.standing.is_final]
    assert kept.odd == [o for o in walked if o.standing.oddities]
    assert kept.filled(SPY) == sum((o.standing.filled for o in walked), Decimal(0))
    assert kept.symbols == ({SPY: "SPY"} if walked else {})
    assert [kept.get(f"q1:t:{n}") for n in (1, 2, 3)] == [last.get(f"q1:t:{n}") for n in (1, 2, 3)]
    assert kept.named("", perm_id) == (perm_id in perms)
    assert kept.open_or_named(refs, {perm_id}) == [
        o for o in walked
        if not o.standing.is_final or o.ref in refs or perm_id in o.standing.perm_ids
    ]  # fmt: skip
