"""A run made again: on its bars as they were known then, with its settings and its own copy of the strategy."""

from __future__ import annotations

import ast
import hashlib
import operator
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import backtrader as bt
import numpy as np
import pandas as pd

from quant.backtest import source
from quant.backtest.compare import Comparison, compare
from quant.backtest.folder import load_run, read_facts, save_run
from quant.backtest.job import AnyCosts
from quant.backtest.result import Run
from quant.backtest.runner import backtest
from quant.core import clock
from quant.core import costs as cost_tables
from quant.core.bars import Bars
from quant.errors import EmptyRange, ParameterError, StrategyError
from quant.store import Series, Store, data_folder
from quant.store.history import iso_ns, versions
from quant.store.query import cut, named
from quant.strategy import defaults, strategy

SECOND: Final = 10**9  # ns; a run says to the second when it was saved
_KEPT: Final = ("cash", "sizing", "slippage", "borrow", "engine", "start_rule")


def again(run: Run, data: str | Path | None = None, *, costs: AnyCosts | None = None) -> Comparison:
    """Run `run` again and return what differs, the old run as a and the new one as b; nothing is saved.

    See Run.again.
    """
    cls, known = _strategy(run)
    with tempfile.TemporaryDirectory() as temporary:
        # What a folder cannot hold exactly (a tuple, infinity) must not count as a difference.
        folder = save_run(run, Path(temporary), clock.now()) if run.folder is None else run.folder
        old = load_run(folder)
        new = backtest(
            cls, bars_of(run, folder, data), params=params_of(cls, run.settings["params"]), costs=_costs(run, costs),
            **{name: old.settings[name] for name in _KEPT}, save=False,
        )  # fmt: skip
        if known is not None:
            new.settings["strategy"] = known
        return compare(old, load_run(save_run(new, Path(temporary), clock.now())))


