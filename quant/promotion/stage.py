"""The stage of a rehearsal: a simulated TWS over stored bars, whose account holds more than the deployment's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.ib.exchanges import STOCKS
from quant.tws.exchange.account import Account
from quant.tws.exchange.bar_model import BarModel
from quant.tws.exchange.clock import Clock
from quant.tws.exchange.history import History, LiveBar
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.market import Exchange
from quant.tws.exchange.orders import Executed
from quant.tws.exchange.path import Ticks
from quant.tws.exchange.shelf import held_bars
from quant.tws.exchange.tape import Tape
from quant.tws.faults import Fault, Faults
from quant.tws.order_faults import OrderFault
from quant.tws.program import Tws
from quant.tws.server import Server

ACCOUNT: Final = "DU1234567"
TIMES: Final = 10.0  # the account's cash, by the deployment's capital
LEAD: Final = 600 * SECOND  # from the beginning to the first bar
FOREIGN: Final = (
    Decimal(37),
    Decimal(-12),
)  # held of what is traded, in turn; another deployment's, or a person's
ELSEWHERE: Final = 272093, 265598  # of these one that is not traded is held too
_HELD: Final = Decimal(100)
FIVE: Final = 5 * SECOND
AT_ONCE: Final = 1800 * SECOND  # of bars whose pieces are made together: of one they take twice as long

AnyFault = Fault | OrderFault


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What is rehearsed on. bars: with the contract ids of `server`; begin: UTC ns. cash, held: before any order.

    faults: when what was scripted for a time happens, as far as bars come behind it; UTC ns.
    """

    server: Server
    bars: tuple[Bars, ...]
    begin: int
    cash: float
    held: dict[int, Decimal]
    faults: tuple[int, ...] = ()

    @property
    def exchange(self) -> Exchange:
        """The market, and its account."""
        return self.server.tws.exchange

    def executions(self) -> list[Executed]:
        """Return every fill, oldest first."""
        return [executed for executed, _ in self.exchange.executions]

    def gained(self) -> dict[int, Decimal]:
        """Return what is held beyond what was there before, by contract id."""
        now = {held.listing.con_id: held.quantity for held in self.exchange.account.holdings}
        found = {
            con_id: now.get(con_id, Decimal(0)) - self.held.get(con_id, Decimal(0))
            for con_id in {*now, *self.held}
        }
        return {con_id: quantity for con_id, quantity in found.items() if quantity}


