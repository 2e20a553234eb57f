"""What was missed while the line was down comes from a slow history, or is told with its whole extent."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from live_tws import TODAY, delivered, flying, flying_clock, served, watch

from quant.core.barsize import MINUTE
from quant.ib import pacing
from quant.live import Store
from quant.live.run.view import lines
from quant.tws.faults import Do, Fault

SPEED = 120.0  # the session waits for a second before it connects again: two minutes here
BREAK = Fault(Do.RESET, on="RealTimeBarTick", skip=40)


@pytest.fixture(autouse=True)
def no_identical(monkeypatch: pytest.MonkeyPatch) -> None:
    """IB allows the same subscription again after 15 s only, which are seconds outside."""
    monkeypatch.setattr(pacing, "IDENTICAL_S", 0.0)


def test_a_slow_history_is_waited_for(tmp_path: Path) -> None:
    """Each answer takes four times as long as the feed waits for what lacks."""
    clock = flying_clock(speed=SPEED)
    slow = Fault(Do.LATE, on="HistoricalDataRequest", count=0, late_s=40.0)
    with flying([BREAK, slow], clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=10.0)
        feed = store.data("SPY", bar="1m", history_start=TODAY, qcheck=0.01)
        found = watch(feed, bars=8)
        truth, bars = served(port, feed), delivered(feed)
    assert "CONNBROKEN" in [status for _, status in found.told]
    assert [args for args in found.said if args[0] == "data_gap"] == []
    assert feed.gaps == []
    assert bars == [truth[b[0]] for b in bars]
    assert {two[0] - one[0] for one, two in pairwise(bars)} == {MINUTE}


def test_a_hole_that_history_refuses_is_told_with_its_whole_extent(tmp_path: Path) -> None:
    refused = Fault(Do.REFUSE, on="HistoricalDataRequest", skip=2, count=0, code=162, text="HMDS is down")
    clock = flying_clock(speed=SPEED)
    with flying([BREAK, refused], clock=clock) as port:
        store = Store(port=port, data=tmp_path, clock=clock.now, gap_wait_s=10.0)
        feed = store.data("SPY", bar="1m", history_start=TODAY, qcheck=0.01)
        found = watch(feed, bars=8)
        bars = delivered(feed)
    told = [args[2] for args in found.said if args[0] == "data_gap"]
    absent = set(range(bars[0][0], bars[-1][0], MINUTE)) - {b[0] for b in bars}
    assert absent
    assert list({gap.start: gap for gap in told}.values()) == feed.gaps  # one that grows is told again
    assert len({(gap.start, gap.end) for gap in told}) == len(told)
    assert [gap.bars for gap in feed.gaps] == [(gap.end - gap.start) // MINUTE for gap in feed.gaps]
    assert all(any(gap.start <= start < gap.end for gap in told) for start in absent)


def test_the_view_names_the_hole() -> None:
    feed = {
        "symbol": "SPY", "status": "LIVE", "bars": 20_000, "last": None, "position": 0, "wants": None, "halted": "",
        "gaps": 2, "gap": "no bars from 2024-05-15 14:29:00 to 2024-05-15 15:22:00 UTC (53 bars)",
    }  # fmt: skip
    seen = {
        "name": "macd-spy-1m", "mode": "paper", "account": "DU1", "strategy": "MacdCross", "params": {}, "bar": "1m",
        "time": "", "gate": "open", "connection": "ready", "capital": 1.0, "equity": 1.0, "cash": 1.0,
        "orders": [], "why": [], "notes": [], "feeds": [feed],
    }  # fmt: skip
    (shown,) = (line for line in lines(seen) if "SPY" in line)
    assert shown.endswith(f"; flat; {feed['gap']}, and 1 before")
    del feed["gap"]  # as a status of an earlier release
    (shown,) = (line for line in lines(seen) if "SPY" in line)
    assert shown.endswith("; flat; no bars in 2 stretches")
