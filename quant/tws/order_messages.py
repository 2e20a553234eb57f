"""Orders and fills in IB's messages, and a client's order as a value of the exchange. Pure: values in, values out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final
from zoneinfo import ZoneInfo

from ibapi.protobuf.CommissionAndFeesReport_pb2 import CommissionAndFeesReport
from ibapi.protobuf.CompletedOrder_pb2 import CompletedOrder
from ibapi.protobuf.Execution_pb2 import Execution
from ibapi.protobuf.ExecutionDetails_pb2 import ExecutionDetails
from ibapi.protobuf.ExecutionFilter_pb2 import ExecutionFilter
from ibapi.protobuf.OpenOrder_pb2 import OpenOrder
from ibapi.protobuf.Order_pb2 import Order
from ibapi.protobuf.OrderBound_pb2 import OrderBound
from ibapi.protobuf.OrderState_pb2 import OrderState
from ibapi.protobuf.OrderStatus_pb2 import OrderStatus
from ibapi.protobuf.PlaceOrderRequest_pb2 import PlaceOrderRequest

from quant.tws.exchange.hours import in_zone, utc
from quant.tws.exchange.listing import Listing, contract
from quant.tws.exchange.margin import Preview
from quant.tws.exchange.orders import (
    LIMITS,
    REDUCE,
    STOPS,
    TRAILS,
    Charged,
    Executed,
    OrderRequest,
    OrderView,
    Status,
)
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.exchange.request import parse_end

UNSET_DOUBLE: Final = 1.7976931348623157e308  # how TWS says that there is no figure
UNSET_INT: Final = 2**31 - 1
_MOST: Final = Decimal(10) ** 12  # units of one order: beyond it, floats of the account lose single ones
# Fields of an order that change what it does, and that no order here may have. The rest is told back as it came.
NOT_SIMULATED: Final = (
    "conditions", "algoStrategy", "hedgeType", "goodAfterTime", "allOrNone", "minQty", "displaySize", "blockOrder",
    "sweepToFill", "hidden", "discretionaryAmt", "cashQty", "scalePriceIncrement", "volatility", "faGroup", "modelCode",
    "notHeld", "activeStartTime", "activeStopTime", "smartComboRoutingParams", "delta", "percentOffset",
    "imbalanceOnly", "autoCancelDate", "postToAts", "duration", "postOnly", "adjustedOrderType", "minTradeQty",
)  # fmt: skip
_SIDES: Final = {"BUY": 1, "SELL": -1}


def order_request(
    client: int, asked: PlaceOrderRequest, listing: Listing, now: int, zone: str
) -> OrderRequest | Refusal:
    """Return what a client orders, or why the simulator does not take it; TWS's own checks are the exchange's.

    now: UTC ns. zone: of times without one.
    """
    order = asked.order
    for name in NOT_SIMULATED:
        if getattr(order, name):
            return invalid(f"{name} of an order is not simulated")
    if asked.attachedOrders.ListFields():  # clients send an empty one with each order
        return invalid("attachedOrders are not simulated")
    if order.action.upper() not in _SIDES:
        return invalid(f"Order action {order.action!r} is none of BUY, SELL")
    if not 0 <= order.ocaType <= 3:
        return invalid(f"Invalid OCA type {order.ocaType}")
    try:
        quantity = Decimal(order.totalQuantity or "0")
    except InvalidOperation:
        return invalid(f"Order size {order.totalQuantity!r} is no number")
    if not quantity.is_finite() or abs(quantity) > _MOST:
        return invalid(f"Order size {order.totalQuantity} is none that can be ordered")
    till = None
    if order.tif.upper() == "GTD":
        ends = parse_end(order.goodTillDate, now, zone)
        if isinstance(ends, Refusal):
            return invalid(f"Invalid goodTillDate {order.goodTillDate!r}: yyyymmdd hh:mm:ss zone is wanted")
        till = ends[0]
    elif order.goodTillDate:
        return invalid("goodTillDate is for orders of the time in force GTD")
    kind = order.orderType.upper()
    wanted = OrderRequest(
        (client, asked.orderId), listing, _SIDES[order.action.upper()], quantity, kind, tif=order.tif.upper() or "DAY",
        account=order.account, reference=order.orderRef, exchange=asked.contract.exchange or listing.exchanges[0],
        good_till=till, parent=order.parentId, oca=order.ocaGroup, oca_type=order.ocaType or REDUCE,
        transmit=order.transmit, limit=_given(order, "lmtPrice") if kind in LIMITS else None,
        stop=_given(order, "auxPrice") if kind in STOPS and kind not in TRAILS else None,
    )  # fmt: skip
    return _trailing(wanted, order) if kind in TRAILS else wanted


def _given(order: Order, name: str) -> float | None:
    return float(getattr(order, name)) if order.HasField(name) else None


def _trailing(wanted: OrderRequest, order: Order) -> OrderRequest:
    """Return an order that trails with its prices; clients send 0 for what they leave out."""
    stop = _given(order, "trailStopPrice") or None
    return replace(
        wanted, stop=stop, trail=_given(order, "auxPrice") or None,
        trail_percent=_given(order, "trailingPercent") or None,
        offset=_offset(wanted, stop, _given(order, "lmtPriceOffset"), _given(order, "lmtPrice") or None),
    )  # fmt: skip


def _offset(
    wanted: OrderRequest, stop: float | None, offset: float | None, limit: float | None
) -> float | None:
    """Return how far the limit of a TRAIL LIMIT lies behind its stop; None where both are given, or none."""
    both = limit is not None and offset is not None and offset != 0.0
    if wanted.kind != "TRAIL LIMIT" or both:
        return None
    if limit is None or stop is None:
        return offset
    return round(wanted.side * (limit - stop), 9)  # of two prices; as a float it has more digits than they


# ---------------------------------------------------------------- what TWS tells of orders
def open_order(view: OrderView, asked: Order) -> OpenOrder:
    """Return TWS's openOrder. asked: the order as its client wrote it; of one made by hand, an empty one."""
    request = view.request
    return OpenOrder(
        orderId=wire_key(view)[1], contract=contract(request.listing, request.exchange),
        order=_order(view, asked), orderState=OrderState(status=str(view.status)),
    )  # fmt: skip


