"""Closed bars, each once and in order, out of IB's raw stream: 5-second bars, or rows of a bar that is kept up to date.

Pure: rows, IB's answers from history and the time come in; closed bars and what must be asked of history come out.
A bar is closed when all its pieces are there, or history has it; what is in doubt (a piece that is missing, zero or
came with two values) is for history to say, and holds back the bars behind it until then, or until `give_up`.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from quant.core.barsize import HOUR, SECOND, BarSize
from quant.core.calendar import Calendar
from quant.core.instrument import Instrument
from quant.live.bars.expected import FIVE, Expected, Span
from quant.live.bars.pieces import Forming, Gap, Row, Seen

GRACE: Final = 2 * SECOND  # after a bar's END until history is asked for what of it is missing
SETTLED: Final = 5 * SECOND  # after a bar's END history is taken to have it, if there is one
AGREE: Final = 2  # answers that lack a bar before it is taken not to be
FAR_AHEAD: Final = 2 * HOUR  # a row that is later than our time by more is damaged


class Arriving:
    """The bars of one instrument as they arrive; only those that start later than `after` (UTC ns).

    calendar: None = unknown. rth: of regular hours only. now: the time at the beginning. what: IB's whatToShow.
    updates: the rows are bars of this size so far, not pieces of 5 seconds. Those cannot be proven whole: the last
    row before a later bar, or before the END, counts. Without a calendar, or outside the regular hours, nobody knows
    when there is nothing to come: then a bar that is missing as a whole is only seen when a later one comes.
    """

    def __init__(
        self, instrument: Instrument, bar: BarSize, calendar: Calendar | None, rth: bool, after: int, *,
        now: int, what: str = "TRADES", updates: bool = False,
    ) -> None:  # fmt: skip
        self._expected = Expected(bar, instrument.timezone, calendar, rth)
        self._trades, self._updates = what == "TRADES", updates
        self._priced = instrument.sec_type in (
            "STK",
            "CASH",
            "IND",
            "CRYPTO",
        )  # of others a price may be below 0
        self._settles = (
            SETTLED if bar.intraday else HOUR * 24 * 365
        )  # a day may come late; only a later one tells
        self._cursor = after + 1  # bars that start earlier are settled
        self._covered = after + 1  # without known sessions: up to where nothing is missing ...
        self._from_history = now  # ... and up to here only history knows
        self._told_to = after  # up to here the answers that are counted for the next stretch reach
        self._moment = now  # the latest that is known of the time
        self._newest = after
        self._forming: dict[int, Forming] = {}
        self._confirmed: dict[int, Row] = {}  # by history
        self._starts: list[int] = []  # heap of both
        self._votes: Counter[int] = Counter()  # answers without a bar or stretch, by its start
        self._closed: list[dict[int, Row]] = []  # rows of the last two bars that were closed
        self._given_up: list[Row] = []  # closed, but not returned yet

    # ------------------------------------------------------------ what arrives
    def take(self, row: Row, now: int) -> Seen:
        """Take a row of the stream and return what it was."""
        self._moment = max(self._moment, now)
        if not self._usable(row):
            return Seen.UNUSABLE
        forming = self._place(row.start)
        if forming is None:
            return Seen.OUTSIDE
        if forming.span.start < self._cursor:
            before = next((rows[row.start] for rows in self._closed if row.start in rows), None)
            return Seen.LATE if before is None else Seen.SAME if before == row else Seen.REVISED
        self._newest = max(self._newest, row.start)
        self._moment = max(self._moment, row.start if self._updates else row.start + FIVE)
        if forming.span.start not in self._forming:
            self._forming[forming.span.start] = forming
            heapq.heappush(self._starts, forming.span.start)
        forming.traded = forming.traded or not self._trades or row.volume > 0.0
        held = forming.rows.get(row.start)
        if held == row:
            return Seen.SAME
        if self._updates:
            if held is None or row.volume >= held.volume:  # a volume only grows: the other one is older
                forming.rows[row.start] = row
            return Seen.NEW
        forming.rows[row.start] = row
        forming.doubtful = forming.doubtful or held is not None
        return Seen.NEW if held is None else Seen.REVISED

    def _usable(self, row: Row) -> bool:
        start, opened, high, low, close, volume = row
        # Of what is no number nothing is true.
        sound = -math.inf < low <= opened <= high < math.inf and low <= close <= high
        sound = sound and not low == high == 0.0 and not (self._priced and low <= 0.0)
        # Prices that moved without a trade: the volume, or the row, is wrong.
        sound = sound and not (self._trades and volume == 0.0 and high > low)
        on_time = start <= self._moment + FAR_AHEAD and (self._updates or start % FIVE == 0)
        return sound and on_time and 0.0 <= volume < math.inf

    def _place(self, start: int) -> Forming | None:
        """Return the bar that a row belongs to, a new one if there is none yet."""
        for held in self._forming.values():
            if held.span.start <= start < held.span.end:
                return held
        span = self._expected.of(start)
        return None if span is None else Forming(span, self._expected.pieces(span))

    def answer(self, rows: Sequence[Row], asked: Gap, at: int) -> None:
        """Take IB's bars of this size from history, all there are of `asked`; at: when it was asked for them.

        A bar that is not over then is left out. What lacks in two answers is taken not to be, if it should be there.
        """
        ends = self._expected.ends([row.start for row in rows])
        last = max((row.start for row in rows), default=0)
        for row, end in zip(rows, ends, strict=True):
            if end > at or row.start < self._cursor or row.start in self._confirmed:
                continue
            forming = self._forming.get(row.start)
            fresh = forming is not None and self._trades and at < end + SETTLED
            if fresh and forming is not None and forming.bar(True).volume > row.volume:
                continue  # it is not complete there yet
            self._confirmed[row.start] = row
            heapq.heappush(self._starts, row.start)
        self._vote({row.start for row in rows}, last, asked, at)

    def _vote(self, there: set[int], last: int, asked: Gap, at: int) -> None:
        if not self._expected.known:
            stretch = self._stretch()
            if stretch is not None and asked.start <= stretch.start < at:
                self._votes[stretch.start] += 1
                self._told_to = at if self._votes[stretch.start] == 1 else min(self._told_to, at)
            return
        span = self._expected.next(max(asked.start, self._cursor))
        while span is not None and span.end <= at and (span.start < last or at >= span.end + self._settles):
            forming = self._forming.get(span.start)
            if span.start not in there and (forming is None or not forming.traded):
                self._votes[span.start] += 1
            span = self._expected.next(span.start + 1)

    # ------------------------------------------------------------ what is known
    def closed(self, now: int) -> list[Row]:
        """Return the bars that are closed and were not returned before, in order."""
        self._moment = max(self._moment, now)
        found, self._given_up = self._given_up, []
        while (head := self._head()) is not None:
            row = self._bar(head.start)
            if row is not None and self._stretch() is None:
                self._close(head, row)
                found.append(row)
            elif self._votes[head.start] >= AGREE:
                self._skip(head)
            else:
                break
        return found

    def missing(self, now: int) -> Gap | None:
        """Return what history must be asked for at `now`; None while nothing is missing. After `closed`."""
        self._moment = max(self._moment, now)
        head = self._head()
        if head is None or not self._due(head):
            return None
        return Gap(head.start, self._moment)

    def settled(self, now: int) -> int:
        """Return up to when all ENDs of bars are known: closed, or not there. After `closed`."""
        self._moment = max(self._moment, now)
        head, stretch = self._head(), self._stretch()
        if stretch is not None:
            return stretch.start
        return self._moment - GRACE if head is None else head.end - 1

    def give_up(self, now: int, upto: int) -> list[Gap]:
        """Wait no longer for what is missing now and was over at `upto`; return it.

        Then call `closed`. A bar with some pieces is closed as those say, and is among what is returned.
        """
        self._moment = max(self._moment, now)
        found: list[Gap] = []
        joins = False  # nothing was closed since the last one
        while (head := self._head()) is not None and self._due(head):
            at_bar = self._stretch() is None
            end = head.end if at_bar else min(head.end, upto)
            if not head.start < end <= upto:
                break
            forming = self._forming.get(head.start) if at_bar else None
            row = self._bar(head.start) if at_bar else None
            whole = row is not None
            if row is None and forming is not None and forming.traded:
                row = forming.bar(self._trades)
            if not whole:
                gap = Gap(head.start, end, 1 if at_bar else 0)
                found.append(found.pop().joined(gap) if joins else gap)
            joins = not whole and bool(found)
            if row is None:
                self._told_to = end
                self._skip(head)
            else:
                self._close(head, row)
                self._given_up.append(row)
        return found

    # ------------------------------------------------------------ parts
    def _stretch(self) -> Span | None:
        """Return what lies before the next bar and was never heard of, where the sessions are not known."""
        if self._expected.known:
            return None
        seen = self._seen()
        if seen is not None and seen < self._covered:
            return None
        until = self._from_history if seen is None else max(seen, self._from_history)
        return Span(self._covered, until) if until > self._covered else None

    def _seen(self) -> int | None:
        while self._starts and self._starts[0] < self._cursor:
            start = heapq.heappop(self._starts)
            self._forming.pop(start, None)
            self._confirmed.pop(start, None)
        return self._starts[0] if self._starts else None

    def _head(self) -> Span | None:
        """Return the first bar, or stretch, that is not settled; it may lie ahead. None: nothing is known of one."""
        stretch, seen = self._stretch(), self._seen()
        if stretch is not None:
            return stretch
        ahead = self._expected.next(self._cursor)
        if ahead is not None and (seen is None or ahead.start < seen):
            return ahead
        if seen is None:
            return None
        forming = self._forming.get(seen)
        return Span(seen, self._expected.end(seen)) if forming is None else forming.span

    def _bar(self, start: int) -> Row | None:
        """Return a bar if it is closed."""
        if start in self._confirmed:
            return self._confirmed[start]
        forming = self._forming.get(start)
        if forming is None or forming.doubtful or not forming.traded:
            return None
        if self._updates:
            over = self._newest > start or self._moment >= forming.span.end + GRACE
            return forming.bar(self._trades) if over else None
        return forming.bar(self._trades) if forming.full else None

    def _due(self, head: Span) -> bool:
        if self._stretch() is not None:
            return True
        forming = self._forming.get(head.start)
        full = forming is not None and forming.full  # but in doubt
        return self._moment >= head.end + (0 if full else GRACE)

    def _close(self, head: Span, row: Row) -> None:
        forming = self._forming.get(head.start)
        self._closed = [*self._closed[-1:], {row.start: row} if forming is None else forming.rows]
        self._covered = max(self._covered, head.end)
        self._votes.pop(head.start, None)
        self._cursor = head.start + 1

    def _skip(self, head: Span) -> None:
        self._votes.pop(head.start, None)
        if self._expected.known:
            self._cursor = head.start + 1
        else:
            self._covered = min(head.end, self._told_to)
