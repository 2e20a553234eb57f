"""Answers to requests for bars: which sessions, which prices, which texts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.core.bars import Bars
from quant.core.barsize import SECOND, SIZES
from quant.core.synthetic import synthetic
from quant.store import Store
from quant.tws.exchange.history import BarAnswer, History, LiveBar, ScheduleAnswer, number
from quant.tws.exchange.instruments import Catalogue
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.path import quote
from quant.tws.exchange.refusal import Refusal
from quant.tws.exchange.request import BarRequest, parse_duration
from quant.tws.exchange.shelf import base_of, held_bars, served, stored
from quant.tws.exchange.tape import Tape
from quant.tws.program import simulated

CATALOGUE = Catalogue()


def known(con_id: int) -> Listing:
    found = CATALOGUE.get(con_id)
    assert found is not None
    return found


SPY, EUR, SPX, TOYOTA, VOD = (
    known(756733),
    known(12087792),
    known(416904),
    known(990_000_005),
    known(990_000_003),
)
MINUTES = replace(synthetic("SPY", "1m", "2020-12-07", "2020-12-18", seed=5), instrument=SPY.instrument)
HISTORY = History(Tape({SPY.con_id: held_bars([MINUTES])}))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


def wanted(size: str, duration: str, what: str = "TRADES", **more: Any) -> BarRequest:
    length = parse_duration(duration)
    assert not isinstance(length, Refusal)
    given = {"rth": True, "format_date": 1, "end": None, "live": False, **more}
    return BarRequest(SIZES[size], length, what, **given)


def bars(request: BarRequest, now: int, listing: Listing = SPY, history: History = HISTORY) -> BarAnswer:
    found = history.bars(listing, request, "", now)
    assert isinstance(found, BarAnswer), found
    return found


# ---------------------------------------------------------------- which bars
def test_days_are_sessions_and_the_last_is_the_newest_that_has_opened():
    # Wednesday 16 December 2020, 15:00 UTC = 10:00 in New York.
    now = at("2020-12-16T15:00:00")
    found = bars(wanted("5m", "2 D"), now).bars
    assert len(found) == 78 + 7  # the 10:00 bar has begun
    assert (found[0].date, found[-1].date) == ("20201215 09:30:00 US/Eastern", "20201216 10:00:00 US/Eastern")
    before_open = bars(wanted("5m", "1 D"), at("2020-12-16T14:00:00")).bars
    assert (len(before_open), before_open[0].date[:8]) == (78, "20201215")
    on_sunday = bars(wanted("5m", "1 D"), at("2020-12-13T14:00:00")).bars
    assert on_sunday[0].date[:8] == "20201211"


def test_an_end_in_the_past_cuts_and_one_in_the_future_means_now():
    now = at("2020-12-16T15:00:00")
    early = bars(wanted("1m", "1 D", end=at("2020-12-15T15:00:00")), now).bars
    assert (len(early), early[-1].date) == (30, "20201215 09:59:00 US/Eastern")
    future = bars(wanted("1m", "1 D", end=at("2021-01-01T00:00:00")), now).bars
    assert [b.date for b in future] == [b.date for b in bars(wanted("1m", "1 D"), now).bars]


def test_seconds_count_trading_time_over_the_night():
    # 09:45 in New York: 15 minutes of this session and 15 of the last.
    found = bars(wanted("1m", "1800 S"), at("2020-12-16T14:45:00")).bars
    assert found[0].date == "20201215 15:45:00 US/Eastern"
    assert len(found) == 31  # the 09:45 bar has begun with its first tick


def test_bars_that_were_over_when_the_seconds_begin_do_not_count():
    now = at("2020-12-16T20:00:00")
    found = bars(wanted("1m", "1800 S", end=at("2020-12-16T15:00:00")), now).bars
    assert [b.date[9:17] for b in (found[0], found[-1])] == ["09:30:00", "09:59:00"]
    over_night = bars(wanted("1m", "1800 S", end=at("2020-12-16T14:45:00")), now).bars
    assert (len(over_night), over_night[0].date) == (30, "20201215 15:45:00 US/Eastern")


def test_weeks_and_months_reach_back_on_the_calendar():
    now = at("2020-12-18T22:00:00")
    assert [b.date for b in bars(wanted("1d", "1 W"), now).bars] == [
        f"202012{d}" for d in (14, 15, 16, 17, 18)
    ]
    assert len(bars(wanted("1d", "1 M"), now).bars) == 10  # all there are
    weekly = bars(wanted("1w", "1 M"), now).bars
    assert [b.date for b in weekly] == ["20201211", "20201218"]
    week = MINUTES.resample("1w")
    assert (weekly[0].open, weekly[0].close, weekly[0].volume) == (
        week.open[0],
        week.close[0],
        number(week.volume[0]),
    )


def test_the_answer_says_which_time_it_covers():
    found = bars(wanted("1d", "1 W", end=at("2020-12-18T22:00:00")), at("2021-01-01T00:00:00"))
    assert (found.start, found.end) == ("20201211 17:00:00 US/Eastern", "20201218 17:00:00 US/Eastern")


def test_no_bars_are_error_162_with_the_name():
    text = "Historical Market Data Service error message:HMDS query returned no data: SPY@SMART Trades"  # users' logs
    for end in ("2020-12-01T00:00:00", "2019-01-01T00:00:00", "1980-01-01T00:00:00"):
        assert HISTORY.bars(SPY, wanted("1m", "1 D", end=at(end)), "", at("2021-01-01T00:00:00")) == Refusal(
            162, text
        )
    assert HISTORY.bars(SPY, wanted("1d", "1 M"), "", at("2022-01-01T00:00:00")) == Refusal(162, text)


# ---------------------------------------------------------------- which prices
def test_trades_are_the_stored_bars():
    now = at("2020-12-18T22:00:00")
    found = bars(wanted("1m", "10 D"), now).bars
    assert len(found) == len(MINUTES)
    for name in ("open", "high", "low", "close"):
        assert [getattr(b, name) for b in found] == getattr(MINUTES, name).tolist()
    assert [float(b.volume) for b in found] == MINUTES.volume.tolist()
    assert all(b.low <= float(b.WAP) <= b.high and b.barCount >= 1 for b in found)


def test_quotes_lie_around_the_trades():
    now = at("2020-12-18T22:00:00")
    trades, bid, ask, middle, both = (
        bars(wanted("5m", "2 D", what), now).bars for what in ("TRADES", "BID", "ASK", "MIDPOINT", "BID_ASK")
    )
    for t, b, a, m, x in zip(trades, bid, ask, middle, both, strict=True):
        for name in ("open", "high", "low", "close"):
            found = quote(getattr(t, name), SPY.rule)
            assert (getattr(b, name), getattr(a, name)) == (found.bid, found.ask)
            assert getattr(m, name) == pytest.approx(getattr(t, name), abs=1e-9)
        # IB: low is the lowest bid, high the highest ask, open and close the averages of bid and ask.
        assert (x.low, x.high) == (b.low, a.high)
        assert x.low <= x.open < x.close <= x.high
        assert (b.volume, a.volume, m.volume, x.volume, b.WAP, b.barCount) == (
            "-1",
            "-1",
            "-1",
            "-1",
            "-1",
            -1,
        )


def test_currencies_have_no_trades_and_indices_only_these():
    now, history = at("2021-06-02T15:00:00"), History(Tape({}))
    refused = history.bars(EUR, wanted("5m", "1 D"), "IDEALPRO", now)
    # A user's log: "No historical market data for EUR/CASH@FXSUBPIP Last 1d".
    head = "Historical Market Data Service error message:No historical market data for"
    assert refused == Refusal(162, f"{head} EUR/CASH@FXSUBPIP Last 300")
    assert history.bars(EUR, wanted("1d", "1 M"), "", now) == Refusal(
        162, f"{head} EUR/CASH@FXSUBPIP Last 1d"
    )
    assert history.bars(SPX, wanted("30m", "1 D", "BID"), "", now) == Refusal(
        162, f"{head} SPX/IND@CBOE Bid 1800"
    )
    assert history.head(SPX, "MIDPOINT", True, "CBOE") == Refusal(162, f"{head} SPX/IND@CBOE MidPoint 0")
    middle = bars(wanted("1h", "1 D", "MIDPOINT"), now, EUR, history).bars
    bid = bars(wanted("1h", "1 D", "BID"), now, EUR, history).bars
    assert all(b.close < m.close for b, m in zip(bid, middle, strict=True))
    assert all(m.volume == "-1" for m in middle)


def test_bars_outside_the_session_need_all_hours():
    early = replace(MINUTES[:3], start=MINUTES.start[:3] - 3600 * SECOND)
    own = {
        name: np.concatenate([getattr(early, name), getattr(MINUTES, name)]) for name in ("start", "volume")
    }
    prices = {
        n: np.concatenate([getattr(early, n), getattr(MINUTES, n)]) for n in ("open", "high", "low", "close")
    }
    all_hours = replace(MINUTES, rth=False, **own, **prices)
    history, now = History(Tape({SPY.con_id: held_bars([all_hours])})), at("2020-12-07T22:00:00")
    assert len(bars(wanted("1m", "1 D", rth=False), now, history=history).bars) == 393
    assert len(bars(wanted("1m", "1 D", rth=True), now, history=history).bars) == 390


# ---------------------------------------------------------------- which texts
def test_dates_as_text_and_as_seconds():
    now = at("2020-12-18T22:00:00")
    text, seconds = (bars(wanted("1h", "1 D", format_date=f), now).bars for f in (1, 2))
    assert [b.date for b in text][:2] == ["20201218 09:30:00 US/Eastern", "20201218 10:00:00 US/Eastern"]
    assert [int(b.date) for b in seconds][:2] == [
        at("2020-12-18T14:30:00") // SECOND,
        at("2020-12-18T15:00:00") // SECOND,
    ]
    assert bars(wanted("1d", "1 D", format_date=2), now).bars[0].date == "20201218"
    in_utc = History(Tape({SPY.con_id: held_bars([MINUTES])}), zone="UTC")
    assert bars(wanted("1h", "1 D"), now, history=in_utc).bars[0].date == "20201218 14:30:00 UTC"


def test_each_exchange_tells_its_own_time():
    history, now = History(Tape({})), at("2021-06-02T15:00:00")
    assert bars(wanted("1h", "1 D"), now, TOYOTA, history).bars[0].date == "20210602 09:00:00 Japan"
    assert bars(wanted("1h", "1 D"), now, VOD, history).bars[0].date == "20210602 08:00:00 GB-Eire"


def test_whole_numbers_have_no_point():
    assert [number(v) for v in (1.0, -1.0, 0.5, 1e15)] == ["1", "-1", "0.5", "1000000000000000"]


def test_the_schedule_is_the_calendars():
    # 27 November 2020 was a half day in New York, the 26th a holiday.
    found = HISTORY.schedule(
        SPY, wanted("1d", "3 D", "SCHEDULE", end=at("2020-11-28T00:00:00")), at("2021-01-01T00:00:00")
    )
    assert isinstance(found, ScheduleAnswer)
    told = [(s.refDate, s.startDateTime, s.endDateTime) for s in found.sessions]
    assert told[1:] == [
        ("20201125", "20201125-09:30:00", "20201125-16:00:00"), ("20201127", "20201127-09:30:00", "20201127-13:00:00"),
    ]  # fmt: skip
    assert (found.zone, found.start) == ("US/Eastern", "20201124-09:30:00")


def test_the_head_is_the_first_bars_begin():
    assert HISTORY.head(SPY, "TRADES", True, "") == int(MINUTES.start[0])
    daily = replace(MINUTES.resample("1d"), what="TRADES")
    assert History(Tape({SPY.con_id: held_bars([daily])})).head(SPY, "BID", True, "") == int(MINUTES.start[0])


# ---------------------------------------------------------------- live
def test_updates_grow_into_the_finished_bar():
    begin = at("2020-12-16T15:00:00")
    request = wanted("1m", "1 D", live=True)
    row = int(np.searchsorted(MINUTES.start, begin))
    high = 0.0
    for second in range(60):
        update = HISTORY.latest(SPY, request, begin + second * SECOND)
        assert update is not None
        assert (update.date, update.open) == ("20201216 10:00:00 US/Eastern", MINUTES.open[row])
        high = max(high, update.high)
        assert update.high == high
    finished = bars(request, begin + 60 * SECOND).bars[-2]
    assert (finished.high, finished.close, finished.volume) == (update.high, update.close, update.volume)
    assert finished.close == MINUTES.close[row]


def test_five_second_bars_add_up_to_the_minute():
    begin = at("2020-12-16T15:00:00")
    row = int(np.searchsorted(MINUTES.start, begin))
    found = [HISTORY.live_bar(SPY, "TRADES", begin + k * 5 * SECOND) for k in range(1, 13)]
    parts = [b for b in found if b is not None]
    assert len(parts) == 12
    assert (parts[0].open, parts[-1].close) == (MINUTES.open[row], MINUTES.close[row])
    assert (max(b.high for b in parts), min(b.low for b in parts)) == (MINUTES.high[row], MINUTES.low[row])
    assert sum(b.volume for b in parts) == MINUTES.volume[row]
    assert all(b.low <= b.wap <= b.high for b in parts)


def test_no_live_bar_while_the_market_is_closed_and_no_volume_of_quotes():
    assert HISTORY.live_bar(SPY, "TRADES", at("2020-12-16T23:00:00")) is None
    found = HISTORY.live_bar(SPY, "ASK", at("2020-12-16T15:00:05"))
    assert isinstance(found, LiveBar)
    assert (found.volume, found.wap, found.trades) == (-1.0, -1.0, -1)


# ---------------------------------------------------------------- whole catalogue, the store
def test_made_up_bars_do_not_depend_on_what_was_asked_before():
    now = at("2024-07-03T15:30:00")
    one, other = History(Tape({}, seed=1)), History(Tape({}, seed=1))
    for listing in (known(265598), EUR, SPX, TOYOTA, known(980_202_409)):
        what = base_of(listing)
        first = bars(wanted("1h", "1 D", what), now, listing, one).bars
        bars(wanted("1d", "1 Y", what), now, listing, other)
        assert first == bars(wanted("1h", "1 D", what), now, listing, other).bars


@given(
    st.integers(0, 11 * 86_400),
    st.sampled_from(["1 D", "3 D", "1 W", "60 S", "3600 S"]),
    st.sampled_from(["1m", "15m", "1h", "1d"]),
)
def test_no_answer_shows_what_the_present_does_not_know(offset, duration, size):
    now = at("2020-12-07T15:00:00") + offset * SECOND
    found = HISTORY.bars(SPY, wanted(size, duration, format_date=2), "", now)
    assert isinstance(found, BarAnswer)
    over = MINUTES[: int(np.sum(MINUTES.end <= now))]
    whole: Bars = MINUTES[: len(over) + 1]
    assert max(b.high for b in found.bars) <= np.max(whole.high)
    if size != "1d":
        assert int(found.bars[-1].date) * SECOND <= now
    begun = int(np.sum(MINUTES.start <= now))
    total = float(np.sum(MINUTES.volume[:begun]))
    assert sum(float(b.volume) for b in found.bars) <= total


def test_the_committed_sample_is_served_as_it_is():
    store = Store("data")
    series = [s for s in store.series() if s.sample]
    catalogue = Catalogue([s.instrument for s in series])
    history = History(Tape(stored(store, catalogue, series)))
    spy = catalogue.get(756733)
    assert spy is not None
    assert "stored" in spy.described
    minutes = next(store.read(s) for s in series if s.symbol == "SPY" and s.bar.name == "1m")
    found = bars(wanted("1m", "4 D"), at("2020-12-19T00:00:00"), spy, history).bars
    assert [b.close for b in found] == minutes.close.tolist()
    daily = bars(wanted("1d", "2 Y"), at("2019-01-01T00:00:00"), spy, history).bars
    assert len(daily) == 502


def test_made_up_days_go_on_after_the_last_stored_one() -> None:
    store = Store("data")
    tws = simulated(store)
    spy = tws.catalogue.get(756733)
    assert spy is not None
    minutes = next(store.read(s) for s in store.series() if s.symbol == "SPY" and s.bar.name == "1m")
    found = bars(wanted("1m", "2 D"), at("2020-12-22T00:00:00"), spy, tws.history).bars
    days = [b.date[:8] for b in found]
    assert set(days) == {"20201218", "20201221"}
    stored_ones = [b.close for b, day in zip(found, days, strict=True) if day == "20201218"]
    assert stored_ones == minutes.close[-len(stored_ones) :].tolist()
    assert found[-1].close == pytest.approx(float(minutes.close[-1]), rel=0.1)
    before = tws.history.bars(spy, wanted("1m", "2 D"), "SMART", at("2015-12-22T00:00:00"))
    assert isinstance(before, Refusal)  # before and between stored series nothing is made up


def test_what_a_simulated_tws_gave_out_is_never_served_again(tmp_path: Path) -> None:
    spy = SPY.instrument
    real, fed = (
        replace(synthetic("SPY", size, "2020-12-14", "2020-12-18"), instrument=spy, source=source)
        for size, source in (("1d", "ib"), ("1m", "simulated"))
    )
    only = replace(synthetic("ZZZ", "1d", "2020-12-14", "2020-12-18"), source="simulated")
    store = Store(tmp_path)
    for bars in (fed, only, real):
        store.write(bars, {"kind": "test", "at": "2026-01-01T00:00:00+00:00"})
    assert [s.source for s in served(store)] == ["ib"]
    tws = simulated(store)
    assert all(h.bar.name == "1d" for h in tws.tape.series(SPY))  # the stored one, and days made up after it
    assert [x.symbol for x in tws.catalogue if x.stored] == ["SPY"]
    assert not tws.catalogue.search("ZZZ")
