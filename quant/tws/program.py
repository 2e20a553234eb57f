"""One TWS: the market, the account and the limits that its clients share, and how time moves them on.

No sockets, no threads; every method takes the present as UTC ns, which must not go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ibapi.protobuf.Order_pb2 import Order

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.calendar import calendar
from quant.store import Store
from quant.tws import account_messages, limits, order_messages
from quant.tws.client import NO_REQUEST, Client
from quant.tws.exchange.account import Account, Figure, figures
from quant.tws.exchange.clock import Timers
from quant.tws.exchange.history import History
from quant.tws.exchange.hours import sessions_around
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.models import BarModel, PathModel
from quant.tws.exchange.orders import Changed, Charged, Event, Executed, Key, Opened, Told
from quant.tws.exchange.refusal import Refusal
from quant.tws.exchange.shelf import served, stored
from quant.tws.exchange.tape import Tape

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

# What a timer does: it is called with its own moment.
Job = Callable[[int], None]


class Tws:
    """What clients of one TWS share.

    zone: of the machine it runs on, for times without one, and in which it tells times of executions. rate_limited:
    whether 50 messages a second are enforced; a clock that stands still would never let a 51st through.
    history_s: virtual seconds that the data farm takes for an answer.
    """

    def __init__(
        self, catalogue: Catalogue, tape: Tape, exchange: Exchange, *, zone: str = "US/Eastern",
        rate_limited: bool = True, history_s: float = 0.0,
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
        self.timers: Timers[Job] = Timers()

    def warm(self, now: int) -> None:
        """Make the calendars of whatever lies in the store, so that no client has to wait a second for one."""
        for listing in self.catalogue:
            if listing.stored:
                sessions_around(listing.calendar, now)
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
            self.tell(self.exchange.advance(timer.at), timer.at)
            timer.thing(timer.at)
        self.tell(self.exchange.advance(now), now)

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
    def tell(self, events: Iterable[Event], now: int) -> None:
        """Tell the clients that it concerns what happened to orders; positions and account follow a fill."""
        traded: dict[int, Listing] = {}
        for event in events:
            key = event.view.request.key if isinstance(event, Opened | Changed | Executed) else event.key
            owner = self.clients.get(key[0])
            if owner is not None:
                self._tell_owner(owner, event, now)
            if isinstance(event, Executed):
                traded[event.view.request.listing.con_id] = event.view.request.listing
        for listing in traded.values():
            for client in self.clients.values():
                self._tell_holding(client, listing, now)

    def _tell_owner(self, owner: Client, event: Event, now: int) -> None:
        if isinstance(event, Opened):
            owner.say(order_messages.open_order(event.view, self.asked[event.view.request.key]))
        elif isinstance(event, Changed):
            owner.say(order_messages.order_status(event.view))
        elif isinstance(event, Executed):
            owner.say(order_messages.execution(event, NO_REQUEST, self.account.account_id, self.zone))
        elif isinstance(event, Charged):
            owner.say(order_messages.commission(event))
        elif isinstance(event, Told):
            owner.error(event.key[1], Refusal(event.code, event.text), now)

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
        worth, base = self._dollars(currency, now), self._dollars(self.account.base, now)
        return None if worth is None or base is None else worth / base

    def _dollars(self, currency: str, now: int) -> float | None:
        for listing in self.catalogue:
            if (listing.symbol, listing.sec_type, listing.currency) == (currency, "CASH", "USD"):
                price = self.price(listing, now)
                return _DOLLARS.get(currency) if price is None else price
        return _DOLLARS.get(currency)

    def figures(self, now: int) -> list[Figure]:
        """Return the account's values at `now`."""
        held = [h.listing for h in self.account.holdings]
        prices = {x.con_id: p for x in held if (p := self.price(x, now)) is not None}
        currencies = {*self.account.currencies, *(x.currency for x in held)}
        rates = {c: r for c in currencies if (r := self.rate(c, now)) is not None}
        return figures(self.account, prices, rates)


def simulated(
    store: Store | None = None, *, symbols: Iterable[str] | None = None, account: str = "DU1234567",
    base: str = "USD", cash: float = 1_000_000.0, plan: str = "ib-fixed", seed: int = 0,
    bars: Mapping[int, Bars] | None = None, rate_limited: bool = True, history_s: float = 0.0,
) -> Tws:  # fmt: skip
    """Return a TWS over the bars of a store, and made-up ones for what it does not hold.

    symbols: the only ones that it knows, None = the built-in and the store's. plan: of quant.core.costs. bars: by con
    id; orders then fill as the backtest's do on these bars (DESIGN §5), else on the synthetic path. The other settings
    are those of Account and Tws. Raises ParameterError.
    """
    series = [] if store is None else served(store)
    catalogue = Catalogue([one.instrument for one in series], symbols)
    tape = Tape({} if store is None else stored(store, catalogue, series), seed)
    model = PathModel(tape) if bars is None else BarModel(bars)
    exchange = Exchange(model, Account(account, base, cash), plan)
    return Tws(catalogue, tape, exchange, rate_limited=rate_limited, history_s=history_s)
