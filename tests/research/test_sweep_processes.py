"""Worker processes: rows as of a serial evaluation, whatever dies, prints or raises; and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant.errors import BarsError, ParameterError, StrategyError
from quant.research.workers.processes import Piece, Pieces, WorkerError, run

ROOT = Path(__file__).parents[2]
Combos = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """Stands for the real one, whose module brings all engines into each worker."""

    figures: Any
    returns: Any
    error: str | None = None


@dataclass(frozen=True)
class Task:
    """Stands for the real one. folder: where a worker leaves word of what it did."""

    folder: Path
    values: Any = None


def rows_of(task: Task, combos: Combos) -> list[Row]:
    return [Row(np.array([c["a"] * task.values[c["b"]]]), np.arange(c["a"]) * 0.1) for c in combos]


def die() -> None:
    if sys.platform == "win32":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)


def once(task: Task, name: str) -> bool:
    """True for the first that asks, of all processes."""
    try:
        (task.folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def dies_once(task: Task, combos: Combos) -> list[Row]:
    if combos[0]["a"] % 4 == 0 and once(task, f"died{combos[0]['a']}"):
        die()
    return rows_of(task, combos)


def dies_of_three(task: Task, combos: Combos) -> list[Row]:
    with (task.folder / "begun").open("a") as f:
        f.write(f"{len(combos)}\n")
    if any(c["a"] == 3 for c in combos):
        die()
    return rows_of(task, combos)


def waits_to_be_killed(task: Task, combos: Combos) -> list[Row]:
    if combos[0]["a"] == 0 and once(task, "waiting"):
        (task.folder / "new").write_text(str(os.getpid()))
        (task.folder / "new").rename(task.folder / "pid")
        threading.Event().wait()
    return rows_of(task, combos)


def leaves_and_says(task: Task, combos: Combos) -> list[Row]:
    os._exit(7)


def talks(task: Task, combos: Combos) -> list[Row]:
    print("to stdout")  # noqa: T201
    os.write(1, b"\x00\xff" * 1000)
    print("to stderr", file=sys.stderr)  # noqa: T201
    return [Row(None, None, repr((sys.stdin.read(), os.read(0, 10)))) for _ in combos]


def raises(task: Task, combos: Combos) -> list[Row]:
    raise task.values


def says_pid_and_waits(task: Task, combos: Combos) -> list[Row]:
    if combos[0]["a"]:
        (task.folder / f"pid{os.getpid()}").touch()
        threading.Event().wait()
    return rows_of(task, combos)


class Facts(Exception):  # noqa: N818
    """An error whose constructor takes something else than its message, so that unpickling it fails."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} of {two}")


