"""What must hold at the end of every rehearsal, whatever went wrong on the way: our books are the exchange's."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from quant.oms.fills import exec_key
from quant.oms.gate import Gate, Purpose
from quant.promotion.causes import moment
from quant.promotion.live import CLIENT, Traded
from quant.promotion.stage import Stage

_NEAR: Final = 0.005


def broken(stage: Stage, live: Traded, capital: float) -> Iterator[str]:
    """Yield what does not hold, in words."""
    desk = live.desk
    ours = {con_id: q for con_id, q in desk.positions.items() if q}
    gained = stage.gained()
    if not live.settled:
        # Nobody knows yet what is so; what counts is that nothing is begun meanwhile.
        if desk.gate is Gate.OPEN:
            yield "journal and TWS's books do not agree at the end, and entries are sent all the same"
        return
    yield from _fills(stage, live)
    by_hand = any(e.view.request.key[0] != CLIENT for e in stage.executions())
    if not by_hand and ours != gained:
        yield f"we hold {_held(ours)} by our books, and TWS has {_held(gained)} beyond what was there before"
    paid = stage.exchange.account.cash(stage.exchange.account.base) - stage.cash
    if not by_hand and abs(live.final_cash - capital - paid) >= _NEAR:
        yield f"our cash changed by {live.final_cash - capital:.2f}, TWS's by {paid:.2f}"
    for name in _doubled(stage):
        yield f"order {name} is at TWS more than once"
    yield from _turned_over(stage, live)


def _fills(stage: Stage, live: Traded) -> Iterator[str]:
    """Each fill at the exchange is in the journal, and none that was not."""
    there = {exec_key(e.exec_id)[0]: e for e in stage.executions() if e.view.request.key[0] == CLIENT}
    here = {fill.stem: fill for standing in live.desk.orders for fill in standing.fills}
    for stem in there.keys() - here.keys():
        yield f"fill {stem} at TWS is not in the journal"
    for stem in here.keys() - there.keys():
        yield f"fill {stem} of the journal never was at TWS"


def _turned_over(stage: Stage, live: Traded) -> Iterator[str]:
    """No exit, and no order that closes, fills beyond what is held then.

    The two halves of a reversal may fill in any order: what closes is then what begins the other side, of
    as much as its entry has filled. Not of an instrument of which TWS took a fill back, or changed its quantity: what
    was held before it did so is in no list of executions.
    """
    fills = (fill for standing in live.desk.orders for fill in standing.fills)
    revised = {fill.con_id for fill in fills if fill.shown != abs(fill.quantity)}
    held: dict[int, Decimal] = {}
    # What entries have filled, by when they were decided, contract and side.
    begun: dict[tuple[int, int, bool], Decimal] = {}
    purposes = {s.ref: live.desk.purpose(s.ref) for s in live.desk.orders}
    for one in stage.executions():
        ref = stage.server.tws.order_of(one.view).orderRef
        con_id = one.view.request.listing.con_id
        before = held.get(con_id, Decimal(0))
        filled = one.quantity * one.view.request.side
        held[con_id] = before + filled
        if ref not in purposes or con_id in revised:
            continue
        half = live.desk.intent(ref).at, con_id, filled > 0
        if purposes[ref] is Purpose.ENTRY:
            begun[half] = begun.get(half, Decimal(0)) + abs(filled)
        elif before * held[con_id] <= 0 and abs(held[con_id]) > begun.get(half, Decimal(0)):
            at = f"{filled:+} at {moment(one.time)} with {before:+} held"
            yield f"{ref} was to make a position smaller, and filled {at}"


def _doubled(stage: Stage) -> Iterator[str]:
    seen: set[str] = set()
    for view in stage.exchange.orders:
        ref = stage.server.tws.order_of(view).orderRef
        if ref and ref in seen:
            yield ref
        seen.add(ref)


def _held(positions: dict[int, Decimal]) -> str:
    return ", ".join(f"{quantity} of {con_id}" for con_id, quantity in positions.items()) or "nothing"
