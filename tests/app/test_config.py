"""Settings: layers, where a value came from, and what is refused."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from calling import Quant, document

from quant.app import config
from quant.backtest import backtest
from quant.errors import ConfigError
from quant.store.folder import find_project


def write(folder: Path, text: str, name: str = "quant.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_defaults_are_those_of_the_python_api() -> None:
    known = inspect.signature(backtest).parameters
    for key in config.KEYS:
        if key.section == "backtest":
            assert known[key.name].default == key.default, key.full


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    def cash(environ: dict[str, str] | None = None, given: float | None = None) -> config.Setting:
        found = config.load({"backtest.cash": given}, start=tmp_path, environ=environ or {})
        return found.values["backtest.cash"]

    assert cash() == config.Setting(100_000.0, "default")
    write(tmp_path, "[project]\n\n[backtest]\ncash = 1 # one\n")
    assert cash() == config.Setting(1.0, f"{tmp_path / 'quant.toml'}:4")
    write(tmp_path, "backtest.cash = 2\n", "quant.local.toml")
    assert cash() == config.Setting(2.0, f"{tmp_path / 'quant.local.toml'}:1")
    environ = {"QUANT__BACKTEST__CASH": "3"}
    assert cash(environ) == config.Setting(3.0, "QUANT__BACKTEST__CASH")
    assert cash(environ, 4.0) == config.Setting(4.0, "command line")


def test_parameters_of_strategies_come_from_files_and_environment(tmp_path: Path) -> None:
    write(tmp_path, '[params.macd]\nfast = 5\nslow = 9\n\n[params."pkg.mod:Class"]\nx = true\n')
    environ = {"QUANT__PARAMS__MACD__FAST": "7"}
    found = config.load(start=tmp_path, environ=environ).params
    file = tmp_path / "quant.toml"
    assert found["macd"] == {
        "fast": config.Setting("7", "QUANT__PARAMS__MACD__FAST"),
        "slow": config.Setting(9, f"{file}:3"),
    }
    assert found["pkg.mod:Class"]["x"] == config.Setting(True, f"{file}:6")


def test_the_nearest_project_above_is_found(tmp_path: Path) -> None:
    write(tmp_path, "")
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    assert find_project(inside) == tmp_path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[backtest]\ncahs = 1\n", ":2: backtest.cahs: no such setting; did you mean backtest.cash?"),
        ("cash = 1\n", "did you mean backtest.cash?"),
        ("[bakctest]\ncash = 1\n", "did you mean backtest.cash?"),
        ("[backtest]\ncash = 'much'\n", ":2: backtest.cash: must be a number"),
        ("[backtest]\ncash = true\n", "must be a number"),
        ("[backtest]\ncash = nan\n", "must be a number"),
        ("[backtest]\ncosts = 1\n", "must be text"),
        ("[backtest]\ncosts = ''\n", "must be text"),
        ("[params]\nfast = 1\n", "[params.STRATEGY]"),
        ("[backtest\n", "is no TOML"),
        ("[zzz]\nyyy = 1\n", "there are project.data, backtest.cash"),
        ("backtest = 5\n", "no such setting"),
    ],
)
def test_wrong_settings_are_named_with_the_nearest_right_one(text: str, told: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError) as e:
        config.load(start=tmp_path, environ={})
    assert told in str(e.value)
    assert str(tmp_path / "quant.toml") in str(e.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "quant.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(start=tmp_path, environ={})


def test_wrong_variable_of_the_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"QUANT__BACKTEST__CAHS: .*did you mean backtest.cash"):
        config.load(start=tmp_path, environ={"QUANT__BACKTEST__CAHS": "1"})


def test_none_means_no_value(tmp_path: Path) -> None:
    write(tmp_path, '[backtest]\nslippage = "none"\nborrow = "none"\ncosts = "none"\n')
    found = config.load(start=tmp_path, environ={}).section("backtest")
    assert (found["slippage"], found["borrow"], found["costs"]) == (None, None, "none")


def test_data_folder_counts_from_where_it_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[project]\ndata = "bars here"\n')
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert config.load(environ={}).data == tmp_path / "bars here"
    assert config.load(environ={"QUANT__PROJECT__DATA": "x"}).data == inside / "x"
    assert config.load({"project.data": "y"}, environ={}).data == inside / "y"


def test_config_show_tells_value_and_origin(project: Path, quant: Quant) -> None:
    write(project, "[backtest]\ncash = 5\n", "quant.local.toml")
    shown = quant("config", "show")
    assert shown.exit_code == 0
    line = next(line for line in shown.stdout.splitlines() if line.startswith("backtest.cash")).rstrip()
    assert line.split(maxsplit=2)[1:] == ["5.0", f"{project / 'quant.local.toml'}:2"]
    settings = document(quant("config", "show", "--json", env={"QUANT__BACKTEST__BORROW": "0.03"}))[
        "settings"
    ]
    assert settings["backtest.borrow"]["value"] == 0.03
    assert settings["backtest.borrow"]["from"] == "QUANT__BACKTEST__BORROW"
    assert settings["backtest.costs"] == {
        "value": "ib-fixed", "from": "default", "help": "none, percent:0.05, ib-fixed or ib-tiered"
    }  # fmt: skip
