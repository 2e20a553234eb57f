"""Carry a plan out: ask, take what comes, write it. The only place that waits; a killed process loses seconds of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import cycle
from typing import Final, TypeAlias

from quant.core import clock
from quant.errors import (
    BarsError,
    BrokerError,
    CannotConnect,
    DamagedData,
    NotConnected,
    QuantError,
    StoreBusy,
    WriteFailed,
)
from quant.ib.asking import NO_ID, Pending
from quant.ib.download.plan import Plan, in_words
from quant.ib.download.report import Progress, PullReport
from quant.ib.download.series import Job, Pulling
from quant.ib.pacing import OPEN_REQUESTS, SMALL_BAR_S
from quant.ib.requests import HistoricalBars
from quant.ib.session import Session
from quant.ib.states import State
from quant.store import Store

Tell: TypeAlias = Callable[[Progress], None]

SMALL_AT_ONCE: Final = (
    15  # of small bars: five of one series in 2 s, sixty in 10 minutes; more would only queue
)
PATIENCE_S: Final = 300.0  # without a connection
WRITING: Final = 0.05  # the share of the time that may go into writing ...
LATEST_S: Final = 5.0  # ... but an answer is not left unwritten for longer
LIMIT: Final = "waiting for IB's limit"
LOST: Final = "connection lost, trying again"
_STOPS: Final = (WriteFailed, StoreBusy, DamagedData)  # of the disk: what follows would end the same way


def run_pull(session: Session, plan: Plan, store: Store, *, progress: Tell | None = None) -> PullReport:
    """Carry out `plan` and return what became of it; everything that arrived is in the store then.

    Ctrl-C (KeyboardInterrupt) ends it in good order: the report says `interrupted`. The same pull again asks for what
    is missing only. An error of one symbol ends that symbol; a full disk or a locked series ends the pull.
    """
    running = _Run(session, plan, store, progress)
    interrupted = False
    try:
        running.go()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        running.give_up()
        running.save_all()
    return PullReport(
        tuple(p.result() for p in running.series), plan.failed, running.done, running.elapsed(), interrupted
    )


class _Run:
    def __init__(self, session: Session, plan: Plan, store: Store, progress: Tell | None) -> None:
        self.session, self.plan = session, plan
        self.series = [Pulling(s, store) for s in plan.series]
        self.done = 0
        self._progress = progress
        self._flying: list[tuple[Pulling, Job, Pending[HistoricalBars]]] = []
        self._pull = uuid.uuid4().hex[:12]
        self._began = session.timer.now()
        self._spent = 0.0  # seconds of writing
        self._last = 0.0  # of the last write
        self._down_since: float | None = None
        self._symbol = ""
        self._turn = cycle(self.series)
        small = any(s.bar.ns <= SMALL_BAR_S * 1e9 for s in plan.series)
        self._at_once = SMALL_AT_ONCE if small else OPEN_REQUESTS

    def elapsed(self) -> float:
        """Return seconds since the beginning."""
        return self.session.timer.now() - self._began

    def go(self) -> None:
        """Ask until there is nothing left to ask."""
        self._swap()
        while any(not s.over for s in self.series):
            self._ask()
            self._tell()
            if not self._wait():
                break
            self._take()
            self._write()
            self._swap()
        self._tell()

    # ------------------------------------------------------------ asking
    def _ask(self) -> None:
        """Hand in requests, one of each series in turn, as many as may be open at once."""
        if self.session.state is not State.READY:
            return
        for pulling in self._turn:
            if len(self._flying) >= self._at_once or not any(s.left for s in self.series):
                return
            if pulling.left:
                job, request = pulling.next()
                self._flying.append((pulling, job, self.session.begin(request)))

    def _wait(self) -> bool:
        """Wait for news; return False where there will be none."""
        now = self.session.timer.now()
        ready = self.session.state is State.READY
        self._down_since = None if ready else now if self._down_since is None else self._down_since
        gone = self.session.state in (State.IDLE, State.CLOSED)
        if gone or (self._down_since is not None and now - self._down_since > PATIENCE_S):
            trouble = self.session.trouble
            told = self.session.state.value if trouble is None else str(trouble)
            told = trouble.reason if isinstance(trouble, CannotConnect) else told
            waited = "" if gone else f", for {in_words(PATIENCE_S)}"
            self._end(NotConnected("the pull", told + waited))
            return False
        self.session.poll(1.0)
        return True

    def _take(self) -> None:
        """Take what has ended."""
        ended = [f for f in self._flying if f[2].done]
        self._flying = [f for f in self._flying if not f[2].done]
        now = self.session.timer.now()
        for pulling, job, pending in ended:
            self._symbol = pulling.plan.asked.symbol
            error = pending.error
            try:
                if error is None:
                    self.done += 1
                    pulling.take(job, pending.result(), now)
                else:
                    pulling.fail(job, error)
            except (*_STOPS, BarsError) as e:
                pulling.end(e)

    def _end(self, error: BrokerError | QuantError) -> None:
        for pulling in self.series:
            if not pulling.over:
                pulling.end(error)

    # ------------------------------------------------------------ writing
    def _write(self) -> None:
        """Write what arrived, unless that would take too much of the time."""
        for pulling in self.series:
            since = pulling.since
            if since is None:
                continue
            now = self.session.timer.now()
            cheap = self._spent + self._last <= WRITING * (now - self._began)
            if self._spent == 0.0 or cheap or now - since >= LATEST_S or pulling.over:
                self._save(pulling)

    def _save(self, pulling: Pulling) -> None:
        began = clock.monotonic()
        try:
            pulling.save(clock.now(), self._pull)
        except BarsError as e:
            pulling.end(e)
        except _STOPS as e:
            pulling.end(e)
            self._stop()
        self._last = clock.monotonic() - began
        self._spent += self._last

    def _swap(self) -> None:
        """Put series that were pulled anew in their place, once all of them is there."""
        for pulling in self.series:
            if pulling.plan.repull and pulling.over and pulling.error is None and not pulling.swapped:
                self._save(pulling)
                try:
                    pulling.swap(clock.now(), self._pull)
                except BarsError as e:
                    pulling.end(e)
                except _STOPS as e:
                    pulling.end(e)
                    self._stop()

    def _stop(self) -> None:
        """Ask for nothing more; what flies is not waited for."""
        for pulling in self.series:
            pulling.drop()
        self.give_up()

    def give_up(self) -> None:
        """Cancel what is under way: the session may be somebody else's, who goes on with it."""
        for _, _, pending in self._flying:
            self.session.cancel(pending)
        self._flying.clear()

    def save_all(self) -> None:
        """Write everything that arrived."""
        for pulling in self.series:
            self._save(pulling)

    # ------------------------------------------------------------ telling
    def _tell(self) -> None:
        if self._progress is None:
            return
        left = sum(s.left + s.flying for s in self.series)
        # What the limits allow, or what has been seen, whichever is slower.
        each = self.plan.seconds / max(self.plan.requests, 1)
        each = max(each, self.elapsed() / self.done) if self.done else each
        note = ""
        if self.session.state is not State.READY:
            note = LOST
        elif self._flying and all(p.id == NO_ID for _, _, p in self._flying):
            note = LIMIT
        bars = sum(s.bars for s in self.series)
        self._progress(Progress(self.done, self.done + left, bars, self._symbol, left * each, note))
