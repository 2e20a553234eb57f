"""What is made of rows that grow has the bits of what is made of all of them at once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from quant.core import growing
from quant.core.growing import Floats, Grown, of_growing
from quant.core.synthetic import synthetic
from quant.indicators import course, slope
from quant.promotion import rehearse

PERIOD = 5


def rows(seed: int, n: int = 300) -> Floats:
    rng = np.random.default_rng(seed)
    made = np.round(np.cumsum(rng.normal(0.0, 1.0, n)), 1)  # some windows are flat
    made[: rng.integers(0, 40)] = np.nan
    made[rng.integers(0, n, 5)] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], 5)
    return made


def sums(seen: list[int]) -> Any:
    """Return a function that adds up three rows, and notes how many it was given."""

    def function(values: Floats) -> Floats:
        seen.append(len(values))
        with np.errstate(invalid="ignore"):
            return np.convolve(values, np.ones(3))[: len(values)]

    return function


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_grow_give_the_bits_of_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, period, grown = rows(seed), int(rng.integers(2, 30)), Grown()
    n = int(rng.integers(0, 60))
    while n < len(values):
        whole = slope(values[:n], period)
        with growing.growing(grown):
            assert slope(values[:n], period).tobytes() == whole.tobytes(), n
        n += int(rng.integers(0, 9))


def test_past_the_room_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "ROOM", 7)
    values, grown = rows(3), Grown()
    for n in range(50, 300, 3):
        with growing.growing(grown):
            assert slope(values[:n], PERIOD).tobytes() == slope(values[:n].copy(), PERIOD).tobytes()
        assert grown.call(
            ("slope", PERIOD), values[:n], PERIOD, lambda _: pytest.fail("made anew")
        ).tobytes() == (slope(values[:n], PERIOD).tobytes())


def test_only_new_rows_are_made_and_as_many_before_as_they_reach() -> None:
    seen: list[int] = []
    grown, function, values = Grown(), sums(seen), np.arange(100.0)
    for n in (50, 51, 51, 60):
        whole = grown.call((), values[:n], 3, function)
        assert whole.tolist() == [values[max(i - 2, 0) : i + 1].sum() for i in range(n)]
    assert seen == [50, 3, 11]


@pytest.mark.parametrize("row", [0, 20, 49])
def test_other_rows_are_made_anew(row: int) -> None:
    """A history that was loaded again may differ anywhere; 0 and -0 differ too."""
    seen: list[int] = []
    grown, function, values = Grown(), sums(seen), np.zeros(60)
    grown.call((), values[:50], 3, function)
    values[row] = -0.0
    grown.call((), values[:51], 3, function)
    grown.call((), values[:30], 3, function)
    assert seen == [50, 51, 30]


def test_another_key_is_another_result() -> None:
    values, grown = rows(1), Grown()
    with growing.growing(grown):
        for n in (200, 201, 202):
            found = [slope(values[:n], period) for period in (4, 5, 6)]
    assert [f.tobytes() for f in found] == [slope(values[:202], period).tobytes() for period in (4, 5, 6)]


def test_what_a_caller_writes_into_its_arrays_stays_there() -> None:
    values, grown = rows(2), Grown()
    for n in (200, 201, 202, 202):
        mine = values[:n].copy()
        with growing.growing(grown):
            found = slope(mine, PERIOD)
        assert found.tobytes() == slope(values[:n], PERIOD).tobytes()
        mine[:] = found[:] = 7.0


def test_what_was_not_asked_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "ROOM", 0)
    monkeypatch.setattr(growing, "LIMIT", 3 * 2 * 8 * 100)
    seen: list[int] = []
    grown, function = Grown(), sums(seen)
    many = [np.arange(100.0) + i for i in range(4)]
    for values in (*many[:3], many[0], many[3], many[0], many[1]):
        grown.call((), values, 3, function)
    assert len(seen) == 5  # the second had to go


def test_nothing_is_kept_outside_the_block_or_in_another_thread() -> None:
    seen: list[int] = []
    function, values = sums(seen), np.arange(60.0)

    def call(n: int) -> None:
        of_growing((), values[:n], 3, function)

    call(50)
    with growing.growing(Grown()):
        call(50)
        call(51)
        other = threading.Thread(target=call, args=(52,))
        other.start()
        other.join()
        with growing.growing(Grown()):
            call(53)
        call(54)
    call(55)
    assert seen == [50, 50, 3, 52, 53, 5, 55]


def test_live_makes_slopes_of_new_bars_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And trades as the backtest, which makes them of all bars at once."""
    seen: list[int] = []
    made = course._slope

    def counted(period: int, values: Floats) -> Floats:
        seen.append(len(values))
        return made(period, values)

    monkeypatch.setattr(course, "_slope", counted)
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-04", price=400.0, seed=4)[:150]
    found = rehearse("renko_macd", bars, params={"atr_period": 10}, start_rule="first-target")
    assert found.equal, str(found)
    assert found.fills[1] > 0
    live = [n for n in seen if n < len(bars)]
    assert len(live) > len(bars)
    assert sum(n > PERIOD for n in live) <= 4, live  # the lines are one another's, until the first number
