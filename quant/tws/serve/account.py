"""Requests about the account: positions, account updates, summary, each once and then after every fill.

Account values are told again every three minutes while somebody listens, as TWS does.
"""

from __future__ import annotations

from typing import Final

from ibapi.protobuf.AccountDataEnd_pb2 import AccountDataEnd
from ibapi.protobuf.AccountDataRequest_pb2 import AccountDataRequest
from ibapi.protobuf.AccountSummaryEnd_pb2 import AccountSummaryEnd
from ibapi.protobuf.AccountSummaryRequest_pb2 import AccountSummaryRequest
from ibapi.protobuf.AccountUpdateMultiEnd_pb2 import AccountUpdateMultiEnd
from ibapi.protobuf.AccountUpdatesMultiRequest_pb2 import AccountUpdatesMultiRequest
from ibapi.protobuf.CancelAccountSummary_pb2 import CancelAccountSummary
from ibapi.protobuf.CancelAccountUpdatesMulti_pb2 import CancelAccountUpdatesMulti
from ibapi.protobuf.CancelPositions_pb2 import CancelPositions
from ibapi.protobuf.CancelPositionsMulti_pb2 import CancelPositionsMulti
from ibapi.protobuf.PositionEnd_pb2 import PositionEnd
from ibapi.protobuf.PositionMultiEnd_pb2 import PositionMultiEnd
from ibapi.protobuf.PositionsMultiRequest_pb2 import PositionsMultiRequest
from ibapi.protobuf.PositionsRequest_pb2 import PositionsRequest

from quant.core.barsize import MINUTE
from quant.tws import account_messages
from quant.tws.client import NO_REQUEST, Client
from quant.tws.exchange.account import Holding
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.program import Tws

EVERY: Final = 3 * MINUTE
FIGURES = "account values"  # kind of timer
_MOST_SUMMARIES: Final = 2
TOO_MANY_SUMMARIES: Final = Refusal(
    322, "Error processing request.-'bQ' : cause - Maximum number of account summary requests exceeded"
)


def positions(tws: Tws, client: Client, request: PositionsRequest, now: int) -> None:
    """Answer reqPositions; fills are told from then on."""
    client.positions = True
    found = [account_messages.position(h, tws.account.account_id) for h in _held(tws)]
    client.say(*tws.order_faults.snapshot("PositionsRequest", [*found, PositionEnd()]))


def cancel_positions(tws: Tws, client: Client, request: CancelPositions, now: int) -> None:
    """Take cancelPositions."""
    client.positions = False


def positions_multi(tws: Tws, client: Client, request: PositionsMultiRequest, now: int) -> None:
    """Answer reqPositionsMulti; the account has no models, so a model has no positions."""
    account, number, model = tws.account.account_id, request.reqId, request.modelCode
    if _foreign(tws, client, number, request.account, now):
        return
    if not model:
        client.positions_multi[number] = model
        client.say(*(account_messages.position_multi(h, account, number, model) for h in _held(tws)))
    client.say(PositionMultiEnd(reqId=number))


def cancel_positions_multi(tws: Tws, client: Client, request: CancelPositionsMulti, now: int) -> None:
    """Take cancelPositionsMulti."""
    client.positions_multi.pop(request.reqId, None)


def account_updates(tws: Tws, client: Client, request: AccountDataRequest, now: int) -> None:
    """Answer reqAccountUpdates: values, portfolio, time and the end; or stop them."""
    account = tws.account.account_id
    client.account_updates = False
    if not request.subscribe:
        return
    if _foreign(tws, client, NO_REQUEST, request.acctCode, now):
        return
    client.account_updates = True
    client.say(
        *account_messages.values(tws.figures(now), account),
        *(account_messages.portfolio(h, tws.price(h.listing, now), account) for h in _held(tws)),
        account_messages.update_time(now, tws.zone),
        AccountDataEnd(accountName=account),
    )
    _again(tws, client, now)


def account_updates_multi(tws: Tws, client: Client, request: AccountUpdatesMultiRequest, now: int) -> None:
    """Answer reqAccountUpdatesMulti; a model, of which there are none, has no values."""
    account, number, model = tws.account.account_id, request.reqId, request.modelCode
    if _foreign(tws, client, number, request.account, now):
        return
    if not model:
        client.updates_multi[number] = model
        client.say(*account_messages.values_multi(tws.figures(now), account, number, model))
        _again(tws, client, now)
    client.say(AccountUpdateMultiEnd(reqId=number))


def cancel_account_updates_multi(
    tws: Tws, client: Client, request: CancelAccountUpdatesMulti, now: int
) -> None:
    """Take cancelAccountUpdatesMulti."""
    client.updates_multi.pop(request.reqId, None)


def account_summary(tws: Tws, client: Client, request: AccountSummaryRequest, now: int) -> None:
    """Answer reqAccountSummary for the group "All"."""
    number, tags = request.reqId, tuple(t.strip() for t in request.tags.split(",") if t.strip())
    if request.group != "All":
        client.error(number, invalid(f"Group {request.group!r} is not simulated; there is All"), now)
        return
    if number not in client.summaries and len(client.summaries) >= _MOST_SUMMARIES:
        client.error(number, TOO_MANY_SUMMARIES, now)
        return
    client.summaries[number] = tags
    account = tws.account
    rows = account_messages.summary(tws.figures(now), account.account_id, number, tags, account.base)
    client.say(*rows, AccountSummaryEnd(reqId=number))
    _again(tws, client, now)


def cancel_account_summary(tws: Tws, client: Client, request: CancelAccountSummary, now: int) -> None:
    """Take cancelAccountSummary."""
    client.summaries.pop(request.reqId, None)


def _held(tws: Tws) -> list[Holding]:
    return [h for h in tws.account.holdings if h.quantity]


def _foreign(tws: Tws, client: Client, number: int, account: str, now: int) -> bool:
    """Say that an account is not ours, if it is not."""
    if account in ("", "All", tws.account.account_id):
        return False
    client.error(number, invalid(f"Invalid account code '{account}'"), now)
    return True


def _again(tws: Tws, client: Client, now: int) -> None:
    def tell(at: int) -> None:
        client.timers.pop((FIGURES, 0), None)
        if client.account_updates or client.updates_multi or client.summaries:
            tws.tell_figures(client, at)
            tws.repeat(client, FIGURES, 0, at + EVERY, tell)

    if (FIGURES, 0) not in client.timers:
        tws.repeat(client, FIGURES, 0, now + EVERY, tell)
