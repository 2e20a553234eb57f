"""The broker that backtrader trades live with: its orders go to the order desk, and only executions come back as fills.

Source of the contract that it keeps: backtrader 1.9.78.123, broker.py and brokers/bbroker.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

import backtrader as bt

from quant.core.orders import Report, Ticket
from quant.errors import ParameterError
from quant.live.account import Account
from quant.live.around import Around, prices
from quant.live.moments import end_of, instrument_of, is_live, is_loading, is_open, length_of, next_open, root
from quant.live.restart import reopen, take_over
from quant.live.tickets import check_kind, note_of, notes_text, ticket_of
from quant.live.tracked import Tracked, Tracker
from quant.oms.desk import OrderDesk
from quant.oms.fills import Fill
from quant.oms.gate import Purpose
from quant.oms.journal import Journal
from quant.oms.state import OrderState
from quant.oms.setup import Alarm, Change, Link, Surroundings, Why


class Wire(Protocol):
    """What the broker needs of quant.ib.orders.Orders, beside what the desk needs."""

    def reports(self) -> Sequence[Report]:
        """Return what was told since the last call."""

    def damaged(self) -> Sequence[Any]:
        """Return what was told since the last call and could not be read."""

    def quantised(self, ticket: Ticket) -> Ticket:
        """Return the ticket as it will stand at IB. Raises ParameterError."""


class LiveBroker(bt.BrokerBase):  # type: ignore[misc]  # backtrader has no types
    """The broker of a deployment. One position an instrument, whatever the number of its feeds.

    desk, journal: after `begin_run`. capital: in the instruments' currency. now: UTC ns.
    Orders go out by `flush`, which the store calls as soon as the strategy is done with a bar (cerebro asks it for
    notifications then); `next` does it too.
    """

    def __init__(
        self, desk: OrderDesk, journal: Journal, wire: Wire, *, capital: float, now: Callable[[], int]
    ) -> None:
        super().__init__()
        self._desk, self._journal, self._wire, self._now = desk, journal, wire, now
        self.startingcash = self.startingvalue = float(capital)
        self.account = Account(capital)
        self.positions = _Positions(self)
        self.withheld: list[bt.Order] = []  # what was never sent, e.g. before a feed was live
        self._around = Around()
        self._tracker = Tracker(self._owner)
        self._resting: dict[int, list[Tracked]] = {}  # by number of the parent: waits for transmit=True
        self._queue: list[list[Tracked]] = []
        self._cancels: list[Tracked] = []
        self._keys: set[tuple[int, bool, int]] = set()
        self._earlier: frozenset[tuple[int, int]] = frozenset()
        self._alarms: list[Alarm] = []
        self._feeds: dict[int, Any] = {}
        self._linked = True
        self._unlike: dict[int, Decimal] | None = None  # positions of the desk that holdings were looked up for
        self._seeded = False

    # ---------------------------------------------------------------- cerebro
    def start(self) -> None:
        """Read the journal: positions, cash, and orders that are still open."""
        super().start()
        self._seeded = False
        for data in self.cerebro.datas:
            if getattr(root(data), "bars", None) is None:
                continue  # a feed that only informs
            instrument = instrument_of(data)
            self._feeds.setdefault(instrument.con_id or 0, data)
            self.account.know(instrument)
            if data._name not in self.comminfo and None in self.comminfo:
                self._scale(data)
            self.getposition(data)
        self._earlier = reopen(self._desk, self._tracker, self.account, self._feeds, self.getcommissioninfo)
        self._hold()

    def _scale(self, data: Any) -> None:
        """Let the units of the instrument count where the user named no scheme for it."""
        each = self.account.worth(instrument_of(data).con_id or 0)
        if each != 1.0 and self.comminfo[None] is self.p.commission:
            self.addcommissioninfo(_Scaled(mult=each, stocklike=True, percabs=True), name=data._name)

    def stop(self) -> None:
        """Send what waits."""
        self.flush()

    def next(self) -> None:
        """Send what waits, take what the broker told, and see to what is due."""
        self.flush()
        self.poll()
        if not self._seeded:
            self._seeded = take_over(self.cerebro, self.account, self._feeds)

    def get_notification(self) -> bt.Order | None:
        """Return the next change of an order, None at the end."""
        return self._tracker.next_notice()

    # ---------------------------------------------------------------- money
    def getcash(self) -> float:
        """Return capital and own profit less what is held, by executions."""
        return self.account.cash

    get_cash = getcash

    def getvalue(self, datas: Sequence[Any] | None = None) -> float:
        """Return the equity of the deployment; of one feed what is held of it, negative where short."""
        if datas is None:
            return self.account.equity(prices(self._begun()))
        parts = [self._worth(data) for data in datas]
        return parts[0] if len(parts) == 1 else self.getcash() + sum(parts)

    get_value = getvalue

    def _worth(self, data: Any) -> float:
        con_id = instrument_of(data).con_id or 0
        size = self.account.position(con_id).size
        return float(size * data.close[0] * self.account.worth(con_id)) if size else 0.0

    def getposition(self, data: Any, clone: bool = False) -> bt.Position:
        """Return what the deployment holds of a feed's instrument."""
        position = self.account.position(instrument_of(data).con_id or 0)
        return position.clone() if clone else position

    # ---------------------------------------------------------------- orders
    def buy(self, owner: Any, data: Any, size: float, *args: Any, **kwargs: Any) -> bt.Order:
        """Take a buy order; the arguments are backtrader's, and fields of IB: tif, outside_rth, exchange."""
        return self._take(bt.order.BuyOrder, owner, data, size, *args, **kwargs)

    def sell(self, owner: Any, data: Any, size: float, *args: Any, **kwargs: Any) -> bt.Order:
        """Take a sell order; see `buy`."""
        return self._take(bt.order.SellOrder, owner, data, size, *args, **kwargs)

    def _take(
        self, make: type[bt.Order], owner: Any, data: Any, size: float, price: float | None = None,
        plimit: float | None = None, exectype: int | None = None, valid: Any = None, tradeid: int = 0,
        oco: bt.Order | None = None, trailamount: float | None = None, trailpercent: float | None = None,
        parent: bt.Order | None = None, transmit: bool = True, histnotify: bool = False, **kwargs: Any,
    ) -> bt.Order:  # fmt: skip
        order = make(
            owner=owner, data=data, size=size, price=price, pricelimit=plimit, exectype=exectype, valid=valid,
            tradeid=tradeid, trailamount=trailamount, trailpercent=trailpercent, parent=parent, transmit=transmit,
            histnotify=histnotify,
        )  # fmt: skip
        order.addinfo(**kwargs)
        order.addcomminfo(self.getcommissioninfo(data))
        day = valid is not None and not isinstance(valid, date) and not valid
        one = self._tracker.add(order, oco, day)
        order.submit(self)
        self._tracker.notify(one)
        why = self._kept_back(order)
        if why:
            self.withheld.append(order)
            self._finish(one, bt.Order.Rejected, why)
            return order
        family = self._resting.setdefault(order.ref if parent is None else parent.ref, [])
        family.append(one)
        if transmit:
            self._queue.append(self._resting.pop(order.ref if parent is None else parent.ref))
        return order

    def _kept_back(self, order: bt.Order) -> str:
        """Return why an order is never sent, "" if it may be."""
        data = order.data
        try:
            check_kind(order)
            con_id = instrument_of(data).con_id or 0
        except ParameterError as e:
            return str(e)
        if not is_live(data):
            return "the feed is not live"
        if order.parent is not None and not order.parent.alive():
            return "its parent is over"
        if (con_id, end_of(data)) in self._earlier:
            return "this bar was decided upon before the restart"
        if con_id in self.account.unpriced and self.account.position(con_id).size * order.size >= 0:
            return f"nobody knows what the {self.account.unpriced[con_id]} held has cost, so nothing can be sized"
        return ""

    def cancel(self, order: bt.Order) -> bool:
        """Ask for an order's end; one that was not sent yet never is. False where it is over."""
        one = self._tracker.get(order)
        if one is None or not one.alive:
            return False
        one.cancelled = True
        if one.ref:
            self._cancels.append(one)
            return True
        for waiting in [*self._queue, *self._resting.values()]:
            if one in waiting:
                waiting.remove(one)
        self._finish(one, bt.Order.Canceled, "")
        return True

    def orderstatus(self, order: bt.Order) -> int:
        """Return where an order stands now, also of a clone."""
        one = self._tracker.get(order)
        return int(order.status if one is None else one.order.status)

    def get_orders_open(self, safe: bool = False) -> list[bt.Order]:
        """Return the orders that may still fill, oldest first. safe: as clones."""
        return [one.order.clone() if safe else one.order for one in self._tracker.alive()]

    def leaving(self, data: Any) -> bool:
        """Return whether an order is on its way that makes the position of a feed's instrument smaller."""
        con_id = instrument_of(data).con_id
        held = self.account.position(con_id or 0).size
        return any(
            one.order.size * held < 0 and not self._protects(one)
            for one in self._tracker.alive()
            if instrument_of(one.order.data).con_id == con_id
        )

    # ---------------------------------------------------------------- out
    def flush(self) -> None:
        """Send what the strategy decided, cancels first. Cheap where it decided nothing."""
        if not (self._queue or self._cancels):
            return
        now = self._now()
        self._look(now)
        cancels, self._cancels = self._cancels, []
        for one in cancels:
            if one.alive:
                self._desk.cancel(one.ref, now)
        queue, self._queue = [group for group in self._queue if group], []
        for group in queue:
            for one in group:
                self._tracker.name(one, self._desk.next_ref(), now)
        for group in queue:
            self._submit(group, now)
        self.poll()

    def _submit(self, group: list[Tracked], now: int) -> None:
        try:
            for one in group:
                last = one is group[-1]
                one.ticket = self._wire.quantised(self._ticket(one, transmit=last, now=now))
            tickets = [one.ticket for one in group if one.ticket is not None]
            answers = self._desk.submit(tickets, self._why(group, now), now)
        except ParameterError as e:
            self._alarms.append(Alarm(now, f"an order was not sent: {e}", ref=group[0].ref))
            for one in group:
                self._finish(one, bt.Order.Rejected, str(e))
            return
        for one, answer in zip(group, answers, strict=True):
            one.codes = frozenset(refusal.code for refusal in answer.refusals)
        self._read(now)
        for one, answer in zip(group, answers, strict=True):
            if not answer.taken and one.alive:  # the journal takes nothing more, so there is no news of it
                self._finish(one, bt.Order.Rejected, "; ".join(refusal.text for refusal in answer.refusals))

    def _ticket(self, one: Tracked, *, transmit: bool, now: int) -> Ticket:
        order, parent = one.order, ""
        if order.parent is not None:
            known = self._tracker.get(order.parent)
            parent = "" if known is None else known.ref
        return ticket_of(
            order, one.ref, self._journal.account, one.day, now, parent=parent, oca=self._group(one), transmit=transmit
        )  # fmt: skip

    def _group(self, one: Tracked) -> str:
        """Return the name of an order's OCO group at IB; "" where it is alone."""
        return f"{self._tracker.leader(one).ref}/o" if self._tracker.group(one) else ""

    def _why(self, group: list[Tracked], now: int) -> Why:
        """Return on which bar the orders were decided: an entry that is not sent within a bar's length is too late."""
        order = group[0].order
        bar, instrument = end_of(order.data), instrument_of(order.data)
        expires = bar + length_of(order.data)
        if not is_open(instrument, now):
            expires = max(expires, next_open(instrument, now) or 0)
        notes = [note_of(one.order, one.ref, self._group(one).removesuffix("/o")) for one in group]
        # The desk takes one entry a side and bar; a second one, which this process has just decided, is no repetition.
        key = instrument.con_id or 0, order.size > 0, bar
        again = key in self._keys
        self._keys.add(key)
        return Why(0 if again else bar, expires, notes_text(notes))

    # ---------------------------------------------------------------- in
    def poll(self) -> None:
        """Take what the broker told, and do what is due."""
        now = self._now()
        if self._wire.damaged() and self._linked:
            # Only two fresh snapshots tell what is so, and nothing is sent until they agree.
            self._desk.on_link(Link.BACK, now)
        self._desk.take(self._wire.reports(), now)
        self._look(now)
        self._desk.tick(now)
        self._read(now)

    def on_link(self, event: Link) -> None:
        """Take what became of the connection; the store tells it."""
        self._linked = event.there
        self._desk.on_link(event, self._now())
        self._read(self._now())

    def observe(self, around: Surroundings) -> None:
        """Take what is known from elsewhere: account, clock, disk; markets and equity where they are known better."""
        self._around.told = around

    def alarms(self) -> list[Alarm]:
        """Return what a person should see, since the last call; the store tells it by notify_store."""
        found, self._alarms = self._alarms, []
        return found

    def exits(self, data: Any) -> list[bt.Order]:
        """Return the open exits of a q.Strategy's position, stop first."""
        con_id = instrument_of(data).con_id
        found = [
            one.order
            for one in self._tracker.alive()
            if one.order.info.get("reason") in ("stop", "limit") and instrument_of(one.order.data).con_id == con_id
        ]
        return sorted(found, key=lambda order: str(order.info["reason"]), reverse=True)

    def _look(self, now: int) -> None:
        feeds = self._begun()
        if any(is_loading(data) for data in feeds):
            return  # called from within a feed that waits for its bar: what was known still holds
        equity = self.account.equity(prices(feeds)) if feeds else None
        self._desk.observe(self._around.now(feeds, equity, now))

    def _begun(self) -> list[Any]:
        return [data for data in self._feeds.values() if len(data)]

    def _read(self, now: int) -> None:
        """Take what the desk has to tell; what follows from it may give more."""
        while news := self._desk.news():
            self._alarms += [item for item in news if isinstance(item, Alarm)]
            for change in _fills_first([item for item in news if isinstance(item, Change)]):
                self._follow(change, now)
        self._hold()

    def _follow(self, change: Change, now: int) -> None:
        ref, standing = change.after.ref, change.after
        ticket = self._desk.intent(ref).ticket
        one = self._tracker.of(ref)
        for fill in standing.fills:
            if (fill.con_id, fill.account) == (ticket.con_id, ticket.account):
                self._book(fill, one)
        if one is None:
            return
        self._tracker.stand(one, standing, now)
        self._pursue(one, now)

    def _book(self, fill: Fill, one: Tracked | None) -> None:
        old = self.account.known(fill)
        if old == fill:
            return
        data = self._feeds.get(fill.con_id)
        scheme = self.comminfo[None] if data is None else self.getcommissioninfo(data)
        guess = float(scheme.getcommission(abs(float(fill.quantity)), fill.price))
        if old is None:
            if fill.quantity != 0:
                bit = self.account.add(fill, guess)
                if one is not None:
                    self._tracker.fill(one, fill, bit, guess, scheme)
            return
        self.account.change(fill)
        if one is not None and (old.quantity, old.price) != (fill.quantity, fill.price):
            self._tracker.correct(one, fill)
        if one is not None and fill.commission is not None:
            self._tracker.charge(one, fill.stem, fill.commission)

    def _pursue(self, one: Tracked, now: int) -> None:
        """Ask for the end of what an order's fill or end leaves without sense."""
        for other in self._tracker.consequences(one):
            self._drop(other, now)
        con_id = instrument_of(one.order.data).con_id
        if one.order.executed.size and self.account.quantity(con_id or 0) == 0:
            for other in self._tracker.alive():
                if self._protects(other) and instrument_of(other.order.data).con_id == con_id:
                    self._drop(other, now)

    def _protects(self, one: Tracked) -> bool:
        """Return whether an order only guards a position, now: not the exit of an entry that still works."""
        if not one.ref or one.ticket is None or self._desk.purpose(one.ref) is not Purpose.PROTECTION:
            return False
        parent = one.order.parent
        return parent is None or not parent.alive()

    def _drop(self, one: Tracked, now: int) -> None:
        if one.cancelled:
            return
        if one.ref and one.ticket is not None:
            one.cancelled = True
            self._desk.cancel(one.ref, now)
        else:
            self.cancel(one.order)

    def _finish(self, one: Tracked, status: int, why: str) -> None:
        """End an order that never came to the desk."""
        self._tracker.end(one, status, why)
        for other in list(self._tracker.consequences(one)):
            if not other.ref:
                self.cancel(other.order)

    def _hold(self) -> None:
        """Count holdings that the desk took over since: the difference of its positions and ours."""
        ours = {con_id: q for con_id in self.account.positions if (q := self.account.quantity(con_id)) != 0}
        theirs = self._desk.positions
        if ours != theirs and theirs != self._unlike:
            self.account.take_holdings(self._journal.load().holdings)
            self._unlike, self._seeded = theirs, False

    def _owner(self, order: bt.Order) -> Any:
        return self.cerebro.runningstrats[0] if order.owner is None else order.owner


