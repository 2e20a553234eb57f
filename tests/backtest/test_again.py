"""A saved run is made again, bit for bit, whatever became of its bars and of its strategy's file."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.core import clock
from quant.errors import EmptyRange, ParameterError, SeriesNotFound, StrategyError
from quant.store import Store

SAVED = datetime(2026, 3, 2, 12, 0, 0, 700_000, tzinfo=UTC)  # a run's folder has it to the second


class Up(q.Strategy):
    params = dict(n=3, pair=(1, 2), limit=math.inf)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        assert p.pair == (1, 2)
        assert p.limit == math.inf
        return np.sign(bars.close - np.append(np.full(p.n, np.nan), bars.close[: -p.n]))[: len(bars)]


class Plain(bt.Strategy):  # type: ignore[misc]
    def next(self) -> None:
        if len(self) % 7 == 3:
            self.buy()
        elif len(self) % 7 == 6:
            self.close()


@pytest.fixture(autouse=True)
def _saved_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: SAVED)


@pytest.fixture
def whole() -> q.Bars:
    return replace(q.synthetic("AAA", "1d", "2020-01-01", "2020-06-30", seed=1), source="import")


def write(data: Path, bars: q.Bars, at: str) -> None:
    Store(data).write(bars, {"kind": "import", "at": f"2026-03-{at}+00:00"})


def without(bars: q.Bars, *rows: int) -> q.Bars:
    names = ("start", "open", "high", "low", "close", "volume")
    return replace(bars, **{n: np.delete(getattr(bars, n), rows) for n in names})


def revised(bars: q.Bars) -> q.Bars:
    return replace(bars, close=(bars.high + bars.low) / 2)


def loaded(run: q.Run) -> q.Run:
    """The run as another process finds it: without its bars and its class."""
    assert run.folder is not None
    return q.load_run(run.folder)


# ---------------------------------------------------------------- bars
def test_a_run_is_equal_after_its_bars_were_revised_filled_and_continued(
    whole: q.Bars, tmp_path: Path
) -> None:
    write(tmp_path, without(whole[:100], 40, 41), "01T00:00:00")
    run = q.backtest(Up, q.bars("AAA", data=tmp_path), data=tmp_path)
    write(tmp_path, revised(whole), "03T00:00:00")
    now = q.bars("AAA", data=tmp_path)
    assert len(now) == len(whole) > len(run.equity)
    assert now.close[5] != whole.close[5]
    compared = loaded(run).again()
    assert compared.same
    assert compared.to_dict() == {
        "same": True, "settings": {}, "code": {}, "data": {}, "metrics": {}, "first_order": None,
        "first_fill": None,
    }  # fmt: skip
    assert not q.compare(run, q.backtest(Up, now, save=False)).same  # it would show


def test_a_part_of_the_bars_cut_at_a_moment_is_found_again(tmp_path: Path) -> None:
    minutes = replace(q.synthetic("MMM", "1m", "2020-01-02", "2020-01-06", seed=4), source="import")
    write(tmp_path, minutes, "01T00:00:00")
    part = q.bars("MMM", "1m", "2020-01-02 10:07", "2020-01-06 15:01", data=tmp_path)
    run = q.backtest(Up, part, data=tmp_path)
    write(tmp_path, revised(minutes), "03T00:00:00")
    assert repr(loaded(run).again()) == "results are equal to the last bit"


def test_a_run_on_older_bars_finds_them(whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole[:90], "01T00:00:00")
    write(tmp_path, revised(whole[:60]), "01T10:00:00")
    write(tmp_path, whole, "01T20:00:00")
    for as_of in ("2026-03-01T00:00Z", "2026-03-01T10:00Z", "2026-03-01T20:00Z"):
        run = q.backtest(Up, q.bars("AAA", data=tmp_path, as_of=as_of), data=tmp_path)
        compared = loaded(run).again()
        assert (compared.same, compared.data) == (True, {})


def test_bars_that_were_written_in_the_second_of_the_run_are_found(whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole[:50], "02T12:00:00.600")
    run = q.backtest(Up, q.bars("AAA", data=tmp_path), data=tmp_path)
    write(tmp_path, whole, "02T12:00:00.800")
    assert loaded(run).again().same


def test_several_feeds_of_a_plain_strategy(whole: q.Bars, tmp_path: Path) -> None:
    other = replace(q.synthetic("BBB", "1d", "2020-01-01", "2020-06-30", seed=2), source="import")
    for bars in (whole, other):
        write(tmp_path, bars, "01T00:00:00")
    feeds = [q.bars(s, data=tmp_path) for s in ("AAA", "BBB")]
    run = q.backtest(Plain, feeds, data=tmp_path, sizing="shares:10", slippage="percent:0.02", borrow=0.01)
    write(tmp_path, revised(whole), "03T00:00:00")
    assert repr(loaded(run).again()) == "results are equal to the last bit"


def test_default_sizes_shared_by_three_feeds(whole: q.Bars, tmp_path: Path) -> None:
    feeds = [replace(whole, instrument=replace(whole.instrument, symbol=s)) for s in ("AAA", "BBB", "CCC")]
    for bars in feeds:
        write(tmp_path, bars, "01T00:00:00")
    run = q.backtest(Up, [q.bars(b.symbol, data=tmp_path) for b in feeds], data=tmp_path)  # 95 % / 3
    assert loaded(run).again().same


def test_bars_that_were_removed_and_brought_anew_are_told(whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole, "01T00:00:00")
    run = q.backtest(Up, q.bars("AAA", data=tmp_path), data=tmp_path)
    store = Store(tmp_path)
    store.remove(store.find("AAA"))
    with pytest.raises(SeriesNotFound, match="AAA 1d"):
        loaded(run).again()
    write(tmp_path, revised(whole), "03T00:00:00")
    compared = loaded(run).again()
    assert not compared.same
    assert set(compared.data) == {"AAA.fingerprint"}
    store.remove(store.find("AAA"))
    later = replace(q.synthetic("AAA", "1d", "2021-01-01", "2021-06-30"), source="import")
    write(tmp_path, later, "03T00:00:00")
    with pytest.raises(EmptyRange, match="2020-01-02 to 2020-06-30"):
        loaded(run).again()


def test_a_run_of_an_older_version_goes_by_its_dates(whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole, "01T00:00:00")
    run = q.backtest(Up, q.bars("AAA", "1d", "2020-02-03", "2020-05-01", data=tmp_path), data=tmp_path)
    change(run, spans=None)
    write(tmp_path, revised(whole), "03T00:00:00")
    assert loaded(run).again().same


def test_bars_of_memory_are_those_of_the_run_itself(whole: q.Bars, tmp_path: Path) -> None:
    kept = q.backtest(Up, replace(whole, source="memory"), data=tmp_path)
    assert kept.again().same
    assert q.backtest(Up, whole, save=False).again().same  # neither saved nor in the store
    with pytest.raises(SeriesNotFound, match="of source memory"):
        loaded(kept).again()
    assert [f.name for f in (tmp_path / "runs").iterdir()] == [
        Path(str(kept.folder)).name
    ]  # nothing was saved


def change(run: q.Run, **facts: Any) -> None:
    path = Path(str(run.folder)) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


# ---------------------------------------------------------------- settings
def test_costs_that_are_code_are_asked_for(whole: q.Bars, tmp_path: Path) -> None:
    def dear(quantity: float, price: float) -> float:
        return abs(quantity) * price * 0.01

    write(tmp_path, whole, "01T00:00:00")
    run = q.backtest(Up, q.bars("AAA", data=tmp_path), costs=dear, data=tmp_path)
    with pytest.raises(ParameterError, match=r"costs = .*dear.*again\(costs=\.\.\.\)"):
        loaded(run).again()
    assert loaded(run).again(costs=dear).same
    assert not loaded(run).again(costs="none").same


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_engine_and_start_rule_are_those_of_the_run(engine: str, whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole, "01T00:00:00")
    run = q.backtest(
        Up, q.bars("AAA", data=tmp_path), params={"n": 5}, engine=engine, start_rule="next-change", cash=5e4,
        costs="percent:0.05", data=tmp_path,
    )  # fmt: skip
    compared = loaded(run).again()
    assert compared.same
    assert not compared.settings


def test_other_versions_of_libraries_are_told(whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole, "01T00:00:00")
    run = q.backtest(Up, q.bars("AAA", data=tmp_path), data=tmp_path)
    change(run, versions={**run.settings["versions"], "numpy": "1.0"})
    compared = loaded(run).again()
    assert compared.same
    assert compared.code == {"version numpy": ("1.0", np.__version__)}


# ---------------------------------------------------------------- the strategy
CODE = """
import numpy as np
import quant as q
from .{sibling} import LENGTH

