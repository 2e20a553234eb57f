"""q.Strategy: a backtrader strategy whose decisions are arrays, and the orders that follow from them.

The same class runs in backtests, sweeps and live. A subclass gives `signals`; what becomes of a target is
decided here, by DESIGN §5.2-5.4, with backtrader's own order calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import backtrader as bt

from quant.core.bars import Bars
from quant.core.sizing import Sizing
from quant.core.targets import LastTarget, SessionRules, StartRule
from quant.errors import StrategyError
from quant.strategy.panel import Panel
from quant.strategy.signals import Plan


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """All that `Strategy.next` needs: bars and plans of its feeds, in their order, and the settings.

    limit_first: of an ambiguous bar's two exits the limit fills (only to show the other outcome).
    refresh: where bars grow, called with the feeds that have a new bar; it gives all feeds their bars and plans of
    now, and returns the feeds that decide.
    own_money: cash is kept by a commission scheme of the user's, in units of its own; else it is in the currency,
    whatever prices are in.
    disaster_stop: live, percent from the close of an entry's bar at which an entry without a stop gets one; no size
    follows from it.
    """

    bars: Sequence[Bars]
    plans: Sequence[Plan]
    sizing: Sizing
    rules: SessionRules
    start_rule: StartRule = "first-target"
    limit_first: bool = False
    refresh: Callable[[Strategy, Sequence[Any]], Sequence[Any]] | None = None
    own_money: bool = False
    disaster_stop: float | None = None


class Strategy(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Base of strategies that give their wishes as arrays; see DESIGN §4 and docs/strategies.md.

    A subclass sets `params`, perhaps `session`, and gives `signals(bars, p)` or `signals_all(panel, p)`;
    row i of the result may depend on bars[: i + 1] only.
    """

    session: ClassVar[dict[str, Any]] = {}  # no_entry_last, flat_before_close, e.g. "10m"

    @staticmethod
    def valid(p: Any) -> bool:
        """Return False for parameters that make no sense together; they are refused."""
        return True

    @staticmethod
    def signals(bars: Bars, p: Any) -> Any:
        """Return Signals, or the (n,) targets alone, for one instrument."""
        raise NotImplementedError

    @staticmethod
    def signals_all(panel: Panel, p: Any) -> Any:
        """Return Signals, or the (n, k) targets alone, for all instruments together."""
        raise NotImplementedError

    @staticmethod
    def plots(bars: Bars, p: Any) -> Mapping[str, Mapping[str, Any]]:
        """Return what a report draws beside the bars: a pane, the names of its lines, (n,) values of each.

        The pane "price" lies over the bars, each other one below them. Nothing trades on it.
        """
        return {}

    def entry_size(self, data: Any, target: float, equity: float, close: float, stop: float) -> int:
        """Return the unsigned units of an entry; override it for a sizing of your own.

        data: backtrader's feed. equity: account value at this close, at least 0. close, stop: of one unit, in the
        currency of the equity (pounds where prices are in pence). stop: NaN = none.
        """
        return self._decisions.sizing.entry(target, equity, close, stop)

    # ------------------------------------------------------------ the run
    def __init__(self, decisions: Decisions | None = None) -> None:
        if decisions is None:
            reason = "runs through q.backtest, which computes its signals; stock Cerebro cannot"
            raise StrategyError(type(self).__name__, reason)
        self._decisions = decisions
        waiting = decisions.start_rule == "next-change"
        self._feeds = [
            _Feed(n, data, bars, plan, LastTarget(decisions.rules, waiting), decisions.own_money)
            for n, (data, bars, plan) in enumerate(
                zip(self.datas, decisions.bars, decisions.plans, strict=True)
            )
        ]

    def prenext(self) -> None:
        """Trade the feeds that have begun while others have not."""
        self.next()

    def next(self) -> None:
        """Decide for every feed whose bar just ended: first all exits and reductions, then all entries."""
        new = [feed for feed in self._feeds if feed.has_new_bar()]
        refresh = self._decisions.refresh
        self._step(new if refresh is None else refresh(self, new))

    def _step(self, feeds: Sequence[_Feed]) -> None:
        """Decide for `feeds`, in their order."""
        equity = max(self.broker.getvalue(), 0.0)
        due = [(feed, self._decide(feed, equity)) for feed in feeds]
        for feed, sizes in due:
            if sizes is None:
                self._follow(feed)
                continue
            self._cancel_pair(feed)
            if sizes[0]:
                held = self.getposition(feed.data).size
                self._market(feed, sizes[0], "close" if sizes[0] == -held else "reduce")
        for feed, sizes in due:
            if sizes is not None and sizes[1]:
                self._enter(feed, sizes[1])

    def _decide(self, feed: _Feed, equity: float) -> tuple[int, int] | None:
        """Return the signed sizes of the reducing order and of the entry; None: nothing to act upon."""
        i, rules = feed.bar, self._decisions.rules
        left = float(feed.bars.minutes_to_close[i]) if rules.any else math.inf
        target = feed.target.decide(float(feed.plan.target[i]), left, feed.bars.bar.minutes)
        if target is None:
            return None
        reduce, enter = self._sizes(feed, target, equity)
        return reduce, 0 if rules.closed_to_entries(left) else enter

    def _sizes(self, feed: _Feed, target: float, equity: float) -> tuple[int, int]:
        position, close = self.getposition(feed.data).size, feed.data.close[0] / feed.magnifier
        if target == 0.0:
            return -position, 0
        if position == 0 or position * target < 0:  # from flat, or a reversal: close, then open
            stop = feed.stop() / feed.magnifier
            size = int(self.entry_size(feed.data, target, equity, close, stop))
            if size < 0:
                reason = f"entry_size gave {size} for {feed.bars.symbol}; it is without sign, 0 or more"
                raise StrategyError(type(self).__name__, reason)
            return -position, size if target > 0 else -size
        delta = self._decisions.sizing.change(position, target, equity, close)
        return (delta, 0) if delta * position < 0 else (0, delta)

    # ------------------------------------------------------------ orders
    def _market(self, feed: _Feed, size: int, reason: str, **kwargs: Any) -> bt.Order:
        call = self.buy if size > 0 else self.sell
        return call(data=feed.data, size=abs(size), reason=reason, **kwargs)

    def _enter(self, feed: _Feed, size: int) -> None:
        """Send the entry, its exits as its children: they become active with its fill."""
        legs = feed.legs(self._entry_stop(feed, size), feed.limit(), self._decisions.limit_first)
        parent = self._market(feed, size, "entry", transmit=not legs)
        for n, (reason, kind, price) in enumerate(legs):
            last = n == len(legs) - 1
            order = self._market(
                feed,
                -size,
                reason,
                exectype=kind,
                price=price,
                parent=parent,
                transmit=last,
                pair=feed.prices,
            )
            feed.pair.append(order)

    def _entry_stop(self, feed: _Feed, size: int) -> float:
        """Return the stop of an entry: the strategy's own; else the deployment's, where it has one."""
        own, percent = feed.stop(), self._decisions.disaster_stop
        feed.stop_reason = "stop"
        if percent is None or not math.isnan(own):
            return own
        feed.stop_reason = "disaster"
        return disaster_price(float(feed.data.close[0]), percent, size)

    def _follow(self, feed: _Feed) -> None:
        """follow_stop: send the exits of a held position anew where a price changed; NaN keeps the old one."""
        position = self.getposition(feed.data).size
        if not (feed.plan.exits and feed.plan.follow_stop and position):
            return
        stop, limit = (
            old if math.isnan(new) else new
            for new, old in zip((feed.stop(), feed.limit()), feed.prices, strict=True)
        )
        if _same(stop, feed.prices[0]) and _same(limit, feed.prices[1]):
            return
        self._cancel_pair(feed)
        if not math.isnan(feed.stop()):
            feed.stop_reason = "stop"
        self._protect(feed, stop, limit)

    def _protect(self, feed: _Feed, stop: float, limit: float) -> None:
        """Send exits for all that is held, as an OCO pair: its entry has filled, and stock would reject children."""
        position, group = self.getposition(feed.data).size, None
        for reason, kind, price in feed.legs(stop, limit, self._decisions.limit_first):
            order = self._market(
                feed, -position, reason, exectype=kind, price=price, oco=group, pair=feed.prices
            )
            group = order if group is None else group
            feed.pair.append(order)

    def _cancel_pair(self, feed: _Feed) -> None:
        for order in feed.pair:
            self.cancel(order)  # without effect on one that is filled or cancelled
        feed.pair = []


