"""q.backtest: from a strategy and bars to a Run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt

from quant.backtest import engine as engines
from quant.backtest import findings as noticed
from quant.backtest.job import AnyCosts, Job, make_job
from quant.backtest.recorder import Record
from quant.backtest.result import Run, make_run
from quant.core import clock
from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.store.folder import data_folder
from quant.strategy import look_ahead


def backtest(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    *,
    params: Mapping[str, Any] | None = None,
    cash: float = 100_000.0,
    costs: AnyCosts = "ib-fixed",
    sizing: str | None = None,
    slippage: str | None = None,
    borrow: float | None = None,
    engine: str = "fast",
    start_rule: str = "first-target",
    save: bool = True,
    data: str | Path | None = None,
) -> Run:
    """Run a strategy over bars and return what happened.

    strategy: a class, a name in strategies/ ("macd"), or "package.module:Class". bars: one Bars, or several
    = several feeds on one cash account. params: replace the strategy's defaults. cash: in the instruments'
    currency. costs: "none", "percent:0.05", "ib-fixed", "ib-tiered", a bt.CommInfoBase, or f(quantity, price).
    sizing: "percent:95" (default, shared by the feeds), "cash:10000", "shares:100", "risk:1"; of a plain
    bt.Strategy only "shares:N". slippage: "percent:0.02" or "ticks:1". borrow: yearly rate on shorts (0.03 =
    3 %). engine: "fast", "plain" = stock Cerebro, or "compiled", all with the same bits; what "fast" does not
    cover it leaves to stock, and the run says why, and "compiled" refuses it. start_rule: "first-target", or
    "next-change" as live starts. save: write a run folder under `data`.
    Raises ParameterError, StrategyError, DataError; what is refused and what is only noticed: DESIGN §5.5.
    """
    job, first_day = make_job(
        strategy, bars, params=params, cash=cash, costs=costs, sizing=sizing, slippage=slippage, borrow=borrow,
        start_rule=start_rule,
    )  # fmt: skip
    if engine not in engines.ENGINES:
        raise ParameterError("engine", engine, f"there is {', '.join(engines.ENGINES)}")
    if engine == "compiled":
        from quant.backtest import parity

        parity.require()
    notes = noticed.before(job, first_day)
    checked = None
    if job.plans is not None:
        prefixes, peek = look_ahead(job.strategy, job.bars, job.params, job.plans)
        checked = peek is None if prefixes or peek is not None else None
        notes += [] if peek is None else [peek]
    record = engines.run(job, engine)
    notes += noticed.after(job, record)
    notes += _ambiguous(job, record, engine)
    run = make_run(job, record, notes, engine=engine, look_ahead_ok=checked)
    if save:
        from quant.backtest.folder import save_run

        run.folder = save_run(run, data_folder(data), clock.now())
    return run


def _ambiguous(job: Job, record: Record, engine: str) -> list[Finding]:
    """Where one bar touched both exits, run once more with the limit first and say what that would give."""
    count = sum(f.ambiguous for f in record.fills)
    if not count:
        return []
    other = engines.run(replace(job, limit_first=True), engine)
    message = (
        "bars touched both stop and limit and do not say which came first; stop first gives a final value of "
        f"{record.value[-1]:,.2f}, limit first {other.value[-1]:,.2f}"
    )
    return [Finding("ambiguous-exits", message, count)]
