"""What an engine reports of a run: orders, fills and the account at each step, as plain values.

Every engine fills the same Record, so that all that follows (trades, metrics, run folder, report) does not
know which engine it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import backtrader as bt
import numpy as np

from quant.core.bars import Bars
from quant.core.calendar import Dates, Ints
from quant.core.sessions import Floats
from quant.errors import LookAheadOrder


@dataclass(slots=True)
class OrderRow:
    """One order. time: UTC ns END at which it was decided. price, limit_price: as asked, NaN for a market order."""

    order: int
    feed: int
    time: int
    kind: str
    quantity: float
    price: float
    limit_price: float
    reason: str
    status: str


@dataclass(frozen=True, slots=True)
class FillRow:
    """One execution. bar: number of the filled bar of its feed. slippage: price units lost, >= 0.

    ambiguous: both exits were touched in this bar and the open settles nothing.
    """

    order: int
    feed: int
    bar: int
    quantity: float
    price: float
    commission: float
    reason: str
    slippage: float
    ambiguous: bool = False


@dataclass(slots=True)
class Record:
    """A run as an engine saw it. cash, value: one a step; steps are the union of the feeds' ENDs."""

    bars: tuple[Bars, ...]
    orders: list[OrderRow] = field(default_factory=list)
    fills: list[FillRow] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    borrowed: list[tuple[int, int, float]] = field(default_factory=list)  # feed, bar, amount charged
    wrong_side: int = 0  # exits that lay on the wrong side of their entry's fill
    entry_touches: int = 0  # exits of a plain strategy touched on their entry's bar, where stock ignores them
    fell_back: str | None = None  # why `fast` left the run to stock's loop
    numeric_valid: int = 0  # orders whose `valid` is a number, which stock drops or misreads
    steps: Ints = field(init=False, repr=False)  # all that the feeds have; a strategy may stop the run early

    def __post_init__(self) -> None:
        one = len(self.bars) == 1
        self.steps = self.bars[0].end if one else np.unique(np.concatenate([b.end for b in self.bars]))

    @property
    def end(self) -> Ints:
        """(m,) int64 UTC ns of the steps that were run."""
        return self.steps[: len(self.value)]

    @property
    def session(self) -> Dates:
        """(m,) session date of the steps; never going back, where sessions of several exchanges overlap."""
        dates = np.full(len(self.value), np.datetime64("0001-01-01"), dtype="datetime64[D]")
        for bars in self.bars:
            at = np.searchsorted(self.end, bars.end)
            mine = at < len(dates)
            dates[at[mine]] = np.maximum(dates[at[mine]], bars.session[mine])
        return np.maximum.accumulate(dates)

    def positions(self) -> list[Floats]:
        """Return for each feed (n,) the units held at the END of each of its bars."""
        changes = [np.zeros(len(b)) for b in self.bars]
        for fill in self.fills:
            changes[fill.feed][fill.bar] += fill.quantity
        return [np.cumsum(c) for c in changes]


_STATUS = {
    "Completed": "filled", "Canceled": "cancelled", "Expired": "expired", "Margin": "rejected",
    "Rejected": "rejected", "Partial": "partly filled",
}  # fmt: skip


