"""Store: bars at rest into contiguous arrays, against raw pyarrow reading the same files (DESIGN §6).

Ours checks every file's sha256 and page checksums; raw pyarrow checks nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quant.core.bars import COLUMNS
from quant.core.synthetic import synthetic
from quant.store import Series, Store


def run(full: bool) -> dict[str, Any]:
    """Return the median ratio of paired readings, and what was read; full: 1e7 bars, else 1e6."""
    bars = synthetic("BENCH", "1m", "2000-01-01", "2019-12-31" if full else "2001-12-31", calendar="24/7")
    bars = replace(bars[: 10_000_000 if full else 1_000_000], source="bench")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        began = time.perf_counter()
        store.write(bars, {"kind": "bench", "at": "2026-01-01T00:00:00+00:00"})
        write_s = time.perf_counter() - began
        series = store.find("BENCH", "1m")
        assert (
            store.read(series).fingerprint == bars.fingerprint
        )  # the first reading, which also warms the cache
        ours, raw = [], []
        for _ in range(7 if full else 15):
            raw.append(_seconds(lambda: _raw(store, series)))
            ours.append(_seconds(lambda: store.read(series)))
        size = sum(f.bytes for f in store.manifest(series).files)
    raw_s, ratio = statistics.median(raw), statistics.median(a / b for a, b in zip(ours, raw, strict=True))
    return {
        "what": f"reading {len(bars):,} one-minute bars, verified, against raw pyarrow",
        "measured": ratio,
        "unit": "x",
        "at_most": 1.5,
        "aim": 1.1,
        "baseline": f"pyarrow.parquet.read_table of the same files to numpy {raw_s:.3f} s",
        "seconds": statistics.median(ours),
        "write_s": write_s,
        "bytes_per_bar": size / len(bars),
    }


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    kept = call()
    took = time.perf_counter() - began
    del kept
    return took


def _raw(store: Store, series: Series) -> list[Any]:
    paths = [str(series.folder / f.name) for f in store.manifest(series).files]
    table = pq.read_table(paths)
    start = table.column("start").cast(pa.int64())
    return [start.to_numpy(), *(table.column(name).to_numpy() for name in COLUMNS)]
