"""The journal's file: its tables, who may open it, what can be wrong with it. Knows no order.

SQLite in WAL mode with synchronous=FULL: what was committed outlives the process and the machine's power. One process
has the file, which the lock file beside it says; others may read. Source of the choice: live-faults §4b.1.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from quant.errors import (
    JournalBusy,
    JournalDamaged,
    JournalError,
    JournalFailed,
    JournalMismatch,
)

SCHEMA: Final = 1  # PRAGMA user_version
BUSY_S: Final = 2.0  # another program that looks into the file; ours never wait for one another
MEND: Final = (
    "Nothing was sent. Keep the file, restore it from a backup together with its -wal file, or begin a new deployment: "
    "it finds its orders and positions at the broker"
)
ROOM: Final = (
    "Nothing was sent. Look at the disk (full? read-only? failing?), mend it, and start again: the journal then says "
    "what it holds, and the broker's books what came of it"
)

# Rows of all tables but meta and fill share one count of numbers, so that a lost row leaves a gap; `seal` tells of a
# changed one, which SQLite does not. fill repeats what events say, under a key that no fill can have twice.
TABLES: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE run (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE intent (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL,
    ref TEXT NOT NULL UNIQUE, order_id INTEGER NOT NULL UNIQUE);
CREATE TABLE mark (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE event (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL,
    key BLOB NOT NULL UNIQUE);
CREATE TABLE fill (account TEXT NOT NULL, stem TEXT NOT NULL, revision INTEGER NOT NULL, ref TEXT NOT NULL,
    con_id INTEGER NOT NULL, symbol TEXT NOT NULL, time INTEGER NOT NULL, quantity TEXT NOT NULL, price REAL NOT NULL,
    PRIMARY KEY (account, stem, revision)) WITHOUT ROWID;
CREATE TABLE holding (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE snapshot (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE halt (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL);
"""
RECORDS: Final = ("run", "intent", "mark", "event", "holding", "snapshot", "halt")

REFUSED: Final = (  # by the system, or by who else has the file; its content is not in doubt
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
)  # fmt: skip


def seal(table: str, number: int, at: int, body: str) -> int:
    """Return the checksum of a record."""
    return zlib.crc32(f"{table} {number} {at} {body}".encode())


def told(path: Path, error: Exception) -> JournalError:
    """Return our error for one of SQLite's or the system's."""
    if isinstance(error, OSError):
        return JournalFailed(str(path), error.strerror or str(error), ROOM)
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the rest tells kinds of one cause apart
    kind = JournalFailed if code in REFUSED else JournalDamaged
    return kind(str(path), str(error), ROOM if kind is JournalFailed else MEND)


def lock(path: Path) -> FileLock:
    """Take the journal for this process; the system gives it back when the process ends, however it ends."""
    held = FileLock(
        f"{path}.lock", timeout=0, thread_local=False
    )  # the end of the program is another thread's
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:  # an OSError too
        mend = "Stop the other one, or look at it with `quant status`: two would send every order twice"
        raise JournalBusy(str(path), "another process trades this deployment", mend) from None
    except (OSError, NotImplementedError) as e:
        reason = f"its lock cannot be taken ({getattr(e, 'strerror', None) or e})"
        raise JournalFailed(str(path), reason, ROOM) from e
    return held


