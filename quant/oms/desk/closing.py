"""What is to be closed until it is flat: by a person's command, or at start by the policy. Outlasts the process."""

from __future__ import annotations

from quant.oms.desk.floor import Floor
from quant.oms.gate import Purpose
from quant.oms.reconcile.position_books import MEND
from quant.oms.state import OrderState

ALL = 0  # in place of a contract id


class Closing:
    """Closes what the journal says is to be closed, once after each start and each command, when it is certain.

    decided: the orders that the last command to close all of this process came to, None until it was carried out.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        # By command and instrument: the orders that close it. What is in the journal alone is still to be done: the
        # process before may have been killed half-way.
        self._orders: dict[int, dict[int, set[str]]] = {}
        self._asked_at = 0
        self.decided: tuple[str, ...] | None = None

    def ask(self, why: str, now: int) -> None:
        """Take the command to close all."""
        self._floor.record.flatten(ALL, why, now)
        self._orders.pop(ALL, None)
        self._asked_at = now
        self.decided = None

    def go_on(self, now: int) -> None:
        """Decide the orders that close what is due; to be called while the books agree.

        On a command of this process only by a snapshot that was asked for since: the person may just have closed it by
        hand.
        """
        for asked, why in list(self._floor.record.flattening.items()):
            if asked not in self._orders:
                if asked == ALL and self._floor.watch.read < self._asked_at:
                    self._floor.watch.soon(self._asked_at)
                    continue
                refs = self._close(asked, why, now)
                if asked == ALL:
                    self.decided = tuple(refs)
            if all(self._over(con_id, orders) for con_id, orders in self._orders[asked].items()):
                self._floor.record.flat(asked, now)
                del self._orders[asked]

    def _close(self, asked: int, why: str, now: int) -> list[str]:
        floor, refs = self._floor, []
        if asked == ALL:
            for group in floor.outbox.groups:
                floor.outbox.drop(group[0], why, now)
            floor.cancel_entries(now, why, None)
        self._orders[asked] = {}
        for con_id, own in floor.record.positions.items():
            if asked in (ALL, con_id):
                quantity = floor.record.closable(con_id)
                if quantity != own:
                    symbol, there = (
                        floor.counter.symbols.get(con_id, con_id),
                        own + floor.record.astray[con_id],
                    )
                    told = f"{symbol}: of ours the broker holds {there}, by our books it is {own}"
                    floor.alarm(f"{told}: {quantity} are closed; {MEND}", now, con_id=con_id)
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
        if record.closable(con_id) == 0:
            return True
        if not orders or any(record.standings[ref].state is not OrderState.FILLED for ref in orders):
            return False
        first = min(record.standings.intent(ref).number for ref in orders)
        return not any(  # one that was decided before, and may fill in spite of its cancel
            record.ticket(s.ref).con_id == con_id and record.standings.intent(s.ref).number < first
            for s in record.open
            if record.purpose(s.ref) is Purpose.ENTRY
        )
