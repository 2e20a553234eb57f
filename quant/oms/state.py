"""How an order stands: a function of its intent, our marks and the set of the broker's facts.

Facts are a set: they may come late, twice and in any order, and no order of arrival can give another state. Fills come
from executions alone. Neither an error code nor our own impatience ends an order: what ends one is the broker's word
(a status, its list of completed orders, executions of the whole quantity) or a mark that reconciliation made from
complete snapshots. Source of the rules: live-faults §1.2, §4b.5-6; of the codes: tws-protocol §4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from typing import Final

from quant.core.orders import Commission, Completed, Echo, Execution, Report, Status, Told
from quant.oms.fills import Fill, join_fills
from quant.oms.ledger import SMALLER, Intent, Mark, What, moves


class OrderState(StrEnum):
    """Where an order stands."""

    DECIDED = "decided"  # an intent, and no sign that it was sent; after a restart it may have been
    SENT = "sent"  # no answer yet that says it lives
    WORKING = "working"
    PARTLY_FILLED = "partly filled"
    CANCELLING = "cancelling"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"  # only the broker's books can tell

    @property
    def is_final(self) -> bool:
        """True where nothing more is expected."""
        return self in FINAL


FINAL: Final = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.NOT_SENT})

# Codes with which TWS turns an order down, or a change to one that lives on: alone they end nothing.
REFUSALS: Final = frozenset(
    {
        109, 110, 163, 382, 383,  # price off the tick or too far, too large: the user's precautions
        200, 201, 203, 321, 10268,  # contract, rejected, not allowed, not valid, field not supported
    }
)  # fmt: skip
CANCEL_CODE: Final = 202  # IB's normal answer to a cancel; can follow a partial fill
ENDING: Final = REFUSALS | {CANCEL_CODE}

WORKING_WORDS: Final = frozenset({"PreSubmitted", "Submitted"})
CANCELLED_WORDS: Final = frozenset({"Cancelled", "ApiCancelled"})
_CANCELLING: Final = CANCELLED_WORDS | {"PendingCancel"}
_WORKING: Final = WORKING_WORDS | {"Filled", "Inactive"}
_WISHES: Final = (What.CANCEL_ASKED, What.MODIFIED)  # nothing was concluded by them
KNOWN_WORDS: Final = frozenset(
    {
        "",
        "ApiPending",
        "PendingSubmit",
        "PendingCancel",
        "Filled",
        "Inactive",
        *WORKING_WORDS,
        *CANCELLED_WORDS,
    }
)


class Oddity(StrEnum):
    """What a person should see; reconciliation decides which of them halt."""

    LATE_FILL = "filled by more than its final status told"
    OVERFILLED = "filled by more than was ordered"
    FILLED_SHORT = "the broker calls it filled with less than was ordered"
    WRONG_SIDE = "a fill on the other side"
    WRONG_CONTRACT = "a report under its reference names another instrument"
    WRONG_ACCOUNT = "a report under its reference names another account"
    TWO_ORDERS = "several permIds under one reference"
    ID_REUSED = "its order id belongs to another order too"
    CORRECTED = "a fill was corrected"
    BUSTED = "a fill was taken back"
    CLASH = "one execution told in two ways"
    REVIVED = "working after it was refused, proven not sent or proven over"
    STRANGE_STATUS = "a status that IB does not document"
    LIQUIDATION = "IB closed the position itself"


@dataclass(frozen=True, slots=True)
class OrderStanding:
    """Everything known of an order.

    filled, remaining: signed; average: price of what is filled, None where nothing is. owed: unsigned, what the broker
    says is filled beyond the executions seen: while it is not 0 the order is not final. uncharged: fills without
    commission. perm_ids: sorted; one, or none yet. reason: the broker's words, or ours, for an end or a doubt.
    """

    ref: str
    state: OrderState
    filled: Decimal
    remaining: Decimal
    average: float | None
    owed: Decimal
    fills: tuple[Fill, ...]
    uncharged: int
    perm_ids: tuple[int, ...]
    told: tuple[Told, ...]
    reason: str
    oddities: frozenset[Oddity]

    @property
    def is_final(self) -> bool:
        """True where nothing more is expected."""
        return self.state.is_final


_ZERO: Final = Decimal(0)
_SAID: Final = attrgetter(*(field.name for field in fields(OrderStanding)))


def same(one: OrderStanding, other: OrderStanding) -> bool:
    """Return whether two standings say the same; NaN equals itself here."""
    return one is other or all(
        a is b or a == b or repr(a) == repr(b) for a, b in zip(_SAID(one), _SAID(other), strict=True)
    )


@dataclass(slots=True)
class _Own:
    """An order's facts, sorted by kind. words: of echoes and statuses; ends: of its list of completed orders.

    amounts: status and filled quantity, wherever the broker told both.
    """

    perm_ids: set[int]
    executions: list[Execution] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    words: set[str] = field(default_factory=set)
    ends: set[str] = field(default_factory=set)
    amounts: list[tuple[str, Decimal]] = field(default_factory=list)
    codes: set[int] = field(default_factory=set)
    oddities: set[Oddity] = field(default_factory=set)


def order_standing(intent: Intent, marks: Sequence[Mark], facts: AbstractSet[Report]) -> OrderStanding:
    """Return how an order stands.

    marks: in the order of the journal; those of other orders are ignored, as are the facts of other orders.
    The same set of facts gives the same standing, in whatever order or number it came.
    """
    own, ticket = _own(intent, facts), intent.ticket
    fills: tuple[Fill, ...] = ()
    counted: list[Fill] = []
    filled = shown = _ZERO
    if own.executions:  # of most orders nothing is filled when they change
        fills = join_fills(own.executions, [f for f in facts if isinstance(f, Commission)])
        counted = [f for f in fills if f.con_id == ticket.con_id and f.account == ticket.account]
        filled = sum((f.quantity for f in counted), _ZERO)
        shown = sum((f.shown for f in counted), _ZERO)
        own.oddities |= _oddities_of_fills(intent, own, fills, filled, shown)
    owed = _owed(intent, own, counted, shown)
    marks = [m for m in marks if m.ref == intent.ref]
    what = [m.what for m in marks]
    state = _state(intent, own, what, _verdict(marks), shown, owed)
    own.oddities |= _oddities_of_end(intent, own, marks, what, state, shown)
    return OrderStanding(
        ref=intent.ref, state=state, filled=filled, remaining=ticket.quantity - filled,
        average=_average(counted) if counted else None, owed=owed, fills=fills,
        uncharged=sum(f.commission is None for f in fills), perm_ids=tuple(sorted(own.perm_ids)),
        told=tuple(sorted(own.told, key=lambda t: (t.at, t.code, t.text))) if own.told else (),
        reason=_reason(own, marks, state), oddities=frozenset(own.oddities),
    )  # fmt: skip


# ---------------------------------------------------------------- which facts are the order's
def _own(intent: Intent, facts: Iterable[Report]) -> _Own:
    """Return the facts that are the order's: by orderRef, else by permId; by order id only where neither is told."""
    ref, perms = intent.ref, set[int]()
    named: list[Echo | Execution | Completed] = []
    others: list[Status | Told] = []
    for report in facts:
        if isinstance(report, Status | Told):
            others.append(report)
        elif not isinstance(report, Commission):
            named.append(report)
            if report.ref == ref and report.perm_id != 0:
                perms.add(report.perm_id)
    own = _Own(set(perms))
    for fact in named:
        if fact.ref == ref or (fact.ref == "" and fact.perm_id in perms):
            _own_named(intent, own, fact)
        elif not isinstance(fact, Completed) and _same_id(intent, fact):
            own.oddities.add(Oddity.ID_REUSED)
    for other in others:
        if isinstance(other, Status):
            _own_status(intent, own, other, perms)
        elif other.order_id == intent.order_id:
            own.told.append(other)
            own.codes.add(other.code)
    if len(own.perm_ids) > 1:
        own.oddities.add(Oddity.TWO_ORDERS)
    return own


