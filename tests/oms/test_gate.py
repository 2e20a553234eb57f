"""The gate: one table of turns, and what passes in each state."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.oms.gate import CANCELS, PASSES, TABLE, Gate, Purpose, Turn, cancels, passes, recovers, turned

# CLEAR ends a halt and nothing else; the other two cannot be asked where the gate already says which of them holds.
NOT_ASKED = {
    *((gate, Turn.CLEAR) for gate in Gate if gate is not Gate.HALTED),
    *((Gate.CLOSED, turn) for turn in (Turn.AGREED, Turn.AGREED_REDUCING)),
    (Gate.OPEN, Turn.AGREED_REDUCING),
    (Gate.REDUCING, Turn.AGREED),
}


def test_table_holds_every_turn_that_can_come() -> None:
    assert set(itertools.product(Gate, Turn)) - set(TABLE) == NOT_ASKED


def test_unknown_turn_is_an_error() -> None:
    with pytest.raises(KeyError):
        turned(Gate.CLOSED, Turn.AGREED)


@given(st.lists(st.sampled_from([turn for turn in Turn if turn is not Turn.CLEAR])))
def test_nothing_but_a_person_ends_a_halt(turns: list[Turn]) -> None:
    gate = Gate.HALTED
    for turn in turns:
        gate = turned(gate, turn)
    assert gate is Gate.HALTED


@given(st.lists(st.sampled_from(list(Turn))))
def test_gate_opens_by_agreement_or_lift_alone(turns: list[Turn]) -> None:
    gate = Gate.CLOSED
    for turn in turns:
        if (gate, turn) in NOT_ASKED:
            continue
        before, gate = gate, turned(gate, turn)
        if gate is Gate.OPEN and before is not Gate.OPEN:
            assert turn is Turn.AGREED or (before is Gate.REDUCING and turn is Turn.LIFT)


@pytest.mark.parametrize("turn", [Turn.LOST, Turn.LINKED, Turn.DOUBT])
@pytest.mark.parametrize("gate", [Gate.OPEN, Gate.REDUCING])
def test_doubt_and_connections_close_it(gate: Gate, turn: Turn) -> None:
    assert turned(gate, turn) in (Gate.CLOSED, Gate.RECONCILING)


def test_what_passes() -> None:
    reductions = {Purpose.REDUCTION, Purpose.PROTECTION, Purpose.FLATTEN}
    assert {gate: {p for p in Purpose if passes(gate, p)} for gate in Gate} == {
        Gate.CLOSED: set(),
        Gate.RECONCILING: set(),
        Gate.OPEN: set(Purpose),
        Gate.REDUCING: reductions,
        Gate.HALTED: {Purpose.FLATTEN},  # a person's command
    }
    assert set(PASSES) == set(Gate)


def test_cancels_pass_wherever_there_is_a_connection() -> None:
    assert set(Gate) - CANCELS == {Gate.CLOSED}
    assert cancels(Gate.HALTED)
    assert not recovers(Gate.HALTED)
    assert not recovers(Gate.CLOSED)
