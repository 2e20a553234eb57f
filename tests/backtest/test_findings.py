"""Each finding of DESIGN §5.5 and §5.4, provoked, and absent from a run that gives no reason for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.core.barsize import bar_size


def codes(run: q.Run) -> dict[str, int]:
    return {f.code: f.count for f in run.findings}


def run_of(act: Any, bars: Any, **kwargs: Any) -> q.Run:
    class Acts(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            act(self, len(self))

    return q.backtest(Acts, bars, **{"costs": "none", "save": False, **kwargs})


def targets(values: Any, **exits: Any) -> type[q.Strategy]:
    """A strategy of ours with this target, cut to the bars that there are."""

    class Given(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            n = len(bars)
            return q.Signals(
                np.asarray(values, float)[:n], **{k: np.asarray(v)[:n] for k, v in exits.items()}
            )

    return Given


def bars_of(rows: list[tuple[float, float, float, float]], **instrument: Any) -> q.Bars:
    start = np.array([np.datetime64("2021-01-04", "D") + np.timedelta64(i, "D") for i in range(len(rows))])
    columns = (np.array(c, float) for c in zip(*rows, strict=True))
    return q.Bars(
        q.Instrument("TTT", **instrument), bar_size("1d"), start.astype("datetime64[ns]").view(np.int64),
        *columns, np.zeros(len(rows)),
    )  # fmt: skip


def test_a_plain_run_without_reasons_has_no_findings(daily: q.Bars) -> None:
    def act(s: Any, n: int) -> None:
        if n % 20 == 3:
            s.buy(size=10)
        if n % 20 == 12:
            s.close()

    assert codes(run_of(act, daily)) == {}


def test_a_targets_run_without_reasons_has_no_findings(daily: q.Bars) -> None:
    wish = np.where(np.arange(253) % 20 < 10, 1.0, 0.0)
    assert codes(q.backtest(targets(wish), daily, costs="none", save=False)) == {}


@pytest.mark.parametrize("valid", [0, 2.0, 5, np.int64(5), True])
def test_numeric_valid(valid: Any, daily: q.Bars) -> None:
    def act(s: Any, n: int) -> None:
        if n in (3, 9):
            s.buy(size=1, exectype=bt.Order.Limit, price=1.0, valid=valid)

    assert codes(run_of(act, daily))["numeric-valid"] == 2


def test_a_date_or_a_span_is_no_numeric_valid(daily: q.Bars) -> None:
    from datetime import date, timedelta

    def act(s: Any, n: int) -> None:
        if n == 3:
            s.buy(size=1, exectype=bt.Order.Limit, price=1.0, valid=timedelta(days=3))
            s.buy(size=1, exectype=bt.Order.Limit, price=1.0, valid=date(2020, 6, 1))
            s.buy(size=1, exectype=bt.Order.Limit, price=1.0, valid=bt.Order.DAY)

    run = run_of(act, daily)
    assert codes(run) == {}
    # backtrader's rule: the day's order expires with it, the dated one after its date.
    assert run.orders["status"].tolist() == ["expired"] * 3


def test_a_parameter_called_p(daily: q.Bars) -> None:
    class Shorthand(bt.Strategy):  # type: ignore[misc]
        params = (("p", 1),)

    assert codes(q.backtest(Shorthand, daily, costs="none", save=False)) == {"parameter-p": 1}


def test_names_that_hide_backtraders_own(daily: q.Bars) -> None:
    class Hides(bt.Strategy):  # type: ignore[misc]
        def position(self) -> None:
            pass

        def buy_signal(self) -> None:
            pass

        def notify_order(self, order: Any) -> None:
            pass

    run = q.backtest(Hides, daily, costs="none", save=False)
    assert [f.message for f in run.findings] == ["Hides.position hides backtrader's own Strategy.position"]


def test_an_order_on_the_last_bar_is_open(daily: q.Bars) -> None:
    def act(s: Any, n: int) -> None:
        if n == 253:
            s.buy(size=1)

    run = run_of(act, daily)
    assert codes(run) == {"open-at-the-end": 1}
    assert run.orders["status"].tolist() == ["open"]
    assert run.fills.empty
    wish = np.append(np.zeros(252), 1.0)
    assert codes(q.backtest(targets(wish), daily, costs="none", save=False)) == {"open-at-the-end": 1}


def test_an_order_on_the_last_bar_of_a_feed_that_ends_early_is_open(daily: q.Bars, other: q.Bars) -> None:
    early = other[:100]

    class Late(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.where(np.arange(len(bars)) == 99, 1.0, 0.0)

    run = q.backtest(Late, [daily, early], sizing="shares:1", costs="none", save=False)
    assert codes(run) == {"open-at-the-end": 1}
    assert run.position == {"AAA": 0.0, "BBB": 0.0}


def test_rejected_orders_are_counted_and_printed(daily: q.Bars) -> None:
    def act(s: Any, n: int) -> None:
        if n in (3, 9):
            s.buy(size=1_000_000)

    run = run_of(act, daily)
    assert codes(run) == {"rejected-orders": 2}
    assert run.metrics["rejected"] == 2
    assert "rejected" in repr(run)


def test_bars_outside_their_session_are_noted(minutes: q.Bars) -> None:
    start = np.append(minutes.start[:390], minutes.start[389] + 60_000_000_000)  # one that starts at 16:00
    columns = {
        c: np.append(getattr(minutes, c)[:390], minutes.close[389])
        for c in ("open", "high", "low", "close", "volume")
    }
    longer = replace(minutes, start=start, **columns)
    found = codes(run_of(lambda s, n: None, longer))
    assert found == {"bars-outside-session": 1}
    # Of extended hours one expects them.
    assert codes(run_of(lambda s, n: None, replace(longer, rth=False))) == {}


# ---------------------------------------------------------------- exits
def test_entry_bar_touches_of_a_plain_strategy() -> None:
    # Bought at 100 at bar 1, whose low of 95 reaches the stop of 97; stock sees it from bar 2 on.
    rows = [
        (100.0, 101.0, 99.0, 100.0),
        (100.0, 101.0, 95.0, 99.0),
        (99.0, 100.0, 98.0, 99.0),
        (99.0, 99.5, 98.5, 99.0),
    ]

    def bracket(**kwargs: Any) -> Any:
        def act(s: Any, n: int) -> None:
            if n == 1:
                s.buy_bracket(size=1, exectype=bt.Order.Market, limitprice=120.0, **kwargs)

        return act

    run = run_of(bracket(stopprice=97.0), bars_of(rows))
    assert codes(run) == {"entry-bar-touches": 1}
    assert len(run.fills) == 1  # stock's behaviour stands
    assert codes(run_of(bracket(stopprice=94.0), bars_of(rows))) == {}
    stop_limit = {"stopprice": 97.0, "stopexec": bt.Order.StopLimit, "stopargs": {"plimit": 96.0}}
    assert codes(run_of(bracket(**stop_limit), bars_of(rows))) == {"entry-bar-touches": 1}
    assert codes(run_of(bracket(stopprice=94.0, stopargs={"price": 94.0}), bars_of(rows))) == {}


def test_ours_fills_on_the_entry_bar_without_that_finding() -> None:
    rows = [(100.0, 101.0, 99.0, 100.0), (100.0, 101.0, 95.0, 99.0), (99.0, 100.0, 98.0, 99.0)]
    run = q.backtest(
        targets([1.0] * 3, stop=[97.0] * 3), bars_of(rows), costs="none", sizing="shares:1", save=False
    )
    assert codes(run) == {}
    assert run.fills["price"].tolist() == [100.0, 97.0]
    assert run.fills["time"].nunique() == 1


def test_ambiguous_exits_show_both_outcomes() -> None:
    # Entered at 100 at bar 1; its range 94 ... 106 holds the stop 97 and the limit 104.
    rows = [(100.0, 101.0, 99.0, 100.0), (100.0, 106.0, 94.0, 99.0), (99.0, 100.0, 98.0, 99.0)]
    given = targets([1.0] * 3, stop=[97.0] * 3, limit=[104.0] * 3)
    run = q.backtest(given, bars_of(rows), costs="none", sizing="shares:1", save=False)
    (found,) = run.findings
    assert found.code == "ambiguous-exits"
    assert run.final_value == 100_000 - 3  # the stop first
    assert "99,997.00, limit first 100,004.00" in found.message
    assert run.fills["ambiguous"].tolist() == [False, True]


def test_an_exit_on_the_wrong_side_of_its_entry() -> None:
    # Decided at 100 with a stop of 97, but the next open is 95.
    rows = [(100.0, 101.0, 99.0, 100.0), (95.0, 96.0, 94.0, 95.0), (95.0, 96.0, 94.0, 95.0)]
    given = targets([1.0] * 3, stop=[97.0] * 3)
    run = q.backtest(given, bars_of(rows), costs="none", sizing="shares:1", save=False)
    assert codes(run) == {"exit-on-wrong-side": 1}
    assert run.fills["price"].tolist() == [95.0, 95.0]


def test_exits_that_the_open_reaches_both_fill_the_stop() -> None:
    # Stop above and limit below the open of 100: both are on the wrong side, and one of them must fill.
    rows = [(100.0, 101.0, 99.0, 100.0)] * 3
    given = targets([1.0] * 3, stop=[105.0] * 3, limit=[95.0] * 3)
    run = q.backtest(given, bars_of(rows), costs="none", sizing="shares:1", save=False)
    assert codes(run) == {"exit-on-wrong-side": 1}
    assert run.fills["reason"].tolist() == ["entry", "stop"]
    assert run.fills["price"].tolist() == [100.0, 100.0]


def test_exits_that_wait_with_their_entry_are_not_counted_as_open(daily: q.Bars) -> None:
    wish = np.append(np.zeros(252), 1.0)
    given = targets(wish, stop=daily.close * 0.9, limit=daily.close * 1.1)
    assert codes(q.backtest(given, daily, costs="none", save=False)) == {"open-at-the-end": 1}


def test_slippage_counts_from_the_open_where_a_gap_has_passed_the_price() -> None:
    # Bought at 100 x 1.01; the open of 105 lies beyond the limit of 103, so it fills at 105 x 0.99 = 103.95.
    rows = [(100.0, 101.0, 99.0, 100.0), (100.0, 101.0, 99.0, 100.0), (105.0, 106.0, 99.0, 104.0)]
    given = targets([1.0] * 3, limit=[103.0] * 3)
    run = q.backtest(
        given, bars_of(rows), costs="none", sizing="shares:1", slippage="percent:1", cash=1e4, save=False
    )
    assert run.fills["price"].tolist() == pytest.approx([101.0, 103.95])
    assert run.fills["slippage"].tolist() == pytest.approx([1.0, 1.05])


# ---------------------------------------------------------------- costs
@pytest.mark.parametrize(("costs", "billed"), [("ib-fixed", 2), ("percent:0.05", 0), ("none", 0)])
def test_reversals_in_one_order_are_billed_in_parts(costs: str, billed: int, daily: q.Bars) -> None:
    def act(s: Any, n: int) -> None:
        if n == 3:
            s.buy(size=10)
        if n in (20, 40):
            s.order_target_size(target=-s.position.size)

    found = codes(run_of(act, daily, costs=costs))
    assert found.get("minimum-billed-in-parts", 0) == billed


def test_partial_fills_are_billed_in_parts(daily: q.Bars) -> None:
    class Partial(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.broker.set_filler(bt.broker.fillers.FixedSize(size=4))

        def next(self) -> None:
            if len(self) == 3:
                self.buy(size=10)

    run = q.backtest(Partial, daily, costs="ib-fixed", save=False)
    assert run.fills["quantity"].tolist() == [4.0, 4.0, 2.0]
    assert run.fills["commission"].tolist() == [1.0, 1.0, 1.0]
    assert codes(run)["minimum-billed-in-parts"] == 2


def test_two_crossings_within_one_bar_are_both_counted() -> None:
    rows = [(100.0, 101.0, 99.0, 100.0)] * 5

    def act(s: Any, n: int) -> None:
        if n == 1:
            s.buy(size=10)
        if n == 2:
            s.sell(size=15)
            s.buy(size=10)

    found = codes(run_of(act, bars_of(rows), costs="ib-fixed"))
    assert found["minimum-billed-in-parts"] == 2


def test_our_own_reversal_is_two_orders(daily: q.Bars) -> None:
    wish = np.where(np.arange(253) % 20 < 10, 1.0, -1.0)
    run = q.backtest(targets(wish), daily, costs="ib-fixed", borrow=0.01, save=False)
    assert set(codes(run)) == {"costs-before-table"}


def test_costs_by_the_share_on_adjusted_prices(daily: q.Bars) -> None:
    def nothing(s: Any, n: int) -> None:
        pass

    for adjusted, wanted in (("splits", 1), ("all", 1), ("none", 0)):
        found = codes(run_of(nothing, replace(daily, adjusted=adjusted), costs="ib-fixed"))
        assert found.get("per-share-costs-on-adjusted-prices", 0) == wanted
    assert codes(run_of(nothing, replace(daily, adjusted="all"), costs="percent:0.1")) == {}


def test_costs_before_a_tables_first_date(daily: q.Bars) -> None:
    def nothing(s: Any, n: int) -> None:
        pass

    assert codes(run_of(nothing, daily, costs="ib-fixed")) == {"costs-before-table": 1}
    later = q.synthetic("AAA", "1d", "2027-01-04", "2027-02-26")
    assert codes(run_of(nothing, later, costs="ib-fixed")) == {}


@pytest.mark.parametrize(
    ("wish", "borrow", "wanted"), [(-1.0, None, 1), (-1.0, 0.0, 0), (-1.0, 0.05, 0), (1.0, None, 0)]
)
def test_shorts_without_a_borrow_rate(wish: float, borrow: float | None, wanted: int, daily: q.Bars) -> None:
    run = q.backtest(targets(np.full(253, wish)), daily, costs="none", borrow=borrow, save=False)
    assert codes(run).get("shorts-without-borrow", 0) == wanted


# ---------------------------------------------------------------- session rules
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_position_over_the_close_despite_the_rule(side: float) -> None:
    bars = q.synthetic("AAA", "30m", "2020-01-02", "2020-01-07", seed=1)

    class FlatAtNight(q.Strategy):
        session = dict(flat_before_close="5m")

        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.full(len(bars), side)

    whole = q.backtest(FlatAtNight, bars, costs="none", sizing="shares:1", borrow=0.0, save=False)
    assert codes(whole) == {}
    # Without each day's last two bars nobody knew at 15:00 that there would be no later one.
    row = np.arange(len(bars)) % 13
    keep = row < 11
    columns = {c: getattr(bars, c)[keep] for c in ("start", "open", "high", "low", "close", "volume")}
    gaps = q.backtest(
        FlatAtNight, replace(bars, **columns), costs="none", sizing="shares:1", borrow=0.0, save=False
    )
    assert codes(gaps) == {"held-over-close": 3}
