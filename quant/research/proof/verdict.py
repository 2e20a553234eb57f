"""What a search proves, in one word and one paragraph: luck, unclear or edge. Knows no strategy and no files.

How it judges. The Sharpe ratio of the best is held against what the best of as many trials without any edge is
expected to show, all trials counted as independent of one another (strict: those of a grid are much alike). The
spread that this takes is the one that luck gives, (1 - mean correlation of the trials) / (T - 1), and not the
spread seen over the trials as in The Deflated Sharpe Ratio (2014): that one also holds what parameters really
change, costs above all, and so grows with the edge that it should find. Measured on MACD grids over 2,500 simulated
returns: 479 of 480 driftless random walks were called luck (grids of 4 and 48; long and short, long and flat, with
costs); of AR(1) returns 39 of 60 were called edge at 0.2 and 56 of 60 at 0.3; with 392 combinations at 0.2 the spread
of luck found 32 of 40, the spread seen 21.

The effective number of trials, r + (1 - r) N with the mean correlation r (The Deflated Sharpe Ratio, appendix), is
not used: with a spread that falls with r already it raised the false alarms by half and more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from quant.errors import ParameterError
from quant.metrics.bootstrap import FEWEST
from quant.metrics.returns import Floats
from quant.research.proof.columns import Columns, Whole, matrix
from quant.research.proof.overfitting import METRICS, BlockSums, Pbo, pbo_of
from quant.research.proof.stability import Neighbourhood, neighbourhood
from quant.research.proof.stats import (
    Moments,
    expected_max_sharpe,
    min_track_record,
    moments,
    probabilistic_sharpe,
    sharpe_ratios,
)

Word = Literal["luck", "unclear", "edge"]

# The usual level of a test, and that of the papers' examples.
CONFIDENCE: Final = 0.95
# Harvey, Liu and Zhu, ... and the Cross-Section of Expected Returns (2016): after what a whole field has tried, a
# t-ratio of 2 proves nothing; they ask for 3. It also stands in for trials that nobody wrote down.
T_STATISTIC: Final = 3.0
# Bailey et al. (2017): above one half the choice was worse than a blind one ...
MOST_PBO: Final = 0.5
# ... which does no harm where every choice is a good one. Then the chosen one seldom loses out of sample: the level
# again.
MOST_LOSS: Final = 0.05
# A choice: neighbours that keep less than half of the best in the median make it a lonely peak.
LEAST_KEPT: Final = 0.5
BLOCKS: Final = 16  # of CSCV, as in the paper's examples
FEW_TRIALS: Final = 10  # below, a mean correlation says little of what else was or might have been tried


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The verdict and the facts behind it; NaN or None where one could not be had.

    word: luck, unclear or edge. text: the paragraph. reasons: why not edge, none for edge. row: the best by
    `metric`, -1 if there is none; parameters: its. sharpe: its Sharpe ratio a year; expected: what the best of
    `trials` without an edge is expected to show, a year; deflated: probability that the true one is above that;
    t_statistic: sharpe against 0. combinations: tried here, failed: those of them without a Sharpe ratio, trials:
    ever. likeness: mean correlation of the combinations' returns. years: length of the record; years_needed: what
    this Sharpe ratio needs after such a search.
    """

    word: Word
    text: str
    reasons: tuple[str, ...]
    metric: str
    row: int
    parameters: Mapping[str, Any]
    sharpe: float
    expected: float
    deflated: float
    t_statistic: float
    combinations: int
    failed: int
    trials: int
    likeness: float
    years: float
    years_needed: float
    pbo: Pbo | None
    neighbourhood: Neighbourhood | None

    def __str__(self) -> str:
        return self.text


