"""What the deployment holds and has, kept up fill by fill; the same figures as quant.oms.book on all of them.

A fill whose commission was not told yet is charged by the feed's commission scheme until it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import backtrader as bt

from quant.core.instrument import Instrument
from quant.errors import ParameterError
from quant.live.orders.tickets import units
from quant.oms.fills import Fill
from quant.oms.ledger import Holding, Source

ZERO = Decimal(0)
ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Bit:
    """What a fill did to a position. closed, opened: signed as the fill; before: average price that was held."""

    closed: int | float
    opened: int | float
    before: float
    size: int | float
    price: float


class Account:
    """Positions and cash of a deployment in one currency. capital: in that currency.

    positions: by contract id; the objects stay the same for ever, so that who holds one sees what becomes of it.
    unpriced: symbols of holdings whose cost nobody knows. bookings: how often anything here has changed.
    """

    def __init__(self, capital: float) -> None:
        self.capital = Decimal(repr(float(capital)))
        self.currency = ""
        self.instruments: dict[int, Instrument] = {}
        self.positions: dict[int, bt.Position] = {}
        self.unpriced: dict[int, str] = {}
        self.bookings = 0
        self._fills: dict[tuple[str, str], Fill] = {}
        self._held: dict[int, list[tuple[Decimal, float]]] = {}  # holdings, without fills
        self._holdings: set[int] = set()  # by their numbers
        self._quantity: dict[int, Decimal] = {}
        self._worth: dict[int, Decimal] = {}  # as `worth`, exact
        self._guessed: dict[tuple[str, str], Decimal] = {}
        self._paid = ZERO
        self._charged = ZERO

    def know(self, instrument: Instrument) -> None:
        """Take what can be traded. Raises ParameterError for a second currency: there is no rate."""
        if instrument.con_id is None:
            return
        self.currency = self.currency or instrument.currency
        if instrument.currency != self.currency:
            reason = f"{instrument.symbol} is in it, the account in {self.currency}, and there is no rate between them"
            raise ParameterError("currency", instrument.currency, reason)
        self.instruments[instrument.con_id] = instrument
        self._worth[instrument.con_id] = _exact(self.worth(instrument.con_id))
        self.position(instrument.con_id)

    def position(self, con_id: int) -> bt.Position:
        """Return what is held of an instrument."""
        if con_id not in self.positions:
            self.positions[con_id] = bt.Position()
        return self.positions[con_id]

    def quantity(self, con_id: int) -> Decimal:
        """Return the same, exact."""
        return self._quantity.get(con_id, ZERO)

    def worth(self, con_id: int) -> float:
        """Return money for a price of 1 and a quantity of 1."""
        instrument = self.instruments.get(con_id)
        return 1.0 if instrument is None else instrument.multiplier / instrument.price_magnifier

    @property
    def cash(self) -> float:
        """Capital, less what was paid for what is held, less commissions."""
        return float(self.capital - self._paid - self._charged - sum(self._guessed.values(), ZERO))

    def equity(self, prices: Mapping[int, float]) -> float:
        """Return the cash and what is held at `prices`; what has none counts at its average cost."""
        found = self.capital - self._paid - self._charged - sum(self._guessed.values(), ZERO)
        for con_id, quantity in self._quantity.items():
            if quantity != 0:
                price = prices[con_id] if con_id in prices else float(self.position(con_id).price)
                found += quantity * _exact(price) * self._worth.get(con_id, ONE)
        return float(found)

    # ---------------------------------------------------------------- fills
    def known(self, fill: Fill) -> Fill | None:
        """Return the fill as it was booked, None if it was not."""
        return self._fills.get((fill.account, fill.stem))

    def add(self, fill: Fill, guess: float) -> Bit:
        """Book a fill that is new. guess: commission until it is told."""
        key = fill.account, fill.stem
        self.bookings += 1
        self._fills[key] = fill
        self._count(fill, 1)
        self._charge(key, fill, guess)
        position = self.position(fill.con_id)
        before = float(position.price)
        size, price, opened, closed = position.update(units(fill.quantity), fill.price)
        return Bit(closed, opened, before, size, price)

    def change(self, fill: Fill) -> None:
        """Book another form of a fill: its commission, or a correction."""
        key = fill.account, fill.stem
        old = self._fills[key]
        self.bookings += 1
        self._fills[key] = fill
        guess = float(self._guessed.get(key, ZERO))
        if old.commission is not None:
            self._charged -= _exact(old.commission)
        self._guessed.pop(key, None)
        self._charge(key, fill, guess)
        if (old.quantity, old.price) != (fill.quantity, fill.price):
            self._count(old, -1)
            self._count(fill, 1)
            self._again(fill.con_id)

    def take_holdings(self, holdings: Iterable[Holding]) -> None:
        """Count what no order of ours made, each once, at what it counts as having cost; a baseline is not ours."""
        for holding in holdings:
            if holding.source is Source.BASELINE or holding.number in self._holdings:
                continue
            con_id, quantity, cost = holding.con_id, holding.quantity, holding.price
            self.bookings += 1
            self._holdings.add(holding.number)
            if cost is None:
                self.unpriced[con_id], cost = holding.symbol, 0.0
            self._held.setdefault(con_id, []).append((quantity, cost))
            self._quantity[con_id] = self.quantity(con_id) + quantity
            self._paid += quantity * _exact(cost) * _exact(self.worth(con_id))
            self.position(con_id).update(units(quantity), cost)

    def _charge(self, key: tuple[str, str], fill: Fill, guess: float) -> None:
        if fill.commission is not None and fill.currency in ("", self.currency):
            self._charged += _exact(fill.commission)
        elif fill.quantity != 0:
            self._guessed[key] = _exact(guess)

    def _count(self, fill: Fill, sign: int) -> None:
        quantity = fill.quantity * sign
        self._quantity[fill.con_id] = self.quantity(fill.con_id) + quantity
        self._paid += quantity * _exact(fill.price) * _exact(self.worth(fill.con_id))

    def _again(self, con_id: int) -> None:
        """Work a position out anew, after a correction."""
        fresh = bt.Position()
        for quantity, price in self._held.get(con_id, ()):
            fresh.update(units(quantity), price)
        for fill in sorted(self._fills.values(), key=lambda f: (f.time, f.stem)):
            if fill.con_id == con_id and fill.quantity != 0:
                fresh.update(units(fill.quantity), fill.price)
        self.position(con_id).fix(fresh.size, fresh.price)


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value)))
