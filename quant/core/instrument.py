"""What is traded: its identity and its units."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

from quant.core.calendar import check_zone
from quant.errors import ParameterError

# Currency -> market of the commission tables (core/costs), for stocks.
MARKETS = {"USD": "US", "EUR": "DE", "GBP": "GB", "JPY": "JP", "HKD": "HK"}
# Market -> calendars of the exchanges that its table is for. Of the US none is ruled out but those of the others.
HOMES = {"DE": ("XETR", "XFRA"), "GB": ("XLON",), "JP": ("XTKS",), "HK": ("XHKG",)}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing.

    symbol: upper or mixed case as the exchange writes it. sec_type: IB's (STK, FUT, CASH, IND, ...).
    exchange: IB's routing or listing exchange. con_id: IB's contract id, where known.
    tick: least price step, None = unknown (then `ticks:n` slippage is refused).
    multiplier: currency units per price unit and unit of quantity (1 for stocks).
    price_magnifier: IB's; 100 where prices are in hundredths (pence).
    calendar: name in exchange_calendars, None = unknown. timezone: IANA name of the exchange's clock.
    """

    symbol: str
    sec_type: str = "STK"
    exchange: str = "SMART"
    currency: str = "USD"
    con_id: int | None = None
    tick: float | None = None
    multiplier: float = 1.0
    price_magnifier: int = 1
    calendar: str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        if not isinstance(self.symbol, str) or not self.symbol.strip() or not self.symbol.isprintable():
            raise ParameterError("symbol", self.symbol, "must be a name")
        check_zone(self.timezone)
        for name in ("tick", "multiplier", "price_magnifier"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParameterError(name, value, "must be a positive number")

    @property
    def market(self) -> str:
        """The market whose commission table applies to it ("US" for USD), else the currency itself."""
        return MARKETS.get(self.currency, self.currency)

    @property
    def elsewhere(self) -> bool:
        """True where it is known to trade on an exchange that its market's commission table is not for."""
        home, here = HOMES.get(self.market), self.calendar
        if here is None:
            return False
        return here not in home if home is not None else any(here in other for other in HOMES.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the instrument that `to_dict` wrote; unknown keys are ignored (a later version's)."""
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})
