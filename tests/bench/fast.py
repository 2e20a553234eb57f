"""The fast engines against stock backtrader: Cerebro with PandasData and defaults, the same bits (DESIGN §6)."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd

import quant as q

BARS = 100_000
CASH, SIZE = 1_000_000.0, 10
# Spans of the MACD, fills a bar to two figures, at least, aim.
PLAIN = ((12, 26, 9), 0.08, 4.0, 6.0), ((240, 520, 180), 0.004, 10.0, 13.0)
SIGNALS = (240, 520, 180), 0.004, 15.0, 60.0

Fills = list[tuple[float, float, float]]


class Told(bt.Strategy):
    """Keeps its fills: quantity, price, commission."""

    def __init__(self) -> None:
        self.fills: Fills = []

    def notify_order(self, order: bt.Order) -> None:
        if order.status == order.Completed:
            bit = order.executed.exbits[-1]
            self.fills.append((bit.size, bit.price, bit.comm))


class Macd(Told):
    """backtrader's own MACD: long above its signal line, else flat."""

    params = dict(spans=(12, 26, 9))

    def __init__(self) -> None:
        super().__init__()
        fast, slow, signal = self.p.spans
        macd = bt.ind.MACD(self.data.close, period_me1=fast, period_me2=slow, period_signal=signal)
        self.cross = bt.ind.CrossOver(macd.macd, macd.signal)

    def next(self) -> None:
        if self.cross[0]:
            self.order_target_size(target=SIZE if self.cross[0] > 0 else 0)


def targets(close: Any, spans: tuple[int, int, int]) -> Any:
    """Return the same rule's wanted exposure at each close, with TA-Lib's MACD."""
    macd = q.indicators.macd(close, *spans)
    return (macd.line > macd.signal).astype(float)


class Targets(q.Strategy):
    """The rule as signals."""

    params = dict(spans=(12, 26, 9))

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return targets(bars.close, p.spans)


class PlainTargets(Told):
    """What a plain strategy does with these signals: an order at each change. They are computed before the run."""

    params = dict(wanted=None)

    def next(self) -> None:
        wanted, now = self.p.wanted, len(self) - 1
        if wanted[now] != (wanted[now - 1] if now else 0.0):
            self.order_target_size(target=int(SIZE * wanted[now]))


def run_cerebro(make: type[bt.Cerebro], feed: Any, strategy: type, **params: Any) -> tuple[Any, ...]:
    """Return the fills, the final cash and the final value."""
    cerebro = make()
    cerebro.adddata(feed)
    cerebro.addstrategy(strategy, **params)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=0.0005)
    told = cerebro.run()[0]
    assert getattr(cerebro, "fell_back", None) is None
    return told.fills, cerebro.broker.getcash(), cerebro.broker.getvalue()


def run_backtest(bars: q.Bars, spans: tuple[int, int, int]) -> tuple[Any, ...]:
    """The same of q.backtest."""
    run = q.backtest(
        Targets, bars, params={"spans": spans}, cash=CASH, costs="percent:0.05", sizing=f"shares:{SIZE}",
        engine="fast", save=False,
    )  # fmt: skip
    fills = run.fills[["quantity", "price", "commission"]].itertuples(index=False, name=None)
    return list(fills), run.final_cash, run.final_value


def run(full: bool) -> list[dict[str, Any]]:
    """Return the ratio of the CPU times, the median of paired runs; full: more pairs."""
    bars = q.synthetic("BENCH", "1m", "2020-01-01", "2020-03-31", calendar="24/7", seed=3)[:BARS]
    columns = {c: getattr(bars, c) for c in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame(columns, index=pd.DatetimeIndex(bars.end.astype("datetime64[ns]")))

    def stock(strategy: type, **params: Any) -> Callable[[], tuple[Any, ...]]:
        return lambda: run_cerebro(
            bt.Cerebro,
            bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes),
            strategy,
            **params,
        )

    pairs = 5 if full else 1
    results = []
    for spans, fills, least, aim in PLAIN:
        ours = lambda spans=spans: run_cerebro(q.Cerebro, q.feed(bars, tz="UTC"), Macd, spans=spans)  # noqa: E731
        what = f"plain MACD strategy with q.Cerebro and q.feed, {fills} fills a bar"
        results.append(figure(what, stock(Macd, spans=spans), ours, fills, least, aim, pairs))
    spans, fills, least, aim = SIGNALS
    what = f"MACD signals with q.backtest, {fills} fills a bar"
    plain = stock(PlainTargets, wanted=targets(bars.close, spans).tolist())
    results.append(figure(what, plain, lambda: run_backtest(bars, spans), fills, least, aim, pairs))
    return results


def figure(
    what: str,
    stock: Callable[[], Any],
    ours: Callable[[], Any],
    fills: float,
    least: float,
    aim: float,
    pairs: int,
) -> dict[str, Any]:
    """Time both, and hold them to the same bits."""
    times = []
    for _ in range(pairs):
        (stock_s, expected), (ours_s, found) = seconds(stock), seconds(ours)
        assert repr(plain_numbers(found)) == repr(plain_numbers(expected)), what
        assert np.isclose(len(expected[0]) / BARS, fills, rtol=0.2), len(expected[0])
        times.append((stock_s, ours_s))
    stock_s, ours_s = (statistics.median(t) for t in zip(*times, strict=True))
    return {
        "what": f"{what}, same bits as stock",
        "measured": statistics.median(a / b for a, b in times),
        "unit": "x",
        "at_least": least,
        "aim": aim,
        "baseline": f"backtrader with PandasData and defaults {stock_s / BARS * 1e6:.1f} us a bar",
        "us_a_bar": ours_s / BARS * 1e6,
    }


def plain_numbers(result: tuple[Any, ...]) -> Any:
    """Fills and account as Python's floats, which print all their bits."""
    fills, cash, value = result
    return [tuple(map(float, f)) for f in fills], float(cash), float(value)


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of one call, and what it returned."""
    gc.collect()  # what the run before left is not this one's to clear
    began = time.process_time()
    result = call()
    return time.process_time() - began, result
