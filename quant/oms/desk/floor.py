"""What every part of the desk works on: gate, journal, queue, counter; and what may be done with them, one thing each.

Each method assumes that the caller has the journal open for writing (`writing`), and does nothing but what its name
says and what must follow from it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import takewhile

from quant.errors import BrokerError, JournalError
from quant.oms.desk.counter import Counter
from quant.oms.desk.outbox import Group, Outbox, Sent
from quant.oms.desk.record import Record
from quant.oms.desk.setup import Alarm, Broker, Change, News, Setup
from quant.oms.desk.watch import Watch
from quant.oms.failpoints import reach
from quant.oms.gate import Gate, Purpose, Turn, cancels, passes, turned
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Stop, What
from quant.oms.limits import SECOND
from quant.oms.reconcile.reconcile import HALTING, odd_text
from quant.oms.state import Oddity, OrderStanding, OrderState

# Not proven to be at the broker, though they were decided.
SILENT = (OrderState.DECIDED, OrderState.SENT)
IN_PLACE = "in place of "  # how the reason of an order begins that was placed for a lost one


class Floor:
    """The state of a desk. link: IB can be reached. broken: why the journal takes nothing more, "" while it does.

    flattening: instruments being closed by orders of this process. news: not yet taken. shown: alarms told so far.
    suspects: instruments in which an entry or an exit has ended, so that what is held may be without protection.
    shrunk: instruments of which less is held than before, so that exits may be too large together.
    revived: orders that are over by the journal and work by the broker's books, and stay as they protect what is held.
    """

    def __init__(self, journal: Journal, broker: Broker, setup: Setup) -> None:
        self.setup = setup
        self.record = Record(journal, setup)
        self.outbox = Outbox(self.record, broker, setup.client_id)
        self.watch = Watch(broker, setup)
        self.counter = Counter(self.record, setup)
        self.gate = turned(Gate.CLOSED, Turn.HALT) if self.record.halted else Gate.CLOSED
        self.link = False
        self.broken = ""
        self.flattening: set[int] = set()
        self.suspects: set[int] = set()
        self.shrunk: set[int] = set()
        self.revived: set[str] = set()
        self.shown: set[str] = set()
        self.news: list[News] = []

    # ---------------------------------------------------------------- gate
    def turn(self, turn: Turn) -> None:
        """Move the gate."""
        self.gate = turned(self.gate, turn)

    def linked(self, there: bool, now: int) -> None:
        """Take whether IB can be reached; all that was agreed before is in doubt."""
        self.link = there
        self.turn(Turn.LINKED if there else Turn.LOST)
        self.watch.linked(now)
        if there:
            self._resume_stops(now)

    def doubt(self, now: int) -> None:
        """Close the gate until two snapshots agree again."""
        if self.watch.settled:
            self.turn(Turn.DOUBT)
            self.watch.doubt(now)

    def stop(self, reason: str, now: int, kind: Stop = Stop.HALT) -> None:
        """Halt, or send only reductions. Told once while it holds."""
        held = self.record.halted if kind is Stop.HALT else self.record.halted or self.record.reducing
        if held and (kind is Stop.REDUCE or reason in self.record.halted_for):
            return
        self.record.halt(reason, now, kind)
        self.turn(Turn.HALT if kind is Stop.HALT else Turn.REDUCE)
        self.alarm(reason, now, stops=True)
        self.cancel_entries(now, reason, None)

    def _resume_stops(self, now: int) -> None:
        """Cancel what stops in the journal are to have cancelled: the last process may have been killed between."""
        reason = self.record.halted or self.record.reducing
        if reason:
            self.cancel_entries(now, reason, None)
        for con_id, why in self.record.halted_instruments.items():
            self.cancel_entries(now, why, con_id)

    def cancel_entries(self, now: int, why: str, con_id: int | None) -> None:
        """Cancel entries, of one instrument or all; protective orders and reductions stay."""
        for standing in self.record.open:
            ref = standing.ref
            here = con_id is None or self.record.ticket(ref).con_id == con_id
            entry = self.record.purpose(ref) is Purpose.ENTRY
            if here and entry and self.record.trail(ref).cancelled is None:
                self.cancel(ref, now, why)

    def halt_instrument(self, con_id: int, why: str, now: int) -> None:
        """Begin nothing new in one instrument."""
        if con_id not in self.record.halted_instruments:
            self.record.halt_instrument(con_id, why, now)
            self.alarm(why, now, stops=True, con_id=con_id)
            self.cancel_entries(now, why, con_id)

    # ---------------------------------------------------------------- orders
    def cancel(self, ref: str, now: int, why: str) -> None:
        """Ask for an order's end, or never send it; one that is over stays as it is."""
        if ref in self.outbox.queued or not self.record.standings[ref].is_final:
            self.end(ref, now, why)

    def end(self, ref: str, now: int, why: str) -> None:
        """Do the same even where the journal has it over: the broker's books may show it working again (row O6)."""
        if ref in self.outbox.queued:
            self.outbox.drop(ref, why or "cancelled before it was sent", now)
            return
        self.record.mark(ref, What.CANCEL_ASKED, now, why)
        if self.link and cancels(self.gate):
            self.outbox.cancel(ref)  # else the next two snapshots show that it is still open

    def close(self, con_id: int, quantity: Decimal, why: str, now: int) -> str:
        """Decide an order that closes so much by a person's command, and return its ref."""
        ticket, reason = self.counter.closing(con_id, quantity, why)
        refs = self.record.commit((ticket,), reason, self.counter.floor, now)
        reach("decided")
        self.outbox.add(refs)
        return refs[0]

    def release(self, now: int) -> None:
        """Send what waits and may go, first in, first out; what came too late is written off."""
        while (group := self.outbox.head()) is not None:
            late = self.counter.too_late(group, self.gate, now)
            if late:
                self.outbox.drop(group[0], late, now)
                self.alarm(f"order {group[0]} was not sent: {late}", now, ref=group[0])
                continue
            free = self.link and passes(self.gate, self.record.purpose(group[0]))
            waits = self.outbox.on_trial() or self._unclear(group[0], now)
            if not free or waits or not self._send_group(group, now):
                break
        self.settle_news(now)

    def _unclear(self, ref: str, now: int) -> bool:
        """Return whether an order waits for executions: the broker has told that another one filled on its side.

        What that leaves to close is known with them. As a rule they come a moment after; else the books are read.
        """
        if self.record.purpose(ref) not in (Purpose.REDUCTION, Purpose.FLATTEN):
            return False
        ticket, due = self.record.ticket(ref), self.record.standings.intent(ref).at + SECOND
        owing = (self.record.ticket(s.ref) for s in self.record.open if s.owed > 0)
        if not any(t.con_id == ticket.con_id and t.quantity * ticket.quantity > 0 for t in owing):
            return False
        if self.watch.read < due <= now:
            self.watch.soon(due)
        return True

    def _send_group(self, group: Group, now: int) -> bool:
        """Send an order and its children; False where the connection is gone."""
        self._yield_to(group[0], now)
        self.outbox.pop()
        self.outbox.tried(group)
        for place, ref in enumerate(group):
            sent = self.send(ref, now, "")
            if sent is Sent.NO_LINK and place == 0:
                self.outbox.put_back(group)
            if sent in (Sent.NO_LINK, Sent.UNKNOWN):
                return False  # children left behind are found missing by the next two snapshots
            if sent is Sent.REFUSED:
                self._give_up(group, place, now)
                break
        return True

    def _yield_to(self, ref: str, now: int) -> None:
        """Cancel what was placed for a lost exit, as the strategy sees to the position itself."""
        if self.record.reasons[ref].text.startswith(IN_PLACE):
            return
        if self.record.purpose(ref) not in (Purpose.REDUCTION, Purpose.PROTECTION):
            return
        self._end_revived(self.record.ticket(ref).con_id, now, f"{ref} takes its place")
        for standing in self.record.open:
            same = self.record.ticket(standing.ref).con_id == self.record.ticket(ref).con_id
            if same and self.record.reasons[standing.ref].text.startswith(IN_PLACE):
                self.cancel(standing.ref, now, f"{ref} takes its place")

    def _end_revived(self, con_id: int, now: int, why: str) -> None:
        for ref in sorted(self.revived):
            if self.record.ticket(ref).con_id == con_id:
                self.revived.discard(ref)
                self.end(ref, now, why)  # again, where it was asked for before it came to life

    def _give_up(self, group: Group, place: int, now: int) -> None:
        """Undo a group of which one order was turned down on this side."""
        refused, out, rest = group[place], group[:place], group[place + 1 :]
        for ref in rest:
            self.record.mark(ref, What.NOT_SENT, now, f"{refused} of its bracket was not sent")
        for ref in out[:1]:
            self.cancel(ref, now, f"{refused}, which was to protect it, was not sent")

    def send(
        self, ref: str, now: int, why: str, *, again: bool = False, quantity: Decimal | None = None
    ) -> Sent:
        """Send a journalled order; says what that was for the rates, the gate and a person.

        again, quantity: as Outbox.send.
        """
        ticket, filled = self.record.ticket(ref), self.record.standings[ref].filled
        aim, waiting = self.record.purpose(ref), self.outbox.queued | {ref}
        left = (ticket.quantity if quantity is None else quantity) - filled
        opens = self.counter.opens(ticket, left, aim, waiting)
        if opens:
            self.outbox.refusal = opens
            if self.record.trail(ref).sends == 0:
                self.record.mark(ref, What.NOT_SENT, now, opens)
            self.alarm(f"order {ref} was not sent: {opens}", now, ref=ref)
            return Sent.REFUSED
        sent = self.outbox.send(ref, now, why, again=again, quantity=quantity)
        if sent in (Sent.OUT, Sent.UNKNOWN):
            self.counter.sent(ref, now)
        if sent in (Sent.NO_LINK, Sent.UNKNOWN):
            self.linked(False, now)
        if sent is Sent.REFUSED:
            self.alarm(f"order {ref} was not sent: {self.outbox.refusal}", now, ref=ref)
        return sent

    def find_silent(self, now: int) -> None:
        """Mark as unknown what had no answer in time, and look soon where a cancel was not confirmed."""
        queued = self.outbox.queued
        patience = round(self.setup.policy.cancel_s * SECOND)
        for standing in self.record.open:
            asked = self.record.trail(standing.ref).cancelled
            if asked is not None and self.watch.settled and self.watch.read < asked + patience <= now:
                self.watch.soon(asked + patience)  # TWS does not always tell a status
            silent = standing.state in SILENT and not standing.perm_ids and standing.ref not in queued
            if silent and now - self.record.trail(standing.ref).last >= self.setup.ack_s * SECOND:
                told = f"no answer from the broker in {self.setup.ack_s:g} s"
                self.record.mark(standing.ref, What.UNKNOWN, now, told)

    # ---------------------------------------------------------------- consequences
    def settle_news(self, now: int) -> None:
        """Hand on the changes of orders, and do what follows from each; until nothing follows any more."""
        while self.record.changes:
            change = self.record.changes.pop(0)
            self.news.append(change)
            self._follow(change, now)

    def _follow(self, change: Change, now: int) -> None:
        before, after = change.before, change.after
        con_id = self.record.ticket(after.ref).con_id
        for oddity in sorted(after.oddities - (before.oddities if before is not None else frozenset())):
            text = odd_text(after.ref, oddity)
            self.alarm(text, now, ref=after.ref, con_id=con_id)
            if oddity in HALTING or self._turned_over(before, after, con_id):
                self.stop(text, now)
            if oddity is Oddity.REVIVED and self.record.purpose(after.ref) is Purpose.ENTRY:
                self.cancel(after.ref, now, text)
        if before is not None and after.state is not before.state:
            if after.state is OrderState.UNKNOWN:
                self.doubt(now)
            if after.state is OrderState.REJECTED:
                self.alarm(
                    f"order {after.ref} was rejected: {after.reason}", now, ref=after.ref, con_id=con_id
                )
                self.counter.rejected(after.ref, now)
        if after.is_final and self.record.purpose(after.ref) in (Purpose.ENTRY, Purpose.PROTECTION):
            self.suspects.add(con_id)
        if before is not None and after.filled != before.filled:
            if self.record.closable(con_id) == 0:
                self._flat(con_id, now)
            elif (after.filled - before.filled) * self.record.closable(con_id) < 0:
                self.shrunk.add(con_id)

    def _flat(self, con_id: int, now: int) -> None:
        """Cancel what can only open a position again: all exits; by a person's command all orders."""
        self._end_revived(con_id, now, "what it protected is not held any more")
        every = con_id in self.flattening
        self.flattening.discard(con_id)
        turning = {s.ref: s.remaining for s in self.record.open if self._turns_round(s.ref, con_id)}
        for standing in self.record.open:
            ticket = self.record.ticket(standing.ref)
            waits = (
                ticket.parent in self.record.standings and not self.record.standings[ticket.parent].is_final
            )
            # What guards the other side will have something to guard as soon as that is there.
            kept = standing.ref in turning or any(standing.remaining * left < 0 for left in turning.values())
            exits = self.record.purpose(standing.ref) is not Purpose.ENTRY and not waits and not kept
            if (
                ticket.con_id == con_id
                and (every or exits)
                and self.record.trail(standing.ref).cancelled is None
            ):
                self.cancel(standing.ref, now, f"no {ticket.symbol} is held any more")

    def _turns_round(self, ref: str, con_id: int) -> bool:
        """Return whether an order at the market is half of a reversal, and an entry behind it the other half.

        They fill in any order and in parts: nothing may be held in between.
        """
        ticket, record = self.record.ticket(ref), self.record
        if (
            ticket.con_id != con_id
            or record.purpose(ref) is not Purpose.REDUCTION
            or ticket.limit is not None
        ):
            return False
        later = takewhile(lambda intent: intent.ref != ref, record.newest(con_id))
        entries = (i for i in later if record.purpose(i.ref) is Purpose.ENTRY)
        same = (record.standings[i.ref] for i in entries if i.ticket.quantity * ticket.quantity > 0)
        return any(not s.is_final or s.filled != 0 for s in same)

    def _turned_over(self, before: OrderStanding | None, after: OrderStanding, con_id: int) -> bool:
        """Return whether a correction turned a position to the other side."""
        held = self.record.position(con_id)
        was = held - after.filled + (before.filled if before is not None else 0)
        return held * was < 0

    def alarm(
        self, text: str, now: int, *, stops: bool = False, ref: str = "", con_id: int = 0, bare: bool = False
    ) -> None:  # fmt: skip
        """Tell a person, once until somebody clears the halts."""
        if text in self.shown and not stops:
            return
        self.shown.add(text)
        self.news.append(Alarm(now, text, stops, ref, con_id, bare))

    @contextmanager
    def writing(self, now: int) -> Iterator[None]:
        """Halt where the journal fails: what cannot be written down may not be done."""
        try:
            yield
        except JournalError as e:
            if self.broken:
                return
            self.broken = str(e)
            self.turn(Turn.HALT)
            self.news.append(Alarm(now, self.broken, stops=True))
            for standing in self.record.open:
                if self.link and self.record.purpose(standing.ref) is Purpose.ENTRY:
                    with suppress(BrokerError):
                        self.outbox.cancel(standing.ref)
