"""Bytes at rest that are not what was written: none is read without an error."""

import random
from dataclasses import replace

import pytest

from quant.core.synthetic import synthetic
from quant.errors import DamagedData, SeriesNotFound
from quant.store import Store

FLIPS = 10_000  # of the 15,000 or so bits of the file
REQUEST = {"kind": "import", "at": "2026-01-02T03:04:05+00:00"}


@pytest.fixture
def held(tmp_path):
    store = Store(tmp_path)
    # One year, one file: a second one would only be read along and slow the flips down.
    bars = replace(synthetic("ABC", "1d", "2020-01-02", "2020-01-15"), source="import")
    store.write(bars, REQUEST)
    return store, store.find("ABC")


def parquet(series):
    return sorted(series.folder.glob("*.parquet"))


def test_no_bit_flip_of_a_parquet_file_is_silent(held):
    store, series = held
    path = parquet(series)[0]
    good = path.read_bytes()
    rng = random.Random(20260102)
    for bit in rng.sample(range(len(good) * 8), FLIPS):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(DamagedData):
            store.read(series)
    path.write_bytes(good)
    store.read(series)


def test_no_cut_of_a_parquet_file_is_silent(held):
    store, series = held
    path = parquet(series)[0]
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedData, match=r"bytes, \d+ were written"):
            store.read(series)


def test_no_bit_flip_of_the_manifest_is_silent(held):
    store, series = held
    path = series.folder / "manifest.json"
    good = path.read_bytes()
    rng = random.Random(20260103)
    for bit in rng.sample(range(len(good) * 8), 2000):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(DamagedData):
            store.read(series)


def test_no_cut_of_the_manifest_is_silent(held):
    store, series = held
    path = series.folder / "manifest.json"
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedData):
            store.read(series)


def test_an_edit_of_the_manifest_by_hand_is_noticed(held):
    store, series = held
    path = series.folder / "manifest.json"
    path.write_text(path.read_text().replace('"tick": 0.01', '"tick": 0.05'))
    with pytest.raises(DamagedData, match="does not match its checksum"):
        store.read(series)


def test_the_error_says_where_what_and_what_mends_it(held):
    store, series = held
    path = parquet(series)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamagedData) as caught:
        store.read(series)
    assert caught.value.path == str(path)
    assert "checksum" in caught.value.reason
    assert "quant data remove" in caught.value.mend
    assert caught.value.exit_code == 4


def test_a_page_checksum_stands_behind_the_files_own(held):
    # A wrong file that a wrong manifest vouches for is still noticed by the pages' checksums.
    import pyarrow.parquet as pq

    path = parquet(held[1])[0]
    at = pq.ParquetFile(path).metadata.row_group(0).column(1).dictionary_page_offset + 40
    bad = bytearray(path.read_bytes())
    bad[at] ^= 1
    path.write_bytes(bad)
    with pytest.raises(OSError, match=r"CRC|crc|checksum|Corrupt"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_missing_file_is_named(held):
    store, series = held
    path = parquet(series)[0]
    path.unlink()
    with pytest.raises(DamagedData, match=f"{path.name} is missing"):
        store.read(series)


def test_nothing_is_written_over_damage(held):
    store, series = held
    path = parquet(series)[0]
    path.write_bytes(path.read_bytes()[:-1])
    before = {p.name: p.read_bytes() for p in series.folder.iterdir()}
    new = synthetic("ABC", "1d", "2020-01-02", "2020-01-15", seed=1)
    with pytest.raises(DamagedData):
        store.write(replace(new, source="import"), REQUEST)
    assert {p.name: p.read_bytes() for p in series.folder.iterdir()} == before


def test_a_damaged_manifest_does_not_hide_the_others(held):
    store, series = held
    store.write(replace(synthetic("DEF", "1d", "2020-01-01", "2020-01-15"), source="import"), REQUEST)
    (series.folder / "manifest.json").write_text("{")
    found, damaged = store.scan()
    assert [s.symbol for s in found] == ["DEF"]
    assert [e.path for e in damaged] == [str(series.folder / "manifest.json")]
    assert store.find("DEF").symbol == "DEF"
    with pytest.raises(DamagedData):
        store.find("ABC")
    with pytest.raises(SeriesNotFound):
        store.find("GHI")


def test_a_manifest_of_a_later_version_says_so(held):
    from quant.store.manifest import _render

    store, series = held
    path = series.folder / "manifest.json"
    import json

    content = json.loads(path.read_bytes())
    del content["sha256"]
    path.write_bytes(_render({**content, "schema": 2}))
    with pytest.raises(DamagedData, match="it has schema 2, this version reads 1"):
        store.read(series)
