"""Ticks inside a bar, made up so that the bar comes back exactly, and the quote around a price. All SYNTHETIC.

The same symbol, bar start and seed give the same ticks on every platform: whole random numbers and + - x / only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quant.core.barsize import SECOND
from quant.core.calendar import Ints
from quant.core.sessions import Floats
from quant.tws.exchange.ticks import TickRule

Table = npt.NDArray[np.float64]  # a row for each bar, a column for each tick, or one for all

FEWEST = 10  # ticks of a bar: open, close, high and low need four, the walk between them some more


@dataclass(frozen=True, slots=True, eq=False)
class Ticks:
    """time: (n,) int64 UTC ns, increasing. price, size: (n,) float64; sizes are whole but for the last one's rest."""

    time: Ints
    price: Floats
    size: Floats

    def __len__(self) -> int:
        return len(self.time)

    def between(self, begin: int, end: int) -> Ticks:
        """Return the ticks with begin <= time < end."""
        first, last = np.searchsorted(self.time, [begin, end])
        return Ticks(self.time[first:last], self.price[first:last], self.size[first:last])

    def upto(self, now: int) -> Ticks:
        """Return the ticks with time <= now."""
        last = int(np.searchsorted(self.time, now, side="right"))
        return Ticks(self.time[:last], self.price[:last], self.size[:last])


@dataclass(frozen=True, slots=True)
class Shape:
    """A bar that a path shall reproduce; volume < 0 counts as 0 (IB's "no volume")."""

    open: float
    high: float
    low: float
    close: float
    volume: float


