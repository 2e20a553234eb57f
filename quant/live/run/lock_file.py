"""Lock files of deployments: TOML, written once and whole, and refused by name where something in them cannot be."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from quant.core.barsize import bar_size
from quant.core.costs import costs
from quant.core.instrument import MARKETS
from quant.core.near import near
from quant.core.sizing import parse_sizing
from quant.core.targets import START_RULES
from quant.core.version import version
from quant.errors import ConfigError, ParameterError, QuantError, WriteFailed
from quant.live.run.deployment import (
    OPEN_WORDS,
    Deployment,
    Examined,
    GateResult,
    Traded,
    check_sealed,
    limits_of,
)
from quant.oms.reconcile.outcome import Start
from quant.store import atomic

SCHEMA: Final = 2  # 1 had a seal over less
KINDS: Final[dict[str, tuple[Any, str]]] = {  # of a field: what it may be, and that in words
    "str": (str, "text"), "str | None": (str | None, "text"), "bool": (bool, "true or false"),
    "int": (int, "a whole number"), "float": (int | float, "a positive number"),
    "float | None": (int | float | None, "a number"), "Mapping[str, Any]": (dict, "a table"),
    "Mapping[str, str]": (dict, "a table"),
}  # fmt: skip
ROWS: Final = {"contracts": Traded, "history": Examined, "gates": GateResult}


def write(deployment: Deployment, path: Path) -> None:
    """Write a lock file, and the seal over what it says. Raises WriteFailed."""
    plain = dataclasses.asdict(dataclasses.replace(deployment, seal=deployment.sealed()))
    tables = {name: plain.pop(name) for name in ("params", "sources", "limits", "versions")}
    rows = [(name, one) for name in ("contracts", "history", "gates") for one in plain.pop(name)]
    lines = [
        f"# Written by quant {version()}. It says what trades where; `quant paper` and `quant live` refuse what",
        f"# differs. A person may change {OPEN_WORDS}; for anything else",
        "# begin another one.",
        f"schema = {SCHEMA}",
        *(f"{key} = {_toml(value)}" for key, value in plain.items() if value is not None),
    ]
    for title, values in tables.items():
        kept = {key: value for key, value in values.items() if value is not None}  # TOML has no None
        lines += ["", f"[{title}]", *(f"{_key(key)} = {_toml(value)}" for key, value in kept.items())]
    for title, one in rows:
        kept = {
            key: value for key, value in one.items() if value is not None and (key, value) != ("override", "")
        }
        lines += ["", f"[[{title}]]", *(f"{key} = {_toml(value)}" for key, value in kept.items())]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.put(path, ("\n".join(lines) + "\n").encode())
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace(
            "\x7f", "\\u007f"
        )  # all else TOML takes as JSON has it
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    raise ParameterError("value", value, "cannot stand in a lock file: numbers, text, true and false can")


def read(path: Path) -> Deployment:
    """Return the deployment of a lock file. Raises ConfigError, which says where and what to do."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        reason = "there is no such file; see: quant deployments"
        raise ConfigError(str(path), "lock", reason) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(str(path), "lock", f"cannot be read: {e}") from None
    schema = content.pop("schema", None)
    if schema != SCHEMA:
        reason = f"is {schema!r}; this version of quant reads {SCHEMA}. Use the version that wrote it, or begin another"
        raise ConfigError(str(path), "schema", reason)
    try:
        rows: dict[str, Any] = {
            name: _rows(content.pop(name, []), name, kind, path) for name, kind in ROWS.items()
        }
        _check_keys(content, Deployment, path, leave=ROWS)
        found = Deployment(**rows, **content)
        _check(found, path)
    except ParameterError as e:
        raise ConfigError(str(path), e.name, f"{e.value!r}: {e.reason}") from None
    return found


def _rows(given: Any, name: str, kind: type[Any], path: Path) -> tuple[Any, ...]:
    """Return what the tables [[name]] hold. Raises ConfigError, ParameterError."""
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ParameterError(name, given, f"must be tables, each under [[{name}]]")
    for number, one in enumerate(given, 1):
        _check_keys(one, kind, path, f"{name}[{number}].")
        _check_kinds(kind(**one), f"{name}[{number}].")
    return tuple(kind(**one) for one in given)


def _check_keys(
    given: Mapping[str, Any], kind: type[Any], path: Path, where: str = "", leave: Collection[str] = ()
) -> None:
    """Raise ConfigError for a key that no lock has, and for one that lacks."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name not in leave}
    for key in given:
        if key not in fields:
            close = near(key, list(fields))
            mend = f"Did you mean {close[0]}? Else take" if close else f"There are {', '.join(fields)}. Take"
            raise ConfigError(str(path), f"{where}{key}", f"a lock file has no such key. {mend} the line out")
    for name, f in fields.items():
        if name not in given and f.default is f.default_factory is dataclasses.MISSING:
            told = "the line is missing. Put it back, or begin another deployment: --name NAME"
            raise ConfigError(str(path), f"{where}{name}", told)


def _check_kinds(found: Any, where: str = "") -> None:
    """Raise ParameterError for a value that is not of its field's kind."""
    for f in dataclasses.fields(found):
        value = getattr(found, f.name)
        kind, words = KINDS.get(str(f.type), (object, ""))
        wrong = isinstance(value, bool) and kind not in (bool, object)  # Python counts it among the numbers
        if wrong or not isinstance(value, kind):
            raise ParameterError(f"{where}{f.name}", value, f"must be {words}")


def _check(found: Deployment, path: Path) -> None:
    """Raise ParameterError for a value that cannot be."""
    _check_kinds(found)
    bar_size(found.bar)
    parse_sizing(found.sizing, max(len(found.contracts), 1))
    limits_of(found.limits)
    for currency in sorted({one.currency for one in found.contracts}):
        costs(found.costs, MARKETS.get(currency, currency), currency=currency)
    bad = [
        (path.name != f"{found.name}.lock.toml", "name", found.name, f"is not that of the file, {path.name}"),
        (not found.contracts, "contracts", (), "there is none"),
        (not 0 < found.capital < math.inf, "capital", found.capital,
         "must be a positive number"),
        (found.disaster_stop is not None and not 0.0 < found.disaster_stop < 100.0, "disaster_stop",
         found.disaster_stop, "must be a percentage above 0 and below 100, e.g. 20"),
        (found.start_rule not in START_RULES, "start_rule", found.start_rule,
         f"must be one of {', '.join(START_RULES)}"),
        (found.positions not in tuple(Start), "positions", found.positions, f"must be one of {', '.join(Start)}"),
    ]  # fmt: skip
    for wrong, name, value, reason in bad:
        if wrong:
            raise ParameterError(name, value, reason)


def load(path: Path) -> tuple[Deployment, QuantError | None]:
    """Return a deployment for showing it, and what is wrong with its lock file; of one that cannot be read the name."""
    try:
        found = read(path)
    except QuantError as e:
        name = path.name.removesuffix(".lock.toml")
        return Deployment(name, "", "", {}, {}, (), "", "", 1.0, ""), e
    try:
        check_sealed(found, path)
    except QuantError as e:
        return found, e
    return found, None
