"""Figures of a series of returns: growth, spread, ratios. Knows no account, no orders, no trades.

A figure that is undefined is NaN, never infinite and never a warning. `periods_per_year` is the number of
returns in a year: the calendar's sessions for daily returns, 252 without a calendar, 365, 52, 12.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quant.errors import ParameterError

Floats = NDArray[np.float64]
Days = NDArray[np.datetime64]

# Per period. A return carries a rounding error of about 2e-16; a spread below this is nothing but that.
NO_SPREAD: Final = 1e-14


def session_returns(equity: Floats, session: Days, start_cash: float) -> tuple[Floats, Days]:
    """Return the simple return of each session, and the sessions.

    equity: (n,) account value at each bar's end. session: (n,) datetime64[D], not decreasing; bars that share
    one are one period, so daily and longer bars give a return a bar. start_cash: what the first return is
    measured against, so that prod(1 + r) = final / start and a loss on the first day counts.
    Result: (sessions,) float64 and datetime64[D]. NaN after a session that ended at zero or below.
    Raises ParameterError if lengths differ, sessions go back, or start_cash is not above 0.
    Source: simple returns, value over previous value less 1.
    """
    if equity.shape != session.shape:
        reason = f"one a bar is needed, equity has {len(equity)}"
        raise ParameterError("session", f"{len(session)} values", reason)
    if not start_cash > 0.0:
        raise ParameterError("start_cash", start_cash, "must be above 0")
    if np.any(session[1:] < session[:-1]):
        raise ParameterError("session", "dates that go back", "must not decrease from bar to bar")
    last = np.ones(len(session), dtype=bool)
    last[:-1] = session[1:] != session[:-1]
    ends = equity[last]
    before = np.concatenate(([start_cash], ends[:-1]))
    returns = np.full(len(ends), np.nan)
    np.divide(ends - before, before, out=returns, where=before > 0.0)
    return returns, session[last]


def total_return(final: float, start_cash: float) -> float:
    """Return the growth of the account as a fraction of the starting cash.

    Source: final / start - 1.
    """
    return final / start_cash - 1.0 if start_cash > 0.0 else math.nan


def cagr(growth: float, periods: int, periods_per_year: float) -> float:
    """Return the compound growth a year, by the number of periods (not by calendar time).

    growth: final value over starting value. -1.0 where all is lost; NaN where more is, and without periods.
    Source: growth ** (periods_per_year / periods) - 1, as empyrical's annual_return.
    """
    if periods == 0 or not growth >= 0.0:
        return math.nan
    try:
        return float(growth ** (periods_per_year / periods) - 1.0)
    except OverflowError:  # an intraday fluke scaled to a year
        return math.nan


def volatility(returns: Floats, periods_per_year: float) -> float:
    """Return the standard deviation a year, with n - 1; NaN below two returns.

    Source: std(r, ddof=1) * sqrt(periods_per_year), as empyrical's annual_volatility.
    """
    if len(returns) < 2:
        return math.nan
    return float(np.std(returns, ddof=1)) * math.sqrt(periods_per_year)


def sharpe(returns: Floats, periods_per_year: float) -> float:
    """Return the Sharpe ratio a year, risk-free rate 0; NaN below two returns or without spread.

    Source: mean(r) / std(r, ddof=1) * sqrt(periods_per_year); Sharpe (1994), as empyrical's sharpe_ratio.
    """
    if len(returns) < 2:
        return math.nan
    spread = float(np.std(returns, ddof=1))
    if not spread > NO_SPREAD:
        return math.nan
    return float(np.mean(returns)) / spread * math.sqrt(periods_per_year)


def sortino(returns: Floats, periods_per_year: float) -> float:
    """Return the Sortino ratio a year, target 0; NaN below two returns or without a loss.

    Source: mean(r) / sqrt(mean(min(r, 0) ** 2)) * sqrt(periods_per_year), the mean over all periods and not
    only the losing ones; Rollinger and Hoffman, "Sortino: A 'Sharper' Ratio", as empyrical's sortino_ratio.
    """
    if len(returns) < 2:
        return math.nan
    downside = math.sqrt(float(np.mean(np.square(np.minimum(returns, 0.0)))))
    if not downside > NO_SPREAD:
        return math.nan
    return float(np.mean(returns)) / downside * math.sqrt(periods_per_year)


def calmar(growth_a_year: float, drawdown: float) -> float:
    """Return the growth a year over the depth of the deepest drawdown; NaN without a drawdown.

    Source: cagr / |max_drawdown|, as empyrical's calmar_ratio: the whole run (Young's own: 36 months).
    """
    return growth_a_year / abs(drawdown) if drawdown < 0.0 else math.nan


def course_sharpe(returns: Floats, *, bars_a_day: float = 1.0, risk_free: float = 0.025) -> float:
    """Return the Sharpe ratio as the course teaches it: (CAGR - risk_free) / volatility.

    returns: one a bar. bars_a_day: 1 for daily bars, 78 for 5-minute bars of a US session; a year has 252
    days. risk_free: a year. NaN below two returns or without spread.
    Source: the rules of the course that the project grew from; not comparable with `sharpe`.
    """
    bars_a_year = 252.0 * bars_a_day
    spread = volatility(returns, bars_a_year)
    if not spread > NO_SPREAD * math.sqrt(bars_a_year):
        return math.nan
    return (cagr(float(np.prod(1.0 + returns)), len(returns), bars_a_year) - risk_free) / spread
