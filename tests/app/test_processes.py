"""`quant` as processes of its own: start-up, signals, pipes, encodings, and a project used from elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calling import ROOT, Quant

HEAVY = {"pandas", "numpy", "backtrader", "rich", "pyarrow", "talib", "exchange_calendars", "ibapi"}


def environment(**more: str) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "quant", *words]
    return subprocess.run(command, cwd=cwd, env=environment(**env), capture_output=True, check=False)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["data", "--help"], ["confg"]])
def test_light_commands_import_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom quant.app.cli import main\n"
        f"sys.argv = ['quant', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('|'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = done.stderr.splitlines()[-1].split("|")
    assert "click" in loaded
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot be sent Ctrl-C alone")
def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "quant", "demo"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        first = process.stderr.readline()  # the demo has begun
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert first.startswith("pulling the sample bars")
    assert process.returncode == 130
    assert err.endswith("error: interrupted\n")
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE there")
def test_reader_that_went_away_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "quant", "config", "show"],
            cwd=tmp_path, env=environment(), stdout=write, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_tests_and_script_of_a_new_project_pass(project: Path, quant: Quant) -> None:
    assert quant("new", "idea").exit_code == 0
    for words, cwd in (
        (["-m", "pytest", "-q", "-p", "no:cacheprovider", str(project)], project.parent),
        (["scripts/backtest.py"], project),
    ):
        done = subprocess.run(
            [sys.executable, *words], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("MacdCross fast=12 slow=26")


def test_project_works_from_a_folder_inside(
    project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "tests")
    assert quant("new", "idea").exit_code == 0
    assert quant("backtest", "idea", "SPY").exit_code == 0
    (folder,) = (project / "data" / "runs").iterdir()
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert facts["strategy"]["class"] == "Idea"


def test_character_that_an_encoding_lacks_is_a_question_mark(project: Path) -> None:
    done = run("data", "show", "SPY", "--bar", "1d", cwd=project, PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert b"2017-01-03 ? 2018-12-31" in done.stdout


def test_legacy_code_page_is_no_crash(tmp_path: Path) -> None:
    done = run("config", "show", cwd=tmp_path, PYTHONIOENCODING="cp1252", NO_COLOR="1")
    assert done.returncode == 0
    assert b"backtest.cash" in done.stdout
    assert b"\x1b" not in done.stdout
