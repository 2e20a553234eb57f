"""quant init and quant new."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
from calling import ROOT, Quant, document

from quant.app.config import KEYS, load
from quant.strategy.lookup import names


def test_init_lays_out_a_project(empty: Path, quant: Quant) -> None:
    said = document(quant("init", "here/there", "--json"))
    folder = empty / "here" / "there"
    assert Path(said["folder"]) == folder
    wanted = [".gitignore", "README.md", "data", "quant.toml", "scripts", "strategies", "tests"]
    assert said["made"] == sorted(p.name for p in folder.iterdir()) == wanted
    assert names(folder / "strategies") == names(ROOT / "strategies")
    assert (folder / "scripts" / "backtest.py").is_file()
    assert (folder / "data" / "sample" / "NOTICE.md").is_file()
    assert not list(folder.rglob("__pycache__"))


def test_written_settings_are_the_defaults(project: Path) -> None:
    lines = (project / "quant.toml").read_text(encoding="utf-8").splitlines()
    before = load(start=project, environ={})
    shown = "\n".join(line.removeprefix("# ") if " = " in line else line for line in lines)
    (project / "quant.toml").write_text(shown.replace("[params.macd]", "# "), encoding="utf-8")
    for key in KEYS:
        assert f"{key.name} = " in shown
    with pytest.raises(
        Exception, match=r"backtest\.fast: no such setting"
    ):  # the only line that is an example
        load(start=project, environ={})
    (project / "quant.toml").write_text(shown.replace("# [params", "[params"), encoding="utf-8")
    after = load(start=project, environ={})
    assert {n: s.value for n, s in after.values.items()} == {n: s.value for n, s in before.values.items()}
    assert all(s.origin != "default" for s in after.values.values())


def test_init_overwrites_nothing(empty: Path, quant: Quant) -> None:
    (empty / "notes.txt").write_text("mine", encoding="utf-8")
    assert quant("init", ".").exit_code == 0
    assert (empty / "notes.txt").read_text(encoding="utf-8") == "mine"
    again = quant("init", ".")
    assert again.exit_code == 3
    assert "it holds .gitignore, README.md, data, quant.toml" in again.stderr


def test_init_leaves_nothing_half_made(empty: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    result = quant("init", "p")
    assert result.exit_code == 4
    assert "No space left on device" in result.stderr
    assert list((empty / "p").iterdir()) == []


def test_new_strategy_works_at_once(project: Path, quant: Quant) -> None:
    made = document(quant("new", "my_idea", "--json"))
    assert (made["strategy"], made["class"]) == ("my_idea", "MyIdea")
    said = document(quant("backtest", "my_idea", "SPY", "-p", "period=20", "--no-save", "--json"))
    assert said["look_ahead_ok"] is True
    assert said["metrics"]["trades"] > 0
    again = quant("new", "My_Idea")
    assert again.exit_code == 3
    assert "my_idea.py is there already" in again.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my-idea", "e.g. my_idea"), ("9lives", "beginning with a letter"), ("_x", "beginning with a letter"),
        ("é", "letters"), ("", "letters"), ("../x", "letters"), ("class", "my_class"), ("match", "my_match"),
        ("json", "my_json"), ("numpy", "my_numpy"), ("quant", "my_quant"), ("macd", "is there already"),
    ],
)  # fmt: skip
def test_name_that_cannot_be_a_strategy_is_refused(name: str, told: str, project: Path, quant: Quant) -> None:
    before = sorted(project.rglob("*"))
    result = quant("new", "--", name)
    assert result.exit_code == 3
    assert told in result.stderr
    assert sorted(project.rglob("*")) == before


def test_new_needs_a_project(empty: Path, quant: Quant) -> None:
    result = quant("new", "my_idea")
    assert result.exit_code == 3
    assert "quant init myproject" in result.stderr
