"""How far chance alone moves Sharpe ratio and drawdown: the stationary bootstrap. Knows no account and no orders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quant.errors import ParameterError
from quant.metrics.returns import NO_SPREAD, Floats

FEWEST: Final = 30  # returns; below, blocks repeat the same few values and the bands say nothing
SAMPLES: Final = 2_000
_AT_ONCE: Final = 2_000_000  # values that are drawn together, 16 MB an array


@dataclass(frozen=True, slots=True, eq=False)
class Bootstrap:
    """What the resampled series gave. sharpe: a year; drawdown: negative fractions, per session; (samples,) each.

    block: the mean length of a block, in returns.
    """

    sharpe: Floats
    drawdown: Floats
    block: float

    def band(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Return the lower and upper bound of the middle `level` of "sharpe" or "drawdown".

        Source: percentile interval, Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
        """
        values: Floats = getattr(self, name)
        known = values[~np.isnan(values)]
        if not len(known):
            return math.nan, math.nan
        low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        return float(low), float(high)


def stationary_bootstrap(
    returns: Floats, periods_per_year: float, *, seed: int, samples: int = SAMPLES
) -> Bootstrap | None:
    """Return Sharpe ratios and maximum drawdowns of `samples` series drawn from `returns`; None if too few.

    Each series is as long as `returns` and made of blocks of consecutive returns, which begin anywhere and run on
    with probability 1 - 1 / block, past the end from the start again. block = n ** (1/3), the rate that is best for
    the variance of a mean. Same seed, same result. None: below 30 returns, or where one is not a number.
    Raises ParameterError if samples is below 1.
    Source: Politis and Romano, The Stationary Bootstrap, J. Am. Stat. Assoc. 89 (1994).
    """
    if samples < 1:
        raise ParameterError("samples", samples, "must be 1 or more")
    n = len(returns)
    if n < FEWEST or not np.isfinite(returns).all():
        return None
    block = n ** (1.0 / 3.0)
    random = np.random.default_rng(seed)
    at_once = max(_AT_ONCE // n, 1)
    sharpe, deepest = [], []
    for begin in range(0, samples, at_once):
        drawn = returns[_rows(random, min(at_once, samples - begin), n, block)]
        spread = drawn.std(axis=1, ddof=1)
        ratio = np.full(len(drawn), math.nan)
        np.divide(drawn.mean(axis=1), spread, out=ratio, where=spread > NO_SPREAD)
        sharpe.append(ratio * math.sqrt(periods_per_year))
        value = np.cumprod(1.0 + drawn, axis=1)
        peak = np.maximum(np.maximum.accumulate(value, axis=1), 1.0)
        deepest.append((value / peak - 1.0).min(axis=1))
    return Bootstrap(np.concatenate(sharpe), np.concatenate(deepest), block)


def _rows(random: np.random.Generator, series: int, n: int, block: float) -> NDArray[np.int64]:
    """Return (series, n) row numbers: a new random row where a block begins, else the row after the last."""
    begins = random.random((series, n)) < 1.0 / block
    begins[:, 0] = True
    at = np.arange(n)
    start = np.maximum.accumulate(np.where(begins, at, 0), axis=1)  # where each one's block began
    first = random.integers(0, n, (series, n))
    rows: NDArray[np.int64] = (np.take_along_axis(first, start, axis=1) + at - start) % n
    return rows
