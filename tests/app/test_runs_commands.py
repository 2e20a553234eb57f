"""quant runs list, show, diff, tag, note, prune."""

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


# ---------------------------------------------------------------- tags, notes, what was edited
def test_tags_and_notes_are_listed_and_shown(two: tuple[str, str], quant: Quant) -> None:
    said = document(quant("runs", "tag", two[1], "candidate", "v2", "--json"))
    assert (said["run"], said["tags"], said["notes"]) == (two[1], ["candidate", "v2"], [])
    assert quant("runs", "note", two[1], "stops look [tight]").exit_code == 0
    notes = document(quant("runs", "note", two[1], "--json"))["notes"]
    assert [n["text"] for n in notes] == ["stops look [tight]"]
    rows = document(quant("runs", "list", "--tag", "v2", "--json"))["runs"]
    assert [(r["run"], r["tags"], r["note"]) for r in rows] == [
        (two[1], ["candidate", "v2"], "stops look [tight]")
    ]
    text = quant("runs", "list").stdout
    assert "candidate, v2" in text
    assert "stops look [tight]" in text
    shown = quant("runs", "show", two[1])
    assert "  tags        candidate, v2\n  note        stops look [tight]  (" in shown.stdout
    assert document(quant("runs", "show", two[1], "--json"))["edited"] == []
    assert document(quant("runs", "tag", two[1], "v2", "--remove", "--json"))["tags"] == ["candidate"]
    assert document(quant("runs", "note", two[1], "--remove", "--json"))["notes"] == []
    assert quant("runs", "note", two[1], "x", "--remove").exit_code == 2
    assert quant("runs", "tag", two[1]).exit_code == 2
    assert "no tag of" in quant("runs", "tag", two[1], "v3", "--remove").stderr


def test_list_is_filtered(two: tuple[str, str], quant: Quant) -> None:
    other = document(quant("backtest", "rsi", "MSFT", "--json"))["run"]
    for words, wanted in (
        (("--symbol", "msft"), {other}),
        (("--strategy", "rsi"), {other}),
        (("--strategy", "MacdCross"), set(two)),
        (("--symbol", "MSFT", "--strategy", "macd"), set()),
    ):
        rows = document(quant("runs", "list", *words, "--json"))["runs"]
        assert {r["run"] for r in rows} == wanted
    assert quant("runs", "list", "--tag", "none").stdout == "No run is like that.\n"


def test_an_edited_run_is_said_by_name_everywhere(two: tuple[str, str], project: Path, quant: Quant) -> None:
    path = project / "data" / "runs" / two[0] / "metrics.json"
    path.write_text(path.read_text().replace('"trades": ', '"trades": 1'))
    assert f"edited since it was saved: {two[0]}: metrics.json has changed" in quant("runs", "list").stdout
    shown = quant("runs", "show", two[0]).stdout.splitlines()
    assert shown[0].split(maxsplit=1) == ["warning", "edited since it was saved: metrics.json has changed"]
    assert sum("edited since" in line for line in shown) == 1
    assert document(quant("runs", "show", two[0], "--json"))["edited"] == ["metrics.json has changed"]
    said = document(quant("runs", "diff", *two, "--json"))
    assert said["edited"] == {two[0]: ["metrics.json has changed"]}
    assert f"  edited    {two[0]}: metrics.json has changed" in quant("runs", "diff", *two).stdout


def test_diff_tells_the_first_order_that_differs(two: tuple[str, str], quant: Quant) -> None:
    number, of_a, of_b = document(quant("runs", "diff", *two, "--json"))["first_order"]
    text = quant("runs", "diff", *two).stdout
    assert f"first order that differs: number {number}" in text
    assert of_a["time"] != of_b["time"]


def test_prune_leaves_a_tagged_run_alone(two: tuple[str, str], quant: Quant) -> None:
    oldest, newest = [r["run"] for r in document(quant("runs", "list", "--json"))["runs"]]
    quant("runs", "tag", oldest, "kept")
    assert document(quant("runs", "prune", "--keep", "0", "--yes", "--json"))["removed"] == [newest]
