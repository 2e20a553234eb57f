"""A session with TWS: login, heartbeat, reconnection, and requests by way of the desk. One thread owns it.

The socket's thread only queues values (quant/ib/wire.py); everything is decided here, on the thread that calls
`poll`, `ask` or `connect`. `close` may be called from any thread. Time and sockets come in as arguments.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from quant.errors import BrokerError, CannotConnect, ClientIdInUse, LinkLost, NotConnected
from quant.ib.asking import Pending, Request, Stream, Subscription
from quant.ib.codec import Encoder, Event
from quant.ib.codes import Codes, Kind, Verdict
from quant.ib.desk import NEVER, Call, Callback, Desk
from quant.ib.link import Link, Patience, SystemTimer, Timer
from quant.ib.pacing import Pacing
from quant.ib.states import TABLE, State, Turn
from quant.ib.wire import SILENT, Batch, Closed, Inbox, Wire

T = TypeVar("T")

IN_USE: Final = 326
FARM: Final = re.compile(r"[:.]\s*([\w.-]+)$")  # "... is OK:usfarm", "... upon demand.ushmds"
AT_ONCE: Final = 256  # items that one poll takes before it looks at what is due

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that IB said and that belongs to no request. at: monotonic seconds. id: an order's, or -1."""

    at: float
    id: int
    verdict: Verdict


