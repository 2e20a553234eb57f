"""Why live did otherwise than its backtest: the nearest cause that the run's own records show. Pure.

RULES is the table of causes: asked in its order, the first that has words for a difference names it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from quant.core.barsize import MINUTE, SECOND
from quant.promotion.belated import Belated
from quant.promotion.facts import FILLED_BEFORE, FillFact, OrderFact
from quant.promotion.said import About, Said, last_said, opened, shut_at

UNEXPLAINED: Final = "unexplained"
_CASH: Final = "the backtest's account has too little cash for it; the live account is larger, and pays"
_MIXED: Final = (
    "a fill of the slower feed is known at once live, and booked at its bar's END in the backtest: "
    "the equity that sizes follow from differs in between"
)
_RECENT: Final = 15 * MINUTE  # what was said longer ago is no cause by itself


def moment(ns: int) -> str:
    """Return a UTC time as text, to the second."""
    return str(np.datetime64(ns, "ns").astype("datetime64[s]"))


@dataclass(frozen=True, slots=True)
class Slow:
    """A fill that was told late. at: when it was; told: when we heard of it; both UTC ns."""

    at: int
    told: int
    words: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing ran. begin, end: of the time between two runs. after: bars that END later were not lived; UTC ns.

    first: END of the first bar that was live again.
    """

    begin: int
    end: int
    after: int
    first: int

    def covers(self, end: int) -> bool:
        """Return whether a bar of that END was not lived."""
        return self.after < end < self.first

    @property
    def words(self) -> str:
        """From when to when."""
        slow = self.first - self.end >= 5 * MINUTE
        ready = f"; the first live bar then was that of {moment(self.first)}" if slow else ""
        return f"not running from {moment(self.begin)} to {moment(self.end)}{ready}"


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What is known of a live run beside its orders.

    symbols: of the feeds. late: (feed, END) of changes of target that were not traded; untimely: of bars that could
    not be traded. missing: (feed, END) of stored
    bars that came otherwise or never. slow: fills that were told late. said: what the live path said of its link,
    its data and its gate, in order. whole_from: END of the first step at which every feed has a bar. mixed: feeds
    of bars of different lengths.
    market: prices and commissions are a market's, not those of the stored bars and the table. data: (feed, END) of
    decisions that follow from bars which live had otherwise. carried: refs of live orders of an earlier day.
    gaps: when nothing ran, between two runs. delayed: (feed, END) of bars that came as delayed data.
    ticks: price step of each feed, 0 = unknown. asked: by ref, when live asked for an order's end, UTC ns. withheld:
    (feed, END) of orders that live kept back, with the reason. belated: by ref, live orders that TWS did not show or
    work at once.
    """

    symbols: Sequence[str]
    late: frozenset[tuple[int, int]] = frozenset()
    missing: Mapping[tuple[int, int], str] = field(default_factory=dict)
    slow: Sequence[Slow] = ()
    said: Sequence[Said] = ()
    whole_from: int = 0
    mixed: bool = False
    market: bool = False
    data: Mapping[tuple[int, int], str] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()
    gaps: Sequence[Gap] = ()
    delayed: frozenset[tuple[int, int]] = frozenset()
    ticks: Sequence[float] = ()
    asked: Mapping[str, int] = field(default_factory=dict)
    withheld: Mapping[tuple[int, int], str] = field(default_factory=dict)
    untimely: frozenset[tuple[int, int]] = frozenset()
    belated: Mapping[str, Belated] = field(default_factory=dict)

    def held_up(self, feed: int, at: int, *more: About) -> str:
        """Return what was said last, not long before `at`, of the link or the feed's bars; "" for nothing.

        more: of these things too.
        """
        return last_said(self.said, self.symbols[feed], (About.LINK, About.BARS, *more), at - _RECENT, at)

    def held_from(self, feed: int, at: int, until: int | None = None) -> str:
        """Return what held a feed's orders back from `at` on until another moment (None: for ever); "" for nothing.

        The gate, or what was said of the link or the feed's bars not long before: until the gate opens again.
        """
        over = opened(self.said, 0, until)
        since = at - _RECENT if over is None else max(at - _RECENT, over + 1)
        recent = last_said(self.said, self.symbols[feed], (About.LINK, About.BARS), since, at)
        return recent or shut_at(self.said, at, until)  # the link shuts the gate

    def of_bar(self, feed: int, end: int, length: int) -> str:
        """Return what was said that can make a bar lack, or another one; "" for nothing. length: the bar's, ns."""
        begin, until, symbol = end - length, end + MINUTE, self.symbols[feed]
        around = last_said(self.said, symbol, (About.LINK, About.BARS), begin - _RECENT, until)
        return around or last_said(self.said, symbol, (About.PIECE,), begin, until)

    def gap_at(self, end: int) -> str:
        """Return from when to when nothing ran around a bar's END; "" where something did."""
        return next((gap.words for gap in self.gaps if gap.covers(end)), "")

    def slow_at(self, moment: int) -> str:
        """Return which fill was not known at a moment, though it had been made; "" for none."""
        found = next((s for s in self.slow if s.at <= moment < s.told), None)
        if found is None:
            return ""
        return f"the fill of {found.words} was told {(found.told - found.at) / SECOND:.0f} s late"