def _own_named(intent: Intent, own: _Own, fact: Echo | Execution | Completed) -> None:
    """Take a fact that bears the order's name."""
    if fact.account != intent.ticket.account:
        own.oddities.add(Oddity.WRONG_ACCOUNT)
    if fact.con_id != intent.ticket.con_id:
        own.oddities.add(Oddity.WRONG_CONTRACT)
    if isinstance(fact, Echo):
        own.words.add(fact.status)
    elif isinstance(fact, Execution):
        own.executions.append(fact)
    else:
        own.completed.append(fact)
        own.ends.add(fact.status)
        own.amounts.append((fact.status, fact.filled))


def _own_status(intent: Intent, own: _Own, status: Status, perms: set[int]) -> None:
    """Take a status, which bears no orderRef; one of another permId under our id is another order's (nautilus 4247)."""
    if status.perm_id in perms or (_same_id(intent, status) and (status.perm_id == 0 or not perms)):
        own.words.add(status.status)
        own.amounts.append((status.status, status.filled))
        if status.perm_id != 0:
            own.perm_ids.add(status.perm_id)
    elif _same_id(intent, status):
        own.oddities.add(Oddity.ID_REUSED)


def _same_id(intent: Intent, fact: Echo | Execution | Status) -> bool:
    return (fact.client_id, fact.order_id) == (intent.client_id, intent.order_id)


