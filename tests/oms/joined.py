"""A deployment and a simulated TWS joined in memory: time, kills, restarts, and the comparison with TWS's books."""

from __future__ import annotations

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from memory_tws import NOON, MemoryTimer, MemoryTws

from quant.core.barsize import SECOND
from quant.ib.session import Session
from quant.ib.states import State
from quant.oms import failpoints
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.record import Record
from quant.oms.desk.setup import Setup
from quant.oms.gate import Gate
from quant.oms.ledger import Source
from quant.tws.exchange.hours import sessions_around
from quant.tws.exchange.listing import Listing
from quant.tws.faults import Fault
from quant.tws.order_faults import OrderFault
from tests.oms.trader import CLIENT, SYMBOLS, Trader, WatchedOrders

STEP = SECOND // 2  # of virtual time between two turns of the deployment's loop
DETECT_S = 45.0  # live-faults §4a I (7)
HEARTBEAT_S = 0.5


class Killed(BaseException):
    """kill -9, as far as a test inside one process can do it."""


class Joined:
    """Goes on by `run`; `kill` ends the deployment's process, and `start` begins another on what was on its disk."""

    def __init__(
        self, folder: Path, seed: int = 0, faults: Iterable[Fault | OrderFault] = (), *, start: int = NOON,
        settings: Setup | None = None, desk_class: type[OrderDesk] = OrderDesk,
        orders_class: type[WatchedOrders] = WatchedOrders, tws: Any = None,
    ) -> None:  # fmt: skip
        self.root, self.seed = folder, seed
        self.world = MemoryTws(faults, seed, start, tws)
        self.random = random.Random(f"joined {seed}")
        self.settings, self.desk_class, self.orders_class = settings, desk_class, orders_class
        self.lives = 0
        self.folder = folder / "0"
        self.folder.mkdir(parents=True)
        self.placed: list[tuple[int, str]] = []
        self.wrong: list[str] = []
        self.alarms: list[str] = []
        self.bar = 0
        self.kills: Counter[str] = Counter()
        self.gates: Counter[Gate] = Counter()
        self.dead_since: int | None = None
        self.opened_after: list[float] = []  # seconds from connected to open
        self._linked_at: int | None = None
        self._shut_since: int | None = None
        self.listings: dict[int, Listing] = {
            x.con_id: x for x in self.world.tws.catalogue if x.con_id in SYMBOLS
        }
        self._prices: dict[int, float] = {}
        self._priced_at = -SECOND
        self.trader: Trader

    # ------------------------------------------------------------ processes
    def start(self) -> Joined:
        session = Session(
            port=7497, client_id=CLIENT, open_link=self.world.open, timer=MemoryTimer(self.world)
        )
        self.trader = Trader(
            self.folder, session, self.seed, self.world.ns, self.prices, settings=self.settings,
            desk_class=self.desk_class, orders_class=self.orders_class, utc=self.world.utc,
        )  # fmt: skip
        self.lives += 1
        self._mark_day()
        while not self.trader.connect():
            self.world.advance(self.world.ns() + 5 * SECOND)
        return self

    def kill(self, why: str = "at random") -> Joined:
        """End the process as kill -9 does: what was on the disk at this moment is all that is left."""
        failpoints.hook = None
        self.kills[why] += 1
        here, self.folder = self.folder, self.root / str(sum(self.kills.values()))
        self.folder.mkdir()
        for name in ("journal.sqlite", "journal.sqlite-wal"):
            if (here / name).exists():
                shutil.copy(here / name, self.folder / name)
        self._bury(self.trader)
        self.trader.journal.close()
        shutil.rmtree(here)
        line = self.world.line
        if line is not None:
            line.die(deliver=self.random.random() < 0.7)
        return self

    def _bury(self, trader: Trader) -> None:
        self.placed += trader.placed
        self.wrong += trader.wrong
        self.alarms += [a.text for a in trader.alarms]

    def stop(self) -> None:
        failpoints.hook = None
        self._bury(self.trader)
        self.trader.journal.close()

    # ------------------------------------------------------------ time
    def prices(self) -> dict[int, float]:
        """Return the last prices; they are looked up once a second."""
        now = self.world.ns()
        if now - self._priced_at >= SECOND:
            found = {c: self.world.tws.price(x, now) for c, x in self.listings.items()}
            self._prices, self._priced_at = {c: p for c, p in found.items() if p is not None}, now
        return self._prices

    def _mark_day(self) -> None:
        now = self.world.ns()
        for con_id, listing in self.listings.items():
            sessions = sessions_around(listing.calendar, now)
            over = sessions.close[sessions.close <= now]
            self.trader.closed_at[con_id] = int(over[-1]) if len(over) else 0
            inside = (sessions.open <= now) & (now < sessions.close)
            self.trader.is_open = bool(inside.any())

    def turn(self, step: int = STEP) -> None:
        """Let half a second pass, or `step` ns, in which the deployment wakes up for whatever comes."""
        until = self.world.ns() + step
        while self.world.ns() < until:
            line = self.world.line
            if line is not None and line.wire is not None:
                line.wire.watch()
            if self.trader.session.state is State.IDLE:
                self.trader.connect()
            self.trader.pump((until - self.world.ns()) / SECOND)
        self._look()

    def _look(self) -> None:
        """Notice a stall: a line that is dead, or a gate that stays shut, and nobody is told."""
        trader, now = self.trader, self.world.ns()
        line = self.world.line
        dead = line is not None and (line.silent or line.server._line.silent)
        if not dead or trader.session.state not in (State.READY, State.CUT):
            self.dead_since = None
        elif self.dead_since is None:
            self.dead_since = now
        elif now - self.dead_since > DETECT_S * SECOND:
            self.wrong.append(f"a dead line was not noticed in {DETECT_S:g} s")
        gate = trader.desk.gate
        self.gates[gate] += 1
        ready = trader.session.state is State.READY
        if ready and gate is Gate.RECONCILING:
            self._shut_since = now if self._shut_since is None else self._shut_since
            loud = any(a.at >= self._shut_since - 5 * SECOND for a in trader.alarms)
            if now - self._shut_since > 90 * SECOND and not loud:
                self.wrong.append("the gate stayed shut for 90 s and nobody was told")
        else:
            self._shut_since = None
        if not ready:
            self._linked_at = None
        elif self._linked_at is None:
            self._linked_at = now
        elif gate is Gate.OPEN and self._linked_at > 0:
            self.opened_after.append((now - self._linked_at) / SECOND)
            self._linked_at = 0

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> Joined:
        until = self.world.ns() + round(seconds * SECOND)
        while self.world.ns() < until:
            self.turn()
            each()
        return self

    def sleep_until(self, moment: int) -> Joined:
        """Let the time until then (UTC ns) pass in longer turns, as at night."""
        while self.world.ns() < moment:
            self.turn(min(30 * SECOND, moment - self.world.ns()))
            self._mark_day()
        return self

    def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> Joined:
        until = self.world.ns() + round(seconds * SECOND)
        while not holds():
            if self.world.ns() >= until:
                told = [a.text for a in self.trader.alarms]
                raise AssertionError(f"not within {seconds} s; gate {self.trader.desk.gate}, alarms {told}")
            self.turn()
        return self

    def opened(self) -> Joined:
        return self.until(lambda: self.trader.desk.gate is Gate.OPEN, 400.0)

    def trade(self, bars: int, bar_s: float = 15.0, person: float = 0.5) -> Joined:
        """Decide at each of so many bars. person: chance at each bar that somebody looks, where it halted."""
        for _ in range(bars):
            self.bar += 1
            if self.trader.desk.halted and self.random.random() < person:
                self.trader.desk.clear("tester", "looked", self.world.ns())
            self.trader.decide(self.bar)
            self.run(bar_s)
        return self

    def quiet(self) -> Joined:
        """No more faults; everything is cancelled and settles; a person clears what halted."""
        failpoints.hook = None
        self.world.quiet()
        for _ in range(3):
            if self.settled:
                break
            desk = self.trader.desk
            if desk.halted or desk.reducing or desk.halted_instruments:
                desk.clear("tester", "looked", self.world.ns())
            end = self.world.ns() + 60 * SECOND
            while desk.gate is not Gate.OPEN and self.world.ns() < end:
                self.turn()  # while it is shut, what protects a position stays
            for ref in desk.unsettled_orders:
                desk.cancel(ref, self.world.ns())
            end = self.world.ns() + 100 * SECOND
            while not self.settled and self.world.ns() < end:
                self.turn()
        return self

    @property
    def settled(self) -> bool:
        desk = self.trader.desk
        return desk.gate is Gate.OPEN and not desk.unsettled_orders and desk.settled

    # ------------------------------------------------------------ TWS's own books
    def perms(self) -> dict[str, set[int]]:
        """The broker's orders under each of our references."""
        found: dict[str, set[int]] = defaultdict(set)
        for view in self.world.tws.exchange.orders:
            if view.request.reference.startswith("q1:"):
                found[view.request.reference].add(view.perm_id)
        return found

    def held(self, con_id: int) -> Decimal:
        return self.world.tws.account.holding(self.listings[con_id]).quantity

    def bought(self) -> dict[str, Decimal]:
        """What the broker's executions say of each of our orders, signed."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for executed, _ in self.world.tws.exchange.executions:
            request = executed.view.request
            found[request.reference] += executed.quantity * request.side
        return found

    # ------------------------------------------------------------ invariants I of live-faults §4a
    def check(self, *, foreign: bool = False, doubled_by_tws: bool = False, forged: bool = False) -> None:
        """foreign: others traded our instruments too. doubled_by_tws: the fault itself makes two of one order.

        forged: numbers were changed on the way, which the protocol cannot show: then a wrong position, or a fill that
        no execution shows, must be told of, and the gate shut.
        """
        trader = self.trader
        wrong = [*self.wrong, *trader.wrong]
        if (
            forged
            and trader.desk.gate is not Gate.OPEN
            and any("broker holds" in a.text or "no execution shows" in a.text for a in trader.alarms)
        ):
            return
        wrong += self._doubles() if not doubled_by_tws else []
        wrong += self._positions(foreign)
        wrong += self._fills()
        wrong += self._ended(doubled_by_tws)
        wrong += self._told()
        wrong += self._restart()
        wrong += [f"a callback failed: {e!r}" for e in trader.session.callback_errors]
        assert not wrong, wrong[:5]

    def _doubles(self) -> list[str]:
        wrong = [f"{ref} was doubled: {perms}" for ref, perms in self.perms().items() if len(perms) > 1]
        ids: dict[str, set[int]] = defaultdict(set)
        refs: dict[int, set[str]] = defaultdict(set)
        for order_id, ref in [*self.placed, *self.trader.placed]:
            ids[ref].add(order_id)
            refs[order_id].add(ref)
        wrong += [f"{ref} was sent under the ids {found}" for ref, found in ids.items() if len(found) > 1]
        return wrong + [f"id {i} was used for {found}" for i, found in refs.items() if len(found) > 1]

    def _positions(self, foreign: bool) -> list[str]:
        holdings = self.trader.journal.load().holdings
        theirs: dict[int, Decimal] = defaultdict(Decimal)
        for executed, _ in self.world.tws.exchange.executions:
            request = executed.view.request
            if foreign and not request.reference.startswith("q1:"):
                theirs[request.listing.con_id] += executed.quantity * request.side
        wrong = []
        for con_id in SYMBOLS:
            base = sum(
                (h.quantity for h in holdings if h.con_id == con_id and h.source is Source.BASELINE),
                Decimal(0),
            )
            ours = self.trader.desk.positions.get(con_id, Decimal(0))
            if ours + base + theirs[con_id] != self.held(con_id):
                wrong.append(f"position of {con_id}: ours {ours} on {base}, the broker's {self.held(con_id)}")
        return wrong

    def _fills(self) -> list[str]:
        bought = self.bought()
        return [
            f"{o.ref}: filled {o.filled} by the journal, {bought.get(o.ref, Decimal(0))} by the broker"
            for o in self.trader.desk.orders
            if o.filled != bought.get(o.ref, Decimal(0))
        ]

    def _ended(self, doubled_by_tws: bool) -> list[str]:
        """I (1): every intent ended, here and there; what only a person can tell has halted or been alarmed."""
        known = {o.ref for o in self.trader.desk.orders}
        wrong = [f"{o.ref} is {o.state}" for o in self.trader.desk.orders if not o.is_final]
        wrong += [f"{o.ref} is filled whole and called {o.state}" for o in self.trader.desk.orders
                  if o.remaining == 0 and str(o.state) != "filled"]  # fmt: skip
        wrong += [f"the broker has {ref}, the journal does not" for ref in self.perms() if ref not in known]
        wrong += [f"{o.ref} ended as {o.state} without a reason" for o in self.trader.desk.orders
                  if str(o.state) == "not sent" and not o.reason]  # fmt: skip
        # What was never transmitted rests in TWS, is told to no client and cannot fill: PendingSubmit.
        live = [] if doubled_by_tws else self.world.tws.exchange.open_orders
        return wrong + [
            f"{v.request.reference} still works" for v in live if v.request.reference.startswith("q1:")
        ]

    def _told(self) -> list[str]:
        """I (4): the changes of an order are a chain without gap or repetition."""
        wrong: list[str] = []
        last: dict[str, str] = {}
        for change in self.trader.changes:
            ref = change.after.ref
            if ref in last and repr(change.before) != last[ref]:
                wrong.append(f"{ref} was told out of step")
            if repr(change.before) == repr(change.after):
                wrong.append(f"{ref} was told twice")
            last[ref] = repr(change.after)
        now = {o.ref: repr(o) for o in self.trader.desk.orders}
        return wrong + [f"{ref} was not told" for ref in last if last[ref] != now[ref]]

    def _restart(self) -> list[str]:
        """I (5): what a restart reads from the disk is what this process knows."""
        again = Record(self.trader.journal, self.trader.settings)
        same = [repr(s) for s in again.standings] == [repr(o) for o in self.trader.desk.orders]
        same = same and again.positions == self.trader.desk.positions
        return [] if same else ["a restart reads something else"]
