"""The live path in a rehearsal: session, orders, desk, store, feeds and broker as they trade, and a record of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest.broker import commission
from quant.backtest.job import Job
from quant.core import clock
from quant.core.bars import Bars
from quant.core.barsize import MINUTE, SECOND
from quant.core.calendar import Ints
from quant.core.memory import kept_memory
from quant.core.orders import Execution, Kind
from quant.errors import QuantError, StrategyError
from quant.ib.lookup import Found
from quant.ib.session import Session
from quant.ib.states import State
from quant.live.broker import LiveBroker
from quant.live.feed import LiveFeed
from quant.live.run.tape import Tape, Taping
from quant.live.signals import Late, live_decisions
from quant.live.store import Store
from quant.oms.desk.setup import Setup, Surroundings
from quant.oms.gate import Gate
from quant.oms.journal.journal import Journal
from quant.oms.limits import Limits
from quant.promotion.belated import Belated, belated, held_back
from quant.promotion.crossing import told_between
from quant.promotion.facts import Span, asked
from quant.promotion.judged import JudgedDesk, Refused
from quant.promotion.lockstep import Lockstep
from quant.promotion.stage import ACCOUNT, Stage
from quant.strategy import Strategy

CLIENT: Final = 1
JOURNAL: Final = "journal.db"
CHECK_S: Final = (
    6 * 3600.0
)  # where nothing goes wrong: once or twice a session; snapshots repeat all of its orders
LATE: Final = 120 * SECOND  # a bar that has not come by then is not waited for
LONG: Final = 300 * SECOND  # books that do not agree for so long are looked at once a bar
END_S: Final = 900 * SECOND  # after the last bar, for the books to agree
# The equality of a rehearsal is not about limits; what they would have refused is told beside it.
WIDE: Final = Limits(
    shorts=True, kinds=frozenset(Kind), max_notional=1e15, collar=1e6, bar_periods=1e6, max_working=10_000,
    max_working_total=10_000, orders_per_minute=10**6, orders_per_day=10**9, clock_offset_s=1e9, daily_loss=1e9,
    drawdown=1e9, max_rejects=10**6, min_free_bytes=0,
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Traded:
    """A live run. cash, value: by END, before what was decided then. notes: (UTC ns, what was said), in order.

    found: the contracts as TWS told them. late: changes of target that were not traded. heard: when each execution
    came, by its id, UTC ns. belated, asked: as of Evidence. spans: as of told_between. settled: the books agreed at the
    end. wall_s: real seconds, of the bars alone.
    """

    desk: JudgedDesk
    journal: Journal
    found: tuple[Found, ...] = ()
    feeds: tuple[LiveFeed, ...] = ()
    cash: dict[int, float] = field(default_factory=dict)
    value: dict[int, float] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)
    belated: dict[str, Belated] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    final_cash: float = 0.0
    final_value: float = 0.0
    settled: bool = False
    wall_s: float = 0.0

    @property
    def refused(self) -> list[Refused]:
        """What the deployment's limits would have refused."""
        return self.desk.refused


