"""Pacing against IB's own rules, written out a second time as a plain count over all windows (source: pacing.py)."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.ib.pacing import OPEN_REQUESTS, TOGETHER, HistoryCost, Pacing

Sent = list[tuple[float, HistoryCost | None]]


def violations(sent: Sent, jitter: float = 0.0) -> list[str]:
    """IB's rules counted at each arrival; every request may be `jitter` seconds late."""
    rng = random.Random(7)
    arrived = sorted((at + rng.uniform(0, jitter), i) for i, (at, _) in enumerate(sent))
    found = []
    for n, (at, i) in enumerate(arrived):
        cost = sent[i][1]
        before = [(t, sent[j][1]) for t, j in arrived[max(0, n - 150) : n + 1]]
        if sum(1 for t, _ in before if t > at - 1.0) > 50:
            found.append(f"{at}: more than 50 messages a second")
        if cost is None or cost.bar_s > 30:
            continue
        small = [(t, c) for t, c in before if c is not None and c.bar_s <= 30]
        if sum(c.weight for t, c in small if t > at - 600) > 60:
            found.append(f"{at}: more than 60 in ten minutes")
        if sum(c.weight for t, c in small if t > at - 2 and c.series == cost.series) >= 6:
            found.append(f"{at}: six of one series in two seconds")
        if sum(1 for t, c in small if t > at - 15 and c.request == cost.request) > 1:
            found.append(f"{at}: identical within 15 seconds")
    return found


def after_a_stall(at: float) -> float:
    """When a message arrives on a line that stands still in one in three stretches of 0.06 s."""
    stretch = int(at / 0.06)
    return (stretch + 1) * 0.06 if stretch * 2654435761 % 7 < 2 else at


def cost(symbol: str, number: int, bar_s: float = 5.0, weight: int = 1) -> HistoryCost:
    return HistoryCost((symbol, weight), (symbol, number, bar_s, weight), bar_s, weight)


COSTS = st.builds(
    cost,
    st.sampled_from(["SPY", "QQQ", "VOD"]),
    st.integers(0, 3),
    st.sampled_from([1.0, 30.0, 60.0]),
    st.sampled_from([1, 1, 2]),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.one_of(st.none(), COSTS), st.floats(0, 3)), max_size=150))
def test_no_rule_is_broken_whatever_is_asked(stream: list[tuple[HistoryCost | None, float]]) -> None:
    pacing, now, sent = Pacing(), 0.0, Sent()
    for wanted, idle in stream:
        now += idle if idle > 1 else 0.0
        at = pacing.next_allowed(wanted, now)
        assert now <= at < now + 1300
        now = at
        assert pacing.next_allowed(wanted, now) == now
        pacing.record(wanted, now)
        pacing.ended(wanted)
        sent.append((now, wanted))
    assert violations(sent) == []
    assert violations(sent, jitter=0.5) == []


@settings(max_examples=20)
@given(st.lists(COSTS, min_size=1, max_size=100))
def test_nothing_waits_longer_than_a_rule_asks_for(stream: list[HistoryCost]) -> None:
    """A moment (of the slack) earlier, some window with its slack would be full."""
    pacing, now = Pacing(), 0.0
    for wanted in stream:
        at = pacing.next_allowed(wanted, now)
        if at > now:
            assert pacing.next_allowed(wanted, math.nextafter(at, 0)) > math.nextafter(at, 0)
        now = at
        pacing.record(wanted, now)
        pacing.ended(wanted)


@pytest.mark.parametrize(("bar_s", "most_per_s"), [(5.0, 60 / 600), (60.0, 45.0)])
def test_ten_thousand_requests_over_twenty_symbols_take_as_long_as_the_rules_ask(
    bar_s: float, most_per_s: float
) -> None:
    pacing, now = Pacing(), 0.0
    waiting = [[cost(f"S{s}", n, bar_s) for n in range(500)] for s in range(20)]
    sent: Sent = []
    symbol = 0
    while any(waiting):
        while not waiting[symbol]:
            symbol = (symbol + 1) % 20
        wanted = waiting[symbol][-1]
        now = pacing.next_allowed(wanted, now)
        waiting[symbol].pop()
        symbol = (symbol + 1) % 20
        pacing.record(wanted, now)
        pacing.ended(wanted)
        sent.append((now, wanted))
    burst = 60 if bar_s < 60 else TOGETHER
    least_s = (10_000 - burst) / most_per_s
    assert least_s / now >= 0.99
    assert violations(sent) == []
    assert violations([(after_a_stall(at), wanted) for at, wanted in sent]) == []


