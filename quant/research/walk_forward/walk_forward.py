"""q.walk_forward: parameters chosen on the past, traded on what follows, window after window, as one account.

What is decided here. Signals of a span are computed over all bars up to the span's end and none after it; the account
trades the span's bars alone and starts flat, so its first fill is at the open of the span's second bar.
A position held at the end of a test span is closed at the last close with commission and slippage, as an order for
the close would: that the span ends there is known beforehand. So each window starts with the cash that the one before
left, and the joined account adds up to the cent. Training spans end as q.backtest ends, with positions open.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import backtrader as bt
import numpy as np
import pandas as pd

from quant.backtest import compiled, engine
from quant.backtest import findings as noticed
from quant.backtest.broker import commission
from quant.backtest.job import AnyCosts, Job, decide
from quant.backtest.recorder import FillRow, OrderRow, Record
from quant.backtest.records import difference
from quant.backtest.result import make_run, measured, multiplier_of
from quant.core import clock
from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.errors import ParameterError, ParityError, QuantError, WriteFailed
from quant.indicators.shared import sharing
from quant.kernel.run import Scratch, row
from quant.metrics import NAMES
from quant.metrics.trade_list import FLAT
from quant.research import chunks as files
from quant.research.check.subject import cut
from quant.research.progress import Progress, no_progress
from quant.research.sweep import ENGINES, Combos, Plan, plan_sweep
from quant.research.task import Row, Task, memo_of
from quant.research.trials import record_trials, trials_of
from quant.research.verify import SHARPE, compare_figures
from quant.research.walk_forward.choices import Choices
from quant.research.walk_forward.kept import keep
from quant.research.walk_forward.report import COUNTS, DATES, GROWING, WalkForward
from quant.research.walk_forward.windows import (
    Length,
    Span,
    Window,
    cut_windows,
    length_text,
    sessions_of,
    span,
)
from quant.research.workers import processes, threads
from quant.store.folder import data_folder
from quant.strategy import Strategy

if TYPE_CHECKING:
    from distributed import Client

COLUMNS: Final = (*DATES, "in_sample", "out_of_sample", "return", "trades")
AT_THE_END: Final = "window-end"  # reason of the order that closes a position there


def walk_forward(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    grid: Mapping[str, Any],
    *,
    train: Length,
    test: Length,
    anchored: bool = False,
    embargo: Length = 0,
    metric: str = "sharpe",
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
    folder: str | Path | None = None,
    client: Client | None = None,
    save: bool = True,
    data: str | Path | None = None,
    progress: Progress = no_progress,
) -> WalkForward:
    """Choose the best parameters on each training span, trade them on the test span after it, and join the tests.

    bars: one Bars, or a list = one joint account. train, test, embargo (left out between the two): sessions, or offsets
    of pandas such as "365D" or "2YE". anchored: each training span begins with the first session. metric: what the
    best is chosen by; the first of equals, and a window where no combination has it stays flat. Each training span
    starts flat with `cash`, each test span flat with what the one before left. All else as in q.sweep; what is
    computed is kept by window, and a second call goes on where the first was. progress: called with (training runs
    done, all). A plain bt.Strategy sees the bars of its span only.
    Raises ParameterError, StrategyError, DataError; ParityError where the compiled engine is not backtrader's equal.
    """
    settings: dict[str, Any] = {
        "cash": cash, "costs": costs, "sizing": sizing, "slippage": slippage, "borrow": borrow,
        "start_rule": start_rule,
    }  # fmt: skip
    _check(bars, metric, engine, workers)
    plan = plan_sweep(strategy, bars, grid, settings, engine=engine, samples=samples, seed=seed)
    taken = [n for n in plan.combos.names if n in COLUMNS]
    if taken:
        raise ParameterError("grid", taken[0], "is a column of the windows' table; rename the parameter")
    feeds = plan.task.job.bars
    windows = cut_windows(sessions_of(feeds), train, test, anchored=anchored, embargo=embargo)
    spans = _spans(feeds, windows)
    how = {
        "train": length_text(train), "test": length_text(test), "anchored": bool(anchored),
        "embargo": length_text(embargo), "metric": metric,
    }  # fmt: skip
    plan = _kept(plan, spans, how, data_folder(data) if save else None, folder)
    started = clock.now()
    trained = [s for s, _ in spans]
    choices = Choices(metric, len(windows), len(plan.combos.rows))
    try:
        notes = _search(plan, trained, choices, workers, client, progress)
    except BaseException:  # Ctrl-C above all: what was tried counts, though nobody saw a window
        _count_trials(plan, trained, choices, started)
        raise
    notes += _count_trials(plan, trained, choices, started)
    _train_again(plan, trained, choices)
    notes = [*plan.findings, *notes]  # the plan knows what is known of the bars before any run
    found = _walk(plan, windows, spans, choices, how, notes)
    try:
        keep(found, started)
    except WriteFailed as e:
        found.findings.append(Finding("outcome-not-kept", f"a promotion will not find it: {e}"))
    return found


def _check(bars: Any, metric: str, engine: str, workers: int | None) -> None:
    if isinstance(bars, Mapping):
        reason = "takes one Bars, or a list = one joint account; call it once for each symbol"
        raise ParameterError("bars", ", ".join(map(str, bars)), reason)
    if metric not in NAMES:
        raise ParameterError("metric", metric, f"there is {', '.join(NAMES)}")
    if engine not in ENGINES:
        raise ParameterError("engine", engine, f"there is {', '.join(ENGINES)}")
    whole = isinstance(workers, int) and not isinstance(workers, bool)
    if workers is not None and not (whole and workers >= 1):
        raise ParameterError("workers", workers, "must be a whole number, 1 or more")


def _spans(feeds: Sequence[Bars], windows: Sequence[Window]) -> list[tuple[Span, Span]]:
    sessions = sessions_of(feeds)

    def of(numbers: range) -> Span:
        return span(feeds, sessions[numbers.start], sessions[numbers.stop - 1])

    return [(of(w.train), of(w.test)) for w in windows]


def _kept(
    plan: Plan,
    spans: Sequence[tuple[Span, Span]],
    how: Mapping[str, Any],
    root: Path | None,
    folder: str | Path | None,
) -> Plan:
    """Return the plan with the folder that only this walk-forward has; without one where nothing is saved."""
    if root is None:
        return plan
    if folder is None:
        identity = {
            "key": plan.key, "combos": files.chunk_name(plan.key, plan.combos.rows), "how": dict(how),
            "spans": [[_key(s) for s in pair] for pair in spans],
        }  # fmt: skip
        folder = files.sweep_folder(root, f"{plan.task.strategy.__name__}WalkForward", identity)
    return replace(plan, data=root, folder=Path(folder))


def _key(s: Span) -> str:
    return f"{s.first} {s.last} {s.starts} {s.stops}"


# ---------------------------------------------------------------- one span
@dataclass(frozen=True, slots=True, eq=False)
class SpanTask:
    """What a worker needs: a sweep's task over the whole history, and the training spans of the windows."""

    task: Task
    spans: tuple[Span, ...]

    @property
    def strategy(self) -> type[bt.Strategy]:
        """The strategy class."""
        return self.task.strategy


