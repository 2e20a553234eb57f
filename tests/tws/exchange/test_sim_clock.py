"""The virtual clock and its timers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.barsize import SECOND
from quant.errors import ParameterError
from quant.tws.exchange.clock import Clock, Timers, parse_speed


class Outside:
    """A world whose time a test sets."""

    def __init__(self) -> None:
        self.ns = 1_600_000_000 * SECOND

    def __call__(self) -> int:
        return self.ns


def test_speeds_are_read_as_the_command_line_writes_them():
    assert [parse_speed(text) for text in ("real", "x60", "x0.5", "step")] == [1.0, 60.0, 0.5, 0.0]
    for text in ("60", "x0", "x-1", "fast", ""):
        with pytest.raises(ParameterError, match="clock"):
            parse_speed(text)


def test_a_fast_clock_gains_on_the_outside_and_never_goes_back():
    outside = Outside()
    clock = Clock(outside, speed=60.0, start=5 * SECOND)
    outside.ns += 2 * SECOND
    assert clock.now() == 125 * SECOND
    outside.ns -= 10 * SECOND
    assert clock.now() == 125 * SECOND


def test_a_real_clock_keeps_each_nanosecond():
    outside = Outside()
    clock = Clock(outside)
    outside.ns += 123_456_789_012_345_677
    assert clock.now() == outside.ns


def test_a_step_clock_moves_only_when_told():
    clock = Clock(lambda: 10**18, speed=0.0, start=7)
    assert (clock.now(), clock.outside_s(7), clock.outside_s(8)) == (7, 0.0, None)
    clock.step_to(9)
    clock.step_to(8)
    assert clock.now() == 9


def test_only_a_step_clock_is_moved():
    with pytest.raises(ParameterError, match="step clock"):
        Clock(Outside()).step_to(1)


def test_how_long_to_wait_outside():
    clock = Clock(Outside(), speed=60.0, start=0)
    assert clock.outside_s(60 * SECOND) == 1.0


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=30))
def test_timers_go_off_in_order_of_time_and_of_setting(plan):
    timers = Timers[int]()
    kept = []
    for number, (at, cancelled) in enumerate(plan):
        assert timers.set(at, number) == number
        if cancelled:
            assert timers.cancel(number)
            assert not timers.cancel(number)
        else:
            kept.append((at, number))
    assert len(timers) == len(kept)
    early = [(t.at, t.thing) for t in timers.due(10)]
    late = [(t.at, t.thing) for t in timers.due(20)]
    assert early + late == sorted(kept)
    assert early == [t for t in sorted(kept) if t[0] <= 10]
    assert timers.next_at() is None


def test_a_timer_set_by_a_timer_goes_off_in_the_same_sweep_when_it_is_due():
    timers = Timers[str]()
    timers.set(1, "a")
    seen = []
    for timer in timers.due(5):
        seen.append(timer.thing)
        if timer.thing == "a":
            timers.set(3, "b")
            timers.set(6, "c")
    assert seen == ["a", "b"]
    assert timers.next_at() == 6
