"""Saved sweeps: from a folder back to a Sweep, the list of those that there are, and what made one, found again.

A folder holds settings and rows, neither code nor bars: to run a row again the strategy and the bars are looked up
by name, and refused where they are no longer those of the sweep.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import backtrader as bt
import numpy as np
import pandas as pd

from quant.backtest import source
from quant.core.bars import Bars
from quant.core.barsize import bar_size
from quant.core.calendar import calendar
from quant.core.finding import Finding
from quant.errors import DamagedData, DataError, StrategyError, WriteFailed
from quant.research import chunks as files
from quant.research.grid import Combinations
from quant.research.proof.columns import Columns
from quant.research.result import FAILED, Sweep
from quant.research.returns import IN_MEMORY, Filed, counted, lost_chunk, stacked
from quant.research.task import Row
from quant.research.verify import Verification
from quant.store import bars as bars_of_store
from quant.store.folder import data_folder
from quant.store.query import named
from quant.strategy import strategy

NOT_SETTINGS: Final = frozenset(
    {"chunks", "findings", "created", "done", "key", "seconds", "verified"}
)  # of sweep.json
REPORT: Final = "report.html"
COLUMNS: Final = (
    "sweep", "created", "strategy", "bars", "parameters", "combinations", "done", "held", "sharpe", "first", "last",
)  # fmt: skip


class UnfinishedSweep(DataError):  # noqa: N818  # named by its cause, as those of quant/errors.py
    """A sweep that was interrupted, or whose rows backtrader did not confirm."""

    def __init__(self, folder: str, held: int) -> None:
        super().__init__(
            f"sweep {folder} is not finished; {held:,} chunks of it are kept. Make the same call again: it goes on "
            "from there"
        )
        self.folder = folder
        self.held = held


class BarsNotFound(DataError):  # noqa: N818
    """The bars of a saved sweep are not in the store, or no longer the same."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"bars of {name}: {reason}. With bars of your own: q.backtest(strategy, bars, params=sweep.best())"
        )
        self.name = name
        self.reason = reason


# ---------------------------------------------------------------- one of them
def load_sweep(name: str | Path, data: str | Path | None = None) -> Sweep:
    """Return a saved sweep: of its folder, its name, or a part of the name that only it has.

    It can do all that a fresh one can. `run` looks the strategy up by name and the bars in the store, and refuses
    them where they have changed since; its trials are those counted when it was made.
    Raises SweepNotFound, UnfinishedSweep, DamagedData.
    """
    folder = files.find_sweep(name, data)
    facts = files.load_sweep_facts(folder)
    if not facts.get("done"):
        raise UnfinishedSweep(folder.name, len(_chunk_files(folder)))
    try:
        combos, rows, returns = _rows(folder, facts["chunks"])
        if len(rows) != facts["combinations"]:
            told = f"it tells of {facts['combinations']:,} combinations, its chunks hold {len(rows):,}"
            raise DamagedData(str(folder / files.FACTS), told, files.MEND)
        whole = Combinations(tuple(facts["grid"]), combos, facts["dropped"], len(combos) + facts["dropped"])
        # What failed is counted anew, from the rows.
        findings = tuple(Finding(**f) for f in facts["findings"] if f["code"] != FAILED)
        settings = {k: v for k, v in facts.items() if k not in NOT_SETTINGS}
        at_home = folder.resolve().parent.name == "sweeps"
        home = folder.resolve().parents[1] if data is None and at_home else data_folder(data)
        return Sweep.of(
            None, whole, rows, settings, findings, Verification(**facts["verified"]), facts["seconds"], folder, home,
            returns,
        )  # fmt: skip
    except (KeyError, TypeError) as e:
        reason = f"it lacks what this version reads ({type(e).__name__}: {e})"
        raise DamagedData(str(folder / files.FACTS), reason, files.MEND) from e


def _rows(folder: Path, names: Sequence[str]) -> tuple[list[dict[str, Any]], list[Row], Columns]:
    """Return combinations, rows and returns of all chunks. Raises DamagedData for one that is missing or damaged."""
    combos: list[dict[str, Any]] = []
    rows: list[Row] = []
    edges, size, dropped = [0], 0, 0
    for name in names:
        path = files.chunk_path(folder, name)
        found = files.read_whole(path, name)
        if found is None or isinstance(found, files.Damage):
            raise lost_chunk(path, found)
        combos += found[0]
        rows += found[1]
        edges.append(len(rows))
        size += sum(r.returns.nbytes for r in found[1] if r.returns is not None)
        if size > IN_MEMORY:
            rows[dropped:] = [counted(r) for r in rows[dropped:]]
            dropped = len(rows)
    if not dropped:
        return combos, rows, stacked(rows)
    longest = max(len(r.returns) for r in rows if r.returns is not None)
    return combos, rows, Filed(folder, tuple(names), tuple(edges), longest)


def _chunk_files(folder: Path) -> list[Path]:
    return sorted((folder / "chunks").glob(f"*{files.ENDING}"))


def remove_sweep(name: str | Path, data: str | Path | None = None) -> Path:
    """Remove a saved sweep and return the folder that it had; files of others in it, and then the folder, stay.

    What was tried stays in the ledger of trials. Raises SweepNotFound, WriteFailed.
    """
    folder = files.find_sweep(name, data)
    try:
        if (folder / "chunks").is_dir():
            shutil.rmtree(folder / "chunks")
        (folder / REPORT).unlink(missing_ok=True)
        (
            folder / files.FACTS
        ).unlink()  # last: what was left in the middle is still found, and removed next time
        if not any(folder.iterdir()):
            folder.rmdir()
    except OSError as e:
        raise WriteFailed(str(folder), e.strerror or str(e)) from e
    return folder


