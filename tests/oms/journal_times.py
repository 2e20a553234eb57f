"""How long the journal takes to commit; used by the bench of orders (scripts/bench.py)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from quant.core.orders import Ticket
from quant.oms.journal.journal import Journal

OWNER = {"deployment": "bench", "account": "DU1234567", "strategy_hash": "none"}


def commit_seconds(folder: Path, commits: int) -> list[float]:
    """Return how long each of `commits` intents took from the call to its return, in seconds."""
    taken = []
    with Journal.open(folder / "journal.sqlite", **OWNER, create=True) as journal:
        journal.begin_run({}, 0, client_id=1)
        for at in range(commits):
            ticket = Ticket(journal.next_ref(), OWNER["account"], 1, "SPY", Decimal(1))
            order_id = journal.next_order_id()
            start = time.perf_counter()
            journal.add_intent(ticket, order_id, at, "bench")
            taken.append(time.perf_counter() - start)
    return taken


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(np.asarray(seconds) * 1000, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


if __name__ == "__main__":  # python -m tests.oms.journal_times FOLDER [COMMITS]
    sys.stdout.write(
        f"{percentiles(commit_seconds(Path(sys.argv[1]), int((sys.argv[2:] or ['2000'])[0])))}\n"
    )
