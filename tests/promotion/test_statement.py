"""What is printed of a day's money adds up to the cent as printed, and no line moves by more than a cent."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.promotion.parity.split import Deal, Dealt, Held
from quant.promotion.parity.split import split as split_of
from quant.promotion.parity.statement import cents, statement
from quant.promotion.parity.value import PARTS, BarCount, Parity, Part
from quant.promotion.parity.words import lines
from quant.report import parity_page

AMOUNT = re.compile(r"^ {4}(\D+?) +([+-][\d,]+\.\d\d)", re.MULTILINE)
AMOUNTS = st.integers(-2_000_000, 2_000_000).map(lambda n: n / 10_000)  # of money, with 4 decimals
SMALL = st.integers(-100, 100).map(lambda n: n / 10_000)


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


def day(model: float, live: float, unexplained: float = 0.0, **amounts: float) -> Parity:
    """A day without a row."""
    parts = tuple(Part(name, amounts.get(name, 0.0), f"of {name}") for name in PARTS)
    return Parity(
        deployment="one", strategy="macd", symbols=("SPY",), day="2024-05-15", bars=BarCount(0, 0, 0, 0), decisions=(),
        orders=(), fills=(), pnl=(model, live), split=parts, unexplained=unexplained, differences=(),
    )  # fmt: skip


def as_reported() -> Parity:
    """The day of the acceptance: half cents, which rounded one by one are a cent off, and 0.005 of commission."""
    return day(-3392.41, -1138.92, price=-79.36, commission=0.005, missed=2_332.86, extra=-0.015)


def test_printed_text_adds_up_as_printed() -> None:
    text = "\n".join(lines(as_reported()))
    found = re.search(r"model (\S+) +live (\S+) +difference (\S+)", text)
    assert found is not None
    model, live, less = (number(group) for group in found.groups())
    parts = [number(amount) for _, amount in AMOUNT.findall(text)]
    assert model + less == live
    assert sum(parts) == less  # the last of them is what is unexplained
    assert parts[-1] == 0


def test_page_adds_up_as_printed_and_says_what_the_text_says() -> None:
    page, text = parity_page(as_reported().to_dict()), "\n".join(lines(as_reported()))
    table = page.partition('id="split"')[2].partition("</table>")[0]
    amounts = [number(cell) for cell in re.findall(r'<td class="n">([^<]+)</td>', table)]
    assert sum(amounts[:-1]) == amounts[-1]
    shown = [amount for amount in amounts[1:-2] if amount]
    assert shown == [number(amount) for _, amount in AMOUNT.findall(text)[:-1]]


@given(
    AMOUNTS,
    st.lists(AMOUNTS | SMALL, min_size=len(PARTS), max_size=len(PARTS)),
    st.sampled_from([0.0, 0.35, -7.123]),
)
def test_all_that_is_printed_adds_up(model: float, amounts: list[float], unexplained: float) -> None:
    parts = dict(zip(PARTS, amounts, strict=True))
    live = float(sum(Decimal(repr(v)) for v in (model, *amounts, unexplained)))
    said = statement(model, live, parts, unexplained)
    assert (
        said.model + sum(said.parts.values()) + said.unexplained == said.live == said.model + said.difference
    )
    assert said.unexplained == cents(unexplained)  # never a remainder
    assert abs(said.model - Decimal(repr(model))) < Decimal("0.01")
    assert all(
        abs(amount - Decimal(repr(parts[name]))) < Decimal("0.015") for name, amount in said.parts.items()
    )
    assert all(parts[name] for name in said.parts)


def test_amount_below_half_a_cent_is_no_line_where_another_takes_it() -> None:
    said = statement(0.0, 10.0080, {"price": 10.0042, "commission": 0.0038}, 0.0)
    assert said.parts == {"price": Decimal("10.01")}
    assert statement(0.004, 0.006, {}, 0.002).parts == {}
    assert statement(10.0, 10.0, {"price": 0.002, "commission": -0.002}, 0.0).parts == {}


def test_parts_that_do_not_add_up_are_not_made_to() -> None:
    """Rounding moves a cent; a sum that is wrong by more stays wrong, for all to see."""
    said = statement(0.0, 0.0, {"price": 5.0}, 0.0)
    assert said.parts == {"price": Decimal("4.99")}


def test_unexplained_half_cent_is_printed_and_not_ok() -> None:
    half = day(0.0, 0.005, 0.005)
    assert not half.ok
    assert "0.01 is unexplained" in "\n".join(lines(half))
    assert day(0.0, 0.0049, 0.0049).ok


def test_document_has_the_exact_amounts_and_those_printed() -> None:
    said: dict[str, Any] = as_reported().to_dict()
    exact = {part["name"]: part["amount"] for part in said["split"]}
    assert exact["commission"] == 0.005
    assert said["pnl"] == {"model": -3392.41, "live": -1138.92}
    printed = said["printed"]
    amounts = [Decimal(repr(v)) for v in (printed["model"], *printed["parts"].values(), printed["live"])]
    assert sum(amounts[:-1]) == amounts[-1]
    assert (said["record"]["pnl_model"], said["record"]["pnl_live"]) == (-3392.41, -1138.92)


@pytest.mark.parametrize("fee", [1.005, 1.0031])
def test_commission_that_differs_by_parts_of_a_cent_says_of_how_many_orders_it_is(fee: float) -> None:
    """Each differs by less than half a cent or just that, and together they are a line: never one without words."""
    deal = Deal(0, 10.0, 100.0, 1.0)
    pairs = [Dealt(deal, (replace(deal, commission=fee),), 100.0) for _ in range(5)]
    pairs.append(Dealt(deal, (deal,), 100.0))
    part = next(
        p for p in split_of(pairs, Held({}, {}, {0: 100.0}, {0: 1.0})).parts if p.name == "commission"
    )
    assert part.amount == pytest.approx(5 * (1.0 - fee))
    assert part.words == "5 orders billed otherwise"
