"""The rehearsal: stored bars traded by the live path at a simulated TWS, and compared with the backtest to the cent."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.backtest.job import Job, make_job
from quant.core.bars import Bars
from quant.core.finding import Finding
from quant.errors import BarsError, ParameterError
from quant.oms.limits import Limits
from quant.promotion.causes import UNEXPLAINED, Evidence, Slow, moment
from quant.promotion.difference import Difference, bar_differences, bars_apart, differences, money
from quant.promotion.expected import expected
from quant.promotion.facts import OrderFact, of_backtest, of_live
from quant.promotion.invariants import broken
from quant.promotion.judged import Refused
from quant.promotion.live import CHECK_S, Traded, trade
from quant.promotion.said import said
from quant.promotion.stage import AnyFault, Stage, in_session, make_stage
from quant.strategy import Strategy
from quant.tws.faults import Do, Fault
from quant.tws.faults import read as read_faults
from quant.tws.order_faults import OrderDo, OrderFault

# What happens to every live program sooner or later: the line breaks, reports come twice and in parts, a commission is
# late, an order is lost.
FAULTS: Final[tuple[AnyFault, ...]] = (
    Fault(Do.CLOSE, after_s=3000.0),
    OrderFault(OrderDo.REPEAT, count=0),
    OrderFault(OrderDo.PARTS, count=0, share=0.5),
    OrderFault(OrderDo.LATE_FEE, skip=1, count=1, seconds=100.0),
    OrderFault(OrderDo.DROP, skip=3),
)
BUILTIN: Final = "builtin"  # the name of these on the command line
SHOWN: Final = 20  # differences in a text
MINUTE_S: Final = 60.0  # between snapshots, as live


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
                {**asdict(r), "at": moment(r.at)} for r in self.refused
            ],
            "findings": [f.to_dict() for f in self.findings], "bars_per_s": self.bars_per_s,
        }  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(lines(self))

    def __repr__(self) -> str:
        how = "equal to the cent" if self.equal else f"{len(self.differences)} differences"
        return f"Rehearsal({self.strategy} on {', '.join(self.symbols)}, {self.bars:,} bars, {how})"


def lines(found: Rehearsal) -> list[str]:
    """Return a rehearsal as text."""
    told = [f"rehearsal of {found.strategy} on {', '.join(found.symbols)}: {found.bars:,} bars"]
    rows = (
        ("orders", found.orders, ","),
        ("fills", found.fills, ","),
        ("cash", _settled(found.cash), ",.2f"),
        ("value", _settled(found.value), ",.2f"),
    )
    told += [f"  {name:<8} backtest {a:{form}}   live {b:{form}}" for name, (a, b), form in rows]
    told.append(f"  verdict  {_verdict(found)}")
    told += [f"  broken   {text}" for text in found.broken]
    apart = sorted(found.differences, key=lambda d: d.cause != UNEXPLAINED)  # what nobody knows, then by time
    told += [f"  {difference}" for difference in apart[:SHOWN]]
    if len(apart) > SHOWN:
        told.append(f"  ... and {len(apart) - SHOWN} more; --json has all")
    for code, count in Counter(r.code for r in found.refused).items():
        first = next(r for r in found.refused if r.code == code)
        told.append(f"  limits   {code}: {count}, first at {moment(first.at)}: {first.text}")
    told += [f"  {f}" for f in found.findings]
    return told


def _settled(amounts: tuple[float, float]) -> tuple[float, float]:
    """Return amounts without the dust of sums made in another order, which half a cent would show as a whole one."""
    return round(amounts[0], 6), round(amounts[1], 6)


def _verdict(found: Rehearsal) -> str:
    if found.broken:
        return "NOT OK: an invariant is broken"
    if found.equal:
        return "equal to the cent" + " under faults" * found.faulty
    count = sum(d.cause == UNEXPLAINED for d in found.differences)
    if found.faulty and not count:
        return f"{len(found.differences)} differences, the cause of each is known"
    return f"NOT OK: {len(found.differences)} differences, {count} unexplained"


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
        raise ParameterError(
            "costs", costs, 'must be the name of a table, e.g. "ib-fixed": the simulated TWS bills it'
        )
    given = [bars] if isinstance(bars, Bars) else list(bars)
    whole = make_job(
        strategy, given, params=params, cash=capital, costs=costs, sizing=sizing, start_rule=start_rule
    )[0]
    if not issubclass(whole.strategy, Strategy):
        raise ParameterError(
            "strategy", whole.strategy.__name__, "is a plain bt.Strategy; a q.Strategy is rehearsed"
        )
    held = [in_session(b) for b in given]
    for bars_of_one in held:
        if not len(bars_of_one):
            raise BarsError(bars_of_one.symbol, "there are no bars inside its sessions")
    stage = make_stage(held, capital, costs, script, seed)
    job = make_job(
        strategy, stage.bars, params=params, cash=capital, costs=costs, sizing=sizing, start_rule=start_rule
    )[0]  # fmt: skip
    findings = [_left_out(before, after) for before, after in zip(given, stage.bars, strict=True)]
    told = [f for f in findings if f is not None]
    if not _in_a_loop():
        return _rehearse(stage, job, limits or Limits(), script, told)
    with ThreadPoolExecutor(1) as thread:  # a notebook's own loop runs in this one
        return thread.submit(_rehearse, stage, job, limits or Limits(), script, told).result()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _left_out(before: Bars, after: Bars) -> Finding | None:
    count = len(before) - len(after)
    message = f"bars of {before.symbol} begin outside its sessions; no such bar comes live, and neither run has them"
    return Finding("bars-outside-sessions", message, count) if count else None


def _rehearse(
    stage: Stage, job: Job, limits: Limits, script: Sequence[AnyFault], findings: list[Finding]
) -> Rehearsal:
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        live = trade(stage, job, limits, Path(folder), MINUTE_S if script else CHECK_S)
        wanted = expected(job, {found.instrument.symbol: found for found in live.found})
    record = wanted.record
    left, right = of_backtest(record), of_live(live.desk, stage.bars, live.spans)
    evidence = _evidence(stage, live, right, bool(script))
    found = differences(left, right, evidence) + bar_differences(stage.bars, evidence.missing, evidence)
    if not found:
        # Of bars of several lengths a fill is booked at other times; where all of them end, all is booked.
        rows = np.isin(record.end, reduce(np.intersect1d, [bars.end for bars in stage.bars]))
        ends = record.end[rows].tolist()
        found += money("cash", ends, np.array(record.cash)[rows].tolist(), live.cash, evidence)
        found += money("value", ends, np.array(record.value)[rows].tolist(), live.value, evidence)
    return Rehearsal(
        strategy=job.strategy.__name__, symbols=tuple(b.symbol for b in stage.bars),
        bars=sum(len(b) for b in stage.bars), orders=(len(left), len(right)),
        fills=(sum(len(o.fills) for o in left), sum(len(o.fills) for o in right)),
        cash=(record.cash[-1], live.final_cash), value=(record.value[-1], live.final_value),
        differences=tuple(sorted(found, key=lambda d: d.at)), broken=tuple(broken(stage, live, job.cash)),
        refused=tuple(live.refused), findings=(*findings, *wanted.findings, *_unsettled(live)), notes=tuple(live.notes),
        faulty=bool(script), bars_per_s=sum(len(f.bars) for f in live.feeds) / max(live.wall_s, 1e-9),
    )  # fmt: skip


def _unsettled(live: Traded) -> list[Finding]:
    last = next((text for _, text in reversed(live.notes) if text.startswith("alarm")), "")
    message = f"at the end journal and TWS's books did not agree, and nothing more was sent. {last}".rstrip()
    return [] if live.settled else [Finding("unsettled", message)]


def _evidence(stage: Stage, live: Traded, orders: Sequence[OrderFact], faulty: bool) -> Evidence:
    symbols = [bars.symbol for bars in stage.bars]
    slow = []
    for order in orders:
        for fill in order.fills:
            # At its bar's END what rested is told in time, and what was filled at the beginning is not.
            heard = live.heard.get(fill.exec_id, 0) + (order.kind == "market")
            ends = stage.bars[order.feed].end
            if heard > ends[min(fill.bar, len(ends) - 1)]:
                slow.append(Slow(fill.time, heard, f"{fill.quantity:+g} at {fill.price:g}"))
    return Evidence(
        symbols, frozenset((symbols.index(one.symbol), one.end) for one in live.late),
        bars_apart(stage.bars, [feed.bars for feed in live.feeds]), slow,
        said(live.notes if faulty else (), symbols),
        max(int(bars.end[0]) for bars in stage.bars), len({bars.bar for bars in stage.bars}) > 1,
        belated=live.belated, asked=live.asked,
    )  # fmt: skip
