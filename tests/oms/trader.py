"""A small deployment: journal, session with TWS, order desk, and a stream of decisions that a seed gives.

The same class trades in virtual time inside a test and in a process of its own over loopback:
python -m tests.oms.trader FOLDER PORT SEED BARS [FAILPOINT TIMES]. It can be killed anywhere and started again on the
same folder; at the end it prints its book as one line of JSON.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from quant.core import clock
from quant.core.barsize import SECOND
from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import BrokerError
from quant.ib.codec import Event
from quant.ib.codes import Kind as CodeKind
from quant.ib.contracts import ContractFacts, ContractSpec, TickRules
from quant.ib.lookup import Found
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.ib.states import State
from quant.oms import failpoints
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm, Answer, Change, Link, Setup, Surroundings, Why
from quant.oms.gate import Gate, Purpose
from quant.oms.journal.journal import Journal
from quant.oms.limits import Account, Limits, Market
from quant.oms.reconcile.outcome import Policy

ACCOUNT: Final = "DU1234567"
CLIENT: Final = 7
SPY, MSFT = 756733, 272093
SYMBOLS: Final = {SPY: "SPY", MSFT: "MSFT"}
LIMITS: Final = Limits(
    shorts=True, kinds=frozenset(Kind), orders_per_minute=1000, orders_per_day=100_000, max_rejects=1000
)
OWNER: Final = {"deployment": "proof", "account": ACCOUNT, "strategy_hash": "decisions by seed"}
_ASKED_AT: Final = datetime(2024, 5, 15, tzinfo=UTC)


def found(con_id: int) -> Found:
    """A contract as it is looked up."""
    spec = ContractSpec(SYMBOLS[con_id], currency="USD", con_id=con_id)
    facts = ContractFacts(
        spec=spec, long_name=SYMBOLS[con_id], min_tick=0.01, price_magnifier=1, time_zone="US/Eastern",
        trading_hours="", liquid_hours="", exchanges=("SMART",), market_rules=(26,), size_increment=1.0,
    )  # fmt: skip
    return Found(facts, TickRules((0.0,), (0.01,)), _ASKED_AT)


def setup(**changed: Any) -> Setup:
    return Setup(
        **{
            "client_id": CLIENT, "instruments": frozenset(SYMBOLS), "capital": 1e6, "limits": LIMITS,
            "policy": Policy(), **changed,
        }
    )  # fmt: skip


class WatchedOrders(Orders):
    """quant.ib's orders, which note what goes out and check that it may: the gate, and the journal before it.

    placed: (order id, ref) of all that went out, oldest first; wrong: what was broken.
    """

    def watch(self, trader: Trader) -> None:
        self._trader = trader

    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        trader = self._trader
        trader.wrong += trader.against(order_id, ticket)
        before = self._session._link
        super().place(order_id, ticket, parent_id)
        if before is not None:
            trader.placed.append((order_id, ticket.ref))


class Trader:
    """One process of the deployment. now: UTC ns. prices: the last ones, by con_id."""

    def __init__(
        self, folder: Path, session: Session, seed: int, now: Callable[[], int],
        prices: Callable[[], Mapping[int, float]], *, settings: Setup | None = None,
        desk_class: type[OrderDesk] = OrderDesk, orders_class: type[WatchedOrders] = WatchedOrders,
        utc: Callable[[], datetime] = clock.now,
    ) -> None:  # fmt: skip
        self.path = folder / "journal.sqlite"
        self.seed = seed
        self.now, self.prices = now, prices
        self.session = session
        self.settings = setup() if settings is None else settings
        self.journal = Journal.open(self.path, **OWNER, create=not self.path.exists())
        self.journal.begin_run({}, now(), client_id=session.client_id)
        self.orders = orders_class(session, [found(c) for c in SYMBOLS], now=utc)
        self.orders.watch(self)
        self.desk = desk_class(self.journal, self.orders, self.settings, now())
        self.placed: list[tuple[int, str]] = []
        self.follows = 0.45  # chance at a bar that a stop is given another price
        self.modified = 0  # so many stops were
        self.wrong: list[str] = []
        self.alarms: list[Alarm] = []
        self.changes: list[Change] = []
        self.account = Account()
        self.closed_at: dict[int, int] = {}
        self.is_open = True
        self.clock_offset_s: float | None = 0.0
        self._links: list[Link] = []
        session.listen(self._hear, "state", "notice")

    # ------------------------------------------------------------ the loop
    def connect(self) -> bool:
        """Connect for the first time; False if TWS cannot be reached now."""
        try:
            self.session.connect()
        except BrokerError:
            return False
        return True

    def _hear(self, event: Event) -> None:
        if event.name == "notice":
            back = event.args[0].verdict.kind in (CodeKind.BACK_DATA_KEPT, CodeKind.BACK_DATA_LOST)
            if back and self.session.state is State.READY:
                self._links.append(Link.BACK)
            return
        old, new, _ = event.args
        if new is State.READY and old is State.LOGIN:
            self._links.append(Link.UP)
        elif new is State.CUT:
            self._links.append(Link.CUT)
        elif new not in (State.READY, State.LOGIN):
            self._links.append(Link.LOST)

    def pump(self, wait_s: float = 0.0) -> None:
        """Take what came and do what is due."""
        self.session.poll(wait_s)
        now = self.now()
        self.observe()
        links, self._links = self._links, []
        for link in links:
            self.desk.on_link(link, now)
        if self.orders.damaged() and self.session.state is State.READY:
            self.desk.on_link(Link.BACK, now)  # what was lost only the books tell
        reports = self.orders.reports()
        if reports:
            self.desk.take(reports, now)
        self.desk.tick(now)
        self.read()

    def observe(self) -> None:
        now, prices = self.now(), self.prices()
        markets = {
            c: Market(
                tick=0.01, price=price, at=now, bar_ns=60 * SECOND, is_open=self.is_open,
                last_close=self.closed_at.get(c),
            )
            for c, price in prices.items()
        }  # fmt: skip
        self.desk.observe(Surroundings(markets, self.account, clock_offset_s=self.clock_offset_s))

    def read(self) -> None:
        for item in self.desk.news():
            if isinstance(item, Alarm):
                self.alarms.append(item)
            else:
                self.changes.append(item)

    # ------------------------------------------------------------ decisions
    def ticket(self, quantity: int, con_id: int = SPY, **fields: Any) -> Ticket:
        return Ticket(self.desk.next_ref(), ACCOUNT, con_id, SYMBOLS[con_id], Decimal(quantity), **fields)

    def submit(self, *tickets: Ticket, bar: int = 0, life_s: float = 30.0) -> tuple[Answer, ...]:
        expires = self.now() + round(life_s * SECOND)
        answers = self.desk.submit(tickets, Why(bar, expires, "proof"), self.now())
        self.read()
        return answers

    def bracket(self, quantity: int, con_id: int = SPY, away: float = 0.02, **fields: Any) -> list[Ticket]:
        """An entry at the market with a stop, both of one group."""
        side = 1 if quantity > 0 else -1
        stop = round(self.prices()[con_id] * (1 - side * away), 2)
        entry = self.ticket(quantity, con_id, transmit=False, **fields)
        exit_ = self.ticket(
            -quantity, con_id, kind=Kind.STOP, stop=stop, parent=entry.ref, tif=TimeInForce.GTC
        )
        return [entry, exit_]

    def decide(self, number: int) -> None:
        """Decide as a strategy might at bar `number`: enter, turn, close, bracket, follow, rest, cancel, or nothing."""
        dice = random.Random(f"{self.seed} {number}")
        con_id = dice.choice((SPY, MSFT))
        held = self.desk.positions.get(con_id, Decimal(0))
        mine = [r for r in self.desk.unsettled_orders if self.desk.intent(r).ticket.con_id == con_id]
        price = self.prices()[con_id]
        away = dice.choice((0.0002, 0.002, 0.02))
        what, side, size = dice.random(), dice.choice((1, -1)), dice.randint(1, 40)
        resting = [r for r in mine if self.desk.purpose(r) is Purpose.ENTRY]
        if resting and what < 0.7:
            for ref in resting:
                self.desk.cancel(ref, self.now())
        elif abs(held) >= 1 and what < self.follows and self.follow(mine, dice):
            pass
        elif abs(held) >= 1 and what < 0.8:  # a part of a share stays
            for ref in mine:
                self.desk.cancel(ref, self.now())
            orders = [self.ticket(int(-held), con_id)]
            if what < 0.3:  # turn around
                orders.append(self.ticket(-size if held > 0 else size, con_id))
            self.submit(*orders, bar=number + 1)
        elif held == 0 and what < 0.6:
            self.submit(*self.bracket(side * size, con_id, away), bar=number + 1)
        elif held == 0 and what < 0.75:
            limit = round(price * (1 - side * 0.02), 2)
            rest = self.ticket(side * size, con_id, kind=Kind.LIMIT, limit=limit, tif=TimeInForce.GTC)
            self.submit(rest, bar=number + 1)
        elif held == 0:
            self.submit(self.ticket(side * size, con_id), bar=number + 1)
        self.read()

    def follow(self, refs: list[str], dice: random.Random) -> bool:
        """Give the stops among these another price; False where there is none, or it is not certain how TWS has it."""
        stops = [
            t for r in refs if (t := self.desk.intent(r).ticket).kind is Kind.STOP and t.stop is not None
        ]
        moved = [
            replace(t, stop=round(t.stop * dice.uniform(0.99, 1.01), 2)) for t in stops if t.stop is not None
        ]
        if not moved:
            return False
        answer = self.desk.modify(moved, Why(text="follows"), self.now())
        self.modified += len(moved) if answer.taken else 0
        return answer.taken

    # ------------------------------------------------------------ invariants
    def _smaller(self, ticket: Ticket) -> bool:
        """Return whether an exit is made smaller, as the cancel of a part of it."""
        if not self._known(ticket.ref):
            return False
        return abs(ticket.quantity) < abs(self.desk.intent(ticket.ref).ticket.quantity)

    def against(self, order_id: int, ticket: Ticket) -> list[str]:
        """Return what speaks against sending: the gate, or a journal on the disk that does not have it."""
        gate, purpose = self.desk.gate, self.desk.purpose(ticket.ref) if self._known(ticket.ref) else None
        wrong = []
        if gate is Gate.CLOSED:
            wrong.append(f"{ticket.ref} was sent while the gate was closed")
        elif gate is Gate.RECONCILING and purpose is Purpose.ENTRY:
            wrong.append(f"{ticket.ref}, an entry, was sent while reconciling")
        elif gate is Gate.REDUCING and purpose is Purpose.ENTRY:
            wrong.append(f"{ticket.ref}, an entry, was sent while only reductions may be")
        elif gate is Gate.HALTED and purpose is not Purpose.FLATTEN and not self._smaller(ticket):
            wrong.append(f"{ticket.ref} was sent while halted")
        rows = on_disk(self.path, ticket.ref)
        if rows != [order_id]:
            wrong.append(f"{ticket.ref} was sent under id {order_id}; the journal has {rows or 'nothing'}")
        return wrong

    def _known(self, ref: str) -> bool:
        try:
            self.desk.intent(ref)
        except KeyError:
            return False
        return True

    def book(self) -> dict[str, Any]:
        """What this process believes at the end."""
        return {
            "positions": {str(c): str(q) for c, q in sorted(self.desk.positions.items())},
            "open": list(self.desk.unsettled_orders),
            "orders": {o.ref: str(o.state) for o in self.desk.orders},
            "gate": str(self.desk.gate),
            "halted": self.desk.halted,
            "wrong": self.wrong,
        }


def on_disk(path: Path, ref: str) -> list[int]:
    """Return the order ids under which the journal's file has an intent."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [row[0] for row in db.execute("SELECT order_id FROM intent WHERE ref = ?", (ref,))]
    finally:
        db.close()


