"""What TWS sends, damaged: bytes flipped in valid frames, cut, merged, oversized, and split anywhere.

No hang, no crash, and whatever stands beside a damaged frame keeps its value. The server's side of the same:
tests/tws/codec/test_codec_fuzz.py.
"""

from __future__ import annotations

import logging
import random
from typing import Any
from unittest.mock import Mock

import pytest
from ibapi.common import PROTOBUF_MSG_ID
from ibapi.decoder import Decoder as IbDecoder
from ibapi.message import IN
from ibapi.protobuf.RealTimeBarTick_pb2 import RealTimeBarTick
from scripted_tws import NEWEST

from quant.errors import ProtocolError
from quant.ib.codec import Decoder, Event
from quant.ib.frames import LENGTH, MAX_FRAME, FrameBuffer, frame
from quant.tws.codec import ANSWERS, Codec, message_class

FRAMES_IN_CI, FRAMES_IN_FULL = 20_000, 1_000_000
VERSIONS = (178, 205, NEWEST)
A_STREAM = 20  # damaged frames
NASTY = (b"\0", b"-", b"9" * 400, b"1e999", b"nan", b"\0\0\0\0", b"\xff\xff", b"2147483647")


def filled(kind: Any, rng: random.Random, depth: int = 2) -> Any:
    """A message with its fields set, to values that mean something in most places where one must."""
    made, price, whole = kind(), rng.randint(1, 10**6) / 64, rng.choice([1, 3, 4])
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry or not depth or rng.random() < 0.3:
                continue
            for _ in range(rng.randint(1, 3) if field.is_repeated else 1):
                part = getattr(made, field.name)
                part = part.add() if field.is_repeated else part
                part.CopyFrom(filled(type(part), rng, depth - 1))
        elif not field.is_repeated:
            value: Any = whole
            if field.cpp_type == field.CPPTYPE_STRING:
                value = f"{rng.randint(0, 99_999_999)}"
            elif field.cpp_type == field.CPPTYPE_DOUBLE:
                value = price
            setattr(made, field.name, bool(value) if field.cpp_type == field.CPPTYPE_BOOL else value)
    return made


def valid(version: int, rng: random.Random) -> list[bytes]:
    """Payloads of all kinds of answers, as our simulated TWS writes them, that our client can read."""
    found = []
    for entry in ANSWERS.values():
        for _ in range(4):
            for data in Codec(version).encode(filled(entry.type, rng)):
                events = Decoder(version).decode(data[LENGTH.size :])
                if events and all(e.name != "damaged" for e in events):
                    found.append(data[LENGTH.size :])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_real_time_bars_are_read_as_ibapi_reads_them(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        bar = filled(RealTimeBarTick, rng)
        for name in rng.sample([f.name for f in bar.DESCRIPTOR.fields], rng.randint(0, 9)):
            bar.ClearField(name)
        recorder = Mock()
        IbDecoder(recorder, NEWEST).processProtoBuf(bar.SerializeToString(), IN.REAL_TIME_BARS)
        payload = (IN.REAL_TIME_BARS + PROTOBUF_MSG_ID).to_bytes(4, "big") + bar.SerializeToString()
        wanted = Event("realtimeBar", recorder.realtimeBar.call_args.args)
        assert repr(Decoder(NEWEST).decode(payload)) == repr([wanted])


def damaged(payload: bytes, other: bytes, rng: random.Random) -> bytes:
    """A payload that came to harm."""
    data = bytearray(payload)
    kind, at = rng.randrange(7), rng.randrange(len(data) + 1)
    if kind == 0:
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= rng.randint(1, 255)
    elif kind == 1:
        data[at : at + rng.randint(1, 9)] = b""
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.randint(1, 9))
    elif kind == 3:
        data[at:at] = rng.choice(NASTY)
    elif kind == 4:
        data += other
    elif kind == 5:
        data[at:] = other[rng.randrange(len(other) + 1) :]
    else:
        del data[at:]
    return bytes(data)


def ending(rng: random.Random) -> bytes:
    """What may stand at the end of a stream: nothing, a length that lies, one that is too much, half a frame."""
    return rng.choice(
        [
            b"",
            rng.randbytes(4),
            LENGTH.pack(rng.randint(MAX_FRAME + 1, 2**32 - 1)) + b"xx",
            LENGTH.pack(MAX_FRAME) + b"x" * 50,
            frame(b"x" * 60)[: rng.randint(1, 63)],
        ]
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_frames_never_stop_the_reader_and_sound_ones_between_them_are_right(
    version: int, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "quant.ib.codec")  # a million warnings would be kept
    rng = random.Random(20260102 + version)
    payloads = valid(version, rng)
    kinds = len({Decoder(version).decode(p)[0].name for p in payloads})
    assert kinds >= 30
    encode = Codec(version).encode
    decoder, fates, frames = Decoder(version), {"damaged": 0, "read": 0, "dropped": 0}, 0
    while frames < (FRAMES_IN_FULL if full else FRAMES_IN_CI) / len(VERSIONS):
        sent: list[bytes] = []
        for n in range(A_STREAM):
            (sound,) = encode(message_class("CurrentTime")(currentTime=1_700_000_000 + frames + n))
            sent += [damaged(rng.choice(payloads), rng.choice(payloads), rng), sound[LENGTH.size :]]
        stream = b"".join(map(frame, sent)) + ending(rng)
        buffer, got = FrameBuffer(), list[bytes]()
        try:
            while stream:
                cut = rng.choice([1, 7, 64, 1500, len(stream)])
                for payload in buffer.receive(stream[:cut]):
                    got.append(payload)
                stream = stream[cut:]
        except ProtocolError:
            fates["dropped"] += 1
        assert got[: len(sent)] == sent
        for n in range(A_STREAM):
            events = decoder.decode(got[2 * n])
            assert all(isinstance(e, Event) for e in events)
            fates["damaged" if any(e.name == "damaged" for e in events) else "read"] += 1
            assert decoder.decode(got[2 * n + 1]) == [Event("currentTime", (1_700_000_000 + frames + n,))]
        frames += A_STREAM
    # each fate has been met, or the damage is too mild to say anything
    assert all(count > frames / 200 for count in fates.values()), fates


def test_bytes_flipped_anywhere_in_the_stream_spoil_nothing_before_them(full: bool) -> None:
    """Lengths too: what comes before the first flipped byte is right, whatever it leads to."""
    rng = random.Random(20260103)
    (one,) = Codec(NEWEST).encode(message_class("CurrentTime")(currentTime=1_000_000))
    for _ in range(20_000 if full else 500):
        bad = bytearray(one * 20)
        at = rng.randrange(len(bad))
        bad[at] ^= rng.randint(1, 255)
        buffer, decoder, events = FrameBuffer(), Decoder(NEWEST), list[Event]()
        step = rng.randint(1, 60)
        try:
            for start in range(0, len(bad), step):
                for payload in buffer.receive(bytes(bad[start : start + step])):
                    events += decoder.decode(payload)
        except ProtocolError:
            pass
        sound = at // len(one)
        assert events[:sound] == [Event("currentTime", (1_000_000,))] * sound
