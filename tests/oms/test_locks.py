"""One deployment per account and instrument, on the whole machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quant.errors import InstrumentBusy, ParameterError
from quant.oms.journal.locks import instruments_held, lock_folder

HOLDER = """
import sys
from pathlib import Path
from quant.oms.journal.locks import instruments_held
with instruments_held("DU1", [1], "other", Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_deployment_of_an_instrument_is_refused(tmp_path: Path) -> None:
    with (
        instruments_held("DU1", [1, 2], "macd", tmp_path),
        pytest.raises(InstrumentBusy, match="deployment macd, process") as busy,
        instruments_held("DU1", [2, 3], "rsi", tmp_path),
    ):
        pass
    assert (busy.value.con_id, busy.value.exit_code) == (2, 6)


def test_refused_deployment_keeps_none(tmp_path: Path) -> None:
    with instruments_held("DU1", [2], "macd", tmp_path):
        with pytest.raises(InstrumentBusy), instruments_held("DU1", [1, 2], "rsi", tmp_path):
            pass
        with instruments_held("DU1", [1], "slope", tmp_path):
            pass


def test_other_account_or_instrument_is_free(tmp_path: Path) -> None:
    with (
        instruments_held("DU1", [1], "macd", tmp_path),
        instruments_held("DU2", [1], "macd", tmp_path),
        instruments_held("DU1", [2], "rsi", tmp_path),
    ):
        pass


def test_lock_comes_back(tmp_path: Path) -> None:
    for _ in range(3):
        with instruments_held("DU1", [1, 1], "macd", tmp_path):
            pass
    assert not list(tmp_path.glob("*.owner"))


def test_killed_process_gives_its_lock_back(tmp_path: Path) -> None:
    """Row K3."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(InstrumentBusy, match="other"), instruments_held("DU1", [1], "macd", tmp_path):
        pass
    process.kill()
    process.wait()
    with instruments_held("DU1", [1], "macd", tmp_path):
        assert str(os.getpid()) in (tmp_path / "DU1-1.owner").read_text(encoding="utf-8")
    process.stdin.close()
    process.stdout.close()


@pytest.mark.parametrize("account", ["", "../DU1", "DU 1"])
def test_account_that_is_none_is_refused(account: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError), instruments_held(account, [1], "macd", tmp_path):
        pass


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with (
        pytest.raises(InstrumentBusy, match="rights"),
        instruments_held("DU1", [1], "macd", tmp_path / "file" / "locks"),
    ):
        pass


def test_locks_lie_outside_of_any_project() -> None:
    assert lock_folder().is_absolute()
    assert lock_folder().name == "locks"
