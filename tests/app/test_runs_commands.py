"""quant runs list, show, diff, prune."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import Quant, document


@pytest.fixture
def two(project: Path, quant: Quant) -> tuple[str, str]:
    """Return the names of two runs, of different parameters."""
    calls = (quant("backtest", "macd", "SPY", "-p", f"fast={n}", "--json") for n in (10, 12))
    first, second = (document(r)["run"] for r in calls)
    return first, second


def test_list_shows_runs_oldest_first(two: tuple[str, str], quant: Quant) -> None:
    rows = document(quant("runs", "list", "--json"))["runs"]
    assert {r["run"] for r in rows} == set(two)
    text = quant("runs", "list", "--last", "1").stdout
    assert rows[-1]["run"] in text
    assert rows[0]["run"] not in text


def test_list_of_nothing_says_how_to_begin(project: Path, quant: Quant) -> None:
    assert "quant backtest macd SPY" in quant("runs", "list").stdout


def test_list_survives_a_damaged_run(two: tuple[str, str], project: Path, quant: Quant) -> None:
    (project / "data" / "runs" / two[0] / "metrics.json").write_text("{", encoding="utf-8")
    result = quant("runs", "list")
    assert result.exit_code == 0
    assert "(damaged)" in result.stdout
    assert quant("runs", "show", two[0]).exit_code == 4


def test_show_gives_the_run_and_its_tables(two: tuple[str, str], project: Path, quant: Quant) -> None:
    said = document(quant("runs", "show", two[1], "--trades", "--orders", "--fills", "--json"))
    assert said["run"] == two[1]
    assert (len(said["trades"]), len(said["orders"]), len(said["fills"])) == (19, 38, 38)
    text = quant("runs", "show", project / "data" / "runs" / two[1], "--fills").stdout
    assert text.startswith("MacdCross fast=12")
    assert "fills (38; times in UTC)" in text


def test_diff_tells_settings_and_the_first_fill(two: tuple[str, str], quant: Quant) -> None:
    result = quant("runs", "diff", *two)
    assert result.exit_code == 1
    assert "params.fast: 10 | 12" in result.stdout
    said = document(quant("runs", "diff", *two, "--json"))
    assert said["same"] is False
    _, of_a, of_b = said["first_fill"]
    assert of_a["time"] != of_b["time"]
    assert quant("runs", "diff", two[0], two[0]).exit_code == 0


def test_again_is_equal_after_the_bars_were_revised_and_tells_what_is_not(
    two: tuple[str, str], project: Path, quant: Quant
) -> None:
    result = quant("runs", "again", two[0])
    assert (result.exit_code, result.stdout) == (0, "results are equal to the last bit\n")
    bars = project / "old.csv"
    bars.write_text("".join(f"2020-03-{day:02},10,12,9,{10 + day % 2},100\n" for day in range(2, 7)))
    words = ("--symbol", "NEW", "--bar", "1d", "--columns", "date,open,high,low,close,volume")
    assert quant("data", "import", bars, *words).exit_code == 0
    name = document(
        quant("backtest", "macd", "NEW", "-p", "fast=2", "-p", "slow=3", "-p", "signal=2", "--json")
    )["run"]
    bars.write_text(bars.read_text().replace(",9,11,", ",9,12,"))
    assert quant("data", "import", bars, *words).exit_code == 0
    assert document(quant("runs", "again", name, "--json"))["same"] is True
    assert quant("data", "remove", "NEW", "--bar", "1d", "--yes").exit_code == 0
    assert quant("data", "import", bars, *words).exit_code == 0
    told = document(quant("runs", "again", name, "--json"))
    assert list(told["data"]) == ["NEW.fingerprint"]
    assert quant("runs", "again", name).exit_code == int(not told["same"])


def test_name_that_fits_several_runs_is_refused(two: tuple[str, str], quant: Quant) -> None:
    result = quant("runs", "show", "macd_cross")
    assert result.exit_code == 3
    assert all(name in result.stderr for name in two)


def test_prune_asks_first_and_keeps_the_newest(two: tuple[str, str], quant: Quant) -> None:
    names = [r["run"] for r in document(quant("runs", "list", "--json"))["runs"]]
    assert quant("runs", "prune", "--keep", "1").exit_code == 2
    assert document(quant("runs", "prune", "--keep", "1", "--yes", "--json"))["removed"] == names[:1]
    assert [r["run"] for r in document(quant("runs", "list", "--json"))["runs"]] == names[1:]
    assert quant("runs", "prune", "--keep", "1").exit_code == 0  # nothing to ask about
    assert quant("runs", "prune", "--keep", "-1", "--yes").exit_code == 2
