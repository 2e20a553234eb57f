"""backtrader's standard observers, brought up to date when somebody looks instead of at every bar.

A step at which no order was notified and nothing changed adds NaN to the observers of orders and trades, and the
account's cash and value to that of the broker, which follow from the closes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import backtrader as bt
from array import array
from backtrader.linebuffer import LineBuffer
from backtrader.lineiterator import LineIterator

from quant.backtest.lazy import LazyBroker
from quant.core.sessions import Floats

_ACCOUNT: Final = (bt.observers.Broker, bt.observers.CashValue)
_EVENTS: Final = (bt.observers.BuySell, bt.observers.Trades, bt.observers.DataTrades)


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

    def __init__(
        self, strategy: Any, broker: LazyBroker, closes: Callable[[Any, int, int], Floats]
    ) -> None:
        self.observers = strategy._lineiterators[LineIterator.ObsType]
        self.broker, self.closes = broker, closes
        self.due = self.done = 0  # steps over, steps written
        self.lines = [line for o in self.observers for line in o.lines]
        for line in self.lines:
            line.late = self
            line.__class__ = LateLine
        broker.before_change.append(self.bring)

    def step(self) -> None:
        """Write the present step as stock does."""
        self.bring()
        self.due += 1
        self.done += 1
        for observer in self.observers:
            observer.forward()
            observer.next()

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
        for observer in self.observers:
            if isinstance(observer, _ACCOUNT):
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
    return all(type(o) in _ACCOUNT + _EVENTS and not o._analyzers for o in observers)


def _nans(count: int) -> bytes:
    return (array("d", [float("nan")]) * count).tobytes()


__all__ = ["Late", "standard"]