def moments(spans: list[tuple[int, int]]) -> Ints:
    """Return the times of a bar's ticks: each second of `spans` [begin, end), UTC ns, in order.

    Bars of fewer than 10 seconds get 10 ticks, evenly spread.
    """
    length = sum(end - begin for begin, end in spans)
    step = SECOND if length >= FEWEST * SECOND else max(length // FEWEST, 1)
    return np.concatenate([np.arange(begin, end, step, dtype=np.int64) for begin, end in spans])


def path(time: Ints, bar: Shape, rule: TickRule, symbol: str, start: int, seed: int) -> Ticks:
    """Return ticks at `time` whose open, high, low, close and volume are those of `bar`, bit by bit.

    time: (n,), n >= 4, from `moments`. Prices between the fixed points are legal by `rule`, where the bar has
    room for one. symbol, start (of the bar, UTC ns), seed: what the ticks depend on besides.
    """
    return paths([time], [bar], rule, symbol, [start], seed)[0]


def paths(
    times: Sequence[Ints], bars: Sequence[Shape], rule: TickRule, symbol: str, starts: Sequence[int], seed: int
) -> list[Ticks]:  # fmt: skip
    """Return what `path` gives of each of these bars, in much less time. times: (m,) arrays of one length."""
    n = len(times[0])
    rngs = [np.random.Generator(np.random.PCG64(_seed(symbol, start, seed))) for start in starts]
    prices, sizes = _prices(n, bars, rule, rngs), _sizes(n, bars, rngs)
    return [Ticks(*ticks) for ticks in zip(times, prices, sizes, strict=True)]


def _seed(symbol: str, start: int, seed: int) -> int:
    digest = hashlib.sha256(f"{symbol} {start} {seed}".encode()).digest()
    return int.from_bytes(digest[:16], "big")


def _prices(n: int, bars: Sequence[Shape], rule: TickRule, rngs: Sequence[np.random.Generator]) -> Table:
    """Return, a row for each bar, a random walk from open to close, stretched so that it meets high and low.

    Not lines between the four prices: rules that follow trends would earn from them.
    """
    spare = [(rng.permutation(n - 2)[:4] + 1).tolist() for rng in rngs]
    walk = np.cumsum([rng.integers(-128, 128, size=n, dtype=np.int64) for rng in rngs], axis=1)
    opens, highs, lows, closes = np.array([(b.open, b.high, b.low, b.close) for b in bars]).T[:, :, None]
    bridge = walk - _straight(walk[:, :1].astype(np.float64), walk[:, -1:].astype(np.float64), n)
    # The range of a random walk is 1.6 times its spread, and these steps' is 74.
    line = _straight(opens, closes, n) + bridge * ((highs - lows) / (1.6 * 74.0 * math.sqrt(n)))
    fixed = [_fixed(*one) for one in zip(line, bars, spare, strict=True)]
    peak, bottom = np.max(line, axis=1, keepdims=True), np.min(line, axis=1, keepdims=True)
    line = _stretched(line, peak, np.maximum(opens, closes), highs)
    line = -_stretched(-line, -bottom, -np.minimum(opens, closes), -lows)  # which lies where it was
    prices = np.array([rule.inside(row, bar.low, bar.high) for row, bar in zip(line, bars, strict=True)])
    for row, bar, points in zip(prices, bars, fixed, strict=True):
        if math.isnan(row[0]):  # no legal price within the bar: adjusted prices in a narrow one
            row[:] = bar.open
        for at, price in points.items():
            row[at] = price
    return prices


def _fixed(line: Floats, bar: Shape, spare: Sequence[int]) -> dict[int, float]:
    """Return which of a bar's ticks have which price, whatever the walk says."""
    highest, lowest = int(np.argmax(line)), int(np.argmin(line))
    fixed = {0: bar.open, len(line) - 1: bar.close}
    upper, lower = max(bar.open, bar.close), min(bar.open, bar.close)
    # An open or close that is the high or low touches it already; a walk that never left them is sent there.
    free = (row for row in spare if row not in (highest, lowest))
    if bar.high > upper:
        fixed[highest if line[highest] > upper else next(free)] = bar.high
    if bar.low < lower:
        fixed[lowest if line[lowest] < lower else next(free)] = bar.low
    return fixed


def _stretched(line: Table, highest: Table, edge: Table, top: Table) -> Table:
    """Return `line` with all that lies above `edge` drawn out, or in, so that its highest point is `top`."""
    room = np.where(highest > edge, highest - edge, 1.0)
    found: Table = np.where(line > edge, edge + (line - edge) * ((top - edge) / room), line)
    return found


def _straight(first: Table, last: Table, n: int) -> Table:
    """Return the straight line from `first` at 0 to `last` at n - 1; np.linspace and np.interp may fuse operations."""
    found: Table = first + _steps(n) * (last - first)
    return found


@lru_cache(maxsize=64)  # bars of one length have as many ticks
def _steps(n: int) -> Floats:
    found: Floats = np.arange(n) / (n - 1)
    return found


def _sizes(n: int, bars: Sequence[Shape], rngs: Sequence[np.random.Generator]) -> Table:
    volume = np.maximum([bar.volume for bar in bars], 0.0)
    whole = np.floor(volume)
    weights = [rng.integers(1, 256, size=n, dtype=np.int64) for rng in rngs]
    upto = np.cumsum(weights, axis=1)
    held = np.floor(whole[:, None] * (upto / upto[:, -1:]))
    sizes: Table = held.copy()
    sizes[:, 1:] -= held[:, :-1]
    # Every partial sum is a multiple of the volume's last bit and no larger than it: exact in any order.
    sizes[:, -1] += volume - whole
    return sizes


@dataclass(frozen=True, slots=True)
class Quote:
    """bid < ask; size: units on offer at either."""

    bid: float
    ask: float
    size: float = 100.0

    @property
    def mid(self) -> float:
        """The middle, as IB's MIDPOINT."""
        return round((self.bid + self.ask) / 2.0, 9)  # half a tick has fewer places


@lru_cache(maxsize=1 << 16)  # of a year of minutes: an exact one takes 20 us, and bars share their prices
def quote(price: float, rule: TickRule) -> Quote:
    """Return the quote around a last price: one legal price below and one above it.

    Both rise with the price, so that the quotes of a bar's high and low are the highest and lowest of its path.
    """
    return Quote(rule.below(price), rule.above(price))
