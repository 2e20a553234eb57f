"""Import a file of bars: refuse what would make a wrong bar, repair only what was asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from quant.core.bars import Bars
from quant.core.barsize import DAY, BarSize, bar_size
from quant.core.calendar import Ints, check_name, check_zone, timezone_of
from quant.core.finding import Finding
from quant.core.frame import Stamp, bars_from_frame
from quant.core.instrument import Instrument
from quant.core.sessions import Floats
from quant.core.zones import from_local
from quant.errors import BarsError, ImportRefused, ParameterError
from quant.store.columns import Chosen, Columns, parse_columns
from quant.store.moments import Moments, UnreadableTimesError, read_moments
from quant.store.quality import check
from quant.store.store import Store
from quant.store.table import Table, read_table
from quant.store.write import Written

if TYPE_CHECKING:
    import pandas as pd

ADJUSTED: Final = ("none", "splits", "all", "unknown")


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """What an import did. findings: repairs that were asked for, columns not used, and what `check` sees."""

    written: Written
    findings: list[Finding]
    bars: Bars


def import_file(
    store: Store,
    path: str | Path,
    *,
    symbol: str,
    bar: str | BarSize,
    now: datetime,
    tz: str | None = None,
    calendar: str | None = None,
    stamp: Stamp = "start",
    adjusted: str = "unknown",
    what: str = "TRADES",
    rth: bool = True,
    source: str = "import",
    exchange: str = "SMART",
    currency: str = "USD",
    sec_type: str = "STK",
    tick: float | None = None,
    multiplier: float = 1.0,
    sort: bool = False,
    drop_duplicates: bool = False,
    no_volume: bool = False,
    columns: Columns | None = None,
    time_format: str | None = None,
) -> Imported:
    """Import a CSV (also .gz) or Parquet file; nothing is written unless every row makes a bar.

    now: when, for the record. tz: zone of naive times. stamp: whether times are the bars' starts or ends.
    adjusted: "none", "splits", "all" or "unknown". sort: put rows in order of time. drop_duplicates: of rows
    with the same time keep one; of different ones the last in the file. no_volume: store 0 if there is none.
    columns: {"close": "Last"} = which column is meant, or a list = names for a file without a header; or
    either as text, as the command line has it.
    time_format: strptime's, for times in a form of its own.
    Raises ImportRefused (lines named), ParameterError, StoreBusy, WriteFailed, DamagedData.
    """
    path = Path(path)
    size = bar_size(bar)
    if adjusted not in ADJUSTED:
        raise ParameterError("adjusted", adjusted, f"is one of {', '.join(ADJUSTED)}")
    if tz is not None:
        check_zone(tz)
    instrument = Instrument(
        symbol, sec_type, exchange, currency, tick=tick, multiplier=multiplier,
        calendar=None if calendar is None else check_name(calendar),
    )  # fmt: skip
    data = _content(path)
    if isinstance(columns, str):
        columns = parse_columns(columns)
    header = None if columns is None or isinstance(columns, Mapping) else list(columns)
    table = read_table(path, data, header)
    chosen = Chosen(table, columns, no_volume=no_volume)
    moments = _moments(table, chosen, time_format)
    tz = _zone(table, moments, size, tz, instrument)
    rows = Rows(table, moments, chosen.numbers(), size, tz)
    findings = [*chosen.findings, *rows.repair(sort=sort, drop_duplicates=drop_duplicates)]
    settings: dict[str, Any] = {"what": what, "rth": rth, "source": source, "adjusted": adjusted}
    try:
        bars = bars_from_frame(
            rows.frame(), symbol, size, tz=tz, instrument=instrument, stamp=stamp, **settings
        )
        _ = bars.times  # refuses bars of another size than the one named
        written = store.write(bars, {
            "kind": "import", "file": path.name, "sha256": hashlib.sha256(data).hexdigest(),
            "at": now.astimezone(UTC).isoformat(), "rows": len(bars), "stamp": stamp, "tz": tz,
        })  # fmt: skip
    except BarsError as e:
        raise table.refused(e.reason, rows.at[list(e.rows)], rows.mend(e)) from None
    return Imported(written, [*findings, *check(bars)], bars)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImportRefused(str(path), "there is no such file", (), "Check the path") from None
    except OSError as e:
        raise ImportRefused(str(path), f"it cannot be read ({e.strerror})", (), "Check the path") from None


def _moments(table: Table, chosen: Chosen, time_format: str | None) -> Moments:
    import pyarrow as pa

    text = chosen.time_text()
    kind = text.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        values = text.cast(pa.timestamp("ns", getattr(kind, "tz", None)))
        ns = np.asarray(values.cast(pa.int64()), dtype=np.int64)
        if getattr(kind, "tz", None) is None:
            return Moments(ns, dates=pa.types.is_date(kind))
        import pandas as pd

        # The wall clock of the column's zone decides the date of a daily bar.
        wall = pd.DatetimeIndex(ns.view("datetime64[ns]"), tz="UTC").tz_convert(kind.tz).tz_localize(None)
        shown = wall.to_numpy().view(np.int64)
        return Moments(shown, shown - ns)
    if pa.types.is_integer(kind):
        text = text.cast(pa.string())
    if not (pa.types.is_string(text.type) or pa.types.is_large_string(text.type)):
        raise table.refused(f"times are {kind}, which is no time", (), "Write them as timestamps or text")
    try:
        return read_moments(text.cast(pa.string()), time_format)
    except UnreadableTimesError as e:
        raise table.refused(e.reason, e.rows, e.mend) from None


def _zone(
    table: Table, moments: Moments, size: BarSize, tz: str | None, instrument: Instrument
) -> str | None:
    """Return the zone of the times, the one given or the file's own; refuse to guess it."""
    if moments.zone is not None:
        check_zone(moments.zone)
        if tz is not None and tz != moments.zone:
            raise table.refused(f"its times say {moments.zone}, not {tz}", (), "Leave out --tz")
        return moments.zone
    if not size.intraday:
        return tz
    if moments.dates:
        mend = "Name the column with the time of day, or the bar size: --bar 1d"
        raise table.refused(f"its times are dates, but the bars are of {size}", (), mend)
    if tz is None and moments.offset is None:
        zone = "America/New_York"
        if instrument.calendar is not None:
            zone = timezone_of(instrument.calendar)
        mend = f"Say in which zone they were written, e.g. --tz {zone}"
        raise table.refused("intraday times have no time zone", (), mend)
    return tz


