"""q.sweep: every combination of a grid over the same bars, resumable, and checked against backtrader.

What is decided here: which engine, what makes a sweep this sweep (its key), what is held already, and in which order
results come together. Rows are computed in task.py, chunks are kept by chunks.py.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import compiled, parity, source
from quant.backtest import findings as noticed
from quant.backtest.job import AnyCosts, Job, prepare
from quant.backtest.result import bars_facts, costs_text
from quant.core import clock
from quant.core.bars import Bars
from quant.core.costs import Costs
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.core.version import versions_here
from quant.errors import DataError, ParameterError, ParityError
from quant.kernel.compiling import sources
from quant.metrics import NAMES
from quant.research import chunks as files
from quant.research.grid import Combinations, combinations
from quant.research.progress import Progress, no_progress
from quant.research.proof.columns import Columns, Whole
from quant.research.result import LOW_IS_GOOD, Sweep
from quant.research.returns import IN_MEMORY, Filed, counted
from quant.research.search import BATCH, Search, search_of
from quant.research.state import state_of
from quant.research.task import Row, Task, evaluate, evaluator
from quant.research.trials import record_held, record_trials, trials_of
from quant.research.verify import Verification, best_of, verified
from quant.research.workers import processes, threads
from quant.store.folder import data_folder, quote
from quant.strategy import Strategy, look_ahead, plans
from quant.strategy import strategy as find

if TYPE_CHECKING:
    from distributed import Client

ENGINES: Final = ("auto", "compiled", "fast", "plain")
SEARCHES: Final = ("grid", "optuna")
COLUMNS: Final = frozenset({"error", "symbol"})  # of the table, which no parameter may take
Combos = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A sweep before it runs. key: of all but the combinations. parts: the chunks.

    search: what finds the combinations while it runs, until then there are none; None = all are known.
    """

    task: Task
    combos: Combinations
    parts: list[range]
    key: str
    facts: dict[str, Any]
    folder: Path | None
    data: Path | None
    findings: tuple[Finding, ...]
    search: Search | None = None

    @property
    def count(self) -> int:
        """How many combinations are run."""
        return len(self.combos.rows) if self.search is None else self.search.samples

    @property
    def many(self) -> bool:
        """Whether the session returns are left in the chunk files where there are such."""
        return 8 * self.count * count_sessions(self.task.job.bars) > IN_MEMORY

    @property
    def filed(self) -> bool:
        """Whether the session returns are left in the chunk files."""
        return self.folder is not None and self.many

    def combos_of(self, part: range) -> Combos:
        """Return the combinations of a chunk."""
        return self.combos.rows[part.start : part.stop]


def sweep(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars] | Mapping[str, Bars],
    grid: Mapping[str, Any],
    *,
    cash: float = 100_000.0,
    costs: AnyCosts = "ib-fixed",
    sizing: str | None = None,
    slippage: str | None = None,
    borrow: float | None = None,
    start_rule: str = "first-target",
    engine: str = "auto",
    workers: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    search: str = "grid",
    metric: str = "sharpe",
    verify: str | int = "auto",
    folder: str | Path | None = None,
    client: Client | None = None,
    save: bool = True,
    data: str | Path | None = None,
    progress: Progress = no_progress,
) -> Sweep:
    """Run every combination of `grid` and return a table with a row for each.

    grid: name -> values; what `valid` refuses is dropped and counted. bars: one Bars; a list = one joint account; a
    dict symbol -> Bars = one sweep each. samples: so many random combinations instead of all, by `seed`. search:
    "optuna" = so many that optuna picks for the best `metric`, 32 at a time, each by what those before gave; for some
    hundreds, as each pick takes it some milliseconds. cash ... start_rule: as in q.backtest. engine: "auto" =
    "compiled" where it covers the strategy, else "fast" in processes. workers: threads or processes, None = one a
    core. verify: "auto", how many combinations are run again in backtrader, or 0. folder: where chunks are kept, by
    default in the data folder's sweeps/, under a name that only the same sweep has: called again it goes on where it
    was. client: of dask.distributed. save: False keeps nothing on disk. progress: called with (combinations done, all).
    A combination that fails has its error in the table. Raises ParameterError, StrategyError, DataError; ParityError
    where a row is not what backtrader gives.
    """
    settings: dict[str, Any] = {
        "cash": cash, "costs": costs, "sizing": sizing, "slippage": slippage, "borrow": borrow,
        "start_rule": start_rule,
    }  # fmt: skip
    check_arguments(engine, workers, verify, search)
    by = metric if search == "optuna" else None
    root = data_folder(data) if save else None
    if isinstance(bars, Mapping):
        if not bars:
            raise ParameterError("bars", {}, "give at least one symbol and its Bars")
        of = {
            symbol: _plan(strategy, b, grid, settings, engine, samples, seed, by, root, None)
            for symbol, b in bars.items()
        }  # fmt: skip
        if folder is not None:
            of = {s: replace(p, folder=Path(folder) / quote(str(s)) if save else None) for s, p in of.items()}
    else:
        place = None if folder is None or not save else Path(folder)
        of = {"": _plan(strategy, bars, grid, settings, engine, samples, seed, by, root, place)}
    total = sum(p.count for p in of.values())
    found, before = {}, 0
    for symbol, plan in of.items():
        count = _Counter(progress, before, total)
        found[symbol] = run_plan(plan, workers=workers, verify=verify, client=client, progress=count)
        before += plan.count
    return Sweep.joined(found) if isinstance(bars, Mapping) else found[""]


