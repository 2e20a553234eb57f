"""Orders and what a broker says of them, as values. Knows no wire, no journal and no strategy.

Quantities are signed: above 0 buys. They are Decimal, as IB tells them; prices are float, in the instrument's units.
Times are UTC ns. A report is a fact: it never changes, and what an order is follows from the set of its facts
(quant/oms/state.py), whatever the order in which they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of order, by IB's names."""

    MARKET = "MKT"
    LIMIT = "LMT"
    STOP = "STP"
    STOP_LIMIT = "STP LMT"
    TRAIL = "TRAIL"
    TRAIL_LIMIT = "TRAIL LIMIT"
    MARKET_ON_CLOSE = "MOC"
    LIMIT_ON_CLOSE = "LOC"


class TimeInForce(StrEnum):
    """How long an order holds, by IB's names. OPG with MKT is market on open."""

    DAY = "DAY"
    GTC = "GTC"
    IOC = "IOC"
    GTD = "GTD"
    OPG = "OPG"


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order as we want it at the broker.

    ref: IB's orderRef, our key: unique for ever, at most 40 characters of ASCII. limit, stop: prices where the kind
    has them; of a kind that trails, stop is where it starts. trail, percent: distance of one that trails in price or in
    percent of it, one of them. offset: how far the limit of a TRAIL LIMIT lies behind its stop, in price, 0 or more.
    good_till: of a GTD, UTC ns. parent: ref of the order whose fill wakes this one. oca: name of the group of which one
    fill cancels the rest. transmit: False holds it in TWS until the last of its bracket comes.
    """

    ref: str
    account: str
    con_id: int
    symbol: str
    quantity: Decimal
    kind: Kind = Kind.MARKET
    limit: float | None = None
    stop: float | None = None
    trail: float | None = None
    tif: TimeInForce = TimeInForce.DAY
    good_till: int | None = None
    parent: str = ""
    oca: str = ""
    transmit: bool = True
    outside_rth: bool = False
    exchange: str = "SMART"
    percent: float | None = None
    offset: float | None = None


# ---------------------------------------------------------------- what a broker says
@dataclass(frozen=True, slots=True)
class Echo:
    """An order as the broker has it (IB's openOrder). perm_id: 0 = not told yet. status: IB's word.

    ref: "" for an order made by hand. client_id, order_id: whose; order ids are each client's own. stop: of one that
    trails, where it stands now. trail, percent, offset: as of a Ticket.
    """

    account: str
    con_id: int
    symbol: str
    order_id: int
    client_id: int
    perm_id: int
    ref: str
    quantity: Decimal
    kind: str
    limit: float | None
    stop: float | None
    tif: str
    status: str
    parent_id: int = 0
    oca: str = ""
    warning: str = ""
    trail: float | None = None
    percent: float | None = None
    offset: float | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """IB's orderStatus. filled, remaining: unsigned. Says where an order stands; fills come from executions alone."""

    order_id: int
    client_id: int
    perm_id: int
    status: str
    filled: Decimal
    remaining: Decimal
    average: float
    why_held: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """A fill (IB's execDetails). exec_id: ends in a number of two digits that a correction raises.

    cumulative: unsigned, of the order up to this fill. liquidation: IB closed the position itself.
    """

    exec_id: str
    account: str
    con_id: int
    symbol: str
    order_id: int
    client_id: int
    perm_id: int
    ref: str
    time: int
    quantity: Decimal
    price: float
    cumulative: Decimal
    average: float
    exchange: str = ""
    liquidation: bool = False


@dataclass(frozen=True, slots=True)
class Commission:
    """What a fill cost. realized: profit of what it closed by IB's books, None if it closed nothing."""

    exec_id: str
    amount: float
    currency: str
    realized: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """IB's error or warning for one of our orders; alone it never ends one."""

    order_id: int
    code: int
    text: str
    at: int = 0


@dataclass(frozen=True, slots=True)
class Completed:
    """An order that is over, from IB's list of completed orders of the day. filled: unsigned."""

    account: str
    con_id: int
    symbol: str
    perm_id: int
    ref: str
    quantity: Decimal
    filled: Decimal
    status: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """What an account holds of one instrument. average_cost: IB's, with commissions, times the multiplier."""

    account: str
    con_id: int
    symbol: str
    quantity: Decimal
    average_cost: float


Report = Echo | Status | Execution | Commission | Told | Completed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the broker says at one time; made only where every End was seen.

    asked_at: UTC ns, when the first of its questions was sent; answered_at: when the last End came. epoch: counts the
    connections of the session, so that two snapshots of one connection can be told from those of two.
    next_order_id: IB's nextValidId, the largest seen. unanswered: what TWS gives no answer to on this connection, so
    that a list here says less than it could; "" as a rule.
    """

    asked_at: int
    answered_at: int
    epoch: int
    next_order_id: int
    echoes: tuple[Echo, ...]
    statuses: tuple[Status, ...]
    completed: tuple[Completed, ...]
    executions: tuple[Execution, ...]
    commissions: tuple[Commission, ...]
    positions: tuple[Position, ...]
    unanswered: str = ""
