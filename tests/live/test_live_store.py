"""The store's duties to backtrader, the time it keeps, and bars that grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_tws import TODAY, flying

import quant as q
from quant.core.barsize import SECOND
from quant.errors import CannotConnect, NotConnected, ParameterError, UnknownContract
from quant.ib.session import Session
from quant.live import Store
from quant.live.bars.growing import GrowingBars
from quant.live.bars.pieces import Row
from quant.live.clock import IbClock
from quant.oms.desk.setup import Alarm, Link
from quant.tws.faults import Do, Fault


class Broker:
    """Keeps what the store tells it."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.flushed = 0
        self.offsets: list[float] = []

    def flush(self) -> None:
        self.flushed += 1

    def on_link(self, event: Link) -> None:
        self.links.append(event)

    def on_clock(self, offset_s: float) -> None:
        self.offsets.append(offset_s)

    def alarms(self) -> list[Alarm]:
        return [Alarm(0, "look here")] if self.flushed == 1 else []


def test_start_and_stop_are_idempotent(tmp_path: Path) -> None:
    with flying() as port:
        store = Store(port=port, data=tmp_path)
        for how in ({}, {"data": None}, {"broker": object()}):
            store.start(**how)
        assert store.account == "DU1234567"
        assert store.clock_offset_s is not None
        store.stop()
        store.stop()
        with pytest.raises(NotConnected, match="make a new one"):
            store.start()


def test_a_session_that_was_given_stays_open(tmp_path: Path) -> None:
    with flying() as port, Session(port=port, client_id=5) as session:
        session.connect()
        store = Store(session=session, data=tmp_path)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        store.start()
        assert len(feed.incoming.bars) >= 150
        store.stop()
        assert session.state.value == "ready"
        assert store.pump() is False


def test_nothing_there_is_told_with_its_mend(tmp_path: Path) -> None:
    store = Store(port=1, data=tmp_path)
    with pytest.raises(CannotConnect):
        store.start()


def test_account_and_contract_must_be_there(tmp_path: Path) -> None:
    with flying() as port:
        with pytest.raises(ParameterError, match="logged in to DU1234567"):
            Store(port=port, account="U7654321", data=tmp_path).start()
        store = Store(port=port, client_id=2, data=tmp_path)
        store.data("NOSUCHTHING", bar="1m")
        with pytest.raises(UnknownContract):
            store.start()
        with pytest.raises(ParameterError, match="before the store is started"):
            store.data("SPY", bar="1m")


def test_the_broker_is_told_of_the_link_and_asked_to_send(tmp_path: Path) -> None:
    faults = [
        Fault(Do.SAY, on="CurrentTimeRequest", skip=2, code=1100, text="lost"),
        Fault(Do.SAY, on="CurrentTimeRequest", skip=3, code=1102, text="back"),
    ]
    with flying(faults) as port:
        store, broker = Store(port=port, data=tmp_path), Broker()
        store.attach(broker)
        store.start()
        assert broker.links == [Link.UP]
        store._measure_at = 1e18  # so that nobody else asks for the time
        for wanted in (2, 3):
            store.session.tell("the time", lambda c: c.reqCurrentTime())
            for _ in range(50):
                if len(broker.links) < wanted:
                    store.pump(0.1)
        assert broker.links[:3] == [Link.UP, Link.CUT, Link.BACK]
        told = store.get_notifications()
        assert broker.flushed == 1
        assert [args for msg, args, _ in told if msg == "alarm"] == [(Alarm(0, "look here"),)]
        assert store.get_notifications() == []
        assert store.getbroker() is broker
        store.stop()
        assert broker.links[-1] is Link.LOST


def test_reports_stay_for_the_broker(tmp_path: Path) -> None:
    with flying() as port:
        store = Store(port=port, data=tmp_path)
        store.start()
        taken: list[Any] = []
        store.orders.reports = lambda: taken.append(1) or []  # type: ignore[method-assign, func-returns-value]
        for _ in range(3):
            store.pump()
        assert taken == []
        store.stop()


# ---------------------------------------------------------------- IB's time
def test_ibs_time_follows_what_tws_tells_and_never_goes_back() -> None:
    passed = [100.0]
    clock = IbClock(wall=lambda: 5000 * SECOND, monotonic=lambda: passed[0])
    assert clock() == 5000 * SECOND
    clock.told(2000 * SECOND)
    passed[0] += 10.5
    assert clock() == 2010 * SECOND + SECOND // 2
    assert clock.offset_s == 3000.0
    clock.told(2010 * SECOND)  # whole seconds: not earlier than we think
    assert clock() == 2010 * SECOND + SECOND // 2
    clock.told(2100 * SECOND)  # this machine slept
    assert clock() == 2100 * SECOND
    clock.told(2050 * SECOND)  # it ran too fast
    passed[0] += 10.0
    assert clock() == 2100 * SECOND
    passed[0] += 45.0
    assert clock() == 2105 * SECOND


def test_a_bar_that_has_ended_moves_the_time_on() -> None:
    clock = IbClock(wall=lambda: 0, monotonic=lambda: 1.0)
    clock.saw(5 * SECOND)
    assert clock() == 0
    clock.told(2000 * SECOND)
    clock.saw(2003 * SECOND)
    assert clock() == 2003 * SECOND
    clock.saw(1990 * SECOND)
    assert clock() == 2003 * SECOND


# ---------------------------------------------------------------- bars that grow
@pytest.mark.parametrize(("size", "held"), [("1m", 0), ("1m", 1), ("1m", 700), ("1h", 3), ("1d", 3)])
def test_grown_bars_are_the_bars(size: str, held: int) -> None:
    first = "2024-11-27" if size == "1m" else "2024-10-28"  # with a half day; before clocks go back
    whole = q.synthetic("SPY", size, first, "2024-12-03", seed=3)
    growing = GrowingBars(whole[:held], whole.calendar)
    before = growing.upto(held)
    rows = zip(
        *(getattr(whole, n).tolist() for n in ("start", "open", "high", "low", "close", "volume")),
        strict=True,
    )
    for n, row in enumerate(rows):
        if n >= held:
            assert growing.append(Row(*row)) == whole.end[n]
    grown = growing.upto(len(whole))
    assert grown.fingerprint == whole.fingerprint
    for name in ("end", "session", "minutes_to_close"):
        assert np.array_equal(getattr(grown, name), getattr(whole, name))
    assert len(before) == held
    assert growing.row(5).start == whole.start[5]
