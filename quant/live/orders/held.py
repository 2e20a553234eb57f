"""Entries that were decided while the market was shut: kept here, looked at again before the open, and then sent.

An order at IB stays as it was decided. What becomes otherwise overnight (a bar is revised, a share is split, a stop
has filled, a person has halted) is only seen by who looks again. What makes a position smaller is not held: it lies at
IB at once, and does not depend on this process. Nothing here sends; the dispatch does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import backtrader as bt
import numpy as np

from quant.core.barsize import MINUTE
from quant.live.moments import con_id_of, instrument_of, is_open, next_open, root
from quant.live.orders.auctions import opening
from quant.live.orders.tracked import Tracked

# Before the open: time enough for an answer of IB's history, and for a person who reads the alarm.
SEND_BEFORE: Final = 15 * MINUTE

Recheck = Callable[
    [Any], str | None
]  # of a feed: "" = its bars still stand, else what has changed; None = not known


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """An entry and its exits. bar: END of the one it was decided on; opens: the session it is for; both UTC ns.

    position: what was held when it was decided.
    """

    group: list[Tracked]
    bar: int
    opens: int
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
    """All entries that wait.

    recheck: looks at the bars again. position_of: what is held of an instrument now; left_of: what will be, once the
    reductions have filled that are at IB.
    """

    def __init__(
        self, recheck: Recheck, position_of: Callable[[int], Decimal], left_of: Callable[[int], float]
    ) -> None:
        self._recheck, self._position_of, self._left_of = recheck, position_of, left_of
        self.entries: list[Held] = []

    def take(self, groups: list[tuple[list[Tracked], int]], now: int) -> list[tuple[list[Tracked], int]]:
        """Keep the entries for the next open; return the groups that go out at once. Each with the END of its bar."""
        rest = []
        leaving: dict[int, float] = {}  # what is held once the reductions among them have filled
        for group, bar in groups:
            order = group[0].order
            con_id = con_id_of(order.data)
            held = leaving.setdefault(con_id, self._left_of(con_id))
            if order.size * held < 0.0 and abs(order.size) <= abs(held):
                leaving[con_id] += order.size
                rest.append((group, bar))
            elif order.exectype == bt.Order.Market and (opens := _auction(order.data, now)) is not None:
                self.entries.append(Held(group, bar, opens, self._position_of(con_id)))
            else:
                rest.append((group, bar))
        return rest

    def due(self, now: int, stopped: str) -> list[tuple[Held, str]]:
        """Return the entries that wait no longer, and why one is not to be sent; "" = it is.

        stopped: why nothing new is begun, "" = it is.
        """
        found: list[tuple[Held, str]] = []
        kept: list[Held] = []
        for held in self.entries:
            if not held.alive:
                continue
            why = stopped or self._why(held, now)
            if why is None:
                kept.append(held)
            else:
                found.append((held, why))
        self.entries = kept
        return found

    def _why(self, held: Held, now: int) -> str | None:
        """Return why an entry is not to be sent, "" = it is to be sent now; None = it waits."""
        if now < held.opens - SEND_BEFORE:
            return None
        if now >= held.opens - opening(instrument_of(held.group[0].order.data)).entry:
            return "it could not be looked at again before the opening auction took no more orders"
        position = self._position_of(held.con_id)
        if position != held.position:
            return f"what is held has changed since it was decided: {held.position} then, {position} now"
        changed = self._recheck(held.group[0].order.data)
        return changed if not changed else f"its bars have changed since it was decided: {changed}"


def _auction(data: Any, now: int) -> int | None:
    """Return when the session begins that an order of now is for, None where it need not wait for one."""
    instrument = instrument_of(data)
    regular = bool(getattr(root(data).bars, "rth", True))  # else bars come while the market is shut
    return None if is_open(instrument, now) or not regular else next_open(instrument, now)


def words(held: Held) -> str:
    """Return what waits, for a person."""
    order = held.group[0].order
    side, opens = "buy" if order.size > 0 else "sell", np.datetime64(held.opens, "ns").astype("datetime64[m]")
    name = instrument_of(order.data).symbol
    return f"{side} {abs(order.size):g} {name} is held for the open of {str(opens).replace('T', ' ')} UTC"
