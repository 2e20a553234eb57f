"""The order desk of one deployment: decide -> risk -> intent committed -> send -> facts -> state.

The one coordinator of quant/oms. It belongs to the strategy's thread, reads no clock and opens no socket: reports,
times and what is known around it come in, orders go out through a Broker, and what happened is taken by `news`. What
two snapshots mean is decided in reconcile.py, what may be sent in gate.py, risk.py and counter.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from quant.core.orders import Echo, Execution, Position, Report, Ticket
from quant.errors import BrokerError, ParameterError
from quant.oms.desk.brakes import brakes
from quant.oms.desk.closing import Closing
from quant.oms.desk.counter import groups_of
from quant.oms.desk.fitting import Fitting
from quant.oms.desk.floor import Floor
from quant.oms.desk.modifying import Modifying
from quant.oms.desk.protection import Protection
from quant.oms.desk.recovery import Recovery
from quant.oms.desk.setup import Answer, Broker, Link, News, Setup, Surroundings, Why
from quant.oms.failpoints import reach
from quant.oms.gate import Gate, Purpose, Turn, passes
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Intent, Stop, What
from quant.oms.limits import Refusal
from quant.oms.reason import Reason
from quant.oms.reconcile.order_books import echo_differences, open_echo
from quant.oms.reconcile.outcome import HaltAll
from quant.oms.reconcile.reconcile import odd_halts
from quant.oms.state import OrderStanding


class OrderDesk:
    """Takes orders of a strategy and the broker's reports; `begin_run` of the journal comes before it."""

    def __init__(self, journal: Journal, broker: Broker, setup: Setup, now: int) -> None:
        self._floor = floor = Floor(journal, broker, setup)
        self._recovery = Recovery(floor)
        self._closing = Closing(floor)
        self._protection = Protection(floor)
        self._fitting = Fitting(floor)
        self._modifying = Modifying(floor)
        with floor.writing(now):
            books = floor.record.books(frozenset(), True)
            for action in odd_halts(books):  # the last process may have been killed before it halted
                if isinstance(action, HaltAll):
                    floor.stop(action.why, now)

    # ---------------------------------------------------------------- what there is to know
    @property
    def gate(self) -> Gate:
        """Whether anything may be sent."""
        return self._floor.gate

    @property
    def settled(self) -> bool:
        """True while journal and broker's books agree and the connection is there."""
        return self._floor.link and self._floor.watch.settled

    @property
    def _certain(self) -> bool:
        """Whether it is known what there is to close, and it may be."""
        return self.settled and passes(self._floor.gate, Purpose.FLATTEN)

    @property
    def halted(self) -> str:
        """Why it is halted, "" if it is not."""
        return self._floor.broken or self._floor.record.halted

    @property
    def reducing(self) -> str:
        """Why only reductions are sent, "" if entries are sent too."""
        return self._floor.record.reducing

    @property
    def halted_instruments(self) -> dict[int, str]:
        """Instruments in which nothing new is begun, with the reason; until a person clears it."""
        return dict(self._floor.record.halted_instruments)

    @property
    def positions(self) -> dict[int, Decimal]:
        """What is ours, by con_id, without what was there before and left alone."""
        return self._floor.record.positions

    @property
    def closable(self) -> dict[int, Decimal]:
        """What of `positions` the broker is known to hold too, by con_id: orders that close more are refused."""
        record = self._floor.record
        return {con_id: left for con_id in record.positions if (left := record.closable(con_id)) != 0}

    @property
    def orders(self) -> tuple[OrderStanding, ...]:
        """How every order stands, oldest first."""
        return tuple(self._floor.record.standings)

    @property
    def open_orders(self) -> tuple[OrderStanding, ...]:
        """Those that are not final, oldest first; one that came to life again is the last."""
        return self._floor.record.open

    def newest_orders(self) -> Iterator[OrderStanding]:
        """Yield how every order stands, newest first."""
        return reversed(self._floor.record.standings)

    def changed_orders(self, turn: int = 0) -> tuple[list[OrderStanding], int]:
        """Return the orders that have changed since a turn, oldest first, and the turn to ask with next; 0 = all here.

        Of a journal of years only what this process has changed is among them.
        """
        return self._floor.record.changed(turn)

    @property
    def unsettled_orders(self) -> tuple[str, ...]:
        """Orders that are not final, by ref."""
        return tuple(standing.ref for standing in self._floor.record.open)

    def intent(self, ref: str) -> Intent:
        """Return what was decided, as it was last modified; KeyError for an order that is not ours."""
        return self._floor.record.standings.intent(ref)

    def versions(self, ref: str) -> tuple[Intent, ...]:
        """Return an order as it was asked for at first, and at each modification; KeyError where it is not ours."""
        return self._floor.record.standings.versions(ref)

    def reason(self, ref: str) -> Reason:
        """Return why it was decided, or last modified; KeyError for an order that is not ours."""
        return self._floor.record.reasons[ref]

    def purpose(self, ref: str) -> Purpose:
        """Return what it is for; KeyError for an order that is not ours."""
        return self._floor.record.purpose(ref)

    def news(self) -> tuple[News, ...]:
        """Return what happened since the last call: each change of an order exactly once, in order."""
        found, self._floor.news = tuple(self._floor.news), []
        return found

    @property
    def closing(self) -> tuple[str, ...] | None:
        """The orders that the last command to close all came to; None until it was carried out, or without one."""
        return self._closing.decided

    def next_ref(self) -> str:
        """Return a key for a new ticket."""
        return self._floor.record.next_ref()

    def observe(self, around: Surroundings) -> None:
        """Take what is known of markets, account and machine; it holds until the next call."""
        self._floor.counter.around = around

    # ---------------------------------------------------------------- orders
    def submit(self, tickets: Sequence[Ticket], why: Why, now: int) -> tuple[Answer, ...]:
        """Take orders that were decided together, parents before their children, and send what may be sent now.

        While the gate is closed they wait: entries until `why.expires`, reductions until it opens. A refused order is
        journalled with the reasons. Raises ParameterError for a ticket that no broker could work.
        """
        groups = groups_of(tickets)
        answers: list[Answer] = []
        with self._floor.writing(now):
            for group in groups:
                answers += self._take_in(group, why, now)
            self._floor.settle_news(now)
            self._floor.release(now)
        done = {answer.ref for answer in answers}
        failed = Refusal("journal", f"the journal takes nothing more: {self._floor.broken}")
        return (*answers, *(Answer(t.ref, (failed,)) for group in groups for t in group if t.ref not in done))

    def _take_in(self, tickets: tuple[Ticket, ...], why: Why, now: int) -> list[Answer]:
        tickets = self._floor.counter.rounded(tickets)
        reason, refusals = self._floor.counter.judge(tickets, why, self._floor.gate, now)
        if self._floor.broken:
            return []
        refs = self._floor.record.commit(tickets, reason, self._floor.counter.floor, now)
        reach("decided")
        if refusals:
            for ref in refs:
                self._floor.record.mark(ref, What.NOT_SENT, now, "; ".join(r.text for r in refusals))
            for refusal in refusals:
                if refusal.halts:
                    self._floor.stop(refusal.text, now)
        else:
            self._floor.outbox.add(refs)
        return [Answer(ref, refusals) for ref in refs]

    def modify(self, tickets: Sequence[Ticket], why: Why, now: int) -> Answer:
        """Give exits that TWS works other prices, where they lie; a ticket's ref says which. All of them or none.

        Refused where it is not certain how TWS has them: then the asker cancels them and sends others. The answer is
        the last one's. Raises ParameterError for a ticket that no broker could work.
        """
        refused = "the journal takes nothing more"
        with self._floor.writing(now):
            refused = self._modifying.modify(tickets, why, now)
            self._floor.settle_news(now)
        ref = tickets[-1].ref
        return Answer(ref, (Refusal("not-modified", refused),)) if refused else Answer(ref)

    def cancel(self, ref: str, now: int, why: str = "") -> Answer:
        """Ask for an order's end; one that is over stays as it is. Asked again until the broker's books show it.

        A protective order of what is held stays while the gate is not open, since no other could take its place.
        Raises ParameterError for an order that is not ours.
        """
        if ref not in self._floor.record.standings:
            raise ParameterError("ref", ref, "is no order of this deployment")
        guards = (
            self._floor.record.purpose(ref) is Purpose.PROTECTION and ref not in self._floor.outbox.queued
        )
        held = self._floor.record.closable(self._floor.record.ticket(ref).con_id) != 0
        if guards and held and not passes(self._floor.gate, Purpose.PROTECTION):
            text = f"the gate is {self._floor.gate}: what protects a position stays"
            return Answer(ref, (Refusal("protected", text),))
        with self._floor.writing(now):
            self._floor.cancel(ref, now, why)
            self._floor.settle_news(now)
            self._floor.release(now)
        return Answer(ref)

    # ---------------------------------------------------------------- what the broker says
    def take(self, reports: Sequence[Report | Position], now: int) -> None:
        """Take the broker's reports, in any order and however often."""
        facts = [report for report in reports if not isinstance(report, Position)]
        with self._floor.writing(now):
            new = self._floor.record.add_reports(facts, now)
            self._modifying.take(facts, now)
            for held in reports if len(facts) < len(reports) else ():
                if isinstance(held, Position) and held.account == self._floor.record.account:
                    self._floor.watch.tell(held.con_id, held.quantity, now)
            if any(self._calls_for_a_look(report) for report in new):
                self._floor.watch.soon(now)
            self._floor.settle_news(now)
            self._floor.release(now)

    def _calls_for_a_look(self, report: Report) -> bool:
        """Return whether an order of ours is not as asked, or somebody else's is in one of our instruments.

        Only what is new counts: a snapshot tells all of it again.
        """
        record = self._floor.record
        if not isinstance(report, Echo | Execution) or report.account != record.account:
            return False
        if report.ref not in record.standings:
            return report.con_id in self._floor.setup.instruments
        if not isinstance(report, Echo) or not open_echo(report):
            return False
        return bool(echo_differences(record.ticket(report.ref), report))

    def on_link(self, event: Link, now: int) -> None:
        """Take what became of the connection. Nothing is sent until two snapshots of the new one agree."""
        with self._floor.writing(now):
            self._floor.linked(event.there, now)
            self._recovery.unexplained = None
            self._floor.settle_news(now)

    def tick(self, now: int) -> None:
        """Do what is due: unanswered orders, snapshots, limits of loss, what waits. Call it a few times a second."""
        with self._floor.writing(now):
            if self._floor.link:
                self._floor.find_silent(now)
                self._modifying.look(now)
                self._floor.settle_news(now)
                self._floor.watch.compare(self._floor.record.at_broker, now)
                try:
                    snapshot = self._floor.watch.poll(now)
                except BrokerError:
                    snapshot = None  # the session tells of the connection itself
                if snapshot is not None:
                    self._recovery.seen(snapshot, now)
                self._recovery.tell_stall(now)
            for brake in brakes(self._floor.counter.health(now), self._floor.setup.limits):
                self._floor.stop(brake.reason, now, Stop.HALT if brake.halts else Stop.REDUCE)
            self._floor.settle_news(now)
            if self._certain:
                self._closing.go_on(now)
                self._protection.look(now)
                self._fitting.look(now)
                self._floor.settle_news(now)
            self._floor.release(now)

    # ---------------------------------------------------------------- a person
    def halt(self, reason: str, now: int) -> None:
        """Halt: entries are cancelled, protective orders stay; only `clear` ends it, also after a restart."""
        with self._floor.writing(now):
            self._floor.stop(reason, now)
            self._floor.settle_news(now)

    def reduce(self, reason: str, now: int) -> None:
        """Send only reductions from now on, until `clear`."""
        with self._floor.writing(now):
            self._floor.stop(reason, now, Stop.REDUCE)
            self._floor.settle_news(now)

    def clear(self, who: str, reason: str, now: int) -> None:
        """End all halts, also those of instruments. who: the person. The gate opens once two snapshots agree."""
        with self._floor.writing(now):
            self._floor.record.clear(who, reason, now)
            self._floor.shown.clear()
            self._recovery.unexplained = None
            if self._floor.gate is Gate.HALTED:
                self._floor.turn(Turn.CLEAR)
                self._floor.turn(Turn.LINKED if self._floor.link else Turn.LOST)
            else:
                self._floor.turn(Turn.LIFT)
                self._floor.turn(Turn.DOUBT)
            self._floor.watch.doubt(now)

    def settle(self, ref: str, who: str, why: str, now: int) -> None:
        """Write down that a person found an UNKNOWN order to be over: not filled beyond what executions say."""
        if ref not in self._floor.record.standings or self._floor.record.standings[ref].is_final:
            raise ParameterError("ref", ref, "is no order of this deployment that is still open")
        known = self._floor.record.standings[ref].perm_ids or self._floor.record.standings[ref].filled != 0
        with self._floor.writing(now):
            self._floor.record.mark(ref, What.EXPIRED if known else What.NOT_SENT, now, f"{who}: {why}")
            self._floor.settle_news(now)

    def flatten(self, who: str, now: int) -> tuple[Answer, ...]:
        """Close all that is ours at the market, also while halted; protective orders go once it is flat.

        By `tick`, as soon as the broker's books have been read once more: of what a person has closed by hand since,
        an order of ours would open a position. The answer has no ref; `closing` gives the orders. Refused while journal
        and broker's books do not agree: then nobody knows what there is to close. The command is journalled first, and
        carried out when they do, in this process or the next, until a person clears it.
        """
        with self._floor.writing(now):
            self._closing.ask(f"{who} closes all positions", now)
        if self._floor.broken or not self._certain:
            text = f"the gate is {self._floor.gate}, and what is held is not certain; wait until it is"
            return (Answer("", (Refusal("not-settled", self._floor.broken or text),)),)
        return (Answer(""),)
