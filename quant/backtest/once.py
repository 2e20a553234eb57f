"""Indicators over all bars before a run: stock's calculation, with the room for it made in one go.

Stock appends NaN for NaN to each line of each indicator. What an indicator computes is left to its own code.

Source: backtrader 1.9.78.123, lineiterator.py and linebuffer.py (_once, forward).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

from backtrader.linebuffer import LineActions, LineBuffer
from backtrader.lineiterator import LineIterator
from backtrader.lineseries import LineSeries


def once(thing: Any) -> None:
    """Do what thing._once() does: a strategy, an indicator or an operation on lines."""
    method = type(thing)._once
    if method is LineIterator._once:
        _iterator(thing)
    elif method is LineActions._once:
        _grow(thing, thing._clock.buflen())
        thing.home()
        thing.preonce(0, thing._minperiod - 1)
        thing.oncestart(thing._minperiod - 1, thing._minperiod)
        thing.once(thing._minperiod, thing.buflen())
        thing.oncebinding()
    else:
        thing._once()


def _iterator(thing: Any) -> None:
    _grow(thing, thing._clock.buflen())
    indicators = thing._lineiterators[LineIterator.IndType]
    observers = thing._lineiterators[LineIterator.ObsType]
    for indicator in indicators:
        once(indicator)
    for observer in observers:
        _grow(observer, thing.buflen())
    for part in (*thing.datas, *indicators, *observers, thing):
        part.home()
    thing.preonce(0, thing._minperiod - 1)
    thing.oncestart(thing._minperiod - 1, thing._minperiod)
    thing.once(thing._minperiod, thing.buflen())
    for line in thing.lines:
        line.oncebinding()


def _grow(thing: Any, size: int) -> None:
    method = type(thing).forward
    if method is LineBuffer.forward:
        _extend([thing], size)
    elif method is LineSeries.forward:
        _extend(thing.lines, size)
    else:
        thing.forward(size=size)


def _extend(lines: Iterable[LineBuffer], size: int) -> None:
    nans = array("d", [float("nan")]) * size
    for line in lines:
        line.idx += size
        line.lencount += size
        line.array.extend(nans)


__all__ = ["once"]
