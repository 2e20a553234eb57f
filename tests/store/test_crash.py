"""A write that does not come to its end: killed, refused by the system, or met by another writer."""

import contextlib
import errno
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from filelock import FileLock

from quant.core.synthetic import synthetic
from quant.errors import StoreBusy, WriteFailed
from quant.store import Store

REQUEST = {"kind": "import", "at": "2026-01-02T03:04:05+00:00"}


def some(seed, end="2020-02-14"):
    return replace(synthetic("ABC", "1d", "2019-12-02", end, seed=seed), source="import")


OLD, NEW = some(1), some(2, "2021-01-15")  # NEW replaces bars of two years and adds one: four files change


class Killed(BaseException):
    """Stands for kill -9: from here on nothing of the process reaches the disk."""


@contextmanager
def killed_before(monkeypatch, step):
    """Let the process die before its `step`-th call that changes or secures a file."""
    count = 0
    with monkeypatch.context() as patch:
        for name in ("replace", "fsync", "unlink", "rmdir"):
            real = getattr(os, name)

            def hooked(*args, real=real, **kwargs):
                nonlocal count
                count += 1
                if count >= step:
                    raise Killed
                return real(*args, **kwargs)

            patch.setattr(os, name, hooked)
        yield


@pytest.mark.parametrize("held", [True, False])
def test_killed_at_any_step_the_old_or_the_new_series_is_there_whole(tmp_path, monkeypatch, held):
    results = []
    for step in range(1, 100):
        store = Store(tmp_path / str(step))
        if held:
            store.write(OLD, REQUEST)
        died = False
        with killed_before(monkeypatch, step):
            try:
                store.write(NEW, REQUEST)
            except Killed:
                died = True
        if not died:
            break
        found = store.series()
        results.append(store.read(found[0]).fingerprint if found else None)
        # Who comes next finds no lock and no remains.
        store.write(NEW, REQUEST)
        folder = store.find("ABC").folder
        assert store.read(store.find("ABC")).fingerprint == NEW.fingerprint
        assert {p.name for p in folder.glob("*.*")} - {".lock", "manifest.json"} == store.manifest(
            store.find("ABC")
        ).named
    before = OLD.fingerprint if held else None
    turn = results.index(NEW.fingerprint)
    assert results == [before] * turn + [NEW.fingerprint] * (len(results) - turn)
    assert len(results) > 10


def test_killed_at_any_step_a_window_without_bars_is_confirmed_or_not(tmp_path, monkeypatch):
    window = (int(OLD.end[-1]), int(OLD.end[-1]) + 10**9)
    results = []
    for step in range(1, 100):
        store = Store(tmp_path / str(step))
        store.write(OLD, REQUEST)
        with killed_before(monkeypatch, step), contextlib.suppress(Killed):
            store.write(OLD[:0], REQUEST, window=window)
        series = store.find("ABC")
        manifest = store.manifest(series)
        assert (manifest.empty == (window,)) == (manifest.coverage[-1][1] == window[1])
        assert store.read(series).fingerprint == OLD.fingerprint
        results.append(bool(manifest.empty))
        if len(results) > 10:
            break
    assert results == sorted(results)
    assert set(results) == {False, True}


@pytest.mark.parametrize("step", range(1, 16))
def test_ctrl_c_after_any_step_leaves_the_old_or_the_new_series_whole(tmp_path, monkeypatch, step):
    store = Store(tmp_path)
    store.write(OLD, REQUEST)
    count = 0
    with monkeypatch.context() as patch:
        for name in ("replace", "fsync"):
            real = getattr(os, name)

            def hooked(*args, real=real):
                nonlocal count
                real(*args)
                count += 1
                if count == step:
                    raise KeyboardInterrupt

            patch.setattr(os, name, hooked)
        with contextlib.suppress(KeyboardInterrupt):
            store.write(NEW, REQUEST)
    series = store.find("ABC")
    assert store.read(series).fingerprint in (OLD.fingerprint, NEW.fingerprint)
    assert {p.name for p in series.folder.glob("*.parquet*")} == store.manifest(series).named


