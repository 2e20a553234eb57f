"""Exits that take the places of others, one for one: IB is asked to modify those it has. Nothing here sends.

A strategy that moves its stop cancels it and sends another one. Where both are alike but for their prices, the order at
IB stays and gets the new price: what is held never lacks its stop, and there is half as much to send and to confirm. To
backtrader they are two orders all the same, the first one cancelled. Where they are not alike, or TWS is not known to
work the first as it was asked for, the new one waits for its end (following.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from quant.core.orders import Ticket
from quant.live.moments import con_id_of
from quant.live.orders.anew import Group
from quant.live.orders.tracked import Tracked, Tracker

Pairs = list[tuple[Tracked, Tracked]]  # the order at IB, and the one that is to take its place


def pairs(
    groups: Sequence[Group], cancels: Sequence[Tracked], tracker: Tracker, guards: Callable[[Group], bool]
) -> Iterator[Pairs]:
    """Yield, by instrument, the exits that all have a successor. guards: whether a group only guards a position."""
    for con_id in {con_id_of(one.order.data): None for one in cancels}:
        old = [one for one in cancels if con_id_of(one.order.data) == con_id]
        behind = [group for group in groups if group and con_id_of(group[0].order.data) == con_id]
        new = [one for group in behind for one in group]
        if len(old) != len(new) or not all(map(guards, [old, *behind])):
            continue
        found = [(one, other) for one in old for other in new if _alike(one, other)]
        if (
            len(found) == len(old) == len({pair[1] for pair in found})
            and _tied(old, tracker)
            and _tied(new, tracker)
        ):
            yield found


def _alike(old: Tracked, new: Tracked) -> bool:
    one, other = old.order, new.order
    same = (one.exectype, one.size, one.tradeid) == (other.exectype, other.size, other.tradeid)
    mine = one.owner is None or one.owner is other.owner  # None: of an earlier process
    return same and mine and old.sent and old.alive and not one.executed.size


def _tied(exits: Sequence[Tracked], tracker: Tracker) -> bool:
    """Return whether these end with one another, and nothing else does with them."""
    for one in exits:
        mates = {other for other in (*tracker.group(one), *tracker.siblings(one)) if other.alive}
        if mates != set(exits) - {one}:
            return False
    return True


def changed(before: Ticket, wanted: Ticket) -> Ticket | None:
    """Return the order at IB with the prices of another one; None where more than these is wanted otherwise."""
    prices = replace(before, limit=wanted.limit, stop=wanted.stop)
    same = replace(
        wanted, ref=before.ref, parent=before.parent, oca=before.oca, transmit=before.transmit
    )  # its family and its group stay as they are
    return prices if same == prices else None
