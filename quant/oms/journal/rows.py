"""The journal's rows as values. Knows how each record is written, and what a sound journal must hold together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from quant.core.orders import Execution, Ticket
from quant.errors import JournalDamaged
from quant.oms.fills import exec_key
from quant.oms.journal import file as journal_file
from quant.oms.journal.encoding import decimal_text, from_plain, report_of
from quant.oms.ledger import (
    Fact,
    Halt,
    Holding,
    Intent,
    Ledger,
    Mark,
    Run,
    SnapshotRecord,
    Source,
    Stop,
    What,
)

Record = Run | Intent | Mark | Fact | Holding | SnapshotRecord | Halt

ADD_FILL: Final = "INSERT OR IGNORE INTO fill VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def fill_row(execution: Execution) -> tuple[Any, ...]:
    """Return an execution's row in the table of fills; the first three name it."""
    e, (stem, revision) = execution, exec_key(execution.exec_id)
    quantity = decimal_text(e.quantity)
    return e.account, stem, revision, e.ref, e.con_id, e.symbol, e.time, quantity, float(e.price)


def load(db: sqlite3.Connection, path: Path, deployment: str, account: str, strategy_hash: str) -> Ledger:
    """Return everything that a journal holds. Raises JournalDamaged for a lost or changed record."""
    try:
        found = {table: _read(db, path, table) for table in journal_file.RECORDS}
        fills = set(db.execute("SELECT * FROM fill").fetchall())
    except (sqlite3.Error, UnicodeDecodeError) as e:
        raise journal_file.told(path, e) from e
    ledger = Ledger(
        deployment, account, strategy_hash, runs=found["run"], intents=found["intent"], marks=found["mark"],
        facts=found["event"], holdings=found["holding"], snapshots=found["snapshot"], halts=found["halt"],
    )  # fmt: skip
    numbers = sorted(record.number for record in all_of(ledger))
    if numbers != list(range(1, len(numbers) + 1)):
        lost = next(wanted for wanted, has in enumerate([*numbers, 0], start=1) if wanted != has)
        raise JournalDamaged(str(path), f"record {lost} is lost", journal_file.MEND)
    rows = [fill_row(fact.report) for fact in ledger.facts if isinstance(fact.report, Execution)]
    if (
        set({row[:3]: row for row in reversed(rows)}.values()) != fills
    ):  # told in two ways, the first stands there
        reason = "its table of fills is not what the executions say"
        raise JournalDamaged(str(path), reason, journal_file.MEND)
    return ledger


def keys(db: sqlite3.Connection, path: Path) -> set[bytes]:
    """Return by what its reports are known."""
    try:
        return {key for (key,) in db.execute("SELECT key FROM event")}
    except sqlite3.Error as e:
        raise journal_file.told(path, e) from e


def all_of(ledger: Ledger) -> list[Record]:
    """Return every record of a ledger, kind by kind."""
    return [
        *ledger.runs, *ledger.intents, *ledger.marks, *ledger.facts, *ledger.holdings, *ledger.snapshots, *ledger.halts,
    ]  # fmt: skip


def _read(db: sqlite3.Connection, path: Path, table: str) -> tuple[Any, ...]:
    found = []
    for number, at, body in journal_file.rows(db, path, table):
        try:
            found.append(MAKE[table](number, at, body))
        except (KeyError, TypeError, ValueError, ArithmeticError) as e:
            reason = f"record {number} ({table}) cannot be read: {e!r}"
            raise JournalDamaged(str(path), reason, journal_file.MEND) from e
    return tuple(found)


def _run(number: int, at: int, body: str) -> Run:
    has = json.loads(body)
    return Run(number, has["client_id"], at, has["facts"])


def _intent(number: int, at: int, body: str) -> Intent:
    has = json.loads(body)
    return Intent(
        number, from_plain(Ticket, has["ticket"]), has["order_id"], has["client_id"], at, has["why"]
    )


def _mark(number: int, at: int, body: str) -> Mark:
    has = json.loads(body)
    ticket = from_plain(Ticket, has["ticket"]) if "ticket" in has else None
    return Mark(number, has["ref"], What(has["what"]), at, has["why"], ticket)


def _fact(number: int, at: int, body: str) -> Fact:
    return Fact(number, at, report_of(body))


def _holding(number: int, at: int, body: str) -> Holding:
    has = json.loads(body)
    source, quantity = Source(has["source"]), Decimal(has["quantity"])
    return Holding(number, source, has["con_id"], has["symbol"], quantity, has["price"], at, has["why"])


def _snapshot(number: int, at: int, body: str) -> SnapshotRecord:
    return SnapshotRecord(number=number, **json.loads(body))


def _halt(number: int, at: int, body: str) -> Halt:
    has = json.loads(body)
    con_id = has.get("con_id", 0)  # halts of instruments came later
    return Halt(number, at, Stop(has["stop"]), has["reason"], has["who"], con_id)


MAKE: Final[dict[str, Callable[[int, int, str], Record]]] = {
    "run": _run, "intent": _intent, "mark": _mark, "event": _fact, "holding": _holding, "snapshot": _snapshot,
    "halt": _halt,
}  # fmt: skip
