"""Each fault of orders, as an unmodified ibapi client sees it over loopback. The rows are of the fault matrix."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from served import NOON, App, connected, order, served, stock

from quant.core.barsize import MINUTE, SECOND
from quant.errors import ParameterError
from quant.tws.exchange.models import PathModel
from quant.tws.faults import Do, Fault, Faults, read
from quant.tws.order_faults import ROWS, OrderDo, OrderFault, OrderFaults
from quant.tws.program import simulated
from quant.tws.server import Server

PATIENT = NOON + 60 * SECOND


@contextmanager
def suffering(*faults: OrderFault, version: int = 226, client: int = 1) -> Iterator[tuple[Server, App, int]]:
    with served(version, faults=faults) as (server, port), connected(port, client) as app:
        yield server, app, port


def row(do: OrderDo, **more: Any) -> OrderFault:
    return OrderFault(do, **more)


def barrier(app: App) -> None:
    """Wait until all that was asked before is answered."""
    since = len(app.calls)
    app.reqCurrentTime()
    app.wait("currentTime", since=since)


def names(app: App, number: int = 1) -> list[str]:
    """What was told of an order, short."""
    out = []
    for name, a in list(app.calls):
        if name == "openOrder" and a[0] == number:
            out.append(f"open {a[3].status}")
        elif name == "orderStatus" and a[0] == number:
            out.append(a[1])
        elif name == "execDetails" and a[2].orderId == number:
            out.append("fill")
        elif name == "commissionAndFeesReport":
            out.append("fee")
        elif name == "error" and a[0] == number:
            out.append(str(a[2]))
    return out


def status(app: App, wanted: str, number: int = 1) -> tuple[Any, ...]:
    return app.wait("orderStatus", lambda n, s, *_: (n, s) == (number, wanted))


def code(app: App, wanted: int, number: int = 1) -> str:
    return str(app.wait("error", lambda n, _t, c, *_: (n, c) == (number, wanted))[3])


def resting(app: App, number: int = 1, quantity: int = 10, limit: float = 1.0) -> None:
    o = order(quantity, limit)
    o.tif = "GTC"
    app.placeOrder(number, stock(), o)


def asked(app: App, ask: str, end: str, *arguments: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Ask for a snapshot; return what came of it."""
    since = len(app.calls)
    getattr(app, ask)(*arguments)
    app.wait(end, since=since)
    return app.calls[since:]


def gone(server: Server) -> None:
    """Wait until TWS has noticed that its clients have left; each step lets its loop run."""
    for _ in range(2000):
        if not server.tws.clients:
            return
        server.step(server.clock.now())
    raise AssertionError("clients do not leave")


def books(app: App) -> dict[int, Order]:
    found = asked(app, "reqAllOpenOrders", "openOrderEnd")
    return {a[2].permId: a[2] for n, a in found if n == "openOrder"}


WHOLE = [
    "open PreSubmitted",
    "PreSubmitted",
    "open Submitted",
    "Submitted",
    "fill",
    "open Filled",
    "Filled",
    "fee",
]


# ---------------------------------------------------------------- O1: acknowledgements
def test_o1_no_acknowledgement_ever() -> None:
    with suffering(row(OrderDo.MUTE)) as (server, app, _):
        app.placeOrder(1, stock(), order(10))
        app.wait("commissionAndFeesReport")
        server.step(NOON + 10 * MINUTE)
        barrier(app)
        assert names(app) == ["fill", "fee"]
        assert server.tws.account.holdings[0].quantity == 10