@dataclass(frozen=True, slots=True)
class Case:
    """A difference: an order of the backtest (`one`) and of live (`two`), never both None, that differ in `what`.

    parted: since when the two have been apart; richer: since when their accounts have, where only that; UTC ns.
    ended: the model's order that was decided next in the feed, with its other half: what ended `one` where that ended.
    """

    one: OrderFact | None
    two: OrderFact | None
    what: str
    evidence: Evidence
    parted: int | None = None
    richer: int | None = None
    ended: tuple[OrderFact, OrderFact | None] | None = None

    @property
    def order(self) -> OrderFact:
        """The one that there is."""
        found = self.one if self.one is not None else self.two
        assert found is not None  # noqa: S101  # for mypy
        return found

    @property
    def at(self) -> tuple[int, int]:
        """Feed and END of the bar that was decided on."""
        return self.order.feed, self.order.decided

    @property
    def fills(self) -> tuple[Sequence[FillFact], Sequence[FillFact]]:
        """The fills of both."""
        return (
            () if self.one is None else self.one.fills,
            () if self.two is None else self.two.fills,
        )


def explain(case: Case) -> tuple[str, str]:
    """Return the rule that has a cause and its words; ("", UNEXPLAINED) where nobody knows."""
    for name, rule in RULES.items():
        words = rule(case)
        if words:
            return name, words
    return "", UNEXPLAINED


# ---------------------------------------------------------------- the order and its bar
def _cash(case: Case) -> str:
    one, two = case.one, case.two
    short = one is not None and one.status == "rejected" and (two is None or two.status != "rejected")
    return _CASH if short else ""


def _carried(case: Case) -> str:
    two = case.two
    if two is not None and case.one is None and two.ref in case.evidence.carried:
        return f"decided on an earlier day, at {moment(two.decided)}"
    return ""


def _disaster(case: Case) -> str:
    own = case.one is None and case.two is not None and case.two.reason == "disaster"
    return "the deployment's disaster_stop; the backtest has none" if own else ""


def _data(case: Case) -> str:
    return case.evidence.data.get(case.at, "") if case.what in ("order", "end") else ""


def _bar(case: Case) -> str:
    """A bar that came otherwise, or never."""
    words = case.evidence.missing.get(case.at, "")
    sized = case.one is not None and case.two is not None and case.what == "order" and case.evidence.market
    return words if case.two is None or sized else ""


def _began(case: Case) -> str:
    early = case.two is None and case.order.decided < case.evidence.whole_from
    return "live begins to trade once every feed has a bar" if early else ""


def _delayed(case: Case) -> str:
    came = case.two is None and case.at in case.evidence.delayed
    return "IB sent delayed data, and nothing trades on those" if came else ""


def _gap(case: Case) -> str:
    return case.evidence.gap_at(case.order.decided) if case.two is None else ""


def _late(case: Case) -> str:
    if case.what == "end" and case.two is not None and case.two.status == "open":
        after = [end for feed, end in case.evidence.late if feed == case.two.feed and end > case.two.decided]
        return f"what ended it in the model, at {moment(min(after))}, was not traded in time" if after else ""
    if case.two is not None or case.at not in case.evidence.late | case.evidence.untimely:
        return ""
    why = case.evidence.held_up(case.order.feed, case.order.decided + MINUTE)
    return f"its bar could not be traded in time{': ' * bool(why)}{why}"


def _ended_as(*states: str) -> Callable[[Case], str]:
    """Return the rule of orders that ended so; it gives the reason that was told."""

    def rule(case: Case) -> str:
        two = case.two
        if two is None or two.status not in states:
            return ""
        return f"{two.status}: {two.why or 'TWS gave no reason'}"

    return rule


def _part(case: Case) -> str:
    partly = case.two is not None and case.two.status == "partly filled"
    return "TWS filled a part of it, and the rest was cancelled" if partly else ""


def _other_end(case: Case) -> str:
    one, two = case.one, case.two
    if one is None or two is None or one.status == two.status or not two.why:
        return ""
    if two.status == "filled":  # it says why its end was asked for, which did not come
        return ""
    return "" if two.why.startswith("Order Canceled") else two.why


