"""The bars that live had beside those of now: equal, revised, missing, extra; and what a split has done to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.live.run.tape import BarLine
from quant.promotion.parity.day import Day
from quant.promotion.parity.value import BarCount, BarRow

_PRICES: Final = ("open", "high", "low", "close")
_SAME: Final = 0.002  # of a ratio: splits are of whole numbers, and revisions are far smaller
_LEAST: Final = 0.1  # a change of prices by less is no split


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """Bars side by side. apart: (feed, END) -> what was different, of all days that the tape tells of. came: live's."""

    count: BarCount
    apart: Mapping[tuple[int, int], str]
    came: tuple[Bars, ...]


def unsplit(bars: Bars, lines: Sequence[BarLine], day: Day, feed: int) -> tuple[Bars, float]:
    """Return the bars in the units of the day, and by how much prices were multiplied: 1 where no split came since.

    IB's history is in the units of today.
    """
    first, last = day.rows[feed]
    ratio = _ratio(bars[first:last], lines)
    if ratio is None or abs(ratio - 1.0) < _LEAST:
        return bars, 1.0
    columns: dict[str, Any] = {name: getattr(bars, name) * ratio for name in _PRICES}
    return replace(bars, **columns, volume=bars.volume / ratio), ratio


def split_before(bars: Bars, lines: Sequence[BarLine], day: Day, feed: int) -> float:
    """Return the split that came with the day: how much higher live's earlier bars were than they are now, else 1."""
    ratio = _ratio(bars[: day.rows[feed][0]], lines)
    return 1.0 if ratio is None or abs(ratio - 1.0) < _LEAST else ratio


def _ratio(bars: Bars, lines: Sequence[BarLine]) -> float | None:
    """Return live's prices by those of now where all have one ratio, of a split's kind; None without such."""
    rows = {start: row for row, start in enumerate(bars.start.tolist())}
    found = [line.close / float(bars.close[rows[line.start]]) for line in lines if line.start in rows]
    if not found:
        return None
    middle = float(np.median(found))
    whole = round(middle) if middle >= 1.0 else 1.0 / max(round(1.0 / middle), 1)
    halves = round(2 * middle) / 2 or whole  # 3 for 2
    near = [r for r in (float(whole), float(halves)) if abs(middle / r - 1.0) < _SAME]
    same = all(abs(one / middle - 1.0) < _SAME for one in found)
    return near[0] if near and same else None


def lay(
    bars: Sequence[Bars], lines: Sequence[Sequence[BarLine]], day: Day, began: int, ran: Callable[[int], bool]
) -> Laid:
    """Return live's bars beside those of now. lines: by feed. began: what ended up to then live had as history.

    ran: whether anything ran at an END; where nothing did, no bar lacks.
    """
    apart: dict[tuple[int, int], str] = {}
    rows: list[BarRow] = []
    came, equal = [], 0
    for n, (own, told) in enumerate(zip(bars, lines, strict=True)):
        had = {line.start: line for line in told}
        since = max(began + 1, min([line.end for line in told] + [day.begin + 1]))
        known = dict(zip(own.start.tolist(), own.end.tolist(), strict=True))
        for row, (start, end) in enumerate(known.items()):
            if end < since:
                continue
            state, words = _compared(own, row, had.get(start))
            if state == "missing" and not ran(end):
                continue
            if words:
                apart[n, end] = words
            if day.has(n, row):
                equal += not words
                rows += [BarRow(end, own.symbol, state, words, row)] if words else []
        extra = [line for line in told if line.start not in known and since <= line.end]
        for line in extra:
            apart[n, line.end] = "live had a bar that IB does not have now"
            if day.begin < line.end <= day.end:
                rows.append(BarRow(line.end, own.symbol, "extra", apart[n, line.end]))
        came.append(_came(own, had, extra, since, ran))
    states = [row.state for row in rows]
    rows.sort(key=lambda row: (row.at, row.symbol))
    revised, missing, more = (states.count(s) for s in ("revised", "missing", "extra"))
    count = BarCount(equal, revised, missing, more, tuple(rows))
    return Laid(count, apart, tuple(came))


def _compared(bars: Bars, row: int, line: BarLine | None) -> tuple[str, str]:
    if line is None:
        return "missing", "its bar never came live"
    now = {name: float(getattr(bars, name)[row]) for name in COLUMNS}
    other = [
        f"{name} {getattr(line, name)!r} in place of {v!r}"
        for name, v in now.items()
        if getattr(line, name) != v
    ]
    return ("revised", f"its bar came with {', '.join(other)}") if other else ("equal", "")


def _came(
    bars: Bars, had: Mapping[int, BarLine], extra: Sequence[BarLine], since: int, ran: Callable[[int], bool]
) -> Bars:
    """Return the bars as live had them."""
    values: dict[int, tuple[float, ...]] = {}
    for row, (start, end) in enumerate(zip(bars.start.tolist(), bars.end.tolist(), strict=True)):
        line = had.get(start)
        if line is not None:
            values[start] = tuple(getattr(line, name) for name in COLUMNS)
        elif end < since or not ran(end):
            values[start] = tuple(float(getattr(bars, name)[row]) for name in COLUMNS)
    values |= {line.start: tuple(getattr(line, name) for name in COLUMNS) for line in extra}
    starts = sorted(values)
    table = np.array([values[s] for s in starts], dtype=np.float64).reshape(len(starts), len(COLUMNS))
    columns: dict[str, Any] = {name: table[:, n] for n, name in enumerate(COLUMNS)}
    return replace(bars, start=np.array(starts, dtype=np.int64), **columns)
