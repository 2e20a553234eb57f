"""backtrader's orders as tickets of ours, and back after a restart. Sends nothing.

Beside each intent the journal keeps a note of what backtrader's order was; it is JSON in the reason's text.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

import backtrader as bt

from quant.core.instrument import Instrument
from quant.core.orders import Kind, Ticket, TimeInForce
from quant.errors import ParameterError
from quant.live.moments import instrument_of, is_open, moment

_KINDS: Final = {
    bt.Order.Market: Kind.MARKET,
    bt.Order.Close: Kind.MARKET_ON_CLOSE,
    bt.Order.Limit: Kind.LIMIT,
    bt.Order.Stop: Kind.STOP,
    bt.Order.StopLimit: Kind.STOP_LIMIT,
    bt.Order.StopTrail: Kind.TRAIL,
    bt.Order.StopTrailLimit: Kind.TRAIL_LIMIT,
}
_TRAILS: Final = (bt.Order.StopTrail, bt.Order.StopTrailLimit)
_OWN: Final = ("reason", "pair")  # of quant.strategy: not for the broker
FIELDS: Final = ("tif", "outside_rth", "exchange")  # of a Ticket that keywords of an order may set


@dataclass(frozen=True, slots=True)
class Note:
    """What backtrader's order was. ref: orderRef. number: backtrader's `ref`, of that process.

    price, limit: as asked, before they were put on a tick. reason: q.Strategy's word for it. group: orderRef of the
    first of its OCO group, "" for none.
    """

    ref: str
    number: int
    kind: str
    tradeid: int
    price: float | None
    limit: float | None
    reason: str
    group: str

    def text(self) -> str:
        """Return it for the journal."""
        return json.dumps([getattr(self, name) for name in self.__slots__], separators=(",", ":"))


def read_notes(text: str) -> tuple[Note, ...]:
    """Return the notes that `notes_text` wrote, of an order and its children; none for other text."""
    try:
        return tuple(Note(*values) for values in json.loads(text))
    except (ValueError, TypeError):
        return ()


def notes_text(notes: list[Note]) -> str:
    """Return the notes of an order and its children, in that order."""
    return "[" + ",".join(note.text() for note in notes) + "]"


def note_of(order: bt.Order, ref: str, group: str) -> Note:
    """Return what the journal keeps of an order."""
    reason = order.info.get("reason", "")
    return Note(
        ref, order.ref, order.getordername(), int(order.tradeid or 0), _number(order.created.price),
        _number(order.created.pricelimit), reason if isinstance(reason, str) else "", group,
    )  # fmt: skip


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


# ---------------------------------------------------------------- from backtrader
def check_kind(order: bt.Order) -> None:
    """Raise ParameterError for an order that cannot be sent to IB."""
    if order.exectype not in _KINDS:
        known = ", ".join(bt.Order.ExecTypes[kind] for kind in _KINDS)
        raise ParameterError("exectype", order.getordername(), f"cannot be traded live; there is {known}")
    if order.exectype in _TRAILS:
        _check_trail(order)
    size = abs(order.size)
    if not (math.isfinite(size) and size > 0):
        raise ParameterError("size", order.size, "must be a number other than 0")


def _check_trail(order: bt.Order) -> None:
    """Raise ParameterError where IB has no such order; backtrader takes the amount where both are given."""
    name = order.getordername()
    if order.trailamount:
        if not order.trailamount > 0:
            raise ParameterError("trailamount", order.trailamount, "must be above 0")
    elif not order.trailpercent:
        told = f"{name} needs a distance: in price, trailamount=, or as a share of it, trailpercent="
        raise ParameterError("trailamount", order.trailamount, told)
    elif not 0 < order.trailpercent < 1:
        raise ParameterError("trailpercent", order.trailpercent, "is a share of the price: 0.02 is 2 %")
    if order.exectype == bt.Order.StopTrailLimit and _offset(order) < 0:
        # Elected, it would wait for a better price than its stop; IB's offset counts away from it, and whether TWS
        # takes one below 0 is not known. backtrader goes on to move such a limit once it is elected, which IB does not.
        better = "above" if order.size < 0 else "below"
        told = f"the limit of a {name} cannot lie {better} its price: IB has it behind the stop"
        raise ParameterError("plimit", order.created.pricelimit, told)


def _offset(order: bt.Order) -> float:
    """Return how far a limit lies behind its stop; backtrader's is signed by price."""
    return float(-order._limitoffset if order.size > 0 else order._limitoffset)


