"""How a q.Strategy trades live: its plan is computed anew over all bars at each close, and only the newest may trade.

Everything that is decided from a target is quant.strategy's own `_step`; this says for which feeds it runs, and with
which plan. A change of target on a bar that could not be traded (before the feed was live, or too long ago) is late:
entries of it are never made, a position that it should have ended is closed at the next bar that can be traded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.core.bars import Bars
from quant.core.sizing import parse_sizing
from quant.core.targets import LastTarget, SessionRules, StartRule, session_rules
from quant.errors import ParameterError
from quant.live.moments import instrument_of, is_live, newest_until, root
from quant.strategy import Decisions, Plan, Strategy, plans
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
        self._acted: set[int] = set()  # feeds whose target has changed since `began`
        self.late: list[Late] = []
        # By number of the feed: its count of bars when it decided last, and what it had decided before that.
        self.before: dict[int, tuple[int, LastTarget]] = {}

    def __call__(self, strategy: Strategy, new: Sequence[Any]) -> Sequence[Any]:
        """Return those feeds with a new bar that may trade on it, all feeds with their plans made anew."""
        due = [feed for feed in new if self._tradable(feed)]
        if not due or any(not len(feed.data) for feed in strategy._feeds):
            return ()
        bars = [_upto(root(feed.data).bars, len(feed.data)) for feed in strategy._feeds]
        made = plans(self._strategy, bars, self._params)
        if strategy._decisions.disaster_stop is not None:
            for plan in made:
                check_sizes_stay(self._strategy.__name__, plan.target, "the deployment has a disaster_stop")
        for feed, own, plan in zip(strategy._feeds, bars, made, strict=True):
            feed.bars, feed.plan = own, plan
            if feed.number not in self._row:
                self._begin(strategy, feed)
        for feed in due:
            if not any(order.alive() for order in feed.pair):
                self._take_exits(strategy, feed)
            strategy.broker.decides(feed.data)
            self._catch_up(feed)
            self.before[feed.number] = len(feed.data), replace(feed.target)
            self._pursue(strategy, feed)
        return due

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
        """Give a feed the exits of an earlier process that still work."""
        feed.pair = strategy.broker.exits(feed.data)
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
                self._acted.add(feed.number)
                self.late.append(Late(feed.bars.symbol, int(feed.bars.end[row]), target))
        self._row[feed.number] = newest + 1

    @staticmethod
    def _decide(feed: Any, target: Any, row: int) -> float | None:
        left = float(feed.bars.minutes_to_close[row]) if target.rules.any else np.inf
        found: float | None = target.decide(float(feed.plan.target[row]), left, feed.bars.bar.minutes)
        return found

    def _pursue(self, strategy: Strategy, feed: Any) -> None:
        """Close what the last target does not want any more: an exit that was missed, or that did not fill."""
        row = len(feed.data) - 1
        if self._decide(feed, replace(feed.target), row) is not None:
            self._acted.add(feed.number)
            return  # this bar decides itself
        held = strategy.getposition(feed.data).size
        unwanted = held and held * feed.target.last <= 0.0 and feed.number in self._acted
        if unwanted and not strategy.broker.leaving(feed.data):
            strategy._cancel_pair(feed)
            strategy._market(feed, -held, "close")


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