def previewed(view: OrderView, asked: Order, preview: Preview) -> OpenOrder:
    """Return TWS's answer to an order that only asks "what if"."""
    found = open_order(view, asked)
    found.order.whatIf = True
    found.orderState.CopyFrom(
        OrderState(
            status=str(Status.PRE_SUBMITTED), marginCurrency=preview.base,
            initMarginBefore=preview.before.initial, maintMarginBefore=preview.before.maintenance,
            equityWithLoanBefore=preview.before.equity, initMarginAfter=preview.after.initial,
            maintMarginAfter=preview.after.maintenance, equityWithLoanAfter=preview.after.equity,
            initMarginChange=preview.after.initial - preview.before.initial,
            maintMarginChange=preview.after.maintenance - preview.before.maintenance,
            equityWithLoanChange=preview.after.equity - preview.before.equity,
            commissionAndFees=preview.commission, minCommissionAndFees=UNSET_DOUBLE,
            maxCommissionAndFees=UNSET_DOUBLE, commissionAndFeesCurrency=preview.currency, warningText="",
        )
    )  # fmt: skip
    return found


def completed_order(view: OrderView, asked: Order, zone: str) -> CompletedOrder:
    """Return TWS's completedOrder. zone: in which the time of its end is told."""
    order = _order(view, asked)
    order.filledQuantity = str(view.filled)
    done = "" if view.done_at is None else in_zone(view.done_at, zone)
    state = OrderState(status=str(view.status), completedTime=done, completedStatus=view.ended)
    request = view.request
    return CompletedOrder(contract=contract(request.listing, request.exchange), order=order, orderState=state)


def wire_key(view: OrderView) -> tuple[int, int]:
    """Return client and order id as TWS tells them: one made by hand has neither."""
    return (0, 0) if view.by_hand else view.request.key


def _order(view: OrderView, asked: Order) -> Order:
    order = Order()
    order.CopyFrom(asked)
    request = view.request
    order.clientId, order.orderId = wire_key(view)
    order.permId = view.perm_id
    order.action, order.totalQuantity, order.orderType = request.action, str(request.quantity), request.kind
    order.lmtPrice = 0.0 if request.limit is None else request.limit
    order.auxPrice = 0.0 if request.stop is None else request.stop
    if request.kind in TRAILS:
        order.auxPrice = 0.0 if request.trail is None else request.trail
        stop = request.stop if view.stop is None else view.stop
        if stop is not None:
            order.trailStopPrice = request.listing.rule.nearest(stop)
        limit = request.limit_at(stop)
        if request.offset is not None and limit is not None:
            order.lmtPrice, order.lmtPriceOffset = request.listing.rule.nearest(limit), request.offset
    order.tif, order.orderRef = request.tif, request.reference
    order.parentId = request.parent
    if request.oca:
        order.ocaGroup, order.ocaType = request.oca, request.oca_type
    return order


