"""The tape: what a deployment saw and decided, kept as it happened, for what is asked of it afterwards.

`data/live/<name>/tape/<session date>.jsonl`, a line for each bar that came to the strategy, each change of target, each
order that never went out, each thing that the live path said of itself, and a sign of life a minute. It only grows; it
is written and flushed line by line, and a last line that was torn is not read. Trading never depends on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Final

import backtrader as bt
import numpy as np

from quant.core.bars import Bars
from quant.live.feed import LiveFeed
from quant.live.moments import end_of, instrument_of, root
from quant.strategy import Strategy

FOLDER: Final = "tape"
_BACK: Final = 5  # days that are looked at for the newest bar of each symbol
LATE, REMEMBERED, DECIDED = "late", "remembered", "decided"
ALIVE, ENDED = "alive", "ended"
_ALIVE_NS: Final = 60 * 10**9  # between two signs of life


@dataclass(frozen=True, slots=True)
class BarLine:
    """A closed bar as the strategy had it. start, end, at (when it came): UTC ns.

    live: it could be traded. delayed: IB sent delayed data. wants: the last target after it, None where it was not
    decided upon; waiting: the first target is yet to come.
    """

    symbol: str
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    at: int
    live: bool
    delayed: bool = False
    wants: float | None = None
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A change of target. end: of the bar that it was decided on. at: when; both UTC ns.

    how: DECIDED, LATE (the bar could not be traded, and it was not) or REMEMBERED (the first target, of which the
    start rule makes no order).
    """

    symbol: str
    end: int
    target: float
    how: str
    at: int


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """An order of the strategy that never went out. end: of the bar that it was decided on."""

    symbol: str
    end: int
    quantity: float
    reason: str
    why: str
    at: int


@dataclass(frozen=True, slots=True)
class NoteLine:
    """What the live path said of itself."""

    words: str
    at: int


@dataclass(frozen=True, slots=True)
class LifeLine:
    """A sign of life of the process. what: ALIVE, about once a minute, or ENDED, where it took no more bars."""

    what: str
    at: int


Line = BarLine | DecisionLine | RefusedLine | NoteLine | LifeLine
_KINDS: Final[Mapping[str, type[Line]]] = {
    "bar": BarLine, "decision": DecisionLine, "refused": RefusedLine, "note": NoteLine, "life": LifeLine,
}  # fmt: skip
_NAMES: Final = {cls: name for name, cls in _KINDS.items()}
_TEXT: Final = json.JSONEncoder(separators=(",", ":")).encode


# ---------------------------------------------------------------- reading
def days(folder: Path) -> list[str]:
    """Return the session dates of which there is a tape, ISO, oldest first. folder: the deployment's."""
    return sorted(path.stem for path in (folder / FOLDER).glob("*.jsonl"))


def read(folder: Path, day: str) -> list[Line]:
    """Return a day's lines in the order in which they were written; what is no whole line of ours is left out."""
    try:
        text = _path(folder, day).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return list(_lines(text))


def _lines(text: str) -> Iterator[Line]:
    for row in text.splitlines():
        with suppress(ValueError, TypeError, KeyError):  # torn, or of another version
            values = json.loads(row)
            cls = _KINDS[values.pop("kind")]
            known = {f.name for f in fields(cls)}
            yield cls(**{name: value for name, value in values.items() if name in known})


def _path(folder: Path, day: str) -> Path:
    return folder / FOLDER / f"{day}.jsonl"


# ---------------------------------------------------------------- writing
class Tape:
    """Writes the tape of a deployment. folder: the deployment's. began: bars up to then are none of its own, UTC ns.

    failed: why it writes no more, "" while it does. A bar that the tape has is not written again.
    """

    def __init__(self, folder: Path, began: int, now: Callable[[], int]) -> None:
        self.began, self.now = began, now
        self.failed = ""
        self._folder = folder
        self._last: dict[str, int] = {}  # END of the newest bar by symbol
        self.decided: dict[str, int] = {}  # END of the newest that was decided upon by an earlier process
        self._file: IO[str] | None = None
        self._open = ""  # the file's day
        self._day = ""  # of the newest bar: notes go there
        self._notes: list[NoteLine | LifeLine] = []  # before there is any bar
        self._alive = 0  # the last sign of life
        for day in days(folder)[-_BACK:]:
            self._day = day
            for line in read(folder, day):
                if isinstance(line, BarLine):
                    self._last[line.symbol] = max(line.end, self._last.get(line.symbol, 0))
                    if line.live:
                        self.decided[line.symbol] = max(line.end, self.decided.get(line.symbol, 0))

    def is_new(self, symbol: str, end: int) -> bool:
        """Return whether the tape wants a bar: it has none so late."""
        return end > self._last.get(symbol, self.began)

    def bar(self, line: BarLine, day: str) -> None:
        """Keep a bar. day: its session date."""
        self._last[line.symbol] = line.end
        self._write(line, day)
        self._day = max(day, self._day)
        held, self._notes = self._notes, []
        for note in held:
            self.keep(note, self._day)

    def keep(self, line: DecisionLine | RefusedLine | NoteLine | LifeLine, day: str) -> None:
        """Keep a line of another kind."""
        self._write(line, day)

    def note(self, words: str) -> None:
        """Keep what was said, with the newest bar's day."""
        self._say(NoteLine(words, self.now()))

    def alive(self) -> None:
        """Give a sign of life, at most one a minute: a process that is killed tells no end."""
        now = self.now()
        if not 0 <= now - self._alive < _ALIVE_NS:
            self._alive = now
            self._say(LifeLine(ALIVE, now))

    def ended(self) -> None:
        """Keep that no more bars are taken from now on."""
        self._say(LifeLine(ENDED, self.now()))

    def _say(self, line: NoteLine | LifeLine) -> None:
        if self._day:
            self.keep(line, self._day)
        else:
            self._notes.append(line)

    def close(self) -> None:
        """Give the file back; what comes later opens it again."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self._file, self._open = None, ""

    def _write(self, line: Line, day: str) -> None:
        if self.failed:
            return
        values: dict[str, Any] = {"kind": _NAMES[type(line)]}
        values |= {name: getattr(line, name) for name in line.__slots__}
        try:
            if day != self._open or self._file is None:
                self.close()
                self._file, self._open = _opened(_path(self._folder, day)), day
            self._file.write(_TEXT(values) + "\n")
            self._file.flush()
        except OSError as e:  # a full disk has a brake of its own; trading does not depend on this
            self.failed = e.strerror or str(e)


def _opened(path: Path) -> IO[str]:
    """Return the file for writing at its end, which a torn line is cut off from."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8", newline="\n")
    if file.tell():
        with path.open("rb") as whole:
            whole.seek(-1, os.SEEK_END)
            torn = whole.read(1) != b"\n"
        if torn:
            file.write("\n")
    return file


