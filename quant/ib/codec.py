"""Messages of TWS as bytes and as values: ibapi's encoders and decoder, without its socket, threads and callbacks.

Work-around for ibapi 10.50: its encoders report faults to a callback and its decoder calls back in the middle of
a message. Here encoding returns bytes or raises, and a message is decoded whole or counted as damaged.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ibapi.client import EClient
from ibapi.comm import read_fields
from ibapi.common import PROTOBUF_MSG_ID
from ibapi.const import NO_VALID_ID, UNSET_DECIMAL
from ibapi.decoder import Decoder as IbDecoder
from ibapi.message import IN
from ibapi.protobuf.HistoricalData_pb2 import HistoricalData
from ibapi.protobuf.RealTimeBarTick_pb2 import RealTimeBarTick
from ibapi.server_versions import MIN_SERVER_VER_PROTOBUF

from quant.errors import RequestFailed
from quant.ib.order_messages import completed_order, open_order

OLDEST_SERVER: Final = 178  # the oldest text form that the simulated TWS and independent clients certify
_BARS: Final = int(IN.HISTORICAL_DATA)
_PIECE: Final = int(IN.REAL_TIME_BARS)
_OPENED: Final = int(IN.OPEN_ORDER)
_COMPLETED: Final = int(IN.COMPLETED_ORDER)
BAD_MESSAGE: Final = 508  # ibapi's own code for what cannot be written to TWS
Row = tuple[str, float, float, float, float, float, float, int]

_log = logging.getLogger(__name__)


class Event(NamedTuple):
    """One thing that TWS said: ibapi's name of the callback, and its arguments.

    Of our own: "bars" (request id, rows), "damaged" (message id or -1, reason). historicalDataUpdate carries
    (request id, row). A row is start as sent, open, high, low, close, volume, wap, count; NaN and -1 where
    TWS left a figure out.
    """

    name: str
    args: tuple[Any, ...]


class _Sink:
    """What EClient takes for its connection: it keeps what is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def isConnected(self) -> bool:  # noqa: N802  # ibapi's name
        return True

    def sendMsg(self, message: bytes) -> int:  # noqa: N802  # ibapi's name
        self.sent += message
        return len(message)


class _Refusal(Exception):  # noqa: N818  # never leaves this file
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Refuser:
    """What EClient takes for its wrapper: it is told faults only."""

    def error(self, _id: int, _time: int, code: int, text: str, _json: str = "") -> None:
        raise _Refusal(code, text)


class Encoder:
    """Requests as bytes, for one server version."""

    def __init__(self, server_version: int, client_id: int) -> None:
        self._sink = _Sink()
        self._client = EClient(_Refuser())
        self._client.conn = self._sink
        self._client.serverVersion_ = server_version
        self._client.clientId = client_id
        self._client.setConnState(EClient.CONNECTED)

    def encode(self, what: str, call: Callable[[Any], None]) -> bytes:
        """Return the frames that `call(EClient)` writes.

        Raises RequestFailed if ibapi refuses a value, or the server is too old for the request.
        """
        self._sink.sent = b""
        try:
            call(self._client)
        except _Refusal as e:
            raise RequestFailed(
                what, e.code, str(e), "nothing was sent; correct the value that it names"
            ) from None
        except (TypeError, ValueError, AttributeError) as e:
            raise RequestFailed(
                what, BAD_MESSAGE, f"cannot be written to TWS: {e}", "nothing was sent"
            ) from None
        return self._sink.sent


