"""Indicators that combinations share: the same numbers as without, never another array's, within the limit."""

from __future__ import annotations

import gc
import threading
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant import indicators
from quant.errors import QuantError
from quant.indicators import shared as sharing_module
from quant.indicators.shared import Memo, shared, sharing

ROOT = Path(__file__).parents[2]
MUCH = 100_000_000


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.bars("MSFT", data=ROOT / "data")[4000:4500]


def roots(bars: q.Bars) -> tuple[object, ...]:
    return (bars, bars.open, bars.high, bars.low, bars.close, bars.volume)


def arrays(result: Any) -> list[Any]:
    if is_dataclass(result):
        result = [getattr(result, f.name) for f in fields(result)]
    return [result] if isinstance(result, np.ndarray) else list(result)


def of_one_row(name: str, bars: q.Bars) -> Any:
    """What an indicator gives for its simplest arguments: the close, the bars, or both and a number."""
    function = getattr(indicators, name)
    for given in ((bars.close,), (bars,), (bars.close, 5), (bars, 5), (bars, 1.0)):
        try:
            return function, given, function(*given)
        except (TypeError, AttributeError, QuantError):
            continue
    raise AssertionError(f"no arguments known for {name}")


SHARED = sorted(
    name for name in dir(indicators) if getattr(getattr(indicators, name), "__wrapped__", None) is not None
)
MACDS = [(12, 26, 9), (12, 26, 5), (5, 26, 9), (12, 26, 9), (12, 35, 9)]


def test_they_are_shared() -> None:
    assert {"rsi", "atr", "ema", "sma", "stochastic", "bbands", "slope", "renko", "atr_size"} <= set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_shared_results_have_the_same_bits_and_cannot_be_written(name: str, bars: q.Bars) -> None:
    function, given, expected = of_one_row(name, bars)
    with sharing(Memo(*roots(bars), limit=MUCH)):
        results = [function(*given) for _ in range(4)]
    for result in results:
        for a, b in zip(arrays(result), arrays(expected), strict=True):
            assert np.array(a).tobytes() == np.array(b).tobytes()
    assert results[1] is results[2] is results[3]
    assert results[0] is not results[1]  # kept from the second call on
    for array in arrays(results[1]):
        if isinstance(array, np.ndarray):
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    for array in arrays(results[0]) + arrays(expected):
        if isinstance(array, np.ndarray):
            assert array.flags.writeable


def test_macd_which_is_put_together_has_the_same_bits(bars: q.Bars) -> None:
    expected = [indicators.macd(bars.close, *periods) for periods in MACDS]
    with sharing(Memo(*roots(bars), limit=MUCH)):
        found = [indicators.macd(bars.close, *periods) for periods in MACDS]
    for a, b in zip(found, expected, strict=True):
        assert [x.tobytes() for x in arrays(a)] == [x.tobytes() for x in arrays(b)]


def calls_of() -> tuple[Any, list[Any]]:
    """A shared function, and what it was called with."""
    calls: list[Any] = []

    @shared
    def doubled(values: Any, by: Any = 2.0, *, add: Any = 0.0) -> Any:
        calls.append((by, add))
        return np.asarray(values) * by + add

    return doubled, calls


def test_nothing_is_shared_outside_of_a_sweep(bars: q.Bars) -> None:
    doubled, calls = calls_of()
    for _ in range(3):
        assert doubled(bars.close).flags.writeable
    assert len(calls) == 3


def test_only_what_hangs_on_the_bars_is_kept(bars: q.Bars) -> None:
    doubled, calls = calls_of()
    own = np.array(bars.close)
    with sharing(Memo(*roots(bars), limit=MUCH)):
        for _ in range(4):
            assert doubled(own).flags.writeable
            doubled(bars.close, by=np.float64(2.0))  # no plain number: an array scalar could be anything
            doubled(bars.close, by=[1.0] * len(bars))
    assert len(calls) == 12


def test_indicators_of_indicators_are_kept(bars: q.Bars) -> None:
    doubled, calls = calls_of()
    with sharing(Memo(*roots(bars), limit=MUCH)):
        for _ in range(5):
            result = doubled(doubled(bars.close), 3.0)
    assert np.array_equal(result, bars.close * 2.0 * 3.0)
    # Of the first one the second call is kept; on it the outer one hangs, whose second call is kept.
    assert len(calls) == 2 + 3


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (dict(by=1), dict(by=1.0)), (dict(by=1), dict(by=True)), (dict(by=2.0, add=1.0), dict(by=1.0, add=2.0)),
        (dict(add=3.0), dict(by=3.0)), (dict(), dict(add=1.0)),
    ],
    ids=str,
)  # fmt: skip
def test_other_arguments_are_other_results(a: dict[str, Any], b: dict[str, Any], bars: q.Bars) -> None:
    doubled, calls = calls_of()
    with sharing(Memo(*roots(bars), limit=MUCH)):
        for _ in range(3):
            for given in (a, b):
                doubled(bars.close, **given)
    assert [repr(c) for c in calls] == [repr((g.get("by", 2.0), g.get("add", 0.0))) for g in (a, b, a, b)]


def test_other_functions_are_other_results(bars: q.Bars) -> None:
    one, _ = calls_of()
    other = shared(lambda values, by=2.0: values - by)
    with sharing(Memo(*roots(bars), limit=MUCH)):
        for _ in range(3):
            assert one(bars.close)[0] == bars.close[0] * 2.0
            assert other(bars.close)[0] == bars.close[0] - 2.0


