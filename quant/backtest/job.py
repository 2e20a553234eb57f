"""From what a caller gives to a checked Job: every argument is looked at before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from numbers import Real
from typing import Any, TypeAlias

import backtrader as bt
import numpy as np
import pandas as pd

from quant.backtest.broker import CostFunction
from quant.core import costs as cost_tables
from quant.core.bars import Bars
from quant.core.costs import Costs, Slippage
from quant.core.sizing import Sizing, parse_sizing
from quant.core.targets import START_RULES, SessionRules, StartRule, session_rules
from quant.errors import BarsError, ParameterError
from quant.strategy import Plan, Strategy, parameters, plans, strategy

AnyCosts: TypeAlias = str | bt.CommInfoBase | CostFunction


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All of a run but its engine. plans: of a q.Strategy, one a feed; None = a plain bt.Strategy."""

    strategy: type[bt.Strategy]
    params: Mapping[str, Any]
    bars: tuple[Bars, ...]
    plans: tuple[Plan, ...] | None
    cash: float
    costs: Costs | bt.CommInfoBase | CostFunction
    sizing: Sizing | None
    slippage: Slippage | None
    borrow: float | None
    rules: SessionRules
    start_rule: StartRule
    limit_first: bool = False


def make_job(
    strategy: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    *,
    params: Mapping[str, Any] | None = None,
    cash: float = 100_000.0,
    costs: AnyCosts = "ib-fixed",
    sizing: str | None = None,
    slippage: str | None = None,
    borrow: float | None = None,
    start_rule: str = "first-target",
) -> tuple[Job, Costs | None]:
    """Return the job, and the costs as of the first bar where they come from a table.

    The arguments are those of q.backtest. Raises ParameterError, StrategyError, DataError.
    """
    job, first_day = prepare(
        strategy, bars, cash=cash, costs=costs, sizing=sizing, slippage=slippage, borrow=borrow, start_rule=start_rule
    )  # fmt: skip
    return decide(job, parameters(job.strategy, params)), first_day


def prepare(
    given: str | type[bt.Strategy],
    bars: Bars | Iterable[Bars],
    *,
    cash: float,
    costs: AnyCosts,
    sizing: str | None,
    slippage: str | None,
    borrow: float | None,
    start_rule: str,
) -> tuple[Job, Costs | None]:
    """Return a job that still lacks parameters and plans; the rest of `make_job`."""
    cls = strategy(given)
    feeds = _feeds(bars)
    if not (_is_number(cash) and math.isfinite(cash) and cash > 0):
        raise ParameterError("cash", cash, "must be a number above 0")
    if borrow is not None and not (_is_number(borrow) and 0 <= borrow < 10):
        raise ParameterError("borrow", borrow, "must be a yearly rate, e.g. 0.03 for 3 %")
    if start_rule not in START_RULES:
        raise ParameterError("start_rule", start_rule, f"is one of {', '.join(START_RULES)}")
    resolved, first_day = _costs(costs, feeds)
    job = Job(
        strategy=cls, params={}, bars=feeds, plans=None, cash=float(cash), costs=resolved,
        sizing=_sizing(cls, sizing, feeds), slippage=cost_tables.parse_slippage(slippage),
        borrow=None if borrow is None else float(borrow),
        rules=_rules(cls, feeds) if issubclass(cls, Strategy) else SessionRules(),
        start_rule="first-target" if start_rule == "first-target" else "next-change",
    )  # fmt: skip
    return job, first_day


def decide(job: Job, params: Mapping[str, Any], *, copied: bool = True) -> Job:
    """Return the job with all its parameters and, of a q.Strategy, the plans that they give.

    copied: the plans have arrays of their own; without, the job must be used before the strategy is asked again.
    """
    if not issubclass(job.strategy, Strategy):
        return replace(job, params=params)
    return replace(job, params=params, plans=wishes(job, params, copied=copied))