def order_status(view: OrderView) -> OrderStatus:
    """Return TWS's orderStatus."""
    client, number = wire_key(view)
    return OrderStatus(
        orderId=number, status=str(view.status), filled=str(view.filled), remaining=str(view.remaining),
        avgFillPrice=view.average, permId=view.perm_id, parentId=view.request.parent, lastFillPrice=view.last,
        clientId=client, whyHeld=view.held, mktCapPrice=view.capped,
    )  # fmt: skip


def bound(view: OrderView) -> OrderBound:
    """Return TWS's orderBound: an order made by hand has an order id of client 0 from now on."""
    client, number = view.request.key
    return OrderBound(permId=view.perm_id, clientId=client, orderId=number)


# ---------------------------------------------------------------- what TWS tells of fills
def execution(event: Executed, request: int, account: str, zone: str) -> ExecutionDetails:
    """Return TWS's execDetails. request: -1 where nobody asked. zone: in which its time is told."""
    view, asked = event.view, event.view.request
    # A bug of TWS that ib_async works around: an execution of an order made by hand has the mark of "unset" as its id.
    client, number = (0, UNSET_INT) if view.by_hand else asked.key
    done = Execution(
        orderId=number, execId=event.exec_id, time=in_zone(event.time, zone), acctNumber=account,
        exchange=event.exchange, side="BOT" if asked.side > 0 else "SLD", shares=str(event.quantity),
        price=event.price, permId=view.perm_id, clientId=client, isLiquidation=asked.liquidation,
        cumQty=str(event.cumulative), avgPrice=event.average, orderRef=asked.reference, evRule="", modelCode="",
        lastLiquidity=2 if asked.limit is None else 1, isPriceRevisionPending=False, submitter="",
    )  # fmt: skip
    return ExecutionDetails(reqId=request, contract=contract(asked.listing, asked.exchange), execution=done)


def commission(event: Charged) -> CommissionAndFeesReport:
    """Return TWS's commission report."""
    return CommissionAndFeesReport(
        execId=event.exec_id, commissionAndFees=event.commission, currency=event.currency,
        realizedPNL=UNSET_DOUBLE if event.realized is None else event.realized, bondYield=UNSET_DOUBLE,
        yieldRedemptionDate="0",
    )  # fmt: skip


def wanted(event: Executed, chosen: ExecutionFilter, since: int, account: str) -> bool:
    """Return whether a filter of reqExecutions lets a fill through. since: the filter's time, UTC ns."""
    request = event.view.request
    pairs = (
        (chosen.acctCode, account), (chosen.symbol, request.listing.symbol),
        (chosen.secType, request.listing.sec_type), (chosen.exchange, event.exchange),
    )  # fmt: skip
    if any(asked and asked.upper() != held.upper() for asked, held in pairs):
        return False
    if chosen.side and chosen.side.upper() not in (request.action, "BOT" if request.side > 0 else "SLD"):
        return False
    # 0 stands for every client, as clients of IB's library leave it.
    return chosen.clientId in (0, request.key[0]) and event.time >= since


def midnight(now: int, zone: str) -> int:
    """Return when the day of the machine began, UTC ns. zone: of the machine."""
    local = utc(now).astimezone(ZoneInfo(zone))
    return (
        int(datetime(local.year, local.month, local.day, tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000_000
    )


def executions_since(chosen: ExecutionFilter, now: int, zone: str) -> int | Refusal:
    """Return from which moment (UTC ns) reqExecutions tells fills: the filter's, else midnight of the machine."""
    start = midnight(now, zone)
    if not chosen.time:
        return start
    found = parse_end(chosen.time, now, zone)
    if isinstance(found, Refusal):
        return invalid("Executions filter: the time is none of yyyymmdd-hh:mm:ss, yyyymmdd hh:mm:ss zone")
    return start if found[0] is None else max(start, found[0])
