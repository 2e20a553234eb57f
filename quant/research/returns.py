"""The session returns of a sweep's rows: in memory, or in its chunk files where they are too many for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from quant.core.sessions import Floats
from quant.errors import DamagedData
from quant.research import chunks as files
from quant.research.proof.columns import Columns, Whole, width
from quant.research.task import Row

IN_MEMORY: Final = 128_000_000  # bytes of a sweep's returns; more are read from its chunk files


@dataclass(frozen=True, slots=True, eq=False)
class Filed:
    """Columns that lie in the chunk files of a sweep. edges: the first row of each chunk, and how many rows there are.

    Who asks for them gets DamagedData where a file is gone or damaged by then.
    """

    folder: Path
    names: tuple[str, ...]
    edges: tuple[int, ...]
    sessions: int

    @property
    def shape(self) -> tuple[int, int]:
        """Sessions and rows of the sweep."""
        return self.sessions, self.edges[-1]

    def parts(self) -> Iterator[Floats]:
        """Yield some columns at a time, one chunk after the other."""
        step = width(self.sessions)
        for name, (first, end) in zip(self.names, pairwise(self.edges), strict=True):
            rows = self._read(name, end - first)
            for begin in range(0, len(rows), step):
                yield _table(rows[begin : begin + step], self.sessions)

    def column(self, number: int) -> Floats:
        """Return one column."""
        chunk = int(np.searchsorted(self.edges, number, side="right")) - 1
        first, end = self.edges[chunk : chunk + 2]
        rows = self._read(self.names[chunk], end - first)
        return _table(rows[number - first : number - first + 1], self.sessions)[:, 0]

    def _read(self, name: str, count: int) -> list[Floats | None]:
        path = files.chunk_path(self.folder, name)
        found = files.read_returns(path, name)
        if not isinstance(found, list):
            raise lost_chunk(path, found)
        if len(found) != count:
            raise lost_chunk(path, files.Damage(path, f"it holds {len(found):,} rows, not {count:,}"))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """Columns of several symbols side by side; the shorter end with NaN."""

    every: tuple[Columns, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Sessions of the longest, and rows of all."""
        return max(c.shape[0] for c in self.every), sum(c.shape[1] for c in self.every)

    def parts(self) -> Iterator[Floats]:
        """Yield some columns at a time, one symbol after the other."""
        for own in self.every:
            for part in own.parts():
                yield self._padded(part)

    def column(self, number: int) -> Floats:
        """Return one column."""
        for own in self.every:
            if number < own.shape[1]:
                return self._padded(own.column(number)[:, np.newaxis])[:, 0]
            number -= own.shape[1]
        raise IndexError(number)

    def _padded(self, part: Floats) -> Floats:
        missing = self.shape[0] - len(part)
        return np.pad(part, ((0, missing), (0, 0)), constant_values=math.nan) if missing else part


def stacked(rows: Sequence[Row]) -> Whole:
    """Return the returns of rows, of which the shorter end with NaN, as columns in memory."""
    returns = [row.returns for row in rows]
    return Whole(_table(returns, max((len(r) for r in returns if r is not None), default=0)))


def _table(returns: Sequence[Floats | None], sessions: int) -> Floats:
    """Return (sessions, rows), each column in one piece: sums depend on that in their last bits."""
    table = np.full((len(returns), sessions), math.nan)
    for place, own in zip(table, returns, strict=True):
        if own is not None:
            place[: len(own)] = own
    return table.T


def counted(row: Row) -> Row:
    """Return the row with as many NaN as it has returns, which take no memory: their number is still asked for."""
    return row if row.returns is None else Row(row.figures, _nothing(len(row.returns)), row.error)


@lru_cache(maxsize=16)  # the rows of a sweep have returns of one number
def _nothing(sessions: int) -> Floats:
    return np.broadcast_to(math.nan, sessions)


def lost_chunk(path: Path, damage: files.Damage | None) -> DamagedData:
    """Return the error for a chunk of a finished sweep that is damaged, or missing (None)."""
    reason = "it is missing" if damage is None else damage.reason
    return DamagedData(str(path), reason, "Make the same sweep again: only this chunk is computed anew")
