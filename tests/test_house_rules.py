"""Habits that no linter knows. Each rule names the mistake that it stops."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("quant", "strategies")
    for path in (ROOT / folder).rglob("*.py")
)
MODULE_LINES = 600
FUNCTION_LINES = 60
SOURCED = ("quant/metrics/", "quant/indicators/")
NO_FORMULAS = {"quant/indicators/inputs.py", "quant/indicators/shared.py"}
SOURCE = re.compile(r"\bsource\b[^.]*:", re.IGNORECASE)
WITHOUT_BACKTRADER = {"errors", "core", "indicators", "metrics", "store", "report", "kernel", "oms"}
READS_THE_TIME = re.compile(
    r"""(^|\.)time\.(time|monotonic|perf_counter|process_time|localtime|gmtime|ctime)(_ns)?$
    |(^|\.)(datetime|date|Timestamp)\.(now|utcnow|today)$""",
    re.VERBOSE,
)
READS_THE_ENVIRONMENT = re.compile(r"(^|\.)os\.(environ|environb|getenv|getenvb)$")

Found = Iterator[tuple[int, str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def optional_numbers(function: Function) -> set[str]:
    """Return parameters that may be None or a number, where 0 is a value."""
    wanted = {"float | None", "int | None", "Decimal | None"}
    args = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {a.arg for a in args if a.annotation and ast.unparse(a.annotation) in wanted}


def names_used_as_bools(node: ast.AST) -> Iterator[ast.Name]:
    """Yield names used for their truth value."""
    if isinstance(node, ast.BoolOp):
        yield from (value for value in node.values if isinstance(value, ast.Name))
    if isinstance(node, ast.If | ast.IfExp | ast.While) and isinstance(node.test, ast.Name):
        yield node.test
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) and isinstance(node.operand, ast.Name):
        yield node.operand


def truth_of_numbers(path: str, tree: ast.Module) -> Found:
    for function in functions(tree):
        numbers = optional_numbers(function)
        for node in ast.walk(function):
            for name in names_used_as_bools(node):
                if name.id in numbers:
                    yield name.lineno, f"write `{name.id} is None`; 0 is a value"


def length_of_functions(path: str, tree: ast.Module) -> Found:
    for function in functions(tree):
        lines = (function.body[-1].end_lineno or function.lineno) - function.body[0].lineno + 1
        compiled = any("compiled" in ast.unparse(d) for d in function.decorator_list)  # one loop, one state
        if lines > FUNCTION_LINES and not compiled:
            yield function.lineno, f"{function.name} has {lines} lines; one thought a function"


def formulas_without_source(path: str, tree: ast.Module) -> Found:
    if not path.startswith(SOURCED) or path in NO_FORMULAS or SOURCE.search(ast.get_docstring(tree) or ""):
        return
    for function in tree.body:
        public = isinstance(function, ast.FunctionDef) and not function.name.startswith("_")
        if public and not SOURCE.search(ast.get_docstring(function) or ""):
            yield (
                function.lineno,
                f"{function.name}: a formula needs its `Source:`, here or at the top",
            )


def shifts_into_the_past(path: str, tree: ast.Module) -> Found:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "shift":
            counts = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "periods")]
            if any(isinstance(count, ast.UnaryOp) and isinstance(count.op, ast.USub) for count in counts):
                yield node.lineno, "shift by a negative count reads the future"


def dotted_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each dotted name and each imported one, without the aliases of imports."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import))
    modules = {alias.asname: alias.name for node in imports for alias in node.names if alias.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            yield node.lineno, f"{modules.get(first, first)}.{rest}"
        if isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def clock_outside_of_core(path: str, tree: ast.Module) -> Found:
    if path != "quant/core/clock.py":
        for line, name in dotted_names(tree):
            if READS_THE_TIME.search(name):
                yield line, f"{name}: only core/clock.py reads the time; take it as an argument"


def environment_outside_of_app(path: str, tree: ast.Module) -> Found:
    if not path.startswith("quant/app/"):
        for line, name in dotted_names(tree):
            if READS_THE_ENVIRONMENT.search(name):
                yield line, f"{name}: only quant/app reads the environment; take it as an argument"


RULES: list[Callable[[str, ast.Module], Found]] = [
    truth_of_numbers,
    length_of_functions,
    formulas_without_source,
    shifts_into_the_past,
    clock_outside_of_core,
    environment_outside_of_app,
]


def broken_rules(path: str, text: str) -> list[str]:
    tree = ast.parse(text)
    found = [f"{path}:{line}: {what}" for rule in RULES for line, what in rule(path, tree)]
    if text.count("\n") > MODULE_LINES:
        found.append(f"{path}: longer than {MODULE_LINES} lines; split it by subject")
    return found


@pytest.mark.parametrize(
    ("contract", "guarded"),
    [
        ("ibapi", lambda name: name not in ("ib", "tws")),
        ("no-backtrader", lambda name: name in WITHOUT_BACKTRADER),
    ],
    ids=["ibapi", "no-backtrader"],
)
def test_walls_name_every_folder_that_stands(contract: str, guarded: Callable[[str], bool]) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {c["id"]: c for c in settings["tool"]["importlinter"]["contracts"]}
    there = {"errors", *(path.parent.name for path in (ROOT / "quant").glob("*/__init__.py"))}
    assert set(contracts[contract]["source_modules"]) == {f"quant.{name}" for name in there if guarded(name)}


@pytest.mark.parametrize("path", FILES)
def test_house_rules(path: str) -> None:
    found = broken_rules(path, (ROOT / path).read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text", "what"),
    [
        ("quant/x.py", "def f(a: float | None):\n    return a or 1.0", "0 is a value"),
        ("quant/x.py", "def f():\n" + "    a = 1\n" * 61, "61 lines"),
        ("quant/x.py", "a = 1\n" * 601, "longer than"),
        ("quant/metrics/x.py", "def f():\n    '''Return a ratio.'''", "needs its `Source:`"),
        ("strategies/x.py", "a = frame.close.shift(-1)", "reads the future"),
        ("strategies/x.py", "a = frame.close.shift(periods=-n)", "reads the future"),
        ("quant/x.py", "import time as t\nt.monotonic()", "time.monotonic: only core/clock.py"),
        ("quant/x.py", "from time import time_ns", "only core/clock.py"),
        ("quant/x.py", "import datetime as dt\ndt.datetime.now(dt.UTC)", "only core/clock.py"),
        ("quant/x.py", "import pandas as pd\npd.Timestamp.now('UTC')", "only core/clock.py"),
        ("quant/x.py", "import os\nos.environ['A']", "only quant/app"),
        ("quant/x.py", "from os import getenv", "only quant/app"),
    ],
)
def test_broken_rule_is_found(path: str, text: str, what: str) -> None:
    assert what in "\n".join(broken_rules(path, text))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("quant/x.py", "def f(a: bool, b: float | None):\n    return a and b is None"),
        ("strategies/x.py", "a = (high - low).shift(1)"),
        ("quant/core/clock.py", "import time\ntime.time_ns()"),
        ("quant/app/config.py", "import os\nos.environ['A']"),
        ("quant/x.py", "bar.session.date.strftime('%H')\nos.path.join('a')"),
    ],
)
def test_sound_code_passes(path: str, text: str) -> None:
    assert broken_rules(path, text) == []