class _Counter:
    """Progress of one symbol as part of all."""

    def __init__(self, progress: Progress, before: int, total: int) -> None:
        self.progress, self.before, self.total = progress, before, total

    def __call__(self, done: int, total: int) -> None:
        self.progress(self.before + done, self.total)


def check_arguments(engine: str, workers: int | None, verify: str | int, search: str) -> None:
    """Raise ParameterError for what q.sweep refuses before it looks at anything else."""
    if engine not in ENGINES:
        raise ParameterError("engine", engine, f"there is {', '.join(ENGINES)}")
    whole = isinstance(workers, int) and not isinstance(workers, bool)
    if workers is not None and not (whole and workers >= 1):
        raise ParameterError("workers", workers, "must be a whole number, 1 or more")
    count = isinstance(verify, int) and not isinstance(verify, bool) and verify >= 0
    if verify != "auto" and not count:
        raise ParameterError("verify", verify, 'is "auto" or how many combinations are run again, 0 for none')
    if search not in SEARCHES:
        raise ParameterError("search", search, f"there is {', '.join(SEARCHES)}")


def plan_sweep(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    engine: str = "auto",
    samples: int | None = None,
    seed: int = 0,
) -> Plan:
    """Return the plan of a sweep that is kept nowhere; what sweeps inside other research are made of."""
    return _plan(strategy, bars, grid, settings, engine, samples, seed, None, None, None)


def _plan(
    given: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    grid: Mapping[str, Any],
    settings: Mapping[str, Any],
    engine: str,
    samples: int | None,
    seed: int,
    metric: str | None,
    root: Path | None,
    place: Path | None,
) -> Plan:
    """Return the plan. metric: that a search looks at, None = the grid as it is."""
    cls = find(given)
    job, first_day = prepare(cls, bars, **settings)
    search = None
    if metric is None:
        combos = combinations(cls, grid, samples=samples, seed=seed)
    else:
        search = search_of(cls, grid, metric=metric, lowest=metric in LOW_IS_GOOD, samples=samples, seed=seed)
        combos = Combinations(tuple(search.values), [], 0, search.total)
    for parameter in COLUMNS.intersection(combos.names):
        reason = "the table has a column of that name; give the parameter of the strategy another one"
        raise ParameterError(parameter, grid[parameter], reason)
    name, why_not = _engine(job, engine)
    facts, unknown = _facts(job, name)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    facts |= {"grid": _values(combos) if search is None else dict(search.values)}
    facts |= {"combinations": len(combos.rows), "dropped": combos.dropped}
    facts |= {"samples": samples, "seed": seed if samples is not None else None}
    identity: dict[str, Any] = {"key": key, "combos": [files.chunk_name(key, combos.rows)]}
    if search is not None:  # not `samples`: who asks for more goes on where it was
        facts |= {"search": "optuna", "metric": metric}
        identity |= {"search": facts["grid"], "metric": metric, "seed": seed}
    folder = place
    if root is not None and place is None:
        folder = files.sweep_folder(root, cls.__name__, identity)
    told = (why_not, None if root is None and place is None else unknown)
    findings = (*noticed.before(job, first_day), *combos.findings, *(f for f in told if f is not None))
    task = Task(job, name)
    return Plan(task, combos, _parts(task, len(combos.rows)), key, facts, folder, root, findings, search)


