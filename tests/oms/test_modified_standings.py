"""How an order stands that was modified: from all of its facts, whatever was left out as it adds nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moved import agree, held, move
from order_broker import SECOND
from order_world import World

from quant.core.orders import Report
from quant.oms.desk.standings import Standings
from quant.oms.journal.reading import as_of
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


def test_ledger_of_a_moment_has_the_price_of_then(world: World) -> None:
    ref, at = held(world), world.now
    move(world, ref, 98.5)
    world.run(5)
    move(world, ref, 99.0)
    ledger = world.journal.load()
    moments = (at, at + 1, at + 5 * SECOND, at + 5 * SECOND + 1)
    then = [Standings(as_of(ledger, moment)).intent(ref).ticket.stop for moment in moments]
    assert then == [98.0, 98.5, 98.5, 99.0]


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


@pytest.mark.parametrize("end", [status("Cancelled"), status("Inactive"), completed("Cancelled")])
@pytest.mark.parametrize("why", ["moved", "moved; the link broke"])
def test_that_it_was_moved_is_no_reason_of_its_end(end: Report, why: str) -> None:
    change = history([What.MODIFIED, What.SENT])
    change[-1] = replace(change[-1], why=why)
    standing = order_standing(INTENT, [Mark(2, REF, What.SENT, 2), *change], frozenset({echo(), end}))
    assert standing.state in (OrderState.CANCELLED, OrderState.UNKNOWN)
    assert standing.reason == ""
    asked = Mark(9, REF, What.CANCEL_ASKED, 9, "enough")
    standing = order_standing(INTENT, [asked, *change], frozenset({echo(), end}))
    assert standing.reason == "enough"


def test_that_it_was_inactive_once_is_no_news_at_the_next_change() -> None:
    """The books have shown it working since. A send of the order itself, or what they say later, counts as ever."""
    facts = frozenset({echo("PreSubmitted"), told(201), status("Inactive")})
    moved = history([What.SENT, What.MODIFIED, MOVED, What.UNKNOWN, What.FOUND, What.MODIFIED, MOVED])
    assert order_standing(INTENT, moved, facts).state is OrderState.WORKING
    for after in (What.SENT, What.UNKNOWN):
        assert order_standing(INTENT, [*moved, *history([after])], facts).state is OrderState.UNKNOWN
    absent = order_standing(INTENT, [*moved, *history([What.ABSENT])], facts)
    assert absent.state is OrderState.REJECTED
    assert order_standing(INTENT, moved[:3], facts).state is OrderState.UNKNOWN  # as it first comes
