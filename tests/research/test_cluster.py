"""The cluster: rows as of a serial evaluation though workers are killed, and clear errors where it cannot be used."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quant.errors import BarsError
from quant.research.workers import cluster, processes
from quant.research.workers.cluster import ClusterError

Combos = Sequence[Mapping[str, Any]]

QUIET: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": 50, "host": "127.0.0.1"}


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


def kill_me() -> None:
    if sys.platform == "win32":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)


def dies_of_three(task: Task, combos: Combos) -> list[Row]:
    if any(c["a"] == 3 for c in combos):
        kill_me()
    return rows_of(task, combos)


def waits_to_be_killed(task: Task, combos: Combos) -> list[Row]:
    if combos[0]["a"] == 0 and not (task.folder / "pid").exists():
        (task.folder / "new").write_text(str(os.getpid()))
        (task.folder / "new").rename(task.folder / "pid")
        threading.Event().wait()
    return rows_of(task, combos)


def waits_but_for_nought(task: Task, combos: Combos) -> list[Row]:
    if combos[0]["a"] > 0:
        threading.Event().wait()
    return rows_of(task, combos)


def says_begin_and_end(task: Task, combos: Combos) -> list[Row]:
    with (task.folder / "log").open("a") as f:
        f.write("begin\n")
        f.flush()
        threading.Event().wait(0.05)  # long enough for another one to begin
        rows = rows_of(task, combos)
        f.write("end\n")
    return rows


def until(true: Callable[[], bool]) -> None:
    patience = threading.Event()
    while not true():
        patience.wait(0.01)


def raises(task: Task, combos: Combos) -> list[Row]:
    raise BarsError("SPY 1d", "high below low", rows=[3, 4])


def bits(rows: Sequence[Row]) -> list[tuple[bytes | None, bytes | None, str | None]]:
    return [
        (
            None if r.figures is None else r.figures.tobytes(),
            None if r.returns is None else r.returns.tobytes(),
            r.error,
        )
        for r in rows
    ]


@pytest.fixture(scope="module")
def dask(request: pytest.FixtureRequest) -> None:
    """Leave the test out where dask.distributed is not installed, unless it is required."""
    wanted = request.config.getoption("--cluster", "auto")
    if importlib.util.find_spec("distributed") is None and wanted == "auto":
        pytest.skip("not installed: distributed")


@pytest.fixture(scope="module")
def client(dask: None) -> Iterator[Any]:
    """Two worker processes; a task whose worker died comes back to us at once, not after four tries."""
    from dask import config
    from distributed import Client, LocalCluster

    with (
        config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as local,
        Client(local, set_as_default=False) as found,
    ):
        yield found


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path, np.linspace(0.0, 1.0, 5))


@pytest.fixture
def chunks() -> list[Combos]:
    """12 combinations in chunks of 1, 2, 3 and 6."""
    combos = [{"a": n, "b": n % 5} for n in range(12)]
    return [combos[0:1], combos[1:3], combos[3:6], combos[6:12]]


def serial(task: Task, chunks: Sequence[Combos]) -> dict[int, Any]:
    return {n: bits(rows_of(task, combos)) for n, combos in enumerate(chunks)}


@pytest.mark.cluster
def test_killed_worker_loses_nothing(client: Any, task: Task, chunks: list[Combos]) -> None:
    found = cluster.run(waits_to_be_killed, task, chunks, client=client)
    rows = dict([next(found)])
    until((task.folder / "pid").exists)
    os.kill(int((task.folder / "pid").read_text()), getattr(signal, "SIGKILL", signal.SIGTERM))
    rows.update(found)
    assert {n: bits(r) for n, r in rows.items()} == serial(task, chunks)


@pytest.mark.cluster
def test_combination_that_kills_is_found_and_nothing_else_is_lost(
    client: Any, task: Task, chunks: list[Combos], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One death is enough here: dask takes its time to start a worker."""
    monkeypatch.setattr(processes, "DEATHS", 1)
    found = {n: bits(rows) for n, rows in cluster.run(dies_of_three, task, chunks, client=client)}
    figures, returns, error = found[2].pop(0)
    assert (figures, returns) == (None, None)
    assert error is not None
    assert error.startswith("its worker died 1 times (killed)")
    expected = serial(task, chunks)
    expected[2].pop(0)
    assert found == expected


