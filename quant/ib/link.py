"""What a session takes as arguments: the time, a connection, and how long it waits for things."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Protocol

from quant.core import clock
from quant.errors import BrokerError
from quant.ib.wire import Inbox, Item


class Timer(Protocol):
    """The time, and the only way to wait."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def get(self, inbox: Inbox, timeout_s: float) -> Item:
        """Return the next item of `inbox`, None if none came within `timeout_s`."""


class SystemTimer:
    """The machine's time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return clock.monotonic()

    def get(self, inbox: Inbox, timeout_s: float) -> Item:
        """Return the next item of `inbox`, None if none came within `timeout_s`."""
        try:
            return inbox.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return None


class Link(Protocol):
    """What the session needs of a connection; `Wire` is one."""

    server_version: int
    server_time: str
    last_rx: float

    def send(self, data: bytes) -> None:
        """Write whole frames. Raises LinkLost."""

    def close(self, cause: BrokerError | None = None) -> None:
        """End it, from any thread."""

    def join(self, timeout_s: float) -> bool:
        """Wait until nothing more can come from it; return whether that is so."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. A link that is silent for `idle_s` is probed, and dropped `probe_s` later: after 25 of 45 allowed."""

    idle_s: float = 15.0
    probe_s: float = 10.0
    login_s: float = 15.0
    first_retry_s: float = 1.0
    longest_retry_s: float = 60.0
