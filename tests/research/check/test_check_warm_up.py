"""Warm-up: lengths that follow from the definition of each indicator, and signals that never forget."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from cheats import Rule, always, close, ruled, running_sum

import quant as q
from quant.core.finding import Finding
from quant.indicators import renko
from quant.research.check.engines import job_of
from quant.research.check.result import Part
from quant.research.check.subject import Subject
from quant.research.check.warm_up import WarmUp, warm_up

BARS = q.synthetic("AAA", "1d", "2005-01-03", "2016-12-30", seed=5)  # 3,020 bars


def bricks_from_the_first_close(b: q.Bars) -> Any:
    return np.sign(renko(b, 0.07 * b.close[0]).count)


def measured(rule: Rule, bars: q.Bars = BARS, seed: int = 0) -> tuple[WarmUp, Part, list[Finding]]:
    job = job_of(ruled(rule), bars, None)
    assert job.plans is not None
    whole = Subject(job.strategy, job.params, job.bars, job.plans)
    return warm_up(whole, np.random.Generator(np.random.PCG64(seed)))


def test_signals_without_a_memory_need_no_bars() -> None:
    assert measured(always)[0] == WarmUp(0, 0)
    assert measured(lambda b: b.close > b.open)[0] == WarmUp(0, 0)


def test_lag_is_its_length() -> None:
    """The first seven differences of seven bars are missing."""
    assert measured(lambda b: close(b).diff(7))[0] == WarmUp(7, 7)


@pytest.mark.parametrize("period", [2, 20, 100])
def test_window_is_its_length_less_one(period: int) -> None:
    """Sums of whole numbers are exact, so no bits depend on the start."""
    found, part, notes = measured(lambda b: pd.Series(np.rint(b.close)).rolling(period).sum())
    assert found == WarmUp(period - 1, period - 1)
    assert (part.verdict, notes) == ("ok", [])


def test_exponential_average_forgets_by_its_rate_and_never_to_the_last_bit() -> None:
    """Two starts differ by a share of the price that falls by 1 - 2/21 a bar: ln(1e9 x share) / -ln(1 - 2/21)."""
    found, part, notes = measured(lambda b: q.Signals(np.ones(len(b)), stop=talib.EMA(b.close, 20)))
    assert found.near is not None
    least, most = (math.log(1e9 * share) / -math.log(1 - 2 / 21) for share in (1e-3, 1.0))
    assert least < found.near < most + 20
    assert found.exact is None or found.exact > found.near
    assert notes == []
    assert f"{found.near} bars to 1e-9" in part.told or f"{found.near} to 1e-9" in part.told


@pytest.mark.parametrize("rule", [running_sum, bricks_from_the_first_close], ids=lambda r: r.__name__)
def test_signal_that_never_forgets_is_a_note(rule: Rule) -> None:
    found, part, notes = measured(rule)
    assert found == WarmUp(None, None)
    assert part.verdict == "note"
    assert [(f.code, f.level) for f in notes] == [("depends-on-the-whole-history", "note")]


def test_tie_that_rounding_decides_is_told_and_does_not_count() -> None:
    """Two ways to one mean: they differ by rounding alone, and the running sums round by where they began."""

    def rule(b: q.Bars) -> Any:
        sums = np.cumsum(b.close)
        running = np.append(np.full(10, np.nan), (sums[10:] - sums[:-10]) / 10.0)
        exact = pd.Series(b.close).rolling(10).apply(math.fsum, raw=True).to_numpy() / 10.0
        return (b.volume % 50 == 0) & (running > exact)

    found, part, notes = measured(rule)
    assert found.near is not None
    assert found.near <= 20
    assert found.exact is None
    assert [(f.code, f.level) for f in notes] == [("decided-by-rounding", "note")]
    assert "but for ties" in part.told


def test_few_bars_cannot_be_measured() -> None:
    found, part, notes = measured(always, BARS[:19])
    assert (found, part.verdict, notes) == (WarmUp(None, None), "not applicable", [])


def test_warm_up_longer_than_half_of_the_bars_is_not_claimed() -> None:
    assert measured(lambda b: close(b).diff(100), BARS[:400])[0] == WarmUp(100, 100)
    assert measured(lambda b: close(b).diff(100), BARS[:200])[0] == WarmUp(None, None)


def test_signals_that_refuse_later_starts_are_not_measured() -> None:
    def whole(b: q.Bars) -> Any:
        if len(b) < len(BARS):
            raise ValueError("all or nothing")
        return np.ones(len(b))

    assert measured(whole)[1].verdict == "not applicable"
