import json
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import bar_size
from quant.core.instrument import Instrument
from quant.core.synthetic import synthetic
from quant.errors import BarsError, EmptyRange, ParameterError, SeriesNotFound
from quant.store import Store, bars
from quant.store.merge import merge
from quant.store.query import named

REQUEST = {"kind": "import", "at": "2026-01-02T03:04:05+00:00"}
ZONE = ZoneInfo("America/New_York")


def daily(symbol="ABC", start="2019-11-01", end="2020-02-28", source="import", **changes):
    return replace(synthetic(symbol, "1d", start, end), source=source, **changes)


def minutes(start="2020-11-25", end="2020-11-30"):
    return replace(synthetic("ABC", "1m", start, end), source="import")


# ------------------------------------------------------------ write and read
def test_what_is_written_is_read_bit_for_bit(tmp_path):
    store, given_bars = Store(tmp_path), daily()
    written = store.write(given_bars, REQUEST)
    assert (written.added, written.unchanged, written.replaced) == (len(given_bars), 0, 0)
    found = store.read(store.find("ABC"))
    assert found.fingerprint == given_bars.fingerprint
    assert (found.source, found.adjusted, found.instrument) == ("import", "none", given_bars.instrument)
    assert not any(getattr(found, name).flags.writeable for name in ("start", *COLUMNS))


def test_years_lie_in_files_of_their_own_and_nothing_else_is_there(tmp_path):
    folder = Store(tmp_path).write(daily(), REQUEST).folder
    assert folder == tmp_path / "bars" / "import" / "STK" / "ABC.SYNTHETIC" / "TRADES-rth-1d"
    names = {p.name for p in folder.iterdir()} - {".lock"}
    assert {n[:5] for n in names} == {"2019-", "2020-", "manif"}
    assert len(names) == 3


def test_writing_the_same_again_changes_no_bar(tmp_path):
    store = Store(tmp_path)
    store.write(daily(), REQUEST)
    again = store.write(daily(), REQUEST)
    assert (again.added, again.unchanged, again.replaced) == (0, len(daily()), 0)
    assert len(store.manifest(store.find("ABC")).requests) == 2


def test_rows_before_between_and_after_are_put_in_order(tmp_path):
    store, whole = Store(tmp_path), daily()
    rows = np.arange(len(whole))
    for keep in (rows % 3 == 1, rows % 3 == 2, rows % 3 == 0):
        columns = {n: getattr(whole, n)[keep] for n in ("start", *COLUMNS)}
        store.write(replace(whole, **columns), REQUEST)
    assert store.read(store.find("ABC")).fingerprint == whole.fingerprint


def test_a_different_row_replaces_and_the_old_one_is_kept_as_a_revision(tmp_path):
    store, old = Store(tmp_path), daily()
    store.write(old, REQUEST)
    close = old.close.copy()
    close[5] = old.low[5]
    new = replace(old, close=close)
    written = store.write(new, {**REQUEST, "at": "2026-02-01T00:00:00+00:00"})
    assert (written.added, written.unchanged, written.replaced) == (0, len(old) - 1, 1)
    series = store.find("ABC")
    assert store.read(series).fingerprint == new.fingerprint
    store.write(old, {**REQUEST, "at": "2026-03-01T00:00:00+00:00"})
    revisions = store.revisions(series)
    assert revisions["close"].tolist() == [old.close[5], old.low[5]]
    assert revisions["request"].tolist() == [1, 2]
    assert [t.month for t in revisions["replaced_at"]] == [2, 3]
    assert revisions["start"][0].date() == old.session[5].astype(object)


def test_a_series_without_revisions_has_an_empty_table(tmp_path):
    store = Store(tmp_path)
    store.write(daily(), REQUEST)
    assert store.revisions(store.find("ABC")).empty


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"adjusted": "splits"}, "adjusted = none \\(given: splits\\)"),
        ({"instrument": Instrument("ABC", exchange="SYNTHETIC", tick=0.05, calendar="XNYS")}, "tick = 0.01"),
    ],
)
def test_bars_that_mean_something_else_are_not_merged(tmp_path, change, told):
    store = Store(tmp_path)
    store.write(daily(), REQUEST)
    before = store.read(store.find("ABC")).fingerprint
    with pytest.raises(BarsError, match=told):
        store.write(replace(daily(end="2020-06-30"), **change), REQUEST)
    assert store.read(store.find("ABC")).fingerprint == before


def test_no_bars_are_not_written(tmp_path):
    with pytest.raises(ParameterError, match="none to write"):
        Store(tmp_path).write(daily()[:0], REQUEST)
    assert not list(tmp_path.iterdir())


