"""Bundled macd on days of MSFT under the fault script that promotion plays: what it costs has its cause named."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import quant as q
from quant.core.barsize import SECOND
from quant.core.synthetic import synthetic
from quant.live.orders.dispatch import Dispatch
from quant.promotion import causes, rehearse
from quant.promotion.belated import Belated
from quant.promotion.causes import UNEXPLAINED, Evidence
from quant.promotion.difference import Difference, compared
from quant.promotion.facts import FillFact, OrderFact
from quant.promotion.rehearsal import FAULTS, Rehearsal, in_session
from quant.tws.faults import read as read_faults
from quant.tws.order_faults import OrderDo, OrderFault

ROOT = Path(__file__).parents[2]
SLOW = {
    40: {"fast": 4, "slow": 40, "signal": 5},
    50: {"fast": 24, "slow": 50, "signal": 15},
}  # of the README's grid
SENT_AGAIN = "no answer from the broker in 10 s; sent again at "


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """What breaks on purpose is logged."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def days(slow: int, faults: Any = FAULTS, count: int = 500) -> Rehearsal:
    bars = q.bars("MSFT", "1d", data=ROOT / "data")[-500:][:count]
    return rehearse("macd", bars, params=SLOW[slow], faults=faults)


def without(monkeypatch: pytest.MonkeyPatch, rule: str = "belated") -> None:
    """Take the rule out of the table."""
    monkeypatch.setattr(causes, "RULES", {n: r for n, r in causes.RULES.items() if n != rule})


@pytest.mark.parametrize("slow", SLOW)
def test_order_that_was_dropped_and_filled_a_day_later_is_named(slow: int) -> None:
    found = days(slow)
    first = found.differences[0]
    assert found.ok, str(found)
    assert first.what == "fill"
    assert first.cause.startswith(SENT_AGAIN)
    before, after = (int(side.rpartition(" ")[2]) for side in (first.backtest, first.live))
    assert after == before + 1
    assert first.backtest.split()[0] == first.live.split()[0]  # all of it, a bar later


