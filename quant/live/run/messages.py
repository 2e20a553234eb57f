"""What a person is told of a run who does not watch it: when, and in which words. Pure; sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from quant.core.barsize import SECOND

DAY_S: Final = 120  # seconds after a session's end: its last bar and fills have come by then


@dataclass(frozen=True, slots=True)
class Message:
    """A message. title: a line. body: more, may be ""."""

    title: str
    body: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at one moment. at_s: seconds of a clock that never stands. halted, trouble: "" = not halted, no trouble.

    reducing: why only what reduces is sent, of "the deployment" or by symbol.
    """

    at_s: float
    connected: bool
    trouble: str
    halted: str
    reducing: Mapping[str, str] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        """True while somebody who waits for a sign of life is to get one."""
        return self.connected and not self.halted


@dataclass(slots=True)
class _Day:
    """A session that is on. session: end of the one before, UTC ns. start: equity at its beginning."""

    session: int
    start: float
    fills: int = 0
    rejected: int = 0


@dataclass(slots=True, eq=False)
class Messages:
    """Turns what is seen of a run into messages, each once.

    name: of the run. disconnect_s: how long the connection must be gone before that is told. fills: tell of each.
    """

    name: str
    disconnect_s: float
    fills: bool
    _halted: str = ""
    _reducing: Mapping[str, str] = field(default_factory=dict)
    _gone_at: float | None = None
    _gone_told: bool = False
    _day: _Day | None = None
    _over: _Day | None = field(default=None)

    def look(self, seen: Seen) -> list[Message]:
        """Return what is to be told now. Call it about once a second."""
        return [*self._halt(seen), *self._link(seen)]

    def _halt(self, seen: Seen) -> list[Message]:
        before, self._halted = self._halted, seen.halted
        less, self._reducing = self._reducing, seen.reducing
        found = []
        if seen.halted != before:
            found = [self._made("HALTED", seen.halted) if seen.halted else self._made("the halt was cleared")]
        for what, why in seen.reducing.items():
            if less.get(what) != why:
                found.append(self._made(f"only what reduces {what} is sent", why))
        found += [self._made(f"{what}: cleared") for what in less.keys() - seen.reducing.keys()]
        return found

    def _link(self, seen: Seen) -> list[Message]:
        if seen.connected:
            gone, told = self._gone_at, self._gone_told
            self._gone_at, self._gone_told = None, False
            away = 0.0 if gone is None else seen.at_s - gone
            return [self._made("connected again", f"after {away:.0f} s")] if told else []
        self._gone_at = seen.at_s if self._gone_at is None else self._gone_at
        away = seen.at_s - self._gone_at
        if self._gone_told or away < self.disconnect_s:
            return []
        self._gone_told = True
        return [self._made("no connection to IB", f"for {away:.0f} s. {seen.trouble}".strip())]

    def order(self, words: str, *, rejected: bool, filled: bool) -> list[Message]:
        """Return what is to be told of an order that has changed. filled: by more than before."""
        if self._day is not None:
            self._day.fills += filled
            self._day.rejected += rejected
        if rejected:
            return [self._made("an order was rejected", words)]
        return [self._made("filled", words)] if filled and self.fills else []

    def bare(self, words: str) -> list[Message]:
        """Return what is to be told of a position that lacks the stop that it is to have."""
        return [self._made("HELD WITHOUT A STOP", words)]

    def day(self, session: int, day_start: float, equity: float, now: int) -> list[Message]:
        """Return the summary of a session that is over, once.

        session: end of the last session that is over. day_start: equity at the beginning of the day. now: UTC ns.
        """
        if self._day is None or session != self._day.session:
            self._over, self._day = self._day, _Day(session, day_start)
        over = self._over
        if over is None or now < session + DAY_S * SECOND:
            return []
        self._over = None
        gain = equity - over.start
        told = f"{gain:+,.2f}, equity {equity:,.2f}; {over.fills} fills, {over.rejected} rejected orders"
        return [self._made("the session is over", told)]

    def ended(self, why: str, code: int) -> list[Message]:
        """Return what is to be told of the run's end; nothing where a person ended it."""
        return [] if code in (0, 130) else [self._made("the run has ended", why)]

    def _made(self, what: str, body: str = "") -> Message:
        return Message(f"{self.name}: {what}", body)
