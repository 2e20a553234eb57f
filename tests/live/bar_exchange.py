"""An exchange in memory that fills our orders by stored bars, by the rules of backtrader's own broker; and its clock.

Built on the broker of the order desk's tests (tests/oms/order_broker.py): the same answers, bar by bar.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "oms"))

from order_broker import OPEN, SECOND, Booked, FakeBroker

import quant as q
from quant.backtest.feed import numbers, timeframe_of
from quant.core.orders import Commission, Kind, Ticket, TimeInForce, Told
from quant.core.zones import to_local
from quant.live.broker import LiveBroker
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Link, Setup, Surroundings
from quant.oms.gate import Gate
from quant.oms.journal.journal import Journal
from quant.oms.limits import Limits
from quant.oms.reconcile.outcome import Policy

ACCOUNT = "DU1"
CAPITAL = 100_000.0
WIDE = Limits(
    shorts=True, kinds=frozenset(Kind), max_notional=1e9, collar=10.0, orders_per_minute=1000, orders_per_day=100_000,
    max_rejects=1000, max_working=50, max_working_total=50, daily_loss=1.0, drawdown=10.0, bar_periods=1e6,
)  # fmt: skip


class BarExchange(FakeBroker):
    """Orders wait for `trade`, which shows it a bar. share: of an order that one bar fills.

    reject: why an order is turned down. wakes_children: in the bar of their parent's fill.
    """

    share: float = 1.0
    fee: float = 0.0
    late_fees: bool = False
    wakes_children: bool = False
    reject: Callable[[Ticket], tuple[int, str] | None] = staticmethod(lambda ticket: None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.instant = False
        self.kept: list[Commission] = []
        self.garbled: list[str] = []
        self.woken: dict[int, int] = {}
        self.began = 0  # when the bar begins that it is shown

    # ------------------------------------------------------------ Wire
    def quantised(self, ticket: Ticket) -> Ticket:
        return replace(
            ticket, limit=_cents(ticket.limit), stop=_cents(ticket.stop), trail=_cents(ticket.trail)
        )

    def damaged(self) -> list[str]:
        found, self.garbled = self.garbled, []
        return found

    # ------------------------------------------------------------ its market
    def book(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        told = self.reject(ticket)
        super().book(order_id, ticket if told is None else replace(ticket, transmit=False), parent_id)
        if told is not None:
            order = self.orders[self.client_id, order_id]
            self.say(Told(order_id, *told, self.now))
            self.end(order, "Inactive")

    def fill(self, order: Booked, quantity: Decimal) -> Any:
        before = len(self.inbox)
        done = super().fill(order, quantity)
        for n, report in enumerate(self.inbox[before:], before):
            if isinstance(report, Commission):
                self.inbox[n] = replace(report, amount=self.fee)
        self.commissions[-1] = replace(self.commissions[-1], amount=self.fee)
        if self.late_fees:
            self.kept += [r for r in self.inbox[before:] if isinstance(r, Commission)]
            self.inbox[before:] = [r for r in self.inbox[before:] if not isinstance(r, Commission)]
        if order.left == 0:
            self._filled(order)
        return done

    def _filled(self, order: Booked) -> None:
        for other in list(self.orders.values()):
            family = {order.order_id, order.parent_id} - {0}
            if other.parent_id == order.order_id and other.status == "PreSubmitted":
                other.status = "Submitted"
                self.woken[other.order_id] = self.began
                self.tell(other)
            elif order.parent_id and other is not order and other.parent_id in family and other.is_open:
                self.end(other, "Cancelled")

    def pay(self) -> None:
        """Tell the commissions that were kept back."""
        for report in self.kept:
            self.say(report)
        self.kept = []

    def trade(self, con_id: int, begin: int, end: int, o: float, h: float, l: float, c: float) -> None:  # noqa: E741
        """Show it a bar: what is open is tried once, oldest first."""
        self.now, self.began = max(self.now, begin), begin
        for order in list(self.orders.values()):
            ticket = order.ticket
            if ticket.con_id != con_id or order.status not in OPEN:
                continue
            if _over(ticket, end):
                self.end(order, "Cancelled")
                continue
            early = not self.wakes_children and self.woken.get(order.order_id) == begin
            if order.status != "Submitted" or early:
                continue  # backtrader's own broker wakes a child one bar later
            price = _price(ticket, o, h, l, c)
            if price is None:
                _trail(order, c)
                continue
            self.price = price
            whole = abs(order.ticket.quantity) * Decimal(str(self.share))
            size = min(abs(order.left), max(whole.to_integral_value(), Decimal(1)))
            self.fill(order, size if ticket.quantity > 0 else -size)
        self.now = end


def _cents(price: float | None) -> float | None:
    return None if price is None else round(price, 2)


def _over(ticket: Ticket, end: int) -> bool:
    return ticket.tif is TimeInForce.GTD and ticket.good_till is not None and end > ticket.good_till


def _price(ticket: Ticket, o: float, h: float, l: float, c: float) -> float | None:  # noqa: E741
    """backtrader's matching of a bar (notes/backtrader §5.6), without slippage."""
    buys = ticket.quantity > 0
    if ticket.kind is Kind.MARKET:
        return o
    if ticket.kind is Kind.LIMIT:
        assert ticket.limit is not None
        if o <= ticket.limit if buys else o >= ticket.limit:
            return o
        return ticket.limit if (l <= ticket.limit if buys else h >= ticket.limit) else None
    if ticket.kind in (Kind.STOP, Kind.TRAIL):
        assert ticket.stop is not None
        if o >= ticket.stop if buys else o <= ticket.stop:
            return o
        return ticket.stop if (h >= ticket.stop if buys else l <= ticket.stop) else None
    return None