def test_o1_acknowledged_five_minutes_late() -> None:
    with suffering(row(OrderDo.MUTE, seconds=300.0)) as (server, app, _):
        resting(app)
        barrier(app)
        assert names(app) == []
        server.step(NOON + 300 * SECOND)
        status(app, "Submitted")
        assert names(app) == WHOLE[:4]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (row(OrderDo.LOSE_STATUS), ["open PreSubmitted", "open Submitted", "fill", "open Filled", "fee"]),
        (row(OrderDo.REPEAT, times=4), [name for name in WHOLE for _ in range(4)]),
        (row(OrderDo.REVERSE), WHOLE[::-1]),
        (row(OrderDo.EXEC_FIRST), ["fill", "fee", *[n for n in WHOLE if n not in ("fill", "fee")]]),
        (row(OrderDo.LATE_FEE), WHOLE[:-1]),
        (row(OrderDo.FEE_FIRST), [*WHOLE[:4], "fee", "fill", *WHOLE[5:7]]),
        (row(OrderDo.REPEAT_FEE), [*WHOLE, "fee"]),
        (row(OrderDo.LOSE_EXEC), [n for n in WHOLE if n not in ("fill", "fee")]),
    ],
    ids=lambda x: str(getattr(x, "do", "")),
)  # fmt: skip
@pytest.mark.parametrize("version", [178, 226])
def test_o1_to_o3_what_is_told_is_lost_doubled_or_turned(
    fault: OrderFault, wanted: list[str], version: int
) -> None:
    with suffering(fault, version=version) as (server, app, _):
        app.placeOrder(1, stock(), order(10))
        barrier(app)
        assert names(app) == wanted
        # The books are right all the same.
        found = asked(app, "reqExecutions", "execDetailsEnd", 5, ExecutionFilter())
        assert [n for n, _ in found] == ["execDetails", "commissionAndFeesReport", "execDetailsEnd"]
        assert server.tws.account.holdings[0].quantity == 10
        app.placeOrder(2, stock(), order(10))  # once means once
        barrier(app)
        assert [n for n in names(app, 2) if n != "fee"] == WHOLE[:-1]


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (row(OrderDo.REPEAT, on="modify", count=0, times=2), ["open Submitted"] * 2 + ["Submitted"] * 2),
        (row(OrderDo.REVERSE, on="modify", count=0), ["Submitted", "open Submitted"]),
    ],
    ids=["repeat", "reverse"],
)
def test_o1_order_that_is_changed_again_and_again_draws_a_fault_once(
    fault: OrderFault, wanted: list[str]
) -> None:
    with suffering(fault) as (_, app, _):
        resting(app)
        for n in range(2):
            barrier(app)
            before = len(names(app))
            resting(app, limit=2.0 + n)
        barrier(app)
        assert names(app)[before:] == wanted


# ---------------------------------------------------------------- O2, O3: fills and commissions
def test_o2_executions_come_twice_from_a_request_too() -> None:
    with suffering(row(OrderDo.REPEAT, on="ExecutionRequest", times=2)) as (_, app, _):
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")
        found = asked(app, "reqExecutions", "execDetailsEnd", 5, ExecutionFilter())
        assert [n for n, _ in found].count("execDetails") == 2
        assert len({a[2].execId for n, a in found if n == "execDetails"}) == 1


@pytest.mark.parametrize("fractional", [False, True])
def test_o2_fills_in_parts_and_in_fractions(fractional: bool) -> None:
    with suffering(row(OrderDo.PARTS, share=0.35, fractional=fractional)) as (server, app, _):
        app.placeOrder(1, stock(), order(10))
        app.wait("execDetails")
        server.step(PATIENT)
        done = status(app, "Filled")
        parts = [a[2].shares for a in app.all("execDetails")]
        assert sum(parts) == done[2] == Decimal(10)
        assert len(parts) > 3
        assert any(p != int(p) for p in parts) is fractional
        assert [a[2].cumQty for a in app.all("execDetails")] == [
            sum(parts[: i + 1]) for i in range(len(parts))
        ]
        fees = [a[0].commissionAndFees for a in app.all("commissionAndFeesReport")]
        assert sum(fees) == pytest.approx(1.0)  # one order, one minimum


