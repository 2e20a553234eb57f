"""The server's side of the wire: payloads of frames to requests, answers to frames. Knows no sockets and no session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships without types

from quant.tws.codec.frames import pack
from quant.tws.codec.messages import (
    ANSWERS,
    HIGHEST_VERSION,
    LOWEST_VERSION,
    PROTOBUF_OFFSET,
    RAW_ID_VERSION,
    REQUESTS,
    Entry,
)
from quant.tws.codec.text import (
    DECIMAL,
    UNSET_DOUBLE,
    UNSET_INT,
    UNSET_LONG,
    Layout,
    TextError,
    layout_at,
    read,
    write,
)
from quant.tws.codec.text_orders import CONDITIONS

HISTORICAL_DATA_END_VERSION = 196  # below it the window of an answer stands before its bars
# Bytes without which a message holds neither NaN nor a mark of "unset": how NaN ends, and ff ff as marks have it, but
# no negative integer, which ends in ff 01; no field begins with 01 or ff. Others may hold them too: to look at each
# field takes longer than all the rest.
_UNTIDY = re.compile(rb"[\xf0-\xff]\x7f|[\xf0-\xff]\xff(?![\x01\xff])")
_HISTORICAL_DATA = next(entry for entry in ANSWERS.values() if entry.name == "HistoricalData")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message that the tables do not have; the stream goes on behind it."""

    id: int
    protobuf: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message whose payload does not fit its table; TWS answers such a one with error 320 and goes on.

    id: None where even that cannot be read. name: the class of IB's protobuf, "" where the id is not known.
    """

    id: int | None
    name: str
    reason: str


class Codec:
    """Decodes requests and encodes answers as one server version has them. One for each connection."""

    def __init__(self, version: int) -> None:
        if not LOWEST_VERSION <= version <= HIGHEST_VERSION:
            raise ValueError(f"server version {version} is not one of {LOWEST_VERSION} to {HIGHEST_VERSION}")
        self.version = version
        self._answers = {entry.type: entry for entry in ANSWERS.values()}
        self._bars: dict[int, list[str]] = {}  # fields of HistoricalData that wait for its end, by request

    def decode(self, payload: bytes) -> Any:
        """Return the request of a frame as a message of ibapi.protobuf, or Unknown or Malformed. Never raises.

        What a client marks as unset, in text or in protobuf, is not set in the message; flags are set where true.
        """
        found = split(payload, self.version)
        if isinstance(found, Malformed):
            return found
        number, protobuf, body = found
        return _from_protobuf(number, body) if protobuf else self._from_text(REQUESTS, number, body)

    def decode_answer(self, payload: bytes) -> Any:
        """Return the answer of a frame as `decode` does a request; of a TWS that this program is a client of.

        Unset marks stay as they are. HistoricalData of versions below 196 is Malformed: its text holds its end as well.
        """
        found = split(payload, self.version)
        if isinstance(found, Malformed):
            return found
        number, protobuf, body = found
        if not protobuf:
            return self._from_text(ANSWERS, number, body)
        entry = ANSWERS.get(number)
        if entry is None:
            return Unknown(number, True, body)
        message = entry.type()
        try:
            message.ParseFromString(body)
        except DecodeError as error:
            return Malformed(number, entry.name, f"is not protobuf: {error}")
        return message

    def encode(self, message: Any) -> tuple[bytes, ...]:
        """Return the frames of an answer, lengths included: none or one.

        message: of a class in messages.ANSWERS; set what TWS would set, since an unset field reads as unset or 0 at the
        client. Below version 196 HistoricalData gives none: it waits for its HistoricalDataEnd, which gives both; a
        later one of the same request takes its place, since the first may belong to an answer that was broken off.
        Raises TextError where a kind of tick or condition has no text, ValueError where a message is longer than
        clients read.
        """
        entry = self._answers.get(type(message))
        if entry is None:
            raise TypeError(f"{type(message).__name__} is no answer that the codec knows")
        if self.version >= entry.protobuf_since:
            number = (entry.id + PROTOBUF_OFFSET).to_bytes(4, "big")
            return (pack(number + message.SerializeToString(deterministic=True)),)
        folded = entry.name in ("HistoricalData", "HistoricalDataEnd")
        if folded and self.version < HISTORICAL_DATA_END_VERSION:
            return self._folded(entry, message)
        return (self._text(entry, write(_layout(entry, self.version), message)),)

    def _from_text(self, table: Mapping[int, Entry], number: int, body: bytes) -> Any:
        entry = table.get(number)
        if entry is None or entry.layout is None:
            return Unknown(number, False, body)
        if body and not body.endswith(b"\0"):
            return Malformed(number, entry.name, f"does not end a field: {body[-20:]!r}")
        message = entry.type()
        try:
            read(_layout(entry, self.version), message, body.decode().split("\0")[:-1])
        except TextError as error:
            return Malformed(number, entry.name, str(error))
        except UnicodeDecodeError as error:
            return Malformed(number, entry.name, f"is not UTF-8 at byte {error.start}")
        return message

    def _folded(self, entry: Entry, message: Any) -> tuple[bytes, ...]:
        if entry.name == "HistoricalData":
            self._bars[message.reqId] = write(_layout(entry, self.version), message)
            return ()
        request, *window = write(_layout(entry, self.version), message)
        bars = self._bars.pop(message.reqId, [request, "0"])[1:]
        return (self._text(_HISTORICAL_DATA, [request, *window, *bars]),)

    def _text(self, entry: Entry, fields: list[str]) -> bytes:
        fields.append("")
        body = "\0".join(fields).encode()
        if self.version >= RAW_ID_VERSION:
            return pack(entry.id.to_bytes(4, "big") + body)
        return pack(f"{entry.id}\0".encode() + body)


def split(payload: bytes, version: int) -> tuple[int, bool, bytes] | Malformed:
    """Return a payload's id, whether protobuf follows, and what follows."""
    if version >= RAW_ID_VERSION:
        if len(payload) < 4:
            return Malformed(None, "", f"{len(payload)} bytes, where an id alone has four")
        number, body = int.from_bytes(payload[:4], "big"), payload[4:]
        protobuf = number > PROTOBUF_OFFSET
        return number - PROTOBUF_OFFSET * protobuf, protobuf, body
    head, end, body = payload.partition(b"\0")
    if not end or not head.isdigit() or len(head) > 9:
        return Malformed(None, "", f"no message id in {payload[:20]!r}")
    return int(head), False, body