class Session:
    """A session with TWS or IB Gateway at `host`:`port`.

    reconnect: keep trying after a break; without it the session is IDLE then, and `connect` may be called again.
    open_link: makes a connection that fills an inbox; timer, codes, pacing, patience: for tests and other tables.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 7497,
        client_id: int = 1,
        *,
        reconnect: bool = True,
        open_link: Callable[[Inbox], Link] | None = None,
        timer: Timer | None = None,
        codes: Codes | None = None,
        pacing: Pacing | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.host, self.port, self.client_id = host, port, client_id
        self.state = State.IDLE
        self.accounts: tuple[str, ...] = ()
        self.next_order_id: int | None = None  # the largest that TWS told; never goes back
        self.server_version = 0
        self.server_time = ""  # of TWS, at the handshake
        self.farms: dict[str, Kind] = {}  # data farm -> FARM_OK or FARM_LOST
        self.notices: deque[Notice] = deque(maxlen=1000)
        self.damaged = 0  # messages that could not be decoded
        self.trouble: BrokerError | None = None  # why there is no connection
        self.callback_errors: deque[Exception] = deque(maxlen=100)
        self.codes = Codes.load() if codes is None else codes
        self.pacing = Pacing() if pacing is None else pacing
        self.timer = SystemTimer() if timer is None else timer
        self.patience = Patience() if patience is None else patience
        self._reconnect = reconnect
        self._open: Callable[[Inbox], Link] = (
            partial(Wire.open, host, port, clock=self.timer.now) if open_link is None else open_link
        )
        self._desk = Desk(self._write, self._deliver, self.pacing)
        self._link: Link | None = None
        self._inbox: Inbox = queue.SimpleQueue()
        self._encoder: Encoder | None = None
        self._closing = False
        self._owner = threading.get_ident()
        self._listeners: dict[str, tuple[Callback, ...]] = {}  # by the name of the event
        self._refusal: BrokerError | None = None
        self._told_accounts = self._told_id = self._was_ready = self._cut = False
        self._login_since = self._down_since = self.timer.now()
        self._probe_at: float | None = None
        self._retry_at = 0.0
        self._retry_s = self.patience.first_retry_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ for users
    def connect(self) -> None:
        """Open the session and wait until it is ready.

        Raises CannotConnect (nothing listening, something else, silence, login missing) and ClientIdInUse, each
        with its mend; the session may be connected again then.
        """
        if self.state is not State.IDLE:
            raise NotConnected("connect", f"the session is {self.state.value}")
        self._owner = threading.get_ident()
        self._was_ready = False
        self._retry_s = self.patience.first_retry_s
        self._open_link()
        while self._is(State.LOGIN):
            self.poll(self.patience.login_s)
        if self.state not in (State.READY, State.CUT):
            raise self._cannot("it was closed", "") if self.trouble is None else self.trouble

    def poll(self, timeout_s: float = 0.0) -> bool:
        """Do what is due and take what has arrived; return after the first news, at the latest after `timeout_s`.

        Returns whether there was news. Must be called every few seconds while connected, by one thread.
        Raises NotConnected if the session is closed already.
        """
        if self._is(State.CLOSED):
            raise NotConnected("poll", "the session is closed")
        until = self.timer.now() + timeout_s
        before = self.state
        while True:
            now = self.timer.now()
            due = self._tick(now)
            item = self.timer.get(self._inbox, min(until, due) - now)
            news = item is not None
            for _ in range(AT_ONCE):  # then look at what is due again, however fast TWS talks
                if item is None or self._closing:
                    break
                self._take(item)
                item = self.timer.get(self._inbox, 0.0)
            else:
                if item is not None:
                    self._take(item)
            if self._closing:
                self._finish()
            news = news or self.state is not before
            if news or self.state is State.CLOSED or self.timer.now() >= until:
                return news

    def begin(self, request: Request[T]) -> Pending[T]:
        """Hand in a request; `poll` sends it as soon as connection and pacing allow, and brings its end."""
        pending = self._desk.begin(request, self.timer.now())
        if self._closing:
            self._desk.close()
        return pending

    def ask(self, request: Request[T]) -> T:
        """Send a request and return its result.

        Raises RequestFailed (NoPermission, PacingViolation, UnknownContract, ...), AmbiguousContract,
        RequestTimeout, DamagedAnswer, LinkLost or NotConnected; never returns nothing in place of an error.
        """
        pending = self.begin(request)
        while not pending.done:
            self.poll(1.0)
        return pending.result()

    def cancel(self, pending: Pending[Any]) -> None:
        """Give a request up: it ends with RequestCancelled, unless it has ended already."""
        self._desk.cancel(pending, self.timer.now())

    def tell(self, what: str, call: Call) -> None:
        """Send a message that has no answer, now. Raises NotConnected, LinkLost or RequestFailed."""
        if self.state not in (State.READY, State.CUT):
            raise NotConnected(what, self.state.value)
        try:
            self._write(what, call)
        except LinkLost as e:
            self._drop(e)
            raise

    def subscribe(self, stream: Stream, callback: Callback) -> Subscription:
        """Subscribe; `callback` gets its events on the thread that polls. See Subscription."""
        return self._desk.subscribe(stream, callback)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._desk.unsubscribe(subscription)

    def listen(self, callback: Callback, *names: str) -> None:
        """Call `callback` for every event of these names, answers to requests included.

        Of our own: "state" (old, new, trouble or None) and "notice" (Notice).
        """
        for name in {*names}:
            self._listeners[name] = *self._listeners.get(name, ()), callback

    def close(self) -> None:
        """End the session, from any thread. What is under way ends with an error, when the owner polls next."""
        self._closing = True
        if threading.get_ident() == self._owner:
            self._finish()
            return
        link = self._link
        if link is not None:
            link.close()
        self._inbox.put(None)

    # ------------------------------------------------------------ what is due
    def _tick(self, now: float) -> float:
        """Do what is due at `now`; return when to look again."""
        if self._closing:
            self._finish()
            return now
        due = [
            self._connect_again(now),
            self._login_in_time(now),
            self._heartbeat(now),
            self._desk.time_out(now),
        ]
        if self.state is State.READY:
            try:
                due.append(self._desk.send_due(now))
            except LinkLost as e:
                self._drop(e)
        if self.state is not State.READY:
            reason = self.state.value if self.trouble is None else str(self.trouble)
            hopeless = self.state is State.IDLE
            due.append(self._desk.time_out_unsent(now, self._down_since, reason, at_once=hopeless))
        return min(due)

    def _connect_again(self, now: float) -> float:
        if self.state is not State.WAITING:
            return NEVER
        if now >= self._retry_at:
            try:
                self._open_link()
            except BrokerError as e:
                self._retry_later(e)
        return self._retry_at if self.state is State.WAITING else now

    def _login_in_time(self, now: float) -> float:
        if self.state is not State.LOGIN:
            return NEVER
        until = self._login_since + self.patience.login_s
        if now < until:
            return until
        self._drop(
            self._cannot("it told no account and no order id; it seems to wait for its own login", SILENT)
        )
        return now

    def _heartbeat(self, now: float) -> float:
        link = self._link
        if link is None or self.state is State.LOGIN:
            return NEVER
        if self._probe_at is not None and link.last_rx >= self._probe_at:
            self._probe_at = None
        if self._probe_at is not None:
            until = self._probe_at + self.patience.probe_s
            if now >= until:
                self._drop(
                    LinkLost(f"TWS was silent for {now - link.last_rx:.0f} s and did not answer a heartbeat")
                )
            return until
        idle_until = link.last_rx + self.patience.idle_s
        if now < idle_until:
            return idle_until
        self._probe_at = now
        try:
            self._write("heartbeat", lambda c: c.reqCurrentTime())
        except LinkLost as e:
            self._drop(e)
        return now + self.patience.probe_s

    # ------------------------------------------------------------ what arrives
    def _take(self, item: Batch | Closed) -> None:
        if isinstance(item, Closed):
            self._link = None
            self._lost(LinkLost("it was closed") if item.cause is None else item.cause)
            return
        link = self._link
        for event in item.events:
            if self._link is not link or self._closing:
                return  # an event before it ended this connection
            self._event(event, item.at)

    def _event(self, event: Event, at: float) -> None:
        name, args = event
        if name == "error":
            verdict = self.codes.judge(args[2], args[3])
            if not self._desk.error(args[0], verdict, self.timer.now()):
                notice = Notice(at, args[0], verdict)
                self.notices.append(notice)
                self._connectivity(verdict)
                self._announce(Event("notice", (notice,)))
        elif name == "damaged":
            self.damaged += 1
            self._desk.damaged(f"message {args[0]}: {args[1]}")
        else:
            if name in ("nextValidId", "managedAccounts"):
                self._logged_in(event)
            self._desk.take(event, at)
        self._announce(event)

    def _connectivity(self, verdict: Verdict) -> None:
        kind = verdict.kind
        if kind in (Kind.FARM_OK, Kind.FARM_LOST):
            named = FARM.search(verdict.text)
            self.farms[verdict.text if named is None else named[1]] = kind
        elif kind is Kind.CUT:
            self._cut = True
            self._turn(Turn.CUT)
        elif kind is Kind.BACK_DATA_KEPT:
            self._cut = False
            self._turn(Turn.DATA_KEPT)
        elif kind is Kind.BACK_DATA_LOST:
            self._cut = False
            self._turn(Turn.DATA_LOST)
            self._desk.restart()
        elif kind is Kind.LOGIN_REFUSED:
            self._refusal = (
                ClientIdInUse(self.host, self.port, self.client_id)
                if verdict.code == IN_USE
                else self._cannot(f"TWS says: {verdict.text} (code {verdict.code})", verdict.mend)
            )
            if self.state is State.LOGIN:
                self._drop(self._refusal)

    def _logged_in(self, event: Event) -> None:
        if event.name == "nextValidId":
            self._told_id = True
            told = event.args[0]
            # TWS may go back after a crash of its own (LEAN 242): an id must never be used twice.
            self.next_order_id = told if self.next_order_id is None else max(told, self.next_order_id)
        else:
            accounts = tuple(a for a in event.args[0].replace(" ", "").split(",") if a)
            self._told_accounts = bool(accounts)
            self.accounts = accounts or self.accounts
        if self._told_id and self._told_accounts and self.state is State.LOGIN:
            self.trouble = None
            self._was_ready = True
            self._retry_s = self.patience.first_retry_s
            self._turn(Turn.LOGGED_IN)
            if self._cut:
                self._turn(Turn.CUT)

    # ------------------------------------------------------------ connection
    def _open_link(self) -> None:
        self._inbox = queue.SimpleQueue()
        self._refusal = None
        self._told_accounts = self._told_id = self._cut = False
        self._probe_at = None
        try:
            link = self._open(self._inbox)
        except BrokerError as e:
            self.trouble = e
            raise
        self._link = link
        self.server_version, self.server_time = link.server_version, link.server_time
        self._encoder = Encoder(link.server_version, self.client_id)
        self.pacing.reconnected()
        self._login_since = self.timer.now()
        self._turn(Turn.OPENED)
        try:
            self._write("login", lambda c: c.startApi())
        except LinkLost as e:
            self._drop(e)

    def _drop(self, cause: BrokerError) -> None:
        """Close a connection that is of no use any more; nothing that it still says is believed."""
        link, self._link = self._link, None
        self._inbox = queue.SimpleQueue()
        if link is not None:
            link.close(cause)
        self._lost(cause)

    def _lost(self, cause: BrokerError) -> None:
        if self.state in (State.CLOSED, State.IDLE, State.WAITING):
            return
        cause = cause if self._refusal is None else self._refusal
        if not self._was_ready and not isinstance(cause, CannotConnect):
            cause = self._cannot(f"the login ended early: {cause}", SILENT)
        self._desk.lost(cause.cause if isinstance(cause, LinkLost) else str(cause))
        self.trouble = cause
        if self._was_ready and self._reconnect:
            self._retry_later(cause)
            self._turn(Turn.LOST)
        else:
            self._turn(Turn.GIVE_UP)

    def _retry_later(self, cause: BrokerError) -> None:
        self.trouble = cause
        self._retry_at = self.timer.now() + self._retry_s
        # What mends it is told once, by the error that ends the waiting.
        told = f"no connection to TWS: {cause.reason}" if isinstance(cause, CannotConnect) else cause
        _log.warning("%s; trying again in %.0f s", told, self._retry_s)
        self._retry_s = min(2 * self._retry_s, self.patience.longest_retry_s)

    def _finish(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
            link.join(1.0)
        self._desk.close()
        if self.state is not State.CLOSED:
            self._turn(Turn.CLOSE)

    def _turn(self, turn: Turn) -> None:
        old, new = self.state, TABLE[self.state, turn]
        if new is old:
            return
        self.state = new
        if old is State.READY or old is State.IDLE:
            self._down_since = self.timer.now()
        self._announce(Event("state", (old, new, self.trouble)))

    # ------------------------------------------------------------ small parts
    def _is(self, state: State) -> bool:
        return (
            self.state is state
        )  # a call, as mypy takes an attribute for constant over calls of other methods

    def _write(self, what: str, call: Call, *, counted: bool = False) -> None:
        """Encode and send. counted: the caller tells pacing of it."""
        if self._link is None or self._encoder is None:
            raise LinkLost("there is none", what)
        data = self._encoder.encode(what, call)
        if not counted:
            self.pacing.record(None, self.timer.now())
        self._link.send(data)

    def _announce(self, event: Event) -> None:
        for callback in self._listeners.get(event.name, ()):
            self._deliver(callback, event)

    def _deliver(self, callback: Callback, event: Event) -> None:
        try:
            callback(event)
        except Exception as e:  # noqa: BLE001  # the user's own code: what it raises must not end the session
            self.callback_errors.append(e)
            _log.exception("a callback failed on %s", event.name)

    def _cannot(self, reason: str, mend: str) -> CannotConnect:
        return CannotConnect(self.host, self.port, reason, mend)
