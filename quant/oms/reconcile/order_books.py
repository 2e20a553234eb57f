"""One of our orders against the broker's books: there as asked, there otherwise, gone, or never arrived. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from quant.core.orders import Echo, Snapshot, Ticket, TimeInForce
from quant.oms.gate import Purpose
from quant.oms.ledger import SMALLER, What
from quant.oms.limits import SECOND
from quant.oms.reconcile.exits import shares
from quant.oms.reconcile.outcome import (
    HELD_BACK,
    REPAIR,
    Books,
    Cancel,
    Conclude,
    HaltAll,
    Item,
    Notice,
    Noticed,
    Order,
    Policy,
    Repair,
    Resend,
)
from quant.oms.reconcile.position_books import Held
from quant.oms.risk import TRAILS, closes, common
from quant.oms.state import CANCELLED_WORDS, REFUSALS, OrderState

UNKNOWN_ID: Final = 10147  # "OrderId that needs to be cancelled is not found"
DUPLICATE_ID: Final = 103
PRICE_DIFFERENCE: Final = 1e-9  # relative; prices travel as text of 15 digits
SHORT_LIVED_S: Final = 60.0  # an IOC that two snapshots lack after that is over


def open_echo(echo: Echo) -> bool:
    """Return whether the broker still has the order open; its lists of open orders also hold some that are over."""
    return echo.status not in CANCELLED_WORDS and echo.status != "Filled"


def echo_of(order: Order, snapshot: Snapshot) -> Echo | None:
    """Return how the broker has the order open, None where it does not."""
    for echo in snapshot.echoes:
        same = echo.ref == order.ref or (echo.ref == "" and echo.perm_id in order.standing.perm_ids)
        if same and open_echo(echo):
            return echo
    return None


def compare_order(
    order: Order, books: Books, first: Snapshot, second: Snapshot, policy: Policy, held: Held
) -> Iterator[Item]:
    """Yield what two agreeing snapshots say of one of our orders. held: of its instrument."""
    if order.ref in books.queued:
        return  # this process knows that it has not sent it
    before, now = echo_of(order, first), echo_of(order, second)
    if order.standing.is_final:
        # Inactive is no contradiction: IB lists what it turned down among the open orders for a while.
        known = order.since < first.asked_at  # else it ended while they were read
        if (
            known
            and before is not None
            and now is not None
            and now.status not in ("Inactive", "PendingCancel")
        ):
            yield from _contradiction(order, now, books, first, policy, held)
    elif order.trail.last >= first.asked_at:
        if order.standing.state is OrderState.UNKNOWN:
            yield f"order {order.ref} was sent as the books were read, and how it stands is not certain"
        return  # sent since: nothing follows if they lack it
    elif before is not None and now is not None:
        yield from _there(order, before, now, books, first, policy, held)
    elif order.acknowledged:
        yield from _gone(order, books, first, second, policy)
    else:
        yield from _never_seen(order, books, first, second, policy, held)


def _notice(order: Order, what: Noticed, text: str) -> Notice:
    return Notice(what, text, order.ref, order.intent.ticket.con_id)


def _contradiction(
    order: Order, echo: Echo, books: Books, first: Snapshot, policy: Policy, held: Held
) -> Iterator[Item]:
    """Judge an order that is over by the broker's word and works all the same (row O6); nobody counts on it."""
    text = f"order {order.ref} was told {order.standing.state}, and two snapshots show it {echo.status}"
    yield _notice(order, Noticed.REVIVED, text)
    asked = order.trail.cancelled
    if not _alone_protects(order, books, held) and (
        asked is None or asked + policy.cancel_s * SECOND <= first.asked_at
    ):
        yield Cancel(order.ref, f"order {order.ref} was over, and works again")
    if text not in books.halted_for:
        yield HaltAll(text)


def _alone_protects(order: Order, books: Books, held: Held) -> bool:
    """Return whether it is the only order that protects what is held: then it stays, as in any halt."""
    con_id = order.intent.ticket.con_id
    if order.purpose is not Purpose.PROTECTION or not closes(order.standing.remaining, held.closable):
        return False
    return not any(
        other.purpose is Purpose.PROTECTION and other.intent.ticket.con_id == con_id
        for other in books.orders.open
    )


