"""What is sent to workers arrives: classes of scripts with their params and lines, modules of a project, answers."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.errors import StrategyError, StrategyNotFound
from quant.research.workers.shipping import answer, load, pack, result
from quant.strategy import strategy

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def sent(value: Any) -> Any:
    return load(pack(value, "mine"))


# ---------------------------------------------------------------- classes by value
def signals_class() -> type[bt.Strategy]:
    class Base(q.Strategy):
        params = dict(fast=12, slow=26)
        session = dict(flat_before_close="5m")

        @staticmethod
        def valid(p: Any) -> bool:
            return bool(p.fast < p.slow)

    class Mine(Base):
        """Says what it does."""

        params = (("slow", 30), ("extra", None))

        @staticmethod
        def signals(bars: Any, p: Any) -> Any:
            return q.Signals(np.where(Mine.valid(p), float(p.slow), 0.0) * np.ones(2))

    return Mine


class Kept(bt.Strategy):  # type: ignore[misc]
    """Importable: travels by name."""


def plain_class() -> type[bt.Strategy]:
    class Double(bt.Indicator):  # type: ignore[misc]
        lines = ("double", "half")
        params = (("factor", 2),)
        plotinfo = dict(subplot=False)
        plotlines = dict(double=dict(color="red"))
        linealias = (("half", "part"),)

        def __init__(self) -> None:
            super().__init__()
            self.lines.double = self.data * self.p.factor
            self.lines.half = self.data / self.p.factor

    class Overridden(Double):
        lines = ("only",)
        linesoverride = True

        def __init__(self) -> None:
            self.lines.only = self.data + 1.0

    class Sizer(bt.Sizer):  # type: ignore[misc]
        params = dict(stake=3)

        def _getsizing(self, *args: Any) -> int:
            return int(self.p.stake)

    class Mixin:
        every = 7
        seen: tuple[float, ...] = ()

    class Mine(Mixin, bt.Strategy):  # type: ignore[misc]
        lines = ("kept",)
        params = dict(factor=3)
        packages = (("math", "mathematics"),)
        parts = (Double, Overridden, Sizer)

        def __init__(self) -> None:
            self.double = Double(factor=self.p.factor)
            self.only = Overridden()
            self.setsizer(Sizer())

        def next(self) -> None:
            self.lines.kept[0] = self.double.half[0]
            if len(self) % self.every == 0:
                self.buy() if len(self) % 2 else self.sell()
            self.seen = (self.double.double[0], self.double.half[0], self.only.only[0], self.lines.kept[0])

        def notify(self, order: Any) -> None:  # backtrader renames it
            type(self).told = order.executed.price

    return Mine


def described(cls: Any) -> Any:
    held = [dict(cls.params._getpairs()), cls.__name__, cls.__qualname__, cls.__module__, cls.__doc__]
    if hasattr(cls, "linealias"):
        held += [dict(getattr(cls, n)._getpairs()) for n in ("plotinfo", "plotlines", "linealias")]
        held += [cls.lines._getlines(), cls.lines._getlinesbase(), cls.lines._getlinesextra()]
        held += [sorted(n for n in dir(cls.lines) if not n.startswith("_"))]
    return held


@pytest.mark.parametrize("make", [signals_class, plain_class], ids=["signals", "plain"])
def test_class_made_anew_is_the_same(make: Callable[[], type]) -> None:
    made = make()
    here = [c for c in made.__mro__ if c.__module__ == __name__]
    there = [c for c in sent(made).__mro__ if c.__module__ == __name__]
    assert len(there) == len(here) > 1
    for a, b in zip(here, there, strict=True):
        if isinstance(a, bt.metabase.MetaParams):
            assert a is not b
            assert described(a) == described(b)
            parts = zip(getattr(a, "parts", ()), getattr(b, "parts", ()), strict=True)
            assert all(described(one) == described(other) for one, other in parts)


def test_signals_of_a_class_made_anew() -> None:
    found = sent(signals_class())
    assert found.session == {"flat_before_close": "5m"}
    assert list(found.signals(None, found.params()).target) == [30.0, 30.0]
    with pytest.raises(StrategyError, match=r"Mine: runs through q\.backtest"):
        bt_run(found)


def bt_run(cls: type) -> Any:
    cerebro = bt.Cerebro()
    close = 100.0 + np.arange(60.0)
    index = pd.date_range("2020-01-01", periods=60)
    frame = pd.DataFrame(dict(open=close, high=close, low=close, close=close, volume=1.0), index=index)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.addstrategy(cls)
    (ran,) = cerebro.run()
    return ran.broker.getvalue(), ran.seen, ran.told, dict(ran.p._getkwargs())


def test_class_made_anew_runs_the_same_in_backtrader() -> None:
    made = plain_class()
    expected = bt_run(made)
    assert expected[1] == (159.0 * 3, 159.0 / 3, 160.0, 159.0 / 3)
    assert bt_run(sent(made)) == expected


def test_importable_class_stays_itself() -> None:
    assert sent(Kept) is Kept
    assert sent(strategy("macd")) is strategy("macd")
    assert sent(q) is q


def test_object_of_this_process_is_refused_with_the_mend() -> None:
    lock = threading.Lock()

    class Mine(q.Strategy):
        @staticmethod
        def signals(bars: Any, p: Any) -> Any:
            return lock

    with pytest.raises(StrategyError, match=r"strategy mine: cannot be sent .*lock.*file of strategies/"):
        pack(Mine, "mine")


# ---------------------------------------------------------------- scripts, prompts
SCRIPT = """
    import backtrader as bt, numpy as np, quant as q
    from dataclasses import dataclass
    from quant.research.workers.processes import run
    from quant.research.task import Row
    import neighbour

    FACTOR = 10

    @dataclass
    class Task:
        strategy: type

    class Mine(q.Strategy):
        params = dict(a=1, b=2)

        @classmethod
        def total(cls, p):
            return super().valid(p) * (p.a + p.b + neighbour.more()) * FACTOR

    def evaluate(task, combos):
        made = [type("P", (), {**task.strategy.params._getpairs(), **c})() for c in combos]
        return [Row(np.array([task.strategy.total(p)], dtype=float), None) for p in made]

    rows = dict(run(evaluate, Task(Mine), [[{"a": 5}, {}], [{"b": 0}]], workers=2))
    print([[float(r.figures[0]) for r in rows[n]] for n in sorted(rows)])