# ---------------------------------------------------------------- in a running cerebro
class Taping(bt.Analyzer):  # type: ignore[misc]  # backtrader has no types
    """Writes the tape at each step of a strategy, after it has decided. feeds: LiveFeeds. failed: told once."""

    params = (("tape", None), ("feeds", ()), ("tell", None))

    def __init__(self) -> None:
        self._tape: Tape = self.p.tape
        self._seen = [0] * len(self.p.feeds)
        self._late = [0] * len(self.p.feeds)  # changes that were late, as far as they are told
        self._told = False

    def next(self) -> None:
        """Keep the bars that are new, and what changed with them."""
        for number, feed in enumerate(self.p.feeds):
            count = len(feed)
            if count == self._seen[number]:
                continue
            self._seen[number] = count
            end = feed.incoming.bars.end(count - 1)
            if self._tape.is_new(feed.instrument.symbol, end):
                self._bar(number, feed, end)
        if self._tape.failed and not self._told:
            self._told = True
            self.p.tell(f"the tape is not written any more: {self._tape.failed}")

    prenext = next

    def notify_order(self, order: bt.Order) -> None:
        """Keep an order that was withheld; what the desk refuses stands in the journal."""
        withheld = getattr(self.strategy.broker, "withheld", ())
        if (
            order.status == bt.Order.Rejected
            and any(order.ref == one.ref for one in withheld)
            and len(order.data)
        ):
            feed, symbol, end = root(order.data), instrument_of(order.data).symbol, end_of(order.data)
            if order.data is feed and not feed._filters and 0 < order.plen <= len(feed.bars):
                end = int(feed.bars.end[order.plen - 1])  # it is told a bar later; plen: bars at its making
            why, reason = str(order.info.get("why", "")), str(order.info.get("reason", ""))
            line = RefusedLine(symbol, end, float(order.created.size), reason, why, self._tape.now())
            self._tape.keep(line, _day(root(order.data).bars))

    def _bar(self, number: int, feed: LiveFeed, end: int) -> None:
        bars, row, now = feed.bars, feed.incoming.bars.row(len(feed) - 1), self._tape.now()
        live, own = bool(feed.is_newest), self._own(feed)
        refresh = None if own is None else self.strategy._decisions.refresh
        count, before = getattr(refresh, "before", {}).get(number, (0, None))
        target = own.target if own is not None and live and count == len(feed) else None
        waiting = target is not None and bool(target.waiting)
        wants = None if target is None or waiting else float(target.last)
        line = BarLine(
            bars.symbol, row.start, end, row.open, row.high, row.low, row.close, row.volume, now, live,
            bool(feed.incoming.delayed), wants, waiting,
        )  # fmt: skip
        day = _day(bars)
        self._tape.bar(line, day)
        for late in self._news(number, bars.symbol, refresh):
            self._tape.keep(DecisionLine(late.symbol, late.end, late.target, LATE, now), day)
        if before is not None and target not in (None, before):
            how = REMEMBERED if before.waiting else DECIDED
            self._tape.keep(DecisionLine(bars.symbol, end, float(target.last), how, now), day)

    def _own(self, feed: LiveFeed) -> Any:
        """Return what a q.Strategy keeps of a feed, None for another strategy."""
        feeds = self.strategy._feeds if isinstance(self.strategy, Strategy) else ()
        return next((own for own in feeds if root(own.data) is feed), None)

    def _news(self, number: int, symbol: str, refresh: Any) -> Iterator[Any]:
        """Yield the changes of a symbol that were late; those that an earlier process decided upon were not."""
        found: Sequence[Any] = getattr(refresh, "late", ())
        new, self._late[number] = found[self._late[number] :], len(found)
        decided = self._tape.decided.get(symbol, self._tape.began)
        yield from (late for late in new if late.symbol == symbol and late.end > decided)


def _day(bars: Bars) -> str:
    return str(np.datetime64(bars.session[-1], "D"))
