"""Runs the chunks of a sweep in processes of this machine; a worker that is killed is replaced and loses nothing.

Workers are fresh interpreters (worker.py) behind a pair of pipes, without fork and without signals. Which chunk is
next and what a death means is decided in `Pieces`, which the cluster uses too.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from quant.errors import ParameterError, WorkerError
from quant.research.workers.shipping import Shipment, pack, result
from quant.research.workers.worker import HEADER

if TYPE_CHECKING:
    from quant.research.task import Row

Combos: TypeAlias = Sequence[Mapping[str, Any]]
Evaluate: TypeAlias = "Callable[[Any, Combos], list[Row]]"

DEATHS = 3  # of workers, on one piece, until it is held guilty


def run(
    evaluate: Evaluate, task: Any, chunks: Sequence[Combos], *, workers: int
) -> Iterator[tuple[int, list[Row]]]:
    """Yield (chunk number, its rows) as chunks are completed, in any order; closing the generator ends the workers.

    evaluate: an importable function. A combination on which three workers died gets a row with that error.
    Raises StrategyError for a task that cannot be sent, WorkerError, ParameterError for workers < 1, and
    whatever evaluate raises.
    """
    if workers < 1:
        raise ParameterError("workers", workers, "at least one is needed")
    pieces = Pieces(chunks)
    crew = _Crew(pack((evaluate, task), name_of(task)), min(workers, len(chunks)))
    try:
        # One piece more for each worker than it computes: none waits for us, and rows do not pile up.
        for _ in range(2 * crew.size):
            crew.hand(pieces.take())
        while crew.waiting:
            piece, outcome = crew.wait()
            if isinstance(outcome, BaseException):
                raise outcome
            whole = (
                pieces.finished(piece, outcome) if isinstance(outcome, list) else pieces.died(piece, outcome)
            )
            while crew.waiting < 2 * crew.size and pieces.todo:
                crew.hand(pieces.take())
            if whole is not None:
                yield whole
    finally:
        crew.close()


def name_of(task: Any) -> str:
    """Return the name of the task's strategy, for messages."""
    return getattr(getattr(task, "strategy", task), "__name__", type(task).__name__)


# ---------------------------------------------------------------- what to compute, and what deaths mean
@dataclass(frozen=True, slots=True)
class Piece:
    """Combinations that one worker computes at a time: a chunk, or a part of it. first: its row."""

    chunk: int
    first: int
    combos: Combos
    deaths: int = 0


class Pieces:
    """The chunks of a run as pieces of work, and the rows that came back."""

    def __init__(self, chunks: Sequence[Combos]) -> None:
        self.todo = deque(Piece(n, 0, combos) for n, combos in enumerate(chunks))
        self._sizes = [len(combos) for combos in chunks]
        self._rows: dict[int, dict[int, Row]] = {}  # of chunks that were split

    def take(self) -> Piece | None:
        """Return the next piece to compute, None if there is none for now."""
        return self.todo.popleft() if self.todo else None

    def finished(self, piece: Piece, rows: list[Row]) -> tuple[int, list[Row]] | None:
        """Take in the rows of a piece; return the chunk, with all its rows, if that completes it."""
        if len(rows) != len(piece.combos):
            raise ValueError(f"evaluate gave {len(rows)} rows for {len(piece.combos)} combinations")
        if len(rows) == self._sizes[piece.chunk]:
            return piece.chunk, rows
        held = self._rows.setdefault(piece.chunk, {})
        held.update(enumerate(rows, piece.first))
        if len(held) < self._sizes[piece.chunk]:
            return None
        del self._rows[piece.chunk]
        return piece.chunk, [held[n] for n in range(len(held))]

    def died(self, piece: Piece, how: str, times: int = 1) -> tuple[int, list[Row]] | None:
        """Take in `times` deaths of workers on a piece: try it again, split it, or give its combination up."""
        deaths = piece.deaths + times
        if deaths < DEATHS:
            self.todo.append(Piece(piece.chunk, piece.first, piece.combos, deaths))
        elif len(piece.combos) > 1:
            # Straight to single ones: a search by halves would kill more workers than it saves work.
            self.todo.extend(Piece(piece.chunk, piece.first + n, [c]) for n, c in enumerate(piece.combos))
        else:
            from quant.research.task import (
                Row,
            )  # brings the engines, which this file and its tests do without

            reason = (
                f"its worker died {deaths} times ({how}). Memory may be short: take fewer workers; or code in it "
                "crashes Python: run this combination alone, with q.backtest"
            )
            return self.finished(piece, [Row(None, None, reason)])
        return None


