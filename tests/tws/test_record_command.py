"""`quant tws record`, as a process of its own between IB's client and the simulator, and its refusals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from served import PATIENCE_S, connected, served

from quant.app.tws import tws
from quant.errors import CannotConnect, ParameterError
from quant.tws.transcript import load


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_session_is_recorded_until_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "session.jsonl"
    command = [
        sys.executable,
        "-m",
        "quant",
        "tws",
        "record",
        "--port",
        "0",
        "--out",
        str(out),
        "--json",
        "--to",
    ]
    pipe = subprocess.PIPE
    env = {n: v for n, v in os.environ.items() if not n.upper().startswith("QUANT_")}
    with (
        served() as (_, port),
        subprocess.Popen(
            [*command, f"127.0.0.1:{port}"], stdout=pipe, stderr=pipe, text=True, env=env
        ) as process,
    ):
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"client to 127\.0\.0\.1:(\d+)", line)
        assert found is not None, line + process.stderr.read()
        with connected(int(found[1])) as app:
            app.reqCurrentTime()
            app.wait("currentTime")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=PATIENCE_S)
    document = json.loads(told)
    assert (process.returncode, document["connections"], document["trouble"]) == (0, 1, [])
    assert document["lines"] == len(out.read_text().splitlines())
    assert [e["name"] for e in load(out).entries if e["from"] == "client"] == [
        "StartApiRequest",
        "CurrentTimeRequest",
    ]


@pytest.mark.parametrize("to", ["7497", "127.0.0.1:", ":7497", "localhost:0", "localhost:x", "h:70000"])
def test_an_address_that_is_none_is_named(tmp_path: Path, to: str) -> None:
    done = CliRunner().invoke(tws, ["record", "--to", to, "--out", str(tmp_path / "x")])
    assert isinstance(done.exception, ParameterError)
    assert to in str(done.exception)


def test_nothing_is_overwritten_and_a_port_in_use_is_named(tmp_path: Path) -> None:
    out = tmp_path / "x.jsonl"
    with served() as (_, port):
        words = ["record", "--to", f"127.0.0.1:{port}", "--port", str(port), "--out", str(out)]
        taken = CliRunner().invoke(tws, words)
        assert isinstance(taken.exception, CannotConnect)
        assert "--port" in str(taken.exception)
        assert not out.exists()
        out.write_text("")
        held = CliRunner().invoke(tws, words)
        assert isinstance(held.exception, ParameterError)
        assert "--out" in str(held.exception)


def test_help_names_the_command_below() -> None:
    told = CliRunner().invoke(tws, ["--help"])
    assert told.exit_code == 0
    assert "record" in told.output
    assert "--clock" in told.output
