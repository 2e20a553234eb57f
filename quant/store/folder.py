"""Where bars lie: the data folder, and names of files and folders that are valid on every system."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

from quant.core.barsize import BarSize
from quant.core.instrument import Instrument
from quant.errors import ConfigError, ParameterError

FILES: Final = ("quant.toml", "quant.local.toml")  # of a project; the second is git-ignored and wins
SAMPLE: Final = "sample"  # the source that is committed with the project, read-only
SIMULATED: Final = "simulated"  # the source of bars that a simulated TWS made

# Names that Windows keeps for devices, alone or before any ending.
_DEVICES: Final = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?![^.])")
_SAFE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def find_project(start: Path | None = None) -> Path | None:
    """Return the nearest folder, from `start` (the current one) upwards, with quant.toml; None without one."""
    here = Path.cwd() if start is None else start.absolute()
    return next((f for f in (here, *here.parents) if (f / FILES[0]).is_file()), None)


def data_folder(data: str | Path | None = None, start: Path | None = None) -> Path:
    """Return the data folder: `data` if given, else the one of the nearest project, else ./data.

    start: folder whose parents are searched for quant.toml; the current one by default. Its setting
    `data` of [project], or that of quant.local.toml beside it, counts from the project's folder.
    Raises ConfigError if such a file cannot be read.
    """
    if data is not None:
        return Path(data)
    project = find_project(start)
    if project is None:
        return (Path.cwd() if start is None else start.absolute()) / "data"
    found = "data"
    for name in FILES:
        if (project / name).is_file():
            found = _setting(project / name, found)
    return project / found


def _setting(file: Path, default: str) -> str:
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as e:
        raise ConfigError(str(file), "project.data", f"the file cannot be read ({e})") from None
    value = project.get("data", default) if isinstance(project, dict) else None
    if not isinstance(value, str) or not value:
        raise ConfigError(str(file), "project.data", 'must be the path of a folder, e.g. data = "data"')
    return value


def quote(name: str) -> str:
    """Return `name` as part of a file name that is valid on Windows, macOS and Linux.

    Capital letters, digits, "_" and "-" stay; of everything else each UTF-8 byte becomes %XX. So no two names
    meet on a file system that ignores case, and a dot, space, slash or accent never reaches the system. Of
    a name that Windows keeps for a device the first letter is quoted.
    """
    text = "".join(c if c in _SAFE else "".join(f"%{b:02X}" for b in c.encode()) for c in name)
    return f"%{ord(text[0]):02X}{text[1:]}" if _DEVICES.match(text) else text


def series_folder(root: Path, instrument: Instrument, bar: BarSize, what: str, rth: bool) -> Path:
    """Return the folder of a series below `root`, which is the folder of a source."""
    where = instrument.exchange if instrument.con_id is None else str(instrument.con_id)
    who = f"{quote(instrument.symbol)}.{quote(where)}"
    return root / quote(instrument.sec_type) / who / settings_name(bar, what, rth)


def settings_name(bar: BarSize, what: str, rth: bool) -> str:
    """Return the name of a series' own folder, e.g. "TRADES-rth-1m"."""
    return f"{quote(what)}-{'rth' if rth else 'all'}-{bar.name}"


def check_source(source: str) -> str:
    """Return `source`. Raises ParameterError for a name that is no plain lower-case word."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", source) or _DEVICES.match(source.upper()):
        raise ParameterError("source", source, 'must be a lower-case word, e.g. "ib" or "my-vendor"')
    return source
