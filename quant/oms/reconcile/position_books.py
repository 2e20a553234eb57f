"""The broker's position of an instrument against ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from quant.core.orders import Position, Snapshot
from quant.oms.ledger import Source
from quant.oms.reconcile.outcome import (
    Books,
    Flatten,
    HaltAll,
    HaltInstrument,
    Hold,
    Item,
    Notice,
    Noticed,
    Policy,
    Start,
)


def compare_position(
    con_id: int, unsure: bool, books: Books, snapshot: Snapshot, policy: Policy
) -> Iterator[Item]:
    """Yield what the broker's position of one instrument says.

    unsure: an order of it is in doubt, so that nothing about its position can be concluded.
    """
    rows = [p for p in snapshot.positions if p.account == books.account and p.con_id == con_id]
    there = sum((p.quantity for p in rows), Decimal(0))
    own, base = books.position(con_id), books.baseline(con_id)
    rest = there - own - base
    if rest == 0:
        return
    symbol = rows[0].symbol if rows else _symbol(con_id, books)
    text = f"{symbol}: the broker holds {there}, ours are {own}" + (f" on top of {base}" if base != 0 else "")
    if unsure:
        yield f"{text}, and an order of it is in doubt"
    elif books.agreed_at is None or (books.starting and policy.start in (Start.ADOPT, Start.FLATTEN)):
        yield from _at_start(con_id, symbol, rest, rows, text, books, policy)
    elif rest == _foreign(con_id, books, snapshot):
        yield Notice(Noticed.POSITION, f"{text}; orders that are not ours made the difference", con_id=con_id)
        yield HaltInstrument(con_id, f"{text}; orders that are not ours made the difference")
    else:
        told = f"{text}; {_MEND}"
        yield Notice(Noticed.POSITION, told, con_id=con_id)
        yield told


_MEND = "find out what traded, and start again with positions = adopt or flatten, or put the position right"


def _symbol(con_id: int, books: Books) -> str:
    named = (o.intent.ticket.symbol for o in books.orders if o.intent.ticket.con_id == con_id)
    return next(named, f"instrument {con_id}")


def _at_start(
    con_id: int, symbol: str, rest: Decimal, rows: list[Position], text: str, books: Books, policy: Policy
) -> Iterator[Item]:
    yield Notice(Noticed.FOUND_AT_START, f"{text}; {rest} left over, taken as: {policy.start}", con_id=con_id)
    if policy.start is Start.REFUSE:
        mend = "close it, or start with positions = baseline, adopt or flatten"
        yield HaltAll(f"{text}: a position was found at start; {mend}")
        return
    source = Source.ADOPTED if books.agreed_at is None else Source.ADJUSTED
    if policy.start is Start.BASELINE:
        source = Source.BASELINE
    cost = rows[0].average_cost if rows else 0.0
    yield Hold(source, con_id, symbol, rest, cost, f"positions = {policy.start}: {text}")
    if policy.start is Start.FLATTEN and books.position(con_id) + rest != 0:
        yield Flatten(con_id, symbol, -(books.position(con_id) + rest), f"positions = flatten: {text}")


def _foreign(con_id: int, books: Books, snapshot: Snapshot) -> Decimal:
    """Return what executions that are not ours added since the books agreed, by the broker's list of the day."""
    refs = {order.ref for order in books.orders}
    perms = {perm for order in books.orders for perm in order.standing.perm_ids}
    began = 0 if books.agreed_at is None else books.agreed_at
    since = max([began, *(h.at for h in books.holdings if h.con_id == con_id)])
    return sum(
        (
            e.quantity
            for e in snapshot.executions
            if e.account == books.account
            and e.con_id == con_id
            and e.time > since
            and e.ref not in refs
            and e.perm_id not in perms
        ),
        Decimal(0),
    )