def _fills_first(changes: Sequence[Change]) -> list[Change]:
    """Return changes with cancels and rejections behind the fills that caused them; those of one order keep their order."""
    first: list[Change] = []
    last: list[Change] = []
    ended: set[str] = set()
    for change in changes:
        after = change.after
        if after.is_final and after.state is not OrderState.FILLED:
            ended.add(after.ref)
        (last if after.ref in ended else first).append(change)
    return first + last


class _Positions(dict[Any, Any]):
    """Positions by feed."""

    def __init__(self, broker: LiveBroker) -> None:
        super().__init__()
        self._broker = broker

    def __missing__(self, data: Any) -> bt.Position:
        self[data] = self._broker.getposition(data)
        return self[data]


class _Scaled(bt.CommInfoBase):  # type: ignore[misc]  # backtrader has no types
    """Stock's scheme where a unit is worth more than its price; stock scales profits only."""

    def getvaluesize(self, size: float, price: float) -> float:
        """Return what `size` units cost at `price`, signed."""
        return float(super().getvaluesize(size, price) * self.p.mult)

    def getoperationcost(self, size: float, price: float) -> float:
        """Return the same, unsigned."""
        return float(super().getoperationcost(size, price) * self.p.mult)

    def getsize(self, price: float, cash: float) -> int:
        """Return how many units so much cash buys."""
        return int(super().getsize(price * self.p.mult, cash))
