"""quant data pull and repair against a simulated TWS: what they say, keep and refuse, and their exit codes."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from calling import Quant, document
from click.testing import Result
from simulation import NOON, free_port, simulated_tws

from quant.app import address, data_pull
from quant.core.bars import COLUMNS, Bars
from quant.ib.download import Progress
from quant.ib.download import pull as download
from quant.ib.session import Session
from quant.store import Store
from quant.store.write import locked
from quant.tws.faults import Do, Fault

APRIL = ("--from", "2024-04-01", "--to", "2024-04-30")  # 22 sessions of the New York Stock Exchange


@pytest.fixture
def port(empty: Path) -> Iterator[int]:
    """A TWS at noon of 2024-05-15, New York."""
    with simulated_tws(start=NOON) as found:
        yield found


def pulled(symbol: str = "AAPL", bar: str = "1d") -> Bars:
    store = Store("data")
    return store.read(store.find(symbol, bar, source="simulated"))


def same(a: Bars, b: Bars) -> bool:
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("start", *COLUMNS))


def good(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


# ---------------------------------------------------------------- what comes
def test_pull_tells_its_plan_first_then_what_came_and_the_next_command(port: int, quant: Quant) -> None:
    told = good(quant("data", "pull", "AAPL", "--bar", "1d", *APRIL, "--port", port))
    assert f"TWS at 127.0.0.1:{port}, DU1234567" in told.stderr
    assert "AAPL 1d TRADES rth: 1 request; from 2024-04-01" in told.stderr
    assert "by IB's limits" in told.stderr
    assert "AAPL 1d TRADES rth (simulated): 22 bars new, held 2024-04-01 to 2024-04-30" in told.stdout
    assert "next: quant backtest STRATEGY AAPL --bar 1d\n" in told.stdout
    assert len(pulled()) == 22


def test_what_is_held_is_not_asked_for_again(port: int, quant: Quant) -> None:
    words = ("data", "pull", "AAPL", *APRIL, "--port", port)
    good(quant(*words))
    again = good(quant(*words, "--resume"))
    assert "nothing to ask for: what is held is complete" in again.stdout
    assert "1 request" not in again.stderr
    more = document(good(quant("data", "pull", "AAPL", "--from", "2024-03-28", "--port", port, "--json")))
    # 2024-03-29 was Good Friday; May 1 to 14 are ten sessions, and that of the 15th is not over at noon.
    assert [s["added"] for s in more["series"]] == [11]


def test_json_is_one_document_with_plan_and_outcome(port: int, quant: Quant) -> None:
    result = good(quant("data", "pull", "AAPL", "SAP", *APRIL, "--port", port, "--json"))
    said = document(result)
    assert (said["ok"], said["interrupted"], said["failed"]) == (True, False, [])
    assert [s["name"] for s in said["plan"]["series"]] == ["AAPL 1d TRADES rth", "SAP 1d TRADES rth"]
    assert said["plan"]["requests"] == said["requests"] == 2
    # Xetra was closed on April 1 (Easter Monday).
    assert [(s["added"], s["complete"], s["error"]) for s in said["series"]] == [
        (22, True, None),
        (21, True, None),
    ]


def test_a_plan_alone_writes_nothing(port: int, quant: Quant) -> None:
    words = ("data", "pull", "AAPL", *APRIL, "--bar", "1m", "--plan", "--port", port)
    assert "AAPL 1m TRADES rth: 22 requests" in good(quant(*words)).stdout
    assert document(quant(*words, "--json"))["plan"]["requests"] == 22
    assert not Path("data/bars").exists()


def test_bars_are_those_that_the_python_call_brings(port: int, quant: Quant) -> None:
    words = "--sec-type FUT --expiry 202406 --exchange CME --all-hours --bar 1h --what MIDPOINT"
    span = ("--from", "2024-05-01", "--to", "2024-05-03")
    good(quant("data", "pull", "ES", *words.split(), *span, "--port", port))
    done = download(
        "ES", "1h", "2024-05-01", "2024-05-03", what="MIDPOINT", rth=False, sec_type="FUT", expiry="202406",
        exchange="CME", port=port, data="elsewhere",
    )  # fmt: skip
    (series,) = Store("data").series()
    (other,) = Store("elsewhere").series()
    assert done.ok
    assert (series.what, series.rth, series.instrument) == ("MIDPOINT", False, other.instrument)
    assert same(Store("data").read(series), Store("elsewhere").read(other))


def test_host_port_and_client_id_may_be_settings(port: int, quant: Quant) -> None:
    Path("quant.toml").write_text(
        f'[ib]\nhost = "localhost"\nport = {port}\nclient_id = 5\n', encoding="utf-8"
    )
    with Session("127.0.0.1", port, 11) as other:  # the default id is taken
        other.connect()
        assert f"TWS at localhost:{port}" in good(quant("data", "pull", "AAPL", *APRIL)).stderr


def test_sim_brings_its_own_tws_and_serves_the_stored_bars(project: Path, quant: Quant) -> None:
    words = ("data", "pull", "SPY", "--bar", "1d", "--from", "2018-01-02", "--to", "2018-03-29", "--sim")
    assert "61 bars new" in good(quant(*words)).stdout  # sessions by NYSE's calendar of 2018
    store = Store("data")
    came, was = pulled("SPY"), store.read(store.find("SPY", "1d", source="sample"))
    lo = int(np.searchsorted(was.start, came.start[0]))
    assert same(came, was[lo : lo + 61])
    good(quant("backtest", "macd", "SPY", "--no-save", "--from", "2018-01-02"))


def test_ports_are_those_of_the_python_call() -> None:
    from quant.ib.download.pull import PORTS

    assert address.PORTS == PORTS


# ---------------------------------------------------------------- interrupted
def interrupted_at(done: int) -> Callable[[int], AbstractContextManager[Callable[[Progress], None]]]:
    """Make a progress bar at which somebody presses Ctrl-C as soon as so many answers are there."""

    @contextmanager
    def stopping(total: int) -> Iterator[Callable[[Progress], None]]:
        def tell(now: Progress) -> None:
            if now.done >= done:
                raise KeyboardInterrupt

        yield tell

    return stopping


def test_ctrl_c_keeps_what_came_says_how_to_go_on_and_the_same_command_does(
    empty: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: tuple[object, ...] = ("data", "pull", "AAPL", "--bar", "1h", "--from", "2024-02-01", *APRIL[2:])
    # One request has no answer, so that Ctrl-C comes before the end however fast the others are answered.
    with simulated_tws(faults=[Fault(Do.IGNORE, on="HistoricalDataRequest", skip=1)], start=NOON) as port:
        words = (*words, "--port", port)
        with monkeypatch.context() as patch:
            patch.setattr(data_pull, "_bar", interrupted_at(1))
            stopped = quant(*words)
            assert stopped.exit_code == 130
            assert "the same command again goes on from there" in stopped.stderr
            patch.setattr(data_pull, "_bar", interrupted_at(0))
            at_once = quant(*words, "--json")
            assert (at_once.exit_code, document(at_once)["interrupted"]) == (130, True)
        held = len(pulled(bar="1h"))
        rest = document(good(quant(*words, "--json")))
        good(quant(*words, "--data", "whole"))
    (whole,) = Store("whole").series()
    assert 0 < held < whole.rows
    assert rest["series"][0]["added"] == whole.rows - held
    assert same(pulled(bar="1h"), Store("whole").read(whole))


def test_a_long_plan_is_agreed_on_first_where_somebody_can_be_asked(
    port: int, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_pull, "ASKED_S", 0.0)
    words = ("data", "pull", "AAPL", *APRIL, "--port", port)
    assert "22 bars new" in good(quant(*words, "--data", "unattended")).stdout
    monkeypatch.setattr(data_pull, "_somebody", lambda: True)
    asked: list[str] = []

    def confirm(question: str, yes: bool) -> bool:
        asked.append(question)
        return yes

    monkeypatch.setattr(data_pull.output, "confirm", confirm)
    assert "nothing was pulled" in good(quant(*words)).stdout
    assert "Ctrl-C ends it at any time" in asked[0]
    assert "22 bars new" in good(quant(*words, "--yes")).stdout


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Fault(Do.GAP, "HistoricalData", size=3),
            r"  warning  bars are missing \(13\.64% of what XNYS has\), first: .* \(3x\)  \[bars-missing\]",
        ),
        (
            Fault(Do.ZERO, "HistoricalData", size=2, text="price"),
            r"  warning  bars with a price of zero or below, first: 2024-04-\d\d, .* \(2x\)  \[price-not-positive\]",
        ),
    ],
)
def test_the_end_tells_of_bars_that_are_missing_or_no_prices(
    fault: Fault, told: str, empty: Path, quant: Quant
) -> None:
    with simulated_tws(start=NOON, faults=[fault]) as port:
        came = good(quant("data", "pull", "AAPL", *APRIL, "--port", port))
        again = good(quant("data", "pull", "AAPL", *APRIL, "--port", port, "--json"))
    line = came.stdout.splitlines()[1]
    assert re.fullmatch(told, line), line
    assert [s["findings"] for s in document(again)["series"]] == [[]]  # told of what came


# ---------------------------------------------------------------- bad input
def refused(result: Result, code: int, *told: str) -> None:
    assert result.exit_code == code, result.output
    for words in told:
        assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_listening_is_5_with_what_to_do(empty: Path, quant: Quant) -> None:
    port = free_port()
    result = quant("data", "pull", "SPY", "--port", port)
    refused(result, 5, f"127.0.0.1:{port}: nothing listens there", "quant tws")
    assert (
        document(quant("data", "pull", "SPY", "--port", port, "--json"))["error"]["type"] == "CannotConnect"
    )


def test_a_port_of_something_else_is_5(empty: Path, quant: Quant, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(100)
                peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        result = quant("data", "pull", "SPY", "--port", listening.getsockname()[1])
        thread.join()
    refused(result, 5, "something else than TWS answers there", "--port N")


def test_client_id_in_use_is_5_and_another_one_does(port: int, quant: Quant) -> None:
    with Session("127.0.0.1", port, 11) as other:
        other.connect()
        refused(
            quant("data", "pull", "AAPL", *APRIL, "--port", port),
            5,
            "client id 11 is in use",
            "--client-id N",
        )
        good(quant("data", "pull", "AAPL", *APRIL, "--port", port, "--client-id", 12))


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("NOPE", 5, "NOPE STK SMART: No security definition"),
        ("IBM", 5, "IBM  STK  IBIS  EUR"),
        ("IBM", 5, "add --exchange or --currency"),
        ("AAPL --bar 7m", 3, "7m"),
        ("AAPL --from 2030-01-01", 3, "lies in the future"),
        ("AAPL --from 2024-02-01 --to 2024-01-01", 3, "lies before start"),
        ("AAPL --from yesterday", 3, "yesterday"),
        ("AAPL --what TRADE", 3, "one of TRADES, MIDPOINT"),
        ("EURUSDX --sec-type CASH", 3, "a currency pair is written like"),
        ("AAPL SPY --con-id 265598", 2, "--con-id is of one contract"),
        ("AAPL --sim", 2, "leave --host and --port out"),
        ("", 2, "SYMBOL"),
    ],
)
def test_what_cannot_be_pulled(words: str, code: int, told: str, port: int, quant: Quant) -> None:
    refused(quant("data", "pull", *words.split(), "--port", port), code, told)
    assert not Path("data/bars").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("--port", "none-such"), ("--port", "99999"), ("--client-id", "-3")]
)
def test_numbers_that_cannot_be(name: str, value: str, empty: Path, quant: Quant) -> None:
    refused(quant("data", "pull", "SPY", name, value), 3, f"ib.{name[2:].replace('-', '_')}")


@pytest.mark.parametrize(
    ("code", "text", "ends", "told"),
    [
        (
            162,
            "Historical Market Data Service error message:HMDS query returned no data: AAPL@SMART Trades",
            4,
            "no bars",
        ),
        (
            162,
            "Historical Market Data Service error message:No market data permissions for NASDAQ STK",
            5,
            "permissions",
        ),
        (10197, "No market data during competing live session", 5, "Log out of the other session"),
    ],
)
def test_what_ib_refuses(code: int, text: str, ends: int, told: str, empty: Path, quant: Quant) -> None:
    refusal = Fault(Do.REFUSE, on="HistoricalDataRequest", code=code, text=text, count=0)
    with simulated_tws(faults=[refusal], start=NOON) as port:
        refused(quant("data", "pull", "AAPL", *APRIL, "--port", port), ends, "error: ", told)


def test_of_several_symbols_the_good_ones_come_and_the_first_error_is_the_code(
    port: int, quant: Quant
) -> None:
    result = quant("data", "pull", "NOPE", "AAPL", *APRIL, "--port", port)
    refused(result, 5, "error: NOPE STK SMART")
    assert "22 bars new" in result.stdout
    assert "next:" not in result.stdout
    said = document(quant("data", "pull", "NOPE", "AAPL", *APRIL, "--port", port, "--json"))
    assert [f["error"] for f in said["failed"]] == ["UnknownContract"]


def test_a_series_that_another_process_writes_is_4_and_stays_as_it_was(
    port: int, quant: Quant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quant.store.write.WAIT_S", 0.0)
    good(quant("data", "pull", "AAPL", *APRIL, "--port", port))
    series = Store("data").find("AAPL", "1d", source="simulated")
    with locked(series.folder):
        refused(
            quant("data", "pull", "AAPL", "--port", port, "--from", "2024-01-02"),
            4,
            "another process is writing",
        )
    assert len(pulled()) == 22


def test_a_connection_that_breaks_is_made_again_and_all_comes(empty: Path, quant: Quant) -> None:
    with simulated_tws(faults=[Fault(Do.RESET, on="HistoricalDataRequest", skip=2)], start=NOON) as port:
        words = ("data", "pull", "AAPL", "--bar", "1h", "--from", "2024-02-01", "--to", "2024-04-30")
        good(quant(*words, "--port", port))
    with simulated_tws(start=NOON) as port:
        good(quant(*words, "--port", port, "--data", "other"))
    (other,) = Store("other").series()
    assert same(pulled(bar="1h"), Store("other").read(other))


# ---------------------------------------------------------------- repair
def test_repair_brings_what_the_calendar_misses(port: int, quant: Quant) -> None:
    good(quant("data", "pull", "AAPL", *APRIL, "--port", port))
    store = Store("data")
    series, whole = store.find("AAPL", "1d", source="simulated"), pulled()
    (window,) = store.manifest(series).coverage
    store.remove(series)
    parts = {n: np.delete(getattr(whole, n), [5, 6]) for n in ("start", *COLUMNS)}
    fields = {n: getattr(whole, n) for n in ("bar", "instrument", "what", "rth", "source", "adjusted")}
    store.write(
        Bars.trusted(**fields, **parts), {"kind": "pull", "at": "2024-05-15T16:00:00+00:00"}, window=window
    )
    assert len(pulled()) == 20
    planned = good(quant("data", "repair", "--plan", "--port", port))
    assert "asked for again" in planned.stdout
    mended = good(quant("data", "repair", "aapl", "--bar", "1d", "--port", port))
    assert "2 bars new" in mended.stdout
    assert same(pulled(), whole)
    assert "nothing to ask for" in good(quant("data", "repair", "--port", port)).stdout


def test_repair_finds_pairs_and_futures_again(port: int, quant: Quant) -> None:
    good(quant("data", "pull", "EURUSD", "--sec-type", "CASH", *APRIL, "--port", port))
    good(
        quant(
            "data",
            "pull",
            "ES",
            "--sec-type",
            "FUT",
            "--expiry",
            "202406",
            "--exchange",
            "CME",
            *APRIL,
            "--port",
            port,
        )
    )
    plan = document(good(quant("data", "repair", "--plan", "--port", port, "--json")))["plan"]
    assert sorted(s["name"] for s in plan["series"]) == ["ESM4 1d TRADES rth", "EUR.USD 1d MIDPOINT rth"]
    assert plan["failed"] == []


def test_repair_of_nothing_says_how_to_pull(port: int, quant: Quant) -> None:
    refused(
        quant("data", "repair", "--port", port), 4, "no bars of any symbol from TWS", "quant data pull SYMBOL"
    )
    refused(quant("data", "repair", "SPY", "--bar", "1m", "--port", port), 4, "quant data pull SPY --bar 1m")


# ---------------------------------------------------------------- hints
def test_missing_bars_name_the_pull(empty: Path, quant: Quant) -> None:
    refused(quant("data", "export", "SPY", "x.csv", "--bar", "5m"), 4, "quant data pull SPY --bar 5m")
    assert "quant data pull SYMBOL" in quant("data", "list").stdout
