"""One series while it is pulled: what is still to be asked, what arrived and is not written yet, and writing it.

It knows no session: `take` and `fail` are told what became of a request.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.errors import (
    BarsError,
    BrokerError,
    DamagedAnswer,
    LinkLost,
    NoData,
    NotConnected,
    PacingViolation,
    QuantError,
    RequestFailed,
    RequestTimeout,
)
from quant.ib.asking import Request
from quant.ib.download.cells import cells
from quant.ib.download.chunks import Chunk, cut_up, missing
from quant.ib.download.held import STAGING, find_held, repull_plan
from quant.ib.download.plan import SeriesPlan
from quant.ib.download.ranges import day_of
from quant.ib.download.report import Pulled
from quant.ib.download.rows import Proof, lacking, prove, ratio, read_rows
from quant.ib.requests import HistoricalBars, historical_bars
from quant.store import Series, Store, Written
from quant.store.coverage import Interval, join

# How often a request is sent again after such an error. One that is not named ends the series.
AGAIN: Final[dict[type[BrokerError], int]] = {
    LinkLost: 3, RequestTimeout: 2, DamagedAnswer: 1, PacingViolation: 20, RequestFailed: 1, NoData: 1,
}  # fmt: skip


@dataclass(eq=False, slots=True)
class Job:
    """A request of a plan on its way. era: of the plan that it belongs to."""

    chunk: Chunk
    era: int
    failures: Counter[type[BrokerError]] = field(default_factory=Counter)


class Pulling:
    """A series under way. error: why it ended early."""

    def __init__(self, plan: SeriesPlan, store: Store) -> None:
        self.plan = plan
        self.error: QuantError | None = None
        self.factor: float | None = None  # between the prices held and IB's, once they were found to differ
        self.requests = self.bars = 0
        self.flying = 0
        self.swapped = self._dropped = False
        self.since: float | None = None  # when the oldest answer came that is not written yet
        self._main = store
        self._staging = Store(store.data / STAGING)
        self._era = 0
        self._todo: deque[Job] = deque()
        self._unsaved: list[Proof] = []
        self._asked = 0  # since the last write
        self._unchecked = 0
        self._counts = np.zeros(3, dtype=np.int64)
        self._start(plan)

    def _start(self, plan: SeriesPlan) -> None:
        self.plan = plan
        self._era += 1
        self._todo = deque(Job(c, self._era) for c in plan.chunks)
        self._unchecked = sum(c.checks for c in plan.chunks)
        self._unsaved.clear()

    @property
    def left(self) -> int:
        """Requests that were not sent yet."""
        return len(self._todo)

    @property
    def over(self) -> bool:
        """True when nothing is to be asked any more."""
        return not self._todo and not self.flying

    @property
    def _store(self) -> Store:
        return self._staging if self.plan.repull else self._main

    # ------------------------------------------------------------ requests
    def next(self) -> tuple[Job, Request[HistoricalBars]]:
        """Return the next request."""
        job = self._todo.popleft()
        self.flying += 1
        plan, chunk = self.plan, job.chunk
        return job, historical_bars(plan.spec, plan.bar, chunk.duration, chunk.end, plan.what, rth=plan.rth)

    def take(self, job: Job, answer: HistoricalBars, now: float) -> None:
        """Take an answer. Raises DamagedData where held bars cannot be read."""
        self.flying -= 1
        if job.era != self._era or self.error is not None:
            return
        self.requests += 1
        self._asked += 1
        try:
            found = read_rows(self.plan.asked, answer.rows)
            proof = prove(found, self.plan.cells, job.chunk.window)
        except (ValueError, BarsError) as e:
            self._failed(job, DamagedAnswer(f"{self.plan.name}, {job.chunk.duration}", str(e)))
            return
        if (job.chunk.checks or self.plan.repair) and not self._fits(job.chunk, proof):
            return
        if proof.rest is not None and job.chunk.end is None:  # of adjusted prices everything was asked for
            proof.empty.append(proof.rest)
        elif proof.rest is not None:
            more = [replace(c, checks=job.chunk.checks) for c in cut_up(self.plan.cells, [proof.rest])]
            self._unchecked += job.chunk.checks * len(more)
            self._todo.extendleft(Job(c, self._era) for c in reversed(more))
        self._unchecked -= job.chunk.checks
        self.bars += len(proof.bars)
        self._unsaved.append(proof)
        self.since = now if self.since is None else self.since

    def fail(self, job: Job, error: BrokerError) -> None:
        """Take an error: the request is asked again, or the series ends."""
        self.flying -= 1
        if job.era == self._era and self.error is None:
            self._failed(job, error)

    def _failed(self, job: Job, error: BrokerError) -> None:
        kind = type(error)
        job.failures[kind] += 1
        if kind is NotConnected or job.failures[kind] <= AGAIN.get(kind, 0):
            self._todo.appendleft(job)
        else:
            self.end(error)

    def end(self, error: QuantError) -> None:
        """End it early; what has arrived may still be written."""
        self.error = error if self.error is None else self.error
        self._todo.clear()

    def drop(self) -> None:
        """Ask for nothing more, and take nothing of what is under way."""
        self._dropped = self._dropped or not self.over
        self._todo.clear()
        self.flying = 0
        self._era += 1

    # ------------------------------------------------------------ against what is held
    def _fits(self, chunk: Chunk, proof: Proof) -> bool:
        """Compare with the held bars; return False where they have another basis, and then pull all anew."""
        series = find_held(self._store, self.plan.asked)
        if series is None:
            return True
        held = self._store.read(series, *chunk.window)
        factor = ratio(held, proof.bars, self.plan.instrument.tick)
        if factor is not None:
            self._pull_anew(factor, series)
            return False
        if self.plan.repair:
            settled = proof.window if proof.window is not None else chunk.window
            there = np.union1d(held.start, proof.bars.start)
            proof.empty[:] = lacking(there, self.plan.cells, settled, held)
        else:
            coverage = self._store.manifest(series).coverage
            proof.empty[:] = [part for e in proof.empty for part in missing(e, coverage)]
        return True

    def _pull_anew(self, factor: float, series: Series) -> None:
        """Begin again with everything that is held, in the staging store."""
        wanted = self.plan.wanted
        held = find_held(self._main, self.plan.asked)
        if held is not None:
            coverage = self._main.manifest(held).coverage
            wanted = min(wanted[0], coverage[0][0]), max(wanted[1], coverage[-1][1])
        if self.plan.repull:  # another split while the series was pulled anew
            self._staging.remove(series)
        self.factor = factor
        why = f"all prices differ by the factor {factor:.6g} from those held: pulled anew"
        rows = cells(
            self.plan.instrument, self.plan.bar, self.plan.rth, day_of(wanted[0]), self.plan.cells.present
        )
        self._start(repull_plan(self._main, self.plan.asked, rows, wanted, why))

    # ------------------------------------------------------------ writing
    def save(self, at: datetime, pull: str) -> None:
        """Write what has arrived; nothing while held bars are not compared yet. What is written is not kept here.

        Raises StoreBusy, WriteFailed, DamagedData, BarsError.
        """
        if self._unchecked or not self._unsaved:
            return
        told: dict[str, Any] = {
            "kind": "pull", "at": at.isoformat(), "pull": pull, "wanted": list(self.plan.wanted)
        }  # fmt: skip
        groups = joined([p for p in self._unsaved if p.window is not None])
        none = join([], [part for p in self._unsaved for part in p.empty])
        for group in groups:
            told["asked"], self._asked = self._asked, 0
            self._write(_together([p.bars for p in group]), told, (_low(group), _high(group)))
            for proof in group:
                proof.window = None
        if none and find_held(self._store, self.plan.asked) is not None:
            told["asked"], self._asked = self._asked, 0
            self._write(self._unsaved[0].bars[:0], told, None, none)
            none = []
        # Where there is no series yet, only bars can begin it: what is empty waits for them.
        self._unsaved = [Proof(p.bars[:0], None, p.empty) for p in self._unsaved if none and p.empty]
        self.since = None

    def _write(
        self,
        bars: Bars,
        request: dict[str, Any],
        window: Interval | None,
        empty: Sequence[Interval] = (),
    ) -> None:
        done = self._store.write(bars, request, window=window, empty=empty)
        if not self.plan.repull:
            self._count(done)

    def _count(self, done: Written) -> None:
        self._counts += (done.added, done.unchanged, done.replaced)

    def swap(self, at: datetime, pull: str) -> None:
        """Put a series that was pulled anew in the place of the held one, whose bars stay as revisions.

        A crash in between is no harm: the staging series is there until all of it is written. Raises what `save` does.
        """
        staged = find_held(self._staging, self.plan.asked)
        if not self.plan.repull or self.error is not None or not self.over or staged is None:
            return
        held = find_held(self._main, self.plan.asked)
        new, manifest = self._staging.read(staged), self._staging.manifest(staged)
        if held is not None:
            gone = np.setdiff1d(self._main.read(held).start, new.start, assume_unique=True)
            if len(gone):
                reason = f"IB has other prices now, but {len(gone):,} of the held bars no more"
                mend = "The held series is as it was; to have IB's, remove it (quant data remove) and pull it again"
                raise BarsError(self.plan.name, reason, (), mend)
        request = {
            "kind": "pull",
            "at": at.isoformat(),
            "pull": pull,
            "wanted": list(self.plan.wanted),
            "repull": True,
        }
        for window in manifest.coverage:
            part = new.between(*window)
            self._count(self._main.write(part, request, window=window))
        if manifest.empty:
            self._main.write(new[:0], request, empty=manifest.empty)
        self._staging.remove(staged)
        self.swapped = True

    # ------------------------------------------------------------ the end
    def result(self) -> Pulled:
        """Return what became of it."""
        series = find_held(self._main, self.plan.asked)
        done = self.error is None and self.over and not (self._unchecked or self._dropped)
        done = done and (self.swapped or not self.plan.repull)
        error = self.error
        if done and series is None:
            error = NoData(
                self.plan.name, 162, "IB has no bars in what was asked for", "Ask for another range or --what"
            )
        added, unchanged, revised = (int(n) for n in self._counts)
        return Pulled(
            name=self.plan.name, source=self.plan.source, added=added, unchanged=unchanged, revised=revised,
            requests=self.requests, first=None if series is None else series.first,
            last=None if series is None else series.last, complete=done and error is None,
            rebased=self.plan.repull, error=error, folder=None if series is None else series.folder,
        )  # fmt: skip


def joined(proofs: Sequence[Proof]) -> list[list[Proof]]:
    """Return proofs with bars by window, those that follow one another without a gap together."""
    found: list[list[Proof]] = []
    for proof in sorted(proofs, key=_from):
        if found and _high(found[-1]) == _from(proof):
            found[-1].append(proof)
        else:
            found.append([proof])
    return found


def _from(proof: Proof) -> int:
    return 0 if proof.window is None else proof.window[0]


def _low(group: Sequence[Proof]) -> int:
    return _from(group[0])


def _high(group: Sequence[Proof]) -> int:
    last = group[-1].window
    return 0 if last is None else last[1]


def _together(parts: Sequence[Bars]) -> Bars:
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in ("start", *COLUMNS)}
    return replace(parts[0], **columns)
