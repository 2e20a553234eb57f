"""The threads of a compiled sweep: what they are given, and that each chunk comes back whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from quant.research.task import Row
from quant.research.workers.threads import FEWEST, run

CHUNKS = [[{"n": 100 * chunk + k} for k in range(size)] for chunk, size in enumerate((60, 1, 60, 60, 7))]


def rows_of(combos: Sequence[Any]) -> list[Row]:
    return [Row(None, None, str(combo["n"])) for combo in combos]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_chunks_come_whole_and_in_their_own_order(workers: int) -> None:
    found = dict(run(lambda _, combos: rows_of(combos), None, CHUNKS, workers=workers))
    assert sorted(found) == [0, 1, 2, 3, 4]
    for number, combos in enumerate(CHUNKS):
        assert [row.error for row in found[number]] == [str(combo["n"]) for combo in combos]


def test_the_last_pieces_are_small_so_that_no_thread_waits_long_for_another() -> None:
    sizes: list[int] = []

    def evaluate(_: Any, combos: Sequence[Any]) -> list[Row]:
        sizes.append(len(combos))
        return rows_of(combos)

    list(run(evaluate, None, [[{"n": n} for n in range(1000)]], workers=2))
    assert sum(sizes) == 1000
    assert max(sizes) <= 250
    assert sorted(sizes)[:4] <= [FEWEST] * 4
