"""Parity of a deployment's day: its journal and tape, and its bars asked for anew, laid beside the model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import SECOND, bar_size
from quant.errors import (
    ConfigError,
    EmptyRange,
    JournalMismatch,
    NoData,
    NotTraded,
    ParameterError,
    SeriesNotFound,
)
from quant.ib import requests
from quant.ib.download.ask import plan_pull
from quant.ib.download.held import find_held
from quant.ib.download.run import run_pull
from quant.ib.lookup import find_contract
from quant.ib.session import Session
from quant.live.bars.past import past_bars
from quant.live.bars.wanted import Wanted
from quant.live.run import deployment as locks
from quant.live.run import tape
from quant.live.run.control import JOURNAL
from quant.live.run.deployment import Deployment, live_folder
from quant.live.run.job import spec_of
from quant.live.run.lock_file import read
from quant.live.run.shadow import SUFFIX
from quant.oms.journal.reading import read_ledger
from quant.promotion.expected import Stepped
from quant.promotion.parity.compare import Traded, check_covered, compare
from quant.promotion.parity.day import day_of
from quant.promotion.parity.value import Parity
from quant.store import Store
from quant.store import bars as stored_bars
from quant.store.query import cut, parse
from quant.strategy import parameters, strategy

BACK: Final = 60  # days of tape before the day that are read, for what live had of earlier bars


@dataclass(frozen=True, slots=True, eq=False)
class Fresh:
    """The bars of a deployment as they stand now, and what knows their price steps, by symbol.

    at: TWS's time when it was asked, UTC ns; None = nobody was, and they stand as of the END of the newest one.
    """

    bars: tuple[Bars, ...]
    steps: dict[str, Stepped]
    at: int | None = None


Pull = Callable[[Deployment, str], Fresh]


def parity(data: Path, name: str, day: str | None = None, *, pull: Pull | None = None) -> Parity:
    """Return the parity of a deployment's day. Writes nothing.

    name: the deployment's, with ".shadow" behind it its shadow's. day: session date, ISO; None = the last of which
    there is a tape. pull: gives the bars; None = the data folder's. Raises ConfigError (no such deployment, a lock of
    another version, a strategy that has changed or is gone), JournalError, DataError, ParameterError.
    """
    plain = name.removesuffix(SUFFIX)
    path = locks.find_lock(plain, data)
    if path is None:
        there = ", ".join(locks.deployments(data)) or "none yet"
        raise ConfigError(str(data / "deployments"), plain, f"no such deployment; there are {there}")
    found = read(path)
    cls = strategy(found.strategy)
    params = parameters(cls, found.params)
    locks.check_same(found, cls, params, path)
    check_covered(cls)
    folder = live_folder(data, found.name + (SUFFIX if name != plain else ""))
    ledger = read_ledger(folder / JOURNAL, found.name)
    if name == plain and ledger.strategy_hash != found.digest:
        mend = "Put the lock file back that it was traded with"
        raise JournalMismatch(str(folder / JOURNAL), f"it belongs to another form of {path.name}", mend)
    days = tape.days(folder)
    if not days:
        raise NotTraded(name, day or "any day", "it has not seen a bar yet")
    day = days[-1] if day is None else _date(day)
    if day not in days and bar_size(found.bar).intraday:
        newest = ", ".join(days[-5:])
        told = "its tape has no bar of that day: no session was held, or it was not running yet, or any more"
        raise NotTraded(name, day, f"{told}; the newest days of the tape are {newest}")
    fresh = (from_store(data) if pull is None else pull)(found, day)
    near = [d for d in days if d <= day][-BACK:] + [d for d in days if d > day][:1]
    lines = [line for d in near for line in tape.read(folder, d)]
    traded = Traded(
        name, cls, params, found.capital, found.costs, found.sizing,
        "first-target" if found.start_rule == "first-target" else "next-change",
    )  # fmt: skip
    at = max((int(b.end[-1]) for b in fresh.bars if len(b)), default=0) if fresh.at is None else fresh.at
    return replace(compare(traded, fresh.bars, ledger, lines, day, fresh.steps), at=at)


def _date(day: str) -> str:
    try:
        return str(np.datetime64(day, "D"))
    except ValueError:
        raise ParameterError("day", day, "must be a session date, e.g. 2026-01-30") from None


# ---------------------------------------------------------------- bars
@dataclass(frozen=True, slots=True)
class _Tick:
    step: float

    def tick(self, price: float) -> float:
        """Return the step at a price."""
        return self.step


def from_store(data: Path) -> Pull:
    """Return what takes the bars from the data folder, as they are."""

    def pull(found: Deployment, day: str) -> Fresh:
        made: list[Bars] = []
        steps: dict[str, Stepped] = {}
        for one in found.contracts:
            bars = stored_bars(
                one.symbol, found.bar, found.history_start, what=found.what, rth=found.rth, data=data
            )
            held = bars.instrument.con_id
            if held != one.con_id:
                mend = f"Pull those of contract {one.con_id}: leave --no-pull out"
                raise SeriesNotFound(
                    f"{one.symbol} {one.con_id} {found.bar}", f"{data}, which has {held}", mend
                )
            made.append(bars)
            if bars.instrument.tick is not None:
                steps[one.symbol] = _Tick(bars.instrument.tick)
        try:
            day_of(made, day)
        except EmptyRange as e:
            mend = f"{e.held}. If a session was held that day, pull its bars: leave --no-pull out"
            raise EmptyRange(e.what, e.wanted, mend) from None
        return Fresh(tuple(made), steps)

    return pull


def from_tws(session: Session, data: Path) -> Pull:
    """Return what pulls the bars: those that the data folder lacks into it, the day's own anew, and kept nowhere."""

    def pull(found: Deployment, day: str) -> Fresh:
        now = session.ask(requests.current_time())
        size = bar_size(found.bar)
        contracts = [find_contract(session, spec_of(one), now) for one in found.contracts]
        wanted = [
            Wanted(spec_of(one), size, found.what, found.rth, found.history_start) for one in found.contracts
        ]
        past = past_bars(session, contracts, wanted, data, now)
        with tempfile.TemporaryDirectory(prefix="parity-") as place:
            store = Store(Path(place))
            specs = [spec_of(one) for one in found.contracts]
            plan = plan_pull(
                session, specs, size, day, day, what=found.what, rth=found.rth, now=now, store=store
            )
            if plan.failed:
                raise plan.failed[0].error
            error = run_pull(session, plan, store).error
            if error is not None and not isinstance(error, NoData):
                raise error
            held = {s.asked.spec.con_id: find_held(store, s.asked) for s in plan.series}
            anew = [held.get(one.con_id) for one in found.contracts]
            bars = [
                _joined(
                    old,
                    None if series is None else cut(store, series, parse("day", day), parse("day", day)),
                    day,
                )
                for old, series in zip(past, anew, strict=True)
            ]
        steps: dict[str, Stepped] = {b.symbol: c for b, c in zip(bars, contracts, strict=True)}
        return Fresh(tuple(bars), steps, int(now.timestamp()) * SECOND)

    return pull


def _joined(old: Bars, new: Bars | None, day: str) -> Bars:
    """Return the bars before a day and those of it that came anew."""
    date = np.datetime64(day, "D")
    first = int(np.searchsorted(old.session, date))
    if new is None or not len(new):
        return old[: int(np.searchsorted(old.session, date, side="right"))]
    parts: Sequence[Bars] = (old[:first], new)
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in ("start", *COLUMNS)
    }
    return replace(old, **columns)
