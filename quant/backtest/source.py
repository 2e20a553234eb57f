"""Which code made a run: the strategy's file and every module of its project that it imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def source_of(strategy: type) -> str | None:
    """Return the text of the file that defines the class (of the class alone, in a notebook), None if unknown."""
    path = _file(strategy.__module__)
    try:
        return path.read_text(encoding="utf-8") if path is not None else inspect.getsource(strategy)
    except (OSError, TypeError):
        return None


def hashes(strategy: type) -> dict[str, str]:
    """Return the sha256 of each project-local module that the strategy's module imports, itself included.

    Imports are followed through all of them, also those within a function, which are loaded only when it is called,
    and the packages that hold them; what a name makes at run time (importlib) is not seen. Local is what lies in the
    same folder tree as the strategy's top package and in no site-packages.
    """
    first = _file(strategy.__module__)
    if first is None:
        text = source_of(strategy)
        return {} if text is None else {strategy.__module__: _sha(text.encode())}
    root = first.parents[strategy.__module__.count(".") + (first.name == "__init__.py")]
    found: dict[str, str] = {}
    todo = [strategy.__module__]
    while todo:
        name = todo.pop()
        path = _file(name) or _unloaded(name, root)
        if name in found or path is None or not path.is_relative_to(root) or "site-packages" in path.parts:
            continue
        if name.partition(".")[0] == "quant":
            continue  # the version of the package stands in the run
        code = path.read_bytes()
        found[name] = _sha(code)
        with suppress(SyntaxError):  # of one that is never loaded; it is hashed all the same
            # Of a package's own file, "." is the package itself.
            todo += imports(code, f"{name}.__init__" if path.name == "__init__.py" else name)
        todo += [name.rpartition(".")[0]]  # what holds it is run before it
    return dict(sorted(found.items()))


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file(module: str) -> Path | None:
    loaded: Any = sys.modules.get(module)
    name = getattr(loaded, "__file__", None)
    return Path(name).resolve() if name and Path(name).is_file() and name.endswith(".py") else None


def _unloaded(module: str, root: Path) -> Path | None:
    """Return the file from which a module of the project would be loaded, None where there is none."""
    if not all(part.isidentifier() for part in module.split(".")):
        return None
    place = root.joinpath(*module.split("."))
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


@functools.lru_cache(maxsize=512)  # each is asked for several times in a sweep
def imports(text: bytes, module: str) -> tuple[str, ...]:
    """Return the modules that the source of `module` imports, and what could be modules among the names it takes.

    Raises SyntaxError.
    """
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.rsplit(".", node.level)[0]
                base = f"{package}.{base}" if base else package
            names += [base, *(f"{base}.{a.name}" for a in node.names)]
    return tuple(names)
