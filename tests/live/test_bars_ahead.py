"""Bars of the data folder that end after IB's time: nobody sees them, nothing trades on them, and that is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from live_run import START, draft, filled, ledger, play, tws
from live_tws import NOON, TODAY, Watch, flying, watch

import quant as q
from quant.core.barsize import MINUTE, SECOND
from quant.live import Store
from quant.live.bars.past import ahead, over
from quant.live.run.view import moment
from quant.oms.reason import reason_of

LATER = 90 * MINUTE


class Clocked(Watch):
    """Notes how far each bar's END lies before IB's time when it is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.ages: list[int] = []

    def next(self) -> None:
        feed: Any = self.data
        self.ages.append(feed.p.store.clock() - int(feed.bars.end[-1]))
        super().next()


def test_a_plain_program_does_not_see_them(tmp_path: Path) -> None:
    with flying(start=NOON + LATER) as port:
        later = Store(port=port, data=tmp_path)
        later.data("SPY", "1m", history_start=TODAY)
        later.start()
        later.stop()
    with flying() as port:
        store = Store(port=port, data=tmp_path)
        found = watch(store.data("SPY", "1m", history_start=TODAY), kind=Clocked, bars=3)
    assert isinstance(found, Clocked)
    assert len(found.ages) > 100
    assert min(found.ages) >= 0
    told = [said for said in found.said if said[0] == "ahead"]
    assert len(told) == 1
    assert told[0][1] == "SPY"
    assert told[0][2].endswith("bring them in anew: quant data remove SPY --bar 1m --source simulated")
    assert not [said for said in found.said if said[0] == "odd_row"]


def test_a_runner_trades_on_none(data: Path) -> None:
    with tws(start=START + LATER) as port:
        play(draft(data, name="later"), port, data, lambda p: p["gate"] == "open")
    job = draft(data)
    with tws() as port:
        ended, told = play(job, port, data, filled(2))
    assert ended.code == 0, told
    assert len([line for line in told if "ahead: SPY" in line]) == 1, told
    assert not [line for line in told if "odd_row" in line]
    intents = ledger(data, job).intents
    assert len(intents) >= 2
    assert all(reason_of(i).bar <= i.at for i in intents)
    assert ended.picture["feeds"][0]["last"]["age_s"] >= 0.0


def test_what_is_over_stays_and_a_clock_that_is_a_second_behind_is_not_told() -> None:
    bars = q.synthetic("MMM", "5m", "2020-01-02", "2020-01-02", seed=4)
    at = int(bars.end[5])
    assert len(over(bars, at)) == 6
    assert len(over(bars, at - 1)) == 5
    assert len(over(bars[:0], at)) == 0
    assert ahead(bars[:6], at - SECOND) == ""
    assert ahead(bars[:6], at) == ""
    told = ahead(bars[:8], at)
    assert told.startswith(f"2 bars end after IB's time, {moment(at)}")
