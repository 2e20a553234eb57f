"""How long one request for bars may be: IB's table of step sizes, and the text of a duration. Pure.

Source: interactivebrokers.github.io/tws-api/historical_limitations.html, "Step Sizes": for each duration the sizes of
bars that may be asked for. The longest duration of a size is the one that asks least often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quant.core.barsize import SECOND, SIZES, BarSize

LEAST_S: Final = 30  # seconds; IB refuses shorter durations


@dataclass(frozen=True, slots=True)
class Step:
    """The longest request for one size of bars.

    text: as IB writes it. seconds: of trading, where the size is asked for by seconds, else None. sessions: most of
    them in a request, None = as many as lie in `days`. days: on the calendar, a little less than `text` says, so that
    it reaches far enough however IB counts months and years.
    """

    text: str
    seconds: int | None = None
    sessions: int | None = None
    days: int = 1


_BY_SIZE: Final = (
    ("1s", Step("1800 S", seconds=1800)),
    ("5s", Step("3600 S", seconds=3600)),
    ("10s 15s", Step("14400 S", seconds=14_400)),
    ("30s", Step("28800 S", seconds=28_800)),
    ("1m", Step("1 D", sessions=1)),
    ("2m", Step("2 D", sessions=2)),
    ("3m 5m 10m 15m 20m", Step("1 W", days=7)),
    ("30m 1h 2h 3h 4h 8h", Step("1 M", days=28)),
    ("1d 1w 1mo", Step("1 Y", days=364)),
)
LONGEST: Final = {SIZES[name]: step for names, step in _BY_SIZE for name in names.split()}
# Weeks and months in a request: one more is asked for, as the first may hold only a part of its sessions.
PERIODS: Final = {"w": 50, "mo": 10}


def in_seconds(length_ns: int) -> str:
    """Return the duration for a stretch of trading time: "23400 S"."""
    return f"{max(-(-length_ns // SECOND), LEAST_S)} S"


def in_cells(size: BarSize, count: int, full: bool) -> str:
    """Return the duration for `count` sessions, or weeks or months where bars are such.

    full: no further session fits into the longest request.
    """
    if size.unit in PERIODS:
        return f"{count + 1} {'W' if size.unit == 'w' else 'M'}"
    return LONGEST[size].text if full else f"{count} D"
