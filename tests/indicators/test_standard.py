"""Values against programs and tables that we did not write: backtrader, StockCharts' worksheets, pandas."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import quant.indicators as qi

# StockCharts ChartSchool, worksheets "RSI" (14) and "Moving averages" (10): closes and printed results.
RSI_CLOSES = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
    46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
    45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
RSI_PRINTED = [
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46, 41.87,
    45.46, 37.30, 33.08, 37.77,
]  # fmt: skip
EMA_CLOSES = [
    22.27, 22.19, 22.08, 22.17, 22.18, 22.13, 22.23, 22.43, 22.24, 22.29, 22.15, 22.39, 22.38, 22.61, 23.36,
    24.05, 23.75, 23.83, 23.95, 23.63, 23.82, 23.87, 23.65, 23.19, 23.10, 23.33, 22.68, 23.10, 22.40, 22.17,
]  # fmt: skip
EMA_PRINTED = [
    22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34, 23.43, 23.51, 23.53, 23.47,
    23.40, 23.39, 23.26, 23.23, 23.08, 22.92,
]  # fmt: skip

RNG = np.random.default_rng(20)
CLOSE = 100 * np.exp(np.cumsum(RNG.normal(0, 0.01, 500)))
HIGH, LOW = CLOSE * (1 + RNG.random(500) * 0.01), CLOSE * (1 - RNG.random(500) * 0.01)
BARS = SimpleNamespace(high=HIGH, low=LOW, close=CLOSE)


class _Indicators(bt.Strategy):
    def __init__(self) -> None:
        data = self.data
        self.made = {
            "sma": bt.ind.SMA(data, period=20),
            "ema": bt.ind.EMA(data, period=20),
            "rsi": bt.ind.RSI(data, period=14),
            "atr": bt.ind.ATR(data, period=14),
            "adx": bt.ind.ADX(data, period=14),
            "stochastic": bt.ind.StochasticSlow(data, period=14, period_dfast=3, period_dslow=3),
            "bands": bt.ind.BollingerBands(data, period=20, devfactor=2.0),
            "macd": bt.ind.MACD(data),
        }


@pytest.fixture(scope="module")
def theirs() -> dict[str, list[np.ndarray]]:
    """Lines of backtrader's own indicators on the same bars."""
    columns = {"open": CLOSE, "high": HIGH, "low": LOW, "close": CLOSE, "volume": 1.0}
    frame = pd.DataFrame(columns, index=pd.date_range("2020-01-01", periods=len(CLOSE)))
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame))
    cerebro.addstrategy(_Indicators)
    (strategy,) = cerebro.run()
    return {name: [np.array(x.array) for x in made.lines] for name, made in strategy.made.items()}


def agree(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, equal_nan=True)


def test_rsi_as_stockcharts_prints_it() -> None:
    assert np.round(qi.rsi(RSI_CLOSES, 14)[14:], 2).tolist() == RSI_PRINTED


def test_ema_as_stockcharts_prints_it() -> None:
    assert np.round(qi.ema(EMA_CLOSES, 10)[9:], 2).tolist() == EMA_PRINTED


def test_averages_equal_backtraders(theirs: dict[str, list[np.ndarray]]) -> None:
    agree(qi.sma(CLOSE, 20), theirs["sma"][0])
    agree(qi.ema(CLOSE, 20), theirs["ema"][0])


def test_rsi_and_atr_equal_backtraders(theirs: dict[str, list[np.ndarray]]) -> None:
    agree(qi.rsi(CLOSE, 14), theirs["rsi"][0])
    agree(qi.atr(BARS, 14), theirs["atr"][0])


def test_bands_equal_backtraders(theirs: dict[str, list[np.ndarray]]) -> None:
    bands = qi.bbands(CLOSE, 20, 2.0)
    middle, upper, lower = theirs["bands"]
    agree(bands.middle, middle)
    agree(bands.upper, upper)
    agree(bands.lower, lower)


def test_stochastic_equals_backtraders_slow_one_but_both_lines_start_together(
    theirs: dict[str, list[np.ndarray]],
) -> None:
    k, d = qi.stochastic(BARS, 14, 3, 3)
    agree(d, theirs["stochastic"][1])
    assert np.isnan(k[:17]).all()
    agree(k[17:], theirs["stochastic"][0][17:])


def test_adx_starts_otherwise_than_backtraders_and_meets_it(theirs: dict[str, list[np.ndarray]]) -> None:
    ours, other = qi.adx(BARS, 14), theirs["adx"][0]
    assert abs(ours[27] - other[27]) > 1e-3
    agree(ours[400:], other[400:], 1e-6)


def test_macd_starts_otherwise_than_backtraders_and_meets_it(theirs: dict[str, list[np.ndarray]]) -> None:
    ours, other = qi.macd(CLOSE).line, theirs["macd"][0]
    assert abs(ours[33] - other[33]) > 1e-3
    agree(ours[100:], other[100:], 1e-4)
    agree(ours[300:], other[300:], 1e-9)


def seeded_ema(values: np.ndarray, period: int, start: int) -> np.ndarray:
    """EMA that starts as the mean of values[start : start + period], in plain Python."""
    out = np.full(len(values), np.nan)
    out[start + period - 1] = sum(values[start : start + period]) / period
    for i in range(start + period, len(values)):
        out[i] = out[i - 1] + (values[i] - out[i - 1]) * 2 / (period + 1)
    return out


def test_macd_is_seeded_as_its_docstring_says() -> None:
    line = seeded_ema(CLOSE, 12, 26 - 12) - seeded_ema(CLOSE, 26, 0)
    signal = seeded_ema(line, 9, 25)
    ours = qi.macd(CLOSE)
    assert np.isnan(np.array(ours)[:, :33]).all()
    agree(ours.line[33:], line[33:])
    agree(ours.signal[33:], signal[33:])
    agree(ours.histogram[33:], (line - signal)[33:])


@pytest.mark.parametrize("n", [1, 5])
def test_average_over_one_bar_is_the_bar(n: int) -> None:
    assert qi.ema(CLOSE[:n], 1).tolist() == CLOSE[:n].tolist()
    assert qi.sma(CLOSE[:n], 1).tolist() == CLOSE[:n].tolist()


def test_flat_prices_read_as_nothing() -> None:
    flat = np.full(60, 5.0)
    bars = SimpleNamespace(high=flat, low=flat, close=flat)
    assert qi.rsi(flat)[-1] == 0.0
    assert qi.adx(bars)[-1] == 0.0
    assert qi.atr(bars)[-1] == 0.0
    assert qi.stochastic(bars).k[-1] == 0.0
    assert [band[-1] for band in qi.bbands(flat)] == [5.0, 5.0, 5.0]


def test_an_indicator_of_an_indicator_keeps_its_rows() -> None:
    strength = qi.rsi(CLOSE, 14)
    smooth = qi.ema(strength, 9)
    assert np.isnan(smooth[: 14 + 8]).all()
    agree(smooth[14:], qi.ema(strength[14:], 9))


def test_threads_get_the_same_bits() -> None:
    want = np.array(qi.macd(CLOSE)).tobytes()
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: np.array(qi.macd(CLOSE)).tobytes(), range(200)))
    assert set(got) == {want}
