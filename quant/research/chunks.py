"""A sweep at rest: chunks of rows as files that say themselves what they hold, and the folder around them.

A chunk file is whole or absent. Its name is a hash of the code, data, settings and combinations behind it, so who
resumes looks for names alone. What is damaged is a value, not an error: that chunk is computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.core.near import near
from quant.core.sessions import Floats
from quant.errors import DamagedData, ParameterError, SweepNotFound, WriteFailed
from quant.metrics import NAMES
from quant.research.grid import params_text
from quant.research.task import Row
from quant.store.atomic import put
from quant.store.folder import data_folder

SCHEMA: Final = 1  # of chunk files and of sweep.json
ENDING: Final = ".parquet"
FACTS: Final = "sweep.json"
MEND: Final = "Run the sweep again; chunks that are whole are not computed again"

# Seconds per bar and combination, on one core: measured on this project's machines, good to a factor of two or so.
COST: Final = {"compiled": 8e-9, "fast": 15e-6, "plain": 80e-6}
AIM_S: Final = 1.0  # of work in a chunk: long beside its file, short beside a person's patience
LEAST_S: Final = 0.02  # below it the file (3 ms with fsync) would be felt
AT_LEAST: Final = 8  # chunks where there is enough to do, so that up to eight workers have one
MOST_BYTES: Final = 16_000_000  # of returns in a chunk

_SEAL: Final = b"sha256:"
_UNSEALED: Final = b"0" * 64


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a chunk file cannot be used."""

    path: Path
    reason: str


