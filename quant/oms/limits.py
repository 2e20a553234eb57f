"""What the risk gate knows: limits with their defaults, and the facts about market, account and deployment.

Money is in the account's base currency unless said otherwise; prices in the instrument's units; times UTC ns.
Defaults: live-faults §2 as DESIGN §5.8 narrows them.
"""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Final

from quant.core.orders import Kind, Ticket
from quant.errors import ParameterError
from quant.oms.gate import Gate, Purpose

SECOND: Final = 1_000_000_000  # ns
MINUTE: Final = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment may do. None: no limit of that kind. Shares are fractions (0.02 = 2 %).

    max_quantity, max_notional: of one order. max_position: notional held of one instrument. max_gross: of all.
    max_holdings: number of instruments held. collar: distance of a limit or stop from the last price.
    quote_age_s: oldest quote on which a market order may go; bar_periods: the same for bars, in bar lengths.
    max_working, max_working_total: orders at the broker, protective ones not counted.
    cutoff_s: distance to an auction's cut-off. daily_loss, drawdown: of the equity at the day's start and of the
    capital. margin_floor: excess liquidity that must be left, of equity. max_sends: of one order under its id.
    max_rejects: of entries in rejects_s. min_free_bytes: on the journal's disk.
    """

    shorts: bool = False
    kinds: frozenset[Kind] = frozenset({Kind.MARKET, Kind.LIMIT, Kind.STOP})
    max_quantity: Decimal | None = None
    max_notional: float | None = 100_000.0
    max_position: float | None = None
    max_gross: float | None = None
    max_holdings: int | None = None
    collar: float = 0.03
    quote_age_s: float = 10.0
    bar_periods: float = 2.0
    max_working: int = 1
    max_working_total: int = 20
    orders_per_minute: int = 10
    orders_per_day: int = 200
    cutoff_s: float = 60.0
    clock_offset_s: float = 2.0
    daily_loss: float = 0.02
    drawdown: float = 0.10
    what_if: bool = False
    margin_floor: float = 0.10
    max_sends: int = 3
    max_rejects: int = 5
    rejects_s: float = 600.0
    min_free_bytes: int = 200_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("shorts", "kinds", "what_if") or value is None:
                continue
            if not (math.isfinite(value) and value >= 0):
                raise ParameterError(field.name, value, "a limit must be a finite number, 0 or more")
        if self.max_notional is None and self.max_quantity is None:
            raise ParameterError(
                "max_notional", None, "give max_notional or max_quantity: one order must be bounded"
            )


@dataclass(frozen=True, slots=True)
class Market:
    """What is known of an instrument now.

    tick: least price step. size_step, min_size: of a quantity. multiplier: currency units per price unit and unit.
    rate: base currency per unit of the instrument's, None = unknown. price: last good one, None = none; at: its
    time; bar_ns: length of the bar that gave it, 0 for a quote. late: its bars do not come on time. is_open: by
    calendar and liquid hours. last_close: end of the last session that is over. cutoff: of the next auction, None =
    none today. blackout: TWS restarts now.
    """

    tick: float | None
    price: float | None
    at: int
    bar_ns: int = 0
    size_step: Decimal = Decimal(1)
    min_size: Decimal = Decimal(1)
    multiplier: float = 1.0
    rate: float | None = 1.0
    is_open: bool = True
    blackout: bool = False
    delayed: bool = False
    late: bool = False
    cutoff: int | None = None
    last_close: int | None = None

    def notional(self, quantity: Decimal, price: float | None) -> float | None:
        """Return what that many cost in base currency, unsigned; None where price or rate is not known."""
        if price is None or self.rate is None:
            return None
        value = abs(float(quantity)) * price * self.multiplier * self.rate
        return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class WhatIf:
    """IB's answer to a what-if order: equity with loan value and initial margin after it."""

    equity_after: float
    margin_after: float


@dataclass(frozen=True, slots=True)
class Account:
    """What kind of account it is. is_cash: no margin, so no shorts and no unsettled money.

    settled: cash that has settled; needed for cash accounts, None = not known.
    """

    is_cash: bool = False
    settled: float | None = None


@dataclass(frozen=True, slots=True)
class Working:
    """An order that may still fill. remaining: signed. price: that it would cost, None = the market's."""

    con_id: int
    remaining: Decimal
    purpose: Purpose
    price: float | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """All that a refusal depends on, at one moment.

    allowed: instruments of the deployment. halted: instruments in which nothing new may be begun, with the reason.
    position: ours of this instrument. markets, positions: of all instruments of the deployment, by con_id.
    equity: capital + own P&L; day_start, peak: the same at the day's start and at its highest; None = not known.
    bar: end of the bar that was decided on; decided: (con_id, side, bar) of what went before it.
    entries_minute, entries_day: entries sent in the last 60 s and 24 h. clock_offset_s: ours against IB's.
    traded: an order of this instrument was sent before.
    """

    now: int
    gate: Gate
    account: Account
    allowed: frozenset[int]
    markets: dict[int, Market]
    positions: dict[int, Decimal]
    working: tuple[Working, ...] = ()
    halted: dict[int, str] | None = None
    bar: int = 0
    decided: AbstractSet[tuple[int, int, int]] = frozenset()
    entries_minute: int = 0
    entries_day: int = 0
    clock_offset_s: float | None = 0.0
    traded: bool = False
    what_if: WhatIf | None = None
    parent: Ticket | None = None

    def position(self, con_id: int) -> Decimal:
        """Return what is held of an instrument, signed; 0 if nothing is known to be."""
        return self.positions.get(con_id, Decimal(0))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order is not sent. code: stable, lower case with hyphens. halts: a person must look before more."""

    code: str
    text: str
    halts: bool = False
