"""The runner: a deployment trades, from the connection to the last answer. One call, one thread."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import backtrader as bt

from quant.backtest.broker import commission
from quant.core.barsize import SECOND
from quant.core.costs import costs
from quant.core.memory import kept_memory
from quant.core.sizing import parse_sizing
from quant.core.targets import StartRule
from quant.core.version import versions_here
from quant.errors import JournalError, QuantError, SafetyStop, WriteFailed
from quant.ib.account import account_values
from quant.ib.download.pull import connect
from quant.ib.states import State
from quant.live.broker import LiveBroker
from quant.live.orders.held import words
from quant.live.run import control
from quant.live.run.control import JOURNAL, STATUS, Running
from quant.live.run.courier import Courier
from quant.live.run.deployment import Deployment, check_disaster_stop, live_folder, lock_path
from quant.live.run.job import (
    Address,
    Job,
    con_ids,
    first_day,
    is_made_up,
    mode_of,
    setup_of,
    store_of,
    with_account,
    with_contracts,
)
from quant.live.run.keeper import Keeper, Parts
from quant.live.run.lock_file import write
from quant.live.run.messages import Messages
from quant.live.run.shadow import WITHHELD, Silent
from quant.live.run.tape import Tape, Taping
from quant.live.run.view import moment
from quant.live.signals import live_decisions
from quant.live.store import Store
from quant.oms.desk.desk import OrderDesk
from quant.oms.gate import Purpose
from quant.oms.journal.journal import Journal
from quant.oms.journal.locks import instruments_held
from quant.strategy import Strategy

LEAVE_S: Final = 5.0  # for the answers to the last cancels
EARLIER_S: Final = 60  # of a simulated TWS: two readings of its clock may differ by that
SAFETY: Final = 6  # exit codes, as the command line's
BROKER: Final = 5
INTERRUPTED: Final = 130

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Notify:
    """Who is told of a run. courier: None = nobody; disconnect_s, fills: as of Messages."""

    courier: Courier | None = None
    disconnect_s: float = 60.0
    fills: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. code: the command line's exit code."""

    code: int
    why: str
    picture: Mapping[str, Any]


def run(
    job: Job, address: Address, data: Path, *, tell: Callable[[str], None], show: Callable[[dict[str, Any]], None],
    notify: Notify | None = None,
) -> Ended:  # fmt: skip
    """Trade until somebody ends it. tell: takes lines for a person; show: takes the picture, once a second.

    notify: who is told of it elsewhere.

    Raises SafetyStop where trading may not begin, BrokerError without TWS, ConfigError, DataError.
    """
    if job.shadow and job.account:
        job = replace(job, deployment=replace(job.deployment, account=job.account))
    check_disaster_stop(job.deployment.disaster_stop, job.strategy)
    folder = live_folder(data, job.folder_name)
    who = Running(os.getpid(), address.host, address.port, address.client_id, job.deployment.account)
    with ExitStack() as stack:
        journal: Journal | None = None
        drafted = not job.deployment.account
        if not drafted and _has_run(
            folder
        ):  # first, so that a second runner is told before it takes the client id
            journal = stack.enter_context(_opened(job.deployment, folder, who))
        session = stack.enter_context(connect(address.host, address.port, address.client_id))
        deployment = with_account(job, session.accounts)
        if not deployment.history_start:
            deployment = replace(deployment, history_start=first_day(deployment, job.specs, session))
        store = store_of(deployment, job.specs, session, data)
        stack.callback(store.stop)
        tell(f"TWS at {session.host}:{session.port}, {', '.join(session.accounts)}; history comes")
        store.start()
        found = [feed.found for feed in store.feeds]
        deployment = with_contracts(deployment, found, lock_path(data, deployment.name))
        if not job.shadow:
            stack.enter_context(instruments_held(deployment.account, con_ids(deployment), deployment.name))
        who = replace(who, port=session.port, account=deployment.account)
        if journal is None:  # only now: a start that is refused leaves nothing behind
            named = deployment if drafted else job.deployment  # as its lock file has it
            journal = stack.enter_context(_opened(named, folder, who))
            if drafted and not (job.shadow and lock_path(data, deployment.name).exists()):
                write(deployment, lock_path(data, deployment.name))
        control.announce(folder, who)
        return _Run(job, deployment, store, journal, folder, tell, show, notify or Notify()).trade()


