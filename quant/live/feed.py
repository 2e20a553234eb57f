"""LiveFeed: closed bars of one contract as a backtrader feed, history first, then live."""

from __future__ import annotations

from typing import Any

import backtrader as bt

from quant.backtest import periods
from quant.core.bars import Bars
from quant.core.barsize import BarSize
from quant.core.instrument import Instrument
from quant.errors import NotConnected
from quant.ib.lookup import Found
from quant.ib.states import State
from quant.live.bars.incoming import Incoming
from quant.live.bars.pieces import Gap
from quant.live.bars.wanted import Wanted
from quant.live.moments import newest_until, number, root


class Clone(periods.Clone):
    """A live feed's bars once more, for backtrader to resample or replay."""

    @property
    def is_newest(self) -> bool:
        """As the feed's own."""
        return bool(self.data.is_newest)

    @property
    def live(self) -> bool:
        """As the feed's own."""
        return bool(self.data.live)

    def advance(self, size: int = 1, datamaster: Any = None, ticks: bool = True) -> None:
        """Move on; stock's clone counts a bar that waited for its turn twice, and loses the next one."""
        bt.feed.AbstractDataBase.advance(self, size, datamaster, ticks=ticks)

    def _check(self, forcedata: Any = None) -> None:
        if len(self.data) == self._dlen:  # else the bar that ends this one is there, and comes next
            _check(self, forcedata)


def _check(feed: Any, forcedata: Any) -> None:
    """Let no clock end a bar that is resampled from these: the last of them comes after its END has passed.

    Stock takes this machine's time for it, as UTC, and these bars are on the exchange's clock; for a replayed bar it
    takes it even where another feed's bar is given. Only a feed on the same clock tells the time.
    """
    if forcedata is not None and not feed.replaying and _clock(feed) == _clock(forcedata):
        bt.feed.AbstractDataBase._check(feed, forcedata)


def _clock(feed: Any) -> str:
    """Return the zone that a feed's times are in, "" of one that is not a store's."""
    found = root(feed)
    return found.instrument.timezone if isinstance(found, LiveFeed) else ""


