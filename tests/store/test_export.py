import errno
import os
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from quant.core.synthetic import synthetic
from quant.errors import ParameterError, WriteFailed
from quant.store import Store, bars
from quant.store.export import export
from quant.store.importer import import_file

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CASES = {
    "daily": ("1d", "2019-12-02", "2020-02-14", "XNYS"),
    "weekly": ("1w", "2019-12-02", "2020-02-14", "XNYS"),
    "forward": ("5m", "2021-03-10", "2021-03-17", "XNYS"),  # clocks go forward in New York
    "back": ("30m", "2021-11-03", "2021-11-10", "24/7"),
    "sydney": ("1h", "2021-03-31", "2021-04-08", "XASX"),
    "evening": ("15m", "2021-11-03", "2021-11-10", "CMES"),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("case", CASES)
def test_import_of_an_export_is_the_same_to_the_last_bit(tmp_path, ending, case):
    bar, first, last, calendar = CASES[case]
    given = replace(synthetic("ABC", bar, first, last, calendar=calendar), source="import")
    rng = np.random.default_rng(7)
    given = replace(
        given, volume=rng.random(len(given)) * 1e6, close=given.low + (given.high - given.low) / 3
    )
    file = export(given, tmp_path / f"x.{ending}")
    back = import_file(
        Store(tmp_path / "data"), file, symbol="ABC", bar=bar, calendar=calendar, now=NOW, tick=0.01,
        adjusted="none", exchange="SYNTHETIC",
    )  # fmt: skip
    assert back.bars.fingerprint == given.fingerprint
    assert bars("ABC", bar, data=tmp_path / "data").fingerprint == given.fingerprint


def test_csv_is_in_exchange_time_with_its_offset(tmp_path):
    given = synthetic("ABC", "1h", "2021-03-12", "2021-03-15")
    lines = export(given, tmp_path / "x.csv").read_text().splitlines()
    assert lines[0] == "start,open,high,low,close,volume"
    assert lines[1].startswith("2021-03-12T09:30:00-05:00,")
    assert lines[8].startswith("2021-03-15T09:30:00-04:00,")


def test_a_daily_csv_shows_dates(tmp_path):
    lines = (
        export(synthetic("ABC", "1d", "2021-03-12", "2021-03-15"), tmp_path / "x.csv")
        .read_text()
        .splitlines()
    )
    assert [line[:11] for line in lines[1:]] == ["2021-03-12,", "2021-03-15,"]


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"\.csv or \.parquet"):
        export(synthetic("ABC", "1d", "2021-03-12", "2021-03-15"), tmp_path / "x.xlsx")


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    file = export(synthetic("ABC", "1d", "2021-03-12", "2021-03-15"), tmp_path / "x.csv")
    before = file.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteFailed, match="No space left"):
            export(synthetic("ABC", "1d", "2021-03-12", "2021-03-19"), file)
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]
    assert file.read_bytes() == before


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WriteFailed, match="No such file"):
        export(synthetic("ABC", "1d", "2021-03-12", "2021-03-15"), tmp_path / "none" / "x.csv")