def test_o3_a_commission_ten_minutes_late() -> None:
    with suffering(row(OrderDo.LATE_FEE, seconds=600.0)) as (server, app, _):
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")
        server.step(NOON + 599 * SECOND)
        barrier(app)
        assert app.all("commissionAndFeesReport") == []
        server.step(NOON + 600 * SECOND)
        report = app.wait("commissionAndFeesReport")[0]
        assert report.execId == app.all("execDetails")[0][2].execId


# ---------------------------------------------------------------- O4: corrections
@pytest.mark.parametrize(
    ("fault", "quantity", "by"),
    [
        (row(OrderDo.CORRECT, seconds=5.0, price_by=0.5), 10, 0.5),
        (row(OrderDo.CORRECT, seconds=5.0, quantity=8), 8, 0.0),
        (row(OrderDo.BUST, seconds=5.0), 0, 0.0),
    ],
    ids=["price", "quantity", "bust"],
)
def test_o4_a_correction_has_the_same_id_but_for_its_last_number(
    fault: OrderFault, quantity: int, by: float
) -> None:
    with suffering(fault) as (server, app, _):
        app.reqPositions()
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")
        server.step(NOON + 5 * SECOND)
        app.wait("execDetails", lambda _n, _c, e: e.execId.endswith(".02"))
        app.wait("position", lambda _a, _c, held, *_: held == quantity)
        first, second = (a[2] for a in app.all("execDetails"))
        assert (first.execId[:-2], first.execId[-2:], second.execId[-2:]) == (second.execId[:-2], "01", "02")
        assert (second.shares, second.price) == (Decimal(quantity), pytest.approx(first.price + by))
        assert server.tws.account.holdings[0].quantity == quantity
        cash = 1e6 - quantity * second.price - 1.0
        assert server.tws.account.cash("USD") == pytest.approx(cash)
        found = asked(app, "reqExecutions", "execDetailsEnd", 5, ExecutionFilter())
        assert [a[2].execId for n, a in found if n == "execDetails"] == [second.execId]


def test_o4_a_fill_is_corrected_once_more_under_the_next_number_and_not_once_it_is_busted() -> None:
    dearer = [row(OrderDo.CORRECT, seconds=s, price_by=0.5) for s in (5.0, 20.0)]
    with suffering(dearer[0], row(OrderDo.BUST, seconds=10.0), dearer[1]) as (server, app, _):
        app.reqPositions()
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")
        for seconds in (5, 10, 20):
            server.step(NOON + seconds * SECOND)
        app.wait("execDetails", lambda _n, _c, e: e.execId.endswith(".03"))
        barrier(app)
        told = [a[2] for a in app.all("execDetails")]
        assert [e.execId[-2:] for e in told] == ["01", "02", "03"]
        assert [e.shares for e in told] == [Decimal(10), Decimal(10), Decimal(0)]
        assert [held.quantity for held in server.tws.account.holdings] == [0]
        assert server.tws.account.cash("USD") == pytest.approx(1e6 - 1.0)
        assert (
            server.tws.order_faults.played[OrderDo.CORRECT],
            server.tws.order_faults.played[OrderDo.BUST],
        ) == (1, 1)


# ---------------------------------------------------------------- O5: codes
@pytest.mark.parametrize("number", [103, 109, 110, 163, 201, 203, 382, 383])
def test_o5_an_order_is_rejected_and_never_booked(number: int) -> None:
    with suffering(row(OrderDo.REJECT, code=number, text="no")) as (_, app, _):
        app.placeOrder(1, stock(), order(10))
        assert code(app, number) == "no"
        assert books(app) == {}
        assert names(app) == [str(number)]


@pytest.mark.parametrize("number", [105, 399, 404, 2109, 10349, 10311, 202])
def test_o5_a_code_on_a_live_order_leaves_it_live(number: int) -> None:
    with suffering(row(OrderDo.WARN, code=number, text="well")) as (_, app, _port):
        resting(app)
        code(app, number)
        assert len(books(app)) == 1
        app.placeOrder(1, stock(), order(10, 9999.0))  # a change that fills
        status(app, "Filled")


