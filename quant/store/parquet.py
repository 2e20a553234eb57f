"""Bars as bytes of one Parquet file, and back.

Measured on 1e7 one-minute bars (tests/bench/store.py): prices repeat, so a dictionary with zstd takes a
seventh of the plain bytes and decodes faster than plain, and few bytes leave time for their sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quant.core.bars import COLUMNS
from quant.errors import DamagedData
from quant.store.manifest import MEND, File, read_bytes

Array = npt.NDArray[Any]
THREADS_FROM: Final = 1_000_000  # bytes; below it threads take longer to start than they save
TIMES: Final = ("start", "replaced_at")  # int64 UTC ns here, timestamp[ns, UTC] in the file


def encode(columns: Mapping[str, Array]) -> bytes:
    """Return a Parquet file of `columns` (int64 or float64), none of which may be null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays, fields = [], []
    for name, values in columns.items():
        data = pa.array(values)
        if name in TIMES:
            data = data.view(pa.timestamp("ns", "UTC"))
        arrays.append(data)
        fields.append(pa.field(name, data.type, nullable=False))
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(arrays, schema=pa.schema(fields)),
        sink,
        compression="zstd",
        use_dictionary=[c for c in COLUMNS if c in columns],
        column_encoding={c: "DELTA_BINARY_PACKED" for c in columns if c not in COLUMNS},
        write_page_checksum=True,
        store_schema=False,
    )
    return bytes(sink.getvalue())


def verified(path: Path, file: File) -> bytes:
    """Return the bytes at `path`. Raises DamagedData if they are not those that `file` describes."""
    data = read_bytes(path)
    if len(data) != file.bytes:
        raise DamagedData(str(path), f"it has {len(data)} bytes, {file.bytes} were written", MEND)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise DamagedData(str(path), "its checksum is not that of what was written", MEND)
    return data


def decode_into(path: Path, data: bytes, out: Mapping[str, Array]) -> None:
    """Decode the Parquet file `data` into the arrays `out`, one a column and each as long as the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not pq.read_table: it looks at the bytes as a data set, which takes longer than a year of daily bars.
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read(columns=list(out), use_threads=len(data) >= THREADS_FROM)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as e:
        raise DamagedData(str(path), f"it cannot be decoded ({e})", MEND) from None
    for name, values in out.items():
        if len(values) != table.num_rows:
            raise DamagedData(str(path), f"it has {table.num_rows} rows, {len(values)} were written", MEND)
        at = 0
        for chunk in table.column(name).chunks:
            part = chunk.view(pa.int64()) if name in TIMES else chunk
            values[at : at + len(part)] = part.to_numpy()
            at += len(part)


def decode(path: Path, file: File, names: tuple[str, ...]) -> dict[str, Array]:
    """Return the columns `names` of the file at `path`, compared with what `file` says of it."""
    columns = empty(file.rows, names)
    decode_into(path, verified(path, file), columns)
    return columns


def empty(rows: int, names: tuple[str, ...] = ("start", *COLUMNS)) -> dict[str, Array]:
    """Return uninitialised arrays for `rows` rows."""
    return {n: np.empty(rows, dtype=np.float64 if n in COLUMNS else np.int64) for n in names}
