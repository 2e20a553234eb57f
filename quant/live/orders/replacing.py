"""Exits in the place of others: the old ones end once the new ones work, so that what is held never lacks them.

For that instant both work, and one that fills ends the other: the desk cancels what protects nothing any more. Nothing
here sends; the dispatch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import backtrader as bt

from quant.live.orders.tracked import Tracked

_WORKS = (bt.Order.Accepted, bt.Order.Partial)


@dataclass(frozen=True, slots=True, eq=False)
class Swap:
    """Exits that are to take the place of others."""

    old: list[Tracked]
    new: list[Tracked]


class Swaps:
    """All swaps that are not over."""

    def __init__(self) -> None:
        self._open: list[Swap] = []

    def add(self, old: Sequence[Tracked], new: Sequence[Tracked]) -> None:
        """Take a swap. What `old` itself was to take the place of goes with it."""
        before = [swap for swap in self._open if any(one in old for one in swap.new)]
        self._open = [swap for swap in self._open if swap not in before]
        self._open.append(Swap([*old, *(one for swap in before for one in swap.old)], list(new)))

    def behind(self, one: Tracked) -> list[Tracked]:
        """End the swaps in which an order is new, as nobody wants it any more; return what it was to replace."""
        ended = [swap for swap in self._open if one in swap.new]
        self._open = [swap for swap in self._open if swap not in ended]
        return [old for swap in ended for old in swap.old]

    def due(self) -> tuple[list[Tracked], list[Swap]]:
        """Return the orders whose end is due, and the swaps that failed: there the old orders stay."""
        over: list[Tracked] = []
        failed: list[Swap] = []
        waiting: list[Swap] = []
        for swap in self._open:
            left = [one for one in swap.old if one.alive and not one.cancelled]
            filled = any(one.order.executed.size for one in swap.new)
            if filled or all(one.order.status in _WORKS for one in swap.new):
                over += left
            elif left:
                (waiting if all(one.alive for one in swap.new) else failed).append(swap)
        self._open = waiting
        return over, failed