def test_o5_a_preset_changes_the_time_in_force() -> None:
    with suffering(row(OrderDo.PRESET)) as (server, app, _):
        resting(app)
        assert "DAY" in code(app, 10349)
        (kept,) = books(app).values()
        assert kept.tif == "DAY"
        server.step(NOON + 5 * 60 * MINUTE)
        status(app, "Cancelled")


@pytest.mark.parametrize("number", [10147, 10148])
def test_o5_a_cancel_is_refused_though_the_order_lives(number: int) -> None:
    with suffering(row(OrderDo.REFUSE_CANCEL, code=number)) as (_, app, _):
        resting(app)
        app.cancelOrder(1, OrderCancel())
        code(app, number)
        assert len(books(app)) == 1
        app.cancelOrder(1, OrderCancel())
        status(app, "Cancelled")


def test_o5_tws_cancels_after_a_part_has_filled() -> None:
    parts, gone = row(OrderDo.PARTS, share=0.4), row(OrderDo.CANCELLED)
    with suffering(parts, gone) as (_, app, _):
        app.placeOrder(1, stock(), order(10))
        code(app, 202)
        ended = status(app, "Cancelled")
        assert (ended[2], ended[3]) == (Decimal(4), Decimal(6))


# ---------------------------------------------------------------- O6: statuses that mislead
def test_o6_inactive_and_then_submitted() -> None:
    with suffering(row(OrderDo.INACTIVE, seconds=30.0)) as (server, app, _):
        resting(app)
        status(app, "Inactive")
        server.step(NOON + 30 * SECOND)
        app.wait("orderStatus", lambda n, s, *_: s == "Submitted", since=len(app.calls) - 2)
        assert names(app)[-6:] == [
            "open Inactive", "Inactive", "open PreSubmitted", "PreSubmitted", "open Submitted", "Submitted"
        ]  # fmt: skip
        assert len(books(app)) == 1


def test_o6_presubmitted_for_days() -> None:
    with suffering(row(OrderDo.STUCK, seconds=2 * 86_400.0)) as (server, app, _):
        o = order(10)
        o.tif = "GTC"
        app.placeOrder(1, stock(), o)
        server.step(NOON + 47 * 60 * MINUTE)
        barrier(app)
        assert names(app) == ["open PreSubmitted", "PreSubmitted"]
        server.step(NOON + 48 * 60 * MINUTE)
        status(app, "Filled")


def test_o6_a_cancel_takes_its_time() -> None:
    with suffering(row(OrderDo.SLOW_CANCEL, seconds=30.0)) as (server, app, _):
        resting(app)
        app.cancelOrder(1, OrderCancel())
        status(app, "PendingCancel")
        assert len(books(app)) == 1
        server.step(NOON + 30 * SECOND)
        status(app, "Cancelled")


@pytest.mark.parametrize(
    ("do", "first"), [(OrderDo.CANCEL_FILLS, "PendingCancel"), (OrderDo.FILL_AFTER_CANCEL, "Cancelled")]
)
def test_o6_the_fill_overtakes_the_cancel(do: OrderDo, first: str) -> None:
    with suffering(row(do, seconds=2.0)) as (server, app, _):
        resting(app)
        app.cancelOrder(1, OrderCancel())
        status(app, first)
        server.step(NOON + 2 * SECOND)
        status(app, "Filled")
        assert app.wait("execDetails")[2].shares == 10
        assert server.tws.account.holdings[0].quantity == 10


