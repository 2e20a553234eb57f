"""Beside a run's results: what was edited is named, tags and notes change nothing, prune keeps tagged runs."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest

import quant as q
from quant.backtest.folder import load_run, prune, runs, save_run
from quant.backtest.notes import Notes, forget_notes, note, read_notes, tag
from quant.backtest.seal import SEAL, edited
from quant.errors import DamagedData, ParameterError, WriteFailed
from quant.store import atomic

AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def run() -> q.Run:
    return q.backtest("macd", q.synthetic("AAA", "1d", "2024-01-02", "2024-06-28", seed=1), save=False)


@pytest.fixture
def folder(run: q.Run, tmp_path: Path) -> Path:
    return save_run(run, tmp_path, AT)


def content(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}


# ---------------------------------------------------------------- the seal
def test_the_seal_is_what_sha256_says_of_every_file(folder: Path) -> None:
    known = json.loads((folder / SEAL).read_text())["files"]
    there = content(folder)
    del there[SEAL]
    assert {name: one["sha256"] for name, one in known.items()} == there
    assert edited(folder) == edited(folder, quick=True) == []
    assert load_run(folder).findings == load_run(folder.rename(folder.with_name("moved"))).findings


@pytest.mark.parametrize(
    "name", ["run.json", "metrics.json", "strategy.py", "orders.parquet", "returns.parquet"]
)
def test_a_file_that_was_edited_or_is_gone_is_named(name: str, folder: Path, tmp_path: Path) -> None:
    file = folder / name
    whole = file.read_bytes()
    file.write_bytes(whole + b"\n")
    assert edited(folder) == edited(folder, quick=True) == [f"{name} has changed"]
    assert runs(tmp_path)["edited"].tolist() == [f"{name} has changed"]
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    assert edited(folder) == [f"{name} has changed"]
    file.unlink()
    assert edited(folder) == [f"{name} is gone"]
    file.write_bytes(whole)
    assert edited(folder) == []


def test_a_figure_made_better_is_a_finding_of_the_run(folder: Path) -> None:
    path = folder / "metrics.json"
    figures = json.loads(path.read_text())
    path.write_text(json.dumps({**figures, "sharpe": 3.0}))
    found = load_run(folder)
    assert [f.message for f in found.findings if f.code == "run-edited"] == [
        "edited since it was saved: metrics.json has changed"
    ]
    assert "warning     edited since it was saved: metrics.json has changed" in repr(found)


def test_a_run_without_a_seal_says_that_nobody_can_tell(folder: Path) -> None:
    (folder / SEAL).unlink()
    assert edited(folder) is None
    assert [f.level for f in load_run(folder).findings if f.code == "run-not-sealed"] == ["note"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": {"run.json": {}}}'])
def test_a_damaged_seal_counts_as_edited(text: str, folder: Path) -> None:
    (folder / SEAL).write_text(text)
    assert edited(folder) == ["manifest.json cannot be read"]


def test_pages_and_notes_do_not_break_the_seal(folder: Path) -> None:
    (folder / "report.html").write_text("<p>")
    tag(folder, ["a"])
    note(folder, "looks good", AT)
    assert edited(folder) == []


# ---------------------------------------------------------------- tags and notes
def test_tags_and_notes_change_no_file_of_the_run(folder: Path) -> None:
    before = content(folder)
    assert read_notes(folder) == Notes()
    tag(folder, ["candidate", "v1.2"])
    note(folder, "first", AT)
    tag(folder, ["candidate", "ab:c"])
    found = note(folder, " Größe ≥ 3, second ", AT.replace(minute=9))
    assert found == read_notes(folder)
    assert found.tags == ("candidate", "v1.2", "ab:c")
    assert [(n.at, n.text) for n in found.notes] == [
        ("2024-05-06T07:08:09+00:00", "first"),
        ("2024-05-06T07:09:09+00:00", "Größe ≥ 3, second"),
    ]
    assert tag(folder, ["v1.2"], remove=True).tags == ("candidate", "ab:c")
    assert forget_notes(folder) == Notes(("candidate", "ab:c"))
    after = content(folder)
    del after["notes.json"]
    assert after == before


@pytest.mark.parametrize("bad", ["", " ", "a b", "a,b", "-x", "x" * 41, "../x"])
def test_what_can_be_no_tag(bad: str, folder: Path) -> None:
    with pytest.raises(ParameterError, match="tag = "):
        tag(folder, ["good", bad])
    assert read_notes(folder) == Notes()


def test_a_tag_that_the_run_does_not_have_and_a_note_without_words(folder: Path) -> None:
    tag(folder, ["mine"])
    with pytest.raises(ParameterError, match=r"is no tag of 20240506-070809-macd_cross-.*; it has mine"):
        tag(folder, ["yours"], remove=True)
    with pytest.raises(ParameterError, match="is empty"):
        note(folder, " \n", AT)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tags": 3, "notes": []}', '{"tags": [], "notes": [{"x": 1}]}']
)
def test_damaged_notes_are_named_and_never_written_over(text: str, folder: Path, tmp_path: Path) -> None:
    (folder / "notes.json").write_text(text)
    for change in (lambda: tag(folder, ["a"]), lambda: note(folder, "a", AT), lambda: forget_notes(folder)):
        with pytest.raises(DamagedData, match=r"notes\.json"):
            change()
    assert (folder / "notes.json").read_text() == text
    assert runs(tmp_path)["note"].tolist() == ["(notes.json cannot be read)"]
    assert prune(tmp_path, 0) == []  # it may have had a tag


def test_notes_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "put", full)
    with pytest.raises(WriteFailed, match="No space left"):
        tag(folder, ["a"])


# ---------------------------------------------------------------- the list
def test_the_list_is_filtered_by_tag_symbol_and_strategy(run: q.Run, tmp_path: Path) -> None:
    other = q.backtest("rsi", q.synthetic("BBB", "1d", "2024-01-02", "2024-06-28", seed=2), save=False)
    both = q.backtest(
        "macd", [q.synthetic(s, "1d", "2024-01-02", "2024-06-28", seed=3) for s in ("AAA", "CCC")], save=False
    )
    first, second, third = (
        save_run(r, tmp_path, AT.replace(second=n)) for n, r in enumerate((run, other, both))
    )
    tag(second, ["candidate", "b"])
    note(second, "old", AT)
    note(second, "new", AT)

    def names(**wanted: str) -> list[str]:
        return runs(tmp_path, **wanted)["run"].tolist()

    assert names() == [first.name, second.name, third.name]
    assert names(tag="b") == names(symbol="bbb") == names(strategy="rsi") == [second.name]
    assert (
        names(symbol="AAA")
        == names(strategy="macd")
        == names(strategy="MacdCross")
        == [first.name, third.name]
    )
    assert names(symbol="AAA", tag="b") == names(tag="cand") == names(strategy="mac") == []
    row = runs(tmp_path, tag="b").iloc[0]
    assert (row["tags"], row["note"]) == ("candidate, b", "new")


def test_a_damaged_run_is_found_by_its_tag_alone(folder: Path, tmp_path: Path) -> None:
    tag(folder, ["a"])
    (folder / "metrics.json").write_text("{")
    assert runs(tmp_path, tag="a")["strategy"].tolist() == ["(damaged)"]
    assert len(runs(tmp_path, symbol="AAA")) == len(runs(tmp_path, tag="b")) == 0


def test_prune_leaves_runs_with_a_tag_alone(run: q.Run, tmp_path: Path) -> None:
    saved = [save_run(run, tmp_path, AT.replace(second=n)) for n in range(4)]
    tag(saved[0], ["kept"])
    assert prune(tmp_path, 2) == [saved[1]]
    assert prune(tmp_path, 0) == saved[2:]
    assert saved[0].is_dir()


# ---------------------------------------------------------------- comparison
def test_compare_names_the_first_order_that_differs() -> None:
    class Limits(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
        params = (("price", 0.01),)

        def next(self) -> None:
            if len(self) in (3, 5):
                self.buy(size=1, exectype=bt.Order.Limit, price=0.01 if len(self) == 3 else self.p.price)

    bars = q.synthetic("AAA", "1d", "2024-01-02", "2024-01-31", seed=1)
    one, two, three = (
        q.backtest(Limits, bars, params={"price": p}, costs="none", save=False) for p in (0.01, 0.02, 0.01)
    )
    found = q.compare(one, two)
    assert found.same  # neither filled
    assert found.first_order is not None
    assert found.first_order[0] == 2
    assert "  first order that differs: number 2" in repr(found)
    assert "+1 limit at 0.02, open" in repr(found)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["price"] for row in document["first_order"][1:]] == [0.01, 0.02]
    assert q.compare(one, three).first_order is None  # though a market order's limit price is NaN
