"""How a history is cut into windows of training and test spans, and which bars these are. Knows no strategy.

A length is a number of sessions, or an offset of pandas. The days of an offset are dates, not sessions: "365D" from
2020-01-06 reaches to 2021-01-04. "2YE" reaches to the end of the second year, that day included; so do all ends of
periods, and "W-FRI". All other offsets reach to the day before the one that they lead to: "1YS" to the last of
December.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BaseOffset, Week

from quant.core.bars import Bars
from quant.core.calendar import Dates
from quant.errors import ParameterError

Length: TypeAlias = int | str | timedelta | BaseOffset
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A training span and the test span after it, as numbers of sessions from 0.

    whole: False where the bars end before the test span does.
    """

    train: range
    test: range
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Place:
    """A point between sessions. session: number of the first one after it. day: its date."""

    session: int
    day: pd.Timestamp


def cut_windows(
    sessions: Dates, train: Length, test: Length, *, anchored: bool = False, embargo: Length = 0
) -> list[Window]:
    """Return the windows: test spans follow one another without gap or overlap up to the last session.

    sessions: (n,) distinct dates, rising. train, test: sessions, or offsets of pandas ("365D", "2YE", a DateOffset).
    embargo: left out between the two. anchored: each training span begins with the first session; otherwise it is
    as long as `train`. The last test span may be shorter. A test span without any session (a week of holidays) makes
    no window.
    Raises ParameterError for a length that is none, a training span without sessions, and too few sessions for one
    window.
    """
    lengths = {n: _length(n, v) for n, v in (("train", train), ("test", test), ("embargo", embargo))}
    start = _Place(0, pd.Timestamp(sessions[0]))
    trained = _forward(sessions, start, lengths["train"])
    at = _forward(sessions, trained, lengths["embargo"])
    if at.session >= len(sessions):
        _too_short(sessions, lengths)
    windows: list[Window] = []
    while at.session < len(sessions):
        after = _forward(sessions, at, lengths["test"])
        if after.session > at.session:
            known = _back(sessions, at, lengths["embargo"])
            # The first begins with the first session, which the way back may miss at a month's end.
            first = 0 if anchored or not windows else _back(sessions, known, lengths["train"]).session
            if first >= known.session:
                reason = f"the span before {at.day.date()} holds no session; take a longer one"
                raise ParameterError("train", train, reason)
            tests = range(at.session, min(after.session, len(sessions)))
            windows.append(Window(range(first, known.session), tests, _is_whole(sessions, after)))
        at = after
    return windows


def length_text(length: Length) -> int | str:
    """Return a length as a setting is kept."""
    if isinstance(length, int | np.integer):
        return int(length)
    return length if isinstance(length, str) else str(to_offset(length).freqstr)


def _is_whole(sessions: Dates, after: _Place) -> bool:
    if after.session < len(sessions):
        return True
    last = sessions[-1] + np.timedelta64(1, "D")
    # A span that ends on a Sunday is whole on the Friday before.
    return bool(np.busday_count(last, max(last, after.day.to_datetime64().astype("datetime64[D]"))) == 0)


def _too_short(sessions: Dates, lengths: dict[str, int | BaseOffset]) -> None:
    span = f"{len(sessions):,} sessions, {sessions[0]} to {sessions[-1]}"
    gap = lengths["embargo"]
    told = "" if gap == 0 else f" and embargo = {length_text(gap)}"
    needs = "no session is left for a test"
    if isinstance(lengths["train"], int) and isinstance(gap, int):
        needs = f"with one session of test that needs {lengths['train'] + gap + 1:,}"
    reason = f"the bars are too few for it{told}: they have {span}; {needs}. Take shorter spans or more bars"
    raise ParameterError("train", length_text(lengths["train"]), reason)


