"""Which series of bars there are for a listing: the store's, or one made up where the store has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Final

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import BarSize, bar_size
from quant.core.sessions import Floats
from quant.core.synthetic import SOURCE, synthetic
from quant.store import Series, Store
from quant.tws.exchange.hours import FIRST_YEAR, LAST_YEAR, utc
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing

# Made-up series always reach over the same years: their bars must not depend on what is asked for.
FIRST: Final = f"{FIRST_YEAR}-01-01"
LAST: Final = f"{LAST_YEAR}-12-31"
SIMULATED: Final = (
    "simulated"  # the source under which a store keeps what was downloaded from a simulated TWS
)
_VOLATILITY: Final = {"CASH": 0.08, "FUT": 0.16, "IND": 0.16}  # of a year's return; stocks 0.25
_FUTURE_LIFE: Final = timedelta(days=460)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """One series, read when first needed. what: IB's whatToShow; rth: regular hours only.

    years: of its first and last bar; None for one that does not lie in a store.
    """

    bar: BarSize
    what: str
    rth: bool
    load: Callable[[], Bars]
    years: tuple[int, int] | None = None


def base_of(listing: Listing) -> str:
    """Return which whatToShow the prices of a listing are: currencies have no trades at IB."""
    return "MIDPOINT" if listing.sec_type == "CASH" else "TRADES"


def served(store: Store) -> list[Series]:
    """Return the series of a store that clients are served from, the sample bars behind all others.

    Never what a simulated TWS gave out before: its own made-up bars would come back as stored ones.
    """
    return sorted((s for s in store.series() if s.source != SIMULATED), key=lambda s: s.sample)


def stored(
    store: Store, catalogue: Catalogue, series: Iterable[Series], seed: int | None = None
) -> dict[int, list[Held]]:
    """Return the store's series by con id of the catalogue, each read once and when first needed.

    seed: of made-up days that go on after the last stored ones; None = the market ends there.
    """
    found: dict[int, list[Held]] = {}
    for one in series:
        listing = catalogue.of(one.instrument)
        if listing is not None:
            found.setdefault(listing.con_id, []).append(_held(store, one))
    if seed is not None:
        for listing in catalogue:
            if any(held.what == base_of(listing) for held in found.get(listing.con_id, [])):
                found[listing.con_id].append(_going_on(listing, found[listing.con_id], seed))
    return found


def _going_on(listing: Listing, series: Sequence[Held], seed: int) -> Held:
    """Return the made-up days after the last stored session, from its close on."""
    base = [held for held in series if held.what == base_of(listing)]

    def load() -> Bars:
        last = max((held.load()[-1:] for held in base), key=lambda bars: int(bars.end[0]))
        days = _walk(listing, seed)
        after = int(np.searchsorted(days.session, last.session[0], side="right"))
        at = max(after - 1, 0)
        return (
            _on_ticks(listing, days[after:], float(last.close[0]) / float(days.close[at]))
            if len(days)
            else days
        )

    return Held(bar_size("1d"), base_of(listing), True, lru_cache(maxsize=1)(load))


def _held(store: Store, series: Series) -> Held:
    years = utc(series.first).year, utc(series.last).year
    return Held(series.bar, series.what, series.rth, lru_cache(maxsize=1)(lambda: store.read(series)), years)


def held_bars(bars: Sequence[Bars]) -> list[Held]:
    """Return series that lie in memory, for rehearsals and tests."""
    return [Held(b.bar, b.what, b.rth, lambda b=b: b) for b in bars]  # type: ignore[misc]  # the default binds b


def made_up(listing: Listing, seed: int) -> list[Held]:
    """Return the made-up daily series of a listing: the same for the same listing and seed."""
    return [Held(bar_size("1d"), base_of(listing), True, lru_cache(maxsize=1)(lambda: _walk(listing, seed)))]


def _walk(listing: Listing, seed: int) -> Bars:
    # A future's bars are those of its symbol: expiries of one symbol do not drift apart.
    name = f"{listing.symbol} {listing.sec_type} {listing.exchange} {listing.currency} {seed}"
    own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    volatility = _VOLATILITY.get(listing.sec_type, 0.25)
    days = synthetic(
        listing.symbol, "1d", FIRST, LAST, calendar=listing.calendar, seed=own, volatility=volatility
    )
    if listing.expiry is not None:
        labels = days.start.view("datetime64[ns]").astype("datetime64[D]")
        first, last = np.searchsorted(
            labels,
            [np.datetime64(listing.expiry - _FUTURE_LIFE), np.datetime64(listing.expiry + timedelta(days=1))],
        )
        days = days[int(first) : int(last)]
    return _on_ticks(listing, days, listing.first_price / 100.0)  # synthetic() begins at 100


def _on_ticks(listing: Listing, days: Bars, scale: float) -> Bars:
    """Return the days with prices times `scale`, on the steps of the listing's prices."""

    def on_tick(prices: Floats) -> Floats:
        return np.array([listing.rule.nearest(p * scale) for p in prices.tolist()])

    opened, high, low, close = (on_tick(getattr(days, n)) for n in ("open", "high", "low", "close"))
    volume = days.volume if listing.sec_type in ("STK", "FUT") else np.zeros(len(days))
    return replace(
        days, instrument=listing.instrument, open=opened, close=close, volume=volume, what=base_of(listing),
        high=np.maximum(high, np.maximum(opened, close)), low=np.minimum(low, np.minimum(opened, close)), source=SOURCE,
    )  # fmt: skip
