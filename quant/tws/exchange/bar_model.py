"""Fills bar by bar, as the backtest has them (DESIGN §5.3, §5.4), and for other orders as backtrader has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from quant.core.bars import Bars
from quant.tws.exchange.listing import Listing
from quant.tws.exchange.orders import AT_CLOSE, TRAILS, OrderRequest
from quant.tws.exchange.steps import Day, Elected, Fill, Lapsed, Look, Work

_THEN_LIMIT: Final = ("STP LMT", "TRAIL LIMIT")  # a limit order once the stop is elected


class _Bar(NamedTuple):
    open: float
    high: float
    low: float
    close: float


class BarModel:
    """DESIGN §5.3: decided at a close, filled at the next bar's open; without slippage.

    bars: by con id, of the size that the strategy decides on. An order counts as decided at the close of the last
    bar that was over when it came: however late it comes within the next bar, its open is the price. What a bar's
    range touches fills at the bar's end, when that is known.

    An order that has rested since an earlier bar fills at the end of the bar, at its open where the open reached it:
    until then a decision of the close before, which comes within the bar, may still take it away. So a strategy that
    runs late sees the fills of its backtest.

    A child works from the bar that its parent filled in. Source of all else: backtrader 1.9.78.123, bbroker.py,
    _try_exec_market, _limit, _stop, _stoplimit and order.py, trailadjust. MOC is the close of the session, at its last
    bar's end; OPG the open of the next bar that begins one; there is no cut-off.
    """

    cash_check = True

    def __init__(self, bars: Mapping[int, Bars]) -> None:
        self._bars = dict(bars)

    def day(self, request: OrderRequest, decided_at: int) -> Day | None:
        """Return the next bar's begin, and the end of its session's last bar."""
        bars = self._bars.get(request.listing.con_id)
        if bars is None:
            return None
        row = int(np.searchsorted(bars.end, decided_at, side="right"))
        if request.tif == "OPG":
            begins = np.append(0, np.flatnonzero(bars.session[1:] != bars.session[:-1]) + 1)
            later = begins[begins >= row]
            row = int(later[0]) if len(later) else len(bars)
        if row >= len(bars):
            return None
        return Day(max(decided_at, int(bars.times.begin[row])), int(bars.end[_last_row(bars, row)]))

    def cut_off(self, request: OrderRequest, decided_at: int) -> str | None:
        """Return None: a decision at a close is in time for the next open, and for the next session's close."""
        return None

    def look(self, work: Work, now: int) -> Look:
        """Return the fill of all that is left."""
        bars = self._bars.get(work.request.listing.con_id)
        if bars is None or work.since > now:
            return Look(None, work.stop)
        first = int(bars.end.searchsorted(work.since, side="right"))
        if first >= len(bars):
            return Look(None, work.stop)
        request = work.request
        if request.kind in AT_CLOSE:
            return Look(_at_close(work, bars, _last_row(bars, first), now))
        if request.kind == "MKT":
            return Look(Fill(work.since, float(bars.open[first]), work.remaining))
        return _tried(work, bars, first, now)

    def next_look(self, listing: Listing, now: int) -> int | None:
        """Return the next begin or end of a bar."""
        bars = self._bars.get(listing.con_id)
        if bars is None:
            return None
        rows = [int(np.searchsorted(column, now, side="right")) for column in (bars.times.begin, bars.end)]
        found = [int(c[r]) for c, r in zip((bars.times.begin, bars.end), rows, strict=True) if r < len(bars)]
        return min(found, default=None)


def _last_row(bars: Bars, row: int) -> int:
    return int(np.searchsorted(bars.session, bars.session[row], side="right")) - 1


def _at_close(work: Work, bars: Bars, row: int, now: int) -> Fill | Lapsed | None:
    end, price = int(bars.end[row]), float(bars.close[row])
    if end > now:
        return None
    limit = work.request.limit
    if limit is None or (price <= limit if work.request.side > 0 else price >= limit):
        return Fill(end, price, work.remaining)
    return Lapsed(end)


