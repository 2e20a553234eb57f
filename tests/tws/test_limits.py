"""IB's limits, against a brute-force reading of its pages (historical_limitations.html, order_limitations.html)."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.barsize import SECOND, SIZES
from quant.tws import limits
from quant.tws.limits import Asked, MessageRate, OpenRequests, Pacing, history_requests, tick_by_tick, tickers

MILLI = SECOND // 1000


def asked(con_id: int = 1, what: str = "TRADES", size: str | None = "5s", rest: str = "") -> Asked:
    return Asked(con_id, "SMART", what, None if size is None else SIZES[size], rest)


REQUESTS = st.builds(
    asked, st.integers(1, 2), st.sampled_from(["TRADES", "BID_ASK"]), st.sampled_from(["5s", "30s", "1m", None]),
    st.sampled_from("abc"),
)  # fmt: skip
# Gaps on both sides of each window's edge, and many short ones, so that every rule is met.
GAPS = st.sampled_from([0, 1, 250, 1999, 2000, 2001, 14_999, 15_000, 15_001, 60_000, 599_999, 600_000])


def allowed(one: Asked, now: int, before: list[tuple[int, Asked]]) -> bool:
    """The page's three sentences, one after the other, over everything that was answered before."""
    if one.size is not None and one.size.ns > 30 * SECOND:
        return True  # "lifted" for bars of a minute and more
    paced = [(at, x) for at, x in before if x.size is None or x.size.ns <= 30 * SECOND]
    # "Making identical historical data requests within 15 seconds."
    if any(x == one and now - at < 15 * SECOND for at, x in paced):
        return False
    # "BID_ASK ... counts as two requests."
    counted = [(at, x) for at, x in [*paced, (now, one)] for _ in range(2 if x.what == "BID_ASK" else 1)]
    # "Making six or more historical data requests for the same Contract, Exchange and Tick Type within two seconds."
    same = [at for at, x in counted if (x.con_id, x.what) == (one.con_id, one.what) and now - at < 2 * SECOND]
    # "Making more than 60 requests within any ten minute period."
    return len(same) < 6 and len([at for at, _ in counted if now - at < 600 * SECOND]) <= 60


@given(st.lists(st.tuples(GAPS, REQUESTS), max_size=60))
def test_pacing_is_the_pages_three_rules(stream):
    pacing, before, now, refused = Pacing(), [], 0, 0
    for gap, one in stream:
        now += gap * MILLI
        answer = pacing.ask(one, now)
        assert (answer is None) == allowed(one, now, before)
        if answer is None:
            before.append((now, one))
        else:
            refused += 1
            assert answer.code == (420 if one.size is None else 162)
            assert "pacing violation" in answer.text
    assert sum(pacing.violations.values()) == refused


@given(st.lists(st.sampled_from([0, 1, 500, 9_000, 20_000]), min_size=70, max_size=150), st.integers(5, 20))
def test_no_more_than_sixty_in_any_ten_minutes(gaps, contracts):
    pacing, accepted, now = Pacing(), [], 0
    for number, gap in enumerate(gaps):
        now += gap * MILLI
        if pacing.ask(asked(number % contracts, rest=str(number)), now) is None:
            accepted.append(now)
    for at in accepted:
        assert len([x for x in accepted if at <= x < at + 600 * SECOND]) <= 60


def test_who_keeps_to_the_rules_is_never_refused():
    # 20 symbols in turn, one request each 10 s: 60 in ten minutes, the most that there may be.
    pacing = Pacing()
    for number in range(1000):
        assert pacing.ask(asked(number % 20, rest=str(number)), number * 10 * SECOND) is None
    assert not pacing.violations


def test_the_sixth_the_identical_and_the_sixty_first():
    pacing = Pacing()
    for n in range(5):
        assert pacing.ask(asked(rest=str(n)), 0) is None
    # A user's log: "Historical Market Data Service error message:Historical data request pacing violation".
    text = "Historical Market Data Service error message:Historical data request pacing violation"
    sixth = pacing.ask(asked(rest="6"), 2 * SECOND - 1)
    assert sixth is not None
    assert (sixth.code, sixth.text) == (162, text)
    assert pacing.ask(asked(rest="6"), 2 * SECOND) is None
    assert pacing.ask(asked(rest="6"), 17 * SECOND - 1) is not None
    assert pacing.ask(asked(rest="6"), 17 * SECOND) is None
    for n in range(53):
        assert pacing.ask(asked(con_id=n + 2), 20 * SECOND) is None
    assert pacing.ask(asked(con_id=99), 20 * SECOND) is not None
    assert pacing.ask(asked(con_id=99, size="1m"), 20 * SECOND) is None
    assert pacing.ask(asked(con_id=99), 600 * SECOND) is None
    assert dict(pacing.violations) == {
        "6 for one contract within 2 s": 1, "identical within 15 s": 1, "60 within 10 min": 1,
    }  # fmt: skip


