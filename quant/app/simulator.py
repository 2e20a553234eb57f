"""Our simulated TWS inside this process, for commands that need one for a moment. Only quant.app sees both ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def simulator(data: Path) -> Iterator[int]:
    """Serve the bars of the data folder, and made-up ones for what it lacks, on a free port; give the port.

    Messages are not counted by the second here: server and client share one processor, so what waited while bars
    were made up would look like a burst. IB's limits on history hold as ever.
    """
    from quant.store import Store
    from quant.tws.exchange.clock import Clock
    from quant.tws.program import simulated
    from quant.tws.server import Server, outside_ns, running

    with running(Server(simulated(Store(data), rate_limited=False), Clock(outside_ns))) as port:
        yield port
