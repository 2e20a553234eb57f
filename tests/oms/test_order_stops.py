"""What a person's stop, an instrument's halt or a command to flatten leave behind when the process dies in between."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from order_world import QQQ, SPY, Killed, World

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.oms import failpoints
from quant.oms.gate import Gate
from quant.oms.ledger import Stop
from quant.oms.reconcile.outcome import Policy, Start


def again(world: World) -> World:
    """Kill the process and begin another."""
    world.kill()
    return world.start()


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Do something, and kill the process at the n-th place from there; False where it came through."""
    left = number

    def hook(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    failpoints.hook = hook
    try:
        act()
    except Killed:
        return True
    finally:
        failpoints.hook = None
    return False


def close(world: World) -> None:
    world.desk.flatten("Ada", world.now)
    world.until(partial(over, world), 60)


def over(world: World) -> bool:
    """Nothing is held, and no order works."""
    return not world.desk.positions and not world.desk.unsettled_orders


def ended(world: World, ref: str) -> bool:
    return world.state(ref) == "cancelled"


def foreign(world: World, order_id: int = 900) -> None:
    """Somebody else's order works in SPY."""
    world.broker.client_id = 0
    world.broker.book(order_id, Ticket("", "DU1", SPY, "SPY", Decimal(5), Kind.LIMIT, limit=90.0))
    world.broker.client_id = 7


# ---------------------------------------------------------------- halts of instruments
def test_instrument_stays_halted_over_a_restart_until_a_person_clears_it(tmp_path: Path) -> None:
    world = World(tmp_path).start().opened()
    foreign(world)
    world.run(70)
    why = world.desk.halted_instruments
    assert list(why) == [SPY]
    world.broker.end(world.broker.orders[0, 900], "Cancelled")
    again(world).opened()
    assert world.desk.halted_instruments == why
    refused = world.submit(world.ticket(10))[0].refusals
    assert {r.code for r in refused} == {"instrument-halted"}
    world.send(10, QQQ)
    world.desk.clear("Ada", "it was mine", world.now)
    assert again(world).opened().desk.halted_instruments == {}
    world.send(10)
    world.run(10).check()


def test_killed_while_an_instrument_is_halted_its_entries_end_all_the_same(tmp_path: Path) -> None:
    for number in count(1):
        world = World(tmp_path / str(number)).start().opened()
        world.broker.instant = False
        ref = world.send(10, kind=Kind.LIMIT, limit=99.0, tif=TimeInForce.GTC)
        world.run(3)
        foreign(world)
        if not killed_at(number, partial(world.run, 70)):
            break
        again(world).until(partial(ended, world, ref), 150)
        assert list(world.desk.halted_instruments) == [SPY], number
    assert number > 5, "there were places to die at"


def test_killed_while_a_person_halts_either_nothing_is_halted_or_all_entries_end(tmp_path: Path) -> None:
    halted = []
    for number in count(1):
        world = World(tmp_path / str(number)).start().opened()
        world.broker.instant = False
        refs = [world.send(10, c, kind=Kind.LIMIT, limit=99.0, tif=TimeInForce.GTC) for c in (SPY, QQQ)]
        world.run(3)
        if not killed_at(number, partial(world.desk.halt, "Ada looks", world.now)):
            break
        again(world).run(100)
        halted.append(world.desk.gate is Gate.HALTED)
        assert [ended(world, ref) for ref in refs] == [halted[-1]] * 2, number
    assert halted[0] is False
    assert sum(halted) >= 4, "there were places to die at"


@pytest.mark.parametrize("stop", [Stop.HALT, Stop.REDUCE])
def test_entries_that_a_killed_process_had_no_time_to_cancel_are_cancelled_by_the_next(
    stop: Stop, tmp_path: Path
) -> None:
    world = World(tmp_path).start().opened()
    world.broker.instant = False
    ref = world.send(10, kind=Kind.LIMIT, limit=99.0, tif=TimeInForce.GTC)
    world.run(3)
    world.journal.halt("daily loss", world.now, stop)  # and dies before the cancel
    again(world).until(lambda: world.state(ref) == "cancelled", 60)


# ---------------------------------------------------------------- flatten
def test_flatten_that_is_killed_anywhere_is_carried_out_by_the_next_process(tmp_path: Path) -> None:
    for number in count(1):
        world = World(tmp_path / str(number), seed=number).start().opened()
        world.submit(*world.bracket(10))
        world.send(-20, QQQ)
        world.run(15)
        assert world.desk.positions == {SPY: 10, QQQ: -20}
        world.desk.halt("Ada looks", world.now)
        if not killed_at(number, partial(close, world)):
            break
        asked = bool(world.journal.load().by_instrument(Stop.FLATTEN)) or not world.desk.positions
        again(world)
        if not asked:  # killed before the command was on the disk: Ada was not answered
            world.run(30)
            assert world.desk.flatten("Ada", world.now)
        world.until(partial(over, world), 90)
        world.run(30).check()
        assert world.broker.held[SPY] == world.broker.held[QQQ] == 0, number
        assert world.journal.load().by_instrument(Stop.FLATTEN) == {}, number
        assert world.desk.gate is Gate.HALTED
    assert number > 10, "there were places to die at"


def test_flatten_asked_for_before_the_books_agree_is_carried_out_when_they_do(tmp_path: Path) -> None:
    world = World(tmp_path).start().opened()
    world.send(10)
    world.run(10)
    again(world)
    assert [r.code for a in world.desk.flatten("Ada", world.now) for r in a.refusals] == ["not-settled"]
    again(world).until(lambda: not world.desk.positions, 60)
    world.run(10).check()


def test_flatten_that_a_person_clears_is_over(tmp_path: Path) -> None:
    world = World(tmp_path).start().opened()
    world.send(10)
    world.run(10)
    again(world).desk.flatten("Ada", world.now)  # not settled yet
    world.desk.clear("Ada", "changed her mind", world.now)
    again(world).opened().run(30)
    assert world.desk.positions == {SPY: 10}


def test_flatten_that_is_done_does_not_close_a_later_position(tmp_path: Path) -> None:
    world = World(tmp_path).start().opened()
    world.send(10)
    world.run(10)
    world.desk.flatten("Ada", world.now)
    world.until(lambda: world.desk.closing is not None)
    world.send(20)  # filled with it: no second passes with nothing held
    world.run(10)
    assert world.journal.load().by_instrument(Stop.FLATTEN) == {}
    again(world).opened().run(30)
    assert world.desk.positions == {SPY: 20}


def test_start_that_flattens_and_is_killed_anywhere_flattens_in_the_end(tmp_path: Path) -> None:
    for number in count(1):
        world = World(tmp_path / str(number), seed=number, policy=Policy(start=Start.FLATTEN))
        world.broker.held[SPY] = Decimal(50)
        world.start()
        if not killed_at(number, partial(world.run, 30)):
            break
        again(world).opened().until(partial(over, world))
        world.run(30).check()
        assert world.broker.held[SPY] == 0, number
        assert world.journal.load().by_instrument(Stop.FLATTEN) == {}, number
    assert number > 10, "there were places to die at"