class _Recorder:
    """What ibapi's decoder takes for its wrapper: every callback becomes an Event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.endswith("ProtoBuf"):  # the raw twin of a callback that follows

            def record(*_args: Any) -> None:
                return
        else:

            def record(*args: Any) -> None:
                self.events.append(Event(name, args))

        setattr(self, name, record)
        return record


class Decoder:
    """Messages as events, for one server version. A message that cannot be decoded gives one event "damaged"."""

    def __init__(self, server_version: int) -> None:
        self._raw_ids = server_version >= MIN_SERVER_VER_PROTOBUF
        self._recorder = _Recorder()
        self._decoder = IbDecoder(self._recorder, server_version)

    def decode(self, payload: bytes) -> list[Event]:
        """Return the events of one frame's payload; never raises."""
        message = -1
        self._recorder.events = []
        try:
            if self._raw_ids:
                if len(payload) < 4:
                    raise ValueError("no message id")
                message, body = int.from_bytes(payload[:4], "big"), payload[4:]
            else:
                head, _, body = payload.partition(b"\0")
                message = int(head)
            events = self._events(message, body)
        except Exception as e:  # noqa: BLE001  # ibapi raises anything at all; one bad message must not end the session
            _log.warning("message %d of %d bytes cannot be decoded: %r", message, len(payload), e)
            return [Event("damaged", (message, f"{type(e).__name__}: {e}"))]
        return events

    def _events(self, message: int, body: bytes) -> list[Event]:
        if message > PROTOBUF_MSG_ID:
            message -= PROTOBUF_MSG_ID
            if message == _PIECE:
                return [_real_time_bar(body)]
            if message == _BARS:
                return [_bars(body)]
            if message == _COMPLETED:
                return [Event("completedOrder", completed_order(body))]
            opened = open_order(body) if message == _OPENED else None
            if opened is not None:
                return [Event("openOrder", opened)]
            if message not in self._decoder.msgId2handleInfoProtoBuf:
                raise ValueError("unknown message id")
            self._decoder.processProtoBuf(body, message)
        else:
            if message not in self._decoder.msgId2handleInfo:
                raise ValueError("unknown message id")
            fields = read_fields(body)
            self._decoder.interpret(fields, message)
            if message == _BARS:
                return _joined(int(fields[0]), self._recorder.events)
        if not self._recorder.events:  # ibapi only logs a wrong number of fields
            raise ValueError("fields are missing or too many")
        return [_plain(e) for e in self._recorder.events]


def _bars(body: bytes) -> Event:
    """Decode HISTORICAL_DATA without ibapi's objects, which take longer than all the rest of a download."""
    message = HistoricalData()
    message.ParseFromString(body)
    rows = []
    for b in message.historicalDataBars:
        has = b.HasField
        if not (has("date") and has("open") and has("high") and has("low") and has("close")):
            raise ValueError("a bar without time or price")
        rows.append(
            _row(
                b.date,
                (b.open, b.high, b.low, b.close),
                float(b.volume) if has("volume") else math.nan,
                float(b.WAP) if has("WAP") else math.nan,
                b.barCount if has("barCount") else -1,
            )
        )
    if not message.HasField("reqId"):
        raise ValueError("no request id")
    return Event("bars", (message.reqId, rows))


def _real_time_bar(body: bytes) -> Event:
    """Decode REAL_TIME_BARS as ibapi does, which takes twice as long: no other message comes so often."""
    m = RealTimeBarTick()
    m.ParseFromString(body)
    has = m.HasField
    request = m.reqId if has("reqId") else NO_VALID_ID
    volume = Decimal(m.volume) if has("volume") else UNSET_DECIMAL
    wap = Decimal(m.WAP) if has("WAP") else UNSET_DECIMAL
    # A number that is not there reads as 0, which ibapi gives as well.
    return Event("realtimeBar", (request, m.time, m.open, m.high, m.low, m.close, volume, wap, m.count))


def _joined(request: int, events: list[Event]) -> list[Event]:
    """Return the bars of one text message as one event, and the end that follows them below version 196."""
    rows = [_bar_row(e.args[1]) for e in events if e.name == "historicalData"]
    return [Event("bars", (request, rows)), *(e for e in events if e.name != "historicalData")]


def _plain(event: Event) -> Event:
    if event.name == "historicalDataUpdate":
        return Event(event.name, (event.args[0], _bar_row(event.args[1])))
    return event


def _bar_row(bar: Any) -> Row:
    volume, wap = (math.nan if v == UNSET_DECIMAL else float(v) for v in (bar.volume, bar.wap))
    return _row(bar.date, (bar.open, bar.high, bar.low, bar.close), volume, wap, bar.barCount)


def _row(date: str, prices: tuple[float, float, float, float], volume: float, wap: float, count: int) -> Row:
    if not date or not math.isfinite(sum(prices)):
        raise ValueError(f"a bar of {date!r} with prices {prices}")
    return (date, *prices, volume, wap, count)
