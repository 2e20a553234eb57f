"""The gates as rules: what passes, what is held and what was not run, over made-up evidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from quant.app import config
from quant.errors import ParameterError
from quant.promotion.gates import rules
from quant.promotion.gates.promote import _NAMES
from quant.promotion.gates.values import (
    Charged,
    Checked,
    Completeness,
    Evidence,
    Origin,
    OutOfSample,
    PaperEvidence,
    Rehearsed,
    Session,
    Thresholds,
    Verdict,
)
from quant.promotion.parity.value import BarCount, FillRow, Parity

OK = Checked("ok", "seen")
OUTSIDE = OutOfSample("walk-forward", "w", 0.8, 60, "2024-01-02", "2024-03-28")
REHEARSED = Rehearsed(bars=500, fills=12, ok=True)
LIMITS = {"max_notional": 1e5, "max_gross": 1.5e5, "daily_loss": 0.02}
GOOD = Evidence(
    checks=dict.fromkeys(("look-ahead", "warm-up", "determinism", "edges", "engines", "names"), OK),
    warmup=100, ahead=500, whole=True, bars=(Completeness("SPY", 1000, 0),), outside=OUTSIDE, how_outside="quant walk",
    trades=40, orders=100, rejected=1, deflated=0.97, trials=12, costs="ib-fixed",
    charged=Charged(100.0, "ib-tiered", 80.0), slippage="percent:0.01",
    rehearsal=REHEARSED, faults=REHEARSED, capital=1e5, limits=LIMITS, origins=(Origin("SPY", "ib", 756733),),
)  # fmt: skip


def day(number: int, ok: bool = True, **changes: Any) -> Session:
    return replace(
        Session(f"2024-05-{number:02}", ok, 0.0, decisions=9, orders=20, missed=1, over=True), **changes
    )


DAYS = tuple(map(day, range(1, 21)))
PROVEN = PaperEvidence(
    name="macd-spy-1m",
    gates=(("trades", "pass", ""), ("costs", "held", "small")),
    sessions=DAYS,
    uncompared=(),
    halted="",
    ran=True,
    said=LIMITS,
)


def verdicts(**changes: Any) -> dict[str, Verdict]:
    return {v.name: v for v in (rule(replace(GOOD, **changes), Thresholds()) for rule in rules.TO_PAPER)}


def proven(**changes: Any) -> dict[str, Verdict]:
    return {v.name: v for v in (rule(replace(PROVEN, **changes), Thresholds()) for rule in rules.TO_LIVE)}


def failing(found: dict[str, Verdict]) -> dict[str, str]:
    return {name: v.outcome for name, v in found.items() if v.outcome != "pass"}


# ---------------------------------------------------------------- all of them
def test_good_evidence_passes_every_gate_each_with_a_sentence() -> None:
    for found in (verdicts(), proven()):
        assert failing(found) == {}
        assert all(v.sentence and "\n" not in v.sentence for v in found.values())


def test_names_are_those_that_can_be_overridden() -> None:
    assert tuple(verdicts()) == _NAMES["paper"]
    assert tuple(proven()) == _NAMES["live"]
    assert set(_NAMES["paper"]) | set(_NAMES["live"]) > rules.FIRM


def test_thresholds_are_settings_with_the_same_defaults() -> None:
    known = {key.name: key.default for key in config.KEYS if key.section == "promote"}
    assert known == {f.name: getattr(Thresholds(), f.name) for f in fields(Thresholds)}


@pytest.mark.parametrize(
    "given",
    [
        {"rehearsal_bars": 0},
        {"sessions": 0},
        {"trades": -1},
        {"missing": math.nan},
        {"out_of_sample": math.inf},
    ],
)
def test_thresholds_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(given))):
        Thresholds(**given)
    Thresholds(out_of_sample=-1.0)


# ---------------------------------------------------------------- to paper, gate by gate
def part(name: str, verdict: str) -> dict[str, Any]:
    return {"checks": {**GOOD.checks, name: Checked(verdict, "so it is")}}


HELD: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "it looks ahead": (part("look-ahead", "failed"), {"look-ahead": "held"}, "so it is"),
    "look-ahead not checked": (part("look-ahead", "not applicable"), {"look-ahead": "not run"}, "could not be checked"),
    "a note of look-ahead": (part("look-ahead", "note"), {}, ""),
    "chance": (part("determinism", "failed"), {"determinism": "held"}, "so it is"),
    "engines differ": (part("engines", "failed"), {"engines": "held"}, "so it is"),
    "warm-up not measured": (part("warm-up", "not applicable"), {"warm-up": "not run"}, "how much history"),
    "too little history": ({"warmup": 501}, {"warm-up": "held"}, "need 501 bars of history, live has 500"),
    "just enough history": ({"warmup": 500}, {}, ""),
    "never forgets, from the start": ({"warmup": None}, {}, ""),
    "never forgets, from later": ({"warmup": None, "whole": False}, {"warm-up": "held"}, "would begin later"),
    "no calendar": ({"bars": (Completeness("X", 9, None),)}, {"data": "not run"}, "no calendar is known for X"),
    "a thousandth is missing": ({"bars": (Completeness("SPY", 999, 1),)}, {}, ""),
    "more is missing": ({"bars": (Completeness("SPY", 998, 2),)}, {"data": "held"}, "2 bars of the calendar"),
    "one of two is missing": (
        {"bars": (Completeness("A", 1000, 0), Completeness("B", 1, 1))}, {"data": "held"}, "50.00% of B",
    ),
    "nothing out of sample": ({"outside": None}, {"out-of-sample": "not run"}, "make one: quant walk"),
    "what looks like it is none": (
        {"outside": None, "not_outside": "walk-forward w chose nothing"}, {"out-of-sample": "not run"},
        "that no choice had seen: walk-forward w chose nothing; make one: quant walk",
    ),
    "poor out of sample": ({"outside": replace(OUTSIDE, sharpe=0.29)}, {"out-of-sample": "held"}, "0.29"),
    "little out of sample": ({"outside": replace(OUTSIDE, sessions=29)}, {"out-of-sample": "held"}, "29 sessions"),
    "idle out of sample": ({"outside": replace(OUTSIDE, sharpe=math.nan)}, {"out-of-sample": "held"}, "did not trade"),
    "few trades": ({"trades": 29}, {"trades": "held"}, "29 closed trades, at least 30"),
    "as many as asked": ({"trades": 30}, {}, ""),
    "luck": ({"deflated": 0.949}, {"deflated-sharpe": "held"}, "all 12 trials"),
    "luck of one": ({"deflated": 0.1, "trials": 1}, {"deflated-sharpe": "held"}, "one trial"),
    "no ratio": ({"deflated": math.nan}, {"deflated-sharpe": "not run"}, "no Sharpe ratio"),
    "a twentieth rejected": ({"rejected": 5}, {"rejected": "held"}, "5 of 100 orders were rejected (5.0%)"),
    "no orders": ({"orders": 0, "rejected": 0}, {"rejected": "not run"}, "no order"),
    "no costs": ({"costs": "none"}, {"costs": "held"}, 'costs were "none"'),
    "costs of nothing": ({"costs": "percent:0"}, {"costs": "held"}, "percent:0"),
    "costs of little": ({"costs": "percent:0.01"}, {}, ""),
    "costs of half": ({"costs": "percent:0.01", "charged": Charged(40.0, "ib-tiered", 80.0)}, {}, ""),
    "costs of less": (
        {"costs": "percent:0.01", "charged": Charged(1039.2, "ib-tiered", 2080.0)}, {"costs": "held"},
        "costs percent:0.01 made 1,039.20 in all, 50% of the 2,080.00 that ib-tiered charges for the same fills, at",
    ),
    "costs of an unknown kind": ({"costs": "percent:0.01", "charged": Charged(1.0, unknown=("ES",))}, {}, ""),
    "costs without a fill": ({"charged": Charged(0.0, "ib-tiered", 0.0)}, {}, ""),
    "no slippage": ({"slippage": None}, {"costs": "held"}, "no slippage was stated"),
    "slippage said to be none": ({"slippage": "percent:0"}, {}, ""),
    "rehearsal differs": (
        {"rehearsal": replace(REHEARSED, ok=False, differences=3)}, {"rehearsal": "held"}, "differ 3 times",
    ),
    "rehearsal impossible": (
        {"rehearsal": Rehearsed(failed="a plain one")}, {"rehearsal": "not run"}, "cannot be rehearsed: a plain one",
    ),
    "rehearsal without fills": ({"rehearsal": Rehearsed(bars=9, ok=True)}, {"rehearsal": "not run"}, "the last 9 bars"),
    "faults unexplained": ({"faults": replace(REHEARSED, ok=False, differences=1)}, {"faults": "held"}, "differ once"),
    "faults not played": ({"faults": Rehearsed(failed="why")}, {"faults": "not run"}, "why"),
    "limits refuse": (
        {"rehearsal": replace(REHEARSED, refused=2, first_refused="short")}, {"limits": "held"}, "2 times", ),
    "a limit is none": ({"limits": {**LIMITS, "daily_loss": "none"}}, {"limits": "held"}, "--limit daily_loss=NUMBER"),
    "no limits": ({"limits": {}}, {"limits": "held"}, "max_notional, max_gross, daily_loss"),
    "imported": ({"origins": (Origin("SPY", "import", None),)}, {"contract": "held"}, "--contract SPY=CON_ID"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "costs ib-fixed, slippage percent:0.01"),
        (
            {"costs": "percent:0.05"},
            "costs percent:0.05, 125% of what ib-tiered charges, slippage percent:0.01",
        ),
        ({"slippage": "percent:0"}, "costs ib-fixed, slippage percent:0 (none)"),
        ({"slippage": "ticks:0.0"}, "costs ib-fixed, slippage ticks:0.0 (none)"),
        (
            {"costs": "percent:0.01", "charged": Charged(1.0, unknown=("ES",))},
            "costs percent:0.01 (no plan of IB's is known here for ES to compare them with), slippage percent:0.01",
        ),
    ],
)
def test_costs_that_pass_are_told(changes: dict[str, Any], told: str) -> None:
    assert verdicts(**changes)["costs"].sentence == told


@pytest.mark.parametrize("name", HELD)
def test_gate_to_paper(name: str) -> None:
    changes, outcomes, words = HELD[name]
    found = verdicts(**changes)
    assert failing(found) == outcomes
    assert all(words in found[gate].sentence for gate in outcomes)


@pytest.mark.parametrize(
    ("gate", "threshold", "value"),
    [("trades", 30.0, 40.0), ("deflated-sharpe", 0.95, 0.97), ("rejected", 0.05, 0.01), ("data", 0.001, 0.0),
     ("out-of-sample", 0.3, 0.8), ("warm-up", 100.0, 500.0)],
)  # fmt: skip
def test_numbers_of_a_gate_are_told(gate: str, threshold: float, value: float) -> None:
    found = verdicts()[gate]
    assert (found.threshold, found.value) == (threshold, value)
    assert found.to_dict()["outcome"] == "pass"


def test_thresholds_decide() -> None:
    asked = Thresholds(trades=41, deflated_sharpe=0.98, rejected=0.01, out_of_sample=0.9)
    found = {v.name: v for v in (rule(GOOD, asked) for rule in rules.TO_PAPER)}
    assert failing(found) == dict.fromkeys(("out-of-sample", "trades", "deflated-sharpe", "rejected"), "held")


# ---------------------------------------------------------------- to live
def test_the_record_of_a_halted_day_says_how_much_was_missed() -> None:
    def fill(model: float | None, live: float | None) -> FillRow:
        one, two = ((None, None, None) if q is None else (q, 100.0, 1.0) for q in (model, live))
        return FillRow(1, "SPY", "enter", *one, *two, difference=0.0)

    bare = Parity(
        "macd-spy-1m", "Macd", ("SPY",), "2024-05-15", BarCount(390, 0, 0, 0), (), (),
        (fill(5.0, 5.0), fill(5.0, None), fill(None, 5.0), fill(-5.0, None), fill(5.0, 2.0)), (0.0, 0.0), (), 0.0, (),
    )  # fmt: skip
    end = 1_715_803_200 * 10**9  # 2024-05-15 20:00 UTC
    for at, told in ((0, None), (end - 10**9, "2024-05-15T19:59:59"), (end, "2024-05-15T20:00:00")):
        line = replace(bare, over=end, at=at).line
        assert (line["orders"], line["missed"]) == (4, 2)
        assert (line["session_end"], line["compared_at"]) == ("2024-05-15T20:00:00", told)
    assert bare.line["session_end"] is None


STOPPED: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "never promoted": ({"gates": ()}, {"evidence": "not run"}, "without the gates to paper"),
    "a gate that held": ({"gates": (("trades", "held", ""),)}, {"evidence": "held"}, "held: trades"),
    "no session": ({"sessions": ()}, {"parity": "held"}, "no session of paper was compared, 20"),
    "none whole": (
        {"sessions": (day(21, not_running_s=7200.0),)}, {"parity": "held"},
        "0 sessions with parity one after the other, 20 are asked for; not counted: 2024-05-21 (over an hour of it was",
    ),
    "one was not over": (
        {"sessions": (*DAYS[1:], day(21, over=False))}, {"parity": "held"}, "2024-05-21 (it was not over when it was",
    ),
    "one of an earlier release": (
        {"sessions": (*DAYS[1:], day(21, over=None))}, {"parity": "held"}, "2024-05-21 (its record does not say that",
    ),
    "one without a decision": ({"sessions": (*DAYS[1:], day(21, decisions=0))}, {}, ""),
    "none with a decision": (
        {"sessions": tuple(replace(one, decisions=0) for one in DAYS)}, {"parity": "held"},
        "nothing was decided in 20 of them, and one decision must be seen",
    ),
    "one that missed too much": (
        {"sessions": (*DAYS[1:], day(21, missed=2))}, {"parity": "held"}, "2 of 20 orders were missed, up to 5% may",
    ),
    "one without orders": ({"sessions": (*DAYS[1:], day(21, orders=0, missed=0))}, {}, ""),
    "one that nobody taped": (
        {"sessions": (*DAYS[1:], day(21, taped=False))}, {"parity": "held"}, "2024-05-21 (no tape shows",
    ),
    "twenty, and some that do not count": ({"sessions": (*DAYS, day(21, over=None), day(22, over=False))}, {}, ""),
    "the last one is not compared": (
        {"uncompared": ("2024-05-21",)}, {"parity": "held"},
        "0 sessions with parity one after the other, 20 are asked for; 2024-05-21 was traded and not compared since it",
    ),
    "the command that compares it": (
        {"uncompared": ("2024-05-21",)}, {"parity": "held"}, "ended: quant parity macd-spy-1m --day 2024-05-21",
    ),
    "one between is not compared": (
        {"sessions": DAYS[:9] + DAYS[10:], "uncompared": ("2024-05-10",)}, {"parity": "held"}, "10 sessions with",
    ),
    "one was compared too early alone": (
        {"sessions": (*DAYS, day(21, over=False)), "uncompared": ("2024-05-21",)}, {"parity": "held"}, "0 sessions",
    ),
    "one before them is not compared": ({"uncompared": ("2024-04-30",)}, {}, ""),
    "one alone": ({"sessions": DAYS[-1:]}, {"parity": "held"}, "1 session with parity one after the other, 20 are"),
    "too few": ({"sessions": DAYS[1:]}, {"parity": "held"}, "19 sessions with parity"),
    "the last one differs": ({"sessions": (*DAYS, day(21, False))}, {"parity": "held"}, "2024-05-21 had a difference"),
    "the newest differs, told first": ({"sessions": (day(30, False), *DAYS)}, {"parity": "held"}, "2024-05-30 had"),
    "twenty after a difference": ({"sessions": (replace(DAYS[0], day="2024-04-30", ok=False), *DAYS)}, {}, ""),
    "one of them in part": (
        {"sessions": (*DAYS[1:], day(21, not_running_s=7200.0))}, {"parity": "held"}, "2024-05-21 (over an hour of it",
    ),
    "another one in part": ({"sessions": (*DAYS, day(21, not_running_s=7200.0))}, {}, ""),
    "in another order": ({"sessions": DAYS[::-1]}, {}, ""),
    "halted": ({"halted": "a loss"}, {"halt": "held"}, "halted: a loss"),
    "never ran": ({"ran": False}, {"halt": "held"}, "never run on paper"),
    "limits not said": ({"said": {"max_gross": 1.0}}, {"limits": "held"}, "max_notional=NUMBER --limit daily_loss"),
    "limits of none": ({"said": {**LIMITS, "max_gross": "none"}}, {"limits": "held"}, "max_gross"),
}  # fmt: skip


@pytest.mark.parametrize("name", STOPPED)
def test_gate_to_live(name: str) -> None:
    changes, outcomes, words = STOPPED[name]
    found = proven(**changes)
    assert failing(found) == outcomes
    assert all(words in found[gate].sentence for gate in outcomes)


def test_what_does_not_count_is_told_also_where_enough_does() -> None:
    more = (day(n, over=False) for n in range(21, 26))
    told = proven(sessions=(*DAYS, *more))["parity"].sentence
    assert told.endswith(
        "; not counted: 2024-05-25 (it was not over when it was compared), 2024-05-24 (it was not over when it was "
        "compared), 2024-05-23 (it was not over when it was compared) and 2 more"
    )


def test_quiet_sessions_are_told() -> None:
    told = proven(sessions=(*DAYS[2:], day(21, decisions=0), day(22, decisions=0)))["parity"].sentence
    assert told.endswith("20 are asked for; nothing was decided in 2 of them")


def test_what_was_overridden_on_the_way_to_paper_is_told() -> None:
    assert "1 of them overridden: costs" in proven()["evidence"].sentence


Rule = Callable[[Any, Thresholds], Verdict]


@pytest.mark.parametrize("rule", [*rules.TO_PAPER, *rules.TO_LIVE])
def test_every_gate_can_hold(rule: Rule) -> None:
    """Over all the cases above, so that no gate is a mere formality."""
    cases = HELD if rule in rules.TO_PAPER else STOPPED
    base: Any = GOOD if rule in rules.TO_PAPER else PROVEN
    outcomes = {rule(replace(base, **changes), Thresholds()).outcome for changes, _, _ in cases.values()}
    assert "held" in outcomes
    assert "pass" in outcomes
