"""What TWS says of orders, fills and positions, as values of quant/core/orders.py. Knows no session and no ticket.

What cannot be read raises ValueError with what it was: nothing is filled in. IB marks what it does not tell by the
largest number of a type (UNSET); that becomes None where a value may be missing. Decimals lose their trailing zeros, so
that the same fact told twice is the same value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from ibapi.const import UNSET_DECIMAL, UNSET_INTEGER, UNSET_LONG

from quant.core.orders import Commission, Completed, Echo, Execution, Position, Report, Status, Told
from quant.ib.codec import Event
from quant.ib.desk import FIRST_REQUEST
from quant.ib.exchanges import zone_of

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND: Final = 1_000_000_000  # ns
MILLISECOND: Final = 1_000_000  # ns
LARGEST: Final = 2**63 - 1  # of a time in ns, or an id
UNTOLD: Final = 1e300  # IB's "no figure" is the largest double; some messages carry its text, rounded
SIDES: Final = {"BUY": 1, "BOT": 1, "SELL": -1, "SLD": -1, "SSHORT": -1, "SLONG": -1}
# IB tells 0.0 for prices that a kind of order does not have; elsewhere 0 is a price.
WITHOUT_LIMIT: Final = frozenset({"MKT", "STP", "TRAIL", "MOC", "MIT", "MKT PRT", "STP PRT"})
AUX_IS_STOP: Final = frozenset({"STP", "STP LMT", "STP PRT", "MIT", "LIT"})  # of others it is an offset
TRAILS: Final = frozenset({"TRAIL", "TRAIL LIMIT"})
IN_UTC: Final = re.compile(r"(\d{8})-(\d\d:\d\d:\d\d)Z?")
IN_ZONE: Final = re.compile(r"(\d{8}) (\d\d:\d\d:\d\d) (\S.*)")


@dataclass(frozen=True, slots=True)
class Damaged:
    """Something that TWS said and that cannot be read; it may have been a report of an order.

    name: ibapi's name of it, or "message" and its id. The broker's books have to be read again.
    """

    name: str
    reason: str


def read(event: Event) -> Report | None:
    """Return what an event says of an order, None where it says nothing of one.

    Raises ValueError for what cannot be read.
    """
    try:
        report = READERS[event.name](*event.args)
        if report is not None:
            _check_range(report)
        return report
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as e:
        raise ValueError(str(e) or type(e).__name__) from None


# ---------------------------------------------------------------- orders
def echo(order_id: int, contract: Any, order: Any, state: Any) -> Echo | None:
    """Return an openOrder; None for the answer to a what-if, which is no order."""
    if order.whatIf:
        return None
    kind = order.orderType
    if kind in TRAILS:
        stop = optional(order.trailStopPrice)
    else:
        stop = optional(order.auxPrice) if kind in AUX_IS_STOP else None
    trails = kind in TRAILS  # of which TWS tells 0 for the distance that it does not have
    return Echo(
        account=order.account,
        con_id=contract.conId,
        symbol=contract.symbol,
        order_id=_order(order_id),
        client_id=order.clientId,
        perm_id=_perm(order.permId),
        ref=order.orderRef,
        quantity=_signed(order.action, order.totalQuantity),
        kind=kind,
        limit=None if kind in WITHOUT_LIMIT else optional(order.lmtPrice),
        stop=stop,
        tif=order.tif,
        status=_word(state.status, "status"),
        parent_id=order.parentId,
        oca=order.ocaGroup,
        warning=state.warningText,
        trail=(optional(order.auxPrice) or None) if trails else None,
        percent=(optional(order.trailingPercent) or None) if trails else None,
        offset=optional(order.lmtPriceOffset) if kind == "TRAIL LIMIT" else None,
    )


def status(
    order_id: int,
    word: str,
    filled: Decimal,
    remaining: Decimal,
    average: float,
    perm_id: int,
    _parent_id: int,
    _last: float,
    client_id: int,
    why_held: str,
    _cap: float,
) -> Status:
    """Return an orderStatus."""
    done = amount(filled, "filled")
    price = optional(average)
    if price is None:
        if done:
            raise ValueError("something was filled, and no average price is told")
        price = 0.0  # as IB tells it of an order without fills
    if client_id == UNSET_INTEGER:
        raise ValueError("clientId is missing")
    return Status(
        order_id=_order(order_id),
        client_id=client_id,
        perm_id=_perm(perm_id),
        status=_word(word, "status"),
        filled=done,
        remaining=amount(remaining, "remaining"),
        average=price,
        why_held=why_held,
    )


def completed(contract: Any, order: Any, state: Any) -> Completed:
    """Return a completedOrder. IB tells a quantity of 0 for many of them, and their fills right (hadrianl/ibapi 18)."""
    return Completed(
        account=order.account,
        con_id=contract.conId,
        symbol=contract.symbol,
        perm_id=_perm(order.permId),
        ref=order.orderRef,
        quantity=_signed(order.action, order.totalQuantity),
        filled=amount(order.filledQuantity, "filledQuantity"),
        status=_word(state.status, "status"),
        told=state.completedStatus,
    )


def told(order_id: int, at_ms: int, code: int, text: str, json: str = "") -> Told | None:
    """Return an error or warning for an order; None for one of a request, or of nothing."""
    if not 0 < order_id < FIRST_REQUEST:
        return None
    return Told(order_id, code, f"{text} {json}" if json else text, max(at_ms, 0) * MILLISECOND)


# ---------------------------------------------------------------- fills
def execution(_request: int, contract: Any, e: Any) -> Execution:
    """Return an execDetails."""
    quantity = amount(e.shares, "shares")
    return Execution(
        exec_id=_word(e.execId, "execId"),
        account=_word(e.acctNumber, "acctNumber"),
        con_id=contract.conId,
        symbol=contract.symbol,
        order_id=_order(e.orderId),
        client_id=e.clientId,
        perm_id=_perm(e.permId),
        ref=e.orderRef,
        time=moment(e.time),
        quantity=quantity if _side(e.side) > 0 else -quantity,
        price=_figure(e.price, "price"),
        cumulative=amount(e.cumQty, "cumQty"),
        average=_figure(e.avgPrice, "avgPrice"),
        exchange=e.exchange,
        liquidation=bool(e.liquidation),
    )


def commission(report: Any) -> Commission:
    """Return a report of commissions and fees."""
    return Commission(
        exec_id=_word(report.execId, "execId"),
        amount=_figure(report.commissionAndFees, "commission"),
        currency=report.currency,
        realized=optional(report.realizedPNL),
    )


def position(account: str, contract: Any, quantity: Decimal, average_cost: float) -> Position:
    """Return a position."""
    return Position(
        account=_word(account, "account"),
        con_id=contract.conId,
        symbol=contract.symbol,
        quantity=_number(quantity, "position"),
        average_cost=_figure(average_cost, "avgCost"),
    )


INTEGERS: Final = {
    kind: tuple(field.name for field in fields(kind) if field.type == "int")
    for kind in (Echo, Status, Completed, Execution, Commission, Told)
}
READERS: Final[dict[str, Callable[..., Report | None]]] = {
    "openOrder": echo,
    "orderStatus": status,
    "completedOrder": completed,
    "execDetails": execution,
    "commissionAndFeesReport": commission,
    "error": told,
}


# ---------------------------------------------------------------- small parts
def moment(text: str) -> int:
    """Return the time of a fill in UTC ns: "20240515 12:00:00 US/Eastern", or with a dash in UTC.

    A time that comes twice in the night when summer time ends is taken for the first. Raises ValueError for a time
    without a zone, in a zone that nobody knows, or one that the zone does not have.
    """
    bare = " ".join(text.split())
    in_utc, in_zone = IN_UTC.fullmatch(bare), IN_ZONE.fullmatch(bare)
    if in_utc is not None:
        day, hour, zone = in_utc[1], in_utc[2], "UTC"
    elif in_zone is not None:
        day, hour, zone = in_zone[1], in_zone[2], in_zone[3]
    else:
        raise ValueError(f"a time that cannot be read: {text!r}")
    # London's summer time is not meant by a machine that is set to GMT, as it is by a contract's hours.
    name = zone if zone in ("GMT", "UTC") else zone_of(zone)
    try:
        here = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"a time in an unknown zone: {text!r}") from None
    local = datetime.strptime(day + hour, "%Y%m%d%H:%M:%S").replace(tzinfo=here)
    utc = local.astimezone(UTC)
    if utc.astimezone(here).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise ValueError(f"a time that its zone does not have: {text!r}")
    return (utc - EPOCH) // timedelta(seconds=1) * SECOND


def optional(value: float) -> float | None:
    """Return a figure, None where IB says that there is none. Raises ValueError for no number at all."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no figure")
    return None if abs(value) >= UNTOLD else float(value)


