"""Files that would make wrong bars: refused with the lines named, and nothing is written."""

from datetime import UTC, datetime

import pytest

from quant.errors import ImportRefused, ParameterError
from quant.store import Store
from quant.store.importer import import_file

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HEAD = "date,open,high,low,close,volume\n"
GOOD = "2020-12-15,1,2,0.5,1.5,10\n"


def refused(tmp_path, content, name="bars.csv", **options):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ImportRefused) as caught:
        import_file(Store(tmp_path / "data"), file, **{"symbol": "ABC", "bar": "1d", "now": NOW, **options})
    assert not (tmp_path / "data").exists()
    assert caught.value.exit_code == 4
    assert "nothing was written" in str(caught.value)
    assert str(caught.value).startswith(str(file))
    return caught.value


DAILY = [
    # content, lines named, what the message says, what mends it
    ("date,open,high,low,volume\n2020-12-15,1,2,1,10\n", (), "missing column close", "--columns close=NAME"),
    ("open,high,low,close,volume\n1,2,1,1,10\n", (), "missing column time", "--columns time=NAME"),
    ("date,open,high,low,close\n2020-12-15,1,2,1,1\n", (), "missing column volume", "--no-volume"),
    (HEAD + GOOD + "2020-12-16,1,2,0.5,n/a,10\n", (3,), "close is not a number: 'n/a'", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,,2,0.5,1,10\n", (3,), "open is not a number: ''", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,1,inf,0.5,1,10\n", (3,), "high is not a number: 'inf'", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,1,1e999,0.5,1,10\n", (3,), "high is not a number", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,1,2,nan,1,10\n", (3,), "low is not a number: 'nan'", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,$1,2,0.5,1,10\n", (3,), "open is not a number: '$1'", "Correct or drop"),
    (HEAD + GOOD + '2020-12-16,1,2,0.5,1,"1,000"\n', (3,), "'1,000'", "without thousands separators"),
    (HEAD + GOOD + "2020-12-16,1,0.5,2,1,10\n", (3,), "high is below low", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,1,1.5,0.5,2,10\n", (3,), "high is below open or close", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,1,2,1.2,1.5,10\n", (3,), "low is above open or close", "Correct or drop"),
    (HEAD + GOOD + "\n\n" + GOOD, (5,), "times occur twice", "--drop-duplicates"),
    (HEAD + GOOD + "2020-12-14,1,2,0.5,1.5,10\n", (3,), "times are not in order", "--sort"),
    (HEAD + GOOD + "16.12.2020,1,2,0.5,1.5,10\n", (3,), "'16.12.2020' is not a time of the form", "--time-format"),
    (HEAD + GOOD + ",1,2,0.5,1.5,10\n", (3,), "'' is not a time", "Correct or drop"),
    (HEAD + GOOD + "2020-02-30,1,2,0.5,1.5,10\n", (3,), "no such date", "Correct"),
    (HEAD + GOOD + "2020-12-16T25:00,1,2,0.5,1.5,10\n", (3,), "no such date or time of day", "Correct"),
    (HEAD + "yesterday,1,2,0.5,1.5,10\n", (2,), "the time 'yesterday' has a form that is not known", "--time-format"),
    (HEAD + "02/03/2020,1,2,0.5,1.5,10\n", (2,), "day first or month first", "--time-format"),
    (HEAD + "13/03/2020,1,2,0.5,1.5,10\n03/14/2020,1,2,0.5,1.5,10\n", (3,), "day first in some rows", "--time-format"),
    (HEAD + "1608042600,1,2,0.5,1.5,10\n1608042660000,1,2,0.5,1.5,10\n", (3,), "different units", "--time-format"),
    (HEAD + GOOD + "2020-12-16,1,2,0.5,1.5\n", (3,), "do not have 6 columns", "Correct or drop"),
    (HEAD + GOOD + "2020-12-16,1,2,0.5,1.5,10,9\n", (3,), "do not have 6 columns", "Correct or drop"),
    ("2020-12-15,1,2,0.5,1.5,10\n", (1,), "no header line", "--columns date,time,open,high,low,close,volume"),
    ("date,open,high,low,close,Close,volume\n2020-12-15,1,2,0.5,1.5,1,10\n", (), "several columns may be close", "="),
    ("date,open,high,low,close,Volume BTC,Volume USD\n2020-12-15,1,2,0.5,1.5,1,10\n", (), "several columns", "="),
    ("date;open;high;low;close;volume\n2020-12-15;1,500;1,600;1,400;1,500;100\n", (), "decimal points or th", "points"),
    (HEAD, (), "a header but no rows", ""),
    ("", (), "the file is empty", ""),
    ("\n \n", (), "the file is empty", ""),
    ("hello\nworld\n", (1,), "no columns", "Give a CSV"),
    (bytes(range(256)) * 4, (), "neither a CSV text nor a Parquet file", "Save it as CSV"),
    (b"PK\x03\x04" + bytes(60), (), "neither a CSV text nor a Parquet file", "Save it as CSV"),
    (b"\x1f\x8b\x08garbage", (), "cannot be unpacked", "Get the file again"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "lines", "told", "mend"), DAILY)
def test_daily_files(tmp_path, content, lines, told, mend):
    error = refused(tmp_path, content)
    assert told in error.reason
    assert error.rows == lines
    assert mend in error.mend


MINUTE = [
    ("2020-12-15 09:30", "2020-12-15 09:31", {}, (), "have no time zone", "--tz America/New_York"),
    ("2020-12-15 09:30", "2020-12-15 09:31", {"calendar": "XTKS"}, (), "have no time zone", "--tz Asia/Tokyo"),
    ("2020-12-15 09:30Z", "2020-12-15 09:31", {}, (3,), "without an offset among times with one", "all of them"),
    ("2020-12-15 09:30", "2020-12-15 09:31Z", {"tz": "UTC"}, (2,), "without an offset among times", "all of them"),
    ("20201215 09:30:00 US/Eastern", "20201215 09:31:00 US/Central", {}, (3,), "several zones", "Split"),
    ("20201215 09:30:00 US/Eastern", "20201215 09:31:00 US/Eastern", {"tz": "UTC"}, (), "say US/Eastern", "--tz"),
    ("2020-12-15 09:30:00 EST", "2020-12-15 09:31:00 EST", {}, (2,), "form that is not known", "--time-format"),
    ("2020-12-15", "2020-12-16", {"tz": "UTC"}, (), "its times are dates", "--bar 1d"),
    ("2021-03-14 02:30", "2021-03-14 03:00", {"tz": "America/New_York"}, (2,), "skips when its clocks", "UTC"),
    ("2021-11-07 01:30", "2021-11-07 03:00", {"tz": "America/New_York"}, (2,), "twice when the clocks", "UTC"),
    ("2020-12-15 09:30", "2020-12-15 09:31", {"tz": "UTC", "bar": "5m"}, (3,), "as bars of 5m", "bar size"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "options", "lines", "told", "mend"), MINUTE)
def test_minute_files(tmp_path, first, second, options, lines, told, mend):
    content = HEAD + f"{first},1,2,0.5,1.5,10\n{second},1,2,0.5,1.5,10\n"
    error = refused(tmp_path, content, **{"bar": "1m", **options})
    assert told in error.reason
    assert error.rows == lines
    assert mend in error.mend


def test_lines_are_those_of_the_file_after_a_sort(tmp_path):
    content = HEAD + "2020-12-17,1,2,0.5,1.5,10\n\n2020-12-15,1,0.5,2,1.5,10\n"
    assert refused(tmp_path, content, sort=True).rows == (4,)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ImportRefused, match=r"no such file; nothing was written\. Check the path"):
        import_file(Store(tmp_path), tmp_path / "none.csv", symbol="A", bar="1d", now=NOW)
    with pytest.raises(ImportRefused, match="cannot be read"):
        import_file(Store(tmp_path), tmp_path, symbol="A", bar="1d", now=NOW)


