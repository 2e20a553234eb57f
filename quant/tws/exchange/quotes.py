"""What a market data line shows: the day so far, and each tick with its quote. SYNTHETIC below stored bars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quant.core.barsize import DAY, SECOND, SIZES
from quant.tws.exchange.hours import sessions_around, spans
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.path import Quote, quote
from quant.tws.exchange.shelf import base_of
from quant.tws.exchange.tape import Tape

_BACK = 10  # sessions in which the close before is looked for: more than any holidays


@dataclass(frozen=True, slots=True)
class Mark:
    """One tick. size: 0 where only the quote moved."""

    time: int
    price: float
    size: float
    quote: Quote


@dataclass(frozen=True, slots=True)
class Day:
    """A session so far. quote: None while the market is closed. before: the close of the session before, None if none.

    time: of the last tick, UTC ns. volume: shares, 0 where the listing has none.
    """

    time: int
    last: float
    open: float
    high: float
    low: float
    volume: float
    before: float | None
    quote: Quote | None


def is_open(listing: Listing, now: int) -> bool:
    """Return whether the exchange trades at `now` (UTC ns)."""
    for begin, end in _trades(listing.calendar, now // DAY):  # noqa: SIM110  # `any` takes twice as long
        if begin <= now < end:
            return True
    return False


@lru_cache(maxsize=1 << 10)  # each five seconds of each listing ask
def _trades(calendar: str, day: int) -> list[tuple[int, int]]:
    """Return when an exchange trades that has to do with a day of UTC, since 1970."""
    begin, end = day * DAY, (day + 1) * DAY
    sessions = sessions_around(calendar, begin)
    rows = range(
        int(np.searchsorted(sessions.close, begin, side="right")), int(np.searchsorted(sessions.open, end))
    )
    return [span for row in rows for span in spans(sessions, row)]


def day(tape: Tape, listing: Listing, now: int) -> Day | None:
    """Return the newest session that has ticks up to `now` (UTC ns), None if there were none in the last ten."""
    sessions = sessions_around(listing.calendar, now)
    row = int(np.searchsorted(sessions.open, now, side="right")) - 1
    if row < 0:
        return None
    first = sessions.dates[max(row - _BACK, 0)]
    days = tape.bars(listing, SIZES["1d"], base_of(listing), True, first, sessions.dates[row], now)
    newest = tape.last(listing, now)
    if not len(days) or newest is None:
        return None
    time, last = newest
    return Day(
        time=time, last=last, open=float(days.open[-1]), high=float(days.high[-1]), low=float(days.low[-1]),
        volume=float(days.volume[-1]), before=float(days.close[-2]) if len(days) > 1 else None,
        quote=quote(last, listing.rule) if is_open(listing, now) and now - time < 60 * SECOND else None,
    )  # fmt: skip


def marks(tape: Tape, listing: Listing, since: int, now: int) -> list[Mark]:
    """Return the ticks later than `since` and up to `now` (UTC ns), oldest first, each with the quote around it."""
    ticks = tape.ticks(listing, since + 1, now + 1)
    rows = zip(ticks.time.tolist(), ticks.price.tolist(), ticks.size.tolist(), strict=True)
    return [Mark(time, price, size, quote(price, listing.rule)) for time, price, size in rows]
