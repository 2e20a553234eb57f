"""Bars of any size and ticks of any moment, from the series that a listing has. Knows nothing of requests or clients.

Coarser bars are the stored ones' sum, finer ones and ticks lie on a path inside them, so that all of them agree.
Nothing later than `now` is ever shown: the bar that `now` lies in holds what its path has shown so far.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import DAY, BarSize
from quant.core.calendar import Calendar, Dates
from quant.core.sessions import first_day, group_starts
from quant.tws.exchange.hours import spans
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.path import Shape, Ticks, moments, paths
from quant.tws.exchange.shelf import Held, base_of, made_up

_KEPT = 256  # paths; a day of seconds takes 0.5 MB
_NOTHING: Final = Ticks(np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))


class Tape:
    """What the market was. held: series by con id; a listing without any gets a made-up one. seed: of all paths."""

    def __init__(self, held: Mapping[int, Sequence[Held]], seed: int = 0) -> None:
        self._held = {con_id: list(series) for con_id, series in held.items()}
        self._seed = seed
        self._paths: OrderedDict[tuple[int, str, str, int], Ticks] = OrderedDict()

    def series(self, listing: Listing) -> list[Held]:
        """Return the series of a listing, the store's or the made-up one."""
        if listing.con_id not in self._held:
            self._held[listing.con_id] = made_up(listing, self._seed)
        return self._held[listing.con_id]

    def what(self, listing: Listing, wanted: str) -> str:
        """Return which whatToShow the answer comes from: the one wanted where a series has it, else the base."""
        return wanted if any(h.what == wanted for h in self.series(listing)) else base_of(listing)

    # ------------------------------------------------------------ bars
    def bars(
        self,
        listing: Listing,
        size: BarSize,
        what: str,
        rth: bool,
        first: np.datetime64,
        last: np.datetime64,
        now: int,
    ) -> Bars:
        """Return the bars of the sessions `first` to `last`, both included, that are known at `now` (UTC ns).

        first: of weeks and months the first day of one, or its bar holds only part of it.
        what: as `what` gave it. rth: without bars outside the sessions, where a series has such. For each session the
        nearest series that has it counts: of that size, else a finer one, else a path inside a coarser one.
        """
        parts: list[Bars] = []
        taken: Dates = np.empty(0, dtype="datetime64[D]")
        for held in self._preferred(listing, size, what, rth):
            known = _begun(_of_sessions(held.load(), first, last), now)
            if held.bar.ns <= size.ns:  # inside longer bars the path is cut instead
                known = self._until(listing, known, now)
            if rth and not held.rth:
                known = _cut(known, known.times.in_session)
            known = _cut(known, ~np.isin(first_day(known.session, size.unit), taken))
            if len(known):
                taken = np.union1d(taken, first_day(known.session, size.unit))
                parts.append(self._as_size(listing, known, size, now))
        if not parts:
            return self.series(listing)[0].load()[:0]
        return _joined(parts)

    def _preferred(self, listing: Listing, size: BarSize, what: str, rth: bool) -> list[Held]:
        def order(held: Held) -> tuple[bool, int, int]:
            distance = held.bar.ns - size.ns
            rank = 0 if distance == 0 else 1 if distance < 0 else 2
            return held.rth != rth, rank, abs(distance)

        return sorted((h for h in self.series(listing) if h.what == what and _makes(h.bar, size)), key=order)

    def _as_size(self, listing: Listing, bars: Bars, size: BarSize, now: int) -> Bars:
        if bars.bar.ns == size.ns:
            return bars
        if bars.bar.ns < size.ns:
            return bars.resample(size)
        ticks = [self.path(listing, bars, row) for row in range(len(bars))]
        ticks[-1] = ticks[-1].upto(now)  # what of the last bar lies ahead is nobody's to know
        session = np.repeat(bars.session, [len(t) for t in ticks])
        seen = _chained(ticks)
        return _summed(bars, size, seen, session) if len(seen) else replace(bars[:0], bar=size)

    def _until(self, listing: Listing, bars: Bars, now: int) -> Bars:
        """Return bars that have begun by `now`, the last one as far as its path has come."""
        if not len(bars) or bars.end[-1] <= now:
            return bars
        row = len(bars) - 1
        seen = self.path(listing, bars, row).upto(now)
        if not len(seen):  # the clock's bar has begun before its session
            return bars[:row]
        columns: dict[str, Any] = {name: np.array(getattr(bars, name)) for name in COLUMNS}
        for name, value in _sum(seen).items():
            columns[name][row] = value
        return replace(bars, **columns)

    # ------------------------------------------------------------ ticks
    def ticks(self, listing: Listing, begin: int, end: int) -> Ticks:
        """Return the ticks with begin <= time < end, UTC ns, on the path of the finest series that has the session."""
        if end <= begin:
            return _NOTHING
        found = []
        taken: Dates = np.empty(0, dtype="datetime64[D]")
        for held in self._finest(listing):
            near = _near(held.load(), begin, end)
            near = _cut(near, ~np.isin(near.session, taken))
            if not len(near):
                continue
            taken = np.union1d(taken, near.session)
            meets = (near.times.begin < end) & (near.end > begin)
            found += [self.path(listing, near, int(row)) for row in np.flatnonzero(meets)]
        return (
            _chained(sorted(found, key=lambda t: int(t.time[0]))).between(begin, end) if found else _NOTHING
        )

    def last(self, listing: Listing, now: int) -> tuple[int, float] | None:
        """Return the time and price of the last tick up to `now`, None before the first."""
        best: tuple[int, float] | None = None
        for held in self._finest(listing):
            whole = held.load()
            # A day's label may lie ahead of its session by the clock of UTC.
            upto = int(np.searchsorted(whole.start, now + (0 if held.bar.intraday else DAY), side="right"))
            near = whole[max(upto - 5, 0) : upto]
            begun = int(np.searchsorted(near.times.begin, now, side="right")) if len(near) else 0
            for row in (begun - 1, begun - 2):  # a bar that has begun may have no tick yet
                if row < 0 or (best is not None and near.end[row] <= best[0]):
                    break
                seen = self.path(listing, near, row).upto(now)
                if len(seen):
                    if best is None or seen.time[-1] > best[0]:
                        best = int(seen.time[-1]), float(seen.price[-1])
                    break
        return best

    def _finest(self, listing: Listing) -> list[Held]:
        base = base_of(listing)
        return sorted(
            (h for h in self.series(listing) if h.what == base), key=lambda h: (h.bar.ns, not h.rth)
        )

    def path(self, listing: Listing, bars: Bars, row: int) -> Ticks:
        """Return the ticks of one bar of a series that the tape has."""
        key = self._key(listing, bars, row)
        if key in self._paths:
            self._paths.move_to_end(key)
            return self._paths[key]
        return self.paths(listing, bars, row, 1)[0]

    def paths(self, listing: Listing, bars: Bars, first: int, count: int) -> list[Ticks]:
        """Return what `path` gives of the bars from row `first` on: `count` of them, or less where one is longer."""
        last = first + count
        edges = zip(bars.times.begin[first:last].tolist(), bars.end[first:last].tolist(), strict=True)
        times = [moments(_spans(bars.calendar, begin, end)) for begin, end in edges]
        times = list(takewhile(lambda time: len(time) == len(times[0]), times))
        near = bars[first : first + len(times)]
        shapes = [
            Shape(*row) for row in zip(*(getattr(near, name).tolist() for name in COLUMNS), strict=True)
        ]
        found = paths(times, shapes, listing.rule, listing.symbol, near.start.tolist(), self._seed)
        self._paths |= {self._key(listing, near, row): ticks for row, ticks in enumerate(found)}
        while len(self._paths) > _KEPT:
            self._paths.popitem(last=False)
        return found

    @staticmethod
    def _key(listing: Listing, bars: Bars, row: int) -> tuple[int, str, str, int]:
        return listing.con_id, bars.bar.name, f"{bars.what} {bars.rth}", int(bars.start[row])


