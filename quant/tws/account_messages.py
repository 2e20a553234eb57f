"""Positions and account values in IB's messages. Pure: values in, messages out.

Assumed, for want of a real TWS: the contract of a position names its primary exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from ibapi.protobuf.AccountSummary_pb2 import AccountSummary
from ibapi.protobuf.AccountUpdateMulti_pb2 import AccountUpdateMulti
from ibapi.protobuf.AccountUpdateTime_pb2 import AccountUpdateTime
from ibapi.protobuf.AccountValue_pb2 import AccountValue
from ibapi.protobuf.PortfolioValue_pb2 import PortfolioValue
from ibapi.protobuf.Position_pb2 import Position
from ibapi.protobuf.PositionMulti_pb2 import PositionMulti

from quant.tws.exchange.account import Figure, Holding
from quant.tws.exchange.hours import utc
from quant.tws.exchange.listing import contract

LEDGER = "$LEDGER"


def position(held: Holding, account: str) -> Position:
    """Return a position as reqPositions tells it."""
    listing = held.listing
    return Position(
        account=account, contract=contract(listing, listing.exchange), position=str(held.quantity),
        avgCost=held.cost,
    )  # fmt: skip


def position_multi(held: Holding, account: str, request: int, model: str) -> PositionMulti:
    """Return a position as reqPositionsMulti tells it."""
    listing = held.listing
    return PositionMulti(
        reqId=request, account=account, contract=contract(listing, listing.exchange), position=str(held.quantity),
        avgCost=held.cost, modelCode=model,
    )  # fmt: skip


def portfolio(held: Holding, price: float | None, account: str) -> PortfolioValue:
    """Return a position as reqAccountUpdates tells it; without a price it counts at its cost."""
    at = held.price if price is None else price
    return PortfolioValue(
        contract=contract(held.listing, held.listing.exchange), position=str(held.quantity), marketPrice=at,
        marketValue=held.value(at), averageCost=held.cost,
        unrealizedPNL=held.unrealized(at) if held.quantity else 0.0, realizedPNL=held.realized, accountName=account,
    )  # fmt: skip


def values(found: Iterable[Figure], account: str) -> list[AccountValue]:
    """Return account values as reqAccountUpdates tells them."""
    return [AccountValue(key=f.tag, value=f.value, currency=f.currency, accountName=account) for f in found]


def update_time(now: int, zone: str) -> AccountUpdateTime:
    """Return the time of account updates: "09:30"."""
    return AccountUpdateTime(timeStamp=f"{utc(now).astimezone(ZoneInfo(zone)):%H:%M}")


def values_multi(found: Iterable[Figure], account: str, request: int, model: str) -> list[AccountUpdateMulti]:
    """Return account values as reqAccountUpdatesMulti tells them."""
    return [
        AccountUpdateMulti(
            reqId=request, account=account, modelCode=model, key=f.tag, value=f.value, currency=f.currency
        )
        for f in found
    ]


def summary(
    found: Iterable[Figure], account: str, request: int, tags: Sequence[str], base: str
) -> list[AccountSummary]:
    """Return what of the account's values a summary asks for.

    tags: names of values in the base currency; "$LEDGER" is cash in the base currency, "$LEDGER:EUR" in euros,
    "$LEDGER:ALL" in all.
    """
    ledgers = {t.partition(":")[2] or base for t in tags if t.partition(":")[0] == LEDGER}
    rows = []
    for f in found:
        by_currency = f.tag in ("CashBalance", "TotalCashBalance", "ExchangeRate")
        in_ledger = by_currency and ("ALL" in ledgers or f.currency in ledgers)
        named = f.tag in tags and (not by_currency or f.currency == base)
        if in_ledger or named:
            rows.append(
                AccountSummary(reqId=request, account=account, tag=f.tag, value=f.value, currency=f.currency)
            )
    return rows
