"""Engine `fast`: what it covers, that it says what it does not, and that both engines agree on whole runs."""

from __future__ import annotations

from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.backtest.fast import not_covered
from quant.core.costs import costs
from quant.strategy import lookup

NO_COSTS = costs("none")


class Switch(q.Strategy):
    """Long and short in turns."""

    params = dict(every=7)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.where(np.arange(len(bars)) // p.every % 2, 1.0, -1.0)


def bars(seed: int = 1) -> q.Bars:
    return q.synthetic("X", "1d", "2018-01-01", "2020-12-31", seed=seed)


@pytest.mark.parametrize("name", lookup.names(lookup.template() / lookup.FOLDER))
def test_our_strategies_are_covered(name: str) -> None:
    cls = lookup.strategy(name, lookup.template() / lookup.FOLDER)
    assert not_covered(cls, NO_COSTS, None) is None


def overriding(name: str) -> type[q.Strategy]:
    return type("Own", (Switch,), {name: lambda self, *args: None})


@pytest.mark.parametrize(
    "name",
    [
        "__init__",
        "next",
        "prenext",
        "nextstart",
        "start",
        "stop",
        "entry_size",
        "notify_order",
        "notify_trade",
    ],
)
def test_with_what_a_strategy_does_itself_every_bar_is_visited(name: str) -> None:
    assert name in str(not_covered(overriding(name), NO_COSTS, None))


@pytest.mark.parametrize(
    ("strategy", "own", "borrow"),
    [
        (bt.Strategy, NO_COSTS, None),
        (Switch, bt.CommissionInfo(commission=0.001), None),
        (Switch, NO_COSTS, 0.03),
    ],
)
def test_what_is_not_covered_is_named(strategy: type, own: Any, borrow: float | None) -> None:
    assert not_covered(strategy, own, borrow) is not None


class Timed(bt.Strategy):
    """Uses a timer, which only stock's loop serves."""

    def __init__(self) -> None:
        self.add_timer(when=bt.timer.SESSION_END)

    def next(self) -> None:
        if len(self) % 20 == 5:
            self.buy(size=10)
        elif len(self) % 20 == 15:
            self.close()


class Untimed(Timed):
    """The same without it."""

    def __init__(self) -> None:
        pass


def test_the_run_says_that_it_fell_back() -> None:
    run = q.backtest(Timed, bars(), save=False)
    assert "stock backtrader: a timer is in use" in str(run)
    assert run.settings["fell_back"] == "a timer is in use"
    assert "stock backtrader" not in str(q.backtest(Untimed, bars(), save=False))


@pytest.mark.parametrize("strategy", [Timed, Untimed])
def test_a_plain_strategy_gives_the_same_run_through_both_engines(strategy: type[bt.Strategy]) -> None:
    feeds = [bars(1), q.synthetic("Y", "1d", "2018-06-01", "2020-06-30", seed=2)]
    runs = [q.backtest(strategy, feeds, engine=e, borrow=0.02, save=False) for e in ("plain", "fast")]
    assert q.compare(*runs).same
    assert runs[0].equity.equals(runs[1].equity)
    assert len(runs[0].fills) > 50


def test_signals_with_borrow_and_a_size_of_their_own() -> None:
    class Sized(Switch):
        def entry_size(self, data: Any, target: float, equity: float, close: float, stop: float) -> int:
            return len(data) % 50 + 1

    runs = [q.backtest(Sized, bars(), engine=e, borrow=0.05, save=False) for e in ("plain", "fast")]
    assert q.compare(*runs).same
    assert runs[0].equity.equals(runs[1].equity)
    assert runs[0].trades["borrow"].sum() > 0


@pytest.mark.parametrize(
    "settings", [{}, {"slippage": "ticks:2"}, {"costs": lambda n, price: 0.5}, {"sizing": "cash:5000"}]
)
def test_both_engines_give_the_same_run(settings: dict[str, Any]) -> None:
    feeds = [bars(1), q.synthetic("Y", "1d", "2018-06-01", "2020-06-30", seed=2)]
    runs = [q.backtest(Switch, feeds, engine=e, save=False, **settings) for e in ("plain", "fast")]
    found = q.compare(*runs)
    assert found.same
    assert list(found.settings) == ["engine"]
    assert runs[1].settings["fell_back"] is None
    assert runs[0].equity.equals(runs[1].equity)


def test_a_strategy_that_wants_nothing() -> None:
    class Nothing(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.full(len(bars), np.nan)

    run = q.backtest(Nothing, bars(), save=False)
    assert run.final_value == 100_000.0
    assert len(run.equity) == len(bars())
