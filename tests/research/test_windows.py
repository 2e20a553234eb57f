"""Windows of a walk-forward against spans worked out by hand, on a calendar's days and on numbers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quant as q
from quant.errors import ParameterError
from quant.research.walk_forward.windows import Window, cut_windows, length_text, sessions_of, span


def days(count: int, first: str = "2020-01-06") -> np.ndarray:
    """Return weekdays; 2020-01-06 is a Monday."""
    return np.busday_offset(first, np.arange(count), roll="forward").astype("datetime64[D]")


def weekdays(first: str, last: str) -> np.ndarray:
    every = np.arange(first, np.datetime64(last) + np.timedelta64(1, "D"), dtype="datetime64[D]")
    return every[np.is_busday(every)]


def dated(sessions: np.ndarray, windows: list[Window]) -> list[tuple[str, ...]]:
    return [
        tuple(str(sessions[k]) for k in (w.train.start, w.train.stop - 1, w.test.start, w.test.stop - 1))
        for w in windows
    ]


# ---------------------------------------------------------------- sessions
def test_rolling_windows_by_hand() -> None:
    found = cut_windows(days(20), 6, 4, embargo=2)
    assert found == [
        Window(range(6), range(8, 12)),
        Window(range(4, 10), range(12, 16)),
        Window(range(8, 14), range(16, 20)),
    ]


def test_anchored_training_begins_with_the_first_session() -> None:
    found = cut_windows(days(14), 6, 4, anchored=True)
    assert found == [Window(range(6), range(6, 10)), Window(range(10), range(10, 14))]


def test_last_test_may_be_shorter_and_says_so() -> None:
    found = cut_windows(days(11), 6, 4)
    assert [w.test for w in found] == [range(6, 10), range(10, 11)]
    assert [w.whole for w in found] == [True, False]


def test_one_session_of_test_is_the_least() -> None:
    assert cut_windows(days(9), 6, 4, embargo=2) == [Window(range(6), range(8, 9), whole=False)]
    with pytest.raises(
        ParameterError, match=r"train = 6: .* embargo = 2: they have 8 sessions.*that needs 9"
    ):
        cut_windows(days(8), 6, 4, embargo=2)


@given(st.integers(1, 80), st.integers(1, 30), st.integers(1, 30), st.integers(0, 10), st.booleans())
def test_tests_follow_one_another(count: int, train: int, test: int, embargo: int, anchored: bool) -> None:
    if count < train + embargo + 1:
        with pytest.raises(ParameterError):
            cut_windows(days(count), train, test, anchored=anchored, embargo=embargo)
        return
    found = cut_windows(days(count), train, test, anchored=anchored, embargo=embargo)
    tested = [k for w in found for k in w.test]
    assert tested == list(range(train + embargo, count))
    for n, w in enumerate(found):
        assert w.test.start - w.train.stop == embargo
        assert len(w.train) == train + (n * test if anchored else 0)
        assert len(w.test) == test or n == len(found) - 1
        assert w.whole == (len(w.test) == test)


# ---------------------------------------------------------------- offsets
def test_ends_of_years_are_whole_years() -> None:
    sessions = weekdays("2010-01-04", "2014-12-31")
    assert dated(sessions, cut_windows(sessions, "2YE", "1YE")) == [
        ("2010-01-04", "2011-12-30", "2012-01-02", "2012-12-31"),
        ("2011-01-03", "2012-12-31", "2013-01-01", "2013-12-31"),
        ("2012-01-02", "2013-12-31", "2014-01-01", "2014-12-31"),
    ]


def test_days_are_dates_and_not_sessions() -> None:
    # 2020-01-06 + 28 days is a Monday, which is no longer of the span.
    sessions = weekdays("2020-01-06", "2020-02-29")
    wanted = [
        ("2020-01-06", "2020-01-31", "2020-02-03", "2020-02-14"),
        ("2020-01-20", "2020-02-14", "2020-02-17", "2020-02-28"),
    ]
    for lengths in (
        ("28D", "14D"),
        (timedelta(days=28), timedelta(days=14)),
        (pd.DateOffset(days=28), "2W-SUN"),
    ):
        assert dated(sessions, cut_windows(sessions, *lengths)) == wanted


def test_begins_of_months_reach_to_the_day_before() -> None:
    sessions = weekdays("2020-01-15", "2020-04-30")
    assert dated(sessions, cut_windows(sessions, "1MS", "2MS", anchored=True)) == [
        ("2020-01-15", "2020-01-31", "2020-02-03", "2020-03-31"),
        ("2020-01-15", "2020-03-31", "2020-04-01", "2020-04-30"),
    ]


def test_offsets_and_sessions_mix() -> None:
    sessions = weekdays("2020-01-01", "2020-06-30")
    found = cut_windows(sessions, 20, "1ME", embargo=5)
    assert all(len(w.train) == 20 and w.test.start - w.train.stop == 5 for w in found)
    # From 2020-02-05 to the end of February, then month by month.
    assert [str(sessions[w.test.start]) for w in found] == [
        "2020-02-05", "2020-03-02", "2020-04-01", "2020-05-01", "2020-06-01",
    ]  # fmt: skip
    assert found[-1].whole


def test_embargo_may_be_an_offset() -> None:
    sessions = weekdays("2020-01-06", "2020-03-31")
    first = dated(sessions, cut_windows(sessions, "28D", "14D", embargo="7D"))[0]
    assert first == ("2020-01-06", "2020-01-31", "2020-02-10", "2020-02-21")


def test_spans_without_sessions_make_no_window() -> None:
    sessions = weekdays("2020-01-06", "2020-01-17")
    found = cut_windows(sessions, 2, "1D")
    assert [w.test for w in found] == [range(k, k + 1) for k in range(2, 10)]


def test_training_on_no_session_is_an_error() -> None:
    with pytest.raises(ParameterError, match="train = '1D': the span before 2020-01-13 holds no session"):
        cut_windows(weekdays("2020-01-06", "2020-01-17"), "1D", 4)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("train", 0, "1 or more"),
        ("test", -3, "1 or more"),
        ("embargo", -1, "0 or more"),
        ("train", True, "number of sessions"),
        ("train", 2.5, "number of sessions"),
        ("test", None, "number of sessions"),
        ("test", "two years", "number of sessions"),
        ("test", "2Y", "YE"),
        ("train", "36h", "whole days"),
        ("train", "-2D", "forward"),
        ("embargo", "0D", "forward"),
        ("train", 10**12, "too few"),
        ("train", "90YE", "too few"),
    ],
)
def test_lengths_that_are_none_are_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(ParameterError, match=told) as caught:
        cut_windows(days(50), **{"train": 10, "test": 5, "embargo": 0, name: value})
    assert caught.value.name == name


def test_lengths_as_settings_are_kept() -> None:
    assert [length_text(v) for v in (np.int64(5), "2YE", pd.offsets.YearEnd(2))] == [5, "2YE", "2YE-DEC"]
    assert cut_windows(days(50), "10", "5") == cut_windows(days(50), 10, 5)


# ---------------------------------------------------------------- bars
def test_span_holds_the_bars_of_its_sessions_alone() -> None:
    hourly = q.synthetic("HOUR", "1h", "2020-01-02", "2020-01-10")
    daily = q.synthetic("DAY", "1d", "2020-01-02", "2020-01-10")
    assert list(sessions_of([daily, hourly])) == list(daily.session)
    found = span([daily, hourly], np.datetime64("2020-01-06"), np.datetime64("2020-01-07"))
    d, h = found.within([daily, hourly])
    assert [str(s) for s in d.session] == ["2020-01-06", "2020-01-07"]
    assert {str(s) for s in h.session} == {"2020-01-06", "2020-01-07"}
    assert len(h) == 14  # seven bars a session of New York, as IB cuts them
    before = found.history([daily, hourly])
    assert [len(b) for b in before] == [4, 28]


def test_feed_without_bars_in_a_span_is_named() -> None:
    old, young = (
        q.synthetic("OLD", "1d", "2020-01-02", "2020-03-31"),
        q.synthetic("NEW", "1d", "2020-03-02", "2020-03-31"),
    )
    with pytest.raises(ParameterError, match="NEW has no bar from 2020-01-06 to 2020-01-10"):
        span([old, young], np.datetime64("2020-01-06"), np.datetime64("2020-01-10"))
