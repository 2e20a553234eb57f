from dataclasses import replace

import numpy as np
import pytest

from quant.core.bars import COLUMNS
from quant.core.synthetic import synthetic
from quant.store import bars
from quant.store.quality import check


def found(x):
    return {f.code: f for f in check(x)}


def without(x, rows):
    keep = np.ones(len(x), dtype=bool)
    keep[rows] = False
    return replace(x, **{n: getattr(x, n)[keep] for n in ("start", *COLUMNS)})


def changed(x, **columns):
    """Return bars with single values changed: {column: {row: value}}."""
    new = {}
    for name, values in columns.items():
        new[name] = getattr(x, name).copy()
        for row, value in values.items():
            new[name][row] = value
    return replace(x, **new)


MINUTES = synthetic("ABC", "1m", "2020-11-23", "2020-11-30")
DAYS = synthetic("ABC", "1d", "2019-01-01", "2020-12-31")


@pytest.mark.parametrize("bar", ["1m", "5m", "30m", "1h", "4h", "1d", "1w", "1mo"])
@pytest.mark.parametrize("calendar", ["XNYS", "XHKG", "XASX", "CMES", "24/7"])
def test_complete_bars_have_no_findings(bar, calendar):
    # Over the changes of clocks, half days and holidays of all five.
    assert check(synthetic("ABC", bar, "2020-10-20", "2020-11-30", calendar=calendar)) == []


def test_missing_minutes_are_counted_and_named_in_exchange_time():
    # 27 November 2020 was a half day; its first minute is row 390 x 3 after Monday to Wednesday.
    f = found(without(MINUTES, [5, 390 * 3, 390 * 3 + 1]))["bars-missing"]
    assert f.count == 3
    assert "first: 2020-11-23 09:35:00, 2020-11-27 09:30:00, 2020-11-27 09:31:00" in f.message


def test_what_lies_before_the_first_and_after_the_last_bar_is_not_missing():
    assert check(MINUTES[100:-100]) == []


def test_a_missing_session_week_and_month():
    f = found(without(DAYS, [10]))["bars-missing"]
    assert (f.count, "2019-01-16" in f.message) == (1, True)  # the 11th session of 2019 in New York
    for bar, label in (("1w", "2019-02-11"), ("1mo", "2019-07-01")):
        x = synthetic("ABC", bar, "2019-01-01", "2020-12-31")
        f = found(without(x, [6]))["bars-missing"]
        assert (f.count, label in f.message) == (1, True)


def test_the_16_00_bars_of_the_sample_are_outside_the_session(pytestconfig):
    # The sample's notice: 4 sessions of 391 bars, 09:30 to 16:00, one after the close in each.
    f = check(bars("SPY", "1m", source="sample", data=pytestconfig.rootpath / "data"))
    assert [(x.code, x.count) for x in f] == [("bars-outside-session", 4)]
    assert "2020-12-15 16:00:00" in f[0].message


def test_a_bar_on_a_holiday_is_outside_the_session():
    start = DAYS.start.copy()
    start[0] = np.datetime64("2019-01-01", "ns").astype(np.int64)  # New Year's Day
    assert found(replace(DAYS, start=start))["bars-outside-session"].count == 1


def test_bars_of_all_hours_may_lie_outside():
    start = np.append(MINUTES.start, MINUTES.start[-1] + 60 * 10**9)
    columns = {n: np.append(getattr(MINUTES, n), getattr(MINUTES, n)[-1]) for n in COLUMNS}
    x = replace(MINUTES, start=start, **columns)
    assert "bars-outside-session" in found(x)
    assert "bars-outside-session" not in found(replace(x, rth=False))


def test_a_start_off_the_grid():
    start = MINUTES.start.copy()
    start[7] += 20 * 10**9
    f = found(replace(MINUTES, start=start))
    assert (f["bars-off-grid"].count, f["bars-missing"].count) == (1, 1)


def test_bars_of_another_size_than_said():
    five = MINUTES.resample("5m")
    assert found(replace(five, bar=MINUTES.bar))["bars-missing"].count > 1000
    assert found(replace(MINUTES, bar=five.bar))["bars-overlap"].count > 1000


def test_without_a_calendar_missing_cannot_be_told():
    x = replace(DAYS, instrument=replace(DAYS.instrument, calendar=None))
    assert [(f.code, f.level) for f in check(x)] == [("no-calendar", "note")]


def test_a_close_that_jumps_and_comes_back_is_a_spike():
    high = float(DAYS.close[100] * 2)
    f = found(changed(DAYS, close={100: high}, high={100: high}))["spike"]
    assert (f.count, str(DAYS.session[100]) in f.message) == (1, True)


def test_a_lone_low_is_a_spike():
    assert found(changed(DAYS, low={50: DAYS.low[50] / 3}))["spike"].count == 1


def test_a_move_that_stays_is_none():
    # A split that was not adjusted: half the price from row 100 on.
    half = {
        n: {r: getattr(DAYS, n)[r] / 2 for r in range(100, len(DAYS))}
        for n in ("open", "high", "low", "close")
    }
    assert "spike" not in found(changed(DAYS, **half))


def test_the_daily_samples_have_no_spike(pytestconfig):
    for symbol in ("MSFT", "SPY"):
        x = bars(symbol, "1d", source="sample", data=pytestconfig.rootpath / "data")
        assert {f.code for f in check(x)} <= {"volume-zero"}


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_prices_of_zero_or_below(value):
    assert found(changed(DAYS, low={9: value}))["price-not-positive"].count == 1


def test_volume_of_zero_is_a_note_and_below_a_warning():
    f = found(changed(DAYS, volume={1: 0.0, 2: 0.0, 3: -5.0}))
    assert (f["volume-zero"].count, f["volume-zero"].level) == (2, "note")
    assert (f["volume-negative"].count, f["volume-negative"].level) == (1, "warning")
    assert "volume-zero" not in found(replace(changed(DAYS, volume={1: 0.0}), what="MIDPOINT"))


def test_no_bars_are_a_finding():
    assert [f.code for f in check(DAYS[:0])] == ["no-bars"]


def test_nothing_is_changed():
    before = MINUTES.fingerprint
    check(MINUTES)
    assert replace(MINUTES).fingerprint == before
