"""A simulated TWS on loopback for tests of commands."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from quant.core.barsize import SECOND
from quant.core.clock import now
from quant.store import Store
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Fault, Faults
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

# A Wednesday, 12:00 in New York. Markets are open, and the sample's bars lie in the past.
NOON = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND


@contextmanager
def simulated_tws(
    data: Path | None = None,
    faults: Iterable[Fault] = (),
    account: str = "DU1234567",
    start: int | None = None,
) -> Iterator[int]:
    """Give its port. data: whose bars it serves. start: where its clock stands still; None: it runs as ours does."""
    clock = Clock(outside_ns) if start is None else Clock(lambda: 0, speed=0.0, start=start)
    tws = simulated(None if data is None else Store(data), account=account, rate_limited=start is None)
    with running(Server(tws, clock, faults=Faults(faults))) as port:
        yield port


def today() -> str:
    """The present year, month and day."""
    return f"{now():%Y-%m-%d}"


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
