"""Engine `compiled`: one feed's signals through quant/kernel, with the bits of `plain`, and what it does not cover.

`usable` is asked before it runs on a platform for the first time: the compiler or the processor might fuse or reorder
float operations, and then it must not be used.
"""

from __future__ import annotations

import numpy as np

from quant.backtest import fast
from quant.backtest.feed import feed as as_feed
from quant.backtest.job import Job
from quant.backtest.recorder import FillRow, OrderRow, Record
from quant.core.bars import Bars
from quant.core.calendar import Ints
from quant.core.costs import Costs
from quant.core.sizing import parse_sizing
from quant.errors import ParameterError, QuantError
from quant.kernel import layout
from quant.kernel.run import Feed, trace
from quant.strategy import Strategy


def not_covered(job: Job) -> str | None:
    """Return why the compiled engine cannot run a job, None where it can."""
    if not issubclass(job.strategy, Strategy):
        return f"{job.strategy.__name__} is a plain bt.Strategy, whose orders are Python code"
    if len(job.bars) > 1:
        return f"{len(job.bars)} feeds share one account; it runs one feed"
    if not isinstance(job.costs, Costs):
        return "the costs are a function or commission scheme; it knows the named ones"
    written = fast.overridden(job.strategy)
    return f"{job.strategy.__name__} overrides {', '.join(written)}" if written else None


def kernel_feed(job: Job) -> Feed:
    """Return the job's bars and settings as the kernel reads them. Raises ParameterError for what is not covered."""
    reason = not_covered(job)
    if reason is not None:
        raise ParameterError("engine", "compiled", f'{reason}. Use "fast"')
    (bars,) = job.bars
    assert isinstance(job.costs, Costs)  # noqa: S101  # for mypy; not_covered has said so
    return Feed(
        bars, cash=job.cash, costs=job.costs, sizing=parse_sizing(None) if job.sizing is None else job.sizing,
        slippage=job.slippage, borrow=job.borrow, day=None if job.borrow is None else _days(bars), rules=job.rules,
        start_rule=job.start_rule, limit_first=job.limit_first,
    )  # fmt: skip


def _days(bars: Bars) -> Ints:
    """Return the calendar day of each bar on backtrader's clock, which is what it counts a loan by."""
    try:
        stamps = as_feed(bars).p.stamps
    except QuantError:  # the exchange's clock repeats an hour within these bars
        stamps = as_feed(bars, tz="UTC").p.stamps
    days: Ints = np.floor(stamps).astype(np.int64)
    return days


def run(job: Job) -> Record:
    """Run a decided job and return its record."""
    feed = kernel_feed(job)
    assert job.plans is not None  # noqa: S101  # for mypy; a q.Strategy has them
    (plan,) = job.plans
    traced = trace(feed, plan.target, plan.stop, plan.limit, plan.follow_stop)
    record = Record(job.bars)
    ends = job.bars[0].end
    for number, o in enumerate(traced.orders.tolist(), start=1):
        bar, kind, quantity, price, reason, status = o
        record.orders.append(
            OrderRow(
                number, 0, int(ends[bar]), layout.KINDS[kind], quantity, price, price, layout.REASONS[reason],
                layout.STATUSES[status],
            )
        )  # fmt: skip  # backtrader gives an order without a limit price its price as one
    for quantity, price, fee, worse, bar, order, reason, ambiguous, wrong_side in traced.fills.tolist():
        record.fills.append(
            FillRow(order, 0, bar, quantity, price, fee, layout.REASONS[reason], worse, ambiguous)
        )
        record.wrong_side += wrong_side
    record.borrowed = [(0, bar, amount) for bar, amount in traced.charges.tolist()]
    record.cash, record.value = traced.cash.tolist(), traced.value.tolist()
    return record
