"""What our strategies draw: an array a bar, of bars so far, and the lines that their signals follow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.strategy import defaults, strategy
from quant.strategy.lookup import names

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "strategies"
BAR = {"macd_stochastic": "15m", "opening_range": "5m"}


def of(name: str) -> tuple[Any, q.Bars, Any]:
    cls = strategy(name, FOLDER)
    data = ROOT / "data"
    bars = q.bars("SPY", "1m", data=data).resample(BAR[name]) if name in BAR else q.bars("SPY", data=data)
    return cls, bars, SimpleNamespace(**defaults(cls))


@pytest.mark.parametrize("name", names(FOLDER))
def test_every_line_has_a_value_a_bar_and_none_knows_the_future(name: str) -> None:
    cls, bars, p = of(name)
    whole, part = cls.plots(bars, p), cls.plots(bars[:200], p)
    assert whole
    for pane, lines in whole.items():
        for line, values in lines.items():
            array = np.asarray(values, dtype=float)
            assert array.shape == (len(bars),)
            assert np.isfinite(array).any()
            np.testing.assert_allclose(array[:200], np.asarray(part[pane][line], dtype=float), rtol=1e-12)


def test_macd_is_long_where_its_line_is_above_its_signal() -> None:
    cls, bars, p = of("macd")
    lines = cls.plots(bars, p)["MACD"]
    known = ~np.isnan(lines["signal"])
    np.testing.assert_array_equal(
        (lines["line"] > lines["signal"])[known], cls.signals(bars, p)[known] == 1.0
    )


def test_rsi_is_bought_below_the_level_that_is_drawn() -> None:
    cls, bars, p = of("rsi")
    lines, target = cls.plots(bars, p)["RSI"], np.asarray(cls.signals(bars, p))
    assert (target[lines["RSI"] < lines["buy below"]] == 1.0).all()
    assert (target[lines["RSI"] > lines["leave above"]] == 0.0).all()


def test_the_opening_range_is_the_stop_of_its_trades() -> None:
    cls, bars, p = of("opening_range")
    sides, signals = cls.plots(bars, p)["price"], cls.signals(bars, p)
    stop = np.asarray(signals.stop)
    entry = ~np.isnan(stop)
    assert entry.any()
    long = np.asarray(signals.target)[entry] > 0
    np.testing.assert_array_equal(
        stop[entry],
        np.where(long, np.asarray(sides["range low"])[entry], np.asarray(sides["range high"])[entry]),
    )
