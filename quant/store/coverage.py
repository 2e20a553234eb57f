"""Which stretches of time a series is known for, as lists of half-open intervals. Pure."""

from __future__ import annotations

from collections.abc import Sequence

Interval = tuple[int, int]  # [from, to), UTC ns


def cover(intervals: Sequence[Interval], new: Interval) -> list[Interval]:
    """Return `intervals` with `new` added: sorted, and merged where two touch or overlap.

    intervals: sorted and disjoint, as this function returns them. An empty `new` (to <= from) adds nothing.
    """
    start, end = new
    if end <= start:
        return list(intervals)
    before = [i for i in intervals if i[1] < start]
    after = [i for i in intervals if i[0] > end]
    met = intervals[len(before) : len(intervals) - len(after)]
    merged = (min([start, *(a for a, _ in met)]), max([end, *(b for _, b in met)]))
    return [*before, merged, *after]


def join(intervals: Sequence[Interval], more: Sequence[Interval]) -> list[Interval]:
    """Return `intervals` with all of `more` added, as `cover` would, in one go. more: in any order."""
    found: list[Interval] = []
    for start, end in sorted(i for i in (*intervals, *more) if i[0] < i[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def cut(intervals: Sequence[Interval], gone: Interval) -> list[Interval]:
    """Return `intervals` without what lies in `gone`; sorted and disjoint, as they must be."""
    start, end = gone
    parts = [p for a, b in intervals for p in ((a, min(b, start)), (max(a, end), b))]
    return [(a, b) for a, b in parts if a < b]