def verdict(
    returns: ArrayLike | Columns,
    *,
    periods_per_year: float,
    parameters: Mapping[str, ArrayLike] | None = None,
    metric: str = "sharpe",
    values: ArrayLike | None = None,
    trials: int | None = None,
    variance: float | None = None,
) -> Verdict:
    """Return what a search over the columns of `returns` proves about the best of them.

    returns: (T, N) simple returns per period, a column a combination, NaN where one failed; Columns are looked at
    once, a part at a time, and the best once more. parameters: name -> (N,), the parameter columns of the table; None
    leaves the neighbourhood out. metric: what the best was chosen by, higher is better; values: (N,) of it, needed
    unless metric is sharpe. trials: all that were ever tried on these data (the ledger's), None or less than N counts
    as N. variance: of the per-period Sharpe ratios of all those trials; None or NaN takes the one that luck gives:
    over these columns, or where trials is above N or N is below 10 for trials independent of one another. More than
    that is never counted as luck.
    Raises ParameterError for shapes that do not fit or numbers out of range.
    """
    table = returns if isinstance(returns, Columns) else Whole(matrix(returns))
    rows, columns = table.shape
    if not 0.0 < periods_per_year < math.inf:
        raise ParameterError("periods_per_year", periods_per_year, "must be above 0: 252 for daily returns")
    year = math.sqrt(periods_per_year)
    ratios, likeness, sums = _looked_at(table, metric)
    judged = np.isfinite(ratios)
    chosen_by = np.where(judged, _values(metric, values, ratios * year), np.nan)
    ever = max(columns, 0 if trials is None else trials)
    grid = {} if parameters is None else {name: parameters[name] for name in parameters}
    if not np.isfinite(chosen_by).any():
        return _nothing(metric, columns, ever, rows / periods_per_year)
    best = int(np.nanargmax(np.where(np.isinf(chosen_by), np.nan, chosen_by)))
    sample = moments(table.column(best))
    spread = _spread_of_luck(rows, columns, ever, likeness, variance)
    expected = expected_max_sharpe(spread, ever)
    facts = Verdict(
        word="unclear",
        text="",
        reasons=(),
        metric=metric,
        row=best,
        parameters={name: np.asarray(column)[[best]].tolist()[0] for name, column in grid.items()},
        sharpe=sample.sharpe * year,
        expected=expected * year,
        deflated=probabilistic_sharpe(sample.sharpe, expected, rows, sample.skew, sample.kurtosis),
        t_statistic=sample.sharpe * math.sqrt(rows),
        combinations=columns,
        failed=int(np.count_nonzero(~judged)),
        trials=ever,
        likeness=likeness,
        years=rows / periods_per_year,
        years_needed=_periods_needed(sample, expected) / periods_per_year,
        pbo=None if sums is None or sums.usable < 2 else pbo_of(sums),
        neighbourhood=neighbourhood(grid, chosen_by, best) if grid else None,
    )
    word, reasons = _judge(facts, rows)
    return replace(facts, word=word, reasons=reasons, text=_text(facts, word, reasons))


def _judge(v: Verdict, rows: int) -> tuple[Word, tuple[str, ...]]:
    """Return the word and what speaks against an edge."""
    if rows < FEWEST:
        return "unclear", (f"{rows} returns are too few to say anything; {FEWEST} are the least",)
    if v.sharpe <= 0.0:
        return "luck", ("even the best did not make money",)
    if not v.deflated >= CONFIDENCE:
        return "luck", (
            "that is no more than luck gives to the best of so many" if v.trials > 1 else "chance does that",
        )
    if not v.t_statistic >= T_STATISTIC:
        # after a search this is luck; one strategy that was never chosen among others may be more
        reason = (
            f"a t-statistic of {v.t_statistic:.1f} is below the {T_STATISTIC:g} that a finding has to reach"
        )
        return "luck" if v.trials > 1 else "unclear", (reason,)
    reasons = []
    if v.pbo is not None and v.pbo.probability > MOST_PBO and v.pbo.loss > MOST_LOSS:
        reasons.append("what was best on one half of the time was mostly not so on the other")
    if v.neighbourhood is not None and v.neighbourhood.kept < LEAST_KEPT:
        reasons.append("the best is a lonely peak among its neighbours")
    return ("unclear", tuple(reasons)) if reasons else ("edge", ())


# ---------------------------------------------------------------- facts
def _values(metric: str, values: ArrayLike | None, ratios: Floats) -> Floats:
    if values is None:
        if metric != "sharpe":
            raise ParameterError(
                "values", None, f"give the table's column {metric}, by which the best was chosen"
            )
        return ratios
    column = np.asarray(values, dtype=np.float64)
    if column.shape != ratios.shape:
        reason = f"one a column of returns is needed, there are {len(ratios)}"
        raise ParameterError("values", f"an array of shape {column.shape}", reason)
    return column


