"""A stock backtrader script with PandasData and the same script with q.feed: equal to the last bit."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from backtrader.utils.dateintern import date2num
from hypothesis import given
from hypothesis import strategies as st

import quant as q
from quant.backtest.feed import numbers
from quant.core.barsize import bar_size
from quant.errors import BarsError, ParameterError

ANALYZERS = ("SharpeRatio", "TimeReturn", "TradeAnalyzer", "DrawDown", "Returns", "SQN", "Transactions")
Feed = Callable[[], Any]


def bits(value: float) -> bytes:
    return struct.pack("d", value)


class Script(bt.Strategy):  # type: ignore[misc]
    """What a user writes: indicators, a bracket, a limit entry, a stop, a closing market order."""

    params = (("fast", 3), ("slow", 8))

    def __init__(self) -> None:
        fast = bt.indicators.EMA(self.data.close, period=self.p.fast)
        slow = bt.indicators.SMA(self.data.close, period=self.p.slow)
        self.cross = bt.indicators.CrossOver(fast, slow)
        self.atr = bt.indicators.ATR(self.data, period=5)
        self.seen: list[Any] = []
        self.account: list[tuple[bytes, bytes, bytes]] = []

    def notify_order(self, order: bt.Order) -> None:
        executed = order.executed
        done = [(b.size, bits(b.price), bits(b.comm)) for b in executed.exbits]
        self.seen.append((len(self), order.getstatusname(), order.ordtypename(), order.getordername(), done))

    def next(self) -> None:
        self.account.append((bits(self.broker.getcash()), bits(self.broker.getvalue()), bits(self.cross[0])))
        close, wide = self.data.close[0], 2 * self.atr[0]
        if self.cross[0] > 0 and not self.position:
            self.buy_bracket(
                size=50, exectype=bt.Order.Market, stopprice=close - wide, limitprice=close + wide
            )
        elif self.cross[0] < 0 and not self.position:
            self.sell(size=20, exectype=bt.Order.Limit, price=close + 0.1, valid=timedelta(days=3))
        elif self.position.size < 0 and len(self) % 7 == 0:
            self.buy(size=20, exectype=bt.Order.Stop, price=close + wide / 4)
        elif self.position and len(self) % 31 == 0:
            self.close()


def analysis(value: Any) -> Any:
    """Plain and comparable to the bit; keys without their clock, for the two feeds may stamp differently."""
    if isinstance(value, dict):
        return [(str(k) if isinstance(k, str) else "", analysis(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [analysis(v) for v in value]
    return bits(value) if isinstance(value, float) else value


def outcome(feed: Any, **kwargs: Any) -> tuple[Any, ...]:
    cerebro = bt.Cerebro(**kwargs)
    cerebro.adddata(feed)
    cerebro.addstrategy(Script)
    cerebro.broker.setcommission(commission=0.0005)
    for name in ANALYZERS:
        cerebro.addanalyzer(getattr(bt.analyzers, name), _name=name)
    run = cerebro.run()[0]
    found = {n: analysis(getattr(run.analyzers, n).get_analysis()) for n in ANALYZERS}
    return run.seen, run.account, found


def pandas_feed(bars: q.Bars, index: str = "start") -> Any:
    frame = bars.frame("end" if index == "end" else "start")
    frame.index = frame.index.tz_localize(None)
    timeframe = {"d": bt.TimeFrame.Days, "m": bt.TimeFrame.Minutes, "h": bt.TimeFrame.Minutes}[bars.bar.unit]
    return bt.feeds.PandasData(
        dataname=frame, timeframe=timeframe, compression=60 if bars.bar.unit == "h" else 1, name=bars.symbol
    )


@pytest.mark.parametrize("runonce", [True, False])
@pytest.mark.parametrize("stamp", ["start", "end"])
@pytest.mark.parametrize("sample", ["daily", "minutes", "hourly"])
def test_a_stock_script_prints_the_same(
    sample: str, stamp: Any, runonce: bool, request: pytest.FixtureRequest
) -> None:
    bars: q.Bars = request.getfixturevalue(sample)
    theirs = outcome(pandas_feed(bars), runonce=runonce)
    ours = outcome(q.feed(bars, stamp=stamp), runonce=runonce)
    assert len(theirs[0]) > 30
    assert ours == theirs


@pytest.mark.parametrize("sample", ["daily", "minutes", "hourly"])
@pytest.mark.parametrize("stamp", ["start", "end"])
def test_datetimes_are_those_of_pandas_data_to_the_bit(
    sample: str, stamp: Any, request: pytest.FixtureRequest
) -> None:
    bars: q.Bars = request.getfixturevalue(sample)
    stamps = []
    for feed in (pandas_feed(bars, stamp), q.feed(bars, stamp=stamp)):
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(feed)
        cerebro.addstrategy(bt.Strategy)
        cerebro.run()
        stamps.append([bits(v) for v in feed.datetime.array])
    assert stamps[0] == stamps[1]


@given(
    st.lists(
        st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)) | st.builds(  # noqa: DTZ001
            lambda d: datetime(d.year, d.month, d.day, 23, 59, 59, 999990),  # noqa: DTZ001
            st.dates(datetime(1971, 1, 1).date(), datetime(2200, 1, 1).date()),  # noqa: DTZ001
        ),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_numbers_are_backtraders_to_the_bit(moments: list[datetime]) -> None:
    ns = np.array([np.datetime64(m, "us") for m in moments]).astype("datetime64[ns]").view(np.int64)
    assert [bits(v) for v in numbers(ns)] == [bits(date2num(m)) for m in moments]
    below = numbers(ns + 999)  # nanoseconds are cut off, not rounded up
    assert [bits(v) for v in below] == [bits(date2num(m)) for m in moments]


@pytest.mark.parametrize(("tz", "hour"), [("exchange", 16), ("UTC", 21), ("Asia/Tokyo", 6)])
def test_the_clock_is_the_one_that_was_asked_for(daily: q.Bars, tz: str, hour: int) -> None:
    # 2 January, winter: New York closes at 16:00, 21:00 in UTC, 06:00 in Tokyo.
    assert bt.num2date(q.feed(daily, tz=tz).p.stamps[0]).hour == hour


def fall_back_night() -> q.Bars:
    """Hourly bars round the clock over 2020-11-01, when New York's 01:00 comes twice."""
    start = np.arange(48) * 3_600_000_000_000 + np.datetime64("2020-10-31T12:00", "ns").astype(np.int64)
    price = 100.0 + np.arange(48) % 5
    instrument = q.Instrument("BTC", timezone="America/New_York")
    return q.Bars(instrument, bar_size("1h"), start, price, price + 1, price - 1, price, price)