def _cancelled(case: Case) -> str:
    two = case.two
    if two is None or two.status != "cancelled" or two.ref in case.evidence.asked:
        return ""
    ended = case.what in ("end", "fill")  # another price is no end, nor is an order that the model has not
    if two.why == FILLED_BEFORE:
        return two.why if ended or case.one is None else ""  # the model knew of the fill, and asked for none
    if not ended or not (case.evidence.market or two.why):  # a simulated TWS says so, with 202
        return ""
    return f"nobody here asked for it, and TWS cancelled it{': ' * bool(two.why)}{two.why}"


def _withheld(case: Case) -> str:
    return case.evidence.withheld.get(case.at, "") if case.two is None else ""


def _waited(case: Case) -> str:
    """An exit that was to take another one's place, which nobody may end while the gate is shut."""
    one = case.one
    if one is None or case.two is not None or one.kind == "market":
        return ""
    why = shut_at(case.evidence.said, one.decided, None if case.ended is None else case.ended[0].decided)
    return f"it could not be sent before the next was decided: {why}" if why else ""


def _corrected(case: Case) -> str:
    if case.what != "fill" or not any(fill.corrected for fill in case.fills[1]):
        return ""
    return (
        "TWS corrected the fill" if any(fill.quantity for fill in case.fills[1]) else "TWS took the fill back"
    )


def _unwanted(case: Case) -> str:
    two = case.two
    if case.one is not None or two is None or two.reason != "close":
        return ""
    # The change of target that was not traded; where the tape has none, the last bar that could not be.
    for known in (case.evidence.late, case.evidence.untimely):
        before = [end for feed, end in known if feed == two.feed and end < two.decided]
        if before:
            return f"closes what was not wanted any more since {moment(max(before))}"
    return ""


def _belated(case: Case) -> str:
    """TWS had the order, or its price, or worked it, only after the bar had begun in which one of the two filled it.

    Or it had it for less than was asked for, and filled that.
    """
    two, (old, new) = case.two, case.fills
    known = None if two is None else case.evidence.belated.get(two.ref)
    if known is None or case.what not in ("fill", "end"):
        return ""
    if known.moved and new and new[0].bar < known.row:
        return known.words  # at the price before
    if known.only and known.only == abs(math.fsum(fill.quantity for fill in new)):
        return known.words
    if not old or not known.since <= old[0].bar < known.row:
        return ""
    # What was held back may work again within the bar, at what is left of its prices.
    later = not new or new[-1].bar > old[-1].bar or (known.since > 0 and new[-1].bar == old[-1].bar)
    return known.words if later else ""


def _outlived(case: Case) -> str:
    """An exit that filled while nothing could take its place, as the model had it, or in spite of its cancellation."""
    one, two, evidence = case.one, case.two, case.evidence
    if one is None or two is None or case.what not in ("end", "fill"):
        return ""
    if one.status != "cancelled" or not two.fills:
        return ""
    asked = evidence.asked.get(two.ref)
    if asked is not None and asked <= two.fills[-1].time:
        return f"its cancellation was asked for at {moment(asked)}, and it filled all the same"
    if case.ended is None or case.ended[0].decided > two.fills[-1].time:
        return ""
    why = evidence.held_from(two.feed, case.ended[0].decided, two.fills[0].time)
    return f"it filled before another could take its place: {why}" if why else ""


def _ended_late(case: Case) -> str:
    """What the model ended it for came late live, or never, so that it lived on."""
    one, two, evidence = case.one, case.two, case.evidence
    if case.what not in ("end", "fill") or one is None or two is None or case.ended is None:
        return ""
    if one.status != "cancelled" or (not two.fills and two.status != "open"):
        return ""
    by, live = case.ended
    why = next(filter(None, (rule(Case(by, live, "fill", evidence)) for rule in _LATE)), "")
    if why:
        return f"what ended it in the model, at {moment(by.decided)}, came otherwise: {why}"
    asked = evidence.asked.get(two.ref)
    if asked is not None and by.decided + SECOND <= asked and (live is None or live.sent >= asked):
        held = evidence.held_up(two.feed, asked, About.GATE)
        return f"its end was asked for {(asked - by.decided) / SECOND:.0f} s after the model's{': ' * bool(held)}{held}"
    if two.fills or asked is not None:
        return ""
    held = evidence.held_from(two.feed, by.decided)
    return f"nothing could take its place: {held}" if held else ""


def _sent_late(case: Case) -> str:
    two = case.two
    if two is None or two.sent < two.decided + SECOND or case.what not in ("fill", "end"):
        return ""
    if two.reason == "close" and case.one is None:
        return ""
    if two.kind == "market" and any(fill.time > two.sent + MINUTE for fill in two.fills):
        return ""  # it waited for the market: held over night, and sent in time for the open
    why = case.evidence.held_up(two.feed, two.sent, About.GATE)
    return f"sent {(two.sent - two.decided) / SECOND:.0f} s after its bar's END{': ' * bool(why)}{why}"


