"""Engine `fast` for signals: stock order, fill and cash code, run only at the bars at which anything can happen.

Between two such bars no order can fill and no target acts, so cash and positions stand still and the account's
values follow from the closes, in the order of float operations of backtrader's broker. Where a job uses what
is not covered here, `not_covered` says so, and the loop of q.Cerebro visits every bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest.broker import CostFunction, TargetBroker
from quant.backtest.recorder import Record
from quant.core.calendar import Ints
from quant.core.costs import Costs
from quant.core.targets import acting_rows
from quant.strategy import Plan, Strategy

# What a strategy gives itself without touching the run, and what backtrader's metaclass writes into it.
OWN: Final = frozenset(
    {"params", "session", "valid", "signals", "signals_all", "plots"}
    | {"alias", "aliased", "csv", "frompackages", "linealias", "lines", "packages"}
    | {"plotinfo", "plotlabel", "plotlines"}
)
FIRST_SEARCH: Final = (
    64  # bars; exits are mostly touched soon, and a search over all bars for each would be quadratic
)


def not_covered(
    strategy: type[bt.Strategy],
    costs: Costs | bt.CommInfoBase | CostFunction,
    borrow: float | None,
) -> str | None:
    """Return why a job must visit every bar, None where this loop gives the same bits."""
    if not issubclass(strategy, Strategy):
        return "it is a plain bt.Strategy"
    if isinstance(costs, bt.CommInfoBase):
        return "it has a commission scheme of its own"
    if borrow is not None:
        return "a borrow rate is charged day by day"
    written = overridden(strategy)
    return f"{strategy.__name__} overrides {', '.join(written)}" if written else None


def overridden(strategy: type[Strategy]) -> list[str]:
    """Return what of q.Strategy's own a subclass replaces, beyond signals, parameters and the like."""
    own = strategy.__mro__[: strategy.__mro__.index(Strategy)]
    # backtrader writes its bookkeeping (_indcol, ...) into every class; what a person writes is public or __init__.
    written = {n for c in own for n in vars(c) if n == "__init__" or not n.startswith("_")}
    return sorted(written & set(dir(Strategy)) - OWN)


class QuietBroker(TargetBroker):
    """TargetBroker for a strategy that listens to nothing, without what is 0 for our commission schemes.

    No copies of orders for notifications, no interest, no cash of futures, and flat positions are not summed:
    each adds or takes 0.0. Source: backtrader 1.9.78.123, BackBroker.next and _get_value.
    """

    def notify(self, order: bt.Order) -> None:
        """Record the order; nobody else is told."""
        self.p.recorder.order(order)

    def next(self) -> None:
        """Try every living order once, in stock's order; then value the account and record it."""
        pending = self.pending
        pending.append(None)
        while (order := pending.popleft()) is not None:
            if not order.active():
                pending.append(order)
                continue
            self._try_exec(order)
            if order.alive():
                pending.append(order)
            elif order.status == order.Completed:
                self._bracketize(order)
        self._value = self.cash + self._worth()
        self.p.recorder.step(float(self.cash), float(self._value))

    def _worth(self) -> float:
        worth = 0.0
        for data, position in self.positions.items():
            if position.size:
                magnifier = self._magnifier(data)
                close = data.close[0] / magnifier
                value = position.size * close
                if value > 0:
                    # Stock's detour over the unrealised profit, for longs only; the leverage of our schemes is 1.
                    profit = position.size * (close - position.price / magnifier)
                    worth = worth + (value - profit) + profit
                else:
                    worth += value
        return worth

    def _magnifier(self, data: Any) -> int:
        """Return what a feed's prices are divided by to be money."""
        recorder = self.p.recorder
        magnifier: int = recorder.record.bars[recorder.number(data)].instrument.price_magnifier
        return magnifier


class SkippingCerebro(bt.Cerebro):  # type: ignore[misc]  # backtrader has no types
    """Cerebro with a loop that goes from one step at which anything can happen to the next."""

    def _runonce(self, runstrats: Sequence[Strategy]) -> None:
        (strategy,) = runstrats
        Loop(strategy, self._broker, self._broker.p.recorder.record).run()