CHILD = """
import os, sys, signal
from datetime import UTC, datetime
calls, last = 0, int(sys.argv[3])
real = os.replace
def hooked(a, b):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    real(a, b)
os.replace = hooked
from quant.store import Store
from quant.store.importer import import_file
import_file(Store(sys.argv[1]), sys.argv[2], symbol="ABC", bar="1d", now=datetime(2026, 1, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize("step", [2, 3])  # between two years; between the years and the manifest
def test_an_import_killed_by_the_system_leaves_nothing_that_is_read(tmp_path, step, pytestconfig):
    from quant.store.export import export

    file = export(OLD, tmp_path / "bars.csv")
    child = [sys.executable, "-c", CHILD, str(tmp_path / "data"), str(file), str(step)]
    assert subprocess.run(child, cwd=pytestconfig.rootpath, check=False).returncode != 0
    store = Store(tmp_path / "data")
    assert list((tmp_path / "data").rglob("*.parquet"))  # it was in the middle
    assert store.series() == []
    store.write(OLD, REQUEST)
    assert store.read(store.find("ABC")).start.tolist() == OLD.start.tolist()


def test_a_second_writer_waits_for_the_first(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write(OLD, REQUEST)
    said = []
    with FileLock(store.find("ABC").folder / ".lock") as first:
        monkeypatch.setattr("quant.store.write.QUIET_S", 0.0)
        monkeypatch.setattr(
            "quant.store.write._log.warning", lambda *told: (said.append(told), first.release())
        )
        store.write(NEW, REQUEST)
    assert len(said) == 1
    assert store.read(store.find("ABC")).fingerprint != OLD.fingerprint


def test_a_second_writer_is_refused_in_the_end_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("quant.store.write.WAIT_S", 0.0)
    store = Store(tmp_path)
    store.write(OLD, REQUEST)
    series = store.find("ABC")
    with FileLock(series.folder / ".lock"):
        with pytest.raises(StoreBusy, match="try again when it has finished"):
            store.write(NEW, REQUEST)
        with pytest.raises(StoreBusy):
            store.remove(series)
        assert store.read(series).fingerprint == OLD.fingerprint  # a reader needs no lock
    store.write(NEW, REQUEST)


@pytest.mark.parametrize(
    ("name", "step"), [("fsync", 1), ("fsync", 3), ("replace", 1), ("replace", 3), ("replace", 5)]
)
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, name, step):
    store = Store(tmp_path)
    store.write(OLD, REQUEST)
    folder = store.find("ABC").folder
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    real, count = getattr(os, name), 0

    def hooked(*args, **kwargs):
        nonlocal count
        count += 1
        if count == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, hooked)
        with pytest.raises(WriteFailed, match="No space left on device; what was there is unchanged"):
            store.write(NEW, REQUEST)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_file_that_may_not_grow_leaves_what_was_there(tmp_path):
    resource = pytest.importorskip("resource", reason="no such limit on Windows")
    store = Store(tmp_path)
    store.write(OLD, REQUEST)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(WriteFailed, match="File too large"):
            store.write(NEW, REQUEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.read(store.find("ABC")).fingerprint == OLD.fingerprint
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_first_write_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteFailed):
            Store(tmp_path).write(OLD, REQUEST)
    assert [p.name for p in (tmp_path / "bars").iterdir()] == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "bars").write_text("a file where a folder should be")
    with pytest.raises(WriteFailed, match="bars"):
        Store(tmp_path).write(OLD, REQUEST)


def test_a_reader_who_is_overtaken_by_a_writer_gets_the_new_series(tmp_path, monkeypatch):
    from quant.store import store as module

    store = Store(tmp_path)
    store.write(OLD, REQUEST)
    series = store.find("ABC")
    real, calls = module.load, []

    def slow(path):
        manifest = real(path)
        if not calls:
            calls.append(path)
            store.write(NEW, REQUEST)  # after the reader's look at the manifest
        return manifest

    monkeypatch.setattr(module, "load", slow)
    assert store.read(series).fingerprint == NEW.fingerprint
