"""Sweeps at rest: read back they are the same, and what is missing, damaged or changed is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.errors import DamagedData, ParameterError, StrategyError, SweepNotFound
from quant.research import chunks, saved
from quant.research.saved import load_sweep, remove_sweep, sweeps
from quant.store import Store

GRID = {"fast": [5, 8, 12], "slow": [20, 26], "signal": [9]}
STRATEGY = """
import quant as q

class Crossing(q.Strategy):
    params = dict(length=10)

    @staticmethod
    def signals(bars, p):
        if p.length == 7:
            raise ValueError("seven is not tried")
        return bars.close > q.indicators.sma(bars.close, p.length)
"""


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.synthetic("AAA", "1d", "2020-01-01", "2021-06-30", seed=1)


@pytest.fixture
def data(tmp_path: Path, bars: q.Bars) -> Path:
    """A data folder that holds the bars."""
    keep(bars, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def stored(data: Path) -> q.Bars:
    return q.bars("AAA", "1d", data=data)


@pytest.fixture
def made(stored: q.Bars, data: Path) -> q.Sweep:
    return q.sweep("macd", stored, GRID, data=data, verify=1)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module with a strategy, in a folder of its own on the path."""
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "crossing_of_a_test.py"
    file.write_text(STRATEGY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    yield file
    sys.modules.pop("crossing_of_a_test", None)


def keep(bars: q.Bars, data: Path) -> None:
    request = {"kind": "import", "at": "2026-01-01T00:00:00+00:00"}
    Store(data).write(replace(bars, source="made-up"), request)


def same(a: q.Sweep, b: q.Sweep) -> bool:
    """True where tables and returns are equal bit by bit."""
    pd.testing.assert_frame_equal(a.table, b.table, check_exact=True)
    return a.returns.tobytes() == b.returns.tobytes()


# ---------------------------------------------------------------- read back
def test_a_loaded_sweep_is_the_one_that_was_made(made: q.Sweep, data: Path) -> None:
    assert made.folder is not None
    found = load_sweep(made.folder)
    assert same(found, made)
    assert found.parameters == made.parameters
    assert found.settings == json.loads(json.dumps(made.settings))
    assert [found.best(m) for m in ("sharpe", "volatility")] == [
        made.best(m) for m in ("sharpe", "volatility")
    ]
    assert found.verdict().text == made.verdict().text
    assert found.verdict().t_statistic == made.verdict().t_statistic
    assert (found.verified, found.dropped, found.trials) == (made.verified, made.dropped, made.trials)
    assert found.findings == made.findings
    assert found.data == data
    pd.testing.assert_frame_equal(found.heatmap("fast", "slow"), made.heatmap("fast", "slow"))
    assert repr(found) == repr(made)


def test_it_is_found_by_folder_name_and_part_of_the_name(made: q.Sweep, data: Path) -> None:
    assert made.folder is not None
    for name in (made.folder, made.folder.name, made.folder.name[-6:]):
        assert load_sweep(name, data).folder == made.folder


def test_rows_that_failed_stay_failed(module: Path, stored: q.Bars, data: Path) -> None:
    made = q.sweep("crossing_of_a_test:Crossing", stored, {"length": [5, 7, 9]}, data=data, verify=0)
    found = load_sweep("crossing", data)
    assert same(found, made)
    assert "seven is not tried" in found.table["error"][1]
    assert found.table["error"][[0, 2]].isna().all()
    assert [f.code for f in found.findings].count("failed-combinations") == 1


def test_periods_a_year_are_those_of_the_bars() -> None:
    for symbol, bar, calendar in (
        ("A", "1d", "XNYS"),
        ("B", "1h", "24/7"),
        ("C", "1w", "XNYS"),
        ("D", "1d", None),
    ):
        frame = pd.DataFrame(
            {n: np.ones(30) for n in ("open", "high", "low", "close", "volume")},
            index=pd.date_range("2019-12-02", periods=30, freq="W-MON" if bar == "1w" else "D", tz="UTC"),
        )
        made = q.Bars.from_frame(frame, symbol, bar, calendar=calendar, tz="UTC")
        facts = [{
            "bar": made.bar.name, "instrument": made.instrument.to_dict(), "first": str(made.session[0]),
            "last": str(made.session[-1]),
        }]  # fmt: skip
        assert saved.periods_per_year(facts) == made.periods_per_year


# ---------------------------------------------------------------- any row becomes a run
def test_a_row_becomes_the_run_that_backtest_gives(made: q.Sweep, stored: q.Bars, data: Path) -> None:
    assert made.folder is not None
    found = load_sweep(made.folder)
    run = found.run(3)
    wanted = q.backtest("macd", stored, params={"fast": 8, "slow": 26, "signal": 9}, save=False)
    assert run.metrics == wanted.metrics
    assert run.settings["params"] == wanted.settings["params"]
    assert run.folder is not None
    assert run.folder.parent == data / "runs"
    assert found.run("best", save=False).metrics["sharpe"] == made.table["sharpe"].max()


def test_a_changed_strategy_is_refused(module: Path, stored: q.Bars, data: Path) -> None:
    q.sweep("crossing_of_a_test:Crossing", stored, {"length": [5, 9]}, data=data, verify=0)
    found = load_sweep("crossing", data)
    assert found.run(0, save=False).metrics["trades"] > 0
    module.write_text(STRATEGY + "\n# another thought\n", encoding="utf-8")
    with pytest.raises(StrategyError, match=r"has changed since the sweep \(crossing_of_a_test\)"):
        found.run(0)
    del sys.modules["crossing_of_a_test"]
    module.unlink()
    with pytest.raises(StrategyError, match="there is no module crossing_of_a_test"):
        found.run(0)


def test_bars_that_are_gone_or_changed_are_refused(made: q.Sweep, bars: q.Bars, data: Path) -> None:
    assert made.folder is not None
    (series,) = Store(data).series()
    Store(data).remove(series)
    with pytest.raises(
        saved.BarsNotFound, match=r"AAA 1d: those of the sweep are not in the store .*params=sweep"
    ):
        load_sweep(made.folder).run()
    keep(q.synthetic("AAA", "1d", "2020-01-01", "2021-06-30", seed=2), data)
    with pytest.raises(saved.BarsNotFound, match=r"not those of the sweep \(fingerprint .*sweep again"):
        load_sweep(made.folder).run()


def test_costs_that_are_code_are_not_in_the_folder(stored: q.Bars, data: Path) -> None:
    made = q.sweep(
        "macd", stored, {"fast": [5, 8]}, costs=a_dollar, data=data, engine="fast", workers=1, verify=0
    )
    assert made.folder is not None
    with pytest.raises(
        StrategyError, match=r"its costs are code, .*a_dollar, which a saved sweep does not hold"
    ):
        load_sweep(made.folder).run()


def a_dollar(quantity: float, price: float) -> float:
    return 1.0


@pytest.mark.parametrize("row", [-1, 6, True, 1.0, "worst"])
def test_a_row_that_there_is_not_is_refused(row: object, made: q.Sweep) -> None:
    with pytest.raises(ParameterError, match="row = "):
        made.run(row)  # type: ignore[arg-type]


# ---------------------------------------------------------------- missing, damaged, unfinished
def test_a_missing_or_damaged_chunk_is_named_with_its_mend(made: q.Sweep, stored: q.Bars, data: Path) -> None:
    assert made.folder is not None
    (path,) = (made.folder / "chunks").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"x" + whole[101:])
    with pytest.raises(DamagedData, match=f"{path.name} is damaged: .*only this chunk is computed anew"):
        load_sweep(made.folder)
    path.unlink()
    with pytest.raises(DamagedData, match=f"{path.name} is damaged: it is missing"):
        load_sweep(made.folder)
    again = q.sweep("macd", stored, GRID, data=data, verify=1)
    assert path.read_bytes() == whole
    assert same(load_sweep(made.folder), again)


