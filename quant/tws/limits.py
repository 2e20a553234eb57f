"""IB's limits as the server enforces them, and what it counts. Pure: the present and what was asked, nothing else.

All moments are UTC ns as int and must not go back. Sources: interactivebrokers.github.io/tws-api,
historical_limitations.html and order_limitations.html; texts from users' reports. Assumed, for want of a real TWS: a
refused history request uses up nothing; a message over the rate is not worked on, and the third second in which that
happens ends the connection.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from quant.core.barsize import SECOND, BarSize
from quant.tws.exchange.refusal import HMDS, Refusal

SMALL: Final = 30 * SECOND  # bars up to this size are paced
IDENTICAL: Final = 15 * SECOND  # no identical request within this
BURST, BURST_LENGTH = (
    6,
    2 * SECOND,
)  # this many for one contract, exchange and tick type within this are too many
TOTAL, TOTAL_LENGTH = 60, 600 * SECOND  # more than this many within this are too many
OPEN_REQUESTS: Final = 50
MESSAGES, MESSAGE_LENGTH = 50, SECOND
MESSAGE_STRIKES: Final = 3
TICKERS: Final = 100  # market data lines of an account without booster packs
TICK_BY_TICK: Final = 5  # users measured 5, one of them 6, at 100 market data lines

PACING: Final = Refusal(162, f"{HMDS}Historical data request pacing violation")
LIVE_PACING: Final = Refusal(420, "Invalid Real-time Query:Historical data request pacing violation")
TOO_MANY_OPEN: Final = Refusal(
    322,
    "Error processing request.-'bQ' : cause - Only 50 simultaneous API historical data requests allowed.",
)
DUPLICATE_HISTORY: Final = Refusal(
    322, "Error processing request.-'bQ' : cause - Duplicate ticker ID for API historical data query"
)
TOO_MANY_TICKERS: Final = Refusal(101, "Max number of tickers has been reached")
DUPLICATE_TICKER: Final = Refusal(102, "Duplicate ticker id")
TOO_MANY_TICK_BY_TICK: Final = Refusal(10190, "Max number of tick-by-tick requests has been reached.")


@dataclass(frozen=True, slots=True)
class Asked:
    """A history request as the pacing rules see it. Two requests with equal fields are identical.

    size: None for real-time bars, which are paced as small ones. rest: every other setting, as text.
    """

    con_id: int
    exchange: str
    what: str
    size: BarSize | None
    rest: str

    @property
    def small(self) -> bool:
        """Whether the rules for bars of 30 seconds and less apply."""
        return self.size is None or self.size.ns <= SMALL

    @property
    def weight(self) -> int:
        """BID_ASK counts as two requests."""
        return 2 if self.what == "BID_ASK" else 1


class Pacing:
    """The data farm's rules for small bars, over all clients of one TWS. violations: how often each was broken."""

    def __init__(self) -> None:
        self.violations: Counter[str] = Counter()
        self._accepted: deque[tuple[int, Asked]] = deque()

    def ask(self, asked: Asked, now: int) -> Refusal | None:
        """Return why a request is refused at `now`, None if it may be answered; then it counts."""
        if not asked.small:
            return None
        while self._accepted and now - self._accepted[0][0] >= TOTAL_LENGTH:
            self._accepted.popleft()
        broken = broken_rule(asked, now, self._accepted)
        if broken is None:
            self._accepted.append((now, asked))
            return None
        self.violations[broken] += 1
        return LIVE_PACING if asked.size is None else PACING


def broken_rule(asked: Asked, now: int, accepted: deque[tuple[int, Asked]]) -> str | None:
    """Return which rule a request at `now` breaks after the `accepted` ones, None if none.

    accepted: (moment, request), oldest first. A request `length` ago exactly does not count any more.
    """
    total, burst = asked.weight, asked.weight
    for at, earlier in reversed(accepted):
        age = now - at
        if age >= TOTAL_LENGTH:
            break
        total += earlier.weight
        if age < IDENTICAL and earlier == asked:
            return "identical within 15 s"
        same = (earlier.con_id, earlier.exchange, earlier.what) == (asked.con_id, asked.exchange, asked.what)
        if age < BURST_LENGTH and same:
            burst += earlier.weight
    if burst >= BURST:
        return "6 for one contract within 2 s"
    return "60 within 10 min" if total > TOTAL else None


class OpenRequests:
    """Requests of one kind that are open at once, by one client's ids. most: how many may be.

    violations: refused ones.
    """

    def __init__(self, most: int, too_many: Refusal, duplicate: Refusal) -> None:
        self.violations = 0
        self._most, self._too_many, self._duplicate = most, too_many, duplicate
        self._open: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, client_id: int, request_id: int) -> Refusal | None:
        """Return why a request may not be opened, None if it now is."""
        key = (client_id, request_id)
        if key in self._open or len(self._open) >= self._most:
            self.violations += 1
            return self._duplicate if key in self._open else self._too_many
        self._open.add(key)
        return None

    def close(self, client_id: int, request_id: int) -> bool:
        """Close a request; False if it was not open."""
        key = (client_id, request_id)
        known = key in self._open
        self._open.discard(key)
        return known

    def close_client(self, client_id: int) -> None:
        """Close every request of a client that has left."""
        self._open = {key for key in self._open if key[0] != client_id}


def history_requests() -> OpenRequests:
    """Return the limit of open history requests, over all clients."""
    return OpenRequests(OPEN_REQUESTS, TOO_MANY_OPEN, DUPLICATE_HISTORY)


def tickers() -> OpenRequests:
    """Return the limit of market data lines, over all clients."""
    return OpenRequests(TICKERS, TOO_MANY_TICKERS, DUPLICATE_TICKER)


def tick_by_tick() -> OpenRequests:
    """Return the limit of tick-by-tick subscriptions, over all clients."""
    return OpenRequests(TICK_BY_TICK, TOO_MANY_TICK_BY_TICK, DUPLICATE_TICKER)


@dataclass(frozen=True, slots=True)
class Excess:
    """A message over the rate. close: TWS ends the connection."""

    refusal: Refusal
    close: bool


class MessageRate:
    """50 messages of one client in any second. violations: seconds in which there were more."""

    def __init__(self) -> None:
        self.violations = 0
        self._recent: deque[int] = deque()
        self._struck: int | None = None

    def message(self, now: int, since: int | None = None) -> Excess | None:
        """Count a message at `now`; return what TWS says if it is one too many, None if it may be worked on.

        since: it lay unread from some moment after this one; it counts as sent as early as the rate allowed.
        """
        if since is not None:
            earliest = max(since, self._recent[-1]) if self._recent else since
            if len(self._recent) >= MESSAGES:
                earliest = max(earliest, self._recent[-MESSAGES] + MESSAGE_LENGTH)
            now = min(earliest, now)
        while self._recent and now - self._recent[0] >= MESSAGE_LENGTH:
            self._recent.popleft()
        self._recent.append(now)
        received = len(self._recent)
        if received <= MESSAGES:
            return None
        if self._struck is None or now - self._struck >= MESSAGE_LENGTH:
            self._struck = now
            self.violations += 1
        text = f"Max rate of messages per second has been exceeded:max={MESSAGES} rec={received} ({self.violations})"
        return Excess(Refusal(100, text), self.violations >= MESSAGE_STRIKES)