def count_sessions(bars: Sequence[Bars]) -> int:
    """Return how many sessions the feeds have together: the returns that a row keeps at most."""
    if len(bars) > 1:
        return len(np.unique(np.concatenate([b.session for b in bars])))
    session = bars[0].session
    return 1 + int(np.count_nonzero(session[1:] != session[:-1]))


def _parts(task: Task, count: int) -> list[range]:
    """Return the chunks of so many combinations."""
    bars = task.job.bars
    sessions = count_sessions(bars)
    return files.plan_chunks(count, sum(map(len, bars)), engine=task.engine, sessions=sessions)


def _values(combos: Combinations) -> dict[str, list[Any]]:
    """Return the values that each parameter takes, each once, in their order."""
    # Rows share the objects of the grid, which may be lists: these have no hash.
    return {n: list({id(row[n]): row[n] for row in combos.rows}.values()) for n in combos.names}


def _engine(job: Job, wanted: str) -> tuple[str, Finding | None]:
    """Return the engine that runs, and a finding where it is not the one that a person would expect."""
    if wanted in ("fast", "plain"):
        return wanted, None
    reason = compiled.not_covered(job)
    if wanted == "compiled":
        if reason is not None:
            raise ParameterError("engine", "compiled", f'{reason}. Use "fast" or "auto"')
        parity.require()
        return "compiled", None
    if reason is None:
        reason = parity.difference_here()
        if reason is not None:
            reason = f"it differs from backtrader on this machine: {reason}"
    if reason is None:
        return "compiled", None
    return "fast", Finding(
        "not-compiled", f"by backtrader in processes, not compiled: {reason}", level="note"
    )


def _facts(job: Job, engine: str) -> tuple[dict[str, Any], Finding | None]:
    """Return all that decides a row but its combination, and a finding where not all of it can be known.

    Code without a source file, or with a state that is unknown, never equals any other.
    """
    cls = job.strategy
    hashes = source.hashes(cls) or {"unknown": uuid.uuid4().hex}
    own = None if isinstance(job.costs, Costs) else state_of(job.costs)
    states = [s for s in (state_of(cls), own) if s is not None]
    code, costs = ([uuid.uuid4().hex if s.unknown is not None else s.digest for s in states] + [None])[:2]
    reasons = [s.unknown for s in states if s.unknown is not None]
    facts = {
        "strategy": {"class": cls.__name__, "module": cls.__module__, "sources": hashes, "state": code},
        "cash": job.cash, "costs": costs_text(job), "own_costs": costs,
        "sizing": None if job.sizing is None else str(job.sizing),
        "slippage": None if job.slippage is None else job.slippage.name, "borrow": job.borrow,
        "start_rule": job.start_rule, "session": dict(cls.session) if issubclass(cls, Strategy) else {},
        "engine": engine, "kernel": sources() if engine == "compiled" else None,
        "bars": bars_facts(job.bars), "versions": dict(versions_here()),
    }  # fmt: skip
    return facts, _never_again(reasons[0]) if reasons else None


def _never_again(reason: str) -> Finding:
    message = (
        f"the next call computes all chunks again: what decides the rows cannot be told whole ({reason}). What a "
        "global of the module or an attribute of the class holds is known: put it there"
    )
    return Finding("chunks-not-reused", message, level="note")


