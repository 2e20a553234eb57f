"""What reconciliation takes and gives: our books, what it noticed, and what is to be done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from quant.oms.gate import Purpose
from quant.oms.ledger import MOVED, SMALLER, Holding, Intent, Mark, Source, What
from quant.oms.limits import SECOND
from quant.oms.reason import reason_of
from quant.oms.state import OrderStanding


class Start(StrEnum):
    """What becomes of positions that are found at start and that no order of ours made."""

    BASELINE = "baseline"  # left alone; ours are counted on top
    ADOPT = "adopt"  # ours from now on
    FLATTEN = "flatten"  # ours, and closed
    REFUSE = "refuse"  # halt


@dataclass(frozen=True, slots=True)
class Policy:
    """How the books are compared.

    gap_s: between the questions of two snapshots that may agree. max_sends: of one order under its id.
    max_repairs: of one protective order. cancel_s: how long a cancel may take before it is asked for again.
    day_s: a DAY order older than this is over where closed_at does not say. closed_at: end of the last session that
    is over, by con_id, UTC ns. worth: money for a price of 1 and a quantity of 1, by con_id. prices: by con_id, at
    which a person says that what is adopted was traded. urgent: a person wants to be out, at whatever price it counts.
    """

    start: Start = Start.BASELINE
    gap_s: float = 5.0
    max_sends: int = 3
    max_repairs: int = 2
    cancel_s: float = 5.0
    day_s: float = 86_400.0
    closed_at: tuple[tuple[int, int], ...] = ()
    worth: tuple[tuple[int, float], ...] = ()
    prices: tuple[tuple[int, float], ...] = ()
    urgent: bool = False

    @property
    def gap(self) -> int:
        """The gap in ns."""
        return round(self.gap_s * SECOND)

    def closed(self, con_id: int) -> int | None:
        """Return the end of the instrument's last session that is over, None if not told."""
        return dict(self.closed_at).get(con_id)


# ---------------------------------------------------------------- our side
@dataclass(frozen=True, slots=True)
class Trail:
    """What we did with an order.

    sends: how often. repairs: how often since it was last modified and a person last cleared a halt. last: when last
    sent or decided. cancelled: when its cancellation was last asked for. concluded: what was last concluded of it.
    modified: where in the journal it was last given other prices, 0 = never. held_back: its cancellation was asked for
    as the broker held it back as Inactive.
    """

    sends: int
    repairs: int
    last: int
    cancelled: int | None
    concluded: What | None = None
    modified: int = 0
    held_back: bool = False


REPAIR = "repair"  # what the mark of a repaired order says first
HELD_BACK = "held back as Inactive"  # the same, of the cancel of one that was


def trail(intent: Intent, marks: Iterable[Mark], cleared: int = 0) -> Trail:
    """Return what was done with an order, by its marks. cleared: where in the journal a person last cleared a halt."""
    marks = list(marks)
    sent = [m for m in marks if m.what is What.SENT]
    cancelled = [m for m in marks if m.what is What.CANCEL_ASKED]
    modified = max((m.number for m in marks if m.what is What.MODIFIED), default=0)
    wishes = (What.SENT, What.CANCEL_ASKED, What.MODIFIED)
    concluded = [m.what for m in marks if m.what not in wishes]
    return Trail(
        sends=sum(not m.why.startswith((REPAIR, SMALLER, MOVED)) for m in sent),
        repairs=sum(m.why.startswith(REPAIR) for m in sent if m.number > max(modified, cleared)),
        last=max([intent.at, *(m.at for m in sent)]),
        cancelled=max((m.at for m in cancelled), default=None),
        concluded=concluded[-1] if concluded else None,
        modified=modified,
        held_back=any(m.why.startswith(HELD_BACK) for m in cancelled),
    )


