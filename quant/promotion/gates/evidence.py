"""The evidence for paper, collected: checks, data, results on other data, trials, rehearsals. Decides nothing."""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np

from quant.backtest import load_run, runs
from quant.backtest.folder import folders, read_facts
from quant.backtest.seal import edited
from quant.core import costs as cost_tables
from quant.core.bars import Bars
from quant.core.costs import Costs
from quant.core.instrument import Instrument
from quant.errors import DataError, ParameterError, QuantError
from quant.live.run.deployment import Traded, limits_of
from quant.promotion.causes import UNEXPLAINED
from quant.promotion.gates.subject import Subject
from quant.promotion.gates.values import (
    Charged,
    Checked,
    Completeness,
    Evidence,
    Origin,
    OutOfSample,
    Rehearsed,
    Thresholds,
)
from quant.promotion.rehearsal import BUILTIN, FAULTS, rehearse
from quant.promotion.stage import AnyFault
from quant.research import ledger
from quant.research.check import check
from quant.research.proof.verdict import FEW_TRIALS, verdict
from quant.research.walk_forward.kept import kept
from quant.store.quality import check as quality
from quant.strategy import defaults

PULLED: Final = ("ib", "simulated")  # sources whose bars say which contract they are of
PLANS: Final = ("ib-fixed", "ib-tiered")
SAME: Final = ("costs", "slippage", "sizing", "borrow")  # of two results that are compared
Say = Callable[[str], None]


def collect(
    found: Subject,
    data: Path,
    contracts: Sequence[Traded | None],
    asked: Thresholds,
    *,
    capital: float,
    limits: Mapping[str, Any],
    history_start: str,
    start_rule: str,
    say: Say,
) -> Evidence:
    """Return all that the gates to paper look at; takes from seconds to a minute.

    contracts: one a feed, None where IB's is not known. history_start: a session date, ISO. say: told what is done.
    """
    run = found.run
    say("checks")
    checked = check(found.strategy, found.bars, found.params)
    first = date.fromisoformat(history_start)
    ahead = [int(np.count_nonzero(b.session >= np.datetime64(first))) for b in found.bars]
    probability, trials = _deflated(found, data)
    outside, not_outside = _outside(found, data)
    say("rehearsal")
    terms: dict[str, Any] = {"capital": capital, "limits": limits, "start_rule": start_rule}
    plain = _rehearsed(found, asked.rehearsal_bars, (), **terms)
    say("rehearsal under faults")
    faulty = _rehearsed(found, asked.rehearsal_bars, FAULTS, **terms)
    return Evidence(
        checks={p.name: Checked(p.verdict, p.told) for p in checked.parts},
        warmup=checked.warmup_1e9 if checked.warmup is None else checked.warmup,
        ahead=min(ahead), whole=all(n == len(b) for n, b in zip(ahead, found.bars, strict=True)),
        bars=tuple(_complete(b) for b in found.bars), outside=outside, how_outside=_walk(found),
        trades=int(run.metrics["trades"]), orders=len(run.orders), rejected=int(run.metrics["rejected"]),
        deflated=probability, trials=trials, costs=found.settings["costs"], charged=_charged(found),
        slippage=found.settings["slippage"],
        rehearsal=plain, faults=faulty, capital=capital, limits=dict(limits),
        origins=tuple(
            Origin(b.symbol, b.source, None if c is None else c.con_id)
            for b, c in zip(found.bars, contracts, strict=True)
        ), not_outside=not_outside,
    )  # fmt: skip


# ---------------------------------------------------------------- data
def _complete(bars: Bars) -> Completeness:
    codes = {f.code: f for f in quality(bars)}
    if "no-calendar" in codes:
        return Completeness(bars.symbol, len(bars), None)
    missing = codes.get("bars-missing")
    return Completeness(bars.symbol, len(bars), 0 if missing is None else missing.count)


