"""Bars that backtrader makes of live ones, by `resampledata` and `replaydata` of a feed that is there already too.

What is right is what stock backtrader makes of the same bars from a DataFrame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from live_tws import NOON, TODAY, flying

import quant as q
from quant.core.barsize import MINUTE, SECOND
from quant.live import LiveFeed, Store

PATIENT = 1200.0  # seconds of the flying clock
LINES = ("datetime", "open", "high", "low", "close", "volume")
Row = tuple[tuple[float, ...], ...]


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else trades on this machine is no matter of these tests."""
    monkeypatch.setattr("quant.oms.journal.locks.lock_folder", lambda: tmp_path / "locks")


class Sees(bt.Strategy):  # type: ignore[misc]  # backtrader has no types
    """Keeps all bars of each step, and buys once on live ones; ends after so many steps with live bars of all feeds."""

    params = dict(live=(), steps=8, trade=False)

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.live = 0
        self.told: list[str] = []

    def notify_order(self, order: bt.Order) -> None:
        self.told.append(order.getstatusname())

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        self.rows.append(tuple(shown(d) for d in self.datas))
        if self.p.trade and self.p.live[0].is_newest and not self.position and len(self.data):
            self.buy(size=1)
        self.live += bool(self.p.live) and all(feed.is_newest for feed in self.p.live)
        if self.p.live and self.live >= self.p.steps:
            self.env.runstop()


def shown(data: Any) -> tuple[float, ...]:
    return (len(data), *(float(getattr(data, name)[0]) for name in LINES)) if len(data) else (0,)


def build(feeds: Sequence[Any], words: str) -> bt.Cerebro:
    """words: `+0` adds feed 0, `5r0` resamples it to five minutes, `5p0` replays it, `Dr0` makes days."""
    cerebro = bt.Cerebro(stdstats=False)
    for word in words.split():
        feed, how = feeds[int(word[-1])], word[-2]
        if how == "+":
            cerebro.adddata(feed)
        else:
            make = cerebro.resampledata if how == "r" else cerebro.replaydata
            days = {"timeframe": bt.TimeFrame.Days}
            size = word[:-2]
            make(
                feed, **days if size == "D" else {"timeframe": bt.TimeFrame.Minutes, "compression": int(size)}
            )
    return cerebro


def lived(feeds: Sequence[LiveFeed], words: str, broker: Any = None, steps: int = 8) -> Sees:
    cerebro = build(feeds, words)
    if broker is not None:
        cerebro.setbroker(broker)
    cerebro.addstrategy(Sees, live=feeds, trade=broker is not None, steps=steps)
    (found,) = cerebro.run()
    assert isinstance(found, Sees)
    return found


def backtested(feeds: Sequence[LiveFeed], words: str) -> Sees:
    cerebro = build([as_pandas(feed.bars) for feed in feeds], words)
    cerebro.addstrategy(Sees)
    (found,) = cerebro.run()
    assert isinstance(found, Sees)
    return found


def as_pandas(bars: q.Bars) -> Any:
    frame = bars.frame("end").tz_localize(None)
    minutes = bars.bar.ns // MINUTE
    return bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=minutes)


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        ("1m", "+0 5r0 15p0"),
        ("1m", "5p0 15r0 7r0"),
        ("1m", "+0 +1 5r0 5p1 60r1"),
        ("1m", "5r0 +1"),
        ("5m", "+0 +1 15r0 15p0"),
    ],
)
def test_each_step_is_that_of_a_backtest(tmp_path: Path, bar: str, words: str) -> None:
    with flying() as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        names = [("SPY", "1m"), ("MSFT", bar)][: 1 + any(word[-1] == "1" for word in words.split())]
        feeds = [store.data(symbol, bar=size, history_start=TODAY) for symbol, size in names]
        found = lived(feeds, words, store.getbroker("mine", capital=10_000.0))
    assert "Completed" in found.told or "Accepted" in found.told or "Rejected" in found.told
    assert len(found.rows) > 30
    assert found.rows == backtested(feeds, words).rows[: len(found.rows)]


def made(found: Sees, number: int) -> dict[float, tuple[float, ...]]:
    """The bars of a feed by time, as they were last."""
    return {row[number][1]: row[number][2:] for row in found.rows if len(row[number]) > 1}


