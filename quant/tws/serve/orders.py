"""Requests about orders: place, cancel, what is open, what is done, what was filled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ibapi.protobuf.AllOpenOrdersRequest_pb2 import AllOpenOrdersRequest
from ibapi.protobuf.AutoOpenOrdersRequest_pb2 import AutoOpenOrdersRequest
from ibapi.protobuf.CancelOrderRequest_pb2 import CancelOrderRequest
from ibapi.protobuf.CompletedOrdersEnd_pb2 import CompletedOrdersEnd
from ibapi.protobuf.CompletedOrdersRequest_pb2 import CompletedOrdersRequest
from ibapi.protobuf.ExecutionDetailsEnd_pb2 import ExecutionDetailsEnd
from ibapi.protobuf.ExecutionRequest_pb2 import ExecutionRequest
from ibapi.protobuf.GlobalCancelRequest_pb2 import GlobalCancelRequest
from ibapi.protobuf.OpenOrdersEnd_pb2 import OpenOrdersEnd
from ibapi.protobuf.OpenOrdersRequest_pb2 import OpenOrdersRequest
from ibapi.protobuf.Order_pb2 import Order
from ibapi.protobuf.PlaceOrderRequest_pb2 import PlaceOrderRequest

from quant.tws import order_messages
from quant.tws.client import NO_REQUEST, Client
from quant.tws.exchange.margin import Preview, preview
from quant.tws.exchange.margin import refused as margin_refused
from quant.tws.exchange.orders import OrderRequest, OrderView, Status, Told
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.order_faults import MODIFY, PLACE, OrderFault
from quant.tws.program import Tws
from quant.tws.serve import mishaps


def place(tws: Tws, client: Client, request: PlaceOrderRequest, now: int) -> None:
    """Answer placeOrder: a new order, a change of one under its id, or what one would do to the account."""
    number = request.orderId
    if request.contract.secType == "BAG" or request.contract.comboLegs:
        client.error(number, invalid("combinations are not simulated"), now)
        return
    listing = tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(number, listing, now)
        return
    wanted = order_messages.order_request(client.own_id, request, listing, now, tws.zone)
    if not isinstance(wanted, Refusal) and tws.rate(listing.currency, now) is None:
        wanted = invalid(f"{listing.currency} has no rate to {tws.account.base} in the simulator")
    if isinstance(wanted, Refusal):
        client.error(number, wanted, now)
        return
    if request.order.outsideRth and not request.order.whatIf:
        text = 'Order Event Warning: Attribute "Outside Regular Trading Hours" is ignored (not simulated)'
        client.error(number, Refusal(2109, text), now)
    order = Order()
    order.CopyFrom(request.order)
    order.account = request.order.account or tws.account.account_id
    if request.order.whatIf:
        _what_if(tws, client, wanted, order, now)
    else:
        book(tws, wanted, order, now)


def book(tws: Tws, wanted: OrderRequest, order: Order, now: int) -> None:
    """Take an order into the books, with what the script of faults does to it. order: as its client wrote it."""
    change = tws.exchange.books.find(wanted.key) is not None
    fate = mishaps.fate(tws, MODIFY if change else PLACE, now)
    if fate.late is not None:
        tws.timers.set(fate.late, lambda at: _book(tws, wanted, order, at, fate.faults))
    if fate.lost:
        return
    if fate.rejected is not None:
        tws.tell([Told(wanted.key, fate.rejected.code, fate.rejected.text)], now)
    elif fate.twin:
        tws.tell(tws.exchange.double(wanted, now), now)
    else:
        preset = replace(wanted, tif="DAY", good_till=None) if fate.preset else wanted
        _book(tws, preset, order, now, fate.faults, fate.held_until)


def _book(
    tws: Tws, wanted: OrderRequest, order: Order, now: int, faults: Sequence[OrderFault], held_until: int = 0
) -> None:
    refused = tws.exchange.check(wanted, now) or _unaffordable(tws, wanted, now)
    if refused is not None:
        tws.tell([refused], now)
        return
    tws.asked[wanted.key] = order
    mishaps.attach(tws, wanted.key, faults)
    tws.tell(tws.exchange.place(wanted, now, held_until), now)
    mishaps.happen_to(tws, wanted.key, faults, now)


def _preview(tws: Tws, wanted: OrderRequest, now: int) -> Preview:
    """Return what an order would do at its limit, else at the last price."""
    last = tws.price(wanted.listing, now)
    price = wanted.limit if wanted.limit is not None else wanted.stop if wanted.stop is not None else last
    price = wanted.listing.first_price if price is None else price
    fee = tws.exchange.books.fee(wanted.listing, float(wanted.quantity), price)
    prices, rates = tws.worth(now, wanted.listing)
    return preview(tws.account, wanted, price, fee, prices, rates)


def _unaffordable(tws: Tws, wanted: OrderRequest, now: int) -> Told | None:
    """Return the margin and short-sale reject of a new order. A child and an exit of a group have their entry's."""
    known = tws.exchange.books.find(wanted.key) is not None
    if tws.rules is None or known or wanted.parent or wanted.oca:
        return None
    return margin_refused(tws.rules, tws.account, wanted, _preview(tws, wanted, now))


