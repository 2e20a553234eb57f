"""What is decided at a session's end is held, looked at again before the open, and sent in time for its auction."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import backtrader as bt
import pytest
from live_run import Jumping, books, draft, ledger, play, position, standings, tws
from one_night import LAST, alarms, at, overnight, trade
from tws_market import TwsMarket, tws_market

import quant as q
from quant.core.barsize import MINUTE
from quant.core.orders import TimeInForce
from quant.live.bars.incoming import Incoming
from quant.live.orders.around import market
from quant.oms.state import OrderState


def nothing(market: TwsMarket) -> None:
    """Only let it look."""


def tifs(market: TwsMarket) -> list[str]:
    return [str(market.desk.intent(s.ref).ticket.tif) for s in market.desk.orders]


def states(market: TwsMarket) -> list[OrderState]:
    return [s.state for s in market.desk.orders]


# ---------------------------------------------------------------- when
def test_it_waits_till_shortly_before_the_open_and_fills_in_its_auction(bars: q.Bars, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def count(market: TwsMarket) -> None:
        seen.append((len(market.broker.held), len(market.desk.orders)))

    with tws_market(bars) as market:
        market.recheck = lambda feed: ""
        overnight(market, (60, count), (16, count), (15, count), (3, count))
        trade(market.start(tmp_path), {LAST: 1.0})
        assert seen == [(1, 0), (1, 0), (0, 1), (0, 1)]
        assert tifs(market) == [TimeInForce.OPG]
        (entry,) = market.desk.orders
        assert (entry.filled, entry.fills[0].price) == (10, bars.open[LAST + 1])


def test_without_a_look_it_goes_out_at_once(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars) as market:
        overnight(market, (60, lambda market: seen.append(len(market.desk.orders))))
        seen: list[int] = []
        trade(market.start(tmp_path), {LAST: 1.0})
        assert seen == [1]
        assert tifs(market) == [TimeInForce.OPG]


def test_during_a_session_nothing_is_held(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars[: LAST + 1]) as market:
        market.recheck = lambda feed: None
        trade(market.start(tmp_path), {3: 1.0, 9: 0.0})
        assert states(market) == [OrderState.FILLED] * 2


# ---------------------------------------------------------------- what has changed
def test_bars_that_have_changed_hold_an_entry_back_and_say_so(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars) as market:
        market.recheck = lambda feed: "the close is another one"
        overnight(market, (60, nothing), (10, nothing))
        trade(market.start(tmp_path), {LAST: 1.0})
        assert market.desk.orders == ()
        assert [order.size for order in market.broker.withheld] == [10]  # which the tape keeps, for parity
        assert "was not sent for the open: its bars have changed" in alarms(market)
        assert market.broker.get_orders_open() == []


def test_an_exit_is_not_held(bars: q.Bars, tmp_path: Path) -> None:
    seen: list[list[OrderState]] = []
    with tws_market(bars) as market:
        market.recheck = lambda feed: "the close is another one"
        overnight(market, (60, lambda market: seen.append(states(market))))
        trade(market.start(tmp_path), {3: 1.0, LAST: 0.0})
        assert seen == [[OrderState.FILLED, OrderState.WORKING]]
        assert tifs(market)[1] == TimeInForce.OPG
        assert states(market) == [OrderState.FILLED] * 2


class Out(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Buys, rests a limit far above, and closes at the session's end."""

    def next(self) -> None:
        if len(self) == 3:
            self.buy(size=10)
        elif len(self) == 6:
            self.sell(size=10, exectype=bt.Order.Limit, price=round(self.data.close[0] * 1.5, 2))
        elif len(self) == LAST + 1:
            self.close()


