"""A live run laid beside its backtest, order by order and bar by bar. Pure, over facts of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from quant.core.bars import COLUMNS, Bars
from quant.promotion.causes import UNEXPLAINED, Case, Evidence, explain, moment
from quant.promotion.facts import FillFact, OrderFact

CENT: Final = 0.005  # money nearer than this is the same to the cent


@dataclass(frozen=True, slots=True)
class Difference:
    """Where live and backtest part. at: END of the bar that was decided on, UTC ns.

    what: order, fill, commission, end, bars, cash or value. backtest, live: what each did, "" for nothing. cause:
    UNEXPLAINED if none is known.
    """

    at: int
    symbol: str
    what: str
    backtest: str
    live: str
    cause: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the time as UTC text."""
        return {**asdict(self), "at": moment(self.at)}

    def __str__(self) -> str:
        both = f"backtest {self.backtest or 'none'}, live {self.live or 'none'}"
        return f"{moment(self.at)} {self.symbol} {self.what}: {both}; {self.cause}"


@dataclass(frozen=True, slots=True)
class Pair:
    """An order of the backtest (`one`) and its other half live (`two`), and in what they differ.

    found: what, in words of each, the rule of causes.RULES that names the cause, the cause.
    """

    one: OrderFact | None
    two: OrderFact | None
    found: tuple[tuple[str, str, str, str, str], ...] = ()

    @property
    def order(self) -> OrderFact:
        """The one that there is."""
        order = self.one if self.one is not None else self.two
        assert order is not None  # noqa: S101  # for mypy: a pair is never of nothing
        return order


def compared(wanted: Sequence[OrderFact], got: Sequence[OrderFact], evidence: Evidence) -> list[Pair]:
    """Return the orders of a live run (`got`) beside those of its backtest, by time, each difference with its cause."""
    result = []
    apart = _Apart(evidence.market)
    pairs = list(_pairs(wanted, got))
    for (one, two), ended in zip(pairs, _ended(pairs), strict=True):
        found: list[tuple[str, str, str, str, str]] = []
        for what, backtest, live in _parts(one, two):
            parted = apart.at(Pair(one, two).order)
            rule, why = explain(Case(one, two, what, evidence, parted, apart.richer, ended))
            if not rule and found:  # orders that differ end and fill otherwise
                rule, why = found[0][3:]
            found.append((what, backtest, live, rule, why))
        result.append(Pair(one, two, tuple(found)))
        apart.take(result[-1])
    return [_with_its_mate(pair, result, evidence) for pair in result]


def _with_its_mate(pair: Pair, pairs: Sequence[Pair], evidence: Evidence) -> Pair:
    """Return an exit that we ended as its position's other exit had ended, with that one's cause where it has none.

    That is a cause of how it ended, and of nothing where it lay otherwise than the model's for no known reason.
    """
    order, two = pair.order, pair.two
    if all(rule for *_, rule, _ in pair.found) or two is None or two.ref not in evidence.asked:
        return pair
    if any(what == "order" and not rule for what, _, _, rule, _ in pair.found):
        return pair
    at = order.feed, order.decided
    mates = (p for p in pairs if (p.order.feed, p.order.decided) == at)
    for other in (p for p in mates if {p.order.reason, order.reason} == {"stop", "limit"}):
        known = next((row[3:] for row in other.found if row[0] == "end" and row[3]), None)
        if known is not None:
            cause = known[0], f"its {other.order.reason} ended: {known[1]}"
            filled = (
                row if row[3] or row[0] not in ("end", "fill") else (*row[:3], *cause) for row in pair.found
            )
            return replace(pair, found=tuple(filled))
    return pair


