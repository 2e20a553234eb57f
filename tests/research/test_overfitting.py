"""PBO against a plain reading of the paper, split by split; the reality check and SPA against arch itself."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import math
import statistics
import sys
from collections.abc import Callable

import numpy as np
import pytest

from quant.errors import ConfigError, ParameterError
from quant.research.proof.overfitting import pbo, reality_check, spa


def noise(rows: int, columns: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (rows, columns))


# ---------------------------------------------------------------- the paper, read plainly
def sharpe(r: list[float]) -> float:
    return statistics.fmean(r) / statistics.stdev(r)


def sortino(r: list[float]) -> float:
    return statistics.fmean(r) / math.sqrt(statistics.fmean([min(x, 0.0) ** 2 for x in r]))


def total_return(r: list[float]) -> float:
    return math.prod(1.0 + x for x in r) - 1.0


MEASURES = {"sharpe": sharpe, "sortino": sortino, "mean": statistics.fmean, "total_return": total_return}


def plain_cscv(
    r: np.ndarray, blocks: int, measure: Callable[[list[float]], float]
) -> tuple[list[float], list[int], list[float], list[float]]:
    """Return logits, chosen columns, and performance here and there, of each split."""
    parts = np.array_split(np.arange(len(r)), blocks)  # the first T % blocks are one longer
    logits, chosen, here, there = [], [], [], []
    for half in itertools.combinations(range(blocks), blocks // 2):
        inside = [i for b in half for i in parts[b]]
        outside = [i for b in range(blocks) if b not in half for i in parts[b]]
        seen = [measure(list(column[inside])) for column in r.T]
        unseen = [measure(list(column[outside])) for column in r.T]
        best = seen.index(max(seen))
        rank = sum(v < unseen[best] for v in unseen) + (sum(v == unseen[best] for v in unseen) + 1) / 2
        omega = rank / (len(unseen) + 1)
        logits.append(math.log(omega / (1 - omega)))
        chosen.append(best)
        here.append(seen[best])
        there.append(unseen[best])
    return logits, chosen, here, there


@pytest.mark.parametrize("metric", MEASURES)
@pytest.mark.parametrize(("rows", "blocks"), [(48, 6), (53, 8), (9, 2)])
def test_each_split_is_that_of_the_paper(rows: int, blocks: int, metric: str) -> None:
    r = noise(rows, 7, seed=rows)
    logits, chosen, here, there = plain_cscv(r, blocks, MEASURES[metric])
    found = pbo(r, blocks, metric)
    assert found.chosen.tolist() == chosen
    assert found.logits == pytest.approx(logits)
    assert found.in_sample == pytest.approx(here)
    assert found.out_of_sample == pytest.approx(there)
    assert float(found) == found.probability == pytest.approx(np.mean(np.array(logits) <= 0))
    assert found.loss == pytest.approx(np.mean(np.array(there) < 0))
    if blocks > 2:
        assert found.slope == pytest.approx(np.polyfit(here, there, 1)[0])


# ---------------------------------------------------------------- exact cases
def test_what_one_half_gains_the_other_loses_is_1() -> None:
    r = noise(64, 20)
    found = pbo(r - r.mean(axis=0), 8, "mean")  # equal blocks: the mean of a half is minus that of the other
    assert found.probability == 1.0
    assert found.loss == 1.0
    assert found.slope == pytest.approx(-1.0)


@pytest.mark.parametrize("metric", MEASURES)
def test_a_column_that_is_best_in_every_block_is_0(metric: str) -> None:
    r = noise(64, 20)
    r[:, 7] = np.abs(r).max(axis=1) + 0.001 * np.arange(64) % 0.002
    r[::9, 7] = -1e-5  # sortino needs a loss
    found = pbo(r, 8, metric)
    assert found.probability == 0.0
    assert found.loss == 0.0
    assert set(found.chosen.tolist()) == {7}


def test_equal_columns_count_as_overfit() -> None:
    r = np.repeat(noise(64, 1), 33, axis=1)
    found = pbo(r, 8)
    assert found.probability == 1.0  # the middle rank of equals: logit 0
    assert not found.logits.any()
    assert not found.chosen.any()  # the first of equal bests


def test_columns_that_differ_by_rounding_only_are_equal() -> None:
    first = noise(64, 1)[:, 0].reshape(8, 8) + 0.001
    others = [np.random.default_rng(i).permuted(first, axis=1) for i in range(12)]  # as returns of each block
    found = pbo(np.column_stack([block.ravel() for block in (first, *others)]), 8)
    assert not found.chosen.any()
    assert found.probability == 1.0


def test_noise_is_a_blind_choice_in_the_mean_over_many_seeds() -> None:
    found = [pbo(noise(200, 30, seed), 8).probability for seed in range(60)]
    assert 0.4 < np.mean(found) < 0.65  # about one half, with a wide spread by seed: Bailey et al. (2017)
    assert np.std(found) > 0.1


def test_a_half_without_spread_counts_as_nothing_earned() -> None:
    r = noise(64, 3) - 0.02  # the two others lose
    r[:, 0] = 0.0
    found = pbo(r, 4)
    assert set(found.chosen.tolist()) == {0}
    assert not found.out_of_sample.any()


def test_rounding_makes_no_spread() -> None:
    r = noise(101, 3)
    r[:51, 0] = 0.003  # two blocks of four, of 26 and 25 rows: mean 0.003, spread 0, and so no Sharpe ratio
    found = pbo(r, 4)
    assert np.abs(found.in_sample).max() < 10.0
    assert np.abs(found.out_of_sample).max() < 10.0


def test_failed_columns_are_dropped_and_counted() -> None:
    r = noise(64, 6)
    r[:, 0], r[5, 2] = np.nan, np.inf
    found, without = pbo(r, 4), pbo(r[:, [1, 3, 4, 5]], 4)
    assert (found.columns, found.dropped) == (4, 2)
    assert found.logits.tolist() == without.logits.tolist()
    assert found.chosen.tolist() == [
        (1, 3, 4, 5)[i] for i in without.chosen
    ]  # numbers of the table that was given


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    r = noise(100, 11)
    whole = pbo(r, 10)
    monkeypatch.setattr("quant.research.proof.overfitting._AT_ONCE", 70)  # 6 splits at once
    parts = pbo(r, 10)
    assert parts.logits.tolist() == whole.logits.tolist()
    assert parts.chosen.tolist() == whole.chosen.tolist()


def test_16_blocks_are_12870_splits() -> None:
    found = pbo(noise(64, 4))
    assert len(found.logits) == 12_870
    assert repr(found).startswith("Pbo(0.")


@pytest.mark.parametrize(
    ("rows", "columns", "blocks", "metric", "what"),
    [
        (64, 4, 7, "sharpe", "even number"),
        (64, 4, 0, "sharpe", "even number"),
        (64, 4, 22, "sharpe", "even number"),
        (64, 4, 4.0, "sharpe", "even number"),
        (31, 4, 16, "sharpe", "fewer blocks"),
        (64, 1, 4, "sharpe", "two columns"),
        (64, 4, 4, "sqn", "sharpe, sortino, mean, total_return"),
    ],
)
def test_bad_input_is_named(rows: int, columns: int, blocks: int, metric: str, what: str) -> None:
    with pytest.raises(ParameterError, match=what):
        pbo(noise(rows, columns), blocks, metric)


def test_no_table_is_named() -> None:
    with pytest.raises(ParameterError, match=r"shape \(64,\)"):
        pbo(noise(64, 1)[:, 0])


# ---------------------------------------------------------------- by arch
@pytest.fixture
def arch(request: pytest.FixtureRequest) -> None:
    """Leave the test out where arch is not installed, unless it is required."""
    if importlib.util.find_spec("arch") is None and request.config.getoption("--arch") == "auto":
        pytest.skip("not installed: arch")


@pytest.mark.arch
@pytest.mark.usefixtures("arch")
def test_reality_check_is_that_of_arch() -> None:
    from arch.bootstrap import RealityCheck

    r, held = noise(200, 6) * [1, 2, 3, 1, 2, 3] + 0.0005, noise(200, 1, seed=9)[:, 0]
    theirs = RealityCheck(-held, -r, block_size=5, reps=200, seed=3)
    theirs.compute()
    assert reality_check(r, held, reps=200, block=5, seed=3) == theirs.pvalues["upper"]
    alone = RealityCheck(np.zeros(200), -r, reps=200, seed=3)
    alone.compute()
    assert reality_check(r, reps=200, seed=3) == alone.pvalues["upper"]


@pytest.mark.arch
@pytest.mark.usefixtures("arch")
def test_spa_is_that_of_arch_on_differences_over_their_spread() -> None:
    from arch.bootstrap import SPA

    r = noise(150, 5) * [1, 2, 3, 1, 20] + [0.001, 0.0, -0.01, -0.001, 0.0]
    scaled = r / r.std(axis=0, ddof=1)
    theirs = SPA(np.zeros(150), -scaled, block_size=6, reps=300, seed=4)
    theirs.compute()
    found = spa(r, block=6, reps=300, seed=4)
    assert [found.lower, found.consistent, found.upper] == theirs.pvalues.tolist()
    assert found.lower <= found.consistent <= found.upper
    assert found.lower < found.upper


@pytest.mark.arch
@pytest.mark.usefixtures("arch")
def test_spa_rejects_few_tables_without_an_edge() -> None:
    # At 5 %: 15 of these 150. Divided by the long-run deviation over blocks of sqrt(T) it was 47; arch without any
    # scale, which it can do without where columns are alike: 11.
    p = [spa(noise(100, 40, seed=k), reps=100, seed=k).consistent for k in range(150)]
    assert sum(value < 0.05 for value in p) <= 20


@pytest.mark.arch
@pytest.mark.usefixtures("arch")
def test_spa_and_reality_check_say_where_returns_are_too_few_to_be_believed() -> None:
    # The limit is that of the table in docs/sweeps.md.
    for test in (spa, reality_check):
        enough, few = test(noise(250, 3), reps=20), test(noise(249, 3), reps=20)
        assert (enough.findings, "too few" in str(enough)) == ((), False)
        (told,) = few.findings
        assert (told.code, told.level) == ("short-record", "warning")
        for said in (told.message, repr(few), str(few)):
            assert "249 returns are too few" in said
            assert "250" in said
        again = copy.copy(few)
        assert (again, again.findings) == (few, few.findings)
    found = spa(noise(249, 3), reps=20)
    values = f"Spa(lower={found.lower}, consistent={found.consistent}, upper={found.upper})"
    assert repr(found).startswith(f"{values}\nwarning: ")
    p = reality_check(noise(249, 3), reps=20)
    assert repr(p).startswith(f"{float(p)}\nwarning: ")
    assert f"{p:.3f}" == f"{float(p):.3f}"


@pytest.mark.arch
@pytest.mark.usefixtures("arch")
def test_spa_sees_an_edge_behind_a_wild_column_and_the_reality_check_does_not() -> None:
    r = noise(400, 10)
    r[:, 0] += 0.002
    r[:, 9] *= 50
    assert spa(r, reps=200).consistent < 0.05
    assert reality_check(r, reps=200) > 0.2


@pytest.mark.arch
@pytest.mark.usefixtures("arch")
def test_columns_that_cannot_be_judged_are_left_out() -> None:
    r = noise(100, 4)
    more = np.column_stack([r, np.full(100, np.nan), np.zeros(100)])
    assert spa(more, reps=50) == spa(r, reps=50)
    assert reality_check(more[:, :5], reps=50) == reality_check(r, reps=50)


def test_without_arch_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch.bootstrap", None)
    for test in (reality_check, spa):
        with pytest.raises(ConfigError, match=r'pip install "quant-ib\[stats\]"'):
            test(noise(50, 3))


@pytest.mark.parametrize("test", [reality_check, spa])
def test_bad_input_of_the_bootstrap_is_named(test: Callable[..., object]) -> None:
    r = noise(50, 3)
    with pytest.raises(ParameterError, match="benchmark"):
        test(r, r[:40, 0])
    with pytest.raises(ParameterError, match="block"):
        test(r, block=51)
    with pytest.raises(ParameterError, match="reps"):
        test(r, reps=0)
    with pytest.raises(ParameterError, match="without NaN"):
        test(np.full((50, 3), np.nan))


def test_spa_of_columns_that_are_the_benchmark_is_an_error() -> None:
    held = noise(50, 1)[:, 0]
    with pytest.raises(ParameterError, match="none differs"):
        spa(np.column_stack([held, held]), held)
