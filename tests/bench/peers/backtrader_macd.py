"""backtrader: Cerebro.optstrategy over the grid, in this process."""

from __future__ import annotations

from typing import Any

import backtrader as bt
from _serve import frame, serve

BARS = frame()


class Count(bt.Analyzer):
    """How many trades were closed."""

    def start(self) -> None:
        """Begin at none."""
        self.rets = {"trades": 0}

    def notify_trade(self, trade: bt.Trade) -> None:
        """Count one that is closed."""
        self.rets["trades"] += trade.isclosed


class Macd(bt.Strategy):
    """Long above the signal line, else flat."""

    params = dict(fast=12, slow=26, signal=9)

    def __init__(self) -> None:
        macd = bt.ind.MACD(
            self.data.close, period_me1=self.p.fast, period_me2=self.p.slow, period_signal=self.p.signal
        )
        self.cross = bt.ind.CrossOver(macd.macd, macd.signal)

    def next(self) -> None:
        """Trade at a crossing."""
        if self.cross[0]:
            self.order_target_size(target=10 if self.cross[0] > 0 else 0)


def sweep(grid: dict[str, list[int]]) -> Any:
    """Return the results of each combination."""
    cerebro = bt.Cerebro(maxcpus=1)
    cerebro.adddata(bt.feeds.PandasData(dataname=BARS, timeframe=bt.TimeFrame.Minutes))
    cerebro.optstrategy(Macd, **grid)
    cerebro.addanalyzer(Count, _name="count")
    cerebro.broker.setcash(1e6)
    cerebro.broker.setcommission(commission=0.0005)
    return cerebro.run()


serve(sweep, lambda made: {"trades": [found.analyzers.count.get_analysis()["trades"] for (found,) in made]})
