"""How a task, its strategy class and the project's own modules reach another process or machine, and answers back.

A class of a script, notebook or prompt travels by value, so a script needs no `if __name__ == "__main__"`. Modules of
the user's own project travel as their source text, read once, and are imported by name where they arrive: a worker
that is started later or elsewhere runs the same code. Installed packages travel as names and must be installed
there. Nothing of this is ever kept in a file.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import pickle
import sys
import sysconfig
import threading
import traceback
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import cloudpickle

from quant.errors import StrategyError

# What backtrader's metaclasses (1.9.78.123) take out of a class body and replace by classes of their own.
REPLACED = ("params", "lines", "plotinfo", "plotlines", "linealias")


@dataclass(frozen=True, slots=True)
class Source:
    """A module of the user's project. text: None for a package that has no file; folders: where a package looks."""

    file: str
    text: str | None
    folders: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Shipment:
    """What `load` makes a value of; made by `pack`, sent through pipes and sockets only."""

    name: str
    payload: bytes
    sources: dict[str, Source]


def pack(value: Any, name: str) -> Shipment:
    """Return `value` ready to be sent to a worker. name: of the strategy, for messages.

    Raises StrategyError where the value holds something that belongs to this process alone.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError, ValueError) as e:
        reason = (
            f"cannot be sent to worker processes: {e}. Its code uses an object that belongs to this process; create "
            "that inside the class, or put the class into a file of strategies/, which workers import"
        )
        raise StrategyError(name, reason) from e
    return Shipment(name, buffer.getvalue(), sources_of(pickler.modules))


def load(shipment: Shipment) -> Any:
    """Return the value that was packed, its modules imported from what was sent.

    Raises StrategyError where that fails, most often for a package that is not installed here.
    """
    with _LOCK:
        _FINDER.offer(shipment.sources)
        try:
            return pickle.loads(shipment.payload)  # noqa: S301  # from our own parent or client
        except ModuleNotFoundError as e:
            reason = f"a worker has no module {e.name}; install it where the workers run"
            raise StrategyError(shipment.name, reason) from e
        except Exception as e:  # importing runs the user's code; whatever it raises is named
            raise StrategyError(shipment.name, f"a worker cannot load it: {type(e).__name__}: {e}") from e


def answer(work: Callable[[], Any]) -> bytes:
    """Return what `work` gives, or the exception that it raises, as bytes for `result`."""
    try:
        return cloudpickle.dumps((True, work()))  # type: ignore[no-any-return]
    except BaseException as e:  # noqa: BLE001  # the outermost call of a worker: all of it is the parent's to raise
        e.add_note(f"in a worker:\n{''.join(traceback.format_exception(e))}")
        return _packed(e)


def result(data: bytes) -> Any:
    """Return what the worker's function returned, or raise what it raised."""
    good, value = pickle.loads(data)  # noqa: S301  # from our own worker
    if good:
        return value
    raise value


def _packed(error: BaseException) -> bytes:
    plain = RuntimeError(f"{type(error).__name__}: {error}")
    plain.__notes__ = error.__notes__
    if not isinstance(error, Exception):
        return pickle.dumps((False, plain))  # SystemExit would end the parent without a word
    try:
        data: bytes = cloudpickle.dumps((False, error))
        pickle.loads(data)  # noqa: S301  # some exceptions only fail here
    except Exception:  # noqa: BLE001  # reducers are anybody's code
        return pickle.dumps((False, plain))
    return data


# ---------------------------------------------------------------- classes by value
class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, which alone fails on classes of backtrader and on `import quant as q`; notes what goes by name."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.modules: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType) and sys.modules.get(obj.__name__) is obj:
            self.modules.add(obj.__name__)  # also a subclass of ModuleType, as `quant` is
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, type | types.FunctionType):
            if importable(obj):
                self.modules.add(obj.__module__)
            elif isinstance(obj, type) and _of_backtrader(obj):
                return _skeleton, _recipe(obj), _state(obj), None, None, _fill
        return super().reducer_override(obj)


def importable(obj: Any) -> bool:
    """Return whether a function or class is what its module has under its name, so that a name tells which it is."""
    module = sys.modules.get(obj.__module__) if obj.__module__ != "__main__" else None
    try:
        return module is not None and attrgetter(obj.__qualname__)(module) is obj
    except AttributeError:  # made inside a function, or the module was imported anew
        return False


def _of_backtrader(obj: Any) -> bool:
    metabase = sys.modules.get("backtrader.metabase")
    return metabase is not None and isinstance(obj, metabase.MetaParams)


