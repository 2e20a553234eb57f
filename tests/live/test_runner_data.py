"""A deployment at a TWS that gives late data, or takes no orders: it says so, and what is to be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_run import books, draft, ledger, play, standings, tws

from quant.oms.state import OrderState
from quant.tws.faults import Do, Fault
from quant.tws.order_faults import OrderDo, OrderFault

READ_ONLY = "Error validating request.-'bW' : cause - The API interface is currently in Read-Only mode."
DELAYED = Fault(
    Do.REFUSE, on="RealTimeBarsRequest", count=0, code=10167,
    text="Requested market data is not subscribed. Displaying delayed market data.",
)  # fmt: skip


@pytest.mark.parametrize("allowed", [False, True])
def test_delayed_data_are_live_only_where_they_are_allowed(data: Path, allowed: bool) -> None:
    def done(picture: dict[str, Any]) -> bool:
        told = any("delayed data" in line for line in picture["notes"])
        if allowed:
            return told and picture["feeds"][0]["status"] == "LIVE"
        return told and any("subscribe to live data at IB" in why for why in picture["why"])

    with tws(faults=(DELAYED,), speed=1.0) as port:  # without a stream only seconds tell the time
        ended, told = play(draft(data, bar="5s", delayed_ok=allowed), port, data, done)
    assert ended.code == 0, told
    words = "taken as live, as was asked for" if allowed else "orders wait for live data"
    assert any(words in line for line in told), told
    assert (ended.picture["feeds"][0]["status"] == "LIVE") is allowed


def test_a_read_only_api_halts_and_says_what_to_switch_off(data: Path) -> None:
    refuses = OrderFault(OrderDo.REJECT, count=0, code=321, text=READ_ONLY)
    with tws(faults=(refuses,)) as port:
        ended, told = play(draft(data), port, data, lambda p: bool(p["halted"]))
        there = books(port)
    assert (there.echoes, there.executions, there.positions) == ((), (), ())
    held = ledger(data, draft(data))
    assert all(s.state is OrderState.REJECTED or not s.filled for s in standings(held))
    assert "Read-Only API" in ended.picture["halted"], (ended.picture["halted"], told)


@pytest.mark.parametrize("asked", ["CompletedOrdersRequest", "AllOpenOrdersRequest"])
def test_a_read_only_api_that_shows_no_orders_halts_before_the_first_one(data: Path, asked: str) -> None:
    """TWS refuses to tell of orders too, with an error of no request: ib_insync 1 and 224, bankroll 65."""
    refuses = Fault(Do.REFUSE, on=asked, count=0, code=321, text=READ_ONLY)
    with tws(faults=(refuses,)) as port:
        ended, told = play(draft(data), port, data, lambda p: bool(p["halted"]))
    assert "Read-Only API" in ended.picture["halted"], (ended.picture["halted"], told)
    assert {s.state for s in standings(ledger(data, draft(data)))} <= {OrderState.NOT_SENT}
    with tws(faults=(refuses,)) as port:  # a shadow asks for none
        shadow = replace(draft(data, "other-spy"), shadow=True)
        ended, told = play(shadow, port, data, lambda p: p["settled"] and p["feeds"][0]["status"] == "LIVE")
    assert (ended.code, ended.picture["halted"]) == (0, ""), told
