"""Random runs: the compiled engine equals backtrader in all that a run reports, and a sweep's row in every figure.

2,000 runs in CI; `--full` makes 100,000. A failing run names its seed.
"""

from __future__ import annotations

import dataclasses
import random
import struct
from typing import Any

import numpy as np
import pytest
from engines import ENGINES
from random_cases import random_case
from test_fuzz import as_job

from quant.backtest.compiled import kernel_feed
from quant.backtest.job import Job
from quant.backtest.recorder import Record
from quant.backtest.result import make_run
from quant.core.bars import Bars
from quant.core.barsize import bar_size
from quant.core.costs import costs, parse_slippage
from quant.core.instrument import Instrument
from quant.kernel.run import Scratch, row
from quant.metrics import NAMES

DAY = 86_400_000_000_000


def random_job(seed: int) -> Job:
    """A random case, now and then with borrow, tiered costs of a market, pence, slippage in ticks, or on daily bars."""
    job = as_job(random_case(seed))
    r = random.Random(seed + 1_000_000)
    (bars,) = job.bars
    changes: dict[str, Any] = {}
    if r.random() < 0.3:
        changes["borrow"] = r.choice([0.0, 0.03, 0.4])
    if r.random() < 0.2:
        changes["costs"] = costs("ib-tiered", r.choice(["US", "US", "DE", "HK"]))
    if r.random() < 0.2:
        changes["slippage"] = parse_slippage(r.choice(["ticks:1", "ticks:2.5", "ticks:0", "percent:0"]))
    if not job.rules.any and r.random() < 0.5:
        # Days, some left out; with a calendar or without one.
        day = np.cumsum(np.array([r.choice([1, 1, 1, 3, 4]) for _ in range(len(bars))]))
        size = bar_size("1d")
        zone = r.choice(["America/New_York", "UTC", "Asia/Tokyo"])
        where = Instrument("AAA", tick=0.01, timezone=zone)
        prices = (bars.open, bars.high, bars.low, bars.close, bars.volume)
        bars = Bars(where, size, (day + 18_000) * DAY, *prices)
    elif "slippage" in changes:
        bars.__dict__["instrument"] = dataclasses.replace(bars.instrument, tick=0.01)
    if r.random() < 0.15:  # London's pence
        bars.__dict__["instrument"] = dataclasses.replace(bars.instrument, price_magnifier=100)
        changes["cash"] = job.cash / r.choice([1, 100])
    return dataclasses.replace(job, bars=(bars,), **changes)


def bits(*x: Any) -> bytes:
    return b"".join(struct.pack("d", v) if isinstance(v, float) else repr(v).encode() for v in x)


def everything(record: Record) -> dict[str, list[bytes]]:
    """All of a record, with the bits of its floats."""
    return {
        "orders": [
            bits(o.order, o.feed, o.time, o.kind, float(o.quantity), o.price, o.limit_price, o.reason, o.status)
            for o in record.orders
        ],
        "fills": [
            bits(f.order, f.bar, float(f.quantity), f.price, float(f.commission), f.reason, f.slippage, f.ambiguous)
            for f in record.fills
        ],
        "account": [bits(float(c), float(v)) for c, v in zip(record.cash, record.value, strict=True)],
        "borrowed": [bits(*b) for b in record.borrowed],
        "odd": [bits(record.wrong_side)],
    }  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_compiled_reports_what_plain_reports(part: int, full: bool) -> None:
    count = 25_000 if full else 500
    for seed in range(part * count, (part + 1) * count):
        job = random_job(seed)
        wanted, got = everything(ENGINES["plain"](job)), everything(ENGINES["compiled"](job))
        assert got == wanted, f"seed {seed}: {[k for k in wanted if wanted[k] != got[k]]}"


@pytest.mark.parametrize("part", range(4))
def test_a_sweeps_row_has_the_figures_of_the_run(part: int, full: bool) -> None:
    count = 25_000 if full else 500
    # In these a position is thousands of times the account, or the account owes: its mean value is a small difference.
    for seed in (*range(part * count, (part + 1) * count), 19_098, 59_199):
        job = random_job(seed)
        record = ENGINES["fast"](job)
        run = make_run(job, record, [], engine="fast", look_ahead_ok=None)
        feed = kernel_feed(job)
        (plan,) = job.plans
        figures, returns = row(feed, plan.target, plan.stop, plan.limit, plan.follow_stop, Scratch(feed))
        wanted = np.array([run.metrics[name] for name in NAMES])
        off = [n for n, a, b in zip(NAMES, figures, wanted, strict=True) if a != b]  # -0.0 and 0.0 are one
        at = NAMES.index("turnover")
        cash, value = np.array(record.cash), np.array(record.value)
        # The mean value is exact to a part of what it is a difference of.
        small = 1e-12 * np.mean(np.abs(cash) + np.abs(value - cash)) / abs(np.mean(value))
        off = [n for n in off if n != "turnover" or abs(figures[at] - wanted[at]) > small * abs(wanted[at])]
        off = [n for n in off if not (np.isnan(figures[NAMES.index(n)]) and np.isnan(run.metrics[n]))]
        assert off == [], f"seed {seed}: {[(n, figures[NAMES.index(n)], run.metrics[n]) for n in off]}"
        assert np.array_equal(returns, run.returns.to_numpy(), equal_nan=True), f"seed {seed}"
