"""A person's command to a deployment whose runner is gone or hangs: its journal and client id are taken over.

IB lets only the client that sent an order cancel it, and only who has the journal knows which orders are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quant.core import clock
from quant.errors import ClientIdInUse
from quant.ib.download.pull import connect
from quant.ib.lookup import ContractCache, find_contract
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.live.run import view
from quant.live.run.control import JOURNAL, STATUS, get, put
from quant.live.run.deployment import Deployment, live_folder
from quant.live.run.job import Address, setup_of, spec_of
from quant.live.store import Store
from quant.oms.desk.desk import OrderDesk
from quant.oms.desk.setup import Alarm, Link
from quant.oms.gate import Purpose
from quant.oms.journal.journal import Journal
from quant.oms.journal.reading import read_ledger
from quant.oms.ledger import Stop
from quant.oms.reconcile.position_books import MEND

AGREE_S: Final = 60.0  # for two snapshots that agree; until then nobody knows what is held
ANSWER_S: Final = 20.0  # for cancels and fills
SLOT_S: Final = 15.0  # until TWS gives the client id of an ended process free
BROKER: Final = 5
SAFETY: Final = 6
TAKEOVER: Final = "takeover"  # mode of its runs in the journal


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a command. code: the command line's exit code."""

    code: int
    text: str


def journal_of(deployment: Deployment, data: Path) -> Journal:
    """Open the journal of a deployment that nobody runs, whatever became of its strategy. Raises JournalError."""
    path = live_folder(data, deployment.name) / JOURNAL
    strategy_hash = read_ledger(path, deployment.name).strategy_hash
    return Journal.open(
        path, deployment=deployment.name, account=deployment.account, strategy_hash=strategy_hash
    )


def clear(deployment: Deployment, data: Path, who: str, reason: str) -> Done:
    """End all halts; the next start trades once the books agree. Raises JournalError."""
    with journal_of(deployment, data) as journal:
        at = _wall()
        for stop in Stop:
            journal.clear_halt(who, reason, at, stop)
        _renew(deployment, data, journal, f"{who}: clear")
    return Done(0, "cleared; the next start trades once journal and IB's books agree")


def take_over(
    command: str, deployment: Deployment, data: Path, reach: Address, who: str, reason: str, *,
    tell: Callable[[str], None], everything: bool = False,
) -> Done:  # fmt: skip
    """Carry out "halt", "reduce-only" or "flatten" without the runner.

    The stop is journalled first, whatever becomes of the rest. Raises JournalError, BrokerError.
    """
    why = reason or f"{who} asked for {command}"
    with ExitStack() as stack:
        if everything:  # first, and also where the journal is of no use any more
            session = stack.enter_context(_connected(reach))
            Orders(session).cancel_all()
            tell(
                "every order of this login was asked to be cancelled, protective ones and those of others too"
            )
        journal = stack.enter_context(journal_of(deployment, data))
        journal.halt(why, _wall(), Stop.REDUCE if command == "reduce-only" else Stop.HALT)
        told = f"{who}: {command}"
        _renew(deployment, data, journal, told)
        tell(f"{command} is in the journal; IB's books are read now")
        if not everything:
            session = stack.enter_context(_connected(reach))
        store = Store(account=deployment.account, data=data, session=session)
        stack.callback(store.stop)
        hand = _Hand(deployment, data, store, journal, tell)
        stack.callback(lambda: _renew(deployment, data, journal, told, hand.desk))
        if command == "flatten":
            return hand.flatten(who)
        return hand.cancel_entries("only reductions are sent" if command == "reduce-only" else "halted")


def _renew(
    deployment: Deployment, data: Path, journal: Journal, told: str, desk: OrderDesk | None = None
) -> None:
    """Put what is true since a command into the last picture of the runner, which looks no more."""
    path = live_folder(data, deployment.name) / STATUS
    if seen := get(path):
        symbols = {c.con_id: c.symbol for c in deployment.contracts}
        put(path, {**seen, **view.afterwards(seen, journal.load(), symbols, told, desk)})


