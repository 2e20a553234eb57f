"""What an import accepts: spellings of columns, times and numbers. Expected times are written by hand in UTC."""

import gzip
from datetime import UTC, datetime

import numpy as np
import pytest

from quant.store import Store
from quant.store.columns import parse_columns
from quant.store.importer import import_file

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NEW_YORK = "America/New_York"
# 2020-12-15 09:30 and 09:31 in New York, winter time.
TWO = [datetime(2020, 12, 15, 14, 30, tzinfo=UTC), datetime(2020, 12, 15, 14, 31, tzinfo=UTC)]
PRICES = ["1.5,2.5,1.25,2,100", "2,3,1.75,2.5,200"]
NAMES = "open,high,low,close,volume"


@pytest.fixture
def take(tmp_path):
    """Return a function that imports the text or bytes of a file."""

    def do(content, name="bars.csv", **options):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = {"symbol": "ABC", "bar": "1m", "now": NOW, **options}
        return import_file(Store(tmp_path / "data"), file, **settings)

    return do


def text(header, *times):
    return "\n".join([header, *(f"{t},{p}" for t, p in zip(times, PRICES, strict=True))]) + "\n"


def starts(done):
    return [datetime.fromtimestamp(s // 10**9, UTC) for s in done.bars.start.tolist()]


def codes(done):
    return [f.code for f in done.findings if f.code != "no-calendar"]


# ------------------------------------------------------------ times
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2020-12-15 09:30:00", "2020-12-15 09:31:00"),
        ("2020-12-15 09:30", "2020-12-15 09:31"),
        ("2020-12-15T09:30:00.000", "2020-12-15T09:31:00.000"),
        ("2020/12/15 9:30", "2020/12/15 9:31"),
        ("2020.12.15 09:30", "2020.12.15 09:31"),
        ("20201215 09:30:00", "20201215 09:31:00"),
        ("20201215  09:30:00", "20201215  09:31:00"),  # IB's two spaces
        ("20201215 093000", "20201215 093100"),
        ("20201215093000", "20201215093100"),
        ("12/15/2020 09:30", "12/15/2020 09:31"),
        ("15/12/2020 09:30", "15/12/2020 09:31"),
        ("15.12.2020 09:30:00", "15.12.2020 09:31:00"),
        ("12/15/2020 9:30 AM", "12/15/2020 9:31 am"),
    ],
)
def test_naive_times_in_the_zone_given(take, first, second):
    assert starts(take(text(f"date,{NAMES}", first, second), tz=NEW_YORK)) == TWO


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2020-12-15T14:30:00Z", "2020-12-15T14:31:00Z"),
        ("2020-12-15 09:30:00-05:00", "2020-12-15 09:31:00-05:00"),
        ("2020-12-15 20:00:00+0530", "2020-12-15 20:01:00+0530"),
        ("2020-12-15 14:30:00+00:00", "2020-12-15 09:31:00-05:00"),
        ("20201215 09:30:00 US/Eastern", "20201215 09:31:00 US/Eastern"),  # IB, with its zone
        ("20201215  09:30:00 America/New_York", "20201215  09:31:00 America/New_York"),
        ("20201215-14:30:00 UTC", "20201215-14:31:00 UTC"),
        ("1608042600", "1608042660"),
        ("1608042600000", "1608042660000"),
        ("1608042600000000", "1608042660000000"),
        ("1608042600000000000", "1608042660000000000"),
        ("1608042600.0", "1608042660.0"),
    ],
)
def test_times_that_say_their_offset_need_no_zone(take, first, second):
    assert starts(take(text(f"time,{NAMES}", first, second))) == TWO


def test_a_time_format_of_its_own(take):
    given = text(f"when,{NAMES}", "15 Dec 20 - 0930", "15 Dec 20 - 0931")
    done = take(given, tz=NEW_YORK, time_format="%d %b %y - %H%M", columns={"time": "when"})
    assert starts(done) == TWO


