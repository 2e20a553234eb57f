"""The figures of a run, compiled: quant.metrics.figures over what `simulate` wrote, the same to the last bit.

Of turnover alone to 1e-12: the mean of all bars' values is summed beside the search for drawdowns. Each part names its
model in quant/metrics, where formula and source stand.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from quant.kernel.compiling import CHARGES, FILLS, FLOATS, GIVEN_INTS, SETTINGS, compiled, inline
from quant.kernel.sums import add_exactly, pairwise, rounded

NAN = np.nan
DAY_NS = 86_400_000_000_000
NO_SPREAD = 1e-14  # metrics/returns.py
PARTS = 64  # floats that hold an exact sum; 40 would do for the whole range of float64
BLOCK = 64  # bars that are passed over together where nothing new can be in them


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


@compiled(types.UniTuple(types.float64, 3)(FLOATS, types.int64, GIVEN_INTS, types.float64))
def account_figures(value: Any, n: int, end: Any, cash: float) -> tuple[float, float, float]:
    """Return max_drawdown, max_drawdown_days and the mean value. Models: metrics/drawdowns.py; np.mean to 1e-13."""
    peak, deepest, floor = cash, 0.0, cash
    high_at, longest = -1, 0
    total = 0.0
    i = 0
    while i < n:
        if i + BLOCK <= n:
            # Running extremes and sums side by side, so that one operation need not wait for the one before.
            a = b = c = d = value[i]
            e = f = g = h = value[i]
            p = q = r = s = 0.0
            for j in range(i, i + BLOCK, 4):
                a = max(a, value[j])
                b = max(b, value[j + 1])
                c = max(c, value[j + 2])
                d = max(d, value[j + 3])
                e = min(e, value[j])
                f = min(f, value[j + 1])
                g = min(g, value[j + 2])
                h = min(h, value[j + 3])
                p += value[j]
                q += value[j + 1]
                r += value[j + 2]
                s += value[j + 3]
            total += (p + q) + (r + s)
            if max(max(a, b), max(c, d)) < peak and min(min(e, f), min(g, h)) >= floor:
                i += BLOCK
                continue
        else:
            for j in range(i, n):
                total += value[j]
        for j in range(i, min(i + BLOCK, n)):
            v = value[j]
            if v >= peak:
                peak = v
                if high_at < 0:
                    if j > 0:
                        longest = end[j] - end[0]
                elif j - high_at > 1:
                    longest = max(longest, end[j] - end[high_at])
                high_at = j
                # Just above where a drawdown could be deeper; the division decides.
                floor = peak + peak * deepest * (1.0 - 1e-12)
            elif v < floor:
                deepest = min(deepest, (v - peak) / peak)
                floor = peak + peak * deepest * (1.0 - 1e-12)
        i = min(i + BLOCK, n)
    if high_at < n - 1:
        longest = max(longest, end[n - 1] - end[max(high_at, 0)])
    return deepest, longest / DAY_NS, total / n


@inline
def exact_profit(fills: Any, first: int, last: int, parts: Any) -> float:
    """Return the profit of the trade of fills[first : last + 1], each sum rounded once. Model: metrics/trade_list."""
    paid, got, fees = parts[:PARTS], parts[PARTS : 2 * PARTS], parts[2 * PARTS :]
    side = 1.0 if fills[first].quantity > 0.0 else -1.0
    n_paid, n_got, n_fees = 0, 0, 0
    for k in range(first, last + 1):
        f = fills[k]
        amount = abs(f.quantity) * f.price
        if (f.quantity > 0.0) == (side > 0.0):
            n_paid = add_exactly(paid, n_paid, amount)
        else:
            n_got = add_exactly(got, n_got, amount)
        n_fees = add_exactly(fees, n_fees, f.commission)
    return side * (rounded(got, n_got) - rounded(paid, n_paid)) - rounded(fees, n_fees)


@compiled(types.int64(FILLS, types.int64, CHARGES, types.int64, FLOATS, FLOATS))
def closed_trades(fills: Any, n_fills: int, charges: Any, n_charges: int, pnl: Any, parts: Any) -> int:
    """Write the profit of each closed trade, net of commission and borrow; return their number.

    parts: 3 * PARTS long. A fill never crosses zero here, and there is one symbol.
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
            gross = abs(leaving.quantity) * leaving.price - abs(entry.quantity) * entry.price
            made = side * gross - (entry.commission + leaving.commission)
        else:
            made = exact_profit(fills, first, k, parts)
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
        out[16] = math.sqrt(count) * mean(pnl, count) / deviation(pnl, count, 0, scratch)


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
    middle, spread = mean(r, m), deviation(r, m, 1, scratch)
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
        SETTINGS, FLOATS, types.int64, GIVEN_INTS, GIVEN_INTS, FILLS, types.int64, types.int64, types.int64,
        CHARGES, types.int64, types.float64, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS,
    )
)  # fmt: skip
def figures(
    settings: Any,
    value: Any,
    n: int,
    end: Any,
    last_of_session: Any,
    fills: Any,
    n_fills: int,
    n_rejected: int,
    n_held: int,
    charges: Any,
    n_charges: int,
    final_cash: float,
    pnl: Any,
    scratch: Any,
    parts: Any,
    returns: Any,
    out: Any,
) -> None:
    """Write the return of each session and the figures, in the order of quant.metrics.NAMES.

    value: (n,) at each bar's END. end: (n,) UTC ns. last_of_session: rows. pnl, scratch: at least n_fills and the
    number of sessions long. parts: 3 * PARTS. returns: (sessions,). out: (23,).
    """
    s = settings[0]
    m = last_of_session.size
    before = s.cash
    for k in range(m):
        now = value[last_of_session[k]]
        returns[k] = (now - before) / before if before > 0.0 else NAN
        before = now
    final = value[n - 1]
    return_figures(s, returns, m, final, scratch, out)
    deepest, days, middle = account_figures(value, n, end, s.cash)
    out[5] = out[1] / abs(deepest) if deepest < 0.0 else NAN
    out[6], out[7] = deepest, days
    out[8] = n_held / n
    for k in range(n_fills):
        scratch[k] = abs(fills[k].quantity) * fills[k].price
    years = m / s.periods_per_year
    out[9] = pairwise(scratch, 0, n_fills) / years / middle if middle > 0.0 and years > 0.0 else NAN
    count = closed_trades(fills, n_fills, charges, n_charges, pnl, parts)
    out[10] = count
    trade_figures(pnl, count, scratch, out)
    for k in range(n_fills):
        scratch[k] = fills[k].commission
    out[17] = pairwise(scratch, 0, n_fills)
    out[18] = 0.0
    if s.slippage != 0:
        for k in range(n_fills):
            scratch[k] = abs(fills[k].quantity) * fills[k].slippage
        out[18] = pairwise(scratch, 0, n_fills)
    out[19] = n_rejected
    out[20] = s.buy_hold_return
    out[21] = final
    out[22] = final_cash
