"""What the desk knows around an order when it judges one: markets, what works, what was sent when. Sends nothing."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence, Set
from dataclasses import replace
from decimal import Decimal

from quant.core.orders import Ticket
from quant.errors import ParameterError
from quant.oms.desk.brakes import Health
from quant.oms.desk.outbox import Group
from quant.oms.desk.record import Record
from quant.oms.desk.setup import Setup, Surroundings, Why
from quant.oms.gate import Gate, Purpose, passes
from quant.oms.limits import MINUTE, SECOND, Context, Refusal, Working
from quant.oms.reason import Reason
from quant.oms.reconcile.outcome import Policy
from quant.oms.reconcile.position_books import MEND
from quant.oms.risk import check_ticket, closes, purpose, refusals, rounded

DAY = 24 * 60 * MINUTE


def groups_of(tickets: Sequence[Ticket]) -> tuple[tuple[Ticket, ...], ...]:
    """Return tickets with their children behind them, in the order of the parents.

    Raises ParameterError for a ticket that no broker could work, and for a child of a child.
    """
    groups: dict[str, list[Ticket]] = {}
    for ticket in tickets:
        check_ticket(ticket)
        if ticket.parent in groups:
            groups[ticket.parent].append(ticket)
        elif any(ticket.parent == t.ref for t in tickets):
            raise ParameterError(
                "parent", ticket.parent, "must come before its children, and be no child itself"
            )
        else:
            groups[ticket.ref] = [ticket]
    return tuple(tuple(group) for group in groups.values())


class Counter:
    """What an order is judged by. around: as last observed. floor: the broker's next order id, as far as known.

    symbols: of instruments, where an order or position named one.
    """

    def __init__(self, record: Record, setup: Setup) -> None:
        self._record = record
        self._setup = setup
        self.around = Surroundings()
        self.floor = 1
        self.symbols: dict[int, str] = {}
        self._entries: list[int] = []  # rising
        self._rejects: dict[str, int] = {}  # when each was turned down, oldest first
        self._traded: set[int] = set()
        self._decided: set[tuple[int, int, int]] = set()
        self._judged: tuple[Surroundings, bool, int] | None = None  # what `_health` was made of
        self._health: Health
        for intent in record.intents():
            self.symbols[intent.ticket.con_id] = intent.ticket.symbol
            self._decide(intent.ticket, record.reasons[intent.ref])
            if record.trail(intent.ref).sends > 0:
                self.sent(intent.ref, record.trail(intent.ref).last)

    # ---------------------------------------------------------------- what happened
    def _decide(self, ticket: Ticket, reason: Reason) -> None:
        if reason.purpose is Purpose.ENTRY and reason.bar > 0:
            self._decided.add((ticket.con_id, 1 if ticket.quantity > 0 else -1, reason.bar))

    def sent(self, ref: str, now: int) -> None:
        """Count a send; only entries count against rates, and each of them once."""
        self._traded.add(self._record.ticket(ref).con_id)
        if self._record.purpose(ref) is Purpose.ENTRY:
            insort(self._entries, now)

    def rejected(self, ref: str, now: int) -> None:
        """Count a rejection by the broker, once of each; reductions are pursued however often one is turned down."""
        if self._record.purpose(ref) is Purpose.ENTRY:
            self._rejects.setdefault(ref, now)

    # ---------------------------------------------------------------- what it comes to
    def rounded(self, tickets: tuple[Ticket, ...]) -> tuple[Ticket, ...]:
        """Return the tickets with prices on their instruments' steps."""
        markets = self.around.markets
        return tuple(rounded(t, markets[t.con_id].tick) if t.con_id in markets else t for t in tickets)

    def judge(
        self, tickets: tuple[Ticket, ...], why: Why, gate: Gate, now: int
    ) -> tuple[Reason, tuple[Refusal, ...]]:
        """Return why a group was decided, as the journal keeps it, and all reasons against it."""
        first = tickets[0]
        context = self._context(first, frozenset(), why.bar, gate, now)
        aim = purpose(first, context)
        found = list(refusals(first, context, self._setup.limits))
        if gate is Gate.HALTED and aim is not Purpose.ENTRY:
            found.append(
                Refusal("halted", "halted; what is protected stays so, and only flatten closes positions")
            )
        found += [
            Refusal("child", f"{child.ref} does not only close what {first.ref} opens")
            for child in tickets[1:]
            if child.con_id != first.con_id or not closes(child.quantity, first.quantity)
        ]
        opens = self.opens(first, first.quantity, aim, frozenset())
        if opens:
            found.append(Refusal("opens-at-broker", opens))
        reason = Reason(aim, why.bar, why.expires, why.text)
        self.symbols[first.con_id] = first.symbol
        self._decide(first, reason)
        return reason, tuple(found)

    def opens(self, ticket: Ticket, quantity: Decimal, aim: Purpose, without: Set[str]) -> str:
        """Return why an order that is to close would open a position at the broker, "" where nothing says so.

        quantity: what may still fill of it. without: orders that do not count as on their way.
        """
        record, con_id = self._record, ticket.con_id
        waits = ticket.parent in record.standings and not record.standings[ticket.parent].is_final
        if aim is Purpose.ENTRY or con_id not in record.astray or waits:
            return ""
        left = record.closable(con_id)
        if aim is not Purpose.PROTECTION:
            left += self.leaving(con_id, without)
        if closes(quantity, left):
            return ""
        own, does = record.position(con_id), "buying" if quantity > 0 else "selling"
        there = f"of ours the broker holds {own + record.astray[con_id]}, by our books it is {own}"
        return f"{ticket.symbol}: {there}: {does} {abs(quantity)} would open a position there; {MEND}"

    def too_late(self, group: Group, gate: Gate, now: int) -> str:
        """Return why an order that waits is never to be sent, "" if it may still go."""
        ref = group[0]
        reason, ticket = self._record.reasons[ref], self._record.ticket(ref)
        if reason.purpose is Purpose.ENTRY:
            if reason.expires > 0 and now >= reason.expires:
                return "too late: the bar after its own is over"
            if gate in (Gate.REDUCING, Gate.HALTED):
                return f"the gate is {gate}"
        waited = self._record.standings.intent(ref).at < now
        if not waited or not passes(gate, reason.purpose) or ticket.parent:
            return ""  # judged a moment ago, or its turn has not come
        context = self._context(ticket, frozenset(group), 0, gate, now)
        if reason.purpose is Purpose.ENTRY:
            return "; ".join(r.text for r in refusals(ticket, context, self._setup.limits))
        if purpose(ticket, context) is Purpose.ENTRY:
            return f"{self._record.position(ticket.con_id)} are held now, which it would not make smaller"
        return ""

    def _context(self, ticket: Ticket, without: frozenset[str], bar: int, gate: Gate, now: int) -> Context:
        around, record = self.around, self._record
        known = ticket.parent in record.standings
        return Context(
            now=now, gate=gate, account=around.account, allowed=self._setup.instruments,
            markets=dict(around.markets), positions=record.positions, working=self._working(without),
            halted=record.halted_instruments, bar=bar, decided=self._decided,
            entries_minute=self._sent_since(now - MINUTE), entries_day=self._sent_since(now - DAY),
            clock_offset_s=around.clock_offset_s, traded=ticket.con_id in self._traded,
            what_if=around.what_ifs.get(ticket.con_id), parent=record.ticket(ticket.parent) if known else None,
        )  # fmt: skip

    def _working(self, without: Set[str]) -> tuple[Working, ...]:
        found = []
        for standing in self._record.open:
            if standing.ref not in without:
                ticket = self._record.ticket(standing.ref)
                aim = self._record.purpose(standing.ref)
                found.append(Working(ticket.con_id, standing.remaining, aim, ticket.limit))
        return tuple(found)

    def _sent_since(self, moment: int) -> int:
        del self._entries[: bisect_right(self._entries, moment - DAY)]
        return len(self._entries) - bisect_right(self._entries, moment)

    def leaving(self, con_id: int, without: Set[str] = frozenset()) -> Decimal:
        """Return what reductions on their way take away, signed."""
        ways = (Purpose.REDUCTION, Purpose.FLATTEN)
        return sum(
            (w.remaining for w in self._working(without) if w.con_id == con_id and w.purpose in ways),
            Decimal(0),
        )

    def closing(self, con_id: int, quantity: Decimal, why: str) -> tuple[Ticket, Reason]:
        """Return a market order that closes a position by a person's command."""
        symbol = self.symbols.get(con_id, str(con_id))
        ticket = Ticket(self._record.next_ref(), self._record.account, con_id, symbol, quantity)
        return ticket, Reason(Purpose.FLATTEN, text=why)

    def health(self, now: int) -> Health:
        """Return what the deployment as a whole is judged by."""
        since = now - round(self._setup.limits.rejects_s * SECOND)
        while self._rejects and next(iter(self._rejects.values())) <= since:
            del self._rejects[next(iter(self._rejects))]
        known = self.around, self._record.idle, len(self._rejects)
        if known != self._judged:  # it is asked several times a bar
            around, flat, rejects = self._judged = known
            self._health = Health(
                capital=self._setup.capital, equity=around.equity, day_start=around.day_start, peak=around.peak,
                flat=flat, rejects=rejects, free_bytes=around.free_bytes,
            )  # fmt: skip
        return self._health

    def policy(self) -> Policy:
        """Return how the books are compared, with the sessions that are over."""
        closed = {c: m.last_close for c, m in self.around.markets.items() if m.last_close is not None}
        return replace(self._setup.policy, closed_at=tuple(sorted(closed.items())))
