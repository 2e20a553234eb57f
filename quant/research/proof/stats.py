"""What a Sharpe ratio proves, and what the best of many proves (q.stats). Knows no strategy, no sweep and no files.

Sharpe ratios here are per period (daily returns: per day) unless a name says a year, and kurtosis is not the
excess: a normal distribution has 3. The two most usual mistakes are a Sharpe ratio a year with n in days, and
excess kurtosis.

Sources:
- Bailey and Lopez de Prado, The Sharpe Ratio Efficient Frontier, J. Risk 15(2), 2012: probabilistic Sharpe ratio
  and minimum track record. Convention "bailey-2012": the error of the Sharpe ratio is taken at the ratio observed,
  with n - 1.
- Lopez de Prado, Lipton and Zoonekynd, How to Use the Sharpe Ratio, 2025 (SSRN 5520741): the same two with the error
  taken at the benchmark, as a test of the hypothesis has it, and with n. Convention "lopez-de-prado-2025".
- Bailey and Lopez de Prado, The Deflated Sharpe Ratio, J. Portfolio Management 40(5), 2014: deflation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from quant.errors import ParameterError
from quant.metrics.returns import NO_SPREAD, Floats
from quant.research.proof.columns import matrix
from quant.research.proof.overfitting import Pbo, Spa, pbo, reality_check, spa

__all__ = [
    "Moments",
    "Pbo",
    "Spa",
    "deflated_sharpe",
    "expected_max_sharpe",
    "min_track_record",
    "moments",
    "pbo",
    "probabilistic_sharpe",
    "reality_check",
    "sharpe_ratios",
    "sharpe_variance",
    "spa",
]

Convention = Literal["bailey-2012", "lopez-de-prado-2025"]

NORMAL: Final = NormalDist()
EULER: Final = 0.5772156649015329  # the Euler-Mascheroni constant
# Kurtosis is at least 1 + skew ** 2 in any sample (Pearson); rounding in sums of powers stays below this share.
_ROUNDING: Final = 1e-6


# ---------------------------------------------------------------- one track record
def probabilistic_sharpe(
    sr: float,
    benchmark: float,
    n: int,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    *,
    convention: Convention = "bailey-2012",
) -> float:
    """Return the probability that the true Sharpe ratio is above `benchmark`, given that `sr` was seen.

    sr, benchmark: per period. n: returns that `sr` was taken from, at least 2. skew, kurtosis: of those returns,
    kurtosis 3 for a normal distribution.
    Raises ParameterError for numbers that no sample has, or an unknown convention.
    Source: Phi((sr - benchmark) sqrt(n - 1) / sqrt(1 - skew s + (kurtosis - 1) / 4 s ** 2)) with s = sr, as of 2012;
    of 2025 with s = benchmark and sqrt(n). See the top of the file.
    """
    _finite(sr=sr, benchmark=benchmark)
    if not n >= 2:
        raise ParameterError("n", n, "at least two returns are needed")
    at, periods = (sr, n - 1) if _is_2012(convention) else (benchmark, n)
    error = math.sqrt(_unit_variance(at, skew, kurtosis) / periods)
    distance = sr - benchmark
    if error == 0.0:  # two values only, as in a coin's returns, at the ratio where the formula has no error
        return 0.5 if distance == 0.0 else float(distance > 0.0)
    return NORMAL.cdf(distance / error)


def min_track_record(
    sr: float,
    benchmark: float,
    confidence: float = 0.95,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    *,
    convention: Convention = "bailey-2012",
) -> float:
    """Return how many periods it takes until `sr` shows with `confidence` that the true one is above `benchmark`.

    sr, benchmark: per period. confidence: 0.5 to below 1. Result: in periods, not rounded; infinite where `sr` is
    not above the benchmark, as no length of record would do.
    Raises ParameterError for numbers that no sample has, or an unknown convention.
    Source: 1 + (1 - skew s + (kurtosis - 1) / 4 s ** 2) (z / (sr - benchmark)) ** 2 with s = sr, as of 2012; of 2025
    with s = benchmark and without the 1. See the top of the file.
    """
    _finite(sr=sr, benchmark=benchmark)
    if not 0.5 <= confidence < 1.0:
        raise ParameterError("confidence", confidence, "must be from 0.5 to below 1, as 0.95 for 95 %")
    of_2012 = _is_2012(convention)
    unit = _unit_variance(sr if of_2012 else benchmark, skew, kurtosis)
    if not sr > benchmark:
        return math.inf
    periods = unit * (NORMAL.inv_cdf(confidence) / (sr - benchmark)) ** 2
    return 1.0 + periods if of_2012 else periods


# ---------------------------------------------------------------- the best of many
def expected_max_sharpe(variance: float, trials: float) -> float:
    """Return the Sharpe ratio that the best of `trials` independent strategies is expected to show without any edge.

    variance: of the Sharpe ratios of the trials, in the square of the period's unit; the result is per period.
    trials: at least 1; need not be whole. One trial is no search, so 0.0.
    Raises ParameterError if variance is negative or trials below 1.
    Source: sqrt(variance) ((1 - g) Z(1 - 1 / trials) + g Z(1 - 1 / (trials e))), g = 0.5772 and Z the normal
    quantile; The Deflated Sharpe Ratio (2014). Never below 0, where the formula goes between one and two trials.
    """
    if not 0.0 <= variance < math.inf:
        raise ParameterError("variance", variance, "must be a number from 0 up, of Sharpe ratios per period")
    if not 1.0 <= trials < math.inf:
        raise ParameterError("trials", trials, "must be 1 or more")
    if trials == 1.0:
        return 0.0
    # Z(1 - p) = -Z(p), which stays exact where 1 - p would round to 1
    high, higher = -NORMAL.inv_cdf(1.0 / trials), -NORMAL.inv_cdf(1.0 / (trials * math.e))
    return math.sqrt(variance) * max((1.0 - EULER) * high + EULER * higher, 0.0)


def deflated_sharpe(
    sr: float, n: int, *, variance: float, trials: float, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Return the probability that the best of `trials` has a true Sharpe ratio above what luck alone would show.

    sr: of the best, per period; n, skew, kurtosis: of its returns. variance: of the per-period Sharpe ratios over
    the trials (see sharpe_variance). trials: all that were ever tried on these data, not those of the last run
    only.
    Raises ParameterError as probabilistic_sharpe and expected_max_sharpe do.
    Source: probabilistic_sharpe against expected_max_sharpe, convention bailey-2012; The Deflated Sharpe Ratio
    (2014).
    """
    return probabilistic_sharpe(sr, expected_max_sharpe(variance, trials), n, skew, kurtosis)