# ---------------------------------------------------------------- results
def _deflated(found: Subject, data: Path) -> tuple[float, int]:
    """Return how probable it is that the best of all trials has more than luck gives to it, and how many there are."""
    known, bars = found.settings["strategy"], found.bars
    trials = ledger.counts(
        data / "sweeps" / ledger.NAME, f"{known['module']}:{known['class']}",
        ledger.instrument_key([b.instrument for b in bars]), bars[0].bar.name, runs=runs(data),
    )  # fmt: skip
    count = max(trials.count, 1)
    returns = found.run.returns.to_numpy(dtype=np.float64)[:, np.newaxis]
    if len(returns) < 2:
        return math.nan, count
    year = min(bars, key=lambda b: b.bar.ns).periods_per_year
    # The ledger has no returns, so how alike trials are shows in their ratios alone; in a few of them nothing does.
    spread = trials.sharpe_variance if trials.measured >= FEW_TRIALS else None
    judged = verdict(returns, periods_per_year=year, trials=count, variance=spread)
    return judged.deflated, count


def _outside(found: Subject, data: Path) -> tuple[OutOfSample | None, str]:
    """Return the newest walk-forward of this strategy on these bars, else the longest later run of these parameters.

    A walk-forward counts where it chose among combinations that differ, these parameters among them. Where nothing
    counts the second is why the newest one does not, "" where there is none.
    """
    told = ""
    for name, outcome in kept(data):
        if _alike(outcome["settings"], found):
            why = _no_choice(outcome, found)
            if why:
                told = told or f"walk-forward {name} {why}"
                continue
            ratio = outcome["sharpe"]
            sharpe = math.nan if ratio is None else float(ratio)
            seen = OutOfSample(
                "walk-forward", name, sharpe, outcome["sessions"], outcome["first"], outcome["last"]
            )
            return seen, ""
    later = _later(found, data)
    return (max(later, key=lambda one: (one[0], one[1].name))[1], "") if later else (None, told)


def _no_choice(outcome: Mapping[str, Any], found: Subject) -> str:
    """Return why a walk-forward says nothing of how these parameters were chosen, "" where it does."""
    settings = outcome["settings"]
    if not outcome["chose"]:
        count = settings["combinations"]
        differ = f"{count:,} combinations, but in no training span did two of them give different results"
        return (
            f"tried {'one combination alone' if count == 1 else differ}, so nothing was chosen: it is a backtest of "
            "bars that the choice of these parameters may have seen"
        )
    tried, usual = settings["grid"], defaults(found.strategy)
    own = json.loads(json.dumps(found.params, default=str))
    never = [f"{n}={v}" for n, v in own.items() if v not in tried.get(n, [usual[n]])]
    return f"never tried {', '.join(never)}" if never else ""


def _later(found: Subject, data: Path) -> list[tuple[int, OutOfSample]]:
    """Return saved runs of the same, on bars that begin after this run's last one, each with its length in bars."""
    last = max(fact["last"] for fact in found.facts)
    result = []
    for folder in folders(data / "runs"):
        try:
            facts = read_facts(folder)
            first = min(fact["first"] for fact in facts["bars"])
            own = facts["params"] == found.settings["params"] and first > last
            if not (own and _alike(facts, found)) or edited(folder):
                continue
            result.append((sum(fact["rows"] for fact in facts["bars"]), _later_run(folder, facts)))
        except (DataError, KeyError, TypeError, ValueError):
            continue  # what cannot be read proves nothing
    return result


def _later_run(folder: Path, facts: Mapping[str, Any]) -> OutOfSample:
    run = load_run(folder)
    bars = facts["bars"]
    first, last = min(fact["first"] for fact in bars), max(fact["last"] for fact in bars)
    return OutOfSample(
        "a later run", folder.name, float(run.metrics["sharpe"]), len(run.returns), first, last
    )


def _alike(settings: Mapping[str, Any], found: Subject) -> bool:
    """Return whether a result is of the same code, instruments, bars, costs and sizes."""
    own, theirs = found.settings, settings
    code = theirs["strategy"]["class"] == own["strategy"]["class"]
    code = code and theirs["strategy"]["sources"] == own["strategy"]["sources"]
    return code and _series(theirs) == _series(own) and all(theirs.get(k) == own.get(k) for k in SAME)


