"""Exits that take the places of others, one for one: IB is asked to modify those it has. Nothing here sends.

A strategy that moves its stop cancels it and sends another one. Where both are alike but for their prices, the order at
IB stays and gets the new price: what is held never lacks its stop, and there is half as much to send and to confirm. To
backtrader they are two orders all the same, the first one cancelled. Where they are not alike, or TWS is not known to
work the first as it was asked for, the new one waits for its end (following.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import backtrader as bt

from quant.core.orders import Ticket
from quant.live.moments import con_id_of
from quant.live.orders.anew import Group
from quant.live.orders.tracked import Tracked, Tracker

# A stop limit that is elected stays so whatever becomes of its prices, and would fill where the new one is to wait; one
# that trails has its stop where the market has been, and backtrader's new one begins where it is.
_KINDS: Final = (bt.Order.Stop, bt.Order.Limit)

Pairs = list[tuple[Tracked, Tracked]]  # the order at IB, and the one that is to take its place


def pairs(groups: Sequence[Group], cancels: Sequence[Tracked], tracker: Tracker) -> Iterator[Pairs]:
    """Yield exits with their successors, those together that end with one another.

    Of an instrument all that end have one, and nothing else is sent for it, or none is yielded. What ends with a
    cancelled one is over too. Whether they are exits, and TWS works them as they are known, the desk knows.
    """
    for con_id in {con_id_of(one.order.data): None for one in cancels}:
        here = [one for one in cancels if con_id_of(one.order.data) == con_id]
        behind = [group for group in groups if group and con_id_of(group[0].order.data) == con_id]
        old = _families(here, tracker)
        new = _families([one for group in behind for one in group], tracker)
        if len(old) != len(new):
            continue
        found = [pair for one in old for other in new if (pair := _fit(one, other))]
        if len(found) == len(old) == len({pair[0][1] for pair in found}):
            yield from found


def _families(exits: Sequence[Tracked], tracker: Tracker) -> list[list[Tracked]]:
    """Return each with what ends with it."""
    found: list[list[Tracked]] = []
    for one in exits:
        if not any(one in family for family in found):
            mates = dict.fromkeys([*tracker.group(one), *tracker.siblings(one)])
            found.append([one, *(other for other in mates if other.alive)])
    return found


def _fit(old: Sequence[Tracked], new: Sequence[Tracked]) -> Pairs:
    """Return which is to take the place of which; nothing where that is not certain for each."""
    found = [(one, other) for one in old for other in new if _alike(one, other)]
    one_each = len(found) == len(old) == len(new) == len({pair[1] for pair in found})
    return found if one_each else []


def _alike(old: Tracked, new: Tracked) -> bool:
    one, other = old.order, new.order
    same = (one.exectype, one.size, one.tradeid) == (other.exectype, other.size, other.tradeid)
    mine = one.owner is None or one.owner is other.owner  # None: of an earlier process
    fresh = not new.sent and other.parent is None  # one that waits for its entry would work at once
    return one.exectype in _KINDS and same and mine and fresh and old.sent and old.alive


def changed(before: Ticket, wanted: Ticket) -> Ticket | None:
    """Return the order at IB with the prices of another one; None where more than these is wanted otherwise."""
    prices = replace(before, limit=wanted.limit, stop=wanted.stop)
    same = replace(
        wanted, ref=before.ref, parent=before.parent, oca=before.oca, transmit=before.transmit
    )  # its family and its group stay as they are
    return prices if same == prices else None
