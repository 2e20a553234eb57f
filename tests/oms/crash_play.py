"""Kills of a deployment that is joined to its simulated TWS in memory: at named failpoints and at random moments."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from joined import Joined, Killed

from quant.oms import failpoints
from quant.oms.reconcile.outcome import Policy
from quant.tws.faults import Do, Fault
from quant.tws.order_faults import OrderDo, OrderFault
from tests.oms.trader import setup

AT_RANDOM: Final = "at random"


def faults(seed: int) -> list[Fault | OrderFault]:
    """What TWS does besides, while it is killed around it: late bookings, drops, lost callbacks, cut lines."""
    dice = random.Random(f"faults {seed}")
    every = dict(count=0, chance=0.08)
    rows: list[Fault | OrderFault] = [
        OrderFault(OrderDo.LATE, seconds=dice.uniform(1, 30), **every),
        OrderFault(OrderDo.DROP, **every),
        OrderFault(OrderDo.LOSE_EXEC, **every),
        OrderFault(OrderDo.PARTS, **every),
        OrderFault(OrderDo.REPEAT, times=2, **every),
        Fault(Do.RESET, "PlaceOrderRequest", count=0, chance=0.05),
        Fault(Do.CLOSE, "ExecutionDetails", count=0, chance=0.05),
    ]
    return rows[: dice.randint(0, len(rows))]


def play(
    folder: Path, seed: int, kills: int, wanted: str = "", *, gap_s: float = 5.0, bars: int = 1000
) -> Joined:
    """Trade until the deployment was killed so many times; at `wanted` only, or wherever it comes."""
    dice = random.Random(f"kills {seed}")
    joined = Joined(folder, seed, faults(seed), settings=setup(policy=Policy(gap_s=gap_s)))
    start(joined)
    waited = 0
    for _ in range(bars):
        if (joined.kills[wanted] if wanted else sum(joined.kills.values())) >= kills:
            break
        if failpoints.hook is None and dice.random() < 0.7:
            arm(wanted or dice.choice((*failpoints.NAMES, AT_RANDOM)), dice)
            waited = 0
        elif waited == 4:  # e.g. nothing is in doubt, so that there is no recovery to be killed in
            joined.kill()
            arm(wanted or AT_RANDOM, dice)
            start(joined)
            waited = 0
        waited += 1
        try:
            joined.trade(1, dice.choice((2.0, 8.0, 15.0)), person=0.8)
        except Killed as killed:
            joined.kill(str(killed))
            start(joined)
    joined.quiet()
    joined.check()
    joined.stop()
    return joined


def start(joined: Joined) -> None:
    """Start the next process; a kill that waits may strike it while it reads its journal."""
    while True:
        try:
            joined.start()
        except Killed as killed:
            joined.kill(str(killed))
        else:
            return


def arm(name: str, dice: random.Random) -> None:
    """Kill the process when it reaches a place for the n-th time from now, or any place."""
    left = dice.choice((1, 1, 2, 3, 5)) if name != AT_RANDOM else dice.randint(1, 40)

    def hook(reached: str) -> None:
        nonlocal left
        left -= reached == name or name == AT_RANDOM
        if left <= 0:
            raise Killed(name)

    failpoints.hook = hook