class Recorder:
    """Fills a Record from what backtrader's broker says."""

    def __init__(self, bars: Sequence[Bars]) -> None:
        self.record = Record(tuple(bars))
        self._numbers: dict[int, int] = {}  # id of a backtrader feed -> our number of it
        self._rows: dict[int, OrderRow] = {}  # backtrader's order.ref, which counts over the whole process
        self._bits: dict[int, int] = {}  # executions of an order that were recorded
        self._entered: dict[int, int] = {}  # bar of each feed's last entry

    def add_feeds(self, datas: Sequence[bt.feed.DataBase]) -> None:
        """Take backtrader's feeds, in the order of the bars. Keyed by id: == of feeds compares prices."""
        self._numbers = {id(d): n for n, d in enumerate(datas)}

    def number(self, data: bt.feed.DataBase) -> int:
        """Return our number of a backtrader feed."""
        return self._numbers[id(data)]

    def decided(self, order: bt.Order) -> int:
        """Return when a recorded order was decided, UTC ns."""
        return self._rows[order.ref].time

    def order(self, order: bt.Order) -> None:
        """Take what the broker is about to notify of an order."""
        row = self._rows.get(order.ref)
        if row is None:
            row = self._rows[order.ref] = self._row(order)
            self.record.orders.append(row)
            self.record.numeric_valid += isinstance(order.p.valid, Real)  # numpy's numbers and bools too
        row.status = _STATUS.get(order.getstatusname(), "open")
        bits = list(order.executed.exbits)
        for bit in bits[self._bits.get(order.ref, 0) :]:
            self.record.fills.append(self._fill(order, row, bit))
        self._bits[order.ref] = len(bits)

    def step(self, cash: float, value: float) -> None:
        """Take the account after the broker's pass over one step."""
        self.record.cash.append(cash)
        self.record.value.append(value)

    def _row(self, order: bt.Order) -> OrderRow:
        if not len(order.data):
            # Without a present bar backtrader reads the last one of the preloaded feed, and fills at its prices.
            symbol = self.record.bars[self.number(order.data)].symbol
            reason = f"orders {symbol} before its first bar; wait until len(data) > 0"
            raise LookAheadOrder(type(order.owner).__name__, reason)
        market = order.exectype in (bt.Order.Market, bt.Order.Close)
        created = order.created
        return OrderRow(
            order=len(self.record.orders) + 1,
            feed=self.number(order.data),
            time=int(
                self.record.steps[len(self.record.value) - 1]
            ),  # of the step that the broker passed last
            kind=order.getordername().lower(),
            quantity=created.size,
            price=math.nan if market else float(created.price),
            limit_price=math.nan if market or created.pricelimit is None else float(created.pricelimit),
            reason=str(order.info.get("reason", "")),
            status="open",
        )

    def _fill(self, order: bt.Order, row: OrderRow, bit: bt.order.OrderExecutionBit) -> FillRow:
        data = order.data
        # backtrader fills a Close order, and with cheat-on-close any, at the close of the bar before.
        late = bit.dt != data.datetime[0] and len(data) > 1 and bit.dt == data.datetime[-1]
        bar = len(data) - (2 if late else 1)
        ambiguous = False
        pair = order.info.get("pair")
        if pair is not None:
            ambiguous = is_ambiguous(order)
            stop, limit = open_reaches(order)
            # An exit that its own entry's open had already reached: it was on the wrong side when sent.
            reached = stop if order.exectype == bt.Order.Stop else limit
            self.record.wrong_side += reached and self._entered.get(row.feed) == bar
        elif row.reason == "entry":
            self._entered[row.feed] = bar
        return FillRow(
            row.order, row.feed, bar, bit.size, bit.price, bit.comm, row.reason,
            0.0 if late else slippage_of(order, bit.price, bit.size), ambiguous,
        )  # fmt: skip


def open_reaches(order: bt.Order) -> tuple[bool, bool]:
    """Of an exit's pair (order.info.pair): whether the bar's open reaches the stop, the limit. NaN: never."""
    o, (stop, limit) = order.data.open[0], order.info.pair
    return (o >= stop, o <= limit) if order.isbuy() else (o <= stop, o >= limit)


def is_ambiguous(order: bt.Order) -> bool:
    """True where both exits of the pair are touched in this bar and the open reaches neither."""
    data, (stop, limit) = order.data, order.info.pair
    high, low = data.high[0], data.low[0]
    touched = (high >= stop and low <= limit) if order.isbuy() else (low <= stop and high >= limit)
    return touched and not any(open_reaches(order))


def slippage_of(order: bt.Order, price: float, size: float) -> float:
    """Return how much worse, in price units, an order filled than without slippage; 0 where that is unknown."""
    o, asked, buying = order.data.open[0], order.created.price, size > 0
    if order.exectype == bt.Order.Market:
        reference = o
    elif order.exectype == bt.Order.Stop:
        reference = max(o, asked) if buying else min(o, asked)
    elif order.exectype == bt.Order.Limit:
        reference = min(o, asked) if buying else max(o, asked)
    else:
        return 0.0
    return float(max(price - reference if buying else reference - price, 0.0))
