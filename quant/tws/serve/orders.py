"""Requests about orders: place, cancel, what is open, what is done, what was filled."""

from __future__ import annotations

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
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.program import Tws


def place(tws: Tws, client: Client, request: PlaceOrderRequest, now: int) -> None:
    """Answer placeOrder: a new order, or a change of one under its id."""
    number = request.orderId
    if request.contract.secType == "BAG" or request.contract.comboLegs:
        client.error(number, invalid("combinations are not simulated"), now)
        return
    listing = tws.catalogue.one(request.contract, now)
    if isinstance(listing, Refusal):
        client.error(number, listing, now)
        return
    wanted = order_messages.order_request(client.own_id, request, listing)
    if not isinstance(wanted, Refusal) and tws.rate(listing.currency, now) is None:
        wanted = invalid(f"{listing.currency} has no rate to {tws.account.base} in the simulator")
    if isinstance(wanted, Refusal):
        client.error(number, wanted, now)
        return
    if request.order.outsideRth:
        text = 'Order Event Warning: Attribute "Outside Regular Trading Hours" is ignored (not simulated)'
        client.error(number, Refusal(2109, text), now)
    before = tws.asked.get(wanted.key)
    order = Order()
    order.CopyFrom(request.order)
    order.account = request.order.account or tws.account.account_id
    tws.asked[wanted.key] = order
    events = tws.exchange.place(wanted, now)
    if not any(view.request is wanted for view in tws.exchange.orders):  # refused: what stood before stands
        if before is None:
            del tws.asked[wanted.key]
        else:
            tws.asked[wanted.key] = before
    tws.tell(events, now)


def cancel(tws: Tws, client: Client, request: CancelOrderRequest, now: int) -> None:
    """Answer cancelOrder."""
    tws.tell(tws.exchange.cancel((client.own_id, request.orderId), now), now)


def cancel_all(tws: Tws, client: Client, request: GlobalCancelRequest, now: int) -> None:
    """Answer reqGlobalCancel: the orders of all clients."""
    tws.tell(tws.exchange.cancel_all(now), now)


# ---------------------------------------------------------------- what there is
def open_orders(tws: Tws, client: Client, request: OpenOrdersRequest, now: int) -> None:
    """Answer reqOpenOrders: the client's own."""
    _open_orders(tws, client, own=True)


def all_open_orders(tws: Tws, client: Client, request: AllOpenOrdersRequest, now: int) -> None:
    """Answer reqAllOpenOrders: those of every client."""
    _open_orders(tws, client, own=False)


def _open_orders(tws: Tws, client: Client, *, own: bool) -> None:
    for view in tws.exchange.open_orders:
        key = view.request.key
        if own and key[0] != client.id:
            continue
        client.say(order_messages.open_order(view, tws.asked[key]), order_messages.order_status(view))
    client.say(OpenOrdersEnd())


def auto_open_orders(tws: Tws, client: Client, request: AutoOpenOrdersRequest, now: int) -> None:
    """Take reqAutoOpenOrders: nobody types orders into this TWS, so none is ever bound."""
    if client.id != 0:
        client.error(NO_REQUEST, invalid("Only the default client (i.e 0) can auto bind orders"), now)


def completed_orders(tws: Tws, client: Client, request: CompletedOrdersRequest, now: int) -> None:
    """Answer reqCompletedOrders, with or without apiOnly: all orders came through the API."""
    for view in tws.exchange.completed:
        client.say(order_messages.completed_order(view, tws.asked[view.request.key], tws.zone))
    client.say(CompletedOrdersEnd())


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
    for executed, charged in tws.exchange.executions:
        if order_messages.wanted(executed, chosen, since, account):
            client.say(
                order_messages.execution(executed, request.reqId, account, tws.zone),
                order_messages.commission(charged),
            )
    client.say(ExecutionDetailsEnd(reqId=request.reqId))
