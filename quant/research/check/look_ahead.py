"""Look-ahead: signals on histories that end earlier, and on histories whose future is another one.

Both must leave each row as it is that was over before. Prefixes see whatever needs later bars to be there;
a poisoned future sees what depends on their values even where signals refuse a shorter history or behave
otherwise on it. Neither sees data that signals take from elsewhere than their bars: see `outside`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.calendar import Ints
from quant.core.finding import Finding
from quant.core.sessions import Floats
from quant.errors import QuantError
from quant.research.check.outside import outside
from quant.research.check.result import Part
from quant.research.check.subject import Change, Subject, cut, differing, first_change, place, shown
from quant.research.check.ties import Marks, tied_rows, told_ties
from quant.strategy import Plan

RANDOM: Final = 32  # prefixes that end anywhere
ACTING: Final = (
    32  # prefixes that end on a bar at which the strategy acts: what looks ahead only there shows only there
)
# Every prefix up to so many bars is tried: back-fills at the start, and rules that go by the number of the row.
EVERY: Final = 128
POISONED: Final = (
    8  # cuts after which the future is poisoned, half of them at bars at which the strategy acts
)
TIED: Final = 0.05  # share of the rows
ROUND: Final = (1000, 500, 100, 50)
MEND: Final = (
    "Row i may use bars up to i only: shift by +1, windows that end at i, expanding() for figures of the "
    "whole sample, bars.asof(other, values) for other time frames"
)

Poison = Callable[[Floats, np.random.Generator], Floats]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signals on another history. kind: of it, in words. last: the last bar that it shares with the whole one.

    change: the first row up to `last` that differs. rows: all of them, of each feed. refused: why there are no signals.
    """

    kind: str
    last: int
    change: Change | None = None
    rows: tuple[Ints, ...] = ()
    refused: str | None = None


def look_ahead(
    subject: Subject, rng: np.random.Generator, fresh: Sequence[Attempt] = ()
) -> tuple[Part, list[Finding]]:
    """Return what was found, and a finding where signals look ahead or could not be checked.

    fresh: shorter histories of a process that had seen no longer one before: here an answer may be one that a
    strategy has kept of all bars.
    """
    length = len(subject.longest)
    if length < 2:
        return Part("look-ahead", "not applicable", "one bar has no earlier history"), []
    cuts = ends(length, subject.acting(), rng)
    prefixes = [shorter(subject, c) for c in cuts if all(subject.over(c))]
    futures = list(poisoned(subject, rng))
    caught = [a for a in (*prefixes, *futures) if a.change is not None]
    hidden = [a for a in fresh if a.change is not None]
    counted = f"{_count(prefixes)} shorter histories and {_count(futures)} poisoned futures"
    ties = tied_rows(subject, rng) if caught or hidden else []
    if (caught or hidden) and _by_rounding([*caught, *hidden], ties):
        count = sum(int(t.sum()) for t in ties)
        return Part("look-ahead", "note", f"none, but for ties that rounding decides: {counted}"), [
            told_ties(count)
        ]
    if hidden and (not caught or _by_rounding(caught, ties)):
        told = f"FOUND, in {len(hidden)} of {_count(fresh)} shorter histories of a fresh process"
        return Part("look-ahead", "failed", told), [
            Finding("look-ahead", _told_hidden(subject, hidden), len(hidden))
        ]
    if caught:
        finding = Finding("look-ahead", _told(subject, caught, prefixes, futures), len(caught))
        return Part("look-ahead", "failed", f"FOUND, in {len(caught)} of {counted}"), [finding]
    refused = _refusal(subject, prefixes)
    if refused is not None:
        return Part("look-ahead", "failed", "could not be checked, see below"), [refused]
    notes = [*outside(subject)]
    told = f"none: {counted}, all bars of each" + ("; data from elsewhere, see below" if notes else "")
    return Part("look-ahead", "note" if notes else "ok", told), notes


# ---------------------------------------------------------------- shorter histories
def ends(length: int, acting: Ints, rng: np.random.Generator) -> list[int]:
    """Return the lengths of the prefixes to try, in increasing order, each in [1, length)."""
    # One from each of RANDOM equal stretches: short ones and long ones, with all remainders.
    edges = np.linspace(1, length, RANDOM + 1)
    chosen = {int(rng.uniform(a, b)) for a, b in itertools.pairwise(edges)}
    chosen |= {int(r) + 1 for r in rng.permutation(acting)[:ACTING]}
    chosen |= {length - 1, length - 2} | {k + 1 for k in ROUND}
    chosen |= set(range(1, EVERY + 1))
    return sorted(c for c in chosen if 0 < c < length)


def shorter(subject: Subject, end: int) -> Attempt:
    """Compare the signals on the first `end` bars alone with those on all."""
    rows = subject.over(end)
    kind = f"where the history ends with bar {end - 1}"
    # Arrays of their own: a view leads to the later bars, through its base.
    parts = [_own(b[:n]) for b, n in zip(subject.bars, rows, strict=True)]
    return _attempt(subject, parts, rows, kind, end)


def _own(bars: Bars) -> Bars:
    part = replace(bars)
    part.__dict__["times"] = bars.times  # nothing in it depends on other bars, and it takes long
    return part


def _attempt(subject: Subject, parts: list[Bars], rows: list[int], kind: str, end: int) -> Attempt:
    try:
        new = subject.compute(parts)
    except QuantError as e:
        return Attempt(kind, end - 1, refused=str(getattr(e, "reason", e)))
    old, again = (
        [_begun(cut(p, slice(n))) for p, n in zip(of, rows, strict=True)] for of in (subject.plans, new)
    )
    differ = tuple(differing(a, b) for a, b in zip(old, again, strict=True))
    return Attempt(kind, end - 1, first_change(old, again), differ)


