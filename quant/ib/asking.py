"""A request as a value, and what becomes of it: waiting to be sent, open, ended with a result or an error.

Nothing here knows a socket or reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from quant.errors import BrokerError, DamagedAnswer
from quant.ib.codec import Event
from quant.ib.codes import Kind, Verdict
from quant.ib.pacing import HistoryCost

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Send = Callable[[Any, int], None]  # (EClient, request id) -> None

NO_ID: Final = -1


class Collector(Protocol[T_co]):
    """Takes the events of one answer until it is complete."""

    def take(self, event: Event) -> bool:
        """Add an event; return whether the answer is complete."""

    def result(self) -> T_co:
        """Return the answer. Raises ValueError if what came cannot be one."""


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """What may be asked of TWS.

    what: in words, for messages. send: writes it. collect: makes a fresh collector.
    names: the events of the answer. by_id: those carry the request's id; if not, every such event is its own.
    cancel: what to send if it is given up. release: what to send once it is answered.
    cost: None for a request that is not historical. timeout_s: without any part of an answer.
    no_data: what to return where IB says that there is nothing; None: that is an error.
    """

    what: str
    send: Send
    collect: Callable[[], Collector[T]]
    names: frozenset[str]
    by_id: bool = True
    cancel: Send | None = None
    release: Send | None = None
    cost: HistoryCost | None = None
    timeout_s: float = 30.0
    no_data: Callable[[Verdict], T] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """What may be subscribed to; it is asked for again after every break. Fields as those of Request."""

    what: str
    send: Send
    names: frozenset[str]
    cancel: Send
    cost: HistoryCost | None = None


class Pending(Generic[T]):
    """A request on its way. It ends with a result or an error, once."""

    def __init__(self, request: Request[T], now: float) -> None:
        self.request = request
        self.id = NO_ID  # until it is sent
        self.since = now  # when it was handed in, sent, or when a part of its answer came; monotonic
        self.notes: list[Verdict] = []  # what IB said about it besides, e.g. that the data are delayed
        self._collector: Collector[T] = request.collect()
        self._damage: str | None = None
        self.touched = False  # a part of the answer has come
        self._error: BrokerError | None = None
        self._result: tuple[T] | None = None

    @property
    def done(self) -> bool:
        """True once there is a result or an error."""
        return self._error is not None or self._result is not None

    @property
    def error(self) -> BrokerError | None:
        """The error that it ended with, if it did."""
        return self._error

    def result(self) -> T:
        """Return the result, or raise the error that it ended with. Raises RuntimeError before its end."""
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise RuntimeError(f"{self.request.what} has not ended yet")
        return self._result[0]

    def take(self, event: Event, now: float) -> None:
        """Add an event of the answer."""
        self.since = now
        self.touched = True
        try:
            if self._collector.take(event):
                if self._damage is not None:
                    self.fail(DamagedAnswer(self.request.what, self._damage))
                else:
                    self._result = (self._collector.result(),)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as e:
            self.fail(DamagedAnswer(self.request.what, f"{type(e).__name__}: {e}"))

    def answer(self, verdict: Verdict) -> None:
        """End it with an error code of IB: mostly an error, a result where IB says that there is nothing."""
        whole = self._damage is None and not self.touched
        if verdict.kind is Kind.NO_DATA and self.request.no_data is not None and whole:
            self._result = (self.request.no_data(verdict),)
        else:
            self.fail(verdict.error(self.request.what))

    def damaged(self, reason: str) -> None:
        """Note that a message which may have been part of the answer is lost: its end will be an error."""
        self._damage = reason

    def fail(self, error: BrokerError) -> None:
        """End it with an error."""
        if not self.done:
            self._error = error


class Subscription:
    """A stream on its way, asked for again after every break until `ended`.

    The callback gets the stream's events; and of our own: "restarted" () when it was asked for again, so that what
    came between is missing, and "failed" (error) when IB refused it.
    """

    def __init__(self, stream: Stream, callback: Callable[[Event], None]) -> None:
        self.request = stream
        self.id = NO_ID
        self.callback = callback
        self.not_before = float("-inf")
        self.retry_s = 5.0
        self.starts = 0
        self.error: BrokerError | None = None
        self.ended = False
