"""The journal of one deployment: what was decided, what was done, what the broker said, in the order in which it came.

Everything is committed, on the disk, before a function returns; a function that raises has written nothing of its
record. After a write has failed nothing more is taken: a disk that once lied about a write cannot be asked again.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from quant.core.orders import Execution, Report, Snapshot, Ticket
from quant.errors import JournalError, JournalFailed, JournalNotFound, ParameterError
from quant.oms.failpoints import reach
from quant.oms.journal import file as journal_file
from quant.oms.journal import rows as journal_rows
from quant.oms.journal.encoding import (
    content_key,
    digest,
    from_plain,
    report_text,
    text,
    to_plain,
)
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

LONGEST_REF: Final = 40  # characters; DESIGN's and live-faults' bound for orderRef
LARGEST_ID: Final = 2**31 - 1  # the wire's order id is an int32


class Journal:
    """The journal's one writer. Not for several threads: it belongs to the strategy's (DESIGN D9)."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock: Any, meta: Mapping[str, str]) -> None:
        """Take an open file; callers use `open`."""
        self.path = path
        self.deployment = meta["deployment"]
        self.account = meta["account"]
        self.strategy_hash = meta["strategy_hash"]
        self._db = db
        self._failed = ""
        ledger = self.load()
        self._number = len(journal_rows.all_of(ledger))
        self._client_id: int | None = None
        self._refs = {intent.ref for intent in ledger.intents}
        self._ids = {intent.order_id for intent in ledger.intents}
        self._keys = journal_rows.keys(db, path)  # of the reports that it has
        self._issued = max((int(ref.rpartition(":")[2]) for ref in self._refs), default=0)
        own = {run.client_id for run in ledger.runs}
        seen = [i.order_id for i in ledger.intents] + [s.next_order_id - 1 for s in ledger.snapshots]
        self._last_id = max([0, *seen, *(_order_id(fact.report, own) for fact in ledger.facts)])
        self._close = weakref.finalize(self, _finish, path, db, lock)  # at the program's end too

    # ---------------------------------------------------------------- opening and closing
    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        deployment: str,
        account: str,
        strategy_hash: str,
        create: bool = False,
        lasting: bool = True,
    ) -> Self:
        """Open the journal of a deployment for this process alone.

        create: make one where there is none. lasting: a commit outlives the machine's power; a rehearsal, whose
        journal is thrown away, does not wait for the disk. Raises ParameterError for a deployment whose name cannot
        stand in an orderRef, JournalNotFound, JournalBusy (another process has it), JournalMismatch (other deployment,
        account, strategy or schema), JournalDamaged, JournalFailed (the system refuses).
        """
        path = Path(path)
        _check_name(deployment)
        meta = {"deployment": deployment, "account": account, "strategy_hash": strategy_hash}
        if not (create or path.exists()):
            mend = "If this deployment has traded, restore the file: without it orders could be sent twice"
            raise JournalNotFound(str(path), "there is none", mend)
        lock = journal_file.lock(path)
        try:
            if not path.exists():
                journal_file.make(path, meta)
            db = journal_file.connect(path, meta)
            if not lasting:
                db.execute("PRAGMA synchronous = OFF")
        except BaseException:
            lock.release()
            raise
        try:
            return cls(path, db, lock, meta)
        except BaseException:
            journal_file.abandon(path, db)
            lock.release()
            raise

    def close(self) -> None:
        """Close it; other processes may then open it. Once closed it stays closed."""
        self._failed = self._failed or "it was closed"
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- what is next
    def next_ref(self) -> str:
        """Return an orderRef that no order has or had: "q1:<deployment>:<count>"."""
        self._issued += 1
        return f"q1:{self.deployment}:{self._issued}"

    def next_order_id(self, floor: int = 1) -> int:
        """Return an order id above every one ever seen of our clients, at least `floor` (the session's nextValidId).

        nextValidId alone rolls back with a restart of TWS, and then two orders share one id (LEAN issue 242).
        """
        wanted = max(self._last_id + 1, floor)
        if wanted > LARGEST_ID:
            mend = "reset the API order IDs in TWS (Global Configuration, API, Settings) and use another client id"
            raise ParameterError("order id", wanted, f"is beyond the largest that IB takes; {mend}")
        self._last_id = wanted
        return wanted

    # ---------------------------------------------------------------- records
    def begin_run(self, facts: Mapping[str, str], at: int, *, client_id: int) -> Run:
        """Record a start. client_id: whose the order ids of this run are."""
        with self._writing() as write:
            number = write("run", at, {"client_id": client_id, "facts": dict(facts)})
        self._client_id = client_id
        return Run(number, client_id, at, dict(facts))

    def add_intent(self, ticket: Ticket, order_id: int, at: int, why: str = "") -> Intent:
        """Record what is about to be sent. Only after this may it be."""
        return self.add_intents([(ticket, order_id)], at, why)[0]

    def add_intents(
        self, tickets: Sequence[tuple[Ticket, int]], at: int, why: str = ""
    ) -> tuple[Intent, ...]:
        """Record orders that belong together, parents first: all or none.

        Raises ParameterError for a ticket that is not this journal's or whose ref or order id was used before.
        """
        client_id = self._client_id
        if client_id is None:
            raise ParameterError("ticket", tickets[0][0].ref, "comes before begin_run")
        batch: dict[str, int] = {}
        for ticket, order_id in tickets:
            self._check_ticket(ticket, order_id, batch)
            batch[ticket.ref] = order_id
        with self._writing() as write:
            intents = []
            for ticket, order_id in tickets:
                body = {"ticket": to_plain(ticket), "order_id": order_id, "client_id": client_id, "why": why}
                number = write("intent", at, body, ref=ticket.ref, order_id=order_id)
                intents.append(Intent(number, ticket, order_id, client_id, at, why))
        self._refs.update(batch)
        self._ids.update(batch.values())
        self._last_id = max(self._last_id, *batch.values())
        return tuple(intents)

    def mark(self, ref: str, what: What, at: int, why: str = "") -> Mark:
        """Record what we did with an order, or concluded about it. Raises ParameterError for an order not ours."""
        return self.add_marks([(ref, why, None)], what, at)[0]

    def add_marks(
        self, orders: Sequence[tuple[str, str, Ticket | None]], what: What, at: int
    ) -> tuple[Mark, ...]:
        """Record the same of orders that belong together, each with its ref and why: all or none.

        The third: of MODIFIED, what is asked from now on.
        """
        bodies = []
        for ref, why, ticket in orders:
            if ref not in self._refs:
                raise ParameterError("ref", ref, f"is no order of this journal; {what} cannot be said of it")
            body: dict[str, Any] = {"ref": ref, "what": What(what).value, "why": why}
            if ticket is not None:
                body["ticket"] = to_plain(ticket)
            bodies.append(body)
        with self._writing() as write:
            numbers = [write("mark", at, body) for body in bodies]
        return tuple(
            Mark(number, ref, What(what), at, why, ticket)
            for number, (ref, why, ticket) in zip(numbers, orders, strict=True)
        )

    def add_reports(self, reports: Sequence[Report], at: int) -> tuple[Fact, ...]:
        """Record what the broker said, and return what was new of it; the rest changes nothing, whenever it comes."""
        if not reports:
            return ()
        self._check_usable()
        fields = [(report, to_plain(report)) for report in reports]
        bodies = [(report_text(report, plain), report, plain) for report, plain in fields]
        told = {content_key(body): (body, report, plain) for body, report, plain in bodies}
        new = {key: one for key, one in told.items() if key not in self._keys}
        if not new:
            return ()
        with self._writing("callback_before_commit", "callback_after_commit") as write:
            facts = []
            for key, (body, report, plain) in new.items():
                # As the disk has it: what is known in memory must be what a restart reads (-0.0 is 0.0 there).
                as_read = from_plain(type(report), plain)
                facts.append(Fact(write("event", at, body, key=key), at, as_read))
                if isinstance(report, Execution):
                    self._db.execute(journal_rows.ADD_FILL, journal_rows.fill_row(report))
        self._keys.update(new)
        own = set() if self._client_id is None else {self._client_id}
        self._last_id = max(self._last_id, *(_order_id(fact.report, own) for fact in facts))
        return tuple(facts)

    def add_snapshot(self, snapshot: Snapshot, found: str, at: int) -> SnapshotRecord:
        """Record that a complete snapshot was seen and what came of it; its reports go through `add_reports`."""
        body = {
            "asked_at": snapshot.asked_at, "answered_at": snapshot.answered_at, "epoch": snapshot.epoch,
            "next_order_id": snapshot.next_order_id, "digest": digest(snapshot), "found": found,
        }  # fmt: skip
        with self._writing() as write:
            number = write("snapshot", at, body)
        self._last_id = max(self._last_id, snapshot.next_order_id - 1)
        return SnapshotRecord(number=number, **body)  # type: ignore[arg-type]  # the same names and types

    def add_holding(
        self, source: Source, con_id: int, symbol: str, quantity: Decimal, price: float | None, at: int, why: str = ""
    ) -> Holding:  # fmt: skip
        """Record a quantity that no order of ours made: left alone, adopted, or explained by a person."""
        holding = Holding(self._number + 1, source, con_id, symbol, quantity, price, at, why)
        body = {
            "source": Source(source).value, "con_id": con_id, "symbol": symbol, "quantity": str(Decimal(quantity)),
            "price": None if price is None else float(price), "why": why,
        }  # fmt: skip
        with self._writing() as write:
            write("holding", at, body)
        return holding

    def halt(self, reason: str, at: int, stop: Stop = Stop.HALT, *, con_id: int = 0) -> Halt:
        """Record a stop; it holds until a person clears it, through restarts. con_id: of one instrument, 0 = all."""
        return self._add_halt(Stop(stop), reason, at, "", con_id)

    def clear_halt(self, who: str, reason: str, at: int, stop: Stop = Stop.HALT, *, con_id: int = 0) -> Halt:
        """Record that a person ends all stops of this kind so far. Raises ParameterError without a name."""
        if not who.strip():
            raise ParameterError("who", who, "must name the person who clears it")
        return self._add_halt(Stop(stop), reason, at, who, con_id)

    def _add_halt(self, stop: Stop, reason: str, at: int, who: str, con_id: int) -> Halt:
        body = {"stop": stop.value, "reason": reason, "who": who, "con_id": con_id}
        with self._writing() as write:
            number = write("halt", at, body)
        return Halt(number, at, stop, reason, who, con_id)

    # ---------------------------------------------------------------- reading
    def load(self) -> Ledger:
        """Return everything that it holds. Raises JournalDamaged for a lost or changed record."""
        return journal_rows.load(self._db, self.path, self.deployment, self.account, self.strategy_hash)

    # ---------------------------------------------------------------- writing
    @contextmanager
    def _writing(
        self, before: str = "before_commit", after: str = "after_commit"
    ) -> Iterator[Callable[..., int]]:
        """Give a function that writes a record and returns its number; all of them are committed, or none."""
        self._check_usable()
        number = self._number

        def write(table: str, at: int, body: Any, **columns: Any) -> int:
            nonlocal number
            number += 1
            line = body if isinstance(body, str) else text(body)
            sealed = journal_file.seal(table, number, at, line)
            self._db.execute(_insert(table, tuple(columns)), (number, at, line, sealed, *columns.values()))
            return number

        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield write
            reach(before)
            self._db.execute("COMMIT")
        except sqlite3.Error as e:
            raise self._fail(e) from e
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._number = number
        reach(after)

    def _fail(self, error: sqlite3.Error) -> JournalError:
        with suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")
        self._failed = f"a write failed ({error})"
        return journal_file.told(self.path, error)

    def _check_usable(self) -> None:
        if self._failed:
            raise JournalFailed(str(self.path), f"nothing more is taken: {self._failed}", journal_file.ROOM)

    def _check_ticket(self, ticket: Ticket, order_id: int, batch: Mapping[str, int]) -> None:
        ref = ticket.ref
        head, _, count = ref.rpartition(":")
        if head != f"q1:{self.deployment}" or not (count.isascii() and count.isdigit()):
            raise ParameterError(
                "ref", ref, f"must be of the form q1:{self.deployment}:1, as next_ref gives it"
            )
        if len(ref) > LONGEST_REF:
            raise ParameterError("ref", ref, f"has more than {LONGEST_REF} characters")
        if ref in self._refs or ref in batch:
            raise ParameterError(
                "ref", ref, "was used before; an order is sent again under its own ref and id"
            )
        if ticket.account != self.account:
            raise ParameterError("account", ticket.account, f"is not that of the journal, {self.account}")
        if ticket.quantity == 0:
            raise ParameterError("quantity", ticket.quantity, "must not be 0")
        if ticket.parent and ticket.parent not in self._refs and ticket.parent not in batch:
            raise ParameterError("parent", ticket.parent, "is no order of this journal")
        if not 0 < order_id <= LARGEST_ID:
            raise ParameterError("order_id", order_id, f"must be between 1 and {LARGEST_ID}")
        if order_id in self._ids or order_id in batch.values():
            raise ParameterError(
                "order_id", order_id, "is that of another order; next_order_id gives a new one"
            )


@lru_cache(maxsize=64)
def _insert(table: str, columns: tuple[str, ...]) -> str:
    names = ("number", "at", "body", "seal", *columns)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608  # our own names


def _order_id(report: Report, clients: set[int]) -> int:
    """Return the order id that a report tells of one of our clients, else 0; ids of other clients say nothing."""
    order_id: int = getattr(report, "order_id", 0)
    return order_id if getattr(report, "client_id", None) in {None, *clients} else 0


def _check_name(deployment: str) -> None:
    longest = LONGEST_REF - len("q1::") - len(str(LARGEST_ID))
    sound = deployment.isascii() and deployment.isprintable() and ":" not in deployment
    if not (sound and 0 < len(deployment) <= longest):
        reason = f"must be 1 to {longest} printable ASCII characters, no colon: it stands in every orderRef"
        raise ParameterError("deployment", deployment, reason)


def _finish(path: Path, db: sqlite3.Connection, lock: Any) -> None:
    with suppress(JournalError):  # the disk that refused a write; the -wal file stays and says so
        journal_file.disconnect(path, db)
    lock.release()
