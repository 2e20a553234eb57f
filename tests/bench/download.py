"""Download: one-minute bars from the simulated TWS over loopback, decoded by our client and by IB's own, and what else
a download is held to: IB's limits, kills, damaged frames (_pulls.py).

The server is `quant tws` in a process of its own, on bars of a store; client and server share the machine's cores.
IB's limits on messages are lifted on both sides, for they would be what is measured: 45 answers a second.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ibapi.client import EClient
from ibapi.server_versions import MAX_CLIENT_VER
from ibapi.wrapper import EWrapper

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.core.synthetic import synthetic
from quant.ib.contracts import ContractSpec
from quant.ib.pacing import HistoryCost, Pacing
from quant.ib.requests import historical_bars, write_time
from quant.ib.session import Session
from quant.ib.wire import Wire
from quant.store import Store
from tests.bench._pulls import fuzz, kills, limits

SPY = ContractSpec("SPY", currency="USD")
TEXT = 178  # the highest version without protobuf that clients besides IB's own speak
AT_ONCE = 40  # open requests; TWS allows 50
PATIENCE_S = 60.0
IDS = itertools.count(1)  # of clients: ibapi's reader holds on to a closed socket for a second


def run(full: bool) -> list[dict[str, Any]]:
    """Return the figures: IB's limits, protobuf and text, kills, damaged frames.

    full: 10,000 requests, the whole year and seven pairs, 50 kills, a million frames; else 400, a quarter and three,
    3, 20,000.
    """
    within = limits(10_000 if full else 400)
    bars = synthetic("SPY", "1m", "2023-01-03", "2023-12-29" if full else "2023-03-31")
    bars = replace(bars, instrument=replace(bars.instrument, exchange="ARCA", con_id=756733), source="bench")
    ends = [datetime.fromtimestamp(end // SECOND, UTC) for end in session_ends(bars)]
    with tempfile.TemporaryDirectory() as folder:
        Store(folder).write(bars, {"kind": "bench", "at": "2026-01-01T00:00:00+00:00"})
        with server(folder) as (port, server_cpu):
            speed = [
                figure(kind, version, port, ends, len(bars), 7 if full else 3, server_cpu)
                for kind, version in (("protobuf", MAX_CLIENT_VER), ("text", TEXT))
            ]
    return [within, *speed, kills(50 if full else 3), fuzz(full)]


def session_ends(bars: Bars) -> list[int]:
    """Return when each session's last bar is over."""
    last = [*(bars.session[1:] != bars.session[:-1]).nonzero()[0].tolist(), len(bars) - 1]
    return [int(bars.end[row]) for row in last]


def figure(
    kind: str, version: int, port: int, ends: list[datetime], bars: int, pairs: int, server_cpu: Any
) -> dict[str, Any]:
    """Median of interleaved downloads by both clients, each checked to have every bar."""
    ours, theirs, shares = [], [], []
    for number in range(-1, pairs):  # the first pair warms both ends
        ours_s, cpu, served = by_session(port, version, ends, bars, server_cpu)
        ibapi_s = by_ibapi(port, version, ends, bars)
        if number >= 0:
            ours.append(bars / ours_s)
            theirs.append(bars / ibapi_s)
            shares.append((cpu / bars * 1e6, served / bars * 1e6))
    client_us, server_us = (statistics.median(s) for s in zip(*shares, strict=True))
    ibapi = statistics.median(theirs)
    return {
        "what": f"{bars:,} one-minute bars in {len(ends)} requests over loopback as {kind}, decoded by quant.ib",
        "measured": statistics.median(ours) / 1e3,
        "unit": "k bars/s",
        "at_least": 50.0 if kind == "protobuf" else 25.0,
        "aim": 100.0 if kind == "protobuf" else 50.0,
        "baseline": f"unmodified ibapi {ibapi / 1e3:.3g}k bars/s; CPU a bar: client {client_us:.1f} us, server "
        f"{server_us:.1f} us",
        "all": ours,
        "all_ibapi": theirs,
    }


