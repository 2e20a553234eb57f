"""Runs the chunks of a sweep on a dask.distributed cluster: a worker that is killed loses nothing.

Needs the extra `cluster`. Workers hold the same versions of this package and of its libraries, but nothing of the
user's project: that is sent along (shipping.py). Code and arrays travel as our own bytes, so dask pickles no classes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import pickle
import queue
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from quant.core.version import versions
from quant.errors import ClusterError, ParameterError
from quant.research.workers.processes import DEATHS, Combos, Evaluate, Piece, Pieces, name_of
from quant.research.workers.shipping import answer, load, pack, result

if TYPE_CHECKING:
    from distributed import Client, Future

    from quant.research.task import Row

TIMEOUT_S = 5.0  # for a scheduler to answer
PATIENCE_S = 60  # without any worker; a cluster that grows by demand starts its first one within that
HELD = 4  # tasks that a worker keeps unpacked; a sweep has one, and several may share a cluster
# By value, code goes as bytecode of one minor version of Python.
CHECKED = ("python", "quant-ib", "numpy", "pandas", "TA-Lib", "backtrader", "exchange_calendars")


def connect(address: str) -> Client:
    """Return a client of the scheduler at `address`, e.g. "tcp://10.0.0.1:8786"; close it after use.

    Raises ClusterError if dask.distributed is not installed, the address is none, or no scheduler answers there
    within 5 seconds.
    """
    if re.fullmatch(r"(tcp|tls|ws|wss)://[^/]+:\d+", address) is None:
        raise ClusterError(address, "is no address of a scheduler, which reads tcp://host:8786")
    try:
        from distributed import Client
    except ImportError as e:
        reason = f'needs dask.distributed ({e}); pip install "quant-ib[cluster]"'
        raise ClusterError(address, reason) from e
    try:
        return Client(address, timeout=TIMEOUT_S, set_as_default=False)
    except OSError as e:
        reason = (
            f"no scheduler answers: {e}. Start one there with `dask scheduler`, then `dask worker {address}`"
        )
        raise ClusterError(address, reason) from e


def run(
    evaluate: Evaluate,
    task: Any,
    chunks: Sequence[Combos],
    *,
    client: Client,
    workers: int | None = None,
) -> Iterator[tuple[int, list[Row]]]:
    """Yield (chunk number, its rows) as chunks are completed, in any order; closing the generator cancels the rest.

    evaluate: a function of this package, or any that a worker can import or unpack. workers: at most so many chunks
    are computed at a time, None for as many as the cluster can. A combination on which workers die repeatedly gets a
    row with that error. Raises StrategyError for a task that cannot be sent; ClusterError if the cluster is gone, has
    no workers for a minute, or its workers hold other versions; and whatever evaluate raises.
    """
    if not all(hasattr(client, part) for part in ("scheduler", "scatter", "submit")):
        reason = "must be a Client of dask.distributed: distributed.Client(address) makes one"
        raise ParameterError("client", client, reason)
    name = name_of(task)
    sweep = _Sweep(client, name, pickle.dumps(pack((evaluate, task), name)), workers)
    pieces = Pieces(chunks)
    suspects: deque[Piece] = deque()
    done = 0
    try:
        while True:
            alone = not (pieces.todo or sweep.running)
            queued = suspects if alone else pieces.todo
            room = min(sweep.room() if queued else 0, 1 if alone else len(queued))
            for _ in range(room):
                sweep.submit(queued.popleft())
            if not sweep.running:
                return
            piece, outcome = sweep.wait()
            if isinstance(outcome, list):
                whole = pieces.finished(piece, outcome)
            elif alone:
                how, times = outcome
                # A chunk is split at once: only a single combination can be held guilty.
                whole = pieces.died(piece, how, times if len(piece.combos) == 1 else DEATHS)
                suspects.extend(pieces.todo)
                pieces.todo.clear()
            else:
                # dask blames all that a dead worker had in hand: each is tried again later, with nothing beside it.
                suspects.append(piece)
                whole = None
            if whole is not None:
                done += 1
                yield whole
    except _Gone as e:
        reason = f"{e}; {done} of {len(chunks)} chunks are done, and calling again resumes from them"
        raise ClusterError(sweep.address, reason) from e
    finally:
        sweep.close()


class _Gone(Exception):  # noqa: N818  # named by its cause
    """The scheduler or all workers went away."""


class _Sweep:
    """The calls of dask: the task on the workers, the pieces that are running, and what became of them."""

    def __init__(self, client: Client, name: str, shipment: bytes, workers: int | None) -> None:
        self.client = client
        self.address = str(getattr(client.scheduler, "address", "?"))
        self.running: dict[Future[bytes], Piece] = {}
        self._name = name
        self._shipment = shipment
        self._key = hashlib.sha256(shipment).hexdigest()
        self._there: Future[bytes] | None = None
        self._limit = workers
        self._versions = {n: _versions()[n] for n in CHECKED}
        self._ended: queue.SimpleQueue[Future[bytes]] = queue.SimpleQueue()

    def room(self) -> int:
        """Return how many more pieces to hand out: no worker waits for us, and results do not pile up."""
        for _ in range(PATIENCE_S):
            threads = self._threads()
            if threads:
                most = 2 * threads if self._limit is None else self._limit
                return most - len(self.running)
            threading.Event().wait(1.0)
        raise _Gone(f"has had no workers for {PATIENCE_S} seconds")

    def submit(self, piece: Piece) -> None:
        """Hand a piece to the cluster."""
        combos = pickle.dumps(pack(piece.combos, self._name))
        try:
            if self._there is None or self._there.status != "finished":  # the only worker that had it died
                self._there = self.client.scatter(self._shipment, broadcast=True, hash=False)
            future = self.client.submit(_compute, self._there, self._key, combos, self._versions, pure=False)
            future.add_done_callback(self._ended.put)
        except (OSError, RuntimeError) as e:  # connections; a client that is closed
            raise _Gone(f"does not answer: {e}") from e
        self.running[future] = piece

    def wait(self) -> tuple[Piece, list[Row] | tuple[str, int]]:
        """Return a piece and its rows, or how workers died on it and how often."""
        from distributed import KilledWorker

        future = self._next()
        piece = self.running.pop(future)
        try:
            data = future.result(timeout=PATIENCE_S)
        except KilledWorker as e:
            return piece, ("killed", e.allowed_failures + 1)
        except (CancelledError, OSError) as e:
            self._check()
            return piece, (f"its result was lost: {e}", 1)
        except Exception as e:
            # What evaluate raises is in the data: this is a worker that could not even begin.
            reason = f"its workers cannot run this: {type(e).__name__}: {e}. Install the same quant-ib there"
            raise ClusterError(self.address, reason) from e
        finally:
            future.release()  # its exception would keep it, and so the cluster its data, until the next collection
        rows: list[Row] = result(data)
        return piece, rows

    def close(self) -> None:
        """Cancel what is still running."""
        running, self._there = list(self.running), None
        self.running.clear()
        self._ended = queue.SimpleQueue()  # no future is kept by a traceback that somebody keeps
        if running and self.client.status == "running":
            with contextlib.suppress(OSError, RuntimeError):  # a cluster that goes away at this moment
                self.client.cancel(running, force=True)

    def _next(self) -> Future[bytes]:
        """Wait for a piece to end, as long as there is a cluster that may end it."""
        idle = 0
        while idle < PATIENCE_S:
            try:
                return self._ended.get(timeout=1.0)
            except queue.Empty:
                idle = 0 if self._threads() else idle + 1
        raise _Gone(f"has had no workers for {PATIENCE_S} seconds")

    def _threads(self) -> int:
        self._check()
        try:
            return sum(self.client.nthreads().values())
        except (OSError, RuntimeError) as e:
            raise _Gone(f"does not answer: {e}") from e

    def _check(self) -> None:
        if self.client.status != "running":
            raise _Gone("its scheduler is gone")


# ---------------------------------------------------------------- on the workers
_HELD: OrderedDict[str, Any] = OrderedDict()
_LOCK = threading.Lock()


def _compute(shipment: bytes, key: str, combos: bytes, wanted: dict[str, str]) -> bytes:
    """Return the packed rows of a piece: what a worker of dask runs."""
    return answer(functools.partial(_rows, shipment, key, combos, wanted))


def _rows(shipment: bytes, key: str, combos: bytes, wanted: dict[str, str]) -> list[Row]:
    _refuse_other_versions(wanted)
    with _LOCK:
        if key not in _HELD:
            _HELD[key] = load(pickle.loads(shipment))  # noqa: S301  # from our own client
            while len(_HELD) > HELD:
                _HELD.popitem(last=False)
        evaluate, task = _HELD[key]
    rows: list[Row] = evaluate(task, load(pickle.loads(combos)))  # noqa: S301  # the same
    return rows


def _refuse_other_versions(wanted: dict[str, str]) -> None:
    here = _versions()
    other = [f"{n} {here[n]} instead of {v}" for n, v in wanted.items() if here[n] != v]
    if other:
        from distributed import get_worker

        reason = f"this worker has {', '.join(other)}: results may differ. Install there what the client has"
        raise ClusterError(get_worker().address, reason)


@functools.cache
def _versions() -> dict[str, str]:
    found = versions()
    return {**found, "python": ".".join(found["python"].split(".")[:2])}
