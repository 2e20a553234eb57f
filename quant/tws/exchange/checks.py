"""Why TWS does not take an order, or a change of one; and what it warns of. Pure: values in, values out."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from quant.tws.exchange.hours import utc
from quant.tws.exchange.orders import (
    AT_CLOSE,
    KINDS,
    LIMITS,
    TIFS,
    TRAILS,
    OrderRequest,
    OrderView,
    Status,
    Told,
)
from quant.tws.exchange.steps import Day


def refused(request: OrderRequest, account_id: str, now: int) -> Told | None:
    """Return why TWS would not take an order, None if it would."""
    listing, key = request.listing, request.key
    if request.account not in ("", account_id):
        return Told(
            key, 321, f"Error validating request.-'bQ' : cause - Invalid account code '{request.account}'"
        )
    if not listing.trades or request.kind not in KINDS:
        return Told(key, 387, "Unsupported order type for this exchange and security type.")
    if request.tif not in TIFS or (request.kind in AT_CLOSE and request.tif != "DAY"):
        return Told(key, 10052, f"Invalid time in force:{request.tif}.")
    if request.tif == "OPG" and request.kind not in ("MKT", "LMT"):
        return Told(key, 387, "Unsupported order type for this exchange and security type.")
    return _of_size(request) or _of_prices(request) or _of_time(request, now)


def _of_size(request: OrderRequest) -> Told | None:
    listing, key = request.listing, request.key
    if request.quantity <= 0:
        return Told(key, 434, "The order size cannot be zero.")
    if request.quantity != int(request.quantity):
        text = (
            "Fractional-sized order cannot be placed via API. Please use desktop version to place this order."
        )
        return Told(key, 10243, text)
    if int(request.quantity) % listing.lot:
        return Told(key, 201, f"Order rejected - reason:The order size must be a multiple of {listing.lot}.")
    return None


def _of_prices(request: OrderRequest) -> Told | None:
    needed = [request.limit] if request.kind in LIMITS else []
    needed += [request.stop] if request.kind in ("STP", "STP LMT") else []
    if request.kind in TRAILS:
        away = [a for a in (request.trail, request.trail_percent) if a is not None]
        if len(away) != 1 or away[0] <= 0.0:
            text = "Invalid trailing amount: one of auxPrice and trailingPercent is given, and it is above 0."
            return Told(request.key, 321, f"Error validating request.-'bQ' : cause - {text}")
        if request.kind == "TRAIL LIMIT" and (request.offset is None or request.offset < 0.0):
            text = "Invalid limit offset: one of lmtPriceOffset and lmtPrice is given, and no limit beyond the stop."
            return Told(request.key, 321, f"Error validating request.-'bQ' : cause - {text}")
        free = request.kind == "TRAIL" and request.stop is None
        needed += [] if free else [request.stop]
    if any(price is None or not request.listing.rule.legal(price) for price in needed):
        return Told(
            request.key, 110, "The price does not conform to the minimum price variation for this contract."
        )
    return None


def _of_time(request: OrderRequest, now: int) -> Told | None:
    if request.tif != "GTD":
        return None
    if request.good_till is None or request.good_till <= now:
        text = "Order rejected - reason:The good-till date of the order lies in the past or is missing."
        return Told(request.key, 201, text)
    return None


def unchangeable(held: OrderView, request: OrderRequest) -> Told | None:
    """Return why an order cannot be changed to `request`, None if it can."""
    if held.status == Status.FILLED:
        return Told(request.key, 104, "Can't modify a filled order.")
    if held.over:
        return Told(request.key, 103, "Duplicate order id")
    was = held.request
    if (was.listing.con_id, was.side, was.kind) != (request.listing.con_id, request.side, request.kind):
        return Told(request.key, 105, "Order being modified does not match original order")
    if request.quantity <= held.filled:
        return Told(request.key, 201, "Order rejected - reason:The new quantity is filled already.")
    return None


def orphan(request: OrderRequest, parent: OrderView | None) -> Told | None:
    """Return why an order cannot hang on its parent, None if it can or has none."""
    if not request.parent:
        return None
    if parent is None:
        return Told(request.key, 135, f"Can't find order with id ={request.parent}")
    if parent.over and parent.status != Status.FILLED:
        return Told(request.key, 201, "Order rejected - reason:Parent order is being cancelled.")
    return None


def waits(request: OrderRequest, day: Day | None) -> Told:
    """Return TWS's warning that an order will not be placed before the market opens."""
    listing = request.listing
    until = "the market opens again"
    if day is not None:
        until = f"{utc(day.active_at).astimezone(ZoneInfo(listing.zone)):%Y-%m-%d %H:%M:%S} {listing.zone}"
    what = f"{request.action} {request.quantity} {listing.local} {listing.exchange}"
    text = f"Order Message:\n{what}\nWarning: Your order will not be placed at the exchange until {until}."
    return Told(request.key, 399, text)
