"""A fill that crosses a change: the journal's order says whose it is where that is known, whatever the clocks say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_modified_exits import BARS, Books, echo, filled, ledger, moved

from quant.oms.ledger import Fact, Ledger
from quant.promotion.crossing import told_between
from quant.promotion.facts import of_live


def at_number(fact: Fact, number: int) -> Fact:
    """The same at another place in the journal. Marks at 120 s are 1200 and 1201, an echo at 120.5 s is 1210."""
    return replace(fact, number=number)


def version(made: Ledger) -> tuple[int, list[str]]:
    """Return of which version the fill is, from 0, and how the versions ended."""
    facts = of_live(Books(made), [BARS], told_between(made))
    (found,) = (n for n, fact in enumerate(facts) if fact.fills)
    return found, [fact.status for fact in facts]


SHOWN = (echo(391.0, 60.2), echo(392.0, 120.5))
MOVES = [*moved(391.0, 60), *moved(392.0, 120)]


@pytest.mark.parametrize("told_s", [117.5, 119.0, 120.0, 122.0])
@pytest.mark.parametrize("price", [391.0, 391.4, 392.0])
def test_fill_that_is_told_after_tws_showed_the_new_price_is_the_new_version_s(
    told_s: float, price: float
) -> None:
    """IB's clock may lag, and the fill may slip to the price of before."""
    made = ledger(MOVES, *SHOWN, at_number(filled(price, told_s), 1220))
    assert version(made) == (2, ["cancelled", "cancelled", "filled"])


@pytest.mark.parametrize("told_s", [117.5, 119.0, 120.0, 122.0])
@pytest.mark.parametrize("price", [391.0, 391.4, 392.0])
def test_fill_that_is_told_before_the_change_is_decided_is_the_old_version_s(
    told_s: float, price: float
) -> None:
    """IB's clock may be ahead."""
    made = ledger(MOVES, SHOWN[0], at_number(filled(price, told_s), 1199))
    assert version(made) == (1, ["cancelled", "filled", "cancelled"])


def test_echo_of_a_price_that_the_order_had_once_says_nothing() -> None:
    """It can be of that time."""
    moves = [*moved(391.0, 60), *moved(390.0, 120)]
    shown = echo(391.0, 60.2), echo(390.0, 120.5)
    made = ledger(moves, *shown, at_number(filled(391.0, 118.0), 1220))
    assert version(made) == (1, ["cancelled", "filled", "cancelled"])


def test_fill_of_long_before_that_is_told_late_is_the_old_version_s() -> None:
    made = ledger([*moved(391.0, 60), *moved(392.0, 300)], echo(391.0, 60.2), echo(392.0, 300.5),
                  at_number(filled(391.0, 120.0), 3020))  # fmt: skip
    assert version(made) == (1, ["cancelled", "filled", "cancelled"])


def test_spans_are_of_modified_orders_alone() -> None:
    assert told_between(ledger([], filled(390.0, 30.0))) == {}
    assert told_between(ledger(MOVES, *SHOWN, filled(392.0, 130.0))) == {"e": (2, 2)}
