"""Why live did otherwise than its backtest: the nearest cause that the run's own records show. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from quant.core.barsize import MINUTE, SECOND
from quant.promotion.facts import OrderFact

UNEXPLAINED: Final = "unexplained"
_CASH: Final = "the backtest's account has too little cash for it; the live account is larger, and pays"
_MIXED: Final = (
    "a fill of the slower feed is known at once live, and booked at its bar's END in the backtest: "
    "the equity that sizes follow from differs in between"
)
_SHOWN: Final = 160  # characters of what was told
_RECENT: Final = 15 * MINUTE  # what was told longer ago is no cause by itself


def moment(ns: int) -> str:
    """Return a UTC time as text, to the second."""
    return str(np.datetime64(ns, "ns").astype("datetime64[s]"))


@dataclass(frozen=True, slots=True)
class Slow:
    """A fill that was told late. at: when it was; told: when we heard of it; both UTC ns."""

    at: int
    told: int
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of a live run beside its orders.

    symbols: of the feeds. late: (feed, END) of changes of target that were not traded. missing: (feed, END) of stored
    bars that came otherwise or never. slow: fills that were told late. told: what the live path said of its link and
    its data, (UTC ns, words), in order. whole_from: END of the first step at which every feed has a bar. mixed: feeds
    of bars of different lengths.
    """

    symbols: Sequence[str]
    late: frozenset[tuple[int, int]] = frozenset()
    missing: Mapping[tuple[int, int], str] = field(default_factory=dict)
    slow: Sequence[Slow] = ()
    told: Sequence[tuple[int, str]] = ()
    whole_from: int = 0
    mixed: bool = False

    def last_told(self, at: int) -> str:
        """Return what was told last, not long before `at`; "" for nothing."""
        near = [(t, words) for t, words in self.told if at - _RECENT <= t <= at]
        # What comes at one moment begins with its cause.
        return next((f"{words[:_SHOWN]}, {moment(t)}" for t, words in near if t == near[-1][0]), "")

    def slow_at(self, moment: int) -> str:
        """Return which fill was not known at a moment, though it had been made; "" for none."""
        found = next((s for s in self.slow if s.at <= moment < s.told), None)
        if found is None:
            return ""
        return f"the fill of {found.words} was told {(found.told - found.at) / SECOND:.0f} s late"


def cause(
    one: OrderFact | None, two: OrderFact | None, what: str, evidence: Evidence, parted: int | None
) -> str:
    """Return why an order of the backtest (`one`) and of live (`two`) differ in `what`; UNEXPLAINED where nobody knows.

    parted: since when the two have been apart, UTC ns.
    """
    found = _of_the_order(one, two, what, evidence)
    if found:
        return found
    order = one if one is not None else two
    assert order is not None  # noqa: S101  # for mypy: never both None
    slow = evidence.slow_at(order.decided)
    if slow:
        return slow
    if parted is not None:
        return f"follows from what was different at {moment(parted)}"
    if what == "commission":
        return "TWS told another commission, or none" if evidence.told else UNEXPLAINED
    if what == "order" and evidence.mixed:
        return _MIXED
    filled = [] if two is None else [fill.time for fill in two.fills]
    until = max([order.decided, *filled])
    return evidence.last_told(until) or UNEXPLAINED


def _of_the_order(one: OrderFact | None, two: OrderFact | None, what: str, evidence: Evidence) -> str:
    """Return a cause that lies in the order or its bar, "" for none."""
    if one is not None and one.status == "rejected" and (two is None or two.status != "rejected"):
        return _CASH
    if two is None:
        return "" if one is None else _not_made(one, evidence)
    if two.status in ("not sent", "rejected", "unknown"):
        return f"{two.status}: {two.why or 'TWS gave no reason'}"
    if two.status == "partly filled":
        return "TWS filled a part of it, and the rest was cancelled"
    if one is not None and one.status != two.status and two.why and not two.why.startswith("Order Canceled"):
        return two.why
    if what == "fill" and any(fill.corrected for fill in two.fills):
        return "TWS corrected the fill"
    if one is None and two.reason == "close":
        before = [end for feed, end in evidence.late if feed == two.feed and end < two.decided]
        return f"closes what was not wanted any more since {moment(max(before))}" if before else ""
    if two.sent >= two.decided + SECOND and what in ("fill", "end"):
        why = evidence.last_told(two.sent)
        return f"sent {(two.sent - two.decided) / SECOND:.0f} s after its bar's END{': ' * bool(why)}{why}"
    return ""


def _not_made(one: OrderFact, evidence: Evidence) -> str:
    at = one.feed, one.decided
    if at in evidence.missing:
        return evidence.missing[at]
    if one.decided < evidence.whole_from:
        return "live begins to trade once every feed has a bar"
    if at in evidence.late:
        why = evidence.last_told(one.decided + MINUTE)
        return f"its bar could not be traded in time{': ' * bool(why)}{why}"
    return ""
