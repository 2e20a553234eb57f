"""500 symbols x 10 years of daily bars on one account, against stock backtrader on a tenth of them."""

from __future__ import annotations

import sys
import time
from typing import Any

import quant as q


def seconds(bars: list[q.Bars], engine: str) -> tuple[float, q.Run]:
    """Wall time of one backtest of MACD crossovers on all symbols."""
    began = time.perf_counter()
    run = q.backtest("macd", bars, engine=engine, cash=1e7, save=False)
    return time.perf_counter() - began, run


def run(full: bool) -> dict[str, Any]:
    """Seconds and peak memory. full: 500 symbols, else 50."""
    count = 500 if full else 50
    bars = [q.synthetic(f"S{i:03d}", "1d", "2010-01-01", "2019-12-31", seed=i) for i in range(count)]
    took, made = seconds(bars, "fast")
    few_fast, few = seconds(bars[: count // 10], "fast")
    few_plain, stock = seconds(bars[: count // 10], "plain")
    assert q.compare(few, stock).same
    return {
        "what": f"{count} symbols x 10 years daily on one account, {len(made.fills):,} fills, {peak_gb():.2f} GB",
        "measured": took,
        "unit": "s",
        "at_most": 60.0 * count / 500,
        "aim": 10.0 * count / 500,
        "baseline": f"{count // 10} of them: fast {few_fast:.2f} s, stock backtrader {few_plain:.2f} s, same bits",
    }


def peak_gb() -> float:
    """Peak memory of this process; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
