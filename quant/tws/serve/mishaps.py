"""Lets the faults of quant.tws.order_faults happen to a Tws: to orders that come, to cancels, and by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from quant.tws.exchange import mishaps
from quant.tws.exchange.books import Working
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import Event, Executed, Key, OrderRequest, Told
from quant.tws.exchange.refusal import Refusal
from quant.tws.order_faults import CANCEL, FILL, ROWS, OrderDo, OrderFault

if TYPE_CHECKING:
    from quant.tws.program import Tws

_VOICES: Final = (
    OrderDo.MUTE, OrderDo.LOSE_STATUS, OrderDo.REPEAT, OrderDo.REVERSE, OrderDo.EXEC_FIRST, OrderDo.LOSE_EXEC,
    OrderDo.LATE_FEE, OrderDo.FEE_FIRST, OrderDo.REPEAT_FEE, OrderDo.PARTS,
)  # fmt: skip
PRESET_TEXT: Final = "Order TIF was set to DAY based on order preset."
_LOCATING: Final = (
    "Shares for this order are not immediately available for short sale. The order will be held while we attempt "
    "to locate the shares."
)
_CAPPED: Final = "Order price was capped by IB"


@dataclass(frozen=True, slots=True)
class Fate:
    """What the script has drawn for an order that comes. lost: it is not booked now. late: when it will be, UTC ns."""

    faults: Sequence[OrderFault]
    lost: bool
    late: int | None
    rejected: Refusal | None
    preset: bool
    twin: bool
    held_until: int


_NONE: Final = Fate((), lost=False, late=None, rejected=None, preset=False, twin=False, held_until=0)


def fate(tws: Tws, event: str, now: int) -> Fate:
    """Return what happens to an order that comes at `now`."""
    script = tws.order_faults
    found = script.at(event)
    late, lost = None, now < script.deaf_until
    if not found and not lost:
        return _NONE
    rejected = None
    for fault in found:
        if fault.do == OrderDo.DROP:
            lost = True
            script.deaf_until = max(script.deaf_until, now + fault.delay)
        elif fault.do == OrderDo.LATE:
            lost, late = True, now + fault.delay
        elif fault.do == OrderDo.REJECT:
            rejected = Refusal(fault.code, fault.text)
    kinds = {fault.do for fault in found}
    held = max((now + f.delay for f in found if f.do in (OrderDo.STUCK, OrderDo.LOCATE)), default=0)
    return Fate(found, lost, late, rejected, OrderDo.PRESET in kinds, OrderDo.TWIN in kinds, held)


def attach(tws: Tws, key: Key, faults: Iterable[OrderFault]) -> None:
    """Let faults bend what will be told of an order, and how it fills.

    Once each: an order that is changed may draw the same one again.
    """
    known = tws.order_faults.voices.get(key, [])
    voices = [f for f in faults if f.do in _VOICES and not any(f is other for other in known)]
    if voices:
        tws.order_faults.voices[key] = [*known, *voices]
        tws.exchange.cut = lambda view, left: tws.order_faults.part(view.request.key, left)


def happen_to(tws: Tws, key: Key, faults: Iterable[OrderFault], now: int) -> None:
    """Let happen what an order's coming has drawn, once it is in the books and told."""
    books = tws.exchange.books
    for fault in faults:
        one = books.find(key)
        if one is None:
            continue
        if fault.do == OrderDo.WARN:
            _count(tws, fault)
            tws.tell([Told(key, fault.code, fault.text)], now)
        elif fault.do == OrderDo.PRESET:
            _count(tws, fault)
            tws.tell([Told(key, 10349, fault.text or PRESET_TEXT)], now)
        elif fault.do == OrderDo.LOCATE and not one.view.over:
            _count(tws, fault)
            tws.tell([*mishaps.hold(one, one.held_until, "locate"), Told(key, 404, _LOCATING)], now)
        elif fault.do == OrderDo.CAP and not one.view.over:
            _count(tws, fault)
            price = tws.price(one.view.request.listing, now) if fault.limit is None else fault.limit
            tws.tell([*mishaps.cap(one, price or 0.0), Told(key, 2161, fault.text or _CAPPED)], now)
        elif fault.do == OrderDo.INACTIVE and not one.view.over:
            _inactive(tws, one, fault, now)
        elif fault.do == OrderDo.CANCELLED:
            _after(tws, fault, now, partial(_cancel_by_tws, tws, one, fault))
        elif "" in ROWS[fault.do].on:
            _after(tws, fault, now, partial(happen, tws, fault))


def _count(tws: Tws, fault: OrderFault) -> None:
    tws.order_faults.played[fault.do] += 1


def _after(tws: Tws, fault: OrderFault, now: int, job: Callable[[int], None]) -> None:
    """Do a job when the fault says; at once where it says 0."""
    if fault.delay <= 0:
        job(now)
    else:
        tws.timers.set(now + fault.delay, job)


def _inactive(tws: Tws, one: Working, fault: OrderFault, now: int) -> None:
    _count(tws, fault)
    tws.tell(mishaps.deactivate(one), now)
    if fault.delay:
        tws.timers.set(
            now + fault.delay,
            lambda at: tws.tell(
                [*mishaps.revive(tws.exchange.books, one, at), *tws.exchange.advance(at)], at
            ),
        )


def _cancel_by_tws(tws: Tws, one: Working, fault: OrderFault, at: int) -> None:
    if not one.view.over:
        _count(tws, fault)
        tws.tell(tws.exchange.books.cancel(one, at), at)


