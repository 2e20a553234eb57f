"""What decides a strategy's signals beyond the text of its project, as one hash that is the same in every process.

That is what its functions and classes hold and name while they run: closures, defaults, attributes, the globals of
their modules, their compiled code; and modules of the user's own that lie outside the project. Code of installed
packages is known by name and version. What modules have read when they were loaded is known by what they hold. What
has no value that can be hashed, or is read while signals are computed, makes the state unknown: who asks must then
take nothing for equal.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import sys
import types
import warnings
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.backtest.result import bars_facts
from quant.backtest.source import imports
from quant.core.bars import Bars
from quant.errors import StrategyError
from quant.research.workers.shipping import importable, is_own, sources_of
from quant.store import bars

SCALARS: Final = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, range, type(...), type(NotImplemented)}
)
LOCKS: Final = frozenset({"lock", "RLock"})  # of the module _thread: they decide no signal
WRAPPERS: Final[dict[type, tuple[str, ...]]] = {  # of code: where they hold it
    staticmethod: ("__func__",), classmethod: ("__func__",), types.MethodType: ("__func__", "__self__"),
    property: ("fget", "fset", "fdel"), functools.cached_property: ("func",),
    functools._lru_cache_wrapper: ("__wrapped__",),  # what it has kept follows from it
}  # fmt: skip
# Of a class: what says nothing of what it does, or differs from run to run; `plots` is for the report alone.
LEFT_OUT: Final = frozenset({
    "__dict__", "__weakref__", "__doc__", "__annotations__", "__annotate__", "__annotate_func__",
    "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__dataclass_fields__",
    "__dataclass_params__", "__repr__", "_abc_impl", "plots",
})  # fmt: skip
# Builtins that reach what no name tells of, and what else reads a file, the environment or the net.
BUILTINS: Final = {
    "exec": "it runs text as code", "eval": "it runs text as code", "__import__": "it imports by text",
    "globals": "it looks globals up by text", "open": "it reads a file",
}  # fmt: skip
READS: Final = frozenset({
    "read_csv", "read_parquet", "read_feather", "read_json", "read_excel", "read_pickle", "read_hdf", "read_sql",
    "read_sql_query", "read_sql_table", "read_table", "read_fwf", "read_orc", "read_html", "read_xml", "scan_csv",
    "scan_parquet", "read_text", "read_bytes", "read", "readline", "readlines", "loadtxt", "genfromtxt", "fromfile",
    "memmap", "urlopen", "import_module", "environ", "environb", "getenv", "getenvb",
})  # fmt: skip
BY_TEXT: Final = frozenset({"getattr", "hasattr", "vars", "attrgetter"})  # take names as text
LOOKED_AT: Final = frozenset(
    {"bars", "load"}
)  # attributes that read, of the store and of packages such as numpy


@dataclass(frozen=True, slots=True)
class State:
    """digest: sha256, equal where all that was reached is. unknown: what has no value of its own, None = nothing."""

    digest: str
    unknown: str | None


def state_of(value: Any) -> State:
    """Return the state of a strategy class, or of other code of the user's, as it is now."""
    reader = _Reader()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of things that will not be copied any more one day
        try:
            reader.read(value)
        except RecursionError:
            reader.unknown.append("a value that is nested too deeply")
    return State(reader.digest.hexdigest(), reader.unknown[0] if reader.unknown else None)