# ---------------------------------------------------------------- running
def run_plan(
    plan: Plan,
    *,
    workers: int | None = None,
    verify: str | int = 0,
    client: Client | None = None,
    progress: Progress = no_progress,
) -> Sweep:
    """Run what is not held yet, keep it, and return the sweep."""
    started = clock.now()
    findings: list[Finding] = []
    if not _is_finished(plan):
        _save_unfinished(plan, started)
    try:
        if plan.search is None:
            ordered, returns, resumed = _computed(plan, plan.filed, workers, client, findings, progress)
        else:
            plan, ordered, returns, resumed = _searched(
                plan, plan.search, workers, client, findings, progress
            )
    except BaseException:  # Ctrl-C above all: what was tried counts, though nobody saw the table
        record_held(plan, started)
        raise
    findings = [*plan.findings, *findings]
    if resumed:
        findings.append(Finding("resumed", "chunks that were held already", resumed, level="note"))
    seconds = (clock.now() - started).total_seconds()
    if plan.data is not None:
        findings += record_trials(plan, ordered, started)
    findings += [] if verify == 0 else _peeks(plan, ordered)
    checked = Verification()
    try:
        if verify != 0:
            checked = verified(plan.task, plan.combos.rows, ordered, verify, returns)
    except ParityError:
        _save_unfinished(plan, started)  # also what was finished once
        raise
    trials, uncounted = trials_of(plan)
    findings += [] if uncounted is None else [uncounted]
    facts = plan.facts | {"trials": trials}
    made = Sweep.of(
        plan.task, plan.combos, ordered, facts, tuple(findings), checked, seconds, plan.folder, plan.data,
        returns,
    )  # fmt: skip
    if plan.folder is not None:
        done_facts = {
            "created": started.isoformat(),
            "done": True,
            "key": plan.key,
            "seconds": seconds,
            "verified": asdict(checked),
        }
        names = [files.chunk_name(plan.key, plan.combos_of(part)) for part in plan.parts]
        told = {
            "chunks": names,
            "findings": [f.to_dict() for f in made.findings],
            "dropped": plan.combos.dropped,
        }
        files.save_sweep_facts(plan.folder, {**facts, **told, **done_facts})
    return made


def _is_finished(plan: Plan) -> bool:
    """Return whether the folder holds this sweep as finished; it stays so if this call is ended in the middle."""
    if plan.folder is None:
        return False
    try:
        known = files.load_sweep_facts(plan.folder)
    except DataError:
        return False
    return bool(known.get("done")) and known.get("key") == plan.key


def _save_unfinished(plan: Plan, started: datetime) -> None:
    if plan.folder is not None:
        facts = {**plan.facts, "created": started.isoformat(), "done": False}
        files.save_sweep_facts(plan.folder, facts)


def _computed(
    plan: Plan,
    filed: bool,
    workers: int | None,
    client: Client | None,
    findings: list[Finding],
    progress: Progress,
) -> tuple[list[Row], Columns, int]:
    """Return the rows of all chunks, which tell how many returns they have, these, and how many chunks were held.

    The others are kept as they are completed. filed: returns stay in the chunk files, not in memory.
    """
    sessions = count_sessions(plan.task.job.bars)
    # One array for the returns of all rows, filled as they come: with many combinations nothing else takes memory.
    returns = None if filed else np.full((len(plan.combos.rows), sessions), math.nan)
    rows: dict[int, list[Row]] = {}
    todo = []
    for number, part in enumerate(plan.parts):
        held = _held(plan, part)
        if isinstance(held, list):
            rows[number] = _put_into(returns, part, held)
        else:
            todo.append(number)
        if isinstance(held, files.Damage):
            findings.append(Finding("damaged-chunk", f"{held.path.name}: {held.reason}; computed again"))
    resumed = len(rows)
    done = sum(len(r) for r in rows.values())
    progress(done, len(plan.combos.rows))
    for place, found in _work(plan, todo, workers, client):
        number = todo[place]
        part = plan.parts[number]
        combos = plan.combos_of(part)
        if plan.folder is not None:
            files.write_chunk(plan.folder, files.chunk_name(plan.key, combos), combos, found)
        rows[number] = _put_into(returns, part, found)
        done += len(found)
        progress(done, len(plan.combos.rows))
    ordered = [row for number in sorted(rows) for row in rows[number]]
    return ordered, _filed(plan) if returns is None else Whole(returns.T), resumed


def _filed(plan: Plan) -> Filed:
    """Return the returns that lie in the chunk files of a plan that has run."""
    assert plan.folder is not None  # noqa: S101  # for mypy: Plan.filed says so
    names = tuple(files.chunk_name(plan.key, plan.combos_of(part)) for part in plan.parts)
    edges = (0, *(part.stop for part in plan.parts))
    return Filed(plan.folder, names, edges, count_sessions(plan.task.job.bars))


