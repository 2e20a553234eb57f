"""Store: backtrader's store over TWS. It owns the session, brings the feeds' bars, and tells the broker of the link.

Everything happens on the thread of the strategy, in `pump`. Feeds get bars by steps: all bars of one END together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from quant.backtest.feed import timeframe_of
from quant.core.bars import Bars
from quant.core.barsize import SECOND, BarSize, bar_size
from quant.errors import NotConnected, ParameterError, RequestTimeout
from quant.ib import requests
from quant.ib.asking import Pending
from quant.ib.codec import Event
from quant.ib.codes import Kind
from quant.ib.contracts import ContractSpec
from quant.ib.download.ask import MADE_UP
from quant.ib.download.pull import WHAT, describe
from quant.ib.lookup import ContractCache, find_contract
from quant.ib.orders import Orders
from quant.ib.session import Session
from quant.ib.starting import while_starting
from quant.ib.states import State
from quant.live.bars.incoming import Incoming
from quant.live.bars.past import ahead, over, past_bars
from quant.live.bars.wanted import Wanted
from quant.live.clock import IbClock
from quant.live.feed import LiveFeed
from quant.live.links import Broker, link_of
from quant.live.moments import root
from quant.live.plain import open_broker
from quant.oms.desk.setup import Link
from quant.store import data_folder
from quant.store.query import Moment

CATCH_UP_S: Final = 10.0  # for the newest bars at the start; a market that is closed has none to wait for
MEASURE_S: Final = 60.0  # between questions for IB's time
SOURCES: Final = ("5s", "updates")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = 100  # polls without waiting before bars are closed; a flood must not starve the strategy


class Store:
    """A connection to TWS or IB Gateway for backtrader programs; it may be started once.

    account: "" = the only one of the login. data: the data folder; else as q.bars finds it. session: an open or fresh
    one in place of host, port and client_id; it stays open at the end. clock: IB's time, UTC ns; measured by default.
    gap_wait_s: how long at least a bar that lacks something is waited for, and longer until two requests for it have
    ended; it holds back those of other feeds.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 7497, client_id: int = 1, account: str = "", *,
        data: str | Path | None = None, session: Session | None = None, clock: Callable[[], int] | None = None,
        gap_wait_s: float = 15.0,
    ) -> None:  # fmt: skip
        self.session = Session(host, port, client_id) if session is None else session
        self.account = account
        self.feeds: list[LiveFeed] = []
        self.stopped = False
        self._own = session is None
        self._ib_clock = IbClock(monotonic=self.session.timer.now)
        self.clock: Callable[[], int] = self._ib_clock if clock is None else clock
        self.orders = Orders(self.session, now=lambda: _EPOCH + timedelta(microseconds=self.clock() // 1000))
        self._folder = data_folder(data)
        self._gap_wait = round(gap_wait_s * SECOND)
        self._started = False
        self._broker: Broker | None = None
        self._opened = ExitStack()  # journal and locks of a broker of its own
        self._notes: deque[tuple[str, tuple[Any, ...], dict[str, Any]]] = deque()
        self._asked: set[LiveFeed] = set()  # feeds that asked for a bar in this pass of cerebro's loop
        self._measure_at = 0.0
        self._measuring: Pending[datetime] | None = None
        self.session.listen(self._heard, "state", "notice")

    # ------------------------------------------------------------ feeds and broker
    def data(
        self, symbol: str | ContractSpec, bar: str | BarSize = "1m", *, history_start: Moment = None,
        history: Bars | None = None, sec_type: str = "STK", exchange: str = "", currency: str = "", expiry: str = "",
        con_id: int | None = None, what: str = "TRADES", rth: bool = True, source: str = "5s",
        delayed_ok: bool = False, **options: Any,
    ) -> LiveFeed:  # fmt: skip
        """Return a feed: bars of the store's data folder since `history_start`, what IB has since, then live ones.

        symbol to con_id, what, rth: as of q.pull, which also brings what the folder lacks; history_start: as `start`
        of q.bars, None = some days before now. history: these bars in its place, and nothing is pulled. source: "5s"
        makes bars of IB's 5-second ones; "updates" takes the bars that IB keeps up to date, which cannot be proven
        whole. Bars of a day and more come from history after the close. delayed_ok: go LIVE with delayed data too.
        options: of backtrader's feeds (name, qcheck ...). Raises ParameterError.
        """
        size = bar_size(bar)
        spec = (
            symbol
            if isinstance(symbol, ContractSpec)
            else describe(symbol, sec_type, exchange, currency, expiry, con_id)
        )
        if self._started:
            raise ParameterError("symbol", str(spec), "feeds are made before the store is started")
        if what not in WHAT[:4]:
            raise ParameterError("what", what, f"live bars are of {', '.join(WHAT[:4])}")
        if what == "TRADES" and spec.sec_type == "CASH":
            what = "MIDPOINT"  # currencies have no trades; as q.pull
        if source not in SOURCES:
            raise ParameterError("source", source, f"one of {', '.join(SOURCES)}")
        if size.ns < 5 * SECOND:
            raise ParameterError("bar", size, "IB's live bars have 5 seconds and more")
        timeframe, compression = timeframe_of(size)
        wanted = Wanted(spec, size, what, rth, history_start, history, source, delayed_ok)
        options = {
            "timeframe": timeframe, "compression": compression, "name": spec.local_symbol or spec.symbol, **options
        }  # fmt: skip
        made: Any = LiveFeed  # backtrader's metaclass takes the arguments
        feed: LiveFeed = made(dataname=str(spec), store=self, wanted=wanted, **options)
        self.feeds.append(feed)
        return feed

    getdata = data

    def attach(self, broker: Broker) -> None:
        """Let a broker know of the link from now on, and send what a step decided as soon as it is over."""
        self._broker = broker
        if self.session.state is State.READY:
            broker.on_link(Link.UP)
        self._tell_clock()

    def getbroker(
        self, name: str = "", *, capital: float | None = None, limits: Mapping[str, Any] | None = None
    ) -> Broker:
        """Return the broker for `cerebro.setbroker`; the first call makes it and starts the store, so feeds come first.

        It trades under `name` on a paper account: each order stands in the journal data/live/<name> before it is sent,
        and the next start finds what became of it. capital: the program's money, in the currency of its instruments.
        limits: as in a lock file, e.g. {"max_notional": 5_000.0}; what they refuse comes back as Rejected.
        Raises ParameterError, SafetyStop for an account of real money, InstrumentBusy where another deployment trades
        one of the instruments, JournalError, and what `start` raises.
        """
        if self._broker is None:
            self.start()
            con_ids = [feed.con_id for feed in self.feeds]
            with ExitStack() as opened:
                broker = open_broker(
                    name, capital, limits, data=self._folder, account=self.account, con_ids=con_ids,
                    orders=self.orders, client_id=self.session.client_id, now=self.clock, opened=opened,
                )  # fmt: skip
                self._opened = opened.pop_all()
            self.attach(broker)
            return broker
        return self._broker

    # ------------------------------------------------------------ start and stop
    def start(self, data: Any = None, broker: Any = None) -> None:
        """Connect, look up the contracts, bring the history of all feeds. Only the first call does something.

        Raises CannotConnect, ParameterError for an account that is not there, and what q.pull raises; every wait ends.
        """
        if self._started:
            if self.stopped:
                raise NotConnected("the store", "it was stopped; make a new one")
            return
        self._started = True
        if self.session.state is State.IDLE:
            while_starting(self.session.connect)
        self._check_account()
        self._ib_clock.told(_ns(self.session.ask(requests.current_time())))
        cache = ContractCache(self._folder)
        now = _EPOCH + timedelta(microseconds=self.clock() // 1000)
        found = [find_contract(self.session, feed.wanted.spec, now, cache) for feed in self.feeds]
        wanted = [feed.wanted for feed in self.feeds]
        held = past_bars(self.session, found, wanted, self._folder, now)
        self._ib_clock.told(_ns(self.session.ask(requests.current_time())))  # that took a while
        at = self.clock()
        for feed, one, bars in zip(self.feeds, found, held, strict=True):
            self.orders.know(one)
            if told := ahead(bars, at):
                self.put_notification("ahead", one.instrument.symbol, told)
            feed.begin(
                Incoming(
                    feed.wanted, one, over(bars, at), self.session, clock=self.clock, saw=self._ib_clock.saw,
                    gap_wait=self._gap_wait, tell=self.put_notification,
                )
            )  # fmt: skip
        self._tell_clock()
        self._catch_up()

    def _catch_up(self) -> None:
        """Wait for what history lacks up to now: a newest bar that comes as an old one would never be traded."""
        until = self.session.timer.now() + CATCH_UP_S
        while any(feed.incoming.catching_up for feed in self.feeds) and self.session.timer.now() < until:
            self.pump(0.1)

    def _check_account(self) -> None:
        there = self.session.accounts
        if self.account in there:
            return
        if self.account or len(there) != 1:
            raise ParameterError(
                "account", self.account, f"TWS is logged in to {', '.join(there)}; name one of these"
            )
        self.account = there[0]

    def stop(self) -> None:
        """End: no feed delivers any more. From any thread, and more than once."""
        if self.stopped:
            return
        self.stopped = True
        with self._opened:  # the journal last: the broker is told of the end
            if self._own:
                self.session.close()
                return
            for feed in self.feeds:
                if feed._incoming is not None:
                    feed._incoming.stop()

    # ------------------------------------------------------------ the loop
    def pump(self, timeout_s: float = 0.0) -> bool:
        """Take what TWS sent, at the latest after `timeout_s`, and bring the feeds up to it; return if there was news.

        Reports about orders stay in `orders`: those are the broker's to take.
        """
        if self.stopped or self._closed:
            self._tell_status()
            return False
        news = self.session.poll(timeout_s)
        for _ in range(_AT_ONCE if news else 0):  # a bar that comes twice is whole only with its second form
            if self._closed or not self.session.poll(0.0):
                break
        self._measure()
        for feed in self.feeds:
            feed.incoming.advance()
        self._tell_status()
        return news

    @property
    def _closed(self) -> bool:
        return self.session.state is State.CLOSED

    def ask(self, feed: LiveFeed, timeout_s: float) -> bool:
        """Return whether `feed` may deliver its next bar now; wait for it where no other feed would wait too.

        All bars of one END are let go together, at the beginning of a pass of cerebro's loop: a feed that has been
        told that there is nothing gets nothing in that pass, or its bar would come a step later than its equals.
        """
        if self._asked - {feed} or any(f.due for f in self.feeds):
            self._asked.add(feed)
            return feed.due
        self._asked.add(feed)
        if any(not f.live and f.waiting == 1 for f in self.feeds):
            self.pump()  # bars that closed while history was worked through: else an old one would pass for the newest
        if not self._let_go():
            self.pump(timeout_s)
            self._let_go()
        return feed.due

    def recheck(self, data: Any) -> str | None:
        """Return "" where IB still has a feed's newest bars as they came, else what differs; None while it is asked."""
        feed: LiveFeed = root(data)
        return feed.incoming.recheck()

    def _let_go(self) -> bool:
        """Let go the bars of the next END, if every feed knows by now whether it has one."""
        ends = [feed.next_end for feed in self.feeds]
        first = min((end for end in ends if end is not None), default=None)
        if first is None or self.stopped:
            return False
        waits = (f for f, end in zip(self.feeds, ends, strict=True) if end is None)
        if any(feed.incoming.settled() < first for feed in waits):
            return False
        for feed, end in zip(self.feeds, ends, strict=True):
            if end == first:
                feed.let_go()
        return True

    def _tell_status(self) -> None:
        for feed in self.feeds:
            if feed._started:
                feed.tell_status()

    # ------------------------------------------------------------ notifications
    def put_notification(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Queue a message for cerebro's notify_store."""
        self._notes.append((msg, args, kwargs))

    def get_notifications(self) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
        """Return the messages since the last call. Cerebro asks at the beginning of each pass of its loop."""
        self._asked.clear()
        if self._broker is not None:
            self._broker.flush()
            for alarm in self._broker.alarms():
                self.put_notification("alarm", alarm)
        found = list(self._notes)
        self._notes.clear()
        return found

    def _heard(self, event: Event) -> None:
        """Tell of the link."""
        if event.name == "notice":
            verdict = event.args[0].verdict
            self.put_notification("notice", "", f"{verdict.code}: {verdict.text}")
            if verdict.kind is Kind.BACK_DATA_LOST:
                for feed in self.feeds:
                    feed.incoming.asked_anew()
        else:
            _, new, trouble = event.args
            self.put_notification("state", new.value, "" if trouble is None else str(trouble))
            if new is State.READY:
                self._measure_at = 0.0
        link = link_of(event)
        if link is not None and self._broker is not None:
            self._broker.on_link(link)

    # ------------------------------------------------------------ IB's time
    @property
    def clock_offset_s(self) -> float | None:
        """This machine's clock minus IB's, in seconds; None before the start, 0 of a simulated TWS."""
        made_up = any(f._incoming is not None and MADE_UP in f.found.facts.long_name for f in self.feeds)
        return 0.0 if made_up and self._ib_clock.offset_s is not None else self._ib_clock.offset_s

    def _tell_clock(self) -> None:
        offset = self.clock_offset_s
        if self._broker is not None and offset is not None:
            self._broker.on_clock(offset)

    def _measure(self) -> None:
        now = self.session.timer.now()
        if self._measuring is not None and self._measuring.done:
            pending, self._measuring = self._measuring, None
            if pending.error is None:
                self._ib_clock.told(_ns(pending.result()))
                self._tell_clock()
            elif isinstance(pending.error, RequestTimeout):
                self.put_notification("notice", "", f"IB's time is not known: {pending.error}")
        if self._measuring is None and now >= self._measure_at and self.session.state is State.READY:
            self._measure_at = now + MEASURE_S
            self._measuring = self.session.begin(requests.current_time())


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
