"""The memory that Python and the compiled code share: settings in, orders, fills and charges out.

All sizes are whole numbers held as float64, exact below 2**53.
"""

from __future__ import annotations

from typing import Final

import numpy as np

SIZINGS: Final = ("shares", "percent", "cash", "risk")
COSTS: Final = ("none", "percent", "per-order", "percent-per-order")
SLIPPAGES: Final = ("none", "percent", "ticks")
KINDS: Final = ("market", "stop", "limit")
REASONS: Final = ("entry", "reduce", "close", "stop", "limit")
STATUSES: Final = ("open", "filled", "cancelled", "rejected")
PARTS: Final = 64  # floats that hold an exact sum; 40 would do for the whole range of float64

# A value of the code's index in the tuples above; NaN or empty arrays where something is not given.
SETTINGS: Final = np.dtype(
    [
        ("cash", np.float64),
        ("magnifier", np.float64),  # prices are in 1/magnifier of the currency; 100 for pence
        ("unit", np.float64),  # 1 / magnifier
        ("sizing", np.int64),
        ("amount", np.float64),  # of the sizing
        ("cap", np.float64),  # most that `risk` may buy, fraction of the equity
        ("costs", np.int64),
        ("rate", np.float64),  # costs in percent, fraction
        ("per_share", np.float64),
        ("minimum", np.float64),
        ("fee_cap", np.float64),  # fraction of the order's value
        ("maximum", np.float64),  # of an order
        ("slippage", np.int64),
        ("slip", np.float64),  # fraction of the price, or price units
        ("borrow_a_day", np.float64),  # fraction of a short's value at its average price; 0: no charge
        ("next_change", np.bool_),  # start rule
        ("limit_first", np.bool_),  # of an ambiguous bar's exits
        ("bar_minutes", np.float64),
        ("no_entry_last", np.float64),  # minutes, NaN = off
        ("flat_before_close", np.float64),
        ("periods_per_year", np.float64),
        ("buy_hold_return", np.float64),
    ]
)

# order: its number in the run, from 1. ambiguous: both exits were touched and the open settles nothing.
FILL: Final = np.dtype(
    [
        ("quantity", np.float64),
        ("price", np.float64),
        ("commission", np.float64),
        ("slippage", np.float64),  # price units lost, >= 0
        ("bar", np.int32),
        ("order", np.int32),
        ("reason", np.int8),
        ("ambiguous", np.bool_),
        ("wrong_side", np.bool_),  # an exit that its own entry's open had reached
    ],
    align=True,
)

# bar: at whose close it was decided. price: of an exit, NaN for a market order.
ORDER: Final = np.dtype(
    [
        ("bar", np.int64),
        ("kind", np.int64),
        ("quantity", np.float64),
        ("price", np.float64),
        ("reason", np.int64),
        ("status", np.int64),
    ]
)

# What a short was charged, at the beginning of a bar.
CHARGE: Final = np.dtype([("bar", np.int64), ("amount", np.float64)])

# The account from the END of `bar` on, until the next state's bar. average: in the currency.
STATE: Final = np.dtype(
    [("bar", np.int64), ("cash", np.float64), ("size", np.float64), ("average", np.float64)]
)
