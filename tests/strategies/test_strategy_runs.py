"""The strategies through q.backtest: nothing to warn of, refusals with words, exits that agree with targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.errors import BarsError, ParameterError
from quant.strategy import Plan, parameters, plans, strategy

DAILY = ("macd", "rsi", "renko", "renko_macd", "macd_stochastic")
ALL = (*DAILY, "opening_range")
WITH_SHORT = ("macd", "rsi", "renko", "renko_macd", "opening_range")


def warnings_of(run: q.Run) -> list[str]:
    return [f.message for f in run.findings if f.level != "note"]


def planned(name: str, bars: q.Bars, **params: Any) -> Plan:
    cls = strategy(name)
    return plans(cls, [bars], parameters(cls, params))[0]


@pytest.mark.parametrize("name", DAILY)
def test_daily_runs_trade_without_a_warning(name: str, spy: q.Bars) -> None:
    # Costs by the share would be a warning of their own: these prices are adjusted.
    run = q.backtest(name, spy, costs="percent:0.05", save=False)
    assert len(run.fills) > 1
    assert warnings_of(run) == []


@pytest.mark.parametrize("name", ALL)
def test_intraday_runs_trade_without_a_warning(name: str, spy_minutes: q.Bars) -> None:
    run = q.backtest(name, spy_minutes, save=False)
    assert len(run.fills) > 1
    assert warnings_of(run) == []


@pytest.mark.parametrize("name", WITH_SHORT)
@pytest.mark.parametrize("short", [False, True])
def test_only_short_goes_short(name: str, short: bool, quarters: q.Bars) -> None:
    bars = quarters.resample("30m")
    run = q.backtest(name, bars, params={"short": short}, costs="none", sizing="shares:1", save=False)
    held = run.fills["quantity"].cumsum()
    assert held.max() == 1.0
    assert held.min() == (-1.0 if short else 0.0)
    assert warnings_of(run) == []


# ---------------------------------------------------------------- exits
def test_a_trailing_stop_and_its_target_agree_bar_by_bar(spy: q.Bars) -> None:
    """The account holds a position at a close exactly where the target is 1 and was so one bar before."""
    run = q.backtest("macd_stochastic", spy, costs="none", sizing="shares:1", save=False)
    assert set(run.fills["reason"]) == {"entry", "stop"}
    target = planned("macd_stochastic", spy).target
    wanted = np.append(False, (target[1:] == 1.0) & (target[:-1] == 1.0))
    filled = pd.Series(0.0, index=pd.to_datetime(spy.start, utc=True))
    filled = filled.add(run.fills.groupby("time")["quantity"].sum(), fill_value=0.0)
    np.testing.assert_array_equal(filled.cumsum() == 1.0, wanted)


def test_a_stop_without_a_price_above_zero_stays_where_it_was() -> None:
    bars = q.synthetic("X", "1d", "2018-01-01", "2018-12-31", seed=3, price=2.0, volatility=2.0)
    given = {"fast": 2, "slow": 4, "signal": 2, "stochastic": 3, "smooth": 1, "above": 0.0, "atr_period": 2}
    plan = planned("macd_stochastic", bars, **given, atr_factor=8.0)
    assert plan.stop is not None
    known = plan.stop[~np.isnan(plan.stop)]
    assert known.min() > 0.0
    assert len(np.unique(known)) < len(known), "the case must have rows without a price"
    assert np.isnan(plan.stop[plan.target == 1.0]).sum() == 0


def test_opening_range_trades_once_a_session_and_sleeps_flat(quarters: q.Bars) -> None:
    run = q.backtest("opening_range", quarters, params={"volume": 0.0}, costs="none", save=False)
    entries = run.fills[run.fills["reason"] == "entry"]
    sessions = entries["time"].dt.tz_convert("America/New_York").dt.date
    assert sessions.is_unique
    assert {pd.Timestamp("2020-11-27").date(), pd.Timestamp("2020-12-24").date()} <= set(
        sessions
    )  # half days
    assert "held-over-close" not in [f.code for f in run.findings]


def test_opening_range_is_out_five_minutes_before_the_close(spy_minutes: q.Bars) -> None:
    run = q.backtest("opening_range", spy_minutes, save=False)
    closed = run.fills.loc[run.fills["reason"] == "close", "time"].dt.tz_convert("America/New_York")
    assert set(closed.dt.strftime("%H:%M")) == {"15:55"}


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("macd", {"fast": 26, "slow": 26}),
        ("rsi", {"low": 50.0, "exit": 50.0}),
        ("rsi", {"low": 0.0}),
        ("rsi", {"exit": 100.0}),
        ("rsi", {"exit": 70.5, "short": True}),
        ("renko", {"bricks": 0}),
        ("renko_macd", {"bricks": -1}),
        ("renko_macd", {"fast": 30}),
        ("macd_stochastic", {"slow": 5}),
        ("macd_stochastic", {"atr_factor": 0.0}),
        ("opening_range", {"minutes": 0}),
        ("opening_range", {"volume": -1.0}),
        ("opening_range", {"days": 0}),
        ("opening_range", {"target": 100.0}),
        ("opening_range", {"target": 0.0}),
    ],
)
def test_senseless_combinations_are_refused(name: str, params: dict[str, Any], spy_minutes: q.Bars) -> None:
    with pytest.raises(ParameterError, match="valid refuses"):
        q.backtest(name, spy_minutes, params=params, save=False)


@pytest.mark.parametrize(
    ("name", "params", "named"),
    [
        ("macd", {"signal": 0}, "signal"),
        ("rsi", {"period": 1}, "period"),
        ("renko", {"size": 0.0}, "size"),
        ("renko", {"size": -1.0}, "size"),
        ("renko", {"reversal": 0}, "reversal"),
        ("renko", {"atr_factor": 0.0}, "factor"),
        ("renko_macd", {"slope": 1}, "period"),
        ("macd_stochastic", {"atr_period": 0}, "period"),
    ],
)
def test_values_that_no_indicator_takes_are_refused_by_name(
    name: str, params: dict[str, Any], named: str, spy: q.Bars
) -> None:
    with pytest.raises(ParameterError, match=named):
        q.backtest(name, spy, params=params, save=False)


def test_a_long_only_reversion_may_leave_late(spy: q.Bars) -> None:
    assert 1.0 in planned("rsi", spy, exit=80.0).target


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [1, 2, 20])
def test_few_bars_give_no_trade_and_no_error(name: str, n: int, spy_minutes: q.Bars) -> None:
    run = q.backtest(name, spy_minutes[:n], save=False)
    assert len(run.orders) == 0


def test_opening_range_asks_for_a_calendar(spy_minutes: q.Bars) -> None:
    bars = q.Bars.from_frame(spy_minutes.frame(), "SPY", "1m")
    with pytest.raises((ParameterError, BarsError), match="calendar"):
        q.backtest("opening_range", bars, save=False)


def test_opening_range_refuses_daily_bars(spy: q.Bars) -> None:
    with pytest.raises(ParameterError, match="intraday"):
        q.backtest("opening_range", spy, save=False)
