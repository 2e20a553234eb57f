"""What live said of itself is a cause only of what it can be one of, on the instrument that it is about."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from parity_days import Past, lived_through, spy
from test_parity_causes import decisions, named

from quant.core.barsize import MINUTE, SECOND
from quant.live.run.tape import NoteLine
from quant.promotion.causes import UNEXPLAINED, Evidence, moment
from quant.promotion.difference import compared
from quant.promotion.facts import FillFact, OrderFact
from quant.promotion.said import About, said

END = 1_715_782_560 * SECOND  # 2024-05-15T14:16:00
ODD = "odd_row: SPY no prices, or no time, that can be Row(start=0, open=0.0, volume=0.0)"
NOTES = {
    ODD: About.PIECE,
    "odd_row: SPY: no prices, or no time, that can be": About.PIECE,  # as a rehearsal has it
    "odd_row: SPYG no prices, or no time, that can be": None,
    "state: waiting to connect again the connection to TWS broke": About.LINK,
    "state: ready": None,
    "state: closed": None,
    "data_gap: SPY no bars from 2024-05-15 14:15:00 to 2024-05-15 14:16:00 UTC (1 bar)": About.BARS,
    "data_gap: QQQ no bars from 2024-05-15 14:15:00 to 2024-05-15 14:16:00 UTC (1 bar)": None,
    "delayed: SPY IB sends delayed data; orders wait for live data": About.BARS,
    "notice: SPY history failed: nobody answered": About.BARS,
    "notice: 1100: Connectivity between IB and TWS has been lost": About.LINK,
    "notice: 2103: Market data farm connection is broken:usfarm": About.LINK,
    "notice: 2104: Market data farm connection is OK:usfarm": None,
    "notice: 399: Order Message: SELL 305 SPY": None,
    "revised: SPY Row(start=0) Row(start=0)": None,
    "gate reconciling": About.GATE,
    "gate: halted": About.GATE,
    "gate open": About.OPEN,
    "gate: open": About.OPEN,
    "STOP: SPY: the broker holds 0, ours are 305": None,
    "alarm: SPY: the broker holds 37, ours are 0; 37 left over, taken as: baseline": None,
    "sell 305 SPY MKT: filled, 305": None,
    "somebody: clear: cleared": None,
}


def evidence(words: str, at: int = END - 5 * SECOND, **more: frozenset[tuple[int, int]]) -> Evidence:
    return Evidence(["SPY"], said=said([(at, words)], ["SPY"]), market=True, **more)


def order(**more: Any) -> OrderFact:
    made = OrderFact(0, END, "close", "market", -305.0, math.nan, "filled", sent=END)
    return replace(made, **more)


def cause(one: OrderFact | None, two: OrderFact | None, known: Evidence) -> str:
    found = compared([one] if one else [], [two] if two else [], known)[0].found
    return found[0][4]


# ---------------------------------------------------------------- notes
@pytest.mark.parametrize("words", NOTES)
def test_note_is_about_one_thing_or_nothing(words: str) -> None:
    assert [one.about for one in said([(END, words)], ["SPY", "SPY"])] == (
        [NOTES[words]] if NOTES[words] else []
    )


@pytest.mark.parametrize("words", NOTES)
def test_no_note_is_the_cause_of_an_order_that_lacks_by_itself(words: str) -> None:
    assert cause(order(), None, evidence(words)) == UNEXPLAINED


@pytest.mark.parametrize("words", NOTES)
def test_bar_that_came_late_did_so_for_its_link_or_its_own_stream(words: str) -> None:
    told = cause(order(), None, evidence(words, late=frozenset({(0, END)})))
    why = f": {words}, {moment(END - 5 * SECOND)}" if NOTES[words] in (About.LINK, About.BARS) else ""
    assert told == f"its bar could not be traded in time{why}"


@pytest.mark.parametrize("words", NOTES)
def test_order_that_was_sent_late_waited_for_its_bar_or_for_the_gate(words: str) -> None:
    filled = [FillFact(3, -305.0, 100.0, 1.0, END + 12 * SECOND)]
    one, two = order(fills=[FillFact(2, -305.0, 100.0, 1.0)]), order(sent=END + 10 * SECOND, fills=filled)
    named_ones = (About.LINK, About.BARS, About.GATE)
    why = f": {words}, {moment(END - 5 * SECOND)}" if NOTES[words] in named_ones else ""
    assert cause(one, two, evidence(words)) == f"sent 10 s after its bar's END{why}"


@pytest.mark.parametrize("words", NOTES)
def test_bar_that_is_another_one_is_so_for_its_link_its_stream_or_a_piece_of_its_time(words: str) -> None:
    about = NOTES[words]
    told = evidence(words).of_bar(0, END, MINUTE)
    assert bool(told) == (about in (About.LINK, About.BARS, About.PIECE))
    assert evidence(words, END - 90 * SECOND).of_bar(0, END, MINUTE) == "" or about is not About.PIECE
    assert evidence(words, END - 20 * MINUTE).of_bar(0, END, MINUTE) == ""


def test_another_commission_is_not_explained_by_what_was_said_at_some_time() -> None:
    """Of a rehearsal, whose stage bills what the backtest pays."""
    paid = [order(fills=[FillFact(2, -305.0, 100.0, fee)]) for fee in (1.0, 2.0, math.nan)]
    known = replace(evidence("state: waiting to connect again"), market=False)
    assert cause(paid[0], paid[1], known) == UNEXPLAINED
    assert cause(paid[0], paid[2], known) == "TWS has not told its commission"


@pytest.mark.parametrize(
    ("notes", "price", "named"),
    [
        (["gate: closed"], 99.0, True), (["gate: closed", "gate: open"], 99.0, False),
        (["gate reconciling"], 99.0, True),
        (["state: waiting to connect again"], 99.0, False), (["gate: closed"], math.nan, False), ([], 99.0, False),
    ],
    ids=["shut", "opened again", "not open yet", "nothing of the gate", "at the market", "silence"],
)  # fmt: skip
def test_exit_that_lacks_waited_only_where_the_gate_was_shut_as_it_was_decided(
    notes: list[str], price: float, named: bool
) -> None:
    said_so = said([(END - (9 - n) * SECOND, words) for n, words in enumerate(notes)], ["SPY"])
    kind = "market" if math.isnan(price) else "stop"
    one = order(reason="stop", kind=kind, price=price, status="cancelled")
    words = (
        f"it could not be sent before the next was decided: {notes[0]}, {moment(END - 9 * SECOND)}"
        if notes
        else ""
    )
    assert cause(one, None, Evidence(["SPY"], said=said_so)) == (words if named else UNEXPLAINED)


# ---------------------------------------------------------------- a day
def without_third_order(past: Past) -> Past:
    """The same day, of which the journal has lost an order: nobody knows why."""
    lost = past.ledger.intents[2].ref
    facts = tuple(f for f in past.ledger.facts if getattr(f.report, "ref", "") != lost)
    marks = tuple(m for m in past.ledger.marks if m.ref != lost)
    intents = tuple(i for i in past.ledger.intents if i.ref != lost)
    return replace(past, ledger=replace(past.ledger, facts=facts, marks=marks, intents=intents))


@pytest.mark.parametrize(
    "words", [ODD, "sell 10 SPY MKT: filled, 10", "state: waiting to connect again it broke"]
)
def test_order_that_lacks_for_no_known_reason_is_reported_so_whatever_was_logged(words: str) -> None:
    """All bars are equal and the decision is the model's: nothing that was said of them is why."""
    past = without_third_order(lived_through(feeds=spy(0, 130)))
    note = NoteLine(words, decisions(past)[2] - 5 * SECOND)
    found = replace(past, lines=(*past.lines, note)).parity()
    assert found.bars.rows == ()
    assert found.diverged == 0
    first = found.differences[0]
    assert (first.what, first.live, first.cause) == ("order", "", UNEXPLAINED), named(found)
    assert not found.ok
    assert (note.at, words) in found.notes


@pytest.mark.parametrize(("filled_s", "follows"), [(20, False), (80, True)])
def test_an_order_that_lacks_while_an_earlier_one_still_fills_follows_from_that(
    filled_s: int, follows: bool
) -> None:
    """Sent late after a restart: at the next bar live still holds what the model has closed."""

    def fill(at: int) -> list[FillFact]:
        return [FillFact(1 + at // 60, -305.0, 337.5, 1.0, time=END + at * SECOND)]

    entry = order(decided=END + MINUTE, reason="entry", quantity=305.0)
    sides = [order(fills=fill(0)), entry], [order(fills=fill(filled_s), sent=END + 15 * SECOND)]
    _, missed = compared(*sides, Evidence(["SPY"], market=True))
    assert missed.found[0][4] == (
        f"follows from what was different at {moment(END)}" if follows else UNEXPLAINED
    )