@dataclass(frozen=True, slots=True)
class Order:
    """One of our orders, with all that is known of it. since: when it came to stand as it does, 0 = an earlier run."""

    intent: Intent
    standing: OrderStanding
    trail: Trail
    since: int = 0

    @property
    def ref(self) -> str:
        """Its key."""
        return self.intent.ref

    @property
    def purpose(self) -> Purpose:
        """What it is for."""
        return reason_of(self.intent).purpose

    @property
    def wanted(self) -> int:
        """Where in the journal it was last decided upon: at first, or with other prices."""
        return max(self.intent.number, self.trail.modified)

    @property
    def acknowledged(self) -> bool:
        """True where the broker told that it has it."""
        return bool(self.standing.perm_ids) or self.standing.filled != 0 or self.standing.owed > 0


class Orders:
    """All our orders. What is asked of them is kept up as they change: nothing walks over those that are over."""

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self.symbols: dict[int, str] = {}  # by contract id, of all that was ever ordered
        self._by_ref: dict[str, Order] = {}
        self._refs_of_perm: dict[int, set[str]] = defaultdict(set)
        self._filled: dict[int, Decimal] = defaultdict(Decimal)
        self._open: dict[str, Order] = {}
        self._odd: dict[str, Order] = {}
        for order in orders:
            self.put(order)

    def put(self, order: Order) -> None:
        """Take a new order, or one of before as it stands now."""
        ref, ticket, standing = order.ref, order.intent.ticket, order.standing
        before = self._by_ref.get(ref)
        self._filled[ticket.con_id] += standing.filled - (0 if before is None else before.standing.filled)
        self._by_ref[ref] = order
        self.symbols.setdefault(ticket.con_id, ticket.symbol)
        for perm_id in standing.perm_ids:
            self._refs_of_perm[perm_id].add(ref)
        for kept, keep in ((self._open, not standing.is_final), (self._odd, bool(standing.oddities))):
            kept.pop(ref, None)
            if keep:
                kept[ref] = order

    def get(self, ref: str) -> Order | None:
        """Return an order of ours, None where it is not."""
        return self._by_ref.get(ref)

    def named(self, ref: str, perm_id: int) -> bool:
        """Return whether one of these names is that of an order of ours; a permId of 0 is none."""
        return ref in self._by_ref or perm_id in self._refs_of_perm

    def filled(self, con_id: int) -> Decimal:
        """Return what all orders of an instrument have filled, signed."""
        return self._filled.get(con_id, Decimal(0))

    @property
    def open(self) -> list[Order]:
        """Those that are not over, as they were decided."""
        return _as_decided(self._open)

    @property
    def odd(self) -> list[Order]:
        """Those of which something odd is known, as they were decided."""
        return _as_decided(self._odd)

    def open_or_named(self, refs: AbstractSet[str], perm_ids: AbstractSet[int]) -> list[Order]:
        """Return those that are not over or have one of these names, as they were decided."""
        found = {ref for perm_id in perm_ids for ref in self._refs_of_perm.get(perm_id, ())}
        found |= refs & self._by_ref.keys()
        return _as_decided(self._open | {ref: self._by_ref[ref] for ref in found})


def _as_decided(orders: dict[str, Order]) -> list[Order]:
    return sorted(orders.values(), key=lambda order: order.intent.number)


