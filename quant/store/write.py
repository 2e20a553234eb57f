"""Write bars into the folder of one series, all or nothing.

Years lie in files called <year>-<start of their sha256>.parquet, and not <year>.parquet, so that new content
never takes the place of an old file: it is written beside it, then the manifest is replaced in one step, then
files that it does not name are removed. A process killed at any moment leaves the old series or the new,
never a mixture, and a reader needs no lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY
from quant.errors import BarsError, DamagedData, ParameterError, StoreBusy, WriteFailed
from quant.store.atomic import TEMPORARY, put
from quant.store.coverage import Interval, cut, join
from quant.store.history import entered, iso_ns, stamped, within
from quant.store.manifest import MEND, NAME, File, Manifest, dump, load
from quant.store.merge import Columns, merge
from quant.store.parquet import Array, decode, empty, encode

LOCK = ".lock"
QUIET_S: Final = 0.5  # so long nothing is said
WAIT_S: Final = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did. added, unchanged, replaced: bars. folder: where the series lies."""

    added: int
    unchanged: int
    replaced: int
    folder: Path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the one writer's lock of a series; at its end a folder without a series is removed.

    Raises StoreBusy if another process has the lock for WAIT_S: a write is a matter of milliseconds.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=min(QUIET_S, WAIT_S))
        except Timeout:
            _log.warning("another process is writing %s; waiting up to %g s for it", folder, WAIT_S)
            lock.acquire(timeout=WAIT_S)
    except Timeout:
        raise StoreBusy(str(folder)) from None
    except OSError as e:
        raise WriteFailed(str(folder), e.strerror or str(e)) from None
    with lock:
        try:
            yield
        finally:
            # While it is held: after that the file may be another writer's. filelock notices a removed file.
            _remove_without_series(folder)
    if os.name == "nt":  # there a lock's file cannot be removed while it is held
        _remove_without_series(folder)


def write_series(
    folder: Path,
    bars: Bars,
    request: Mapping[str, Any],
    window: Interval | None,
    nothing: Sequence[Interval] = (),
) -> Written:
    """Merge `bars` into the series in `folder`; see Store.write. nothing: its `empty`."""
    nothing = [_plain("empty", part) for part in nothing]
    window = _window(bars, window, nothing)
    with locked(folder):
        old = held(folder)
        try:
            manifest, contents, counts = plan(folder, old, bars, request, window, nothing)
            _commit(folder, old, manifest, contents)
        except BaseException:
            # By the manifest as it is now: an interrupt may come after it was replaced.
            with contextlib.suppress(DamagedData):
                _clean(folder, held(folder))
            raise
        _clean(folder, manifest)
    return Written(*counts, folder)


def held(folder: Path) -> Manifest | None:
    """Return the manifest in `folder`, None where there is none."""
    try:
        return load(folder / NAME)
    except FileNotFoundError:
        return None


def _window(bars: Bars, window: Interval | None, nothing: Sequence[Interval]) -> Interval:
    """Return the window of Store.write, made plain. Raises ParameterError where it does not hold the bars."""
    if window is None and not len(bars) and nothing:
        return nothing[0][0], nothing[0][0]  # the request made no bars complete
    if window is None and not len(bars):
        raise ParameterError("bars", bars, "there are none to write")
    if window is None:
        end = int(bars[-1:].end[0])
        # Labels, not moments: a day west of Greenwich ends after the next label.
        return int(bars.start[0]), end if bars.bar.intraday else min(end, int(bars.start[-1]) + DAY)
    start, end = _plain("window", window)
    if len(bars) and not start <= bars.start[0] <= bars.start[-1] < end:
        raise ParameterError(
            "window", window, f"must hold the bars, whose starts are {bars.start[[0, -1]].tolist()}"
        )
    return start, end


def _plain(name: str, window: Interval) -> Interval:
    start, end = (int(v) for v in window)
    if not start < end:
        raise ParameterError(name, window, "must be (from, to) in UTC ns, from before to")
    return start, end


def plan(
    folder: Path,
    old: Manifest | None,
    bars: Bars,
    request: Mapping[str, Any],
    window: Interval,
    nothing: Sequence[Interval] = (),
) -> tuple[Manifest, dict[str, bytes], tuple[int, int, int]]:
    """Return the manifest to be, the new files it names, and how many bars are added, unchanged, replaced."""
    if old is None and not len(bars):
        raise ParameterError("bars", bars, "there are none to write, and no series to say so of")
    base = _base(bars) if old is None else old
    _check_same(base, bars)
    files = {f.year: f for f in base.files}
    contents: dict[str, bytes] = {}
    counts = np.zeros(3, dtype=np.int64)
    gone: list[Columns] = []
    for year, new in _by_year(bars):
        before = read_file(folder, files[year]) if year in files else empty(0)
        merged = merge(before, new)
        counts += (merged.added, merged.unchanged, len(merged.replaced["start"]))
        if not merged.changed:
            continue
        gone += [merged.replaced, _absent(merged.new[within(merged.new, base.coverage)])]
        content = encode(merged.columns)
        files[year] = _described(content, str(year), year, merged.columns)
        contents[files[year].name] = content
    entry = stamped(base.requests, request)
    revisions, revised = base.revisions, any(len(g["start"]) for g in gone)
    if revised:
        columns = _revisions(folder, base, gone, entry["at"])
        content = encode(columns)
        revisions = _described(content, "revisions", 0, columns)
        contents[revisions.name] = content
    manifest = replace(
        base,
        files=tuple(files[y] for y in sorted(files)),
        revisions=revisions,
        requests=entered(base.requests, entry, window, revised=revised),
        coverage=tuple(join(base.coverage, [window, *nothing])),
        empty=tuple(_empty(folder, base, bars, window, nothing)),
    )
    added, unchanged, replaced = (int(n) for n in counts)
    return manifest, contents, (added, unchanged, replaced)


