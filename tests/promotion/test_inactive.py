"""Orders that TWS holds back as Inactive without having refused them: no second one fills, and they are the cause."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import test_modified_exits as exits
from test_modified_exits import BARS, NEVER, REF, without
from test_no_false_cause import at, causes, exit_of

from quant.core.synthetic import synthetic
from quant.oms.ledger import SMALLER, Mark, What
from quant.promotion import rehearse
from quant.promotion.belated import Belated, belated
from quant.promotion.causes import UNEXPLAINED, Evidence
from quant.promotion.facts import FillFact
from quant.promotion.rehearsal import Rehearsal
from quant.tws.order_faults import OrderDo, OrderFault

HELD = "TWS held it back as Inactive"


def followed(seed: int, seconds: float, **which: Any) -> Rehearsal:
    """A stop that follows each close closely; one of its orders is Inactive for a time, 0 = for ever."""
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-05", price=400.0, seed=seed)[:100]
    fault = OrderFault(OrderDo.INACTIVE, seconds=seconds, **which)
    found = rehearse(
        "macd_stochastic", bars, params={"atr_period": 10, "atr_factor": 0.7}, sizing="shares:10",
        start_rule="first-target", faults=[fault],
    )  # fmt: skip
    assert found.faulty
    return found


@pytest.mark.parametrize("seconds", [3.0, 20.0, 60.0])
@pytest.mark.parametrize(
    ("seed", "which"), [(3, {"on": "modify", "skip": 6}), (5, {"on": "place", "skip": 1})]
)
def test_stop_that_is_inactive_for_a_while_never_fills_beside_another(
    seed: int, which: dict[str, Any], seconds: float
) -> None:
    found = followed(seed, seconds, **which)
    assert found.broken == (), str(found)
    assert found.ok, str(found)


ENTRY = (2, {"on": "place", "skip": 0})
STOP = (34, {"on": "modify", "skip": 4})


@pytest.mark.parametrize(("seed", "which"), [ENTRY, STOP], ids=["entry", "stop"])
def test_order_that_stays_inactive_is_the_cause_of_what_follows(
    seed: int, which: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = followed(seed, 0.0, **which)
    assert found.ok, str(found)
    assert [row.cause for row in found.differences][:2] == [HELD, HELD]
    without(monkeypatch, "belated")
    assert UNEXPLAINED in {row.cause for row in followed(seed, 0.0, **which).differences}


# ---------------------------------------------------------------- the journal alone
def shown(word: str, seconds: float) -> Any:
    fact = exits.echo(390.0, seconds)
    return replace(fact, report=replace(fact.report, status=word))


@pytest.mark.parametrize(
    ("after", "row", "words"),
    [
        ([], NEVER, HELD),
        ([("Inactive", 90.0), ("PendingCancel", 95.0), ("Cancelled", 96.0)], NEVER, HELD),
        ([("PreSubmitted", 130.0)], 13, f"{HELD}, and told otherwise at 2024-03-04T14:42:10"),
    ],
    ids=["for ever", "until it was cancelled", "for a while"],
)
def test_since_when_and_until_when_follow_from_the_journal(
    after: list[tuple[str, float]], row: int, words: str
) -> None:
    """The order went out as bar 10 began; of bar 11 some had passed."""
    facts = [shown("Inactive", 70.0), *(shown(word, seconds) for word, seconds in after)]
    made = exits.ledger(exits.moved(390.0, 60), *facts)
    known = Belated(row, words, since=11)
    assert belated(made, [BARS]) == {REF: known, f"{REF}/2": known}
    assert belated(exits.ledger([], shown("Submitted", 70.0)), [BARS]) == {}


def test_what_is_known_of_a_price_comes_first() -> None:
    made = exits.ledger(exits.moved(391.0, 60), shown("Inactive", 70.0))
    assert [known.words for known in belated(made, [BARS]).values()] == [
        "TWS never showed its new price",
        HELD,
    ]


def test_it_counts_from_the_bar_on_that_ends_after_it() -> None:
    made = exits.ledger([], shown("Inactive", 120.0))  # as bar 11 ends
    assert belated(made, [BARS]) == {REF: Belated(NEVER, HELD, since=12)}


def test_of_one_that_was_belated_from_the_first_bar_on_another_price_is_not_explained() -> None:
    one, two = (
        exit_of(0, "filled", FillFact(7, -10.0, price, 1.0, at(60)), ref="q1:d:2") for price in (390.0, 389.0)
    )
    evidence = Evidence(["SPY"], belated={"q1:d:2": Belated(8, "sent again")})
    assert causes([one], [two], evidence)["stop", "fill"] == UNEXPLAINED


@pytest.mark.parametrize(
    ("model", "live", "explained"),
    [
        (4, None, False), (5, None, True), (7, None, True), (8, None, False),
        (7, (7, 389.0), True), (7, (8, 389.0), True), (7, (6, 389.0), False),
    ],
)  # fmt: skip
def test_it_is_the_cause_only_of_fills_of_its_time(
    model: int, live: tuple[int, float] | None, explained: bool
) -> None:
    """It did not work from bar 5 on, and again once bar 7 had begun. fills: bar and price."""
    one = exit_of(0, "filled", FillFact(model, -10.0, 390.0, 1.0))
    fills = () if live is None else (FillFact(live[0], -10.0, live[1], 1.0, at(60)),)
    two = exit_of(0, "cancelled" if live is None else "filled", *fills, ref="q1:d:2")
    evidence = Evidence(["SPY"], belated={"q1:d:2": Belated(8, HELD, since=5)}, asked={"q1:d:2": at(30)})
    found = causes([one], [two], evidence)
    assert found["stop", "fill"] == (HELD if explained else UNEXPLAINED)


# ---------------------------------------------------------------- for less than was asked
def test_order_that_somebody_made_smaller_and_that_fills_so_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds after the stop was moved, before the books are read and it is put right."""
    bars = synthetic("SPY", "1m", "2024-03-04", "2024-03-05", price=400.0, seed=2)[:100]
    fault = OrderFault(OrderDo.HAND_MODIFY, on="modify", skip=1, seconds=2.0, quantity=5.0)

    def found() -> Rehearsal:
        return rehearse(
            "macd_stochastic", bars, params={"atr_period": 10, "atr_factor": 0.7}, sizing="shares:10",
            start_rule="first-target", faults=[fault],
        )  # fmt: skip

    first = next(row for row in found().differences if row.what == "fill")
    assert first.cause.startswith("TWS showed it for 5 instead of 10 at 2024-03-04T")
    without(monkeypatch, "belated")
    assert next(row for row in found().differences if row.what == "fill").cause == UNEXPLAINED