@dataclass(frozen=True, slots=True)
class Books:
    """What the journal says.

    instruments: of the deployment. queued: refs that this process has not sent yet. halted_for: reasons of all halts
    so far. agreed_at: when the first two snapshots ever agreed, None = never. starting: none agreed in this run.
    flattening: instruments that are to be closed, 0 = all. lasting: what differs has done so for so long that it halts.
    halted: only cancels go out, until a person clears it.
    lately: the least and the most that was ours while the broker's books were read, where fills changed it.
    """

    deployment: str
    account: str
    client_id: int
    instruments: frozenset[int]
    orders: Orders = field(default_factory=Orders)
    holdings: tuple[Holding, ...] = ()
    queued: frozenset[str] = frozenset()
    halted_for: frozenset[str] = frozenset()
    agreed_at: int | None = None
    starting: bool = False
    flattening: frozenset[int] = frozenset()
    lasting: bool = False
    halted: bool = False
    lately: Mapping[int, tuple[Decimal, Decimal]] = field(default_factory=dict)

    @property
    def con_ids(self) -> tuple[int, ...]:
        """All instruments that this deployment has to do with, sorted."""
        named = self.orders.symbols.keys() | {h.con_id for h in self.holdings}
        return tuple(sorted(named | self.instruments))

    def position(self, con_id: int) -> Decimal:
        """Return what is ours: fills, and what was adopted or adjusted."""
        held = (h.quantity for h in self.holdings if h.con_id == con_id and h.source is not Source.BASELINE)
        return sum(held, self.orders.filled(con_id))

    def baseline(self, con_id: int) -> Decimal:
        """Return what was there at start and was left alone."""
        held = (h.quantity for h in self.holdings if h.con_id == con_id and h.source is Source.BASELINE)
        return sum(held, Decimal(0))


# ---------------------------------------------------------------- what comes of it
class Noticed(StrEnum):
    """Kinds of what a person should know."""

    ECHO = "the broker has an order otherwise than we asked"
    HELD_BACK = "the broker holds an order back without having refused it"
    PROTECTION = "the broker has a protective order otherwise than we asked"
    ORPHAN = "a protective order has nothing to protect"
    UNKNOWN_ORDER = "what became of an order is not known"
    MISSING = "an order did not reach the broker"
    FOREIGN_ORDER = "an order that is not ours"
    STRANGER = "an order under our name that the journal does not have"
    POSITION = "the broker's position is not ours"
    FOUND_AT_START = "a position was there at start"
    REVIVED = "an order that was over works again"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that a person should know."""

    what: Noticed
    text: str
    ref: str = ""
    con_id: int = 0


@dataclass(frozen=True, slots=True)
class Resend:
    """Send it again under the same id: the broker does not have it, and it is needed."""

    ref: str
    why: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Send it again under the same id, which modifies it to what was asked; with a quantity, to no more than that."""

    ref: str
    why: str
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask for its cancellation."""

    ref: str
    why: str


@dataclass(frozen=True, slots=True)
class Conclude:
    """Write down what two snapshots prove of an order."""

    ref: str
    what: What
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Write down a holding that no order of ours made.

    price: at which it was traded; None, of a baseline alone, where nobody knows it.
    """

    source: Source
    con_id: int
    symbol: str
    quantity: Decimal
    price: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Flatten:
    """Close that much of an instrument."""

    con_id: int
    symbol: str
    quantity: Decimal
    why: str


@dataclass(frozen=True, slots=True)
class HaltInstrument:
    """Begin nothing new in one instrument."""

    con_id: int
    why: str


@dataclass(frozen=True, slots=True)
class HaltAll:
    """Halt."""

    why: str


Action = Resend | Repair | Cancel | Conclude | Hold | Flatten | HaltInstrument | HaltAll
Item = str | Notice | Action  # of a comparison; a text is something to wait for


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two snapshots say.

    waiting: why the gate cannot open yet. steady: False where the two differ, and so say nothing. astray: by how much
    the broker's position differs from ours, by con_id, where that is proven and stays. fleeting: positions that were
    ours a moment ago, by con_id, in words: fills came while they were read, so that they say nothing yet.
    """

    waiting: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    actions: tuple[Action, ...] = ()
    steady: bool = True
    astray: tuple[tuple[int, Decimal], ...] = ()
    fleeting: tuple[tuple[int, str], ...] = ()

    @property
    def agreed(self) -> bool:
        """True where journal and broker say the same, and nothing must be done about an order first."""
        return self.steady and not self.open_points

    @property
    def open_points(self) -> tuple[str, ...]:
        """What keeps the books from agreeing; if it lasts, it is what a halt says."""
        later = (a.why for a in self.actions if isinstance(a, Resend | Repair | Cancel | HaltAll))
        return tuple(dict.fromkeys((*self.waiting, *(text for _, text in self.fleeting), *later)))
