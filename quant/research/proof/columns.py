"""Returns of a search, looked at a few columns at a time: many combinations take no more memory than few.

Knows no files; who has them there gives Columns of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from quant.errors import ParameterError
from quant.metrics.returns import Floats

AT_ONCE: Final = 131_072  # values of a part: 1 MB, so that what is made of it stays near the core


@runtime_checkable
class Columns(Protocol):
    """A table of simple returns (T, N), a column a combination, that need not lie in memory."""

    @property
    def shape(self) -> tuple[int, int]:
        """T and N."""

    def parts(self) -> Iterator[Floats]:
        """Yield all columns in their order, some at a time, each (T, n) float64 with AT_ONCE values or one column."""

    def column(self, number: int) -> Floats:
        """Return one column, (T,) float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """Columns that lie in memory. table: (T, N) float64."""

    table: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """T and N."""
        return self.table.shape[0], self.table.shape[1]

    def parts(self) -> Iterator[Floats]:
        """Yield views of some columns each."""
        step = width(len(self.table))
        for begin in range(0, self.table.shape[1], step):
            yield self.table[:, begin : begin + step]

    def column(self, number: int) -> Floats:
        """Return a view of one column."""
        return self.table[:, number]


def width(rows: int) -> int:
    """Return how many columns of so many rows a part has."""
    return max(AT_ONCE // max(rows, 1), 1)


def in_memory(columns: Columns) -> Floats:
    """Return the table, (T, N) float64, each column in one piece unless it was given otherwise."""
    if isinstance(columns, Whole):
        return columns.table
    rows, count = columns.shape
    table = np.empty((count, rows))
    begin = 0
    for part in columns.parts():
        table[begin : begin + part.shape[1]] = part.T
        begin += part.shape[1]
    return table.T


def matrix(returns: ArrayLike) -> Floats:
    """Return `returns` as (T, N) float64; raises ParameterError if it is not a table of two rows at least."""
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2 or table.shape[1] < 1:
        reason = "a row a period (at least 2) and a column a combination is needed"
        raise ParameterError("returns", f"an array of shape {table.shape}", reason)
    return table