def _begun(plan: Plan) -> Plan:
    """Return the plan with 0 for no opinion before its first target: the last target starts at 0 (DESIGN 5.2)."""
    numbers = np.flatnonzero(~np.isnan(plan.target))
    first = int(numbers[0]) if len(numbers) else len(plan.target)
    target = np.append(np.zeros(first), plan.target[first:])
    return Plan(target, plan.stop, plan.limit, plan.follow_stop)


# ---------------------------------------------------------------- poisoned futures
def _times_ten(prices: Floats, rng: np.random.Generator) -> Floats:
    return prices * 10.0


def _a_tenth(prices: Floats, rng: np.random.Generator) -> Floats:
    return prices / 10.0


def _reversed(prices: Floats, rng: np.random.Generator) -> Floats:
    return np.flip(prices, axis=1)


def _noise(prices: Floats, rng: np.random.Generator) -> Floats:
    # A factor a bar, so that its four prices stay in order.
    factor: Floats = np.exp(rng.normal(0.0, 0.5, prices.shape[1]))
    return prices * factor


def _flat(prices: Floats, rng: np.random.Generator) -> Floats:
    return np.full_like(prices, prices[3, 0])


POISONS: Final[dict[str, Poison]] = {
    "ten times as high": _times_ten,
    "a tenth as high": _a_tenth,
    "in reverse order": _reversed,
    "noise": _noise,
    "flat": _flat,
}


def poisoned(subject: Subject, rng: np.random.Generator) -> Iterator[Attempt]:
    """Compare the signals up to some cuts with those on bars that are other ones after the cut."""
    length = len(subject.longest)
    cuts = [int(c) for c in rng.integers(1, length, POISONED // 2)]
    cuts += [int(r) + 1 for r in rng.permutation(subject.acting())[: POISONED // 2]]
    for end in sorted({c for c in cuts if c < length}):
        rows = subject.over(end)
        for name, poison in POISONS.items():
            parts = [_poisoned(b, n, poison, rng) for b, n in zip(subject.bars, rows, strict=True)]
            yield _attempt(subject, parts, rows, f"where prices after bar {end - 1} are {name}", end)


def _poisoned(bars: Bars, first: int, poison: Poison, rng: np.random.Generator) -> Bars:
    """Return bars of the same times whose prices and volumes from row `first` on are others, and valid."""
    if first == len(bars):
        return bars
    table = np.array([getattr(bars, name) for name in COLUMNS])
    table[:4, first:] = poison(table[:4, first:], rng)
    table[4, first:] = table[4, first:][::-1] * 7.0
    other = replace(bars, **dict(zip(COLUMNS, table, strict=True)))
    other.__dict__["times"] = bars.times
    return other


# ---------------------------------------------------------------- what is told
def _by_rounding(caught: list[Attempt], ties: list[Marks]) -> bool:
    """Return whether only ties changed. Where many rows are tied, as with flat prices, that excuses nothing."""
    if sum(int(t.sum()) for t in ties) > TIED * sum(len(t) for t in ties):
        return False
    return all(bool(t[rows].all()) for a in caught for rows, t in zip(a.rows, ties, strict=True))


def _count(attempts: Sequence[Attempt]) -> int:
    return sum(a.refused is None for a in attempts)


def _told(subject: Subject, caught: list[Attempt], prefixes: list[Attempt], futures: list[Attempt]) -> str:
    # The longest of the histories that show it: the farther from the start, the less a warm-up is suspected.
    first = caught[-1] if caught[-1] in futures else max(caught, key=lambda a: a.last)
    by_prefix, by_poison = (sum(a.change is not None for a in part) for part in (prefixes, futures))
    return (
        f"{subject.strategy.__name__} looks ahead: {_shown(subject, first)}. Seen in {by_prefix} of "
        f"{_count(prefixes)} shorter histories and in {by_poison} of {_count(futures)} poisoned futures. {MEND}"
    )


def _told_hidden(subject: Subject, hidden: list[Attempt]) -> str:
    return (
        f"{subject.strategy.__name__} looks ahead, and what it keeps between calls hides it: "
        f"{_shown(subject, hidden[-1])}, in a fresh process that has seen no more. Keep nothing between calls that "
        f"was computed from later bars. {MEND}"
    )


def _shown(subject: Subject, attempt: Attempt) -> str:
    change = attempt.change
    if change is None:
        raise AssertionError("only attempts with a change are told")
    return (
        f"its {change.column} for {place(subject.bars[change.feed], change.row)} is {shown(change.old)} with all bars "
        f"and {shown(change.new)} {attempt.kind}"
    )


def _refusal(subject: Subject, prefixes: list[Attempt]) -> Finding | None:
    """Return a finding where signals refuse a history though they took a shorter one, or refuse them all."""
    length = len(subject.longest)
    refused = [a for a in prefixes if a.refused is not None]
    taken = [a.last for a in prefixes if a.refused is None]
    if taken:  # the first bars of all are another matter: see edges
        refused = [a for a in refused if a.last > max(taken[0], length // 10)]
    if not refused:
        return None
    last = refused[-1]
    message = (
        f"signals fail on the first {last.last + 1} of {length} bars alone: {last.refused}. So look-ahead cannot be "
        "ruled out, and they would fail live, where the history grows"
    )
    return Finding("look-ahead", message, len(refused))
