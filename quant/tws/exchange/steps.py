"""What the exchange asks of a market, and what a market answers: days, fills, elections of stops. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import OrderRequest


@dataclass(frozen=True, slots=True)
class Fill:
    """time: UTC ns. quantity: unsigned, no more than was left."""

    time: int
    price: float
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Elected:
    """A stop was reached; from `time` (UTC ns) on the order is a market or a limit order."""

    time: int


@dataclass(frozen=True, slots=True)
class Lapsed:
    """What is left of an order will not fill any more: IOC, OPG and LOC. time: UTC ns."""

    time: int


Step = Fill | Elected | Lapsed


@dataclass(frozen=True, slots=True)
class Look:
    """step: the first thing that happens to an order, None if nothing does. stop: where its stop stands then.

    until: UTC ns before which nothing happens to it as it is now, 0 = not known.
    """

    step: Step | None
    stop: float | None = None
    until: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """When an order reaches the exchange, and when a DAY order of it ends; UTC ns."""

    active_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Work:
    """An order at the exchange. All moments are UTC ns.

    decided_at: when its newest version came. since: from when it works. seen: up to when it was looked at, before
    `since` if never. stop: where its stop stands. elected_at: None until the stop was reached.
    """

    request: OrderRequest
    remaining: Decimal
    decided_at: int
    since: int
    seen: int
    stop: float | None
    elected_at: int | None


class Model(Protocol):
    """What the exchange asks of a market. All moments are UTC ns."""

    cash_check: bool

    def day(self, request: OrderRequest, decided_at: int) -> Day | None:
        """Return when an order decided at a moment works, None if the market never opens again for it."""

    def cut_off(self, request: OrderRequest, decided_at: int) -> str | None:
        """Return why an order for an auction comes too late, None if it does not."""

    def look(self, work: Work, now: int) -> Look:
        """Return the first thing up to `now` that happens to an order looked at up to `seen` already."""

    def next_look(self, listing: Listing, now: int) -> int | None:
        """Return when something may happen to a working order, after `now`."""
