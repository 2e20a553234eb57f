"""Exits that get other prices where they lie: the same order at IB, so that what is held never lacks its stop.

IB changes an open order that is sent again under its id. A change that comes while the connection to IB is in doubt can
become a second order (nautilus 4564): it goes out while the books agree, or not at all, and its asker does otherwise.
What IB makes of it the next look at its books shows; where it has the old prices still, they are put right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from quant.core.orders import Echo, Kind, Report, Ticket, Told
from quant.oms.desk.floor import IN_PLACE, Floor
from quant.oms.desk.outbox import Sent
from quant.oms.desk.setup import Why
from quant.oms.gate import Purpose, passes
from quant.oms.ledger import MOVED, SMALLER
from quant.oms.limits import SECOND
from quant.oms.reason import Reason
from quant.oms.reconcile.order_books import echo_differences, open_echo, over
from quant.oms.reconcile.outcome import Order
from quant.oms.risk import check_ticket, closes
from quant.oms.state import REFUSALS, OrderState

_EXITS: Final = (Purpose.PROTECTION, Purpose.REDUCTION)
_KINDS: Final = (Kind.STOP, Kind.LIMIT)
_PRICES: Final = frozenset({"limit", "stop"})


class Modifying:
    """Modifies exits that are at IB as they were asked for."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._moved: set[str] = set()  # by this process
        self._unconfirmed: dict[str, int] = {}  # by ref: since when the broker has not told the prices wanted

    def refusal(self, ticket: Ticket, now: int) -> str:
        """Return why an order cannot become `ticket` now, "" if it can. Raises ParameterError as `check_ticket`."""
        check_ticket(ticket)
        record, ref = self._floor.record, ticket.ref
        if ref not in record.standings:
            return "it is no order of this deployment"
        standing, trail, before = record.standings[ref], record.trail(ref), record.ticket(ref)
        if record.purpose(ref) not in _EXITS or record.reasons[ref].text.startswith(IN_PLACE):
            return "it is no exit of the strategy's"
        if replace(ticket, limit=before.limit, stop=before.stop) != before:
            return "only prices can be modified"
        if ticket.kind not in _KINDS:
            return (
                f"a {ticket.kind} may have been elected, or have followed the market, which TWS alone knows"
            )
        if standing.state is not OrderState.WORKING or not standing.perm_ids or trail.cancelled is not None:
            return f"it is {standing.state}, and TWS is not known to work it"
        order = Order(record.standings.intent(ref), standing, trail)
        if over(order, now, self._floor.counter.policy()):
            return "its time is over, whether TWS has told so or not"
        parent = before.parent
        if parent and record.standings[parent].state is not OrderState.FILLED:
            return f"its entry {parent} is not filled"
        if not closes(ticket.quantity, record.closable(ticket.con_id)):
            return f"{record.closable(ticket.con_id)} {ticket.symbol} are held, less than it closes"
        if any(mark.why.startswith(SMALLER) for mark in record.marks(ref)):
            return "it was made smaller"
        return self._barred(ref) or self._opens(ticket)

    def _barred(self, ref: str) -> str:
        floor = self._floor
        if not (floor.link and floor.watch.settled and passes(floor.gate, Purpose.PROTECTION)):
            return f"the gate is {floor.gate}"
        if floor.record.standings.intent(ref).client_id != floor.setup.client_id:
            return "another client sent it, and only that one can modify it"
        return "the first orders of this run are not proven yet" if floor.outbox.on_trial() else ""

    def _opens(self, ticket: Ticket) -> str:
        floor, ref = self._floor, ticket.ref
        without = floor.outbox.queued | {ref}
        return floor.counter.opens(ticket, ticket.quantity, floor.record.purpose(ref), without)

    def modify(self, tickets: Sequence[Ticket], why: Why, now: int) -> str:
        """Give exits other prices, all of them or none. Return why not, "" once they are journalled and sent.

        One whose price stays the same is noted and not sent. It halts where one is turned down on this side, which
        would turn down the order that is to take its place as well: then what protects stays as it is.
        """
        tickets = self._floor.counter.rounded(tuple(tickets))
        for ticket in tickets:
            refused = self.refusal(ticket, now)
            if refused:
                return f"{ticket.ref}: {refused}"
        record = self._floor.record
        before = {ticket.ref: (record.ticket(ticket.ref), record.reasons[ticket.ref]) for ticket in tickets}
        moved = [ticket.ref for ticket in tickets if ticket != before[ticket.ref][0]]
        aims = [(ticket, record.purpose(ticket.ref)) for ticket in tickets]
        record.modify([(ticket, Reason(aim, why.bar, why.expires, why.text)) for ticket, aim in aims], now)
        for ref in moved:  # what does not get out now is put right once the books have been read
            if self._floor.send(ref, now, MOVED, again=True) is Sent.REFUSED:
                return self._take_back([before[left] for left in moved[moved.index(ref) :]], now)
            self._moved.add(ref)
            self._unconfirmed.setdefault(ref, now)  # of one that is moved again and again, since when
        return ""

    def _take_back(self, before: Sequence[tuple[Ticket, Reason]], now: int) -> str:
        refs = ", ".join(ticket.ref for ticket, _ in before)
        told = f"{refs}: as before at the broker, other prices were not sent: {self._floor.outbox.refusal}"
        self._floor.record.modify(before, now)
        self._floor.stop(told, now)
        return told

    def take(self, reports: Iterable[Report], now: int) -> None:
        """Take what the broker says: it confirms a change, or turns it down, and then nobody knows what it has.

        Its last word counts, also one that it has said before: of changes that follow one another closely, the earlier
        ones are told while the newest is under way.
        """
        record = self._floor.record
        ids = {record.order_id(ref) for ref in self._unconfirmed}
        for report in reports if self._moved else ():
            if isinstance(report, Echo) and report.ref in self._moved and open_echo(report):
                if echo_differences(record.ticket(report.ref), report).keys() & _PRICES:
                    self._unconfirmed.setdefault(report.ref, now)
                else:
                    self._unconfirmed.pop(report.ref, None)
            elif isinstance(report, Told) and report.order_id in ids and report.code in REFUSALS:
                self._floor.watch.soon(now)

    def look(self, now: int) -> None:
        """Have the broker's books read where a change was not confirmed in time."""
        patience = round(self._floor.setup.ack_s * SECOND)
        late = [ref for ref, at in self._unconfirmed.items() if at + patience <= now]
        for ref in late:
            del self._unconfirmed[ref]
            if not self._floor.record.standings[ref].is_final:
                self._floor.watch.soon(now)
