"""Ticks inside a bar, made up so that the bar comes back exactly, and the quote around a price. All SYNTHETIC.

The same symbol, bar start and seed give the same ticks on every platform: whole random numbers and + - x / only.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quant.core.barsize import SECOND
from quant.core.calendar import Ints
from quant.core.sessions import Floats
from quant.tws.exchange.ticks import TickRule

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
    rng = np.random.Generator(np.random.PCG64(_seed(symbol, start, seed)))
    return Ticks(time, _prices(len(time), bar, rule, rng), _sizes(len(time), bar.volume, rng))


def _seed(symbol: str, start: int, seed: int) -> int:
    digest = hashlib.sha256(f"{symbol} {start} {seed}".encode()).digest()
    return int.from_bytes(digest[:16], "big")


def _prices(n: int, bar: Shape, rule: TickRule, rng: np.random.Generator) -> Floats:
    """Return a random walk from open to close, stretched above and below the two so that it meets high and low.

    Not lines between the four prices: rules that follow trends would earn from them.
    """
    spare = (rng.permutation(n - 2)[:4] + 1).tolist()
    walk = np.cumsum(rng.integers(-128, 128, size=n, dtype=np.int64))
    bridge = walk - _straight(float(walk[0]), float(walk[-1]), n)
    # The range of a random walk is 1.6 times its spread, and these steps' is 74.
    scale = (bar.high - bar.low) / (1.6 * 74.0 * math.sqrt(n))
    line = _straight(bar.open, bar.close, n) + bridge * scale
    fixed = {0: bar.open, n - 1: bar.close}
    upper, lower = max(bar.open, bar.close), min(bar.open, bar.close)
    # An open or close that is the high or low touches it already; a walk that never left them is sent there.
    highest, lowest = int(np.argmax(line)), int(np.argmin(line))
    free = (row for row in spare if row not in (highest, lowest))
    if bar.high > upper:
        fixed[highest if line[highest] > upper else next(free)] = bar.high
    if bar.low < lower:
        fixed[lowest if line[lowest] < lower else next(free)] = bar.low
    line = _stretched(line, float(line[highest]), upper, bar.high)
    line = -_stretched(-line, -float(line[lowest]), -lower, -bar.low)  # which lies where it was
    prices = rule.inside(line, bar.low, bar.high)
    if math.isnan(prices[0]):  # no legal price within the bar: adjusted prices in a narrow one
        prices = np.full(n, bar.open)
    for row, price in fixed.items():
        prices[row] = price
    return prices


def _stretched(line: Floats, highest: float, edge: float, top: float) -> Floats:
    """Return `line` with all that lies above `edge` drawn out, or in, so that its highest point is `top`."""
    if highest <= edge:
        return line
    found: Floats = np.where(line > edge, edge + (line - edge) * ((top - edge) / (highest - edge)), line)
    return found


def _straight(first: float, last: float, n: int) -> Floats:
    """Return the straight line from `first` at 0 to `last` at n - 1; np.linspace and np.interp may fuse operations."""
    found: Floats = first + _steps(n) * (last - first)
    return found


@lru_cache(maxsize=64)  # bars of one length have as many ticks
def _steps(n: int) -> Floats:
    found: Floats = np.arange(n) / (n - 1)
    return found


def _sizes(n: int, volume: float, rng: np.random.Generator) -> Floats:
    whole = float(math.floor(max(volume, 0.0)))
    weights = rng.integers(1, 256, size=n, dtype=np.int64)
    upto = np.cumsum(weights)
    held = np.floor(whole * (upto / upto[-1]))
    sizes: Floats = held.copy()
    sizes[1:] -= held[:-1]
    # Every partial sum is a multiple of the volume's last bit and no larger than it: exact in any order.
    sizes[-1] += max(volume, 0.0) - whole
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
