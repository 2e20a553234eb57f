"""Indicators over all bars before a run: stock's calculation, with the room for it made in one go.

Stock appends NaN after NaN to each line of each indicator, and adds lines number by number. What an indicator
computes by code of its own is left to that code.

Source: backtrader 1.9.78.123, lineiterator.py and linebuffer.py (_once, forward).
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Final

import backtrader as bt
import numpy as np
from backtrader.linebuffer import LineActions, LineBuffer, LinesOperation
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
        if not _by_numpy(thing, thing._minperiod, thing.buflen()):
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


# ---------------------------------------------------------------- arithmetic of lines
# Rounded alike in Python and numpy (IEEE 754); Python's / differs where it divides by zero.
_NUMPY: Final[dict[Any, Callable[..., Any]]] = {
    operator.add: np.add, operator.sub: np.subtract, operator.mul: np.multiply, operator.truediv: np.divide,
    operator.lt: np.less, operator.le: np.less_equal, operator.gt: np.greater, operator.ge: np.greater_equal,
    operator.eq: np.equal, operator.ne: np.not_equal,
}  # fmt: skip
_EXACT = 2**53  # whole numbers below are floats


def _by_numpy(action: Any, first: int, last: int) -> bool:
    """Do action.once(first, last), if it is one whose bits numpy gives; else False."""
    kind = type(action)
    if kind is LinesOperation:
        function = _NUMPY.get(action.operation)
        operands = [_operand(x, first, last) for x in (action.a, action.b)]
        if function is None or any(x is None for x in operands):
            return False
        if function is np.divide and np.any(np.equal(operands[1], 0.0)):
            return False
        with np.errstate(all="ignore"):
            result = function(*operands)
    elif kind in (bt.And, bt.Or) and len(action.args) > 1:
        parts = [_operand(x, first, last) for x in action.args]
        if any(x is None for x in parts):
            return False
        true = [np.not_equal(x, 0.0) for x in parts]  # NaN is true, as in Python
        result = (np.all if kind is bt.And else np.any)(true, axis=0)
    else:
        return False
    np.frombuffer(action.array, dtype=np.float64)[first:last] = result
    return True


def _operand(x: Any, first: int, last: int) -> Any:
    """Return a line's values at [first, last), or a number; None for anything else."""
    if isinstance(x, LineBuffer):
        values = np.frombuffer(x.array, dtype=np.float64)
        return values[first:last] if len(values) >= last else None
    return x if type(x) is float or (type(x) is int and abs(x) < _EXACT) else None


__all__ = ["once"]