# ---------------------------------------------------------------- from returns
@dataclass(frozen=True, slots=True)
class Moments:
    """What the formulas take of a series of returns: n, and per period sharpe, skew, kurtosis (3 = normal)."""

    n: int
    sharpe: float
    skew: float
    kurtosis: float


def moments(returns: ArrayLike) -> Moments:
    """Return length, Sharpe ratio per period, skew and kurtosis of returns; NaN without spread or where one is NaN.

    returns: (T,) simple returns of equal periods.
    Raises ParameterError if they are not one series.
    Source: mean / std with n - 1 as quant.metrics; m3 / m2 ** 1.5 and m4 / m2 ** 2 with n, as the papers.
    """
    r = np.asarray(returns, dtype=np.float64)
    if r.ndim != 1:
        raise ParameterError(
            "returns", f"an array of shape {r.shape}", "one series is needed; choose a column"
        )
    n = len(r)
    if n < 2 or not np.isfinite(r).all() or not np.std(r, ddof=1) > NO_SPREAD:
        return Moments(n, math.nan, math.nan, math.nan)
    x = r - np.mean(r)
    m2 = float(np.mean(x**2))
    sharpe = float(np.mean(r) / np.std(r, ddof=1))
    return Moments(n, sharpe, float(np.mean(x**3)) / m2**1.5, float(np.mean(x**4)) / m2**2)


def sharpe_ratios(returns: ArrayLike) -> Floats:
    """Return the Sharpe ratio per period of each column, (N,); NaN without spread or where a return is NaN.

    returns: (T, N), a column a trial. Raises ParameterError if it is not such a table with two rows at least.
    """
    r = matrix(returns)
    with np.errstate(invalid="ignore"):  # infinite returns
        mean, spread = r.mean(axis=0), r.std(axis=0, ddof=1)
    found = np.full(r.shape[1], np.nan)
    np.divide(mean, spread, out=found, where=spread > NO_SPREAD)
    return found


def sharpe_variance(returns: ArrayLike) -> float:
    """Return the variance of the trials' Sharpe ratios per period, with N - 1; NaN below two that have one.

    returns: (T, N), a column a trial. Raises ParameterError if it is not such a table with two rows at least.
    """
    known = sharpe_ratios(returns)
    known = known[np.isfinite(known)]
    return float(np.var(known, ddof=1)) if len(known) > 1 else math.nan


# ---------------------------------------------------------------- the ground
def _unit_variance(sr: float, skew: float, kurtosis: float) -> float:
    """Return the variance of the Sharpe ratio's estimate times the number of returns; Mertens (2002)."""
    _finite(skew=skew, kurtosis=kurtosis)
    least = 1.0 + skew * skew
    if kurtosis < least - _ROUNDING * least:
        reason = f"a series with skew {skew:g} has at least {least:g}; give the kurtosis, not the excess (normal: 3)"
        raise ParameterError("kurtosis", kurtosis, reason)
    return max(1.0 - skew * sr + (kurtosis - 1.0) / 4.0 * sr * sr, 0.0)


def _is_2012(convention: str) -> bool:
    if convention not in get_args(Convention):
        raise ParameterError("convention", convention, f"known are {', '.join(get_args(Convention))}")
    return convention == "bailey-2012"


def _finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ParameterError(name, value, "must be a finite number")