def _absent(start: Array) -> Columns:
    """Return rows without values, for bars that were known not to be there."""
    return {"start": start, **{name: np.full(len(start), np.nan) for name in COLUMNS}}


def _empty(
    folder: Path, base: Manifest, bars: Bars, window: Interval, nothing: Sequence[Interval]
) -> list[Interval]:
    """Return where the source is known to have no bars: never where one is held."""
    found = [p for i in base.empty for p in (cut([i], window) if within(bars.start, [i]).any() else [i])]
    none = list(nothing) if len(bars) else [window, *nothing]
    low, high = min((a for a, _ in none), default=0), max((b for _, b in none), default=0)
    files = [f for f in base.files if f.last >= low and f.first < high]
    held = [bars.start, *(read_file(folder, f, ("start",))["start"] for f in files)]
    start = np.sort(np.concatenate(held))
    first, last = np.searchsorted(start, np.array(none, dtype=np.int64).reshape(-1, 2)).T
    return join(found, [part for part, rows in zip(none, last - first, strict=True) if rows == 0])


def read_file(folder: Path, file: File, names: tuple[str, ...] = ("start", *COLUMNS)) -> Columns:
    """Return the verified columns of one file of a series."""
    path = folder / file.name
    try:
        return decode(path, file, names)
    except FileNotFoundError:
        raise DamagedData(str(path), "it is missing", MEND) from None


REVISION = ("start", *COLUMNS, "replaced_at", "request")


def _revisions(folder: Path, base: Manifest, gone: list[Columns], at: str) -> Columns:
    """Return all revisions: those before, then the rows that gave way now, with when and to which request."""
    before = empty(0, REVISION) if base.revisions is None else read_file(folder, base.revisions, REVISION)
    n = sum(len(g["start"]) for g in gone)
    new = {name: np.concatenate([g[name] for g in gone]) for name in ("start", *COLUMNS)}
    new |= {"replaced_at": np.full(n, iso_ns(at)), "request": np.full(n, len(base.requests))}
    return {name: np.concatenate([before[name], new[name]]) for name in REVISION}


def _base(bars: Bars) -> Manifest:
    return Manifest(bars.instrument, bars.bar, bars.what, bars.rth, bars.source, bars.adjusted)


def _check_same(base: Manifest, bars: Bars) -> None:
    """Refuse bars that mean something else than those held."""
    mine, theirs = ({"adjusted": v.adjusted, **v.instrument.to_dict()} for v in (base, bars))
    theirs |= {"bar": bars.bar, "what": bars.what, "rth": bars.rth}
    mine |= {"bar": base.bar, "what": base.what, "rth": base.rth}
    other = [f"{k} = {mine[k]} (given: {theirs[k]})" for k in mine if mine[k] != theirs[k]]
    if other:
        reason = f"the store holds these bars with {', '.join(other)}"
        mend = "Give the same settings, another source, or remove the held series first (quant data remove)"
        raise BarsError(f"{bars.symbol} {bars.bar}", reason, (), mend)


def _by_year(bars: Bars) -> Iterator[tuple[int, Columns]]:
    if not len(bars):
        return
    years = bars.start.view("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    edges = np.flatnonzero(np.append(True, np.diff(years) != 0))
    for a, b in zip(edges, np.append(edges[1:], len(years)), strict=True):
        yield int(years[a]), {name: getattr(bars, name)[a:b] for name in ("start", *COLUMNS)}


def _described(content: bytes, stem: str, year: int, columns: Columns) -> File:
    digest = hashlib.sha256(content).hexdigest()
    start = columns["start"]
    return File(
        name=f"{stem}-{digest[:8]}.parquet", year=year, rows=len(start), sha256=digest,
        bytes=len(content), first=int(start[0]), last=int(start[-1]),
    )  # fmt: skip


def _commit(folder: Path, old: Manifest | None, manifest: Manifest, contents: dict[str, bytes]) -> None:
    path = folder
    try:
        for name, content in contents.items():
            if old is None or name not in old.named:
                path = folder / name
                put(path, content)
        path = folder / NAME
        put(path, dump(manifest))
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from None


def _clean(folder: Path, manifest: Manifest | None) -> None:
    """Remove files that `manifest` does not name, all of them without one."""
    named = frozenset() if manifest is None else manifest.named
    for path in [*folder.glob("*.parquet"), *folder.glob(f"*{TEMPORARY}")]:
        if path.name not in named:
            with contextlib.suppress(OSError):  # open in a reader on Windows: the next write removes it
                path.unlink()


def _remove_without_series(folder: Path) -> None:
    """Remove a folder without a manifest, and its parents up to the source as long as they are empty."""
    if (folder / NAME).exists():
        return
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
    for path in (folder, *list(folder.parents)[:3]):
        try:
            path.rmdir()
        except OSError:
            return
