"""From fills to trades: one trade runs from flat to flat, by symbol. Knows no engine and no orders.

A fill that crosses zero is two: it closes one trade and opens the next, its commission shared by quantity.
Fills that leave part of a position belong to the same trade. What is still held makes a row of its own,
flagged `open` and valued at the last close, so that the rows' profits add up to the account's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, NamedTuple

from quant.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd

# Of the largest size held: what is left of a fractional position below this is float dust (0.1 + 0.2 - 0.3).
FLAT: Final = 1e-12


class Fill(NamedTuple):
    """One execution.

    time: UTC ns. quantity: signed, not 0. commission: in the instrument's currency. bar: number of the bar,
    None = unknown. multiplier: the same for all fills of a symbol.
    """

    time: int
    symbol: str
    quantity: float
    price: float
    commission: float = 0.0
    reason: str = ""
    bar: int | None = None
    multiplier: float = 1.0


@dataclass(frozen=True, slots=True)
class Trade:
    """One position from flat to flat.

    quantity: signed, the largest size held. entry_time, exit_time: UTC ns of the first entering and the last
    leaving fill. entry_price: mean of the entering fills by quantity. exit_price: mean of the leaving fills;
    what is still held counts as leaving at the last close. pnl: net of commission, in the instrument's
    currency. commission: of all its fills. return_: pnl over the value of the entering fills, NaN where that
    is 0.
    bars: from first entry to last exit. reason: of the last leaving fill.
    open: still held; then exit_time and bars are None and reason is "open".
    """

    symbol: str
    quantity: float
    entry_time: int
    exit_time: int | None
    entry_price: float
    exit_price: float
    pnl: float
    commission: float
    return_: float
    bars: int | None
    reason: str
    open: bool


def trades(fills: Iterable[Fill], last_close: Mapping[str, float]) -> list[Trade]:
    """Return the trades that the fills make, in the order in which they were entered.

    fills: in the order in which they were booked. last_close: by symbol, needed for what is still held.
    No fills give no trades. The profits of all rows add up to final value less starting cash (no borrow).
    Raises ParameterError for a quantity of 0 or not finite, and for a held symbol without a last close.
    Source: average-cost accounting; the split of a crossing fill as in backtrader's Trade.
    """
    held: dict[str, _Position] = {}
    entered: list[_Position] = []
    for fill in fills:
        if fill.quantity == 0 or not math.isfinite(fill.quantity):
            raise ParameterError(
                "quantity", fill.quantity, f"of a fill of {fill.symbol}: must be a number, not 0"
            )
        position = held.get(fill.symbol)
        rest: Fill | None = fill
        if position is not None:
            rest = position.book(fill)
            if position.size == 0.0:
                del held[fill.symbol]
        if rest is not None:
            held[fill.symbol] = position = _Position(rest)
            entered.append(position)
    return [position.trade(last_close) for position in entered]


def trades_frame(rows: Iterable[Trade]) -> pd.DataFrame:
    """Return the trades as a table, a column for each attribute (`return_` is named `return`).

    entry_time and exit_time: datetime64[ns, UTC], NaT where the trade is open. bars: Int64, missing likewise.
    Source: the same values as `trades`.
    """
    import pandas as pd

    rows = list(rows)
    names = [f.name for f in fields(Trade)]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    frame = pd.DataFrame(columns).rename(columns={"return_": "return"})
    for name in ("entry_time", "exit_time"):
        frame[name] = pd.to_datetime(pd.array(columns[name], dtype="Int64"), unit="ns", utc=True)
    frame["bars"] = pd.array(columns["bars"], dtype="Int64")
    kinds = {"symbol": "str", "reason": "str", "open": "bool"}
    kinds |= dict.fromkeys(
        ("quantity", "entry_price", "exit_price", "pnl", "commission", "return"), "float64"
    )
    return frame.astype(kinds)


@dataclass(slots=True)
class _Position:
    """The fills of one trade while they come in."""

    first: Fill
    size: float = field(init=False)
    largest: float = field(init=False)
    entering: list[tuple[float, float]] = field(init=False)  # (quantity without sign, price)
    leaving: list[tuple[float, float]] = field(default_factory=list, init=False)
    commissions: list[float] = field(init=False)
    last: Fill | None = field(default=None, init=False)  # the last leaving one

    def __post_init__(self) -> None:
        self.size = self.largest = self.first.quantity
        self.entering = [(abs(self.first.quantity), self.first.price)]
        self.commissions = [self.first.commission]

    def book(self, fill: Fill) -> Fill | None:
        """Take the fill in and return what of it crosses zero, None if nothing does.

        Source: backtrader's Trade, which gets a crossing fill as a closing and an opening part.
        """
        if (fill.quantity > 0.0) == (self.size > 0.0):
            self.size += fill.quantity
            self.largest = max(self.largest, self.size, key=abs)
            self.entering.append((abs(fill.quantity), fill.price))
            self.commissions.append(fill.commission)
            return None
        after = self.size + fill.quantity
        if abs(after) <= FLAT * abs(self.largest):
            after = 0.0
        crosses = after != 0.0 and (after > 0.0) != (self.size > 0.0)
        share = abs(self.size) / abs(fill.quantity) if crosses else 1.0
        fee = fill.commission * share
        self.leaving.append((abs(self.size) if crosses else abs(fill.quantity), fill.price))
        self.commissions.append(fee)
        self.last = fill
        self.size = 0.0 if crosses else after
        return fill._replace(quantity=after, commission=fill.commission - fee) if crosses else None

    def trade(self, last_close: Mapping[str, float]) -> Trade:
        """Return the trade, valued at the last close if it is still open.

        Source: profit = side * (value left with - value entered with) - commission.
        """
        symbol, side = self.first.symbol, math.copysign(1.0, self.first.quantity)
        is_open = self.size != 0.0
        leaving = list(self.leaving)
        if is_open:
            if symbol not in last_close:
                raise ParameterError(
                    "last_close", sorted(last_close), f"no last close of {symbol}, still held"
                )
            leaving.append((abs(self.size), last_close[symbol]))
        entry_value = math.fsum(q * p for q, p in self.entering) * self.first.multiplier
        exit_value = math.fsum(q * p for q, p in leaving) * self.first.multiplier
        commission = math.fsum(self.commissions)
        pnl = side * (exit_value - entry_value) - commission
        closing = None if is_open else self.last
        bars = None
        if closing is not None and closing.bar is not None and self.first.bar is not None:
            bars = closing.bar - self.first.bar
        return Trade(
            symbol=symbol,
            quantity=self.largest,
            entry_time=self.first.time,
            exit_time=None if closing is None else closing.time,
            entry_price=_mean_price(self.entering),
            exit_price=_mean_price(leaving),
            pnl=pnl,
            commission=commission,
            return_=pnl / abs(entry_value) if entry_value != 0.0 else math.nan,
            bars=bars,
            reason="open" if closing is None else closing.reason,
            open=is_open,
        )


def _mean_price(parts: list[tuple[float, float]]) -> float:
    """Return the mean price by quantity; exact for one price, where q * p / q may miss the last bit."""
    prices = {price for _, price in parts}
    if len(prices) == 1:
        return prices.pop()
    return math.fsum(q * p for q, p in parts) / math.fsum(q for q, _ in parts)
