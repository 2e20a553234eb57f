"""What every indicator promises, whatever it computes: length, causality, gaps, and inputs left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

import quant.indicators as qi
from quant.errors import ParameterError
from quant.indicators.standard import Macd


@dataclass(frozen=True)
class Prices:
    high: Any
    low: Any
    close: Any

    def __getitem__(self, rows: slice) -> Prices:
        return Prices(self.high[rows], self.low[rows], self.close[rows])


def walk(seed: int, n: int, tick: float = 0.01) -> Prices:
    """Bars on a tick grid, so that equal prices and flat bars occur."""
    rng = np.random.default_rng(seed)
    close = 100.0 + np.cumsum(rng.integers(-3, 4, n)) * tick
    return Prices(close + rng.integers(0, 4, n) * tick, close - rng.integers(0, 4, n) * tick, close)


# name -> (call with small periods, first row that has a number in the last of its results)
CALLS: dict[str, tuple[Callable[[Prices], Any], int]] = {
    "macd": (lambda b: qi.macd(b.close, 3, 6, 4), 8),
    "rsi": (lambda b: qi.rsi(b.close, 5), 5),
    "atr": (lambda b: qi.atr(b, 5), 5),
    "ema": (lambda b: qi.ema(b.close, 5), 4),
    "sma": (lambda b: qi.sma(b.close, 5), 4),
    "stochastic": (lambda b: qi.stochastic(b, 5, 3, 2), 7),
    "bbands": (lambda b: qi.bbands(b.close, 5), 4),
    "adx": (lambda b: qi.adx(b, 5), 9),
    "slope": (lambda b: qi.slope(b.close, 5), 4),
    "macd_course": (lambda b: qi.macd_course(b.close, 3, 6, 4), 8),
    "rsi_course": (lambda b: qi.rsi_course(b.close, 5), 4),
    "atr_course": (lambda b: qi.atr_course(b, 5), 5),
    "stochastic_course": (lambda b: qi.stochastic_course(b, 5, 3), 6),
    "atr_size": (lambda b: qi.atr_size(b, 5, 2.0), 6),
}
SMOOTHED = sorted(set(CALLS) - {"slope"})


def results(name: str, bars: Prices) -> list[np.ndarray]:
    out = CALLS[name][0](bars)
    return list(out) if isinstance(out, tuple | Macd) else [out]


@pytest.mark.parametrize("name", CALLS)
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 90),
    cut=st.integers(0, 90),
    tick=st.sampled_from([0.01, 1e3]),
)
def test_prefix_gives_the_same_bits(name: str, seed: int, n: int, cut: int, tick: float) -> None:
    bars = walk(seed, n, tick)
    for whole, prefix in zip(results(name, bars), results(name, bars[: min(cut, n)]), strict=True):
        assert whole[: len(prefix)].tobytes() == prefix.tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_long_prefixes_give_the_same_bits(name: str) -> None:
    """Vector instructions treat the tail of an array apart: many lengths in a row."""
    bars = walk(3, 2_100)
    whole = results(name, bars)
    for cut in range(2_040, 2_075):
        for full, prefix in zip(whole, results(name, bars[:cut]), strict=True):
            assert full[:cut].tobytes() == prefix.tobytes()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 9, 60])
def test_as_long_as_its_input_and_nan_before_its_start(name: str, n: int) -> None:
    first = CALLS[name][1]
    for out in results(name, walk(1, n)):
        assert out.dtype == np.float64
        assert out.shape == (n,)
    last = results(name, walk(1, n))[-1]
    assert np.isnan(last[:first]).all()
    assert np.isfinite(last[first : first + 1]).all()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("lead", [1, 7])
def test_leading_nan_shift_the_start(name: str, lead: int) -> None:
    bars = walk(2, 80)
    shifted = Prices(*(np.concatenate([np.full(lead, np.nan), x]) for x in (bars.high, bars.low, bars.close)))
    for plain, late in zip(results(name, bars), results(name, shifted), strict=True):
        assert np.isnan(late[:lead]).all()
        assert late[lead:].tobytes() == plain.tobytes()


@pytest.mark.parametrize("name", SMOOTHED)
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_no_number_follows_a_gap(name: str, hole: float) -> None:
    bars = walk(4, 80)
    close = bars.close.copy()
    close[50] = hole
    for whole, holed in zip(
        results(name, bars), results(name, Prices(bars.high, bars.low, close)), strict=True
    ):
        assert holed[:50].tobytes() == whole[:50].tobytes()
        assert holed.shape == (80,)
        late = 1 if name == "atr_size" else 0  # row 50 holds what was known before bar 50
        assert np.isnan(holed[50 + late :]).all()


@pytest.mark.parametrize("name", CALLS)
def test_all_nan_gives_all_nan(name: str) -> None:
    nothing = np.full(40, np.nan)
    assert all(np.isnan(out).all() for out in results(name, Prices(nothing, nothing, nothing)))


@pytest.mark.parametrize("name", CALLS)
def test_inputs_are_read_only_and_results_are_fresh(name: str) -> None:
    bars = walk(5, 60)
    before = bars.close.tobytes()
    for x in (bars.high, bars.low, bars.close):
        x.flags.writeable = False
    for out in results(name, bars):
        assert out.flags.writeable
        out[:] = -1.0
    assert bars.close.tobytes() == before
    assert not any((out == -1.0).any() for out in results(name, bars))


@pytest.mark.parametrize("name", CALLS)
def test_series_lists_and_strided_arrays_are_rows_of_numbers(name: str) -> None:
    bars = walk(6, 60)
    wide = [np.repeat(x, 2)[::2] for x in (bars.high, bars.low, bars.close)]
    frame = pd.DataFrame({"high": bars.high, "low": bars.low, "close": bars.close})
    for other in (Prices(*wide), frame, Prices(*(x.tolist() for x in (bars.high, bars.low, bars.close)))):
        for want, got in zip(results(name, bars), results(name, other), strict=True):  # type: ignore[arg-type]
            assert type(got) is np.ndarray
            assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("period", [0, -3, 100_001, 14.0, "14", None, True])
@pytest.mark.parametrize(
    "call",
    [qi.ema, qi.sma, qi.rsi, qi.bbands, qi.slope, qi.rsi_course, qi.macd_course],
    ids=lambda f: f.__name__,
)
def test_a_wrong_period_is_refused_by_name(call: Any, period: Any) -> None:
    with pytest.raises(ParameterError, match=re.escape(repr(period))):
        call(walk(7, 50).close, period)


@pytest.mark.parametrize(
    "call", [qi.atr, qi.adx, qi.stochastic, qi.atr_course, qi.atr_size], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("period", [0, 2.5])
def test_a_wrong_period_on_bars_is_refused(call: Any, period: Any) -> None:
    with pytest.raises(ParameterError):
        call(walk(7, 50), period)


@pytest.mark.parametrize("call", [qi.rsi, qi.bbands, qi.slope], ids=lambda f: f.__name__)
def test_one_bar_says_nothing_of_change_or_spread(call: Any) -> None:
    with pytest.raises(ParameterError, match="wants 2 to"):
        call(walk(7, 50).close, 1)


def test_whole_numbers_of_numpy_are_periods() -> None:
    close = walk(8, 40).close
    assert qi.ema(close, np.int64(5)).tobytes() == qi.ema(close, 5).tobytes()  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf])
def test_bands_need_a_width(width: float) -> None:
    with pytest.raises(ParameterError, match="width"):
        qi.bbands(walk(7, 50).close, 20, width)


@pytest.mark.parametrize("slow", [12, 5])
def test_macd_refuses_periods_that_talib_would_exchange(slow: int) -> None:
    with pytest.raises(ParameterError, match="fewer bars than slow"):
        qi.macd(walk(7, 50).close, 12, slow)


@pytest.mark.parametrize("values", [np.ones((3, 2)), "words", ["a"], None, 3.0], ids=str)
def test_what_is_no_row_of_numbers_is_refused(values: Any) -> None:
    with pytest.raises(ParameterError, match="values"):
        qi.ema(values, 5)


def test_prices_of_different_lengths_are_refused() -> None:
    bars = walk(9, 20)
    with pytest.raises(ParameterError, match="differ in length"):
        qi.atr(Prices(bars.high, bars.low[:-1], bars.close))


def test_a_changed_unstable_period_is_refused() -> None:
    """It is TA-Lib's only setting of the whole process that moves values."""
    talib.set_unstable_period("EMA", 10)
    try:
        with pytest.raises(ParameterError, match="unstable period"):
            qi.macd(walk(7, 60).close)
    finally:
        talib.set_unstable_period("EMA", 0)
    assert np.isfinite(qi.macd(walk(7, 60).close).line[-1])


def test_compatibility_of_talib_still_changes_nothing() -> None:
    """When this fails, TA-Lib's set_compatibility works again and must be refused like unstable periods."""
    close = walk(7, 60).close
    plain = [qi.ema(close, 5), qi.rsi(close, 5), qi.macd(close).line]
    talib.set_compatibility(1)
    try:
        changed = [qi.ema(close, 5), qi.rsi(close, 5), qi.macd(close).line]
    finally:
        talib.set_compatibility(0)
    assert [x.tobytes() for x in plain] == [x.tobytes() for x in changed]
