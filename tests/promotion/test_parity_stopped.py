"""A session is compared for as long as the runner ran: what nobody ran misses nothing, diverges nowhere, is told."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from parity_days import Past, lived_through, spy

import quant as q
from quant.core.barsize import MINUTE, SECOND
from quant.errors import EmptyRange, NotTraded
from quant.live.run.tape import ALIVE, ENDED, BarLine, DecisionLine, LifeLine
from quant.promotion.causes import UNEXPLAINED, moment
from quant.promotion.parity import Parity


class EveryThird(q.Strategy):
    """Long for three minutes, flat for three: it depends on the time alone, so that history does not matter."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        return (bars.start // (3 * MINUTE) % 2).astype(np.float64)


FOR_EVER = 2**62


@cache
def part(first: int = 40, count: int = 60) -> Past:
    """A session of 160 minutes, of which a runner had some."""
    bars = spy(0, 160)
    begin, end = int(bars.start[first]) + SECOND, int(bars.end[first + count - 1]) + 10 * SECOND
    return lived_through(EveryThird, bars, gone=[(0, begin), (end, FOR_EVER)])


@cache
def slept() -> Past:
    """All of the session, but for the minutes behind rows 70 to 90."""
    ends = spy(0, 160).end
    return lived_through(EveryThird, spy(0, 160), gone=[(int(ends[70]) + SECOND, int(ends[90]) + SECOND)])


def assert_nothing(found: Parity) -> None:
    assert found.differences == ()
    assert (found.diverged, found.unexplained, found.ok) == (0, 0.0, True)
    assert found.pnl[0] == pytest.approx(found.pnl[1], abs=0.005)


def test_what_nobody_ran_before_and_after_is_not_compared() -> None:
    past = part()
    found, ends = past.parity(), past.bars[0].end
    assert_nothing(found)
    assert (found.bars.equal, found.bars.missing) == (60, 0)
    assert found.compared == (int(ends[39]), int(ends[99]))
    assert found.session == (int(past.bars[0].start[0]), int(ends[159]))
    assert found.not_running_s == 100 * 60
    assert len(found.fills) >= 15
    text = " ".join(found.findings)
    assert f"from {moment(int(ends[39]))} to {moment(int(ends[99]))}" in text
    assert found.line["not_running_s"] == 6000.0


def test_position_is_marked_at_the_last_bar_that_live_saw() -> None:
    """Stopped while long: the bars that came afterwards are no profit of anybody's."""
    past = part(40, 62)
    own, held, cash = past.bars[0], 0.0, 0.0
    for fact in past.ledger.facts:
        report = fact.report
        if hasattr(report, "exec_id") and hasattr(report, "price"):
            held += float(report.quantity)
            cash -= float(report.quantity) * report.price
        elif hasattr(report, "amount"):
            cash -= report.amount
    assert held  # else the test shows nothing
    assert past.parity().pnl[1] == pytest.approx(cash + held * float(own.close[101]), abs=0.005)


def test_session_that_ran_whole_is_compared_whole() -> None:
    found = lived_through(EveryThird, spy(0, 160)).parity()
    assert_nothing(found)
    assert found.compared == found.session
    assert found.not_running_s == 0.0


def test_bars_that_a_running_runner_did_not_get_are_missing() -> None:
    """Its signs of life go on: that it had no bars is no matter of its not running."""
    past = part()
    until = int(past.bars[0].end[119])
    lines = [LifeLine(ALIVE, at) for at in range(int(past.bars[0].end[99]), until, MINUTE)]
    found = replace(past, lines=(*past.lines, *lines, LifeLine(ENDED, until + MINUTE))).parity()
    assert found.bars.missing == 20
    assert found.compared[1] == until
    assert found.diverged > 0


def test_day_that_began_late_after_one_that_ran_to_its_end_begins_with_its_first_live_bar() -> None:
    bars = spy(195, 330)
    ends = bars.end
    past = lived_through(EveryThird, bars, gone=[(int(ends[194]) + 600 * SECOND, int(ends[230]) + SECOND)])
    found = past.parity()
    assert_nothing(found)
    # The newest bar, a second old, is one that it may still trade on.
    assert found.compared == (int(ends[229]), int(ends[-1]))
    assert found.gaps == ()
    assert found.not_running_s == (ends[229] - bars.start[195]) / SECOND


def test_runner_that_ran_at_the_open_without_bars_misses_them() -> None:
    """The session before was not its own; it was there at the open, and its first bars lack."""
    past = lived_through(EveryThird, spy(0, 160))
    ends = past.bars[0].end
    lines = tuple(x for x in past.lines if not (isinstance(x, BarLine) and x.end <= ends[19]))
    found = replace(past, lines=lines).parity()
    assert found.compared == found.session
    assert found.bars.missing == 20


