"""One feed ready for compiled runs: its arrays and settings, checked and laid out once for all combinations."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quant.core.bars import Bars
from quant.core.calendar import Ints
from quant.core.costs import Costs, Slippage
from quant.core.sessions import Floats
from quant.core.sizing import Sizing
from quant.core.targets import SessionRules, StartRule
from quant.kernel import layout
from quant.kernel.rows import run_row
from quant.kernel.simulate import mark, simulate
from quant.kernel.targets import acting
from quant.metrics import NAMES

NOTHING: Final = np.empty(0)
NO_ORDERS: Final = np.empty(0, dtype=layout.ORDER)
# numba finds the types of arguments at a function's first call; threads that do so at once may get types that match
# nothing, for the rest of the process ("No matching definition": 2 of 24 processes with 8 threads).
_FIRST: Final = threading.Lock()
_typed = threading.Event()


class Feed:
    """One instrument's bars and the settings of a run, as the compiled code reads them."""

    def __init__(
        self,
        bars: Bars,
        *,
        cash: float,
        costs: Costs,
        sizing: Sizing,
        slippage: Slippage | None,
        borrow: float | None,
        day: Ints | None,
        rules: SessionRules,
        start_rule: StartRule,
        limit_first: bool = False,
    ) -> None:
        """Lay out the arrays. day: (n,) calendar day of each bar on the feed's clock, needed with borrow.

        Raises ParameterError where slippage in ticks meets an instrument without one.
        """
        self.open, self.high = np.ascontiguousarray(bars.open), np.ascontiguousarray(bars.high)
        self.low, self.close = np.ascontiguousarray(bars.low), np.ascontiguousarray(bars.close)
        self.size = len(bars)
        magnifier = bars.instrument.price_magnifier
        self.worth = self.close if magnifier == 1 else self.close / magnifier
        self.sums = np.append(0.0, np.cumsum(self.worth))
        self.minutes_to_close = bars.minutes_to_close if rules.any else NOTHING
        self.end = bars.end
        self.day = np.empty(0, dtype=np.int64) if borrow is None or day is None else day
        session = bars.session
        last = np.append(session[1:] != session[:-1], True)
        self.last_of_session: Ints = np.flatnonzero(last)
        s = np.zeros(1, dtype=layout.SETTINGS)
        s["cash"], s["magnifier"], s["unit"] = cash, magnifier, 1.0 / magnifier
        s["sizing"], s["amount"], s["cap"] = layout.SIZINGS.index(sizing.kind), sizing.amount, sizing.cap
        s["costs"], s["rate"] = layout.COSTS.index(costs.kind), costs.rate
        s["per_share"], s["minimum"], s["fee_cap"] = costs.per_share, costs.minimum, costs.cap
        s["maximum"] = costs.maximum
        if slippage is not None:
            s["slippage"] = layout.SLIPPAGES.index(slippage.kind)
            ticks = {bars.symbol: bars.instrument.tick}
            s["slip"] = slippage.rate if slippage.kind == "percent" else slippage.points(ticks)
        s["borrow_a_day"] = 0.0 if borrow is None else borrow / 365.0
        s["next_change"], s["limit_first"] = start_rule == "next-change", limit_first
        s["bar_minutes"] = bars.bar.minutes
        s["no_entry_last"] = np.nan if rules.no_entry_last is None else rules.no_entry_last
        s["flat_before_close"] = np.nan if rules.flat_before_close is None else rules.flat_before_close
        s["periods_per_year"] = bars.periods_per_year
        first = float(bars.close[0])
        s["buy_hold_return"] = float(bars.close[-1]) / first - 1.0 if first > 0.0 else np.nan
        self.settings = s


class Scratch:
    """The memory that runs over one feed write to; one a thread, used again for each combination."""

    def __init__(self, feed: Feed) -> None:
        n = feed.size
        self.rows = np.empty(n, dtype=np.int64)
        self.wishes, self.closed = np.empty(n), np.empty(n, dtype=np.bool_)
        self.parts = np.empty(3 * layout.PARTS)
        self.charges = np.empty(n if len(feed.day) else 0, dtype=layout.CHARGE)
        self.room_for(0, len(feed.last_of_session))

    def room_for(self, acts: int, sessions: int) -> None:
        """Make room for the fills of so many acting rows."""
        most = 3 * acts + 1
        self.fills = np.empty(most, dtype=layout.FILL)
        self.states = np.empty(most + 1 + len(self.charges), dtype=layout.STATE)
        self.pnl, self.scratch = np.empty(most), np.empty(max(most, sessions))


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """All that happened in a run. cash, value: (n,) at each bar's END. fills, orders, charges: of the layout."""

    fills: NDArray[np.void]
    orders: NDArray[np.void]
    charges: NDArray[np.void]
    cash: Floats
    value: Floats


def row(
    feed: Feed, target: Floats, stop: Floats | None, limit: Floats | None, follow: bool, scratch: Scratch
) -> tuple[Floats, Floats]:
    """Return the figures, in the order of quant.metrics.NAMES, and the return of each session.

    target, stop, limit: (n,) float64 of a checked plan. Nearly all of it runs without the GIL.
    """
    if _typed.is_set():
        return _row(feed, target, stop, limit, follow, scratch)
    with _FIRST:
        found = _row(feed, target, stop, limit, follow, scratch)
    _typed.set()
    return found


def _row(
    feed: Feed, target: Floats, stop: Floats | None, limit: Floats | None, follow: bool, scratch: Scratch
) -> tuple[Floats, Floats]:
    returns, found = np.empty(len(feed.last_of_session)), np.empty(len(NAMES))
    while True:
        acts = run_row(
            feed.settings, feed.open, feed.high, feed.low, feed.close, feed.worth, feed.sums, feed.minutes_to_close,
            feed.day, feed.end, feed.last_of_session, target, _given(stop), _given(limit), follow, scratch.rows,
            scratch.wishes, scratch.closed, scratch.states, scratch.fills, NO_ORDERS, scratch.charges, scratch.pnl,
            scratch.scratch, scratch.parts, returns, found,
        )  # fmt: skip
        if not acts:
            return found, returns
        scratch.room_for(acts + acts // 4, len(feed.last_of_session))


def trace(feed: Feed, target: Floats, stop: Floats | None, limit: Floats | None, follow: bool) -> Traced:
    """Run and return every order, fill and the account at each bar."""
    scratch = Scratch(feed)
    acts = acting(feed.settings, target, feed.minutes_to_close, scratch.rows, scratch.wishes, scratch.closed)
    scratch.room_for(acts, 0)
    # A new target sends at most four orders, a moved exit two.
    orders = np.empty(4 * acts + (2 * feed.size if follow else 0), dtype=layout.ORDER)
    n_fills, n_orders, _, n_charges, n_states = simulate(
        feed.settings, feed.open, feed.high, feed.low, feed.close, feed.day, _given(stop), _given(limit), follow,
        acts, scratch.rows, scratch.wishes, scratch.closed, scratch.states, scratch.fills, orders, scratch.charges,
    )  # fmt: skip
    cash, value = np.empty(feed.size), np.empty(feed.size)
    mark(scratch.states, n_states, feed.worth, cash, value)
    return Traced(scratch.fills[:n_fills], orders[:n_orders], scratch.charges[:n_charges], cash, value)


def _given(prices: Floats | None) -> Floats:
    return NOTHING if prices is None else prices