def test_the_manifest_tells_where_bars_came_from_and_what_is_covered(tmp_path):
    store, x = Store(tmp_path), daily()
    store.write(x[:19], REQUEST)
    store.write(x[40:], REQUEST)
    content = json.loads((store.find("ABC").folder / "manifest.json").read_text())
    assert content["schema"] == 1
    # A day of New York ends at 16:00, in winter 21:00 UTC.
    ends = [int(datetime(d.year, d.month, d.day, 21, tzinfo=UTC).timestamp()) * 10**9 for d in
            (x.session[18].astype(object), x.session[-1].astype(object))]  # fmt: skip
    windows = [[int(x.start[0]), ends[0]], [int(x.start[40]), ends[1]]]
    assert content["coverage"] == windows
    assert content["requests"] == [{**REQUEST, "from": a, "to": b} for a, b in windows]
    assert Instrument.from_dict(content["instrument"]) == x.instrument


@given(st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 3)), max_size=6), max_size=5))
def test_merge_is_what_a_dictionary_would_hold(parts):
    held = {n: np.empty(0, np.int64 if n == "start" else np.float64) for n in ("start", *COLUMNS)}
    model: dict[int, float] = {}
    for part in parts:
        rows = dict(sorted(dict(part).items()))
        new = {n: np.array(list(rows.values()), dtype=np.float64) for n in COLUMNS}
        new["start"] = np.array(list(rows), dtype=np.int64)
        merged = merge(held, new)
        replaced = {k: model[k] for k, v in rows.items() if k in model and model[k] != v}
        assert merged.added == len(rows.keys() - model.keys())
        assert merged.unchanged == len(rows) - merged.added - len(replaced)
        assert (
            dict(zip(merged.replaced["start"].tolist(), merged.replaced["close"].tolist(), strict=True))
            == replaced
        )
        model |= rows
        held = merged.columns
        assert held["start"].tolist() == sorted(model)
        assert held["close"].tolist() == [model[k] for k in sorted(model)]


# ------------------------------------------------------------ remove
def test_a_removed_series_leaves_nothing_behind(tmp_path):
    store = Store(tmp_path)
    store.write(daily(), REQUEST)
    store.write(daily("DEF"), REQUEST)
    store.remove(store.find("ABC"))
    assert [s.symbol for s in store.series()] == ["DEF"]
    assert [p.name for p in (tmp_path / "bars" / "import" / "STK").iterdir()] == ["DEF.SYNTHETIC"]


def test_reading_a_removed_series_says_so(tmp_path):
    store = Store(tmp_path)
    store.write(daily(), REQUEST)
    series = store.find("ABC")
    store.remove(series)
    with pytest.raises(SeriesNotFound, match="removed meanwhile"):
        store.read(series)


# ------------------------------------------------------------ find
def test_an_unknown_symbol_names_near_ones_and_the_next_command(tmp_path):
    Store(tmp_path).write(daily(), REQUEST)
    with pytest.raises(SeriesNotFound) as caught:
        bars("ABD", data=tmp_path)
    assert "Near names: ABC" in str(caught.value)
    assert "quant data import FILE --symbol ABD --bar 1d" in str(caught.value)
    assert caught.value.exit_code == 4


def test_another_size_of_the_symbol_is_named(tmp_path):
    Store(tmp_path).write(daily(), REQUEST)
    with pytest.raises(SeriesNotFound, match=r"Of ABC there is: ABC 1d TRADES rth \(source import\)"):
        bars("ABC", "1m", data=tmp_path)


def test_an_empty_store_says_so(tmp_path):
    with pytest.raises(SeriesNotFound, match="It is empty"):
        bars("ABC", data=tmp_path / "none")


def test_case_is_forgiven_where_no_exact_name_exists(tmp_path):
    store = Store(tmp_path)
    store.write(daily("Abc"), REQUEST)
    assert store.find("ABC").symbol == "Abc"
    store.write(daily("ABC"), REQUEST)
    assert store.find("ABC").symbol == "ABC"
    assert store.find("Abc").symbol == "Abc"


def test_two_sources_are_not_chosen_between(tmp_path):
    store = Store(tmp_path)
    store.write(daily(source="one"), REQUEST)
    store.write(daily(source="two"), REQUEST)
    with pytest.raises(ParameterError, match="one, two"):
        store.find("ABC")
    assert store.find("ABC", source="two").source == "two"


