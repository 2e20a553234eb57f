"""What a person should know of a run besides its figures (DESIGN §5.5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import backtrader as bt
import numpy as np

from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.core.bars import Bars
from quant.core.costs import Costs
from quant.core.finding import Finding
from quant.store.folder import SIMULATED
from quant.strategy import Strategy, defaults

# Public names of bt.Strategy that a strategy is meant to give itself.
_MEANT: Final = frozenset(
    [
        "alias",
        "aliased",
        "csv",
        "frompackages",
        "linealias",
        "lines",
        "packages",
        "params",
        "plotinfo",
        "plotlabel",
    ]
    + ["plotlines", "next", "prenext", "nextstart", "once", "preonce", "oncestart", "start", "stop"]
    + [f"{name}_open" for name in ("next", "prenext", "nextstart")]
    + [f"notify_{what}" for what in ("order", "trade", "cashvalue", "fund", "data", "store", "timer")]
)


def before(job: Job, first_costs_day: Costs | None) -> list[Finding]:
    """Return the findings that are known before the run. first_costs_day: the costs as of the first bar."""
    found = [*names(job.strategy), *_outside(job.bars)]
    if isinstance(job.costs, Costs) and job.costs.kind == "per-order":
        adjusted = [b.symbol for b in job.bars if b.adjusted in ("splits", "all")]
        if adjusted:
            message = (
                f"{job.costs.name} charges by the share, but prices of {', '.join(adjusted)} are adjusted: "
                "their share counts are not those that were traded"
            )
            found.append(Finding("per-share-costs-on-adjusted-prices", message, len(adjusted)))
    if first_costs_day is not None and first_costs_day.before_first:
        message = f"{first_costs_day.name} rates are those of {first_costs_day.valid_from}; earlier bars use them too"
        found.append(Finding("costs-before-table", message, level="note"))
    if isinstance(job.costs, Costs) and job.costs.market is not None:
        found += _table(job.costs, job.bars)
    invented = sorted({b.symbol for b in job.bars if b.source == SIMULATED})
    if invented:
        message = f"bars of {', '.join(invented)} come from a simulated TWS, which makes up what it lacks"
        found.append(Finding("made-up-bars", message, len(invented), "note"))
    return found


def _table(costs: Costs, bars: tuple[Bars, ...]) -> Iterator[Finding]:
    """Yield what a commission table is not."""
    if costs.second_hand:
        message = (
            f"{costs.name} rates of {costs.market} are as others quote them; compare them with your own bills"
        )
        yield Finding("costs-second-hand", message, level="note")
    if costs.left_out:
        yield Finding(
            "tax-left-out", f"{costs.name} leaves out {costs.left_out}; see docs/costs.md", level="note"
        )
    elsewhere = sorted({b.symbol for b in bars if b.instrument.elsewhere})
    if elsewhere:
        message = (
            f"{', '.join(elsewhere)} trade on another exchange than those of the table of {costs.market}"
        )
        yield Finding("costs-of-another-exchange", message, len(elsewhere), "note")


def after(job: Job, record: Record) -> list[Finding]:
    """Return the findings of a run."""
    return [*_orders(record), *_exits(job, record), *_positions(job, record)]


def names(strategy: type[bt.Strategy]) -> Iterator[Finding]:
    """Yield a finding for each name of the strategy's own that clashes with one of backtrader's."""
    if "p" in defaults(strategy):
        yield Finding("parameter-p", "a parameter is called p, as backtrader's shorthand for all parameters")
    ours = Strategy if issubclass(strategy, Strategy) else bt.Strategy
    # backtrader inserts classes of its own between a strategy and its parent; only written code counts.
    own = strategy.__mro__[: strategy.__mro__.index(ours)]
    names = {n for c in own for n in vars(c) if not n.startswith("_")}
    for name in sorted(n for n in names - _MEANT if n in dir(bt.Strategy)):
        yield Finding("shadowed-name", f"{strategy.__name__}.{name} hides backtrader's own Strategy.{name}")


def _outside(bars: tuple[Bars, ...]) -> Iterator[Finding]:
    for b in bars:
        rows = np.flatnonzero(~b.times.in_session)
        if len(rows) and b.rth:
            first = b.frame().index[rows[0]]
            message = f"bars of {b.symbol} {b.bar} lie outside their session, first {first}"
            yield Finding("bars-outside-session", message, len(rows), "note")


def _orders(record: Record) -> Iterator[Finding]:
    rejected = [o for o in record.orders if o.status == "rejected"]
    if rejected:
        at = np.datetime64(rejected[0].time, "ns").astype("datetime64[s]")
        yield Finding(
            "rejected-orders", f"orders rejected for lack of cash, first decided {at} UTC", len(rejected)
        )
    last = int(record.end[-1]) if len(record.value) else 0
    ends = [min(last, int(b.end[-1])) for b in record.bars]  # a feed may end before the others
    waiting = [
        o for o in record.orders if o.status == "open" and o.time >= ends[o.feed] and not _is_exit(o.reason)
    ]
    if waiting:
        message = "orders decided on the last bar are open at the end"
        yield Finding("open-at-the-end", message, len(waiting), "note")
    if record.numeric_valid:
        message = "orders with a number as `valid`: backtrader drops 0 and reads others as absolute dates"
        yield Finding("numeric-valid", message, record.numeric_valid)


def _is_exit(reason: str) -> bool:
    return reason in ("stop", "limit")


def _exits(job: Job, record: Record) -> Iterator[Finding]:
    if record.wrong_side:
        message = "exits lay on the wrong side of their entry's fill and filled at its open"
        yield Finding("exit-on-wrong-side", message, record.wrong_side)
    if job.plans is None and record.entry_touches:
        message = "stops or limits were touched on their entry's bar, where stock backtrader ignores them"
        yield Finding("entry-bar-touches", message, record.entry_touches)


def _positions(job: Job, record: Record) -> Iterator[Finding]:
    per_order = isinstance(job.costs, Costs) and job.costs.kind in ("per-order", "percent-per-order")
    fills = [f.order for f in record.fills]
    held = record.positions()
    if per_order and job.plans is None:
        crossing, units = 0, [0.0] * len(held)
        for f in record.fills:
            crossing += units[f.feed] * (units[f.feed] + f.quantity) < 0
            units[f.feed] += f.quantity
        parts = len(fills) - len(set(fills))
        if crossing or parts:
            message = (
                "reversals in one order or partial fills are billed in parts, each with the order's minimum"
            )
            yield Finding("minimum-billed-in-parts", message, crossing + parts)
    if job.borrow is None and any((h < 0).any() for h in held) and isinstance(job.costs, Costs):
        yield Finding(
            "shorts-without-borrow", "shorts are held without a borrow rate; give borrow=", level="note"
        )
    if job.rules.flat_before_close is not None:
        nights = 0
        for bars, h in zip(record.bars, held, strict=True):
            ends_session = np.append(bars.session[1:] != bars.session[:-1], False)
            nights += int((ends_session & (h != 0)).sum())
        if nights:
            message = "positions were held over a session's end despite flat_before_close (bars are missing)"
            yield Finding("held-over-close", message, nights)
