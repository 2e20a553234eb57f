"""Made-up bars, marked SYNTHETIC, for sizes that no sample has. Same seed, same bars, on every platform."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import numpy as np

from quant.core.bars import COLUMNS, Bars
from quant.core.barsize import BarSize, bar_size
from quant.core.calendar import Dates, Ints, check_name
from quant.core.calendar import calendar as load_calendar
from quant.core.grid import session_starts
from quant.core.instrument import Instrument
from quant.core.sessions import Floats, first_day
from quant.errors import ParameterError

SOURCE: Final = "SYNTHETIC"
TICK: Final = 0.01
_CHUNK: Final = 1_000_000  # bars; bounds the memory of intermediate arrays


def synthetic(
    symbol: str,
    bar: str | BarSize,
    start: str | date,
    end: str | date,
    *,
    calendar: str = "XNYS",
    seed: int = 0,
    price: float = 100.0,
    volatility: float = 0.2,
) -> Bars:
    """Return bars of a random walk in the sessions from `start` to `end` (dates, both included).

    calendar: exchange_calendars' name. price: the first open. volatility: of a year's return. Prices are
    multiples of 0.01 and at least that; the source is "SYNTHETIC". Raises ParameterError.
    """
    size = bar_size(bar)
    if not price >= TICK:
        raise ParameterError("price", price, f"must be at least {TICK}")
    if not 0 <= volatility <= 2:
        raise ParameterError("volatility", volatility, "must lie between 0 and 2, e.g. 0.2 for 20 % a year")
    try:
        first, last = (np.datetime64(d, "D") for d in (start, end))
    except ValueError:
        raise ParameterError("start, end", (start, end), 'must be dates like "2017-01-03"') from None
    if last < first:
        raise ParameterError("end", str(end), f"lies before start = {start}")
    years = [int(d.astype("datetime64[Y]").astype(int)) + 1970 for d in (first, last)]
    name = check_name(calendar)
    sessions = load_calendar(name, years[0], years[1])
    if size.intraday:
        starts = session_starts(sessions, size, first, last)
    else:
        dates = sessions.dates[(sessions.dates >= first) & (sessions.dates <= last)]
        starts = _labels(dates, size.unit)
    a_year = len(starts) / max(float((last - first).astype(int) + 1) / 365.25, 1e-9)
    columns: dict[str, Any] = _walk(
        len(starts), seed, price, volatility / np.sqrt(a_year) if len(starts) else 0.0
    )
    instrument = Instrument(symbol, exchange=SOURCE, tick=TICK, calendar=name, timezone=sessions.timezone)
    return Bars(instrument, size, starts, **columns, source=SOURCE, adjusted="none")


def _labels(dates: Dates, unit: str) -> Ints:
    """Return the labels of the days, weeks (Monday) or months that have sessions."""
    dates = np.unique(first_day(dates, unit))
    labels: Ints = dates.astype("datetime64[ns]").view(np.int64)
    return labels


def _walk(n: int, seed: int, price: float, deviation: float) -> dict[str, Floats]:
    """Return columns of a walk whose closes move by `deviation` (standard, as a fraction) a bar."""
    rng = np.random.Generator(np.random.PCG64(seed))
    columns = {name: np.empty(n) for name in COLUMNS}
    level = price
    for a in range(0, n, _CHUNK):
        rows = slice(a, min(a + _CHUNK, n))
        part, level = _chunk(rng, rows.stop - a, level, deviation)
        for name, values in part.items():
            columns[name][rows] = values
    return columns


def _chunk(
    rng: np.random.Generator, n: int, level: float, deviation: float
) -> tuple[dict[str, Floats], float]:
    """Return the next `n` bars after `level`, and the level at their end.

    Whole random numbers and +, x, sqrt only: numpy's normal numbers, exp and log may differ in the last bit
    from one platform to another.
    """
    draw = rng.integers(0, 2**16, size=(n, 8), dtype=np.uint16)
    # A sum of four uniform numbers is near enough to a normal one: mean 4 x 32767.5, variance 4 x 2^32 / 12.
    move = (draw[:, :4].sum(axis=1, dtype=np.int64) - 131_070.0) * (deviation / (65_536.0 * np.sqrt(1 / 3)))
    # The drift makes up for what a walk of products loses, so that its median stays where it is.
    close = level * np.cumprod(1.0 + move + deviation * deviation / 2)
    share = draw[:, 4:7] * (deviation / 65_536.0)  # (n, 3) in [0, deviation)
    opened = np.append(level, close[:-1]) * (1.0 + (share[:, 0] - deviation / 2) / 4)
    if n:
        level = float(close[-1])
    high = np.maximum(opened, close) * (1.0 + share[:, 1])
    low = np.minimum(opened, close) * (1.0 - share[:, 2])
    volume = 100.0 + np.floor(draw[:, 7].astype(np.float64) ** 2 / 4096.0)
    found = {"open": opened, "high": high, "low": low, "close": close}
    return {**{k: _on_tick(v) for k, v in found.items()}, "volume": volume}, level


def _on_tick(prices: Floats) -> Floats:
    # n / 100 is the float64 nearest to n hundredths; n * 0.01 would not be.
    rounded: Floats = np.maximum(np.rint(prices * 100.0), 1.0) / 100.0
    return rounded
