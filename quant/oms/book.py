"""What a deployment holds and what it has earned: its own fills on its capital, never the account's. Pure.

Sums are decimal and exact, so that no order of fills can change them. A baseline counts for nothing here: it belongs
to the account, and is kept apart only so that the account's position can be explained. Source: DESIGN §5.8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from quant.core.instrument import Instrument
from quant.errors import ParameterError
from quant.oms.fills import Fill
from quant.oms.ledger import Holding, Source

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Book:
    """Positions and money of a deployment, in one currency.

    positions, baseline: by contract id, signed, without zeros. cash: capital, less what was paid for what is held, less
    the commissions told so far. uncharged: fills whose commission is still to come. unpriced: symbols of holdings that
    nobody knows the price of. multipliers: money for a price of 1 and a quantity of 1.
    """

    capital: Decimal
    currency: str
    cash: Decimal
    commission: Decimal
    positions: Mapping[int, Decimal]
    baseline: Mapping[int, Decimal]
    multipliers: Mapping[int, Decimal]
    uncharged: int = 0
    unpriced: tuple[str, ...] = ()

    def position(self, con_id: int) -> Decimal:
        """Return what is held of an instrument, signed; the baseline apart."""
        return self.positions.get(con_id, ZERO)

    def expected(self, con_id: int) -> Decimal:
        """Return what the account should hold of an instrument: ours on top of the baseline."""
        return self.position(con_id) + self.baseline.get(con_id, ZERO)

    def equity(self, prices: Mapping[int, float]) -> float:
        """Return capital and profit with positions at `prices` (by contract id), for sizing.

        Raises ParameterError where a price lacks, or where something is held whose cost nobody knows.
        """
        if self.unpriced:
            reason = "was taken over without a price, so what it earned is unknown; say what it counts as having cost"
            raise ParameterError("holding", ", ".join(self.unpriced), reason)
        worth = ZERO
        for con_id, quantity in self.positions.items():
            price = prices.get(con_id, math.nan)
            if not math.isfinite(price):
                raise ParameterError(
                    "prices", price, f"instrument {con_id} is held ({quantity}) and needs a price"
                )
            worth += quantity * _exact(price) * self.multipliers[con_id]
        return float(self.cash + worth)

    def profit(self, prices: Mapping[int, float]) -> float:
        """Return equity less capital. Raises as `equity`."""
        return float(_exact(self.equity(prices)) - self.capital)


def book(
    capital: float,
    currency: str,
    fills: Iterable[Fill],
    instruments: Mapping[int, Instrument],
    holdings: Iterable[Holding] = (),
) -> Book:
    """Return the book of a deployment's fills and holdings.

    capital: in `currency`. fills: of all its orders; a fill that is given twice counts once. instruments: by contract
    id, of everything that was traded or held: a multiplier that nobody knows is never 1.
    Raises ParameterError for an instrument that lacks or is of another currency (there is no rate), for a commission
    in another currency, for a capital that is no number.
    """
    if not (math.isfinite(capital) and capital > 0):
        raise ParameterError("capital", capital, "must be a positive amount")
    money = _Money(currency, instruments)
    commission, uncharged = ZERO, 0
    for fill in {(f.account, f.stem): f for f in fills}.values():
        money.trade(fill.con_id, fill.symbol, fill.quantity, fill.price)
        if fill.commission is None:
            uncharged += 1
            continue
        if fill.currency != currency:
            reason = f"{fill.symbol} was charged in it, the book is in {currency}, and there is no rate between them"
            raise ParameterError("commission", f"{fill.commission} {fill.currency}", reason)
        commission += _exact(fill.commission)
    baseline: dict[int, Decimal] = {}
    unpriced = set()
    for holding in holdings:
        if holding.source is Source.BASELINE:
            baseline[holding.con_id] = baseline.get(holding.con_id, ZERO) + holding.quantity
        else:
            price = 0.0 if holding.price is None else holding.price
            money.trade(holding.con_id, holding.symbol, holding.quantity, price)
            unpriced |= {holding.symbol} if holding.price is None else set()
    return Book(
        capital=_exact(capital), currency=currency, cash=_exact(capital) - money.paid - commission,
        commission=commission,
        positions={k: q for k, q in money.positions.items() if q != 0},
        baseline={k: q for k, q in baseline.items() if q != 0}, multipliers=money.multipliers, uncharged=uncharged,
        unpriced=tuple(sorted(unpriced)),
    )  # fmt: skip


class _Money:
    """Positions and what was paid for them."""

    def __init__(self, currency: str, instruments: Mapping[int, Instrument]) -> None:
        self.currency = currency
        self.instruments = instruments
        self.positions: dict[int, Decimal] = {}
        self.multipliers: dict[int, Decimal] = {}
        self.paid = ZERO

    def trade(self, con_id: int, symbol: str, quantity: Decimal, price: float) -> None:
        """Count a quantity at a price."""
        instrument = self.instruments.get(con_id)
        if instrument is None:
            raise ParameterError("instruments", con_id, f"{symbol} was traded, so its description is needed")
        if instrument.currency != self.currency:
            reason = f"{symbol} is in it, the book in {self.currency}, and there is no rate between them"
            raise ParameterError("currency", instrument.currency, reason)
        each = _exact(instrument.multiplier) / instrument.price_magnifier
        self.multipliers[con_id] = each
        self.positions[con_id] = self.positions.get(con_id, ZERO) + quantity
        self.paid += quantity * _exact(price) * each


def _exact(value: float) -> Decimal:
    """Return the decimal that a float shows: 0.1 is 0.1."""
    return Decimal(repr(float(value)))
