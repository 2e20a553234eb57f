"""`quant tws`, as a process of its own that IB's client talks to, and its refusals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from ibapi.client import EClient
from ibapi.wrapper import EWrapper

from quant.app.tws import tws
from quant.errors import CannotConnect, ParameterError

PATIENCE_S = 30.0  # only a failing test waits that long


class App(EWrapper, EClient):  # type: ignore[misc]
    def __init__(self) -> None:
        EClient.__init__(self, self)
        self.ready, self.told = threading.Event(), threading.Event()
        self.time = 0

    def nextValidId(self, orderId: int) -> None:  # noqa: N802, N803
        self.ready.set()

    def currentTime(self, time: int) -> None:  # noqa: N802
        self.time = time
        self.told.set()


def started(folder: Path, *words: str) -> tuple[subprocess.Popen[str], int]:
    """Start the program; return it and its port."""
    code = "from quant.app.tws import tws; tws.main()"
    env = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--port", "0", "--data", str(folder), *words],
        text=True,
        env=env,
        **pipes,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r"127\.0\.0\.1:(\d+)", line)
    assert found is not None, line + process.stderr.read()
    return process, int(found[1])


def time_told(port: int, client: int = 1) -> int:
    app = App()
    app.connect("127.0.0.1", port, client)
    thread = threading.Thread(target=app.run, daemon=True)
    thread.start()
    assert app.ready.wait(PATIENCE_S)
    app.reqCurrentTime()
    assert app.told.wait(PATIENCE_S)
    app.disconnect()
    thread.join(PATIENCE_S)
    return app.time


def test_a_step_clock_is_moved_by_lines_and_ends_with_them(tmp_path: Path) -> None:
    process, port = started(tmp_path, "--clock", "step", "--start", "2024-05-15 16:00", "--json")
    with process:
        assert time_told(port) == 1715788800  # date -u -d "2024-05-15 16:00" +%s
        assert process.stdin is not None
        assert process.stderr is not None
        for line, answer in (("60", "2024-05-15 16:01:00 UTC"), ("soon", "'soon' is no number of seconds")):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert process.stderr.readline().strip() == answer
        # ibapi's reader may hold the first socket open for a second more: another id.
        assert time_told(port, 2) == 1715788860
        out, _ = process.communicate(timeout=PATIENCE_S)
    found = json.loads(out)
    assert (process.returncode, found["port"], found["orders"], found["dropped"]) == (0, port, 0, [])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_its_ordinary_end(tmp_path: Path) -> None:
    process, port = started(tmp_path, "--clock", "x60", "--start", "2024-05-15 12:00-04:00")
    with process:
        assert process.stderr is not None
        assert (
            f"in the background: kill {process.pid}" in process.stderr.readline()
        )  # Ctrl-C does not reach it there
        assert time_told(port) >= 1715788800
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (0, "orders 0, fills 0; IB's limits broken: none\n")
    assert "stopped" in errors


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--clock", "fast"], "clock"), (["--symbols", "SPY,NOPE"], "NOPE"), (["--start", "noon"], "start"),
        (["--account", "me"], "account"), (["--symbols", ","], "symbols"), (["--start", "1815-06-18"], "1980"),
    ],
)  # fmt: skip
def test_what_it_does_not_take(tmp_path: Path, words: list[str], told: str) -> None:
    done = CliRunner().invoke(tws, ["--port", "0", "--data", str(tmp_path), *words])
    assert isinstance(done.exception, ParameterError)
    assert told in str(done.exception)


def test_a_script_of_faults_is_played(tmp_path: Path) -> None:
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\ndo = "refuse"\non = "CurrentTimeRequest"\ncode = 1100\n')
    process, port = started(tmp_path, "--clock", "step", "--faults", str(script))
    with process:
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.settimeout(PATIENCE_S)
            peer.sendall(b"API\0\0\0\0\x04v178")
            peer.recv(4096)
            peer.sendall(b"\0\0\0\x0871\x002\x001\0\0" + b"\0\0\0\x0549\x001\0")
            heard = b""
            while b"\x001100\0" not in heard:
                more = peer.recv(4096)
                assert more, heard
                heard += more
        process.communicate(timeout=PATIENCE_S)
    script.write_text("[[fault]]")
    done = CliRunner().invoke(tws, ["--port", "0", "--faults", str(script)])
    assert isinstance(done.exception, ParameterError)


def test_a_port_in_use_is_named_with_the_mend(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(tws, ["--port", str(port), "--data", str(tmp_path)])
    assert isinstance(done.exception, CannotConnect)
    assert f"127.0.0.1:{port}" in str(done.exception)
    assert "--port" in str(done.exception)