def _ended(
    pairs: Sequence[tuple[OrderFact | None, OrderFact | None]],
) -> list[tuple[OrderFact, OrderFact | None] | None]:
    """Return, for each pair, the next one in its feed whose model decided later: what an order was cancelled for."""
    found: list[tuple[OrderFact, OrderFact | None] | None] = []
    later: dict[int, list[tuple[OrderFact, OrderFact | None]]] = defaultdict(list)
    for one, two in reversed(pairs):
        order = Pair(one, two).order
        ahead = later[order.feed]
        found.append(next((pair for pair in reversed(ahead) if pair[0].decided > order.decided), None))
        if one is not None:
            if ahead and ahead[-1][0].decided == one.decided:
                ahead.pop()  # of one moment the first one: it ends what was there, the others begin something
            ahead.append((one, two))
    return found[::-1]


class _Apart:
    """Since when live and backtest have been apart. In a market fills differ in price for ever: positions tell.

    since: None while they are not; richer: the same of the money alone; both UTC ns.
    """

    def __init__(self, market: bool) -> None:
        self._market = market
        self.since: int | None = None
        self.richer: int | None = None
        self._apart: dict[int, float] = defaultdict(float)  # by feed, live's position less the backtest's
        self._filled: dict[
            int, tuple[int, int]
        ] = {}  # by feed: decision and last fill of live's latest that differs

    def at(self, order: OrderFact) -> int | None:
        """Return since when the two have been apart as an order is decided; an earlier one may still fill then."""
        decided, filled = self._filled.get(order.feed, (0, 0))
        return decided if self.since is None and decided < order.decided < filled else self.since

    def take(self, pair: Pair) -> None:
        """Count a pair."""
        at = pair.order.decided
        if not pair.found:
            return
        if not self._market:
            self.since = at if self.since is None else self.since
            return
        self.richer = at if self.richer is None else self.richer
        for order, sign in ((pair.one, -1.0), (pair.two, 1.0)):
            if order is not None:
                self._apart[order.feed] += sign * math.fsum(f.quantity for f in order.fills)
        if pair.two is not None and pair.two.fills:
            self._filled[pair.two.feed] = at, max(f.time for f in pair.two.fills)
        if not any(self._apart.values()):
            self.since = None
        elif self.since is None:
            self.since = at


def differences(
    wanted: Sequence[OrderFact], got: Sequence[OrderFact], evidence: Evidence
) -> list[Difference]:
    """Return where the orders of a live run (`got`) and of its backtest differ, by time."""
    return differences_of(compared(wanted, got, evidence), evidence)


def differences_of(pairs: Sequence[Pair], evidence: Evidence) -> list[Difference]:
    """Return the differences of pairs."""
    return [
        Difference(pair.order.decided, evidence.symbols[pair.order.feed], what, backtest, live, why)
        for pair in pairs
        for what, backtest, live, _, why in pair.found
    ]


def _pairs(
    wanted: Sequence[OrderFact], got: Sequence[OrderFact]
) -> Iterator[tuple[OrderFact | None, OrderFact | None]]:
    """Pair orders of one bar, feed and reason, by time; what has no other half comes with None."""
    both: dict[tuple[int, int, str], tuple[list[OrderFact], list[OrderFact]]] = defaultdict(lambda: ([], []))
    for n, side in enumerate((wanted, got)):
        for order in side:
            both[order.key][n].append(order)
    for key in sorted(both, key=lambda k: (k[1], k[0])):
        left, right = both[key]
        for n in range(max(len(left), len(right))):
            yield left[n] if n < len(left) else None, right[n] if n < len(right) else None


def _parts(one: OrderFact | None, two: OrderFact | None) -> Iterator[tuple[str, str, str]]:
    """Yield in what two orders differ, in words."""
    if one is None or two is None:
        yield "order", order_words(one), order_words(two)
        return
    if (one.kind, one.quantity) != (two.kind, two.quantity) or not _same(one.price, two.price):
        yield "order", order_words(one), order_words(two)
    if one.status != two.status:
        yield "end", one.status, two.status
    old, new = _whole(one.fills), _whole(two.fills)
    if old[:2] != new[:2] or not _same(old[2], new[2]):
        yield "fill", _filled(old), _filled(new)
    elif not _same(old[3], new[3], CENT):
        yield "commission", f"{old[3]:.2f}", f"{new[3]:.2f}"