def _trail(order: Booked, close: float) -> None:
    ticket = order.ticket
    if ticket.kind is Kind.TRAIL and ticket.trail is not None and ticket.stop is not None:
        stop = (
            min(ticket.stop, close + ticket.trail)
            if ticket.quantity > 0
            else max(ticket.stop, close - ticket.trail)
        )
        order.ticket = replace(ticket, stop=stop)


# ---------------------------------------------------------------- a session
class Market:
    """Bars that come one by one, an exchange that trades them, and the time of both."""

    def __init__(self, *bars: q.Bars, live_from: int = 0) -> None:
        self.exchange = BarExchange()
        self.bars = bars
        self.live_from = live_from  # so many bars of each feed are history
        self.now = int(min(b.times.begin[live_from] for b in bars))
        self.exchange.now = self.now
        self.feeds = [stored_feed(self, b) for b in bars]
        self.step = -1  # of `ends`
        self.ends = np.unique(np.concatenate([b.end for b in bars]))
        self.last_end = int(self.ends[-1])
        self.broker: LiveBroker
        self.desk: OrderDesk
        self.stop_after: int | None = None
        self.over = False
        self.delays: dict[int, int] = {}  # by step: how much later than its END a bar comes, ns
        self.before_bar: list[Callable[[int], None]] = []

    # ------------------------------------------------------------ processes
    def start(
        self, folder: Path, limits: Limits = WIDE, capital: float = CAPITAL, policy: Policy | None = None
    ) -> Market:
        path = folder / "journal.db"
        self.journal = Journal.open(
            path, deployment="t", account=ACCOUNT, strategy_hash="h", create=not path.exists()
        )
        self.journal.begin_run({}, self.now, client_id=7)
        worth = {b.instrument.con_id or 0: b.instrument.multiplier for b in self.bars}
        policy = replace(Policy() if policy is None else policy, worth=tuple(worth.items()))
        self.desk = OrderDesk(
            self.journal,
            self.exchange,
            Setup(7, frozenset(worth), capital, limits, policy),
            self.now,
        )
        self.broker = LiveBroker(
            self.desk, self.journal, self.exchange, capital=capital, now=lambda: self.now
        )
        self.broker.observe(Surroundings(clock_offset_s=0.0))
        self.exchange.connect()
        self.broker.on_link(Link.UP)
        return self

    def again(self, folder: Path, **how: Any) -> Market:
        """End the process and begin another one on the same journal, with the same exchange."""
        self.journal.close()
        self.exchange.disconnect()
        self.feeds = [stored_feed(self, b) for b in self.bars]
        self.live_from = self.step + 1
        self.step = -1
        self.stop_after, self.over = None, False
        return self.start(folder, **how)

    def run(self, strategy: type[bt.Strategy], *analyzers: type[bt.Analyzer], **params: Any) -> Any:
        cerebro = bt.Cerebro(stdstats=False, quicknotify=False)
        cerebro.setbroker(self.broker)
        cerebro.addstore(_Store(self))
        for feed in self.feeds:
            cerebro.adddata(feed, name=feed.all_bars.symbol)
        cerebro.addstrategy(strategy, **params)
        return cerebro.run()[0]

    # ------------------------------------------------------------ time
    def seconds(self, count: int) -> None:
        for _ in range(count):
            self.now += SECOND
            self.exchange.run_to(self.now)
            self.broker.poll()

    def open_gate(self) -> None:
        for _ in range(60):
            if self.desk.gate is not Gate.RECONCILING and self.desk.gate is not Gate.CLOSED:
                return
            self.seconds(1)
        found = [s.found for s in self.journal.load().snapshots[-2:]]
        raise AssertionError(f"gate is {self.desk.gate}: {found} {[a.text for a in self.broker.alarms()]}")

    def advance(self) -> bool:
        """Go on to the next END: history at once, then live bars after the exchange has traded them."""
        if self.step + 1 >= len(self.ends) or self.step == self.stop_after:
            self.over = True
            return False
        self.step += 1
        end = int(self.ends[self.step])
        if self.step >= self.live_from:
            self.open_gate()
            for _ in range(3):  # orders that wait for the answer to others
                self.broker.poll()
            for told in self.before_bar:
                told(self.step)
            for b in self.bars:
                row = int(np.searchsorted(b.end, end))
                if row < len(b) and b.end[row] == end:
                    prices = (float(getattr(b, name)[row]) for name in ("open", "high", "low", "close"))
                    self.exchange.trade(b.instrument.con_id or 0, int(b.times.begin[row]), end, *prices)
            self.now = max(self.now, end + self.delays.get(self.step, 0))
            self.exchange.now = self.now
        return True


