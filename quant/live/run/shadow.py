"""Shadow mode: live bars, the same decisions, and no order.

Two things keep an order in: the broker withholds whatever a strategy asks for, and the desk's way to TWS is one that
can send nothing. That one shows the desk the books of an account in which nothing ever happens: a shadow has nothing
at IB, and what others do there is none of its business. It has a folder, a journal and a client id of its own, so
that it may run beside the deployment itself, and against a TWS whose API is read-only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from quant.core.orders import Report, Snapshot, Ticket
from quant.errors import ParameterError
from quant.ib.orders import Orders

SUFFIX: Final = ".shadow"  # of the folder; no name of a deployment has a dot
WITHHELD: Final = "shadow mode: no order leaves this machine"


class Silent:
    """The orders of a session without the means to send one. now: UTC ns."""

    def __init__(self, orders: Orders, now: Callable[[], int]) -> None:
        self._orders, self._now = orders, now
        self._asked: int | None = None

    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        """Send nothing. Raises ParameterError."""
        raise ParameterError("order", order_id, WITHHELD)

    def cancel(self, order_id: int) -> None:
        """Send nothing. Raises ParameterError."""
        raise ParameterError("order", order_id, WITHHELD)

    def quantised(self, ticket: Ticket) -> Ticket:
        """Return the ticket as it would stand at IB."""
        return self._orders.quantised(ticket)

    def reports(self) -> Sequence[Report]:
        """Return none; what TWS tells of others' orders is taken off its queue."""
        self._orders.reports()
        return ()

    def damaged(self) -> Sequence[Any]:
        """Return none."""
        self._orders.damaged()
        return ()

    def begin_snapshot(self) -> None:
        """Begin to read the books, which are empty."""
        self._asked = self._now()

    def snapshot(self) -> Snapshot | None:
        """Return the empty books, once; None before they were asked for."""
        asked, self._asked = self._asked, None
        return None if asked is None else Snapshot(asked, self._now(), 1, 1, (), (), (), (), (), ())
