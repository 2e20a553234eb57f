"""How the simulated market fills an order: bar by bar as the backtest does, or on the synthetic path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.sessions import Floats
from quant.tws.exchange.hours import sessions_around, spans
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import OrderRequest
from quant.tws.exchange.path import quote
from quant.tws.exchange.shelf import base_of
from quant.tws.exchange.tape import Tape

# A quote older than this says nothing: ticks come each second.
_FRESH = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Fill:
    """time: UTC ns. quantity: unsigned, no more than was left."""

    time: int
    price: float
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Day:
    """When an order reaches the exchange, and when a DAY order of it ends; UTC ns."""

    active_at: int
    expires_at: int


class Model(Protocol):
    """What the exchange asks of a model. All moments are UTC ns."""

    cash_check: bool

    def day(self, listing: Listing, decided_at: int) -> Day | None:
        """Return when an order decided at a moment works, None if the market never opens again."""

    def fill(
        self, request: OrderRequest, remaining: Decimal, decided_at: int, seen: int, now: int
    ) -> Fill | None:
        """Return the first fill up to `now` of an order looked at up to `seen` already, None if there is none."""

    def next_look(self, listing: Listing, now: int) -> int | None:
        """Return when a working order may fill next, after `now`."""


class BarModel:
    """DESIGN §5.3: decided at a close, filled at the next bar's open; limits by backtrader's rule, without slippage.

    bars: by con id, of the size that the strategy decides on. An order counts as decided at the close of the last
    bar that was over when it came: however late it comes within the next bar, its open is the price. A limit that
    the open has not reached fills at the end of the bar that touched it, when the touch is known.
    Source: backtrader 1.9.78.123, bbroker.py, _try_exec_limit and _try_exec_market.
    """

    cash_check = True

    def __init__(self, bars: Mapping[int, Bars]) -> None:
        self._bars = dict(bars)

    def _next_row(self, listing: Listing, decided_at: int) -> tuple[Bars, int] | None:
        bars = self._bars.get(listing.con_id)
        if bars is None:
            return None
        row = int(np.searchsorted(bars.end, decided_at, side="right"))
        return (bars, row) if row < len(bars) else None

    def day(self, listing: Listing, decided_at: int) -> Day | None:
        """Return the next bar's begin, and the end of its session's last bar."""
        found = self._next_row(listing, decided_at)
        if found is None:
            return None
        bars, row = found
        last = int(np.searchsorted(bars.session, bars.session[row], side="right")) - 1
        return Day(max(decided_at, int(bars.times.begin[row])), int(bars.end[last]))

    def fill(
        self, request: OrderRequest, remaining: Decimal, decided_at: int, seen: int, now: int
    ) -> Fill | None:
        """Return the fill of all that is left, at the next open or at the limit."""
        found = self._next_row(request.listing, decided_at)
        if found is None:
            return None
        bars, row = found
        begin = bars.times.begin
        if request.limit is None:
            at = max(decided_at, int(begin[row]))
            return Fill(at, float(bars.open[row]), remaining) if at <= now else None
        row = max(row, int(np.searchsorted(bars.end, seen, side="right")))
        begun = int(np.searchsorted(begin, now, side="right"))
        opens, limit = bars.open[row:begun], request.limit
        at_open = opens <= limit if request.side > 0 else opens >= limit
        touched = bars.low[row:begun] <= limit if request.side > 0 else bars.high[row:begun] >= limit
        touched = touched & (bars.end[row:begun] <= now)
        hits = np.flatnonzero(at_open | touched)
        if not len(hits):
            return None
        hit = int(hits[0])
        if at_open[hit]:
            return Fill(max(decided_at, int(begin[row + hit])), float(opens[hit]), remaining)
        return Fill(int(bars.end[row + hit]), limit, remaining)

    def next_look(self, listing: Listing, now: int) -> int | None:
        """Return the next begin or end of a bar."""
        bars = self._bars.get(listing.con_id)
        if bars is None:
            return None
        rows = [int(np.searchsorted(column, now, side="right")) for column in (bars.times.begin, bars.end)]
        found = [int(c[r]) for c, r in zip((bars.times.begin, bars.end), rows, strict=True) if r < len(bars)]
        return min(found, default=None)


class PathModel:
    """Fills on the synthetic path: a market order at the quote, a limit when the price goes through it.

    A limit that the quote meets when the order comes, or when the market opens, fills at the quote; one that waits
    fills at its own price, no more in each second than what traded in it (currencies and others without volume: all).
    """

    cash_check = False

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def day(self, listing: Listing, decided_at: int) -> Day | None:
        """Return the session that is open at the moment, or the next one. A break does not end the day."""
        sessions = sessions_around(listing.calendar, decided_at)
        row = int(np.searchsorted(sessions.close, decided_at, side="right"))
        if row >= len(sessions.dates):
            return None
        open_now = [begin for begin, end in spans(sessions, row) if end > decided_at]
        return Day(max(decided_at, open_now[0]), int(sessions.close[row]))

    def fill(
        self, request: OrderRequest, remaining: Decimal, decided_at: int, seen: int, now: int
    ) -> Fill | None:
        """Return the fill at the quote when the order is new, else at its limit when the path goes through it."""
        listing = request.listing
        day = self.day(listing, decided_at)
        if day is None or day.active_at > now:
            return None
        if (
            seen < day.active_at
        ):  # not looked at since it works: the quote then, or of the first tick after it
            fresh = self._tape.ticks(listing, day.active_at - _FRESH, day.active_at + 1)
            time, price = (day.active_at, fresh.price[-1:]) if len(fresh) else (0, fresh.price)
            if not len(price):
                first = self._tape.ticks(listing, day.active_at + 1, now + 1)
                if not len(first):
                    return None
                time, price = int(first.time[0]), first.price[:1]
            at = quote(float(price[0]), listing.rule)
            worst = at.ask if request.side > 0 else at.bid
            if _within(price, request.side, request.limit)[0]:
                return Fill(time, worst, remaining)
            seen = time
        ticks = self._tape.ticks(listing, seen + 1, now + 1)
        crossed = _within(ticks.price, request.side, request.limit)
        sized = np.floor(ticks.size)
        if base_of(listing) == "TRADES" and listing.sec_type != "IND":
            crossed &= sized > 0.0
        hits = np.flatnonzero(crossed)
        if not len(hits):
            return None
        hit = int(hits[0])
        if request.limit is None:
            at = quote(float(ticks.price[hit]), listing.rule)
            return Fill(int(ticks.time[hit]), at.ask if request.side > 0 else at.bid, remaining)
        offered = Decimal(int(sized[hit])) if sized[hit] > 0.0 else remaining
        return Fill(int(ticks.time[hit]), request.limit, min(offered, remaining))

    def next_look(self, listing: Listing, now: int) -> int | None:
        """Return the next whole second of a session."""
        day = self.day(listing, now + 1)
        return None if day is None else -(-day.active_at // SECOND) * SECOND


def _within(prices: Floats, side: int, limit: float | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return where the far side of the quote is as good as the limit: where the price is better by a tick.

    Everywhere without a limit.
    """
    if limit is None:
        return np.ones(len(prices), dtype=bool)
    return prices < limit if side > 0 else prices > limit
