"""What the journal holds, as values: our intents and marks, the broker's facts, halts. Pure.

Times are UTC ns. `number`: place in the journal, counted over all kinds of record, so it also says what came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from quant.core.orders import Report, Ticket


class What(StrEnum):
    """What we did with an order, or concluded about it. The last of those from UNKNOWN on, and SENT, holds."""

    SENT = "sent"  # written after the send: an intent without it may have been sent all the same
    CANCEL_ASKED = "cancel asked"
    MODIFIED = "modified"  # other prices were decided; what is asked from then on, whether it was sent or not
    UNKNOWN = "unknown"  # no answer in time, or not where it should be in the broker's books
    FOUND = "found"  # the broker's books show it working
    ABSENT = "absent"  # acknowledged or refused once, and in no list of open orders of complete snapshots
    EXPIRED = "expired"  # its time is over, and it is in no list of complete snapshots
    NOT_SENT = "not sent"  # proven never to have reached the broker


@dataclass(frozen=True, slots=True)
class Run:
    """A start of the deployment. facts: versions, settings, as text."""

    number: int
    client_id: int
    at: int
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Intent:
    """An order that we decided; committed before anything is sent. order_id belongs to client_id."""

    number: int
    ticket: Ticket
    order_id: int
    client_id: int
    at: int
    why: str = ""

    @property
    def ref(self) -> str:
        """The order's key."""
        return self.ticket.ref


@dataclass(frozen=True, slots=True)
class Mark:
    """What we did with an order, or concluded about it. ticket: of MODIFIED, what is asked for from then on."""

    number: int
    ref: str
    what: What
    at: int
    why: str = ""
    ticket: Ticket | None = None


def modified(intent: Intent, mark: Mark) -> Intent:
    """Return an intent as it is asked for since a mark; when it was decided stays."""
    return intent if mark.ticket is None else replace(intent, ticket=mark.ticket, why=mark.why)


def versions(intent: Intent, marks: Iterable[Mark]) -> Iterator[Intent]:
    """Yield an order as it was asked for at first, and at each modification; `at` is when that was decided."""
    yield intent
    for mark in marks:
        if mark.ticket is not None:
            yield replace(modified(intent, mark), at=mark.at)


@dataclass(frozen=True, slots=True)
class Fact:
    """A broker's report as it first came, at `at`."""

    number: int
    at: int
    report: Report


SMALLER: Final = "made smaller"  # how the mark of an order begins that was sent again for less than was asked
MOVED: Final = "moved"  # the same, of one that was sent again with the prices of its modification
FOLLOWED: Final = "another exit is to take its place"  # why an exit is cancelled while that one waits for it


def moves(mark: Mark) -> bool:
    """Return whether a mark is of a change of prices: that it was decided, or sent."""
    return mark.what is What.MODIFIED or (mark.what is What.SENT and mark.why.startswith(MOVED))


def noted(marks: list[Mark], mark: Mark) -> None:
    """Put a mark behind those of its order, and of two modifications, or of their sends, keep the newer one.

    A stop that follows the price has as many as there are bars; how it stands follows from the newest.
    """
    if moves(mark):
        marks[:] = [m for m in marks if m.what is not mark.what or not moves(m)]
    marks.append(mark)


class Source(StrEnum):
    """Where a holding that no order of ours made comes from."""

    BASELINE = "baseline"  # there at start and left alone: never ours
    ADOPTED = "adopted"  # there at start and ours from then on
    ADJUSTED = "adjusted"  # a difference that a person explained


@dataclass(frozen=True, slots=True)
class Holding:
    """A quantity of an instrument that no order of ours made, added to those before it.

    price: what it counts as having cost, None where nobody knows (a sizing then refuses); of no use for a baseline.
    """

    number: int
    source: Source
    con_id: int
    symbol: str
    quantity: Decimal
    price: float | None
    at: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """That a complete snapshot was seen. digest: of its content without its times; found: what came of it."""

    number: int
    asked_at: int
    answered_at: int
    epoch: int
    next_order_id: int
    digest: str
    found: str


class Stop(StrEnum):
    """What a stop leaves possible."""

    HALT = "halt"  # cancels and reads only
    REDUCE = "reduce"  # orders that make positions smaller
    INSTRUMENT = "instrument"  # all but what begins something new in one instrument
    FLATTEN = (
        "flatten"  # no stop, but of the same kind: all, or one instrument, is to be closed until it is flat
    )


@dataclass(frozen=True, slots=True)
class Halt:
    """A stop of trading, or its end. who: who ended it, "" for a stop. con_id: of one instrument, 0 = all."""

    number: int
    at: int
    stop: Stop
    reason: str
    who: str = ""
    con_id: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that a journal holds, each kind in the order of the journal."""

    deployment: str
    account: str
    strategy_hash: str
    runs: tuple[Run, ...] = ()
    intents: tuple[Intent, ...] = ()
    marks: tuple[Mark, ...] = ()
    facts: tuple[Fact, ...] = ()
    holdings: tuple[Holding, ...] = ()
    snapshots: tuple[SnapshotRecord, ...] = ()
    halts: tuple[Halt, ...] = ()

    @property
    def halted(self) -> Halt | None:
        """The first halt that nobody has cleared since, or None. One clearance ends all halts before it."""
        return self._stopped(Stop.HALT)

    @property
    def reducing(self) -> Halt | None:
        """The same for the order to reduce only."""
        return self._stopped(Stop.REDUCE)

    def by_instrument(self, stop: Stop) -> dict[int, str]:
        """Return the instruments of which a stop of this kind was not ended since, with its reason; 0 = all."""
        found: dict[int, str] = {}
        for halt in self.halts:
            if halt.stop is not stop:
                continue
            if not halt.who:
                found.setdefault(halt.con_id, halt.reason)
            elif halt.con_id == 0:
                found.clear()
            else:
                found.pop(halt.con_id, None)
        return found

    def _stopped(self, stop: Stop) -> Halt | None:
        first: Halt | None = None
        for halt in self.halts:
            if halt.stop is stop:
                first = None if halt.who else first or halt
        return first

    @property
    def reports(self) -> frozenset[Report]:
        """The broker's facts as a set, whatever the order in which they came."""
        return frozenset(fact.report for fact in self.facts)
