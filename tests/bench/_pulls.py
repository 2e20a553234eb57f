"""What the other figures of a download are measured by: IB's limits in virtual time, kills, damaged frames."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.synthetic import synthetic
from quant.ib.download import pull
from quant.tws.exchange.builtin import STOCKS
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, running
from tests.ib.download.virtual_world import NOON, World, content, market, ns, pulled

SYMBOLS = 20
IN_TEN_MINUTES = 60  # requests for bars of 30 s or less: IB's limit
FUZZ = ("tests/ib/test_wire_fuzz.py", "tests/tws/codec/test_codec_fuzz.py")
ASKED: tuple[Any, ...] = (["SPY", "MSFT"], "5m", "2024-03-01", "2024-05-14")
CHILD = f"""
import sys
from quant import pull
print("begun", flush=True)
sys.exit(not pull(*{ASKED!r}, port=int(sys.argv[1]), data=sys.argv[2]).ok)
"""


def limits(requests: int) -> dict[str, Any]:
    """The time that IB's limits ask for so many requests for 30-second bars, against the time that a pull takes.

    Client and simulated TWS run whole, joined by their bytes, in virtual time; the server counts violations.
    """
    sessions = requests // SYMBOLS
    whole = synthetic("S", "30s", "2022-03-01" if sessions > 40 else "2024-03-01", "2024-05-15")
    first = np.flatnonzero(np.append(True, whole.session[1:] != whole.session[:-1]))[-sessions:]
    with tempfile.TemporaryDirectory() as folder:
        bars = [of_symbol(whole, number, first) for number in range(SYMBOLS)]
        world = World(market(Path(folder) / "server", *bars), ns("2024-05-15 21:00"))
        world.tws.history_ns = 700_000_000
        began = world.now()
        names = [one.symbol for one in bars]
        report = pulled(world, Path(folder) / "data", names, "30s", str(bars[0].session[0]))
    took, count = world.now() - began, len(world.asked)
    assert report.ok, report
    assert count == requests, (count, requests)
    broken = sum(world.tws.pacing.violations.values()) + world.tws.open_history.violations
    broken += sum(link.violations for link in world.links)
    assert broken == 0, f"{broken} violations"
    least = 600 * ((count - 1) // IN_TEN_MINUTES)  # sixty at once, then sixty in each ten minutes
    return {
        "what": f"{count:,} requests of {SYMBOLS} symbols, virtual clock: share of what IB's pacing allows",
        "measured": 100 * least / took,
        "unit": "%",
        "at_least": 90.0,
        "aim": 99.0,
        "baseline": f"{least / 3600:.2f} h by the rules alone, {took / 3600:.2f} h taken, no violation counted",
    }


def of_symbol(whole: Bars, number: int, first: Any) -> Bars:
    """Three bars of each session, so that answers are short and time goes into the limits."""
    rows = (first[:, None] + np.arange(3)).ravel()
    instrument = replace(STOCKS[0].instrument, symbol=f"S{number}", con_id=5000 + number)
    columns = {n: getattr(whole, n)[rows] for n in ("start", *COLUMNS)}
    return replace(whole, instrument=instrument, source="vendor", **columns)


def kills(count: int) -> dict[str, Any]:
    """Pulls in processes that are killed at random moments, then asked for again, against one without an end."""
    tws = simulated(rate_limited=False, history_s=0.0)
    rng, same, killed, begun = random.Random(5), 0, 0, 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Server(tws, Clock(lambda: 0, speed=0.0, start=NOON))) as port,
    ):
        whole = Path(folder) / "whole"
        assert pull(*ASKED, port=port, data=whole).ok
        while killed < count:  # one that had ended by then does not count
            data = Path(folder) / f"{begun}"
            begun += 1
            if killed_at_random(port, data, rng.uniform(0.0, 0.5)):
                killed += 1
                assert pull(*ASKED, port=port, data=data).ok
                same += content(data) == content(whole)
    return {
        "what": f"{count} pulls killed with kill -9 and called again: equal to one without an end, byte for byte",
        "measured": float(same),
        "unit": "pulls",
        "at_least": float(count),
        "aim": float(count),
        "baseline": f"of {begun} begun; bars, coverage and what is confirmed empty are compared",
    }


def killed_at_random(port: int, data: Path, after_s: float) -> bool:
    """Kill a pull so long after its first write; False if it had ended by then."""
    command = [sys.executable, "-c", CHILD, str(port), str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        until = time.monotonic() + 20.0
        while not list(data.rglob("manifest.json")) and time.monotonic() < until and child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(0.005)
        with suppress(subprocess.TimeoutExpired):
            child.wait(after_s)
        child.kill()
    return child.returncode != 0


def fuzz(full: bool) -> dict[str, Any]:
    """Damaged frames for our client and for the simulated TWS, by the tests themselves."""
    frames = 1_000_000 if full else 20_000
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FUZZ]
    done = subprocess.run(
        [*command, *(["--full"] if full else [])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return {
        "what": "damaged frames read by the client, as many by the simulated TWS: no hang, crash or wrong value",
        "measured": frames / 1e3,
        "unit": "k frames each",
        "at_least": frames / 1e3,
        "aim": frames / 1e3,
        "baseline": f"pytest {' '.join(FUZZ)}, {time.perf_counter() - began:.0f} s",
    }
