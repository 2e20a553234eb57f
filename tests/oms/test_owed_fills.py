"""A fill of which the broker tells the status before the execution: nothing closes the same once more meanwhile."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from moved import held, there
from order_world import SPY, World

from quant.core.orders import Commission, Execution, Report


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A desk whose gate is open."""
    return World(tmp_path).start().opened()


def stopped_out(world: World, filled: int = -10) -> list[Report]:
    """Fill the stop of ten, or a part of it; return what tells the execution, which has not come yet."""
    ref = held(world)
    world.broker.instant = False
    world.broker.fill(there(world, ref), Decimal(filled))
    late = [r for r in world.broker.inbox if isinstance(r, Execution | Commission)]
    world.broker.inbox = [r for r in world.broker.inbox if r not in late]
    world.desk.take(world.broker.reports(), world.now)
    assert world.desk.positions == {SPY: 10}  # fills come from executions alone
    return late


def test_a_close_waits_for_the_execution_and_is_not_sent(world: World) -> None:
    late = stopped_out(world)
    placed = len(world.broker.placed)
    close = world.send(-10)
    assert len(world.broker.placed) == placed
    world.desk.take(late, world.now)
    world.run(3)
    assert (world.state(close), len(world.broker.placed)) == ("not sent", placed)
    assert (world.broker.held[SPY], world.desk.positions) == (0, {})


def test_an_execution_that_never_comes_is_read_from_the_books_soon(world: World) -> None:
    stopped_out(world)
    placed = len(world.broker.placed)
    close = world.send(-10)
    world.run(15)
    assert (world.state(close), len(world.broker.placed)) == ("not sent", placed)
    assert world.broker.held[SPY] == 0


def test_a_close_of_the_rest_goes_out_once_the_part_is_known(world: World) -> None:
    late = stopped_out(world, -4)
    placed = len(world.broker.placed)
    close = world.send(-6)
    assert len(world.broker.placed) == placed
    world.desk.take(late, world.now)
    world.run(3)
    assert there(world, close).ticket.quantity == -6
