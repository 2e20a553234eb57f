"""Whether the compiled engine may be used on this machine: 20 random runs must equal backtrader's, once.

Another processor, compiler or library might fuse or reorder float operations. The answer is kept in the folder of the
compiled code, under a name that holds the machine and all versions.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Final

import llvmlite.binding as llvm
import numpy as np

from quant.backtest import compiled, engine
from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.backtest.records import difference
from quant.core.bars import Bars
from quant.core.costs import costs, parse_slippage
from quant.core.sessions import Floats
from quant.core.sizing import parse_sizing
from quant.core.synthetic import synthetic
from quant.core.targets import session_rules
from quant.core.version import versions
from quant.errors import ParameterError
from quant.kernel.compiling import cache_folder, sources
from quant.store import atomic
from quant.strategy import Signals, Strategy
from quant.strategy.signals import plan

CASES: Final = 20
BARS: Final = 200


@cache
def difference_here() -> str | None:
    """Return how the compiled engine differs from backtrader on this machine, None if it does not."""
    path = cache_folder() / f"parity-{_machine()}.json"
    try:
        kept: str | None = json.loads(path.read_text(encoding="utf-8"))["difference"]
    except (OSError, ValueError, KeyError, TypeError):
        kept = first_difference(compiled.run)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.put(path, json.dumps({"difference": kept}).encode())
        except OSError:
            pass  # a folder that cannot be written: the cases run again in the next process
    return kept


def _machine() -> str:
    """Return a hash of all that could change the code that runs: processor, system, compiler, libraries, sources."""
    facts = [
        platform.system(),
        platform.machine(),
        llvm.get_host_cpu_name(),
        versions(),
        sources(),
        CASES,
        BARS,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def first_difference(run: Callable[[Job], Record]) -> str | None:
    """Run the cases through `run` and backtrader; return the first difference, None if there is none."""
    for seed in range(CASES):
        job = case(seed)
        found = difference(job, engine.run(job, "fast"), run(job), "fast")
        if found is not None:
            return f"case {seed}: {found}"
    return None


def case(seed: int) -> Job:
    """Return a random job: each sizing, cost, slippage, exit and session rule comes up in some, and too little cash."""
    rng = np.random.default_rng(seed)
    daily = seed % 3 == 0
    bar, last = ("1d", "2022-12-30") if daily else ("5m", "2020-01-31")
    bars = synthetic("CASE", bar, "2020-01-02", last, seed=seed)
    bars = bars[:BARS]
    if seed % 6 == 5:  # London's pence
        bars = replace(bars, instrument=replace(bars.instrument, price_magnifier=100))
    target = np.repeat(rng.choice([0.0, 1.0, -1.0, np.nan], BARS // 8 + 1), 8)[: len(bars)]
    wishes = Signals(target, *_exits(rng, bars, seed))
    pick = (
        ["percent:95", "shares:137", "cash:50000", "risk:1"],
        ["ib-fixed", "none", "percent:0.05", "ib-tiered", "DE"],
    )
    sizing, cost = (names[(seed // (k * 3 + 1)) % len(names)] for k, names in enumerate(pick))
    charged = costs("ib-tiered", "DE") if cost == "DE" else costs(cost)  # percent with a least and a most
    if wishes.stop is None and sizing.startswith("risk"):
        sizing = "percent:30"
    rules = {"no_entry_last": "30m", "flat_before_close": "10m"} if not daily and seed % 2 else {}
    return Job(
        strategy=Strategy, params={}, bars=(bars,), plans=(plan("case", bars, wishes),),
        cash=(12_000.0 if seed % 4 == 1 else 100_000.0) / bars.instrument.price_magnifier, costs=charged,
        sizing=parse_sizing(sizing),
        slippage=parse_slippage([None, "percent:0.02"][seed % 2]),
        borrow=0.03 if seed % 5 == 0 else None, rules=session_rules(rules),
        start_rule="next-change" if seed % 7 == 0 else "first-target",
    )  # fmt: skip


def _exits(rng: np.random.Generator, bars: Bars, seed: int) -> tuple[Floats | None, Floats | None, bool]:
    if seed % 5 == 4:
        return None, None, False
    away = bars.close * np.abs(rng.normal(0.0, 0.01, len(bars)))
    side = rng.choice([1.0, -1.0], len(bars))  # often on the wrong side: the rules have an answer to that too
    return bars.close - side * away, bars.close + side * away, seed % 4 == 1


def require() -> None:
    """Raise ParameterError where the compiled engine differs from backtrader on this machine."""
    found = difference_here()
    if found is not None:
        reason = f'is switched off on this machine, where it differs from backtrader ({found}). Use "fast"'
        raise ParameterError("engine", "compiled", reason)