@pytest.mark.parametrize("stamp", ["start", "end"])
def test_a_clock_that_goes_back_is_refused(stamp: Any) -> None:
    with pytest.raises(BarsError, match=r"America/New_York goes back .*UTC"):
        q.feed(fall_back_night(), stamp=stamp)
    assert len(q.feed(fall_back_night(), stamp=stamp, tz="UTC").p.stamps) == 48


def test_a_backtest_over_that_night_runs_on_utc() -> None:
    class Hold(q.Strategy):
        @staticmethod
        def signals(bars: q.Bars, p: Any) -> Any:
            return np.ones(len(bars))

    run = q.backtest(Hold, fall_back_night(), costs="none", sizing="shares:1", save=False)
    assert len(run.equity) == 48
    assert run.equity.index.is_monotonic_increasing


def test_unknown_stamps_and_zones_are_refused(daily: q.Bars) -> None:
    with pytest.raises(ParameterError, match="stamp = 'middle'"):
        q.feed(daily, stamp="middle")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="Mars/Phobos"):
        q.feed(daily, tz="Mars/Phobos")


def loaded(feed: Any) -> list[float]:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(bt.Strategy)
    cerebro.run()
    return list(feed.close.array)


def test_fromdate_and_todate_cut_as_in_pandas_data(daily: q.Bars) -> None:
    cut = {"fromdate": datetime(2020, 3, 2), "todate": datetime(2020, 4, 1)}  # noqa: DTZ001
    frame = daily.frame()
    theirs = loaded(bt.feeds.PandasData(dataname=frame, **cut))
    assert loaded(q.feed(daily, stamp="start", **cut)) == theirs
    assert theirs == list(frame.loc["2020-03-02":"2020-04-01", "close"])


def test_resampledata_over_the_feed_equals_pandas_data(minutes: q.Bars) -> None:
    rows = []
    for feed in (pandas_feed(minutes, "end"), q.feed(minutes)):
        cerebro = bt.Cerebro(stdstats=False)
        coarse = cerebro.resampledata(feed, timeframe=bt.TimeFrame.Minutes, compression=15)
        cerebro.addstrategy(bt.Strategy)
        cerebro.run()
        rows.append(
            [list(getattr(coarse, n).array) for n in ("datetime", "open", "high", "low", "close", "volume")]
        )
    assert rows[0] == rows[1]
    # 26 quarters a session; the values are those of our own resample.
    assert rows[1][4] == list(minutes.resample("15m").close)


def test_the_same_bars_and_the_same_feed_serve_two_cerebros(daily: q.Bars) -> None:
    feed = q.feed(daily)
    first, again, another = outcome(feed), outcome(feed), outcome(q.feed(daily))
    assert first == again == another


def test_the_feeds_name_and_timeframe_are_the_bars(minutes: q.Bars, hourly: q.Bars) -> None:
    assert q.feed(minutes).p.name == "MMM"
    assert q.feed(minutes, name="other").p.name == "other"
    feed = q.feed(hourly)
    assert (feed.p.timeframe, feed.p.compression) == (bt.TimeFrame.Minutes, 60)


def test_first_stamp_is_the_end_in_exchange_time(minutes: q.Bars) -> None:
    feed = q.feed(minutes)
    assert bt.num2date(feed.p.stamps[0]) == datetime(2020, 1, 2, 9, 31)  # noqa: DTZ001
    assert pd.Timestamp(int(minutes.end[0]), tz=UTC) == pd.Timestamp("2020-01-02 14:31", tz=UTC)
