"""backtrader's orders in a live run: which of ours each is, and what a change of ours means for it. Sends nothing.

A clone is told of at every change, as backtrader's own broker does: Submitted, Accepted, then one for each fill
(Partial, the last one Completed), or an end. A commission that comes late is put into the fill, the order and the
trade that it belongs to, and the order is told of again, with no new fill; the trade is not: it would count twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import takewhile
from typing import Any, Final

import backtrader as bt
from backtrader.utils import AutoOrderedDict

from quant.core.orders import Ticket, TimeInForce
from quant.live.moments import instrument_of, last_close, number
from quant.live.orders.account import Bit
from quant.oms.fills import Fill
from quant.oms.state import OrderStanding, OrderState

_MONEY: Final = frozenset(
    {"margin", "margin-unknown", "settled-unknown", "unsettled-cash"}
)  # codes of refusals
_MARGIN: Final = re.compile(r"margin|equity|available funds|buying power|insufficient", re.IGNORECASE)
_WORKS: Final = (OrderState.WORKING, OrderState.PARTLY_FILLED, OrderState.CANCELLING)


@dataclass(slots=True, eq=False)
class Tracked:
    """An order of backtrader's. ref: its orderRef, "" until it is decided upon. at: when that was, UTC ns.

    sent: the desk has it. day: asked for until the session's end. cancelled: its end was asked for by us. codes: of the
    desk's refusals. anew: an entry on a bar on which an earlier process decided upon one that still rests. most: what
    was held when it went out in the place of another exit; it closes no more.
    """

    order: bt.Order
    day: bool = False
    ref: str = ""
    at: int = 0
    ticket: Ticket | None = None
    sent: bool = False
    cancelled: bool = False
    anew: bool = False
    most: Decimal | None = None
    codes: frozenset[str] = frozenset()
    bits: dict[str, Any] = field(default_factory=dict)  # by stem: backtrader's execution bit
    trades: dict[str, tuple[Any, Any]] = field(
        default_factory=dict
    )  # by stem: trade it closed, trade it opened

    @property
    def alive(self) -> bool:
        """True while more is expected of it."""
        return bool(self.order.alive())


class Tracker:
    """All orders of a run. owner_of: the strategy that an order belongs to."""

    def __init__(self, owner_of: Callable[[bt.Order], Any]) -> None:
        self._owner_of = owner_of
        self._notices: deque[tuple[bt.Order, Tracked, str]] = deque()
        self._told: tuple[bt.Order, Tracked, str, Any] | None = None
        self._by_number: dict[int, Tracked] = {}
        self._by_ref: dict[str, Tracked] = {}
        self._group_of: dict[int, int] = {}  # number -> that of the first of its OCO group
        self._groups: dict[int, list[Tracked]] = {}
        self._families: dict[int, list[Tracked]] = {}  # number of the parent -> children
        self._alive: dict[int, Tracked] = {}

    # ---------------------------------------------------------------- which is which
    def add(self, order: bt.Order, oco: bt.Order | None, day: bool) -> Tracked:
        """Take a new order."""
        one = Tracked(order, day)
        self._by_number[order.ref] = one
        self._alive[order.ref] = one
        leader = order.ref if oco is None else self._group_of.get(oco.ref, order.ref)
        self._group_of[order.ref] = leader
        self._groups.setdefault(leader, []).append(one)
        if order.parent is not None:
            self._families.setdefault(order.parent.ref, []).append(one)
        return one

    def name(self, one: Tracked, ref: str, at: int) -> None:
        """Note under which orderRef an order goes out."""
        one.ref, one.at = ref, at
        self._by_ref[ref] = one

    def get(self, order: bt.Order) -> Tracked | None:
        """Return what is known of an order or of a clone of it."""
        return self._by_number.get(order.ref)

    def of(self, ref: str) -> Tracked | None:
        """Return the order of an orderRef; None for one of an earlier process that is over."""
        return self._by_ref.get(ref)

    def alive(self) -> list[Tracked]:
        """Return the orders that may still fill, oldest first."""
        return list(self._alive.values())

    def group(self, one: Tracked) -> list[Tracked]:
        """Return the other orders of its OCO group."""
        return [o for o in self._groups.get(self._group_of[one.order.ref], []) if o is not one]

    def leader(self, one: Tracked) -> Tracked:
        """Return the first order of its OCO group; itself where it is alone."""
        return self._by_number[self._group_of[one.order.ref]]

    def children(self, one: Tracked) -> list[Tracked]:
        """Return the orders that its fill wakes."""
        return list(self._families.get(one.order.ref, ()))

    def siblings(self, one: Tracked) -> list[Tracked]:
        """Return the other children of its parent."""
        parent = one.order.parent
        return [] if parent is None else [o for o in self._families.get(parent.ref, ()) if o is not one]

    # ---------------------------------------------------------------- what is told
    def notify(self, one: Tracked, stem: str = "") -> None:
        """Put a clone in the queue of what the strategy is told. stem: of the fill that it brings."""
        clone = one.order.clone()
        clone.info = AutoOrderedDict(
            one.order.info
        )  # stock's clones share it, and would tell what came later
        self._notices.append((clone, one, stem))

    def next_notice(self) -> bt.Order | None:
        """Return the next clone to be told of, None at the end. What was told before has reached the trades by now."""
        self._bind()
        if not self._notices:
            return None
        clone, one, stem = self._notices.popleft()
        if stem:
            trades = self._trades(clone)
            self._told = clone, one, stem, trades[-1] if trades else None
        return clone

    def _bind(self) -> None:
        """Note which trades a fill went into, for a commission that comes later."""
        if self._told is None:
            return
        clone, one, stem, before = self._told
        self._told = None
        trades = self._trades(clone)
        one.trades[stem] = before, trades[-1] if trades else None

    def _trades(self, order: bt.Order) -> Any:
        data = order.data if order.data._compensate is None else order.data._compensate
        return self._owner_of(order)._trades[data][order.tradeid]

    # ---------------------------------------------------------------- what happens to it
    def end(self, one: Tracked, status: int, why: str = "") -> None:
        """End an order, and tell of it."""
        order = one.order
        order.status = status
        if why:
            order.addinfo(why=why)
        if len(order.data):
            order.executed.dt = order.data.datetime[0]
        self._alive.pop(order.ref, None)
        self.notify(one)

    def replace(self, pairs: Sequence[tuple[Tracked, Tracked]], at: int) -> None:
        """Let orders at the broker (first of each pair) stand for others from now on.

        As backtrader's broker tells it: the ends of those before come first.
        """
        others = [other for _, other in pairs]
        kept = list(takewhile(lambda notice: notice[1] not in others, self._notices))
        later = list(self._notices)[len(kept) :]
        self._notices = deque(kept)
        for one, _ in pairs:
            self.end(one, bt.Order.Canceled)
        self._notices += later
        for one, other in sorted(pairs, key=lambda pair: pair[1].order.ref):
            self.name(other, one.ref, at)
            other.sent = True
            self.accept(other)

    def accept(self, one: Tracked) -> None:
        """Note that the broker has it, and tell of it once."""
        if one.order.status in (bt.Order.Created, bt.Order.Submitted):
            one.order.accept(one.order.broker)
            self.notify(one)

    def fill(
        self, one: Tracked, fill: Fill, bit: Bit, guess: float, scheme: Any, *, tell: bool = True
    ) -> None:
        """Book a new fill into its order. guess: its commission until that is told."""
        order = one.order
        if tell:
            self.accept(one)
        fee = guess if fill.commission is None else fill.commission
        closed_fee = fee * _share(bit.closed, bit.opened)
        value, earned = (scheme.getvaluesize, scheme.profitandloss)
        order.execute(
            number(order.data, fill.time), bit.closed + bit.opened, fill.price,
            bit.closed, value(-bit.closed, bit.before) if bit.closed else 0.0, closed_fee,
            bit.opened, value(bit.opened, fill.price) if bit.opened else 0.0, fee - closed_fee,
            scheme.margin, earned(-bit.closed, bit.before, fill.price) if bit.closed else 0.0, bit.size, bit.price,
        )  # fmt: skip
        order.addcomminfo(scheme)
        one.bits[fill.stem] = order.executed.exbits[-1]
        if tell:
            self.notify(one, fill.stem)

    def charge(self, one: Tracked, stem: str, fee: float) -> None:
        """Put a commission that was told late where it belongs."""
        bit = one.bits.get(stem)
        if bit is None or fee == bit.comm:
            return
        more = fee - bit.comm
        part = more * _share(bit.closed, bit.opened)
        parts = part, more - part
        bit.closedcomm += parts[0]
        bit.openedcomm += parts[1]
        bit.comm = fee
        one.order.executed.comm += more
        for part, trade in zip(parts, one.trades.get(stem, (None, None)), strict=True):
            if trade is not None and part:
                trade.commission += part
                trade.pnlcomm = trade.pnl - trade.commission
        self.notify(one)

    def correct(self, one: Tracked, fill: Fill) -> None:
        """Put a corrected price or quantity into its order; trades keep what they were told."""
        bit = one.bits.get(fill.stem)
        if bit is None:
            return
        executed = one.order.executed
        bit.size, bit.price = float(fill.quantity), fill.price
        executed.size = sum(b.size for b in executed.exbits)
        executed.remsize = one.order.size - executed.size
        value = sum(b.size * b.price for b in executed.exbits)
        executed.price = value / executed.size if executed.size else 0.0
        one.order.addinfo(corrected=True)
        self.notify(one)

    def stand(self, one: Tracked, standing: OrderStanding, now: int) -> None:
        """Take how the order stands, once its fills are booked."""
        order, state = one.order, standing.state
        if state in _WORKS:
            self.accept(one)
            if not order.alive():  # it lives after all
                order.status = bt.Order.Partial if order.executed.size else bt.Order.Accepted
                self._alive[order.ref] = one
                self.notify(one)
        elif state is OrderState.FILLED:
            if order.status != bt.Order.Completed:  # the broker calls it filled with less
                self.end(one, bt.Order.Completed, standing.reason)
            self._alive.pop(order.ref, None)
        elif state.is_final:
            status = _end(one, standing, now)
            if order.status != status:
                self.end(one, status, standing.reason)

    def consequences(self, one: Tracked) -> Iterator[Tracked]:
        """Yield orders whose end an order's fill or end asks for, as backtrader's own broker has it.

        An OCO group ends with the first fill or the end of one of its orders; a pair of exits with the end of one of
        them; exits with their entry, unless a part of it was filled, which they protect.
        """
        order = one.order
        if order.executed.size or not order.alive():
            yield from (o for o in self.group(one) if o.alive)
        if not order.alive():
            yield from (o for o in self.siblings(one) if o.alive)
            if order.status != bt.Order.Completed and not order.executed.size:
                yield from (o for o in self.children(one) if o.alive)


def _share(closed: float, opened: float) -> float:
    """Return which part of a fill closed what was held, exactly 0 and 1 at the ends."""
    return 0.0 if not closed else 1.0 if not opened else closed / (closed + opened)


def _end(one: Tracked, standing: OrderStanding, now: int) -> int:
    """Return backtrader's word for how an order ended that was not filled."""
    order = bt.Order
    if standing.state is OrderState.CANCELLED:
        found = order.Expired if not one.cancelled and _ran_out(one, now) else order.Canceled
    elif standing.state is OrderState.NOT_SENT and one.cancelled:
        found = order.Canceled
    elif one.codes & _MONEY or (standing.state is OrderState.REJECTED and _MARGIN.search(standing.reason)):
        found = order.Margin
    else:
        found = order.Rejected
    return int(found)


def _ran_out(one: Tracked, now: int) -> bool:
    ticket = one.ticket
    if ticket is None:
        return False
    if ticket.tif is TimeInForce.GTD:
        return ticket.good_till is not None and now >= ticket.good_till
    if ticket.tif is not TimeInForce.DAY:
        return False
    close = last_close(instrument_of(one.order.data), now)
    return close is not None and close > one.at


def guessed(order: bt.Order | None, fill: Fill, scheme: Any) -> float:
    """Return what a fill costs until that is told: of an order in parts what all of it costs, less those before."""
    size, price = abs(float(fill.quantity)), fill.price
    if order is None or not order.executed.size:
        return float(scheme.getcommission(size, price))
    before = abs(float(order.executed.size))
    mean = (before * float(order.executed.price) + size * price) / (before + size)
    return max(0.0, float(scheme.getcommission(before + size, mean)) - float(order.executed.comm))