def test_a_sweep_that_was_stopped_says_how_to_go_on(stored: q.Bars, data: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        q.sweep("macd", stored, GRID, data=data, verify=0, progress=stop)
    with pytest.raises(
        saved.UnfinishedSweep, match=r"is not finished; 1 chunks of it are kept. Make the same call"
    ):
        load_sweep("macd", data)
    (row,) = sweeps(data).to_dict("records")
    assert (row["done"], row["held"]) == (False, 1)
    q.sweep("macd", stored, GRID, data=data, verify=0)
    assert sweeps(data)["done"].tolist() == [True]


def test_facts_of_another_version_are_damage(made: q.Sweep) -> None:
    assert made.folder is not None
    facts = chunks.load_sweep_facts(made.folder)
    del facts["grid"]
    chunks.save_sweep_facts(made.folder, facts)
    with pytest.raises(DamagedData, match=r"it lacks what this version reads .*grid"):
        load_sweep(made.folder)
    chunks.save_sweep_facts(made.folder, {**facts, "grid": {}, "combinations": 7})
    with pytest.raises(DamagedData, match="7 combinations, its chunks hold 6"):
        load_sweep(made.folder)


def test_no_such_sweep(data: Path) -> None:
    with pytest.raises(SweepNotFound, match="quant sweeps list"):
        load_sweep("nothing", data)


# ---------------------------------------------------------------- the list
def test_the_list_has_a_row_a_sweep_and_stops_at_nothing(made: q.Sweep, stored: q.Bars, data: Path) -> None:
    assert made.folder is not None
    q.sweep("macd", stored, {"fast": [5, 6]}, data=data, verify=0)
    found = sweeps(data)
    assert found["sweep"][0] == made.folder.name
    assert found["created"].is_monotonic_increasing
    assert found["combinations"].tolist() == [6, 2]
    assert found["bars"].tolist() == ["AAA 1d"] * 2
    assert found["sharpe"][0] == made.table["sharpe"].max()
    facts = chunks.load_sweep_facts(made.folder)
    chunks.save_sweep_facts(made.folder, facts | {"created": "2020-01-01T00:00:00+00:00"})  # no fraction
    assert str(sweeps(data)["created"][0]) == "2020-01-01 00:00:00+00:00"
    (made.folder / "sweep.json").write_text("{}", encoding="utf-8")
    found = sweeps(data)
    assert sorted(found["strategy"]) == ["(damaged)", "MacdCross"]


def test_without_a_sweep_the_list_is_empty(tmp_path: Path) -> None:
    found = sweeps(tmp_path)
    assert len(found) == 0
    assert list(found.columns) == list(saved.COLUMNS)


def test_removing_leaves_files_of_others(made: q.Sweep, data: Path) -> None:
    assert made.folder is not None
    made.report()
    note = made.folder / "my notes.txt"
    note.write_text("mine", encoding="utf-8")
    assert remove_sweep("macd", data) == made.folder
    assert list(made.folder.iterdir()) == [note]
    with pytest.raises(SweepNotFound):
        remove_sweep("macd", data)


def test_a_removed_sweep_is_made_again(made: q.Sweep, stored: q.Bars, data: Path) -> None:
    assert made.folder is not None
    remove_sweep(made.folder)
    assert not made.folder.exists()
    assert same(q.sweep("macd", stored, GRID, data=data, verify=0), made)
