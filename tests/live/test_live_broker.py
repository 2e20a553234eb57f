"""LiveBroker against backtrader's own broker on the same bars, over an order desk and an exchange in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from bar_exchange import CAPITAL, WIDE, Market

import quant as q
from quant.backtest.broker import commission
from quant.backtest.feed import feed
from quant.core.costs import costs as costs_of
from quant.core.orders import Kind
from quant.live.moments import is_loading
from quant.live.orders.around import prices
from quant.live.orders.dispatch import Dispatch
from quant.oms.book import book
from quant.oms.desk.setup import Link, Surroundings
from quant.oms.reconcile.outcome import Policy, Start

Event = tuple[Any, ...]


@pytest.fixture(scope="session")
def minutes() -> q.Bars:
    """A made-up session of five-minute bars of New York."""
    return known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-03", seed=4, volatility=0.6))


def known(bars: q.Bars, con_id: int = 11) -> q.Bars:
    return replace(bars, instrument=replace(bars.instrument, con_id=con_id, tick=0.01))


class Log(bt.Strategy):  # type: ignore[misc]
    """Writes down what it is told; `plan` says what to do at which bar."""

    plan: dict[int, Callable[[Any], Any]] = {}

    def __init__(self) -> None:
        self.orders: list[Event] = []
        self.trades: list[Event] = []
        self.money: list[Event] = []
        self.made: list[bt.Order] = []
        self.first = 0

    def notify_order(self, order: bt.Order) -> None:
        self.first = self.first or order.ref
        e = order.executed
        bits = [(b.size, b.price, b.closed, b.opened) for b in e.iterpending()]
        name = order.ref - self.first
        self.orders.append((len(self), name, order.getstatusname(), e.size, round(e.price, 9), bits))

    def notify_trade(self, trade: bt.Trade) -> None:
        told = (
            trade.size,
            round(trade.price, 9),
            round(trade.pnl, 6),
            round(trade.pnlcomm, 6),
            trade.isclosed,
        )
        self.trades.append((len(self), *told))

    def next(self) -> None:
        position = self.getposition()
        value = round(self.broker.getvalue(), 6), round(self.broker.getvalue([self.data]), 6)
        self.money.append((round(self.broker.getcash(), 6), *value, position.size, round(position.price, 9)))
        act = self.plan.get(len(self))
        if act is not None:
            act(self)


def doing(plan: dict[int, Callable[[Any], Any]]) -> type[Log]:
    return type("Doing", (Log,), {"plan": plan})


def stock(bars: q.Bars, strategy: type[Log], **broker: Any) -> Log:
    """What backtrader alone makes of it."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.broker = bt.brokers.BackBroker(**broker)
    cerebro.broker.setcash(CAPITAL)
    cerebro.adddata(feed(bars))
    cerebro.addstrategy(strategy)
    found: Log = cerebro.run()[0]
    return found


def live(bars: q.Bars, strategy: type[Log], tmp_path: Path, market: Market | None = None) -> Log:
    market = Market(bars) if market is None else market
    if not hasattr(market, "broker"):
        market.start(tmp_path)
    found: Log = market.run(strategy)
    return found


def same(bars: q.Bars, plan: dict[int, Callable[[Any], Any]], tmp_path: Path) -> Log:
    """Run both; what they tell and what they hold must be the same."""
    there, here = stock(bars, doing(plan)), live(bars, doing(plan), tmp_path)
    assert here.orders == there.orders
    assert here.trades == there.trades
    assert here.money == there.money
    return here


def keep(method: str, **kwargs: Any) -> Callable[[Any], None]:
    def act(strategy: Any) -> None:
        made = getattr(strategy, method)(**kwargs)
        strategy.made += made if isinstance(made, list) else [made]

    return act


def at(strategy: Any, share: float) -> float:
    return round(strategy.data.close[0] * share, 2)


# ---------------------------------------------------------------- as backtrader's own broker
def test_market_orders_and_trades(minutes: q.Bars, tmp_path: Path) -> None:
    plan = {
        3: keep("buy", size=10),
        6: keep("buy", size=5),
        9: keep("sell", size=4),
        12: keep("close"),
        15: keep("sell", size=7),
        20: keep("close"),
    }
    told = same(minutes, plan, tmp_path)
    assert [e[2] for e in told.orders[:3]] == ["Submitted", "Accepted", "Completed"]
    assert sum(e[-1] for e in told.trades) == 2


