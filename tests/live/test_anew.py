"""A bar that an earlier process decided upon and left an order for at IB, decided upon once more after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import stored_feed
from live_run import Jumping, again, books, draft, ledger, play, position, standings, tws
from one_night import LAST, alarms, at, overnight, trade
from tws_market import TwsMarket, tws_market

import quant as q
from quant.core.barsize import DAY, SECOND, bar_size
from quant.core.instrument import Instrument
from quant.core.orders import Kind
from quant.live.moments import newest_until
from quant.live.orders.anew import REPEATED
from quant.live.orders.auctions import OPENINGS, UNKNOWN, Auction, opening
from quant.oms.gate import Purpose
from quant.oms.state import OrderState
from quant.tws.exchange.tape import Tape

DONE, ENDED, THERE = OrderState.FILLED, OrderState.CANCELLED, OrderState.WORKING


class Orders(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Sends what `wishes` says at a row, with a stop at so much of the close, unless it knows of an order."""

    params = (("wishes", ()), ("guard", None))

    def __init__(self) -> None:
        self.mine: dict[int, bt.Order] = {}
        self.waits: list[bool] = []

    def notify_order(self, order: bt.Order) -> None:
        self.mine[order.ref] = order

    def next(self) -> None:
        row = len(self) - 1
        if row != LAST:
            return
        known = [*self.mine.values(), *self.broker.get_orders_open()]
        self.waits.append(any(order.alive() for order in known))
        for size in self.p.wishes if not self.waits[-1] else ():
            if self.p.guard is None:
                (self.buy if size > 0 else self.sell)(size=abs(size))
            else:
                stop = round(self.data.close[0] * self.p.guard, 2)
                self.buy_bracket(size=size, exectype=bt.Order.Market, stopprice=stop, limitexec=None)


@contextmanager
def once(bars: q.Bars, folder: Path, *wishes: int, guard: float | None = None) -> Iterator[TwsMarket]:
    """Give a market where a plain strategy has sent on the last row in a `--once`; another one follows, at night."""
    with tws_market(bars) as market:
        market.afresh = True
        market.stop_after = LAST
        market.start(folder).run(Orders, wishes=wishes, guard=guard)
        answered(market)
        market.again(folder)
        market.live_from = LAST
        night(market)
        yield market


@contextmanager
def restarted(
    bars: q.Bars, folder: Path, first: dict[int, float], *, stop: float | None = None, row: int = LAST,
    held: bool = False,
) -> Iterator[TwsMarket]:  # fmt: skip
    """Give a market where a process has decided on a row and ended; the next one decides on that row once more."""
    with tws_market(bars) as market:
        market.recheck = (lambda feed: "") if held else None
        market.stop_after = row
        trade(market.start(folder), first, stop)
        market.again(folder)
        market.live_from = row
        yield market


def answered(market: TwsMarket) -> None:
    """Take the answers: of a cancel, of what waits for it, and that one's."""
    for _ in range(4):
        market.broker.poll()
        market.broker.flush()
        market.exchange.catch_up()


def night(market: TwsMarket) -> None:
    """An hour, and ten minutes, before the second session's open: look, and take the answers."""
    overnight(market, (60, answered), (10, answered))


def orders(market: TwsMarket) -> list[tuple[int, OrderState]]:
    """Return quantities and states of all but stops."""
    desk = market.desk
    found = [(desk.intent(s.ref).ticket, s.state) for s in desk.orders]
    return [(int(ticket.quantity), state) for ticket, state in found if ticket.kind is Kind.MARKET]


def stops(market: TwsMarket) -> list[OrderState]:
    return [s.state for s in market.desk.orders if market.desk.intent(s.ref).ticket.kind is Kind.STOP]


def on_sending(market: TwsMarket, look: Callable[[TwsMarket], Any]) -> list[Any]:
    """Return what a look at the market will have shown whenever an order went out, just before."""
    seen, place = [], market.exchange.place

    def placed(*args: Any) -> None:
        seen.append(look(market))
        place(*args)

    market.exchange.place = placed
    return seen