class _Store:
    """What cerebro asks of a store: it is asked for notifications as soon as the strategy is done with a bar."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def get_notifications(self) -> list[Any]:
        self._market.broker.flush()
        return []


class StoredFeed(bt.feed.DataBase):  # type: ignore[misc]
    """A live feed over stored bars; `bars` grows as they come."""

    params = (("market", None), ("all_bars", None))

    def __init__(self) -> None:
        super().__init__()
        market, bars = self.p.market, self.p.all_bars
        self.market, self.all_bars, self.bars = market, bars, bars[:0]
        self.stamps = numbers(to_local(bars.end, bars.instrument.timezone))

    def islive(self) -> bool:
        return True

    def haslivedata(self) -> bool:
        return False

    def setenvironment(self, env: Any) -> None:
        super().setenvironment(env)

    def _load(self) -> bool | None:
        market = self.market
        if self is market.feeds[0] and not market.advance():
            return False
        row = len(self.bars)
        if market.over and self is not market.feeds[0]:
            return False
        if row >= len(self.all_bars) or self.all_bars.end[row] > market.ends[market.step]:
            return None
        self.put_notification(self.LIVE if market.step >= market.live_from else self.DELAYED)
        self.bars = self.all_bars[: row + 1]
        for name in ("open", "high", "low", "close", "volume"):
            getattr(self.lines, name)[0] = float(getattr(self.all_bars, name)[row])
        self.lines.datetime[0] = self.stamps[row]
        return True


def stored_feed(market: Market, bars: q.Bars) -> StoredFeed:
    """Give bars to cerebro one by one."""
    timeframe, compression = timeframe_of(bars.bar)
    made: Any = StoredFeed  # backtrader's metaclass takes the arguments
    feed: StoredFeed = made(market=market, all_bars=bars, timeframe=timeframe, compression=compression)
    return feed
