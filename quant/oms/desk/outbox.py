"""What is committed and not sent yet, and the one place that sends. An order leaves here only once it is journalled."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from decimal import Decimal
from enum import Enum

from quant.core.orders import Ticket
from quant.errors import BrokerError, LinkLost, NotConnected, ParameterError
from quant.oms.desk.record import Record
from quant.oms.desk.setup import Broker
from quant.oms.failpoints import reach
from quant.oms.ledger import What

Group = tuple[str, ...]  # refs of an order and its children, the order first


class Sent(Enum):
    """What became of a send."""

    OUT = "sent"
    REFUSED = "turned down on this side; nothing was sent"
    NO_LINK = "no connection; nothing was sent"
    UNKNOWN = "the connection broke; nobody knows whether it was sent"


class Outbox:
    """Orders that wait, first in, first out, so that ids go out in rising order."""

    def __init__(self, record: Record, broker: Broker, client_id: int) -> None:
        self._client_id = client_id
        self._record = record
        self._broker = broker
        self._groups: deque[Group] = deque()
        self.sizes: dict[str, Decimal] = {}  # by ref: with how much it was last sent in this run
        self.refusal = ""  # why the last one that was turned down on this side was
        self._trial: frozenset[str] | None = (
            None  # the first orders of this run, until the broker told of one
        )

    @property
    def queued(self) -> frozenset[str]:
        """What was not sent yet."""
        return frozenset(ref for group in self._groups for ref in group)

    @property
    def groups(self) -> tuple[Group, ...]:
        """What waits, in order."""
        return tuple(self._groups)

    def add(self, group: Group) -> None:
        """Put a group at the end."""
        self._groups.append(group)

    def head(self) -> Group | None:
        """Return what comes next, None if nothing waits."""
        return self._groups[0] if self._groups else None

    def pop(self) -> Group:
        """Take what comes next off the queue."""
        return self._groups.popleft()

    def put_back(self, group: Group) -> None:
        """Put at the front what could not be sent."""
        self._groups.appendleft(group)

    def drop(self, ref: str, why: str, now: int) -> None:
        """Never send the group that an order belongs to: an entry must not go without its exits."""
        group = next(g for g in self._groups if ref in g)
        for one in group:
            self._record.mark(one, What.NOT_SENT, now, why)
        self._groups.remove(group)

    def on_trial(self) -> bool:
        """Return whether the first orders of this run are out and the broker has not told of them.

        The first travels alone: paper servers are known to swallow it and all that follows at once (LEAN.IB 93, 252).
        """
        if not self._trial:
            return False
        standings = [self._record.standings[ref] for ref in self._trial]
        if any(s.perm_ids or s.filled != 0 for s in standings):
            self._trial = frozenset()  # proven, for this run
        elif all(s.is_final for s in standings):
            self._trial = None  # the next one is the first
        return bool(self._trial)

    def tried(self, group: Group) -> None:
        """Note that a group goes out."""
        if self._trial is None:
            self._trial = frozenset(group)

    def send(
        self, ref: str, now: int, why: str = "", *, again: bool = False, quantity: Decimal | None = None
    ) -> Sent:
        """Send a journalled order, and note it. again: it was sent before, with all that belongs to it.

        quantity: in place of what was asked, with what is filled.
        No later order of its bracket comes to transmit it then: alone it would rest in TWS for ever, unseen. And where
        its entry is over, TWS knows that id no more (135): it stands by itself.
        """
        ticket = self._record.ticket(ref)
        if again:
            over = bool(ticket.parent) and self._record.standings[ticket.parent].is_final
            ticket = replace(ticket, transmit=True, parent="" if over else ticket.parent)
        if quantity is not None:
            ticket = replace(ticket, quantity=quantity)
        reach("before_send")
        try:
            self._broker.place(self._record.order_id(ref), ticket, self._parent_id(ticket))
        except LinkLost as e:
            self._record.mark(ref, What.SENT, now, f"{why}; {e}".removeprefix("; "))
            return Sent.UNKNOWN
        except NotConnected:
            return Sent.NO_LINK
        except (BrokerError, ParameterError) as e:
            self.refusal = str(e)
            if self._record.trail(ref).sends == 0:
                self._record.mark(ref, What.NOT_SENT, now, str(e))
            return Sent.REFUSED
        reach("after_send")
        self.sizes[ref] = ticket.quantity
        self._record.mark(ref, What.SENT, now, why)
        return Sent.OUT

    def _parent_id(self, ticket: Ticket) -> int | None:
        return self._record.order_id(ticket.parent) if ticket.parent else None

    def cancel(self, ref: str) -> bool:
        """Ask the broker for an order's end; False if it cannot be asked now, or only by another client."""
        if self._record.standings.intent(ref).client_id != self._client_id:
            return False
        try:
            self._broker.cancel(self._record.order_id(ref))
        except BrokerError:
            return False
        return True
