"""Opening range breakout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

import quant as q
from quant.errors import BarsError


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
        day, elapsed = bars.session, since_open(bars)
        opening, later = elapsed < p.minutes, elapsed >= p.minutes

        # These hold for all of a session's bars, but only `later` ones, which may know them, look at them.
        top = pd.Series(bars.high).where(opening).groupby(day).transform("max")
        bottom = pd.Series(bars.low).where(opening).groupby(day).transform("min")

        volume = pd.Series(bars.volume)
        sums = volume.where(~np.isnan(elapsed)).groupby(day).agg(["sum", "count"])
        past = sums.shift(1).rolling(p.days, min_periods=1).sum()
        average = (past["sum"] / past["count"]).reindex(day).to_numpy()
        busy = (volume.shift(1) > p.volume * average) | (p.volume == 0.0)

        up = later & busy & (bars.close > top)
        down = later & busy & (bars.close < bottom) & p.short
        first = (up | down).groupby(day).cumsum().eq(1) & (up | down)
        long, short = first & up, first & down
        target = pd.Series(np.select([long, short], [1.0, -1.0], np.nan)).groupby(day).ffill().fillna(0.0)
        stop = np.select([long, short], [bottom, top], np.nan)
        beyond = p.target / 100.0
        limit = np.select([long, short], [top * (1.0 + beyond), bottom * (1.0 - beyond)], np.nan)
        return q.Signals(target, stop, limit)

    @staticmethod
    def plots(bars: q.Bars, p: Any) -> dict[str, dict[str, ArrayLike]]:
        """Return the range's two sides from its end to the session's, for the report."""
        elapsed = since_open(bars)
        opening, later = elapsed < p.minutes, elapsed >= p.minutes
        top = pd.Series(bars.high).where(opening).groupby(bars.session).transform("max").where(later)
        bottom = pd.Series(bars.low).where(opening).groupby(bars.session).transform("min").where(later)
        return {"price": {"range high": top, "range low": bottom}}


def since_open(bars: q.Bars) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the minutes from the session's open to each bar's start, NaN for bars outside the session."""
    if bars.calendar is None:
        mend = 'Import or build it with one, e.g. calendar="XNYS"'
        raise BarsError(bars.symbol, "has no calendar that tells when its sessions open", mend=mend)
    opened = np.append(bars.calendar.open, 0)[bars.calendar.index_of(bars.session)]  # no session: the 0
    return np.where(bars.times.in_session & (opened > 0), (bars.start - opened) / 60e9, np.nan)
