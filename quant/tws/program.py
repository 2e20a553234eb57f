"""One TWS: the market, the account and the limits that its clients share, and how time moves them on.

No sockets, no threads; every method takes the present as UTC ns, which must not go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from ibapi.protobuf.Order_pb2 import Order

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.calendar import calendar, timezone_of
from quant.store import Store
from quant.tws import account_messages, limits, order_messages
from quant.tws.client import NO_REQUEST, Client
from quant.tws.exchange import mishaps as books_mishaps
from quant.tws.exchange.account import Account, Figure, figures
from quant.tws.exchange.clock import Timers
from quant.tws.exchange.history import History
from quant.tws.exchange.hours import sessions_around
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.margin import Rules
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.models import BarModel, PathModel
from quant.tws.exchange.orders import (
    HAND,
    Bound,
    Changed,
    Charged,
    Event,
    Executed,
    Key,
    Opened,
    OrderRequest,
    OrderView,
    Told,
    key_of,
)
from quant.tws.exchange.refusal import Refusal
from quant.tws.exchange.shelf import served, stored
from quant.tws.exchange.tape import Tape
from quant.tws.order_faults import OrderFault, OrderFaults
from quant.tws.serve import mishaps

# Dollars for one unit: what the simulator counts a currency at for which it lists no pair. Round figures of 2024.
_DOLLARS: Final = {
    "USD": 1.0, "EUR": 1.08, "GBP": 1.27, "JPY": 0.0066, "HKD": 0.128, "CHF": 1.13, "CAD": 0.73, "AUD": 0.66,
}  # fmt: skip
CLIENT_ID_IN_USE: Final = Refusal(
    326, "Unable to connect as the client id is already in use. Retry with a unique client id."
)
NOTICES: Final = (
    Refusal(2104, "Market data farm connection is OK:usfarm"),
    Refusal(2106, "HMDS data farm connection is OK:ushmds"),
    Refusal(2158, "Sec-def data farm connection is OK:secdefil"),
)
PAPER: Final = Rules()  # of a paper account

# What a timer does: it is called with its own moment.
Job = Callable[[int], None]


class Tws:
    """What clients of one TWS share.

    zone: of the machine it runs on, for times without one, and in which it tells times of executions. rate_limited:
    whether 50 messages a second are enforced; a clock that stands still would never let a 51st through.
    history_s: virtual seconds that the data farm takes for an answer. rules: what of orders is refused, None = nothing.
    """

    def __init__(
        self, catalogue: Catalogue, tape: Tape, exchange: Exchange, *, zone: str = "US/Eastern",
        rate_limited: bool = True, history_s: float = 0.0, rules: Rules | None = None,
    ) -> None:  # fmt: skip
        self.catalogue = catalogue
        self.tape = tape
        self.exchange = exchange
        self.history = History(tape)
        self.zone = zone
        self.rate_limited = rate_limited
        self.history_ns = round(history_s * SECOND)
        self.sessions = PathModel(tape)  # when markets are open, whatever fills the orders
        self.pacing = limits.Pacing()
        self.open_history = limits.history_requests()
        self.tickers = limits.tickers()
        self.tick_by_tick = limits.tick_by_tick()
        self.clients: dict[int, Client] = {}
        self.asked: dict[Key, Order] = {}  # orders as their clients wrote them
        self.rules = rules
        self.order_faults = OrderFaults(())
        self.down_until = 0  # UTC ns until which nobody can connect
        self.timers: Timers[Job] = Timers()

    def warm(self, now: int) -> None:
        """Make the calendars of whatever lies in the store, so that no client has to wait a second for one."""
        for listing in self.catalogue:
            if listing.stored:
                sessions_around(listing.calendar, now)
                timezone_of(listing.calendar)
                spans = [held.years for held in self.tape.series(listing) if held.years is not None]
                for year in {y for first, last in spans for y in range(first, last + 1)}:
                    calendar(listing.calendar, year, year)  # as parts of the series will ask for it

    # ------------------------------------------------------------ clients
    def join(self, client: Client, number: int) -> bool:
        """Take a client in under its id; False if another one has it."""
        if number in self.clients:
            return False
        client.id = number
        self.clients[number] = client
        return True

    def leave(self, client: Client) -> None:
        """Forget a client that has gone; its orders stay."""
        self.forget(client)
        if client.id is None:
            return
        del self.clients[client.id]
        client.id = None

    def forget(self, client: Client) -> None:
        """End what a client listens to of the market; what it asked of history is never answered."""
        for timer in client.timers.values():
            self.timers.cancel(timer)
        client.timers.clear()
        client.on_fill.clear()
        if client.id is None:
            return
        for open_ in (self.open_history, self.tickers, self.tick_by_tick):
            open_.close_client(client.id)

    def end(self, client: Client, number: int) -> None:
        """End one of a client's requests or subscriptions for data."""
        for kind, request in list(client.timers):
            if request == number:
                self.stop(client, kind, request)
        for open_ in (self.open_history, self.tickers, self.tick_by_tick):
            open_.close(client.own_id, number)

    # ------------------------------------------------------------ time
    def next_at(self, now: int) -> int | None:
        """Return when something may happen by itself, None if nothing will."""
        moments = (self.timers.next_at(), self.exchange.next_at(now))
        return min((at for at in moments if at is not None), default=None)

    def advance(self, now: int) -> None:
        """Let time pass: orders fill, subscriptions tell, in order of time."""
        for timer in self.timers.due(now):
            self._pass(timer.at)
            timer.thing(timer.at)
        self._pass(now)

    def _pass(self, now: int) -> None:
        events = self.exchange.advance(now)
        if events:  # as a rule there are none, twelve times a minute
            self.tell(events, now)

    def repeat(self, client: Client, kind: str, request: int, at: int | None, job: Job) -> None:
        """Set the timer of a client's subscription; None sets none, since nothing will ever come."""
        self.stop(client, kind, request)
        if at is not None:
            client.timers[kind, request] = self.timers.set(at, job)

    def stop(self, client: Client, kind: str, request: int) -> None:
        """Cancel the timer of a client's subscription, if it has one."""
        timer = client.timers.pop((kind, request), None)
        if timer is not None:
            self.timers.cancel(timer)

    # ------------------------------------------------------------ what happens
    def tell(self, events: Iterable[Event], now: int, *, corrected: bool = False) -> None:
        """Tell the clients that it concerns what happened to orders; positions and account follow a fill.

        corrected: the fills among them replace others, and draw no faults of their own.
        """
        events = list(events)
        spoken = self.order_faults.spoken(events)
        for event in spoken.now:
            self._tell_owner(event, now)
        for delay, event in spoken.later:
            self.timers.set(now + delay, partial(self._tell_owner, event))
        fills = [event for event in events if isinstance(event, Executed)]
        for listing in {f.view.request.listing.con_id: f.view.request.listing for f in fills}.values():
            self.tell_holding(listing, now)
        if not corrected:
            mishaps.filled(self, fills, now)

    def _tell_owner(self, event: Event, now: int) -> None:
        """Tell an event to the client whose order it is; of one made by hand client 0 hears."""
        number, order_id = key_of(event)
        owner = self.clients.get(0 if number == HAND else number)
        if owner is None:
            return
        if isinstance(event, Opened):
            owner.say(order_messages.open_order(event.view, self.order_of(event.view)))
        elif isinstance(event, Changed):
            owner.say(order_messages.order_status(event.view))
        elif isinstance(event, Bound):
            owner.say(order_messages.bound(event.view))
        elif isinstance(event, Executed):
            owner.say(order_messages.execution(event, NO_REQUEST, self.account.account_id, self.zone))
        elif isinstance(event, Charged):
            owner.say(order_messages.commission(event))
        elif isinstance(event, Told) and number != HAND:
            owner.error(order_id, Refusal(event.code, event.text), now)

    def tell_holding(self, listing: Listing, now: int) -> None:
        """Tell every client that listens what is held of a listing."""
        for client in self.clients.values():
            self._tell_holding(client, listing, now)

    def _tell_holding(self, client: Client, listing: Listing, now: int) -> None:
        """Tell a client that listens to positions or account updates what a fill left."""
        account, held = self.account.account_id, self.account.holding(listing)
        if client.positions:
            client.say(account_messages.position(held, account))
        for request, model in client.positions_multi.items():
            client.say(account_messages.position_multi(held, account, request, model))
        if client.account_updates:
            client.say(account_messages.portfolio(held, self.price(listing, now), account))
        self.tell_figures(client, now)
        for tell in list(client.on_fill.values()):
            tell(now)

    def tell_figures(self, client: Client, now: int) -> None:
        """Tell a client the account's values, in each way in which it listens to them."""
        if not (client.account_updates or client.updates_multi or client.summaries):
            return
        account, found = self.account.account_id, self.figures(now)
        if client.account_updates:
            client.say(*account_messages.values(found, account), account_messages.update_time(now, self.zone))
        for request, model in client.updates_multi.items():
            client.say(*account_messages.values_multi(found, account, request, model))
        for request, tags in client.summaries.items():
            client.say(*account_messages.summary(found, account, request, tags, self.account.base))

    # ------------------------------------------------------------ the account
    @property
    def account(self) -> Account:
        """The one account."""
        return self.exchange.account

    def price(self, listing: Listing, now: int) -> float | None:
        """Return the last price of a listing, None before its first."""
        last = self.tape.last(listing, now)
        return None if last is None else last[1]

    def rate(self, currency: str, now: int) -> float | None:
        """Return the base currency for one of `currency`; None where the simulator knows none."""
        if currency == self.account.base:
            return 1.0
        worth, base = self._dollars(currency, now), self._dollars(self.account.base, now)
        return None if worth is None or base is None else worth / base

    def _dollars(self, currency: str, now: int) -> float | None:
        for listing in self.catalogue:
            if (listing.symbol, listing.sec_type, listing.currency) == (currency, "CASH", "USD"):
                price = self.price(listing, now)
                return _DOLLARS.get(currency) if price is None else price
        return _DOLLARS.get(currency)

    def worth(self, now: int, *more: Listing) -> tuple[dict[int, float], dict[str, float]]:
        """Return the last prices of what is held and of `more`, and the rates of their currencies."""
        held = [*(h.listing for h in self.account.holdings), *more]
        prices = {x.con_id: p for x in held if (p := self.price(x, now)) is not None}
        currencies = {*self.account.currencies, *(x.currency for x in held)}
        return prices, {c: r for c in currencies if (r := self.rate(c, now)) is not None}

    def figures(self, now: int) -> list[Figure]:
        """Return the account's values at `now`."""
        return figures(self.account, *self.worth(now))

    # ------------------------------------------------------------ orders of nobody here
    def order_of(self, view: OrderView) -> Order:
        """Return an order as its client wrote it; one that no client wrote is empty."""
        return self.asked.get(view.request.key) or Order(account=self.account.account_id)

    def next_key(self, client: int) -> Key:
        """Return the key of a client's next order."""
        used = [view.request.key[1] for view in self.exchange.orders if view.request.key[0] == client]
        return client, max(used, default=0) + 1

    def by_hand(self, request: OrderRequest, now: int) -> None:
        """Take an order that somebody makes in TWS, or that a client makes who is not here."""
        zero = self.clients.get(0)
        bound = zero is not None and zero.auto_bind and request.key[0] == HAND
        if bound:
            request = replace(request, key=(0, -request.key[1]))
        events = self.exchange.place(request, now)
        one = self.exchange.books.find(request.key)
        self.tell([*([Bound(one.view)] if bound and one is not None else []), *events], now)

    def bind_all(self, now: int) -> None:
        """Give the open orders that were made by hand order ids of client 0."""
        for one in [o for o in self.exchange.books.open() if o.view.by_hand and o.transmitted]:
            self.tell(books_mishaps.bind(self.exchange.books, one)[:1], now)

    def play(self, faults: OrderFaults, began: int) -> None:
        """Let a script of faults happen from now on; timed ones count from `began` (UTC ns)."""
        self.order_faults = faults
        for after, fault in faults.timed:
            self.timers.set(began + after, partial(mishaps.happen, self, fault))

    def restart(self, fault: OrderFault, now: int) -> None:
        """End every connection; orders that had just come are gone, and their ids are free again."""
        for lost in books_mishaps.vanish(self.exchange.books, now - round(fault.lost_s * SECOND)):
            self.asked.pop(lost.key, None)
        self.down_until = now + fault.delay
        for client in self.clients.values():
            client.closing = True