def _connected(reach: Address) -> Session:
    """Connect under the runner's client id, which TWS may hold for a moment longer than the process lived."""
    until = clock.monotonic() + SLOT_S
    while True:
        try:
            return connect(reach.host, reach.port, reach.client_id)
        except ClientIdInUse:
            if clock.monotonic() > until:
                raise
            time.sleep(0.5)


def _wall() -> int:
    return int(clock.now().timestamp() * 1e6) * 1000


class _Hand:
    """A desk without a strategy."""

    def __init__(
        self, deployment: Deployment, data: Path, store: Store, journal: Journal, tell: Callable[[str], None]
    ) -> None:
        self._store, self._tell = store, tell
        self._deployment = deployment
        store.start()
        cache = ContractCache(data)
        found = [
            find_contract(store.session, spec_of(one), clock.now(), cache) for one in deployment.contracts
        ]
        for one in found:
            store.orders.know(one)
        now = store.clock()
        journal.begin_run({"mode": TAKEOVER}, now, client_id=store.session.client_id)
        setup = setup_of(deployment, store.session.client_id, found, urgent=True)
        self.desk = OrderDesk(journal, store.orders, setup, now)
        store.attach(self)

    # ------------------------------------------------------------ what the store tells a broker
    def flush(self) -> None:
        """Nothing waits."""

    def on_link(self, event: Link) -> None:
        """Take what became of the connection."""
        self.desk.on_link(event, self._store.clock())

    def on_clock(self, offset_s: float) -> None:
        """What closes and cancels asks for no clock."""

    def alarms(self) -> list[Alarm]:
        """Return none: they are told at once."""
        return []

    # ------------------------------------------------------------ what is to be done
    def cancel_entries(self, stop: str) -> Done:
        """Cancel what may open a position, and wait for the answers. stop: in words."""
        for ref in self._entries():
            self.desk.cancel(ref, self._store.clock())
        if self._until(lambda: not self._entries(), ANSWER_S):
            return Done(0, f"{stop}: no entry works any more; protective orders stay")
        left = ", ".join(self._entries())
        return Done(SAFETY, f"{stop}, but not confirmed to be over: {left}; look into TWS")

    def flatten(self, who: str) -> Done:
        """Close all that is ours, and wait until it is."""
        desk = self.desk
        if not self._until(lambda: desk.settled, AGREE_S):
            told = "journal and IB's books do not agree, so nobody knows what there is to close; nothing was sent"
            return Done(SAFETY, f"halted, but {told}. Close the position in TWS")
        answers = desk.flatten(who, self._store.clock())
        refused = [refusal.text for answer in answers for refusal in answer.refusals]
        if refused:
            return Done(SAFETY, f"halted, but not closed: {'; '.join(refused)}")
        done = self._until(
            lambda: desk.closing is not None and not desk.closable and not desk.unsettled_orders, ANSWER_S
        )
        held = ", ".join(
            f"{self._symbol(con_id)} {quantity:+f}" for con_id, quantity in desk.positions.items()
        )
        if done and not held:
            return Done(0, "halted; nothing is held, and no order works")
        if done:
            told = f"nothing of it is left to close at IB, and no order works; by our books {held} is held"
            return Done(SAFETY, f"halted; {told}; {MEND}")
        orders = ", ".join(desk.unsettled_orders) or "none"
        told = f"still held: {held or 'nothing'}; orders at IB: {orders}. A closed market fills them when it opens"
        return Done(SAFETY, f"halted; {told}. Call again to look")

    def _entries(self) -> list[str]:
        return [ref for ref in self.desk.unsettled_orders if self.desk.purpose(ref) is Purpose.ENTRY]

    def _symbol(self, con_id: int) -> str:
        return next((c.symbol for c in self._deployment.contracts if c.con_id == con_id), str(con_id))

    def _until(self, done: Callable[[], bool], patience_s: float) -> bool:
        until = clock.monotonic() + patience_s
        while not done():
            if clock.monotonic() > until:
                return False
            self._step()
        return True

    def _step(self) -> None:
        store, desk = self._store, self.desk
        store.pump(0.1)
        now = store.clock()
        if store.orders.damaged():
            desk.on_link(Link.BACK, now)
        desk.take(store.orders.reports(), now)
        desk.tick(now)
        for news in desk.news():
            if isinstance(news, Alarm):
                self._tell(news.text)