# ---------------------------------------------------------------- all of them
def sweeps(data: str | Path | None = None) -> pd.DataFrame:
    """Return a row for each saved sweep, oldest first.

    created: UTC. done: False where it was interrupted. held: chunks that are kept. sharpe: the best one, NaN where
    none has any. A folder that cannot be read gives a row whose `strategy` says so; it stops nothing.
    """
    rows = [_listed(folder) for folder in files.sweep_folders(data_folder(data))]
    rows.sort(key=lambda row: (str(row.get("created", "")), row["sweep"]))
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    found["created"] = pd.to_datetime(
        found["created"], utc=True, format="ISO8601"
    )  # with and without fractions
    return found


def _listed(folder: Path) -> dict[str, Any]:
    try:
        facts = files.load_sweep_facts(folder)
        bars = facts["bars"]
        return {
            "sweep": folder.name, "created": facts["created"], "strategy": facts["strategy"]["class"],
            "bars": ", ".join(f"{b['instrument']['symbol']} {b['bar']}" for b in bars),
            "parameters": ", ".join(facts["grid"]), "combinations": facts["combinations"], "done": facts["done"],
            "held": len(_chunk_files(folder)), "sharpe": _best_sharpe(folder),
            "first": min(b["first"] for b in bars), "last": max(b["last"] for b in bars),
        }  # fmt: skip
    except (DataError, KeyError, TypeError, ValueError):
        return {"sweep": folder.name, "strategy": "(damaged)", "combinations": 0, "done": False, "held": 0}


def _best_sharpe(folder: Path) -> float:
    """Return the highest Sharpe ratio of all chunks; of files that cannot be read, nothing: a list is no check."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    best = -math.inf
    for path in _chunk_files(folder):
        try:
            values = pq.read_table(path, columns=["sharpe"], use_threads=False)["sharpe"].to_numpy()
        except (pa.ArrowException, OSError, ValueError, KeyError):
            continue
        values = values[np.isfinite(values)]
        best = max(best, float(np.max(values))) if len(values) else best
    return best if math.isfinite(best) else math.nan


# ---------------------------------------------------------------- what made it
def found_again(
    settings: Mapping[str, Any], data: Path | None
) -> tuple[type[bt.Strategy], tuple[Bars, ...], dict[str, Any]]:
    """Return strategy, bars and the other arguments of q.backtest that a saved sweep was made with.

    Raises StrategyError or BarsNotFound where they are gone or have changed.
    """
    known = settings["strategy"]
    if settings["own_costs"] is not None:
        reason = f"its costs are code, {settings['costs']}, which a saved sweep does not hold"
        raise StrategyError(known["class"], f"{reason}; give them to q.backtest, with params=sweep.best()")
    names = ("cash", "costs", "sizing", "slippage", "borrow", "start_rule")
    return (
        _strategy(known),
        tuple(_bars(fact, data) for fact in settings["bars"]),
        {name: settings[name] for name in names},
    )


def _strategy(known: Mapping[str, Any]) -> type[bt.Strategy]:
    name = known["class"]
    if known["module"] == "__main__":
        reason = "was defined in a script or notebook, which a saved sweep does not hold"
        raise StrategyError(name, f"{reason}; give the class to q.backtest, with params=sweep.best()")
    cls = strategy(f"{known['module']}:{name}")
    now = source.hashes(cls)
    if now != known["sources"]:
        changed = sorted(m for m in {*now, *known["sources"]} if now.get(m) != known["sources"].get(m))
        reason = f"has changed since the sweep ({', '.join(changed)}), whose rows are those of the old code"
        raise StrategyError(name, f"{reason}. Sweep it again, or q.backtest it with params=sweep.best()")
    return cls


def _bars(fact: Mapping[str, Any], data: Path | None) -> Bars:
    name = f"{fact['instrument']['symbol']} {fact['bar']}"
    try:
        found = bars_of_store(
            named(fact["instrument"]), fact["bar"], fact["first"], fact["last"], what=fact["what"],
            rth=fact["rth"], source=fact["source"], data=data,
        )  # fmt: skip
    except DataError as e:
        raise BarsNotFound(name, f"those of the sweep are not in the store ({e})") from e
    if found.fingerprint != fact["fingerprint"]:
        prints = f"fingerprint {found.fingerprint[:12]}, not {fact['fingerprint'][:12]}"
        raise BarsNotFound(name, f"those in the store are not those of the sweep ({prints}): sweep again")
    return found


def periods_per_year(bars: Sequence[Mapping[str, Any]]) -> float:
    """Return periods a year of the finest of a sweep's feeds, from their facts: as Bars.periods_per_year."""
    fact = min(bars, key=lambda b: bar_size(b["bar"]).ns)
    unit = bar_size(fact["bar"]).unit
    if unit in ("w", "mo"):
        return 52.0 if unit == "w" else 12.0
    name = fact["instrument"]["calendar"]
    if name is None:
        return 252.0
    first, last = (np.datetime64(fact[end], "D") for end in ("first", "last"))
    return calendar(name, int(fact["first"][:4]), int(fact["last"][:4])).per_year(first, last)
