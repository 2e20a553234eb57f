"""Figures of what was traded: closed trades, exposure, turnover. Knows no engine.

pnl: (k,) the profit of each closed trade in the account's currency, net of commission; open trades are
left out. A figure that is undefined, as all are without trades, is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quant.metrics.returns import Floats


def win_rate(pnl: Floats) -> float:
    """Return the share of trades that made money; a trade at exactly 0 is no win.

    Source: count(pnl > 0) / count.
    """
    return float(np.mean(pnl > 0.0)) if len(pnl) else math.nan


def profit_factor(pnl: Floats) -> float:
    """Return what winning trades made over what losing trades lost; NaN without a loss.

    Source: sum(pnl > 0) / |sum(pnl < 0)|.
    """
    lost = -float(np.sum(pnl[pnl < 0.0]))
    return float(np.sum(pnl[pnl > 0.0])) / lost if lost > 0.0 else math.nan


def average(pnl: Floats) -> float:
    """Return the mean profit of a trade, in the account's currency.

    Source: sum(pnl) / count.
    """
    return float(np.mean(pnl)) if len(pnl) else math.nan


def best(pnl: Floats) -> float:
    """Return the profit of the best trade, in the account's currency.

    Source: max(pnl).
    """
    return float(np.max(pnl)) if len(pnl) else math.nan


def worst(pnl: Floats) -> float:
    """Return the profit of the worst trade, in the account's currency.

    Source: min(pnl).
    """
    return float(np.min(pnl)) if len(pnl) else math.nan


def sqn(pnl: Floats) -> float:
    """Return the system quality number; NaN below two trades or where all made the same.

    Source: sqrt(count) * mean(pnl) / std(pnl, ddof=0), as backtrader's SQN analyzer (deviation with n,
    not n - 1). Van Tharp's own takes multiples of each trade's risk, which a target does not name.
    """
    if len(pnl) < 2 or np.max(pnl) == np.min(pnl):
        return math.nan
    return math.sqrt(len(pnl)) * float(np.mean(pnl)) / float(np.std(pnl, ddof=0))


def exposure(held: NDArray[np.bool_]) -> float:
    """Return the share of bars at whose end any position was held.

    Source: count(held) / count.
    """
    return float(np.mean(held)) if len(held) else math.nan


def turnover(traded: float, equity: Floats, years: float) -> float:
    """Return how often a year the account's mean value was traded; buying and selling it once is 2.

    traded: sum of |quantity| * price * multiplier of all fills. equity: (n,) at each bar's end.
    NaN where the mean value is not above 0.
    Source: traded / years / mean(equity).
    """
    mean = float(np.mean(equity)) if len(equity) else math.nan
    return traded / years / mean if mean > 0.0 and years > 0.0 else math.nan
