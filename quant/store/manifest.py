"""The manifest of a series: what it is, which files hold it, and where they came from.

It is the only commit point of a write: a file that it does not name does not exist for a reader. The text
ends with the checksum of its own content, and a manifest is read only if its bytes are those that its content
gives; so a flipped bit, a cut or an edit by hand is noticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from quant.core.barsize import BarSize, bar_size
from quant.core.instrument import Instrument
from quant.errors import DamagedData, ParameterError
from quant.store.coverage import Interval

NAME: Final = "manifest.json"
SCHEMA: Final = 1
MEND: Final = "Restore it from a backup, or remove the series (quant data remove) and import or pull it again"


@dataclass(frozen=True, slots=True)
class File:
    """One Parquet file. first, last: starts of its first and last bar, UTC ns."""

    name: str
    year: int
    rows: int
    sha256: str
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json says.

    files: one a year, in order. revisions: the file with the bars that were replaced, if any; `year` is 0.
    requests: in order of time; plain values for JSON, with "kind", "at" (UTC, ISO) and their window; see history.py.
    coverage: the windows for which bars are complete, joined; empty: those in which the source has none.
    """

    instrument: Instrument
    bar: BarSize
    what: str
    rth: bool
    source: str
    adjusted: str
    files: tuple[File, ...] = ()
    revisions: File | None = None
    requests: tuple[dict[str, Any], ...] = ()
    coverage: tuple[Interval, ...] = ()
    empty: tuple[Interval, ...] = ()

    @property
    def rows(self) -> int:
        """Bars in all files."""
        return sum(f.rows for f in self.files)

    @property
    def named(self) -> frozenset[str]:
        """Names of the files that belong to the series."""
        return frozenset(f.name for f in (*self.files, self.revisions) if f is not None)


def dump(manifest: Manifest) -> bytes:
    """Return the bytes of manifest.json."""
    content = {
        "schema": SCHEMA,
        **asdict(manifest),
        "instrument": manifest.instrument.to_dict(),
        "bar": manifest.bar.name,
    }
    return _render(content)


def read_bytes(path: Path) -> bytes:
    """Return the content of `path`. Raises FileNotFoundError as it is, DamagedData where it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as e:
        raise DamagedData(str(path), f"it cannot be read ({e.strerror})", MEND) from None
    return data


def load(path: Path) -> Manifest:
    """Return the manifest at `path`. Raises DamagedData, or FileNotFoundError where there is none."""
    data = read_bytes(path)
    try:
        content = json.loads(data)
        content.pop("sha256")
        whole = _render(content) == data
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DamagedData(str(path), "it is not the JSON that was written", MEND) from None
    if not whole:
        raise DamagedData(str(path), "its content does not match its checksum", MEND)
    if content["schema"] != SCHEMA:
        reason = f"it has schema {content['schema']}, this version reads {SCHEMA}"
        raise DamagedData(str(path), reason, "Read it with the version of quant that wrote it")
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, ParameterError) as e:
        raise DamagedData(str(path), f"its content is not understood ({e!r})", MEND) from None


def _render(content: dict[str, Any]) -> bytes:
    body = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    # "sha256" sorts after no particular key, so it is put last by hand.
    return f'{body[:-2]},\n "sha256": "{checksum}"\n}}\n'.encode()


def _parse(content: dict[str, Any]) -> Manifest:
    revisions = content["revisions"]
    return Manifest(
        instrument=Instrument.from_dict(content["instrument"]),
        bar=bar_size(content["bar"]),
        what=content["what"],
        rth=content["rth"],
        source=content["source"],
        adjusted=content["adjusted"],
        files=tuple(File(**f) for f in content["files"]),
        revisions=None if revisions is None else File(**revisions),
        requests=tuple(content["requests"]),
        coverage=tuple((a, b) for a, b in content["coverage"]),
        empty=tuple((a, b) for a, b in content["empty"]),
    )
