"""Bars as a backtrader feed."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import backtrader as bt
import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY, HOUR, MINUTE, SECOND, BarSize
from quant.core.calendar import Ints, check_zone
from quant.core.sessions import Floats
from quant.core.zones import to_local
from quant.errors import BarsError, ParameterError

EPOCH: Final = 719163  # 1970-01-01 as a proleptic ordinal, backtrader's day count

_TIMEFRAMES: Final = {
    "s": (bt.TimeFrame.Seconds, 1),
    "m": (bt.TimeFrame.Minutes, 1),
    "h": (bt.TimeFrame.Minutes, 60),
    "d": (bt.TimeFrame.Days, 1),
    "w": (bt.TimeFrame.Weeks, 1),
    "mo": (bt.TimeFrame.Months, 1),
}


class BarsFeed(bt.feed.DataBase):  # type: ignore[misc]  # backtrader has no types
    """A feed of Bars; make it with `feed`."""

    params = (("bars", None), ("stamps", None))

    def start(self) -> None:
        """Begin at the first bar."""
        super().start()
        bars = self.p.bars
        self._rows = zip(*(getattr(bars, c).tolist() for c in COLUMNS), self.p.stamps, strict=True)

    def _load(self) -> bool:
        row = next(self._rows, None)
        if row is None:
            return False
        lines = self.lines
        lines.open[0], lines.high[0], lines.low[0], lines.close[0], lines.volume[0], lines.datetime[0] = row
        return True


def feed(
    bars: Bars, *, stamp: Literal["start", "end"] = "end", tz: str = "exchange", **options: Any
) -> BarsFeed:
    """Return `bars` as a backtrader feed.

    stamp: whether backtrader's datetime is a bar's END or its start. tz: the clock of these times:
    "exchange", "UTC" or any zone. options: of backtrader's feeds (name, fromdate, todate, timeframe ...).
    Raises BarsError where that clock repeats an hour within the bars; "UTC" never does.
    """
    if stamp not in ("start", "end"):
        raise ParameterError("stamp", stamp, 'is "start" or "end"')
    moments = bars.end if stamp == "end" else bars.start
    zone = bars.instrument.timezone if tz == "exchange" else tz
    check_zone(zone)
    # A daily start is the label 00:00 of the session's date, in every zone.
    local = to_local(moments, zone) if stamp == "end" or bars.bar.intraday else moments
    back = np.flatnonzero(np.diff(local) <= 0)
    if len(back):
        reason = f"the clock of {zone} goes back within these bars"
        raise BarsError(bars.symbol, reason, back + 1, 'Use feed(bars, tz="UTC")')
    timeframe, compression = timeframe_of(bars.bar)
    options = {"timeframe": timeframe, "compression": compression, "name": bars.symbol, **options}
    return BarsFeed(bars=bars, stamps=numbers(local).tolist(), **options)


def timeframe_of(size: BarSize) -> tuple[int, int]:
    """Return backtrader's timeframe and compression for a bar size."""
    timeframe, units = _TIMEFRAMES[size.unit]
    return timeframe, units * size.count


def numbers(local: Ints) -> Floats:
    """Return backtrader's date numbers of naive local times, to the bit those of its date2num.

    local: (n,) int64 ns since 1970-01-01 on the local clock; below microseconds is cut off.
    """
    day, rest = np.divmod(local, DAY)
    hour, rest = np.divmod(rest, HOUR)
    minute, rest = np.divmod(rest, MINUTE)
    second, rest = np.divmod(rest, SECOND)
    # The same terms as backtrader.utils.dateintern.date2num, added exactly as there.
    terms = (day + float(EPOCH), hour / 24.0, minute / 1440.0, second / 86400.0, rest // 1000 / 86400e6)
    return np.array([math.fsum(t) for t in zip(*(t.tolist() for t in terms), strict=True)], dtype=np.float64)
