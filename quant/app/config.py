"""Settings: one table of those that there are, and what each has after all layers.

Layers, each over the one before: defaults, quant.toml, quant.local.toml, QUANT__SECTION__KEY, the command line.
Only this file reads the environment.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from quant.errors import ConfigError
from quant.store.folder import FILES, find_project

PREFIX: Final = "QUANT__"
TRACEBACK: Final = "QUANT_TRACEBACK"  # any text: errors show where they came from, as --debug does
DEFAULT: Final = "default"
COMMAND_LINE: Final = "command line"
PARAMS: Final = "params"  # [params.macd]: parameters of one strategy, checked when it runs


@dataclass(frozen=True, slots=True)
class Key:
    """A setting. kind: float, int, bool, str or tuple (texts). optional: "none" stands for no value.

    help: what it means. secret: shown nowhere.
    """

    section: str
    name: str
    kind: type
    default: Any
    help: str
    optional: bool = False
    secret: bool = False

    @property
    def full(self) -> str:
        """The name with its section, e.g. "backtest.cash"."""
        return f"{self.section}.{self.name}"


# Defaults are those of q.backtest, q.sweep and q.pull; a test holds the two together.
KEYS: Final = (
    Key("project", "data", str, "data", "folder of bars, runs and sweeps; relative to the file that sets it"),
    Key("backtest", "cash", float, 100_000.0, "starting cash"),
    Key("backtest", "costs", str, "ib-fixed", "none, percent:0.05, ib-fixed or ib-tiered"),
    Key(
        "backtest",
        "sizing",
        str,
        None,
        "percent:95 (shared by the feeds), cash:10000, shares:100 or risk:1",
        True,
    ),
    Key("backtest", "slippage", str, None, "percent:0.02 or ticks:1", True),
    Key("backtest", "borrow", float, None, "yearly rate on shorts, 0.03 = 3 %", True),
    Key("backtest", "engine", str, "fast", "fast, or plain = stock backtrader; the same bits"),
    Key("backtest", "start_rule", str, "first-target", "first-target, or next-change as live starts"),
    Key("sweep", "engine", str, "auto", "auto, compiled, fast or plain; the same bits"),
    Key("sweep", "workers", int, None, "threads or processes at a time; none = one a core", True),
    Key("sweep", "verify", str, "auto", "combinations run again in backtrader: auto, or how many, in quotes"),
    Key("sweep", "metric", str, "sharpe", "what the best is chosen by: a column of the table"),
    Key("promote", "missing", float, 0.001, "share of the calendar's bars that may lack"),
    Key("promote", "out_of_sample", float, 0.3, "least Sharpe ratio a year on data that no choice had seen"),
    Key("promote", "out_of_sample_sessions", int, 30, "least number of sessions of such data"),
    Key("promote", "trades", int, 30, "least number of closed trades of the backtest"),
    Key("promote", "deflated_sharpe", float, 0.95, "least probability of more than luck, all trials counted"),
    Key("promote", "rejected", float, 0.05, "share of rejected orders that must not be reached"),
    Key("promote", "costs", float, 0.5, "least share of what IB's cheaper plan charges for the same fills"),
    Key("promote", "rehearsal_bars", int, 500, "how many of the last bars are rehearsed"),
    Key(
        "promote",
        "sessions",
        int,
        20,
        "sessions of paper with parity, one after the other, before real money",
    ),
    Key(
        "promote",
        "missed_orders",
        float,
        0.05,
        "share of a session's orders that paper may miss for it to count",
    ),
    Key("ib", "host", str, "127.0.0.1", "the machine on which TWS or IB Gateway runs"),
    Key("ib", "port", int, None, "its socket port; none = the first of 7497, 4002, 7496, 4001", True),
    Key("ib", "client_id", int, 11, "the number under which TWS knows this program; each needs its own"),
    Key("notify", "urls", tuple, (), "addresses that are told of a run, as apprise writes them", secret=True),
    Key(
        "notify",
        "ping",
        str,
        None,
        "page that is asked for once a minute while all is well",
        True,
        secret=True,
    ),
    Key("notify", "disconnect_s", float, 60.0, "how long TWS must be gone before that is told"),
    Key("notify", "fills", bool, False, "tell of each fill too"),
)
_BY_NAME: Final = {key.full: key for key in KEYS}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from: "default", "file:line", "QUANT__...", or an option."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. project: the folder with quant.toml, None without one. params: by strategy, by name."""

    project: Path | None
    values: dict[str, Setting]
    params: dict[str, dict[str, Setting]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    @property
    def data(self) -> Path:
        """The data folder: of a file's setting relative to the project, else to the current folder."""
        setting = self.values["project.data"]
        here = setting.origin == COMMAND_LINE or setting.origin.startswith(PREFIX)
        return (Path.cwd() if here or self.project is None else self.project) / str(setting.value)

    def section(self, name: str) -> dict[str, Any]:
        """Return the values of a section by key."""
        return {key.name: self[key.full] for key in KEYS if key.section == name}


def wants_traceback() -> bool:
    """Return whether the environment asks for tracebacks."""
    return bool(os.environ.get(TRACEBACK))


def load(
    given: Mapping[str, Any] | None = None,
    *,
    start: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings that hold here. given: of the command line, by full name; None = not given.

    start: where to look for quant.toml; environ: instead of the process's own. Raises ConfigError for an
    unknown key, a value of another type and a file that is no TOML.
    """
    project = find_project(start)
    settings = Settings(project, {key.full: Setting(key.default, DEFAULT) for key in KEYS})
    if project is not None:
        for file in FILES:
            _read(settings, project / file)
    for name, text in (os.environ if environ is None else environ).items():
        if name.upper().startswith(PREFIX):
            _take(settings, name[len(PREFIX) :].lower().split("__"), text, name)
    for full, value in (given or {}).items():
        if value is not None:
            settings.values[full] = Setting(_typed(_BY_NAME[full], value, COMMAND_LINE), COMMAND_LINE)
    return settings


# ---------------------------------------------------------------- layers
def _read(settings: Settings, path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(str(path), "cannot be read", str(e)) from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(str(path), "is no TOML", str(e)) from None
    for keys, value in _leaves(content):
        _take(settings, keys, value, _origin(path, text, keys))


def _leaves(content: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        elif not (isinstance(value, dict) and not above):  # an empty section sets nothing
            yield [*above, name], value


def _take(settings: Settings, keys: list[str], value: Any, origin: str) -> None:
    if len(keys) == 3 and keys[0] == PARAMS:
        settings.params.setdefault(keys[1], {})[keys[2]] = Setting(value, origin)
        return
    full = ".".join(keys)
    if full in _BY_NAME:
        settings.values[full] = Setting(_typed(_BY_NAME[full], value, origin), origin)
        return
    if keys[0] == PARAMS:
        raise ConfigError(origin, full, "write parameters as [params.STRATEGY] with name = value lines")
    raise ConfigError(origin, full, f"no such setting; {nearest(full, _BY_NAME)}")


def _typed(key: Key, value: Any, origin: str) -> Any:
    if key.optional and isinstance(value, str) and value.strip().lower() == "none":
        return None
    said = "what it is" if key.secret else repr(value)
    if key.kind is str:
        if isinstance(value, str) and value.strip():
            return value.strip()
        raise ConfigError(origin, key.full, f"must be text ({key.help}), not {said}")
    if key.kind is tuple:
        texts = value.split() if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and all(isinstance(t, str) and t.strip() for t in texts):
            return tuple(t.strip() for t in texts)
        raise ConfigError(origin, key.full, f"must be a list of texts ({key.help}), not {said}")
    if key.kind is bool:
        words = {"true": True, "false": False}
        found = value if isinstance(value, bool) else words.get(str(value).strip().lower())
        if found is None:
            raise ConfigError(origin, key.full, f"must be true or false ({key.help}), not {said}")
        return found
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    whole = key.kind is int
    if math.isfinite(number) and (not whole or number == int(number)):
        return int(number) if whole else number
    kind = "a whole number" if whole else "a number"
    raise ConfigError(origin, key.full, f"must be {kind} ({key.help}), not {value!r}")


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return "did you mean ...?", or what there is if nothing is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    if not near:  # the key alone may stand in the wrong section
        near = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def _origin(path: Path, text: str, keys: list[str]) -> str:
    """Return "file:line" where the line is plain to see, else the file."""
    section: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line):
            section = _split(header[1])
        elif (key := re.match(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=", line)) and [
            *section,
            *_split(key[1]),
        ] == keys:
            return f"{path}:{number}"
    return str(path)


def _split(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted)]