def ticket_of(
    order: bt.Order,
    ref: str,
    account: str,
    day: bool,
    now: int,
    *,
    parent: str = "",
    oca: str = "",
    transmit: bool = True,
) -> Ticket:
    """Return the ticket of an order.

    day: it was asked for until the session's end. now: outside a session a market order is for the next open.
    """
    check_kind(order)
    instrument = instrument_of(order.data)
    kind = _KINDS[order.exectype]
    created = order.created
    ticket = Ticket(
        ref, account, instrument.con_id or 0, instrument.symbol, decimal(order.size), kind, parent=parent, oca=oca,
        transmit=transmit,
    )  # fmt: skip
    if kind in (Kind.STOP, Kind.STOP_LIMIT):
        ticket = replace(ticket, stop=float(created.price))
    if kind is Kind.LIMIT:
        ticket = replace(ticket, limit=float(created.price))
    if kind is Kind.STOP_LIMIT:
        ticket = replace(ticket, limit=float(created.pricelimit))
    if order.exectype in _TRAILS:
        ticket = _trailing(ticket, order)
    ticket = _timed(ticket, order, day, instrument, now)
    given = {name: order.info[name] for name in FIELDS if name in order.info}
    return replace(ticket, **given) if given else ticket


def _trailing(ticket: Ticket, order: bt.Order) -> Ticket:
    """Return the ticket with its distances. A stop that starts at a percentage of the market's price is left to TWS.

    It would lie between two price steps, and TWS would start from what it was rounded to; a TRAIL LIMIT needs one.
    """
    if order.trailamount:
        ticket = replace(ticket, trail=float(order.trailamount))
    else:
        ticket = replace(ticket, percent=float(Decimal(repr(float(order.trailpercent))) * 100))
    if ticket.kind is Kind.TRAIL_LIMIT:
        ticket = replace(ticket, offset=_offset(order))
    if ticket.kind is Kind.TRAIL and ticket.percent is not None and not (order.price or order.pricelimit):
        return ticket
    return replace(ticket, stop=float(order.created.price))


def _timed(ticket: Ticket, order: bt.Order, day: bool, instrument: Instrument, now: int) -> Ticket:
    if ticket.kind is Kind.MARKET and not ticket.parent:
        return ticket if is_open(instrument, now) else replace(ticket, tif=TimeInForce.OPG)
    if ticket.kind in (Kind.MARKET, Kind.MARKET_ON_CLOSE) or day:
        return ticket
    if order.valid is None:
        return replace(ticket, tif=TimeInForce.GTC)
    return replace(ticket, tif=TimeInForce.GTD, good_till=moment(order.data, float(order.valid)))


def decimal(size: float) -> Decimal:
    """Return a size as the wire has it: 0.1 is 0.1."""
    return Decimal(int(size)) if size == int(size) else Decimal(repr(float(size)))


def units(quantity: Decimal) -> int | float:
    """Return a quantity as backtrader counts: whole units as int."""
    return int(quantity) if quantity == quantity.to_integral_value() else float(quantity)


# ---------------------------------------------------------------- and back
def restored(data: Any, ticket: Ticket, note: Note) -> bt.Order:
    """Return backtrader's order for one that an earlier process made; its `ref` is a new one."""
    kinds = {name: n for n, name in enumerate(bt.Order.ExecTypes)}
    exectype = kinds.get(note.kind, next(n for n, kind in _KINDS.items() if kind is ticket.kind))
    price = ticket.stop if ticket.limit is None else ticket.limit
    make = bt.order.BuyOrder if ticket.quantity > 0 else bt.order.SellOrder
    # `simulated` keeps it from reading bars that are not there yet; then it is told of like any other.
    order = make(
        data=data, size=units(abs(ticket.quantity)), price=price if note.price is None else note.price,
        pricelimit=note.limit, exectype=exectype, tradeid=note.tradeid, simulated=True,
    )  # fmt: skip
    order.p.simulated = False
    if order.exectype in _TRAILS:  # stock has moved it by the distance once more
        order.created.price = ticket.stop if note.price is None else note.price
    order.addinfo(reason=note.reason, restored=True)
    order.trailamount = ticket.trail
    order.trailpercent = None if ticket.percent is None else ticket.percent / 100.0
    order._active = not ticket.parent
    return order
