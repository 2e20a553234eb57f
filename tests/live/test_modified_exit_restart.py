"""A process that ends, or is killed, around a modified exit: the next one finds it with its new price, and moves it."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import Market
from test_live_broker import CAPITAL, Log, at, doing, known
from test_live_signals import Given, backtested, expected, fills, trade
from test_modified_exit import BUY, LIMIT, STOP, Plan, pair, sent, stop, working

import quant as q
from quant.core.orders import Ticket

MOVED, ENDS = 8, 10  # bars


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    """A made-up session of five-minute bars that rises and falls by more than a percent."""
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-02", seed=4, volatility=0.6))


class Killed(BaseException):
    """What no program catches."""


class Restored(Log):
    """Takes the orders of the process before, as it is told of them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, float, str]] = []
        self.found_orders: list[bt.Order] = []

    def notify_order(self, order: bt.Order) -> None:
        super().notify_order(order)
        if (
            order.info.get("restored")
            and order.alive()
            and order.ref not in [o.ref for o in self.found_orders]
        ):
            self.found.append((order.exectype, order.created.price, order.getstatusname()))
            self.found_orders.append(order)


def then(plan: Plan) -> type[Restored]:
    return type("Then", (Restored,), {"plan": plan})


def again(low: float, high: float | None = None) -> Any:
    """Cancel what the process before left, and send a stop, or a pair."""

    def act(s: Any) -> None:
        for order in s.found_orders:
            s.cancel(order)
        first = s.sell(size=10, exectype=STOP, price=at(s, low))
        s.made.append(first)
        if high is not None:
            s.made.append(s.sell(size=10, exectype=LIMIT, price=at(s, high), oco=first))

    return act


def enter(s: Any) -> None:
    close = s.data.close[0]
    s.made += s.buy_bracket(
        size=10, exectype=bt.Order.Market, stopprice=round(close * 0.97, 2), limitprice=round(close * 1.05, 2)
    )


def ran(market: Market, plan: Plan, folder: Path, upto: int = ENDS) -> Log:
    market.start(folder)
    market.stop_after = upto
    found: Log = market.run(doing(plan))
    return found


def prices(market: Market) -> list[float | None]:
    return [t.limit if t.stop is None else t.stop for t in working(market)]


# ---------------------------------------------------------------- it ends
def test_the_next_process_finds_the_new_price_and_moves_the_same_order(
    minutes: q.Bars, tmp_path: Path
) -> None:
    market = Market(minutes)
    first = ran(market, BUY | {6: stop(0.97), MOVED: stop(0.98)}, tmp_path)
    new = first.made[-1].created.price
    before = len(market.exchange.placed)
    market.again(tmp_path)
    market.stop_after = ENDS + 5
    second = market.run(then({ENDS + 4: again(0.985)}))
    assert second.found == [(STOP, new, "Accepted")]
    (order,) = second.found_orders
    assert second.broker.orderstatus(order) == bt.Order.Canceled
    assert second.broker.orderstatus(second.made[0]) == bt.Order.Accepted
    assert len(market.exchange.placed) == before + 1  # nothing was sent for a price that stayed
    assert {n for n, _ in sent(market)} == {2}
    assert prices(market) == [second.made[0].created.price]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("bracket", [False, True])
