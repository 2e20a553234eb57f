"""What a Run holds: invariants of DESIGN §5.7 on real runs, tables, indexes, text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import quant as q
from quant.core.finding import Finding

START = 100_000.0
ORDERS = {"order": "int64", "time": "datetime64[ns, UTC]", "symbol": "str", "kind": "str", "quantity": "float64",
          "price": "float64", "limit_price": "float64", "status": "str", "reason": "str"}  # fmt: skip
FILLS = {"time": "datetime64[ns, UTC]", "symbol": "str", "quantity": "float64", "price": "float64",
         "commission": "float64", "order": "int64", "reason": "str", "slippage": "float64",
         "ambiguous": "bool"}  # fmt: skip
TRADES = {"symbol": "str", "quantity": "float64", "entry_time": "datetime64[ns, UTC]",
          "exit_time": "datetime64[ns, UTC]", "entry_price": "float64", "exit_price": "float64", "pnl": "float64",
          "commission": "float64", "return": "float64", "bars": "Int64", "reason": "str", "open": "bool",
          "borrow": "float64"}  # fmt: skip
METRICS = [
    "total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown",
    "max_drawdown_days", "exposure", "turnover", "trades", "win_rate", "profit_factor", "avg_trade",
    "best_trade", "worst_trade", "sqn", "commission", "slippage", "rejected", "buy_hold_return",
    "final_value", "final_cash",
]  # fmt: skip


class Swing(q.Strategy):
    """Long or short by the change over `n` bars; flat for a while in between."""

    params = dict(n=4, exits=False, flat=17)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        before = np.concatenate([np.full(p.n, np.nan), bars.close[: -p.n]])[: len(bars)]
        target = np.where(np.isnan(before), np.nan, np.sign(bars.close - before))
        target[np.arange(len(bars)) % p.flat == 0] = 0.0
        if not p.exits:
            return target
        side = np.where(target > 0, 1.0, -1.0)
        return q.Signals(
            target, bars.close * (1 - 0.01 * side), bars.close * (1 + 0.015 * side), follow_stop=True
        )


class Plain(bt.Strategy):  # type: ignore[misc]
    """Brackets, partial fills, a reversal in one order and a Close order: what our own strategies never send."""

    def __init__(self) -> None:
        self.broker.set_filler(bt.broker.fillers.FixedSize(size=9))

    def next(self) -> None:
        n, c = len(self), self.data.close[0]
        if n % 30 == 2:
            self.buy_bracket(size=20, exectype=bt.Order.Market, stopprice=c * 0.97, limitprice=c * 1.03)
        if n % 30 == 14 and self.position:
            self.sell(size=2 * abs(self.position.size))
        if n % 30 == 22:
            self.close(exectype=bt.Order.Close)


class Stops(bt.Strategy):  # type: ignore[misc]
    """Ends its run early, holding."""

    def next(self) -> None:
        if len(self) == 9:
            self.buy(size=10)
        if len(self) == 20:
            self.env.runstop()


class ShortCloses(bt.Strategy):  # type: ignore[misc]
    """Covers with Close orders, which backtrader books a bar late, after one more charge of borrow."""

    def next(self) -> None:
        if len(self) % 12 == 2:
            self.sell(size=40)
        if len(self) % 12 == 8:
            self.close(exectype=bt.Order.Close)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "costs": (Swing, {"costs": "ib-fixed"}),
    "everything": (Swing, {"costs": "ib-tiered", "slippage": "percent:0.05", "borrow": 0.08}),
    "exits": (
        Swing,
        {"params": {"exits": True}, "slippage": "ticks:2", "borrow": 0.08, "costs": "percent:0.1"},
    ),
    "risk": (Swing, {"params": {"exits": True}, "sizing": "risk:1", "borrow": 0.03}),
    "held at the end": (Swing, {"params": {"flat": 1000}, "borrow": 0.05}),
    "plain": (Plain, {"costs": "ib-fixed", "slippage": "percent:0.02"}),
    "close orders and borrow": (ShortCloses, {"costs": "none", "borrow": 0.2}),
    "stopped early": (Stops, {"costs": "ib-fixed"}),
}


@pytest.mark.parametrize("feeds", ["daily", "hourly", "minutes", "two", "mixed"])
@pytest.mark.parametrize("case", CASES)
def test_the_sums_agree(case: str, feeds: str, request: pytest.FixtureRequest) -> None:
    get: Callable[[str], q.Bars] = request.getfixturevalue
    bars = {"two": lambda: [get("daily"), get("other")], "mixed": lambda: [get("hourly"), get("other")[:30]]}
    given = bars[feeds]() if feeds in bars else get(feeds)
    strategy, kwargs = CASES[case]
    run = q.backtest(strategy, given, cash=START, save=False, **kwargs)
    assert len(run.fills) > 0
    # Returns multiply up to the account, trades add up to it.
    assert math.isclose(float(np.prod(1.0 + run.returns)), run.final_value / START, rel_tol=1e-12)
    assert math.isclose(run.trades["pnl"].sum(), run.final_value - START, abs_tol=0.005)
    # Cash is what the fills and the borrow left; the account is cash and what is held at its last close.
    spent = (run.fills["quantity"] * run.fills["price"] + run.fills["commission"]).sum()
    assert math.isclose(run.final_cash, START - spent - run.trades["borrow"].sum(), abs_tol=0.005)
    assert run.final_value == run.equity.iloc[-1]
    assert run.final_cash == run.cash.iloc[-1]
    held = run.fills.groupby("symbol")["quantity"].sum()
    position = run.position if isinstance(run.position, dict) else dict.fromkeys(held.index, run.position)
    for symbol, units in held.items():
        assert position[str(symbol)] == units
    assert run.metrics["commission"] == pytest.approx(run.fills["commission"].sum())
    assert run.metrics["slippage"] == pytest.approx(
        (run.fills["quantity"].abs() * run.fills["slippage"]).sum()
    )
    assert run.metrics["trades"] == (~run.trades["open"]).sum()
    assert run.metrics["total_return"] == pytest.approx(run.final_value / START - 1.0)


@pytest.mark.parametrize("case", ["everything", "exits", "plain", "held at the end"])
def test_tables_keep_their_columns_and_types(case: str, daily: q.Bars) -> None:
    strategy, kwargs = CASES[case]
    for given in (daily, daily[:1]):  # of one bar nothing fills
        run = q.backtest(strategy, given, save=False, **kwargs)
        assert {k: str(v) for k, v in run.orders.dtypes.items()} == ORDERS
        assert {k: str(v) for k, v in run.fills.dtypes.items()} == FILLS
        assert {k: str(v) for k, v in run.trades.dtypes.items()} == TRADES
    assert list(run.metrics) == METRICS


def test_indexes(daily: q.Bars, hourly: q.Bars) -> None:
    for bars in (daily, hourly):
        run = q.backtest(Swing, bars, save=False)
        assert run.equity.index.tolist() == [pd.Timestamp(int(e), tz="UTC") for e in bars.end]
        assert run.cash.index.equals(run.equity.index)
        assert run.returns.index.tz is None
        assert run.returns.index.tolist() == [pd.Timestamp(d) for d in np.unique(bars.session)]


def test_fills_carry_the_start_of_their_bar_and_its_open(hourly: q.Bars) -> None:
    run = q.backtest(Swing, hourly, costs="none", save=False)
    opens = dict(zip(hourly.start.tolist(), hourly.open.tolist(), strict=True))
    assert [opens[t.value] for t in run.fills["time"]] == run.fills["price"].tolist()
    ends = dict(zip(hourly.end.tolist(), hourly.start.tolist(), strict=True))
    assert {t.value for t in run.orders["time"]} <= set(ends)


def test_a_close_order_that_is_booked_a_bar_late_keeps_the_bar_whose_close_it_got(hourly: q.Bars) -> None:
    """backtrader notices the session's last bar with the first one of the next session."""

    class Closes(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            if len(self) % 70 == 10:  # an hour within a session
                self.buy(size=1, exectype=bt.Order.Close)

    run = q.backtest(Closes, hourly, costs="none", save=False)
    row = [hourly.start.tolist().index(t.value) for t in run.fills["time"]]
    assert hourly.close[row].tolist() == run.fills["price"].tolist()
    assert (hourly.minutes_to_close[row] == 0).all()
    assert len(row) == 4


def test_a_year_has_the_periods_of_the_finest_feed(daily: q.Bars) -> None:
    run = q.backtest(Swing, [daily.resample("1w"), daily], costs="none", save=False)
    spread = float(np.std(run.returns, ddof=1))
    assert run.metrics["volatility"] == pytest.approx(spread * math.sqrt(daily.periods_per_year))


def test_fill_prices_are_the_execution_bits(daily: q.Bars) -> None:
    """order.executed.price loses last bits: (0 + size * p) / size."""
    run = q.backtest(Swing, daily, costs="none", sizing="shares:7", save=False)
    assert set(run.fills["price"]) <= set(daily.open.tolist())


def test_position_is_a_number_or_a_dict(daily: q.Bars, other: q.Bars) -> None:
    assert isinstance(q.backtest(Swing, daily, save=False).position, float)
    both = q.backtest(Swing, [daily, other], save=False).position
    assert isinstance(both, dict)
    assert list(both) == ["AAA", "BBB"]


def test_a_run_that_was_stopped_early_ends_there(daily: q.Bars) -> None:
    run = q.backtest(Stops, daily, costs="none", save=False)
    assert len(run.equity) == len(run.returns) == 20
    assert run.metrics["buy_hold_return"] == daily.close[19] / daily.close[0] - 1.0
    (trade,) = run.trades.itertuples()
    assert trade.exit_price == daily.close[19]
    assert trade.open


@pytest.mark.parametrize("closes", [True, False])
def test_interest_of_an_own_scheme_is_in_the_trades_too(closes: bool, daily: q.Bars) -> None:
    class Short(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            if len(self) == 5:
                self.sell(size=100)
            if len(self) == 100 and closes:
                self.close()

    scheme = bt.CommissionInfo(commission=0.001, interest=0.2)
    run = q.backtest(Short, daily, costs=scheme, save=False)
    assert math.isclose(run.trades["pnl"].sum(), run.final_value - START, abs_tol=0.005)


def test_borrow_is_in_the_open_trade_too(daily: q.Bars) -> None:
    class Short(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return -np.ones(len(bars))

    run = q.backtest(Short, daily, costs="none", borrow=0.365, sizing="shares:10", save=False)
    (trade,) = run.trades.itertuples()
    days = (daily.session[-1] - daily.session[1]).astype(int)
    # backtrader charges by calendar days on the entry price: 10 units x 0.1 % a day.
    assert trade.borrow == pytest.approx(days * 10 * trade.entry_price * 0.001)
    assert trade.open


def test_exposure_counts_shorts_and_any_feed(daily: q.Bars, other: q.Bars) -> None:
    class Sides(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            row = np.arange(len(bars))
            return np.where(row < 100, -1.0, 0.0) if bars.symbol == "AAA" else np.where(row < 150, 0.0, 1.0)

    run = q.backtest(Sides, daily, costs="none", sizing="shares:1", save=False)
    assert run.metrics["exposure"] == 100 / 253  # held at the ends of bars 1 to 100
    run = q.backtest(Sides, [daily, other], costs="none", sizing="shares:1", save=False)
    assert run.metrics["exposure"] == (100 + 102) / 253  # and of 151 to 252


# ---------------------------------------------------------------- text
SHAPE = r"""Swing n=4 exits=False flat=17
AAA 1d · 2020-01-02 … 2020-12-31 · 253 bars · SYNTHETIC
ib-fixed · percent:95\.0 · slippage none · cash 100,000
  return +N%   CAGR +N%   buy & hold +N%
  Sharpe +N   Sortino +N   volatility +N%
  max drawdown +N%   longest +N d   Calmar +N
  trades +N \(\+1 open\)   won +N%   profit factor +N
  avg trade +N   best +N   worst +N
  exposure +N%   turnover +Nx/y   rejected +N
  commission +N   slippage +N   final value +N
  look-ahead  none seen \(signals recomputed on a few prefixes\)
  note +ib-fixed rates are those of [-\d]+; earlier bars use them too
  note +orders decided on the last bar are open at the end \(2x\)
  note +shorts are held without a borrow rate; give borrow="""


def test_the_printed_table_has_its_shape(daily: q.Bars) -> None:
    run = q.backtest(Swing, daily, save=False)
    number = r"[-+]?[\d,]+(?:\.\d+)?"
    shape = SHAPE.replace("   ", " +").replace(" +N", f" +{number}")
    assert re.fullmatch(shape, repr(run)), repr(run)
    assert max(map(len, repr(run).split("\n"))) <= 110
    assert str(run) == repr(run)


def test_html_escapes_what_people_wrote(daily: q.Bars) -> None:
    class Free(q.Strategy):
        params = dict(text="<script>")

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.ones(len(bars))

    run = q.backtest(Free, daily, save=False)
    run.findings.append(Finding("x", "<b>bold</b> & more"))
    page = run._repr_html_()
    assert "<script>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more" in page
    assert "buy &amp; hold" in page


def test_ambitious_runs_print_their_findings(daily: q.Bars) -> None:
    run = q.backtest(Swing, daily, sizing="percent:500", costs="none", borrow=0.0, save=False)
    assert "warning     orders rejected for lack of cash" in repr(run)


def test_a_cheat_is_printed(daily: q.Bars) -> None:
    class Cheat(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.sign(np.append(np.diff(bars.close), np.nan))

    run = q.backtest(Cheat, daily, save=False)
    assert "look-ahead  FOUND, see below" in repr(run)
    assert run.settings["look_ahead_ok"] is False
    plain = q.backtest(Plain, daily, save=False)
    assert plain.settings["look_ahead_ok"] is None
    assert "look-ahead" not in repr(plain)