def test_fifty_requests_may_be_open() -> None:
    pacing = Pacing()
    for n in range(OPEN_REQUESTS):
        now = pacing.next_allowed(cost("SPY", n, 60.0), n * 0.1)
        pacing.record(cost("SPY", n, 60.0), now)
    assert pacing.next_allowed(cost("SPY", 99, 60.0), 100.0) == math.inf
    assert pacing.next_allowed(None, 100.0) == 100.0
    assert pacing.next_allowed(dataclasses.replace(cost("SPY", 99, 60.0), opens=False), 100.0) == 100.0
    pacing.ended(cost("SPY", 1, 60.0))
    assert pacing.next_allowed(cost("SPY", 99, 60.0), 100.0) == 100.0


def test_bid_ask_counts_twice() -> None:
    pacing, now = Pacing(), 0.0
    for n in range(30):
        wanted = cost(f"S{n}", n, weight=2)
        now = pacing.next_allowed(wanted, now)
        pacing.record(wanted, now)
        pacing.ended(wanted)
    assert now < 5
    assert pacing.next_allowed(cost("X", 1, weight=1), now) >= 600


def test_a_mixed_budget_is_free_again_as_its_oldest_parts_leave() -> None:
    pacing = Pacing()
    for n in range(30):
        pacing.record(cost(f"S{n}", n, weight=2), float(n))
    assert pacing.next_allowed(cost("X", 1, weight=2), 40.0) == 600.5
    assert pacing.next_allowed(cost("X", 1, weight=1), 40.0) == 600.5
    assert pacing.next_allowed(cost("X", 1, weight=2), 600.5) == 600.5


def test_five_of_one_series_may_leave_at_once_and_a_sixth_after_two_seconds() -> None:
    pacing, now, sent = Pacing(), 0.0, Sent()
    for n in range(12):
        now = pacing.next_allowed(cost("SPY", n), now)
        pacing.record(cost("SPY", n), now)
        sent.append((now, cost("SPY", n)))
    # The fifth waits a moment for the rate of all messages.
    assert [round(at, 1) for at, _ in sent] == [0.0] * 4 + [0.1] + [2.5] * 4 + [2.6] + [5.0] * 2
    assert violations(sent) == []


def test_bars_of_a_minute_have_no_budget() -> None:
    pacing = Pacing()
    for _ in range(100):
        now = pacing.next_allowed(cost("SPY", 1, 60.0), 0.0)
        pacing.record(cost("SPY", 1, 60.0), now)
        pacing.ended(cost("SPY", 1, 60.0))
    assert pacing.next_allowed(cost("SPY", 1, 60.0), 3.0) <= 4.0


def test_a_violation_holds_small_bars_back_longer_each_time_until_one_is_answered() -> None:
    pacing = Pacing()
    assert pacing.violated(100.0) == 130.0
    assert pacing.next_allowed(cost("SPY", 1), 100.0) == 130.0
    assert pacing.next_allowed(cost("SPY", 1, 60.0), 100.0) == 100.0
    assert pacing.violated(130.0) == 190.0
    pacing.kept()
    assert pacing.violated(200.0) == 230.0


def test_too_many_messages_quieten_everything_for_a_second() -> None:
    pacing = Pacing()
    pacing.exceeded(10.0)
    assert pacing.next_allowed(None, 10.2) == 11.0
    assert pacing.next_allowed(None, 11.5) == 11.5


def test_a_new_connection_forgets_what_is_open_and_not_what_was_sent() -> None:
    pacing = Pacing()
    for n in range(50):
        pacing.record(cost(f"S{n}", 1), 0.0)
    for n in range(10):
        pacing.record(cost(f"S{n}", 2), 0.0)
    pacing.reconnected()
    assert pacing.next_allowed(cost("SPY", 3, 60.0), 2.0) == 2.0
    assert pacing.next_allowed(cost("SPY", 3), 2.0) >= 600
