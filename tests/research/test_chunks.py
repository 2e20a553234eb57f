"""Chunks of a sweep: how they are cut, what their files keep, and the folder around them."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.errors import DamagedData, ParameterError, SweepNotFound, WriteFailed
from quant.metrics import NAMES
from quant.research import chunks
from quant.research.chunks import (
    Damage,
    chunk_name,
    chunk_path,
    find_sweep,
    load_sweep_facts,
    plan_chunks,
    read_chunk,
    save_sweep_facts,
    sweep_folder,
    sweep_folders,
    write_chunk,
)
from quant.research.task import Row


def some(count=5, seed=1, sessions=7):
    """Return combinations and their rows, with every odd thing that a row may hold."""
    rng = np.random.default_rng(seed)
    combos = [{"fast": k, "slow": 2 * k, "factor": k / 7, "short": k % 2 == 0} for k in range(count)]
    rows = [Row(rng.normal(size=23), rng.normal(size=sessions)) for _ in range(count)]
    odd = rng.normal(size=23)
    odd[:5] = [math.nan, -0.0, math.inf, -math.inf, 5e-324]
    odd[5:6] = np.array([0x7FF8_0000_DEAD_BEEF]).view(np.float64)  # a NaN that is not Python's
    rows[1] = Row(odd, np.array([math.nan, 0.0, -0.0]))
    rows[2] = Row(None, None, 'StrategyError: "no", said the strategy\n∂')
    rows[3] = Row(np.array([math.nan, 0.0, *[math.nan] * 21]), np.array([]))  # beside -0.0 and the other NaN
    rows[4] = Row(np.arange(23.0), None)
    return combos, rows


def bits(rows):
    return [
        (
            None if r.figures is None else r.figures.tobytes(),
            None if r.returns is None else r.returns.tobytes(),
            r.error,
        )
        for r in rows
    ]


# ---------------------------------------------------------------- how they are cut
@given(
    st.integers(0, 3000),
    st.integers(0, 2_000_000),
    st.sampled_from(["compiled", "fast"]),
    st.sampled_from([0, 1, 250, 5000, 10_000_000]),
)
def test_chunks_hold_each_combination_once_and_in_order(count, bars, engine, sessions):
    found = plan_chunks(count, bars, engine=engine, sessions=sessions)
    assert [k for chunk in found for k in chunk] == list(range(count))
    assert all(len(chunk) for chunk in found)
    if found:
        assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize(
    ("count", "bars", "engine"),
    [(100_000, 100_000, "compiled"), (10_000, 1_000_000, "compiled"), (1000, 2500, "fast"), (100, 60_000, "fast")],
)  # fmt: skip
def test_a_chunk_is_half_a_second_to_two_of_work(count, bars, engine):
    per_bar = {"compiled": 8e-9, "fast": 15e-6}[engine]
    for chunk in plan_chunks(count, bars, engine=engine):
        assert 0.5 <= len(chunk) * bars * per_bar <= 2.0


def test_less_work_still_makes_eight_chunks_but_no_crumbs():
    assert len(plan_chunks(1000, 100_000, engine="compiled", sessions=257)) == 8
    assert len(plan_chunks(100, 10_000, engine="compiled")) == 1  # 8 ms
    assert len(plan_chunks(4, 1_000_000, engine="fast")) == 4


def test_the_returns_of_a_chunk_stay_in_32_megabytes():
    for chunk in plan_chunks(20_000, 2500, engine="compiled", sessions=2500):
        assert len(chunk) * 2500 * 8 <= 16_000_000


def test_an_unknown_engine_is_refused():
    with pytest.raises(ParameterError, match="there is compiled, fast"):
        plan_chunks(10, 10, engine="quick")


# ---------------------------------------------------------------- names
def test_a_name_changes_with_all_that_it_stands_for():
    combos, _ = some()
    names = {
        chunk_name("task", combos),
        chunk_name("another task", combos),
        chunk_name("task", combos[:-1]),
        chunk_name("task", combos[::-1]),
        chunk_name("task", [*combos[:-1], {**combos[-1], "factor": math.nextafter(4 / 7, 1)}]),
        chunk_name("task", [*combos[:-1], {**combos[-1], "fast": 4.0}]),
    }
    assert len(names) == 6
    assert chunk_name("task", [dict(reversed(c.items())) for c in combos]) in names


def test_a_name_is_the_same_in_every_process():
    # Regression pin: another value makes every sweep at rest start anew; raise SCHEMA with it.
    assert chunk_name("task", [{"fast": 5, "x": 0.1}]) == "38d61741839d55f3eb8a054b011196e7"


# ---------------------------------------------------------------- files
def test_rows_come_back_to_the_last_bit(tmp_path):
    combos, rows = some(200)
    path = write_chunk(tmp_path, "abc", combos, rows)
    assert path == chunk_path(tmp_path, "abc")
    found = read_chunk(path, "abc", combos)
    assert bits(found) == bits(rows)
    assert [p.name for p in path.parent.iterdir()] == ["abc.parquet"]


def test_a_chunk_may_be_all_failures(tmp_path):
    rows = [Row(None, None, "broken")] * 3
    path = write_chunk(tmp_path, "abc", [{"fast": k} for k in range(3)], rows)
    assert bits(read_chunk(path, "abc", [{"fast": k} for k in range(3)])) == bits(rows)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    combos, rows = some()
    first = write_chunk(tmp_path / "a", "abc", combos, rows).read_bytes()
    assert write_chunk(tmp_path / "b", "abc", *some()).read_bytes() == first
    assert write_chunk(tmp_path / "c", "abc", combos, some(seed=2)[1]).read_bytes() != first


def test_a_chunk_is_parquet_that_others_read(tmp_path):
    import pandas as pd

    combos, rows = some()
    frame = pd.read_parquet(write_chunk(tmp_path, "abc", combos, rows))
    assert list(frame.columns) == ["params", *NAMES, "error", "returns"]
    assert [json.loads(p) for p in frame["params"]] == combos
    assert frame["sharpe"][0] == rows[0].figures[NAMES.index("sharpe")]
    assert frame["returns"][0].tolist() == rows[0].returns.tolist()


def test_rows_that_were_read_cannot_be_written_to(tmp_path):
    combos, rows = some()
    row = read_chunk(write_chunk(tmp_path, "abc", combos, rows), "abc", combos)[0]
    assert not row.figures.flags.writeable
    assert not row.returns.flags.writeable


def test_no_file_is_none_not_damage(tmp_path):
    assert read_chunk(tmp_path / "chunks" / "abc.parquet", "abc", []) is None


def test_rows_and_combinations_must_be_as_many(tmp_path):
    combos, rows = some()
    with pytest.raises(ValueError, match="length"):
        write_chunk(tmp_path, "abc", combos, rows[:-1])
    assert not list(tmp_path.rglob("*.parquet*"))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "chunks").write_text("a file where a folder should be")
    with pytest.raises(WriteFailed, match="chunks"):
        write_chunk(tmp_path, "abc", *some())


# ---------------------------------------------------------------- another chunk than was asked for
@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("abd", lambda c: c, "it is the chunk abc"),
        ("abc", lambda c: c[:-1], "other combinations"),
        ("abc", lambda c: c[::-1], "other combinations"),
        ("abc", lambda c: [{**c[0], "fast": 0.0}, *c[1:]], "other combinations"),
    ],
)
def test_another_chunk_is_damage_with_its_reason(tmp_path, name, change, told):
    combos, rows = some()
    path = write_chunk(tmp_path, "abc", combos, rows)
    found = read_chunk(path, name, change(combos))
    assert isinstance(found, Damage)
    assert told in found.reason
    assert found.path == path


def test_another_schema_is_damage(tmp_path, monkeypatch):
    combos, rows = some()
    path = write_chunk(tmp_path, "abc", combos, rows)
    monkeypatch.setattr(chunks, "SCHEMA", 2)
    assert read_chunk(path, "abc", combos).reason == "it has schema 1, this version reads 2"


def test_a_sealed_file_with_other_columns_is_damage(tmp_path, monkeypatch):
    combos, rows = some()
    short = [replace(r, figures=None if r.figures is None else r.figures[:22]) for r in rows]
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "NAMES", NAMES[:22])
        path = write_chunk(tmp_path, "abc", combos, short)
    assert read_chunk(path, "abc", combos).reason == "it has other columns"


def test_a_folder_in_place_of_the_file_is_damage(tmp_path):
    path = chunk_path(tmp_path, "abc")
    path.mkdir(parents=True)
    assert "cannot be read" in read_chunk(path, "abc", []).reason


# ---------------------------------------------------------------- the sweep's folder
FACTS = {
    "strategy": {"class": "MacdCross", "sources": {"macd": "ab" * 32}},
    "grid": {"fast": [5, 10], "factor": [0.1, 1e300, -0.0]},
    "counts": {"total": 4, "dropped": 1},
    "title": "Übung",
}


def test_facts_come_back(tmp_path):
    save_sweep_facts(tmp_path / "a", FACTS)
    assert load_sweep_facts(tmp_path / "a") == FACTS
    save_sweep_facts(tmp_path / "a", {"grid": {}})
    assert load_sweep_facts(tmp_path / "a") == {"grid": {}}


def test_facts_become_plain_values(tmp_path):
    odd = {"a": np.float64(0.5), "b": range(3), "c": (1, math.nan), "d": np.array([1, 2]), "e": tmp_path}
    save_sweep_facts(tmp_path, odd)
    assert load_sweep_facts(tmp_path) == {
        "a": 0.5, "b": [0, 1, 2], "c": [1, "nan"], "d": [1, 2], "e": str(tmp_path)
    }  # fmt: skip


def test_a_sweep_has_one_folder(tmp_path):
    folder = sweep_folder(tmp_path, "MacdCross", FACTS)
    assert folder.parent == tmp_path / "sweeps"
    assert folder.name.startswith("macd_cross-")
    assert len(folder.name) == len("macd_cross-") + 12
    assert sweep_folder(tmp_path, "MacdCross", dict(reversed(FACTS.items()))) == folder
    assert sweep_folder(tmp_path, "MacdCross", {**FACTS, "grid": {}}) != folder


def test_a_sweep_is_found_by_name_part_and_path(tmp_path):
    folders = [
        tmp_path / "sweeps" / n for n in ("macd-0123456789ab", "macd-0123ffffffff", "rsi-aaaaaaaaaaaa")
    ]
    for folder in folders:
        save_sweep_facts(folder, FACTS)
    (tmp_path / "sweeps" / "unfinished").mkdir()
    assert sweep_folders(tmp_path) == sorted(folders)
    assert find_sweep("macd-0123456789ab", tmp_path) == folders[0]
    assert find_sweep("0123f", tmp_path) == folders[1]
    assert find_sweep(folders[2]) == folders[2]
    with pytest.raises(ParameterError, match="several sweeps have it: macd-0123456789ab, macd-0123ffffffff"):
        find_sweep("macd", tmp_path)
    with pytest.raises(SweepNotFound, match="no sweep ema"):
        find_sweep("ema", tmp_path)
    assert sweep_folders(tmp_path / "nowhere") == []


def test_a_folder_without_facts_is_no_sweep(tmp_path):
    with pytest.raises(SweepNotFound, match=r"no sweep nothing in"):
        load_sweep_facts(tmp_path / "nothing")


def test_no_flip_and_no_cut_of_the_facts_is_silent(tmp_path, full):
    save_sweep_facts(tmp_path, FACTS)
    path = tmp_path / "sweep.json"
    good = path.read_bytes()
    rng = random.Random(20260403)
    for length in range(len(good)) if full else rng.sample(range(len(good)), 100):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedData, match="Run the sweep again"):
            load_sweep_facts(tmp_path)
    for bit in range(len(good) * 8) if full else rng.sample(range(len(good) * 8), 500):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(DamagedData):
            load_sweep_facts(tmp_path)


def test_facts_of_another_version_say_so(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "SCHEMA", 2)
        save_sweep_facts(tmp_path, FACTS)
    with pytest.raises(DamagedData, match=r"it has schema 2, this version reads 1"):
        load_sweep_facts(tmp_path)


def test_facts_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(WriteFailed, match=r"sweep\.json"):
        save_sweep_facts(tmp_path / "a", FACTS)
