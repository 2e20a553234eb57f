"""A TWS that is just starting on this machine: what finds nothing there tries again for a while."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from quant.core import clock
from quant.errors import CannotConnect

T = TypeVar("T")

WAIT_S = 10.0  # our simulated TWS listens 2.5 s after its command, three times later on a busy machine
AGAIN_S: Final = 0.25

_log = logging.getLogger(__name__)


def while_starting(attempt: Callable[[], T]) -> T:
    """Return what `attempt` gives; where nothing listens on this machine, try again for WAIT_S and say so once.

    Raises what `attempt` raises; a refusal by another machine at once.
    """
    until = clock.monotonic() + WAIT_S
    told = False
    while True:
        try:
            return attempt()
        except CannotConnect as e:
            if not e.refused or not _is_here(e.host) or clock.monotonic() >= until:
                raise
            if not told:
                waits = f"waiting up to {WAIT_S:g} s, as it may just be starting"
                _log.warning("%s:%d: %s; %s", e.host, e.port, e.reason, waits)
            told = True
        time.sleep(AGAIN_S)  # nothing tells when another process begins to listen


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"