def evaluate_spans(task: SpanTask, items: Combos) -> list[Row]:
    """Return the row of each item, without returns. items: {"window": number of the span, "params": combination}."""
    rows: list[Row] = []
    for number, group in groupby(items, key=lambda item: int(item["window"])):
        rows += _rows(task.task, task.spans[number], [item["params"] for item in group])
    return rows


def _rows(task: Task, s: Span, combos: Combos) -> list[Row]:
    history = s.history(task.job.bars)
    if task.engine != "compiled":
        return [_by_backtrader(task, history, s, params) for params in combos]
    feed = compiled.kernel_feed(replace(task.job, bars=s.within(task.job.bars)))
    scratch = Scratch(feed)
    (b,) = history
    rows = []
    with sharing(memo_of(b)):
        for params in combos:
            try:
                job = _shared(task.job, history, s, params)
            except QuantError as e:
                rows.append(Row(None, None, str(e)))
                continue
            assert job.plans is not None  # noqa: S101  # for mypy: the kernel covers q.Strategy only
            (p,) = job.plans
            figures, _ = row(feed, p.target, p.stop, p.limit, p.follow_stop, scratch)
            rows.append(Row(figures, None))
    return rows


def _shared(job: Job, history: tuple[Bars, ...], s: Span, params: Mapping[str, Any]) -> Job:
    try:
        return _decided(job, history, s, params, copied=False)
    except QuantError as e:
        if "read-only" not in str(e):
            raise
    # It writes into an indicator's array, which here belongs to others too: once more with one of its own.
    with sharing(None):
        return _decided(job, history, s, params, copied=False)


