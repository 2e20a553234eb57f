"""Whether what is held is guarded: by a stop at IB or on its way, or by an order that closes it. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from quant.live.signals import LivePlans
from quant.oms.desk.desk import OrderDesk
from quant.oms.gate import Purpose
from quant.oms.risk import STOPS
from quant.oms.state import OrderState

LOOKS: Final = 3  # in a row, a second apart: an answer of IB's may be on its way


class Guards:
    """Looks at what is held by a q.Strategy that gives its positions stops, or whose deployment does. name: of that."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bare: dict[int, int] = {}  # by contract id: how many looks in a row found it so
        self.why: list[str] = []  # what a person is to know now

    def look(self, strategies: Iterable[Any], desk: OrderDesk) -> list[str]:
        """Return what is new of what a person is to know. Call it about once a second."""
        before, self.why = self.why, []
        bare: dict[int, int] = {}
        for con_id, symbol, held in _to_guard(strategies, desk):
            if _covered(desk, con_id, held):
                continue
            bare[con_id] = self._bare.get(con_id, 0) + 1
            if bare[con_id] >= LOOKS:
                told = f"{symbol}: {held:+} are held without a stop for all of it, which they are to have. Place one "
                self.why.append(f"{told}in TWS, or close them: quant flatten {self._name}")
        self._bare = bare
        return [text for text in self.why if text not in before]


def _to_guard(strategies: Iterable[Any], desk: OrderDesk) -> Iterable[tuple[int, str, Decimal]]:
    """Yield contract id, symbol and quantity of what is held and is to have a stop."""
    held = desk.positions
    for strategy in strategies if held else ():
        plans = getattr(getattr(strategy, "_decisions", None), "refresh", None)
        for feed in plans.to_guard(strategy) if isinstance(plans, LivePlans) else ():
            con_id = feed.bars.instrument.con_id
            if con_id in held:
                yield con_id, feed.bars.symbol, held[con_id]


def _covered(desk: OrderDesk, con_id: int, held: Decimal) -> bool:
    """Return whether orders that work, or are on their way, would close all that is held."""
    found = Decimal(0)
    for standing in desk.open_orders:
        ticket, aim = desk.intent(standing.ref).ticket, desk.purpose(standing.ref)
        if ticket.con_id != con_id or standing.remaining * held >= 0:
            continue
        stops = (
            aim is Purpose.PROTECTION and ticket.kind in STOPS and standing.state is not OrderState.CANCELLING
        )
        if stops or aim in (Purpose.REDUCTION, Purpose.FLATTEN):
            found += abs(standing.remaining)
    return found >= abs(held)
