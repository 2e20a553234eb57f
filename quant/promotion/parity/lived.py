"""What live did on a day: out of its journal and its tape, both as they were written then. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from quant.core.bars import Bars
from quant.core.orders import Execution
from quant.live.run.tape import LATE, REMEMBERED, BarLine, DecisionLine, Line, NoteLine, RefusedLine
from quant.oms.book import Book, book
from quant.oms.desk.standings import Standings
from quant.oms.fills import Fill
from quant.oms.journal.reading import as_of
from quant.oms.ledger import Halt, Holding, Intent, Ledger, Source
from quant.oms.state import OrderStanding
from quant.promotion.belated import Belated, belated
from quant.promotion.crossing import told_between
from quant.promotion.facts import OrderFact, asked, fill_row, of_live, same_as, version_ref
from quant.promotion.parity.day import Day

EXITS: Final = ("stop", "limit")


@dataclass(frozen=True, slots=True)
class Stood:
    """How live stood in one feed as the day began. target: the last one, None = the tape does not say.

    waiting: the first is still to come. exits: the orders that guarded the position, as facts.
    """

    target: float | None
    waiting: bool
    position: float
    exits: tuple[OrderFact, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Lived:
    """A day as live had it.

    bars: of each feed all that the tape has up to the day's end. decisions: by (feed, END). late: of them, and of those
    between the last live bar before the day and its first, the late ones. orders: decided on that day, or filled in it;
    the exits of Stood are among them, as if decided at its beginning. before, after: the journal's own books. heard:
    when each execution came. carried: refs of other orders
    of earlier days. fills, holdings: of the day, as the journal has them. belated: of all orders, those that TWS did
    not show at once.
    """

    day: Day
    began: int
    stood: tuple[Stood, ...]
    bars: tuple[tuple[BarLine, ...], ...]
    decisions: Mapping[tuple[int, int], float]
    late: frozenset[tuple[int, int]]
    refused: tuple[RefusedLine, ...]
    orders: tuple[OrderFact, ...]
    carried: frozenset[str]
    asked: Mapping[str, int]
    fills: tuple[Fill, ...]
    holdings: tuple[Holding, ...]
    before: Book
    after: Book
    heard: Mapping[str, int]
    notes: tuple[tuple[int, str], ...]
    halts: tuple[Halt, ...]
    belated: Mapping[str, Belated]
    gate: tuple[tuple[int, str], ...] = ()  # the last note of the gate before the day


class JournalBooks:
    """A journal's orders as the facts of a live run are read from them. ledger: what the journal holds."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.spans = told_between(ledger)
        self._standings = Standings(ledger)

    @property
    def orders(self) -> tuple[OrderStanding, ...]:
        """How every order stands, oldest first."""
        return tuple(self._standings)

    def intent(self, ref: str) -> Intent:
        """Return what was decided."""
        return self._standings.intent(ref)

    def versions(self, ref: str) -> tuple[Intent, ...]:
        """Return what was decided, at first and at each modification."""
        return self._standings.versions(ref)


def lived(
    books: JournalBooks, lines: Sequence[Line], bars: Sequence[Bars], day: Day, capital: float
) -> Lived:
    """Return the day. lines: of its tape and of those around it. bars: as they stand now; rows are counted in them.

    Raises ParameterError where an instrument was traded that is not among the bars.
    """
    ledger = books.ledger
    symbols = {b.symbol: n for n, b in enumerate(bars)}
    at_end = JournalBooks(as_of(ledger, day.end))
    filled, gone = _fills(books, bars, day)
    exits = _exits(JournalBooks(as_of(ledger, day.begin)), bars, {f.ref for f in gone})
    orders, carried = _orders(at_end, books, bars, day, exits)
    instruments = {b.instrument.con_id or 0: b.instrument for b in bars}
    currency = bars[0].instrument.currency
    begun = [h for h in ledger.holdings if h.at < day.begin]
    during = [h for h in ledger.holdings if day.begin <= h.at < day.end]
    before = book(capital, currency, gone, instruments, begun)
    after = book(capital, currency, [*gone, *filled], instruments, [*begun, *during])
    decisions = _decisions(lines, symbols)
    mine = {at: line for at, line in decisions.items() if day.decides(at[1]) and line.how != REMEMBERED}
    return Lived(
        day=day, began=ledger.runs[0].at if ledger.runs else 0,
        stood=tuple(
            Stood(*_target(lines, decisions, b.symbol, n, day.since), float(before.position(b.instrument.con_id or 0)),
                  tuple(e for e in exits.values() if e.feed == n))
            for n, b in enumerate(bars)
        ),
        bars=tuple(_bars(lines, b.symbol, day) for b in bars),
        decisions={at: line.target for at, line in mine.items()},
        late=frozenset(at for at, line in decisions.items() if line.how == LATE and _lately(at, lines, bars, day)),
        refused=tuple(r for r in lines if isinstance(r, RefusedLine) and day.decides(r.end)),
        orders=tuple(orders), carried=frozenset(carried),
        asked=asked(ledger), fills=tuple(filled),
        holdings=tuple(h for h in during if h.source is not Source.BASELINE), before=before, after=after,
        heard={f.report.exec_id: f.at for f in ledger.facts if isinstance(f.report, Execution)},
        notes=tuple((n.at, n.words) for n in lines if isinstance(n, NoteLine) and day.begin <= n.at <= day.end),
        halts=tuple(h for h in ledger.halts if day.begin <= h.at <= day.end), belated=belated(ledger, bars),
        gate=_gate(lines, day),
    )  # fmt: skip


