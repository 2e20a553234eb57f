"""What IB says of an account, and what an order would change there, as requests for `Session.ask`.

IB's own figures are handed on; nothing is derived from them but whether the account can borrow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from quant.core.orders import Ticket
from quant.ib.asking import Request
from quant.ib.codec import Event
from quant.ib.lookup import Found
from quant.ib.reports import UNTOLD, optional
from quant.ib.tickets import to_ib

# Of money in the base currency. Source: IB's list of account values (interactivebrokers.github.io/tws-api/
# interfaceIBApi_1_1EWrapper, updateAccountValue).
NEEDED: Final = ("NetLiquidation", "AvailableFunds", "ExcessLiquidity")
DAY_TRADES: Final = "DayTradesRemaining"  # and ...T+1 to ...T+4; -1 is "no limit"


@dataclass(frozen=True, slots=True)
class AccountValues:
    """What IB says of an account now, in `currency`, its base; None where IB left a figure out.

    structure: IB's AccountType (INDIVIDUAL, IRA, ...), which says nothing of borrowing. kind: "cash" or "margin", None
    where IB's figures do not tell: then it must be treated as cash. day_trades: IB's tags as it tells them.
    """

    account: str
    currency: str
    net_liquidation: float
    available_funds: float
    excess_liquidity: float
    buying_power: float | None
    cash: float | None
    settled_cash: float | None
    kind: str | None
    structure: str
    day_trades: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What an order would change, by IB's calculation; None where IB tells no figure.

    Margins and equity are in the account's base currency, commissions in `currency`. warning, refused: IB's words;
    servers below version 195 tell no `refused`.
    """

    initial_margin: float | None
    initial_margin_change: float | None
    maintenance_margin: float | None
    maintenance_margin_change: float | None
    equity_with_loan: float | None
    equity_with_loan_change: float | None
    commission: float | None
    commission_least: float | None
    commission_most: float | None
    currency: str
    warning: str = ""
    refused: str = ""


# ---------------------------------------------------------------- account values
@dataclass(slots=True)
class _Values:
    """A collector of one account's values: tag -> (value as sent, currency)."""

    account: str
    found: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, event: Event) -> bool:
        if event.name == "accountUpdateMultiEnd":
            return True
        _, account, model, tag, value, currency = event.args
        if account == self.account and not model and currency != "BASE":
            before = self.found.get(tag)
            if tag in NEEDED and before is not None and before[1] != currency:
                raise ValueError(f"{tag} in {before[1]} and in {currency}")
            self.found[tag] = (value, currency)
        return False

    def result(self) -> AccountValues:
        found = self.found
        if found.get("AccountReady", ("true", ""))[0].lower() == "false":
            raise ValueError("TWS has not loaded the account yet")
        missing = [tag for tag in NEEDED if _money(found, tag) is None]
        if missing or not found["NetLiquidation"][1]:
            raise ValueError(f"IB told no {', '.join(missing) or 'base currency'} of {self.account}")
        net, available, excess = (_money(found, tag) or 0.0 for tag in NEEDED)
        power = _money(found, "BuyingPower")
        return AccountValues(
            account=self.account,
            currency=found["NetLiquidation"][1],
            net_liquidation=net,
            available_funds=available,
            excess_liquidity=excess,
            buying_power=power,
            cash=_money(found, "TotalCashValue"),
            settled_cash=_money(found, "SettledCash"),
            kind=_kind(found.get("TradingType-S", ("", ""))[0], power, available),
            structure=found.get("AccountType", ("", ""))[0],
            day_trades=MappingProxyType({t: v for t, (v, _) in found.items() if t.startswith(DAY_TRADES)}),
        )


def account_values(account: str) -> Request[AccountValues]:
    """The figures of an account.

    A foreign account is RequestFailed; one that TWS has not loaded yet, or without its main figures, DamagedAnswer.
    """

    def cancel(c: Any, i: int) -> None:
        c.cancelAccountUpdatesMulti(i)

    return Request(
        f"the values of account {account}",
        lambda c, i: c.reqAccountUpdatesMulti(i, account, "", False),
        lambda: _Values(account),
        frozenset({"accountUpdateMulti", "accountUpdateMultiEnd"}),
        cancel=cancel,
        release=cancel,  # TWS would go on sending them
    )


def _kind(trading: str, power: float | None, available: float) -> str | None:
    """Tell whether an account can borrow.

    By IB's description the buying power of a cash account is at most its equity less its margin, which is
    AvailableFunds; more of it is borrowed. TradingType is STKNOPT for accounts of both kinds; one text has STKCASH.
    """
    if "CASH" in trading.upper():
        return "cash"
    if power is not None and available > 0 and power > 1.01 * available:
        return "margin"
    return None


def _money(found: Mapping[str, tuple[str, str]], tag: str) -> float | None:
    text = found.get(tag, ("", ""))[0]
    return optional(float(text)) if text else None


# ---------------------------------------------------------------- what-if
@dataclass(slots=True)
class _WhatIf:
    """A collector of the answer to a what-if.

    TWS may tell the order first without figures (ib_async 2.1 wrapper.openOrder waits for them, too).
    """

    order_id: int
    found: WhatIf | None = None

    def take(self, event: Event) -> bool:
        order_id, _, order, state = event.args
        if order_id != self.order_id or not order.whatIf:
            return False
        self.found = _effect(state)
        told = (
            self.found.initial_margin,
            self.found.initial_margin_change,
            self.found.equity_with_loan_change,
        )
        return any(v is not None for v in told) or bool(self.found.warning or self.found.refused)

    def result(self) -> WhatIf:
        if self.found is None:
            raise ValueError("no figures")
        return self.found


def what_if(order_id: int, ticket: Ticket, found: Found, parent_id: int = 0) -> Request[WhatIf]:
    """What the order of a ticket would change; nothing is ordered.

    order_id: a fresh one of the client's own sequence, as TWS may count it as used. An error of IB for it ends the
    request only if it was begun by `Orders.what_if`. Raises ParameterError for a ticket that cannot be sent.
    """
    contract, order = to_ib(ticket, found, parent_id)
    order.whatIf = True
    order.transmit = True  # one that is held back is not calculated
    return Request(
        f"what {ticket.quantity:+f} {ticket.symbol} would change",
        lambda c, _: c.placeOrder(order_id, contract, order),
        lambda: _WhatIf(order_id),
        frozenset({"openOrder"}),
        by_id=False,
    )


def _effect(state: Any) -> WhatIf:
    return WhatIf(
        initial_margin=_told(state.initMarginAfter),
        initial_margin_change=_told(state.initMarginChange),
        maintenance_margin=_told(state.maintMarginAfter),
        maintenance_margin_change=_told(state.maintMarginChange),
        equity_with_loan=_told(state.equityWithLoanAfter),
        equity_with_loan_change=_told(state.equityWithLoanChange),
        commission=optional(state.commissionAndFees),
        commission_least=optional(state.minCommissionAndFees),
        commission_most=optional(state.maxCommissionAndFees),
        currency=state.commissionAndFeesCurrency,
        warning=state.warningText,
        refused=state.rejectReason,
    )


def _told(text: str) -> float | None:
    """Return a figure that ibapi hands on as text, from both encodings."""
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no figure")
    return None if abs(value) >= UNTOLD else value
