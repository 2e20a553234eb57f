"""Requests for profit and loss, of the account and of one position: told at once, then each second in which it moves.

The day begins at midnight of the machine's zone: what was held then counts at its last price of before. Assumed, for
want of a real TWS: realized is that of today's fills, net of commissions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from ibapi.protobuf.CancelPnL_pb2 import CancelPnL
from ibapi.protobuf.CancelPnLSingle_pb2 import CancelPnLSingle
from ibapi.protobuf.PnL_pb2 import PnL
from ibapi.protobuf.PnLRequest_pb2 import PnLRequest
from ibapi.protobuf.PnLSingle_pb2 import PnLSingle
from ibapi.protobuf.PnLSingleRequest_pb2 import PnLSingleRequest

from quant.core.barsize import SECOND
from quant.tws.client import Client
from quant.tws.exchange.account import Holding
from quant.tws.exchange.hours import utc
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.program import Tws

ALL, SINGLE = "profit and loss", "profit and loss of one position"  # kinds of timers


@dataclass(frozen=True, slots=True)
class Profit:
    """In the currency of the account. value: market value."""

    daily: float = 0.0
    unrealized: float = 0.0
    realized: float = 0.0
    value: float = 0.0


def profit(tws: Tws, held: Holding, now: int) -> Profit:
    """Return the day's profit of one position up to `now` (UTC ns)."""
    listing = held.listing
    rate = tws.rate(listing.currency, now) or 0.0
    midnight = _midnight(now, tws.zone)
    price = tws.price(listing, now)
    price = held.price if price is None else price
    before = tws.price(listing, midnight)
    spent = fees = realized = 0.0
    bought = Decimal(0)
    for executed, charged in tws.exchange.executions:
        asked = executed.view.request
        if asked.listing.con_id != listing.con_id or executed.time < midnight:
            continue
        signed = executed.quantity * asked.side
        bought += signed
        spent += float(signed) * held.unit(executed.price)
        fees += charged.commission
        realized += charged.realized or 0.0
    at_start = float(held.quantity - bought) * held.unit(price if before is None else before)
    daily = held.value(price) - at_start - spent - fees
    loose = held.unrealized(price) if held.quantity else 0.0
    return Profit(daily * rate, loose * rate, realized * rate, held.value(price) * rate)


def _midnight(now: int, zone: str) -> int:
    local = utc(now).astimezone(ZoneInfo(zone))
    return int(datetime(local.year, local.month, local.day, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def pnl(tws: Tws, client: Client, request: PnLRequest, now: int) -> None:
    """Answer reqPnL."""
    if _refused(tws, client, request.reqId, request.account, request.modelCode, now):
        return

    def told(at: int) -> PnL:
        found = [profit(tws, held, at) for held in tws.account.holdings]
        return PnL(
            reqId=request.reqId, dailyPnL=sum(p.daily for p in found), unrealizedPnL=sum(p.unrealized for p in found),
            realizedPnL=sum(p.realized for p in found),
        )  # fmt: skip

    _listen(tws, client, ALL, request.reqId, told, now)


def pnl_single(tws: Tws, client: Client, request: PnLSingleRequest, now: int) -> None:
    """Answer reqPnLSingle."""
    listing = tws.catalogue.get(request.conId)
    if listing is None:
        client.error(request.reqId, invalid(f"Invalid contract id {request.conId}"), now)
        return
    if _refused(tws, client, request.reqId, request.account, request.modelCode, now):
        return

    def told(at: int) -> PnLSingle:
        held = tws.account.holding(listing)
        found = profit(tws, held, at)
        return PnLSingle(
            reqId=request.reqId, position=str(held.quantity), dailyPnL=found.daily, unrealizedPnL=found.unrealized,
            realizedPnL=found.realized, value=found.value,
        )  # fmt: skip

    _listen(tws, client, SINGLE, request.reqId, told, now)


def _refused(tws: Tws, client: Client, number: int, account: str, model: str, now: int) -> bool:
    if account == tws.account.account_id and not model:
        return False
    cause = f"Invalid account code '{account}'" if not model else f"Invalid model '{model}'"
    client.error(number, invalid(cause), now)
    return True


def _listen(
    tws: Tws, client: Client, kind: str, number: int, message: Callable[[int], PnL | PnLSingle], now: int
) -> None:
    last: list[PnL | PnLSingle] = []

    def tell(at: int) -> None:
        found = message(at)
        if not last or last[0] != found:
            last[:] = [found]
            client.say(found)
        looks = [tws.sessions.next_look(held.listing, at) for held in tws.account.holdings if held.quantity]
        tws.repeat(
            client, kind, number, min((look for look in looks if look is not None), default=None), tell
        )

    client.on_fill[kind, number] = tell
    tell(now)


def cancel_pnl(tws: Tws, client: Client, request: CancelPnL, now: int) -> None:
    """Take cancelPnL; unknown ones are an error."""
    _cancel(tws, client, ALL, request.reqId, now)


def cancel_pnl_single(tws: Tws, client: Client, request: CancelPnLSingle, now: int) -> None:
    """Take cancelPnLSingle; unknown ones are an error."""
    _cancel(tws, client, SINGLE, request.reqId, now)


def _cancel(tws: Tws, client: Client, kind: str, number: int, now: int) -> None:
    if client.on_fill.pop((kind, number), None) is None:
        client.error(number, Refusal(300, f"Can't find EId with tickerId:{number}"), now)
        return
    tws.stop(client, kind, number)
