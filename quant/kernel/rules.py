"""The rules of one fill, one size and one value, in the order of float operations of DESIGN §5.

Each is a few lines that the loop takes in; the models in Python are core/costs, core/sizing and backtrader's broker.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quant.kernel.compiling import inline

NAN = np.nan
SHARES, PERCENT, CASH, RISK = range(4)  # layout.SIZINGS
NO_COSTS, PERCENT_COSTS, PER_ORDER, PERCENT_PER_ORDER = range(4)  # layout.COSTS
NO_SLIPPAGE, PERCENT_SLIPPAGE, TICKS = range(3)  # layout.SLIPPAGES


@inline
def money(s: Any, price: float) -> float:
    """Return a price in the currency. Model: backtest/broker.Magnified."""
    return price if s.magnifier == 1.0 else price / s.magnifier


@inline
def commission(s: Any, quantity: float, price: float) -> float:
    """Return the commission of one order; price: in the currency. Model: Costs.commission."""
    size = abs(quantity)
    if s.costs == PERCENT_COSTS:
        return (size * s.rate) * price
    if s.costs == PER_ORDER:
        return min(max(s.minimum, size * s.per_share), (size * price) * s.fee_cap)
    if s.costs == PERCENT_PER_ORDER and size != 0.0:
        return min(max(s.minimum, (size * s.rate) * price), s.maximum)
    return 0.0


@inline
def slip_up(s: Any, price: float, most: float) -> float:
    """Return the price of a purchase with slippage, bounded by `most`. Model: backtrader's _slip_up."""
    if s.slippage == PERCENT_SLIPPAGE:
        return min(price * (1.0 + s.slip), most)
    if s.slippage == TICKS:
        return min(price + s.slip, most)
    return price


@inline
def slip_down(s: Any, price: float, least: float) -> float:
    """Return the price of a sale with slippage, bounded by `least`. Model: backtrader's _slip_down."""
    if s.slippage == PERCENT_SLIPPAGE:
        return max(price * (1.0 - s.slip), least)
    if s.slippage == TICKS:
        return max(price - s.slip, least)
    return price


@inline
def market_price(s: Any, open_: Any, high: Any, low: Any, bar: int, quantity: float) -> float:
    """Return the price of a market order at the open of `bar`."""
    if s.slippage == NO_SLIPPAGE:  # high and low are not even read: they are far away in memory
        return open_[bar]
    return slip_up(s, open_[bar], high[bar]) if quantity > 0.0 else slip_down(s, open_[bar], low[bar])


@inline
def stop_price(s: Any, o: float, h: float, low: float, stop: float, size: float) -> float:
    """Return the price at which the stop of a position of `size` fills, NaN where it is not touched."""
    if size > 0.0:
        return slip_down(s, min(o, stop), low) if low <= stop else NAN
    return slip_up(s, max(o, stop), h) if h >= stop else NAN


@inline
def limit_price(s: Any, o: float, h: float, low: float, limit: float, size: float) -> float:
    """Return the price at which the limit of a position of `size` fills, NaN where it is not touched.

    A slipped sale is bounded by the limit only, a purchase by the high too (backtrader).
    """
    if size > 0.0:
        return slip_down(s, o, limit) if o >= limit else (limit if h >= limit else NAN)
    return slip_up(s, o, min(h, limit)) if o <= limit else (limit if low <= limit else NAN)


@inline
def worth_of(size: float, average: float, close: float) -> float:
    """Return what a position is worth, with backtrader's detour over the unrealised profit of longs.

    average, close: in the currency, here and below.
    """
    worth = size * close
    unrealised = size * (close - average)
    return (worth - unrealised) + unrealised if worth > 0.0 else worth


@inline
def value_of(cash: float, size: float, average: float, close: float) -> float:
    """Return the account's value."""
    return cash if size == 0.0 else cash + worth_of(size, average, close)


@inline
def floor_divide(a: float, b: float) -> float:
    """Return a // b as Python gives it, which takes an exact remainder and so a hundred cycles.

    Where the quotient lies clear of a whole number, rounding it down is the same.
    """
    quotient = a / b
    down = math.floor(quotient)
    if abs(quotient) < 1e9 and 1e-6 < quotient - down < 1.0 - 1e-6:
        return float(down)
    return a // b


@inline
def entry_size(s: Any, target: float, equity: float, close: float, stop: float) -> float:
    """Return the unsigned units of an entry from flat. Model: Sizing.entry."""
    t = abs(target)
    if s.sizing == SHARES:
        return np.trunc(s.amount * t)
    if s.sizing == PERCENT:
        return floor_divide(s.amount / 100.0 * t * equity, close)
    if s.sizing == CASH:
        return floor_divide(s.amount * t, close)
    distance = abs(close - stop)
    if distance != distance:
        return 0.0
    most = floor_divide(s.cap * equity, close)
    return most if distance == 0.0 else min(np.trunc(s.amount / 100.0 * t * equity / distance), most)


@inline
def change_of(s: Any, size: float, target: float, equity: float, close: float) -> float:
    """Return the signed change of a held position for another target of its sign. Model: Sizing.change."""
    if s.sizing == SHARES:
        return np.trunc(s.amount * target) - size
    wanted = s.amount / 100.0 * target * equity if s.sizing == PERCENT else s.amount * target
    if wanted == 0.0:
        return -size
    have = size * close
    return floor_divide(wanted - have, close) if wanted > have else -floor_divide(have - wanted, close)