def _decided(
    job: Job, history: tuple[Bars, ...], s: Span, params: Mapping[str, Any], *, copied: bool = True
) -> Job:
    """Return the job over the bars of a span, with the plans that the signals over its history give."""
    found = decide(replace(job, bars=history), params, copied=copied)
    if found.plans is not None:
        plans = tuple(cut(p, slice(a, None)) for p, a in zip(found.plans, s.starts, strict=True))
        found = replace(found, plans=plans)
    return replace(found, bars=s.within(job.bars))


def _by_backtrader(task: Task, history: tuple[Bars, ...], s: Span, params: Mapping[str, Any]) -> Row:
    try:
        job = _decided(task.job, history, s, params)
        figures, _ = measured(job, engine.run(job, task.engine))
    except QuantError as e:
        return Row(None, None, str(e))
    return Row(np.array([figures[name] for name in NAMES], dtype=np.float64), None)


# ---------------------------------------------------------------- training
def _search(
    plan: Plan,
    spans: Sequence[Span],
    choices: Choices,
    workers: int | None,
    client: Client | None,
    progress: Progress,
) -> list[Finding]:
    """Run what is not held yet, keep it, and let each window choose."""
    findings, todo, done, resumed = [], [], 0, 0
    total = len(spans) * len(plan.combos.rows)
    for window, s in enumerate(spans):
        for part in files.plan_chunks(len(plan.combos.rows), sum(s.stops), engine=plan.task.engine):
            held = _held(plan, s, part)
            if isinstance(held, list):
                choices.take(window, part, held)
                done, resumed = done + len(part), resumed + 1
            else:
                todo.append((window, part))
            if isinstance(held, files.Damage):
                findings.append(Finding("damaged-chunk", f"{held.path.name}: {held.reason}; computed again"))
    progress(done, total)
    for place, rows in _work(plan, spans, todo, workers, client):
        window, part = todo[place]
        if plan.folder is not None:
            files.write_chunk(plan.folder, _name(plan, spans[window], part), plan.combos_of(part), rows)
        choices.take(window, part, rows)
        done += len(part)
        progress(done, total)
    if resumed:
        findings.append(Finding("resumed", "chunks that were held already", resumed, level="note"))
    return [*findings, *choices.findings()]


def _name(plan: Plan, s: Span, part: range) -> str:
    return files.chunk_name(f"{plan.key} {_key(s)}", plan.combos_of(part))


def _held(plan: Plan, s: Span, part: range) -> list[Row] | files.Damage | None:
    if plan.folder is None:
        return None
    name = _name(plan, s, part)
    return files.read_chunk(files.chunk_path(plan.folder, name), name, plan.combos_of(part))


