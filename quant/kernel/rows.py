"""One combination of a sweep, compiled in one piece: which rows act, the run, its figures. The GIL is let go once."""

from __future__ import annotations

from typing import Any

from numba import types

from quant.kernel.beside import compiled_beside
from quant.kernel.compiling import (
    CHARGES,
    FILLS,
    FLAGS,
    FLOATS,
    GIVEN,
    GIVEN_INTS,
    INTS,
    ORDERS,
    SETTINGS,
    STATES,
    compiled,
)

with compiled_beside("quant.kernel.figures"):
    from quant.kernel.simulate import simulate
    from quant.kernel.targets import acting
from quant.kernel.figures import figures  # now that it was compiled beside


@compiled(
    types.int64(
        SETTINGS, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN, GIVEN_INTS, GIVEN_INTS, GIVEN_INTS,
        GIVEN, GIVEN, GIVEN, types.boolean,
        INTS, FLOATS, FLAGS, STATES, FILLS, ORDERS, CHARGES, FLOATS, FLOATS, FLOATS,
        FLOATS, FLOATS,
    )
)  # fmt: skip
def run_row(
    settings: Any,
    open_: Any,
    high: Any,
    low: Any,
    close: Any,
    worth: Any,
    sums: Any,
    minutes_to_close: Any,
    day: Any,
    end: Any,
    last_of_session: Any,
    target: Any,
    stop: Any,
    limit: Any,
    follow: bool,
    rows: Any,
    wishes: Any,
    closed: Any,
    states: Any,
    fills: Any,
    no_orders: Any,
    charges: Any,
    pnl: Any,
    scratch: Any,
    parts: Any,
    returns: Any,
    out: Any,
) -> int:
    """Write the figures and the return of each session; 0 when done, else how many rows act, for want of room.

    The arrays are those of `acting`, `simulate` and `figures`. worth: (n,) closes in the currency.
    """
    acts = acting(settings, target, minutes_to_close, rows, wishes, closed)
    if 3 * acts + 1 > fills.size:
        return acts
    n_fills, _, n_rejected, n_charges, n_states = simulate(
        settings, open_, high, low, close, day, stop, limit, follow, acts, rows, wishes, closed, states, fills,
        no_orders, charges,
    )  # fmt: skip
    figures(
        settings, states, n_states, worth, sums, end, last_of_session, fills, n_fills, n_rejected, charges, n_charges,
        pnl, scratch, parts, returns, out,
    )  # fmt: skip
    return 0
