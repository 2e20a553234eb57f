"""What is known around the order desk, as far as feeds and the deployment's own account tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from quant.live.moments import cut_off, end_of, instrument_of, is_open, last_close, length_of
from quant.oms.desk.setup import Surroundings
from quant.oms.limits import Market


class Around:
    """Keeps the equity of the day's start and its peak. told: what somebody else knows; it stands before ours."""

    def __init__(self) -> None:
        self.told = Surroundings()
        self.offset_s: float | None = None  # this machine's clock minus IB's
        self._session: int | None = None  # end of the session before the present one
        self._day_start: float | None = None
        self._peak: float | None = None

    def now(self, feeds: Mapping[int, Any], equity: float | None, now: int) -> Surroundings:
        """Return what is known now. feeds: by contract id, with bars. equity: of the deployment."""
        markets: dict[int, Market] = {}
        before: int | None = None
        for con_id, data in feeds.items():
            markets[con_id] = market(data, now)
            before = max(before or 0, markets[con_id].last_close or 0)
        if equity is not None:
            if self._day_start is None or before != self._session:
                self._day_start = equity
            self._session = before
            self._peak = equity if self._peak is None else max(self._peak, equity)
        told = self.told
        return replace(
            told,
            markets={**markets, **told.markets},
            equity=equity if told.equity is None else told.equity,
            day_start=self._day_start if told.day_start is None else told.day_start,
            peak=self._peak if told.peak is None else told.peak,
            clock_offset_s=self.offset_s if told.clock_offset_s is None else told.clock_offset_s,
        )


def market(data: Any, now: int) -> Market:
    """Return what a feed's newest bar and its calendar say of an instrument."""
    instrument = instrument_of(data)
    end, closed, opened = end_of(data), last_close(instrument, now), is_open(instrument, now)
    auction = None if opened else cut_off(instrument, now)
    # After the close there is no newer price than the session's last, however long the night.
    newest = auction is not None and closed is not None and end >= closed
    return Market(
        tick=instrument.tick, price=float(data.close[0]), at=now if newest else end, bar_ns=length_of(data),
        multiplier=instrument.multiplier / instrument.price_magnifier, is_open=opened,
        last_close=closed, cutoff=auction,
    )  # fmt: skip


def prices(feeds: Mapping[int, Any]) -> Mapping[int, float]:
    """Return the last close by contract id, of feeds that have begun."""
    return {con_id: float(data.close[0]) for con_id, data in feeds.items()}
