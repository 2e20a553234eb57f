"""The simulated TWS at noon in New York, its time flying, and a program that watches a feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import backtrader as bt

from quant.core.barsize import SECOND
from quant.ib import requests
from quant.ib.session import Session
from quant.live import LiveFeed
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Fault, Faults
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

NOON = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND  # a Wednesday
TODAY = "2024-05-15"
SPEED = 300.0  # a minute in a fifth of a second
STEP = 40_000_000  # ns; the most that passes between two looks at the clock


@contextmanager
def flying(
    faults: Iterable[Fault] = (), start: int = NOON, speed: float = SPEED, clock: Clock | None = None,
    account: str = "DU1234567",
) -> Iterator[int]:  # fmt: skip
    """Give its port. clock: in place of one of that start and speed."""
    clock = flying_clock(start, speed) if clock is None else clock
    with running(
        Server(simulated(account=account, rate_limited=False), clock, faults=Faults(faults))
    ) as port:
        yield port


class Patient:
    """The time outside, less what this process could not run: a bar is due in a fifth of a second, and a busy machine
    may keep both TWS and its client waiting for longer, which no live feed would call live.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen = self._now = outside_ns()

    def __call__(self) -> int:
        with self._lock:
            seen = outside_ns()
            self._now += min(seen - self._seen, STEP)
            self._seen = seen
            return self._now


def flying_clock(start: int = NOON, speed: float = SPEED) -> Clock:
    return Clock(Patient(), speed=speed, start=start)


class Watch(bt.Strategy):  # type: ignore[misc]
    """Keeps all that it is told, and ends after so many live bars of its first feed, or at the END `until`.

    steps: ENDs of each step.
    """

    params = dict(bars=4, until=1 << 62)

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []  # feed, status
        self.said: list[tuple[Any, ...]] = []
        self.steps: list[dict[str, int]] = []
        self.live = 0
        self._lengths = [0] * len(self.datas)

    def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
        self.told.append((data._name, data._getstatusname(status)))

    def notify_store(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.said.append((msg, *args))

    def prenext(self) -> None:
        self.next()

    def next(self) -> None:
        new = [d for n, d in enumerate(self.datas) if len(d) > self._lengths[n]]
        self._lengths = [len(d) for d in self.datas]
        self.steps.append({d._name: int(d.bars.end[-1]) for d in new})
        for data in new:
            bars = data.bars
            assert len(bars) == len(data)
            assert (bars.close[-1], bars.volume[-1]) == (data.close[0], data.volume[0])
        if self.data in new and self.data.is_newest:
            self.live += 1
        if self.live >= self.p.bars or int(self.data.bars.end[-1]) >= self.p.until:
            self.env.runstop()


def watch(*feeds: LiveFeed, kind: type[Watch] = Watch, **params: int) -> Watch:
    """Run a plain backtrader program over the feeds, to the end."""
    cerebro = bt.Cerebro(stdstats=False)
    for feed in feeds:
        cerebro.adddata(feed)
    cerebro.addstrategy(kind, **params)
    (found,) = cerebro.run()
    assert isinstance(found, Watch)
    return found


def statuses(found: Watch, name: str = "SPY") -> list[str]:
    return [status for feed, status in found.told if feed == name]


Bar = tuple[int, float, float, float, float, float]


def served(port: int, feed: LiveFeed, duration: str = "1 D") -> dict[int, Bar]:
    """What TWS serves as history by now, by start."""
    with Session(port=port, client_id=99) as session:
        session.connect()
        request = requests.historical_bars(feed.found.facts.spec, feed.bar, duration)
        rows = session.ask(request).rows
    return {int(r[0]) * SECOND: (int(r[0]) * SECOND, *r[1:6]) for r in rows}


def delivered(feed: LiveFeed) -> list[Bar]:
    columns = (getattr(feed.bars, n).tolist() for n in ("start", "open", "high", "low", "close", "volume"))
    return list(zip(*columns, strict=True))