# ---------------------------------------------------------------- an entry that rests for the open
def test_an_order_for_the_open_that_is_wanted_as_it_is_stays(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        night(market)
        trade(market, {LAST: 1.0})
        assert orders(market) == [(10, DONE)]
        assert [order.info.why for order in market.broker.withheld] == [
            "this bar was decided upon before the restart"
        ]


def test_an_order_for_the_open_that_nobody_wants_any_more_is_cancelled(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        night(market)
        trade(market, {})
        assert orders(market) == [(10, ENDED)]
        assert "wants nothing, and SPY has at IB for the open +10: that is cancelled" in alarms(market)


def test_another_order_for_the_open_takes_its_place_and_never_stands_beside_it(
    bars: q.Bars, tmp_path: Path
) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        night(market)
        seen = on_sending(market, lambda market: orders(market)[0])
        trade(market, {LAST: -1.0})
        assert orders(market) == [(10, ENDED), (-10, DONE)]
        assert seen == [(10, ENDED)]


def test_another_size_of_the_same_side_takes_its_place(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        night(market)
        trade(market, {LAST: 2.0})
        assert orders(market) == [(10, ENDED), (20, DONE)]


def test_what_took_its_place_is_looked_at_once_more_too(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        market.stop_after = LAST
        trade(market, {LAST: 2.0})
        answered(market)
        assert orders(market)[0] == (10, ENDED)
        market.again(tmp_path)
        market.live_from = LAST
        night(market)
        trade(market, {LAST: 1.0})
        assert orders(market) == [(10, ENDED), (20, ENDED), (10, DONE)]


def test_it_stays_where_its_exchange_takes_no_cancels_any_more(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant.live.orders.anew.opening", lambda instrument: Auction(0, DAY, ""))
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        night(market)
        trade(market, {LAST: -1.0})
        assert orders(market) == [(10, DONE), (-10, DONE)]  # closed after the next bar, as nobody wants it
        assert market.desk.purpose(market.desk.orders[1].ref) is Purpose.REDUCTION
        assert "wants -10, and SPY has at IB for the open +10: too late for a cancel, it stays" in alarms(
            market
        )


def test_what_a_person_has_cancelled_is_not_sent_again(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}) as market:
        (order,) = market.desk.orders
        market.open_gate()
        market.desk.cancel(order.ref, market.now)
        market.exchange.catch_up()
        market.broker.poll()
        assert orders(market) == [(10, ENDED)]
        night(market)
        trade(market, {LAST: 1.0})
        assert orders(market) == [(10, ENDED)]


# ---------------------------------------------------------------- its stop, and that of a position
def test_the_stop_of_an_order_that_stays_stays_too(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}, stop=0.5) as market:
        night(market)
        trade(market, {LAST: 1.0}, stop=0.5)
        assert (orders(market), stops(market)) == ([(10, DONE)], [THERE])


def test_an_order_with_another_stop_is_another_one(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {LAST: 1.0}, stop=0.5) as market:
        night(market)
        trade(market, {LAST: 1.0}, stop=0.6)
        assert (orders(market), stops(market)) == ([(10, ENDED), (10, DONE)], [ENDED, THERE])


def test_a_restart_within_the_bar_of_an_entry_leaves_its_stop_alone(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {9: 1.0}, stop=0.5, row=9) as market:
        market.stop_after = 12
        trade(market, {9: 1.0}, stop=0.5)
        assert (orders(market), stops(market)) == ([(10, DONE)], [THERE])


def test_a_stop_that_outlived_a_restart_still_goes_with_its_position(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {9: 1.0}, stop=0.5, row=9) as market:
        market.stop_after = 14
        seen = on_sending(market, stops)
        trade(market, {9: 1.0, 12: 0.0}, stop=0.5)
        assert (orders(market), stops(market)) == ([(10, DONE), (-10, DONE)], [ENDED])
        assert seen == [[OrderState.CANCELLING]]  # its end was asked for before the position's close went out


# ---------------------------------------------------------------- a reversal
def test_the_entry_of_a_reversal_is_held_again_after_a_restart(bars: q.Bars, tmp_path: Path) -> None:
    """Its exit went out at once and is in the journal; its entry was only held, and is not."""
    with restarted(bars, tmp_path, {3: 1.0, LAST: -1.0}, held=True) as market:
        seen: list[int] = []
        market.before_bar.append(
            lambda step: seen.append(len(market.broker.held)) if step == LAST + 1 else None
        )
        night(market)
        trade(market, {3: 1.0, LAST: -1.0})
        assert seen == [1]
        assert orders(market) == [(10, DONE), (-10, DONE), (-10, DONE)]


def test_a_reversal_that_rests_whole_stays_as_it_is(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {3: 1.0, LAST: -1.0}) as market:
        night(market)
        trade(market, {3: 1.0, LAST: -1.0})
        assert orders(market) == [(10, DONE), (-10, DONE), (-10, DONE)]


def test_of_a_reversal_that_nobody_wants_any_more_the_exit_stays(bars: q.Bars, tmp_path: Path) -> None:
    with restarted(bars, tmp_path, {3: 1.0, LAST: -1.0}) as market:
        night(market)
        trade(market, {3: 1.0})
        assert orders(market) == [(10, DONE), (-10, DONE), (-10, ENDED)]


# ---------------------------------------------------------------- a plain strategy, with --once
def test_what_a_plain_strategy_wants_as_it_is_stays(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10) as market:
        found = market.run(Orders, wishes=(10,))
        assert found.waits == [False]  # it decides as if nothing lay at IB
        assert orders(market) == [(10, DONE)]
        assert [order.info.why for order in market.broker.withheld] == [REPEATED]


def test_what_a_plain_strategy_does_not_want_any_more_is_cancelled(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10) as market:
        market.run(Orders)
        assert orders(market) == [(10, ENDED)]
        assert "wants nothing, and SPY has at IB for the open +10: that is cancelled" in alarms(market)


def test_a_plain_strategy_s_other_order_takes_the_place(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10) as market:
        seen = on_sending(market, lambda market: orders(market)[0])
        market.run(Orders, wishes=(-10,))
        assert orders(market) == [(10, ENDED), (-10, DONE)]
        assert seen == [(10, ENDED)]


def test_of_several_orders_of_a_plain_strategy_each_is_compared(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10, 5) as market:
        market.run(Orders, wishes=(5, 7))
        assert orders(market) == [(10, ENDED), (5, DONE), (7, DONE)]


def test_a_bracket_of_a_plain_strategy_stays_whole_or_goes_whole(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10, guard=0.5) as market:
        market.run(Orders, wishes=(10,), guard=0.5)
        assert (orders(market), stops(market)) == ([(10, DONE)], [THERE])


def test_a_plain_strategy_s_bracket_with_another_stop_is_another_one(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10, guard=0.5) as market:
        market.run(Orders, wishes=(10,), guard=0.6)
        assert (orders(market), stops(market)) == ([(10, ENDED), (10, DONE)], [ENDED, THERE])


def test_a_plain_strategy_that_goes_on_sees_its_order_and_no_silence_ends_it(
    bars: q.Bars, tmp_path: Path
) -> None:
    with tws_market(bars) as market:  # not --once: what it has not forgotten it may leave unsaid
        market.stop_after = LAST
        market.start(tmp_path).run(Orders, wishes=(10,))
        market.again(tmp_path)
        market.live_from = LAST
        night(market)
        found = market.run(Orders, wishes=(10,))
        assert (found.waits, orders(market)) == ([True], [(10, DONE)])


def test_where_bars_end_at_different_moments_it_stays_and_that_is_said(bars: q.Bars, tmp_path: Path) -> None:
    with once(bars, tmp_path, 10) as market:
        other = stored_feed(market, bars[:LAST])  # its newest bar ended a quarter of an hour earlier
        other.is_newest = True
        market.feeds.append(other)
        market.run(Orders, wishes=(-10,))
        assert orders(market) == [(10, DONE)]
        assert "SPY has at IB for the open +10: it stays, whatever is decided now" in alarms(market)


# ---------------------------------------------------------------- --once, over the wire
LEANS = '''"""Long at every other close; what the parameter says where a bar closed above 900."""
import numpy as np
import quant as q


class Flip(q.Strategy):
    """Wants 1 and 0 in turn."""
    params = dict(instead=0.0)

    @staticmethod
    def signals(bars, p):
        found = (bars.start // bars.bar.ns % 2).astype(float)
        return np.where(bars.close > 900.0, p.instead, found)
'''


@pytest.mark.parametrize(
    ("instead", "left", "held"),
    [(None, [(10, THERE)], 10), (0.0, [(10, ENDED)], 0), (-1.0, [(10, ENDED), (-10, THERE)], -10)],
)
def test_a_second_once_looks_at_the_corrected_bar(
    data: Path, monkeypatch: pytest.MonkeyPatch, instead: float | None, left: list[Any], held: int
) -> None:
    """Decided after the close of the 16th of May; on the next morning IB has other prices of that day, or the same."""
    monkeypatch.setattr("live_run.FLIP", LEANS)
    outside, job = Jumping(), draft(
        data, bar="1d", history_start="2024-04-01", start_rule="first-target", params={"instead": instead or 0.0},
        limits={"orders_per_minute": 1000, "orders_per_day": 10_000, "shorts": True},
    )  # fmt: skip
    job = replace(job, once=True)
    with tws(start=at("2024-05-16 19:00"), outside=outside, speed=10.0) as port:
        assert play(job, port, data, never)[0].code == 0  # begins; nothing has closed since
        outside.more += 75 * 60 * SECOND // 10
        job = again(data, job)
        assert play(job, port, data, never)[0].code == 0
        assert sent(data, job) == [(10, THERE)]
        if instead is not None:
            revise(monkeypatch, "2024-05-16")
        outside.more += 16 * 3600 * SECOND // 10
        ended, told = play(job, port, data, never)
        assert (ended.code, sent(data, job)) == (0, left), told
        outside.more += 3 * 3600 * SECOND // 10
        ended, told = play(job, port, data, never)
        there = books(port)
    assert ended.code == 0, told
    assert [int(p.quantity) for p in there.positions] == ([held] if held else []), told
    assert position(ledger(data, job)) == held


class Leans(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Buys; what the parameter says where a bar closed above 900."""

    params = (("instead", 0),)

    def next(self) -> None:
        if not self.position:
            self.order_target_size(target=self.p.instead if self.data.close[0] > 900.0 else 10)


@pytest.mark.parametrize(
    ("instead", "left", "held"),
    [(None, [(10, THERE)], 10), (0, [(10, ENDED)], 0), (-10, [(10, ENDED), (-10, THERE)], -10)],
)
def test_a_second_once_of_a_plain_strategy_looks_too(
    data: Path, monkeypatch: pytest.MonkeyPatch, instead: int | None, left: list[Any], held: int
) -> None:
    outside = Jumping()
    limits = {"orders_per_minute": 1000, "orders_per_day": 10_000, "shorts": True}
    job = draft(data, bar="1d", history_start="2024-04-01", limits=limits)
    job = replace(
        job, strategy=Leans, once=True, deployment=replace(job.deployment, params={"instead": instead or 0})
    )
    with tws(start=at("2024-05-16 20:15"), outside=outside, speed=10.0) as port:
        assert play(job, port, data, never)[0].code == 0
        job = again(data, job)
        assert sent(data, job) == [(10, THERE)]
        if instead is not None:
            revise(monkeypatch, "2024-05-16")
        outside.more += 16 * 3600 * SECOND // 10
        ended, told = play(job, port, data, never)
        assert (ended.code, sent(data, job)) == (0, left), told
        outside.more += 3 * 3600 * SECOND // 10
        ended, told = play(job, port, data, never)
        there = books(port)
    assert ended.code == 0, told
    assert [int(p.quantity) for p in there.positions] == ([held] if held else []), told


def test_on_monday_morning_friday_s_bar_is_the_newest(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live_run.FLIP", LEANS)
    outside = Jumping()
    job = draft(data, bar="1d", history_start="2024-04-01", start_rule="first-target")
    job = replace(job, once=True)
    with tws(start=at("2024-05-09 19:00"), outside=outside, speed=10.0) as port:
        assert play(job, port, data, never)[0].code == 0  # begins on Thursday
        outside.more += 89 * 3600 * SECOND // 10
        job = again(data, job)
        for _ in range(2):  # the second one finds its order
            ended, told = play(job, port, data, never)
            assert (ended.code, sent(data, job)) == (0, [(10, THERE)]), told


@pytest.mark.parametrize(
    ("day", "bar", "until"),
    [
        ("2024-05-17 20:00", "1d", "2024-05-20 20:00"),  # a weekend
        ("2024-05-15 20:00", "1d", "2024-05-16 20:00"),
        ("2024-11-27 21:00", "1d", "2024-11-29 18:00"),  # Thanksgiving, then a half day
        ("2024-12-31 21:00", "1d", "2025-01-02 21:00"),
        ("2024-05-17 20:00", "1h", "2024-05-17 21:00"),
        ("2024-05-17 20:00", "1w", "2024-05-24 20:00"),
    ],
)
def test_a_day_s_bar_is_the_newest_until_the_next_session_is_over(day: str, bar: str, until: str) -> None:
    """Sessions of the NYSE's own calendar, nyse.com/markets/hours-calendars."""
    spy = Instrument("SPY", exchange="ARCA", calendar="XNYS", timezone="America/New_York")
    assert newest_until(spy, bar_size(bar), at(day)) == at(until)


def revise(monkeypatch: pytest.MonkeyPatch, day: str) -> None:
    """Let TWS have another close of a day from now on."""
    plain = Tape.bars

    def other(self: Tape, *args: Any, **kwargs: Any) -> q.Bars:
        found = plain(self, *args, **kwargs)
        there = (found.session == np.datetime64(day)) & (not found.bar.intraday)
        return replace(
            found, close=np.where(there, 999.0, found.close), high=np.where(there, 999.0, found.high)
        )

    monkeypatch.setattr(Tape, "bars", other)


def sent(data: Path, job: Any) -> list[tuple[int, OrderState]]:
    held = ledger(data, job)
    return [(int(i.ticket.quantity), s.state) for i, s in zip(held.intents, standings(held), strict=True)]


def never(picture: dict[str, Any]) -> bool:
    return False


# ---------------------------------------------------------------- until when
@pytest.mark.parametrize(
    ("exchange", "entry", "withdrawal"),
    [("NASDAQ", "09:28:00", "09:25:00"), ("ARCA", "09:29:55", "09:29:00"), ("NYSE", "09:30:00", "09:30:00")],
)
def test_cut_offs_are_those_of_the_exchanges_own_pages(exchange: str, entry: str, withdrawal: str) -> None:
    """Nasdaq: Equity Trader Alert 2021-15; NYSE Arca: trading-info page; NYSE: fact sheet on its auctions."""
    found = opening(Instrument("X", exchange=exchange))
    opens = np.datetime64("2024-05-15T09:30:00")
    assert [str(opens - np.timedelta64(ns, "ns"))[11:19] for ns in (found.entry, found.withdrawal)] == [
        entry, withdrawal,
    ]  # fmt: skip


def test_an_exchange_that_is_not_known_has_the_earliest_cut_offs_that_are() -> None:
    assert opening(Instrument("X", exchange="IBIS")) is UNKNOWN
    assert UNKNOWN.entry == max(one.entry for one in OPENINGS.values())
    assert UNKNOWN.withdrawal == max(one.withdrawal for one in OPENINGS.values())
