"""The value Bars: what it accepts, how it is cut, joined and resampled. Expected: pandas, brute force, by hand."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY, MINUTE, bar_size
from quant.core.calendar import calendar, timezone_of
from quant.core.instrument import Instrument
from quant.errors import BarsError, ParameterError

Array = npt.NDArray[Any]
START = int(pd.Timestamp("2024-06-10", tz="UTC").as_unit("ns").value)  # a Monday


def made(
    start: Array, bar: str = "1m", *, exchange: str | None = None, seed: int = 1, **settings: Any
) -> Bars:
    """Return a random walk over `start`."""
    draw = np.random.default_rng(seed)
    n = len(start)
    close = 100 + draw.normal(0, 0.1, n).cumsum()
    opened = close + draw.normal(0, 0.1, n)
    high = np.maximum(opened, close) + draw.random(n)
    low = np.minimum(opened, close) - draw.random(n)
    zone = settings.pop("zone", "UTC") if exchange is None else timezone_of(exchange)
    volume = draw.integers(0, 1000, n).astype(float)
    instrument = Instrument("SPY", calendar=exchange, timezone=zone)
    return Bars(instrument, bar_size(bar), start, opened, high, low, close, volume, **settings)


def minutes(exchange: str, first: str, last: str, *, at_close: int = 0) -> Array:
    """Return the starts of all minutes of the sessions `first` to `last`, and of some after each close."""
    sessions = calendar(exchange, 2018, 2024)
    chosen = (sessions.dates >= np.datetime64(first)) & (sessions.dates <= np.datetime64(last))
    spans = zip(sessions.open[chosen], sessions.close[chosen], strict=True)
    return np.unique(np.concatenate([np.arange(a, b + at_close * MINUTE, MINUTE) for a, b in spans]))


# ------------------------------------------------------------ what is accepted
def test_arrays_are_read_only_and_the_callers_stay_his() -> None:
    start, price = START + np.arange(3) * MINUTE, np.array([1.0, 2.0, 3.0])
    bars = Bars(Instrument("X"), bar_size("1m"), start, price, price, price, price, price)
    for name in ("start", *COLUMNS):
        with pytest.raises(ValueError, match="read-only"):
            getattr(bars, name)[0] = 1
    assert start.flags.writeable
    price[0], start[0] = 99.0, 0
    assert bars.close[0] == 1.0
    assert bars.start[0] == START


def test_read_only_and_strided_arrays_are_taken() -> None:
    price = np.arange(6.0)[::2]
    price.flags.writeable = False
    bars = Bars(
        Instrument("X"), bar_size("1m"), START + np.arange(3) * MINUTE, price, price, price, price, price
    )
    assert bars.close.flags.c_contiguous
    assert len(bars.fingerprint) == 64


def test_trusted_bars_equal_checked_ones_and_freeze_no_array() -> None:
    bars = made(START + np.arange(5) * MINUTE)
    own = {name: np.array(getattr(bars, name)) for name in ("start", *COLUMNS)}
    again = Bars.trusted(instrument=bars.instrument, bar=bars.bar, **own)
    assert again.fingerprint == bars.fingerprint
    assert (again.what, again.rth, again.source, again.adjusted) == ("TRADES", True, "memory", "unknown")
    assert not again.close.flags.writeable
    assert own["close"].flags.writeable


def change(name: str, row: int, value: float) -> Callable[[dict[str, Array]], None]:
    def apply(columns: dict[str, Array]) -> None:
        columns[name][row] = value

    return apply


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("open", np.nan, "a price is not a number"),
        ("close", np.inf, "a price is not a number"),
        ("low", -np.inf, "a price is not a number"),
        ("volume", np.nan, "a volume is not a number"),
        ("high", 0.0, "high is below low"),
        ("high", 99.5, "high is below open or close"),
        ("low", 100.5, "low is above open or close"),
        ("start", START + MINUTE, "times occur twice"),
        ("start", START - MINUTE, "times are not in order"),
    ],
)
def test_broken_rule_names_its_row(name: str, value: float, reason: str) -> None:
    columns = {
        "start": START + np.arange(4) * MINUTE, "open": np.full(4, 100.0), "high": np.full(4, 101.0),
        "low": np.full(4, 99.0), "close": np.full(4, 100.0), "volume": np.ones(4),
    }  # fmt: skip
    columns[name][2] = value
    with pytest.raises(BarsError, match=reason) as caught:
        Bars(Instrument("X"), bar_size("1m"), **columns)
    assert 2 in caught.value.rows
    assert caught.value.mend


def test_infinite_prices_of_both_signs_are_refused_without_a_warning() -> None:
    one = np.ones(1)
    with pytest.raises(BarsError, match="a price is not a number"):
        Bars(Instrument("X"), bar_size("1m"), np.array([START]), one, one * np.inf, one * -np.inf, one, one)


def test_zero_and_negative_prices_and_huge_ones_are_prices() -> None:
    price = np.array([0.0, -37.63, 1e308])  # oil settled at -37.63 on 2020-04-20
    bars = Bars(
        Instrument("CL"), bar_size("1d"), START + np.arange(3) * DAY, price, price, price, price, price
    )
    assert bars.close.tolist() == price.tolist()


def test_daily_start_is_a_date() -> None:
    with pytest.raises(BarsError, match="a bar of 1d does not start at 00:00 UTC"):
        made(np.array([START, START + DAY + MINUTE]), "1d")


@pytest.mark.parametrize(
    "start",
    [
        np.array(["2024-06-10"], "datetime64[s]"),  # its integers are seconds
        np.array([1.7e18]),
        np.array([[START]]),
        np.array([START, START + MINUTE]),
    ],
)
def test_starts_of_another_kind_or_shape_are_refused(start: Array) -> None:
    one = np.ones(1)
    with pytest.raises(BarsError, match="start"):
        Bars(Instrument("X"), bar_size("1m"), start, one, one, one, one, one)


def test_bars_that_end_together_have_another_size() -> None:
    bars = made(START + np.arange(4) * 15 * MINUTE, "1h")
    with pytest.raises(BarsError, match="Name the bar size") as caught:
        _ = bars.end
    assert caught.value.rows == (1, 2, 3)
    assert "4 bars" in repr(bars)


@pytest.mark.parametrize(
    ("bar", "first", "exchange", "zone"),
    [
        ("1h", "2024-06-10T13:30", "XNYS", "America/New_York"),  # yfinance's 09:30, 10:30, ...
        ("4h", "2024-06-10T21:00", None, "America/New_York"),  # foreign exchange from 17:00 on
        ("4h", "2024-01-10T00:00", None, "America/New_York"),  # days of UTC, another zone named
        ("1m", "2024-06-10T13:30:30", None, "UTC"),
    ],
)
def test_bars_off_the_clock_grid_would_look_ahead(
    bar: str, first: str, exchange: str | None, zone: str
) -> None:
    start = int(np.datetime64(first, "ns").astype(np.int64)) + np.arange(3) * bar_size(bar).ns
    bars = (
        made(start, bar, exchange=exchange, zone=zone)
        if exchange is None
        else made(start, bar, exchange=exchange)
    )
    with pytest.raises(BarsError, match="off the clock grid") as caught:
        _ = bars.end
    assert caught.value.rows == (0, 1)
    assert "3 bars" in repr(bars)
    assert len(bars[1:2].end) == 1


@pytest.mark.parametrize("bar", ["1m", "1h", "1d", "1w", "1mo"])
@pytest.mark.parametrize("exchange", [None, "XNYS", "24/7"])
def test_no_bars(bar: str, exchange: str | None) -> None:
    bars = made(np.empty(0, np.int64), bar, exchange=exchange)
    assert len(bars.end) == len(bars.session) == len(bars.minutes_to_close) == len(bars[:5]) == 0
    assert len(bars.frame()) == len(bars.frame("end")) == len(bars.asof(bars, [])) == 0
    assert bars.periods_per_year in (252, 52, 12)
    assert "no bars" in repr(bars)
    assert "no bars" in bars._repr_html_()


def test_no_bars_resample_to_none() -> None:
    coarse = made(np.empty(0, np.int64), exchange="XNYS").resample("1d")
    assert (len(coarse), coarse.bar.name) == (0, "1d")


# ------------------------------------------------------------ cut
def test_slices_keep_times_and_values() -> None:
    bars = made(minutes("XNYS", "2018-07-02", "2018-07-05", at_close=1), exchange="XNYS")
    fresh = bars[350:420]
    _ = bars.times
    for part in (fresh, bars[350:420]):
        assert len(part) == 70
        for name in ("start", *COLUMNS, "end", "session", "minutes_to_close"):
            assert np.array_equal(getattr(part, name), getattr(bars, name)[350:420]), name
        assert np.array_equal(part.times.begin, bars.times.begin[350:420])
        assert np.array_equal(part.times.in_session, bars.times.in_session[350:420])
        assert not part.close.flags.writeable
    assert fresh.fingerprint != bars.fingerprint
    assert bars[:].fingerprint == bars.fingerprint


@pytest.mark.parametrize("rows", [3, slice(None, None, 2), slice(None, None, -1), [1, 2], np.array([True])])
def test_other_cuts_are_refused(rows: Any) -> None:
    with pytest.raises(ParameterError, match="without a step"):
        made(START + np.arange(10) * MINUTE)[rows]


def test_between_is_half_open_and_never_backwards() -> None:
    bars = made(START + np.arange(10) * MINUTE)
    at = bars.start
    assert bars.between(int(at[2]), int(at[5])).start.tolist() == at[2:5].tolist()
    assert bars.between(int(at[2]) + 1, None).start.tolist() == at[3:].tolist()
    assert bars.between(None, int(at[5]) + 1).start.tolist() == at[:6].tolist()
    assert len(bars.between(int(at[5]), int(at[2]))) == 0
    assert len(bars.between(0, 1)) == 0


# ------------------------------------------------------------ asof
gaps = st.lists(st.integers(1, 200), min_size=0, max_size=40)


@given(gaps, gaps, st.sampled_from(["1m", "5m", "1h"]), st.sampled_from([None, "XNYS"]))
def test_asof_is_the_last_bar_that_is_over(
    ours: list[int], theirs: list[int], bar: str, exchange: str | None
) -> None:
    size = bar_size(bar)
    first = START + 13 * 60 * MINUTE
    here = made(first + np.cumsum(ours, dtype=np.int64) * MINUTE, exchange=exchange)
    other = made(first + np.cumsum(theirs, dtype=np.int64) * size.ns, bar, exchange=exchange)
    values = np.arange(len(other), dtype=float)
    over = [[v for v, end in zip(values, other.end, strict=True) if end <= now] for now in here.end]
    wanted = [past[-1] if past else np.nan for past in over]
    assert np.array_equal(here.asof(other, values), wanted, equal_nan=True)


@pytest.mark.parametrize("values", [[1.0], [[1.0], [2.0]], 1.0])
def test_asof_wants_a_value_for_each_bar_of_the_other(values: Any) -> None:
    bars = made(START + np.arange(2) * MINUTE)
    with pytest.raises(ParameterError, match="one value for each of the 2 bars"):
        bars.asof(bars, values)


EXCHANGES = [
    ("XNYS", "2018-07-02", "2018-07-05"),
    ("XTKS", "2024-11-01", "2024-11-06"),
    ("CMES", "2024-03-08", "2024-03-12"),
]


@pytest.mark.parametrize(("exchange", "first", "last"), EXCHANGES)
@pytest.mark.parametrize("bar", ["5m", "1h", "4h", "1d", "1w"])
def test_resampled_bars_never_show_the_future(exchange: str, first: str, last: str, bar: str) -> None:
    bars = made(minutes(exchange, first, last, at_close=2), exchange=exchange)
    whole = bars.resample(bar)
    seen = bars.asof(whole, whole.close)
    for m in np.random.default_rng(7).integers(1, len(bars), 25):
        part = bars[:m]
        coarse = part.resample(bar)
        assert np.array_equal(part.asof(coarse, coarse.close), seen[:m], equal_nan=True), m


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=60),
    st.sampled_from(["5m", "1h", "3h", "8h", "1d"]),
    st.data(),
)
def test_prefix_of_bars_gives_prefix_of_what_resampling_shows(
    steps: list[int], bar: str, data: st.DataObject
) -> None:
    # Saturday evening to well after the night of Berlin's change to winter time, holes and all.
    start = int(pd.Timestamp("2024-10-26 20:00", tz="UTC").as_unit("ns").value)
    bars = made(start + np.cumsum(steps, dtype=np.int64) * MINUTE, zone="Europe/Berlin")
    coarse = bars.resample(bar)
    m = data.draw(st.integers(1, len(bars)))
    part = bars[:m].resample(bar)
    for name in ("close", "high", "low", "open", "volume"):
        now = bars.asof(coarse, getattr(coarse, name))
        assert np.array_equal(bars[:m].asof(part, getattr(part, name)), now[:m], equal_nan=True), name


# ------------------------------------------------------------ resample
RULES = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def same_values(found: Bars, wanted: pd.DataFrame) -> None:
    assert len(found) == len(wanted)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(found, name), wanted[name].to_numpy(), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("bar", ["5m", "15m", "30m", "1h", "4h"])
@pytest.mark.parametrize(("exchange", "first", "last"), EXCHANGES)
def test_intraday_groups_are_pandas_groups_of_each_session(
    exchange: str, first: str, last: str, bar: str
) -> None:
    bars = made(minutes(exchange, first, last), exchange=exchange)
    frame = bars.frame()
    wall = pd.DatetimeIndex(frame.index).tz_localize(None)
    cell = wall.floor(bar.replace("m", "min"))
    wanted = frame.groupby([bars.session, cell]).agg(RULES)
    same_values(bars.resample(bar), wanted)


@pytest.mark.parametrize(("bar", "period"), [("1d", "D"), ("1w", "W"), ("1mo", "M")])
@pytest.mark.parametrize(
    ("exchange", "first", "last"),
    [("XNYS", "2018-06-25", "2018-07-12"), ("CMES", "2024-02-26", "2024-03-12")],
)
def test_days_weeks_and_months_are_pandas_groups(
    exchange: str, first: str, last: str, bar: str, period: str
) -> None:
    bars = made(minutes(exchange, first, last), exchange=exchange)
    groups = pd.DatetimeIndex(bars.session).to_period(period)
    found = bars.resample(bar)
    same_values(found, bars.frame().groupby(groups).agg(RULES))
    assert found.session.tolist() == groups.unique().start_time.to_numpy().astype("datetime64[D]").tolist()
    days = bars.resample("1d")
    if bar != "1d":
        same_values(days.resample(bar), bars.frame().groupby(groups).agg(RULES))


@pytest.mark.parametrize("bar", ["2h", "4h", "8h"])
@pytest.mark.parametrize("night", ["2024-03-30", "2024-10-26"])
def test_bars_of_a_clock_change_night_are_all_kept_and_in_their_group(night: str, bar: str) -> None:
    first = pd.Timestamp(night, tz="Europe/Berlin").tz_convert("UTC").as_unit("ns").value
    bars = made(int(first) + np.arange(72 * 60) * MINUTE, zone="Europe/Berlin")
    coarse = bars.resample(bar)
    assert coarse.volume.sum() == bars.volume.sum()
    row = np.searchsorted(coarse.start, bars.start, side="right") - 1
    assert (bars.end <= coarse.end[row]).all()
    assert coarse.close.tolist() == bars.close[np.flatnonzero(np.append(np.diff(row), 1))].tolist()


def test_closing_auctions_bar_is_no_part_of_the_day_but_a_group_of_its_own() -> None:
    bars = made(minutes("XNYS", "2024-06-10", "2024-06-11", at_close=1), exchange="XNYS")
    days, quarters, hours = bars.resample("1d"), bars.resample("15m"), bars.resample("1h")
    assert days.close.tolist() == bars.close[[389, 780]].tolist()
    assert days.volume.tolist() == [bars.volume[:390].sum(), bars.volume[391:781].sum()]
    assert len(quarters) == 2 * (26 + 1)
    assert quarters.close[26] == bars.close[390]
    assert quarters.minutes_to_close[25:27].tolist() == [0, -15]
    assert len(hours) == 2 * (7 + 1)


def test_closing_auctions_group_begins_at_a_close_off_the_grid() -> None:
    bars = made(minutes("XTKS", "2024-11-05", "2024-11-05", at_close=2), exchange="XTKS")
    hours = bars.resample("1h")
    assert hours.frame().index.strftime("%H:%M").tolist()[-2:] == ["15:00", "15:30"]
    assert hours.volume.sum() == bars.volume.sum()


def test_only_closing_auctions_bar_makes_no_day() -> None:
    bars = made(minutes("XNYS", "2024-06-10", "2024-06-10", at_close=1), exchange="XNYS")[390:]
    assert len(bars.resample("1d")) == 0


def test_extended_hours_share_their_bar_with_the_open() -> None:
    # IB's hourly bars outside regular hours lie on the hour: 09:00 to 10:00.
    start = minutes("XNYS", "2024-06-10", "2024-06-10")
    bars = made(np.arange(start[0] - 90 * MINUTE, start[-1], MINUTE), exchange="XNYS", rth=False)
    hours = bars.resample("1h").frame().index.strftime("%H:%M").tolist()
    assert hours == ["08:00", "09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
    assert (np.diff(bars.resample("1h").end) > 0).all()
    regular = bars[90:].resample("1h").frame().index.strftime("%H:%M").tolist()
    assert regular[:2] == ["09:30", "10:00"]


def test_without_calendar_the_last_hour_belongs_to_its_day() -> None:
    bars = made(START + np.arange(48) * 60 * MINUTE, "1h")
    days = bars.resample("1d")
    assert days.close.tolist() == bars.close[[23, 47]].tolist()
    assert days.volume.sum() == bars.volume.sum()


def test_one_bar_is_its_own_group() -> None:
    bars = made(minutes("XNYS", "2024-06-10", "2024-06-10"), exchange="XNYS")[7:8]
    coarse = bars.resample("5m")
    assert coarse.frame().index[0] == pd.Timestamp("2024-06-10 09:35", tz="America/New_York")
    assert coarse.close.tolist() == bars.close.tolist()


@pytest.mark.parametrize(
    ("bar", "to"),
    [
        ("5m", "1m"),
        ("5m", "5m"),
        ("2m", "3m"),
        ("20m", "30m"),
        ("2h", "3h"),
        ("1d", "4h"),
        ("1d", "1d"),
        ("1w", "1mo"),
        ("1mo", "1w"),
    ],
)
def test_sizes_that_are_no_whole_multiple_are_refused(bar: str, to: str) -> None:
    for n in (0, 1):
        with pytest.raises(ParameterError, match="coarser, whole multiples"):
            made(START + np.arange(n), bar).resample(to)


def test_resampled_bars_keep_what_they_are() -> None:
    bars = made(START + np.arange(9) * MINUTE, what="MIDPOINT", rth=False, source="ib", adjusted="none")
    coarse = bars.resample("5m")
    assert (coarse.what, coarse.rth, coarse.source, coarse.adjusted) == ("MIDPOINT", False, "ib", "none")
    assert coarse.instrument == bars.instrument


# ------------------------------------------------------------ identity and looks
def test_fingerprint_is_of_values_and_settings() -> None:
    start = START + np.arange(6) * DAY
    bars = made(start, "1d")
    assert made(start, "1d").fingerprint == bars.fingerprint
    assert pickle.loads(pickle.dumps(bars)).fingerprint == bars.fingerprint  # noqa: S301  # our own bytes
    assert replace(bars, source="elsewhere").fingerprint == bars.fingerprint
    towards = {"open": bars.close, "high": np.inf, "low": -np.inf, "close": bars.open, "volume": np.inf}
    others: list[Bars] = [
        replace(bars, instrument=replace(bars.instrument, tick=0.01)),
        replace(bars, instrument=replace(bars.instrument, calendar="XNYS")),
        replace(bars, bar=bar_size("1h")),
        replace(bars, what="MIDPOINT"),
        replace(bars, rth=False),
        replace(bars, adjusted="splits"),
        bars[:5],
        replace(bars, start=bars.start + 7 * DAY),
        *(replace(bars, **{name: np.nextafter(getattr(bars, name), to)}) for name, to in towards.items()),
    ]
    assert len({bars.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_frame_shows_exchange_time() -> None:
    bars = made(minutes("XNYS", "2024-06-10", "2024-06-10"), exchange="XNYS")
    assert str(bars.frame().index[0]) == "2024-06-10 09:30:00-04:00"
    assert str(bars.frame("end").index[-1]) == "2024-06-10 16:00:00-04:00"
    days = bars.resample("1d")
    assert days.frame().index.tolist() == [pd.Timestamp("2024-06-10")]
    assert str(days.frame("end").index[0]) == "2024-06-10 16:00:00-04:00"
    assert Bars.from_frame(bars.frame(), "SPY", "1m", calendar="XNYS").fingerprint == bars.fingerprint
    assert Bars.from_frame(days.frame(), "SPY", calendar="XNYS").fingerprint == days.fingerprint


def test_frame_is_the_readers_own() -> None:
    bars = made(START + np.arange(3) * MINUTE)
    frame = bars.frame()
    before = bars.close.tolist()
    frame.loc[:, "close"] = 0.0
    assert bars.close.tolist() == before


def test_repr_says_what_from_when_and_where() -> None:
    bars = made(minutes("XNYS", "2024-06-10", "2024-06-11"), exchange="XNYS")
    assert repr(bars) == "Bars(SPY 1m, 780 bars, 2024-06-10 … 2024-06-11, XNYS, memory)"


def test_notebook_repr_escapes_the_symbol() -> None:
    bars = replace(made(START + np.arange(9) * MINUTE), instrument=Instrument("<script>alert(1)</script>"))
    page = bars._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr") == 1 + 1 + 6  # heading, name of the index, six bars


# NYSE: 252 sessions in 2019; DESIGN §5.7 for the others.
@pytest.mark.parametrize(
    ("bar", "exchange", "wanted"),
    [("1d", "XNYS", 252), ("1m", "24/7", 365), ("1d", None, 252), ("1w", "XNYS", 52), ("1mo", None, 12)],
)
def test_periods_a_year(bar: str, exchange: str | None, wanted: float) -> None:
    start = int(pd.Timestamp("2019-07-01", tz="UTC").as_unit("ns").value)
    assert made(np.array([start]), bar, exchange=exchange).periods_per_year == wanted
