"""Orders and fills of a live run and of a backtest in one form, so that they can be laid side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from quant.backtest.recorder import Record
from quant.core.bars import Bars
from quant.core.barsize import MINUTE, SECOND
from quant.core.orders import Kind, Ticket
from quant.live.orders.tickets import read_notes
from quant.oms.fills import Fill
from quant.oms.ledger import MOVED, Intent, Ledger, Mark, What, versions
from quant.oms.reason import read_reason
from quant.oms.state import Oddity, OrderStanding, OrderState

_KINDS = {Kind.MARKET: "market", Kind.STOP: "stop", Kind.LIMIT: "limit"}
_STATES = {
    OrderState.FILLED: "filled", OrderState.CANCELLED: "cancelled", OrderState.REJECTED: "rejected",
    OrderState.NOT_SENT: "not sent", OrderState.UNKNOWN: "unknown",
}  # fmt: skip
FILLED_BEFORE: Final = "the order had filled with its prices of before when these were asked for"
Span = tuple[int, int]  # the oldest and the newest version of an order, from 0, that a fill can be of
TAKEN_BACK: Final = "its price was turned down before it was sent"


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


def of_live(desk: Books, feeds: Sequence[Bars], spans: Mapping[str, Span]) -> list[OrderFact]:
    """Return the orders of a live run, in the order in which they were decided.

    feeds: the stored bars. spans: which versions fills can be of, as of crossing.told_between.
    """
    numbers = {bars.instrument.con_id: n for n, bars in enumerate(feeds)}
    found: list[tuple[int, OrderFact]] = []
    for standing in desk.orders:
        asked_for = desk.versions(standing.ref)
        feed = numbers[asked_for[0].ticket.con_id]
        same = same_as(asked_for)
        fills = list(_fills(asked_for, standing, feeds[feed], spans))
        own = [same[n] for n, _ in fills]
        # A change can cross a fill on its way: then the order ended as what it was before.
        last = max(own) if own and standing.state is OrderState.FILLED else same[-1]
        for n, version in enumerate(asked_for):
            if same[n] != n:
                continue
            fact = _order(version, standing, feed, feeds[feed])
            if n + 1 < len(asked_for) and same[n + 1] < n:
                fact.status, fact.why = "not sent", TAKEN_BACK
            elif n != last:
                fact.status, fact.why = "cancelled", FILLED_BEFORE if n > last else ""
            fact.fills = [fill for number, (_, fill) in zip(own, fills, strict=True) if number == n]
            fact.ref = version_ref(standing.ref, n + 1)
            found.append((version.at, fact))
    found.sort(key=lambda pair: pair[0])  # stable: of one moment they stay as they were decided
    return [fact for _, fact in found]


def same_as(versions: Sequence[Intent]) -> list[int]:
    """Return, for each version of an order, which one it is: another where it only takes back the one before it.

    That one was turned down on this side, at once, and the order is asked for as before again.
    """
    found: list[int] = []
    for n, version in enumerate(versions):
        back = n > 1 and version.at == versions[n - 1].at and version.ticket == versions[n - 2].ticket
        found.append(found[n - 2] if back else n)
    return found


def version_ref(ref: str, number: int) -> str:
    """Return the key of the version of that number, from 1, of an order."""
    return ref if number == 1 else f"{ref}/{number}"


def _version_of(fill: Fill, versions: Sequence[Intent], bars: Bars, spans: Mapping[str, Span]) -> int:
    """Return which version of an order a fill belongs to: of those that the journal's order leaves, by time.

    Executions are told to the second. In that of a modification it is the version before if that could fill then.
    """
    oldest, newest = spans.get(fill.stem, (0, len(versions) - 1))
    n = min(newest, len(versions) - 1)
    # Clocks differ by seconds: what filled a minute before a change was told late.
    while n and fill.time <= versions[n].at - (MINUTE if n <= oldest else 0):
        old, new = versions[n - 1].ticket, versions[n].ticket
        if fill.time + SECOND > versions[n].at and not _could_fill(old, new, fill, bars):
            break
        n -= 1
    return n


def _could_fill(old: Ticket, new: Ticket, fill: Fill, bars: Bars) -> bool:
    """Return whether the bar that ends with a fill reached the old price; within a bar the nearer price decides.

    What the bar did not reach fills at the open of the next one, which can be far from both.
    """
    row = int(np.searchsorted(bars.end, fill.time, side="right")) - 1
    price = _price(old)
    if row < 0 or fill.time >= int(bars.end[row]) + SECOND:
        return abs(fill.price - price) <= abs(fill.price - _price(new))
    rising = (old.quantity > 0) == (old.stop is not None)  # a stop that buys, a limit that sells
    return bool(fill.price == price or (bars.high[row] >= price if rising else bars.low[row] <= price))


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
        why=_why(standing, intent.at), ref=standing.ref,
    )  # fmt: skip


def _why(standing: OrderStanding, since: int) -> str:
    """Return what an order's state rests on: the last that was said of it as it is asked for since then."""
    told = [t for t in standing.told if not 0 < t.at < since]
    before = {t.text for t in standing.told} - {t.text for t in told}
    old = standing.reason in before or standing.reason.startswith(
        MOVED
    )  # that it was sent is no reason for its end
    reason = "" if old else standing.reason
    return reason or "; ".join(f"{t.text} ({t.code})" for t in told)


