"""Which contracts there are, and which of them a client means: TWS's look-up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

from ibapi.protobuf.Contract_pb2 import Contract

from quant.core.instrument import Instrument
from quant.tws.exchange.builtin import BUILT_IN, CENT, ZONES
from quant.tws.exchange.hours import utc
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.exchange.ticks import TickRule

UNKNOWN: Final = Refusal(200, "No security definition has been found for the request")
_LISTED_AHEAD: Final = timedelta(days=500)  # futures are listed about five quarters before they expire
_SAMPLES: Final = 16  # most contracts that a search by name gives


class Catalogue:
    """Contracts by con id. Built-in ones give way to the store's of the same symbol, type and currency.

    held: instruments of the store. only: symbols to which the catalogue is cut down, None = all.
    """

    def __init__(self, held: Iterable[Instrument] = (), only: Iterable[str] | None = None) -> None:
        found = {listing.con_id: listing for listing in BUILT_IN}
        for instrument in held:
            listing = _listing_of(instrument, found.values())
            found[listing.con_id] = listing
        wanted = None if only is None else {symbol.upper() for symbol in only}
        self._listings = {
            number: listing
            for number, listing in sorted(found.items())
            if wanted is None or listing.symbol.upper() in wanted
        }

    def __iter__(self) -> Iterator[Listing]:
        return iter(self._listings.values())

    def __len__(self) -> int:
        return len(self._listings)

    def get(self, con_id: int) -> Listing | None:
        """Return the listing of a con id, None if there is none."""
        return self._listings.get(con_id)

    def of(self, instrument: Instrument) -> Listing | None:
        """Return the listing that an instrument of the store became, None if it was left out."""
        return self._listings.get(_listing_of(instrument, BUILT_IN).con_id)

    def rule(self, number: int) -> TickRule | None:
        """Return a market rule by its number, None if no listing has it."""
        rules = {listing.rule.rule_id: listing.rule for listing in self._listings.values()}
        return rules.get(number)

    def find(self, wanted: Contract, now: int) -> list[Listing] | Refusal:
        """Return all contracts that `wanted` may mean, as reqContractDetails does; a refusal where none.

        Futures that have expired are found with includeExpired only, as at IB.
        """
        if wanted.conId == 0:
            if not wanted.secType:
                return invalid("Please enter a security type")
            if not (wanted.symbol or wanted.localSymbol):
                return invalid("Please enter a local symbol or a symbol")
        today = utc(now).date()

        def listed(expiry: date | None) -> bool:
            if expiry is None:
                return True
            return (wanted.includeExpired or expiry >= today) and expiry <= today + _LISTED_AHEAD

        named = self._listings.get(wanted.conId)
        some = self._listings.values() if wanted.conId == 0 else [] if named is None else [named]
        found = [x for x in some if listed(x.expiry) and _matches(x, wanted)]
        return found or UNKNOWN

    def one(self, wanted: Contract, now: int) -> Listing | Refusal:
        """Return the one contract that `wanted` means, as requests for data and orders need it.

        An unknown contract and an ambiguous one are refusals with TWS's error 200.
        """
        found = self.find(wanted, now)
        if isinstance(found, Refusal) or len(found) == 1:
            return found if isinstance(found, Refusal) else found[0]
        currencies = {listing.currency for listing in found}
        mend = "; you must specify the currency" if len(currencies) > 1 else ""
        name = wanted.symbol or wanted.localSymbol
        return Refusal(200, f"The contract description specified for {name} is ambiguous{mend}")

    def search(self, pattern: str) -> list[Listing]:
        """Return the contracts whose symbol begins with `pattern` or whose name holds it, as reqMatchingSymbols."""
        text = pattern.strip().upper()
        if not text:
            return []
        stocks = [x for x in self._listings.values() if x.sec_type in ("STK", "IND")]
        exact = [x for x in stocks if x.symbol.upper() == text]
        begins = [x for x in stocks if x.symbol.upper().startswith(text) and x not in exact]
        holds = [x for x in stocks if text in x.long_name.upper() and x not in exact and x not in begins]
        return [*exact, *begins, *holds][:_SAMPLES]


def _matches(listing: Listing, wanted: Contract) -> bool:
    if wanted.conId:
        return listing.con_id == wanted.conId and (
            not wanted.exchange or wanted.exchange in listing.exchanges
        )
    equal = [
        (wanted.symbol, listing.symbol),
        (wanted.secType, listing.sec_type),
        (wanted.currency, listing.currency),
        (wanted.localSymbol, listing.local),
        (wanted.tradingClass, listing.trading_class or listing.local),
        (wanted.primaryExch, listing.exchange),
    ]
    if any(asked and asked != held for asked, held in equal):
        return False
    if wanted.exchange and wanted.exchange not in listing.exchanges:
        return False
    if wanted.HasField("multiplier") and wanted.multiplier not in (0.0, listing.multiplier):
        return False
    month = wanted.lastTradeDateOrContractMonth
    return not month or (listing.expiry is not None and f"{listing.expiry:%Y%m%d}".startswith(month))


def _listing_of(instrument: Instrument, known: Iterable[Listing]) -> Listing:
    """Return the listing of an instrument of the store, with the built-in one's identity where it has one."""
    for listing in known:
        same = (listing.symbol, listing.sec_type, listing.currency) == (
            instrument.symbol, instrument.sec_type, instrument.currency,
        )  # fmt: skip
        at_home = instrument.exchange in (*listing.exchanges, "")
        if instrument.con_id == listing.con_id or (same and at_home and instrument.con_id is None):
            return replace(listing, stored=True)
    calendar = instrument.calendar or "24/7"
    zone = ZONES.get(calendar, instrument.timezone)
    name = f"{instrument.symbol} {instrument.sec_type} {instrument.exchange} {instrument.currency}"
    made_up = (
        1_000_000_000 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 1_000_000_000
    )
    rule = (
        CENT
        if instrument.tick is None
        else TickRule(made_up % 1000 + 1000, ((0.0, _plain(instrument.tick)),))
    )
    smart = instrument.sec_type == "STK"
    return Listing(
        con_id=made_up if instrument.con_id is None else instrument.con_id, symbol=instrument.symbol,
        sec_type=instrument.sec_type, exchange=instrument.exchange, currency=instrument.currency,
        long_name=instrument.symbol, rule=rule, calendar=calendar, zone=zone, smart=smart,
        multiplier=instrument.multiplier, magnifier=instrument.price_magnifier, stored=True,
    )  # fmt: skip


def _plain(tick: float) -> str:
    return f"{tick:.12f}".rstrip("0").rstrip(".")