def _series(settings: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    names = ("symbol", "exchange", "con_id")
    return [(*(b["instrument"][n] for n in names), b["bar"], b["what"], b["rth"]) for b in settings["bars"]]


def _walk(found: Subject) -> str:
    """Return the command that makes a result on data that no choice had seen."""
    symbols = " ".join(b.symbol for b in found.bars)
    bar = found.bars[0].bar.name
    return f"quant walkforward {found.name} {symbols} --bar {bar} -g NAME=VALUES --train N --test N"


# ---------------------------------------------------------------- costs
def _charged(found: Subject) -> Charged:
    """Return what the run's fills cost, and what IB's plans would have charged for them."""
    paid = float(found.run.fills["commission"].sum())
    units = {
        str(fact["name"]): b.instrument for fact, b in zip(found.settings["bars"], found.bars, strict=True)
    }
    known = {symbol: dict(_plans(one)) for symbol, one in units.items()}
    unknown = tuple(symbol for symbol, plans in known.items() if not plans)
    if unknown:
        return Charged(paid, unknown=unknown)
    bills = dict.fromkeys(set.intersection(*(set(plans) for plans in known.values())), 0.0)
    fills = found.run.fills
    for symbol, quantity, price in zip(fills["symbol"], fills["quantity"], fills["price"], strict=True):
        for name in bills:
            cash_price = float(price) / units[symbol].price_magnifier
            bills[name] += known[symbol][name].commission(float(quantity), cash_price)
    plan = min(sorted(bills), key=lambda name: bills[name])
    return Charged(paid, plan, bills[plan])


def _plans(one: Instrument) -> Iterator[tuple[str, Costs]]:
    """Yield IB's plans for an instrument; the tables are of stocks."""
    for name in PLANS if one.sec_type == "STK" else ():
        with suppress(ParameterError):
            yield name, cost_tables.costs(name, one.market, currency=one.currency)


# ---------------------------------------------------------------- rehearsal
def _rehearsed(
    found: Subject, rows: int, script: Sequence[AnyFault], *, capital: float, limits: Mapping[str, Any], start_rule: str
) -> Rehearsed:  # fmt: skip
    known = found.settings
    bars = _last(found.bars, rows)
    try:
        with _silent():
            seen = rehearse(
                found.strategy, bars, params=found.params, capital=capital, costs=known["costs"],
                sizing=known["sizing"], start_rule=start_rule, limits=limits_of(limits), faults=script,
            )  # fmt: skip
    except QuantError as e:  # a strategy or bars that the rehearsal does not cover: its own words say why
        return Rehearsed(failed=str(e))
    unexplained = [d for d in seen.differences if not script or d.cause == UNEXPLAINED]
    return Rehearsed(
        seen.bars, seen.fills[0], seen.ok, len(unexplained) + len(seen.broken), len(seen.refused),
        seen.refused[0].text if seen.refused else "", first=next(iter([*map(str, unexplained), *seen.broken]), ""),
        see=_command(found, bars, capital, start_rule, bool(script)),
    )  # fmt: skip


def _command(found: Subject, bars: Sequence[Bars], capital: float, start_rule: str, faulty: bool) -> str:
    """Return the command that shows a rehearsal whole."""
    known, finest = found.settings, min(bars, key=lambda b: b.bar.ns)
    first, last = str(finest.session[0]), str(finest.session[-1])
    if finest.bar.intraday:
        first, last = (
            f"{np.datetime64(int(ns), 'ns').astype('datetime64[s]')}+00:00"
            for ns in (finest.start[0], finest.end[-1])
        )
    words = ["quant", "rehearse", found.name, *(b.symbol for b in bars), "--bar", finest.bar.name]
    words += ["--from", first, "--to", last, "--cash", f"{capital:.12g}", "--costs", known["costs"]]
    words += ["--start-rule", start_rule]
    words += [] if known["sizing"] is None else ["--sizing", known["sizing"]]
    words += [] if finest.what == "TRADES" else ["--what", finest.what]
    words += [] if finest.rth else ["--all-hours"]
    words += [word for name, value in found.params.items() for word in ("-p", f"{name}={value}")]
    return shlex.join([*words, *(["--faults", BUILTIN] if faulty else [])])


@contextmanager
def _silent() -> Iterator[None]:
    """Keep to itself what the live path logs of lines that break on purpose."""
    logger = logging.getLogger("quant")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _last(bars: Sequence[Bars], rows: int) -> list[Bars]:
    """Return the end of the bars: `rows` of the finest feed, and of the others what lies beside them."""
    finest = min(bars, key=lambda b: b.bar.ns)
    since = int(finest.start[-min(rows, len(finest))])
    return [b[int(np.searchsorted(b.start, since)) :] for b in bars]
