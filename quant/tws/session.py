"""One client's session: requests in, answers out. No sockets, no threads, no clock but the present that is handed in.

Requests are what quant.tws.codec decodes: messages of ibapi.protobuf, Unknown or Malformed. Each gets an answer or an
error; silence is left to those that TWS answers with silence too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ibapi.message import OUT
from ibapi.protobuf.CurrentTime_pb2 import CurrentTime
from ibapi.protobuf.CurrentTimeInMillis_pb2 import CurrentTimeInMillis
from ibapi.protobuf.ManagedAccounts_pb2 import ManagedAccounts
from ibapi.protobuf.NextValidId_pb2 import NextValidId
from ibapi.protobuf.StartApiRequest_pb2 import StartApiRequest

from quant.core.barsize import SECOND
from quant.tws.client import NO_REQUEST, Client
from quant.tws.codec import Malformed, Unknown
from quant.tws.exchange.refusal import Refusal, invalid
from quant.tws.limits import MessageRate
from quant.tws.order_faults import START
from quant.tws.program import CLIENT_ID_IN_USE, NOTICES, Tws
from quant.tws.serve import account, contracts, history, live, orders, pnl

Handler = Callable[[Tws, Client, Any, int], None]

NOT_STARTED: Final = Refusal(504, "Not connected: the session begins with startApi")
DATA_LOST: Final = 1101  # connectivity restored, data requests lost
_READING: Final = 320  # "Server error when reading an API client request"
# Where in the text of a request that is not simulated its number stands; the others carry none.
_NUMBER_AT: Final = {
    OUT.REQ_SCANNER_SUBSCRIPTION: 0, OUT.REQ_SEC_DEF_OPT_PARAMS: 0,
    OUT.REQ_CALC_IMPLIED_VOLAT: 1, OUT.REQ_CALC_OPTION_PRICE: 1, OUT.REQ_MKT_DEPTH: 1, OUT.REQ_HISTOGRAM_DATA: 0,
    OUT.REQ_HISTORICAL_NEWS: 0, OUT.REQ_NEWS_ARTICLE: 0, OUT.REQ_SMART_COMPONENTS: 0, OUT.REQ_SOFT_DOLLAR_TIERS: 0,
    OUT.EXERCISE_OPTIONS: 1, OUT.REQ_WSH_META_DATA: 0, OUT.REQ_WSH_EVENT_DATA: 0, OUT.REQ_USER_INFO: 0,
    OUT.QUERY_DISPLAY_GROUPS: 1, OUT.SUBSCRIBE_TO_GROUP_EVENTS: 1, OUT.CANCEL_SCANNER_SUBSCRIPTION: 1,
    OUT.CANCEL_MKT_DEPTH: 1, OUT.CANCEL_HISTOGRAM_DATA: 0,
    OUT.CANCEL_CALC_IMPLIED_VOLAT: 1, OUT.CANCEL_CALC_OPTION_PRICE: 1,
}  # fmt: skip


class Session:
    """A client of one TWS, from its START_API to its end. The moments (UTC ns) must not go back."""

    def __init__(self, tws: Tws) -> None:
        self._tws = tws
        self._client = Client()
        self._rate = MessageRate()

    @property
    def client_id(self) -> int | None:
        """The client's id, None before its START_API and after the end."""
        return self._client.id

    @property
    def closing(self) -> bool:
        """Whether the connection is to be ended once `take` has been sent."""
        return self._client.closing

    @property
    def rate_violations(self) -> int:
        """In how many seconds the client sent more messages than it may."""
        return self._rate.violations

    def receive(self, request: Any, now: int, since: int | None = None) -> None:
        """Work on one request; what comes of it lies in the outboxes, of this client and perhaps of others.

        since: where the server was busy, when that began; the request came some time after it.
        """
        client = self._client
        if client.closing:
            return
        self._tws.advance(now)
        if self._tws.rate_limited:
            excess = self._rate.message(now, since)
            if excess is not None:
                client.error(NO_REQUEST, excess.refusal, now)
                client.closing = excess.close
                return
        if isinstance(request, StartApiRequest):
            self._start(request, now)
        elif client.id is None:
            client.error(NO_REQUEST, NOT_STARTED, now)
        elif isinstance(request, Malformed):
            name = request.name or "a message"
            text = f"Error reading request. Unable to read {name}: it {request.reason}"
            client.error(NO_REQUEST, Refusal(_READING, text), now)
        elif isinstance(request, Unknown):
            client.error(number_of(request), invalid(f"{_name(request.id)} is not simulated"), now)
        else:
            HANDLERS.get(type(request).__name__, _not_simulated)(self._tws, client, request, now)

    def tell(self, number: int, refusal: Refusal, now: int) -> None:
        """Say an error that no request is to blame for; after 1101 TWS has forgotten what the client listened to."""
        if refusal.code == DATA_LOST:
            self._tws.forget(self._client)
        self._client.error(number, refusal, now)

    def refuse(self, number: int, refusal: Refusal, now: int) -> None:
        """End a request or subscription with an error."""
        self._tws.end(self._client, number)
        self._client.error(number, refusal, now)

    def take(self) -> list[Any]:
        """Return what is to be sent, oldest first, and forget it."""
        return self._client.take()

    def leave(self) -> None:
        """End the session: subscriptions stop, orders stay."""
        self._client.closing = True
        self._tws.leave(self._client)

    def _start(self, request: StartApiRequest, now: int) -> None:
        client = self._client
        if client.id is not None:
            client.error(NO_REQUEST, invalid("The API was started already"), now)
            return
        if not self._tws.join(client, request.clientId):
            client.error(NO_REQUEST, CLIENT_ID_IN_USE, now)
            client.closing = True
            return
        waits = max((fault.delay for fault in self._tws.order_faults.at(START)), default=0)
        if waits:  # logged out: TWS takes the client and says nothing before somebody logs in
            self._tws.timers.set(now + waits, self._greet)
        else:
            self._greet(now)

    def _greet(self, now: int) -> None:
        client = self._client
        if client.id is None:
            return
        _managed_accounts(self._tws, client, None, now)
        _next_id(self._tws, client, None, now)
        for notice in NOTICES:
            client.error(NO_REQUEST, notice, now)


