"""What q.backtest refuses, and that the message says what, with which value, and how to mend it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.errors import BarsError, ParameterError, SignalsError, StrategyError


class Long(q.Strategy):
    params = dict(n=5, wide=1.5, short=False, mode="a", free=None)

    @staticmethod
    def valid(p: Any) -> bool:
        return p.n < 100

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return np.ones(len(bars))


class Idle(bt.Strategy):  # type: ignore[misc]
    pass


def of(bars: q.Bars, **instrument: Any) -> q.Bars:
    return replace(bars, instrument=replace(bars.instrument, **instrument))


def refused(message: str, *args: Any, error: type[Exception] = ParameterError, **kwargs: Any) -> None:
    with pytest.raises(error, match=message):
        q.backtest(*args, save=False, **kwargs)


# ---------------------------------------------------------------- arguments
@pytest.mark.parametrize("cash", [0, -1, math.nan, math.inf, "1000", None, True])
def test_cash(cash: Any, daily: q.Bars) -> None:
    refused("cash = .*must be a number above 0", Long, daily, cash=cash)


@pytest.mark.parametrize("cash", [1000, np.int64(1000), np.float32(1000)])
def test_cash_may_be_any_number(cash: Any, daily: q.Bars) -> None:
    run = q.backtest(Idle, daily, cash=cash, costs="none", save=False)
    assert run.final_value == 1000.0
    assert type(run.settings["cash"]) is float


@pytest.mark.parametrize("borrow", [-0.01, math.nan, math.inf, 10, 300, "3%", True, ""])
def test_borrow(borrow: Any, daily: q.Bars) -> None:
    refused("borrow = .*yearly rate", Long, daily, borrow=borrow)


def test_borrow_beside_an_own_scheme(daily: q.Bars) -> None:
    refused("borrow = 0.1.*interest=", Long, daily, borrow=0.1, costs=bt.CommInfoBase())


@pytest.mark.parametrize("sizing", ["", "percent", "percent:", "percent:x", "percent:nan", "percent:-5", "percent:0",
                                    "percent:inf", "shares", "lots:5", 95, True, "95", " percent:95"])  # fmt: skip
def test_sizing(sizing: Any, daily: q.Bars) -> None:
    refused("sizing = ", Long, daily, sizing=sizing)


@pytest.mark.parametrize("sizing", ["percent:95", "cash:1000", "risk:1", "shares:1.5", "shares:0.5"])
def test_a_plain_strategy_takes_a_fixed_stake_only(sizing: str, daily: q.Bars) -> None:
    refused("sizing = .*only shares:N", Idle, daily, sizing=sizing)


@pytest.mark.parametrize(
    "slippage", ["", "percent", "percent:-1", "percent:nan", "ticks:x", "spread:1", 0.01, True]
)
def test_slippage(slippage: Any, daily: q.Bars) -> None:
    refused("slippage = ", Long, daily, slippage=slippage)


@pytest.mark.parametrize("engine", ["fast", "plain", "compiled"])
def test_ticks_need_a_known_tick_in_the_same_words(engine: str, daily: q.Bars) -> None:
    told = (
        "needs one known tick for all feeds; they have .*None.*Give the instruments a tick, or use percent:x"
    )
    refused(told, Long, of(daily, tick=None), slippage="ticks:1", engine=engine)


def test_ticks_need_one_tick_of_all_feeds(daily: q.Bars, other: q.Bars) -> None:
    refused("one known tick", Long, [daily, of(other, tick=0.05)], slippage="ticks:1")


@pytest.mark.parametrize("costs", ["", None, math.nan, True, 0.05, "percent", "percent:x", "percent:-1", "percent:nan",
                                   "ib", "ib-fixed:2", "none:1"])  # fmt: skip
def test_costs(costs: Any, daily: q.Bars) -> None:
    refused("costs = ", Long, daily, costs=costs)


def test_a_cost_function_that_fails_is_named_and_not_the_strategy(daily: q.Bars) -> None:
    refused(r"costs = .*raised ZeroDivisionError for \d+ at", Long, daily, costs=lambda size, price: 1 / 0)
    refused("costs = nan.*gave no number", Long, daily, costs=lambda size, price: math.nan)
    refused("costs = .*CommInfoBase.*raised TypeError", Long, daily, costs=bt.CommInfoBase)


@pytest.mark.parametrize("engine", ["", None, "fast-ish", "Plain", 1])
def test_engine(engine: Any, daily: q.Bars) -> None:
    refused("engine = .*there is ", Long, daily, engine=engine)


@pytest.mark.parametrize("rule", ["", None, "first", 1, ["first-target"]])
def test_start_rule(rule: Any, daily: q.Bars) -> None:
    refused("start_rule = .*first-target, next-change", Long, daily, start_rule=rule)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fats": 3}, "fats = 3: Long has no such parameter; it has n, wide, short, mode, free"),
        ({"n": "3"}, "n = '3': must be int"),
        ({"n": 3.5}, "n = 3.5: must be int"),
        ({"n": True}, "n = True: must be int"),
        ({"n": math.nan}, "n = nan: must be int"),
        ({"n": None}, "n = None: must be int"),
        ({"wide": math.inf}, "wide = inf: must be float"),
        ({"wide": "1"}, "wide = '1': must be float"),
        ({"short": 1}, "short = 1: must be bool"),
        ({"mode": 2}, "mode = 2: must be str"),
        ({"n": 100}, "params = .n=100, .*Long.valid refuses"),
        ([("n", 3)], "params = .*must be a dict"),
        ("n=3", "params = .*must be a dict"),
    ],
)
def test_params(given: Any, message: str, daily: q.Bars) -> None:
    refused(message, Long, daily, params=given)


def test_numpy_and_whole_floats_are_taken_as_the_defaults_type(daily: q.Bars) -> None:
    given = {"n": np.int64(7), "wide": 2, "short": np.bool_(True), "free": [1]}
    run = q.backtest(Long, daily, params=given, save=False)
    assert run.settings["params"] == {"n": 7, "wide": 2.0, "short": True, "mode": "a", "free": [1]}
    assert [type(v) for v in run.settings["params"].values()][:3] == [int, float, bool]
    assert q.backtest(Long, daily, params={"n": 7.0}, save=False).settings["params"]["n"] == 7


# ---------------------------------------------------------------- bars
@pytest.mark.parametrize("given", [None, 5, "SPY", {"A": 1}, object(), [1], ["SPY"]])
def test_bars_that_are_none(given: Any) -> None:
    refused(r'bars = .*must be Bars: q.bars\("SPY"\)', Long, given)


def test_a_frame_instead_of_bars(daily: q.Bars) -> None:
    refused("bars = 'DataFrame'.*from_frame", Long, daily.frame())
    refused("bars = 'DataFrame'.*from_frame", Long, [daily.frame()])


def test_no_bars(daily: q.Bars) -> None:
    refused("at least one Bars", Long, [])
    refused("AAA: there are no bars", Long, daily[:0], error=BarsError)
    refused("BBB: there are no bars", Long, [daily, of(daily, symbol="BBB")[:0]], error=BarsError)


def test_the_same_bars_twice(daily: q.Bars) -> None:
    refused("AAA 1d.*given twice", Long, [daily, daily])
    refused("AAA 1d.*given twice", Idle, [daily, daily])


def test_two_currencies(daily: q.Bars, other: q.Bars) -> None:
    refused(r"bars = \['EUR', 'USD'\].*exchange rates", Long, [daily, of(other, currency="EUR")])


def test_an_unknown_market_has_no_table(daily: q.Bars) -> None:
    refused("market = 'CHF'.*percent:x", Long, of(daily, currency="CHF"))
    assert q.backtest(Long, of(daily, currency="CHF"), costs="percent:0.1", save=False).final_value > 0


def test_a_table_for_stocks_is_for_stocks(daily: q.Bars) -> None:
    refused("costs = 'ib-fixed'.*AAA is FUT", Long, of(daily, sec_type="FUT"))


@pytest.mark.parametrize("costs", ["ib-fixed", "none", "percent:0.1"])
def test_a_multiplier_other_than_one_needs_an_own_scheme(costs: str, daily: q.Bars) -> None:
    refused("AAA has multiplier 50; .*CommissionInfo", Long, of(daily, multiplier=50.0), costs=costs)


@pytest.mark.parametrize("sizing", [None, "percent:50", "cash:1000", "risk:1"])
def test_no_size_follows_from_a_price_of_zero_or_below(sizing: str | None, daily: q.Bars) -> None:
    low = replace(
        daily,
        low=np.where(np.arange(253) == 7, -1.0, daily.low),
        close=np.where(np.arange(253) == 7, 0.0, daily.close),
    )
    refused("AAA closes at 0.0 at bar 7.*shares:N", Long, low, sizing=sizing)
    assert len(q.backtest(Long, low, sizing="shares:1", costs="none", save=False).fills) == 1


def test_risk_without_any_stop_would_be_a_run_without_trades(daily: q.Bars) -> None:
    refused("sizing = 'risk:1.0'.*Long gives none", Long, daily, sizing="risk:1")

    class Stopless(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return q.Signals(np.ones(len(bars)), stop=np.full(len(bars), np.nan))

    refused("Stopless gives none", Stopless, daily, sizing="risk:1")


# ---------------------------------------------------------------- session rules
def with_session(**session: Any) -> type[q.Strategy]:
    return type("Ruled", (Long,), {"session": session})


def test_session_rules_need_a_calendar_and_flat_needs_intraday_bars(daily: q.Bars, hourly: q.Bars) -> None:
    without = replace(hourly, instrument=q.Instrument("HHH", timezone="America/New_York"))
    refused("HHH has no calendar", with_session(no_entry_last="30m"), without)
    refused("needs intraday bars, AAA has 1d", with_session(flat_before_close="5m"), daily)


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ({"no_entry": "5m"}, "no such rule"),
        ({"no_entry_last": "5 minutes and a bit"}, "duration"),
        ({"no_entry_last": True}, "duration"),
        ({"no_entry_last": -1}, "duration"),
        ({"no_entry_last": math.nan}, "duration"),
        ({"flat_before_close": 0}, "above 0"),
        ({"flat_before_close": ""}, "duration"),
    ],
)
def test_session_rules_that_make_no_sense(session: Any, message: str, hourly: q.Bars) -> None:
    refused(message, with_session(**session), hourly)


# ---------------------------------------------------------------- what signals return
def giving(value: Any) -> type[q.Strategy]:
    class Gives(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return value(bars) if callable(value) else value

    return Gives


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda b: None, "returned nothing"),
        (lambda b: 1.0, r"shape \(\) for 253 bars"),
        (lambda b: np.ones(252), "252 values for 253 bars of AAA"),
        (lambda b: np.ones((253, 1)), r"shape \(253, 1\)"),
        (lambda b: ["long"] * 253, "not numbers"),
        (lambda b: np.where(np.arange(len(b)) == 9, np.inf, 1.0), "infinite at bar 9; use NaN"),
        (lambda b: np.where(np.arange(len(b)) == 9, -np.inf, 1.0), "infinite at bar 9"),
        (lambda b: q.Signals(np.ones(len(b)), stop=np.zeros(len(b))), "stop is 0.0 at bar 0"),
        (lambda b: q.Signals(np.ones(len(b)), limit=np.full(len(b), -3.0)), "limit is -3.0 at bar 0"),
        (lambda b: q.Signals(np.ones(len(b)), stop=np.full(len(b), np.inf)), "stop is inf at bar 0"),
        (lambda b: q.Signals(np.ones(len(b)), stop=np.ones(3)), "stop has 3 values"),
        (lambda b: q.Signals(np.ones(len(b)), follow_stop=True), "neither stop nor limit"),
    ],
)  # fmt: skip
def test_signals_that_break_the_contract(value: Any, message: str, daily: q.Bars) -> None:
    refused(message, giving(value), daily, error=SignalsError)


@pytest.mark.parametrize(
    ("target", "bar"), [([1, 2, 2], 1), ([1, math.nan, 0.5], 2), ([-1, -1, -2], 2), ([0, 1, 1.5], 2)]
)
def test_with_exits_a_size_may_not_change_within_one_sign(target: Any, bar: int, daily: q.Bars) -> None:
    three = daily[:3]
    refused(f"at bar {bar} while exits", giving(q.Signals(target, stop=[1.0] * 3)), three, error=SignalsError)
    q.backtest(giving(np.array(target)), three, save=False)  # without exits it may
    for free in ([1, 0, 2], [1, -2, 2], [1, math.nan, 1]):
        q.backtest(giving(q.Signals(free, stop=[1.0] * 3)), three, sizing="shares:1", save=False)


def test_nan_everywhere_and_nan_first_are_no_opinion(daily: q.Bars) -> None:
    run = q.backtest(giving(lambda b: np.full(len(b), np.nan)), daily, save=False)
    assert run.orders.empty
    assert run.final_value == 100_000.0
    assert math.isnan(run.metrics["sharpe"])
    assert math.isnan(run.metrics["win_rate"])
    assert "-" in repr(run)


# ---------------------------------------------------------------- strategies that fail
def test_signals_that_raise_and_a_class_without_signals(daily: q.Bars) -> None:
    def fails(bars: q.Bars) -> Any:
        raise KeyError("colour")

    refused("strategy Gives: signals raised KeyError: 'colour'", giving(fails), daily, error=StrategyError)
    refused("neither signals.* nor signals_all", type("Empty", (q.Strategy,), {}), daily, error=StrategyError)


def test_next_that_raises_names_the_bar_and_saves_nothing(daily: q.Bars, tmp_path: Path) -> None:
    class Fails(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            if len(self) == 12:
                raise ValueError("thirteen")

    with pytest.raises(StrategyError, match="Fails: raised ValueError: thirteen at AAA bar 11") as caught:
        q.backtest(Fails, daily, data=tmp_path)
    assert isinstance(caught.value.__cause__, ValueError)
    assert list(tmp_path.iterdir()) == []


def test_init_that_raises_or_skips(daily: q.Bars) -> None:
    class Fails(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            raise ValueError("no")

    class Skips(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            raise bt.errors.StrategySkipError

    refused("Fails: raised ValueError: no$", Fails, daily, error=StrategyError)
    refused("Skips: skipped itself", Skips, daily, error=StrategyError)


def test_an_init_of_its_own_must_pass_the_decisions_on(daily: q.Bars) -> None:
    class Forgets(Long):
        def __init__(self) -> None:
            super().__init__()

    class Passes(Long):
        def __init__(self, decisions: Any) -> None:
            super().__init__(decisions)
            self.mine = 1

    class Forwards(Long):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)

    refused(r"super\(\).__init__\(decisions\)", Forgets, daily, error=StrategyError)
    for cls in (Passes, Forwards):
        assert len(q.backtest(cls, daily, save=False).fills) == 1


@pytest.mark.parametrize("size", [-5, -1])
def test_a_size_of_its_own_is_without_sign(size: int, daily: q.Bars) -> None:
    class Sized(Long):
        def entry_size(self, data: Any, target: float, equity: float, close: float, stop: float) -> int:
            return size

    refused(f"entry_size gave {size} for AAA", Sized, daily, error=StrategyError)


def test_stock_cerebro_cannot_run_a_targets_strategy(daily: q.Bars) -> None:
    cerebro = bt.Cerebro()
    cerebro.adddata(q.feed(daily))
    cerebro.addstrategy(Long)
    with pytest.raises(StrategyError, match=r"runs through q\.backtest"):
        cerebro.run()
