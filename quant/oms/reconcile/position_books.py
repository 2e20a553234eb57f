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
    lasted too long to be books that TWS has not loaded yet (row O11). fleeting: it was ours a moment ago.
    """

    con_id: int
    rows: tuple[Position, ...]
    there: Decimal
    own: Decimal
    base: Decimal
    by_others: bool
    proven: bool
    price: float | None = None
    fleeting: bool = False

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
    least, most = books.lately.get(con_id, (own, own))
    fleeting = rest != 0 and least <= there - base <= most
    others = _others(con_id, books, snapshot) if rest != 0 and books.agreed_at is not None else ()
    by_others = bool(others) and rest == sum(e.quantity for e in others)
    price = sum(float(e.quantity) * e.price for e in others) / float(rest) if by_others else None
    proven = rest != 0 and not fleeting and (by_others or books.lasting)
    return Held(con_id, rows, there, own, base, by_others, proven, price, fleeting)


def _symbol(held: Held, books: Books) -> str:
    known = books.orders.symbols.get(held.con_id, f"instrument {held.con_id}")
    return held.rows[0].symbol if held.rows else known


def difference(held: Held, books: Books) -> str:
    """Return in words what is held of an instrument by both books."""
    text = f"{_symbol(held, books)}: the broker holds {held.there}, ours are {held.own}"
    return text + (f" on top of {held.base}" if held.base != 0 else "")


def compare_position(held: Held, unsure: bool, books: Books, policy: Policy) -> Iterator[Item]:
    """Yield what the broker's position of one instrument says.

    unsure: an order of it is in doubt, so that nothing about its position can be concluded.
    """
    if held.rest == 0:
        return
    con_id, text = held.con_id, difference(held, books)
    if unsure:
        yield f"{text}, and an order of it is in doubt"
    elif books.agreed_at is None or (books.starting and policy.start in (Start.ADOPT, Start.FLATTEN)):
        yield from _at_start(held, _symbol(held, books), text, books, policy)
    elif held.by_others:
        yield Notice(Noticed.POSITION, f"{text}; orders that are not ours made the difference", con_id=con_id)
        yield HaltInstrument(con_id, f"{text}; orders that are not ours made the difference")
    else:
        told = f"{text}; {MEND}"
        yield Notice(Noticed.POSITION, told, con_id=con_id)
        yield told


def _at_start(held: Held, symbol: str, text: str, books: Books, policy: Policy) -> Iterator[Item]:
    con_id, rest = held.con_id, held.rest
    price = _price(held, policy)
    if price is None and policy.start in (Start.ADOPT, Start.FLATTEN):
        told = f"{text}; positions = {policy.start}, and IB does not tell at what price {rest:+} were traded: of "
        told += "earlier days no executions, and an average cost only of all that it holds"
        told += f". Say it, for one start: --adopt-price {symbol}=PRICE"
        yield Notice(Noticed.POSITION, told, con_id=con_id)
        yield told
        return
    yield Notice(Noticed.FOUND_AT_START, f"{text}; {rest} left over, taken as: {policy.start}", con_id=con_id)
    if policy.start is Start.REFUSE:
        mend = "close it, or start with positions = baseline, adopt or flatten"
        yield HaltAll(f"{text}: a position was found at start; {mend}")
        return
    source = Source.ADOPTED if books.agreed_at is None else Source.ADJUSTED
    if policy.start is Start.BASELINE:
        source = Source.BASELINE
    yield Hold(source, con_id, symbol, rest, price, f"positions = {policy.start}: {text}")
    if policy.start is Start.FLATTEN and held.own + rest != 0:
        yield Flatten(con_id, symbol, -(held.own + rest), f"positions = flatten: {text}")


def _price(held: Held, policy: Policy) -> float | None:
    """Return at what price the difference was traded, None where nobody knows.

    By the executions that made it; else by a person's word; else by IB's average cost, which is that of the whole
    position, so it says so only where nothing else is in it, or where nobody waits for a better one.
    """
    if held.price is not None:
        return held.price
    said, worth = dict(policy.prices).get(held.con_id), dict(policy.worth).get(held.con_id)
    alone = held.own == 0 and held.base == 0
    told = (alone or policy.urgent) and bool(held.rows) and held.rows[0].average_cost > 0
    if said is not None or worth is None or not told:
        return said
    return held.rows[0].average_cost / worth


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
