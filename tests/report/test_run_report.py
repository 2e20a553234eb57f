"""run.report, run.plot, run.to_csv, and the commands: what they write, and what they never lose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from reading import data_of

import quant as q
from quant.app.cli import cli
from quant.backtest.reporting import compare_report
from quant.errors import ParameterError, WriteFailed
from quant.store import atomic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with the sample."""
    shutil.copytree(ROOT / "data" / "sample", tmp_path / "data" / "sample")
    return tmp_path / "data"


@pytest.fixture
def saved(data: Path) -> q.Run:
    return q.backtest("macd", q.bars("SPY", data=data), data=data)


def call(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(w) for w in words])


def others(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir()) if f.name != "report.html"}


def test_the_page_goes_into_the_runs_folder_and_changes_nothing_else(saved: q.Run) -> None:
    assert saved.folder is not None
    before = others(saved.folder)
    path = saved.report()
    assert path == saved.folder / "report.html"
    first = path.read_bytes()
    assert saved.report().read_bytes() == first
    assert others(saved.folder) == before
    assert [f.name for f in saved.folder.iterdir() if "tmp" in f.name] == []


def test_a_path_or_a_folder_of_ones_own(saved: q.Run, tmp_path: Path) -> None:
    assert saved.report(tmp_path / "a.html") == tmp_path / "a.html"
    assert saved.report(str(tmp_path)) == tmp_path / "report.html"
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "report.html").read_bytes()


def test_a_run_that_was_not_saved_needs_a_path(run: q.Run) -> None:
    with pytest.raises(ParameterError, match=r"run.report\('report.html'\)"):
        run.report()


def test_a_loaded_run_gives_the_same_page(saved: q.Run, data: Path) -> None:
    page = saved.report().read_text(encoding="utf-8")
    assert q.load_run(saved.folder, data).report().read_text(encoding="utf-8") == page  # type: ignore[arg-type]


def test_a_loaded_run_without_its_bars_has_a_page_that_says_so(saved: q.Run, data: Path) -> None:
    shutil.rmtree(data / "sample")
    page = q.load_run(saved.folder, data).report().read_text(encoding="utf-8")  # type: ignore[arg-type]
    assert "Without prices, indicators" in page
    assert data_of(page)["symbols"] == []
    assert data_of(page)["fills"]["rows"] == len(saved.fills)


def test_bars_that_are_no_longer_the_same_are_not_drawn(saved: q.Run, data: Path) -> None:
    loaded = q.load_run(saved.folder, data)  # type: ignore[arg-type]
    loaded.settings["bars"][0]["fingerprint"] = "0" * 64
    page = loaded.report().read_text(encoding="utf-8")
    assert "no longer those of the run" in page
    assert data_of(page)["symbols"] == []


def test_a_source_that_has_changed_is_not_asked_for_indicators(saved: q.Run, data: Path) -> None:
    loaded = q.load_run(saved.folder, data)  # type: ignore[arg-type]
    loaded.settings["strategy"]["sources"] = {"strategies.macd": "0" * 64}
    page = loaded.report().read_text(encoding="utf-8")
    assert "the source of MacdCross has changed since the run" in page
    assert data_of(page)["symbols"][0]["panes"] == []


