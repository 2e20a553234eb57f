"""How much each exit of a position may still close, so that together they close no more than is held. Pure.

Exits of one OCO group, or of one entry, count once: only one of them fills. Stops and limits wait on different sides of
the price, so that one move can fill all of one side and none of the other: each side may close all that is held.
"""

from __future__ import annotations

from collections.abc import Set
from decimal import Decimal

from quant.core.orders import Kind
from quant.oms.gate import Purpose
from quant.oms.reconcile.outcome import Order, Orders
from quant.oms.risk import STOPS


def shares(orders: Orders, con_id: int, held: Decimal, queued: Set[str]) -> dict[str, Decimal]:
    """Return, by ref, what of `held` each exit that works may still close, unsigned.

    The one decided or modified last goes before: it is what was wanted last, and may be there to take the place of
    another. Without exits whose entry still works, which are that one's, without those whose end was asked for, without
    market orders, which rest nowhere, and without what is `queued`: until it is out, the one that it replaces guards.
    """
    taken: dict[tuple[str, bool], Decimal] = {}  # by group and side
    room = dict.fromkeys((True, False), abs(held))
    found: dict[str, Decimal] = {}
    for order in sorted(orders.open, key=lambda order: order.wanted, reverse=True):
        ticket = order.intent.ticket
        if ticket.con_id != con_id or order.ref in queued or order.standing.remaining * held >= 0:
            continue
        if not _rests(order, orders):
            continue
        side = ticket.kind in STOPS
        key = ticket.oca or ticket.parent or order.ref, side
        had = taken.get(key, Decimal(0))
        found[order.ref] = share = min(abs(order.standing.remaining), room[side] + had)
        taken[key] = max(had, share)
        room[side] -= taken[key] - had
    return found


def _rests(order: Order, orders: Orders) -> bool:
    parent = orders.get(order.intent.ticket.parent)
    waits = parent is not None and not parent.standing.is_final
    rests = (
        order.purpose in (Purpose.PROTECTION, Purpose.REDUCTION)
        and order.intent.ticket.kind is not Kind.MARKET
    )
    return rests and not waits and order.trail.cancelled is None