# ---------------------------------------------------------------- the broker has it
def _there(
    order: Order, before: Echo, echo: Echo, books: Books, first: Snapshot, policy: Policy, held: Held
) -> Iterator[Item]:
    if order.standing.state is OrderState.UNKNOWN:
        yield Conclude(order.ref, What.FOUND, f"open at the broker as {echo.status}")
    asked = order.trail.cancelled
    if asked is not None:
        if asked + policy.cancel_s * SECOND <= first.asked_at and echo.status != "PendingCancel":
            yield Cancel(order.ref, "its cancellation was asked for, and it is still open")
        if order.trail.held_back:
            yield _still(order)  # it can fill until it is over, and nothing is to fill beside it
        return
    if echo.status == "Inactive" and before.status == "Inactive":
        yield from _held_back(order, books)
        return
    orphan = _closes_nothing(order, books, held)
    if orphan:
        yield _notice(order, Noticed.ORPHAN, orphan)
        yield Cancel(order.ref, orphan)
        return
    yield from _compare_echo(order, echo, books, policy, held)


def _held_back(order: Order, books: Books) -> Iterator[Item]:
    """Judge an order that is Inactive though nobody refused it: it does nothing now, and may work again later.

    Whoever decided it can only send another once it has ended. In a halt nobody could, so what protects stays.
    """
    text = f"order {order.ref} is {HELD_BACK} by the broker, which has not refused it"
    if order.intent.client_id != books.client_id:
        yield f"{text}; client {order.intent.client_id} sent it, and only that one can cancel it; {_LOOK}"
        return
    stays = books.halted and order.purpose is Purpose.PROTECTION
    told = "in a halt nothing could take its place, so it stays" if stays else "it is cancelled"
    yield _notice(order, Noticed.HELD_BACK, f"{text}; {told}")
    if stays:
        return
    parent = _parent(order, books)
    if parent is not None and not parent.standing.is_final and parent.standing.filled == 0:
        # Without its exits the entry must not go on.
        yield Cancel(parent.ref, f"{text}, and it was to protect {parent.ref}")
    yield Cancel(order.ref, f"{HELD_BACK}, and nobody refused it")


def _still(order: Order) -> str:
    asked = "its cancellation was asked for, and the broker has not told that it is over"
    return f"order {order.ref} was {HELD_BACK}; {asked}; {_LOOK}"


def _closes_nothing(order: Order, books: Books, held: Held) -> str:
    """Return why an order that is to close could only open a position, "" if it closes one or waits for its entry."""
    ticket = order.intent.ticket
    protects = order.purpose is Purpose.PROTECTION
    if order.purpose is Purpose.ENTRY or not (protects or held.proven):
        return ""  # by our own count a reduction ends with what it closes
    parent = _parent(order, books)
    if parent is not None and not parent.standing.is_final:
        return ""
    closes_some = held.closable * ticket.quantity < 0
    if closes_some and not (held.proven and _share(order, books, held.closable) == 0):
        return ""
    there = f", by the broker's books {held.there - held.base}" if held.proven else ""
    does = "protects" if protects else "closes"
    left = " that newer exits leave" if closes_some else ""
    return f"order {order.ref} {does} nothing{left}: {held.own} {ticket.symbol} are held{there}"


def _parent(order: Order, books: Books) -> Order | None:
    return books.orders.get(order.intent.ticket.parent)


def _wanted(order: Order, echo: Echo, books: Books, held: Held) -> Decimal:
    """Return for how much an order should be at the broker: as asked, or less where more would open a position there.

    One that was made smaller stays so until both books say that more is held again.
    """
    asked, parent = order.intent.ticket.quantity, _parent(order, books)
    if order.purpose is Purpose.ENTRY or (parent is not None and not parent.standing.is_final):
        return asked
    filled, there = abs(order.standing.filled), abs(echo.quantity)
    most = filled + _share(order, books, held.closable)
    if held.proven and most < abs(asked):
        return most.copy_sign(asked)
    if there >= abs(asked) or echo.quantity * asked <= 0:
        return asked
    least = filled + _share(order, books, common(held.own, held.own + held.rest))
    return max(there, min(least, abs(asked))).copy_sign(asked)


def _share(order: Order, books: Books, held: Decimal) -> Decimal:
    """Return what of `held` an exit may still close, unsigned."""
    return shares(books.orders, order.intent.ticket.con_id, held, books.queued).get(order.ref, abs(held))


