"""IB's own client code as the other end of the codec: its encoder with a connection that keeps the bytes, its decoder
with a wrapper that keeps the calls. And messages with a value in every field."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

from ibapi.client import EClient
from ibapi.decoder import Decoder
from ibapi.wrapper import EWrapper

from quant.tws.codec import FrameReader
from quant.tws.codec.text import layout_at, read, write

TEXT_VERSIONS = range(176, 201)
Call = tuple[str, tuple[Any, ...]]


def names(text: str) -> list[str]:
    """Return names that are easier to read in lines than one by one."""
    return text.split()


def plain(value: Any) -> Any:
    """Return a value that compares by content: ibapi's objects have no ==."""
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        return {name: plain(v) for name, v in vars(value).items()}
    return value


class Recorder(EWrapper):  # type: ignore[misc]
    """Keeps each call but the twins that get raw protobuf."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []


def _keeping(name: str) -> Any:
    def keep(self: Recorder, *args: Any) -> None:
        self.calls.append((name, tuple(plain(a) for a in args)))

    return keep


for _name, _ in inspect.getmembers(EWrapper, inspect.isfunction):
    if not _name.startswith("_") and _name not in ("logAnswer",):
        setattr(Recorder, _name, (lambda self, *a: None) if _name.endswith("ProtoBuf") else _keeping(_name))


class Taken:
    """An iterator that knows how many fields nobody took."""

    def __init__(self, fields: Sequence[bytes]) -> None:
        self.left = list(fields)

    def __iter__(self) -> Taken:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        return self.left.pop(0)


def payloads(frames: Sequence[bytes]) -> list[bytes]:
    found = FrameReader().feed(b"".join(frames))
    assert all(isinstance(f, bytes) for f in found)
    return found  # type: ignore[return-value]


@cache  # it looks at the signature of every callback, each time
def _decoder(version: int) -> Any:
    return Decoder(Recorder(), version)


def read_by_ibapi(payload: bytes, version: int) -> list[Call]:
    """Return the callbacks that ibapi makes of a payload, and prove that it took every field of it."""
    decoder = _decoder(version)
    recorder = decoder.wrapper
    recorder.calls = []
    if version >= 201:
        number, body = int.from_bytes(payload[:4], "big"), payload[4:]
    else:
        head, _, body = payload.partition(b"\0")
        number = int(head)
    if number > 200:
        decoder.processProtoBuf(body, number - 200)
        return recorder.calls
    fields = body.split(b"\0")
    assert fields.pop() == b""
    handler = decoder.msgId2handleInfo[number]
    if handler.wrapperMeth is not None:
        # takes the fields by the callback's signature, and makes no call where their count is another
        decoder.interpretWithSignature(fields, handler)
        assert len(recorder.calls) == 1, (number, fields)
    else:
        taken = Taken(fields)
        handler.processMeth(decoder, taken)
        assert not taken.left, f"{len(taken.left)} fields of message {number} are left over: {taken.left}"
    return recorder.calls


class Line:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def isConnected(self) -> bool:  # noqa: N802  # ibapi's name
        return True

    def sendMsg(self, data: bytes) -> int:  # noqa: N802  # ibapi's name
        self.sent.append(data)
        return len(data)


def sent_by_ibapi(version: int, method: str, *args: Any) -> bytes:
    """Return the payload that ibapi sends for a request at a server version."""
    recorder = Recorder()
    client = EClient(recorder)
    line = Line()
    client.conn, client.serverVersion_, client.connState = line, version, EClient.CONNECTED
    client.clientId = 7
    getattr(client, method)(*args)
    assert not recorder.calls, recorder.calls
    (payload,) = payloads(line.sent)
    return payload


# ---------------------------------------------------------------- messages with a value in every field
# Texts that ibapi reads as numbers, and numbers that mean more than themselves
DECIMALS = set(
    names(
        """totalQuantity filledQuantity position positionDesired positionAfter desiredAllocQty allowedAllocQty
    suggestedSize minSize sizeIncrement suggestedSizeIncrement size sizeBid sizeAsk filled remaining shares
    cumQty volume WAP minTick yieldRedemptionDate"""
    )
)
FIXED = {
    "orderType": "PEG BENCH",
    "usePriceMgmtAlgo": 1,
    "routeMarketableToBbo": 1,
    "optExerciseOrLapseType": 0,
    "tickType": 1,
    "evMultiplier": 3.0,
    "lastTradeDateOrContractMonth": "20260619",
    "fundDistributionPolicyIndicator": "N",
    "fundAssetType": "000",
}
_CONDITION_FIELDS = {
    1: "isConjunctionConnection isMore price conId exchange triggerMethod",
    3: "isConjunctionConnection isMore time",
    4: "isConjunctionConnection isMore percent",
    5: "isConjunctionConnection secType exchange symbol",
    6: "isConjunctionConnection isMore volume conId exchange",
    7: "isConjunctionConnection isMore changePercent conId exchange",
}


class Filler:
    """Gives each field another value, so that two that change places are seen.

    Flags have but two values: the n-th is the n's bit `bit`, so that any two differ for one of the bits.
    """

    def __init__(self, bit: int) -> None:
        self.bit = bit
        self.flags = 0
        self.count = 100  # 1 and 6 are versions of messages

    def fill(self, message: Any) -> Any:
        for field in message.DESCRIPTOR.fields:
            if field.name == "conditions":
                self._conditions(message.conditions)
            elif field.is_repeated and field.message_type is not None:
                items = getattr(message, field.name)
                if field.message_type.GetOptions().map_entry:
                    items[f"tag{self._next()}"] = f"value{self._next()}"
                else:
                    self.fill(items.add())
                    self.fill(items.add())
            elif field.is_repeated:
                getattr(message, field.name).extend([self._value(field), self._value(field)])
            elif field.message_type is not None:
                part = getattr(message, field.name)
                part.SetInParent()
                self.fill(part)
            else:
                setattr(message, field.name, self._value(field))
        return message

    def _next(self) -> int:
        self.count += 1
        return self.count

    def _value(self, field: Any) -> Any:
        number = self._next()
        if field.name in FIXED:
            return FIXED[field.name]
        if field.type == field.TYPE_STRING:
            return str(number) if field.name in DECIMALS else f"{field.name} {number}"
        if field.type == field.TYPE_BOOL:
            self.flags += 1
            return bool(self.flags >> self.bit & 1)
        return number + 0.25 if field.type == field.TYPE_DOUBLE else number

    def _conditions(self, conditions: Any) -> None:
        for kind, names in _CONDITION_FIELDS.items():
            condition = conditions.add(type=kind)
            for name in names.split():
                setattr(condition, name, self._value(condition.DESCRIPTOR.fields_by_name[name]))


def filled(kind: Any, bit: int = 0, **fixed: Any) -> Any:
    """Return a message with another value in every field; `bit` as in Filler.

    fixed: values by name, parts as in "order.action".
    """
    message = Filler(bit).fill(kind())
    for name, value in fixed.items():
        *parts, last = name.split(".")
        scope = message
        for part in parts:
            scope = getattr(scope, part)
        setattr(scope, last, value)
    return message


def as_text_carries(layout: Any, version: int, message: Any) -> Any:
    """Return what of a message its text holds at a version."""
    rows = layout_at(layout, version)
    copy = type(message)()
    read(rows, copy, write(rows, message))
    return copy


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Return where two values of `plain` differ, one line each: pytest's own diff of an order is unreadable."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(k for k in other if k not in one)]
        return [d for k in keys for d in differences(one.get(k), other.get(k), f"{where}.{k}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [
            d
            for i, (a, b) in enumerate(zip(one, other, strict=True))
            for d in differences(a, b, f"{where}[{i}]")
        ]
    return [] if one == other else [f"{where}: {one!r} and {other!r}"]