def _makes(held: BarSize, size: BarSize) -> bool:
    """Return whether bars of `held` give bars of `size`, as a sum or by a path."""
    if held.ns >= size.ns:
        return held.ns == size.ns or held.ns <= DAY  # a path inside a week would need the days' own sums
    return size.ns % held.ns == 0 if size.intraday else held.unit not in ("w", "mo")


def _spans(sessions: Calendar | None, begin: int, end: int) -> list[tuple[int, int]]:
    """Return the stretches of [begin, end) in which the exchange trades; all of it where it is closed throughout."""
    if sessions is None or not len(sessions.dates):
        return [(begin, end)]
    first = int(np.searchsorted(sessions.close, begin, side="right"))
    last = int(np.searchsorted(sessions.open, end))
    found = [(max(a, begin), min(b, end)) for row in range(first, last) for a, b in spans(sessions, row)]
    return [(a, b) for a, b in found if a < b] or [(begin, end)]


def _of_sessions(bars: Bars, first: np.datetime64, last: np.datetime64) -> Bars:
    """Return the bars whose session lies in first .. last; weeks and months count by the day that labels them."""
    low, high = (int(d.astype("datetime64[ns]").astype(np.int64)) for d in (first, last))
    if not bars.bar.intraday:
        return bars.between(low, high + DAY)
    near = bars.between(low - 2 * DAY, high + 3 * DAY)
    return _cut(near, (near.session >= first) & (near.session <= last))