# ---------------------------------------------------------------- O7, O8: orders that vanish or come late
def test_o7_an_order_is_dropped_without_a_word_and_the_same_id_is_free() -> None:
    with suffering(row(OrderDo.DROP)) as (_, app, _):
        app.placeOrder(1, stock(), order(10))
        barrier(app)
        assert (names(app), books(app)) == ([], {})
        since = len(app.calls)
        app.reqIds(1)
        assert app.wait("nextValidId", since=since) == (1,)
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")


def test_o7_the_first_of_a_burst_swallows_the_rest() -> None:
    with suffering(row(OrderDo.DROP, seconds=2.0)) as (server, app, _):
        for number in range(1, 6):
            resting(app, number)
        assert books(app) == {}
        server.step(NOON + 2 * SECOND)
        resting(app, 6)
        status(app, "Submitted", 6)
        assert len(books(app)) == 1


@pytest.mark.parametrize("again", [False, True])
def test_o8_an_order_reaches_the_books_after_its_client_has_gone(again: bool) -> None:
    with served(faults=[row(OrderDo.LATE, seconds=4.0)]) as (server, port):
        with connected(port) as app:
            app.placeOrder(1, stock(), order(10))
            barrier(app)
            app.conn.socket.shutdown(socket.SHUT_RDWR)  # ibapi's own good-bye takes up to a second
            app.wait("connectionClosed")
        gone(server)
        with connected(port) as app:
            assert books(app) == {}  # the snapshot of the new session: nothing
            assert app.wait("nextValidId") == (1,)
            if again:  # what a client that lost its session sends
                app.placeOrder(1, stock(), order(10))
                status(app, "Filled")
            server.step(NOON + 4 * SECOND)
            if again:
                code(app, 104)  # the same id: filled already
            else:
                status(app, "Filled")
            assert server.tws.account.holdings[0].quantity == 10


def test_o8_a_resend_under_a_new_id_doubles_the_order() -> None:
    with suffering(row(OrderDo.LATE, seconds=4.0)) as (server, app, _):
        app.placeOrder(1, stock(), order(10))
        app.placeOrder(2, stock(), order(10))
        status(app, "Filled", 2)
        server.step(NOON + 4 * SECOND)
        status(app, "Filled", 1)
        assert server.tws.account.holdings[0].quantity == 20


# ---------------------------------------------------------------- O9: twins
def test_o9_a_change_makes_a_second_order_under_the_same_id() -> None:
    with suffering(row(OrderDo.TWIN)) as (_, app, _):
        o = order(10, 1.0)
        o.orderRef = "q1:x:1"
        app.placeOrder(1, stock(), o)
        status(app, "Submitted")
        o.lmtPrice = 2.0
        app.placeOrder(1, stock(), o)
        app.wait("openOrder", lambda n, _c, seen, _s: seen.lmtPrice == 2.0)
        found = books(app)
        assert len(found) == 2
        assert {(x.orderId, x.orderRef) for x in found.values()} == {(1, "q1:x:1")}
        assert {x.lmtPrice for x in found.values()} == {1.0, 2.0}


# ---------------------------------------------------------------- O10: others
def test_o10_somebody_cancels_or_changes_our_order_by_hand() -> None:
    change = row(OrderDo.HAND_MODIFY, after_s=1.0, quantity=25, limit=3.0)
    with suffering(change, row(OrderDo.HAND_CANCEL, after_s=2.0)) as (server, app, _):
        resting(app)
        status(app, "Submitted")
        server.step(NOON + SECOND)
        changed = app.wait("openOrder", lambda n, _c, o, _s: o.lmtPrice == 3.0)[2]
        assert changed.totalQuantity == 25
        server.step(NOON + 2 * SECOND)
        status(app, "Cancelled")
        code(app, 202)


