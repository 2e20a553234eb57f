"""The book of a deployment. Sums are worked out by hand, or again in fractions, from the fills themselves."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.instrument import Instrument
from quant.errors import ParameterError
from quant.oms.book import Book, book
from quant.oms.fills import Fill, join_fills
from quant.oms.ledger import Holding, Source
from tests.oms.facts import ACCOUNT, SPY, commission, corrected, execution

ES, VOD = 495512563, 111
INSTRUMENTS = {
    SPY: Instrument("SPY", con_id=SPY),
    ES: Instrument("ES", "FUT", "CME", con_id=ES, multiplier=50.0),
}
BUY, SELL = execution(1, 100, 100, price=500.0), execution(2, -40, 40, price=510.0)


def held(source: Source, quantity: int, price: float | None, con_id: int = SPY) -> Holding:
    return Holding(1, source, con_id, "SPY", Decimal(quantity), price, 5)


def of(*fills: Fill, **other: Any) -> Book:
    return book(
        **{"capital": 100_000.0, "currency": "USD", "fills": fills, "instruments": INSTRUMENTS, **other}
    )


def test_capital_and_own_profit_are_all_there_is() -> None:
    fills = join_fills([BUY, SELL], [commission(BUY, 1.0), commission(SELL, 0.5)])
    its = of(*fills)
    assert (its.position(SPY), its.cash, its.commission) == (60, Decimal("70398.5"), Decimal("1.5"))
    assert its.equity({SPY: 505.0}) == 100_698.5  # 40 x 10 won, 60 x 5 open, 1.5 paid
    assert its.profit({SPY: 505.0}) == 698.5


def test_a_fill_counts_before_its_commission_and_the_commission_when_it_comes() -> None:  # row O3
    early, late = of(*join_fills([BUY], [])), of(*join_fills([BUY], [commission(BUY, 1.0)]))
    assert (early.cash, early.uncharged) == (50_000, 1)
    assert (late.cash, late.uncharged) == (49_999, 0)


def test_corrections_and_busts_move_cash_and_position() -> None:  # row O4
    dearer = of(*join_fills([BUY, corrected(BUY, 2, price=501.0)], []))
    busted = of(*join_fills([BUY, SELL, corrected(BUY, 2, quantity=Decimal(0))], []))
    assert (dearer.position(SPY), dearer.cash) == (100, 49_900)
    assert (busted.position(SPY), busted.cash) == (-40, 120_400)


def test_multiplier_and_pence_are_money() -> None:
    future = of(*join_fills([replace(BUY, con_id=ES, quantity=Decimal(2), price=5000.25)], []))
    assert future.cash == 100_000 - 2 * Decimal("5000.25") * 50
    assert future.profit({ES: 5001.25}) == 100.0
    pence = {VOD: Instrument("VOD", currency="GBP", con_id=VOD, price_magnifier=100)}
    shares = of(*join_fills([replace(BUY, con_id=VOD, price=72.5)], []), currency="GBP", instruments=pence)
    assert shares.cash == Decimal("99927.5")


def test_a_baseline_is_not_ours_and_what_was_adopted_is() -> None:
    its = of(
        *join_fills([BUY], []), holdings=[held(Source.BASELINE, 1000, None), held(Source.ADOPTED, -30, 490.0)]
    )
    assert (its.position(SPY), its.expected(SPY)) == (70, 1070)
    assert its.cash == 100_000 - 50_000 + 30 * 490
    assert its.equity({SPY: 500.0}) == 100_000 - 300


def test_a_closed_position_needs_no_price() -> None:
    its = of(*join_fills([BUY, replace(SELL, quantity=Decimal(-100))], []))
    assert (dict(its.positions), its.equity({})) == ({}, 101_000)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"instruments": {}}, "SPY was traded, so its description is needed"),
        ({"currency": "EUR"}, "no rate between them"),
        ({"capital": float("nan")}, "positive amount"),
        ({"capital": 0.0}, "positive amount"),
        ({"fills": join_fills([BUY], [replace(commission(BUY), currency="CHF")])}, "CHF.*no rate"),
    ],
)
def test_what_is_not_known_is_no_guess(other: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        of(**{"fills": join_fills([BUY], []), **other})


@pytest.mark.parametrize("prices", [{}, {SPY: float("nan")}])
def test_a_position_without_a_price_has_no_equity(prices: dict[int, float]) -> None:
    with pytest.raises(ParameterError, match=r"is held \(100\) and needs a price"):
        of(*join_fills([BUY], [])).equity(prices)


def test_a_holding_without_a_price_has_a_position_and_no_equity() -> None:
    its = of(holdings=[held(Source.ADJUSTED, 5, None)])
    assert its.position(SPY) == 5
    with pytest.raises(ParameterError, match="without a price"):
        its.equity({SPY: 500.0})


TRADES = st.lists(
    st.tuples(st.sampled_from([SPY, ES]), st.integers(-500, 500), st.integers(1, 10**6), st.integers(0, 500)),
    max_size=15,
)


@given(trades=TRADES, seed=st.integers(0, 2**32))
def test_cash_and_quantity_are_conserved_in_any_order(
    trades: list[tuple[int, int, int, int]], seed: int
) -> None:
    executions, charges = [], []
    for n, (con_id, quantity, cents, fee) in enumerate(trades):
        executions.append(execution(n, quantity, 0, price=cents / 100, con_id=con_id))
        charges.append(commission(executions[-1], fee / 100))
    fills = list(join_fills(executions, charges))
    one = of(*fills)
    random.Random(seed).shuffle(fills)
    assert of(*fills, *fills[:3]) == one
    each = {SPY: 1, ES: 50}
    bills = (q * each[c] * Fraction(cents, 100) + Fraction(fee, 100) for c, q, cents, fee in trades)
    paid = sum(bills, Fraction(0))
    assert Fraction(one.cash) == 100_000 - paid
    assert all(one.position(c) == sum(t[1] for t in trades if t[0] == c) for c in (SPY, ES))
    prices = {SPY: 500.0, ES: 5000.0}
    worth = sum(one.position(c) * each[c] * Decimal(prices[c]) for c in (SPY, ES))
    assert one.equity(prices) == float(one.cash + worth)


def test_accounts_share_no_exec_ids() -> None:
    fills = join_fills([BUY, replace(BUY, account="DU2")], [])
    assert [f.account for f in fills] == [ACCOUNT, "DU2"]
