"""The account: cash and shares are conserved, and its figures add up."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import ParameterError
from quant.tws.exchange.account import Account, figures
from quant.tws.exchange.commission import commission
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing

CATALOGUE = Catalogue()


def known(con_id: int) -> Listing:
    found = CATALOGUE.get(con_id)
    assert found is not None
    return found


SPY, VOD, ES = known(756733), known(990_000_003), known(980_202_409)
TRADES = st.lists(
    st.tuples(st.sampled_from([-300, -100, -7, 1, 50, 200]), st.integers(5000, 15_000), st.integers(0, 300)),
    min_size=1,
    max_size=25,
)


@given(TRADES, st.sampled_from([SPY, VOD, ES]))
def test_cash_and_shares_are_conserved(trades, listing):
    account = Account(cash=0.0, base=listing.currency)
    spent = fees = 0.0
    shares = 0
    realized = 0.0
    for quantity, cents, fee in trades:
        booked = account.book(listing, Decimal(quantity), cents / 100.0, fee / 100.0)
        shares += quantity
        spent += quantity * cents / 100.0 * listing.multiplier / listing.magnifier
        fees += fee / 100.0
        realized += booked.realized or 0.0
        assert booked.holding.quantity == shares
    held = account.holding(listing)
    last = trades[-1][1] / 100.0
    assert held.realized == pytest.approx(realized)
    # What was made, by cash flows, is what the position says: realised and not yet realised, fees in both.
    made = shares * last * listing.multiplier / listing.magnifier - spent - fees
    assert held.realized + held.unrealized(last) == pytest.approx(made, abs=1e-6)
    told = {
        f.tag: f.value for f in figures(account, {listing.con_id: last}, {}) if f.currency == listing.currency
    }
    assert float(told["NetLiquidation"]) == pytest.approx(made, abs=0.011)
    if listing.sec_type == "STK":
        assert account.cash(listing.currency) == pytest.approx(-spent - fees, abs=1e-6)
    if shares == 0:
        assert (held.price, held.cost) == (0.0, 0.0)
        assert account.cash(listing.currency) == pytest.approx(made, abs=1e-6)


def test_average_cost_and_realized_profit_by_hand():
    # IB's definitions: average cost includes the commission, a reduction leaves it, a reversal starts anew.
    account = Account()
    account.book(SPY, Decimal(100), 100.0, 1.0)
    account.book(SPY, Decimal(100), 110.0, 1.0)
    held = account.holding(SPY)
    assert (held.price, held.cost) == (105.0, 105.01)
    booked = account.book(SPY, Decimal(-50), 115.0, 1.0)
    assert booked.realized == pytest.approx(50 * (115.0 - 105.01) - 1.0)
    assert booked.holding.cost == 105.01
    reversed_to = account.book(SPY, Decimal(-250), 120.0, 2.5)
    assert reversed_to.realized == pytest.approx(150 * (120.0 - 105.01) - 1.5)
    assert reversed_to.holding.quantity == -100
    assert (reversed_to.holding.price, reversed_to.holding.cost) == (120.0, pytest.approx(119.99))
    assert account.cash("USD") == pytest.approx(1e6 - 21_000 + 5_750 + 30_000 - 5.5)


def test_pence_are_pounds_in_cash_and_futures_move_profit_only():
    account = Account(base="GBP", cash=10_000.0)
    account.book(VOD, Decimal(1000), 75.0, 3.0)
    assert account.cash("GBP") == 10_000.0 - 750.0 - 3.0
    futures = Account(cash=50_000.0)
    futures.book(ES, Decimal(2), 5000.0, 4.5)
    assert futures.cash("USD") == 50_000.0 - 4.5
    futures.book(ES, Decimal(-2), 5010.25, 4.5)
    assert futures.cash("USD") == 50_000.0 - 9.0 + 2 * 50 * 10.25


def test_figures_of_two_currencies_add_up_in_the_base():
    account = Account("DU7654321", cash=100_000.0)
    account.book(SPY, Decimal(100), 400.0, 1.0)
    account.book(VOD, Decimal(1000), 75.0, 3.0)
    found = figures(account, {SPY.con_id: 410.0, VOD.con_id: 80.0}, {"GBP": 1.25})
    told = {(f.tag, f.currency): f.value for f in found}
    cash = 100_000.0 - 40_001.0 - 753.0 * 1.25
    assert float(told["TotalCashValue", "USD"]) == round(cash, 2)
    assert float(told["NetLiquidation", "USD"]) == round(cash + 41_000.0 + 800.0 * 1.25, 2)
    assert float(told["GrossPositionValue", "USD"]) == 42_000.0
    assert float(told["UnrealizedPnL", "USD"]) == round(999.0 + 47.0 * 1.25, 2)
    assert told["CashBalance", "GBP"] == "-753.00"
    assert told["ExchangeRate", "GBP"] == "1.2500"
    assert told["AccountCode", ""] == "DU7654321"
    # The tags that reqAccountSummary takes (IB's AccountSummaryTags), as far as they are simulated.
    tags = {tag for tag, _ in told}
    assert tags >= {
        "AccountType", "NetLiquidation", "TotalCashValue", "SettledCash", "AccruedCash", "BuyingPower",
        "EquityWithLoanValue", "GrossPositionValue", "InitMarginReq", "MaintMarginReq", "AvailableFunds",
        "ExcessLiquidity", "Cushion", "FullInitMarginReq", "DayTradesRemaining", "Leverage",
    }  # fmt: skip


def test_a_currency_without_a_rate_is_an_error():
    account = Account()
    account.book(VOD, Decimal(1000), 75.0, 3.0)
    with pytest.raises(ParameterError, match="GBP"):
        figures(account, {}, {})


@pytest.mark.parametrize("name", ["", "DU", "du1234567", "DU12 4567", "X1234567"])
def test_account_ids_are_checked(name):
    with pytest.raises(ParameterError, match="account"):
        Account(name)


def test_cash_covers_what_it_pays_for_and_any_reduction():
    account = Account(cash=1000.0)
    assert account.covers(SPY, Decimal(9), 110.0, 10.0)
    assert not account.covers(SPY, Decimal(9), 110.0, 10.01)
    account.book(SPY, Decimal(9), 110.0, 10.0)
    assert account.covers(SPY, Decimal(-9), 0.01, 50.0)
    assert not account.covers(SPY, Decimal(1), 1.0, 0.0)


def test_commissions_are_the_tables_and_elsewhere_the_simulators_own():
    # IB's page, fixed pricing, United States: 0.005 a share, at least 1, at most 1 % of the value.
    assert commission("ib-fixed", SPY, 1000.0, 100.0) == 5.0
    assert commission("ib-fixed", SPY, 10.0, 100.0) == 1.0
    assert commission("ib-fixed", SPY, 10.0, 5.0) == 0.5
    assert commission("ib-tiered", SPY, 1000.0, 100.0) == pytest.approx(3.5)
    assert commission("none", SPY, 1000.0, 100.0) == 0.0
    assert commission("percent:0.1", VOD, 1000.0, 75.0) == pytest.approx(0.75)
    assert commission("ib-fixed", ES, 2.0, 5000.0) == 4.5
    eur = known(12087792)
    assert commission("ib-fixed", eur, 20_000.0, 1.1) == 2.0
    assert commission("ib-fixed", eur, 1_000_000.0, 1.1) == pytest.approx(22.0)
    with pytest.raises(ParameterError, match="unknown"):
        commission("nonsense", SPY, 1.0, 1.0)
