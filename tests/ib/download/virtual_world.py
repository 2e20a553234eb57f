"""Our client and our simulated TWS in one thread and in virtual time, joined by their bytes without a socket.

Hours of IB's pacing pass at once, and the simulator counts each rule that is broken.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.errors import BrokerError, LinkLost
from quant.ib.codec import Decoder
from quant.ib.download import PullReport, pull
from quant.ib.frames import FrameBuffer
from quant.ib.session import Session
from quant.ib.wire import Batch, Closed, Inbox, Item
from quant.store import Store
from quant.tws.codec import Codec
from quant.tws.exchange.refusal import Refusal
from quant.tws.program import Tws, simulated
from quant.tws.session import Session as Served

VERSION = 226
NOON = int(datetime(2024, 5, 15, 16, 0, tzinfo=UTC).timestamp()) * SECOND  # in New York; a Wednesday
Spoil = Callable[["Link", Any], bool]  # what happens at a request instead of its answer; False: nothing


def ns(text: str) -> int:
    """UTC ns of "2024-05-15 16:00" UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND


class World:
    """A simulated TWS, the time, and the requests for bars that came to it, in order."""

    def __init__(self, tws: Tws, start: int = NOON) -> None:
        self.tws = tws
        self.t = 1000.0
        self.links: list[Link] = []
        self.asked: list[Any] = []
        self.spoils: list[Spoil] = []
        self.closed = False  # nothing listens any more
        self.step: Callable[[], None] = lambda: None  # called whenever somebody waits
        self._zero = start - round(1000.0 * SECOND)

    @property
    def present(self) -> int:
        return self._zero + round(self.t * SECOND)

    def session(self, **more: Any) -> Session:
        found = Session(open_link=self.open, timer=self, **more)
        found.connect()
        return found

    def open(self, inbox: Inbox) -> Link:
        if self.closed:
            raise LinkLost("nothing listens there")
        self.links.append(Link(self, inbox))
        return self.links[-1]

    # ------------------------------------------------------------ a Timer
    def now(self) -> float:
        return self.t

    def get(self, inbox: Inbox, timeout_s: float) -> Item:
        self.step()
        until = self.t + max(timeout_s, 0.0)
        while True:
            try:
                return inbox.get_nowait()
            except queue.Empty:
                pass
            due = self.tws.next_at(self.present)
            at = until if due is None else self.t + max(due - self.present, 0) / SECOND
            if at >= until:
                self.t = until
                return None
            self.t = at + 1e-6
            self.tws.advance(self.present)
            for link in self.links:
                link.flush()


class Link:
    """One connection."""

    server_version = VERSION
    server_time = "20240515 12:00:00 US/Eastern"

    def __init__(self, world: World, inbox: Inbox) -> None:
        self.world, self.inbox = world, inbox
        self.last_rx = world.now()
        self.mute = False
        self._codec, self._decoder = Codec(VERSION), Decoder(VERSION)
        self._served = Served(world.tws)
        self._buffer, self._back = FrameBuffer(), FrameBuffer()
        self._open = True

    @property
    def violations(self) -> int:
        """In how many seconds it carried too many messages."""
        return self._served.rate_violations

    def send(self, data: bytes) -> None:
        if not self._open:
            raise LinkLost("it was closed")
        for payload in self._buffer.receive(data):
            request = self._codec.decode(payload)
            bars = type(request).__name__ == "HistoricalDataRequest"
            if bars:
                self.world.asked.append(request)
            if self.mute or any(spoil(self, request) for spoil in list(self.world.spoils) if bars):
                continue
            self._served.receive(request, self.world.present)
        self.flush()

    def flush(self) -> None:
        if self._open and not self.mute:
            self.say(self._served.take())

    def say(self, messages: Iterable[Any]) -> None:
        for message in messages:
            for frame in self._codec.encode(message):
                for payload in self._back.receive(frame):
                    self.last_rx = self.world.now()
                    self.inbox.put(Batch(self.world.now(), self._decoder.decode(payload)))

    def refuse(self, request: Any, code: int, text: str) -> None:
        self._served.tell(request.reqId, Refusal(code, text), self.world.present)

    def break_(self) -> None:
        """End it as if the network had."""
        self.close()
        self.inbox.put(Closed(LinkLost("TWS closed it")))

    def close(self, cause: BrokerError | None = None) -> None:
        if self._open:
            self._open = False
            self._served.leave()

    def join(self, timeout_s: float) -> bool:
        return True


# ---------------------------------------------------------------- spoils
def nth(count: int, do: Spoil, times: int = 1) -> Spoil:
    """Do so at the requests for bars number `count` (from 1) and the `times` - 1 after it."""
    seen = 0

    def spoil(link: Link, request: Any) -> bool:
        nonlocal seen
        seen += 1
        return count <= seen < count + times and do(link, request)

    return spoil


def refusal(code: int, text: str) -> Spoil:
    def do(link: Link, request: Any) -> bool:
        link.refuse(request, code, text)
        return True

    return do


def ignored(link: Link, request: Any) -> bool:
    return True


def broken(link: Link, request: Any) -> bool:
    link.break_()
    return True


# ---------------------------------------------------------------- pulls
def market(folder: Path, *bars: Bars) -> Tws:
    """A TWS that has these bars, and nothing finer or later of their instruments."""
    store = Store(folder)
    for one in bars:
        store.write(one, {"kind": "import", "at": "2020-01-01T00:00:00+00:00"})
    return simulated(store)


def pulled(world: World, data: Path, *args: Any, **kwargs: Any) -> PullReport:
    """`q.pull` with a session of its own."""
    with world.session() as session:
        return pull(*args, data=data, session=session, **kwargs)


def content(data: Path) -> dict[str, tuple[Any, ...]]:
    """What the store holds, without when and how it came: files with their checksums, coverage, confirmed empty."""
    store = Store(data)
    found = {}
    for series in store.series():
        m = store.manifest(series)
        found[f"{series.source} {series.name}"] = (m.files, m.coverage, m.empty)
    return found
