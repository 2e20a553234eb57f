"""Run folders: what is saved is what is loaded; damage, failing writes, names, comparison, hashed sources."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.backtest import folder as folders
from quant.backtest import source
from quant.backtest.folder import find_run, load_run, prune, runs, save_run
from quant.errors import DamagedData, ParameterError, RunNotFound, WriteFailed

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


class Up(q.Strategy):
    params = dict(n=3, wide=0.5, name="a", pair=(1, 2), limit=math.inf)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.sign(bars.close - np.append(np.full(p.n, np.nan), bars.close[: -p.n]))[: len(bars)]


class Down(Up):
    pass


@pytest.fixture
def run(daily: q.Bars) -> q.Run:
    return q.backtest(Up, daily, borrow=0.02, save=False)


def same(a: q.Run, b: q.Run) -> None:
    for name in ("orders", "fills", "trades"):
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name), check_exact=True)
    for name in ("equity", "cash", "returns"):
        pd.testing.assert_series_equal(getattr(a, name), getattr(b, name), check_exact=True, check_freq=False)
    assert list(a.metrics) == list(b.metrics)
    for key, value in a.metrics.items():
        assert type(b.metrics[key]) is type(value)
        assert b.metrics[key] == value or math.isnan(value)
    assert a.findings == b.findings
    assert a.position == b.position
    assert a.source == b.source


def test_what_is_saved_is_loaded(run: q.Run, daily: q.Bars, other: q.Bars, tmp_path: Path) -> None:
    class Idle(bt.Strategy):  # type: ignore[misc]
        pass

    empty = q.backtest(Idle, daily[:1], costs="none", save=False)  # NaN metrics, tables without rows
    two = q.backtest(Up, [daily, other], save=False)
    for number, one in enumerate((run, empty, two)):
        back = load_run(save_run(one, tmp_path, AT.replace(second=number)))
        same(one, back)
        assert repr(back).split("\n")[1:10] == repr(one).split("\n")[1:10]
        assert q.compare(one, back).same
        settings = q.compare(one, back).settings
        # JSON has no infinity: it comes back as text, everything else as it was.
        assert set(settings) <= {"params.limit"}


def test_backtest_saves_unless_told_not_to(daily: q.Bars, tmp_path: Path) -> None:
    run = q.backtest(Up, daily, data=tmp_path)
    assert run.folder is not None
    assert run.folder.parent == tmp_path / "runs"
    assert sorted(f.name for f in run.folder.iterdir()) == [
        "equity.parquet", "fills.parquet", "manifest.json", "metrics.json", "orders.parquet", "returns.parquet",
        "run.json", "strategy.py", "trades.parquet",
    ]  # fmt: skip
    assert f"saved       {run.folder}" in repr(run)
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts["schema"] == 1
    assert facts["bars"][0]["fingerprint"] == daily.fingerprint
    assert facts["params"]["pair"] == [1, 2]
    q.backtest(Up, daily, save=False, data=tmp_path)
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_same_second_never_overwrites(run: q.Run, tmp_path: Path) -> None:
    found = [save_run(run, tmp_path, AT) for _ in range(4)]
    assert len(set(found)) == 4
    assert [f.name[len(found[0].name) :] for f in found] == ["", "-2", "-3", "-4"]
    assert found[0].name.startswith("20240506-070809-up-")
    assert folders.folders(tmp_path / "runs") == found


# ---------------------------------------------------------------- failing writes
def test_a_folder_that_cannot_be_made(run: q.Run, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file stands here")
    with pytest.raises(WriteFailed, match="runs"):
        save_run(run, tmp_path, AT)


@pytest.mark.parametrize("fails_at", range(7))
def test_nothing_half_written_when_a_write_fails(
    fails_at: int, run: q.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def counted(original: Any) -> Any:
        def write(*args: Any, **kwargs: Any) -> Any:
            nonlocal written
            written += 1
            if written > fails_at:
                raise OSError(28, "No space left on device")
            return original(*args, **kwargs)

        return write

    monkeypatch.setattr(pd.DataFrame, "to_parquet", counted(pd.DataFrame.to_parquet))
    monkeypatch.setattr(Path, "write_text", counted(Path.write_text))
    with pytest.raises(WriteFailed, match="No space left on device"):
        save_run(run, tmp_path, AT)
    assert list((tmp_path / "runs").iterdir()) == []


# ---------------------------------------------------------------- damage
@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "{}", "\udcff"])
def test_damaged_json(name: str, text: str, run: q.Run, tmp_path: Path) -> None:
    path = save_run(run, tmp_path, AT)
    (path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    if (name, text) == ("metrics.json", "{}"):
        return  # whole, but empty: nothing tells
    with pytest.raises(DamagedData, match="Run the backtest again"):
        load_run(path)


@pytest.mark.parametrize("name", ["orders", "fills", "trades", "equity", "returns"])
def test_damaged_parquet(name: str, run: q.Run, tmp_path: Path) -> None:
    path = save_run(run, tmp_path, AT)
    file = path / f"{name}.parquet"
    whole = file.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"PAR1" + whole[:-9], whole[: len(whole) - 1]):
        file.write_bytes(broken)
        with pytest.raises(DamagedData):
            load_run(path)
    file.unlink()
    with pytest.raises(DamagedData):
        load_run(path)


def test_a_flipped_bit_in_a_price_is_no_other_price(run: q.Run, tmp_path: Path) -> None:
    """Pages carry checksums; without them a flip within plain values would load as another fill."""
    path = save_run(run, tmp_path, AT)
    file = path / "equity.parquet"
    whole = bytearray(file.read_bytes())
    silent = []
    for place in range(4, len(whole) - 8, 97):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        file.write_bytes(flipped)
        try:
            back = load_run(path)
        except DamagedData:
            continue
        if not (back.equity.equals(run.equity) and back.cash.equals(run.cash)):
            silent.append(place)
    assert silent == []


def test_a_later_schema_is_not_guessed_at(run: q.Run, tmp_path: Path) -> None:
    path = save_run(run, tmp_path, AT)
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**facts, "schema": 99}))
    with pytest.raises(DamagedData, match=r"schema 99 is newer .* Update quant-ib"):
        load_run(path)


def test_runs_lists_what_it_can_read(run: q.Run, tmp_path: Path) -> None:
    assert list(runs(tmp_path).columns)[:4] == ["run", "created", "strategy", "params"]
    good = save_run(run, tmp_path, AT)
    for second, (name, text) in enumerate(
        [("run.json", "{"), ("run.json", "[]"), ("metrics.json", "null"), ("run.json", '{"created": "x"}')]
    ):
        (save_run(run, tmp_path, AT.replace(second=10 + second)) / name).write_text(text)
    late = save_run(run, tmp_path, AT.replace(minute=59))
    (tmp_path / "runs" / ".writing-left").mkdir()
    (tmp_path / "runs" / "notes").mkdir()
    table = runs(tmp_path)
    assert table["strategy"].tolist() == ["Up", *["(damaged)"] * 4, "Up"]
    assert table["run"].iloc[[0, -1]].tolist() == [good.name, late.name]
    assert table["final_value"].iloc[0] == run.final_value
    assert math.isnan(table["final_value"].iloc[1])


def test_missing_figures_are_numbers_in_the_list(daily: q.Bars, tmp_path: Path) -> None:
    class Idle(bt.Strategy):  # type: ignore[misc]
        pass

    q.backtest(Idle, daily, costs="none", data=tmp_path)
    table = runs(tmp_path)
    assert str(table["win_rate"].dtype) == "float64"
    assert math.isnan(table["win_rate"].iloc[0])


# ---------------------------------------------------------------- names
def test_find_by_path_name_or_part(run: q.Run, tmp_path: Path) -> None:
    first = save_run(run, tmp_path, AT)
    second = save_run(run, tmp_path, AT.replace(hour=9))
    again = save_run(run, tmp_path, AT)
    assert (
        find_run(first, tmp_path) == find_run(first.name, tmp_path) == first
    )  # though `again` begins with it
    assert find_run("-090809-", tmp_path) == second
    assert load_run(again.name, tmp_path).folder == again
    with pytest.raises(ParameterError, match=f"several runs have it: {first.name}, "):
        find_run("-up-", tmp_path)
    with pytest.raises(RunNotFound, match="quant runs list"):
        find_run("nothing-like-it", tmp_path)


def test_prune_keeps_the_newest(run: q.Run, tmp_path: Path) -> None:
    saved = [save_run(run, tmp_path, AT.replace(second=s)) for s in range(4)]
    assert prune(tmp_path, 3) == saved[:1]
    assert prune(tmp_path, 10) == []
    assert prune(tmp_path, 0) == saved[1:]
    assert folders.folders(tmp_path / "runs") == []
    with pytest.raises(ParameterError, match="keep = -1"):
        prune(tmp_path, -1)
    assert prune(tmp_path / "nowhere", 0) == []


# ---------------------------------------------------------------- comparison
def test_compare_says_what_differs(daily: q.Bars, other: q.Bars) -> None:
    one = q.backtest(Up, daily, save=False)
    assert q.compare(one, q.backtest(Up, daily, save=False)).to_dict() == {
        "same": True, "settings": {}, "code": {}, "data": {}, "metrics": {}, "first_order": None,
        "first_fill": None,
    }  # fmt: skip
    costly = q.compare(one, q.backtest(Up, daily, costs="percent:0.2", params={"wide": 0.7}, save=False))
    assert set(costly.settings) == {"costs", "params.wide"}
    assert costly.settings["costs"] == ("ib-fixed", "percent:0.2")
    assert not costly.same
    assert costly.first_fill is not None
    assert costly.first_fill[0] == 1
    assert set(q.compare(one, q.backtest(Down, daily, save=False)).settings) == {"strategy"}
    elsewhere = q.compare(one, q.backtest(Up, other, save=False))
    assert {k.partition(".")[0] for k in elsewhere.data} == {"AAA", "BBB"}
    changed = q.compare(one, q.backtest(Up, daily[:200], save=False))
    assert {"AAA.rows", "AAA.last", "AAA.fingerprint"} == set(changed.data)


def test_the_first_fill_that_differs_may_be_missing(daily: q.Bars) -> None:
    one, cut = (q.backtest(Up, b, costs="none", sizing="shares:1", save=False) for b in (daily, daily[:200]))
    found = q.compare(one, cut)
    assert found.first_fill is not None
    assert found.first_fill[0] == len(cut.fills) + 1
    assert found.first_fill[2] is None
    assert "no such fill" in repr(found)
    document = json.loads(json.dumps(found.to_dict()))
    assert document["first_fill"][1]["time"] == one.fills["time"][len(cut.fills)].isoformat()


def test_orders_that_never_filled_make_no_other_fill(daily: q.Bars) -> None:
    class Buys(bt.Strategy):  # type: ignore[misc]
        params = (("early", False),)

        def next(self) -> None:
            if self.p.early and len(self) == 2:
                self.buy(size=1, exectype=bt.Order.Limit, price=0.01)
            if len(self) == 5:
                self.buy(size=1)

    one, two = (q.backtest(Buys, daily, params={"early": e}, costs="none", save=False) for e in (False, True))
    assert one.fills["order"].tolist() != two.fills["order"].tolist()
    found = q.compare(one, two)
    assert found.same
    assert set(found.settings) == {"params.early"}


# ---------------------------------------------------------------- sources
@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A project with a strategy that imports a neighbour, a package of its own and an installed library."""
    root = tmp_path / "project"
    (root / "mine" / "deep").mkdir(parents=True)
    (root / "mine" / "__init__.py").write_text("from .deep import value\nfrom . import sizes\n")
    (root / "mine" / "deep" / "__init__.py").write_text("value = 1\n")
    (root / "mine" / "sizes.py").write_text("import rules_of_mine\n")
    (root / "rules_of_mine.py").write_text("def rule(): return 1\n")
    (root / "unused_of_mine.py").write_text("")
    (root / "strategy_of_mine.py").write_text(
        "import numpy\nimport backtrader as bt\nfrom mine import sizes\n\nclass Mine(bt.Strategy):\n    pass\n"
    )
    sys.path.insert(0, str(root))
    yield root
    sys.path.remove(str(root))
    for name in [
        m for m in sys.modules if m.partition(".")[0] in ("mine", "rules_of_mine", "strategy_of_mine")
    ]:
        del sys.modules[name]