def test_errors_are_raised_each_time(bars: q.Bars) -> None:
    with sharing(Memo(*roots(bars), limit=MUCH)):
        for _ in range(3):
            with pytest.raises(QuantError):
                indicators.sma(bars.close, 0)


# ---------------------------------------------------------------- the limit
def held_by(memo: Memo) -> int:
    return sum(a.nbytes for _, kept in memo.results.values() for a in kept)


def test_it_keeps_to_its_limit_and_drops_what_was_not_asked_for_longest(bars: q.Bars) -> None:
    size = bars.close.nbytes
    doubled, calls = calls_of()
    with sharing(Memo(*roots(bars), limit=3 * size)):
        memo = sharing_module._here.memo
        for by in (1.0, 2.0, 3.0):
            doubled(bars.close, by)
            doubled(bars.close, by)
        doubled(bars.close, 1.0)  # asked for again: 2.0 is the oldest now
        for _ in range(2):
            doubled(bars.close, 4.0)
        assert memo.held == held_by(memo) == 3 * size
        calls.clear()
        for by in (1.0, 3.0, 4.0):
            doubled(bars.close, by)
        assert calls == []
        doubled(bars.close, 2.0)
        assert calls == [(2.0, 0.0)]


def test_result_larger_than_the_limit_is_not_kept(bars: q.Bars) -> None:
    doubled, calls = calls_of()
    with sharing(Memo(*roots(bars), limit=bars.close.nbytes - 1)):
        for _ in range(3):
            assert doubled(bars.close).flags.writeable
        assert sharing_module._here.memo.held == 0
    assert len(calls) == 3


def test_no_limit_shares_nothing(bars: q.Bars) -> None:
    with sharing(Memo(*roots(bars), limit=MUCH)):
        outer = indicators.sma(bars.close, 5), indicators.sma(bars.close, 5)
        with sharing(None):
            assert indicators.sma(bars.close, 5).flags.writeable
        assert indicators.sma(bars.close, 5) is outer[1]


def test_memory_of_the_memo_is_given_back(bars: q.Bars) -> None:
    with sharing(Memo(*roots(bars), limit=MUCH)):
        indicators.sma(bars.close, 5)
        kept = indicators.sma(bars.close, 5)
    assert indicators.sma(bars.close, 5) is not kept
    assert getattr(sharing_module._here, "memo", None) is None


# ---------------------------------------------------------------- ids that come again
def test_arrays_that_come_and_go_are_never_mixed_up(bars: q.Bars) -> None:
    """Python gives an id again as soon as its object is gone; thousands of arrays of one size make sure of it."""
    rng = np.random.default_rng(11)
    ids: set[int] = set()
    reused = 0
    with sharing(Memo(*roots(bars), limit=4 * bars.close.nbytes)):
        for n in range(3000):
            period = int(rng.integers(2, 12))
            first = indicators.sma(
                bars.close, period
            )  # kept, dropped and made again, as there is room for four
            second = indicators.ema(first, int(rng.integers(2, 5)))
            own = rng.normal(size=len(bars)) + n  # nobody knows it: computed each time
            reused += id(own) in ids
            ids.add(id(own))
            assert indicators.sma(own, 3)[2] == pytest.approx(np.mean(own[:3]), rel=1e-9)
            if n % 50 == 0:
                with sharing(None):
                    plain = indicators.sma(bars.close, period)
                    assert first.tobytes() == plain.tobytes()
                    row = np.flatnonzero(~np.isnan(second))[-1]
                    assert any(second[row] == indicators.ema(plain, k)[row] for k in range(2, 5))
            if n % 500 == 0:
                gc.collect()
    assert reused > 100


def test_one_array_in_two_results(bars: q.Bars) -> None:
    """An indicator that hands on another's array: when one of the two is dropped, the other stays known."""

    @shared
    def handed_on(values: Any, n: int) -> Any:
        return indicators.sma(values, n)

    @shared
    def more(values: Any, by: float) -> Any:
        return values * by

    with sharing(Memo(*roots(bars), limit=3 * bars.close.nbytes)):
        for n in (3, 4, 5, 3, 6, 7, 3):
            for _ in range(4):
                found = handed_on(bars.close, n)
                assert np.array_equal(more(found, 2.0), found * 2.0, equal_nan=True)
        memo = sharing_module._here.memo
        assert memo.held <= memo.limit


def test_a_root_that_is_handed_on_stays_known(bars: q.Bars) -> None:
    @shared
    def same(values: Any, n: int) -> Any:
        return values

    doubled, calls = calls_of()
    with sharing(Memo(*roots(bars), limit=2 * bars.close.nbytes)):
        for n in range(6):
            for _ in range(3):
                assert same(bars.close, n) is bars.close
        for _ in range(4):
            doubled(bars.close)
    assert len(calls) == 2


# ---------------------------------------------------------------- threads
def test_threads_share_nothing(bars: q.Bars) -> None:
    found: dict[int, Any] = {}
    both = threading.Barrier(2)

    def work(n: int) -> None:
        with sharing(Memo(*roots(bars), limit=MUCH)):
            both.wait()
            for _ in range(3):
                result = indicators.sma(bars.close, 5)
            both.wait()
            found[n] = result, sharing_module._here.memo

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0][0] is not found[1][0]
    assert found[0][0].tobytes() == found[1][0].tobytes()
    assert found[0][1] is not found[1][1]
    assert getattr(sharing_module._here, "memo", None) is None