@pytest.mark.parametrize("do", [OrderDo.HAND_CLOSE, OrderDo.LIQUIDATE])
def test_o10_the_position_is_closed_by_somebody_else(do: OrderDo) -> None:
    with suffering(row(do, on="fill", seconds=5.0, symbol="SPY")) as (server, app, _):
        app.reqPositions()
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")
        server.step(NOON + 5 * SECOND)
        app.wait("position", lambda _a, _c, held, *_: held == 0)
        found = asked(app, "reqExecutions", "execDetailsEnd", 5, ExecutionFilter())
        last = [a[2] for n, a in found if n == "execDetails"][-1]
        assert (last.side, last.shares, last.orderRef) == ("SLD", 10, "")
        assert bool(last.liquidation) is (do == OrderDo.LIQUIDATE)


def test_o10_another_clients_orders_and_fills() -> None:
    rests = row(OrderDo.OTHER_CLIENT, after_s=1.0, symbol="SPY", quantity=3, limit=1.0, text="theirs")
    fills = row(OrderDo.OTHER_CLIENT, after_s=2.0, symbol="SPY", quantity=-3)
    with suffering(rests, fills) as (server, app, _):
        app.reqPositions()
        server.step(NOON + SECOND)
        (seen,) = books(app).values()
        assert (seen.clientId, seen.orderId, seen.orderRef) == (99, 1, "theirs")
        server.step(NOON + 2 * SECOND)
        assert app.wait("position")[2] == -3
        assert app.all("execDetails") == []
        found = asked(app, "reqExecutions", "execDetailsEnd", 5, ExecutionFilter())
        assert [(a[2].clientId, a[2].orderId) for n, a in found if n == "execDetails"] == [(99, 2)]


def test_o10_an_assignment_and_a_split() -> None:
    assigned = row(OrderDo.ASSIGN, after_s=1.0, symbol="SPY", quantity=100, limit=300.0)
    with suffering(assigned, row(OrderDo.SPLIT, after_s=2.0, symbol="SPY", times=4)) as (server, app, _):
        app.reqPositions()
        app.wait("positionEnd")
        server.step(NOON + SECOND)
        held = app.wait("position")
        assert (held[2], held[3]) == (Decimal(100), pytest.approx(300.01))
        server.step(NOON + 2 * SECOND)
        held = app.wait("position", lambda _a, _c, q, _p: q == 400)
        assert held[3] == pytest.approx(300.01 / 4)
        found = asked(app, "reqExecutions", "execDetailsEnd", 5, ExecutionFilter())
        assert [a[2].price for n, a in found if n == "execDetails"] == [300.0]  # of the split there is none


# ---------------------------------------------------------------- O11: snapshots
@pytest.mark.parametrize(
    ("name", "ask", "end", "arguments"),
    [
        ("OpenOrdersRequest", "reqOpenOrders", "openOrderEnd", ()),
        ("AllOpenOrdersRequest", "reqAllOpenOrders", "openOrderEnd", ()),
        ("CompletedOrdersRequest", "reqCompletedOrders", "completedOrdersEnd", (False,)),
        ("ExecutionRequest", "reqExecutions", "execDetailsEnd", (5, ExecutionFilter())),
        ("PositionsRequest", "reqPositions", "positionEnd", ()),
    ],
)  # fmt: skip
def test_o11_a_snapshot_without_its_end_or_with_nothing_else(
    name: str, ask: str, end: str, arguments: Any
) -> None:
    with suffering(row(OrderDo.NO_END, on=name), row(OrderDo.EMPTY, on=name, skip=1)) as (_, app, _):
        app.placeOrder(1, stock(), order(10))
        status(app, "Filled")
        resting(app, 2)
        status(app, "Submitted", 2)
        since = len(app.calls)
        getattr(app, ask)(*arguments)
        barrier(app)
        first = [n for n, _ in app.calls[since:]]
        assert end not in first
        assert len(first) > 1
        assert [n for n, _ in asked(app, ask, end, *arguments)] == [end]
        assert [n for n, _ in asked(app, ask, end, *arguments)][:-1] == first[:-1]