# ---------------------------------------------------------------- tape
def _decisions(lines: Sequence[Line], symbols: Mapping[str, int]) -> dict[tuple[int, int], DecisionLine]:
    return {
        (symbols[line.symbol], line.end): line
        for line in lines
        if isinstance(line, DecisionLine) and line.symbol in symbols
    }


def _lately(at: tuple[int, int], lines: Sequence[Line], bars: Sequence[Bars], day: Day) -> bool:
    """Return whether a decision is the day's, or one of the time that was not lived before it."""
    if at[1] >= day.since:
        return day.decides(at[1])
    symbol = bars[at[0]].symbol
    live = (x.end for x in lines if isinstance(x, BarLine) and x.symbol == symbol and x.live)
    return at[1] > max((end for end in live if end < day.since), default=0)


def _target(
    lines: Sequence[Line], decisions: Mapping[tuple[int, int], DecisionLine], symbol: str, feed: int, since: int
) -> tuple[float | None, bool]:  # fmt: skip
    """Return the last target before the day, and whether the first was still to come."""
    told: dict[int, tuple[float | None, bool]] = {
        line.end: (line.wants, line.waiting)
        for line in lines
        if isinstance(line, BarLine)
        and line.symbol == symbol
        and line.end < since
        and (line.waiting or line.wants is not None)
    }
    told |= {end: (line.target, False) for (n, end), line in decisions.items() if n == feed and end < since}
    return told[max(told)] if told else (None, False)


def _gate(lines: Sequence[Line], day: Day) -> tuple[tuple[int, str], ...]:
    told = [n for n in lines if isinstance(n, NoteLine) and n.at < day.begin and n.words.startswith("gate")]
    last = max(told, key=lambda n: n.at, default=None)
    return () if last is None else ((last.at, last.words),)


def _bars(lines: Sequence[Line], symbol: str, day: Day) -> tuple[BarLine, ...]:
    found = {
        line.end: line
        for line in lines
        if isinstance(line, BarLine) and line.symbol == symbol and line.end <= day.end
    }
    return tuple(found[end] for end in sorted(found))


# ---------------------------------------------------------------- journal
def fills_of(books: JournalBooks, bars: Sequence[Bars], day: Day) -> list[Fill]:
    """Return the fills of a day's bars."""
    return _fills(books, bars, day)[0]


def _fills(books: JournalBooks, bars: Sequence[Bars], day: Day) -> tuple[list[Fill], list[Fill]]:
    """Return the fills of the day, and those before it."""
    numbers = {b.instrument.con_id or 0: n for n, b in enumerate(bars)}
    during, before = [], []
    for standing in books.orders:
        versions = books.versions(standing.ref)
        feed = numbers.get(versions[0].ticket.con_id)
        for fill in standing.fills:
            row = -1 if feed is None else fill_row(versions, fill, bars[feed], books.spans)
            if feed is not None and day.has(feed, row):
                during.append(fill)
            elif fill.time <= day.begin or (feed is not None and row < day.rows[feed][0]):
                before.append(fill)
    return during, before


def _exits(books: JournalBooks, bars: Sequence[Bars], filled: set[str]) -> dict[str, OrderFact]:
    """Return the orders that guard a position and are alive in the books, by ref, stop first."""
    alive = {
        version_ref(s.ref, same_as(books.versions(s.ref))[-1] + 1)
        for s in books.orders
        if not s.is_final and s.ref not in filled and _is_awake(books, s, filled)
    }
    facts = [fact for fact in of_live(books, bars, books.spans) if fact.ref in alive and fact.reason in EXITS]
    return {fact.ref: fact for fact in sorted(facts, key=lambda f: (f.feed, f.reason != "stop"))}


def _is_awake(books: JournalBooks, standing: OrderStanding, filled: set[str]) -> bool:
    """Return whether an order works: a child wakes with its parent's fill."""
    parent = books.intent(standing.ref).ticket.parent
    return not parent or parent in filled


def _orders(
    at_end: JournalBooks, whole: JournalBooks, bars: Sequence[Bars], day: Day, exits: Mapping[str, OrderFact]
) -> tuple[list[OrderFact], list[str]]:  # fmt: skip
    """Return the orders of the day with their fills of the day, and refs of those that an earlier day decided."""
    fills = {fact.ref: fact.fills for fact in of_live(whole, bars, whole.spans)}
    found, carried = [], []
    for fact in of_live(at_end, bars, at_end.spans):
        own = [fill for fill in fills[fact.ref] if day.has(fact.feed, fill.bar)]
        if fact.ref in exits:
            found.append(replace(fact, decided=day.begin, sent=day.begin, fills=own))
        elif day.decides(fact.decided):
            found.append(replace(fact, fills=own))
        elif own:
            found.append(replace(fact, fills=own))
            carried.append(fact.ref)
    return found, carried