def test_bid_ask_counts_twice():
    pacing = Pacing()
    assert [pacing.ask(asked(what="BID_ASK", rest=str(n)), 0) is None for n in range(3)] == [
        True,
        True,
        False,
    ]
    full = Pacing()
    answers = [full.ask(asked(con_id=n, what="BID_ASK"), 0) is None for n in range(31)]
    assert answers == [True] * 30 + [False]


def test_real_time_bars_are_refused_with_420():
    pacing = Pacing()
    assert pacing.ask(asked(size=None), 0) is None
    refused = pacing.ask(asked(size=None), 1)
    assert refused is not None
    assert refused.code == 420
    assert refused.text.startswith("Invalid Real-time Query")


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6), st.booleans()), max_size=60), st.integers(1, 5)
)
def test_open_requests_are_counted_exactly(steps, most):
    open_ = OpenRequests(most, limits.TOO_MANY_OPEN, limits.DUPLICATE_HISTORY)
    held: set[tuple[int, int]] = set()
    refused = 0
    for client, number, opens in steps:
        if not opens:
            assert open_.close(client, number) == ((client, number) in held)
            held.discard((client, number))
            continue
        answer = open_.open(client, number)
        if (client, number) in held:
            assert answer == limits.DUPLICATE_HISTORY
        elif len(held) >= most:
            assert answer == limits.TOO_MANY_OPEN
        else:
            assert answer is None
            held.add((client, number))
        refused += answer is not None
        assert len(open_) == len(held) <= most
    assert open_.violations == refused
    open_.close_client(0)
    assert len(open_) == len([key for key in held if key[0] != 0])


@pytest.mark.parametrize(
    ("kind", "most", "code"), [(history_requests, 50, 322), (tickers, 100, 101), (tick_by_tick, 5, 10190)]
)
def test_how_many_of_each_kind(kind, most, code):
    open_ = kind()
    assert all(open_.open(1, n) is None for n in range(most))
    refused = open_.open(2, 0)
    assert refused is not None
    assert refused.code == code


@given(st.lists(st.sampled_from([0, 5, 19, 20, 21, 100, 1000]), max_size=300))
def test_fifty_messages_in_any_second(gaps):
    rate, times, now = MessageRate(), deque[int](), 0
    for gap in gaps:
        now += gap * MILLI
        times.append(now)
        excess = rate.message(now)
        received = len([t for t in times if now - t < SECOND])
        assert (excess is None) == (received <= 50)
        if excess is not None:
            assert excess.refusal.code == 100
            assert f"max=50 rec={received} ({rate.violations})" in excess.refusal.text
            assert excess.close == (rate.violations >= 3)


def test_the_third_second_of_excess_ends_the_connection():
    rate = MessageRate()
    closed = [
        [e.close for e in (rate.message(second * 3 * SECOND) for _ in range(52)) if e] for second in range(3)
    ]
    assert closed == [[False, False], [False, False], [True, True]]
    assert rate.violations == 3


def test_fifty_a_second_is_allowed_for_ever():
    rate = MessageRate()
    assert all(rate.message(n * SECOND // 50) is None for n in range(5000))


def test_messages_that_lay_unread_count_as_sent_as_early_as_the_rate_allowed() -> None:
    """A server that was busy for two seconds cannot tell when within them its client sent."""
    rate = MessageRate()
    assert not any(rate.message(2 * SECOND, since=0) for _ in range(100))
    assert any(rate.message(2 * SECOND) for _ in range(100))
    rate = MessageRate()
    assert any(rate.message(2 * SECOND, since=0) for _ in range(160))


def test_a_burst_that_lay_unread_leaves_room_for_the_next_one() -> None:
    """Sent at 0 s and at 1 s; the server was busy until 0.9 s, and cannot hold that against the client."""
    rate = MessageRate()
    assert not any(rate.message(900 * MILLI, since=0) for _ in range(45))
    assert not any(rate.message(SECOND) for _ in range(45))
