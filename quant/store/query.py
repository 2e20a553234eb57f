"""Bars by symbol and range of time, as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import DAY, BarSize
from quant.core.zones import from_local, to_local
from quant.errors import EmptyRange, ParameterError
from quant.store.folder import data_folder
from quant.store.series import Series
from quant.store.store import Store

Moment = str | date | datetime | None


def bars(
    symbol: str,
    bar: str | BarSize = "1d",
    start: Moment = None,
    end: Moment = None,
    *,
    what: str = "TRADES",
    rth: bool = True,
    source: str | None = None,
    as_of: Moment = None,
    data: str | Path | None = None,
) -> Bars:
    """Return the bars of `symbol` from the store; "SIE@FWB" where several exchanges' shares of one name are held.

    start, end: None (all), a date ("2017-01-03" or date), which means its whole session and is included, or a
    moment ("2017-01-03 09:30" or datetime; naive = exchange time), of which `end` is excluded. what: IB's
    whatToShow. rth: regular trading hours. source: which one, if several hold the symbol. as_of: the bars as the
    store had them then: what came later is absent, what was replaced later has its old values; a date means
    its end. data: data folder; else that of the nearest quant.toml, else ./data.
    Raises SeriesNotFound, EmptyRange, DamagedData, ParameterError.
    """
    store = Store(data_folder(data))
    series = store.find(symbol, bar, what, rth, source)
    first, last = parse("start", start), parse("end", end)
    known = known_at(parse("as_of", as_of), series)
    found = cut(store, series, first, last, known)
    if not len(found):
        wanted = f"{'…' if start is None else start} to {'…' if end is None else end}"
        wanted += "" if as_of is None else f" as of {as_of}"
        raise EmptyRange(series.name, wanted, series.span + _elsewhere(store, series))
    return found


def _elsewhere(store: Store, series: Series) -> str:
    """Return what other sources hold of the same, and how to ask for it."""
    mine = (series.symbol, series.bar, series.what, series.rth)
    others = [
        s for s in store.series() if (s.symbol, s.bar, s.what, s.rth) == mine and s.source != series.source
    ]
    told = [f"{s.source} has {s.span}: --source {s.source}, in Python source={s.source!r}" for s in others]
    return "".join([f" of source {series.source}; {'; '.join(told)}"] * bool(told))


def named(instrument: Mapping[str, Any]) -> str:
    """Return the name by which the store finds this instrument only, whatever else has its symbol."""
    symbol, con_id = instrument["symbol"], instrument.get("con_id")
    return symbol if con_id is None else f"{symbol}@{con_id}"


def parse(name: str, value: Moment) -> date | datetime | None:
    """Return the date or datetime that a person wrote. Raises ParameterError."""
    if value is None or isinstance(value, date):  # a datetime is a date
        return value
    text = value.strip() if isinstance(value, str) else ""
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    raise ParameterError(name, value, 'write a date like "2017-01-03" or a moment like "2017-01-03 09:30"')


def known_at(as_of: date | datetime | None, series: Series) -> int | None:
    """Return the moment of `as_of` in UTC ns; of a date its last one in exchange time."""
    if as_of is None:
        return None
    if isinstance(as_of, datetime) and as_of.tzinfo is not None:
        return _utc(as_of)
    wall = _ns(as_of) + (DAY - 1 if _is_date(as_of) else 0)
    return int(from_local(np.array([wall]), series.instrument.timezone)[0])


def cut(
    store: Store, series: Series, start: date | datetime | None, end: date | datetime | None,
    as_of: int | None = None,
) -> Bars:  # fmt: skip
    """Return the bars of a series in a range; see `bars` for its meaning. as_of: UTC ns."""
    slack = 10 * DAY  # a bar outside trading hours belongs to the next session, a long holiday away at most
    low, high = (_moment(v, series) for v in (start, end))
    low_slack = slack if _is_date(start) and series.bar.intraday else 0
    # A plain end date is included: its bars begin before the next date does.
    high_slack = (slack if series.bar.intraday else DAY) if _is_date(end) else 0
    low, high = None if low is None else low - low_slack, None if high is None else high + high_slack
    found = store.read(series, low, high, as_of=as_of)
    if series.bar.intraday:
        if isinstance(start, date) and _is_date(start):
            found = found[_first_of(found, np.datetime64(start), low_slack) :]
        if isinstance(end, date) and _is_date(end):
            found = found[: _first_of(found, np.datetime64(end) + np.timedelta64(1, "D"), high_slack)]
    return found


def _is_date(value: date | datetime | None) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _moment(value: date | datetime | None, series: Series) -> int | None:
    """Return UTC ns; of daily and longer bars, whose start is a label, the wall clock's time as UTC."""
    if value is None:
        return None
    zone = series.instrument.timezone
    if isinstance(value, datetime) and value.tzinfo is not None:
        utc = _utc(value)
        return utc if series.bar.intraday else int(to_local(np.array([utc]), zone)[0])
    wall = _ns(value)
    return int(from_local(np.array([wall]), zone)[0]) if series.bar.intraday else wall


def _utc(value: datetime) -> int:
    return _ns(value.astimezone(UTC).replace(tzinfo=None))


def _ns(value: date | datetime) -> int:
    return int(np.datetime64(value, "ns").astype(np.int64))


def _first_of(found: Bars, session: np.datetime64, slack: int) -> int:
    """Return the row of the first bar of `session` or a later one; sessions are found near it only."""
    middle = int(session.astype("datetime64[ns]").astype(np.int64))
    low, high = np.searchsorted(found.start, [middle - 2 * slack, middle + 2 * slack])
    return int(low + np.searchsorted(found[int(low) : int(high)].session, session))