def _fills(
    versions: Sequence[Intent], standing: OrderStanding, bars: Bars, spans: Mapping[str, Span]
) -> Iterator[tuple[int, FillFact]]:
    """Yield the fills, each with its version; one that was taken back has quantity 0, perhaps still a commission."""
    changed = bool({Oddity.CORRECTED, Oddity.BUSTED} & standing.oddities)
    for fill in sorted(standing.fills, key=lambda f: (f.time, f.stem)):
        none = math.nan if fill.quantity else 0.0
        fee = none if fill.commission is None else fill.commission
        row = fill_row(versions, fill, bars, spans)
        fact = FillFact(row, float(fill.quantity), fill.price, fee, fill.time, fill.exec_id, changed)
        yield _version_of(fill, versions, bars, spans), fact


def fill_row(versions: Sequence[Intent], fill: Fill, bars: Bars, spans: Mapping[str, Span]) -> int:
    """Return the bar that filled an order: what rests is filled at a bar's END, a market order at a bar's beginning.

    So is what was modified at that END and is reached by the open.
    """
    intent = versions[_version_of(fill, versions, bars, spans)]
    row = int(np.searchsorted(bars.end, fill.time, side="right"))
    rested = intent.ticket.kind is not Kind.MARKET and fill.time >= intent.at + 10**9
    return row - 1 if rested and row and abs(int(bars.end[row - 1]) - fill.time) < 10**9 else row


def asked(ledger: Ledger) -> dict[str, int]:
    """Return when the end of an order was first asked for, or its next version, by the refs of `of_live`, UTC ns."""
    found: dict[str, int] = {}
    marks: dict[str, list[Mark]] = {}
    for mark in ledger.marks:
        marks.setdefault(mark.ref, []).append(mark)
    for intent in ledger.intents:
        own = marks.get(intent.ref, [])
        same, n = same_as(list(versions(intent, own))), 0
        for mark in own:
            back = mark.what is What.MODIFIED and n + 2 < len(same) and same[n + 2] != n + 2
            if mark.what in (What.CANCEL_ASKED, What.MODIFIED) and not back:
                found.setdefault(version_ref(intent.ref, same[n] + 1), mark.at)
            n += mark.what is What.MODIFIED
    return found


def _end_before(bars: Bars, moment: int) -> int:
    row = int(np.searchsorted(bars.end, moment, side="right"))
    return int(bars.end[row - 1]) if row else 0