def _peeks(plan: Plan, rows: Sequence[Row]) -> list[Finding]:
    """Return a finding where the signals of the best row look ahead, as q.backtest would tell of it."""
    job = plan.task.job
    whole = [k for k, row in enumerate(rows) if row.figures is not None]
    if not whole or not issubclass(job.strategy, Strategy):
        return []
    params = plan.combos.rows[best_of(rows, whole)]
    _, peek = look_ahead(job.strategy, job.bars, params, plans(job.strategy, job.bars, params))
    return [] if peek is None else [peek]


def _put_into(returns: Floats | None, part: range, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a chunk without their returns, which go into those of all, (rows, sessions), if there are."""
    if returns is not None:
        for place, row in zip(returns[part.start : part.stop], rows, strict=True):
            if row.returns is not None:
                place[: len(row.returns)] = row.returns
    return [counted(row) for row in rows]


def _searched(
    plan: Plan,
    search: Search,
    workers: int | None,
    client: Client | None,
    findings: list[Finding],
    progress: Progress,
) -> tuple[Plan, list[Row], Columns, int]:
    """Return the plan with the combinations that the search tried, and of these what `_computed` does."""
    study, figure = search.start(), NAMES.index(search.metric)
    returns: list[Floats] = []
    combos: list[dict[str, Any]] = []
    rows: list[Row] = []
    parts: list[range] = []
    resumed = 0

    def of_all(done: int, _: int) -> None:
        progress(len(rows) + done, search.samples)

    while batch := study.ask(min(BATCH, search.samples - len(rows))):
        part = replace(
            plan, combos=replace(plan.combos, rows=batch), parts=_parts(plan.task, len(batch)), search=None
        )
        try:
            found, own, held = _computed(part, plan.filed, workers, client, findings, of_all)
        except BaseException:
            record_held(part, clock.now())
            record_trials(replace(plan, combos=replace(plan.combos, rows=combos)), rows, clock.now())
            raise
        returns += [own.table.T] if isinstance(own, Whole) else []
        study.tell([math.nan if r.figures is None else float(r.figures[figure]) for r in found])
        parts += [range(len(rows) + p.start, len(rows) + p.stop) for p in part.parts]
        combos, rows, resumed = combos + batch, rows + found, resumed + held
    if not rows:
        told = f"{plan.task.strategy.__name__}.valid refuses every combination that was looked at"
        raise ParameterError(
            "grid", ", ".join(search.values), f"{told}; see its rule, and give values that keep it"
        )
    if len(rows) < search.samples:
        told = f"no more than {len(rows):,} valid combinations were found; samples={search.samples:,} were asked for"
        findings.append(Finding("fewer-samples", told, level="note"))
        progress(len(rows), len(rows))
    tried = replace(plan.combos, rows=combos, dropped=study.dropped)
    facts = plan.facts | {"combinations": len(combos), "dropped": study.dropped}
    tried_plan = replace(plan, combos=tried, parts=parts, facts=facts, search=None)
    held_returns = _filed(tried_plan) if plan.filed else Whole(np.concatenate(returns).T)
    return tried_plan, rows, held_returns, resumed


def _held(plan: Plan, part: range) -> list[Row] | files.Damage | None:
    if plan.folder is None:
        return None
    combos = plan.combos_of(part)
    name = files.chunk_name(plan.key, combos)
    return files.read_chunk(files.chunk_path(plan.folder, name), name, combos)


def _work(
    plan: Plan, todo: Sequence[int], workers: int | None, client: Client | None
) -> Iterator[tuple[int, list[Row]]]:
    """Yield (place in `todo`, rows) as chunks are completed."""
    if not todo:
        return
    chunks = [plan.combos_of(plan.parts[n]) for n in todo]
    if client is not None:
        from quant.research.workers import cluster

        yield from cluster.run(evaluate, plan.task, chunks, client=client, workers=workers)
        return
    cores = os.cpu_count()
    count = min(1 if cores is None else cores, len(chunks)) if workers is None else min(workers, len(chunks))
    if plan.task.engine == "compiled":
        yield from threads.run(evaluator(), plan.task, chunks, workers=count)
    else:
        yield from processes.run(evaluate, plan.task, chunks, workers=count)