# ---------------------------------------------------------------- O12: held and capped
def test_o12_shares_are_located_and_a_price_is_capped() -> None:
    with suffering(row(OrderDo.LOCATE, seconds=60.0)) as (server, app, _):
        app.placeOrder(1, stock(), order(-10))
        code(app, 404)
        app.wait("orderStatus", lambda n, s, *a: (s, a[7]) == ("PreSubmitted", "locate"))
        server.step(NOON + 60 * SECOND)
        status(app, "Filled")
    with suffering(row(OrderDo.CAP, limit=2.5)) as (_, app, _):
        resting(app)
        code(app, 2161)
        assert app.wait("orderStatus", lambda *a: a[10] == 2.5)[1] == "Submitted"
        assert len(books(app)) == 1


def test_o12_on_a_half_day_the_session_ends_early_and_after_it_orders_wait() -> None:
    # 2024-07-03: New York closed at 13:00 (exchange_calendars; NYSE's own list of early closings).
    with served() as (server, port), connected(port) as app:
        half = NOON + 49 * 24 * 60 * MINUTE  # 12:00 of that day
        server.step(half)
        o = order(10, 1.0)
        app.placeOrder(1, stock(), o)
        status(app, "Submitted")
        server.step(half + 60 * MINUTE)
        status(app, "Cancelled")
        app.placeOrder(2, stock(), order(10))
        assert "2024-07-05 09:30:00" in code(app, 399, 2)  # the 4th is a holiday


def test_o12_after_the_night_of_the_clocks_change_the_open_is_an_hour_earlier_in_utc() -> None:
    # Friday 2024-03-08 opens at 14:30 UTC, Monday the 11th at 13:30: New York's summer time began on the 10th.
    tws = simulated(rate_limited=False)
    listing = tws.catalogue.get(756733)
    model = PathModel(tws.tape)
    friday = NOON - 68 * 24 * 60 * MINUTE
    assert model.next_look(listing, friday) == friday + SECOND
    monday = NOON - 66 * 24 * 60 * MINUTE  # a Sunday, in fact: 2024-03-10 16:00 UTC
    assert model.next_look(listing, monday) == monday + (21 * 60 + 30) * MINUTE


# ---------------------------------------------------------------- C6, C7, K4: the program
def test_c6_a_restart_loses_the_last_orders_and_gives_their_ids_again() -> None:
    fault = row(OrderDo.NIGHTLY, after_s=10.0, lost_s=2.0, seconds=60.0)
    with served(faults=[fault]) as (server, port):
        with connected(port) as app:
            resting(app, 1)
            status(app, "Submitted", 1)
            server.step(NOON + 9 * SECOND)
            resting(app, 2)
            resting(app, 3)
            status(app, "Submitted", 3)
            server.step(NOON + 10 * SECOND)
            app.wait("connectionClosed")
        down = App()
        down.connect("127.0.0.1", port, 1)
        assert not down.isConnected() or down.serverVersion() is None or not down.all("nextValidId")
        down.disconnect()
        server.step(NOON + 70 * SECOND)
        gone(server)
        with connected(port) as app:
            assert app.wait("nextValidId") == (2,)  # was told to 3 before
            assert [o.orderId for o in books(app).values()] == [1]


def test_c7_no_ids_before_somebody_logs_in() -> None:
    with served(faults=[row(OrderDo.RELOGIN, seconds=7200.0)]) as (server, port):
        app = App()
        app.connect("127.0.0.1", port, 1)
        thread = threading.Thread(target=app.run, daemon=True)
        thread.start()
        barrier(app)
        assert app.all("nextValidId") == []
        server.step(NOON + 7200 * SECOND)
        app.wait("nextValidId")
        app.disconnect()
        thread.join(10.0)