def test_of_one_name_at_two_exchanges_the_error_names_both_and_each_can_be_said(tmp_path):
    store = Store(tmp_path)
    for exchange, con_id in (("FWB", 8), ("IBIS", 7)):
        store.write(
            daily("SIE", instrument=Instrument("SIE", exchange=exchange, currency="EUR", con_id=con_id)),
            REQUEST,
        )
    with pytest.raises(ParameterError, match=r"say which: SIE@FWB or SIE@IBIS$"):
        bars("SIE", data=tmp_path)
    assert bars("SIE@FWB", data=tmp_path).instrument.con_id == 8
    assert bars("sie@ibis", data=tmp_path).instrument.con_id == 7
    assert bars(named({"symbol": "SIE", "con_id": 8}), data=tmp_path).instrument.exchange == "FWB"
    with pytest.raises(SeriesNotFound, match="Of SIE there is"):
        bars("SIE@NYSE", data=tmp_path)


def test_of_one_name_at_one_exchange_the_type_or_the_id_is_said(tmp_path):
    store = Store(tmp_path)
    for kind, con_id in (("STK", None), ("IND", None)):
        store.write(daily("SPX", instrument=Instrument("SPX", kind, "CBOE", con_id=con_id)), REQUEST)
    with pytest.raises(ParameterError, match=r"say which: SPX@IND or SPX@STK$"):
        store.find("SPX")
    assert store.find("SPX@IND").sec_type == "IND"
    for con_id in (5, 6):
        store.write(daily("ABC", instrument=Instrument("ABC", exchange="NYSE", con_id=con_id)), REQUEST)
    with pytest.raises(ParameterError, match=r"say which: ABC@5 or ABC@6$"):
        store.find("ABC")
    store.write(daily("ABC@6"), REQUEST)  # a symbol that is written so
    assert store.find("ABC@6").symbol == "ABC@6"


def test_any_source_wins_over_the_sample_and_the_sample_is_read_only(tmp_path):
    sample = Store(tmp_path, writable_sample=True)
    sample.write(daily(source="sample"), REQUEST)
    store = Store(tmp_path)
    assert store.find("ABC").source == "sample"
    assert store.find("ABC").folder.is_relative_to(tmp_path / "sample" / "STK")
    with pytest.raises(ParameterError, match="read-only"):
        store.write(daily(source="sample"), REQUEST)
    with pytest.raises(ParameterError, match="read-only"):
        store.remove(store.find("ABC"))
    store.write(daily(source="mine"), REQUEST)
    assert store.find("ABC").source == "mine"
    assert store.find("ABC", source="sample").source == "sample"


def test_bars_of_a_simulated_tws_hide_no_others_and_are_hidden_by_none_but_them(tmp_path):
    store = Store(tmp_path, writable_sample=True)
    store.write(daily(source="sample"), REQUEST)
    store.write(daily(source="simulated"), REQUEST)
    assert store.find("ABC").source == "simulated"
    store.write(daily(source="ib"), REQUEST)
    assert store.find("ABC").source == "ib"
    assert store.find("ABC", source="simulated").source == "simulated"
    store.write(daily(source="mine"), REQUEST)
    with pytest.raises(ParameterError, match="choose one: ib, mine"):
        store.find("ABC")


def test_names_that_no_file_system_takes_are_kept(tmp_path):
    store = Store(tmp_path)
    for symbol in ("CON", "BRK.B", "EUR/USD", "aux.", "ÄÖ", "..", "a" * 60):
        store.write(daily(symbol), REQUEST)
        assert store.find(symbol).symbol == symbol
    assert len(store.series()) == 7


# ------------------------------------------------------------ ranges
def test_a_plain_end_date_is_included(tmp_path):
    Store(tmp_path).write(daily(), REQUEST)
    found = bars("ABC", "1d", "2019-12-24", "2020-01-02", data=tmp_path)
    # New York's sessions over Christmas and New Year: exchange holidays on 25 December and 1 January.
    assert found.session.astype(str).tolist() == [
        "2019-12-24", "2019-12-26", "2019-12-27", "2019-12-30", "2019-12-31", "2020-01-02",
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["2020-01-02 00:00", datetime(2020, 1, 2), datetime(2020, 1, 2, tzinfo=ZONE)])  # noqa: DTZ001
def test_an_end_moment_is_excluded(tmp_path, end):
    Store(tmp_path).write(daily(), REQUEST)
    assert str(bars("ABC", "1d", None, end, data=tmp_path).session[-1]) == "2019-12-31"


def test_a_date_means_its_whole_session(tmp_path):
    Store(tmp_path).write(minutes(), REQUEST)
    # 27 November 2020 was a half day: 09:30 to 13:00, 210 minutes.
    found = bars("ABC", "1m", date(2020, 11, 27), "2020-11-27", data=tmp_path)
    assert len(found) == 210
    assert len(bars("ABC", "1m", "2020-11-27", data=tmp_path)) == 210 + 390
    assert len(bars("ABC", "1m", None, "2020-11-26", data=tmp_path)) == 390


