"""The rehearsal: stored bars traded by the live path at a simulated TWS, and compared with the backtest to the cent."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np

from quant.backtest.job import Job, make_job
from quant.core.bars import COLUMNS, Bars
from quant.core.finding import Finding
from quant.errors import ParameterError
from quant.oms.limits import Limits
from quant.promotion.difference import UNEXPLAINED, Difference, Evidence, differences, moment, money
from quant.promotion.expected import expected
from quant.promotion.facts import of_backtest, of_live
from quant.promotion.invariants import broken
from quant.promotion.judged import Refused
from quant.promotion.live import Traded, trade
from quant.promotion.stage import AnyFault, Stage, in_session, make_stage
from quant.strategy import Strategy
from quant.tws.faults import read as read_faults


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """What a rehearsal showed.

    orders, fills: of the backtest and of live. cash, value: at the end, of both. differences: by time, each with its
    cause. broken: invariants that did not hold. refused: what the deployment's limits are against. faulty: faults were
    played. bars_per_s: of live; notes: what the live path said, (UTC ns, text).
    """

    strategy: str
    symbols: tuple[str, ...]
    bars: int
    orders: tuple[int, int]
    fills: tuple[int, int]
    cash: tuple[float, float]
    value: tuple[float, float]
    differences: tuple[Difference, ...]
    broken: tuple[str, ...]
    refused: tuple[Refused, ...]
    findings: tuple[Finding, ...]
    notes: tuple[tuple[int, str], ...]
    faulty: bool
    bars_per_s: float

    @property
    def equal(self) -> bool:
        """True where orders, fills and the account at each bar are the same to the cent."""
        return not self.differences

    @property
    def ok(self) -> bool:
        """True where nothing is wrong: equal, or, under faults, every difference explained; and no invariant broken."""
        explained = all(d.cause != UNEXPLAINED for d in self.differences)
        return not self.broken and (explained if self.faulty else self.equal)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        pairs = {
            name: dict(zip(("backtest", "live"), getattr(self, name), strict=True))
            for name in ("orders", "fills", "cash", "value")
        }
        return {
            "strategy": self.strategy, "symbols": list(self.symbols), "bars": self.bars, "ok": self.ok,
            "equal": self.equal, "faults": self.faulty, **pairs,
            "differences": [d.to_dict() for d in self.differences], "broken": list(self.broken),
            "refused": [
                {"at": moment(r.at), "code": r.code, "text": r.text, "symbol": r.symbol, "quantity": r.quantity, "halts": r.halts}
                for r in self.refused
            ],
            "findings": [{"code": f.code, "message": f.message, "count": f.count} for f in self.findings],
            "bars_per_s": self.bars_per_s,
        }  # fmt: skip

    def __repr__(self) -> str:
        how = "equal to the cent" if self.equal else f"{len(self.differences)} differences"
        return f"Rehearsal({self.strategy} on {', '.join(self.symbols)}, {self.bars:,} bars, {how})"


def rehearse(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    *,
    params: Mapping[str, Any] | None = None,
    capital: float = 100_000.0,
    costs: str = "ib-fixed",
    sizing: str | None = None,
    start_rule: str = "next-change",
    limits: Limits | None = None,
    faults: str | Path | Iterable[AnyFault] = (),
    seed: int = 0,
) -> Rehearsal:
    """Trade stored bars as live, at a simulated TWS, and compare with the backtest.

    strategy to sizing as of q.backtest; capital: the deployment's, of an account ten times as large with holdings of
    others. start_rule: "next-change" as live starts. limits: what they would have refused is listed, they refuse
    nothing. faults: of the simulated TWS, a TOML file or rows; seed: of what is drawn for them.
    Raises ParameterError, StrategyError, DataError, BrokerError.
    """
    script = read_faults(Path(faults)) if isinstance(faults, str | Path) else list(faults)
    if not isinstance(costs, str):
        raise ParameterError("costs", costs, 'must be the name of a table, e.g. "ib-fixed": the simulated TWS bills it')
    given = [bars] if isinstance(bars, Bars) else list(bars)
    whole = make_job(strategy, given, params=params, cash=capital, costs=costs, sizing=sizing, start_rule=start_rule)[0]
    if not issubclass(whole.strategy, Strategy):
        raise ParameterError("strategy", whole.strategy.__name__, "is a plain bt.Strategy; a q.Strategy is rehearsed")
    stage = make_stage([in_session(b) for b in given], capital, costs, script, seed)
    job = make_job(
        strategy, stage.bars, params=params, cash=capital, costs=costs, sizing=sizing, start_rule=start_rule
    )[0]  # fmt: skip
    findings = [_left_out(before, after) for before, after in zip(given, stage.bars, strict=True)]
    told = [f for f in findings if f is not None]
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _rehearse(stage, job, limits or Limits(), script, told)
    with ThreadPoolExecutor(1) as thread:  # a notebook's own loop runs in this one
        return thread.submit(_rehearse, stage, job, limits or Limits(), script, told).result()


def _left_out(before: Bars, after: Bars) -> Finding | None:
    count = len(before) - len(after)
    message = f"bars of {before.symbol} begin outside its sessions; no such bar comes live, and neither run has them"
    return Finding("bars-outside-sessions", message, count) if count else None


def _rehearse(
    stage: Stage, job: Job, limits: Limits, script: Sequence[AnyFault], findings: list[Finding]
) -> Rehearsal:
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        live = trade(stage, job, limits, Path(folder))
        wanted = expected(job, {found.instrument.symbol: found for found in live.found})
    record = wanted.record
    left, right = of_backtest(record), of_live(live.desk, stage.bars)
    missing = _missing(stage, live)
    evidence = _evidence(stage, live, missing, script)
    found = differences(left, right, evidence)
    found += _bars_that_differ(stage, missing, script)
    if not found:
        # Of feeds of several lengths a fill is booked at other times; where all bars end, all is booked.
        common = np.isin(record.end, reduce(np.intersect1d, [bars.end for bars in stage.bars]))
        ends = record.end[common].tolist()
        found += _account(ends, np.array(record.cash)[common].tolist(), live.cash, "cash")
        found += _account(ends, np.array(record.value)[common].tolist(), live.value, "value")
    return Rehearsal(
        strategy=job.strategy.__name__, symbols=tuple(b.symbol for b in stage.bars),
        bars=sum(len(b) for b in stage.bars), orders=(len(left), len(right)),
        fills=(sum(len(o.fills) for o in left), sum(len(o.fills) for o in right)),
        cash=(record.cash[-1], live.final_cash), value=(record.value[-1], live.final_value),
        differences=tuple(sorted(found, key=lambda d: d.at)), broken=tuple(broken(stage, live, job.cash)),
        refused=tuple(live.refused), findings=(*findings, *wanted.findings), notes=tuple(live.notes),
        faulty=bool(script), bars_per_s=sum(len(f.bars) for f in live.feeds) / max(live.wall_s, 1e-9),
    )  # fmt: skip


def _account(
    ends: Sequence[int], wanted: Sequence[float], got: Mapping[int, float], what: str
) -> list[Difference]:
    first = money(ends, wanted, got)
    if first is None:
        return []
    end, amount, live = first
    told = "" if math.isnan(live) else f"{live:.2f}"
    return [Difference(end, "", what, f"{amount:.2f}", told, UNEXPLAINED)]


def _missing(stage: Stage, live: Traded) -> dict[tuple[int, int], str]:
    """Return the stored bars that live had otherwise, or not at all, with what was different."""
    found = {}
    for n, (bars, feed) in enumerate(zip(stage.bars, live.feeds, strict=True)):
        came = feed.bars
        rows = {int(start): row for row, start in enumerate(came.start)}
        for row, start in enumerate(bars.start):
            other = rows.get(int(start))
            if other is None:
                found[n, int(bars.end[row])] = "the bar never came live"
                continue
            for name in COLUMNS:
                a, b = float(getattr(bars, name)[row]), float(getattr(came, name)[other])
                if a != b:
                    found[n, int(bars.end[row])] = f"the bar came with {name} {b!r} in place of {a!r}"
    return found


def _bars_that_differ(
    stage: Stage, missing: Mapping[tuple[int, int], str], script: Sequence[AnyFault]
) -> list[Difference]:
    cause = "the faults of the script" if script else UNEXPLAINED
    return [Difference(end, stage.bars[n].symbol, "bar", "as stored", why, cause) for (n, end), why in missing.items()]


def _evidence(
    stage: Stage, live: Traded, missing: Mapping[tuple[int, int], str], script: Sequence[AnyFault]
) -> Evidence:
    symbols = [bars.symbol for bars in stage.bars]
    late = frozenset((symbols.index(one.symbol), one.end) for one in live.late)
    told = [(at, text) for at, text in live.notes if script and not text.startswith("gate: open")]
    whole_from = max(int(bars.end[0]) for bars in stage.bars)
    return Evidence(symbols, late, (), missing, told, whole_from, len({bars.bar for bars in stage.bars}) > 1)
