"""Bars as a file for other programs; importing it again gives the same bars to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import MINUTE, SECOND
from quant.core.zones import to_local
from quant.errors import ParameterError, WriteFailed
from quant.store.atomic import put
from quant.store.parquet import encode


def export(bars: Bars, path: str | Path) -> Path:
    """Write `bars` to `path`, as CSV or Parquet by its ending; a file that was there is replaced.

    Columns start, open, high, low, close, volume. In CSV start is in exchange time with its offset, of daily
    and longer bars the date; in Parquet a timestamp in UTC. Raises ParameterError for another ending,
    WriteFailed.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        content = encode({name: getattr(bars, name) for name in ("start", *COLUMNS)})
    elif ending == ".csv":
        content = _csv(bars)
    else:
        raise ParameterError("path", str(path), "must end in .csv or .parquet")
    try:
        put(path, content)
    except OSError as e:
        raise WriteFailed(str(path), e.strerror or str(e)) from None
    return path


def _csv(bars: Bars) -> bytes:
    import pyarrow as pa
    from pyarrow import csv

    table = pa.table({"start": _times(bars), **{name: getattr(bars, name) for name in COLUMNS}})
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink, csv.WriteOptions(quoting_style="none", quoting_header="none"))
    return bytes(sink.getvalue())


def _times(bars: Bars) -> npt.NDArray[np.str_]:
    if not bars.bar.intraday:
        return np.datetime_as_string(bars.start.view("datetime64[ns]"), unit="D")
    wall = to_local(bars.start, bars.instrument.timezone)
    unit: Literal["ns", "s"] = "ns" if (wall % SECOND).any() else "s"
    text = np.datetime_as_string(wall.view("datetime64[ns]"), unit=unit)
    offsets, which = np.unique(wall - bars.start, return_inverse=True)
    return np.char.add(text, np.array([_offset(int(o)) for o in offsets], dtype=np.str_)[which])


def _offset(ns: int) -> str:
    """Return an offset as +05:30; clocks that were off by seconds (before 1972) are not in a bar's years."""
    minutes = abs(ns) // MINUTE
    return f"{'-' if ns < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
