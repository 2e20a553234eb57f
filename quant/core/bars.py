"""Bars: one instrument's open, high, low, close and volume as read-only arrays, and what time means for them.

No I/O. Made by the store, by an import or from a frame; everything above works on this value.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from quant.core.barsize import DAY, BarSize, bar_size
from quant.core.calendar import Calendar, Dates, Ints, calendar
from quant.core.instrument import Instrument
from quant.core.sessions import LAST_OF_DAY, Floats, Times, group_starts, times
from quant.errors import BarsError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = (*PRICES, "volume")


@dataclass(frozen=True, eq=False, repr=False)
class Bars:
    """Bars of one instrument, oldest first.

    start: (n,) int64 UTC ns, strictly increasing; daily and longer: session date at 00:00 UTC.
    open, high, low, close, volume: (n,) float64; prices in the instrument's price unit.
    bar: nominal size. what: IB's whatToShow. rth: regular trading hours only. source: where they came from.
    adjusted: "none", "splits", "all" (splits and dividends) or "unknown".
    All arrays are read-only. Raises BarsError where they break these rules or low <= open, close <= high.
    """

    instrument: Instrument
    bar: BarSize
    start: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    what: str = "TRADES"
    rth: bool = True
    source: str = "memory"
    adjusted: str = "unknown"

    def __post_init__(self) -> None:
        if np.size(self.start) and np.asarray(self.start).dtype.kind != "i":
            raise BarsError(self.symbol, "start must be int64 nanoseconds, UTC")
        for name in ("start", *COLUMNS):
            # A copy: what the caller does to his arrays later must not change these bars.
            values = np.array(getattr(self, name), dtype=np.int64 if name == "start" else np.float64)
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        check(self)

    @classmethod
    def trusted(cls, **fields: Any) -> Self:
        """Return bars of arrays that were checked before (the store's, whose files carry a checksum)."""
        bars = object.__new__(cls)
        bars.__dict__.update(_DEFAULTS, **fields)
        for name in ("start", *COLUMNS):
            bars.__dict__[name] = bars.__dict__[name].view()
            bars.__dict__[name].flags.writeable = False
        return bars

    # ------------------------------------------------------------ as a sequence
    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: slice) -> Bars:
        """Return consecutive bars; `rows` is a slice with step 1."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise ParameterError("rows", rows, "bars are cut by a slice without a step, e.g. bars[:100]")
        part = object.__new__(Bars)
        for name in _DEFAULTS:  # a slice of what is read-only is read-only too
            value = self.__dict__[name]
            part.__dict__[name] = value[rows] if isinstance(value, np.ndarray) else value
        if "times" in self.__dict__:
            t = self.times
            part.__dict__["times"] = Times(
                t.begin[rows], t.end[rows], t.session[rows], t.minutes_to_close[rows], t.in_session[rows]
            )
        return part

    # ------------------------------------------------------------ time
    @property
    def symbol(self) -> str:
        """The instrument's symbol."""
        return self.instrument.symbol

    @cached_property
    def calendar(self) -> Calendar | None:
        """The exchange's sessions over the bars' years, None where the calendar is unknown."""
        if self.instrument.calendar is None or not len(self):
            return None
        years = self.start[[0, -1]].view("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
        return calendar(self.instrument.calendar, int(years[0]), int(years[1]))

    @cached_property
    def times(self) -> Times:
        """END, session and distance to the close of each bar (DESIGN §5.1).

        Raises BarsError where two bars would end at the same moment, or where they follow one another off the
        clock grid and would count as known too early: the bar size or the clock is not theirs.
        """
        found = times(self.start, self.bar, self.instrument.timezone, self.calendar)
        same = np.flatnonzero(np.diff(found.end) <= 0)
        if len(same):
            reason = f"bars end before or with the one before them, as bars of {self.bar}"
            raise BarsError(self.symbol, reason, same + 1, "Name the bar size that these bars have")
        # 09:30, 10:30, ... as 1h: the first would end at 10:00, but it holds trades until 10:30.
        whole = (np.diff(self.start) == self.bar.ns) & self.bar.intraday & (found.minutes_to_close[:-1] != 0)
        early = np.flatnonzero(whole & (found.end[:-1] < self.start[1:]))
        if len(early):
            reason = f"bars lie off the clock grid of {self.bar} in {self.instrument.timezone}"
            mend = "Make them from finer bars with resample, or name the zone on whose clock they lie"
            raise BarsError(self.symbol, reason, early, mend)
        return found

    @property
    def end(self) -> Ints:
        """(n,) int64 UTC ns: when each bar is known."""
        return self.times.end

    @property
    def session(self) -> Dates:
        """(n,) datetime64[D]: the session date each bar belongs to."""
        return self.times.session

    @property
    def minutes_to_close(self) -> Floats:
        """(n,) minutes from a bar's END to its session's close, negative after it; NaN without a calendar."""
        return self.times.minutes_to_close

    @property
    def periods_per_year(self) -> float:
        """Return periods a year: sessions of the calendar (252 without one, 365 for 24/7), 52 or 12."""
        if self.bar.unit in ("w", "mo"):
            return 52.0 if self.bar.unit == "w" else 12.0
        if self.calendar is None or not len(self.calendar.dates):
            return 252.0
        return self.calendar.per_year(self.session[0], self.session[-1])

    # ------------------------------------------------------------ views
    def between(self, start: int | None, end: int | None) -> Bars:
        """Return the bars whose start lies in [start, end), UTC ns; None is open."""
        first = 0 if start is None else int(np.searchsorted(self.start, start))
        last = len(self) if end is None else int(np.searchsorted(self.start, end))
        return self[first : max(last, first)]

    def asof(self, other: Bars, values: npt.ArrayLike) -> Floats:
        """Return `values` of the last bar of `other` that is over by the END of each bar here.

        values: (len(other),) numbers. Result: (n,) float64, NaN before the first. Never looks ahead: a bar
        of `other` counts from its own END on.
        """
        column = np.asarray(values, dtype=np.float64)
        if column.shape != (len(other),):
            reason = f"must have one value for each of the {len(other)} bars of the other series"
            raise ParameterError("values", f"shape {column.shape}", reason)
        row = np.searchsorted(other.end, self.end, side="right") - 1
        return np.where(row >= 0, np.append(column, np.nan)[row], np.nan)

    def resample(self, bar: str | BarSize) -> Bars:
        """Return bars of a coarser size, cut by session and by the clock grid in exchange time.

        A group's start is its grid boundary or its session's open, whichever is later, as IB's. A bar that
        ends after its group's END (New York's 16:00 bar and the day) is left out, for the group counts as
        known from its END on. The last bar may be unfinished: it holds what is known, and its END says when
        it would be over. Raises ParameterError for a size that is not a multiple of this one.
        """
        size = bar_size(bar)
        # Weeks lie across the ends of months.
        fits = size.ns % self.bar.ns == 0 if size.intraday else self.bar.unit not in ("w", "mo")
        if size.ns <= self.bar.ns or not fits:
            raise ParameterError("bar", str(bar), f"bars of {self.bar} make only coarser, whole multiples")
        zone = self.instrument.timezone
        start = group_starts(self.start, self.session, size, zone, self.calendar)
        over = times(start, size, zone, self.calendar).end
        if not size.intraday and self.calendar is None:
            over = over + (DAY - LAST_OF_DAY)  # the bar that ends at midnight belongs to the day before
        timely = self.end <= over
        start, column = start[timely], {name: getattr(self, name)[timely] for name in COLUMNS}
        first = np.flatnonzero(np.append(True, np.diff(start) != 0)[: len(start)])
        last = np.append(first, len(start))[1:] - 1
        return replace(
            self, bar=size, start=start[first],
            open=column["open"][first], high=np.maximum.reduceat(column["high"], first),
            low=np.minimum.reduceat(column["low"], first), close=column["close"][last],
            volume=np.add.reduceat(column["volume"], first),
        )  # fmt: skip

    def frame(self, index: Literal["start", "end"] = "start") -> pd.DataFrame:
        """Return a DataFrame with columns open, high, low, close, volume.

        The index is in exchange time; daily and longer by start: naive session dates.
        """
        import pandas as pd

        ns = self.start if index == "start" else self.end
        moments = pd.DatetimeIndex(ns.view("datetime64[ns]"), name=index)
        if self.bar.intraday or index == "end":
            moments = moments.tz_localize("UTC").tz_convert(self.instrument.timezone)
        return pd.DataFrame({c: getattr(self, c) for c in COLUMNS}, index=moments)

    @staticmethod
    def from_frame(
        df: pd.DataFrame,
        symbol: str,
        bar: str | BarSize = "1d",
        *,
        tz: str | None = None,
        calendar: str | None = None,
        instrument: Instrument | None = None,
        stamp: Literal["start", "end"] = "start",
    ) -> Bars:
        """Return bars from a frame with columns open, high, low, close, volume, in any case.

        Times are the index or a column date, datetime, time or timestamp. Naive intraday times need `tz`.
        stamp: whether the times are the bars' starts or their ends. Raises BarsError naming the rows.
        """
        from quant.core.frame import bars_from_frame

        return bars_from_frame(df, symbol, bar, tz=tz, calendar=calendar, instrument=instrument, stamp=stamp)

    # ------------------------------------------------------------ identity
    @cached_property
    def fingerprint(self) -> str:
        """sha256 over every value and every setting that changes their meaning, in hexadecimal."""
        digest = hashlib.sha256()
        facts = [self.instrument.to_dict(), self.bar.name, self.what, self.rth, self.adjusted]
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for name in ("start", *COLUMNS):
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        return digest.hexdigest()

    @property
    def span(self) -> str:
        """First and last session, as text."""
        # Of two bars only: a repr must neither fail nor wait for the times of millions.
        return f"{self[:1].session[0]} … {self[-1:].session[0]}" if len(self) else "no bars"

    def __repr__(self) -> str:
        facts = [self.span, self.instrument.calendar or self.instrument.timezone, self.source]
        return f"Bars({self.symbol} {self.bar}, {len(self):,} bars, {', '.join(facts)})"

    def _repr_html_(self) -> str:
        import pandas as pd

        rows = self.frame() if len(self) <= 6 else pd.concat([self[:3].frame(), self[-3:].frame()])
        return f"<b>{html.escape(repr(self)[5:-1])}</b>{rows.to_html(border=0)}"


_DEFAULTS: Final = {field.name: field.default for field in dataclasses.fields(Bars)}


def check(bars: Bars) -> None:
    """Raise BarsError for the first rule that `bars` break."""
    if bars.start.ndim != 1:
        raise BarsError(bars.symbol, f"start has {bars.start.ndim} dimensions, not one")
    for name in COLUMNS:
        shape = getattr(bars, name).shape
        if shape != bars.start.shape:
            raise BarsError(bars.symbol, f"{name} has shape {shape}, start has {bars.start.shape}")
    for bad, reason, mend in _violations(bars):
        rows = np.flatnonzero(bad)
        if len(rows):
            raise BarsError(bars.symbol, reason, rows, mend)


def _violations(bars: Bars) -> list[tuple[npt.NDArray[np.bool_], str, str]]:
    prices = first, high, low, last = [getattr(bars, name) for name in PRICES]
    step = np.diff(bars.start)
    late = "Sort them by time and drop the duplicates"
    fix = "Correct or drop these rows"
    rules = [
        (np.append(False, step < 0), "times are not in order", late),
        (np.append(False, step == 0), "times occur twice", late),
        (~np.all([np.isfinite(p) for p in prices], axis=0), "a price is not a number", fix),
        (~np.isfinite(bars.volume), "a volume is not a number", fix),
        (high < low, "high is below low", fix),
        ((high < first) | (high < last), "high is below open or close", fix),
        ((low > first) | (low > last), "low is above open or close", fix),
    ]
    if not bars.bar.intraday:
        reason = f"a bar of {bars.bar} does not start at 00:00 UTC of its date"
        rules.insert(0, (bars.start % DAY != 0, reason, fix))
    return rules
