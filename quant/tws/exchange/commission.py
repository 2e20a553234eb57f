"""Which cost table bills an order, by the kind and market of what it trades."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from quant.core.costs import Costs, costs
from quant.errors import ParameterError
from quant.tws.exchange.listing import Listing

# Where quant.core has no table, for the simulator only: IB's fixed rates as commonly quoted in 2025, unchecked.
# Backtests refuse ib-fixed and ib-tiered there.
# Currencies 0.2 basis points, at least 2 of the currency; futures 2.25 a contract, all in; stocks 0.05 %, at least 3.
_CASH: Final = (0.00002, 2.0)
_FUTURE: Final = 2.25
_STOCK: Final = (0.0005, 3.0)


@lru_cache(maxsize=256)
def _table(plan: str, market: str, currency: str) -> Costs | None:
    try:
        return costs(plan, market, currency=currency)
    except ParameterError as e:
        if e.name in ("market", "currency"):
            return None
        raise


def commission(plan: str, listing: Listing, quantity: float, average: float) -> float:
    """Return what a whole order of `quantity` units at the mean price `average` costs, in the listing's currency.

    plan: a name of quant.core.costs ("ib-fixed", "ib-tiered", "none", "percent:x"). Raises ParameterError for
    an unknown one. Markets without a table are billed by the rates above.
    """
    price = average / listing.magnifier * listing.multiplier
    if listing.sec_type == "STK" or not plan.startswith("ib-"):
        table = _table(plan, listing.instrument.market, listing.currency)
        if table is not None:
            return table.commission(quantity, price)
    size = abs(quantity)
    if listing.sec_type == "FUT":
        return size * _FUTURE
    rate, least = _CASH if listing.sec_type == "CASH" else _STOCK
    return max(size * rate * price, least)