def test_an_exit_is_not_held_because_a_limit_waits_for_its_price(bars: q.Bars, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    with tws_market(bars) as market:
        market.recheck = lambda feed: "the close is another one"
        overnight(market, (60, lambda market: seen.append(tifs(market))))
        market.start(tmp_path).run(Out)
        assert seen == [[TimeInForce.DAY, TimeInForce.GTC, TimeInForce.OPG]]
        assert [s.filled for s in market.desk.orders] == [10, 0, -10]


def test_of_a_reversal_the_exit_goes_and_the_entry_stays(bars: q.Bars, tmp_path: Path) -> None:
    with tws_market(bars) as market:
        market.recheck = lambda feed: "the close is another one"
        overnight(market, (10, nothing))
        trade(market.start(tmp_path), {3: 1.0, LAST: -1.0})
        assert [s.filled for s in market.desk.orders] == [10, -10]


def test_an_entry_that_nobody_could_look_at_is_not_sent_after_the_cut_off(
    bars: q.Bars, tmp_path: Path
) -> None:
    with tws_market(bars) as market:
        market.recheck = lambda feed: None
        overnight(market, (10, nothing), (3, nothing), (2, nothing))
        trade(market.start(tmp_path), {LAST: 1.0})
        assert market.desk.orders == ()
        assert "took no more orders" in alarms(market)


def test_a_position_that_has_changed_holds_an_entry_back(bars: q.Bars, tmp_path: Path) -> None:
    def another(market: TwsMarket) -> None:
        market.broker.account._quantity[756733] = Decimal(5)

    with tws_market(bars) as market:
        market.recheck = lambda feed: ""
        overnight(market, (60, another), (10, nothing))
        trade(market.start(tmp_path), {LAST: 1.0})
        assert market.desk.orders == ()
        assert "what is held has changed since it was decided: 0 then, 5 now" in alarms(market)


def test_a_halt_at_night_drops_the_entry_for_good(bars: q.Bars, tmp_path: Path) -> None:
    def halt(market: TwsMarket) -> None:
        market.desk.halt("somebody looks", market.now)
        market.broker.poll()
        market.desk.clear("somebody", "looked", market.now)

    with tws_market(bars) as market:
        market.recheck = lambda feed: ""
        overnight(market, (60, halt), (10, nothing))
        trade(market.start(tmp_path), {LAST: 1.0})
        assert [s for s in market.desk.orders if s.filled] == []
        assert "somebody looks" in alarms(market)


# ---------------------------------------------------------------- what risk limits see of the night
@pytest.mark.parametrize("row", [LAST, LAST - 1])
def test_the_price_of_the_close_does_not_age_at_night(bars: q.Bars, row: int) -> None:
    seen = bars[: row + 1]

    class Stub(SimpleNamespace):
        def __len__(self) -> int:
            return row + 1

    feed = Stub(bars=seen, close=[float(seen.close[-1])], _filters=[], _timeframe=4, _compression=15)
    opens = int(bars.times.begin[LAST + 1])
    found = market(feed, opens - 20 * MINUTE)
    assert found.at == (opens - 20 * MINUTE if row == LAST else int(seen.end[-1]))
    assert (found.is_open, found.cutoff) == (False, opens - 2 * MINUTE)
    assert market(feed, opens + MINUTE).at == int(seen.end[-1])
    assert market(feed, opens + MINUTE).cutoff is None


# ---------------------------------------------------------------- the whole runner
@pytest.mark.parametrize("revised", [False, True])
def test_a_runner_holds_a_daily_decision_over_night(
    data: Path, monkeypatch: pytest.MonkeyPatch, revised: bool
) -> None:
    """Its target is 1 on the 16th of May; IB's history is asked again before the open of the 17th."""
    monkeypatch.setattr("quant.live.store.MEASURE_S", 0.1)  # the clock is moved on by hours
    if revised:
        differs = Incoming._differs
        monkeypatch.setattr(
            Incoming, "_differs", lambda self, rows: differs(self, {s: _moved(r) for s, r in rows.items()})
        )
    outside = Jumping()
    job = draft(data, bar="1d", history_start="2024-04-01", start_rule="first-target")
    goals = [at("2024-05-16 20:10"), at("2024-05-17 13:00"), at("2024-05-17 13:17"), at("2024-05-17 13:32")]
    seen: list[str] = []
    ahead = 0

    def night(picture: dict[str, Any]) -> bool:
        nonlocal ahead
        now = at(picture["time"].removesuffix(" UTC"))
        waits = any("is held for the open" in why for why in picture["why"])
        if ahead == 0 and picture["settled"]:
            jump(now)
        elif ahead in (1, 2) and now >= goals[ahead - 1] and waits:
            assert picture["orders"] == []
            jump(now)
        elif ahead == 3 and now >= goals[2]:
            seen[:] = [o["tif"] for o in picture["orders"] if o["state"] == "working"]
            dropped = any("was not sent for the open" in note for note in picture["notes"])
            if dropped if revised else seen:
                jump(now)
        elif ahead == 4 and now >= goals[3]:
            return revised or bool(picture["feeds"][0]["position"])
        return False

    def jump(now: int) -> None:
        nonlocal ahead
        outside.more += max(goals[ahead] - now, 0) // 10
        ahead += 1

    with tws(start=at("2024-05-16 19:00"), outside=outside, speed=10.0) as port:
        ended, told = play(job, port, data, night)
        there = books(port)
    assert ended.code == 0, told
    held = ledger(data, job)
    assert sum((p.quantity for p in there.positions), Decimal(0)) == position(held)
    if revised:
        assert held.intents == (), told
    else:
        assert seen == ["OPG"], told
        assert [s.state for s in standings(held)] == [OrderState.FILLED], told


def _moved(row: Any) -> Any:
    return row._replace(close=row.close + 0.01)
