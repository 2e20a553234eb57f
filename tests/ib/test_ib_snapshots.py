"""Snapshots count only if they are whole, of one connection, and readable. In virtual time."""

from __future__ import annotations

from typing import Any

import order_tws as ib
import pytest
from order_tws import Books, orders_of, session_of, tell
from scripted_tws import VirtualLink

from quant.core.barsize import SECOND
from quant.core.orders import Completed, Execution, Position
from quant.errors import DamagedAnswer, LinkLost, NotConnected, RequestFailed, RequestTimeout
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.ib.states import State


def full_books() -> Books:
    books = Books()
    books.own = [ib.open_order(7), ib.order_status(7)]
    books.others = [
        ib.open_order(7, clientId=5, permId=77, orderRef=""),
        ib.order_status(7, clientId=5, permId=77),
    ]
    books.fills = [
        lambda n: ib.exec_details(n), lambda _: ib.commission(), lambda _: ib.commission(execId="of.another.fill"),
    ]  # fmt: skip
    books.done = [ib.completed_order()]
    books.held = [ib.position()]
    books.next_id = 12
    return books


def follow(session: Session, orders: Orders, limit_s: float = 200.0) -> Any:
    """Poll until the snapshot under way has ended; return it or what it failed of."""
    until = session.timer.now() + limit_s
    while orders.snapshot_under_way:
        assert session.timer.now() < until
        session.poll(0.5)
    found = orders.snapshot()
    return orders.snapshot_trouble if found is None else found


def test_a_snapshot_has_all_that_the_broker_says() -> None:
    books = full_books()
    with session_of(books) as session:
        orders = orders_of(session)
        assert orders.snapshot() is None
        orders.begin_snapshot()
        orders.begin_snapshot()  # it is under way
        found = follow(session, orders)
        asked = [type(r).__name__ for _, r in books.links[0].requests[1:]]
        assert asked == [
            "OpenOrdersRequest", "AllOpenOrdersRequest", "ExecutionRequest", "CompletedOrdersRequest",
            "PositionsRequest", "IdsRequest",
        ]  # fmt: skip
        assert not books.links[0].asked("CompletedOrdersRequest")[0].apiOnly
        assert [(e.client_id, e.order_id, e.perm_id) for e in found.echoes] == [(1, 7, 9001), (5, 7, 77)]
        assert [(s.client_id, s.perm_id) for s in found.statuses] == [(1, 9001), (5, 77)]
        assert [type(x) for x in (*found.executions, *found.completed, *found.positions)] == [
            Execution, Completed, Position,
        ]  # fmt: skip
        assert [c.exec_id for c in found.commissions] == [found.executions[0].exec_id]
        assert (found.epoch, found.next_order_id) == (1, 12)
        at = int(ib.NOW.timestamp()) * SECOND
        assert found.asked_at == found.answered_at == at
        assert orders.snapshot() is None  # once
        kinds = {type(r).__name__ for r in orders.reports()}  # facts, whoever asked for them
        assert kinds == {"Echo", "Status", "Execution", "Commission", "Completed"}


def test_changes_of_positions_are_told_between_two_snapshots() -> None:
    books = full_books()
    with session_of(books) as session:
        orders = orders_of(session)
        for _ in range(2):
            orders.begin_snapshot()
            assert [p.quantity for p in follow(session, orders).positions] == [-50]
            assert not [r for r in orders.reports() if isinstance(r, Position)]  # a list is no change
            tell(books.links[0], ib.position("-20"))
            session.poll(1.0)
            (held,) = orders.reports()
            assert (type(held), held.con_id, held.quantity) == (Position, ib.SPY_ID, -20)
        asked = [type(r).__name__ for _, r in books.links[0].requests[1:]]
        assert [asked.count(n) for n in ("PositionsRequest", "CancelPositions")] == [2, 1]
        assert (
            asked[6] == "CancelPositions"
        )  # before all questions of the next one, so that its list is not mixed


def test_a_position_of_no_contract_of_this_run_is_not_told() -> None:
    books = full_books()
    with session_of(books) as session:
        orders = Orders(session, now=lambda: ib.NOW)
        orders.begin_snapshot()
        assert len(follow(session, orders).positions) == 1
        orders.reports()
        tell(books.links[0], ib.position("-20"))
        session.poll(1.0)
        assert orders.reports() == []


def test_nothing_at_all_is_a_snapshot_too() -> None:
    books = Books()
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        found = follow(session, orders)
        assert (found.echoes, found.executions, found.completed, found.positions) == ((), (), (), ())


QUESTIONS = (
    "OpenOrdersRequest", "AllOpenOrdersRequest", "ExecutionRequest", "CompletedOrdersRequest", "PositionsRequest",
    "IdsRequest",
)  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_snapshot_without_an_end_does_not_count(question: str) -> None:
    books = full_books()
    books.silent = {question: 1}
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        assert isinstance(follow(session, orders), RequestTimeout)
        assert orders.snapshot() is None
        # The end that did not come may be late: the next one may be that. It is believed after a silence.
        for _ in range(2):
            orders.begin_snapshot()
            found = follow(session, orders)
        assert [len(p) for p in (found.echoes, found.executions, found.completed, found.positions)] == [
            2,
            1,
            1,
            1,
        ]