def _work(
    plan: Plan,
    spans: Sequence[Span],
    todo: Sequence[tuple[int, range]],
    workers: int | None,
    client: Client | None,
) -> Iterator[tuple[int, list[Row]]]:
    """Yield (place in `todo`, rows) as chunks are completed."""
    if not todo:
        return
    task = SpanTask(plan.task, tuple(spans))
    chunks = [[{"window": w, "params": c} for c in plan.combos_of(part)] for w, part in todo]
    if client is not None:
        from quant.research.workers import cluster

        yield from cluster.run(evaluate_spans, task, chunks, client=client, workers=workers)
        return
    count = min((os.cpu_count() or 1) if workers is None else workers, len(chunks))
    run: Callable[..., Iterator[tuple[int, list[Row]]]] = (
        threads.run if plan.task.engine == "compiled" else processes.run
    )
    yield from run(evaluate_spans, task, chunks, workers=count)


def _count_trials(plan: Plan, spans: Sequence[Span], choices: Choices, started: datetime) -> list[Finding]:
    """Write each combination that was trained into the ledger once, with what its last training span gave."""
    job, findings = plan.task.job, []
    for window in np.unique(choices.last[choices.last >= 0]):
        bars = spans[window].within(job.bars)
        # Of returns the ledger keeps only how many there were.
        returns = np.broadcast_to(math.nan, len(sessions_of(bars)))
        numbers = np.flatnonzero(choices.last == window).tolist()
        figures = np.full((len(numbers), len(NAMES)), math.nan)
        figures[:, SHARPE] = choices.sharpes[numbers]
        tried = replace(plan.combos, rows=[plan.combos.rows[n] for n in numbers])
        task = replace(plan.task, job=replace(job, bars=bars))
        rows = [Row(row, returns) for row in figures]
        findings += record_trials(replace(plan, task=task, combos=tried), rows, started)
    return findings


def _train_again(plan: Plan, spans: Sequence[Span], choices: Choices) -> None:
    """Run the first choice again, here by backtrader. Raises ParityError where that is not what was trained.

    Workers load modules anew, and chunks may be of another day: what these have read may be another thing here.
    """
    task = replace(plan.task, engine="fast") if plan.task.engine == "compiled" else plan.task
    for s, best in zip(spans, choices.best, strict=True):
        if best is None:
            continue
        params = plan.combos.rows[best[1]]
        found = _by_backtrader(task, s.history(task.job.bars), s, params)
        if found.figures is None:
            told = ", ".join(f"{k}={v!r}" for k, v in params.items())
            raise ParityError(
                task.strategy.__name__, told, f"it worked in training and fails here: {found.error}"
            )
        compare_figures(task.job, params, best[2], found.figures, "training")
        return


# ---------------------------------------------------------------- testing
@dataclass(frozen=True, slots=True, eq=False)
class _Tested:
    """A test span that was traded. figures: of quant.metrics.NAMES; None where nothing was traded. held: at its end."""

    record: Record
    figures: dict[str, float] | None
    held: bool = False


