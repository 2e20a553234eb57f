"""What the backtest says of one day, begun where live stood: the strategy's signals over all bars, the day's decisions.

It is the engine of reference over the day's bars alone. Targets, positions, cash and living exits are live's at the
day's beginning, so that a day stands by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import backtrader as bt
import numpy as np

from quant.backtest import engine
from quant.backtest.job import Job
from quant.core.bars import Bars
from quant.core.sessions import Floats
from quant.core.targets import LastTarget
from quant.promotion.expected import Stepped, on_steps
from quant.promotion.facts import OrderFact, of_backtest
from quant.promotion.parity.day import Day
from quant.promotion.parity.lived import Stood
from quant.strategy import Plan, Strategy


@dataclass(slots=True, eq=False)
class Modelled:
    """The model's day. decisions: the new target by (feed, END). orders: rows of fills count in the job's bars."""

    orders: list[OrderFact] = field(default_factory=list)
    decisions: dict[tuple[int, int], float] = field(default_factory=dict)


def model(
    job: Job, day: Day, began: int, cash: float, stood: Sequence[Stood], steps: Mapping[str, Stepped]
) -> Modelled:
    """Return the day as the backtest has it.

    job: over all bars up to the day's end, with its plans. began: the deployment's first moment: it decides only on
    bars that end later. cash, stood: at the day's beginning. steps: of prices, by symbol; none for a symbol whose
    step is not known.
    """
    assert issubclass(job.strategy, Strategy)  # noqa: S101  # callers have refused others
    assert job.plans is not None  # noqa: S101  # for mypy: a q.Strategy has plans
    firsts = [max(int(np.searchsorted(b.end, day.begin, side="right")) - 1, 0) for b in job.bars]
    bars = tuple(b[first:] for b, first in zip(job.bars, firsts, strict=True))
    found = Modelled()
    start = _Start(day, began, stood, [targets_before(job, n, day, began) for n in range(len(bars))], found)
    cls = job.strategy
    known = {symbol: step for symbol, step in steps.items() if step is not None}
    if len(known) == len(bars) and any(plan.exits for plan in job.plans):
        cls = on_steps(cls, known)
    plans = tuple(_cut(plan, first) for plan, first in zip(job.plans, firsts, strict=True))
    record = engine.run(replace(job, strategy=start.over(cls), bars=bars, plans=plans, cash=cash), "plain")
    orders = of_backtest(record)
    for order in orders:
        order.fills = [replace(fill, bar=fill.bar + firsts[order.feed]) for fill in order.fills]
    found.orders = orders
    return found


def targets_before(job: Job, feed: int, day: Day, began: int) -> LastTarget:
    """Return the last target of a feed as the day begins, by the model's own signals since the deployment began."""
    assert job.plans is not None  # noqa: S101  # for mypy: a q.Strategy has plans
    bars, plan = job.bars[feed], job.plans[feed]
    state = LastTarget(job.rules, job.start_rule == "next-change")
    first = int(np.searchsorted(bars.end, began, side="right"))
    last = int(np.searchsorted(bars.end, day.since))
    for row in range(first, last):
        state.decide(float(plan.target[row]), _left(job, bars, row), bars.bar.minutes)
    return state


def decisions_on(
    job: Job, bars: Sequence[Bars], plans: Sequence[Plan], day: Day, began: int, stood: Sequence[Stood]
) -> dict[tuple[int, int], float]:  # fmt: skip
    """Return the day's decisions that plans of other bars give, from where live stood; no account is asked."""
    found = {}
    for n, (own, plan) in enumerate(zip(bars, plans, strict=True)):
        state = targets_before(replace(job, bars=tuple(bars), plans=tuple(plans)), n, day, began)
        if stood[n].target is not None or stood[n].waiting:
            state.last, state.waiting = stood[n].target or 0.0, stood[n].waiting
        for row in range(int(np.searchsorted(own.end, day.since)), len(own)):
            end = int(own.end[row])
            if not (began < end and day.decides(end)):
                continue
            target = state.decide(float(plan.target[row]), _left(job, own, row), own.bar.minutes)
            if target is not None:
                found[n, end] = target
    return found


def _left(job: Job, bars: Bars, row: int) -> float:
    return float(bars.minutes_to_close[row]) if job.rules.any else math.inf


def _cut(plan: Plan, first: int) -> Plan:
    def part(values: Floats | None) -> Floats | None:
        return None if values is None else values[first:]

    return Plan(plan.target[first:], part(plan.stop), part(plan.limit), plan.follow_stop)


class _Start:
    """Puts a strategy where live stood, and lets it decide on the day's bars only."""

    def __init__(
        self, day: Day, began: int, stood: Sequence[Stood], own: Sequence[LastTarget], found: Modelled
    ) -> None:
        self._day, self._began, self._stood, self._own, self._found = day, began, stood, own, found
        self._begun: set[int] = set()

    def over(self, cls: type[Strategy]) -> type[Strategy]:
        """Return the strategy that begins so."""
        here, known = self, self._found.decisions

        def init(self: Any, decisions: Any) -> None:
            cls.__init__(self, replace(decisions, refresh=here.refresh))

        def start(self: Any) -> None:
            for feed, stood in zip(self._feeds, here._stood, strict=True):
                size = int(stood.position) if stood.position == int(stood.position) else stood.position
                if size:  # what it cost is in the cash already
                    held = self.broker.positions[feed.data]
                    held.fix(size, float(feed.bars.close[0]))
                    # Stock asks a short since when it is held, for interest that nobody takes here.
                    held.datetime = np.datetime64(int(feed.bars.end[0]), "ns").astype("datetime64[us]").item()
            cls.start(self)

        def decide(self: Any, feed: Any, equity: float) -> tuple[int, int] | None:
            sizes = cls._decide(self, feed, equity)
            if sizes is not None:
                known[feed.number, int(feed.bars.end[feed.bar])] = float(feed.target.last)
            return sizes

        names: dict[str, Callable[..., Any] | str] = {
            "__init__": init, "start": start, "_decide": decide, "__module__": cls.__module__,
        }  # fmt: skip
        made: type[Strategy] = type(cls.__name__, (cls,), names)
        return made

    def refresh(self, strategy: Any, new: Sequence[Any]) -> Sequence[Any]:
        """Return the feeds that decide; at the first bar of a feed its exits are made."""
        for feed in new:
            if feed.number not in self._begun:
                self._begun.add(feed.number)
                self._begin(strategy, feed)
        ends = [(feed, int(feed.bars.end[feed.bar])) for feed in new]
        return [feed for feed, end in ends if self._began < end and self._day.decides(end)]

    def _begin(self, strategy: Any, feed: Any) -> None:
        stood, own = self._stood[feed.number], self._own[feed.number]
        told = stood.target is not None or stood.waiting
        feed.target.last = (stood.target or 0.0) if told else own.last
        feed.target.waiting = stood.waiting if told else own.waiting
        prices = {exit_.reason: exit_.price for exit_ in stood.exits}
        feed.prices = prices.get("stop", math.nan), prices.get("limit", math.nan)
        first = None
        for one in stood.exits:
            kind = bt.Order.Stop if one.reason == "stop" else bt.Order.Limit
            order = strategy._market(
                feed,
                int(one.quantity),
                one.reason,
                exectype=kind,
                price=one.price,
                oco=first,
                pair=feed.prices,
            )
            first = order if first is None else first
            feed.pair.append(order)
