"""What is near a fault in time is not its cause: what cannot have been one leaves it unexplained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from quant.core.barsize import SECOND
from quant.promotion.causes import UNEXPLAINED, Evidence
from quant.promotion.difference import compared
from quant.promotion.facts import FillFact, OrderFact
from quant.promotion.said import said

END = 1_715_782_560 * SECOND  # 2024-05-15T14:16:00
HOUR = 3600.0
Notes = list[tuple[float, str]]


def at(seconds: float) -> int:
    return END + round(seconds * SECOND)


def exit_of(seconds: float, status: str, *fills: FillFact, **more: Any) -> OrderFact:
    made = OrderFact(0, at(seconds), "stop", "stop", -10.0, 390.0, status, list(fills), at(seconds))
    return replace(made, **more)


def limit_of(seconds: float, status: str, **more: Any) -> OrderFact:
    return exit_of(seconds, status, reason="limit", kind="limit", **{"price": 400.0} | more)


def close_of(seconds: float) -> OrderFact:
    fill = FillFact(5, -10.0, 395.0, 1.0, at(seconds))
    return OrderFact(0, at(seconds), "close", "market", -10.0, math.nan, "filled", [fill], at(seconds))


def known(notes: Notes, **more: Any) -> Evidence:
    return Evidence(["SPY"], said=said([(at(s), words) for s, words in notes], ["SPY"]), **more)


def causes(wanted: list[OrderFact], got: list[OrderFact], evidence: Evidence) -> dict[tuple[str, str], str]:
    """The cause of each difference, by the order's reason and what differs."""
    return {
        (pair.order.reason, row[0]): row[4] for pair in compared(wanted, got, evidence) for row in pair.found
    }


