"""A stop of a plain strategy that ended though the strategy had not asked for it, while what it guarded is still held.

A plain strategy never said whether its positions are to have a stop; one that it sent says so of that position. A
q.Strategy's positions are looked after by quant/live/run/guards.py, which knows what they are to have.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import backtrader as bt

from quant.core.barsize import SECOND
from quant.live.moments import con_id_of, instrument_of
from quant.live.orders.tickets import decimal
from quant.live.orders.tracked import Tracked, Tracker
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm
from quant.oms.gate import Purpose
from quant.oms.risk import STOPS

SURE: Final = 3 * SECOND  # what the strategy, or the desk, does about it goes out and is answered within that
LOOKS: Final = 3  # and it has had its turn, however long this process stood still
# Not Expired: that was to be so.
_BY_OTHERS: Final = (bt.Order.Canceled, bt.Order.Rejected, bt.Order.Margin)


class Lost:
    """Remembers such stops until it is known whether the strategy has seen to it."""

    def __init__(self, tracker: Tracker, desk: OrderDesk) -> None:
        self._tracker, self._desk = tracker, desk
        self._noted: dict[Tracked, tuple[int, int]] = {}  # when it ended, and how often was looked since

    def note(self, one: Tracked, now: int) -> None:
        """Take how an order stands that something new is known of."""
        order, ticket = one.order, one.ticket
        if order.status not in _BY_OTHERS or ticket is None or ticket.kind not in STOPS:
            return
        if one.cancelled:
            return
        entered = order.parent is None or order.parent.executed.size
        guards = self._desk.purpose(one.ref) is Purpose.PROTECTION and not order.info.get("reason")
        if guards and entered:
            self._noted[one] = now, 0

    def due(self, now: int) -> list[Alarm]:
        """Return what a person is to know now, once for each stop."""
        if not self._noted:
            return []
        self._noted = {one: (at, looks + 1) for one, (at, looks) in self._noted.items()}
        ready = [one for one, (at, looks) in self._noted.items() if now >= at + SURE and looks >= LOOKS]
        for one in ready:
            del self._noted[one]
        return [alarm for one in ready if (alarm := self._alarm(one, now)) is not None]

    def _alarm(self, one: Tracked, now: int) -> Alarm | None:
        con_id = con_id_of(one.order.data)
        held = self._desk.closable.get(con_id, Decimal(0))
        mates = [*self._tracker.group(one), *self._tracker.siblings(one)]
        if any(other.order.executed.size for other in mates):
            return None  # that has ended it
        others = (other.order for other in self._tracker.alive() if self._covers(other, con_id))
        covered = sum(float(order.executed.remsize) for order in others)
        if held * decimal(one.order.size) >= 0 or abs(covered) >= abs(held):
            return None
        name, why = instrument_of(one.order.data).symbol, one.order.info.get("why", "")
        told = f"{name}: {held:+} are held, and their stop {one.ref} ended unasked as {one.order.getstatusname()}"
        told += f" ({why})" if why else ""
        told += "; the strategy has sent no other for all of it"
        return Alarm(now, told, stops=True, ref=one.ref, con_id=con_id, bare=True)

    def _covers(self, one: Tracked, con_id: int) -> bool:
        """Return whether an order closes what is held, or would at a stop's price; what entries add is none."""
        ticket = one.ticket
        if ticket is None or ticket.con_id != con_id or one.cancelled or not one.sent:
            return False
        closes = self._desk.purpose(one.ref) is not Purpose.ENTRY
        return closes and (ticket.kind in STOPS or ticket.limit is None)
