"""How an order stands. Rows named are of the fault matrix (live-faults §4a); codes are those of tws-protocol §4.3."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.core.orders import Report
from quant.oms.desk.standings import Standings
from quant.oms.ledger import Fact, Intent, Ledger, Mark, What
from quant.oms.state import REFUSALS, Oddity, OrderStanding, OrderState, order_standing
from tests.oms.facts import (
    CLIENT_ID,
    INTENT,
    ORDER_ID,
    PERM_ID,
    REF,
    TICKET,
    commission,
    completed,
    corrected,
    echo,
    execution,
    marks,
    stands,
    status,
    told,
)  # fmt: skip

S = OrderState
HALF, REST = execution(1, 40, 40), execution(2, 60, 100, price=501.0)

# Every code that the notes name for an order: rows O5 and §1.2 of live-faults, tws-protocol §4.3.
CODES = (
    103, 104, 105, 109, 110, 161, 163, 165, 200, 201, 202, 203, 321, 382, 383, 399, 404, 434, 2109, 2161, 10147, 10148,
    10149, 10167, 10189, 10268, 10349, 12345,
)  # fmt: skip


# ---------------------------------------------------------------- the plain way
@pytest.mark.parametrize(
    ("facts", "after", "state"),
    [
        ((), (), S.DECIDED),
        ((), (What.SENT,), S.SENT),
        ((status("PendingSubmit"),), (), S.SENT),
        ((echo("PreSubmitted"),), (What.SENT,), S.WORKING),  # may stay so for days (row O6)
        ((echo(),), (What.SENT, What.CANCEL_ASKED), S.CANCELLING),
        ((echo(), status("PendingCancel")), (What.SENT,), S.CANCELLING),
        ((echo(), HALF), (What.SENT,), S.PARTLY_FILLED),
        ((echo(), HALF), (What.SENT, What.CANCEL_ASKED), S.CANCELLING),
        ((echo(), HALF, REST), (What.SENT,), S.FILLED),
        ((status("Cancelled"),), (What.SENT,), S.CANCELLED),
        ((status("ApiCancelled"),), (What.SENT,), S.CANCELLED),
        (
            (told(202), status("Cancelled", 40), HALF),
            (What.SENT,),
            S.CANCELLED,
        ),  # 202 after a partial fill (O5)
        ((told(201), status("Cancelled")), (What.SENT,), S.REJECTED),
        ((told(201), status("Inactive")), (What.SENT,), S.REJECTED),
        ((), (What.NOT_SENT,), S.NOT_SENT),
        ((), (What.SENT, What.UNKNOWN), S.UNKNOWN),
    ],
)
def test_state_of_an_order(facts: Sequence[Report], after: Sequence[What], state: OrderState) -> None:
    assert stands(*facts, after=after).state is state


def test_fills_add_up_with_their_sign() -> None:
    sold = Intent(1, replace(TICKET, quantity=Decimal(-100)), ORDER_ID, CLIENT_ID, at=10)
    fills = (replace(HALF, quantity=Decimal(-40)), replace(REST, quantity=Decimal("-30.5")))
    standing = stands(*fills, intent=sold)
    assert (standing.filled, standing.remaining) == (Decimal("-70.5"), Decimal("-29.5"))
    assert standing.state is S.PARTLY_FILLED


def test_average_is_of_what_is_filled() -> None:
    assert stands(HALF, REST).average == pytest.approx((40 * 500 + 60 * 501) / 100, rel=1e-15)
    assert stands(echo()).average is None


def test_nothing_odd_about_an_ordinary_order() -> None:
    facts = (
        echo("PreSubmitted"),
        echo(),
        status("Submitted"),
        HALF,
        REST,
        status("Filled", 100),
        completed("Filled", 100),
    )
    standing = stands(*facts, commission(HALF), commission(REST))
    assert (standing.state, standing.oddities, standing.uncharged, standing.owed) == (
        S.FILLED,
        frozenset(),
        0,
        0,
    )


# ---------------------------------------------------------------- codes alone end nothing (row O5)
@pytest.mark.parametrize("code", CODES)
def test_no_code_ends_a_live_order(code: int) -> None:
    assert stands(echo(), status("Submitted"), told(code)).state is S.WORKING


@pytest.mark.parametrize("code", CODES)
def test_no_code_ends_an_order_that_was_only_sent(code: int) -> None:
    assert stands(told(code)).state is S.SENT


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_a_refusal_counts_once_the_books_do_not_show_the_order(code: int) -> None:
    standing = stands(told(code, "Order rejected"), after=(What.SENT, What.ABSENT))
    assert (standing.state, standing.reason) == (S.REJECTED, "Order rejected")


@pytest.mark.parametrize("code", [103, 399, 404, 10349, 12345])
def test_a_warning_and_absence_make_no_end(code: int) -> None:
    assert stands(echo(), told(code), after=(What.SENT, What.ABSENT)).state is S.UNKNOWN


def test_a_cancel_code_and_absence_are_a_cancel() -> None:
    assert stands(echo(), told(202), after=(What.SENT, What.ABSENT)).state is S.CANCELLED


def test_time_over_and_in_no_list_is_cancelled() -> None:
    assert stands(echo(), after=(What.SENT, What.EXPIRED)).state is S.CANCELLED


# ---------------------------------------------------------------- fills come from executions alone
def test_status_never_fills() -> None:
    standing = stands(echo(), status("Filled", 100))
    assert (standing.state, standing.filled, standing.owed) == (S.WORKING, 0, 100)


def test_an_openorder_that_says_filled_owes_the_rest() -> None:
    standing = stands(echo("Filled"), HALF)
    assert (standing.state, standing.filled, standing.owed) == (S.PARTLY_FILLED, 40, 60)


def test_a_lost_execution_is_owed_by_the_cumulative_of_the_next() -> None:  # only in reqExecutions: row O2
    assert stands(REST).owed == 40
    assert stands(REST, HALF).owed == 0


def test_cancelled_with_fills_owed_is_not_final() -> None:
    standing = stands(echo(), status("Cancelled", 60), HALF)
    assert (standing.state, standing.owed) == (S.CANCELLING, 20)


def test_completed_order_without_its_executions_is_not_final() -> None:
    assert not stands(completed("Filled", 100)).is_final
    assert not stands(completed("Cancelled", 40)).is_final


def test_the_same_execution_live_and_asked_for_counts_once() -> None:  # row O2
    again = replace(HALF, ref="", exchange="SMART", average=499.0)
    standing = stands(HALF, again)
    assert (standing.filled, standing.oddities) == (40, frozenset())


def test_an_execution_told_in_two_ways_counts_once_and_is_seen() -> None:
    standing = stands(HALF, replace(HALF, price=499.0))
    assert standing.filled == 40
    assert Oddity.CLASH in standing.oddities


# ---------------------------------------------------------------- corrections (row O4)
def test_a_corrected_price_replaces() -> None:
    standing = stands(HALF, corrected(HALF, 2, price=498.0))
    assert (standing.filled, standing.average) == (40, 498.0)
    assert standing.oddities == {Oddity.CORRECTED}


def test_the_highest_correction_wins_however_they_come() -> None:
    second, third = corrected(HALF, 2, quantity=Decimal(30)), corrected(HALF, 3, quantity=Decimal(35))
    assert stands(third, HALF, second).filled == 35


def test_a_bust_takes_the_fill_back_and_the_order_stays_over() -> None:
    standing = stands(HALF, REST, corrected(REST, 2, quantity=Decimal(0)))
    assert (standing.filled, standing.remaining, standing.state) == (40, 60, S.FILLED)
    assert Oddity.BUSTED in standing.oddities


def test_a_correction_of_what_was_never_seen_ends_the_order_it_completes() -> None:
    standing = stands(corrected(HALF, 2, quantity=Decimal(90)), status("Filled", 100))
    assert (standing.filled, standing.state) == (90, S.FILLED)


def test_revision_ten_is_above_nine() -> None:
    ninth, tenth = corrected(HALF, 9, price=9.0), corrected(HALF, 10, price=10.0)
    assert stands(tenth, ninth).average == 10.0


# ---------------------------------------------------------------- commissions (row O3)
def test_a_fill_counts_before_its_commission() -> None:
    standing = stands(HALF)
    assert (standing.filled, standing.uncharged, standing.fills[0].commission) == (40, 1, None)


@pytest.mark.parametrize("facts", [(commission(HALF), HALF), (HALF, commission(HALF), commission(HALF))])
def test_commission_before_or_twice_counts_once(facts: tuple[Report, ...]) -> None:
    standing = stands(*facts)
    assert ([f.commission for f in standing.fills], standing.oddities) == ([1.0], frozenset())


def test_commission_with_and_without_a_profit_is_one() -> None:
    standing = stands(HALF, commission(HALF), replace(commission(HALF), realized=12.5))
    assert (standing.fills[0].realized, standing.oddities) == (12.5, frozenset())


def test_two_commissions_of_one_fill_are_seen() -> None:
    assert Oddity.CLASH in stands(HALF, commission(HALF, 1.0), commission(HALF, 2.0)).oddities


def test_a_correction_keeps_the_commission_until_it_has_its_own_and_a_bust_does_not() -> None:
    second = corrected(HALF, 2, price=498.0)
    assert stands(HALF, second, commission(HALF)).fills[0].commission == 1.0
    assert stands(HALF, second, commission(HALF), commission(second, 1.5)).fills[0].commission == 1.5
    assert stands(HALF, corrected(HALF, 2, quantity=Decimal(0)), commission(HALF)).fills[0].commission is None


def test_commission_of_another_fill_is_left_out() -> None:
    assert stands(HALF, commission(REST)).uncharged == 1


# ---------------------------------------------------------------- ends that were none (row O6)
def test_a_fill_after_the_cancel_counts_and_is_seen() -> None:
    standing = stands(status("Cancelled", 0), HALF)
    assert (standing.state, standing.filled) == (S.CANCELLED, 40)
    assert standing.oddities == {Oddity.LATE_FILL}


def test_a_whole_fill_after_the_cancel_fills() -> None:
    standing = stands(status("Cancelled", 0), HALF, REST)
    assert standing.state is S.FILLED
    assert Oddity.LATE_FILL in standing.oddities


def test_the_fill_that_overtook_the_cancel_is_nothing_odd() -> None:
    standing = stands(status("PendingCancel"), HALF, REST, after=(What.SENT, What.CANCEL_ASKED))
    assert (standing.state, standing.oddities) == (S.FILLED, frozenset())


@pytest.mark.parametrize("facts", [(status("Inactive"),), (status("Inactive"), status("Submitted"))])
def test_inactive_without_a_refusal_is_unknown_until_the_books_tell(facts: tuple[Report, ...]) -> None:
    assert stands(*facts).state is S.UNKNOWN
    assert stands(*facts, after=(What.SENT, What.FOUND)).state is S.WORKING
    assert stands(*facts, after=(What.SENT, What.ABSENT)).state is S.REJECTED
    assert stands(*facts, completed("Cancelled")).state.is_final


def test_completed_as_inactive_ends_an_order_only_with_a_reason() -> None:
    """It may be held back, and fill later (ib_insync issue 363)."""
    bare = completed("Inactive")
    assert stands(bare).state is S.UNKNOWN
    assert stands(bare, after=(What.SENT, What.FOUND)).state is S.WORKING
    assert stands(bare, after=(What.SENT, What.ABSENT)).state is S.REJECTED
    assert stands(bare, after=(What.SENT, What.CANCEL_ASKED)).state is S.UNKNOWN
    assert stands(bare, after=(What.SENT, What.CANCEL_ASKED, What.EXPIRED)).state is S.CANCELLED
    assert stands(bare, status("Cancelled"), after=(What.SENT, What.CANCEL_ASKED)).state is S.CANCELLED
    said = replace(bare, told="Order rejected - reason: no margin")
    for facts in ((said,), (bare, told(201))):
        assert stands(*facts).state is S.REJECTED
        assert stands(*facts, after=(What.SENT, What.FOUND)).state is S.REJECTED


def test_refused_and_yet_working_is_unknown_and_seen() -> None:
    standing = stands(status("Inactive"), told(201), status("Submitted"))
    assert standing.state is S.UNKNOWN
    assert Oddity.REVIVED in standing.oddities


def test_an_unknown_order_is_known_again_by_the_books_or_its_end() -> None:
    assert stands(echo(), after=(What.SENT, What.UNKNOWN)).state is S.UNKNOWN
    assert stands(echo(), after=(What.SENT, What.UNKNOWN, What.FOUND)).state is S.WORKING
    assert stands(after=(What.UNKNOWN, What.SENT)).state is S.SENT  # sent again under the same id
    assert stands(HALF, REST, after=(What.SENT, What.UNKNOWN)).state is S.FILLED


def test_what_was_not_sent_and_lives_all_the_same_is_alive_and_seen() -> None:  # late booking: row O8
    standing = stands(echo(), after=(What.NOT_SENT,))
    assert (standing.state, standing.oddities) == (S.WORKING, {Oddity.REVIVED})
    assert stands(HALF, after=(What.NOT_SENT,)).state is S.PARTLY_FILLED


# ---------------------------------------------------------------- whose facts: orderRef, permId, never the id alone
def test_a_fill_under_our_id_and_another_ref_is_not_ours() -> None:  # nautilus 4247; ids rolled back: row C6
    standing = stands(echo(), replace(HALF, ref="someone else", perm_id=77))
    assert (standing.filled, standing.oddities) == (0, {Oddity.ID_REUSED})


def test_a_status_of_another_perm_id_under_our_id_is_not_ours() -> None:
    standing = stands(echo(), status("Cancelled", perm_id=77))
    assert (standing.state, standing.oddities) == (S.WORKING, {Oddity.ID_REUSED})


def test_a_nameless_fill_is_ours_by_perm_id_only() -> None:
    assert stands(echo(), replace(HALF, ref="", order_id=0, client_id=0)).filled == 40
    assert stands(replace(HALF, ref="")).filled == 0


def test_a_status_of_another_client_is_not_ours() -> None:
    assert stands(status("Cancelled", client_id=8)).state is S.SENT


def test_one_modify_that_became_two_orders_is_seen() -> None:  # row O9
    standing = stands(echo(), echo(perm_id=77))
    assert (standing.oddities, standing.perm_ids) == ({Oddity.TWO_ORDERS}, (77, PERM_ID))


@pytest.mark.parametrize(
    ("fact", "oddity"),
    [
        (replace(HALF, con_id=1), Oddity.WRONG_CONTRACT),
        (replace(HALF, account="DU7654321"), Oddity.WRONG_ACCOUNT),
    ],
)
def test_a_fill_elsewhere_under_our_ref_is_seen_and_fills_nothing(fact: Report, oddity: Oddity) -> None:
    standing = stands(fact)
    assert standing.filled == 0
    assert oddity in standing.oddities
    assert len(standing.fills) == 1  # the book holds it where it is


def test_further_contradictions_are_seen() -> None:
    assert Oddity.OVERFILLED in stands(HALF, REST, execution(3, 1, 101)).oddities
    assert Oddity.WRONG_SIDE in stands(replace(HALF, quantity=Decimal(-40))).oddities
    assert Oddity.STRANGE_STATUS in stands(status("Thinking")).oddities
    assert stands(status("Thinking")).state is S.WORKING
    assert Oddity.LIQUIDATION in stands(replace(HALF, liquidation=True)).oddities
    assert stands(HALF, status("Filled", 40)).oddities == {Oddity.FILLED_SHORT}


# ---------------------------------------------------------------- a function of the set
POOL: tuple[Report, ...] = (
    echo("PreSubmitted"), echo(), echo("Filled"), echo(perm_id=77), replace(echo(), ref="hand made"),
    status("PendingSubmit", perm_id=0), status("Submitted"), status("Submitted", 40), status("PendingCancel"),
    status("Cancelled"), status("Cancelled", 40), status("Filled", 100), status("Inactive"),
    status("Cancelled", perm_id=77), HALF, REST, corrected(HALF, 2, quantity=Decimal(30)),
    corrected(HALF, 3, price=499.5), corrected(REST, 2, quantity=Decimal(0)), replace(HALF, ref=""),
    replace(HALF, price=498.0), replace(REST, con_id=1), replace(REST, ref="", liquidation=True), commission(HALF),
    commission(HALF, 2.0), commission(REST), commission(corrected(HALF, 2), 0.5), told(201), told(202), told(399),
    told(10349), completed("Filled", 100), completed("Cancelled", 40), replace(completed("Inactive"), ref=""),
)  # fmt: skip
DONE = st.lists(st.sampled_from(list(What)), max_size=4)


def as_it_came(trace: Sequence[Report], done: Sequence[What]) -> OrderStanding:
    """Return the standing of the order after each of these came by itself, in this order."""
    standings = Standings(Ledger("macd-spy", TICKET.account, "hash", intents=(INTENT,)))
    for mark in marks(*done):
        standings.add_mark(mark)
    for report in trace:
        standings.add_reports([report])
    return standings[REF]


@given(facts=st.lists(st.sampled_from(POOL), max_size=12), done=DONE, seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_order_and_repetition_of_facts_change_nothing(
    facts: list[Report], done: list[What], seed: int
) -> None:
    mixed = random.Random(seed).choices(facts, k=len(facts)) + facts if facts else []
    random.Random(seed + 1).shuffle(mixed)
    wanted = order_standing(INTENT, marks(*done), frozenset(facts))
    assert order_standing(INTENT, marks(*done), set(mixed)) == wanted
    assert as_it_came(facts, done) == as_it_came(mixed, done) == wanted


def test_traces_of_documents_have_one_state_each(full: bool) -> None:
    """5,000 traces, or with --full the 100,000 of docs/reliability.md, each in its own order and in a mixed one."""
    random_ = random.Random(6)
    for _ in range(100_000 if full else 5_000):
        facts = random_.sample(POOL, random_.randint(1, 10))
        done = random_.choices(list(What), k=random_.randint(0, 3))
        mixed = facts + random_.choices(facts, k=3)
        random_.shuffle(mixed)
        ordered = marks(*done)
        one = order_standing(INTENT, ordered, frozenset(facts))
        assert order_standing(INTENT, ordered, set(mixed)) == one, facts


@given(facts=st.lists(st.sampled_from(POOL), max_size=12), done=DONE)
def test_final_means_that_nothing_is_owed(facts: list[Report], done: list[What]) -> None:
    standing = order_standing(INTENT, marks(*done), frozenset(facts))
    assert not (standing.is_final and standing.owed > 0)
    assert standing.state is not S.NOT_SENT or standing.filled == 0


@given(facts=st.lists(st.sampled_from(POOL), max_size=12), code=st.sampled_from(CODES), done=DONE)
def test_a_code_never_ends_an_order_that_no_status_ended(
    facts: list[Report], code: int, done: list[What]
) -> None:
    if {What.ABSENT, What.NOT_SENT} & set(done):
        return  # then the books have spoken
    before = order_standing(INTENT, marks(*done), frozenset(facts))
    words = {getattr(f, "status", "") for f in facts}
    after = order_standing(INTENT, marks(*done), frozenset([*facts, told(code)]))
    assert before.is_final or not after.is_final or "Inactive" in words


# ---------------------------------------------------------------- many orders at once
def test_standings_are_those_of_the_whole_ledger() -> None:
    other = Intent(3, replace(TICKET, ref="q1:macd-spy:2"), 6, CLIENT_ID, at=20)
    its = execution(9, 100, 100, ref=other.ref, order_id=6, perm_id=9002)
    reports = [commission(its), its, echo(), HALF, commission(HALF), told(399)]
    standings = Standings(Ledger("macd-spy", TICKET.account, "hash", intents=(INTENT,)))
    standings.add_mark(Mark(2, REF, What.SENT, 11))
    standings.add_intent(other)
    changed = standings.add_reports(reports)
    facts = tuple(Fact(n, 0, r) for n, r in enumerate(reports, start=4))
    ledger = Ledger(
        "macd-spy",
        TICKET.account,
        "hash",
        intents=(INTENT, other),
        marks=(Mark(2, REF, What.SENT, 11),),
        facts=facts,
    )
    assert list(standings) == list(Standings(ledger)) == list(changed)
    assert [s.ref for s in standings.open] == [REF]
    assert standings.add_reports(reports) == ()