def wishes(job: Job, params: Mapping[str, Any], *, copied: bool = True) -> tuple[Plan, ...]:
    """Return the plan of each feed that a q.Strategy gives with these parameters; see `decide`."""
    assert issubclass(job.strategy, Strategy)  # noqa: S101  # for mypy: nobody else has plans
    found = tuple(plans(job.strategy, job.bars, params, copied=copied))
    _check_risk(job.strategy, job.sizing, found)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _feeds(bars: Bars | Iterable[Bars]) -> tuple[Bars, ...]:
    reason = 'must be Bars: q.bars("SPY") from the store, or q.Bars.from_frame(df, "SPY")'
    if isinstance(bars, Bars):
        bars = (bars,)
    elif not isinstance(bars, Iterable) or isinstance(bars, str | Mapping | pd.DataFrame):
        raise ParameterError("bars", type(bars).__name__, reason)
    feeds = tuple(bars)
    if not feeds:
        raise ParameterError("bars", "[]", "give at least one Bars")
    for b in feeds:
        if not isinstance(b, Bars):
            raise ParameterError("bars", type(b).__name__, reason)
        if not len(b):
            raise BarsError(b.symbol, "there are no bars")
    currencies = {b.instrument.currency for b in feeds}
    if len(currencies) > 1:
        reason = "feeds of several currencies need exchange rates, which are not supported: run them apart"
        raise ParameterError("bars", sorted(currencies), reason)
    return feeds


def _costs(
    given: AnyCosts, feeds: tuple[Bars, ...]
) -> tuple[Costs | bt.CommInfoBase | CostFunction, Costs | None]:
    if isinstance(given, bt.CommInfoBase):
        return given, None
    for b in feeds:
        if b.instrument.multiplier != 1.0:
            reason = (
                f"{b.symbol} has multiplier {b.instrument.multiplier:g}; "
                "give a bt.CommissionInfo(commission=, margin=, mult=) for it"
            )
            raise ParameterError("costs", given, reason)
    if callable(given):
        return given, None
    market, currency = feeds[0].instrument.market, feeds[0].instrument.currency
    first: date = min(b.session[0] for b in feeds).item()
    last: date = max(b.session[-1] for b in feeds).item()
    resolved = cost_tables.costs(given, market, last, currency=currency)
    other = next((b.instrument for b in feeds if b.instrument.sec_type != "STK"), None)
    if resolved.market is not None and other is not None:
        reason = (
            f"its table is for stocks and {other.symbol} is {other.sec_type}; give percent:x or a function"
        )
        raise ParameterError("costs", given, reason)
    return resolved, cost_tables.costs(given, market, first, currency=currency)


def _sizing(cls: type[bt.Strategy], text: str | None, feeds: tuple[Bars, ...]) -> Sizing | None:
    ours = issubclass(cls, Strategy)
    if text is None and not ours:
        return None
    sizing = parse_sizing(text, len(feeds))
    if not ours and (sizing.kind != "shares" or sizing.amount != int(sizing.amount)):
        reason = "a plain bt.Strategy sizes its own orders; only shares:N (a fixed stake) can be set for it"
        raise ParameterError("sizing", text, reason)
    if ours and sizing.kind != "shares":
        for b in feeds:
            row = np.flatnonzero(b.close <= 0.0)
            if len(row):
                reason = f"{b.symbol} closes at {b.close[row[0]]} at bar {row[0]}, where no size follows; use shares:N"
                raise ParameterError("sizing", text if text is not None else str(sizing), reason)
    return sizing


def _check_risk(cls: type[bt.Strategy], sizing: Sizing | None, wishes: tuple[Plan, ...] | None) -> None:
    """Refuse sizes from the distance to stops that the strategy never gives: each would be 0, in silence."""
    if sizing is None or sizing.kind != "risk" or wishes is None or cls.entry_size is not Strategy.entry_size:
        return
    if any(w.stop is None or np.isnan(w.stop).all() for w in wishes):
        reason = (
            f"its sizes follow from stops, and {cls.__name__} gives none; return Signals(target, stop=...)"
        )
        raise ParameterError("sizing", str(sizing), reason)


def _rules(cls: type[Strategy], feeds: tuple[Bars, ...]) -> SessionRules:
    rules = session_rules(cls.session)
    for b in feeds:
        if rules.any and b.calendar is None:
            reason = f"needs the session's close, but {b.symbol} has no calendar; import or build it with one"
            raise ParameterError("session", dict(cls.session), reason)
        if rules.flat_before_close is not None and not b.bar.intraday:
            reason = f"flat_before_close needs intraday bars, {b.symbol} has {b.bar}"
            raise ParameterError("session", dict(cls.session), reason)
    return rules
