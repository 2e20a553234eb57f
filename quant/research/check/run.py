"""q.check: all checks of a strategy, one after the other, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest import engine as engines
from quant.backtest.engine import names_of
from quant.backtest.findings import names
from quant.backtest.job import Job
from quant.backtest.records import difference
from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.research.check.determinism import determinism, random_numbers
from quant.research.check.edges import edges
from quant.research.check.engines import equal_engines, job_of
from quant.research.check.look_ahead import look_ahead
from quant.research.check.result import Check, Part
from quant.research.check.subject import Subject
from quant.research.check.warm_up import WarmUp, warm_up
from quant.strategy import strategy as find

ORDERS: Final = "it gives orders and no signals"
RANDOM: Final = "its signals differ from call to call"


def check(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    params: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
) -> Check:
    """Check a strategy: look-ahead, warm-up, determinism, engines equal, parameters at their edges, names.

    strategy: a class, a name in strategies/ ("macd"), or "package.module:Class". bars: one Bars, or several = several
    feeds. params: replace the strategy's defaults. seed: of the cuts and poisons, 0 or more; the same seed checks
    the same. Of a plain bt.Strategy only determinism, engines and names can be checked; the rest says so.
    Takes some seconds on 10,000 bars. Raises what q.backtest raises for bars, parameters and signals.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ParameterError("seed", seed, "must be a whole number, 0 or more")
    job = job_of(find(strategy), bars, params)
    if job.plans is None:
        found, parts, findings = _orders(job, seed)
    else:
        found, parts, findings = _signals(Subject(job.strategy, job.params, job.bars, job.plans), seed)
    part, differ = equal_engines(job)
    clashes = list(names(job.strategy))
    named = Part(
        "names", "failed" if clashes else "ok", "clash, see below" if clashes else "none of backtrader's"
    )
    return Check(
        strategy=job.strategy.__name__, params=job.params, bars=_told(job.bars), seed=seed, parts=(*parts, part, named),
        findings=[*findings, *differ, *clashes], warmup=found.exact, warmup_1e9=found.near,
    )  # fmt: skip


def _signals(subject: Subject, seed: int) -> tuple[WarmUp, list[Part], list[Finding]]:
    """Return the checks of a strategy that gives signals."""
    same, random, fresh = determinism(subject, seed)
    if random:  # every comparison below would find the chance
        rest = [Part(n, "not applicable", RANDOM) for n in ("look-ahead", "warm-up", "edges")]
        return WarmUp(None, None), [rest[0], rest[1], same, rest[2]], random
    ahead, peeks = look_ahead(subject, _generator(seed, 1), fresh)
    length, warm, notes = warm_up(subject, _generator(seed, 2))
    limits, more = edges(subject, honest=ahead.verdict != "failed")
    told = {f.code for f in peeks}  # both may tell of ties
    notes = [f for f in notes if f.code not in told]
    return length, [ahead, warm, same, limits], [*peeks, *notes, *more]


def _orders(job: Job, seed: int) -> tuple[WarmUp, list[Part], list[Finding]]:
    """Return the checks of a plain bt.Strategy."""
    first = engines.run(job, "fast")
    with random_numbers(seed):
        again = engines.run(replace(job, bars=tuple(replace(b) for b in job.bars)), "fast")
    told = difference(job, first, again)
    ahead, warm, limits = (Part(n, "not applicable", ORDERS) for n in ("look-ahead", "warm-up", "edges"))
    if told is None:
        return WarmUp(None, None), [ahead, warm, Part("determinism", "ok", "same run twice"), limits], []
    finding = Finding("not-deterministic", f"{job.strategy.__name__} is not deterministic: run again, {told}")
    same = Part("determinism", "failed", "two runs differ, see below")
    return WarmUp(None, None), [ahead, warm, same, limits], [finding]


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, purpose]))


def _told(bars: Sequence[Bars]) -> str:
    listed = [f"{n} {b.bar}" if b.bar.name not in n else n for n, b in zip(names_of(bars), bars, strict=True)]
    spans = f"{min(b.session[0] for b in bars)} … {max(b.session[-1] for b in bars)}"
    return f"{', '.join(listed)} · {spans} · {sum(len(b) for b in bars):,} bars"
