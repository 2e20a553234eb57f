"""What happens to orders beside the market: by hand in TWS, by IB's own back office, by a restart. All of it on demand.

Each function changes the books at a moment (UTC ns) and returns what TWS tells of it.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from quant.tws.exchange.books import Books, Working, told
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import (
    HAND,
    Bound,
    Changed,
    Charged,
    Event,
    Executed,
    Key,
    OrderRequest,
    OrderView,
    Status,
)
from quant.tws.exchange.steps import Fill


def hand_key(books: Books) -> Key:
    """Return the key of the next order that is made by hand, or of its binding."""
    used = [one.view.request.key[1] for one in books.orders.values()]
    numbers = [abs(n) for n, one in zip(used, books.orders.values(), strict=True) if _was_by_hand(one.view)]
    return HAND, max(numbers, default=0) + 1


def _was_by_hand(view: OrderView) -> bool:
    client, number = view.request.key
    return client == HAND or (client == 0 and number < 0)


def bind(books: Books, one: Working) -> list[Event]:
    """Give an order that was made by hand an order id of client 0: below 0, so that none of its own meets it."""
    books.rename(one, (0, -one.view.request.key[1]))
    return [Bound(one.view), *told(one)]


def forced(books: Books, one: Working, price: float, now: int) -> list[Event]:
    """Fill what is left of an order at a price, whatever the market and the order's status say."""
    return books.fill(one, Fill(now, price, one.view.remaining))


def pending_cancel(one: Working) -> list[Event]:
    """Note that a cancel is on its way; until it arrives the order may fill."""
    one.view = replace(one.view, status=Status.PENDING_CANCEL)
    return [Changed(one.view)]


def deactivate(one: Working) -> list[Event]:
    """Hold an order back that is not over: TWS lists it as open, and it cannot fill until it is revived."""
    one.view = replace(one.view, status=Status.INACTIVE)
    one.at_exchange, one.look = False, None
    return told(one)


def revive(books: Books, one: Working, now: int) -> list[Event]:
    """Let an order that was made inactive go on its way again; nothing if it has not been."""
    if one.view.status != Status.INACTIVE or one.view.over:
        return []
    one.view = replace(one.view, status=Status.PRE_SUBMITTED)
    one.held_until = now
    books.calm_until = 0
    return told(one)


def hold(one: Working, until: int, why: str = "") -> list[Event]:
    """Keep an order from the exchange until a moment."""
    one.held_until = until
    if not why:
        return []
    one.view = replace(one.view, held=why)
    return told(one)


def cap(one: Working, price: float) -> list[Event]:
    """Note the price at which IB caps an order."""
    one.view = replace(one.view, capped=price)
    return [Changed(one.view)]


def correct(books: Books, exec_id: str, price: float | None, quantity: Decimal | None) -> list[Event]:
    """Replace a fill, as it was told last: its execution id with the last number raised. A quantity of 0 busts it.

    One that was busted stays so.
    Assumed, for want of a real TWS: the fill's commission stays, and reqExecutions tells the newest version only.
    """
    stem = exec_id.rpartition(".")[0]
    row = next(i for i, (e, _) in enumerate(books.executions) if e.exec_id.rpartition(".")[0] == stem)
    was, charged = books.executions[row]
    if was.quantity == 0:
        return []
    one = books.orders[was.view.perm_id]
    request, listing = one.view.request, one.view.request.listing
    price = was.price if price is None else price
    quantity = was.quantity if quantity is None else quantity
    books.account.book(listing, -was.quantity * request.side, was.price, 0.0)
    realized = None
    if quantity != 0:
        realized = books.account.book(listing, quantity * request.side, price, 0.0).realized
    filled = one.view.filled - was.quantity + quantity
    worth = (
        one.view.average * float(one.view.filled) - was.price * float(was.quantity) + price * float(quantity)
    )
    one.view = replace(one.view, filled=filled, average=worth / float(filled) if filled else 0.0)
    last = was.exec_id.rpartition(".")[2]
    now = Executed(
        one.view,
        f"{stem}.{int(last) + 1:02d}",
        was.time,
        quantity,
        price,
        filled,
        one.view.average,
        was.exchange,
    )
    fee = Charged(now.exec_id, charged.key, charged.commission, charged.currency, realized)
    books.executions[row] = now, fee
    return [now, fee]


def vanish(books: Books, since: int) -> list[OrderRequest]:
    """Strike the orders that came from a moment on and did not fill, as a restart does; return them."""
    lost = [one for one in books.orders.values() if one.view.placed_at >= since and not one.view.filled]
    for one in lost:
        books.forget(one)
    return [one.view.request for one in lost]


def split(books: Books, listing: Listing, ratio: int) -> None:
    """Multiply what is held of a listing, overnight and without an execution; its cost is divided."""
    books.account.split(listing, ratio)
