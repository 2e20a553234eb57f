"""Search by optuna: the same trials whoever computes them, distinct and valid ones, found again when it goes on."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.errors import ParameterError
from quant.metrics import NAMES
from quant.research import ledger
from quant.research.search import BATCH, Study, search_of

ROOT = Path(__file__).parents[2]
GRID: dict[str, Any] = dict(
    fast=range(2, 40), slow=range(10, 120, 2), signal=[3, 5, 9, 20], short=[False, True]
)
CALLS: list[tuple[int, int]] = []


class Crosses(q.Strategy):
    """Two averages; tells which combinations are computed."""

    params = dict(fast=5, slow=20)

    @staticmethod
    def valid(p: Any) -> bool:
        return bool(p.fast < p.slow)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        CALLS.append((p.fast, p.slow))
        if p.fast == 7:
            raise ValueError("seven")
        short, long = q.indicators.sma(bars.close, p.fast), q.indicators.sma(bars.close, p.slow)
        return np.where(short > long, 1.0, 0.0)


SMALL: dict[str, Any] = dict(fast=range(2, 22), slow=range(10, 50))


@pytest.fixture
def optuna(request: pytest.FixtureRequest) -> None:
    """Leave the test out where optuna is not installed, unless it is required."""
    if importlib.util.find_spec("optuna") is None and request.config.getoption("--optuna") == "auto":
        pytest.skip("not installed: optuna")


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.bars("MSFT", data=ROOT / "data")[4000:4400]


def swept(bars: q.Bars, strategy: Any = Crosses, grid: Any = SMALL, **settings: Any) -> q.Sweep:
    given = {"search": "optuna", "samples": 80, "save": False, "verify": 0, "workers": 1, **settings}
    return q.sweep(strategy, bars, grid, **given)


def study(grid: dict[str, Any] = GRID, strategy: str | type = "macd", **changes: Any) -> Study:
    from quant.strategy import strategy as find

    asked: dict[str, Any] = dict(metric="sharpe", lowest=False, samples=100, seed=0)
    return search_of(find(strategy), grid, **{**asked, **changes}).start()


def run(found: Study, count: int, value: Callable[[dict[str, Any]], float]) -> list[dict[str, Any]]:
    tried: list[dict[str, Any]] = []
    while batch := found.ask(min(BATCH, count - len(tried))):
        found.tell([value(c) for c in batch])
        tried += batch
    return tried


def hill(c: dict[str, Any]) -> float:
    """Highest, 0, at fast 12, slow 60, signal 9, long only."""
    return float(
        -(((c["fast"] - 12) / 8) ** 2) - ((c["slow"] - 60) / 25) ** 2 - abs(c["signal"] - 9) / 5 - c["short"]
    )


# ---------------------------------------------------------------- the search alone
@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_trials_are_distinct_valid_and_of_the_grid() -> None:
    found = study()
    tried = run(found, 150, hill)
    assert len({tuple(c.items()) for c in tried}) == len(tried) == 150
    assert all(c["fast"] < c["slow"] for c in tried)
    assert all(c[n] in GRID[n] for c in tried for n in GRID)
    assert all(type(c[n]) is type(GRID[n][0]) for c in tried for n in GRID)
    assert found.dropped > 0


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize("lowest", [False, True])
def test_it_finds_the_top_of_a_hill_sooner_than_chance(lowest: bool) -> None:
    """Beside as many random combinations of the same grid, over five seeds."""
    rng = np.random.default_rng(0)
    every = [dict(zip(GRID, c, strict=True)) for c in itertools.product(*GRID.values())]
    sign = -1.0 if lowest else 1.0
    found = [
        max(hill(c) for c in run(study(seed=s, lowest=lowest), 96, lambda c: sign * hill(c)))
        for s in range(5)
    ]
    by_chance = [max(hill(every[k]) for k in rng.choice(len(every), 96, replace=False)) for _ in range(5)]
    assert np.median(found) > np.median(by_chance)
    assert np.median(found) > -0.1


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_a_seed_means_its_trials() -> None:
    first = run(study(seed=3), 96, hill)
    assert run(study(seed=3), 96, hill) == first
    assert run(study(seed=4), 96, hill) != first


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_a_longer_search_begins_with_the_shorter_one() -> None:
    assert run(study(samples=96), 96, hill)[:64] == run(study(samples=64), 64, hill)


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_what_fails_or_has_no_value_is_no_obstacle() -> None:
    tried = run(
        study(), 100, lambda c: float("nan") if c["fast"] % 2 else float("inf") if c["slow"] > 90 else hill(c)
    )
    assert len(tried) == 100
    assert len(run(study(), 64, lambda _: float("nan"))) == 64


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_small_grid_is_tried_to_its_end() -> None:
    grid = dict(fast=[5, 10, 40], slow=[20, 30], short=[True, False])
    found = study(grid)
    tried = run(found, 100, hill)
    assert sorted((c["fast"], c["slow"], c["short"]) for c in tried) == sorted(
        (f, s, x) for f in (5, 10) for s in (20, 30) for x in (True, False)
    )
    assert found.dropped == 4
    assert found.ask(5) == []


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_values_of_every_kind() -> None:
    """Numbers in any order, floats, None, and one value alone."""
    grid = dict(size=[None, 2.0, 0.5], bricks=[3, 1, 2], atr_period=[20])
    tried = run(study(grid, "renko"), 100, lambda c: c["bricks"])
    assert sorted((str(c["size"]), c["bricks"]) for c in tried) == sorted(
        (str(s), b) for s in grid["size"] for b in grid["bricks"]
    )


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_optuna_says_nothing_and_stays_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run(study(), 40, hill)
    assert seen == []
    assert optuna.logging.get_verbosity() == before
    assert logging.getLogger("optuna").level == before
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- in a sweep
def bits(sweep: q.Sweep) -> list[Any]:
    table = [
        (n, [v.hex() if isinstance(v, float) else v for v in sweep.table[n].tolist()]) for n in sweep.table
    ]
    return [table, sweep.returns.tobytes()]


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_workers_do_not_change_the_search(bars: q.Bars) -> None:
    first = swept(bars)
    assert len(first.table) == 80
    assert [bits(swept(bars, workers=w)) == bits(first) for w in (2, 3)] == [True, True]
    assert first.settings["search"] == "optuna"


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_rows_are_those_of_a_grid(bars: q.Bars) -> None:
    found = swept(bars, verify=2)
    whole = q.sweep(Crosses, bars, SMALL, save=False, verify=0)
    rows = [list(whole.combos).index(c) for c in found.combos]
    for name in NAMES:
        assert found.table[name].tolist() == pytest.approx(
            whole.table[name][rows].tolist(), rel=0, abs=0, nan_ok=True
        )
    assert found.verified.fast == 2
    assert [f.count for f in found.findings if f.code == "failed-combinations"] == [
        found.table["error"].notna().sum()
    ]


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_it_looks_where_the_metric_is_good(bars: q.Bars) -> None:
    """Later batches are better in the median than the first, which knew nothing."""
    for metric, sign in (("volatility", -1.0), ("final_value", 1.0)):
        sweep = swept(bars, samples=128, metric=metric)
        found = sign * sweep.table[metric]
        assert found[64:].median() > found[:32].median()
        assert sweep.best(metric) == sweep.combos[int(found.idxmax())]


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_search_goes_on_where_it_was(bars: q.Bars, tmp_path: Path) -> None:
    CALLS.clear()
    first = swept(bars, data=tmp_path, save=True)
    assert len(set(CALLS)) == 80
    CALLS.clear()
    again = swept(bars, data=tmp_path, save=True, workers=2)
    assert CALLS == []
    assert again.folder == first.folder
    assert bits(again) == bits(first)
    longer = swept(bars, data=tmp_path, save=True, samples=128)
    assert longer.folder == first.folder
    assert list(longer.combos)[:64] == list(first.combos)[:64]
    assert len(set(CALLS)) == 64  # two batches of 32 are held; the third was asked for in part
    assert longer.trials == len({(c["fast"], c["slow"]) for s in (first, longer) for c in s.combos})


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_search_that_broke_off_goes_on(bars: q.Bars, tmp_path: Path) -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop(done: int, total: int) -> None:
        if done == 64:
            raise Enough

    CALLS.clear()  # what a global holds is part of what is swept
    with pytest.raises(Enough):
        swept(bars, data=tmp_path, save=True, progress=stop)
    of = (f"{Crosses.__module__}:Crosses", ledger.instrument_key([bars.instrument]), bars.bar.name)
    assert ledger.counts(tmp_path / "sweeps" / ledger.NAME, *of).count == 64
    CALLS.clear()
    sweep = swept(bars, data=tmp_path, save=True)
    assert len(CALLS) == 16
    assert bits(sweep) == bits(swept(bars))


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize(
    "change", [dict(seed=1), dict(metric="cagr"), dict(grid=dict(fast=[2, 3], slow=[10, 20]))], ids=str
)
def test_another_search_has_another_folder(change: dict[str, Any], bars: q.Bars, tmp_path: Path) -> None:
    first = swept(bars, data=tmp_path, save=True, samples=4)
    other = swept(bars, **{"data": tmp_path, "save": True, "samples": 4, **change})
    assert other.folder != first.folder


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_saved_search_is_read_again(bars: q.Bars, tmp_path: Path) -> None:
    from quant.research.saved import load_sweep

    first = swept(bars, data=tmp_path, save=True)
    assert first.folder is not None
    again = load_sweep(first.folder)
    assert bits(again) == bits(first)
    assert again.best() == first.best()


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_progress_is_of_the_samples(bars: q.Bars) -> None:
    told: list[tuple[int, int]] = []
    swept(bars, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert (told[0], told[-1]) == ((0, 80), (80, 80))


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_fewer_than_asked_for_is_a_finding(bars: q.Bars) -> None:
    sweep = swept(bars, grid=dict(fast=[3, 30], slow=[10, 20]), samples=50)
    assert [(c["fast"], c["slow"]) for c in sorted(sweep.combos, key=str)] == [(3, 10), (3, 20)]
    assert "fewer-samples" in [f.code for f in sweep.findings]
    assert sweep.dropped == 2


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
def test_each_symbol_is_searched_by_itself(bars: q.Bars) -> None:
    told: list[tuple[int, int]] = []
    sweep = swept({"A": bars, "B": bars[100:]}, samples=40, progress=lambda *done: told.append(done))  # type: ignore[arg-type]
    assert sweep.table["symbol"].tolist() == ["A"] * 40 + ["B"] * 40
    assert told[-1] == (80, 80)
    assert bits(sweep.sweeps["B"]) == bits(swept(bars[100:], samples=40))


@pytest.mark.optuna
@pytest.mark.usefixtures("optuna")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(samples=None), "samples = None: a search needs to know how many to try"),
        (dict(samples=0), "samples = 0: must be a whole number"),
        (dict(seed=-1), "seed = -1"),
        (dict(metric="luck"), "metric = 'luck': there is total_return"),
        (dict(grid={}), "is empty"),
        (dict(grid=dict(fats=[1])), "did you mean fast"),
        (dict(grid=dict(fast=[30], slow=[10])), "valid refuses every combination"),
    ],
    ids=str,
)
def test_bad_input_is_named(changes: dict[str, Any], said: str, bars: q.Bars) -> None:
    with pytest.raises(ParameterError, match=said):
        swept(bars, **changes)


def test_without_optuna_the_mend_is_named(bars: q.Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "optuna" else found(name, *a)
    )
    with pytest.raises(
        ParameterError, match=r'needs optuna, which is not installed: pip install "quant-ib\[optuna\]"'
    ):
        swept(bars)
