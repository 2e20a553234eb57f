"""Everything that TWS says of orders, fills and positions at one time, asked for piece by piece without waiting.

A snapshot counts only if every piece ended on one connection, without a message that could not be read. The pieces
come one after another: the two lists of open orders end with the same message, and an order that ends meanwhile is
then in the list of open orders, of completed ones, or in both, but never in none.

Some TWS never answer what asks for completed orders (ib_insync 224, 355). It only tells how an order ended while nobody
listened: a snapshot counts without it, and says so, and on that connection it is not asked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from ibapi.execution import ExecutionFilter

from quant.core.orders import Commission, Completed, Echo, Execution, Position, Snapshot, Status
from quant.errors import BrokerError, LinkLost, NotConnected, RequestTimeout
from quant.ib.asking import Pending, Request
from quant.ib.codec import Event
from quant.ib.reports import EPOCH, position, read
from quant.ib.session import Session
from quant.ib.states import State

LOCAL_S: Final = 15.0  # patience for what TWS itself keeps
REMOTE_S: Final = 30.0  # and for what it may have to ask of IB
SILENCES: Final = 2  # after which a question that need not be answered is left out
NEVER: Final = 0
# Events that end an answer without saying of which question it was.
ENDS: Final = ("openOrderEnd", "completedOrdersEnd", "positionEnd", "nextValidId")

T = TypeVar("T", Echo, Status)


@dataclass(slots=True)
class _Answers:
    """What came so far, in the order in which it came."""

    epoch: int
    rows: list[Any] = field(default_factory=list)
    asked_at: int = NEVER
    next_order_id: int = 0

    def of(self, kind: type) -> Iterator[Any]:
        return (row for row in self.rows if isinstance(row, kind))


class Owed:
    """Ends that TWS owes on this connection, by name.

    The end of a question that was given up may still come, and must not be taken for that of the next. But one that
    comes while another is awaited, with silence after it, was the only one: then nothing is owed any more.
    """

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def asked(self, end: str) -> None:
        """Note a question."""
        self._count[end] += 1

    def is_last(self, end: str) -> bool:
        """Return whether an end that is just arriving is that of the newest question."""
        return self._count[end] <= 1

    def came(self, end: str) -> None:
        """Note an end."""
        self._count[end] = max(0, self._count[end] - 1)

    def forget(self, end: str | None = None) -> None:
        """Owe nothing, of this end or of any."""
        if end is None:
            self._count.clear()
        else:
            self._count[end] = 0


class _Piece:
    """A collector for one question of a snapshot."""

    def __init__(self, end: str, answers: _Answers, owed: Owed) -> None:
        self._end = end
        self._answers = answers
        self._owed = owed
        self._from = len(answers.rows)
        self.early_end = False  # an end came that was not ours

    def take(self, event: Event) -> bool:
        if event.name == self._end:
            if self._end in ENDS and not self._owed.is_last(self._end):
                self.early_end = True
                del self._answers.rows[self._from :]
                return False
            if self._end == "nextValidId":
                self._answers.next_order_id = event.args[0]
            return True
        row = position(*event.args) if event.name == "position" else read(event)
        if row is not None:
            self._answers.rows.append(row)
        return False

    def result(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Question:
    what: str
    send: Callable[[Any, int], None]
    rows: frozenset[str]
    end: str
    release: Callable[[Any, int], None] | None = None
    timeout_s: float = LOCAL_S
    needed: bool = True


QUESTIONS: Final = (
    _Question(
        "the open orders of this client",
        lambda c, _: c.reqOpenOrders(),
        frozenset({"openOrder", "orderStatus"}),
        "openOrderEnd",
    ),
    _Question(
        "all open orders",
        lambda c, _: c.reqAllOpenOrders(),
        frozenset({"openOrder", "orderStatus"}),
        "openOrderEnd",
    ),
    _Question(
        "the fills of the day",
        lambda c, i: c.reqExecutions(i, ExecutionFilter()),
        frozenset({"execDetails"}),
        "execDetailsEnd",
        timeout_s=REMOTE_S,
    ),
    _Question(
        "the completed orders of the day",
        lambda c, _: c.reqCompletedOrders(False),
        frozenset({"completedOrder"}),
        "completedOrdersEnd",
        timeout_s=REMOTE_S,
        needed=False,
    ),
    _Question(
        "the positions",
        lambda c, _: c.reqPositions(),
        frozenset({"position"}),
        "positionEnd",  # from then on TWS tells each change, until the next snapshot begins
    ),
    _Question("the next order id", lambda c, _: c.reqIds(-1), frozenset(), "nextValidId"),
)


class Snapshots:
    """Snapshots of one session, one at a time. now: the time in UTC.

    Told of the session's events by `saw`, and moved on by `advance`, on the thread that polls. Between two of them TWS
    tells each change of a position: what it tells in answer to the next one is a list of its own, begun anew.
    """

    def __init__(self, session: Session, now: Callable[[], datetime]) -> None:
        self.epoch = 0 if session.state is State.IDLE else 1
        self.trouble: BrokerError | None = None  # why the last one failed
        self._session = session
        self._now = now
        self._owed = Owed()
        self._streams = False  # TWS tells changes of positions
        self._silences = 0  # how often the question that need not be answered was not, on this connection
        self._unanswered = ""  # that question, once it is not asked any more
        self._answers: _Answers | None = None
        self._step = 0
        self._piece: _Piece | None = None
        self._pending: Pending[None] | None = None
        self._done: Snapshot | None = None

    @property
    def under_way(self) -> bool:
        """True from `begin` until it is complete or has failed."""
        return self._answers is not None

    @property
    def lists_positions(self) -> bool:
        """True while TWS answers what is held: rows of a position are no changes then."""
        return self._answers is not None and QUESTIONS[self._step].end == "positionEnd"

    def begin(self) -> None:
        """Begin one, unless one is under way; one that nobody took is forgotten. Raises NotConnected, LinkLost."""
        if self.under_way:
            return
        if self._session.state is not State.READY:
            raise NotConnected("a snapshot of the broker's books", self._session.state.value)
        if self._streams:
            # Four answers come before positions are asked for again, so no change is taken for a row of those.
            self._streams = False
            self._session.tell("the end of changes of positions", lambda c: c.cancelPositions())
        self._done = self.trouble = None
        self._answers = _Answers(self.epoch)
        self._step = 0
        self._ask()

    def take(self) -> Snapshot | None:
        """Return a complete snapshot once, None while there is none."""
        self.advance()
        done, self._done = self._done, None
        return done

    def saw(self, event: Event) -> None:
        """Take note of an event, after the questions under way have had it."""
        name, args = event
        if name in ENDS:
            self._owed.came(name)
        elif name == "commissionAndFeesReport" and self._answers is not None:
            self._answers.rows.append(read(event))  # they carry no request; each follows its execution
        elif name == "state":
            self._turned(*args)
        self.advance()

    def advance(self) -> None:
        """Ask the next question if the one before has ended."""
        while self._answers is not None and self._pending is not None and self._pending.done:
            error, question = self._pending.error, QUESTIONS[self._step]
            if error is not None and not self._goes_without(error, question):
                self._fail(error)
                return
            self._streams = self._streams or self.lists_positions
            self._step += 1
            if self._step < len(QUESTIONS) and QUESTIONS[self._step].what == self._unanswered:
                self._step += 1
            if self._step == len(QUESTIONS):
                self._done = self._finished(self._answers)
                self._answers = None
                return
            self._ask()

    # ------------------------------------------------------------ small parts
    def _turned(self, _old: State, new: State, trouble: BrokerError | None) -> None:
        if new is State.LOGIN:
            self.epoch += 1
            self._streams, self._silences, self._unanswered = False, 0, ""
            self._owed.forget()
        if self._answers is not None and new is not State.READY:
            why = new.value if trouble is None else str(trouble)
            self._fail(LinkLost(why, "a snapshot of the broker's books"))

    def _goes_without(self, error: BrokerError, question: _Question) -> bool:
        """Return whether the snapshot goes on without an answer to a question."""
        if not isinstance(error, RequestTimeout):
            return False
        if self._piece is not None and self._piece.early_end:
            self._owed.forget(question.end)
            return False
        self._silences += not question.needed
        if question.needed or self._silences < SILENCES:
            return False
        self._unanswered = question.what
        return True

    def _fail(self, error: BrokerError) -> None:
        self.trouble = error
        self._answers = self._piece = self._pending = None

    def _ask(self) -> None:
        answers, question = self._answers, QUESTIONS[self._step]
        if answers is None:
            return
        piece = _Piece(question.end, answers, self._owed)

        def send(client: Any, id_: int) -> None:
            if answers.asked_at == NEVER:
                answers.asked_at = self._ns()
            question.send(client, id_)
            self._owed.asked(question.end)

        self._piece = piece
        self._pending = self._session.begin(
            Request(
                question.what,
                send,
                lambda: piece,
                question.rows | {question.end},
                by_id=question.end not in ENDS,
                release=question.release,
                timeout_s=question.timeout_s,
            )
        )

    def _finished(self, found: _Answers) -> Snapshot:
        fills = {e.exec_id: e for e in found.of(Execution)}
        return Snapshot(
            asked_at=found.asked_at,
            answered_at=self._ns(),
            epoch=found.epoch,
            next_order_id=max(found.next_order_id, self._session.next_order_id or 0),
            echoes=_newest(found.of(Echo)),
            statuses=_newest(found.of(Status)),
            completed=tuple(dict.fromkeys(found.of(Completed))),
            executions=tuple(fills.values()),
            commissions=tuple(c for c in dict.fromkeys(found.of(Commission)) if c.exec_id in fills),
            positions=tuple({(p.account, p.con_id): p for p in found.of(Position)}.values()),
            unanswered=self._unanswered,
        )

    def _ns(self) -> int:
        return (self._now() - EPOCH) // timedelta(microseconds=1) * 1_000


def _newest(rows: Iterable[T]) -> tuple[T, ...]:
    """Return the newest row of each order. One told before its permanent id was known is one with it."""
    newest = {(r.client_id, r.order_id, r.perm_id): r for r in rows}
    known = {(client, order) for client, order, perm in newest if perm}
    return tuple(r for (client, order, perm), r in newest.items() if perm or (client, order) not in known)
