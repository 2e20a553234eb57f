"""How the simulated market fills an order on the synthetic path; bar by bar: quant.tws.exchange.bar_model."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import numpy as np

from quant.core.barsize import MINUTE, SECOND
from quant.core.calendar import Ints
from quant.core.sessions import Floats
from quant.tws.exchange.bar_model import BarModel
from quant.tws.exchange.hours import sessions_around, spans
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import AT_CLOSE, STOPS, TRAILS, OrderRequest
from quant.tws.exchange.path import quote
from quant.tws.exchange.shelf import base_of
from quant.tws.exchange.steps import Day, Elected, Fill, Lapsed, Look, Work
from quant.tws.exchange.tape import Tape

__all__ = ["BarModel", "PathModel"]

# A quote older than this says nothing: ticks come each second.
_FRESH = 5 * SECOND
# How long before an auction its orders are due: NYSE's closing auction 10 minutes, Nasdaq's opening one 2 minutes.
CLOSE_CUT_OFF: Final = 10 * MINUTE
OPEN_CUT_OFF: Final = 2 * MINUTE


class PathModel:
    """Fills on the synthetic path: a market order at the quote, a limit when the price goes through it.

    A limit that the quote meets when the order comes, or when the market opens, fills at the quote; one that waits
    fills at its own price, no more in each second than what traded in it (currencies and others without volume: all).
    A stop is elected by the last price, and is then a market or limit order; a trailing one follows the last price.
    OPG fills at the session's first price, MOC and LOC at its last.
    """

    cash_check = False

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def day(self, request: OrderRequest, decided_at: int) -> Day | None:
        """Return the session that is open at the moment, or the next one. A break does not end the day.

        OPG: the next session that has not opened. MOC, LOC: the next that has not closed.
        """
        return self._day(request.listing, decided_at, opens=request.tif == "OPG")

    def _day(self, listing: Listing, decided_at: int, opens: bool = False) -> Day | None:
        sessions = sessions_around(listing.calendar, decided_at)
        row = int(np.searchsorted(sessions.open if opens else sessions.close, decided_at, side="right"))
        if row >= len(sessions.dates):
            return None
        open_now = [begin for begin, end in spans(sessions, row) if end > decided_at]
        return Day(max(decided_at, open_now[0]), int(sessions.close[row]))

    def cut_off(self, request: OrderRequest, decided_at: int) -> str | None:
        """Return why an order for an auction comes too late, None if it does not."""
        day = self.day(request, decided_at)
        if day is None:
            return None
        if request.tif == "OPG" and day.active_at - decided_at < OPEN_CUT_OFF:
            return "the opening auction takes no more orders"
        if request.kind in AT_CLOSE and day.expires_at - decided_at < CLOSE_CUT_OFF:
            return "the closing auction takes no more orders"
        return None

    def look(self, work: Work, now: int) -> Look:
        """Return the first fill, election of a stop, or end."""
        if work.since > now:
            return Look(None, work.stop)
        request = work.request
        if request.kind in AT_CLOSE:
            return Look(self._at_close(work, now))
        if request.tif == "OPG":
            return Look(self._at_open(work, now))
        if request.kind in STOPS and work.elected_at is None:
            return self._elected(work, now)
        return Look(self._traded(work, now), work.stop)

    # ------------------------------------------------------------ auctions
    def _at_open(self, work: Work, now: int) -> Fill | Lapsed | None:
        ticks = self._tape.ticks(work.request.listing, work.since, now + 1)
        if not len(ticks):
            return None
        return _auction(work, int(ticks.time[0]), float(ticks.price[0]))

    def _at_close(self, work: Work, now: int) -> Fill | Lapsed | None:
        listing = work.request.listing
        day = self._day(listing, work.since)
        if day is None or day.expires_at > now:
            return None
        last = self._tape.last(listing, day.expires_at)
        if last is None:
            return Lapsed(day.expires_at)
        return _auction(work, day.expires_at, last[1])

    # ------------------------------------------------------------ stops
    def _elected(self, work: Work, now: int) -> Look:
        request = work.request
        time, price = self._prices(work, now)
        if not len(time):
            return Look(None, work.stop if work.stop is not None else request.stop)
        stop, up = work.stop if work.stop is not None else request.stop, request.side > 0
        if request.kind in TRAILS:
            away = (
                price * ((request.trail_percent or 0.0) / 100.0) if request.trail is None else request.trail
            )
            moved = price + away if up else price - away
            best = np.minimum if up else np.maximum
            stops = best.accumulate(np.append(moved[0] if stop is None else stop, moved))
        else:
            stops = np.full(len(price) + 1, stop)
        # A price meets the stop that the prices before it have left.
        hits = np.flatnonzero(price >= stops[:-1] if up else price <= stops[:-1])
        if len(hits):
            return Look(Elected(int(time[hits[0]])), float(stops[hits[0]]))
        return Look(None, float(stops[-1]))

    def _prices(self, work: Work, now: int) -> tuple[Ints, Floats]:
        """Return the last prices that an order has not seen, the one that stood when it came among them."""
        listing = work.request.listing
        ticks = self._tape.ticks(listing, max(work.seen, work.since) + 1, now + 1)
        keep = np.ones(len(ticks), dtype=bool)
        if _has_volume(listing):
            keep = np.floor(ticks.size) > 0.0
        time, price = ticks.time[keep], ticks.price[keep]
        if work.seen < work.since:
            fresh = self._tape.ticks(listing, work.since - _FRESH, work.since + 1)
            if len(fresh):
                time, price = np.append(work.since, time), np.append(fresh.price[-1], price)
        return time, price

    # ------------------------------------------------------------ trading
    def _traded(self, work: Work, now: int) -> Fill | Lapsed | None:
        """Return the fill at the quote when the order is new, else at its limit when the path goes through it."""
        request, listing, seen = work.request, work.request.listing, work.seen
        start, limit = work.since if work.elected_at is None else work.elected_at, request.limit_at(work.stop)
        if seen < start:  # not looked at since it works: the quote then, or of the first tick after it
            fresh = self._tape.ticks(listing, start - _FRESH, start + 1)
            time, price = (start, fresh.price[-1:]) if len(fresh) else (0, fresh.price)
            if not len(price):
                first = self._tape.ticks(listing, start + 1, now + 1)
                if not len(first):
                    return None
                time, price = int(first.time[0]), first.price[:1]
            at = quote(float(price[0]), listing.rule)
            worst = at.ask if request.side > 0 else at.bid
            if _within(price, request.side, limit)[0]:
                return Fill(time, worst, work.remaining)
            seen = time
        if request.tif == "IOC":
            return Lapsed(max(seen, start))
        ticks = self._tape.ticks(listing, seen + 1, now + 1)
        crossed = _within(ticks.price, request.side, limit)
        sized = np.floor(ticks.size)
        if _has_volume(listing):
            crossed &= sized > 0.0
        hits = np.flatnonzero(crossed)
        if not len(hits):
            return None
        hit = int(hits[0])
        if limit is None:
            at = quote(float(ticks.price[hit]), listing.rule)
            return Fill(int(ticks.time[hit]), at.ask if request.side > 0 else at.bid, work.remaining)
        offered = Decimal(int(sized[hit])) if sized[hit] > 0.0 else work.remaining
        return Fill(int(ticks.time[hit]), limit, min(offered, work.remaining))

    def next_look(self, listing: Listing, now: int) -> int | None:
        """Return the next whole second of a session."""
        day = self._day(listing, now + 1)
        return None if day is None else -(-day.active_at // SECOND) * SECOND


def _has_volume(listing: Listing) -> bool:
    return base_of(listing) == "TRADES" and listing.sec_type != "IND"


def _auction(work: Work, time: int, price: float) -> Fill | Lapsed:
    limit = work.request.limit
    if limit is None or (price <= limit if work.request.side > 0 else price >= limit):
        return Fill(time, price, work.remaining)
    return Lapsed(time)


def _within(prices: Floats, side: int, limit: float | None) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return where the far side of the quote is as good as the limit: where the price is better by a tick.

    Everywhere without a limit.
    """
    if limit is None:
        return np.ones(len(prices), dtype=bool)
    return prices < limit if side > 0 else prices > limit