# ---------------------------------------------------------------- a process of its own, over sockets
def main(
    folder: str, port: str, seed: str, first_bar: str, bars: str, place: str = "", times: str = "1"
) -> None:
    """Trade bars first_bar, first_bar + 1, ... and print the book; bars = 0: only come to rest."""
    if place:
        failpoints.hook = dying(place, int(times))
    prices = {SPY: 338.5, MSFT: 43.0}
    wall = clock.now
    session = Session(port=int(port), client_id=CLIENT)

    def ns() -> int:
        return int(wall().timestamp() * 1_000_000) * 1000

    trader = Trader(
        Path(folder), session, int(seed), ns, lambda: prices, settings=setup(policy=Policy(gap_s=0.5))
    )
    say({"started": len(trader.journal.load().runs)})
    while not trader.connect():
        time.sleep(0.1)
    number, until = int(first_bar), time.monotonic() + 60.0
    decided, opened = 0, False
    next_at = time.monotonic()
    while time.monotonic() < until:
        trader.pump(0.02)
        if trader.desk.halted:
            trader.desk.clear("supervisor", "looked", ns())
        opened = opened or trader.desk.gate is Gate.OPEN
        # Most wait for the gate; some are decided before it opens.
        if decided < int(bars) and (opened or decided < 1) and time.monotonic() >= next_at:
            trader.decide(number + decided)
            decided += 1
            next_at = time.monotonic() + 0.1
            say({"bar": number + decided})
        if int(bars) == 0:
            for ref in trader.desk.unsettled_orders:
                if trader.desk.gate is Gate.OPEN:
                    trader.desk.cancel(ref, ns())
            if trader.desk.gate is Gate.OPEN and not trader.desk.unsettled_orders:
                break
    say(trader.book())


def dying(place: str, times: int) -> Callable[[str], None]:
    """End the process at once when a place is reached for the n-th time: no handler runs, nothing is closed."""
    left = times

    def reach(name: str) -> None:
        nonlocal left
        left -= name == place
        if left <= 0:
            import os

            os._exit(9)

    return reach


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