def test_an_ambiguous_date_with_its_format_named(take):
    given = text(f"date,{NAMES}", "02/03/2020", "03/03/2020")
    done = take(given, bar="1d", time_format="%d/%m/%Y")
    assert done.bars.session.astype(str).tolist() == ["2020-03-02", "2020-03-03"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2020-07-01", "2020-07-02"),
        ("20200701", "20200702"),
        ("2020-07-01 00:00:00-04:00", "2020-07-02 00:00:00-04:00"),  # yfinance: the date shown counts
        ("2020-07-01 16:00:00", "2020-07-02 16:00:00"),
        ("2020-07-01T00:00:00Z", "2020-07-02T00:00:00Z"),
        ("1593561600", "1593648000"),
    ],
)
def test_daily_bars_are_labelled_by_their_date(take, first, second):
    done = take(text(f"Date,{NAMES}", first, second), bar="1d")
    assert starts(done) == [datetime(2020, 7, 1, tzinfo=UTC), datetime(2020, 7, 2, tzinfo=UTC)]


def test_a_zone_that_was_asked_for_decides_the_date_of_a_daily_bar(take):
    done = take(text(f"Date,{NAMES}", "2020-07-01T22:00Z", "2020-07-02T22:00Z"), bar="1d", tz="Asia/Tokyo")
    assert done.bars.session.astype(str).tolist() == ["2020-07-02", "2020-07-03"]


def test_end_stamps_become_starts(take):
    given = text(f"date,{NAMES}", "2020-12-15 09:31", "2020-12-15 09:32")
    assert starts(take(given, tz=NEW_YORK, stamp="end")) == TWO


def test_the_first_hour_of_new_york_is_half_an_hour(take):
    given = text(f"date,{NAMES}", "2020-12-15 10:00", "2020-12-15 11:00")
    done = take(given, tz=NEW_YORK, stamp="end", bar="1h", calendar="XNYS")
    assert starts(done) == [
        datetime(2020, 12, 15, 14, 30, tzinfo=UTC),
        datetime(2020, 12, 15, 15, tzinfo=UTC),
    ]


def test_exchange_time_is_the_calendars(take):
    done = take(text(f"date,{NAMES}", "2020-12-15T14:30Z", "2020-12-15T14:31Z"), calendar="XNYS")
    assert done.bars.instrument.timezone == NEW_YORK


def test_noon_and_midnight_on_a_twelve_hour_clock(take):
    given = text(f"date,{NAMES}", "12/15/2020 12:05 AM", "12/15/2020 12:05 PM")
    assert [t.hour for t in starts(take(given, tz="UTC"))] == [0, 12]


# ------------------------------------------------------------ clocks that change
def night(wall, zone, take, **options):
    rows = [f"{t},1,1,1,1,1" for t in wall]
    return starts(take("\n".join([f"date,{NAMES}", *rows]), tz=zone, bar="30m", **options))


def test_new_york_spring_forward(take):
    # 2021-03-14 02:00 EST = 07:00 UTC is 03:00 EDT.
    found = night(["2021-03-14 01:30", "2021-03-14 03:00"], NEW_YORK, take)
    assert found == [datetime(2021, 3, 14, 6, 30, tzinfo=UTC), datetime(2021, 3, 14, 7, tzinfo=UTC)]


def test_new_york_fall_back(take):
    # 2021-11-07 02:00 EDT = 06:00 UTC is 01:00 EST: the hour from 01:00 comes twice.
    wall = [f"2021-11-07 {t}" for t in ("00:30", "01:00", "01:30", "01:00", "01:30", "02:00")]
    expected = [datetime(2021, 11, 7, h, m, tzinfo=UTC) for h, m in
                ((4, 30), (5, 0), (5, 30), (6, 0), (6, 30), (7, 0))]  # fmt: skip
    assert night(wall, NEW_YORK, take) == expected


def test_new_york_fall_back_in_a_file_that_runs_backwards(take):
    wall = [f"2021-11-07 {t}" for t in ("02:00", "01:30", "01:00", "01:30", "01:00", "00:30")]
    found = night(wall, NEW_YORK, take, sort=True, drop_duplicates=True)
    assert [f.hour * 60 + f.minute for f in found] == [270, 300, 330, 360, 390, 420]


def test_sydney_both_ways(take):
    # Clocks go back on 2021-04-04 03:00 AEDT (2021-04-03 16:00 UTC) and forward on 2021-10-03 02:00 AEST (16:00 UTC).
    back = night(
        [f"2021-04-04 {t}" for t in ("02:00", "02:30", "02:00", "02:30", "03:00")], "Australia/Sydney", take
    )
    assert back == [datetime(2021, 4, 3, h, m, tzinfo=UTC) for h, m in
                    ((15, 0), (15, 30), (16, 0), (16, 30), (17, 0))]  # fmt: skip
    forth = night(["2021-10-03 01:30", "2021-10-03 03:00"], "Australia/Sydney", take)
    assert forth == [datetime(2021, 10, 2, 15, 30, tzinfo=UTC), datetime(2021, 10, 2, 16, tzinfo=UTC)]


