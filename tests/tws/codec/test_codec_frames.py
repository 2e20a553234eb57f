"""Frames: any slicing gives the same, another protocol is told at once. ibapi's comm.py is the reference."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ibapi import comm
from ibapi.const import MAX_MSG_LEN

from quant.errors import ProtocolError
from quant.tws.codec import ClientStream, FrameReader, Greeting, greeting_reply, negotiate, pack
from quant.tws.codec.frames import MAX_FRAME, parse_greeting


def sliced(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


def shown(found: list[object]) -> list[object]:
    return [str(f) if isinstance(f, ProtocolError) else f for f in found]


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(st.lists(st.binary(max_size=300), max_size=8), CUTS)
def test_any_slicing_gives_the_frames_that_were_packed(sent: list[bytes], cuts: list[int]) -> None:
    reader = FrameReader()
    stream = b"".join(pack(payload) for payload in sent)
    assert [f for part in sliced(stream, cuts) for f in reader.feed(part)] == sent


@given(st.binary(min_size=1, max_size=300))
def test_ibapi_reads_a_packed_frame(payload: bytes) -> None:
    assert comm.read_msg(pack(payload)) == (len(payload), payload, b"")


def test_a_frame_may_be_as_long_as_ibapi_reads_and_no_longer() -> None:
    assert MAX_FRAME == MAX_MSG_LEN
    assert FrameReader().feed(pack(b"x" * MAX_FRAME)) == [b"x" * MAX_FRAME]
    with pytest.raises(ValueError, match="16,777,216 bytes; 16,777,215 are the most"):
        pack(b"x" * (MAX_FRAME + 1))


def test_a_length_above_the_most_is_told_at_its_fourth_byte_and_ends_the_stream() -> None:
    reader = FrameReader()
    assert reader.feed(pack(b"before") + b"GET") == [b"before"]
    (error,) = reader.feed(b" ")
    assert isinstance(error, ProtocolError)
    assert "announced a frame of 1,195,725,856 bytes; 16,777,215 are the most" in str(error)
    assert reader.feed(pack(b"after")) == []


@given(st.binary(max_size=40), CUTS)
def test_any_bytes_in_any_slices_give_the_same_values_and_never_raise(noise: bytes, cuts: list[int]) -> None:
    for start in (b"", b"API\0" + pack(b"v100..226"), b"API\0"):
        whole = ClientStream().feed(start + noise)
        stream = ClientStream()
        parts = [f for part in sliced(start + noise, cuts) for f in stream.feed(part)]
        # an opening is told at its first wrong byte, so that the words may show less of it
        assert [type(f) for f in whole] == [type(f) for f in parts]
        assert [f for f in shown(whole) if not str(f).count("opened")] == [
            f for f in shown(parts) if not str(f).count("opened")
        ]


def test_a_greeting_and_requests_in_one_piece_or_byte_by_byte() -> None:
    data = b"API\0" + pack(b"v100..226 +PACEAPI") + pack(b"71\0002\0007\0\0") + pack(b"")
    expected = [Greeting(100, 226, "+PACEAPI"), b"71\0002\0007\0\0", b""]
    assert ClientStream().feed(data) == expected
    stream = ClientStream()
    assert [f for i in range(len(data)) for f in stream.feed(data[i : i + 1])] == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"v100..226", Greeting(100, 226, "")),  # ibapi 10.50.2
        (b"v157..178", Greeting(157, 178, "")),  # ib_async 2.1
        (b"v178", Greeting(178, 178, "")),
        (b"v100..226 +PACEAPI other", Greeting(100, 226, "+PACEAPI other")),
        (b"v100..226 ", Greeting(100, 226, "")),
    ],
)
def test_greetings_that_are_read(payload: bytes, expected: Greeting) -> None:
    assert parse_greeting(payload) == expected


@pytest.mark.parametrize(
    "payload", [b"", b"v", b"vx..y", b"100..226", b"v100..", b"v100..226x", b"v99999", b"\xff\xfe"]
)
def test_greetings_that_name_no_versions_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"not with a range of versions like 'v100\.\.226'"):
        parse_greeting(payload)


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ProtocolError, match="a range of no versions"):
        parse_greeting(b"v226..100")


@pytest.mark.parametrize("opening", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02", b"63\0", b"APX", b"\0"])
def test_another_protocol_is_told_at_its_first_wrong_byte(opening: bytes) -> None:
    stream = ClientStream()
    (error,) = stream.feed(opening)
    assert "Connect ibapi 10 or ib_async 2" in str(error)
    assert stream.feed(b"API\0") == []


def test_a_greeting_that_would_never_end_is_cut_off() -> None:
    (error,) = ClientStream().feed(b"API\0" + (5000).to_bytes(4, "big"))
    assert "announced a frame of 5,000 bytes; 4,096 are the most" in str(error)


def test_the_version_of_a_session_is_the_highest_that_both_speak() -> None:
    assert negotiate(Greeting(100, 226, ""), 176, 226) == 226
    assert negotiate(Greeting(157, 178, ""), 176, 226) == 178
    assert negotiate(Greeting(100, 226, ""), 176, 200) == 200
    assert negotiate(Greeting(100, 300, ""), 176, 226) == 226


@pytest.mark.parametrize("greeting", [Greeting(100, 157, ""), Greeting(227, 300, "")])
def test_no_common_version_is_told_with_what_to_install(greeting: Greeting) -> None:
    with pytest.raises(
        ProtocolError, match=r"176 to 226 are served\. Install ibapi-stable 10\.50 or ib_async 2\.1"
    ):
        negotiate(greeting, 176, 226)


def test_the_reply_to_a_greeting_is_what_ibapi_takes_for_one() -> None:
    size, payload, rest = comm.read_msg(greeting_reply(178, "20260706 09:30:00 US/Eastern"))
    assert (size, rest) == (len(payload), b"")
    assert comm.read_fields(payload) == (b"178", b"20260706 09:30:00 US/Eastern")
