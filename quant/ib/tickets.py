"""A ticket as IB takes it: checked, its prices on the contract's steps, in ibapi's objects. Sends nothing.

Whatever TWS would only refuse or, worse, change by itself is refused here with ParameterError.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Final

from ibapi.contract import Contract as IbContract
from ibapi.order import Order as IbOrder

from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import ParameterError
from quant.ib.lookup import Found
from quant.ib.reports import EPOCH, SECOND
from quant.ib.requests import write_time

LONGEST_REF: Final = 40  # characters of IB's orderRef
CANCEL_WITH_BLOCK: Final = (
    1  # ocaType: one order of the group is at the exchange at a time, so that none overfills
)
_LIMITED: Final = frozenset({Kind.LIMIT, Kind.STOP_LIMIT, Kind.LIMIT_ON_CLOSE})
_STOPPED: Final = frozenset({Kind.STOP, Kind.STOP_LIMIT, Kind.TRAIL_LIMIT})
_TRAILS: Final = frozenset({Kind.TRAIL, Kind.TRAIL_LIMIT})


def quantised(ticket: Ticket, found: Found) -> Ticket:
    """Return the ticket as it will stand at IB: each price on a step of the contract, on the side that waits.

    A limit never becomes a worse fill than asked, a stop is touched no earlier; trailing distances and offsets
    take the nearest step, ties the even one: of those at its first stop price, without one the contract's least.
    Quantities and percentages are never changed. Raises ParameterError for a ticket that cannot be sent, naming its
    field.
    """
    _check(ticket, found)
    near = found.facts.min_tick if ticket.stop is None else found.tick(ticket.stop)
    buys = ticket.quantity > 0
    limit = _price("limit", ticket.limit, found, up=not buys)
    stop = _price("stop", ticket.stop, found, up=buys)
    trail = None if ticket.trail is None else _distance(ticket.trail, near)
    offset = None if ticket.offset is None else on_step(ticket.offset, near)
    if (limit, stop, trail, offset) == (ticket.limit, ticket.stop, ticket.trail, ticket.offset):
        return ticket  # as a rule: what is sent was asked for on a step
    return replace(ticket, limit=limit, stop=stop, trail=trail, offset=offset)


def to_ib(ticket: Ticket, found: Found, parent_id: int = 0) -> tuple[IbContract, IbOrder]:
    """Return ibapi's contract and order of a ticket. parent_id: order id of its parent, 0 for none.

    Raises ParameterError as `quantised` does.
    """
    asked = quantised(ticket, found)
    order = IbOrder()
    order.action = "BUY" if asked.quantity > 0 else "SELL"
    order.totalQuantity = abs(asked.quantity)
    order.orderType, order.tif = str(asked.kind), str(asked.tif)
    order.account, order.orderRef = asked.account, asked.ref
    order.transmit, order.outsideRth = asked.transmit, asked.outside_rth
    order.parentId = parent_id
    if asked.limit is not None:
        order.lmtPrice = asked.limit
    if asked.kind in _TRAILS:
        _trailing(order, asked)
    elif asked.stop is not None:
        order.auxPrice = asked.stop
    if asked.oca:
        order.ocaGroup, order.ocaType = asked.oca, CANCEL_WITH_BLOCK
    if asked.good_till is not None:
        order.goodTillDate = write_time(EPOCH + timedelta(seconds=asked.good_till // SECOND))
    spec = found.facts.spec
    if spec.exchange != asked.exchange:
        spec = replace(spec, exchange=asked.exchange)
    return spec.to_ib(), order


def _trailing(order: IbOrder, asked: Ticket) -> None:
    """Set what an order that trails has: TWS takes one of amount and percentage, and of limit and its offset."""
    if asked.trail is not None:
        order.auxPrice = asked.trail
    if asked.percent is not None:
        order.trailingPercent = asked.percent
    if asked.stop is not None:
        order.trailStopPrice = asked.stop
    if asked.offset is not None:
        order.lmtPriceOffset = asked.offset


@lru_cache(maxsize=256)  # the prices of an order come here several times before it is sent
def on_step(price: float, step: float) -> float:
    """Return the multiple of `step` that is nearest to `price`, as the float of its shortest decimal text."""
    size = Decimal(repr(step))
    count = (Decimal(repr(float(price))) / size).quantize(Decimal(1), ROUND_HALF_EVEN)
    return float(count * size)


@lru_cache(maxsize=256)
def waiting(price: float, step: float, *, up: bool) -> float:
    """Return the multiple of `step` at `price`, or the next one above it (`up`) or below it.

    Twelve digits of the price count: 100.1 may have come as 100.10000000000001, and must not go a whole step away.
    """
    size = Decimal(repr(step))
    count = (Decimal(f"{float(price):.12g}") / size).quantize(
        Decimal(1), ROUND_CEILING if up else ROUND_FLOOR
    )
    return float(count * size)


# ---------------------------------------------------------------- checks
def _check(ticket: Ticket, found: Found) -> None:
    facts = found.facts
    if ticket.con_id != facts.spec.con_id or ticket.symbol != facts.spec.symbol:
        ours = f"{facts.spec.symbol} {facts.spec.con_id}"
        raise ParameterError(
            "con_id", f"{ticket.symbol} {ticket.con_id}", f"the contract looked up is {ours}"
        )
    if not 0 < len(ticket.ref) <= LONGEST_REF or not _plain(ticket.ref):
        raise ParameterError(
            "ref", ticket.ref, f"an order needs a name of 1 to {LONGEST_REF} ASCII characters"
        )
    for name in ("account", "exchange", "parent", "oca"):
        if not _plain(getattr(ticket, name)):
            raise ParameterError(name, getattr(ticket, name), "IB takes plain ASCII only")
    if not ticket.account:
        raise ParameterError("account", ticket.account, "name the account that trades")
    _check_quantity(ticket, facts.size_increment)
    _check_prices(ticket)
    if (ticket.tif is TimeInForce.GTD) is not (ticket.good_till is not None):
        raise ParameterError(
            "good_till", ticket.good_till, "a GTD order has a time of its end, others have none"
        )


def _check_quantity(ticket: Ticket, increment: float | None) -> None:
    quantity = ticket.quantity
    if not isinstance(quantity, Decimal) or not quantity.is_finite() or quantity == 0:
        raise ParameterError("quantity", quantity, "a Decimal that is not 0; below 0 sells")
    if increment is not None and increment > 0 and quantity % Decimal(repr(increment)) != 0:
        raise ParameterError("quantity", quantity, f"{ticket.symbol} trades in steps of {increment:g}")


def _check_prices(ticket: Ticket) -> None:
    kind = ticket.kind
    asked = {
        "limit": kind in _LIMITED,
        "stop": True if kind in _STOPPED else None if kind is Kind.TRAIL else False,  # None: may be there
        "trail": None if kind in _TRAILS else False,
        "percent": None if kind in _TRAILS else False,
        "offset": kind is Kind.TRAIL_LIMIT,
    }
    for name, needed in asked.items():
        price = getattr(ticket, name)
        if price is None:
            if needed:
                raise ParameterError(name, None, f"a {kind} order needs it")
        elif needed is False:
            raise ParameterError(name, price, f"a {kind} order has none")
        elif not math.isfinite(price):
            raise ParameterError(name, price, "a price is a number")
    if kind in _TRAILS and (ticket.trail is None) is (ticket.percent is None):
        raise ParameterError(
            "trail", ticket.trail, f"a {kind} order has one distance, in price or in percent"
        )
    if ticket.trail is not None and ticket.trail <= 0:
        raise ParameterError("trail", ticket.trail, "the distance must be above 0")
    if ticket.percent is not None and not 0 < ticket.percent < 100:
        raise ParameterError("percent", ticket.percent, "the distance must be above 0 and below 100 %")
    if ticket.offset is not None and ticket.offset < 0:
        raise ParameterError("offset", ticket.offset, "the limit lies behind the stop, not before it")


def _price(name: str, price: float | None, found: Found, *, up: bool) -> float | None:
    if price is None:
        return None
    at = waiting(price, found.tick(price), up=up)
    if at == 0 and price != 0:
        raise ParameterError(name, price, f"is less than one price step of {found.tick(price):g} from 0")
    return at


def _distance(trail: float, step: float) -> float:
    found = on_step(trail, step)
    if found == 0:
        raise ParameterError("trail", trail, f"less than half of the price step {step:g}")
    return found


def _plain(text: str) -> bool:
    return text.isascii() and (text.isprintable() or not text)
