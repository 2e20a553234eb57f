"""The store: bars at rest as Parquet, one folder a series. Knows no broker and reads no clock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import BarSize, bar_size
from quant.errors import DamagedData, ParameterError, SeriesNotFound, WriteFailed
from quant.store.coverage import Interval
from quant.store.folder import SAMPLE, SIMULATED, check_source, quote, series_folder, settings_name
from quant.store.history import as_known, versions
from quant.store.manifest import MEND, NAME, File, Manifest, load
from quant.store.merge import Columns
from quant.store.missing import not_found
from quant.store.parquet import THREADS_FROM, decode, decode_into, verified
from quant.store.parquet import empty as no_rows
from quant.store.series import Series, read_series
from quant.store.write import REVISION, Written, locked, read_file, write_series

if TYPE_CHECKING:
    import pandas as pd


class Store:
    """Bars in a data folder: all sources under bars/, and the read-only source "sample" under sample/.

    data: the folder; it need not exist. writable_sample: allow writing the source "sample" (who makes the
    project's own sample needs it, nobody else).
    """

    def __init__(self, data: str | Path, *, writable_sample: bool = False) -> None:
        self.data = Path(data)
        self._writable_sample = writable_sample

    def __repr__(self) -> str:
        return f"Store({str(self.data)!r})"

    # ------------------------------------------------------------ what is there
    def scan(self) -> tuple[list[Series], list[DamagedData]]:
        """Return all series, in order of name, and an error for each that cannot be read."""
        found, damaged = [], []
        for source, root in self._roots():
            for path in root.glob(f"*/*/*/{NAME}"):
                try:
                    found.append(read_series(path.parent, source))
                except DamagedData as e:
                    damaged.append(e)
                except FileNotFoundError:  # removed meanwhile
                    continue
        return sorted(found, key=_order), sorted(damaged, key=str)

    def series(self) -> list[Series]:
        """Return all series that can be read, in order of name; `scan` tells of the others too."""
        return self.scan()[0]

    def find(
        self,
        symbol: str,
        bar: str | BarSize = "1d",
        what: str = "TRADES",
        rth: bool = True,
        source: str | None = None,
    ) -> Series:
        """Return the series of a symbol. Its exact spelling wins over another case.

        symbol: "SIE", or "SIE@FWB" or "SIE@14094" (exchange, type or contract id) where several of that name are held.
        source: None takes the one source that has it; "simulated" only where no other has it, and "sample" last.
        Raises SeriesNotFound (with what is there instead), ParameterError if two sources have it, DamagedData.
        """
        size = bar_size(bar)
        found = self._named(symbol, size, what, rth, source)
        name, at, told = symbol.rpartition("@")
        if at and not found:
            same = self._named(name, size, what, rth, source)
            found = [s for s in same if told.casefold() in map(str.casefold, _marks(s))]
        if not found:
            raise not_found(self.series(), name if at else symbol, size, what, rth, source, self.data)
        best = min(_rank(s) for s in found)
        return _only([s for s in found if _rank(s) == best])

    def _named(self, symbol: str, size: BarSize, what: str, rth: bool, source: str | None) -> list[Series]:
        # The folder's name leads straight to the exact spelling; only without it all manifests are read.
        pattern = f"*/{quote(symbol)}.*/{settings_name(size, what, rth)}/{NAME}"
        found = []
        for name, root in self._roots():
            if source in (None, name):
                for path in root.glob(pattern):
                    with contextlib.suppress(FileNotFoundError):
                        found.append(read_series(path.parent, name))
        if found:
            return found
        return [
            s for s in self.series()
            if s.symbol.casefold() == symbol.casefold()
            and (s.bar, s.what, s.rth) == (size, what, rth)
            and source in (None, s.source)
        ]  # fmt: skip

    # ------------------------------------------------------------ reading
    def read(
        self, series: Series, start: int | None = None, end: int | None = None, *, as_of: int | None = None
    ) -> Bars:
        """Return the bars of `series` whose start lies in [start, end), UTC ns; None is open.

        as_of: as they were known at that moment, UTC ns: what came later is absent, and what was replaced
        later has its old values. Every file read is compared with its checksum. Raises DamagedData,
        SeriesNotFound if it was removed.
        """
        for _ in range(3):  # a writer may replace files between our look at the manifest and at them
            with contextlib.suppress(FileNotFoundError):
                return _read(series, self.manifest(series), start, end, as_of)
        lost = [f for f in sorted(self.manifest(series).named) if not (series.folder / f).exists()]
        raise DamagedData(str(series.folder), f"{', '.join(lost) or 'a file'} is missing", MEND)

    def manifest(self, series: Series) -> Manifest:
        """Return the manifest of `series` as it is now. Raises SeriesNotFound, DamagedData."""
        try:
            return load(series.folder / NAME)
        except FileNotFoundError:
            raise SeriesNotFound(series.name, str(series.folder), "It was removed meanwhile") from None

    def revisions(self, series: Series) -> pd.DataFrame:
        """Return the bars that were replaced: start, prices and volume before, replaced_at (UTC), request.

        A bar without values was known to be absent: it came later into a window that was covered already.
        request: which of the manifest's requests brought the new values, counted from 0.
        """
        import pandas as pd

        file = self.manifest(series).revisions
        columns = no_rows(0, REVISION) if file is None else read_file(series.folder, file, REVISION)
        frame = pd.DataFrame(columns)
        for name in ("start", "replaced_at"):
            frame[name] = pd.to_datetime(frame[name], utc=True)
        return frame

    # ------------------------------------------------------------ writing
    def write(
        self,
        bars: Bars,
        request: Mapping[str, Any],
        *,
        window: Interval | None = None,
        empty: Sequence[Interval] = (),
    ) -> Written:
        """Merge `bars` by start into the series of their source, instrument and settings, all or nothing.

        request: plain values for JSON that say where the bars came from; "kind" and "at" (UTC, ISO) are
        needed. An equal bar stays, a different one replaces the held one, which is kept as a revision.
        window: [from, to) in UTC ns for which the bars are complete (of daily and longer bars: of labels); by
        default from the first start to the last end. No bars with a window: the source has none there. empty:
        further windows in which it has none; of no bars only a series that exists can tell. Requests of the same
        kind and "pull" share one entry.
        Raises BarsError for other settings than the held ones, ParameterError, StoreBusy, WriteFailed,
        DamagedData.
        """
        root = self._root(check_source(bars.source))
        folder = series_folder(root, bars.instrument, bars.bar, bars.what, bars.rth)
        return write_series(folder, bars, request, window, empty)

    def remove(self, series: Series) -> None:
        """Remove a series with its history. Raises StoreBusy, WriteFailed."""
        self._root(series.source)
        with locked(series.folder):
            try:
                # Without its manifest the series is gone, whatever happens to the other files.
                (series.folder / NAME).unlink(missing_ok=True)
                for path in series.folder.glob("*.parquet"):
                    path.unlink()
            except OSError as e:
                raise WriteFailed(str(series.folder), e.strerror or str(e)) from None

    # ------------------------------------------------------------ places
    def _root(self, source: str) -> Path:
        """Return the folder that a source is written to."""
        if source != SAMPLE:
            return self.data / "bars" / source
        if not self._writable_sample:
            reason = 'the sample is read-only; choose another name, e.g. "import"'
            raise ParameterError("source", source, reason)
        return self.data / SAMPLE

    def _roots(self) -> Iterator[tuple[str, Path]]:
        folder = self.data / "bars"
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_dir() and path.name != SAMPLE:
                    yield path.name, path
        if (self.data / SAMPLE).is_dir():
            yield SAMPLE, self.data / SAMPLE


def _order(series: Series) -> tuple[Any, ...]:
    return (series.sample, series.symbol, series.bar.ns, series.source, series.what, not series.rth)


def _rank(series: Series) -> int:
    """Return how late a source comes where several have a symbol: real bars are never hidden by made ones."""
    return (SIMULATED, SAMPLE).index(series.source) + 1 if series.source in (SIMULATED, SAMPLE) else 0


def _marks(series: Series) -> tuple[str, str, str]:
    """Return what may stand behind "SYMBOL@"."""
    return series.exchange, series.sec_type, str(series.con_id)


def _only(found: list[Series]) -> Series:
    """Return the one series found; refuse to choose between several."""
    if len(found) == 1:
        return found[0]
    where = sorted({s.source for s in found})
    if len(where) > 1:
        reason = f"{found[0].name} is held by several sources; choose one: {', '.join(where)}"
        raise ParameterError("source", None, reason)
    marks = next(m for m in zip(*map(_marks, found), strict=True) if len(set(m)) == len(m))
    ways = " or ".join(sorted(f"{s.symbol}@{mark}" for s, mark in zip(found, marks, strict=True)))
    reason = f"source {where[0]} holds several instruments of that name; say which: {ways}"
    raise ParameterError("symbol", found[0].symbol, reason)


def _read(series: Series, manifest: Manifest, start: int | None, end: int | None, as_of: int | None) -> Bars:
    files = [
        f for f in manifest.files
        if (start is None or f.last >= start) and (end is None or f.first < end)
    ]  # fmt: skip
    columns = _columns(series.folder, files)
    if as_of is not None and as_of < max(versions(manifest.requests), default=as_of):
        file = manifest.revisions
        revisions = (
            no_rows(0, REVISION) if file is None else decode(series.folder / file.name, file, REVISION)
        )
        columns = as_known(columns, revisions, manifest.requests, as_of)
    settings = {name: getattr(manifest, name) for name in ("instrument", "bar", "what", "rth", "adjusted")}
    bars = Bars.trusted(**settings, source=series.source, **{n: columns[n] for n in ("start", *COLUMNS)})
    return bars if start is None and end is None else bars.between(start, end)


def _columns(folder: Path, files: list[File]) -> Columns:
    """Return the columns of `files`, one behind the other."""
    columns = no_rows(sum(f.rows for f in files))
    jobs, at = [], 0
    for file in files:
        jobs.append((file, at))
        at += file.rows

    def load_one(job: tuple[File, int]) -> None:
        file, at = job
        path = folder / file.name
        # The checksum comes before the decoder, which need not survive every damage.
        decode_into(path, verified(path, file), {n: v[at : at + file.rows] for n, v in columns.items()})

    if sum(f.bytes for f in files) < THREADS_FROM:
        for job in jobs:
            load_one(job)
    else:
        with ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
            list(pool.map(load_one, jobs))
    return columns