class _Quick(History):
    """A history that makes 5-second bars of many stored bars at once, where a listing's trades have one series."""

    def __init__(self, tape: Tape, held: Mapping[int, Bars]) -> None:
        super().__init__(tape)
        self._trades, self._held = tape, held
        self._made: dict[
            int, dict[int, LiveBar]
        ] = {}  # by contract id: those of the newest bars, by their ends

    def live_bar(self, listing: Listing, what: str, end: int) -> LiveBar | None:
        """Return the 5-second bar that is over at `end` (UTC ns), None where nothing traded."""
        made = self._made.get(listing.con_id) if what == "TRADES" else None
        if made is not None and end in made:
            return made[end]
        bars = self._held.get(listing.con_id)
        if bars is None or what != "TRADES" or bars.what != "TRADES" or bars.bar.ns % FIVE:
            return super().live_bar(listing, what, end)
        row = int(np.searchsorted(bars.end, end))
        if row == len(bars) or bars.times.begin[row] > end - FIVE:
            return super().live_bar(listing, what, end)
        ticks = self._trades.paths(listing, bars, row, max(AT_ONCE // bars.bar.ns, 1))
        made = self._made[listing.con_id] = {one.start + FIVE: one for one in _pieces(ticks)}
        return made.get(end)


def _pieces(paths: Sequence[Ticks]) -> Iterator[LiveBar]:
    time, price, size = (
        np.concatenate([getattr(p, name) for p in paths]) for name in ("time", "price", "size")
    )
    starts = time - time % FIVE
    first = np.concatenate(([0], np.flatnonzero(starts[1:] != starts[:-1]) + 1))
    last = np.concatenate((first[1:] - 1, [len(starts) - 1]))
    volume = np.add.reduceat(size, first)
    paid = np.add.reduceat(price * size, first)
    columns = (
        starts[first], price[first], np.maximum.reduceat(price, first), np.minimum.reduceat(price, first),
        price[last], volume, np.where(volume > 0.0, paid / np.maximum(volume, 1e-300), price[last]),
        np.add.reduceat((size > 0.0).astype(np.int64), first),
    )  # fmt: skip
    yield from map(LiveBar, *(column.tolist() for column in columns))


def in_session(bars: Bars) -> Bars:
    """Return the bars that begin inside a session: no others are brought live."""
    if bars.calendar is None or not bars.bar.intraday or bool(np.all(bars.times.in_session)):
        return bars
    rows = bars.times.in_session
    columns: dict[str, Any] = {name: getattr(bars, name)[rows] for name in ("start", *COLUMNS)}
    return replace(bars, **columns)


def make_stage(
    feeds: Sequence[Bars], capital: float, plan: str, faults: Iterable[AnyFault] = (), seed: int = 0
) -> Stage:
    """Return the stage for bars of different instruments. plan: of quant.core.costs. Raises ParameterError."""
    feeds = [_at_ib(bars) for bars in feeds]
    catalogue = Catalogue([bars.instrument for bars in feeds])
    listings = [_listing(catalogue, bars) for bars in feeds]
    known = tuple(
        replace(bars, instrument=replace(bars.instrument, con_id=listing.con_id))
        for bars, listing in zip(feeds, listings, strict=True)
    )
    ids = [listing.con_id for listing in listings]
    twice = next((b.symbol for b, con_id in zip(known, ids, strict=True) if ids.count(con_id) > 1), None)
    if twice is not None:
        raise ParameterError(
            "bars", twice, "two feeds of one instrument would share one position; give one of them"
        )
    faults = list(faults)
    account = Account(ACCOUNT, listings[0].currency, TIMES * capital)
    _hold(account, catalogue, listings, known)
    by_id = dict(zip(ids, known, strict=True))
    tape = Tape({con_id: held_bars([bars]) for con_id, bars in by_id.items()}, seed)
    tws = Tws(catalogue, tape, Exchange(BarModel(by_id), account, plan), rate_limited=False)
    tws.history = _Quick(tape, by_id)
    begin = min(int(bars.times.begin[0]) for bars in known) - LEAD
    server = Server(tws, Clock(lambda: begin, speed=0.0, start=begin), faults=Faults(faults, seed))
    held = {one.listing.con_id: one.quantity for one in account.holdings}
    last = max(int(bars.end[-1]) for bars in known)
    timed = [begin + round(fault.after_s * SECOND) for fault in faults if fault.after_s is not None]
    return Stage(
        server, known, begin, account.cash(account.base), held, tuple(at for at in timed if at < last)
    )


def _at_ib(bars: Bars) -> Bars:
    """Return bars at an exchange of IB's, whose calendar the client knows; made-up and imported ones have none."""
    there, calendar = bars.instrument.exchange, bars.instrument.calendar
    if calendar is None or STOCKS.get(there) == calendar:
        return bars
    named = next((name for name, hours in STOCKS.items() if hours == calendar), there)
    return replace(bars, instrument=replace(bars.instrument, exchange=named))


def _listing(catalogue: Catalogue, bars: Bars) -> Listing:
    found = catalogue.of(bars.instrument)
    if found is None or found.sec_type != "STK":
        kind = bars.instrument.sec_type
        raise ParameterError("bars", f"{bars.symbol} {kind}", "only stocks and funds can be rehearsed yet")
    return found


def _hold(account: Account, catalogue: Catalogue, listings: Sequence[Listing], feeds: Sequence[Bars]) -> None:
    """Put holdings into the account that are nothing to the deployment."""
    traded = {listing.con_id for listing in listings}
    other = next((catalogue.get(con_id) for con_id in ELSEWHERE if con_id not in traded), None)
    if other is not None and other.currency == account.base:
        account.book(other, _HELD, other.first_price, 0.0)
    for n, (listing, bars) in enumerate(zip(listings, feeds, strict=True)):
        account.book(listing, FOREIGN[n % len(FOREIGN)], float(bars.open[0]), 0.0)
