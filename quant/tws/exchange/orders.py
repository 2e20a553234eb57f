"""Orders as values: what is asked, how it stands, what happened to it. No wire, no account, no market."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from quant.tws.exchange.listing import Listing

# (client id, order id): order ids are each client's own.
Key = tuple[int, int]


class Status(StrEnum):
    """TWS's names."""

    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    INACTIVE = "Inactive"


class Happening(StrEnum):
    """What moves an order on."""

    AT_EXCHANGE = "at exchange"
    PART_FILL = "part fill"
    LAST_FILL = "last fill"
    CANCEL = "cancel"
    REJECT = "reject"


NEXT: Final = {
    (Status.PRE_SUBMITTED, Happening.AT_EXCHANGE): Status.SUBMITTED,
    (Status.PRE_SUBMITTED, Happening.CANCEL): Status.CANCELLED,
    (Status.PRE_SUBMITTED, Happening.REJECT): Status.INACTIVE,
    (Status.SUBMITTED, Happening.PART_FILL): Status.SUBMITTED,  # TWS has no status of its own for it
    (Status.SUBMITTED, Happening.LAST_FILL): Status.FILLED,
    (Status.SUBMITTED, Happening.CANCEL): Status.CANCELLED,
    (Status.SUBMITTED, Happening.REJECT): Status.INACTIVE,  # refused at the fill: the bar model's cash check
}
DONE: Final = (Status.FILLED, Status.CANCELLED, Status.INACTIVE)


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What a client asks. side: +1 buys, -1 sells. kind: "MKT" or "LMT". limit: price of a LMT, else None.

    tif: "DAY" or "GTC". reference: the client's orderRef.
    """

    key: Key
    listing: Listing
    side: int
    quantity: Decimal
    kind: str
    limit: float | None = None
    tif: str = "DAY"
    account: str = ""
    reference: str = ""
    exchange: str = "SMART"

    @property
    def action(self) -> str:
        """TWS's word for the side."""
        return "BUY" if self.side > 0 else "SELL"


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as it stands. average, last: prices of its fills, 0 without one. done_at: UTC ns, None while open."""

    request: OrderRequest
    perm_id: int
    status: Status
    filled: Decimal
    average: float
    last: float
    placed_at: int
    done_at: int | None = None

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return self.request.quantity - self.filled


# ---------------------------------------------------------------- what happened, in the order in which TWS tells it
@dataclass(frozen=True, slots=True)
class Opened:
    """TWS's openOrder."""

    view: OrderView


@dataclass(frozen=True, slots=True)
class Changed:
    """TWS's orderStatus."""

    view: OrderView


@dataclass(frozen=True, slots=True)
class Executed:
    """TWS's execDetails. time: UTC ns. cumulative, average: of the order up to and with this fill."""

    view: OrderView
    exec_id: str
    time: int
    quantity: Decimal
    price: float
    cumulative: Decimal
    average: float
    exchange: str


@dataclass(frozen=True, slots=True)
class Charged:
    """TWS's commission report. realized: profit of what the fill closed, net of commissions, None if nothing."""

    exec_id: str
    key: Key
    commission: float
    currency: str
    realized: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """TWS's error for an order, which need not end it."""

    key: Key
    code: int
    text: str


Event = Opened | Changed | Executed | Charged | Told
