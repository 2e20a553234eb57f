"""The simulator's own clock, real, faster or stepped, and its timers. Reads no time itself: a reader is handed in.

All moments are UTC ns as int.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from quant.core.barsize import SECOND
from quant.errors import ParameterError

T = TypeVar("T")


def parse_speed(text: str) -> float:
    """Return the speed that `text` means: "real" 1, "x60" 60, "step" 0. Raises ParameterError."""
    if text in ("real", "step"):
        return 1.0 if text == "real" else 0.0
    match = re.fullmatch(r"x(\d+(?:\.\d+)?)", text)
    if match is None or float(match[1]) <= 0.0:
        raise ParameterError("clock", text, 'is "real", "step" or a speed such as "x60"')
    return float(match[1])


class Clock:
    """Virtual time that never goes back.

    read: the outside world's time, UTC ns; a step clock calls it once at most, for its start. speed: virtual
    seconds for each second outside; 0 stands still until `step_to`. start: virtual time at the beginning, None = the
    outside world's.
    """

    def __init__(self, read: Callable[[], int], *, speed: float = 1.0, start: int | None = None) -> None:
        if speed < 0.0:
            raise ParameterError("speed", speed, "must not be negative")
        self.speed = speed
        self._read = read
        self._origin = read() if speed > 0.0 or start is None else 0
        self._start = self._origin if start is None else start
        self._latest = self._start

    def now(self) -> int:
        """Return the virtual time, UTC ns."""
        if self.speed > 0.0:
            passed = self._read() - self._origin
            # Whole speeds in whole numbers: a float would lose nanoseconds after some months.
            whole = int(self.speed)
            virtual = passed * whole if whole == self.speed else int(passed * self.speed)
            self._latest = max(self._latest, self._start + virtual)
        return self._latest

    def step_to(self, moment: int) -> None:
        """Move a step clock on to `moment`; an earlier moment changes nothing. Raises ParameterError for others."""
        if self.speed > 0.0:
            raise ParameterError("clock", f"x{self.speed:g}", "runs by itself; only a step clock is moved")
        self._latest = max(self._latest, moment)

    def outside_s(self, moment: int) -> float | None:
        """Return how many seconds of the outside world `moment` is away, 0 if it has come.

        None for a step clock whose time has not come: nobody outside can wait for it.
        """
        left = moment - self.now()
        if left <= 0:
            return 0.0
        return None if self.speed == 0.0 else left / SECOND / self.speed


class Timer(NamedTuple, Generic[T]):
    """A thing to do at a moment. number: in order of setting, the second key of the order."""

    at: int
    number: int
    thing: T


class Timers(Generic[T]):
    """Timers in order of (moment, number): the same settings always give the same order."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._waiting: dict[int, Timer[T]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def set(self, at: int, thing: T) -> int:
        """Add a timer and return its number."""
        number, self._next = self._next, self._next + 1
        self._waiting[number] = Timer(at, number, thing)
        heapq.heappush(self._heap, (at, number))
        return number

    def cancel(self, number: int) -> bool:
        """Remove a timer; False if it has gone off or never was."""
        return self._waiting.pop(number, None) is not None

    def next_at(self) -> int | None:
        """Return the moment of the next timer, None without one."""
        while self._heap and self._heap[0][1] not in self._waiting:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: int) -> Iterator[Timer[T]]:
        """Yield and remove the timers up to `now`, also those that are set meanwhile."""
        while (at := self.next_at()) is not None and at <= now:
            _, number = heapq.heappop(self._heap)
            yield self._waiting.pop(number)
