"""The ledger of trials: how often a person has tried something on an instrument, bar and strategy.

The more is tried, the better the best looks by luck alone, so the deflated Sharpe ratio needs the number. A trial is
a strategy class with its parameters on an instrument, a bar size, and what the bars show. Other dates, costs, sizings
or an edited strategy are the same trial: running again must not count again, and an edit is mostly a repair. So the
count is the least that was tried, never more.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from quant.core.instrument import Instrument
from quant.errors import DamagedData, ParameterError, StoreBusy, WriteFailed
from quant.research.grid import params_text

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

NAME: Final = "trials.sqlite"  # in the data folder's sweeps/
SCHEMA: Final = 1  # PRAGMA user_version
BUSY_S: Final = 30.0  # a writer holds the file for a second at most; others wait this long
ROWS: Final = 20_000  # in one transaction, a fraction of a second
MEND: Final = "Restore it from a backup, or move it away: counting then starts anew"

REFUSED: Final = (  # by the system; the file itself is whole
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR,
)  # fmt: skip

# One tree and no index beside it: the trials of a strategy lie together, so both ways stay quick as it grows.
TABLE: Final = """
CREATE TABLE trials (
    strategy TEXT NOT NULL, instrument TEXT NOT NULL, bar TEXT NOT NULL, identity BLOB NOT NULL,
    symbol TEXT NOT NULL, what TEXT NOT NULL, rth INTEGER NOT NULL, params TEXT NOT NULL, sharpe REAL,
    periods INTEGER NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL, created TEXT NOT NULL, sweep TEXT NOT NULL,
    seal INTEGER NOT NULL, PRIMARY KEY (strategy, instrument, bar, identity)
) WITHOUT ROWID
"""
# SQLite notices a broken page, not a flipped bit in one: seals and totals tell of changed and of lost trials.
TOTALS: Final = """
CREATE TABLE totals (
    strategy TEXT NOT NULL, instrument TEXT NOT NULL, bar TEXT NOT NULL, trials INTEGER NOT NULL,
    PRIMARY KEY (strategy, instrument, bar)
) WITHOUT ROWID
"""
ADD: Final = "INSERT OR IGNORE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
REPLACE: Final = "INSERT OR REPLACE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_TOTAL: Final = (
    "INSERT INTO totals VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET trials = trials + excluded.trials"
)
TRIALS_OF: Final = (
    "SELECT identity, params, sharpe, seal FROM trials WHERE strategy = ? AND instrument = ? AND bar = ?"
)
TOTAL_OF: Final = "SELECT trials FROM totals WHERE strategy = ? AND instrument = ? AND bar = ?"


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination that was tried.

    strategy: "module:Class". params: all of them. instrument: of `instrument_key`. symbol: as shown, "SPY", or
    "SPY, MSFT" of a joint account. bar, what: "1d", "TRADES". rth: regular hours only. sharpe: per period, not per
    year; NaN where undefined or where the trial failed. periods: returns behind it. first, last: session dates, ISO.
    created: aware. sweep: name of the sweep's folder.
    """

    strategy: str
    params: Mapping[str, Any]
    instrument: str
    symbol: str
    bar: str
    what: str
    rth: bool
    sharpe: float
    periods: int
    first: str
    last: str
    created: datetime
    sweep: str


@dataclass(frozen=True, slots=True)
class Trials:
    """What was tried of a strategy on an instrument and bar.

    count: distinct trials, those of saved backtests included. measured: those with a Sharpe ratio. sharpe_variance:
    of these per-period ratios, with n - 1; NaN below two. from_runs: trials that only saved backtests know.
    """

    count: int
    measured: int
    sharpe_variance: float
    from_runs: int = 0


def instrument_key(instruments: Sequence[Instrument]) -> str:
    """Return what identifies an instrument, or several on one account: type, symbol, and contract id or exchange."""
    return ", ".join(
        f"{i.sec_type}/{i.symbol}.{i.exchange if i.con_id is None else i.con_id}" for i in instruments
    )


def identity(trial: Trial) -> bytes:
    """Return the sha256 of what makes a trial this trial."""
    hours = "rth" if trial.rth else "all"
    # None of these parts holds a line break, so no two trials give one text.
    parts = (trial.strategy, trial.instrument, trial.bar, trial.what, hours, params_text(trial.params))
    return hashlib.sha256("\n".join(parts).encode()).digest()


