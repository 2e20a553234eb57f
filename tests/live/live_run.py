"""Runs of a deployment against a simulated TWS on loopback whose clock is fast; what is traded is made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from quant.core.barsize import SECOND
from quant.core.clock import monotonic
from quant.core.orders import Snapshot
from quant.ib.contracts import ContractSpec
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.live.run import control
from quant.live.run.deployment import Deployment, code_of, live_folder
from quant.live.run.job import Address, Job
from quant.live.run.lock_file import read
from quant.live.run.runner import Ended, Notify, run
from quant.oms.desk.standings import Standings
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Ledger
from quant.oms.state import OrderStanding
from quant.strategy import parameters, strategy
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Fault, Faults
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

ACCOUNT = "DU1234567"
PATIENCE_S = 60.0  # only a failing test waits that long
SPEED = 60.0
START = int(datetime(2024, 5, 15, 15, 0, tzinfo=UTC).timestamp()) * SECOND  # 11:00 in New York
FLIP = '''"""Long at every other close."""
import numpy as np
import quant as q


class Flip(q.Strategy):
    """Wants 1 and 0 in turn."""
    params = dict(breaks=False)

    @staticmethod
    def signals(bars, p):
        if p.breaks and bars.start[-1] % 7 == 0:
            raise ZeroDivisionError("so it is")
        return (bars.start // bars.bar.ns % 2).astype(float)
'''


@contextmanager
def tws(
    account: str = ACCOUNT, faults: tuple[Fault, ...] = (), start: int = START, outside: Callable[[], int] = outside_ns,
    speed: float = SPEED,
) -> Iterator[int]:  # fmt: skip
    """Give the port of a simulated TWS."""
    clock = Clock(outside, speed=speed, start=start)
    with running(
        Server(simulated(None, account=account, rate_limited=False), clock, faults=Faults(faults))
    ) as port:
        yield port


def draft(data: Path, name: str = "flip-spy", bar: str = "30s", **changes: Any) -> Job:
    """Return what is to run; the strategy lies beside the data folder."""
    folder = data.parent / "strategies"
    folder.mkdir(exist_ok=True)
    (folder / "flip.py").write_text(FLIP)
    cls = strategy("flip", folder)
    params = parameters(cls, changes.pop("params", {}))
    made = Deployment(
        name=name, strategy="flip", class_name="Flip", params=params, sources=code_of(cls), contracts=(), bar=bar,
        account="", capital=10_000.0, history_start="2024-05-15", sizing="shares:10",
        limits={"orders_per_minute": 1000, "orders_per_day": 10_000},
    )  # fmt: skip
    return Job(replace(made, **changes), cls, (ContractSpec("SPY", currency="USD"),))


def again(data: Path, job: Job) -> Job:
    """Return the job of the lock file that a draft has written."""
    found = read(data / "deployments" / f"{job.deployment.name}.lock.toml")
    return replace(job, deployment=replace(found, params=job.deployment.params), specs=())


def play(
    job: Job, port: int, data: Path, until: Callable[[dict[str, Any]], bool], command: str = "stop",
    then: Callable[[dict[str, Any]], bool] | None = None, notify: Notify | None = None,
) -> tuple[Ended, list[str]]:  # fmt: skip
    """Run until a picture is as wanted, and then tell it to end, by a file, as another process would.

    command: in its place, after which it runs until the picture is as `then` wants it.
    """
    told: list[str] = []
    folder, began = live_folder(data, job.folder_name), monotonic()
    steps = [(until, command)] + ([] if then is None else [(then, "stop")])

    def show(picture: dict[str, Any]) -> None:
        assert monotonic() - began < PATIENCE_S, told[-5:]
        if steps and steps[0][0](picture):
            _, what = steps.pop(0)
            control.put(
                folder / control.CONTROL / f"{1 if what == command else 2}.ask.json",
                {"command": what, "who": "tester", "reason": ""},
            )

    last = control.last_address(folder)
    client = 7 + len(job.folder_name) if last is None else last.client_id
    ended = run(job, Address("127.0.0.1", port, client), data, tell=told.append, show=show, notify=notify)
    return ended, told


def filled(count: int) -> Callable[[dict[str, Any]], bool]:
    """Return whether so many orders are filled."""
    return lambda picture: sum(o["state"] == "filled" for o in picture["orders"]) >= count


def ledger(data: Path, job: Job) -> Ledger:
    """Return what the journal holds."""
    found = read(data / "deployments" / f"{job.deployment.name}.lock.toml")
    path = live_folder(data, found.name) / control.JOURNAL
    with Journal.open(
        path, deployment=found.name, account=found.account, strategy_hash=found.digest
    ) as journal:
        return journal.load()


def standings(held: Ledger) -> list[OrderStanding]:
    """Return how each order stands, by the journal alone."""
    return list(Standings(held))


def position(held: Ledger) -> Decimal:
    return sum((s.filled for s in standings(held)), Decimal(0))


def books(port: int) -> Snapshot:
    """Return what TWS says of the account, to a client that was not there before."""
    with Session("127.0.0.1", port, 55) as session:
        session.connect()
        orders = Orders(session)
        orders.begin_snapshot()
        until = monotonic() + PATIENCE_S
        while (found := orders.snapshot()) is None:
            assert monotonic() < until
            session.poll(0.1)
        return found


class Jumping:
    """A clock outside that can be moved on."""

    def __init__(self) -> None:
        self.more = 0

    def __call__(self) -> int:
        return outside_ns() + self.more