def test_a_tws_that_never_tells_of_completed_orders_is_believed_without_them() -> None:
    """ib_insync 224 and 355: the request is never answered, and all else works."""
    books = full_books()
    done, books.done = books.done, []
    books.silent = {"CompletedOrdersRequest": 100}
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        assert isinstance(follow(session, orders), RequestTimeout)
        for asked in (2, 2):  # the second silence in a row is enough for this connection
            orders.begin_snapshot()
            found = follow(session, orders)
            assert (found.unanswered, found.completed) == ("the completed orders of the day", ())
            assert [len(p) for p in (found.echoes, found.executions, found.positions)] == [2, 1, 1]
            assert len(books.links[0].asked("CompletedOrdersRequest")) == asked
        books.silent = {"ExecutionRequest": 1}
        orders.begin_snapshot()
        assert isinstance(follow(session, orders), RequestTimeout)  # without the fills it is none
        books.done = done
        books.links[0].end()
        session.poll(1.0)
        while session.state is not State.READY:
            session.poll(1.0)
        orders.begin_snapshot()  # and another connection may answer
        found = follow(session, orders)
        assert (found.epoch, found.unanswered, len(found.completed)) == (2, "", 1)


@pytest.mark.parametrize(
    ("question", "delay"),
    [("OpenOrdersRequest", 20.0), ("CompletedOrdersRequest", 40.0), ("PositionsRequest", 20.0)],
)
def test_a_late_end_is_not_taken_for_the_next_one(question: str, delay: float) -> None:
    books = full_books()
    books.late = {question: delay}  # after the question was given up, and while it is asked again
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        assert isinstance(follow(session, orders), RequestTimeout)
        books.late = {question: 12.0}
        books.own, books.done, books.held = [ib.open_order(9, permId=9009)], [], []
        orders.begin_snapshot()
        found = follow(session, orders)
        assert [e.order_id for e in found.echoes if e.client_id == 1] == [9]
        assert (found.completed, found.positions) == ((), ())


def test_a_snapshot_with_a_damaged_part_does_not_count() -> None:
    books = full_books()
    books.done = [ib.completed_order(action="HOLD")]
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        trouble = follow(session, orders)
        assert isinstance(trouble, DamagedAnswer)
        assert "HOLD" in str(trouble)
        assert orders.damaged()[0].name == "completedOrder"
        books.done = []
        orders.begin_snapshot()
        assert follow(session, orders).completed == ()


def test_a_refused_question_ends_it() -> None:
    books = full_books()
    books.answers["ExecutionRequest"] = lambda link, r: link.fail(r.reqId, 321, "Error validating request")
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        assert isinstance(follow(session, orders), RequestFailed)


def test_a_snapshot_is_of_one_connection() -> None:
    books = full_books()
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        books.links[0].end(after=0.15)
        assert isinstance(follow(session, orders), LinkLost)
        with pytest.raises(NotConnected):
            orders.begin_snapshot()
        while session.state is not State.READY:
            session.poll(1.0)
        orders.begin_snapshot()
        assert follow(session, orders).epoch == orders.epoch == 2


def test_a_new_connection_owes_no_end_of_the_old_one() -> None:
    books = full_books()
    books.silent = {"OpenOrdersRequest": 1}
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        session.poll(1.0)
        books.links[0].end()
        assert isinstance(follow(session, orders), LinkLost)
        while session.state is not State.READY:
            session.poll(1.0)
        orders.begin_snapshot()
        assert len(follow(session, orders).echoes) == 2


def test_a_snapshot_that_nobody_took_is_forgotten() -> None:
    books = full_books()
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        while orders.snapshot_under_way:
            session.poll(0.5)
        books.held = []
        orders.begin_snapshot()
        assert orders.snapshot() is None
        assert follow(session, orders).positions == ()


def test_a_snapshot_ends_when_tws_loses_ib() -> None:
    books = full_books()
    books.late = {"AllOpenOrdersRequest": 5.0}
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        books.links[0].fail(-1, 1100, "Connectivity between IB and TWS has been lost.", after=2.0)
        assert isinstance(follow(session, orders), LinkLost)
        books.links[0].fail(
            -1, 1102, "Connectivity between IB and TWS has been restored- data maintained.", after=1.0
        )
        session.poll(2.0)
        orders.begin_snapshot()
        assert len(follow(session, orders).echoes) == 2


def test_an_order_that_ends_meanwhile_is_not_lost() -> None:
    books = full_books()

    def fills(link: VirtualLink, _: Any) -> None:
        books.own = []
        books.done = [ib.completed_order(permId=9001)]
        tell(link, ib.order_status(7, status="Filled", filled="100", remaining="0", avgFillPrice=450.0))
        books._say(link, _, books.others, ib.proto("OpenOrdersEnd")())

    books.answers["AllOpenOrdersRequest"] = fills
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        found = follow(session, orders)
        assert 9001 in {e.perm_id for e in found.echoes}
        assert 9001 in {c.perm_id for c in found.completed}
        assert {(s.perm_id, s.status) for s in found.statuses} == {(9001, "Filled"), (77, "Submitted")}


def test_an_order_is_once_in_a_snapshot_though_its_permanent_id_came_late() -> None:
    books = full_books()
    books.own = [ib.open_order(7, permId=0), ib.open_order(7)]
    by_hand = [ib.open_order(0, clientId=0, permId=p, orderRef="") for p in (31, 32)]
    books.others = by_hand
    with session_of(books) as session:
        orders = orders_of(session)
        orders.begin_snapshot()
        assert [e.perm_id for e in follow(session, orders).echoes] == [9001, 31, 32]
