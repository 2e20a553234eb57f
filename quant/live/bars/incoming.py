"""One instrument's bars from IB: the stream that brings them, and what is asked of history for what lacks. No waiting.

Everything happens in `advance`, on the thread that polls the session; what a stream brings meanwhile only queues.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import SECOND
from quant.errors import BrokerError, CompetingSession, DamagedAnswer, NoData, PacingViolation
from quant.ib import requests
from quant.ib.asking import NO_ID, Pending, Subscription
from quant.ib.codec import Event
from quant.ib.codes import Kind
from quant.ib.download.steps import LONGEST
from quant.ib.lookup import Found
from quant.ib.requests import EPOCH
from quant.ib.session import Session
from quant.ib.states import State
from quant.live.bars.arriving import Arriving
from quant.live.bars.growing import GrowingBars
from quant.live.bars.pieces import Gap, Row, Seen
from quant.live.bars.wanted import Wanted as Wanted  # quant.live.run.job takes it from here
from quant.live.bars.wanted import duration, start_of
from quant.live.moments import calendar_at

ASK_AGAIN: Final = 3 * SECOND  # of history, where its answer lacks something, or failed
DELAYED_BY: Final = 120 * SECOND  # the newest rows are older: delayed data
STREAM_AGAIN: Final = 30 * SECOND
ASKS: Final = 2  # of history, since the line is back, that ended without a bar before it is given up
LATE_ROWS: Final = 3  # in a row; a single one is only late. As many on time, and data are live again
_AGAIN: Final = (
    CompetingSession,
    NoData,
    PacingViolation,
    DamagedAnswer,
)  # of a stream; other errors are final

Tell = Callable[..., None]  # message, the feed's name, more


class Incoming:
    """The bars of one contract, closed ones only, from those that are `held` on.

    clock: IB's time. gap_wait: ns that a bar that lacks something holds back what is behind it, and longer until
    history was asked for it twice since the line is back and both requests have ended, by their timeout at the latest;
    what lacks at the beginning is waited for without end. saw: is told that a moment has come. tell: takes what a
    person may see.
    """

    def __init__(
        self, wanted: Wanted, found: Found, held: Bars, session: Session, *, clock: Callable[[], int],
        saw: Callable[[int], None], gap_wait: int, tell: Tell,
    ) -> None:  # fmt: skip
        self.wanted, self.found = wanted, found
        self.refused: BrokerError | None = None  # there will be no more bars
        self.gaps: list[Gap] = []  # that were given up
        self.delayed = False
        self.catching_up = True
        self._session, self._clock, self._saw = session, clock, saw
        self._gap_wait, self._tell = gap_wait, tell
        now = clock()
        sessions = calendar_at(found.instrument, now)
        self.bars = GrowingBars(held, sessions)
        self._updates = wanted.source == "updates"
        after = int(held.start[-1]) if len(held) else now - now % wanted.bar.ns - 1
        self._arriving = Arriving(
            found.instrument, wanted.bar, sessions, wanted.rth, after, now=now, what=wanted.what,
            updates=self._updates,
        )  # fmt: skip
        self._first = True  # what lacks at the beginning is not there yet
        self._late_rows = self._timely_rows = 0
        self._raw: deque[Event] = deque()
        self._stream: Subscription | None = None
        self._stream_at = now
        self._starts = 1  # the stream runs once it was asked for so often
        self._pending: tuple[Pending[requests.HistoricalBars], Gap, int] | None = None
        self._asked: deque[int] = deque(maxlen=ASKS)  # up to when, by those that ended since the line is back
        self._ask_at = self._lacks = self._lacks_since = 0  # _lacks: the start of what is waited for
        self._look_again: Pending[requests.HistoricalBars] | None = None
        self._look_at = 0
        self._subscribe()

    @property
    def connected(self) -> bool:
        """True while the stream runs; days have none."""
        if self._session.state is not State.READY:
            return False
        return not self.wanted.bar.intraday or (
            self._stream is not None and self._stream.starts >= self._starts
        )

    def settled(self) -> int:
        """Return up to when all ENDs of bars are known."""
        return 1 << 62 if self.refused is not None else self._arriving.settled(self._clock())

    def asked_anew(self) -> None:
        """Take note that the stream is lost, so that the session will ask for it again."""
        self.catching_up = True
        if self._stream is not None:
            self._starts = max(self._starts, self._stream.starts + 1)

    def stop(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._session.unsubscribe(self._stream)
            self._stream = None

    # ------------------------------------------------------------ what is due
    def advance(self) -> None:
        """Take what came, close what is whole, ask for what lacks."""
        if self.refused is not None:
            return
        self._take()
        now = self._clock()
        self._answered()
        if self._session.state is not State.READY:
            self.catching_up, self._lacks = True, 0
            self._asked.clear()
            if self._session.state is not State.CUT:
                self.asked_anew()
        if self._stream is None and self.wanted.bar.intraday and now >= self._stream_at:
            self._subscribe()
        self._close(now)
        gap = self._arriving.missing(now)
        if gap is None:
            self._lacks = 0
            if self.connected:
                self.catching_up = self._first = False
            return
        if self._lacks != gap.start:
            self._lacks, self._lacks_since = gap.start, now
        if self._pending is None and now >= self._ask_at and self._session.state is State.READY:
            self._ask(gap, now)
        elif not self._first and now >= self._lacks_since + self._gap_wait and self.connected:
            self._give_up(now, self._in_vain(now))

    def _close(self, now: int) -> None:
        for row in self._arriving.closed(now):
            self.bars.append(row)

    def _in_vain(self, now: int) -> int:
        """Return up to when history was asked often enough; 0 while an answer is under way.

        Small bars may be asked for 60 times in ten minutes: a request that pacing holds back is not waited for, but for
        the first one since the line is back.
        """
        if self._pending is not None:
            return now if self._pending[0].id == NO_ID and len(self._asked) > 0 else 0
        return min(self._asked) if len(self._asked) == ASKS else 0

    def _give_up(self, now: int, upto: int) -> None:
        for gap in self._arriving.give_up(now, upto):
            if self.gaps and self.gaps[-1].end == gap.start:  # it has grown
                gap = self.gaps.pop().joined(gap)
            self.gaps.append(gap)
            self._tell("data_gap", self._name, gap)
        self._close(now)

    # ------------------------------------------------------------ history
    def _ask(self, gap: Gap, now: int) -> None:
        """Ask for what lacks, of small bars as much of it as IB gives at once."""
        wanted, longest = self.wanted, LONGEST[self.wanted.bar].seconds
        size, until, end = wanted.bar, now, None
        if longest is not None and now - gap.start > (longest - 60) * SECOND:
            until = (gap.start // SECOND + longest - 60) * SECOND
            end = EPOCH + timedelta(seconds=until // SECOND)
        length = duration(until - gap.start + 2 * size.ns, size)
        spec = self.found.facts.spec
        request = requests.historical_bars(spec, size, length, end, wanted.what, rth=wanted.rth)
        self._pending = self._session.begin(request), gap, until

    def _answered(self) -> None:
        if self._pending is None or not self._pending[0].done:
            return
        (pending, gap, at), self._pending = self._pending, None
        self._asked.append(at)
        self._ask_at = self._clock() + ASK_AGAIN
        try:
            answer = pending.result()
            rows = [self._row(row) for row in answer.rows]
        except (BrokerError, ValueError) as e:
            self._tell("notice", self._name, f"history failed: {e}")
            return
        if (
            any(not 0.0 < row.low <= row.high < math.inf for row in rows)
            and self.found.instrument.sec_type == "STK"
        ):
            self._tell("notice", self._name, "history came with prices that cannot be; it is asked for again")
            return
        self._compare(rows)
        self._arriving.answer(rows, gap, at)

    def recheck(self) -> str | None:
        """Return "" where history still has the newest bars as they came, else what differs; None while it is asked.

        Of bars of a day and more every price counts. Those that were made of 5-second bars are never quite those of
        history: there it is the newest close, by more than a hundredth, as after a split.
        """
        now, size = self._clock(), self.wanted.bar
        if self._look_again is None:
            if now >= self._look_at and self._session.state is State.READY:
                length = duration(
                    max(5 * size.ns, now - self.bars.row(max(len(self.bars) - 5, 0)).start), size
                )
                request = requests.historical_bars(
                    self.found.facts.spec, size, length, None, self.wanted.what, rth=self.wanted.rth
                )
                self._look_again = self._session.begin(request)
            return None
        if not self._look_again.done:
            return None
        pending, self._look_again, self._look_at = self._look_again, None, now + ASK_AGAIN
        try:
            rows = {row.start: row for row in map(self._row, pending.result().rows)}
        except (BrokerError, ValueError) as e:
            self._tell("notice", self._name, f"the newest bars could not be looked at again: {e}")
            return None
        return self._differs(rows)

    def _differs(self, rows: Mapping[int, Row]) -> str:
        count = len(self.bars)
        held = [self.bars.row(n) for n in range(max(count - 5, 0), count)]
        for was in reversed(held):
            row = rows.get(was.start)
            if row is None:
                if was is held[-1]:
                    return f"IB has no bar of {_day(was.start)} any more"
                continue
            exact = not self.wanted.bar.intraday
            before, here = (_prices(was), _prices(row)) if exact else ((was.close,), (row.close,))
            away = 0.0 if exact else 0.01 * abs(was.close)
            if any(abs(a - b) > away for a, b in zip(before, here, strict=True)):
                return f"the bar of {_day(was.start)} closed at {was.close:g}, and has {row.close:g} now"
        return ""

    def _compare(self, rows: Sequence[Row]) -> None:
        """Tell of bars that history has with other values now."""
        count = len(self.bars)
        held = {row.start: row for row in map(self.bars.row, range(max(count - 5, 0), count))}
        for row in rows:
            before = held.get(row.start)
            if before is not None and before != row:
                self._tell("revised", self._name, before, row)

    # ------------------------------------------------------------ the stream
    def _subscribe(self) -> None:
        wanted, spec = self.wanted, self.found.facts.spec
        if not wanted.bar.intraday:
            return
        if wanted.source == "updates":
            stream = requests.live_bars(
                spec, wanted.bar, duration(2 * wanted.bar.ns, wanted.bar), wanted.what, rth=wanted.rth
            )
        else:
            stream = requests.real_time_bars(spec, wanted.what, rth=wanted.rth)
        self._stream = self._session.subscribe(stream, self._raw.append)

    def _take(self) -> None:
        now, come = self._clock(), 0
        while self._raw:
            name, args = self._raw.popleft()
            if name in ("realtimeBar", "historicalDataUpdate"):
                try:
                    row = self._row(args[1:] if name == "realtimeBar" else args[1])
                    come = max(come, self._piece(row, now))
                except (ValueError, ArithmeticError) as e:
                    self._tell("notice", self._name, f"a row cannot be read: {e}")
            elif name == "restarted":
                self.catching_up = True
            elif name == "note" and args[0].kind is Kind.DELAYED:
                self._late()
            elif name == "failed":
                self._failed(args[0])
        if come:
            self._saw(come)

    def _piece(self, row: Row, now: int) -> int:
        """Take a row and return the moment that has come with it, 0 if that is not sure."""
        end = row.start + (0 if self._updates else 5 * SECOND)
        late = now - end > DELAYED_BY + (self.wanted.bar.ns if self._updates else 0)
        self._late_rows = self._late_rows + 1 if late else 0
        self._timely_rows = 0 if late else self._timely_rows + 1
        if self._late_rows >= LATE_ROWS:
            self._late()
        elif self.delayed and self._timely_rows >= LATE_ROWS:
            self.delayed = False
            self._tell("delayed", self._name, "IB sends live data again")
        seen = self._arriving.take(row, now)
        if seen is Seen.NEW or seen is Seen.SAME:
            return end
        if seen is not Seen.OUTSIDE:
            self._tell("odd_row", self._name, seen.value, row)
        return 0

    def _late(self) -> None:
        self._timely_rows = 0
        if not self.delayed:
            self.delayed = True
            mend = (
                "orders wait for live data"
                if not self.wanted.delayed_ok
                else "taken as live, as was asked for"
            )
            self._tell("delayed", self._name, f"IB sends delayed data; {mend}")

    def _failed(self, error: BrokerError) -> None:
        self._stream, self._stream_at, self._starts = None, self._clock() + STREAM_AGAIN, 1
        self.catching_up = True
        if not isinstance(error, _AGAIN):
            self.refused = error
        self._tell("notice", self._name, str(error))

    # ------------------------------------------------------------ small parts
    @property
    def _name(self) -> str:
        return self.found.instrument.symbol

    def _row(self, row: Sequence[Any]) -> Row:
        """Return a row of IB's. Raises ValueError."""
        text, opened, high, low, close, told = row[:6]
        volume = float(told)
        traded = volume if self.wanted.what == "TRADES" and volume >= 0.0 else 0.0
        start = start_of(text, self.wanted.bar)
        return Row(start, float(opened), float(high), float(low), float(close), traded)


def _prices(row: Row) -> tuple[float, ...]:
    return row.open, row.high, row.low, row.close


def _day(ns: int) -> str:
    return f"{np.datetime64(ns, 'ns').astype('datetime64[m]')}"
