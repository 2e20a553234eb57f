"""What is to be closed until it is flat: by a person's command, or at start by the policy. Outlasts the process."""

from __future__ import annotations

from quant.oms.desk.floor import Floor
from quant.oms.gate import Purpose
from quant.oms.state import OrderState

ALL = 0  # in place of a contract id


class Closing:
    """Closes what the journal says is to be closed, once after each start and each command, when it is certain."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        # By command and instrument: the orders that close it. What is in the journal alone is still to be done: the
        # process before may have been killed half-way.
        self._orders: dict[int, dict[int, set[str]]] = {}

    def ask(self, why: str, now: int) -> None:
        """Take the command to close all."""
        self._floor.record.flatten(ALL, why, now)
        self._orders.pop(ALL, None)

    def go_on(self, now: int) -> tuple[str, ...]:
        """Decide the orders that close what is due, and return their refs; to be called while the books agree."""
        refs: list[str] = []
        for asked, why in list(self._floor.record.flattening.items()):
            if asked not in self._orders:
                refs += self._close(asked, why, now)
            elif all(self._over(con_id, orders) for con_id, orders in self._orders[asked].items()):
                self._floor.record.flat(asked, now)
                del self._orders[asked]
        return tuple(refs)

    def _close(self, asked: int, why: str, now: int) -> list[str]:
        floor, refs = self._floor, []
        if asked == ALL:
            for group in floor.outbox.groups:
                floor.outbox.drop(group[0], why, now)
            floor.cancel_entries(now, why, None)
        self._orders[asked] = {}
        for con_id, quantity in floor.record.positions.items():
            if asked in (ALL, con_id):
                left = quantity + floor.counter.leaving(con_id)
                if left * quantity > 0:
                    refs.append(floor.close(con_id, -left, why, now))
                floor.flattening.add(con_id)
                self._orders[asked][con_id] = {
                    s.ref for s in floor.record.open if self._closes(s.ref, con_id)
                }
        return refs

    def _closes(self, ref: str, con_id: int) -> bool:
        record = self._floor.record
        return record.purpose(ref) is Purpose.FLATTEN and record.ticket(ref).con_id == con_id

    def _over(self, con_id: int, orders: set[str]) -> bool:
        """Return whether an instrument is closed; what is held of it then was bought since."""
        record = self._floor.record
        if record.position(con_id) == 0:
            return True
        if not orders or any(record.standings[ref].state is not OrderState.FILLED for ref in orders):
            return False
        first = min(record.standings.intent(ref).number for ref in orders)
        return not any(  # one that was decided before, and may fill in spite of its cancel
            record.ticket(s.ref).con_id == con_id and record.standings.intent(s.ref).number < first
            for s in record.open
            if record.purpose(s.ref) is Purpose.ENTRY
        )
