"""`last` and `held` of the strategies: the bits of a walk over the bars, whatever is said and how often."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from quant.strategy import strategy

RNG = np.random.default_rng(8)


def of(name: str, function: str) -> Any:
    return getattr(sys.modules[strategy(name).__module__], function)


def said(n: int) -> list[Any]:
    """Where something is said: never, always, from a bar on, up to a bar, and here and there."""
    rows, cut = np.arange(n), int(RNG.integers(0, n + 1))
    some = [RNG.random(n) < share for share in (0.02, 0.5, 0.98)]
    return [rows < 0, rows >= 0, rows >= cut, rows < cut, *some]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 60])
@pytest.mark.parametrize("before", [np.nan, 0.0, -2.5])
def test_last_is_the_last_value_that_held(n: int, before: float) -> None:
    last = of("macd_stochastic", "last")
    odd = RNG.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5], n)
    for _ in range(20):
        for holds in said(n):
            for values in (RNG.normal(size=n), odd, RNG.random(n) < 0.5):
                value, walked = before, []
                for own, known in zip(values.tolist(), holds.tolist(), strict=True):
                    value = own if known else value
                    walked.append(value)
                found = last(values, holds, before)
                assert found.dtype == np.float64
                assert found.tobytes() == np.array(walked, dtype=np.float64).tobytes()
                assert not np.shares_memory(found, values)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 60])
def test_held_from_an_entry_until_it_is_left(n: int) -> None:
    held = of("renko_macd", "held")
    for _ in range(20):
        for enter in said(n):
            for leave in said(n):  # where both are said, it is an entry
                state, walked = 0.0, []
                for comes, goes in zip(enter.tolist(), leave.tolist(), strict=True):
                    state = 1.0 if comes else 0.0 if goes else state
                    walked.append(state)
                found = held(enter, leave)
                assert found.dtype == np.float64
                assert found.tobytes() == np.array(walked, dtype=np.float64).tobytes()
