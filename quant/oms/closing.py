"""What is to be closed until it is flat: by a person's command, or at start by the policy. Outlasts the process."""

from __future__ import annotations

from quant.oms.floor import Floor

ALL = 0  # in place of a contract id


class Closing:
    """Closes what the journal says is to be closed, once after each start and each command, when it is certain."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._due = set(floor.record.flattening)  # an earlier process may have been killed half-way

    def ask(self, why: str, now: int) -> None:
        """Take the command to close all."""
        self._floor.record.flatten(ALL, why, now)
        self._due.add(ALL)

    def go_on(self, now: int) -> tuple[str, ...]:
        """Decide the orders that close what is due, and return their refs; to be called while the books agree."""
        floor, refs = self._floor, []
        for due in sorted(self._due):
            why = floor.record.flattening.get(due)
            if why is not None:
                refs += self._close(due, why, now)
        self._due.clear()
        for asked in [c for c in floor.record.flattening if floor.is_flat(c)]:
            floor.record.flat(asked, now)
        return tuple(refs)

    def _close(self, due: int, why: str, now: int) -> list[str]:
        floor, refs = self._floor, []
        if due == ALL:
            for group in floor.outbox.groups:
                floor.outbox.drop(group[0], why, now)
            floor.cancel_entries(now, why, None)
        for con_id, quantity in floor.record.positions.items():
            if due in (ALL, con_id):
                left = quantity + floor.counter.leaving(con_id)
                if left * quantity > 0:
                    refs.append(floor.close(con_id, -left, why, now))
                floor.flattening.add(con_id)
        return refs
