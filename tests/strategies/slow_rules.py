"""The strategies' rules again, straight from their words: a bar at a time, numbers from TA-Lib, no shared code.

Each function returns the targets as a list; those with exits also their stops and limits.
"""

from __future__ import annotations

import math
from datetime import date, time
from typing import Any

import numpy as np
import talib

NAN = math.nan
TIE = 1e-9  # degrees; three rising points are always at 45, and polyfit misses that by rounding
# The days of the tests on which New York closes at 13:00; exchange: NYSE, Holidays & Trading Hours 2020.
HALF_DAYS = {date(2020, 11, 27), date(2020, 12, 24)}


def macd_cross(bars: Any, fast: int, slow: int, signal: int, short: bool) -> list[float]:
    line, average, _ = talib.MACD(bars.close, fast, slow, signal)
    targets = []
    for a, b in zip(line, average, strict=True):
        if math.isnan(b):
            targets.append(NAN)
        elif a > b:
            targets.append(1.0)
        else:
            targets.append(-1.0 if short else 0.0)
    return targets


def rsi_reversion(bars: Any, period: int, low: float, exit: float, short: bool) -> list[float]:
    position, targets = 0.0, []
    for value in talib.RSI(bars.close, period):
        if position > 0 and value > exit:
            position = 0.0
        if position < 0 and value < 100 - exit:
            position = 0.0
        if position == 0 and value < low:
            position = 1.0
        if position == 0 and short and value > 100 - low:
            position = -1.0
        targets.append(position)
    return targets


def brick_counts(bars: Any, size: float | None, period: int, factor: float, reversal: int) -> list[int]:
    """Lay one brick at a time onto the last one's close, each as high as its bar's size.

    Prices of the tests are whole cents, so a millionth of a brick is no price.
    """
    ranges = talib.ATR(bars.high, bars.low, bars.close, period)
    brick, last, count, counts = NAN, NAN, 0, []
    for i, close in enumerate(bars.close):
        known = size if size is not None else (factor * ranges[i - 1] if i > 0 else NAN)
        if known > 0:
            brick = known
        if math.isnan(last) and not math.isnan(brick):
            last = math.floor(close / brick + 0.5) * brick
            counts.append(0)
            continue
        while True:
            away = (close - last) / brick  # NaN before the first size: no brick
            if count >= 0 and away >= 1 - 1e-6:
                last, count = last + brick, count + 1
            elif count <= 0 and away <= -1 + 1e-6:
                last, count = last - brick, count - 1
            elif count > 0 and away <= -reversal + 1e-6:
                last, count = last - (1 if reversal == 1 else 2) * brick, -1
            elif count < 0 and away >= reversal - 1e-6:
                last, count = last + (1 if reversal == 1 else 2) * brick, 1
            else:
                break
        counts.append(count)
    return counts


def renko_trend(
    bars: Any, size: float | None, atr_period: int, atr_factor: float, bricks: int, reversal: int, short: bool
) -> list[float]:
    position, targets = 0.0, []
    for count in brick_counts(bars, size, atr_period, atr_factor, reversal):
        if count >= bricks:
            position = 1.0
        if count <= -bricks:
            position = -1.0 if short else 0.0
        targets.append(position)
    return targets


def angle(values: Any) -> float:
    """Degrees of numpy's least-squares line through the points, both axes scaled to [0, 1]."""
    if any(math.isnan(v) for v in values):
        return NAN
    height = max(values) - min(values)
    y = [(v - min(values)) / height if height else 0.0 for v in values]
    return math.degrees(math.atan(np.polyfit(np.linspace(0, 1, len(y)), y, 1)[0]))


def renko_macd(
    bars: Any, size: float | None, atr_period: int, atr_factor: float, bricks: int, reversal: int,
    fast: int, slow: int, signal: int, slope: int, short: bool,
) -> list[float]:  # fmt: skip
    counts = brick_counts(bars, size, atr_period, atr_factor, reversal)
    line, average, _ = talib.MACD(bars.close, fast, slow, signal)
    position, targets = 0.0, []
    for i, count in enumerate(counts):
        above = below = faster = slower = False
        if i >= slope - 1:
            a, b = angle(line[i - slope + 1 : i + 1]), angle(average[i - slope + 1 : i + 1])
            above, below, faster, slower = (
                line[i] > average[i],
                line[i] < average[i],
                a > b + TIE,
                a < b - TIE,
            )
        buy = count >= bricks and above and faster
        sell = short and count <= -bricks and below and slower
        if position == 1.0 and below and slower:
            position = 0.0
        if position == -1.0 and above and faster:
            position = 0.0
        if position == 0.0 and (buy or sell):
            position = 1.0 if buy else -1.0
        targets.append(position)
    return targets


def macd_stochastic(
    bars: Any, fast: int, slow: int, signal: int, stochastic: int, smooth: int, above: float,
    atr_period: int, atr_factor: float,
) -> tuple[list[float], list[float]]:  # fmt: skip
    line, average, _ = talib.MACD(bars.close, fast, slow, signal)
    k, _ = talib.STOCH(bars.high, bars.low, bars.close, stochastic, smooth, 0, 1, 0)
    ranges = talib.ATR(bars.high, bars.low, bars.close, atr_period)
    long, stop, targets, stops = False, NAN, [], []
    for i in range(len(bars)):
        reached = bars.low[i] <= stop  # the stop that the bar before left
        if bars.close[i] - atr_factor * ranges[i] > 0:
            stop = bars.close[i] - atr_factor * ranges[i]
        rises = i > 0 and k[i] > k[i - 1]
        if reached:
            long = False
        elif line[i] > average[i] and k[i] > above and rises and not math.isnan(stop):
            long = True
        targets.append(1.0 if long else 0.0)
        stops.append(stop)
    return targets, stops


def opening_range(
    bars: Any, minutes: int, volume: float, days: int, target: float, short: bool
) -> tuple[list[float], list[float], list[float]]:
    """New York's hours by the clock: 09:30 to 16:00, to 13:00 on the half days."""
    local = bars.frame().index
    n = len(bars)
    targets, stops, limits = [0.0] * n, [NAN] * n, [NAN] * n
    totals: dict[date, list[float]] = {}  # session -> [volume, bars]
    edges: dict[date, list[float]] = {}  # session -> [bottom, top]
    side: dict[date, float] = {}
    for i, moment in enumerate(local):
        day = moment.date()
        close = time(13) if day in HALF_DAYS else time(16)
        targets[i] = side.get(day, 0.0)
        if not time(9, 30) <= moment.time() < close:
            continue
        earlier = [totals[d] for d in totals if d < day][-days:]
        total = totals.setdefault(day, [0.0, 0])
        total[0] += bars.volume[i]
        total[1] += 1
        if moment.hour * 60 + moment.minute - 570 < minutes:
            bottom, top = edges.get(day, (math.inf, -math.inf))
            edges[day] = [min(bottom, bars.low[i]), max(top, bars.high[i])]
            continue
        busy = volume == 0
        if earlier and not busy:
            average = sum(v for v, _ in earlier) / sum(m for _, m in earlier)
            busy = bars.volume[i - 1] > volume * average
        if day not in edges or day in side or not busy:
            continue
        bottom, top = edges[day]
        if bars.close[i] > top:
            side[day], stops[i], limits[i] = 1.0, bottom, top * (1 + target / 100)
        elif short and bars.close[i] < bottom:
            side[day], stops[i], limits[i] = -1.0, top, bottom * (1 - target / 100)
        targets[i] = side.get(day, 0.0)
    return targets, stops, limits
