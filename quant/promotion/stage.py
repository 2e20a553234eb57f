"""The stage of a rehearsal: a simulated TWS over stored bars, whose account holds more than the deployment's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.tws.exchange.account import Account
from quant.tws.exchange.bar_model import BarModel
from quant.tws.exchange.clock import Clock
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

AnyFault = Fault | OrderFault


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What is rehearsed on. bars: with the contract ids of `server`; begin: UTC ns. cash, held: before any order."""

    server: Server
    bars: tuple[Bars, ...]
    begin: int
    cash: float
    held: dict[int, Decimal]

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


class _OneSeries(Tape):
    """A tape that finds the ticks of 5 seconds at once, where a listing has one series: they lie in one bar."""

    def __init__(self, held: Mapping[int, Bars], seed: int) -> None:
        super().__init__({con_id: held_bars([bars]) for con_id, bars in held.items()}, seed)
        self._bars = held
        self._newest: dict[
            int, tuple[int, int, Ticks]
        ] = {}  # by contract id: begin and end of a bar, its ticks

    def ticks(self, listing: Listing, begin: int, end: int) -> Ticks:
        """Return the ticks with begin <= time < end, UTC ns."""
        first, last, path = self._newest.get(listing.con_id, (0, 0, None))
        if path is None or not first <= begin < end <= last:
            bars = self._bars.get(listing.con_id)
            row = -1 if bars is None else int(np.searchsorted(bars.end, begin, side="right"))
            if bars is None or row == len(bars) or bars.times.begin[row] > begin or bars.end[row] < end:
                return super().ticks(listing, begin, end)
            path = self._path(listing, bars, row)
            self._newest[listing.con_id] = int(bars.times.begin[row]), int(bars.end[row]), path
        return path.between(begin, end)


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
    account = Account(ACCOUNT, listings[0].currency, TIMES * capital)
    _hold(account, catalogue, listings, known)
    by_id = dict(zip(ids, known, strict=True))
    tape = _OneSeries(by_id, seed)
    tws = Tws(catalogue, tape, Exchange(BarModel(by_id), account, plan), rate_limited=False)
    begin = min(int(bars.times.begin[0]) for bars in known) - LEAD
    server = Server(tws, Clock(lambda: begin, speed=0.0, start=begin), faults=Faults(faults, seed))
    held = {one.listing.con_id: one.quantity for one in account.holdings}
    return Stage(server, known, begin, account.cash(account.base), held)


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
