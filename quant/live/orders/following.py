"""Exits in the place of one whose end was asked for and is not confirmed: they wait for it. Nothing here sends.

Until it is confirmed the one before may still fill. Where the price has just run through it, its successor, which as a
rule lies nearer, would fill beside it at once and turn the position round. So the one before guards until the answer
has come. Between that and the arrival of the new one there is none, for as long as an order takes to TWS; a price that
runs through the new one in between elects it as it arrives. Proven at the simulated TWS with cancels that are answered
late, cross a fill, or are refused: tests/live/test_exit_after_exit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import backtrader as bt

from quant.live.moments import con_id_of
from quant.live.orders.anew import Group
from quant.live.orders.tracked import Tracked, Tracker


class Following:
    """All exits that wait, with the END of their bar. held: of an instrument, signed."""

    def __init__(self, tracker: Tracker, held: Callable[[int], Decimal]) -> None:
        self._tracker, self._held = tracker, held
        self.waiting: list[tuple[Group, int]] = []

    def follows(self, group: Group) -> bool:
        """Return whether a new group is to wait. What closes at the market does not: getting out comes first.

        Nor does what is larger than what is held: that is to turn it round.
        """
        held = abs(float(self._held(con_id_of(group[0].order.data))))
        return all(abs(one.order.size) <= held for one in group) and self._waits(group)

    def replaces(self, one: Tracked, groups: Sequence[Group]) -> bool:
        """Return whether one of these groups, or one that waits, is to take the place of an order that ends."""
        con_id, behind = con_id_of(one.order.data), [*groups, *(group for group, _ in self.waiting)]
        rests = self._rests(one, con_id)
        return rests and any(self.guards(g) and con_id_of(g[0].order.data) == con_id for g in behind if g)

    def _waits(self, group: Group) -> bool:
        con_id = con_id_of(group[0].order.data)
        ending = (one for one in self._tracker.alive() if one.sent and one.cancelled)
        return self.guards(group) and any(self._rests(one, con_id) for one in ending)

    def guards(self, group: Group) -> bool:
        """Return whether all of a group waits for its price to make a position smaller that is held now."""
        return all(self._rests(one, con_id_of(group[0].order.data)) for one in group)

    def _rests(self, one: Tracked, con_id: int) -> bool:
        order = one.order
        waits = order.exectype not in (bt.Order.Market, bt.Order.Close)
        return waits and con_id_of(order.data) == con_id and order.size * float(self._held(con_id)) < 0.0

    def due(self, *, every: bool = False) -> list[tuple[Group, int]]:
        """Return what waits no longer, for no more than is held: the one before may have filled, in part or whole."""
        waiting, self.waiting = [pair for pair in self.waiting if pair[0]], []
        ready: list[tuple[Group, int]] = []
        for pair in waiting:
            (self.waiting if not every and self._waits(pair[0]) else ready).append(pair)
        for group, _ in ready:
            for one in group:
                one.most = self._held(con_id_of(one.order.data))
        return ready
