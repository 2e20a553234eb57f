"""Exits that would close more than orders of ours have left of a position: they are made as small as what is left.

Backtrader's own broker lets such an exit turn the position round; here no exit opens one. What a person has left by
hand is reconciliation's, which keeps to the same shares.
"""

from __future__ import annotations

from typing import Final

from quant.oms.desk.floor import Floor
from quant.oms.desk.outbox import Sent
from quant.oms.gate import cancels
from quant.oms.ledger import SMALLER
from quant.oms.reconcile.exits import shares

_UNSENT: Final = (Sent.NO_LINK, Sent.UNKNOWN)


class Fitting:
    """Looks after instruments of which less is held than before."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        floor.shrunk |= set(floor.record.positions)  # the process before may have been killed in between

    def look(self, now: int) -> None:
        """Make smaller what is too large; to be called while the books agree."""
        floor = self._floor
        if not floor.shrunk or not cancels(floor.gate):
            return
        shrunk, floor.shrunk = floor.shrunk, set()
        for con_id in sorted(shrunk):
            self._fit(con_id, now)

    def _fit(self, con_id: int, now: int) -> None:
        floor, record = self._floor, self._floor.record
        held, queued = record.closable(con_id), floor.outbox.queued
        for ref, share in shares(record.books(queued, False).orders, con_id, held, queued).items():
            standing, ticket = record.standings[ref], record.ticket(ref)
            whole = (abs(standing.filled) + share).copy_sign(ticket.quantity)
            if share >= abs(standing.remaining) or floor.outbox.sizes.get(ref) == whole:
                continue
            told = f"order {ref}: of {held} {ticket.symbol} that are held newer exits leave {share} to it"
            if share == 0:
                floor.cancel(ref, now, told)
            elif floor.send(ref, now, f"{SMALLER}: {told}", again=True, quantity=whole) in _UNSENT:
                floor.shrunk.add(con_id)  # again, once there is a connection
                return
            floor.alarm(
                f"{told}; it is {'cancelled' if share == 0 else SMALLER}", now, ref=ref, con_id=con_id
            )