class Crashes:
    """Loads in no process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path, np.linspace(0.0, 1.0, 5))


@pytest.fixture
def chunks() -> list[Combos]:
    """12 combinations in chunks of 1, 2, 3 and 6."""
    combos = [{"a": n, "b": n % 5} for n in range(12)]
    return [combos[0:1], combos[1:3], combos[3:6], combos[6:12]]


def bits(rows: Sequence[Row]) -> list[tuple[bytes | None, bytes | None, str | None]]:
    return [
        (
            None if r.figures is None else r.figures.tobytes(),
            None if r.returns is None else r.returns.tobytes(),
            r.error,
        )
        for r in rows
    ]


def serial(task: Task, chunks: Sequence[Combos]) -> dict[int, Any]:
    return {n: bits(rows_of(task, combos)) for n, combos in enumerate(chunks)}


def collected(found: Iterator[tuple[int, list[Row]]]) -> dict[int, Any]:
    rows = {}
    for number, of_chunk in found:
        assert number not in rows
        rows[number] = bits(of_chunk)
    return rows


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_those_of_a_serial_evaluation(workers: int, task: Task, chunks: list[Combos]) -> None:
    assert collected(run(rows_of, task, chunks, workers=workers)) == serial(task, chunks)


def test_nothing_to_do(task: Task) -> None:
    assert collected(run(rows_of, task, [], workers=2)) == {}
    assert collected(run(rows_of, task, [[]], workers=2)) == {0: []}


def test_no_workers_are_refused(task: Task, chunks: list[Combos]) -> None:
    with pytest.raises(ParameterError, match="workers = 0: at least one"):
        list(run(rows_of, task, chunks, workers=0))


def test_killed_workers_lose_nothing(task: Task) -> None:
    """One in four chunks kills its worker the first time it is computed."""
    chunks = [[{"a": n, "b": n % 5}] for n in range(12)]
    assert collected(run(dies_once, task, chunks, workers=2)) == serial(task, chunks)
    assert len(list(task.folder.glob("died*"))) == 3


def test_worker_killed_from_outside_loses_nothing(task: Task, chunks: list[Combos]) -> None:
    found = run(waits_to_be_killed, task, chunks, workers=2)
    rows = dict([next(found)])
    patience = threading.Event()
    while not (task.folder / "pid").exists():
        patience.wait(0.01)
    os.kill(int((task.folder / "pid").read_text()), getattr(signal, "SIGKILL", signal.SIGTERM))
    rows.update(found)
    assert {n: bits(r) for n, r in rows.items()} == serial(task, chunks)


def test_combination_that_kills_is_found_and_nothing_else_is_lost(task: Task, chunks: list[Combos]) -> None:
    found = dict(run(dies_of_three, task, chunks, workers=2))
    guilty = found[2].pop(0)
    assert guilty.error is not None
    how = "exit code 9" if sys.platform == "win32" else "killed by SIGKILL"
    assert guilty.error.startswith(f"its worker died 3 times ({how})")
    assert (guilty.figures, guilty.returns) == (None, None)
    expected = serial(task, chunks)
    assert bits(found[2]) == expected.pop(2)[1:]
    del found[2]
    assert {n: bits(rows) for n, rows in found.items()} == expected
    begun = (task.folder / "begun").read_text().split()
    assert begun.count("3") == 3  # the chunk, three times; then one by one, the guilty one three times
    assert begun.count("1") == 1 + 3 + 2


def test_how_a_worker_ended_is_said(task: Task) -> None:
    ((_, (row,)),) = run(leaves_and_says, task, [[{"a": 1}]], workers=1)
    assert row.error is not None
    assert row.error.startswith("its worker died 3 times (exit code 7)")


def test_noise_does_not_break_the_messages(task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    rows = dict(run(talks, task, [[{"a": 1}], [{"a": 2}]], workers=1))
    assert {row.error for of_chunk in rows.values() for row in of_chunk} == {"('', b'')"}
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("to stdout\n") == err.count("to stderr\n") == 2


def test_exception_comes_back_with_its_facts_and_place(task: Task, chunks: list[Combos]) -> None:
    bug = BarsError("SPY 1d", "high below low", rows=[3, 4], mend="Look at it")
    with pytest.raises(BarsError, match=r"SPY 1d: high below low \(rows 3, 4\)") as caught:
        list(run(raises, Task(task.folder, bug), chunks, workers=2))
    assert caught.value.rows == (3, 4)
    assert "raise task.values" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("bug", "said"), [(Facts(1, 2), "Facts: 1 of 2"), (SystemExit(3), "SystemExit: 3")], ids=["facts", "exit"]
)
def test_exception_that_cannot_come_back_is_told(bug: BaseException, said: str, tmp_path: Path) -> None:
    def evaluate(task: Task, combos: Combos) -> list[Row]:
        raise Facts(1, 2) if said.startswith("Facts") else SystemExit(3)

    with pytest.raises(RuntimeError, match=said):
        list(run(evaluate, Task(tmp_path), [[{"a": 1}]], workers=1))


def test_wrong_number_of_rows_is_a_bug(task: Task) -> None:
    with pytest.raises(ValueError, match="0 rows for 1 combinations"):
        list(run(lambda task, combos: [], task, [[{"a": 1}]], workers=1))


def test_task_on_which_every_worker_ends_is_an_error(task: Task, chunks: list[Combos]) -> None:
    with pytest.raises(WorkerError, match=r"cannot be started: 3 ended while they loaded it \(exit code 3\)"):
        list(run(rows_of, Task(task.folder, Crashes()), chunks, workers=1))


def test_task_that_cannot_be_sent_is_an_error(task: Task, chunks: list[Combos]) -> None:
    with pytest.raises(StrategyError, match=r"cannot be sent to worker processes: .*lock"):
        list(run(rows_of, Task(task.folder, threading.Lock()), chunks, workers=1))


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a process by signal 0")
def test_closed_generator_ends_the_workers(task: Task) -> None:
    found = run(says_pid_and_waits, task, [[{"a": n, "b": 0}] for n in range(4)], workers=2)
    next(found)
    patience = threading.Event()
    while not (pids := [int(p.name[3:]) for p in task.folder.glob("pid*")]):
        patience.wait(0.01)
    found.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# A script without the guard: in each worker it waits for ever, once it has said so on stderr.
SCRIPT = """
    import sys, threading
    from quant.research.workers.processes import run

    class Task:
        strategy = None

    def evaluate(task, combos):
        print("begun", file=sys.stderr, flush=True)
        threading.Event().wait()

    for _ in run(evaluate, Task(), [[{}], [{}]], workers=2):
        pass
"""


@contextlib.contextmanager
def script(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The script, after both of its workers have begun."""
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(folder / "script.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    # In a group of its own, as a terminal starts a program, and sends Ctrl-C to all of its group.
    with subprocess.Popen(
        command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert [process.stderr.readline() for _ in range(2)] == ["begun\n"] * 2
        yield process


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot be sent Ctrl-C alone")
def test_ctrl_c_ends_all_with_one_traceback(tmp_path: Path) -> None:
    with script(tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)  # stderr ends when the last worker has ended
    assert process.returncode in (-signal.SIGINT, 130)
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_killed_parent_leaves_no_orphans(tmp_path: Path) -> None:
    with script(tmp_path) as process:
        process.kill()
        _, said = process.communicate(timeout=30)
    assert said == ""


def test_pieces_keep_the_order_of_rows_whatever_order_they_come_in() -> None:
    pieces = Pieces([[{"a": n} for n in range(3)]])
    whole = pieces.take()
    assert whole is not None
    assert pieces.died(whole, "so", times=3) is None
    first, second, third = (pieces.take() for _ in range(3))
    assert pieces.take() is None
    assert isinstance(first, Piece)
    assert isinstance(second, Piece)
    assert isinstance(third, Piece)
    rows = [Row(None, None, str(n)) for n in range(3)]
    assert pieces.finished(third, rows[2:]) is None
    assert pieces.finished(first, rows[:1]) is None
    assert pieces.finished(second, rows[1:2]) == (0, rows)
