"""Where compiled code is kept, and that the compiler neither fuses nor reorders float operations."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from platformdirs import user_cache_path

import quant
from quant.kernel import compiling, figures, rows, simulate, sums, targets

ROOT = Path(__file__).parents[2]
PACKAGE = Path(quant.__file__).parent
FUNCTIONS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": function
    for module in (simulate, figures, targets, sums, rows)
    for name, function in vars(module).items()
    if getattr(function, "targetoptions", {}).get("nogil") and function.__module__ == module.__name__
}

# In a process of its own, as the folder is chosen when a function is made. Prints what there is to see.
CHILD = """
import json, os, sys
import numba
import numba.core.caching

def refuse(self):
    raise PermissionError("read-only")

if os.environ.get("QUANT_TEST_READ_ONLY"):
    for name, kind in vars(numba.core.caching).items():
        if "InTree" in name:
            kind.ensure_cache_path = refuse
from quant.kernel import compiling, sums
import numpy as np

@numba.njit(cache=not os.environ.get("QUANT_TEST_READ_ONLY"))
def other(x):
    return x + 1.0

x = np.arange(10.0)
print(json.dumps({
    "sum": sums.pairwise(x, 0, 10),
    "folder": str(compiling.cache_folder()),
    "index": getattr(sums.pairwise._cache, "_cache_path", ""),
    "other": getattr(other._cache, "_cache_path", "") if other(1.0) == 2.0 else "",
    "hits": sum(sums.pairwise.stats.cache_hits.values()),
    "misses": sum(sums.pairwise.stats.cache_misses.values()),
    "setting": numba.config.CACHE_DIR,
}))
"""


def child(folder: Path, code: str = CHILD, **environment: str) -> Any:
    """What the child saw, run from a file in `folder` with all cache folders of the system below it."""
    script = folder / "child.py"
    script.write_text(code)
    kept = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    own = {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "LOCALAPPDATA": str(folder / "cache"),
    }
    out = subprocess.run(
        [sys.executable, "-W", "error::numba.core.errors.NumbaWarning", str(script)],
        env={**kept, **own, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def test_functions_were_found() -> None:
    assert {"simulate.simulate", "targets.acting", "sums.pairwise", "rows.run_row"} <= set(FUNCTIONS)


def test_cache_is_a_folder_of_the_user_and_of_these_sources() -> None:
    folder = compiling.cache_folder()
    assert folder.is_relative_to(user_cache_path("quant"))
    assert not folder.is_relative_to(PACKAGE)
    assert compiling.sources()[:16] in folder.name


def beside_the_sources() -> list[Path]:
    return list(PACKAGE.rglob("*.nb[ic]"))


def test_nothing_is_written_beside_the_sources() -> None:
    assert not beside_the_sources()


def test_second_process_loads_what_the_first_compiled(tmp_path: Path) -> None:
    first, second = child(tmp_path), child(tmp_path)
    for seen in (first, second):
        assert seen["sum"] == 45.0
        assert Path(seen["folder"]).is_relative_to(tmp_path)
        assert Path(seen["index"]).is_relative_to(seen["folder"])
        assert not Path(seen["other"]).is_relative_to(
            seen["folder"]
        )  # other people's functions keep their place
        assert not seen["setting"]
    assert (first["hits"], first["misses"]) == (0, 1)
    assert (second["hits"], second["misses"]) == (1, 0)


def test_folder_that_the_user_chose_for_numba_is_taken(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen"
    seen = child(tmp_path, NUMBA_CACHE_DIR=str(chosen))
    assert Path(seen["index"]).is_relative_to(chosen)
    assert Path(seen["other"]).is_relative_to(chosen)
    assert seen["setting"] == str(chosen)
    assert not Path(seen["folder"]).exists()


@pytest.mark.parametrize("read_only", [False, True], ids=["package can be written", "package is read-only"])
def test_cache_that_cannot_be_written_compiles_each_time(read_only: bool, tmp_path: Path) -> None:
    """A file lies where the folder would be: not even root can write below it."""
    for name in ("cache", ".cache", "Library"):
        (tmp_path / name).write_text("in the way")
    try:
        assert child(tmp_path, QUANT_TEST_READ_ONLY="1" if read_only else "")["sum"] == 45.0
        assert not beside_the_sources()
    finally:
        for file in beside_the_sources():  # a stale one would be taken
            file.unlink()


BESIDE = """
import json, os, sys
os.cpu_count = lambda: 2
if os.environ.get("QUANT_TEST_ALONE"):
    sys.executable = "/there/is/no/such/python"
