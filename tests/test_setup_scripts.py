"""scripts/_venv.py and its two callers: which Python, when .venv is made anew, what is run. No network."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def venv() -> ModuleType:
    return load("_venv")


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_range_of_python_is_that_of_pyproject(venv: ModuleType, project: dict[str, Any]) -> None:
    low, high = venv.WANTED
    assert project["requires-python"] == f">={low[0]}.{low[1]},<{high[0]}.{high[1]}"


@pytest.mark.parametrize(
    ("version", "good"),
    [((2, 7, 18), False), ((3, 10, 13), False), ((3, 11, 0), True), ((3, 13, 9), True), ((3, 14, 0), False)],
)
def test_supported_versions(venv: ModuleType, version: tuple[int, ...], good: bool) -> None:
    assert venv.suits(version) is good


def test_refusal_names_version_range_and_better_command(venv: ModuleType) -> None:
    text = venv.refusal((3, 8, 18), "/opt/python", ["python3.12"], ["scripts/demo.py", "--json"], "linux")
    assert "needs Python 3.11, 3.12 or 3.13; this is Python 3.8.18 (/opt/python)" in text
    assert text.endswith("\n    python3.12 scripts/demo.py --json")


@pytest.mark.parametrize(("platform", "how"), [("linux", "apt"), ("darwin", "brew"), ("win32", "winget")])
def test_refusal_without_better_one_says_how_to_install(venv: ModuleType, platform: str, how: str) -> None:
    text = venv.refusal((2, 7, 18), "python", None, ["scripts/demo.py"], platform)
    assert how in text
    assert "call this script with it" in text


def test_first_suitable_interpreter_wins(venv: ModuleType) -> None:
    answers = {"python3.13": None, "python3.12": (3, 10), "python3.11": (3, 11), "python3": (3, 12)}
    found = venv.find_suitable(venv.candidates("linux"), lambda command: answers[command[0]])
    assert found == ["python3.11"]


def test_candidates_use_the_launcher_on_windows(venv: ModuleType) -> None:
    assert venv.candidates("win32")[:3] == [["py", "-3.13"], ["py", "-3.12"], ["py", "-3.11"]]


def test_interpreter_is_asked_for_its_version(venv: ModuleType) -> None:
    assert venv.answered_version([sys.executable]) == sys.version_info[:2]


@pytest.mark.parametrize(
    "command",
    [
        ["no-such-program-anywhere"],
        [sys.executable, "-c", "raise SystemExit(127)"],
        [sys.executable, "-c", "print('?')"],
    ],
    ids=["missing", "failing", "babbling"],
)
def test_what_is_no_interpreter_answers_none(venv: ModuleType, command: list[str]) -> None:
    assert venv.answered_version(command) is None


def test_wrong_version_ends_before_anything_is_made(tmp_path: Path) -> None:
    for name in ("_venv", "demo"):
        (tmp_path / "a b" / "scripts").mkdir(parents=True, exist_ok=True)
        (tmp_path / "a b" / "scripts" / f"{name}.py").write_bytes((SCRIPTS / f"{name}.py").read_bytes())
    faked = (
        "import runpy, sys\n"
        "sys.version_info = (3, 8, 18)\n"
        "sys.argv = ['scripts/demo.py']\n"
        "sys.path.insert(0, 'scripts')\n"
        "runpy.run_path('scripts/demo.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", faked], cwd=tmp_path / "a b", capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "this is Python 3.8.18" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a b" / ".venv").exists()


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (("python 3.12.1", "/here", [b"a", b"b"]), "ready"),
        (("python 3.12.1", "/here", [b"a", b"other lock"]), "update"),
        (("python 3.11.7", "/here", [b"a", b"b"]), "rebuild"),
        (("python 3.12.1", "/moved from", [b"a", b"b"]), "rebuild"),
        (None, "rebuild"),
    ],
    ids=["same", "other packages", "other Python", "other folder", "cut short"],
)
def test_next_step(venv: ModuleType, found: tuple[str, str, list[bytes]] | None, step: str) -> None:
    wanted = venv.stamp_text("python 3.12.1", "/here", [b"a", b"b"])
    assert venv.next_step(None if found is None else venv.stamp_text(*found), wanted) == step


def test_stamp_of_two_files_is_not_that_of_their_join(venv: ModuleType) -> None:
    assert venv.stamp_text("p", "/r", [b"ab", b"c"]) != venv.stamp_text("p", "/r", [b"a", b"bc"])


def test_unreadable_stamp_counts_as_none(venv: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "stamp").write_bytes(b"\xff\xfe\x00")
    assert venv.read_stamp(str(tmp_path / "stamp")) is None
    assert venv.read_stamp(str(tmp_path / "none")) is None


def test_programs_of_venv_come_first_and_no_other_pythons_paths(
    venv: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    env = venv.environment(str(tmp_path))
    assert env["PATH"].split(os.pathsep)[0].startswith(str(tmp_path))
    assert "PYTHONPATH" not in env


def test_programs_stand_in_scripts_on_windows(venv: ModuleType) -> None:
    assert venv.program("v", "quant", True).endswith("quant.exe")
    assert "Scripts" in venv.program("v", "quant", True)


def test_arguments_go_to_pytest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = load("test")
    names = [name for name, _ in script.steps(".venv", [], False)]
    assert names == ["ruff", "mypy", "lint-imports", "pytest"]
    ((name, command),) = script.steps(".venv", ["-k", "macd"], False)
    assert name == "pytest"
    assert command[-2:] == ["-k", "macd"]


def test_all_insists_on_what_tests_need_beyond_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    steps = load("test").steps(".venv", ["--all"], False)
    assert [name for name, _ in steps] == ["extras", "ruff", "mypy", "lint-imports", "pytest"]
    wanted = {f"--{name}=require" for name in ("browser", "exports", "arch", "cluster", "optuna")}
    assert wanted <= set(steps[-1][1])


@pytest.mark.parametrize("failing", ["ruff", "pytest"])
def test_every_step_runs_and_one_failure_fails(
    failing: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = load("test")
    monkeypatch.setattr(script._venv, "ready", lambda: str(tmp_path))
    monkeypatch.setattr(script._venv, "run", lambda command, env: int(failing in command))
    assert script.main([]) == 1
    told = capfd.readouterr().out.splitlines()[-1]
    assert told.startswith("summary: ")
    assert told.count(" ok (") == 3
    assert f"{failing} FAILED" in told


def test_lock_holds_hashes_and_no_hosts() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    packages = [part for part in text.replace("\\\n", "").splitlines() if "==" in part]
    assert packages
    assert all("--hash=sha256:" in part for part in packages)
    assert "://" not in text
    assert "--index" not in text


def test_lock_holds_every_dependency(project: dict[str, Any]) -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").lower().replace("_", "-")
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["dev"], *extras["docs"]]:
        name = requirement.lower().replace("_", "-").split("[")[0].split(">")[0].split("=")[0]
        assert f"\n{name}==" in text


def test_wheel_carries_the_template(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("quant_ib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    strategies = {f"quant/_template/strategies/{path.name}" for path in (ROOT / "strategies").glob("*.py")}
    files = (path.relative_to(ROOT).as_posix() for path in (ROOT / "data/sample").rglob("*.parquet"))
    sample = {f"quant/_template/{name}" for name in files}
    assert strategies
    assert sample
    assert strategies | sample | {"quant/_template/scripts/backtest.py", "quant/py.typed"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"quant"}