def _looked_at(table: Columns, metric: str) -> tuple[Floats, float, BlockSums | None]:
    """Return what one look at all columns gives.

    These are the Sharpe ratio of each; the mean correlation over all pairs of those that have one, NaN for one
    column; and for CSCV sums over blocks, by the metric where these give it, else by Sharpe ratio, None where the
    rows are too few.
    Source: the variance of a sum of N standardised columns is N + N (N - 1) mean correlation.
    """
    rows, _ = table.shape
    blocks = min(BLOCKS, rows // 4 * 2)  # two returns a block at least
    by = "total_return" if metric == "cagr" else metric  # the same order
    sums = None if blocks < 2 else BlockSums(by if by in METRICS else "sharpe", rows, blocks)
    found, total, n = [], np.zeros(rows), 0
    for part in table.parts():
        ratios = sharpe_ratios(part)
        found.append(ratios)
        r = part[:, np.isfinite(ratios)]
        scale = 1.0 / r.std(axis=0, ddof=1)
        total += r @ scale - float(r.mean(axis=0) @ scale)
        n += r.shape[1]
        if sums is not None:
            sums.add(part)
    likeness = float((total @ total / (rows - 1) - n) / (n * (n - 1))) if n > 1 else math.nan
    return np.concatenate(found), likeness, sums


def _spread_of_luck(rows: int, columns: int, trials: int, likeness: float, variance: float | None) -> float:
    """Return the variance that luck alone gives the trials' Sharpe ratios per period.

    Source: an estimate's variance is 1 / (T - 1) where the ratio is 0 (Lo, The Statistics of Sharpe Ratios, 2002);
    over estimates with the mean correlation r the expected sample variance is 1 - r of that. Trials that are not
    among these columns count as independent of one another and of them: the mean of both by their numbers.
    """
    independent = 1.0 / (rows - 1)
    if variance is not None and not math.isnan(variance):
        if not 0.0 <= variance < math.inf:
            raise ParameterError(
                "variance", variance, "must be a number from 0 up, of Sharpe ratios per period"
            )
        return min(variance, independent)
    if columns < FEW_TRIALS or not math.isfinite(likeness):
        return independent
    alike = (1.0 - min(max(likeness, 0.0), 1.0)) * independent
    share = min(columns / max(trials, 1), 1.0)
    return share * alike + (1.0 - share) * independent


def _periods_needed(sample: Moments, expected: float) -> float:
    """Return the length of record at which this Sharpe ratio would pass, as luck's share of it falls with the length.

    Source: deflated = CONFIDENCE solved for T with expected * sqrt(T - 1) kept, which for one trial is the minimum
    track record against 0; and T_STATISTIC.
    """
    if not sample.sharpe > 0.0:
        return math.inf
    alone = min_track_record(sample.sharpe, 0.0, CONFIDENCE, sample.skew, sample.kurtosis) - 1.0
    search = expected / sample.sharpe * math.sqrt(sample.n - 1)
    return max(1.0 + (search + math.sqrt(alone)) ** 2, (T_STATISTIC / sample.sharpe) ** 2)


# ---------------------------------------------------------------- words
def _nothing(metric: str, columns: int, trials: int, years: float) -> Verdict:
    reason = "no combination gave returns that can be judged: all failed, never traded or never varied"
    nan = math.nan
    return Verdict(
        word="unclear",
        text=f"Unclear. Of {_count(columns, trials)}, none can be judged: all failed, never traded or never varied.",
        reasons=(reason,),
        metric=metric, row=-1, parameters={}, sharpe=nan, expected=nan, deflated=nan, t_statistic=nan,
        combinations=columns, failed=columns, trials=trials, likeness=nan, years=years, years_needed=nan,
        pbo=None, neighbourhood=None,
    )  # fmt: skip


def _text(v: Verdict, word: Word, reasons: tuple[str, ...]) -> str:
    """Return the paragraph; a trader who knows no statistics is meant to follow it."""
    named = ", ".join(f"{name}={_plain(value)}" for name, value in v.parameters.items())
    best = f"the best by {v.metric}" + (f" ({named})" if named else "")
    parts = [
        f"{word.capitalize()}" + (f": {'; '.join(reasons)}." if reasons else "."),
        f"Of {_count(v.combinations, v.trials)}, {best} has a Sharpe ratio of {v.sharpe:.2f} a year "
        f"over {v.years:.1f} years (t-statistic {v.t_statistic:.1f})."
        + (f" {v.failed:,} gave nothing to judge and count as tried." if v.failed else ""),
    ]
    if v.trials > 1:
        parts.append(
            f"Without any edge, the best of so many would be expected to show {v.expected:.2f}; that the true Sharpe "
            f"ratio is above this has a probability of {_percent(v.deflated)} (deflated Sharpe ratio; "
            f"{_percent(CONFIDENCE)} is asked for)."
        )
    else:
        parts.append(f"That the true one is above 0 has a probability of {_percent(v.deflated)}.")
    if v.pbo is not None:
        parts.append(
            f"Chosen on one half of the time and looked at on the other, the best was no better than the middle of the "
            f"field in {_percent(v.pbo.probability)} of {len(v.pbo.logits):,} splits (probability of backtest "
            f"overfitting) and lost money in {_percent(v.pbo.loss)}."
        )
    if v.neighbourhood is not None:
        parts.append(_around(v.neighbourhood, v.metric))
    if v.sharpe > 0.0:
        parts.append(
            f"To prove such a Sharpe ratio after such a search takes {v.years_needed:.1f} years; "
            f"there are {v.years:.1f}."
        )
    if word == "edge":
        parts.append("This says better than nothing, not better than holding, and not that it lasts.")
    return " ".join(parts)


def _around(n: Neighbourhood, metric: str) -> str:
    if n.neighbours == 0:
        return (
            "It has no neighbours on the grid, so nothing is known of what a small change of parameters does."
        )
    some = (
        f"Its {n.neighbours:,} neighbours on the grid"
        if n.neighbours > 1
        else "Its one neighbour on the grid"
    )
    kept = "" if math.isnan(n.kept) else f" keep {_percent(n.kept)} of its {metric} in the median and"
    edge = f"; {', '.join(n.at_edge)} stand{'s' if len(n.at_edge) == 1 else ''} at the edge of what was tried"
    return f"{some}{kept} are above 0 in {_percent(n.positive)} of the cases{edge if n.at_edge else ''}."


def _count(combinations: int, trials: int) -> str:
    here = f"{combinations:,} combination{'s' if combinations > 1 else ''} tried here"
    return here + (f" and {trials:,} ever on these data" if trials > combinations else "")


def _percent(share: float) -> str:
    if 0.0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1.0:
        return "over 99 %"
    return f"{100.0 * share:.0f} %"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
