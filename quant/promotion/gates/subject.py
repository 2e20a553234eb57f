"""What is to be promoted: a saved run as it was, with strategy and bars; refused where any of it has changed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import backtrader as bt

from quant.backtest import load_run, source
from quant.backtest.again import bars_of, params_of
from quant.backtest.folder import find_run, folders, read_facts
from quant.backtest.result import Run
from quant.backtest.seal import edited
from quant.core import costs as cost_tables
from quant.core.bars import Bars
from quant.errors import (
    DamagedData,
    DataError,
    NothingToPromote,
    ParameterError,
    RunNotFound,
    StrategyError,
    SweepNotFound,
)
from quant.live.run.deployment import deployments
from quant.research.saved import load_sweep
from quant.strategy import lookup, parameters, strategy


class BarsChanged(DataError):  # noqa: N818  # named by its cause, as those of quant/errors.py
    """The bars of a run are no longer in the store, or others now."""

    def __init__(self, run: str, name: str, reason: str) -> None:
        super().__init__(
            f"bars of {name}: {reason}. What was not traded on them proves nothing: backtest again"
        )
        self.run = run
        self.name = name
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A run that is to be promoted. name: of the strategy, as a lock has it. params: all. spans: (first, last) starts.

    facts: what run.json says of each feed's bars.
    """

    run: Run
    folder: Path
    strategy: type[bt.Strategy]
    name: str
    params: dict[str, Any]
    bars: tuple[Bars, ...]
    facts: tuple[dict[str, Any], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """All that made the run."""
        return self.run.settings


def subject(given: str | Path, data: Path, row: int | str | None = None, metric: str = "sharpe") -> Subject:
    """Return what a run, or a row of a sweep, is made of. A row of a sweep becomes a saved run.

    row: of a sweep's table, or "best" by `metric`; None: `given` names a run, or a sweep whose best row is meant.
    Raises NothingToPromote, SweepNotFound, DamagedData (edited since it was saved), StrategyError and BarsChanged
    (gone, or changed), ParameterError.
    """
    folder = _folder(given, data, row, metric)
    what = edited(folder)
    if what:
        raise DamagedData(str(folder), f"edited since it was saved: {', '.join(what)}", "Make the run again")
    run = load_run(folder, data)
    known = run.settings
    cls, name = _strategy(known["strategy"])
    _check_can_trade(known)
    params = dict(parameters(cls, params_of(cls, known["params"])))
    bars = _bars(run, folder, data)
    compared = run.again(data)
    if not compared.same:
        told = "made again, on the same bars and with the same code, it gives other results"
        raise DamagedData(str(folder), told, f"See what differs: quant runs again {folder.name}")
    return Subject(run, folder, cls, name, params, bars, tuple(read_facts(folder)["bars"]))


def _folder(given: str | Path, data: Path, row: int | str | None, metric: str) -> Path:
    if row is not None:
        return _of_sweep(given, data, row, metric)
    try:
        return find_run(given, data)
    except RunNotFound as no_run:
        try:
            return _of_sweep(given, data, "best", metric)
        except SweepNotFound as no_sweep:
            close = [*no_run.near, *no_sweep.near]
            raise NothingToPromote(str(given), str(data), close, _instead(str(given), data)) from None


def _instead(given: str, data: Path) -> str:
    """Return what a name means that is of no run, "" for nothing."""
    if given in lookup.names():
        return f"{given} is a strategy; backtest it, and promote that run: quant backtest {given} SYMBOL"
    if given in deployments(data):
        return f"{given} is a deployment; to real money: quant promote {given} --to live"
    return ""


def _of_sweep(given: str | Path, data: Path, row: int | str, metric: str) -> Path:
    """Return the folder of a row's run: the one that is there, else a new one."""
    sweep = load_sweep(given, data)
    number = sweep.best_row(metric) if row == "best" else row
    if isinstance(number, int) and 0 <= number < len(sweep.combos):
        wanted = _key(sweep.settings, sweep.combos[number])
        for folder in reversed(folders(data / "runs")):
            with suppress(DataError, KeyError, TypeError):
                facts = read_facts(folder)
                if _key(facts, facts["params"]) == wanted and edited(folder) == []:
                    return folder
    run = sweep.run(row, metric=metric)
    assert run.folder is not None  # noqa: S101  # for mypy: `run` saves
    return run.folder


def _key(settings: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """Return what makes two runs the same, as text."""
    known = settings["strategy"]
    facts = {
        "code": [known["class"], known["module"], known["sources"]], "params": dict(params),
        "bars": [fact["fingerprint"] for fact in settings["bars"]],
        **{name: settings[name] for name in ("cash", "costs", "sizing", "slippage", "borrow", "start_rule")},
    }  # fmt: skip
    return json.dumps(facts, sort_keys=True, default=str)


def _strategy(known: dict[str, Any]) -> tuple[type[bt.Strategy], str]:
    """Return the class and its name in a lock, which must be as it was."""
    module, cls_name = known["module"], known["class"]
    if module == "__main__":
        told = "was defined in a script or notebook, which nothing can trade from; write it into strategies/"
        raise StrategyError(cls_name, told)
    cls = strategy(f"{module}:{cls_name}")
    _check_here(cls, module)
    now = source.hashes(cls)
    changed = sorted(m for m in {*now, *known["sources"]} if now.get(m) != known["sources"].get(m))
    if changed:
        told = (
            f"has changed since the run ({', '.join(changed)}), which says nothing of the code as it is now"
        )
        raise StrategyError(cls_name, f"{told}. Backtest it again, and promote that run")
    folder, _, plain = module.rpartition(".")
    return cls, plain if folder == lookup.FOLDER and plain in lookup.names() else f"{module}:{cls_name}"


def _check_here(cls: type[bt.Strategy], module: str) -> None:
    """Raise StrategyError for a strategy of another project, found on Python's path where this one has it no more."""
    folder = lookup.strategy_folder()
    if module.partition(".")[0] != lookup.FOLDER:
        return
    path = Path(inspect.getfile(cls)).resolve()
    if not path.is_relative_to(folder.resolve()):
        told = f"is gone: {folder} has no {module.partition('.')[2]} any more, and {path} is another one's"
        raise StrategyError(cls.__name__, f"{told}. Put it back")


def _check_can_trade(known: dict[str, Any]) -> None:
    """Raise ParameterError for what a deployment cannot be."""
    kinds = {(fact["bar"], fact["what"], fact["rth"]) for fact in known["bars"]}
    if len(kinds) > 1:
        raise ParameterError("bars", sorted(map(str, kinds)), "a deployment has bars of one size and kind")
    ((_, what, _),) = kinds
    if what == "ADJUSTED_LAST":
        raise ParameterError("what", what, "no such bars come live; backtest TRADES")
    try:
        cost_tables.costs(known["costs"])
    except ParameterError:
        told = "are code, which no lock file can hold; backtest it with costs by name"
        raise ParameterError("costs", known["costs"], told) from None


def _bars(run: Run, folder: Path, data: Path) -> tuple[Bars, ...]:
    try:
        found = bars_of(run, folder, data)
    except DataError as e:
        names = ", ".join(fact["name"] for fact in run.settings["bars"])
        raise BarsChanged(folder.name, names, f"those of the run are not in the store ({e})") from e
    for bars, fact in zip(found, run.settings["bars"], strict=True):
        if bars.fingerprint != fact["fingerprint"]:
            told = f"fingerprint {bars.fingerprint[:12]} in the store, {fact['fingerprint'][:12]} in the run"
            raise BarsChanged(folder.name, fact["name"], told)
    return found