class Crossing(q.Strategy):
    params = dict(n={n})

    @staticmethod
    def signals(bars, p):
        mean = np.convolve(bars.close, np.ones(LENGTH) / LENGTH)[: len(bars)]
        return np.where(np.arange(len(bars)) < LENGTH + p.n, np.nan, np.sign(bars.close - mean))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A package of a project with a strategy and what it imports; a name of its own for each test."""
    folder = tmp_path / f"own_{abs(hash(request.node.name)):x}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "length.py").write_text("LENGTH = 5\n")
    (folder / "crossing.py").write_text(CODE.format(sibling="length", n=1))
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def crossing(package: Path) -> ModuleType:
    return importlib.import_module(f"{package.name}.crossing")


def forget(package: Path) -> None:
    """Stand for another process."""
    for name in [m for m in sys.modules if m.partition(".")[0] == package.name]:
        del sys.modules[name]
    importlib.invalidate_caches()


def saved_run(package: Path, whole: q.Bars, tmp_path: Path) -> q.Run:
    write(tmp_path, whole, "01T00:00:00")
    return q.backtest(crossing(package).Crossing, q.bars("AAA", data=tmp_path), data=tmp_path)


@pytest.mark.parametrize("change_to", ["other", "broken", "gone"])
def test_the_runs_own_copy_of_the_strategy_is_run(
    change_to: str, package: Path, whole: q.Bars, tmp_path: Path
) -> None:
    run = saved_run(package, whole, tmp_path)
    assert loaded(run).again().same
    file = package / "crossing.py"
    if change_to == "gone":
        file.unlink()
    else:
        file.write_text(
            "no python" if change_to == "broken" else CODE.format(sibling="length", n=20) + "# longer"
        )
    forget(package)
    compared = loaded(run).again()
    assert compared.same
    assert not compared.code
    if change_to == "other":
        assert crossing(package).Crossing.params.n == 20  # the project's own is what it was


def test_an_imported_module_that_changed_is_told(package: Path, whole: q.Bars, tmp_path: Path) -> None:
    run = saved_run(package, whole, tmp_path)
    (package / "length.py").write_text("LENGTH = 15  # longer\n")
    (package / "crossing.py").write_text(CODE.format(sibling="length", n=20) + "# longer")
    forget(package)
    compared = loaded(run).again()
    assert not compared.same
    assert list(compared.code) == [f"{package.name}.length"]


def test_a_copy_that_was_edited_is_told(package: Path, whole: q.Bars, tmp_path: Path) -> None:
    run = saved_run(package, whole, tmp_path)
    copy = Path(str(run.folder)) / "strategy.py"
    copy.write_text(copy.read_text() + "# a remark\n")
    compared = loaded(run).again()
    assert compared.same
    assert list(compared.code) == [f"{package.name}.crossing"]
    copy.write_text("class Other: pass\n")
    with pytest.raises(StrategyError, match="Crossing: its saved copy has no such class"):
        loaded(run).again()
    copy.write_text("import nothing_of_that_name\n")
    with pytest.raises(StrategyError, match=r"cannot be run \(ModuleNotFoundError"):
        loaded(run).again()


def test_a_class_of_a_notebook_is_run_without_its_notebook(whole: q.Bars, tmp_path: Path) -> None:
    write(tmp_path, whole, "01T00:00:00")
    run = q.backtest(Up, q.bars("AAA", data=tmp_path), data=tmp_path)
    text = CODE[CODE.index("class ") :].format(n=1).replace("LENGTH", "5")
    scratch: dict[str, Any] = {"q": q, "np": np}
    exec(text, scratch)  # noqa: S102
    run = q.backtest(scratch["Crossing"], q.bars("AAA", data=tmp_path), data=tmp_path)
    change(run, strategy={"class": "Crossing", "module": "__main__", "sources": {}})
    copy = Path(str(run.folder)) / "strategy.py"
    copy.write_text(text)
    assert loaded(run).again().same
    # A script's backtests are not run again, nor is anything else in it that is no definition.
    copy.write_text(f"import sys\nSIZE = 3\n{text}\nrun = sys.exit(1)\nraise SystemExit\n")
    assert loaded(run).again().same
    copy.unlink()
    with pytest.raises(StrategyError, match="its code was not saved"):
        loaded(run).again()
