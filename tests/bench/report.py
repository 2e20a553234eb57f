"""The page of a run with 1e6 one-minute bars: how long run.report() takes, and how large the file is.

The run is made without an engine (orders at random bars), for what is measured is the page.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import quant as q
from quant.backtest.engine import Job
from quant.backtest.recorder import FillRow, OrderRow, Record
from quant.backtest.result import Run, make_run
from quant.core.bars import Bars
from quant.core.costs import costs
from quant.core.synthetic import synthetic
from quant.core.targets import SessionRules
from quant.indicators import macd

FILLS_PER_BAR = 0.02


class Drawn(q.Strategy):
    """Gives the report two lines to draw."""

    params = dict(fast=12, slow=26, signal=9)

    @staticmethod
    def plots(bars: Bars, p: Any) -> dict[str, dict[str, Any]]:
        """Return MACD and signal."""
        line, signal, _ = macd(bars.close, p.fast, p.slow, p.signal)
        return {"MACD": {"line": line, "signal": signal}}


def made_up_run(bars: Bars, fills_per_bar: float, seed: int = 1) -> Run:
    """Return a run that is long and flat by turns of random length, 100 units each."""
    n = len(bars)
    random = np.random.default_rng(seed)
    at = np.sort(random.choice(np.arange(1, n), 2 * int(n * fills_per_bar / 2), replace=False))
    side = np.where(np.arange(len(at)) % 2 == 0, 100.0, -100.0)
    change = np.zeros(n)
    change[at] = side
    paid = np.zeros(n)
    paid[at] = -side * bars.open[at] - 1.0
    cash = 100_000.0 + np.cumsum(paid)
    value = cash + np.cumsum(change) * bars.close
    record = Record((bars,), cash=cash.tolist(), value=value.tolist())
    for k, (bar, size) in enumerate(zip(at.tolist(), side.tolist(), strict=True), 1):
        reason = "entry" if size > 0 else "close"
        decided = int(bars.end[bar - 1])
        record.orders.append(OrderRow(k, 0, decided, "market", size, np.nan, np.nan, reason, "filled"))
        record.fills.append(FillRow(k, 0, bar, size, float(bars.open[bar]), 1.0, reason, 0.0))
    job = Job(
        strategy=Drawn, params={"fast": 12, "slow": 26, "signal": 9}, bars=(bars,), plans=(), cash=100_000.0,
        costs=costs("none"), sizing=None, slippage=None, borrow=None, rules=SessionRules(), start_rule="first-target",
    )  # fmt: skip
    return make_run(job, record, [], engine="made up", look_ahead_ok=None)


def minutes(count: int) -> Bars:
    """Return so many one-minute bars of New York, prices in cents."""
    years = count // 98_000 + 1
    return synthetic("BENCH", "1m", "2005-01-03", f"{2005 + years}-12-31", calendar="XNYS")[:count]


def run(full: bool) -> dict[str, Any]:
    """Return the median seconds of a page, beside writing the same values as Parquet. full: more repetitions."""
    made = made_up_run(minutes(1_000_000), FILLS_PER_BAR)
    page_s, parquet_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for _ in range(5 if full else 3):
            began = time.perf_counter()
            made.report(path)
            page_s.append(time.perf_counter() - began)
            began = time.perf_counter()
            made.bars[0].frame().to_parquet(Path(folder) / "bars.parquet")  # type: ignore[index]
            parquet_s.append(time.perf_counter() - began)
        size = path.stat().st_size
    return {
        "what": f"report of 1,000,000 bars and {len(made.fills):,} fills, {size / 1e6:.1f} MB",
        "measured": statistics.median(page_s),
        "unit": "s",
        "at_most": 5.0,
        "aim": 3.0,
        "baseline": f"the bars alone as Parquet {statistics.median(parquet_s):.2f} s",
        "bytes": size,
    }