class LiveFeed(bt.feed.DataBase):  # type: ignore[misc]  # backtrader has no types
    """A feed of a live store; made by its `data`. The datetime line shows END on the exchange's clock.

    Statuses: CONNECTED, DELAYED while history comes, LIVE from the newest closed bar on, CONNBROKEN while there is no
    connection and then DELAYED again, NOTSUBSCRIBED where IB refuses the data: then the feed is over. So it is after
    DISCONNECTED, which the store's end brings.
    """

    params = (("store", None), ("wanted", None), ("qcheck", 0.5))

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Wanted = self.p.wanted
        self._incoming: Incoming | None = None
        self._given = 0
        self._due = False  # the store has let go the next bar
        self._seen: Bars | None = None  # what it has delivered, once somebody asked for it
        self._instrument: Instrument | None = None
        self.is_newest = False  # the bar that came last was live, and no closed one waited behind it

    # ------------------------------------------------------------ what a program may read
    @property
    def incoming(self) -> Incoming:
        """What brings the bars. Raises NotConnected before the store's start."""
        if self._incoming is None:
            raise NotConnected(f"the bars of {self._name}", "the store is not started")
        return self._incoming

    @property
    def found(self) -> Found:
        """The contract, as IB told it."""
        return self.incoming.found

    @property
    def instrument(self) -> Instrument:
        """Its units."""
        if self._instrument is None:
            self._instrument = self.found.instrument
        return self._instrument

    @property
    def con_id(self) -> int:
        """IB's contract id."""
        return self.instrument.con_id or 0

    @property
    def bar(self) -> BarSize:
        """The size of its bars."""
        return self.wanted.bar

    @property
    def bars(self) -> Bars:
        """All bars that the feed has delivered."""
        if self._seen is None:
            self._seen = self.incoming.bars.upto(self._given)
        return self._seen

    @property
    def status(self) -> int:
        """The status that was told last."""
        found: int = self._laststatus
        return found

    @property
    def live(self) -> bool:
        """True while bars come as they close."""
        return bool(self.status == self.LIVE)

    @property
    def may_be_old(self) -> bool:
        """True while delayed data come, and may be traded: the newest bar is minutes old then."""
        return self.incoming.delayed and self.wanted.delayed_ok

    @property
    def gaps(self) -> list[Gap]:
        """Stretches without bars that nobody could fill."""
        return self.incoming.gaps

    # ------------------------------------------------------------ for the store
    def begin(self, incoming: Incoming) -> None:
        """Take what brings the bars."""
        self._incoming, self._given, self._due, self._seen = incoming, 0, False, None
        self._instrument = None

    @property
    def next_end(self) -> int | None:
        """The END of the next closed bar that was not delivered, None if there is none."""
        bars = self.incoming.bars
        return bars.end(self._given) if self._given < len(bars) else None

    @property
    def waiting(self) -> int:
        """How many closed bars were not delivered."""
        return len(self.incoming.bars) - self._given

    def let_go(self) -> None:
        """Let the next bar be delivered."""
        self._due = True

    @property
    def due(self) -> bool:
        """True while a bar that was let go is not delivered."""
        return self._due

    def tell_status(self) -> None:
        """Tell cerebro where the feed stands, if that has changed."""
        found = self._now()
        if found != self._laststatus:
            if self._laststatus == self.CONNBROKEN and found in (self.LIVE, self.DELAYED):
                self.put_notification(self.CONNECTED)
            if found == self.LIVE:
                self.put_notification(
                    self.DELAYED
                )  # always between a connection and LIVE, also without a bar
            self.put_notification(found)

    def _now(self) -> int:
        incoming, waiting = self.incoming, self.waiting
        state = self.p.store.session.state
        status: int
        if self.p.store.stopped or state in (State.CLOSED, State.IDLE):
            status = self.DISCONNECTED
        elif incoming.refused is not None and not waiting:
            status = self.NOTSUBSCRIBED
        elif state is not State.READY:
            status = self.CONNBROKEN
        elif self._laststatus == self.UNKNOWN:
            status = self.CONNECTED
        else:
            late = incoming.catching_up or (incoming.delayed and not self.may_be_old)
            late = late or incoming.refused is not None
            late = late or waiting > 1 or (waiting == 1 and not self.may_be_old and not self._timely())
            status = self.DELAYED if late else self.LIVE
        return status

    def _timely(self) -> bool:
        """Return whether the next bar is so new that it may be acted upon."""
        end = self.next_end
        return end is not None and self.p.store.clock() <= newest_until(self.instrument, self.bar, end)

    # ------------------------------------------------------------ for backtrader
    def setenvironment(self, env: Any) -> None:
        """Make the store known to cerebro."""
        super().setenvironment(env)
        env.addstore(self.p.store)

    def islive(self) -> bool:
        """Return True: cerebro takes bar by bar then."""
        return True

    def haslivedata(self) -> bool:
        """Return whether a bar could be delivered without waiting."""
        return self._due

    def start(self) -> None:
        """Begin; the store is started with it."""
        super().start()
        if any(not data.resampling or data.replaying for data in self._env.datas):
            # Stock takes a step's time from the others alone, and raises where only this one has a bar.
            self.resampling = 0
        self._laststatus = self.UNKNOWN  # stock begins in CONNECTED, so that nobody is ever told that
        self.p.store.start(data=self)
        self.tell_status()

    def stop(self) -> None:
        """End; the store is stopped with it."""
        super().stop()
        self.p.store.stop()

    def qbuffer(self, savemem: int = 0, replaying: bool = False) -> None:
        """Keep as much as is asked for, and room for a bar that is being made of others."""
        super().qbuffer(savemem, replaying or bool(self._filters))

    def clone(self, **kwargs: Any) -> Clone:
        """Return a feed of the same bars; cerebro asks for one to resample or replay a feed that it has already."""
        made: Any = Clone  # backtrader's metaclass takes the arguments
        found: Clone = made(dataname=self, **kwargs)
        return found

    def copyas(self, _dataname: str, **kwargs: Any) -> Any:
        """Return a feed of the same bars under another name."""
        return periods.named(self.clone(**kwargs), _dataname)

    def resample(self, **kwargs: Any) -> None:
        """Make other bars of these, which end where the exchange's sessions do."""
        self.addfilter(periods.Resampler, **kwargs)

    def replay(self, **kwargs: Any) -> None:
        """Build other bars up of these, which end where the exchange's sessions do."""
        self.addfilter(periods.Replayer, **kwargs)

    def _start_finish(self) -> None:
        super()._start_finish()
        periods.set_sessions(self, self.instrument, self.instrument.timezone)

    def _check(self, forcedata: Any = None) -> None:
        _check(self, forcedata)

    def _load(self) -> bool | None:
        if not self._due and not self.p.store.ask(self, self._qcheck):
            over = self._laststatus in (self.DISCONNECTED, self.NOTSUBSCRIBED)
            return False if over else None
        self.tell_status()
        bars = self.incoming.bars
        row = bars.row(self._given)
        end = bars.end(self._given)
        lines = self.lines
        lines.open[0], lines.high[0], lines.low[0], lines.close[0] = row.open, row.high, row.low, row.close
        lines.volume[0], lines.openinterest[0] = row.volume, 0.0
        lines.datetime[0] = number(self, end)
        self.is_newest = self._laststatus == self.LIVE
        self._given += 1
        self._seen, self._due = None, False
        return True
