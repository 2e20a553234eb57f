"""The halves of a reversal may fill in any order; what closes may be early by what its entry has filled, no more."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from quant.oms.gate import Purpose
from quant.promotion.invariants import _turned_over

PURPOSES = {"before": Purpose.ENTRY, "entry": Purpose.ENTRY, "close": Purpose.REDUCTION}


def told(*fills: tuple[str, int], taken_back: int = 0) -> list[str]:
    """Return what is said of fills (order, signed quantity). Entry and close are of one decision.

    taken_back: the instrument of which TWS has told a fill that is not among them any more, 0 = none; theirs is 1.
    """
    sides = [(ref, quantity, SimpleNamespace(ref=ref, request=SimpleNamespace(
        listing=SimpleNamespace(con_id=1), side=1 if quantity > 0 else -1))) for ref, quantity in fills]  # fmt: skip
    stage: Any = SimpleNamespace(
        executions=lambda: [SimpleNamespace(view=v, quantity=Decimal(abs(n)), time=0) for _, n, v in sides],
        server=SimpleNamespace(tws=SimpleNamespace(order_of=lambda view: SimpleNamespace(orderRef=view.ref))),
    )
    bust = SimpleNamespace(con_id=taken_back, quantity=Decimal(0), shown=Decimal(10))
    booked = [bust] if taken_back else [SimpleNamespace(con_id=1, quantity=Decimal(-10), shown=Decimal(10))]
    desk = SimpleNamespace(
        orders=[SimpleNamespace(ref=ref, fills=booked if ref == "before" else []) for ref in PURPOSES],
        purpose=PURPOSES.__getitem__,
        intent=lambda ref: SimpleNamespace(at=0 if ref == "before" else 1),
    )  # fmt: skip
    live: Any = SimpleNamespace(desk=desk)
    return list(_turned_over(stage, live))


@pytest.mark.parametrize(
    ("fills", "broken"),
    [
        ([("before", 10), ("close", -10), ("entry", -10)], False),
        ([("before", 10), ("entry", -10), ("close", -10)], False),
        ([("before", 10), ("entry", -4), ("close", -10), ("entry", -6)], False),
        ([("before", 10), ("entry", -4), ("close", -20)], True),
        ([("before", 10), ("close", -20)], True),
    ],
    ids=["close first", "entry first", "a part of it first", "more than held and begun", "more than held"],
)
def test_close_fills_no_more_than_is_held_and_its_entry_has_filled(
    fills: list[tuple[str, int]], broken: bool
) -> None:
    assert bool(told(*fills)) == broken


def test_nothing_is_said_where_a_fill_was_taken_back_later() -> None:
    """TWS's list of executions has it as if it had never been; when the stop filled it was held."""
    assert told(("close", -10))
    assert not told(("close", -10), taken_back=1)
    assert told(("close", -10), taken_back=2)
