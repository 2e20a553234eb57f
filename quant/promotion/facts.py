"""Orders and fills of a live run and of a backtest in one form, so that they can be laid side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from quant.backtest.recorder import Record
from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.orders import Completed, Echo, Execution, Kind, Ticket
from quant.live.orders.tickets import read_notes
from quant.oms.fills import Fill
from quant.oms.ledger import Intent, Ledger, Mark, What
from quant.oms.reason import read_reason
from quant.oms.state import Oddity, OrderStanding, OrderState

_KINDS = {Kind.MARKET: "market", Kind.STOP: "stop", Kind.LIMIT: "limit"}
_STATES = {
    OrderState.FILLED: "filled", OrderState.CANCELLED: "cancelled", OrderState.REJECTED: "rejected",
    OrderState.NOT_SENT: "not sent", OrderState.UNKNOWN: "unknown",
}  # fmt: skip


class Books(Protocol):
    """Where orders of a live run stand: its desk, or its journal read afterwards."""

    @property
    def orders(self) -> Sequence[OrderStanding]:
        """How every order stands, oldest first."""

    def versions(self, ref: str) -> Sequence[Intent]:
        """Return what was decided, at first and at each modification; `at` is when."""


@dataclass(frozen=True, slots=True)
class FillFact:
    """A fill. bar: of its feed, the one whose prices filled it. commission: NaN = not told.

    time, exec_id: of a live one; corrected: what was told first was changed later, or taken back: then quantity is 0.
    """

    bar: int
    quantity: float
    price: float
    commission: float
    time: int = 0
    exec_id: str = ""
    corrected: bool = False


@dataclass(slots=True)
class OrderFact:
    """An order. feed: number; decided: END of the bar it was decided on, UTC ns. price: of an exit, else NaN.

    sent: when it was handed to the desk; why: what its state rests on; ref: of a live one, its key: of one that was
    modified at IB the second version's ends in "/2", as if it were an order of its own, and so on.
    """

    feed: int
    decided: int
    reason: str
    kind: str
    quantity: float
    price: float
    status: str
    fills: list[FillFact] = field(default_factory=list)
    sent: int = 0
    why: str = ""
    ref: str = ""

    @property
    def key(self) -> tuple[int, int, str]:
        """What it shares with its other half; several may share it."""
        return self.feed, self.decided, self.reason


def of_backtest(record: Record) -> list[OrderFact]:
    """Return the orders of a backtest, in the order in which they were decided."""
    found = {
        row.order: OrderFact(
            row.feed, row.time, row.reason, row.kind, row.quantity, row.price, row.status, sent=row.time
        )
        for row in record.orders
    }  # fmt: skip
    for fill in record.fills:
        found[fill.order].fills.append(FillFact(fill.bar, fill.quantity, fill.price, fill.commission))
    return list(found.values())


def of_live(desk: Books, feeds: Sequence[Bars]) -> list[OrderFact]:
    """Return the orders of a live run, in the order in which they were decided. feeds: the stored bars."""
    numbers = {bars.instrument.con_id: n for n, bars in enumerate(feeds)}
    found: list[tuple[int, OrderFact]] = []
    for standing in desk.orders:
        versions = desk.versions(standing.ref)
        feed = numbers[versions[0].ticket.con_id]
        fills = list(_fills(versions[0], standing, feeds[feed]))
        for n, version in enumerate(versions):
            fact = _order(version, standing, feed, feeds[feed])
            if n + 1 < len(versions):
                fact.status, fact.why = "cancelled", ""
            fact.fills = [fill for fill in fills if _version_of(fill, versions) == n]
            fact.ref = version_ref(standing.ref, n + 1)
            found.append((version.at, fact))
    found.sort(key=lambda pair: pair[0])  # stable: of one moment they stay as they were decided
    return [fact for _, fact in found]


def version_ref(ref: str, number: int) -> str:
    """Return the key of the version of that number, from 1, of an order."""
    return ref if number == 1 else f"{ref}/{number}"


def _version_of(fill: FillFact, versions: Sequence[Intent]) -> int:
    """Return which version of an order a fill belongs to; within the second of an execution the price decides."""
    n = len(versions) - 1
    while n and fill.time <= versions[n].at:
        old, new = (_price(version.ticket) for version in versions[n - 1 : n + 1])
        if fill.time + SECOND > versions[n].at and abs(fill.price - new) < abs(fill.price - old):
            break
        n -= 1
    return n


def _price(ticket: Ticket) -> float:
    price = ticket.stop if ticket.stop is not None else ticket.limit
    return math.nan if price is None else price


def _order(intent: Intent, standing: OrderStanding, feed: int, bars: Bars) -> OrderFact:
    """Return an order, without its fills, as a version of it was asked for."""
    ticket, reason = intent.ticket, read_reason(intent.why)
    note = next((n for n in read_notes(reason.text) if n.ref == standing.ref), None)
    status = _STATES.get(standing.state, "open")
    if standing.state is OrderState.CANCELLED and standing.fills:
        status = "partly filled"
    return OrderFact(
        feed, reason.bar or _end_before(bars, intent.at), "" if note is None else note.reason,
        _KINDS.get(ticket.kind, str(ticket.kind)), float(ticket.quantity), _price(ticket), status, sent=intent.at,
        why=_why(standing), ref=standing.ref,
    )  # fmt: skip


def _why(standing: OrderStanding) -> str:
    """Return what an order's state rests on: the last that was said of it."""
    told = "; ".join(f"{t.text} ({t.code})" for t in standing.told)
    return standing.reason or told


