"""Orders, and new prices of orders, that TWS did not have at once: out of the journal alone. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.orders import Completed, Echo, Execution, Kind, Ticket, Told
from quant.oms.ledger import SMALLER, Intent, Ledger, Mark, What, versions
from quant.oms.reconcile.order_books import PRICE_DIFFERENCE, echo_differences
from quant.oms.reconcile.outcome import REPAIR
from quant.oms.risk import TRAILS
from quant.oms.state import CANCELLED_WORDS, REFUSALS
from quant.promotion.facts import version_ref

# The answers to a change besides those to an order: same id, already filled, not like the original (IB,
# message_codes.html).
_UNCHANGED: Final = REFUSALS | {103, 104, 105}
_Prices = tuple[float | None, float | None]  # stop and limit
SLOW: Final = 3 * SECOND  # TWS shows a change within one as a rule; later than that, its way there took time


@dataclass(frozen=True, slots=True)
class Belated:
    """An order that TWS did not show when it was sent. row: the first bar of its feed that begins after TWS had it.

    words: what the journal has of that. moved: it is another price of an order that was there: until then that worked
    at the price before. since: the first bar in which TWS did not work it, where it had worked before. only: it was
    there, for no more than that (unsigned, 0 = for all of it), though we had not asked for less.
    """

    row: int
    words: str
    moved: bool = False
    since: int = 0
    only: float = 0.0


def belated(ledger: Ledger, feeds: Sequence[Bars]) -> dict[str, Belated]:
    """Return, by the refs of `of_live`, what was sent again, or shown late, or never, or was held back as Inactive."""
    bars = {b.instrument.con_id: b for b in feeds}
    told = _Told(ledger)
    found = {}
    for intent in ledger.intents:
        own = bars.get(intent.ticket.con_id)
        if own is None:
            continue
        marks = told.marks.get(intent.ref, [])
        known = _had(marks, told.shown.get(intent.ref, ()))
        if known is not None:
            found[intent.ref] = Belated(int(np.searchsorted(own.start, known[0])), known[1])
        for number, at, words in _moved(intent, marks, told):
            found[version_ref(intent.ref, number)] = Belated(_row(own, at), words, moved=True)
        echoes = told.echoes.get(intent.ref, ())
        held = _inactive(echoes, own) or _lessened(intent, marks, echoes)
        if held is not None:
            for number, _ in enumerate(versions(intent, marks), start=1):
                found.setdefault(version_ref(intent.ref, number), held)
    return found


def _row(bars: Bars, at: int | None) -> int:
    """Return the first bar that begins at a moment or later; None: after all of them."""
    return len(bars) if at is None else int(np.searchsorted(bars.start, at))


class _Told:
    """What a journal has of each order: marks and echoes by ref, when it was shown, refusals by order id."""

    def __init__(self, ledger: Ledger) -> None:
        self.marks: dict[str, list[Mark]] = {}
        self.shown: dict[str, list[int]] = {}
        self.echoes: dict[str, list[tuple[int, Echo]]] = {}
        self.refusals: dict[int, list[tuple[int, Told]]] = {}
        for mark in ledger.marks:
            self.marks.setdefault(mark.ref, []).append(mark)
        for fact in ledger.facts:
            report = fact.report
            if isinstance(report, Echo | Execution | Completed):
                self.shown.setdefault(report.ref, []).append(fact.at)
            if isinstance(report, Echo):
                self.echoes.setdefault(report.ref, []).append((fact.at, report))
            elif isinstance(report, Told) and report.code in _UNCHANGED:
                self.refusals.setdefault(report.order_id, []).append((fact.at, report))


# ---------------------------------------------------------------- an order as it was asked for at first
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


# ---------------------------------------------------------------- its other prices
def _moved(intent: Intent, marks: Sequence[Mark], told: _Told) -> Iterator[tuple[int, int | None, str]]:
    """Yield the number of each version whose price TWS did not have at once, since when it had it, and how we know.

    None: it never had. One whose price is that of the version before, to the step, is as late as that one.
    """
    sent: list[Mark] = []
    since = intent.at
    asked = list(versions(intent, marks))
    shown = _Shown(told.echoes.get(intent.ref, ()))
    begins = [n for n, mark in enumerate(marks) if mark.what is What.MODIFIED]
    for n, begin in enumerate(begins, start=1):
        until = begins[n] if n < len(begins) else len(marks)
        if _prices(asked[n].ticket) != _prices(asked[n - 1].ticket):
            sent, since = [], asked[n].at
        elif since == intent.at:
            continue  # the first version's price still
        sent = [*sent, *(mark for mark in marks[begin:until] if mark.what is What.SENT)]
        over = marks[until].at if until < len(marks) else None
        refused = _refused(told.refusals.get(intent.order_id, ()), since, over)
        known = _took(since, sent, shown.times(asked[n].ticket), refused)
        if known is None:
            known = _lost(asked[n].ticket, since, over, shown)
        if known is not None:
            yield n + 1, *known


def _prices(ticket: Ticket) -> _Prices:
    return ticket.stop, ticket.limit


def _refused(told: Iterable[tuple[int, Told]], since: int, over: int | None) -> str:
    """Return what TWS turned a change down with, "" where it did not."""
    said = (one for at, one in told if since <= at and (over is None or at <= over))
    return "; ".join(dict.fromkeys(f"{one.text} ({one.code})" for one in said))


def _took(
    since: int, sent: Sequence[Mark], shown: Sequence[int], refused: str
) -> tuple[int | None, str] | None:
    """Return since when TWS had an order's new price (None: never), and how we know; None where it had it at once.

    shown: when it was shown with that price, at any time. A report that came before is no new one: where the order had
    had the price once, only that it was put right tells.
    """
    again = [mark.at for mark in sent if mark.why.startswith(REPAIR)]
    first = shown[bisect_left(shown, since)] if shown and shown[-1] >= since else None
    if shown and shown[0] < since:
        first = again[-1] if again else since
    if first is not None and first <= since + SLOW:
        return None
    took = (
        "it could not be sent at once" if not sent or sent[0].at > since else "TWS did not take its new price"
    )
    took += f": {refused}" if refused else ""
    if again:
        return first, f"{took}; sent again at {_moment(again[-1])}"
    if first is None:
        return None, f"TWS never showed its new price{': ' * bool(refused)}{refused}"
    return first, f"{took}{' at once' * (not refused)}; it showed it at {_moment(first)} first"


def _lost(ticket: Ticket, since: int, over: int | None, shown: _Shown) -> tuple[None, str] | None:
    """Return that an order got other prices after it had been shown with those wanted, and while these were wanted.

    A change that comes late, behind a later one, does that, and somebody at TWS may.
    """
    times = shown.times(ticket)
    first = bisect_left(times, since)
    for at, echo in shown.between(times[first] if first < len(times) else since + SLOW, over):
        other = off(ticket, echo)
        if other:  # at the moment of the next version it may be that one's price already
            return None, f"TWS showed it otherwise at {_moment(at)}: {', '.join(other)}"
    return None


class _Shown:
    """The echoes of an order by their prices: a stop that is moved a thousand times has a thousand, each looked up."""

    def __init__(self, echoes: Iterable[tuple[int, Echo]]) -> None:
        self._echoes = sorted(echoes, key=lambda pair: pair[0])
        self._at = [at for at, _ in self._echoes]
        self._one: dict[_Prices, Echo] = {}  # of each pair of prices
        self._when: dict[_Prices, list[int]] = {}
        for at, echo in self._echoes:
            prices = echo.stop, echo.limit
            self._one.setdefault(prices, echo)
            self._when.setdefault(prices, []).append(at)
        self._sorted: list[list[tuple[float, _Prices]]] = [[], []]  # by stop, by limit
        for prices in self._one:
            for rows, price in zip(self._sorted, prices, strict=True):
                if price is not None:
                    rows.append((price, prices))
        for rows in self._sorted:
            rows.sort(key=lambda row: row[0])

    def times(self, ticket: Ticket) -> list[int]:
        """Return when the order was shown with the prices of a ticket, in order."""
        same = [p for p in self._near(ticket) if not off(ticket, self._one[p])]
        return self._when[same[0]] if len(same) == 1 else sorted(at for p in same for at in self._when[p])

    def between(self, after: int, before: int | None) -> Iterator[tuple[int, Echo]]:
        """Yield the echoes of a time, both ends not."""
        last = len(self._at) if before is None else bisect_left(self._at, before)
        return (self._echoes[n] for n in range(bisect_right(self._at, after), last))

    def _near(self, ticket: Ticket) -> Iterable[_Prices]:
        """Return the prices among which those of a ticket are: of what trails, all that there were."""
        n = 0 if ticket.stop is not None else 1
        price = _prices(ticket)[n]
        if price is None or ticket.kind in TRAILS:
            return self._one
        width = 2.0 * PRICE_DIFFERENCE * abs(price)
        rows = self._sorted[n]
        low = bisect_left(rows, price - width, key=lambda row: row[0])
        high = bisect_right(rows, price + width, key=lambda row: row[0])
        return [prices for _, prices in rows[low:high]]


def off(ticket: Ticket, echo: Echo) -> list[str]:
    """Return in which prices an echo is not what was asked for, in words."""
    return [words for name, words in echo_differences(ticket, echo).items() if name in ("stop", "limit")]


# ---------------------------------------------------------------- orders that it held back
def held_back(ledger: Ledger, feeds: Sequence[Bars]) -> dict[str, Belated]:
    """Return, by ref, the market orders that TWS had and did not work at once."""
    bars = {b.instrument.con_id: b for b in feeds}
    echoes = _Told(ledger).echoes
    found = {}
    for intent in ledger.intents:
        own = bars.get(intent.ticket.con_id)
        if intent.ticket.kind is not Kind.MARKET or own is None:
            continue
        span = _span(echoes.get(intent.ref, ()), "PreSubmitted")
        if span is not None and span[1] is not None:
            found[intent.ref] = Belated(_row(own, span[1]), _words("PreSubmitted", span[1]))
    return found


def _inactive(echoes: Sequence[tuple[int, Echo]], bars: Bars) -> Belated | None:
    """Return since when an order was Inactive, and until when; None where it never was."""
    span = _span(echoes, "Inactive")
    if span is None:
        return None
    begin, end = span
    since = int(np.searchsorted(bars.end, begin, side="right"))
    return Belated(_row(bars, end), _words("Inactive", end), since=since)


def _lessened(intent: Intent, marks: Sequence[Mark], echoes: Sequence[tuple[int, Echo]]) -> Belated | None:
    """Return for how much TWS showed an order last, where that is less than was asked for; None where it is not."""
    if not echoes or any(mark.why.startswith(SMALLER) for mark in marks):
        return None
    at, echo = echoes[-1]
    asked, there = abs(intent.ticket.quantity), abs(echo.quantity)
    if there >= asked:
        return None
    return Belated(0, f"TWS showed it for {there} instead of {asked} at {_moment(at)}", only=float(there))


def _span(echoes: Sequence[tuple[int, Echo]], word: str) -> tuple[int, int | None] | None:
    """Return since when an order was told to stand so, and when it was told otherwise (None: it was not, but ended)."""
    begin = next((at for at, echo in echoes if echo.status == word), None)
    if begin is None:
        return None
    ends = {*CANCELLED_WORDS, "PendingCancel"}
    return begin, next(
        (at for at, e in echoes if at > begin and e.status != word and e.status not in ends), None
    )


def _words(word: str, end: int | None) -> str:
    return f"TWS held it back as {word}" + ("" if end is None else f", and told otherwise at {_moment(end)}")


def _moment(ns: int) -> str:
    return str(np.datetime64(ns, "ns").astype("datetime64[s]"))
