"""What ibapi 10.50.2 sends at any version, the codec reads, and text means what IB's protobuf means."""

from __future__ import annotations

from typing import Any

import pytest
from ibapi_requests import calls
from wire_peers import TEXT_VERSIONS, as_text_carries, sent_by_ibapi

from quant.tws.codec import REQUESTS, Codec, Malformed, Unknown

BY_TYPE = {entry.type: entry for entry in REQUESTS.values()}


def decoded(version: int, method: str, args: tuple[Any, ...]) -> Any:
    message = Codec(version).decode(sent_by_ibapi(version, method, *args))
    assert not isinstance(message, Malformed | Unknown), (method, message)
    return message


@pytest.mark.parametrize("version", TEXT_VERSIONS)
def test_text_means_what_protobuf_means(version: int) -> None:
    for method, args in calls(version):
        text = decoded(version, method, args)
        protobuf = decoded(226, method, args)
        layout = BY_TYPE[type(text)].layout
        # Both through the table: it fills in zeros for what a text does not say.
        assert as_text_carries(layout, version, text) == as_text_carries(layout, version, protobuf), method


@pytest.mark.parametrize("version", range(201, 227))
def test_each_version_of_the_change_to_protobuf_means_the_same(version: int) -> None:
    for method, args in calls(version):
        got, newest = decoded(version, method, args), decoded(226, method, args)
        entry = BY_TYPE[type(got)]
        if version >= entry.protobuf_since:
            assert got == newest, method
        else:
            carried = as_text_carries(entry.layout, version, got)
            assert carried == as_text_carries(entry.layout, version, newest), method


def test_every_request_of_the_tables_is_sent_by_ibapi() -> None:
    sent = {type(decoded(226, method, args)) for method, args in calls(226)}
    assert sent == set(BY_TYPE)


def set_paths(message: Any, where: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            found[where + field.name] = value
        else:
            for i, part in enumerate(value if field.is_repeated else [value]):
                found |= set_paths(part, f"{where}{field.name}{i if field.is_repeated else ''}.")
    return found


# What ibapi's text leaves out and its protobuf says; all of it defaults in these calls.
NEVER_IN_TEXT = {
    "order.clientId",  # known from START_API
    "order.permId",
    "order.referenceContractId",  # with PEG BENCH only, as the next two
    "order.peggedChangeAmount",
    "order.referenceChangeAmount",
    "order.deltaNeutralConId",  # with a delta neutral order only, as the next one
    "order.deltaNeutralShortSaleSlot",
}


@pytest.mark.parametrize("version", [178, 200])
def test_text_leaves_out_defaults_and_nothing_else(version: int) -> None:
    for method, args in calls(version):
        text, protobuf = set_paths(decoded(version, method, args)), set_paths(decoded(226, method, args))
        lost = {
            name: value for name, value in protobuf.items() if name not in text and name not in NEVER_IN_TEXT
        }
        assert {n: v for n, v in lost.items() if v not in (0, -1)} == {}, method  # -1: exemptCode of a leg
        wrong = {
            name: (text[name], value) for name, value in protobuf.items() if text.get(name, value) != value
        }
        assert wrong == {}, method
        more = {name: value for name, value in text.items() if name not in protobuf}
        assert more == {}, method
