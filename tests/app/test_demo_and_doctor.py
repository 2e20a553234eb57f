"""quant demo and quant doctor."""

from __future__ import annotations

import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from calling import ROOT, Quant, document
from simulation import free_port

import quant as q
from quant.app import demo, doctor
from quant.strategy.lookup import names


@pytest.fixture(autouse=True)
def _no_tws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these tests talks to a TWS that may run on this machine; test_doctor_tws.py asks a simulated one."""
    monkeypatch.setenv("QUANT__IB__PORT", str(free_port()))


def test_demo_runs_all_strategies_and_writes_nothing(
    empty: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DAILY", (("SPY", "1d"),))  # all of it runs in tests/bench
    result = quant("demo")
    assert result.exit_code == 0, result.stderr
    for name in names(ROOT / "strategies"):
        assert f"\n{name} " in result.stdout
    assert "from a simulated TWS over a socket: protocol version 226" in result.stdout
    assert "They equal the stored ones to the last bit." in result.stdout
    assert "prove nothing" in result.stdout
    assert "data/sample" in result.stdout
    assert "next: quant init myproject" in result.stdout
    session = result.stdout.partition("Paper session: ")[2]
    for words in (
        r"order: buy 10 at the market", r"bar closes at 3\d\d\.\d\d: holds 10, stop at 3\d\d\.\d\d",
        r"stop filled: sell 10 at 3\d\d\.\d\d, commission 1\.00",  # IB's least for an order of US shares
    ):  # fmt: skip
        assert re.search(words, session), words
    # Decided at a close, filled at the open of the bar that begins then.
    found = re.search(r"(\d\d:\d\d)  order: buy 10 .*\n.*  filled: buy 10 at ([\d.]+)", session)
    assert found is not None
    opens = q.bars("SPY", "1m", f"2020-12-15T{found[1]}", data=ROOT / "data").open
    assert float(found[2]) == pytest.approx(opens[0], abs=0.005)
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 80
    assert list(empty.iterdir()) == []


def test_demo_takes_our_strategies_also_where_others_are(
    project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DAILY", (("SPY", "1d"),))
    shutil.rmtree(project / "strategies")
    (project / "strategies").mkdir()
    (project / "strategies" / "macd.py").write_text("1 / 0", encoding="utf-8")
    said = document(quant("demo", "--json"))
    assert {r["strategy"] for r in said["runs"]} == set(names(ROOT / "strategies"))
    assert all(r["look_ahead_ok"] for r in said["runs"])
    # 502 daily bars and four sessions of 390 minutes: what the sample's files hold of SPY
    assert (said["pulled"]["bars"], said["pulled"]["equal"]) == (502 + 4 * 390, True)
    assert "in-sample" in said["caveat"]
    assert said["paper"]["equal"]
    assert said["paper"]["fills"]["live"] > 0


# ---------------------------------------------------------------- doctor
def test_doctor_is_content_with_a_new_project(project: Path, quant: Quant) -> None:
    result = quant("doctor", "--json")
    assert result.exit_code == 0
    said = document(result)
    assert said["ok"] is True
    found = {c["name"]: c["status"] for c in said["checks"]}
    assert found.pop("quant-ib") in ("ok", "warn")  # warn: tests run without an installation
    assert found.pop("disk") in ("ok", "warn")
    assert found.pop("TWS") == "warn"
    assert set(found.values()) == {"ok"}
    assert {"Python", "backtrader", "TA-Lib", "time zones", "project", "sample bars", "strategies"} <= set(
        found
    )


def lines(quant: Quant, code: int) -> dict[str, dict[str, str]]:
    result = quant("doctor", "--json")
    assert result.exit_code == code
    return {c["name"]: c for c in document(result)["checks"]}


def test_doctor_without_a_project_says_how_to_make_one(empty: Path, quant: Quant) -> None:
    found = lines(quant, 0)
    assert (found["project"]["status"], found["project"]["mend"]) == ("warn", "quant init myproject")
    assert found["data folder"]["status"] == "warn"
    text = quant("doctor").stdout
    assert "warn project" in text
    assert "     mend: quant init myproject" in text


def test_doctor_names_the_ibapi_of_2020(project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.81.1.post1" if name == "ibapi" else real(name))
    found = lines(quant, 1)["ibapi"]
    assert found["status"] == "fail"
    assert "9.81.1.post1" in found["message"]
    assert "uninstall -y ibapi" in found["mend"]


@pytest.mark.parametrize(("name", "found"), [("backtrader", "1.9.79"), ("pandas", None)])
def test_doctor_names_a_wrong_or_missing_library(
    name: str, found: str | None, project: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def version(asked: str) -> str:
        if asked == name and found is None:
            raise metadata.PackageNotFoundError(asked)
        return found if asked == name and found is not None else real(asked)

    monkeypatch.setattr(metadata, "version", version)
    line = lines(quant, 1)[name]
    assert line["status"] == "fail"
    assert f'pip install "{name}' in line["mend"]


def test_doctor_finds_damage(project: Path, quant: Quant) -> None:
    (path,) = project.glob("data/sample/STK/SPY.*/TRADES-rth-1d/2017-*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    assert path.name in lines(quant, 1)["damaged bars"]["message"]


def test_doctor_finds_a_strategy_that_cannot_be_imported(project: Path, quant: Quant) -> None:
    (project / "strategies" / "bad.py").write_text("import nothing_of_that_name", encoding="utf-8")
    assert "nothing_of_that_name" in lines(quant, 1)["strategy"]["message"]


def test_doctor_names_wrong_settings(project: Path, quant: Quant) -> None:
    (project / "quant.toml").write_text("[backtest]\ncahs = 1", encoding="utf-8")
    assert "did you mean backtest.cash?" in lines(quant, 1)["settings"]["message"]


def test_doctor_and_pyproject_name_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    low, high = (f"{v[0]}.{v[1]}" for v in doctor.PYTHON)
    assert project["requires-python"] == f">={low},<{high}"
    assert f"backtrader=={doctor.BACKTRADER}" in project["dependencies"]
