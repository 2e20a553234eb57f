"""A TWS that never answers what asks for completed orders (ib_insync 224, 355) is traded at, and a person is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from joined import Joined

from quant.oms.gate import Gate
from quant.tws.faults import Do, Fault
from tests.oms.trader import SPY

NEVER = Fault(Do.IGNORE, on="CompletedOrdersRequest", count=0)


def test_trading_begins_without_the_completed_orders_and_says_so(tmp_path: Path) -> None:
    joined = Joined(tmp_path, faults=[NEVER]).start().opened()
    desk = joined.trader.desk
    joined.trader.submit(joined.trader.ticket(10))
    joined.until(lambda: desk.positions.get(SPY, Decimal(0)) == 10)
    joined.trader.submit(joined.trader.ticket(-10))
    joined.until(lambda: desk.positions.get(SPY, Decimal(0)) == 0)
    joined.run(200)  # regular looks, which do not wait for it again
    assert (desk.gate, desk.halted, desk.settled) == (Gate.OPEN, "", True)
    told = [a.text for a in joined.trader.alarms if "the completed orders of the day" in a.text]
    assert len(told) == 1
    assert "cannot be told from one that was lost" in told[0]
    assert joined.wrong == []