def make(path: Path, meta: dict[str, str]) -> None:
    """Make an empty journal where there is none, readable by its owner only where the system knows owners.

    It is made beside and renamed, so a file without tables is damage and never a beginning.
    """
    try:
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with closing(sqlite3.connect(part, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = OFF")  # the whole file is made to last below
                db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
                db.execute("BEGIN")
                db.executemany("INSERT INTO meta VALUES (?, ?)", sorted({**meta, "open": "no"}.items()))
                db.execute("COMMIT")
                db.execute("PRAGMA journal_mode = WAL").fetchall()
            _sync(part, os.O_RDWR)  # Windows syncs only what may be written
            os.replace(part, path)
            if os.name != "nt":  # which has no such call for folders, and needs none
                _sync(path.parent, os.O_RDONLY)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as e:
        raise told(path, e) from e


def _sync(path: Path, how: int) -> None:
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def connect(path: Path, meta: dict[str, str]) -> sqlite3.Connection:
    """Open a journal for writing, after looking whether it is whole and the one that is wanted.

    meta: what it must say of itself. Raises JournalMismatch, JournalDamaged, JournalFailed; the file
    is then as it was.
    """
    try:
        _check_from_outside(path, meta)
        db = _connection(f"{path.absolute().as_uri()}?mode=rw")
        try:
            _check(path, db, meta)
            db.execute("UPDATE meta SET value = 'yes' WHERE name = 'open'")
            db.execute(
                "PRAGMA wal_checkpoint(FULL)"
            ).fetchall()  # so that the file itself tells of its -wal file
        except BaseException:
            abandon(path, db)
            raise
    except (OSError, UnicodeDecodeError, sqlite3.Error) as e:  # the second: a flipped bit in a text
        raise told(path, e) from e
    return db


def disconnect(path: Path, db: sqlite3.Connection) -> None:
    """Close a journal whole: its -wal file goes with it, unless somebody else reads."""
    try:
        db.execute("UPDATE meta SET value = 'no' WHERE name = 'open'")
    except sqlite3.Error as e:
        abandon(path, db)
        raise told(path, e) from e
    db.close()


def abandon(path: Path, db: sqlite3.Connection) -> None:
    """Close a journal as it is. Its -wal file stays: SQLite removes it only with the last of all connections."""
    with suppress(sqlite3.Error), closing(_reader(path, "mode=ro")) as other:
        other.execute("SELECT value FROM meta").fetchall()
        db.close()
    db.close()  # no harm in doing it twice


def _connection(where: str) -> sqlite3.Connection:
    """Return a connection that commits at our word only. Tests put another in its place, which fails where they say."""
    # Another thread may close it, at the end of the program.
    return sqlite3.connect(where, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _reader(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)


def _check_from_outside(path: Path, meta: dict[str, str]) -> None:
    """Check what can be told without touching the file: its kind, schema and owner, and whether its -wal file is there.

    Schema and owner stand in the file itself from its first day, whatever its -wal file holds.
    """
    for place in (path, path.parent):  # or SQLite would leave files beside it that nobody may write either
        if not os.access(place, os.W_OK):
            raise JournalFailed(str(path), f"{place} is read-only", ROOM)
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
        raise JournalDamaged(str(path), "it is no SQLite file", MEND)
    schema = int.from_bytes(head[60:64], "big")  # PRAGMA user_version; sqlite.org/fileformat2.html
    if schema != SCHEMA:
        mend = "Use the version of quant-ib that wrote it, or begin a new deployment"
        raise JournalMismatch(str(path), f"it has schema {schema}, this version reads {SCHEMA}", mend)
    wal = path.with_name(f"{path.name}-wal")
    has_wal = wal.exists() and wal.stat().st_size > 0
    try:
        with closing(_reader(path, "mode=ro&immutable=1")) as db:
            has = dict(db.execute("SELECT name, value FROM meta").fetchall())
    except sqlite3.Error:
        if has_wal:  # killed while it was being written; what lacks is in the -wal file
            return
        raise
    _check_owner(path, has, meta)
    if has["open"] == "yes" and not has_wal:
        reason = f"it was not closed, and {wal.name} with its last records is missing"
        raise JournalDamaged(str(path), reason, MEND)


def _check(path: Path, db: sqlite3.Connection, meta: dict[str, str]) -> None:
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise JournalDamaged(str(path), str(found), MEND)
    _check_owner(path, dict(db.execute("SELECT name, value FROM meta").fetchall()), meta)
    for pragma in (
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
    ):  # the last two: macOS
        db.execute(f"PRAGMA {pragma}")
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        mend = "Put it on a disk of this machine"
        raise JournalFailed(str(path), f"SQLite keeps it in mode {mode}, not WAL", mend)


def _check_owner(path: Path, has: dict[str, str], meta: dict[str, str]) -> None:
    if not {*meta, "open"} <= has.keys():
        raise JournalDamaged(str(path), "it does not say whose it is", MEND)
    for name, wanted in meta.items():
        if has[name] != wanted:
            raise _other(path, name, has[name], wanted)


def _other(path: Path, name: str, has: str, wanted: str) -> JournalMismatch:
    mends = {
        "deployment": "Give each deployment a journal of its own",
        "account": "Log in to the account that this deployment trades, or begin a new deployment for this one",
        "strategy_hash": "Run the strategy as it was promoted, or promote the changed one as a new deployment",
    }
    if name == "account":  # its number is nobody else's business, and the end of it tells which
        has, wanted = (f"{a[:2]}...{a[-2:]}" for a in (has, wanted))
    reason = f"it belongs to {name.replace('_', ' ')} {has}, not {wanted}"
    return JournalMismatch(str(path), reason, mends[name])


def rows(db: sqlite3.Connection, path: Path, table: str) -> list[tuple[int, int, str]]:
    """Return number, time and body of a table's records, in their order. Raises JournalDamaged for a changed one."""
    found: list[tuple[Any, ...]] = db.execute(
        f"SELECT number, at, body, seal FROM {table} ORDER BY number"  # noqa: S608  # a name of RECORDS
    ).fetchall()
    for number, at, body, sealed in found:
        if seal(table, number, at, body) != sealed:
            raise JournalDamaged(str(path), f"record {number} ({table}) does not match its checksum", MEND)
    return [(number, at, body) for number, at, body, _ in found]
