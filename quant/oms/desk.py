"""The order desk of one deployment: decide -> risk -> intent committed -> send -> facts -> state.

The one coordinator of quant/oms. It belongs to the strategy's thread, reads no clock and opens no socket: reports,
times and what is known around it come in, orders go out through a Broker, and what happened is taken by `news`. What
two snapshots mean is decided in reconcile.py, what may be sent in gate.py, risk.py and counter.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal

from quant.core.orders import Echo, Report, Snapshot, Ticket
from quant.errors import BrokerError, JournalError, ParameterError
from quant.oms.counter import Counter, groups_of
from quant.oms.failpoints import reach
from quant.oms.gate import Gate, Purpose, Turn, cancels, passes, recovers, turned
from quant.oms.journal import Journal
from quant.oms.ledger import Intent, Stop, What
from quant.oms.limits import SECOND, Refusal
from quant.oms.order_books import echo_differences, open_echo
from quant.oms.outbox import Group, Outbox, Sent
from quant.oms.outcome import (
    Action,
    Cancel,
    Conclude,
    Flatten,
    HaltAll,
    HaltInstrument,
    Hold,
    Outcome,
    Repair,
    Resend,
)
from quant.oms.reason import Reason
from quant.oms.reconcile import HALTING, doubts, odd_halts, odd_text, reconcile
from quant.oms.record import AGREED, Record
from quant.oms.risk import brakes
from quant.oms.setup import Alarm, Answer, Broker, Change, Link, News, Setup, Surroundings, Why
from quant.oms.state import Oddity, OrderStanding, OrderState
from quant.oms.watch import Watch

# Not proven to be at the broker, though they were decided.
SILENT = (OrderState.DECIDED, OrderState.SENT)


class OrderDesk:
    """Takes orders of a strategy and the broker's reports; `begin_run` of the journal comes before it."""

    def __init__(self, journal: Journal, broker: Broker, setup: Setup, now: int) -> None:
        self._setup = setup
        self._record = Record(journal, setup)
        self._outbox = Outbox(self._record, broker, setup.client_id)
        self._watch = Watch(broker, setup)
        self._counter = Counter(self._record, setup)
        self._gate = turned(Gate.CLOSED, Turn.HALT) if self._record.halted else Gate.CLOSED
        self._link = False
        self._starting = True
        self._broken = ""
        self._unexplained: int | None = None  # since when two steady snapshots leave something open
        self._flattening: set[int] = set()
        self._shown: set[str] = set()
        self._news: list[News] = []
        with self._writing(now):
            for action in odd_halts(self._record.books(frozenset(), True))[
                1
            ]:  # killed before it could be written
                if isinstance(action, HaltAll):
                    self._stop(action.why, now)

    # ---------------------------------------------------------------- what there is to know
    @property
    def gate(self) -> Gate:
        """Whether anything may be sent."""
        return self._gate

    @property
    def settled(self) -> bool:
        """True while journal and broker's books agree and the connection is there."""
        return self._link and self._watch.settled

    @property
    def halted(self) -> str:
        """Why it is halted, "" if it is not."""
        return self._broken or self._record.halted

    @property
    def reducing(self) -> str:
        """Why only reductions are sent, "" if entries are sent too."""
        return self._record.reducing

    @property
    def halted_instruments(self) -> dict[int, str]:
        """Instruments in which nothing new is begun, with the reason; until a person clears it."""
        return dict(self._counter.halted)

    @property
    def positions(self) -> dict[int, Decimal]:
        """What is ours, by con_id, without what was there before and left alone."""
        return self._record.positions

    @property
    def orders(self) -> tuple[OrderStanding, ...]:
        """How every order stands, oldest first."""
        return tuple(self._record.standings)

    @property
    def unsettled_orders(self) -> tuple[str, ...]:
        """Orders that are not final, by ref."""
        return tuple(standing.ref for standing in self._record.open)

    def intent(self, ref: str) -> Intent:
        """Return what was decided; KeyError for an order that is not ours."""
        return self._record.standings.intent(ref)

    def reason(self, ref: str) -> Reason:
        """Return why it was decided; KeyError for an order that is not ours."""
        return self._record.reasons[ref]

    def purpose(self, ref: str) -> Purpose:
        """Return what it is for; KeyError for an order that is not ours."""
        return self._record.purpose(ref)

    def news(self) -> tuple[News, ...]:
        """Return what happened since the last call: each change of an order exactly once, in order."""
        found, self._news = tuple(self._news), []
        return found

    def next_ref(self) -> str:
        """Return a key for a new ticket."""
        return self._record.next_ref()

    def observe(self, around: Surroundings) -> None:
        """Take what is known of markets, account and machine; it holds until the next call."""
        self._counter.around = around

    # ---------------------------------------------------------------- orders
    def submit(self, tickets: Sequence[Ticket], why: Why, now: int) -> tuple[Answer, ...]:
        """Take orders that were decided together, parents before their children, and send what may be sent now.

        While the gate is closed they wait: entries until `why.expires`, reductions until it opens. A refused order is
        journalled with the reasons. Raises ParameterError for a ticket that no broker could work.
        """
        groups = groups_of(tickets)
        answers: list[Answer] = []
        with self._writing(now):
            for group in groups:
                answers += self._take_in(group, why, now)
            self._settle_news(now)
            self._release(now)
        done = {answer.ref for answer in answers}
        failed = Refusal("journal", f"the journal takes nothing more: {self._broken}")
        return (*answers, *(Answer(t.ref, (failed,)) for group in groups for t in group if t.ref not in done))

    def _take_in(self, tickets: tuple[Ticket, ...], why: Why, now: int) -> list[Answer]:
        tickets = self._counter.rounded(tickets)
        reason, refusals = self._counter.judge(tickets, why, self._gate, now)
        if self._broken:
            return []
        refs = self._record.commit(tickets, reason, self._counter.floor, now)
        reach("decided")
        if refusals:
            for ref in refs:
                self._record.mark(ref, What.NOT_SENT, now, "; ".join(r.text for r in refusals))
            for refusal in refusals:
                if refusal.halts:
                    self._stop(refusal.text, now)
        else:
            self._outbox.add(refs)
        return [Answer(ref, refusals) for ref in refs]

    def cancel(self, ref: str, now: int) -> None:
        """Ask for an order's end; one that is over stays as it is. Asked again until the broker's books show it.

        Raises ParameterError for an order that is not ours.
        """
        if ref not in self._record.standings:
            raise ParameterError("ref", ref, "is no order of this deployment")
        with self._writing(now):
            self._cancel(ref, now, "")
            self._settle_news(now)
            self._release(now)

    def _cancel(self, ref: str, now: int, why: str) -> None:
        if ref in self._outbox.queued:
            self._outbox.drop(ref, why or "cancelled before it was sent", now)
            return
        if self._record.standings[ref].is_final:
            return
        self._record.mark(ref, What.CANCEL_ASKED, now, why)
        if self._link and cancels(self._gate):
            self._outbox.cancel(ref)  # else the next two snapshots show that it is still open

    # ---------------------------------------------------------------- what the broker says
    def take(self, reports: Sequence[Report], now: int) -> None:
        """Take the broker's reports, in any order and however often."""
        with self._writing(now):
            self._record.add_reports(reports, now)
            if any(self._differs(report) for report in reports if isinstance(report, Echo)):
                self._watch.soon(now)
            self._settle_news(now)
            self._release(now)

    def _differs(self, echo: Echo) -> bool:
        known = echo.ref in self._record.standings
        return known and open_echo(echo) and bool(echo_differences(self._record.ticket(echo.ref), echo))

    def on_link(self, event: Link, now: int) -> None:
        """Take what became of the connection. Nothing is sent until two snapshots of the new one agree."""
        with self._writing(now):
            self._linked(event.there, now)
            self._settle_news(now)

    def _linked(self, there: bool, now: int) -> None:
        self._link = there
        self._turn(Turn.LINKED if there else Turn.LOST)
        self._unexplained = None
        self._watch.doubt(now)

    def tick(self, now: int) -> None:
        """Do what is due: unanswered orders, snapshots, limits of loss, what waits. Call it a few times a second."""
        with self._writing(now):
            if self._link:
                self._find_silent(now)
                self._settle_news(now)
                try:
                    snapshot = self._watch.poll(now)
                except BrokerError:
                    snapshot = None  # the session tells of the connection itself
                if snapshot is not None:
                    self._seen(snapshot, now)
            for brake in brakes(self._counter.health(now), self._setup.limits):
                self._stop(brake.reason, now, Stop.HALT if brake.halts else Stop.REDUCE)
            self._settle_news(now)
            self._release(now)

    def _find_silent(self, now: int) -> None:
        queued = self._outbox.queued
        for standing in self._record.open:
            silent = standing.state in SILENT and not standing.perm_ids and standing.ref not in queued
            if silent and now - self._record.trail(standing.ref).last >= self._setup.ack_s * SECOND:
                told = f"no answer from the broker in {self._setup.ack_s:g} s"
                self._record.mark(standing.ref, What.UNKNOWN, now, told)

    # ---------------------------------------------------------------- a person
    def halt(self, reason: str, now: int) -> None:
        """Halt: entries are cancelled, protective orders stay; only `clear` ends it, also after a restart."""
        with self._writing(now):
            self._stop(reason, now)
            self._settle_news(now)

    def reduce(self, reason: str, now: int) -> None:
        """Send only reductions from now on, until `clear`."""
        with self._writing(now):
            self._stop(reason, now, Stop.REDUCE)
            self._settle_news(now)

    def clear(self, who: str, reason: str, now: int) -> None:
        """End all halts, also those of instruments. who: the person. The gate opens once two snapshots agree."""
        with self._writing(now):
            self._record.clear(who, reason, now)
            self._counter.halted.clear()
            self._shown.clear()
            self._unexplained = None
            if self._gate is Gate.HALTED:
                self._turn(Turn.CLEAR)
                self._turn(Turn.LINKED if self._link else Turn.LOST)
            else:
                self._turn(Turn.LIFT)
                self._turn(Turn.DOUBT)
            self._watch.doubt(now)

    def settle(self, ref: str, who: str, why: str, now: int) -> None:
        """Write down that a person found an UNKNOWN order to be over: not filled beyond what executions say."""
        if ref not in self._record.standings or self._record.standings[ref].is_final:
            raise ParameterError("ref", ref, "is no order of this deployment that is still open")
        known = self._record.standings[ref].perm_ids or self._record.standings[ref].filled != 0
        with self._writing(now):
            self._record.mark(ref, What.EXPIRED if known else What.NOT_SENT, now, f"{who}: {why}")
            self._settle_news(now)

    def flatten(self, who: str, now: int) -> tuple[Answer, ...]:
        """Close all that is ours at the market, also while halted; protective orders go once it is flat.

        Refused while journal and broker's books do not agree: then nobody knows what there is to close.
        """
        if not self.settled or not passes(self._gate, Purpose.FLATTEN):
            text = f"the gate is {self._gate}, and what is held is not certain; wait until the books agree"
            return (Answer("", (Refusal("not-settled", text),)),)
        answers: list[Answer] = []
        with self._writing(now):
            for group in self._outbox.groups:
                self._outbox.drop(group[0], f"{who} closes all positions", now)
            self._cancel_entries(now, f"{who} closes all positions", None)
            for con_id, quantity in self._record.positions.items():
                left = quantity + self._counter.leaving(con_id)
                if left * quantity > 0:
                    answers.append(self._close(con_id, -left, f"{who} closes all positions", now))
                self._flattening.add(con_id)
            self._settle_news(now)
            self._release(now)
        return tuple(answers)

    def _close(self, con_id: int, quantity: Decimal, why: str, now: int) -> Answer:
        ticket, reason = self._counter.closing(con_id, quantity, why)
        refs = self._record.commit((ticket,), reason, self._counter.floor, now)
        reach("decided")
        self._outbox.add(refs)
        return Answer(refs[0])

    # ---------------------------------------------------------------- snapshots
    def _seen(self, snapshot: Snapshot, now: int) -> None:
        if not self._watch.settled:
            reach("in_recovery")
        said = (
            snapshot.echoes,
            snapshot.statuses,
            snapshot.completed,
            snapshot.executions,
            snapshot.commissions,
        )
        self._record.add_reports([report for reports in said for report in reports], now)
        self._settle_news(now)
        self._counter.floor = max(self._counter.floor, snapshot.next_order_id)
        policy = self._counter.policy()
        books = self._record.books(self._outbox.queued, self._starting)
        if self._watch.settled:
            outcome = doubts(books, snapshot, policy)
            self._watch.settle(now)
            self._act(outcome, now)
            if outcome.waiting:
                self._doubt(now)
            return
        first, self._watch.before = self._watch.before, snapshot
        self._watch.look_at(max(now, snapshot.asked_at + policy.gap))
        if first is not None:
            self._compared(reconcile(books, first, snapshot, policy), snapshot, now)

    def _compared(self, outcome: Outcome, snapshot: Snapshot, now: int) -> None:
        """Act on what two snapshots say."""
        told = "; ".join(outcome.open_points)
        self._record.add_snapshot(snapshot, AGREED if outcome.agreed else told, now)
        self._act(outcome, now)
        if outcome.agreed:
            self._unexplained = None
            if self._link and self._watch.before is not None:  # no new doubt came of it
                self._starting = False
                self._watch.settle(now)
                self._turn(Turn.AGREED_REDUCING if self._record.reducing else Turn.AGREED)
        elif outcome.steady:
            self._unexplained = now if self._unexplained is None else self._unexplained
            if any(isinstance(action, Resend | Repair | Cancel) for action in outcome.actions):
                self._watch.doubt(now)  # what was sent just now is in neither
            if now - self._unexplained >= self._setup.patience_s * SECOND:
                self._stop(told, now)
                self._watch.look_at(now + round(self._setup.check_s * SECOND))

    def _doubt(self, now: int) -> None:
        if self._watch.settled:
            self._turn(Turn.DOUBT)
            self._watch.doubt(now)

    # ---------------------------------------------------------------- doing
    def _act(self, outcome: Outcome, now: int) -> None:
        for notice in outcome.notices:
            self._alarm(notice.text, now, ref=notice.ref, con_id=notice.con_id)
        for action in outcome.actions:
            self._do(action, now)
        self._settle_news(now)

    def _do(self, action: Action, now: int) -> None:
        match action:
            case Conclude(ref, what, why):
                self._record.mark(ref, what, now, why)
            case Resend(ref, why):
                if self._link and recovers(self._gate):
                    self._send(ref, now, "")
            case Repair(ref, why):
                if self._link and recovers(self._gate):
                    self._send(ref, now, why)
            case Cancel(ref, why):
                self._cancel(ref, now, why)
            case Hold(source, con_id, symbol, quantity, cost, why):
                price = self._counter.price(con_id, cost)
                self._record.hold(source, con_id, symbol, quantity, price, now, why)
                self._counter.symbols[con_id] = symbol
            case Flatten(con_id, symbol, quantity, why):
                self._close(con_id, quantity, why, now)
                self._flattening.add(con_id)
            case HaltInstrument(con_id, why):
                if con_id not in self._counter.halted:
                    self._counter.halted[con_id] = why
                    self._alarm(why, now, stops=True, con_id=con_id)
                    self._cancel_entries(now, why, con_id)
            case HaltAll(why):
                self._stop(why, now)

    def _stop(self, reason: str, now: int, stop: Stop = Stop.HALT) -> None:
        """Halt, or send only reductions. Told once while it holds."""
        held = self._record.halted if stop is Stop.HALT else self._record.halted or self._record.reducing
        if held and (stop is Stop.REDUCE or reason in self._record.halted_for):
            return
        self._record.halt(reason, now, stop)
        self._turn(Turn.HALT if stop is Stop.HALT else Turn.REDUCE)
        self._alarm(reason, now, stops=True)
        self._cancel_entries(now, reason, None)

    def _cancel_entries(self, now: int, why: str, con_id: int | None) -> None:
        """Cancel entries, of one instrument or all; protective orders and reductions stay."""
        for standing in self._record.open:
            ref = standing.ref
            here = con_id is None or self._record.ticket(ref).con_id == con_id
            entry = self._record.purpose(ref) is Purpose.ENTRY
            if here and entry and self._record.trail(ref).cancelled is None:
                self._cancel(ref, now, why)

    def _release(self, now: int) -> None:
        """Send what waits and may go, first in, first out; what came too late is written off."""
        while (group := self._outbox.head()) is not None:
            late = self._counter.too_late(group, self._gate, now)
            if late:
                self._outbox.drop(group[0], late, now)
                self._alarm(f"order {group[0]} was not sent: {late}", now, ref=group[0])
                continue
            free = self._link and passes(self._gate, self._record.purpose(group[0]))
            if not free or self._outbox.on_trial() or not self._send_group(group, now):
                break
        self._settle_news(now)

    def _send_group(self, group: Group, now: int) -> bool:
        """Send an order and its children; False where the connection is gone."""
        self._outbox.pop()
        self._outbox.tried(group)
        for place, ref in enumerate(group):
            sent = self._send(ref, now, "")
            if sent is Sent.NO_LINK and place == 0:
                self._outbox.put_back(group)
            if sent in (Sent.NO_LINK, Sent.UNKNOWN):
                return False  # children left behind are found missing by the next two snapshots
            if sent is Sent.REFUSED:
                self._give_up(group, place, now)
                break
        return True

    def _give_up(self, group: Group, place: int, now: int) -> None:
        """Undo a group of which one order was turned down on this side."""
        refused, out, rest = group[place], group[:place], group[place + 1 :]
        for ref in rest:
            self._record.mark(ref, What.NOT_SENT, now, f"{refused} of its bracket was not sent")
        for ref in out[:1]:
            self._cancel(ref, now, f"{refused}, which was to protect it, was not sent")

    def _send(self, ref: str, now: int, why: str) -> Sent:
        sent = self._outbox.send(ref, now, why)
        if sent is Sent.OUT:
            self._counter.sent(ref, now)
        elif sent is Sent.REFUSED:
            self._alarm(f"order {ref} was not sent: {self._record.standings[ref].reason}", now, ref=ref)
        else:
            self._linked(False, now)
        return sent

    # ---------------------------------------------------------------- consequences
    def _settle_news(self, now: int) -> None:
        """Hand on the changes of orders, and do what follows from each; until nothing follows any more."""
        while self._record.changes:
            change = self._record.changes.pop(0)
            self._news.append(change)
            self._follow(change, now)

    def _follow(self, change: Change, now: int) -> None:
        before, after = change.before, change.after
        con_id = self._record.ticket(after.ref).con_id
        for oddity in sorted(after.oddities - (before.oddities if before is not None else frozenset())):
            text = odd_text(after.ref, oddity)
            self._alarm(text, now, ref=after.ref, con_id=con_id)
            if oddity in HALTING or self._turned_over(before, after, con_id):
                self._stop(text, now)
            if oddity is Oddity.REVIVED and self._record.purpose(after.ref) is Purpose.ENTRY:
                self._cancel(after.ref, now, text)
        if before is not None and after.state is not before.state:
            if after.state is OrderState.UNKNOWN:
                self._doubt(now)
            if after.state is OrderState.REJECTED:
                self._alarm(
                    f"order {after.ref} was rejected: {after.reason}", now, ref=after.ref, con_id=con_id
                )
                self._counter.rejected(after.ref, now)
        if con_id in self._flattening and self._record.position(con_id) == 0:
            self._flattening.discard(con_id)
            for standing in self._record.open:
                if self._record.ticket(standing.ref).con_id == con_id:
                    self._cancel(standing.ref, now, "all positions are closed")

    def _turned_over(self, before: OrderStanding | None, after: OrderStanding, con_id: int) -> bool:
        """Return whether a correction turned a position to the other side."""
        held = self._record.position(con_id)
        was = held - after.filled + (before.filled if before is not None else 0)
        return held * was < 0

    def _turn(self, turn: Turn) -> None:
        self._gate = turned(self._gate, turn)

    def _alarm(self, text: str, now: int, *, stops: bool = False, ref: str = "", con_id: int = 0) -> None:
        if text in self._shown and not stops:
            return
        self._shown.add(text)
        self._news.append(Alarm(now, text, stops, ref, con_id))

    @contextmanager
    def _writing(self, now: int) -> Iterator[None]:
        """Halt where the journal fails: what cannot be written down may not be done."""
        try:
            yield
        except JournalError as e:
            if self._broken:
                return
            self._broken = str(e)
            self._turn(Turn.HALT)
            self._news.append(Alarm(now, self._broken, stops=True))
            for standing in self._record.open:
                if self._link and self._record.purpose(standing.ref) is Purpose.ENTRY:
                    with suppress(BrokerError):
                        self._outbox.cancel(standing.ref)
