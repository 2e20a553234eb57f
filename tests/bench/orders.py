"""Orders: the order path against the simulated TWS: what a commit and a send take, kills, fault rows, weeks (issue 6).

Kills, rows and weeks are in virtual time over the real bytes; a share of the kills are processes over sockets.
One part alone: python -m tests.bench.orders PART [--full], of commits sends gates kills sockets rows traces weeks.
"""

from __future__ import annotations

import gc
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.oms.journal_times import commit_seconds

HERE = Path(__file__).resolve().parents[1] / "oms"
DAY = 86_400
SECOND = 1_000_000_000


def run(full: bool, parts: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the figures; full: the counts of docs/reliability.md. parts: these alone, all without."""
    sys.path.insert(0, str(HERE))  # the harness lies with the tests of quant/oms
    logging.disable(logging.WARNING)  # each broken line is told, thousands of times
    try:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            every: dict[str, Callable[[], list[dict[str, Any]]]] = {
                "commits": lambda: commits(root, 5000 if full else 1000),
                "sends": lambda: sends(root, 1000 if full else 200),
                "gates": lambda: gates(root, 200 if full else 30),
                "kills": lambda: kills(root, full),
                "sockets": lambda: sockets(root, full),
                "rows": lambda: rows(root, 50 if full else 1),
                "traces": lambda: traces(full),
                "weeks": lambda: weeks(root, 8),
            }
            figures = []
            for name in parts or [name for name in every if full or name != "weeks"]:
                began = time.perf_counter()
                figures += every[name]()
                sys.stderr.write(f"orders: {name} took {time.perf_counter() - began:,.0f} s\n")
            return figures
    finally:
        logging.disable(logging.NOTSET)


def figure(what: str, measured: float, unit: str, most: float, aim: float, baseline: str) -> dict[str, Any]:
    """One figure that must not be above `most`."""
    return {
        "what": what, "measured": measured, "unit": unit, "at_most": most, "aim": aim, "baseline": baseline,
    }  # fmt: skip


def two(
    what: str, values: Sequence[float], unit: str, most: tuple[float, float], aim: tuple[float, float]
) -> Any:
    """p50 and p99 of values."""
    p50, p99 = np.percentile(np.asarray(values), [50, 99])
    n = f"of {len(values):,}"
    return [
        figure(f"{what}, p50", float(p50), unit, most[0], aim[0], n),
        figure(f"{what}, p99", float(p99), unit, most[1], aim[1], n),
    ]


# ---------------------------------------------------------------- times
def commits(root: Path, n: int) -> list[dict[str, Any]]:
    """How long an intent takes to be on the disk."""
    (root / "commits").mkdir()
    taken = [1000 * s for s in commit_seconds(root / "commits", n)]
    return two("journal: commit of an intent", taken, "ms", (10.0, 100.0), (1.5, 15.0))


def sends(root: Path, n: int) -> list[dict[str, Any]]:
    """How long it takes from the strategy's order to its bytes at the socket: risk, commit, encoding."""
    from joined import Joined
    from memory_tws import MemorySocket

    joined = Joined(root / "sends").start().opened()
    moments: list[float] = []
    sendall = MemorySocket.sendall

    def noted(self: MemorySocket, data: bytes) -> None:
        moments.append(time.perf_counter())
        sendall(self, data)

    taken, side = [], 1
    joined.trader.submit(joined.trader.ticket(10))
    joined.run(5)
    MemorySocket.sendall = noted  # type: ignore[method-assign]
    try:
        for _ in range(n):
            ticket = joined.trader.ticket(-10 if side > 0 else 10)
            side = -side
            moments.clear()
            began = time.perf_counter()
            joined.trader.submit(ticket)
            assert len(moments) == 1, "the order did not go out at once"
            taken.append(1000 * (moments[0] - began))
            joined.run(2)
    finally:
        MemorySocket.sendall = sendall  # type: ignore[method-assign]
    joined.quiet().check()
    joined.stop()
    return two("from submit to bytes at the socket", taken, "ms", (20.0, 200.0), (3.0, 30.0))


def gates(root: Path, n: int) -> list[dict[str, Any]]:
    """How long the gate stays shut after 1102, in virtual seconds."""
    from joined import Joined

    from quant.oms.gate import Gate
    from quant.tws.exchange.refusal import Refusal

    joined = Joined(root / "gates").start().opened()
    taken = []
    for _ in range(n):
        line = joined.world.line
        assert line is not None
        for code in (1100, 1102):
            line.server._session.tell(-1, Refusal(code, "fault"), joined.world.ns())
            line.server.send()
            began = joined.world.ns()
            joined.run(1.0 if code == 1100 else 0.5)
        joined.opened()
        taken.append((joined.world.ns() - began) / SECOND)
        assert joined.trader.desk.gate is Gate.OPEN
        joined.run(joined.random.uniform(0, 70))
    joined.stop()
    return two("from 1102 to an open gate (virtual)", taken, "s", (15.0, 15.0), (15.0, 15.0))


# ---------------------------------------------------------------- kills and faults
def kills(root: Path, full: bool) -> list[dict[str, Any]]:
    """Kills at random and at each failpoint; each play is compared with TWS's books."""
    from crash_play import play

    from quant.oms import failpoints

    done, orders, failed, seed = 0, 0, [], 5000
    while done < (10_000 if full else 100):
        seed += 1
        try:
            joined = play(root / f"kill{seed}", seed, 20)
        except AssertionError as e:
            failed.append(f"{seed}: {e}")
            continue
        shutil.rmtree(root / f"kill{seed}")
        done += sum(joined.kills.values())
        orders += len(joined.perms())
    each = 200 if full else 5
    for place in failpoints.NAMES:
        hit = 0
        while hit < each:
            seed += 1
            try:
                hit += play(root / f"kill{seed}", seed, min(10, each - hit), place).kills[place]
            except AssertionError as e:
                failed.append(f"{place} {seed}: {e}")
    places = len(failpoints.NAMES)
    inside = f"{done:,} at random, {each} at each of {places} failpoints, {orders:,} orders"
    inside += "".join(f"; {f}" for f in failed[:3])
    what = "orders lost or doubled, positions unequal: kills inside the process"
    return [figure(what, len(failed), "", 0, 0, inside)]


def sockets(root: Path, full: bool) -> list[dict[str, Any]]:
    """Processes that trade over sockets and are killed by the system."""
    from tests.oms.supervisor import supervise

    told = supervise(root, seed=2, kills=200 if full else 8)
    inside = f"{told.kills} kills, {told.orders} orders" + "".join(f"; {w}" for w in told.wrong[:3])
    return [
        figure("the same: processes killed by the system, over sockets", len(told.wrong), "", 0, 0, inside)
    ]


def rows(root: Path, seeds: int) -> list[dict[str, Any]]:
    """Cases of the fault matrix in which an invariant broke."""
    from test_fault_matrix import CASES, play

    failed = []
    for number, case in enumerate(CASES):
        for seed in range(seeds):
            try:
                play(case, root / f"row{number}.{seed}", seed)
            except AssertionError as e:
                failed.append(f"{case.row} {case.name} {seed}: {e}")
            else:
                shutil.rmtree(root / f"row{number}.{seed}")
    n, names = len(CASES), len({case.row for case in CASES})
    held = n - len({f.rpartition(" ")[0] for f in failed})
    told = f"{held} of {n} cases of {names} rows held, {seeds} seeds each" + "".join(
        f"; {f}" for f in failed[:3]
    )
    return [figure("fault matrix: plays in which an invariant broke", len(failed), "", 0, 0, told)]


def traces(full: bool) -> list[dict[str, Any]]:
    """Permuted and doubled traces of facts that had more than one state, by tests/oms/test_order_state.py."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", str(HERE / "test_order_state.py")]
    done = subprocess.run(
        [*command, *(["--full"] if full else [])], capture_output=True, text=True, check=False
    )
    told = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-200:]
    n = "100,000" if full else "5,000"
    return [
        figure(f"fact traces ({n}): tests of one state each that failed", done.returncode, "", 0, 0, told)
    ]


# ---------------------------------------------------------------- weeks
def weeks(root: Path, n: int, days: int = 7) -> list[dict[str, Any]]:
    """Trade for weeks with a restart each night and a log-in each week; growth of what we hold, and the invariants.

    The books are read each quarter of an hour, not each minute: the simulated TWS lists completed orders of all days.
    """
    from joined import Joined

    from quant.tws.order_faults import OrderDo, OrderFault, OrderFaults
    from tests.oms.trader import setup

    joined = Joined(root / "weeks", 3, settings=setup(check_s=900.0)).start().opened()
    first = joined.world.ns()
    grown, orders, logins = [], [], 0
    for day in range(n * days):
        open_at = first + day * DAY * SECOND
        joined.sleep_until(open_at)
        if joined.trader.is_open:
            joined.trade(20)
        for ref in joined.trader.desk.unsettled_orders:
            joined.trader.desk.cancel(ref, joined.world.ns())
        joined.sleep_until(open_at + 12 * 3600 * SECOND)  # about midnight in New York
        weekly = day % 7 == 6
        login = [OrderFault(OrderDo.RELOGIN, count=60, seconds=7200.0)] if weekly else []
        joined.world.tws.order_faults = OrderFaults(login)
        joined.world.tws.restart(OrderFault(OrderDo.NIGHTLY, after_s=0.0, seconds=120.0), joined.world.ns())
        joined.world.server.flush()
        joined.sleep_until(open_at + 18 * 3600 * SECOND)
        asked = joined.world.tws.order_faults.played[OrderDo.RELOGIN] > 0
        assert asked == weekly, "a log-in was to be asked for once a week"
        logins += asked
        joined.trader.alarms.clear()
        joined.placed, joined.trader.placed, joined.trader.changes = [], [], []
        if day % 7 == 6 or days < 7:
            grown.append(held())
            orders.append(len(joined.trader.desk.orders))
    joined.quiet().check()
    joined.stop()
    each = (grown[-1] - grown[0]) / max(orders[-1] - orders[0], 1)
    nights = f"{n * days} nightly restarts, {logins} log-ins"
    told = f"{len(joined.world.sockets)} connections, {nights}, {orders[-1]} orders"
    what = f"{n} simulated weeks: growth of what quant.ib and quant.oms hold"
    after = ", ".join(f"{g:,}" for g in grown)
    return [figure(what, each, "objects an order", 100.0, 20.0, f"{told}; objects after each week: {after}")]


def held() -> int:
    """Return how many objects of the order path there are; the simulated TWS, in this process too, is left out."""
    gc.collect()
    ours = ("quant.ib", "quant.oms", "quant.core.orders")
    return sum(str(type(thing).__module__).startswith(ours) for thing in gc.get_objects())


if __name__ == "__main__":
    for row in run("--full" in sys.argv, [name for name in sys.argv[1:] if name != "--full"]):
        sys.stdout.write(f"{row['what']}: {row['measured']:.3g} {row['unit']}; {row['baseline']}\n")