def _begun(bars: Bars, now: int) -> Bars:
    return bars[: int(np.searchsorted(bars.times.begin, now, side="right"))] if len(bars) else bars


def _near(bars: Bars, begin: int, end: int) -> Bars:
    slack = bars.bar.ns + 2 * DAY
    return bars.between(begin - slack, end + slack)


def _cut(bars: Bars, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Bars:
    if np.all(keep):
        return bars
    columns: dict[str, Any] = {name: getattr(bars, name)[keep] for name in ("start", *COLUMNS)}
    return replace(bars, **columns)


def _joined(parts: list[Bars]) -> Bars:
    if len(parts) == 1:
        return parts[0]
    start = np.concatenate([p.start for p in parts])
    order = np.argsort(start, kind="stable")
    columns: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts])[order] for n in COLUMNS}
    return replace(parts[0], start=start[order], **columns)


def _chained(ticks: Sequence[Ticks]) -> Ticks:
    if len(ticks) == 1:
        return ticks[0]
    columns = [np.concatenate([getattr(t, name) for t in ticks]) for name in ("time", "price", "size")]
    return Ticks(*columns)


def _sum(ticks: Ticks) -> dict[str, float]:
    return {
        "open": float(ticks.price[0]), "high": float(np.max(ticks.price)), "low": float(np.min(ticks.price)),
        "close": float(ticks.price[-1]), "volume": float(np.sum(ticks.size)),
    }  # fmt: skip


def _summed(like: Bars, size: BarSize, ticks: Ticks, session: Dates) -> Bars:
    """Return bars of `size` from ticks, on the same grid as Bars.resample."""
    start = group_starts(ticks.time, session, size, like.instrument.timezone, like.calendar)
    first = np.flatnonzero(np.append(True, np.diff(start) != 0))
    last = np.append(first, len(start))[1:] - 1
    columns: dict[str, Any] = {
        "open": ticks.price[first], "high": np.maximum.reduceat(ticks.price, first),
        "low": np.minimum.reduceat(ticks.price, first), "close": ticks.price[last],
        "volume": np.add.reduceat(ticks.size, first),
    }  # fmt: skip
    return replace(like, bar=size, start=start[first], **columns)
