"""One account: cash by currency, positions, profit, and the figures that TWS tells of it. Knows no orders.

Every float operation of a fill is in backtrader's order: cash after the same fills is the same to the last bit.
Simplified: maintenance margin is a quarter of a position's value, of a future's a twentieth, and initial margin twice
that; a currency pair is held like a stock, where IB would move the two cash balances.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from quant.errors import ParameterError
from quant.tws.exchange.listing import Listing

_MAINTENANCE: Final = {"FUT": 0.05}  # of the value; others a quarter
_INITIAL: Final = 2.0  # times maintenance


@dataclass(frozen=True, slots=True)
class Holding:
    """A position. quantity: signed. price: mean entry price without commission; cost: with it, as IB's avgCost.

    cost is per unit, in currency, multiplier included. realized: profit since the start, net of commissions.
    """

    listing: Listing
    quantity: Decimal = Decimal(0)
    price: float = 0.0
    cost: float = 0.0
    realized: float = 0.0

    def unit(self, price: float) -> float:
        """Return the value of one unit at `price`, in currency."""
        return price * self.listing.multiplier / self.listing.magnifier

    def value(self, price: float) -> float:
        """Return the market value at `price`, signed, in currency."""
        return float(self.quantity) * self.unit(price)

    def unrealized(self, price: float) -> float:
        """Return the profit that closing at `price` would bring, before its commission."""
        return float(self.quantity) * (self.unit(price) - self.cost)


@dataclass(frozen=True, slots=True)
class Booked:
    """What a fill did. realized: None where it closed nothing."""

    holding: Holding
    realized: float | None


class Account:
    """account_id: "DU..." for paper. base: currency of the totals. cash: what it starts with, in the base currency."""

    def __init__(self, account_id: str = "DU1234567", base: str = "USD", cash: float = 1_000_000.0) -> None:
        if not re.fullmatch(r"(DU|DF|U|F)\d{5,9}", account_id):
            raise ParameterError(
                "account", account_id, 'is DU, DF, U or F and 5 to 9 digits, e.g. "DU1234567"'
            )
        self.account_id = account_id
        self.base = base
        self._cash = {base: cash}
        self._holdings: dict[int, Holding] = {}

    def cash(self, currency: str) -> float:
        """Return the cash in a currency."""
        return self._cash.get(currency, 0.0)

    @property
    def currencies(self) -> tuple[str, ...]:
        """Every currency that cash was ever held in, the base currency first."""
        return tuple(self._cash)

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """Every position ever held, by con id; closed ones have the quantity 0."""
        return tuple(self._holdings[con_id] for con_id in sorted(self._holdings))

    def holding(self, listing: Listing) -> Holding:
        """Return the position in a listing, empty if there never was one."""
        return self._holdings.get(listing.con_id, Holding(listing))

    def covers(self, listing: Listing, quantity: Decimal, price: float, commission: float) -> bool:
        """Return whether cash would not fall below 0 by a fill; one that only reduces a position is always covered.

        quantity: signed. This is the backtest's rule (DESIGN §5.3), not a broker's.
        """
        held = self.holding(listing)
        if held.quantity * quantity < 0 and abs(quantity) <= abs(held.quantity):
            return True
        return self._after(held, quantity, price, commission) >= 0.0

    def book(self, listing: Listing, quantity: Decimal, price: float, commission: float) -> Booked:
        """Book a fill of signed `quantity` at `price`; commission in the listing's currency."""
        held = self.holding(listing)
        self._cash[listing.currency] = self._after(held, quantity, price, commission)
        closed, opened = _parts(held.quantity, quantity)
        fee = commission / float(abs(quantity))
        realized = None
        if closed:
            profit = float(-closed) * (held.unit(price) - held.cost)
            realized = profit - fee * float(abs(closed))
        now = held.quantity + quantity
        after = replace(held, quantity=now, realized=held.realized + (realized or 0.0))
        if now == 0:
            after = replace(after, price=0.0, cost=0.0)
        elif opened:
            # The mean over what stays and what comes; after a reversal only what comes.
            stays = held.quantity + closed
            mean = _mean(held.price, stays, price, opened)
            dearer = held.unit(price) + (fee if opened > 0 else -fee)
            after = replace(after, price=mean, cost=_mean(held.cost, stays, dearer, opened))
        self._holdings[listing.con_id] = after
        return Booked(after, realized)

    def split(self, listing: Listing, ratio: int) -> None:
        """Hold `ratio` units for each one, at the same cost in all."""
        held = self.holding(listing)
        if held.quantity:
            self._holdings[listing.con_id] = replace(
                held, quantity=held.quantity * ratio, price=held.price / ratio, cost=held.cost / ratio
            )

    def _after(self, held: Holding, quantity: Decimal, price: float, commission: float) -> float:
        """Return the cash after a fill: backtrader's `_execute`, closing part first."""
        listing = held.listing
        closed, opened = _parts(held.quantity, quantity)
        cash = self.cash(listing.currency)
        if listing.sec_type == "FUT":  # settled in cash: only profit moves, at the close of the contract
            profit = float(-closed) * (held.unit(price) - held.unit(held.price))
            return cash + profit - commission
        if closed:
            brought = float(-closed) * held.unit(held.price)
            profit = float(-closed) * (held.unit(price) - held.unit(held.price))
            cash = cash + (brought + profit)
        if opened:
            cash = cash - float(opened) * held.unit(price)
        return cash - commission


