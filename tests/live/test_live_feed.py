"""LiveFeed in plain backtrader programs, against the simulated TWS over loopback.

What is right is what that TWS serves as history afterwards; its own tests hold that against stored bars.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import backtrader as bt
import numpy as np
import pytest
from live_tws import NOON, TODAY, Watch, delivered, flying, flying_clock, served, statuses, watch

from quant.core.barsize import MINUTE, SECOND
from quant.errors import ParameterError
from quant.ib import pacing
from quant.live import Store
from quant.tws.faults import Do, Fault

BEGIN = ["CONNECTED", "DELAYED", "LIVE"]
PATIENT = 1200.0  # seconds of the flying clock that an answer may take: some seconds here, on a busy machine


@pytest.mark.parametrize(("bar", "source"), [("1m", "5s"), ("1m", "updates"), ("2m", "5s"), ("5s", "5s")])
def test_a_plain_program_sees_history_then_live_bars_as_history_has_them(
    tmp_path: Path, bar: str, source: str
) -> None:
    with flying(speed=60.0 if bar == "5s" else 300.0) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar=bar, history_start=TODAY, source=source)
        found = watch(feed)
        truth = served(port, feed, "3600 S" if bar == "5s" else "1 D")
        bars = delivered(feed)
    assert statuses(found) == BEGIN
    assert store.stopped
    assert len(bars) >= 74 + found.live  # the newest one at the start is live already
    known = [b for b in bars if b[0] in truth]
    assert len(known) > 60
    assert known == [truth[b[0]] for b in known]
    assert set(np.diff([b[0] for b in bars])) == {feed.bar.ns}
    assert feed.gaps == []


def test_the_program_ends_when_the_store_stops(tmp_path: Path) -> None:
    class Stops(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.told: list[int] = []

        def notify_data(self, data: bt.feed.DataBase, status: int, *args: object, **kwargs: object) -> None:
            self.told.append(status)

        def next(self) -> None:
            if self.data.live:
                self.data.p.store.stop()
                self.data.p.store.stop()

    with flying() as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        cerebro = bt.Cerebro()
        cerebro.adddata(store.data("SPY", bar="1m", history_start=TODAY))
        cerebro.addstrategy(Stops)
        (found,) = cerebro.run()
    assert found.told[-1] == bt.feed.DataBase.DISCONNECTED


def test_bars_of_one_end_come_in_one_step(tmp_path: Path) -> None:
    with flying() as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feeds = [
            store.data("SPY", bar="1m", history_start=TODAY, name="one"),
            store.data("SPY", bar="2m", history_start=TODAY, name="two"),
            store.data("AAPL", bar="1m", history_start=TODAY, name="apple"),
        ]
        found = watch(*feeds, bars=4)
    ends = [set(step.values()) for step in found.steps]
    assert all(len(e) == 1 for e in ends)
    order = [e.pop() for e in ends]
    assert order == sorted(set(order))
    for step, end in zip(found.steps, order, strict=True):
        assert "two" not in step or end % (2 * MINUTE) == 0
        assert set(step) >= ({"one", "apple", "two"} if end % (2 * MINUTE) == 0 else {"one", "apple"})


FAULTS = {
    "late": Fault(Do.LATE, on="RealTimeBarTick", skip=30, count=2, late_s=8.0),
    "very late": Fault(Do.LATE, on="RealTimeBarTick", skip=30, count=1, late_s=100.0),
    "twice": Fault(Do.REPEAT, on="RealTimeBarTick", skip=5, count=40),
    "lost": Fault(Do.LOSE, on="RealTimeBarTick", skip=5, count=0, chance=0.1),
    "a minute lost": Fault(Do.LOSE, on="RealTimeBarTick", skip=30, count=20),
    "older": Fault(Do.OLDER, on="RealTimeBarTick", skip=5, count=0, chance=0.3),
    "early": Fault(Do.PARTIAL, on="RealTimeBarTick", skip=5, count=0, chance=0.3),
    "revised": Fault(Do.REVISE, on="RealTimeBarTick", skip=5, count=0, chance=0.3),
    "zero": Fault(Do.ZERO, on="RealTimeBarTick", skip=5, count=0, chance=0.1, text="price"),
    "no volume": Fault(Do.ZERO, on="RealTimeBarTick", skip=5, count=0, chance=0.1, text="volume"),
    "hole in history": Fault(Do.GAP, on="HistoricalData", skip=1, count=1, size=3),
}


@pytest.mark.parametrize("row", FAULTS)
def test_faults_of_the_stream_change_no_bar(tmp_path: Path, row: str) -> None:
    clock = flying_clock()
    with flying([FAULTS[row]], clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(feed, bars=6)
        truth, bars = served(port, feed), delivered(feed)
    assert found.live == 6
    assert [b for b in bars if b != truth[b[0]]] == []
    assert set(np.diff([b[0] for b in bars])) == {MINUTE}


def test_a_hole_that_nobody_fills_is_told_before_the_next_bar(tmp_path: Path) -> None:
    faults = [
        Fault(Do.LOSE, on="RealTimeBarTick", skip=26, count=24),
        Fault(Do.REFUSE, on="HistoricalDataRequest", skip=2, count=0, code=162, text="HMDS is down"),
    ]
    clock = flying_clock()
    with flying(faults, clock=clock) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=10.0, clock=clock.now)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(feed, bars=8)
        bars = delivered(feed)
    gaps = feed.gaps
    told = [args[2] for args in found.said if args[0] == "data_gap"]
    assert list({gap.start: gap for gap in told}.values()) == gaps  # one that grows is told again
    assert all(one.end < two.start for one, two in pairwise(gaps))  # many bars in a row are one
    assert 2 <= sum((g.end - g.start) // MINUTE for g in gaps) <= 4  # two lost ones, two that lack pieces
    absent = set(range(bars[0][0], bars[-1][0], MINUTE)) - {b[0] for b in bars}
    assert all(any(g.start <= start < g.end for g in gaps) for start in absent)


@pytest.fixture
def no_identical(monkeypatch: pytest.MonkeyPatch) -> None:
    """IB allows the same subscription again after 15 s only, which are seconds outside."""
    monkeypatch.setattr(pacing, "IDENTICAL_S", 0.0)


@pytest.mark.usefixtures("no_identical")
@pytest.mark.parametrize("do", [Do.RESET, Do.CLOSE])
def test_after_a_break_what_was_missed_comes_first(tmp_path: Path, do: Do) -> None:
    clock = flying_clock(speed=120.0)
    with flying([Fault(do, on="RealTimeBarTick", skip=40)], clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(feed, bars=6)
        truth, bars = served(port, feed), delivered(feed)
    assert statuses(found) == [*BEGIN, "CONNBROKEN", *BEGIN]
    assert feed.gaps == []
    assert bars == [truth[b[0]] for b in bars]
    assert set(np.diff([b[0] for b in bars])) == {MINUTE}


@pytest.mark.usefixtures("no_identical")
def test_lost_link_of_tws_to_ib_is_a_break_too(tmp_path: Path) -> None:
    faults = [
        Fault(Do.SAY, on="RealTimeBarTick", skip=30, code=1100, text="lost"),
        Fault(Do.SAY, on="RealTimeBarTick", skip=50, code=1101, text="back, data lost"),
    ]
    clock = flying_clock()
    with flying(faults, clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(feed, bars=6)
        truth, bars = served(port, feed), delivered(feed)
    assert statuses(found) == [*BEGIN, "CONNBROKEN", *BEGIN]
    assert feed.gaps == []
    assert bars == [truth[b[0]] for b in bars]


def test_data_that_ib_refuses_end_the_feed_after_its_history(tmp_path: Path) -> None:
    refused = Fault(Do.REFUSE, on="RealTimeBarsRequest", count=0, code=354, text="not subscribed")
    with flying([refused]) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(feed)
    assert statuses(found) == ["CONNECTED", "DELAYED", "NOTSUBSCRIBED"]
    assert found.live == 0
    assert len(feed.bars) >= 150


def test_a_refused_feed_does_not_hold_back_the_others(tmp_path: Path) -> None:
    refused = Fault(Do.REFUSE, on="RealTimeBarsRequest", count=1, code=354, text="not subscribed")
    with flying([refused]) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        apple = store.data("AAPL", bar="1m", history_start=TODAY)
        spy = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(spy, apple, bars=3)
    assert found.live == 3
    assert statuses(found, "AAPL")[-1] == "NOTSUBSCRIBED"
    assert statuses(found) == BEGIN


@pytest.mark.parametrize("allowed", [False, True])
def test_delayed_data_are_not_live_unless_asked_for(tmp_path: Path, allowed: bool) -> None:
    """Rows that are minutes old, as IB's delayed ones; bars come by history then."""
    delayed = Fault(Do.LATE, on="HistoricalDataUpdate", count=0, late_s=400.0)

    class UntilDelayed(Watch):
        def next(self) -> None:
            super().next()
            if self.data.incoming.delayed and not self.data.waiting:  # of two at once the first is history
                told.append(self.data.live)
            if len(told) == 4:
                self.env.runstop()

    told: list[bool] = []
    clock = flying_clock()
    with flying([delayed], clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY, source="updates", delayed_ok=allowed)
        found = watch(feed, kind=UntilDelayed, bars=1000)
    assert any(args[0] == "delayed" for args in found.said)
    assert set(told) == ({True} if allowed else {False})