from quant.kernel import run
from quant.kernel import figures, rows, simulate
print(json.dumps({m.__name__.rpartition(".")[2]: sum(getattr(m, name).stats.cache_hits.values())
    for m, name in ((figures, "figures"), (simulate, "simulate"), (rows, "run_row"))}))
"""


@pytest.mark.parametrize("alone", [False, True], ids=["a process beside", "no process can be begun"])
def test_first_compilation_takes_a_second_process(alone: bool, tmp_path: Path) -> None:
    """Of the figures there is something in the cache then; the next process finds all there."""
    found = child(tmp_path, BESIDE, QUANT_TEST_ALONE="1" if alone else "")
    assert found == {"figures": 0 if alone else 1, "simulate": 0, "rows": 0}
    assert child(tmp_path, BESIDE) == {"figures": 1, "simulate": 1, "rows": 1}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_options_keep_the_order_of_float_operations(function: Any) -> None:
    options = function.targetoptions
    assert not options.get("fastmath")
    assert not options.get("parallel")
    assert options["error_model"] == "numpy"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """LLVM and machine code of all functions, compiled anew: what comes from the cache has none to show."""
    folder = tmp_path_factory.mktemp("code")
    script = folder / "show.py"
    script.write_text(SHOW)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(folder / "cache")}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=300, cwd=folder)
    found: dict[str, dict[str, str]] = json.loads((folder / "code.json").read_text())
    return found


SHOW = """
import json
from pathlib import Path
from quant.kernel import figures, rows, simulate, sums, targets

found = {}
for module in (simulate, figures, targets, sums, rows):
    for name, function in vars(module).items():
        if getattr(function, "targetoptions", {}).get("nogil") and function.__module__ == module.__name__:
            (signature,) = function.signatures
            key = module.__name__.rpartition(".")[2] + "." + name
            found[key] = {"llvm": function.inspect_llvm(signature), "asm": function.inspect_asm(signature)}
Path("code.json").write_text(json.dumps(found))
"""

# LLVM's flags that allow another order or another precision, on float operations and calls.
RELAXED = re.compile(
    r"\b(?:fadd|fsub|fmul|fdiv|frem|fneg|fcmp|call|select|phi)\s+(?:[a-z]+\s+)*?(?:fast|reassoc|contract|arcp|afn|nsz|nnan|ninf)\b"
)
FUSED = re.compile(r"\b(?:vfn?m(?:add|sub)\w*|fn?madd|fn?msub|fmla|fmls)\b")


def test_nothing_may_be_reordered(code: dict[str, dict[str, str]]) -> None:
    assert set(code) == set(FUNCTIONS)
    assert "fmul" in code["simulate.simulate"]["llvm"]
    for name, of in code.items():
        assert RELAXED.findall(of["llvm"]) == [], name
        assert "llvm.fmuladd" not in of["llvm"], name
        assert "llvm.fma." not in of["llvm"], name


def test_no_instruction_multiplies_and_adds_at_once(code: dict[str, dict[str, str]]) -> None:
    for name, of in code.items():
        assert FUSED.findall(of["asm"]) == [], name


def test_the_search_would_find_them() -> None:
    """The same search on a function that asks for both."""
    import numba

    @numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
    def relaxed(x: float, y: float) -> float:
        return x * y + x

    relaxed(1.0, 2.0)
    (signature,) = relaxed.signatures
    assert RELAXED.search(relaxed.inspect_llvm(signature))
    assert FUSED.search("\tvfmadd213sd\t%xmm0, %xmm1, %xmm2")
    assert FUSED.search("\tfmadd\td0, d1, d0, d1")