def _in_parts(case: Case) -> str:
    old, new = case.fills
    if case.what != "fill" or not old or len({fill.bar for fill in new}) < 2:
        return ""
    if not math.isclose(*(math.fsum(fill.quantity for fill in fills) for fills in (old, new))):
        return ""
    return f"TWS filled it in {len(new)} parts, the last at {moment(new[-1].time)}; the model fills at once"


# ---------------------------------------------------------------- a market
def _later(case: Case) -> str:
    old, new = case.fills
    if not (case.evidence.market and case.what == "fill" and old and new) or new[-1].bar == old[-1].bar:
        return ""
    return f"filled at {moment(new[-1].time)}, {new[-1].bar - old[-1].bar:+d} bars from the model's"


def _slipped(case: Case) -> str:
    old, new = case.fills
    if not (case.evidence.market and case.what == "fill" and old and new) or new[-1].bar != old[-1].bar:
        return ""
    bought, sold = (math.fsum(f.quantity for f in fills) for fills in (old, new))
    prices = [math.fsum(f.price * f.quantity for f in fills) for fills in (old, new)]
    if bought != sold or not bought:
        return ""
    worse = (prices[1] - prices[0]) / abs(prices[0]) * 1e4
    return f"slippage: {worse:+.2f} bps of its price; the market is not the bar's open"


def _billed(case: Case) -> str:
    if not (case.evidence.market and case.what == "commission"):
        return ""
    if any(math.isnan(fill.commission) for fill in case.fills[1]):
        return "TWS has not told its commission yet"
    return "TWS billed another commission than the deployment's table of costs has"


def _step(case: Case) -> str:
    """An exit's price: nearly the model's, so that one fills where the other does not, or a little off it."""
    one, two, ticks = case.one, case.two, case.evidence.ticks
    if not (case.evidence.market and case.what != "commission" and one is not None and two is not None):
        return ""
    tick = ticks[one.feed] if ticks else 0.0
    same = (one.kind, one.quantity) == (two.kind, two.quantity) and one.price != two.price
    if not (same and abs(one.price - two.price) <= 1.001 * tick):
        return ""
    return f"its price at TWS, {two.price:g}, is less than a step of {tick:g} from the model's"


# ---------------------------------------------------------------- what came before
def _slow(case: Case) -> str:
    return case.evidence.slow_at(case.order.decided)


def _follows(case: Case) -> str:
    one, two = case.one, case.two
    if one is not None and two is not None and case.what == "order" and case.parted == one.decided:
        # Prices follow from bars, not from what became of another order of the same decision.
        alike = (one.kind, one.quantity) == (two.kind, two.quantity)
    else:
        alike = False
    return "" if alike or case.parted is None else f"follows from what was different at {moment(case.parted)}"


def _sized(case: Case) -> str:
    one, two = case.one, case.two
    if case.richer is None or one is None or two is None or one.quantity * two.quantity <= 0.0:
        return ""
    words = f"sizes follow from the account's value, which has been different since {moment(case.richer)}"
    return words if one.quantity != two.quantity else ""


def _untold(case: Case) -> str:
    lacks = case.what == "commission" and any(math.isnan(fill.commission) for fill in case.fills[1])
    return "TWS has not told its commission" if lacks else ""


def _mixed(case: Case) -> str:
    return _MIXED if case.what == "order" and case.evidence.mixed else ""


# Why an order came late, or never: what it was to end lived on.
_LATE: Final = (
    _bar, _delayed, _gap, _late, _withheld, _ended_as("not sent"), _ended_as("rejected"), _ended_as("unknown"),
    _belated, _sent_late,
)  # fmt: skip

RULES: Final[dict[str, Callable[[Case], str]]] = {
    "cash": _cash,
    "disaster stop": _disaster,
    "carried": _carried,
    "data": _data,
    "bar": _bar,
    "began": _began,
    "delayed": _delayed,
    "gap": _gap,
    "late": _late,
    "withheld": _withheld,
    "waited": _waited,
    "not sent": _ended_as("not sent"),
    "rejected": _ended_as("rejected"),
    "unknown": _ended_as("unknown"),
    "part": _part,
    "other end": _other_end,
    "cancelled": _cancelled,
    "corrected": _corrected,
    "unwanted": _unwanted,
    "belated": _belated,
    "outlived": _outlived,
    "ended late": _ended_late,
    "sent late": _sent_late,
    "in parts": _in_parts,
    "price step": _step,
    "later": _later,
    "slippage": _slipped,
    "commission": _billed,
    "told late": _slow,
    "follows": _follows,
    "sized": _sized,
    "untold": _untold,
    "mixed": _mixed,
}
