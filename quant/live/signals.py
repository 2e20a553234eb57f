"""How a q.Strategy trades live: its plan is computed anew over all bars at each close, and only the newest may trade.

Everything that is decided from a target is quant.strategy's own `_step`; this says for which feeds it runs, and with
which plan. A change of target on a bar that could not be traded (before the feed was live, or too long ago) is late:
entries of it are never made, a position that it should have ended is closed at the next bar that can be traded. Where
that bar wants such a position again, the model has closed and entered anew, and live has held on: the position stays as
it is, and gets the exits that the model's new one has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import backtrader as bt
import numpy as np

from quant.core.bars import Bars
from quant.core.growing import Grown, growing
from quant.core.sizing import parse_sizing
from quant.core.targets import LastTarget, SessionRules, StartRule, session_rules
from quant.errors import ParameterError
from quant.live.moments import instrument_of, is_live, newest_until, root
from quant.strategy import Decisions, Plan, Strategy, plans
from quant.strategy.base import disaster_price
from quant.strategy.signals import check_sizes_stay


@dataclass(frozen=True, slots=True)
class Late:
    """A change of target that was not traded. end: END of its bar, UTC ns."""

    symbol: str
    end: int
    target: float


class LivePlans:
    """The `refresh` of live Decisions.

    began: UTC ns; the first bar that ends after it is the deployment's first, where start_rule counts. A restart must
    give the same moment again: targets since then are what the strategy last wanted. late: what was not traded.
    """

    def __init__(
        self, strategy: type[Strategy], params: Mapping[str, Any], began: int, now: Callable[[], int]
    ) -> None:
        self._strategy, self._params, self._began, self._now = strategy, dict(params), began, now
        self._row: dict[int, int] = {}  # by number of the feed: the first row that was not decided upon
        self._changed: dict[
            int, int
        ] = {}  # by number of the feed: the row of its target's last change since `began`
        self._missed: dict[int, int] = {}  # the same row, where it has just been found to be late
        self._grown = Grown()
        self.late: list[Late] = []
        # By number of the feed: its count of bars when it decided last, and what it had decided before that.
        self.before: dict[int, tuple[int, LastTarget]] = {}

    def __call__(self, strategy: Strategy, new: Sequence[Any]) -> Sequence[Any]:
        """Return those feeds with a new bar that may trade on it, all feeds with their plans made anew."""
        due = [feed for feed in new if self._tradable(feed)]
        if not due or any(not len(feed.data) for feed in strategy._feeds):
            return ()
        bars = [_upto(root(feed.data).bars, len(feed.data)) for feed in strategy._feeds]
        with growing(self._grown):
            made = plans(self._strategy, bars, self._params, copied=False)
        if strategy._decisions.disaster_stop is not None:
            for plan in made:
                check_sizes_stay(self._strategy.__name__, plan.target, "the deployment has a disaster_stop")
        for feed, own, plan in zip(strategy._feeds, bars, made, strict=True):
            feed.bars, feed.plan = own, plan
            if feed.number not in self._row:
                self._begin(strategy, feed)
        deciding = []
        for feed in due:
            if not any(order.alive() for order in feed.pair):
                self._take_exits(strategy, feed)
            strategy.broker.decides(feed.data)
            self._catch_up(feed)
            self.before[feed.number] = len(feed.data), replace(feed.target)
            if not self._pursue(strategy, feed):
                self._hold_on(strategy, feed)
                deciding.append(feed)
        return deciding

    def _tradable(self, feed: Any) -> bool:
        """Return whether a feed's bar is the newest there is, and so new that it may be acted upon."""
        bars = root(feed.data).bars
        row = len(feed.data)
        if not is_live(feed.data) or row != len(bars):
            return False
        end = int(bars.end[row - 1])
        new = self._now() < newest_until(bars.instrument, bars.bar, end)
        return end > self._began and (new or getattr(root(feed.data), "may_be_old", False))

    def _begin(self, strategy: Strategy, feed: Any) -> None:
        """Find where the deployment began."""
        self._row[feed.number] = int(np.searchsorted(feed.bars.end, self._began, side="right"))

    @staticmethod
    def _take_exits(strategy: Strategy, feed: Any) -> None:
        """Give a feed the exits of an earlier process that still work.

        Of two of a kind the later one was to take the place of the other, and the process was killed in between.
        """
        found = sorted(strategy.broker.exits(feed.data), key=lambda order: order.ref)
        kept = {(order.size > 0, order.info["reason"] == "limit"): order for order in found}
        feed.pair = list(kept.values())
        strategy.broker.replace([order for order in found if order not in feed.pair], feed.pair)
        for order in feed.pair:
            stop, limit = feed.prices
            price = float(order.created.price)
            reason = order.info["reason"]
            feed.prices = (stop, price) if reason == "limit" else (price, limit)
            if reason != "limit":
                feed.stop_reason = reason

    def _catch_up(self, feed: Any) -> None:
        """Let the last target go through the bars that could not be traded."""
        newest = len(feed.data) - 1
        for row in range(self._row[feed.number], newest):
            target = self._decide(feed, feed.target, row)
            if target is not None:
                self._changed[feed.number] = self._missed[feed.number] = row
                self.late.append(Late(feed.bars.symbol, int(feed.bars.end[row]), target))
        self._row[feed.number] = newest + 1

    @staticmethod
    def _decide(feed: Any, target: Any, row: int) -> float | None:
        left = float(feed.bars.minutes_to_close[row]) if target.rules.any else np.inf
        found: float | None = target.decide(float(feed.plan.target[row]), left, feed.bars.bar.minutes)
        return found

    def _pursue(self, strategy: Strategy, feed: Any) -> bool:
        """Close what the last target does not want any more: an exit that was missed, or that did not fill.

        Return whether there is such a position: there is nothing else to decide then, and it gets no new exits.
        """
        row = len(feed.data) - 1
        if self._decide(feed, replace(feed.target), row) is not None:
            self._changed[feed.number] = row
            return False  # this bar decides itself
        held = strategy.getposition(feed.data).size
        unwanted = held and held * feed.target.last <= 0.0 and feed.number in self._changed
        if unwanted and not strategy.broker.leaving(feed.data):
            strategy._cancel_pair(feed)
            strategy._market(feed, -held, "close")
        return bool(unwanted)

    # ------------------------------------------------------------ a position that was to be closed, and is wanted again
    def _hold_on(self, strategy: Strategy, feed: Any) -> None:
        """Let a position with exits stay where the target wants it anew, and give it the exits of that change."""
        newest, held = len(feed.data) - 1, strategy.getposition(feed.data).size
        row, missed = self._changed.get(feed.number), self._missed.pop(feed.number, None)
        target = replace(feed.target)
        decided = self._decide(feed, target, newest) is not None
        exits = feed.plan.exits or strategy._decisions.disaster_stop is not None
        if row is None or not exits or held * target.last <= 0.0:
            return
        if decided:
            feed.target = target  # nothing is left to trade: with exits a held position's size never changes
        elif row != missed or strategy.broker.decided(feed.data, int(feed.bars.end[row])):
            return  # the position is that change's
        self._guard(strategy, feed, row)

    @staticmethod
    def _guard(strategy: Strategy, feed: Any, row: int) -> None:
        """Give what is held the exits of an entry that was decided on a row; those before end once these work.

        Without a stop there, nor one of the deployment's, the one before stays.
        """
        alive = [order for order in feed.pair if order.alive()]
        if any(order.parent is not None and order.parent.alive() for order in alive):
            return  # their entry still fills, and they are as large as all of it
        held = strategy.getposition(feed.data).size
        reason, stop = _stop_of(strategy, feed, row, held)
        limit = _price_of(feed.plan.limit, feed, row)
        if math.isnan(stop) and any(order.exectype == bt.Order.Stop for order in alive):
            reason, stop = feed.stop_reason, feed.prices[0]
        wanted = [(bt.Order.Stop, stop, -held), (bt.Order.Limit, limit, -held)]
        here = [(o.exectype, float(o.created.price), o.executed.remsize) for o in alive]
        if sorted(here) == sorted(leg for leg in wanted if not math.isnan(leg[1])):
            return
        feed.pair, feed.stop_reason = [], reason
        strategy._protect(feed, stop, limit)
        if all(order.alive() for order in feed.pair):
            strategy.broker.replace(alive, feed.pair)
        else:
            feed.pair = alive

    def to_guard(self, strategy: Strategy) -> Iterator[Any]:
        """Yield the feeds whose position, if there is one, is to have a stop."""
        for feed in strategy._feeds:
            if feed.number not in self._row:
                continue  # it has not decided yet
            row, held = self._changed.get(feed.number), strategy.getposition(feed.data).size
            if row is not None and held * feed.target.last > 0.0:
                has = not math.isnan(_stop_of(strategy, feed, row, held)[1])
            else:  # of no change of ours: taken over, or what is left of an earlier one
                has = feed.plan.stop is not None or strategy._decisions.disaster_stop is not None
            if has:
                yield feed