def _parts(held: Decimal, quantity: Decimal) -> tuple[Decimal, Decimal]:
    """Return which part of a signed fill closes, and which opens."""
    if held * quantity >= 0:
        return Decimal(0), quantity
    size = min(abs(held), abs(quantity))
    closed = size if quantity > 0 else -size
    return closed, quantity - closed


def _mean(held: float, stays: Decimal, price: float, comes: Decimal) -> float:
    if stays == 0:
        return price
    return (held * float(stays) + float(comes) * price) / float(stays + comes)


# ---------------------------------------------------------------- what TWS tells
@dataclass(frozen=True, slots=True)
class Figure:
    """One account value. currency: "" where it has none."""

    tag: str
    value: str
    currency: str


def figures(account: Account, prices: Mapping[int, float], rates: Mapping[str, float]) -> list[Figure]:
    """Return the account values and summary tags, in TWS's names.

    prices: by con id, in price units; a position without one counts at its cost. rates: base currency for one of
    each currency; the base's is 1. Raises ParameterError for a currency without a rate.
    """
    base = account.base
    rate = {currency: _rate(currency, base, rates) for currency in account.currencies}
    cash = sum(account.cash(c) * rate[c] for c in account.currencies)
    worth = gross = loose = maintenance = realized = 0.0
    for held in account.holdings:
        at = rate.setdefault(held.listing.currency, _rate(held.listing.currency, base, rates))
        price = prices.get(held.listing.con_id, held.price)
        value, profit = held.value(price) * at, held.unrealized(price) * at
        future = held.listing.sec_type == "FUT"
        # Cash holds nothing of a future but its costs: it is worth what it would bring.
        worth += float(held.quantity) * (held.unit(price) - held.unit(held.price)) * at if future else value
        gross += 0.0 if future else abs(value)
        loose += profit
        realized += held.realized * at
        maintenance += abs(value) * _MAINTENANCE.get(held.listing.sec_type, 0.25)
    net, initial = cash + worth, maintenance * _INITIAL
    available = net - initial
    money = {
        "NetLiquidation": net, "TotalCashValue": cash, "SettledCash": cash, "AccruedCash": 0.0,
        "BuyingPower": max(available, 0.0) * 4.0, "EquityWithLoanValue": net, "PreviousDayEquityWithLoanValue": net,
        "GrossPositionValue": gross, "RegTEquity": net, "RegTMargin": initial, "SMA": max(available, 0.0),
        "InitMarginReq": initial, "MaintMarginReq": maintenance, "AvailableFunds": available,
        "ExcessLiquidity": net - maintenance, "FullInitMarginReq": initial, "FullMaintMarginReq": maintenance,
        "FullAvailableFunds": available, "FullExcessLiquidity": net - maintenance, "LookAheadInitMarginReq": initial,
        "LookAheadMaintMarginReq": maintenance, "LookAheadAvailableFunds": available,
        "LookAheadExcessLiquidity": net - maintenance, "UnrealizedPnL": loose, "RealizedPnL": realized,
    }  # fmt: skip
    plain = {
        "AccountCode": account.account_id, "AccountType": "INDIVIDUAL", "AccountReady": "true",
        "Cushion": f"{(net - maintenance) / net:.6f}" if net > 0.0 else "0", "LookAheadNextChange": "0",
        "HighestSeverity": "0", "DayTradesRemaining": "-1", "Leverage": f"{gross / net:.2f}" if net > 0.0 else "0",
    }  # fmt: skip
    found = [Figure(tag, value, "") for tag, value in plain.items()]
    found += [Figure(tag, f"{value:.2f}", base) for tag, value in money.items()]
    for currency in account.currencies:
        found += [
            Figure("CashBalance", f"{account.cash(currency):.2f}", currency),
            Figure("TotalCashBalance", f"{account.cash(currency):.2f}", currency),
            Figure("ExchangeRate", f"{rate[currency]:.4f}", currency),
        ]
    return [
        *found,
        Figure("CashBalance", f"{cash:.2f}", "BASE"),
        Figure("TotalCashBalance", f"{cash:.2f}", "BASE"),
    ]


def _rate(currency: str, base: str, rates: Mapping[str, float]) -> float:
    if currency == base:
        return 1.0
    if currency not in rates:
        raise ParameterError("rates", currency, f"no rate to the account's base currency {base}")
    return rates[currency]
