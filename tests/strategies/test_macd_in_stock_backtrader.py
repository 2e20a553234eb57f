"""MacdCross written by hand for stock backtrader gives the fills that q.backtest gives."""

from __future__ import annotations

import math
from typing import Any

import backtrader as bt
import pytest
import talib

import quant as q


class ByHand(bt.Strategy):  # type: ignore[misc]
    """The rule with plain calls; TA-Lib's lines are computed before the run, as bt.talib's differ live."""

    params = (("lines_of", None), ("short", False))

    def __init__(self) -> None:
        self.last = 0.0
        self.filled: list[tuple[Any, float, float]] = []

    def next(self) -> None:
        line, signal = (values[len(self) - 1] for values in self.p.lines_of)
        if math.isnan(signal):
            return
        target = 1.0 if line > signal else -1.0 if self.p.short else 0.0
        if target == self.last:
            return
        self.last = target
        if not self.p.short:
            self.order_target_percent(target=0.95 * target)
            return
        size = int(0.95 * self.broker.getvalue() // self.data.close[0])
        if self.position:
            self.close()
        if target > 0:
            self.buy(size=size)
        else:
            self.sell(size=size)

    def notify_order(self, order: bt.Order) -> None:
        if order.status == order.Completed:
            bit = order.executed.exbits[-1]
            self.filled.append((self.data.datetime.datetime(0), float(bit.size), bit.price))


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("sample", ["spy", "spy_minutes"])
def test_the_same_fills(sample: str, short: bool, request: pytest.FixtureRequest) -> None:
    bars: q.Bars = request.getfixturevalue(sample)
    frame = bars.frame()
    frame.index = frame.index.tz_localize(None)
    cerebro = bt.Cerebro()
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.broker.setcash(100_000.0)
    cerebro.broker.set_checksubmit(False)
    line, signal, _ = talib.MACD(bars.close, 12, 26, 9)
    cerebro.addstrategy(ByHand, lines_of=(line, signal), short=short)
    stock = cerebro.run()[0]

    run = q.backtest("macd", bars, params={"short": short}, costs="none", save=False)
    started = run.fills["time"].dt.tz_convert(bars.instrument.timezone if bars.bar.intraday else "UTC")
    ours = list(zip(started.dt.tz_localize(None), run.fills["quantity"], run.fills["price"], strict=True))
    assert ours == stock.filled
    assert len(ours) > 30
    assert run.final_value == cerebro.broker.getvalue()
