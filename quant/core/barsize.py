"""Bar sizes: the ones that the store knows, and the spellings of IB and pandas for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from quant.errors import ParameterError

SECOND: Final = 1_000_000_000  # ns
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


@dataclass(frozen=True, slots=True)
class BarSize:
    """A nominal bar length.

    name: as DESIGN §4 writes it ("5m", "1d"). ns: nominal length in nanoseconds (a month counts as
    31 days, so that `ns` orders sizes). unit: "s", "m", "h", "d", "w" or "mo".
    """

    name: str
    count: int
    unit: str
    ns: int

    @property
    def intraday(self) -> bool:
        """True for sizes below one day, whose start is a moment and not a date."""
        return self.ns < DAY

    @property
    def minutes(self) -> float:
        """Nominal length in minutes."""
        return self.ns / MINUTE

    def __str__(self) -> str:
        return self.name


_UNIT_NS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY, "mo": 31 * DAY}
_NAMES: Final = (
    *("1s", "5s", "10s", "15s", "30s"),
    *("1m", "2m", "3m", "5m", "10m", "15m", "20m", "30m"),
    *("1h", "2h", "3h", "4h", "8h", "1d", "1w", "1mo"),
)


def _size(name: str) -> BarSize:
    count, unit = re.fullmatch(r"(\d+)(\w+)", name).groups()  # type: ignore[union-attr]  # _NAMES is ours
    return BarSize(name, int(count), unit, int(count) * _UNIT_NS[unit])


SIZES: Final = {name: _size(name) for name in _NAMES}

# IB writes "5 mins", "1 hour", "1 day", "1W"; pandas "5min", "1h", "1D", "W-FRI", "ME".
_UNITS: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "t", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks", "w-sun", "w-fri"), "w"),
    **dict.fromkeys(("mo", "me", "month", "months"), "mo"),
}


def bar_size(spelling: str | BarSize) -> BarSize:
    """Return the bar size that `spelling` means.

    Accepts our names, IB's and pandas' spellings; "1m" is a minute, "1M", "1MS" and "1mo" a month; "60m" is
    "1h". Not "24h" or "7d": a day is a session here, and a week begins on Monday. Raises ParameterError for
    a size that IB does not serve.
    """
    if isinstance(spelling, BarSize):
        return spelling
    text = str(spelling).strip()
    match = re.fullmatch(r"(\d*)\s*([A-Za-z-]+)", text)
    if match:
        count = int(match[1] or 1)
        # Case decides: pandas' "M" and "MS" are months, its "ms" a millisecond.
        unit = "mo" if match[2] in ("M", "MS") else _UNITS.get(match[2].lower())
        for size in SIZES.values():
            same_kind = size.unit == unit or (size.intraday and unit in ("s", "m", "h"))
            if unit is not None and same_kind and size.ns == count * _UNIT_NS[unit]:
                return size
    raise ParameterError("bar", spelling, f"not a bar size; one of {' '.join(SIZES)}")