# ---------------------------------------------------------------- the server
@contextmanager
def server(folder: str) -> Iterator[tuple[int, Any]]:
    """Give the port of `quant tws` on a folder of bars, its clock standing in 2024, and how to read its CPU time."""
    command = [
        sys.executable,
        "-m",
        "quant",
        "tws",
        "--port",
        "0",
        "--clock",
        "step",
        "--start",
        "2024-01-05 16:00",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--data", folder], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", told)
        assert found is not None, told + process.stderr.read()
        yield int(found[1]), partial(cpu_seconds, process.pid)
        process.communicate(timeout=PATIENCE_S)  # the end of its input ends it


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, NaN where the system does not tell."""
    try:
        import psutil
    except ImportError:
        return math.nan
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


# ---------------------------------------------------------------- clients
class Unpaced(Pacing):
    """Lets everything through."""

    def next_allowed(self, cost: HistoryCost | None, now: float) -> float:
        """Return `now`."""
        return now


def by_session(
    port: int, version: int, ends: list[datetime], bars: int, server_cpu: Any
) -> tuple[float, float, float]:
    """Return seconds of the clock, of our CPU, of the server's CPU."""

    def link(inbox: Any) -> Any:
        return Wire.open("127.0.0.1", port, inbox, clock=time.monotonic, newest=version)

    with Session(port=port, client_id=next(IDS), pacing=Unpaced(), open_link=link) as session:
        session.connect()
        began, cpu, served = time.perf_counter(), time.process_time(), server_cpu()
        waiting = [historical_bars(SPY, "1m", "1 D", end) for end in reversed(ends)]
        under_way, found = [], 0
        while waiting or under_way:
            while waiting and len(under_way) < AT_ONCE:
                under_way.append(session.begin(waiting.pop()))
            session.poll(PATIENCE_S)
            done = [p for p in under_way if p.done]
            under_way = [p for p in under_way if not p.done]
            found += sum(len(p.result().rows) for p in done)
        took = time.perf_counter() - began, time.process_time() - cpu, server_cpu() - served
    assert found == bars, (found, bars)
    return took


@dataclass
class Ibapi(EWrapper, EClient):  # type: ignore[misc]
    """IB's client as it comes, which asks for the next session whenever one has ended."""

    waiting: list[str]
    bars: int = 0
    left: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        EClient.__init__(self, self)
        self.left = len(self.waiting)

    def nextValidId(self, orderId: int) -> None:  # noqa: N802, N803  # ibapi's names
        """Take note of the start."""
        self.ready.set()

    def error(self, *told: Any) -> None:
        """Keep silent: the start's notices come as errors, and a refusal shows as missing bars."""

    def historicalData(self, reqId: int, bar: Any) -> None:  # noqa: N802, N803
        """Count a bar."""
        self.bars += 1

    def historicalDataEnd(self, reqId: int, start: str, end: str) -> None:  # noqa: N802, N803
        """Ask for more."""
        self.left -= 1
        if self.waiting:
            self.ask()
        elif self.left == 0:
            self.done.set()

    def ask(self) -> None:
        """Ask for the bars of one session."""
        end = self.waiting.pop()
        self.reqHistoricalData(len(self.waiting), SPY.to_ib(), end, "1 D", "1 min", "TRADES", 1, 2, False, [])


def by_ibapi(port: int, version: int, ends: list[datetime], bars: int) -> float:
    """Return seconds of the clock."""
    app = Ibapi([write_time(end) for end in reversed(ends)])
    app.connect("127.0.0.1", port, next(IDS))
    thread = threading.Thread(target=app.run, daemon=True)
    thread.start()
    assert app.ready.wait(PATIENCE_S)
    began = time.perf_counter()
    for _ in range(min(AT_ONCE, len(app.waiting))):
        app.ask()
    assert app.done.wait(PATIENCE_S)
    took = time.perf_counter() - began
    app.disconnect()
    thread.join(PATIENCE_S)
    assert app.bars == bars, (app.bars, bars)
    return took
