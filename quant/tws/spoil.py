"""What faults make of messages: other accounts, delayed data, and bars that are early, old, revised, missing or zero.

Messages of ibapi.protobuf in, such messages out; no wire, no time.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final

import numpy as np
from ibapi.ticktype import TickTypeEnum

from quant.tws.faults import OF_BARS, Do, Fault

DELAYED: Final = 3  # the kind of market data: ibapi's reqMarketDataType
_TICKS: Final = [
    "BID",
    "ASK",
    "LAST",
    "BID_SIZE",
    "ASK_SIZE",
    "LAST_SIZE",
    "HIGH",
    "LOW",
    "VOLUME",
    "CLOSE",
    "OPEN",
    "LAST_TIMESTAMP",
]
_LATER: Final = {int(getattr(TickTypeEnum, t)): int(getattr(TickTypeEnum, f"DELAYED_{t}")) for t in _TICKS}


class Spoiler:
    """Spoils the messages of one connection. delayed: market data requests that are answered with delayed data."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.delayed: set[int] = set()
        self._rng = rng
        self._bars: dict[tuple[str, int], tuple[Any, Any]] = {}  # the bar before the newest one, and that

    def spoil(self, fault: Fault, message: Any) -> list[Any]:
        """Return what is told instead of a message: copies, for the message may be kept by who made it."""
        if fault.do is Do.ACCOUNT:
            return [type(message)(accountsList=fault.text)]
        if fault.do not in OF_BARS:
            raise AssertionError(f"{fault.do} does nothing to messages")
        if type(message).__name__ == "HistoricalData":
            return [self._answer(fault, message)]
        if fault.do is Do.OLDER:
            older, _ = self._bars.get(_key(message), (None, None))
            return [message] if older is None else [message, older]
        copy = type(message)()
        copy.CopyFrom(message)
        changed(fault, getattr(copy, "historicalDataBar", copy))
        if fault.do is Do.ZERO:
            return [copy]
        return [copy, message] if fault.do is Do.PARTIAL else [message, copy]

    def passes(self, message: Any) -> Any:
        """Return a message as it goes out, delayed where its request's data are; remember its bar."""
        name = type(message).__name__
        time_of = _TIME_OF.get(name)
        if time_of is not None:
            key = name, message.reqId
            older, newest = self._bars.get(key, (None, None))
            if newest is not None and time_of(newest) != time_of(message):
                older = newest
            self._bars[key] = older, message
        if self.delayed and getattr(message, "reqId", None) in self.delayed:
            copy = type(message)()
            copy.CopyFrom(message)
            if name == "MarketDataType":
                copy.marketDataType = DELAYED
            elif hasattr(copy, "tickType"):
                copy.tickType = _LATER.get(copy.tickType, copy.tickType)
            return copy
        return message

    def _answer(self, fault: Fault, message: Any) -> Any:
        """Return bars with some of them spoiled, at a place drawn from the seed."""
        copy = type(message)()
        copy.CopyFrom(message)
        bars = copy.historicalDataBars
        count = min(max(fault.size, 1), len(bars) - 2 if fault.do is Do.GAP else len(bars))
        if count <= 0:  # the first and the last one stay, or there would be no gap
            return copy
        if fault.do is Do.PARTIAL:
            changed(fault, bars[-1])
        elif fault.do is Do.GAP:
            first = 1 + int(self._rng.integers(len(bars) - 1 - count))
            del bars[first : first + count]
        else:
            for row in self._rng.choice(len(bars), count, replace=False).tolist():
                changed(fault, bars[row])
        return copy


def changed(fault: Fault, bar: Any) -> None:
    """Make a bar, as history or as real-time bars have it, an unfinished, revised or zero one."""
    volume = float(bar.volume)
    if fault.do is Do.PARTIAL:
        bar.high = bar.low = bar.close = bar.open
        bar.volume = str(int(volume // 2)) if volume > 0.0 else bar.volume
    elif fault.do is Do.REVISE:
        bar.close = bar.low if bar.close == bar.high else bar.high
        bar.volume = str(int(volume) + 100) if volume >= 0.0 else bar.volume
    elif fault.do is Do.ZERO:
        if fault.text != "volume":
            bar.open = bar.high = bar.low = bar.close = 0.0
        if fault.text != "price":
            bar.volume = "0"


def _key(message: Any) -> tuple[str, int]:
    return type(message).__name__, message.reqId


_TIME_OF: Final = {
    "HistoricalDataUpdate": attrgetter("historicalDataBar.date"),
    "RealTimeBarTick": attrgetter("time"),
}
