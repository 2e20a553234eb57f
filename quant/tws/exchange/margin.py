"""What an order would need, and whether the account has it. Pure: account, prices and rates in, values out.

Simplified as in quant.tws.exchange.account. IB's own texts, from users' logs of error 201.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quant.tws.exchange.account import Account, figures
from quant.tws.exchange.orders import OrderRequest, Told

SHORT: Final = "The account does not have sufficient permissions to sell short (a cash account)."
UNAVAILABLE: Final = "This contract is not available for short sale."


@dataclass(frozen=True, slots=True)
class Rules:
    """What the broker refuses. margin: an order that the account's equity does not cover.

    cash_account: nothing is sold short, and stocks are paid in full. not_shortable: symbols without shares to lend.
    """

    margin: bool = True
    cash_account: bool = False
    not_shortable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Needs:
    """In the account's base currency."""

    initial: float
    maintenance: float
    equity: float
    cash: float


@dataclass(frozen=True, slots=True)
class Preview:
    """An order's effect, as if it filled at `price`. commission: in `currency`."""

    before: Needs
    after: Needs
    commission: float
    currency: str
    base: str


def needs(account: Account, prices: Mapping[int, float], rates: Mapping[str, float]) -> Needs:
    """Return what the account needs and has at prices (by con id) and rates (base currency for one)."""
    told = {f.tag: f.value for f in figures(account, prices, rates) if f.currency == account.base}
    return Needs(
        float(told["InitMarginReq"]), float(told["MaintMarginReq"]), float(told["EquityWithLoanValue"]),
        float(told["TotalCashValue"]),
    )  # fmt: skip


def preview(
    account: Account, request: OrderRequest, price: float, fee: float, prices: Mapping[int, float],
    rates: Mapping[str, float],
) -> Preview:  # fmt: skip
    """Return the effect of an order that fills whole at `price`."""
    prices = {**prices, request.listing.con_id: price}
    after = deepcopy(account)
    after.book(request.listing, request.quantity * request.side, price, fee)
    return Preview(
        needs(account, prices, rates),
        needs(after, prices, rates),
        fee,
        request.listing.currency,
        account.base,
    )


def refused(rules: Rules, account: Account, request: OrderRequest, seen: Preview) -> Told | None:
    """Return why the broker does not take an order, None if it does. What only reduces a position always passes."""
    held = account.holding(request.listing).quantity
    signed = request.quantity * request.side
    if held * signed < 0 and abs(signed) <= abs(held):
        return None
    short = _shorts(held, signed)
    if short and request.listing.sec_type == "STK":
        if rules.cash_account:
            return _rejected(request, SHORT)
        if request.listing.symbol in rules.not_shortable:
            return _rejected(request, UNAVAILABLE)
    if rules.cash_account and seen.after.cash < 0.0:
        return _rejected(
            request, f"The available cash of [{seen.before.cash:.2f} {account.base}] does not pay for it."
        )
    if rules.margin and seen.after.equity < seen.after.initial:
        text = (
            "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH LOAN VALUE "
            f"[{seen.after.equity:.2f} {account.base}] MUST EXCEED THE INITIAL MARGIN "
            f"[{seen.after.initial:.2f} {account.base}]"
        )
        return _rejected(request, text)
    return None


def _shorts(held: Decimal, signed: Decimal) -> bool:
    return signed < 0 and held + signed < 0


def _rejected(request: OrderRequest, reason: str) -> Told:
    return Told(request.key, 201, f"Order rejected - reason:{reason}")
