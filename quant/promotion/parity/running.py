"""When a deployment ran, and how much of a session that lets one compare. Pure.

Before its first live bar and after its last end nothing is compared. A gap between two runs is part of the session: its
bars came as history, and what would have been decided on them was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import MINUTE
from quant.errors import NotTraded
from quant.live.run.takeover import TAKEOVER
from quant.live.run.tape import ENDED, BarLine, LifeLine, Line
from quant.oms.ledger import Ledger
from quant.promotion.causes import Gap, moment
from quant.promotion.parity.day import Day

_GRACE: Final = (
    MINUTE  # a bar comes some seconds after its END; what ended so shortly before a stop is not missing
)


@dataclass(frozen=True, slots=True)
class Span:
    """A run, from its beginning to its end or last sign of life, UTC ns."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Ran:
    """day: the session, cut to what is compared. whole: all of it. gaps: in it, each of at least one bar.

    session: from the beginning of its first bar to the END of its last, UTC ns.
    """

    day: Day
    whole: Day
    session: tuple[int, int]
    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]

    @property
    def compared(self) -> tuple[int, int]:
        """From when to when it was: since the session's beginning, where nothing of it was left out."""
        return self.session[0] if self.day.begin == self.whole.begin else self.day.begin, self.day.end

    def at(self, end: int) -> bool:
        """Return whether something ran as a bar ended."""
        ran_ = any(span.begin <= end <= span.end for span in self.spans)
        return (ran_ or not self.spans) and not any(gap.covers(end) for gap in self.gaps)


def spans(ledger: Ledger, lines: Sequence[Line]) -> list[Span]:
    """Return the runs, oldest first. lines: of the tape; where it has no end of a run, the last trace is it.

    A command that was carried out without the runner is none: it decides nothing, and sees no bar. Nor are halts traces
    of a run: such a command writes them before it begins.
    """
    kept = (ledger.intents, ledger.marks, ledger.facts)
    traces = np.sort(np.array([x.at for group in (lines, *kept) for x in group], dtype=np.int64))
    ends = sorted(x.at for x in lines if isinstance(x, LifeLine) and x.what == ENDED)
    begins = [run.at for run in ledger.runs]
    found = []
    for run, until in zip(ledger.runs, [*begins[1:], np.iinfo(np.int64).max], strict=True):
        if run.facts.get("mode") == TAKEOVER:
            continue
        begin = run.at
        end = next((at for at in ends if begin <= at < until), None)
        if end is None:
            last = int(np.searchsorted(traces, until)) - 1
            end = max(begin, int(traces[last])) if last >= 0 else begin
        found.append(Span(begin, end))
    return found


def ran(
    name: str, day: Day, bars: Sequence[Bars], told: Sequence[Sequence[BarLine]], runs: Sequence[Span]
) -> Ran:
    """Return what of a session is compared. told: the tape's bars by feed.

    Of days and longer bars a session is compared whole: one bar cannot be cut. Raises NotTraded, which names the
    deployment, where no bar of the session closed while it ran.
    """
    first = min(int(b.start[low]) for b, (low, high) in zip(bars, day.rows, strict=True) if low < high)
    session = first, day.end
    if not runs or not all(b.bar.intraday for b in bars):
        return Ran(day, day, session, tuple(runs), ())
    live = sorted({line.end for lines in told for line in lines if line.live})
    ends = _ends(day, bars)
    begun = _begun(day, bars, ends, live, runs)
    cut = None if begun is None else _ended(begun, bars, ends, told, runs)
    if cut is None:
        raise NotTraded(name, day.date, _idle_all(session, runs))
    gaps = tuple(g for g in _gaps(runs, live) if any(cut.decides(e) and g.covers(e) for e in ends))
    return Ran(cut, day, session, tuple(runs), gaps)