class Loop:
    """One run. Steps are the union of the feeds' ENDs; a row is a bar of one feed."""

    def __init__(self, strategy: Strategy, broker: QuietBroker, record: Record) -> None:
        self.strategy, self.broker, self.record = strategy, broker, record
        self.feeds = strategy._feeds
        self.last = len(record.steps)
        # Per feed the step of each row; (steps, feeds) how many rows are over.
        self.step_of = [np.searchsorted(record.steps, b.end) for b in record.bars]
        self.rows_by = np.stack(
            [np.searchsorted(b.end, record.steps, side="right") for b in record.bars], axis=1
        )
        # A feed's first bar is visited too: its position takes its place in the account's sum there.
        acts = [s[np.append(0, self._acting(f))] for s, f in zip(self.step_of, self.feeds, strict=True)]
        self.wake, self.due = _by_step(acts)
        moves = [s[_moving(f.plan)] for s, f in zip(self.step_of, self.feeds, strict=True)]
        self.moves = {number: steps for number, steps in enumerate(moves) if len(steps)}
        names = (
            "close",
            "open",
            "high",
            "low",
            "datetime",
        )  # the first one counts the bars; nobody reads others
        self.lines = [[getattr(f.data.lines, n) for n in names] for f in self.feeds]

    def _acting(self, feed: Any) -> Ints:
        decisions = self.strategy._decisions
        left = feed.bars.minutes_to_close if decisions.rules.any else None
        waiting = decisions.start_rule == "next-change"
        return acting_rows(feed.plan.target, decisions.rules, waiting, left, feed.bars.bar.minutes)

    def run(self) -> None:
        """Visit every step at which an order may fill, a target acts or an exit moves."""
        step = 0
        while step < self.last:
            visit = self._next(step)
            if visit > step:
                self._skip(step, visit)
            if visit < self.last:
                self._advance(visit)
                self.broker.next()
                due = self._due(visit)
                if due:
                    self.strategy._step([self.feeds[number] for number in due])
            step = visit + 1

    def _next(self, step: int) -> int:
        """Return the first step from `step` on at which anything can happen, `last` if there is none."""
        exits = set()
        for order in self.broker.pending:
            if order.info.get("pair") is None or not order.active():
                return step
            exits.add(self.broker.p.recorder.number(order.data))
        visit = self._from(self.wake, step)
        for number, moves in self.moves.items():
            if self._held(self.feeds[number]):
                visit = min(visit, self._from(moves, step))
        for number in exits:
            visit = min(visit, self._touch(number, step, visit))
        return visit

    def _due(self, step: int) -> list[int]:
        """Return the feeds that decide at this step: those whose target acts, and whose exits may move."""
        first, last = np.searchsorted(self.wake, (step, step + 1))
        due = set(self.due[first:last].tolist())
        due |= {number for number, moves in self.moves.items() if self._from(moves, step) == step}
        return sorted(due)

    def _from(self, steps: Ints, step: int) -> int:
        at = int(np.searchsorted(steps, step))
        return int(steps[at]) if at < len(steps) else self.last

    def _held(self, feed: Any) -> int:
        """Return the units held; asking the broker itself would give the feed a place in its sums."""
        position = self.broker.positions.get(feed.data)
        return 0 if position is None else position.size

    def _touch(self, number: int, step: int, limit: int) -> int:
        """Return the first step in [step, limit) whose bar reaches a living exit of the feed, else `limit`."""
        feed, step_of = self.feeds[number], self.step_of[number]
        stop, target = feed.prices
        long = self._held(feed) > 0
        row, end = (int(r) for r in np.searchsorted(step_of, (step, limit)))
        width = FIRST_SEARCH
        while row < end:
            part = slice(row, min(row + width, end))
            high, low = feed.bars.high[part], feed.bars.low[part]
            touched = (low <= stop) | (high >= target) if long else (high >= stop) | (low <= target)
            if touched.any():
                return int(step_of[row + int(np.argmax(touched))])
            row, width = row + width, width * 4
        return limit

    def _advance(self, step: int) -> None:
        """Put every feed's lines on its last row that is over at `step`."""
        for lines, count in zip(self.lines, self.rows_by[step].tolist(), strict=True):
            if count != lines[0].lencount:
                for line in lines:
                    line._idx, line.lencount = count - 1, count

    def _skip(self, first: int, last: int) -> None:
        """Record the steps [first, last): cash and positions stand still, values follow the closes.

        Source of the order of operations: backtrader 1.9.78.123, BackBroker._get_value.
        """
        broker, worth = self.broker, np.zeros(last - first)
        for data, position in broker.positions.items():
            if position.size:  # a flat one adds 0.0, which changes no sum
                number = broker.p.recorder.number(data)
                close, price = (
                    self.record.bars[number].close[self.rows_by[first:last, number] - 1],
                    position.price,
                )
                magnifier = broker._magnifier(data)
                if magnifier != 1:
                    close, price = close / magnifier, price / magnifier
                value = position.size * close
                # Stock's detour over the unrealised profit, for longs only; the leverage of our schemes is 1.
                profit = position.size * (close - price)
                worth = np.where(value > 0, worth + (value - profit) + profit, worth + value)
        self.record.cash.extend([float(broker.cash)] * (last - first))
        self.record.value.extend((broker.cash + worth).tolist())


def _by_step(steps: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Return the steps of all feeds in order, and beside each the number of its feed."""
    number = np.repeat(np.arange(len(steps)), [len(s) for s in steps])
    at = np.concatenate(steps)
    order = np.lexsort((number, at))
    return at[order], number[order]


def _moving(plan: Plan) -> Ints:
    """Return the rows at which follow_stop may send exits anew: a price differs from the row before."""
    moves = np.zeros(len(plan.target), dtype=bool)
    for prices in (plan.stop, plan.limit) if plan.follow_stop else ():
        if prices is not None:
            moves[1:] |= ~np.isnan(prices[1:]) & (prices[1:] != prices[:-1])
    return np.flatnonzero(moves)