def _compare_echo(order: Order, echo: Echo, books: Books, policy: Policy, held: Held) -> Iterator[Item]:
    ticket = order.intent.ticket
    wanted = _wanted(order, echo, books, held)
    differences = echo_differences(replace(ticket, quantity=wanted), echo)
    if not differences:
        return
    text = f"order {order.ref}: " + ", ".join(differences.values())
    if wanted != ticket.quantity:
        there = f"the broker holds {held.there - held.base} of our {held.own}"
        yield _notice(order, Noticed.PROTECTION, f"{text}; {there}")
        yield Repair(order.ref, f"{SMALLER}: {text}; {there}", wanted)
        return
    # Of a limit too, before it is given up: most likely the broker has not taken what we wanted last.
    moved = order.trail.modified and differences.keys() <= {"limit", "stop"}
    if order.purpose is Purpose.PROTECTION or (moved and order.trail.repairs < policy.max_repairs):
        yield _notice(order, Noticed.PROTECTION, text)
        if order.trail.repairs < policy.max_repairs:
            yield Repair(order.ref, f"{REPAIR}: {text}")
        elif f"{text}; {_PRESETS}" not in books.halted_for:
            yield HaltAll(f"{text}; {_PRESETS}")
        return
    yield _notice(order, Noticed.ECHO, f"{text}; {_PRESETS}")
    if set(differences) != {"tif"}:  # a preset that shortens an entry's life does no harm
        yield Cancel(order.ref, text)


_LOOK: Final = "look it up in TWS, where a question may wait, say what became of it, and clear the halt"
_PRESETS: Final = "TWS may change orders by its presets: Global Configuration > Presets"


def echo_differences(ticket: Ticket, echo: Echo) -> dict[str, str]:
    """Return what the broker has otherwise than we asked, by name, each in words."""
    pairs: dict[str, tuple[object, object]] = {
        "account": (ticket.account, echo.account),
        "instrument": (ticket.con_id, echo.con_id),
        "quantity": (ticket.quantity, echo.quantity),
        "kind": (ticket.kind.value, echo.kind),
        "tif": (ticket.tif.value, echo.tif or ticket.tif.value),
        "oca": (bool(ticket.oca), bool(ticket.oca and echo.oca)),
    }
    found = {name: f"{name} is {b!s}, not {a!s}" for name, (a, b) in pairs.items() if a != b}
    for name in ("limit", "stop", "trail", "percent", "offset"):
        ours, theirs = getattr(ticket, name), getattr(echo, name)
        if ours is None or (name == "stop" and _has_trailed(ticket, echo)):
            continue
        if theirs is None or not math.isclose(ours, theirs, rel_tol=PRICE_DIFFERENCE):
            found[name] = f"{name} is {theirs}, not {ours}"
    return found


def _has_trailed(ticket: Ticket, echo: Echo) -> bool:
    """Return whether a stop has followed the price from where it started, which is what it is for."""
    if ticket.kind not in TRAILS or ticket.stop is None or echo.stop is None:
        return False
    return echo.stop < ticket.stop if ticket.quantity > 0 else echo.stop > ticket.stop


# ---------------------------------------------------------------- the broker had it
def _gone(order: Order, books: Books, first: Snapshot, second: Snapshot, policy: Policy) -> Iterator[Item]:
    """Judge an order that the broker had once and that is in neither list of open orders."""
    if order.standing.owed > 0:
        yield f"order {order.ref}: the broker told {order.standing.owed} filled that no execution shows"
        return
    if _inactive(order, second):
        yield from _ends_inactive(order, books, first)
        return
    if over(order, second.asked_at, policy):
        yield Conclude(
            order.ref, What.EXPIRED, "its time is over, and it is in no list of two complete snapshots"
        )
        return
    text = (
        f"order {order.ref} was at the broker, and two snapshots have it neither open nor completed; {_LOOK}"
    )
    if order.trail.concluded is not What.ABSENT:
        yield Conclude(order.ref, What.ABSENT, text)
    yield _notice(order, Noticed.UNKNOWN_ORDER, text)
    yield text


def _inactive(order: Order, snapshot: Snapshot) -> bool:
    """Return whether an order that is not over is Inactive: in the list of completed orders, or by its status alone."""
    if any(c.perm_id in order.standing.perm_ids for c in snapshot.completed):
        return True  # of other words there it would be over
    by_status = order.trail.concluded not in (What.UNKNOWN, What.ABSENT)
    return order.trail.held_back or (order.standing.state is OrderState.UNKNOWN and by_status)


