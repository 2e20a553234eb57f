"""A held chunk is taken again only where all that decides its rows is the same: closures, globals, attributes too.

Wanted figures: q.backtest of the same class, which keeps nothing.
"""

from __future__ import annotations

import datetime
import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.errors import ParityError
from quant.research import sweep as sweeps
from quant.research.state import state_of

ROOT = Path(__file__).parents[2]
SIGN = 1.0
OTHER: Any = None
GRID = {"n": [3, 5]}


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.synthetic("SYN", "1d", "2018-01-02", "2020-12-31", seed=5)


def rising(bars: q.Bars, n: int) -> Any:
    before = np.append(np.full(n, np.inf), bars.close)[: len(bars)]
    return np.where(bars.close > before, 1.0, -1.0)


def made(sign: float) -> Any:
    class Made(q.Strategy):
        params = dict(n=5)

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return sign * rising(bars, p.n)

    return Made


class Named(q.Strategy):
    """Looks a global of its module up, and an attribute of its class."""

    params = dict(n=5)
    side = 1.0

    @classmethod
    def signals(cls, bars: q.Bars, p: Any) -> Any:
        return SIGN * cls.side * rising(bars, p.n)


def returns_of(strategy: Any, bars: q.Bars, data: Path) -> list[float]:
    found = q.sweep(strategy, bars, GRID, verify=0, data=data)
    return [float(v) for v in found.table["total_return"]]


def wanted(strategy: Any, bars: q.Bars) -> list[float]:
    runs = [q.backtest(strategy, bars, params={"n": n}, save=False) for n in GRID["n"]]
    return [run.metrics["total_return"] for run in runs]


# ---------------------------------------------------------------- what changes without the text
def test_classes_that_a_function_makes_are_told_apart_by_what_they_close_over(
    bars: q.Bars, tmp_path: Path
) -> None:
    first = returns_of(made(1.0), bars, tmp_path)
    second = returns_of(made(-1.0), bars, tmp_path)
    assert first != second
    assert second == wanted(made(-1.0), bars)


def test_a_walk_forward_tells_them_apart_too(bars: q.Bars, tmp_path: Path) -> None:
    how: dict[str, Any] = {"train": 200, "test": 100}
    q.walk_forward(made(1.0), bars, GRID, data=tmp_path, **how)
    found = q.walk_forward(made(-1.0), bars, GRID, data=tmp_path, **how)
    alone = q.walk_forward(made(-1.0), bars, GRID, save=False, **how)
    assert found.windows["in_sample"].tolist() == alone.windows["in_sample"].tolist()
    assert found.metrics["final_value"] == alone.metrics["final_value"]


