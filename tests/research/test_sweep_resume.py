"""A sweep that was ended in the middle goes on where it was: same bits, and nothing that is held is computed again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pytest

import quant as q
from quant.errors import ParityError, WriteFailed
from quant.research import chunks
from quant.research.sweep import plan_sweep

sweep_module = sys.modules["quant.research.sweep"]

ROOT = Path(__file__).parents[2]
CALLS: list[int] = []


class Counts(q.Strategy):
    """Tells which combinations are computed."""

    params = dict(n=1)

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        CALLS.append(p.n)
        return np.where(np.arange(len(bars)) // p.n % 2 == 0, 1.0, 0.0)


class Unsound(Counts):
    """Fails for n = 3."""

    @staticmethod
    def signals(bars: q.Bars, p: Any) -> Any:
        if p.n == 3:
            CALLS.append(p.n)
            raise ValueError("three")
        return Counts.signals(bars, p)


@pytest.fixture(scope="module")
def bars() -> q.Bars:
    return q.synthetic("SYN", "1d", "2020-01-02", "2020-12-31", seed=5)


@pytest.fixture(autouse=True)
def _by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two combinations."""
    monkeypatch.setattr(
        chunks,
        "plan_chunks",
        lambda count, *_, **__: [range(k, min(k + 2, count)) for k in range(0, count, 2)],
    )
    CALLS.clear()


def swept(bars: q.Bars, data: Path, strategy: Any = Counts, **settings: Any) -> q.Sweep:
    CALLS.clear()  # what a global holds is part of what is swept
    grid = settings.pop("grid", dict(n=range(1, 11)))
    return q.sweep(strategy, bars, grid, **{"data": data, "verify": 0, "workers": 1, **settings})


def bits(sweep: q.Sweep) -> list[Any]:
    table = [
        (n, [v.hex() if isinstance(v, float) else v for v in sweep.table[n].tolist()]) for n in sweep.table
    ]
    return [table, sweep.returns.tobytes()]


def files_of(sweep: q.Sweep) -> list[Path]:
    assert sweep.folder is not None
    return [chunks.chunk_path(sweep.folder, name) for name in chunks.load_sweep_facts(sweep.folder)["chunks"]]


def codes(sweep: q.Sweep) -> dict[str, int]:
    return {f.code: f.count for f in sweep.findings if f.code != "costs-before-table"}


# ---------------------------------------------------------------- held chunks
@pytest.mark.parametrize("strategy", [Counts, Unsound])
def test_the_same_call_again_computes_nothing(strategy: Any, bars: q.Bars, tmp_path: Path) -> None:
    first = swept(bars, tmp_path, strategy)
    assert sorted(set(CALLS)) == list(
        range(1, 11)
    )  # one that fails is asked twice, the second time without sharing
    CALLS.clear()
    again = swept(bars, tmp_path, strategy, workers=2)
    assert CALLS == []
    assert bits(again) == bits(first)
    assert codes(again)["resumed"] == 5
    assert "resumed" not in codes(first)


def test_lost_chunks_alone_are_computed_again(bars: q.Bars, tmp_path: Path) -> None:
    first = swept(bars, tmp_path)
    for file in files_of(first)[1:3]:
        file.unlink()
    CALLS.clear()
    again = swept(bars, tmp_path)
    assert CALLS == [3, 4, 5, 6]
    assert bits(again) == bits(first)
    assert codes(again) == {"resumed": 3}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-7],
        lambda data: b"",
        lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
        lambda data: b"not a chunk at all",
    ],
    ids=["cut", "empty", "bit", "other"],
)
def test_damaged_chunk_is_computed_again_and_named(
    damage: Callable[[bytes], bytes], bars: q.Bars, tmp_path: Path
) -> None:
    first = swept(bars, tmp_path)
    file = files_of(first)[2]
    file.write_bytes(damage(file.read_bytes()))
    CALLS.clear()
    again = swept(bars, tmp_path)
    assert CALLS == [5, 6]
    assert bits(again) == bits(first)
    (finding,) = (f for f in again.findings if f.code == "damaged-chunk")
    assert file.name in finding.message
    assert "computed again" in finding.message
    assert codes(swept(bars, tmp_path)) == {"resumed": 5}


def test_chunk_under_another_ones_name_is_not_taken(bars: q.Bars, tmp_path: Path) -> None:
    first = swept(bars, tmp_path)
    a, b, *_ = files_of(first)
    a.write_bytes(b.read_bytes())
    again = swept(bars, tmp_path)
    assert bits(again) == bits(first)
    assert codes(again)["damaged-chunk"] == 1