def number_of(request: Unknown) -> int:
    """Return the number of a request that the codec does not know, NO_REQUEST where it cannot be seen.

    In protobuf it is the first field of nearly all requests; without it a client would wait for ever.
    """
    if request.protobuf:
        if request.payload[:1] != b"\x08":  # field 1, a whole number
            return NO_REQUEST
        found = shift = 0
        for byte in request.payload[1:6]:
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found if found < 2**31 else NO_REQUEST
        return NO_REQUEST
    at = _NUMBER_AT.get(request.id)
    fields = request.payload.split(b"\0")
    if at is None or at >= len(fields) or not fields[at].isdigit() or len(fields[at]) > 10:
        return NO_REQUEST
    number = int(fields[at])
    return number if number < 2**31 else NO_REQUEST


def _name(number: int) -> str:
    return OUT(number).name if number in {int(o) for o in OUT} else f"message {number}"


# ---------------------------------------------------------------- the session's own requests
def _managed_accounts(tws: Tws, client: Client, request: Any, now: int) -> None:
    client.say(ManagedAccounts(accountsList=tws.account.account_id))


def _next_id(tws: Tws, client: Client, request: Any, now: int) -> None:
    client.say(NextValidId(orderId=tws.next_key(client.own_id)[1]))


def _current_time(tws: Tws, client: Client, request: Any, now: int) -> None:
    client.say(CurrentTime(currentTime=(now + tws.order_faults.clock_off) // SECOND))


def _current_time_in_millis(tws: Tws, client: Client, request: Any, now: int) -> None:
    client.say(CurrentTimeInMillis(currentTimeInMillis=(now + tws.order_faults.clock_off) // 1_000_000))


def _log_level(tws: Tws, client: Client, request: Any, now: int) -> None:
    """TWS answers nothing; there is no log to set a level of."""


def _not_simulated(tws: Tws, client: Client, request: Any, now: int) -> None:
    number = getattr(request, "reqId", NO_REQUEST)
    name = type(request).__name__.removesuffix("Request")
    client.error(number, invalid(f"{name} is not simulated"), now)


HANDLERS: Final[dict[str, Handler]] = {
    "IdsRequest": _next_id,
    "CurrentTimeRequest": _current_time,
    "CurrentTimeInMillisRequest": _current_time_in_millis,
    "ManagedAccountsRequest": _managed_accounts,
    "SetServerLogLevelRequest": _log_level,
    "ContractDataRequest": contracts.contract_data,
    "CancelContractData": contracts.cancel_contract_data,
    "MatchingSymbolsRequest": contracts.matching_symbols,
    "MarketRuleRequest": contracts.rule,
    "HeadTimestampRequest": history.head_timestamp,
    "CancelHeadTimestamp": history.cancel_head_timestamp,
    "HistoricalDataRequest": history.historical_data,
    "CancelHistoricalData": history.cancel_historical_data,
    "RealTimeBarsRequest": history.real_time_bars,
    "CancelRealTimeBars": history.cancel_real_time_bars,
    "MarketDataRequest": live.market_data,
    "CancelMarketData": live.cancel_market_data,
    "MarketDataTypeRequest": live.market_data_type,
    "TickByTickRequest": live.tick_by_tick,
    "CancelTickByTick": live.cancel_tick_by_tick,
    "PlaceOrderRequest": orders.place,
    "CancelOrderRequest": orders.cancel,
    "GlobalCancelRequest": orders.cancel_all,
    "OpenOrdersRequest": orders.open_orders,
    "AllOpenOrdersRequest": orders.all_open_orders,
    "AutoOpenOrdersRequest": orders.auto_open_orders,
    "CompletedOrdersRequest": orders.completed_orders,
    "ExecutionRequest": orders.executions,
    "PositionsRequest": account.positions,
    "CancelPositions": account.cancel_positions,
    "PositionsMultiRequest": account.positions_multi,
    "CancelPositionsMulti": account.cancel_positions_multi,
    "AccountDataRequest": account.account_updates,
    "AccountUpdatesMultiRequest": account.account_updates_multi,
    "CancelAccountUpdatesMulti": account.cancel_account_updates_multi,
    "AccountSummaryRequest": account.account_summary,
    "CancelAccountSummary": account.cancel_account_summary,
    "PnLRequest": pnl.pnl,
    "CancelPnL": pnl.cancel_pnl,
    "PnLSingleRequest": pnl.pnl_single,
    "CancelPnLSingle": pnl.cancel_pnl_single,
}
