"""Bars as a backtrader feed."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Any, Final, Literal

import backtrader as bt
import numpy as np

from quant.backtest import periods
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
    """A feed of Bars; make it with `feed`. stamps: (n,) backtrader's date numbers, increasing.

    zone: the clock of the stamps where they are ENDs, else None.
    """

    params = (("bars", None), ("stamps", None), ("zone", None))

    def start(self) -> None:
        """Begin at the first bar."""
        super().start()
        self._rows: Iterator[tuple[float, ...]] | None = None

    def preload(self) -> None:
        """Fill the lines in one go, with what stock's load puts there bar by bar."""
        # A resampler, a filter or a zone of the input works on one bar at a time.
        if self._filters or self._tzinput or type(self)._load is not BarsFeed._load:
            super().preload()
            return
        stamps = self.p.stamps
        first = int(np.searchsorted(stamps, self.fromdate))
        last = max(first, int(np.searchsorted(stamps, self.todate, "right")))
        # What stock loaded last and did not keep stays in the room for `lookahead`, if there is any.
        beyond = last if last < len(stamps) else last - 1 if first == last else None
        columns = {c: getattr(self.p.bars, c) for c in COLUMNS} | {"datetime": stamps}
        for alias, line in zip(self.getlinealiases(), self.lines, strict=True):
            values = columns.get(alias)
            if values is None:
                values = np.full(len(stamps), math.nan)
            line.array = array("d", values[first:last].tobytes())
            line.array.extend([math.nan] * line.extension)
            if line.extension and beyond is not None and beyond >= 0:
                line.array[last - first] = values[beyond]
        self._rows = iter(())
        self.home()

    def clone(self, **kwargs: Any) -> Any:
        """Return a feed of the same bars; cerebro asks for one to resample or replay a feed that it has already."""
        return periods.Clone(dataname=self, **kwargs)

    def copyas(self, _dataname: str, **kwargs: Any) -> Any:
        """Return a feed of the same bars under another name."""
        return periods.named(self.clone(**kwargs), _dataname)

    def resample(self, **kwargs: Any) -> None:
        """Make other bars of these, which end where the exchange's sessions do."""
        self.addfilter(periods.Resampler, **kwargs)

    def replay(self, **kwargs: Any) -> None:
        """Build other bars up of these, which end where the exchange's sessions do."""
        self.addfilter(periods.Replayer, **kwargs)

    def _start_finish(self) -> None:
        super()._start_finish()
        if self.p.zone is not None:
            periods.set_sessions(self, self.p.bars.instrument, self.p.zone)

    def _load(self) -> bool:
        if self._rows is None:
            columns = (getattr(self.p.bars, c).tolist() for c in COLUMNS)
            self._rows = zip(*columns, self.p.stamps.tolist(), strict=True)
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
    Bars that `resampledata` and `replaydata` make of it end by the instrument's calendar, days at the close; stock's
    would end with the next session's first bar. Raises BarsError where that clock repeats an hour within the bars;
    "UTC" never does.
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
    clock = zone if stamp == "end" else None
    return BarsFeed(bars=bars, stamps=numbers(local), zone=clock, **options)


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
    # The same terms as backtrader.utils.dateintern.date2num, which adds them with one rounding (fsum).
    base = day + float(EPOCH)
    terms = hour / 24.0, minute / 1440.0, second / 86400.0, rest // 1000 / 86400e6
    part, low = terms[0], np.zeros(len(local))
    for term in terms[1:]:
        part, lost = _two_sum(part, term)
        low += lost  # exact: all are multiples of 2**-89, and below 2**-50
    total, lost = _two_sum(base, part)
    correction = lost + low
    result: Floats = total + correction
    # Where the sum lies halfway between two floats, a bit lost in `correction` would decide.
    halfway = np.abs(np.abs(correction) - np.spacing(total) / 2) < 2.0**-70
    for row in np.flatnonzero(halfway).tolist():
        result[row] = math.fsum((base[row], *(t[row] for t in terms)))
    return result


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return the rounded sum, and exactly what rounding took away. Source: Knuth, TAOCP 2, 4.2.2, theorem B."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