# ---------------------------------------------------------------- cancels and fills
def cancelled(tws: Tws, key: Key, now: int) -> bool:
    """Let the faults of a cancel happen; return whether one took its place."""
    one = tws.exchange.books.find(key)
    instead = False
    for fault in tws.order_faults.at(CANCEL):
        if fault.do in (OrderDo.WARN, OrderDo.REFUSE_CANCEL):
            tws.tell([Told(key, fault.code, fault.text)], now)
            tws.order_faults.played[fault.do] += fault.do == OrderDo.WARN
            instead |= fault.do == OrderDo.REFUSE_CANCEL
        elif fault.do in (OrderDo.SLOW_CANCEL, OrderDo.CANCEL_FILLS, OrderDo.FILL_AFTER_CANCEL):
            if one is not None and not one.view.over:
                _crossing(tws, one, fault, now)
                instead = True
        else:
            _after(tws, fault, now, partial(happen, tws, fault))
    return instead


def _crossing(tws: Tws, one: Working, fault: OrderFault, now: int) -> None:
    """Let a cancel and a fill cross on their ways."""
    books = tws.exchange.books
    if fault.do == OrderDo.FILL_AFTER_CANCEL:
        tws.tell(books.cancel(one, now), now)
    else:
        tws.tell(mishaps.pending_cancel(one), now)

    def later(at: int) -> None:
        if fault.do == OrderDo.SLOW_CANCEL:
            _cancel_by_tws(tws, one, fault, at)
        elif one.view.remaining > 0:
            _count(tws, fault)
            tws.tell(mishaps.forced(books, one, _price(tws, one, at), at), at)

    tws.timers.set(now + fault.delay, later)


def _price(tws: Tws, one: Working, at: int) -> float:
    request = one.view.request
    if request.limit is not None:
        return request.limit
    last = tws.price(request.listing, at)
    return request.listing.first_price if last is None else last


def filled(tws: Tws, events: Iterable[Event], now: int) -> None:
    """Let the faults of fills happen that have just been told."""
    for event in events:
        if not isinstance(event, Executed):
            continue
        for fault in tws.order_faults.at(FILL):
            if fault.do in (OrderDo.CORRECT, OrderDo.BUST):
                _after(tws, fault, now, partial(_correct, tws, event, fault))
            else:
                _after(tws, fault, now, partial(happen, tws, fault))


def _correct(tws: Tws, event: Executed, fault: OrderFault, at: int) -> None:
    quantity = None if fault.quantity is None else Decimal(str(fault.quantity))
    if fault.do == OrderDo.BUST:
        quantity = Decimal(0)
    price = event.price + fault.price_by if fault.price_by else None
    events = mishaps.correct(tws.exchange.books, event.exec_id, price, quantity)
    if events:
        _count(tws, fault)
    tws.tell(events, at, corrected=True)


# ---------------------------------------------------------------- what others do
def happen(tws: Tws, fault: OrderFault, now: int) -> None:
    """Let a fault happen that needs no order of ours: by hand, by another client, by IB."""
    if fault.do == OrderDo.CLOCK:
        _count(tws, fault)
        tws.order_faults.clock_off = fault.delay
    elif fault.do in (OrderDo.HAND_CANCEL, OrderDo.HAND_MODIFY):
        _touch(tws, fault, now)
    elif fault.do == OrderDo.NIGHTLY:
        _count(tws, fault)
        tws.restart(fault, now)
    else:
        listing = next((x for x in tws.catalogue if x.symbol == fault.symbol and x.trades), None)
        if listing is not None:
            _ordered(tws, listing, fault, now)


def _ordered(tws: Tws, listing: Listing, fault: OrderFault, now: int) -> None:
    if fault.do == OrderDo.SPLIT:
        _count(tws, fault)
        mishaps.split(tws.exchange.books, listing, fault.times)
        tws.tell_holding(listing, now)
        return
    held = tws.account.holding(listing).quantity
    closes = fault.do in (OrderDo.HAND_CLOSE, OrderDo.LIQUIDATE)
    quantity = -held if closes else Decimal(str(fault.quantity or 0.0))
    if not quantity:
        return
    _count(tws, fault)
    books = tws.exchange.books
    other = fault.do == OrderDo.OTHER_CLIENT
    key = tws.next_key(fault.client) if other else mishaps.hand_key(books)
    limit = None if closes or fault.do == OrderDo.ASSIGN else fault.limit
    request = OrderRequest(
        key, listing, 1 if quantity > 0 else -1, abs(quantity), "MKT" if limit is None else "LMT", limit,
        account=tws.account.account_id, reference=fault.text, exchange=listing.exchanges[0],
        liquidation=fault.do == OrderDo.LIQUIDATE,
    )  # fmt: skip
    if fault.do == OrderDo.ASSIGN:  # booked, whatever the market does
        one = books.add(request, None, now)
        tws.tell(
            [*books.transmit(one), *mishaps.forced(books, one, fault.limit or listing.first_price, now)], now
        )
    else:
        tws.by_hand(request, now)


def _touch(tws: Tws, fault: OrderFault, now: int) -> None:
    """Cancel or change the newest open order by hand."""
    newest = max(tws.exchange.open_orders, key=lambda view: view.perm_id, default=None)
    if newest is None:
        return
    _count(tws, fault)
    key = newest.request.key
    if fault.do == OrderDo.HAND_CANCEL:
        tws.tell(tws.exchange.cancel(key, now), now)
        return
    request = newest.request
    if fault.quantity is not None:
        request = replace(request, quantity=Decimal(str(abs(fault.quantity))))
    if fault.limit is not None and request.limit is not None:
        request = replace(request, limit=fault.limit)
    if fault.limit is not None and request.stop is not None:
        request = replace(request, stop=fault.limit)
    tws.tell(tws.exchange.place(request, now), now)
