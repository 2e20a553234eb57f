"""A stop at TWS, by TWS's own books, at any moment: the bar that was to end its position came too late."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from live_run import ACCOUNT, PATIENCE_S, SPEED, START, again, draft, ledger, play
from live_tws import Patient

from quant.app.cli import cli
from quant.core.barsize import SECOND
from quant.core.clock import monotonic
from quant.core.orders import Kind
from quant.ib import pacing
from quant.live.run import tape
from quant.live.run.deployment import code_of, live_folder
from quant.live.run.job import Job
from quant.oms.gate import Purpose
from quant.oms.reason import reason_of
from quant.strategy import parameters, strategy
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, running

BEGINS = START + 120 * SECOND  # END of the first bar that wants something
BLIP = START + 330 * SECOND  # END of the only later one that wants nothing
BAR = 30 * SECOND
# Well behind the bar after it, and well before the next: on a busy machine the runner's clock lags TWS's by seconds.
TOO_LATE = BLIP + BAR + BAR // 2
CODE = f'''"""Long from a moment on, but for one bar."""
import numpy as np
import quant as q


class Blip(q.Strategy):
    """Wants 1, with a stop where `stop` is above 0."""
    params = dict(stop=0.1)

    @staticmethod
    def signals(bars, p):
        wants = (bars.end >= {BEGINS}) & (bars.end != {BLIP})
        return q.Signals(wants, stop=bars.close * (1 - p.stop)) if p.stop else q.Signals(wants)
'''


@dataclass
class Watched:
    """A TWS that is looked at whenever it tells something. seen: (held, covered by working stops), while held."""

    port: int
    clock: Clock
    seen: list[tuple[Decimal, Decimal]] = field(default_factory=list)
    swaps: int = 0

    def wait(self, moment: int) -> None:
        """Do nothing until TWS's time has come there: a process that stands still."""
        began = monotonic()
        while self.clock.now() <= moment:
            assert monotonic() - began < PATIENCE_S

    def guarded(self, swaps: int) -> None:
        """Check that all was covered, and twice only where one stop took the place of another."""
        assert self.seen
        assert all(covered in (held, 2 * held) for held, covered in self.seen), self.seen
        twice = [False, *(covered == 2 * held for held, covered in self.seen)]
        assert sum(b and not a for a, b in pairwise(twice)) == swaps
        assert not twice[-1]


@contextmanager
def watched() -> Iterator[Watched]:
    clock = Clock(Patient(), speed=SPEED, start=START)
    tws = simulated(None, account=ACCOUNT, rate_limited=False)
    tell = tws.tell

    def told(*args: Any, **kwargs: Any) -> None:
        held = sum((h.quantity for h in tws.account.holdings), Decimal(0))
        stops = [one for one in tws.exchange.open_orders if one.request.kind == "STP"]
        if held:
            found.seen.append((held, -sum((one.request.side * one.remaining for one in stops), Decimal(0))))
        tell(*args, **kwargs)

    tws.tell = told  # type: ignore[method-assign]
    with running(Server(tws, clock)) as port:
        found = Watched(port, clock)
        yield found


def blip(data: Path, sizing: str, **params: float) -> Job:
    """Return what is to run."""
    made = draft(data, name="blip", sizing=sizing)
    folder = data.parent / "strategies"
    (folder / "blip.py").write_text(CODE)
    cls = strategy("blip", folder)
    told = made.deployment
    told = replace(
        told, strategy="blip", class_name="Blip", params=parameters(cls, params), sources=code_of(cls),
        disaster_stop=None if params.get("stop", 0.1) else 10.0,
    )  # fmt: skip
    return replace(made, deployment=told, strategy=cls)


def stops(picture: dict[str, Any], *states: str) -> list[str]:
    return [o["ref"] for o in picture["orders"] if o["kind"] == "STP" and o["state"] in states]


def holds(picture: dict[str, Any]) -> bool:
    return bool(picture["feeds"][0]["position"] and stops(picture, "working"))


def swapped(picture: dict[str, Any]) -> bool:
    return bool(len(stops(picture, "working")) == 1 and stops(picture, "cancelled"))


def check(data: Path, job: Job, told: list[str]) -> None:
    """Check our own books: the entry alone was traded, and the late bar is on the tape."""
    held = ledger(data, job)
    tickets = [intent.ticket for intent in held.intents]
    assert [t.kind for t in tickets] == [Kind.MARKET, Kind.STOP, Kind.STOP], told
    assert [int(t.quantity / tickets[0].quantity) for t in tickets] == [1, -1, -1]
    assert reason_of(held.intents[2]).purpose is Purpose.PROTECTION
    assert reason_of(held.intents[2]).bar > BLIP
    folder = live_folder(data, "blip")
    lines = [line for day in tape.days(folder) for line in tape.read(folder, day)]
    changes = [
        (line.end, line.target)
        for line in lines
        if isinstance(line, tape.DecisionLine)
        if line.how == tape.LATE
    ]
    assert changes[:1] == [(BLIP, 0.0)]
    assert not [line for line in told if "without a stop" in line]


@pytest.mark.parametrize(("sizing", "stop"), [("shares:7", 0.1), ("percent:95", 0.1), ("percent:95", 0.0)])
def test_a_process_that_stood_still(data: Path, sizing: str, stop: float) -> None:
    job = blip(data, sizing, stop=stop)
    with watched() as tws:

        def stalled(picture: dict[str, Any]) -> bool:
            if holds(picture) and tws.clock.now() < BLIP:
                tws.wait(TOO_LATE)
            return swapped(picture)

        ended, told = play(job, tws.port, data, stalled)
        assert ended.code == 0, told
        check(data, job, told)
        tws.guarded(1)


def test_parity_names_the_late_bar(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "IDENTICAL_S", 0.1)  # this TWS counts nothing, and the test need not wait
    with watched() as tws:

        def stalled(picture: dict[str, Any]) -> bool:
            if holds(picture) and tws.clock.now() < BLIP:
                tws.wait(TOO_LATE)
            return swapped(picture)

        ended, told = play(blip(data, "percent:95"), tws.port, data, stalled)
        assert ended.code == 0, told
        result = CliRunner().invoke(cli, ["parity", "blip", "--port", str(tws.port), "--json"])
    seen = json.loads(result.stdout)
    # It ended just behind the bar, or later: with the first the old stop is still there where the model's is gone.
    assert (result.exit_code, seen["unexplained"], seen["diverged"]) == (0, 0.0, 0), seen["differences"]
    (close,) = [one for one in seen["orders"] if one["reason"] == "close"]
    assert (close["live"], close["why"]) == ("", "its bar could not be traded in time")
    assert [one["reason"] for one in seen["orders"] if one["live"]][:2] == ["entry", "stop"]


@pytest.mark.parametrize("once", [False, True])
def test_a_restart(data: Path, once: bool) -> None:
    job = blip(data, "percent:95")
    with watched() as tws:
        ended, told = play(job, tws.port, data, holds)
        assert ended.code == 0, told
        assert tws.clock.now() < BLIP
        tws.wait(TOO_LATE)
        job = replace(again(data, job), once=once)
        ended, more = play(job, tws.port, data, (lambda picture: False) if once else swapped)
        assert ended.code == 0, more
        check(data, job, told + more)
        tws.guarded(1)
