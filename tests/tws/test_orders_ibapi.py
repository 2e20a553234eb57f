"""Orders beyond the plain ones, as unmodified ibapi 10.50 sees them over loopback, in text and in protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from served import NOON, App, connected, order, served, stock

from quant.core.barsize import MINUTE, SECOND
from quant.tws.exchange.margin import Rules
from quant.tws.order_faults import OrderDo, OrderFault
from quant.tws.program import simulated
from quant.tws.server import Server

HOUR = 60 * MINUTE


@pytest.fixture(params=[178, 200, 226])
def session(request: pytest.FixtureRequest) -> Iterator[tuple[Server, App]]:
    with served(request.param) as (server, port), connected(port) as app:
        yield server, app
        assert server.refused == []


def kind(quantity: int, order_type: str, **more: Any) -> Order:
    o = order(quantity)
    o.orderType = order_type
    for name, value in more.items():
        setattr(o, name, value)
    return o


def last(server: Server, at: int = NOON) -> float:
    found = server.tws.price(server.tws.catalogue.get(756733), at)
    assert found is not None
    return found


def status(app: App, number: int, wanted: str, since: int = 0) -> tuple[Any, ...]:
    return app.wait("orderStatus", lambda n, s, *_: (n, s) == (number, wanted), since)


def open_orders(app: App) -> dict[int, tuple[Any, Any]]:
    """Ask for all open orders: perm id -> (order, state)."""
    since = len(app.calls)
    app.reqAllOpenOrders()
    app.wait("openOrderEnd", since=since)
    return {a[2].permId: (a[2], a[3]) for n, a in app.calls[since:] if n == "openOrder"}


def code(app: App, number: int, wanted: int, since: int = 0) -> str:
    return str(app.wait("error", lambda n, _t, c, *_: (n, c) == (number, wanted), since)[3])


def test_a_stop_waits_for_its_trigger_and_fills_at_the_quote(session: tuple[Server, App]) -> None:
    server, app = session
    stop = round(last(server) - 0.05, 2)
    app.placeOrder(1, stock(), kind(-10, "STP", auxPrice=stop, tif="GTC"))
    held = status(app, 1, "PreSubmitted")
    assert held[9] == "trigger"  # whyHeld
    ((asked, state),) = open_orders(app).values()
    assert (asked.orderType, asked.auxPrice, asked.tif, state.status) == ("STP", stop, "GTC", "PreSubmitted")
    server.step(NOON + 30 * HOUR)
    status(app, 1, "Submitted")
    filled = status(app, 1, "Filled")
    done = app.wait("execDetails")[2]
    assert (done.side, done.price) == ("SLD", filled[4])
    assert done.price <= stop
    # Nothing before it was at the stop: the path of the listing says so.
    at = server.tws.exchange.executions[0][0].time
    ticks = server.tws.tape.ticks(server.tws.catalogue.get(756733), NOON + 1, at)
    assert min(ticks.price) > stop


def test_a_stop_limit_becomes_a_limit(session: tuple[Server, App]) -> None:
    server, app = session
    stop = round(last(server) - 0.05, 2)
    app.placeOrder(1, stock(), kind(-10, "STP LMT", auxPrice=stop, lmtPrice=round(stop + 0.02, 2), tif="GTC"))
    status(app, 1, "PreSubmitted")
    server.step(NOON + 50 * HOUR)
    status(app, 1, "Submitted")
    server.step(NOON + 200 * HOUR)
    done = app.wait("execDetails")[2]
    assert done.price >= round(stop + 0.02, 2)


def test_a_trailing_stop_follows_the_price(session: tuple[Server, App]) -> None:
    server, app = session
    app.placeOrder(1, stock(), kind(-10, "TRAIL", auxPrice=0.5, tif="GTC"))
    status(app, 1, "PreSubmitted")
    # Followed by hand on the path: the highest price so far less 0.5.
    listing = server.tws.catalogue.get(756733)
    ticks = server.tws.tape.ticks(listing, NOON, NOON + 90 * HOUR)
    stop, hit = last(server) - 0.5, 0
    for time, price in zip(ticks.time.tolist(), ticks.price.tolist(), strict=True):
        if price <= stop:
            hit = time
            break
        stop = max(stop, price - 0.5)
    server.step(hit - SECOND)
    ((asked, _),) = open_orders(app).values()
    assert (asked.orderType, asked.auxPrice) == ("TRAIL", 0.5)
    assert asked.trailStopPrice == pytest.approx(stop, abs=0.006)
    server.step(hit)
    status(app, 1, "Filled")
    assert server.tws.exchange.executions[0][0].time == hit
    app.placeOrder(2, stock(), kind(-10, "TRAIL", trailingPercent=1.0, trailStopPrice=1.0, tif="GTC"))
    server.step(hit + SECOND)
    status(app, 2, "PreSubmitted")
    assert next(o for o, _ in open_orders(app).values()).trailStopPrice > 0.98 * last(server, hit + SECOND)
    app.placeOrder(3, stock(), kind(-10, "TRAIL"))
    code(app, 3, 321)


@pytest.mark.parametrize("distance", [dict(auxPrice=0.5), dict(trailingPercent=0.125)])
@pytest.mark.parametrize("limit", ["lmtPriceOffset", "lmtPrice"])
def test_a_trailing_stop_limit_follows_and_becomes_a_limit(
    session: tuple[Server, App], distance: dict[str, float], limit: str
) -> None:
    server, app = session

    def away(price: float) -> float:
        return distance.get("auxPrice", price * 0.00125)

    start = round(last(server) - 0.6, 2)
    given = {"lmtPriceOffset": 0.02} if limit == "lmtPriceOffset" else {"lmtPrice": round(start - 0.02, 2)}
    app.placeOrder(1, stock(), kind(-10, "TRAIL LIMIT", trailStopPrice=start, tif="GTC", **given, **distance))
    status(app, 1, "PreSubmitted")
    # Followed by hand on the path: the highest price so far less the distance, from where it was to start.
    ticks = server.tws.tape.ticks(server.tws.catalogue.get(756733), NOON, NOON + 90 * HOUR)
    stop, hit = start, 0
    for time, price in zip(ticks.time.tolist(), ticks.price.tolist(), strict=True):
        if price <= stop:
            hit = time
            break
        stop = max(stop, price - away(price))
    assert stop > start
    server.step(hit - SECOND)
    ((asked, state),) = open_orders(app).values()
    assert (asked.orderType, asked.lmtPriceOffset, state.status) == ("TRAIL LIMIT", 0.02, "PreSubmitted")
    assert {name: getattr(asked, name) for name in distance} == distance
    assert asked.trailStopPrice == pytest.approx(stop, abs=0.006)
    assert asked.lmtPrice == pytest.approx(stop - 0.02, abs=0.006)
    server.step(hit)
    status(app, 1, "Submitted")  # elected: a limit order from now on
    server.step(hit + 90 * HOUR)
    done = app.wait("execDetails")[2]
    assert done.price >= stop - 0.02 - 1e-9
    assert server.tws.exchange.executions[0][0].time >= hit


def test_a_trailing_stop_limit_that_says_too_little_or_too_much_is_refused(
    session: tuple[Server, App],
) -> None:
    server, app = session
    wrong = [
        dict(auxPrice=0.5, lmtPriceOffset=0.02),  # no stop to begin with
        dict(auxPrice=0.5, trailStopPrice=1.0),  # no limit
        dict(auxPrice=0.5, trailStopPrice=1.0, lmtPriceOffset=0.02, lmtPrice=0.98),
        dict(auxPrice=0.5, trailStopPrice=1.0, lmtPriceOffset=-0.02),
        dict(auxPrice=0.5, trailStopPrice=1.0, lmtPrice=1.02),
        dict(trailStopPrice=1.0, lmtPriceOffset=0.02),  # no distance
    ]
    for number, prices in enumerate(wrong, start=1):
        app.placeOrder(number, stock(), kind(-10, "TRAIL LIMIT", tif="GTC", **prices))
        code(app, number, 110 if number == 1 else 321)
    assert server.tws.exchange.orders == ()


def test_auctions_good_till_and_immediate(session: tuple[Server, App]) -> None:
    server, app = session
    app.placeOrder(1, stock(), kind(10, "MOC"))
    app.placeOrder(2, stock(), kind(10, "LOC", lmtPrice=1.0))
    app.placeOrder(3, stock(), kind(10, "MKT", tif="OPG"))
    app.placeOrder(4, stock(), kind(10, "LMT", lmtPrice=1.0, tif="IOC"))
    app.placeOrder(
        5, stock(), kind(10, "LMT", lmtPrice=1.0, tif="GTD", goodTillDate="20240515 13:00:00 US/Eastern")
    )
    status(app, 4, "Cancelled")
    server.step(NOON + HOUR)
    status(app, 5, "Cancelled")
    close = NOON + 4 * HOUR
    server.step(close - 60 * SECOND)
    app.placeOrder(6, stock(), kind(10, "MOC"))
    assert "closing auction" in code(app, 6, 201)
    server.step(close)
    status(app, 1, "Filled")
    status(app, 2, "Cancelled")
    done = server.tws.exchange.executions[0][0]
    assert (done.time, done.price) == (close, last(server, close))
    opens = NOON + 21 * HOUR + 30 * MINUTE
    server.step(opens - 60 * SECOND)
    app.placeOrder(7, stock(), kind(10, "MKT", tif="OPG"))
    assert "opening auction" in code(app, 7, 201)
    assert len(app.all("execDetails")) == 1
    server.step(opens + SECOND)
    status(app, 3, "Filled")
    assert server.tws.exchange.executions[1][0].price == last(server, opens)


def bracket(app: App, entry: Order, stop: float, limit: float, first: int = 1) -> None:
    entry.transmit = False
    app.placeOrder(first, stock(), entry)
    common = dict(parentId=first, tif="GTC")
    app.placeOrder(first + 1, stock(), kind(-10, "LMT", lmtPrice=limit, transmit=False, **common))
    app.placeOrder(first + 2, stock(), kind(-10, "STP", auxPrice=stop, **common))


def test_a_bracket_rests_until_it_is_transmitted_and_its_exits_cancel_each_other(
    session: tuple[Server, App],
) -> None:
    server, app = session
    price = last(server)
    app.placeOrder(1, stock(), kind(10, "MKT", transmit=False))
    app.placeOrder(2, stock(), kind(-10, "LMT", lmtPrice=round(price + 50, 2), parentId=1, transmit=False))
    assert open_orders(app) == {}
    assert app.all("orderStatus") == app.all("execDetails") == []
    app.placeOrder(3, stock(), kind(-10, "STP", auxPrice=round(price - 0.1, 2), parentId=1, tif="GTC"))
    status(app, 1, "Filled")
    status(app, 2, "Submitted")
    seen = [(a[0], a[1], a[9]) for a in app.all("orderStatus")]
    assert seen[:3] == [(1, "PreSubmitted", ""), (2, "PreSubmitted", "child"), (3, "PreSubmitted", "child")]
    app.wait("orderStatus", lambda n, s, *a: (n, s, a[7]) == (3, "PreSubmitted", "trigger"))
    orders = open_orders(app)
    assert {o.parentId for o, _ in orders.values()} == {1}
    assert len({o.ocaGroup for o, _ in orders.values()}) == 1  # TWS makes a group of the children
    server.step(NOON + 2 * HOUR)
    status(app, 3, "Filled")
    status(app, 2, "Cancelled")
    code(app, 2, 202)
    assert server.tws.account.holdings[0].quantity == 0


def test_cancelling_an_entry_cancels_its_exits(session: tuple[Server, App]) -> None:
    _, app = session
    bracket(app, kind(10, "LMT", lmtPrice=1.0, tif="GTC"), 0.5, 2.0)
    status(app, 3, "PreSubmitted")
    app.cancelOrder(1, OrderCancel())
    for number in (1, 2, 3):
        status(app, number, "Cancelled")
    app.placeOrder(9, stock(), kind(-10, "LMT", lmtPrice=2.0, parentId=1))
    code(app, 9, 201)
    app.placeOrder(10, stock(), kind(-10, "LMT", lmtPrice=2.0, parentId=77))
    code(app, 10, 135)


@pytest.mark.parametrize("oca_type", [1, 3])
def test_one_of_a_group_cancels_or_reduces_the_rest(oca_type: int) -> None:
    with served() as (server, port), connected(port) as app:
        group = dict(ocaGroup="g", ocaType=oca_type, tif="GTC")
        app.placeOrder(1, stock(), kind(-100, "LMT", lmtPrice=9999.0, **group))
        app.placeOrder(2, stock(), kind(-50, "STP", auxPrice=1.0, **group))
        status(app, 2, "PreSubmitted")
        part = OrderFault(OrderDo.PARTS, on="place", share=0.4)
        server.tws.order_faults = type(server.tws.order_faults)([part])
        app.placeOrder(3, stock(), kind(-100, "MKT", **group))
        app.wait("execDetails")
        server.step(NOON + 60 * SECOND)  # the other parts fill with later ticks
        status(app, 3, "Filled")
        since = len(app.calls)
        open_orders(app)
        assert [a for n, a in app.calls[since:] if n == "openOrder"] == []  # filled whole: nobody is left
        first = next(a for a in app.all("execDetails"))
        assert first[2].shares == 40
        sizes = [a[2].totalQuantity for a in app.all("openOrder") if a[0] == 1]
        assert (Decimal(60) in sizes) is (oca_type == 3)
        status(app, 1, "Cancelled")
        status(app, 2, "Cancelled")


def test_a_change_keeps_id_and_perm_id(session: tuple[Server, App]) -> None:
    _, app = session
    app.placeOrder(1, stock(), kind(-10, "STP", auxPrice=1.0, tif="GTC"))
    perm = status(app, 1, "PreSubmitted")[5]
    app.placeOrder(1, stock(), kind(-20, "STP", auxPrice=2.0, tif="DAY"))
    app.wait("openOrder", lambda n, _c, o, _s: (n, o.auxPrice) == (1, 2.0))
    ((asked, _),) = open_orders(app).values()
    assert (asked.permId, asked.totalQuantity, asked.tif) == (perm, Decimal(20), "DAY")
    app.placeOrder(1, stock(), kind(20, "STP", auxPrice=2.0))
    code(app, 1, 105)


def test_what_if_says_margin_and_commission_and_places_nothing(session: tuple[Server, App]) -> None:
    server, app = session
    app.placeOrder(1, stock(), kind(100, "MKT", whatIf=True))
    _, _, asked, state = app.wait("openOrder")
    assert asked.whatIf
    value = 100 * last(server)
    assert float(state.initMarginChange) == pytest.approx(value / 2, abs=0.02)  # half of it, Regulation T
    assert float(state.maintMarginAfter) == pytest.approx(value / 4, abs=0.02)
    assert float(state.equityWithLoanBefore) == 1_000_000.0
    assert (state.commissionAndFees, state.commissionAndFeesCurrency) == (1.0, "USD")
    assert open_orders(app) == {}
    app.placeOrder(2, stock(), kind(100_000, "MKT", whatIf=True))
    code(app, 2, 201)
    assert app.all("orderStatus") == []


def test_profit_and_loss_of_the_account_and_of_a_position(session: tuple[Server, App]) -> None:
    server, app = session
    app.reqPnL(1, "DU1234567", "")
    assert app.wait("pnl") == (1, 0.0, 0.0, 0.0)
    app.reqPnLSingle(2, "DU1234567", "", 756733)
    assert app.wait("pnlSingle")[:2] == (2, Decimal(0))
    app.placeOrder(1, stock(), order(100))
    price = status(app, 1, "Filled")[4]
    server.step(NOON + 60 * SECOND)
    made = 100 * (last(server, NOON + 60 * SECOND) - price)
    told = app.wait("pnlSingle", lambda n, pos, daily, *_: (pos, daily) == (100, pytest.approx(made - 1.0)))
    assert told[1] == Decimal(100)
    assert told[3] == pytest.approx(made - 1.0)  # the cost of the position holds the commission
    assert told[5] == pytest.approx(100 * last(server, NOON + 60 * SECOND))
    since = len(app.calls)
    app.placeOrder(2, stock(), order(-100))
    app.wait(
        "pnl", lambda n, daily, loose, realized: loose == 0.0 and realized == pytest.approx(daily), since
    )
    app.cancelPnL(1)
    app.cancelPnLSingle(2)
    app.cancelPnLSingle(2)
    code(app, 2, 300)
    app.reqPnL(3, "DU999", "")
    code(app, 3, 321)


# ---------------------------------------------------------------- what the broker refuses
def test_margin_and_short_sales() -> None:
    rules = Rules(not_shortable=frozenset({"SPY"}))
    with served(tws=simulated(rate_limited=False, rules=rules)) as (_, port), connected(port) as app:
        app.placeOrder(1, stock(), order(100_000))
        assert "MUST EXCEED THE INITIAL MARGIN" in code(app, 1, 201)
        app.placeOrder(2, stock(), order(-10))
        assert "not available for short sale" in code(app, 2, 201)
        assert app.all("openOrder") == []
    rules = Rules(cash_account=True)
    cash = simulated(rate_limited=False, rules=rules, cash=10_000.0)
    with served(tws=cash) as (_, port), connected(port) as app:
        app.placeOrder(1, stock(), order(-10))
        assert "short" in code(app, 1, 201)
        app.placeOrder(2, stock(), order(10_000))
        assert "cash" in code(app, 2, 201)
        app.placeOrder(3, stock(), order(10))
        status(app, 3, "Filled")
        app.placeOrder(4, stock(), order(-10))  # it only reduces
        status(app, 4, "Filled")


# ---------------------------------------------------------------- by hand, and client 0
HAND = OrderFault(OrderDo.HAND, after_s=1.0, symbol="SPY", quantity=7, limit=1.0)


def test_an_order_made_by_hand_is_seen_by_all_and_bound_by_client_0_only() -> None:
    with served(faults=[HAND]) as (server, port), connected(port) as app, connected(port, 0) as zero:
        server.step(NOON + SECOND)
        ((perm, (asked, _)),) = open_orders(app).items()
        assert (asked.orderId, asked.clientId, asked.totalQuantity, asked.orderRef) == (0, 0, Decimal(7), "")
        assert perm > 0
        zero.wait("openOrder", lambda n, _c, o, _s: (n, o.permId) == (0, perm))
        since = len(app.calls)
        app.reqOpenOrders()
        app.wait("openOrderEnd", since=since)
        assert [n for n, _ in app.calls[since:] if n == "openOrder"] == []
        zero.reqOpenOrders()
        bound, client, number = zero.wait("orderBound")
        assert (bound, client) == (perm, 0)
        assert number < 0
        zero.cancelOrder(number, OrderCancel())
        status(zero, number, "Cancelled")
        app.reqAutoOpenOrders(True)
        code(app, -1, 321)
        assert open_orders(app) == {}


def test_orders_made_by_hand_are_bound_as_they_come_and_their_fills_have_no_id() -> None:
    fill = OrderFault(OrderDo.HAND, after_s=2.0, symbol="SPY", quantity=7)
    with served(faults=[HAND, fill]) as (server, port), connected(port) as app, connected(port, 0) as zero:
        zero.reqAutoOpenOrders(True)
        zero.reqCurrentTime()
        zero.wait("currentTime")
        app.reqPositions()
        app.wait("positionEnd")
        server.step(NOON + SECOND)
        zero.wait("orderBound", lambda _p, c, n: c == 0 and n < 0)
        zero.reqAutoOpenOrders(False)
        zero.reqCurrentTime()
        zero.wait("currentTime", since=len(zero.calls))
        server.step(NOON + 2 * SECOND)
        assert app.wait("position")[2] == Decimal(7)
        app.reqExecutions(1, ExecutionFilter())
        assert app.wait("execDetails")[2].orderId == 2**31 - 1  # a bug of TWS, as ib_async knows it
        app.reqGlobalCancel(OrderCancel())
        zero.wait("orderStatus", lambda n, s, *_: s == "Cancelled")
        assert open_orders(app) == {}