def idle(found: Ran, outside: int) -> Iterator[str]:
    """Say what of the session nobody ran. outside: fills of it that are not compared."""
    (first, last), (begin, end) = found.session, found.compared
    when = {(True, True): "before and after that", (True, False): "before that", (False, True): "after that"}
    if (first, last) != (begin, end):
        text = f"compared is from {moment(begin)} to {moment(end)}"
        yield f"{text}; {when[first != begin, last != end]} nothing ran"
    yield from (f"{gap.words}; what the model does there counts as missed" for gap in found.gaps)
    if outside:
        yield f"fills of the session that came before or after that are left out: {outside}"


def _ends(day: Day, bars: Sequence[Bars]) -> list[int]:
    return sorted(
        {int(e) for b, (first, last) in zip(bars, day.rows, strict=True) for e in b.end[first:last]}
    )


def _begun(
    day: Day, bars: Sequence[Bars], ends: Sequence[int], live: Sequence[int], runs: Sequence[Span]
) -> Day | None:
    """Cut off what was before the first live bar, unless it ran as the session began; None where nothing is left.

    What is decided on the last bar of the session before counts where that was live, or something ran.
    """
    opens = min(int(b.start[low]) for b, (low, high) in zip(bars, day.rows, strict=True) if low < high)
    if ends[0] in live or any(run.begin <= opens <= run.end for run in runs):
        decided = day.begin in live or any(run.begin <= day.begin <= run.end + _GRACE for run in runs)
        return day if decided else replace(day, since=ends[0])
    start = next((run.begin for run in runs if run.end > day.begin), day.end)
    first = next((e for e in live if day.begin < e <= day.end), None)
    if first is None:  # it ran and had none: then all since its start lacks
        first = next((e for e in ends if e > start), None)
    if first is None:
        return None
    begin = max((e for e in ends if e < first), default=day.begin)
    return replace(day, begin=begin, since=first, rows=_rows(day, bars, begin, day.end))


def _ended(
    day: Day, bars: Sequence[Bars], ends: Sequence[int], told: Sequence[Sequence[BarLine]], runs: Sequence[Span]
) -> Day | None:  # fmt: skip
    """Cut off what was after the last run; None where nothing is left."""
    last = max((run.end for run in runs if run.begin < day.end), default=0)
    had = {line.end for lines in told for line in lines if line.live or line.at <= last}
    end = max((e for e in ends if e in had or e <= last - _GRACE), default=0)
    if end <= day.begin:
        return None
    for b in sorted(bars, key=lambda b: b.bar.ns):  # a longer bar that was not over yet belongs to nobody
        inside = (b.start < end) & (end < b.end)
        end = int(b.start[inside][0]) if inside.any() else end
    return day if end == day.end else replace(day, end=end, rows=_rows(day, bars, day.begin, end))


def _rows(day: Day, bars: Sequence[Bars], begin: int, end: int) -> tuple[tuple[int, int], ...]:
    found = []
    for b, (first, last) in zip(bars, day.rows, strict=True):
        low, high = (int(np.searchsorted(b.end, at, side="right")) for at in (begin, end))
        found.append((min(max(first, low), last), max(min(last, high), first)))
    return tuple((first, max(first, last)) for first, last in found)


def _idle_all(session: tuple[int, int], runs: Sequence[Span]) -> str:
    """Return why nothing of a session is compared."""
    begin, end = session
    inside = [run for run in runs if run.begin < end and begin < run.end]
    if not inside:
        return f"it did not run between {moment(begin)} and {moment(end)}"
    when = ", ".join(f"from {moment(run.begin)} to {moment(run.end)}" for run in inside)
    return f"it ran {when}, and no bar closed in that time"


def _gaps(runs: Sequence[Span], live: Sequence[int]) -> Iterator[Gap]:
    """Yield what is between two runs."""
    for one, two in pairwise(runs):
        before = max((e for e in live if e <= one.end), default=0)
        first = next((e for e in live if e > one.end), two.begin)  # it may have closed right before the start
        yield Gap(one.end, two.begin, max(before, one.end - _GRACE), first)