def plan_chunks(count: int, bars: int, *, engine: str, sessions: int = 0) -> list[range]:
    """Return the chunks of `count` combinations as consecutive ranges that hold each once.

    bars: that one combination runs over. sessions: returns that each row keeps, 0 for none. The number of workers
    must never matter here: who resumes with more of them looks for the same files.
    """
    if engine not in COST:
        raise ParameterError("engine", engine, f"there is {', '.join(COST)}")
    if count <= 0:
        return []
    seconds = COST[engine] * max(bars, 1)
    size = min(AIM_S / seconds, count / AT_LEAST)
    size = max(size, LEAST_S / seconds)
    if sessions > 0:
        size = min(size, MOST_BYTES / (8 * sessions))
    chunks = math.ceil(count / max(round(size), 1))
    edges = [count * k // chunks for k in range(chunks + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def chunk_name(task_key: str, combos: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the chunk that holds these combinations, in this order, of this task.

    task_key: stands for all else that decides a row: data, strategy sources, kernel, settings.
    """
    digest = hashlib.sha256(f"{SCHEMA}\n{task_key}\n{len(combos)}\n".encode())
    for combo in combos:
        digest.update(params_text(combo).encode())
        digest.update(b"\n")  # JSON on one line holds none
    return digest.hexdigest()[:32]


def chunk_path(folder: Path, name: str) -> Path:
    """Return where the chunk `name` of the sweep in `folder` lies."""
    return folder / "chunks" / f"{name}{ENDING}"


# ---------------------------------------------------------------- writing
def write_chunk(folder: Path, name: str, combos: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> Path:
    """Write a chunk of the sweep in `folder`, replacing one of the same name, and return where.

    combos and rows belong together one by one. The same rows give the same bytes. Raises WriteFailed; then what
    was there is unchanged.
    """
    path = chunk_path(folder, name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, _encode(name, combos, rows))
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e
    return path


def _encode(name: str, combos: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> bytearray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    failed = np.array([r.figures is None for r in rows], dtype=bool)
    figures = np.full((len(rows), len(NAMES)), np.nan)
    for k, row in enumerate(rows):
        if row.figures is not None:
            figures[k] = row.figures
    columns = {"params": pa.array([params_text(c) for c in combos], pa.string())}
    columns |= {n: pa.array(figures[:, k], mask=failed) for k, n in enumerate(NAMES)}
    columns["error"] = pa.array([r.error for r in rows], pa.string())
    columns["returns"] = _lists([r.returns for r in rows])
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="lz4",  # of four, the fastest on returns
        use_dictionary=False,  # figures of a search hardly repeat
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"schema": str(SCHEMA), "name": name, "seal": _SEAL + _UNSEALED})
    return _sealed(sink.getvalue())


def _lists(returns: Sequence[Floats | None]) -> Any:
    import pyarrow as pa

    lengths = [0 if r is None else len(r) for r in returns]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    whole = [r for r in returns if r is not None]
    values = np.concatenate(whole).astype(np.float64, copy=False) if whole else np.empty(0)
    missing = pa.array([r is None for r in returns], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values), mask=missing)


def _sealed(buffer: Any) -> bytearray:
    """Return the file with its sha256, with zeros in its place, put into its metadata.

    So it is Parquet as any other, and no bit can change unseen: page checksums alone leave the footer open.
    """
    data = bytearray(buffer)  # large: it is copied once only
    start = data.rindex(_SEAL + _UNSEALED) + len(_SEAL)
    data[start : start + len(_UNSEALED)] = hashlib.sha256(data).hexdigest().encode()
    return data


def _is_sealed(data: bytes) -> bool:
    start = data.rfind(_SEAL) + len(_SEAL)  # the last one: only Parquet's own text comes after the metadata
    end = start + len(_UNSEALED)
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(_UNSEALED)
    digest.update(view[end:])
    return data[start:end] == digest.hexdigest().encode()


# ---------------------------------------------------------------- reading
def read_chunk(path: Path, name: str, combos: Sequence[Mapping[str, Any]]) -> list[Row] | Damage | None:
    """Return the rows of `combos` that the file at `path` holds, bit by bit as they were; None if there is no file.

    A file that is not the whole chunk `name` with just these combinations gives its Damage. The rows' arrays are
    views that cannot be written.
    """
    table = _read(path, name)
    if table is None or isinstance(table, Damage):
        return table
    if table["params"].to_pylist() != [params_text(c) for c in combos]:
        return Damage(path, "it holds other combinations")
    return _rows(table)


def read_whole(path: Path, name: str) -> tuple[list[dict[str, Any]], list[Row]] | Damage | None:
    """Return the combinations of the chunk `name`, as its file has them, and their rows; else as `read_chunk`.

    A combination is what its JSON says: a tuple comes back as a list, a class as its name.
    """
    table = _read(path, name)
    if table is None or isinstance(table, Damage):
        return table
    return [json.loads(text) for text in table["params"].to_pylist()], _rows(table)


def read_returns(path: Path, name: str) -> list[Floats | None] | Damage | None:
    """Return the returns of each row of the chunk `name`, None where it failed; else as `read_chunk`."""
    table = _read(path, name)
    return table if table is None or isinstance(table, Damage) else _arrays(table["returns"])


def _read(path: Path, name: str) -> Any:
    """Return the table that the file holds, its Damage, or None if there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as e:
        return Damage(path, f"it cannot be read ({e.strerror or e})")
    if not _is_sealed(data):
        return Damage(path, f"its {len(data):,} bytes do not match their checksum")
    found = _decode(data, name)
    return Damage(path, found) if isinstance(found, str) else found


def _decode(data: bytes, name: str) -> Any:
    """Return the table, or why the file is not the one that was asked for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        metadata = {k.decode(): v.decode() for k, v in (file.metadata.metadata or {}).items()}
        if metadata.get("schema") != str(SCHEMA):
            return f"it has schema {metadata.get('schema')}, this version reads {SCHEMA}"
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as e:
        return f"it cannot be decoded ({e})"
    if metadata.get("name") != name:
        return f"it is the chunk {metadata.get('name')}"
    if table.column_names != ["params", *NAMES, "error", "returns"]:
        return "it has other columns"
    return table


def _rows(table: Any) -> list[Row]:
    figures = np.empty((table.num_rows, len(NAMES)))
    for k, name in enumerate(NAMES):
        figures[:, k] = table[name].to_numpy()
    figures.flags.writeable = False
    failed = table[NAMES[0]].is_null().to_pylist()
    found = []
    errors, returns = table["error"].to_pylist(), _arrays(table["returns"])
    for k, error in enumerate(errors):
        found.append(Row(figures=None if failed[k] else figures[k], returns=returns[k], error=error))
    return found


def _arrays(column: Any) -> list[Floats | None]:
    """Return each list of the column as a view into its values."""
    found: list[Floats | None] = []
    for part in column.chunks:
        values = part.values.to_numpy()
        offsets = part.offsets.to_pylist()
        missing = part.is_null().to_pylist()
        found += [None if missing[k] else values[offsets[k] : offsets[k + 1]] for k in range(len(part))]
    return found


# ---------------------------------------------------------------- the folder
def sweep_folder(data: Path, strategy: str, identity: Mapping[str, Any]) -> Path:
    """Return the folder of the sweep of a strategy class, by its name and all that makes this sweep this one.

    identity: plain values; the same ones give the same folder, whenever they are asked for.
    """
    text = json.dumps(_plain(identity), sort_keys=True, default=str)
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", strategy).lower()
    return data / "sweeps" / f"{snake}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def save_sweep_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write sweep.json: `facts` as plain values, with schema and checksum. Raises WriteFailed."""
    path = folder / FACTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        put(path, _render({"schema": SCHEMA, **facts}))
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from e


def load_sweep_facts(folder: Path) -> dict[str, Any]:
    """Return what `save_sweep_facts` wrote, without schema and checksum. Raises SweepNotFound, DamagedData."""
    path = folder / FACTS
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise SweepNotFound(folder.name, str(folder.parent)) from None
    except OSError as e:
        raise DamagedData(str(path), f"it cannot be read ({e.strerror or e})", MEND) from None
    try:
        facts: dict[str, Any] = json.loads(data)
        del facts["sha256"]
        whole = _render(facts) == data
        schema = facts.pop("schema")
    except (ValueError, KeyError, TypeError):
        raise DamagedData(str(path), "it is not the JSON that was written", MEND) from None
    if not whole:
        raise DamagedData(str(path), "its content does not match its checksum", MEND)
    if schema != SCHEMA:
        reason = f"it has schema {schema}, this version reads {SCHEMA}"
        raise DamagedData(str(path), reason, "Read it with the version of quant-ib that wrote it")
    return facts


def _render(facts: Mapping[str, Any]) -> bytes:
    body = json.dumps(_plain(facts), indent=1, default=str, allow_nan=False)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    return f'{body[:-2]},\n "sha256": "{checksum}"\n}}\n'.encode()


def _plain(value: Any) -> Any:
    """Return `value` with infinities and NaN as text: JSON has none, but a parameter may be one."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | range):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def sweep_folders(data: Path) -> list[Path]:
    """Return the folders of saved sweeps, by name."""
    sweeps = data / "sweeps"
    if not sweeps.is_dir():
        return []
    return sorted(f for f in sweeps.iterdir() if not f.name.startswith(".") and (f / FACTS).is_file())


def find_sweep(name: str | Path, data: str | Path | None = None) -> Path:
    """Return the folder of a sweep, given as a path, its name, or a part of the name that only it has."""
    path = Path(name)
    if (path / FACTS).is_file():
        return path
    root = data_folder(data)
    found = [f for f in sweep_folders(root) if str(name) in f.name]
    exact = [f for f in found if f.name == str(name)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise ParameterError(
            "sweep", str(name), f"several sweeps have it: {', '.join(f.name for f in found[:5])}"
        )
    there = [f.name for f in sweep_folders(root)]
    raise SweepNotFound(str(name), str(root / "sweeps"), near(str(name), there))