def disaster_price(close: float, percent: float, size: float) -> float:
    """Return the deployment's stop of a position of that sign whose entry was decided at that close."""
    return close - math.copysign(abs(close) * percent / 100.0, size)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


class _Feed:
    """One feed of a running strategy: its bars and plan, its last target and its living exits."""

    def __init__(
        self, number: int, data: Any, bars: Bars, plan: Plan, target: LastTarget, own_money: bool
    ) -> None:
        self.number, self.data, self.bars, self.plan, self.target = number, data, bars, plan, target
        self.magnifier = (
            1 if own_money else bars.instrument.price_magnifier
        )  # prices are in 1/magnifier of the money
        self.seen = 0
        self.pair: list[bt.Order] = []
        self.prices = (math.nan, math.nan)  # stop and limit of the living exits
        self.stop_reason = "stop"  # or "disaster": not the strategy's own

    @property
    def bar(self) -> int:
        return len(self.data) - 1

    def has_new_bar(self) -> bool:
        new = len(self.data) > self.seen
        self.seen = len(self.data)
        return new

    def stop(self) -> float:
        return math.nan if self.plan.stop is None else float(self.plan.stop[self.bar])

    def limit(self) -> float:
        return math.nan if self.plan.limit is None else float(self.plan.limit[self.bar])

    def legs(self, stop: float, limit: float, limit_first: bool) -> list[tuple[str, int, float]]:
        """Return the exits that have a price, in the order in which they are tried."""
        self.prices = stop, limit
        legs = [(self.stop_reason, bt.Order.Stop, stop), ("limit", bt.Order.Limit, limit)]
        if limit_first:
            legs.reverse()
        return [leg for leg in legs if not math.isnan(leg[2])]
