"""Legal prices, by exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.tws.exchange.builtin import BUILT_IN
from quant.tws.exchange.ticks import TickRule

RULES = sorted({listing.rule for listing in BUILT_IN}, key=lambda rule: rule.rule_id)


def exact(rule: TickRule, price: float) -> bool:
    """Whether a price is the float64 nearest to a legal decimal one."""
    step = rule.increment(price)
    count = round(Fraction(price) / step)
    return float(count * step) == price


@given(st.sampled_from(RULES), st.floats(0.02, 30_000.0))
def test_the_neighbours_of_a_price_are_legal_and_nearest(rule, price):
    below, above = rule.below(price), rule.above(price)
    assert below < price < above
    assert exact(rule, above)
    assert below == 0.0 or exact(rule, below)
    # Nothing legal lies between them but the price itself.
    middle = rule.nearest(price)
    assert middle in (below, above, price) or not below < middle < above


@given(st.sampled_from(RULES), st.floats(0.02, 30_000.0), st.floats(0.0, 10.0))
def test_neighbours_rise_with_the_price(rule, price, more):
    assert rule.below(price) <= rule.below(price + more)
    assert rule.above(price) <= rule.above(price + more)


@given(st.sampled_from(RULES), st.integers(1, 10**6))
def test_whole_ticks_are_legal_and_what_lies_between_is_not(rule, count):
    step = Fraction(rule.least)
    price = float(count * step)
    assert rule.legal(price) == ((count * step) % rule.increment(price) == 0)
    assert not rule.legal(price + float(step) / 3)


def test_tokyos_rule_by_hand():
    rule = TickRule(903, ((0.0, "0.5"), (3000.0, "1"), (10000.0, "5")))
    assert (rule.below(3000.0), rule.above(3000.0)) == (2999.5, 3001.0)
    assert (rule.below(10_000.0), rule.above(9_999.0)) == (9_999.0, 10_000.0)
    assert not rule.legal(3000.5)
    assert rule.least == "0.5"


@pytest.mark.parametrize(("low", "high"), [(10.001, 10.004), (10.0, 10.0), (9.995, 10.03)])
def test_prices_inside_a_bar_are_legal_and_inside(low, high):
    rule = TickRule(26, ((0.0, "0.01"),))
    found = rule.inside(np.linspace(low, high, 7), low, high)
    if np.isnan(found[0]):
        assert (low, high) == (10.001, 10.004)
    else:
        assert all(exact(rule, p) and low <= p <= high for p in found.tolist())
