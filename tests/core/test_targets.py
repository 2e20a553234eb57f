"""When a target acts: the rules of DESIGN §5.2, one by one and together."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.targets import LastTarget, SessionRules, session_rules
from quant.errors import ParameterError

NAN = math.nan
FAR = 300.0  # minutes to the close, outside every window here


def course(targets: list[float], *, left: list[float] | None = None, minutes: float = 5.0, waiting: bool = False,
           **rules: float) -> list[float | None]:  # fmt: skip
    """What is acted upon at each close."""
    last = LastTarget(SessionRules(**rules), waiting)
    far = [FAR] * len(targets)
    return [last.decide(t, m, minutes) for t, m in zip(targets, far if left is None else left, strict=True)]


def test_only_a_change_acts_and_the_last_target_starts_at_zero() -> None:
    assert course([0.0, 1.0, 1.0, -1.0, 0.5, 0.0, 0.0]) == [None, 1.0, None, -1.0, 0.5, 0.0, None]


def test_nan_is_no_opinion() -> None:
    assert course([NAN, 1.0, NAN, 1.0, NAN, 0.0]) == [None, 1.0, None, None, None, 0.0]


def test_next_change_only_remembers_the_first_number() -> None:
    assert course([NAN, 1.0, 1.0, 0.0, 1.0], waiting=True) == [None, None, None, 0.0, 1.0]
    assert course([0.0, 1.0], waiting=True) == [None, 1.0]


# ---------------------------------------------------------------- no_entry_last
def test_in_the_window_exposure_may_only_fall() -> None:
    assert course([1.0], left=[10.0], no_entry_last=10.0) == [None]  # the window's edge belongs to it
    assert course([1.0], left=[10.5], no_entry_last=10.0) == [1.0]
    assert course([1.0, 2.0, 0.5], left=[FAR, 5.0, 5.0], no_entry_last=10.0) == [1.0, None, 0.5]
    assert course([1.0, -1.0], left=[FAR, 5.0], no_entry_last=10.0) == [
        1.0,
        0.0,
    ]  # of a reversal the close only
    assert course([-1.0, 1.0], left=[FAR, 5.0], no_entry_last=10.0) == [-1.0, 0.0]
    assert course([-1.0, -2.0, -0.5], left=[FAR, 5.0, 5.0], no_entry_last=10.0) == [-1.0, None, -0.5]


def test_an_entry_still_wanted_is_made_outside_the_window() -> None:
    assert course([1.0, 1.0, 1.0], left=[10.0, 0.0, FAR], no_entry_last=10.0) == [None, None, 1.0]
    assert course([1.0, NAN, 1.0], left=[10.0, FAR, FAR], no_entry_last=10.0) == [None, None, 1.0]


def test_zero_closes_the_last_bar_only_and_after_the_close_too() -> None:
    assert course([1.0, 1.0], left=[0.0, -5.0], no_entry_last=0.0) == [None, None]
    assert course([1.0], left=[0.5], no_entry_last=0.0) == [1.0]


# ---------------------------------------------------------------- flat_before_close
def test_flat_at_the_last_close_from_which_one_can_be() -> None:
    """5-minute bars, flat 5 minutes before: an order at 10 minutes fills at once, flat by 5; one at 5 would be late."""
    left = [20.0, 15.0, 10.0, 5.0, 0.0]
    assert course([1.0] * 5, left=left, flat_before_close=5.0) == [1.0, None, None, 0.0, None]
    assert course([1.0] * 5, left=left, flat_before_close=5.1) == [1.0, None, 0.0, None, None]
    assert course([1.0] * 5, left=left, flat_before_close=10.0) == [1.0, None, 0.0, None, None]


def test_the_forced_zero_is_a_change_so_the_next_session_enters_again() -> None:
    assert course([1.0, NAN, 1.0], left=[FAR, 5.0, FAR], flat_before_close=5.0) == [1.0, 0.0, 1.0]
    # A strategy without a further opinion stays flat.
    assert course([1.0, NAN, NAN], left=[FAR, 5.0, FAR], flat_before_close=5.0) == [1.0, 0.0, None]


def test_flat_comes_before_the_start_rule_and_the_window() -> None:
    assert course([1.0, 1.0], left=[5.0, FAR], flat_before_close=5.0, waiting=True) == [None, 1.0]
    both: dict[str, Any] = {"flat_before_close": 5.0, "no_entry_last": 60.0}
    assert course([1.0, 2.0, 2.0, 2.0], left=[FAR, 30.0, 5.0, FAR], **both) == [1.0, None, 0.0, 2.0]


VALUES = st.sampled_from([NAN, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])


@given(st.lists(st.tuples(VALUES, st.integers(-10, 60)), max_size=40), st.booleans())
def test_invariants(steps: list[tuple[float, int]], waiting: bool) -> None:
    rules = SessionRules(no_entry_last=20.0, flat_before_close=5.0)
    last, held = LastTarget(rules, waiting), 0.0
    for target, left in steps:
        acted = last.decide(target, float(left), 5.0)
        if acted is None:
            continue
        assert acted != held or waiting
        assert not math.isnan(acted)
        if left <= 20 and not waiting:
            assert acted == 0.0 or (acted * held > 0 and abs(acted) < abs(held))
        if left - 5 < 5:
            assert acted == 0.0
        held = acted


# ---------------------------------------------------------------- the dict of a strategy
@pytest.mark.parametrize(
    ("text", "minutes"),
    [("10m", 10.0), ("10 min", 10.0), ("90s", 1.5), ("1.5h", 90.0), (15, 15.0), (0, 0.0), (None, None)],
)
def test_durations(text: Any, minutes: float | None) -> None:
    assert session_rules({"no_entry_last": text}).no_entry_last == minutes


def test_no_rules() -> None:
    assert session_rules({}) == SessionRules()
    assert not session_rules({"no_entry_last": None, "flat_before_close": None}).any
    assert session_rules({"no_entry_last": 0}).any


@pytest.mark.parametrize(
    "text", ["", "m", "-5m", "5", "5d", "5m5s", True, False, NAN, math.inf, -1, [], b"5m"]
)
@pytest.mark.parametrize("name", ["no_entry_last", "flat_before_close"])
def test_other_durations_are_refused(name: str, text: Any) -> None:
    with pytest.raises(ParameterError, match=f"session.{name} = "):
        session_rules({name: text})


def test_flat_zero_minutes_before_and_unknown_rules_are_refused() -> None:
    with pytest.raises(ParameterError, match="above 0"):
        session_rules({"flat_before_close": "0m"})
    with pytest.raises(ParameterError, match="session = 'flat': no such rule"):
        session_rules({"flat": "5m"})
