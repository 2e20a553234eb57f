"""IB's time, from what TWS tells of it and from the seconds that pass here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quant.core import clock
from quant.core.barsize import SECOND

APART: Final = 2 * SECOND  # TWS tells whole seconds, some of them late


class IbClock:
    """IB's time in UTC ns; it never goes back, and this machine's own clock has no part in it.

    TWS tells whole seconds, so that it is up to a second behind. wall, monotonic: for tests.
    """

    def __init__(
        self,
        wall: Callable[[], int] = lambda: int(clock.now().timestamp() * 1e6) * 1000,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._zero: int | None = None  # IB's time where `monotonic` is 0
        self._latest = 0
        self.offset_s: float | None = None  # this machine's clock minus IB's, once told

    def __call__(self) -> int:
        """Return IB's time; this machine's until TWS has told it."""
        if self._zero is None:
            return self._wall()
        self._latest = max(self._latest, self._zero + int(self._monotonic() * 1e9))
        return self._latest

    def told(self, second: int) -> None:
        """Take the time that TWS told just now, UTC ns of a whole second."""
        zero = second - int(self._monotonic() * 1e9)
        if self._zero is None or not 0 <= self._zero - zero <= APART:
            self._zero = zero
        self.offset_s = (self._wall() - self()) / SECOND
        # A clock that stood or jumped: what is later than IB's time was never so.
        self._latest = max(self._latest, second)

    def saw(self, moment: int) -> None:
        """Take note that this moment has come: a bar that ended then has arrived."""
        if self._zero is not None and moment > self():
            self._zero += moment - self._latest
            self._latest = moment
