"""Kills processes that trade over sockets, starts them again, and compares their journal with TWS's books.

The simulated TWS lives in this process; the deployment (tests.oms.trader) in one of its own, which the system kills.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from quant.core.barsize import SECOND
from quant.oms import failpoints
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Faults
from quant.tws.order_faults import OrderDo, OrderFault
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

ROOT = Path(__file__).parents[2]
NOON = 1_715_788_800 * SECOND  # 2024-05-15 12:00 in New York, a Wednesday
BARS = 12  # decisions of one life; the gate opens at about the eighth


@dataclass
class Found:
    """What came of it. kills: of processes. orders: that TWS has. wrong: what was broken."""

    kills: int = 0
    orders: int = 0
    book: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def supervise(folder: Path, seed: int, kills: int) -> Found:
    """Kill so many processes: three of four at a failpoint by themselves, else from outside at any moment."""
    dice, found = random.Random(f"supervisor {seed}"), Found()
    tws = simulated(rate_limited=False, seed=seed)
    script = [
        OrderFault(OrderDo.LATE, seconds=0.5, count=0, chance=0.1),
        OrderFault(OrderDo.DROP, count=0, chance=0.05),
        OrderFault(OrderDo.LOSE_EXEC, count=0, chance=0.1),
    ]
    server = Server(tws, Clock(outside_ns, speed=1.0, start=NOON), faults=Faults(script, seed))
    bar = 1
    with running(server) as port:
        while found.kills < kills:
            place = dice.choice((*3 * failpoints.NAMES, *8 * ("",)))
            bar += _life(folder, port, seed, bar, place, dice, found)
        found.book = _rest(folder, port, seed, bar)
    found.wrong += found.book["wrong"]
    _compare(tws, found)
    return found


def _begin(folder: Path, port: int, seed: int, bar: int, bars: int, *more: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "tests.oms.trader",
        str(folder),
        str(port),
        str(seed),
        str(bar),
        str(bars),
        *more,
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _life(folder: Path, port: int, seed: int, bar: int, place: str, dice: random.Random, found: Found) -> int:
    """Run one process until it dies; return how many bars it decided."""
    more = (place, str(dice.choice((1, 2, 3, 5)))) if place else ()
    decided, last = 0, dice.randint(1, BARS)
    with _begin(folder, port, seed, bar, BARS, *more) as process:
        assert process.stdout is not None
        for line in process.stdout:
            decided += "bar" in json.loads(line)
            if (not place and decided >= last) or decided >= BARS:
                break
        process.kill()
        process.wait(20)
    found.kills += 1
    return decided


def _rest(folder: Path, port: int, seed: int, bar: int) -> dict[str, Any]:
    """Let a last process come to rest; return its book."""
    with _begin(folder, port, seed, bar, 0) as process:
        told, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors[-2000:]
    book: dict[str, Any] = json.loads(told.splitlines()[-1])
    return book


def _compare(tws: Any, found: Found) -> None:
    perms: dict[str, set[int]] = defaultdict(set)
    for view in tws.exchange.orders:
        perms[view.request.reference].add(view.perm_id)
    found.orders = len(perms)
    found.wrong += [f"{ref} was doubled" for ref, ids in perms.items() if len(ids) > 1]
    found.wrong += [f"{ref} is not in the journal" for ref in perms if ref not in found.book["orders"]]
    found.wrong += [f"{ref} has not ended" for ref in found.book["open"]]
    held = {str(h.listing.con_id): h.quantity for h in tws.account.holdings if h.quantity}
    ours = {c: Decimal(q) for c, q in found.book["positions"].items()}
    if held != ours:
        found.wrong.append(f"the broker holds {held}, the journal {ours}")