@pytest.mark.cluster
def test_not_more_at_a_time_than_asked_for(client: Any, task: Task, chunks: list[Combos]) -> None:
    found = dict(cluster.run(says_begin_and_end, task, chunks, client=client, workers=1))
    assert len(found) == 4
    assert (task.folder / "log").read_text().split() == ["begin", "end"] * 4


@pytest.mark.cluster
def test_exception_comes_back_with_its_facts(client: Any, task: Task, chunks: list[Combos]) -> None:
    with pytest.raises(BarsError, match="high below low") as caught:
        list(cluster.run(raises, task, chunks, client=client))
    assert caught.value.rows == (3, 4)


@pytest.mark.cluster
def test_closed_generator_cancels_the_rest(client: Any, task: Task, chunks: list[Combos]) -> None:
    before = set(client.futures)
    found = cluster.run(rows_of, task, chunks * 10, client=client)
    next(found)
    found.close()
    assert set(client.futures) <= before
    assert len(list(cluster.run(rows_of, task, chunks, client=client))) == 4


@pytest.mark.cluster
def test_other_versions_are_refused_by_name(
    client: Any, task: Task, chunks: list[Combos], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = cluster._versions()
    monkeypatch.setattr(cluster, "_versions", lambda: {**here, "quant-ib": "0.0.1", "numpy": "2.0.9"})
    said = rf"quant-ib {here['quant-ib']} instead of 0\.0\.1, numpy {here['numpy']} instead of 2\.0\.9: "
    with pytest.raises(ClusterError, match=said) as caught:
        list(cluster.run(rows_of, task, chunks, client=client))
    assert caught.value.address.startswith("tcp://127.0.0.1:")
    assert caught.value.exit_code == 5


@pytest.mark.cluster
@pytest.mark.usefixtures("dask")
def test_cluster_that_goes_away_says_what_is_done(task: Task) -> None:
    code = (
        "from distributed import LocalCluster\n"
        f"with LocalCluster(n_workers=1, processes=False, protocol='tcp', **{QUIET}) as c:\n"
        "    print(c.scheduler_address, flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        chunks = [[{"a": n, "b": 0}] for n in range(4)]
        with cluster.connect(process.stdout.readline().strip()) as client:
            found = cluster.run(waits_but_for_nought, task, chunks, client=client)
            assert next(found)[0] == 0
            process.kill()
            with pytest.raises(ClusterError, match=r"1 of 4 chunks are done, and calling again resumes"):
                list(found)


@pytest.mark.cluster
@pytest.mark.usefixtures("dask")
def test_cluster_without_workers_is_an_error(
    task: Task, chunks: list[Combos], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "PATIENCE_S", 1)
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp", **QUIET) as local,
        cluster.connect(local.scheduler_address) as client,
        pytest.raises(ClusterError, match=r"no workers for 1 seconds; 0 of 4 chunks are done"),
    ):
        list(cluster.run(rows_of, task, chunks, client=client))


@pytest.mark.cluster
@pytest.mark.usefixtures("dask")
def test_unreachable_scheduler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT_S", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(
            ClusterError, match=f"{address}: no scheduler answers: .*dask scheduler"
        ) as caught:
            cluster.connect(address)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "address", ["", "nonsense", "tcp://", "tcp://host", "http://host:1", "host:1", "tcp://a:b"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="is no address of a scheduler, which reads tcp://host:8786"):
        cluster.connect(address)


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r'pip install "quant-ib\[cluster\]"'):
        cluster.connect("tcp://127.0.0.1:8786")
