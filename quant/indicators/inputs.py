"""What indicators take and how they treat it: float arrays, whole periods, and no number after a gap.

Knows neither TA-Lib nor pandas: it turns what a caller passes into arrays, or says what is wrong with it.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant.errors import ParameterError
from quant.indicators.shared import memo_here

Floats = NDArray[np.float64]
MOST_PERIOD = 100_000  # bars; TA-Lib refuses longer periods


class PriceBars(Protocol):
    """Bars as indicators see them: q.Bars, or anything with these (n,) float64 arrays."""

    @property
    def high(self) -> Floats:
        """Highest prices."""

    @property
    def low(self) -> Floats:
        """Lowest prices."""

    @property
    def close(self) -> Floats:
        """Last prices."""


def floats(name: str, values: ArrayLike) -> Floats:
    """Return `values` as a (n,) float64 array, without a copy where it is one already.

    Raises ParameterError if they are no numbers or have another number of dimensions.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(name, type(values).__name__, f"wants a row of numbers ({error})") from error
    if array.ndim != 1:
        raise ParameterError(name, array.shape, "is the shape; wants one dimension, e.g. bars.close")
    return array


def high_low_close(bars: PriceBars) -> tuple[Floats, Floats, Floats]:
    """Return the three price arrays of `bars`; ParameterError if their lengths differ."""
    high, low, close = floats("high", bars.high), floats("low", bars.low), floats("close", bars.close)
    if not len(high) == len(low) == len(close):
        raise ParameterError("bars", (len(high), len(low), len(close)), "high, low, close differ in length")
    return high, low, close


def period_of(name: str, value: int, least: int) -> int:
    """Return a period in bars as an int; ParameterError unless it is whole and in [least, 100000]."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        period = operator.index(value)
    except TypeError:
        raise ParameterError(name, value, "wants a whole number of bars") from None
    if not least <= period <= MOST_PERIOD:
        raise ParameterError(name, value, f"wants {least} to {MOST_PERIOD} bars")
    return period


def before_gap(function: Callable[..., tuple[Floats, ...]], *inputs: Floats) -> tuple[Floats, ...]:
    """Apply `function` to the rows before the first gap; all later rows of its results are NaN.

    A gap is a NaN or an infinity in any input after the first row in which all of them are numbers.
    Smoothing has no answer to it: TA-Lib 0.8.2 turns some results into NaN for ever (EMA, SMA) and goes on
    with others as if nothing had happened (RSI, STOCH). Missing stays missing here.
    """
    size, memo = len(inputs[0]), memo_here()
    if memo is not None and all(id(values) in memo.gapless for values in inputs):
        return function(*inputs)
    end = _first_gap(inputs, size)
    if end == size:
        if memo is not None:
            memo.gapless.update(id(values) for values in inputs if id(values) in memo.known)
        return function(*inputs)
    results = function(*(values[:end] for values in inputs))
    return tuple(np.concatenate([r, np.full(size - end, np.nan)]) for r in results)


def first_number(values: Floats) -> int:
    """Return the row of the first number, the length where there is none."""
    if len(values) and values[0] == values[0]:
        return 0
    for row in range(0, len(values), 256):  # in parts: as a rule it is among the first
        part = values[row : row + 256]
        missing = np.isnan(part)
        at = int(missing.argmin())
        if not missing[at]:
            return row + at
    return len(values)


def _first_gap(inputs: tuple[Floats, ...], size: int) -> int:
    start = max(map(first_number, inputs))
    with np.errstate(all="ignore"):
        # A finite sum has finite terms; several times faster than to look at each. np.sum would take longer for a few.
        sums = [np.add.reduce(values[start:]) for values in inputs]
    if all(map(math.isfinite, sums)):
        return size
    wrong = np.zeros(size, dtype=bool)
    for values in inputs:
        wrong |= ~np.isfinite(values)
    gaps = np.flatnonzero(wrong[start:])
    return start + int(gaps[0]) if len(gaps) else size