def test_a_pair_is_tied_and_moved_again(minutes: q.Bars, tmp_path: Path, moved: bool, bracket: bool) -> None:
    begin: Plan = {3: enter} if bracket else BUY | {6: pair(0.97, 1.05)}
    market = Market(minutes)
    ran(market, begin | ({MOVED: pair(0.98, 1.04)} if moved else {}), tmp_path)
    left, before = prices(market), len(market.exchange.placed)
    market.again(tmp_path)
    market.stop_after = ENDS + 5
    second = market.run(then({ENDS + 4: again(0.985, 1.02)}))
    assert sorted(price for _, price, _ in second.found) == sorted(left)
    assert len(market.exchange.placed) == before + 2
    assert len({n for n, _ in sent(market)}) == 2
    assert sorted(prices(market)) == sorted(o.created.price for o in second.made)


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("bracket", [False, True])
def test_one_of_a_restored_pair_that_is_cancelled_ends_the_other(
    minutes: q.Bars, tmp_path: Path, moved: bool, bracket: bool
) -> None:
    """As in stock, and as before the restart."""
    begin: Plan = {3: enter} if bracket else BUY | {6: pair(0.97, 1.05)}
    market = Market(minutes)
    ran(market, begin | ({MOVED: pair(0.98, 1.04)} if moved else {}), tmp_path)
    market.again(tmp_path)
    market.stop_after = ENDS + 6
    market.run(then({ENDS + 4: lambda s: s.cancel(s.found_orders[0])}))
    assert working(market) == []
    assert market.exchange.held[11] == 10


@pytest.mark.parametrize("bracket", [False, True])
def test_what_a_restored_pair_fills_ends_the_other_and_closes_the_trade(
    minutes: q.Bars, tmp_path: Path, bracket: bool
) -> None:
    begin: Plan = {3: enter} if bracket else BUY | {6: pair(0.97, 1.05)}
    market = Market(minutes)
    ran(market, begin | {MOVED: pair(0.98, 1.04)}, tmp_path)
    market.again(tmp_path)
    second = market.run(then({ENDS + 4: again(0.9999, 1.03)}))
    assert working(market) == []
    assert market.exchange.held[11] == 0 == second.position.size
    assert [t[-1] for t in second.trades] == [True]
    assert market.desk.halted == ""


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("ends", [ENDS, ENDS + 1])
def test_a_strategy_over_a_restart_is_the_backtest_and_sends_each_price_once(
    minutes: q.Bars, tmp_path: Path, limits: bool, ends: int
) -> None:
    row = np.arange(len(minutes))
    close = minutes.close[
        row // 3 * 3
    ]  # prices stay for three bars, and the restart is among them, or between
    given: dict[str, Any] = {"wishes": {"MMM": (row >= 3).astype(float)}, "follow": True}
    given["stops"] = {"MMM": np.round(close * 0.99, 2)}
    if limits:
        given["limits"] = {"MMM": np.round(close * 1.05, 2)}
    cls = type("Followed", (Given,), given)
    run = backtested(cls, minutes)
    market = Market(minutes)
    market.exchange.wakes_children = True
    market.start(tmp_path)
    market.stop_after = ends
    trade(market, cls)
    held = market.exchange.held[11]
    assert held > 0
    market.again(tmp_path)
    market.exchange.wakes_children = True
    trade(market, cls)
    assert fills(market) == expected(run)
    assert market.broker.getcash() == pytest.approx(run.final_cash, abs=1e-6)
    by_id: dict[int, list[float | None]] = {}
    for order_id, price in sent(market):
        by_id.setdefault(order_id, []).append(price)
    assert len(by_id) == 1 + limits
    assert all(a != b for found in by_id.values() for a, b in pairwise(found))
    assert working(market) == []


def test_the_bars_of_all_its_prices_are_decided_upon(minutes: q.Bars, tmp_path: Path) -> None:
    """As those of orders that took one another's place; who asks is not to decide on them once more."""
    market = Market(minutes)
    ran(market, BUY | {6: stop(0.97), 7: stop(0.975), MOVED: stop(0.98)}, tmp_path)
    market.again(tmp_path)
    market.stop_after = ENDS + 1
    market.run(then({}))
    rows = [row for row in range(ENDS + 1) if market.broker.decided(market.feeds[0], int(minutes.end[row]))]
    assert rows == [2, 5, 6, MOVED - 1]