def _stop_of(strategy: Strategy, feed: Any, row: int, held: float) -> tuple[str, float]:
    """Return the reason and price of the stop of a position that was entered on a row; NaN = it has none."""
    own, percent = _price_of(feed.plan.stop, feed, row), strategy._decisions.disaster_stop
    if percent is None or not math.isnan(own):
        return "stop", own
    return "disaster", disaster_price(float(feed.bars.close[row]), percent, held)


def _price_of(prices: Any, feed: Any, row: int) -> float:
    """Return an exit's price of a row; with follow_stop the last one since."""
    if prices is None:
        return math.nan
    since = prices[row:] if feed.plan.follow_stop else prices[row : row + 1]
    known = since[~np.isnan(since)]
    return float(known[-1]) if len(known) else math.nan


def _upto(bars: Bars, n: int) -> Bars:
    return bars if len(bars) == n else bars[:n]


def live_decisions(
    strategy: type[Strategy], params: Mapping[str, Any], feeds: Sequence[Any], *, began: int, now: Callable[[], int],
    sizing: str | None = None, start_rule: StartRule = "next-change", disaster_stop: float | None = None,
) -> Decisions:  # fmt: skip
    """Return what `cerebro.addstrategy(strategy, decisions=..., **params)` needs to trade live.

    params: all of them (`quant.strategy.parameters`). feeds: in the order in which they are added. began, now: UTC ns,
    see LivePlans. disaster_stop: percent, see Decisions. Raises ParameterError for two feeds of one instrument (they
    would share one position) and for session rules that the feeds cannot have.
    """
    bars = [root(feed).bars for feed in feeds]
    ids = [instrument_of(feed).con_id for feed in feeds]
    twice = next((b.symbol for b, con_id in zip(bars, ids, strict=True) if ids.count(con_id) > 1), None)
    if twice is not None:
        raise ParameterError(
            "feeds", twice, "two feeds of one instrument would share one position; give one of them"
        )
    rules = _rules(strategy, bars)
    wanted = parse_sizing(sizing, len(bars))
    nothing = Plan(np.empty(0), None, None, False)
    refresh = LivePlans(strategy, params, began, now)
    blank = [nothing] * len(bars)
    return Decisions(bars, blank, wanted, rules, start_rule, refresh=refresh, disaster_stop=disaster_stop)


def _rules(strategy: type[Strategy], bars: Sequence[Bars]) -> SessionRules:
    rules = session_rules(strategy.session)
    for b in bars:
        if rules.any and b.instrument.calendar is None:
            raise ParameterError("session", strategy.session, f"the calendar of {b.symbol} is not known")
        if rules.flat_before_close is not None and not b.bar.intraday:
            raise ParameterError(
                "session.flat_before_close", str(b.bar), "has no meaning on daily and longer bars"
            )
    return rules