# ------------------------------------------------------------ columns and text
@pytest.mark.parametrize(
    "header",
    [
        "datetime,Open,High,Low,Close,Volume",
        "Timestamp,OPEN,HIGH,LOW,CLOSE,VOL",
        "time,o,h,l,c,v",
        ",open,high,low,close,volume",
        '"Date","Open","High","Low","Close","Volume"',
        "Gmt time,Open,High,Low,Close,Volume",
        " date , open , high , low , close , volume ",
    ],
)
def test_names_of_columns(take, header):
    done = take(text(header, "2020-12-15 09:30", "2020-12-15 09:31"), tz=NEW_YORK)
    assert starts(done) == TWO
    assert done.bars.high.tolist() == [2.5, 3.0]
    assert codes(done) == []


def test_date_and_time_of_day_in_two_columns_as_metatrader_writes_them(take):
    given = (
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        "2020.12.15\t09:30:00\t1.5\t2.5\t1.25\t2\t7\t100\t1\n2020.12.15\t09:31:00\t2\t3\t1.75\t2.5\t8\t200\t1\n"
    )
    done = take(given, tz=NEW_YORK)
    assert starts(done) == TWO
    assert done.bars.volume.tolist() == [100.0, 200.0]
    assert codes(done) == ["columns-ignored"]


def test_an_index_column_is_passed_over_and_adjusted_close_is_told(take):
    given = "index,date,open,high,low,close,Adj Close,volume\n1,2020-12-15,1,2,0.5,1.5,1.4,10\n"
    done = take(given, bar="1d")
    assert done.bars.close.tolist() == [1.5]
    assert "columns not used: Adj Close (prices are taken as they stand" in done.findings[0].message


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends(take, separator, newline):
    given = text(f"date,{NAMES}", "2020-12-15 09:30", "2020-12-15 09:31")
    given = given.replace(",", separator).replace("\n", newline)
    assert starts(take(given, tz=NEW_YORK)) == TWO


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(take, encoding):
    given = text(f"date,{NAMES}", "2020-12-15 09:30", "2020-12-15 09:31").encode(encoding)
    assert starts(take(given, tz=NEW_YORK)) == TWO


def test_gzip(take):
    given = gzip.compress(text(f"date,{NAMES}", "2020-12-15 09:30", "2020-12-15 09:31").encode())
    assert starts(take(given, name="bars.csv.gz", tz=NEW_YORK)) == TWO


def test_a_decimal_comma_where_the_separator_is_another(take):
    done = take("date;open;high;low;close;volume\n2020-12-15;1,5;2,5;1,25;2;100\n", bar="1d")
    assert [float(v[0]) for v in (done.bars.open, done.bars.high, done.bars.low, done.bars.close)] == [
        1.5,
        2.5,
        1.25,
        2,
    ]
    assert codes(done) == ["decimal-comma"]


def test_a_file_without_header_whose_columns_are_named(take):
    given = "12/15/2020,09:30,1.5,2.5,1.25,2,100\n12/15/2020,09:31,2,3,1.75,2.5,200\n"  # as Kibot writes them
    done = take(given, tz=NEW_YORK, columns="date,time,open,high,low,close,volume")
    assert starts(done) == TWO


def test_a_column_that_is_meant_instead(take):
    given = text("Local time,Open,High,Low,Last,Lots", "2020-12-15 09:30", "2020-12-15 09:31")
    done = take(given, tz=NEW_YORK, columns=parse_columns("time=Local time,close=Last,volume=Lots"))
    assert done.bars.close.tolist() == [2.0, 2.5]


def test_the_only_volume_is_taken_and_told(take):
    done = take(text("unix,open,high,low,close,Volume USD", "1608042600", "1608042660"))
    assert done.bars.volume.tolist() == [100.0, 200.0]
    assert codes(done) == ["column-guessed"]


def test_no_volume_by_name(take):
    done = take("date,open,high,low,close\n2020-12-15,1,2,0.5,1.5\n", bar="1d", no_volume=True)
    assert done.bars.volume.tolist() == [0.0]
    assert codes(done) == ["volume-absent", "volume-zero"]


