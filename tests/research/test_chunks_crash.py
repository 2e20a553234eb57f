"""Chunk files that were cut, flipped or killed: damage with a reason, or whole, and nothing in between."""

import errno
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

from quant.errors import WriteFailed
from quant.research.chunks import Damage, chunk_path, read_chunk, write_chunk
from quant.research.task import Row

KILLS = 4  # --full: 60
CUTS = 500  # --full: at every byte
FLIPS = 1_500  # --full: every bit
COMBOS = [{"fast": k, "slow": 2 * k} for k in range(4)]


def some(seed):
    rng = np.random.default_rng(seed)
    rows = [Row(rng.normal(size=23), rng.normal(size=9)) for _ in COMBOS[1:]]
    return [*rows, Row(None, None, "broken")]


OLD, NEW = some(1), some(2)


def bits(rows):
    return [(None if r.figures is None else r.figures.tobytes(), r.error) for r in rows]


@pytest.fixture
def held(tmp_path):
    path = write_chunk(tmp_path, "abc", COMBOS, OLD)
    return path, path.read_bytes()


def test_no_cut_is_silent_and_none_raises(held, full):
    path, good = held
    every = range(len(good))
    for length in every if full else (*random.Random(20260404).sample(every, CUTS), *every[-300:]):
        path.write_bytes(good[:length])
        assert isinstance(read_chunk(path, "abc", COMBOS), Damage), length
    path.write_bytes(good + b"\0")
    assert "checksum" in read_chunk(path, "abc", COMBOS).reason


def test_no_flip_is_silent_and_none_raises(held, full):
    path, good = held
    every = range(len(good) * 8)
    for bit in every if full else random.Random(20260401).sample(every, FLIPS):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        found = read_chunk(path, "abc", COMBOS)
        assert isinstance(found, Damage), bit
    path.write_bytes(good)
    assert bits(read_chunk(path, "abc", COMBOS)) == bits(OLD)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"sha256:", b"sha256:" + b"0" * 64, b"\0" * 5000])
def test_bytes_of_something_else_are_damage(held, content):
    path, _ = held
    path.write_bytes(content)
    assert isinstance(read_chunk(path, "abc", COMBOS), Damage)


def test_damage_is_written_over(held):
    path, good = held
    path.write_bytes(good[:100])
    write_chunk(path.parent.parent, "abc", COMBOS, NEW)
    assert bits(read_chunk(path, "abc", COMBOS)) == bits(NEW)


CHILD = """
import sys
from pathlib import Path
import numpy as np
from quant.research.chunks import write_chunk
from quant.research.task import Row
rng = np.random.default_rng(2)
combos = [{"fast": k, "slow": 2 * k} for k in range(4)]
rows = [Row(rng.normal(size=23), rng.normal(size=9)) for _ in range(3)] + [Row(None, None, "broken")]
print("ready", flush=True)
while True:
    for name in ("abc", "new"):
        write_chunk(Path(sys.argv[1]), name, combos, rows)
"""


def test_a_killed_writer_leaves_the_old_or_the_new_or_nothing(tmp_path, pytestconfig, full):
    rng = random.Random(20260402)
    for kill in range(60 if full else KILLS):
        folder = tmp_path / str(kill)
        write_chunk(folder, "abc", COMBOS, OLD)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder)], cwd=pytestconfig.rootpath, stdout=subprocess.PIPE
        )
        assert child.stdout.readline().strip() == b"ready"
        _spin(rng.randrange(200_000))  # a random moment of its loop
        child.kill()  # SIGKILL; TerminateProcess on Windows
        child.wait()
        child.stdout.close()
        old = read_chunk(chunk_path(folder, "abc"), "abc", COMBOS)
        assert bits(old) in (bits(OLD), bits(NEW))
        new = read_chunk(chunk_path(folder, "new"), "new", COMBOS)
        assert new is None or bits(new) == bits(NEW)
        write_chunk(folder, "abc", COMBOS, NEW)  # remains of the dead are in nobody's way
        assert bits(read_chunk(chunk_path(folder, "abc"), "abc", COMBOS)) == bits(NEW)


def _spin(times):
    for _ in range(times):
        pass


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(held, monkeypatch, name):
    path, good = held

    def refused(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, refused)
        with pytest.raises(WriteFailed, match="No space left on device; what was there is unchanged"):
            write_chunk(path.parent.parent, "abc", COMBOS, NEW)
    assert path.read_bytes() == good
    assert [p.name for p in path.parent.iterdir()] == ["abc.parquet"]


def test_writers_of_the_same_chunk_do_not_disturb_each_other(tmp_path):
    seen = []

    def work(rows):
        for _ in range(20):
            path = write_chunk(tmp_path, "abc", COMBOS, rows)
            seen.append(bits(read_chunk(path, "abc", COMBOS)))

    threads = [threading.Thread(target=work, args=(rows,)) for rows in (OLD, NEW, OLD, NEW)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    assert all(rows in (bits(OLD), bits(NEW)) for rows in seen)
    assert [p.name for p in (tmp_path / "chunks").iterdir()] == ["abc.parquet"]
