"""Live: from a bar's last piece at our socket to the order's bytes at it, commit included; one symbol, and fifty.

The runner as `quant paper` runs it, with journal, tape and status, against the simulated TWS in a process of its own.
A strategy that wants 1 and 0 in turn orders at every bar.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

HERE = Path(__file__).resolve().parents[1] / "live"
SERVER = """
import sys
from pathlib import Path
from live_run import START
from quant.store import Store
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

tws = simulated(Store(Path(sys.argv[2])), rate_limited=False)
with running(Server(tws, Clock(outside_ns, speed=float(sys.argv[1]), start=START))) as port:
    print(port, flush=True)
    sys.stdin.read()
"""
ROOT = HERE.parents[1]
Row = dict[str, Any]


def run(full: bool) -> list[Row]:
    """Return the figures; full: as many orders as docs/live.md quotes."""
    sys.path.insert(0, str(HERE))  # the harness lies with the tests of quant/live
    logging.disable(logging.WARNING)
    try:
        one = [1000 * s for s in taken(["S00"], "30s", 60.0, 150 if full else 40)]
        many = taken([f"S{n:02d}" for n in range(50)], "1m", 12.0, 10 if full else 3)
    finally:
        logging.disable(logging.NOTSET)
    p50, p99 = np.percentile(one, [50, 99])
    n, m = (
        f"of {len(one)} orders, one symbol, commit included",
        f"most of {len(many)} bars of 50 symbols of 1m",
    )
    return [
        figure("bar in to order out, p50", float(p50), "ms", 50.0, 20.0, n),
        figure("bar in to order out, p99", float(p99), "ms", 50.0, 20.0, n),
        figure("50 symbols: first bar in to last order out", max(many), "s", 3.0, 1.5, m),
    ]


def figure(what: str, measured: float, unit: str, most: float, aim: float, baseline: str) -> Row:
    """One figure that must not be above `most`."""
    return {
        "what": what, "measured": measured, "unit": unit, "at_most": most, "aim": aim, "baseline": baseline,
    }  # fmt: skip


def stocked(folder: Path, names: list[str]) -> None:
    """Give the simulated TWS instruments of these names, with bars to trade on."""
    from quant.core.synthetic import synthetic
    from quant.store import Store

    store = Store(folder)
    for seed, name in enumerate(names):
        bars = synthetic(name, "1m", "2024-05-14", "2024-05-15", seed=seed, price=50.0 + seed)
        store.write(replace(bars, source="test"), {"kind": "import", "at": "2020-01-01T00:00:00+00:00"})


@contextmanager
def served(speed: float, folder: Path) -> Iterator[int]:
    """Give the port of a simulated TWS in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(speed), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate("", timeout=30.0)


def taken(names: list[str], bar: str, speed: float, count: int) -> list[float]:
    """Seconds of `count` bars: from the first piece at our socket that ends a bar to the last order decided on it."""
    from live_run import draft, play

    from quant.core.clock import monotonic
    from quant.ib.contracts import ContractSpec
    from quant.ib.orders import Orders
    from quant.ib.session import Session

    arrived: dict[int, float] = {}  # by END of the bar
    placed: dict[int, list[float]] = {}
    take, place = Session._take, Orders.place
    size = 30 if bar == "30s" else 60

    def came(self: Session, item: Any) -> None:
        for event in getattr(item, "events", ()):
            if event.name == "realtimeBar" and (event.args[1] + 5) % size == 0:
                arrived.setdefault(event.args[1] + 5, item.at)
        take(self, item)

    def sent(self: Orders, *args: Any, **kwargs: Any) -> None:
        place(self, *args, **kwargs)
        placed.setdefault(max(arrived), []).append(monotonic())

    def enough(picture: dict[str, Any]) -> bool:
        return sum(len(times) == len(names) for times in placed.values()) >= count + 2

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "quant.toml").write_text("")
        stocked(root / "server", names)
        limits = {
            "orders_per_minute": 1e6,
            "orders_per_day": 1e6,
            "max_working_total": 1000,
            "max_notional": 1e9,
        }
        job = draft(root / "data", bar=bar, capital=1e8, limits=limits, sizing="shares:1")
        job = replace(job, specs=tuple(ContractSpec(name, currency="USD") for name in names))
        with (
            served(speed, root / "server") as port,
            patch("live_run.PATIENCE_S", 1200.0),
            patch.object(Session, "_take", came),
            patch.object(Orders, "place", sent),
        ):
            ended, told = play(job, port, root / "data", enough)
    assert ended.code == 0, told[-3:]
    whole = [end for end, times in sorted(placed.items()) if len(times) == len(names)]
    return [max(placed[end]) - arrived[end] for end in whole[1 : count + 1]]  # the first order travels alone
