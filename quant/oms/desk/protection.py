"""Protective orders that ended with an entry of which a part was filled: what is held gets new ones, or it halts.

Assumed, for want of a real TWS: children end with a parent that is cancelled, also after a part of it was filled. Where
a broker lets them live, they are too large for what is held, and are replaced as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from quant.core.orders import Ticket, TimeInForce
from quant.oms.desk.floor import IN_PLACE, Floor
from quant.oms.gate import Purpose, passes
from quant.oms.ledger import FOLLOWED, Intent
from quant.oms.limits import SECOND
from quant.oms.reason import Reason
from quant.oms.risk import STOPS
from quant.oms.state import OrderState

SURE: Final = 3 * SECOND
TOO_LARGE: Final = "larger than what is held"
_NEVER: Final = (OrderState.NOT_SENT, OrderState.REJECTED)


@dataclass(frozen=True, slots=True)
class Exits:
    """An entry that is over, and what was to protect it. placed: in place of children that were lost."""

    entry: Intent
    children: tuple[Intent, ...]
    placed: tuple[Intent, ...]


class Protection:
    """Looks after instruments in which an entry or an exit has ended, once the books agree."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        floor.suspects |= set(floor.record.positions)  # the process before may have been killed in between
        # By ref: since when it is seen to be over; None = it is not yet.
        self._unfollowed: dict[str, int | None] = {
            ref: None for con_id in floor.record.positions if (ref := self._followed(con_id))
        }

    def look(self, now: int) -> None:
        """Put right what was lost; to be called while the books agree."""
        floor = self._floor
        self._tell_unfollowed(now)
        if not floor.suspects or not passes(floor.gate, Purpose.PROTECTION):
            return
        for con_id in sorted(floor.suspects):
            exits = self._exits(con_id)
            if exits is not None:
                self._judge(exits, floor.record.closable(con_id), now)
        floor.suspects.clear()

    # ---------------------------------------------------------------- what there is
    def _exits(self, con_id: int) -> Exits | None:
        """Return the newest entry of which something is held, None where it or what came after says all is well."""
        record = self._floor.record
        held = record.position(con_id)
        later: list[Intent] = []
        for intent in record.newest(con_id) if held != 0 else ():
            filled = record.standings[intent.ref].filled
            if record.purpose(intent.ref) is not Purpose.ENTRY or filled == 0:
                alone = not intent.ticket.parent and not self._in_place(intent.ref)
                if alone and self._counts(intent.ref):
                    return None  # the strategy saw to it since; of a stop that follows there are many
                later.append(intent)
                continue
            children = tuple(i for i in reversed(later) if i.ticket.parent == intent.ref)
            placed = tuple(i for i in reversed(later) if self._in_place(i.ref))
            known = {i.ref for i in (*children, *placed)}
            theirs = any(
                self._counts(i.ref) for i in later if i.ref not in known
            )  # the strategy saw to it since
            over = record.standings[intent.ref].is_final and filled * held > 0
            return Exits(intent, children, placed) if over and children and not theirs else None
        return None

    def _in_place(self, ref: str) -> bool:
        return self._floor.record.reasons[ref].text.startswith(IN_PLACE)

    def _counts(self, ref: str) -> bool:
        record = self._floor.record
        return record.purpose(ref) is not Purpose.ENTRY and record.standings[ref].state not in _NEVER

    def _followed(self, con_id: int) -> str:
        """Return the exit that was cancelled for another one and has none behind it, "" where there is none."""
        record = self._floor.record
        for intent in record.newest(con_id):
            if any(mark.why.startswith(FOLLOWED) for mark in record.marks(intent.ref)):
                return intent.ref
            if self._counts(intent.ref):
                break
        return ""

    def _tell_unfollowed(self, now: int) -> None:
        """Tell of exits of which the successor was never journalled: the process before was killed while it waited.

        What it was to be nobody knows; the strategy may send one.
        """
        floor, record = self._floor, self._floor.record
        for ref in list(self._unfollowed):
            ticket, held = record.ticket(ref), record.closable(record.ticket(ref).con_id)
            if held * ticket.quantity < 0 and self._followed(ticket.con_id) == ref:
                if not record.standings[ref].is_final:
                    continue  # it guards until its end is confirmed
                since = self._unfollowed[ref] = self._unfollowed[ref] or now
                if now < since + SURE:
                    continue  # the strategy's next one may have waited for that
                told = f"{ticket.symbol}: {held:+} are held, and their exit {ref} was cancelled for another one, and"
                told += " none was sent before the restart; place one in TWS, or close them"
                bare = ticket.kind in STOPS
                floor.alarm(told, now, stops=bare, ref=ref, con_id=ticket.con_id, bare=bare)
            del self._unfollowed[ref]

    # ---------------------------------------------------------------- what is to be done
    def _judge(self, exits: Exits, held: Decimal, now: int) -> None:
        record = self._floor.record
        both = (*exits.children, *exits.placed)
        done = sum((abs(record.standings[i.ref].filled) for i in both), Decimal(0))
        need = min(abs(record.standings[exits.entry.ref].filled) - done, abs(held))
        alive = [i for i in both if not record.standings[i.ref].is_final]
        whole = (
            record.standings[exits.entry.ref].state is OrderState.FILLED
        )  # then they are as large as was asked
        for intent in alive:
            if not whole and abs(record.standings[intent.ref].remaining) > abs(held):
                self._floor.cancel(intent.ref, now, f"{TOO_LARGE}: {held} {intent.ticket.symbol}")
        if alive or need <= 0:
            return
        name = exits.entry.ticket.symbol
        lost = [i for i in (exits.placed or exits.children) if self._lost(i, exits)]
        if not lost:
            return
        ended = ", ".join(f"{i.ref} ended as {record.standings[i.ref].state}" for i in lost)
        if exits.placed:
            self._floor.stop(f"{name}: {held} are held and nothing protects them: {ended}", now)
            return
        legs = [i.ticket for i in exits.children if record.standings[i.ref].state is not OrderState.FILLED]
        placed = list(self._place(legs, -need if held > 0 else need, now))
        told = f"{name}: {ended}, and {held} are held; placed anew: {', '.join(placed) or 'nothing'}"
        self._floor.alarm(told, now, ref=exits.entry.ref, con_id=exits.entry.ticket.con_id)

    def _lost(self, intent: Intent, exits: Exits) -> bool:
        """Return whether it ended without our having asked, with its entry or before TWS had it.

        One that ends by itself after the whole entry was filled was cancelled in TWS: by a person, or its time is over.
        """
        record = self._floor.record
        standing, whole = record.standings[intent.ref], record.standings[exits.entry.ref]
        if standing.state is OrderState.FILLED:
            return False
        if record.trail(intent.ref).cancelled is not None:
            return any(mark.why.startswith(TOO_LARGE) for mark in record.marks(intent.ref))
        return bool(exits.placed) or whole.state is not OrderState.FILLED or not standing.perm_ids

    def _place(self, legs: list[Ticket], quantity: Decimal, now: int) -> Iterator[str]:
        """Decide orders of the same prices for what is held, tied to one another, and yield their refs."""
        floor = self._floor
        legs = [t for t in legs if t.tif is not TimeInForce.GTD or (t.good_till or 0) > now]
        refs = [floor.record.next_ref() for _ in legs]
        for leg, ref in zip(legs, refs, strict=True):
            group = refs[0] if len(legs) > 1 else ""
            ticket = replace(leg, ref=ref, quantity=quantity, parent="", oca=group, transmit=True)
            reason = Reason(Purpose.PROTECTION, text=f"{IN_PLACE}{leg.ref}")
            floor.outbox.add(floor.record.commit((ticket,), reason, floor.counter.floor, now))
            yield ref
