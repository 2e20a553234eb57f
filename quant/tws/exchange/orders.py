"""Orders as values: what is asked, how it stands, what happened to it. No wire, no account, no market."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from quant.tws.exchange.listing import Listing

# (client id, order id): order ids are each client's own.
Key = tuple[int, int]
# The client id, here only, of an order made by hand in TWS that no client has bound: (HAND, 1), (HAND, 2), ...
HAND: Final = -1


class Status(StrEnum):
    """TWS's names."""

    PENDING_SUBMIT = "PendingSubmit"
    PRE_SUBMITTED = "PreSubmitted"
    SUBMITTED = "Submitted"
    PENDING_CANCEL = "PendingCancel"
    FILLED = "Filled"
    CANCELLED = "Cancelled"
    INACTIVE = "Inactive"


class Happening(StrEnum):
    """What moves an order on."""

    TRANSMIT = "transmit"
    AT_EXCHANGE = "at exchange"
    PART_FILL = "part fill"
    LAST_FILL = "last fill"
    ASK_CANCEL = "ask cancel"
    CANCEL = "cancel"
    REJECT = "reject"


_S, _H = Status, Happening
NEXT: Final = {
    # Not transmitted yet: it rests in TWS and no client is told of it.
    (_S.PENDING_SUBMIT, _H.TRANSMIT): _S.PRE_SUBMITTED,
    (_S.PENDING_SUBMIT, _H.CANCEL): _S.CANCELLED,
    (_S.PRE_SUBMITTED, _H.AT_EXCHANGE): _S.SUBMITTED,
    (_S.PRE_SUBMITTED, _H.PART_FILL): _S.SUBMITTED,  # a stop that fills as it is elected
    (_S.PRE_SUBMITTED, _H.LAST_FILL): _S.FILLED,
    (_S.PRE_SUBMITTED, _H.ASK_CANCEL): _S.PENDING_CANCEL,
    (_S.PRE_SUBMITTED, _H.CANCEL): _S.CANCELLED,
    (_S.PRE_SUBMITTED, _H.REJECT): _S.INACTIVE,
    (_S.SUBMITTED, _H.PART_FILL): _S.SUBMITTED,  # TWS has no status of its own for it
    (_S.SUBMITTED, _H.LAST_FILL): _S.FILLED,
    (_S.SUBMITTED, _H.ASK_CANCEL): _S.PENDING_CANCEL,
    (_S.SUBMITTED, _H.CANCEL): _S.CANCELLED,
    (_S.SUBMITTED, _H.REJECT): _S.INACTIVE,  # refused at the fill: the bar model's cash check
    (_S.PENDING_CANCEL, _H.PART_FILL): _S.PENDING_CANCEL,
    (_S.PENDING_CANCEL, _H.LAST_FILL): _S.FILLED,  # the fill overtook the cancel
    (_S.PENDING_CANCEL, _H.CANCEL): _S.CANCELLED,
    (_S.PENDING_CANCEL, _H.REJECT): _S.INACTIVE,
    (_S.INACTIVE, _H.CANCEL): _S.CANCELLED,  # of one that is only held back
}

KINDS: Final = ("MKT", "LMT", "STP", "STP LMT", "TRAIL", "TRAIL LIMIT", "MOC", "LOC")
STOPS: Final = ("STP", "STP LMT", "TRAIL", "TRAIL LIMIT")
TRAILS: Final = ("TRAIL", "TRAIL LIMIT")
LIMITS: Final = ("LMT", "STP LMT", "LOC")
AT_CLOSE: Final = ("MOC", "LOC")
TIFS: Final = ("DAY", "GTC", "IOC", "GTD", "OPG")
CANCEL_REST, REDUCE = 1, 3  # of IB's ocaType; 2 reduces too


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What a client asks. side: +1 buys, -1 sells. kind: of KINDS. tif: of TIFS; OPG with MKT is market on open.

    limit: price of LMT, STP LMT and LOC, else None. stop: of STP and STP LMT; of one that trails where it starts, None,
    of TRAIL only: at its distance from the market. trail, trail_percent: distance of one that trails in price or in
    percent, one of them. offset: how far the limit of a TRAIL LIMIT lies behind its stop, 0 or more.
    good_till: of GTD, UTC ns. parent: order id, of the same client, of the order whose fill wakes this one, 0 = none.
    oca: group of which one fill cancels (oca_type 1) or reduces (2, 3) the rest. transmit: False rests in TWS until one
    of its bracket comes that is transmitted. liquidation: IB itself closes the position.
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
    stop: float | None = None
    trail: float | None = None
    trail_percent: float | None = None
    good_till: int | None = None
    parent: int = 0
    oca: str = ""
    oca_type: int = REDUCE
    transmit: bool = True
    liquidation: bool = False
    offset: float | None = None

    def limit_at(self, stop: float | None) -> float | None:
        """Return its limit while its stop stands at `stop`; None without one."""
        if self.offset is None or stop is None:
            return self.limit
        return stop + self.side * self.offset

    def trailed(self, stop: float | None, price: float) -> float:
        """Return where a stop that trails stands after a price."""
        away = self.trail if self.trail is not None else price * ((self.trail_percent or 0.0) / 100.0)
        moved = price + away if self.side > 0 else price - away
        if stop is None:
            return moved
        return min(stop, moved) if self.side > 0 else max(stop, moved)

    @property
    def action(self) -> str:
        """TWS's word for the side."""
        return "BUY" if self.side > 0 else "SELL"


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as it stands. average, last: prices of its fills, 0 without one. done_at: UTC ns, None while open.

    stop: where the stop of a stop order stands now, None for others and before a trailing one has seen a price.
    held: TWS's whyHeld: "child" until the parent fills, "trigger" until the stop is elected, "locate" while IB looks
    for shares to lend. capped: TWS's mktCapPrice, 0 = none. ended: why it is over, in TWS's words.
    """

    request: OrderRequest
    perm_id: int
    status: Status
    filled: Decimal
    average: float
    last: float
    placed_at: int
    done_at: int | None = None
    stop: float | None = None
    held: str = ""
    capped: float = 0.0
    ended: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended. One that is Inactive without having been refused has not (row O6)."""
        return self.done_at is not None

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return self.request.quantity - self.filled

    @property
    def by_hand(self) -> bool:
        """Whether it was made in TWS and no client has bound it."""
        return self.request.key[0] == HAND


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
class Bound:
    """TWS's orderBound: an order made by hand got an order id of client 0."""

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


Event = Opened | Changed | Bound | Executed | Charged | Told


def key_of(event: Event) -> Key:
    """Return whose order an event is about."""
    return event.key if isinstance(event, Charged | Told) else event.view.request.key