def test_k4_the_time_that_is_told_is_off() -> None:
    with suffering(row(OrderDo.CLOCK, after_s=1.0, seconds=-3600.0)) as (server, app, _):
        server.step(NOON + SECOND)
        app.reqCurrentTime()
        assert app.wait("currentTime") == (NOON // SECOND + 1 - 3600,)


# ---------------------------------------------------------------- scripts
def test_every_fault_has_its_row_and_its_evidence_and_a_test() -> None:
    assert set(ROWS) == set(OrderDo)
    assert all(found.evidence and found.row and found.on for found in ROWS.values())
    told = " ".join(found.row for found in ROWS.values())
    assert all(f"O{n}" in told for n in range(1, 13))
    here = Path(__file__).read_text(encoding="utf-8")
    hand = (Path(__file__).parent / "test_orders_ibapi.py").read_text(encoding="utf-8")
    assert [do for do in OrderDo if f"OrderDo.{do.name}" not in here + hand] == []


def test_the_same_seed_draws_the_same_faults() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = OrderFaults([row(OrderDo.DROP, chance=0.3, count=0)], seed)
        return [bool(faults.at("place")) for _ in range(300)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 50 < sum(drawn(1)) < 130  # 90 are expected, 8 is their deviation


def test_a_fault_counts_as_played_only_where_it_takes_effect() -> None:
    script = OrderFaults(
        [
            row(OrderDo.EMPTY, on="PositionsRequest"),
            row(OrderDo.NO_END, on="ExecutionRequest"),
            row(OrderDo.DROP),
        ]
    )
    assert script.snapshot("PositionsRequest", ["End"]) == ["End"]  # it waits for one that holds something
    assert script.played == {}
    assert script.snapshot("PositionsRequest", ["a position", "End"]) == ["End"]
    assert script.snapshot("ExecutionRequest", ["End"]) == []
    script.at("place")
    assert script.played == {OrderDo.EMPTY: 1, OrderDo.NO_END: 1, OrderDo.DROP: 1}


def test_a_voice_that_finds_nothing_to_bend_does_not_count() -> None:
    script = OrderFaults([row(OrderDo.PARTS)])
    script.voices[1, 1] = script.at("place")
    assert script.part((1, 1), Decimal(1)) == 1
    assert script.played[OrderDo.PARTS] == 0
    assert script.part((1, 1), Decimal(8)) == 4
    assert script.played[OrderDo.PARTS] == 1


def test_a_file_holds_both_kinds(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(
        '[[order_fault]]\ndo = "late"\nseconds = 3\n[[fault]]\ndo = "close"\non = "IdsRequest"\n'
        '[[order_fault]]\ndo = "hand"\nafter_s = 60\nsymbol = "SPY"\nquantity = -5\n',
        encoding="utf-8",
    )
    first, late, hand = read(file)
    assert isinstance(first, Fault)
    assert first.do == Do.CLOSE
    assert isinstance(late, OrderFault)
    assert (late.do, late.on, late.delay) == (OrderDo.LATE, "place", 3 * SECOND)
    assert isinstance(hand, OrderFault)
    faults = Faults([first, late, hand])
    assert [f.do for f in faults.orders.at("place")] == [OrderDo.LATE]
    assert faults.orders.timed == [(60 * SECOND, hand)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('do = "fly"', "fly"), ('do = "drop"\non = "fill"', "place"), ('do = "drop"\nafter_s = 3', "after_s"),
        ('do = "reject"', "code"), ('do = "hand"\nafter_s = 3', "symbol"), ('do = "drop"\nwhat = 1', "what"),
        ('do = "drop"\nseconds = -1', "seconds"), ('do = "drop"\ncount = "1"', "count"),
        ('do = "parts"\nshare = 0', "share"), ('do = "parts"\nfractional = 1', "fractional"),
        ('do = "drop"\nchance = 2.0', "chance"), ('do = "hand"\nsymbol = "SPY"', "on"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(text: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(f"[[order_fault]]\n{text}\n", encoding="utf-8")
    with pytest.raises(ParameterError, match=named):
        read(file)
