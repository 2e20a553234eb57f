"""`quant tws record`: a proxy that writes down what a client and a real TWS say to each other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import click

from quant.app import output
from quant.app.command import FILE, command
from quant.app.output import Result
from quant.errors import ParameterError

PORT: Final = 7498
_LOOK_S: Final = 0.5  # how often Ctrl-C is looked for: Windows does not interrupt a wait without end


@command("record")
@click.option("--to", metavar="HOST:PORT", required=True, help="The TWS or IB Gateway, e.g. 127.0.0.1:7497.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="For clients; 0: any free one.",
)
@click.option(
    "--out", type=FILE, default=Path("tws.jsonl"), show_default=True, help="The transcript, a new file."
)
def record(to: str, port: int, out: Path) -> Result:
    """Record what a client and a TWS say.

    Connect the client to --port instead of the TWS, which it sees through it, until Ctrl-C. Account ids, names and
    order references are replaced, the same one always by the same; prices, quantities and cash stay. Look through the
    file before you hand it on.
    """
    from quant.tws.record import HOST, recording

    host, separator, number = to.rpartition(":")
    if not separator or not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise ParameterError("to", to, 'is no address such as "127.0.0.1:7497"')
    if out.exists():
        raise ParameterError("out", str(out), "exists already; give another name: --out FILE")
    with recording((host.strip("[]"), int(number)), out, port) as (found, recorder):
        output.note(f"recording {to}: connect the client to {HOST}:{found}. Stop with Ctrl-C.")
        try:
            wait()
        except KeyboardInterrupt:  # its ordinary end
            output.note("stopped")
    document = {
        "to": to, "port": found, "file": str(out), "connections": recorder.connections, "lines": recorder.lines,
        "trouble": recorder.trouble,
    }  # fmt: skip
    parts = [f"{recorder.lines:,} lines of {recorder.connections:,} connections in {out}"]
    parts += [f"could not connect to {told}" for told in recorder.trouble]
    return Result(document, parts)


def wait() -> None:
    """Wait for Ctrl-C."""
    never = threading.Event()
    while not never.wait(_LOOK_S):
        pass
