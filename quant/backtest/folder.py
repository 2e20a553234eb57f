"""Run folders: a run at rest, written once, sealed and never changed (DESIGN §4)."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from quant.backtest.notes import NAME as NOTES
from quant.backtest.notes import Note, Notes, read_notes
from quant.backtest.result import Run
from quant.backtest.seal import EDITED, SEAL, edited, seal
from quant.core.finding import Finding
from quant.core.near import near
from quant.errors import DamagedData, ParameterError, RunNotFound, WriteFailed
from quant.store.folder import data_folder

SCHEMA: Final = 1  # of run.json; a reader refuses a later one
TABLES: Final = ("orders", "fills", "trades")
# Of run.json; the rest are the settings.
BESIDE: Final = ("schema", "created", "spans", "positions", "findings")
CHECKED: Final[dict[str, Any]] = {"engine": "pyarrow", "write_page_checksum": True}


def save_run(run: Run, data: Path, at: datetime) -> Path:
    """Write `run` under `data`/runs and return its folder. at: aware, becomes part of the name.

    Everything is written beside and then renamed, so a folder is whole or is not there.
    Raises WriteFailed.
    """
    runs = data / "runs"
    facts = json.dumps(run.settings, sort_keys=True, default=str).encode()
    name = f"{at:%Y%m%d-%H%M%S}-{_snake(run.settings['strategy']['class'])}-{hashlib.sha256(facts).hexdigest()[:8]}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            dir=runs, prefix=".writing-", ignore_cleanup_errors=True
        ) as temporary:
            part = Path(temporary) / "run"
            part.mkdir()
            _write(run, part, at)
            return _rename(part, runs / name)
    except OSError as e:
        raise WriteFailed(str(runs / name), e.strerror or str(e)) from e


def _rename(part: Path, folder: Path) -> Path:
    """Give the folder its name; the same run in the same second gets a number behind it."""
    for number in range(2, 1000):
        target = folder if number == 2 else folder.with_name(f"{folder.name}-{number - 1}")
        if not target.exists():
            os.replace(part, target)
            return target
    raise OSError(f"{folder} exists a thousand times")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _write(run: Run, folder: Path, at: datetime) -> None:
    facts = {
        "schema": SCHEMA,
        "created": at.isoformat(timespec="seconds"),
        **run.settings,
        # Starts of each feed's first and last bar, UTC ns: with the store's history they find the bars again.
        "spans": None if run.bars is None else [[int(b.start[0]), int(b.start[-1])] for b in run.bars],
        "positions": run.positions,
        "findings": [f.to_dict() for f in run.findings],
    }
    _json(folder / "run.json", facts)
    _json(folder / "metrics.json", {k: None if _missing(v) else v for k, v in run.metrics.items()})
    for name in TABLES:
        getattr(run, name).to_parquet(folder / f"{name}.parquet", index=False, **CHECKED)
    pd.DataFrame({"equity": run.equity, "cash": run.cash}).to_parquet(folder / "equity.parquet", **CHECKED)
    run.returns.to_frame().to_parquet(folder / "returns.parquet", **CHECKED)
    if run.source is not None:
        (folder / "strategy.py").write_text(run.source, encoding="utf-8")
    seal(folder)


def _missing(value: float) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _json(path: Path, value: Any) -> None:
    text = json.dumps(_plain(value), indent=1, default=str, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return `value` with infinities and NaN as text: JSON has none, but a parameter may be one."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------- reading
def load_run(folder: str | Path, data: str | Path | None = None) -> Run:
    """Return the run of a folder, of a run's name, or of a part of one. Raises RunNotFound, DamagedData.

    A run whose files were edited since has a finding that names them.
    """
    path = find_run(folder, data)
    facts = read_facts(path)
    try:
        tables = {name: _read_table(path / f"{name}.parquet") for name in TABLES}
        account = _read_table(path / "equity.parquet")
        figures = _read_json(path / "metrics.json")
        source = path / "strategy.py"
        settings = {k: v for k, v in facts.items() if k not in BESIDE}
        return Run(
            settings=settings,
            metrics={k: math.nan if v is None else v for k, v in figures.items()},
            equity=account["equity"],
            cash=account["cash"],
            returns=_read_table(path / "returns.parquet")["return"],
            orders=tables["orders"],
            fills=tables["fills"],
            trades=tables["trades"],
            positions=facts["positions"],
            findings=[*(Finding(**f) for f in facts["findings"]), *_broken_seal(path)],
            source=source.read_text(encoding="utf-8") if source.is_file() else None,
            folder=path,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise DamagedData(str(path), str(e), "Run the backtest again") from e


def _broken_seal(folder: Path) -> list[Finding]:
    what = edited(folder)
    if what is None:
        told = f"there is no {SEAL}, which runs have since 0.1: whether this one was edited is not known"
        return [Finding("run-not-sealed", told, level="note")]
    return [Finding(EDITED, f"edited since it was saved: {', '.join(what)}")] if what else []


def read_facts(folder: Path) -> dict[str, Any]:
    """Return what run.json in `folder` says: the settings, and what BESIDE names. Raises DamagedData."""
    facts = _read_json(folder / "run.json")
    if not isinstance(facts.get("schema"), int):
        raise DamagedData(str(folder), "run.json has no schema version", "Run the backtest again")
    if facts["schema"] > SCHEMA:
        raise DamagedData(
            str(folder), f"its schema {facts['schema']} is newer than {SCHEMA}", "Update quant-ib"
        )
    return facts


def find_run(name: str | Path, data: str | Path | None = None) -> Path:
    """Return the folder of a run, given as a path, its name, or a part of the name that only it has."""
    path = Path(name)
    if (path / "run.json").is_file():
        return path
    runs = data_folder(data) / "runs"
    found = [f for f in folders(runs) if str(name) in f.name]
    exact = [f for f in found if f.name == str(name)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise ParameterError(
            "run", str(name), f"several runs have it: {', '.join(f.name for f in found[:5])}"
        )
    raise RunNotFound(str(name), str(runs), near(str(name), [f.name for f in folders(runs)]))


def folders(runs: Path) -> list[Path]:
    """Return the run folders below `runs`, oldest first."""
    if not runs.is_dir():
        return []
    return sorted(f for f in runs.iterdir() if not f.name.startswith(".") and (f / "run.json").is_file())


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DamagedData(str(path), str(e), "Run the backtest again") from e
    if not isinstance(value, dict):
        raise DamagedData(str(path), "it holds no object", "Run the backtest again")
    return value


def runs(
    data: str | Path | None = None,
    *,
    tag: str | None = None,
    symbol: str | None = None,
    strategy: str | None = None,
) -> pd.DataFrame:
    """Return a row for each saved run, oldest first: name, settings, tags, last note, what was edited, metrics.

    Read from the folders each time. tag, symbol: only runs that have it. strategy: only those of a class or module of
    that name. A folder that cannot be read gives a row whose `strategy` says so; it stops nothing.
    """
    rows = []
    for folder in folders(data_folder(data) / "runs"):
        said = _said(folder)
        try:
            facts, figures = _read_json(folder / "run.json"), _read_json(folder / "metrics.json")
            if _wanted(facts, said, tag, symbol, strategy):
                rows.append({**_row(folder, facts), **_remarks(folder, said), **_figures(figures)})
        except (DamagedData, KeyError, TypeError, IndexError, ValueError, AttributeError):
            if symbol is None and strategy is None and (tag is None or tag in said.tags):
                rows.append({"run": folder.name, "strategy": "(damaged)", **_remarks(folder, said)})
    columns = ["run", "created", "strategy", "params", "bars", "first", "last", "tags", "note", "edited"]
    found = pd.DataFrame(rows)
    return found.reindex(columns=[*columns, *(c for c in found.columns if c not in columns)])


def _row(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": folder.name,
        "created": pd.Timestamp(facts["created"]),
        "strategy": facts["strategy"]["class"],
        "params": " ".join(f"{k}={v}" for k, v in facts["params"].items()),
        "bars": ", ".join(f"{b['instrument']['symbol']} {b['bar']}" for b in facts["bars"]),
        "first": facts["bars"][0]["first"],
        "last": facts["bars"][0]["last"],
    }


def _figures(metrics: dict[str, Any]) -> dict[str, Any]:
    return {k: math.nan if v is None else v for k, v in metrics.items()}


def _said(folder: Path) -> Notes:
    try:
        return read_notes(folder)
    except DamagedData:
        return Notes(notes=(Note("", f"({NOTES} cannot be read)"),))


def _remarks(folder: Path, said: Notes) -> dict[str, Any]:
    what = edited(folder, quick=True)
    return {
        "tags": ", ".join(said.tags),
        "note": said.notes[-1].text if said.notes else "",
        "edited": "" if what is None else ", ".join(what),
    }


def _wanted(
    facts: dict[str, Any], said: Notes, tag: str | None, symbol: str | None, strategy: str | None
) -> bool:
    of, symbols = facts["strategy"], {b["instrument"]["symbol"].casefold() for b in facts["bars"]}
    names = {of["class"].casefold(), of["module"].casefold(), of["module"].rpartition(".")[2].casefold()}
    return (
        (tag is None or tag in said.tags)
        and (symbol is None or symbol.casefold() in symbols)
        and (strategy is None or strategy.casefold() in names)
    )


def prune(data: Path, keep: int) -> list[Path]:
    """Remove all but the newest `keep` runs and return what was removed. One with a tag stays, and is not counted."""
    if keep < 0:
        raise ParameterError("keep", keep, "must be 0 or more")
    old = prunable(data, keep)
    for folder in old:
        shutil.rmtree(folder)
    return old


def prunable(data: Path, keep: int) -> list[Path]:
    """Return the runs without a tag, oldest first, that are not among the newest `keep` of these."""
    # A damaged notes.json may have held a tag: what cannot be read is not thrown away.
    found = [f for f in folders(data / "runs") if not _may_be_tagged(f)]
    return found[: max(len(found) - keep, 0)]


def _may_be_tagged(folder: Path) -> bool:
    try:
        return bool(read_notes(folder).tags)
    except DamagedData:
        return True
