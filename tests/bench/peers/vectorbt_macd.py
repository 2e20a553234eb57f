"""vectorbt: all combinations as the columns of one simulation. Second argument: the engine, "numba" or "auto".

"auto" is Rust where vectorbt-rust covers a function; forced to "rust", 1.2.0 refuses functions that it does not cover.
"""

from __future__ import annotations

import sys
import time
from itertools import product
from typing import Any

import numpy as np
import vectorbt as vbt
from _serve import frame, serve

BARS = frame()
vbt.settings["engine"] = sys.argv[2]


def sweep(grid: dict[str, list[int]]) -> Any:
    """Return closed and open trades of each combination, with three of the usual figures."""
    fast, slow, signal = (
        list(v) for v in zip(*product(grid["fast"], grid["slow"], grid["signal"]), strict=True)
    )
    macd = vbt.MACD.run(
        BARS["close"],
        fast_window=fast,
        slow_window=slow,
        signal_window=signal,
        macd_ewm=True,
        signal_ewm=True,
    )
    above = macd.macd.to_numpy() > macd.signal.to_numpy()
    wanted = np.zeros_like(above)
    wanted[1:] = above[:-1]  # decided at the close, filled at the next open
    before = np.zeros_like(wanted)
    before[1:] = wanted[:-1]
    began = time.process_time()
    made = vbt.Portfolio.from_signals(
        BARS["open"], entries=wanted & ~before, exits=~wanted & before, size=10.0, fees=0.0005, init_cash=1e6,
        freq="1min",
    )  # fmt: skip
    simulated = time.process_time() - began
    made.total_return(), made.sharpe_ratio(), made.max_drawdown()  # what a sweep is ranked by
    return made.trades.count().to_numpy(), simulated


def told(result: Any) -> dict[str, Any]:
    """Return the trades, and the CPU seconds of the simulation alone."""
    trades, simulated = result
    return {"trades": trades.tolist(), "simulation_s": simulated}


serve(sweep, told)