"""


@pytest.mark.parametrize("how", ["script", "prompt"])
def test_script_without_the_guard_and_prompt(how: str, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("def more():\n    return 100\n")
    text = textwrap.dedent(SCRIPT)
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, *(["script.py"] if how == "script" else ["-"])]
    done = subprocess.run(
        command,
        input=None if how == "script" else text,
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[[1070.0, 1030.0], [1010.0]]\n", "")  # (a + b + 100) * 10


# ---------------------------------------------------------------- modules of a project
@pytest.fixture
def forget() -> Iterator[None]:
    """Forget what a test imported."""
    before, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(before):
        if name.partition(".")[0] in ("strategies", "library", "outlying", "only_here"):
            del sys.modules[name]
    sys.modules.update({n: m for n, m in before.items() if n.partition(".")[0] == "strategies"})


def project(folder: Path, version: int) -> Path:
    """A project whose class says the version of four modules beside it, two of them imported only when it runs."""
    files = {
        "strategies/mine.py": (
            "import backtrader as bt\nfrom strategies import rules\nfrom library.deep import part\n\n"
            "class Mine(bt.Strategy):\n    @staticmethod\n    def versions():\n        from strategies import late\n"
            "        from outlying import later\n"
            "        return [rules.VERSION, part.VERSION, late.VERSION, later.VERSION]\n\n"
            "    @staticmethod\n    def fails():\n        raise KeyError(rules.VERSION)  # here\n"
        ),
        "strategies/rules.py": f"VERSION = {version}\n",
        "strategies/late.py": f"VERSION = {version}\n",
        "library/__init__.py": "from . import unused\n",
        "library/unused.py": "",
        "library/deep/__init__.py": "",
        "library/deep/part.py": f"from library.unused import *\nVERSION = {version}\n",
        "outlying/__init__.py": "",
        "outlying/later.py": f"VERSION = {version}\n",
        "quant.toml": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "strategies"


def elsewhere(code: str, *shipments: Any, cwd: Path) -> str:
    """Run code in a fresh process that knows nothing but this package; `s` are the shipments."""
    start = "import pickle, sys\nfrom quant.research.workers.shipping import answer, load, result\n"
    start += "s = pickle.load(sys.stdin.buffer)\n"
    command = [sys.executable, "-P", "-c", start + textwrap.dedent(code)]
    done = subprocess.run(
        command, input=pickle.dumps(shipments), cwd=cwd, env=ENVIRONMENT, capture_output=True, check=False
    )
    assert done.stderr == b""
    return done.stdout.decode()


@pytest.mark.usefixtures("forget")
def test_modules_of_a_project_arrive_where_its_folder_is_not(tmp_path: Path) -> None:
    shipment = pack(strategy("mine", project(tmp_path / "p", 1)), "mine")
    assert sorted(shipment.sources) == [
        *("library", "library.deep", "library.deep.part", "library.unused"),
        *("outlying", "outlying.later"),
        *("strategies", "strategies.late", "strategies.mine", "strategies.rules"),
    ]
    shutil.rmtree(tmp_path / "p")
    code = """
        print(load(s[0]).versions())
        try:
            result(answer(load(s[0]).fails))
        except KeyError as e:
            print(e, "raise KeyError(rules.VERSION)  # here" in e.__notes__[0])
    """
    assert elsewhere(code, shipment, cwd=tmp_path).split("\n") == ["[1, 1, 1, 1]", "1 True", ""]


@pytest.mark.usefixtures("forget")
def test_worker_that_serves_two_projects_keeps_them_apart(tmp_path: Path) -> None:
    """As a worker of dask does that outlives an edit of the strategy."""
    shipments = []
    for name, version in (("a", 1), ("b", 2)):
        folder = project(tmp_path / name, version)
        for module in [n for n in sys.modules if n.partition(".")[0] == "library"]:
            del sys.modules[module]
        shipments.append(pack(strategy("mine", folder), "mine"))
        shutil.rmtree(tmp_path / name)
    code = "print([load(s[n]).versions() for n in (0, 1, 1, 0)], load(s[1]) is load(s[1]))"
    found = elsewhere(code, *shipments, cwd=tmp_path)
    assert found == "[[1, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2], [1, 1, 1, 1]] True\n"


@pytest.mark.usefixtures("forget")
def test_package_that_the_worker_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "only_here.py").write_text("x = 1\n")
    sys.path.append(str(tmp_path / "site-packages"))
    folder = project(tmp_path, 1)
    with (folder / "mine.py").open("a") as f:
        f.write("\nimport only_here\n")
    shipment = pack(strategy("mine", folder), "mine")
    code = """
        try:
            load(s[0])
        except Exception as e:
            print(type(e).__name__, e)
    """
    said = "StrategyError strategy mine: a worker has no module only_here; install it where the workers run\n"
    assert elsewhere(code, shipment, cwd=tmp_path) == said


@pytest.mark.usefixtures("forget")
def test_module_that_was_broken_since_it_was_imported_is_named(tmp_path: Path) -> None:
    folder = project(tmp_path, 1)
    found = strategy("mine", folder)
    (folder / "mine.py").write_text("def broken(:\n")
    with pytest.raises(StrategyError, match=r"strategies\.mine: .*mine\.py cannot be read any more"):
        pack(found, "mine")


# ---------------------------------------------------------------- answers
def test_answers_are_values_or_raise() -> None:
    assert result(answer(lambda: [1, "two"])) == [1, "two"]

    def fail() -> None:
        raise StrategyNotFound("mcad", "not there")

    with pytest.raises(StrategyNotFound, match="strategy mcad: not there") as caught:
        result(answer(fail))
    assert caught.value.strategy == "mcad"
    assert "in fail" in caught.value.__notes__[0]
