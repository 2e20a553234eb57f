"""Sweeps: one core, two, memory, the first of all, and other engines, on a grid of MACD crossings (issue 4, DESIGN §6).

Nanoseconds are of CPU time, which a busy machine stretches less than the clock's; only two cores are timed by the wall.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import quant as q
from tests.bench._peers import NotMeasured, Peer, installed
from tests.bench._sweep_child import GRID

ROOT = Path(__file__).resolve().parents[2]
BARS = 100_000
COMBOS = 1_000
SUMS = 200

# A tenth of GRID for the peers; the slow ones take a part of it: they need 5 and 65 us a bar and combination.
HUNDRED = {"fast": (5, 9, 13, 17, 21), "slow": (30, 40, 50, 60, 70), "signal": (5, 8, 11, 14)}
PART = {"fast": (13,), "slow": (30, 40, 50, 60, 70), "signal": (8,)}
FEW = {"fast": (13,), "slow": (30, 70), "signal": (8,)}
SAME_ACCOUNT: dict[str, Any] = {"cash": 1e6, "costs": "percent:0.05", "sizing": "shares:10"}
TRADES_APART = 10  # of thousands, in any combination: their averages start on another bar


def run(full: bool) -> list[dict[str, Any]]:
    """Return the figures. full: more repetitions, twenty pairs for two cores, 1,000 combinations for memory."""
    bars = q.synthetic("BENCH", "1m", "2020-01-01", "2021-02-10")[:BARS]
    assert len(bars) == BARS
    return [
        one_core(bars, 7 if full else 3),
        two_cores(bars, 20 if full else 5),
        against_peers(bars, full),
        *memory((200, COMBOS) if full else (50, 200)),
        first_sweep(3 if full else 1),
    ]


def swept(bars: q.Bars, grid: Any, workers: int | None, **settings: Any) -> q.Sweep:
    """Sweep without a folder and without verification, and hold it to having no failed row."""
    made = q.sweep("macd", bars, grid, workers=workers, save=False, verify=0, **settings)
    assert made.settings["engine"] == "compiled", made.findings
    assert np.isfinite(made.table["final_value"]).all()
    return made


def timed(call: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, Any]:
    """Return what one call took by this clock, and what it returned."""
    gc.collect()  # what the call before left is not this one's to clear
    began = clock()
    result = call()
    return clock() - began, result


# ---------------------------------------------------------------- one core, two cores
def one_core(bars: q.Bars, repeats: int) -> dict[str, Any]:
    """CPU time of the least disturbed of interleaved repeats, per bar and combination."""
    made = swept(bars, GRID, 1)
    assert len(made.table) == COMBOS
    sums = np.empty(BARS)
    ours, plain = [], []
    for _ in range(repeats):
        ours.append(timed(lambda: swept(bars, GRID, 1), time.process_time)[0])
        plain.append(
            timed(lambda: [np.cumsum(bars.close, out=sums) for _ in range(SUMS)], time.process_time)[0]
        )
    fills = 2.0 * made.table["trades"].mean() / BARS
    of = f"{COMBOS:,} MACD combinations x {BARS:,} one-minute bars"
    return {
        "what": f"q.sweep of {of}, {fills:.3f} fills a bar, one core",
        "measured": min(ours) / (BARS * COMBOS) * 1e9,
        "unit": "ns",
        "at_most": 12.0,
        "aim": 8.0,
        "baseline": f"numpy's cumsum of the closes {min(plain) / (BARS * SUMS) * 1e9:.2f} ns a bar{load()}",
        "all_ns": [s / (BARS * COMBOS) * 1e9 for s in ours],
    }


def two_cores(bars: q.Bars, pairs: int) -> dict[str, Any]:
    """The least of the paired wall ratios, beside what the machine gives two threads that share nothing."""
    swept(bars, GRID, 2)
    ours, machine = [], []
    for _ in range(pairs):
        one, two = (timed(lambda n=n: swept(bars, GRID, n), time.perf_counter)[0] for n in (1, 2))
        ours.append(one / two)
        one, two = (timed(lambda n=n: hashing(n), time.perf_counter)[0] for n in (1, 2))
        machine.append(one / two)
    return {
        "what": f"the same, wall time of one worker against two, least of {pairs} pairs",
        "measured": min(ours),
        "unit": "x",
        "at_least": 1.8,
        "aim": 1.9,
        "baseline": f"median {statistics.median(ours):.2f}; two threads of sha256 in between: least "
        f"{min(machine):.2f}, median {statistics.median(machine):.2f}{load()}",
        "all": ours,
        "all_machine": machine,
    }


def hashing(threads: int) -> None:
    """Do the same work in so many threads: no GIL, no allocation, 1 MB each."""
    data = bytes(1_000_000)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: [hashlib.sha256(data) for _ in range(300 // threads)], range(threads)))


def load() -> str:
    """Return how busy the machine was in the last minute, where it tells."""
    return f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


# ---------------------------------------------------------------- other engines
def against_peers(bars: q.Bars, full: bool) -> dict[str, Any]:
    """Return how many times sooner than the best of them, by the wall and as each comes; median of paired runs.

    Ours comes with a worker a core, the others use one.
    """
    figure = {
        "what": f"the same rule, 100 combinations x {BARS:,} bars, wall time as each comes ({os.cpu_count()} cores "
        "here), against the best of vectorbt (numba and rust), backtesting.py and backtrader",
        "unit": "x",
        "at_least": 30.0,
        "aim": 60.0,
    }
    try:
        found = peers(bars, full)
    except NotMeasured as e:
        return figure | {"measured": math.nan, "baseline": f"not measured: {e}"}
    names = [n for n, f in found.items() if "wall_ratio" in f]
    if not any(n.startswith("vectorbt") for n in names):
        told = "; ".join(f"{n}: {f['why_not']}" for n, f in found.items() if n not in names)
        return figure | {"measured": math.nan, "baseline": f"not measured: {told}", "peers": found}
    best = min(names, key=lambda n: found[n]["wall_ratio"])
    told = ", ".join(f"{n} {found[n]['told']}" for n in found)
    return figure | {
        "measured": found[best]["wall_ratio"],
        "baseline": f"{best} is the best; {told}",
        "peers": found,
    }


def peers(bars: q.Bars, full: bool) -> dict[str, dict[str, Any]]:
    """Return what was found of each peer: ratio, ns and trades apart, or why it was not measured."""
    python = installed()
    rounds = 7 if full else 3
    asked: list[tuple[str, tuple[str, ...], dict[str, Any], int]] = [
        ("vectorbt numba", ("vectorbt_macd.py", "numba"), HUNDRED, rounds),
        ("vectorbt rust", ("vectorbt_macd.py", "auto"), HUNDRED, rounds),
        ("backtesting.py", ("backtesting_macd.py",), HUNDRED if full else PART, 1),
        ("backtrader", ("backtrader_macd.py",), PART if full else FEW, 1),
    ]
    table = swept(bars, HUNDRED, 1, **SAME_ACCOUNT).table
    trades = table.set_index(list(HUNDRED))["trades"]
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "bars.npz"
        np.savez(
            path, end=bars.end, **{c: getattr(bars, c) for c in ("open", "high", "low", "close", "volume")}
        )
        for name, (script, *arguments), grid, count in asked:
            peer = stack.enter_context(Peer(python, script, path, *arguments))
            expected = [trades[combo] for combo in itertools.product(*grid.values())]
            try:
                found[name] = measured(peer, bars, grid, count, expected)
            except NotMeasured as e:
                found[name] = {"why_not": str(e), "told": f"not measured: {e}"}
    return found


def measured(
    peer: Peer, bars: q.Bars, grid: dict[str, Any], rounds: int, expected: Sequence[float]
) -> dict[str, Any]:
    """Time one peer and ours in turns; it must make the same trades, but for a few."""
    if rounds > 1:
        peer.sweep(grid)  # compiles
    ratios, walls, theirs, ours, simulated, apart = [], [], [], [], [], 0.0
    for _ in range(rounds):
        answer = peer.sweep(grid)
        apart = max(abs(float(a) - float(b)) for a, b in zip(answer["trades"], expected, strict=True))
        assert apart <= TRADES_APART, (apart, answer["trades"], expected)
        theirs.append(answer["cpu_s"] / (BARS * answer.get("runs", len(expected))) * 1e9)
        simulated.append(answer.get("simulation_s", math.nan) / (BARS * len(expected)) * 1e9)
        took = timed(lambda: swept(bars, HUNDRED, 1, **SAME_ACCOUNT), time.process_time)[0]
        ours.append(took / (BARS * 100) * 1e9)
        ratios.append(theirs[-1] / ours[-1])
        wall = timed(lambda: swept(bars, HUNDRED, None, **SAME_ACCOUNT), time.perf_counter)[0]
        walls.append(answer["wall_s"] / answer.get("runs", len(expected)) / (wall / 100))
    ns, alone = statistics.median(theirs), statistics.median(simulated)
    told = f"{ns:,.0f} ns" + ("" if math.isnan(alone) else f" (its simulation alone {alone:,.0f})")
    told += f" against {statistics.median(ours):.1f} on one core ({statistics.median(ratios):.0f} x)"
    told += "" if len(expected) == 100 else f", {len(expected)} combinations"
    return {
        "ratio": statistics.median(ratios), "wall_ratio": statistics.median(walls), "ns": ns,
        "ours_ns": statistics.median(ours), "simulation_ns": alone,
        "trades_apart": apart, "combinations": len(expected), "told": told,
    }  # fmt: skip


# ---------------------------------------------------------------- processes of their own
def child(*arguments: str, **environment: str) -> dict[str, float]:
    """Return what a fresh process tells."""
    command = [sys.executable, "-m", "tests.bench._sweep_child", *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment
    )
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def memory(counts: tuple[int, int]) -> list[dict[str, Any]]:
    """Peak memory of a sweep over 1e6 bars, bars included, above the same process with all libraries loaded."""
    few, many = (child("memory", str(n), "1000000") for n in counts)
    what = f"memory above loaded libraries, {counts[1]:,} combinations x 1,000,000 bars, two workers"
    kept = many["returns"] - few["returns"]
    return [
        {
            "what": what,
            "measured": many["sweep"] - many["libraries"],
            "unit": "MB",
            "at_most": 300.0,
            "aim": 200.0,
            "baseline": f"libraries {many['libraries']:.0f} MB, with the bars made {many['bars']:.0f}, "
            f"after the sweep {many['sweep']:.0f}",
        },
        {
            "what": f"the same, growth from {counts[0]} to {counts[1]:,} combinations",
            "measured": many["sweep"] - few["sweep"],
            "unit": "MB",
            "at_most": kept + 30.0,
            "aim": kept,
            "baseline": f"the sessions' returns, which a sweep keeps, grow by {kept:.1f} MB",
        },
    ]


def first_sweep(repeats: int) -> dict[str, Any]:
    """Seconds of a whole process with an empty cache of compiled code, verification included; median."""
    fresh, again = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            caches = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": f"{folder}/cache"}  # none of the user's own
            for number, times in enumerate((fresh, again)):
                begin = partial(child, "first", f"{folder}/data{number}", **caches)
                took, told = timed(begin, time.perf_counter)
                times.append(told | {"process": took})
    of = {k: statistics.median(t[k] for t in fresh) for k in fresh[0]}
    second = {k: statistics.median(t[k] for t in again) for k in again[0]}
    return {
        "what": "first sweep of a fresh install: import, compile, 100 combinations x 10,000 bars, verified, saved",
        "measured": of["process"],
        "unit": "s",
        "at_most": 10.0,
        "aim": 5.0,
        "baseline": f"CPU {of['cpu']:.2f} s, verification {of['verification']:.2f} s; the second process "
        f"{second['process']:.2f} s, verification {second['verification']:.2f} s{load()}",
        "parts": of,
        "second": second,
    }
