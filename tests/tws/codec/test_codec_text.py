"""The text tables as round trips, and what the codec says to text and protobuf that do not fit."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from random_messages import random_message
from wire_peers import sent_by_ibapi

from quant.tws.codec import ANSWERS, REQUESTS, Codec, Malformed, Unknown, message_class
from quant.tws.codec import codec as _codec
from quant.tws.codec.text import layout_at, read, write

TABLES = [e for e in [*REQUESTS.values(), *ANSWERS.values()] if e.layout is not None]
SEEDS = st.integers(0, 2**32)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e.name) for e in TABLES])
@given(seed=SEEDS, version=st.integers(176, 200))
@settings(max_examples=40)
def test_what_is_read_is_written_again_as_it_was(entry: Any, seed: int, version: int) -> None:
    layout = layout_at(entry.layout, version)
    message = random_message(entry.type, random.Random(seed))
    text = write(layout, message)
    copy = entry.type()
    read(layout, copy, text)
    assert write(layout, copy) == text
    changed = {n: v for n, v in flat(copy).items() if v != flat(message).get(n, _zero(v))}
    assert changed == {}


def flat(message: Any, where: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            found[where + field.name] = list(value) if field.is_repeated else value
        elif field.message_type.GetOptions().map_entry:
            found[where + field.name] = dict(value)
        else:
            for i, part in enumerate(value if field.is_repeated else [value]):
                found |= flat(part, f"{where}{field.name}{i}.")
    return found


def _zero(value: Any) -> Any:
    """What text says of a field that is not set: -1 for an id or an exempt code, "and" for a condition."""
    return value if value in (-1, True) else type(value)()


@given(seed=SEEDS, version=st.sampled_from([178, 200, 205, 213, 226]))
@settings(max_examples=100)
def test_any_answer_can_be_encoded(seed: int, version: int) -> None:
    rng = random.Random(seed)
    codec = Codec(version)
    for entry in ANSWERS.values():
        frames = codec.encode(random_message(entry.type, rng))
        assert len(frames) == (0 if entry.name == "HistoricalData" and version < 196 else 1)


# ---------------------------------------------------------------- what does not fit
def text(*fields: Any) -> bytes:
    return "".join(f"{f}\0" for f in fields).encode()


HISTORY = [20, 5, 265598, "AAPL", "STK", "", "", "", "", "SMART", "", "USD", "", "", 0]
HISTORY += ["", "1 min", "1 D", 1, "TRADES", 2, 0, ""]


def test_a_whole_request_is_read() -> None:
    message = Codec(178).decode(text(*HISTORY))
    assert (message.reqId, message.contract.symbol, message.duration) == (5, "AAPL", "1 D")
    assert not message.contract.HasField("strike")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (HISTORY[:-1], "ends after 21 fields, in the middle"),
        ([*HISTORY, "more"], "1 of 23 fields are left over, the first is 'more'"),
        ([20, "five", *HISTORY[2:]], "reqId = 'five' is not a whole number"),
        ([20, "5_0", *HISTORY[2:]], "reqId = '5_0' is not a whole number"),
        ([20, "\u0665", *HISTORY[2:]], "reqId = '\u0665' is not a whole number"),
        ([20, "99999999999", *HISTORY[2:]], "reqId = 99999999999 is out of range"),
        ([*HISTORY[:6], "nan", *HISTORY[7:]], "strike = 'nan' is not a number"),
        ([*HISTORY[:8], "0x10", *HISTORY[9:]], "multiplier = '0x10' is not a number"),
        ([*HISTORY[:4], "BAG", *HISTORY[5:]], "ends after 22 fields, in the middle"),
        ([*HISTORY[:18], "yes", *HISTORY[19:]], "useRTH = 'yes' is not 0 or 1"),
    ],
)
def test_text_that_does_not_fit_is_told_with_the_field(fields: list[Any], reason: str) -> None:
    assert Codec(178).decode(text(*fields)) == Malformed(20, "HistoricalDataRequest", reason)


@pytest.mark.parametrize("quantity", ["1E+999999999", "NaN", "Infinity", "9" * 61, "1,000", "-"])
def test_a_quantity_that_is_no_sane_decimal_is_refused_in_both_encodings(quantity: str) -> None:
    place = message_class("PlaceOrderRequest")(orderId=1, order=dict(totalQuantity=quantity))
    reason = f"totalQuantity = {quantity[:40]!r} is not a decimal number"
    layout = layout_at(REQUESTS[3].layout or (), 178)
    assert Codec(178).decode(text(3, *write(layout, place))) == Malformed(3, "PlaceOrderRequest", reason)
    assert Codec(226).decode(protobuf(3, place)) == Malformed(3, "PlaceOrderRequest", reason)


def protobuf(number: int, message: Any) -> bytes:
    return (200 + number).to_bytes(4, "big") + bytes(message.SerializeToString())


def test_ibapis_marks_of_unset_are_not_set_in_both_encodings() -> None:
    order = dict(
        lmtPrice=1.7976931348623157e308, minQty=2**31 - 1, permId=2**63 - 1, totalQuantity=str(2**127 - 1)
    )
    place = message_class("PlaceOrderRequest")(orderId=1, order=dict(order, action="BUY"))
    for message in (
        Codec(226).decode(protobuf(3, place)),
        Codec(178).decode(text(3, *write(layout_at(REQUESTS[3].layout or (), 178), place))),
    ):
        assert [name for name in order if message.order.HasField(name)] == []
        assert message.order.action == "BUY"


MARKS = {
    FieldDescriptor.TYPE_DOUBLE: [1.7976931348623157e308, math.nan, -math.nan],
    FieldDescriptor.TYPE_INT32: [2**31 - 1],
    FieldDescriptor.TYPE_INT64: [2**31 - 1, 2**63 - 1],
}


def with_one_mark(kind: Any) -> Iterator[Any]:
    """Messages in which a single number is set, to each mark that its type can have, and -1 beside it."""
    for field in kind.DESCRIPTOR.fields:
        inner = field.message_type
        if inner is not None and not inner.GetOptions().map_entry:
            for part in with_one_mark(GetMessageClass(inner)):
                yield kind(**{field.name: [part] if field.is_repeated else part})
        for mark in MARKS.get(field.type, []) if not field.is_repeated else []:
            yield kind(**{field.name: mark})
            if kind.DESCRIPTOR.name == "Order" and field.name != "exemptCode":
                yield kind(**{field.name: mark, "exemptCode": -1})


def test_no_mark_of_unset_and_no_nan_is_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [protobuf(e.id, message) for e in REQUESTS.values() for message in with_one_mark(e.type)]
    codec, quick = Codec(226), _codec._UNTIDY
    found = [repr(codec.decode(payload)) for payload in sent]
    monkeypatch.setattr(_codec, "_UNTIDY", re.compile(b""))  # looks at each field of each message
    assert found == [repr(codec.decode(payload)) for payload in sent]
    plain = message_class("PlaceOrderRequest")(
        orderId=5, order=dict(exemptCode=-1, lmtPrice=400.25, permId=9)
    )
    assert quick.search(plain.SerializeToString()) is None  # else it saves nothing


def test_protobuf_that_text_could_not_say_is_refused() -> None:
    place = message_class("PlaceOrderRequest")
    unknown = place(order=dict(conditions=[dict(type=2)]))
    told = "conditions: type 2 is none of 1, 3, 4, 5, 6, 7"
    assert Codec(226).decode(protobuf(3, unknown)) == Malformed(3, "PlaceOrderRequest", told)
    leg = place(contract=dict(comboLegs=[dict(perLegPrice=float("nan"))]))
    assert Codec(226).decode(protobuf(3, leg)) == Malformed(
        3, "PlaceOrderRequest", "perLegPrice is not a number"
    )


@pytest.mark.parametrize(
    "payload", [b"", b"\0", b"12", b"x\0", b"-3\0", b"1" * 5000 + b"\0", "\u0663\0".encode()]
)
def test_text_without_an_id_is_malformed(payload: bytes) -> None:
    found = Codec(178).decode(payload)
    assert isinstance(found, Malformed)
    assert found.id is None


def test_damaged_ends_and_letters_are_malformed() -> None:
    assert Codec(178).decode(b"71\0002\0007\0abc").reason == "does not end a field: b'2\\x007\\x00abc'"
    assert Codec(178).decode(b"71\0002\0007\0\xff\xfe\0").reason == "is not UTF-8 at byte 4"
    assert Codec(226).decode(b"\0\0").reason == "2 bytes, where an id alone has four"
    assert Codec(226).decode((203).to_bytes(4, "big") + b"\xff").reason.startswith("is not protobuf")


def test_messages_that_are_not_in_the_tables_are_unknown() -> None:
    assert Codec(178).decode(b"22\0x\0") == Unknown(22, False, b"x\0")  # scanner subscription
    assert Codec(226).decode((222).to_bytes(4, "big") + b"x") == Unknown(22, True, b"x")
    assert Codec(226).decode((22).to_bytes(4, "big") + b"x\0") == Unknown(22, False, b"x\0")
    assert Codec(178).decode(b"106\0x\0") == Unknown(106, False, b"x\0")  # has no text


def test_a_client_may_send_either_encoding_from_201_on() -> None:
    # ibapi decides by message and version; the server goes by the id alone
    early = sent_by_ibapi(205, "reqIds", 1)
    late = sent_by_ibapi(226, "reqIds", 1)
    assert early[:4] != late[:4]
    for version in (205, 226):
        assert Codec(version).decode(early) == Codec(version).decode(late)
