"""Runs the chunks of a sweep in threads of this process: the compiled engine and TA-Lib work without the GIL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final

from quant.research.task import Row
from quant.research.workers.memory import kept_memory

# How long a thread waits before it asks for the GIL. Python's 5 ms are longer than all that a combination does with
# it; measured with two threads, `python scripts/bench.py sweep`: 1.6 times one thread with 5 ms, 1.8 with this.
SWITCH_S: Final = 5e-6

Combos = Sequence[Mapping[str, Any]]


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
        todo = iter(enumerate(chunks))
        running: dict[Future[list[Row]], int] = {}
        try:
            while True:
                # One more than there are workers, so that none waits for us while we write a file.
                while len(running) <= workers and (following := next(todo, None)) is not None:
                    running[pool.submit(evaluate, task, following[1])] = following[0]
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            sys.setswitchinterval(before)
