"""What paper has shown: the record of parity beside the tape, and whether a halt is open. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from quant.core import clock
from quant.core.barsize import SECOND
from quant.errors import DamagedData
from quant.live.run import control, tape
from quant.live.run.deployment import PAPER_STAGE, Deployment, live_folder
from quant.live.run.takeover import journal_of
from quant.oms.journal.reading import read_ledger
from quant.oms.ledger import Stop
from quant.promotion.gates.values import PaperEvidence, Session
from quant.promotion.session_end import session_end
from quant.store import Store

RECORD: Final = "parity.jsonl"  # a line a session, in the deployment's folder


def paper_evidence(paper: Deployment, data: Path, said: Mapping[str, Any]) -> PaperEvidence:
    """Return all that the gates to real money look at. Raises DamagedData, JournalError."""
    folder = live_folder(data, paper.name)
    halted, ran = _halted(paper, folder, data)
    gates = tuple((g.name, g.outcome, g.override) for g in paper.gates if g.stage == PAPER_STAGE)
    compared = sessions(folder)
    taped = _traded(folder, since=compared[0].day) if compared else []
    return PaperEvidence(
        paper.name, gates, tuple(replace(one, taped=one.day in taped) for one in compared),
        _uncompared(paper, folder, data, compared, taped), halted, ran, dict(said),
    )  # fmt: skip


# ---------------------------------------------------------------- sessions
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
                one = _session(json.loads(line))
            except (ValueError, KeyError, TypeError) as e:
                raise DamagedData(
                    str(path),
                    f"line {number}: {type(e).__name__}: {e}",
                    "Remove the line, and compare that day again: quant parity NAME --day D",
                ) from e
            found[one.day] = one
    return tuple(sorted(found.values(), key=lambda s: s.day))


def _session(row: Mapping[str, Any]) -> Session:
    # Each of them must say so: one that is missing is no parity.
    same = row["decisions_diverged"] == 0 and round(float(row["unexplained"]), 2) == 0.0
    end, compared = (str(row.get(name) or "") for name in ("session_end", "compared_at"))
    known = end and compared  # not in a line of an earlier release
    return Session(
        date.fromisoformat(str(row["day"])).isoformat(), row["ok"] is True and same,
        float(row.get("not_running_s", 0.0)),
        int(row.get("decisions", 0)), int(row.get("orders", 0)), int(row.get("missed", 0)),
        datetime.fromisoformat(compared) >= datetime.fromisoformat(end) if known else None,
    )  # fmt: skip


def _traded(folder: Path, since: str) -> list[str]:
    """Return the days of the tape on which it ran; of others a later run wrote down the bars that had come since."""
    return [day for day in tape.days(folder) if day >= since and _ran(tape.read(folder, day))]


def _ran(lines: Sequence[tape.Line]) -> bool:
    bars = [line for line in lines if isinstance(line, tape.BarLine)]
    last = max((bar.end for bar in bars), default=0)
    return any(bar.live or bar.at < last for bar in bars)


def _uncompared(
    paper: Deployment, folder: Path, data: Path, compared: Sequence[Session], traded: Sequence[str]
) -> tuple[str, ...]:
    """Return the days that were traded and are over, and were not compared since."""
    done = {one.day for one in compared if one.over is not False}
    store = Store(data)
    units = [store.find(h.symbol, h.bar, paper.what, paper.rth, h.source).instrument for h in paper.history]
    now = _now(folder)
    return tuple(day for day in traded if day not in done and session_end(day, units, rth=paper.rth) <= now)


def _now(folder: Path) -> int:
    """Return the present moment, of a running deployment as TWS has it; UTC ns."""
    if control.is_running(folder):
        told = str(control.get(folder / control.STATUS).get("time", "")).removesuffix(" UTC")
        with suppress(ValueError):
            return int(datetime.fromisoformat(told).replace(tzinfo=UTC).timestamp()) * SECOND
    return int(clock.now().timestamp()) * SECOND


# ---------------------------------------------------------------- halts
def _halted(paper: Deployment, folder: Path, data: Path) -> tuple[str, bool]:
    """Return the open halts, of all and of single instruments, "" for none, and whether there is a journal."""
    if not paper.account or not (folder / control.JOURNAL).exists():
        return "", False
    found: list[str] = []
    # A picture is a second old, and may know what the journal could not take.
    if control.is_running(folder):
        ledger = read_ledger(folder / control.JOURNAL, paper.name)
        seen = control.get(folder / control.STATUS)
        found += [str(seen.get("halted") or ""), str(seen.get("reducing") or "")]
        found += [str(feed.get("halted") or "") for feed in seen.get("feeds", ())]
    else:
        with journal_of(paper, data) as journal:
            ledger = journal.load()
    found += [stop.reason for stop in (ledger.halted, ledger.reducing) if stop is not None]
    found += ledger.by_instrument(Stop.INSTRUMENT).values()
    return "; ".join(dict.fromkeys(reason for reason in found if reason)), True
