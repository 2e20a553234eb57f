"""Session returns of many combinations stay in the chunk files; what is said of them is the same, memory is not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.errors import DamagedData, ParityError
from quant.metrics.returns import Floats
from quant.report.sweep_content import SweepContent
from quant.research import chunks, saved, sweep, task
from quant.research.proof import overfitting
from quant.research.proof.columns import Whole, width
from quant.research.proof.verdict import verdict
from quant.research.reporting import sweep_content
from quant.research.returns import Beside, Filed
from quant.research.task import Row, evaluate

GRID = {"fast": range(3, 15), "slow": range(20, 32), "signal": [9]}


class Moody(q.Strategy):
    params = dict(length=10)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> np.ndarray:
        if p.length % 7 == 0:
            raise ValueError("no sevens")
        return bars.close > q.indicators.sma(bars.close, p.length)


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.synthetic("AAA", "1d", "2019-01-01", "2021-06-30", seed=1)


@pytest.fixture
def filed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No returns in memory, and small chunks."""
    monkeypatch.setattr(sweep, "IN_MEMORY", 0)
    monkeypatch.setattr(saved, "IN_MEMORY", 0)
    monkeypatch.setattr(chunks, "MOST_BYTES", 100_000)


def told(made: q.Sweep) -> list[Any]:
    """All that is said of the returns but the mean correlation, of which a sum's order moves the last bits."""
    page: SweepContent = sweep_content(made)
    assert page.halves is not None
    found = []
    for metric in ("sharpe", "sortino", "total_return"):
        v = made.verdict(metric)
        assert v.pbo is not None
        splits = [v.pbo.logits, v.pbo.in_sample, v.pbo.out_of_sample, v.pbo.chosen]
        found += [
            v.text,
            v.row,
            v.sharpe,
            v.t_statistic,
            v.pbo.slope,
            v.failed,
            *(s.tobytes() for s in splits),
        ]
    return [*found, page.facts, page.halves.tobytes(), made.returns.shape, made.returns.tobytes()]


