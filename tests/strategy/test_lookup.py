"""How a name becomes a class: names, near misses, module:Class, files that cannot be imported, two projects."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import backtrader as bt
import pytest

import quant as q
from quant.errors import StrategyError, StrategyNotFound
from quant.strategy import strategy
from quant.strategy.lookup import names

CLASS = "import backtrader as bt\n\nclass {name}(bt.Strategy):\n    version = {version}\n"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty folder for projects; what was imported from it is forgotten."""
    before, path = dict(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - set(before):
        if name.partition(".")[0] in ("strategies", "package_of_mine", "broken_of_mine"):
            del sys.modules[name]
    sys.modules.update(before)


def project(folder: Path, **files: str) -> Path:
    (folder / "strategies").mkdir(parents=True)
    (folder / "quant.toml").write_text("")
    for name, text in files.items():
        (folder / "strategies" / f"{name}.py").write_text(text)
    return folder / "strategies"


def one(version: int, name: str = "Mine") -> str:
    return CLASS.format(name=name, version=version)


def test_a_class_is_itself() -> None:
    assert strategy(q.Strategy) is q.Strategy
    assert strategy(bt.Strategy) is bt.Strategy
    with pytest.raises(StrategyError, match=r"int: is no backtrader\.Strategy"):
        strategy(int)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["", None, 5, [], object()])
def test_what_is_neither_name_nor_class(given: object) -> None:
    with pytest.raises(StrategyNotFound, match='a class, a name such as "macd"'):
        strategy(given)  # type: ignore[arg-type]


def test_a_name_is_a_file_with_one_class(root: Path) -> None:
    folder = project(root / "a", cross="from backtrader import Strategy\n" + one(1))
    found = strategy("cross", folder)
    assert (found.__name__, found.__module__) == ("Mine", "strategies.cross")
    assert names(folder) == ["cross"]


@pytest.mark.parametrize("given", ["corss", "Cross", "cros"])
def test_a_near_miss_is_hinted_at(given: str, root: Path) -> None:
    folder = project(root / "a", cross=one(1), other=one(1), _private=one(1))
    with pytest.raises(StrategyNotFound, match=r"did you mean cross\? There are cross, other"):
        strategy(given, folder)


@pytest.mark.parametrize(
    "given", ["zzz", "cross.py", "../cross", "a/cross", "strategies.cross", " ", "_private"]
)
def test_other_names_list_what_there_is(given: str, root: Path) -> None:
    folder = project(root / "a", cross=one(1), _private=one(1))
    with pytest.raises(StrategyNotFound, match=r"here are cross$"):
        strategy(given, folder)


def test_two_classes_in_a_file_need_a_name(root: Path) -> None:
    folder = project(root / "a", pair=one(1, "First") + one(2, "Second"), none="x = 1\n")
    with pytest.raises(StrategyNotFound, match=r"holds First, Second\); name it as module:Class"):
        strategy("pair", folder)
    with pytest.raises(StrategyNotFound, match="holds none"):
        strategy("none", folder)
    assert strategy("strategies.pair:Second", folder).__name__ == "Second"
    with pytest.raises(StrategyNotFound, match="no strategy class 'Third'; it has First, Second"):
        strategy("strategies.pair:Third", folder)
    with pytest.raises(StrategyNotFound, match="no strategy class 'bt'"):
        strategy("strategies.pair:bt", folder)


def test_any_module_of_the_project_and_its_class(root: Path) -> None:
    folder = project(root / "a")
    (root / "a" / "package_of_mine").mkdir()
    (root / "a" / "package_of_mine" / "cross.py").write_text(one(3))
    assert strategy("package_of_mine.cross:Mine", folder).version == 3


@pytest.mark.parametrize(
    "given", ["no_such_module_at_all:X", "strategies.no_such:X", "no_such.deep:X", "cross:"]
)
def test_a_module_that_is_not_there(given: str, root: Path) -> None:
    folder = project(root / "a", cross=one(1))
    with pytest.raises(StrategyNotFound):
        strategy(given, folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_library_at_all\n", "No module named 'no_such_library_at_all'"),
        ("from numpy import no_such_name_at_all\n", "ImportError"),
        ("x = 1 / 0\n", "ZeroDivisionError"),
        ("def broken(:\n", "SyntaxError"),
        ("raise KeyError('x')\n", "KeyError"),
    ],
)
def test_a_file_that_cannot_be_imported(text: str, said: str, root: Path) -> None:
    folder = project(root / "a", broken=text)
    with pytest.raises(StrategyError, match=f"strategy broken: cannot be imported: .*{said}") as caught:
        strategy("broken", folder)
    assert not isinstance(caught.value, StrategyNotFound)


def test_two_projects_in_one_process_do_not_leak(root: Path) -> None:
    """In a notebook that moves on; also back, and with a file that only one of them has."""
    folders = {n: project(root / n, cross=one(v), **{f"only_{n}": one(v)}) for n, v in (("a", 1), ("b", 2))}
    for name, version in (("a", 1), ("b", 2), ("a", 1), ("b", 2), ("b", 2)):
        assert strategy("cross", folders[name]).version == version
        assert strategy(f"only_{name}", folders[name]).version == version
    with pytest.raises(StrategyNotFound):
        strategy("only_a", folders["b"])


def test_two_projects_with_packages(root: Path) -> None:
    folders = [project(root / n, __init__="", cross=one(v)) for n, v in (("a", 1), ("b", 2))]
    assert [strategy("cross", f).version for f in (*folders, *folders)] == [1, 2, 1, 2]


def test_a_neighbour_that_a_strategy_imports_is_the_projects_own(root: Path) -> None:
    uses = "from strategies.rules import version as found\n" + CLASS.format(name="Mine", version="found")
    folders = [project(root / n, cross=uses, rules=f"version = {v}\n") for n, v in (("a", 1), ("b", 2))]
    assert [strategy("cross", f).version for f in (*folders, folders[0])] == [1, 2, 1]


def test_the_same_project_gives_the_same_class(root: Path) -> None:
    """An edited file is not read again in this process: as with every import of Python."""
    folder = project(root / "a", cross=one(1))
    first = strategy("cross", folder)
    (folder / "cross.py").write_text(one(22))
    assert strategy("cross", folder) is first
    (folder / "later.py").write_text(one(5))
    assert strategy("later", folder).version == 5


def test_a_name_is_looked_up_in_the_project_of_the_current_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(root / "a", cross=one(7))
    (root / "a" / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(root / "a" / "deep" / "er")
    assert strategy("cross").version == 7


def test_without_a_project_our_own_are_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert strategy("macd").__name__ == "MacdCross"


def test_a_file_that_strategies_import_is_offered_as_none(root: Path) -> None:
    text = '"""What one class needs."""\ndef above(close, line):\n    return close > line\n'
    folder = project(root / "a", cross=one(1), lines8=text)
    with pytest.raises(StrategyNotFound, match=r"there are cross$"):
        strategy("lines9", folder)
    with pytest.raises(StrategyNotFound, match="must hold one strategy class"):
        strategy("lines8", folder)


def test_a_neighbour_that_is_imported_by_its_bare_name_is_told_how(root: Path) -> None:
    folder = project(root / "a", cross="import lines8\n" + one(1), lines8="LEAST = 1\n")
    with pytest.raises(StrategyError, match=r"so write: from strategies import lines8$"):
        strategy("cross", folder)
