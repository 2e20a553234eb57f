"""What the backtest says of the bars of a rehearsal, its exits where IB would have them: on the contract's steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import backtrader as bt

from quant.backtest import engine
from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.core.finding import Finding
from quant.ib.lookup import Found
from quant.ib.tickets import waiting
from quant.strategy import Strategy


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What live is compared with. record: the backtest; findings: in what it is not `q.backtest` to the letter."""

    record: Record
    findings: tuple[Finding, ...]


def expected(job: Job, found: Mapping[str, Found]) -> Expected:
    """Return the backtest of `job`. found: the contracts by symbol, for their price steps.

    Without exits it is q.backtest's own; with exits their prices are rounded as the live path rounds them, since no
    other price can stand at IB.
    """
    exits = job.plans is not None and any(plan.exits for plan in job.plans)
    plain = engine.run(job, "fast")
    if not exits:
        return Expected(plain, ())
    assert issubclass(job.strategy, Strategy)  # noqa: S101  # only it has plans
    record = engine.run(replace(job, strategy=on_steps(job.strategy, found)), "plain")
    return Expected(record, _told(plain, record))


class Stepped(Protocol):
    """What knows the price steps of a contract."""

    def tick(self, price: float) -> float:
        """Return the step at a price."""


def on_steps(strategy: type[Strategy], found: Mapping[str, Stepped]) -> type[Strategy]:
    """Return the strategy with its exits on price steps. found: by symbol."""

    def stepped(symbol: str, price: float, up: bool) -> float:
        return price if math.isnan(price) else waiting(price, found[symbol].tick(price), up=up)

    def market(self: Any, feed: Any, size: int, reason: str, **kwargs: Any) -> bt.Order:
        symbol, buys = feed.bars.symbol, size > 0
        if "price" in kwargs:
            kwargs["price"] = stepped(symbol, kwargs["price"], buys if reason == "stop" else not buys)
            stop, limit = kwargs["pair"]
            kwargs["pair"] = stepped(symbol, stop, buys), stepped(symbol, limit, not buys)
        return Strategy._market(self, feed, size, reason, **kwargs)

    made: type[Strategy] = type(
        strategy.__name__, (strategy,), {"_market": market, "__module__": strategy.__module__}
    )
    return made


def _told(plain: Record, record: Record) -> tuple[Finding, ...]:
    old, new = (
        {(f.feed, f.bar, f.reason): f.price for f in r.fills if f.reason in ("stop", "limit")}
        for r in (plain, record)
    )
    moved = [abs(price - new[key]) for key, price in old.items() if key in new and price != new[key]]
    others = len(old.keys() ^ new.keys())
    if not moved and not others and plain.value[-1] == record.value[-1]:
        return ()
    message = (
        f"{len(moved)} of {len(old)} exits fill up to {max(moved, default=0.0):.4f} off the price of q.backtest, "
        f"which is on no price step of IB's, and {others} only in one of the two; final value "
        f"{record.value[-1]:,.2f} on steps, {plain.value[-1]:,.2f} off them"
    )
    return (Finding("exits-on-price-steps", message, len(moved)),)
