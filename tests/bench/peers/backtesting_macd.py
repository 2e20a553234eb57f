"""backtesting.py: Backtest.optimize over the grid, in this process."""

from __future__ import annotations

from multiprocessing.dummy import Pool
from typing import Any

import backtesting
import pandas as pd
from _serve import frame, serve

BARS = frame().rename(columns=str.capitalize)
# One thread instead of a process a core: CPU seconds of one process are what is compared.
backtesting.Pool = lambda *_: Pool(1)


def line(close: Any, fast: int, slow: int) -> Any:
    """Return the MACD line."""
    series = pd.Series(close)
    return series.ewm(span=fast, adjust=False).mean() - series.ewm(span=slow, adjust=False).mean()


def smooth(values: Any, span: int) -> Any:
    """Return the signal line."""
    return pd.Series(values).ewm(span=span, adjust=False).mean()


class Macd(backtesting.Strategy):
    """Long above the signal line, else flat."""

    fast, slow, signal = 12, 26, 9

    def init(self) -> None:
        """Make both lines."""
        self.macd = self.I(line, self.data.Close, self.fast, self.slow)
        self.smoothed = self.I(smooth, self.macd, self.signal)

    def next(self) -> None:
        """Trade at a crossing."""
        above = self.macd[-1] > self.smoothed[-1]
        if above and not self.position:
            self.buy(size=10)
        elif self.position and not above:
            self.position.close()


def sweep(grid: dict[str, list[int]]) -> Any:
    """Return each combination's closed trades."""
    test = backtesting.Backtest(BARS, Macd, cash=1e6, commission=0.0005)
    _, heatmap = test.optimize(**grid, maximize=lambda stats: stats["# Trades"], return_heatmap=True)
    return heatmap


# optimize runs the best combination once more.
serve(sweep, lambda heatmap: {"trades": heatmap.tolist(), "runs": len(heatmap) + 1})
