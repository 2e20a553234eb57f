"""The run of one feed, compiled: from one row that acts to the next, exits tried on the bars between.

Orders, fills and cash are those of backtrader's broker with the override of DESIGN §5.4. What decides on a row, and
why, stands in quant/strategy/base.py; the names here are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from quant.kernel.compiling import (
    CHARGES,
    FILLS,
    FLAGS,
    FLOATS,
    GIVEN,
    GIVEN_INTS,
    INTS,
    ONE,
    ORDERS,
    SETTINGS,
    STATES,
    ZERO,
    compiled,
    inline,
)
from quant.kernel.rules import (
    change_of,
    commission,
    entry_size,
    limit_price,
    market_price,
    money,
    stop_price,
    value_of,
)

NAN = np.nan
codes: Any = np.arange  # typed numbers, as ZERO in compiling.py
MARKET, STOP_ORDER, LIMIT_ORDER = codes(3)  # layout.KINDS
ENTRY, REDUCE, CLOSE, STOP, LIMIT = codes(5)  # layout.REASONS
OPEN, FILLED, CANCELLED, REJECTED = codes(4)  # layout.STATUSES


@inline
def write_order(orders: Any, n: int, bar: int, kind: int, quantity: float, price: float, reason: int) -> None:
    """Write order number n + 1, open, where orders are wanted."""
    if n < orders.size:
        orders[n].bar = bar
        orders[n].kind = kind
        orders[n].quantity = quantity
        orders[n].price = price
        orders[n].reason = reason
        orders[n].status = OPEN


@inline
def settle(orders: Any, number: int, status: int) -> None:
    """Give order `number` its status, where orders are wanted and it is one that still lives."""
    if number > 0 and number <= orders.size and orders[number - 1].status == OPEN:
        orders[number - 1].status = status


@inline
def write_fill(
    fills: Any,
    n: int,
    bar: int,
    quantity: float,
    price: float,
    fee: float,
    worse: float,
    order: int,
    reason: int,
) -> None:
    """Write a fill."""
    f = fills[n]
    f.bar = bar
    f.quantity = quantity
    f.price = price
    f.commission = fee
    f.slippage = max(worse, 0.0)
    f.order = order
    f.reason = reason
    f.ambiguous = False
    f.wrong_side = False


@inline
def write_state(states: Any, n: int, bar: int, cash: float, size: float, average: float) -> int:
    """Write the account as it is at the END of `bar`, over another state of that bar; return the number of states."""
    if states[n - 1].bar != bar:
        n += 1
    f = states[n - 1]
    f.bar = bar
    f.cash = cash
    f.size = size
    f.average = average
    return n


@compiled(
    types.UniTuple(types.int64, 5)(
        SETTINGS, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN_INTS, GIVEN, GIVEN, types.boolean,
        types.int64, INTS, FLOATS, FLAGS, STATES, FILLS, ORDERS, CHARGES,
    )
)  # fmt: skip
def simulate(
    settings: Any,
    open_: Any,
    high: Any,
    low: Any,
    close: Any,
    day: Any,
    stop: Any,
    limit: Any,
    follow: bool,
    acts: int,
    rows: Any,
    wishes: Any,
    closed: Any,
    states: Any,
    fills: Any,
    orders: Any,
    charges: Any,
) -> tuple[int, int, int, int, int]:
    """Run one feed; return the numbers of fills, orders, rejected entries, charges and states.

    open_ ... close: (n,). day: (n,) calendar day of each bar on the feed's clock, empty where no borrow is charged.
    stop, limit: (n,), or empty. acts, rows, wishes, closed: of `acting`. states: the account wherever it changes, the
    first one at bar 0; as long as fills and charges together, and one more. fills: at least 3 * acts + 1 long. orders:
    written as far as it is long. charges: n long where borrow is charged.
    """
    s = settings[0]
    n = close.size
    has_stop, has_limit = stop.size > 0, limit.size > 0
    exits = has_stop or has_limit
    follow = follow and exits
    charging = day.size > 0
    cash, size, average = s.cash, 0.0, 0.0
    change, entry, by_change, by_entry = 0.0, 0.0, ZERO, ZERO  # wait for the next open, and their numbers
    stop_at, limit_at, by_stop, by_limit = NAN, NAN, ZERO, ZERO  # the living exits
    n_fills, n_orders, n_rejected, n_charges = ZERO, ZERO, ZERO, ZERO
    states[0].bar = 0
    n_states = write_state(states, ONE, ZERO, cash, 0.0, 0.0)
    entered = -ONE
    at = ZERO  # the first bar that has not been run
    for act in range(acts + 1):
        until = rows[act] if act < acts else n - 1
        # ---- orders of the close before, at the open of `at`
        charged = -1
        if at < n and (change != 0.0 or entry != 0.0):
            if charging and size < 0.0 and day[at] > day[at - 1]:
                amount = (day[at] - day[at - 1]) * s.borrow_a_day * abs(size) * money(s, average)
                cash -= amount
                if amount != 0.0:
                    charges[n_charges].bar = at
                    charges[n_charges].amount = amount
                    n_charges += 1
            charged = at
            if change != 0.0:
                price = market_price(s, open_, high, low, at, change)
                got, paid = money(s, price), money(s, average)
                fee = commission(s, change, got)
                cash = cash + ((-change) * paid + (-change) * (got - paid))
                cash = cash - fee
                size += change
                worse = price - open_[at] if change > 0.0 else open_[at] - price
                write_fill(
                    fills, n_fills, at, change, price, fee, worse, by_change, CLOSE if size == 0.0 else REDUCE
                )
                settle(orders, by_change, FILLED)
                n_fills += 1
                if size == 0.0:
                    average = 0.0
                change = 0.0
            if entry != 0.0:
                price = market_price(s, open_, high, low, at, entry)
                pays = money(s, price)
                fee = commission(s, entry, pays)
                left = cash - entry * pays
                left = left - fee
                if left < 0.0:
                    n_rejected += 1
                    settle(orders, by_entry, REJECTED)
                    settle(orders, by_stop, CANCELLED)
                    settle(orders, by_limit, CANCELLED)
                else:
                    cash = left
                    average = price if size == 0.0 else (average * size + entry * price) / (size + entry)
                    size += entry
                    entered = at
                    worse = price - open_[at] if entry > 0.0 else open_[at] - price
                    write_fill(fills, n_fills, at, entry, price, fee, worse, by_entry, ENTRY)
                    settle(orders, by_entry, FILLED)
                    n_fills += 1
                entry = 0.0
            n_states = write_state(states, n_states, at, cash, size, money(s, average))
        # ---- bars without a decision: exits and charges, one by one where there can be any
        if size != 0.0 and (exits or (charging and size < 0.0)):
            while at <= until and size != 0.0:
                if charging and size < 0.0 and charged != at and day[at] > day[at - 1]:
                    amount = (day[at] - day[at - 1]) * s.borrow_a_day * abs(size) * money(s, average)
                    cash -= amount
                    if amount != 0.0:
                        charges[n_charges].bar = at
                        charges[n_charges].amount = amount
                        n_charges += 1
                        n_states = write_state(states, n_states, at, cash, size, money(s, average))
                if exits:
                    o, h, lo = open_[at], high[at], low[at]
                    at_stop = stop_price(s, o, h, lo, stop_at, size)
                    at_limit = limit_price(s, o, h, lo, limit_at, size)
                    stopped, limited = at_stop == at_stop, at_limit == at_limit
                    if stopped or limited:
                        stop_at_open = o <= stop_at if size > 0.0 else o >= stop_at
                        limit_at_open = o >= limit_at if size > 0.0 else o <= limit_at
                        fills_stop = stopped
                        if stopped and limited:  # the open may have settled which one it was
                            fills_stop = stop_at_open if stop_at_open != limit_at_open else not s.limit_first
                        price = at_stop if fills_stop else at_limit
                        got, paid = money(s, price), money(s, average)
                        fee = commission(s, size, got)
                        cash = cash + (size * paid + size * (got - paid))
                        cash = cash - fee
                        asked = stop_at if fills_stop else limit_at
                        # Of a long's stop and a short's limit the lower of the two, else the higher.
                        reference = min(o, asked) if (size > 0.0) == fills_stop else max(o, asked)
                        worse = reference - price if size > 0.0 else price - reference
                        number, reason = (by_stop, STOP) if fills_stop else (by_limit, LIMIT)
                        write_fill(fills, n_fills, at, -size, price, fee, worse, number, reason)
                        fills[n_fills].ambiguous = stopped and limited and not (stop_at_open or limit_at_open)
                        fills[n_fills].wrong_side = entered == at and (
                            stop_at_open if fills_stop else limit_at_open
                        )
                        n_fills += 1
                        settle(orders, number, FILLED)
                        settle(orders, by_limit if fills_stop else by_stop, CANCELLED)
                        size, average = 0.0, 0.0
                        n_states = write_state(states, n_states, at, cash, size, money(s, average))
                        break
                if follow and (at < until or act == acts):
                    new_stop, new_limit = stop_at, limit_at
                    if has_stop and stop[at] == stop[at]:
                        new_stop = stop[at]
                    if has_limit and limit[at] == limit[at]:
                        new_limit = limit[at]
                    same = (new_stop == stop_at or (new_stop != new_stop and stop_at != stop_at)) and (
                        new_limit == limit_at or (new_limit != new_limit and limit_at != limit_at)
                    )
                    if not same:
                        settle(orders, by_stop, CANCELLED)
                        settle(orders, by_limit, CANCELLED)
                        stop_at, limit_at, by_stop, by_limit = new_stop, new_limit, ZERO, ZERO
                        for leg in range(2):
                            if (leg == 0) != s.limit_first and stop_at == stop_at:
                                write_order(orders, n_orders, at, STOP_ORDER, -size, stop_at, STOP)
                                n_orders += 1
                                by_stop = n_orders
                            elif (leg == 0) == s.limit_first and limit_at == limit_at:
                                write_order(orders, n_orders, at, LIMIT_ORDER, -size, limit_at, LIMIT)
                                n_orders += 1
                                by_limit = n_orders
                at += 1
        at = until + 1
        if act == acts:
            break
        # ---- a target acts, at the close of `until`
        t, c = wishes[act], money(s, close[until])
        settle(orders, by_stop, CANCELLED)
        settle(orders, by_limit, CANCELLED)
        by_stop, by_limit = ZERO, ZERO
        stop_at = stop[until] if has_stop else NAN
        limit_at = limit[until] if has_limit else NAN
        equity = max(value_of(cash, size, money(s, average), c), 0.0)
        if size * t > 0.0:
            delta = change_of(s, size, t, equity, c)
            if delta * size < 0.0:
                change = delta
            else:
                entry = delta
        else:
            change = -size
            if t != 0.0:
                entry = entry_size(s, t, equity, c, money(s, stop_at))
                if t < 0.0:
                    entry = -entry
        if closed[act]:
            entry = 0.0
        if change != 0.0:
            write_order(orders, n_orders, until, MARKET, change, NAN, CLOSE if change == -size else REDUCE)
            n_orders += 1
            by_change = n_orders
        if entry != 0.0:
            write_order(orders, n_orders, until, MARKET, entry, NAN, ENTRY)
            n_orders += 1
            by_entry = n_orders
            for leg in range(2):
                if (leg == 0) != s.limit_first and stop_at == stop_at:
                    write_order(orders, n_orders, until, STOP_ORDER, -entry, stop_at, STOP)
                    n_orders += 1
                    by_stop = n_orders
                elif (leg == 0) == s.limit_first and limit_at == limit_at:
                    write_order(orders, n_orders, until, LIMIT_ORDER, -entry, limit_at, LIMIT)
                    n_orders += 1
                    by_limit = n_orders
    return n_fills, n_orders, n_rejected, n_charges, n_states


@compiled(types.void(STATES, types.int64, GIVEN, FLOATS, FLOATS))
def mark(states: Any, n_states: int, close: Any, cash: Any, value: Any) -> None:
    """Write the account at each bar's END. close: (n,) in the currency; cash, value: (n,)."""
    for k in range(n_states):
        f = states[k]
        until = states[k + 1].bar if k + 1 < n_states else close.size
        for i in range(f.bar, until):
            cash[i] = f.cash
            value[i] = value_of(f.cash, f.size, f.average, close[i])
