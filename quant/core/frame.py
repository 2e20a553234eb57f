"""A pandas frame becomes bars: which column is what, what its times mean, and which rows are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import BarSize, bar_size
from quant.core.calendar import calendar, check_name, check_zone, timezone_of
from quant.core.instrument import Instrument
from quant.core.zones import Ints, grid_start
from quant.errors import BarsError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

_FIRST_YEAR, _LAST_YEAR = 1700, 2250  # well within what int64 ns can hold
TIME_COLUMNS: Final = ("datetime", "timestamp", "date", "time")
Stamp = Literal["start", "end"]


def bars_from_frame(
    df: pd.DataFrame,
    symbol: str,
    bar: str | BarSize,
    *,
    tz: str | None = None,
    calendar: str | None = None,
    instrument: Instrument | None = None,
    stamp: Stamp = "start",
    what: str = "TRADES",
    rth: bool = True,
    source: str = "memory",
    adjusted: str = "unknown",
) -> Bars:
    """Return bars of `df`; see Bars.from_frame for the arguments. Nothing is repaired."""
    size = bar_size(bar)
    if stamp not in ("start", "end"):
        raise ParameterError("stamp", stamp, 'is "start" or "end"')
    given = instrument if instrument is not None else Instrument(symbol)
    if calendar is not None:
        given = replace(given, calendar=check_name(calendar))
    exchange_zone = timezone_of(given.calendar) if given.calendar is not None else None
    moments, zone = _times(df, symbol, size, tz, exchange_zone)
    if exchange_zone is not None:
        given = replace(given, timezone=exchange_zone)
    elif given.timezone == "UTC" and zone is not None:
        given = replace(given, timezone=zone)
    columns = _columns(df, symbol)
    start = starts(moments, size, given, stamp)
    return Bars(given, size, start, **columns, what=what, rth=rth, source=source, adjusted=adjusted)


def starts(moments: Ints, size: BarSize, instrument: Instrument, stamp: Stamp) -> Ints:
    """Return the bars' starts from their stamps.

    An intraday end stamp goes back to the boundary of the clock grid before it, but not beyond its session's
    open (the first hourly bar of New York ends at 10:00 and starts at 09:30). Daily and longer a stamp is
    the session's date.
    """
    if stamp == "start" or not size.intraday or not len(moments):
        return moments
    start = grid_start(moments - 1, size, instrument.timezone)
    if instrument.calendar is not None:
        ends = np.array([np.min(moments), np.max(moments)]).view("datetime64[ns]").astype("datetime64[Y]")
        first, last = (int(year) + 1970 for year in ends.astype(np.int64))
        sessions = calendar(instrument.calendar, first, last)
        row = sessions.index_at(moments - 1)
        inside = np.flatnonzero(row >= 0)
        start[inside] = np.maximum(start[inside], sessions.open[row[inside]])
    return start


def _columns(df: pd.DataFrame, symbol: str) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    import pandas as pd

    if df.columns.nlevels > 1:
        levels = " and ".join(str(name) for name in df.columns.names)
        mend = f'Take one symbol\'s columns, e.g. df.xs("{symbol}", axis=1, level=-1)'
        raise BarsError(symbol, f"the columns have several levels ({levels})", (), mend)
    names: dict[str, list[object]] = {}
    for column in df.columns:
        names.setdefault(str(column).strip().lower(), []).append(column)
    missing = [c for c in COLUMNS if c not in names]
    if missing:
        mend = f"The frame has: {', '.join(map(str, df.columns)) or 'none'}"
        plural = "s" if len(missing) > 1 else ""
        raise BarsError(symbol, f"missing column{plural} {', '.join(missing)}", (), mend)
    found = {}
    for name in COLUMNS:
        if len(names[name]) > 1:
            raise BarsError(symbol, f"several columns are called {name}: {names[name]}")
        values = pd.to_numeric(df[names[name][0]], errors="coerce").to_numpy(dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise BarsError(symbol, f"{name} is not a number", bad, "Correct or drop these rows")
        found[name] = values
    return found


def _times(
    df: pd.DataFrame, symbol: str, size: BarSize, tz: str | None, exchange_zone: str | None
) -> tuple[Ints, str | None]:
    """Return UTC ns of the frame's times (dates at 00:00 UTC for daily and longer) and the times' zone."""
    raw = _time_values(df, symbol)
    bad = np.flatnonzero(raw.isna())
    if len(bad):
        raise BarsError(symbol, "a time is missing", bad, "Correct or drop these rows")
    bad = np.flatnonzero((raw.year < _FIRST_YEAR) | (raw.year > _LAST_YEAR))
    if len(bad):
        reason = f"a time is not between {_FIRST_YEAR} and {_LAST_YEAR}"
        raise BarsError(symbol, reason, bad, "Correct or drop these rows")
    if tz is not None:
        check_zone(tz)
    zone = tz if tz is not None or raw.tz is None else str(raw.tz)
    if not size.intraday:
        return _session_dates(raw, tz if tz is not None else exchange_zone, asked=tz is not None), zone
    if raw.tz is None:
        if tz is None:
            mend = 'Give the zone in which they were written, e.g. tz="America/New_York"'
            raise BarsError(symbol, "intraday times have no time zone", (), mend)
        raw = _localize(raw, tz, symbol)
    utc = raw.tz_convert("UTC").tz_localize(None).as_unit("ns")
    return utc.to_numpy().view(np.int64), zone


def _session_dates(raw: pd.DatetimeIndex, zone: str | None, *, asked: bool) -> Ints:
    """Return the dates of daily and longer bars at 00:00 UTC.

    Dates are the ones that the frame shows, unless a zone was asked for; or the exchange's zone is known
    and the frame shows no midnights (a day in Sydney that begins at 13:00 UTC is the next date).
    """
    if raw.tz is not None and zone is not None and (asked or bool((raw != raw.normalize()).any())):
        raw = raw.tz_convert(zone)
    dates = raw.tz_localize(None).to_numpy().astype("datetime64[D]")
    return dates.astype("datetime64[ns]").view(np.int64)


def _localize(raw: pd.DatetimeIndex, tz: str, symbol: str) -> pd.DatetimeIndex:
    """Give naive times their zone; refuse those that the clock change skipped or repeated."""
    import pandas as pd

    mend = "Give times in UTC or with their offset"
    skipped = np.flatnonzero(raw.tz_localize(tz, ambiguous=np.ones(len(raw), bool), nonexistent="NaT").isna())
    if len(skipped):
        raise BarsError(symbol, f"times that {tz} skips when its clocks go forward", skipped, mend)
    found = raw.tz_localize(tz, ambiguous="NaT")
    twice = np.flatnonzero(found.isna())
    if not len(twice):
        return found
    # In time order, the hour that comes twice comes first in summer time: each repeat begins a step back.
    try:
        inferred = raw.tz_localize(tz, ambiguous="infer")
    except ValueError:
        reason = f"times that occur twice when the clocks of {tz} go back"
        raise BarsError(symbol, reason, twice, mend) from None
    return pd.DatetimeIndex(inferred)


def _time_values(df: pd.DataFrame, symbol: str) -> pd.DatetimeIndex:
    import pandas as pd

    if isinstance(df.index, pd.DatetimeIndex):
        return df.index
    names = {str(c).strip().lower(): c for c in df.columns}
    column = next((names[name] for name in TIME_COLUMNS if name in names), None)
    values = df.index if column is None else df[column]
    if column is None and not len(df):
        return pd.DatetimeIndex([])
    if column is None and values.dtype.kind not in "OMU":
        mend = f"Give a DatetimeIndex or a column called one of {', '.join(TIME_COLUMNS)}"
        raise BarsError(symbol, "the frame has no times", (), mend)
    if values.dtype.kind in "iuf":
        reason = f"column {column} holds numbers, not times"
        raise BarsError(symbol, reason, (), "Convert it with pd.to_datetime")
    if values.dtype.kind != "M":
        # pandas reads 01/06/2024 as January 6th, and 09:30 as today.
        yearless = np.flatnonzero(pd.Series(values).astype(str).str.match(r"\s*\d{1,2}\D"))
        if len(yearless):
            mend = 'Convert them first, e.g. with pd.to_datetime(times, format="%d/%m/%Y")'
            raise BarsError(symbol, "times do not begin with the year", yearless, mend)
    try:
        return pd.DatetimeIndex(pd.to_datetime(values))
    except (ValueError, TypeError) as e:
        reason = f"times cannot be read, or have a zone in some rows only ({e})"
        raise BarsError(symbol, reason, (), "Give all of them one form and one zone") from None
