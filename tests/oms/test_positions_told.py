"""TWS tells each change of a position: what a person closes by hand is known within seconds, not with the next look."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from joined import Joined
from order_broker import SECOND, Booked
from order_world import World

from quant.core.orders import Kind, Position, Snapshot, Ticket, Told
from quant.oms.desk.setup import Link
from quant.oms.desk.watch import Watch
from quant.oms.gate import Gate
from quant.tws.order_faults import FILL, OrderDo, OrderFault
from quant.tws.session import Session as TwsSession
from tests.oms.trader import SPY

SOON_S = 4  # two until it is no fill of ours that is still on its way, and a snapshot


def there(joined: Joined) -> Decimal:
    return joined.world.tws.account.holding(joined.listings[SPY]).quantity


def bought(joined: Joined, quantity: int) -> Joined:
    desk, wanted = joined.trader.desk, desk_position(joined) + quantity
    joined.trader.submit(joined.trader.ticket(quantity))
    return joined.until(lambda: desk.positions.get(SPY, 0) == wanted)


def desk_position(joined: Joined) -> Decimal:
    return joined.trader.desk.positions.get(SPY, Decimal(0))


@pytest.mark.parametrize("do", [OrderDo.HAND_CLOSE, OrderDo.LIQUIDATE])
def test_what_was_closed_seconds_ago_is_not_sold_again(tmp_path: Path, do: OrderDo) -> None:
    closed = OrderFault(do, on=FILL, symbol="SPY", seconds=15.0)  # a look at the books is due 45 s later
    joined = bought(Joined(tmp_path, faults=[closed]).start().opened(), 10)
    joined.until(lambda: there(joined) == 0)
    joined.run(SOON_S)
    assert SPY in joined.trader.desk.halted_instruments
    (answer,) = joined.trader.submit(joined.trader.ticket(-10))
    assert [refusal.code for refusal in answer.refusals] == ["opens-at-broker"]
    joined.run(30)
    assert there(joined) == 0
    assert joined.trader.desk.gate is Gate.OPEN


def test_another_connection_tells_them_too(tmp_path: Path) -> None:
    closed = OrderFault(OrderDo.HAND_CLOSE, on=FILL, symbol="SPY", seconds=40.0)
    joined = bought(Joined(tmp_path, faults=[closed]).start().opened(), 10)
    line = joined.world.line
    assert line is not None
    line.die(deliver=True)
    joined.until(lambda: not joined.trader.desk.settled).opened()
    assert there(joined) == 10
    joined.until(lambda: there(joined) == 0)
    joined.run(SOON_S)
    assert SPY in joined.trader.desk.halted_instruments


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the simulated TWS was asked for what."""
    seen: Counter[str] = Counter()
    receive = TwsSession.receive

    def keep(self: TwsSession, request: Any, *args: Any, **kwargs: Any) -> None:
        seen[type(request).__name__] += 1
        receive(self, request, *args, **kwargs)

    monkeypatch.setattr(TwsSession, "receive", keep)
    return seen