@pytest.mark.parametrize(
    ("plots", "told"),
    [
        (lambda bars, p: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda bars, p: {"price": {"x": [1.0]}}, "price, x has shape (1,), the bars have"),
        (lambda bars, p: {"price": [1.0]}, "AttributeError"),
    ],
)
def test_plots_that_fail_cost_the_lines_and_not_the_page(
    turns: type[q.Strategy], daily: q.Bars, tmp_path: Path, plots: Any, told: str
) -> None:
    cls = type("Faulty", (turns,), {"plots": staticmethod(plots), "__module__": __name__})
    page = q.backtest(cls, daily, save=False).report(tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Without indicators: Faulty.plots raised" in page
    assert told in page
    assert data_of(page)["symbols"][0]["panes"] == []


def test_where_nothing_can_be_written_the_error_is_clear_and_the_run_whole(
    saved: q.Run, tmp_path: Path
) -> None:
    assert saved.folder is not None
    (tmp_path / "file").write_text("")
    before = others(saved.folder)
    for path in (tmp_path / "file" / "r.html", tmp_path / "missing" / "r.html"):
        with pytest.raises(WriteFailed, match="cannot write"):
            saved.report(path)
        with pytest.raises(WriteFailed, match="cannot write"):
            compare_report([saved, saved], path)
    with pytest.raises(WriteFailed, match="cannot write"):
        saved.to_csv(tmp_path / "file")
    assert others(saved.folder) == before


def test_a_notebook_shows_the_page_in_a_frame(run: q.Run) -> None:
    plot = run.plot()
    assert plot._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "run.report()" in repr(plot)


def test_a_comparison_needs_two(run: q.Run, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="two runs or more"):
        compare_report([run], tmp_path / "c.html")


# ---------------------------------------------------------------- commands
def test_backtest_with_report_says_where_it_is(data: Path) -> None:
    found = call("backtest", "macd", "SPY", "--report", "--data", data, "--json")
    told = json.loads(found.stdout)
    assert found.exit_code == 0
    assert Path(told["report"]).name == "report.html"
    assert Path(told["report"]).parent.name == told["run"]
    assert Path(told["report"]).is_file()


def test_backtest_whose_report_fails_shows_and_keeps_the_run(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic, "put", full)
    found = call("backtest", "macd", "SPY", "--report", "--data", data)
    assert found.exit_code == 4
    assert "report.html: Read-only file system" in found.stderr
    assert "MacdCross fast=12" in found.stdout
    assert len(q.runs(data)) == 1


def test_backtest_with_report_and_without_a_folder_is_refused(data: Path) -> None:
    found = call("backtest", "macd", "SPY", "--report", "--no-save", "--data", data)
    assert found.exit_code == 2
    assert "leave --no-save out" in found.stderr


def test_runs_report_writes_one_run_or_several(data: Path, saved: q.Run, tmp_path: Path) -> None:
    assert saved.folder is not None
    q.backtest("rsi", q.bars("SPY", data=data), data=data)
    assert call("runs", "report", "macd", "--data", data).exit_code == 0
    assert (saved.folder / "report.html").is_file()
    to = tmp_path / "c.html"
    assert call("runs", "report", "macd", "rsi", "--to", to, "--data", data).exit_code == 0
    assert "2 runs compared" in to.read_text(encoding="utf-8")
    refused = call("runs", "report", "macd", "rsi", "--data", data)
    assert (refused.exit_code, "--to FILE" in refused.stderr) == (2, True)


def test_runs_export_writes_tables_that_read_back(data: Path, saved: q.Run, tmp_path: Path) -> None:
    assert call("runs", "export", "macd", tmp_path / "out", "--data", data).exit_code == 0
    for name in ("trades", "orders", "fills"):
        table = getattr(saved, name)
        read = pd.read_csv(tmp_path / "out" / f"{name}.csv", keep_default_na=True)
        assert list(read.columns) == list(table.columns)
        for column in table.columns:
            if table[column].dtype.kind == "f":
                pd.testing.assert_series_equal(
                    read[column], table[column], check_dtype=False, check_exact=True
                )
    trades = pd.read_csv(tmp_path / "out" / "trades.csv", parse_dates=["entry_time", "exit_time"])
    assert trades["entry_time"].tolist() == saved.trades["entry_time"].tolist()
    returns = pd.read_csv(tmp_path / "out" / "returns.csv", parse_dates=["session"])
    assert returns["session"].tolist() == saved.returns.index.tolist()
    equity = pd.read_csv(tmp_path / "out" / "equity.csv")
    assert equity["equity"].tolist() == saved.equity.tolist()
