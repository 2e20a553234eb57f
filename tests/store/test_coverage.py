from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from quant.store.coverage import cover, join

INTERVALS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12)


def points(intervals: list[tuple[int, int]]) -> set[int]:
    return {p for a, b in intervals for p in range(a, b)}


@given(INTERVALS)
def test_cover_holds_the_points_of_all_intervals_and_no_other(given_intervals):
    covered = []
    for interval in given_intervals:
        covered = cover(covered, interval)
    assert points(covered) == points(given_intervals)


@given(INTERVALS)
def test_cover_is_sorted_disjoint_and_as_short_as_can_be(given_intervals):
    covered = []
    for interval in given_intervals:
        covered = cover(covered, interval)
    assert all(a < b for a, b in covered)
    assert all(left[1] < right[0] for left, right in pairwise(covered))


@given(INTERVALS, st.randoms(use_true_random=False))
def test_cover_does_not_depend_on_the_order(given_intervals, random):
    shuffled = random.sample(given_intervals, len(given_intervals))
    results = []
    for intervals in (given_intervals, shuffled):
        covered = []
        for interval in intervals:
            covered = cover(covered, interval)
        results.append(covered)
    assert results[0] == results[1]


def test_cover_leaves_its_argument_alone():
    held = [(0, 10), (20, 30)]
    assert cover(held, (10, 20)) == [(0, 30)]
    assert held == [(0, 10), (20, 30)]


@given(INTERVALS, INTERVALS)
def test_join_is_cover_of_one_after_the_other(held, more):
    covered = []
    for interval in held:
        covered = cover(covered, interval)
    at_once = join(covered, more)
    for interval in more:
        covered = cover(covered, interval)
    assert at_once == covered
