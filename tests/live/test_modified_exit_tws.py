"""Modified exits at the simulated TWS, over the wire: what is held is guarded at each moment, by TWS's own books."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from bar_exchange import CAPITAL
from test_live_tws import expected, fills, trade
from tws_market import TwsMarket, tws_market

import quant as q
from quant.core.barsize import SECOND
from quant.core.orders import Kind
from quant.oms.desk.setup import Link
from quant.tws.order_faults import MODIFY, OrderDo, OrderFault, OrderFaults

SPY = 756733
HELD, MOVED = 3, 6  # bars of the entry's decision, and from which on the stop moves
TURN = 12  # the bar from which the price falls through all stops


def rising(rows: int = TURN + 3) -> q.Bars:
    """Return a session that rises by half a percent a bar, and falls by a tenth from `TURN` on."""
    made = q.synthetic("SPY", "15m", "2024-05-15", "2024-05-15", seed=4, volatility=0.1)[:rows]
    made = replace(made, instrument=replace(made.instrument, con_id=SPY, tick=0.01))
    close = np.round(100.0 * 1.005 ** np.arange(len(made)), 2)
    close[TURN:] = 90.0
    opened = np.concatenate([[100.0], close[:-1]])
    opened[TURN] = close[TURN - 1]
    high, low = np.maximum(opened, close) + 0.01, np.minimum(opened, close) - 0.01
    return replace(made, open=opened, high=high, low=low, close=close)


@pytest.fixture(scope="session")
def bars() -> q.Bars:
    return rising()


class Follows(q.Strategy):
    """Long from a bar on, with a stop close below each close; with `limit`, a limit above it that moves as well."""

    params = dict(limit=0.0)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        row = np.arange(len(bars))
        stop = np.where(row < TURN, np.round(bars.close * 0.99, 2), np.nan)  # what fills then stays as it is
        # Its price changes at each second bar only.
        limit = np.round(bars.close[row // 2 * 2] * (1.0 + p.limit), 2) if p.limit else None
        return q.Signals(row >= HELD, stop, limit, follow_stop=True)


@dataclass
class Watch:
    """What TWS has had in its books whenever it told something. bare: moments without a stop of all that is held."""

    market: TwsMarket
    prices: dict[int, list[float]] = field(default_factory=dict)  # by perm id, of stops
    limits: dict[int, list[float]] = field(default_factory=dict)
    held: list[Decimal] = field(default_factory=list)
    bare: list[tuple[Decimal, Decimal]] = field(default_factory=list)
    during: dict[str, list[float]] = field(default_factory=dict)

    def look(self) -> None:
        tws = self.market.exchange.server.tws
        held = sum((h.quantity for h in tws.account.holdings), Decimal(0))
        self.held.append(held)
        stops = [one for one in tws.exchange.open_orders if one.request.kind == "STP"]
        covered = -sum((one.request.side * one.remaining for one in stops), Decimal(0))
        if held and covered != held:
            self.bare.append((held, covered))
        for one in tws.exchange.open_orders:
            r = one.request
            if r.kind in ("STP", "LMT"):
                found = (self.prices if r.kind == "STP" else self.limits).setdefault(one.perm_id, [])
                price = r.stop if r.kind == "STP" else r.limit
                if not found or found[-1] != price:
                    found.append(float(price or 0.0))

    def working(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for one in self.market.exchange.server.tws.exchange.open_orders:
            r = one.request
            found.setdefault(r.kind, []).append(float((r.stop if r.kind == "STP" else r.limit) or 0.0))
        return found


@contextmanager
def watched(bars: q.Bars, *faults: OrderFault) -> Iterator[tuple[TwsMarket, Watch]]:
    with tws_market(bars) as market:
        tws = market.exchange.server.tws
        tws.order_faults = OrderFaults(faults)
        found, tell = Watch(market), tws.tell

        def told(*args: Any, **kwargs: Any) -> None:
            found.look()
            tell(*args, **kwargs)

        tws.tell = told
        yield market, found


def follows(market: TwsMarket, **params: Any) -> Any:
    return trade(market, Follows, **params)


def closes(bars: q.Bars, share: float, rows: range) -> list[float]:
    return [round(float(bars.close[row]) * share, 2) for row in rows]


# ---------------------------------------------------------------- without faults
def test_a_followed_stop_is_one_order_with_many_prices(bars: q.Bars, tmp_path: Path) -> None:
    run = q.backtest(Follows, bars, cash=CAPITAL, save=False)
    with watched(bars) as (market, tws):
        follows(market.start(tmp_path))
        ((_, prices),) = tws.prices.items()
        assert prices == closes(bars, 0.99, range(HELD, TURN))
        assert tws.bare == []
        assert max(tws.held) > 0
        assert tws.held[-1] == 0
        assert tws.working() == {}
        assert fills(market) == expected(run)
        assert market.broker.getcash() == pytest.approx(run.final_cash, abs=0.005)


def test_a_pair_moves_at_tws_and_stays_tied(bars: q.Bars, tmp_path: Path) -> None:
    """It fills by its stop, and the limit ends with it; each has one perm id from its entry on."""
    run = q.backtest(Follows, bars, params={"limit": 0.2}, cash=CAPITAL, save=False)
    with watched(bars) as (market, tws):
        placed: list[tuple[int, float | None]] = []
        plain = market.exchange.place

        def place(order_id: int, ticket: Any, parent_id: int | None = None) -> None:
            if ticket.kind in (Kind.STOP, Kind.LIMIT):
                placed.append((order_id, ticket.stop if ticket.limit is None else ticket.limit))
            plain(order_id, ticket, parent_id)

        market.exchange.place = place
        follows(market.start(tmp_path), limit=0.2)
        assert len(tws.prices) == len(tws.limits) == 1
        assert tws.bare == []
        assert tws.held[-1] == 0
        assert tws.working() == {}
        assert fills(market) == expected(run)
        for order_id in {n for n, _ in placed}:  # only what changed was sent
            prices = [price for n, price in placed if n == order_id]
            assert all(a != b for a, b in pairwise(prices))
        stops, limits = (len(next(iter(found.values()))) for found in (tws.prices, tws.limits))
        assert stops == TURN - HELD
        assert limits == len({row // 2 for row in range(HELD, TURN)})
        assert len(placed) == stops + limits


def test_the_limit_of_a_moved_pair_fills_and_the_stop_ends_with_it(bars: q.Bars, tmp_path: Path) -> None:
    run = q.backtest(Follows, bars, params={"limit": 0.011}, cash=CAPITAL, save=False)
    with watched(bars) as (market, tws):
        follows(market.start(tmp_path), limit=0.011)
        (first, *_) = run.fills.itertuples()
        out = run.fills.iloc[1]
        assert float(out.price) > first.price * 1.005
        assert fills(market) == expected(run)
        assert tws.bare == []
        assert tws.working() == {}


@pytest.mark.parametrize("limit", [0.0, 0.2])
def test_the_next_process_moves_the_same_orders(bars: q.Bars, tmp_path: Path, limit: float) -> None:
    """One perm id each, and TWS sees each price once, whichever process has sent it."""
    run = q.backtest(Follows, bars, params={"limit": limit}, cash=CAPITAL, save=False)
    with watched(bars) as (market, tws):
        market.start(tmp_path)
        for ends in (MOVED, MOVED + 2, None):
            market.stop_after = ends
            follows(market, limit=limit)
            if ends is not None:
                market.again(tmp_path)
        ((_, stops),) = tws.prices.items()
        assert stops == closes(bars, 0.99, range(HELD, TURN))
        assert [len(found) for found in tws.limits.values()] == ([5] if limit else [])
        assert tws.bare == []
        assert tws.working() == {}
        assert fills(market) == expected(run)
        assert market.broker.getcash() == pytest.approx(run.final_cash, abs=0.005)


class Moves(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """A plain program with a bracket, whose exits it sends anew at each bar."""

    def __init__(self) -> None:
        self.exits: list[bt.Order] = []
        self.told: list[tuple[int, str]] = []
        self.closed = 0

    def notify_order(self, order: bt.Order) -> None:
        self.told.append((order.ref, order.getstatusname()))

    def notify_trade(self, trade: bt.Trade) -> None:
        self.closed += trade.isclosed

    def next(self) -> None:
        row, close = len(self) - 1, self.data.close[0]
        low, high = round(close * 0.99, 2), round(close * 1.2, 2)
        if row == HELD:
            _, *self.exits = self.buy_bracket(
                size=10, exectype=bt.Order.Market, stopprice=low, limitprice=high
            )
        elif self.position and row >= MOVED:
            self.cancel(self.exits[0])  # the other one goes with it
            stop = self.sell(size=10, exectype=bt.Order.Stop, price=low)
            self.exits = [stop, self.sell(size=10, exectype=bt.Order.Limit, price=high, oco=stop)]


def test_a_plain_program_moves_the_children_of_its_bracket(bars: q.Bars, tmp_path: Path) -> None:
    with watched(bars) as (market, tws):
        ran = market.start(tmp_path).run(Moves)
        ((_, stops),) = tws.prices.items()
        assert stops == closes(bars, 0.99, range(HELD, HELD + 1)) + closes(bars, 0.99, range(MOVED, TURN))
        assert len(tws.limits) == 1
        assert tws.bare == []
        assert tws.working() == {}
        assert ran.closed == 1
        assert ran.position.size == tws.held[-1] == 0
        ways: dict[int, list[str]] = {}
        for number, word in ran.told:
            ways.setdefault(number, []).append(word)
        words = [tuple(way) for _, way in sorted(ways.items())]
        assert words[0] == ("Submitted", "Accepted", "Completed")
        assert set(words[1:-2]) == {("Submitted", "Accepted", "Canceled")}
        assert sorted(way[-1] for way in words[-2:]) == ["Canceled", "Completed"]


# ---------------------------------------------------------------- what TWS does to a change
@dataclass
class Heard:
    """What a person was told: (UTC ns, words)."""

    market: TwsMarket
    words: list[tuple[int, str]] = field(default_factory=list)

    def look(self, seconds: int) -> None:
        for _ in range(seconds):
            self.market.seconds(1)
            self.words += [(self.market.now, alarm.text) for alarm in self.market.broker.alarms()]

    def soon(self, words: str, moment: int) -> bool:
        """Return whether they were told within a quarter of a minute of a moment."""
        return any(words in text and 0 <= at - moment <= 15 * SECOND for at, text in self.words)


def troubled(bars: q.Bars, folder: Path, market: TwsMarket, tws: Watch) -> Heard:
    """Follow the stop, and look closely at TWS behind its first move."""
    heard = Heard(market)

    def look(step: int) -> None:
        if step in (HELD + 1, HELD + 2, TURN + 1):  # before and behind the first move, and behind the fill
            heard.look(40)

    market.before_bar.append(look)
    follows(market.start(folder))
    return heard


def agree(market: TwsMarket, tws: Watch, held: int = 0) -> None:
    """Check that TWS and we have the same, and that nothing rests."""
    assert tws.held[-1] == held
    assert market.desk.positions.get(SPY, 0) == held
    assert market.broker.account.quantity(SPY) == held
    assert tws.working() == {}
    assert market.desk.open_orders == ()


DIFFERS = "order q1:t:2: stop is 100.49, not 101.0"
TOLD = {  # what a person hears of it, "" = nothing
    OrderFault(OrderDo.DROP, on=MODIFY): DIFFERS,
    OrderFault(OrderDo.REJECT, on=MODIFY, code=201, text="Order rejected - reason: cannot modify"): DIFFERS,
    OrderFault(OrderDo.LATE, on=MODIFY, seconds=20.0): DIFFERS,
    OrderFault(OrderDo.PRESET, on=MODIFY): "order q1:t:2: tif is DAY, not GTC",
    OrderFault(OrderDo.WARN, on=MODIFY, code=399, text="Order message: a warning"): "",
    OrderFault(OrderDo.INACTIVE, on=MODIFY, seconds=5.0): "",
    OrderFault(OrderDo.REPEAT, on=MODIFY, count=0): "",
    OrderFault(OrderDo.REVERSE, on=MODIFY, count=0): "",
    OrderFault(OrderDo.MUTE, on=MODIFY): "",
    OrderFault(OrderDo.LOSE_STATUS, on=MODIFY, count=0): "",
    OrderFault(OrderDo.EXEC_FIRST, on=MODIFY, count=0): "",
    OrderFault(OrderDo.PARTS, on=MODIFY, count=0, share=0.999): "",
    OrderFault(OrderDo.LOSE_EXEC, on=MODIFY, count=0): "",
}


@pytest.mark.parametrize("fault", TOLD, ids=lambda fault: str(fault.do))
def test_a_change_that_goes_wrong_is_put_right_and_nothing_held_lacks_its_stop(
    bars: q.Bars, tmp_path: Path, fault: OrderFault
) -> None:
    with watched(bars, fault) as (market, tws):
        heard = troubled(bars, tmp_path, market, tws)
        assert market.exchange.server.tws.order_faults.played[fault.do]
        assert tws.bare == []
        ((_, prices),) = tws.prices.items()
        assert prices == closes(bars, 0.99, range(HELD, TURN))
        agree(market, tws)
        assert market.desk.halted == ""
        if TOLD[fault]:
            assert heard.soon(TOLD[fault], int(bars.end[HELD + 1])), heard.words
        else:
            assert not [text for _, text in heard.words if "q1:t:2" in text]


@pytest.mark.parametrize("do", [OrderDo.REJECT, OrderDo.DROP])
def test_where_no_change_ever_comes_through_the_first_stop_stays_and_a_person_is_told(
    bars: q.Bars, tmp_path: Path, do: OrderDo
) -> None:
    fault = OrderFault(do, on=MODIFY, count=0, code=201, text="Order rejected - reason: cannot modify")
    with watched(bars, fault) as (market, tws):
        heard = troubled(bars, tmp_path, market, tws)
        assert tws.bare == []
        ((_, prices),) = tws.prices.items()
        assert prices == closes(bars, 0.99, range(HELD, HELD + 1))
        assert heard.soon(DIFFERS, int(bars.end[HELD + 1])), heard.words
        assert DIFFERS in market.desk.halted  # it cannot be put right
        agree(market, tws)


def test_a_hand_that_makes_a_moved_stop_smaller_is_put_right(bars: q.Bars, tmp_path: Path) -> None:
    with watched(bars, OrderFault(OrderDo.HAND_MODIFY, on=MODIFY, quantity=10.0)) as (market, tws):
        heard = troubled(bars, tmp_path, market, tws)
        held = max(tws.held)
        assert heard.soon(f"order q1:t:2: quantity is -10, not -{held}", int(bars.end[HELD + 1])), heard.words
        assert set(tws.bare) == {(held, Decimal(10))}  # until that was seen
        ((_, prices),) = tws.prices.items()
        assert prices == closes(bars, 0.99, range(HELD, TURN))
        agree(market, tws)


def test_a_second_order_in_the_place_of_a_change_stops_all_and_is_told(bars: q.Bars, tmp_path: Path) -> None:
    """nautilus 4564: two live orders under one id. What is held has its stop, twice; a person has to look."""
    with watched(bars, OrderFault(OrderDo.TWIN)) as (market, tws):
        heard = Heard(market)
        market.before_bar.append(lambda step: heard.look(20) if step == HELD + 2 else None)
        market.stop_after = TURN - 2  # before the price falls through both
        follows(market.start(tmp_path))
        held = max(tws.held)
        assert heard.soon("order q1:t:2: several permIds under one reference", int(bars.end[HELD + 1]))
        assert "several permIds" in market.desk.halted
        assert set(tws.bare) == {(held, 2 * held)}
        assert market.desk.positions[SPY] == tws.held[-1] == held


@pytest.mark.parametrize("late", [0.0, 1200.0])
def test_the_old_price_fills_while_its_change_is_on_the_way(
    bars: q.Bars, tmp_path: Path, late: float
) -> None:
    """TWS gets the last change behind the fill, or never; until then it works the price before."""
    do = OrderDo.LATE if late else OrderDo.DROP
    fault = OrderFault(do, on=MODIFY, skip=TURN - HELD - 2, seconds=late)
    with watched(bars, fault) as (market, tws):
        ran: list[Any] = []

        class Told(Follows):
            def notify_order(self, order: bt.Order) -> None:
                if order.executed.size:
                    ran.append((order.getordername(), order.getstatusname(), order.executed.price))

            def notify_trade(self, trade: bt.Trade) -> None:
                if trade.isclosed:
                    ran.append("closed")

        trade(market.start(tmp_path), Told)
        ((_, prices),) = tws.prices.items()
        assert prices == closes(bars, 0.99, range(HELD, TURN - 1))
        entry, stop, closed = dict.fromkeys(ran)
        assert (entry[:2], closed) == (("Market", "Completed"), "closed")
        assert stop == ("Stop", "Completed", prices[-1])
        agree(market, tws)
        assert tws.bare == []
        assert market.desk.halted == ""


# ---------------------------------------------------------------- a link that is cut
@pytest.mark.parametrize("moves", [1, 3])
def test_no_change_is_sent_while_tws_has_lost_ib(
    bars: q.Bars, tmp_path: Path, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change during 1100 became a second live order (nautilus 4564)."""
    cut = range(MOVED, MOVED + moves)  # steps whose bars end without IB
    with watched(bars) as (market, tws):
        plain, placed = market.open_gate, market.exchange.place
        sent: list[int] = []

        def place(*args: Any) -> None:
            sent.append(market.step)
            placed(*args)

        def gate() -> None:
            if market.step not in cut:
                plain()

        def link(step: int) -> None:
            if step == cut.start:
                market.broker.on_link(Link.CUT)

        def advance() -> bool:
            if market.step == cut.stop - 1:
                tws.during = tws.working()
                market.broker.on_link(Link.BACK)
            return on()

        on = market.advance
        market.before_bar.append(link)
        monkeypatch.setattr(market, "advance", advance)
        market.exchange.place = place
        monkeypatch.setattr(market, "open_gate", gate)
        follows(market.start(tmp_path))
        assert not set(sent) & set(cut)
        assert tws.during == {"STP": closes(bars, 0.99, range(MOVED - 1, MOVED))}
        assert tws.bare == []
        ((_, prices),) = tws.prices.items()
        skipped = closes(bars, 0.99, range(MOVED, MOVED + moves - 1))
        assert prices == [p for p in closes(bars, 0.99, range(HELD, TURN)) if p not in skipped]
        agree(market, tws)