@cache
def _layout_of(number: int, answer: bool, version: int) -> Layout:
    entry = ANSWERS[number] if answer else REQUESTS[number]
    return layout_at(entry.layout or (), version)


def _layout(entry: Entry, version: int) -> Layout:
    return _layout_of(entry.id, ANSWERS.get(entry.id) is entry, version)


def _from_protobuf(number: int, body: bytes) -> Any:
    entry = REQUESTS.get(number)
    if entry is None:
        return Unknown(number, True, body)
    message = entry.type()
    try:
        message.ParseFromString(body)
        if _UNTIDY.search(body):
            _tidy(message)
        if entry.name == "PlaceOrderRequest":
            _check_order(message.order)
    except DecodeError as error:
        return Malformed(number, entry.name, f"is not protobuf: {error}")
    except TextError as error:
        return Malformed(number, entry.name, str(error))
    return message


def _tidy(message: Any) -> None:
    """Drop what is set to ibapi's mark of "unset": both encodings have one meaning. Raises TextError for NaN."""
    for field, value in message.ListFields():
        if isinstance(value, float):
            if value != value:
                raise TextError(f"{field.name} is not a number")
            if value == UNSET_DOUBLE:
                message.ClearField(field.name)
        elif isinstance(value, int):
            if value in (UNSET_INT, UNSET_LONG):
                message.ClearField(field.name)
        elif hasattr(value, "ListFields"):
            _tidy(value)
        elif not isinstance(value, str) and not hasattr(value, "items"):  # a list; maps hold words only
            for part in value:
                if hasattr(part, "ListFields"):
                    _tidy(part)


def _check_order(order: Any) -> None:
    """Refuse what the text of an order could not say; other clients may be shown it in text."""
    for condition in order.conditions:
        if condition.type not in CONDITIONS:
            raise TextError(f"conditions: type {condition.type} is none of {', '.join(map(str, CONDITIONS))}")
    if order.HasField("totalQuantity"):
        try:
            quantity = DECIMAL.read(order.totalQuantity)
        except ValueError:
            raise TextError(f"totalQuantity = {order.totalQuantity[:40]!r} is not {DECIMAL.name}") from None
        if quantity is None:
            order.ClearField("totalQuantity")
        else:
            order.totalQuantity = quantity
