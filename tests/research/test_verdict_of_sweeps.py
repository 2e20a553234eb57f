"""The verdict of whole sweeps: "luck" on random walks, "edge" where one was planted (issue's own criterion)."""

from __future__ import annotations

import numpy as np
import pytest

import quant as q
from quant.core.bars import Bars

GRID = dict(fast=range(3, 23, 4), slow=range(25, 65, 8), signal=range(5, 15, 3))
DAYS = 2_520


def random_walk(seed: int, memory: float) -> Bars:
    """Ten years of days whose returns are noise, or remember the day before (AR(1) with this coefficient)."""
    like = q.synthetic("WALK", "1d", "2005-01-03", "2016-12-30")[:DAYS]
    shocks = np.random.default_rng(seed).normal(0.0, 0.01, DAYS)
    returns = np.zeros(DAYS)
    for k in range(1, DAYS):
        returns[k] = memory * returns[k - 1] + shocks[k]
    close = 100.0 * np.exp(np.cumsum(returns))
    before = np.append(close[:1], close[:-1])  # each day opens where the last one closed
    prices = (before, np.maximum(before, close), np.minimum(before, close), close)
    return Bars(like.instrument, like.bar, like.start, *prices, np.zeros(DAYS))


class Remembers(q.Strategy):
    """With the sign of the last `days` days' return."""

    params = dict(days=1, short=True)

    @staticmethod
    def signals(bars: Bars, p: object) -> np.ndarray:
        target = np.full(len(bars), np.nan)
        target[p.days :] = np.sign(bars.close[p.days :] - bars.close[: -p.days])
        return target if p.short else np.maximum(target, 0.0)


@pytest.mark.parametrize("strategy", ["macd", "remembers"])
def test_random_walks_are_luck(strategy: str) -> None:
    given, grid = (
        ("macd", GRID) if strategy == "macd" else (Remembers, dict(days=range(1, 21), short=[False, True]))
    )
    words = [
        q.sweep(given, random_walk(seed, 0.0), grid, costs="none", save=False, verify=0, workers=1)
        .verdict()
        .word
        for seed in range(10)
    ]
    assert words.count("luck") >= 9, words


def test_a_planted_edge_is_found() -> None:
    grid = dict(days=range(1, 21), short=[False, True])
    for seed in range(5):
        bars = random_walk(seed, 0.25)
        sweep = q.sweep(Remembers, bars, grid, costs="percent:0.01", save=False, verify=0, workers=1)
        assert sweep.verdict().word == "edge", sweep.verdict().text
        assert sweep.best()["days"] <= 3
