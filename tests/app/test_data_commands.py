"""quant data import, list, show, check, export, remove; and the bad input that an import refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calling import Quant, document

import quant as q
from quant.store import Store
from quant.store.write import locked

GOOD = """Date,Open,High,Low,Close,Volume
2017-01-03,10,12,9,11,100
2017-01-04,11,13,10,12,100
2017-01-05,12,14,11,13,100
"""
NEW_YEAR = GOOD.replace("2017-01-04,", "2017-01-02,").replace("2017-01-03,", "2016-12-30,")
MINUTES = """time,open,high,low,close,volume
2020-12-15 09:30,10,12,9,11,100
2020-12-15 09:31,11,13,10,12,100
"""


@pytest.fixture
def file(empty: Path) -> Path:
    path = empty / "xyz.csv"
    path.write_text(GOOD, encoding="utf-8")
    return path


def imported(quant: Quant, file: Path, *words: object) -> None:
    result = quant("data", "import", file, "--symbol", "XYZ", "--bar", "1d", "--calendar", "XNYS", *words)
    assert result.exit_code == 0, result.stderr


def test_import_says_what_was_read_and_written(file: Path, quant: Quant) -> None:
    words = ("data", "import", file, "--symbol", "XYZ", "--bar", "1d", "--calendar", "XNYS")
    told = quant(*words)
    assert told.exit_code == 0
    assert "3 bars, 2017-01-03 … 2017-01-05, XNYS" in told.stdout
    assert "3 added, 0 unchanged, 0 replaced" in told.stdout
    again = document(quant(*words, "--json"))
    assert (again["added"], again["unchanged"], again["replaced"], again["findings"]) == (0, 3, 0, [])


def test_every_option_of_an_import_arrives(empty: Path, quant: Quant) -> None:
    file = empty / "fut.csv"
    file.write_text("2020-12-15T10:00;10;12;9;11\n2020-12-15T09:45;10;12;9;11\n2020-12-15T09:45;9;12;9;11\n")
    result = quant(
        "data", "import", file, "--symbol", "ES", "--bar", "15m", "--tz", "America/New_York", "--stamp", "end",
        "--columns", "time,open,high,low,close", "--time-format", "%Y-%m-%dT%H:%M", "--sort", "--drop-duplicates",
        "--no-volume", "--adjusted", "none", "--exchange", "CME", "--currency", "USD", "--sec-type", "FUT",
        "--tick", "0.25", "--multiplier", "50", "--what", "MIDPOINT", "--all-hours", "--source", "vendor",
        "--calendar", "CMES", "--data", "elsewhere",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    series = Store("elsewhere").find("ES", "15m", "MIDPOINT", rth=False, source="vendor")
    i = series.instrument
    assert (i.exchange, i.sec_type, i.tick, i.multiplier, i.calendar) == ("CME", "FUT", 0.25, 50.0, "CMES")
    bars = Store("elsewhere").read(series)
    assert list(bars.open) == [9.0, 10.0]
    assert list(bars.volume) == [0.0, 0.0]
    # 09:30 in New York is 14:30 UTC in December.
    assert series.first == np.datetime64("2020-12-15T14:30", "ns").astype(np.int64)


@pytest.mark.parametrize(
    ("text", "bar", "told"),
    [
        (GOOD.replace(",Close", ",Last sale"), "1d", "close"),
        (GOOD.replace(",13,10,12,", ",abc,10,12,"), "1d", "line 3"),
        (GOOD.replace(",13,10,12,", ",9,10,9,"), "1d", "high is below low (line 3)"),
        (GOOD.replace("2017-01-04", "2017-01-03"), "1d", "times occur twice (line 3)"),
        (GOOD.replace("2017-01-05", "2017-01-02"), "1d", "Let them be put in order with --sort"),
        (GOOD.replace("2017-01-04", "yesterday"), "1d", "line 3"),
        (MINUTES, "1m", "--tz America/New_York"),
        (MINUTES.replace("09:31", "09:31-05:00"), "1m", "line"),
        ("", "1d", "the file is empty"),
    ],
)
def test_what_would_make_a_wrong_bar_is_refused_with_4(
    text: str, bar: str, told: str, empty: Path, quant: Quant
) -> None:
    (empty / "bad.csv").write_text(text, encoding="utf-8")
    result = quant("data", "import", "bad.csv", "--symbol", "X", "--bar", bar)
    assert result.exit_code == 4
    assert told in result.stderr
    assert result.stderr.startswith("error: bad.csv: ")
    assert "nothing was written" in result.stderr
    assert not (empty / "data").exists()


def test_repairs_are_asked_for_by_name_and_told(empty: Path, quant: Quant) -> None:
    (empty / "x.csv").write_text(GOOD.replace("2017-01-05", "2017-01-03"), encoding="utf-8")
    words = ("data", "import", "x.csv", "--symbol", "X", "--bar", "1d", "--sort", "--drop-duplicates")
    findings = document(quant(*words, "--json"))["findings"]
    assert {"rows-sorted", "duplicates-dropped", "duplicates-differ"} <= {f["code"] for f in findings}


def test_missing_file_and_wrong_words(empty: Path, quant: Quant) -> None:
    assert quant("data", "import", "no.csv", "--symbol", "X", "--bar", "1d").exit_code == 4
    assert quant("data", "import", "no.csv", "--symbol", "X").exit_code == 2
    assert quant("data", "import", "no.csv", "--symbol", "X", "--bar", "1q").exit_code == 3
    assert (
        quant("data", "import", "no.csv", "--symbol", "X", "--bar", "1d", "--stamp", "middle").exit_code == 2
    )
    assert quant("data", "import", "no.csv", "--symbol", "X", "--bar", "1d", "--tz", "Mars").exit_code == 3


def test_second_writer_is_refused(file: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant.store.write.WAIT_S", 0.0)
    imported(quant, file)
    with locked(Store("data").find("XYZ").folder):
        result = quant("data", "import", file, "--symbol", "XYZ", "--bar", "1d", "--calendar", "XNYS")
    assert result.exit_code == 4
    assert "another process is writing" in result.stderr


# ---------------------------------------------------------------- list, show
def test_list_shows_each_series(project: Path, quant: Quant) -> None:
    series = document(quant("data", "list", "--json"))["series"]
    assert [(s["symbol"], s["bar"], s["rows"]) for s in series] == [
        ("MSFT", "1d", 8111), ("SPY", "1m", 1564), ("SPY", "1d", 502)
    ]  # fmt: skip
    assert "SPY     1d   TRADES  rth      502  2017-01-03  2018-12-31  sample" in quant("data", "list").stdout


def test_list_of_nothing_says_how_to_begin(empty: Path, quant: Quant) -> None:
    result = quant("data", "list")
    assert result.exit_code == 0
    assert "quant data import FILE" in result.stdout


def test_show_tells_facts_rows_requests_and_revisions(file: Path, quant: Quant) -> None:
    imported(quant, file)
    file.write_text(GOOD.replace(",13,10,12,", ",13,10,12.5,"), encoding="utf-8")
    imported(quant, file)
    (series,) = document(quant("data", "show", "xyz", "--json"))["series"]
    assert series["instrument"]["calendar"] == "XNYS"
    assert [r["close"] for r in series["head"]] == [11.0, 12.5, 13.0]
    assert [r["close"] for r in series["revisions"]] == [12.0]
    assert [r["file"] for r in series["requests"]] == ["xyz.csv", "xyz.csv"]
    assert series["coverage"] == [["2017-01-03T00:00:00Z", "2017-01-05T21:00:00Z"]]
    text = quant("data", "show", "XYZ").stdout
    assert "revisions   1" in text
    assert "2017-01-04  11.0  13.0  10.0   12.5   100.0" in text


def test_show_tells_what_came_later_and_what_is_confirmed_empty(file: Path, quant: Quant) -> None:
    text = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*text[:2], *text[3:]]))
    imported(quant, file)
    file.write_text("".join(text))
    imported(quant, file)
    store = Store(document(quant("data", "list", "--json"))["data"])
    bars = store.read(store.find("XYZ"))
    window = (int(bars.start[-1]) + 86_400 * 10**9, int(bars.start[-1]) + 3 * 86_400 * 10**9)
    request = {"kind": "pull", "at": "2027-01-01T00:00:00+00:00", "asked": 3}
    store.write(bars[:0], request, window=window)
    shown = quant("data", "show", "XYZ").stdout
    assert "revisions   0, and 1 bars that came later" in shown
    assert "empty       2017-01-06T00:00:00Z to 2017-01-08T00:00:00Z" in shown
    assert "request     2027-01-01T00:00:00+00:00 pull 3 asked" in shown
    [said] = document(quant("data", "show", "XYZ", "--json"))["series"]
    assert said["empty"] == [["2017-01-06T00:00:00Z", "2017-01-08T00:00:00Z"]]
    assert said["revisions"][0]["close"] is None


def test_bars_as_of_a_moment_are_exported_and_backtested(project: Path, quant: Quant) -> None:
    store = Store(project / "data")
    new = q.synthetic("ABC", "1d", "2020-01-02", "2020-06-30")
    for day, bars in ((1, new[:100]), (5, new)):
        told = {"kind": "import", "at": f"2026-03-0{day}T12:00:00+00:00"}
        store.write(replace(bars, source="import"), told)
    words = ("ABC", "--as-of", "2026-03-02", "--json")
    assert document(quant("backtest", "macd", *words))["bars"][0]["rows"] == 100
    assert document(quant("data", "export", "ABC", "x.csv", "--as-of", "2026-03-02", "--json"))["rows"] == 100
    assert document(quant("data", "export", "ABC", "y.csv", "--as-of", "2026-03-05", "--json"))[
        "rows"
    ] == len(new)
    early = quant("backtest", "macd", "ABC", "--as-of", "2026-02-01")
    assert early.exit_code == 4
    assert "as of 2026-02-01" in early.stderr


def test_show_of_one_size_or_all(project: Path, quant: Quant) -> None:
    assert len(document(quant("data", "show", "SPY", "--json"))["series"]) == 2
    (only,) = document(quant("data", "show", "SPY", "--bar", "1 min", "--json"))["series"]
    assert only["bar"] == "1m"
    missing = quant("data", "show", "SPX")
    assert missing.exit_code == 4
    assert "Near names: SPY" in missing.stderr
    assert quant("data", "show", "SPY", "--bar", "1h").exit_code == 4


# ---------------------------------------------------------------- check
def test_check_ends_with_1_only_where_there_is_a_warning(empty: Path, quant: Quant) -> None:
    zero_price, zero_volume = GOOD.replace(",9,", ",0,"), GOOD.replace(",100", ",0")
    for name, text, code in (("a", GOOD, 0), ("b", zero_price, 1), ("c", zero_volume, 0)):
        (empty / "x.csv").write_text(text, encoding="utf-8")
        imported(quant, empty / "x.csv", "--source", name, "--data", name)
        result = quant("data", "check", "--data", name, "--json")
        assert result.exit_code == code
        (series,) = document(result)["series"]
        assert bool(series["findings"]) == (name != "a")
    assert "price-not-positive" in quant("data", "check", "XYZ", "--data", "b").stdout


def test_check_tells_missing_sessions_by_calendar(empty: Path, quant: Quant) -> None:
    (empty / "x.csv").write_text(NEW_YEAR, encoding="utf-8")
    result = quant("data", "import", "x.csv", "--symbol", "X", "--bar", "1d", "--calendar", "XNYS")
    assert "bars outside the session, first: 2017-01-02" in result.stdout  # a holiday in New York
    checked = quant("data", "check")
    assert checked.exit_code == 1
    assert "[bars-missing]" in checked.stdout  # 3 and 4 January


def test_check_of_nothing_is_no_success(empty: Path, quant: Quant) -> None:
    assert quant("data", "check").exit_code == 4


@pytest.mark.parametrize("words", [("check",), ("show", "SPY", "--bar", "1d"), ("export", "SPY", "x.csv")])
def test_flipped_bit_ends_with_4_and_names_the_file(
    words: tuple[str, ...], project: Path, quant: Quant
) -> None:
    (path,) = project.glob("data/sample/STK/SPY.*/TRADES-rth-1d/2017-*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = quant("data", *words)
    assert result.exit_code == 4
    assert path.name in result.stdout + result.stderr
    assert "damaged" in result.stdout + result.stderr
    if words == ("check",):  # the others are still checked
        assert "MSFT 1d TRADES rth (sample): 8,111 bars" in result.stdout


def test_cut_manifest_is_told_by_list_and_check(project: Path, quant: Quant) -> None:
    (path,) = project.glob("data/sample/STK/SPY.*/TRADES-rth-1d/manifest.json")
    path.write_bytes(path.read_bytes()[:-10])
    for words in (("list",), ("check",)):
        result = quant("data", *words)
        assert result.exit_code == 4
        assert "manifest.json" in result.stdout
    assert quant("backtest", "macd", "SPY", "--no-save").exit_code == 4


# ---------------------------------------------------------------- export, remove
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_export_and_import_give_the_same_bars(name: str, project: Path, quant: Quant) -> None:
    words = ("data", "export", "SPY", name, "--bar", "1m", "--from", "2020-12-16", "--to", "2020-12-16")
    assert document(quant(*words, "--json"))["rows"] == 391
    back = quant(
        "data",
        "import",
        name,
        "--symbol",
        "SPY",
        "--bar",
        "1m",
        "--calendar",
        "XNYS",
        "--data",
        "again",
        "--json",
    )
    assert document(back)["rows"] == 391
    first, second = (Store(f).read(Store(f).find("SPY", "1m")) for f in ("data", "again"))
    assert (
        second.close.tobytes()
        == first.between(int(second.start[0]), int(second.start[-1]) + 1).close.tobytes()
    )


def test_export_replaces_nothing_unasked(project: Path, quant: Quant) -> None:
    Path("x.csv").write_text("mine", encoding="utf-8")
    assert quant("data", "export", "SPY", "x.csv").exit_code == 2
    assert Path("x.csv").read_text(encoding="utf-8") == "mine"
    assert quant("data", "export", "SPY", "x.csv", "--overwrite").exit_code == 0
    assert quant("data", "export", "SPY", "x.xlsx").exit_code == 3


def test_remove_asks_first(file: Path, quant: Quant) -> None:
    imported(quant, file)
    refused = quant("data", "remove", "XYZ", "--bar", "1d")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert document(quant("data", "list", "--json"))["series"]
    assert document(quant("data", "remove", "XYZ", "--bar", "1d", "--yes", "--json"))["removed"] is True
    assert document(quant("data", "list", "--json"))["series"] == []


def test_sample_is_not_removed(project: Path, quant: Quant) -> None:
    result = quant("data", "remove", "SPY", "--bar", "1d", "--yes")
    assert result.exit_code == 3
    assert "read-only" in result.stderr
