"""Reconciliation: what the broker's books say against what the journal says. Pure.

Invariants (live-faults §4a), which hold whatever the snapshots say:
1. nothing is concluded from one snapshot, from two that differ, or from two of different connections;
2. an order is sent again only under its own id, only if it makes a position smaller or protects one, and never once
   the broker has shown it; an entry is never sent again; where the broker is proven to hold less than ours, what it
   holds is what there is to make smaller or to protect;
3. an order is called NOT_SENT only when it was asked to be cancelled, two later snapshots lack it, and the broker
   denies its id (10147) or gives that id out as its next;
4. what cannot be explained is waited for, and never guessed; waiting ends in a halt by who calls this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from quant.core.orders import Completed, Echo, Execution, Snapshot
from quant.oms.gate import Purpose
from quant.oms.reconcile.order_books import compare_order, open_echo
from quant.oms.reconcile.outcome import (
    Action,
    Books,
    Cancel,
    HaltAll,
    HaltInstrument,
    Hold,
    Item,
    Notice,
    Noticed,
    Outcome,
    Policy,
)
from quant.oms.reconcile.position_books import compare_position, difference, held_of
from quant.oms.state import Oddity

# What halts when it is seen; the others are told and go on. Each halts once: a person who clears it has seen it.
HALTING: Final = frozenset(Oddity) - {Oddity.CORRECTED, Oddity.BUSTED, Oddity.STRANGE_STATUS}
PREFIX: Final = "q1:"


def reconcile(books: Books, first: Snapshot, second: Snapshot, policy: Policy) -> Outcome:
    """Return what two complete snapshots, the later one last, say about our books.

    The facts of both are taken to be in the books already, and each to be in them once.
    """
    odd = odd_halts(books)
    differ = disagreement(books.account, first, second, policy)
    if differ:
        return Outcome((differ,), (), odd, steady=False)
    held = {con_id: held_of(con_id, books, second) for con_id in books.con_ids}
    found = _gather([*_strangers(books, second), *_foreign_orders(books, second)])
    unsure: set[int] = set()
    # Of an order that is over, and that the broker does not have open, there is nothing to tell.
    for order in books.orders.open_or_named(*_open_names(first)):
        here = held[order.intent.ticket.con_id]
        told = _gather(compare_order(order, books, first, second, policy, here))
        if told.waiting or (any(isinstance(a, Cancel) for a in told.actions) and not here.proven):
            unsure.add(order.intent.ticket.con_id)
        found.add(told)
    astray, fleeting = [], []
    for con_id, here in held.items():
        if here.fleeting:
            fleeting.append((con_id, f"{difference(here, books)}, after fills that came while it was read"))
            continue
        told = _gather(compare_position(here, con_id in unsure, books, policy))
        if here.proven and not any(isinstance(a, Hold) for a in told.actions):
            astray.append((con_id, here.rest))
        found.add(told)
    actions = (*odd, *dict.fromkeys(found.actions))
    return Outcome(
        tuple(found.waiting), tuple(found.notices), actions, astray=tuple(astray), fleeting=tuple(fleeting)
    )


def doubts(books: Books, snapshot: Snapshot, policy: Policy) -> Outcome:
    """Return what one snapshot says; it can raise doubts, but can neither settle one nor conclude anything.

    A person is not told of a position that nobody's trades explain before two of them have it.
    """
    outcome = reconcile(books, snapshot, snapshot, replace(policy, gap_s=-1.0))
    known = odd_halts(books)  # these follow from facts, whatever a snapshot says
    stops = tuple(a for a in outcome.actions if isinstance(a, HaltInstrument) or a in known)
    waiting = (a.why for a in outcome.actions if a not in stops)
    halted = {a.con_id for a in stops if isinstance(a, HaltInstrument)}
    notices = (n for n in outcome.notices if n.what is not Noticed.POSITION or n.con_id in halted)
    return replace(outcome, waiting=(*outcome.waiting, *waiting), notices=tuple(notices), actions=stops)


# ---------------------------------------------------------------- two snapshots
def disagreement(account: str, first: Snapshot, second: Snapshot, policy: Policy) -> str:
    """Return why two snapshots prove nothing together, "" if they agree."""
    if first.epoch != second.epoch:
        return "the connection was lost between two snapshots"
    if second.asked_at - first.asked_at < policy.gap or (
        policy.gap >= 0 and second.asked_at < first.answered_at
    ):
        return f"two snapshots must lie {policy.gap_s:g} s apart"
    before, after = contents(first, account), contents(second, account)
    for what, one, other in zip(
        ("orders", "executions", "completed orders", "positions"), before, after, strict=True
    ):
        if one != other:
            return f"two snapshots differ in their {what}"
    return ""


def contents(snapshot: Snapshot, account: str) -> tuple[frozenset[object], ...]:
    """Return what must be the same in two snapshots that agree: orders, executions, completed orders, positions.

    Without words like PreSubmitted, which come and go of themselves, and without commissions, which come late.
    """
    return (
        frozenset((e.client_id, e.order_id, e.perm_id, e.ref) for e in snapshot.echoes if _ours(e, account)),
        frozenset(e.exec_id for e in snapshot.executions if e.account == account),
        frozenset(c.perm_id for c in snapshot.completed if c.account == account),
        frozenset(
            (p.con_id, p.quantity) for p in snapshot.positions if p.account == account and p.quantity != 0
        ),
    )


def _ours(echo: Echo, account: str) -> bool:
    return echo.account == account and open_echo(echo)


# ---------------------------------------------------------------- what was found
@dataclass(slots=True)
class _Found:
    waiting: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    def add(self, other: _Found) -> None:
        self.waiting += other.waiting
        self.notices += other.notices
        self.actions += other.actions


def _gather(items: Iterable[Item]) -> _Found:
    found = _Found()
    for item in items:
        if isinstance(item, str):
            found.waiting.append(item)
        elif isinstance(item, Notice):
            found.notices.append(item)
        else:
            found.actions.append(item)
    return found


def _open_names(snapshot: Snapshot) -> tuple[set[str], set[int]]:
    """Return by which names the broker has orders open: refs, and permIds of those without one."""
    echoes = [echo for echo in snapshot.echoes if open_echo(echo)]
    return {echo.ref for echo in echoes}, {echo.perm_id for echo in echoes if echo.ref == ""}


def odd_text(ref: str, oddity: Oddity) -> str:
    """Return how an oddity is told; a halt for it bears the same words."""
    return f"order {ref}: {oddity}"


def odd_halts(books: Books) -> tuple[Action, ...]:
    """Return what is to be done about oddities of our orders for which nobody was halted yet."""
    actions: list[Action] = []
    for order in books.orders.odd:
        for oddity in sorted(order.standing.oddities & HALTING):
            text = odd_text(order.ref, oddity)
            if text in books.halted_for:
                continue
            if oddity is Oddity.REVIVED and order.purpose is Purpose.ENTRY and not order.standing.is_final:
                actions.append(Cancel(order.ref, text))
            actions.append(HaltAll(text))
    return tuple(actions)


def _strangers(books: Books, snapshot: Snapshot) -> Iterator[Item]:
    """Find orders under our deployment's name that the journal does not have: it is not the journal that made them."""
    prefix = f"{PREFIX}{books.deployment}:"
    named: tuple[Echo | Execution | Completed, ...] = (
        *snapshot.echoes,
        *snapshot.executions,
        *snapshot.completed,
    )
    refs = {item.ref for item in named if item.ref.startswith(prefix)}
    for ref in sorted(ref for ref in refs if books.orders.get(ref) is None):
        text = f"the broker knows an order {ref} of this deployment, and the journal does not"
        yield Notice(Noticed.STRANGER, text, ref)
        mend = "put back the journal that made it, or give the deployment another name"
        if f"{text}; {mend}" not in books.halted_for:
            yield HaltAll(f"{text}; {mend}")


def _foreign_orders(books: Books, snapshot: Snapshot) -> Iterator[Item]:
    con_ids = books.con_ids
    for echo in snapshot.echoes:
        foreign = not books.orders.named(echo.ref, echo.perm_id)
        if not (foreign and _ours(echo, books.account) and echo.con_id in con_ids):
            continue
        by = f"client {echo.client_id}" + (f", {echo.ref}" if echo.ref else ", no reference")
        text = f"{echo.symbol}: an order for {echo.quantity} that is not ours ({by}) works at the broker"
        yield Notice(Noticed.FOREIGN_ORDER, text, echo.ref, echo.con_id)
        yield HaltInstrument(echo.con_id, text)
