"""Our orders at TWS: tickets out, reports in, snapshots of the broker's books. Nothing here waits for an answer.

It decides nothing: which order may be sent, under which id, and what its state is, is for quant/oms. Every report that
can be read is handed on as it came, in the order in which it came, whoever's order it is of; fills that TWS tells
again in a snapshot are told again here. What cannot be read is told as damaged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from ibapi.order_cancel import OrderCancel

from quant.core import clock
from quant.core.orders import Echo, Position, Report, Snapshot, Ticket
from quant.errors import BrokerError, NotConnected, ParameterError
from quant.ib.account import WhatIf, what_if
from quant.ib.asking import Pending
from quant.ib.codec import Event
from quant.ib.codes import GOES_ON
from quant.ib.desk import FIRST_REQUEST
from quant.ib.lookup import Found
from quant.ib.reports import READERS, Damaged, position, read
from quant.ib.session import Session
from quant.ib.snapshots import ENDS, Snapshots
from quant.ib.states import State
from quant.ib.tickets import quantised, to_ib

_log = logging.getLogger(__name__)


class Orders:
    """The orders of one session; used by the thread that polls it, one for each session.

    contracts: those that may be traded. now: the time in UTC, for the times of snapshots.
    """

    def __init__(
        self, session: Session, contracts: Iterable[Found] = (), *, now: Callable[[], datetime] = clock.now
    ) -> None:
        self._session = session
        self._contracts: dict[int, Found] = {}
        self._ids: dict[str, int] = {}  # ref -> order id, for parents
        self._what_ifs: dict[int, Pending[WhatIf]] = {}
        self._reports: list[Report | Position] = []
        self._damaged: list[Damaged] = []
        self._snapshots = Snapshots(session, now)
        for found in contracts:
            self.know(found)
        session.listen(self._take, "damaged", "state", "position", *READERS, *ENDS)

    # ------------------------------------------------------------ out
    def know(self, found: Found) -> None:
        """Allow orders of a contract that was looked up."""
        if found.facts.spec.con_id is None:
            raise ParameterError("contract", str(found.facts.spec), "it has no contract id; look it up first")
        self._contracts[found.facts.spec.con_id] = found

    def quantised(self, ticket: Ticket) -> Ticket:
        """Return the ticket as `place` would send it, prices on the contract's steps. Raises ParameterError."""
        return quantised(ticket, self._contract(ticket))

    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        """Send an order under an id that the caller gives; under the id of an open one it changes that one.

        parent_id: the id of the ticket's parent, where the parent was not seen by this object.
        ParameterError, NotConnected and RequestFailed: nothing was sent. LinkLost: it may have been sent, or not.
        """
        contract, order = to_ib(ticket, self._contract(ticket), self._parent(ticket, parent_id))
        self._check(order_id, ticket)
        if self._session.state is not State.READY:
            raise NotConnected(f"order {order_id}", self._session.state.value)
        self._what_ifs.pop(order_id, None)
        self._ids[ticket.ref] = order_id
        self._session.tell(f"order {order_id}", lambda c: c.placeOrder(order_id, contract, order))

    def cancel(self, order_id: int) -> None:
        """Ask for the end of an order of this client; also while TWS has lost IB.

        NotConnected: nothing was sent. LinkLost: it may have been sent, or not.
        """
        self._session.tell(
            f"the cancel of order {order_id}", lambda c: c.cancelOrder(order_id, OrderCancel())
        )

    def cancel_all(self) -> None:
        """Ask for the end of every order of the login: of all clients, and made by hand. As `cancel` otherwise."""
        self._session.tell("the cancel of all orders", lambda c: c.reqGlobalCancel(OrderCancel()))

    def what_if(self, order_id: int, ticket: Ticket) -> Pending[WhatIf]:
        """Ask what an order would change; `poll` brings the end of it. order_id: a fresh one. Raises ParameterError."""
        self._check(order_id, ticket)
        request = what_if(order_id, ticket, self._contract(ticket))
        self._what_ifs[order_id] = self._session.begin(request)
        return self._what_ifs[order_id]

    # ------------------------------------------------------------ in
    def reports(self) -> list[Report | Position]:
        """Return the reports since the last call, oldest first; of positions the changes outside of a snapshot's list.

        TWS tells those from the end of the first snapshot on, whoever traded, of contracts that are known here.
        """
        found, self._reports = self._reports, []
        return found

    def damaged(self) -> list[Damaged]:
        """Return what could not be read since the last call: after it only a snapshot tells what is so."""
        found, self._damaged = self._damaged, []
        return found

    # ------------------------------------------------------------ snapshots
    @property
    def epoch(self) -> int:
        """The number of connections so far."""
        return self._snapshots.epoch

    @property
    def snapshot_under_way(self) -> bool:
        """True from `begin_snapshot` until the snapshot is complete or has failed."""
        self._snapshots.advance()
        return self._snapshots.under_way

    @property
    def snapshot_trouble(self) -> BrokerError | None:
        """Why the last snapshot failed; None if it did not."""
        self._snapshots.advance()
        return self._snapshots.trouble

    def begin_snapshot(self) -> None:
        """Begin to read the broker's books, unless that is under way. Raises NotConnected."""
        self._snapshots.advance()
        self._snapshots.begin()

    def snapshot(self) -> Snapshot | None:
        """Return a complete snapshot, once; None while there is none, also after a failure."""
        return self._snapshots.take()

    # ------------------------------------------------------------ small parts
    def _take(self, event: Event) -> None:
        """Take an event of the session; never raises."""
        name, args = event
        try:
            if name == "damaged":
                self._damaged.append(Damaged(f"message {args[0]}", str(args[1])))
            elif name == "position" and not self._snapshots.lists_positions:
                held = position(*args)
                if held.con_id in self._contracts:
                    self._reports.append(held)
            elif name in READERS and not self._of_what_if(event):
                report = read(event)
                if report is not None:
                    self._reports.append(report)
                if isinstance(report, Echo) and report.client_id == self._session.client_id and report.ref:
                    self._ids[report.ref] = report.order_id
            self._snapshots.saw(event)
        except ValueError as e:
            _log.warning("%s cannot be read: %s", name, e)
            self._damaged.append(Damaged(name, f"{e}; it said {_words(args)}"))

    def _of_what_if(self, event: Event) -> bool:
        """Return whether an event is about an order that is only calculated; an error ends its calculation."""
        name, args = event
        id_, client = args[0], self._session.client_id
        if name == "error" and id_ in self._what_ifs:
            verdict = self._session.codes.judge(args[2], args[3])
            if verdict.kind not in GOES_ON:
                pending = self._what_ifs[id_]
                pending.fail(verdict.error(pending.request.what))
            return True
        if name == "openOrder":
            return id_ in self._what_ifs and args[2].clientId == client
        return name == "orderStatus" and id_ in self._what_ifs and args[8] == client

    def _contract(self, ticket: Ticket) -> Found:
        found = self._contracts.get(ticket.con_id)
        if found is None:
            raise ParameterError("con_id", ticket.con_id, f"{ticket.symbol} is no contract of this run")
        return found

    def _parent(self, ticket: Ticket, parent_id: int | None) -> int:
        if not ticket.parent:
            return 0
        known = self._ids.get(ticket.parent) if parent_id is None else parent_id
        if known is None:
            raise ParameterError("parent", ticket.parent, "no order of this name was placed; place it first")
        return known

    def _check(self, order_id: int, ticket: Ticket) -> None:
        if not 0 < order_id < FIRST_REQUEST:
            mend = "In TWS: Global Configuration > API > Settings > Reset API order ID sequence"
            raise ParameterError("order_id", order_id, f"not from 1 to {FIRST_REQUEST - 1}. {mend}")
        if ticket.account not in self._session.accounts:
            ours = ", ".join(self._session.accounts) or "none"
            raise ParameterError("account", ticket.account, f"TWS is logged in to {ours}")


def _words(args: tuple[Any, ...]) -> str:
    """Return the plain values of an event and of ibapi's objects in it, at most a few lines."""
    parts = []
    for arg in args:
        held = vars(arg) if hasattr(arg, "__dict__") else {"": arg}
        parts += [
            f"{k}={v}" if k else str(v) for k, v in held.items() if isinstance(v, str | int | float) and v
        ]
    return ", ".join(parts)[:400]