# ---------------------------------------------------------------- lengths
def _length(name: str, given: Length) -> int | BaseOffset:
    """Return a number of sessions or an offset. Raises ParameterError."""
    least = 0 if name == "embargo" else 1
    if isinstance(given, str) and given.strip().isdigit():
        given = int(given)
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        if given < least:
            raise ParameterError(name, given, f"must be {least} or more sessions")
        return int(given)
    mend = 'give a number of sessions, or an offset of pandas such as "365D", "2YE" or "6MS"'
    if not isinstance(given, str | timedelta | BaseOffset):
        raise ParameterError(name, given, mend)
    try:
        offset = to_offset(given)
    except (ValueError, TypeError) as e:
        raise ParameterError(name, given, f"{mend} ({e})") from None
    anywhere = pd.Timestamp("2020-01-15")
    try:
        reached = anywhere + offset
    except (OverflowError, ValueError, TypeError) as e:
        raise ParameterError(name, given, f"{mend} ({e})") from None
    if reached <= anywhere:
        raise ParameterError(name, given, "must lead forward in time")
    if reached != reached.normalize():
        raise ParameterError(name, given, "must be whole days, or a number of sessions")
    return offset


def _ends_periods(offset: BaseOffset) -> bool:
    of_a_weekday = isinstance(offset, Week) and getattr(offset, "weekday", None) is not None
    return type(offset).__name__.endswith("End") or of_a_weekday


def _shifted(day: pd.Timestamp, offset: BaseOffset, sign: int) -> pd.Timestamp:
    """Return the day before which the span after `day` ends (sign 1), or with which the one before it begins (-1)."""
    by = DAY if _ends_periods(offset) else pd.Timedelta(0)
    start = day - by
    return (start + offset if sign > 0 else start - offset) + by


def _forward(sessions: Dates, at: _Place, length: int | BaseOffset) -> _Place:
    if isinstance(length, int):
        after = at.session + length
        if after < len(sessions):
            return _Place(after, pd.Timestamp(sessions[after]))
        # Just over with the last session, or more sessions than there are: then any day a week later.
        over = DAY if after == len(sessions) else 8 * DAY
        return _Place(len(sessions), pd.Timestamp(sessions[-1]) + over)
    return _placed(sessions, _shifted(at.day, length, 1))


def _back(sessions: Dates, at: _Place, length: int | BaseOffset) -> _Place:
    if isinstance(length, int):
        before = max(at.session - length, 0)
        return at if length == 0 else _Place(before, pd.Timestamp(sessions[before]))
    return _placed(sessions, _shifted(at.day, length, -1))


def _placed(sessions: Dates, day: pd.Timestamp) -> _Place:
    return _Place(int(np.searchsorted(sessions, day.to_datetime64().astype("datetime64[D]"))), day)


# ---------------------------------------------------------------- bars
@dataclass(frozen=True, slots=True)
class Span:
    """The bars of some sessions, of each feed. first, last: session dates. starts, stops: (feeds,) rows of its bars."""

    first: np.datetime64
    last: np.datetime64
    starts: tuple[int, ...]
    stops: tuple[int, ...]

    def history(self, bars: Sequence[Bars]) -> tuple[Bars, ...]:
        """Return all bars up to the end of the span: what signals may see."""
        return tuple(b[:stop] for b, stop in zip(bars, self.stops, strict=True))

    def within(self, bars: Sequence[Bars]) -> tuple[Bars, ...]:
        """Return the bars of the span alone: those that are traded."""
        return tuple(b[a:z] for b, a, z in zip(bars, self.starts, self.stops, strict=True))


def sessions_of(bars: Sequence[Bars]) -> Dates:
    """Return the session dates on which any feed has a bar, each once, rising."""
    found: Dates = np.unique(np.concatenate([b.session for b in bars]))
    return found


def span(bars: Sequence[Bars], first: np.datetime64, last: np.datetime64) -> Span:
    """Return the span of the sessions from `first` to `last`, both included.

    Raises ParameterError where a feed has no bar in it.
    """
    starts = tuple(int(np.searchsorted(b.session, first)) for b in bars)
    stops = tuple(int(np.searchsorted(b.session, last, side="right")) for b in bars)
    for b, a, z in zip(bars, starts, stops, strict=True):
        if a == z:
            reason = (
                f"{b.symbol} has no bar from {first} to {last}, which is a span of a window; it has {b.span}. "
                "Begin all feeds where the last of them begins, or leave it out"
            )
            raise ParameterError("bars", b.symbol, reason)
    return Span(first, last, starts, stops)