def test_data_that_were_delayed_for_a_while_are_live_again(tmp_path: Path) -> None:
    """Eight minutes' rows come minutes late; while they come among those that are on time, nobody can tell."""
    delayed = Fault(Do.LATE, on="RealTimeBarTick", count=100, late_s=400.0)

    class UntilLive(Watch):
        def next(self) -> None:
            super().next()
            was.append(self.data.incoming.delayed)
            after.append(self.data.is_newest and True in was and not was[-1])
            if sum(after) == 2:
                self.env.runstop()

    was: list[bool] = []
    after: list[bool] = []
    clock = flying_clock()
    with flying([delayed], clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        found = watch(feed, kind=UntilLive, bars=1000, until=NOON + 60 * MINUTE)
    assert sum(after) == 2, found.told
    said = [args[2] for args in found.said if args[0] == "delayed"]
    assert (said[0], said[-1]) == (
        "IB sends delayed data; orders wait for live data",
        "IB sends live data again",
    )


def test_days_come_after_the_close(tmp_path: Path) -> None:
    clock = flying_clock(NOON + 235 * MINUTE)
    with flying(clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1d", history_start="2024-05-01")
        found = watch(feed, bars=99, until=NOON + 240 * MINUTE)  # yesterday's is a live one until then
        bars = delivered(feed)
    assert statuses(found) == BEGIN
    assert str(feed.bars.session[-1]) == TODAY
    assert len(bars) == 11  # sessions from 1 to 15 May 2024, by the exchange's calendar
    assert feed.bars.end[-1] == NOON + 240 * MINUTE


def test_the_sessions_last_bar_closes_at_its_end(tmp_path: Path) -> None:
    clock = flying_clock(NOON + 230 * MINUTE)
    with flying(clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY, source="updates")
        found = watch(feed, bars=1000, until=NOON + 240 * MINUTE)
    assert found.steps[-1]["SPY"] == NOON + 240 * MINUTE
    assert float(feed.bars.minutes_to_close[-1]) == 0.0


def test_what_cannot_be_live_is_refused() -> None:
    store = Store()
    with pytest.raises(ParameterError, match="5 seconds"):
        store.data("SPY", bar="1s")
    with pytest.raises(ParameterError, match="source"):
        store.data("SPY", bar="1m", source="ticks")
    with pytest.raises(ParameterError, match="what"):
        store.data("SPY", bar="1m", what="ADJUSTED_LAST")


def test_a_second_is_not_lost_between_history_and_the_stream(tmp_path: Path) -> None:
    """Bars handed in end the day before: all of the present session is IB's to bring."""
    import quant as q

    before = q.synthetic("SPY", "1m", "2024-05-13", "2024-05-14", seed=1)
    with flying() as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history=before)
        watch(feed, bars=2)
        truth = served(port, feed)
        bars = delivered(feed)
    mine = [b for b in bars if b[0] >= NOON - 150 * MINUTE]
    assert mine == [truth[b[0]] for b in mine]
    assert mine[0][0] == NOON - 150 * MINUTE
    assert len(bars) == len(before) + len(mine)
    assert feed.con_id == feed.bars.instrument.con_id != 0
    assert not list((tmp_path / "bars").glob("**/*.parquet"))
    assert feed.bars.start[-1] % SECOND == 0
