"""Orders over days that are not like others: a half day, the nights when clocks change, a split (rows O10, O12).

Hours by NYSE's calendar: on 2024-11-29 it closed at 13:00; clocks went forward on 2024-03-10 and back on 2024-11-03.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from joined import Joined

from quant.core.barsize import SECOND
from quant.core.orders import Kind
from quant.oms.gate import Gate
from quant.tws.order_faults import OrderDo, OrderFault
from quant.tws.serve import mishaps
from tests.oms.trader import SPY


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def holding(joined: Joined, quantity: int = 10) -> str:
    """Buy at the market with a stop far away, and let a DAY order rest; return the ref of that."""
    joined.trader.submit(*joined.trader.bracket(quantity, away=0.025))
    joined.until(lambda: joined.trader.desk.positions == {SPY: quantity})
    price = joined.prices()[SPY]
    rest = joined.trader.ticket(-quantity, kind=Kind.LIMIT, limit=round(price * 1.025, 2))
    assert joined.trader.submit(rest)[0].taken
    joined.run(5)
    return rest.ref


def states(joined: Joined) -> dict[str, str]:
    return {o.ref: str(o.state) for o in joined.trader.desk.orders}


def asleep_until(joined: Joined, moment: int) -> Joined:
    """The process is gone over a night or weekend, and another begins then."""
    joined.kill()
    joined.world.advance(moment)
    return joined.start().opened()


def closes_at_once(joined: Joined, quantity: int = -10) -> None:
    order = joined.trader.ticket(quantity)
    assert joined.trader.submit(order)[0].taken
    joined.until(lambda: states(joined)[order.ref] == "filled", 60)


def test_day_order_ends_at_the_early_close_of_a_half_day(tmp_path: Path) -> None:
    joined = Joined(tmp_path, start=utc("2024-11-29 17:45")).start().opened()
    rest = holding(joined)
    joined.sleep_until(utc("2024-11-29 17:59"))
    assert states(joined)[rest] == "working"
    joined.sleep_until(utc("2024-11-29 18:02"))
    assert states(joined)[rest] == "cancelled"
    assert sorted(states(joined).values()) == [
        "cancelled",
        "filled",
        "working",
    ]  # the stop is good till cancelled
    late = joined.trader.submit(joined.trader.ticket(5))[0]
    assert {r.code for r in late.refusals} == {"closed"}
    asleep_until(joined, utc("2024-12-02 14:31"))  # Monday, a minute after the open
    closes_at_once(joined)
    joined.quiet().check()
    joined.stop()


@pytest.mark.parametrize(
    ("friday", "closed", "monday"),
    [
        ("2024-03-08 20:50", "2024-03-08 21:02", "2024-03-11 13:31"),  # clocks went forward
        ("2024-11-01 19:50", "2024-11-01 20:02", "2024-11-04 14:31"),  # and back
    ],
)
def test_orders_follow_the_exchange_over_the_night_when_its_clocks_change(
    friday: str, closed: str, monday: str, tmp_path: Path
) -> None:
    joined = Joined(tmp_path, start=utc(friday)).start().opened()
    rest = holding(joined)
    joined.sleep_until(utc(closed))
    assert states(joined)[rest] == "cancelled"
    asleep_until(joined, utc(monday) - 20 * 60 * SECOND)
    early = joined.trader.submit(joined.trader.ticket(5))[0]
    assert {r.code for r in early.refusals} == {"closed"}
    joined.sleep_until(utc(monday))
    closes_at_once(joined)
    joined.quiet().check()
    joined.stop()


def test_split_overnight_halts_and_nothing_is_sent(tmp_path: Path) -> None:
    """Four shares for one: the broker holds 40 where ours are 10, and no execution says why."""
    joined = Joined(tmp_path, start=utc("2024-05-15 19:50")).start().opened()
    holding(joined)
    joined.kill()
    tws = joined.world.tws
    joined.world.advance(utc("2024-05-16 12:00"))
    mishaps.happen(tws, OrderFault(OrderDo.SPLIT, after_s=0.0, symbol="SPY", times=4), joined.world.ns())
    joined.world.advance(utc("2024-05-16 13:31"))
    joined.start()
    before = list(joined.trader.placed)
    joined.until(lambda: joined.trader.desk.gate is Gate.HALTED, 200)
    assert "the broker holds 40, ours are 10" in joined.trader.desk.halted
    joined.run(120)
    assert joined.trader.placed == before
    assert joined.trader.desk.positions == {SPY: Decimal(10)}
    joined.stop()
