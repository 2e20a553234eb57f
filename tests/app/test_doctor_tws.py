"""What quant doctor says of a TWS: none, something else, a simulated one, and one that refuses or says nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from calling import Quant, document
from simulation import NOON, free_port, simulated_tws

from quant.app import address, doctor_tws
from quant.ib import starting
from quant.ib.link import Patience
from quant.ib.session import Session
from quant.tws.exchange.clock import Clock
from quant.tws.faults import Do, Fault
from quant.tws.program import simulated
from quant.tws.server import Server, outside_ns, running

Checks = dict[str, list[dict[str, str]]]


@pytest.fixture(autouse=True)
def quick(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is told of TWS, in an empty folder."""
    for part in ("_python", "_libraries", "_extras", "_zones", "_engine", "_project"):
        monkeypatch.setattr(f"quant.app.doctor.{part}", lambda *_: ())


def checks(quant: Quant, *words: object, code: int = 0) -> Checks:
    result = quant("doctor", *words, "--json")
    assert result.exit_code == code, result.output
    found: Checks = {}
    for line in document(result)["checks"]:
        found.setdefault(line["name"], []).append(line)
    return found


def only(found: Checks, name: str, status: str) -> dict[str, str]:
    (line,) = found[name]
    assert line["status"] == status, line
    assert line["mend"] if status != "ok" else True, "a warning without a mend"
    return line


@pytest.fixture
def port() -> Iterator[int]:
    with simulated_tws() as found:
        yield found


# ---------------------------------------------------------------- nothing, or something else
def test_nothing_listening_is_a_warning_that_says_what_to_do(quant: Quant) -> None:
    port = free_port()
    line = only(checks(quant, "--port", port), "TWS", "warn")
    assert f"127.0.0.1, port {port}: nothing listens there" in line["message"]
    assert "quant tws" in line["mend"]
    found = checks(quant, "SPY", "--port", port, code=1)  # what was asked has no answer
    assert "no TWS was found" in only(found, "contract", "fail")["message"]