def _walk(
    plan: Plan,
    windows: Sequence[Window],
    spans: Sequence[tuple[Span, Span]],
    choices: Choices,
    how: Mapping[str, Any],
    notes: list[Finding],
) -> WalkForward:
    """Trade what each window chose, one after the other, and join the account."""
    cash = plan.task.job.cash
    tested: list[_Tested] = []
    rows = []
    for (trained, s), best in zip(spans, choices.best, strict=True):
        params = None if best is None else plan.combos.rows[best[1]]
        found = _test(plan.task, s, params, cash, notes)
        tested.append(found)
        after = found.record.value[-1]
        figures = {} if found.figures is None else found.figures
        rows.append(
            {
                **dict(zip(DATES, (trained.first, trained.last, s.first, s.last), strict=True)),
                **{n: None if params is None else params[n] for n in plan.combos.names},
                "in_sample": math.nan if best is None else float(best[2][choices.column]),
                "out_of_sample": figures.get(how["metric"], math.nan),
                "return": after / cash - 1.0 if cash > 0.0 else 0.0, "trades": int(figures.get("trades", 0)),
            }
        )  # fmt: skip
        cash = after
    job, record = _joined(plan.task.job, [s for _, s in spans], tested)
    name = "fast" if plan.task.engine == "compiled" else plan.task.engine
    trials, uncounted = trials_of(plan)
    notes += [*_told(plan, windows, tested, record), *noticed.after(job, record)]
    notes += [] if uncounted is None else [uncounted]
    account = make_run(job, record, notes, engine=name, look_ahead_ok=None)
    chosen = tuple(None if b is None else dict(plan.combos.rows[b[1]]) for b in choices.best)
    return WalkForward(
        settings={**plan.facts, "walk_forward": dict(how), "trials": trials}, parameters=chosen,
        windows=_table(rows, plan.combos.names), account=account, in_sample=_mean_in_sample(choices, how["metric"]),
        chose=choices.differ, folder=plan.folder,
    )  # fmt: skip


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in rows[0]:
        values = [r[name] for r in rows]
        # A window without parameters has None there, which must not make floats of whole numbers.
        gaps = name in names and any(v is None for v in values)
        columns[name] = pd.Series(values, dtype=object) if gaps else values
        if name in DATES:
            columns[name] = np.array(values, dtype="datetime64[s]")
    return pd.DataFrame(columns)


def _mean_in_sample(choices: Choices, metric: str) -> float:
    """Return the mean over the windows of what was chosen, in the figure that a share kept is measured by."""
    if metric in COUNTS:
        return math.nan
    k = NAMES.index("cagr" if metric in GROWING else metric)
    values = [float(b[2][k]) for b in choices.best if b is not None]
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan


def _test(
    task: Task, s: Span, params: Mapping[str, Any] | None, cash: float, notes: list[Finding]
) -> _Tested:
    traded = s.within(task.job.bars)
    if params is not None and cash > 0.0:
        try:
            job = _decided(replace(task.job, cash=cash), s.history(task.job.bars), s, params)
            record = engine.run(job, "fast" if task.engine == "compiled" else task.engine)
            if task.engine == "compiled":
                found = difference(job, record, engine.run(job, "compiled"), "fast")
                if found is not None:
                    told = ", ".join(f"{k}={v!r}" for k, v in params.items())
                    raise ParityError(job.strategy.__name__, told, found)
            held = _close(job, record)
            return _Tested(record, measured(job, record)[0], held)
        except ParityError:
            raise
        except QuantError as e:
            notes.append(
                Finding("failed-window", f"the test from {s.first} to {s.last} failed and stays flat: {e}")
            )
    record = Record(traded)
    record.cash, record.value = [cash] * len(record.steps), [cash] * len(record.steps)
    return _Tested(record, None)


def _close(job: Job, record: Record) -> bool:
    """Close what is held at the end of a record, cancel what waits; True where something was held."""
    last = int(record.end[-1])
    for order in record.orders:
        if order.status == "open":
            order.status = "cancelled"
    held = False
    for feed, (bars, units) in enumerate(zip(job.bars, record.positions(), strict=True)):
        bar = int(np.searchsorted(bars.end, last, side="right")) - 1
        if bar < 0 or abs(units[bar]) <= FLAT * np.max(np.abs(units)):
            continue
        held = True
        quantity = -float(units[bar])
        close = float(bars.close[bar])
        price = _slipped(job, bars, bar, quantity)
        scheme = commission(job.costs, None, lambda _: None, bars.instrument.price_magnifier)
        fee, worse = float(scheme.getcommission(quantity, price)), abs(price - close)
        number = len(record.orders) + 1
        record.orders.append(
            OrderRow(number, feed, last, "close", quantity, math.nan, math.nan, AT_THE_END, "filled")
        )
        record.fills.append(FillRow(number, feed, bar, quantity, price, fee, AT_THE_END, worse))
        record.value[-1] -= fee + abs(quantity) * worse * multiplier_of(job, feed)
    if held:
        record.cash[-1] = record.value[-1]
    # A strategy that stopped its run early is flat for the rest of the span.
    missing = len(record.steps) - len(record.value)
    record.cash += record.cash[-1:] * missing
    record.value += record.value[-1:] * missing
    return held


