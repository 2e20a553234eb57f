"""q.Strategy through LiveBroker: the same fills as q.backtest, and what may trade late or after a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bar_exchange import CAPITAL, Market

import quant as q
from quant.errors import ParameterError
from quant.live.signals import LivePlans, live_decisions
from quant.strategy import parameters, strategy

FIELDS = ["symbol", "quantity", "price"]


def known(bars: q.Bars, con_id: int = 11) -> q.Bars:
    return replace(bars, instrument=replace(bars.instrument, con_id=con_id, tick=0.01))


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    """Three made-up sessions of five-minute bars of New York."""
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-06", seed=4, volatility=0.6))


@pytest.fixture(scope="session")
def others() -> q.Bars:
    """The same sessions, another symbol."""
    return known(q.synthetic("OOO", "5m", "2020-01-02", "2020-01-06", seed=5, volatility=0.6), 12)


class Given(q.Strategy):
    """Wants what `wishes` says, by row; exits where they are given."""

    wishes: dict[str, np.ndarray[Any, Any]] = {}
    stops: dict[str, np.ndarray[Any, Any]] = {}
    limits: dict[str, np.ndarray[Any, Any]] = {}
    follow = False

    @classmethod
    def signals(cls, bars: q.Bars, p: Any) -> q.Signals:  # type: ignore[override]  # a class method may stand in
        n, s = len(bars), bars.symbol
        stop, limit = (None if s not in given else given[s][:n] for given in (cls.stops, cls.limits))
        return q.Signals(cls.wishes[s][:n], stop, limit, cls.follow)


def trade(
    market: Market, cls: type[q.Strategy], *, began: int = 0, start_rule: Any = "first-target", **params: Any
) -> Any:
    found = parameters(cls, params)
    decisions = live_decisions(
        cls, found, market.feeds, began=began, now=lambda: market.now, start_rule=start_rule
    )
    return market.run(cls, decisions=decisions, **found)


def fills(market: Market) -> list[tuple[str, float, float]]:
    return [(e.symbol, float(e.quantity), e.price) for e in market.exchange.executions]


def backtested(cls: Any, *bars: q.Bars, **params: Any) -> q.Run:
    return q.backtest(cls, list(bars), params=params, cash=CAPITAL, costs="none", save=False)


def expected(run: q.Run) -> list[tuple[str, float, float]]:
    return [tuple(row) for row in run.fills[FIELDS].itertuples(index=False)]


def late(strategy_: Any) -> list[float]:
    refresh = strategy_._decisions.refresh
    assert isinstance(refresh, LivePlans)
    return [late.target for late in refresh.late]


# ---------------------------------------------------------------- the same as a backtest
@pytest.mark.parametrize("short", [False, True])
def test_macd_trades_as_in_a_backtest(minutes: q.Bars, tmp_path: Path, short: bool) -> None:
    market = Market(minutes).start(tmp_path)
    cls = strategy("macd")
    trade(market, cls, short=short)
    run = backtested("macd", minutes, short=short)
    assert len(run.fills) > 10
    assert fills(market) == expected(run)
    assert market.broker.getvalue() == pytest.approx(run.final_value, abs=1e-6)
    assert market.broker.getcash() == pytest.approx(run.final_cash, abs=1e-6)


def test_two_feeds_share_the_account_as_in_a_backtest(
    minutes: q.Bars, others: q.Bars, tmp_path: Path
) -> None:
    market = Market(minutes, others).start(tmp_path)
    trade(market, strategy("macd"))
    run = backtested("macd", minutes, others)
    assert sorted(fills(market)) == sorted(expected(run))
    assert market.broker.getvalue() == pytest.approx(run.final_value, abs=1e-6)


@pytest.mark.parametrize("follow", [False, True])
def test_exits_are_children_and_follow(minutes: q.Bars, tmp_path: Path, follow: bool) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.wakes_children = True  # as at IB, and as our broker has it in backtests
    cls = exits(minutes, follow)
    trade(market, cls)
    run = backtested(cls, minutes)
    assert len(run.fills) > 10
    assert fills(market) == expected(run)
    ids = [order_id for order_id, _ in market.exchange.placed]
    assert any(ticket.parent for _, ticket in market.exchange.placed)
    assert (len(ids) > len(set(ids))) is follow  # moved where they lie


def exits(bars: q.Bars, follow: bool, width: float = 0.002) -> type[Given]:
    n = len(bars)
    wants = np.where(np.arange(n) // 9 % 2 == 0, 1.0, 0.0)
    # On the tick, so that the exchange's prices are the backtest's.
    stop, limit = np.round(bars.close * (1 - width), 2), np.round(bars.close * (1 + 1.5 * width), 2)
    given = dict(wishes={"MMM": wants}, stops={"MMM": stop}, limits={"MMM": limit}, follow=follow)
    return type("Exits", (Given,), given)


# ---------------------------------------------------------------- what may trade
def wanting(bars: q.Bars, changes: dict[int, float]) -> type[Given]:
    """A strategy whose target changes at rows."""
    wants = np.full(len(bars), np.nan)
    for row, target in changes.items():
        wants[row] = target
    return type("Wanting", (Given,), dict(wishes={bars.symbol: wants}))


def test_history_trades_nothing_and_the_first_number_is_remembered(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes, live_from=20).start(tmp_path)
    cls = wanting(minutes, {3: 1.0, 15: 0.0, 25: 1.0, 30: 0.0, 35: 1.0})
    ran = trade(market, cls, began=int(minutes.end[19]), start_rule="next-change")
    # 25 is the first number that the deployment sees: remembered. 30 is a change, but nothing is held.
    assert [e.time for e in market.exchange.executions] == [minutes.times.begin[36]]
    assert late(ran) == []


def test_a_missed_entry_is_late_and_never_made(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes, live_from=5).start(tmp_path)
    ran = trade(market, wanting(minutes, {3: 1.0, 8: np.nan}), began=int(minutes.end[1]))
    assert market.exchange.placed == []
    assert late(ran) == [1.0]


def test_a_bar_that_comes_a_bar_late_is_not_traded(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.delays[8] = minutes.bar.ns
    ran = trade(market, wanting(minutes, {8: 1.0, 12: 0.0, 16: 1.0}))
    assert [e.time for e in market.exchange.executions] == [minutes.times.begin[17]]
    assert late(ran) == [1.0]


def test_a_missed_exit_is_made_at_the_next_bar_that_can_be_traded(minutes: q.Bars, tmp_path: Path) -> None:
    cls = wanting(minutes, {3: 1.0, 8: 0.0, 20: 1.0})
    market = Market(minutes).start(tmp_path)
    market.stop_after = 5
    trade(market, cls, began=int(minutes.end[0]))
    assert len(market.exchange.executions) == 1
    market.step = 10  # it is down for some bars
    market.now = int(minutes.end[10])
    market.again(tmp_path)
    ran = trade(market, cls, began=int(minutes.end[0]))
    times = [e.time for e in market.exchange.executions]
    assert times == [minutes.times.begin[row] for row in (4, 12, 21)]
    assert late(ran) == [1.0, 0.0]  # the first was traded by the first process


def test_a_restart_goes_on_without_a_second_entry(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 40
    trade(market, strategy("macd"), began=0)
    market.again(tmp_path)
    trade(market, strategy("macd"), began=0)
    assert fills(market) == expected(backtested("macd", minutes))


def test_exits_of_before_a_restart_are_taken_up(minutes: q.Bars, tmp_path: Path) -> None:
    cls = exits(minutes, follow=True, width=0.006)
    sent: list[Any] = []
    held: list[int] = []

    def note(step: int) -> None:
        if len(market.broker.get_orders_open()) == 2 and market.desk.positions:
            held.append(step - 1)

    for name in ("whole", "broken"):
        market = Market(minutes).start(tmp_path / name)
        market.exchange.wakes_children = True
        stops = held[:: max(1, len(held) // 5)]
        if name == "whole":
            market.before_bar.append(note)
        for stop in stops:
            market.stop_after = stop
            trade(market, cls)
            market.again(tmp_path / name)
        trade(market, cls)
        assert fills(market) == expected(backtested(cls, minutes))
        sent.append([(t.quantity, t.kind, t.limit, t.stop) for _, t in market.exchange.placed])
    assert len(stops) > 3
    assert sent[0] == sent[1]


def test_an_exit_that_was_rejected_is_sent_again(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    turned_down: list[str] = []

    def reject(ticket: Any) -> tuple[int, str] | None:
        if ticket.quantity < 0 and len(turned_down) < 2:
            turned_down.append(ticket.ref)
            return 201, "Order rejected - reason: try again"
        return None

    market.exchange.reject = reject  # type: ignore[method-assign]
    trade(market, wanting(minutes, {3: 1.0, 8: 0.0}))
    assert len(turned_down) == 2
    assert [e.time for e in market.exchange.executions] == [minutes.times.begin[4], minutes.times.begin[11]]


def test_two_feeds_of_one_instrument_are_refused(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes, minutes).start(tmp_path)
    with pytest.raises(ParameterError, match="share one position"):
        trade(market, strategy("macd"))