def amount(value: Decimal, name: str) -> Decimal:
    """Return a quantity without sign. Raises ValueError if it is missing, negative or no number."""
    number = _number(value, name)
    if number < 0:
        raise ValueError(f"{name} is negative: {value}")
    return number


def _number(value: Decimal, name: str) -> Decimal:
    if value == UNSET_DECIMAL or not value.is_finite():
        raise ValueError(f"{name} is missing or no number: {value}")
    plain = value.normalize()
    exponent = plain.as_tuple().exponent
    return plain.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else plain


def _figure(value: float, name: str) -> float:
    found = optional(value)
    if found is None:
        raise ValueError(f"{name} is missing")
    return found


def _signed(action: str, quantity: Decimal) -> Decimal:
    number = amount(quantity, "totalQuantity")
    return number if _side(action) > 0 else -number


def _side(word: str) -> int:
    side = SIDES.get(word)
    if side is None:
        raise ValueError(f"{word!r} is neither a purchase nor a sale")
    return side


def _word(text: str, name: str) -> str:
    if not text:
        raise ValueError(f"{name} is missing")
    return text


def _check_range(report: Report) -> None:
    """Raise ValueError where a number is too large for any journal: a flipped bit, e.g. in the year of a time."""
    for name in INTEGERS[type(report)]:
        if not -LARGEST - 1 <= (value := getattr(report, name)) <= LARGEST:
            raise ValueError(f"{name} {value} is out of all range")


def _order(number: int) -> int:
    """Return an order id; 0, which is none, for orders made by hand."""
    return 0 if number == UNSET_INTEGER else number


def _perm(number: int) -> int:
    return 0 if number in (UNSET_LONG, UNSET_INTEGER) else number