@pytest.mark.parametrize("restarts", [False, True])
def test_a_person_hears_of_the_stop_of_a_bracket_that_ends_unasked(
    minutes: q.Bars, tmp_path: Path, restarts: bool
) -> None:
    market = Market(minutes)
    end = ENDS + 2

    def ends(step: int) -> None:
        if step == end:
            market.exchange.end(market.exchange.orders[7, 2], "Cancelled")
            market.seconds(10)

    market.before_bar.append(ends)
    ran(market, {3: enter}, tmp_path, ENDS if restarts else ENDS + 4)
    if restarts:
        market.again(tmp_path)
        market.stop_after = ENDS + 4
        market.run(then({}))
    assert working(market) == []
    told = [alarm.text for alarm in market.broker.alarms() if alarm.bare]
    assert [text.partition(" ended")[0] for text in told] == ["MMM: +10 are held, and their stop q1:t:2"]


# ---------------------------------------------------------------- it is killed
@pytest.mark.parametrize(
    ("where", "both"),
    [("decided", False), ("decided", True), ("half", True), ("sent", False), ("sent", True)],
)
def test_killed_around_a_change_the_next_process_has_the_new_price_there(
    minutes: q.Bars, tmp_path: Path, where: str, both: bool
) -> None:
    """Decided and not sent, one of two sent, or sent and not answered: what is journalled comes true, and once."""
    move = pair(0.98, 1.04) if both else stop(0.98)
    begin = BUY | {6: pair(0.97, 1.05) if both else stop(0.97), MOVED: move}
    market = Market(minutes).start(tmp_path)
    plain = market.exchange.place
    changes: list[int] = []

    def place(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if (7, order_id) in market.exchange.orders:
            changes.append(order_id)
            last = len(changes) == 1 + (both and where != "decided")
            if where == "decided" or (last and where == "half"):
                raise Killed
            plain(order_id, ticket, parent_id)
            if last:
                raise Killed
            return
        plain(order_id, ticket, parent_id)

    market.exchange.place = place  # type: ignore[method-assign]  # the fault
    with pytest.raises(Killed):
        market.run(doing(begin))
    market.exchange.place = plain  # type: ignore[method-assign]  # the fault is over
    close = float(minutes.close[MOVED - 1])
    wanted = [round(close * share, 2) for share in ((0.98, 1.04) if both else (0.98,))]
    assert len(working(market)) == len(wanted)  # the stop is there all the time
    market.again(tmp_path)
    market.stop_after = market.live_from + 3
    seen: list[int] = []
    market.before_bar.append(lambda step: seen.append(len(working(market))))
    market.before_bar.append(lambda step: market.seconds(5))
    second = market.run(then({}))
    assert sorted(price for _, price, _ in second.found) == wanted
    assert sorted(prices(market)) == wanted
    assert set(seen) == {len(wanted)}
    assert len({n for n, _ in sent(market)}) == len(wanted)
    assert market.desk.halted == ""


def test_a_fill_that_nobody_heard_of_closes_the_trade_of_the_next_process(
    minutes: q.Bars, tmp_path: Path
) -> None:
    """Killed behind the change; the old price fills before TWS gets the new one."""
    market = Market(minutes).start(tmp_path)
    plain = market.exchange.place

    def place(order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        if (7, order_id) in market.exchange.orders:
            market.exchange.price = 99.0
            market.exchange.fill(market.exchange.orders[7, order_id], Decimal(-10))
            raise Killed
        plain(order_id, ticket, parent_id)

    market.exchange.place = place  # type: ignore[method-assign]  # the fault
    with pytest.raises(Killed):
        market.run(doing(BUY | {6: stop(0.97), MOVED: stop(0.98)}))
    market.exchange.place = plain  # type: ignore[method-assign]  # the fault is over
    market.again(tmp_path)
    market.stop_after = market.live_from + 3
    second = market.run(then({}))
    assert second.position.size == market.exchange.held[11] == 0
    assert market.desk.positions.get(11, 0) == 0
    entry = market.exchange.executions[0].price
    assert market.broker.getcash() == pytest.approx(CAPITAL + 10 * (99.0 - entry))
    assert working(market) == []
    assert market.desk.halted == ""
