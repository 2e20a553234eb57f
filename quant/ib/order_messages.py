"""openOrder and completedOrder decoded without ibapi's objects: of nearly 200 fields only those that we read.

No other messages of orders come so often or take so long; tests/ib/test_order_messages.py compares with ibapi.
Knows no order of ours.
"""

# ruff: noqa: N815  # ibapi's names

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ibapi.const import UNSET_DECIMAL, UNSET_DOUBLE
from ibapi.protobuf.CompletedOrder_pb2 import CompletedOrder
from ibapi.protobuf.OpenOrder_pb2 import OpenOrder


@dataclass
class Contract:
    """Of ibapi's Contract what a report of an order needs."""

    conId: int
    symbol: str


@dataclass
class Order:
    """Of ibapi's Order what a report of an order needs."""

    account: str
    action: str
    totalQuantity: Decimal
    orderType: str
    lmtPrice: float
    auxPrice: float
    tif: str
    ocaGroup: str
    orderRef: str
    clientId: int
    permId: int
    parentId: int
    trailStopPrice: float
    trailingPercent: float
    lmtPriceOffset: float
    filledQuantity: Decimal
    whatIf: bool


@dataclass
class OrderState:
    """Of ibapi's OrderState what a report of an order needs."""

    status: str
    warningText: str
    completedStatus: str


def open_order(body: bytes) -> tuple[int, Contract, Order, OrderState] | None:
    """Return the arguments of an openOrder; None for the answer to a what-if, of which more is read.

    Raises ValueError, ArithmeticError or DecodeError for what cannot be read.
    """
    message = OpenOrder()
    message.ParseFromString(body)
    shown = _shown(message)
    return None if message.order.whatIf else (message.orderId, *shown)


def completed_order(body: bytes) -> tuple[Contract, Order, OrderState]:
    """Return the arguments of a completedOrder. Raises as `open_order`."""
    message = CompletedOrder()
    message.ParseFromString(body)
    return _shown(message)


def _shown(message: Any) -> tuple[Contract, Order, OrderState]:
    if not (message.HasField("contract") and message.HasField("order") and message.HasField("orderState")):
        raise ValueError("fields are missing")
    m, state = message.order, message.orderState
    has = m.HasField
    # A word or number that is not there reads as "" or 0, which ibapi gives as well; prices and quantities have marks.
    order = Order(
        m.account, m.action, Decimal(m.totalQuantity) if has("totalQuantity") else UNSET_DECIMAL, m.orderType,
        m.lmtPrice if has("lmtPrice") else UNSET_DOUBLE, m.auxPrice if has("auxPrice") else UNSET_DOUBLE,
        m.tif, m.ocaGroup, m.orderRef, m.clientId, m.permId, m.parentId,
        m.trailStopPrice if has("trailStopPrice") else UNSET_DOUBLE,
        m.trailingPercent if has("trailingPercent") else UNSET_DOUBLE,
        m.lmtPriceOffset if has("lmtPriceOffset") else UNSET_DOUBLE,
        Decimal(m.filledQuantity) if has("filledQuantity") else UNSET_DECIMAL, m.whatIf,
    )  # fmt: skip
    contract = Contract(message.contract.conId, message.contract.symbol)
    return contract, order, OrderState(state.status, state.warningText, state.completedStatus)