def simulated(
    store: Store | None = None, *, symbols: Iterable[str] | None = None, account: str = "DU1234567",
    base: str = "USD", cash: float = 1_000_000.0, plan: str = "ib-fixed", seed: int = 0,
    bars: Mapping[int, Bars] | None = None, rate_limited: bool = True, history_s: float = 0.0,
    rules: Rules = PAPER,
) -> Tws:  # fmt: skip
    """Return a TWS over the bars of a store, and made-up ones for what it does not hold.

    symbols: the only ones that it knows, None = the built-in and the store's. plan: of quant.core.costs. bars: by con
    id; orders then fill as the backtest's do on these bars (DESIGN §5), else on the synthetic path. The other settings
    are those of Account and Tws; rules do not hold where orders fill as the backtest's do. Raises ParameterError.
    """
    series = [] if store is None else served(store)
    catalogue = Catalogue([one.instrument for one in series], symbols)
    tape = Tape(
        {} if store is None else stored(store, catalogue, series, seed if bars is None else None), seed
    )
    model = PathModel(tape) if bars is None else BarModel(bars)
    exchange = Exchange(model, Account(account, base, cash), plan)
    asked = rules if bars is None else None
    return Tws(catalogue, tape, exchange, rate_limited=rate_limited, history_s=history_s, rules=asked)
