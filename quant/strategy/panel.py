"""Several instruments on one time line, for strategies that look at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from quant.core.bars import Bars
from quant.core.calendar import Ints
from quant.core.sessions import Floats
from quant.errors import ParameterError


class Panel:
    """Bars of k instruments over the union of their ENDs.

    end: (n,) int64 UTC ns. symbols: the k symbols in the order of the feeds. panel["SPY"]: that symbol's own
    bars. panel.close and the other columns: (n, k) float64, row i = the last bar over by end[i], NaN before
    a feed's first bar.
    """

    def __init__(self, feeds: Sequence[Bars]) -> None:
        self.feeds = tuple(feeds)
        self.symbols = tuple(b.symbol for b in feeds)
        twice = sorted({s for s in self.symbols if self.symbols.count(s) > 1})
        if twice:
            raise ParameterError(
                "bars", twice[0], "the same symbol comes twice; signals_all needs distinct ones"
            )
        self.end: Ints = np.unique(np.concatenate([b.end for b in feeds]))

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, symbol: str) -> Bars:
        if symbol not in self.symbols:
            raise ParameterError("symbol", symbol, f"not in the panel; it holds {', '.join(self.symbols)}")
        return self.feeds[self.symbols.index(symbol)]

    def column(self, values: Sequence[Floats]) -> Floats:
        """Return (n, k): for each feed the value of its last bar that is over; NaN before its first."""
        out = np.full((len(self.end), len(self.feeds)), np.nan)
        for k, (bars, of_feed) in enumerate(zip(self.feeds, values, strict=True)):
            row = np.searchsorted(bars.end, self.end, side="right") - 1
            out[:, k] = np.where(row >= 0, np.append(of_feed, np.nan)[row], np.nan)
        return out

    @cached_property
    def open(self) -> Floats:
        """(n, k) opens."""
        return self.column([b.open for b in self.feeds])

    @cached_property
    def high(self) -> Floats:
        """(n, k) highs."""
        return self.column([b.high for b in self.feeds])

    @cached_property
    def low(self) -> Floats:
        """(n, k) lows."""
        return self.column([b.low for b in self.feeds])

    @cached_property
    def close(self) -> Floats:
        """(n, k) closes."""
        return self.column([b.close for b in self.feeds])

    @cached_property
    def volume(self) -> Floats:
        """(n, k) volumes."""
        return self.column([b.volume for b in self.feeds])
