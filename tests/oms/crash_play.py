"""Kills of a deployment that is joined to its simulated TWS in memory: at named failpoints and at random moments."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from joined import Joined, Killed

from quant.core.orders import Kind
from quant.oms import failpoints
from quant.oms.desk.setup import Why
from quant.oms.gate import Gate
from quant.oms.reconcile.outcome import Policy
from quant.tws.faults import Do, Fault
from quant.tws.order_faults import OrderDo, OrderFault
from tests.oms.trader import SPY, setup

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


def modifying(folder: Path, exits: int, *, again: int = 0) -> list[str]:
    """Move the exits of a position again and again, each time killed one place later; return the places in order.

    exits: 1, the stop of a bracket, or 2, a stop and a limit of one group. again: not 0, the process that comes after a
    kill is killed too, at the so-many-th place that it passes. Each time the journal's orders must be TWS's, one for
    one, at the new prices as soon as these are journalled.
    """
    joined = Joined(folder, settings=setup())
    joined.start().opened()
    refs, places = held(joined, exits), list[str]()
    for step in count(1):
        before = prices(joined, refs)
        after = {ref: round(price + step / 100, 2) for ref, price in before.items()}
        reached = arm_any(step)
        try:
            move(joined, after)
            joined.run(3)
        except Killed as killed:
            joined.kill(str(killed))
            places.append(reached[-1])
            if again:
                arm_any(again)
            start(joined)
            opened(joined)
        else:
            failpoints.hook = None
            break
        agree(joined, after if "after_commit" in reached else before)
    joined.quiet()
    joined.check()
    joined.stop()
    return places


def opened(joined: Joined) -> None:
    """Let the process of after a kill come to an open gate, also where it is killed on its way there."""
    while True:
        try:
            joined.opened()
            joined.run(3)
        except Killed as killed:
            joined.kill(str(killed))
            start(joined)
        else:
            failpoints.hook = None
            return


def held(joined: Joined, exits: int) -> list[str]:
    """Buy at the market with so many exits far from it; return their refs."""
    trader = joined.trader
    entry, stop = trader.bracket(10, away=0.06)
    if exits == 1:
        trader.submit(entry, stop)
    else:
        trader.submit(replace(entry, transmit=True))
        joined.until(lambda: trader.desk.positions == {SPY: 10})
        limit = trader.ticket(
            -10, kind=Kind.LIMIT, limit=round(joined.prices()[SPY] * 1.06, 2), tif=stop.tif, oca=stop.ref
        )
        trader.submit(replace(stop, parent="", oca=stop.ref), limit)
    joined.run(5)
    assert trader.desk.positions == {SPY: 10}
    refs = list(trader.desk.unsettled_orders)
    assert len(refs) == exits
    return refs


def prices(joined: Joined, refs: list[str]) -> dict[str, float]:
    """At which prices the journal has them."""
    tickets = (joined.trader.desk.intent(ref).ticket for ref in refs)
    return {t.ref: price for t in tickets for price in (t.stop, t.limit) if price is not None}


def move(joined: Joined, wanted: dict[str, float]) -> None:
    """Modify exits."""
    desk, tickets = joined.trader.desk, []
    for ref, price in wanted.items():
        ticket = desk.intent(ref).ticket
        tickets.append(replace(ticket, **{"limit" if ticket.stop is None else "stop": price}))
    answer = desk.modify(tickets, Why(text="follows"), joined.world.ns())
    assert answer.taken, answer


def agree(joined: Joined, wanted: dict[str, float]) -> None:
    """Journal and TWS have each order once, at the price that was wanted last."""
    assert prices(joined, list(wanted)) == wanted
    views = [v for v in joined.world.tws.exchange.orders if v.request.reference in wanted]
    assert len(views) == len(wanted)
    theirs = {v.request.reference: v.request.stop or v.request.limit for v in views if not v.over}
    assert theirs == wanted
    assert joined.trader.desk.gate is Gate.OPEN
    assert joined.trader.desk.positions == {SPY: 10}


def arm_any(times: int) -> list[str]:
    """Kill the process at the n-th place that it passes from now; return those that it passes, as it does."""
    passed: list[str] = []

    def hook(name: str) -> None:
        passed.append(name)
        if len(passed) == times:
            raise Killed(name)

    failpoints.hook = hook
    return passed