def _whole(fills: Sequence[FillFact]) -> tuple[int, float, float, float]:
    """Return bar, quantity, mean price and commission of an order's fills; those of one bar and price are one."""
    if not fills:
        return -1, 0.0, math.nan, 0.0
    quantity = math.fsum(f.quantity for f in fills)
    if not quantity:  # taken back
        return fills[-1].bar, 0.0, math.nan, math.fsum(f.commission for f in fills)
    one_price = len({f.price for f in fills}) == 1
    price = fills[0].price if one_price else math.fsum(f.price * f.quantity for f in fills) / quantity
    return fills[-1].bar, quantity, price, math.fsum(f.commission for f in fills)


def _same(a: float, b: float, within: float = 0.0) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) < within


def order_words(order: OrderFact | None) -> str:
    """Return an order in words, "" for none."""
    if order is None:
        return ""
    price = "" if math.isnan(order.price) else f" at {order.price!r}"
    return f"{order.reason or 'own'}: {order.kind} {order.quantity:+g}{price} ({order.status})"


def _filled(fill: tuple[int, float, float, float]) -> str:
    return "" if fill[0] < 0 or not fill[1] else f"{fill[1]:+g} at {fill[2]!r} in bar {fill[0]}"


# ---------------------------------------------------------------- bars
def bars_apart(stored: Sequence[Bars], came: Sequence[Bars]) -> dict[tuple[int, int], str]:
    """Return (feed, END) of stored bars that live had otherwise, or not at all, with what was different."""
    found = {}
    for n, (bars, live) in enumerate(zip(stored, came, strict=True)):
        rows = {start: row for row, start in enumerate(live.start.tolist())}
        columns = [(name, getattr(bars, name).tolist(), getattr(live, name).tolist()) for name in COLUMNS]
        for row, (start, end) in enumerate(zip(bars.start.tolist(), bars.end.tolist(), strict=True)):
            at = rows.get(start)
            if at is None:
                found[n, end] = "its bar never came live"
                continue
            other = [f"{name} {b[at]!r} in place of {a[row]!r}" for name, a, b in columns if a[row] != b[at]]
            if other:
                found[n, end] = f"its bar came with {', '.join(other)}"
    return found


def bar_differences(
    stored: Sequence[Bars], apart: Mapping[tuple[int, int], str], evidence: Evidence
) -> list[Difference]:
    """Return differences of bars, those in a row as one."""
    found = []
    for n, bars in enumerate(stored):
        run: list[int] = []
        for row, end in enumerate([*bars.end.tolist(), 0]):
            if (n, end) in apart and (not run or apart[n, end] == apart[n, int(bars.end[run[0]])]):
                run.append(row)
                continue
            if run:
                first, words = int(bars.end[run[0]]), apart[n, int(bars.end[run[0]])]
                why = evidence.of_bar(n, first, bars.bar.ns) or UNEXPLAINED
                found.append(Difference(first, bars.symbol, "bars", f"{len(run)} as stored", words, why))
            run = [row] if (n, end) in apart else []
    return found


# ---------------------------------------------------------------- money
def money(
    what: str, ends: Sequence[int], wanted: Sequence[float], got: Mapping[int, float], evidence: Evidence
) -> list[Difference]:
    """Return where two accounts first differ by a cent or more, or live has no figure."""
    for end, amount in zip(ends, wanted, strict=True):
        live = got.get(end, math.nan)
        if not abs(live - amount) < CENT:
            told = "" if math.isnan(live) else f"{live:.2f}"
            why = evidence.slow_at(end) or UNEXPLAINED
            return [Difference(end, "", what, f"{amount:.2f}", told, why)]
    return []
