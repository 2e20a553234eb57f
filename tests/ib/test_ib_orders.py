"""Tickets on the wire, and reports in the order of their arrival.

The other end is a scripted TWS (over loopback at four server versions, or in virtual time), and the simulated TWS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import order_tws as ib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibapi.client import EClient
from ibapi.order import Order as IbOrder
from ibapi.wrapper import EWrapper
from order_tws import Books, orders_of, session_of, tell
from scripted_tws import tws

from quant.core.barsize import SECOND
from quant.core.orders import Echo, Execution, Kind, Status, Ticket, TimeInForce, Told
from quant.errors import LinkLost, NotConnected, ParameterError
from quant.ib.contracts import ContractSpec
from quant.ib.lookup import Found, find_contract
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.ib.states import State
from quant.ib.tickets import on_step, quantised, to_ib
from quant.tws.codec import Codec, FrameReader
from quant.tws.exchange.clock import Clock
from quant.tws.program import simulated
from quant.tws.server import Server, running

D = Decimal
BUY = Ticket("q1:demo:7", ib.ACCOUNT, ib.SPY_ID, "SPY", D(100), Kind.LIMIT, limit=450.25)


# ---------------------------------------------------------------- tickets
@pytest.mark.parametrize(
    ("price", "step", "expected"),
    [
        (450.2549999, 0.01, 450.25),
        (0.1 + 0.2, 0.01, 0.3),
        (450.255, 0.01, 450.26),  # half way: the even cent
        (450.265, 0.01, 450.26),
        (1.00005, 0.0001, 1.0),
        (117.421875, 0.015625, 117.421875),  # 117-27 in 64ths, a note future
        (-0.37, 0.25, -0.25),  # a spread
        (0.0, 0.01, 0.0),
        (7_423.13, 0.25, 7_423.25),
    ],
)
def test_prices_go_to_the_nearest_step(price: float, step: float, expected: float) -> None:
    assert repr(on_step(price, step)) == repr(expected)


@given(
    price=st.floats(-1e6, 1e6), step=st.sampled_from([0.0001, 0.01, 0.05, 0.25, 0.015625, 0.00005, 1.0, 12.5])
)
def test_a_price_on_its_step_stays_there(price: float, step: float) -> None:
    once = on_step(price, step)
    assert on_step(once, step) == once
    assert abs(D(repr(once)) - D(repr(price))) <= D(repr(step)) / 2
    assert D(repr(once)) % D(repr(step)) == 0


def test_a_ticket_as_it_will_stand_at_ib() -> None:
    trail = replace(BUY, kind=Kind.TRAIL, limit=None, stop=447.50001, trail=2.4999999, quantity=D(-100))
    assert quantised(trail, ib.spy()) == replace(trail, stop=447.5, trail=2.5)
    limited = replace(BUY, **{**LIMITED, "stop": 441.503, "percent": 1.2345, "offset": 0.2549})
    assert quantised(limited, ib.spy()) == replace(limited, stop=441.51, offset=0.25)
    cheap = replace(BUY, limit=0.51237)
    assert quantised(cheap, ib.spy()).limit == 0.5123  # below a dollar the step is finer
    assert quantised(BUY, ib.spy()) == BUY


@pytest.mark.parametrize(
    ("quantity", "kind", "price", "expected"),
    [
        (100, Kind.LIMIT, 450.258, 450.25),  # a buyer never pays more than asked
        (-100, Kind.LIMIT, 450.252, 450.26),  # a seller never gets less
        (100, Kind.STOP, 450.251, 450.26),  # a stop is touched no earlier
        (-100, Kind.STOP, 450.259, 450.25),
        (100, Kind.LIMIT, 100.10000000000001, 100.1),  # what is on a step but for the last bits stays there
        (-100, Kind.STOP, 100.09999999999999, 100.1),
    ],
)
def test_prices_go_to_the_step_that_waits(quantity: int, kind: Kind, price: float, expected: float) -> None:
    """DESIGN and live-faults 1.3: towards passive, as the risk gate rounds."""
    asked = replace(BUY, quantity=D(quantity), kind=kind, limit=None)
    name = "limit" if kind is Kind.LIMIT else "stop"
    assert getattr(quantised(replace(asked, **{name: price}), ib.spy()), name) == expected


LIMITED: dict[str, Any] = {
    "kind": Kind.TRAIL_LIMIT,
    "limit": None,
    "stop": 441.5,
    "percent": 1.5,
    "offset": 0.25,
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no reference": ({"ref": ""}, "ref"),
    "a long reference": ({"ref": "x" * 41}, "ref"),
    "a reference with an umlaut": ({"ref": "q1:dämo"}, "ref"),
    "no account": ({"account": ""}, "account"),
    "nothing": ({"quantity": D(0)}, "quantity"),
    "no number": ({"quantity": D("NaN")}, "quantity"),
    "a float": ({"quantity": 100.0}, "quantity"),
    "half a step": ({"quantity": D("0.00005")}, "quantity"),
    "limit without price": ({"limit": None}, "limit"),
    "market with a price": ({"kind": Kind.MARKET}, "limit"),
    "stop without price": ({"kind": Kind.STOP, "limit": None}, "stop"),
    "trail without distance": ({"kind": Kind.TRAIL, "limit": None}, "trail"),
    "trail of 0": ({"kind": Kind.TRAIL, "limit": None, "trail": 0.0}, "trail"),
    "two distances": ({"kind": Kind.TRAIL, "limit": None, "trail": 1.0, "percent": 1.0}, "trail"),
    "all of the price": ({"kind": Kind.TRAIL, "limit": None, "percent": 100.0}, "percent"),
    "a percentage without a trail": ({"percent": 1.0}, "percent"),
    "an offset of a trailing stop": (
        {"kind": Kind.TRAIL, "limit": None, "trail": 1.0, "offset": 1.0},
        "offset",
    ),
    "trailing limit without a stop": ({**LIMITED, "stop": None}, "stop"),
    "trailing limit with a limit": ({**LIMITED, "limit": 440.0}, "limit"),
    "trailing limit without an offset": ({**LIMITED, "offset": None}, "offset"),
    "a limit before its stop": ({**LIMITED, "offset": -0.01}, "offset"),
    "a price that is none": ({"limit": float("nan")}, "limit"),
    "a price that would become 0": ({"limit": 0.00001}, "limit"),
    "GTD without end": ({"tif": TimeInForce.GTD}, "good_till"),
    "an end without GTD": ({"good_till": 1_767_366_930 * SECOND}, "good_till"),
    "another contract": ({"con_id": 1}, "con_id"),
    "another symbol": ({"symbol": "QQQ"}, "con_id"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_ticket_that_cannot_be_sent(case: str) -> None:
    change, name = REFUSED[case]
    with pytest.raises(ParameterError) as caught:
        to_ib(replace(BUY, **change), ib.spy())
    assert caught.value.name == name


# ---------------------------------------------------------------- the wire out
@contextmanager
def wired(
    version: int, on: Callable[[Any], Iterable[Any]] = lambda _: ()
) -> Iterator[tuple[Orders, list[Any]]]:
    """Orders of a session with a TWS of that version, and the requests that it gets."""
    asked: list[Any] = []

    def answer(request: Any) -> Iterable[Any]:
        asked.append(request)
        return on(request)

    with tws(ib.serve(version, answer)) as port, Session(port=port) as session:
        session.connect()
        orders = orders_of(session)
        orders.test_session = session  # type: ignore[attr-defined]
        yield orders, asked


def until(orders: Orders, reached: Callable[[], bool]) -> None:
    session: Session = orders.test_session  # type: ignore[attr-defined]
    for _ in range(200):
        if reached():
            return
        session.poll(0.1)
    raise AssertionError("it did not come")


def collect(orders: Orders, count: int) -> list[Any]:
    found: list[Any] = []

    def enough() -> bool:
        found.extend(orders.reports())
        return len(found) >= count

    until(orders, enough)
    return found


def acknowledge(request: Any) -> Iterable[Any]:
    yield ib.order_status(request.orderId, clientId=1)


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_a_ticket_on_the_wire(version: int) -> None:
    until_ns = int(datetime(2026, 7, 2, 20, 0, tzinfo=UTC).timestamp()) * SECOND
    ticket = replace(
        BUY, kind=Kind.STOP_LIMIT, quantity=D("-1.5"), limit=449.99999, stop=450.0000001, tif=TimeInForce.GTD,
        good_till=until_ns, oca="q1:oca:3", transmit=False, outside_rth=True, exchange="ARCA",
    )  # fmt: skip
    with wired(version, acknowledge) as (orders, asked):
        orders.place(8, ticket, parent_id=None)
        assert collect(orders, 1)[0].order_id == 8
    (request,) = asked
    contract, order = request.contract, request.order
    assert (request.orderId, contract.conId, contract.symbol, contract.secType) == (
        8,
        ib.SPY_ID,
        "SPY",
        "STK",
    )
    assert (contract.exchange, contract.currency) == ("ARCA", "USD")
    assert (order.action, D(order.totalQuantity), order.orderType) == ("SELL", D("1.5"), "STP LMT")
    assert (order.lmtPrice, order.auxPrice) == (450.0, 450.0)
    assert (order.tif, order.goodTillDate) == ("GTD", "20260702-20:00:00")
    assert (order.orderRef, order.account) == ("q1:demo:7", ib.ACCOUNT)
    assert (order.ocaGroup, order.ocaType) == ("q1:oca:3", 1)
    assert (order.transmit, order.outsideRth, order.parentId, order.whatIf) == (False, True, 0, False)


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_a_bracket_on_the_wire(version: int) -> None:
    stop = replace(
        BUY,
        ref="q1:demo:8",
        quantity=D(-100),
        kind=Kind.TRAIL,
        limit=None,
        stop=447.5,
        trail=2.5,
        parent=BUY.ref,
    )
    with wired(version, acknowledge) as (orders, asked):
        with pytest.raises(ParameterError, match="parent"):
            orders.place(8, stop)
        orders.place(7, replace(BUY, transmit=False))
        orders.place(8, stop)
        collect(orders, 2)
    parent, child = (r.order for r in asked)
    assert (parent.transmit, child.transmit, child.parentId) == (False, True, 7)
    assert (child.orderType, child.auxPrice, child.trailStopPrice) == ("TRAIL", 2.5, 447.5)
    assert not child.HasField("lmtPrice")
    assert parent.lmtPrice == 450.25


class Line:
    """A connection that keeps what is written."""

    sent = b""

    def isConnected(self) -> bool:  # noqa: N802  # ibapi's name
        return True

    def sendMsg(self, message: bytes) -> int:  # noqa: N802  # ibapi's name
        self.sent += message
        return len(message)


def written_by_ibapi(version: int, contract: Any, order: IbOrder) -> bytes:
    """What unmodified ibapi writes to a TWS of a version."""
    client, line = EClient(EWrapper()), Line()
    client.conn, client.serverVersion_, client.connState = line, version, EClient.CONNECTED
    client.placeOrder(7, contract, order)
    return line.sent


# Ours; and the order as IB's own samples fill it in (OrderSamples.TrailingStop, TrailingStopLimit).
TRAILING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "percent": (
        {"kind": Kind.TRAIL, "percent": 1.5, "stop": 441.5},
        {"orderType": "TRAIL", "trailingPercent": 1.5, "trailStopPrice": 441.5},
    ),
    "percent of the market": ({"kind": Kind.TRAIL, "percent": 1.5}, {"orderType": "TRAIL", "trailingPercent": 1.5}),
    "limit": (
        {"kind": Kind.TRAIL_LIMIT, "trail": 2.5, "stop": 441.5, "offset": 0.25},
        {"orderType": "TRAIL LIMIT", "trailStopPrice": 441.5, "lmtPriceOffset": 0.25, "auxPrice": 2.5},
    ),
    "limit, percent": (
        {"kind": Kind.TRAIL_LIMIT, "percent": 1.5, "stop": 441.5, "offset": 0.0},
        {"orderType": "TRAIL LIMIT", "trailStopPrice": 441.5, "lmtPriceOffset": 0.0, "trailingPercent": 1.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("version", ib.VERSIONS)
@pytest.mark.parametrize("case", TRAILING)
def test_a_trailing_order_is_written_as_ibapi_writes_it(case: str, version: int) -> None:
    ours, theirs = TRAILING[case]
    ticket = replace(BUY, quantity=D(-100), limit=None, tif=TimeInForce.GTC, **ours)
    asked = IbOrder()
    asked.action, asked.totalQuantity, asked.tif, asked.transmit = "SELL", D(100), "GTC", True
    asked.account, asked.orderRef = ib.ACCOUNT, BUY.ref
    for name, value in theirs.items():
        assert hasattr(asked, name)
        setattr(asked, name, value)
    contract, order = to_ib(ticket, ib.spy())
    written = written_by_ibapi(version, contract, asked)
    assert written_by_ibapi(version, contract, order) == written
    message = Codec(version).decode(next(iter(FrameReader().feed(written))))
    with wired(version, acknowledge) as (orders, came):
        orders.place(7, ticket)
        collect(orders, 1)
    assert came == [message]
    told = message.order
    assert told.orderType == theirs["orderType"]
    for name in ("auxPrice", "trailingPercent", "trailStopPrice", "lmtPriceOffset", "lmtPrice"):
        assert (getattr(told, name) if told.HasField(name) else None) == theirs.get(name), name


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_a_cancel_on_the_wire(version: int) -> None:
    with wired(version, acknowledge) as (orders, asked):
        orders.cancel(7)
        collect(orders, 1)
    assert (type(asked[0]).__name__, asked[0].orderId) == ("CancelOrderRequest", 7)


def test_a_parent_is_known_from_its_echo_after_a_restart() -> None:
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        tell(books.links[0], ib.open_order(7))
        session.poll(1.0)
        orders.place(9, replace(BUY, ref="q1:demo:9", parent=BUY.ref))
        assert books.links[0].asked("PlaceOrderRequest")[0].order.parentId == 7


def test_nothing_is_sent_that_cannot_be() -> None:
    books = Books()
    with session_of(books) as session:
        orders = Orders(session, [], now=lambda: ib.NOW)
        with pytest.raises(ParameterError, match="SPY is no contract of this run"):
            orders.place(7, BUY)
        orders.know(ib.spy())
        for wrong in (0, -1, 1_000_000_000):
            with pytest.raises(ParameterError, match="order_id"):
                orders.place(wrong, BUY)
        with pytest.raises(ParameterError, match="logged in to DU1234567"):
            orders.place(7, replace(BUY, account="U7"))
        with pytest.raises(ParameterError, match="no contract id"):
            orders.know(ib.spy(spec=ContractSpec("SPY")))
        link = books.links[0]
        link.fail(-1, 1100, "Connectivity between IB and TWS has been lost.")
        session.poll(1.0)
        with pytest.raises(NotConnected):
            orders.place(7, BUY)
        assert not link.asked("PlaceOrderRequest")
        orders.cancel(7)  # which may arrive, and does no harm
        assert len(link.asked("CancelOrderRequest")) == 1
        link.broken = True
        with pytest.raises(LinkLost):
            orders.cancel(7)
        with pytest.raises(NotConnected):
            orders.cancel(7)


def test_an_order_whose_link_breaks_may_have_been_sent() -> None:
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        books.links[0].broken = True
        with pytest.raises(LinkLost):
            orders.place(7, BUY)
        assert session.state is State.WAITING


# ---------------------------------------------------------------- reports
def test_reports_come_in_the_order_of_arrival() -> None:
    """A fill may overtake its order (live-faults 1.2), and an error is told as it is."""
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        tell(
            books.links[0], ib.exec_details(), ib.order_status(status="Filled", filled="40", remaining="0"),
            ib.commission(), ib.error(7, 399, "held"), ib.open_order(), ib.order_status(), ib.exec_details(),
        )  # fmt: skip
        session.poll(1.0)
        kinds = [type(r).__name__ for r in orders.reports()]
        assert kinds == ["Execution", "Status", "Commission", "Told", "Echo", "Status", "Execution"]
        assert orders.reports() == []
        assert not session.callback_errors


def test_what_cannot_be_read_is_told_as_damaged() -> None:
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        tell(books.links[0], ib.exec_details(time="20260102 10:15:30"), ib.order_status())
        books.links[0].say("damaged", 5, "ValueError: too few fields")
        session.poll(1.0)
        session.poll(1.0)
        first, second = orders.damaged()
        assert (first.name, second.name) == ("execDetails", "message 5")
        assert "0000e0d5.659b1c7e.01.01" in first.reason
        assert [type(r) for r in orders.reports()] == [Status]
        assert orders.damaged() == []
        assert not session.callback_errors


# ---------------------------------------------------------------- the simulated TWS
NOON = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND  # in New York; a Wednesday


@contextmanager
def simulation(version: int) -> Iterator[tuple[Session, Server, Found]]:
    server = Server(simulated(rate_limited=False), Clock(lambda: 0, speed=0.0, start=NOON), version)
    with running(server) as port, Session(port=port) as session:
        session.connect()
        assert session.server_version == version
        yield session, server, find_contract(session, ContractSpec("SPY", currency="USD"), ib.NOW)


def plain(report: Any) -> Any:
    """A report without what differs from session to session."""
    told = {"perm_id": 0} if hasattr(report, "perm_id") else {}
    return replace(report, **told)


def trade(version: int) -> tuple[list[Any], Any]:
    """Buy at the market, leave a limit order, cancel it, and read the books."""
    with simulation(version) as (session, _, found):
        orders = Orders(session, [found])
        orders.test_session = session  # type: ignore[attr-defined]
        spec = found.facts.spec
        assert spec.con_id is not None
        assert session.next_order_id is not None
        first, account = session.next_order_id, session.accounts[0]
        buy = Ticket("q1:sim:1", account, spec.con_id, "SPY", D(10))
        rest = replace(buy, ref="q1:sim:2", quantity=D(-5), kind=Kind.LIMIT, limit=9_999.994)
        orders.place(first, buy)
        seen: list[Any] = []

        def came(*kinds: type, word: str = "") -> Callable[[], bool]:
            def reached() -> bool:
                seen.extend(orders.reports())
                return all(any(isinstance(r, k) and word in repr(r) for r in seen) for k in kinds)

            return reached

        until(orders, came(Execution))
        until(orders, came(Status, word="'Filled'"))
        orders.place(first + 1, rest)
        until(orders, came(Echo, word="q1:sim:2"))
        orders.begin_snapshot()
        until(orders, lambda: not orders.snapshot_under_way)
        early = orders.snapshot()
        assert early is not None
        assert [(e.ref, e.quantity, e.limit) for e in early.echoes] == [("q1:sim:2", D(-5), 10_000.0)]
        orders.cancel(first + 1)
        until(orders, came(Status, word="Cancelled"))
        until(orders, came(Told))
        orders.begin_snapshot()
        until(orders, lambda: not orders.snapshot_under_way)
        late = orders.snapshot()
        seen.extend(orders.reports())
        assert late is not None
        assert orders.damaged() == []
        assert not session.callback_errors
        assert session.damaged == 0
        assert late.epoch == early.epoch == 1
        assert late.next_order_id == first + 2
        assert {(c.ref, c.status) for c in late.completed} == {
            ("q1:sim:1", "Filled"),
            ("q1:sim:2", "Cancelled"),
        }
        assert late.echoes == ()
        return seen, late


def test_the_same_values_from_the_simulated_tws_at_every_version() -> None:
    told = {}
    for version in ib.VERSIONS:
        seen, late = trade(version)
        (position,), (fill,) = late.positions, late.executions
        assert (position.quantity, position.symbol) == (D(10), "SPY")
        assert (fill.quantity, fill.ref, fill.cumulative, fill.time) == (D(10), "q1:sim:1", D(10), NOON)
        assert [c.exec_id for c in late.commissions] == [fill.exec_id]
        assert late.commissions[0].realized is None
        assert [r.code for r in seen if isinstance(r, Told)] == [202]
        told[version] = (
            {repr(plain(r)) for r in seen if not isinstance(r, Told)},
            plain(fill), late.commissions, position, tuple(plain(c) for c in late.completed),
        )  # fmt: skip
    assert all(told[v] == told[226] for v in ib.VERSIONS)


@pytest.mark.parametrize("version", ib.VERSIONS)
def test_a_bracket_at_the_simulated_tws(version: int) -> None:
    with simulation(version) as (session, _, found):
        orders = Orders(session, [found])
        assert found.facts.spec.con_id is not None
        assert session.next_order_id is not None
        first = session.next_order_id
        entry = Ticket(
            "q1:b:1",
            session.accounts[0],
            found.facts.spec.con_id,
            "SPY",
            D(10),
            Kind.LIMIT,
            limit=100.0,
            transmit=False,
        )
        effect = orders.what_if(first, entry)
        while not effect.done:
            session.poll(1.0)
        change = effect.result().initial_margin_change
        assert change is not None
        assert change > 0
        assert orders.reports() == []
        leg = replace(entry, quantity=D(-10), limit=None, parent=entry.ref)
        orders.place(first + 1, entry)
        orders.place(first + 2, replace(leg, ref="q1:b:2", kind=Kind.STOP, stop=90.004))
        orders.place(first + 3, replace(leg, ref="q1:b:3", kind=Kind.TRAIL, trail=2.5, transmit=True))
        orders.begin_snapshot()
        while orders.snapshot_under_way:
            session.poll(1.0)
        books = orders.snapshot()
        assert books is not None
        told = [(e.ref, e.kind, e.quantity, e.limit, e.stop, e.parent_id) for e in books.echoes]
        assert told[:2] == [
            ("q1:b:1", "LMT", D(10), 100.0, None, 0),
            ("q1:b:2", "STP", D(-10), None, 90.0, first + 1),
        ]
        assert [(t[0], t[1], t[2], t[5]) for t in told[2:]] == [("q1:b:3", "TRAIL", D(-10), first + 1)]
        assert books.next_order_id == first + 4
        assert orders.damaged() == []
        assert not session.callback_errors
