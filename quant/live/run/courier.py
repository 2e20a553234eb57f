"""Carries messages to a person, by apprise, and signs of life to a dead man's switch.

Trading puts them into a queue and never waits; a thread of its own sends. What does not go is dropped and counted.
Addresses hold secrets: they are in no log, no message and no error.
"""

from __future__ import annotations

import importlib
import logging
import queue
import threading
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from quant.errors import ParameterError
from quant.live.run.messages import Message

WAITING: Final = 100  # messages; more are dropped
EACH_S: Final = 60.0  # between signs of life
PATIENCE_S: Final = 10.0  # for one address
END_S: Final = 5.0  # for what waits at the end

_log = logging.getLogger(__name__)
Send = Callable[[Message], bool]


class Courier:
    """Sends in a thread of its own. send: True where it went. ping: gives a sign of life; None = nobody waits for one.

    lost: messages that did not go.
    """

    def __init__(self, send: Send | None, ping: Callable[[], None] | None = None) -> None:
        self.lost = 0
        self._send, self._ping = send, ping
        self._queue: queue.Queue[Message | None] = queue.Queue(WAITING)  # None is a sign of life
        self._next: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self._thread.start()

    def tell(self, message: Message) -> None:
        """Send a message some time; at once dropped where too many wait."""
        if self._send is not None:
            self._put(message)

    def well(self, now_s: float) -> None:
        """Give a sign of life, at most once a minute. now_s: of a clock that never stands."""
        if self._ping is not None and (self._next is None or now_s >= self._next):
            self._next = now_s + EACH_S
            self._put(None)

    def close(self, patience_s: float = END_S) -> None:
        """End, once what waits has gone, but no later than `patience_s`."""
        self._over.set()
        with suppress(queue.Full):
            self._queue.put_nowait(None)  # wakes it
        self._thread.join(patience_s)

    def _put(self, item: Message | None) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self.lost += item is not None

    def _run(self) -> None:
        while not (self._over.is_set() and self._queue.empty()):
            item = self._queue.get()
            try:
                if item is None:
                    if self._ping is not None and not self._over.is_set():
                        self._ping()
                elif self._send is not None and not self._send(item):
                    self._fail("it was not taken")
            except Exception as e:  # noqa: BLE001  # the outermost loop of this thread; a notifier disturbs nobody
                self._fail(type(e).__name__, message=item is not None)

    def _fail(self, why: str, *, message: bool = True) -> None:
        """Count it. Only the kind of the error is told: its text may hold the address."""
        self.lost += message
        _log.warning("%s did not go: %s", "a message" if message else "a sign of life", why)


def by_apprise(urls: Sequence[str]) -> Send | None:
    """Return what sends to addresses as apprise writes them, None for none. Raises ParameterError, never with one."""
    if not urls:
        return None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its lines hold addresses
    with (
        warnings.catch_warnings()
    ):  # apprise 2.2 imports what Python 3.11 calls outdated, with the first address
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            apprise: Any = importlib.import_module("apprise")
        except ImportError:
            mend = 'need apprise: pip install "quant-ib[notify]"'
            raise ParameterError("notify.urls", "set", mend) from None
        book = apprise.Apprise()
        for place, url in enumerate(urls, 1):
            if not book.add(url):
                raise ParameterError("notify.urls", f"address {place}", "is none that apprise knows")
    return lambda message: bool(book.notify(title=message.title, body=message.body or message.title))


def by_get(url: str | None) -> Callable[[], None] | None:
    """Return what asks for a page as a sign of life, None without one. Raises ParameterError, without the address."""
    if url is None:
        return None
    if not url.startswith(("https://", "http://")):
        raise ParameterError("notify.ping", "set", "must begin with https://")

    def ping() -> None:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310  # the scheme was looked at
            answer.read(1)

    return ping
