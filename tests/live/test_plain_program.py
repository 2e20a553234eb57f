"""A plain backtrader program with store, feed and broker swapped: nobody but these looks after it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import pytest
from live_tws import TODAY, flying, watch

from quant.core.barsize import SECOND
from quant.errors import InstrumentBusy, QuantError
from quant.ib.download.run import run_pull
from quant.live import Store
from quant.live.plain import PROGRAM
from quant.live.run.control import JOURNAL
from quant.oms.journal.journal import Journal

PATIENT = 1200.0  # seconds of the flying clock


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else trades on this machine is no matter of these tests."""
    monkeypatch.setattr("quant.oms.journal.locks.lock_folder", lambda: tmp_path / "locks")


class Trader(bt.Strategy):  # type: ignore[misc]
    """Buys on live bars until that is filled; the first ones come before IB's books were read twice."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notify_order(self, order: bt.Order) -> None:
        self.told.append(order.getstatusname())
        if order.status == order.Completed or len(self.told) > 40:
            self.env.runstop()

    def next(self) -> None:
        if self.data.is_newest and "Completed" not in self.told:
            self.buy(size=3)


def test_it_trades_without_a_runner(tmp_path: Path) -> None:
    with flying(speed=60.0) as port:
        for held in (3, 6):  # the second program finds what the first one left
            store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
            feed = store.data("SPY", bar="30s", history_start=TODAY)
            cerebro = bt.Cerebro(stdstats=False)
            cerebro.setbroker(store.getbroker("mine", capital=10_000.0, limits={"max_notional": 5_000.0}))
            cerebro.adddata(feed)
            cerebro.addstrategy(Trader)
            (found,) = cerebro.run()
            assert found.told[-1] == "Completed", found.told
            assert found.position.size == held
    with Journal.open(
        tmp_path / "live" / "mine" / JOURNAL, deployment="mine", account="DU1234567", strategy_hash=PROGRAM
    ) as journal:
        assert len(journal.load().runs) == 2


def test_the_page_on_live_trading_shows_a_program_that_trades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
    (program,) = re.findall(r"```python\n(import backtrader as bt\n.*?)```", page, re.DOTALL)
    ended: list[Any] = []

    def once(self: Any, order: bt.Order) -> None:
        if order.status == order.Completed:
            ended.append(order.executed.size)
            self.env.runstop()

    monkeypatch.setattr(bt.Strategy, "notify_order", once)
    with flying(speed=120.0) as port:
        here = f"port={port}, data={str(tmp_path)!r}, gap_wait_s={PATIENT}"
        exec(program.replace("port=7497", here), {"__name__": "__main__"})  # noqa: S102  # our own page
    assert len(ended) == 1


@pytest.mark.parametrize(
    ("name", "more", "account", "told"),
    [
        ("", {"capital": 1e4}, "DU1234567", "give both"),
        ("mine", {}, "DU1234567", "give both"),
        ("mine", {"capital": 1e4, "limits": {"max_notionl": 1}}, "DU1234567", "max_notionl"),
        ("mine", {"capital": 1e4}, "U1234567", "quant live"),
        ("taken", {"capital": 1e4}, "DU1234567", "take another"),
    ],
)
def test_a_broker_of_its_own_is_refused(
    tmp_path: Path, name: str, more: dict[str, Any], account: str, told: str
) -> None:
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "taken.lock.toml").touch()
    with flying(account=account) as port:
        store = Store(port=port, data=tmp_path)
        store.data("SPY", bar="30s", history_start=TODAY)
        with pytest.raises(QuantError, match=told):
            store.getbroker(name, **more)
        store.stop()
    assert not (tmp_path / "live").exists()


def test_one_instrument_has_one_broker(tmp_path: Path) -> None:
    with flying() as port:
        first, second = (Store(port=port, data=tmp_path, client_id=n) for n in (1, 2))
        for store in (first, second):
            store.data("SPY", bar="30s", history_start=TODAY)
        broker = first.getbroker("mine", capital=1e4)
        assert first.getbroker() is broker
        with pytest.raises(InstrumentBusy):
            second.getbroker("other", capital=1e4)
        first.stop()
        second.getbroker("other", capital=1e4)
        second.stop()


def test_the_clock_is_measured_for_the_broker_and_that_of_a_simulated_tws_is_its_own(tmp_path: Path) -> None:
    class Broker:
        def __init__(self) -> None:
            self.offsets: list[float] = []

        on_clock = property(lambda self: self.offsets.append)

        def on_link(self, event: Any) -> None: ...

        def flush(self) -> None: ...

        def alarms(self) -> list[Any]:
            return []

    with flying() as port:  # its clock says 2024
        bare, broker = Store(port=port, data=tmp_path), Broker()
        bare.start()  # without a feed nothing says that it is a simulated one
        bare.attach(broker)  # type: ignore[arg-type]
        bare.stop()
        assert broker.offsets[0] > 365 * 86_400
        store, broker = Store(port=port, data=tmp_path, client_id=2), Broker()
        store.data("SPY", bar="1m", history_start=TODAY)
        store.attach(broker)  # type: ignore[arg-type]
        assert broker.offsets == []
        store.start()
        store.stop()
        assert set(broker.offsets) == {0.0}


def test_the_newest_bar_at_the_start_is_a_live_one(tmp_path: Path) -> None:
    """A daily strategy begins after the close, and the bar that it is for is there already, or comes with history."""
    evening = int(datetime(2024, 5, 15, 20, 30, tzinfo=UTC).timestamp()) * SECOND
    with flying(start=evening, speed=60.0) as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1d", history_start="2024-04-01")
        close = int(datetime(2024, 5, 15, 20, 0, tzinfo=UTC).timestamp()) * SECOND
        found = watch(feed, bars=99, until=close)
    assert found.live == 1
    assert str(feed.bars.session[-1]) == TODAY


def test_ctrl_c_in_the_first_pull_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(session: Any, *args: Any, **kwargs: Any) -> Any:
        def pressed(*args: Any) -> bool:
            monkeypatch.setattr(session, "poll", poll)  # once
            raise KeyboardInterrupt

        poll = session.poll
        monkeypatch.setattr(session, "poll", pressed)
        report = run_pull(session, *args, **kwargs)
        assert report.interrupted
        return report

    with flying() as port:
        monkeypatch.setattr("quant.live.bars.past.run_pull", pull)
        store = Store(port=port, data=tmp_path)
        store.data("SPY", bar="1m", history_start=TODAY)
        with pytest.raises(KeyboardInterrupt):
            store.start()
        store.stop()


class Resampled(bt.Strategy):  # type: ignore[misc]
    """Keeps the bars of its feed, which stock's resampler makes, and ends after three live ones."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.live = 0

    def next(self) -> None:
        d = self.data
        self.rows.append((d.open[0], d.high[0], d.low[0], d.close[0], d.volume[0]))
        self.live += self.data.p.store.feeds[0].live
        if self.live >= 3:
            self.env.runstop()


def test_bars_that_backtrader_resamples_are_whole(tmp_path: Path) -> None:
    """As quant.core has them, which is checked against pandas; stock ends a bar by this machine's clock as well."""
    with flying() as port:
        store = Store(port=port, data=tmp_path, gap_wait_s=PATIENT)
        feed = store.data("SPY", bar="1m", history_start=TODAY)
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.resampledata(feed, timeframe=bt.TimeFrame.Minutes, compression=5)
        cerebro.addstrategy(Resampled)
        (found,) = cerebro.run()
    wanted = feed.bars.resample("5m")
    count = len(found.rows)
    columns = [getattr(wanted, name)[:count].tolist() for name in ("open", "high", "low", "close", "volume")]
    assert count >= 30
    assert found.rows == list(zip(*columns, strict=True))