def test_a_cut_parquet_file_is_refused_at_every_length(tmp_path):
    from quant.core.synthetic import synthetic
    from quant.store.export import export

    whole = export(synthetic("A", "1d", "2020-01-02", "2020-01-10"), tmp_path / "x.parquet").read_bytes()
    for length in range(0, len(whole), 13):
        refused(tmp_path, whole[:length], name="cut.parquet")


def test_a_parquet_file_with_holes_or_text_is_refused(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"date": ["2020-12-15", "2020-12-16"], "open": [1.0, None], "high": 2.0, "low": 1.0,
                          "close": 2.0, "volume": 1})  # fmt: skip
    frame.to_parquet(tmp_path / "x.parquet")
    error = refused(tmp_path, (tmp_path / "x.parquet").read_bytes(), name="y.parquet")
    assert error.rows == (2,)
    assert "open is missing" in error.reason
    frame["open"] = [True, False]
    frame["open"] = frame["open"].map({True: "1", False: "x"})
    frame.to_parquet(tmp_path / "x.parquet")
    assert refused(tmp_path, (tmp_path / "x.parquet").read_bytes(), name="y.parquet").rows == (2,)


@pytest.mark.parametrize(
    "options",
    [{"tz": "Mars"}, {"calendar": "XXXX"}, {"bar": "7m"}, {"adjusted": "yes"}, {"stamp": "middle"},
     {"source": "sample"}, {"source": "A B"}, {"symbol": ""}, {"columns": {"price": "x"}}, {"tick": 0.0}],
)  # fmt: skip
def test_options_that_cannot_be_used(tmp_path, options):
    (tmp_path / "b.csv").write_text(HEAD + GOOD)
    with pytest.raises(ParameterError):
        import_file(
            Store(tmp_path / "d"), tmp_path / "b.csv", **{"symbol": "A", "bar": "1d", "now": NOW, **options}
        )
    assert not (tmp_path / "d").exists()


def test_a_held_series_of_other_settings_is_not_mixed(tmp_path):
    (tmp_path / "b.csv").write_text(HEAD + GOOD)
    store = Store(tmp_path / "d")
    import_file(store, tmp_path / "b.csv", symbol="A", bar="1d", now=NOW, adjusted="none")
    with pytest.raises(ImportRefused, match="adjusted = none") as caught:
        import_file(store, tmp_path / "b.csv", symbol="A", bar="1d", now=NOW, adjusted="splits")
    assert "another source" in caught.value.mend
