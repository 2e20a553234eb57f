"""Warm-up: how many bars until the signals no longer depend on where the history began."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from quant.core.calendar import Ints
from quant.core.finding import Finding
from quant.errors import QuantError
from quant.research.check.result import Part
from quant.research.check.subject import Subject, cut, differing
from quant.research.check.ties import Marks, tied_rows, told_ties

STARTS: Final = 32
LEAST: Final = 20  # bars; below, nothing is left to compare
# Later starts leave too few bars: so each has at least two thirds of them to forget the start in.
LATEST: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class WarmUp:
    """exact, near: bars until signals are those of the whole history, to the last bit and to 1e-9; None: never.

    near leaves out the bars at which a tie, decided by the last bits of the prices, makes the signal.
    """

    exact: int | None
    near: int | None


def warm_up(subject: Subject, rng: np.random.Generator) -> tuple[WarmUp, Part, list[Finding]]:
    """Return the longest warm-up over histories that start at STARTS different bars."""
    length = len(subject.longest)
    none = WarmUp(None, None)
    if length < LEAST:
        return none, Part("warm-up", "not applicable", f"needs {LEAST} bars or more"), []
    edges = np.linspace(1, max(length * LATEST, 2), STARTS + 1)
    starts = sorted({int(rng.uniform(a, b)) for a, b in itertools.pairwise(edges)} | {1})
    measured = [w for w in (_after(subject, start) for start in starts) if w is not None]
    if not measured:
        return none, Part("warm-up", "not applicable", "signals fail on every later start"), []
    # What is not forgotten within half of the bars that the last start leaves is not seen to be forgotten.
    most = (length - starts[-1]) // 2
    exact = max(_last(feed) for w in measured for feed in w.exact)
    near = max(_last(feed) for w in measured for feed in w.near)
    tied = 0
    if near > most:
        ties = tied_rows(subject, rng)
        tied = sum(int(t.sum()) for t in ties)
        near = max(_last(feed) for w in measured for feed in _untied(w, ties))
    return _told(WarmUp(_settled(exact, most), _settled(near, most)), most, len(measured), tied)


def _told(found: WarmUp, most: int, starts: int, tied: int) -> tuple[WarmUp, Part, list[Finding]]:
    told = f", the longest of {starts} starts"
    if found.near is None:
        message = (
            f"signals still depended on the history's start after {most:,} bars: they depend on the whole history "
            "(a running sum, the anchor of renko bricks), or these bars are too few to tell. Live must begin at "
            "the same bar as the backtest"
        )
        note = Finding("depends-on-the-whole-history", message, level="note")
        return found, Part("warm-up", "note", f"depends on the whole history{told}"), [note]
    if tied:
        words = f"{found.near:,} bars to 1e-9, but for ties that rounding decides{told}"
        return found, Part("warm-up", "note", words), [told_ties(tied)]
    if found.exact is None:
        return found, Part("warm-up", "ok", f"{found.near:,} bars to 1e-9, never to the last bit{told}"), []
    precise = "" if found.exact == found.near else f" to the last bit, {found.near:,} to 1e-9"
    return found, Part("warm-up", "ok", f"{found.exact:,} bars{precise}{told}"), []


def _settled(bars: int, most: int) -> int | None:
    return bars if bars <= most else None


@dataclass(frozen=True, slots=True)
class _Start:
    """Of a later start: for each feed the bars left out, and the rows that differ, to the last bit and to 1e-9."""

    first: list[int]
    exact: list[Ints]
    near: list[Ints]


def _after(subject: Subject, start: int) -> _Start | None:
    """Compare the signals of a history that starts later with the whole one's; None where they cannot be had.

    start: bars of the longest feed that are left out.
    """
    first = subject.over(start)
    parts = [b[n:] for b, n in zip(subject.bars, first, strict=True)]
    if not all(len(part) for part in parts):
        return None
    try:
        new = subject.compute(parts)
    except QuantError:
        return None
    old = [cut(p, slice(n, None)) for p, n in zip(subject.plans, first, strict=True)]
    exact, near = (
        [differing(a, b, exact=bits) for a, b in zip(old, new, strict=True)] for bits in (True, False)
    )
    return _Start(first, exact, near)


def _last(rows: Ints) -> int:
    return int(rows[-1]) + 1 if len(rows) else 0


def _untied(start: _Start, ties: list[Marks]) -> Iterator[Ints]:
    """Yield each feed's rows that differ to 1e-9, without those of ties."""
    for rows, first, tied in zip(start.near, start.first, ties, strict=True):
        yield rows[~tied[rows + first]]