def _what_if(tws: Tws, client: Client, wanted: OrderRequest, order: Order, now: int) -> None:
    told = tws.exchange.check(wanted, now)
    seen = _preview(tws, wanted, now)
    if told is None and tws.rules is not None:
        told = margin_refused(tws.rules, tws.account, wanted, seen)
    if told is not None:
        client.error(wanted.key[1], Refusal(told.code, told.text), now)
        return
    view = OrderView(wanted, 0, Status.PRE_SUBMITTED, Decimal(0), 0.0, 0.0, now)
    client.say(order_messages.previewed(view, order, seen))


def cancel(tws: Tws, client: Client, request: CancelOrderRequest, now: int) -> None:
    """Answer cancelOrder."""
    key = (client.own_id, request.orderId)
    if not mishaps.cancelled(tws, key, now):
        tws.tell(tws.exchange.cancel(key, now), now)


def cancel_all(tws: Tws, client: Client, request: GlobalCancelRequest, now: int) -> None:
    """Answer reqGlobalCancel: the orders of all clients, and those made by hand."""
    tws.tell(tws.exchange.cancel_all(now), now)


# ---------------------------------------------------------------- what there is
def open_orders(tws: Tws, client: Client, request: OpenOrdersRequest, now: int) -> None:
    """Answer reqOpenOrders: the client's own. Client 0 gets those made by hand too, which are bound by that."""
    if client.id == 0:
        tws.bind_all(now)
    _open_orders(tws, client, "OpenOrdersRequest", own=True)


def all_open_orders(tws: Tws, client: Client, request: AllOpenOrdersRequest, now: int) -> None:
    """Answer reqAllOpenOrders: those of every client and those made by hand; it binds none."""
    _open_orders(tws, client, "AllOpenOrdersRequest", own=False)


def _open_orders(tws: Tws, client: Client, name: str, *, own: bool) -> None:
    found: list[Any] = []
    for view in tws.exchange.open_orders:
        if own and view.request.key[0] != client.id:
            continue
        found += [order_messages.open_order(view, tws.order_of(view)), order_messages.order_status(view)]
    client.say(*tws.order_faults.snapshot(name, [*found, OpenOrdersEnd()]))


def auto_open_orders(tws: Tws, client: Client, request: AutoOpenOrdersRequest, now: int) -> None:
    """Take reqAutoOpenOrders: orders that are made by hand from now on are bound to client 0, or are not."""
    if client.id != 0:
        client.error(NO_REQUEST, invalid("Only the default client (i.e 0) can auto bind orders"), now)
        return
    client.auto_bind = request.autoBind


def completed_orders(tws: Tws, client: Client, request: CompletedOrdersRequest, now: int) -> None:
    """Answer reqCompletedOrders: those that ended today; apiOnly leaves out those made by hand.

    Source: rust-ibapi issue 299 ("only for the given day", of IBKR Campus, TWS API, Completed Orders). Assumed, for
    want of a real TWS: that day begins as the one of reqExecutions does.
    """
    since = order_messages.midnight(now, tws.zone)
    found: list[Any] = [
        order_messages.completed_order(view, tws.order_of(view), tws.zone)
        for view in tws.exchange.books.ended(since)
        if not (request.apiOnly and view.by_hand)
    ]
    name = "CompletedOrdersRequest"
    client.say(*tws.order_faults.snapshot(name, [*found, CompletedOrdersEnd()]))


def executions(tws: Tws, client: Client, request: ExecutionRequest, now: int) -> None:
    """Answer reqExecutions: today's fills that its filter lets through, each with its commission."""
    chosen, account = request.executionFilter, tws.account.account_id
    if chosen.lastNDays or chosen.specificDates:
        client.error(request.reqId, invalid("executions of days before today are not simulated"), now)
        return
    since = order_messages.executions_since(chosen, now, tws.zone)
    if isinstance(since, Refusal):
        client.error(request.reqId, since, now)
        return
    found: list[Any] = []
    fills = tws.exchange.books.executions  # in order of time
    for executed, charged in fills[bisect_left(fills, since, key=lambda fill: fill[0].time) :]:
        if order_messages.wanted(executed, chosen, since, account):
            found += [
                order_messages.execution(executed, request.reqId, account, tws.zone),
                order_messages.commission(charged),
            ]
    end = ExecutionDetailsEnd(reqId=request.reqId)
    client.say(*tws.order_faults.snapshot("ExecutionRequest", [*found, end]))