# ---------------------------------------------------------------- the processes
class _Crew:
    """Threads that each keep one worker process alive and pass pieces to it."""

    def __init__(self, shipment: Shipment, size: int) -> None:
        self.size = size
        self.waiting = 0  # pieces handed out whose outcome has not been taken
        self._shipment = shipment
        self._todo: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Piece, list[Row] | str | BaseException]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # over the two below
        self._closing = False
        self._workers: list[_Worker] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(size)]
        for thread in self._threads:
            thread.start()

    def hand(self, piece: Piece | None) -> None:
        """Give a piece to the next free worker; None is nothing to give."""
        if piece is not None:
            self.waiting += 1
            self._todo.put(piece)

    def wait(self) -> tuple[Piece, list[Row] | str | BaseException]:
        """Return a piece and its rows, how its worker died, or what was raised."""
        while True:
            try:  # with a timeout, as Windows delivers no Ctrl-C to a thread that waits for ever
                outcome = self._done.get(timeout=0.1)
            except queue.Empty:
                continue
            self.waiting -= 1
            return outcome

    def close(self) -> None:
        """End all workers now, whatever they do."""
        with self._lock:
            self._closing = True
            workers = list(self._workers)
        for worker in workers:
            worker.kill()
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.end()

    def _serve(self) -> None:
        worker: _Worker | None = None
        while (piece := self._todo.get()) is not None and not self._closing:
            try:
                worker = self._ready(worker)
                if worker is None:
                    return
                answer = worker.ask(pickle.dumps(pack(piece.combos, self._shipment.name)))
                self._done.put((piece, worker.died() if answer is None else result(answer)))
            except BaseException as e:  # noqa: BLE001  # it is raised again, by `run`
                self._done.put((piece, e))

    def _ready(self, worker: _Worker | None) -> _Worker | None:
        """Return a worker that has loaded the task: `worker`, if it lives, else a new one. None: we are closing."""
        how = ""
        for _ in range(DEATHS):
            if worker is not None and worker.alive:
                return worker
            with self._lock:
                if self._closing:
                    return None
                if worker is not None:
                    self._workers.remove(worker)
                worker = _Worker(self._shipment.name)
                self._workers.append(worker)
            answer = worker.load(self._shipment)
            if answer is None:
                how = worker.died()
            else:
                result(answer)
        if worker is not None and worker.alive:
            return worker
        raise WorkerError(self._shipment.name, f"{DEATHS} ended while they loaded it ({how})")


class _Worker:
    """One worker process and its two pipes."""

    def __init__(self, name: str) -> None:
        # -P: the folder of worker.py holds no modules for import. A group of its own: Ctrl-C is for us alone.
        group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))]
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if sys.stderr is not None else subprocess.DEVNULL,  # pythonw has none
                **group,
            )
        except OSError as e:
            raise WorkerError(name, str(e)) from e
        self.alive = True

    def load(self, shipment: Shipment) -> bytes | None:
        """Send what every chunk needs; return the answer, None if the worker died."""
        path = [str(Path(folder).absolute()) for folder in sys.path]
        return self.ask(pickle.dumps(path), pickle.dumps(shipment))

    def ask(self, *messages: bytes) -> bytes | None:
        """Send messages and return the one answer to them, None if the worker died."""
        take, give = self._pipes()
        try:
            for message in messages:
                give.write(HEADER.pack(len(message)))
                give.write(message)
            give.flush()
            header = take.read(HEADER.size)
            length = HEADER.unpack(header)[0] if len(header) == HEADER.size else -1
            answer = take.read(length) if length >= 0 else b""
        except OSError:  # a broken pipe
            length, answer = -1, b""
        if len(answer) != length:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)  # its pipe closes a moment before it has its exit code
            self.end()
            return None
        return answer

    def died(self) -> str:
        """Say how it ended."""
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def kill(self) -> None:
        """End the process; the thread that talks with it notices."""
        self._process.kill()

    def end(self) -> None:
        """End the process and close its pipes."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            with contextlib.suppress(OSError):  # what was left to send cannot be
                pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        take, give = self._process.stdout, self._process.stdin
        assert take is not None  # noqa: S101  # both are pipes
        assert give is not None  # noqa: S101
        return take, give
