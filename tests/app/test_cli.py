"""The commands as a whole: help, versions, errors and exit codes (DESIGN: Command line)."""

from __future__ import annotations

import click
import pytest
from calling import Quant, document

from quant.app import demo
from quant.app.cli import COMMANDS, Group, Table, cli
from quant.core.version import version


def commands(table: Table, *above: str) -> list[tuple[str, ...]]:
    found = []
    for name, (where, _) in table.items():
        found += [(*above, name)] if isinstance(where, str) else commands(where, *above, name)
    return found


@pytest.mark.parametrize("words", commands(COMMANDS), ids=" ".join)
def test_every_command_has_help_and_json(words: tuple[str, ...], quant: Quant) -> None:
    shown = quant(*words, "--help")
    assert shown.exit_code == 0
    assert "--json" in shown.stdout
    assert f"Usage: quant {' '.join(words)}" in shown.stdout


def test_help_lists_every_command_within_80_columns(quant: Quant) -> None:
    shown = quant("--help")
    assert all(f"\n  {name} " in shown.stdout for name in COMMANDS)
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80


def test_groups_are_groups() -> None:
    ctx = click.Context(cli)
    assert isinstance(cli.get_command(ctx, "data"), Group)
    assert cli.get_command(ctx, "no such") is None


def test_version(quant: Quant) -> None:
    assert quant("--version").stdout == f"quant {version()}\n"
    assert document(quant("--version", "--json"))["version"] == version()
    assert document(quant("--json", "--version"))["version"] == version()


def test_json_may_stand_before_the_command(empty: object, quant: Quant) -> None:
    assert document(quant("--json", "data", "list"))["series"] == []
    assert document(quant("data", "--json", "list"))["series"] == []


# ---------------------------------------------------------------- exit codes
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("backtets",), 2, "Did you mean backtest?"),
        (("qqq",), 2, "There are demo, doctor"),
        (("data", "lsit"), 2, "Did you mean list?"),
        (("data", "list", "--no"), 2, "Try: quant data list --help"),
        (("data",), 2, "Usage: quant data"),
        (("backtest", "macd"), 2, "SYMBOL"),
        (("backtest", "nope", "SPY"), 3, "strategy nope"),
        (("data", "show", "SPY"), 4, "quant data import FILE --symbol SPY"),
        (("runs", "show", "nope"), 4, "quant runs list"),
        (("data", "list"), 0, ""),
    ],
)
def test_exit_codes(words: tuple[str, ...], code: int, told: str, empty: object, quant: Quant) -> None:
    result = quant(*words)
    assert result.exit_code == code
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    if code not in (0, 2):
        assert result.stderr.startswith("error: ")
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (("qqq", "--json"), "UsageError", 2),
        (("backtest", "nope", "SPY", "--json"), "StrategyNotFound", 3),
        (("data", "show", "SPY", "--json"), "SeriesNotFound", 4),
    ],
)
def test_errors_are_a_document_with_json(
    words: tuple[str, ...], kind: str, code: int, empty: object, quant: Quant
) -> None:
    result = quant(*words)
    error = document(result)["error"]
    assert (error["type"], error["exit_code"], result.exit_code) == (kind, code, code)
    assert error["message"]
    assert result.stderr == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_interrupt_ends_with_130(as_json: bool, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(data: object, wanted: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_pull", interrupted)
    result = quant("demo", *(["--json"] if as_json else []))
    assert result.exit_code == 130
    if as_json:
        assert document(result)["error"]["exit_code"] == 130
    else:
        assert "interrupted" in result.stderr


def broken(data: object, wanted: object) -> None:
    raise ZeroDivisionError("by a fault of ours")


def test_fault_of_ours_ends_with_70_and_asks_for_a_report(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_pull", broken)
    result = quant("demo")
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert "by a fault of ours" in result.stderr
    assert "report it" in result.stderr
    assert document(quant("demo", "--json"))["error"]["type"] == "ZeroDivisionError"


def test_refusals_of_the_system_name_the_file(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(data: object, wanted: object) -> None:
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr(demo, "_pull", denied)
    result = quant("demo")
    assert result.exit_code == 4
    assert "error: some/file: Permission denied" in result.stderr


def test_debug_shows_where_an_error_came_from(empty: object, quant: Quant) -> None:
    assert "Traceback" in quant("data", "show", "SPY", "--debug").stderr
    assert "Traceback" in quant("data", "show", "SPY", env={"QUANT_TRACEBACK": "1"}).stderr
    assert "Traceback" not in quant("data", "show", "SPY").stderr