def test_a_reversal_in_one_order(minutes: q.Bars, tmp_path: Path) -> None:
    same(minutes, {3: keep("buy", size=10), 6: keep("sell", size=25), 9: keep("close")}, tmp_path)


def test_limits_and_stops_wait_for_their_price(minutes: q.Bars, tmp_path: Path) -> None:
    plan: dict[int, Callable[[Any], Any]] = {
        2: lambda s: s.buy(size=10, exectype=bt.Order.Limit, price=at(s, 0.9985)),
        30: lambda s: s.sell(size=10, exectype=bt.Order.Stop, price=at(s, 0.9985)),
    }
    told = same(minutes, plan, tmp_path)
    assert [e[2] for e in told.orders].count("Completed") == 2


@pytest.mark.parametrize("seed", range(4))
def test_brackets(seed: int, tmp_path: Path) -> None:
    bars = known(q.synthetic("MMM", "5m", "2020-01-02", "2020-01-03", seed=seed, volatility=0.6))

    def enter(s: Any) -> None:
        if not s.position and all(not o.alive() for o in s.made):
            close = s.data.close[0]
            s.made += s.buy_bracket(
                size=10,
                exectype=bt.Order.Market,
                stopprice=round(close * 0.998, 2),
                limitprice=round(close * 1.002, 2),
            )

    told = same(bars, dict.fromkeys(range(2, 150), enter), tmp_path)
    assert [e[2] for e in told.orders].count("Canceled") > 2


def test_one_of_an_oco_group_ends_the_others(minutes: q.Bars, tmp_path: Path) -> None:
    def both(s: Any) -> None:
        first = s.buy(size=10, exectype=bt.Order.Limit, price=at(s, 0.999))
        s.buy(size=10, exectype=bt.Order.Stop, price=at(s, 1.001), oco=first)
        s.buy(size=10, exectype=bt.Order.Limit, price=at(s, 0.9), oco=first)

    plan = {2: both}
    there, told = stock(minutes, doing(plan)), live(minutes, doing(plan), tmp_path)
    assert told.orders[:6] == there.orders[:6]
    assert sorted(told.orders[6:]) == sorted(
        there.orders[6:]
    )  # the others, which stock cancels from the back
    assert told.orders[6] == there.orders[6]
    assert told.money == there.money
    assert (
        sorted(e[2] for e in told.orders)
        == ["Accepted"] * 3 + ["Canceled"] * 2 + ["Completed"] + ["Submitted"] * 3
    )


def test_cancels(minutes: q.Bars, tmp_path: Path) -> None:
    plan: dict[int, Callable[[Any], Any]] = {
        2: lambda s: s.made.append(s.buy(size=10, exectype=bt.Order.Limit, price=at(s, 0.9))),
        5: lambda s: s.cancel(s.made[0]),
        6: lambda s: s.cancel(s.made[0]),
    }
    told = same(minutes, plan, tmp_path)
    assert [e[2] for e in told.orders] == ["Submitted", "Accepted", "Canceled"]


def test_orders_expire(minutes: q.Bars, tmp_path: Path) -> None:
    def wait(s: Any) -> None:
        s.buy(size=10, exectype=bt.Order.Limit, price=at(s, 0.9), valid=timedelta(minutes=12))

    told = same(minutes, {2: wait}, tmp_path)
    assert told.orders[-1][:3] == (5, 0, "Expired")


def test_a_trailing_stop_follows(minutes: q.Bars, tmp_path: Path) -> None:
    plan: dict[int, Callable[[Any], Any]] = {
        2: keep("buy", size=10),
        4: keep("sell", size=10, exectype=bt.Order.StopTrail, trailamount=0.4),
    }
    told = same(minutes, plan, tmp_path)
    assert told.orders[-1][2] == "Completed"