# ---------------------------------------------------------------- what live said
SHUT: dict[str, tuple[Notes, bool]] = {
    "shut": ([(-1, "gate reconciling")], True),
    "shut, and open again before the next": ([(-1, "gate reconciling"), (2, "gate open")], False),
    "shut, and open after the next": ([(-1, "gate reconciling"), (70, "gate open")], True),
    "shut, open and shut before the next": (
        [(-1, "gate reconciling"), (2, "gate open"), (4, "gate halted")], False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHUT)
def test_exit_that_was_never_sent_waited_only_while_the_gate_was_shut_until_the_next(name: str) -> None:
    notes, named = SHUT[name]
    wanted = [exit_of(0, "cancelled"), exit_of(60, "open", price=391.0)]
    found = causes(wanted, [replace(wanted[1])], known(notes))
    words = "it could not be sent before the next was decided: gate reconciling, 2024-05-15T14:15:59"
    assert found == {("stop", "order"): words if named else UNEXPLAINED}


@pytest.mark.parametrize("opened", [True, False])
def test_last_exit_that_was_never_sent_waited_only_while_the_gate_never_opened(opened: bool) -> None:
    notes: Notes = [(-1, "gate reconciling"), (2, "gate open")]
    found = causes([exit_of(0, "open")], [], known(notes[: 1 + opened]))
    assert (found["stop", "order"] == UNEXPLAINED) == opened


HELD: dict[str, tuple[Notes, bool]] = {
    "shut ever since": ([(60, "gate halted")], True),
    "shut for a moment, hours before": ([(60, "gate reconciling"), (63, "gate open")], False),
    "open again afterwards": ([(4 * HOUR - 9, "gate reconciling"), (4 * HOUR + 3, "gate open")], False),
    "the link, hours before": ([(60, "state: waiting to connect again")], False),
    "the link, just before": ([(4 * HOUR - 9, "state: waiting to connect again")], True),
    "the link, and the gate is open again": (
        [(4 * HOUR - 9, "state: waiting to connect again"), (4 * HOUR - 5, "gate open")], False
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_exit_that_live_never_ended_was_held_only_by_what_lasts(name: str) -> None:
    notes, named = HELD[name]
    wanted = [exit_of(0, "cancelled"), close_of(4 * HOUR)]
    found = causes(wanted, [exit_of(0, "open", ref="a"), wanted[1]], known(notes))["stop", "end"]
    assert found.startswith("nothing could take its place: ") if named else found == UNEXPLAINED


@pytest.mark.parametrize("name", HELD)
def test_exit_that_outlived_the_models_was_held_only_by_what_lasts(name: str) -> None:
    notes, named = HELD[name]
    if name == "open again afterwards":
        named = True  # it has filled by then
    fill = FillFact(9, -10.0, 390.0, 1.0, at(4 * HOUR + 1))
    wanted = [exit_of(0, "cancelled"), exit_of(4 * HOUR, "open", price=391.0)]
    found = causes(wanted, [exit_of(0, "filled", fill, ref="a"), wanted[1]], known(notes))
    words = {found["stop", what] for what in ("end", "fill")}
    assert len(words) == 1
    told = words.pop()
    assert (
        told.startswith("it filled before another could take its place: ") if named else told == UNEXPLAINED
    )


# ---------------------------------------------------------------- what TWS did
@pytest.mark.parametrize("market", [True, False])
def test_wrong_price_is_not_explained_by_the_end_of_the_other_exit(market: bool) -> None:
    """Live ends the limit with its stop; why it lay at another price nobody knows."""
    wanted = [limit_of(0, "open"), exit_of(0, "filled")]
    got = [limit_of(0, "cancelled", price=395.0, ref="b"), exit_of(0, "rejected", ref="a")]
    found = causes(wanted, got, known([], market=market, asked={"b": at(5)}))
    assert found["limit", "order"] == UNEXPLAINED
    assert found["limit", "end"] == UNEXPLAINED
    assert found["stop", "end"].startswith("rejected")
    same = causes(
        wanted, [replace(got[0], price=400.0), got[1]], known([], market=market, asked={"b": at(5)})
    )
    assert same["limit", "end"] == "its stop ended: rejected: TWS gave no reason"


@pytest.mark.parametrize("market", [True, False])
def test_wrong_price_is_not_explained_by_an_end_that_nobody_asked_for(market: bool) -> None:
    found = causes(
        [exit_of(0, "cancelled")], [exit_of(0, "cancelled", price=391.0, why="Order Canceled - reason:")],
        known([], market=market),
    )  # fmt: skip
    assert found == {("stop", "order"): UNEXPLAINED}


@pytest.mark.parametrize("why", ["", "Order Canceled - reason:"])
@pytest.mark.parametrize("market", [True, False])
def test_end_that_nobody_asked_for_is_tws_s_where_it_said_so_or_in_a_market(market: bool, why: str) -> None:
    """In a rehearsal TWS tells each end (IB: 202), so that one without a word is not known to be its."""
    found = causes(
        [exit_of(0, "open")], [exit_of(0, "cancelled", why=why, ref="a")], known([], market=market)
    )
    named = f"nobody here asked for it, and TWS cancelled it{': ' * bool(why)}{why}"
    assert found == {("stop", "end"): named if market or why else UNEXPLAINED}


@pytest.mark.parametrize("market", [True, False])
def test_order_that_the_model_has_not_is_not_explained_by_its_end(market: bool) -> None:
    found = causes([], [exit_of(0, "cancelled", why="Order Canceled - reason:")], known([], market=market))
    assert found == {("stop", "order"): UNEXPLAINED}


def test_wrong_price_does_not_follow_from_what_became_of_the_other_exit() -> None:
    wanted = [exit_of(0, "filled"), limit_of(0, "open"), exit_of(60, "open", price=391.0)]
    got = [exit_of(0, "rejected"), limit_of(0, "open", price=395.0), exit_of(60, "open", price=380.0)]
    assert [(pair.order.price, row[4]) for pair in compared(wanted, got, known([])) for row in pair.found] == [
        (390.0, "rejected: TWS gave no reason"), (400.0, UNEXPLAINED),
        (391.0, "follows from what was different at 2024-05-15T14:16:00"),
    ]  # fmt: skip