def _ends_inactive(order: Order, books: Books, first: Snapshot) -> Iterator[Item]:
    """Cancel an order that is Inactive and in no list of open ones; it is over where both were asked for after that."""
    asked = order.trail.cancelled
    if asked is None:
        yield from _held_back(order, books)
    elif asked >= first.asked_at or order.intent.client_id != books.client_id:
        yield _still(order)
    else:
        why = f"{HELD_BACK}; its cancellation was asked for, and two snapshots since do not have it open"
        yield Conclude(order.ref, What.EXPIRED, why)


def over(order: Order, now: int, policy: Policy) -> bool:
    """Return whether the order's own time is over, or was ended by us."""
    ticket, last = order.intent.ticket, order.trail.last
    if order.trail.cancelled is not None:
        return True
    if ticket.tif is TimeInForce.GTD:
        return ticket.good_till is not None and ticket.good_till < now
    if ticket.tif is TimeInForce.IOC:
        return now - last > SHORT_LIVED_S * SECOND
    if ticket.tif is TimeInForce.GTC:
        return False
    closed = policy.closed(ticket.con_id)
    return (closed is not None and last < closed <= now) or now - last > policy.day_s * SECOND


# ---------------------------------------------------------------- the broker never told of it
def _never_seen(
    order: Order, books: Books, first: Snapshot, second: Snapshot, policy: Policy, held: Held
) -> Iterator[Item]:
    intent, told = order.intent, {t.code for t in order.standing.told}
    text = f"order {order.ref} ({intent.ticket.quantity} {intent.ticket.symbol}) is in none of the broker's lists"
    if intent.client_id != books.client_id:
        yield f"{text}; client {intent.client_id} sent it, and only that one can ask for it"
        return
    parent = _parent(order, books)
    lives = parent is not None and not parent.standing.is_final and parent.standing.filled == 0
    if parent is not None and lives and parent.trail.cancelled is None:
        # A bracket that broke in the middle: without its exits the entry must not go on.
        yield Cancel(parent.ref, f"{text}, and it was to protect {parent.ref}")
    if needed(order, books, held):
        yield _notice(order, Noticed.MISSING, text)
        if DUPLICATE_ID in told:
            yield f"{text}, and yet its id is taken"
        elif (
            order.trail.sends >= policy.max_sends and order.purpose is Purpose.PROTECTION and told & REFUSALS
        ):
            yield Conclude(order.ref, What.ABSENT, f"{text}, and IB refused it {order.trail.sends} times")
        elif order.trail.sends >= policy.max_sends:
            halt = f"{text} after {order.trail.sends} sends; {_LOOK}"
            yield HaltAll(halt) if halt not in books.halted_for else halt
        elif not closes(order.standing.remaining, common(held.own, held.own + held.rest)):
            yield f"{text}, and the broker holds {held.there}, ours are {held.own}"
        else:
            yield Resend(order.ref, text)
        return
    if order.trail.cancelled is None or order.trail.cancelled >= first.asked_at:
        # Behind the order on the same connection: if that still waits somewhere, this ends it.
        yield Cancel(order.ref, text) if order.trail.cancelled is None else f"{text}; it is being cancelled"
    elif UNKNOWN_ID in told or second.next_order_id <= intent.order_id:
        yield _notice(order, Noticed.MISSING, text)
        yield Conclude(order.ref, What.NOT_SENT, "in none of the broker's lists, and its id is unknown there")
    else:
        doubt = f"{text}, and IB does not say that it never came; {_LOOK}"
        yield _notice(order, Noticed.UNKNOWN_ORDER, doubt)
        again = (
            order.trail.cancelled + policy.cancel_s * SECOND <= first.asked_at
        )  # its answer may have been lost
        yield Cancel(order.ref, doubt) if again else doubt


def needed(order: Order, books: Books, held: Held) -> bool:
    """Return whether an order that never arrived is to be sent again: it shrinks or protects what is held now."""
    ticket = order.intent.ticket
    if order.trail.cancelled is not None or order.purpose is Purpose.ENTRY:
        return False
    if books.flattening & {0, ticket.con_id} and order.purpose is not Purpose.FLATTEN:
        return False  # an order that closes it all takes its place
    parent = _parent(order, books)
    if parent is not None and parent.standing.is_final and parent.standing.filled == 0:
        return False  # what its entry would have opened never came to be
    return closes(ticket.quantity, held.closable)
