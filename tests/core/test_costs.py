"""Commissions and slippage by name.

Expected amounts: IB's public page of commissions for US stocks, unless a test names another source.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime
from importlib.resources import files

import backtrader as bt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core import costs as module
from quant.core.costs import Slippage, costs, parse_slippage
from quant.errors import ParameterError

sizes = st.integers(-100_000, 100_000)
prices = st.floats(0.0001, 10_000.0)


# ---------------------------------------------------------------- amounts
@pytest.mark.parametrize(
    ("quantity", "price", "billed"), [(100, 25.0, 1.00), (1_000, 25.0, 5.00), (1_000, 0.25, 2.50)]
)
def test_ib_fixed_bills_the_three_examples_of_ibs_page(quantity: int, price: float, billed: float) -> None:
    assert costs("ib-fixed").commission(quantity, price) == billed


@pytest.mark.parametrize(
    ("quantity", "price", "billed"),
    [(100, 25.0, 0.35), (1_000, 25.0, 3.50), (1_000, 0.25, 2.50), (10, 25.0, 0.35)],
)
def test_ib_tiered_bills_by_the_first_tier(quantity: int, price: float, billed: float) -> None:
    assert costs("ib-tiered").commission(quantity, price) == pytest.approx(billed, rel=1e-15)


@pytest.mark.parametrize(
    ("volume", "per_share"),
    [
        (None, 0.0035),
        (0, 0.0035),
        (300_000, 0.0035),
        (300_001, 0.0020),
        (3_000_000, 0.0020),
        (3_000_001, 0.0015),
        (20_000_001, 0.0010),
        (100_000_000, 0.0010),
        (100_000_001, 0.0005),
    ],
)
def test_monthly_volume_picks_the_tier(volume: float | None, per_share: float) -> None:
    assert costs("ib-tiered", monthly_volume=volume).per_share == per_share


def test_the_cap_wins_over_the_minimum() -> None:
    assert costs("ib-fixed").commission(1, 5.0) == 0.05  # 1 % of 5.00, as IB caps an order of one cheap share


@given(quantity=sizes, price=prices)
def test_percent_equals_backtrader_to_the_last_bit(quantity: int, price: float) -> None:
    stock = bt.CommInfoBase(
        commission=0.05, commtype=bt.CommInfoBase.COMM_PERC, stocklike=True, percabs=False
    )
    assert costs("percent:0.05").commission(quantity, price) == stock.getcommission(quantity, price)


@given(quantity=sizes, price=prices)
def test_per_order_equals_the_semantics_oracle_to_the_last_bit(quantity: int, price: float) -> None:
    # The rule as the oracle of the design's semantics writes it, for ib-fixed.
    fee = abs(quantity) * 0.005
    if fee < 1.0:
        fee = 1.0
    most = abs(quantity) * price * 0.01
    assert costs("ib-fixed").commission(quantity, price) == (most if fee > most else fee)


@given(quantity=sizes, price=prices, name=st.sampled_from(["none", "percent:0.05", "ib-fixed", "ib-tiered"]))
def test_buying_and_selling_cost_the_same_and_never_less_than_nothing(
    quantity: int, price: float, name: str
) -> None:
    c = costs(name)
    assert c.commission(quantity, price) == c.commission(-quantity, price) >= 0.0


@given(quantity=sizes, price=prices, market=st.sampled_from(["DE", "GB", "HK"]))
def test_percent_per_order_equals_the_rule_written_out(quantity: int, price: float, market: str) -> None:
    # As IB's pages put it: a percentage of the trade value, at least and at most so much an order.
    c = costs("ib-tiered", market)
    fee = abs(quantity) * 0.0005 * price
    if fee < c.minimum:
        fee = c.minimum
    if fee > c.maximum:
        fee = c.maximum
    assert c.commission(quantity, price) == (fee if quantity else 0.0)


def test_none_costs_nothing() -> None:
    assert costs("none").commission(1_000_000, 100.0) == 0.0


# ---------------------------------------------------------------- the table
def test_a_row_says_where_and_when_it_was_read() -> None:
    c = costs("ib-fixed", market="US")
    assert (c.market, c.currency, c.retrieved) == ("US", "USD", date(2026, 11, 21))
    assert "Interactive Brokers" in c.source
    assert not c.before_first


def test_a_date_before_the_first_row_uses_it_and_says_so() -> None:
    early, later = costs("ib-fixed", on=date(2017, 1, 3)), costs("ib-fixed", on=date(2026, 11, 21))
    assert early.before_first
    assert not later.before_first
    assert dataclasses.replace(early, before_first=False) == later


def test_the_row_in_force_on_the_day_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    old = dict(next(row for row in module._rows() if row["plan"] == "ib-fixed"))
    new = old | {"valid_from": date(2030, 1, 1), "minimum": 2.0}
    monkeypatch.setattr(module, "_rows", lambda: (old, new))
    assert costs("ib-fixed").minimum == 2.0
    assert costs("ib-fixed", on=date(2029, 12, 31)).minimum == 1.0
    assert costs("ib-fixed", on=date(2030, 1, 1)).minimum == 2.0


def test_every_row_is_whole() -> None:
    rows = tomllib.loads(files("quant.core").joinpath(module.TABLE).read_text(encoding="utf-8"))["row"]
    keys = {"plan", "market", "currency", "valid_from", "retrieved", "source", "tiers"}
    may = {"minimum", "maximum", "cap", "second_hand", "left_out"}
    for row in rows:
        assert keys <= set(row) <= keys | may
        by = "per_share" if row["market"] == "US" else "rate"
        assert ("cap" in row) == (by == "per_share")
        assert all(isinstance(row[key], float) for key in ("minimum", "maximum", "cap") if key in row)
        assert all(isinstance(t[by], float) and set(t) <= {by, "up_to", "minimum"} for t in row["tiers"])
        assert all(("minimum" in t) != ("minimum" in row) for t in row["tiers"])
        ends = [tier.get("up_to", math.inf) for tier in row["tiers"]]
        assert ends == sorted(set(ends))
        assert ends[-1] == math.inf
    days = [(row["plan"], row["market"], row["valid_from"]) for row in rows]
    assert len(set(days)) == len(days)


def test_costs_without_a_table_take_any_market() -> None:
    assert costs("percent:0.1", market="GB").rate == 0.001
    assert costs("none", market="GB").market is None


# ---------------------------------------------------------------- refusals
@pytest.mark.parametrize("name", ["ib", "IB-FIXED", "", "ib-fixed:1", "none:0", "fixed:1"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ParameterError, match=r"known are none, percent:0\.05, ib-fixed, ib-tiered"):
        costs(name)


@pytest.mark.parametrize("market", ["CHF", "us", ""])
def test_an_unknown_market_is_refused_with_the_known_ones(market: str) -> None:
    with pytest.raises(ParameterError, match=r'known are DE, GB, HK, US\. Give "percent:x" instead'):
        costs("ib-fixed", market=market)


def test_a_market_without_one_plan_is_told_the_other() -> None:
    with pytest.raises(ParameterError, match='Give "ib-tiered", which has one, or "percent:x"'):
        costs("ib-fixed", market="JP")


def test_a_table_in_another_currency_is_refused() -> None:
    with pytest.raises(
        ParameterError, match=r"currency = 'USD': the table of ib-fixed for GB is in GBP.*percent:x"
    ):
        costs("ib-fixed", market="GB", currency="USD")
    assert costs("percent:0.1", market="GB", currency="USD").rate == 0.001


@pytest.mark.parametrize("text", ["", "x", "5%", "-0.1", "nan", "inf", "0.05:1"])
@pytest.mark.parametrize("parse", [costs, parse_slippage])
def test_a_malformed_or_negative_percentage_is_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ParameterError, match="number"):
        parse(f"percent:{text}")


@pytest.mark.parametrize("volume", [-1.0, math.nan])
def test_a_senseless_monthly_volume_is_refused(volume: float) -> None:
    with pytest.raises(ParameterError, match="monthly_volume"):
        costs("ib-tiered", monthly_volume=volume)


def test_what_is_no_name_or_no_date_is_refused() -> None:
    with pytest.raises(ParameterError, match="costs"):
        costs(0.05)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="on"):
        costs("ib-fixed", on=datetime(2020, 1, 1, tzinfo=UTC))


# ---------------------------------------------------------------- slippage
def test_slippage_by_name() -> None:
    assert parse_slippage(None) is None
    assert parse_slippage("ticks:1") == Slippage("ticks:1", "ticks", 1.0)
    percent = parse_slippage("percent:0.02")
    assert percent is not None
    assert (percent.kind, percent.amount, percent.rate) == ("percent", 0.02, 0.02 / 100.0)


@pytest.mark.parametrize("name", ["", "none", "tick:1", "0.02"])
def test_an_unknown_slippage_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ParameterError, match=r"known are percent:0\.02, ticks:1"):
        parse_slippage(name)