@pytest.mark.parametrize(("filled", "explained"), [(-5.0, True), (-4.0, False), (-10.0, False)])
def test_what_tws_had_is_what_fills(filled: float, explained: bool) -> None:
    one = exit_of(0, "filled", FillFact(3, -10.0, 390.0, 1.0))
    two = exit_of(0, "filled", FillFact(3, filled, 389.0, 1.0, at(60)), ref="q1:d:2")
    evidence = Evidence(["SPY"], belated={"q1:d:2": Belated(0, "TWS showed it for 5", only=5.0)})
    assert causes([one], [two], evidence)["stop", "fill"] == (
        "TWS showed it for 5" if explained else UNEXPLAINED
    )


def test_less_than_was_asked_is_ours_where_we_asked_for_less() -> None:
    less = exits.echo(390.0, 30.0)
    less = replace(less, report=replace(less.report, quantity=Decimal(-5)))
    known = Belated(0, "TWS showed it for 5 instead of 10 at 2024-03-04T14:40:30", only=5.0)
    assert belated(exits.ledger([], less), [BARS]) == {REF: known}
    assert belated(exits.ledger([], less, exits.echo(390.0, 40.0)), [BARS]) == {}
    ours = Mark(200, REF, What.SENT, exits.at(20.0), f"{SMALLER}: less is held")
    assert belated(exits.ledger([ours], less), [BARS]) == {}
