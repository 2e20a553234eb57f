"""Falls of the account below its highest value, bar by bar. Knows no orders and no trades."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quant.metrics.returns import Floats

DAY_NS = 86_400_000_000_000  # nanoseconds of 24 hours


def drawdown(equity: Floats, start_cash: float) -> Floats:
    """Return how far each bar's end lies below the highest value so far, the starting cash included.

    Result: (n,) float64, 0 at a high, else a negative fraction of that high.
    Source: (equity - peak) / peak, peak seeded with the starting cash, as empyrical's max_drawdown.
    """
    peak = _peak(equity, start_cash)
    return (equity - peak) / peak


def max_drawdown(equity: Floats, start_cash: float) -> float:
    """Return the deepest drawdown as a negative fraction, 0.0 where there is none.

    Source: the minimum of `drawdown`.
    """
    return float(np.min(drawdown(equity, start_cash), initial=0.0))


def max_drawdown_days(equity: Floats, end_ns: NDArray[np.int64], start_cash: float) -> float:
    """Return the longest time below a high: calendar days from the high to its recovery, or to the last bar.

    end_ns: (n,) UTC nanoseconds, the bars' ends. The longest is not always the deepest. A run that begins
    below its starting cash counts from the first bar's end, the first time known. Result: days of 24 hours
    with their fraction, 0.0 where there is no drawdown.
    Source: as backtesting.py's "Max. Drawdown Duration"; backtrader's DrawDown counts it in bars (max.len).
    """
    if len(equity) == 0:
        return 0.0
    at_high = np.flatnonzero(equity >= _peak(equity, start_cash))
    # Stretches between neighbouring highs; first and last bar close the stretches at both ends.
    marks = np.concatenate(([0], at_high, [len(equity) - 1]))
    lengths = np.diff(end_ns[marks])
    below = np.diff(marks) > 1
    below[0] = len(at_high) == 0 or at_high[0] > 0
    below[-1] = len(at_high) == 0 or at_high[-1] < len(equity) - 1
    return float(np.max(lengths[below], initial=0)) / DAY_NS


def _peak(equity: Floats, start_cash: float) -> Floats:
    return np.maximum(np.maximum.accumulate(equity), start_cash)
