"""What is odd about bars: findings, never repairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from quant.core.bars import Bars
from quant.core.calendar import Dates, Ints
from quant.core.finding import Finding
from quant.core.grid import session_starts
from quant.core.sessions import Floats, first_day
from quant.core.zones import to_local
from quant.errors import BarsError

Mask = npt.NDArray[np.bool_]

SHOWN: Final = 3  # first places that a message names
# A move is a spike where it is this many times the usual one and the next bar takes most of it back. The
# usual one is the median size of the moves (zeros apart) among 500 bars: one bad tick hardly changes it.
SPIKE: Final = 20.0
BLOCK: Final = 500
TAKEN_BACK: Final = 0.5


def check(bars: Bars) -> list[Finding]:
    """Return what is odd about `bars`; empty if nothing is.

    What Bars refuses (duplicates, unsorted rows, high below low, values that are no numbers) cannot occur.
    Spike: |log of close / close before| > 20 x the median of its block of 500 bars, and the next bar goes
    back by at least half; or a high or low that stands as far off the bar's open and close, and off the
    next open.
    """
    if not len(bars):
        return [Finding("no-bars", f"{bars.symbol} {bars.bar}: there are no bars", 1)]
    try:
        _ = bars.times
    except BarsError as e:
        return [Finding("bars-overlap", e.args[0], len(e.rows))]
    return [*_calendar(bars), *_prices(bars), *_volume(bars)]


def _calendar(bars: Bars) -> Iterator[Finding]:
    if bars.calendar is None or not len(bars.calendar.dates):
        told = "no calendar is known, so missing bars and bars outside the session cannot be told"
        yield Finding("no-calendar", told, 1, "note")
        return
    outside = ~bars.times.in_session
    if bars.rth and outside.any():
        yield _of(bars, "bars-outside-session", "bars outside the session", outside)
    if bars.bar.intraday:
        expected = session_starts(bars.calendar, bars.bar, bars.session[0], bars.session[-1])
        # Bars begin and end where the series does: what lies before or after it is not missing.
        expected = expected[(expected >= bars.start[0]) & (expected <= bars.start[-1])]
        missing = expected[~np.isin(expected, bars.start, assume_unique=True)]
        # Without trading hours' limits a start may be off the session's grid and right.
        off = bars.times.in_session & ~np.isin(bars.start, expected, assume_unique=True)
        if bars.rth and off.any():
            yield _of(bars, "bars-off-grid", f"bars that do not start where bars of {bars.bar} do", off)
    else:
        missing = _missing_dates(bars, bars.calendar.dates)
    if len(missing):
        share = len(missing) / (len(missing) + len(bars))
        of = f"{share:.2%} of what {bars.calendar.name} has"
        told = f"bars are missing ({of}), first: {_when(bars, missing)}"
        yield Finding("bars-missing", told, len(missing))


def _missing_dates(bars: Bars, dates: Dates) -> Ints:
    """Return labels of the calendar's sessions `dates`, or of their weeks or months, without a bar."""
    held = first_day(bars.session, bars.bar.unit)
    wanted = np.unique(first_day(dates, bars.bar.unit))
    wanted = wanted[(wanted >= held[0]) & (wanted <= held[-1])]
    labels: Ints = wanted[~np.isin(wanted, held)].astype("datetime64[ns]").view(np.int64)
    return labels


def _prices(bars: Bars) -> Iterator[Finding]:
    low = np.min([bars.open, bars.high, bars.low, bars.close], axis=0)
    if (low <= 0).any():
        yield _of(bars, "price-not-positive", "bars with a price of zero or below", low <= 0)
    spikes = _spikes(bars, low > 0)
    if spikes.any():
        yield _of(bars, "spike", "bars whose price jumps and comes back", spikes)


def _spikes(bars: Bars, positive: Mask) -> Mask:
    if len(bars) < 3:
        return np.zeros(len(bars), dtype=bool)
    o, h, lo, c = (np.log(np.where(positive, v, 1.0)) for v in (bars.open, bars.high, bars.low, bars.close))
    move = np.diff(c, prepend=c[0])
    limit = SPIKE * _usual(np.abs(move))
    after = np.append(move[1:], 0.0)
    back = (np.sign(after) != np.sign(move)) & (np.abs(after) >= TAKEN_BACK * np.abs(move))
    body_high, body_low = np.maximum(o, c), np.minimum(o, c)
    opens_next = np.append(o[1:], c[-1])
    up = (h - np.maximum(body_high, opens_next)) > limit
    down = (np.minimum(body_low, opens_next) - lo) > limit
    found: Mask = (((np.abs(move) > limit) & back) | up | down) & positive
    return found


def _usual(size: Floats) -> Floats:
    """Return, per bar, the median of the moves' sizes in its block, zeros apart; inf where all are zero."""
    n = len(size)
    blocks = max(1, n // BLOCK)
    row = np.minimum(np.arange(n) // BLOCK, blocks - 1)  # the rest goes with the last block
    edges = np.append(np.arange(blocks) * BLOCK, n)
    usual = np.full(blocks, np.inf)
    for k in range(blocks):
        moved = size[edges[k] : edges[k + 1]]
        moved = moved[moved > 0]
        if len(moved):
            usual[k] = np.median(moved)
    return usual[row]


def _volume(bars: Bars) -> Iterator[Finding]:
    if (bars.volume < 0).any() and bars.what == "TRADES":
        yield _of(bars, "volume-negative", "bars with a volume below zero", bars.volume < 0)
    none = bars.volume == 0
    if none.any() and bars.what == "TRADES":
        yield _of(bars, "volume-zero", "bars without volume", none, "note")


def _of(bars: Bars, code: str, told: str, mask: Mask, level: str = "warning") -> Finding:
    return Finding(code, f"{told}, first: {_when(bars, bars.start[mask])}", int(mask.sum()), level)


def _when(bars: Bars, moments: Ints) -> str:
    """Return the first few moments in exchange time, as text."""
    first = moments[:SHOWN]
    if not bars.bar.intraday:
        text = np.datetime_as_string(first.view("datetime64[ns]"), unit="D")
    else:
        wall = to_local(np.ascontiguousarray(first), bars.instrument.timezone)
        text = np.char.replace(np.datetime_as_string(wall.view("datetime64[ns]"), unit="s"), "T", " ")
    return ", ".join(map(str, text)) + (", ..." if len(moments) > SHOWN else "")