# ---------------------------------------------------------------- what they come to
def _verdict(marks: list[Mark]) -> What | None:
    """Return what was last concluded of an order, or that it was sent since.

    That the books showed it working holds though other prices are sent then: that it was Inactive once is no news.
    """
    said = [m for m in marks if m.what not in _WISHES]
    known = next((m.what for m in reversed(said) if not moves(m)), None)
    if known is What.FOUND:
        return known
    return said[-1].what if said else None


def _state(
    intent: Intent, own: _Own, what: list[What], verdict: What | None, shown: Decimal, owed: Decimal
) -> OrderState:
    words = own.words | own.ends
    if owed == 0:
        if shown >= abs(intent.ticket.quantity) or ("Filled" in words and shown > 0):
            return OrderState.FILLED
        # Refused, or held back: it may have worked before or since, and then nothing but the books can tell (row O6).
        worked = words & {"Submitted", "PendingCancel"} or What.MODIFIED in what
        refused = bool(own.codes & REFUSALS) and not worked and shown == 0
        if words & CANCELLED_WORDS or verdict is What.EXPIRED or _closed(own, refused):
            return _ended(own, what, shown)
        if verdict is What.ABSENT and (own.codes & ENDING or "Inactive" in words):
            return _ended(own, what, shown)
        if verdict is not What.FOUND and "Inactive" in words:
            return OrderState.REJECTED if refused else OrderState.UNKNOWN
    if verdict in (What.UNKNOWN, What.ABSENT):
        return OrderState.UNKNOWN
    if verdict is What.NOT_SENT and not _acknowledged(own, shown):
        return OrderState.REJECTED if own.codes & REFUSALS else OrderState.NOT_SENT
    return _alive(own, what, words, shown)


def _closed(own: _Own, refused: bool) -> bool:
    """Return whether the broker's list of completed orders ends it.

    Inactive alone does not: it may be held back, and work again (row O6). Only with a reason is it a refusal.
    """
    return any(end.status != "Inactive" or end.told or refused for end in own.completed)


def _alive(own: _Own, what: list[What], words: set[str], shown: Decimal) -> OrderState:
    # A final word with fills owed is an order that only waits for its executions.
    if What.CANCEL_ASKED in what or words & _CANCELLING:
        return OrderState.CANCELLING
    if shown > 0:
        return OrderState.PARTLY_FILLED
    if words & _WORKING or words - KNOWN_WORDS or What.FOUND in what:
        return OrderState.WORKING
    return (
        OrderState.SENT if What.SENT in what or _acknowledged(own, shown) or own.told else OrderState.DECIDED
    )


