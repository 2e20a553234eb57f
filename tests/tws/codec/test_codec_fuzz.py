"""Damaged requests: bytes flipped inside valid frames, cut, merged, oversized, in any slices. No crash, no hang, and
what is taken for an order can be told to other clients without shifting a field."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ibapi_requests import calls
from wire_peers import payloads, read_by_ibapi, sent_by_ibapi

from quant.errors import ProtocolError
from quant.tws.codec import REQUESTS, ClientStream, Codec, Greeting, Malformed, Unknown, message_class, pack
from quant.tws.codec.text import layout_at
from quant.tws.codec.text import read as read_text
from quant.tws.codec.text import write as write_text

FRAMES_IN_CI, FRAMES_IN_FULL = 20_000, 1_000_000
VERSIONS = [178, 200, 207, 226]
TYPES = {entry.type: entry for entry in REQUESTS.values()}


def damaged(payload: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a frame, length included, that came to harm."""
    data = bytearray(payload)
    kind = rng.randrange(7)
    at = rng.randrange(len(data) + 1)
    if kind == 0:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at : at + rng.randint(1, 9)] = b""
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.randint(1, 9))
    elif kind == 3:
        data[at:at] = rng.choice(
            [b"\0", b"-", b"9" * 400, b"1e999", b"nan", b"\0\0\0\0", b"\xff\xff", b"2147483647"]
        )
    elif kind == 4:
        data += other
    elif kind == 5:
        data[at:] = other[rng.randrange(len(other) + 1) :]
    elif kind == 6:
        del data[at:]
    return pack(bytes(data))


def taken(found: Any, codec: Codec, rng: random.Random) -> str:
    """Return what became of a payload, after looking at what must hold of it."""
    if isinstance(found, ProtocolError | Malformed | Unknown | Greeting):
        return type(found).__name__
    entry = TYPES[type(found)]
    if codec.version < 201:
        layout = layout_at(entry.layout or (), codec.version)
        copy = entry.type()
        read_text(layout, copy, write_text(layout, found))
        assert write_text(layout, copy) == write_text(layout, found)
    if entry.name == "PlaceOrderRequest" and rng.random() < 0.1:
        answer = message_class("OpenOrder")(orderId=found.orderId, contract=found.contract, order=found.order)
        (payload,) = payloads(Codec(178).encode(answer))
        assert read_by_ibapi(payload, 178)[0][0] == "openOrder"
    return "request"


@pytest.mark.parametrize("version", VERSIONS)
def test_no_damaged_frame_crashes_the_codec(version: int, full: bool) -> None:
    rng = random.Random(20260706 + version)
    valid = [sent_by_ibapi(version, method, *args) for method, args in calls(version)]
    codec = Codec(version)
    fates: dict[str, int] = {}
    frames = (FRAMES_IN_FULL if full else FRAMES_IN_CI) // len(VERSIONS)
    read = 0
    while read < frames:
        stream = ClientStream()
        data = b"API\0" + pack(b"v100..226")
        for _ in range(20):
            data += damaged(rng.choice(valid), rng.choice(valid), rng)
        if rng.random() < 0.2:  # a length that lies: frames fall together, or out of step, or the stream ends
            at = rng.randrange(13, len(data))
            data = data[:at] + rng.randbytes(4) + data[at:]
        while data:
            cut = rng.choice([1, 7, 64, 1500, len(data)])
            for found in stream.feed(data[:cut]):
                if isinstance(found, bytes):
                    found = codec.decode(found)
                    read += 1
                fate = taken(found, codec, rng)
                fates[fate] = fates.get(fate, 0) + 1
            data = data[cut:]
    # each fate has been met, or the damage is too mild to say anything
    assert all(fates.get(name, 0) > frames / 200 for name in ("request", "Malformed", "Unknown")), fates
    assert fates["ProtocolError"] > 0, fates


def test_random_bytes_as_payloads_do_not_crash_the_codec() -> None:
    rng = random.Random(7)
    for version in VERSIONS:
        codec = Codec(version)
        for _ in range(2000):
            codec.decode(rng.randbytes(rng.randrange(60)))


def test_a_text_that_asks_for_a_billion_legs_takes_no_time() -> None:
    frame = sent_by_ibapi(178, *[(m, *a) for m, a in calls(178) if m == "reqMktData"][1])
    assert b"\x002\x00101\x00" in frame
    found = Codec(178).decode(frame.replace(b"\x002\x00101\x00", b"\x00999999999\x00101\x00"))
    assert isinstance(found, Malformed)
