"""The journal, and what follows from it in memory: each record is on the disk before anything here knows it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import takewhile

from quant.core.orders import Report, Snapshot, Ticket
from quant.oms.desk.setup import Change, Setup
from quant.oms.desk.standings import Standings
from quant.oms.gate import Purpose
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Intent, Mark, Source, Stop, What
from quant.oms.limits import SECOND
from quant.oms.reason import Reason, reason_of
from quant.oms.reconcile.outcome import Books, Order, Orders, Trail, trail
from quant.oms.risk import common
from quant.oms.state import OrderStanding, same

FLAT = "all is closed"  # who ends the intent to close, where it is done
AGREED = "agreed"  # how the record of a snapshot begins with which the books agreed
KEPT_NS = 120 * SECOND  # of the past of a position: more than it takes to read the broker's books


class Record:
    """Our orders, as the journal has them. Only this object writes to the journal."""

    def __init__(self, journal: Journal, setup: Setup) -> None:
        self._journal = journal
        self._setup = setup
        ledger = journal.load()
        self.standings = Standings(ledger)
        self._cleared = max((h.number for h in ledger.halts if h.who and h.who != FLAT), default=0)
        self._trails = {i.ref: self._trail(i.ref) for i in ledger.intents}
        self._intents = {i.ref: self.standings.intent(i.ref) for i in ledger.intents}
        self.reasons: dict[str, Reason] = {i.ref: reason_of(i) for i in self._intents.values()}
        self._stale = dict.fromkeys(
            i.ref for i in ledger.intents
        )  # what `_orders` does not have, or otherwise
        self._orders = Orders()
        self._holdings = list(ledger.holdings)
        self.halted = "" if ledger.halted is None else ledger.halted.reason
        self.reducing = "" if ledger.reducing is None else ledger.reducing.reason
        self.halted_for = {h.reason for h in ledger.halts if not h.who and h.stop in (Stop.HALT, Stop.REDUCE)}
        self.halted_instruments = ledger.by_instrument(Stop.INSTRUMENT)
        self.flattening = ledger.by_instrument(Stop.FLATTEN)
        self.astray: dict[int, Decimal] = {}  # what the broker has beyond ours, by the newest snapshots
        self.agreed_at = next((s.answered_at for s in ledger.snapshots if s.found.startswith(AGREED)), None)
        self.changes: list[Change] = []  # until the desk takes them
        self._told = {standing.ref: standing for standing in self.standings}  # as last told
        self._open = {standing.ref: standing for standing in self.standings.open}
        self._since: dict[str, int] = {}
        self._turns: dict[str, int] = {}  # the number of each order's last change in this process, rising
        self._turn = 0
        self._positions: dict[int, Decimal] = defaultdict(Decimal)
        self._were: dict[int, deque[tuple[int, Decimal]]] = defaultdict(
            deque
        )  # until when it was another one
        for standing in self.standings:
            self._positions[self.ticket(standing.ref).con_id] += standing.filled
        for holding in ledger.holdings:
            if holding.source is not Source.BASELINE:
                self._positions[holding.con_id] += holding.quantity

    # ---------------------------------------------------------------- reading
    @property
    def account(self) -> str:
        """The account that the journal belongs to."""
        return self._journal.account

    def ticket(self, ref: str) -> Ticket:
        """Return what was asked for last; KeyError for an order not ours."""
        return self.standings.intent(ref).ticket

    def order_id(self, ref: str) -> int:
        """Return the id under which it goes out, the same each time."""
        return self.standings.intent(ref).order_id

    def purpose(self, ref: str) -> Purpose:
        """Return what it is for."""
        return self.reasons[ref].purpose

    def trail(self, ref: str) -> Trail:
        """Return what was done with it."""
        return self._trails[ref]

    def _trail(self, ref: str) -> Trail:
        return trail(self.standings.intent(ref), self.standings.marks(ref), self._cleared)

    def marks(self, ref: str) -> tuple[Mark, ...]:
        """Return what was done with it, as of Standings."""
        return self.standings.marks(ref)

    def newest(self, con_id: int) -> Iterator[Intent]:
        """Yield what was decided in an instrument, newest first."""
        return (i for i in reversed(self._intents.values()) if i.ticket.con_id == con_id)

    def position(self, con_id: int) -> Decimal:
        """Return what is ours of an instrument, without a baseline."""
        return self._positions.get(con_id, Decimal(0))

    def closable(self, con_id: int) -> Decimal:
        """Return what of ours the broker is known to hold too: all that may be closed without opening a position."""
        own = self.position(con_id)
        return common(own, own + self.astray[con_id]) if con_id in self.astray else own

    def at_broker(self, con_id: int) -> Decimal:
        """Return what the broker is to have: ours, what was left alone, and what it had beyond it when last read."""
        base = (h.quantity for h in self._holdings if h.con_id == con_id and h.source is Source.BASELINE)
        return sum(base, self.position(con_id) + self.astray.get(con_id, 0))

    @property
    def positions(self) -> dict[int, Decimal]:
        """What is ours, by instrument; without those of which nothing is held."""
        return {con_id: quantity for con_id, quantity in self._positions.items() if quantity != 0}

    @property
    def idle(self) -> bool:
        """True while nothing is held and nothing works."""
        return not self._open and not any(self._positions.values())

    @property
    def open(self) -> tuple[OrderStanding, ...]:
        """Orders that are not final."""
        return tuple(self._open.values())

    def intents(self) -> Iterator[Intent]:
        """Yield all that was ever decided, oldest first."""
        yield from self._intents.values()

    def _lately(self, since: int) -> dict[int, tuple[Decimal, Decimal]]:
        """Return the least and the most that was ours since a moment, of instruments of which it changed."""
        found = {}
        for con_id, before in self._were.items():
            held = [quantity for until, quantity in before if until >= since]
            if held:
                held.append(self._positions[con_id])
                found[con_id] = min(held), max(held)
        return found

    def changed(self, turn: int) -> tuple[list[OrderStanding], int]:
        """Return the orders that have changed since the turn that was returned before, oldest first, and the next."""
        refs = takewhile(lambda ref: self._turns[ref] > turn, reversed(self._turns))
        return [self.standings[ref] for ref in sorted(refs, key=self._number)], self._turn

    def _number(self, ref: str) -> int:
        return self.standings.intent(ref).number

    def _note_turn(self, ref: str) -> None:
        self._turn += 1
        self._turns.pop(ref, None)
        self._turns[ref] = self._turn

    def books(
        self, queued: frozenset[str], starting: bool, lasting: bool = False, since: int | None = None
    ) -> Books:
        """Return what reconciliation compares with the broker's books. starting, lasting: as of Books.

        since: from when on fills of ours may be in neither book or in one of them.
        """
        for ref in self._stale:  # of most orders nothing is new
            intent, standing = self.standings.intent(ref), self.standings[ref]
            self._orders.put(Order(intent, standing, self._trails[ref], self._since.get(ref, 0)))
        self._stale.clear()
        return Books(
            deployment=self._journal.deployment, account=self._journal.account, client_id=self._setup.client_id,
            instruments=self._setup.instruments, orders=self._orders, holdings=tuple(self._holdings), queued=queued,
            halted_for=frozenset(self.halted_for), agreed_at=self.agreed_at, starting=starting,
            halted=bool(self.halted),
            flattening=frozenset(self.flattening), lasting=lasting,
            lately={} if since is None else self._lately(since),
        )  # fmt: skip

    # ---------------------------------------------------------------- writing
    def next_ref(self) -> str:
        """Return a key that no order has or had."""
        return self._journal.next_ref()

    def commit(self, tickets: Sequence[Ticket], reason: Reason, floor: int, now: int) -> tuple[str, ...]:
        """Write intents of one group, parents first, and return their refs. floor: the broker's next order id."""
        ids = [self._journal.next_order_id(floor) for _ in tickets]
        intents = self._journal.add_intents(list(zip(tickets, ids, strict=True)), now, str(reason))
        for intent in intents:
            self.reasons[intent.ref] = reason_of(intent)
            self._intents[intent.ref] = intent
            self._stale[intent.ref] = None
            self._trails[intent.ref] = trail(intent, (), self._cleared)
            self._told[intent.ref] = self.standings.add_intent(intent)
            self._open[intent.ref] = self._told[intent.ref]
            self._note_turn(intent.ref)
            self.changes.append(Change(None, self._told[intent.ref]))
        return tuple(intent.ref for intent in intents)

    def modify(self, wanted: Sequence[tuple[Ticket, Reason]], now: int) -> None:
        """Write how orders of ours are asked for from now on, and on which bar that was decided: all or none."""
        orders = [(ticket.ref, str(reason), ticket) for ticket, reason in wanted]
        for mark in self._journal.add_marks(orders, What.MODIFIED, now):
            self._take(mark, now)
            self._intents[mark.ref] = intent = self.standings.intent(mark.ref)
            self.reasons[mark.ref] = reason_of(intent)
            self._note_turn(mark.ref)

    def mark(self, ref: str, what: What, now: int, why: str = "") -> None:
        """Write what was done with an order or concluded about it."""
        self._take(self._journal.mark(ref, what, now, why), now)

    def _take(self, mark: Mark, now: int) -> None:
        ref = mark.ref
        self._stale[ref] = None
        after = self.standings.add_mark(mark)
        self._trails[ref] = self._trail(ref)
        if not same(self._told[ref], after):
            self._changed(after, now)

    def add_reports(self, reports: Sequence[Report], now: int) -> tuple[Report, ...]:
        """Write what the broker said and return what was new of it; what is known already changes nothing."""
        new = tuple(fact.report for fact in self._journal.add_reports(reports, now))
        for after in self.standings.add_reports(new):
            self._changed(after, now)
        return new

    def add_snapshot(self, snapshot: Snapshot, found: str, now: int) -> None:
        """Write that a snapshot was seen and what came of it."""
        record = self._journal.add_snapshot(snapshot, found, now)
        if self.agreed_at is None and found.startswith(AGREED):
            self.agreed_at = record.answered_at

    def hold(
        self, source: Source, con_id: int, symbol: str, quantity: Decimal, price: float | None, now: int, why: str
    ) -> None:  # fmt: skip
        """Write down a holding that no order of ours made."""
        holding = self._journal.add_holding(source, con_id, symbol, quantity, price, now, why)
        self._holdings.append(holding)
        if source is not Source.BASELINE:
            self._positions[con_id] += quantity

    def halt(self, reason: str, now: int, stop: Stop) -> None:
        """Write a stop down; it outlasts this process."""
        self._journal.halt(reason, now, stop)
        self.halted_for.add(reason)
        if stop is Stop.HALT:
            self.halted = self.halted or reason
        else:
            self.reducing = self.reducing or reason

    def clear(self, who: str, reason: str, now: int) -> None:
        """Write that a person has looked; ends all stops, and what was given up may be put right again."""
        self._cleared = max(self._journal.clear_halt(who, reason, now, stop).number for stop in Stop)
        for ref in self._trails:
            self._trails[ref] = self._trail(ref)
            self._stale[ref] = None
        self.halted = self.reducing = ""
        self.halted_instruments.clear()
        self.flattening.clear()

    def halt_instrument(self, con_id: int, reason: str, now: int) -> None:
        """Write down that nothing new is begun in an instrument; it outlasts this process."""
        self._journal.halt(reason, now, Stop.INSTRUMENT, con_id=con_id)
        self.halted_instruments[con_id] = reason

    def flatten(self, con_id: int, reason: str, now: int) -> None:
        """Write down that an instrument, or all of them (0), is to be closed; it outlasts this process."""
        if con_id not in self.flattening:
            self._journal.halt(reason, now, Stop.FLATTEN, con_id=con_id)
            self.flattening[con_id] = reason

    def flat(self, con_id: int, now: int) -> None:
        """Write down that what was to be closed is."""
        self._journal.clear_halt(FLAT, self.flattening.pop(con_id), now, Stop.FLATTEN, con_id=con_id)

    def _changed(self, after: OrderStanding, now: int) -> None:
        before = self._told[after.ref]
        con_id, filled = self.ticket(after.ref).con_id, after.filled - before.filled
        if filled != 0:
            were = self._were[con_id]
            were.append((now, self._positions[con_id]))
            while were[0][0] < now - KEPT_NS:
                were.popleft()
            self._positions[con_id] += filled
        self._told[after.ref] = after
        self._since[after.ref] = now
        self._note_turn(after.ref)
        self._stale[after.ref] = None
        if after.is_final:
            self._open.pop(after.ref, None)
        else:
            self._open[after.ref] = after  # at its old place, or at the end if it came to life again
        self.changes.append(Change(before, after))