@pytest.mark.parametrize("target", [0.5, -0.3])
def test_order_target_percent_is_of_the_deployment(minutes: q.Bars, tmp_path: Path, target: float) -> None:
    # stock live brokers take the whole account for the position and sell half of it (backtrader notes §2.2 no. 1)
    def aim(s: Any) -> None:
        s.order_target_percent(target=target if len(s) % 20 < 10 else target / 2)

    same(minutes, dict.fromkeys(range(3, 60, 7), aim), tmp_path)


def test_commissions_told_with_the_fill_are_in_order_and_trade(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.fee = 1.5
    here = live(minutes, doing({3: keep("buy", size=10), 9: keep("close")}), tmp_path, market)
    _, _, _, profit, net, closed = here.trades[-1]
    assert closed
    assert net == pytest.approx(profit - 3.0)
    assert market.broker.getcash() == pytest.approx(CAPITAL + net)
    fills = [fill for standing in market.desk.orders for fill in standing.fills]
    assert market.broker.getcash() == float(book(CAPITAL, "USD", fills, {11: minutes.instrument}).cash)


# ---------------------------------------------------------------- what backtrader's own broker never does
def test_partial_fills_are_told_one_by_one(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.share = 0.4
    here = live(minutes, doing({3: keep("buy", size=10), 9: keep("close")}), tmp_path, market)
    assert [(e[2], e[3], len(e[5])) for e in here.orders] == [
        ("Submitted", 0, 0), ("Accepted", 0, 0), ("Partial", 4, 1), ("Partial", 8, 1), ("Completed", 10, 1),
        ("Submitted", 0, 0), ("Accepted", 0, 0), ("Partial", -4, 1), ("Partial", -8, 1), ("Completed", -10, 1),
    ]  # fmt: skip
    assert [t[-1] for t in here.trades] == [False, True]


def test_a_late_commission_reaches_order_trade_and_cash(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.fee, market.exchange.late_fees = 2.0, True
    market.before_bar.append(lambda step: market.exchange.pay() if step == 20 else None)
    here = live(minutes, doing({3: keep("buy", size=10), 9: keep("close")}), tmp_path, market)
    late = [e for e in here.orders if e[0] > 15]
    assert [(e[2], e[5]) for e in late] == [("Completed", []), ("Completed", [])]
    (trade,) = here._trades[here.data][0]
    assert trade.commission == 4.0
    assert trade.pnlcomm == trade.pnl - 4.0
    assert market.broker.getcash() == pytest.approx(CAPITAL + trade.pnlcomm)


@pytest.mark.parametrize(("costs", "paid"), [("ib-fixed", 1.0), ("percent:0.1", None)])
def test_what_an_order_in_parts_costs_is_guessed_once_for_all_of_it(
    minutes: q.Bars, tmp_path: Path, costs: str, paid: float | None
) -> None:
    """IB's least commission is that of an order; each part of it would be booked with one of its own."""
    market = Market(minutes).start(tmp_path)
    market.exchange.share, market.exchange.late_fees = 0.25, True  # they are never told
    scheme = commission(costs_of(costs), None, lambda amount: None)
    market.broker.charge(lambda magnifier: scheme, market.feeds)
    here = live(minutes, doing({3: keep("buy", size=40)}), tmp_path, market)
    (order,) = here.made
    worth = 40 * order.executed.price
    assert (order.executed.size, len(order.executed.exbits)) == (40, 4)
    fee = worth / 1000 if paid is None else paid
    assert market.broker.getcash() == pytest.approx(CAPITAL - worth - fee, rel=0.0, abs=1e-6)


def test_the_desk_always_knows_the_newest_surroundings(
    minutes: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market, asked = Market(minutes).start(tmp_path), list[bool]()
    market.exchange.fee, market.exchange.late_fees = 2.0, True
    market.before_bar.append(lambda step: market.exchange.pay() if step == 20 else None)
    look = Dispatch._look

    def compared(self: Dispatch, now: int) -> None:
        known = self._desk._floor.counter.around
        look(self, now)
        if not any(is_loading(data) for data in self.feeds.values()):
            account, feeds = self._account, self.begun()
            equity = account.equity(prices(feeds)) if feeds else None
            assert self._desk._floor.counter.around == self.around.now(feeds, equity, now)
            asked.append(self._desk._floor.counter.around is known)

    monkeypatch.setattr(Dispatch, "_look", compared)

    def hears(strategy: Log) -> None:
        market.broker.observe(Surroundings(clock_offset_s=0.5))
        keep("buy", size=1)(strategy)

    plan = {3: keep("buy", size=10), 4: keep("sell", size=4), 9: keep("close"), 25: hears}  # 4: just filled
    live(minutes, doing(plan), tmp_path, market)
    assert set(asked) == {True, False}  # made anew where something has changed, and only there


@pytest.mark.parametrize(
    ("told", "status"),
    [((201, "Order rejected - reason: no trading permission"), "Rejected"),
     ((201, "Order rejected - reason: insufficient equity with loan value"), "Margin")],
)  # fmt: skip
def test_what_the_broker_turns_down(
    minutes: q.Bars, tmp_path: Path, told: tuple[int, str], status: str
) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.reject = lambda ticket: told if ticket.quantity == 10 else None  # type: ignore[method-assign]
    here = live(minutes, doing({3: keep("buy", size=10), 6: keep("buy", size=5)}), tmp_path, market)
    assert [e[2] for e in here.orders] == ["Submitted", status, "Submitted", "Accepted", "Completed"]
    assert here.made[0].info.why == told[1]
    assert here.position.size == 5


def test_what_the_limits_refuse_is_rejected_with_its_reason(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path, limits=replace(WIDE, max_quantity=Decimal(5)))
    here = live(minutes, doing({3: keep("buy", size=10)}), tmp_path, market)
    assert [e[2] for e in here.orders] == ["Submitted", "Rejected"]
    assert "more than 5 in one order" in here.made[0].info.why
    assert market.exchange.placed == []


def test_an_order_cancelled_in_the_step_that_made_it_is_never_sent(minutes: q.Bars, tmp_path: Path) -> None:
    # backtrader's own broker ignores that cancel and fills the order (backtrader notes §5.3)
    market = Market(minutes).start(tmp_path)
    here = live(minutes, doing({3: lambda s: s.cancel(s.buy(size=10))}), tmp_path, market)
    assert [e[2] for e in here.orders] == ["Submitted", "Canceled"]
    assert market.exchange.placed == []


def test_nothing_is_sent_before_live(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes, live_from=10).start(tmp_path)
    here = live(minutes, doing({3: keep("buy", size=10), 12: keep("buy", size=5)}), tmp_path, market)
    assert [order.size for order in market.broker.withheld] == [10]
    assert here.made[0].info.why == "the feed is not live"
    assert here.position.size == 5


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (dict(exectype=bt.Order.StopTrailLimit, price=90.0, plimit=90.1, trailamount=1.0), "plimit"),
        (dict(exectype=bt.Order.StopTrail, trailpercent=2.0), "0.02 is 2 %"),
        (dict(exectype=bt.Order.StopTrail, trailamount=-1.0), "trailamount"),
        (dict(exectype=bt.Order.StopTrail), "trailamount="),
        (dict(exectype=bt.Order.StopTrailLimit, price=90.0, plimit=89.0), "trailamount="),
    ],
)
def test_a_kind_that_is_not_sent_is_rejected_by_name(
    minutes: q.Bars, tmp_path: Path, kind: dict[str, Any], named: str
) -> None:
    market = Market(minutes).start(tmp_path)
    here = live(minutes, doing({3: keep("sell", size=10, **kind)}), tmp_path, market)
    assert [e[2] for e in here.orders] == ["Submitted", "Rejected"]
    assert named in here.made[0].info.why
    assert market.exchange.placed == []


def test_an_order_in_doubt_stays_alive_until_the_books_tell(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.before_bar.append(lambda step: market.exchange.garbled.append("?") if step == 4 else None)
    here = live(minutes, doing({3: keep("buy", size=10)}), tmp_path, market)
    assert [e[2] for e in here.orders] == ["Submitted", "Accepted", "Completed"]
    assert len(market.journal.load().snapshots) >= 2


def test_ib_fields_of_an_order_pass_through(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    live(minutes, doing({3: keep("buy", size=10, outside_rth=True)}), tmp_path, market)
    assert market.exchange.placed[0][1].outside_rth


def test_an_order_after_the_close_is_for_the_next_open(minutes: q.Bars, tmp_path: Path) -> None:
    last = int((minutes.minutes_to_close == 0).argmax())
    market = Market(minutes).start(tmp_path)
    live(minutes, doing({last + 1: keep("buy", size=10), last + 3: keep("close")}), tmp_path, market)
    assert [(t.kind, t.tif) for _, t in market.exchange.placed] == [
        (Kind.MARKET, "OPG"),
        (Kind.MARKET, "DAY"),
    ]


# ---------------------------------------------------------------- restarts
def test_a_restart_restores_position_cash_and_open_orders(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.fee = 1.0
    market.stop_after = 10

    def enter(s: Any) -> None:
        s.made += s.buy_bracket(
            size=10, exectype=bt.Order.Market, stopprice=at(s, 0.9), limitprice=at(s, 1.2)
        )

    first = live(minutes, doing({3: enter}), tmp_path, market)
    sent, cash, price = len(market.exchange.placed), market.broker.getcash(), first.position.price
    market.again(tmp_path)
    assert market.broker.getcash() == CAPITAL  # until cerebro has started it
    second = live(minutes, doing({20: keep("close")}), tmp_path, market)
    assert second.money[0][0] == round(cash, 6)
    assert second.money[0][3:] == (10, round(price, 9))
    assert [e[2] for e in second.orders[:2]] == ["Accepted", "Accepted"]
    assert len(market.exchange.placed) == sent + 1  # the close; nothing was sent twice
    assert second.position.size == 0
    assert [e[2] for e in second.orders[-2:]].count("Canceled") == 2  # what guarded the position went with it
    (trade,) = second.trades  # the one that closes what the first process opened
    assert trade[-1]
    assert trade[2] == round(price, 9)


def test_a_restart_on_the_bar_of_an_order_does_not_repeat_it(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 5
    live(minutes, doing({6: keep("buy", size=10)}), tmp_path, market)
    market.again(tmp_path)
    market.live_from = 5  # the same bar is live once more
    here = live(minutes, doing({6: keep("buy", size=10)}), tmp_path, market)
    assert len(market.exchange.placed) == 1
    assert here.position.size == 10
    assert "before the restart" in here.made[0].info.why


def test_a_restart_on_the_bar_of_an_order_still_lets_it_out(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 8
    live(
        minutes,
        doing({3: keep("buy", size=10), 9: keep("sell", size=4, exectype=bt.Order.Stop, price=1.0)}),
        tmp_path,
        market,
    )
    market.again(tmp_path)
    market.live_from = 8
    here = live(minutes, doing({9: keep("close")}), tmp_path, market)
    assert here.position.size == 0


def test_a_close_that_is_under_way_is_not_repeated_after_a_restart(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 8
    live(minutes, doing({3: keep("buy", size=10), 9: keep("close")}), tmp_path, market)
    market.again(tmp_path)
    market.live_from = 8
    held = market.exchange.trade
    market.exchange.trade = lambda *_: None  # type: ignore[method-assign]  # the bar that is told again trades nothing
    market.before_bar.append(lambda step: setattr(market.exchange, "trade", held) if step == 9 else None)
    here = live(minutes, doing({9: keep("close")}), tmp_path, market)
    assert "before the restart" in here.made[0].info.why
    assert market.exchange.held[11] == 0
    assert here.position.size == 0


def test_a_fill_while_it_was_down_is_found(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.stop_after = 5
    live(minutes, doing({6: keep("buy", size=10)}), tmp_path, market)
    market.broker.on_link(Link.LOST)
    market.journal.close()
    market.exchange.connected = False
    row = 6
    prices = (float(getattr(minutes, name)[row]) for name in ("open", "high", "low", "close"))
    market.exchange.trade(11, int(minutes.times.begin[row]), int(minutes.end[row]), *prices)
    market.step, market.now = row, int(minutes.end[row])
    market.again(tmp_path)
    here = live(minutes, doing({}), tmp_path, market)
    assert here.position.size == 10
    assert here.position.price == minutes.open[row]


# ---------------------------------------------------------------- what others decide
def test_a_refused_leader_takes_its_oco_group_with_it(minutes: q.Bars, tmp_path: Path) -> None:
    def both(s: Any) -> None:
        s.made.append(s.buy(size=10, exectype=bt.Order.Limit, price=at(s, 0.999)))
        s.made.append(s.buy(size=2, exectype=bt.Order.Limit, price=at(s, 0.998), oco=s.made[0]))

    market = Market(minutes).start(tmp_path, limits=replace(WIDE, max_quantity=Decimal(5)))
    here = live(minutes, doing({3: both}), tmp_path, market)
    assert [o.getstatusname() for o in here.made] == ["Rejected", "Canceled"]
    assert market.exchange.placed == []


def test_flatten_by_a_person_ends_the_strategys_trade(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)

    def flatten(step: int) -> None:
        if step == 10:
            market.desk.flatten("tester", market.now)
            market.seconds(10)  # for one more look at the broker's books

    market.before_bar.append(flatten)
    here = live(minutes, doing({3: keep("buy", size=10)}), tmp_path, market)
    assert here.position.size == 0
    assert here.trades[-1][-1]
    assert market.desk.positions == {}


def test_a_corrected_fill_changes_position_cash_and_order(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)

    def correct(step: int) -> None:
        if step == 8:
            first = market.exchange.executions[0]
            again = replace(first, exec_id=first.exec_id[:-2] + "02", price=first.price + 1.0)
            market.exchange.executions.append(again)
            market.exchange.say(again)

    market.before_bar.append(correct)
    here = live(minutes, doing({3: keep("buy", size=10)}), tmp_path, market)
    price = float(minutes.open[3]) + 1.0
    assert here.position.price == price
    assert here.made[0].executed.price == pytest.approx(price)
    assert market.broker.getcash() == pytest.approx(CAPITAL - 10 * price)


def test_what_the_broker_told_twice_or_late_counts_once(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes).start(tmp_path)
    market.exchange.faults = replace(market.exchange.faults, doubled=1.0, shuffled=1.0)
    plan = {3: keep("buy", size=10), 9: keep("close")}
    here, there = live(minutes, doing(plan), tmp_path, market), stock(minutes, doing(plan))
    assert here.orders == there.orders
    assert here.trades == there.trades


def test_two_feeds_of_one_instrument_show_one_position(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes, minutes.resample("15m")).start(tmp_path)
    here = live(minutes, doing({3: keep("buy", size=10)}), tmp_path, market)
    assert {here.getposition(data).size for data in here.datas} == {10}
    assert here.broker.getvalue() == pytest.approx(here.broker.getcash() + here.broker.getvalue([here.data]))


def test_a_stop_that_guards_nothing_any_more_is_cancelled(minutes: q.Bars, tmp_path: Path) -> None:
    # backtrader's own broker leaves it, and it would open a position the other way
    plan: dict[int, Callable[[Any], Any]] = {
        3: keep("buy", size=10),
        5: lambda s: s.made.append(s.sell(size=10, exectype=bt.Order.Stop, price=at(s, 0.9))),
        9: keep("close"),
    }
    here = live(minutes, doing(plan), tmp_path)
    assert [o.getstatusname() for o in here.made] == ["Completed", "Canceled", "Completed"]


def test_an_adopted_position_is_the_strategys(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes)
    market.exchange.symbols[11] = "MMM"
    market.exchange.trade_by_hand(11, 8)
    market.start(tmp_path, policy=Policy(start=Start.ADOPT))
    here = live(minutes, doing({9: keep("close")}), tmp_path, market)
    assert here.money[3][3] == 8
    (trade,) = here.trades
    assert trade[-1]
    assert market.exchange.held[11] == 0
    assert market.broker.getcash() == pytest.approx(CAPITAL + here._trades[here.data][0][0].pnl)


def test_a_baseline_is_not_the_strategys(minutes: q.Bars, tmp_path: Path) -> None:
    market = Market(minutes)
    market.exchange.symbols[11] = "MMM"
    market.exchange.trade_by_hand(11, 8)
    here = live(minutes, doing({3: keep("buy", size=5), 9: keep("close")}), tmp_path, market.start(tmp_path))
    assert [m[3] for m in here.money[:10:4]] == [0, 5, 5]
    assert market.exchange.held[11] == 8
