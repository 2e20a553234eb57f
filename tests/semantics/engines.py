"""How a case runs: through each engine of the product, and through the oracle."""

from __future__ import annotations

from functools import partial
from typing import Any

from cases import Case
from oracle import simulate

from quant.backtest import engine
from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.core.costs import costs, parse_slippage
from quant.core.sizing import parse_sizing
from quant.core.targets import session_rules
from quant.strategy import Signals, Strategy
from quant.strategy.signals import plan

ENGINES = {name: partial(engine.run, engine=name) for name in engine.ENGINES}


def job(case: Case, **changes: Any) -> Job:
    """The case as the runner would hand it to an engine."""
    bars = tuple(f.bars() for f in case.feeds)
    plans = tuple(
        plan("case", b, Signals(f.target, f.stop, f.limit, f.follow_stop))
        for b, f in zip(bars, case.feeds, strict=True)
    )
    settings: dict[str, Any] = dict(
        strategy=Strategy, params={}, bars=bars, plans=plans, cash=case.start, costs=costs(case.costs),
        sizing=parse_sizing(case.sizing, len(bars)), slippage=parse_slippage(case.slippage), borrow=case.borrow,
        rules=session_rules(case.session), start_rule=case.start_rule,
    )  # fmt: skip
    return Job(**{**settings, **changes})


def outcome(record: Record) -> dict[str, Any]:
    """What a case states, of an engine's record."""
    return {
        "fills": [(f.feed, f.bar, f.quantity, f.price, f.commission, f.reason) for f in record.fills],
        "orders": [(o.feed, o.quantity, o.kind, o.reason, o.status) for o in record.orders],
        "cash": record.cash,
        "value": record.value,
        "rejected": sum(o.status == "rejected" for o in record.orders),
        "ambiguous": sum(f.ambiguous for f in record.fills),
        "wrong_side": record.wrong_side,
    }


def by_oracle(case: Case) -> dict[str, Any]:
    """The oracle's answer to a case of one feed without borrow."""
    feed, bars = case.feed, case.feed.bars()
    sizing = parse_sizing(case.sizing)
    kind, _, amount = case.costs.partition(":")
    table = costs(case.costs)
    rules = session_rules(case.session)
    account, cash, value, ambiguous = simulate(
        feed.rows, feed.target, feed.stop, feed.limit, follow_stop=feed.follow_stop,
        sizing=(sizing.kind, sizing.amount), cash=case.start, start_rule=case.start_rule,
        costs=("percent", float(amount)) if kind == "percent" else (kind,),
        per_order=(table.per_share, table.minimum, table.cap),
        slippage=float(case.slippage.partition(":")[2]) if case.slippage else 0.0,
        minutes_to_close=bars.minutes_to_close.tolist() if rules.any else None, bar_minutes=bars.bar.minutes,
        no_entry_last=rules.no_entry_last, flat_before_close=rules.flat_before_close,
    )  # fmt: skip
    fills = [(0, *f) for f in account.fills]
    return {
        "fills": fills,
        "cash": cash,
        "value": value,
        "rejected": account.rejected,
        "ambiguous": ambiguous,
    }