@pytest.mark.parametrize(
    "change",
    [
        dict(cash=90_000.0), dict(costs="none"), dict(sizing="shares:10"), dict(slippage="percent:0.1"),
        dict(borrow=0.1), dict(start_rule="next-change"), dict(engine="fast"), dict(strategy=Unsound),
        dict(bars=q.synthetic("SYN", "1d", "2020-01-02", "2020-12-31", seed=6)),
    ],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_what_decides_a_row_makes_another_sweep(change: dict[str, Any], bars: q.Bars, tmp_path: Path) -> None:
    grid = dict(n=[5, 6])
    first = swept(bars, tmp_path, grid=grid)
    settings = {"strategy": Counts, "bars": bars, **change}
    other = swept(settings.pop("bars"), tmp_path, settings.pop("strategy"), grid=grid, **settings)
    assert other.folder != first.folder
    assert "resumed" not in codes(other)


def test_edited_session_rules_make_another_sweep(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = q.synthetic("SYN", "30m", "2020-01-02", "2020-01-10")
    first = swept(minutes, tmp_path, grid=dict(n=[2]))
    monkeypatch.setattr(Counts, "session", dict(no_entry_last="1h", flat_before_close=None))
    assert swept(minutes, tmp_path, grid=dict(n=[2])).folder != first.folder


class Commission(bt.CommInfoBase):
    """Percent of the value."""

    params = (
        ("commission", 0.001),
        ("stocklike", True),
        ("commtype", bt.CommInfoBase.COMM_PERC),
        ("percabs", True),
    )


def test_costs_of_ones_own_are_told_apart(bars: q.Bars) -> None:
    """Two functions of one name, or two rates of one scheme, are not the same costs; the same are."""

    def flat(fee: float) -> Any:
        return lambda quantity, price: fee

    def key(costs: Any) -> str:
        settings = dict(
            cash=1e5, costs=costs, sizing=None, slippage=None, borrow=None, start_rule="first-target"
        )
        return plan_sweep(Counts, bars, dict(n=[5, 6]), settings).key

    keys = [key(c) for c in (flat(1.0), flat(2.0), Commission(), Commission(commission=0.01), "none")]
    assert len(set(keys)) == 5
    assert keys == [key(c) for c in (flat(1.0), flat(2.0), Commission(), Commission(commission=0.01), "none")]


def test_folder_that_was_asked_for_is_taken(bars: q.Bars, tmp_path: Path) -> None:
    first = swept(bars, tmp_path / "data", folder=tmp_path / "mine")
    assert first.folder == tmp_path / "mine"
    assert codes(swept(bars, tmp_path / "data", folder=tmp_path / "mine")) == {"resumed": 5}


def test_nothing_is_kept_without_save(bars: q.Bars, tmp_path: Path) -> None:
    sweep = swept(bars, tmp_path, save=False, folder=tmp_path / "mine")
    assert sweep.folder is None
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- a folder that cannot be written
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_named(bars: q.Bars, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteFailed, match=r"cannot write .*Permission denied"):
            swept(bars, tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_disk_that_fills_up_keeps_what_was_written(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bits(swept(bars, tmp_path / "other"))
    written = []
    put = chunks.put

    def full_after_two(path: Path, data: bytes) -> None:
        if path.suffix == chunks.ENDING:
            if len(written) == 2:
                raise OSError(28, "No space left on device")
            written.append(path)
        put(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "put", full_after_two)
        with pytest.raises(WriteFailed, match="No space left on device"):
            swept(bars, tmp_path)
    CALLS.clear()
    again = swept(bars, tmp_path)
    assert CALLS == [5, 6, 7, 8, 9, 10]
    assert bits(again) == whole


# ---------------------------------------------------------------- killed, and interrupted
# Waits within combination 7 while the file `gate` is there.
SCRIPT = """
    import os, sys, threading
    from pathlib import Path
    import numpy as np
    import quant as q
    from quant.research import chunks

    HERE = Path(__file__).parent
    WORKERS = int(sys.argv[1])
    chunks.plan_chunks = lambda count, *_, **__: [range(k, k + 1) for k in range(count)]

    class Turns(q.Strategy):
        params = dict(n=1)

        @staticmethod
        def signals(bars, p):
            with (HERE / "calls").open("a") as f:
                f.write(f"{p.n}\\n")
            if p.n == 7 and (HERE / "gate").exists():
                (HERE / "waiting").touch()
                patience = threading.Event()
                while (HERE / "gate").exists():
                    patience.wait(0.01)
            return np.where(np.arange(len(bars)) // p.n % 2 == 0, 1.0, -1.0)

    bars = q.synthetic("SYN", "1d", "2020-01-02", "2020-12-31", seed=5)
    sweep = q.sweep(Turns, bars, dict(n=range(1, 13)), data=HERE / sys.argv[2], verify=0, workers=WORKERS)
    sweep.table.to_pickle(HERE / "table")
    print(sum(f.count for f in sweep.findings if f.code == "resumed"))
"""


class Script:
    """A sweep in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sweeping.py").write_text(textwrap.dedent(SCRIPT))

    def start(self, data: str, workers: int) -> subprocess.Popen[str]:
        (self.folder / "calls").write_text("")
        return subprocess.Popen(
            [sys.executable, str(self.folder / "sweeping.py"), str(workers), data],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def stopped(self, workers: int, stop: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
        """Run until combination 7 waits, stop it there, and return exit code and stderr."""
        (self.folder / "gate").touch()
        patience = threading.Event()
        process = self.start("data", workers)
        while not (self.folder / "waiting").exists() and process.poll() is None:
            patience.wait(0.01)
        stop(process)
        (self.folder / "gate").unlink()
        _, said = process.communicate(timeout=120)
        return process.returncode, said

    def finished(self, data: str, workers: int) -> tuple[int, bytes]:
        """Run to the end; return how many chunks were held, and the table."""
        process = self.start(data, workers)
        out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return int(out), (self.folder / "table").read_bytes()

    @property
    def calls(self) -> list[int]:
        return sorted(map(int, (self.folder / "calls").read_text().split()))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of a sweep that nobody ended, by one worker."""
    script = Script(tmp_path_factory.mktemp("undisturbed"))
    held, table = script.finished("data", 1)
    assert held == 0
    assert script.calls == list(range(1, 13))
    return table


# What must be held when combination 7 has begun: with one worker all before it; two have up to three chunks between
# them that are not written yet.
HELD = {1: 6, 2: 4}


@pytest.mark.parametrize("workers", HELD)
def test_killed_sweep_goes_on_where_it_was(workers: int, undisturbed: bytes, tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.stopped(workers, lambda process: process.kill())  # SIGKILL; TerminateProcess on Windows
    held, table = script.finished("data", 3 - workers)
    assert HELD[workers] <= held < 12
    assert 7 in script.calls
    assert len(script.calls) == 12 - held
    assert table == undisturbed


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot be sent Ctrl-C alone")
@pytest.mark.parametrize("workers", HELD)
def test_sweep_ended_by_ctrl_c_goes_on_where_it_was(workers: int, undisturbed: bytes, tmp_path: Path) -> None:
    script = Script(tmp_path)
    code, said = script.stopped(workers, lambda process: process.send_signal(signal.SIGINT))
    assert code in (-signal.SIGINT, 130), said
    # It may come while another exception is handled, of which Python then tells too.
    assert said.count("Traceback") - said.count("During handling of") == said.count("KeyboardInterrupt") == 1
    held, table = script.finished("data", workers)
    assert HELD[workers] <= held < 12
    assert len(script.calls) == 12 - held
    assert table == undisturbed


# ---------------------------------------------------------------- what an interrupted call leaves
def ended(plan: Any, *_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_a_finished_sweep_stays_finished_when_it_is_called_again_and_ended(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = swept(bars, tmp_path)
    assert first.folder is not None
    for name in ("_computed", "record_trials"):
        with monkeypatch.context() as patch:
            patch.setattr(sweep_module, name, ended)
            with pytest.raises(KeyboardInterrupt):
                swept(bars, tmp_path)
        assert q.sweeps(tmp_path)["done"].tolist() == [True]
        assert q.load_sweep(first.folder).table.equals(first.table)


def test_a_finished_sweep_that_differs_from_backtrader_later_is_finished_no_more(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*_: Any) -> Any:
        raise ParityError("Counts", "n=1", "so")

    swept(bars, tmp_path)
    monkeypatch.setattr(sweep_module, "verified", differs)
    with pytest.raises(ParityError):
        swept(bars, tmp_path, verify=1)
    assert q.sweeps(tmp_path)["done"].tolist() == [False]


def test_what_an_interrupted_sweep_computed_counts_as_tried(
    bars: q.Bars, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = chunks.write_chunk, []

    def two(*args: Any) -> Path:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(args)
        return write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "write_chunk", two)
        with pytest.raises(KeyboardInterrupt):
            swept(bars, tmp_path)
    other = swept(bars, tmp_path, grid=dict(n=[11]))
    assert other.trials == 5  # two chunks of two, and this one
    assert swept(bars, tmp_path).trials == 11