@pytest.mark.parametrize("words", ["+0 +1 5r0 5r1", "5r0 +1", "+1 5r0 10r0", "+0 +1 5p0 15r1"])
def test_a_bar_is_whole_where_feeds_lack_minutes(tmp_path: Path, words: str) -> None:
    """There stock's clones lose bars in a backtest of several feeds; each is held against a backtest of its own."""
    with flying() as port:
        probe = Store(port=port, data=tmp_path, client_id=7, gap_wait_s=PATIENT)
        whole = [probe.data(symbol, bar="1m", history_start=TODAY) for symbol in ("SPY", "MSFT")]
        probe.start()
        held = [feed.incoming.bars.upto(len(feed.incoming.bars)) for feed in whole]
        probe.stop()
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feeds = [store.data(b.symbol, bar="1m", history=holed(b, seed)) for seed, b in enumerate(held)]
        found = lived(feeds, words)
    for number, word in enumerate(words.split()):
        assert_as_alone(found, number, feeds, word)


def assert_as_alone(found: Sees, number: int, feeds: Sequence[LiveFeed], word: str) -> None:
    alone = made(backtested(feeds, word), 0)
    bars = made(found, number)
    assert len(bars) >= 10
    last = max(bars)  # a replayed one may not be over
    assert {at: b for at, b in bars.items() if at < last} == {at: b for at, b in alone.items() if at < last}


def holed(bars: q.Bars, seed: int) -> q.Bars:
    """Without some bars, but for the newest."""
    keep = np.random.default_rng(seed).random(len(bars)) > 0.2
    keep[-3:] = True
    return rows_of(bars, keep)


def rows_of(bars: q.Bars, rows: Any) -> q.Bars:
    return replace(bars, **{name: getattr(bars, name)[rows] for name in ("start", *LINES[1:])})


def test_feeds_on_two_clocks_keep_their_bars(tmp_path: Path) -> None:
    """The same moment is 9:31 in New York and 15:31 in Frankfurt: backtrader takes these one after the other."""
    with flying(start=NOON - 90 * MINUTE) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        sap = store.data("SAP", bar="1m", history_start=TODAY, exchange="IBIS", currency="EUR")
        feeds = [store.data("SPY", bar="1m", history_start=TODAY), sap]
        found = lived(feeds, "+0 +1 5r0 5r1")
    for number, word in enumerate(["+0", "+1", "5r0", "5r1"]):
        assert_as_alone(found, number, feeds, word)


def test_a_day_without_its_last_bar_is_no_part_of_the_next(tmp_path: Path) -> None:
    """Another feed's bar of the close does not end it, and must not keep the next day from ending it."""
    with flying() as port:
        probe = Store(port=port, data=tmp_path, client_id=7, gap_wait_s=PATIENT)
        whole = [probe.data(symbol, bar="1m", history_start="2024-05-14") for symbol in ("SPY", "MSFT")]
        probe.start()
        held = [feed.incoming.bars.upto(len(feed.incoming.bars)) for feed in whole]
        probe.stop()
        first = int((held[1].session == np.datetime64("2024-05-14")).sum())
        lacks = np.delete(np.arange(len(held[1])), first - 1)
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feeds = [
            store.data("SPY", bar="1m", history=held[0]),
            store.data("MSFT", bar="1m", history=rows_of(held[1], lacks)),
        ]
        found = lived(feeds, "+0 +1 Dr1", steps=2)
    (day,) = made(found, 2).values()
    own = held[1][: first - 1]
    wanted = own.open[0], own.high.max(), own.low.min(), own.close[-1], own.volume.sum()
    assert day == wanted


class Daily(bt.Strategy):  # type: ignore[misc]
    """Keeps when each day came, and whether it was live; ends with the live bar of the close."""

    params = dict(close="")

    def __init__(self) -> None:
        self.days: dict[int, tuple[str, str, bool]] = {}

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        fine, day = self.datas
        if len(day) and len(day) not in self.days:
            times = [str(pd.Timestamp(d.datetime.datetime(0)).round("s")) for d in (fine, day)]
            self.days[len(day)] = times[0], times[1], day.is_newest
        if fine.is_newest and str(fine.datetime.time(0)) == self.p.close:
            self.env.runstop()


@pytest.mark.parametrize(
    ("begin", "first", "close"),
    [("2024-05-15 19:54", "2024-05-14", "16:00:00"), ("2024-07-03 16:54", "2024-07-02", "13:00:00")],
)
def test_a_day_comes_live_with_its_close(tmp_path: Path, begin: str, first: str, close: str) -> None:
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    with flying(start=int(start.timestamp()) * SECOND, speed=120.0) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=first)
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(feed)
        cerebro.resampledata(feed, timeframe=bt.TimeFrame.Days)
        cerebro.addstrategy(Daily, close=close)
        (found,) = cerebro.run()
    days = list(found.days.values())
    assert [day[0] for day in days] == [day[1] for day in days]
    assert days[-1] == (f"{begin[:10]} {close}",) * 2 + (True,)
    assert days[0] == (f"{first} 16:00:00",) * 2 + (False,)
