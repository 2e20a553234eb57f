"""Orders at a scripted TWS: its messages as IB's protobuf classes, on the wire of any server version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import scripted_tws
from ibapi.message import OUT
from scripted_tws import Peer, Script, VirtualLink, VirtualTws, proto

from quant.ib.codec import Decoder, Event
from quant.ib.contracts import ContractFacts, ContractSpec, TickRules
from quant.ib.lookup import Found
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.ib.wire import Batch
from quant.tws.codec import Codec, FrameReader

VERSIONS = (178, 203, 212, 226)  # text; mixed twice; protobuf
UNSET = 1.7976931348623157e308  # IB's "no figure"
ACCOUNT = "DU1234567"
SPY_ID = 756733
NOW = datetime(2026, 1, 2, 15, 0, tzinfo=UTC)
CONTRACT = dict(
    conId=SPY_ID, symbol="SPY", secType="STK", exchange="SMART", currency="USD", localSymbol="SPY",
    tradingClass="SPY", strike=0.0,
)  # fmt: skip

scripted_tws.REQUESTS.update(
    {
        OUT.PLACE_ORDER: "PlaceOrderRequest",
        OUT.CANCEL_ORDER: "CancelOrderRequest",
        OUT.REQ_OPEN_ORDERS: "OpenOrdersRequest",
        OUT.REQ_ALL_OPEN_ORDERS: "AllOpenOrdersRequest",
        OUT.REQ_EXECUTIONS: "ExecutionRequest",
        OUT.REQ_COMPLETED_ORDERS: "CompletedOrdersRequest",
        OUT.REQ_POSITIONS: "PositionsRequest",
        OUT.CANCEL_POSITIONS: "CancelPositions",
        OUT.REQ_IDS: "IdsRequest",
    }
)


def events(version: int, *messages: Any) -> list[Event]:
    """What our client makes of messages of TWS at a server version."""
    codec, decoder, reader = Codec(version), Decoder(version), FrameReader()
    found: list[Event] = []
    for m in messages:
        for payload in reader.feed(b"".join(codec.encode(m))):
            assert isinstance(payload, bytes)
            found += decoder.decode(payload)
    return found


def spy(**facts: Any) -> Found:
    """SPY as it was looked up: prices in cents from 1 dollar on, below in hundredths of a cent."""
    spec = ContractSpec("SPY", currency="USD", con_id=SPY_ID, primary_exchange="ARCA", trading_class="SPY")
    plain: dict[str, Any] = dict(
        spec=spec, long_name="SPDR S&P 500", min_tick=0.0001, price_magnifier=1, time_zone="US/Eastern",
        trading_hours="", liquid_hours="", exchanges=("SMART",), market_rules=(26,), size_increment=0.0001,
    )  # fmt: skip
    return Found(ContractFacts(**(plain | facts)), TickRules((0.0, 1.0), (0.0001, 0.01)), NOW)


# ---------------------------------------------------------------- messages
def open_order(order_id: int = 7, state: dict[str, Any] | None = None, **order: Any) -> Any:
    plain = dict(
        clientId=1, orderId=order_id, permId=9001, action="BUY", totalQuantity="100", orderType="LMT",
        lmtPrice=450.25, auxPrice=0.0, tif="DAY", account=ACCOUNT, orderRef="q1:demo:7", parentId=0, transmit=True,
    )  # fmt: skip
    return proto("OpenOrder")(
        orderId=order_id,
        contract=CONTRACT,
        order=plain | order,
        orderState=dict(status="Submitted", warningText="") | (state or {}),
    )


def order_status(order_id: int = 7, **more: Any) -> Any:
    plain = dict(
        orderId=order_id, status="Submitted", filled="0", remaining="100", avgFillPrice=0.0, permId=9001,
        parentId=0, lastFillPrice=0.0, clientId=1, whyHeld="", mktCapPrice=0.0,
    )  # fmt: skip
    return proto("OrderStatus")(**(plain | more))


def exec_details(request: int = -1, **more: Any) -> Any:
    plain = dict(
        orderId=7, execId="0000e0d5.659b1c7e.01.01", time="20260102 10:15:30 US/Eastern", acctNumber=ACCOUNT,
        exchange="ARCA", side="BOT", shares="40", price=450.2, permId=9001, clientId=1, isLiquidation=False,
        cumQty="40", avgPrice=450.2, orderRef="q1:demo:7", evRule="", modelCode="", lastLiquidity=2,
    )  # fmt: skip
    return proto("ExecutionDetails")(reqId=request, contract=CONTRACT, execution=plain | more)


def commission(**more: Any) -> Any:
    plain = dict(
        execId="0000e0d5.659b1c7e.01.01", commissionAndFees=1.0, currency="USD", realizedPNL=UNSET,
        bondYield=UNSET, yieldRedemptionDate="0",
    )  # fmt: skip
    return proto("CommissionAndFeesReport")(**(plain | more))


def completed_order(state: dict[str, Any] | None = None, **order: Any) -> Any:
    plain = dict(
        permId=9002, action="SELL", totalQuantity="50", orderType="MKT", lmtPrice=0.0, auxPrice=0.0, tif="DAY",
        account=ACCOUNT, orderRef="q1:demo:6", filledQuantity="50",
    )  # fmt: skip
    told = dict(
        status="Filled", completedTime="20260102 10:00:00 US/Eastern", completedStatus="Filled Size: 50"
    )
    return proto("CompletedOrder")(contract=CONTRACT, order=plain | order, orderState=told | (state or {}))


def position(quantity: str = "-50", cost: float = 449.5) -> Any:
    return proto("Position")(account=ACCOUNT, contract=CONTRACT, position=quantity, avgCost=cost)


def error(order_id: int, code: int, told: str, at_ms: int = 0) -> Any:
    return proto("ErrorMessage")(
        id=order_id, errorTime=at_ms, errorCode=code, errorMsg=told, advancedOrderRejectJson=""
    )


# ---------------------------------------------------------------- ends of connections
def serve(version: int, on: Callable[[Any], Iterable[Any]]) -> Script:
    """Log the client in, then answer each request by what `on` makes of it."""

    def script(peer: Peer) -> None:
        peer.open(version)
        codec = Codec(version)
        while True:
            for answer in on(codec.decode(peer.frame())):
                peer.send(b"".join(codec.encode(answer)))

    return script


def tell(link: VirtualLink, *messages: Any, after: float = 0.0) -> None:
    """Say messages of TWS on a connection in virtual time."""

    def arrive() -> None:
        if not link.closed and not link.mute:
            link.last_rx = link.timer.now()
            link.inbox.put(Batch(link.last_rx, events(link.server_version, *messages)))

    link.timer.after(after, arrive)


class Books(VirtualTws):
    """A TWS in virtual time that answers a snapshot's questions from lists that the test fills.

    silent: requests that get no end, by name and how often.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own: list[Any] = []
        self.others: list[Any] = []
        self.fills: list[Any] = []
        self.done: list[Any] = []
        self.held: list[Any] = []
        self.next_id = 1
        self.silent: dict[str, int] = {}
        self.late: dict[str, float] = {}  # request -> seconds until its end, once
        self.answers |= {
            "OpenOrdersRequest": lambda link, r: self._say(link, r, self.own, proto("OpenOrdersEnd")()),
            "AllOpenOrdersRequest": lambda link, r: self._say(
                link, r, self.own + self.others, proto("OpenOrdersEnd")()
            ),
            "ExecutionRequest": lambda link, r: self._say(
                link, r, [f(r.reqId) for f in self.fills], proto("ExecutionDetailsEnd")(reqId=r.reqId)
            ),
            "CompletedOrdersRequest": lambda link, r: self._say(
                link, r, self.done, proto("CompletedOrdersEnd")()
            ),
            "PositionsRequest": lambda link, r: self._say(link, r, self.held, proto("PositionEnd")()),
            "IdsRequest": lambda link, r: self._say(link, r, [], proto("NextValidId")(orderId=self.next_id)),
        }

    def _say(self, link: VirtualLink, request: Any, rows: list[Any], end: Any) -> None:
        name = type(request).__name__
        delay = self.late.pop(name, 0.1)
        if self.silent.get(name, 0):
            self.silent[name] -= 1
            tell(link, *rows, after=delay)
        else:
            tell(link, *rows, end, after=delay)


def session_of(books: VirtualTws) -> Session:
    session = Session(client_id=1, open_link=books.open, timer=books.timer)
    session.connect()
    return session


def orders_of(session: Session) -> Orders:
    return Orders(session, [spy()], now=lambda: NOW)