def _fills(intent: Intent, standing: OrderStanding, bars: Bars) -> Iterator[FillFact]:
    """Yield the fills; one that was taken back has quantity 0, and perhaps still its commission."""
    changed = bool({Oddity.CORRECTED, Oddity.BUSTED} & standing.oddities)
    for fill in sorted(standing.fills, key=lambda f: (f.time, f.stem)):
        none = math.nan if fill.quantity else 0.0
        fee = none if fill.commission is None else fill.commission
        row = fill_row(intent, fill, bars)
        yield FillFact(row, float(fill.quantity), fill.price, fee, fill.time, fill.exec_id, changed)


def fill_row(intent: Intent, fill: Fill, bars: Bars) -> int:
    """Return the bar that filled an order: what rests is filled at a bar's END, a market order at a bar's beginning."""
    row = int(np.searchsorted(bars.end, fill.time, side="right"))
    rested = intent.ticket.kind is not Kind.MARKET and fill.time >= intent.at + 10**9
    return row - 1 if rested and row and abs(int(bars.end[row - 1]) - fill.time) < 10**9 else row


# ---------------------------------------------------------------- orders that TWS did not have at once
@dataclass(frozen=True, slots=True)
class Belated:
    """An order that TWS did not show when it was sent. row: the first bar of its feed that begins after TWS had it.

    words: what the journal has of that.
    """

    row: int
    words: str


def asked(ledger: Ledger) -> dict[str, int]:
    """Return when the end of an order was first asked for, or its next version, by the refs of `of_live`, UTC ns."""
    found: dict[str, int] = {}
    newest: dict[str, int] = {}
    for mark in ledger.marks:
        n = newest.get(mark.ref, 1)
        if mark.what in (What.CANCEL_ASKED, What.MODIFIED):
            found.setdefault(version_ref(mark.ref, n), mark.at)
        if mark.what is What.MODIFIED:
            newest[mark.ref] = n + 1
    return found


def belated(ledger: Ledger, feeds: Sequence[Bars]) -> dict[str, Belated]:
    """Return, by ref, the orders that were sent again, or shown only after they had counted as unknown."""
    bars = {b.instrument.con_id: b for b in feeds}
    shown: dict[str, list[int]] = {}
    for fact in ledger.facts:
        if isinstance(fact.report, Echo | Execution | Completed):
            shown.setdefault(fact.report.ref, []).append(fact.at)
    marks: dict[str, list[Mark]] = {}
    for mark in ledger.marks:
        marks.setdefault(mark.ref, []).append(mark)
    found = {}
    for intent in ledger.intents:
        known = _had(marks.get(intent.ref, ()), shown.get(intent.ref, ()))
        if known is not None and intent.ticket.con_id in bars:
            at, words = known
            row = int(np.searchsorted(bars[intent.ticket.con_id].start, at))
            found[intent.ref] = Belated(row, words)
    return found


def _had(marks: Sequence[Mark], shown: Sequence[int]) -> tuple[int, str] | None:
    """Return when TWS had an order at the earliest, and how we know; None where it had it as it was sent first."""
    sent = [m for m in marks if m.what is What.SENT]
    # One that TWS has shown and that is sent once more, with a reason, was put right: a change of what is there.
    again = [m for m in sent[1:] if not (m.why and any(at < m.at for at in shown))]
    doubt = next((m for m in marks if m.what is What.UNKNOWN), None)
    why = "TWS did not show it" if doubt is None else doubt.why
    if again:
        return again[-1].at, f"{why}; sent again at {_moment(again[-1].at)}"
    late = [] if doubt is None else [at for at in shown if at >= doubt.at]
    if not late or len(late) < len(shown):
        return None
    return min(late), f"{why}; TWS showed it at {_moment(min(late))} first"


def held_back(ledger: Ledger, feeds: Sequence[Bars]) -> dict[str, Belated]:
    """Return, by ref, the market orders that TWS had and did not work at once."""
    bars = {b.instrument.con_id: b for b in feeds}
    told: dict[str, list[tuple[int, str]]] = {}
    for fact in ledger.facts:
        if isinstance(fact.report, Echo):
            told.setdefault(fact.report.ref, []).append((fact.at, fact.report.status))
    found = {}
    for intent in ledger.intents:
        freed = _freed(told.get(intent.ref, ())) if intent.ticket.kind is Kind.MARKET else None
        if freed is not None and intent.ticket.con_id in bars:
            row = int(np.searchsorted(bars[intent.ticket.con_id].start, freed[0]))
            found[intent.ref] = Belated(row, freed[1])
    return found


def _freed(told: Sequence[tuple[int, str]]) -> tuple[int, str] | None:
    """Return when TWS let an order go that it had held back, and in words; None where it did not."""
    held = [at for at, status in told if status == "PreSubmitted"]
    freed = [at for at, status in told if held and at > held[0] and status != "PreSubmitted"]
    if not freed:
        return None
    return min(freed), f"TWS held it back as PreSubmitted, and told otherwise at {_moment(min(freed))}"


def _moment(ns: int) -> str:
    return str(np.datetime64(ns, "ns").astype("datetime64[s]"))


def _end_before(bars: Bars, moment: int) -> int:
    row = int(np.searchsorted(bars.end, moment, side="right"))
    return int(bars.end[row - 1]) if row else 0