def test_hashed_is_the_strategys_file_and_what_it_imports_of_the_project(
    package: Path, daily: q.Bars
) -> None:
    cls = importlib.import_module("strategy_of_mine").Mine
    assert list(source.hashes(cls)) == [
        "mine",
        "mine.deep",
        "mine.sizes",
        "rules_of_mine",
        "strategy_of_mine",
    ]
    before = q.backtest(cls, daily, costs="none", save=False)
    assert before.source == (package / "strategy_of_mine.py").read_text()
    (package / "rules_of_mine.py").write_text("def rule(): return 2\n")
    after = q.backtest(cls, daily, costs="none", save=False)
    found = q.compare(before, after)
    assert list(found.code) == ["rules_of_mine"]
    assert found.same


def test_a_class_in_a_packages_own_file_has_the_packages_neighbours(package: Path) -> None:
    (package / "mine" / "__init__.py").write_text(
        "import backtrader as bt\nfrom . import sizes\nclass Mine(bt.Strategy):\n    pass\n"
    )
    cls = importlib.import_module("mine").Mine
    assert list(source.hashes(cls)) == ["mine", "mine.sizes", "rules_of_mine"]


def test_what_is_imported_within_a_function_and_the_package_around_it_are_hashed(package: Path) -> None:
    (package / "mine" / "late.py").write_text("import rules_of_mine\n")
    (package / "mine" / "odd.py").write_text("def (\n")
    (package / "strategy_of_mine.py").write_text(
        "import backtrader as bt\nimport mine.sizes\n\nclass Mine(bt.Strategy):\n"
        "    def next(self):\n        import mine.late, mine.odd\n"
    )
    cls = importlib.import_module("strategy_of_mine").Mine
    assert "mine.late" not in sys.modules
    found = source.hashes(cls)
    assert {"mine", "mine.late", "mine.odd", "mine.sizes", "rules_of_mine"} < set(found)
    importlib.import_module("mine.late")
    assert source.hashes(cls) == found


def test_installed_packages_are_not_hashed() -> None:
    assert source.hashes(bt.Strategy) == {}


def test_a_class_without_a_file_is_known_by_its_text_or_not_at_all() -> None:
    made = type("Made", (bt.Strategy,), {"__module__": "nowhere_at_all"})
    assert source.hashes(made) == {}
    assert source.source_of(made) is None
