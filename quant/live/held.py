"""Orders that were decided while the market was shut: kept here, looked at again before the open, and then sent.

An order at IB stays as it was decided. What becomes otherwise overnight (a bar is revised, a share is split, a stop
has filled, a person has halted) is only seen by who looks again. Nothing here sends; the dispatch does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import backtrader as bt

from quant.core.barsize import MINUTE
from quant.live.moments import OPEN_CUT_OFF, con_id_of, instrument_of, is_open, next_open, root
from quant.live.tracked import Tracked

# Before the open: time enough for an answer of IB's history, and for a person who reads the alarm.
SEND_BEFORE: Final = 15 * MINUTE

Recheck = Callable[[Any], str | None]  # of a feed: "" = its bars still stand, else what has changed; None = not known


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A group that waits. opens: the session it is for, UTC ns. adds: it does more than make what is held smaller.

    position: what was held when it was decided.
    """

    group: list[Tracked]
    opens: int
    adds: bool
    position: Decimal

    @property
    def con_id(self) -> int:
        """Of its instrument."""
        return con_id_of(self.group[0].order.data)

    @property
    def alive(self) -> list[Tracked]:
        """Its orders that nobody has cancelled."""
        return [one for one in self.group if one.alive]


class Waiting:
    """All groups that wait. recheck: looks at the bars again. position_of: what is held of an instrument now."""

    def __init__(self, recheck: Recheck, position_of: Callable[[int], Decimal]) -> None:
        self._recheck, self._position_of = recheck, position_of
        self.groups: list[Held] = []

    def take(self, group: list[Tracked], now: int) -> bool:
        """Keep a group that is for the next open; False where it goes out at once."""
        order = group[0].order
        data = order.data
        instrument = instrument_of(data)
        opens = next_open(instrument, now)
        regular = bool(getattr(root(data).bars, "rth", True))  # else bars come while the market is shut
        if order.exectype != bt.Order.Market or opens is None or is_open(instrument, now) or not regular:
            return False
        con_id = con_id_of(data)
        position = self._position_of(con_id)
        before = float(position) + sum(h.group[0].order.size for h in self.groups if h.con_id == con_id)
        adds = order.size * before >= 0.0 or abs(order.size) > abs(before)
        self.groups.append(Held(group, opens, adds, position))
        return True

    def due(self, now: int) -> list[tuple[Held, str]]:
        """Return the groups whose time has come, and why one is not to be sent; "" = it is. They wait no longer."""
        found, kept = [], []
        for held in self.groups:
            why = self._why(held, now) if held.alive else ""
            if why is None:
                kept.append(held)
            elif held.alive:
                found.append((held, why))
        self.groups = kept
        return found

    def _why(self, held: Held, now: int) -> str | None:
        """Return why a group is not to be sent, "" = it is to be sent now; None = it waits."""
        if now < held.opens - SEND_BEFORE:
            return None
        too_late, position = now >= held.opens - OPEN_CUT_OFF, self._position_of(held.con_id)
        if not held.adds:
            size = held.group[0].order.size
            if size * float(position) >= 0.0 or abs(size) > abs(float(position)):
                return f"what is held has changed since it was decided: {held.position}, now {position}"
            return None if too_late and now < held.opens else ""  # the auction is missed: at the market, once it opens
        if too_late:
            return "it could not be looked at again before the opening auction took no more orders"
        if position != held.position:
            return f"what is held has changed since it was decided: {held.position}, now {position}"
        changed = self._recheck(held.group[0].order.data)
        return changed if not changed else f"its bars have changed since it was decided: {changed}"
