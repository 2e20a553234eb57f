"""How a name becomes a strategy class: "macd" (a file of strategies/), "package.module:Class", or a class."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import backtrader as bt

from quant.errors import QuantError, StrategyError, StrategyNotFound
from quant.store.folder import find_project

FOLDER = "strategies"
# The strategies that the wheel carries as the template of a new project.
TEMPLATE = Path(__file__).resolve().parent.parent / "_template"


def template() -> Path:
    """Return the folder that holds our own strategies and sample: of the wheel, or the clone's root."""
    return TEMPLATE if TEMPLATE.is_dir() else TEMPLATE.parent.parent


def strategy_folder() -> Path:
    """Return the folder in which names are looked up: the project's, else the current one's, else ours."""
    roots = [find_project(), Path.cwd(), template()]
    return next(r / FOLDER for r in roots if r is not None and (r / FOLDER).is_dir())


def names(folder: Path | None = None) -> list[str]:
    """Return the names that `strategy` finds in a strategy folder, by default the one of `strategy_folder`."""
    found = strategy_folder() if folder is None else folder
    return sorted(f.stem for f in found.glob("*.py") if not f.stem.startswith("_"))


def strategy(given: str | type[bt.Strategy], folder: Path | None = None) -> type[bt.Strategy]:
    """Return the strategy class that `given` is or names. Raises StrategyNotFound or StrategyError.

    folder: a folder called strategies, in which a plain name is looked up; by default `strategy_folder`.
    """
    if isinstance(given, type):
        if not issubclass(given, bt.Strategy):
            raise StrategyError(given.__name__, "is no backtrader.Strategy; derive it from quant.Strategy")
        return given
    if not isinstance(given, str) or not given:
        raise StrategyNotFound(repr(given), 'give a class, a name such as "macd", or "package.module:Class"')
    found = strategy_folder() if folder is None else folder
    if ":" in given:
        module, _, name = given.partition(":")
        return _member(given, _module(given, module, found.parent), name)
    there = names(found)
    if given not in there:
        # A file without a class is one that strategies import, and none itself.
        there = [
            n for n in there if re.search(rb"^\s*class\s", (found / f"{n}.py").read_bytes(), re.MULTILINE)
        ]
        close = difflib.get_close_matches(given, there, 1)
        hint = f"did you mean {close[0]}? There" if close else "there"
        raise StrategyNotFound(given, f"not in {found}; {hint} are {', '.join(there)}")
    return _only(given, _module(given, f"{FOLDER}.{given}", found.parent))


def _module(given: str, name: str, root: Path) -> ModuleType:
    sys.path[:] = [str(root), *(p for p in sys.path if p != str(root))]
    # Another project's `strategies` may have been imported before, in a notebook that moved on. Files tell, not
    # the package's __path__: that of a package without __init__.py holds the folders of all projects.
    ours = [m for m in sys.modules if m == FOLDER or m.startswith(FOLDER + ".")]
    files = [Path(f) for f in (getattr(sys.modules[m], "__file__", None) for m in ours) if f is not None]
    if not all(f.is_relative_to(root / FOLDER) for f in files):
        for stale in ours:
            del sys.modules[stale]
    importlib.invalidate_caches()  # a file that was written a moment ago is seen too
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and (name == e.name or name.startswith(e.name + ".")):
            raise StrategyNotFound(given, f"there is no module {name}") from None
        beside = e.name is not None and (root / FOLDER / f"{e.name}.py").is_file()
        mend = f". It lies beside it, so write: from {FOLDER} import {e.name}" if beside else ""
        raise StrategyError(given, f"cannot be imported: {e}{mend}") from e
    except QuantError:
        raise
    except Exception as e:  # the module is the user's code; whatever it raises is named
        raise StrategyError(given, f"cannot be imported: {type(e).__name__}: {e}") from e


def _member(given: str, module: ModuleType, name: str) -> type[bt.Strategy]:
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, bt.Strategy)):
        there = ", ".join(c.__name__ for c in _classes(module)) or "none"
        raise StrategyNotFound(given, f"{module.__name__} has no strategy class {name!r}; it has {there}")
    return found


def _only(given: str, module: ModuleType) -> type[bt.Strategy]:
    classes = _classes(module)
    if len(classes) != 1:
        there = ", ".join(c.__name__ for c in classes) or "none"
        reason = f"{module.__name__} must hold one strategy class (it holds {there}); name it as module:Class"
        raise StrategyNotFound(given, reason)
    return classes[0]


def _classes(module: ModuleType) -> list[type[bt.Strategy]]:
    """Return the strategy classes that the module itself defines."""
    members = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, bt.Strategy)]
    return [c for c in members if c.__module__ == module.__name__]
