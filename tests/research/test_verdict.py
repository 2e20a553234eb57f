"""The verdict on searches whose truth is known: MACD grids over random walks without and with an edge planted."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from quant.errors import ParameterError
from quant.research.proof.stats import (
    deflated_sharpe,
    expected_max_sharpe,
    min_track_record,
    moments,
    sharpe_ratios,
)
from quant.research.proof.verdict import Verdict, verdict

SEEDS = 10
DAYS = 2_500
YEAR = 252.0
START = 70  # the longest average of the grid has settled; all before is flat


def combinations(few: bool = False) -> dict[str, np.ndarray]:
    values = ((8, 12), (20, 26), (9,)) if few else ((6, 9, 12, 15), (20, 26, 32, 40), (5, 9, 13))
    columns = np.array(list(itertools.product(*values))).T
    return dict(zip(("fast", "slow", "signal"), columns, strict=True))


def market(seed: int, follows: float = 0.0, days: int = DAYS, series: int = SEEDS) -> np.ndarray:
    """Return (series, days) returns; each follows the one before by this share: AR(1), 0 for a random walk."""
    shock = np.random.default_rng(seed).normal(0.0, 0.01, (series, days))
    r = shock.copy()
    for t in range(1, days):
        r[:, t] += follows * r[:, t - 1]
    return r


def macd_returns(
    r: np.ndarray, grid: dict[str, np.ndarray], *, short: bool = True, cost: float = 0.0
) -> np.ndarray:
    """Return (series, days, combinations): long above the signal line, else short or flat, from the next day on."""
    price = np.cumprod(1.0 + r, axis=1)
    periods, place = np.unique([grid["fast"], grid["slow"]], return_inverse=True)
    fast, slow = place.reshape(2, -1)
    average = np.repeat(price[:, :1], len(periods), axis=1)
    line = np.zeros((len(r), len(fast)))
    held, earned = np.zeros_like(line), np.zeros((len(r), r.shape[1], len(fast)))
    for t in range(r.shape[1]):
        earned[:, t] = held * r[:, t, None]
        average += (price[:, t, None] - average) * (2.0 / (periods + 1))
        macd = average[:, fast] - average[:, slow]
        line += (macd - line) * (2.0 / (grid["signal"] + 1))
        if t >= START:
            wanted = np.where(macd > line, 1.0, -1.0 if short else 0.0)
            earned[:, t] -= cost * np.abs(wanted - held)
            held = wanted
    return earned


def verdicts(seed: int, few: bool = False, follows: float = 0.0, **how: Any) -> list[Verdict]:
    grid = combinations(few)
    all_returns = macd_returns(market(seed, follows), grid, **how)
    return [verdict(r, periods_per_year=YEAR, parameters=grid) for r in all_returns]


# ---------------------------------------------------------------- the criterion
@pytest.mark.parametrize(
    ("few", "how"),
    [(False, {}), (False, {"short": False}), (False, {"cost": 0.0005}), (True, {})],
    ids=["long-short", "long-flat", "costs", "four-combinations"],
)
def test_noise_is_luck(few: bool, how: dict[str, Any], full: bool) -> None:
    seeds = range(100, 120) if full else (100,)
    words = [v.word for seed in seeds for v in verdicts(seed, few, **how)]
    assert words.count("luck") >= 0.9 * len(words)
    assert words.count("edge") <= 0.05 * len(words)


@pytest.mark.parametrize("cost", [0.0, 0.0005])
def test_a_planted_edge_is_found(cost: float) -> None:
    words = [v.word for v in verdicts(200, follows=0.3, cost=cost)]
    assert words.count("edge") >= 9


def test_costs_that_spread_the_trials_do_not_hide_an_edge() -> None:
    # Costs sink the quick combinations far below the rest. The spread seen over the trials takes that for luck.
    rng = np.random.default_rng(3)
    common = rng.normal(0.0, 0.01, (DAYS, 1))
    drift = np.linspace(-0.01, 0.0015, 60)
    r = 0.8 * common + 0.006 * rng.normal(0.0, 1.0, (DAYS, 60)) + drift
    found = verdict(r, periods_per_year=YEAR)
    sample, ratios = moments(r[:, found.row]), sharpe_ratios(r)
    assert deflated_sharpe(sample.sharpe, DAYS, variance=float(np.var(ratios, ddof=1)), trials=60) < 0.5
    assert found.word == "edge"


# ---------------------------------------------------------------- the facts
def alike(
    columns: int = 20, days: int = DAYS, drift: float = 0.0, own: float = 0.5, seed: int = 1
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(0.0, 0.01, (days, 1))
    common -= common.mean()
    return common + own * rng.normal(0.0, 0.01, (days, columns)) + drift


def test_likeness_is_the_mean_correlation() -> None:
    r = alike(12)
    every = np.corrcoef(r, rowvar=False)
    found = verdict(r, periods_per_year=YEAR)
    assert found.likeness == pytest.approx(every[np.triu_indices(12, 1)].mean())


def test_expected_is_the_best_of_independent_trials_with_the_spread_of_luck() -> None:
    found = verdict(alike(12), periods_per_year=YEAR)
    spread = (1 - found.likeness) / (DAYS - 1)
    assert found.expected == pytest.approx(expected_max_sharpe(spread, 12) * math.sqrt(YEAR))


def test_below_ten_trials_the_spread_is_that_of_independent_ones() -> None:
    found = verdict(alike(9), periods_per_year=YEAR)
    assert found.expected == pytest.approx(expected_max_sharpe(1 / (DAYS - 1), 9) * math.sqrt(YEAR))


def test_the_spread_of_luck_is_what_driftless_trials_show() -> None:
    # over many searches the mean variance of the Sharpe ratios is (1 - mean correlation) / (T - 1)
    seen, said = [], []
    for seed in range(2_000):
        r = alike(15, 100, own=1.0, seed=seed)
        seen.append(np.var(sharpe_ratios(r), ddof=1))
        said.append((1 - np.corrcoef(r, rowvar=False)[np.triu_indices(15, 1)].mean()) / 99)
    assert np.mean(said) == pytest.approx(np.mean(seen), rel=0.03)  # its own error is 0.85 %


def test_what_was_tried_before_raises_what_luck_shows() -> None:
    r = alike(20, drift=0.001)
    now = verdict(r, periods_per_year=YEAR)
    ever = verdict(r, periods_per_year=YEAR, trials=5_000)
    known = verdict(r, periods_per_year=YEAR, trials=5_000, variance=0.3 / DAYS)
    assert now.expected < known.expected < ever.expected
    assert now.deflated > known.deflated > ever.deflated
    share = 20 / 5_000  # of the trials whose likeness is known; the others count as independent
    spread = (1 - share * ever.likeness) / (DAYS - 1)
    assert ever.expected == pytest.approx(expected_max_sharpe(spread, 5_000) * math.sqrt(YEAR))
    assert "20 combinations tried here and 5,000 ever on these data" in ever.text
    assert "ever" not in now.text
    fewer = verdict(r, periods_per_year=YEAR, trials=3)  # a ledger that lost some
    assert (fewer.trials, fewer.text) == (20, now.text)


def test_no_spread_above_that_of_independent_trials_counts_as_luck() -> None:
    r = alike(20)
    wide = verdict(r, periods_per_year=YEAR, trials=100, variance=1.0)
    independent = expected_max_sharpe(1 / (DAYS - 1), 100) * math.sqrt(YEAR)
    assert wide.expected == pytest.approx(independent)
    unknown = verdict(r, periods_per_year=YEAR, trials=100, variance=math.nan)
    assert unknown.expected == verdict(r, periods_per_year=YEAR, trials=100).expected < independent


def test_a_few_trials_more_move_the_bar_a_little() -> None:
    r = alike(84)
    bars = [verdict(r, periods_per_year=YEAR, trials=n).expected for n in (84, 85, 93, 120)]
    assert bars == sorted(bars)
    assert bars[1] < 1.1 * bars[0]


def test_one_strategy_needs_the_minimum_track_record() -> None:
    r = alike(1, drift=0.0004)
    found, sample = verdict(r, periods_per_year=YEAR), moments(r[:, 0])
    alone = min_track_record(sample.sharpe, 0.0, 0.95, sample.skew, sample.kurtosis)
    assert found.years_needed == pytest.approx(max(alone, (3.0 / sample.sharpe) ** 2) / YEAR)
    assert (found.trials, found.pbo, found.expected) == (1, None, 0.0)
    assert math.isnan(found.likeness)


@pytest.mark.parametrize("drift", [0.0003, 0.0006, 0.0008, 0.0012])
def test_the_years_needed_are_there_where_nothing_speaks_against_it(drift: float) -> None:
    found = verdict(alike(20, drift=drift), periods_per_year=YEAR)
    assert (found.word != "luck") == (found.years_needed <= found.years)


# ---------------------------------------------------------------- words
def test_the_text_holds_the_numbers() -> None:
    found = max(verdicts(200, follows=0.3), key=lambda v: v.sharpe)
    assert str(found) == found.text
    p = found.parameters
    assert found.text.startswith("Edge. Of 48 combinations tried here, the best by sharpe ")
    for part in (
        f"(fast={p['fast']}, slow={p['slow']}, signal={p['signal']})",
        f"a Sharpe ratio of {found.sharpe:.2f} a year over 9.9 years (t-statistic {found.t_statistic:.1f})",
        f"expected to show {found.expected:.2f}",
        "over 99 % (deflated Sharpe ratio; 95 % is asked for)",
        "of 12,870 splits (probability of backtest overfitting)",
        "neighbours on the grid keep",
        f"takes {found.years_needed:.1f} years; there are 9.9",
        "not better than holding",
    ):
        assert part in found.text
    assert found.sharpe == pytest.approx(found.t_statistic / math.sqrt(DAYS) * math.sqrt(YEAR))
    assert found.reasons == ()
    assert all(isinstance(v, int) for v in p.values())


def test_a_best_that_lost_money_is_luck() -> None:
    found = verdict(alike(drift=-0.002), periods_per_year=YEAR)
    assert found.word == "luck"
    assert found.text.startswith("Luck: even the best did not make money.")
    assert found.years_needed == math.inf
    assert "inf" not in found.text


def test_a_lonely_peak_is_unclear() -> None:
    r = alike(25)
    r[:, 12] += 0.002
    grid = dict(zip(("fast", "slow"), np.array(list(itertools.product(range(5), range(5)))).T, strict=True))
    found = verdict(r, periods_per_year=YEAR, parameters=grid)
    assert found.word == "unclear"
    assert found.reasons == ("the best is a lonely peak among its neighbours",)
    assert found.text.startswith("Unclear: the best is a lonely peak among its neighbours. Of 25")
    assert verdict(r, periods_per_year=YEAR).word == "edge"  # nothing is known of the neighbours


def test_a_choice_that_fails_out_of_sample_is_unclear() -> None:
    # each earns in a time of its own and gives a part of it back in all others: any half chooses what is over
    r = 0.02 * np.random.default_rng(2).normal(0.0, 0.05, (1600, 16))
    for i in range(16):
        r[:, i] -= 0.0002
        r[i * 100 : (i + 1) * 100, i] += 0.006
    found = verdict(r, periods_per_year=YEAR)
    assert found.deflated > 0.95
    assert found.pbo is not None
    assert found.pbo.probability > 0.5
    assert found.word == "unclear"
    assert "mostly not so on the other" in found.text


def test_a_search_below_a_t_of_3_is_luck_and_one_strategy_is_unclear() -> None:
    one = alike(1, own=0.0)
    one += (2.5 / math.sqrt(DAYS)) * one.std(ddof=1)  # t-statistic 2.5
    alone = verdict(one, periods_per_year=YEAR)
    assert alone.t_statistic == pytest.approx(2.5)
    assert (alone.word, alone.text.split(".")[0]) == ("unclear", "Unclear: a t-statistic of 2")
    twins = verdict(np.repeat(one, 12, axis=1), periods_per_year=YEAR)
    assert twins.deflated > 0.95
    assert twins.word == "luck"


def test_a_t_of_4_is_luck_after_5000_trials() -> None:
    one = alike(1, own=0.0)
    one += np.random.default_rng(8).normal(0.0, 0.01, one.shape)
    one += (4.0 / math.sqrt(DAYS)) * one.std(ddof=1) - one.mean()
    assert verdict(one, periods_per_year=YEAR).word == "edge"
    after = verdict(one, periods_per_year=YEAR, trials=5_000)  # luck alone is expected to reach 3.7
    assert after.word == "luck"
    assert after.reasons == ("that is no more than luck gives to the best of so many",)


def test_an_edge_that_all_have_needs_no_choice() -> None:
    r = np.repeat(alike(1, drift=0.002), 12, axis=1)
    found = verdict(r, periods_per_year=YEAR)
    assert found.pbo is not None
    assert (found.pbo.probability, found.pbo.loss) == (1.0, 0.0)
    assert found.word == "edge"


def test_too_few_returns_are_unclear() -> None:
    found = verdict(alike(5, days=29, drift=0.01), periods_per_year=YEAR)
    assert found.word == "unclear"
    assert "29 returns are too few" in found.text


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 30, 33])
def test_short_records_do_not_crash(rows: int) -> None:
    found = verdict(alike(5, days=rows), periods_per_year=YEAR)
    assert found.text
    assert (found.pbo is None) == (rows < 4)


@pytest.mark.parametrize("value", [0.0, 0.01, math.nan])
def test_nothing_to_judge_is_said(value: float) -> None:
    found = verdict(np.full((100, 7), value), periods_per_year=YEAR, parameters={"fast": range(7)})
    assert (found.word, found.row, found.failed, found.pbo, found.neighbourhood) == (
        "unclear",
        -1,
        7,
        None,
        None,
    )
    assert found.text.startswith("Unclear. Of 7 combinations tried here, none can be judged")
    assert "nan" not in found.text


def test_failed_combinations_count_as_tried() -> None:
    r = alike(20, drift=0.001)
    more = np.column_stack([np.full((DAYS, 3), np.nan), r, np.zeros((DAYS, 1))])
    found, without = verdict(more, periods_per_year=YEAR), verdict(r, periods_per_year=YEAR)
    assert (found.combinations, found.trials, found.failed) == (24, 24, 4)
    assert found.row == without.row + 3
    assert found.likeness == pytest.approx(without.likeness)
    assert found.expected > without.expected
    assert "4 gave nothing to judge and count as tried." in found.text


def test_the_best_by_another_metric_is_judged() -> None:
    r = alike(6, drift=0.001)
    values = [1.0, 2.0, math.inf, 9.0, math.nan, 0.0]
    found = verdict(
        r, periods_per_year=YEAR, metric="profit_factor", values=values, parameters={"x": range(6)}
    )
    assert found.row == 3
    assert found.parameters == {"x": 3}
    assert found.sharpe == pytest.approx(moments(r[:, 3]).sharpe * math.sqrt(YEAR))
    assert found.pbo is not None
    assert found.pbo.metric == "sharpe"
    assert found.neighbourhood is not None
    assert found.neighbourhood.best == 9.0
    ruined = r.copy()
    ruined[5, 3] = math.nan  # its figures may stand, its returns cannot be judged
    assert verdict(ruined, periods_per_year=YEAR, metric="profit_factor", values=values).row == 1
    growth = verdict(r, periods_per_year=YEAR, metric="cagr", values=values)
    assert growth.pbo is not None
    assert growth.pbo.metric == "total_return"


def test_without_neighbours_the_text_says_so() -> None:
    found = verdict(alike(2, drift=0.001), periods_per_year=YEAR, parameters={"mode": ["a", "b"]})
    assert "no neighbours on the grid" in found.text


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"periods_per_year": 0.0}, "periods_per_year"),
        ({"metric": "cagr"}, "the table's column cagr"),
        ({"values": [1.0]}, "one a column"),
        ({"variance": -1.0}, "variance"),
        ({"parameters": {"fast": [1, 2]}}, "fast"),
    ],
)
def test_bad_input_is_named(how: dict[str, Any], what: str) -> None:
    with pytest.raises(ParameterError, match=what):
        verdict(alike(5), **{"periods_per_year": YEAR, **how})
