"""What was asked of TWS and has no end yet: requests and subscriptions, their ids, their turns and their patience.

It knows no socket and no state of the session: it is told what arrived and what the time is, and writes by a
function that it is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from quant.errors import BrokerError, LinkLost, NotConnected, RequestCancelled, RequestTimeout
from quant.ib.asking import NO_ID, Pending, Request, Send, Stream, Subscription
from quant.ib.codec import Event
from quant.ib.codes import GOES_ON, Kind, Verdict
from quant.ib.pacing import Pacing

T = TypeVar("T")
Call = Callable[[Any], None]
Callback = Callable[[Event], None]

# Far from order ids, which share one field of IB's error message with the ids of requests.
FIRST_REQUEST: Final = 1_000_000_000
STREAM_RETRY_S: Final = 60.0  # the longest wait before a dead subscription is asked for again
DROPPED_S: Final = 2.0  # how long before code 100 a message may have been sent that TWS dropped
NEVER: Final = float("inf")

_log = logging.getLogger(__name__)


class Write(Protocol):
    """Encodes and sends a message. Raises LinkLost, or RequestFailed if it cannot be encoded."""

    def __call__(self, what: str, call: Call, *, counted: bool = False) -> None:
        """Do so; `counted` where the caller tells pacing of it."""


class Desk:
    """Requests and subscriptions under way. deliver: calls a user's callback and survives its errors."""

    def __init__(self, write: Write, deliver: Callable[[Callback, Event], None], pacing: Pacing) -> None:
        self._write = write
        self._deliver = deliver
        self._pacing = pacing
        self._next_id = FIRST_REQUEST
        self._outbox: list[Pending[Any] | Subscription] = []
        self._asked: dict[int, Pending[Any]] = {}
        self._streams: dict[int, Subscription] = {}

    @property
    def open(self) -> int:
        """The number of requests that were sent and have no end yet."""
        return len(self._asked)

    def begin(self, request: Request[T], now: float) -> Pending[T]:
        """Put a request into the outbox."""
        pending = Pending(request, now)
        self._outbox.append(pending)
        return pending

    def cancel(self, pending: Pending[Any], now: float) -> None:
        """Give a request up, unless it has ended: it is not sent any more, or its answer is not waited for.

        TWS is told where there is room for a message. Where not, or where it cannot be told, the request goes on to
        count against IB's limits until its answer has come.
        """
        if pending.done:
            return
        pending.fail(RequestCancelled(pending.request.what))
        if pending in self._outbox:
            self._outbox.remove(pending)
        elif pending.request.cancel is not None and self._pacing.next_allowed(None, now) <= now:
            self._forget(pending)
            self._cancel(pending.request.what, pending.request.cancel, pending.id)

    def subscribe(self, stream: Stream, callback: Callback) -> Subscription:
        """Put a subscription into the outbox."""
        subscription = Subscription(stream, callback)
        self._outbox.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        subscription.ended = True
        if subscription in self._outbox:
            self._outbox.remove(subscription)
        if self._streams.get(subscription.id) is subscription:
            self._release(subscription)
            self._cancel(subscription.request.what, subscription.request.cancel, subscription.id)

    # ------------------------------------------------------------ what is due
    def send_due(self, now: float) -> float:
        """Send what pacing allows now; return when to look again. Raises LinkLost if the connection broke."""
        due = NEVER
        for waiting in list(self._outbox):
            free = self._pacing.next_allowed(None, now)
            if free > now:
                return min(due, free)
            at = self._pacing.next_allowed(waiting.request.cost, now)
            if isinstance(waiting, Subscription):
                at = max(at, waiting.not_before)
            if at > now:
                due = min(due, at)
                continue
            self._outbox.remove(waiting)
            self._start(waiting, now)
        return due

    def _start(self, waiting: Pending[Any] | Subscription, now: float) -> None:
        waiting.id = self._next_id
        self._next_id += 1
        request = waiting.request
        try:
            self._write(request.what, partial(_with_id, request.send, waiting.id), counted=True)
        except LinkLost as e:
            if isinstance(waiting, Pending):
                waiting.fail(LinkLost(e.cause, request.what))
            else:
                self._outbox.append(waiting)
            raise
        except BrokerError as e:
            self._refuse(waiting, e)
            return
        self._pacing.record(request.cost, now)
        if isinstance(waiting, Pending):
            waiting.since = now
            self._asked[waiting.id] = waiting
            return
        self._streams[waiting.id] = waiting
        waiting.starts += 1
        if waiting.starts > 1:
            self._deliver(waiting.callback, Event("restarted", ()))

    def time_out(self, now: float) -> float:
        """End the requests whose answer stopped; return when the next one would."""
        due = NEVER
        for pending in list(self._asked.values()):
            until = pending.since + pending.request.timeout_s
            if now < until:
                due = min(due, until)
                continue
            self._forget(pending)
            self._cancel(pending.request.what, pending.request.cancel, pending.id)
            pending.fail(RequestTimeout(pending.request.what, now - pending.since))
        return due

    def time_out_unsent(self, now: float, down_since: float, reason: str, *, at_once: bool) -> float:
        """End the requests that could not be sent for as long as they would wait for an answer, or `at_once`."""
        due = NEVER
        for waiting in [p for p in self._outbox if isinstance(p, Pending)]:
            until = max(waiting.since, down_since) + waiting.request.timeout_s
            if now < until and not at_once:
                due = min(due, until)
                continue
            self._outbox.remove(waiting)
            waiting.fail(NotConnected(waiting.request.what, reason))
        return due

    # ------------------------------------------------------------ what arrives
    def take(self, event: Event, at: float) -> None:
        """Hand an event to the request or subscription that it is for."""
        name, args = event
        id_ = args[0] if args and type(args[0]) is int else NO_ID
        owner, subscription = self._asked.get(id_), self._streams.get(id_)
        if owner is not None and owner.request.by_id and name in owner.request.names:
            self._feed(owner, event, at)
        elif subscription is not None and name in subscription.request.names:
            subscription.retry_s = 5.0
            self._deliver(subscription.callback, event)
        if self._asked:  # as a rule nothing is, and pieces of bars come all the time
            for pending in [
                p for p in self._asked.values() if not p.request.by_id and name in p.request.names
            ]:
                self._feed(pending, event, at)

    def damaged(self, reason: str) -> None:
        """Note that a message is lost: any open request may have lost a part of its answer."""
        for pending in self._asked.values():
            pending.damaged(reason)

    def error(self, id_: int, verdict: Verdict, now: float) -> bool:
        """Hand an error of IB to the request or subscription with this id; return False if there is none."""
        if verdict.kind is Kind.PACING:
            self._pacing.violated(now)
        elif verdict.kind is Kind.RATE:
            self._pacing.exceeded(now)
            if id_ not in self._asked:
                self._dropped(verdict, now)
        pending, subscription = self._asked.get(id_), self._streams.get(id_)
        if pending is not None:
            if verdict.kind in GOES_ON:
                pending.notes.append(verdict)
            else:
                self._forget(pending)
                pending.answer(verdict)
        elif subscription is not None:
            if verdict.kind is Kind.STREAM_LOST or verdict.kind is Kind.PACING:
                self._release(subscription)
                self._cancel(subscription.request.what, subscription.request.cancel, id_)
                self._later(subscription, now)
            elif verdict.kind in GOES_ON:
                self._deliver(subscription.callback, Event("note", (verdict,)))
            else:
                self._release(subscription)
                self._refuse(subscription, verdict.error(subscription.request.what))
        return pending is not None or subscription is not None

    def _dropped(self, verdict: Verdict, now: float) -> None:
        """End what was sent in the last moments without an answer yet: TWS drops messages, and does not say which."""
        for pending in list(self._asked.values()):
            if not pending.touched and now - pending.since <= DROPPED_S:
                self._forget(pending)
                pending.answer(verdict)

    def restart(self) -> None:
        """Ask for every subscription again: TWS has forgotten them."""
        for subscription in list(self._streams.values()):
            self._release(subscription)
            self._outbox.append(subscription)

    def lost(self, cause: str) -> None:
        """Fail what was under way on a connection that broke; subscriptions wait for the next one."""
        for pending in list(self._asked.values()):
            self._forget(pending)
            pending.fail(LinkLost(cause, pending.request.what))
        self.restart()

    def close(self) -> None:
        """End everything."""
        self.lost("it was closed")
        for waiting in self._outbox:
            if isinstance(waiting, Pending):
                waiting.fail(NotConnected(waiting.request.what, "the session was closed"))
            else:
                waiting.ended = True
        self._outbox.clear()

    # ------------------------------------------------------------ small parts
    def _feed(self, pending: Pending[Any], event: Event, at: float) -> None:
        pending.take(event, at)
        if not pending.done:
            return
        self._forget(pending)
        request = pending.request
        if pending.error is None and request.cost is not None and request.cost.small:
            self._pacing.kept()
        self._cancel(request.what, request.release if pending.error is None else request.cancel, pending.id)

    def _later(self, subscription: Subscription, now: float) -> None:
        """Ask for a stream that died again, later and later."""
        subscription.not_before = now + subscription.retry_s
        subscription.retry_s = min(2 * subscription.retry_s, STREAM_RETRY_S)
        self._outbox.append(subscription)

    def _cancel(self, what: str, send: Send | None, id_: int) -> None:
        """Send a cancel, where there is one; nothing depends on its arrival."""
        if send is None:
            return
        try:
            self._write(f"the end of {what}", partial(_with_id, send, id_))
        except BrokerError as e:
            _log.info("%s", e)

    def _forget(self, pending: Pending[Any]) -> None:
        if self._asked.pop(pending.id, None) is not None:
            self._pacing.ended(pending.request.cost)

    def _release(self, subscription: Subscription) -> None:
        if self._streams.pop(subscription.id, None) is not None:
            self._pacing.ended(subscription.request.cost)

    def _refuse(self, waiting: Pending[Any] | Subscription, error: BrokerError) -> None:
        if isinstance(waiting, Pending):
            waiting.fail(error)
            return
        waiting.error = error
        self._deliver(waiting.callback, Event("failed", (error,)))


def _with_id(send: Send, id_: int, client: Any) -> None:
    send(client, id_)