@pytest.mark.parametrize("slow", SLOW)
def test_without_its_rule_nobody_knows_why(slow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    found = days(slow, [OrderFault(OrderDo.DROP, skip=3)], 130)
    assert found.differences[0].cause == UNEXPLAINED
    assert not found.ok


@pytest.mark.parametrize(
    ("skip", "words"), [(2, "; TWS showed it at "), (3, "; sent again at ")], ids=["entry", "close"]
)
def test_order_that_tws_answered_late_is_named(
    skip: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is dropped: it comes to TWS 90 s later, whoever waits for it. An entry is not sent again, a close is."""
    bars = in_session(q.bars("SPY", "1m", data=ROOT / "data"))[:100]
    late = OrderFault(OrderDo.LATE, skip=skip, seconds=90.0)

    def first() -> Difference:
        found = rehearse("macd", bars, sizing="shares:10", start_rule="first-target", faults=[late])
        assert found.broken == ()
        return found.differences[0]

    assert first().cause.startswith("no answer from the broker in 10 s")
    assert words in first().cause
    without(monkeypatch)
    assert first().cause == UNEXPLAINED


def test_exit_that_filled_in_parts_over_several_bars_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The builtin script cuts each fill; what is left of a stop fills with the bars that come."""
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-05", price=400.0, seed=3)[:40]
    parts = OrderFault(OrderDo.PARTS, count=0, share=0.5)

    def only() -> Difference:
        found = rehearse(
            "opening_range",
            bars,
            params={"volume": 0.0},
            sizing="shares:10",
            start_rule="first-target",
            faults=[parts],
        )
        assert found.broken == ()
        (difference,) = found.differences
        assert difference.what == "fill"
        return difference

    assert only().cause.startswith("TWS filled it in 4 parts, the last at 2024-03-04T14:57")
    without(monkeypatch, "in parts")
    assert only().cause == UNEXPLAINED


def test_exit_that_filled_as_the_link_was_down_and_nothing_could_take_its_place_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TWS restarts for five minutes; the model moves its stop on in each of them."""
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-05", price=400.0, seed=3)[:165]
    restart = OrderFault(OrderDo.NIGHTLY, after_s=9000, seconds=300, lost_s=0.0)

    def first() -> Difference:
        found = rehearse(
            "macd_stochastic", bars, sizing="shares:10", start_rule="first-target", faults=[restart]
        )
        assert found.broken == ()
        difference = found.differences[0]
        assert (difference.what, difference.backtest, difference.live) == ("end", "cancelled", "filled")
        return difference

    assert first().cause.startswith("it filled before another could take its place: state: ")
    without(monkeypatch, "outlived")
    assert first().cause == UNEXPLAINED


@pytest.mark.parametrize(
    ("seed", "strategy", "fault", "rule", "words"),
    [
        (204, "macd_stochastic", OrderFault(OrderDo.CANCEL_FILLS, skip=3, seconds=3), "outlived",
         "its cancellation was asked for at 2024-03-04T15:36:00, and it filled all the same"),
        (208, "macd", OrderFault(OrderDo.STUCK, skip=4, seconds=90), "belated",
         "TWS held it back as PreSubmitted, and told otherwise at 2024-03-04T15:45:00"),
    ],
    ids=["cancelled and filled", "held back"],
)  # fmt: skip
def test_order_that_tws_worked_otherwise_than_asked_is_named(
    seed: int, strategy: str, fault: OrderFault, rule: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an exit cannot be modified: its end is asked for, and another one waits for that."""
    monkeypatch.setattr(Dispatch, "_modify", lambda *_: False)
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-04", price=400.0, seed=seed)[:85]

    def causes_of() -> list[str]:
        found = rehearse(strategy, bars, sizing="shares:10", start_rule="first-target", faults=[fault])
        assert found.broken == ()
        return [d.cause for d in found.differences]

    assert causes_of()[0] == words
    assert UNEXPLAINED not in causes_of()
    without(monkeypatch, rule)
    assert causes_of()[0] == UNEXPLAINED


def test_order_that_was_sent_again_before_its_bar_began_explains_no_later_fill() -> None:
    """Dropped and sent again at once, it is at TWS in time for the next bar: no reason for a later one."""
    end = 1_599_595_200 * SECOND
    sides = [
        OrderFact(
            0,
            end,
            "close",
            "market",
            -416.0,
            math.nan,
            "filled",
            [FillFact(row, -416.0, 204.91, 1.0)],
            ref="q1",
        )
        for row in (121, 122)
    ]
    for row, cause in ((121, UNEXPLAINED), (122, "sent again")):
        known = Evidence(["MSFT"], belated={"q1": Belated(row, "sent again")})
        assert compared(sides[:1], sides[1:], known)[0].found[0][4] == cause
    same = Evidence(["MSFT"], belated={"q1": Belated(122, "sent again")})
    sides[1].fills = [FillFact(121, -416.0, 205.0, 1.0)]
    assert compared(sides[:1], sides[1:], same)[0].found[0][4] == UNEXPLAINED  # in the backtest's own bar


def exit_order(status: str, *fills: FillFact, price: float = 205.0, ref: str = "") -> OrderFact:
    return OrderFact(
        0, 1000 * SECOND, "stop", "stop", -10.0, price, status, list(fills), 1000 * SECOND, ref=ref
    )


def test_cancel_that_came_too_late_explains_no_other_price_of_an_exit() -> None:
    """A stop that stood wrong fills where the model's does not: the wrong price is what nobody can explain."""
    fill = FillFact(7, -10.0, 206.0, 1.0, 1200 * SECOND)
    known = Evidence(["MSFT"], asked={"q1": 1100 * SECOND})
    right, wrong = (exit_order("filled", fill, price=price, ref="q1") for price in (205.0, 206.0))
    right.why = "no MSFT is held any more"  # why its end was asked for: no reason why it filled
    (pair,) = compared([exit_order("cancelled")], [right], known)
    assert {cause for *_, cause in pair.found} == {
        "its cancellation was asked for at 1970-01-01T00:18:20, and it filled all the same"
    }
    (pair,) = compared([exit_order("cancelled")], [wrong], known)
    assert pair.found[0][0] == "order"
    assert pair.found[0][4] == UNEXPLAINED


@pytest.mark.parametrize(
    ("model", "parts", "explained"),
    [((-10.0,), (-4.0, -6.0), True), ((-10.0,), (-10.0, -10.0), False), ((), (-4.0, -6.0), False)],
    ids=["the same in all", "more than was asked for", "the model has no fill"],
)
def test_parts_explain_only_a_fill_that_the_model_has_too(
    model: tuple[float, ...], parts: tuple[float, ...], explained: bool
) -> None:
    old = [FillFact(7, quantity, 205.0, 1.0) for quantity in model]
    new = [FillFact(7 + n, q, 205.0 - n, 1.0, (1000 + n) * SECOND) for n, q in enumerate(parts)]
    (pair,) = compared([exit_order("filled", *old)], [exit_order("filled", *new)], Evidence(["MSFT"]))
    (found,) = pair.found
    assert found[0] == "fill"
    assert found[4].startswith("TWS filled it in 2 parts") == explained
    assert (found[4] == UNEXPLAINED) != explained


def test_differences_without_a_cause_are_shown_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text has 20 of them: what nobody can explain must be among these."""
    without(monkeypatch)
    late = OrderFault(OrderDo.LATE, skip=2, seconds=90.0)  # its account goes other ways from there on
    bars = in_session(q.bars("SPY", "1m", data=ROOT / "data"))[:100]
    found = rehearse("macd", bars, sizing="shares:10", start_rule="first-target", faults=[late])
    known = [replace(d, cause="known") for d in found.differences] * 9
    many = replace(found, differences=(*known, *found.differences))
    told = [line for line in str(many).splitlines() if " SPY " in line and "; " in line]
    assert len(found.differences) > 5
    assert told[0].endswith(UNEXPLAINED)
    assert f"... and {10 * len(found.differences) - 20} more; --json has all" in str(many)


def test_documents_have_the_script_as_it_is_played(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "rehearsal.md").read_text(encoding="utf-8")
    script = tmp_path / "builtin.toml"
    block = text.partition("<!-- file: builtin.toml -->\n```toml\n")[2].partition("```")[0]
    script.write_text(block, encoding="utf-8")
    assert tuple(read_faults(script)) == FAULTS