def test_fills_of_ours_ask_for_nothing(
    tmp_path: Path, asked: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def traded(folder: Path) -> Counter[str]:
        asked.clear()
        joined = Joined(folder).start().opened()
        for _ in range(10):
            bought(joined, 10).run(7)
            bought(joined, -10).run(7)
        joined.stop()
        return asked.copy()

    told = []
    tell = Watch.tell
    monkeypatch.setattr(Watch, "tell", lambda self, *args: told.append(args) or tell(self, *args))
    found = traded(tmp_path / "told")
    assert len(told) >= 18  # one came while the books were read
    monkeypatch.setattr(Watch, "tell", lambda self, *args: None)
    assert found == traded(tmp_path / "deaf")
    assert found["PlaceOrderRequest"] == 20
    assert 4 <= found["PositionsRequest"] <= 7  # two, and one a minute
    assert found["CancelPositions"] == found["PositionsRequest"] - 1


# ---------------------------------------------------------------- a fill and its position in either order
def held(quantity: int, con_id: int = SPY, account: str = "DU1") -> Position:
    return Position(account, con_id, "SPY", Decimal(quantity), 100.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).start().opened().run(10)


@pytest.fixture
def looks(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """When the books were asked for."""
    seen: list[int] = []
    begin = world.broker.begin_snapshot
    monkeypatch.setattr(world.broker, "begin_snapshot", lambda: seen.append(world.now) or begin())
    return seen


def tell(world: World, *positions: Position) -> None:
    world.desk.take(positions, world.now)
    world.desk.tick(world.now)


def test_a_position_ahead_of_its_fill_is_waited_for(world: World, looks: list[int]) -> None:
    world.send(1)
    tell(world, held(1))
    world.run(5)
    assert world.desk.positions == {SPY: 1}
    assert looks == []


def test_one_behind_its_fill_is_nothing_new(world: World, looks: list[int]) -> None:
    world.send(10)
    world.run(5)
    tell(world, held(10))
    world.run(5)
    assert looks == []


def test_what_stays_unexplained_is_looked_for_once(world: World, looks: list[int]) -> None:
    began = world.now
    tell(world, held(-3))
    world.run(10)
    assert looks == [began + 2 * SECOND]  # the broker's books are ours: nothing follows


def test_what_is_not_ours_is_left_alone(world: World, looks: list[int]) -> None:
    tell(world, held(5, account="DU2"))
    world.run(10)
    assert looks == []


# ---------------------------------------------------------------- books read between the fills of one order
def filling(world: World, *parts: int) -> Booked:
    """Send an order that is filled by 6, and by a part more after each reading of positions."""
    world.broker.instant = False
    ref = world.send(20)
    world.run(5)
    order = next(o for o in world.broker.orders.values() if o.ticket.ref == ref)
    world.broker.fill(order, Decimal(6))
    left, finish = [Decimal(part) for part in parts], world.broker._finish

    def read(pieces: dict[str, object]) -> None:
        finish(pieces)
        part = left.pop(0) if left else Decimal(0)
        if part:
            world.broker.fill(order, part)

    world.broker._finish = read  # type: ignore[method-assign]  # the fault
    return order


def told(world: World) -> list[str]:
    return [alarm.text for alarm in world.alarms if "broker" in alarm.text]


def test_fill_behind_the_reading_of_positions_is_neither_told_nor_closes_the_gate(
    world: World, looks: list[int]
) -> None:
    filling(world, 2, 2)
    world.until(lambda: bool(looks), 90)
    for _ in range(30):
        world.second()
        assert world.desk.gate is Gate.OPEN
    assert world.desk.positions == {SPY: 10}
    assert told(world) == []
    assert len(looks) == 3  # soon again, until both are the same


def test_nor_do_fills_that_came_in_one_go_when_only_one_of_them_was_in_the_positions(world: World) -> None:
    order = filling(world)
    finish = world.broker._finish

    def read(pieces: dict[str, object]) -> None:
        world.broker.fill(order, Decimal(2))
        finish(pieces)
        world.broker.fill(order, Decimal(2))
        world.broker._finish = finish  # type: ignore[method-assign]  # the fault

    world.broker._finish = read  # type: ignore[method-assign]  # the fault
    for _ in range(90):
        world.second()
        assert world.desk.gate is Gate.OPEN
    assert world.desk.positions == {SPY: 10}
    assert told(world) == []


def test_fill_behind_the_second_of_two_readings_is_not_told(world: World) -> None:
    filling(world, 0, 2)
    world.desk.on_link(Link.BACK, world.now)
    world.run(11)
    assert world.desk.positions == {SPY: 8}
    assert world.desk.gate is Gate.RECONCILING  # it waits for two that have it
    assert told(world) == []
    world.opened()
    assert told(world) == []


def test_position_that_lags_its_fill_for_longer_is_told_only_if_it_stays(world: World) -> None:
    filling(world)
    world.run(10)  # longer than a fill and its position are apart as a rule
    world.broker.hide_positions = 1
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 90).opened()
    assert told(world) == []
    world.broker.hide_positions = 10
    world.until(lambda: world.desk.gate is Gate.RECONCILING, 90).run(12)
    assert [text for text in told(world) if "the broker holds 0, ours are 6" in text]


@pytest.mark.parametrize("gone", [1, 5])
def test_difference_that_is_none_of_the_fills_is_found_while_they_come(
    world: World, looks: list[int], gone: int
) -> None:
    """Of 1 share it could be a fill's until they end."""
    filling(world, 2, 2)
    world.broker.held[SPY] -= gone
    world.until(lambda: bool(looks), 90)
    world.until(lambda: f"SPY: the broker holds {10 - gone}, ours are 10" in " ".join(told(world)), 30)
    world.until(lambda: bool(world.desk.halted), 90)


# ---------------------------------------------------------------- looks that are wanted
def place_by_hand(world: World) -> None:
    """Somebody places an order in TWS that waits for its price."""
    ticket = Ticket("", "DU1", SPY, "SPY", Decimal(5), Kind.LIMIT, 90.0)
    order = Booked(ticket, 0, -1, 77, "Submitted", 0)
    world.broker.orders[0, -1] = order
    world.broker.tell(order)


def test_a_look_that_is_wanted_while_the_books_are_read_comes_after_it(
    world: World, looks: list[int]
) -> None:
    world.until(lambda: bool(looks), 90)
    world.run(2)  # the open orders are read
    place_by_hand(world)
    world.run(8)
    assert len(looks) == 2
    assert SPY in world.desk.halted_instruments
    world.run(40)
    assert len(looks) == 2  # once


def test_a_look_under_way_that_began_after_it_was_wanted_is_enough(world: World, looks: list[int]) -> None:
    world.desk.flatten("Ada", world.now)  # wants one at each tick until it was read
    world.run(20)
    assert world.desk.closing == ()
    assert len(looks) == 1


def test_a_cancel_that_tws_does_not_confirm_is_looked_for_once(
    world: World, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """IB: an orderStatus may lack. An exit in the place of this one waits for it, and nothing guards meanwhile."""
    ref = world.send(10, kind=Kind.LIMIT, limit=98.0)
    world.run(3)
    say = world.broker.say
    monkeypatch.setattr(world.broker, "say", lambda report: isinstance(report, Told) and say(report))
    world.desk.cancel(ref, world.now)
    world.run(12)
    assert world.state(ref) == "cancelled"
    assert len(looks) == 1


def test_one_that_is_confirmed_is_not(world: World, looks: list[int]) -> None:
    ref = world.send(10, kind=Kind.LIMIT, limit=98.0)
    world.run(3)
    world.desk.cancel(ref, world.now)
    world.run(12)
    assert world.state(ref) == "cancelled"
    assert looks == []


def test_a_look_that_is_wanted_at_a_moment_is_not_begun_again_and_again_until_then(world: World) -> None:
    """A TWS answers in a tenth of a second; IB counts what it is asked."""
    asked: list[int] = []
    answers: list[Snapshot] = []

    class Quick:
        def begin_snapshot(self) -> None:
            asked.append(world.now)
            answers.append(Snapshot(world.now, world.now, 1, 1, (), (), (), (), (), ()))

        def snapshot(self) -> Snapshot | None:
            return answers.pop() if answers else None

    watch, began = Watch(Quick(), world.setup), world.now  # type: ignore[arg-type]
    watch.settle(began)
    watch.soon(began + 2 * SECOND)  # as after fills that came while the books were read
    watch.soon(began)  # as after an order of somebody else's
    for _ in range(50):
        if watch.poll(world.now) is not None:
            watch.settle(world.now)
        world.now += SECOND // 10
    assert asked == [began, began + 2 * SECOND]
