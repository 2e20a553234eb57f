"""Rows that grow: live, signals are made anew at each close, over the rows of the close before and a new one.

A function that looks back over a few rows makes the newest ones only, where it saw all the others before: bit by bit,
for nobody promises that they are the same. Only inside `growing`; anything else is computed as ever.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LIMIT: Final = 256 << 20  # bytes
ROOM: Final = 4096  # rows to come


class _Rows:
    """The rows that a call saw and what it made of them, with room for more."""

    def __init__(self, key: tuple[object, ...], rows: Floats, made: Floats) -> None:
        self.key, self.n = key, len(rows)
        self._both = np.empty((2, self.n + ROOM))
        self._both[:, : self.n] = rows, made

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps."""
        return self._both.nbytes

    def begins(self, rows: Floats) -> bool:
        """Return whether these rows are those of the call and more, to the bit."""
        if self.n > len(rows):
            return False
        old, new = self._both[0, : self.n].view(np.int64), rows[: self.n].view(np.int64)
        return bool(old[-1] == new[-1]) and np.array_equal(old, new)

    def grown(self, rows: Floats, reach: int, function: Callable[[Floats], Floats]) -> Floats:
        """Return what the function makes of all rows."""
        n, more = self.n, len(rows) - self.n
        if len(rows) > self._both.shape[1]:
            self._both = np.concatenate([self._both[:, :n], np.empty((2, more + ROOM))], axis=1)
        if more:
            self._both[0, n : n + more] = rows[n:]
            self._both[1, n : n + more] = function(rows[max(n - reach + 1, 0) :])[-more:]
        self.n += more
        return self._both[1, : self.n].copy()


class Grown:
    """What was made of growing rows, up to LIMIT bytes; what was not asked for longest goes first. Of one thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Rows] = OrderedDict()
        self._numbers = count()

    def call(
        self, key: tuple[object, ...], rows: Floats, reach: int, function: Callable[[Floats], Floats]
    ) -> Floats:
        """Return function(rows); key: what else its result depends on."""
        rows = np.ascontiguousarray(rows)
        for number, kept in self._kept.items():
            if kept.key == key and kept.begins(rows):
                self._kept.move_to_end(number)
                return kept.grown(rows, reach, function)
        made = function(rows)
        if len(rows):
            self._kept[next(self._numbers)] = _Rows(key, rows, made)
        while sum(kept.nbytes for kept in self._kept.values()) > LIMIT:
            self._kept.popitem(last=False)
        return made


_here = threading.local()


@contextmanager
def growing(grown: Grown) -> Iterator[None]:
    """Let functions of this thread look at what they made before, until the block ends."""
    before = getattr(_here, "grown", None)
    _here.grown = grown
    try:
        yield
    finally:
        _here.grown = before


def of_growing(
    key: tuple[object, ...], rows: Floats, reach: int, function: Callable[[Floats], Floats]
) -> Floats:
    """Return function(rows), (n,) as rows: row i follows from rows i - reach + 1 to i, whatever lies before.

    key: what else the result depends on.
    """
    grown: Grown | None = getattr(_here, "grown", None)
    return function(rows) if grown is None else grown.call(key, rows, reach, function)
