"""The journal read beside its writer: by SQLite's own rules a reader of a WAL file disturbs nobody. Writes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from quant.core.orders import Execution
from quant.errors import JournalMismatch, JournalNotFound
from quant.oms.journal import file as journal_file
from quant.oms.journal import rows as journal_rows
from quant.oms.ledger import Ledger


def read_ledger(path: Path, deployment: str) -> Ledger:
    """Return what a deployment's journal holds, also while it trades.

    Raises JournalNotFound, JournalMismatch (another deployment's, another schema), JournalDamaged, JournalFailed.
    """
    if not path.exists():
        raise JournalNotFound(
            str(path), "there is none", "This deployment has not traded yet: quant paper NAME"
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.isolation_level = None
            db.execute("BEGIN")  # all tables as of one moment
            meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
            schema = db.execute("PRAGMA user_version").fetchone()[0]
            if schema != journal_file.SCHEMA:
                reason = f"it has schema {schema}, this version reads {journal_file.SCHEMA}"
                raise JournalMismatch(str(path), reason, "Use the version of quant-ib that wrote it")
            if meta.get("deployment") != deployment:
                reason = f"it belongs to deployment {meta.get('deployment')}, not {deployment}"
                raise JournalMismatch(str(path), reason, "Give each deployment a journal of its own")
            return journal_rows.load(
                db, path, deployment, meta.get("account", ""), meta.get("strategy_hash", "")
            )
    except sqlite3.Error as e:
        raise journal_file.told(path, e) from e


def as_of(ledger: Ledger, moment: int) -> Ledger:
    """Return what the ledger held before a moment (UTC ns), and all that had been filled at it, told or not.

    What is decided at that very moment is not in it. What an execution cost counts with it, whenever it was told.
    """
    filled = {
        fact.report.exec_id
        for fact in ledger.facts
        if isinstance(fact.report, Execution) and fact.report.time <= moment
    }
    return replace(
        ledger,
        runs=tuple(r for r in ledger.runs if r.at < moment),
        intents=tuple(i for i in ledger.intents if i.at < moment),
        marks=tuple(m for m in ledger.marks if m.at < moment),
        facts=tuple(
            f
            for f in ledger.facts
            if getattr(f.report, "exec_id", None) in filled
            or (f.at < moment and not isinstance(f.report, Execution))
        ),
        holdings=tuple(h for h in ledger.holdings if h.at < moment),
        snapshots=tuple(s for s in ledger.snapshots if s.answered_at < moment),
        halts=tuple(h for h in ledger.halts if h.at < moment),
    )
