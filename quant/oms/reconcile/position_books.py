"""The broker's position of an instrument against ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quant.core.orders import Execution, Position, Snapshot
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
from quant.oms.risk import common

MEND: Final = (
    "find out what traded, and start again with positions = adopt or flatten, or put the position right"
)


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of an instrument. there: all that the broker has; own: ours; base: what was left alone.

    by_others: orders that are not ours made all of the difference, on average at `price`. proven: that, or it has
    lasted too long to be books that TWS has not loaded yet (row O11).
    """

    con_id: int
    rows: tuple[Position, ...]
    there: Decimal
    own: Decimal
    base: Decimal
    by_others: bool
    proven: bool
    price: float | None = None

    @property
    def rest(self) -> Decimal:
        """What the broker has beyond ours, signed."""
        return self.there - self.own - self.base

    @property
    def closable(self) -> Decimal:
        """What orders of ours may close without opening a position at the broker."""
        return common(self.own, self.own + self.rest) if self.proven else self.own


def held_of(con_id: int, books: Books, snapshot: Snapshot) -> Held:
    """Return what a snapshot and our books say of one instrument."""
    rows = tuple(p for p in snapshot.positions if p.account == books.account and p.con_id == con_id)
    there = sum((p.quantity for p in rows), Decimal(0))
    own, base = books.position(con_id), books.baseline(con_id)
    rest = there - own - base
    others = _others(con_id, books, snapshot) if rest != 0 and books.agreed_at is not None else ()
    by_others = bool(others) and rest == sum(e.quantity for e in others)
    price = sum(float(e.quantity) * e.price for e in others) / float(rest) if by_others else None
    return Held(con_id, rows, there, own, base, by_others, rest != 0 and (by_others or books.lasting), price)


def compare_position(held: Held, unsure: bool, books: Books, policy: Policy) -> Iterator[Item]:
    """Yield what the broker's position of one instrument says.

    unsure: an order of it is in doubt, so that nothing about its position can be concluded.
    """
    if held.rest == 0:
        return
    con_id = held.con_id
    symbol = held.rows[0].symbol if held.rows else books.orders.symbols.get(con_id, f"instrument {con_id}")
    text = f"{symbol}: the broker holds {held.there}, ours are {held.own}"
    text += f" on top of {held.base}" if held.base != 0 else ""
    if unsure:
        yield f"{text}, and an order of it is in doubt"
    elif books.agreed_at is None or (books.starting and policy.start in (Start.ADOPT, Start.FLATTEN)):
        yield from _at_start(held, symbol, text, books, policy)
    elif held.by_others:
        yield Notice(Noticed.POSITION, f"{text}; orders that are not ours made the difference", con_id=con_id)
        yield HaltInstrument(con_id, f"{text}; orders that are not ours made the difference")
    else:
        told = f"{text}; {MEND}"
        yield Notice(Noticed.POSITION, told, con_id=con_id)
        yield told


def _at_start(held: Held, symbol: str, text: str, books: Books, policy: Policy) -> Iterator[Item]:
    con_id, rest = held.con_id, held.rest
    yield Notice(Noticed.FOUND_AT_START, f"{text}; {rest} left over, taken as: {policy.start}", con_id=con_id)
    if policy.start is Start.REFUSE:
        mend = "close it, or start with positions = baseline, adopt or flatten"
        yield HaltAll(f"{text}: a position was found at start; {mend}")
        return
    source = Source.ADOPTED if books.agreed_at is None else Source.ADJUSTED
    if policy.start is Start.BASELINE:
        source = Source.BASELINE
    cost = held.rows[0].average_cost if held.rows else 0.0
    yield Hold(source, con_id, symbol, rest, cost, f"positions = {policy.start}: {text}", held.price)
    if policy.start is Start.FLATTEN and held.own + rest != 0:
        yield Flatten(con_id, symbol, -(held.own + rest), f"positions = flatten: {text}")


def _others(con_id: int, books: Books, snapshot: Snapshot) -> tuple[Execution, ...]:
    """Return the executions since the books agreed that are not ours, by the broker's list of the day."""
    began = 0 if books.agreed_at is None else books.agreed_at
    since = max([began, *(h.at for h in books.holdings if h.con_id == con_id)])
    return tuple(
        e
        for e in snapshot.executions
        if e.account == books.account
        and e.con_id == con_id
        and e.time > since
        and not books.orders.named(e.ref, e.perm_id)
    )