# ---------------------------------------------------------------- writing
def record(path: Path, trials: Iterable[Trial]) -> None:
    """Add trials to the ledger at `path`, which is made where there is none.

    The same trial again is no new one: its later result replaces the earlier. Several processes may do this at once.
    Raises StoreBusy if the file stays locked for half a minute, DamagedData, WriteFailed; what had been recorded
    stays, and doing it again is harmless.
    """
    rows = sorted({row[:4]: row for row in map(_row, trials)}.values())  # neighbours share a page
    if not rows:
        return
    try:
        _make(path)
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e

    def write(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA cache_size = -65536")  # KiB
        for of, group in groupby(rows, key=lambda row: row[:3]):
            for part in _batches(group):
                db.execute("BEGIN IMMEDIATE")
                new = db.executemany(ADD, part).rowcount
                if new < len(part):
                    db.executemany(REPLACE, part)
                db.execute(ADD_TOTAL, (*of, new))
                db.execute("COMMIT")

    _with(path, write)


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    left = iter(rows)
    while part := list(islice(left, ROWS)):
        yield part


def _row(trial: Trial) -> tuple[Any, ...]:
    if trial.created.tzinfo is None:
        raise ParameterError("created", trial.created, "must have a time zone")
    who, params = identity(trial), _shown(trial.params)
    sharpe = float(trial.sharpe) if math.isfinite(trial.sharpe) else None
    return (
        trial.strategy, trial.instrument, trial.bar, who, trial.symbol, trial.what, int(trial.rth), params, sharpe,
        int(trial.periods), trial.first, trial.last, trial.created.isoformat(timespec="seconds"), trial.sweep,
        _seal(who, params, sharpe),
    )  # fmt: skip


def _seal(who: bytes, params: str, sharpe: float | None) -> int:
    return zlib.crc32(who + struct.pack("<d", math.nan if sharpe is None else sharpe) + params.encode())


def _is_sealed(who: Any, params: Any, sharpe: Any, seal: Any) -> bool:
    try:
        return bool(_seal(who, params, sharpe) == seal)
    except (TypeError, AttributeError, struct.error):  # a flipped bit made another type of it
        return False


def _make(path: Path) -> None:
    """Make an empty ledger beside and rename it: a file without a table is then damage, never a beginning."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=BUSY_S):
            if path.exists():
                return
            part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
            try:
                with closing(sqlite3.connect(part, isolation_level=None)) as db:
                    db.execute(TABLE)
                    db.execute(TOTALS)
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    except Timeout:
        raise StoreBusy(str(path)) from None


def _with(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `work` makes of the open ledger; SQLite's errors become ours."""
    try:
        # Never made here, and open for writing even to read: only so what a killed writer left is rolled back.
        where = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(where, uri=True, timeout=BUSY_S, isolation_level=None)) as db:
            schema = db.execute("PRAGMA user_version").fetchone()[0]
            if schema != SCHEMA:
                mend = "Use the version of quant-ib that wrote it" if schema > SCHEMA else MEND
                raise DamagedData(str(path), f"it has schema {schema}, this version reads {SCHEMA}", mend)
            return work(db)
    except UnicodeDecodeError as e:  # a flipped bit in a name, which Python's sqlite3 takes for text
        raise DamagedData(str(path), str(e), MEND) from e
    except sqlite3.DatabaseError as e:
        code = (getattr(e, "sqlite_errorcode", None) or 0) & 0xFF  # the rest tells kinds of one cause apart
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBusy(str(path)) from e
        if code in REFUSED:
            raise WriteFailed(str(path), str(e)) from e
        raise DamagedData(str(path), str(e), MEND) from e


# ---------------------------------------------------------------- counting
def counts(
    path: Path, strategy: str, instrument: str, bar: str, *, runs: pd.DataFrame | None = None
) -> Trials:
    """Return what was ever tried of a strategy ("module:Class") on an instrument (its key) and a bar size.

    Without a file nothing was. runs: rows of quant.backtest.runs(); parameters that only they have tried are counted
    too, matched by the names of class and symbols alone, since a row holds no more. Their Sharpe ratio is per year of
    an unknown calendar, so they take no part in the variance.
    Raises DamagedData, StoreBusy.
    """
    wanted = set() if runs is None else _run_params(runs, strategy, instrument, bar)
    if not path.exists():
        return Trials(len(wanted), 0, math.nan, len(wanted))

    def count(db: sqlite3.Connection) -> Trials:
        # A count that lost rows would flatter every result. One look at both tables, so no writer comes between.
        db.execute("BEGIN")
        of = (strategy, instrument, bar)
        rows = db.execute(TRIALS_OF, of).fetchall()
        total = (db.execute(TOTAL_OF, of).fetchone() or (0,))[0]
        if len(rows) != total:
            raise DamagedData(str(path), f"it holds {len(rows):,} trials of {total} that were written", MEND)
        if not all(_is_sealed(*row) for row in rows):
            raise DamagedData(str(path), "a trial does not match its checksum", MEND)
        wanted.difference_update(row[1] for row in rows)
        sharpes = [row[2] for row in rows]
        known_sharpes = np.array([s for s in sharpes if s is not None], dtype=np.float64)
        variance = float(np.var(known_sharpes, ddof=1)) if len(known_sharpes) > 1 else math.nan
        return Trials(len(sharpes) + len(wanted), len(known_sharpes), variance, len(wanted))

    return _with(path, count)


def _shown(params: Mapping[str, Any]) -> str:
    """Return parameters as a row of quant.backtest.runs() shows them, but sorted."""
    shown = " ".join(f"{k}={list(v) if isinstance(v, tuple) else v}" for k, v in params.items())
    return _sorted(shown)


def _sorted(shown: str) -> str:
    return " ".join(sorted(shown.split(" ")))


def _run_params(runs: pd.DataFrame, strategy: str, instrument: str, bar: str) -> set[str]:
    """Return the distinct parameters of saved runs of the class on these bars."""
    name = strategy.rpartition(":")[2].rpartition(".")[2]
    symbols = [key.partition("/")[2].rpartition(".")[0] for key in instrument.split(", ")]
    bars = ", ".join(f"{symbol} {bar}" for symbol in symbols)
    of = runs[(runs["strategy"] == name) & (runs["bars"] == bars)]
    return {_sorted(text) for text in of["params"]}