def _slipped(job: Job, bars: Bars, bar: int, quantity: float) -> float:
    """Return the close worsened by the slippage, within the bar's range as all other fills."""
    close = float(bars.close[bar])
    if job.slippage is None:
        return close
    tick = bars.instrument.tick
    by = (
        close * job.slippage.rate
        if job.slippage.kind == "percent"
        else job.slippage.amount * (tick or math.nan)
    )
    return min(close + by, float(bars.high[bar])) if quantity > 0.0 else max(close - by, float(bars.low[bar]))


def _joined(job: Job, spans: Sequence[Span], tested: Sequence[_Tested]) -> tuple[Job, Record]:
    """Return the test spans as one job and one record."""
    begin = spans[0].starts
    bars = tuple(b[a:z] for b, a, z in zip(job.bars, begin, spans[-1].stops, strict=True))
    whole = Record(bars)
    for s, found in zip(spans, tested, strict=True):
        r, orders = found.record, len(whole.orders)
        shift = [a - first for a, first in zip(s.starts, begin, strict=True)]
        whole.orders += [replace(o, order=o.order + orders) for o in r.orders]
        whole.fills += [replace(f, order=f.order + orders, bar=f.bar + shift[f.feed]) for f in r.fills]
        whole.borrowed += [(feed, bar + shift[feed], amount) for feed, bar, amount in r.borrowed]
        whole.cash += r.cash
        whole.value += r.value
        whole.wrong_side += r.wrong_side
        whole.entry_touches += r.entry_touches
        whole.numeric_valid += r.numeric_valid
        whole.fell_back = r.fell_back if whole.fell_back is None else whole.fell_back
    if not np.array_equal(np.concatenate([t.record.steps for t in tested]), whole.steps):
        names = ", ".join(b.symbol for b in bars)
        reason = "their sessions of different dates overlap in time, so a window of one ends within that of another"
        raise ParameterError("bars", names, f"{reason}; run them apart")
    return replace(job, bars=bars, params={}, plans=None), whole


def _told(
    plan: Plan, windows: Sequence[Window], tested: Sequence[_Tested], record: Record
) -> Iterator[Finding]:
    idle = sum(t.figures is None for t in tested)
    if idle:
        message = "windows stayed flat: no combination had the metric in training, the test failed, or no cash was left"
        yield Finding("flat-windows", message, idle)
    held = sum(t.held for t in tested)
    if held:
        message = (
            "windows ended with a position, closed at the last close with its costs; the next one began flat"
        )
        yield Finding("closed-at-window-end", message, held, level="note")
    if not windows[-1].whole:
        count = len(windows[-1].test)
        message = (
            f"the last test span is shorter than the others: the bars end after {count:,} of its sessions"
        )
        yield Finding("short-last-window", message, level="note")
    if tested[-1].record.value[-1] <= 0.0:
        yield Finding("account-empty", "all cash was lost; nothing was traded from there on")
    ambiguous = sum(f.ambiguous for f in record.fills)
    if ambiguous:
        message = "bars touched both stop and limit and do not say which came first; the stop is taken"
        yield Finding("ambiguous-exits", message, ambiguous)
    if not issubclass(plan.task.strategy, Strategy):
        message = (
            f"{plan.task.strategy.__name__} is a plain bt.Strategy: its indicators begin anew with each span, so it "
            "trades nothing until they are warm; take spans much longer than that, or give it signals(bars, p)"
        )
        yield Finding("cold-start", message)
