"""What IB says of an account and what an order would change, at every version; nothing is made up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import order_tws as ib
import pytest
from order_tws import Books, orders_of, session_of, tell
from scripted_tws import proto, tws

from quant.core.barsize import SECOND
from quant.core.orders import Kind, Ticket
from quant.errors import DamagedAnswer, ParameterError, RequestFailed, RequestTimeout
from quant.ib.account import AccountValues, WhatIf, account_values, what_if
from quant.ib.session import Session
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, running

BUY = Ticket("q1:demo:7", ib.ACCOUNT, ib.SPY_ID, "SPY", Decimal(100), Kind.LIMIT, limit=450.25)
# Names and form as in logs of IB's accounts (Lean issue 162; ib_insync's account values).
FIGURES = {
    "AccountType": ("INDIVIDUAL", ""),
    "AccountReady": ("true", ""),
    "DayTradesRemaining": ("-1", ""),
    "DayTradesRemainingT+1": ("3", ""),
    "TradingType-S": ("STKNOPT", ""),
    "NetLiquidation": ("100000.50", "EUR"),
    "AvailableFunds": ("60000.25", "EUR"),
    "ExcessLiquidity": ("70000", "EUR"),
    "BuyingPower": ("240001.00", "EUR"),
    "TotalCashValue": ("-12.5", "EUR"),
    "CashBalance": ("5", "USD"),
}
VALUES = AccountValues(
    account=ib.ACCOUNT, currency="EUR", net_liquidation=100_000.5, available_funds=60_000.25,
    excess_liquidity=70_000.0, buying_power=240_001.0, cash=-12.5, settled_cash=None, kind="margin",
    structure="INDIVIDUAL", day_trades={"DayTradesRemaining": "-1", "DayTradesRemainingT+1": "3"},
)  # fmt: skip


def ask(version: int = 226, **change: tuple[str, str] | None) -> AccountValues:
    """The values of an account, with some of FIGURES changed or, where None, left out."""
    figures = {k.replace("_", "-"): v for k, v in (FIGURES | change).items() if v is not None}

    def on(request: Any) -> Iterable[Any]:
        if type(request).__name__ == "AccountUpdatesMultiRequest":
            assert (request.account, request.modelCode) == (ib.ACCOUNT, "")
            say = {"reqId": request.reqId, "modelCode": ""}
            yield proto("AccountUpdateMulti")(
                account="DU99", key="NetLiquidation", value="1", currency="USD", **say
            )
            for tag, (value, currency) in figures.items():
                yield proto("AccountUpdateMulti")(
                    account=ib.ACCOUNT, key=tag, value=value, currency=currency, **say
                )
            yield proto("AccountUpdateMultiEnd")(reqId=request.reqId)

    with tws(ib.serve(version, on)) as port, Session(port=port) as session:
        session.connect()
        return session.ask(account_values(ib.ACCOUNT))


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_account_values(version: int) -> None:
    assert ask(version) == VALUES


@pytest.mark.parametrize(
    ("trading", "power", "kind"),
    [
        ("STKNOPT", "240001.00", "margin"),  # four times what is free is lent
        ("STKNOPT", "60000.25", None),
        ("STKNOPT", None, None),
        ("STKCASH", "60000.25", "cash"),
    ],
)
def test_the_kind_of_account_is_told_only_where_ib_tells_it(
    trading: str, power: str | None, kind: str | None
) -> None:
    told = None if power is None else (power, "EUR")
    assert ask(TradingType_S=(trading, ""), BuyingPower=told).kind == kind


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"NetLiquidation": None}, "no NetLiquidation"),
        ({"ExcessLiquidity": ("", "EUR")}, "no ExcessLiquidity"),
        ({"AvailableFunds": ("1.7976931348623157E308", "EUR")}, "no AvailableFunds"),
        ({"NetLiquidation": ("NaN", "EUR")}, "no figure"),
        ({"NetLiquidation": ("lots", "EUR")}, "lots"),
        ({"NetLiquidation": ("100", "")}, "base currency"),
        ({"AccountReady": ("false", "")}, "not loaded"),
    ],
)
def test_values_that_say_too_little_are_an_error(change: dict[str, Any], told: str) -> None:
    with pytest.raises(DamagedAnswer, match=told):
        ask(**change)


def test_the_simulated_account() -> None:
    clock = Clock(lambda: 0, speed=0.0, start=1_715_788_800 * SECOND)  # noon in New York; a Wednesday
    with running(Server(simulated(rate_limited=False), clock)) as port, Session(port=port) as session:
        session.connect()
        (account,) = session.accounts
        found = session.ask(account_values(account))
        assert (found.account, found.currency, found.structure) == (account, "USD", "INDIVIDUAL")
        assert found.net_liquidation == found.available_funds == found.excess_liquidity == found.cash
        assert found.day_trades == {"DayTradesRemaining": "-1"}
        with pytest.raises(RequestFailed):
            session.ask(account_values("DU99"))


# ---------------------------------------------------------------- what-if
# 1.7976931348623157E308 is how TWS says that it has no figure.
NONE = dict.fromkeys(
    [
        f"{m}{w}"
        for m in ("initMargin", "maintMargin", "equityWithLoan")
        for w in ("Before", "Change", "After")
    ],
    ib.UNSET,
) | dict.fromkeys(("commissionAndFees", "minCommissionAndFees", "maxCommissionAndFees"), ib.UNSET)
MARGINS = NONE | dict(
    status="PreSubmitted", initMarginChange=11_256.25, initMarginAfter=21_256.25, maintMarginChange=10_000.0,
    maintMarginAfter=20_000.0, equityWithLoanChange=-1.0, equityWithLoanAfter=99_999.0, minCommissionAndFees=1.0,
    maxCommissionAndFees=1.75, commissionAndFeesCurrency="USD", warningText="",
)  # fmt: skip
EFFECT = WhatIf(21_256.25, 11_256.25, 20_000.0, 10_000.0, 99_999.0, -1.0, None, 1.0, 1.75, "USD")


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_what_an_order_would_change(version: int) -> None:
    asked = []

    def on(request: Any) -> Iterable[Any]:
        asked.append(request)
        yield ib.open_order(12, {"warningText": "held"})  # somebody's order is told meanwhile
        yield ib.open_order(12, {"status": "PreSubmitted", **NONE}, whatIf=True)  # without figures yet
        yield ib.open_order(12, MARGINS, whatIf=True)

    with tws(ib.serve(version, on)) as port, Session(port=port) as session:
        session.connect()
        assert session.ask(what_if(12, replace(BUY, transmit=False), ib.spy())) == EFFECT
    (request,) = asked
    assert (request.orderId, request.order.whatIf, request.order.transmit) == (12, True, True)
    assert (request.order.lmtPrice, request.order.orderRef) == (450.25, "q1:demo:7")


def test_a_what_if_leaves_no_report() -> None:
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        pending = orders.what_if(12, BUY)
        session.poll(0.0)
        tell(
            books.links[0],
            ib.open_order(12, MARGINS, whatIf=True),
            ib.order_status(12, clientId=1),
            ib.order_status(12, clientId=5, permId=77),  # another client's order of the same id
        )
        session.poll(1.0)
        assert pending.result() == EFFECT
        (left,) = orders.reports()
        assert left.client_id == 5
        with pytest.raises(ParameterError, match="order_id"):
            orders.what_if(0, BUY)


def test_a_refused_what_if_ends_with_ibs_words() -> None:
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        pending = orders.what_if(12, BUY)
        session.poll(0.0)
        books.links[0].fail(12, 399, "Order Message: will be held", after=0.1)  # which is no end
        session.poll(1.0)
        assert not pending.done
        books.links[0].fail(12, 201, "Order rejected - reason: not enough equity", after=0.1)
        session.poll(1.0)
        with pytest.raises(RequestFailed, match="not enough equity"):
            pending.result()
        assert orders.reports() == []
        books.links[0].fail(12, 201, "Order rejected - reason: not enough equity", after=0.1)
        orders.place(12, BUY)  # now it is an order
        session.poll(1.0)
        (told,) = orders.reports()
        assert told.code == 201
        assert not session.callback_errors


def test_a_what_if_without_figures_times_out() -> None:
    books = Books()
    with session_of(books) as session, pytest.raises(RequestTimeout):
        session.ask(what_if(12, BUY, ib.spy()))