class Replay(Store):
    """A live store that lets time go on where nothing is left to do, and stops after the last bar, or at `until`."""

    def __init__(self, lockstep: Lockstep, stage: Stage, until: int | None, **options: Any) -> None:
        super().__init__(clock=lambda: lockstep.moment, **options)
        self.notes: list[tuple[int, str]] = []
        self.desk: JudgedDesk | None = None
        self.tape: Tape | None = None
        self._lockstep, self._until = lockstep, until
        self._ends = [bars.end.tolist() for bars in stage.bars]
        self._idle = 0
        self._gate: Gate | None = None
        self._unsettled: int | None = None  # since when the books do not agree

    def pump(self, timeout_s: float = 0.0) -> bool:
        """Do as a live store does; end where the last bar is over and the books agree."""
        self._look()
        calm = self._calm()
        gone = self._until is not None and self._lockstep.moment >= self._until
        if gone or (self._lockstep.over and self._finished(calm)):
            self.stop()
        self._lockstep.calm = calm
        try:
            news = super().pump(timeout_s)
        finally:
            self._lockstep.calm = False
        self._idle = 0 if news else self._idle + 1
        return news

    def _measure(self) -> None:
        """Ask for no time: both ends have the lockstep's, and an answer would take a pass of its own."""

    def put_notification(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Keep what was said."""
        words = [str(getattr(a, "text", a)) for a in args if str(a)]
        self.notes.append((self._lockstep.moment, ": ".join([msg, *words])))
        if self.tape is not None:
            self.tape.note(self.notes[-1][1])

    def _look(self) -> None:
        if self.desk is not None and self.desk.gate is not self._gate:
            self._gate = self.desk.gate
            self.put_notification("gate", str(self._gate))

    def _finished(self, calm: bool) -> bool:
        late = self._lockstep.moment > self._lockstep.last + END_S
        waiting = any(feed.next_end is not None for feed in self.feeds)
        return (calm and not waiting and self._idle > 1) or late

    def _calm(self) -> bool:
        """Return whether nothing is under way that needs time by itself."""
        if self.session.state is not State.READY or self.desk is None or self.orders.snapshot_under_way:
            return False
        if self.desk.settled or self.desk.halted:
            self._unsettled = None
        elif self._unsettled is None:
            self._unsettled = self._lockstep.moment
        if self._unsettled is not None and self._lockstep.moment < self._unsettled + LONG:
            return False
        if any(feed.next_end is not None for feed in self.feeds):
            return False  # a bar is held back for another feed's
        return all(self._has_come(n, feed) for n, feed in enumerate(self.feeds))

    def _has_come(self, n: int, feed: LiveFeed) -> bool:
        incoming, ends, now = feed.incoming, self._ends[n], self._lockstep.moment
        if incoming.refused is not None:
            return True
        if incoming.catching_up:
            return False
        due, held = bisect_right(ends, now), incoming.bars
        if not due or ends[due - 1] <= now - LATE:
            return True
        return len(held) > 0 and held.end(len(held) - 1) >= ends[due - 1]


class _Account(bt.Analyzer):  # type: ignore[misc]  # backtrader has no types
    """Writes down the account at each step."""

    params = (("traded", None), ("moment", None))

    def next(self) -> None:
        """Take cash and value, before anything that was decided on this bar goes out."""
        broker, traded = self.strategy.broker, self.p.traded
        end = max(data.bars.end[-1] for data in self.strategy.datas if len(data))
        traded.cash[int(end)], traded.value[int(end)] = broker.getcash(), broker.getvalue()

    prenext = next


def _moments(bars: Bars) -> Ints:
    """Return the moments at which something comes: each END, and of long bars each minute.

    Pieces of a bar that all came at its END would be old news to the live path, which takes that for delayed data.
    """
    if not bars.bar.intraday or bars.bar.ns <= MINUTE:
        return bars.end
    minutes = [
        np.arange(begin + MINUTE, end, MINUTE) for begin, end in zip(bars.times.begin, bars.end, strict=True)
    ]
    return np.concatenate([*minutes, bars.end])


def trade(stage: Stage, job: Job, limits: Limits, folder: Path, check_s: float) -> Traded:
    """Trade the stage's bars live, to the last one. check_s: between snapshots while all is well.

    Raises what the strategy raises as StrategyError, BrokerError."""
    lockstep = lockstep_of(stage)
    with lockstep.served():
        return run(lockstep, stage, job, limits, folder, check_s)


def lockstep_of(stage: Stage, more: Sequence[int] = ()) -> Lockstep:
    """Return the time of a stage. more: other moments at which something happens, UTC ns."""
    moments = [int(moment) for bars in stage.bars for moment in _moments(bars)]
    return Lockstep(stage.server, [*moments, *stage.faults, *more])


def run(
    lockstep: Lockstep, stage: Stage, job: Job, limits: Limits, folder: Path, check_s: float, until: int | None = None
) -> Traded:  # fmt: skip
    """Trade from now to the last bar, as `trade`; with a journal in the folder it is a new start of what ran before.

    until: then the process is gone, UTC ns; nothing is cancelled. A start in the middle pulls the bars so far.
    """
    first = not (folder / JOURNAL).exists()
    early = lockstep.moment < min(int(bars.times.begin[0]) for bars in stage.bars)
    with Session(open_link=lockstep.open_link, timer=lockstep, client_id=CLIENT) as session:
        store = Replay(lockstep, stage, until, session=session, account=ACCOUNT, data=folder)
        for bars in stage.bars:
            store.data(
                bars.symbol, bars.bar, history=bars[:0] if early else None, history_start=str(bars.session[0]),
                con_id=bars.instrument.con_id, what=bars.what, rth=True, currency=bars.instrument.currency,
                sec_type=bars.instrument.sec_type,
            )  # fmt: skip
        store.start()
        with Journal.open(
            folder / JOURNAL,
            deployment="rehearsal",
            account=ACCOUNT,
            strategy_hash="rehearsal",
            create=first,
            lasting=False,
        ) as journal:
            journal.begin_run({}, lockstep.moment, client_id=CLIENT)
            began = journal.load().runs[0].at
            with closing(Tape(folder, began, lambda: lockstep.moment)) as store.tape:
                traded = _run(lockstep, store, stage, job, limits, journal, check_s, began)
            store.tape = None
            return traded


def _run(
    lockstep: Lockstep,
    store: Replay,
    stage: Stage,
    job: Job,
    limits: Limits,
    journal: Journal,
    check_s: float,
    began: int,
) -> Traded:
    ids = frozenset(bars.instrument.con_id or 0 for bars in stage.bars)
    setup = Setup(CLIENT, ids, job.cash, WIDE, check_s=check_s)
    desk = store.desk = JudgedDesk(journal, store.orders, setup, lockstep.moment, limits=limits)
    broker = LiveBroker(desk, journal, store.orders, capital=job.cash, now=lambda: lockstep.moment)
    broker.charge(partial(commission, job.costs, None, _ignore), store.feeds)
    broker.observe(Surroundings(clock_offset_s=0.0))
    store.attach(broker)
    traded = Traded(desk, journal, tuple(feed.found for feed in store.feeds), tuple(store.feeds))
    traded.notes = store.notes
    cerebro = _cerebro(job, store.feeds, broker, began, lockstep, traded)
    cerebro.addanalyzer(Taping, tape=store.tape, feeds=store.feeds, tell=store.put_notification)
    started = clock.monotonic()
    try:
        with kept_memory():
            cerebro.run()
    except QuantError:
        raise
    except Exception as e:  # the strategy is the user's code; whatever it raises is named
        raise StrategyError(job.strategy.__name__, f"raised {type(e).__name__} live: {e}") from e
    traded.wall_s = clock.monotonic() - started
    traded.settled = desk.settled
    ledger = journal.load()
    traded.belated = held_back(ledger, stage.bars) | belated(ledger, stage.bars)
    traded.asked, traded.spans = asked(ledger), told_between(ledger)
    traded.heard = {
        fact.report.exec_id: fact.at for fact in ledger.facts if isinstance(fact.report, Execution)
    }
    traded.final_cash, traded.final_value = broker.getcash(), broker.getvalue()
    return traded


def _cerebro(
    job: Job, feeds: Sequence[LiveFeed], broker: LiveBroker, began: int, lockstep: Lockstep, traded: Traded
) -> bt.Cerebro:
    assert issubclass(job.strategy, Strategy)  # noqa: S101  # `rehearse` has refused others
    params: Mapping[str, Any] = job.params
    decisions = live_decisions(
        job.strategy, params, feeds, began=began, now=lambda: lockstep.moment,
        sizing=None if job.sizing is None else str(job.sizing), start_rule=job.start_rule,
    )  # fmt: skip
    traded.late = decisions.refresh.late  # type: ignore[union-attr]  # live Decisions have a LivePlans
    cerebro = bt.Cerebro(stdstats=False, quicknotify=False)
    cerebro.setbroker(broker)
    for feed in feeds:
        cerebro.adddata(feed)
    cerebro.addstrategy(job.strategy, decisions=decisions, **params)
    cerebro.addanalyzer(_Account, traded=traded)
    return cerebro


def _ignore(amount: float) -> None:
    """Take a charge for a short; without a borrow rate there is none."""
