"""Shadow mode: live bars, the same decisions, and no order.

Two things keep an order in: the broker withholds whatever a strategy asks for, and the desk's way to TWS is one that
reads IB's books and can send nothing. A shadow has a folder, a journal and a client id of its own, so that it may
run beside the deployment itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from quant.core.orders import Report, Snapshot, Ticket
from quant.errors import ParameterError
from quant.ib.orders import Orders

SUFFIX: Final = ".shadow"  # of the folder; no name of a deployment has a dot
WITHHELD: Final = "shadow mode: no order leaves this machine"


class Silent:
    """The orders of a session without the means to send one."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

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
        """Return what was told since the last call."""
        return self._orders.reports()

    def damaged(self) -> Sequence[Any]:
        """Return what was told since the last call and could not be read."""
        return self._orders.damaged()

    def begin_snapshot(self) -> None:
        """Begin to read the broker's books."""
        self._orders.begin_snapshot()

    def snapshot(self) -> Snapshot | None:
        """Return a complete snapshot, once; None while there is none."""
        return self._orders.snapshot()