def _tried(work: Work, bars: Bars, first: int, now: int) -> Look:
    """Try an order on bar after bar, from the one that it works from on."""
    request = work.request
    row = max(first, int(bars.end.searchsorted(work.seen, side="right")))
    elected = work.elected_at is not None
    if work.elected_at is not None:
        row = max(row, int(np.searchsorted(bars.end, work.elected_at, side="right")))
    stop = _first_stop(work, bars) if work.stop is None else work.stop
    until = 0
    while row < len(bars) and (until := int(bars.times.begin[row])) <= now:
        bar = _Bar(float(bars.open[row]), float(bars.high[row]), float(bars.low[row]), float(bars.close[row]))
        end, price = int(bars.end[row]), _try(request, stop, elected, bar)
        if row == first and price is not None and _reaches(request, stop, elected, bar.open):
            return Look(Fill(work.since, price, work.remaining), stop)
        if request.tif in ("IOC", "OPG"):
            return Look(Lapsed(max(work.since, work.seen)), stop)
        if end > now:
            until = end
            break
        if price is not None:
            return Look(Fill(end, price, work.remaining), stop)
        if request.kind in _THEN_LIMIT and not elected and _reaches_stop(request, stop, bar):
            return Look(Elected(end), stop)
        if request.kind in TRAILS and not elected:
            stop = request.trailed(stop, bar.close)
        row += 1
    return Look(None, stop, until)


# ---------------------------------------------------------------- one order against one bar
def _try(request: OrderRequest, stop: float | None, elected: bool, bar: _Bar) -> float | None:
    """Return the price at which an order fills in a bar, None if it does not."""
    if request.kind == "LMT" or elected:
        return _limit_price(request, request.limit_at(stop), bar)
    if stop is None:
        return None
    if request.kind in _THEN_LIMIT:
        return _stop_limit_price(request, stop, bar)
    if request.side > 0:
        return max(bar.open, stop) if max(bar.open, bar.high) >= stop else None
    return min(bar.open, stop) if min(bar.open, bar.low) <= stop else None


def _limit_price(request: OrderRequest, limit: float | None, bar: _Bar) -> float | None:
    if limit is None:
        return bar.open
    if request.side > 0:
        return bar.open if bar.open <= limit else limit if bar.low <= limit else None
    return bar.open if bar.open >= limit else limit if bar.high >= limit else None


def _stop_limit_price(request: OrderRequest, stop: float, bar: _Bar) -> float | None:
    """backtrader's reading of a bar in which the stop is elected: what the close settles, and no more."""
    limit, buys = request.limit_at(stop), request.side > 0
    if limit is None or not _reaches_stop(request, stop, bar):
        return None
    if bar.open >= stop if buys else bar.open <= stop:
        return _limit_price(request, limit, bar)
    if limit >= stop if buys else limit <= stop:
        return stop
    if buys:
        return limit if bar.open > bar.close and limit >= bar.close else None
    return limit if bar.open <= bar.close and limit <= bar.close else None


def _reaches_stop(request: OrderRequest, stop: float | None, bar: _Bar) -> bool:
    if stop is None:
        return False
    return max(bar.open, bar.high) >= stop if request.side > 0 else min(bar.open, bar.low) <= stop


def _reaches(request: OrderRequest, stop: float | None, elected: bool, price: float) -> bool:
    """Return whether a bar's open alone makes an order fill."""
    up, limit = request.side > 0, request.limit_at(stop)
    good = limit is None or (price <= limit if up else price >= limit)
    if request.kind == "LMT" or elected:
        return good
    return good and stop is not None and (price >= stop if up else price <= stop)


def _first_stop(work: Work, bars: Bars) -> float | None:
    """Return where a stop stands at first; a trailing one at its distance from the close that it was decided on."""
    request = work.request
    if request.kind not in TRAILS or request.stop is not None:
        return request.stop
    row = max(int(np.searchsorted(bars.end, work.decided_at, side="right")) - 1, 0)
    return request.trailed(None, float(bars.close[row]))
