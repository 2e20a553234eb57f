"""What live said of itself, as evidence: what a note is about, so that it is no cause of anything else. Pure.

A note is a line of the tape or of a rehearsal's record: "state: ...", "notice: CODE: ...", "data_gap: SYMBOL ...".
What is not in the table below, of orders, books, commands, is the cause of no difference by itself: where it was one,
journal and tape say so of the order or the bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from quant.ib.codes import Codes, Kind


class About(StrEnum):
    """What a note is about, and with that what it may be the cause of."""

    LINK = "link"  # the connection: bars that lack or come late, orders that are sent late
    BARS = "bars"  # one instrument's bars: the same, of this one alone
    PIECE = "piece"  # a row of one instrument's stream that fits no bar: the bar of its time, where that is another one
    GATE = "gate"  # whether orders may be sent: orders that are sent late
    OPEN = "open"  # that they may again: what was said of the gate before is over


@dataclass(frozen=True, slots=True)
class Said:
    """A note. at: UTC ns. symbol: of whose bars it is, "" = of all."""

    at: int
    about: About
    words: str
    symbol: str = ""


_STATES: Final = ("ready", "closed")  # of the link: neither holds anything up
_OF_BARS: Final = {
    "data_gap": About.BARS,
    "delayed": About.BARS,
    "notice": About.BARS,
    "odd_row": About.PIECE,
}
_OF_LINK: Final = frozenset(
    {Kind.CUT, Kind.BACK_DATA_LOST, Kind.BACK_DATA_KEPT, Kind.FARM_LOST, Kind.COMPETING_SESSION}
)
_SHOWN: Final = 160  # characters of a note


def said(notes: Iterable[tuple[int, str]], symbols: Sequence[str]) -> tuple[Said, ...]:
    """Return those of the notes (UTC ns, words) that may be the cause of something. symbols: of the feeds."""
    codes = Codes.load()
    return tuple(one for at, words in notes for one in _of(at, words, symbols, codes))


def _of(at: int, words: str, symbols: Sequence[str], codes: Codes) -> Iterator[Said]:
    head, _, rest = words.partition(":")
    rest = rest.strip()
    if head == "state" and not rest.startswith(_STATES):
        yield Said(at, About.LINK, words)
    elif head.startswith("gate"):
        shut = words.removeprefix("gate").lstrip(": ") != "open"
        yield Said(at, About.GATE if shut else About.OPEN, words)
    elif head in _OF_BARS:
        code, _, text = rest.partition(":")
        if head == "notice" and code.isdigit():
            if codes.judge(int(code), text).kind in _OF_LINK:
                yield Said(at, About.LINK, words)
            return
        for symbol in dict.fromkeys(symbols):
            if rest.startswith((f"{symbol} ", f"{symbol}:")):
                yield Said(at, _OF_BARS[head], words, symbol)


def last_said(notes: Sequence[Said], symbol: str, about: Iterable[About], since: int, until: int) -> str:
    """Return the last note about one of these things and this symbol, from `since` to `until` (UTC ns); "" for none."""
    wanted = set(about)
    near = [n for n in notes if since <= n.at <= until and n.about in wanted and n.symbol in ("", symbol)]
    # What comes at one moment begins with its cause.
    last = next((n for n in near if n.at == near[-1].at), None)
    return "" if last is None else _words(last)


def shut_at(notes: Sequence[Said], at: int, until: int | None = None) -> str:
    """Return what was said of the gate last where it was shut from a moment on until another (UTC ns; None: for ever).

    "" where it was open, or opened between.
    """
    told = [n for n in notes if n.about in (About.GATE, About.OPEN) and n.at <= at]
    shut = bool(told) and told[-1].about is About.GATE
    return _words(told[-1]) if shut and opened(notes, at, until) is None else ""


def opened(notes: Sequence[Said], after: int, until: int | None = None) -> int | None:
    """Return when the gate opened last after a moment and before another (UTC ns; None: ever); None: it did not."""
    near = (n.at for n in notes if n.about is About.OPEN and after < n.at and (until is None or n.at < until))
    return max(near, default=None)


def _words(note: Said) -> str:
    return f"{note.words[:_SHOWN]}, {np.datetime64(note.at, 'ns').astype('datetime64[s]')}"