@pytest.mark.parametrize("strategy", ["macd", Moody])
def test_the_same_is_said_of_returns_in_files(
    strategy: Any, bars: q.Bars, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    grid = GRID if strategy == "macd" else {"length": range(2, 60)}
    whole = q.sweep(strategy, bars, grid, save=False, verify=0)
    assert isinstance(whole.held, Whole)
    request.getfixturevalue("filed")
    first = q.sweep(strategy, bars, grid, data=tmp_path, verify=3)
    again = q.sweep(strategy, bars, grid, data=tmp_path, verify=3)  # from the chunks that are held
    loaded = q.load_sweep(first.folder, tmp_path)
    expected = told(whole)
    for made in (first, again, loaded):
        assert isinstance(made.held, Filed)
        assert len(made.held.names) > 2
        assert told(made) == expected
        assert made.verdict().likeness == pytest.approx(whole.verdict().likeness, rel=1e-12)
        assert made.held.column(57).tobytes() == whole.returns[:, 57].tobytes()
        assert made.held.column(0).tobytes() == whole.returns[:, 0].tobytes()


@pytest.mark.usefixtures("filed")
def test_symbols_side_by_side(bars: q.Bars, tmp_path: Path) -> None:
    of = {"AAA": bars, "BBB": q.synthetic("BBB", "1d", "2020-01-01", "2021-06-30", seed=5)}
    made = q.sweep("macd", of, GRID, data=tmp_path, verify=0)
    assert isinstance(made.held, Beside)
    one, two = (s.returns for s in made.sweeps.values())
    missing = np.full((len(one) - len(two), 144), np.nan)
    assert made.returns.tobytes() == np.hstack([one, np.vstack([two, missing])]).tobytes()
    for k in (3, 144, 287):
        assert made.held.column(k).tobytes() == made.returns[:, k].tobytes()


@pytest.mark.usefixtures("filed")
def test_a_search_leaves_returns_in_files(bars: q.Bars, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    settings: dict[str, Any] = dict(search="optuna", samples=40, seed=1, verify=2)
    made = q.sweep("macd", bars, GRID, data=tmp_path, **settings)
    assert isinstance(made.held, Filed)
    for k in (0, 31, 32, 39):
        run = q.backtest("macd", bars, params=made.combos[k], save=False)
        assert made.returns[:, k].tobytes() == run.returns.to_numpy().tobytes()


@pytest.mark.usefixtures("filed")
def test_a_chunk_that_went_is_an_error_where_it_is_needed(bars: q.Bars, tmp_path: Path) -> None:
    made = q.sweep("macd", bars, GRID, data=tmp_path, verify=0)
    assert isinstance(made.held, Filed)
    path = chunks.chunk_path(made.held.folder, made.held.names[1])
    held = path.read_bytes()
    path.write_bytes(held[:5000] + bytes([held[5000] ^ 1]) + held[5001:])
    with pytest.raises(DamagedData, match="do not match their checksum"):
        made.verdict()
    path.unlink()
    with pytest.raises(DamagedData, match=r"it is missing.* Make the same sweep again"):
        _ = made.returns
    assert q.sweep("macd", bars, GRID, data=tmp_path, verify=0).returns.shape[1] == 144


@pytest.mark.usefixtures("filed")
def test_returns_in_files_are_compared_with_backtrader(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(given: Any, combos: Any) -> list[Row]:
        rows = evaluate(given, combos)
        return [Row(r.figures, np.append(r.returns[:-1], np.nextafter(r.returns[-1], 1.0))) for r in rows]  # type: ignore[index,arg-type]

    monkeypatch.setattr(sweep, "evaluator", lambda: off)
    with pytest.raises(ParityError, match="a session's return differs"):
        q.sweep("macd", bars, GRID, data=tmp_path, verify=1)


# ---------------------------------------------------------------- memory
@pytest.mark.usefixtures("filed")
def test_a_sweep_takes_a_part_of_what_its_returns_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MOST_BYTES", 500_000)
    monkeypatch.setattr(task, "SHARED_BYTES", 500_000)
    bars = q.synthetic("AAA", "1d", "1990-01-01", "2021-06-30", seed=1)
    grid = {"fast": range(3, 19), "slow": range(20, 40), "signal": [9]}
    q.sweep("macd", bars, {"fast": [5]}, data=tmp_path, verify=0)  # loads what all later ones have
    tracemalloc.start()
    made = q.sweep("macd", bars, grid, data=tmp_path, verify=0, workers=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    returns = 8 * made.held.shape[0] * made.held.shape[1]
    assert (len(made.table), returns > 20_000_000) == (320, True)
    assert peak < returns / 3


@dataclass
class Drawn:
    """Normal returns that are drawn when they are asked for, always the same."""

    shape: tuple[int, int]

    def parts(self) -> Iterator[Floats]:
        rows, count = self.shape
        for begin in range(0, count, width(rows)):
            yield np.random.default_rng(begin).normal(0.0, 0.01, (width(rows), rows)).T

    def column(self, number: int) -> Floats:
        begin = number - number % width(self.shape[0])
        drawn: Floats = np.random.default_rng(begin).normal(0.0, 0.01, (width(self.shape[0]), self.shape[0]))
        return drawn[number - begin]


def test_a_verdict_takes_no_more_memory_for_four_times_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overfitting, "_AT_ONCE", 20_000)
    peaks = []
    for count in (512, 2_048):
        table = Drawn((1_024, count))
        tracemalloc.start()
        found = verdict(table, periods_per_year=252.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.pbo is not None
        assert found.pbo.columns == count
        assert found.sharpe == pytest.approx(
            max(np.max(p.mean(axis=0) / p.std(axis=0, ddof=1)) for p in table.parts()) * 252**0.5
        )
    sums = 8 * 2 * 16 * 2_048 * 2  # of 16 blocks, twice, while their parts are put together
    assert peaks[1] < peaks[0] + 2 * sums < 8 * 1_024 * 2_048 / 2