def test_a_port_that_was_named_is_waited_for(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(starting, "WAIT_S", 60.0)
    with ExitStack() as stack:

        def listens_now(_: float) -> None:
            stack.enter_context(running(Server(simulated(), Clock(outside_ns)), port))

        monkeypatch.setattr(starting.time, "sleep", listens_now)
        assert "answers" in only(checks(quant, "--port", port), "TWS", "ok")["message"]


def test_without_a_port_the_four_usual_ones_are_looked_at(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert address.PORTS == (7497, 4002, 7496, 4001)  # IB's defaults, paper first
    ports = tuple(free_port() for _ in range(4))
    monkeypatch.setattr(address, "PORTS", ports)
    assert f"ports {', '.join(map(str, ports))}" in only(checks(quant), "TWS", "warn")["message"]
    with simulated_tws() as open_:
        monkeypatch.setattr(address, "PORTS", (*ports[:2], open_))
        assert f"127.0.0.1:{open_} answers" in only(checks(quant), "TWS", "ok")["message"]


def test_port_of_something_else_is_named_as_that(quant: Quant) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                peer, _ = listening.accept()
                with peer:
                    if peer.recv(100):
                        peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        found = checks(quant, "SPY", "--port", listening.getsockname()[1], code=1)
        ended.set()
        socket.create_connection(listening.getsockname()).close()
        thread.join()
    assert "something else than TWS answers" in only(found, "TWS", "warn")["message"]
    assert "no session" in only(found, "contract", "fail")["message"]


def test_one_that_says_nothing_does_not_keep_the_doctor(
    quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_tws, "LOGIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = checks(quant, "--port", listening.getsockname()[1])
    assert "said nothing" in only(found, "TWS", "warn")["message"]


def test_a_host_that_is_none_is_named(quant: Quant) -> None:
    line = only(checks(quant, "--host", "no.such.host.invalid", "--port", 7497), "TWS", "warn")
    assert "no.such.host.invalid" in line["message"]


@pytest.mark.parametrize(("name", "value"), [("PORT", "70000"), ("PORT", "0"), ("CLIENT_ID", "-1")])
def test_a_setting_that_cannot_be_is_named(name: str, value: str, quant: Quant) -> None:
    result = quant("doctor", "--json", env={f"QUANT__IB__{name}": value})
    assert result.exit_code == 1
    (line,) = [c for c in document(result)["checks"] if c["name"] == "TWS"]
    assert (line["status"], f"QUANT__IB__{name}" in line["message"]) == ("fail", True)


# ---------------------------------------------------------------- a TWS
def test_all_that_there_is_to_know_of_a_tws(port: int, quant: Quant) -> None:
    found = checks(quant, "--port", port)
    assert "server version 226, client id 11 is free" in only(found, "TWS", "ok")["message"]
    assert only(found, "account", "ok")["message"] == (
        "DU1234567: paper (by its id); INDIVIDUAL, base currency USD"
    )
    assert "US/Eastern" in only(found, "time zone", "ok")["message"]
    assert "agrees" in only(found, "clock", "ok")["message"]
    assert "not known" in only(found, "read-only API", "ok")["message"]
    assert "50 requests at a time, and 60 in 10 minutes" in only(found, "IB's limits", "ok")["message"]
    assert "10.50" in only(found, "ibapi in use", "ok")["message"]
    assert "contract" not in found


def test_the_id_says_that_an_account_is_live_and_not_the_port(quant: Quant) -> None:
    with simulated_tws(account="U7654321") as port:
        assert "U7654321: LIVE, real money" in only(checks(quant, "--port", port), "account", "ok")["message"]


def test_port_and_client_id_may_be_settings(port: int, quant: Quant) -> None:
    Path("quant.toml").write_text(f"[ib]\nport = {port}\nclient_id = 42\n", encoding="utf-8")
    assert "client id 42 is free" in only(checks(quant), "TWS", "ok")["message"]


def test_client_id_in_use_is_told_and_the_rest_is_checked_all_the_same(port: int, quant: Quant) -> None:
    with Session("127.0.0.1", port, 11, patience=Patience()) as other:
        other.connect()
        found = checks(quant, "--port", port)
    line = only(found, "client id", "warn")
    assert "client id 11 is in use" in line["message"]
    assert "--client-id" in line["mend"]
    assert "client id 12 is free" in only(found, "TWS", "ok")["message"]


def test_a_clock_that_is_years_away_is_a_warning(quant: Quant) -> None:
    with simulated_tws(start=NOON) as port:
        line = only(checks(quant, "--port", port), "clock", "warn")
    assert "behind" in line["message"]


def test_a_farm_that_is_gone_is_told(quant: Quant) -> None:
    gone = Fault(
        Do.SAY, on="StartApiRequest", code=2103, text="Market data farm connection is broken:usfarm.nj"
    )
    with simulated_tws(faults=[gone]) as port:
        found = checks(quant, "--port", port)
    assert "usfarm.nj" in only(found, "data farms", "warn")["message"]


def test_an_account_without_a_summary_is_still_told(quant: Quant) -> None:
    refusal = Fault(Do.REFUSE, on="AccountSummaryRequest", code=322, text="Error processing request")
    with simulated_tws(faults=[refusal]) as port:
        lines = checks(quant, "--port", port)["account"]
    assert [x["status"] for x in lines] == ["ok", "warn"]
    assert "DU1234567: paper (by its id); type unknown" in lines[0]["message"]


# ---------------------------------------------------------------- a contract
def test_a_contract_that_may_be_seen(quant: Quant) -> None:
    with simulated_tws(start=NOON) as port:
        found = checks(quant, "AAPL", "--port", port)
    told = only(found, "contract", "ok")["message"]
    # 265598 is IB's own id of Apple's shares; XNYS is what exchange_calendars names Nasdaq's sessions by.
    assert "id 265598" in told
    assert "calendar XNYS, tick 0.01" in told
    assert "SYNTHETIC" in told
    assert only(found, "history TRADES", "ok")["message"] == "yes"
    assert only(found, "live quotes", "ok")["message"] == "yes"


def test_pence_are_told(port: int, quant: Quant) -> None:
    found = checks(quant, "VOD", "--currency", "GBP", "--port", port)
    assert "prices in 1/100 GBP" in only(found, "contract", "ok")["message"]


def test_an_ambiguous_contract_names_what_there_is_and_what_tells_them_apart(port: int, quant: Quant) -> None:
    line = only(checks(quant, "IBM", "--port", port, code=1), "contract", "fail")
    assert "3 contracts fit" in line["message"]
    assert "IBM  STK  NYSE  USD  id 8314" in line["message"]
    assert "--exchange or --currency" in line["mend"]
    assert (
        "id 8314"
        in only(checks(quant, "IBM", "--currency", "USD", "--port", port), "contract", "ok")["message"]
    )


def test_an_unknown_contract_is_named_with_its_mend(port: int, quant: Quant) -> None:
    line = only(checks(quant, "NOPE", "--port", port, code=1), "contract", "fail")
    assert "NOPE STK SMART: No security definition" in line["message"]
    assert "--sec-type" in line["mend"]


@pytest.mark.parametrize(
    ("code", "text", "told"),
    [
        (354, "Requested market data is not subscribed.", "no permission: Requested market data"),
        (10089, "Requested market data requires additional subscription for API.", "no permission"),
        (10197, "No market data during competing live session", "logged in elsewhere"),
    ],
)
def test_why_there_are_no_live_quotes(code: int, text: str, told: str, quant: Quant) -> None:
    refusal = Fault(Do.REFUSE, on="MarketDataRequest", code=code, text=text)
    with simulated_tws(faults=[refusal], start=NOON) as port:
        found = checks(quant, "AAPL", "--port", port)
    assert told in only(found, "live quotes", "warn")["message"]
    assert only(found, "history TRADES", "ok")["message"] == "yes"


def test_why_there_is_no_history(quant: Quant) -> None:
    words = "Historical Market Data Service error message:No market data permissions for NASDAQ STK"
    refusal = Fault(Do.REFUSE, on="HistoricalDataRequest", code=162, text=words)
    with simulated_tws(faults=[refusal], start=NOON) as port:
        found = checks(quant, "AAPL", "--port", port)
    assert "no permission" in only(found, "history TRADES", "warn")["message"]


def test_an_answer_that_never_comes_ends_with_the_time(quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_tws, "LIMIT_S", 0.6)
    monkeypatch.setattr(doctor_tws, "CONNECT_S", 0.1)
    monkeypatch.setattr(doctor_tws, "LOGIN_S", 0.2)
    with simulated_tws(faults=[Fault(Do.IGNORE, on="HistoricalDataRequest")], start=NOON) as port:
        found = checks(quant, "AAPL", "--port", port)
    assert [x["status"] for x in found["contract"]] == ["ok", "warn"]
    assert "ended early" in found["contract"][1]["message"]
    assert "history TRADES" not in found
