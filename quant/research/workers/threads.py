"""Runs the chunks of a sweep in threads of this process: the compiled engine and TA-Lib work without the GIL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final

from quant.core.memory import kept_memory
from quant.research.task import Row
from quant.research.workers.processes import Combos, Piece, Pieces

# How long a thread waits before it asks for the GIL. Python's 5 ms are longer than all that a combination does with
# it; measured with two threads, `python scripts/bench.py sweep`: 1.6 times one thread with 5 ms, 1.8 with this.
SWITCH_S: Final = 5e-6
FEWEST: Final = 8  # combinations of a piece: what neighbours share is made once in it


def run(
    evaluate: Callable[[Any, Combos], list[Row]], task: Any, chunks: Sequence[Combos], *, workers: int
) -> Iterator[tuple[int, list[Row]]]:
    """Yield (chunk number, its rows) as chunks are completed, in any order.

    Closing the generator, Ctrl-C too, waits for the chunks that are at work and starts no other.
    """
    with kept_memory():
        if workers == 1:
            for number, combos in enumerate(chunks):
                yield number, evaluate(task, combos)
            return
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        pool = ThreadPoolExecutor(workers)
        todo, held = _pieces(chunks, workers), Pieces(chunks)
        running: dict[Future[list[Row]], Piece] = {}
        try:
            while True:
                # One more than there are workers, so that none waits for us while we write a file.
                while len(running) <= workers and (piece := next(todo, None)) is not None:
                    running[pool.submit(evaluate, task, piece.combos)] = piece
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    whole = held.finished(running.pop(future), future.result())
                    if whole is not None:
                        yield whole
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            sys.setswitchinterval(before)


def _pieces(chunks: Sequence[Combos], workers: int) -> Iterator[Piece]:
    """Yield the chunks in pieces that become smaller towards the end, so that all workers end together.

    Guided self-scheduling (Polychronopoulos and Kuck 1987), by half as much at a time: the system may slow one of them.
    """
    left = sum(map(len, chunks))
    for number, combos in enumerate(chunks):
        first = 0
        while first < len(combos):
            part = combos[first : first + max(left // (2 * workers), FEWEST)]
            yield Piece(number, first, part)
            first += len(part)
            left -= len(part)
