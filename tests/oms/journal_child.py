"""A process that writes a journal until it is killed, fails, or has written enough; told of by test_journal.py.

Each record is named on stdout after its commit, never before: what was named must be there afterwards.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Final

from quant.core.orders import Ticket
from quant.errors import JournalFailed
from quant.oms import failpoints
from quant.oms.journal.journal import Journal
from quant.oms.ledger import What
from tests.oms.facts import ACCOUNT, execution

OWNER: Final = {"deployment": "child", "account": ACCOUNT, "strategy_hash": "hash"}


def write(path: str, room: int | None, die_at: str, turns: int) -> None:
    """Write intents, marks and fills. room: bytes that the file may take more, where the system can say so."""
    with Journal.open(path, **OWNER, create=True) as journal:
        journal.begin_run({}, 0, client_id=7)
        if room is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        if die_at:
            failpoints.hook = Dying(die_at, turns // 2).reach
        for turn in range(turns):
            ref = journal.next_ref()
            journal.add_intent(
                Ticket(ref, ACCOUNT, 1, "SPY", Decimal(1)), journal.next_order_id(), turn, "x" * 200
            )
            say(f"intent {ref}")
            journal.mark(ref, What.SENT, turn)
            say(f"mark {ref}")
            fill = execution(turn, 1, 1, ref=ref)
            journal.add_reports([fill], turn)
            say(f"fill {fill.exec_id}")


class Dying:
    """Ends the process at once when a place is reached for the n-th time: no handler runs, nothing is closed."""

    def __init__(self, name: str, times: int) -> None:
        self.name, self.left = name, times

    def reach(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left < 0:
                import os

                os._exit(9)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, where, limit, place, count = sys.argv
    try:
        write(where, int(limit) if limit else None, place, int(count))
    except JournalFailed as failure:
        say(f"failed {failure}")
        raise SystemExit(failure.exit_code) from None
