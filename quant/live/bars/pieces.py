"""What arrives of a bar: rows, the bar that they form, stretches without any. Values only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from quant.live.bars.expected import Span


class Row(NamedTuple):
    """Prices and volume from `start` on (UTC ns): 5 seconds, or a bar so far."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars that start in [start, end), UTC ns; how many there should be, 0 where nobody knows."""

    start: int
    end: int
    bars: int = 0

    def joined(self, later: Gap) -> Gap:
        """Return both as one."""
        return Gap(self.start, later.end, self.bars + later.bars if self.bars and later.bars else 0)

    def __str__(self) -> str:
        """Return it for a person."""
        first, last = (str(np.datetime64(ns, "ns").astype("datetime64[s]")) for ns in (self.start, self.end))
        many = f" ({self.bars:,} bar{'s' if self.bars > 1 else ''})" if self.bars else ""
        return f"no bars from {first.replace('T', ' ')} to {last.replace('T', ' ')} UTC{many}"


class Seen(Enum):
    """What a row was."""

    NEW = "new"
    SAME = "as one before"
    REVISED = "a second one of its time, with other values"
    LATE = "of a bar that was closed without it"
    UNUSABLE = "no prices, or no time, that can be"
    OUTSIDE = "outside the regular hours"


@dataclass(slots=True)
class Forming:
    """A bar that rows came for. pieces: how many it needs. doubtful: rows contradict one another.

    traded: something traded in it, as far as rows tell; of a stretch without trades IB repeats the last price.
    """

    span: Span
    pieces: int
    rows: dict[int, Row] = field(default_factory=dict)
    doubtful: bool = False
    traded: bool = False

    @property
    def full(self) -> bool:
        """True once every piece is there."""
        return len(self.rows) == self.pieces

    def bar(self, trades: bool) -> Row:
        """Return the bar so far. trades: leave out what repeats a price."""
        rows = [self.rows[start] for start in sorted(self.rows)]
        rows = [r for r in rows if r.volume > 0.0] if trades and self.traded else rows
        _, opens, highs, lows, closes, volumes = zip(*rows, strict=True)
        return Row(self.span.start, opens[0], max(highs), min(lows), closes[-1], math.fsum(volumes))
