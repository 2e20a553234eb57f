"""What was decided stays decided: every prefix of the bars gives the same bits, stops and limits included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quant as q
from quant.strategy import parameters, plans, strategy

QUICK = {"fast": 3, "slow": 8, "signal": 4}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("macd", dict(QUICK, short=True)),
    ("rsi", {"period": 3, "short": True}),
    ("renko", {"atr_period": 5, "atr_factor": 0.5, "short": True}),
    ("renko", {"size": 0.25, "reversal": 1}),
    ("renko_macd", dict(QUICK, atr_period=5, atr_factor=0.5, bricks=1)),
    ("macd_stochastic", dict(QUICK, stochastic=5, atr_period=5)),
    ("opening_range", {"minutes": 15, "volume": 0.5, "days": 2, "target": 0.5}),
    ("opening_range", {"minutes": 30, "volume": 0.0, "short": False}),
]


@pytest.mark.parametrize(("name", "params"), CASES)
def test_every_prefix_gives_the_same_bits(name: str, params: dict[str, Any], quarters: q.Bars) -> None:
    bars = quarters[:240]  # nine sessions, the eighth of 3.5 hours
    cls = strategy(name)
    full = parameters(cls, params)
    whole = plans(cls, [bars], full)[0]
    assert len(np.unique(whole.target[~np.isnan(whole.target)])) > 1
    for n in range(1, len(bars)):
        part = plans(cls, [bars[:n]], full)[0]
        for column in ("target", "stop", "limit"):
            wanted, got = getattr(whole, column), getattr(part, column)
            assert (wanted is None) == (got is None)
            if wanted is not None:
                assert got.tobytes() == wanted[:n].tobytes(), f"{column} of the first {n} bars"


@pytest.mark.parametrize(("name", "params"), CASES)
def test_bars_passed_in_stay_as_they_were(name: str, params: dict[str, Any], quarters: q.Bars) -> None:
    before = quarters.fingerprint
    cls = strategy(name)
    plans(cls, [quarters], parameters(cls, params))
    del quarters.__dict__["fingerprint"]
    assert quarters.fingerprint == before
