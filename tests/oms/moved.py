"""A world in which something is held and guarded, and exits that are given other prices there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from order_broker import Booked
from order_world import Killed, World

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.oms import failpoints
from quant.oms.desk.setup import Answer, Why
from quant.oms.gate import Gate, Purpose
from quant.oms.ledger import Mark


def held(world: World, quantity: int = 10) -> str:
    """Buy, or sell, with a stop, and return its ref."""
    entry, stop = world.bracket(quantity)
    world.submit(entry, stop)
    world.run(5)
    assert world.state(stop.ref) == "working"
    return stop.ref


def pair(world: World) -> tuple[str, str]:
    """Buy, and put a stop and a limit of one group over what is held; return their refs."""
    world.send(10)
    world.run(5)
    stop = world.ticket(-10, kind=Kind.STOP, stop=98.0, tif=TimeInForce.GTC)
    limit = world.ticket(-10, kind=Kind.LIMIT, limit=104.0, tif=TimeInForce.GTC, oca=stop.ref)
    world.submit(replace(stop, oca=stop.ref), limit)
    world.run(3)
    assert {world.state(stop.ref), world.state(limit.ref)} == {"working"}
    return stop.ref, limit.ref


def rests(world: World, limit: float = 104.0) -> str:
    """Buy, and let a limit wait to sell it; return its ref."""
    world.send(10)
    world.run(5)
    ref = world.send(-10, kind=Kind.LIMIT, limit=limit, tif=TimeInForce.GTC)
    world.run(3)
    assert world.desk.purpose(ref) is Purpose.REDUCTION
    return ref


def wanted(world: World, ref: str, **prices: float) -> Ticket:
    return replace(world.desk.intent(ref).ticket, **prices)  # type: ignore[arg-type]  # limit and stop alone


def modify(world: World, *tickets: Ticket, bar: int = 0) -> Answer:
    answer = world.desk.modify(tickets, Why(bar, text="follows"), world.now)
    world.read()
    return answer


def move(world: World, ref: str, stop: float, bar: int = 0) -> None:
    answer = modify(world, wanted(world, ref, stop=stop), bar=bar)
    assert answer.taken, answer


def there(world: World, ref: str) -> Booked:
    """The one order that the broker has under a reference."""
    (order,) = [o for o in world.broker.orders.values() if o.ticket.ref == ref]
    return order


def sent(world: World, ref: str) -> list[tuple[int, float | None]]:
    return [(order_id, t.stop) for order_id, t in world.broker.placed if t.ref == ref]


def marks(world: World, ref: str) -> list[Mark]:
    return [mark for mark in world.journal.load().marks if mark.ref == ref]


def agree(world: World, ref: str, stop: float) -> None:
    """Journal, process, a restart's reading and the broker have the same one order."""
    assert there(world, ref).is_open
    assert there(world, ref).ticket.stop == world.desk.intent(ref).ticket.stop == stop
    assert world.desk.gate is Gate.OPEN
    world.check_doubles()
    world.check_told()
    world.check_restart()


def stops(world: World) -> list[str]:
    return [alarm.text for alarm in world.alarms if alarm.stops]


def kill_at(world: World, place: str, act: Callable[[], object], times: int = 1) -> bool:
    """Do something, and end the process where it passes a place for the n-th time; return whether it did."""
    left = times

    def hook(name: str) -> None:
        nonlocal left
        left -= name == place
        if name == place and left == 0:
            raise Killed

    failpoints.hook = hook
    try:
        act()
    except Killed:
        world.kill()
        return True
    finally:
        failpoints.hook = None
    return False
