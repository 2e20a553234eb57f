"""`quant deployments`: what trades where, what was proven of it, and whether it runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant.app import config, output
from quant.app.command import command, data_option
from quant.app.live_control import names_of_all, state_of
from quant.app.output import Result
from quant.errors import ConfigError

if TYPE_CHECKING:
    from quant.errors import QuantError
    from quant.live.run.deployment import Deployment

COLUMNS = ("name", "mode", "account", "strategy", "symbols", "bar", "capital", "gates", "parity", "state")


@command("deployments")
@click.argument("name", required=False)
@data_option
def deployments(name: str | None, data: Path | None) -> Result:
    """List the deployments: what trades where, its gates, its last parity, and whether it runs. NAME: all of one.

    A shadow that has run is listed as NAME.shadow.
    """
    from quant.live.run.lock_file import load

    folder = config.load({"project.data": None if data is None else str(data)}).data
    names = names_of_all(folder) if name is None else [_one(name, folder)]
    documents = [_document(n, *load(_lock(n, folder)), folder) for n in names]
    if not documents:
        return Result({"deployments": []}, ["there is none; begin one: quant paper macd SPY --bar 1m"])
    parts = [output.table(COLUMNS, [_cells(d) for d in documents], right="capital")]
    parts += [f"{d['name']}: {d['error']}" for d in documents if d["error"]]
    if name is None:
        return Result({"deployments": documents}, parts)
    return Result(
        {"deployments": documents}, [*parts, f"  {documents[0]['state']}", *_gate_lines(documents[0])]
    )


def _one(name: str, data: Path) -> str:
    """Return the name of a deployment, or of the shadow of one that has run. Raises ConfigError."""
    from quant.live.run import deployment as locks
    from quant.live.run.shadow import SUFFIX

    if name in names_of_all(data):
        return name
    path = locks.named_lock(name.removesuffix(SUFFIX), data)
    if name.endswith(SUFFIX):
        told = f"it has no shadow yet: quant paper {name.removesuffix(SUFFIX)} --shadow"
        raise ConfigError(str(path), name, told)
    return path.name.removesuffix(".lock.toml")


def _lock(name: str, data: Path) -> Path:
    from quant.live.run import deployment as locks
    from quant.live.run.shadow import SUFFIX

    return locks.lock_path(data, name.removesuffix(SUFFIX))


def _document(name: str, found: Deployment, trouble: QuantError | None, data: Path) -> dict[str, Any]:
    from quant.live.run.control import last_address
    from quant.live.run.deployment import live_folder

    folder = live_folder(data, name)
    mode = None if not found.account else "paper" if found.paper else "live"
    account = found.account
    if name != found.name:  # a shadow may watch from another account
        last = last_address(folder)
        mode, account = "shadow", account if last is None else last.account
    line, parity_error = _last_parity(folder)
    return {
        "name": name, "mode": mode, "account": account, "strategy": found.strategy,
        "symbols": [c.symbol for c in found.contracts], "bar": found.bar, "capital": found.capital,
        "promoted": found.promoted or None, "run": found.run or None,
        "gates": [dataclasses.asdict(gate) for gate in found.gates], "parity": line, "parity_error": parity_error,
        "state": state_of(folder), "lock": str(_lock(name, data)), "error": None if trouble is None else str(trouble),
    }  # fmt: skip


def _last_parity(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the newest session of the running record, or what is wrong with it."""
    from quant.promotion.gates.sessions import RECORD

    path = folder / RECORD
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        # Of a day that was compared twice the later line counts.
        newest = max(enumerate(rows), key=lambda row: (str(row[1]["day"]), row[0]), default=None)
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, KeyError, TypeError) as e:
        return None, f"{path.name} cannot be read: {e}"
    return (None if newest is None else newest[1]), None


# ---------------------------------------------------------------- in words
def _cells(d: dict[str, Any]) -> tuple[str, ...]:
    state = str(d["state"]).partition("; ended: ")[0]  # how it ended is long: `quant status` and NAME tell it
    state = state if d["error"] is None else f"{state}; its lock file is refused, see below"
    return (
        d["name"], d["mode"] or "-", d["account"] or "-", d["strategy"], " ".join(d["symbols"]), d["bar"],
        f"{d['capital']:,.0f}" if d["strategy"] else "-", _gates(d), _parity(d), state,
    )  # fmt: skip


def _gates(d: dict[str, Any]) -> str:
    """Return how the gates of the last step stand; a deployment that was begun without has none."""
    gates = [gate for gate in d["gates"] if gate["stage"] == d["promoted"]]
    if not gates:
        return "none"
    passed = sum(gate["outcome"] == "pass" for gate in gates)
    over = sum(bool(gate["override"]) for gate in gates)
    return f"{passed} of {len(gates)}" + (f", {over} overridden" if over else "")


def _parity(d: dict[str, Any]) -> str:
    line = d["parity"]
    if line is None:
        return "-" if d["parity_error"] is None else d["parity_error"]
    return f"{line['day']} {'ok' if line.get('ok') is True else 'not ok'}"


def _gate_lines(d: dict[str, Any]) -> list[str]:
    lines = [
        f"  {gate['stage']:<6} {gate['outcome']:<8} {gate['name']}: {gate['sentence']}"
        + (f" (overridden: {gate['override']})" if gate["override"] else "")
        for gate in d["gates"]
    ]
    return ["", *lines] if lines else ["", "  It was begun without gates: quant promote RUN --to paper"]