def _recipe(cls: Any) -> tuple[Any, ...]:
    """Return what `_skeleton` needs: the body that backtrader's metaclasses take apart, put together again."""
    body: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    body["params"] = dict(cls.params._getpairs())
    if hasattr(cls, "linealias"):  # has lines: a strategy or an indicator, no sizer or analyzer
        lines, first = cls.lines, cls.lines._getlinesbase()
        body["lines"] = tuple(lines._getlines()[len(first) :])
        body["extralines"] = lines._getlinesextra() - lines._getlinesextrabase()
        body["linesoverride"] = not issubclass(
            lines, next(b.lines for b in cls.__mro__[1:] if "lines" in vars(b))
        )
        for name in ("plotinfo", "plotlines", "linealias"):
            body[name] = dict(getattr(cls, name)._getpairs())
    return type(cls), cls.__name__, cls.__bases__, body


def _state(cls: type) -> dict[str, Any]:
    slots = cls.__dict__.get("__slots__", ())
    left_out = {"__dict__", "__weakref__", *REPLACED, *((slots,) if isinstance(slots, str) else slots)}
    return {n: v for n, v in cls.__dict__.items() if n not in left_out and not n.startswith("_abc_")}


def _skeleton(meta: type, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    return types.new_class(name, bases, {"metaclass": meta}, lambda namespace: namespace.update(body))


def _fill(cls: type, state: dict[str, Any]) -> None:
    # After the class itself, so that its methods may refer to it.
    for name, value in state.items():
        setattr(cls, name, value)


# ---------------------------------------------------------------- modules by source
def sources_of(modules: Iterable[str]) -> dict[str, Source]:
    """Return the project's own ones of `modules`, all that these import, and the packages that hold them."""
    found: dict[str, Source] = {}
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        spec = _spec(name)
        if spec is None:
            continue
        folders = None if spec.submodule_search_locations is None else tuple(spec.submodule_search_locations)
        if spec.origin is None or spec.loader is None:  # a package without a file
            found[name] = Source("", None, folders)
        elif is_own(spec.origin):
            code = Path(spec.origin).read_bytes()
            found[name] = Source(spec.origin, importlib.util.decode_source(code), folders)
            todo += _imported(spec.origin, code, f"{name}.__init__" if folders is not None else name)
        if parent and name in found and parent not in found:
            seen.discard(parent)
            todo.append(parent)
    return {name: s for name, s in found.items() if s.text is not None or _holds(name, found)}


def _imported(file: str, code: bytes, module: str) -> tuple[str, ...]:
    from quant.backtest.source import imports  # heavy, and not needed where nothing is the project's own

    try:
        return imports(code, module)
    except SyntaxError as e:  # it was edited since it was imported
        raise StrategyError(module, f"{file} cannot be read any more: {e}") from e


def _holds(package: str, found: dict[str, Source]) -> bool:
    return any(name.startswith(f"{package}.") and s.text is not None for name, s in found.items())


def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    if name.partition(".")[0] in ("quant", "__main__") or name.partition(".")[0] in sys.stdlib_module_names:
        return None
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    parent = name.rpartition(".")[0]
    try:  # imported by a function that has not run yet; to look for it must not import a package
        if parent == "" or parent in sys.modules:
            return importlib.util.find_spec(name)
        within = _spec(parent)
        folders = None if within is None else within.submodule_search_locations
        return None if folders is None else importlib.machinery.PathFinder.find_spec(name, folders)
    except (ImportError, AttributeError, ValueError):
        return None


def is_own(file: str) -> bool:
    """Return whether a module's file is the user's: Python source, of no installed package and not of Python."""
    path = Path(file)
    if path.suffix != ".py" or not path.is_file() or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(sysconfig.get_path(p)) for p in ("stdlib", "platstdlib"))


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Imports modules from the text that was sent, before any that lies on this machine."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def offer(self, sources: dict[str, Source]) -> None:
        """Take `sources` in. If a loaded module is another one, all of them are imported anew."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        if not all(self._is_loaded(name, s) for name, s in sources.items() if name in sys.modules):
            for name in sources:
                sys.modules.pop(name, None)
        # What this process imported by itself stays its own: it may be the one that packed.
        self.sources.update({n: s for n, s in sources.items() if n not in sys.modules})

    def _is_loaded(self, name: str, source: Source) -> bool:
        if name in self.sources:
            return self.sources[name].text == source.text
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or source.text is None:
            return file is None and source.text is None
        return Path(file).is_file() and importlib.util.decode_source(Path(file).read_bytes()) == source.text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        source = self.sources.get(fullname)
        if source is None:
            return None
        folders = None if source.folders is None else list(source.folders)
        if source.text is None:
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = folders
            return spec
        return importlib.util.spec_from_file_location(
            fullname, source.file, loader=self, submodule_search_locations=folders
        )

    def get_source(self, fullname: str) -> str | None:
        return self.sources[fullname].text

    def get_filename(self, fullname: str) -> str:
        return self.sources[fullname].file


_FINDER = _Finder()
_LOCK = threading.RLock()  # a worker of dask computes several chunks at a time