class Rows:
    """Times and values of a file on their way to bars. at: the file's row of each row here."""

    def __init__(
        self, table: Table, moments: Moments, values: dict[str, Floats], size: BarSize, tz: str | None
    ) -> None:
        self.table = table
        self.values = values
        self.tz = tz
        self.size = size
        self.at = np.arange(len(table))
        # Of a daily bar with an offset the date is the one shown, unless a zone was asked for.
        self.utc = moments.offset is not None and (size.intraday or tz is not None)
        self.time = moments.wall - moments.offset if self.utc and moments.offset is not None else moments.wall
        if not size.intraday and not self.utc:
            self.time = self.time - self.time % DAY

    def repair(self, *, sort: bool, drop_duplicates: bool) -> list[Finding]:
        """Put rows in order and drop duplicates, as asked, and say what was done."""
        found = []
        step, twice = np.diff(self.time), self._twice()
        step[twice[1:] & twice[:-1]] = 0  # in the hour that comes twice any order may be right
        if sort and (step < 0).any():
            # A file that runs backwards is turned round, which keeps that hour in its order.
            turned = bool((step <= 0).all())
            order = np.arange(len(self.time))[::-1] if turned else np.argsort(self.time, kind="stable")
            self._take(order)
            told = "rows ran backwards and were turned round" if turned else "rows were put in order of time"
            found.append(Finding("rows-sorted", told, int((step < 0).sum())))
        if drop_duplicates:
            found += self._drop_duplicates()
        return found

    def _drop_duplicates(self) -> list[Finding]:
        time = self.time
        order = np.lexsort((self.at, time))
        same = (np.diff(time[order]) == 0) & ~self._twice()[order][1:]
        if not same.any():
            return []
        a, b = order[:-1][same], order[1:][same]
        differ = np.zeros(len(a), dtype=bool)
        for column in self.values.values():
            differ |= column[a] != column[b]
        keep = np.ones(len(time), dtype=bool)
        keep[a] = False
        line = self.table.lines[int(self.at[a[0]])] if self.table.lines else int(self.at[a[0]]) + 1
        told = f"rows with a time that comes again were dropped, the last one kept (first: line {line})"
        found = [Finding("duplicates-dropped", told, len(a))]
        if differ.any():
            told = "dropped rows had other values than the ones kept"
            found.append(Finding("duplicates-differ", told, int(differ.sum())))
        self._take(np.flatnonzero(keep))
        return found

    def _twice(self) -> npt.NDArray[np.bool_]:
        """Return which naive times the clock shows twice, as it goes back; both of each are right."""
        if self.utc or self.tz is None or not self.size.intraday:
            return np.zeros(len(self.time), dtype=bool)
        twice: npt.NDArray[np.bool_] = from_local(self.time, self.tz) != from_local(
            self.time, self.tz, last=True
        )
        return twice

    def _take(self, rows: Ints) -> None:
        self.at, self.time = self.at[rows], self.time[rows]
        self.values = {name: v[rows] for name, v in self.values.items()}

    def frame(self) -> pd.DataFrame:
        """Return the rows as core reads frames."""
        import pandas as pd

        index = pd.DatetimeIndex(self.time.view("datetime64[ns]"), tz="UTC" if self.utc else None)
        return pd.DataFrame(self.values, index=index)

    def mend(self, e: BarsError) -> str:
        """Return what mends `e`, as options of the command line where there is one."""
        if e.reason == "times are not in order":
            return "Let them be put in order with --sort"
        if e.reason == "times occur twice":
            return "Let the last one of each be kept with --drop-duplicates"
        return e.mend
