"""The recorder: IB's client against our own simulator through it, and the transcript played back to IB's client."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from ibapi.execution import ExecutionFilter
from ibapi.protobuf.FamilyCodes_pb2 import FamilyCodes
from ibapi.protobuf.ManagedAccounts_pb2 import ManagedAccounts
from ibapi.protobuf.OpenOrder_pb2 import OpenOrder
from served import PATIENCE_S, App, connected, order, served, stock

from quant.errors import ParameterError
from quant.tws.codec import Codec
from quant.tws.faults import Do, Fault
from quant.tws.program import Tws, simulated
from quant.tws.record import recording
from quant.tws.replay import compared, replaying
from quant.tws.transcript import CLIENT, TWS, Sanitiser, Transcript, entry_of, load, payload_of

REF = "my secret plan"
WAIT = {"positionEnd": "reqPositions", "openOrderEnd": "reqAllOpenOrders"}


def script(app: App, symbol: str = "SPY") -> str:
    """Say a little of everything; return all callbacks as text."""
    app.reqContractDetails(4, stock(symbol))
    app.wait("contractDetailsEnd")
    app.reqHistoricalData(5, stock(), "20240515-16:00:00", "1800 S", "1 min", "TRADES", 1, 2, False, [])
    app.wait("historicalDataEnd")
    app.reqHistoricalData(6, stock("NOPE"), "", "1800 S", "1 min", "TRADES", 1, 2, False, [])
    app.wait("error", lambda n, *_: n == 6)
    for end, ask in WAIT.items():
        getattr(app, ask)()
        app.wait(end)
    app.reqAccountUpdates(True, app.wait("managedAccounts")[0])
    app.wait("accountDownloadEnd")
    bought = order(10)
    bought.orderRef = REF
    app.placeOrder(1, stock(), bought)
    app.wait("commissionAndFeesReport")
    app.reqExecutions(3, ExecutionFilter())
    app.wait("execDetailsEnd")
    app.reqCompletedOrders(False)
    app.wait("completedOrdersEnd")
    app.reqPnL(9, app.wait("managedAccounts")[0], "")
    app.reqMarketRule(26)
    app.wait("marketRule")
    return "\n".join(f"{name} {plain(args)}" for name, args in app.calls)


def plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.name
    return {k: plain(v) for k, v in vars(value).items()} if hasattr(value, "__dict__") else value


def recorded(path: Path, version: int, talk: Callable[[App], str] = script) -> str:
    with served(version) as (_, tws), recording(("127.0.0.1", tws), path) as (port, recorder):
        with connected(port) as app:
            said = talk(app)
        assert recorder.trouble == []
    return said


@pytest.mark.parametrize("version", [178, 200, 204, 226])
def test_ibs_client_hears_the_same_from_the_transcript(tmp_path: Path, version: int) -> None:
    path = tmp_path / "tws.jsonl"
    live = recorded(path, version)
    text = path.read_text()
    assert "DU1234567" not in text
    assert REF not in text
    transcript = load(path)
    assert transcript.version == version
    assert not [e for e in transcript.entries if "left_out" in e]
    with replaying(transcript) as (port, replay), connected(port) as app:
        again = script(app)
    assert replay.differences == []
    assert replay.done
    assert (
        again.splitlines()
        == live.replace("DU1234567", "DU0000001").replace(REF, "n0000000000001").splitlines()
    )


@pytest.mark.parametrize("version", [200, 226])
def test_the_simulator_is_compared_with_a_transcript(tmp_path: Path, version: int) -> None:
    path = tmp_path / "tws.jsonl"
    recorded(path, version)
    transcript = load(path)

    def simulator() -> Tws:
        return simulated(account="DU0000001", rate_limited=False)  # as the transcript calls it

    with served(version, simulator()) as (_, port):
        assert compared(transcript, port) == []
    rows = [Fault(Do.LOSE, "ContractDataEnd"), Fault(Do.REFUSE, "HistoricalDataRequest", code=162, text="no")]
    with served(version, simulator(), rows) as (_, port):
        contract, history = compared(transcript, port)
    assert contract.startswith("request 4: TWS says ContractData(")
    assert "ContractDataEnd" in contract.split("; here")[0]
    assert "ContractDataEnd" not in contract.split("; here")[1]
    assert history.endswith("here error 162")


def test_a_client_that_says_something_else_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "tws.jsonl"

    def short(app: App, symbol: str = "SPY") -> str:
        app.reqContractDetails(4, stock(symbol))
        app.wait("contractDetailsEnd")
        return ""

    recorded(path, 226, short)
    with replaying(load(path)) as (port, replay), connected(port) as app:
        short(app, "MSFT")
        app.reqCurrentTime()
        app.reqIds(1)
    (other, *rest) = replay.differences
    assert "MSFT" in other
    assert "SPY" in other
    assert all("after the end" in told for told in rest)


def test_every_line_says_who_when_and_what(tmp_path: Path) -> None:
    path = tmp_path / "tws.jsonl"
    recorded(path, 226, lambda app: "")
    greeting, answer, start, *rest = (json.loads(line) for line in path.read_text().splitlines())
    assert (greeting["from"], greeting["greeting"]) == (CLIENT, "v100..226")
    assert (answer["from"], answer["version"], answer["time"]) == (TWS, 226, "20240515 12:00:00 US/Eastern")
    assert (start["id"], start["name"], start["message"]) == (71, "StartApiRequest", {"clientId": 1})
    assert [e["name"] for e in rest if "name" in e] == [
        "ManagedAccounts",
        "NextValidId",
        *["ErrorMessage"] * 3,
    ]
    assert [e["at"] for e in rest] == sorted(e["at"] for e in rest)


# ---------------------------------------------------------------- what is replaced
def test_the_same_is_replaced_by_the_same_and_keeps_length_and_kind() -> None:
    clean = Sanitiser()
    assert clean.text("U7654321,DU111111 and F22222; U7654321") == "U0000001,DU000002 and F00003; U0000001"
    assert clean.raw(b"\x0a\x08U7654321\x12\x07DU99999") == b"\x0a\x08U0000001\x12\x07DU00004"
    assert clean.text("QU7654321 AAPL ESU20250 20240515") == "QU7654321 AAPL ESU20250 20240515"
    told = OpenOrder(order=dict(account="My IRA", orderRef="abc", modelCode="Core", faGroup="All"))
    clean.message(told)
    assert (told.order.account, told.order.orderRef) == ("M00005", "n01")
    assert (told.order.modelCode, told.order.faGroup) == ("Core", "All")
    assert [clean.field(f) for f in ("abc", "My IRA", "x", "")] == ["n01", "M00005", "x", ""]


def test_what_cannot_be_read_and_may_hold_names_is_left_out() -> None:
    codec, clean = Codec(178), Sanitiser()
    order_ = entry_of(b"5\x001\0SPY\0U1234567\0", TWS, codec, clean)
    assert (order_["name"], "fields" in order_, "left_out" in order_) == ("OpenOrder", False, True)
    advisors = entry_of(b"16\x001\x001\0<xml>U1234567 My Group</xml>\0", TWS, codec, clean)
    assert set(advisors) == {"id", "left_out"}
    family = (278).to_bytes(4, "big") + FamilyCodes(
        familyCodes=[dict(accountId="U1", familyCode="x")]
    ).SerializeToString()
    assert set(entry_of(family, TWS, Codec(226), clean)) == {"id", "left_out"}
    assert entry_of(b"9\x00", TWS, Codec(226), clean)["id"] is None


def test_a_message_that_says_more_than_the_classes_know_is_kept_as_bytes() -> None:
    codec = Codec(226)
    body = ManagedAccounts(accountsList="U1234567").SerializeToString() + b"\xfa\x3e\x08U1234567"
    payload = (215).to_bytes(4, "big") + body
    entry = entry_of(payload, TWS, codec, Sanitiser())
    assert entry["name"] == "ManagedAccounts"
    assert payload_of(entry, 226) == payload.replace(b"U1234567", b"U0000001")
    unknown = (9999).to_bytes(4, "big") + b"\x08\x05"
    assert payload_of(entry_of(unknown, TWS, codec, Sanitiser()), 226) == unknown


# ---------------------------------------------------------------- what goes wrong
def test_without_a_tws_the_client_is_cut_off(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    with (
        recording(("127.0.0.1", nobody), tmp_path / "x.jsonl") as (port, recorder),
        socket.create_connection(("127.0.0.1", port)) as peer,
    ):
        peer.settimeout(PATIENCE_S)
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""
    assert str(nobody) in recorder.trouble[0]


def test_bytes_that_are_no_message_pass_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        recording(("127.0.0.1", other.getsockname()[1]), path) as (port, _),
        socket.create_connection(("127.0.0.1", port)) as peer,
    ):
        peer.sendall(b"GET / HTTP/1.1\r\n")
        up, _ = other.accept()
        with up:
            assert up.recv(100) == b"GET / HTTP/1.1\r\n"
            up.sendall(b"\x7f\xff\xff\xffno TWS")
            assert peer.recv(100) == b"\x7f\xff\xff\xffno TWS"
    told = [json.loads(line).get("lost", "")[:9] for line in path.read_text().splitlines()]
    assert told[:2] == ["opened wi", "announced"]


def test_files_that_are_no_transcript_say_so(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for text, told in (
        ("{", "JSON"),
        ("3\n", "line 1"),
        ('{"connection": 2, "version": 226, "time": ""}', "no connection 1"),
    ):
        path.write_text(text)
        with pytest.raises(ParameterError, match=told):
            load(path)
    assert load(path, 2) == Transcript(226, "")
    with pytest.raises(FileExistsError), recording(("127.0.0.1", 1), path):
        raise AssertionError("it overwrites")