def test_a_session_that_begins_the_evening_before_belongs_to_its_date(tmp_path):
    whole = replace(synthetic("ES", "1h", "2020-12-14", "2020-12-18", calendar="CMES"), source="import")
    Store(tmp_path).write(whole, REQUEST)
    found = bars("ES", "1h", "2020-12-16", "2020-12-16", data=tmp_path)
    first = datetime.fromtimestamp(int(found.start[0]) // 10**9, ZoneInfo("America/Chicago"))
    assert first == datetime(2020, 12, 15, 17, tzinfo=ZoneInfo("America/Chicago"))
    assert len(found) == 24  # exchange_calendars has CMES without its daily pause


def test_moments_are_naive_in_exchange_time_or_carry_their_zone(tmp_path):
    Store(tmp_path).write(minutes(), REQUEST)
    a = bars("ABC", "1m", "2020-11-25 10:00", "2020-11-25 10:30", data=tmp_path)
    b = bars("ABC", "1m", "2020-11-25T15:00Z", datetime(2020, 11, 25, 15, 30, tzinfo=UTC), data=tmp_path)
    assert len(a) == 30
    assert a.fingerprint == b.fingerprint


def test_a_range_without_bars_says_what_is_held(tmp_path):
    Store(tmp_path).write(daily(), REQUEST)
    with pytest.raises(EmptyRange, match="in 2021-01-01 to …; the store holds 2019-11-01 … 2020-02-28"):
        bars("ABC", "1d", "2021-01-01", data=tmp_path)


def test_a_range_that_only_another_source_has_says_how_to_ask_for_it(tmp_path):
    Store(tmp_path).write(replace(daily(), source="simulated"), REQUEST)
    Store(tmp_path).write(replace(daily()[:3], source="import"), REQUEST)
    with pytest.raises(EmptyRange) as error:
        bars("ABC", "1d", "2020-01-02", data=tmp_path)
    held = "the store holds 2019-11-01 … 2019-11-05 of source import; simulated has 2019-11-01 … 2020-02-28"
    assert held in str(error.value)
    assert "--source simulated" in str(error.value)
    assert len(bars("ABC", "1d", "2020-01-02", source="simulated", data=tmp_path)) > 3


@pytest.mark.parametrize("value", ["yesterday", "2020-13-01", "", 3])
def test_a_moment_that_is_none_is_refused(tmp_path, value):
    Store(tmp_path).write(daily(), REQUEST)
    with pytest.raises(ParameterError, match="start"):
        bars("ABC", "1d", value, data=tmp_path)


def test_only_the_years_needed_are_read(tmp_path):
    store = Store(tmp_path)
    store.write(daily(), REQUEST)
    for path in store.find("ABC").folder.glob("2019-*"):
        path.write_bytes(b"broken")
    assert len(bars("ABC", "1d", "2020-01-01", data=tmp_path)) == 40  # sessions of January and February 2020


# ------------------------------------------------------------ the sample
def test_the_sample_of_the_project_is_there(pytestconfig):
    store = Store(pytestconfig.rootpath / "data")
    found = {(s.symbol, s.bar.name): (s.rows, s.adjusted) for s in store.series() if s.sample}
    # Row counts and adjustment as the sample's notice gives them.
    assert found == {
        ("SPY", "1m"): (1564, "none"), ("SPY", "1d"): (502, "all"), ("MSFT", "1d"): (8111, "splits"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("symbol", "bar", "row", "values"),
    [  # lines of the vendor's files
        ("SPY", "1m", 3, [367.345, 367.64, 367.345, 367.59, 197941.0]),
        ("SPY", "1d", 0, [212.61, 213.35, 211.52, 212.8, 96708880.0]),
        ("MSFT", "1d", 3, [0.401, 0.403, 0.392, 0.393, 0.0]),
    ],
)
def test_the_sample_holds_the_vendors_numbers(pytestconfig, symbol, bar, row, values):
    found = bars(symbol, bar, source="sample", data=pytestconfig.rootpath / "data")
    assert [float(getattr(found, name)[row]) for name in COLUMNS] == values


def test_bars_of_no_calendar_are_kept_too(tmp_path):
    start = np.arange(5, dtype=np.int64) * 60 * 10**9
    flat = np.full(5, 1.0)
    x = Bars(Instrument("XYZ"), bar_size("1m"), start, flat, flat, flat, flat, flat, source="import")
    store = Store(tmp_path)
    store.write(x, REQUEST)
    assert store.read(store.find("XYZ", "1m")).fingerprint == x.fingerprint
