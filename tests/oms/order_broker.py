"""A broker in memory; faults by seed: callbacks lost, late, doubled and reordered, orders dropped, connections broken.

Rules by live-faults §1.2 and tws-protocol §4: an id that is known is modified or refused with 103, callbacks of a
broken connection are gone, a snapshot is read piece by piece while the market goes on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from quant.core.orders import (
    Commission,
    Completed,
    Echo,
    Execution,
    Kind,
    Position,
    Report,
    Snapshot,
    Status,
    Ticket,
    Told,
)
from quant.errors import LinkLost, NotConnected

SECOND = 1_000_000_000
OPEN = ("PendingSubmit", "PreSubmitted", "Submitted")


@dataclass(frozen=True, slots=True)
class Faults:
    """Chances for each order, callback or second. late_s: longest time until a late order is booked."""

    drop: float = 0.0  # the order vanishes without an answer
    late: float = 0.0  # booked only later, whatever becomes of the connection
    late_s: float = 0.0
    break_before: float = 0.0  # the connection breaks while sending: the order is lost
    break_after: float = 0.0  # the same: the order arrives
    lost: float = 0.0  # a callback never comes
    doubled: float = 0.0
    shuffled: float = 0.0
    cut: float = 0.0  # the connection breaks, each second
    rolled_back: bool = False  # nextValidId falls back at a new connection (LEAN.IB 242)


@dataclass(slots=True)
class Booked:
    ticket: Ticket
    client_id: int
    order_id: int
    perm_id: int
    status: str
    parent_id: int
    filled: Decimal = Decimal(0)
    held_back: bool = False  # Inactive, and among the open orders

    @property
    def left(self) -> Decimal:
        return self.ticket.quantity - self.filled

    @property
    def is_open(self) -> bool:
        return self.status in OPEN or (self.held_back and self.status == "Inactive")


@dataclass
class FakeBroker:
    """A quant.oms.desk.setup.Broker; `run_to` moves its market, `reports` gives what a session would hand on."""

    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    client_id: int = 7
    account: str = "DU1"
    price: float = 100.0
    touches: float = 0.0  # chance each second that a working stop is touched
    exits_end: bool = False  # with an entry that ends after a part of it was filled
    instant: bool = True  # market orders fill at the next second, else only by `fill`
    on_place: Callable[[int, Ticket], None] = lambda order_id, ticket: None
    on_send: Callable[[str], None] = lambda what: None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = 0
        self.connected = False
        self.epoch = 0
        self.orders: dict[tuple[int, int], Booked] = {}
        self.executions: list[Execution] = []
        self.commissions: list[Commission] = []
        self.held: dict[int, Decimal] = {}
        self.symbols: dict[int, str] = {}
        self.inbox: list[Report] = []
        self.placed: list[tuple[int, Ticket]] = []
        self.perms_of: dict[str, set[int]] = {}
        self.wire_ids: dict[str, set[int]] = {}
        self.top_id = 0
        self.hide_positions = 0  # so many snapshots come with positions not loaded yet (row O11)
        self._late: list[tuple[int, int, Ticket, int | None]] = []
        self._pieces: dict[str, object] | None = None
        self._asked = 0
        self._done: Snapshot | None = None
        self._number = 0

    # ------------------------------------------------------------ the connection
    def connect(self) -> None:
        self.connected = True
        self.epoch += 1
        self.inbox.clear()
        self._pieces = self._done = None

    def disconnect(self) -> None:
        self.connected = False
        self.inbox.clear()
        self._pieces = self._done = None

    @property
    def next_order_id(self) -> int:
        return 1 if self.faults.rolled_back else self.top_id + 1

    # ------------------------------------------------------------ Broker
    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if not self.connected:
            raise NotConnected(f"order {order_id}", "down")
        self.on_place(order_id, ticket)
        self.placed.append((order_id, ticket))
        self.wire_ids.setdefault(ticket.ref, set()).add(order_id)
        chance = self.random.random()
        for share, fault in (
            (self.faults.drop, "drop"), (self.faults.late, "late"),
            (self.faults.break_before, "before"), (self.faults.break_after, "after"),
        ):  # fmt: skip
            if chance < share:
                self._place_badly(fault, order_id, ticket, parent_id)
                return
            chance -= share
        self.book(order_id, ticket, parent_id)

    def _place_badly(self, fault: str, order_id: int, ticket: Ticket, parent_id: int | None) -> None:
        if fault == "late":
            wait = self.random.uniform(0, self.faults.late_s)
            self._late.append((self.now + round(wait * SECOND), order_id, ticket, parent_id))
        if fault == "after":
            self.book(order_id, ticket, parent_id)
        if fault in ("before", "after"):
            self.disconnect()
            raise LinkLost("reset", f"order {order_id}")

    def cancel(self, order_id: int) -> None:
        if not self.connected:
            raise NotConnected(f"cancel {order_id}", "down")
        order = self.orders.get((self.client_id, order_id))
        if order is None:
            self.say(Told(order_id, 10147, "OrderId that needs to be cancelled is not found", self.now))
        elif not order.is_open:
            self.say(Told(order_id, 10148, "OrderId cannot be cancelled", self.now))
        else:
            self.end(order, "Cancelled")
            self.say(Told(order_id, 202, "Order Canceled", self.now))

    def begin_snapshot(self) -> None:
        if not self.connected:
            raise NotConnected("snapshot", "down")
        if self._pieces is None:
            self._pieces, self._asked = {}, self.now

    def snapshot(self) -> Snapshot | None:
        done, self._done = self._done, None
        return done

    # ------------------------------------------------------------ its books
    def book(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        key = (self.client_id, order_id)
        self.top_id = max(self.top_id, order_id)
        self.symbols[ticket.con_id] = ticket.symbol
        if key in self.orders:
            order = self.orders[key]
            if not order.is_open or order.ticket.ref != ticket.ref:
                self.say(Told(order_id, 103, "Duplicate order id", self.now))
                return
            order.ticket = replace(ticket, quantity=ticket.quantity)
            self.tell(order)
            return
        self._number += 1
        order = Booked(ticket, self.client_id, order_id, 1000 + self._number, "PendingSubmit", parent_id or 0)
        self.orders[key] = order
        self.perms_of.setdefault(ticket.ref, set()).add(order.perm_id)
        parent = self.orders.get((self.client_id, parent_id or 0))
        if parent_id and (parent is None or (not parent.is_open and parent.filled == 0)):
            self.end(order, "Cancelled")
            return
        if ticket.transmit:
            self._transmit(order)
        self.tell(order)

    def _transmit(self, order: Booked) -> None:
        family = order.parent_id or order.order_id
        for other in self.orders.values():
            if family in (other.order_id, other.parent_id) and other.status == "PendingSubmit":
                other.status = "PreSubmitted" if other.parent_id else "Submitted"
                self.tell(other)

    def tell(self, order: Booked) -> None:
        self.say(self.echo(order))
        self.say(self.status(order))

    def echo(self, order: Booked) -> Echo:
        t = order.ticket
        return Echo(
            t.account, t.con_id, t.symbol, order.order_id, order.client_id, order.perm_id, t.ref, t.quantity,
            t.kind.value, t.limit, t.stop, t.tif.value, order.status, order.parent_id, t.oca,
        )  # fmt: skip

    def status(self, order: Booked) -> Status:
        return Status(
            order.order_id,
            order.client_id,
            order.perm_id,
            order.status,
            abs(order.filled),
            abs(order.left),
            self.price,
        )

    def end(self, order: Booked, status: str) -> None:
        order.status = status
        self.tell(order)
        for child in list(self.orders.values()):
            goes = order.filled == 0 or self.exits_end
            if child.parent_id == order.order_id and child.is_open and goes and status != "Filled":
                self.end(child, "Cancelled")

    def hold_back(self, order: Booked, listed_open: bool) -> None:
        """Make an order Inactive, without a word why."""
        order.status, order.held_back = "Inactive", listed_open
        self.tell(order)

    def let_go(self, order: Booked) -> None:
        """Let it work again."""
        order.status, order.held_back = "Submitted", False
        self.tell(order)

    def fill(self, order: Booked, quantity: Decimal) -> Execution:
        self._number += 1
        order.filled += quantity
        ticket = order.ticket
        self.held[ticket.con_id] = self.held.get(ticket.con_id, Decimal(0)) + quantity
        execution = Execution(
            f"0001.{self._number:08x}.01.01", ticket.account, ticket.con_id, ticket.symbol, order.order_id,
            order.client_id, order.perm_id, ticket.ref, self.now, quantity, self.price, abs(order.filled), self.price,
        )  # fmt: skip
        self.executions.append(execution)
        self.say(execution)
        commission = Commission(execution.exec_id, 1.0, "USD")
        self.commissions.append(commission)
        if order.left == 0:
            order.status = "Filled"
            for other in list(self.orders.values()):
                if (
                    other is not order
                    and other.ticket.oca
                    and other.ticket.oca == ticket.oca
                    and other.is_open
                ):
                    self.end(other, "Cancelled")
        self.tell(order)
        self.say(commission)
        return execution

    def trade_by_hand(self, con_id: int, quantity: int) -> None:
        """Somebody trades in TWS."""
        self._number += 1
        order = Booked(
            Ticket("", self.account, con_id, self.symbols.get(con_id, "SPY"), Decimal(quantity)), 0, -self._number,
            1000 + self._number, "Submitted", 0,
        )  # fmt: skip
        self.orders[0, order.order_id] = order
        self.fill(order, order.ticket.quantity)

    # ------------------------------------------------------------ time
    def run_to(self, now: int) -> None:
        """Go on to `now`: late bookings, fills, one piece of a snapshot, breaks."""
        self.now = now
        for due in [item for item in self._late if item[0] <= now]:
            self._late.remove(due)
            self.book(*due[1:])
        if self.instant:
            self._fill_some()
        if self._pieces is not None:
            self._read_piece()
        if self.connected and self.random.random() < self.faults.cut:
            self.disconnect()

    def _fill_some(self) -> None:
        for order in list(self.orders.values()):
            touched = order.ticket.kind is Kind.STOP and self.random.random() < self.touches
            if order.status == "Submitted" and (order.ticket.kind is Kind.MARKET or touched):
                whole = self.random.random() < 0.6 or abs(order.left) == 1
                self.fill(order, order.left if whole else (order.left / 2).to_integral_value())
        for order in list(self.orders.values()):
            parent = self.orders.get((order.client_id, order.parent_id))
            if order.status == "PreSubmitted" and parent is not None and parent.status == "Filled":
                order.status = "Submitted"
                self.tell(order)

    def _read_piece(self) -> None:
        pieces = self._pieces
        assert pieces is not None
        if "orders" not in pieces:
            pieces["orders"] = [(self.echo(o), self.status(o)) for o in self.orders.values() if o.is_open]
        elif "completed" not in pieces:
            pieces["completed"] = tuple(
                Completed(
                    o.ticket.account, o.ticket.con_id, o.ticket.symbol, o.perm_id, o.ticket.ref, o.ticket.quantity,
                    abs(o.filled), o.status,
                )
                for o in self.orders.values()
                if not o.is_open
            )  # fmt: skip
        elif "executions" not in pieces:
            pieces["executions"] = (tuple(self.executions), tuple(self.commissions))
        else:
            self._finish(pieces)

    def _finish(self, pieces: dict[str, object]) -> None:
        positions = tuple(
            Position(self.account, con_id, self.symbols.get(con_id, "SPY"), quantity, 100.0)
            for con_id, quantity in self.held.items()
        )
        if self.hide_positions > 0:
            self.hide_positions -= 1
            positions = ()
        orders, (executions, commissions) = pieces["orders"], pieces["executions"]  # type: ignore[misc]
        self._done = Snapshot(
            self._asked, self.now, self.epoch, self.next_order_id, tuple(e for e, _ in orders),  # type: ignore[attr-defined]
            tuple(s for _, s in orders), pieces["completed"], executions, commissions, positions,  # type: ignore[attr-defined, arg-type, has-type]
        )  # fmt: skip
        self._pieces = None

    # ------------------------------------------------------------ callbacks
    def say(self, report: Report) -> None:
        if self.connected and self.random.random() >= self.faults.lost:
            self.inbox.append(report)
            if self.random.random() < self.faults.doubled:
                self.inbox.append(report)

    def reports(self) -> list[Report]:
        found, self.inbox = self.inbox, []
        if self.random.random() < self.faults.shuffled:
            self.random.shuffle(found)
        return found
