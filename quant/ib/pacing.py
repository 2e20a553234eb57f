"""IB's limits on requests, as a pure function of the time and of what was sent before.

Nothing here reads a clock or waits: times are monotonic seconds that the caller hands in, never backwards.

Source of the rules: interactivebrokers.github.io/tws-api/historical_limitations.html ("Pacing Violations for Small
Bars (30 secs or less)"; note 1: the hard limits are lifted for bars of a minute and more) and
.../order_limitations.html (50 messages a second). IB counts when a request arrives, which our clock does not see;
so each window is kept a little longer than IB's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

SMALL_BAR_S: Final = 30.0  # the longest bar that the three rules below are for
IDENTICAL_S: Final = 15.0  # no identical request within
SAME_SERIES_S: Final = 2.0  # of the same contract, exchange and tick type ...
SAME_SERIES: Final = 5  # ... fewer than six within
BUDGET_S: Final = 600.0
BUDGET: Final = 60  # requests within any ten minutes
OPEN_REQUESTS: Final = 50  # historical requests without an answer yet
MESSAGES_S: Final = 1.0
MESSAGES: Final = 45  # IB closes above 50; the rest is for heartbeats, cancels and orders, which never wait
TOGETHER: Final = (
    4  # of these; a line that is held up for 0.06 s pushes no more than one such burst into another second
)
SLACK_S: Final = 0.5  # by which a request may overtake another one on its way, added to each window
FIRST_HOLD_S: Final = 30.0  # without small bars after a violation; doubles with each that follows


@dataclass(frozen=True, slots=True)
class HistoryCost:
    """What pacing must know of a historical request.

    series: contract, exchange and tick type. request: everything that makes two requests identical.
    bar_s: length of a bar in seconds. weight: 2 for BID_ASK, which IB counts twice, else 1. opens: counts
    among the open requests; real-time bars do not, though they are paced like small bars (IB code 420).
    """

    series: Hashable
    request: Hashable
    bar_s: float
    weight: int = 1
    opens: bool = True

    @property
    def small(self) -> bool:
        """True where the rules for small bars hold."""
        return self.bar_s <= SMALL_BAR_S


@dataclass(slots=True)
class _Window:
    """At most `most` of weight within any `length_s`."""

    length_s: float
    most: int
    sent: deque[tuple[float, int]] = field(default_factory=deque)
    weight: int = 0

    def allows_from(self, weight: int, now: float) -> float:
        """Return the first moment at which `weight` more may be sent."""
        self._forget(now)
        over = self.weight + weight - self.most
        for at, gone in self.sent:
            if over <= 0:
                break
            over -= gone
            now = at + self.length_s
        return now if over <= 0 else math.inf

    def add(self, weight: int, now: float) -> None:
        self._forget(now)
        self.sent.append((now, weight))
        self.weight += weight

    def _forget(self, now: float) -> None:
        while self.sent and self.sent[0][0] + self.length_s <= now:
            self.weight -= self.sent.popleft()[1]


class Pacing:
    """What was sent so far. One for each connection to TWS; IB counts for the user, other programs included."""

    def __init__(self) -> None:
        self.open = 0  # historical requests without an answer yet
        self._messages = _Window(MESSAGES_S, MESSAGES)
        self._burst = _Window(MESSAGES_S * TOGETHER / MESSAGES, TOGETHER)
        self._budget = _Window(BUDGET_S + SLACK_S, BUDGET)
        self._series: dict[Hashable, _Window] = {}
        self._identical: dict[Hashable, float] = {}
        self._held_until = -math.inf  # small bars
        self._quiet_until = -math.inf  # everything
        self._hold_s = FIRST_HOLD_S

    def next_allowed(self, cost: HistoryCost | None, now: float) -> float:
        """Return the first moment, `now` or later, at which the request may be sent.

        cost: None for a request that is not historical. inf: not before an open request ends.
        The answer holds until something else is sent.
        """
        at = max(self._messages.allows_from(1, now), self._burst.allows_from(1, now), self._quiet_until)
        if cost is None:
            return at
        if cost.opens and self.open >= OPEN_REQUESTS:
            return math.inf
        if not cost.small:
            return at
        at = max(at, self._held_until, self._budget.allows_from(cost.weight, now))
        series = self._series.get(cost.series)
        if series is not None:
            at = max(at, series.allows_from(cost.weight, now))
        before = self._identical.get(cost.request)
        return at if before is None else max(at, before + IDENTICAL_S + SLACK_S)

    def record(self, cost: HistoryCost | None, now: float) -> None:
        """Note that a request, or any other message (None), was sent."""
        self._messages.add(1, now)
        self._burst.add(1, now)
        if cost is None:
            return
        self.open += cost.opens
        if cost.small:
            self._budget.add(cost.weight, now)
            self._window(cost.series).add(cost.weight, now)
            self._identical[cost.request] = now
            if len(self._identical) > 2 * BUDGET:
                self._tidy(now)

    def ended(self, cost: HistoryCost | None) -> None:
        """Note that a request has its answer, failed, or was given up."""
        if cost is not None and cost.opens:
            self.open = max(0, self.open - 1)

    def violated(self, now: float) -> float:
        """Note that IB saw a violation; return until when no request for small bars is allowed."""
        self._held_until = max(self._held_until, now + self._hold_s)
        self._hold_s = min(2 * self._hold_s, BUDGET_S)
        return self._held_until

    def exceeded(self, now: float) -> None:
        """Note that IB counted too many messages in a second (code 100); others on the same TWS send as well."""
        self._quiet_until = now + MESSAGES_S

    def kept(self) -> None:
        """Note that IB answered a request for small bars: the next violation begins with the first hold again."""
        self._hold_s = FIRST_HOLD_S

    def reconnected(self) -> None:
        """Note a new connection: nothing is open there, and what was sent before still counts."""
        self.open = 0

    def _window(self, series: Hashable) -> _Window:
        if series not in self._series:
            self._series[series] = _Window(SAME_SERIES_S + SLACK_S, SAME_SERIES)
        return self._series[series]

    def _tidy(self, now: float) -> None:
        old = now - IDENTICAL_S - SLACK_S
        self._identical = {k: at for k, at in self._identical.items() if at > old}
        self._series = {k: w for k, w in self._series.items() if w.allows_from(SAME_SERIES, now) > now}