# ---------------------------------------------------------------- settings
def params_of(cls: type[bt.Strategy], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as they were before JSON, which has neither tuples nor infinities; not those of default."""
    found = {}
    for name, value in given.items():
        default = defaults(cls).get(name)
        if isinstance(default, tuple) and isinstance(value, list):
            value = tuple(value)
        elif not isinstance(default, str) and value in ("inf", "-inf", "nan"):
            value = float(value)
        if value != default:
            found[name] = value
    return found


def _costs(run: Run, given: AnyCosts | None) -> AnyCosts:
    if given is not None:
        return given
    name: str = run.settings["costs"]
    try:
        cost_tables.costs(name)
    except ParameterError:
        reason = "are code, which a run does not keep; give them: q.load_run(name).again(costs=...)"
        raise ParameterError("costs", name, reason) from None
    return name


# ---------------------------------------------------------------- bars
def bars_of(run: Run, folder: Path, data: str | Path | None) -> tuple[Bars, ...]:
    """Return the bars of a run, as the store knew them when it was saved, or the nearest to these.

    folder: of the run. data: data folder, by default the one that `folder` lies in. Raises DataError.
    """
    if run.bars is not None:
        return run.bars
    facts = read_facts(folder)
    if data is None and folder.parent.name == "runs":
        data = folder.parents[1]
    store = Store(data_folder(data))
    spans = facts.get("spans")  # runs of older versions have none
    moment = iso_ns(facts["created"]) + SECOND - 1
    return tuple(
        _feed(store, fact, None if spans is None else spans[i], moment)
        for i, fact in enumerate(facts["bars"])
    )


def _feed(store: Store, fact: Mapping[str, Any], span: tuple[int, int] | None, moment: int) -> Bars:
    """Return the bars that `fact` tells of, as they were at `moment`.

    Where these are not the ones (the run took older ones with as_of=, or a download was writing), those of any
    other moment that have the fingerprint; without such, the ones nearest to the moment.
    """
    rows = fact["rows"]
    series = store.find(named(fact["instrument"]), fact["bar"], fact["what"], fact["rth"], fact["source"])
    known = versions(store.manifest(series).requests)
    earlier, later = [t for t in known if t <= moment], [t for t in known if t > moment]
    nearest: Bars | None = None
    # Bars are never deleted, so going back there are ever fewer of them, and ever more going on.
    for moments, beyond in ((earlier[::-1], operator.lt), (later, operator.gt)):
        for t in moments:
            bars = _read(store, series, fact, span, t)
            if bars.fingerprint == fact["fingerprint"]:
                return bars
            nearest = bars if nearest is None and len(bars) else nearest
            if beyond(len(bars), rows):
                break
    if nearest is None:
        raise EmptyRange(series.name, f"{fact['first']} to {fact['last']}", series.span)
    return nearest


def _read(
    store: Store, series: Series, fact: Mapping[str, Any], span: tuple[int, int] | None, as_of: int
) -> Bars:
    if span is not None:
        return store.read(series, span[0], span[1] + 1, as_of=as_of)
    return cut(store, series, date.fromisoformat(fact["first"]), date.fromisoformat(fact["last"]), as_of)


# ---------------------------------------------------------------- the strategy
def _strategy(run: Run) -> tuple[type[bt.Strategy], dict[str, Any] | None]:
    """Return the class, and what to say of it where it comes from the run's own copy."""
    known = run.settings["strategy"]
    live = _live(known["module"], known["class"]) if run.strategy is None else run.strategy
    if live is not None and run.source in (None, source.source_of(live)):
        return live, None
    if run.source is None:
        reason = "its code was not saved and its module is not there; define the class and call q.backtest"
        raise StrategyError(known["class"], reason)
    module = _copied(run.source, known["module"], known["class"])
    found: type[bt.Strategy] = getattr(module, known["class"])
    names = {name: _hash(name) for name in known["sources"] if name != known["module"]}
    sources = {
        known["module"]: _own_hash(run.source, known),
        **{n: h for n, h in names.items() if h is not None},
    }
    return found, {**known, "sources": sources}


def _live(module: str, name: str) -> type[bt.Strategy] | None:
    """Return the class as the project has it now, None where it has none that can be imported."""
    if module == "__main__":
        found = getattr(sys.modules[module], name, None)
        return found if isinstance(found, type) and issubclass(found, bt.Strategy) else None
    try:
        return strategy(f"{module}:{name}")
    except StrategyError:
        return None


def _copied(text: str, name: str, cls: str) -> ModuleType:
    """Return the module that `text` makes, beside the one of that name: it imports what that one would."""
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    own = f"quant_saved_{mark}" if name == "__main__" else f"{name}_saved_{mark}"
    module = sys.modules[own] = ModuleType(own)  # entered, for backtrader looks up the modules of its classes
    module.__package__ = own.rpartition(".")[0]
    if name == "__main__":
        # Of a notebook there is the class alone, without its imports: the usual names stand in.
        vars(module).update({"q": sys.modules["quant"], "np": np, "pd": pd, "bt": bt})
    try:
        exec(_code(text, script=name == "__main__"), vars(module))  # noqa: S102  # the user's own code, as run before
    except Exception as e:  # the module is the user's code; whatever it raises is named
        told = f"its saved copy cannot be run ({type(e).__name__}: {e})"
        raise StrategyError(cls, f"{told}; define the class and call q.backtest") from e
    if not isinstance(getattr(module, cls, None), type):
        raise StrategyError(cls, "its saved copy has no such class; define it and call q.backtest")
    return module


def _code(text: str, *, script: bool) -> Any:
    """Return the compiled text; of a script only what defines names, for its backtests are not to run again."""
    tree = ast.parse(text, "strategy.py")
    if script:
        tree.body = [node for node in tree.body if _defines(node)]
    return compile(tree, "strategy.py", "exec")


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return False
        return True
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def _own_hash(text: str, known: Mapping[str, Any]) -> str | None:
    """Return the hash of the copy; the recorded one where only the ends of its lines may differ from the file's."""
    recorded: str | None = known["sources"].get(known["module"])
    possible = [hashlib.sha256(t.encode()).hexdigest() for t in (text, text.replace("\n", "\r\n"))]
    return recorded if recorded in possible else possible[0]


def _hash(module: str) -> str | None:
    """Return the hash of a module's file as it is now, None where it was not imported."""
    path = getattr(sys.modules.get(module), "__file__", None)
    return (
        None
        if path is None or not Path(path).is_file()
        else hashlib.sha256(Path(path).read_bytes()).hexdigest()
    )
