"""The figures of a run, compiled: quant.metrics.figures over what `simulate` wrote, the same to the last bit.

Of turnover alone to 1e-12, where positions are not many times the account: its mean value is summed in another order.
Each part names its model in quant/metrics, where formula and source stand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from quant.kernel.compiling import (
    CHARGES,
    FILLS,
    FLOATS,
    GIVEN,
    GIVEN_INTS,
    ONE,
    SETTINGS,
    STATES,
    ZERO,
    compiled,
    inline,
)
from quant.kernel.layout import PARTS
from quant.kernel.rules import value_of, worth_of
from quant.kernel.sums import add_exactly, pairwise, rounded

NAN = np.nan
DAY_NS = 86_400_000_000_000
NO_SPREAD = 1e-14  # metrics/returns.py


@inline
def mean(x: Any, n: int) -> float:
    """Return np.mean(x[:n])."""
    return pairwise(x, 0, n) / n


@inline
def deviation(x: Any, n: int, ddof: int, scratch: Any) -> float:
    """Return np.std(x[:n], ddof=ddof)."""
    middle = mean(x, n)
    for i in range(n):
        scratch[i] = (x[i] - middle) * (x[i] - middle)
    return math.sqrt(pairwise(scratch, 0, n) / (n - ddof))


@inline
def extremes(state: Any, close: Any, first: int, until: int) -> tuple[float, float]:
    """Return the lowest and the highest value of a held position from bar `first` to before `until`."""
    cash, size, average = state.cash, state.size, state.average
    low, high = np.inf, -np.inf
    for i in range(
        np.uint64(first), np.uint64(until)
    ):  # unsigned: indices that cannot be negative need no test
        v = cash + worth_of(size, average, close[i])
        low = v if v < low else low
        high = v if v > high else high
    return low, high


@inline
def account_figures(
    states: Any,
    n_states: int,
    close: Any,
    sums: Any,
    end: Any,
    last_of_session: Any,
    cash: float,
    returns: Any,
) -> tuple[int, float, float, float]:
    """Write the return of each session; return bars held, max_drawdown, max_drawdown_days and the mean value.

    sums: (n + 1,) closes before each bar, added up. Models: metrics/returns.session_returns and metrics/drawdowns.py;
    bar by bar only where a held position reaches a new peak, else a stretch between two states at once.
    """
    n = close.size
    peak, deepest, floor = cash, 0.0, cash
    high_at, longest, n_held = -1, 0, 0
    total, before, session = 0.0, cash, 0
    for k in range(n_states):
        f = states[k]
        until = states[k + 1].bar if k + 1 < n_states else n
        first = f.bar
        if f.size == 0.0:
            v = f.cash
            total += v * (until - first)
            if v >= peak:
                if high_at < 0:
                    if first > 0:
                        longest = end[first] - end[0]
                elif first - high_at > 1:
                    longest = max(longest, end[first] - end[high_at])
                peak = v
                high_at = until - 1
                floor = peak + peak * deepest * (1.0 - 1e-12)
            elif v <= floor:
                deepest = min(deepest, (v - peak) / peak)
                floor = peak + peak * deepest * (1.0 - 1e-12)
        else:
            n_held += until - first
            total += f.cash * (until - first) + f.size * (sums[until] - sums[first])
            low, high = extremes(f, close, first, until)
            if high < peak:  # no new peak, so the lowest value alone tells the drawdown
                if low <= floor:
                    deepest = min(deepest, (low - peak) / peak)
                    floor = peak + peak * deepest * (1.0 - 1e-12)
                first = until
            for i in range(first, until):
                v = value_of(f.cash, f.size, f.average, close[i])
                if v >= peak:
                    if high_at < 0:
                        if i > 0:
                            longest = end[i] - end[0]
                    elif i - high_at > 1:
                        longest = max(longest, end[i] - end[high_at])
                    peak = v
                    high_at = i
                    # At or below it a drawdown could be deeper, were it by one bit; the division decides.
                    floor = peak + peak * deepest * (1.0 - 1e-12)
                elif v <= floor:
                    deepest = min(deepest, (v - peak) / peak)
                    floor = peak + peak * deepest * (1.0 - 1e-12)
        while session < last_of_session.size and last_of_session[session] < until:
            now = value_of(f.cash, f.size, f.average, close[last_of_session[session]])
            returns[session] = (now - before) / before if before > 0.0 else NAN
            before = now
            session += 1
    if high_at < n - 1:
        longest = max(longest, end[n - 1] - end[max(high_at, 0)])
    return n_held, deepest, longest / DAY_NS, total / n


@inline
def exact_profit(fills: Any, first: int, last: int, unit: float, parts: Any) -> float:
    """Return the profit of the trade of fills[first : last + 1], each sum rounded once. Model: metrics/trade_list."""
    paid, got, fees = parts[:PARTS], parts[PARTS : 2 * PARTS], parts[2 * PARTS :]
    side = 1.0 if fills[first].quantity > 0.0 else -1.0
    n_paid, n_got, n_fees = ZERO, ZERO, ZERO
    for k in range(first, last + 1):
        f = fills[k]
        amount = abs(f.quantity) * f.price
        if (f.quantity > 0.0) == (side > 0.0):
            n_paid = add_exactly(paid, n_paid, amount)
        else:
            n_got = add_exactly(got, n_got, amount)
        n_fees = add_exactly(fees, n_fees, f.commission)
    return side * (rounded(got, n_got) * unit - rounded(paid, n_paid) * unit) - rounded(fees, n_fees)


@inline
def closed_trades(
    fills: Any, n_fills: int, charges: Any, n_charges: int, unit: float, pnl: Any, parts: Any
) -> int:
    """Write the profit of each closed trade, net of commission and borrow; return their number.

    unit: currency for a price of 1. parts: 3 * PARTS long. A fill never crosses zero here, and there is one symbol.
    """
    count, charge, charged_from, first, size = 0, 0, 0, 0, 0.0
    for k in range(n_fills):
        if size == 0.0:
            first = k
            charged_from = charge
        size += fills[k].quantity
        while charge < n_charges and charges[charge].bar <= fills[k].bar:
            charge += 1
        if size != 0.0:
            continue
        if k == first + 1:  # in and out: two terms need no exact sum
            entry, leaving = fills[first], fills[k]
            side = 1.0 if entry.quantity > 0.0 else -1.0
            got, paid = abs(leaving.quantity) * leaving.price, abs(entry.quantity) * entry.price
            gross = got * unit - paid * unit
            made = side * gross - (entry.commission + leaving.commission)
        else:
            made = exact_profit(fills, first, k, unit, parts)
        for j in range(charged_from, charge):
            made -= charges[j].amount
        pnl[count] = made
        count += 1
    return count


@inline
def trade_figures(pnl: Any, count: int, scratch: Any, out: Any) -> None:
    """Write win_rate, profit_factor, avg_trade, best_trade, worst_trade and sqn. Models: metrics/activity.py."""
    won, lost = 0, 0
    best, worst = -np.inf, np.inf
    for i in range(count):
        best = max(best, pnl[i])
        worst = min(worst, pnl[i])
        scratch[lost] = pnl[i]  # kept where it is a loss; which a branch would guess wrong half the time
        lost += pnl[i] < 0.0
    loss = -pairwise(scratch, 0, lost)
    for i in range(count):
        scratch[won] = pnl[i]
        won += pnl[i] > 0.0
    gain = pairwise(scratch, 0, won)
    for i in range(6):
        out[11 + i] = NAN
    if count > 0:
        out[11] = won / count
        out[12] = gain / loss if loss > 0.0 else NAN
        out[13] = mean(pnl, count)
        out[14] = best
        out[15] = worst
    if count > 1 and best != worst:
        out[16] = math.sqrt(count) * mean(pnl, count) / deviation(pnl, count, ZERO, scratch)


@inline
def return_figures(s: Any, r: Any, m: int, final: float, scratch: Any, out: Any) -> None:
    """Write total_return, cagr, volatility, sharpe, sortino. Models: metrics/returns.py."""
    out[0] = final / s.cash - 1.0
    growth = final / s.cash
    out[1] = growth ** (s.periods_per_year / m) - 1.0 if growth >= 0.0 else NAN
    if out[1] == np.inf:
        out[1] = NAN
    out[2], out[3], out[4] = NAN, NAN, NAN
    if m < 2:
        return
    middle, spread = mean(r, m), deviation(r, m, ONE, scratch)
    out[2] = spread * math.sqrt(s.periods_per_year)
    if spread > NO_SPREAD:
        out[3] = middle / spread * math.sqrt(s.periods_per_year)
    for i in range(m):
        loss = r[i] if not r[i] > 0.0 else 0.0
        scratch[i] = loss * loss
    downside = math.sqrt(mean(scratch, m))
    if downside > NO_SPREAD:
        out[4] = middle / downside * math.sqrt(s.periods_per_year)


@compiled(
    types.void(
        SETTINGS, STATES, types.int64, GIVEN, GIVEN, GIVEN_INTS, GIVEN_INTS, FILLS, types.int64, types.int64,
        CHARGES, types.int64, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS,
    )
)  # fmt: skip
def figures(
    settings: Any,
    states: Any,
    n_states: int,
    close: Any,
    sums: Any,
    end: Any,
    last_of_session: Any,
    fills: Any,
    n_fills: int,
    n_rejected: int,
    charges: Any,
    n_charges: int,
    pnl: Any,
    scratch: Any,
    parts: Any,
    returns: Any,
    out: Any,
) -> None:
    """Write the return of each session and the figures, in the order of quant.metrics.NAMES.

    states, fills, charges: of `simulate`. close: (n,) in the currency. sums: of `account_figures`. end: (n,) UTC ns.
    last_of_session: rows. pnl, scratch: at least n_fills and the number of sessions long. parts: 3 * PARTS.
    returns: (sessions,). out: (23,).
    """
    s, last = settings[0], states[n_states - 1]
    n, m = close.size, last_of_session.size
    n_held, deepest, days, middle = account_figures(
        states, n_states, close, sums, end, last_of_session, s.cash, returns
    )
    final = value_of(last.cash, last.size, last.average, close[n - 1])
    return_figures(s, returns, m, final, scratch, out)
    out[5] = out[1] / abs(deepest) if deepest < 0.0 else NAN
    out[6], out[7] = deepest, days
    out[8] = n_held / n
    for k in range(n_fills):
        scratch[k] = abs(fills[k].quantity) * s.unit * fills[k].price
        pnl[k] = fills[k].commission
    years = m / s.periods_per_year
    out[9] = pairwise(scratch, 0, n_fills) / years / middle if middle > 0.0 and years > 0.0 else NAN
    out[17] = pairwise(pnl, 0, n_fills)
    count = closed_trades(fills, n_fills, charges, n_charges, s.unit, pnl, parts)
    out[10] = count
    trade_figures(pnl, count, scratch, out)
    out[18] = 0.0
    if s.slippage != 0:
        for k in range(n_fills):
            scratch[k] = abs(fills[k].quantity) * s.unit * fills[k].slippage
        out[18] = pairwise(scratch, 0, n_fills)
    out[19] = n_rejected
    out[20] = s.buy_hold_return
    out[21] = final
    out[22] = last.cash