class _Reader:
    """Goes through all that a value leads to, in an order that depends on it alone, and hashes it on the way."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.unknown: list[str] = []
        self._seen: dict[int, int] = {}  # of an object: its number
        self._kept: list[Any] = []  # so that no other object takes its id
        self._todo: deque[Any] = deque()
        self._modules: dict[str, types.ModuleType] = {}  # the user's own that were reached
        self._sources: set[str] = set()  # names of modules, their text counts
        self._late: set[str] = set()  # names of modules that functions import and that are not loaded yet
        self._names: set[str] = set()  # that the user's functions use
        self._packages: set[str] = set()
        self._own: dict[str, bool] = {}
        self._at = ""

    def read(self, value: Any) -> None:
        self._value(value)
        done: set[tuple[str, str]] = set()
        while True:
            while self._todo:
                self._code_of(self._todo.popleft())
            new = [
                (m, n)
                for m in self._modules
                for n in sorted(self._names & vars(self._modules[m]).keys())
                if (m, n) not in done
            ]
            if not new:
                break
            done.update(new)
            for module, name in new:
                self._at = f"{module}.{name}"
                self._put("attribute", self._at)
                self._value(vars(self._modules[module])[name])
        try:
            for name, text in _texts(self._sources):
                self._put("source", name, text)
            for name, text in _texts(self._late):
                if name not in sys.modules:
                    self._unloaded(name, text)
        except StrategyError as e:
            self.unknown.append(str(e))
        for name in sorted(self._packages):
            self._put("package", name, _version(name))

    def _put(self, *parts: str | bytes) -> None:
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            self.digest.update(b"%d:" % len(data))
            self.digest.update(data)

    def _no_value(self, reason: str) -> None:
        self.unknown.append(f"{self._at}: {reason}" if self._at else reason)

    # ---------------------------------------------------------------- values
    def _value(self, v: Any) -> None:
        kind = type(v)
        if kind in SCALARS:
            self._put(kind.__name__, hex(v) if kind is int else repr(v))
        elif kind is tuple:
            self._many("tuple", v)
        elif kind in (set, frozenset):
            self._put(kind.__name__, *sorted(_alone(item, self) for item in v))
        elif isinstance(v, np.ndarray | np.generic) and kind.__module__ == "numpy":
            self._array(np.asarray(v))
        elif isinstance(v, np.dtype):
            self._put("dtype", repr(v.descr))
        elif kind.__module__ == "_thread" and kind.__name__ in LOCKS:
            self._put("lock")
        elif id(v) in self._seen:
            self._put("again", str(self._seen[id(v)]))
        else:
            self._seen[id(v)] = len(self._seen)
            self._kept.append(v)
            self._object(v, kind)

    def _many(self, kind: str, items: Iterable[Any]) -> None:
        listed = list(items)
        self._put(kind, str(len(listed)))
        for item in listed:
            self._value(item)

    def _array(self, a: Any) -> None:
        self._put("array", repr(a.dtype.descr), repr(a.shape))
        if a.dtype.hasobject:
            self._many("objects", a.ravel().tolist())
        else:
            self._put(a.tobytes())

    def _object(self, v: Any, kind: type) -> None:
        if kind is list:
            self._many("list", v)
        elif kind in (dict, types.MappingProxyType, OrderedDict):
            self._many(kind.__name__, (x for pair in v.items() for x in pair))
        elif isinstance(v, Bars):
            self._put("of the market", repr(bars_facts([v])))
        elif isinstance(v, types.ModuleType):
            self._module(v)
        elif isinstance(v, type | types.FunctionType):
            self._code_by_name(v)
        elif isinstance(v, types.CodeType):
            self._code(v)
        elif kind in WRAPPERS:
            self._many(kind.__name__, (getattr(v, name) for name in WRAPPERS[kind]))
        elif kind.__module__.partition(".")[0] == "numba":
            self._many("numba", (getattr(v, "py_func", getattr(v, "_dispatcher", kind)),))
        elif isinstance(v, types.MemberDescriptorType | types.GetSetDescriptorType):
            self._put("slot", v.__name__)
        else:
            self._parts(v, kind)

    def _parts(self, v: Any, kind: type) -> None:
        """Take any other object as pickle would: by what makes it, and its state."""
        try:
            reducer = copyreg.dispatch_table.get(kind)
            made: Any = v.__reduce_ex__(4) if reducer is None else reducer(v)
            if isinstance(made, str):
                self._put("global", str(getattr(v, "__module__", None)), made)
                return
            parts = [p if not isinstance(p, Iterator) else list(p) for p in made]
        except Exception:  # noqa: BLE001  # reducers are anybody's code
            self._no_value(f"a {kind.__module__}.{kind.__qualname__} has no value that can be compared")
            return
        self._kept.append(parts)
        self._many("object", parts)

    # ---------------------------------------------------------------- code
    def _is_own(self, module: str) -> bool:
        """Return whether a module is the user's: of no installed package, nor of Python."""
        if module not in self._own:
            top = module.partition(".")[0]
            if top in ("quant", "builtins") or (top != "__main__" and top in sys.stdlib_module_names):
                self._own[module] = False
            else:
                loaded = sys.modules.get(module)
                file = getattr(loaded, "__file__", None)
                self._own[module] = loaded is None or module == "__main__" or file is None or is_own(file)
                if not self._own[module]:
                    self._packages.add(top)
        return self._own[module]

    def _module(self, m: types.ModuleType) -> None:
        self._put("module", m.__name__)
        if self._is_own(m.__name__):
            self._modules[m.__name__] = m
            self._sources.add(m.__name__)

    def _code_by_name(self, v: Any) -> None:
        module = str(v.__module__)
        self._put("code", module, v.__qualname__)
        if self._is_own(module) or not importable(v):
            self._sources.add(module)
            self._todo.append(v)

    def _code_of(self, v: Any) -> None:
        self._at = f"{v.__module__}.{v.__qualname__}"
        if isinstance(v, type):
            self._class(v)
        else:
            self._function(v)

    def _class(self, cls: type) -> None:
        at = self._at
        self._many("class", (type(cls), *cls.__bases__))
        for name, v in vars(cls).items():
            if name in LEFT_OUT:
                continue
            self._at = f"{at}.{name}"
            self._put(name)
            if hasattr(v, "_getpairs"):  # backtrader's params and the like, a class that it made for this one
                self._value(dict(v._getpairs()))
            elif name == "lines" and hasattr(v, "_getlines"):
                self._value(tuple(v._getlines()))
            else:
                self._value(v)

    def _function(self, f: types.FunctionType) -> None:
        at = self._at
        self._code(f.__code__)
        self._many("function", (f.__defaults__, f.__kwdefaults__, f.__dict__))
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            self._at = f"{at}.{name}"
            try:
                self._value(cell.cell_contents)
            except ValueError:
                self._put("empty")
        self._at = at
        if not self._is_own(str(f.__module__)):
            return  # what an installed package names is its own; its version tells
        asked, named, imported, attributes = _asked(f.__code__)
        self._names |= named
        for name in asked:
            if name in f.__globals__:
                self._at = f"{f.__module__}.{name}"
                self._put("global", name)
                self._value(f.__globals__[name])
            elif name in BUILTINS:
                self._at = at
                self._no_value(BUILTINS[name])
        self._at = at
        for name in sorted(named & READS):
            self._no_value(f"{name} takes what no name tells of")
        taken = [(f.__globals__.get(n), attribute) for n, attribute in attributes]
        if any(getattr(v, a, None) is bars for v, a in taken) or any(
            f.__globals__.get(n) is bars for n in asked
        ):
            self._no_value("it takes other bars from the store")
        if any(
            a == "load" and isinstance(v, types.ModuleType) and not self._is_own(v.__name__) for v, a in taken
        ):
            self._no_value("load takes what no name tells of")
        self._imported(imported, str(f.__globals__.get("__package__") or ""))

    def _imported(self, names: list[str], package: str) -> None:
        """Take what a function of the package imports when it runs."""
        parts = package.split(".")
        holders = [".".join(parts[:k]) for k in range(len(parts) + 1)]  # of relative imports
        for full in dict.fromkeys(f"{holder}.{name}".strip(".") for name in names for holder in holders):
            self._sources.add(full)
            if full in sys.modules:
                self._value(sys.modules[full])
            else:
                self._late.add(full)

    def _unloaded(self, name: str, text: str) -> None:
        """Look at a module that is loaded only when signals are computed: what it then reads, no value tells of."""
        asked, named, _, attributes = _asked(compile(text, name, "exec", dont_inherit=True))
        reads = [*(n for n in asked if n in BUILTINS), *sorted(named & READS), *(a for _, a in attributes)]
        if reads:
            self._at = name
            self._no_value(
                f"it is not loaded before signals are computed, and {reads[0]} takes what no name tells of"
            )

    def _code(self, c: types.CodeType) -> None:
        sizes = (c.co_argcount, c.co_posonlyargcount, c.co_kwonlyargcount, c.co_flags)
        self._put("code", c.co_code, c.co_exceptiontable)
        self._many("names", (sizes, c.co_names, c.co_varnames, c.co_freevars, c.co_cellvars))
        for const in c.co_consts:
            if isinstance(const, types.CodeType):
                self._code(const)
            else:
                self._value(const)


