"""What an order desk is given: its settings, what is known around it, the broker; and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from quant.core.orders import Snapshot, Ticket
from quant.errors import ParameterError
from quant.oms.limits import Account, Limits, Market, Refusal, WhatIf
from quant.oms.reconcile.outcome import Policy
from quant.oms.state import OrderStanding


class Broker(Protocol):
    """Who carries orders; nothing here waits for an answer."""

    def place(self, order_id: int, ticket: Ticket, parent_id: int | None = None) -> None:
        """Send an order under an id; under the id of an open one it changes that one.

        LinkLost: it may have been sent, or not. Any other BrokerError, ParameterError: nothing was sent.
        """

    def cancel(self, order_id: int) -> None:
        """Ask for the end of an order. Raises BrokerError."""

    def begin_snapshot(self) -> None:
        """Begin to read the broker's books, unless that is under way. Raises BrokerError."""

    def snapshot(self) -> Snapshot | None:
        """Return a complete snapshot, once; None while there is none."""


class Link(Enum):
    """What became of the connection to IB."""

    UP = "connected and logged in"
    BACK = "1101 or 1102: TWS has IB again"
    CUT = "1100 or 2110: TWS has lost IB"
    LOST = "the socket broke"

    @property
    def there(self) -> bool:
        """True where IB can be reached now."""
        return self in (Link.UP, Link.BACK)


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of a desk. capital: in base currency.

    ack_s: an order without any answer after that is UNKNOWN. check_s: between snapshots while all is well.
    retry_s: a snapshot that has not come is asked for again. patience_s: what stays unexplained for that long halts.
    """

    client_id: int
    instruments: frozenset[int]
    capital: float
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    ack_s: float = 10.0
    check_s: float = 60.0
    retry_s: float = 20.0
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        if not self.instruments:
            raise ParameterError("instruments", self.instruments, "name at least one contract id")
        for name in ("capital", "ack_s", "check_s", "retry_s", "patience_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(name, value, "must be a positive number")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known around the desk, from elsewhere. Money in base currency; None = not known.

    equity: capital + own P&L; day_start, peak: the same at the day's start and at its highest. what_ifs: by con_id.
    clock_offset_s: this machine's clock against IB's. free_bytes: on the journal's disk.
    """

    markets: Mapping[int, Market] = field(default_factory=dict)
    account: Account = field(default_factory=Account)
    what_ifs: Mapping[int, WhatIf] = field(default_factory=dict)
    clock_offset_s: float | None = None
    equity: float | None = None
    day_start: float | None = None
    peak: float | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Why orders were decided. bar: end of the bar that was decided on; expires: an entry not sent by then is late.

    Both UTC ns; 0 = not said.
    """

    bar: int = 0
    expires: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a ticket at the desk. No refusals: it is sent, or waits for the gate."""

    ref: str
    refusals: tuple[Refusal, ...] = ()

    @property
    def taken(self) -> bool:
        """True where it was not refused."""
        return not self.refusals


@dataclass(frozen=True, slots=True)
class Change:
    """That one of our orders stands otherwise than before; told once. before: None for a new order."""

    before: OrderStanding | None
    after: OrderStanding


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a person should see now. stops: trading has stopped or was narrowed by it.

    bare: what is held has lost its stop.
    """

    at: int
    text: str
    stops: bool = False
    ref: str = ""
    con_id: int = 0
    bare: bool = False


News = Change | Alarm
