"""What a feed is to bring, and how IB is asked for it and answers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from quant.core.bars import Bars
from quant.core.barsize import DAY, HOUR, MINUTE, SECOND, BarSize
from quant.core.sessions import first_day
from quant.ib.contracts import ContractSpec
from quant.ib.lookup import Found
from quant.store.query import Moment

# IB's step table (TWS API, "Historical Data Limitations"): bars up to a size need a duration of so many seconds.
_LEAST_S: Final = (
    (MINUTE, 30), (2 * MINUTE, 120), (30 * MINUTE, 1800), (HOUR, 3600), (3 * HOUR, 14_400), (8 * HOUR, 28_800),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What a feed is to bring; fields as those of Store.data."""

    spec: ContractSpec
    bar: BarSize
    what: str = "TRADES"
    rth: bool = True
    history_start: Moment = None
    history: Bars | None = None
    source: str = "5s"
    delayed_ok: bool = False


def start_of(told: str | int, bar: BarSize) -> int:
    """Return the start, UTC ns, of a row as IB writes it. Raises ValueError."""
    if bar.intraday:
        return int(told) * SECOND
    text = str(told)
    day = np.array([f"{text[:4]}-{text[4:6]}-{text[6:8]}"], dtype="datetime64[D]")
    return int(first_day(day, bar.unit).astype("datetime64[ns]").view(np.int64)[0])


def duration(length: int, bar: BarSize) -> str:
    """Return the shortest duration of IB's that covers `length` ns and may be asked for with bars of that size."""
    days = -(-length // DAY)
    if bar.unit == "mo":
        return f"{days // 28 + 1} M"
    if bar.unit == "w":
        return f"{days // 7 + 1} W"
    if bar.intraday and days <= 1:
        least = next(seconds for upto, seconds in _LEAST_S if bar.ns <= upto)
        return f"{max(-(-length // SECOND), least)} S"
    return f"{days + 1} D" if days < 365 else f"{days // 365 + 1} Y"


def no_bars(found: Found, wanted: Wanted) -> Bars:
    """Return bars of a contract, none of them."""
    none = np.empty(0)
    start = np.empty(0, dtype=np.int64)
    return Bars(
        found.instrument,
        wanted.bar,
        start,
        none,
        none,
        none,
        none,
        none,
        wanted.what,
        wanted.rth,
        source="ib",
    )
