"""backtrader's standard observers, brought up to date when somebody looks instead of at every bar.

A step at which no order was notified and nothing changed adds NaN to the observers of orders and trades, and the
account's cash and value to that of the broker, which follow from the closes.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

import backtrader as bt
from backtrader.linebuffer import LineBuffer
from backtrader.lineiterator import LineIterator

from quant.backtest.lazy import LazyBroker
from quant.core.sessions import Floats

_ACCOUNT: Final = (bt.observers.Broker, bt.observers.CashValue)
_TRADES: Final = (bt.observers.Trades, bt.observers.DataTrades)
_KNOWN: Final = (*_ACCOUNT, bt.observers.BuySell, *_TRADES)
_NAN: Final = float("nan")


class LateLine(LineBuffer):  # type: ignore[misc]  # backtrader has no types
    """A line of a standard observer; whoever reads it sees it up to date."""

    late: Late

    @property
    def _idx(self) -> int:
        self.late.bring()
        return int(self.__dict__["_idx"])

    @_idx.setter
    def _idx(self, value: int) -> None:
        self.__dict__["_idx"] = value

    @property
    def lencount(self) -> int:
        self.late.bring()
        return int(self.__dict__["lencount"])

    @lencount.setter
    def lencount(self, value: int) -> None:
        self.__dict__["lencount"] = value

    @property
    def array(self) -> Any:
        self.late.bring()
        return self.__dict__["array"]

    @array.setter
    def array(self, value: Any) -> None:
        self.__dict__["array"] = value


class Late:
    """The standard observers of one strategy.

    closes(data, first, last): its closes at the steps [first, last).
    """

    def __init__(self, strategy: Any, broker: LazyBroker, closes: Callable[[Any, int, int], Floats]) -> None:
        self.strategy = strategy
        observers = strategy._lineiterators[LineIterator.ObsType]
        self.accounts = [o for o in observers if isinstance(o, _ACCOUNT)]
        self.marks = [o for o in observers if isinstance(o, bt.observers.BuySell)]
        self.trades = [o for o in observers if isinstance(o, _TRADES)]
        self.broker, self.closes = broker, closes
        self.due = self.done = 0  # steps over, steps written
        self.lines = [line for o in observers for line in o.lines]
        for line in self.lines:
            line.late = self
            line.__class__ = LateLine
        broker.before_change.append(self.bring)

    def step(self) -> None:
        """Write the present step: orders or trades were notified, or the account does not follow from the closes."""
        self.bring()
        self.due += 1
        self.done += 1
        for line in self.lines:
            own = line.__dict__
            own["_idx"] += 1
            own["lencount"] += 1
            own["array"].append(_NAN)
        broker, last = self.broker, self.done - 1
        for observer in self.accounts:
            lines = observer.lines
            if observer._fundmode:
                lines.value.__dict__["array"][last] = broker.fundvalue
            else:
                lines.value.__dict__["array"][last] = broker.getvalue()
                lines.cash.__dict__["array"][last] = broker.getcash()
        if self.strategy._orderspending:
            for observer in self.marks:
                self._mark(observer)
        if self.strategy._tradespending:
            for observer in self.trades:
                observer.next()

    def _mark(self, observer: Any) -> None:
        """BuySell.next, for a slot that holds NaN, as it does but for a replay."""
        data = observer.data
        done = [o for o in self.strategy._orderspending if o.data is data and o.executed.size]
        bought = [o.executed.price for o in done if o.isbuy()]
        sold = [o.executed.price for o in done if not o.isbuy()]
        observer.curbuylen, observer.curselllen = len(bought), len(sold)
        for prices, line, edge, far in (
            (bought, observer.lines.buy, data.lines.low, 1 - observer.p.bardist),
            (sold, observer.lines.sell, data.lines.high, 1 + observer.p.bardist),
        ):
            if prices:
                mean = (0.0 + math.fsum(prices)) / float(len(prices))
                if not observer.p.barplot:
                    line[0] = mean
                elif not math.isnan(mean):
                    line[0] = edge[0] * far

    def bring(self) -> None:
        """Write the steps that are due."""
        first, last = self.done, self.due
        if first == last:
            return
        self.done = last
        for line in self.lines:
            own = line.__dict__
            own["_idx"] += last - first
            own["lencount"] += last - first
            own["array"].frombytes(_nans(last - first))
        for observer in self.accounts:
            self._account(observer, first, last)

    def _account(self, observer: Any, first: int, last: int) -> None:
        def close(data: Any) -> Floats:
            return self.closes(data, first, last)

        fund = observer._fundmode
        values = self.broker.values(close, last - first, fund)
        observer.lines.value.__dict__["array"][first:last] = array("d", values.tobytes())
        if not fund:
            cash = array("d", [self.broker.cash]) * (last - first)
            observer.lines.cash.__dict__["array"][first:last] = cash

    def end(self) -> None:
        """Write what is due, and leave plain lines."""
        self.bring()
        for line in self.lines:
            line.__class__ = LineBuffer
            del line.late


def standard(strategy: Any) -> bool:
    """True where all of the strategy's observers are those that this file knows."""
    observers: Sequence[Any] = strategy._lineiterators[LineIterator.ObsType]
    return all(type(o) in _KNOWN and not o._analyzers for o in observers)


def _nans(count: int) -> bytes:
    return (array("d", [_NAN]) * count).tobytes()


__all__ = ["Late", "standard"]
