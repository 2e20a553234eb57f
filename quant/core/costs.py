"""Commissions and slippage by name: values and formulas, no engine and no account.

The order of the float operations here is the contract: every engine copies it, so that fills cost the
same to the last bit. Rates live as data, dated, in commission_tables.toml.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from quant.errors import ParameterError

TABLE: Final = "commission_tables.toml"


@dataclass(frozen=True, slots=True)
class Costs:
    """What one order costs in commission.

    kind: "none"; "percent" of the order's value; "per-order", by share with a least and a most an order;
    "percent-per-order", percent of the value with a least and a most an order.
    rate: fraction of the value (percent kinds). per_share, minimum, maximum: in `currency`. cap: fraction of the value.
    market, currency, valid_from, retrieved, source: of the table's row; None where no table is used.
    before_first: the date asked for lies before the table's first row, whose rates are used all the same.
    second_hand: the rates are as others quote them, not as read from IB. left_out: a tax that IB passes on, "" = none.

    Exchange, clearing, regulatory and pass-through fees and taxes are not in these formulas: `ib-tiered` passes all
    of them on and `ib-fixed` the regulatory ones and taxes, so both understate what IB bills. Whole shares only
    (IB's minimum for fractional ones differs).
    """

    name: str
    kind: Literal["none", "percent", "per-order", "percent-per-order"]
    rate: float = 0.0
    per_share: float = 0.0
    minimum: float = 0.0
    cap: float = 0.0
    maximum: float = math.inf
    market: str | None = None
    currency: str | None = None
    valid_from: date | None = None
    retrieved: date | None = None
    source: str = "given by the caller"
    before_first: bool = False
    second_hand: bool = False
    left_out: str = ""

    def commission(self, quantity: float, price: float) -> float:
        """Return the commission of one order, not rounded, in its currency.

        quantity: of the whole order, in units, either sign. price: of one unit, in the currency (pounds, not pence).
        Source: IB's page, named in `source`; operation order of backtrader's commission info for percent.
        """
        size = abs(quantity)
        if self.kind == "none":
            return 0.0
        if self.kind == "percent":
            return (size * self.rate) * price
        if self.kind == "percent-per-order":
            return min(max(self.minimum, (size * self.rate) * price), self.maximum) if size else 0.0
        return min(max(self.minimum, size * self.per_share), (size * price) * self.cap)


@dataclass(frozen=True, slots=True)
class Slippage:
    """How much worse than its price an order fills.

    amount: percent of the price, or ticks of the instrument; 0 or more.
    """

    name: str
    kind: Literal["percent", "ticks"]
    amount: float

    @property
    def rate(self) -> float:
        """The amount of a percent slippage as a fraction of the price."""
        return self.amount / 100.0

    def points(self, ticks: Mapping[str, float | None]) -> float:
        """Return the amount of a slippage in ticks, in price units. ticks: of each symbol, None where unknown.

        Raises ParameterError unless all symbols have the same known one.
        """
        tick = next(iter(ticks.values()))
        if tick is None or len(set(ticks.values())) > 1:
            reason = f"needs one known tick for all feeds; they have {dict(ticks)}"
            raise ParameterError(
                "slippage", self.name, f"{reason}. Give the instruments a tick, or use percent:x"
            )
        return self.amount * tick


# ---------------------------------------------------------------- by name
def costs(
    name: str,
    market: str = "US",
    on: date | None = None,
    monthly_volume: float | None = None,
    currency: str | None = None,
) -> Costs:
    """Return the costs that `name` stands for.

    name: "none", "percent:0.05" (of the order's value), or a plan of the tables: "ib-fixed", "ib-tiered".
    The others are for plans only. market: "US", "GB", "DE", "JP", "HK". currency: of the instrument, refused
    where the market's table is in another one; None = the table's. on: the table row in force that day, None = the
    newest; before the first row it is the first, with `before_first` set. monthly_volume: shares a month in the US,
    elsewhere the value traded in a month; picks the tier of a tiered plan, None = the first.
    Raises ParameterError for an unknown name, market or currency and for a number that cannot be used.
    """
    plan, colon, text = _split("costs", name)
    if plan == "none" and not colon:
        return Costs(name="none", kind="none")
    if plan == "percent":
        return Costs(name=name, kind="percent", rate=_amount("costs", name, text) / 100.0)
    plans = {row["plan"] for row in _rows()}
    if plan not in plans or colon:
        known = ", ".join(["none", "percent:0.05", *sorted(plans)])
        raise ParameterError("costs", name, f"unknown; known are {known}")
    return _from_table(plan, market, on, monthly_volume, currency)


def parse_slippage(name: str | None) -> Slippage | None:
    """Return the slippage that `name` stands for: "percent:0.02", "ticks:1", or None for none.

    Raises ParameterError for an unknown name and for a number that cannot be used.
    """
    if name is None:
        return None
    kind, _, text = _split("slippage", name)
    if kind == "percent":
        return Slippage(name, "percent", _amount("slippage", name, text))
    if kind == "ticks":
        return Slippage(name, "ticks", _amount("slippage", name, text))
    raise ParameterError("slippage", name, "unknown; known are percent:0.02, ticks:1 and None (no slippage)")


def _split(parameter: str, name: str) -> tuple[str, str, str]:
    if not isinstance(name, str):
        raise ParameterError(parameter, name, 'must be a name, such as "percent:0.05"')
    return name.partition(":")


def _amount(parameter: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ParameterError(parameter, name, "must end in a number, such as percent:0.05") from None
    if not math.isfinite(value) or value < 0.0:
        raise ParameterError(parameter, name, "the number must be finite and not negative")
    return value


# ---------------------------------------------------------------- tables
@cache
def _rows() -> tuple[Mapping[str, Any], ...]:
    """Return the table's rows, oldest first. Read through the package, so that it works from a wheel."""
    text = files("quant.core").joinpath(TABLE).read_text(encoding="utf-8")
    return tuple(sorted(tomllib.loads(text)["row"], key=lambda row: row["valid_from"]))


def _from_table(
    plan: str, market: str, on: date | None, monthly_volume: float | None, currency: str | None
) -> Costs:
    rows = [row for row in _rows() if row["plan"] == plan and row["market"] == market]
    if not rows:
        known = ", ".join(sorted({row["market"] for row in _rows() if row["plan"] == plan}))
        others = sorted({row["plan"] for row in _rows() if row["market"] == market})
        instead = "".join(f'"{other}", which has one, or ' for other in others)
        reason = f'no commission table of {plan}; known are {known}. Give {instead}"percent:x" instead'
        raise ParameterError("market", market, reason)
    if on is not None and type(on) is not date:  # a datetime has a zone to settle first
        raise ParameterError("on", on, "must be a datetime.date")
    in_force = [row for row in rows if on is None or row["valid_from"] <= on]
    row = in_force[-1] if in_force else rows[0]
    if currency is not None and currency != row["currency"]:
        reason = f'the table of {plan} for {market} is in {row["currency"]}. Give "percent:x" instead'
        raise ParameterError("currency", currency, reason)
    tier = _tier(row["tiers"], monthly_volume)
    by_share = "per_share" in tier
    return Costs(
        name=plan,
        kind="per-order" if by_share else "percent-per-order",
        rate=0.0 if by_share else tier["rate"],
        per_share=tier["per_share"] if by_share else 0.0,
        minimum=tier.get("minimum", row.get("minimum", 0.0)),
        cap=row.get("cap", 0.0),
        maximum=row.get("maximum", math.inf),
        market=market,
        currency=row["currency"],
        valid_from=row["valid_from"],
        retrieved=row["retrieved"],
        source=row["source"],
        before_first=not in_force,
        second_hand=row.get("second_hand", False),
        left_out=row.get("left_out", ""),
    )


def _tier(tiers: list[dict[str, float]], monthly_volume: float | None) -> dict[str, float]:
    """Return the tier that holds the volume.

    IB bills the shares, or the value, of a month tier by tier; an order is billed here by the one tier of the volume
    named.
    """
    if monthly_volume is None:
        return tiers[0]
    if not monthly_volume >= 0.0:  # so that NaN is refused too
        raise ParameterError("monthly_volume", monthly_volume, "must be a number, 0 or more")
    return next(t for t in tiers if monthly_volume <= t.get("up_to", math.inf))
