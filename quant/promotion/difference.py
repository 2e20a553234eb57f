"""A live run laid beside its backtest: each difference, and what caused it. Pure, over facts of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from quant.promotion.facts import FillFact, OrderFact

CENT: Final = 0.005  # money nearer than this is the same to the cent
UNEXPLAINED: Final = "unexplained"
MIXED: Final = "a fill of the slower feed is known at once live, in the backtest at its bar's END: the equity between differs"


@dataclass(frozen=True, slots=True)
class Difference:
    """Where live and backtest part. at: END of the bar that was decided on, UTC ns. cause: UNEXPLAINED if none is known.

    backtest, live: what each did, "" for nothing.
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
        return f"{moment(self.at)} {self.symbol} {self.what}: backtest {self.backtest or 'none'}, live {self.live or 'none'}; {self.cause}"


def moment(ns: int) -> str:
    """Return a UTC time as text, to the second."""
    return str(np.datetime64(ns, "ns").astype("datetime64[s]"))


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of a live run beside its orders.

    symbols: of the feeds. late: (feed, END) of targets that were not traded; stops: (from, to, why) in which nothing
    new was sent; missing: (feed, END) of stored bars that never came, or came otherwise; told: what the live path said
    of what was done to it, (UTC ns, words), in order. whole_from: END of the first step at which every feed has a bar.
    mixed: the feeds' bars are of different lengths.
    """

    symbols: Sequence[str]
    late: frozenset[tuple[int, int]] = frozenset()
    stops: Sequence[tuple[int, int, str]] = ()
    missing: Mapping[tuple[int, int], str] | None = None
    told: Sequence[tuple[int, str]] = ()
    whole_from: int = 0
    mixed: bool = False


def differences(wanted: Sequence[OrderFact], got: Sequence[OrderFact], evidence: Evidence) -> list[Difference]:
    """Return where the orders of a live run (`got`) and of its backtest differ, by time."""
    found = []
    parted: int | None = None  # since when the two hold something else
    for one, two in _pairs(wanted, got):
        order = one if one is not None else two
        assert order is not None  # noqa: S101  # for mypy: a pair is never of nothing
        for what, backtest, live in _parts(one, two):
            cause = _cause(one, two, what, evidence, parted)
            found.append(Difference(order.decided, evidence.symbols[order.feed], what, backtest, live, cause))
            if what != "commission" and parted is None:
                parted = order.decided
    return found


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
        yield "order", _words(one), _words(two)
        return
    if (one.kind, one.quantity) != (two.kind, two.quantity) or not _same(one.price, two.price):
        yield "order", _words(one), _words(two)
    if one.status != two.status:
        yield "end", one.status, f"{two.status} {two.why}".strip()
    if not one.fills and not two.fills:
        return
    old, new = _whole(one.fills), _whole(two.fills)
    if old[:3] != new[:3]:
        yield "fill", _filled(old), _filled(new)
    elif not _same(old[3], new[3], CENT):
        yield "commission", f"{old[3]:.2f}", f"{new[3]:.2f}"


def _whole(fills: Sequence[FillFact]) -> tuple[int, float, float, float]:
    """Return bar, quantity, mean price and commission of an order's fills; those of one bar and price are one."""
    if not fills:
        return -1, 0.0, math.nan, 0.0
    quantity = math.fsum(f.quantity for f in fills)
    one_price = len({f.price for f in fills}) == 1
    price = fills[0].price if one_price else math.fsum(f.price * f.quantity for f in fills) / quantity
    return fills[-1].bar, quantity, price, math.fsum(f.commission for f in fills)


def _same(a: float, b: float, within: float = 0.0) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) < within


def _words(order: OrderFact | None) -> str:
    if order is None:
        return ""
    price = "" if math.isnan(order.price) else f" at {order.price!r}"
    return f"{order.reason or 'own'}: {order.kind} {order.quantity:+g}{price} ({order.status})"


def _filled(fill: tuple[int, float, float, float]) -> str:
    return "" if fill[0] < 0 else f"{fill[1]:+g} at {fill[2]!r} in bar {fill[0]}"


# ---------------------------------------------------------------- why
def _cause(
    one: OrderFact | None, two: OrderFact | None, what: str, evidence: Evidence, parted: int | None
) -> str:
    """Return what an order's difference comes from; the nearest cause first."""
    order = one if one is not None else two
    assert order is not None  # noqa: S101  # as above
    feed, at = order.feed, order.decided
    if one is not None and one.status == "rejected" and (two is None or two.status != "rejected"):
        return "the backtest's account had too little cash, the live one has enough"
    if one is not None and two is None:
        if (feed, at) in (evidence.missing or {}):
            return (evidence.missing or {})[feed, at]
        if at < evidence.whole_from:
            return "live begins to trade once every feed has a bar"
        if (feed, at) in evidence.late:
            return f"the bar could not be traded in time, and an entry is never made late: {_before(evidence, at)}"
    if two is not None and two.status in ("not sent", "rejected", "unknown"):
        return f"{two.status}: {two.why}"
    if two is not None and two.sent > at + 10**9:
        return f"sent {(two.sent - at) / 1e9:.0f} s after its bar's END: {_before(evidence, two.sent)}"
    stop = next((why for begin, end, why in evidence.stops if begin <= at <= end), None)
    if stop is not None:
        return stop
    if parted is not None and parted < at:
        return f"follows from what was different at {moment(parted)}"
    if what == "commission":
        return _before(evidence, at, "the commission was told otherwise, or not at all")
    if parted is not None:
        return "follows from the difference before"
    return _before(evidence, at, MIXED if evidence.mixed and what == "order" else UNEXPLAINED)


def _before(evidence: Evidence, at: int, otherwise: str = UNEXPLAINED) -> str:
    """Return the last thing that was told before `at`."""
    return next((f"{words} ({moment(t)})" for t, words in reversed(evidence.told) if t <= at), otherwise)


def money(
    ends: Sequence[int], wanted: Sequence[float], got: Mapping[int, float]
) -> tuple[int, float, float] | None:
    """Return END and both amounts where two accounts first differ by a cent or more, or live has none; None = never."""
    for end, amount in zip(ends, wanted, strict=False):
        live = got.get(int(end), math.nan)
        if not abs(live - amount) < CENT:
            return int(end), amount, live
    return None
