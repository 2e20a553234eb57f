"""An exit that was lost on its way, or turned down, while its entry filled: the position is protected all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quant as q
from quant.oms.state import OrderState
from quant.promotion import Rehearsal, rehearse
from quant.promotion import rehearsal as module
from quant.promotion.live import Traded
from quant.tws.order_faults import OrderDo, OrderFault

SAMPLE = Path(__file__).parents[2] / "data"


class Guarded(q.Strategy):
    """Buys once, with a stop 0.05 % below; the stop is touched within minutes."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> q.Signals:
        target = (np.arange(len(bars)) >= 10).astype(float)
        return q.Signals(target, np.round(bars.close * 0.9995, 2), np.round(bars.close * 1.01, 2))


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Traded]]:
    """The stage and the live run behind each rehearsal."""
    seen: list[tuple[Any, Traded]] = []
    trade = module.trade

    def keep(stage: Any, *args: Any, **kwargs: Any) -> Traded:
        traded = trade(stage, *args, **kwargs)
        seen.append((stage, traded))
        return traded

    monkeypatch.setattr(module, "trade", keep)
    return seen


def played(*faults: OrderFault) -> Rehearsal:
    bars = module.in_session(q.bars("SPY", "1m", data=SAMPLE))[:60]
    return rehearse(Guarded, bars, sizing="shares:10", faults=faults, start_rule="first-target")


def test_a_stop_that_tws_dropped_is_sent_again_and_guards(lived: list[tuple[Any, Traded]]) -> None:
    """It went out with transmit=False, as all of a bracket but the last: sent again alone it must be transmitted."""
    found = played(OrderFault(OrderDo.DROP, skip=1))
    _, live = lived[0]
    assert found.equal, str(found)
    assert found.fills == (2, 2)
    entry, stop, limit = live.desk.orders
    assert (entry.state, stop.state, limit.state) == (
        OrderState.FILLED, OrderState.FILLED, OrderState.CANCELLED,
    )  # fmt: skip
    assert live.desk.halted == ""


def test_a_stop_that_was_turned_down_once_is_sent_again_and_guards(lived: list[tuple[Any, Traded]]) -> None:
    """An error alone ends no order (DESIGN 5.8): it is in none of TWS's lists, and so it is sent again."""
    found = played(OrderFault(OrderDo.REJECT, skip=1, code=201, text="Order rejected - reason: no"))
    assert found.equal, str(found)
    assert found.fills == (2, 2)
    assert lived[0][1].desk.halted == ""


def test_a_stop_that_tws_turns_down_for_good_halts_with_an_alarm(lived: list[tuple[Any, Traded]]) -> None:
    """Sent again, placed anew with its limit, turned down each time: nobody can protect it but a person."""
    no = {"code": 201, "text": "Order rejected - reason: no"}
    found = played(
        OrderFault(OrderDo.REJECT, skip=1, **no), OrderFault(OrderDo.REJECT, skip=3, count=0, **no)
    )
    stage, live = lived[0]
    assert found.ok, str(found)
    assert "nothing protects" in live.desk.halted
    assert any("nothing protects" in text for _, text in live.notes if text.startswith("alarm"))
    entry, *others = live.desk.orders
    assert (entry.filled, sum(abs(o.filled) for o in others)) == (10, 0)
    assert stage.gained() == {stage.bars[0].instrument.con_id: 10}
