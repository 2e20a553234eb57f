"""A desk, its journal's file and a broker, driven second by second; and the invariants I of live-faults §4a."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from order_broker import SECOND, FakeBroker, Faults

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.oms import failpoints
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.record import Record
from quant.oms.desk.setup import Alarm, Answer, Change, Link, Setup, Surroundings, Why
from quant.oms.gate import Gate, Purpose
from quant.oms.journal.journal import Journal
from quant.oms.ledger import Source
from quant.oms.limits import Account, Limits, Market
from quant.oms.reconcile.outcome import Policy

SPY = 756733
QQQ = 320227571
SYMBOLS = {SPY: "SPY", QQQ: "QQQ"}
START = 1_700_000_000 * SECOND
LIMITS = Limits(shorts=True, orders_per_minute=1000, orders_per_day=100_000, max_rejects=1000)


class Killed(BaseException):
    """kill -9, as far as a test inside one process can do it."""


class World:
    """Time goes on by `run`; `kill` ends the desk's process and `start` begins another on the same journal."""

    def __init__(
        self, folder: Path, seed: int = 0, faults: Faults | None = None, policy: Policy | None = None,
        limits: Limits = LIMITS, desk_class: type[OrderDesk] = OrderDesk, account: Account | None = None,
    ) -> None:  # fmt: skip
        self.path = folder / "journal.db"
        self.random = random.Random(seed + 1)
        self.now = START
        self.broker = FakeBroker(seed, Faults() if faults is None else faults)
        self.broker.on_place = self._check_place
        policy = Policy() if policy is None else policy
        worth = tuple((con_id, 1.0) for con_id in SYMBOLS)
        self.setup = Setup(7, frozenset({SPY, QQQ}), 1e6, limits, replace(policy, worth=worth))
        self.desk_class = desk_class
        self.account = Account() if account is None else account
        self.markets = {con_id: Market(tick=0.01, price=100.0, at=START, bar_ns=10**15) for con_id in SYMBOLS}
        self.alarms: list[Alarm] = []
        self.changes: list[Change] = []
        self.down_until = 0
        self.journal: Journal
        self.desk: OrderDesk

    # ------------------------------------------------------------ processes
    def start(self) -> World:
        self.journal = Journal.open(
            self.path, deployment="t", account="DU1", strategy_hash="h", create=not self.path.exists()
        )
        self.journal.begin_run({}, self.now, client_id=self.setup.client_id)
        self.desk = self.desk_class(self.journal, self.broker, self.setup, self.now)
        self.changes = []
        self.broker.connect()
        self.desk.on_link(Link.UP, self.now)
        self.observe()
        return self

    def kill(self) -> None:
        failpoints.hook = None
        self.broker.disconnect()
        self.journal.close()

    def observe(self) -> None:
        self.desk.observe(Surroundings(self.markets, self.account, clock_offset_s=0.0))

    # ------------------------------------------------------------ time
    def second(self) -> None:
        self.now += SECOND
        self.markets = {con_id: replace(m, at=self.now) for con_id, m in self.markets.items()}
        self.observe()
        linked = self.broker.connected
        self.broker.run_to(self.now)
        if linked and not self.broker.connected:
            self.lose()
        if not self.broker.connected and self.now >= self.down_until:
            self.broker.connect()
            self.desk.on_link(Link.UP, self.now)
        self.desk.take(self.broker.reports(), self.now)
        self.desk.tick(self.now)
        if not self.broker.connected and self.down_until < self.now:  # broken by a send
            self.down_until = self.now + self.random.randint(1, 20) * SECOND
        self.read()

    def lose(self) -> None:
        self.down_until = self.now + self.random.randint(1, 20) * SECOND
        self.desk.on_link(Link.LOST, self.now)

    def read(self) -> None:
        for item in self.desk.news():
            if isinstance(item, Alarm):
                self.alarms.append(item)
            else:
                self.changes.append(item)

    def run(self, seconds: int) -> World:
        for _ in range(seconds):
            self.second()
        return self

    def until(self, holds: Callable[[], bool], seconds: int = 120) -> World:
        for _ in range(seconds):
            if holds():
                return self
            self.second()
        raise AssertionError(
            f"not within {seconds} s; gate {self.desk.gate}, alarms {[a.text for a in self.alarms]}"
        )

    def opened(self) -> World:
        return self.until(lambda: self.desk.gate is Gate.OPEN)

    # ------------------------------------------------------------ orders
    def ticket(self, quantity: int, con_id: int = SPY, **fields: object) -> Ticket:
        return Ticket(self.desk.next_ref(), "DU1", con_id, SYMBOLS[con_id], Decimal(quantity), **fields)  # type: ignore[arg-type]

    def bracket(self, quantity: int, con_id: int = SPY) -> list[Ticket]:
        entry = self.ticket(quantity, con_id, transmit=False)
        stop_price = 98.0 if quantity > 0 else 102.0
        stop = self.ticket(
            -quantity, con_id, kind=Kind.STOP, stop=stop_price, parent=entry.ref, tif=TimeInForce.GTC
        )
        return [entry, stop]

    def submit(self, *tickets: Ticket, bar: int = 0, life_s: int = 60) -> tuple[Answer, ...]:
        answers = self.desk.submit(tickets, Why(bar, self.now + life_s * SECOND, "test"), self.now)
        self.read()
        return answers

    def send(self, quantity: int, con_id: int = SPY, **fields: object) -> str:
        ticket = self.ticket(quantity, con_id, **fields)
        answers = self.submit(ticket)
        assert not answers[0].refusals, answers
        return ticket.ref

    def state(self, ref: str) -> str:
        return next(str(o.state) for o in self.desk.orders if o.ref == ref)

    def bar(self) -> None:
        """Decide as a strategy might: follow, turn, close, bracket, or nothing."""
        con_id = self.random.choice((SPY, QQQ))
        held = self.desk.positions.get(con_id, Decimal(0))
        stops = [
            ref
            for ref in self.desk.unsettled_orders
            if self.desk.intent(ref).ticket.con_id == con_id and self.desk.purpose(ref) is Purpose.PROTECTION
        ]
        if held != 0 and stops and self.random.random() < 0.5 and self.follow(stops):
            return
        if held != 0:
            for ref in stops:
                self.desk.cancel(ref, self.now)
            orders = [self.ticket(int(-held), con_id)]
            if self.random.random() < 0.4:
                orders += [self.ticket(-10 if held > 0 else 10, con_id)]
            self.submit(*orders, bar=self.now)
        elif self.random.random() < 0.5:
            self.submit(*self.bracket(self.random.choice((-20, 20, 30)), con_id), bar=self.now)
        else:
            self.submit(self.ticket(self.random.choice((-10, 10, 15)), con_id), bar=self.now)

    def follow(self, refs: list[str]) -> bool:
        """Give stops another price; False where it is not certain how the broker has them."""
        tickets = [self.desk.intent(ref).ticket for ref in refs]
        moved = [replace(t, stop=round(t.stop + self.random.uniform(-1, 1), 2)) for t in tickets if t.stop]
        answer = self.desk.modify(moved, Why(self.now, text="follows"), self.now)
        self.read()
        return answer.taken

    # ------------------------------------------------------------ invariants
    def _check_place(self, order_id: int, ticket: Ticket) -> None:
        """I (6), and that an intent is on the disk before it is sent, under the id that is sent."""
        gate = self.desk.gate
        assert gate is not Gate.CLOSED, "sent while closed"
        if gate is Gate.RECONCILING:
            assert self.desk.purpose(ticket.ref) is not Purpose.ENTRY, "an entry was sent while reconciling"
        if gate is Gate.HALTED:
            smaller = abs(ticket.quantity) < abs(self.desk.intent(ticket.ref).ticket.quantity)
            assert smaller or self.desk.purpose(ticket.ref) is Purpose.FLATTEN, "sent while halted"
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT order_id FROM intent WHERE ref = ?", (ticket.ref,)).fetchall()
        db.close()
        assert rows == [(order_id,)], f"{ticket.ref} was sent as {order_id}; the journal has {rows}"

    def check_doubles(self) -> None:
        for ref, perms in self.broker.perms_of.items():
            assert len(perms) <= 1, f"{ref} was doubled"  # I (2)
        for ref, ids in self.broker.wire_ids.items():
            assert len(ids) == 1, f"{ref} was sent under the ids {ids}"

    def check_positions(self) -> None:
        ledger = self.journal.load()
        for con_id in SYMBOLS:  # I (3)
            base = sum(
                (h.quantity for h in ledger.holdings if h.source is Source.BASELINE and h.con_id == con_id),
                Decimal(0),
            )
            ours = self.desk.positions.get(con_id, Decimal(0))
            assert ours + base == self.broker.held.get(con_id, Decimal(0)), f"position of {con_id}"

    def check_told(self) -> None:
        """I (4): the changes of an order are a chain without gap or repetition."""
        last: dict[str, object] = {}
        for change in self.changes:
            ref = change.after.ref
            if ref in last:
                assert repr(change.before) == repr(last[ref]), f"{ref} was told out of step"
            assert repr(change.before) != repr(change.after), f"{ref} was told twice"
            last[ref] = change.after
        for order in self.desk.orders:
            assert repr(last.get(order.ref, order)) == repr(order), f"{order.ref} was not told"

    def check_restart(self) -> None:
        """I (5): what a restart reads from the disk is what this process knows."""
        again = Record(self.journal, self.setup)
        assert [repr(s) for s in again.standings] == [repr(o) for o in self.desk.orders]
        assert again.positions == self.desk.positions
        assert again.reasons == {o.ref: self.desk.reason(o.ref) for o in self.desk.orders}
        here, there = (r.books(frozenset(), False).orders for r in (self.desk._floor.record, again))
        refs = [o.ref for o in self.desk.orders]
        assert [repr(replace(here.get(r), since=0)) for r in refs] == [repr(there.get(r)) for r in refs]
        assert [o.ref for o in here.open] == [o.ref for o in there.open]
        assert [o.ref for o in here.odd] == [o.ref for o in there.odd]
        assert {c: here.filled(c) for c in here.symbols} == {c: there.filled(c) for c in there.symbols}

    def check(self) -> None:
        self.check_doubles()
        self.check_positions()
        self.check_told()
        self.check_restart()
        for standing in self.desk.orders:  # I (1)
            assert standing.is_final or self.desk.halted, f"{standing.ref} is {standing.state}"

    def quiet(self) -> None:
        """No more faults, everything cancelled, and time for all to be settled; a person clears what halted."""
        failpoints.hook = None
        self.broker.faults = Faults(rolled_back=self.broker.faults.rolled_back)
        for _ in range(4):
            self.run(100)
            for ref in self.desk.unsettled_orders:
                self.desk.cancel(ref, self.now)
            if self.desk.halted:
                self.desk.clear("tester", "looked", self.now)
        self.run(150)
