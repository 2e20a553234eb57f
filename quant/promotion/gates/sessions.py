"""What paper has shown: the record of parity, and whether a halt is open. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from quant.errors import DamagedData
from quant.live.run import control
from quant.live.run.deployment import PAPER_STAGE, Deployment, live_folder
from quant.live.run.takeover import journal_of
from quant.promotion.gates.values import PaperEvidence, Session

RECORD: Final = "parity.jsonl"  # a line a session, in the deployment's folder


def paper_evidence(paper: Deployment, data: Path, said: Mapping[str, Any]) -> PaperEvidence:
    """Return all that the gates to real money look at. Raises DamagedData, JournalError."""
    folder = live_folder(data, paper.name)
    halted, ran = _halted(paper, folder, data)
    gates = tuple((g.name, g.outcome, g.override) for g in paper.gates if g.stage == PAPER_STAGE)
    return PaperEvidence(gates, sessions(folder), halted, ran, dict(said))


def sessions(folder: Path) -> tuple[Session, ...]:
    """Return the sessions that were compared, of a day the last line. Raises DamagedData for a line that is none."""
    path = folder / RECORD
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as e:
        raise DamagedData(str(path), str(e), "Compare those days again: quant parity") from e
    found: dict[str, Session] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
                # Each of them must say so: one that is missing is no parity.
                same = row["decisions_diverged"] == 0 and round(float(row["unexplained"]), 2) == 0.0
                idle = float(row.get("not_running_s", 0.0))
                found[str(row["day"])] = Session(str(row["day"]), row["ok"] is True and same, idle)
            except (ValueError, KeyError, TypeError) as e:
                raise DamagedData(
                    str(path),
                    f"line {number}: {type(e).__name__}: {e}",
                    "Remove the line, and compare that day again: quant parity NAME --day D",
                ) from e
    return tuple(sorted(found.values(), key=lambda s: s.day))


def _halted(paper: Deployment, folder: Path, data: Path) -> tuple[str, bool]:
    """Return the open halt, "" for none, and whether there is a journal."""
    if not paper.account or not (folder / control.JOURNAL).exists():
        return "", False
    if control.is_running(folder):  # the journal is its own; its picture is a second old
        seen = control.get(folder / control.STATUS)
        return str(seen.get("halted") or seen.get("reducing") or ""), True
    with journal_of(paper, data) as journal:
        ledger = journal.load()
    stop = ledger.halted or ledger.reducing
    return "" if stop is None else stop.reason, True
