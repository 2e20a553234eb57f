"""Which bars are a day's: those of its session. What is decided on a session's last bar is filled in the next one.

So a day lasts from the END of the last bar of the session before to that of its own last bar: decisions from the first
of these moments on, up to the second and not with it, and fills in its bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quant.core.bars import Bars
from quant.errors import EmptyRange, ParameterError


@dataclass(frozen=True, slots=True)
class Day:
    """A session, or what of it is compared. date: ISO. begin: END of the last bar before it, 0 for none; UTC ns.

    end: of its own last. since: END of the first bar of which decisions count, `begin` unless it was not lived.
    rows: of each feed, its first and the one behind its last; an empty range for a feed without bars.
    """

    date: str
    begin: int
    end: int
    since: int
    rows: tuple[tuple[int, int], ...]

    def has(self, feed: int, row: int) -> bool:
        """Return whether a row is one of its bars."""
        first, last = self.rows[feed]
        return first <= row < last

    def decides(self, moment: int) -> bool:
        """Return whether what is decided at an END belongs to it."""
        return self.since <= moment < self.end


def day_of(bars: Sequence[Bars], date: str) -> Day:
    """Return a session of the feeds. Raises ParameterError for what is no date, EmptyRange without bars."""
    try:
        session = np.datetime64(date, "D")
    except ValueError:
        raise ParameterError("day", date, "must be a session date, e.g. 2026-01-30") from None
    rows = tuple(
        (int(np.searchsorted(b.session, session)), int(np.searchsorted(b.session, session, side="right")))
        for b in bars
    )
    if all(first == last for first, last in rows):
        held = ", ".join(f"{b.symbol} {_range(b)}" for b in bars)
        raise EmptyRange(f"{bars[0].bar} bars of {', '.join(b.symbol for b in bars)}", date, held)
    begin = max(int(b.end[first - 1]) if first else 0 for b, (first, _) in zip(bars, rows, strict=True))
    end = max(int(b.end[last - 1]) for b, (first, last) in zip(bars, rows, strict=True) if first < last)
    return Day(str(session), begin, end, begin, rows)


def _range(bars: Bars) -> str:
    return f"{bars.session[0]} to {bars.session[-1]}" if len(bars) else "nothing"
