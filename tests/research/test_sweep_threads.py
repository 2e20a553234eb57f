"""The threads of a compiled sweep: what they are given, and that each chunk comes back whole."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from quant.kernel import run as kernel_run
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


def test_only_one_thread_makes_the_first_call_of_the_compiled_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba's look at the types of a first call is not made for threads; it ended sweeps once in some hundred."""
    inside, most, let_go = 0, 0, threading.Event()

    def call(*_: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        let_go.wait(0.2)  # time for the others to come in, if they could
        inside -= 1
        return None

    monkeypatch.setattr(kernel_run, "_row", call)
    monkeypatch.setattr(kernel_run, "_typed", threading.Event())
    nothing: Any = None
    threads = [threading.Thread(target=kernel_run.row, args=(nothing,) * 6) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert kernel_run._typed.is_set()
