"""`quant init` and `quant new`: they write files, and never over others."""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from quant.app import config, texts
from quant.app.command import FOLDER, command
from quant.app.output import Result, folder_text
from quant.errors import ConfigError, ParameterError, WriteFailed
from quant.store.folder import find_project

COPIED: Final = ("strategies", "data/sample", "scripts/backtest.py", "scripts/sweep.py")  # of the template
LEFT: Final = shutil.ignore_patterns("__pycache__", "*.lock", "*.tmp")


@command("init")
@click.argument("folder", type=FOLDER)
def init(folder: Path) -> Result:
    """Lay out a project in FOLDER: settings, strategies, sample bars, a script, a test.

    FOLDER may exist; nothing in it is overwritten.
    """
    from quant.strategy.lookup import template

    _refuse_clash(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Built aside and then moved, so that a full disk leaves no half project.
        with tempfile.TemporaryDirectory(
            dir=folder, prefix=".quant-init-", ignore_cleanup_errors=True
        ) as aside:
            _lay_out(template(), Path(aside), folder.resolve().name)
            made = sorted(path.name for path in Path(aside).iterdir())
            for name in made:
                (Path(aside) / name).rename(folder / name)
    except OSError as e:
        raise WriteFailed(str(folder), e.strerror or str(e)) from e
    shown = folder_text(folder)
    go = [] if folder.resolve() == Path.cwd() else [f"      cd {shown}"]
    steps = [*go, "      quant backtest macd SPY", "      quant new my_idea", "      quant doctor"]
    return Result(
        {"folder": folder.resolve(), "made": made},
        [f"made {', '.join(made)} in {shown}", "", "next:" + steps[0][5:], *steps[1:]],
    )


def _refuse_clash(folder: Path) -> None:
    names = {Path(name).parts[0] for name in (*COPIED, *_written(""))}
    there = sorted(name for name in names if (folder / name).exists())
    if there:
        raise ParameterError(
            "folder", str(folder), f"it holds {', '.join(there)} already; choose another folder"
        )


def _written(name: str) -> dict[str, str]:
    """Return the text of each file that is no copy."""
    sections = {name: _lines(name) for name in ("backtest", "sweep", "ib", "promote", "notify")}
    return {
        "quant.toml": texts.QUANT_TOML.format(**sections),
        ".gitignore": texts.GITIGNORE,
        "README.md": texts.README.format(name=name),
        "tests/test_strategies.py": texts.TEST_STRATEGIES,
    }


def _lines(section: str) -> str:
    """Return the settings of a section as comments, with their defaults."""
    keys = [key for key in config.KEYS if key.section == section]
    return "\n".join(f"# {key.name} = {_toml(key.default)}  # {key.help}" for key in keys)


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, str | bool | tuple):
        return json.dumps(value)
    return f"{value:_}"


def _lay_out(template: Path, folder: Path, name: str) -> None:
    for part in COPIED:
        source, target = template / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=LEFT)
        else:
            shutil.copyfile(source, target)
    for path, text in _written(name).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- new
@command("new")
@click.argument("name")
def new(name: str) -> Result:
    """Write strategies/NAME.py, a strategy that works, and its test."""
    project = find_project()
    if project is None:
        reason = "no quant.toml here or above; make a project: quant init myproject"
        raise ConfigError(str(Path.cwd()), "project", reason)
    _check_name(name)
    words = [w for w in name.split("_") if w]
    facts = {
        "name": name,
        "class_name": "".join(w[:1].upper() + w[1:] for w in words),
        "title": " ".join(words).capitalize(),
    }
    files = {
        project / "strategies" / f"{name}.py": texts.STRATEGY.format(**facts),
        project / "tests" / f"test_{name}.py": texts.TEST_STRATEGY.format(**facts),
    }
    for path in files:
        # A file system may not tell Macd.py from macd.py.
        same = [p.name for p in path.parent.glob("*.py") if p.name.casefold() == path.name.casefold()]
        if same:
            raise ParameterError(
                "name", name, f"{path.parent / same[0]} is there already; choose another name"
            )
    for path, text in files.items():
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as e:
            raise WriteFailed(str(path), e.strerror or str(e)) from e
    made = [folder_text(path) for path in files]
    return Result(
        {"strategy": name, "class": facts["class_name"], "made": [str(p) for p in files]},
        [
            *(f"made {path}" for path in made), "",
            f"next: quant backtest {name} SPY", f"      python -m pytest {made[1]}",
        ],
    )  # fmt: skip


def _check_name(name: str) -> None:
    """Raise ParameterError for a name that cannot be a module, or would hide one."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or not re.search(r"[A-Za-z]", name):
        near = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
        hint = f", e.g. {near}" if near[:1].isalpha() else ""
        raise ParameterError("name", name, f"must be letters, digits and _, beginning with a letter{hint}")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise ParameterError("name", name, f"is a word of Python; choose another, e.g. my_{name}")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise ParameterError(
            "name", name, f"is the name of a module of Python or a library; choose e.g. my_{name}"
        )