@pytest.mark.parametrize(("of", "name"), [(sys.modules[__name__], "SIGN"), (Named, "side")])
def test_globals_and_attributes_that_are_set_at_run_time_count(
    of: Any, name: str, bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = returns_of(Named, bars, tmp_path)
    monkeypatch.setattr(of, name, -1.0)
    second = returns_of(Named, bars, tmp_path)
    assert first != second
    assert second == wanted(Named, bars)
    monkeypatch.undo()
    assert q.sweep(Named, bars, GRID, verify=0, data=tmp_path).findings[-1].code == "resumed"


def test_costs_that_are_a_function_count_by_what_they_name(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "OTHER", 1.0)
    plans = [sweeps.plan_sweep(Named, bars, GRID, {**SETTINGS, "costs": fees}).key]
    monkeypatch.setattr(sys.modules[__name__], "OTHER", 2.0)
    plans += [sweeps.plan_sweep(Named, bars, GRID, {**SETTINGS, "costs": fees}).key for _ in range(2)]
    assert plans[0] != plans[1] == plans[2]


SETTINGS: dict[str, Any] = {
    "cash": 1e5, "costs": "none", "sizing": None, "slippage": None, "borrow": None, "start_rule": "first-target",
}  # fmt: skip


def fees(size: float, price: float) -> float:
    return float(OTHER)


HELPER = "SIGN = {sign}\n\ndef sign(): return SIGN\n"
PROJECT = """
import numpy as np
import quant as q
import beside

class Uses(q.Strategy):
    params = dict(n=5)
    @staticmethod
    def signals(bars, p):
        return beside.sign() * np.where(np.arange(len(bars)) % p.n < 2, 1.0, -1.0)
"""
SCRIPT = """
import sys
import numpy as np
import quant as q

LEVEL = float(sys.argv[1])
WORDS = {"a", "b", "c", "d"}

class Own(q.Strategy):
    params = dict(n=5)
    @staticmethod
    def signals(bars, p):
        return LEVEL * len(WORDS & {"a", "x", "y"}) * np.where(np.arange(len(bars)) % p.n < 2, 1.0, -1.0)

bars = q.synthetic("SYN", "1d", "2018-01-02", "2020-12-31", seed=5)
"""
TELL = """
found = q.sweep({strategy}, bars, {{"n": [3, 5]}}, verify=0, data={data!r})
print(any(f.code == "resumed" for f in found.findings), found.table["total_return"][1],
      q.backtest({strategy}, bars, save=False).metrics["total_return"])
"""


def run(script: Path, *arguments: str, path: Path | None = None, seed: int = 0) -> tuple[bool, bool]:
    """Return whether the script's sweep was held already, and whether it has the return of q.backtest."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *([path] if path else [])]))}
    env["PYTHONHASHSEED"] = str(seed)
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    held, swept, alone = done.stdout.split()
    return held == "True", swept == alone


def test_constants_that_a_script_takes_from_its_arguments_count_and_the_same_ones_go_on(
    tmp_path: Path,
) -> None:
    script = tmp_path / "own.py"
    script.write_text(textwrap.dedent(SCRIPT) + TELL.format(strategy="Own", data=str(tmp_path / "data")))
    assert run(script, "1", seed=1) == (False, True)
    assert run(script, "-1", seed=2) == (False, True)
    assert run(script, "1", seed=3) == (True, True)


def test_an_edited_helper_outside_the_project_counts_and_the_same_one_goes_on(tmp_path: Path) -> None:
    for name in ("lib", "project"):
        (tmp_path / name).mkdir()
    (tmp_path / "project" / "uses.py").write_text(PROJECT)
    script = tmp_path / "project" / "script.py"
    told = TELL.format(strategy="Uses", data=str(tmp_path / "data"))
    script.write_text(f"import quant as q\nfrom uses import Uses\n{SCRIPT.splitlines()[-1]}\n{told}")
    helper = tmp_path / "lib" / "beside.py"
    helper.write_text(HELPER.format(sign=1.0))
    assert run(script, path=helper.parent) == (False, True)
    assert run(script, path=helper.parent) == (True, True)
    helper.write_text(HELPER.format(sign=-11.0))  # another length: Python looks at it and the time alone
    assert run(script, path=helper.parent) == (False, True)


# ---------------------------------------------------------------- what cannot be known
class Reads(q.Strategy):
    """Reads a file while its signals are computed."""

    params = dict(n=5)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        sign = float(Path(OTHER).read_text())
        return sign * rising(bars, p.n)


class Opens(q.Strategy):
    params = dict(n=5)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        with open(OTHER) as file:
            return float(file.read()) * rising(bars, p.n)


@pytest.mark.parametrize("strategy", [Reads, Opens])
def test_what_is_read_during_signals_is_never_taken_from_disk_and_said_once(
    strategy: Any, bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sign.txt"
    monkeypatch.setattr(sys.modules[__name__], "OTHER", str(file))
    file.write_text("1")
    first = returns_of(strategy, bars, tmp_path)
    file.write_text("-1")
    found = q.sweep(strategy, bars, GRID, verify=0, data=tmp_path)
    assert first != [float(v) for v in found.table["total_return"]] == wanted(strategy, bars)
    (note,) = [f for f in found.findings if f.code == "chunks-not-reused"]
    assert note.level == "note"
    assert "signals" in note.message


def environment(bars: q.Bars, p: Any) -> Any:
    return float(os.environ["SIGN"]) * rising(bars, p.n)


def environment_by_function(bars: q.Bars, p: Any) -> Any:
    return float(os.getenv("SIGN", "1")) * rising(bars, p.n)


def an_array(bars: q.Bars, p: Any) -> Any:
    return np.load("sign.npy") * rising(bars, p.n)


def lines_of_a_file(bars: q.Bars, p: Any) -> Any:
    with Path("sign.txt").open() as file:
        return float(file.readline()) * rising(bars, p.n)


class Model:
    """Has a `load` of its own, which reads nothing."""

    def load(self, n: int) -> float:
        return 1.0 / n


MODEL = Model()


def a_method(bars: q.Bars, p: Any) -> Any:
    return MODEL.load(p.n) * np.sign(bars.close - bars.open) * rising(bars, p.n)


@pytest.mark.parametrize(
    ("signals", "named"),
    [
        (environment, "environ"), (environment_by_function, "getenv"), (an_array, "load"),
        (lines_of_a_file, "readline"), (a_method, None),
    ],
)  # fmt: skip
def test_signals_that_read_the_environment_or_a_file_are_told_from_those_that_do_not(
    signals: Any, named: str | None
) -> None:
    unknown = state_of(
        type("Some", (q.Strategy,), {"params": {"n": 5}, "signals": staticmethod(signals)})
    ).unknown
    assert (unknown is None) if named is None else named in str(unknown)


def unload(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
        if any(p is not None and Path(p).is_relative_to(folder) for p in places):
            del sys.modules[name]


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of the test's folder are found, and forgotten at its end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    unload(tmp_path)


# Where the strategy imports `settings`, and how it names the value.
AT_IMPORT = {
    "of-a-helper": ("import settings", "", "settings.SIGN"),
    "by-name": ("from settings import SIGN", "", "SIGN"),
    "of-a-function": ("import settings", "", "settings.sign()"),
    "by-text": ("import settings", "", "getattr(settings, 'SIGN')"),
    "of-its-dict": ("import settings", "", "vars(settings)['SIGN']"),
    "of-a-folder": ("", "from inner import settings", "settings.SIGN"),
    "while-signals-are-computed": ("", "import settings", "settings.SIGN"),
    "a-function-then": ("", "from settings import sign", "sign()"),
    "by-another": ("import other", "", "other.sign()"),
}
READING = {
    "environment": "import os\nSIGN = float(os.environ['SIGN'])\n",
    "file": "from pathlib import Path\nSIGN = float(Path(__file__).with_name('sign.txt').read_text())\n",
}


@pytest.mark.parametrize("read", READING)
@pytest.mark.parametrize("at", AT_IMPORT)
@pytest.mark.usefixtures("on_the_path")
def test_what_modules_read_when_they_are_imported_is_never_taken_for_equal(
    at: str, read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value is known where the module is loaded; of one that is not loaded yet nothing may be taken for known."""
    first, within, value = AT_IMPORT[at]
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "settings.py").write_text(f"{READING[read]}\ndef sign():\n    return SIGN\n")
    (tmp_path / "other.py").write_text("def sign():\n    import settings\n    return settings.SIGN\n")
    (tmp_path / "taking.py").write_text(
        f"import numpy as np\nimport quant as q\n{first}\n\nclass Taking(q.Strategy):\n    params = dict(n=5)\n"
        f"    @staticmethod\n    def signals(bars, p):\n        {within}\n"
        f"        return {value} * np.where(np.arange(len(bars)) % p.n < 2, 1.0, -1.0)\n"
    )
    found = []
    for sign in ("1", "-1", "1"):
        monkeypatch.setenv("SIGN", sign)
        for folder in (tmp_path, tmp_path / "inner"):
            (folder / "sign.txt").write_text(sign)
        unload(tmp_path)
        found.append(state_of(importlib.import_module("taking").Taking))
    loaded = bool(first) and "other" not in first
    assert [state.unknown is None for state in found] == [loaded] * 3
    assert (found[0].digest == found[2].digest != found[1].digest) or not loaded
    if not loaded:
        assert "settings" in str(found[0].unknown)


