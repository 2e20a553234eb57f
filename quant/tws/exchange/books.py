"""The exchange's books: every order, its family and its group, and what a fill or an end of one does to the others.

Knows no market and no clock. Assumed, for want of a real TWS: children wake when their parent has filled whole, and
end with a parent that ends otherwise, even if it filled in part; they are one group, named after the parent's perm id,
of which a fill reduces the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import Final

from quant.tws.exchange.account import Account
from quant.tws.exchange.commission import commission
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import (
    CANCEL_REST,
    NEXT,
    REDUCE,
    STOPS,
    Changed,
    Charged,
    Event,
    Executed,
    Happening,
    Key,
    Opened,
    OrderRequest,
    OrderView,
    Status,
    Told,
)
from quant.tws.exchange.steps import Day, Fill, Look, Work

_EXEC: Final = "0000e0d5"  # IB's first part names the server; ours is always the same
_SECOND: Final = 1_000_000_000  # ns


@dataclass(slots=True)
class Working:
    """An order on its way. decided_at: of the newest version of it. seen: up to when it was looked at.

    woken_at: when its parent filled; of one without a parent, when it came. Until then None. look: what the model
    found and what has not happened yet. held_until: a mishap keeps it from the exchange until then.
    """

    view: OrderView
    day: Day | None
    decided_at: int
    woken_at: int | None
    seen: int = -1
    at_exchange: bool = False
    elected_at: int | None = None
    charged: float = 0.0
    look: Look | None = None
    held_until: int = 0
    parent: int | None = None  # perm id

    @property
    def transmitted(self) -> bool:
        """Whether it has left TWS."""
        return self.view.status != Status.PENDING_SUBMIT

    @property
    def since(self) -> int | None:
        """From when it works, None while nothing will wake it."""
        if self.day is None or self.woken_at is None or self.view.status == Status.INACTIVE:
            return None
        return max(self.day.active_at, self.woken_at, self.held_until)

    @property
    def expires_at(self) -> int | None:
        """When it ends unfilled, None if it never does."""
        request = self.view.request
        if request.tif == "GTD":
            return request.good_till
        return self.day.expires_at if request.tif == "DAY" and self.day is not None else None

    def work(self) -> Work:
        """Return what a model is asked."""
        since = self.since
        if since is None:
            raise RuntimeError("an order that nothing has woken is no work")
        request, view = self.view.request, self.view
        return Work(request, view.remaining, self.decided_at, since, self.seen, view.stop, self.elected_at)


class Books:
    """One account's orders and fills. plan: of quant.core.costs. perm_id: the least of the next order.

    calm_until: UTC ns before which nothing happens by itself; 0 after all that may let something happen.
    IB uses no perm id and no execution id twice. Both begin with their second here, so that a TWS that is started for a
    later time goes on with others, and one that is started for the same time repeats its own.
    """

    def __init__(self, account: Account, plan: str, perm_id: int, cash_check: bool) -> None:
        self.account = account
        self.orders: dict[int, Working] = {}  # by perm id
        self._alive: dict[int, Working] = {}  # of them those that are not over for good
        self._late: dict[int, Working] = {}  # and those that had not ended when `ended` was asked last
        self.executions: list[tuple[Executed, Charged]] = []
        self.calm_until = 0
        self._by_key: dict[Key, int] = {}
        self._plan = plan
        self._perm_id = perm_id
        self._cash_check = cash_check
        self._fills: Counter[int] = Counter()  # by second

    # ------------------------------------------------------------ what there is
    def find(self, key: Key) -> Working | None:
        """Return the newest order under a key."""
        perm_id = self._by_key.get(key)
        return None if perm_id is None else self.orders.get(perm_id)

    def open(self) -> Iterator[Working]:
        """Yield the orders that are not over, by perm id, those that rest in TWS among them."""
        found = [one for one in self._alive.values() if not one.view.over]
        if len(found) < len(self._alive):
            self._alive = {one.view.perm_id: one for one in found}
        return iter(found)

    def ended(self, since: int) -> list[OrderView]:
        """Return the orders that ended from a moment on, by perm id; `since` rises."""
        views = [(perm_id, self._late[perm_id].view) for perm_id in sorted(self._late)]
        self._late = {p: self._late[p] for p, v in views if v.done_at is None or v.done_at >= since}
        return [view for perm_id, view in views if perm_id in self._late and view.over]

    def children(self, parent: Working) -> list[Working]:
        """Return the open children of an order."""
        return [one for one in self.open() if one.parent == parent.view.perm_id]

    def group(self, one: Working) -> list[Working]:
        """Return the other open orders of an order's OCA group."""
        name = one.view.request.oca
        return [
            o for o in self.open() if name and o is not one and o.view.request.oca == name and o.transmitted
        ]

    def fee(self, listing: Listing, quantity: float, price: float) -> float:
        """Return what a whole order costs, in the listing's currency."""
        return commission(self._plan, listing, quantity, price)

    # ------------------------------------------------------------ what comes and goes
    def add(self, request: OrderRequest, day: Day | None, now: int) -> Working:
        """Take a new order into the books; it rests until `transmit`."""
        self._perm_id = max(self._perm_id, now // _SECOND)
        view = OrderView(request, self._perm_id, Status.PENDING_SUBMIT, Decimal(0), 0.0, 0.0, now)
        one = Working(view, day, now, now, seen=now - 1)
        parent = self.find((request.key[0], request.parent)) if request.parent else None
        if parent is not None:
            one.parent = parent.view.perm_id
            one.woken_at = now if parent.view.status == Status.FILLED else None
            if not request.oca:
                family = replace(request, oca=str(one.parent), oca_type=REDUCE)
                one.view = replace(view, request=family)
        self.orders[self._perm_id] = self._alive[self._perm_id] = self._late[self._perm_id] = one
        self._by_key[request.key] = self._perm_id
        self._perm_id += 1
        return one

    def family(self, one: Working) -> list[Working]:
        """Return an order with its resting parent and siblings: what its transmission sends."""
        if one.parent is None:
            return [one]
        return [o for o in self.open() if one.parent in (o.parent, o.view.perm_id)]

    def transmit(self, one: Working) -> list[Event]:
        """Send an order from TWS."""
        self.calm_until = 0
        held = "child" if one.woken_at is None else "trigger" if one.view.request.kind in STOPS else ""
        one.view = replace(one.view, status=NEXT[one.view.status, Happening.TRANSMIT], held=held)
        return told(one)

    def rename(self, one: Working, key: Key) -> None:
        """Give an order another key: the binding of one that was made by hand."""
        del self._by_key[one.view.request.key]
        one.view = replace(one.view, request=replace(one.view.request, key=key))
        self._by_key[key] = one.view.perm_id

    def forget(self, one: Working) -> None:
        """Strike an order as if it had never come."""
        del self.orders[one.view.perm_id]
        self._alive.pop(one.view.perm_id, None)
        self._late.pop(one.view.perm_id, None)
        if self._by_key.get(one.view.request.key) == one.view.perm_id:
            del self._by_key[one.view.request.key]

    # ------------------------------------------------------------ what happens to one
    def reach(self, one: Working) -> list[Event]:
        """Note that an order works at the exchange now; a stop waits there until it is elected."""
        one.at_exchange = True
        if one.view.request.kind in STOPS:
            if one.view.held == "trigger":
                return []
            one.view = replace(one.view, held="trigger")
            return told(one)
        return self.submit(one)

    def submit(self, one: Working) -> list[Event]:
        """Note that an order is in the market."""
        one.view = replace(one.view, status=NEXT[one.view.status, Happening.AT_EXCHANGE], held="")
        return told(one)

    def fill(self, one: Working, fill: Fill) -> list[Event]:
        """Book a fill, or reject the order where the backtest's cash check does; then see to family and group."""
        self.calm_until = 0  # for its family and its group
        view, request = one.view, one.view.request
        filled = view.filled + fill.quantity
        average = fill.price
        if view.filled:
            average = (view.average * float(view.filled) + float(fill.quantity) * fill.price) / float(filled)
        fee = self.fee(request.listing, float(filled), average) - one.charged
        signed = fill.quantity * request.side
        one.look, one.seen = None, max(fill.time, one.seen)
        if self._cash_check and not self.account.covers(request.listing, signed, fill.price, fee):
            text = "cash would not cover it (the backtest's rule, at the fill's price)"
            return self.reject(one, fill.time, text)
        one.charged += fee
        before, whole = view.remaining, filled == request.quantity
        # A fill after the end leaves a cancelled order filled, or as it was if only a part came.
        moved = Happening.LAST_FILL if whole else Happening.PART_FILL
        status = NEXT.get((view.status, moved), Status.FILLED if whole else view.status)
        one.view = replace(
            view, status=status, filled=filled, average=average, last=fill.price, held="",
            done_at=fill.time if whole else view.done_at, ended=f"Filled Size: {filled}" if whole else view.ended,
        )  # fmt: skip
        self._late[view.perm_id] = one  # one that was cancelled ends once more
        executed, charged = self.execute(one, fill, signed, fee)
        events: list[Event] = [executed, Opened(one.view), Changed(one.view), charged]
        for other in self.group(one):
            events += self._joined(other, one, fill, before)
        if whole:
            for child in self.children(one):
                child.woken_at = fill.time
                child.seen = fill.time - 1
        return events

    def execute(self, one: Working, fill: Fill, signed: Decimal, fee: float) -> tuple[Executed, Charged]:
        """Book a fill in the account and in the list of executions."""
        view, listing = one.view, one.view.request.listing
        booked = self.account.book(listing, signed, fill.price, fee)
        second = fill.time // _SECOND
        self._fills[second] += 1
        exec_id = f"{_EXEC}.{second:08x}.{self._fills[second]:02d}.01"
        executed = Executed(
            view, exec_id, fill.time, fill.quantity, fill.price, view.filled, view.average, listing.exchange
        )
        charged = Charged(executed.exec_id, view.request.key, fee, listing.currency, booked.realized)
        self.executions.append((executed, charged))
        return executed, charged

    def _joined(self, other: Working, one: Working, fill: Fill, before: Decimal) -> list[Event]:
        """Return what a fill of `one` does to another order of its group. before: what was left of `one`."""
        share = Decimal(1)
        if one.view.request.oca_type != CANCEL_REST:
            share = fill.quantity / before
        lost = min((other.view.remaining * share).to_integral_value(ROUND_CEILING), other.view.remaining)
        if share == 1 or lost == other.view.remaining:
            return self.cancel(other, fill.time)
        request = replace(other.view.request, quantity=other.view.request.quantity - lost)
        other.view, other.look = replace(other.view, request=request), None
        return told(other)

    def reject(self, one: Working, at: int, reason: str) -> list[Event]:
        """End an order with 201."""
        text = f"Order rejected - reason:{reason}"
        one.view = replace(
            one.view, status=NEXT[one.view.status, Happening.REJECT], done_at=at, held="", ended=text
        )
        return [Told(one.view.request.key, 201, text), *told(one), *self._orphaned(one, at)]

    def cancel(self, one: Working, at: int, code: int = 202, reason: str = "") -> list[Event]:
        """End an order, its children with it; of one that rests in TWS nobody was told."""
        ended = "Cancelled by Trader" if not reason else f"Cancelled: {reason}"
        known = one.transmitted
        one.view = replace(
            one.view, status=NEXT[one.view.status, Happening.CANCEL], done_at=at, held="", ended=ended
        )
        text = f"Order Canceled - reason:{reason}"
        events: list[Event] = [Changed(one.view), Told(one.view.request.key, code, text)] if known else []
        return events + self._orphaned(one, at)

    def _orphaned(self, one: Working, at: int) -> list[Event]:
        events: list[Event] = []
        for child in self.children(one):
            events += self.cancel(child, at)
        return events


def told(one: Working) -> list[Event]:
    """Return an order's openOrder and orderStatus."""
    return [Opened(one.view), Changed(one.view)]
