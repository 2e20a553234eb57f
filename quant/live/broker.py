"""The broker that backtrader trades live with: its orders go to the order desk, and only executions come back as fills.

Source of the contract that it keeps: backtrader 1.9.78.123, broker.py and brokers/bbroker.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, Final

import backtrader as bt

from quant.errors import ParameterError
from quant.live.moments import con_id_of, end_of, instrument_of, is_live, length_of, root
from quant.live.orders.account import Account
from quant.live.orders.anew import REPEATED
from quant.live.orders.around import prices
from quant.live.orders.dispatch import Dispatch, Wire
from quant.live.orders.held import Held, Recheck
from quant.live.orders.restart import Earlier, reopen, take_over
from quant.live.orders.settings import Settings
from quant.live.orders.tickets import check_kind
from quant.live.orders.tracked import Tracker
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm, Link, Surroundings
from quant.oms.journal.journal import Journal

EXITS: Final = ("stop", "disaster", "limit")  # q.Strategy's words for orders that guard a position
_RESTS: Final = (bt.Order.Submitted, bt.Order.Accepted)


class LiveBroker(Settings, bt.BrokerBase):  # type: ignore[misc]  # backtrader has no types
    """The broker of a deployment. One position an instrument, whatever the number of its feeds.

    desk, journal: after `begin_run`. capital: in the instruments' currency. now: UTC ns.
    withhold: why no order is to go out at all, "" = they go. recheck: with it, entries for the next open are held
    until shortly before, and looked at again by it; else they go out at once, and IB holds them. afresh: a plain
    bt.Strategy decides on the newest bar as if the entries were not there that an earlier process left for the open, so
    that it can want them or not; a q.Strategy decides so anyway.

    Orders go out by `flush`, which the store calls as soon as the strategy is done with a bar (cerebro asks it for
    notifications then); `next` does it too.
    """

    def __init__(
        self, desk: OrderDesk, journal: Journal, wire: Wire, *, capital: float, now: Callable[[], int],
        withhold: str = "", recheck: Recheck | None = None, afresh: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self._desk, self._now = desk, now
        self._withhold = withhold
        self._afresh = afresh
        self._unseen: dict[int, bt.Order] = {}  # by number: what a plain strategy is not to see
        self._alarms: list[Alarm] = []
        self.startingcash = self.startingvalue = float(capital)
        self.account = Account(capital)
        self.positions = _Positions(self)
        self._tracker = Tracker(self._owner)
        self._dispatch = Dispatch(
            desk, journal, wire, self.account, self._tracker, now, self.getcommissioninfo, recheck
        )
        self.withheld = self._dispatch.unsent  # what was never sent, e.g. before a feed was live
        self._earlier = Earlier()
        self._repeated: set[int] = (
            set()
        )  # numbers of reductions of an earlier process that were wanted once more

    # ---------------------------------------------------------------- cerebro
    def start(self) -> None:
        """Read the journal: positions, cash, and orders that are still open."""
        super().start()
        feeds = self._dispatch.feeds
        for data in sorted(self.cerebro.datas, key=length_of):  # the finest feed tells an instrument's price
            if not con_id_of(data):
                continue
            feeds.setdefault(con_id_of(data), data)
            self.account.know(instrument_of(data))
            if data._name not in self.comminfo and None in self.comminfo:
                self._scale(data)
            self.getposition(data)
        self._earlier = reopen(self._desk, self._tracker, self.account, feeds, self.getcommissioninfo)
        if self._afresh:
            left = [group for con_id in feeds for group in self._dispatch.anew.resting(con_id)]
            self._unseen = {one.order.ref: one.order for group in left for one in group}
        self._dispatch.begin()

    def charge(self, scheme: Callable[[int], bt.CommInfoBase], feeds: Iterable[Any]) -> None:
        """Charge orders by a scheme until the broker tells. scheme: of a price magnifier, 1 unless in pence."""
        self.addcommissioninfo(scheme(1))
        for feed in feeds:
            magnifier = instrument_of(feed).price_magnifier
            if magnifier != 1:
                self.addcommissioninfo(scheme(magnifier), name=feed._name)

    def getcommissioninfo(self, data: Any) -> bt.CommInfoBase:
        """Return the scheme of a feed's instrument: cerebro's clones, to resample a feed, have no name."""
        return super().getcommissioninfo(data if data._name else root(data))

    def _scale(self, data: Any) -> None:
        """Let the units of the instrument count where the user named no scheme for it."""
        each = self.account.worth(con_id_of(data))
        if each != 1.0 and self.comminfo[None] is self.p.commission:
            self.addcommissioninfo(_Scaled(mult=each, stocklike=True, percabs=True), name=data._name)

    def stop(self) -> None:
        """Send what waits."""
        self.flush()
        self.follow_up()

    def follow_up(self) -> None:
        """Send the exits that wait for the end of those before, as nobody will later."""
        self._dispatch.follow_up(every=True)

    def next(self) -> None:
        """Send what waits, take what the broker told, and see to what is due."""
        self.flush()
        self.poll()
        if self._dispatch.taken_over:
            take_over(self.cerebro, self.account, self._dispatch.feeds)
            self._dispatch.taken_over = False
        if self._afresh:
            self._look_anew()

    def _look_anew(self) -> None:
        """Take note, once, that a plain strategy decides: in the step that has the newest bars of all its feeds.

        Where these end at different moments it is not known in which step it decides on which instrument.
        """
        feeds = self.cerebro.datas
        if not all(len(data) and is_live(data) for data in feeds):
            return
        self._afresh = False
        if len({end_of(data) for data in feeds}) == 1:
            for data in feeds:
                self.decides(data)
            return
        for order in (order for order in self._unseen.values() if order.parent is None):
            told = f"{instrument_of(order.data).symbol} has at IB for the open {order.size:+g}: it stays, whatever is "
            told += "decided now, as the newest bars of the strategy's feeds end at different moments"
            self._alarms.append(Alarm(self._now(), told, con_id=con_id_of(order.data)))

    def get_notification(self) -> bt.Order | None:
        """Return the next change of an order, None at the end."""
        notice = self._tracker.next_notice()
        while notice is not None and notice.ref in self._unseen and notice.status in _RESTS:
            notice = self._tracker.next_notice()
        return notice

    # ---------------------------------------------------------------- money
    def getcash(self) -> float:
        """Return capital and own profit less what is held, by executions."""
        return self.account.cash

    get_cash = getcash

    def getvalue(self, datas: Sequence[Any] | None = None) -> float:
        """Return the equity of the deployment; of one feed what is held of it, negative where short."""
        if datas is None:
            return self.account.equity(prices(self._dispatch.begun()))
        parts = [self._worth(data) for data in datas]
        return parts[0] if len(parts) == 1 else self.getcash() + sum(parts)

    get_value = getvalue

    def _worth(self, data: Any) -> float:
        con_id = con_id_of(data)
        size = self.account.position(con_id).size
        return float(size * data.close[0] * self.account.worth(con_id)) if size else 0.0

    def getposition(self, data: Any, clone: bool = False) -> bt.Position:
        """Return what the deployment holds of a feed's instrument."""
        position = self.account.position(con_id_of(data))
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
        left = self._left(order)
        why = self._kept_back(order, left)
        one = self._tracker.add(order, oco, day)
        order.submit(self)
        self._tracker.notify(one)
        one.anew = order.parent is None and _adds(order, left) and self._dispatch.anew.covers(con_id_of(data))
        if why:
            self.withheld.append(order)
            self._dispatch.finish(one, bt.Order.Rejected, why)
            return order
        self._dispatch.put(one)
        return order

    def _kept_back(self, order: bt.Order, left: float) -> str:
        """Return why an order is never sent, "" if it may be. left: what is held once others have filled."""
        data = order.data
        try:
            check_kind(order)
            con_id = instrument_of(data).con_id
        except ParameterError as e:
            return str(e)
        if not is_live(data):
            return "the feed is not live"
        if self._withhold:
            return self._withhold
        if order.parent is not None and not order.parent.alive():
            return "its parent is over"
        if (
            (con_id, end_of(data)) in self._earlier.decided
            and order.parent is None
            and self._again(order, left)
        ):
            return REPEATED
        if con_id in self.account.unpriced and self._adds(order):
            return f"nobody knows what the {self.account.unpriced[con_id]} held has cost, so nothing can be sized"
        return ""

    def _again(self, order: bt.Order, left: float) -> bool:
        """Return whether an earlier process has decided upon an order of the same bar."""
        con_id = con_id_of(order.data)
        if _adds(order, left):
            entered = (con_id, end_of(order.data)) in self._earlier.entered
            return entered and not self._dispatch.anew.covers(
                con_id
            )  # else it is compared with what is at IB
        for one in self._dispatch.leaving(con_id):
            if one.order.info.get("restored") and one.order.ref not in self._repeated:
                self._repeated.add(one.order.ref)
                return True
        return False

    def _left(self, order: bt.Order) -> float:
        """Return what is held of an order's instrument once those have filled that were wanted before it.

        Of what an earlier process wanted that counts which was wanted once more by this one.
        """
        others = [one.order for one in self._dispatch.leaving(con_id_of(order.data))]
        ours = [o for o in others if not o.info.get("restored") or o.ref in self._repeated]
        return float(self.getposition(order.data).size) + sum(float(o.executed.remsize) for o in ours)

    def _adds(self, order: bt.Order) -> bool:
        """Return whether an order would do more than make what is held smaller."""
        return _adds(order, self.getposition(order.data).size)

    def cancel(self, order: bt.Order) -> bool:
        """Ask for an order's end; one that was not sent yet never is. False where it is over."""
        one = self._tracker.get(order)
        if one is None or not one.alive:
            return False
        self._dispatch.cancel(one)
        return True

    def replace(self, old: Sequence[bt.Order], new: Sequence[bt.Order]) -> None:
        """Cancel exits once the broker works all those that take their place; where it turns one down, they stay."""
        behind, ahead = (
            [one for one in map(self._tracker.get, orders) if one is not None] for orders in (old, new)
        )
        if behind:
            self._dispatch.swaps.add(behind, ahead)

    def orderstatus(self, order: bt.Order) -> int:
        """Return where an order stands now, also of a clone."""
        one = self._tracker.get(order)
        return int(order.status if one is None else one.order.status)

    def get_orders_open(self, safe: bool = False) -> list[bt.Order]:
        """Return the orders that may still fill, oldest first. safe: as clones."""
        seen = [one.order for one in self._tracker.alive() if one.order.ref not in self._unseen]
        return [order.clone() if safe else order for order in seen]

    @property
    def held(self) -> list[Held]:
        """Entries that wait for the next open."""
        return [] if self._dispatch.waiting is None else list(self._dispatch.waiting.entries)

    def forget_held(self) -> list[Held]:
        """Return the entries that wait for the next open; they are never sent."""
        held = self.held
        if self._dispatch.waiting is not None:
            self._dispatch.waiting.entries = []
        return held

    def leaving(self, data: Any) -> bool:
        """Return whether an order is on its way that makes the position of a feed's instrument smaller."""
        return bool(self._dispatch.leaving(con_id_of(data)))

    def decided(self, data: Any, end: int) -> bool:
        """Return whether an earlier process sent orders for a feed's instrument on the bar of that END."""
        return (con_id_of(data), end) in self._earlier.decided

    def decides(self, data: Any) -> None:
        """Take note that a strategy is about to decide on a feed's newest bar: all that it wants of it now follows.

        Where an earlier process has decided on that bar, the orders that it left for the open are compared with it.
        """
        con_id = con_id_of(data)
        if (con_id, end_of(data)) in self._earlier.decided:
            self._dispatch.anew.note(con_id)

    # ---------------------------------------------------------------- the store's and the runner's
    def flush(self) -> None:
        """Send what the strategy decided, cancels first. Cheap where it decided nothing."""
        self._dispatch.flush()

    def poll(self) -> None:
        """Take what the broker told, and do what is due."""
        self._dispatch.poll()

    def on_link(self, event: Link) -> None:
        """Take what became of the connection; the store tells it."""
        self._dispatch.on_link(event)

    def on_clock(self, offset_s: float) -> None:
        """Take how far this machine's clock is from IB's; the store tells it. What `observe` says of it comes first."""
        self._dispatch.around.offset_s = offset_s

    def observe(self, around: Surroundings) -> None:
        """Take what is known from elsewhere: account, clock, disk; markets and equity where they are known better."""
        self._dispatch.around.told = around

    def alarms(self) -> list[Alarm]:
        """Return what a person should see, since the last call; the store tells it by notify_store."""
        own, self._alarms = self._alarms, []
        return own + self._dispatch.alarms()

    def exits(self, data: Any) -> list[bt.Order]:
        """Return the open exits of a q.Strategy's position, stop first."""
        con_id = con_id_of(data)
        found = [
            one.order
            for one in self._tracker.alive()
            if one.order.info.get("reason") in EXITS and con_id_of(one.order.data) == con_id
        ]
        return sorted(found, key=lambda order: EXITS.index(order.info["reason"]))

    def _owner(self, order: bt.Order) -> Any:
        return self.cerebro.runningstrats[0] if order.owner is None else order.owner


def _adds(order: bt.Order, held: float) -> bool:
    return bool(order.size * held >= 0 or abs(order.size) > abs(held))


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