def _acknowledged(own: _Own, shown: Decimal) -> bool:
    return bool(own.words or own.ends) or shown > 0


def _ended(own: _Own, what: list[What], shown: Decimal) -> OrderState:
    """Return which end of an order that is over and not filled."""
    if shown > 0 or What.CANCEL_ASKED in what or CANCEL_CODE in own.codes:
        return OrderState.CANCELLED
    refused = bool(own.codes & REFUSALS) or "Inactive" in own.words | own.ends
    return OrderState.REJECTED if refused else OrderState.CANCELLED


def _owed(intent: Intent, own: _Own, counted: list[Fill], shown: Decimal) -> Decimal:
    """Return what the broker says is filled beyond the executions seen."""
    if any(not f.first for f in counted):  # a correction of what was never seen: amounts cannot be compared
        return _ZERO
    claimed = [filled for _, filled in own.amounts]
    claimed += [e.cumulative for e in own.executions if e.con_id == intent.ticket.con_id]
    ends = [filled for word, filled in own.amounts if word == "Filled"]
    if "Filled" in own.words | own.ends and not any(ends):
        claimed.append(abs(intent.ticket.quantity))  # Filled without an amount: an openOrder has none
    return max(max(claimed) - shown, _ZERO) if claimed else _ZERO


def _average(fills: list[Fill]) -> float | None:
    quantity = sum((abs(f.quantity) for f in fills), Decimal(0))
    if quantity == 0:
        return None
    return float(sum((abs(f.quantity) * Decimal(repr(f.price)) for f in fills), Decimal(0)) / quantity)


def _reason(own: _Own, marks: list[Mark], state: OrderState) -> str:
    """Return why an order ended or is in doubt: the broker's words before ours."""
    if state in (OrderState.REJECTED, OrderState.CANCELLED):
        words = sorted(t.text for t in own.told if t.code in ENDING)
        words += sorted(c.told for c in own.completed if c.told)
        if words:
            return words[0]
    if state.is_final or state is OrderState.UNKNOWN:
        return next((m.why for m in reversed(marks) if m.why and not moves(m)), "")
    return ""


# ---------------------------------------------------------------- what a person should see
def _oddities_of_fills(
    intent: Intent, own: _Own, fills: tuple[Fill, ...], filled: Decimal, shown: Decimal
) -> set[Oddity]:
    side = 1 if intent.ticket.quantity > 0 else -1
    ends = [amount for word, amount in own.amounts if word in CANCELLED_WORDS]
    seen = {
        Oddity.LATE_FILL: bool(ends) and shown > max(ends),
        Oddity.OVERFILLED: filled * side > abs(intent.ticket.quantity),
        Oddity.WRONG_SIDE: any(f.quantity * side < 0 for f in fills),
        Oddity.CORRECTED: any(f.revision > 1 and f.quantity != 0 for f in fills),
        Oddity.BUSTED: any(f.quantity == 0 for f in fills),
        Oddity.CLASH: any(f.clashes for f in fills),
        Oddity.LIQUIDATION: any(f.liquidation for f in fills),
    }
    return {oddity for oddity, holds in seen.items() if holds}


def _oddities_of_end(
    intent: Intent, own: _Own, marks: list[Mark], what: list[What], state: OrderState, shown: Decimal
) -> set[Oddity]:
    """Return what is odd without a fill, too."""
    words = own.words
    found = {Oddity.STRANGE_STATUS} if words - KNOWN_WORDS else set()
    changed = What.MODIFIED in what  # it worked, and a change of it may have been refused
    refused = "Inactive" in words and bool(own.codes & REFUSALS) and not changed
    short = state is OrderState.FILLED and shown < abs(intent.ticket.quantity)
    if short and not any(m.why.startswith(SMALLER) for m in marks):  # else we asked for less later
        found.add(Oddity.FILLED_SHORT)
    lives = What.NOT_SENT in what and _acknowledged(own, shown)
    filled = What.EXPIRED in what and state is OrderState.FILLED
    if lives or filled or (refused and "Submitted" in words):
        found.add(Oddity.REVIVED)
    return found