def _has_run(folder: Path) -> bool:
    """Return whether something ran before: then a journal that is missing is a loss, and none is made."""
    return (folder / JOURNAL).exists() or (folder / STATUS).exists()


@contextmanager
def _opened(deployment: Deployment, folder: Path, who: Running) -> Iterator[Journal]:
    """Give the journal, and say who has it; a new one only where nothing ran before."""
    with Journal.open(
        folder / JOURNAL, deployment=deployment.name, account=deployment.account, strategy_hash=deployment.digest,
        create=not _has_run(folder),
    ) as journal:  # fmt: skip
        before = control.last_address(
            folder
        )  # stands until there is a connection: a wrong port proves nothing
        control.announce(folder, who if before is None else replace(before, pid=who.pid), first=True)
        try:
            yield journal
        finally:
            last = control.last_address(folder)
            with suppress(WriteFailed):
                control.announce(folder, replace(who if last is None else last, pid=0))


# ---------------------------------------------------------------- trading
class _Run:
    """One run, with everything open that it needs."""

    def __init__(
        self, job: Job, deployment: Deployment, store: Store, journal: Journal, folder: Path,
        tell: Callable[[str], None], show: Callable[[dict[str, Any]], None], notify: Notify,
    ) -> None:  # fmt: skip
        self._job, self._deployment, self._store = job, deployment, store
        now = store.clock()
        simulated = is_made_up([feed.found for feed in store.feeds])
        if simulated:
            _check_time(journal, now, deployment.name)
        facts = {**versions_here(), "lock": deployment.digest, "mode": mode_of(job)}
        journal.begin_run(facts, now, client_id=store.session.client_id)
        self._began = journal.load().runs[0].at
        wire = Silent(store.orders, store.clock) if job.shadow else store.orders
        setup = setup_of(
            deployment, store.session.client_id, [feed.found for feed in store.feeds], shadow=job.shadow,
            adopt_prices=job.adopt_prices,
        )  # fmt: skip
        self._desk = OrderDesk(journal, wire, setup, now)
        self._broker = LiveBroker(
            self._desk, journal, wire, capital=deployment.capital, now=store.clock,
            withhold=WITHHELD if job.shadow else "", recheck=None if job.once else store.recheck,
            afresh=job.once and not issubclass(job.strategy, Strategy),
        )  # fmt: skip
        self._tape = Tape(folder, self._began, store.clock)
        parts = Parts(
            deployment, folder, store, self._desk, self._broker, simulated, self._tape, mode_of(job),
            Messages(job.folder_name, notify.disconnect_s, notify.fills), notify.courier,
        )  # fmt: skip
        values = store.session.ask(account_values(deployment.account))
        self._cerebro = self._made()
        self._keeper = Keeper(self._cerebro, parts, values, tell=tell, show=show, once=job.once)
        self._broker.observe(self._keeper.around())
        store.attach(self._broker)

    def _made(self) -> bt.Cerebro:
        """Return cerebro with feeds, broker and strategy."""
        deployment, cls = self._deployment, self._job.strategy
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.setbroker(self._broker)
        traded = self._store.feeds[0].instrument
        charged = costs(deployment.costs, traded.market, currency=traded.currency)
        for feed in self._store.feeds:
            cerebro.adddata(feed)
        self._broker.charge(partial(commission, charged, None, lambda amount: None), self._store.feeds)
        params = dict(deployment.params)
        if issubclass(cls, Strategy):
            params["decisions"] = live_decisions(
                cls, deployment.params, self._store.feeds, began=self._began, now=self._store.clock,
                sizing=deployment.sizing, start_rule=_rule(deployment.start_rule),
                disaster_stop=deployment.disaster_stop,
            )  # fmt: skip
        elif deployment.sizing is not None:
            stake = int(parse_sizing(deployment.sizing, len(self._store.feeds)).amount)
            cerebro.addsizer(bt.sizers.FixedSize, stake=stake)
        cerebro.addstrategy(cls, **params)
        cerebro.addanalyzer(
            Taping, tape=self._tape, feeds=self._store.feeds, tell=lambda text: self._keeper.tell(text)
        )
        return cerebro

    def trade(self) -> Ended:
        """Run until the end; what is left open is told."""
        keeper = self._keeper
        keeper.tell(f"{self._deployment.name} begins; client id {self._store.session.client_id}")
        try:
            with _signals(keeper), kept_memory():
                self._cerebro.run()
        except KeyboardInterrupt:
            keeper.end("interrupted", INTERRUPTED)
        except JournalError as e:
            keeper.end(str(e), SAFETY)
        except Exception as e:  # noqa: BLE001  # the strategy is the user's code; whatever it raises halts
            self._raised(e)
        if not keeper.wanted:
            keeper.end(*self._by_itself())
        self._tape.ended()
        with suppress(KeyboardInterrupt):
            self._leave()
        keeper.tell(f"ended: {keeper.wanted}")
        self._tape.close()
        keeper.status(keeper.wanted)
        return Ended(keeper.code, keeper.wanted, control.get(keeper.folder / STATUS))

    def _raised(self, error: Exception) -> None:
        """Halt with the words of what was raised."""
        _log.exception("the run ended with an error")
        name, cls = self._deployment.name, self._job.strategy
        own = any(
            frame.filename == inspect.getfile(cls) for frame in traceback.extract_tb(error.__traceback__)
        )
        told = f"{cls.__name__ if own else 'the runner'} raised {type(error).__name__}: {error}"
        told = str(error) if isinstance(error, QuantError) else told
        self._broker.follow_up()  # before the halt: then no exit goes out any more
        self._desk.halt(told, self._store.clock())
        mend = f"if nothing is wrong with it: quant halt {name} --clear --reason TEXT"
        self._keeper.end(
            f"{told}; halted. A strategy that was mended is another deployment (--name NAME); {mend}", SAFETY
        )

    def _by_itself(self) -> tuple[str, int]:
        """Return why cerebro ended without being asked to."""
        refused = [str(e) for feed in self._store.feeds if (e := feed.incoming.refused) is not None]
        trouble = self._store.session.trouble
        why = "; ".join(refused) or ("no more bars come" if trouble is None else str(trouble))
        return why, BROKER

    def _leave(self) -> None:
        """Cancel entries, unless they are meant to stay, and take the answers. Protective orders stay.

        What closes a position is not cancelled, but waited for: its fill belongs into the books before they close.
        """
        desk, session = self._desk, self._store.session
        self._store.stop()
        self._broker.follow_up()  # interrupted: cerebro did not end by itself
        if not self._job.once:
            for ref in self._entries():
                desk.cancel(ref, self._store.clock())
            for held in self._broker.forget_held():
                self._keeper.tell(
                    f"{words(held)}: not sent. The next start decides anew, within a bar's length"
                )
        until = session.timer.now() + LEAVE_S
        while session.state is not State.CLOSED and session.timer.now() < until:
            self._broker.poll()
            if self._job.once or not self._on_its_way():
                break
            session.poll(0.1)
        for ref in () if self._job.once else self._on_its_way():
            self._keeper.tell(
                f"{ref} is not confirmed to be over: it may still fill. The next start finds out"
            )

    def _entries(self) -> list[str]:
        """Return entries that may still fill."""
        return [ref for ref in self._desk.unsettled_orders if self._desk.purpose(ref) is Purpose.ENTRY]

    def _on_its_way(self) -> list[str]:
        """Return all that may still fill and does not wait for a price far away."""
        desk = self._desk
        return [ref for ref in desk.unsettled_orders if desk.purpose(ref) is not Purpose.PROTECTION]


def _check_time(journal: Journal, now: int, name: str) -> None:
    """Refuse a simulated TWS whose time has gone back: it was started again, and knows nothing of what was traded."""
    ledger = journal.load()
    known = (ledger.runs, ledger.intents, ledger.facts)
    last = max((max(record.at for record in records) for records in known if records), default=now)
    if now < last - EARLIER_S * SECOND:
        told = f"the simulated TWS is at {moment(now)}, and {name} has traded until {moment(last)}"
        told += ". It was started again, and knows nothing of those orders"
        mend = "Start it for a later time (quant tws --start), or trade that day again under another name: --name NAME"
        raise SafetyStop(f"{told}. {mend}")


def _rule(name: str) -> StartRule:
    return "first-target" if name == "first-target" else "next-change"


@contextmanager
def _signals(keeper: Keeper) -> Iterator[None]:
    """Let the first Ctrl-C, or a system's request to end, end the run between two bars; a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may; a test, or a notebook's worker
        return

    def asked(number: int, frame: FrameType | None) -> None:
        if keeper.wanted:
            raise KeyboardInterrupt
        keeper.end("interrupted", INTERRUPTED)

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
