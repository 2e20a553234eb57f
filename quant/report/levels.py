"""Columns of a million rows for a page: coarser levels of detail, and their bytes. Knows no HTML.

Rows lie on a common axis of steps (0, 1, 2, ... over the whole run); a feed may lack some. Level k holds a row for
each FACTOR**k steps in which there is anything. A column says how rows become one: the first, the last, the largest,
the least, the sum. The page loads only the chunks of the level that it draws.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FACTOR: Final = 4  # a level's step over the one below
SMALLEST: Final = 512  # rows; a level this short needs no coarser one
CHUNK: Final = 16_384  # rows that are decoded together
MISSING: Final = -(2**31)  # NaN as a 32-bit integer
LARGEST: Final = 2**31 - 2
MOST_DECIMALS: Final = 8
MOST_DIGITS: Final = 9  # that 32 bits hold

How = Literal["first", "last", "max", "min", "sum"]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column. values: (n,) float64, NaN = missing. decimals: that are kept, fewer where 32 bits are too few.

    base: another column of the same decimals to which this one is near; the difference takes fewer bytes.
    """

    name: str
    values: Floats
    how: How
    decimals: int
    base: str | None = None


def line(name: str, values: Floats, digits: int = 7) -> list[Column]:
    """Return the columns that draw a line: its last value, and the range in which it moved.

    digits: of the largest number, which are kept; a screen shows four.
    """
    values = np.where(np.isfinite(values), values, np.nan)
    d = min(decimals(values), _digits(values, digits))
    low, high = (Column(f"{name}.{how}", values, how, d, name) for how in ("min", "max"))
    return [Column(name, values, "last", d), low, high]


def candles(open_: Floats, high: Floats, low: Floats, close: Floats, volume: Floats) -> list[Column]:
    """Return the columns of bars."""
    d = max(decimals(p) for p in (open_, high, low, close))
    return [
        Column("close", close, "last", d),
        Column("open", open_, "first", d, "close"),
        Column("high", high, "max", d, "close"),
        Column("low", low, "min", d, "close"),
        Column("volume", volume, "sum", decimals(volume)),
    ]


def decimals(values: Floats) -> int:
    """Return the least decimals, at most 8, that give every number back to the last bit.

    Where none do (adjusted prices, averages): as many as nine digits of the largest number have.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0
    for d in range(MOST_DECIMALS + 1):
        # A few first: most guesses fail there.
        if all(np.array_equal(np.rint(part * 10.0**d) / 10.0**d, part) for part in (finite[:64], finite)):
            return d
    return _digits(finite, MOST_DIGITS)


def _digits(values: Floats, digits: int) -> int:
    """Return the decimals that leave so many digits of the largest number."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return digits - 1 - int(np.floor(np.log10(largest))) if largest > 0.0 else 0


def coarser(step: Ints, columns: Sequence[Column]) -> tuple[Ints, list[Column]]:
    """Return the rows of the next level.

    step: (n,) int64, strictly increasing, of this level. The result's are step // FACTOR.
    """
    bucket = step // FACTOR
    begin = np.flatnonzero(np.diff(bucket, prepend=-1) != 0)
    return bucket[begin], [replace(c, values=_join(c, begin)) for c in columns]


def _join(column: Column, begin: Ints) -> Floats:
    values, joined = column.values, {"sum": np.add, "max": np.fmax, "min": np.fmin}
    if not len(begin):
        return values
    if column.how == "first":
        return values[begin]
    if column.how in joined:
        found: Floats = joined[column.how].reduceat(values, begin)
        return found
    known = ~np.isnan(values)
    if known.all():
        ends: Floats = values[np.append(begin[1:], len(values)) - 1]
        return ends
    row = np.maximum.reduceat(np.where(known, np.arange(len(values)), -1), begin)  # the last that is a number
    last: Floats = np.where(row >= begin, values[row], np.nan)
    return last


def levels(step: Ints, columns: Sequence[Column]) -> list[tuple[Ints, list[Column]]]:
    """Return all levels, finest first; the coarsest has at most SMALLEST rows."""
    found = [(step, list(columns))]
    while len(found[-1][0]) > SMALLEST:
        found.append(coarser(*found[-1]))
    # A finest line is its own range.
    found[0] = (found[0][0], [c for c in columns if "." not in c.name])
    return found


# ---------------------------------------------------------------- as bytes
def block(step: Ints, columns: Sequence[Column], blobs: list[str]) -> dict[str, Any]:
    """Append the chunks of all levels to `blobs`, and return what a reader must know to find and decode them."""
    return {
        "levels": [
            _level(k, at, found, blobs) for k, (at, found) in enumerate(levels(step, columns))
        ]
    }  # fmt: skip


def _level(number: int, step: Ints, columns: Sequence[Column], blobs: list[str]) -> dict[str, Any]:
    scale = {c.name: min(_fit(o) for o in columns if _family(o) == _family(c)) for c in columns}
    ints = {c.name: _whole(c.values, scale[c.name]) for c in columns}
    chunks = []
    for begin in range(0, len(step), CHUNK):
        rows = slice(begin, begin + CHUNK)
        parts = [_deltas(step[rows].astype(np.int32))]
        for c in columns:
            mine = ints[c.name][rows]
            parts.append(_deltas(mine) if c.base is None else mine - ints[c.base][rows])
        chunks.append({"blob": len(blobs), "first": int(step[begin]), "rows": len(step[rows])})
        blobs.append(squeeze(parts))
    facts = [{"name": c.name, "decimals": scale[c.name], "base": c.base} for c in columns]
    return {"factor": FACTOR**number, "columns": facts, "chunks": chunks}


def _family(column: Column) -> str:
    return column.name if column.base is None else column.base


def _fit(column: Column) -> int:
    """Return the decimals with which the column's largest number still fits."""
    largest = float(np.nanmax(np.abs(column.values), initial=0.0)) if len(column.values) else 0.0
    d = column.decimals
    while largest * 10.0**d > LARGEST:
        d -= 1
    return d


def _whole(values: Floats, d: int) -> NDArray[np.int32]:
    missing = np.isnan(values)
    whole = np.rint(np.where(missing, 0.0, values) * 10.0**d)
    return np.where(missing, MISSING, np.clip(whole, -LARGEST, LARGEST)).astype(np.int32)


def _deltas(ints: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the differences from row to row, the first from 0; they wrap around as the reader's do."""
    return np.diff(ints, prepend=np.int32(0)).astype(np.int32)


def squeeze(columns: Sequence[NDArray[Any]]) -> str:
    """Return whole-number columns as text: small numbers of either sign first, bytes by plane, deflate, base64."""
    planes = []
    for column in columns:
        near_zero = (column.astype("<i4") << 1) ^ (column.astype("<i4") >> 31)
        planes.append(np.ascontiguousarray(near_zero.view(np.uint8).reshape(-1, 4).T))
    return _text(b"".join(p.tobytes() for p in planes))


def table(columns: Sequence[Floats], blobs: list[str]) -> int:
    """Append columns of float64, all bits kept, to `blobs` and return the number of the blob."""
    planes = [np.ascontiguousarray(c.astype("<f8").view(np.uint8).reshape(-1, 8).T) for c in columns]
    blobs.append(_text(b"".join(p.tobytes() for p in planes)))
    return len(blobs) - 1


def _text(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 1)).decode(
        "ascii"
    )  # a higher level takes long and gains little
