"""The walk of Renko by Python and compiled: the same bits, when which is taken, and where the code is kept."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant
import quant.indicators as qi
from quant.errors import ParameterError

ROOT = Path(__file__).parents[2]
renko_module: Any = importlib.import_module("quant.indicators.renko")  # the package's name is the function

odd = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, -3.0, 1e9])
prices = st.one_of(st.integers(900, 1100).map(lambda x: x / 10), st.floats(90.0, 110.0), odd)
bars = st.lists(st.tuples(prices, prices, prices), max_size=60)
brick = st.one_of(st.sampled_from([0.1, 0.37, 1.0, 2.5]), st.floats(0.05, 20.0))
missing = st.sampled_from([np.nan, 0.0, np.inf, 1e-12])


def seen(compiled: bool, function: Any, *args: Any, **options: Any) -> Any:
    """All that a call gives, as bytes, or the words of its refusal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renko_module, "_compiling_pays", lambda bars: compiled)
        try:
            found = function(*args, **options)
        except ParameterError as e:
            return str(e)
    names = ("row", "made", "count", "level", "base", "size")
    steps, anchor, size = found
    return [getattr(steps, name).tobytes() for name in names], np.array([anchor, size]).tobytes()


@given(
    rows=bars,
    size=brick | st.lists(brick | missing, min_size=60, max_size=60),
    anchor=st.none() | st.floats(80.0, 120.0),
    reversal=st.integers(1, 4),
    source=st.sampled_from(["close", "high-low"]),
)
def test_compiled_gives_the_bits_of_python(
    rows: list[tuple[float, float, float]], size: Any, anchor: Any, reversal: int, source: str
) -> None:
    high, low, close = np.array(rows).reshape(-1, 3).T
    market = SimpleNamespace(high=high, low=low, close=close)
    known = np.array(size[: len(rows)]) if isinstance(size, list) else size
    args = (market, known, anchor, reversal, source)
    assert seen(True, renko_module._steps, *args) == seen(False, renko_module._steps, *args)


def test_arrays_of_any_layout_are_walked() -> None:
    """Strided, at odd addresses, read-only, of the other byte order."""
    close = 100.0 + np.cumsum(np.random.default_rng(1).normal(0, 1, 300))
    odd_address = np.frombuffer(b"x" + close.tobytes(), dtype=np.uint8)[1:].view(np.float64)
    assert not odd_address.flags.aligned
    locked = close.copy()
    locked.flags.writeable = False
    want = seen(
        False, renko_module._steps, SimpleNamespace(high=close, low=close, close=close), 1.0, None, 2, "close"
    )
    for row in (np.repeat(close, 2)[::2], odd_address, locked, close.astype(">f8")):
        market = SimpleNamespace(high=row, low=row, close=row)
        assert seen(True, renko_module._steps, market, 1.0, None, 2, "close") == want


def test_options_keep_the_order_of_float_operations() -> None:
    options = renko_module._compiled().targetoptions
    assert not options.get("fastmath")
    assert (options["error_model"], options["nogil"]) == ("numpy", True)


def test_only_one_thread_at_a_time_makes_the_compiled_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither numba's one folder of the process nor its look at types is made for threads."""
    inside, most, let_go, real = 0, 0, threading.Event(), renko_module._compiled()

    def make() -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        let_go.wait(0.2)  # time for the others to come in, if they could
        inside -= 1
        return real

    monkeypatch.setattr(renko_module, "_compiled", make)
    monkeypatch.setattr(renko_module, "_compiling_pays", lambda bars: True)
    row = np.array([100.0, 110.0])
    market: Any = SimpleNamespace(high=row, low=row, close=row)
    threads = [threading.Thread(target=qi.renko, args=(market, 10.0)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


# In a process of its own, where numba is not loaded yet.
CHILD = """
import importlib, json, sys, threading
from types import SimpleNamespace
import numpy as np
import quant
renko = importlib.import_module("quant.indicators.renko")
close = 100 + np.cumsum(np.random.default_rng(1).normal(0, 1, 1_000))
bars = SimpleNamespace(high=close, low=close, close=close)
renko.BARS_BY_PYTHON = 5_000
loaded, counts = [], []
for _ in range(7):
    counts.append(renko.renko(bars, 1.0).count.tobytes())
    loaded.append("numba" in sys.modules)
walk = renko._compiled()
start = threading.Barrier(8)
renko._compiled.cache_clear()
def call():
    start.wait()
    counts.append(renko.renko(bars, 1.0).count.tobytes())
threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({
    "loaded": loaded, "counts": len(counts), "different": len(set(counts)),
    "kept": getattr(walk._cache, "_cache_path", ""), "hits": sum(walk.stats.cache_hits.values()),
}))
"""


def child(folder: Path) -> Any:
    """What the child saw, run from a file in `folder` with all cache folders of the system below it."""
    script = folder / "child.py"
    script.write_text(CHILD)
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    own = {
        "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "LOCALAPPDATA": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    command = [sys.executable, "-W", "error", str(script)]
    out = subprocess.run(command, env={**kept, **own}, capture_output=True, text=True, timeout=300)
    assert (out.returncode, out.stderr) == (0, "")
    return json.loads(out.stdout)


BY_PYTHON = [False] * 5 + [True] * 2


def test_numba_is_loaded_when_bars_enough_were_walked_and_its_code_kept(tmp_path: Path) -> None:
    first, second = child(tmp_path), child(tmp_path)
    for found in (first, second):
        assert (found["loaded"], found["counts"], found["different"]) == (BY_PYTHON, 15, 1)
        assert Path(found["kept"]).is_relative_to(tmp_path)
    assert (first["hits"], second["hits"]) == (0, 1)


def test_a_cache_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    """A file lies where the folder would be: not even root can write below it."""
    for name in ("cache", ".cache", "Library"):
        (tmp_path / name).write_text("in the way")
    found = child(tmp_path)
    assert (found["loaded"], found["different"], found["kept"]) == (BY_PYTHON, 1, "")
    assert not list(Path(quant.__file__).parent.rglob("*.nb[ic]"))