@pytest.mark.usefixtures("on_the_path")
def test_a_module_that_reads_nothing_is_known_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "level.py").write_text("import numpy as np\nLEVEL = np.float64(2.0)\n")
    (tmp_path / "late.py").write_text(
        "import quant as q\n\nclass Late(q.Strategy):\n    params = dict(n=5)\n    @staticmethod\n"
        "    def signals(bars, p):\n        import level\n        return level.LEVEL * (bars.close > bars.open)\n"
    )
    state = state_of(importlib.import_module("late").Late)
    assert "level" not in sys.modules
    assert state.unknown is None


class Market(q.Strategy):
    """Takes the market's bars from the store while its signals are computed."""

    params = dict(n=5)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return rising(q.bars("SYN"), p.n)


def test_bars_that_signals_take_from_the_store_make_it_unknown() -> None:
    assert "store" in str(state_of(Market).unknown)


def test_an_open_file_among_the_globals_has_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "log.txt", "w") as log:
        monkeypatch.setattr(sys.modules[__name__], "SIGN", log)
        unknown = state_of(Named).unknown
    assert unknown is not None
    assert "SIGN" in unknown


# ---------------------------------------------------------------- what must not count
def test_globals_that_only_share_a_name_with_an_attribute_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = state_of(Named)
    assert before.unknown is None
    monkeypatch.setattr(sys.modules[__name__], "close", datetime.datetime.now(datetime.UTC), raising=False)
    assert state_of(Named) == before


def test_the_strategies_of_a_project_have_one_state_in_every_process() -> None:
    script = (
        "from quant.strategy import strategy; from quant.research.state import state_of\n"
        "for name in ('macd', 'macd_stochastic', 'opening_range', 'renko', 'renko_macd', 'rsi'):\n"
        "    print(state_of(strategy(name)))"
    )
    told = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        told.append(done.stdout.splitlines())
    assert told[0] == told[1]
    assert len({line for line in told[0] if "unknown=None" in line}) == 6


def plain(days: int) -> Any:
    class Lag(bt.Indicator):
        lines = ("lag",)
        params = (("days", days),)

        def next(self) -> None:
            self.lines.lag[0] = self.data[-self.p.days]

    class Plain(bt.Strategy):
        def __init__(self) -> None:
            self.lag = Lag()

    return Plain


def test_a_plain_strategy_is_known_with_the_defaults_of_its_indicators() -> None:
    assert state_of(plain(2)) == state_of(plain(2))
    assert state_of(plain(2)) != state_of(plain(3))
    assert state_of(plain(2)).unknown is None


def test_a_difference_names_held_chunks_as_a_cause() -> None:
    assert "chunk" in str(ParityError("S", "n=1", "sharpe is 1 and 2"))