def _alone(item: Any, reader: _Reader) -> bytes:
    """Return the hash of a member of a set: sets have no order of their own."""
    other = _Reader()
    other.read(item)
    reader.unknown += other.unknown
    return other.digest.digest()


@functools.lru_cache(maxsize=4096)
def _asked(code: types.CodeType) -> tuple[list[str], frozenset[str], list[str], list[tuple[str, str]]]:
    """Return the globals that code and what is defined in it look up, all names it uses, and what it imports.

    That are modules, and what could be modules among the names that are taken from them. And those globals of which
    it takes an attribute that is looked at, with that.
    """
    globals_: set[str] = set()
    names: set[str] = set()
    imported: set[str] = set()
    attributes: set[tuple[str, str]] = set()
    todo = [code]
    while todo:
        c = todo.pop()
        names.update(c.co_names)
        if BY_TEXT.intersection(c.co_names):
            names.update(text for text in c.co_consts if isinstance(text, str))
        last = module = ""
        for op in dis.get_instructions(c):
            if last and op.argval in LOOKED_AT:
                attributes.add((last, str(op.argval)))
            last = ""
            if op.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                last = str(op.argval)
                globals_.add(last)
            elif op.opname == "IMPORT_NAME":
                module = str(op.argval)
                imported.add(module)
            elif op.opname == "IMPORT_FROM":
                imported.add(f"{module}.{op.argval}".strip("."))
        todo += [const for const in c.co_consts if isinstance(const, types.CodeType)]
    return sorted(globals_), frozenset(names), sorted(imported - {""}), sorted(attributes)


def _texts(modules: set[str]) -> list[tuple[str, str]]:
    """Return name and text of the user's own ones of the modules, and of all of his that they import."""
    names = [m for m in modules if m != "__main__"]
    script = getattr(sys.modules["__main__"], "__file__", None)
    if "__main__" in modules and script is not None and Path(script).is_file():
        try:
            names += imports(Path(script).read_bytes(), "__main__")
        except SyntaxError as e:
            raise StrategyError("__main__", f"{script} cannot be read any more: {e}") from e
    return sorted((name, source.text or "") for name, source in sources_of(names).items())


def _version(package: str) -> str:
    """Return the version of an installed package, else when its file was written."""
    module = sys.modules.get(package)
    version = getattr(module, "__version__", None)
    if isinstance(version, str):
        return version
    file = getattr(module, "__file__", None)
    return str(Path(file).stat().st_mtime_ns) if file is not None and Path(file).exists() else ""