def test_numbers_are_read_to_the_last_bit(take):
    numbers = [
        "0.1",
        "1e-3",
        "2.2250738585072014e-308",
        "123456.78901234567",
        "9007199254740993",
        "+1.5",
        ".5",
        "5.",
    ]
    for number in numbers:
        done = take(
            f"date,{NAMES}\n2020-12-15,{number},{number},{number},{number},{number}\n",
            bar="1d",
            source=f"s{numbers.index(number)}",
        )
        assert done.bars.close.tolist() == [float(number)]


# ------------------------------------------------------------ repairs by name
def test_sort_by_name(take):
    given = f"date,{NAMES}\n2020-12-17,3,3,3,3,3\n2020-12-15,1,1,1,1,1\n2020-12-16,2,2,2,2,2\n"
    done = take(given, bar="1d", sort=True)
    assert done.bars.close.tolist() == [1.0, 2.0, 3.0]
    assert codes(done) == ["rows-sorted"]


def test_duplicates_by_name_keep_the_last_and_tell_of_those_that_differ(take):
    given = f"date,{NAMES}\n2020-12-15,1,1,1,1,1\n2020-12-15,1,1,1,1,1\n2020-12-16,2,2,2,2,2\n2020-12-16,3,3,3,3,3\n"
    done = take(given, bar="1d", drop_duplicates=True)
    assert done.bars.close.tolist() == [1.0, 3.0]
    assert [(f.code, f.count) for f in done.findings[:2]] == [
        ("duplicates-dropped", 2),
        ("duplicates-differ", 1),
    ]
    assert "line 2" in done.findings[0].message


# ------------------------------------------------------------ Parquet
@pytest.mark.parametrize("kind", ["index", "column", "zone", "text", "epoch"])
def test_parquet(take, tmp_path, kind):
    import pandas as pd

    index = pd.DatetimeIndex([t.replace(tzinfo=None) for t in TWO])
    frame = pd.DataFrame(
        {"Open": [1, 2], "High": [2, 3], "Low": [1, 1], "Close": [2, 2], "Volume": [5, 6]}, index=index
    )
    if kind == "column":
        frame = frame.reset_index(names="Date")
    if kind == "zone":
        frame.index = index.tz_localize("UTC").tz_convert(NEW_YORK)
    if kind == "text":
        frame = frame.reset_index(names="Date")
        frame["Date"] = frame["Date"].astype(str)
    if kind == "epoch":
        frame.index = pd.Index([1608042600, 1608042660], name="timestamp")
    frame.to_parquet(tmp_path / "given.parquet")
    content = (tmp_path / "given.parquet").read_bytes()
    done = take(content, name="b.parquet", tz=None if kind in ("zone", "epoch") else "UTC")
    assert starts(done) == TWO
    assert done.bars.volume.tolist() == [5.0, 6.0]


# ------------------------------------------------------------ the record
def test_the_manifest_tells_of_the_file(take, tmp_path):
    import hashlib

    given = text(f"date,{NAMES}", "2020-12-15 09:30", "2020-12-15 09:31")
    take(given, tz=NEW_YORK)
    store = Store(tmp_path / "data")
    assert store.manifest(store.find("ABC", "1m")).requests == ({
        "kind": "import", "file": "bars.csv", "sha256": hashlib.sha256(given.encode()).hexdigest(),
        "at": "2026-01-02T00:00:00+00:00", "rows": 2, "stamp": "start", "tz": NEW_YORK,
        # The window for which the file is complete: 14:30 to the end of the bar of 14:31.
        "from": 1608042600 * 10**9, "to": 1608042720 * 10**9,
    },)  # fmt: skip


def test_a_second_import_says_what_is_new(take):
    take(text(f"date,{NAMES}", "2020-12-15 09:30", "2020-12-15 09:31"), tz=NEW_YORK)
    again = take(text(f"date,{NAMES}", "2020-12-15 09:31", "2020-12-15 09:32"), tz=NEW_YORK).written
    assert (again.added, again.unchanged, again.replaced) == (1, 0, 1)


def test_many_rows_keep_their_order(take):
    n = 100_000
    rows = "\n".join(f"{1_600_000_020 + 60 * i},{i},{i},{i},{i},{i}" for i in range(n))
    done = take(f"time,{NAMES}\n{rows}\n")
    assert np.array_equal(done.bars.close, np.arange(n, dtype=np.float64))
