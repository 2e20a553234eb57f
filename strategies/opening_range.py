"""Opening range breakout."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import quant as q
from quant.errors import BarsError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class OpeningRange(q.Strategy):
    """Trade the first close outside the range of a session's first `minutes`, once a session.

    Buy above the range, or sell short below it (not with short=False), if the volume of the bar before exceeds
    `volume` x the volume of an average bar of the last `days` sessions; volume=0 turns this filter off. The
    stop is the other side of the range, the target lies `target` percent beyond the side that broke, and what
    is still held is closed before the session ends. Only bars inside the session count, by its calendar. A
    session without a bar in its first minutes has no trade, nor has the first one, for want of an average.
    Source: T. Crabel, Day Trading with Short Term Price Patterns and Opening Range Breakout (1990); filter,
    stop and target are the course's, which enters at the range's edge within the bar and picks the day's five
    largest gappers: here the bars that you pass are the pick.
    """

    params = dict(minutes=5, volume=2.0, days=20, target=5.0, short=True)
    session = dict(no_entry_last="30m", flat_before_close="5m")

    @staticmethod
    def valid(p: Any) -> bool:
        """The range has a length, and prices stay above 0."""
        return bool(p.minutes > 0 and p.volume >= 0.0 and p.days > 0 and 0.0 < p.target < 100.0)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        """Return +1 or -1 from the breakout to the session's end, else 0; stop and limit at the breakout."""
        begins, number = sessions(bars)
        elapsed = since_open(bars, begins, number)
        opening, later = elapsed < p.minutes, elapsed >= p.minutes

        # These hold for all of a session's bars, but only `later` ones, which may know them, look at them.
        top, bottom = (sides[number] for sides in ranges(bars, opening, begins))

        inside = ~np.isnan(elapsed)
        volume = sum_before(np.add.reduceat(np.where(inside, bars.volume, 0.0), begins), p.days)
        count = sum_before(np.add.reduceat(inside, begins, dtype=float), p.days)
        average = np.divide(volume, count, out=np.full(len(begins), np.nan), where=count > 0.0)[number]
        busy = (np.append(np.nan, bars.volume)[:-1] > p.volume * average) | (p.volume == 0.0)

        up = later & busy & (bars.close > top)
        down = later & busy & (bars.close < bottom) & p.short
        broke = np.cumsum(up | down)
        broke -= (broke - (up | down))[begins][number]  # how often, in the session so far
        first = (up | down) & (broke == 1)
        long, short = first & up, first & down
        side = np.zeros(len(begins))
        side[number[long]], side[number[short]] = 1.0, -1.0
        stop = np.select([long, short], [bottom, top], np.nan)
        beyond = p.target / 100.0
        limit = np.select([long, short], [top * (1.0 + beyond), bottom * (1.0 - beyond)], np.nan)
        return q.Signals(np.where(broke > 0, side[number], 0.0), stop, limit)

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return the range's two sides from its end to the session's, for the report."""
        begins, number = sessions(bars)
        elapsed = since_open(bars, begins, number)
        opening, later = elapsed < p.minutes, elapsed >= p.minutes
        top, bottom = (np.where(later, sides[number], np.nan) for sides in ranges(bars, opening, begins))
        return {"price": {"range high": top, "range low": bottom}}


def sessions(bars: q.Bars) -> tuple[Ints, Ints]:
    """Return the row in which each session begins, and each bar's session as a row of that."""
    day = bars.session
    begins = np.append(True, day[1:] != day[:-1])[: len(day)]
    return np.flatnonzero(begins), np.cumsum(begins) - 1


def ranges(bars: q.Bars, opening: NDArray[np.bool_], begins: Ints) -> tuple[Floats, Floats]:
    """Return the highest and the lowest price of each session's `opening` bars, NaN where it has none."""
    top = np.fmax.reduceat(np.where(opening, bars.high, np.nan), begins)
    return top, np.fmin.reduceat(np.where(opening, bars.low, np.nan), begins)


def sum_before(values: Floats, days: int) -> Floats:
    """Return, for each session, the sum over the `days` sessions before it, fewer at the beginning."""
    upto: Floats = np.append(0.0, np.cumsum(values))[:-1]
    found: Floats = upto - upto[np.maximum(np.arange(len(upto)) - days, 0)]
    return found


def since_open(bars: q.Bars, begins: Ints, number: Ints) -> Floats:
    """Return the minutes from the session's open to each bar's start, NaN for bars outside the session."""
    if bars.calendar is None:
        mend = 'Import or build it with one, e.g. calendar="XNYS"'
        raise BarsError(bars.symbol, "has no calendar that tells when its sessions open", mend=mend)
    # No session: the 0.
    opened = np.append(bars.calendar.open, 0)[bars.calendar.index_of(bars.session[begins])][number]
    return np.where(bars.times.in_session & (opened > 0), (bars.start - opened) / 60e9, np.nan)
