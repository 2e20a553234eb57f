"""How often the choice of the best fails on data that it was not made on. Knows no strategy, no sweep and no files.

Sources:
- Bailey, Borwein, Lopez de Prado and Zhu, The Probability of Backtest Overfitting, J. Computational Finance 20(4),
  2017: combinatorially symmetric cross-validation (CSCV).
- White, A Reality Check for Data Snooping, Econometrica 68(5), 2000; Hansen, A Test for Superior Predictive Ability,
  J. Business and Economic Statistics 23(4), 2005. Both by the package arch.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quant.core.finding import Finding
from quant.errors import ConfigError, ParameterError
from quant.metrics.returns import NO_SPREAD, Floats
from quant.research.proof.columns import Whole, matrix

METRICS: Final = ("sharpe", "sortino", "mean", "total_return")  # what pbo can take from sums over blocks
MOST_BLOCKS: Final = 20  # 184,756 splits; two more blocks are four times as many and tell nothing new
ENOUGH: Final = 250  # returns for spa: measured, the table and the program are in docs/sweeps.md
_AT_ONCE: Final = 1_000_000  # values of a batch of splits, 8 MB an array
_TIE: Final = 1e-12  # of the largest value of a split; sums in another order differ by less
_FLAT: Final = 1e-12  # a half whose variance is this share of its mean square is rounding, not spread

Measure = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Pbo:
    """What CSCV found; float(pbo) is the probability.

    probability: share of the splits in which the best of one half came out at or below the median of the other.
    loss: share in which it lost money there. slope: of its performance there on its performance here, NaN if that
    never varied. Per split, in the order of itertools.combinations: logits, in_sample, out_of_sample (splits,)
    float64; chosen (splits,) int64, the column that was best. columns: how many took part; dropped: how many had a
    NaN or infinite return. Performance is per period for sharpe, sortino and mean.
    """

    probability: float
    loss: float
    slope: float
    logits: Floats
    in_sample: Floats
    out_of_sample: Floats
    chosen: NDArray[np.int64]
    columns: int
    dropped: int
    blocks: int
    metric: str

    def __float__(self) -> float:
        return self.probability

    def __repr__(self) -> str:
        return f"Pbo({self.probability:.3f}, loss {self.loss:.3f}, {self.columns} columns, {len(self.logits)} splits)"


def pbo(returns: ArrayLike, blocks: int = 16, metric: str = "sharpe") -> Pbo:
    """Return the probability of backtest overfitting of choosing the best column by `metric`.

    returns: (T, N) simple returns, a column a combination; one with a NaN or infinite return is dropped and
    counted. blocks: even, 2 to 20; the rows are cut into so many runs of consecutive rows, all of one length or,
    where T does not divide, the first T % blocks one row longer: no row is dropped. Each half of the blocks serves
    once to choose, the other half to look. metric: sharpe, sortino, mean or total_return. A half in which a column
    has no spread (or, for sortino, no loss) counts as 0 for it. Of equal bests the first column is chosen; a rank
    among equals is their middle. 16 blocks are 12,870 splits.
    Raises ParameterError below two usable columns, below two rows a block, or for an unknown metric.
    Source: Bailey et al. (2017): omega = rank / (N + 1), logit = log(omega / (1 - omega)), PBO = share of
    logits <= 0.
    """
    table = matrix(returns)
    if not (isinstance(blocks, int | np.integer) and blocks % 2 == 0 and 2 <= blocks <= MOST_BLOCKS):
        raise ParameterError("blocks", blocks, f"must be an even number from 2 to {MOST_BLOCKS}")
    if len(table) < 2 * blocks:
        reason = f"{blocks} blocks need at least {2 * blocks} returns; take fewer blocks"
        raise ParameterError("returns", f"{len(table)} rows", reason)
    sums = BlockSums(metric, len(table), int(blocks))
    for part in Whole(table).parts():
        sums.add(part)
    return pbo_of(sums)


def pbo_of(sums: BlockSums) -> Pbo:
    """Return what `pbo` does, of columns that were added up. Raises ParameterError below two usable ones."""
    if sums.usable < 2:
        reason = "a choice needs at least two columns without NaN"
        raise ParameterError("returns", f"{sums.usable} usable of {sums.columns} columns", reason)
    usable = np.concatenate(sums.numbers)
    rank, here, there, chosen = _splits(sums.measure(), sums.blocks, len(usable))
    omega = rank / (len(usable) + 1)
    return Pbo(
        probability=float(np.mean(omega <= 0.5)),  # the logit is at or below 0
        loss=float(np.mean(there < 0.0)),
        slope=_slope(here, there),
        logits=np.log(omega / (1.0 - omega)),
        in_sample=here,
        out_of_sample=there,
        chosen=usable[chosen],
        columns=len(usable),
        dropped=sums.columns - len(usable),
        blocks=sums.blocks,
        metric=sums.metric,
    )


def _splits(measure: Measure, blocks: int, columns: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Return per split the rank of the chosen column in the other half, its performance here and there, its number."""
    # The first half of all splits holds block 0; the last split is the complement of the first, and so on inwards.
    first = itertools.combinations(range(1, blocks), blocks // 2 - 1)
    rows = np.fromiter(itertools.chain.from_iterable(first), dtype=np.int64)
    pairs = math.comb(blocks - 1, blocks // 2 - 1)
    member = np.zeros((pairs, blocks))
    member[:, 0] = 1.0
    np.put_along_axis(member, rows.reshape(pairs, blocks // 2 - 1), 1.0, axis=1)
    rank, here, there = np.empty(2 * pairs), np.empty(2 * pairs), np.empty(2 * pairs)
    chosen = np.empty(2 * pairs, dtype=np.int64)
    step = max(_AT_ONCE // columns, 1)
    for begin in range(0, pairs, step):
        at = np.arange(begin, min(begin + step, pairs))
        one, other = measure(member[at]), measure(1.0 - member[at])
        for split, inside, outside in ((at, one, other), (2 * pairs - 1 - at, other, one)):
            each = np.arange(len(at))
            best = _first_best(inside)
            value = outside[each, best][:, None]
            tie = _TIE * np.abs(outside).max(axis=1, keepdims=True)
            below = np.count_nonzero(outside < value - tie, axis=1)
            equal = np.count_nonzero(outside <= value + tie, axis=1) - below
            rank[split] = below + (equal + 1) / 2.0
            here[split], there[split], chosen[split] = inside[each, best], value[:, 0], best
    return rank, here, there, chosen


def _first_best(values: Floats) -> NDArray[np.int64]:
    """Return the first column of each row that is as good as the best but for rounding."""
    tie = _TIE * np.abs(values).max(axis=1, keepdims=True)
    found: NDArray[np.int64] = np.argmax(values >= values.max(axis=1, keepdims=True) - tie, axis=1)
    return found


class BlockSums:
    """All that CSCV by a metric needs of columns of returns, which come some at a time and are not kept.

    columns: how many came; usable: those of them without NaN or infinity. Of these, a list item for what came
    together: numbers (n,), means (n,), sums over the rows of each block of the deviations from the mean, and of what
    else the metric needs, each (blocks, n).
    """

    def __init__(self, metric: str, rows: int, blocks: int) -> None:
        if metric not in METRICS:
            raise ParameterError("metric", metric, f"known are {', '.join(METRICS)}")
        self.metric, self.blocks = metric, blocks
        self.sizes = np.full(blocks, rows // blocks)
        self.sizes[: rows % blocks] += 1
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.columns = self.usable = 0
        self.numbers: list[NDArray[np.int64]] = []
        self.means: list[Floats] = []
        self.deviations: list[Floats] = []
        self.others: list[Floats] = []

    def add(self, part: Floats) -> None:
        """Take the columns of `part`, (rows, n), that come next."""
        usable = np.flatnonzero(np.isfinite(part).all(axis=0))
        r = part[:, usable]
        mean = r.mean(axis=0)
        # Sums of deviations from the whole mean: sums of returns would lose the variance of small ones to rounding.
        deviation = r - mean
        self.numbers.append(self.columns + usable)
        self.means.append(mean)
        self.deviations.append(self._sums(deviation))
        if self.metric == "sharpe":
            self.others.append(self._sums(deviation**2))
        elif self.metric == "sortino":
            self.others.append(self._sums(np.minimum(r, 0.0) ** 2))
        elif self.metric == "total_return":
            # A return of -100 % has no logarithm; 1e-16 of the money left is lost money as well.
            self.others.append(self._sums(np.log(np.maximum(1.0 + r, 1e-16))))
        self.columns += part.shape[1]
        self.usable += len(usable)

    def _sums(self, x: Floats) -> Floats:
        found: Floats = np.add.reduceat(x, self.starts, axis=0)
        return found

    def measure(self) -> Measure:
        """Return the function that gives the performance (m, N) of the rows of blocks named by 0 and 1, (m, blocks)."""
        sizes, mean, deviation = self.sizes, np.concatenate(self.means), np.hstack(self.deviations)
        if self.metric == "mean":
            return lambda member: mean + member @ deviation / (member @ sizes)[:, None]
        other = np.hstack(self.others)
        if self.metric == "total_return":
            return lambda member: np.expm1(member @ other)

        def sharpe(member: Floats) -> Floats:
            n = (member @ sizes)[:, None]
            total, square = member @ deviation, member @ other
            left = square - total**2 / n
            spread = np.sqrt(np.maximum(left, 0.0) / (n - 1.0))
            return _ratio(mean + total / n, spread, (left > _FLAT * square) & (spread > NO_SPREAD))

        def sortino(member: Floats) -> Floats:
            n = (member @ sizes)[:, None]
            downside = np.sqrt(member @ other / n)
            return _ratio(mean + member @ deviation / n, downside, downside > NO_SPREAD)

        return sharpe if self.metric == "sharpe" else sortino


def _ratio(above: Floats, below: Floats, where: NDArray[np.bool_]) -> Floats:
    found = np.zeros(above.shape)
    np.divide(above, below, out=found, where=where)
    return found


def _slope(x: Floats, y: Floats) -> float:
    from_mean = x - x.mean()
    square = float(from_mean @ from_mean)
    return float(from_mean @ y) / square if square > 0.0 else math.nan


# ---------------------------------------------------------------- by arch
@dataclass(frozen=True, slots=True)
class Spa:
    """p-values of Hansen's test; lower <= consistent <= upper. Small: at least one column beats the benchmark.

    consistent is the one to quote. lower ignores the columns that are worse than the benchmark, upper counts them
    all. findings: short-record where the returns are too few for the p-values to be believed.
    """

    lower: float
    consistent: float
    upper: float
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        values = f"Spa(lower={self.lower}, consistent={self.consistent}, upper={self.upper})"
        return "\n".join([values, *map(str, self.findings)])


class PValue(float):
    """A p-value that says where it is not to be believed.

    findings: short-record where the returns are too few; they are shown with the number.
    """

    __slots__ = ("findings",)
    findings: tuple[Finding, ...]

    def __new__(cls, value: float, findings: tuple[Finding, ...] = ()) -> PValue:
        """Return the number with its findings."""
        made = super().__new__(cls, value)
        made.findings = findings
        return made

    def __repr__(self) -> str:
        return "\n".join([float.__repr__(self), *map(str, self.findings)])

    __str__ = __repr__  # float has one of its own


def reality_check(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    reps: int = 1000,
    block: int | None = None,
    seed: int = 0,
) -> PValue:
    """Return White's p-value that no column has a higher mean return than the benchmark.

    returns: (T, N) simple returns; a column with a NaN or infinite return is dropped. benchmark: (T,) returns, None
    for none (0). reps: series drawn by the stationary bootstrap; block: mean length of its blocks, None for
    sqrt(T). The same seed gives the same value. 1,000 columns of ten years take about half a minute. Below 250 rows
    it rejects too often, and its findings say so.
    Raises ParameterError for input that does not fit, ConfigError without the package arch.
    Source: White (2000), as arch's `upper` of differences that are not scaled: the column that swings most weighs
    most.
    """
    excess = _excess(returns, benchmark)
    return PValue(_superior(excess, reps, block, seed).upper, _short(len(excess)))


def spa(
    returns: ArrayLike,
    benchmark: ArrayLike | None = None,
    reps: int = 1000,
    block: int | None = None,
    seed: int = 0,
) -> Spa:
    """Return Hansen's p-values that no column has a higher mean return, for its risk, than the benchmark.

    Arguments and errors as of reality_check. A column that never differs from the benchmark is left out.
    Source: Hansen (2005), by arch (8.0.0 seen), which takes an argument studentize and does not use it: so each
    difference is divided by its standard deviation first. The paper has the long-run one, which is the same where
    returns do not depend on earlier ones; estimated with blocks of sqrt(T) it is so rough that the best is the column
    whose risk came out too low. Of 2,000 tables of 40 normal columns without an edge (T = 250, at 5 %) it rejected
    19 %, this 6 %. Dependence in time is in the blocks of the bootstrap.
    """
    excess = _excess(returns, benchmark)
    scale = excess.std(axis=0, ddof=1)
    known = scale > NO_SPREAD
    if not known.any():
        raise ParameterError("returns", f"{len(known)} columns", "none differs from the benchmark")
    return replace(
        _superior(excess[:, known] / scale[known], reps, block, seed), findings=_short(len(excess))
    )


def _short(rows: int) -> tuple[Finding, ...]:
    if rows >= ENOUGH:
        return ()
    message = (
        f"{rows:,} returns are too few: without any edge such p-values come out below 0.05 more often than in 5 % of "
        f"the cases (with 100 returns in 8 to 9 %), so an edge may be none. Take {ENOUGH} or more"
    )
    return (Finding("short-record", message),)


def _superior(excess: Floats, reps: int, block: int | None, seed: int) -> Spa:
    if reps < 1:
        raise ParameterError("reps", reps, "must be 1 or more")
    length = _block(block, len(excess))
    try:
        arch: Any = importlib.import_module("arch.bootstrap")
    except ModuleNotFoundError as e:
        reason = 'the package arch is not installed; pip install "quant-ib[stats]"'
        raise ConfigError("q.stats", "reality_check, spa", reason) from e
    # arch compares losses, so returns change their sign; the benchmark is in the differences already
    test = arch.SPA(np.zeros(len(excess)), -excess, block_size=length, reps=reps, seed=seed)
    test.compute()
    found = test.pvalues
    return Spa(float(found["lower"]), float(found["consistent"]), float(found["upper"]))


def _excess(returns: ArrayLike, benchmark: ArrayLike | None) -> Floats:
    table = matrix(returns)
    table = table[:, np.isfinite(table).all(axis=0)]
    if table.shape[1] == 0:
        raise ParameterError("returns", "no column without NaN", "at least one is needed")
    if benchmark is None:
        return table
    held = np.asarray(benchmark, dtype=np.float64)
    if held.shape != (len(table),) or not np.isfinite(held).all():
        reason = f"one finite return a row is needed, there are {len(table)}"
        raise ParameterError("benchmark", f"an array of shape {held.shape}", reason)
    return table - held[:, None]


def _block(block: int | None, rows: int) -> int:
    length = int(math.sqrt(rows)) if block is None else block
    if not 1 <= length <= rows:
        raise ParameterError("block", length, f"must be from 1 to the number of returns, {rows}")
    return length