def test_gap_between_two_runs_is_named_and_diverges_nowhere() -> None:
    past = slept()
    found, ends = past.parity(), past.bars[0].end
    assert (found.bars.missing, found.diverged, found.unexplained) == (0, 0, 0.0)
    words = f"not running from {moment(int(ends[70]))} to {moment(int(ends[90]) + SECOND)}"
    assert {d.cause for d in found.differences if not d.cause.startswith("follows")} == {words}
    assert UNEXPLAINED not in {d.cause for d in found.differences}
    assert any(row.why == words and row.same for row in found.decisions)
    assert found.part("missed") != 0.0
    assert [p.name for p in found.split if round(p.amount, 2)] == ["missed"]
    assert found.ok
    assert any(words in text for text in found.findings)
    assert found.not_running_s == pytest.approx(20 * 60, abs=2)


def test_gap_of_which_the_tape_knows_nothing_misses_no_bars_and_diverges_nowhere() -> None:
    past = slept()
    begin, end = (int(past.bars[0].end[row]) for row in (70, 90))
    lines = tuple(
        x for x in past.lines if not (isinstance(x, BarLine | DecisionLine) and begin < x.end <= end)
    )
    found = replace(past, lines=lines).parity()
    assert (found.bars.missing, found.diverged) == (0, 0)
    unmade = [row for row in found.decisions if row.live is None]
    assert len(unmade) == 7  # the rule changes its mind every three minutes
    assert all(row.same and row.why.startswith("not running from") for row in unmade)


def test_short_restart_that_lost_no_bar_is_no_gap() -> None:
    begin = int(spy(0, 160).end[70]) + 20 * SECOND
    past = lived_through(EveryThird, spy(0, 160), gone=[(begin, begin + 5 * SECOND)])
    found = past.parity()
    assert len(past.ledger.runs) == 2
    assert_nothing(found)
    assert found.not_running_s == 0.0


def test_fills_that_came_while_nothing_ran_are_told() -> None:
    """Stopped right after it had sent an order, which was filled then."""
    sent = part().ledger.intents[-3].at
    bars = spy(0, 160)
    row = int(np.searchsorted(bars.end, sent, side="right")) - 1  # the bar that it was decided on
    begin = int(bars.start[40]) + SECOND
    past = lived_through(EveryThird, bars, gone=[(0, begin), (int(bars.end[row]) + 10 * SECOND, FOR_EVER)])
    found = past.parity()
    assert_nothing(found)
    assert found.compared[1] == int(bars.end[row])
    assert any(text.endswith("are left out: 1") for text in found.findings)


def ran_only(begin: int, end: int) -> Past:
    """A process that ran for so long, and got the bars of the session that had closed by then as history."""
    past = part()
    bars = [x for x in past.lines if isinstance(x, BarLine) and x.end <= begin]
    lines = [replace(x, live=False, at=begin) for x in bars]
    ledger = replace(
        past.ledger, runs=(replace(past.ledger.runs[0], at=begin),), intents=(), facts=(), marks=(), snapshots=()
    )  # fmt: skip
    return replace(past, lines=(*lines, LifeLine(ENDED, end)), ledger=ledger)


@pytest.mark.parametrize("hours", [-1, 1])
def test_day_on_which_nothing_ran_is_refused(hours: int) -> None:
    own = part().bars[0]
    at = int(own.start[0] if hours < 0 else own.end[-1]) + hours * 3600 * SECOND
    session = f"between {moment(int(own.start[0]))} and {moment(int(own.end[-1]))}"
    with pytest.raises(NotTraded) as e:
        ran_only(at, at + MINUTE).parity()
    assert str(e.value).endswith(f"has nothing of 2020-12-15: it did not run {session}")


@pytest.mark.parametrize("row", [0, 50])
def test_day_of_which_no_bar_closed_while_it_ran_is_refused_and_that_is_said(row: int) -> None:
    at = int(part().bars[0].start[row])
    begin, end = at + 10 * SECOND, at + 40 * SECOND
    with pytest.raises(NotTraded) as e:
        ran_only(begin, end).parity()
    told = f"it ran from {moment(begin)} to {moment(end)}, and no bar closed in that time"
    assert str(e.value).endswith(f"has nothing of 2020-12-15: {told}")


def test_day_without_bars_is_refused_with_those_that_there_are() -> None:
    """A Saturday: what the bars do not have is no matter of the deployment's running."""
    with pytest.raises(
        EmptyRange, match="no bars in 2020-12-19; the store holds SPY 2020-12-15 to 2020-12-15"
    ):
        part().parity("2020-12-19")
