"""Where an indicator goes another way than by TA-Lib's function of its name, because it is faster: the same bits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import talib

import quant.indicators as qi
from quant.indicators.shared import Memo, sharing

SIMPLE = 0  # TA-Lib's MA_Type.SMA
MUCH = 1 << 30  # bytes
BEYOND = 1.7e308  # a price; two of them are infinite


def prices(rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    """Rows of one kind or another: a walk, constant, few values with zeros of both signs, any size, rounded."""
    sized, positive = rng.normal(size=(2, n)) * 10.0 ** rng.integers(-320, 307, (2, 1))
    walk = np.abs(100.0 + np.cumsum(rng.normal(size=n)))
    kinds = (
        walk,
        np.full(n, rng.normal()),
        np.full(n, 7.0),
        rng.choice([0.0, -0.0, 1.0, -1.0], n),
        rng.choice([0.5, 1.0, 1.5], n),
        sized,
        np.abs(positive),
        np.clip(sized, 0.0, 1.0) * BEYOND,  # whose sums and hundredfold are infinite
        np.round(walk, 1),
    )
    return kinds[rng.integers(len(kinds))]


def spoilt(rng: np.random.Generator, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same with NaN to begin with, or with a gap, or as they are."""
    values = values.copy()
    kind = rng.integers(4)
    if not len(values):
        return values
    if kind == 0:
        values[: rng.integers(0, len(values) + 1)] = np.nan
    elif kind == 1:
        values[rng.integers(0, len(values), 2)] = rng.choice([np.nan, np.inf, -np.inf], 2)
    return values


def by_talib(function: Any, inputs: tuple[np.ndarray[Any, Any], ...], *options: Any) -> list[bytes]:
    """What TA-Lib makes of the rows before the first gap, and NaN from there on (the rule of the indicators)."""
    known = np.logical_and.reduce([np.isfinite(values) for values in inputs])
    number = np.logical_or.accumulate(~np.isnan(inputs), axis=1).all(axis=0)  # each has had its first one
    gaps = np.flatnonzero(number & ~known)
    end = int(gaps[0]) if len(gaps) else len(known)
    found = function(*(values[:end] for values in inputs), *options)
    return made(*(np.append(row, np.full(len(known) - end, np.nan)) for row in found))


def made(*rows: np.ndarray[Any, Any]) -> list[bytes]:
    """The bits of all numbers; a NaN is a NaN, whatever sign a subtraction of infinities gave it."""
    return [np.where(np.isnan(row), np.nan, row).tobytes() for row in rows]


def macd_both_ways(close: np.ndarray[Any, Any], *periods: int) -> tuple[list[bytes], list[bytes]]:
    """Line and signal in one go, and in the parts that a sweep shares."""
    alone = qi.macd(close, *periods)
    with sharing(Memo(close, limit=MUCH)):
        parts = qi.macd(close, *periods)
    return made(alone.line, alone.signal), made(parts.line, parts.signal)


@pytest.mark.filterwarnings("ignore:overflow")  # sums of huge prices
@pytest.mark.filterwarnings("ignore:invalid value")  # inf - inf, where the averages of huge prices overflow
def test_macd_alone_and_in_parts_has_the_bits_of_talib() -> None:
    rng = np.random.default_rng(1)
    for _ in range(4_000):
        close = spoilt(rng, prices(rng, int(rng.integers(0, 90))))
        fast = int(rng.integers(2, 12))
        periods = fast, int(rng.integers(fast + 1, 26)), int(rng.integers(1, 12))
        alone, parts = macd_both_ways(close, *periods)
        assert alone == parts, (periods, close)
        if not np.any(np.abs(close) == BEYOND):
            assert alone == by_talib(talib.MACD, (close,), *periods)[:2], (periods, close)


def test_macd_of_a_long_history_has_the_bits_of_talib() -> None:
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0, 1e-3, 100_000)))
    alone, parts = macd_both_ways(close, 12, 26, 9)
    assert alone == parts == by_talib(talib.MACD, (close,), 12, 26, 9)[:2]


def stochastic(high: Any, low: Any, close: Any, *periods: int) -> list[bytes]:
    return made(*qi.stochastic(SimpleNamespace(high=high, low=low, close=close), *periods))


def test_stochastic_has_the_bits_of_talib() -> None:
    rng = np.random.default_rng(3)
    for _ in range(6_000):
        n = int(rng.integers(0, 70))
        close = prices(rng, n)
        if rng.random() < 0.7:  # bars as they should be
            with np.errstate(over="ignore"):
                rows = close + np.abs(close) * 0.01, close - np.abs(close) * 0.01, close
        else:
            rows = prices(rng, n), prices(rng, n), close
        high, low, close = (spoilt(rng, row) if rng.random() < 0.3 else row for row in rows)
        k, d, smooth = (int(x) for x in rng.integers(1, [15, 6, 6]))
        expected = by_talib(talib.STOCH, (high, low, close), k, smooth, SIMPLE, d, SIMPLE)
        assert stochastic(high, low, close, k, d, smooth) == expected, (k, d, smooth, high, low, close)


@pytest.mark.parametrize("periods", [(20, 1, 3), (14, 3, 3), (5, 2, 1), (1000, 1, 1)])
def test_stochastic_of_a_long_history_has_the_bits_of_talib(periods: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(4)
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 1e-3, 30_000))), 2)
    close[5_000:7_000] = close[5_000]  # windows without range
    high, low = close + np.round(rng.random(30_000), 2), close - np.round(rng.random(30_000), 2)
    high[5_000:7_000] = low[5_000:7_000] = close[5_000]
    k, d, smooth = periods
    expected = by_talib(talib.STOCH, (high, low, close), k, smooth, SIMPLE, d, SIMPLE)
    assert stochastic(high, low, close, *periods) == expected


def test_ordinary_prices_go_the_faster_way(monkeypatch: pytest.MonkeyPatch) -> None:
    close = 100.0 + np.cumsum(np.random.default_rng(5).normal(size=200))
    bars = SimpleNamespace(high=close + 1.0, low=close - 1.0, close=close)
    expected = made(*qi.stochastic(bars)), made(*qi.macd(close))
    monkeypatch.setattr(talib, "STOCH", None)
    monkeypatch.setattr(talib, "EMA", None)
    assert (made(*qi.stochastic(bars)), made(*qi.macd(close))) == expected


def test_windows_whose_range_is_infinite_have_the_bits_of_talib() -> None:
    """No market has them; infinity over infinity in the first rows would move the start of the averages."""
    close = np.where(np.arange(30) < 8, -BEYOND, 100.0 + np.arange(30) % 4)
    high, low = np.where(close < 0.0, -BEYOND, close + 1.0), np.where(close < 0.0, BEYOND, close - 1.0)
    expected = by_talib(talib.STOCH, (high, low, close), 3, 2, SIMPLE, 1, SIMPLE)
    assert stochastic(high, low, close, 3, 1, 2) == expected
